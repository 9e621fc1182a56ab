"""Many targets at once: a captured pass seen as a batch that holds every image once for each target.

Methods treat the images of a batch apart, so what works for a batch works for many targets of one image. Only the
gradients need care: they go back through the one graph that there is, all in one batched pull-back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from limelight.cut import Captured
from limelight.grid import Layout, layout_of
from limelight.nested import leaves_of, map_leaves
from limelight.shortcuts import batched_gradients, pulled

BUDGET = 128 * 2**20
"""Bytes of gradients, and what methods make of them, that are held at once."""
COPIES = 4
"""How many tensors as large as the activations that takes for each target."""


@dataclass(frozen=True)
class Folded(Captured):
    """A captured pass, its batch repeated as a block ``times`` times. Made by :func:`fold`."""

    source: Captured = None  # type: ignore[assignment]
    times: int = 1

    @property
    def batch(self) -> int:
        """How many images the pass holds."""
        return self.times * self.source.batch

    def pull_back(self, scores: Tensor, keep: bool = False, again: bool = False) -> tuple[Tensor, ...]:
        """As :meth:`Captured.pull_back`; the source's graph is always kept.

        Raises:
            RuntimeError: an operation of the head can't be differentiated in batches.
        """
        if again:
            raise RuntimeError("a folded pass is pulled back once")
        graphs = [leaf for leaf in leaves_of(self.outputs) if _has_graph(leaf)]
        roots = [leaf for leaf in leaves_of(self.source.outputs) if _has_graph(leaf)]
        with torch.inference_mode(False):
            slopes = torch.autograd.grad(scores, graphs, torch.ones_like(scores), allow_unused=True)
            used = [
                (root, slope.unflatten(0, (self.times, -1)))
                for root, slope in zip(roots, slopes, strict=True)
                if slope is not None  # pyright: ignore[reportUnnecessaryComparison]: allow_unused gives None
            ]
            gradients = self._pulled(used)
        return tuple(gradient.flatten(0, 1) for gradient in self.reached(gradients))

    def _pulled(self, used: Sequence[tuple[Tensor, Tensor]]) -> Sequence[Tensor | None]:
        """The gradients ``(times, *shape)``, from those of the outputs that are used."""
        layers = self.source.activations
        if len(used) == 1:
            return pulled(*used[0], layers)
        roots, slopes = zip(*used, strict=True)
        return batched_gradients(roots, layers, slopes)


def fold(captured: Captured, times: int) -> Folded:
    """The captured pass with its batch repeated for ``times`` targets.

    Raises:
        RuntimeError: an output, or a layer, does not follow the batch.
    """
    layouts = {(Layout, k): layout_of(captured, k) for k in range(len(captured.sites))}
    if not all(layout.by_image for layout in layouts.values()):
        raise RuntimeError("a layer's first axis does not count the images")
    batch = len(captured.activations[0])

    def repeat(leaf: object) -> object:
        if not isinstance(leaf, Tensor):
            return leaf
        if not leaf.ndim or len(leaf) != batch:
            raise RuntimeError("an output does not follow the batch")
        return leaf.detach().repeat(times, *[1] * (leaf.ndim - 1)).requires_grad_(_has_graph(leaf))

    return Folded(
        cut=captured.cut,
        inputs=captured.inputs,
        activations=tuple(
            each.detach().expand(times, *each.shape).flatten(0, 1) for each in captured.activations
        ),  # of one image, this is a view
        outputs=map_leaves(repeat, captured.outputs),
        calls=captured.calls,
        autocast=captured.autocast,
        remembered=dict(layouts),
        source=captured,
        times=times,
    )


def targets_at_once(captured: Captured) -> int:
    """How many targets' gradients fit the memory at once."""
    leaves = [leaf for leaf in leaves_of(captured.outputs) if isinstance(leaf, Tensor)]
    one = sum(each.numel() * each.element_size() for each in (*captured.activations, *leaves))
    return max(1, BUDGET // (COPIES * one))


def _has_graph(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.requires_grad
