"""What can lie on the table: grains of rice, beans, and the clutter that lies beside both.

A ``Thing`` is only numbers: where it lies, how large it is, what it is made of. Its shape and skin are functions
of those, so a picture's plan can be kept, altered and drawn again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from limelight.data.grains import colours

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Thing:
    """One thing on the table; lengths in picture widths, angles in radians, colours in linear light.

    ``x, y`` is its centre on the table, ``length`` its full length and ``aspect`` length over width; ``thickness`` is
    its height over its width. ``bend``, ``taper``, ``blunt`` and ``lumps`` mould the shape, ``roll`` in [-1, 1] turns
    it about its length, and ``lot`` is a number of its own that makes its irregularities differ from its neighbours'.
    """

    kind: str
    length: float
    aspect: float = 1.0
    colour: Colour = (0.5, 0.5, 0.5)
    second: Colour = (0.5, 0.5, 0.5)
    pattern: str = "plain"
    thickness: float = 0.8
    bend: float = 0.0
    taper: float = 0.0
    blunt: float = 2.0
    lumps: float = 0.0
    roll: float = 0.0
    gloss: float = 0.0
    polish: float = 20.0
    bleed: float = 0.0
    lot: float = 0.0
    x: float = 0.0
    y: float = 0.0
    angle: float = 0.0

    @property
    def reach(self) -> float:
        """Radius of a circle about the centre that holds the whole thing, in picture widths."""
        width = self.length / self.aspect
        corners = 0.25 * self.length if self.kind == "scrap" else 0.0  # the only one that isn't rounded off
        return (0.56 + 0.35 * self.lumps) * self.length + corners + 0.35 * abs(self.bend) * width

    @property
    def height(self) -> float:
        """How far its middle stands above the table, in picture widths."""
        return self.length / self.aspect * self.thickness * 0.5


Sampler = Callable[[np.random.Generator], Thing]


def _colour(light: np.ndarray) -> Colour:
    return float(light[0]), float(light[1]), float(light[2])


def _lot(rng: np.random.Generator) -> float:
    return rng.uniform(0, 100)


def rice(rng: np.random.Generator, length: float, families: list[str]) -> Sampler:
    """One bag of rice about ``length`` long: the sampler of its grains.

    Short-grained risotto rice to long-grained basmati, milled white to whole black; some bags hold broken grains.
    """
    aspect = rng.uniform(2.6, 4.4)
    bend = abs(rng.normal(0, 0.16))
    milled = rng.random() < 0.6
    pattern = str(rng.choice(["plain", "chalky", "streaked"], p=[0.4, 0.4, 0.2]))
    second = _colour(colours.shade_of(rng, colours.families(rng, 1)[0]))
    broken = rng.uniform(0, 0.15) if rng.random() < 0.4 else 0.0
    gloss, bleed = rng.uniform(0.08, 0.3), rng.uniform(0.3, 0.7) if milled else rng.uniform(0.1, 0.3)

    def grain(rng: np.random.Generator) -> Thing:
        whole = rng.random() >= broken
        part = 1.0 if whole else rng.uniform(0.6, 0.8)
        return Thing(
            kind="rice",
            length=length * part * math.exp(rng.normal(0, 0.06)),
            aspect=aspect * part * math.exp(rng.normal(0, 0.05)),
            colour=_colour(colours.shade_of(rng, families[rng.integers(len(families))])),
            second=second,
            pattern=pattern,
            thickness=0.85,
            bend=bend * float(rng.choice([-1, 1])),
            taper=rng.uniform(-0.15, 0.15),
            blunt=rng.uniform(2.2, 2.8) if whole else rng.uniform(4.0, 6.0),
            roll=rng.uniform(-1, 1),
            gloss=gloss,
            polish=rng.uniform(12, 30),
            bleed=bleed,
            lot=_lot(rng),
        )

    return grain


def beans(rng: np.random.Generator, length: float, families: list[str]) -> Sampler:
    """One bag of beans about ``length`` long: the sampler of its beans.

    Round navy beans to long kidneys, plain, speckled like pintos, mottled like borlotti, or black-eyed.
    """
    aspect = rng.uniform(1.35, 1.9)
    bend = rng.uniform(0.35, 1.05) * min(1, (aspect - 0.95) / 0.7)  # round beans are hardly bent
    pattern = str(rng.choice(["plain", "speckled", "mottled", "eyed"], p=[0.6, 0.16, 0.14, 0.1]))
    second = _colour(colours.shade_of(rng, colours.families(rng, 1)[0]))
    gloss, polish = rng.uniform(0.08, 0.5), math.exp(rng.uniform(math.log(12), math.log(90)))

    def bean(rng: np.random.Generator) -> Thing:
        return Thing(
            kind="beans",
            length=length * math.exp(rng.normal(0, 0.07)),
            aspect=aspect * math.exp(rng.normal(0, 0.05)),
            colour=_colour(colours.shade_of(rng, families[rng.integers(len(families))])),
            second=second,
            pattern=pattern,
            thickness=rng.uniform(0.65, 0.85),
            bend=bend * rng.uniform(0.7, 1.15) * float(rng.choice([-1, 1])),
            taper=rng.uniform(-0.12, 0.12),
            blunt=rng.uniform(2.0, 2.4),
            roll=rng.uniform(-1, 1),
            gloss=gloss,
            polish=polish,
            bleed=0.05,
            lot=_lot(rng),
        )

    return bean


GRAINS: dict[str, Callable[[np.random.Generator, float, list[str]], Sampler]] = {"rice": rice, "beans": beans}


def pebble(rng: np.random.Generator) -> Thing:
    """A small stone, as often in a grain's colours as in a stone's."""
    family = colours.families(rng, 1)[0]
    grey = colours.hue(rng.random(), rng.uniform(0, 0.15), rng.uniform(0.25, 0.8))
    return Thing(
        kind="pebble",
        length=rng.uniform(0.04, 0.16),
        aspect=rng.uniform(1.0, 1.5),
        colour=_colour(colours.shade_of(rng, family) if rng.random() < 0.5 else grey),
        second=_colour(colours.hue(rng.random(), 0.1, rng.uniform(0.1, 0.9))),
        blunt=2.3,
        lumps=rng.uniform(0.2, 0.5),
        thickness=0.6,
        gloss=rng.uniform(0, 0.12),
        lot=_lot(rng),
    )


def crumb(rng: np.random.Generator) -> Thing:
    """A crumb of bread or a chip of husk."""
    return Thing(
        kind="crumb",
        length=rng.uniform(0.008, 0.028),
        aspect=rng.uniform(1, 1.8),
        colour=_colour(colours.shade_of(rng, colours.families(rng, 1)[0], 2.0)),
        lumps=0.7,
        thickness=0.7,
        lot=_lot(rng),
    )


def leaf(rng: np.random.Generator) -> Thing:
    """A bay leaf, green to dry."""
    hue = rng.uniform(0.07, 0.33)
    return Thing(
        kind="leaf",
        length=rng.uniform(0.18, 0.5),
        aspect=rng.uniform(2.0, 3.4),
        colour=_colour(colours.hue(hue, rng.uniform(0.35, 0.7), rng.uniform(0.3, 0.65))),
        bend=rng.uniform(-0.5, 0.5),
        taper=rng.uniform(-0.25, 0.25),
        thickness=0.08,
        gloss=rng.uniform(0, 0.1),
        lot=_lot(rng),
    )


def scrap(rng: np.random.Generator) -> Thing:
    """A torn scrap of paper, blank, ruled or printed."""
    return Thing(
        kind="scrap",
        length=rng.uniform(0.15, 0.45),
        aspect=rng.uniform(1, 2),
        colour=_colour(colours.hue(rng.random(), rng.uniform(0, 0.35) ** 2, rng.uniform(0.7, 0.97))),
        second=_colour(colours.hue(rng.random(), rng.uniform(0, 0.7), rng.uniform(0.1, 0.5))),
        pattern=str(rng.choice(["plain", "ruled", "printed"])),
        bend=rng.uniform(-0.6, 0.6),
        thickness=0.06,
        lot=_lot(rng),
    )


def coin(rng: np.random.Generator) -> Thing:
    """A copper, brass or nickel coin."""
    metal = [(184, 115, 70), (200, 170, 95), (178, 178, 176)][rng.integers(3)]
    return Thing(
        kind="coin",
        length=rng.uniform(0.12, 0.28),
        colour=_colour(colours.light(*metal) * rng.uniform(0.5, 1)),
        thickness=0.1,
        gloss=rng.uniform(0.2, 0.6),
        polish=rng.uniform(10, 30),
        lot=_lot(rng),
    )


def button(rng: np.random.Generator) -> Thing:
    """A shirt button with four holes."""
    return Thing(
        kind="button",
        length=rng.uniform(0.08, 0.17),
        colour=_colour(colours.hue(rng.random(), rng.uniform(0, 0.8), rng.uniform(0.15, 0.95))),
        thickness=0.15,
        lumps=1.0,
        gloss=rng.uniform(0.05, 0.4),
        polish=40.0,
        lot=_lot(rng),
    )


def twig(rng: np.random.Generator) -> Thing:
    """A twig, a straw or a match."""
    length = rng.uniform(0.2, 0.7)
    return Thing(
        kind="twig",
        length=length,
        aspect=length / rng.uniform(0.012, 0.035),
        colour=_colour(colours.hue(rng.uniform(0.06, 0.14), rng.uniform(0.2, 0.6), rng.uniform(0.25, 0.8))),
        bend=rng.uniform(0, 1.5),
        thickness=0.9,
        lot=_lot(rng),
    )


def spoon(rng: np.random.Generator) -> Thing:
    """A steel or wooden spoon."""
    steel = rng.random() < 0.6
    wood = colours.hue(rng.uniform(0.06, 0.11), rng.uniform(0.35, 0.6), rng.uniform(0.45, 0.8))
    metal = colours.hue(0.6, 0.04, rng.uniform(0.55, 0.8))
    return Thing(
        kind="spoon",
        length=rng.uniform(0.6, 1.1),
        aspect=4.2,
        colour=_colour(metal if steel else wood),
        pattern="steel" if steel else "wooden",
        thickness=0.15,
        gloss=0.7 if steel else 0.08,
        polish=18.0 if steel else 8.0,
        lot=_lot(rng),
    )


CLUTTER: dict[str, Callable[[np.random.Generator], Thing]] = {
    make.__name__: make for make in (pebble, crumb, leaf, scrap, coin, button, twig, spoon)
}
