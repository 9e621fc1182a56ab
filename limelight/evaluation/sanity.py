"""Does the map depend on the network, and on the class? A map that does neither shows the picture.

All compare maps by rank correlation, unless their papers say otherwise. Low is good: another network, another class,
another map.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from limelight.errors import MetricError
from limelight.evaluation.faithfulness import margin
from limelight.evaluation.randomise import cascade, layers_from_the_top, one_by_one, randomised
from limelight.evaluation.registry import register
from limelight.evaluation.removal import Removal
from limelight.evaluation.scene import Scene
from limelight.evaluation.similarity import pearson, spearman, ssim
from limelight.heatmap import rescale
from limelight.targets import Target, logits_of

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Explainer = Callable[[nn.Module, Tensor, Target], Tensor]
"""``(network, images, target) -> (batch, *grid)`` raw maps."""


def rank_similarity(
    a: Float[Tensor, "batch height width"], b: Float[Tensor, "batch height width"], magnitude: bool = False
) -> Float[Tensor, "batch"]:
    """Spearman's correlation of two maps, or of their magnitudes; 0 where one is constant."""
    a, b = (each.abs() if magnitude else each for each in (a, b))
    return spearman(a.flatten(1), b.flatten(1))


def structural_similarity(a: Float[Tensor, "batch height width"], b: Float[Tensor, "batch height width"]) -> Tensor:
    """SSIM of two maps' magnitudes, each rescaled to [0, 1] (Adebayo et al. 2018)."""
    return ssim(rescale(a.abs()), rescale(b.abs()))


def similarities(
    stages: Iterator[tuple[str, nn.Module]],
    maps: Float[Tensor, "batch height width"],
    scene: Scene,
    explain_with: Explainer,
    compare: Callable[[Tensor, Tensor], Tensor],
) -> tuple[list[str], Float[Tensor, "stages batch"]]:
    """How alike the trained network's maps and each stage's are, with the name of the layer that each stage reached."""
    names, found = [], []
    for name, network in stages:
        again = explain_with(network, scene.inputs, scene.question)
        names.append(name)
        found.append(compare(maps, again.to(maps)))
    return names, torch.stack(found)


@register(
    "cascading_randomisation",
    title="Cascading parameter randomisation",
    source="Adebayo et al. 2018, arXiv 1810.03292",
    question="dependent",
    better="lower",
    range=(-1.0, 1.0),
    passes="stages maps",
)
def cascading_randomisation(
    maps: Float[Tensor, "batch height width"],
    scene: Scene,
    explain_with: Explainer,
    *,
    stages: int = 6,
    magnitude: bool = False,
    seed: int = 0,
) -> Float[Tensor, "batch"]:
    """How alike the map stays while the network's layers are drawn anew from the top down, averaged over the stages.

    A method whose map survives shows the picture (guided backpropagation; an edge detector has 1).
    """
    networks = cascade(scene.network, stages, seed)
    return similarities(networks, maps, scene, explain_with, lambda a, b: rank_similarity(a, b, magnitude))[1].mean(
        dim=0
    )


@register(
    "independent_randomisation",
    title="Independent parameter randomisation",
    source="Adebayo et al. 2018, arXiv 1810.03292",
    question="dependent",
    better="lower",
    range=(-1.0, 1.0),
    passes="stages maps",
)
def independent_randomisation(
    maps: Float[Tensor, "batch height width"],
    scene: Scene,
    explain_with: Explainer,
    *,
    stages: int = 6,
    magnitude: bool = False,
    seed: int = 0,
) -> Float[Tensor, "batch"]:
    """How alike the map stays when one part of the network is drawn anew and the rest is as trained, averaged."""
    networks = one_by_one(scene.network, stages, seed)
    return similarities(networks, maps, scene, explain_with, lambda a, b: rank_similarity(a, b, magnitude))[1].mean(
        dim=0
    )


@register(
    "efficient_mprt",
    title="Efficient MPRT",
    source="Hedström et al. 2024, arXiv 2401.06465, eMPRT",
    question="dependent",
    better="higher",
    passes="a map",
)
def efficient_mprt(
    maps: Float[Tensor, "batch height width"],
    scene: Scene,
    explain_with: Explainer,
    *,
    bins: int = 100,
    seed: int = 0,
) -> Float[Tensor, "batch"]:
    """How much more complex the map of a wholly randomised network is: the relative rise of its histogram's entropy."""
    network = randomised(scene.network, layers_from_the_top(scene.network), seed)
    again = explain_with(network, scene.inputs, scene.question).to(maps)
    before, after = (histogram_entropy(each, bins) for each in (maps, again))
    return (after - before) / before.clamp(min=torch.finfo(before.dtype).eps)


