"""What is left of the score when the picture is seen through its map, and the figures that combine it with others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.evaluation.faithfulness import road
from limelight.evaluation.registry import register
from limelight.evaluation.removal import Removal
from limelight.evaluation.similarity import pearson
from limelight.evaluation.simplicity import complexity
from limelight.heatmap import rectify, rescale, resize

if TYPE_CHECKING:
    from jaxtyping import Float

TINY = 1e-8

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
    source="Zhang et al. 2024 (Opti-CAM), arXiv 2301.07002",
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
    source="Poppi et al. 2021 (ADCC), arXiv 2104.10252",
    question="faithful",
    better="higher",
    range=(0.0, 1.0),
    passes="a map",
)
def coherence(
    maps: Float[Tensor, "batch height width"],
    inputs: Float[Tensor, "batch channels rows columns"],
    explain: Callable[[Tensor], Tensor],
) -> Float[Tensor, "batch"]:
    """Whether the method marks the same again when shown the picture through its map: their correlation, in [0, 1]."""
    seen = resize(rescale(rectify(maps)), (inputs.shape[-2], inputs.shape[-1]))
    again = explain(inputs * seen[:, None].to(inputs.dtype))
    again = resize(rescale(rectify(again)), (inputs.shape[-2], inputs.shape[-1]))
    return (pearson(seen.flatten(1), again.flatten(1)) + 1) / 2


@register(
    "adcc",
    title="ADCC",
    source="Poppi et al. 2021, arXiv 2104.10252",
    question="faithful",
    better="higher",
    range=(0.0, 1.0),
    passes="1, and a map",
)
def adcc(
    maps: Float[Tensor, "batch height width"],
    seen: Float[Tensor, "batch rows columns"],
    inputs: Float[Tensor, "batch channels rows columns"],
    explain: Callable[[Tensor], Tensor],
    through: Through,
    scores: Float[Tensor, "batch"],
) -> Float[Tensor, "batch"]:
    """The harmonic mean of coherency, 1 - complexity and 1 - average drop."""
    return _harmonic(coherence(maps, inputs, explain), 1 - complexity(seen), 1 - average_drop(through, scores))


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
    inputs: Float[Tensor, "batch channels rows columns"],
    explain: Callable[[Tensor], Tensor],
    removal: Removal,
    *,
    percentiles: Sequence[float] = (0.2, 0.4, 0.6, 0.8),
) -> Float[Tensor, "batch"]:
    """The harmonic mean of coherency, 1 - complexity and twice ROAD, which replaces ADCC's average drop."""
    faithful = (2 * road(removal, percentiles=percentiles)).clamp(0, 1)
    return _harmonic(coherence(maps, inputs, explain), 1 - complexity(seen), faithful)


def _harmonic(*parts: Tensor) -> Tensor:
    return len(parts) / torch.stack([1 / (part + TINY) for part in parts]).sum(dim=0)
