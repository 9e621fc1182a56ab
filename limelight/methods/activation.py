"""Maps made from a layer's activations, without a gradient through the head (principal components: ``eigen``)."""

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


@register(
    "fem", title="FEM", source="Fuad et al. 2020, https://hal.science/hal-02963298", per_target=False, signed=False
)
def fem(activations: Float[Tensor, "batch channels *grid"], *, k: float = 2.0) -> Float[Tensor, "batch *grid"]:
    """Channels weighted by the share of their cells that stand out, by the k-sigma rule (Fuad et al. 2020).

    Args:
        activations: of the layer.
        k: how many standard deviations above the channel's mean a cell must be.
    """
    cells = activations.flatten(2)
    deviation, mean = torch.std_mean(cells, dim=2, keepdim=True, correction=0)
    weights = (cells > mean + k * deviation).to(cells.dtype).mean(dim=2)
    return torch.einsum("bc,bc...->b...", weights, activations)


@register("lafam", title="LaFAM", source="Karjauv and Albayrak 2024, arXiv 2407.06059", per_target=False, signed=False)
def lafam(activations: Float[Tensor, "batch channels *grid"]) -> Float[Tensor, "batch *grid"]:
    """The mean of the channels: what the layer holds, without a label (Karjauv and Albayrak 2024)."""
    return activations.mean(dim=1)


@register(
    "randomcam",
    title="RandomCAM",
    source="RandomCAM of https://github.com/jacobgil/pytorch-grad-cam: the control",
    per_target=False,
    signed=False,
)
def random_cam(activations: Float[Tensor, "batch channels *grid"], *, seed: int = 0) -> Float[Tensor, "batch *grid"]:
    """Channels weighted at random, uniformly from [-1, 1], the same for every image: what any good method must beat."""
    drawn = torch.rand(activations.shape[1], generator=torch.Generator().manual_seed(seed))
    return torch.einsum("c,bc...->b...", (2 * drawn - 1).to(activations), activations)
