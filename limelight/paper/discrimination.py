"""Class discrimination (section 5.1): does what a map marks show its class, and not another that is there as well?

The paper asks people which of two classes a map is of. Here a second network is shown the marked part alone and says
which of the classes on the picture it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from limelight.errors import InputError
from limelight.evaluation import chance_maps
from limelight.evaluation.perturb import ranks
from limelight.models import Model
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
from limelight.paper.shown import Classes, Shown
from limelight.preprocessing import Preprocessing
from limelight.targets import Each

AREA = 0.25
"""The share of the picture that the second network is shown."""
PUBLISHED = {"guidedbackprop": 0.4444, "guidedgradcam": 0.6123}
"""How often people named the class (table 2)."""
WHOLE, RANDOM = "the whole picture", "random"


def fits(shown: Shown) -> bool:
    """Two classes to tell apart, or one to be put beside others'."""
    return len(shown.things) > 1 or bool(shown.answer)


def measure(bench: Bench, seen: Seen) -> Iterator[Row]:
    """For each class that is there, whether the second network names it, shown what its map marks."""
    assert bench.judge is not None
    image, there = _scene(bench, seen)
    if len(there) < 2:
        return
    scores = probabilities(bench.model, image)[0]
    asked = [most_probable(classes, scores) for classes in there]
    for method in bench.methods:
        maps = bench.maps(method, image, Each(tuple(asked))).raws[0][0]
        if method == bench.methods[0]:
            blind = chance_maps(RANDOM, image, (maps.shape[-2], maps.shape[-1]), first=seen.number)
            for name, part in ((RANDOM, blind.expand(len(asked), -1, -1)), (WHOLE, None)):
                yield from _named(bench, seen, image, part, there, asked, name, chance=True)
        yield from _named(bench, seen, image, maps, there, asked, method)


def _scene(bench: Bench, seen: Seen) -> tuple[Tensor, list[Classes]]:
    """A picture of several classes as it is; else it and three others of other classes, two by two."""
    if len(seen.shown.things) > 1:
        return seen.image, [thing.classes for thing in seen.shown.things]
    tiles, there = [seen.image], [seen.shown.answer]
    count = len(bench.pictures)
    for step in range(1, count):
        other = bench.pictures[(seen.number + step) % count]
        if len(tiles) < 4 and other.answer and not any(other.answer & own for own in there):
            try:
                tiles.append(bench.see((seen.number + step) % count).image)
            except InputError:  # it is told when its own turn comes
                continue
            there.append(other.answer)
    if len(tiles) < 4:
        return seen.image, []
    places = torch.randperm(4, generator=torch.Generator().manual_seed(bench.seed * 1_000_003 + seen.number)).tolist()
    rows = [torch.cat([tiles[places[i]], tiles[places[i + 1]]], dim=3) for i in (0, 2)]
    return torch.cat(rows, dim=2), there


def _named(
    bench: Bench,
    seen: Seen,
    image: Tensor,
    maps: Tensor | None,
    there: Sequence[Classes],
    asked: Sequence[int],
    method: str,
    chance: bool = False,
) -> Iterator[Row]:
    assert bench.judge is not None and bench.model.preprocessing is not None
    pictures = image.expand(len(asked), -1, -1, -1)
    if maps is not None:
        size = (image.shape[-2], image.shape[-1])
        marked = ranks(maps.float(), size) < AREA * size[0] * size[1]
        pictures = torch.where(marked[:, None].to(image.device), pictures, 0)  # the mean colour of what it learnt from
    scores = probabilities(bench.judge, as_input(pictures, bench.model.preprocessing, bench.judge))
    of_class = torch.stack([scores[:, sorted(classes)].sum(dim=1) for classes in there], dim=1)
    for place, (index, guess) in enumerate(zip(asked, of_class.argmax(dim=1).tolist(), strict=True)):
        yield seen.row("named", guess == place, method, index, chance)
        yield seen.row("by guessing", 1 / len(there), method, index, chance)


def as_input(images: Tensor, before: Preprocessing, model: Model) -> Tensor:
    """One network's inputs as another takes them: the same pixels, at its size.

    Raises:
        InputError: the other comes without preprocessing, or with other channels.
    """
    after = model.preprocessing
    if after is None or after.channels != before.channels:
        raise InputError(f"the second network, {model.name}, must take photographs of {before.channels} channels")
    mean, std, own_mean, own_std = (
        images.new_tensor(values)[:, None, None] for values in (before.mean, before.std, after.mean, after.std)
    )
    pixels = F.interpolate(images * std + mean, after.size, mode="bilinear", antialias=True)
    like = next(model.network.parameters(), pixels)
    return ((pixels.clamp(0, 1) - own_mean) / own_std).to(like.device, like.dtype)


def outcome(rows: Sequence[Row], bench: Bench) -> Outcome:
    """How often the class is named, shown what each method marks, a random part, or everything."""
    figures = [
        figure(
            "The class is named from the marked part",
            method,
            per_picture(rows, "named", method),
            PUBLISHED.get(method),
            control=method in (WHOLE, RANDOM),
        )
        for method in (*bench.methods, RANDOM, WHOLE)
    ]
    guessing = per_picture(rows, "by guessing", bench.methods[0])
    figures.append(figure("By guessing among the classes that are there", "", guessing, control=True))
    best = max(figures[: len(bench.methods)], key=lambda one: one.found or 0)
    judge = bench.judge.name if bench.judge else "the second network"
    answer = (
        f"{judge} names the class in {best.said(best.found)} of {best.cases} pictures, shown what {best.method} marks; "
        f"shown a random part, in {figures[-3].said(figures[-3].found)}; by guessing, "
        f"{figures[-1].said(figures[-1].found)}."
    )
    return Outcome(answer, figures)


PROTOCOL = Protocol(
    "discrimination",
    "Does what the map marks show its class, and no other that is there as well?",
    "section 5.1, table 2",
    "As quoted; the paper itself was not at hand.",
    (GRADCAM, "guidedgradcam", "guidedbackprop"),
    fits,
    "two classes that the network knows, or one true class",
    measure,
    outcome,
    (
        "The paper asks people which of two classes a map on a picture of Pascal VOC 2007 is of; here a second network "
        f"is asked, and shown the marked {AREA:.0%} of the picture, the mean colour elsewhere.",
        "Where a picture has one class only, it stands beside three others in a mosaic, and the class is one of four.",
        "What the second network names is the class, of those that are there, which it holds most probable.",
    ),
    judged=True,
)
