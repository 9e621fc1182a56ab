"""Does the score fall when what the map marks is taken away, and stay when the rest is?

All of them are read off the same scores: of the picture with a share of its pixels removed, the most or the least
marked first (:class:`limelight.evaluation.removal.Removal`). Whatever shares are asked for by two metrics are asked of
the network once. Those that look at the picture through the map are in :mod:`limelight.evaluation.window`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.evaluation.registry import register
from limelight.evaluation.removal import Removal

if TYPE_CHECKING:
    from jaxtyping import Float

PERCENTILES = tuple(i / 10 for i in range(1, 10))
"""Shares of the pixels at which ROAD looks."""
BINS = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Shares at which sufficiency and comprehensiveness look (DeYoung et al. 2020)."""


def evenly(steps: int) -> tuple[float, ...]:
    """Shares from nothing to all in so many steps."""
    return tuple(i / steps for i in range(steps + 1))


def area(curve: Float[Tensor, "steps batch"]) -> Float[Tensor, "batch"]:
    """The area under a curve over evenly spread shares from 0 to 1 (trapezoids)."""
    return torch.trapezoid(curve, dim=0) / (len(curve) - 1)


@register(
    "deletion",
    title="Deletion",
    source="Petsiuk et al. 2018 (RISE), arXiv 1806.07421, the causal metrics",
    question="faithful",
    better="lower",
    range=(0.0, 1.0),
    passes="steps",
)
def deletion(removal: Removal, *, steps: int = 100, baseline: str = "blur", region: int = 1) -> Float[Tensor, "batch"]:
    """The area under the score while the most marked pixels go first. The paper's baseline is "zero"."""
    return area(removal(evenly(steps), baseline, region))


@register(
    "insertion",
    title="Insertion",
    source="Petsiuk et al. 2018 (RISE), arXiv 1806.07421, the causal metrics",
    question="faithful",
    better="higher",
    range=(0.0, 1.0),
    passes="steps",
)
def insertion(removal: Removal, *, steps: int = 100, baseline: str = "blur", region: int = 1) -> Float[Tensor, "batch"]:
    """The area under the score while the most marked pixels come first, from the baseline to the picture.

    The same pictures as removing the least marked pixels first, in the other direction.
    """
    return area(removal(evenly(steps), baseline, region, least=True))


@register(
    "margin",
    title="Insertion minus deletion",
    source="Zhang et al. 2021 (Group-CAM), arXiv 2103.13859, the over-all score",
    question="faithful",
    better="higher",
    range=(-1.0, 1.0),
    passes="2 x steps",
)
def margin(removal: Removal, *, steps: int = 100, baseline: str = "blur", region: int = 1) -> Float[Tensor, "batch"]:
    """How much better the score is while only the most marked is left than while it alone is gone. By chance: about 0.

    A reversed map has the same figure with its sign turned round.
    """
    return insertion(removal, steps=steps, baseline=baseline, region=region) - deletion(
        removal, steps=steps, baseline=baseline, region=region
    )


@register(
    "pixel_flipping",
    title="Pixel flipping",
    source="Bach et al. 2015, doi 10.1371/journal.pone.0130140, sec. Pixel-flipping",
    question="faithful",
    better="lower",
    range=(0.0, 1.0),
    passes="steps",
)
def pixel_flipping(removal: Removal, *, steps: int = 100, baseline: str = "zero") -> Float[Tensor, "batch"]:
    """The mean score while the most marked pixels go: deletion with black (after normalising, grey) pixels.

    The paper shows the curve, which ``removal`` gives; this is the area under it.
    """
    return deletion(removal, steps=steps, baseline=baseline)


@register(
    "morf",
    title="Most relevant first (MoRF)",
    source="Samek et al. 2017, arXiv 1509.06321",
    question="faithful",
    better="lower",
    range=(0.0, 1.0),
    passes="steps",
)
def most_relevant_first(
    removal: Removal, *, steps: int = 20, baseline: str = "blur", region: int = 8
) -> Float[Tensor, "batch"]:
    """The mean score while the most marked squares go first."""
    return removal(evenly(steps), baseline, region).mean(dim=0)


