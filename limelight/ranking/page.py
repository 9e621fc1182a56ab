"""An evaluation as a page: which method, how sure, what it costs, and where they disagree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from limelight import comparison, report
from limelight.errors import LimelightError
from limelight.images import read
from limelight.ranking.evaluate import Evaluation
from limelight.ranking.measuring import maps_of, prepared
from limelight.ranking.summary import SURE, Standing, Summary
from limelight.report.plots import frontier, worthwhile

SHOWN = 4
"""Disputed pictures that are drawn."""
ENOUGH = 20
"""Held-out pictures from which on a confirmation is worth the word."""
MAPS = 5
"""Methods whose maps of them are drawn: the best."""


def page(evaluation: Evaluation, summary: Summary, data: str) -> str:
    """The page as HTML.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    best = next(iter(summary.ranks), None)
    sections = [_ranking(summary), _agreement(summary), _cost(summary), _disputed(evaluation, summary)]
    model = evaluation.bench.model
    return report.html(
        report.Page(
            title=f"Which maps of {model.name} are to be believed",
            kicker="Evaluation of explanation methods",
            facts=[
                ("Network", f"{model.name}, weights {model.weights}"),
                ("Pictures", f"{summary.pictures} of {data}"),
                ("Methods", str(len(summary.methods))),
                ("Metrics", ", ".join(metric.title for metric in summary.metrics)),
            ],
            verdict=_verdict(summary, best),
            sections=[section for section in sections if section],
            appendix=[_failures(summary)] if summary.errors else [],
            colophon=[
                "Intervals are 95 %, by bootstrap over pictures. Methods are compared on the same pictures, by "
                "flipping the signs of differences, corrected for the number of comparisons (Holm).",
                "Pictures to tell: so many would tell a method from the best four times in five, if differences stay "
                "as they are here; before that correction.",
                *_steps(summary),
                "Chance: random numbers, a Gaussian in the middle, and the picture's edges, through the same metric.",
            ],
        )
    )


def _steps(summary: Summary) -> list[str]:
    steps = {metric.settings["steps"] for metric in summary.metrics if "steps" in metric.settings}
    return [f"Curves (deletion, insertion and their kind) have {steps.pop()} steps."] if len(steps) == 1 else []


def _verdict(summary: Summary, best: str | None) -> report.Verdict:
    found = summary.recommendation
    if best is None or found is None:
        few = "At least two methods and four pictures are needed to recommend one."
        return report.Verdict("care", f"{best or 'No method'} has the best mean rank.", [("No recommendation", few)])
    half = (
        f"Chosen on {found.chosen_on} pictures with mean rank {found.rank:.2f}; on the {found.held_out} others it has "
        f"{found.held_out_rank:.2f}"
    )
    other = "" if found.held_out_best == found.method else f"; best there: {found.held_out_best} (p = {found.p:.2f})"
    level = "good" if found.confirmed and found.held_out >= ENOUGH else "care"
    said = "and held-out pictures confirm it" if found.confirmed else "but held-out pictures say otherwise"
    return report.Verdict(level, f"Take {found.method}, {said}.", [("How it was chosen", half + other + ".")])


def _ranking(summary: Summary) -> report.Section:
    blocks: list[report.Block] = [
        report.Table(
            "Mean rank over pictures and metrics; 1 is best",
            ["method", "mean rank"],
            [[name, f"{rank:.2f}"] for name, rank in summary.ranks.items()],
            numbers=[1],
            basis=f"rests on {summary.pictures} pictures",
        )
    ]
    for metric in summary.metrics:
        standings = summary.standings[metric.label]
        direction = {"higher": "higher is better", "lower": "lower is better"}.get(metric.better or "", "")
        rows = [[one.method + (" (chance)" if one.chance else ""), *_figures(one)] for one in standings]
        blocks.append(
            report.Table(
                f"{metric.title}: {direction}" if direction else metric.title,
                ["method", "mean", "95 % interval", "as good as the best? p", "pictures to tell"],
                rows,
                numbers=[1, 2, 3, 4],
                basis=f"rests on {max(one.pictures for one in standings)} pictures",
            )
        )
    beaten = [
        metric.title
        for metric in summary.metrics
        if (own := summary.standings[metric.label]) and metric.better and _beaten_by_chance(own, metric.better)
    ]
    answer = f"{next(iter(summary.ranks), 'No method')} ranks first over all."
    if beaten:
        answer += f" By {', '.join(beaten)} a map that knows nothing of the network does better than all."
    return report.Section("ranking", "Which method is best?", answer, blocks)


def _figures(one: Standing) -> list[str]:
    interval = "one picture: none" if one.interval is None else f"{one.interval.low:.3f} to {one.interval.high:.3f}"
    p = "" if one.p is None else f"{one.p:.3f}" + (" *" if one.p < SURE else "")
    needed = "" if one.p is None else "no difference seen" if one.needed is None else f"{one.needed:,}"
    return [f"{one.mean:.3f}", interval, p, needed]


