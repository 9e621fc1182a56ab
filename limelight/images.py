"""Bytes on disk -> trusted RGB tensors.

Pillow decodes everything. What it would do quietly and wrongly (clip 16 bits to white, drop transparency, fill a
cut-off picture with grey) is done properly here or refused, and every change worth knowing is told in ``Photo.notes``.
"""

from __future__ import annotations

import glob
import io
import os
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import ExifTags, Image, ImageFile
from torch import Tensor

from limelight.errors import InputError

Colour = tuple[int, int, int]

MAX_PIXELS = 178_956_970  # half a gigabyte of RGB
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "AVIF")  # JPEG 2000 decodes cut-off files in silence
SUFFIXES = frozenset(end for end, name in Image.registered_extensions().items() if name in (*FORMATS, "MPO"))

_T = Image.Transpose
_FLIPS = (_T.FLIP_LEFT_RIGHT, _T.ROTATE_180, _T.FLIP_TOP_BOTTOM)
_TURNS = dict(enumerate((*_FLIPS, _T.TRANSPOSE, _T.ROTATE_270, _T.TRANSVERSE, _T.ROTATE_90), start=2))  # EXIF's 2 to 8


@dataclass(eq=False)
class Photo:
    """A picture: where it comes from, its size after orientation, and what had to be done to it.

    ``path`` is None for a picture from memory, ``size`` is (width, height) in pixels, and ``notes`` says in plain
    words what was handled: "first of 12 frames", "transparency laid on white".
    """

    path: Path | None
    size: tuple[int, int]
    notes: tuple[str, ...]
    _pixels: Tensor | None = field(repr=False)
    _background: Colour = field(repr=False)
    _max_pixels: int = field(repr=False)

    @property
    def pixels(self) -> Tensor:
        """(3, height, width) uint8 RGB, not a copy; decoded again from ``path`` when it was released.

        Raises InputError when the file has gone, or changed its size, since it was first read.
        """
        pixels = self._pixels  # looked up once: another thread may release it at any time
        if pixels is None:
            assert self.path is not None  # release() keeps what has no path
            pixels, _ = _decode_file(self.path, self._background, self._max_pixels)
            if _size(pixels) != self.size:
                raise InputError(f"{self.path} has changed since it was read: read it again")
            self._pixels = pixels
        return pixels

    def release(self) -> None:
        """Forget the pixels of a photo that can be read again from its path; one from memory keeps them."""
        if self.path is not None:
            self._pixels = None

    @property
    def name(self) -> str:
        """The file's name, or "image" for a picture from memory."""
        return self.path.name if self.path is not None else "image"

    def pil(self) -> Image.Image:
        """The pixels as one of Pillow's RGB images."""
        return Image.fromarray(self.pixels.permute(1, 2, 0).contiguous().numpy())


