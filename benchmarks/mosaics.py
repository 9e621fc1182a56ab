"""Whether a method's map is about its class: 2x2 mosaics of photographs, one of them asked about.

    python -m benchmarks.mosaics [--methods gradcam,...] [--cases 160] [--seconds 45] [--record]

Four photographs of four classes are put side by side and fed to EfficientNet-Lite0 at twice its size; the network is
asked about the class of one. Reported is the share of the map (as shown: what speaks against the class is zero) that
lies on that photograph, mean and standard error over the mosaics. A map that ignores the class gets 0.25, and so does a
map of zeros. Methods of one pass are run on all the mosaics, the others on as many as fit ``--seconds`` each, and the
longest with fewer samples than by default (``limelight.comparison.BRIEF``). ``--record`` writes what the registry
reads. The photographs lie beside the checkout: in ``../shared/data``, or where ``LIMELIGHT_SHARED`` points.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import limelight as ll
from limelight import comparison
from limelight.heatmap import rectify
from limelight.methods import Method
from limelight.methods.measured import RECORD

DATA = Path(os.environ.get("LIMELIGHT_SHARED", Path(__file__).resolve().parents[2] / "shared" / "data"))
SEED = 0
BATCH = 4
FEWEST = 8


@dataclass(frozen=True)
class Case:
    """Four photographs, row by row, and which of them is asked about."""

    files: tuple[Path, ...]
    classes: tuple[int, ...]
    quarter: int


def cases(count: int) -> list[Case]:
    """The mosaics: always the same ones, in the same order."""
    folder = DATA / "imagenet-1k-samples"
    with (folder / "labels.csv").open(newline="") as lines:
        pictures = [(folder / row["file"], int(row["index"])) for row in csv.DictReader(lines)]
    draw, found = random.Random(SEED), []
    while len(found) < count:
        files, classes = zip(*draw.sample(pictures, 4), strict=True)
        if len(set(classes)) == 4:
            found.append(Case(files, classes, len(found) % 4))
    return found


def mosaic(model: ll.models.Model, case: Case) -> Tensor:
    """The network's input ``(channels, 2 height, 2 width)``: each photograph whole, as the network would see it."""
    assert model.preprocessing is not None
    tiles = [model.preprocessing(ll.read(file).pixels, "whole")[0] for file in case.files]
    return torch.cat([torch.cat(tiles[:2], dim=2), torch.cat(tiles[2:], dim=2)], dim=1)


def share(raw: Tensor, quarter: int) -> float:
    """The share of a map ``(height, width)`` on one quarter, after rectifying; 0.25 of nothing."""
    shown = rectify(raw).double()
    across = _halves(shown.shape[1], shown)[quarter % 2]
    down = _halves(shown.shape[0], shown)[quarter // 2]
    total = float(shown.sum())
    return float(down @ shown @ across) / total if total > 0 else 0.25


def _halves(cells: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """How much of each cell of a line lies in its first half, and in its second."""
    first = (cells / 2 - torch.arange(cells, dtype=like.dtype)).clamp(0, 1)
    return first, 1 - first


def shares(model: ll.models.Model, methods: Sequence[Method], chosen: Sequence[Case]) -> Iterator[list[float]]:
    """For each mosaic, each method's share."""
    for start in range(0, len(chosen), BATCH):
        some = chosen[start : start + BATCH]
        images = torch.stack([mosaic(model, case) for case in some])
        maps = ll.compare(model, images, methods, [case.classes[case.quarter] for case in some], progress=False)
        for number, case in enumerate(some):
            yield [share(e.raw[number, 0], case.quarter) for e in maps.values()]


def on_as_many(model: ll.models.Model, method: Method, all_cases: Sequence[Case], seconds: float) -> list[float]:
    """One method's shares on as many mosaics as fit the time, a batch at a time."""
    found: list[float] = []
    start = time.process_time()
    for (value,) in shares(model, [method], all_cases):
        found.append(value)
        if len(found) >= FEWEST and not len(found) % BATCH and time.process_time() - start > seconds:
            break
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.mosaics", description="The map's share on its class.")
    options.add_argument("--methods", default="all")
    options.add_argument("--cases", type=int, default=160)
    options.add_argument("--seconds", type=float, default=12.0, help="CPU time for each method of several passes")
    options.add_argument("--record", action="store_true", help=f"write {RECORD.name}, which the registry reads")
    given = options.parse_args(arguments)
    warnings.simplefilter("ignore")  # maps of zeros are counted here, not told
    model = ll.load("efficientnet_lite0")
    all_cases = cases(given.cases)
    known = json.loads(RECORD.read_text()) if RECORD.exists() else {}

    def keep(method: Method, values: Sequence[float]) -> None:
        spread = torch.tensor(values, dtype=torch.float64)
        error = float(spread.std()) / len(values) ** 0.5
        known[method.name] = {"share": round(float(spread.mean()), 3), "error": round(error, 3), "mosaics": len(values)}
        print(f"{method.label}: {spread.mean():.3f} +- {error:.3f} on {len(values)}", flush=True)
        if given.record:
            RECORD.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")

    methods = [method(**comparison.BRIEF.get(method.name, {})) for method in comparison.choose(given.methods)]
    quick = [method for method in methods if method.passes == "1" and not method.settings and method.layer is None]
    if quick:
        for method, values in zip(quick, zip(*shares(model, quick, all_cases), strict=True), strict=True):
            keep(method, values)
    for method in methods:
        if method not in quick:
            try:
                keep(method, on_as_many(model, method, all_cases, given.seconds))
            except ll.errors.LimelightError as error:
                print(f"{method.label}: not here ({error})", flush=True)


if __name__ == "__main__":
    main()
