"""What an inner layer's cells contributed, by gradients along a path of images.

Input x gradient, integrated gradients and GradientSHAP mean at an inner layer what they mean at the input
(``method="integratedgradients", layer="layer3"``): their baseline is then a value of the activations. Here are the
definitions that differ: the baseline is an image, and the path leads through images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.errors import MethodError
from limelight.head import Alter, Head
from limelight.methods.around import spread_of
from limelight.methods.input_gradient import drawn_baselines, drawn_positions, input_x_gradient
from limelight.methods.paths import Baseline, baseline_of, gauss_legendre, line, normals, one_by_one, over, straight
from limelight.methods.registry import register

if TYPE_CHECKING:
    from jaxtyping import Float

    from limelight.methods.evidence import Evidence

    Rerun = Callable[[Alter, int], Iterator[Evidence]]


@register(
    "layergradientxactivation",
    title="Layer gradient x activation",
    source="captum's LayerGradientXActivation; HiResCAM: Draelos and Carin 2020, arXiv 2011.08891",
)
def layer_gradient_x_activation(
    activations: Float[Tensor, "batch channels *grid"], gradients: Float[Tensor, "batch channels *grid"]
) -> Float[Tensor, "batch *grid"]:
    """Gradient times activation, summed over the channels. Signed. Known among CAMs as HiResCAM: the same map."""
    return input_x_gradient(activations, gradients)


@register(
    "layerintegratedgradients",
    title="Layer integrated gradients",
    source="Sundararajan et al. 2017, arXiv 1703.01365, eq. 1, at a layer; captum's LayerIntegratedGradients",
    passes="1 + steps",
)
def layer_integrated_gradients(
    images: Float[Tensor, "batch channels height width"],
    activations: Float[Tensor, "batch channels *grid"],
    head: Head,
    rerun: Rerun,
    *,
    baseline: Baseline = 0.0,
    steps: int = 50,
) -> Float[Tensor, "batch *grid"]:
    """Integrated gradients from the layer's answer to a baseline image, on a straight line between activations.

    Signed; where all of the score goes through the layer, the map sums to the score less that of the baseline image.

    Args:
        images: what the baseline is made for.
        activations: where the line ends.
        head: gradients along it.
        rerun: gives the baseline image's activations, where it starts.
        baseline: the image: a number (0 is the mean colour), "blur", or a tensor.
        steps: points on the line.
    """
    (start,) = one_by_one(rerun(lambda few: baseline_of(images, baseline)[None], 1), _activations, len(images))
    return straight(head, start, activations, steps).sum(dim=1)


@register(
    "layergradientshap",
    title="Layer GradientSHAP",
    source="captum's LayerGradientShap; after Lundberg and Lee 2017, arXiv 1705.07874",
    passes="3 x samples",
)
def layer_gradient_shap(
    images: Float[Tensor, "batch channels height width"],
    rerun: Rerun,
    *,
    baseline: Baseline = 0.0,
    noise: float = 0.1,
    samples: int = 50,
    seed: int = 0,
) -> Float[Tensor, "batch *grid"]:
    """The layer's gradient at random points between images, times how far its activations move from end to end.

    As in captum the points lie on lines between *images*. The gradient is then met off the line between activations, so
    the map's sum is the difference of the scores only where the trunk is linear. Signed.

    Args:
        images: without noise.
        rerun: the layer's activations and gradients at other images.
        baseline: as in :func:`~limelight.methods.input_gradient.gradient_shap`, an image.
        noise: the noise's standard deviation, as a share of each image's own range of values.
        samples: points drawn.
        seed: of all draws, which are the same for every image.
    """
    start = drawn_baselines(images, baseline, samples, seed)
    positions = drawn_positions(images, samples, seed)
    width = noise * spread_of(images)

    def end(few: Tensor) -> Tensor:
        return images + width * normals(few, images.shape[1:], seed, images)

    def point(few: Tensor) -> Tensor:
        return start(few) + over(positions[few], images[None]) * (end(few) - start(few))

    def origin(few: Tensor) -> Tensor:
        return start(few).expand(len(few), *images.shape)

    seen = (
        one_by_one(rerun(where, samples), look, len(images))
        for where, look in ((point, _gradients), (end, _activations), (origin, _activations))
    )
    total = torch.zeros((), dtype=images.dtype, device=images.device)
    for gradient, at_end, at_start in zip(*seen, strict=True):
        total = total + (gradient * (at_end - at_start)).sum(dim=1) / samples
    return total


@register(
    "conductance",
    title="Conductance",
    source="Dhamdhere et al. 2018, arXiv 1805.12233; as a sum of steps: Shrikumar et al. 2018, arXiv 1807.09946",
    passes="1 + steps",
)
def conductance(
    images: Float[Tensor, "batch channels height width"],
    rerun: Rerun,
    *,
    baseline: Baseline = 0.0,
    steps: int = 50,
) -> Float[Tensor, "batch *grid"]:
    """How much of the integrated gradient flows through each cell (Dhamdhere et al. 2018).

    The gradient at the layer, integrated over the way that the activations go while the image comes from its baseline
    (Shrikumar et al. 2018). Signed; where all of the score goes through the layer, the map sums to the score less that
    of the baseline. Trapezoids from end to end: captum leaves out the first and last stretch of the path, and takes
    each step's gradient at its beginning, so it needs more steps for the same sum.

    Args:
        images: where the path ends.
        rerun: the layer's activations and gradients along it.
        baseline: where it starts: a number (0 is the mean colour), "blur", or a tensor.
        steps: stretches of the path.
    """
    if steps < 1:
        raise MethodError(f"steps={steps}: a path needs at least one")
    path = line(baseline_of(images, baseline), images, torch.linspace(0, 1, steps + 1).to(images))
    total = torch.zeros((), dtype=images.dtype, device=images.device)
    for (before, slope_before), (after, slope_after) in pairwise(
        both.unbind(dim=1) for both in one_by_one(rerun(path, steps + 1), _activations_and_gradients, len(images))
    ):
        total = total + ((after - before) * (slope_before + slope_after) / 2).sum(dim=1)
    return total


@register(
    "internalinfluence",
    title="Internal influence",
    source="Leino et al. 2018, arXiv 1802.03788",
    per_target=False,
    passes="steps",
)
def internal_influence(
    images: Float[Tensor, "batch channels height width"],
    rerun: Rerun,
    *,
    baseline: Baseline = 0.0,
    steps: int = 50,
) -> Float[Tensor, "batch *grid"]:
    """The layer's mean gradient while the image comes from its baseline, summed over the channels (Leino et al. 2018).

    An influence, not a contribution: it is not multiplied by the activations, and a silent cell has one too. Right
    before average pooling and a linear layer it is the same in every cell, whatever the class: ask an earlier layer. So
    it is not listed as depending on the target. Signed.

    Args:
        images: where the path ends.
        rerun: the layer's gradients along it.
        baseline: where it starts: a number (0 is the mean colour), "blur", or a tensor.
        steps: points on the path.
    """
    nodes, weights = gauss_legendre(steps, like=images)
    path = line(baseline_of(images, baseline), images, nodes)
    total = torch.zeros((), dtype=images.dtype, device=images.device)
    for weight, gradients in zip(weights, one_by_one(rerun(path, steps), _gradients, len(images)), strict=True):
        total = total + weight * gradients.sum(dim=1)
    return total


def _activations(evidence: Evidence) -> Tensor:
    return evidence.activations[0]


def _gradients(evidence: Evidence) -> Tensor:
    return evidence.gradients[0]


def _activations_and_gradients(evidence: Evidence) -> Tensor:
    return torch.stack([evidence.activations[0], evidence.gradients[0]], dim=1)
