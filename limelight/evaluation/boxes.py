"""Boxes: around a map, around a mask, as a mask, and how well two agree.

A box is x0, y0, x1, y1 in pixels, edges not centres: the box of one pixel in the corner is 0, 0, 1, 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from limelight.errors import MetricError
from limelight.targets.boxes import overlaps

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


def check_boxes(boxes: Tensor, size: tuple[int, int]) -> Float[Tensor, "n 4"]:
    """The boxes of one picture, once it is clear that they lie on it.

    Raises:
        MetricError: the shape is wrong, there is none, or one is empty or reaches beyond the picture.
    """
    boxes = torch.as_tensor(boxes, dtype=torch.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes):
        raise MetricError(f"boxes of shape {tuple(boxes.shape)}: give (n, 4) of x0, y0, x1, y1, at least one")
    rows, columns = size
    x0, y0, x1, y1 = boxes.T
    bad = ~((x0 >= 0) & (y0 >= 0) & (x1 <= columns) & (y1 <= rows) & (x0 < x1) & (y0 < y1))
    if bad.any():
        first = ", ".join(f"{value:g}" for value in boxes[bad][0].tolist())
        raise MetricError(f"box {first} is empty or lies outside its picture of {columns} x {rows} pixels")
    return boxes


def rasterised(boxes: Float[Tensor, "n 4"], size: tuple[int, int]) -> Bool[Tensor, "rows columns"]:
    """The pixels whose centre lies in one of the boxes; the nearest one for a box too thin to hold a centre."""
    rows, columns = (torch.arange(side, device=boxes.device) + 0.5 for side in size)
    x0, y0, x1, y1 = boxes.T[..., None]
    across, down = _held(columns, x0, x1), _held(rows, y0, y1)
    return (down[:, :, None] & across[:, None, :]).any(dim=0)


def _held(centres: Tensor, start: Tensor, end: Tensor) -> Tensor:
    inside = (centres >= start) & (centres < end)
    nearest = (centres - (start + end) / 2).abs().argmin(dim=1, keepdim=True)
    return inside | (~inside.any(dim=1, keepdim=True)).logical_and(
        torch.zeros_like(inside).scatter(1, nearest, torch.ones_like(nearest, dtype=torch.bool))
    )


def around(parts: Bool[Tensor, "n rows columns"]) -> Float[Tensor, "n 4"]:
    """The smallest box around each part; NaN around nothing."""
    boxes = []
    for axis in (1, 2):  # seen from above, then from the side
        line = parts.any(dim=axis)
        places = torch.arange(line.shape[1], device=line.device)
        first = torch.where(line, places, line.shape[1]).amin(dim=1)
        last = torch.where(line, places, -1).amax(dim=1)
        boxes.append((first, last + 1))
    (x0, x1), (y0, y1) = boxes
    found = torch.stack([x0, y0, x1, y1], dim=1).float()
    return torch.where(parts.flatten(1).any(dim=1)[:, None], found, torch.nan)


def iou(a: Float[Tensor, "n 4"], b: Float[Tensor, "m 4"]) -> Float[Tensor, "n m"]:
    """Intersection over union of every box with every other; 0 for a box of NaN."""
    return overlaps(a[:, None], b).nan_to_num(0)


def components(on: Bool[Tensor, "batch rows columns"]) -> Int[Tensor, "batch rows columns"]:
    """A number for each connected part (corners touch), the same on all its pixels; -1 elsewhere.

    Each pixel starts with its own number. In every round a part takes the highest number that touches one of its
    pixels, and numbers are looked up until they lead nowhere further, so that a few rounds do for any shape.
    """
    batch, rows, columns = on.shape
    numbers = torch.arange(batch * rows * columns, device=on.device).view(on.shape)
    labels = torch.where(on, numbers, -1)
    while True:
        near = F.max_pool2d(labels.double()[:, None], 3, stride=1, padding=1)[:, 0].long()
        leads = torch.where(on, near, -1)
        if torch.equal(leads, labels):
            return labels
        to = numbers.flatten().clone()
        to.scatter_reduce_(0, labels[on], leads[on], "amax")
        while not torch.equal(further := to[to], to):
            to = further
        labels = torch.where(on, to[labels.clamp(min=0)], -1)


def largest_parts(on: Bool[Tensor, "batch rows columns"]) -> Bool[Tensor, "batch rows columns"]:
    """The connected part with the most pixels of each; nothing where nothing is on."""
    labels = components(on)
    kept = torch.zeros_like(on)
    for each, out in zip(labels, kept, strict=True):
        if len(found := each[each >= 0]):
            numbers, sizes = found.unique(return_counts=True)
            out |= each == numbers[sizes.argmax()]
    return kept


def boxes_from_maps(seen: Float[Tensor, "batch rows columns"], threshold: float = 0.15) -> Float[Tensor, "batch 4"]:
    """The box around the largest connected part above a share of each map's maximum (Zhou et al. 2016, sec. 3.2).

    Selvaraju et al. 2017 (sec. 4.1) take 15 % of the maximum. NaN for a map of zeros.
    """
    return around(largest_parts(_above(seen, threshold)))


def all_boxes(seen: Float[Tensor, "rows columns"], threshold: float) -> Float[Tensor, "n 4"]:
    """The boxes around every connected part of one map above a share of its maximum; none of a map of zeros."""
    labels = components(_above(seen[None], threshold))[0]
    on = labels >= 0
    numbers, part = labels[on].unique(return_inverse=True)
    ends = []
    for places in on.nonzero().T:  # the rows of all pixels, then the columns
        first = torch.full_like(numbers, max(on.shape)).scatter_reduce(0, part, places, "amin")
        last = torch.zeros_like(numbers).scatter_reduce(0, part, places, "amax")
        ends.append((first, last + 1))
    (y0, y1), (x0, x1) = ends
    return torch.stack([x0, y0, x1, y1], dim=1).float()


def _above(seen: Tensor, threshold: float) -> Tensor:
    peak = seen.amax(dim=(-2, -1), keepdim=True)
    return (seen >= threshold * peak) & (seen > 0)
