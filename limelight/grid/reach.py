"""Which layers the outputs depend on at every cell: asked of the network itself, not of its weights.

A NaN pulled back from the outputs spreads to everything they depend on, also through weights that are zero (a head that
was not trained yet). Where the class token is split off, the other tokens stay clean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from limelight.cut import Captured
from limelight.grid.layout import Layout
from limelight.nested import leaves_of

MOST = 0.9
"""A layer is reached if at least this share of its cells is: a stride or a crop may pass some by."""


class Reach:
    """A pass that was cut at many layers, asked what its outputs depend on.

    Args:
        captured: the pass, of one image, its layers in the order they ran.
        layouts: of its layers.
        outputs: those of its outputs that matter; all if None.
    """

    def __init__(self, captured: Captured, layouts: Sequence[Layout], outputs: Any = None):
        self.captured = captured
        self.layouts = layouts
        leaves = leaves_of(captured.outputs if outputs is None else outputs)
        self.roots = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.requires_grad]

    def shares(self) -> list[float]:
        """For each layer, the share of its cells that the outputs depend on."""
        return [self._share(k, slope) for k, slope in enumerate(self._pulled(self.captured.activations))]

    def without(self, blocked: int, k: int) -> float:
        """The share of layer ``k``'s cells that the outputs still depend on when nothing passes layer ``blocked``."""
        stop = self.captured.activations[blocked].register_hook(torch.zeros_like)
        try:
            return self._share(k, self._pulled([self.captured.activations[k]])[0])
        finally:
            stop.remove()

    def _pulled(self, activations: Sequence[Tensor]) -> Sequence[Tensor | None]:
        if not self.roots:
            return [None] * len(activations)
        nan = [torch.full_like(root, torch.nan) for root in self.roots]
        with torch.inference_mode(False):
            return torch.autograd.grad(self.roots, list(activations), nan, retain_graph=True, allow_unused=True)

    def _share(self, k: int, slope: Tensor | None) -> float:
        return 0.0 if slope is None else float(self.layouts[k].read(slope).isnan().any(dim=1).float().mean())
