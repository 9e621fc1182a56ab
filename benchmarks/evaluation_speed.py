"""Deletion and insertion: how long, in plain batched forward passes of the same network, and beside the peers.

    python -m benchmarks.evaluation_speed [--pictures 32] [--steps 100] [--rounds 3] [--group 8] [--json FILE]

One interleaved run: every round times every contender once, in an order of its own, on a group of the pictures before
the next. Times are the processor's, kept (``FILE.times``) as they come, and a run that was stopped goes on. The
plain contender runs the network on as many pictures as the two curves need, ready made, in batches of 32. All others
start from the same maps (random pixels, so that there are no ties) and must give the same curves, which is checked
before anything is timed. limelight is there by itself and by each of its engines, which are made before, once for the
network; what that took is printed.
Quantus has pixel flipping only, with a fixed value for removed pixels: deletion is the flipping by the map, insertion
that by the negated map, which removes what is least marked first; its demand that the steps come out even is switched
off. pytorch-grad-cam has single steps only (a percentile and what takes the place of removed pixels): a curve is as
many calls.
"""

from __future__ import annotations

import argparse
import json
import random
import time
import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import limelight as ll
from benchmarks.contenders import describe, machine
from benchmarks.tables import Spread, write
from limelight.engines import Engine
from limelight.evaluation import Case, Scene
from limelight.files import write_whole

Curves = tuple[Tensor, Tensor]
"""The scores ``(steps, pictures)`` as the most and as the least marked pixels go."""
BATCH = 32


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.evaluation_speed", description=__doc__)
    options.add_argument("--network", default="resnet18")
    options.add_argument("--pictures", type=int, default=32)
    options.add_argument("--steps", type=int, default=100)
    options.add_argument("--side", type=int, default=224)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--group", type=int, default=8)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=CONTENDERS)
    options.add_argument("--json", type=Path, default=Path("out/bench/evaluation_speed.json"))
    given = options.parse_args(arguments)
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")
    question = Question.of(given.network, given.pictures, given.side, given.steps)
    agree(question, given.contenders)
    kept = given.json.with_suffix(".times")
    spreads = ratios(question, given.contenders, given.rounds, given.group, kept)
    print(f"\n{given.network}, deletion and insertion of {given.steps} steps for {given.pictures} pictures:")
    print(describe(machine()) + "\n")
    own = [name for name in given.contenders if name in OURS]
    print(f"| | in plain passes | {' | '.join(f'{name} is so many times as fast' for name in own)} |")
    print("|---|--:|" + "--:|" * len(own))
    for name, (plain, *times) in spreads.items():
        print(f"| {name} | {plain} | {' | '.join(map(str, times))} |")
    write(given.json, {"machine": machine(), "given": {k: str(v) for k, v in vars(given).items()}, "ratios": spreads})


