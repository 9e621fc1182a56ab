"""Whether a method's map is about its class: 2x2 mosaics of photographs, one of them asked about.

    python -m benchmarks.mosaics [--methods gradcam,...] [--seconds 45] [--precision bfloat16] [--kept FILE] [--record]

Four photographs of four classes are put side by side and fed to EfficientNet-Lite0 at twice its size; the network is
asked about the class of one. Reported is the share of the map (as shown: what speaks against the class is zero) that
lies on that photograph, mean and standard error over the mosaics. A map that ignores the class gets 0.25, and so does a
map of zeros. The longest methods are run with fewer samples than by default (``limelight.comparison.BRIEF``), and on as
many mosaics as fit ``--seconds`` of processor time each.

All on all 160 take hours. What makes them fewer: the network is laid out with its channels last and, ``--folded``, its
batch norms are folded into the convolutions, which is the same function to rounding; ``--precision bfloat16`` is
another, and is recorded; ``--engine openvino`` runs the network for methods that alter pictures and read scores.
``--quarters`` asks about all four photographs of every fourth as many mosaics, which costs methods that replay once for
any number of targets a quarter; the standard error is then that of the mosaics' means.
``--kept`` keeps every mosaic's share in a file, to go on from, and several processes may share it, each with methods of
its own. ``--record`` writes what the registry reads. The photographs lie beside the checkout: in ``../shared/data``, or
where ``LIMELIGHT_SHARED`` points.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

import limelight as ll
from limelight import comparison
from limelight.engines import Engine, engine
from limelight.heatmap import rectify
from limelight.methods import Method
from limelight.methods.measured import RECORD

DATA = Path(os.environ.get("LIMELIGHT_SHARED", Path(__file__).resolve().parents[2] / "shared" / "data"))
SEED = 0
BATCH = 4
SIDE = 224  # pixels of a photograph
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
    like = next(model.network.parameters(), torch.empty(()))
    for start in range(0, len(chosen), BATCH):
        some = chosen[start : start + BATCH]
        images = torch.stack([mosaic(model, case) for case in some]).to(like.dtype, memory_format=torch.channels_last)
        maps = ll.compare(model, images, methods, [case.classes[case.quarter] for case in some], progress=False)
        for number, case in enumerate(some):
            yield [share(e.raw[number, 0], case.quarter) for e in maps.values()]


def shares_of_all(model: ll.models.Model, method: Method, case: Case) -> float:
    """One method's share on the photograph asked about, the mean of asking about each of a mosaic's four."""
    maps = ll.compare(model, mosaic(model, case)[None], [method], ll.each(*case.classes), progress=False)
    (explanation,) = maps.values()
    return sum(share(explanation.raw[0, quarter], quarter) for quarter in range(4)) / 4


def folded(network: nn.Module) -> nn.Module:
    """The same function with every batch norm of timm's folded into the convolution before it, in place."""
    before: nn.Conv2d | None = None
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Conv2d):
            before = module
        elif isinstance(module, nn.BatchNorm2d) and before is not None:
            fused = fuse_conv_bn_eval(before, module)
            before.weight, before.bias = fused.weight, fused.bias
            network.set_submodule(name, module.get_submodule("act"))  # timm's has its activation function inside
    return network


class Scores(nn.Module):
    """An engine as a network: class scores ``(batch, classes)`` of images, no layers and no gradients."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine

    def forward(self, images: Tensor) -> Tensor:
        return self.engine.scores(images)


class Kept:
    """Every mosaic's share by method, settings and how it was asked, in a file of JSON lines if there is one."""

    def __init__(self, path: Path | None, *how: str) -> None:
        self.path, self.how = path, " ".join(how)

    def of(self, method: Method) -> list[float]:
        """What is known of a method, mosaic after mosaic from the first."""
        if self.path is None or not self.path.exists():
            return []
        lines = [json.loads(line) for line in self.path.read_text().splitlines()]
        mine = [line for line in lines if (line["method"], line["how"]) == (method.label, self.how)]
        return [value for line in mine for value in line["shares"]]

    def add(self, method: Method, values: Sequence[float]) -> None:
        """Append some."""
        if self.path is not None:
            with self.path.open("a") as out:
                line = {"method": method.label, "how": self.how, "shares": values}
                out.write(json.dumps(line) + "\n")


