"""From rows to what they say: a ranking with intervals, whether the metrics agree, and which method to take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limelight.evaluation import Metric
from limelight.ranking.measuring import AGREEMENT, Row
from limelight.statistics import Interval, bootstrap, cases_needed, holm, paired_test

if TYPE_CHECKING:
    from numpy.typing import NDArray

DECIDING = ("faithful", "located")
"""The questions whose metrics make the ranking; the others are shown beside it."""
SURE = 0.05
"""The p-value, corrected for the number of comparisons, below which two methods are told apart."""


@dataclass(frozen=True)
class Standing:
    """One method by one metric.

    Attributes:
        method: its label.
        chance: it knows nothing of the network.
        mean: over the pictures.
        interval: by bootstrap over the pictures; None for a single picture.
        pictures: how many have a value.
        p: that it is as good as the metric's best, corrected; None for the best, for chance and for a single picture.
        needed: how many pictures would tell it from the metric's best, going by these; None where ``p`` is, and where
            no difference was seen.
    """

    method: str
    chance: bool
    mean: float
    interval: Interval | None
    pictures: int
    p: float | None = None
    needed: int | None = None


@dataclass(frozen=True)
class Recommendation:
    """What to take, chosen on one half of the pictures and confirmed, or not, on the other.

    Attributes:
        method: the method, at its layer.
        chosen_on, held_out: how many pictures each half has.
        rank, held_out_rank: its mean rank among the methods, over pictures and metrics, 1 is best.
        held_out_best: the method that is best on the other half.
        p: that the two are equally good there; 1 where they are the same.
        confirmed: nothing is surely better on the half it was not chosen on.
    """

    method: str
    chosen_on: int
    held_out: int
    rank: float
    held_out_rank: float
    held_out_best: str
    p: float
    confirmed: bool


@dataclass(frozen=True)
class Summary:
    """What the rows of an evaluation say. Made by :func:`summarise`.

    ``ranks`` are mean ranks over the metrics that decide, best first; ``faithful`` over those of faithfulness alone.
    """

    metrics: Sequence[Metric]
    methods: list[str]
    chance: list[str]
    standings: dict[str, list[Standing]]
    ranks: dict[str, float]
    faithful: dict[str, float]
    seconds: dict[str, float]
    agreement: dict[str, dict[str, float]]
    disputed: list[tuple[str, float]]
    errors: list[tuple[str, str]]
    pictures: int
    recommendation: Recommendation | None

    def record(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "pictures": self.pictures,
            "metrics": {
                label: [vars(one) | {"interval": one.interval and list(one.interval)} for one in standings]
                for label, standings in self.standings.items()
            },
            "ranks": self.ranks,
            "faithful_ranks": self.faithful,
            "seconds": self.seconds,
            "metric_agreement": {a: {b: _or_none(v) for b, v in row.items()} for a, row in self.agreement.items()},
            "disputed": [{"path": path, "agreement": value} for path, value in self.disputed],
            "errors": [{"what": what, "error": error} for what, error in self.errors],
            "recommendation": self.recommendation and vars(self.recommendation),
        }


def summarise(rows: Sequence[Row], metrics: Sequence[Metric], most: int = 6) -> Summary:
    """The rows of :meth:`limelight.ranking.Evaluation.rows`, put in order. ``most`` disputed pictures are named."""
    good = [row for row in rows if row["error"] is None]
    chance = list(dict.fromkeys(row["method"] for row in good if row["chance"]))
    methods = list(dict.fromkeys(row["method"] for row in good if not row["chance"]))
    numbers = sorted({row["picture"] for row in good})
    tables = {metric.label: _table(good, metric.label, [*methods, *chance], numbers) for metric in metrics}
    tables = {label: table for label, table in tables.items() if not np.isnan(table).all()}
    by_label = {metric.label: metric for metric in metrics}
    ranked = _ranks(tables, by_label, len(methods))
    disputed = _table(good, AGREEMENT, methods, numbers)
    paths = {row["picture"]: row["path"] for row in good}
    together = [(paths[number], float(v)) for number, v in zip(numbers, _mean(disputed, 0), strict=True) if v == v]
    seconds = {m: [r["seconds"] for r in good if r["method"] == m and r["seconds"] is not None] for m in methods}
    return Summary(
        metrics=[metric for metric in metrics if metric.label in tables],
        methods=methods,
        chance=chance,
        standings={
            label: _standings(table, [*methods, *chance], len(methods), by_label[label])
            for label, table in tables.items()
        },
        ranks=_by_rank(methods, ranked),
        faithful=_by_rank(methods, _ranks(tables, by_label, len(methods), ("faithful",))),
        seconds={method: float(np.median(values)) for method, values in seconds.items() if values},
        agreement=_metric_agreement(tables, by_label, len(methods)),
        disputed=sorted(together, key=lambda pair: pair[1])[:most],
        errors=_errors(rows),
        pictures=len(numbers),
        recommendation=_recommend(ranked, methods),
    )


def _table(rows: Sequence[Row], label: str, methods: Sequence[str], numbers: Sequence[int]) -> NDArray[np.float64]:
    """(methods, pictures) values of one metric; NaN where there is none."""
    place, column = {name: i for i, name in enumerate(methods)}, {number: i for i, number in enumerate(numbers)}
    table = np.full((len(methods), len(numbers)), np.nan)
    for row in rows:
        if row["metric"] == label and row["value"] is not None and row["method"] in place:
            table[place[row["method"]], column[row["picture"]]] = row["value"]
    return table


def _standings(table: NDArray[np.float64], names: Sequence[str], methods: int, metric: Metric) -> list[Standing]:
    """Best first, among the methods and among chance."""
    sign = -1.0 if metric.better == "lower" else 1.0
    means = sign * _mean(table, 1)
    best = int(np.nanargmax(means[:methods])) if not np.isnan(means[:methods]).all() else 0
    compared = [i for i in range(methods) if i != best and _pairs(table[i], table[best]) > 1 and metric.better]
    p = dict(zip(compared, holm([paired_test(table[i], table[best]) for i in compared]), strict=True))
    found = []
    for i, name in enumerate(names):
        values = table[i][~np.isnan(table[i])]
        if not len(values):
            continue
        interval = bootstrap(values) if len(values) > 1 else None
        needed = cases_needed(table[i], table[best]) if i in p else None
        found.append(Standing(name, i >= methods, float(values.mean()), interval, len(values), p.get(i), needed))
    return sorted(found, key=lambda one: (one.chance, -sign * one.mean))


def _by_rank(methods: Sequence[str], ranked: NDArray[np.float64]) -> dict[str, float]:
    """Each method's mean over the pictures, best first; without those that have none."""
    means = [pair for pair in zip(methods, _mean(ranked, 1).tolist(), strict=True) if pair[1] == pair[1]]
    return dict(sorted(means, key=lambda pair: pair[1]))


