"""Why a network fails: its mistakes by where it looked, and how often it is wrong when it looks there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from limelight.statistics import wilson
from limelight.studies.looks import CELLS, PREDICTED, Looks, share

SPREAD = 0.2
"""A ninth of the picture holds at least this share of a map that is said to be somewhere; an even map has 0.11."""
EVERYWHERE, NOWHERE = "all over the picture", "nowhere in particular: its map is empty"
_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "middle", "right")


@dataclass(frozen=True)
class Place:
    """The pictures at which the network looked at one place.

    Attributes:
        name: where, in words: "the top left corner".
        numbers: the pictures.
        wrong: those of them where it was wrong, the surest first.
    """

    name: str
    numbers: tuple[int, ...]
    wrong: tuple[int, ...]

    @property
    def rate(self) -> float:
        """How often it is wrong."""
        return len(self.wrong) / len(self.numbers)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's, of that rate."""
        return wilson(len(self.wrong), len(self.numbers))

    def as_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "place": self.name,
            "pictures": len(self.numbers),
            "wrong": [names[i] for i in self.wrong],
            "rate": self.rate,
            "interval": list(self.interval),
        }


def places(looks: Looks) -> list[Place]:
    """The pictures by where the network looked for what it predicted; most mistakes first."""
    sample = looks.sample
    named = where(looks.maps(PREDICTED).double().numpy())
    found = []
    for name in dict.fromkeys(named):
        numbers = [i for i, other in enumerate(named) if other == name]
        wrong = sorted((i for i in numbers if not sample.right[i]), key=lambda i: -sample.confidence[i])
        found.append(Place(name, tuple(numbers), tuple(wrong)))
    return sorted(found, key=lambda place: (-len(place.wrong), -len(place.numbers), place.name))


def where(maps: np.ndarray) -> list[str]:
    """Where each map ``(maps, CELLS, CELLS)`` has the most, in words: a ninth of the picture, or all over it."""
    total = maps.sum(axis=(1, 2))
    edges = np.round(np.linspace(0, CELLS, 4)).astype(int)
    parts = np.stack(
        [
            maps[:, edges[row] : edges[row + 1], edges[column] : edges[column + 1]].sum(axis=(1, 2))
            for row in range(3)
            for column in range(3)
        ],
        axis=1,
    )
    best = parts.argmax(axis=1)
    named = []
    for whole, ninths, at in zip(total, parts, best, strict=True):
        if whole <= 0:
            named.append(NOWHERE)
        elif ninths[at] < SPREAD * whole:
            named.append(EVERYWHERE)
        else:
            named.append(_named(*divmod(int(at), 3)))
    return named


def object_share(looks: Looks) -> np.ndarray:
    """``(pictures,)`` The share of the predicted class's map on the object; NaN where that is not known."""
    if looks.on_object is None:
        return np.full(len(looks.sample), np.nan)
    return share(looks.maps(PREDICTED), looks.on_object)


def _named(row: int, column: int) -> str:
    if row == column == 1:
        return "the middle"
    if row == 1 or column == 1:
        side = _COLUMNS[column] if row == 1 else _ROWS[row]
        return f"the {side} edge" if side in ("top", "bottom") else f"the {side} side"
    return f"the {_ROWS[row]} {_COLUMNS[column]} corner"
