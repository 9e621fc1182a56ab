"""A function that a registry lists: what its signature says about it, and settings that can be changed.

The positional parameters of such a function name what it needs, the keyword-only ones are its settings. Methods and
metrics are both of this kind.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Self

from limelight.errors import LimelightError


@dataclass(frozen=True)
class Registered:
    """A function and its settings. Calling it gives it other settings: ``ScoreCAM(top=64)``.

    Attributes:
        name: how the command line and Python call it.
        function: ``(*needs, **settings) -> tensor``.
        title: the name as its paper writes it.
        source: paper and equation.
        settings: values for its keyword-only parameters that are not the defaults.
    """

    kind: ClassVar[str]
    refusal: ClassVar[type[LimelightError]]

    name: str
    function: Callable[..., Any] = field(repr=False)
    title: str
    source: str
    settings: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """What it takes: the names of its positional parameters."""
        return tuple(p.name for p in self._parameters if p.kind is not p.KEYWORD_ONLY)

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
        defaults = {p.name: p.default for p in self._parameters if p.kind is p.KEYWORD_ONLY}
        return defaults | dict(self.settings)

    def __call__(self, **settings: Any) -> Self:
        """The same with these settings.

        Raises:
            LimelightError: of the kind of the registry; it has no setting of that name.
        """
        if unknown := [name for name in settings if name not in self.options]:
            known = ", ".join(self.options) or "none"
            raise self.refusal(f"{self.kind} '{self.name}' has no setting {unknown[0]!r}; its settings: {known}")
        return replace(self, settings={**self.settings, **settings})

    @cached_property
    def _parameters(self) -> list[inspect.Parameter]:  # read on every call, and slow to find out
        return list(inspect.signature(self.function).parameters.values())


def spelling(name: str) -> str:
    """A name as a registry spells it: lower case, letters and digits, "pp" for "++"."""
    return "".join(c for c in name.lower().replace("++", "pp") if c.isalnum())
