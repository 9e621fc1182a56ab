"""How pixels are taken away: in which order, and what is put in their place.

The same functions take away the cells of an inner layer, where ``images`` are its activations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from limelight.errors import MetricError
from limelight.evaluation.imputation import noisy_linear
from limelight.heatmap import resize

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

BLUR = 1 / 22
"""Standard deviation of the blur as a share of the shorter side: 10 pixels of 224 (Fong & Vedaldi 2017)."""


def ranks(
    maps: Float[Tensor, "batch height width"], size: tuple[int, int], region: int = 1
) -> Int[Tensor, "batch rows columns"]:
    """In which order pixels go, the highest of the map first: 0 for the first of them.

    The map is enlarged bilinearly. With ``region`` above 1, squares of so many pixels go at once, ranked by their mean
    (those at the right and lower border may be narrower). Ties are broken by one random order for all pictures, always
    the same: a constant map is then as good as chance, where breaking ties from the upper left is not.

    Raises:
        MetricError: a map is not finite, so it ranks nothing.
    """
    if not maps.isfinite().all():
        raise MetricError("a map holds NaN or infinity, so it puts pixels in no order")
    values = resize(maps, size)
    if region > 1:
        values = F.avg_pool2d(values[:, None], region, ceil_mode=True, count_include_pad=False)[:, 0]
    shape, values = values.shape, values.flatten(1)
    shuffled = torch.randperm(values.shape[1], generator=torch.Generator().manual_seed(0)).to(values.device)
    order = shuffled[values[:, shuffled].argsort(dim=1, descending=True, stable=True)]
    places = torch.arange(values.shape[1], device=values.device).expand_as(order)
    ranked = torch.empty_like(order).scatter_(1, order, places).view(shape)
    if region > 1:
        ranked = ranked.repeat_interleave(region, dim=1).repeat_interleave(region, dim=2)
    return ranked[:, : size[0], : size[1]]


class Fill(Protocol):
    """What is put in the place of removed pixels."""

    def __call__(self, removed: Bool[Tensor, "few batch rows columns"]) -> Float[Tensor, "few batch channels *grid"]:
        """The pictures without the removed pixels."""
        ...


def blurred(images: Float[Tensor, "batch channels rows columns"], std: float) -> Tensor:
    """Gaussian blur by ``std`` pixels, the border's pixels continued."""
    radius = max(1, round(4 * std))
    distance = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-((distance / std) ** 2) / 2)
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, 1, -1)
    padded = F.pad(images, (radius, radius, radius, radius), mode="replicate")
    across = F.conv2d(padded, kernel, groups=images.shape[1])
    return F.conv2d(across, kernel.transpose(2, 3), groups=images.shape[1])


def noise(images: Float[Tensor, "batch channels rows columns"], seed: int = 0) -> Tensor:
    """Gaussian noise with each channel's own mean and deviation; each picture's the same field before scaling."""
    drawn = torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(seed)).to(images)
    return images.mean(dim=(2, 3), keepdim=True) + images.std(dim=(2, 3), keepdim=True) * drawn


STAND_INS: dict[str, Callable[[Tensor], Tensor]] = {
    "blur": lambda images: blurred(images, BLUR * min(images.shape[-2:])),
    "mean": lambda images: images.mean(dim=(2, 3), keepdim=True).expand_as(images),
    "noise": noise,
    "zero": torch.zeros_like,
}
"""A picture whose pixels are put in the place of removed ones: "zero" is the mean of a normalised data set."""

BASELINES = (*STAND_INS, "inpaint")
"""What can be put in the place of removed pixels; "inpaint" is ROAD's noisy linear imputation, from what is left."""


def stand_in(images: Float[Tensor, "batch channels rows columns"], baseline: str) -> Tensor:
    """The picture that takes the place of removed pixels, whichever they are.

    Raises:
        MetricError: there is no such picture.
    """
    if baseline not in STAND_INS:
        raise MetricError(f"no baseline picture is called {baseline!r}; there are {', '.join(STAND_INS)}")
    return STAND_INS[baseline](images)


def fill(images: Float[Tensor, "batch channels rows columns"], baseline: str = "blur") -> Fill:
    """How pixels are replaced by one of :data:`BASELINES`.

    Raises:
        MetricError: there is no such baseline.
    """
    if baseline not in BASELINES:
        raise MetricError(f"no baseline is called {baseline!r}; there are {', '.join(BASELINES)}")
    if baseline == "inpaint":
        return lambda removed: noisy_linear(images, removed)
    instead = stand_in(images, baseline)
    return lambda removed: torch.where(removed[:, :, None], instead, images)
