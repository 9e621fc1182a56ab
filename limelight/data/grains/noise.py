"""Smooth random fields over the plane, the stuff that textures are made of.

One lattice of random numbers serves all fields: each takes its own place in it. A field is a function
of plane coordinates, not of pixels, so a picture keeps its texture at any size.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

_CELLS, _FINE = 128, 8  # the lattice's side, and the steps its cells are cut into beforehand


@lru_cache(maxsize=1)
def _lattice() -> np.ndarray:
    """(side, side) float32 of mean 0 and about unit range, smooth, wrapping round at its edges."""
    coarse = np.random.default_rng(0).uniform(-1, 1, (_CELLS, _CELLS)).astype(np.float32)
    wrapped = np.pad(coarse, 2, mode="wrap")
    side = wrapped.shape[0] * _FINE
    fine = np.asarray(Image.fromarray(wrapped).resize((side, side), Image.Resampling.BICUBIC))
    return np.ascontiguousarray(fine[2 * _FINE : -2 * _FINE, 2 * _FINE : -2 * _FINE])


def smooth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A random field in about [-1, 1] that changes over a distance of 1."""
    lattice = _lattice()
    side = lattice.shape[0]
    x, y = x * _FINE, y * _FINE
    column, row = np.floor(x), np.floor(y)
    fx, fy = x - column, y - row
    left, top = column.astype(np.int32) & (side - 1), row.astype(np.int32) & (side - 1)
    top, below = top * side, ((top + 1) & (side - 1)) * side
    right = (left + 1) & (side - 1)
    flat = lattice.ravel()
    upper = flat[top + left] * (1 - fx) + flat[top + right] * fx
    lower = flat[below + left] * (1 - fx) + flat[below + right] * fx
    return upper + (lower - upper) * fy


def fractal(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, cell: float | tuple[float, float], octaves: int = 3
) -> np.ndarray:
    """A random field in about [-1, 1] with detail at ``octaves`` scales, the coarsest ``cell`` wide (across, down)."""
    wide, high = cell if isinstance(cell, tuple) else (cell, cell)
    total, weight = np.zeros_like(x), 1.0
    for _ in range(octaves):
        dx, dy = rng.uniform(0, _CELLS, 2).tolist()
        total += weight * smooth(x / wide + dx, y / high + dy)
        wide, high, weight = wide / 2.1, high / 2.1, weight * 0.55
    return total
