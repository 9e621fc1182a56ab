"""Maps from the gradients of noisy copies of the image: SmoothGrad, its square, and the variance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from limelight.cut import INPUT
from limelight.methods.around import over_noise
from limelight.methods.input_gradient import saliency
from limelight.methods.registry import register

if TYPE_CHECKING:
    from jaxtyping import Float

    from limelight.methods.evidence import Evidence
    from limelight.methods.input_gradient import Rerun


@register(
    "smoothgrad",
    title="SmoothGrad",
    source="Smilkov et al. 2017, arXiv 1706.03825",
    signed=False,
    passes="samples",
    layer=INPUT,
)
def smooth_grad(
    images: Float[Tensor, "batch channels height width"],
    rerun: Rerun,
    *,
    samples: int = 25,
    noise: float = 0.15,
    seed: int = 0,
    stable: float | None = None,
) -> Float[Tensor, "batch *grid"]:
    """The saliency of the mean gradient over noisy copies of the image (Smilkov et al. 2017).

    Gradients are averaged with their signs, so that those which noise turns round cancel, and then made a map.
    For captum's, which averages absolute values by default, write ``noise_tunnel("saliency")``.

    Args:
        images: without noise.
        rerun: their gradients with it.
        samples: how many noisy copies.
        noise: the noise's standard deviation, as a share of each image's own range of values (the paper's 10 to 20 %).
        seed: of the noise, which is the same for every image.
        stable: stop before that when an image's mean gradient is as stable as this, in (0, 1).
    """
    return saliency(over_noise(images, rerun, _gradients, "smoothgrad", samples, noise, seed, stable))


@register(
    "smoothgradsquared",
    title="SmoothGrad-squared",
    source="Hooker et al. 2019, arXiv 1806.10758",
    signed=False,
    passes="samples",
    layer=INPUT,
)
def smooth_grad_squared(
    images: Float[Tensor, "batch channels height width"],
    rerun: Rerun,
    *,
    samples: int = 25,
    noise: float = 0.15,
    seed: int = 0,
    stable: float | None = None,
) -> Float[Tensor, "batch *grid"]:
    """The mean squared gradient over noisy copies of the image (Hooker et al. 2019): see :func:`smooth_grad`."""
    return saliency(over_noise(images, rerun, _gradients, "smoothgrad_sq", samples, noise, seed, stable))


@register(
    "vargrad",
    title="VarGrad",
    source="Adebayo et al. 2018, arXiv 1810.03307",
    signed=False,
    passes="samples",
    layer=INPUT,
)
def var_grad(
    images: Float[Tensor, "batch channels height width"],
    rerun: Rerun,
    *,
    samples: int = 25,
    noise: float = 0.15,
    seed: int = 0,
    stable: float | None = None,
) -> Float[Tensor, "batch *grid"]:
    """The gradient's variance over noisy copies of the image (Adebayo et al. 2018): see :func:`smooth_grad`."""
    return saliency(over_noise(images, rerun, _gradients, "vargrad", samples, noise, seed, stable))


def _gradients(evidence: Evidence) -> Tensor:
    return evidence.gradients[0]
