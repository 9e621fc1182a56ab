"""A progress bar on stderr, where somebody looks at it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def watched() -> bool:
    """Whether stderr is a terminal."""
    return sys.stderr.isatty()


def tracked(steps: Iterable[T], what: str, total: int, shown: bool = True) -> Iterator[T]:
    """The same steps, with a progress bar if it is to be ``shown``."""
    if not shown:
        return iter(steps)
    from rich.console import Console
    from rich.progress import track

    return iter(track(steps, what, total=total, console=Console(stderr=True)))
