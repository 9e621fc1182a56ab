"""Maps of the gradient with respect to the image itself: the cut is at the input, the head is the whole network.

By default the activations here are the images, in the network's own (normalised) space. Given an inner layer, each
method means the same there. A map is the sum over the colours where the attribution is signed, and the largest
absolute value where it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.cut import INPUT
from limelight.errors import MethodError, MissingExtra
from limelight.head import Alter, Head
from limelight.methods.around import spread_of
from limelight.methods.paths import (
    Baseline,
    baseline_of,
    blurred,
    gauss_legendre,
    normals,
    over,
    path_integral,
    straight,
)
from limelight.methods.registry import register
from limelight.methods.stable import joined
from limelight.telling import told

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from limelight.methods.evidence import Evidence

    Rerun = Callable[[Alter, int], Iterator[Evidence]]


@register(
    "saliency",
    title="Saliency",
    source="Simonyan et al. 2013, arXiv 1312.6034, sec. 3.1",
    signed=False,
    layer=INPUT,
)
def saliency(gradients: Float[Tensor, "batch channels *grid"]) -> Float[Tensor, "batch *grid"]:
    """The largest absolute gradient of a pixel's colours (Simonyan et al. 2013, sec. 3.1)."""
    return gradients.abs().amax(dim=1)


@register("inputxgradient", title="Input x gradient", source="Shrikumar et al. 2016, arXiv 1605.01713", layer=INPUT)
def input_x_gradient(
    activations: Float[Tensor, "batch channels *grid"], gradients: Float[Tensor, "batch channels *grid"]
) -> Float[Tensor, "batch *grid"]:
    """Gradient times input, summed over the colours (Shrikumar et al. 2016). Signed.

    "Input" is the normalised image: a pixel of the mean colour gets zero whatever its gradient.
    """
    return (activations * gradients).sum(dim=1)


@register(
    "integratedgradients",
    title="Integrated gradients",
    source="Sundararajan et al. 2017, arXiv 1703.01365, eq. 1",
    passes="steps",
    layer=INPUT,
)
def integrated_gradients(
    activations: Float[Tensor, "batch channels *grid"], head: Head, *, baseline: Baseline = 0.0, steps: int = 50
) -> Float[Tensor, "batch *grid"]:
    """The mean gradient on the straight line from a baseline, times the way (Sundararajan et al. 2017, eq. 1).

    Signed, and complete: the map sums to the score of the image less that of the baseline, to the precision of
    ``steps``. The integral is taken by Gauss and Legendre's rule, as in captum.

    Args:
        activations: where the line ends.
        head: gradients along it.
        baseline: where it starts: a number (0 is the mean colour), "blur", or a tensor.
        steps: points on the line.
    """
    return straight(head, baseline_of(activations, baseline), activations, steps).sum(dim=1)


@register(
    "gradientshap",
    title="GradientSHAP",
    source="Lundberg and Lee 2017, arXiv 1705.07874; as shap's GradientExplainer and captum have it",
    passes="samples",
    layer=INPUT,
)
def gradient_shap(
    activations: Float[Tensor, "batch channels *grid"],
    head: Head,
    *,
    baseline: Baseline = 0.0,
    noise: float = 0.1,
    samples: int = 50,
    seed: int = 0,
    stable: float | None = None,
) -> Float[Tensor, "batch *grid"]:
    """Expected gradients with noise on the image: one random point on a line from a baseline for each noisy copy.

    It has no paper of its own; the definition is that of shap and captum (``local_smoothing``, ``stdevs``). Signed.

    Args:
        activations: the image.
        head: gradients at the points.
        baseline: a number, "blur", "noise" (a new draw of white noise for each sample), or a tensor of references
            ``(n, channels, *grid)``, of which each sample takes one at random.
        noise: the noise's standard deviation, as a share of each image's own range of values.
        samples: points drawn. They are spread evenly over the line, each at random within its share of it: the same
            expectation as independent draws, nearer to it.
        seed: of all draws, which are the same for every image.
        stable: stop before that when an image's map is as stable as this, in (0, 1). The points are taken in an order
            that has the whole line covered whenever it stops; being spread evenly, all of them are more stable than
            their halves tell.
    """
    start = drawn_baselines(activations, baseline, samples, seed)
    positions = drawn_positions(activations, samples, seed)
    width = noise * spread_of(activations)
    order = scattered(samples).to(activations.device)

    def end(few: Tensor) -> Tensor:
        return activations + width * normals(few, activations.shape[1:], seed, activations)

    def point(few: Tensor) -> Tensor:
        few = order[few]
        return start(few) + over(positions[few], activations[None]) * (end(few) - start(few))

    def contributions() -> Iterator[Tensor]:
        left = order
        for _, gradients, _ in head.gradients(point, samples):
            few, left = left[: len(gradients)], left[len(gradients) :]
            yield from ((end(few) - start(few)) * gradients).sum(dim=2)

    return joined(contributions(), samples, "smoothgrad", stable)