def on_as_many(
    method: Method,
    asked: Callable[[Sequence[Case]], list[float]],
    all_cases: Sequence[Case],
    seconds: float,
    kept: Kept,
) -> list[float]:
    """One method's shares on as many mosaics as fit the time, a batch at a time, those already kept first."""
    found = kept.of(method)[: len(all_cases)]
    start = time.process_time()
    while len(found) < len(all_cases):
        if len(found) >= FEWEST and time.process_time() - start > seconds:
            break
        some = asked(all_cases[len(found) : len(found) + BATCH])
        kept.add(method, some)
        found += some
    return found


def record(method: Method, values: Sequence[float], write: bool, **how: Any) -> None:
    """Print the mean and its standard error, and write it for the registry."""
    spread = torch.tensor(values, dtype=torch.float64)
    error = float(spread.std()) / len(values) ** 0.5
    print(f"{method.label}: {spread.mean():.3f} +- {error:.3f} on {len(values)}", flush=True)
    if write:
        facts = {"share": round(float(spread.mean()), 3), "error": round(error, 3), "mosaics": len(values), **how}
        known = json.loads(RECORD.read_text()) | {method.name: facts}  # read anew: others may be writing too
        RECORD.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.mosaics", description="The map's share on its class.")
    options.add_argument("--methods", default="all")
    options.add_argument("--cases", type=int, default=160)
    options.add_argument("--seconds", type=float, default=12.0, help="CPU time for each method of several passes")
    options.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    options.add_argument("--folded", action="store_true", help="batch norms folded into the convolutions")
    options.add_argument("--quarters", action="store_true", help="ask about all four photographs of a mosaic")
    options.add_argument("--kept", type=Path, help="keep every mosaic's share in this file, and go on from it")
    options.add_argument("--record", action="store_true", help=f"write {RECORD.name}, which the registry reads")
    options.add_argument("--engine", choices=["openvino", "onnx"], help="what runs the network")
    given = options.parse_args(arguments)
    warnings.simplefilter("ignore")  # maps of zeros are counted here, not told
    model = ll.load("efficientnet_lite0")
    if given.folded:
        folded(model.network)
    if given.engine:
        fast = engine(given.engine, model, size=2 * SIDE, precision=given.precision)
        model = replace(model, network=Scores(fast))
    else:
        model.to(dtype=getattr(torch, given.precision)).network.to(memory_format=torch.channels_last)
    how: dict[str, Any] = {} if given.precision == "float32" else {"precision": given.precision}
    how |= {"asked": 4} if given.quarters else {}
    kept = Kept(given.kept, given.precision, *(["quarters"] if given.quarters else []))
    all_cases = cases(given.cases // (4 if given.quarters else 1))
    methods = [method(**comparison.BRIEF.get(method.name, {})) for method in comparison.choose(given.methods)]
    quick = [method for method in methods if method.passes == "1" and not method.settings and method.layer is None]
    if quick and not given.quarters:
        for method, values in zip(quick, zip(*shares(model, quick, all_cases), strict=True), strict=True):
            record(method, values, given.record, **how)
        methods = [method for method in methods if method not in quick]

    def asked(method: Method, some: Sequence[Case]) -> list[float]:
        if given.quarters:
            return [shares_of_all(model, method, case) for case in some]
        return [value for (value,) in shares(model, [method], some)]

    for method in methods:
        try:
            found = on_as_many(method, partial(asked, method), all_cases, given.seconds, kept)
        except ll.errors.LimelightError as error:
            print(f"{method.label}: not here ({error})", flush=True)
            continue
        record(method, found, given.record, **how)


if __name__ == "__main__":
    main()
