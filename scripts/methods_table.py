"""Write the table of methods in docs/methods.md from the registry: ``python -m scripts.methods_table``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from limelight.methods import REGISTRY, Method

PAGE = Path(__file__).parent.parent / "docs" / "methods.md"
START, END = "<!-- made by scripts/methods_table.py -->", "<!-- end -->"
COLUMNS = ("name", "method", "what it is", "needs", "per class", "found", "signed", "passes", "source")


def table(methods: Iterable[Method]) -> str:
    """A heading and a table for each family, in the registry's order."""
    parts = []
    for family, members in groupby(methods, key=lambda method: method.family):
        rows = [COLUMNS, ["---"] * len(COLUMNS), *map(row, members)]
        parts.append(f"### {family.replace('_', ' ')}\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in rows))
    return "\n\n".join(parts)


def row(method: Method) -> list[str]:
    """One method's cells."""
    facts = [f"`{method.name}`", method.title, summary(method), ", ".join(method.needs)]
    facts += [yes(method.per_target), found(method), yes(method.signed), method.passes, method.source]
    return [facts[0], *(fact.replace("|", "\\|") for fact in facts[1:])]


def yes(fact: bool) -> str:
    """A fact as a word."""
    return "yes" if fact else "no"


def found(method: Method) -> str:
    """The share of its map on the photograph asked about, bold where that makes it discriminative."""
    if method.on_mosaics is None:
        return "–"
    share = f"{method.on_mosaics.share:.2f}".removeprefix("0")
    return f"**{share}**" if method.discriminative else share


def summary(method: Method) -> str:
    """The first paragraph of its docstring, without what has a column of its own."""
    first = " ".join((inspect.getdoc(method.function) or "").partition("\n\n")[0].split())
    first = re.sub(r" \([^()]*(19|20)\d\d[^()]*\)", "", first)
    first = re.sub(r" ?\((eq\.|theorem)[^()]*\)|: see :func:`\w+`| \(see :func:`\w+`\)", "", first)
    return first.replace(" Signed.", "").replace("``", "`")


def updated(page: str) -> str:
    """The page with the table as it should be."""
    before, _, rest = page.partition(START)
    return f"{before}{START}\n\n{table(REGISTRY.values())}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
