"""Copies of a network with some of its weights drawn anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import nn

from limelight.borrow import twin


def layers_from_the_top(network: nn.Module) -> list[str]:
    """The modules that hold parameters themselves, those registered last first: as good as from the output down."""
    own = [name for name, module in network.named_modules() if any(True for _ in module.parameters(recurse=False))]
    return own[::-1]


def randomised(network: nn.Module, layers: Sequence[str], seed: int = 0) -> nn.Module:
    """A copy in which these layers' weights are drawn from Gaussians of each tensor's own mean and deviation.

    So the signal keeps about its size on the way, and a changed map is no mere underflow (a fresh initialisation of a
    deep network is often as good as dead in evaluation mode). What a layer is given depends on its name and on
    ``seed`` alone: the more of them are drawn anew, the same ones stay as they were.
    """
    drawn_anew = twin(network)
    for name in layers:
        random = torch.Generator().manual_seed(seed + sum((i + 1) * ord(c) for i, c in enumerate(name)))
        for parameter in drawn_anew.get_submodule(name).parameters(recurse=False):
            if not parameter.is_floating_point():
                continue
            drawn = torch.randn(parameter.shape, generator=random)
            deviation = parameter.data.float().std(unbiased=False).cpu()
            with torch.no_grad():
                parameter.copy_(parameter.data.float().mean().cpu() + deviation * drawn)
    return drawn_anew


def cascade(network: nn.Module, stages: int, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """Randomised from the top down, in ``stages`` steps: the name of the layer reached, and the network so far."""
    layers = layers_from_the_top(network)
    for stop in _stops(len(layers), stages):
        yield layers[stop - 1], randomised(network, layers[:stop], seed)


def one_by_one(network: nn.Module, stages: int, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """Randomised in ``stages`` separate parts, from the top down, the rest as trained."""
    layers = layers_from_the_top(network)
    for start, stop in pairwise([0, *_stops(len(layers), stages)]):
        yield layers[stop - 1], randomised(network, layers[start:stop], seed)


def _stops(count: int, stages: int) -> list[int]:
    """Ends of as many even parts, the first one layer long: the classifier's."""
    stages = min(stages, count)
    ends = {1} | {round(1 + (count - 1) * i / max(stages - 1, 1)) for i in range(stages)}
    return sorted(ends)
