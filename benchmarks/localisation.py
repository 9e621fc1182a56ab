"""Where the methods' maps fall, beside chance: photographs with boxes, photographs with masks, and mosaics.

    python -m benchmarks.localisation --out DIR [--mobilenet FILE] [--trained CHECKPOINT --grains FOLDER] [--count 60]
    python -m benchmarks.localisation --out DIR --table

Networks: EfficientNet-Lite0, MobileNetV2 where its weights are given, and a network trained here on grains, which is
asked about grains with their masks. Pictures: boxes/imagenet-val, the true class, half of them with no box over the
centre, which are reported by themselves too; boxes/coco where the predicted class is annotated; mosaics of four
photographs, at twice the network's size. Writes a JSON line a picture, method and metric; goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import limelight as ll
from benchmarks.mosaics import DATA, cases, mosaic
from limelight.evaluation import CHANCE, Case, Scene, chance_maps
from limelight.evaluation.boxes import rasterised
from limelight.statistics import bootstrap, holm, paired_test

METHODS = (
    "gradcam", "hirescam", "layercam", "gradcampp", "xgradcam", "elementwisegradcam", "eigencam", "eigengradcam",
    "kpcacam", "lafam", "fem", "shapleycam", "guidedbackprop", "inputxgradient", "guidedgradcam",
)  # fmt: skip
"""Fifteen methods of a single pass each."""
METRICS = ("pointing", "energy_pointing")


@dataclass(frozen=True)
class Shown:
    """A picture as a network sees it, what it is asked, and where that is."""

    name: str
    image: Tensor
    target: int
    mask: Tensor
    off_centre: bool = False


def imagenet(model: ll.models.Model, count: int) -> Iterator[Shown]:
    folder = DATA / "boxes" / "imagenet-val"
    rows = list(csv.DictReader((folder / "boxes.csv").open(newline="")))
    hard = [row for row in rows if row["centre_in_box"] == "0"]
    rest = [row for row in rows if row["centre_in_box"] == "1"]
    for row in [*hard[: count // 2], *rest[: count - count // 2]]:
        image = read(model, folder / row["file"])
        size = (image.shape[2], image.shape[3])
        corners = torch.tensor([[float(v) for v in box.split()] for box in row["boxes"].split(";")])
        mask = rasterised(corners * (size[0] / 227), size)
        yield Shown(row["file"], image, int(row["index"]), mask, row["centre_in_box"] == "0")


def coco(model: ll.models.Model, count: int) -> Iterator[Shown]:
    """Pictures whose predicted class is one of the annotated categories."""
    folder, found = DATA / "boxes" / "coco", 0
    for picture in json.loads((folder / "instances.json").read_text()):
        image = read(model, folder / picture["file"])
        with torch.no_grad():
            target = int(model.network(image).argmax())
        values = [one["mask_value"] for one in picture["instances"] if target in one["imagenet_indices"]]
        if values and found < count:
            found += 1
            drawn = Image.open(folder / picture["mask"]).resize(
                (image.shape[3], image.shape[2]), Image.Resampling.NEAREST
            )
            mask = torch.isin(torch.from_numpy(np.array(drawn)).long(), torch.tensor(values))
            if mask.any():
                yield Shown(picture["file"], image, target, mask)


def mosaics(model: ll.models.Model, count: int) -> Iterator[Shown]:
    for number, case in enumerate(cases(count)):
        image = mosaic(model, case)[None]
        mask = torch.zeros(image.shape[2:], dtype=torch.bool)
        row, column = divmod(case.quarter, 2)
        height, width = mask.shape[0] // 2, mask.shape[1] // 2
        mask[row * height : (row + 1) * height, column * width : (column + 1) * width] = True
        yield Shown(f"mosaic {number}", image, case.classes[case.quarter], mask)


def grains(model: ll.models.Model, folder: Path, count: int) -> Iterator[Shown]:
    """Test pictures of the grains that the network was trained on, with the mask of what was drawn."""
    assert model.labels is not None
    rows = [row for row in csv.DictReader((folder / "labels.csv").open(newline="")) if row["split"] == "test"]
    for row in rows[:count]:
        image = read(model, folder / row["path"])
        drawn = Image.open(folder / row["mask"]).convert("L").resize((image.shape[3], image.shape[2]))
        mask = torch.from_numpy(np.array(drawn)) > 127
        if mask.any():
            yield Shown(row["path"], image, model.labels.index(row["label"]), mask)


def read(model: ll.models.Model, file: Path) -> Tensor:
    assert model.preprocessing is not None
    return model.preprocessing(ll.read(file).pixels, "whole")[0][None]


def measured(model: ll.models.Model, shown: Shown, number: int) -> Iterator[dict[str, Any]]:
    """A record for each method and metric of one picture, chance included."""
    found = ll.compare(model, shown.image, METHODS, [shown.target], progress=False)
    scene = Scene.of(model, shown.image, [shown.target])
    maps = {name: explanation.raws[0][:, 0] for name, explanation in found.items()}
    grid = (maps["gradcam"].shape[-2], maps["gradcam"].shape[-1])
    maps |= {f"chance: {kind}": chance_maps(kind, shown.image, grid, first=number) for kind in CHANCE}
    for name, raw in maps.items():
        case = Case.of(scene, raw, masks=shown.mask[None])
        for metric in METRICS:
            value = float(case.measure(metric)[0])
            yield {"file": shown.name, "off_centre": shown.off_centre, "method": name, "metric": metric, "value": value}


def run(model: ll.models.Model, pictures: Iterator[Shown], out: Path) -> None:
    """Measure the pictures whose records are not in the file yet."""
    out.parent.mkdir(parents=True, exist_ok=True)
    done = {json.loads(line)["file"] for line in out.read_text().splitlines()} if out.exists() else set()
    for number, shown in enumerate(pictures):
        if shown.name not in done:
            records = [json.dumps(record) for record in measured(model, shown, number)]
            with out.open("a") as lines:
                lines.write("\n".join(records) + "\n")


def table(out: Path) -> str:
    """Markdown: for each set and network the share of the map inside, and how often its peak is, with intervals."""
    parts = []
    for file in sorted(out.glob("*.jsonl")):
        records = [json.loads(line) for line in file.read_text().splitlines()]
        groups = {"": records, ", off-centre": [record for record in records if record["off_centre"]]}
        for suffix, some in groups.items():
            if some:
                parts.append(_table(file.stem.replace("-", " on ", 1) + suffix, some))
    return "\n\n".join(parts)


def _table(title: str, records: Sequence[dict[str, Any]]) -> str:
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        values[record["method"]][record["metric"]].append(record["value"])
    pictures = len({record["file"] for record in records})
    order = sorted(values, key=lambda name: (name.startswith("chance"), -np.mean(values[name]["energy_pointing"])))
    shares = {name: values[name]["energy_pointing"] for name in order}
    others = [name for name in order if shares[name] != shares["gradcam"]]
    p = dict(zip(others, holm([paired_test(shares[name], shares["gradcam"]) for name in others]), strict=True))
    lines = [
        f"| {title}, {pictures} pictures | share inside | peak inside | share as Grad-CAM's? p |",
        "|---|---|---|--:|",
    ]
    for name in order:
        cells = [_cell(values[name][metric]) for metric in ("energy_pointing", "pointing")]
        lines.append(f"| {name} | {' | '.join(cells)} | {f'{p[name]:.3f}' if name in p else ''} |")
    return "\n".join(lines)


def _cell(values: Sequence[float]) -> str:
    low, high = bootstrap(values) if len(values) > 1 else (float("nan"), float("nan"))
    return f"{np.mean(values):.2f} ({low:.2f}-{high:.2f})"


def main() -> None:
    options = argparse.ArgumentParser(description="Where the methods' maps fall.")
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--mobilenet", type=Path)
    options.add_argument("--trained", type=Path)
    options.add_argument("--grains", type=Path)
    options.add_argument("--count", type=int, default=60)
    options.add_argument("--networks", nargs="*", metavar="NAME", help="some of those that load by name")
    options.add_argument("--table", action="store_true")
    given = options.parse_args()
    if given.table:
        print(table(given.out))
        return
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    warnings.simplefilter("ignore")
    networks = {"lite0": lambda: ll.load("efficientnet_lite0")}
    if given.mobilenet:
        networks["mobilenet_v2"] = lambda: ll.load("torchvision/mobilenet_v2", weights=given.mobilenet)
    for name in given.networks or networks:
        model = networks[name]()
        run(model, imagenet(model, given.count), given.out / f"{name}-boxes of imagenet.jsonl")
        run(model, coco(model, given.count), given.out / f"{name}-masks of coco.jsonl")
        run(model, mosaics(model, given.count // 2), given.out / f"{name}-mosaics.jsonl")
    if given.trained and given.grains:
        model = ll.load(given.trained)
        run(model, grains(model, given.grains, given.count), given.out / "trained here-grains.jsonl")


if __name__ == "__main__":
    main()