@register(
    "lerf",
    title="Least relevant first (LeRF)",
    source="Samek et al. 2017, arXiv 1509.06321; Ancona et al. 2018, arXiv 1711.06104",
    question="faithful",
    better="higher",
    range=(0.0, 1.0),
    passes="steps",
)
def least_relevant_first(
    removal: Removal, *, steps: int = 20, baseline: str = "blur", region: int = 8
) -> Float[Tensor, "batch"]:
    """The mean score while the least marked squares go first."""
    return removal(evenly(steps), baseline, region, least=True).mean(dim=0)


@register(
    "aopc",
    title="Region perturbation (AOPC)",
    source="Samek et al. 2017, arXiv 1509.06321, eq. 12",
    question="faithful",
    better="higher",
    range=(-1.0, 1.0),
    passes="steps",
)
def aopc(
    removal: Removal,
    *,
    steps: int = 20,
    until: float = 1.0,
    baseline: str = "noise",
    region: int = 8,
    least: bool = False,
) -> Float[Tensor, "batch"]:
    """The mean fall of the score while the most marked squares go, ``until`` that share of the picture is gone.

    The first term, where nothing is gone yet and the fall is zero, counts (eq. 12). The paper's regions are 9 pixels
    wide and their pixels replaced by random ones.
    """
    curve = removal([until * share for share in evenly(steps)], baseline, region, least)
    return (curve[0] - curve).mean(dim=0)


@register(
    "comprehensiveness",
    title="Comprehensiveness",
    source="DeYoung et al. 2020 (ERASER), arXiv 1911.03429, eq. 1, over bins",
    question="faithful",
    better="higher",
    range=(-1.0, 1.0),
    passes="bins",
)
def comprehensiveness(
    removal: Removal, *, bins: Sequence[float] = BINS, baseline: str = "blur"
) -> Float[Tensor, "batch"]:
    """How much the score falls without the most marked 1, 5, 10, 20 and 50 %, averaged."""
    return removal((0.0,), baseline)[0] - removal(bins, baseline).mean(dim=0)


@register(
    "sufficiency",
    title="Sufficiency",
    source="DeYoung et al. 2020 (ERASER), arXiv 1911.03429, eq. 2, over bins",
    question="faithful",
    better="lower",
    range=(-1.0, 1.0),
    passes="bins",
)
def sufficiency(removal: Removal, *, bins: Sequence[float] = BINS, baseline: str = "blur") -> Float[Tensor, "batch"]:
    """How much the score falls when only the most marked 1, 5, 10, 20 and 50 % are left, averaged."""
    kept = removal([1 - share for share in bins], baseline, least=True)
    return removal((0.0,), baseline)[0] - kept.mean(dim=0)


@register(
    "road_morf",
    title="ROAD, most relevant first",
    source="Rong et al. 2022, arXiv 2202.00449",
    question="faithful",
    better="lower",
    range=(-1.0, 1.0),
    passes="9, and in-painting",
)
def road_most_relevant_first(removal: Removal, *, percentiles: Sequence[float] = PERCENTILES) -> Float[Tensor, "batch"]:
    """How the score changes when the most marked 10, 20 ... 90 % are in-painted, averaged."""
    return (removal(percentiles, "inpaint") - removal((0.0,), "inpaint")).mean(dim=0)


@register(
    "road_lerf",
    title="ROAD, least relevant first",
    source="Rong et al. 2022, arXiv 2202.00449",
    question="faithful",
    better="higher",
    range=(-1.0, 1.0),
    passes="9, and in-painting",
)
def road_least_relevant_first(
    removal: Removal, *, percentiles: Sequence[float] = PERCENTILES
) -> Float[Tensor, "batch"]:
    """How the score changes when the least marked 10, 20 ... 90 % are in-painted, averaged."""
    return (removal(percentiles, "inpaint", least=True) - removal((0.0,), "inpaint")).mean(dim=0)


@register(
    "road",
    title="ROAD, combined",
    source="Rong et al. 2022, arXiv 2202.00449; (LeRF - MoRF) / 2 as pytorch-grad-cam combines them",
    question="faithful",
    better="higher",
    range=(-0.5, 0.5),
    passes="18, and in-painting",
)
def road(removal: Removal, *, percentiles: Sequence[float] = PERCENTILES) -> Float[Tensor, "batch"]:
    """How much better the in-painted picture scores without what is least marked than without what is most marked."""
    return (removal(percentiles, "inpaint", least=True) - removal(percentiles, "inpaint")).mean(dim=0) / 2
