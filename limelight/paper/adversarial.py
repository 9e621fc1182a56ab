"""Adversarial robustness (section 6.2): a picture driven to a class that is not there, and the true class's map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from limelight.evaluation.localisation import pointing
from limelight.paper.protocol import GRADCAM, Bench, Outcome, Protocol, Row, Seen, figure, per_picture
from limelight.paper.shown import Shown
from limelight.studies.adversarial import correlation, overlap
from limelight.studies.attacks import CERTAIN, LEVELS, Scores, noise, towards

STRENGTH, STEPS = 8, 40
ATTACKED, NOISE = "attacked", "with noise of the same size"


def fits(shown: Shown) -> bool:
    """A picture of one thing."""
    return bool(shown.answer)


def measure(bench: Bench, seen: Seen) -> Iterator[Row]:
    """The picture before, after a targeted attack, and after as much noise."""
    scores = Scores(bench.model)
    pixels = _pixels(bench, seen)
    before = scores.probabilities(pixels)[0]
    true = max(seen.shown.answer, key=lambda index: float(before[index]))
    goal = _goal(bench, seen, len(before))
    kinds = {
        ATTACKED: towards(scores, pixels, torch.tensor([goal]), STRENGTH, STEPS),
        NOISE: noise(pixels, STRENGTH, [bench.seed * 1_000_003 + seen.number]),
    }
    reached = float(scores.probabilities(kinds[ATTACKED])[0, goal])
    yield seen.row("reached", reached >= CERTAIN, target=goal)
    mask = _mask(seen)
    for method in bench.methods:
        own = bench.maps(method, scores.inputs(pixels), [true]).raws[0][:, 0].float().cpu()
        if mask is not None:
            yield seen.row("points at it, before", _hit(own, mask), method, true)
        for kind, changed in kinds.items():
            after = bench.maps(method, scores.inputs(changed), [true]).raws[0][:, 0].float().cpu()
            yield seen.row(f"correlation, {kind}", float(correlation(own, after)[0]), method, true)
            yield seen.row(f"overlap, {kind}", float(overlap(own, after)[0]), method, true)
            yield seen.row(f"probability, {kind}", float(scores.probabilities(changed)[0, true]), method, true)
            if mask is not None:
                yield seen.row(f"points at it, {kind}", _hit(after, mask), method, true)


def _pixels(bench: Bench, seen: Seen) -> Tensor:
    """The input as a picture of whole levels, in [0, 1]."""
    assert bench.model.preprocessing is not None
    mean, std = (
        torch.tensor(values)[:, None, None]
        for values in (bench.model.preprocessing.mean, bench.model.preprocessing.std)
    )
    return ((seen.image.cpu().float() * std + mean).clamp(0, 1) * LEVELS).round() / LEVELS


def _goal(bench: Bench, seen: Seen, classes: int) -> int:
    """A class that is not on the picture, drawn for it."""
    there = seen.shown.answer.union(*(thing.classes for thing in seen.shown.things))
    absent = [index for index in range(classes) if index not in there]
    return absent[int(np.random.default_rng((bench.seed, seen.number)).integers(len(absent)))]


def _mask(seen: Seen) -> Tensor | None:
    own = next((thing for thing in seen.shown.things if thing.classes & seen.shown.answer), None)
    return None if own is None else seen.shown.mask(own, seen.view, seen.photo)


def _hit(raw: Tensor, mask: Tensor) -> float:
    return float(pointing(raw, mask[None], tolerance=0)[0])


def outcome(rows: Sequence[Row], bench: Bench) -> Outcome:
    """How often the attack reached its class, and what became of the true class's map."""
    figures = [figure("Attacks that reached their class", "", per_picture(rows, "reached"))]
    for method in bench.methods:
        hit = per_picture(rows, "points at it, before", method)
        if hit:
            figures.append(figure("The true class's map points at it, before", method, hit))
        for kind in (ATTACKED, NOISE):
            for metric, what, percent in (
                ("points at it", "The true class's map points at it", True),
                ("probability", "The true class's probability", True),
                ("correlation", "Correlation of the true class's map with the one before", False),
                ("overlap", "Overlap of their strongest fifths", False),
            ):
                if values := per_picture(rows, f"{metric}, {kind}", method):
                    control = kind == NOISE
                    figures.append(figure(f"{what}, {kind}", method, values, percent=percent, control=control))
    reached = figures[0]
    told = [one for one in figures if one.what.startswith("Correlation") and one.method == bench.methods[0]]
    answer = (
        f"{reached.said(reached.found)} of {reached.cases} pictures were driven to a class that is not on them; the "
        f"true class's map keeps a correlation of {told[0].said(told[0].found)} with the one before"
        + (f" ({told[1].said(told[1].found)} under noise)." if len(told) > 1 else ".")
        if told
        else "No map could be compared: each was the same everywhere."
    )
    return Outcome(answer, figures)


PROTOCOL = Protocol(
    "adversarial",
    "Does the map of what is truly there survive an attack that drives the network to something else?",
    "section 6.2",
    "",
    (GRADCAM,),
    fits,
    "one true class",
    measure,
    outcome,
    (
        "The paper shows examples, of VGG-16 and ImageNet's pictures, driven above 0.9999, and gives no figure; here "
        f"the attack is done at {CERTAIN}.",
        f"Steps of one level along the gradient's sign towards a class drawn at random, {STEPS} at most, no value "
        f"changed by more than {STRENGTH} of 255.",
    ),
)
