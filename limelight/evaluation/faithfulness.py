"""Does the score fall when what the map marks is taken away, and stay when the rest is?

All of them are read off the same scores: of the picture with a share of its pixels removed, the most or the least
marked first (:class:`limelight.evaluation.case.Removal`), or of the picture seen through the map. Whatever shares are
asked for by two metrics are asked of the network once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.evaluation.case import Removal
from limelight.evaluation.registry import register
from limelight.evaluation.similarity import pearson
from limelight.heatmap import rectify, rescale, resize

if TYPE_CHECKING:
    from jaxtyping import Float

PERCENTILES = tuple(i / 10 for i in range(1, 10))
"""Shares of the pixels at which ROAD looks."""
BINS = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Shares at which sufficiency and comprehensiveness look (DeYoung et al. 2020, sec. 5.2)."""
TINY = 1e-8


def evenly(steps: int) -> tuple[float, ...]:
    """Shares from nothing to all in so many steps."""
    return tuple(i / steps for i in range(steps + 1))


def area(curve: Float[Tensor, "steps batch"]) -> Float[Tensor, "batch"]:
    """The area under a curve over evenly spread shares from 0 to 1 (trapezoids)."""
    return torch.trapezoid(curve, dim=0) / (len(curve) - 1)


@register(
    "deletion",
    title="Deletion",
    source="Petsiuk et al. 2018 (RISE), arXiv 1806.07421, sec. 3.3",
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
    source="Petsiuk et al. 2018 (RISE), arXiv 1806.07421, sec. 3.3",
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
    source="Zhang et al. 2021 (Group-CAM), arXiv 2103.13859, sec. 4.2, the over-all score",
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
    source="Samek et al. 2017, arXiv 1509.06321, eq. 9 to 11",
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
    source="Samek et al. 2017, arXiv 1509.06321, sec. 3.3; Ancona et al. 2018, arXiv 1711.06104",
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
    source="DeYoung et al. 2020 (ERASER), arXiv 1911.03429, eq. 1 and sec. 5.2",
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
    source="DeYoung et al. 2020 (ERASER), arXiv 1911.03429, eq. 2 and sec. 5.2",
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
    source="Rong et al. 2022, arXiv 2202.00449, sec. 4",
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
    source="Rong et al. 2022, arXiv 2202.00449, sec. 4",
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
    source="Rong et al. 2022, arXiv 2202.00449, sec. 4; (LeRF - MoRF) / 2 as pytorch-grad-cam combines them",
    question="faithful",
    better="higher",
    range=(-0.5, 0.5),
    passes="18, and in-painting",
)
def road(removal: Removal, *, percentiles: Sequence[float] = PERCENTILES) -> Float[Tensor, "batch"]:
    """How much better the in-painted picture scores without what is least marked than without what is most marked."""
    return (removal(percentiles, "inpaint", least=True) - removal(percentiles, "inpaint")).mean(dim=0) / 2


# ---- the picture seen through the map

Through = Callable[[str], Tensor]
"""``baseline -> (batch,)``: the score of each picture seen through its shown map, the baseline where the map is 0."""


@register(
    "cam_mult_image",
    title="CAM times image",
    source="pytorch-grad-cam's CamMultImageConfidenceChange; Chattopadhay et al. 2018, arXiv 1710.11063, sec. 5.1",
    question="faithful",
    better="higher",
    range=(-1.0, 1.0),
    passes="1",
)
def cam_mult_image(
    through: Through, scores: Float[Tensor, "batch"], *, baseline: str = "zero"
) -> Float[Tensor, "batch"]:
    """How the score changes when the picture is multiplied by its map."""
    return through(baseline) - scores


@register(
    "average_drop",
    title="Average drop",
    source="Chattopadhay et al. 2018 (Grad-CAM++), arXiv 1710.11063, sec. 5.1 (i)",
    question="faithful",
    better="lower",
    range=(0.0, 1.0),
    passes="1",
)
def average_drop(through: Through, scores: Float[Tensor, "batch"], *, baseline: str = "zero") -> Float[Tensor, "batch"]:
    """The share of the score that is lost when the picture is seen through its map. Of scores that are not negative.

    A map that is 1 everywhere loses nothing: read it beside the complexity (ADCC does).
    """
    return (scores - through(baseline)).clamp(min=0) / scores.clamp(min=TINY)


