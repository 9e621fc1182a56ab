"""Colours: between screen and light, and the families that rice and beans share.

Both kinds draw from the same families with the same odds, so that no count of colours tells them apart.
"""

from __future__ import annotations

import colorsys

import numpy as np

_GAMMA = 2.2

# family -> (screen colour, odds)
_FAMILIES = {
    "white": ((233, 230, 219), 0.36),
    "cream": ((226, 210, 174), 0.19),
    "tan": ((202, 168, 118), 0.12),
    "brown": ((142, 96, 60), 0.13),
    "red": ((124, 40, 28), 0.12),
    "black": ((38, 30, 34), 0.12),
}
FAMILIES = tuple(_FAMILIES)
_ODDS = np.array([odds for _, odds in _FAMILIES.values()])


def to_light(screen: np.ndarray) -> np.ndarray:
    """Screen values in [0, 1] -> linear light."""
    return np.power(np.clip(screen, 0, 1), np.float32(_GAMMA))


def to_screen(light: np.ndarray) -> np.ndarray:
    """Linear light -> screen values in [0, 1]; brighter than white is clipped."""
    return np.power(np.clip(light, 0, 1), np.float32(1 / _GAMMA))


def light(red: float, green: float, blue: float) -> np.ndarray:
    """(3,) linear light of a screen colour in 0 to 255."""
    return to_light(np.array([red, green, blue], np.float32) / 255)


def hue(hue: float, saturation: float, value: float) -> np.ndarray:
    """(3,) linear light of a colour by hue (turns), saturation and value in [0, 1]."""
    return light(*(255 * channel for channel in colorsys.hsv_to_rgb(hue % 1, saturation, value)))


def families(rng: np.random.Generator, most: int) -> list[str]:
    """One to ``most`` different families, by their odds."""
    count = min(most, 1 + int(rng.random() < 0.3) + int(rng.random() < 0.12))
    return [str(name) for name in rng.choice(FAMILIES, count, replace=False, p=_ODDS / _ODDS.sum())]


def shade_of(rng: np.random.Generator, family: str, spread: float = 1.0) -> np.ndarray:
    """(3,) linear light: one member of a family, a little lighter, darker, warmer or cooler."""
    screen = np.array(_FAMILIES[family][0], np.float32) / 255
    screen = screen * (1 + rng.normal(0, 0.07 * spread)) + rng.normal(0, 0.012 * spread, 3)
    return to_light(screen.astype(np.float32))
