"""Which of several layouts a layer has: something is changed in the image, and the cell that changes most tells.

Every layout says which cell lies where the image was changed. Early in a network that cell changes most; later, where
all was mixed, it still changes more by the impulse planted there than by the others. A tensor that no impulse changes,
such as one of words, has no cells of the image, however its shape may look.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
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
CLEAR_RELATIVE, LIFT = 0.9, 1.15
"""Where none did, cells are held against their own change by the other impulses: the bar for the share then, and by how
much the cells that were changed must exceed the mean one."""
LIFT_DOUBTED = 2.0
"""The same after a tensor of as many cells that no impulse had changed: so much only the beginning of a body shows, not
words that have heard of the picture."""


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
    wanted: dict[str, dict[int, Question]] = {}
    for question in questions:
        wanted.setdefault(question.name, {})[question.call] = question
    told: dict[Question, Answer] = {}
    streams: dict[Any, _Stream] = {}

    def listen(name: str):
        calls = 0

        def hook(module: nn.Module, args: Any, output: Any) -> None:
            nonlocal calls
            calls += 1
            tensor, question = first_tensor(output), wanted[name].get(calls)
            if question is not None and tensor is not None:
                told[question] = _answer(question, tensor.detach(), streams)

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
                told.clear()
    return {question: told.get(question) or _untried(question.layouts) for question in questions}


@dataclass
class _Stream:
    """What was heard so far of the tensors of as many cells.

    Attributes:
        layout: theirs; None where it was not found yet, or ``still``.
        still: whether the last one that was judged was changed by no impulse.
        shares: by layout, how well each told tensor agreed with it.
    """

    layout: Layout | None = None
    still: bool = False
    shares: dict[Any, list[float]] = field(default_factory=dict)


def _answer(question: Question, tensor: Tensor, streams: dict[Any, _Stream]) -> Answer:
    """What the changes of one call's output say, or else what those of the calls before it said.

    A branch that mixes everything says nothing, but lies in a stream whose other calls do: those of tokens stay tokens,
    and those of words, which began with words that no impulse changed, stay words. A layout has to hold for all that
    was told of a stream, not for one of many calls, which it may by chance.
    """
    layouts = question.layouts
    if any(is_windowed(layout) for layout in layouts):  # they may be shifted in every other block
        best = _best(layouts, tensor, _Stream())
        return Answer(best, True) if best else _unheard(layouts)
    stream = streams.setdefault(_kind(layouts[0]), _Stream())
    if not _moved(tensor, layouts[0].batch_axis):
        stream.layout, stream.still = None, True
    elif stream.layout is None and (best := _best(layouts, tensor, stream)):
        stream.layout, stream.still = best, False
    if stream.layout is None and not stream.still:
        return _unheard([layout for layout in layouts if _kind(layout) not in stream.shares])
    found = stream.layout and next((each for each in layouts if _kind(each) == _kind(stream.layout)), None)
    return Answer(found, True)


def _kind(layout: Layout) -> Any:
    """What layouts have in common whatever the channels."""
    return str(layout), layout.grid


def _moved(tensor: Tensor, batch_axis: int) -> bool:
    """Whether any impulse changed anything; true where it can't be told."""
    if tensor.shape[batch_axis] != 1 + len(PLACES):
        return True
    plain = tensor.select(batch_axis, 0)
    return any(not torch.equal(tensor.select(batch_axis, number), plain) for number in range(1, 1 + len(PLACES)))


def _best(layouts: Sequence[Layout], tensor: Tensor, stream: _Stream) -> Layout | None:
    """The layout that explains the changes best, if one explains these and those before; after stillness, clearly."""
    shares: dict[Layout, float] = {}
    for layout in layouts:
        one = agreement(layout, tensor, doubted=stream.still)
        if one.told:
            heard = stream.shares.setdefault(_kind(layout), [])
            heard.append(one.share)
            shares[layout] = min(one.share, math.fsum(heard) / len(heard))
    best = max(shares, key=lambda layout: shares[layout], default=None)
    if best is None:
        return None
    return best if shares[best] >= (CLEAR_WINDOWS if is_windowed(best) else CLEAR) else None


def _untried(layouts: Sequence[Layout]) -> Answer:
    """Where no impulse could be planted: a grid with axes of its own is one, whatever else it might be."""
    return Answer(layouts[0], True) if layouts[0].unfolded else _unheard(layouts)


def _unheard(layouts: Sequence[Layout]) -> Answer:
    """Where the changes say nothing: the one layout that the shape allows, or one that explains it without a rest.

    Not channels of which there are as many as cells: that has to be shown.
    """
    some = [layout for layout in layouts if not _by_channels(layout)]
    alone = some and (len(some) == 1 or (some[0].by_image and not some[0].extra))
    return Answer(some[0] if alone else None, False)


def _by_channels(layout: Layout) -> bool:
    """Whether all cells lie in one axis, after that of the channels."""
    return layout.by_image and not layout.unfolded and layout.axes[-1].factors == layout.dimensions


def is_windowed(layout: Layout) -> bool:
    """Whether images and cells share an axis."""
    return any("batch" in axis.factors and len(axis.factors) > 1 for axis in layout.axes)


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


def agreement(layout: Layout, tensor: Tensor, doubted: bool = False) -> Agreement:
    """How well a layout explains the output for a batch as :func:`_planted` makes it.

    Where it is ``doubted``, all that counts is how much more each cell changed than by the other impulses.
    """
    try:
        cells = layout.read(tensor.detach()).float()
    except RuntimeError:
        return Agreement(0.0, False)
    if len(cells) != 1 + len(PLACES):
        return Agreement(0.0, False)
    changes = (cells[1:] - cells[:1]).abs().mean(dim=1)
    if doubted:
        return _relative(changes, LIFT_DOUBTED) or Agreement(0.5, False)
    shares = [
        _rank(change, place)
        for change, place in zip(changes, PLACES, strict=True)
        if float(change.max()) > min(PEAK, change.numel() / 2) * float(change.mean())
    ]
    told = 2 * len(shares) >= len(PLACES)
    absolute = Agreement(math.fsum(shares) / len(shares) if shares else 0.5, told)
    if is_windowed(layout) or (told and absolute.share >= CLEAR):
        return absolute
    return _relative(changes, LIFT) or absolute


def _relative(changes: Tensor, lift: float) -> Agreement | None:
    """The same of the changes ``(impulses, *grid)`` held against each cell's mean one, if that says it clearly."""
    relative = changes / changes.mean(dim=0).clamp(min=torch.finfo(changes.dtype).tiny)
    share = math.fsum(_rank(each, place) for each, place in zip(relative, PLACES, strict=True)) / len(PLACES)
    at = [float(each[_cell(each, place)] / each.mean()) for each, place in zip(relative, PLACES, strict=True)]
    clear = share >= CLEAR_RELATIVE and math.fsum(at) >= lift * len(at)
    return Agreement(share, True) if clear else None


def _rank(change: Tensor, place: Sequence[float]) -> float:
    """The share of the other cells that changed less than the one at a place."""
    there = change[_cell(change, place)]
    below, same = int((change < there).sum()), int((change == there).sum()) - 1
    return (below + same / 2) / (change.numel() - 1)


def _cell(change: Tensor, place: Sequence[float]) -> tuple[int, ...]:
    return tuple(min(int(share * side), side - 1) for share, side in zip(place, change.shape, strict=False))
