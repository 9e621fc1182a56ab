"""Drawings for a page: SVG that takes the page's colours and letters, and says in words what it shows.

matplotlib draws with placeholders for colours; here they become the page's own (``var(--blue)``), so that a drawing
is as readable on dark paper as on light. Nothing is told by colour alone: series differ in their marks and dashes too.
"""

from __future__ import annotations

import hashlib
import html
import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limelight.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (4.6, 3.2)
"""Inches at 72 points: as wide as a phone, so that letters stay letters there."""
_COLOURS = {
    "#010101": "currentColor",
    "#020202": "var(--soft)",
    "#030303": "var(--line)",
    "#040404": "var(--blue)",
    "#050505": "var(--orange)",
    "#060606": "var(--violet)",
    "#070707": "var(--paper)",
}
INK, SOFT, LINE, BLUE, ORANGE, VIOLET, PAPER = _COLOURS
_LOOKS = ((BLUE, "o", "-"), (ORANGE, "s", "--"), (VIOLET, "^", ":"), (SOFT, "D", "-."))


@dataclass(frozen=True)
class Series:
    """Values with their intervals, one for each place along the axis; NaN where there is none."""

    name: str
    values: Sequence[float]
    intervals: Sequence[tuple[float, float]] | None = None


def lines(
    title: str,
    description: str,
    places: Sequence[str],
    series: Sequence[Series],
    x: str,
    y: str,
    limits: tuple[float, float] | None = None,
) -> str:
    """Series over named places, with whiskers; each ends in its name. ``limits`` are the vertical axis's."""

    def draw(axes: Axes) -> None:
        for number, one in enumerate(series):
            colour, mark, dash = _LOOKS[number % len(_LOOKS)]
            at = [i + 0.05 * (number - (len(series) - 1) / 2) for i in range(len(places))]
            axes.plot(at, one.values, color=colour, marker=mark, linestyle=dash, markersize=6, label=one.name)
            if one.intervals:
                low, high = zip(*one.intervals, strict=True)
                axes.vlines(at, low, high, color=colour, linewidth=1.4)
        axes.set_xticks(range(len(places)), places)
        axes.set_xlim(-0.3, len(places) - 0.7)
        if limits:
            axes.set_ylim(*limits)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=2, frameon=False, labelcolor=INK)

    return _drawn(title, description, x, y, draw)


def histogram(
    title: str, description: str, groups: Sequence[tuple[str, Sequence[float]]], x: str, y: str, bins: int = 20
) -> str:
    """How often values in [0, 1] occur, for two groups: the first above the axis, the second below it."""

    def draw(axes: Axes) -> None:
        edges = [i / bins for i in range(bins + 1)]
        most = 1
        for (name, values), (colour, _, _), sign in zip(groups, _LOOKS, (1, -1), strict=False):
            counts = [0] * bins
            for value in values:
                counts[min(int(value * bins), bins - 1)] += 1
            most = max(most, *counts)
            heights = [sign * count for count in counts]
            axes.bar(edges[:-1], heights, 1 / bins, align="edge", color=colour, edgecolor=PAPER, linewidth=0.8)
            axes.annotate(
                f"{name} ({len(values)})",
                (0.02, 0.94 if sign > 0 else 0.06),
                xycoords="axes fraction",
                color=colour,
                va="top" if sign > 0 else "bottom",
            )
        axes.axhline(0, color=SOFT, linewidth=0.8)
        axes.set_xlim(0, 1)
        axes.set_ylim(-1.1 * most, 1.1 * most)
        axes.yaxis.set_major_locator(_whole_numbers())
        axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):.0f}")
        axes.xaxis.set_major_formatter(_percent)

    return _drawn(title, description, x, y, draw)


def reliability(
    title: str, description: str, points: Sequence[tuple[float, float, tuple[float, float], int]], x: str, y: str
) -> str:
    """Claimed confidence against how often it was right: ``(claimed, found, interval, pictures)`` for each bin."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.9, linestyle=":")
        axes.annotate("says what it knows", (0.06, 0.1), rotation=0, color=SOFT, fontsize=8.5)
        for claimed, found, (low, high), pictures in points:
            axes.vlines(claimed, low, high, color=BLUE, linewidth=1.4)
            axes.plot([claimed], [found], "o", color=BLUE, markersize=5 + min(pictures, 100) ** 0.5 / 2)
        axes.set_xlim(0, 1.04)
        axes.set_ylim(0, 1.05)
        axes.xaxis.set_major_formatter(_percent)
        axes.yaxis.set_major_formatter(_percent)

    return _drawn(title, description, x, y, draw)


def frontier(title: str, description: str, points: Sequence[tuple[str, float, float]], x: str, y: str) -> str:
    """What things cost (on a logarithmic axis) against their rank, 1 at the top: ``(name, cost, rank)`` each.

    Joined and named are those that nothing else is both cheaper and better than; the others are marks alone.
    """

    def draw(axes: Axes) -> None:
        best = worthwhile(points)
        rest = [one for one in points if one not in best]
        axes.plot([one[1] for one in rest], [one[2] for one in rest], "o", color=SOFT, fillstyle="none", markersize=6)
        axes.plot([one[1] for one in best], [one[2] for one in best], "o-", color=BLUE, linewidth=0.9, markersize=7)
        for name, cost, rank in best:
            axes.annotate(name, (cost, rank), (0, 8), textcoords="offset points", color=BLUE, ha="center", fontsize=9)
        axes.set_xscale("log")
        axes.margins(x=0.2, y=0.15)
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: "")

    return _drawn(title, description, x, y, draw)


def worthwhile(points: Sequence[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """Of ``(name, cost, rank)`` those that nothing cheaper, or as cheap, ranks as well as; the cheapest first."""
    kept: list[tuple[str, float, float]] = []
    for one in sorted(points, key=lambda point: point[1:]):
        if not kept or one[2] < kept[-1][2]:
            kept.append(one)
    return kept


def _percent(value: float, _: Any) -> str:
    return f"{value * 100:.0f}%"


def _whole_numbers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(6, integer=True)


def _drawn(title: str, description: str, x: str, y: str, draw: Callable[[Axes], None]) -> str:
    """An SVG element with a title and a description, in the page's colours.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as missing:
        raise MissingExtra("matplotlib", "report", "A plot") from missing
    look: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": title,
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": SOFT,
        "axes.edgecolor": LINE,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "grid.color": LINE,
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
        "xtick.color": LINE,
        "ytick.color": LINE,
        "xtick.labelcolor": SOFT,
        "ytick.labelcolor": SOFT,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "ytick.major.size": 0,
        "text.parse_math": False,
    }
    with rc_context(look), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the reader's fonts draw the letters, not matplotlib's
        figure = Figure(figsize=SIZE, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        draw(axes)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _themed(buffer.getvalue(), title, description)


def _themed(svg: str, title: str, description: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for placeholder, colour in _COLOURS.items():
        svg = svg.replace(placeholder, colour)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)  # the page's letters, not DejaVu's
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    own = "p" + hashlib.sha1((title + svg).encode()).hexdigest()[:8]
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{own}-\1"', svg)  # two drawings on one page have no name in common
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{own}-\1)", svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{own}-\1"', svg)
    view = re.search(r'viewBox="[^"]+"', svg)
    assert view is not None
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {view[0]} role="img" '
        f'aria-labelledby="{own}-title {own}-description"><title id="{own}-title">{html.escape(title)}</title>'
        f'<desc id="{own}-description">{html.escape(description)}</desc>'
    )
    return re.sub(r"<svg[^>]*>", lambda _: opening, svg, count=1)
