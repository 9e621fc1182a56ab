"""Maps made visible: overlays, figures, contact sheets. It knows pictures and numbers, nothing of networks.

An overlay must answer two questions at once: what is in the photograph, and which part of it mattered. So a pixel
without evidence is the photograph's own, untouched; as evidence grows the pixel loses its colour to the map's and keeps
only its brightness, which carries the texture. A red cup can then never be mistaken for heat.
"""

from __future__ import annotations

import bisect
import contextlib
import functools
import math
import textwrap
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.Image import Resampling

from limelight import colormaps, errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Box = tuple[float, float, float, float]
Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Scale(NamedTuple):
    """The values a map may take, from ``lowest`` to 1, and how a legend names them from left to right."""

    lowest: int
    labels: tuple[str, ...]


EVIDENCE = Scale(0, ("0  no evidence", "strongest  1"))
SIGNED = Scale(-1, ("-1  against", "0", "for  +1"))

ALPHA = 0.65
CONTOURS = (0.5, 0.8)
FULL_WEIGHT = 0.5  # strength from which a pixel is coloured in full; below it the colour fades out smoothly
NARROWEST = 240  # pixels; a title or legend on a smaller photo would be a row of ellipses

PAPER, INK = (255, 255, 255), (28, 28, 34)
DARK_PAPER, DARK_INK = (22, 22, 26), (236, 236, 240)
MIDDLE_GREY = (160, 160, 160)
VEIL = (88, 88, 92)  # neither black nor white, either of which would not show on some photograph

# Pillow's own font knows little more than ASCII. These know more; each comes with some desktop system or other.
WIDER_FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "msyh.ttc")


def overlay(
    photo: Image.Image,
    heat: np.ndarray,
    *,
    seen: Box | None = None,
    colormap: str = colormaps.DEFAULT,
    alpha: float = ALPHA,
    contours: bool = False,
    legend: bool = False,
    title: str | None = None,
) -> Image.Image:
    """The photograph with a map over it.

    Args:
        photo: RGB.
        heat: ``(height, width)`` in [0, 1], at the photograph's own size.
        seen: what the network was shown, ``(left, top, right, bottom)`` in photo pixels; it may exceed the photo. What
            lies outside is left visibly unexplained: grey, veiled and without heat. None: everything was seen.
        colormap: a name `colormaps.colormap` knows.
        alpha: how much of a hot pixel is the map's colour, in [0, 1]; the rest is the photo's brightness.
        contours: draw the lines where the map crosses 0.5 and 0.8.
        legend: add a strip with a colour bar below.
        title: a caption for a strip above; shortened to two lines.

    Returns:
        RGB, the size of the photo; strips add to its height and widen it to at least 240 pixels.

    Raises:
        InputError: the photo is not RGB; the heat has another size, leaves its range or holds a NaN; the box holds no
            pixel of the photo; alpha is out of range; or there is no such colour map.
    """
    return _explain(photo, heat, EVIDENCE, seen, colormap, alpha, contours, legend, title)


def diverging(
    photo: Image.Image,
    signed_heat: np.ndarray,
    *,
    seen: Box | None = None,
    colormap: str = colormaps.DEFAULT_DIVERGING,
    alpha: float = ALPHA,
    contours: bool = False,
    legend: bool = False,
    title: str | None = None,
) -> Image.Image:
    """The photograph with a signed map over it: evidence against (negative) and for (positive).

    Args:
        photo: RGB.
        signed_heat: ``(height, width)`` in [-1, 1], at the photograph's own size; 0 leaves the photo as it is.
        seen: as in `overlay`, and so are the rest.
        colormap: a name `colormaps.colormap` knows; its middle stands for 0.
        alpha: how much of a pixel of strength 1 is the map's colour.
        contours: draw the lines where the map's strength crosses 0.5 and 0.8, on either side.
        legend: add a strip with a colour bar below.
        title: a caption for a strip above.

    Returns:
        RGB, sized as `overlay` does.

    Raises:
        InputError: as `overlay`.
    """
    return _explain(photo, signed_heat, SIGNED, seen, colormap, alpha, contours, legend, title)


def heat_image(heat: np.ndarray, colormap: str = colormaps.DEFAULT) -> Image.Image:
    """The bare map in colour, RGB of the map's own size.

    Args:
        heat: ``(height, width)`` in [0, 1].
        colormap: a name `colormaps.colormap` knows.

    Raises:
        InputError: the heat is no such map, or there is no such colour map.
    """
    return Image.fromarray(colormaps.colormap(colormap)[_index(_in_range(heat, EVIDENCE), EVIDENCE)])


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
        strips += [_paragraph(title, width, round(size * 1.5), paper, ink), strips[0]]
    for start in range(0, len(tiles), columns):
        strips.append(_row(tiles[start : start + columns], width, tile, gap, size, paper, ink))
    return _stack(strips, paper)