@register(
    "expectedgradients",
    title="Expected gradients",
    source="Erion et al. 2021, arXiv 1906.10670",
    passes="samples",
    layer=INPUT,
)
def expected_gradients(
    activations: Float[Tensor, "batch channels *grid"],
    head: Head,
    *,
    references: Baseline = "noise",
    samples: int = 100,
    seed: int = 0,
    stable: float | None = None,
) -> Float[Tensor, "batch *grid"]:
    """Integrated gradients averaged over baselines drawn from a data set (Erion et al. 2021).

    Signed; the map sums, in expectation, to the score less the mean score of the references.

    Args:
        activations: the image.
        head: gradients at the points.
        references: the data set: a tensor ``(n, channels, *grid)`` of preprocessed images. "noise" stands in for one:
            white noise with the mean and variance that normalisation gives the pixels of the training set.
        samples: points drawn, each on the line from a reference drawn at random.
        seed: of the draws.
        stable: stop before that when an image's map is as stable as this, in (0, 1).
    """
    return gradient_shap(activations, head, baseline=references, noise=0.0, samples=samples, seed=seed, stable=stable)


def drawn_baselines(images: Tensor, baseline: Baseline, samples: int, seed: int) -> Callable[[Tensor], Tensor]:
    """Each sample's baseline: ``(few,)`` -> ``(few, batch or 1, channels, *grid)``."""
    if isinstance(baseline, str) and baseline == "noise":
        # Other draws than those of the noise on the image.
        return lambda few: normals(few, images.shape[1:], f"{seed}, baselines", images)
    if isinstance(baseline, Tensor) and baseline.shape[1:] == images.shape[1:]:
        chosen = torch.randint(len(baseline), (samples,), generator=torch.Generator().manual_seed(seed + 1))
        references = baseline[chosen.to(baseline.device)].to(images)
        return lambda few: references[few][:, None]
    fixed = baseline_of(images, baseline)[None]
    return lambda few: fixed


