"""A question, and what it comes to for a batch: one differentiable score for each image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from limelight.errors import TargetError
from limelight.nested import map_leaves

Labels = Sequence[str] | None
Target = Any  # an index, a label, a callable, a Question, or a sequence of those: one for each image
Box = tuple[float, float, float, float]


class Named(NamedTuple):
    """What one map explains.

    Attributes:
        index: the class, or None for a question that is not about a class.
        label: the class's name, or the question in words.
        box: the box (x0, y0, x1, y1) that is asked about, in pixels of the network's input; None where there is none.
    """

    index: int | None  # pyright: ignore[reportIncompatibleMethodOverride]
    label: str | None
    box: Box | None = None


@dataclass(frozen=True)
class Asked:
    """One target for each image of a batch, settled.

    Attributes:
        named: what each image is asked, for the reader.
        score: ``(outputs, repeats)`` -> ``(repeats * batch,)``, differentiable; the outputs are of the batch repeated
            as a block ``repeats`` times, as a replay gives them.
        classes: ``(batch,)`` indices, where it is class scores ``(batch, classes)`` that are asked about.
        scale: the scale that their scores are on.
        probabilities: ``(batch,)``, where the network gives one for what is asked and it is not read off class scores.
    """

    named: tuple[Named, ...]
    score: Callable[..., Tensor]
    classes: Tensor | None = None
    scale: str = "logit"
    probabilities: Tensor | None = None

    def repeated(self, times: int) -> Asked:
        """The same asked of the batch repeated as a block."""
        return Asked(self.named * times, lambda outputs, repeats=1: self.score(outputs, repeats * times))


class Question:
    """A target that is more than a class: a value that can be printed, and settles itself when the network has run."""

    def check(self, batch: int, labels: Labels) -> None:
        """Find what is wrong with it before the network runs.

        Raises:
            TargetError: as said.
        """

    def part(self, start: int, stop: int, total: int) -> Question:
        """What images ``start`` to ``stop`` of ``total`` are asked: the same, unless it holds something for each."""
        return self

    def ask(self, outputs: Any, labels: Labels, scale: str) -> list[Asked]:
        """Settle it for a batch, on a scale of scores ("logit", "probability", "log probability" or "ReST").

        Raises:
            TargetError: it does not fit the outputs.
        """
        raise NotImplementedError


def on_logits_only(question: object, scale: str) -> None:
    """Refuse to put a question on another scale than that of its own scores.

    Raises:
        TargetError: the scale is another.
    """
    if scale != "logit":
        raise TargetError(f"{scale}: takes a class (index, label, top(k) or nothing), not {question!r}")


def together(asked: Sequence[Asked]) -> Asked:
    """Several targets as one, of the batch repeated as a block, once for each."""
    from limelight.targets.scores import score_classes

    named = tuple(name for one in asked for name in one.named)
    classes = [one.classes for one in asked if one.classes is not None]
    if len(classes) == len(asked) and len({one.scale for one in asked}) == 1:
        return Asked(named, score_classes(torch.cat(classes), asked[0].scale))

    def score(outputs: Any, repeats: int = 1) -> Tensor:
        def of_target(number: int) -> Any:
            def own(leaf: Any) -> Any:
                blocks = isinstance(leaf, Tensor) and leaf.ndim
                return leaf.unflatten(0, (repeats, len(asked), -1))[:, number].flatten(0, 1) if blocks else leaf

            return map_leaves(own, outputs)

        scores = [one.score(of_target(number), repeats).unflatten(0, (repeats, -1)) for number, one in enumerate(asked)]
        return torch.stack(scores, dim=1).flatten()

    return Asked(named, score)
