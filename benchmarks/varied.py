"""Many pictures made of few: crops, flips and other light on the photographs of a folder, no two the same file."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps

from limelight.files import write_whole
from limelight.images import find


def varied(source: Path, folder: Path, count: int) -> list[Path]:
    """``count`` JPEGs in ``folder``; those that are there from an earlier call are not made again."""
    photographs = find([source])
    paths = [folder / f"{number // 1000:03d}" / f"{number:06d}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        if not path.exists():
            draw = random.Random(number)
            with Image.open(photographs[number % len(photographs)]) as opened:
                picture = _vary(opened.convert("RGB"), draw)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, _jpeg(picture, draw.randint(80, 95)))
    return paths


def _vary(picture: Image.Image, draw: random.Random) -> Image.Image:
    keep = draw.uniform(0.7, 1)
    width, height = round(picture.width * keep), round(picture.height * keep)
    left, top = draw.randint(0, picture.width - width), draw.randint(0, picture.height - height)
    picture = picture.crop((left, top, left + width, top + height)).resize(picture.size, Image.Resampling.BICUBIC)
    picture = ImageOps.mirror(picture) if draw.random() < 0.5 else picture
    return ImageEnhance.Brightness(picture).enhance(draw.uniform(0.8, 1.2))


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    import io

    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
