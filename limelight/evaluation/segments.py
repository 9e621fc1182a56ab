"""Superpixels, and the order in which a map takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.errors import MissingExtra
from limelight.heatmap import resize

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def superpixels(images: Float[Tensor, "batch channels rows columns"], count: int) -> Int[Tensor, "batch rows columns"]:
    """SLIC segments of each picture, about ``count`` of them, numbered from 0.

    Raises:
        MissingExtra: scikit-image is not installed.
    """
    try:
        from skimage.segmentation import slic
    except ImportError:
        raise MissingExtra("scikit-image", "demo", "cutting a picture into superpixels") from None

    found = []
    for image in images.detach().double().cpu():
        low, high = image.amin(), image.amax()
        pixels = ((image - low) / (high - low).clamp(min=1e-12)).permute(1, 2, 0).numpy()
        labels = slic(pixels, n_segments=count, compactness=10, channel_axis=2, convert2lab=pixels.shape[2] == 3)
        _, numbered = torch.from_numpy(labels).unique(return_inverse=True)
        found.append(numbered)
    return torch.stack(found).to(images.device)


def segment_ranks(
    maps: Float[Tensor, "batch height width"], segments: Int[Tensor, "batch rows columns"]
) -> Int[Tensor, "batch rows columns"]:
    """In which order segments go, that with the highest mean in the map first."""
    large = resize(maps, (segments.shape[1], segments.shape[2]))
    ranked = []
    for values, labels in zip(large.flatten(1), segments.flatten(1), strict=True):
        sizes = labels.bincount()
        means = values.new_zeros(len(sizes)).index_add_(0, labels, values) / sizes
        places = torch.empty_like(sizes).scatter_(
            0, means.argsort(descending=True, stable=True), torch.arange(len(sizes), device=sizes.device)
        )
        ranked.append(places[labels])
    return torch.stack(ranked).view(segments.shape)
