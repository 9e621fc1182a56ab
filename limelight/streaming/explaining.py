"""What explains a batch of inputs: the network itself, or an engine in its place."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limelight.answers import predictions_of
from limelight.cut import LayerSpec
from limelight.errors import InputError, ZeroMapWarning
from limelight.explainer import compare
from limelight.explanation import Explanation
from limelight.methods.registry import Method
from limelight.models import Model
from limelight.step import Answer, Step
from limelight.targets import Labels, Named, Target, label_of, probabilities_of

Explain = Callable[[Tensor], list[Explanation]]
"""Inputs ``(batch, channels, height, width)`` on the CPU to an explanation for each method."""
Engine = Callable[[Tensor], Any]
"""The same inputs to a :class:`limelight.Answer`, or to ``(scores, classes, raw)``: ``(batch, classes)``, ``(batch[,
k])``, ``(batch[, k], *grid)``. What :func:`limelight.engine` and :func:`limelight.compile` give is one."""


@dataclass(frozen=True)
class Eager:
    """The network, as :func:`limelight.explain` runs it."""

    model: Model
    methods: Sequence[Method | str]
    target: Target = None
    layer: LayerSpec | None = None

    def __call__(self, images: Tensor) -> list[Explanation]:
        """Explain a batch. Maps of zeros are not warned of: who reads many looks at what is said of each."""
        like = next((each for each in self.model.network.parameters() if each.is_floating_point()), images)
        images = images.to(like.device, like.dtype, non_blocking=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ZeroMapWarning)
            found = compare(
                self.model, images, self.methods, self.target, self.layer, batch_size=len(images), progress=False
            )
        return list(found.values())


@dataclass(frozen=True)
class Answering:
    """An engine in the network's place; it was asked a question of its own when it was made.

    Attributes:
        engine: the engine.
        labels: the classes' names.
        method: what makes the maps.
        layers: where, one for each raw map; empty where that is not known.
    """

    engine: Engine
    labels: Labels = None
    method: str = "engine"
    layers: tuple[str, ...] = ()

    @classmethod
    def of(cls, engine: Engine, labels: Labels) -> Answering:
        """With what the engine says of itself: those of this house know the step that they answer for."""
        step = getattr(engine, "step", None)
        if not isinstance(step, Step):
            return cls(engine, labels)
        return cls(engine, labels, step.method.label, tuple(str(site) for site in step.cut.sites))

    def __call__(self, images: Tensor) -> list[Explanation]:
        """Explain a batch.

        Raises:
            InputError: what the engine gives is not what one gives.
        """
        answer = self.engine(images)
        if isinstance(answer, Answer):
            answer = answer.scores, answer.classes, *answer.raws
        scores, classes, *raws = (torch.as_tensor(each).detach().cpu() for each in answer)
        if scores.ndim != 2 or not raws or len({len(each) for each in (scores, classes, *raws, images)}) != 1:
            shapes = ", ".join(str(tuple(each.shape)) for each in (scores, classes, *raws))
            raise InputError(
                f"the engine gave {shapes} for {len(images)} images: it must give scores (batch, classes), "
                "classes (batch) and a raw map (batch, height, width)"
            )
        if classes.ndim == 1:
            classes, raws = classes[:, None], [raw[:, None] for raw in raws]
        scores = scores.float()
        return [
            Explanation(
                raws=tuple(raws),
                layers=self.layers or ("",) * len(raws),
                method=self.method,
                targets=[[Named(i, label_of(i, self.labels)) for i in row] for row in classes.tolist()],
                scores=scores.gather(1, classes),
                probabilities=probabilities_of(scores).gather(1, classes),
                predictions=predictions_of(scores, self.labels, len(scores)),
                input_size=tuple(images.shape[2:]),
            )
        ]