class Question:
    """What every contender is asked."""

    def __init__(self, network: nn.Module, images: Tensor, maps: Tensor, targets: Tensor, steps: int):
        self.network, self.images, self.maps, self.targets, self.steps = network, images, maps, targets, steps

    @property
    def shares(self) -> list[float]:
        """How much is gone after each step, whole pixels, as the peers count them: the last step may be smaller."""
        pixels = self.images[0, 0].numel()
        size = -(-pixels // self.steps)
        return [min(step * size, pixels) / pixels for step in range(-(-pixels // size) + 1)]

    @classmethod
    def of(cls, name: str, pictures: int, side: int, steps: int) -> Question:
        from torchvision import models

        torch.manual_seed(0)
        network = models.get_model(name, weights=None).eval()
        images = torch.randn(pictures, 3, side, side)
        with torch.inference_mode():
            targets = torch.cat([network(part).argmax(dim=1) for part in images.split(BATCH)]).clone()
        return cls(network, images, torch.rand(pictures, side, side), targets, steps)

    def part(self, pictures: int, steps: int, first: int = 0) -> Question:
        few = slice(first, first + pictures)
        return Question(self.network, self.images[few], self.maps[few], self.targets[few].clone(), steps)


def plain(question: Question) -> None:
    """As many pictures as the two curves need: each step of each, their common ends once."""
    whole, rest = divmod(2 * question.steps * len(question.images), BATCH)
    again = -(-BATCH // len(question.images))
    batch = question.images.repeat(again, 1, 1, 1)[:BATCH].contiguous()
    with torch.inference_mode():
        for _ in range(whole):
            question.network(batch)
        if rest:
            question.network(batch[:rest])


def limelight(question: Question, engine: Engine | None = None) -> Curves:
    found = []
    for start in range(0, len(question.images), BATCH):
        part = slice(start, start + BATCH)
        scene = Scene.of(question.network, question.images[part], question.targets[part].tolist(), engine=engine)
        removal = Case.of(scene, question.maps[part]).removal
        found.append((removal(question.shares, "zero"), removal(question.shares, "zero", least=True)))
    most, least = (torch.cat(curves, dim=1) for curves in zip(*found, strict=True))
    return most, least


def by_engine(name: str, precision: str, question: Question) -> Curves:
    return limelight(question, made(question.network, question.images.shape[-1], name, precision))


@cache
def made(network: nn.Module, side: int, name: str, precision: str) -> Engine:
    start = time.process_time()
    engine = ll.engine(name, network, target=0, size=side, precision=precision)
    engine.scores(torch.zeros(1, 3, side, side))  # what makes the scores alone is built when they are first asked for
    print(f"{engine.said}: made in {time.process_time() - start:.1f} s; {engine.agreement}", flush=True)
    return engine


def quantus(question: Question) -> Curves:
    import quantus
    from quantus.helpers import asserts

    asserts.assert_features_in_step = lambda **given: None
    pixels = question.images[0, 0].numel()
    size = -(-pixels // question.steps)  # Quantus removes so many at a time
    metric = quantus.PixelFlipping(
        features_in_step=3 * size, perturb_baseline=0.0, normalise=False, abs=False, disable_warnings=True
    )

    def flipped(maps: Tensor) -> Tensor:
        # All three colours of a pixel at once: its order is that of the flattened colours.
        order = np.repeat(maps[:, None].numpy(), 3, axis=1)
        curves = metric(
            model=question.network,
            x_batch=question.images.numpy(),
            y_batch=question.targets.numpy(),
            a_batch=order,
            softmax=True,
            batch_size=BATCH,
            device="cpu",
            channel_first=True,
        )
        return torch.tensor(np.array(curves)).T

    return flipped(question.maps), flipped(1 - question.maps.double())


def torchcam(question: Question) -> Curves:
    """The engine of torchcam's metric, given our maps."""
    from torchcam.metrics import DeletionInsertionMetric

    extractor = _Extractor(question)
    metric = DeletionInsertionMetric(extractor, lambda out: out.softmax(dim=-1), steps=question.steps, batch_size=BATCH)
    kept: list[Any] = []
    compute = metric._compute_curves
    metric._compute_curves = lambda *given: kept.append(compute(*given)) or kept[-1]  # type: ignore[method-assign]
    found = []
    for start in range(0, len(question.images), BATCH):
        extractor.part = slice(start, start + BATCH)
        metric.update(question.images[extractor.part], question.targets[extractor.part].tolist())
        found.append(kept.pop())
    # Its insertion goes by how much is there.
    return torch.cat([curves[1] for curves in found]).T, torch.cat([curves[2] for curves in found]).T.flip(0)


class _Extractor:
    """As much of a torchcam extractor as its metric asks of one: the maps are there already."""

    def __init__(self, question: Question):
        from contextlib import nullcontext

        self.question, self.model, self.part = question, question.network, slice(None)
        self._hooks_off = nullcontext

    def __call__(self, *args: Any, **options: Any) -> list[Tensor]:
        return [self.question.maps[self.part]]

    def fuse_cams(self, cams: list[Tensor]) -> Tensor:
        return cams[0]


def grad_cam(question: Question) -> Curves:
    """One call for each step, with its own way of taking pixels away (a threshold) and a grey pixel in their place."""
    from pytorch_grad_cam.metrics.perturbation_confidence import (
        PerturbationConfidenceMetric,
        RemoveLeastRelevantFirst,
        RemoveMostRelevantFirst,
    )
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget

    def grey(image: Tensor, kept: Tensor) -> Tensor:
        return image * kept

    curves: list[Tensor] = []
    for remove in (RemoveMostRelevantFirst, RemoveLeastRelevantFirst):
        steps = []
        for share in question.shares[1:]:
            metric = PerturbationConfidenceMetric(remove(100 * (1 - share), grey))
            scores = [
                metric(
                    images,
                    maps.numpy(),
                    [ClassifierOutputSoftmaxTarget(int(t)) for t in targets],
                    question.network,
                    return_diff=False,
                )
                for images, maps, targets in zip(
                    question.images.split(BATCH),
                    question.maps.split(BATCH),
                    question.targets.split(BATCH),
                    strict=True,
                )
            ]
            steps.append(torch.from_numpy(np.concatenate(scores)))
        curves.append(torch.stack(steps))
    return curves[0], curves[1]


OURS: dict[str, Callable[[Question], Any]] = {
    "limelight": limelight,
    "onnx": partial(by_engine, "onnx", "float32"),
    "openvino": partial(by_engine, "openvino", "float32"),
    "eager bf16": partial(by_engine, "eager", "bfloat16"),
    "openvino bf16": partial(by_engine, "openvino", "bfloat16"),
}
CONTENDERS: dict[str, Callable[[Question], Any]] = {
    "plain": plain,
    **OURS,
    "torchcam": torchcam,
    "quantus": quantus,
    "grad-cam": grad_cam,
}


def agree(question: Question, contenders: Sequence[str]) -> None:
    """Say how far each contender's curves of two pictures are from ours."""
    small = question.part(2, 8)
    ours = limelight(small)
    for name in contenders:
        if name in ("plain", "limelight"):
            continue
        for own, theirs in zip(ours, CONTENDERS[name](small), strict=True):
            # Those that leave out the picture as it is begin with the first step.
            worst = float((own[len(own) - len(theirs) :] - theirs.to(own)).abs().max())
            print(f"{name}: curves differ by {worst:.1e} at most", flush=True)


def ratios(
    question: Question, contenders: Sequence[str], rounds: int, group: int, kept: Path
) -> dict[str, tuple[Spread, *tuple[float, ...]]]:
    """Each contender's time in plain passes, and how many times each of ours it is: of each group of each round."""
    times: dict[str, list[float]] = {name: [] for name in ["plain", *contenders]}
    shuffle = random.Random(0).shuffle
    small = question.part(4, 4)
    for name in times:
        CONTENDERS[name](small)  # warm
    done: dict[str, float] = json.loads(kept.read_text()) if kept.exists() else {}
    for number in range(rounds):
        for first in range(0, len(question.images), group):
            part, order = question.part(group, question.steps, first), list(times)
            shuffle(order)
            for name in order:
                place = f"round {number + 1}, pictures {first} to {first + len(part.images) - 1}, {name}"
                if place not in done:
                    start = time.process_time()
                    CONTENDERS[name](part)
                    done[place] = time.process_time() - start
                    write_whole(kept, json.dumps(done, indent=1))
                times[name].append(done[place])
                print(f"{place}: {done[place]:.1f} s", flush=True)
    return {
        name: (
            Spread.of([t / p for t, p in zip(values, times["plain"], strict=True)]),
            *(
                round(median(t / o for t, o in zip(values, times[own], strict=True)), 2)
                for own in contenders
                if own in OURS
            ),
        )
        for name, values in times.items()
    }


if __name__ == "__main__":
    main()
