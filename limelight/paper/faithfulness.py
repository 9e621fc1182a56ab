"""Faithfulness (section 5.3): the rank correlation of a map with the occlusion map of the same class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from limelight.evaluation import Case, Scene, chance_maps, get
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

WINDOW = 5
"""The patch is a fifth of the input's shorter side: 44 pixels of 224."""
PUBLISHED = {
    GRADCAM: 0.254, "guidedgradcam": 0.261, "guidedbackprop": 0.168, "contrastiveexcitation": 0.220, "cam": 0.208,
}  # fmt: skip
CENTRE = "centre"
METRIC = "rank correlation"


def fits(shown: Shown) -> bool:
    """Any picture with a class to ask about."""
    return bool(shown.answer or shown.things)


def measure(bench: Bench, seen: Seen) -> Iterator[Row]:
    """The most probable of the classes that are there is asked about."""
    scores = probabilities(bench.model, seen.image)[0]
    classes = seen.shown.answer or frozenset().union(*(thing.classes for thing in seen.shown.things))
    target = most_probable(classes, scores)
    scene = Scene.of(bench.model, seen.image, [target])
    metric = get("occlusion_correlation")(window=WINDOW)
    for method in bench.methods:
        maps = bench.maps(method, seen.image, [target]).raws[0][:, 0]
        if method == bench.methods[0]:
            middle = chance_maps(CENTRE, seen.image, (maps.shape[-2], maps.shape[-1]))
            yield seen.row(METRIC, float(Case.of(scene, middle).measure(metric)[0]), CENTRE, target, chance=True)
        yield seen.row(METRIC, float(Case.of(scene, maps).measure(metric)[0]), method, target)


def outcome(rows: Sequence[Row], bench: Bench) -> Outcome:
    """The mean correlation of each method."""
    figures = [
        figure(
            "Rank correlation with occlusion",
            method,
            per_picture(rows, METRIC, method),
            PUBLISHED.get(method),
            percent=False,
            control=method == CENTRE,
        )
        for method in (*bench.methods, CENTRE)
    ]
    own = [one for one in figures if not one.control and one.found is not None]
    if not own:
        return Outcome("No map could be compared: each was the same everywhere.", figures)
    best, middle = max(own, key=lambda one: one.found or 0), figures[-1]
    answer = (
        f"{best.method} agrees best with occlusion, {best.said(best.found)} over {best.cases} pictures; a spot in the "
        f"middle has {middle.said(middle.found)}."
    )
    return Outcome(answer, figures)


PROTOCOL = Protocol(
    "faithfulness",
    "Are the places that the map marks those whose occlusion costs the class its score?",
    "section 5.3",
    "As quoted; the paper itself was not at hand.",
    (GRADCAM, "guidedgradcam", "guidedbackprop", "contrastiveexcitation"),
    fits,
    "a class that the network knows",
    measure,
    outcome,
    (
        "The paper averages over 2,510 pictures of Pascal VOC 2007's validation part and VGG-16.",
        "The patch is grey, a fifth of the input's side wide (44 pixels of 224; a later reproduction took 45) and "
        "moves by half its width, not by a pixel; both maps are compared on 14 x 14 cells.",
        "The loss is that of the class's probability.",
    ),
)
