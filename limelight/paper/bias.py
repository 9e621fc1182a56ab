"""Bias (section 6.3): a network that goes by something else than was meant, found by its maps, and trained again.

The paper's pictures (doctors and nurses, from an image search) were never published. The same is asked of any pictures
of two classes or more: what they teach beside the object, whether the network goes by it, and whether it does better on
the same test pictures when trained without.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from limelight.paper.protocol import Figure, Outcome
from limelight.statistics import Interval
from limelight.studies.study import study

NAME, QUESTION, SECTION = "bias", "Do the maps give away a biased data set, and does mending it help?", "section 6.3"
QUOTED = "As quoted; the paper itself was not at hand."
PUBLISHED = (0.82, 0.90)
"""Test accuracy of the biased network and of the one trained on balanced pictures."""
DIFFERENCES = (
    "The paper's pictures are 250 of each of two professions from an image search, its network VGG-16; here they are "
    "the ones given, and the network is whatever was trained, by default a frozen body with a new head.",
    "The paper's authors saw the bias in the maps; here it is searched for, and taken away, by a program.",
    "The paper adds pictures until the classes are balanced; here each picture has a counterpart with the finding "
    "edited out of it, or into it.",
)


def bias(source: str | Path, out: Path, seed: int, device: Any, say: Callable[[str], None]) -> Outcome:
    """Study a run, or a folder to train on first, and say what the audit found and what the remedy did.

    Raises:
        LimelightError: no such run or folder, or pictures that are gone.
    """
    facts = study(source, out, remedy=True, seed=seed, device=device, say=say).facts
    return outcome(facts)


def outcome(facts: dict[str, Any]) -> Outcome:
    """What a study's numbers (``study.json``) come to."""
    remedy, findings = facts["remedy"], facts["findings"]
    before = remedy["before"] if remedy else facts["good"]
    figures = [_accuracy("Test accuracy, as it was trained", before, PUBLISHED[0])]
    if remedy:
        figures.append(_accuracy("Test accuracy, trained without it", remedy["after"], PUBLISHED[1]))
    notes = [finding["sentence"] for finding in findings]
    if remedy:
        change = 100 * (remedy["after"]["accuracy"] - remedy["before"]["accuracy"])
        answer = (
            f"The network goes by the {remedy['finding']}; trained without it, it is {change:+.1f} points as accurate."
        )
    elif findings:
        answer = f"The pictures teach the {findings[0]['name']} besides, and nothing was taken away: see below."
    else:
        answer = "Nothing was found that the pictures teach beside the object, so there was nothing to take away."
    return Outcome(answer, figures, notes)


def _accuracy(what: str, report: dict[str, Any], published: float) -> Figure:
    return Figure(what, "", report["accuracy"], Interval(*report["interval"]), report["pictures"], published)
