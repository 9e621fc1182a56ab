"""What the score becomes without a subset of a picture's cells: asked once, compared with every map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.evaluation.perturb import noise
from limelight.heatmap import resize
from limelight.methods.perturbation import segmentation

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from limelight.evaluation.case import Scene


@dataclass(frozen=True, eq=False)
class Dropped:
    """Subsets of the cells and what is lost without them.

    Attributes:
        gone: ``(subsets, cells)``, the same for every picture.
        drops: ``(subsets, batch)``, how far the score falls without them.
    """

    gone: Bool[Tensor, "subsets cells"]
    drops: Float[Tensor, "subsets batch"]


def random_subsets(samples: int, cells: int, share: float, seed: int) -> Bool[Tensor, "samples cells"]:
    """Subsets of the given share of the cells, one at least, each drawn on its own."""
    size = min(max(1, round(share * cells)), cells)
    drawn = torch.rand(samples, cells, generator=torch.Generator().manual_seed(seed))
    return torch.zeros(samples, cells, dtype=torch.bool).scatter(1, drawn.topk(size, dim=1).indices, True)


def dropped(scene: Scene, gone: Bool[Tensor, "subsets cells"], side: int, baseline: str) -> Dropped:
    """Ask the network about each subset of a grid of ``side`` x ``side`` cells."""
    labels, fill = cells_of(scene, side), scene.fill(baseline)
    gone = gone.to(labels.device)
    scores = scene.ask(lambda few: fill(gone[few][:, labels].expand(-1, len(scene), -1, -1)), len(gone))
    return Dropped(gone, scene.scores - scores)


def varied(scene: Scene, side: int, samples: int, seed: int) -> Float[Tensor, "cells batch"]:
    """The mean square of what the score changes by when a cell's pixels are drawn anew, each cell on its own."""
    labels = cells_of(scene, side)
    cells = int(labels.max()) + 1
    drawn = torch.stack([noise(scene.images, seed + number) for number in range(samples)])

    def alter(few: Tensor) -> Tensor:
        inside = labels == (few // samples).view(-1, 1, 1)
        return torch.where(inside[:, None, None], drawn[few % samples], scene.images)

    scores = scene.ask(alter, cells * samples).unflatten(0, (cells, samples))
    return (scores - scene.scores).square().mean(dim=1)


def cells_of(scene: Scene, side: int) -> Tensor:
    """Which cell of a grid of ``side`` x ``side`` each pixel belongs to: ``(1, rows, columns)``."""
    return segmentation(scene.images[:1], side)


def portions(maps: Float[Tensor, "batch height width"], labels: Tensor) -> Float[Tensor, "batch cells"]:
    """The sum of each map over each cell, the map at the size of what is perturbed."""
    large = resize(maps, (labels.shape[-2], labels.shape[-1])).flatten(1)
    sums = large.new_zeros(len(maps), int(labels.max()) + 1)
    return sums.index_add_(1, labels.flatten(), large)
