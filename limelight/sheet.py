"""Contact sheets: captioned pictures in a tidy grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image
from PIL.Image import Resampling

from limelight import errors
from limelight.lettering import INK, PAPER, Colour, paragraph, stack

DARK_PAPER, DARK_INK = (22, 22, 26), (236, 236, 240)


def contact_sheet(
    tiles: Sequence[tuple[Image.Image, str]],
    *,
    columns: int | None = None,
    tile: int = 320,
    title: str | None = None,
    dark: bool = False,
) -> Image.Image:
    """Captioned pictures in a tidy grid, each scaled to fit its square cell with its aspect kept.

    A row is only as high as its highest picture, and pictures stand on their captions.

    Args:
        tiles: pictures with their captions; a caption is shortened to two lines, and may be empty.
        columns: how many to a row; None chooses a grid near a square with few cells left empty.
        tile: the longer side of a cell's picture, in pixels.
        title: a heading for the sheet.
        dark: light text on a dark page, instead of dark on white.

    Returns:
        RGB.

    Raises:
        InputError: there are no tiles, or the grid makes no sense.
    """
    if not tiles:
        raise errors.InputError("A contact sheet needs at least one picture.")
    if tile < 16 or (columns is not None and columns < 1):
        raise errors.InputError(f"No grid of {columns} columns of {tile} pixels: use 1 or more of 16 or more.")
    columns = min(columns or _columns(len(tiles)), len(tiles))
    paper, ink = (DARK_PAPER, DARK_INK) if dark else (PAPER, INK)
    size, gap = max(12, tile // 21), max(6, tile // 16)
    width = gap + columns * (tile + gap)
    strips = [Image.new("RGB", (width, gap), paper)]
    if title:
        strips += [paragraph(title, width, round(size * 1.5), paper, ink), strips[0]]
    for start in range(0, len(tiles), columns):
        strips.append(_row(tiles[start : start + columns], width, tile, gap, size, paper, ink))
    return stack(strips, paper)


def _row(
    tiles: Sequence[tuple[Image.Image, str]], width: int, tile: int, gap: int, size: int, paper: Colour, ink: Colour
) -> Image.Image:
    """One row of a contact sheet, with the gap below it."""
    pictures = [_fit(picture.convert("RGB"), tile) for picture, _ in tiles]
    captions = [paragraph(caption, tile, size, paper, ink) for _, caption in tiles]
    floor = max(picture.height for picture in pictures)
    row = Image.new("RGB", (width, floor + max(caption.height for caption in captions) + gap), paper)
    for column, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left = gap + column * (tile + gap)
        row.paste(picture, (left + (tile - picture.width) // 2, floor - picture.height))
        row.paste(caption, (left, floor))
    return row


def _fit(picture: Image.Image, side: int) -> Image.Image:
    """The picture with its longer side this long."""
    scale = side / max(picture.size)
    return picture.resize(
        (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), Resampling.LANCZOS
    )


def _columns(count: int) -> int:
    """Columns of a nearly square grid; one more than the square root if that leaves fewer cells empty."""
    square = math.ceil(math.sqrt(count))
    return min((square, square + 1), key=lambda columns: -count % columns)
