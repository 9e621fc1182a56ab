"""Pictures as a part of the page: small enough to be many, large enough to be looked at."""

from __future__ import annotations

import base64
import io

from PIL import Image

from limelight.report.blocks import Picture

SIDE = 320
"""Pixels of a picture's longer side: twice what it is shown at, and what it is enlarged from."""
QUALITY = 82
TINY = 64


def inlined(
    picture: Image.Image,
    alt: str,
    caption: str = "",
    *,
    side: int = SIDE,
    quality: int = QUALITY,
    tags: tuple[str, ...] = (),
) -> Picture:
    """A picture for a page, as a JPEG of at most ``side`` pixels; a smaller one keeps its size.

    A tiny picture, such as one of 28 pixels, is enlarged by whole pixels, so that what is a pixel looks like one.
    """
    picture = picture.convert("RGB")
    longest = max(picture.size)
    if longest > side:
        picture = picture.copy()
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    elif longest <= TINY:
        times = side // longest
        picture = picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, optimize=True)
    src = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Picture(src, picture.size, alt, caption, tags)
