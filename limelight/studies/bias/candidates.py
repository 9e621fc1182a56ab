"""Everything that is tried: marks of each class, properties of each class, and what the files tell."""

from __future__ import annotations

from collections.abc import Iterator
from math import comb

import numpy as np

from limelight.studies.bias import metadata
from limelight.studies.bias.album import Album, Box
from limelight.studies.bias.edits import BorderEdit, Edit, GrainEdit, LightEdit, MarkEdit, brightness_gains, cast_gains
from limelight.studies.bias.findings import Candidate
from limelight.studies.bias.marks import REPEATS, TEXTURE, Mark, Search
from limelight.studies.bias.probes import probe
from limelight.studies.bias.properties import Property, measured


def marks(album: Album, seed: int) -> list[Candidate]:
    """One candidate a class: a mark if there is one, otherwise one that counts as tried and failed."""
    search = Search(album, seed)
    found = {label: search.mark(label) for label in range(len(album.classes))}
    textures = [mark for mark in found.values() if mark and mark.repeats >= REPEATS and mark.covered > TEXTURE]
    return [_mark_candidate(album, label, mark, textures) for label, mark in found.items()]


def _mark_candidate(album: Album, label: int, mark: Mark | None, textures: list[Mark]) -> Candidate:
    none = Candidate("mark", "mark", label, 0.5, 1.0, np.zeros(len(album), bool), album.labels, None)
    if mark is None or mark.repeats < REPEATS or mark.covered > TEXTURE:
        return none
    own = album.labels == label
    accuracy = _balanced(mark.honest, own)
    if any(texture.label != label and _balanced(texture.honest, ~own) >= accuracy for texture in textures):
        return none  # chance was judged by pictures that are filled with another class's texture
    p = _hypergeometric(int(mark.honest[own].sum()), int(own.sum()), int(mark.honest.sum()), len(own))
    donors = [i for i in mark.boxes if own[i]]
    edit = MarkEdit(album, mark.boxes, donors)
    return Candidate("mark", "mark", label, accuracy, p, mark.present, album.labels, edit, mark.boxes)


def properties(album: Album, marked: dict[int, Box], seed: int) -> list[Candidate]:
    """A candidate for each property and class (one class of two, since each says the same of the other)."""
    found = []
    for one, features in measured(album, marked).items():
        for label in _asked(album, features, cast=one.name == "colour cast"):
            own = album.labels == label
            result = probe(features, own, seed)
            edit = _edit(album, one, own, result.score)
            found.append(
                Candidate(one.kind, one.name, label, result.accuracy, result.p, result.score > 0, album.labels, edit)
            )
    return found


def files(album: Album, seed: int) -> list[Candidate]:
    """A candidate for each fact of the files that differs, and class."""
    found = []
    for name, features in metadata.columns(album.paths).items():
        for label in _asked(album, features):
            result = probe(features, album.labels == label, seed)
            found.append(
                Candidate(
                    "metadata", f"files' {name}", label, result.accuracy, result.p, result.score > 0, album.labels, None
                )
            )
    return found


def _asked(album: Album, features: np.ndarray, cast: bool = False) -> Iterator[int]:
    """The classes to ask of: all of many; of two the one whose pictures are more alike, or further from grey."""
    if len(album.classes) > 2:
        yield from range(len(album.classes))
        return
    if cast:
        yield int(np.argmax([np.linalg.norm(np.median(features[album.labels == label], 0)) for label in (0, 1)]))
        return
    spread = features.std(0) + 1e-9
    apart = [np.mean(features[album.labels == label].std(0) / spread) for label in (0, 1)]
    yield int(np.argmin(apart))


def _edit(album: Album, one: Property, own: np.ndarray, score: np.ndarray) -> Edit:
    if one.name == "colour cast":
        return LightEdit(album, cast_gains(album, own))
    if one.name == "brightness":
        return LightEdit(album, brightness_gains(album, own))
    if one.kind == "sharpness":
        return GrainEdit(album, 1.2, _softer(album, own))
    bearers, others = np.flatnonzero(own & (score > 0)), np.flatnonzero(~own & (score <= 0))
    return BorderEdit(album, bearers.tolist(), others.tolist(), thin=one.kind == "border")


def _softer(album: Album, own: np.ndarray) -> bool:
    """Whether the pictures of the one kind are less sharp, by the size of their second differences."""
    rough = np.array([np.abs(np.diff(picture.mean(2), 2, axis=1)).mean() for picture in album.small])
    return bool(np.median(rough[own]) < np.median(rough[~own]))


def _balanced(present: np.ndarray, own: np.ndarray) -> float:
    return float((present[own].mean() + 1 - present[~own].mean()) / 2)


def _hypergeometric(hits: int, own: int, present: int, n: int) -> float:
    """How likely at least ``hits`` of the class's ``own`` pictures are among ``present`` drawn of ``n`` (Fisher)."""
    return float(
        sum(comb(own, k) * comb(n - own, present - k) for k in range(hits, min(own, present) + 1)) / comb(n, present)
    )
