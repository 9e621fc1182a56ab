"""Places: what the network looks at lies on one side in the pictures of a class, and it goes by that.

Where the map of what was predicted has its middle, from left to right and from top to bottom, is asked of a linear
probe: does the side alone tell the class? Only a shift counts, since how far from the centre a middle lies depends on
how many things there are and how large. Many networks can't go by a place at all, and then it is no fault of theirs
that photographers put things somewhere. So a place is a finding only where moving what is seen to the other side takes
the answer along, beyond a control. Places are a family of their own: they change nothing about what else is found.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from limelight import heatmap
from limelight.errors import LayerError, MethodError, ZeroMapWarning
from limelight.explainer import explain
from limelight.studies.bias.album import Album, Box
from limelight.studies.bias.edits import Pair, pixels
from limelight.studies.bias.effects import Scorer, effect
from limelight.studies.bias.findings import ALPHA, Candidate, Finding, finding, worth
from limelight.studies.bias.probes import shift_probe

FIRST = 160
"""Pictures that are looked at first; the others only where a side told the class in these."""
CELLS, BATCH = 28, 32
REACH = 1 / 8
"""How far a region reaches around the middle of a map, in sides of the picture."""
SIDES = ("left", "right"), ("upper", "lower")
"""By axis: from left to right, from top to bottom."""


@dataclass(frozen=True, eq=False)
class PlaceEdit:
    """What is seen, moved to the other side: the picture mirrored. Control: mirrored and moved back, round the edge."""

    album: Album
    places: np.ndarray
    """(n,) In [0, 1] along the axis, 0.5 where nothing is known."""
    axis: int
    """0: from left to right; 1: from top to bottom."""

    def remove(self, i: int, rng: np.random.Generator) -> Pair:
        """See :meth:`Edit.remove`."""
        mirrored = np.flip(pixels(self.album, i), 1 - self.axis)
        back = round((2 * self.places[i] - 1) * mirrored.shape[1 - self.axis])
        return mirrored.copy(), np.roll(mirrored, back, 1 - self.axis)

    insert = remove


def places(album: Album, score: Scorer, marks: int, seed: int) -> list[Finding]:
    """A finding for each axis along which a place tells a class, and the network goes by it.

    ``marks`` is how many marks were found: where there are any, maps may lie on them, and no place is looked for.
    """
    if marks:
        return []
    numbers = _first(album.labels, seed)
    try:
        seen = middles(album, score, numbers)
        if not worth(_candidates(album, numbers, seen, seed), len(numbers)):
            return []
        seen = middles(album, score, range(len(album)))
    except (LayerError, MethodError):  # a network without a grid has no places
        return []
    kept = worth(_candidates(album, range(len(album)), seen, seed), len(album))
    found = []
    for one, p, interval in kept:
        own = album.labels == one.label
        assert one.edit is not None
        sides = np.flatnonzero(own & one.present), np.flatnonzero(~own & ~one.present)
        used = effect(one.edit, score, one.label, *sides, confidence=1 - ALPHA / len(SIDES), seed=seed)
        if used.interval[0] > 0:
            found.append(finding(album, one, p, interval, used, None))
    return found


def middles(album: Album, score: Scorer, numbers: Sequence[int]) -> np.ndarray:
    """(pictures, 2) The middle of each one's map of what was predicted, in [0, 1] of the photograph; 0.5 without."""
    found = []
    for start in range(0, len(numbers), BATCH):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ZeroMapWarning)
            paths = [album.paths[i] for i in numbers[start : start + BATCH]]
            explanation = explain(score.model, paths, fit=score.fit, progress=False)
        raws = [raw[:, 0].float().cpu() for raw in explanation.raws]
        heat = heatmap.shown(raws, (CELLS, CELLS), how=explanation.fusion).double()
        at = (torch.arange(CELLS, dtype=torch.double) + 0.5) / CELLS
        total = heat.sum((1, 2))
        across = torch.where(total > 0, (heat.sum(1) @ at) / total, 0.5)
        down = torch.where(total > 0, (heat.sum(2) @ at) / total, 0.5)
        for x, y, view in zip(across.tolist(), down.tolist(), explanation.views, strict=True):
            height, width = view.input_size
            on_photo = np.array(view.to_photo(x * width, y * height)) / view.photo_size
            found.append(np.clip(on_photo, 0, 1))
        for photo in explanation.photos:
            photo.release()
    return np.stack(found)


def _candidates(album: Album, numbers: Sequence[int], seen: np.ndarray, seed: int) -> list[Candidate]:
    """One for each axis and class (one class of two, since each says the same of the other)."""
    labels = album.labels[list(numbers)]
    asked = range(len(album.classes)) if len(album.classes) > 2 else (0,)
    found = []
    for axis, names in enumerate(SIDES):
        at = seen[:, axis]
        for label in asked:
            own = labels == label
            result = shift_probe(at, own, seed)
            name = names[int(np.median(at[own]) > np.median(at[~own]))]
            boxes = {i: _box(album, i, *seen[i]) for i in np.flatnonzero(own & (result.score > 0)).tolist()}
            found.append(
                Candidate(
                    "place", f"{name} side", label, result.accuracy, result.p, result.score > 0, labels,
                    PlaceEdit(album, at, axis), boxes if len(seen) == len(album) else {},
                )
            )  # fmt: skip
    return found


def _box(album: Album, i: int, x: float, y: float) -> Box:
    height, width = album.small[i].shape[:2]
    reach = REACH * min(height, width)
    x, y = float(x) * width, float(y) * height
    return max(x - reach, 0), max(y - reach, 0), min(x + reach, width), min(y + reach, height)


def _first(labels: np.ndarray, seed: int) -> list[int]:
    """The pictures to look at first: as many of each class."""
    rng, classes = np.random.default_rng(seed), np.unique(labels)
    each = max(FIRST // len(classes), 8)
    return sorted(int(i) for label in classes for i in rng.permutation(np.flatnonzero(labels == label))[:each])
