"""The verdict: what a reader who reads nothing else should know, and do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from limelight.report import Level, Verdict
from limelight.report.page import percent
from limelight.studies.adversarial import PGD, Robustness
from limelight.studies.chapters import biased, good, looked
from limelight.studies.gaze import CORNERS, OBJECT, Gaze
from limelight.studies.words import count, listed

ENOUGH = 0.9
"""The lower end of the accuracy's interval from which it is called good."""
DENSER = 1.25
"""How many times as much of the maps as its size explains lies at a place that it is said to look at."""
FEW = 100
"""Test pictures below which the figures themselves are to be taken with care."""


def verdict(
    report: Mapping[str, Any],
    gaze: Gaze,
    found: Robustness | None,
    findings: Sequence[Mapping[str, Any]] | None,
) -> Verdict:
    """Judge by the rules below, which are the same for every study.

    "bad": no better than always naming the commonest class, or it goes by something that is not the object. "care":
    accuracy not surely above 90 %, few test pictures, the same pictures in training and test, maps that lie beside
    the object or in the corners, or a bias in the pictures that it does not go by. "good" otherwise.
    """
    guess = _guess(report)
    low = report["interval"][0]
    biases = [finding for finding in findings or () if biased.used(finding)]
    doubts = list(_doubts(report, gaze, findings))
    level: Level = "bad" if low <= guess or biases else "care" if doubts else "good"
    return Verdict(
        level,
        _headline(report, guess, biases, doubts, gaze),
        [
            ("How good is it?", _good(report, guess)),
            ("What does it look at?", looked.answer(gaze)),
            ("Can I trust it?", _trust(level, biases, doubts, found)),
            ("What should I do?", _do(report, guess, biases, doubts, findings)),
        ],
    )


def _guess(report: Mapping[str, Any]) -> float:
    """The accuracy of always naming the commonest class."""
    return max(each["pictures"] for each in report["classes"].values()) / report["pictures"]


def _doubts(
    report: Mapping[str, Any], gaze: Gaze, findings: Sequence[Mapping[str, Any]] | None
) -> Sequence[tuple[str, str]]:
    """Each as what is doubtful, and what to do about it."""
    doubts = []
    if report["interval"][0] < ENOUGH:
        doubts.append(
            (f"on others it may be right on only {percent(report['interval'][0])}", "look at its mistakes (3)")
        )
    if findings and not any(biased.used(finding) for finding in findings):
        doubts.append(("the pictures hold a bias, though it was not seen to go by it", "mend the pictures (5)"))
    if good.copies(report):
        doubts.append(("some test pictures were also learnt from", "take the copies out (1)"))
    on_object, corners = gaze.share(OBJECT), gaze.share(CORNERS)
    if on_object is not None and on_object.times < DENSER:
        doubts.append(("it looks beside the object as readily as at it", "see what it looks at (2)"))
    if corners is not None and corners.times > DENSER:
        doubts.append(("it looks at the corners more than their size explains", "see what is there (2)"))
    if report["pictures"] < FEW:
        doubts.append((f"only {count(report['pictures'], 'picture was', 'pictures were')} tested", "test it on more"))
    return doubts


def _headline(
    report: Mapping[str, Any],
    guess: float,
    biases: Sequence[Mapping[str, Any]],
    doubts: Sequence[tuple[str, str]],
    gaze: Gaze,
) -> str:
    accuracy = percent(report["accuracy"])
    if report["interval"][0] <= guess:
        return f"It is right on {accuracy} of the test pictures, which is no better than guessing."
    if biases:
        return f"It is right on {accuracy} of the test pictures, but not only for the right reasons."
    if doubts:
        return f"It is right on {accuracy} of the test pictures; {doubts[0][0]}."
    on_object = gaze.share(OBJECT)
    if on_object is not None and looked.mostly(on_object):
        return f"It is right on {accuracy} of the test pictures, and it looks at the object."
    return f"It is right on {accuracy} of the test pictures, and nothing speaks against its reasons."


def _good(report: Mapping[str, Any], guess: float) -> str:
    low, high = report["interval"]
    tested = count(report["pictures"], "test picture")
    return (
        f"Right on {percent(report['accuracy'])} of {tested}; between {percent(low)} and {percent(high)} on others "
        f"like these. Always naming the commonest class gets {percent(guess)}."
    )


def _trust(
    level: Level, biases: Sequence[Mapping[str, Any]], doubts: Sequence[tuple[str, str]], found: Robustness | None
) -> str:
    if biases:
        told = f"No: {biased.answer(biases)[5:]}"
    elif level == "bad":
        told = "No: it has not learnt to tell them apart."
    elif doubts:
        told = f"With care: {listed([doubt for doubt, _ in doubts])}."
    else:
        told = "For pictures like these, yes: nothing that was looked for speaks against it."
    if found is None:
        return told
    attack = min((one for one in found.attacks if one.kind == PGD), key=lambda one: one.strength)
    turned = f"turned {int(attack.flipped.sum())} of {len(attack.flipped)} predictions"
    if attack.flipped.mean() < 0.5:
        return f"{told} Deliberate changes too small to see {turned}."
    return f"{told} Not against anybody who means to fool it: changes too small to see {turned}."


def _do(
    report: Mapping[str, Any],
    guess: float,
    biases: Sequence[Mapping[str, Any]],
    doubts: Sequence[tuple[str, str]],
    findings: Sequence[Mapping[str, Any]] | None,
) -> str:
    if report["interval"][0] <= guess:
        return "Train it longer, on more pictures or from better weights, and look at the labels first."
    if biases:
        return "Take what it goes by out of the pictures, or balance it between the classes, and train again (5 and 6)."
    if doubts:
        return f"Before you rely on it: {listed([what for _, what in doubts])}."
    seen = "" if findings is None else "No bias was found. "
    return f"{seen}Use it for pictures of the same kind, and study it again when the pictures change."
