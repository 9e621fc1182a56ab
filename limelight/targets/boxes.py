"""Boxes: a detector's candidates before non-maximum suppression, and which of them is asked about.

What a detector returns has been through a threshold and non-maximum suppression: what was thrown away can't be asked
about any more. So it is its candidates that are asked: every box that it considered, with the scores of every class,
which are always there and have a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import ref

import torch
from torch import Tensor

from limelight.errors import TargetError
from limelight.targets.asked import Asked, Box, Labels, Named, Question
from limelight.targets.scores import class_index, label_of

NEVER = 1e-6
"""The probability of a box that a detector does not even consider."""
SAME = 0.9
"""The overlap from which a candidate and a detection are the same box."""


@dataclass(frozen=True)
class Group:
    """Some of one image's candidates: those of one level of a feature pyramid, or all of them.

    Attributes:
        boxes: ``(n, 4)``, or ``(n, classes, 4)`` where each class has its own; x0, y0, x1, y1 in the input's pixels.
        logits: ``(n, classes)``.
        probabilities: ``(n, classes)`` in [0, 1].
        again: the logits ``(classes,)`` of one row by its number, computed once more with a graph of their own, so
            that a gradient costs one row's heads and not all rows'. None: those above have a graph.
        squash: logits ``(..., classes)`` to probabilities; for ``again``.
    """

    boxes: Tensor
    logits: Tensor
    probabilities: Tensor
    again: Callable[[int], Tensor] | None = None
    squash: Callable[[Tensor], Tensor] = torch.sigmoid

    def row(self, number: int) -> tuple[Tensor, Tensor]:
        """The logits and the probabilities ``(classes,)`` of one candidate, with a graph."""
        if self.again is None or not torch.is_grad_enabled():
            return self.logits[number], self.probabilities[number]
        logits = self.again(number)
        return logits, self.squash(logits)

    def of_class(self, index: int) -> Tensor:
        """The boxes ``(n, 4)`` of a class."""
        return self.boxes if self.boxes.ndim == 2 else self.boxes[:, index]


class Found(NamedTuple):
    """One image's detections, best first: boxes ``(m, 4)``, classes ``(m,)`` and probabilities ``(m,)``."""

    boxes: Tensor
    classes: Tensor
    probabilities: Tensor


@dataclass(frozen=True)
class Candidates:
    """What a detector considered in each image, and what it found.

    Attributes:
        groups: each image's candidates.
        found: each image's detections, after the network's own threshold and non-maximum suppression.
        size: (height, width) of the input.
        background: the class that stands for nothing, where there is one.
        canvas: the box of the input that the network's grids cover, where it pads its input: beyond it, as a rule.
    """

    groups: list[list[Group]]
    found: list[Found]
    size: tuple[int, int]
    background: int | None = None
    canvas: Box | None = None

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def classes(self) -> int:
        """How many classes there are, the background among them."""
        return next(group.logits.shape[1] for groups in self.groups for group in groups)


class Place(NamedTuple):
    """One candidate of an image, as one class."""

    group: int
    row: int
    column: int


@dataclass(frozen=True)
class Boxed(Question):
    """A box of a class (see :func:`box`)."""

    target: int | str | None = None
    box: Box | None = None
    overlap: float = 0.5

    def check(self, batch: int, labels: Labels) -> None:
        """The class's label or index."""
        if self.target is not None:
            class_index(self.target, len(labels) if labels else None, labels)

    def ask(self, outputs: Any, labels: Labels, scale: str) -> list[Asked]:
        """The class's score for the candidate that the box matches."""
        candidates = _need(outputs)
        if self.box is not None:
            _check_inside(self.box, candidates.size)
        index = None if self.target is None else class_index(self.target, candidates.classes, labels)
        return [_asked([(index, self.box)] * len(candidates), self.overlap, candidates, labels, scale)]


