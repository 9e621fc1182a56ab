"""Weakly supervised localisation (section 4.1, table 1): a box from the map of a network that never saw one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from limelight.evaluation import chance_maps
from limelight.evaluation.boxes import boxes_from_maps, iou
from limelight.heatmap import resize
from limelight.paper.protocol import (
    GRADCAM,
    Bench,
    Figure,
    Outcome,
    Protocol,
    Row,
    Seen,
    figure,
    is_network,
    per_picture,
)
from limelight.paper.shown import Shown
from limelight.targets import Each, Top

THRESHOLD, OVERLAP, BEST = 0.15, 0.5, 5
CENTRE = "centre"
PUBLISHED = {
    ("vgg16", GRADCAM): (0.5651, 0.4641),
    ("vgg16", "contrastiveexcitation"): (0.7092, 0.6304),
    ("alexnet", GRADCAM): (0.683, 0.566),
    ("googlenet", GRADCAM): (0.6009, 0.4934),
}
"""Localisation error, top-1 and top-5, on ILSVRC-15's validation pictures (table 1)."""
CLASSIFIED = {"vgg16": (0.3038, 0.1089), "alexnet": (0.442, 0.208), "googlenet": (0.319, 0.113)}
"""Classification error of the paper's networks, the same table."""


def fits(shown: Shown) -> bool:
    """A picture of one thing, with its boxes."""
    return any(thing.classes & shown.answer for thing in shown.things)


def measure(bench: Bench, seen: Seen) -> Iterator[Row]:
    """Whether each of the five best classes is right, and whether its map's box fits one of the true boxes."""
    shown = seen.shown
    boxes = torch.cat([shown.boxes(thing, seen.photo) for thing in shown.things if thing.classes & shown.answer])
    for method in bench.methods:
        best = min(BEST, bench.model.num_classes or BEST)
        found = bench.maps(method, seen.image, Each((Top(best), min(shown.answer))))
        classes = [named.index for named in found.targets[0]]
        if method == bench.methods[0]:
            grid = found.raws[0].shape[-2:]
            middle = resize(chance_maps(CENTRE, seen.image, (grid[0], grid[1])), found.input_size)
            yield from _rows(seen, CENTRE, classes, [_fits(seen, middle[0], boxes)] * len(classes), chance=True)
            for many in (1, best):
                wrong = not any(index in shown.answer for index in classes[:many])
                yield seen.row(f"classification top-{1 if many == 1 else BEST}", wrong)
        located = [_fits(seen, one, boxes) for one in found.maps[0]]
        yield from _rows(seen, method, classes, located)


def _rows(
    seen: Seen, method: str, classes: Sequence[int | None], located: Sequence[bool], chance: bool = False
) -> Iterator[Row]:
    *guesses, true = zip(classes, located, strict=True)
    right = [index in seen.shown.answer and fit for index, fit in guesses]
    yield seen.row("localisation top-1", not right[0], method, chance=chance)
    yield seen.row("localisation top-5", not any(right), method, chance=chance)
    yield seen.row("localisation true class", not true[1], method, true[0], chance=chance)


def _fits(seen: Seen, heat: Tensor, boxes: Tensor) -> bool:
    """Whether the box of a map at the input's size overlaps a true one enough, both on the photograph."""
    x0, y0, x1, y1 = boxes_from_maps(heat[None].cpu().float(), THRESHOLD)[0]
    width, height = seen.photo.size
    (x0, y0), (x1, y1) = seen.view.to_photo(x0, y0), seen.view.to_photo(x1, y1)
    own = torch.stack([x0.clamp(0, width), y0.clamp(0, height), x1.clamp(0, width), y1.clamp(0, height)])
    return bool(iou(own[None], boxes).amax() >= OVERLAP)


def outcome(rows: Sequence[Row], bench: Bench) -> Outcome:
    """The table."""
    network = next((name for name in CLASSIFIED if is_network(bench.model.name, name)), None)
    figures: list[Figure] = []
    for place, many in enumerate((1, 5)):
        published = CLASSIFIED[network][place] if network else None
        figures.append(
            figure(f"Classification error, top-{many}", "", per_picture(rows, f"classification top-{many}"), published)
        )
    for method in (*bench.methods, CENTRE):
        own = PUBLISHED.get((network or "", method), (None, None))
        for metric, published in zip(("top-1", "top-5", "true class"), (*own, None), strict=True):
            values = per_picture(rows, f"localisation {metric}", method)
            what = f"Localisation error, {metric}"
            figures.append(figure(what, method, values, published, control=method == CENTRE))
    first = next(one for one in figures if one.method == bench.methods[0])
    middle = next(one for one in figures if one.method == CENTRE)
    answer = (
        f"Of {first.cases} pictures {first.said(first.found)} are not both named and boxed right at the first guess by "
        f"{first.method}; with a spot in the middle for a map it is {middle.said(middle.found)}."
    )
    notes = [] if network else [_others()]
    return Outcome(answer, figures, notes)


def _others() -> str:
    said = "; ".join(
        f"{name} {100 * one:.2f} % and {100 * five:.2f} %"
        for (name, method), (one, five) in PUBLISHED.items()
        if method == GRADCAM
    )
    return f"This network is not in the paper. Its own have a localisation error (top-1 and top-5) of: {said}."


PROTOCOL = Protocol(
    "localisation",
    "Does the map's box fit the object, of a network that learnt from names alone?",
    "section 4.1, table 1",
    "Of Grad-CAM, table 1's, as a later reproduction study has them too; of c-MWP (contrastive excitation), as quoted.",
    (GRADCAM, "contrastiveexcitation"),
    fits,
    "one true class, and boxes of it",
    measure,
    outcome,
    (
        "The paper's networks are Caffe's, with their weights and their mean picture; here it is whichever network was "
        "given, with its own preprocessing.",
        "A picture is squeezed whole into the input (unless --fit says otherwise), and boxes are compared on the "
        "photograph; the paper does not say how its pictures were fitted.",
        "The paper measures ILSVRC-15's 50,000 validation pictures.",
    ),
)