def histogram_entropy(maps: Float[Tensor, "batch height width"], bins: int) -> Float[Tensor, "batch"]:
    """The entropy, in nats, of how the map's values spread over so many equal bins from its least to its greatest."""
    values = maps.flatten(1)
    low, high = values.amin(dim=1, keepdim=True), values.amax(dim=1, keepdim=True)
    placed = ((values - low) / torch.where(high > low, high - low, 1) * bins).long().clamp(max=bins - 1)
    counts = torch.zeros(len(maps), bins, dtype=values.dtype, device=values.device)
    counts.scatter_add_(1, placed, torch.ones_like(values))
    return torch.special.entr(counts / values.shape[1]).sum(dim=1)


@register(
    "label_randomisation",
    title="Label randomisation",
    source="Adebayo et al. 2018, arXiv 1810.03292",
    question="dependent",
    better="lower",
    range=(-1.0, 1.0),
    passes="a map",
)
def label_randomisation(
    maps: Float[Tensor, "batch height width"],
    scene: Scene,
    explain_with: Explainer,
    mislabelled: nn.Module,
    *,
    magnitude: bool = False,
) -> Float[Tensor, "batch"]:
    """How alike the map is to that of the same architecture trained on the same pictures with permuted labels."""
    again = explain_with(mislabelled, scene.inputs, scene.question)
    return rank_similarity(maps, again.to(maps), magnitude)


@register(
    "random_logit",
    title="Random logit",
    source="Sixt et al. 2020, arXiv 1912.09818",
    question="dependent",
    better="lower",
    range=(-1.0, 1.0),
    passes="a map",
)
def random_logit(
    maps: Float[Tensor, "batch height width"], scene: Scene, explain_with: Explainer, *, seed: int = 0
) -> Float[Tensor, "batch"]:
    """The structural similarity of the map with that of another class, drawn at random."""
    logits, own = _classes(scene)
    drawn = torch.Generator().manual_seed(seed)
    # Each picture's class hangs on its own class only, not on its place in the batch.
    steps = 1 + int(torch.randint(logits.shape[1] - 1, (), generator=drawn)) if logits.shape[1] > 1 else 0
    others = ((own + steps) % logits.shape[1]).tolist()
    return structural_similarity(maps, explain_with(scene.network, scene.inputs, others).to(maps))


@register(
    "class_contrast",
    title="Class contrast",
    source="the class-discrimination of Selvaraju et al. 2017, arXiv 1610.02391, sec. 5.1, without people",
    question="dependent",
    better="lower",
    range=(-1.0, 1.0),
    passes="a map",
)
def class_contrast(
    maps: Float[Tensor, "batch height width"], scene: Scene, explain_with: Explainer
) -> Float[Tensor, "batch"]:
    """Pearson's correlation of the map with that of the class that the network thinks most likely besides this one."""
    logits, own = _classes(scene)
    if logits.shape[1] < 2:
        raise MetricError("this metric compares two classes, and the network has only one output")
    runner_up = logits.scatter(1, own[:, None], -torch.inf).argmax(dim=1).tolist()
    again = explain_with(scene.network, scene.inputs, runner_up)
    return pearson(maps.flatten(1), again.flatten(1).to(maps))


@register(
    "matched_control",
    title="Prediction-matched control",
    source="ours: the margin of insertion and deletion, above that of a like predicted picture's map",
    question="dependent",
    better="higher",
    range=(-2.0, 2.0),
    passes="4 x steps",
)
def matched_control(
    maps: Float[Tensor, "batch height width"],
    controls: Float[Tensor, "batch height width"],
    scene: Scene,
    *,
    steps: int = 10,
    baseline: str = "blur",
) -> Float[Tensor, "batch"]:
    """How much more faithful the map is to its picture than the map of another that is predicted the same.

    Whatever a method shows for every picture of a class, however plausible, gains nothing here. ``controls`` are the
    maps of the pictures that :func:`matched` finds.
    """
    own, other = (margin(Removal(scene, each), steps=steps, baseline=baseline) for each in (maps, controls))
    return own - other


def matched(classes: Int[Tensor, "pictures"], scores: Float[Tensor, "pictures"]) -> Int[Tensor, "pictures"]:
    """For each picture the other one of the same class with the nearest score; of any class, where there is none.

    Raises:
        MetricError: there is only one picture.
    """
    if len(classes) < 2:
        raise MetricError("a control is the map of another picture, and there is only one")
    apart = (scores[:, None] - scores).abs().double()
    apart = apart / (1 + apart)  # below 1, so that another class is always further
    apart = apart + (classes[:, None] != classes)
    return apart.fill_diagonal_(math.inf).argmin(dim=1)


def _classes(scene: Scene) -> tuple[Tensor, Tensor]:
    """The class scores ``(batch, classes)`` and the class asked about."""
    logits = logits_of(scene.head.captured.outputs)
    if logits is None or scene.asked.classes is None:
        raise MetricError("this metric compares classes, and the target is not a class")
    return logits.detach(), scene.asked.classes