@dataclass(frozen=True)
class Detections(Question):
    """All that a detector finds (see :func:`detections`)."""

    above: float = 0.0
    most: int | None = None

    def ask(self, outputs: Any, labels: Labels, scale: str) -> list[Asked]:
        """A target for each detection."""
        candidates = _need(outputs)
        chosen: list[list[tuple[int | None, Box | None]]] = []
        for i, found in enumerate(candidates.found):
            real = (found.boxes[:, 2:] > found.boxes[:, :2]).all(dim=1)  # untrained ones find boxes without an area
            kept = ((found.probabilities > self.above) & real).nonzero().flatten().tolist()[: self.most]
            if not kept:
                raise TargetError(
                    f"the network finds nothing in image {i}"
                    + (f" with a probability above {self.above}" if self.above else "")
                    + ": ask about a place with limelight.box((x0, y0, x1, y1), class), or leave target= out for the "
                    "best candidate"
                )
            chosen.append([(int(found.classes[j]), _plain(found.boxes[j])) for j in kept])
        counts = sorted(set(map(len, chosen)))
        if len(counts) > 1:
            raise TargetError(
                f"the network finds between {counts[0]} and {counts[-1]} things in these images, and every image needs "
                f"as many maps as the others: explain them one by one, or ask for the {counts[0]} best with "
                f"detections(most={counts[0]})"
            )
        columns = zip(*chosen, strict=True)
        return [_asked(column, SAME, candidates, labels, scale) for column in columns]


def box(box: Box, target: int | str | None = None, *, overlap: float = 0.5) -> Boxed:
    """Why a detector sees a class in a box, or why it does not: the class's score before non-maximum suppression.

    Of the candidates that overlap the box by at least ``overlap`` (intersection over union), the most probable one is
    asked; where none does, the one that overlaps it most. ``counter(box(...))`` says what speaks against it.

    Args:
        box: (x0, y0, x1, y1) in pixels of the network's input.
        target: a class index or label, as the detector numbers its classes; None for the most probable one there.
        overlap: in (0, 1].

    Raises:
        TargetError: it is no box; and, when the network has run, if it lies outside the picture, or the network is no
            detector or considers nothing there.
    """
    if len(box) != 4 or not (box[0] < box[2] and box[1] < box[3]):
        raise TargetError(f"box({box!r}): a box is (x0, y0, x1, y1) with x0 < x1 and y0 < y1")
    if not 0 < overlap <= 1:
        raise TargetError(f"box(..., overlap={overlap}): an intersection over union lies in (0, 1]")
    return Boxed(target, tuple(map(float, box)), overlap)  # type: ignore[arg-type]


def detections(above: float = 0.0, most: int | None = None) -> Detections:
    """All that a detector finds in an image, best first: a map for each, from one forward pass.

    Args:
        above: the probability from which a detection counts, beside the network's own threshold.
        most: the best so many alone.

    Raises:
        TargetError: a threshold or a number that is none; and, when the network has run, if it finds nothing, or more
            in one image than in another.
    """
    if not 0 <= above < 1:
        raise TargetError(f"detections(above={above}): a probability, from 0 to 1")
    if most is not None and most < 1:
        raise TargetError(f"detections(most={most}): ask for at least one")
    return Detections(above, most)


def overlaps(boxes: Tensor, box: Box | Tensor) -> Tensor:
    """Intersection over union ``(...,)`` of boxes ``(..., 4)`` with one, or with others that broadcast."""
    other = torch.as_tensor(box, device=boxes.device, dtype=boxes.dtype)
    sides = (torch.minimum(boxes[..., 2:], other[..., 2:]) - torch.maximum(boxes[..., :2], other[..., :2])).clamp(min=0)
    both = sides.prod(dim=-1)
    union = _area(boxes) + _area(other) - both
    return both / union.clamp(min=torch.finfo(boxes.dtype).eps)


def find(candidates: Candidates, image: int, index: int | None, box: Box | None, overlap: float) -> Place | None:
    """The candidate of an image that a class and a box mean; None where nothing overlaps the box at all.

    Without a class any but the background is meant, without a box any place.
    """
    best: tuple[float, float, Place] | None = None
    for number, group in enumerate(candidates.groups[image]):
        if not len(group.boxes):
            continue
        classes = [index] if index is not None else _objects(candidates)
        probable = group.probabilities.detach()[:, classes]
        boxes = group.boxes[:, None] if group.boxes.ndim == 2 else group.boxes[:, classes]
        shared = overlaps(boxes, box) if box is not None else (_area(boxes) > 0).to(probable.dtype)
        shared = shared.expand_as(probable)
        close = shared >= overlap
        rank = torch.where(close, 1 + probable, shared) if bool(close.any()) else shared
        row, column = divmod(int(rank.argmax()), len(classes))
        if float(shared[row, column]) <= 0:
            continue
        own = float(rank[row, column]), float(probable[row, column]), Place(number, row, classes[column])
        best = own if best is None or own[:2] > best[:2] else best
    return None if best is None else best[2]


