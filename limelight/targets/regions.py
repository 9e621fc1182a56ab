"""Outputs that are maps of class scores (segmentation): which of their cells are asked about."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from limelight.errors import TargetError
from limelight.nested import main_output
from limelight.targets.asked import Asked, Box, Labels, Named, Question, on_logits_only
from limelight.targets.scores import class_index, label_of


@dataclass(frozen=True)
class Region(Question):
    """A class in a part of the picture (see :func:`region`)."""

    target: Any = None
    mask: Any = None
    box: Box | None = None
    point: tuple[float, float] | None = None

    def check(self, batch: int, labels: Labels) -> None:
        """The class's label or index."""
        if isinstance(self.target, int | str):
            class_index(self.target, len(labels) if labels else None, labels)

    def part(self, start: int, stop: int, total: int) -> Region:
        """With the masks of some of the images, where there is one for each."""
        shape = getattr(self.mask, "shape", ())
        several = total > 1 and len(shape) > 2 and shape[0] == total
        return replace(self, mask=self.mask[start:stop]) if several else self

    def ask(self, outputs: Any, labels: Labels, scale: str) -> list[Asked]:
        """The mean of the class's logits in the part."""
        on_logits_only(self, scale)
        return [_ask_region(self, class_maps(outputs), labels)]


def region(
    target: Any = None,
    *,
    mask: Any = None,
    box: Box | None = None,
    point: tuple[float, float] | None = None,
) -> Region:
    """Why a part of the picture is the class, for a network that gives class scores for every pixel.

    The score is the mean of the class's logits over the part (Vinogradova et al. 2020, Seg-Grad-CAM, which sums).
    Without a mask, a box or a point it is where the class is predicted. Coordinates are those of the map that the
    network gives: its input's pixels, for networks that enlarge their answer.

    Args:
        target: a class index or label; None for the class that is predicted in most of the part.
        mask: ``(height, width)`` or ``(batch, height, width)``, not zero where it counts.
        box: (x0, y0, x1, y1).
        point: (x, y).

    Raises:
        TargetError: more than one of mask, box and point is given, or it is none; and, when the network has run, if it
            does not fit the map or the class is predicted nowhere.
    """
    if sum(part is not None for part in (mask, box, point)) > 1:
        raise TargetError("region(): give one of mask=, box= and point=, not several")
    if box is not None and (len(box) != 4 or not (box[0] < box[2] and box[1] < box[3])):
        raise TargetError(f"region(box={box!r}): a box is (x0, y0, x1, y1) with x0 < x1 and y0 < y1")
    if point is not None and len(point) != 2:
        raise TargetError(f"region(point={point!r}): a point is (x, y)")
    return Region(target, mask, box, point)


def class_maps(outputs: Any) -> Tensor | None:
    """The class scores ``(batch, classes, *grid)`` of every cell, where the outputs are such maps; or None."""
    maps = main_output(outputs)
    return maps if isinstance(maps, Tensor) and maps.ndim > 3 and maps.is_floating_point() else None


def part_of(where: Region, maps: Tensor) -> Tensor | None:
    """The cells that are asked about ``(batch, *grid)``, true where they count; None for where the class is predicted.

    Raises:
        TargetError: the part does not fit the map.
    """
    batch, _, *grid = maps.shape
    if where.mask is not None:
        mask = torch.as_tensor(where.mask, device=maps.device) != 0
        mask = mask.expand(batch, *grid) if list(mask.shape) == grid else mask
        if list(mask.shape) != [batch, *grid]:
            raise TargetError(
                f"a mask of shape {tuple(mask.shape)} does not fit the network's map: it must be {tuple(grid)}, or "
                f"{(batch, *grid)} with one for each image"
            )
        if not mask.flatten(1).any(dim=1).all():
            raise TargetError("a mask is zero everywhere: there is nothing to ask about")
        return mask
    if where.box is None and where.point is None:
        return None
    rows, columns = grid[-2:]
    x0, y0, x1, y1 = where.box or (*where.point, *where.point)  # type: ignore[misc]
    if not (x0 < columns and y0 < rows and x1 >= 0 and y1 >= 0) or (where.point and (x0 < 0 or y0 < 0)):
        kind, given = ("box", where.box) if where.box else ("point", where.point)
        raise TargetError(f"the {kind} {given} lies outside the network's map of {columns} x {rows} (width x height)")
    y, x = (torch.arange(side, device=maps.device) for side in (rows, columns))
    if where.point:
        inside = (y == int(y0))[:, None] & (x == int(x0))
    else:
        inside = ((y + 0.5 >= y0) & (y + 0.5 <= y1))[:, None] & ((x + 0.5 >= x0) & (x + 0.5 <= x1))
    if not inside.any():
        raise TargetError(f"the box {where.box} holds no pixel's centre: make it larger")
    return inside.expand(batch, *grid)


def commonest(maps: Tensor, part: Tensor | None) -> Tensor:
    """The class ``(batch,)`` that is predicted in most of the part, or of the whole map."""
    predicted = maps.detach().argmax(dim=1)
    inside = torch.ones_like(predicted, dtype=torch.bool) if part is None else part
    classes = torch.arange(maps.shape[1], device=maps.device)
    votes = ((predicted[:, None] == classes.view(-1, *[1] * (maps.ndim - 2))) & inside[:, None]).flatten(2).sum(dim=2)
    return votes.argmax(dim=1)


def region_scores(maps: Tensor, classes: Tensor, part: Tensor) -> Tensor:
    """The mean logit ``(batch,)`` of each image's class over its part."""
    chosen = torch.arange(maps.shape[1], device=maps.device) == classes[:, None]
    weights = part.flatten(1).to(maps.dtype)
    own = (maps.flatten(2) * weights[:, None]).sum(dim=2) / weights.sum(dim=1, keepdim=True)
    return torch.where(chosen, own, 0).sum(dim=1)


def _ask_region(where: Region, maps: Tensor | None, labels: Labels) -> Asked:
    """A class in a part of the picture: the mean of its logits there."""
    if maps is None:
        raise TargetError("region() asks a network that gives class scores for every pixel, and this one does not")
    part = part_of(where, maps)
    if where.target is None:
        classes = commonest(maps, part)
    else:
        classes = torch.full((len(maps),), class_index(where.target, maps.shape[1], labels), device=maps.device)
    if part is None:
        predicted = maps.detach().argmax(dim=1)
        part = predicted == classes.view(-1, *[1] * (predicted.ndim - 1))
        if missing := (~part.flatten(1).any(dim=1)).nonzero().flatten().tolist():
            name = label_of(int(classes[missing[0]]), labels)
            raise TargetError(
                f"'{name}' is predicted nowhere in image {missing[0]}: ask about a part of the picture, with "
                "limelight.region(class, box=...), mask=... or point=..."
            )
    inside = part

    def score(outputs: Any, repeats: int = 1) -> Tensor:
        own = class_maps(outputs)
        assert own is not None, "they were maps when the target was settled"
        return region_scores(own, classes.repeat(repeats), inside.repeat(repeats, *[1] * (inside.ndim - 1)))

    indices = classes.tolist()
    return Asked(named=tuple(Named(i, f"{label_of(i, labels)} region") for i in indices), score=score)
