"""A method is a function; the registry says about each what a caller, a table or a test must know.

A method's positional parameters name what it needs, its keyword-only parameters are its settings. What it needs is
worked out by :mod:`limelight.methods.evidence`; nothing else has to be declared to add one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from limelight.errors import MethodError, closest
from limelight.methods.measured import OnMosaics, on_mosaics
from limelight.nested import Inputs
from limelight.registered import Registered, spelling


@dataclass(frozen=True)
class Method(Registered):
    """A method, its settings, and its facts. Calling it gives the method with other settings: ``ScoreCAM(top=64)``.

    Attributes: those of :class:`~limelight.registered.Registered`, and
        per_target: whether its map depends on the target.
        signed: whether negative values mean evidence against the target.
        passes: its cost, in forward passes of the network, in words.
        layer: where it cuts unless told otherwise; None for the last layer that has a grid.
        watch: what its pass is run under, made from the network and its inputs, if it must see how the pass is done.
        same_replays: whether what it replays is the same for every target, so that one run answers them all.
    """

    kind: ClassVar[str] = "method"
    refusal: ClassVar[type[MethodError]] = MethodError

    per_target: bool = True
    signed: bool = True
    passes: str = "1"
    layer: str | None = None
    watch: Callable[[nn.Module, Inputs], AbstractContextManager[Any]] | None = None
    same_replays: bool = False

    @property
    def on_mosaics(self) -> OnMosaics | None:
        """How much of its map was found on the photograph asked about, among four; None if that was not measured."""
        return on_mosaics().get(self.name)

    @property
    def discriminative(self) -> bool:
        """Whether it was measured to be: more than half of its map lies on the photograph asked about, among four."""
        return self.on_mosaics is not None and self.on_mosaics.surely_over(0.5)

    def run(self, evidence: Mapping[str, Any]) -> Tensor:
        """The raw map ``(batch, *grid)`` from the evidence named in ``needs``."""
        return self.function(*(evidence[need] for need in self.needs), **self.settings)


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
