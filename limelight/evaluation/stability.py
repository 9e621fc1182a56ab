"""Does the map hold still while the picture hardly changes, and move as the picture does?

A stable map need not be true: a constant one is the most stable of all. An unstable one can't be relied on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.evaluation.nearby import Nearby
from limelight.evaluation.registry import register
from limelight.evaluation.similarity import spearman

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

Around = Callable[..., Nearby]
"""``(samples, radius, seed)`` -> the pictures under a little noise, and the method's maps of them."""
EPS = 1e-6


def _norm(values: Tensor) -> Float[Tensor, "samples batch"]:
    """The Euclidean length over everything but the first two dimensions."""
    return values.flatten(2).double().norm(dim=2)


def _moved(nearby: Nearby, maps: Tensor) -> Float[Tensor, "samples batch"]:
    return _norm(nearby.maps - maps)


@register(
    "max_sensitivity",
    title="Max-sensitivity",
    source="Yeh et al. 2019, arXiv 1901.09392, SENS_MAX; relative to the map's own length as captum has it",
    question="stable",
    better="lower",
    range=(0.0, math.inf),
    passes="samples maps",
)
def max_sensitivity(
    maps: Float[Tensor, "batch height width"],
    around: Around,
    *,
    samples: int = 10,
    radius: float = 0.05,
    seed: int = 0,
) -> Float[Tensor, "batch"]:
    """How far the map moves at most under noise of up to ``radius`` on every pixel, as a share of its length."""
    moved = _moved(around(samples, radius, seed), maps)
    return (moved / _norm(maps[None]).clamp(min=EPS)).amax(dim=0)


@register(
    "avg_sensitivity",
    title="Average sensitivity",
    source="Yeh et al. 2019, arXiv 1901.09392, the mean in place of the maximum (Bhatt et al. 2020, arXiv 2005.00631)",
    question="stable",
    better="lower",
    range=(0.0, math.inf),
    passes="samples maps",
)
def average_sensitivity(
    maps: Float[Tensor, "batch height width"],
    around: Around,
    *,
    samples: int = 10,
    radius: float = 0.05,
    seed: int = 0,
) -> Float[Tensor, "batch"]:
    """How far the map moves on average under noise of up to ``radius`` on every pixel, as a share of its length."""
    moved = _moved(around(samples, radius, seed), maps)
    return (moved / _norm(maps[None]).clamp(min=EPS)).mean(dim=0)


@register(
    "lipschitz",
    title="Local Lipschitz estimate",
    source="Alvarez-Melis & Jaakkola 2018, arXiv 1806.08049",
    question="stable",
    better="lower",
    range=(0.0, math.inf),
    passes="samples maps",
)
def local_lipschitz(
    maps: Float[Tensor, "batch height width"],
    inputs: Float[Tensor, "batch channels rows columns"],
    around: Around,
    *,
    samples: int = 10,
    radius: float = 0.05,
    scaled: bool = True,
    seed: int = 0,
) -> Float[Tensor, "batch"]:
    """The largest ratio of how far the map moves to how far the picture does.

    With ``scaled``, of maps of length 1, so that methods can be compared.
    """
    nearby = around(samples, radius, seed)
    length = _norm(maps[None]).clamp(min=EPS) if scaled else 1.0
    return (_moved(nearby, maps) / length / _norm(nearby.inputs - inputs).clamp(min=EPS)).amax(dim=0)


@register(
    "continuity",
    title="Continuity",
    source="Montavon et al. 2018, arXiv 1706.07979, sec. 4.1, under shifts",
    question="stable",
    better="lower",
    range=(0.0, math.inf),
    passes="steps maps",
)
def continuity(
    maps: Float[Tensor, "batch height width"],
    inputs: Float[Tensor, "batch channels rows columns"],
    explain: Callable[[Tensor], Tensor],
    *,
    steps: int = 4,
) -> Float[Tensor, "batch"]:
    """The largest ratio of how far the map moves (sum of magnitudes) to how far the picture does, shifted by pixels.

    The map's magnitudes are taken as shares of their sum, so that methods can be compared.
    """
    total = maps.abs().sum(dim=(1, 2)).clamp(min=EPS)
    ratios = []
    for pixels in range(1, steps + 1):
        shifted = torch.cat([inputs[..., :1].expand(*inputs.shape[:-1], pixels), inputs], dim=-1)
        shifted = shifted[..., : inputs.shape[-1]]
        moved = (explain(shifted) - maps).abs().sum(dim=(1, 2)) / total
        ratios.append(moved / (shifted - inputs).flatten(1).norm(dim=1).clamp(min=EPS))
    return torch.stack(ratios).amax(dim=0)


def relative_stability(
    own: Float[Tensor, "batch *grid"],
    moved: Float[Tensor, "samples batch *grid"],
    distances: Float[Tensor, "samples batch"],
    same: Bool[Tensor, "samples batch"],
) -> Float[Tensor, "batch"]:
    """The largest relative change of the map by what else changed (Agarwal et al. 2022, arXiv 2203.06877).

    Changes are relative value by value, zeros counting as ``1e-6``. Only where the prediction stayed the ``same``; NaN
    where it never did.
    """
    change = _norm((own - moved) / torch.where(own == 0, EPS, own))
    ratios = change / torch.where(distances == 0, EPS, distances)
    largest = torch.where(same, ratios, -torch.inf).amax(dim=0)
    return torch.where(same.any(dim=0), largest, torch.nan)


