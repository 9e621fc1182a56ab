"""A method is a function; the registry says about each what a caller, a table or a test must know.

A method's positional parameters name what it needs, its keyword-only parameters are its settings. What it needs is
worked out by :mod:`limelight.methods.evidence`; nothing else has to be declared to add one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from limelight.errors import MethodError, closest


@dataclass(frozen=True)
class Method:
    """A method and its facts.

    Attributes:
        name: how the command line and ``explain(method=...)`` call it.
        function: ``(**needs, **settings) -> (batch, *grid)``, the raw map.
        needs: names of the evidence it takes, from its positional parameters.
        title: the name as its paper writes it.
        discriminative: whether its map depends on the target.
        signed: whether negative values mean evidence against the target.
        passes: its cost, in forward passes of the network, in words.
        source: paper and equation.
        settings: values for its keyword-only parameters.
    """

    name: str
    function: Callable[..., Tensor] = field(repr=False)
    needs: tuple[str, ...]
    title: str
    discriminative: bool
    signed: bool
    passes: str
    source: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, **evidence: Any) -> Tensor:
        """The raw map ``(batch, *grid)`` from the evidence named in ``needs``."""
        return self.function(**evidence, **self.settings)


REGISTRY: dict[str, Method] = {}


def register(
    name: str, *, title: str, discriminative: bool = True, signed: bool = True, passes: str = "1", source: str
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """List the decorated function as a method; the function itself stays as it is."""

    def enter(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        REGISTRY[name] = Method(name, function, _needs(function), title, discriminative, signed, passes, source)
        return function

    return enter


def get(method: str | Method | Callable[..., Tensor]) -> Method:
    """The method of that name, the method itself, or any callable of a method's shape made into one.

    Raises:
        MethodError: no method has that name.
    """
    if isinstance(method, Method):
        return method
    if isinstance(method, str):
        key = "".join(c for c in method.lower().replace("++", "pp") if c.isalnum())
        if key not in REGISTRY:
            raise MethodError(f"no method is called {method!r}.{closest(key, REGISTRY)} `limelight methods` lists them all")
        return REGISTRY[key]
    if not callable(method):
        raise MethodError(f"{method!r} is no method: give a name or a function of activations and gradients")
    registered = next((known for known in REGISTRY.values() if known.function is method), None)
    name = getattr(method, "__name__", type(method).__name__)
    return registered or Method(name, method, _needs(method), name, True, True, "?", "the caller's own")


def _needs(function: Callable[..., Tensor]) -> tuple[str, ...]:
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(name for name, p in inspect.signature(function).parameters.items() if p.kind in positional)