def figure(
    photo: Image.Image,
    heats: Sequence[np.ndarray],
    titles: Sequence[str],
    *,
    seen: Box | None = None,
    colormap: str = colormaps.DEFAULT,
    alpha: float = ALPHA,
    contours: bool = False,
) -> Figure:
    """The photograph and its overlays side by side with one colour bar, for papers: ``.savefig("why.pdf")``.

    Args:
        photo: RGB.
        heats: maps, each ``(height, width)`` in [0, 1] at the photograph's own size.
        titles: one for each map.
        seen: as in `overlay`, and so are the rest.
        colormap: a name `colormaps.colormap` knows.
        alpha: how much of a hot pixel is the map's colour.
        contours: draw the lines where a map crosses 0.5 and 0.8.

    Raises:
        InputError: as `overlay`, or the maps and titles differ in number.
        MissingExtra: matplotlib is not installed.
    """
    try:  # the figure is drawn without pyplot, which would open windows and keep every figure alive
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import ListedColormap
        from matplotlib.figure import Figure
    except ImportError as missing:
        raise errors.MissingExtra("matplotlib", "plot", "A figure") from missing
    if len(heats) != len(titles):
        raise errors.InputError(f"{len(heats)} maps with {len(titles)} titles: give one title for each map.")

    overlays = [overlay(photo, heat, seen=seen, colormap=colormap, alpha=alpha, contours=contours) for heat in heats]
    panels = 1 + len(overlays)
    drawn = Figure(figsize=(3 * panels + 0.8, 3 * min(photo.height / photo.width, 2) + 0.6), layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.subplots(1, panels, squeeze=False)[0]
    for axis, picture, name in zip(axes, [photo, *overlays], ["photograph", *titles], strict=True):
        axis.imshow(picture)
        # a dollar sign in a label is a dollar sign, not mathematics
        axis.set_title(textwrap.fill(name, 30, max_lines=2, placeholder="…"), fontsize=10, parse_math=False)
        axis.set_axis_off()
    colours = ListedColormap(np.asarray(_bar(colormaps.SIZE, 1, EVIDENCE, colormap, alpha))[0] / 255)
    beside = axes[-1].inset_axes((1.04, 0, 0.05, 1))  # as high as the picture, whatever room the layout leaves
    bar = drawn.colorbar(ScalarMappable(cmap=colours), cax=beside, ticks=[0, 0.5, 1])
    bar.ax.set_yticklabels(["no evidence", "0.5", "strongest"], fontsize=8)
    beside.spines[:].set_visible(False)
    return drawn


def _explain(
    photo: Image.Image,
    heat: np.ndarray,
    scale: Scale,
    seen: Box | None,
    colormap: str,
    alpha: float,
    contours: bool,
    legend: bool,
    title: str | None,
) -> Image.Image:
    """The photo with the map over it and the strips asked for."""
    if photo.mode != "RGB":
        raise errors.InputError(f"The photo's mode is {photo.mode!r}, not 'RGB': use photo.convert('RGB').")
    if not 0 <= alpha <= 1:
        raise errors.InputError(f"alpha is {alpha}, not between 0 and 1.")
    heat = _in_range(heat, scale)
    if heat.shape != (photo.height, photo.width):
        raise errors.InputError(
            f"The map is {heat.shape[1]} wide and {heat.shape[0]} high, the photo {photo.width} and {photo.height}: "
            "resize the map first."
        )
    picture = _paint(photo, heat, scale, colormap, alpha)
    if contours:
        _draw_contours(picture, np.abs(heat))
    if seen is not None:
        picture = _only_inside(picture, photo, seen)

    size = max(13, round(_extent(photo) / 45))
    width = max(photo.width, NARROWEST)
    strips = [picture]
    if title:
        strips.insert(0, _paragraph(title, width, size, PAPER, INK))
    if legend:
        strips.append(_key(width, size, scale, colormap, alpha))
    return _stack(strips)


def _in_range(heat: np.ndarray, scale: Scale) -> np.ndarray:
    """The map as float32, or an error that says what keeps it out of a picture."""
    heat = np.asarray(heat, dtype=np.float32)
    if heat.ndim != 2 or not heat.size:
        raise errors.InputError(f"A map is (height, width) and not empty; this one's shape is {heat.shape}.")
    least, most = float(heat.min()), float(heat.max())
    if math.isnan(least):  # a NaN anywhere makes the minimum one
        raise errors.InputError("The map holds a NaN, which no colour can stand for.")
    if least < scale.lowest - 1e-4 or most > 1 + 1e-4:  # resizing may overshoot by a rounding error
        raise errors.InputError(
            f"The map spans {least:.4g} to {most:.4g}, outside {scale.lowest} to 1: rescale it first."
        )
    return np.clip(heat, scale.lowest, 1)


def _paint(photo: Image.Image, heat: np.ndarray, scale: Scale, colormap: str, alpha: float) -> Image.Image:
    """The photo turning grey and then coloured as evidence grows; where there is none, the photo itself."""
    steps = np.linspace(scale.lowest, 1, colormaps.SIZE)
    fade = np.clip(np.abs(steps) / FULL_WEIGHT, 0, 1)
    weights = np.rint(fade**2 * (3 - 2 * fade) * 255).astype(np.uint8)
    index = _index(heat, scale)
    colours = Image.fromarray(colormaps.colormap(colormap)[index])
    coloured = Image.blend(_grey(photo), colours, alpha)
    return Image.composite(coloured, photo, Image.fromarray(weights[index]))


def _index(heat: np.ndarray, scale: Scale) -> np.ndarray:
    """``(height, width)`` uint8 places in a colour map."""
    return np.rint((heat - scale.lowest) * (255 / (1 - scale.lowest))).astype(np.uint8)


def _grey(photo: Image.Image) -> Image.Image:
    return photo.convert("L").convert("RGB")


def _draw_contours(picture: Image.Image, strength: np.ndarray) -> None:
    """White lines with a dark edge where the strength crosses each of `CONTOURS`."""
    if min(strength.shape) < 2:
        return
    down, across = np.gradient(strength)
    away = np.min([np.abs(strength - level) for level in CONTOURS], axis=0)
    # Value over slope is the distance to the line in pixels. A flat region is far from any line, hence the small terms.
    distance = (away + 1e-6) / (np.hypot(down, across) + 1e-7)
    half = max(0.7, _extent(picture) / 900)
    for colour, reach in ((INK, 2 * half), (PAPER, half)):
        cover = np.clip(reach + 0.5 - distance, 0, 1)
        picture.paste(colour, mask=Image.fromarray(np.rint(cover * 255).astype(np.uint8)))


def _only_inside(picture: Image.Image, photo: Image.Image, seen: Box) -> Image.Image:
    """The picture within the box, the photo greyed and veiled outside it, and a light and dark line between them."""
    edges = np.clip(np.ceil(np.asarray(seen) - 0.5), 0, 2 * photo.size)  # a pixel was seen if its centre was
    if not (edges[0] < edges[2] and edges[1] < edges[3]):  # nor is anything less than a NaN
        raise errors.InputError(f"The box {tuple(seen)} holds no pixel of a {photo.width} by {photo.height} photo.")
    left, top, right, bottom = edges.astype(int).tolist()
    veiled = Image.blend(_grey(photo), Image.new("RGB", photo.size, VEIL), 0.6)
    draw, line = ImageDraw.Draw(veiled), max(1, round(_extent(photo) / 500))
    for colour, reach in ((INK, 2 * line), (PAPER, line)):  # nothing shows on a side where all was seen
        draw.rectangle((left - reach, top - reach, right - 1 + reach, bottom - 1 + reach), fill=colour)
    veiled.paste(picture.crop((left, top, right, bottom)), (left, top))
    return veiled


def _extent(picture: Image.Image) -> float:
    """The side of the square as large as the picture, in pixels: what lines and letters are measured by."""
    return math.sqrt(picture.width * picture.height)


def _row(
    tiles: Sequence[tuple[Image.Image, str]], width: int, tile: int, gap: int, size: int, paper: Colour, ink: Colour
) -> Image.Image:
    """One row of a contact sheet, with the gap below it."""
    pictures = [_fit(picture.convert("RGB"), tile) for picture, _ in tiles]
    captions = [_paragraph(caption, tile, size, paper, ink) for _, caption in tiles]
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


def _stack(strips: Sequence[Image.Image], paper: Colour = PAPER) -> Image.Image:
    """Pictures below one another, centred."""
    page = Image.new("RGB", (max(strip.width for strip in strips), sum(strip.height for strip in strips)), paper)
    top = 0
    for strip in strips:
        page.paste(strip, ((page.width - strip.width) // 2, top))
        top += strip.height
    return page


def _key(width: int, size: int, scale: Scale, colormap: str, alpha: float) -> Image.Image:
    """A strip with a colour bar, painted as the photo was but on grey, and labels spread evenly below it."""
    strip = Image.new("RGB", (width, round(size * 3)), PAPER)
    pad, height = size // 2, round(size * 0.8)
    strip.paste(_bar(width - 2 * pad, height, scale, colormap, alpha), (pad, pad))
    draw = ImageDraw.Draw(strip)
    for place, label in zip(np.linspace(0, 1, len(scale.labels)), scale.labels, strict=True):
        anchor = {0.0: "ls", 1.0: "rs"}.get(place, "ms")
        position = (pad + place * (width - 2 * pad), pad + height + size * 1.15)
        draw.text(position, label, fill=INK, font=ImageFont.load_default(size), anchor=anchor)
    return strip


def _bar(width: int, height: int, scale: Scale, colormap: str, alpha: float) -> Image.Image:
    ramp = np.tile(np.linspace(scale.lowest, 1, width), (height, 1))
    return _paint(Image.new("RGB", (width, height), MIDDLE_GREY), ramp, scale, colormap, alpha)


def _paragraph(text: str, width: int, size: int, paper: Colour, ink: Colour) -> Image.Image:
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
