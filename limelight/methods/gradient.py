"""Maps that weight a layer's channels, or its cells, by gradients of the score.

All but the noisy ones cost one forward pass and the head's backward pass. A map is *signed* here where it is linear in
the score: a negated score (``counter``) then gives the negated map. Methods that drop negative gradients are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.methods.paths import blurred, normals, over
from limelight.methods.registry import register
from limelight.methods.weighting import grid_mean, weighted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jaxtyping import Float

    from limelight.head import Alter, Head
    from limelight.methods.evidence import Evidence


@register("gradcam", title="Grad-CAM", source="Selvaraju et al. 2017, arXiv 1610.02391, eq. 1 and 2")
def grad_cam(
    activations: Float[Tensor, "batch channels *grid"], gradients: Float[Tensor, "batch channels *grid"]
) -> Float[Tensor, "batch *grid"]:
    """Channels weighted by their mean gradient (Selvaraju et al. 2017, eq. 1 and 2 before the ReLU).

    Signed: where the map is negative, the layer speaks against the target.
    """
    weights = grid_mean(gradients)  # eq. 1: global average pooling of the gradients
    return weighted(weights, activations)  # eq. 2


@register(
    "gradcampp", title="Grad-CAM++", source="Chattopadhay et al. 2018, arXiv 1710.11063, eq. 5 and 19", signed=False
)
def grad_cam_pp(
    activations: Float[Tensor, "batch channels *grid"], gradients: Float[Tensor, "batch channels *grid"]
) -> Float[Tensor, "batch *grid"]:
    """Channels weighted by their positive gradients, each cell's by alpha (Chattopadhay et al. 2018, eq. 5 and 19).

    grad-cam adds 1e-6 to alpha's denominator, which drowns gradients below 1e-3; torchcam 0.5 leaves alpha out by
    mistake (it divides a copy). Here eq. 19 stands as it is, with g**2 cancelled: alpha = 1 / (2 + g * sum of A). It is
    meant for activations after a ReLU: where a channel sums below zero, alpha's denominator may come close to zero.
    """
    denominator = gradients * _over_grid(activations) + 2
    alpha = torch.where(denominator == 0, torch.inf, denominator).reciprocal()
    return weighted((alpha * gradients.clamp(min=0)).flatten(2).sum(dim=2), activations)


@register(
    "smoothgradcampp",
    title="Smooth Grad-CAM++",
    source="Omeiza et al. 2019, arXiv 1908.01224, eq. 8 and 9",
    signed=False,
    passes="1 + samples",
)
def smooth_grad_cam_pp(
    activations: Float[Tensor, "batch channels *grid"],
    images: Float[Tensor, "batch channels height width"],
    rerun: Callable[[Alter, int], Iterator[Evidence]],
    *,
    samples: int = 8,
    std: float = 0.3,
    seed: int = 0,
) -> Float[Tensor, "batch *grid"]:
    """Grad-CAM++ with its derivatives averaged over noisy copies of the image (Omeiza et al. 2019, eq. 8 and 9).

    The paper prints the first derivative as alpha's numerator; the second is meant, as in the equation of Grad-CAM++
    that it smooths, and without noise this is Grad-CAM++. torchcam 0.5 rectifies the last copy's gradient alone; here,
    as printed, the mean gradient is rectified.

    Args:
        activations: of the image itself.
        images: the image.
        rerun: the same question asked of altered images.
        samples: how many noisy copies.
        std: the noise's standard deviation, in the units of the network's input.
        seed: of the noise, which is the same for every image.
    """
    sums: list[Tensor | float] = [0.0, 0.0, 0.0]
    for noisy in rerun(lambda few: images + std * normals(few, images.shape[1:], seed, images), samples):
        gradients = noisy.gradients[0].unflatten(0, (-1, len(images)))
        sums = [total + (gradients**power).sum(dim=0) for power, total in enumerate(sums, start=1)]
    first, second, third = (torch.as_tensor(total) / samples for total in sums)
    return weighted(_positive_weights(activations, first, second, third), activations)


@register("xgradcam", title="XGrad-CAM", source="Fu et al. 2020, arXiv 2008.02312, eq. 8")
def xgrad_cam(
    activations: Float[Tensor, "batch channels *grid"], gradients: Float[Tensor, "batch channels *grid"]
) -> Float[Tensor, "batch *grid"]:
    """Channels weighted by their gradients' mean, each cell counting by its activation (Fu et al. 2020, eq. 8).

    So the map sums to the sum of gradient x activation: sensitivity and conservation in the paper's sense. A channel
    whose activations sum to zero has no such mean and is left out. Signed.
    """
    total = activations.flatten(2).sum(dim=2)
    weights = (gradients * activations).flatten(2).sum(dim=2) / torch.where(total == 0, torch.inf, total)
    return weighted(weights, activations)


@register("hirescam", title="HiResCAM", source="Draelos and Carin 2020, arXiv 2011.08891, eq. 3")
def hires_cam(
    activations: Float[Tensor, "batch channels *grid"], gradients: Float[Tensor, "batch channels *grid"]
) -> Float[Tensor, "batch *grid"]:
    """Gradient x activation in each cell, summed over the channels (Draelos and Carin 2020, eq. 3).

    Where the head is one linear layer on the cells, the map sums to the score less its bias; after average pooling it
    is Grad-CAM. Signed.
    """
    return (gradients * activations).sum(dim=1)


@register(
    "elementwisegradcam",
    title="Element-wise Grad-CAM",
    source="GradCAMElementWise of https://github.com/jacobgil/pytorch-grad-cam",
    signed=False,
)
def element_wise_grad_cam(
    activations: Float[Tensor, "batch channels *grid"], gradients: Float[Tensor, "batch channels *grid"]
) -> Float[Tensor, "batch *grid"]:
    """HiResCAM with every product rectified before the sum: no channel cancels another. It has no paper."""
    return (gradients * activations).clamp(min=0).sum(dim=1)


@register(
    "layercam", title="LayerCAM", source="Jiang et al. 2021, doi 10.1109/TIP.2021.3089943, eq. 6 and 7", signed=False
)
def layer_cam(
    activations: Float[Tensor, "batch channels *grid"], gradients: Float[Tensor, "batch channels *grid"]
) -> Float[Tensor, "batch *grid"]:
    """Each cell weighted by its own positive gradient (Jiang et al. 2021, eq. 6 and 7)."""
    return (gradients.clamp(min=0) * activations).sum(dim=1)


@register("shapleycam", title="ShapleyCAM", source="Cai 2025, arXiv 2501.06261")
def shapley_cam(
    activations: Float[Tensor, "batch channels *grid"],
    taylor: tuple[Float[Tensor, "batch channels *grid"], Float[Tensor, "batch channels *grid"]],
) -> Float[Tensor, "batch *grid"]:
    """Channels weighted by their Shapley values' mean slope, to the second order (Cai 2025).

    The value of a cell in the score's second-order expansion at the activations is a (g - (H a) / 2); the weight is the
    mean of what stands in brackets. Where the head is piecewise linear H is zero and this is Grad-CAM. Signed.
    """
    gradients, curvature = taylor
    return grad_cam(activations, gradients - curvature / 2)


@register(
    "expectedgradcam",
    title="Expected Grad-CAM",
    source="after Buono et al. 2024, arXiv 2406.01274",
    passes="1 + 2 x samples",
)
def expected_grad_cam(
    activations: Float[Tensor, "batch channels *grid"],
    images: Float[Tensor, "batch channels height width"],
    rerun: Callable[[Alter, int], Iterator[Evidence]],
    head: Head,
    *,
    samples: int = 16,
    std: float = 1.0,
    width: float = 8.0,
    seed: int = 0,
) -> Float[Tensor, "batch *grid"]:
    """Channels weighted by expected gradients: what each adds on the way from perturbed, smoothed images to this one.

    Grad-CAM's local gradient is replaced by the expectation, over perturbed images x' and places t in [0, 1], of the
    gradient at A(x') + t (A(x) - A(x')), times A(x) - A(x') (Buono et al. 2024: "the smoothed expectation of the
    perturbed integrated gradients"). It is complete: the weights, times the number of cells, sum to the score less the
    mean score of the perturbed images. The perturbation is ours: Gaussian noise, then a Gaussian blur. Signed.

    Args:
        activations: of the image itself.
        images: the image.
        rerun: the same question asked of altered images.
        head: the network from the layer on.
        samples: how many perturbed images; one place on each path, evenly spread over the samples.
        std: the noise's standard deviation, in the units of the network's input.
        width: the blur's standard deviation in pixels; 0 for none.
        seed: of the noise, which is the same for every image.
    """
    places = (torch.arange(samples, device=images.device) + 0.5) / samples

    def perturbed(few: Tensor) -> Tensor:
        noisy = (images + std * normals(few, images.shape[1:], seed, images)).flatten(0, 1)
        smooth = blurred(noisy, noisy.new_tensor([width]), width)[0] if width > 0 else noisy
        return smooth.unflatten(0, (-1, len(images)))

    weights, done = activations.new_zeros(activations.shape[:2]), 0
    for far in rerun(perturbed, samples):
        change = activations - far.activations[0].unflatten(0, (-1, len(images)))
        left = over(1 - places[done : done + len(change)], change) * change
        path = head.gradients(lambda few, left=left: activations - left[few], len(change))
        slopes = torch.cat([gradients for _, gradients, _ in path])
        weights += (slopes * change).flatten(3).mean(dim=3).sum(dim=0) / samples
        done += len(change)
    return weighted(weights, activations)


def _positive_weights(
    activations: Float[Tensor, "batch channels *grid"], first: Tensor, second: Tensor, third: Tensor
) -> Float[Tensor, "batch channels"]:
    """Grad-CAM++'s weights (eq. 5 and 19) from the powers of the gradient that stand for the derivatives there."""
    denominator = 2 * second + _over_grid(activations) * third
    alpha = second / torch.where(denominator == 0, torch.inf, denominator)
    return (alpha * first.clamp(min=0)).flatten(2).sum(dim=2)


def _over_grid(activations: Float[Tensor, "batch channels *grid"]) -> Tensor:
    """Each channel's sum over the grid, to be spread over the grid again."""
    return activations.sum(dim=tuple(range(2, activations.ndim)), keepdim=True)
