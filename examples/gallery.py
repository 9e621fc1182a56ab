"""`make gallery`: every method on six photographs with a real network. Offline; pictures land in out/gallery.

    python examples/gallery.py [--methods all|fast|NAME,...] [--docs]

The longest methods run with fewer samples than they have by default (limelight.comparison.BRIEF). ``--docs`` puts a
small copy where docs/methods.md shows it.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps
from skimage import data

import limelight as ll
from limelight import comparison
from limelight.comparison import Trial
from limelight.sheet import contact_sheet

OUT = Path("out/gallery")
SMALL = Path("docs/images/gallery.jpg")
PHOTOS = ["chelsea", "coffee", "rocket", "camera", "astronaut", "stereo_motorcycle"]
SIDE = 224
LARGEST = 400_000  # bytes of the small copy


def photo(name: str) -> Image.Image:
    """The middle square of a photograph: what the network sees of it."""
    pixels = getattr(data, name)()
    pixels = pixels[0] if isinstance(pixels, tuple) else pixels  # the left eye's
    return ImageOps.fit(Image.fromarray(pixels).convert("RGB"), (SIDE, SIDE))


def gallery(methods: Sequence[ll.methods.Method]) -> Image.Image:
    """A strip of six maps for each method; a sheet for each photograph is written on the way."""
    model = ll.load("efficientnet_lite0")
    columns: list[list[Trial]] = []
    for name in PHOTOS:
        done = []
        for trial in comparison.trials(model, ll.read(photo(name)), methods, fit="whole"):
            print(f"{name}: {trial.error or trial.caption}", flush=True)
            done.append(trial)
        comparison.sheet(done).save(OUT / f"{name}.png")
        columns.append(done)
    tiles = [(beside([photo(name) for name in PHOTOS]), "What EfficientNet-Lite0 was shown")]
    for row in zip(*columns, strict=True):
        found = [comparison.drawable(trial.explanation).overlay() for trial in row if trial.explanation]
        if len(found) == len(PHOTOS):
            tiles.append((beside(found), row[0].method.title))
    return contact_sheet(tiles, columns=3, tile=SIDE * len(PHOTOS) // 2)


def beside(pictures: Sequence[Image.Image]) -> Image.Image:
    """Square pictures in a row."""
    strip = Image.new("RGB", (SIDE * len(pictures), SIDE))
    for number, picture in enumerate(pictures):
        strip.paste(picture, (SIDE * number, 0))
    return strip


def reduced(page: Image.Image, width: int = 1300) -> bytes:
    """A JPEG of the page, as good as fits."""
    small = page.resize((width, round(page.height * width / page.width)), Image.Resampling.LANCZOS)
    return next(jpeg for quality in range(85, 0, -5) if len(jpeg := encoded(small, quality)) < LARGEST)


def encoded(page: Image.Image, quality: int) -> bytes:
    """The page as a JPEG of that quality."""
    buffer = io.BytesIO()
    page.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def main() -> None:
    """Draw it, and say where it is."""
    options = argparse.ArgumentParser(description="Draw every method on six photographs.")
    options.add_argument("--methods", default="all", help="all, fast, or names with commas between")
    options.add_argument("--docs", action="store_true", help=f"write {SMALL} too")
    given = options.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    page = gallery(comparison.choose(given.methods))
    page.save(OUT / "gallery.png")
    print(f"\nthe gallery is {OUT / 'gallery.png'}; beside it a sheet for each photograph")
    if given.docs:
        SMALL.write_bytes(reduced(page))


if __name__ == "__main__":
    main()
