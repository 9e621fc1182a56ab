"""Methods that run another one, their ``base``: against rivals, at several layers, on many crops."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.errors import MethodError
from limelight.heatmap import place, rectify, rescale, resize
from limelight.methods.paths import blurred
from limelight.methods.registry import Method, get, register
from limelight.targets import probabilities_of

if TYPE_CHECKING:
    from jaxtyping import Float

    from limelight.cut import LayerSpec
    from limelight.head import Alter
    from limelight.methods.evidence import Evidence

Base = str | Method | Callable[..., Tensor]


@register("finercam", title="Finer-CAM", source="Zhang et al. 2025, arXiv 2501.11309: y_c - gamma y_d, mean over d")
def finer_cam(
    logits: Float[Tensor, "batch classes"],
    of_logits: Float[Tensor, "batch classes"],
    reask: Callable[[Tensor], Evidence],
    *,
    base: Base = "gradcam",
    strength: float = 0.6,
    rivals: int = 3,
) -> Float[Tensor, "batch *grid"]:
    """What tells the class from its rivals: the base's map of y_c less ``strength`` times the rivals' mean score.

    The rivals are the classes whose scores are closest to the class's own (Zhang et al. 2025). Signed if the base is.
    grad-cam weighs the rivals by their softmax, and differentiates the weights too; for one rival that is the same.

    Args:
        logits: the class scores.
        of_logits: the score's gradient with respect to them: the class is the one it depends on most.
        reask: the same pass, asked for another sum of class scores.
        base: how the contrast is explained.
        strength: the paper's gamma.
        rivals: how many.

    Raises:
        MethodError: there is no other class.
    """
    rivals = min(rivals, logits.shape[1] - 1)
    if rivals < 1:
        raise MethodError("Finer-CAM compares a class with its rivals, and there are none; use gradcam")
    own = of_logits.abs().argmax(dim=1, keepdim=True)
    distance = (logits - logits.gather(1, own)).abs().scatter(1, own, torch.inf)
    closest = distance.topk(rivals, dim=1, largest=False).indices
    contrast = torch.zeros_like(logits).scatter(1, own, 1.0).scatter(1, closest, -strength / rivals)
    return reask(contrast * of_logits.gather(1, own)).raw_maps(get(base))[0]


@register("refinecam", title="RefineCAM", source="Domeniconi et al. 2026, arXiv 2605.14641", signed=False, passes="3")
def refine_cam(
    stages: Sequence[str],
    recut: Callable[[LayerSpec], Evidence],
    *,
    base: Base = "gradcampp",
    layers: LayerSpec | None = None,
) -> Float[Tensor, "batch *grid"]:
    """The product of the base's maps at several layers, each in [0, 1], at the finest of their grids.

    Each map is rectified and divided by its maximum, so that "no evidence" stays zero; grad-cam and torchcam subtract
    its minimum. The base with several layers and ``fusion="product"`` gives the same picture.

    Args:
        stages: the last layer of each resolution up to the one that was cut at.
        recut: a new pass, cut elsewhere.
        base: the method whose maps are multiplied.
        layers: where; None for the four coarsest of the stages.

    Raises:
        MethodError: no layer up to the one that was cut at has a grid.
    """
    if layers is None and not stages:
        raise MethodError(
            "RefineCAM multiplies the maps of several grids, and no layer up to this one has a grid: name others with "
            "layers=, or use saliency, integratedgradients or occlusion"
        )
    maps = recut(list(stages)[-4:] if layers is None else layers).raw_maps(get(base))
    finest = max(((raw.shape[-2], raw.shape[-1]) for raw in maps), key=math.prod)
    return torch.stack([resize(rescale(rectify(raw)), finest) for raw in maps]).prod(dim=0)


@register("sess", title="SESS", source="Tursun et al. 2022, arXiv 2207.01769", signed=False, passes="31")
def sess(
    images: Float[Tensor, "batch channels height width"],
    of_logits: Float[Tensor, "batch classes"],
    rerun: Callable[[Alter, int], Iterator[Evidence]],
    *,
    base: Base = "gradcam",
    scales: int = 6,
    step: float = 2 / 7,
    smooth: float = 3.0,
) -> Float[Tensor, "batch height width"]:
    """The base's maps of crops at growing scales, each weighed by the class's probability there (Tursun et al. 2022).

    The picture is enlarged ``scales`` times and cut into windows of the network's input. A window's map, in [0, 1] and
    times its probability, is laid back where it came from; a pixel's value is the mean over the windows that see
    anything there. The map is at the input's resolution.

    Args:
        images: what the network was run on.
        of_logits: picks the class.
        rerun: the same question asked of the crops.
        base: the method that is run on each crop.
        scales: how many, the first is the picture as it is. The paper goes up to 12, which is 122 crops.
        step: by how much each scale is larger, as a share of the input.
        smooth: the standard deviation, in pixels, of the blur at the end: that of the reference's 11-pixel window.
    """
    crops = [crop for i in range(scales) for crop in _windows(1 + i * step)]
    height, width = size = (images.shape[-2], images.shape[-1])

    def crop(few: Tensor) -> Tensor:
        chosen = [crops[i] for i in few.tolist()]
        boxes = [(-x * width, -y * height, (scale - x) * width, (scale - y) * height) for scale, x, y in chosen]
        return torch.stack([place(images, size, box) for box in boxes])

    own = of_logits.abs().argmax(dim=1, keepdim=True)
    total, seen, left = images.new_zeros(len(images), *size), images.new_zeros(len(images), *size), iter(crops)
    for evidence in rerun(crop, len(crops)):
        probabilities = probabilities_of(evidence.logits[0]).unflatten(0, (-1, len(images)))
        maps = rescale(rectify(evidence.raw_maps(get(base))[0])).unflatten(0, (-1, len(images)))
        for raw, probability in zip(maps, probabilities, strict=True):
            scale, x, y = next(left)
            box = (x / scale * width, y / scale * height, (x + 1) / scale * width, (y + 1) / scale * height)
            weighed = place(raw, size, box) * probability.gather(1, own)[:, :, None]
            total, seen = total + weighed, seen + (weighed > 0)
    fused = total / seen.clamp(min=1)
    return blurred(fused[:, None], fused.new_tensor([smooth]), smooth)[0, :, 0] if smooth > 0 else fused


def _windows(scale: float) -> list[tuple[float, float, float]]:
    """Where the windows that cover a picture ``scale`` times the input begin: ``(scale, x, y)`` in windows."""
    starts = [min(i, scale - 1) for i in range(math.ceil(scale - 1e-9))]
    return [(scale, x, y) for y in starts for x in starts]
