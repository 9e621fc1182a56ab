"""How alike two rows of numbers are, for many rows at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float


def pearson(a: Float[Tensor, "batch n"], b: Float[Tensor, "batch n"]) -> Float[Tensor, "batch"]:
    """Pearson's correlation of each row with the other's; 0 where one of the two is constant."""
    a, b = (each - each.mean(dim=1, keepdim=True) for each in (a, b))
    length = (a.square().sum(dim=1) * b.square().sum(dim=1)).sqrt()
    found = (a * b).sum(dim=1) / length.clamp(min=torch.finfo(a.dtype).tiny)
    constant = (_spread(a) <= 0) | (_spread(b) <= 0)
    return torch.where(constant, 0, found.clamp(-1, 1))


def spearman(a: Float[Tensor, "batch n"], b: Float[Tensor, "batch n"]) -> Float[Tensor, "batch"]:
    """Spearman's rank correlation, tied values sharing the mean of their ranks; 0 where one of the two is constant."""
    return pearson(mean_ranks(a), mean_ranks(b))


def mean_ranks(values: Float[Tensor, "batch n"]) -> Float[Tensor, "batch n"]:
    """Each value's rank in its row, from 1; tied values share the mean of theirs."""
    ordered = values.sort(dim=1).values.contiguous()
    below = torch.searchsorted(ordered, values.contiguous(), right=False)
    upto = torch.searchsorted(ordered, values.contiguous(), right=True)
    return (below + upto + 1).double() / 2


def ssim(
    a: Float[Tensor, "batch rows columns"], b: Float[Tensor, "batch rows columns"], window: int = 7
) -> Float[Tensor, "batch"]:
    """Structural similarity (Wang et al. 2004, eq. 13) of maps in [0, 1], uniform windows, as scikit-image has it."""
    window = min(window, *a.shape[1:])
    window -= 1 - window % 2

    def mean(x: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(x[:, None], window, stride=1)[:, 0]

    unbiased = window**2 / (window**2 - 1) if window > 1 else 1.0
    ma, mb = mean(a), mean(b)
    va, vb, vab = (unbiased * (mean(x) - m) for x, m in ((a * a, ma * ma), (b * b, mb * mb), (a * b, ma * mb)))
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * ma * mb + c1) * (2 * vab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean(dim=(1, 2))


def _spread(values: Tensor) -> Tensor:
    return values.amax(dim=1) - values.amin(dim=1)
