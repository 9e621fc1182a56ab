"""What the command line prints: tables of one line a row, and JSON documents."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

UNBOUNDED = 10_000  # columns; rich must be told some number


def document(content: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(content, indent=2))


def note(text: str) -> None:
    """One line on stderr, where it can't be mistaken for a result."""
    click.echo(text, err=True)


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[str] = (), whole: Collection[str] = ()
) -> None:
    """One line a row: at a terminal the widest cells are cut to fit, elsewhere nothing is.

    Args:
        columns: the heads.
        rows: as many cells each.
        numbers: columns that are set to the right and never cut.
        whole: other columns that are never cut.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        right = column in numbers
        grid.add_column(
            Text(column, no_wrap=True), no_wrap=right or column in whole, justify="right" if right else "left"
        )
    for row in rows:
        grid.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in row))
    Console(width=None if sys.stdout.isatty() else UNBOUNDED, highlight=False).print(grid)


def yes(fact: bool) -> str:
    """A cell for a fact that holds or not."""
    return "yes" if fact else ""


def explained(records: Sequence[dict[str, Any]]) -> None:
    """A table of what :meth:`limelight.explanation.Explanation.records` gives, and where the overlays are."""
    targets = [(record, target) for record in records for target in record["targets"]]
    if not targets:
        return
    # Usually the prediction is what is explained: said once, there is room for it in 80 columns.
    asked = any(not _is_prediction(record, target) for record, target in targets)
    several = len({target["method"] for _, target in targets}) > 1
    checked = any("verdict" in target for _, target in targets)
    columns = ["photo", "prediction", *["explained"] * asked, *["method"] * several, "prob.", "peak x, y"]
    columns += [*["verdict"] * checked, "overlay"]
    rows = [_row(record, target, asked, several) for record, target in targets]
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    table(columns, rows, numbers=("prob.", "peak x, y"), whole=("verdict",))
    for folder in dict.fromkeys(str(Path(target["overlay"]).parent) for _, target in targets if target["overlay"]):
        click.echo(f"\nthe overlays are in {folder}/")


def compared(found: dict[str, Any]) -> None:
    """A table of what :func:`limelight.comparison.record` gives, and where the sheet is."""
    nearest = _nearest(found["agreement"]["methods"], found["agreement"]["rank_correlation"])
    click.echo(f"{found['target']['label']} in {_name(found)}\n")
    columns = ["method", "time", "x forward", "cost", "peak x, y", "agrees with"]
    done = [method for method in found["methods"] if method["error"] is None]
    rows = [
        [
            method["title"],
            f"{method['milliseconds']:,.0f} ms",
            f"{method['forwards']:,.1f}",
            method["passes"],
            _peak(method),
            nearest[method["name"]],
        ]
        for method in done
    ]
    table(columns, rows, numbers=("time", "x forward", "peak x, y"))
    for method in found["methods"]:
        for kind in ("error", "warning"):
            if method[kind]:
                note(f"{'not here' if kind == 'error' else kind}: {method['title']}: {method[kind]}")
    if found["sheet"]:
        click.echo(f"\nthe maps, and how much they agree, are in {found['sheet']}")


def ranked(found: dict[str, Any], recommend: bool) -> None:
    """A table of what :meth:`limelight.ranking.summary.Summary.record` gives: methods by mean rank, chance below."""
    metrics = list(found["metrics"])
    means = {label: {one["method"]: one for one in standings} for label, standings in found["metrics"].items()}
    chance = list(dict.fromkeys(m for each in means.values() for m, one in each.items() if one["chance"]))

    def cells(name: str) -> list[str]:
        return [f"{means[label][name]['mean']:.3f}" if name in means[label] else "" for label in metrics]

    rows = [
        [
            name,
            f"{rank:.2f}",
            *cells(name),
            f"{found['seconds'][name] * 1000:,.0f} ms" if name in found["seconds"] else "",
        ]
        for name, rank in found["ranks"].items()
    ]
    rows += [[f"chance: {name}", "", *cells(name), ""] for name in chance]
    table(["method", "mean rank", *metrics, "time"], rows, numbers=("mean rank", *metrics, "time"))
    if found["pictures"] == 1:
        note("one picture: no interval, and no method can be told from another")
    if not recommend:
        return
    chosen = found["recommendation"]
    if chosen is None:
        note("no recommendation: that takes two methods and four pictures at least")
        return
    said = "confirmed by" if chosen["confirmed"] else f"not confirmed by (there {chosen['held_out_best']} is best):"
    click.echo(
        f"\ntake {chosen['method']}: mean rank {chosen['rank']:.2f} on {chosen['chosen_on']} pictures, {said} "
        f"{chosen['held_out']} others, where it has {chosen['held_out_rank']:.2f}"
    )


def troubles(record: dict[str, Any]) -> None:
    """On stderr: why a picture could not be used, what had to be done to it, and which maps are worth nothing."""
    if record["error"]:
        note(f"error: {record['error']}")
    name = _name(record)
    for handled in record["notes"]:
        note(f"note: {name}: {handled}")
    for target in record["targets"]:
        if target["warning"]:
            note(f"warning: {name}: {target['warning']}")


def _row(record: dict[str, Any], target: dict[str, Any], asked: bool, several: bool) -> list[str]:
    predicted = record["predictions"][0]["label"] if record["predictions"] else ""
    probability = "" if target["probability"] is None else f"{target['probability']:.1%}"
    overlay = Path(target["overlay"]).name if target["overlay"] else ""
    chosen = [*[target["label"]] * asked, *[target["method"]] * several]
    checked = [_verdict(target)] if "verdict" in target else []
    return [_name(record), predicted, *chosen, probability, _peak(target), *checked, overlay]


def _verdict(target: dict[str, Any]) -> str:
    return "{label} {support:.2f}".format(**target["verdict"])


def _peak(target: dict[str, Any]) -> str:
    return "none" if target["peak"] is None else "{:.0f}, {:.0f}".format(*target["peak"])


def _nearest(names: Sequence[str], correlations: Sequence[Sequence[float | None]]) -> dict[str, str]:
    """For each method the other whose map is most like its own, with the rank correlation."""
    near = {}
    for name, row in zip(names, correlations, strict=True):
        others = [(r, other) for r, other in zip(row, names, strict=True) if other != name and r is not None]
        near[name] = "{1} {0:.2f}".format(*max(others)) if others else ""
    return near


def _is_prediction(record: dict[str, Any], target: dict[str, Any]) -> bool:
    return bool(record["predictions"]) and record["predictions"][0]["label"] == target["label"]


def _name(record: dict[str, Any]) -> str:
    return Path(record["path"]).name if record["path"] else "image"
