"""Is the verdict calibrated? The figures of true and of planted maps, and where the true ones fall.

    python -m benchmarks.verdict --out DIR [--mobilenet FILE]

Writes a JSON line a picture to DIR, and goes on where it stopped; ``benchmarks.verdict_fit`` makes of them what the
package carries and what ``docs/verdict.md`` shows.

Photographs are split into halves. Weights are fitted on the first half with EfficientNet-Lite0 and nowhere else; what
is reported is the second half, with that network and with MobileNetV2, which nothing was fitted on. True maps come from
several methods. Planted ones, all of them said to explain the predicted class: another picture's map, the mirrored, the
rolled (by half), the inverted map, a blob in a corner, a blob in the middle, the map of the same network with random
weights, and the map of another class. Mosaics of four photographs, and photographs with boxes off their centre, give
the measure that the verdict knows nothing of: where the object is.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

import limelight as ll
from benchmarks.mosaics import DATA, Case, mosaic, share
from limelight.evaluation.boxes import rasterised
from limelight.evaluation.imputation import noisy_linear
from limelight.heatmap import rectify, rescale, resize
from limelight.judging import Hearing
from limelight.judging.marks import cells_of, marked, says_nothing
from limelight.judging.verdict import figures

FITTED = ("gradcam", "layercam", "gradcampp", "layercam at 14 x 14")
"""Methods whose maps are the true ones of the fit."""
UNSEEN = ("xgradcam", "eigencam", "guidedbackprop", "inputxgradient")
"""Methods that are only reported."""
PLANTED = ("another picture", "mirrored", "rolled", "inverted", "corner", "centre", "random network")
"""The seven kinds of the acceptance; "another class" stands beside them."""
MIDDLE = {"lite0": "blocks.4", "mobilenet_v2": "features.13"}
NAMES = {"lite0": "efficientnet_lite0", "mobilenet_v2": "torchvision/mobilenet_v2"}


def halves() -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The photographs of imagenet-1k-samples, those to fit on and those to report on."""
    with (DATA / "imagenet-1k-samples" / "labels.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    random.Random(0).shuffle(rows)
    return rows[: len(rows) // 2], rows[len(rows) // 2 :]


def maps_of(
    model: ll.models.Model, network: str, image: Tensor, target: int, methods: Sequence[str]
) -> dict[str, Tensor]:
    """Each method's raw map of one picture."""
    found = {}
    for name in methods:
        method, _, elsewhere = name.partition(" at ")
        layer = MIDDLE[network] if elsewhere else None
        found[name] = ll.explain(model, image, target, method, layer).raws[0][0, 0]
    return found


def planted(true: Tensor, other: Tensor, randomised: Tensor, wrong: Tensor, number: int) -> dict[str, Tensor]:
    """Maps that tell nothing true of this picture, this network and this class, in the shape of ``true``."""
    seen = rescale(rectify(true))
    rows, columns = seen.shape
    corner = [(0.12, 0.12), (0.88, 0.12), (0.12, 0.88), (0.88, 0.88)][number % 4]
    return {
        "another picture": other,
        "mirrored": seen.flip(1),
        "rolled": seen.roll((rows // 2, columns // 2), (0, 1)),
        "inverted": 1 - seen,
        "corner": blob(seen, *corner),
        "centre": blob(seen, 0.5, 0.5),
        "random network": randomised,
        "another class": wrong,
    }


def blob(like: Tensor, x: float, y: float, deviation: float = 0.2) -> Tensor:
    rows, columns = ((torch.arange(side) + 0.5) / side for side in like.shape)
    return (-((columns - x) ** 2 + (rows[:, None] - y) ** 2) / (2 * deviation**2)).exp()


def heard(hearing: Hearing, raw: Tensor) -> dict[str, float] | None:
    """The figures of a map, or None where it says nothing."""
    cells = cells_of(raw)
    return None if says_nothing(cells) else figures(hearing, cells)


def measure_pictures(
    model: ll.models.Model, network: str, rows: Sequence[dict[str, str]], methods: Sequence[str], half: str, start: int
) -> Iterator[dict[str, Any]]:
    """A record a photograph: the figures of its true and of its planted maps."""
    randomised = ll.load(NAMES[network], weights="random")
    folder = DATA / "imagenet-1k-samples"
    previous = ll.explain(model, read(model, folder / rows[start - 1]["file"])).raws[0][0, 0]
    for number, row in enumerate(rows[start:], start):
        image = read(model, folder / row["file"])
        hearing = Hearing.of(model.network, image, None, model.labels)
        target = int(hearing.asked.named[0].index or 0)
        true = maps_of(model, network, image, target, methods)
        wrong = ll.explain(model, image, (target + random.Random(number).randrange(1, 1000)) % 1000).raws[0][0, 0]
        unlearned = ll.explain(randomised, image, target).raws[0][0, 0]
        own = true["gradcam"]
        bad = planted(own, previous, unlearned, wrong, number)
        previous = own
        found = {name: heard(hearing, raw) for name, raw in (true | bad).items()}
        right = target == int(row["index"])
        yield {"set": "pictures", "network": network, "half": half, "file": row["file"], "right": right, "maps": found}


def measure_mosaics(
    model: ll.models.Model, network: str, rows: Sequence[dict[str, str]], count: int, half: str, start: int
) -> Iterator[dict[str, Any]]:
    """A record a mosaic, as small as the network's input: Grad-CAM's figures, and where it falls."""
    draw = random.Random(2)
    for number in range(count):
        chosen = draw.sample(list(rows), 4)
        while len({row["index"] for row in chosen}) < 4:
            chosen = draw.sample(list(rows), 4)
        if number < start:
            continue
        files = tuple(DATA / "imagenet-1k-samples" / row["file"] for row in chosen)
        case = Case(files, tuple(int(row["index"]) for row in chosen), number % 4)
        image = avg_pool2d(mosaic(model, case)[None], 2)
        target = case.classes[case.quarter]
        raw = ll.explain(model, image, target).raws[0][0, 0]
        hearing = Hearing.of(model.network, image, target, model.labels)
        peak = resize(rectify(raw), (image.shape[2], image.shape[3]))
        row, column = divmod(int(peak.argmax()), peak.shape[1])
        hit = (row >= peak.shape[0] // 2, column >= peak.shape[1] // 2) == divmod(case.quarter, 2)
        yield {
            "set": "mosaics", "network": network, "half": half, "file": f"{half} mosaic {number}",
            "share": share(raw, case.quarter), "hit": hit, "maps": {"gradcam": heard(hearing, raw)},
        }  # fmt: skip


def measure_boxes(model: ll.models.Model, network: str, count: int, start: int) -> Iterator[dict[str, Any]]:
    """A record a photograph whose boxes lie off its centre: figures, where the map falls, and what in-painting does."""
    folder = DATA / "boxes" / "imagenet-val"
    with (folder / "boxes.csv").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["centre_in_box"] == "0"][:count]
    for row in rows[start:]:
        image = read(model, folder / row["file"], "whole")
        target = int(row["index"])
        raw = ll.explain(model, image, target).raws[0][0, 0]
        hearing = Hearing.of(model.network, image, target, model.labels)
        size = (image.shape[2], image.shape[3])
        seen = resize(rectify(raw), size)
        corners = torch.tensor([[float(v) for v in box.split()] for box in row["boxes"].split(";")])
        inside = rasterised(corners * (size[0] / 227), size)
        cells = cells_of(raw)
        record = {"set": "boxes", "network": network, "half": "second", "file": row["file"]}
        if says_nothing(cells):
            yield {**record, "share": 0.0, "hit": False, "inpainted": 0.0, "maps": {"gradcam": None}}
            continue
        gone = torch.stack([marked(each, size, (0.25,))[0] for each in (cells, blob(cells, 0.5, 0.5))])
        with torch.no_grad():
            said = model.network(torch.cat([image, noisy_linear(image, gone[:, None]).flatten(0, 1)]))
        before, after, middle = said.log_softmax(dim=1)[:, target].tolist()
        yield {
            **record,
            "share": float((seen * inside).sum() / seen.sum()),
            "hit": bool(inside.flatten()[seen.argmax()]),
            "inpainted": before - after,
            "inpainted_centre": before - middle,
            "maps": {"gradcam": figures(hearing, cells)},
        }


def read(model: ll.models.Model, file: Path, fit: Any = "crop") -> Tensor:
    assert model.preprocessing is not None
    return model.preprocessing(ll.read(file).pixels, fit)[0][None]


def measure(out: Path, mobilenet: Path | None, pictures: int, mosaics: int) -> None:
    """Every set, each to its own file of JSON lines; what a file already holds is not measured again."""
    first, second = halves()
    networks: dict[str, Callable[[], ll.models.Model]] = {"lite0": lambda: ll.load(NAMES["lite0"])}
    if mobilenet:
        networks["mobilenet_v2"] = lambda: ll.load(NAMES["mobilenet_v2"], weights=mobilenet)
    for network, loaded in networks.items():
        model = loaded()
        some = slice(0, pictures)
        both = (*FITTED, *UNSEEN)
        sets: dict[str, Callable[[int], Iterator[dict[str, Any]]]] = {
            "second": partial(measure_pictures, model, network, second[some], both, "second"),
            "boxes": partial(measure_boxes, model, network, mosaics),
            "mosaics-second": partial(measure_mosaics, model, network, second, mosaics, "second"),
        }
        if network == "lite0":
            sets |= {
                "first": partial(measure_pictures, model, network, first[some], FITTED, "first"),
                "mosaics-first": partial(measure_mosaics, model, network, first, mosaics, "first"),
            }
        for name, records in reversed(sets.items()):  # what is fitted on comes first
            resume(out / f"{network}-{name}.jsonl", records)


def resume(file: Path, records: Callable[[int], Iterator[dict[str, Any]]]) -> None:
    """Append the records that are not in the file yet: whoever makes them is told how many are."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as lines:
        lines.seek(0)
        for record in records(len(lines.readlines())):
            lines.write(json.dumps(record) + "\n")
            lines.flush()


def main() -> None:
    options = argparse.ArgumentParser(description="Is the verdict calibrated?")
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--mobilenet", type=Path, help="torchvision's IMAGENET1K_V1 weights of MobileNetV2")
    options.add_argument("--pictures", type=int, default=160, help="of each half")
    options.add_argument("--mosaics", type=int, default=80, help="of each half")
    given = options.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    measure(given.out, given.mobilenet, given.pictures, given.mosaics)


if __name__ == "__main__":
    main()
