"""Deep feature factorization: what a layer holds, as a few concepts, each with a map and with scores of its own.

The activations at the cells are factorised into non-negative strengths times non-negative directions (Collins et al.
2018, arXiv 1806.10206, eq. 2); a concept is a direction, and its strengths at the cells are its map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from limelight.cut import Cut, LayerSpec
from limelight.errors import MethodError
from limelight.grid import default_layer, layout_of
from limelight.head import own_activations
from limelight.methods.registry import register
from limelight.targets import logits_of

if TYPE_CHECKING:
    from jaxtyping import Float

    from limelight.head import Head


@register(
    "dff",
    title="DFF",
    source="Collins et al. 2018, arXiv 1806.10206, eq. 2",
    signed=False,
    passes="1 + concepts",
)
def deep_feature_factorization(
    activations: Float[Tensor, "batch channels *grid"],
    head: Head,
    *,
    concepts: int = 5,
    steps: int = 200,
) -> Float[Tensor, "batch *grid"]:
    """The map of the one concept, of those each image is factorised into, that scores highest for the target.

    A concept's score is the target's when the layer holds that concept alone. For all the concepts, their directions
    and their scores for every class, see :func:`concepts_of`.
    """
    found = factorize(activations, concepts, steps)
    best = head.scores(found.alone, concepts).argmax(dim=0)
    return found.maps[torch.arange(len(best), device=best.device), best]


@dataclass(frozen=True)
class Factors:
    """Activations as a sum of concepts, and a floor where activations can be negative.

    Attributes:
        maps: each concept's strength at each cell, ``(batch, concepts, *grid)``, none negative.
        directions: ``(batch, concepts, channels)``, none negative; the same for every image if factorised together.
        floor: each channel's least activation, or zero if that is more, ``(batch, channels, *ones)``.
    """

    maps: Float[Tensor, "batch concepts *grid"]
    directions: Float[Tensor, "batch concepts channels"]
    floor: Float[Tensor, "batch channels *ones"]

    def alone(self, few: Tensor) -> Float[Tensor, "few batch channels *grid"]:
        """The activations if a concept were the only one, for these concepts."""
        return self.floor + torch.einsum("bk...,bkc->kbc...", self.maps[:, few], self.directions[:, few])


@dataclass(frozen=True)
class Concepts(Factors):
    """Concepts with their class scores.

    Attributes:
        scores: the class scores of each image when the layer holds one concept alone, ``(batch, concepts, classes)``.
    """

    scores: Float[Tensor, "batch concepts classes"]


def concepts_of(
    network: nn.Module,
    images: Float[Tensor, "batch channels height width"],
    layer: LayerSpec | None = None,
    *,
    concepts: int = 5,
    steps: int = 200,
) -> Concepts:
    """The concepts that a layer holds of these images, found in all of them together, with their class scores.

    Args:
        network: any network whose outputs hold class scores.
        images: preprocessed. The same concept is the same direction in each of them.
        layer: None for the last layer that has a grid.
        concepts: how many.
        steps: of the factorisation.

    Raises:
        MethodError: the outputs hold no class scores.
    """
    captured = Cut.at(network, default_layer(network, images) if layer is None else layer).capture(images)
    found = factorize(own_activations(captured, 0), concepts, steps, together=True)
    scores = []
    for concept in torch.arange(concepts, device=images.device).split(1):
        own = captured.activations[0].detach()
        alone = layout_of(captured, 0).write(found.alone(concept)[0].to(own.dtype), own)
        if (logits := logits_of(captured.replay(alone))) is None:
            raise MethodError("concepts are scored by class, and the network's outputs hold no class scores")
        scores.append(logits.detach())
    return Concepts(found.maps, found.directions, found.floor, torch.stack(scores, dim=1))


def factorize(
    activations: Float[Tensor, "batch channels *grid"], concepts: int, steps: int, together: bool = False
) -> Factors:
    """Non-negative factors of the activations less their floor, by multiplicative updates (Lee and Seung 2001).

    Each image on its own, or ``together``, with directions that all of them share. Directions have unit length.
    """
    if concepts < 1:
        raise MethodError(f"concepts={concepts}: ask for at least one")
    batch, channels, *grid = activations.shape
    cells = activations.flatten(2).mT
    cells = cells.flatten(0, 1)[None] if together else cells
    floor = cells.amin(dim=1, keepdim=True).clamp(max=0)
    cells = cells - floor
    directions = _apart(cells, concepts) + cells.mean(dim=1, keepdim=True) / 100  # what starts at zero stays there
    strengths = cells @ directions.mT
    tiny = torch.finfo(cells.dtype).tiny
    for _ in range(steps):
        strengths = strengths * (cells @ directions.mT) / (strengths @ (directions @ directions.mT)).clamp(min=tiny)
        directions = directions * (strengths.mT @ cells) / ((strengths.mT @ strengths) @ directions).clamp(min=tiny)
    length = directions.norm(dim=2, keepdim=True)
    strengths, directions = strengths * length.mT, directions / length.clamp(min=tiny)
    return Factors(
        maps=strengths.reshape(batch, -1, concepts).mT.reshape(batch, concepts, *grid),
        directions=directions.expand(batch, -1, -1),
        floor=floor.expand(batch, -1, -1).reshape(batch, channels, *[1] * len(grid)),
    )


def _apart(cells: Float[Tensor, "batch cells channels"], count: int) -> Float[Tensor, "batch count channels"]:
    """Cells that differ most: each the farthest from the span of those before it (Araujo et al. 2001)."""
    picked, rest = [], cells
    for _ in range(count):
        farthest = rest.square().sum(dim=2).argmax(dim=1).view(-1, 1, 1).expand(-1, 1, cells.shape[2])
        picked.append(cells.gather(1, farthest))
        along = torch.nn.functional.normalize(rest.gather(1, farthest), dim=2)
        rest = rest - (rest @ along.mT) @ along
    return torch.cat(picked, dim=1)
