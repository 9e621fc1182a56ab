"""A page with every kind of block on it."""

from __future__ import annotations

import numpy as np

from limelight import report
from tests.pictures import noise

HOSTILE = """<script>alert("x")</script> & 'quotes' <b>bold</b>"""


def picture(seed: int = 0, side: int = 96, **facts) -> report.Picture:
    return report.inlined(noise(seed).resize((side, side)), f"noise {seed}", f"picture {seed}", **facts)


def page(words: str = "plain words") -> report.Page:
    """Every block, with ``words`` wherever words go."""
    shares = np.linspace(0.5, 1, 20).tolist()
    drawings = [
        report.plots.histogram(f"How sure: {words}", words, [("right", shares), ("wrong", shares[:4])], words, words),
        report.plots.reliability(f"Calibration: {words}", words, [(0.7, 0.6, (0.4, 0.8), 12)], words, words),
        report.plots.lines(
            f"Moves: {words}",
            words,
            ["1/255", words],
            [report.plots.Series(words, [0.9, 0.5], [(0.8, 0.95), (0.4, 0.6)])],
            words,
            words,
            (0, 1),
        ),
        report.plots.frontier(f"Cost: {words}", words, [(words, 2.0, 1.5), ("b", 1.0, 2.0), ("c", 9, 3)], words, words),
    ]
    blocks = [
        report.Prose([words, words]),
        report.Note(words, words),
        report.Numbers([report.Number("97%", words, words, words)]),
        report.Bars(
            words,
            [
                report.Bar(words, 0.4, words, (0.3, 0.5), 0.25),
                report.Bar("second", 1.0, words, tone="bad"),
            ],
            words,
        ),
        report.Table(words, [words, "n"], [[words, "3"]], numbers=(1,), basis=words),
        report.Counts(words, words, words, [words, "beans"], [[5, 1], [0, 0]], words),
        report.Beside([report.Plot(svg, words, words) for svg in drawings]),
        report.ScaleKey(["#000000", "#ffffff"], words, words, words),
        picture(1),
        report.Strip(words, [picture(2), picture(3)], words),
        report.Group(words, [report.Strip(words, [picture(4)]), report.Group(words, [report.Prose([words])])], words),
        report.Folded(words, [report.Prose([words])]),
    ]
    gallery = report.Gallery(
        [picture(i, tags=(words, "even") if i % 2 == 0 else (words,)) for i in range(5, 10)],
        words,
        filters=(words, "even"),
        small=True,
    )
    return report.Page(
        words,
        words,
        [(words, words)],
        report.Verdict("care", words, [(words, words)]),
        [report.Section("first", words, words, blocks), report.Section("second", words, words, [])],
        [report.Section("all", words, "", [gallery])],
        [words],
    )
