"""Maps made from a layer's activations, without a gradient through the head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.methods.registry import register

if TYPE_CHECKING:
    from jaxtyping import Float


@register("cam", title="CAM", source="Zhou et al. 2016, arXiv 1512.04150, eq. 2")
def cam(
    activations: Float[Tensor, "batch channels *grid"], class_weights: Float[Tensor, "batch channels"]
) -> Float[Tensor, "batch *grid"]:
    """Channels weighted by the class's own weights in the linear layer (Zhou et al. 2016, eq. 2).

    Only for networks whose head is global average pooling and one linear layer. There Grad-CAM is the same map divided
    by the number of cells (Selvaraju et al. 2017, sec. 3.1).
    """
    return torch.einsum("bc,bc...->b...", class_weights, activations)
