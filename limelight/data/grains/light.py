"""The lamp over the table: where it stands, its colour, and what it makes of a surface."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from limelight.data.grains import noise
from limelight.data.grains.shapes import Surface


@dataclass(frozen=True)
class Light:
    """A lamp in the direction ``towards`` (unit vector; z is up) and what the room reflects from all sides.

    ``ambient`` in [0, 1] is the room's part of the light that falls on the table, ``colour`` the lamp's tint,
    ``softness`` how wide its shadows fade in units of a thing's height, ``exposure`` the camera's. ``falloff`` is how
    much darker it gets a picture's width further from the lamp, ``blinds`` how much light the bars of a window's
    blinds take away; ``seed`` lays the bars.
    """

    towards: tuple[float, float, float]
    ambient: float
    colour: tuple[float, float, float]
    softness: float
    exposure: float
    falloff: float
    blinds: float
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Light:
        """Daylight to lamp light, hard to soft, from a low sun to overhead."""
        height, around = math.radians(rng.uniform(28, 72)), rng.uniform(0, 2 * np.pi)
        warmth, green = rng.normal(0, 0.06), rng.normal(0, 0.012)
        return cls(
            towards=(math.cos(height) * math.cos(around), math.cos(height) * math.sin(around), math.sin(height)),
            ambient=rng.uniform(0.25, 0.65),
            colour=(1 + warmth, 1 + green, 1 - warmth),
            softness=rng.uniform(0.15, 1.2),
            exposure=math.exp(rng.normal(0, 0.16)),
            falloff=rng.uniform(0, 0.5),
            blinds=rng.uniform(0.2, 0.5) if rng.random() < 0.2 else 0.0,
            seed=int(rng.integers(2**31)),
        )

    @property
    def lamp(self) -> float:
        """The lamp's strength, such that a level white table comes out white."""
        return (1 - self.ambient) / self.towards[2]

    def over_table(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(h, w) factor on all light at table coordinates: it falls off from the lamp, and blinds may hang in it."""
        rng = np.random.default_rng(self.seed)
        towards = self.towards[0] * x + self.towards[1] * y
        level = 1 + self.falloff * np.clip(towards, -0.9, 0.9)
        if self.blinds:
            around, width = rng.uniform(0, np.pi), rng.uniform(0.25, 0.8)
            across = (x * math.cos(around) + y * math.sin(around)) / width
            wobble = noise.fractal(rng, x, y, 0.6, 2) * rng.uniform(0, 0.3)
            bars = np.sin(2 * np.pi * (across + wobble + rng.random())) * rng.uniform(1.2, 4)
            level = level * (1 - self.blinds * (0.5 + 0.5 * np.tanh(bars)))
        return level

    def on(self, surface: Surface, albedo: np.ndarray, gloss: float, polish: float, bleed: float = 0.0) -> np.ndarray:
        """(h, w, 3) light that a surface sends to the camera above it.

        ``gloss`` is the highlight's strength and ``polish`` its sharpness (10 waxy, 100 glassy); ``bleed`` in [0, 1]
        lets light creep round into the shade, as it does in what it half passes through.
        """
        nx, ny, nz = surface.normal
        lx, ly, lz = self.towards
        facing = nx * lx + ny * ly + nz * lz
        lambert = np.clip((facing + bleed) / (1 + bleed), 0, None)
        room = self.ambient * (0.55 + 0.45 * nz)
        mirror = (nx * lx + ny * ly + nz * (lz + 1)) / math.hypot(lx, ly, lz + 1)
        shine = gloss * self.lamp * np.clip(mirror, 0, 1) ** polish
        diffuse = room + self.lamp * lambert
        return albedo * diffuse[..., None] + shine[..., None]
