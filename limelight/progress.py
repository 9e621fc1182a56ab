"""A progress bar on stderr, where somebody looks at it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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


@contextmanager
def gauge(shown: bool, patience: float = 2.0) -> Iterator[Callable[[str, int, int], None]]:
    """Somebody to tell ``(what, done, count)``, who draws a bar that goes away again.

    Nothing is drawn unless ``shown``, nor before ``patience`` seconds have passed: short work needs no bar.
    """
    if not shown:
        yield lambda what, done, count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar, start = Progress(*columns, console=Console(stderr=True), transient=True), time.monotonic()
    task = bar.add_task("", total=None)

    def tell(what: str, done: int, count: int) -> None:
        if time.monotonic() - start > patience:
            bar.start()
            bar.update(task, description=what, completed=done, total=count)

    try:
        yield tell
    finally:
        bar.stop()


@contextmanager
def paced(
    what: str, unit: str, total: int | None, done: int = 0, shown: bool = True
) -> Iterator[Callable[[int], None]]:
    """Somebody to tell how many more are done, who draws a bar with the rate of this run and the time left.

    ``total`` is None where nobody knows it.
    """
    if not shown:
        yield lambda more: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}" + ("" if total is None else f" of {total:,.0f}")),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task, start, fresh = bar.add_task(what, total=total, completed=done, rate=""), time.monotonic(), 0

        def tell(more: int) -> None:
            nonlocal fresh
            fresh += more
            rate = fresh / max(time.monotonic() - start, 1e-9)
            bar.update(task, advance=more, rate=f"{rate:,.1f} {unit}/s")

        yield tell
