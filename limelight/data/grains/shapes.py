"""The shapes of things, as implicit surfaces seen from above.

A shape takes a thing and coordinates in the thing's own frame (u along it, v across, in table units) and gives its
``Surface`` there: the signed distance to its outline and the way it faces. Distances are exact enough near the
outline to anti-alias it and to lay soft shadows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from limelight.data.grains import noise
from limelight.data.grains.things import Thing

Normal = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Surface:
    """What a shape is at (h, w) places: all arrays are (h, w) float32.

    ``distance`` to the outline in table units, negative inside; ``normal`` the unit vector (x, y, z up) in the
    thing's frame; ``along`` and ``across`` the place on the thing, -1 to 1 from end to end and from side to side.
    """

    distance: np.ndarray
    normal: Normal
    along: np.ndarray
    across: np.ndarray

    def turned(self, angle: float) -> Surface:
        """The same with its normals turned from the thing's frame to the table's."""
        cos, sin = math.cos(angle), math.sin(angle)
        nx, ny, nz = self.normal
        return Surface(self.distance, (nx * cos - ny * sin, nx * sin + ny * cos, nz), self.along, self.across)


def _unit(nx: np.ndarray, ny: np.ndarray, nz: np.ndarray) -> Normal:
    length = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9
    return nx / length, ny / length, nz / length


def solid(thing: Thing, u: np.ndarray, v: np.ndarray) -> Surface:
    """A rounded body: an ellipsoid that may be blunt, bent (a kidney), tapered (a seed) and lumpy (a stone).

    The outline is |s|^p + t^2 = 1 with s = u/a and t = (v/b - bend bow(s)) / (1 + taper s); the bow is a parabola in
    the middle that straightens towards the ends, where a parabola would shear them to a point.
    """
    a, b = thing.length / 2, thing.length / thing.aspect / 2
    s = u / a
    width = np.clip(1 + thing.taper * s, 0.25, None)
    bow, bow_slope = s * s / (1 + s * s) - 0.25, 2 * s / (1 + s * s) ** 2
    t = (v / b - thing.bend * bow) / width
    p = thing.blunt
    ends = np.abs(s)
    rise = ends ** (p - 1)
    level = rise * ends + t * t
    if thing.lumps:
        lump = noise.smooth(s * 1.3 + thing.lot, t * 1.3 + 7 * thing.lot)
        level = level * np.clip(1 + thing.lumps * lump, 0.4, None)
    slope_t = 2 * t / (width * b)
    slope_s = p * rise * np.sign(s) / a - slope_t * thing.bend * bow_slope * b / a
    radius = np.sqrt(level)
    steep = np.hypot(slope_s, slope_t) / (2 * radius + 1e-6) + 0.3 / a
    height = np.sqrt(np.clip(1 - level, 0, 1))
    normal = _unit(slope_s, slope_t, 2 * height / (b * thing.thickness))
    return Surface((radius - 1) / steep, normal, s, t)


def blade(thing: Thing, u: np.ndarray, v: np.ndarray) -> Surface:
    """A leaf: pointed at both ends, curved, raised at the ribs."""
    a, b = thing.length / 2, thing.length / thing.aspect / 2
    s = u / a
    offset = v - thing.bend * b * (s * s - 0.35)
    half = b * np.clip(1 - s * s, 0, 1) ** 0.8 * (1 - thing.taper * s)
    across = offset / (half + 0.02 * b)
    rib = np.sin((np.abs(across) * 1.2 - s * 4) * 2 * np.pi)
    side = np.sign(offset) * 0.25 + across * 0.25
    distance = np.maximum(np.abs(offset) - half, np.abs(u) - a) * 0.9
    return Surface(distance, _unit(rib * 0.12, side, np.ones_like(u)), s, across)


def disc(thing: Thing, u: np.ndarray, v: np.ndarray) -> Surface:
    """A coin or a button: flat with a raised rim; ``lumps`` of 1 drills the button's four holes."""
    a = thing.length / 2
    radius = np.hypot(u, v) / a
    distance = (radius - 1) * a
    tip = np.exp(-(((radius - 0.97) / 0.05) ** 2)) - np.exp(-(((radius - 0.84) / 0.04) ** 2))
    if thing.lumps:
        hole = np.hypot(np.abs(u) - 0.22 * a, np.abs(v) - 0.22 * a) - 0.11 * a
        distance = np.maximum(distance, -hole)
    else:  # a head in relief, as on a coin
        face = noise.smooth(u / (0.3 * a) + thing.lot, v / (0.3 * a))
        tip = tip + np.where(radius < 0.75, 0.6 * face, 0)
    around = np.arctan2(v, u)
    normal = _unit(np.cos(around) * tip, np.sin(around) * tip, np.ones_like(u))
    return Surface(distance, normal, u / a, v / a)


def sheet(thing: Thing, u: np.ndarray, v: np.ndarray) -> Surface:
    """A torn scrap of paper: nearly straight edges, slightly curled."""
    a, b = thing.length / 2, thing.length / thing.aspect / 2
    lot = thing.lot
    torn = 0.05 * a * noise.smooth(u * 4 / a + lot, v * 4 / a)
    skew = v + thing.bend * u * 0.3
    distance = np.maximum(np.abs(u) - a, np.abs(skew) - b) + torn
    curl = 0.12 * noise.smooth(u / a + lot, v / a - lot)
    normal = _unit(curl, curl * 0.6, np.ones_like(u))
    return Surface(distance, normal, u / a, v / b)


def rod(thing: Thing, u: np.ndarray, v: np.ndarray) -> Surface:
    """A twig or a match: a long, slightly crooked round bar."""
    a, b = thing.length / 2, thing.length / thing.aspect / 2
    s = u / a
    crooked = thing.bend * b * noise.smooth(s * 1.5 + thing.lot, np.zeros_like(s))
    across = (v - crooked) / b
    distance = np.maximum(np.abs(across) * b - b, np.abs(u) - a)
    round_ = np.sqrt(np.clip(1 - across * across, 0, 1))
    return Surface(distance, _unit(np.zeros_like(u), across, round_ + 0.15), s, across)


def spoon(thing: Thing, u: np.ndarray, v: np.ndarray) -> Surface:
    """A hollow bowl at one end and a handle that widens to the other."""
    a = thing.length / 2
    bowl_a, bowl_b = 0.36 * a, 0.24 * a
    bu, bv = (u - a + bowl_a) / bowl_a, v / bowl_b
    radius = np.hypot(bu, bv)
    bowl = (radius - 1) * bowl_b
    half = 0.05 * a * (1 - 0.7 * u / a)
    handle = np.maximum(np.abs(v) - half, np.maximum(u - 0.45 * a, -a - u))
    inside = np.clip(radius, 0, 1) ** 2
    hollow = np.where(radius < 1, -0.9 * inside * (1 - 1.6 * np.clip(radius - 0.85, 0, 1)), 0)
    on_bowl = bowl < handle
    nx = np.where(on_bowl, hollow * bu, 0)
    ny = np.where(on_bowl, hollow * bv, 0.7 * v / (half + 1e-6))
    return Surface(np.minimum(bowl, handle), _unit(nx, ny, np.ones_like(u)), u / a, v / bowl_b)
