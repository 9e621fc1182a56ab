"""Maps that a whole network has a part in: every bias in it, or relevance carried down to a layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from limelight.cut import INPUT
from limelight.heatmap import resize
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
    terms: dict[tuple[int, ...], Tensor] = {}
    one_map = _summed if complete else _rescaled

    def add(gradient: Tensor, bias: Tensor) -> None:
        """Terms of one grid are summed as they come: none is held."""
        grid = tuple(gradient.shape[2:]) or (1, 1)
        if complete or math.prod(grid) > 1:
            term = one_map(gradient, bias).view(-1, *grid)
            terms[grid] = terms[grid] + term if grid in terms else term

    watch, pass_ = watched(biases)
    with watch.telling(add, placeless=complete):
        add(pass_.gradients[0], images)
    size = (images.shape[-2], images.shape[-1])
    place = spread if complete else resize
    return torch.stack([place(term, size) for term in terms.values()]).sum(dim=0)


def _summed(gradient: Tensor, bias: Tensor) -> Tensor:
    return (gradient * bias).sum(dim=1)


def _rescaled(gradient: Tensor, bias: Tensor) -> Tensor:
    """The absolute values of the products, brought into [0, 1] for each image, and summed over the channels."""
    size = (gradient * bias).abs_() if bias.ndim else gradient.abs()
    least, most = (edge(size, dim=(1, 2, 3)).view(-1, 1, 1) for edge in (torch.amin, torch.amax))
    return (size.sum(dim=1) - gradient.shape[1] * least) / torch.where(most > least, most - least, 1)


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
