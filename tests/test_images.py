"""images.py: whatever lies on disk becomes the RGB a person would see, or one clear refusal."""

from __future__ import annotations

import io
import os
import pickle
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from limelight.errors import InputError
from limelight.images import SUFFIXES, find, read

WIDTH, HEIGHT = 40, 24


def picture(mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Smooth colours with a little noise, so that every codec has something to say."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    ramp = np.stack([columns * 6, rows * 10, 255 - columns * 3 - rows * 5], axis=-1)
    noise = np.random.default_rng(seed).integers(-5, 6, ramp.shape)
    return Image.fromarray((ramp + noise).clip(0, 255).astype(np.uint8)).convert(mode)


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def stored(folder: Path, data: bytes, name: str = "picture.png") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def shown(source, **options) -> np.ndarray:
    """(height, width, 3), as a person would see it."""
    return read(source, **options).pixels.permute(1, 2, 0).numpy()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(width: int, height: int, bits: int, data: bytes, *, white_is_zero: bool = False) -> bytes:
    """An uncompressed greyscale TIFF of a kind that Pillow reads and does not write."""
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: int(not white_is_zero), 277: 1, 278: height}
    tags = dict(sorted((tags | {273: 8 + 2 + 9 * 12 + 4, 279: len(data)}).items()))
    entries = b"".join(
        struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags.items()
    )
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


# --- what a picture becomes -----------------------------------------------------------------------------------------


def test_an_ordinary_picture_is_itself(tmp_path):
    """Lossless RGB arrives bit for bit, with nothing to note."""
    photo = read(stored(tmp_path, encode(picture(), "PNG")))
    assert photo.size == (WIDTH, HEIGHT) and photo.notes == () and photo.name == "picture.png"
    assert photo.pixels.shape == (3, HEIGHT, WIDTH) and photo.pixels.dtype == torch.uint8
    assert photo.pixels.is_contiguous()
    assert np.array_equal(shown(photo.path), picture())
    assert photo.pil().mode == "RGB" and photo.pil().tobytes() == picture().tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "AVIF"])
