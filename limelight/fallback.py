"""A network that keeps no graph, and what becomes of it: a method explains it that only runs it."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from limelight.borrow import borrowed, unwrap
from limelight.cut import INPUT, Cut
from limelight.errors import FallbackWarning, TargetError
from limelight.grid.known import outline_of
from limelight.methods.registry import get
from limelight.nested import Inputs
from limelight.targets import Labels, Target, ask

WITHOUT_GRADIENT = "occlusion"
"""What explains a network that allows no gradient."""


class Whole(nn.Module):
    """A network that is asked for its outputs and nothing else: no graph, no layers."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = [network]  # in a list: not a layer
        self.kept = nn.ParameterList([*network.parameters()][:1])

    def forward(self, *args: Any, **options: Any) -> Any:
        """The network's own outputs."""
        given, named = pytree.tree_map_only(Tensor, torch.detach, (args, options))
        with torch.no_grad():
            return self.network[0](*given, **named)


def sealed(network: nn.Module, inputs: Inputs, target: Target, labels: Labels) -> bool:
    """Whether a network keeps no graph from the image to the score, or calls no module that could be looked at."""
    try:
        with borrowed(unwrap(network)):
            captured = Cut.at(network, INPUT).capture(*inputs.args, **inputs.options)
            with torch.enable_grad():
                score = ask(target, captured.outputs, labels)[0].score(captured.outputs)
    except TargetError:
        raise
    except RuntimeError:  # it leaves torch, and says so of a tensor that has a graph
        return True
    return not score.requires_grad or not outline_of(network, inputs.args, inputs.options).outline.calls


def told_of(network: nn.Module) -> Whole:
    """The network as it is asked from here on, said to whoever called ``explain``."""
    warnings.warn(
        f"this {type(network).__name__} keeps no graph at a layer that could be looked at (integer or custom kernels, "
        f"another runtime): explained by {get(WITHOUT_GRADIENT).title} instead, which only runs it",
        FallbackWarning,
        stacklevel=4,
    )
    return Whole(network)