def _ranks(
    tables: Mapping[str, Any], metrics: Mapping[str, Metric], methods: int, questions: Sequence[str] = DECIDING
) -> NDArray[np.float64]:
    """(methods, pictures) The mean rank of each method among the methods, over the metrics of these questions."""
    ranked = []
    for label, table in tables.items():
        metric = metrics[label]
        if metric.question in questions and metric.better:
            values = table[:methods] * (1 if metric.better == "lower" else -1)
            below = (values[:, None] > values[None]).sum(1) + ((values[:, None] == values[None]).sum(1) + 1) / 2
            ranked.append(np.where(np.isnan(values), np.nan, below))
    return _mean(np.stack(ranked), 0) if ranked else np.full((methods, 1), np.nan)


def _metric_agreement(
    tables: Mapping[str, Any], metrics: Mapping[str, Metric], methods: int
) -> dict[str, dict[str, float]]:
    """Rank correlation of every two metrics over the methods' means, each turned so that higher is better."""
    if methods < 3:
        return {}
    signs = {label: -1.0 if metrics[label].better == "lower" else 1.0 for label in tables}
    order = {label: _order(signs[label] * _mean(table[:methods], 1)) for label, table in tables.items()}
    return {a: {b: _correlation(order[a], order[b]) for b in order} for a in order}


def _recommend(ranked: NDArray[np.float64], methods: Sequence[str]) -> Recommendation | None:
    """Every other picture chooses, the rest confirm; None with fewer than two methods or four pictures."""
    ranked = ranked[:, ~np.isnan(ranked).any(axis=0)] if ranked.size else ranked
    if len(methods) < 2 or ranked.shape[1] < 4:
        return None
    first, second = ranked[:, ::2], ranked[:, 1::2]
    # Methods that are the same here may differ in the last digit: the one that was named first is meant.
    chosen, best = (int(half.mean(1).round(6).argmin()) for half in (first, second))
    p = 1.0 if chosen == best else paired_test(second[chosen], second[best])
    return Recommendation(
        method=methods[chosen],
        chosen_on=first.shape[1],
        held_out=second.shape[1],
        rank=float(first[chosen].mean()),
        held_out_rank=float(second[chosen].mean()),
        held_out_best=methods[best],
        p=p,
        confirmed=p >= SURE,
    )


def _errors(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """What could not be measured, each reason once: a picture, or a method."""
    told = ((row["method"] or Path(row["path"]).name, row["error"]) for row in rows if row["error"] is not None)
    return list(dict.fromkeys(told))


def _mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """The mean of what there is; NaN of nothing, without a warning."""
    there = ~np.isnan(values)
    count = there.sum(axis)
    return np.where(count > 0, np.where(there, values, 0).sum(axis) / np.maximum(count, 1), np.nan)


def _pairs(a: NDArray[np.float64], b: NDArray[np.float64]) -> int:
    return int((~np.isnan(a) & ~np.isnan(b)).sum())


def _order(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return (values[:, None] > values[None]).sum(1) + (values[:, None] == values[None]).sum(1) / 2


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else math.nan


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
