"""From candidates to findings: what counts as one, in what order, and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from limelight.report.page import percent
from limelight.statistics import holm, wilson
from limelight.studies.bias.album import Album, Box
from limelight.studies.bias.edits import Edit
from limelight.studies.bias.effects import Effect
from limelight.studies.words import moves

ALPHA = 0.05
"""How often an unbiased data set may give a finding, over all candidates together."""
MARGIN = 0.05
"""How far above guessing the interval of a candidate's own accuracy must lie."""
SAME = 0.03
"""A candidate that tells so little more than another that explains it is no finding of its own."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """Something that may tell a class without being its object.

    kind, name: as in a finding; ``name`` in words. label: the class's number. accuracy: balanced, on pictures it was
    not chosen on. p: how likely by chance. present: (n,) bool, which pictures have it. labels: (n,) their classes.
    boxes: where. edit: how to take it out and put it in; None for what a network can't see.
    """

    kind: str
    name: str
    label: int
    accuracy: float
    p: float
    present: np.ndarray
    labels: np.ndarray
    edit: Edit | None
    boxes: dict[int, Box] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Finding:
    """A bias of the data set, and whether the network uses it.

    Args:
        kind: "mark", "place", "background", "tint", "sharpness", "border", "metadata" or "concept".
        label: the class it goes with.
        accuracy_alone: how often it alone tells that class from the others (balanced accuracy, 0.5 is guessing).
        interval: of that, corrected for the number of candidates tried.
        used: what the network makes of it; see :class:`limelight.studies.bias.effects.Effect`.
        sentence: all this in words.
        regions: {"path", "box"} for each picture that bears it, in pixels of the file; empty without a place.
        name: what it is, in words: "colour cast", "file's width".
        cases: pictures that the accuracy rests on.
        p: corrected for the number of candidates (Holm).
        outside: with masks, the share of the regions that lies outside the object; None without.
        candidate: for :func:`limelight.studies.bias.remedy.remedied`.
    """

    kind: str
    label: str
    accuracy_alone: float
    interval: tuple[float, float]
    used: Effect
    sentence: str
    regions: tuple[dict[str, object], ...]
    name: str
    cases: int
    p: float
    outside: float | None
    candidate: Candidate = field(repr=False)

    def as_dict(self) -> dict[str, object]:
        """For JSON, with the keys of the study's ``findings``."""
        return {
            "kind": self.kind,
            "class": self.label,
            "accuracy_alone": self.accuracy_alone,
            "interval": list(self.interval),
            "used": self.used.as_dict(),
            "sentence": self.sentence,
            "regions": list(self.regions),
            "name": self.name,
            "cases": self.cases,
            "p": self.p,
            "outside": self.outside,
        }


def worth(candidates: Sequence[Candidate], n: int) -> list[tuple[Candidate, float, tuple[float, float]]]:
    """The candidates that hold, with corrected p and interval, after those that another explains have gone."""
    corrected = holm([one.p for one in candidates])
    kept = []
    for one, p in zip(candidates, corrected, strict=True):
        low, high = wilson(round(one.accuracy * n), n, confidence=1 - ALPHA / len(candidates))
        if p < ALPHA and low > 0.5 + MARGIN:
            kept.append((one, p, (low, high)))
    return [entry for entry in kept if not any(_explained(entry[0], other[0]) for other in kept)]


_EXPLAINS = {
    # a background's colours and its grain show in what is measured of the whole picture, and in a thin strip
    "background colour": {"colour cast", "brightness", "sharpness", "noise", "background texture", "frame"},
    "background texture": {"sharpness", "noise", "frame", "brightness"},
    "sharpness": {"background texture", "noise"},
    "noise": {"background texture", "sharpness"},
    "colour cast": {"background colour", "brightness", "frame"},
    "brightness": {"noise", "background texture", "frame"},
    "frame": {"background colour", "background texture", "brightness", "colour cast", "sharpness", "noise"},
}


def _explained(one: Candidate, other: Candidate) -> bool:
    """Whether ``other``, which is as strong or stronger, leaves nothing of ``one``."""
    if one is other:
        return False
    if other.kind == one.kind == "metadata":
        return (other.accuracy, other.name) > (one.accuracy, one.name)
    if one.name not in _EXPLAINS.get(other.name, ()):
        return False
    if other.name in _EXPLAINS.get(one.name, ()):  # each might explain the other: the stronger does
        return (other.accuracy, other.name) > (one.accuracy, one.name)
    return other.accuracy > one.accuracy - SAME


def finding(
    album: Album,
    candidate: Candidate,
    p: float,
    interval: tuple[float, float],
    used: Effect,
    outside: float | None,
) -> Finding:
    """State a candidate as a finding."""
    label = album.classes[candidate.label]
    regions = tuple(
        {"path": str(album.paths[i]), "box": album.in_file(i, box)} for i, box in sorted(candidate.boxes.items())
    )
    return Finding(
        candidate.kind,
        label,
        candidate.accuracy,
        interval,
        used,
        _sentence(album, candidate, used),
        regions,
        candidate.name,
        len(album),
        p,
        outside,
        candidate,
    )


def ranked(findings: Sequence[Finding]) -> list[Finding]:
    """Strongest first: those the network uses before those it does not, then by what they tell alone."""
    return sorted(findings, key=lambda one: (one.used.interval[0] <= 0, -one.accuracy_alone))


def _sentence(album: Album, one: Candidate, used: Effect) -> str:
    label = album.classes[one.label]
    own = album.labels == one.label
    others = " or ".join(name for name in album.classes if name != label) if len(album.classes) < 4 else "other classes"
    if one.kind == "place":
        said = f"What the network looks at lies nearer the {one.name} in the pictures of {label} than of {others}"
    elif one.kind == "mark":
        said = (
            f"Nearly the same patch is found in {percent(one.present[own].mean())} of the pictures of {label} and in "
            f"{percent(one.present[~own].mean())} of those of {others}"
        )
    else:
        said = f"The {one.name} of the pictures differs between {label} and {others}"
    said += f": by this alone {percent(one.accuracy)} could be told right, where guessing gets 50%. "
    return said + _use(one, label, used)


def _moved(label: str, used: Effect) -> str:
    ways = (used.removed, -1, "what lies there is moved to the other side"), (used.inserted, 1, "it is moved there")
    detail = " and ".join(f"{moves(sign * by)} when {how}" for by, sign, how in ways if by is not None)
    return f"The network uses it: its probability of {label} {detail} (beyond a control that is moved back)."


def _use(one: Candidate, label: str, used: Effect) -> str:
    if one.edit is None:
        return "The network is shown the picture only, so it can't use this directly."
    if one.kind == "place":
        return _moved(label, used)
    away, into = ("painted over", "pasted in") if one.kind == "mark" else ("taken out", "put in")
    parts = []
    if used.removed is not None:
        parts.append(f"{moves(-used.removed)} when it is {away}")
    if used.inserted is not None:
        parts.append(f"{moves(used.inserted)} when it is {into} elsewhere")
    detail = " and ".join(parts)
    if used.interval[0] > 0:
        return f"The network uses it: its probability of {label} {detail} (beyond a control of the same size)."
    return f"The network was not seen to use it: its probability of {label} {detail}, which may be chance."
