"""A network together with what is known of its pictures and its answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from limelight.errors import ModelError
from limelight.preprocessing import Preprocessing


@dataclass(frozen=True, eq=False)
class Model:
    """What :func:`limelight.models.load` gives; a network of your own needs only to be wrapped in it."""

    network: nn.Module
    preprocessing: Preprocessing | None
    """None when nothing is known: tensors can be explained, photographs can't."""
    labels: tuple[str, ...] | None
    """One a class, in the order of the outputs."""
    name: str
    """A name :func:`limelight.models.load` takes, or the class of a network that was handed over."""
    weights: str
    """Which weights, in words: "random", "a1_in1k", "IMAGENET1K_V2", a file's name."""
    num_classes: int | None = None

    def __call__(self, x: Tensor) -> Any:
        """The network's own outputs for a batch of inputs (batch, channels, height, width)."""
        return self.network(x)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Model:
        """Move the network, in place as torch does; gives the same model back. ``ModelError`` where it can't go."""
        try:
            self.network.to(device=device, dtype=dtype)
        except (RuntimeError, AssertionError, ImportError) as error:  # which one depends on how torch was built
            raise ModelError(f"{self.name} can't be moved to {device}: {str(error).splitlines()[0]}") from error
        return self

    def __repr__(self):
        height, width = self.preprocessing.size if self.preprocessing else ("any", "any")
        classes = "" if self.num_classes is None else f", {self.num_classes} classes"
        return f"Model({self.name!r}, weights {self.weights!r}{classes}, input {height}x{width})"
