"""Table tops: wood, cloth, marble, paint, paper, tile and stone.

A table top takes table coordinates and a generator, and gives its albedo, (h, w, 3) linear light in [0, 1], and its
relief, (h, w) heights in picture widths, which the lamp rakes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from limelight.data.grains import colours, noise

Top = tuple[np.ndarray, np.ndarray]
TableTop = Callable[[np.ndarray, np.ndarray, np.random.Generator], Top]


def _turn(x: np.ndarray, y: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    cos, sin = math.cos(angle), math.sin(angle)
    return x * cos + y * sin, y * cos - x * sin


def _mix(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    return first + (second - first) * np.clip(share, 0, 1)[..., None]


def _tint(rng: np.random.Generator, low: float = 0.15, high: float = 0.95, saturation: float = 0.5) -> np.ndarray:
    """Any colour of a painted or dyed thing, the muted ones more often."""
    return colours.hue(rng.random(), saturation * rng.random() ** 1.5, rng.uniform(low, high))


def wood(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Top:
    """Boards: fibres, year rings cut lengthwise, seams between the boards; pale birch to dark walnut."""
    tone = [(222, 190, 146), (196, 148, 96), (160, 108, 66), (120, 76, 46), (84, 56, 40), (176, 160, 142)]
    base = colours.light(*tone[rng.integers(len(tone))]) * rng.uniform(0.8, 1.15)
    dark = base * np.array([0.55, 0.48, 0.42], np.float32)
    u, v = _turn(x, y, rng.choice([0, np.pi / 2]) + rng.normal(0, 0.15))
    board_width = rng.uniform(0.28, 0.9)
    place = v / board_width + rng.random()
    seam = np.abs(place - np.round(place)) * board_width
    shift = np.floor(place) * 13.7
    warp = noise.fractal(rng, u + shift, v + shift, (1.1, 0.35), 3)
    rings = np.sin((v * rng.uniform(6, 16) + warp * rng.uniform(0.5, 1.3) + shift) * 6)
    fibres = noise.fractal(rng, u + shift, v, (0.35, 0.012), 2)
    pores = noise.smooth(u * 9 + shift, v * 260)
    share = 0.28 + 0.22 * rings + 0.22 * fibres + 0.18 * np.clip(pores * 2 - 0.5, 0, 1) + 0.1 * np.sin(shift)
    edge = np.exp(-((seam / 0.004) ** 2))
    albedo = _mix(base, dark, share) * (1 - 0.75 * edge)[..., None]
    return albedo, 0.0012 * fibres - 0.004 * edge


def _bands(axis: np.ndarray, period: float, level: float) -> np.ndarray:
    """0 and 1 in turns along an axis; the higher the ``level`` in (-1, 1), the narrower the ones."""
    return (np.sin(axis * (2 * np.pi / period)) > level).astype(np.float32)


def _weave(u: np.ndarray, v: np.ndarray, pitch: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Plain weave with threads ``pitch`` apart: the height, and where the warp lies on top (0 to 1)."""
    wobble = noise.fractal(rng, u, v, 0.12, 2) * pitch * 0.35
    warp, weft = (u + wobble) * (np.pi / pitch), (v - wobble) * (np.pi / pitch)
    over = np.sin(warp) * np.sin(weft)
    height = np.abs(np.cos(warp)) * np.abs(np.cos(weft)) + np.abs(over)
    return height, 0.5 + 0.5 * over


