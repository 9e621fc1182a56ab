"""Does the true class's map stay where it was when an attack turns the prediction? Beside noise of the same size.

    python -m benchmarks.adversarial --work FOLDER [--pictures 104] [--of grains photographs]

Two networks: EfficientNet-Lite0 with a frozen body and a head for rice and beans, trained here on rendered pictures
(:mod:`limelight.data.grains`, no shortcut), asked about its test pictures; and the same network as published, with
1,000 classes, asked about photographs of ImageNet's classes, which lie beside the checkout (``../shared/data``, or
where ``LIMELIGHT_SHARED`` points). Attacked are pictures that it gets right, the first ones. What is done is kept in
FOLDER, a few pictures at a time, and not done again.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import limelight as ll
from benchmarks.mosaics import DATA
from limelight.data import grains
from limelight.files import write_whole
from limelight.models import Model
from limelight.studies.adversarial import FGSM, NOISE, PGD, TARGETED, Attack, robustness
from limelight.studies.looks import Sample, look
from limelight.studies.study import tested
from limelight.training import Picture, train
from limelight.training.pictures import Pictures
from limelight.training.predict import scores

TOGETHER = 8
"""Pictures whose outcome is one file."""
SPLITS = (0.5, 0.0, 0.5)
ORDER = (FGSM, PGD, TARGETED, NOISE)

Outcomes = dict[tuple[str, int], dict[str, np.ndarray]]


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.adversarial", description=__doc__)
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--pictures", type=int, default=104)
    options.add_argument("--of", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    given = options.parse_args(arguments)
    torch.set_num_threads(1)
    for name in given.of:
        model, sample = SUBJECTS[name](given.work, given.pictures)
        right = np.flatnonzero(sample.right)[: given.pictures].tolist()
        model.network.to(memory_format=torch.channels_last)
        starts = range(0, len(right), TOGETHER)
        parts = [
            outcomes(model, sample.of(right[at : at + TOGETHER]), at, given.work / f"{name}-{at:04d}.npz")
            for at in starts
        ]
        print(f"\n{name}: {len(right)} pictures\n\n{table(joined(parts))}", flush=True)


def rice_and_beans(work: Path, pictures: int) -> tuple[Model, Sample]:
    """A head for rice and beans on the frozen body, and its test pictures."""
    folder, run = work / "grains", work / "run"
    number = 2 * round(pictures * 1.1)  # half are tested, of which a few are wrong
    grains.write(folder, number, splits=SPLITS, workers=1)
    done = train(folder, run, frozen=True, resume=run.exists())
    return ll.load(run), tested(done.run())


def photographs(work: Path, pictures: int) -> tuple[Model, Sample]:
    """The published network, and the first photographs of its classes."""
    model = ll.load("efficientnet_lite0")
    assert model.preprocessing is not None
    assert model.labels is not None
    folder = DATA / "imagenet-1k-samples"
    with (folder / "labels.csv").open(newline="") as lines:
        rows = [(folder / row["file"], int(row["index"])) for row in csv.DictReader(lines)][: round(pictures * 1.3)]
    items = [Picture(path, label) for path, label in rows]
    said = scores(model, Pictures([item.path for item in items], model.preprocessing), range(len(items)))
    names = [item.path.name for item in items]
    return model, Sample(items, names, model.labels, said.softmax(1).numpy())


SUBJECTS: dict[str, Callable[[Path, int], tuple[Model, Sample]]] = {
    "grains": rice_and_beans,
    "photographs": photographs,
}


def outcomes(model: Model, sample: Sample, seed: int, file: Path) -> Outcomes:
    """What each attack did to these pictures; read from ``file`` where that is there."""
    if not file.exists():
        found = robustness(model, look(model, sample), len(sample), seed=seed, examples=0)
        assert found is not None
        held = {f"{one.kind}/{one.strength}/{field}": getattr(one, field) for one in found.attacks for field in FIELDS}
        data = io.BytesIO()
        np.savez(data, **held)
        write_whole(file, data.getvalue())
    read: Outcomes = {}
    with np.load(file) as held:
        for key in held.files:
            kind, strength, field = key.split("/")
            read.setdefault((kind, int(strength)), {})[field] = held[key]
    return read


FIELDS = ("flipped", "certain", "correlation", "overlap", "vanished", "on_object")


def joined(parts: Sequence[Outcomes]) -> list[dict[str, Any]]:
    """The figures of each attack over all pictures, by strength, then by kind."""
    attacks = [
        Attack(*key, **{field: np.concatenate([part[key][field] for part in parts]) for field in FIELDS})
        for key in parts[0]
    ]
    return [one.as_dict() for one in sorted(attacks, key=lambda one: (one.strength, ORDER.index(one.kind)))]


def table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| size, of 255 | | turned | correlation | where turned | overlap | empty maps | map on the object |",
        "| --: | --- | --: | --- | --: | --: | --: | --: |",
    ]
    for row in rows:
        cells = [
            str(row["strength"]),
            row["kind"],
            f"{row['flips']} of {row['pictures']}",
            _figure(row["correlation"], interval=True),
            _figure(row["correlation_when_flipped"]),
            _figure(row["overlap"]),
            str(row["vanished"]),
            f"{_figure(row['on_object_before'])} → {_figure(row['on_object_after'])}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _figure(summary: dict[str, Any], interval: bool = False) -> str:
    if summary["mean"] is None:
        return "–"
    low, high = summary["interval"] or (None, None)
    return f"{summary['mean']:.2f}" + (f" ({low:.2f} to {high:.2f})" if interval and low is not None else "")


if __name__ == "__main__":
    main()
