"""What a map marks: its cells, the share of the picture that comes first, the picture without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from limelight.heatmap import rectify, rescale, resize

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

CELLS = 14
"""Cells along a side that a finer map is averaged to: what is taken away are regions, never a dust of pixels."""
SOFT = 10
"""Cells along a side of the stand-in for what is taken away: the picture blurred over a tenth of its side."""
FAINT = 1e-3
"""What nearness weighs beside the map itself: enough to order its ties, never to overrule it."""


def cells_of(heat: Float[Tensor, "height width"]) -> Float[Tensor, "rows columns"]:
    """A map as at most ``CELLS`` cells a side, in [0, 1]: what speaks for the target only."""
    height, width = heat.shape
    return rescale(adaptive_avg_pool2d(rectify(heat.float())[None], (min(height, CELLS), min(width, CELLS)))[0])


def says_nothing(cells: Float[Tensor, "rows columns"]) -> bool:
    """Whether no place of a map comes before another."""
    return bool(cells.amax() == cells.amin())


def marked(
    cells: Float[Tensor, "rows columns"], size: tuple[int, int], shares: tuple[float, ...]
) -> Bool[Tensor, "shares height width"]:
    """The pixels that a map puts first, as large a share of the picture as asked.

    Where a map has ties, as where it is zero, what lies nearer to what it marks comes first.
    """
    surface = resize(cells + FAINT * _nearness(cells), size)
    ordered = surface.flatten().sort(descending=True).values
    least = ordered[[max(1, round(share * len(ordered))) - 1 for share in shares]]
    return surface >= least[:, None, None]


def centred(like: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """The map of somebody who always guesses the middle."""
    rows, columns = (((torch.arange(side, device=like.device) + 0.5) / side - 0.5) ** 2 for side in like.shape)
    return (-(rows[:, None] + columns) / 0.08).exp()


def blurred(images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
    """The pictures' broad colours, without anything in them."""
    return resize(adaptive_avg_pool2d(images.float(), SOFT), (images.shape[-2], images.shape[-1])).to(images.dtype)


def kept_and_taken(
    image: Float[Tensor, "1 channels height width"], masks: Bool[Tensor, "shares height width"]
) -> Float[Tensor, "pictures channels height width"]:
    """The picture with only what is marked, for each share, then without it: blurred elsewhere."""
    masks = torch.cat([masks, ~masks])[:, None]
    return torch.where(masks, image, blurred(image))


def _nearness(cells: Tensor) -> Tensor:
    """How near each cell is to what a map marks, in [0, 1]; the middle of a map breaks what is left of ties."""
    rows, columns = (torch.arange(side, device=cells.device, dtype=cells.dtype) for side in cells.shape)
    places = torch.cartesian_prod(rows, columns).view(-1, 2)
    near = (1 / (1 + torch.cdist(places, places).square()) @ cells.flatten()).view(cells.shape)
    return near / near.amax().clamp(min=torch.finfo(near.dtype).tiny)
