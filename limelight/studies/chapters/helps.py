"""Does removing the bias help?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from limelight.report import Bar, Bars, Block, Note, Prose, Section
from limelight.report.page import percent
from limelight.studies.chapters import biased
from limelight.studies.removing import Remedy
from limelight.studies.words import count, pictures


def section(remedy: Remedy | None, findings: Sequence[Mapping[str, Any]] | None, why_not: str = "") -> Section:
    """Both networks on the same test pictures, or why there is only one."""
    question = "Does removing the bias help?"
    if remedy is None:
        blocks: list[Block] = [Note(why_not)] if why_not else []
        return Section("helps", question, answer(remedy, findings), blocks)
    told = (
        f"The network was trained once more, on the same pictures and {count(remedy.added, 'counterpart')}: each has "
        f"the {remedy.finding} the other way round, taken out of where it was and put in where it was not, so that it "
        "says nothing of the class any more. Both were tested on the same pictures, which neither learnt from."
    )
    bars = [
        Bar(name, report["accuracy"], pictures(report["pictures"]), (report["interval"][0], report["interval"][1]))
        for name, report in (("as it was", remedy.before), ("without the bias", remedy.after))
    ]
    note = (
        "Where the test pictures hold the same bias, a network that goes by it looks better on them than it is: what "
        "counts is a test where the bias says nothing."
    )
    return Section(
        "helps",
        question,
        answer(remedy, findings),
        [Prose([told]), Bars("Accuracy on the test pictures", bars), Note(note)],
    )


def answer(remedy: Remedy | None, findings: Sequence[Mapping[str, Any]] | None) -> str:
    """In one sentence."""
    if remedy is None:
        if any(biased.used(finding) for finding in findings or ()):
            return "Not tried."
        return "There was nothing to remove: no bias was found that the network goes by."
    before, after = remedy.before["accuracy"], remedy.after["accuracy"]
    verb = "Yes" if after > before else "Not on these pictures" if after < before else "It makes no difference here"
    return (
        f"{verb}: trained without the {remedy.finding} it is right on {percent(after)} instead of {percent(before)} of "
        f"{count(remedy.after['pictures'], 'test picture')}."
    )
