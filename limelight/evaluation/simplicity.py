"""Is the map simple? How few places hold how much of it. Simple is not true: a wrong map can be as sparse as any."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.evaluation.registry import register

if TYPE_CHECKING:
    from jaxtyping import Float


@register(
    "sparseness",
    title="Sparseness (Gini index)",
    source="Chalasani et al. 2020, arXiv 1810.06583; Hurley & Rickard 2009, arXiv 0811.4706",
    question="simple",
    better="higher",
    range=(0.0, 1.0),
)
def sparseness(signed: Float[Tensor, "batch rows columns"]) -> Float[Tensor, "batch"]:
    """The Gini index of the magnitudes: 0 where all pixels hold the same, near 1 where one holds all."""
    values = signed.flatten(1).abs().double().sort(dim=1).values
    n = values.shape[1]
    weights = 2 * torch.arange(1, n + 1, device=values.device) - n - 1
    total = values.sum(dim=1)
    found = (weights * values).sum(dim=1) / (n * total.clamp(min=torch.finfo(values.dtype).tiny))
    return torch.where(total > 0, found, 0).to(signed.dtype)


@register(
    "entropy",
    title="Entropy (complexity)",
    source="Bhatt et al. 2020, arXiv 2005.00631, mu_C",
    question="simple",
    better="lower",
    range=(0.0, math.inf),
)
def entropy(signed: Float[Tensor, "batch rows columns"]) -> Float[Tensor, "batch"]:
    """The entropy, in nats, of the magnitudes taken as shares of their sum: at most the logarithm of their number."""
    shares = signed.flatten(1).abs().double()
    shares = shares / shares.sum(dim=1, keepdim=True).clamp(min=torch.finfo(shares.dtype).tiny)
    return torch.special.entr(shares).sum(dim=1).to(signed.dtype)


@register(
    "effective_complexity",
    title="Effective complexity",
    source="Nguyen & Martinez 2020, arXiv 2007.07584, by magnitude",
    question="simple",
    better="lower",
    range=(0.0, math.inf),
)
def effective_complexity(
    signed: Float[Tensor, "batch rows columns"], *, threshold: float = 0.01
) -> Float[Tensor, "batch"]:
    """How many pixels hold more than ``threshold`` of the largest magnitude."""
    values = signed.flatten(1).abs()
    return (values > threshold * values.amax(dim=1, keepdim=True)).sum(dim=1).to(signed.dtype)


@register(
    "area",
    title="Area",
    source="the effective complexity as a share of the picture, at half the maximum",
    question="simple",
    better="lower",
    range=(0.0, 1.0),
)
def area(seen: Float[Tensor, "batch rows columns"], *, threshold: float = 0.5) -> Float[Tensor, "batch"]:
    """The share of the picture on which the shown map is above ``threshold`` of its maximum."""
    values = seen.flatten(1)
    return (values > threshold * values.amax(dim=1, keepdim=True)).to(seen.dtype).mean(dim=1)


@register(
    "complexity",
    title="Complexity",
    source="Poppi et al. 2021 (ADCC), arXiv 2104.10252",
    question="simple",
    better="lower",
    range=(0.0, 1.0),
)
def complexity(seen: Float[Tensor, "batch rows columns"]) -> Float[Tensor, "batch"]:
    """The mean of the shown map: how much of the picture it covers."""
    return seen.mean(dim=(1, 2))
