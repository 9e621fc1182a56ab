"""One engine: a question to a network, and what answers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from limelight.errors import InputError, TargetError
from limelight.export.agreement import Agreement
from limelight.step import Answer, Step

NAMES = ("eager", "compile", "onnx", "openvino")

Run = Callable[..., "dict[str, Tensor]"]
"""``images[, classes]`` to the answer's tensors by name."""


class Trial(NamedTuple):
    """What became of one engine when the fastest was looked for.

    Attributes:
        name: the engine's.
        seconds: what a batch took, the median of a few; None where it can't be had.
        reason: why it can't.
    """

    name: str
    seconds: float | None
    reason: str | None = None


@dataclass(frozen=True, eq=False)
class Engine:
    """What answers one question about any batch of images.

    Attributes:
        name: one of :data:`NAMES`.
        step: the question: network, layers, method, target.
        run: what answers it.
        size: height and width of the images that it takes; None for any.
        agreement: how far its answers are from the network's own; None where they are the network's own.
        batch: how many images it takes at once; None for any number. More are given to it in turn.
        trials: what the others took, where it was chosen among them.
    """

    name: str
    step: Step = field(repr=False)
    run: Run = field(repr=False)
    size: tuple[int, int] | None = None
    agreement: Agreement | None = None
    batch: int | None = None
    trials: tuple[Trial, ...] = ()

    def __call__(self, images: Tensor, classes: Tensor | None = None) -> Answer:
        """Answer for ``images`` (batch, channels, height, width); ``classes`` (batch,) where the target is GIVEN.

        Raises:
            InputError: images of another size than it was made for.
            TargetError: classes are missing, too many, or not asked for.
        """
        if images.ndim != 4 or not len(images) or (self.size is not None and tuple(images.shape[2:]) != self.size):
            size = " x ".join(map(str, self.size or ("height", "width")))
            raise InputError(f"images of shape {tuple(images.shape)}: this engine takes (batch, channels, {size})")
        if (classes is not None) != self.step.asks or (classes is not None and len(classes) != len(images)):
            raise TargetError("give one class index an image where the target is GIVEN, and none where it is not")
        batch = (images.detach(),) if classes is None else (images.detach(), classes)
        rows = self.batch or len(images)
        parts = [self.run(*(each[first : first + rows] for each in batch)) for first in range(0, len(images), rows)]
        found = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
        raws = tuple(value for name, value in found.items() if name.startswith("raw"))
        return Answer(found["scores"], found["classes"], raws, found["map"])

    @property
    def said(self) -> str:
        """Which engine it is and, where it was chosen, why; one line."""
        if not self.trials:
            return self.name
        own = next(trial.seconds for trial in self.trials if trial.name == self.name)
        assert own is not None, "what was chosen was tried"
        others = [
            f"{name} {reason if seconds is None else f'takes {seconds / own:.2g} times as long'}"
            for name, seconds, reason in self.trials
            if name != self.name
        ]
        return f"{self.name} ({'; '.join(others)})"
