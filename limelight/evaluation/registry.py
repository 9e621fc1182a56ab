"""A metric is a function; the registry says about each what a caller, a table or a test must know.

A metric's positional parameters name what it needs, its keyword-only parameters are its settings. What it needs is an
attribute of :class:`limelight.evaluation.case.Case`; nothing else has to be declared to add one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from limelight.errors import MetricError, closest
from limelight.registered import Registered, spelling

Question = Literal["faithful", "stable", "dependent", "located", "simple"]
QUESTIONS: dict[str, str] = {
    "faithful": "does the score fall when what the map marks is taken away?",
    "stable": "does the map hold still while the picture hardly changes?",
    "dependent": "does the map depend on the network, and on the class?",
    "located": "where does the map fall?",
    "simple": "is the map simple?",
}
"""What the metrics ask, in the order of the tables."""


@dataclass(frozen=True)
class Metric(Registered):
    """A metric, its settings, and its facts. Calling it gives it other settings: ``deletion(baseline="mean")``.

    Attributes: those of :class:`~limelight.registered.Registered`, and
        question: which of :data:`QUESTIONS` it answers.
        better: "higher" or "lower"; None where neither is better by itself.
        range: the least and the greatest value there can be, of scores that are probabilities.
        passes: its cost, in forward passes of the network for each picture, in words.
    """

    kind: ClassVar[str] = "metric"
    refusal: ClassVar[type[MetricError]] = MetricError

    question: Question
    better: Literal["higher", "lower"] | None
    range: tuple[float, float] = (-math.inf, math.inf)
    passes: str = "0"


REGISTRY: dict[str, Metric] = {}
"""Every metric, by name, in the order of the families' files."""


def register(name: str, **facts: Any) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """List the decorated function as a metric with these facts (see :class:`Metric`); the function stays as it is."""

    def enter(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        REGISTRY[name] = Metric(name, function, **facts)
        return function

    return enter


def get(metric: str | Metric) -> Metric:
    """The metric of that name, or the metric itself. Spelling is as forgiving as for methods.

    Raises:
        MetricError: no metric has that name.
    """
    if isinstance(metric, Metric):
        return metric
    spelt = {spelling(name): known for name, known in REGISTRY.items()}
    if (key := spelling(metric)) not in spelt:
        raise MetricError(f"no metric is called {metric!r}.{closest(metric, REGISTRY)} There are {', '.join(REGISTRY)}")
    return spelt[key]
