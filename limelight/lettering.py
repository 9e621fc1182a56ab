"""Text on strips of paper, and strips below one another: what titles, captions and legends are made of."""

from __future__ import annotations

import bisect
import contextlib
import functools
import unicodedata
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PAPER, INK = (255, 255, 255), (28, 28, 34)
WIDER_FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "msyh.ttc")


def paragraph(text: str, width: int, size: int, paper: Colour, ink: Colour) -> Image.Image:
    """At most two centred lines of text on a strip just high enough for them; an empty text takes no height."""
    text, font = _legible(" ".join(text.split()), size)
    lines = _wrap(text, font, width - size)
    strip = Image.new("RGB", (width, round(size * (1.3 * len(lines) + 0.9)) if lines else 0), paper)
    draw = ImageDraw.Draw(strip)
    for number, line in enumerate(lines):
        draw.text((width / 2, size * (1.3 * number + 1.4)), line, fill=ink, font=font, anchor="ms")
    return strip


def _wrap(text: str, font: Font, width: float, most: int = 2) -> list[str]:
    """At most so many lines no wider than the width; what does not fit ends in an ellipsis."""
    words, lines = text.split(), []
    while words:
        count = 1
        while count < len(words) and font.getlength(" ".join(words[: count + 1])) <= width:
            count += 1
        if len(lines) == most - 1:
            count = len(words)
        lines.append(_shortened(" ".join(words[:count]), font, width))
        words = words[count:]
    return lines


def _shortened(text: str, font: Font, width: float) -> str:
    if font.getlength(text) <= width:
        return text
    keep = bisect.bisect(range(len(text)), width, key=lambda kept: font.getlength(text[:kept] + "…")) - 1
    return text[: max(keep, 0)].rstrip() + "…"


def _legible(text: str, size: int) -> tuple[str, Font]:
    """The text without characters that no font here has, and the font that has the most of them."""
    if text.isascii() and text.isprintable():
        return text, ImageFont.load_default(size)
    fonts = _fonts(size)
    known = [[_has(font, character) for character in text] for font in fonts]
    best = max(range(len(fonts)), key=lambda place: sum(known[place]))
    letters = zip(text, known[best], strict=True)
    return "".join(letter if has else _plain(letter) for letter, has in letters), fonts[best]


@functools.cache
def _fonts(size: int) -> list[Font]:
    fonts: list[Font] = [ImageFont.load_default(size)]
    for name in WIDER_FONTS:
        with contextlib.suppress(OSError):
            fonts.append(ImageFont.truetype(name, size))
    return fonts


def _has(font: Font, character: str) -> bool:
    missing = chr(0x10FFFE)  # not a character, so every font draws its box for it
    return character == " " or _glyph(font, character) != _glyph(font, missing)


@functools.lru_cache(maxsize=1024)
def _glyph(font: Font, character: str) -> bytes:
    left, top, right, bottom = font.getbbox(character)
    canvas = Image.new("L", (round(right - left), round(bottom - top)))
    ImageDraw.Draw(canvas).text((-left, -top), character, fill=255, font=font)
    return canvas.tobytes()


def _plain(character: str) -> str:
    """The letter without its accent, or a question mark."""
    letter = unicodedata.normalize("NFD", character)[0]
    return letter if letter.isascii() and letter.isalpha() else "?"


def stack(strips: Sequence[Image.Image], paper: Colour = PAPER) -> Image.Image:
    """Pictures below one another, centred."""
    page = Image.new("RGB", (max(strip.width for strip in strips), sum(strip.height for strip in strips)), paper)
    top = 0
    for strip in strips:
        page.paste(strip, ((page.width - strip.width) // 2, top))
        top += strip.height
    return page
