"""Which of several layouts a layer has: something is changed in the image, and the cell that changes most tells.

Every layout says which cell lies where the image was changed. Early in a network that cell changes most; later it does
so as long as a residual stream or a convolution keeps things in their place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from limelight.borrow import borrowed
from limelight.cut import hooked
from limelight.grid.layout import Layout
from limelight.nested import first_tensor, image_of, own_copies, repeated, with_image

PLACES = ((0.30, 0.62, 0.45), (0.80, 0.21, 0.70), (0.55, 0.88, 0.15), (0.12, 0.40, 0.85))
"""Where impulses are planted, as shares of each dimension: in no row or column of a coarse grid twice."""
SIDE = 1 / 7
"""An impulse's side, as a share of the image's."""
CLEAR = 0.8
"""A layout holds if the cells that it says were changed have changed more than this share of all cells, on average."""
CLEAR_WINDOWS = 0.93
"""The same for windows, which may be shifted by a cell or a few: so near that a lower bar would take them for plain."""
PEAK = 3.0
"""A change says something if some cell changed so much more than the mean one; where all was mixed, none did."""


class Question(NamedTuple):
    """Which layout has this call of this module?"""

    name: str
    call: int
    layouts: tuple[Layout, ...]


class Answer(NamedTuple):
    """The layout that explains the changes best; None where no layout does.

    ``shown`` is false where the changes said nothing, and the layout is only the one that the shape allows.
    """

    layout: Layout | None
    shown: bool


def answers(
    network: nn.Module, questions: Sequence[Question], inputs: tuple[Any, ...], options: dict[str, Any]
) -> dict[Question, Answer]:
    """An answer to each question, from one more pass."""
    scores: dict[Question, list[Agreement]] = {}
    wanted: dict[str, list[Question]] = {}
    for question in questions:
        wanted.setdefault(question.name, []).append(question)

    def listen(name: str):
        calls = 0

        def hook(module: nn.Module, args: Any, output: Any) -> None:
            nonlocal calls
            calls += 1
            for question in wanted[name]:
                tensor = first_tensor(output)
                if question.call == calls and tensor is not None:
                    scores[question] = [agreement(layout, tensor) for layout in question.layouts]

        return hook

    with borrowed(network):
        planted = _planted(inputs, options)
        if planted is not None:
            given, named = planted
            modules = ((network.get_submodule(name), listen(name)) for name in wanted)
            try:
                with hooked(modules):
                    network(*given, **named)
            except RuntimeError:  # it takes one image at a time: what is left open stays so
                scores.clear()
    return {question: _best(question, scores.get(question)) for question in questions}


def _best(question: Question, scores: list[Agreement] | None) -> Answer:
    """The layout that explains the changes best; where they say nothing, one that explains the shape without a rest."""
    scored = list(zip(question.layouts, scores or [Agreement(0.5, False)] * len(question.layouts), strict=True))
    layout, best = max(scored, key=lambda one: one[1].share if one[1].told else 0)
    windowed = any("batch" in axis.factors and len(axis.factors) > 1 for axis in layout.axes)
    if best.told and best.share >= (CLEAR_WINDOWS if windowed else CLEAR):
        return Answer(layout, True)
    left = [layout for layout, score in scored if not score.told]
    alone = left and (len(left) == 1 or (left[0].by_image and not left[0].extra))
    return Answer(left[0] if alone else None, False)


def _planted(inputs: Any, options: Any) -> Any:
    """The inputs of one image as a batch: the image as it is, then once for each impulse."""
    image = image_of((inputs, options))
    if image is None or len(image) != 1:
        return None
    inputs, options = own_copies(repeated((inputs, options), 1 + len(PLACES)))
    images = image.detach().repeat(1 + len(PLACES), *[1] * (image.ndim - 1))
    spread = float(image.detach().float().std()) or 1.0
    random = torch.Generator().manual_seed(0)
    for number, place in enumerate(PLACES, start=1):
        box = images[number]
        for d, share in enumerate(place[: image.ndim - 2], start=1):
            side = max(1, round(box.shape[d] * SIDE))
            box = box.narrow(d, min(max(int(share * box.shape[d] - side / 2), 0), box.shape[d] - side), side)
        noise = torch.randn(box.shape, generator=random).sign() * 3 * spread
        box.add_(noise.to(box))
    return with_image((inputs, options), images)


class Agreement(NamedTuple):
    """How well a layout explains what changed.

    Attributes:
        share: of the cells, in [0, 1], that changed less than the one where the image was changed; a half says nothing.
        told: whether some cells changed much more than others, so that this says something.
    """

    share: float
    told: bool


def agreement(layout: Layout, tensor: Tensor) -> Agreement:
    """How well a layout explains the output for a batch as :func:`_planted` makes it."""
    try:
        cells = layout.read(tensor.detach()).float()
    except RuntimeError:
        return Agreement(0.0, False)
    if len(cells) != 1 + len(PLACES):
        return Agreement(0.0, False)
    changes = (cells[1:] - cells[:1]).abs().mean(dim=1)
    shares = []
    for change, place in zip(changes, PLACES, strict=True):
        if not float(change.max()) > min(PEAK, change.numel() / 2) * float(change.mean()):
            continue
        at = tuple(min(int(share * side), side - 1) for share, side in zip(place, change.shape, strict=False))
        below, same = int((change < change[at]).sum()), int((change == change[at]).sum()) - 1
        shares.append((below + same / 2) / (change.numel() - 1))
    told = 2 * len(shares) >= len(PLACES)
    return Agreement(math.fsum(shares) / len(shares) if shares else 0.5, told)
