"""A reproduction as a page: the published figures beside what came out, and every difference in set-up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from limelight import report
from limelight.paper.protocol import Figure, Outcome

PAPER = "Selvaraju et al., Grad-CAM, arXiv 1610.02391 (sections as in the journal version, IJCV 128, 2020)"


def page(
    question: str,
    section: str,
    quoted: str,
    facts: Sequence[tuple[str, str]],
    outcome: Outcome,
    differences: Sequence[str],
    errors: Sequence[tuple[str, str]] = (),
    strips: Sequence[report.Strip] = (),
) -> str:
    """The page as HTML; ``strips`` are a few pictures with their maps.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    cases = max((one.cases for one in outcome.figures), default=0)
    few = [("Few pictures", f"{cases}: the intervals say how little that tells.")] if cases < FEW else []
    published = any(one.published is not None for one in outcome.figures)
    return report.html(
        report.Page(
            title=question,
            kicker=f"The Grad-CAM paper, {section}, run again",
            facts=facts,
            verdict=report.Verdict("care" if few else "good", outcome.answer, few),
            sections=[
                report.Section(
                    "figures",
                    "What came out, beside what was published?",
                    "Not the same pictures and not the same network: the figures are not to be equal; the differences "
                    "are listed below."
                    if published
                    else "The paper has no figure for this set-up.",
                    [_table(outcome.figures), *([report.Prose(list(outcome.notes))] if outcome.notes else [])],
                ),
                report.Section(
                    "differences",
                    "What is not as in the paper?",
                    f"{len(differences)} things." if len(differences) > 1 else "One thing.",
                    [report.Prose(list(differences))],
                ),
                *([report.Section("pictures", "What do the maps look like?", LOOK, strips)] if strips else []),
            ],
            appendix=[
                report.Section(
                    "failures",
                    "Pictures that could not be used",
                    "",
                    [report.Table("", ["picture", "why"], [list(pair) for pair in errors])],
                )
            ]
            if errors
            else [],
            colophon=[
                PAPER + "." + (f" The published figures: {quoted[0].lower()}{quoted[1:]}" if quoted else ""),
                "Intervals are 95 %, by bootstrap over pictures.",
            ],
        )
    )


LOOK = "The first pictures, with the maps of the class that is there and that the network holds most likely."
FEW = 100
"""Pictures below which the page says that they are few."""


def _table(figures: Sequence[Figure]) -> report.Table:
    rows = [
        [
            one.what,
            one.of,
            one.said(one.published) or "none",
            one.said(one.found) or "nothing to measure",
            f"{one.said(one.interval.low)} to {one.said(one.interval.high)}" if one.interval else "one picture: none",
            str(one.cases),
        ]
        for one in figures
    ]
    columns = ["figure", "method", "published", "here", "95 % interval", "pictures"]
    return report.Table("", columns, rows, numbers=[2, 3, 4, 5])


def record(question: str, section: str, outcome: Outcome, differences: Sequence[str], **facts: Any) -> dict[str, Any]:
    """JSON-ready."""
    return {
        **facts,
        "question": question,
        "section": section,
        "answer": outcome.answer,
        "figures": [vars(one) | {"interval": one.interval and list(one.interval)} for one in outcome.figures],
        "notes": list(outcome.notes),
        "differences": list(differences),
    }
