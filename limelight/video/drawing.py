"""A frame as it is shown: the map over it, and what the network says it is, with how sure it is as a bar."""

from __future__ import annotations

from functools import lru_cache

from PIL import Image

from limelight.lettering import paragraph

INK, PAPER, BAR, REST = (255, 255, 255), (20, 20, 24), (250, 190, 60), (70, 70, 76)
OPAQUE = 0.78


def captioned(picture: Image.Image, label: str, probability: float | None, score: float) -> Image.Image:
    """The picture with a strip along its lower edge; it keeps its size."""
    height = max(picture.height // 22, 11)
    said = f"{label} {probability:.0%}" if probability is not None else f"{label} {score:.2f}"
    strip = _strip(said, picture.width, height)
    where = (0, picture.height - strip.height, picture.width, picture.height)
    shown = picture.copy()
    shown.paste(Image.blend(picture.crop(where), strip, OPAQUE), where)
    if probability is not None:
        thick, filled = max(height // 5, 2), round(picture.width * probability)
        shown.paste(REST, (filled, picture.height - thick, picture.width, picture.height))
        shown.paste(BAR, (0, picture.height - thick, filled, picture.height))
    return shown


@lru_cache(maxsize=64)
def _strip(said: str, width: int, size: int) -> Image.Image:
    """The words; the same for many frames."""
    strip = paragraph(said, width, size, PAPER, INK)
    return strip if strip.height else Image.new("RGB", (width, size * 2), PAPER)