def test_every_format_promised_is_read(tmp_path, kind):
    """The bytes decide, not the suffix; and no codec is off by more than its own loss."""
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow can't write {kind}")
    got = shown(stored(tmp_path, encode(picture(), kind), "misnamed.txt"))
    assert np.abs(got.astype(int) - np.asarray(picture())).mean() < 12


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV"])
def test_other_colour_modes_mean_what_they_show(mode):
    """Three channels whatever the file has, equal to Pillow's own conversion where that one is right."""
    image = picture().convert(mode)
    assert np.array_equal(shown(image), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(
    ("mode", "kind"), [("1", "PNG"), ("L", "JPEG"), ("P", "PNG"), ("P", "GIF"), ("CMYK", "TIFF"), ("LAB", "TIFF")]
)
def test_other_colour_modes_on_disk(tmp_path, mode, kind):
    """Greyscale, palette, 1-bit, CMYK and LAB files stay near the picture they were made from."""
    got = shown(stored(tmp_path, encode(picture(mode), kind)))
    assert np.abs(got.astype(int) - np.asarray(picture(mode).convert("RGB"))).mean() < 3


@pytest.mark.parametrize("ycck", [False, True])
def test_cmyk_jpegs_are_not_negatives(tmp_path, ycck):
    """Adobe stores CMYK upside down; a pure red must not come out cyan, in plain CMYK or in YCCK."""
    inks = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # no cyan, all magenta and yellow, no black
    if ycck:  # the inks' Y, Cb and Cr, which Pillow turns over as it writes them, and the marker that says so
        cyan, magenta, yellow, black = inks.split()
        turned = Image.merge("RGB", (cyan, magenta, yellow)).convert("YCbCr").point(lambda value: 255 - value)
        inks = Image.merge("CMYK", (*turned.split(), black))
    data = bytearray(encode(inks, "JPEG", quality=100))
    data[data.index(b"Adobe") + 11] = 2 if ycck else 0  # the transform: YCCK or none
    assert np.abs(shown(stored(tmp_path, data)).astype(int) - (255, 0, 0)).max() < 6


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation(tmp_path, orientation, kind):
    """A photograph taken sideways is shown upright, and its size is that of the upright picture."""
    corners = np.zeros((16, 32, 3), np.uint8)
    corners[:8, :16] = (255, 0, 0)  # red: where the camera's top left ends up
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    photo = read(stored(tmp_path, encode(Image.fromarray(corners), kind, exif=exif, **options)))
    assert photo.size == ((32, 16) if orientation < 5 else (16, 32))
    assert photo.notes == (("turned by its EXIF orientation",) if orientation > 1 else ())
    red = photo.pixels[0].float()
    top, left = orientation in (1, 2, 5, 6), orientation in (1, 4, 5, 8)
    rows = red.mean(1).reshape(2, -1).mean(1)
    columns = red.mean(0).reshape(2, -1).mean(1)
    assert (rows[0] > rows[1]).item() is top and (columns[0] > columns[1]).item() is left


@pytest.mark.parametrize("exif", [b"nonsense", b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x12\0\x03"])
def test_broken_exif_costs_nothing_but_the_turn(tmp_path, exif):
    """Whole pixels are not refused for a broken note in the margin."""
    with warnings.catch_warnings(action="ignore"):
        assert np.array_equal(shown(stored(tmp_path, encode(picture(), "PNG", exif=exif))), picture())


# --- more than 8 bits -----------------------------------------------------------------------------------------------

SIXTEEN = np.arange(65536, dtype=np.uint16).reshape(256, 256)
DIVIDED = np.floor(SIXTEEN / 257 + 0.5).astype(np.uint8)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(lambda: encode(Image.fromarray(SIXTEEN), "PNG"), id="png"),
        pytest.param(lambda: encode(Image.fromarray(SIXTEEN), "TIFF"), id="tiff"),
        pytest.param(lambda: encode(Image.fromarray(SIXTEEN), "TIFF", compression="tiff_lzw"), id="tiff-lzw"),
        pytest.param(lambda: encode(Image.fromarray(SIXTEEN.astype(">u2")), "TIFF"), id="tiff-big-endian"),
        pytest.param(lambda: encode(Image.fromarray(SIXTEEN.astype(np.int32)), "TIFF"), id="tiff-int32"),
        pytest.param(lambda: b"P5 256 256 65535\n" + SIXTEEN.astype(">u2").tobytes(), id="pgm"),
    ],
)
def test_16_bits_are_divided_by_257(tmp_path, data):
    """All 65536 greys, where Pillow's own conversion turns all but 256 of them white."""
    photo = read(stored(tmp_path, data()))
    assert photo.notes == ("16 bits scaled to 8",)
    assert np.array_equal(photo.pixels.numpy(), np.stack([DIVIDED] * 3))


def test_16_bit_modes_from_memory():
    """The same for Pillow's in-memory modes, I;16 of either byte order and I."""
    for array in (SIXTEEN, SIXTEEN.astype(">u2"), SIXTEEN.astype(np.int32)):
        assert np.array_equal(read(Image.fromarray(array)).pixels[0].numpy(), DIVIDED)


def test_16_bit_colour_keeps_its_greatest_and_smallest(tmp_path):
    """Pillow drops the low byte of 16-bit colour itself, which is at most one step away."""
    values = np.random.default_rng(0).integers(0, 65536, (8, 8, 3)).astype(">u2")
    values[0, 0], values[0, 1] = 0, 65535
    got = shown(stored(tmp_path, png(8, 8, 16, 2, b"".join(b"\0" + row.tobytes() for row in values))))
    assert np.abs(got - values / 257.0).max() <= 1 and got[0, 0].max() == 0 and got[0, 1].min() == 255


def test_a_16_bit_transparent_grey_is_transparent(tmp_path):
    """A PNG may name one grey as see-through; its neighbour in 16 bits isn't, though both are 1 in 8 bits."""
    values = np.array([[0, 300], [301, 65535]], ">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    path = stored(tmp_path, png(2, 2, 16, 0, rows, chunk(b"tRNS", struct.pack(">H", 300))))
    assert read(path).notes == ("16 bits scaled to 8", "transparency laid on white")
    assert read(path).pixels[0].tolist() == [[0, 255], [1, 255]]


def test_tiffs_that_pillow_leaves_unscaled_or_negative(tmp_path):
    """12 bits reach white, and a TIFF whose zero is white is not shown as its negative."""
    packed = bytes([0x00, 0x0F, 0xFF, 0x80, 0x0F, 0xFF])  # 0, 4095 / 2048, 4095
    photo = read(stored(tmp_path, tiff(2, 2, 12, packed)))
    assert photo.notes == ("12 bits scaled to 8",) and photo.pixels[0].tolist() == [[0, 255], [128, 255]]
    negative = np.array([[0, 65535], [257, 0]], "<u2").tobytes()
    assert read(stored(tmp_path, tiff(2, 2, 16, negative, white_is_zero=True))).pixels[0].tolist() == [
        [255, 0],
        [254, 255],
    ]


@pytest.mark.parametrize(
    ("values", "expected", "note"),
    [
        ([[0, 0.5], [0.25, 1]], [[0, 128], [64, 255]], "values in 0..1 scaled to 8 bits"),
        ([[-1, 0], [0, 1]], [[0, 128], [128, 255]], "values in -1..1 scaled to 8 bits"),
        ([[0, 200], [100, 50]], [[0, 255], [128, 64]], "values in 0..200 scaled to 8 bits"),
        ([[7, 7], [7, 7]], [[0, 0], [0, 0]], "values in 7..7 scaled to 8 bits"),
        ([[-3e38, 3e38], [0, 0]], [[0, 255], [128, 128]], "values in -3e+38..3e+38 scaled to 8 bits"),
    ],
)
def test_floats_are_scaled_and_said_so(tmp_path, values, expected, note):
    """0..1 is a picture as it stands, not black; any other range is stretched and told."""
    photo = read(stored(tmp_path, encode(Image.fromarray(np.array(values, np.float32)), "TIFF")))
    assert photo.notes == (note,)
    assert np.abs(photo.pixels[1].numpy().astype(int) - expected).max() <= 1  # halves may round either way


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_floats_that_are_no_numbers_are_refused(tmp_path, bad):
    path = stored(tmp_path, encode(Image.fromarray(np.array([[0, 1], [bad, 0]], np.float32)), "TIFF"))
    with pytest.raises(InputError, match=r"picture.png holds NaN or infinite values"):
        read(path)


# --- transparency, frames -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (10, 200, 30)])
@pytest.mark.parametrize(("mode", "kind"), [("RGBA", "PNG"), ("RGBA", "WEBP"), ("RGBA", "TIFF"), ("LA", "PNG")])
def test_alpha_is_laid_on_the_background(tmp_path, mode, kind, background):
    """What lies under a transparent pixel is garbage: dropping alpha shows it, compositing doesn't."""
    image = picture(mode)
    alpha = np.tile(np.linspace(0, 255, WIDTH).round().astype(np.uint8), (HEIGHT, 1))
    image.putalpha(Image.fromarray(alpha))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    path = stored(tmp_path, encode(image, kind, **options))
    weight = alpha[..., None] / 255
    expected = np.asarray(image.convert("RGBA"))[..., :3] * weight + np.array(background) * (1 - weight)
    assert np.abs(shown(path, background=background) - expected).max() <= 1
    colour = {(255, 255, 255): "white", (0, 0, 0): "black"}.get(background, "rgb(10, 200, 30)")
    assert read(path, background=background).notes == (f"transparency laid on {colour}",)


def test_an_alpha_channel_without_transparency_is_not_worth_a_note(tmp_path):
    photo = read(stored(tmp_path, encode(picture("RGBA"), "PNG")))
    assert photo.notes == () and np.array_equal(shown(photo.path), picture())


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_transparency(tmp_path, kind):
    """A palette entry may be see-through; here one half of the picture is."""
    image = Image.fromarray(np.repeat([[0, 1]], 8, 1).repeat(8, 0).astype(np.uint8))
    image = image.convert("P")
    image.putpalette([200, 0, 0, 0, 0, 200])
    path = stored(tmp_path, encode(image, kind, transparency=0))
    got = shown(path, background=(0, 255, 0))
    assert (got[:, :8] == (0, 255, 0)).all() and (got[:, 8:] == (0, 0, 200)).all()
    assert "transparency laid on white" in read(path).notes


def test_a_transparent_colour_in_a_truecolour_png(tmp_path):
    image = Image.new("RGB", (4, 4), (9, 8, 7))
    image.putpixel((1, 1), (1, 2, 3))
    got = shown(stored(tmp_path, encode(image, "PNG", transparency=(9, 8, 7))))
    assert tuple(got[1, 1]) == (1, 2, 3) and tuple(got[0, 0]) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_the_first_of_many_frames_is_taken_and_said(tmp_path, kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    photo = read(stored(tmp_path, encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)))
    assert photo.notes == ("first of 3 frames",)
    assert np.abs(shown(photo.path).astype(int) - (255, 0, 0)).max() < 3


def test_a_frame_somebody_chose_in_memory_is_kept():
    """A PIL image that was sought to its second frame is not rewound."""
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime")]
    image = Image.open(io.BytesIO(encode(frames[0], "GIF", save_all=True, append_images=frames[1:])))
    image.seek(1)
    photo = read(image)
    assert photo.notes == ("number 2 of 2 frames",) and photo.pixels[:, 0, 0].tolist() == [0, 255, 0]


# --- pictures from memory -------------------------------------------------------------------------------------------


def test_arrays_and_tensors():
    """Each layout that has one meaning, contiguous or not."""
    rgb = np.asarray(picture())
    tensor = torch.from_numpy(rgb.copy()).permute(2, 0, 1)
    for source in (picture(), rgb, rgb[::-1][::-1], tensor, tensor.contiguous()):
        photo = read(source)
        assert np.array_equal(photo.pixels.permute(1, 2, 0), rgb)
        assert photo.path is None and photo.name == "image" and photo.notes == ()
    for grey in (rgb[..., 0], rgb[..., :1], tensor[0], tensor[:1]):
        assert np.array_equal(read(grey).pixels, np.stack([rgb[..., 0]] * 3))
    clear = np.dstack([rgb, np.zeros((HEIGHT, WIDTH), np.uint8)])
    assert read(clear).notes == ("transparency laid on white",) and read(clear).pixels.min() == 255
    assert read(torch.from_numpy(clear).permute(2, 0, 1)).pixels.min() == 255


def test_what_was_given_is_not_changed_and_not_shared():
    """Reading copies: neither side can alter the other afterwards."""
    array = np.asarray(picture()).copy()
    photo = read(array)
    photo.pixels.zero_()
    assert np.array_equal(array, picture())


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (np.zeros((8, 8, 3)), "the ndarray holds float64, not uint8"),
        (np.zeros((8, 8), bool), "the ndarray holds bool, not uint8"),
        (torch.zeros(3, 8, 8), "the Tensor holds torch.float32, not uint8"),
        (torch.zeros(3, 8, 8, dtype=torch.bfloat16), "holds torch.bfloat16"),
        (np.zeros((3, 8, 8), np.uint8), r"has shape \(3, 8, 8\): give one picture as \(height, width\) or \(height,"),
        (np.zeros((8, 8, 2), np.uint8), "has shape"),
        (np.zeros((1, 8, 8, 3), np.uint8), "has shape"),
        (np.zeros(8, np.uint8), "has shape"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), r"has shape \(8, 8, 3\).* or \(1 \| 3 \| 4, height, width\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "has shape"),
        (torch.tensor(1, dtype=torch.uint8), "has shape"),
        (np.zeros((0, 5, 3), np.uint8), "is 5x0 pixels: nothing to look at"),
        (np.zeros((1, 1), np.uint8), "is 1x1 pixels: nothing to look at"),
        (Image.new("L", (1, 9)), "the Image is 1x9 pixels: nothing to look at"),
        (b"bytes", "the bytes is not a picture"),
        (None, "the NoneType is not a picture"),
        ([[0]], "the list is not a picture"),
    ],
)
def test_memory_that_is_no_picture(source, reason):
    """Ambiguity is refused with the layout that would have done."""
    with pytest.raises(InputError, match=reason):
        read(source)


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("empty.jpg", b"", "empty.jpg is empty"),
        ("letter.jpg", b"Dear reader, I am not a picture. " * 9, "letter.jpg is not a picture in a known format"),
        ("p.png", b"P", "p.png"),
        ("half.png", encode(picture(), "PNG")[:300], "half.png can't be decoded"),
        ("half.jpg", encode(picture(), "JPEG")[:700], "half.jpg can't be decoded"),
        ("dot.png", encode(Image.new("RGB", (1, 1)), "PNG"), "dot.png is 1x1 pixels: nothing to look at"),
        ("line.png", encode(Image.new("RGB", (50, 1)), "PNG"), "line.png is 50x1 pixels: nothing to look at"),
        ("bomb.png", png(30000, 30000, 8, 2, b""), "bomb.png is 30000x30000 pixels, more than 178,956,970"),
        ("tiles.jp2", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99), "is not a picture in a known format"),
        ("script.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a picture in a known format"),
    ],
)
def test_files_that_are_refused(tmp_path, name, data, reason):
    """One sentence, beginning with the file, saying what is wrong; and not a word from Pillow beside it."""
    path = stored(tmp_path, data, name)
    with warnings.catch_warnings(action="error"), pytest.raises(InputError, match=reason) as refusal:
        read(path)
    assert str(refusal.value).startswith(str(path)) and "\n" not in str(refusal.value)


