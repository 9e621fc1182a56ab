"""Maps that a whole network has a part in: every bias in it, or relevance carried down to a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limelight.cut import INPUT
from limelight.methods.backward import relevance_from_outputs
from limelight.methods.registry import register
from limelight.nested import Inputs
from limelight.rules import relevance
from limelight.rules.biases import Biases

if TYPE_CHECKING:
    from jaxtyping import Float

    from limelight.methods.evidence import Evidence


def biases(network: nn.Module, inputs: Inputs) -> Biases:
    """What a pass is run under so that its biases can tell what they contribute."""
    return Biases(len(inputs))


@register(
    "fullgrad",
    title="FullGrad",
    source="Srinivas and Fleuret 2019, arXiv 1905.00780, eq. 6 and 8",
    signed=False,
    passes="1",
    layer=INPUT,
    watch=biases,
)
def full_grad(
    images: Float[Tensor, "batch channels height width"],
    watched: Callable[..., tuple[Any, Evidence]],
    *,
    complete: bool = False,
) -> Float[Tensor, "batch height width"]:
    """The gradient times the image, and every bias in the network times its own gradient (Srinivas and Fleuret 2019).

    Biases are those of convolutions and linear layers, the shift of batch norm with its statistics, constants that are
    added, and what bent functions (SiLU, sigmoid, products of two tensors) leave over. Together they are the score, for
    any network. The map follows the paper: of each layer's terms the absolute values, less the least of them and
    divided by the largest, then upsampled and summed over channels and layers; terms without a place are left out.
    grad-cam rescales each channel by itself, so that a channel that contributes nothing counts as much as any other.

    Args:
        images: the image.
        watched: a pass that tells biases.
        complete: keep signs and sizes, spread each cell over its pixels and what has no place over all of them, so that
            the map sums to the score.
    """
    found: dict[tuple[int, ...], list[Any]] = {}
    reduced, summed, place = (_sums, _summed, spread) if complete else (_sizes, _rescaled, _upsampled)

    def add(term: Tensor) -> None:
        """Each is reduced to a map as it comes: none is held."""
        found.setdefault(tuple(term.shape[2:]) or (1, 1), []).append(reduced(term))

    watch, pass_ = watched(biases)
    with watch.telling(add, placeless=complete):
        add(pass_.gradients[0] * images)
    size = (images.shape[-2], images.shape[-1])
    return torch.stack([place(summed(terms).view(-1, *grid), size) for grid, terms in found.items()]).sum(dim=0)


def _sums(term: Tensor) -> Tensor:
    return term.sum(dim=1)


def _summed(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum(dim=0)


def _sizes(term: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """The absolute values' sum over the channels, and for each image their least, their largest and how many channels.

    The term is written on.
    """
    size, all_of_it = term.abs_(), (1, 2, 3)
    return size.sum(dim=1), size.amin(dim=all_of_it), size.amax(dim=all_of_it), size.shape[1]


def _rescaled(terms: list[tuple[Tensor, Tensor, Tensor, int]]) -> Tensor:
    """The absolute values brought into [0, 1], for each term and image, and summed over channels and terms."""
    *parts, channels = zip(*terms, strict=True)
    sums, least, most = (torch.stack(part) for part in parts)
    offset, range_ = least * least.new_tensor(channels)[:, None], torch.where(most > least, most - least, 1)
    return ((sums - offset[..., None, None]) / range_[..., None, None]).sum(dim=0)


def _upsampled(maps: Float[Tensor, "batch rows columns"], size: tuple[int, int]) -> Float[Tensor, "batch height width"]:
    """As :func:`limelight.heatmap.resize`, in a fraction of the time where many cells become pixels."""
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def spread(maps: Float[Tensor, "batch rows columns"], size: tuple[int, int]) -> Float[Tensor, "batch height width"]:
    """Each cell's value shared among the pixels that it covers, by area: the sum stays."""
    return _overlap(maps.shape[-2], size[0], maps) @ maps @ _overlap(maps.shape[-1], size[1], maps).T


def _overlap(cells: int, pixels: int, like: Tensor) -> Float[Tensor, "pixels cells"]:
    """Which share of each cell of a line lies on each pixel."""
    starts = torch.arange(cells, device=like.device, dtype=torch.float64) / cells * pixels
    ends, left = starts + pixels / cells, torch.arange(pixels, device=like.device, dtype=torch.float64)[:, None]
    return ((torch.minimum(ends, left + 1) - torch.maximum(starts, left)).clamp(min=0) * cells / pixels).to(like.dtype)


@register(
    "relevancecam",
    title="Relevance-CAM",
    source="Lee et al. 2021, doi 10.1109/CVPR46437.2021.01470, eq. 6 to 8",
    passes="2",
)
def relevance_cam(
    of_logits: Float[Tensor, "batch classes"], under: Callable[..., Evidence]
) -> Float[Tensor, "batch *grid"]:
    """Channels weighted by the relevance that reaches them (Lee et al. 2021).

    Positive contributions only, in every layer above (z+), from the class against the mean of the others: 1 for the
    class, -1 / (classes - 1) for each other. Signed.
    """
    rivals = max(of_logits.shape[1] - 1, 1)
    contrast = of_logits - (of_logits.sum(dim=1, keepdim=True) - of_logits) / rivals
    watch = relevance.Composite(relevance.plus(), relevance.plus()).watch()
    pass_ = under(watch)
    weights = relevance_from_outputs(pass_, watch, contrast).flatten(2).sum(dim=2)
    return torch.einsum("bc,bc...->b...", weights, pass_.activations[0])
