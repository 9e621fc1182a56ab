"""Pictures under a little noise, with the method's maps of them and what the network makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from limelight.borrow import twin
from limelight.cut import Cut
from limelight.errors import MetricError
from limelight.grid import default_layer
from limelight.targets import logits_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


@dataclass(frozen=True, eq=False)
class Nearby:
    """A scene's pictures, each under ``samples`` draws of noise; the draws are the same for every picture.

    Attributes:
        network: the network.
        own: ``(batch, channels, rows, columns)``, the pictures.
        inputs: ``(samples, batch, channels, rows, columns)``, under noise.
        maps: ``(samples, batch, *grid)``, the method's maps of them.
    """

    network: nn.Module
    own: Tensor
    inputs: Tensor
    maps: Tensor

    @classmethod
    def of(
        cls,
        network: nn.Module,
        own: Tensor,
        explain: Callable[[Tensor], Tensor],
        samples: int,
        radius: float,
        seed: int,
    ) -> Nearby:
        """Draw the noise, evenly from -``radius`` to ``radius`` on every pixel, and ask the method."""
        random = torch.Generator().manual_seed(seed)
        noise = torch.stack([2 * torch.rand(own.shape[1:], generator=random) - 1 for _ in range(samples)])
        inputs = own + radius * noise[:, None].to(own)
        return cls(network, own, inputs, torch.stack([explain(each) for each in inputs]))

    @cached_property
    def own_logits(self) -> Float[Tensor, "batch classes"]:
        """The network's class scores of the pictures."""
        return self._ask(self.own)[0]

    @cached_property
    def own_activations(self) -> Float[Tensor, "batch channels *grid"]:
        """The default layer's activations of the pictures."""
        return self._ask(self.own)[1]

    @cached_property
    def _moved(self) -> list[tuple[Tensor, Tensor]]:
        return [self._ask(each) for each in self.inputs]

    @property
    def logits(self) -> Float[Tensor, "samples batch classes"]:
        """The class scores under noise."""
        return torch.stack([logits for logits, _ in self._moved])

    @property
    def activations(self) -> Float[Tensor, "samples batch channels *grid"]:
        """The default layer's activations under noise."""
        return torch.stack([activations for _, activations in self._moved])

    @property
    def same(self) -> Bool[Tensor, "samples batch"]:
        """Where the noise left the predicted class as it was."""
        return self.logits.argmax(dim=2) == self.own_logits.argmax(dim=1)

    def _ask(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        captured = Cut.at(self.network, default_layer(self.network, inputs)).capture(inputs)
        logits = logits_of(captured.outputs)
        if logits is None:
            raise MetricError("this metric compares predicted classes, and the network's outputs hold no class scores")
        return logits.detach(), captured.activations[0].detach()


def shifting(network: nn.Module, shift: float) -> nn.Module:
    """A copy of the network that takes ``shift`` off its input first: the same answers for pictures shifted by it."""
    shifted = twin(network)
    shifted.register_forward_pre_hook(lambda module, inputs: (inputs[0] - shift, *inputs[1:]))
    return shifted
