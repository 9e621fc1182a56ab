"""Counterfactual maps (section 3.3): what speaks against a class, and whether the class gains when it is gone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from limelight.evaluation import chance_maps
from limelight.evaluation.localisation import energy_pointing
from limelight.evaluation.perturb import ranks, stand_in
from limelight.heatmap import rectify, rescale, resize
from limelight.paper.protocol import (
    GRADCAM,
    Bench,
    Outcome,
    Protocol,
    Row,
    Seen,
    figure,
    most_probable,
    per_picture,
    probabilities,
)
from limelight.paper.shown import Shown
from limelight.targets import Counter, Each

AREA = 0.2
"""The share of the picture that is blurred."""
AGAINST, FOR, RANDOM = "what speaks against it", "what speaks for it", "a random part"


def fits(shown: Shown) -> bool:
    """Any picture with a class to ask about."""
    return bool(shown.answer or shown.things)


def measure(bench: Bench, seen: Seen) -> Iterator[Row]:
    """The change of a class's probability without what speaks against it, for it, and without a random part."""
    scores = probabilities(bench.model, seen.image)[0]
    groups = [thing.classes for thing in seen.shown.things] or [seen.shown.answer]
    asked = [most_probable(classes, scores) for classes in groups]
    instead = stand_in(seen.image, "blur")
    for place, target in enumerate(asked):
        for method in bench.methods:
            maps = bench.maps(method, seen.image, Each((target, Counter(target)))).raws[0][0].float()
            blind = chance_maps("random", seen.image, (maps.shape[-2], maps.shape[-1]), first=seen.number)
            kinds = {FOR: maps[0], AGAINST: maps[1], RANDOM: blind[0].to(maps)}
            size = (seen.image.shape[-2], seen.image.shape[-1])
            gone = ranks(torch.stack(list(kinds.values())), size) < AREA * size[0] * size[1]
            altered = torch.where(gone[:, None], instead, seen.image)
            after = probabilities(bench.model, altered)[:, target] - scores[target]
            for kind, change in zip(kinds, after.tolist(), strict=True):
                yield seen.row(f"change without {kind}", change, method, target, chance=kind == RANDOM)
            others = [thing for i, thing in enumerate(seen.shown.things) if i != place]
            masks = [mask for one in others if (mask := seen.shown.mask(one, seen.view, seen.photo)) is not None]
            own = seen.shown.mask(seen.shown.things[place], seen.view, seen.photo) if others else None
            if masks and own is not None and (elsewhere := torch.stack(masks).any(dim=0) & ~own).any():
                shown = resize(rescale(rectify(maps)), size).cpu()
                shares = energy_pointing(shown, elsewhere[None].expand(len(shown), -1, -1)).tolist()
                for kind, share in zip((FOR, AGAINST), shares, strict=True):
                    yield seen.row(f"share of {kind} on the other objects", share, method, target)
                yield seen.row("area of the other objects", float(elsewhere.float().mean()), method, target, True)


def outcome(rows: Sequence[Row], bench: Bench) -> Outcome:
    """Three changes of the probability and, where several objects are annotated, where the maps fall."""
    figures = []
    for method in bench.methods:
        for kind in (AGAINST, FOR, RANDOM):
            values = per_picture(rows, f"change without {kind}", method)
            figures.append(figure(f"Probability gained without {kind}", method, values, control=kind == RANDOM))
        for metric in (
            *(f"share of {kind} on the other objects" for kind in (AGAINST, FOR)),
            "area of the other objects",
        ):
            if values := per_picture(rows, metric, method):
                figures.append(figure(metric.capitalize(), method, values, control=metric.startswith("area")))
    against, for_it, blind = figures[:3]
    answer = (
        f"Over {against.cases} pictures the class's probability changes by {against.said(against.found)} when what "
        f"speaks against it is blurred, by {for_it.said(for_it.found)} for what speaks for it, and by "
        f"{blind.said(blind.found)} for a random part of the same size."
    )
    return Outcome(answer, figures)


PROTOCOL = Protocol(
    "counterfactual",
    "Is the class held for more likely once what speaks against it is gone?",
    "section 3.3",
    "",
    (GRADCAM,),
    fits,
    "a class that the network knows",
    measure,
    outcome,
    (
        "The paper shows two examples and no figure; this is one way to put a number to them.",
        f"The highest {AREA:.0%} of each map is blurred, with a standard deviation of a 22nd of the side.",
    ),
)
