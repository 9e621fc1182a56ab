"""The network from one layer on, asked one question: altered activations in, scores out.

What perturbation methods, Shapley-type methods and path integrals are made of. Altered activations are made a few at a
time, so that a method can ask about thousands without holding them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from limelight.cut import Captured, Cut
from limelight.grid import as_grid
from limelight.targets import Asked

Alter = Callable[[Tensor], Tensor]
"""``(few,)`` indices -> ``(few, batch, channels, *grid)`` altered activations."""

BUDGET = 256 * 2**20
"""Bytes of altered activations that are replayed at once, with what the head makes of them."""
GROWTH = 8
"""How much larger than its input a head's largest intermediate result is taken to be."""


@dataclass(frozen=True)
class Head:
    """A captured pass from layer ``k`` on, and the target it is asked for.

    With the cut at the input, the head is the whole network and the activations are the images.
    """

    captured: Captured
    k: int
    asked: Asked

    @property
    def batch(self) -> int:
        """How many images the pass holds."""
        return len(self.captured.activations[self.k])

    def scores(self, alter: Alter, count: int) -> Tensor:
        """The target's score for ``count`` altered versions of every image's activations: ``(count, batch)``."""
        return torch.cat([self._run(alter(indices))[1].detach() for indices in self._few(count)])

    def gradients(self, alter: Alter, count: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """For a few altered versions at a time: ``(altered, gradients, scores)``.

        The first two are ``(few, batch, channels, *grid)``, the scores ``(few, batch)``.
        """
        for indices in self._few(count):
            altered, scores = self._run(alter(indices).detach().requires_grad_())
            (gradients,) = torch.autograd.grad(scores, altered, torch.ones_like(scores))
            yield altered.detach(), gradients, scores.detach()

    def _few(self, count: int) -> Iterator[Tensor]:
        own = self.captured.activations[self.k]
        few = max(1, BUDGET // (own.numel() * own.element_size() * GROWTH))
        return iter(torch.arange(count, device=own.device).split(few))

    def _run(self, altered: Tensor) -> tuple[Tensor, Tensor]:
        """The altered activations as the graph's leaves, and their scores ``(few, batch)``."""
        dtype = self.captured.activations[self.k].dtype
        inputs, options = self.captured.inputs
        cut = Cut(self.captured.cut.network, (self.captured.sites[self.k],))
        with torch.set_grad_enabled(altered.requires_grad):
            outputs = cut.replay([altered.flatten(0, 1).to(dtype)], *inputs, **options)
            scores = self.asked.score(outputs, len(altered))
            return altered, scores.view(len(altered), -1)


def own_activations(captured: Captured, k: int) -> Tensor:
    """Layer ``k``'s activations ``(batch, channels, *grid)``, at least in single precision."""
    return at_least_single(as_grid(captured.activations[k].detach(), captured.sites[k]))


def at_least_single(tensor: Tensor) -> Tensor:
    """Half precision is for the network: sums over a map are made in single precision or better."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
