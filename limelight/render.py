"""Maps made visible: overlays and figures. It knows pictures and numbers, nothing of networks.

An overlay must answer two questions at once: what is in the photograph, and which part of it mattered. So a pixel
without evidence is the photograph's own, untouched; as evidence grows the pixel loses its colour to the map's and keeps
only its brightness, which carries the texture. A red cup can then never be mistaken for heat.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from limelight import colormaps, errors
from limelight.lettering import INK, PAPER, paragraph, stack

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Box = tuple[float, float, float, float]


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

MIDDLE_GREY = (160, 160, 160)
VEIL = (88, 88, 92)  # neither black nor white, either of which would not show on some photograph

# Pillow's own font knows little more than ASCII. These know more; each comes with some desktop system or other.


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
    box: Box | None = None,
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
        box: a frame to draw, ``(left, top, right, bottom)`` in photo pixels: what is asked about.

    Returns:
        RGB, the size of the photo; strips add to its height and widen it to at least 240 pixels.

    Raises:
        InputError: the photo is not RGB; the heat has another size, leaves its range or holds a NaN; the box holds no
            pixel of the photo; alpha is out of range; or there is no such colour map.
    """
    return _explain(photo, heat, EVIDENCE, seen, colormap, alpha, contours, legend, title, box)


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
    box: Box | None = None,
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
    if box is not None:
        _draw_box(picture, box)

    size = max(13, round(_extent(photo) / 45))
    width = max(photo.width, NARROWEST)
    strips = [picture]
    if title:
        strips.insert(0, paragraph(title, width, size, PAPER, INK))
    if legend:
        strips.append(_key(width, size, scale, colormap, alpha))
    return stack(strips)


def _draw_box(picture: Image.Image, box: Box) -> None:
    """A light frame on a dark one, which shows on any photograph."""
    draw, width = ImageDraw.Draw(picture), max(1, round(_extent(picture) / 250))
    draw.rectangle(box, outline=INK, width=2 * width)
    draw.rectangle(box, outline=PAPER, width=width)


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
