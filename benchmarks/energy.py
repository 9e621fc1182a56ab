"""How much of Grad-CAM falls on the object, by the network's grid: rendered rice and beans, without a shortcut.

    python -m benchmarks.energy --work FOLDER [--train 400] [--test 300] [--seed 1]

Both networks of ``NETWORKS`` start from EfficientNet-Lite0's published weights, are trained as ``limelight train
--frozen --model NAME`` does, on the same pictures, and are asked about the same others: the whole body with a linear
head, 7 x 7 cells, and its first five stages, told by their strongest of 28 x 28 cells.

Reported: accuracy, the share of the Grad-CAM map of what was predicted that lies on grains, the grains' share of the
picture, and what a map of that grid would have whose cells are as strong as the grains fill them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

import limelight as ll
from limelight.data import grains
from limelight.models import Model
from limelight.statistics import wilson
from limelight.studies.gaze import OBJECT, gaze
from limelight.studies.looks import Sample, look
from limelight.studies.study import tested
from limelight.training import train

NETWORKS = "efficientnet_lite0", "efficientnet_lite0_fine"


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.energy", description=__doc__)
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--train", type=int, default=400)
    options.add_argument("--test", type=int, default=300)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args(arguments)
    torch.set_num_threads(1)
    total = given.train + given.test
    folder = given.work / f"grains-{total}-{given.seed}"
    grains.write(folder, total, seed=given.seed, splits=(given.train / total, 0, given.test / total), workers=1)
    print("| network | grid | accuracy | on the grains | of rice | of beans | area | a perfect map |")
    print("|---|---|---|---|--:|--:|--:|--:|")
    for name in NETWORKS:
        run = given.work / f"{name}-{total}-{given.seed}"
        done = train(folder, run, model=name, frozen=True, resume=run.exists())
        print(row(name, ll.load(run), tested(done.run())), flush=True)


def row(name: str, model: Model, sample: Sample) -> str:
    looks = look(model, sample)
    found = [gaze(looks, only).share(OBJECT) for only in (None, *range(len(sample.classes)))]
    named = dict(zip(("all", *sample.classes), found, strict=True))
    overall = named["all"]
    assert overall is not None
    assert overall.interval is not None
    right, of = int(sample.right.sum()), len(sample)
    rows, columns = looks.explanation.raws[-1].shape[-2:]
    cells = [
        name,
        f"{rows} x {columns}",
        "{:.3f} ({:.3f} to {:.3f})".format(right / of, *wilson(right, of)),
        "{:.2f} ({:.2f} to {:.2f})".format(overall.mean, *overall.interval),
        *(f"{one.mean:.2f}" if (one := named[label]) else "" for label in ("rice", "beans")),
        f"{overall.area:.2f}",
        f"{overall.ceiling:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
