"""One engine: a question to a network, and what answers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from limelight.errors import InputError, TargetError
from limelight.export.agreement import Agreement
from limelight.step import Answer, Step

NAMES = ("eager", "compile", "onnx", "openvino")
PRECISIONS = ("float32", "bfloat16")

Run = Callable[..., "dict[str, Tensor]"]
"""``images[, classes]`` to the answer's tensors by name."""
Bare = Callable[[Tensor], Tensor]
"""``images`` to class scores ``(batch, classes)`` and nothing else."""


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
        precision: what it computes in, one of :data:`PRECISIONS`.
        bare: makes what gives the class scores alone, when they are first asked for; None where it is ``run``.
    """

    name: str
    step: Step = field(repr=False)
    run: Run = field(repr=False)
    size: tuple[int, int] | None = None
    agreement: Agreement | None = None
    batch: int | None = None
    trials: tuple[Trial, ...] = ()
    precision: str = "float32"
    bare: Callable[[], Bare] | None = field(default=None, repr=False)

    def __call__(self, images: Tensor, classes: Tensor | None = None) -> Answer:
        """Answer for ``images`` (batch, channels, height, width); ``classes`` (batch,) where the target is GIVEN.

        Raises:
            InputError: images of another size than it was made for.
            TargetError: classes are missing, too many, or not asked for.
        """
        self._check(images)
        if (classes is not None) != self.step.asks or (classes is not None and len(classes) != len(images)):
            raise TargetError("give one class index an image where the target is GIVEN, and none where it is not")
        batch = (images.detach(),) if classes is None else (images.detach(), classes)
        parts = [self.run(*few) for few in zip(*(each.split(self.batch or len(images)) for each in batch), strict=True)]
        found = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
        raws = tuple(value for name, value in found.items() if name.startswith("raw"))
        return Answer(found["scores"], found["classes"], raws, found["map"])

    def scores(self, images: Tensor) -> Tensor:
        """The class scores alone (batch, classes), without the maps and what they cost; on the CPU.

        Raises:
            InputError: images of another size than it was made for.
        """
        self._check(images)
        parts = [self._bare(few) for few in images.detach().split(self.batch or len(images))]
        return torch.cat(parts).float().cpu()

    @cached_property
    def _bare(self) -> Bare:
        return (lambda images: self.run(images)["scores"]) if self.bare is None else self.bare()

    def _check(self, images: Tensor) -> None:
        if images.ndim != 4 or not len(images) or (self.size is not None and tuple(images.shape[2:]) != self.size):
            size = " x ".join(map(str, self.size or ("height", "width")))
            raise InputError(f"images of shape {tuple(images.shape)}: this engine takes (batch, channels, {size})")

    @property
    def said(self) -> str:
        """Which engine it is and, where it was chosen, why; one line."""
        own = self.name if self.precision == "float32" else f"{self.name} in {self.precision}"
        if not self.trials:
            return own
        took = next(trial.seconds for trial in self.trials if trial.name == self.name)
        assert took is not None, "what was chosen was tried"
        others = [
            f"{name} {reason if seconds is None else f'takes {seconds / took:.2g} times as long'}"
            for name, seconds, reason in self.trials
            if name != self.name
        ]
        return f"{own} ({'; '.join(others)})"
