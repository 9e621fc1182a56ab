"""What long work tells while it runs: how far it is, and how stable its estimate has become.

Nobody listens unless a listener is set for the call; it is set for one thread, and only while the call lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Listener:
    """Who is told.

    Attributes:
        progress: called with how much of how much is done, as ``(done, count)``.
        stabilities: of each estimate made, ``(batch,)`` in [-1, 1], in the order they were made.
    """

    progress: Callable[[int, int], None] | None = None
    stabilities: list[Tensor] = field(default_factory=list)


_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[Listener]:
    """Tell this listener, and no other, for as long as the body runs."""
    token = _listener.set(listener)
    try:
        yield listener
    finally:
        _listener.reset(token)


def tell_progress(done: int, count: int) -> None:
    """So much is done."""
    if (listener := _listener.get()) is not None and listener.progress is not None:
        listener.progress(done, count)


def tell_stability(stability: Tensor) -> None:
    """An estimate is finished, and this stable ``(batch,)``."""
    if (listener := _listener.get()) is not None:
        listener.stabilities.append(stability)


def told(steps: int) -> Iterator[int]:
    """The steps from 1 to ``steps``, telling how far it is."""
    for number in range(1, steps + 1):
        yield number
        tell_progress(number, steps)
