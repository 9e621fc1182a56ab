"""docs/evaluation.md lists every metric with what the registry says of it.

``python -m tests.evaluation.test_page`` writes it.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from limelight.evaluation import QUESTIONS, REGISTRY

PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"
TABLE = re.compile(r"(<!-- metrics:.*?-->\n\n)(.*?)(\n\n<!-- /metrics -->)", re.DOTALL)


def table() -> str:
    """A section a question, a row a metric."""
    lines = []
    for question, words in QUESTIONS.items():
        lines += [f"**{words[0].upper()}{words[1:]}**", ""]
        lines += ["| metric | what | better | range | passes | source |", "|---|---|---|---|---|---|"]
        for name, metric in REGISTRY.items():
            if metric.question == question:
                first = (metric.function.__doc__ or "").strip().split("\n\n")[0]
                what = " ".join(first.split()).replace("|", "\\|")
                span = " to ".join(_number(end) for end in metric.range)
                row = [f"`{name}`", what, metric.better or "", span, metric.passes, metric.source]
                lines.append("| " + " | ".join(row) + " |")
        lines.append("")
    return "\n".join(lines).rstrip()


def _number(value: float) -> str:
    return ("-" if value < 0 else "") + "∞" if math.isinf(value) else f"{value:g}"


def test_every_metric_is_on_the_page_as_the_registry_has_it():
    found = TABLE.search(PAGE.read_text())
    assert found
    assert found[2] == table(), "python -m tests.evaluation.test_page writes the table"


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda found: found[1] + table() + found[3], PAGE.read_text()))
