"""What explains a batch of inputs: the network itself, or anything faster that gives scores, classes and raw maps."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limelight.cut import LayerSpec
from limelight.errors import InputError, ZeroMapWarning
from limelight.explainer import compare, predictions_of
from limelight.explanation import Explanation
from limelight.methods.registry import Method
from limelight.models import Model
from limelight.step import Answer
from limelight.targets import Labels, Named, Target, label_of, probabilities_of

Engine = Callable[[Tensor], list[Explanation]]
"""Inputs ``(batch, channels, height, width)`` on the CPU to an explanation for each method."""


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
    """Any function of a batch that gives scores, classes and raw maps, such as what :func:`limelight.compile` gives.

    Attributes:
        function: inputs to a :class:`limelight.Answer`, or to ``(scores, classes, raw)``: ``(batch, classes)``,
            ``(batch[, k])``, ``(batch[, k], *grid)``.
        labels: the classes' names.
        method: what made the maps.
        layer: where.
    """

    function: Callable[[Tensor], Any]
    labels: Labels = None
    method: str = "gradcam"
    layer: str = ""

    def __call__(self, images: Tensor) -> list[Explanation]:
        """Explain a batch.

        Raises:
            InputError: what the function gives is not that.
        """
        answer = self.function(images)
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
                layers=(self.layer,) * len(raws),
                method=self.method,
                targets=[[Named(i, label_of(i, self.labels)) for i in row] for row in classes.tolist()],
                scores=scores.gather(1, classes),
                probabilities=probabilities_of(scores).gather(1, classes),
                predictions=predictions_of(scores, self.labels, len(scores)),
                input_size=tuple(images.shape[2:]),
            )
        ]
