"""Maps that weight a layer's channels by gradients of the score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.methods.registry import register

if TYPE_CHECKING:
    from jaxtyping import Float


@register("gradcam", title="Grad-CAM", source="Selvaraju et al. 2017, arXiv 1610.02391, eq. 1 and 2")
def grad_cam(
    activations: Float[Tensor, "batch channels *grid"], gradients: Float[Tensor, "batch channels *grid"]
) -> Float[Tensor, "batch *grid"]:
    """Channels weighted by their mean gradient (Selvaraju et al. 2017, eq. 1 and 2 before the ReLU).

    Signed: where the map is negative, the layer speaks against the target.
    """
    weights = gradients.flatten(2).mean(dim=2)  # eq. 1: global average pooling of the gradients
    return torch.einsum("bc,bc...->b...", weights, activations)  # eq. 2