@register(
    "average_increase",
    title="Average increase",
    source="Chattopadhay et al. 2018 (Grad-CAM++), arXiv 1710.11063, sec. 5.1 (ii)",
    question="faithful",
    better="higher",
    range=(0.0, 1.0),
    passes="1",
)
def average_increase(
    through: Through, scores: Float[Tensor, "batch"], *, baseline: str = "zero"
) -> Float[Tensor, "batch"]:
    """1 where the score rises when the picture is seen through its map, else 0."""
    return (through(baseline) > scores).to(scores.dtype)


@register(
    "average_gain",
    title="Average gain",
    source="Zhang et al. 2024 (Opti-CAM), arXiv 2301.07002, eq. 14",
    question="faithful",
    better="higher",
    range=(0.0, 1.0),
    passes="1",
)
def average_gain(through: Through, scores: Float[Tensor, "batch"], *, baseline: str = "zero") -> Float[Tensor, "batch"]:
    """The share gained, of what there was to gain up to 1, when the picture is seen through its map."""
    return (through(baseline) - scores).clamp(min=0) / (1 - scores).clamp(min=TINY)


@register(
    "coherence",
    title="Coherency",
    source="Poppi et al. 2021 (ADCC), arXiv 2104.10252, eq. 3",
    question="faithful",
    better="higher",
    range=(0.0, 1.0),
    passes="a map",
)
def coherence(
    maps: Float[Tensor, "batch height width"],
    images: Float[Tensor, "batch channels rows columns"],
    explain: Callable[[Tensor], Tensor],
) -> Float[Tensor, "batch"]:
    """Whether the method marks the same again when shown the picture through its map: their correlation, in [0, 1]."""
    seen = resize(rescale(rectify(maps)), (images.shape[-2], images.shape[-1]))
    again = explain(images * seen[:, None].to(images.dtype))
    again = resize(rescale(rectify(again)), (images.shape[-2], images.shape[-1]))
    return (pearson(seen.flatten(1), again.flatten(1)) + 1) / 2


@register(
    "complexity",
    title="Complexity",
    source="Poppi et al. 2021 (ADCC), arXiv 2104.10252, eq. 4",
    question="simple",
    better="lower",
    range=(0.0, 1.0),
)
def complexity(seen: Float[Tensor, "batch rows columns"]) -> Float[Tensor, "batch"]:
    """The mean of the shown map: how much of the picture it covers."""
    return seen.mean(dim=(1, 2))


@register(
    "adcc",
    title="ADCC",
    source="Poppi et al. 2021, arXiv 2104.10252, eq. 5",
    question="faithful",
    better="higher",
    range=(0.0, 1.0),
    passes="1, and a map",
)
def adcc(
    maps: Float[Tensor, "batch height width"],
    seen: Float[Tensor, "batch rows columns"],
    images: Float[Tensor, "batch channels rows columns"],
    explain: Callable[[Tensor], Tensor],
    through: Through,
    scores: Float[Tensor, "batch"],
) -> Float[Tensor, "batch"]:
    """The harmonic mean of coherency, 1 - complexity and 1 - average drop."""
    return _harmonic(coherence(maps, images, explain), 1 - complexity(seen), 1 - average_drop(through, scores))


@register(
    "arcc",
    title="ARCC",
    source="arXiv 2605.14641, as pytorch-grad-cam 1.5.7 has it",
    question="faithful",
    better="higher",
    range=(0.0, 1.0),
    passes="8, in-painting, and a map",
)
def arcc(
    maps: Float[Tensor, "batch height width"],
    seen: Float[Tensor, "batch rows columns"],
    images: Float[Tensor, "batch channels rows columns"],
    explain: Callable[[Tensor], Tensor],
    removal: Removal,
    *,
    percentiles: Sequence[float] = (0.2, 0.4, 0.6, 0.8),
) -> Float[Tensor, "batch"]:
    """The harmonic mean of coherency, 1 - complexity and twice ROAD, which replaces ADCC's average drop."""
    faithful = (2 * road(removal, percentiles=percentiles)).clamp(0, 1)
    return _harmonic(coherence(maps, images, explain), 1 - complexity(seen), faithful)


def _harmonic(*parts: Tensor) -> Tensor:
    return len(parts) / torch.stack([1 / (part + TINY) for part in parts]).sum(dim=0)