def test_paths_that_are_refused(tmp_path, monkeypatch):
    """A path that can't be a picture is told apart from a picture that can't be read; a pipe does not hang."""
    with pytest.raises(InputError, match=r"nowhere.jpg does not exist"):
        read(tmp_path / "nowhere.jpg")
    with pytest.raises(InputError, match="is a folder"):
        read(str(tmp_path))
    with pytest.raises(InputError, match="does not exist"):
        read("nul\0byte.jpg")
    with pytest.raises(InputError, match="does not exist"):
        read("x" * 5000)
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(InputError, match="not an ordinary file"):
        read(tmp_path / "pipe.jpg")
    locked = stored(tmp_path, encode(picture(), "PNG"))
    locked.chmod(0)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read anything
    with pytest.raises(InputError, match=r"picture.png may not be read: check its permissions"):
        read(locked)


def test_the_limit_on_size_is_the_callers(tmp_path):
    path = stored(tmp_path, encode(picture(), "PNG"))
    assert read(path, max_pixels=WIDTH * HEIGHT).size == (WIDTH, HEIGHT)
    with pytest.raises(InputError, match=f"is {WIDTH}x{HEIGHT} pixels, more than {WIDTH * HEIGHT - 1}"):
        read(path, max_pixels=WIDTH * HEIGHT - 1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_pillows_own_limit_neither_warns_nor_matters(tmp_path, monkeypatch, kind):
    """A picture between Pillow's warning and our limit is read in silence."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", WIDTH * HEIGHT - 1)
    path = stored(tmp_path, encode(picture(), kind))
    with warnings.catch_warnings(action="error"):
        assert read(path).size == (WIDTH, HEIGHT)
    assert Image.MAX_IMAGE_PIXELS == WIDTH * HEIGHT - 1


# --- files that were hurt -------------------------------------------------------------------------------------------


def _whole() -> dict[str, bytes]:
    exif = Image.Exif()
    exif[274] = 6
    again = {"save_all": True, "append_images": [picture(seed=1)]}
    return {
        "jpeg": encode(picture(), "JPEG", exif=exif),
        "progressive": encode(picture(), "JPEG", progressive=True),
        "cmyk": encode(picture("CMYK"), "JPEG"),
        "png": encode(picture("RGBA"), "PNG"),
        "palette": encode(picture("P"), "PNG", transparency=0),
        "apng": encode(picture(), "PNG", **again),
        "png16": encode(Image.fromarray(SIXTEEN[:16, :16]), "PNG"),
        "gif": encode(picture("P"), "GIF", **again),
        "webp": encode(picture(), "WEBP"),
        "lossless": encode(picture("RGBA"), "WEBP", lossless=True),
        "tiff": encode(picture(), "TIFF", exif=exif),
        "lzw": encode(picture(), "TIFF", compression="tiff_lzw", **again),
        "float": encode(Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)), "TIFF"),
        "avif": encode(picture(), "AVIF") if "AVIF" in Image.SAVE else encode(picture(), "PNG"),
        "bmp": encode(picture(), "BMP"),
        "ppm": encode(picture(), "PPM"),
    }


WHOLE = _whole()
hurting = settings(derandomize=True, deadline=None)


@pytest.fixture(scope="module")
def spot(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("hurt") / "picture"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", WHOLE)
@settings(hurting, max_examples=60)
@given(data=st.data())
def test_hurt_bytes_give_a_picture_or_an_input_error(spot, kind, data):
    """Whatever Pillow raises on broken bytes, nothing but InputError gets out, and what gets out has a size."""
    whole = bytearray(WHOLE[kind])
    header = st.integers(0, min(len(whole), 120) - 1)  # most of what can go wrong is near the start
    places = data.draw(
        st.lists(st.tuples(st.one_of(header, st.integers(0, len(whole) - 1)), st.integers(0, 255)), max_size=6)
    )
    for place, value in places:
        whole[place] = value
    spot.write_bytes(whole[: data.draw(st.one_of(st.just(len(whole)), st.integers(0, len(whole))))])
    try:
        photo = read(spot, max_pixels=1_000_000)
    except InputError as refusal:
        assert str(refusal).startswith(str(spot))
    else:
        assert photo.pixels.shape == (3, *reversed(photo.size)) and photo.pixels.dtype == torch.uint8


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("filling", [False, True])
@pytest.mark.parametrize("kind", WHOLE)
@settings(hurting, max_examples=25)
@given(kept=st.floats(0, 1, exclude_max=True))
def test_a_cut_off_file_is_refused_or_complete(spot, kind, filling, kept):
    """Never half a picture and half grey, not even when another library told Pillow to be lenient."""
    spot.write_bytes(WHOLE[kind])
    complete = read(spot).pixels
    spot.write_bytes(WHOLE[kind][: int(kept * len(WHOLE[kind]))])
    ImageFile.LOAD_TRUNCATED_IMAGES = filling
    try:
        assert torch.equal(read(spot).pixels, complete)
    except InputError:
        pass
    finally:
        left, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    assert left is filling


def test_threads_share_nothing(tmp_path):
    """Many threads, good and cut-off files, Pillow's leniency on: the same answers as one thread gives, and the
    switch as it was found."""
    good = [stored(tmp_path, encode(picture(seed=seed), "PNG"), f"{seed}.png") for seed in range(8)]
    bad = [stored(tmp_path, path.read_bytes()[:-400], f"cut{path.name}") for path in good]
    gate = threading.Barrier(8)

    def work(number: int) -> bool:
        gate.wait()
        for _ in range(10):
            assert np.array_equal(shown(good[number]), picture(seed=number))
            with pytest.raises(InputError):
                read(bad[number])
        return True

    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(8)))
        assert ImageFile.LOAD_TRUNCATED_IMAGES is True
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


# --- a photo's life -------------------------------------------------------------------------------------------------


def test_released_pixels_come_back(tmp_path):
    """A long run need not hold its pictures; the second decoding follows the same rules as the first."""
    image = picture("RGBA")
    image.putalpha(100)
    photo = read(stored(tmp_path, encode(image, "PNG")), background=(0, 0, 0))
    first = photo.pixels
    assert photo.pixels is first
    photo.release()
    assert photo.size == (WIDTH, HEIGHT) and photo.pixels is not first and torch.equal(photo.pixels, first)


def test_memory_is_not_forgotten():
    photo = read(picture())
    photo.release()
    assert np.array_equal(photo.pixels.permute(1, 2, 0), picture())


def test_a_file_that_changed_or_went_is_told(tmp_path):
    photo = read(stored(tmp_path, encode(picture(), "PNG")))
    photo.release()
    stored(tmp_path, encode(Image.new("RGB", (5, 5)), "PNG"))
    with pytest.raises(InputError, match="has changed since it was read"):
        photo.pixels
    photo.path.unlink()
    with pytest.raises(InputError, match="does not exist"):
        photo.pixels


def test_photos_travel_between_processes(tmp_path):
    photo = read(stored(tmp_path, encode(picture(), "PNG")))
    assert torch.equal(pickle.loads(pickle.dumps(photo)).pixels, photo.pixels)
    assert "tensor" not in repr(photo)


# --- find -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    for name in ("b.jpg", "a.PNG", "notes.txt", ".hidden.jpg", "deep/er/c.webp", ".git/d.jpg", "odd[1].gif", "raw.dat"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "none").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["."], ["a.PNG", "b.jpg", "deep/er/c.webp", "odd[1].gif"]),
        (["b.jpg", "a.PNG"], ["b.jpg", "a.PNG"]),
        (["b.jpg", ".", "./b.jpg", "deep/../a.PNG"], ["b.jpg", "a.PNG", "deep/er/c.webp", "odd[1].gif"]),
        (["*.jpg"], ["b.jpg"]),
        (["*"], ["a.PNG", "b.jpg", "odd[1].gif"]),
        (["**/*.webp"], ["deep/er/c.webp"]),
        (["odd[1].gif"], ["odd[1].gif"]),
        (["raw.dat", ".hidden.jpg"], ["raw.dat", ".hidden.jpg"]),
        ("deep", ["deep/er/c.webp"]),
        ([], []),
    ],
)
def test_find(tree, sources, expected):
    """Files as named, folders to the bottom, patterns; pictures only, sorted, visible, once."""
    assert find(sources) == [Path(name) for name in expected]
    assert find([tree / name for name in expected]) == [tree / name for name in expected]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("missing.jpg", "missing.jpg does not exist"),
        ("none", "none holds no pictures: looked for .*jpg"),
        ("*.tiff", r"\*.tiff holds no pictures"),
        ("*.txt", "holds no pictures"),
    ],
)
def test_find_names_what_gave_nothing(tree, source, reason):
    with pytest.raises(InputError, match=reason):
        find(["b.jpg", source])


def test_a_folder_whose_name_is_a_pattern_is_a_folder(tree):
    (tree / "[x]").mkdir()
    (tree / "[x]" / "e.bmp").touch()
    assert find(["[x]"]) == [Path("[x]/e.bmp")]


def test_the_suffixes_people_have():
    assert {".jpg", ".jpeg", ".png", ".gif", ".webp", ".tif", ".tiff", ".bmp", ".ppm"} <= SUFFIXES
