"""What was said of each frame, as a table and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

from limelight.errors import MissingExtra
from limelight.files import aside
from limelight.parts import pyarrow
from limelight.video.explaining import Told

COLOURS = ("#0a66a8", "#b84a00", "#6a3d9a", "#3d7a3d", "#8a5a00")


def write(told: Sequence[Told], film: Path) -> list[Path]:
    """``OUT.frames.parquet`` and ``OUT.frames.png`` beside a film; give their paths.

    Raises:
        InputError: they can't be written.
        MissingExtra: pyarrow or matplotlib is not installed.
    """
    arrow, parquet = pyarrow()
    table, plot = (film.with_suffix(f".frames.{ending}") for ending in ("parquet", "png"))
    with aside(table) as partial:
        parquet.write_table(arrow.Table.from_pylist([asdict(one) for one in told]), partial, compression="zstd")
    with aside(plot) as partial:
        _plot(told, partial)
    return [table, plot]


def _plot(told: Sequence[Told], file: Path) -> None:
    """Probability (or score) over time, a colour for each of the commonest classes; below it the map's spread."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as missing:
        raise MissingExtra("matplotlib", "plot", "A plot of a film's frames") from missing
    drawn = Figure(figsize=(9, 4.4), layout="constrained")
    FigureCanvasAgg(drawn)
    above, below = drawn.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    seconds = [one.seconds for one in told]
    labels = sorted({one.label for one in told}, key=lambda label: -sum(one.label == label for one in told))
    asked = all(one.probability is not None for one in told)
    values = [one.score if one.probability is None or not asked else one.probability for one in told]
    for label, colour in zip(labels, (*COLOURS, *["#8a8780"] * len(labels)), strict=False):
        own = [value if one.label == label else float("nan") for one, value in zip(told, values, strict=True)]
        named = label if labels.index(label) < len(COLOURS) else None
        above.plot(seconds, own, color=colour, marker=".", markersize=3, linewidth=1.4, label=named)
    if said := [(one.seconds, one.said_probability) for one in told if asked and one.said_probability is not None]:
        above.plot(*zip(*said, strict=True), ".", color="#b5b1a8", markersize=2, zorder=0, label="frame by frame")
    for one, after in pairwise(told):
        if one.shot != after.shot:
            for axes in (above, below):
                axes.axvline(after.seconds, color="#c8c4bb", linewidth=0.8, linestyle=":")
    below.plot(seconds, [float("nan") if one.spread is None else one.spread for one in told], color="#1d1c1a")
    above.set(ylabel="probability" if asked else "score", **({"ylim": (0, 1.03)} if asked else {}))
    below.set(ylabel="spread of the map", xlabel="seconds", ylim=(0, None))
    above.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    drawn.savefig(file, dpi=140, format="png")
