"""Pictures of a study: photographs, maps and boxes, ready for the page."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from limelight import heatmap, render
from limelight.explanation import Explanation
from limelight.lettering import INK, PAPER
from limelight.report import Picture, inlined
from limelight.studies.looks import Looks

Box = tuple[float, float, float, float]
FINE = 0.99
"""The quantile of a pixel-sized map that is drawn at full strength: a few single pixels would outshine the rest."""


def photograph(looks: Looks, number: int, caption: str = "photograph") -> Picture:
    """A picture of the sample as it is."""
    name = looks.sample.names[number]
    label = looks.sample.classes[looks.sample.labels[number]]
    return inlined(looks.explanation.photo(number), f"{name}, a picture of {label}", caption)


def overlaid(looks: Looks, number: int, target: int, caption: str, side: int = 320) -> Picture:
    """One of the maps of a picture over it."""
    drawn = looks.explanation.overlay(number, target)
    empty = " The map is empty." if float(looks.explanation.raws[-1][number, target].max()) <= 0 else ""
    alt = f"{looks.sample.names[number]} with a map over it: {caption}.{empty}"
    return inlined(drawn, alt, caption + (" (empty: nothing)" if empty else ""), side=side)


def fine(explanation: Explanation, number: int, name: str, caption: str) -> Picture:
    """A map as fine as the picture, bare, on black, laid where the network saw the photograph."""
    heat = explanation.heat(number).float().cpu().numpy()
    bright = heat[heat > 0]
    top = float(np.quantile(bright, FINE)) if bright.size else 1.0
    return inlined(render.heat_image(np.clip(heat / top, 0, 1), "ember"), f"{name}: {caption}", caption)


def mean_map(cells: np.ndarray, alt: str, caption: str) -> Picture:
    """A mean map, from nothing to its strongest place, smoothly enlarged."""
    import torch

    large = heatmap.resize(torch.from_numpy(cells)[None], (224, 224))[0]
    return inlined(render.heat_image((large / large.max().clamp(min=1e-12)).clamp(0, 1).numpy()), alt, caption)


def pixels(tensor: Tensor) -> Image.Image:
    """``(channels, height, width)`` in [0, 1] as a picture."""
    levels = (tensor.clamp(0, 1) * 255).round().byte()
    return Image.fromarray(levels.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy())


def over(picture: Image.Image, cells: Tensor) -> Image.Image:
    """A map in [0, 1] over a picture of the network's input."""
    heat = heatmap.resize(cells[None].double(), (picture.height, picture.width))[0]
    return render.overlay(picture, heat.clamp(0, 1).float().numpy())


def boxed(picture: Image.Image, boxes: list[Box]) -> Image.Image:
    """A picture with boxes drawn on it, light with a dark edge, thick enough to be seen when it is small."""
    drawn = picture.convert("RGB").copy()
    pen, line = ImageDraw.Draw(drawn), max(2, round(max(drawn.size) / 110))
    for left, top, right, bottom in boxes:
        for colour, reach in ((INK, 2 * line), (PAPER, line)):
            pen.rectangle((left - reach, top - reach, right + reach, bottom + reach), outline=colour, width=line)
    return drawn
