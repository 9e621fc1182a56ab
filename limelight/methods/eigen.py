"""Maps that are a principal component of what stands at the cells: one number a cell in place of a vector.

A component has no sign of its own. Here it is turned so that it correlates positively with the mean over the channels
of what was decomposed, unless the method's paper says otherwise. The component is centred, so about half of its map is
negative: less than the mean, not evidence against anything.

The decomposition is of the smaller of the two Gram matrices (cells x cells or channels x channels). It gives the map of
a full singular value decomposition, as grad-cam takes it, at a fraction of the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.errors import MethodError
from limelight.methods.registry import register

if TYPE_CHECKING:
    from jaxtyping import Float


@register(
    "eigencam",
    title="EigenCAM",
    source="Muhammad and Yeasin 2020, arXiv 2008.00299",
    per_target=False,
    signed=False,
)
def eigen_cam(activations: Float[Tensor, "batch channels *grid"]) -> Float[Tensor, "batch *grid"]:
    """The first principal component of the activations at the cells (Muhammad and Yeasin 2020), centred as in grad-cam.

    It does not know the target.
    """
    return principal_map(activations)


@register(
    "eigengradcam",
    title="EigenGrad-CAM",
    source="EigenGradCAM of https://github.com/jacobgil/pytorch-grad-cam, after arXiv 2008.00299",
    signed=False,
)
def eigen_grad_cam(
    activations: Float[Tensor, "batch channels *grid"], gradients: Float[Tensor, "batch channels *grid"]
) -> Float[Tensor, "batch *grid"]:
    """The first principal component of gradient x activation, turned towards the HiResCAM map. No paper."""
    return principal_map(gradients * activations)


@register(
    "segeigencam",
    title="Seg-Eigen-CAM",
    source="Chung and Ying 2025, doi 10.3390/app15137562, eq. 10 to 13",
    signed=False,
)
def seg_eigen_cam(
    activations: Float[Tensor, "batch channels *grid"], gradients: Float[Tensor, "batch channels *grid"]
) -> Float[Tensor, "batch *grid"]:
    """The first principal component of |gradient| x activation (Chung and Ying 2025, eq. 10 to 12).

    Eq. 13 turns it so that its extreme is positive. It depends on the target by the gradients' size alone, so what
    speaks for a class and what speaks against it look the same.
    """
    component = principal_map(gradients.abs() * activations)
    cells = component.flatten(1)
    turn = torch.where(cells.amax(dim=1) < -cells.amin(dim=1), -1, 1)
    return component * turn.view(-1, *[1] * (component.ndim - 1))


KERNELS = {
    "sigmoid": lambda dots, gamma: (gamma * dots + 1).tanh(),
    "rbf": lambda dots, gamma: (-gamma * _squared_distances(dots)).exp(),
    "linear": lambda dots, gamma: dots,
}


@register("kpcacam", title="KPCA-CAM", source="Karmani et al. 2024, arXiv 2410.00267", per_target=False, signed=False)
def kpca_cam(
    activations: Float[Tensor, "batch channels *grid"], *, kernel: str = "sigmoid", gamma: float | None = None
) -> Float[Tensor, "batch *grid"]:
    """The first component of a kernel principal component analysis of the cells (Karmani et al. 2024).

    Args:
        activations: of the layer.
        kernel: "sigmoid" tanh(gamma x.y + 1), "rbf" exp(-gamma |x - y|^2), or "linear", which is EigenCAM.
        gamma: None for one over the number of channels.
    """
    if kernel not in KERNELS:
        raise MethodError(f"KPCA-CAM has no kernel {kernel!r}; there are {', '.join(KERNELS)}")
    cells = _centred(activations.flatten(2).mT)
    similar = KERNELS[kernel](cells @ cells.mT, 1 / cells.shape[2] if gamma is None else gamma)
    similar = _centred(_centred(similar).mT)
    values, vectors = torch.linalg.eigh(similar)
    component = vectors[..., -1] * values[..., -1:].clamp(min=0).sqrt()
    return _turned(component, cells).view(-1, *activations.shape[2:])


def principal_map(features: Float[Tensor, "batch channels *grid"]) -> Float[Tensor, "batch *grid"]:
    """Each cell's coordinate on the first principal component of the cells' vectors."""
    cells = _centred(features.flatten(2).mT)
    if cells.shape[1] <= cells.shape[2]:
        values, vectors = torch.linalg.eigh(cells @ cells.mT)
        component = vectors[..., -1] * values[..., -1:].clamp(min=0).sqrt()
    else:
        _, vectors = torch.linalg.eigh(cells.mT @ cells)
        component = (cells @ vectors[..., -1:])[..., 0]
    return _turned(component, cells).view(-1, *features.shape[2:])


def _centred(cells: Float[Tensor, "batch cells columns"]) -> Float[Tensor, "batch cells columns"]:
    return cells - cells.mean(dim=1, keepdim=True)


def _turned(component: Float[Tensor, "batch cells"], cells: Float[Tensor, "batch cells channels"]) -> Tensor:
    """The component, turned so that it correlates positively with the mean over the channels."""
    agreement = (component * cells.mean(dim=2)).sum(dim=1, keepdim=True)
    return component * torch.where(agreement < 0, -1, 1)


def _squared_distances(dots: Float[Tensor, "batch cells cells"]) -> Float[Tensor, "batch cells cells"]:
    lengths = dots.diagonal(dim1=1, dim2=2)
    return (lengths[:, :, None] + lengths[:, None] - 2 * dots).clamp(min=0)
