"""Phrases that a study's chapters and findings have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from limelight.report.page import percent


def count(number: int, thing: str, things: str | None = None) -> str:
    """ "1 picture", "1,200 pictures"."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def pictures(number: int) -> str:
    """What a figure rests on."""
    return f"rests on {count(number, 'picture')}"


def between(interval: Sequence[float]) -> str:
    """An interval of shares in words."""
    low, high = interval
    return f"{percent(low)} to {percent(high)}"


def figure(summary: dict[str, Any]) -> str:
    """A mean with its interval, to two places: "0.87 (0.82 to 0.91)"; a dash where there is none."""
    if summary["mean"] is None:
        return "–"
    if summary["interval"] is None:
        return f"{summary['mean']:.2f}"
    low, high = summary["interval"]
    return f"{summary['mean']:.2f} ({low:.2f} to {high:.2f})"


def signed(change: float) -> str:
    """A change of a share in whole percentage points: "+3", "-1", "0"."""
    whole = round(100 * change)
    return f"{whole:+d}" if whole else "0"


def points(change: float) -> str:
    """The same with its unit: "+3 points", "-1 point", "0 points"."""
    whole = signed(change)
    return f"{whole} point{'' if whole in ('+1', '-1') else 's'}"


def moves(change: float) -> str:
    """ "rises by 3 points", "falls by 1 point", "hardly changes"."""
    if signed(change) == "0":
        return "hardly changes"
    return f"{'rises' if change > 0 else 'falls'} by {points(change)[1:]}"


def listed(names: Sequence[str], last: str = "and", most: int = 6) -> str:
    """ "rice, beans and lentils"; of very many the first few."""
    if len(names) > most:
        return f"{', '.join(names[:most])} {last} {len(names) - most} more"
    return f" {last} ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else "nothing"


def capital(sentence: str) -> str:
    """With a capital letter."""
    return sentence[:1].upper() + sentence[1:]