def _objects(candidates: Candidates) -> list[int]:
    """The classes, less the background."""
    return [i for i in range(candidates.classes) if i != candidates.background]


def _asked(
    wanted: Sequence[tuple[int | None, Box | None]], overlap: float, candidates: Candidates, labels: Labels, scale: str
) -> Asked:
    """One class and box an image, settled: from here on it is this class in this box."""
    if scale == "ReST":
        raise TargetError("ReST: takes the classes of a classifier, not a box")
    named, settled, probabilities, places = [], [], [], []
    for i, (index, box) in enumerate(wanted):
        place = find(candidates, i, index, box, overlap)
        places.append(place)
        if place is None:
            if index is None or box is None:
                where = "anywhere" if box is None else f"in the box {box}"
                raise TargetError(f"the network considers nothing {where} in image {i}: ask about another place")
            probabilities.append(NEVER)
        else:
            group, index = candidates.groups[i][place.group], place.column
            box = _plain(group.of_class(index)[place.row]) if box is None else box
            probabilities.append(float(group.probabilities[place.row, index].detach()))
        named.append(Named(index, ("" if scale == "logit" else f"{scale} of ") + label_of(index, labels), box))
        settled.append((index, box))
    if not any(places):
        raise TargetError(
            f"the network considers no box that overlaps {named[0].box}: no candidate of its own lies there, which is "
            "why it finds nothing; ask about a larger box"
        )
    return Asked(
        tuple(named), _score(settled, overlap, scale, candidates, places), probabilities=torch.tensor(probabilities)
    )


def _score(
    settled: Sequence[tuple[int, Box]],
    overlap: float,
    scale: str,
    candidates: Candidates,
    places: Sequence[Place | None],
) -> Callable[..., Tensor]:
    """The score of what was settled; of the very candidates it was settled with, it is known where they lie."""
    known = ref(candidates)  # weakly: a question may outlive the pass

    def score(outputs: Any, repeats: int = 1) -> Tensor:
        candidates = _need(outputs)
        scores = []
        same = candidates is known()
        for i, (index, box) in enumerate([*settled] * repeats):
            place = places[i] if same else find(candidates, i, index, box, overlap)
            like = candidates.groups[i][0].logits
            scores.append(_never(like, scale) if place is None else _on(scale, candidates.groups[i], place))
        return torch.stack(scores)

    return score


def _on(scale: str, groups: Sequence[Group], place: Place) -> Tensor:
    logits, probabilities = groups[place.group].row(place.row)
    if scale == "logit":
        return logits[place.column]
    probable = probabilities[place.column]
    return probable if scale == "probability" else probable.clamp(min=NEVER).log()


def _never(like: Tensor, scale: str) -> Tensor:
    probable = like.new_tensor(NEVER)
    return {"logit": probable.logit(), "probability": probable, "log probability": probable.log()}[scale]


def _need(outputs: Any) -> Candidates:
    if not isinstance(outputs, Candidates):
        raise TargetError(
            "boxes are asked of a detector, and this network is not known for one: torchvision's and DETR are "
            "recognised, and limelight.detector(network, read=...) says where another's boxes are"
        )
    return outputs


def _check_inside(box: Box, size: tuple[int, int]) -> None:
    height, width = size
    if not (box[0] < width and box[1] < height and box[2] > 0 and box[3] > 0):
        raise TargetError(f"the box {box} lies outside the picture of {width} x {height} (width x height)")


def _plain(box: Tensor) -> Box:
    x0, y0, x1, y1 = box.tolist()
    return x0, y0, x1, y1


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)
