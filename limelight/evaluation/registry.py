"""A metric is a function; the registry says about each what a caller, a table or a test must know.

A metric's positional parameters name what it needs, its keyword-only parameters are its settings. What it needs is an
attribute of :class:`limelight.evaluation.case.Case`; nothing else has to be declared to add one.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import Tensor

from limelight.errors import MetricError, closest
from limelight.methods.registry import spelling

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
class Metric:
    """A metric, its settings, and its facts. Calling it gives it other settings: ``deletion(baseline="mean")``.

    Attributes:
        name: how the command line and :meth:`Case.measure` call it.
        function: ``(*needs, **settings) -> (batch,)``, one value for each picture.
        title: the name as its paper writes it.
        source: paper and equation.
        question: which of :data:`QUESTIONS` it answers.
        better: "higher" or "lower"; None where neither is better by itself.
        range: the least and the greatest value there can be, of scores that are probabilities.
        passes: its cost, in forward passes of the network for each picture, in words.
        settings: values for its keyword-only parameters that are not the defaults.
    """

    name: str
    function: Callable[..., Tensor] = field(repr=False)
    title: str
    source: str
    question: Question
    better: Literal["higher", "lower"] | None
    range: tuple[float, float] = (-math.inf, math.inf)
    passes: str = "0"
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def needs(self) -> tuple[str, ...]:
        """What it takes: attributes of a case, by the names of its positional parameters."""
        return tuple(p.name for p in self._parameters() if p.kind is not p.KEYWORD_ONLY)

    @property
    def label(self) -> str:
        """The name, with the settings that are not the defaults."""
        settings = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        return f"{self.name}({settings})" if settings else self.name

    @property
    def family(self) -> str:
        """The file it stands in."""
        return self.function.__module__.rpartition(".")[2]

    @property
    def options(self) -> dict[str, Any]:
        """Its settings with their values."""
        defaults = {p.name: p.default for p in self._parameters() if p.kind is p.KEYWORD_ONLY}
        return defaults | dict(self.settings)

    def __call__(self, **settings: Any) -> Metric:
        """The metric with these settings.

        Raises:
            MetricError: it has no setting of that name.
        """
        if unknown := [name for name in settings if name not in self.options]:
            known = ", ".join(self.options) or "none"
            raise MetricError(f"metric '{self.name}' has no setting {unknown[0]!r}; its settings: {known}")
        return replace(self, settings={**self.settings, **settings})

    def _parameters(self) -> list[inspect.Parameter]:
        return list(inspect.signature(self.function).parameters.values())


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
