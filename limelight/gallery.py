"""A folder of results as one page: a contact sheet of the pictures with their maps, to be looked through."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from limelight import colormaps, render, report
from limelight.errors import InputError
from limelight.heatmap import rectify, rescale
from limelight.parts import Parts
from limelight.report.page import percent
from limelight.stores import opened
from limelight.streaming.job import LISTING, summary
from limelight.streaming.sources import Item
from limelight.streaming.table import Row, maps_of

MOST = 10_000
"""Pictures on a page, unless told otherwise."""
SIDES = ((500, 224), (2_000, 160))
"""Pixels of a picture's longer side on a page of at most so many; the more there are, the smaller they must be."""
SMALLEST = 112
QUALITY = 70
FINEST = 28
"""Cells along a side to which a finer map is averaged: on a small picture no more can be seen."""
THREADS = 4
TOGETHER = 64
"""Pictures that are read ahead."""
WHOLE = (0.0, 0.0, 1.0, 1.0)


def gallery(folder: str | Path, most: int = MOST, tell: Callable[[int], None] = lambda more: None) -> str:
    """The page of a folder that ``limelight explain --format`` wrote, as HTML.

    Args:
        folder: the results.
        most: pictures on the page; of more, as many are taken, evenly spread.
        tell: told how many more pictures are done.

    Raises:
        InputError: the folder holds no such results, or none yet.
        MissingExtra: pyarrow or jinja2 is not installed.
    """
    parts = Parts.found(folder)
    if "sources" not in parts.manifest:
        raise InputError(f"{folder} holds results of another kind: a gallery is of `limelight explain --format`")
    found = summary(parts)
    if not found["pictures"]:
        raise InputError(f"{folder} holds no results yet: run the same `limelight explain` again")
    step = -(-found["pictures"] // most)
    shown = -(-found["pictures"] // step)
    side = next((side for count, side in SIDES if shown <= count), SMALLEST)
    return report.html(_page(parts, found, step, list(_cells(parts, step, side, tell))))


def _page(parts: Parts, found: dict[str, Any], step: int, cells: Sequence[report.Cell]) -> report.Page:
    manifest, pictures = parts.manifest, found["pictures"]
    name, weights, *_ = manifest["model"]
    said = f"{pictures:,} pictures" + (f", one in {step} shown" if step > 1 else "")
    if found["labelled"]:
        said += (
            f"; the prediction is right for {percent(found['right'])} of the {found['labelled']:,} whose class is known"
        )
    if found["errors"]:
        said += f"; {found['errors']:,} could not be used"
    total = manifest["pictures"][0]
    if pictures < total:
        said += f"; {total - pictures:,} more are not done yet"
    blocks: list[report.Block] = [
        report.ContactSheet(
            cells,
            np.asarray(colormaps.colormap(colormaps.DEFAULT), np.uint8).tobytes(),
            render.ALPHA,
            render.FULL_WEIGHT,
            render.VEIL,
        ),
        report.ScaleKey(_ramp(), "no evidence", "strongest", "Each map is scaled to its own strongest evidence."),
        report.Note(
            "The share of a map's cells that holds half of its evidence: near 0 for a point, 50 % for an even map.",
            "Spread.",
        ),
    ]
    return report.Page(
        title=f"What {name} saw",
        kicker="Gallery of maps",
        facts=[
            ("Network", f"{name}, weights {weights}"),
            ("Pictures", ", ".join(manifest["sources"])),
            ("Method", ", ".join(manifest["methods"])),
            ("Asked", "the predicted class" if manifest["target"] == "None" else manifest["target"]),
        ],
        verdict=None,
        sections=[report.Section("sheet", "Pictures and maps", f"{said}.", blocks)],
        colophon=["The maps are laid over the pictures by this page, as limelight's overlays are."],
    )


def _ramp() -> list[str]:
    colours = colormaps.colormap(colormaps.DEFAULT)
    return ["#{:02x}{:02x}{:02x}".format(*map(int, colours[place])) for place in range(0, colormaps.SIZE, 15)]


def _cells(parts: Parts, step: int, side: int, tell: Callable[[int], None]) -> Iterator[report.Cell]:
    """A cell for each row of every ``step``-th picture."""
    with ThreadPoolExecutor(THREADS) as pool:
        rows, listing = _rows(parts, step), parts.folder / LISTING
        places = _places(listing, step)
        while several := list(islice(rows, TOGETHER)):
            items = _items(listing, {row["picture"]: places[row["picture"]] for row, _ in several})
            photos = dict(zip(items, pool.map(partial(_small, side=side), items.values()), strict=True))
            yield from (_cell(row, raw, photos[row["picture"]]) for row, raw in several)
            tell(len(items))


def _rows(parts: Parts, step: int) -> Iterator[tuple[Row, Tensor | None]]:
    for table in parts.tables():
        chosen = table.filter(np.asarray(table["picture"]) % step == 0)
        yield from zip(chosen.to_pylist(), maps_of(chosen), strict=True)


def _places(listing: Path, step: int) -> dict[int, int]:
    """Where the line of every ``step``-th picture begins, in bytes: the list, which may be long, is read once."""
    places, place = {}, 0
    with opened(listing) as lines:
        for number, line in enumerate(lines):
            if number % step == 0:
                places[number] = place
            place += len(line)
    return places


def _items(listing: Path, places: Mapping[int, int]) -> dict[int, Item]:
    """The pictures whose lines begin at these places, by their numbers."""
    found = {}
    with opened(listing) as lines:
        for number, place in places.items():
            lines.seek(place)
            found[number] = Item(*json.loads(lines.readline()))
    return found


def _small(item: Item, side: int) -> bytes | None:
    """A picture as a small JPEG; None where it can't be read, or not any more."""
    try:
        picture = item.read().pil()
    except InputError:
        return None
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()


def _cell(row: Row, raw: Tensor | None, photo: bytes | None) -> report.Cell:
    name = Path(row["path"]).name
    if row["error"]:
        return report.Cell(None, WHOLE, (), name, row["error"], "(could not be used)")
    predicted = _said(row["prediction_label"], row["confidence"])
    caption = predicted
    if row["target"] != row["prediction"]:
        caption += f"; map of {_said(row['target_label'], row['probability'])}"
    if row["right"] is False:
        caption += f"; is {row['label']}"
    if row["verdict"]:
        caption += f"; {row['verdict']}"
    gone = "" if photo else " (the picture is not where it was)"
    return report.Cell(
        photo=photo,
        seen=_shares(row),
        map=() if raw is None else _strengths(raw),
        caption=caption,
        alt=f"{row['path']}: {caption}{gone}",
        group=row["prediction_label"] or "",
        confidence=row["confidence"],
        spread=row["spread"],
        right=row["right"],
        verdict=row["verdict"] or "",
    )


def _said(label: str | None, probability: float | None) -> str:
    return (label or "no class") + ("" if probability is None else f" {percent(probability)}")


def _shares(row: Row) -> tuple[float, float, float, float]:
    if row["seen"] is None:
        return WHOLE
    (width, height), (left, top, right, bottom) = row["size"], row["seen"]
    return left / width, top / height, right / width, bottom / height


def _strengths(raw: Tensor) -> list[list[int]]:
    heat = rectify(raw)
    if max(heat.shape) > FINEST:
        heat = adaptive_avg_pool2d(heat[None], (min(heat.shape[0], FINEST), min(heat.shape[1], FINEST)))[0]
    return (rescale(heat) * 255).round().int().tolist()
