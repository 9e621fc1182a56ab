"""The metrics judged: scenes whose true attribution is known by construction, and which metrics prefer it.

After the idea of arXiv 2605.14641: in every scene there are two objects and only one decides. The network is built, not
trained, and its score is a saturating function of how much of one colour there is; the other object's colour has no
weight anywhere in it. So the deciding object's pixels are the attribution, whatever a method says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limelight.evaluation.baselines import chance_maps
from limelight.evaluation.case import Case
from limelight.evaluation.perturb import blurred
from limelight.evaluation.registry import Metric, get
from limelight.evaluation.scene import Scene

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


@dataclass(frozen=True, eq=False)
class Scenes:
    """Pictures in [-1, 1] with two objects each.

    Attributes:
        images: ``(batch, 3, side, side)``.
        deciding: ``(batch, side, side)``, where the object is that the score depends on.
        idle: ``(batch, side, side)``, where the other is, as large and as bright.
    """

    images: Float[Tensor, "batch 3 side side"]
    deciding: Bool[Tensor, "batch side side"]
    idle: Bool[Tensor, "batch side side"]


def scenes(batch: int, side: int = 64, seed: int = 0) -> Scenes:
    """Two discs or squares in different quarters of a smooth grey ground: a red one decides, a blue one is idle."""
    random = torch.Generator().manual_seed(seed)
    ground = 0.15 * torch.randn(batch, 1, side, side, generator=random)
    ground = 4 * blurred(ground, side / 16).expand(-1, 3, -1, -1) + 0.02 * torch.randn(
        batch, 3, side, side, generator=random
    )
    quarters = torch.rand(batch, 4, generator=random).argsort(dim=1)[:, :2]
    masks = [_objects(quarters[:, i], side, random) for i in range(2)]
    images = ground
    for mask, colour in zip(masks, ((0.9, -0.4, -0.4), (-0.4, -0.4, 0.9)), strict=True):
        images = torch.where(mask[:, None], torch.tensor(colour).view(1, 3, 1, 1), images)
    return Scenes(images.clamp(-1, 1), masks[0], masks[1])


def _objects(quarters: Tensor, side: int, random: torch.Generator) -> Tensor:
    """An object in each quarter: a disc or a square, of a radius between a tenth and a seventh of the side."""
    batch = len(quarters)
    radius = side * (0.1 + 0.04 * torch.rand(batch, 1, 1, generator=random))
    jitter = side * 0.08 * (2 * torch.rand(2, batch, 1, 1, generator=random) - 1)
    y = side * (0.25 + 0.5 * (quarters // 2)).view(-1, 1, 1) + jitter[0]
    x = side * (0.25 + 0.5 * (quarters % 2)).view(-1, 1, 1) + jitter[1]
    rows, columns = torch.arange(side).view(1, -1, 1) + 0.5 - y, torch.arange(side).view(1, 1, -1) + 0.5 - x
    disc = rows**2 + columns**2 <= radius**2
    square = torch.maximum(rows.abs(), columns.abs()) <= 0.9 * radius
    return torch.where(torch.rand(batch, 1, 1, generator=random) < 0.5, disc, square)


class RedReader(nn.Module):
    """Two classes, red and not: a convolutional network made by hand that has no weight for blue.

    Red less green is cut off below a threshold, averaged over windows of 4 pixels, cut off above (a little more red at
    a place says no more), and summed. The sum goes against a constant.
    """

    def __init__(self):
        super().__init__()
        self.colour = nn.Conv2d(3, 1, 1)
        self.window = nn.Conv2d(1, 1, 4, stride=4, bias=False)
        with torch.no_grad():
            self.colour.weight.copy_(torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1, 1))
            assert self.colour.bias is not None
            self.colour.bias.fill_(-0.3)
            self.window.weight.fill_(1 / 16)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, 3, side, side)`` -> ``(batch, 2)`` logits: red, not red."""
        amount = self.window(F.relu(self.colour(x))).clamp(max=0.6)
        score = 0.7 * amount.flatten(1).sum(dim=1) - 1.5
        return torch.stack([score, -score], dim=1)


def _shifted(masks: Tensor) -> Tensor:
    return masks.roll((masks.shape[1] // 4, masks.shape[2] // 4), dims=(1, 2))


WORSE: dict[str, Callable[[Scenes, Tensor], Tensor]] = {
    "idle object": lambda s, true: _soft(s.idle),
    "both objects": lambda s, true: _soft(s.deciding | s.idle),
    "shifted by a quarter": lambda s, true: _shifted(true),
    "half of the object": lambda s, true: true * _left_half(s.deciding),
    "smeared": lambda s, true: blurred(true[:, None], true.shape[-1] / 6)[:, 0],
    "inverted": lambda s, true: 1 - true,
    "edges": lambda s, true: chance_maps("edges", s.images, _size(s)),
    "centre": lambda s, true: chance_maps("centre", s.images, _size(s)),
    "random": lambda s, true: chance_maps("random", s.images, (8, 8)),
}
"""Maps that are worse than the true one, each in a way of its own."""


def _size(s: Scenes) -> tuple[int, int]:
    return s.images.shape[-2], s.images.shape[-1]


def _soft(masks: Tensor) -> Tensor:
    """A mask with a soft border, so that its pixels have an order: the middle first."""
    return masks.float() * (0.5 + 0.5 * blurred(masks[:, None].float(), 2.0)[:, 0])


def _left_half(masks: Tensor) -> Tensor:
    columns = torch.arange(masks.shape[2]).expand_as(masks)
    middle = (masks * columns).sum(dim=(1, 2)) / masks.sum(dim=(1, 2))
    return columns < middle[:, None, None]


def judged(metrics: Sequence[str | Metric], number: int = 50, seed: int = 0) -> dict[str, dict[str, float]]:
    """For each metric and each worse map: in which share of the scenes the metric prefers the true map.

    Ties count as half; 0.5 is what a metric gets that can't tell. Only metrics that call one direction better and need
    nothing but a map and, where they ask for it, a mask.
    """
    made = scenes(number, seed=seed)
    scene = Scene.of(RedReader().eval(), made.images, 0)
    true = _soft(made.deciding)
    cases = {name: Case.of(scene, worse(made, true), masks=made.deciding) for name, worse in WORSE.items()}
    best = Case.of(scene, true, masks=made.deciding)
    table: dict[str, dict[str, float]] = {}
    for metric in map(get, metrics):
        sign = -1 if metric.better == "lower" else 1
        own = sign * best.measure(metric)
        table[metric.label] = {
            name: float(_preferred(own, sign * case.measure(metric))) for name, case in cases.items()
        }
    return table


def _preferred(own: Tensor, other: Tensor) -> Tensor:
    same = torch.isclose(own, other, rtol=1e-4, atol=1e-12)
    return torch.where(same, 0.5, (own > other).to(own.dtype)).mean()
