"""A matrix of correlations as a picture: a coloured square for each pair, with the names beside the rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from limelight import colormaps
from limelight.lettering import INK, PAPER, paragraph, stack

UNKNOWN = (225, 225, 225)
LEGIBLE = 30  # pixels a square must have for its number to be read


def matrix_picture(values: np.ndarray, names: Sequence[str], title: str, width: int = 1200) -> Image.Image:
    """Numbers in [-1, 1] as coloured squares, on a page of this width; NaN is grey.

    Rows have names; columns have the rows' numbers. Squares that are large enough hold their value.
    """
    count = len(names)
    side = max(12, min(48, int(width * 0.65) // count))
    size = min(16, side)
    font = ImageFont.load_default(size)
    lines = [f"{name}  {number}" for number, name in enumerate(names, start=1)]
    margin = round(max(font.getlength(line) for line in lines)) + size
    squares = Image.new("RGB", (margin + count * side + size, (count + 1) * side), PAPER)
    draw = ImageDraw.Draw(squares)
    for row, line in enumerate(lines):
        middle = (row + 1.5) * side
        draw.text((margin - size / 2, middle), line, fill=INK, font=font, anchor="rm")
        head = ImageFont.load_default(min(size, side * 0.6))
        draw.text((margin + (row + 0.5) * side, side / 2), str(row + 1), fill=INK, font=head, anchor="mm")
        for column in range(count):
            _square(draw, float(values[row, column]), margin + column * side, (row + 1) * side, side)
    return stack([paragraph(title, max(squares.width, 240), 20, PAPER, INK), squares])


def _square(draw: ImageDraw.ImageDraw, value: float, left: int, top: int, side: int) -> None:
    known = not np.isnan(value)
    colour = tuple(int(part) for part in _colours()[round((value + 1) / 2 * 255)]) if known else UNKNOWN
    draw.rectangle((left, top, left + side - 2, top + side - 2), fill=colour)
    if known and side >= LEGIBLE:
        ink = PAPER if abs(value) > 0.6 else INK
        font = ImageFont.load_default(side * 0.32)
        draw.text((left + side / 2, top + side / 2), f"{value:.2f}", fill=ink, font=font, anchor="mm")


def _colours() -> np.ndarray:
    return colormaps.colormap(colormaps.DEFAULT_DIVERGING)