def read(
    source: str | Path | Image.Image | np.ndarray | Tensor,
    *,
    background: Colour = (255, 255, 255),
    max_pixels: int = MAX_PIXELS,
) -> Photo:
    """Decode one picture, turned upright, its first frame if it has several.

    ``source`` is a path, a PIL image of any mode, a uint8 array (height, width) or (height, width, 1 | 3 | 4), or a
    uint8 tensor (height, width) or (1 | 3 | 4, height, width). Transparent pixels are laid on ``background``, an RGB
    colour in 0..255. Safe to call from several threads.

    Raises InputError, naming the file, for whatever isn't a whole picture of at least 2x2 and at most ``max_pixels``
    pixels; the size is judged from the header, before anything is decoded.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        pixels, notes = _decode_file(path, background, max_pixels)
    else:
        path = None
        with _naming(f"the {type(source).__name__}"):
            pixels, notes = _decode(_from_memory(source), background, max_pixels)
    return Photo(path, _size(pixels), notes, pixels, background, max_pixels)


def decoded(content: bytes, name: str, *, background: Colour = (255, 255, 255), max_pixels: int = MAX_PIXELS) -> Photo:
    """As :func:`read`, of an encoded picture in memory; ``name`` is what an error calls it."""
    with _naming(name):
        pixels, notes = _decode(_open(io.BytesIO(content)), background, max_pixels)
    return Photo(None, _size(pixels), notes, pixels, background, max_pixels)


def find(sources: Iterable[str | Path]) -> list[Path]:
    """The picture files that paths, folders (searched to the bottom) and glob patterns (``**`` too) stand for.

    Order is kept and duplicates are dropped. Folders and patterns give files with a picture's suffix, sorted, hidden
    ones left out; a file named outright is taken whatever its suffix. Raises InputError naming a source that is
    missing or gives no picture.
    """
    sources = [sources] if isinstance(sources, (str, Path)) else sources
    found: dict[str, Path] = {}
    for path in (path for source in sources for path in _pictures(str(source))):
        found.setdefault(os.path.abspath(path), path)
    return list(found.values())


def _pictures(source: str) -> list[Path]:
    pattern = os.path.join(glob.escape(source), "**", "*") if os.path.isdir(source) else source
    if os.path.exists(source) and pattern == source:
        return [Path(source)]
    if not glob.has_magic(pattern):
        raise InputError(f"{source} does not exist: check the path")
    matches = [Path(match) for match in glob.iglob(pattern, recursive=True) if os.path.isfile(match)]
    pictures = sorted(path for path in matches if path.suffix.lower() in SUFFIXES)
    if not pictures:
        raise InputError(f"{source} holds no pictures: looked for {' '.join(sorted(SUFFIXES))}")
    return pictures


def _decode_file(path: Path, background: Colour, max_pixels: int) -> tuple[Tensor, tuple[str, ...]]:
    with _naming(str(path)):
        if os.path.isdir(path):
            raise InputError("is a folder: find() lists the pictures in it")
        if not os.path.isfile(path):  # opening a pipe would wait for ever
            raise InputError("does not exist, or is not an ordinary file: check the path")
        if not os.access(path, os.R_OK):
            raise InputError("may not be read: check its permissions")
        with path.open("rb") as file:
            return _decode(_open(file), background, max_pixels)


def _open(file: IO[bytes]) -> Image.Image:
    """The picture with its header read and its pixels not yet.

    Not ``Image.open``, which judges sizes by a global setting (and warns), and tries dozens of formats, among them
    PostScript by way of Ghostscript.
    """
    prefix = file.read(16)
    if not prefix:
        raise InputError("is empty: copy or download it again")
    for plugin, accept in (Image.OPEN[name] for name in FORMATS if name in Image.OPEN):
        if accept is not None and accept(prefix) is True:  # a string says why this Pillow can't
            file.seek(0)
            return plugin(file, "")
    raise InputError(f"is not a picture in a known format ({', '.join(FORMATS)}): save it as PNG or JPEG")


def _from_memory(source: object) -> Image.Image:
    if isinstance(source, Image.Image):
        return source
    if not isinstance(source, (np.ndarray, Tensor)):
        raise InputError("is not a picture: give a path, a PIL image, a numpy array or a torch tensor")
    if source.dtype not in (np.uint8, torch.uint8):
        raise InputError(f"holds {source.dtype}, not uint8: scale it to 0..255, round it and convert it")
    array, order = source, "(height, width, 1 | 3 | 4)"
    if isinstance(array, Tensor):
        array, order = array.cpu().numpy(), "(1 | 3 | 4, height, width)"
        array = np.moveaxis(array, 0, -1) if array.ndim == 3 else array
    if array.ndim < 2 or array.shape[2:] not in ((), (1,), (3,), (4,)):
        raise InputError(f"has shape {tuple(source.shape)}: give one picture as (height, width) or {order}")
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if array.shape[2:] == (1,) else array))


def _decode(image: Image.Image, background: Colour, max_pixels: int) -> tuple[Tensor, tuple[str, ...]]:
    """(3, height, width) uint8, and what was done to get there."""
    width, height = image.size
    if min(width, height) < 2:
        raise InputError(f"is {width}x{height} pixels: nothing to look at")
    if width * height > max_pixels:
        raise InputError(f"is {width}x{height} pixels, more than {max_pixels:,}: make it smaller, or raise max_pixels")
    frames = _frames(image)
    image, turned = _upright(image)
    image, scaled = _eight_bits(image)
    image, laid = _opaque(image, background)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    return pixels, tuple(note for note in (frames, turned, scaled, laid) if note)


def _size(pixels: Tensor) -> tuple[int, int]:
    return pixels.shape[2], pixels.shape[1]


def _frames(image: Image.Image) -> str:
    count, shown = getattr(image, "n_frames", 1), image.tell()
    return f"{'first' if shown == 0 else f'number {shown + 1}'} of {count} frames" if count > 1 else ""


def _upright(image: Image.Image) -> tuple[Image.Image, str]:
    """The decoded picture, turned. Pillow turns a TIFF itself as it decodes, and then forgets the tag."""
    turned = getattr(image, "tag_v2", {}).get(ExifTags.Base.Orientation) in _TURNS
    with _no_size_warning(image.size):
        image.load()
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # broken EXIF is no reason to refuse pixels that are whole
        orientation = None
    if orientation in _TURNS:
        image, turned = image.transpose(_TURNS[orientation]), True
    return image, "turned by its EXIF orientation" if turned else ""


def _eight_bits(image: Image.Image) -> tuple[Image.Image, str]:
    """Greyscale of more than 8 bits brought to 0..255, where ``convert`` would clip it."""
    if not image.mode.startswith(("I", "F")):
        return image, ""
    tags = getattr(image, "tag_v2", {})  # of a TIFF, whose 12 bits and whose white at zero Pillow leaves as they are
    bits = 12 if tags.get(ExifTags.Base.BitsPerSample) == (12,) else 16
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError("holds NaN or infinite values: replace them first")
    low, high, note = 0, 2**bits - 1, f"{bits} bits scaled to 8"
    if image.mode == "F":
        low, high, note = 0, 1, "values in 0..1 scaled to 8 bits"
    if values.min() < low or values.max() > high:
        low, high = values.min(), values.max()
        note = f"values in {low:g}..{high:g} scaled to 8 bits"
    scaled = np.rint((values - low) * (255 / ((high - low) or 1))).astype(np.uint8)
    grey = Image.fromarray(255 - scaled if tags.get(ExifTags.Base.PhotometricInterpretation) == 0 else scaled)
    if "transparency" in image.info:  # one grey that stands for "nothing here"
        grey.putalpha(Image.fromarray(values != image.info["transparency"]).convert("L"))
    return grey, note


def _opaque(image: Image.Image, background: Colour) -> tuple[Image.Image, str]:
    """RGB, with what is transparent laid on ``background``."""
    if not image.has_transparency_data:
        return image.convert("RGB"), ""
    image = image.convert("RGBA")
    if image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB"), ""
    ground = Image.new("RGBA", image.size, (*background, 255))
    colour = {(255, 255, 255): "white", (0, 0, 0): "black"}.get(background, f"rgb{background}")
    return Image.alpha_composite(ground, image).convert("RGB"), f"transparency laid on {colour}"


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Whatever goes wrong with a picture in here leaves as an InputError that begins with its name."""
    try:
        with _nothing_filled_in():
            yield
    except InputError as error:
        raise InputError(f"{what} {error}") from error
    except Exception as error:  # a broken file makes Pillow raise nearly anything
        raise InputError(f"{what} can't be decoded ({error}): download it again, or save it as PNG") from error


_switch = threading.Lock()
_readers = 0
_was_on = False


@contextmanager
def _nothing_filled_in() -> Iterator[None]:
    """Pillow's switch for filling cut-off pictures with grey is global, and other libraries turn it on.

    It is off while any thread is in here; the last to leave puts it back.
    """
    global _readers, _was_on
    with _switch:
        if _readers == 0:
            _was_on, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
        _readers += 1
    try:
        yield
    finally:
        with _switch:
            _readers -= 1
            if _readers == 0 and _was_on:
                ImageFile.LOAD_TRUNCATED_IMAGES = True


def _no_size_warning(size: tuple[int, int]) -> AbstractContextManager[object]:
    """Pillow warns of a large TIFF while decoding it; the filters are global, so small pictures leave them alone."""
    if Image.MAX_IMAGE_PIXELS is None or size[0] * size[1] <= Image.MAX_IMAGE_PIXELS:
        return nullcontext()
    return warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning)
