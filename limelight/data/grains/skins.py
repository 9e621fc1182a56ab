"""What things are made of: the colour of each place on them, and how much of the table shines through.

A skin takes a thing and its surface and gives its albedo, (h, w, 3) linear light, and its opacity, (h, w) or a
number, both in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from limelight.data.grains import noise, shapes
from limelight.data.grains.shapes import Surface
from limelight.data.grains.things import Thing

Skin = tuple[np.ndarray, np.ndarray | float]


def _plain(thing: Thing, like: np.ndarray) -> np.ndarray:
    return np.broadcast_to(np.array(thing.colour, np.float32), (*like.shape, 3))


def _mix(albedo: np.ndarray, colour: tuple[float, float, float] | np.ndarray, share: np.ndarray) -> np.ndarray:
    return albedo + (np.asarray(colour, np.float32) - albedo) * share[..., None]


def _field(thing: Thing, s: np.ndarray, t: np.ndarray, across: float, down: float, place: float = 0.0) -> np.ndarray:
    lot = thing.lot + place
    return noise.smooth(s * across + lot, t * down + lot * 0.37)


def _bump(x: np.ndarray) -> np.ndarray:
    return np.exp(-x * x)


def rice(thing: Thing, surface: Surface) -> Skin:
    """Half-transparent, streaked lengthwise; often a chalky belly, and the darker nick where the germ was."""
    s, t = surface.along, surface.across
    streaks = 1 + 0.13 * _field(thing, s, t, 1.2, 5)
    albedo = _plain(thing, s) * streaks[..., None]
    if thing.pattern == "chalky":
        belly = _bump((t - 0.35 * thing.roll) / 0.5) * _bump(s / 0.65)
        albedo = albedo * (0.9 + 0.4 * belly[..., None])
    if thing.pattern == "streaked":
        bran = np.clip(_field(thing, s, t, 1.0, 2.6, 3.0) * 3 - 0.9, 0, 1)
        albedo = _mix(albedo, thing.second, bran * 0.8)
    nick = _bump((s - 0.86) / 0.13) * _bump((t - 0.55) / 0.5)
    albedo = albedo * (1 - 0.3 * nick[..., None])
    clear = thing.bleed * math.sqrt(sum(thing.colour) / 3)  # bran lets no light through
    rim = np.clip(s * s + t * t, 0, 1)
    return np.clip(albedo, 0, 1), 1 - clear * (0.12 + 0.5 * rim)


def beans(thing: Thing, surface: Surface) -> Skin:
    """Smooth and opaque, with a coloured pattern, and the eye (hilum) on the hollow side."""
    s, t = surface.along, surface.across
    albedo = _plain(thing, s) * (1 + 0.06 * _field(thing, s, t, 1.5, 1.5))[..., None]
    if thing.pattern == "speckled":
        spots = np.clip(_field(thing, s, t, 4.5, 3.0) * 5 - 1.1, 0, 1)
        albedo = _mix(albedo, thing.second, spots * 0.85)
    elif thing.pattern == "mottled":
        patches = np.clip(_field(thing, s, t, 2.4, 1.1) * 5 - 0.4, 0, 1)
        albedo = _mix(albedo, thing.second, patches * 0.9)
    hollow = math.copysign(0.85 + 0.3 * thing.roll, thing.bend)
    eye = np.hypot(s / 0.17, (t - hollow) / 0.13)
    if thing.pattern == "eyed":
        albedo = _mix(albedo, (0.015, 0.012, 0.012), np.clip((2.4 - eye) * 3, 0, 1))
    bright = sum(thing.colour) / 3 > 0.35
    ring, scar = ((0.25, 0.13, 0.06), (0.6, 0.48, 0.33)) if bright else ((0.02, 0.012, 0.01), (0.6, 0.52, 0.42))
    albedo = _mix(albedo, ring, 0.6 * np.clip((1.35 - eye) * 4, 0, 1))
    albedo = _mix(albedo, scar, np.clip((1 - eye) * 4, 0, 1))
    return np.clip(albedo, 0, 1), 1.0


def stone(thing: Thing, surface: Surface) -> Skin:
    """Grainy, sometimes veined."""
    s, t = surface.along, surface.across
    grain = 1 + 0.2 * _field(thing, s, t, 6, 6) + 0.15 * _field(thing, s, t, 2, 2, 9.0)
    albedo = _plain(thing, s) * grain[..., None]
    vein = _bump(_field(thing, s, t, 0.9, 0.9, 5.0) / 0.06)
    return np.clip(_mix(albedo, thing.second, 0.3 * vein), 0, 1), 1.0


def leaf(thing: Thing, surface: Surface) -> Skin:
    """Paler along its ribs, blotched with age."""
    s, t = surface.along, surface.across
    albedo = _plain(thing, s) * (1 + 0.22 * _field(thing, s, t, 2.5, 1.5))[..., None]
    midrib = _bump(t / 0.07)
    side = _bump(np.sin((np.abs(t) * 1.2 - s * 4) * np.pi) / 0.18)
    pale = np.clip(np.array(thing.colour, np.float32) * 1.9 + 0.05, 0, 1)
    return np.clip(_mix(albedo, pale, np.maximum(midrib, 0.4 * side) * 0.7), 0, 1), 1.0


def paper(thing: Thing, surface: Surface) -> Skin:
    """White to tinted; ruled with lines or printed with rows of words."""
    s, t = surface.along, surface.across
    albedo = _plain(thing, s) * (1 + 0.03 * _field(thing, s, t, 20, 20))[..., None]
    row = t * 9
    in_row = np.abs(row - np.round(row))
    if thing.pattern == "ruled":
        albedo = _mix(albedo, thing.second, 0.6 * _bump(in_row / 0.07))
    elif thing.pattern == "printed":
        word = _field(thing, s * 14, np.round(row) * 5.3, 1, 1) > -0.15
        letter = _field(thing, s * 60, row * 3, 1, 1, 2.0) > -0.2
        ink = (word & letter & (in_row < 0.27) & (np.abs(s) < 0.85)).astype(np.float32)
        albedo = _mix(albedo, thing.second, ink * 0.75)
    return np.clip(albedo, 0, 1), 1.0


def metal(thing: Thing, surface: Surface) -> Skin:
    """Worn, with the room mirrored in it as lighter and darker parts."""
    nx, ny, _ = surface.normal
    room = 0.85 + 0.9 * noise.smooth(nx * 2 + thing.lot, ny * 2)
    worn = 1 + 0.1 * _field(thing, surface.along, surface.across, 3, 3)
    return np.clip(_plain(thing, worn) * (np.clip(room, 0.25, 1.5) * worn)[..., None], 0, 1), 1.0


def wooden(thing: Thing, surface: Surface) -> Skin:
    """Fibres along the length, darker in places."""
    s, t = surface.along, surface.across
    fibres = 1 + 0.2 * _field(thing, s, t, thing.aspect * 0.3, 3) + 0.12 * _field(thing, s, t, 4, 1, 4.0)
    return np.clip(_plain(thing, s) * fibres[..., None], 0, 1), 1.0


def plastic(thing: Thing, surface: Surface) -> Skin:
    """One even colour."""
    return _plain(thing, surface.along), 1.0


def _spoon(thing: Thing, surface: Surface) -> Skin:
    return metal(thing, surface) if thing.pattern == "steel" else wooden(thing, surface)


Shape = Callable[[Thing, np.ndarray, np.ndarray], Surface]
LOOKS: dict[str, tuple[Shape, Callable[[Thing, Surface], Skin]]] = {
    "rice": (shapes.solid, rice),
    "beans": (shapes.solid, beans),
    "pebble": (shapes.solid, stone),
    "crumb": (shapes.solid, stone),
    "leaf": (shapes.blade, leaf),
    "scrap": (shapes.sheet, paper),
    "coin": (shapes.disc, metal),
    "button": (shapes.disc, plastic),
    "twig": (shapes.rod, wooden),
    "spoon": (shapes.spoon, _spoon),
}
"""Each kind of thing: its shape and its skin."""
