"""A whole data set of rice and beans in a folder, written by all cores, finished if it was interrupted.

```
DIR/job.json                                  what was asked for; a folder with another job is refused
DIR/labels.csv                                one row a picture, written last
DIR/train/rice/rice_00001.jpg                 likewise val and test, and beans
DIR/masks/train/rice/rice_00001.png           numbered grains; 0 is no grain, and the palette makes them visible
DIR/shortcuts/train/rice/rice_00001.png       where the shortcut is, 0 or 255; only for pictures that have it
DIR/scenes/train/rice/rice_00001.json         all that is in it: counts, boxes, table, light, camera
```

A file appears under its name only when it is whole, and a picture's scene is written after its other files: what
has a scene is done.
"""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from limelight.data.grains.drawing import SMALLEST, Scene, render
from limelight.data.grains.shortcuts import Shortcut
from limelight.data.grains.things import GRAINS
from limelight.errors import InputError
from limelight.files import forget_partial, write_whole

SPLITS = ("train", "val", "test")
LABELS = tuple(GRAINS)
_QUALITY = 92
_VERSION = 1  # raise it when the same job would draw other pictures


@dataclass(frozen=True)
class Picture:
    """One picture to write: ``name`` is SPLIT/CLASS/STEM, ``shortcut`` the kind it bears or None."""

    name: str
    split: str
    label: str
    seed: int
    shortcut: str | None


@dataclass(frozen=True)
class _Job:
    """What was asked for. Kept in the folder, so that only the same job goes on in it."""

    n: int
    size: int
    seed: int
    shortcut: str | None
    splits: tuple[float, ...]
    planted: tuple[str, ...]
    version: int = _VERSION


def write(
    folder: str | os.PathLike[str],
    n: int,
    *,
    size: int = 224,
    seed: int = 0,
    shortcut: str | Shortcut | None = None,
    splits: Sequence[float] = (0.7, 0.15, 0.15),
    planted: Sequence[str] = ("train", "val"),
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write ``n`` pictures of rice and beans to ``folder``, half of each; gives the path of its labels.csv.

    ``size`` is the pictures' side in pixels and ``splits`` the shares of train, val and test. ``shortcut``, such as
    "watermark:0.95" or "watermark:0.95:beans", is planted with its strength in the splits named by ``planted``; in
    the others half the pictures of either class bear it, so that it tells nothing there and a network that rests on
    it is found out. The shares are exact, to the nearest picture.

    The same arguments give the same files, by any number of ``workers`` (default: all cores this process may use;
    1 works without other processes, while more need ``if __name__ == "__main__"`` in a script). A folder that holds
    part of the same job is finished. ``progress(done, n)`` is called after each picture.

    labels.csv has the columns path, label, split, shortcut, mask, shortcut_mask, count, area (the share of the
    picture that grains cover), table and seed; paths are relative to ``folder``, "" where there is none.

    Raises InputError for arguments that make no sense, and for a folder that holds anything else.
    """
    if isinstance(shortcut, str):
        shortcut = Shortcut.parse(shortcut)
    job = _Job(n, size, seed, str(shortcut) if shortcut else None, tuple(splits), tuple(planted))
    _check(job)
    folder = Path(folder)
    _claim(folder, job)
    pictures = list(_pictures(job, shortcut))
    todo = [picture for picture in pictures if not _scene_path(folder, picture).exists()]
    done = n - len(todo)
    if progress:
        progress(done, n)
    for _ in _each_written(folder, todo, size, workers or _cores()):
        done += 1
        if progress:
            progress(done, n)
    return _write_table(folder, pictures)


def _check(job: _Job) -> None:
    if job.n < 2:
        raise InputError(f"A data set of two classes has at least 2 pictures; got {job.n}.")
    if job.size < SMALLEST:
        raise InputError(f"A picture is at least {SMALLEST} pixels wide; got {job.size}.")
    if job.seed < 0:
        raise InputError(f"A seed is a whole number from 0 up; got {job.seed}.")
    if len(job.splits) != len(SPLITS) or min(job.splits) < 0 or abs(sum(job.splits) - 1) > 1e-6:
        raise InputError(f"Splits are three shares that sum to 1, for {', '.join(SPLITS)}; got {job.splits}.")
    if not set(job.planted) <= set(SPLITS):
        raise InputError(f"A shortcut is planted in {', '.join(SPLITS)}; got {', '.join(job.planted)}.")


def _claim(folder: Path, job: _Job) -> None:
    """Make the folder ours, or see that it is already; refuse one with other things in it."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder.")
    card, text = folder / "job.json", json.dumps(asdict(job), indent=1)
    if card.exists():
        if card.read_text() != text:
            raise InputError(f"{folder} holds another set of grains ({card.name} says which); give another folder.")
        forget_partial(folder)
    elif folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; give a new folder.")
    else:
        write_whole(card, text.encode())