def drawn_positions(images: Tensor, samples: int, seed: int) -> Float[Tensor, " samples"]:
    """Where on its line each sample lies: one at random within each of ``samples`` equal shares."""
    if samples < 1:
        raise MethodError(f"samples={samples}: an expectation needs at least one")
    draws = torch.rand(samples, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return ((torch.arange(samples) + draws) / samples).to(images)


def scattered(count: int) -> Int[Tensor, " count"]:
    """The numbers below ``count``, in an order whose every beginning is spread evenly: by the golden ratio."""
    return (torch.arange(count, dtype=torch.float64) * ((5**0.5 - 1) / 2) % 1).argsort().argsort()


@register(
    "blurintegratedgradients",
    title="Blur integrated gradients",
    source="Xu et al. 2020, arXiv 2004.03383",
    passes="steps",
    layer=INPUT,
)
def blur_integrated_gradients(
    activations: Float[Tensor, "batch channels *grid"], head: Head, *, sigma: float = 50.0, steps: int = 100
) -> Float[Tensor, "batch *grid"]:
    """The gradient integrated along the path on which the image comes into focus (Xu et al. 2020).

    Signed; the map sums to the score of the image less that of the image blurred by ``sigma``. Beyond the border there
    is zero, the mean colour, as the paper's convolution has it. The path is run at growing speed, so that more points
    lie where the image is nearly sharp and the score changes most, with the blur's exact derivative; PAIR's
    implementation takes equal steps and a finite difference, and a kernel cut off at four sigma.

    Args:
        activations: the image.
        head: gradients along the path.
        sigma: the widest Gaussian's standard deviation, in pixels.
        steps: points on the path.
    """
    nodes, weights = gauss_legendre(steps, like=activations)
    sigmas, speeds = sigma * nodes**2, 2 * sigma * nodes  # any speed gives the same integral

    def sharpening(few: Tensor) -> Tensor:
        widths = sigmas[few]
        return -torch.func.jvp(lambda width: blurred(activations, width, sigma), (widths,), (speeds[few],))[1]

    return path_integral(head, lambda few: blurred(activations, sigmas[few], sigma), sharpening, weights).sum(dim=1)


@register(
    "guidedintegratedgradients",
    title="Guided integrated gradients",
    source="Kapishnikov et al. 2021, arXiv 2106.09788",
    passes="steps",
    layer=INPUT,
)
def guided_integrated_gradients(
    activations: Float[Tensor, "batch channels *grid"],
    head: Head,
    *,
    baseline: Baseline = 0.0,
    steps: int = 200,
    fraction: float = 0.25,
    distance: float = 0.02,
) -> Float[Tensor, "batch *grid"]:
    """Integrated gradients on a path that moves first the pixels to which the score is least sensitive.

    Kapishnikov et al. 2021, with their bound on how far the path may stray. Signed, and complete to the
    precision of ``steps`` and of ``distance``, by up to twice which a value goes at one gradient. Every value is where
    it stands on its own way from the baseline (0) to the image (1); a step shortens the whole way left, the L1
    distance, by one share, giving it to the values with the smallest gradients.

    Args:
        activations: where the path ends.
        head: gradients along it.
        baseline: where it starts: a number (0 is the mean colour), "blur", or a tensor.
        steps: how many shares.
        fraction: how many of the values may move at once.
        distance: how far a value may be ahead of, or behind, the straight line; 0 is integrated gradients.
    """
    if steps < 1 or not 0 < fraction <= 1 or not 0 <= distance <= 1:
        raise MethodError(f"steps={steps}, fraction={fraction}, distance={distance}: at least 1, in (0, 1], in [0, 1]")
    start = baseline_of(activations, baseline)
    way = (activations - start).flatten(1).double()
    done, attribution = torch.zeros_like(way), torch.zeros_like(way)
    for step in told(steps):
        here = start + (done * way).view_as(activations).to(activations)
        ((_, gradients, _),) = head.gradients(lambda few: here[None], 1)  # noqa: B023 (called before the next step)
        gradients = gradients.flatten(2)[0].double()
        share = step / steps
        further = _advance(done, way.abs(), gradients.abs(), share, fraction, distance)
        attribution += gradients * (further - done) * way
        done = further
    return attribution.view_as(activations).sum(dim=1).to(activations)


def _advance(
    done: Float[Tensor, "batch values"],
    way: Float[Tensor, "batch values"],
    cost: Float[Tensor, "batch values"],
    share: float,
    fraction: float,
    distance: float,
) -> Float[Tensor, "batch values"]:
    """Go on until ``share`` of the L1 distance is done, by the values of least cost, none further than it may."""
    behind, ahead = max(share - distance, 0.0), min(share + distance, 1.0)
    whole = way.sum(dim=1, keepdim=True)
    few = int(fraction * (way.shape[1] - 1)) + 1
    done = done.clamp(min=behind)
    while True:
        missing = share * whole - (done * way).sum(dim=1, keepdim=True)
        if not (missing > 1e-9 * whole).any():  # said so that a NaN ends it too
            return done
        free = (done < ahead) & (way > 0)
        price = torch.where(free, cost.nan_to_num(torch.inf), torch.inf)
        chosen = free & (price <= price.kthvalue(few, dim=1, keepdim=True).values)
        room = torch.where(chosen, (ahead - done) * way, 0).sum(dim=1, keepdim=True)
        part = (missing / torch.where(room > 0, room, 1)).clamp(0, 1)
        done = torch.where(chosen, torch.where(part < 1, done + part * (ahead - done), ahead), done)


@register(
    "xrai",
    title="XRAI",
    source="Kapishnikov et al. 2019, arXiv 1906.02825, alg. 1",
    signed=False,
    passes="2 x steps",
    layer=INPUT,
)
def xrai(
    images: Float[Tensor, "batch channels height width"], whole: Head, *, steps: int = 100
) -> Float[Tensor, "batch height width"]:
    """Regions ranked by their mean integrated gradient (Kapishnikov et al. 2019, algorithm 1).

    The attribution is the mean of two, from a baseline of the image's smallest and one of its largest value, and a
    pixel's is the largest of its colours', as in PAIR's implementation. Segments are Felzenszwalb's at six scales;
    the one that adds the highest mean attribution is taken first, and gives what it adds that mean. Pixels in no
    segment have their own mean. So the map sums to the attribution's sum. Not signed: the colours' maximum leans to the
    positive side.

    Raises:
        MissingExtra: scikit-image is not installed.
    """
    axes = tuple(range(1, images.ndim))
    ends = [images.amin(dim=axes, keepdim=True), images.amax(dim=axes, keepdim=True)]
    attributions = torch.stack([straight(whole, end.expand_as(images), images, steps) for end in ends]).mean(dim=0)
    pixels = attributions.amax(dim=1)
    return torch.stack([ranked(each, segments(image)) for each, image in zip(pixels, images, strict=True)])


SCALES = (50, 100, 150, 250, 500, 1200)
"""Of Felzenszwalb's segmentation, for images of 224 x 224 with values in [-1, 1] (PAIR's choice)."""


def segments(image: Float[Tensor, "channels height width"]) -> Bool[Tensor, "segments height width"]:
    """Overlapping segments of one image at several scales, each widened by five pixels."""
    try:
        from skimage.morphology import dilation, disk
        from skimage.segmentation import felzenszwalb
        from skimage.transform import resize
    except ImportError as error:
        raise MissingExtra("scikit-image", "demo", "XRAI") from error
    low, high = image.amin(), image.amax()
    picture = ((image - low) / (high - low).clamp(min=1e-12) * 2 - 1).movedim(0, -1).cpu().numpy()
    size = picture.shape[:2]
    picture = resize(picture, (224, 224), order=3, mode="constant", preserve_range=True, anti_aliasing=True)
    masks = []
    for scale in SCALES:
        labels = felzenszwalb(picture, scale=scale, sigma=0.8, min_size=150)
        labels = resize(labels, size, order=0, mode="constant", preserve_range=True, anti_aliasing=False)
        present = torch.from_numpy(labels).unique().tolist()
        masks += [torch.from_numpy(dilation(labels == label, disk(5))) for label in present]
    return torch.stack(masks).to(image.device)


def ranked(
    attribution: Float[Tensor, "height width"], masks: Bool[Tensor, "segments height width"], least: int = 50
) -> Float[Tensor, "height width"]:
    """Segments taken by the mean attribution they add, highest first; none that adds fewer than ``least`` pixels."""
    values, masks = attribution.flatten(), masks.flatten(1)
    sums, areas = masks.to(values) @ values, masks.sum(dim=1)
    left, result = torch.ones_like(values, dtype=torch.bool), torch.zeros_like(values)
    while (areas >= least).any():
        gains = torch.where(areas >= least, sums / areas.clamp(min=1), -torch.inf)
        best = gains.argmax()
        added = (masks[best] & left).nonzero()[:, 0]
        result[added] = gains[best]
        left[added] = False
        gone = masks[:, added]
        sums, areas = sums - gone.to(values) @ values[added], areas - gone.sum(dim=1)
    rest = values[left]
    result[left] = rest.sum() / max(len(rest), 1)
    return result.view_as(attribution)
