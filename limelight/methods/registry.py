"""A method is a function; the registry says about each what a caller, a table or a test must know.

A method's positional parameters name what it needs, its keyword-only parameters are its settings. What it needs is
worked out by :mod:`limelight.methods.evidence`; nothing else has to be declared to add one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from limelight.errors import MethodError, closest
from limelight.methods.measured import OnMosaics, on_mosaics
from limelight.nested import Inputs


@dataclass(frozen=True)
class Method:
    """A method, its settings, and its facts. Calling it gives the method with other settings: ``ScoreCAM(top=64)``.

    Attributes:
        name: how the command line and ``explain(method=...)`` call it.
        function: ``(*needs, **settings) -> (batch, *grid)``, the raw map.
        title: the name as its paper writes it.
        source: paper and equation.
        per_target: whether its map depends on the target.
        signed: whether negative values mean evidence against the target.
        passes: its cost, in forward passes of the network, in words.
        layer: where it cuts unless told otherwise; None for the last layer that has a grid.
        watch: what its pass is run under, made from the network and its inputs, if it must see how the pass is done.
        same_replays: whether what it replays is the same for every target, so that one run answers them all.
        settings: values for its keyword-only parameters that are not the defaults.
    """

    name: str
    function: Callable[..., Tensor] = field(repr=False)
    title: str
    source: str
    per_target: bool = True
    signed: bool = True
    passes: str = "1"
    layer: str | None = None
    watch: Callable[[nn.Module, Inputs], AbstractContextManager[Any]] | None = None
    same_replays: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the evidence it takes: its positional parameters."""
        return tuple(p.name for p in self._parameters() if p.kind is not p.KEYWORD_ONLY)

    @property
    def on_mosaics(self) -> OnMosaics | None:
        """How much of its map was found on the photograph asked about, among four; None if that was not measured."""
        return on_mosaics().get(self.name)

    @property
    def discriminative(self) -> bool:
        """Whether it was measured to be: more than half of its map lies on the photograph asked about, among four."""
        return self.on_mosaics is not None and self.on_mosaics.share > 0.5

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

    def __call__(self, **settings: Any) -> Method:
        """The method with these settings.

        Raises:
            MethodError: it has no setting of that name.
        """
        if unknown := [name for name in settings if name not in self.options]:
            known = ", ".join(self.options) or "none"
            raise MethodError(f"method '{self.name}' has no setting {unknown[0]!r}; its settings: {known}")
        return replace(self, settings={**self.settings, **settings})

    def run(self, evidence: Mapping[str, Any]) -> Tensor:
        """The raw map ``(batch, *grid)`` from the evidence named in ``needs``."""
        return self.function(*(evidence[need] for need in self.needs), **self.settings)

    def _parameters(self) -> list[inspect.Parameter]:
        return list(inspect.signature(self.function).parameters.values())


REGISTRY: dict[str, Method] = {}
"""Every method, by name, in the order of the families' files."""


def register(name: str, **facts: Any) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """List the decorated function as a method with these facts (see :class:`Method`); the function stays as it is."""

    def enter(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        REGISTRY[name] = Method(name, function, **facts)
        return function

    return enter


def get(method: str | Method | Callable[..., Tensor]) -> Method:
    """The method of that name, the method itself, or any callable of a method's shape made into one.

    Spelling is forgiving: "Grad-CAM++", "gradcam++" and "grad_cam_pp" are the same.

    Raises:
        MethodError: no method has that name.
    """
    if isinstance(method, Method):
        return method
    if isinstance(method, str):
        key = spelling(method)
        if key not in REGISTRY:
            raise MethodError(f"no method is called {method!r}.{closest(key, REGISTRY)} `limelight methods` lists all")
        return REGISTRY[key]
    if not callable(method):
        raise MethodError(f"{method!r} is no method: give a name or a function of activations and gradients")
    registered = next((known for known in REGISTRY.values() if known.function is method), None)
    name = getattr(method, "__name__", type(method).__name__)
    return registered or Method(name, method, title=name, source="the caller's own", passes="?")


def spelling(name: str) -> str:
    """A name as the registry spells it: lower case, letters and digits, "pp" for "++"."""
    return "".join(c for c in name.lower().replace("++", "pp") if c.isalnum())
