"""From light to a photograph: focus, vignette, tone, sensor noise, and the camera's own JPEG."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from limelight.data.grains import colours
from limelight.data.grains.camera import pixel_grid


@dataclass(frozen=True)
class Lens:
    """``blur`` and ``depth`` in thousandths of the picture's width; ``noise`` in screen values; ``quality`` of JPEG.

    ``depth`` is how much further out of focus the picture gets over half its height away from ``focus`` (y, -0.5 to
    0.5); ``vignette`` in [0, 1] is how much light the corners lose; ``contrast`` bends the tone curve.
    """

    blur: float
    depth: float
    focus: float
    vignette: float
    contrast: float
    noise: float
    quality: int | None
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Lens:
        """A telephone or a better camera, in a steady hand or not."""
        return cls(
            blur=rng.uniform(0.5, 2.5) if rng.random() < 0.8 else rng.uniform(2.5, 5.0),
            depth=rng.uniform(4, 14) if rng.random() < 0.35 else 0.0,
            focus=rng.uniform(-0.3, 0.3),
            vignette=rng.uniform(0, 0.45) * rng.random(),
            contrast=rng.uniform(-0.08, 0.22),
            noise=math.exp(rng.uniform(math.log(0.004), math.log(0.035))),
            quality=int(rng.integers(45, 96)) if rng.random() < 0.6 else None,
            seed=int(rng.integers(2**31)),
        )


def expose(light: np.ndarray, lens: Lens) -> np.ndarray:
    """Linear light (size, size, 3) -> screen values in [0, 1], as a lens without blur would have them."""
    x, y = pixel_grid(len(light))
    screen = colours.to_screen(light * (1 - lens.vignette * 2 * (x * x + y * y))[..., None])
    return screen + lens.contrast * (screen - 0.5) * screen * (1 - screen) * 4


def focus(screen: np.ndarray, lens: Lens) -> np.ndarray:
    """Blur screen values (size, size, 3) by the lens, more with the distance from the line in focus."""
    size = len(screen)
    picture = Image.fromarray(to_bytes(screen))
    sharp = _blurred(picture, lens.blur / 1000 * size)
    if not lens.depth:
        return sharp
    soft = _blurred(picture, (lens.blur + lens.depth) / 1000 * size)
    away = np.clip(np.abs(pixel_grid(size)[1] - lens.focus) * 2 - 0.15, 0, 1)[..., None]
    return sharp + (soft - sharp) * away


def _blurred(picture: Image.Image, radius: float) -> np.ndarray:
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255


def sense(screen: np.ndarray, lens: Lens) -> np.ndarray:
    """Add the sensor's noise to screen values: finer in the light, blotchy in colour."""
    rng = np.random.default_rng(lens.seed)
    size = len(screen)
    level = lens.noise * (1.25 - 0.5 * screen)
    grey = rng.standard_normal((size, size, 1), np.float32)
    blotch = rng.standard_normal((size // 2 + 1, size // 2 + 1, 3), np.float32).repeat(2, 0).repeat(2, 1)[:size, :size]
    return screen + level * (0.85 * grey + 0.4 * blotch)


def store(screen: np.ndarray, lens: Lens) -> np.ndarray:
    """Screen values -> (size, size, 3) uint8, by way of the camera's JPEG if it makes one."""
    pixels = to_bytes(screen)
    if lens.quality is None:
        return pixels
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=lens.quality)
    return np.asarray(Image.open(file))


def to_bytes(screen: np.ndarray) -> np.ndarray:
    """Screen values in [0, 1] -> uint8, rounded; what lies outside is clipped."""
    return np.round(np.clip(screen, 0, 1) * 255).astype(np.uint8)
