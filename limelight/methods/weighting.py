"""The two sums that maps of weighted channels are made of: over a grid, and over the channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float


def grid_mean(values: Float[Tensor, "batch channels *grid"]) -> Float[Tensor, "batch channels"]:
    """Each channel's mean over the grid; of a view that is the same at every cell, one cell."""
    cells = values.flatten(2)
    return cells[..., 0] if cells.stride(2) == 0 else cells.mean(dim=2)


def weighted(
    weights: Float[Tensor, "batch channels"], activations: Float[Tensor, "batch channels *grid"]
) -> Float[Tensor, "batch *grid"]:
    """The channels, summed by weights."""
    if activations.stride(0) == 0 and len(activations) > 1:  # one image, many targets: a single matrix product
        return (weights @ activations[0].flatten(1)).view(len(weights), *activations.shape[2:])
    return torch.einsum("bc,bc...->b...", weights, activations)