def _beaten_by_chance(standings: Sequence[Standing], better: str) -> bool:
    sign = -1 if better == "lower" else 1
    own = [sign * one.mean for one in standings if not one.chance]
    chance = [sign * one.mean for one in standings if one.chance]
    return bool(own and chance) and max(chance) > max(own)


def _agreement(summary: Summary) -> report.Section | None:
    labels = list(summary.agreement)
    if len(labels) < 2:
        return None
    titles = {metric.label: metric.title for metric in summary.metrics}
    rows = [[titles[a], *("" if a == b else _two(summary.agreement[a][b]) for b in labels)] for a in labels]
    pairs = [(summary.agreement[a][b], a, b) for i, a in enumerate(labels) for b in labels[:i]]
    pairs = [pair for pair in pairs if not math.isnan(pair[0])]
    answer = "Every method is the same by some of them, so that they give no order to compare."
    if pairs:
        low, a, b = min(pairs)
        answer = f"{titles[a]} and {titles[b]} agree least on the order of the methods (rank correlation {low:.2f})."
    table = report.Table(
        "Rank correlation of the methods' order, each metric turned so that higher is better",
        ["", *(titles[label] for label in labels)],
        rows,
        numbers=range(1, len(labels) + 1),
        basis=f"rests on {len(summary.methods)} methods",
    )
    return report.Section("metrics", "Do the metrics agree?", answer, [table])


def _two(value: float) -> str:
    return "no order" if math.isnan(value) else f"{value:.2f}"


def _cost(summary: Summary) -> report.Section | None:
    if not summary.seconds:
        return None
    rows = [
        [name, f"{summary.seconds[name] * 1000:.0f} ms", f"{rank:.2f}"]
        for name, rank in summary.ranks.items()
        if name in summary.seconds
    ]
    best = next(iter(summary.ranks))
    quicker = [
        n for n in summary.ranks if n in summary.seconds and summary.seconds[n] < summary.seconds.get(best, 0) / 2
    ]
    answer = f"{best} takes {summary.seconds.get(best, 0) * 1000:.0f} ms a picture" + (
        f"; {quicker[0]} takes less than half of it and ranks {summary.ranks[quicker[0]]:.2f}." if quicker else "."
    )
    table = report.Table(
        "Time a picture, and rank", ["method", "time", "mean rank"], rows, [1, 2], "median over pictures"
    )
    return report.Section("cost", "Which is worth its time?", answer, [*_worth(summary), table])


def _worth(summary: Summary) -> list[report.Block]:
    """Time against faithfulness, drawn."""
    points = [
        (name, 1000 * summary.seconds[name], r) for name, r in summary.faithful.items() if name in summary.seconds
    ]
    if len(points) < 2:
        return []
    kept = ", ".join(f"{name} ({cost:.0f} ms, rank {rank:.2f})" for name, cost, rank in worthwhile(points))
    told = f"Joined are the methods that none is both quicker and more faithful than: {kept}."
    svg = frontier("Cost against faithfulness", told, points, "milliseconds a picture", "mean rank, 1 is best")
    return [report.Plot(svg, told, "mean rank over the metrics of faithfulness alone")]


def _disputed(evaluation: Evaluation, summary: Summary) -> report.Section | None:
    if not summary.disputed:
        return None
    bench = evaluation.bench
    pictures = {str(picture.path): picture for picture in evaluation.pictures}
    best = list(summary.ranks)[:MAPS]
    contenders = [contender for label in best for contender in bench.contenders if contender.label == label]
    strips = []
    for path, agreement in summary.disputed[:SHOWN]:
        photo, picture = read(path), pictures[path]
        images, views = prepared(bench.model, [photo], bench.fit)
        drawn = [report.inlined(photo.pil(), Path(path).name)]
        for contender in contenders:
            try:
                found = maps_of(bench.model, contender, images, None if picture.target is None else [picture.target])
            except LimelightError:
                continue
            shown = comparison.drawable(replace(found, photos=[photo], views=views))
            drawn.append(report.inlined(shown.overlay(), f"{contender.label} on {Path(path).name}", contender.label))
        strips.append(report.Strip(f"{Path(path).name}: mean rank correlation {agreement:.2f}", drawn))
    path, agreement = summary.disputed[0]
    answer = f"Most on {Path(path).name}, where their maps' mean rank correlation is {agreement:.2f}."
    return report.Section("disputed", "Where do the methods disagree most?", answer, strips)


def _failures(summary: Summary) -> report.Section:
    rows = [[what, error] for what, error in summary.errors]
    return report.Section("failures", "What could not be measured", "", [report.Table("", ["what", "why"], rows)])
