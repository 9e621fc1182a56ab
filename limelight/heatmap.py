"""Raw map -> shown map: rectify, rescale, resize, fuse. Every map on its own, whatever else is in its batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.errors import MethodError

if TYPE_CHECKING:
    from jaxtyping import Float


def rectify(raw: Float[Tensor, "... *grid"]) -> Float[Tensor, "... *grid"]:
    """Keep what speaks for the target (the ReLU of Selvaraju et al. 2017, eq. 2)."""
    return raw.clamp(min=0)


def rescale(maps: Float[Tensor, "... *grid"], dimensions: int = 2) -> Float[Tensor, "... *grid"]:
    """Divide each non-negative map by its maximum, into [0, 1]. Zero stays "no evidence"; a map of zeros stays so.

    A map is what lies in the last ``dimensions``: two for a picture, one for a signal, three for a volume or a clip.
    """
    peak = maps.amax(dim=tuple(range(-dimensions, 0)), keepdim=True)
    return maps / torch.where(peak > 0, peak, 1)


def resize(maps: Float[Tensor, "... *grid"], size: Sequence[int]) -> Float[Tensor, "... *size"]:
    """Linear in each dimension, half-pixel centred, to ``size``: a cell's value lands on the cell's centre.

    For a picture, ``size`` = (rows, columns), the same as ``interpolate(mode="bilinear", align_corners=False)``.
    """
    if len(size) == 2:
        return place(maps, (size[0], size[1]), (0, 0, size[1], size[0]))
    with torch.autocast(maps.device.type, enabled=False):
        for d, pixels in enumerate(size, start=maps.ndim - len(size)):
            weights = interpolation(maps.shape[d], pixels, maps)
            maps = (maps.movedim(d, -1) @ weights.T).movedim(-1, d)
    return maps


def place(
    maps: Float[Tensor, "... height width"], size: tuple[int, int], box: tuple[float, float, float, float]
) -> Float[Tensor, "... rows columns"]:
    """Lay each map over the ``box`` = (x0, y0, x1, y1) of a picture of ``size`` = (rows, columns), bilinearly.

    The box is in pixels of the picture and may reach beyond it. Pixels whose centre lies outside the box are zero.
    Two small matrix products, one for the rows and one for the columns: exact for any box, and fast in every engine.
    """
    x0, y0, x1, y1 = box
    rows = interpolation(maps.shape[-2], size[0], maps, y0, y1)
    columns = interpolation(maps.shape[-1], size[1], maps, x0, x1)
    with torch.autocast(maps.device.type, enabled=False):
        return rows @ maps @ columns.T


def interpolation(cells: int, pixels: int, like: Tensor, start: float = 0.0, end: float | None = None) -> Tensor:
    """``(pixels, cells)`` weights of linear interpolation for cells spread evenly from ``start`` to ``end`` (all)."""
    end = float(pixels) if end is None else end
    centres = torch.arange(pixels, device=like.device, dtype=torch.float64) + 0.5
    position = (centres - start) / (end - start) * cells - 0.5
    held = position.clamp(0, cells - 1)  # half a cell at each border keeps the border cell's value
    weights = (1 - (held[:, None] - torch.arange(cells, device=like.device)).abs()).clamp(min=0)
    inside = (position >= -0.5) & (position <= cells - 0.5)
    return (weights * inside[:, None]).to(like.dtype)


FUSIONS = {
    "mean": lambda maps: maps.mean(dim=0),
    "max": lambda maps: maps.amax(dim=0),
    "product": lambda maps: maps.prod(dim=0),
}


def check_fusion(how: str) -> None:
    """Refuse a fusion that there is not.

    Raises:
        MethodError: ``how`` is not one of "mean", "max", "product".
    """
    if how not in FUSIONS:
        raise MethodError(f"no fusion is called {how!r}; there are {', '.join(FUSIONS)}")


def fuse(
    maps: Sequence[Float[Tensor, "... *size"]], how: str = "mean", dimensions: int = 2
) -> Float[Tensor, "... *size"]:
    """Make one map of the maps of several layers, each in [0, 1] and of one size; in [0, 1] again.

    Raises:
        MethodError: ``how`` is not one of "mean", "max", "product".
    """
    check_fusion(how)
    return maps[0] if len(maps) == 1 else rescale(FUSIONS[how](torch.stack(list(maps))), dimensions)


def shown(
    raws: Sequence[Tensor],
    size: Sequence[int],
    box: tuple[float, float, float, float] | None = None,
    how: str = "mean",
) -> Tensor:
    """The shown map ``(..., *size)`` of raw maps ``(..., *grid)``, one for each layer.

    A picture's may be laid over a ``box`` of it, as :func:`place` does.
    """
    dimensions = len(size)
    maps = [rescale(rectify(raw), dimensions) for raw in raws]
    if box is None:
        return fuse([resize(each, size) for each in maps], how, dimensions)
    return fuse([place(each, (size[0], size[1]), box) for each in maps], how)
