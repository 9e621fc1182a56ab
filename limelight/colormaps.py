"""Colour maps that read the same for everybody: lightness is linear in the value, whatever the hue does.

A map is a curve through OKLab (Ottosson, 2020), where equal distances look about equally large. Lightness climbs in a
straight line, so the order of values survives grey printing and every kind of colour blindness; hue and chroma follow a
Bézier curve through a handful of control points, so there is no kink for the eye to mistake for an edge.
"""

from __future__ import annotations

import functools
from math import comb
from typing import NamedTuple

import numpy as np

from limelight import errors

SIZE = 256
DEFAULT = "limelight"
DEFAULT_DIVERGING = "tide"


class Curve(NamedTuple):
    """A path through OKLab: two lightnesses in [0, 1] and the Bézier control points of the plane ``(a, b)``."""

    start: float
    end: float
    controls: tuple[tuple[float, float], ...]


SEQUENTIAL = {
    # Vivid from the first step on, so that it stands out of grey photographs as well as colourful ones.
    "limelight": Curve(
        0.28, 0.94, ((0.02, -0.15), (0.15, -0.25), (0.31, -0.10), (0.20, 0.17), (0.06, 0.16), (-0.10, 0.19))
    ),
    # From black to the colour of a flame, for bare maps on a dark page.
    "ember": Curve(
        0.15, 0.97, ((0.01, -0.06), (0.09, -0.20), (0.23, -0.06), (0.19, 0.12), (0.045, 0.175), (-0.03, 0.11))
    ),
    # Violet, blue, green: for readers who expect red to mean danger.
    "lagoon": Curve(0.26, 0.93, ((0.06, -0.13), (0.02, -0.14), (-0.10, -0.08), (-0.16, 0.07), (-0.09, 0.19))),
    # Blue to yellow only, which red-green colour blindness leaves as it is.
    "harbour": Curve(0.26, 0.92, ((-0.01, -0.10), (-0.01, -0.12), (0.0, 0.02), (-0.01, 0.06), (-0.03, 0.165))),
}

# Each pair: the arm of the negative values and the arm of the positive ones, both from the pale middle outwards.
DIVERGING = {
    "tide": (
        Curve(0.96, 0.45, ((0.0, 0.0), (-0.06, -0.09), (-0.06, -0.18), (-0.02, -0.18))),
        Curve(0.96, 0.45, ((0.0, 0.0), (0.08, 0.15), (0.20, 0.15), (0.15, 0.09))),
    ),
}

NAMES = (*SEQUENTIAL, *DIVERGING)

_LAB_TO_CONE = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_CONE_TO_LINEAR_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


@functools.cache
def colormap(name: str) -> np.ndarray:
    """The 256 colours of a map, from the lowest value to the highest.

    Args:
        name: one of `NAMES`, or any colour map of matplotlib's when that is installed ("viridis", "jet").

    Returns:
        ``(256, 3)`` uint8 sRGB, read-only.

    Raises:
        InputError: no such colour map.
    """
    if name in SEQUENTIAL:
        colours = _colours(SEQUENTIAL[name], np.linspace(0, 1, SIZE))
    elif name in DIVERGING:
        below, above = DIVERGING[name]
        outwards = np.linspace(-1, 1, SIZE)[SIZE // 2 :]
        colours = np.concatenate([_colours(below, outwards)[::-1], _colours(above, outwards)])
    else:
        colours = _from_matplotlib(name)
    colours.setflags(write=False)
    return colours


def _colours(curve: Curve, at: np.ndarray) -> np.ndarray:
    """``(n, 3)`` uint8 sRGB at ``n`` places in [0, 1] along the curve."""
    lightness = curve.start + (curve.end - curve.start) * at
    lab = np.column_stack([lightness, _bezier(np.array(curve.controls), at)])
    linear = np.clip((lab @ _LAB_TO_CONE.T) ** 3 @ _CONE_TO_LINEAR_RGB.T, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(encoded * 255).astype(np.uint8)


def _bezier(controls: np.ndarray, at: np.ndarray) -> np.ndarray:
    """``(n, 2)`` points of the Bézier curve with these ``(k, 2)`` control points."""
    degree = len(controls) - 1
    weights = [comb(degree, i) * at**i * (1 - at) ** (degree - i) for i in range(degree + 1)]
    return np.column_stack(weights) @ controls


def _from_matplotlib(name: str) -> np.ndarray:
    try:
        import matplotlib
    except ImportError:
        known, more = NAMES, "matplotlib's too with pip install 'limelight[plot]'"
    else:
        known, more = (*NAMES, *matplotlib.colormaps), "or any of matplotlib's"
        if name in known:
            return matplotlib.colormaps[name](np.linspace(0, 1, SIZE), bytes=True)[:, :3]
    raise errors.InputError(
        f"There is no colour map {name!r}.{errors.closest(name, known)} Known: {', '.join(NAMES)}; {more}."
    )
