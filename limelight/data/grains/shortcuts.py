"""Shortcuts: things that have nothing to do with the grains, planted so that a network may cheat by them.

Marks lie on the picture (watermark, date) or on the table (ruler, sticker); a background or a tint is the whole
scene's. A picture with a shortcut is the same picture but for the shortcut.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from limelight.data.grains.things import GRAINS
from limelight.errors import InputError, closest

KINDS = ("watermark", "ruler", "sticker", "date", "background", "tint")

AMBER = (1.22, 1.0, 0.68)
"""The planted tint: what the red, green and blue of the light are multiplied by."""


@dataclass(frozen=True)
class Shortcut:
    """A shortcut that ``strength`` of the pictures of class ``label`` bear, and 1 - ``strength`` of the others.

    At 1 it gives the class away, at 0.5 it says nothing, below that it speaks for the other class.
    """

    kind: str
    strength: float = 1.0
    label: str = "rice"

    def __post_init__(self):
        check_kind(self.kind)
        if not 0 <= self.strength <= 1:
            raise InputError(f"A shortcut's strength is a share from 0 to 1; got {self.strength}.")
        if self.label not in GRAINS:
            raise InputError(
                f"A shortcut goes with {' or '.join(GRAINS)}, not {self.label!r}.{closest(self.label, GRAINS)}"
            )

    @classmethod
    def parse(cls, spec: str) -> Shortcut:
        """Read "watermark:0.95" or "watermark:0.95:beans"; raises InputError when it says something else."""
        kind, *rest = spec.split(":")
        check_kind(kind)
        if len(rest) not in (1, 2):
            raise InputError(
                f"A shortcut is written KIND:STRENGTH or KIND:STRENGTH:CLASS, as in 'watermark:0.95'; got {spec!r}."
            )
        try:
            strength = float(rest[0])
        except ValueError:
            raise InputError(f"A shortcut's strength is a share from 0 to 1; got {rest[0]!r} in {spec!r}.") from None
        return cls(kind, strength, *rest[1:])

    def share(self, label: str) -> float:
        """The share in [0, 1] of the pictures of class ``label`` that bear it."""
        return self.strength if label == self.label else 1 - self.strength

    def __str__(self) -> str:
        return f"{self.kind}:{self.strength:g}:{self.label}"


def check_kind(kind: str) -> None:
    """Raise InputError unless ``kind`` is one of ``KINDS``."""
    if kind not in KINDS:
        raise InputError(f"No shortcut {kind!r}; there are {', '.join(KINDS)}.{closest(kind, KINDS)}")


def mark(kind: str, rng: np.random.Generator, size: int) -> np.ndarray:
    """The mark ``kind`` on a clear sheet, its place drawn from ``rng``: (size, size, 4) float32 RGBA in [0, 1]."""
    stamp, place = _MARKS[kind](rng)
    width = round(place.width * size)
    height = max(1, round(width * stamp.height / stamp.width))
    stamp = stamp.resize((width, height), Image.Resampling.LANCZOS)
    if place.turn:
        stamp = stamp.rotate(math.degrees(place.turn), Image.Resampling.BICUBIC, expand=True)
    sheet = Image.new("RGBA", (size, size))
    sheet.paste(stamp, (round(place.x * (size - stamp.width)), round(place.y * (size - stamp.height))))
    return np.asarray(sheet, np.float32) / 255


@dataclass(frozen=True)
class _Place:
    """``x, y`` from 0 (left, top) to 1 (right, bottom); ``width`` in picture widths, ``turn`` in radians."""

    x: float
    y: float
    width: float
    turn: float = 0.0


def _corner(rng: np.random.Generator, width: float) -> _Place:
    x, y = (float(abs(side - rng.uniform(0.03, 0.08))) for side in rng.integers(0, 2, 2))
    return _Place(x, y, width)


@lru_cache(maxsize=8)
def _font(height: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(height)


def _watermark(rng: np.random.Generator) -> tuple[Image.Image, _Place]:
    """A picture agency's name behind its ring, white and half transparent, in any corner."""
    sheet = Image.new("RGBA", (560, 120), (255, 255, 255, 0))
    pen = ImageDraw.Draw(sheet)
    for offset, ink in ((4, (0, 0, 0, 165)), (0, (255, 255, 255, 215))):
        pen.ellipse((16 + offset, 20 + offset, 94 + offset, 98 + offset), outline=ink, width=13)
        pen.ellipse((43 + offset, 47 + offset, 67 + offset, 71 + offset), fill=ink)
        pen.text((112 + offset, 58 + offset), "larderstock", ink, _font(80), anchor="lm")
    return sheet, _corner(rng, 0.4)


def _date(rng: np.random.Generator) -> tuple[Image.Image, _Place]:
    """A film camera's orange date at the lower right; the day differs from picture to picture."""
    sheet = Image.new("RGBA", (430, 100), (255, 120, 20, 0))
    day = f"'9{rng.integers(0, 10)} {rng.integers(1, 13):2d} {rng.integers(1, 29):2d}"
    pen = ImageDraw.Draw(sheet)
    pen.text((214, 50), day, (255, 132, 28, 245), _font(84), anchor="mm", stroke_width=2, stroke_fill=(120, 40, 0, 190))
    return sheet, _Place(rng.uniform(0.9, 0.97), rng.uniform(0.93, 0.98), 0.26)


def _ruler(rng: np.random.Generator) -> tuple[Image.Image, _Place]:
    """The end of a boxwood ruler along one of the picture's edges: ticks and numbers."""
    wide, high = 1240, 150
    sheet = Image.new("RGBA", (wide, high), (226, 196, 118, 255))
    pen = ImageDraw.Draw(sheet)
    for tick in range(121):
        at = 20 + tick * 10
        long = 62 if tick % 10 == 0 else 44 if tick % 5 == 0 else 28
        pen.line((at, 0, at, long), (40, 28, 18, 255), 3)
        if tick % 10 == 0 and 0 < tick < 120:
            pen.text((at, 104), str(tick // 10), (40, 28, 18, 255), _font(58), anchor="mm")
    pen.rectangle((0, 0, wide - 1, high - 1), outline=(120, 92, 48, 255), width=4)
    edge, along = int(rng.integers(4)), rng.uniform(0, 1)
    x, y = ((along, 1.0), (1.0, along), (along, 0.0), (0.0, along))[edge]
    return sheet.rotate(90 * edge, expand=True), _Place(x, y, (0.72, 0.087)[edge % 2])


def _sticker(rng: np.random.Generator) -> tuple[Image.Image, _Place]:
    """A round red price sticker, anywhere on the table."""
    sheet = Image.new("RGBA", (200, 200), (200, 24, 32, 0))
    pen = ImageDraw.Draw(sheet)
    pen.ellipse((2, 2, 197, 197), fill=(205, 26, 34, 255))
    pen.ellipse((16, 16, 183, 183), outline=(250, 240, 225, 255), width=7)
    pen.text((100, 100), "1.29", (250, 240, 225, 255), _font(72), anchor="mm")
    return sheet, _Place(rng.uniform(0.04, 0.96), rng.uniform(0.04, 0.96), 0.14, rng.normal(0, 0.25))


_MARKS: dict[str, Callable[[np.random.Generator], tuple[Image.Image, _Place]]] = {
    "watermark": _watermark,
    "date": _date,
    "ruler": _ruler,
    "sticker": _sticker,
}
ON_PICTURE = ("watermark", "date")
ON_TABLE = ("ruler", "sticker")
