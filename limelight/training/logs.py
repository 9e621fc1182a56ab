"""What training says of itself while it goes on. A logger is any callable ``(step, values)``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from limelight.errors import MissingExtra
from limelight.files import write_whole

Logger = Callable[[int, dict[str, Any]], None]
TABLE, LINES = "log.csv", "log.jsonl"


def write(run: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Both log files, whole: what is in them is what the run would go on from."""
    columns = dict.fromkeys(name for row in rows for name in row)
    text = io.StringIO()
    table = csv.DictWriter(text, list(columns), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_whole(run / TABLE, text.getvalue())
    write_whole(run / LINES, "".join(json.dumps(row) + "\n" for row in rows))


def tensorboard(run: Path) -> Logger:
    """A logger that writes ``run/tensorboard``. Raises ``MissingExtra`` without TensorBoard."""
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        raise MissingExtra("tensorboard", "tensorboard", "a log for TensorBoard") from None
    made: list[SummaryWriter] = []

    def log(step: int, values: dict[str, Any]) -> None:
        if not made:  # not before there is something to log: a run's folder must be new
            made.append(SummaryWriter(run / "tensorboard"))
        (writer,) = made
        for name, value in values.items():
            if isinstance(value, (int, float)):
                writer.add_scalar(name, value, step)
        writer.flush()

    return log
