"""Chance: maps that know nothing of the network, for the same metrics. A figure without its chance says little."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from limelight.errors import MetricError
from limelight.evaluation.perturb import blurred

if TYPE_CHECKING:
    from jaxtyping import Float


def random_maps(
    batch: int, grid: tuple[int, int], seed: int = 0, first: int = 0
) -> Float[Tensor, "batch height width"]:
    """Uniform numbers on a grid, another for each picture. Give the grid of the method that is measured against it.

    Picture ``i`` gets the map of ``first + i``, whatever else is in its batch.
    """
    drawn = [torch.Generator().manual_seed(seed * 2**32 + first + i) for i in range(batch)]
    return torch.stack([torch.rand(grid, generator=each) for each in drawn])


def centre_gaussian(batch: int, grid: tuple[int, int], deviation: float = 0.25) -> Float[Tensor, "batch height width"]:
    """A Gaussian in the middle, ``deviation`` of a side wide: what photographers' habits alone give."""
    rows, columns = (((torch.arange(side) + 0.5) / side - 0.5) / deviation for side in grid)
    return torch.exp(-(rows[:, None] ** 2 + columns**2) / 2).expand(batch, -1, -1)


def edges(
    images: Float[Tensor, "batch channels rows columns"], smooth: float = 3.0
) -> Float[Tensor, "batch rows columns"]:
    """How strongly the picture changes around each pixel (Sobel's filter), blurred by ``smooth`` pixels.

    What a map is worth that shows the picture and not the network (Adebayo et al. 2018).
    """
    grey = images.mean(dim=1, keepdim=True)
    slope = grey.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
    kernels = torch.stack([slope, slope.T])[:, None]
    found = F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), kernels)
    return blurred(found.square().sum(dim=1, keepdim=True).sqrt(), smooth)[:, 0]


CHANCE = ("random", "centre", "edges")
"""The rows that stand beside every method."""


def chance_maps(
    kind: str,
    images: Float[Tensor, "batch channels rows columns"],
    grid: tuple[int, int],
    seed: int = 0,
    first: int = 0,
) -> Float[Tensor, "batch height width"]:
    """The maps of one of :data:`CHANCE` for these pictures, at the grid of the method they stand beside.

    ``first`` is the number of the first picture among all of them.

    Raises:
        MetricError: there is no such chance map.
    """
    if kind == "random":
        return random_maps(len(images), grid, seed, first).to(images)
    if kind == "centre":
        return centre_gaussian(len(images), grid).to(images)
    if kind == "edges":
        return F.adaptive_avg_pool2d(edges(images)[:, None], grid)[:, 0]
    raise MetricError(f"no chance map is called {kind!r}; there are {', '.join(CHANCE)}")
