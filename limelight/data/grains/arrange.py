"""How a handful falls: where grains come to lie on the picture."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Points = np.ndarray
"""(count, 2) places in picture coordinates, x to the right and y downwards, in picture widths from the centre."""

_EDGE = 0.54  # grains may hang over the picture's edge


def scattered(rng: np.random.Generator, count: int, spacing: float) -> Points:
    """Strewn evenly, most of them clear of each other."""
    places = rng.uniform(-_EDGE, _EDGE, (count, 2))
    tries = rng.uniform(-_EDGE, _EDGE, (count, 6, 2))
    for i in range(1, count):
        gaps = ((tries[i, :, None] - places[:i]) ** 2).sum(2).min(1)
        places[i] = tries[i, np.argmax(np.minimum(gaps, spacing**2))]  # the first that is clear, or the clearest
    return places


def heap(rng: np.random.Generator, count: int, spacing: float) -> Points:
    """One heap, thinning out around it."""
    middle = rng.uniform(-0.22, 0.22, 2)
    wide = np.clip(spacing * math.sqrt(count) * rng.uniform(0.35, 0.65), 0.09, 0.3)
    return middle + rng.normal(0, wide, (count, 2)) * rng.uniform(0.75, 1.25, 2)


def heaps(rng: np.random.Generator, count: int, spacing: float) -> Points:
    """Two or three heaps."""
    middles = rng.uniform(-0.36, 0.36, (int(rng.integers(2, 4)), 2))
    wide = np.clip(spacing * math.sqrt(count) * rng.uniform(0.22, 0.4), 0.07, 0.2)
    return middles[rng.integers(len(middles), size=count)] + rng.normal(0, wide, (count, 2))


def spill(rng: np.random.Generator, count: int, spacing: float) -> Points:
    """Spilt from one side: thick there and thin on the other."""
    turn = rng.uniform(0, 2 * math.pi)
    far = rng.exponential(0.32, count) - 0.5
    aside = rng.uniform(-0.6, 0.6, count)
    return np.stack([far * math.cos(turn) - aside * math.sin(turn), far * math.sin(turn) + aside * math.cos(turn)], 1)


def trail(rng: np.random.Generator, count: int, spacing: float) -> Points:
    """A crooked trail across the picture."""
    turn, along = rng.uniform(0, math.pi), rng.uniform(-0.65, 0.65, count)
    aside = rng.uniform(-0.2, 0.2) + 0.12 * np.sin(along * 6 + rng.uniform(0, 6)) + rng.normal(0, 0.09, count)
    return np.stack(
        [along * math.cos(turn) - aside * math.sin(turn), along * math.sin(turn) + aside * math.cos(turn)], 1
    )


def bulk(rng: np.random.Generator, count: int, spacing: float) -> Points:
    """Poured out: they lie on each other everywhere."""
    return rng.uniform(-_EDGE, _EDGE, (count, 2))


ARRANGEMENTS: dict[str, tuple[Callable[[np.random.Generator, int, float], Points], float]] = {
    "scattered": (scattered, 0.42),
    "heap": (heap, 0.2),
    "heaps": (heaps, 0.1),
    "spill": (spill, 0.1),
    "trail": (trail, 0.08),
    "bulk": (bulk, 0.1),
}
"""Each arrangement: a function of (generator, count, wanted distance) that gives the places, and its odds."""
