"""How good is it?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from limelight.report import (
    Bar,
    Bars,
    Beside,
    Block,
    Counts,
    Folded,
    Note,
    Number,
    Numbers,
    Plot,
    Section,
    Table,
    plots,
)
from limelight.report.page import percent
from limelight.statistics import wilson
from limelight.studies.looks import Sample
from limelight.studies.words import between, count, pictures

MOST_CLASSES = 10
"""Up to so many classes a confusion matrix is shown, and a bar for each class; of more, the bars of the worst."""
BINS = 10


def section(report: dict[str, Any], sample: Sample) -> Section:
    """The figures of a run's report, and plots of how sure it was of all the test pictures."""
    tested, accuracy = report["pictures"], report["accuracy"]
    right = round(accuracy * tested)
    answer = (
        f"It named the right class for {right:,} of {count(tested, 'test picture')} ({percent(accuracy)}); of other "
        f"pictures like these it should get between {percent(report['interval'][0])} and "
        f"{percent(report['interval'][1])} right."
    )
    return Section(
        "good",
        "How good is it?",
        answer,
        [
            _numbers(report),
            Beside([*_confusion(report), _recalls(report)]),
            Beside([_confidence(sample), _calibration(sample)]),
            *_remarks(report),
            Folded("The figures of each class", [_by_class(report)]),
        ],
    )


def copies(report: Mapping[str, Any]) -> list[str]:
    """What was told of pictures that are both in the test and in what was learnt from."""
    return [text for text in report.get("duplicates", []) if "in test and in" in text or "and in test" in text]


def _numbers(report: dict[str, Any]) -> Numbers:
    basis = pictures(report["pictures"])
    auc = report["roc_auc"]
    numbers = [
        Number(percent(report["accuracy"]), "Accuracy", basis, f"{between(report['interval'])}, at 95% confidence"),
        Number(percent(report["balanced_accuracy"]), "Balanced accuracy", basis, "each class counts the same"),
        Number(percent(report["calibration_error"]), "Calibration error", basis, "how far its confidence is off"),
    ]
    if auc is not None:
        numbers.insert(2, Number(f"{auc:.3f}", "ROC-AUC", basis, "1 is perfect, 0.5 is chance"))
    return Numbers(numbers)


def _confusion(report: dict[str, Any]) -> list[Block]:
    classes = list(report["classes"])
    if len(classes) > MOST_CLASSES:
        return []
    caption = "What it said of each picture"
    return [Counts(caption, "it is", "it said", classes, report["confusion"], pictures(report["pictures"]))]


def _recalls(report: dict[str, Any]) -> Bars:
    bars = []
    for name, row, counts in zip(report["classes"], range(len(report["classes"])), report["confusion"], strict=True):
        if total := sum(counts):
            interval = wilson(counts[row], total)
            bars.append(Bar(name, counts[row] / total, count(total, "picture"), interval))
    shown = bars if len(bars) <= MOST_CLASSES else sorted(bars, key=lambda bar: bar.value)[:MOST_CLASSES]
    which = "" if len(shown) == len(bars) else f", the {MOST_CLASSES} worst of {len(bars)} classes"
    return Bars(f"How many of each class it recognised{which}", shown)


def _confidence(sample: Sample) -> Plot:
    right, wrong = sample.confidence[sample.right], sample.confidence[~sample.right]
    surest = f"; the surest mistake was made at {percent(float(wrong.max()))}" if len(wrong) else ""
    svg = plots.histogram(
        "How sure it was",
        f"Confidence of {len(right)} right and {len(wrong)} wrong predictions: the right ones at "
        f"{percent(float(np.median(right))) if len(right) else 'no value'} in the median"
        + (f", the wrong ones at {percent(float(np.median(wrong)))}" if len(wrong) else ""),
        [("right", right.tolist()), ("wrong", wrong.tolist())],
        "its confidence",
        "pictures",
    )
    return Plot(svg, f"How sure it was when it was right, and when it was wrong{surest}.", pictures(len(sample)))


def _calibration(sample: Sample) -> Plot:
    bins = np.minimum((sample.confidence * BINS).astype(int), BINS - 1)
    points = []
    for each in np.unique(bins):
        own = bins == each
        hits = int(sample.right[own].sum())
        points.append(
            (float(sample.confidence[own].mean()), hits / int(own.sum()), wilson(hits, int(own.sum())), int(own.sum()))
        )
    told = "; ".join(f"sure by {percent(claimed)}, right in {percent(found)}" for claimed, found, _, _ in points)
    svg = plots.reliability("Whether its confidence can be believed", told, points, "its confidence", "how often right")
    caption = "Whether its confidence can be believed: on the dotted line it is right as often as it says."
    return Plot(svg, caption, pictures(len(sample)))


def _by_class(report: dict[str, Any]) -> Table:
    def said(value: float | None) -> str:
        return "–" if value is None else percent(value)

    rows = [
        [name, f"{each['pictures']:,}", said(each["recall"]), said(each["precision"])]
        for name, each in report["classes"].items()
    ]
    columns = ["class", "pictures", "recognised (recall)", "right when it said so (precision)"]
    return Table("Each class", columns, rows, (1, 2, 3), pictures(report["pictures"]))


def _remarks(report: dict[str, Any]) -> list[Block]:
    across = copies(report)
    remarks: list[Block] = []
    if across:
        more = f" and {len(across) - 1} more such pairs" if len(across) > 1 else ""
        remarks.append(Note(f"{across[0]}{more}: the test is easier by these.", "Copies."))
    if skipped := report.get("skipped"):
        more = f"; {len(skipped) - 1} more" if len(skipped) > 1 else ""
        remarks.append(Note(f"{skipped[0]}{more}", f"{count(len(skipped), 'picture')} could not be used."))
    return remarks