def _pictures(job: _Job, shortcut: Shortcut | None) -> Iterator[Picture]:
    """All pictures of a job, in their order; a few random numbers decide it all."""
    words = np.random.SeedSequence(job.seed).generate_state(job.n, np.uint64)
    seeds = words >> np.uint64(11)  # 53 bits are exact in any reader of JSON
    chosen = np.random.default_rng(np.random.SeedSequence(job.seed, spawn_key=(1,)))
    number = 0
    for place, label in enumerate(LABELS):
        of_label = job.n // len(LABELS) + (place < job.n % len(LABELS))
        edges = [round(of_label * sum(job.splits[:i])) for i in range(len(SPLITS) + 1)]
        for split, start, end in zip(SPLITS, edges, edges[1:], strict=False):
            bears = _some(chosen, end - start, _share(shortcut, label, split in job.planted))
            for i, has in zip(range(start, end), bears, strict=True):
                name = f"{split}/{label}/{label}_{i + 1:05d}"
                yield Picture(name, split, label, int(seeds[number]), shortcut.kind if shortcut and has else None)
                number += 1


def _share(shortcut: Shortcut | None, label: str, planted: bool) -> float:
    if shortcut is None:
        return 0.0
    return shortcut.share(label) if planted else 0.5


def _some(rng: np.random.Generator, count: int, share: float) -> np.ndarray:
    """(count,) bool, ``share`` of them True."""
    return rng.permutation(count) < round(count * share)


def _each_written(folder: Path, pictures: list[Picture], size: int, workers: int) -> Iterator[None]:
    """Write the pictures, in any order; yields after each."""
    if workers == 1 or len(pictures) < 2:
        for picture in pictures:
            yield _write_picture(folder, picture, size)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(_write_picture, folder, picture, size) for picture in pictures]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _cores() -> int:
    """How many cores this process may use; where the system doesn't say, how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write_picture(folder: Path, picture: Picture, size: int) -> None:
    scene = render(picture.seed, picture.label, size, picture.shortcut)
    photo = Image.fromarray(scene.image)
    write_whole(folder / f"{picture.name}.jpg", _encoded(photo, "JPEG", quality=_QUALITY, subsampling=0))
    write_whole(folder / "masks" / f"{picture.name}.png", _encoded(_numbered(scene), "PNG"))
    if picture.shortcut:
        where = Image.fromarray(scene.shortcut_mask.astype(np.uint8) * 255)
        write_whole(folder / "shortcuts" / f"{picture.name}.png", _encoded(where, "PNG"))
    write_whole(_scene_path(folder, picture), json.dumps(scene.parameters).encode())


def _numbered(scene: Scene) -> Image.Image:
    """The grains' numbers as a picture with a palette: pixel values for programs, bright colours for people."""
    picture = Image.fromarray(np.where(scene.mask, scene.instances, 0).astype(np.uint8), "P")
    colours = np.random.default_rng(0).integers(80, 256, (256, 3), dtype=np.uint8)
    colours[0] = 0
    picture.putpalette(colours.tobytes())
    return picture


def _write_table(folder: Path, pictures: list[Picture]) -> Path:
    rows = [_row(folder, picture) for picture in pictures]
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return write_whole(folder / "labels.csv", text.getvalue().encode())


def _row(folder: Path, picture: Picture) -> dict[str, object]:
    scene = json.loads(_scene_path(folder, picture).read_text())
    grains = [entry for entry in scene["objects"] if entry["grain"] and entry["box"]]
    return {
        "path": f"{picture.name}.jpg",
        "label": picture.label,
        "split": picture.split,
        "shortcut": picture.shortcut or "",
        "mask": f"masks/{picture.name}.png",
        "shortcut_mask": f"shortcuts/{picture.name}.png" if picture.shortcut else "",
        "count": len(grains),
        "area": round(sum(entry["area"] for entry in grains) / scene["size"] ** 2, 4),
        "table": scene["table"],
        "seed": picture.seed,
    }


def _scene_path(folder: Path, picture: Picture) -> Path:
    return folder / "scenes" / f"{picture.name}.json"


def _encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()
