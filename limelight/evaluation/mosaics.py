"""Mosaics: four pictures in one, so that it is known where a class is and a guess at the centre gains nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.errors import MetricError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


@dataclass(frozen=True, eq=False)
class Mosaics:
    """Two by two pictures each.

    Attributes:
        images: ``(batch, channels, 2 rows, 2 columns)``.
        masks: ``(batch, 2 rows, 2 columns)``, the tiles that show the class that is asked about.
        classes: ``(batch,)``, the class to ask about: that of the picture that the mosaic was made for.
        tiles: ``(batch, 4)``, which picture is where: upper left, upper right, lower left, lower right.
    """

    images: Float[Tensor, "batch channels rows columns"]
    masks: Bool[Tensor, "batch rows columns"]
    classes: Int[Tensor, "batch"]
    tiles: Int[Tensor, "batch 4"]


def mosaics(
    inputs: Float[Tensor, "batch channels rows columns"],
    classes: Int[Tensor, "batch"],
    own: int = 1,
    seed: int = 0,
) -> Mosaics:
    """A mosaic for each picture: it, ``own - 1`` others of its class, the rest of other classes, in random places.

    Two of its own and two others are Arias-Duart et al.'s mosaics (2022, arXiv 2109.15035), for their Focus;
    one of its own among three others is the harder pointing game.

    Raises:
        MetricError: there are too few pictures of a class, or of others.
    """
    if own not in (1, 2, 3):
        raise MetricError(f"own={own}: of a mosaic's four pictures 1 to 3 show its class")
    random = torch.Generator().manual_seed(seed)
    tiles = []
    for i, kind in enumerate(classes.tolist()):
        same = [j for j in (classes == kind).nonzero().flatten().tolist() if j != i]
        others = (classes != kind).nonzero().flatten().tolist()
        if len(same) < own - 1 or len(others) < 4 - own:
            raise MetricError(
                f"a mosaic for picture {i} takes {own - 1} more of class {kind} and {4 - own} of others, "
                f"and there are {len(same)} and {len(others)}"
            )
        chosen = [i, *_some(same, own - 1, random), *_some(others, 4 - own, random)]
        tiles.append([chosen[place] for place in torch.randperm(4, generator=random).tolist()])
    placed = torch.tensor(tiles)
    shown = inputs[placed.to(inputs.device)]
    marks = (classes[placed.to(classes.device)] == classes[:, None])[:, :, None, None, None]
    masks = marks.expand(-1, -1, 1, *inputs.shape[-2:])
    return Mosaics(_joined(shown), _joined(masks)[:, 0].to(inputs.device), classes, placed)


def _some(choices: list[int], count: int, random: torch.Generator) -> list[int]:
    return [choices[j] for j in torch.randperm(len(choices), generator=random)[:count].tolist()]


def _joined(tiles: Tensor) -> Tensor:
    """``(batch, 4, channels, rows, columns)`` -> ``(batch, channels, 2 rows, 2 columns)``."""
    upper, lower = (torch.cat([tiles[:, i], tiles[:, i + 1]], dim=3) for i in (0, 2))
    return torch.cat([upper, lower], dim=2)
