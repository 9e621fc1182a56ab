"""Results as Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple


class Spread(NamedTuple):
    """A median and the quartiles around it."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of some values; of one value, no spread."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, _, high = quantiles(values, n=4, method="inclusive")
        return cls(low, median(values), high)

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


def markdown(title: str, rows: Mapping[str, Mapping[str, Spread]]) -> str:
    """A table of ratios: a row a network, a column a contender, and the median over the networks that have it last."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    overall = {name: median(row[name].median for row in rows.values() if name in row) for name in names}
    lines = [
        f"| {title} | " + " | ".join(names) + " |",
        "|---|" + "--:|" * len(names),
        *(
            f"| {network} | " + " | ".join(str(row.get(name, "-")) for name in names) + " |"
            for network, row in rows.items()
        ),
        "| **median** | " + " | ".join(f"**{overall[name]:.2f}**" for name in names) + " |",
    ]
    return "\n".join(lines)


def write(path: Path, document: dict[str, Any]) -> None:
    """Write a document as JSON, spreads as ``[low, median, high]``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")