def cloth(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Top:
    """Linen or cotton: plain, striped or checked, with folds."""
    u, v = _turn(x, y, rng.uniform(0, np.pi))
    first, second = _tint(rng, 0.3), _tint(rng, 0.1)
    height, warp_up = _weave(u, v, rng.uniform(0.006, 0.016), rng)
    stripe = rng.uniform(0.06, 0.25)
    band_u, band_v = (_bands(axis, stripe, rng.uniform(-0.3, 0.7)) for axis in (u, v))
    design = rng.choice(["plain", "striped", "checked"], p=[0.6, 0.2, 0.2])
    share = {"plain": 0.25 * warp_up, "striped": band_u, "checked": (band_u + band_v) / 2}[str(design)]
    slub = noise.fractal(rng, u, v, (0.4, 0.008), 1) + noise.fractal(rng, u, v, (0.008, 0.4), 1)
    folds = noise.fractal(rng, x, y, (0.5, 0.25), 2)
    albedo = _mix(first, second, share) * (0.72 + 0.2 * height + 0.08 * slub)[..., None]
    return albedo, 0.0018 * height + rng.uniform(0, 0.035) * folds


def marble(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Top:
    """Clouded stone with veins, white or dark."""
    pale = rng.random() < 0.7
    base = colours.hue(rng.random(), rng.uniform(0, 0.08), rng.uniform(0.8, 0.95) if pale else rng.uniform(0.12, 0.35))
    vein = colours.hue(rng.random(), rng.uniform(0, 0.15), rng.uniform(0.35, 0.6) if pale else rng.uniform(0.6, 0.9))
    u, v = _turn(x, y, rng.uniform(0, np.pi))
    bend_u, bend_v = noise.fractal(rng, u, v, 0.4, 4), noise.fractal(rng, u, v, 0.4, 4)
    u, v = u + 0.22 * bend_u, v + 0.22 * bend_v
    broad = np.exp(-np.abs(noise.fractal(rng, u, v, (0.9, 0.45), 2)) * rng.uniform(9, 18))
    fine = np.exp(-np.abs(noise.fractal(rng, u, v, (0.4, 0.2), 2)) * rng.uniform(25, 50))
    clouds = 0.18 * bend_u
    return _mix(base, vein, 0.12 + clouds + 0.55 * broad + 0.4 * fine), np.zeros_like(x)


def paint(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Top:
    """A plain painted or plastic top, faintly uneven, with scratches."""
    uneven = noise.fractal(rng, x, y, 0.7, 2)
    u, v = _turn(x, y, rng.uniform(0, np.pi))
    scratch = np.clip(noise.fractal(rng, u, v, (0.6, 0.006), 1) - 0.72, 0, 1) * rng.uniform(0, 1.5)
    peel = noise.fractal(rng, x, y, 0.012, 2)
    albedo = _tint(rng) * (1 + 0.04 * uneven)[..., None]
    return np.clip(albedo + scratch[..., None] * 0.3, 0, 1), 0.0004 * peel


def paper(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Top:
    """Wrapping, sugar or drawing paper: fibres, creases, sometimes squared."""
    base = _tint(rng, 0.4, 0.97, 0.4) if rng.random() < 0.6 else colours.light(188, 150, 108)
    fibre = noise.fractal(rng, x, y, (0.02, 0.006), 2) + noise.fractal(rng, x, y, (0.006, 0.02), 2)
    creases = np.abs(noise.fractal(rng, x, y, 0.6, 2))
    albedo = base * (1 + 0.07 * fibre)[..., None]
    if rng.random() < 0.25:
        pitch = rng.uniform(0.05, 0.12)
        u, v = _turn(x, y, rng.uniform(0, np.pi))
        nearest = np.minimum(np.abs(u / pitch - np.round(u / pitch)), np.abs(v / pitch - np.round(v / pitch))) * pitch
        albedo = _mix(albedo, colours.light(110, 140, 180), 0.6 * np.exp(-((nearest / 0.0025) ** 2)))
    relief = rng.uniform(0.004, 0.03) * creases + 0.0003 * fibre
    return np.clip(albedo, 0, 1), relief


def tile(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Top:
    """Glazed or stone tiles with grout between them, each a little different."""
    u, v = _turn(x, y, rng.uniform(0, np.pi / 2))
    side = rng.uniform(0.22, 0.7)
    column, row = np.floor(u / side), np.floor(v / side)
    inside = np.minimum(0.5 - np.abs(u / side - column - 0.5), 0.5 - np.abs(v / side - row - 0.5)) * side
    joint = np.clip((inside - 0.006) / 0.005, 0, 1)
    each = noise.smooth(column * 5.3 + 40, row * 7.1 + 70)
    glaze = noise.fractal(rng, x + each, y, 0.25, 4)
    albedo = _tint(rng, 0.25, 0.95, 0.5) * (1 + 0.08 * each + rng.uniform(0.03, 0.18) * glaze)[..., None]
    grout = colours.hue(0.1, 0.1, rng.uniform(0.3, 0.8)) * (1 + 0.15 * noise.fractal(rng, x, y, 0.01, 1))[..., None]
    return np.clip(_mix(grout, albedo, joint), 0, 1), 0.006 * joint + 0.0008 * glaze


def stone(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Top:
    """Granite, slate or concrete: speckled or cloudy, rough."""
    base = colours.hue(rng.uniform(0, 0.7), rng.uniform(0, 0.18), rng.uniform(0.2, 0.8))
    clouds = noise.fractal(rng, x, y, 0.5, 4)
    coarse = rng.uniform(0.012, 0.03)
    dark = np.clip(noise.fractal(rng, x, y, coarse, 2) * 4 - rng.uniform(0.6, 2.5), 0, 1)
    light = np.clip(noise.fractal(rng, x, y, coarse, 2) * 4 - rng.uniform(0.6, 2.5), 0, 1)
    rough = noise.fractal(rng, x, y, 0.02, 3)
    albedo = base * (1 + 0.14 * clouds + 0.08 * rough)[..., None]
    albedo = _mix(_mix(albedo, base * 0.25, dark * 0.7), base * 1.7, light * 0.6)
    return np.clip(albedo, 0, 1), rng.uniform(0.0002, 0.0025) * rough


def checked_blue(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Top:
    """The same blue and white kitchen cloth every time, laid at another angle: the planted background."""
    u, v = _turn(x, y, rng.uniform(0, np.pi))
    height, _ = _weave(u, v, 0.01, rng)
    checks = (_bands(u, 0.16, 0) + _bands(v, 0.16, 0)) / 2
    albedo = _mix(colours.light(236, 236, 230), colours.light(38, 78, 150), checks)
    return albedo * (0.75 + 0.2 * height)[..., None], 0.0018 * height


TABLES: dict[str, TableTop] = {top.__name__: top for top in (wood, cloth, marble, paint, paper, tile, stone)}
"""The table tops that pictures choose from."""
