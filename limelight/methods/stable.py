"""How stable a sampled estimate is, and stopping when it is stable enough.

The samples are dealt to two halves, each half makes an estimate, and the two are correlated. From that follows how
stable the estimate from all of them is (Spearman-Brown): 1 where other samples would give the same map.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from limelight.errors import MethodError
from limelight.telling import tell_stability

if TYPE_CHECKING:
    from jaxtyping import Float


class Estimate(NamedTuple):
    """What the samples so far give ``(batch, ...)``, and what each half of them gives."""

    whole: Tensor
    halves: tuple[Tensor, Tensor]


def until_stable(estimates: Iterable[Estimate], stable: float | None) -> Tensor:
    """Of each image the first of the growing estimates that is as stable as asked; without asking, the last.

    An image keeps its own estimate, whatever its neighbours in the batch still need. How stable each became is told.
    """
    if stable is not None and not 0 < stable < 1:
        raise MethodError(f"stable={stable}: give a correlation between 0 and 1, such as 0.95")
    kept = stability = settled = None
    for whole, halves in estimates:
        now = stability_of(*halves)
        if kept is None or stability is None or settled is None:
            kept, stability, settled = whole, now, torch.zeros_like(now, dtype=torch.bool)
        kept = torch.where(settled.view(-1, *[1] * (whole.ndim - 1)), kept, whole)
        stability = torch.where(settled, stability, now)
        settled = settled | (now >= (torch.inf if stable is None else stable))
        if settled.all():
            break
    assert kept is not None and stability is not None, "there is at least one estimate"
    tell_stability(stability)
    return kept


def stability_of(one: Float[Tensor, "batch ..."], other: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
    """How well an estimate from all samples would agree with another such one, from its halves: at most 1."""
    one, other = (half.flatten(1) - half.flatten(1).mean(dim=1, keepdim=True) for half in (one, other))
    sizes = one.norm(dim=1) * other.norm(dim=1)
    together = (one * other).sum(dim=1) / torch.where(sizes > 0, sizes, 1)
    return 2 * together / (1 + together.clamp(min=-0.5))
