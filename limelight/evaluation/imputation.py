"""In-painting by noisy linear imputation: a removed pixel is its neighbours' weighted mean, and a little noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

STENCIL = ((1 / 12, 1 / 6, 1 / 12), (1 / 6, 0.0, 1 / 6), (1 / 12, 1 / 6, 1 / 12))
"""How much each neighbour weighs (Rong et al. 2022)."""
COARSE = 12
"""Rounds on each coarser grid, for the first guess."""
LOOK = 8
"""After how many rounds it is looked whether the solution is good enough."""


def noisy_linear(
    images: Float[Tensor, "batch channels rows columns"],
    removed: Bool[Tensor, "few batch rows columns"],
    noise: float = 0.01,
    tolerance: float = 5e-5,
    seed: int = 0,
) -> Float[Tensor, "few batch channels rows columns"]:
    """The pictures with removed pixels guessed from what is left (ROAD: Rong et al. 2022, arXiv 2202.00449).

    All removed pixels are solved for at once: each is the weighted mean of its eight neighbours, with less of them at
    the border. A mask's outline then tells the network little about what was removed. A picture with nothing left is
    its own mean colour.

    Args:
        images: the pictures.
        removed: true for what goes.
        noise: standard deviation of the noise on removed pixels; the same field for every mask.
        tolerance: how far a pixel may be from its neighbours' mean, as a share of the picture's deviation. The error
            grows with the width of a hole: by default to a hundredth or two, no more than the noise.
        seed: of the noise.
    """
    few, batch = removed.shape[:2]
    images = images.contiguous()
    gone = removed.flatten(0, 1)[:, None].to(images.dtype)
    own = images.expand(few, *images.shape).flatten(0, 1)
    mean = images.mean(dim=(2, 3), keepdim=True).expand(few, -1, -1, -1, -1).flatten(0, 1)
    empty = gone.flatten(1).amin(dim=1).view(-1, 1, 1, 1) > 0
    known = torch.where(gone > 0, 0, own)
    first = _pulled_and_pushed(known, 1 - gone, mean)
    scale = images.flatten(2).std(dim=2).mean(dim=1).clamp(min=torch.finfo(images.dtype).tiny).repeat(few)
    solved = torch.where(empty, mean, _solved(known, gone, first, tolerance * scale))
    drawn = torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(seed)).to(images)
    return torch.where(gone > 0, solved + noise * drawn, own).unflatten(0, (few, batch))


def _around(values: Tensor) -> Tensor:
    """The weighted sum of each pixel's neighbours, nothing beyond the border.

    The stencil is (1, 2, 1) along the rows times (1, 2, 1) along the columns, a twelfth of it, less the centre's third:
    a few sums, which take a fraction of a convolution's time.
    """
    down = 2 * values
    down[..., 1:, :] += values[..., :-1, :]
    down[..., :-1, :] += values[..., 1:, :]
    both = 2 * down
    both[..., 1:] += down[..., :-1]
    both[..., :-1] += down[..., 1:]
    return both.div_(12).sub_(values, alpha=1 / 3)


def _solved(known: Tensor, gone: Tensor, first: Tensor, tolerance: Tensor, most: int = 2000) -> Tensor:
    """Solve ``degree x - around(x) = around(known)`` on the removed pixels, by conjugate gradients from ``first``.

    The system is symmetric and, where a pixel is left, positive definite. Colours and pictures are solved side by side,
    each with steps of its own, until the residuals of all are within tolerance.
    """
    degree = _around(torch.ones_like(gone))

    def system(x: Tensor) -> Tensor:
        return (degree * x).sub_(_around(x)).mul_(gone)

    def along(a: Tensor, b: Tensor) -> Tensor:
        return torch.linalg.vecdot(a.flatten(2), b.flatten(2))[..., None, None]

    tiny = torch.finfo(known.dtype).tiny
    x = gone * first
    residual = gone * _around(known) - system(x)
    direction = residual.clone()
    length = along(residual, residual)
    for number in range(most):
        pulled = system(direction)
        step = length / along(direction, pulled).clamp_(min=tiny)
        # Looked at now and then: looking waits for the device.
        if number % LOOK == 0 and bool((residual.abs().amax(dim=(1, 2, 3)) <= tolerance).all()):
            break
        x.addcmul_(step, direction)
        residual.addcmul_(step, pulled, value=-1)
        before, length = length, along(residual, residual)
        direction.mul_(length / before.clamp_(min=tiny)).add_(residual)
    return x


def _pulled_and_pushed(known: Tensor, weight: Tensor, mean: Tensor, finest: bool = True) -> Tensor:
    """A first guess: holes filled from coarser and coarser averages of what is known, each improved on its own grid."""
    if min(known.shape[-2:]) < 2:
        total = weight.sum(dim=(2, 3), keepdim=True)
        return torch.where(total > 0, known.sum(dim=(2, 3), keepdim=True) / total.clamp(min=1), mean).expand_as(known)
    sums, weights = (F.avg_pool2d(each, 2, ceil_mode=True, count_include_pad=False) for each in (known, weight))
    there = (weights > 0).to(known.dtype)
    coarse = _pulled_and_pushed(sums / weights.clamp(min=1e-6) * there, there, mean, finest=False)
    fine = F.interpolate(coarse, known.shape[-2:], mode="bilinear", align_corners=False)
    if finest:
        return torch.where(weight > 0, known, fine)
    return torch.where(weight > 0, known, _solved(known, 1 - weight, fine, known.new_zeros(1), most=COARSE))
