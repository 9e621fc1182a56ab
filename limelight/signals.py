"""Overlays of what is no picture: a signal as a trace on its map, a volume or a clip as slices and as an animation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from limelight import colormaps
from limelight.files import aside
from limelight.lettering import paragraph, stack
from limelight.render import ALPHA, overlay
from limelight.sheet import contact_sheet

WIDTH = 960
"""Of a trace, in pixels."""
LANE = 140
"""The height of a channel's lane."""
LANES = 8
"""A signal of more channels is drawn by its first ones."""
SLICES = 12
"""How many slices a montage shows."""
INK, PAPER = (32, 32, 36), (255, 255, 255)


def trace(
    signal: np.ndarray,
    heat: np.ndarray,
    *,
    colormap: str = colormaps.DEFAULT,
    alpha: float = ALPHA,
    title: str | None = None,
) -> Image.Image:
    """A signal's channels below one another, on bands coloured where the evidence lies.

    Args:
        signal: ``(channels, length)``.
        heat: ``(length,)`` in [0, 1].
        colormap: a name `colormaps.colormap` knows.
        alpha: how much of a hot band is the map's colour, in [0, 1].
        title: a caption for a strip above.
    """
    twice = 2 * WIDTH  # drawn large and made smaller, for smooth lines
    at = np.linspace(0, heat.shape[0] - 1, twice)
    strength = np.interp(at, np.arange(heat.shape[0]), heat.clip(0, 1))
    colours = colormaps.colormap(colormap)[np.round(strength * 255).astype(int)]
    share = (alpha * strength)[:, None]
    band = np.round(share * colours + (1 - share) * np.array(PAPER)).astype(np.uint8)
    lanes = []
    for values in signal[:LANES]:
        lane = Image.fromarray(np.broadcast_to(band, (2 * LANE, twice, 3)).copy(), "RGB")
        low, high = float(values.min()), float(values.max())
        y = (high - values) / max(high - low, 1e-12) * (2 * LANE - 32) + 16
        x = (np.arange(len(values)) + 0.5) / len(values) * twice
        ImageDraw.Draw(lane).line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=INK, width=3, joint="curve")
        lanes.append(lane.resize((WIDTH, LANE), Image.Resampling.LANCZOS))
    strips = [paragraph(title, WIDTH, 16, PAPER, INK)] if title else []
    return stack([*strips, *lanes], PAPER)


def slices(volume: np.ndarray, heat: np.ndarray, **look: Any) -> list[Image.Image]:
    """An overlay of every slice of a volume, or frame of a clip, all on one scale of greys and of heat.

    Args:
        volume: ``(channels, depth, height, width)``; three channels are red, green and blue, otherwise their mean.
        heat: ``(depth, height, width)`` in [0, 1].
        **look: as for :func:`limelight.render.overlay`.
    """
    colours = volume if len(volume) == 3 else np.repeat(volume.mean(axis=0, keepdims=True), 3, axis=0)
    low, high = float(colours.min()), float(colours.max())
    pixels = np.round((colours - low) / max(high - low, 1e-12) * 255).astype(np.uint8).transpose(1, 2, 3, 0)
    enlarged = max(1, round(160 / max(pixels.shape[1:3])))
    found = []
    for frame, warm in zip(pixels, heat, strict=True):
        picture = Image.fromarray(frame, "RGB").resize(
            (frame.shape[1] * enlarged, frame.shape[0] * enlarged), Image.Resampling.BILINEAR
        )
        large = Image.fromarray(warm.astype(np.float32), "F").resize(picture.size, Image.Resampling.BILINEAR)
        found.append(overlay(picture, np.asarray(large).clip(0, 1), **look))
    return found


def montage(volume: np.ndarray, heat: np.ndarray, *, title: str | None = None, **look: Any) -> Image.Image:
    """Up to a dozen slices spread evenly, the one with the most evidence among them, as one picture."""
    depth, best = len(heat), int(heat.max(axis=(1, 2)).argmax())
    evenly = np.linspace(0, depth - 1, min(depth, SLICES)).round().astype(int)
    nearest = int(np.abs(evenly - best).argmin())
    evenly[nearest] = best
    overlays = slices(volume, heat, **look)
    tiles = [(overlays[i], f"slice {i + 1} of {depth}") for i in sorted(set(evenly.tolist()))]
    return contact_sheet(tiles, tile=max(overlays[0].size), title=title)


def animation(path: Path, volume: np.ndarray, heat: np.ndarray, *, seconds: float = 0.15, **look: Any) -> None:
    """Write the slices as an animated GIF that goes through them for ever, so many seconds each."""
    first, *others = slices(volume, heat, **look)
    with aside(path) as place:
        first.save(place, "GIF", save_all=True, append_images=others, duration=round(1000 * seconds), loop=0)