@register(
    "relative_input_stability",
    title="Relative input stability",
    source="Agarwal et al. 2022, arXiv 2203.06877",
    question="stable",
    better="lower",
    range=(0.0, math.inf),
    passes="samples maps",
)
def relative_input_stability(
    maps: Float[Tensor, "batch height width"],
    inputs: Float[Tensor, "batch channels rows columns"],
    around: Around,
    *,
    samples: int = 10,
    radius: float = 0.05,
    seed: int = 0,
) -> Float[Tensor, "batch"]:
    """The map's largest relative change by the picture's relative change, while the prediction stays."""
    nearby = around(samples, radius, seed)
    distances = _norm((inputs - nearby.inputs) / torch.where(inputs == 0, EPS, inputs))
    return relative_stability(maps, nearby.maps, distances, nearby.same)


@register(
    "relative_output_stability",
    title="Relative output stability",
    source="Agarwal et al. 2022, arXiv 2203.06877",
    question="stable",
    better="lower",
    range=(0.0, math.inf),
    passes="samples maps",
)
def relative_output_stability(
    maps: Float[Tensor, "batch height width"], around: Around, *, samples: int = 10, radius: float = 0.05, seed: int = 0
) -> Float[Tensor, "batch"]:
    """The map's largest relative change by how far the logits move, while the prediction stays."""
    nearby = around(samples, radius, seed)
    return relative_stability(maps, nearby.maps, _norm(nearby.logits - nearby.own_logits), nearby.same)


@register(
    "relative_representation_stability",
    title="Relative representation stability",
    source="Agarwal et al. 2022, arXiv 2203.06877",
    question="stable",
    better="lower",
    range=(0.0, math.inf),
    passes="samples maps",
)
def relative_representation_stability(
    maps: Float[Tensor, "batch height width"], around: Around, *, samples: int = 10, radius: float = 0.05, seed: int = 0
) -> Float[Tensor, "batch"]:
    """The map's largest relative change by that of the activations at the default layer, while the prediction stays."""
    nearby = around(samples, radius, seed)
    own = nearby.own_activations
    distances = _norm((own - nearby.activations) / torch.where(own == 0, EPS, own))
    return relative_stability(maps, nearby.maps, distances, nearby.same)


@register(
    "input_invariance",
    title="Input invariance",
    source="Kindermans et al. 2019, arXiv 1711.00867, as a relative error",
    question="stable",
    better="lower",
    range=(0.0, math.inf),
    passes="a map",
)
def input_invariance(
    maps: Float[Tensor, "batch height width"],
    shifted: Callable[[float], Tensor],
    *,
    shift: float = 1.0,
) -> Float[Tensor, "batch"]:
    """How far the map moves, as a share of its length, when every pixel is shifted and the network shifts it back.

    The network's answers are the same, so the map should be. Methods that multiply by the picture fail.
    """
    return (shifted(shift) - maps).flatten(1).norm(dim=1) / maps.flatten(1).norm(dim=1).clamp(min=EPS)


# ---- over networks trained on different parts of the data


def map_distance(a: Float[Tensor, "batch height width"], b: Float[Tensor, "batch height width"]) -> Tensor:
    """sqrt(1 - |Spearman's correlation|), ``(batch,)`` (Fel et al. 2022)."""
    return (1 - spearman(a.flatten(1), b.flatten(1)).abs()).sqrt()


def generalisation(
    maps: Float[Tensor, "networks batch height width"],
    right: Bool[Tensor, "networks batch"],
    fold: Tensor,
) -> tuple[float, float]:
    """MeGe and ReCo of a method (Fel et al. 2022, arXiv 2009.04521): both in [0, 1], higher is better.

    Networks are trained on a data set less one fold each. On a picture of fold ``i`` network ``i``, which never saw it,
    is compared with each that did. MeGe says how alike their maps are where both are right, ReCo whether a distance
    tells pairs that agree from pairs of which one is wrong (balanced accuracy, from 0 to 1).

    Args:
        maps: each network's map of each picture, of its true class.
        right: where each network is right.
        fold: ``(batch,)``, the network that was trained without each picture.

    Returns:
        MeGe and ReCo; NaN where there are no such pairs.
    """
    agree, differ = [], []
    for i in range(len(maps)):
        own = fold == i
        for j in range(len(maps)):
            if i != j and bool(own.any()):
                distances = map_distance(maps[i][own], maps[j][own])
                both, one = right[i][own] & right[j][own], right[i][own] ^ right[j][own]
                agree.append(distances[both])
                differ.append(distances[one])
    same, other = (torch.cat(parts) if parts else maps.new_zeros(0) for parts in (agree, differ))
    mege = 1 / (1 + float(same.mean())) if len(same) else math.nan
    if not len(same) or not len(other):
        return mege, math.nan
    thresholds = torch.cat([same, other]).unique()
    found = (same <= thresholds[:, None]).double().mean(dim=1) + (other > thresholds[:, None]).double().mean(dim=1) - 1
    return mege, max(0.0, float(found.max()))
