"""How much of Grad-CAM falls on the object, by how a network pools: rendered rice and beans, without a shortcut.

    python -m benchmarks.energy --work FOLDER [--train 400] [--test 300] [--seed 1]

Three networks on EfficientNet-Lite0's frozen body learn from the same pictures and are asked about the same others:

- the whole body with a linear head, as ``limelight train --frozen`` makes it: 7 x 7 cells;
- its first five stages, shown the pictures at twice the size: 28 x 28 cells, and a linear head on their mean;
- the same, but each class is told by the mean of its ``STRONGEST`` cells, without an offset, and each class is asked
  by itself. What is in the pictures of both classes must then speak against both: a cell of table that spoke for rice
  would call every picture of beans rice. With a mean over all cells it may say anything, since the offset makes up for
  it.

Reported: accuracy, the share of the Grad-CAM map of what was predicted that lies on grains, the grains' share of the
picture, and what a map of that grid would have whose cells are as strong as the grains fill them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import limelight as ll
from limelight.data import grains
from limelight.models import Model
from limelight.statistics import wilson
from limelight.studies.gaze import OBJECT, gaze
from limelight.studies.looks import Sample, look
from limelight.studies.study import tested
from limelight.training import Dataset, Picture, read_dataset, train
from limelight.training.pictures import Pictures
from limelight.training.predict import scores

SIDE = 448
CHANNELS = 672
STRONGEST = 20
"""Cells of 784 by whose mean a class is told: a grain or two."""
EPOCHS, BATCH, RATE, DECAY = 6, 20, 3e-3, 0.05


class Pooled(nn.Module):
    """A body, evidence for each class in each of its cells, and a score for each class from its cells.

    ``strongest`` cells of each class are averaged; with None all are, and there is an offset.
    """

    def __init__(self, body: nn.Module, classes: int, strongest: int | None):
        super().__init__()
        self.body, self.strongest = body, strongest
        self.evidence = nn.Conv2d(CHANNELS, classes, 1, bias=strongest is None)
        nn.init.zeros_(self.evidence.weight)
        if self.evidence.bias is not None:
            nn.init.zeros_(self.evidence.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 3, SIDE, SIDE) -> (batch, classes)."""
        return self.pooled(self.body(x))

    def pooled(self, features: Tensor) -> Tensor:
        """(batch, CHANNELS, rows, columns) -> (batch, classes)."""
        cells = self.evidence(features).flatten(2)
        return cells.mean(2) if self.strongest is None else cells.topk(self.strongest, dim=2).values.mean(2)

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Of classes against each other; where the strongest cells are pooled, of each class by itself."""
        said = self.pooled(features)
        if self.strongest is None:
            return F.cross_entropy(said, labels)
        return F.binary_cross_entropy_with_logits(said, F.one_hot(labels, said.shape[1]).to(said.dtype))


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
    print("| pooled | grid | accuracy | on the grains | of rice | of beans | area | a perfect map |")
    print("|---|---|---|---|--:|--:|--:|--:|")
    for name, model, sample in networks(read_dataset(folder), given.work / f"run-{total}-{given.seed}"):
        print(row(name, model, sample), flush=True)


def networks(dataset: Dataset, run: Path) -> Iterator[tuple[str, Model, Sample]]:
    """Each network with the test pictures and what it says of them."""
    whole = train(dataset, run, frozen=True, resume=run.exists())
    yield "whole body, linear head", ll.load(run), tested(whole.run())
    learnt, tests = ([dataset.items[i] for i in dataset.of(split)] for split in ("train", "test"))
    base = published(dataset.classes)
    body = first_stages(base.network)
    features = kept(base, body, learnt)
    labels = torch.tensor([item.label for item in learnt])
    for name, strongest in (("five stages, mean of the cells", None), ("five stages, strongest cells", STRONGEST)):
        model = replace(base, network=fitted(Pooled(body, len(dataset.classes), strongest), features, labels))
        said = scores(model, pictures(model, tests), range(len(tests)))
        names = [dataset.name(item) for item in tests]
        yield name, model, Sample(tests, names, dataset.classes, said.softmax(1).numpy())


def published(classes: Sequence[str]) -> Model:
    """EfficientNet-Lite0, to be shown whole pictures at twice the size."""
    model = ll.load("efficientnet_lite0")
    assert model.preprocessing is not None
    shown = replace(model.preprocessing, size=(SIDE, SIDE), crop=1.0)
    return replace(model, preprocessing=shown, labels=tuple(classes), num_classes=len(classes))


def first_stages(network: Any) -> nn.Sequential:
    """The body as far as the last activation of its fifth stage: (batch, CHANNELS, SIDE / 16, SIDE / 16)."""
    *before, last = network.blocks[4]
    ends = (last.conv_pw, last.bn1, last.conv_dw, last.bn2)
    body = nn.Sequential(network.conv_stem, network.bn1, *network.blocks[:4], *before, *ends)
    return body.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def pictures(model: Model, items: Sequence[Picture]) -> Pictures:
    assert model.preprocessing is not None
    return Pictures([item.path for item in items], model.preprocessing)


@torch.inference_mode()
def kept(model: Model, body: nn.Module, items: Sequence[Picture]) -> Tensor:
    """(pictures, CHANNELS, rows, columns) The body's features, in half precision to take half the room."""
    shown = pictures(model, items).batches(range(len(items)), 4)
    return torch.cat([body(batch.contiguous(memory_format=torch.channels_last)).half() for batch in shown])


def fitted(network: Pooled, features: Tensor, labels: Tensor) -> Pooled:
    """The network with its evidence learnt from kept features, whose channels are brought to one size meanwhile."""
    torch.manual_seed(0)
    size = features[::4].float().square().mean((0, 2, 3)).sqrt()[:, None, None] + 1e-3
    head = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(head, weight_decay=DECAY)
    steps = EPOCHS * len(torch.arange(len(labels)).split(BATCH))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(labels)).split(BATCH):
            optimiser.zero_grad()
            network.loss(features[batch].float() / size, labels[batch]).backward()
            optimiser.step()
            schedule.step()
    with torch.no_grad():
        network.evidence.weight /= size
    return network.eval()


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
