"""Maps from backward passes that are not the gradient's: what an operation hands back is changed by a rule.

Nothing of the network is touched, and functional calls (``F.relu``, ``x.relu()``) are seen as modules are
(:mod:`limelight.rules`). By default the cut is at the input; at an inner layer each method means the same there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from limelight.cut import INPUT
from limelight.heatmap import rectify, resize
from limelight.methods.gradient import grad_cam
from limelight.methods.input_gradient import saliency
from limelight.methods.paths import Baseline, baseline_of
from limelight.methods.registry import register
from limelight.rules import relevance
from limelight.rules.rectifiers import deconvolution as keep_positive
from limelight.rules.rectifiers import guided, rectifying
from limelight.rules.relevance import Composite, away_from_zero
from limelight.rules.rescale import Reference, Rescaled

if TYPE_CHECKING:
    from jaxtyping import Float

    from limelight.cut import LayerSpec
    from limelight.methods.evidence import Evidence

    Backward = Callable[..., Tensor]
    Under = Callable[..., Evidence]
    Reask = Callable[[Tensor], Evidence]


# ---- rectifiers


@register(
    "deconvolution",
    title="Deconvolution",
    source="Zeiler and Fergus 2013, arXiv 1311.2901, sec. 2.1",
    signed=False,
    layer=INPUT,
)
def deconvolution(backward: Backward) -> Float[Tensor, "batch *grid"]:
    """The pass back with its signal rectified at every ReLU, whatever the ReLU's input was (Zeiler and Fergus 2013).

    The largest absolute value of a pixel's colours. Shows which patterns the network responded to, hardly which class
    they speak for.

    Raises:
        MethodError: there is no ReLU, nor anything like one, after the layer.
    """
    return saliency(backward(partial(rectifying, rule=keep_positive)))


@register(
    "guidedbackprop",
    title="Guided backpropagation",
    source="Springenberg et al. 2014, arXiv 1412.6806, sec. 3.4",
    signed=False,
    layer=INPUT,
)
def guided_backprop(backward: Backward) -> Float[Tensor, "batch *grid"]:
    """The gradient kept at every ReLU only where it, and the ReLU's input, are positive (Springenberg et al. 2014).

    The largest absolute value of a pixel's colours. GELU, SiLU, Hardswish and their like are rectifiers too: where
    input and signal are positive they hand back their own slope; grad-cam, captum and zennit leave those as they are.
    Sharp, and hardly class-discriminative: see Guided Grad-CAM.

    Raises:
        MethodError: there is no ReLU, nor anything like one, after the layer.
    """
    return saliency(_guided(backward))


@register(
    "guidedgradcam",
    title="Guided Grad-CAM",
    source="Selvaraju et al. 2017, arXiv 1610.02391, sec. 3.2",
    signed=False,
    passes="2",
)
def guided_grad_cam(
    activations: Float[Tensor, "batch channels *grid"],
    gradients: Float[Tensor, "batch channels *grid"],
    recut: Callable[[LayerSpec], Evidence],
) -> Float[Tensor, "batch height width"]:
    """Guided backpropagation times Grad-CAM, rectified and upsampled, at the resolution of the input (Selvaraju 2017).

    grad-cam has it as a script for the first image of a batch, and rescales both factors; here every image has its own.
    """
    fine = _guided(recut(INPUT).backward[0])
    coarse = resize(rectify(grad_cam(activations, gradients)), (fine.shape[-2], fine.shape[-1]))
    return saliency(fine * coarse[:, None])


def _guided(backward: Backward) -> Tensor:
    return backward(partial(rectifying, rule=guided))


# ---- excitation

EXCITATION = Composite(relevance.plus(bias=False), relevance.plus(bias=False))
CONTRAST = Composite(relevance.plus(bias=False), relevance.plus(bias=False), last=relevance.contrast)


@register(
    "excitationbackprop",
    title="Excitation backpropagation",
    source="Zhang et al. 2016, arXiv 1608.00507, eq. 3 to 5",
    signed=False,
    passes="2",
)
def excitation_backprop(
    of_logits: Float[Tensor, "batch classes"], under: Under, *, contrastive: bool = False
) -> Float[Tensor, "batch *grid"]:
    """The marginal winning probability of each cell: a walk from the class down along excitatory connections.

    From each unit the walk goes to those that excite it, in proportion to activation times positive weight (Zhang et
    al. 2016). Biases excite nothing. The paper reads it at a layer in the middle, where all activations are positive;
    where they are not, negative activations times negative weights excite as well. It sums to 1 where every unit on the
    way is excited by some other. Negative where an addition joins branches of opposite sign.

    Args:
        of_logits: where the walk begins: at the target class.
        under: a pass under the rule.
        contrastive: subtract the walk that begins at the class's dual, which has negated weights (c-MWP).
    """
    watch = (CONTRAST if contrastive else EXCITATION).watch()
    return relevance_from_outputs(under(watch), watch, of_logits).sum(dim=1)


@register(
    "contrastiveexcitation",
    title="Contrastive excitation backpropagation (c-MWP)",
    source="Zhang et al. 2016, arXiv 1608.00507, sec. 3.3",
    passes="2",
)
def contrastive_excitation(of_logits: Float[Tensor, "batch classes"], under: Under) -> Float[Tensor, "batch *grid"]:
    """What excites the class less what excites its dual, both as probabilities (c-MWP; Zhang et al. 2016, sec. 3.3).

    Signed; the map sums to zero where nothing is lost on the way. The paper shows its positive part.
    """
    return excitation_backprop(of_logits, under, contrastive=True)


def relevance_from_outputs(pass_: Evidence, watch: relevance.Propagation, outputs: Tensor) -> Tensor:
    """The relevance at the cut of given relevance at the class scores."""
    watch.check(pass_.scores[0])
    gradients = pass_.reask[0](outputs / away_from_zero(pass_.logits[0], 1e-12)).gradients[0]
    return watch.at_cut(pass_.activations[0], gradients)


# ---- relevance


def _relevance(under: Under, composite: Composite) -> Tensor:
    watch = composite.watch()
    pass_ = under(watch)
    watch.check(pass_.scores[0])
    return watch.at_cut(pass_.activations[0], pass_.gradients[0]).sum(dim=1)


@register(
    "lrpepsilon",
    title="LRP (epsilon)",
    source="Bach et al. 2015, doi 10.1371/journal.pone.0130140, eq. 58",
    passes="2",
    layer=INPUT,
)
def lrp_epsilon(under: Under, *, epsilon: float = relevance.EPSILON) -> Float[Tensor, "batch *grid"]:
    """Relevance shared in proportion to contributions in every layer (Bach et al. 2015, eq. 58).

    Signed. Without biases, and as ``epsilon`` vanishes, the map sums to the score and is input x gradient (for ReLU
    networks); a bias keeps its share.
    """
    return _relevance(under, Composite(relevance.epsilon(epsilon), relevance.epsilon(epsilon)))


@register(
    "lrpepsilonplus",
    title="LRP (epsilon, plus)",
    source="Montavon et al. 2019, doi 10.1007/978-3-030-28954-6_10; zennit's EpsilonPlus: arXiv 2106.13200",
    passes="2",
    layer=INPUT,
)
def lrp_epsilon_plus(under: Under, *, epsilon: float = relevance.EPSILON) -> Float[Tensor, "batch *grid"]:
    """Positive contributions only in convolutions, all of them in linear layers. Signed."""
    return _relevance(under, Composite(relevance.plus(), relevance.epsilon(epsilon)))


@register(
    "lrpepsilongammabox",
    title="LRP (epsilon, gamma, box)",
    source="Montavon et al. 2019, doi 10.1007/978-3-030-28954-6_10; zennit's EpsilonGammaBox: arXiv 2106.13200",
    passes="2",
    layer=INPUT,
)
def lrp_epsilon_gamma_box(
    under: Under,
    *,
    epsilon: float = relevance.EPSILON,
    gamma: float = 0.25,
    low: Tensor | float | None = None,
    high: Tensor | float | None = None,
) -> Float[Tensor, "batch *grid"]:
    """The box rule in the first layer, gamma in the other convolutions, epsilon in linear layers. Signed.

    Args:
        under: a pass under the rules.
        epsilon: of linear layers.
        gamma: by how much contributions of the output's sign are favoured.
        low: the smallest value a pixel can have, in the network's own space, a number or ``(channels, 1, 1)``; None for
            each image's own smallest value, channel by channel.
        high: the largest.
    """
    box = relevance.box(low, high)
    return _relevance(under, Composite(relevance.gamma(gamma), relevance.epsilon(epsilon), first=box))


@register(
    "lrpalpha2beta1flat",
    title="LRP (alpha 2, beta 1, flat)",
    source="Lapuschkin et al. 2019, doi 10.1038/s41467-019-08987-4; zennit's EpsilonAlpha2Beta1Flat: arXiv 2106.13200",
    passes="2",
    layer=INPUT,
)
def lrp_alpha2_beta1_flat(under: Under, *, epsilon: float = relevance.EPSILON) -> Float[Tensor, "batch *grid"]:
    """Flat in the first layer, alpha 2 and beta 1 in the other convolutions, epsilon in linear layers. Signed."""
    rules = Composite(relevance.alpha_beta(2, 1), relevance.epsilon(epsilon), first=relevance.flat)
    return _relevance(under, rules)


# ---- differences


@register(
    "deeplift",
    title="DeepLIFT",
    source="Shrikumar et al. 2017, arXiv 1704.02685, eq. 1 and 10 (rescale rule)",
    passes="3",
    layer=INPUT,
)
def deep_lift(
    images: Float[Tensor, "batch channels height width"], under: Under, *, baseline: Baseline = 0.0
) -> Float[Tensor, "batch *grid"]:
    """The difference from a baseline image, times the slopes of the chords between the two (Shrikumar et al. 2017).

    Signed, and complete: the map sums to the score of the image less that of the baseline, at the input and at every
    layer that all of the score goes through. captum's is not where there is max pooling, or a product of two tensors
    (squeeze-and-excitation).

    Args:
        images: the image.
        under: passes under the rule.
        baseline: a number (0 is the mean colour), "blur", or a tensor.
    """
    reference, start = Reference(), baseline_of(images, baseline)
    started = under(reference, images=start[:1] if isinstance(baseline, int | float) else start)
    ended = under(Rescaled(reference))
    return ((ended.activations[0] - started.activations[0]) * ended.gradients[0]).sum(dim=1)
