"""Picture files for tests: good ones, unusual ones, and broken ones."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (96, 72)


def noise(seed: int = 0) -> Image.Image:
    """A picture of coloured blots, different for each seed."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(SIZE)


def write_classes(folder: Path) -> Path:
    """Write seven pictures into two folders named after classes."""
    for number in range(7):
        path = folder / ("tabby" if number < 4 else "espresso") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(number).save(path)
    return folder


def write_unusual(folder: Path) -> dict[str, str]:
    """Write a picture of each kind that is handled; gives what is said of it, by file name ('' for nothing)."""
    picture = noise()
    picture.convert("L").save(folder / "grey.png")
    picture.quantize(16).save(folder / "palette.png")
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257).save(folder / "sixteen.png")
    clear = picture.convert("RGBA")
    clear.putalpha(100)
    clear.save(folder / "rgba.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "turned.jpg", exif=exif)
    picture.save(folder / "moving.gif", save_all=True, append_images=[noise(1)])
    return {
        "grey.png": "",
        "palette.png": "",
        "cmyk.jpg": "",
        "sixteen.png": "16 bits",
        "rgba.png": "transparency laid on white",
        "turned.jpg": "EXIF",
        "moving.gif": "first of 2 frames",
    }


def write_broken(folder: Path) -> dict[str, str]:
    """Write a file of each kind that is refused; gives a word of the reason, by file name."""
    (folder / "empty.jpg").touch()
    (folder / "text.png").write_text("not a picture")
    noise().save(folder / "cut.jpg")
    whole = (folder / "cut.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    (folder / "bomb.png").write_bytes(bomb())
    return {
        "empty.jpg": "empty",
        "text.png": "not a picture",
        "cut.jpg": "truncated",
        "dot.png": "1x1",
        "bomb.png": "60000x60000",
    }


def bomb() -> bytes:
    """A PNG of a few hundred bytes whose header promises ten gigabytes of pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
