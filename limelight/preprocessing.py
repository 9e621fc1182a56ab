"""An RGB picture -> the network's input, and where that input lay on the picture.

Plan, then apply: sizes and offsets are worked out as plain integers first, so the :class:`View` that says where a map
belongs on the photograph comes from the same numbers that cut the picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from limelight.errors import InputError, ModelError

Fit = Literal["crop", "whole", "pad"]
Coordinate = TypeVar("Coordinate", float, Tensor)

INTERPOLATIONS = ("bilinear", "bicubic")
CROP_MODES = ("center", "squash", "border")
LONGEST = 16  # times its short side is as much of a photograph as a centre crop looks at


@dataclass(frozen=True)
class View:
    """Where a network input lies on its photograph.

    Coordinates are continuous: pixel ``i`` spans ``[i, i + 1]``, so its centre is ``i + 0.5``.
    """

    photo_size: tuple[int, int]
    """Width and height of the photograph."""
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 on the photograph of the input's full extent; where it was padded, beyond the photograph."""
    input_size: tuple[int, int]
    """Height and width of the input."""

    def to_photo(self, x: Coordinate, y: Coordinate) -> tuple[Coordinate, Coordinate]:
        """Input coordinates -> photograph coordinates, for numbers or tensors of any shape."""
        (height, width), (x0, y0, x1, y1) = self.input_size, self.box
        return x0 + x * ((x1 - x0) / width), y0 + y * ((y1 - y0) / height)

    def to_input(self, x: Coordinate, y: Coordinate) -> tuple[Coordinate, Coordinate]:
        """Photograph coordinates -> input coordinates; the inverse of :meth:`to_photo`."""
        (height, width), (x0, y0, x1, y1) = self.input_size, self.box
        return (x - x0) * (width / (x1 - x0)), (y - y0) * (height / (y1 - y0))

    @property
    def inside(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 in input coordinates of the part of the input that is photograph and not border."""
        (height, width), (photo_width, photo_height) = self.input_size, self.photo_size
        x0, y0 = self.to_input(0.0, 0.0)
        x1, y1 = self.to_input(float(photo_width), float(photo_height))
        return max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))


@dataclass(frozen=True)
class Preprocessing:
    """What a network expects of a picture. ``fit="crop"`` is timm's and torchvision's transform for evaluation.

    Raises ``ModelError`` for a description that can't be carried out.
    """

    size: tuple[int, int]
    """Height and width of the input."""
    mean: tuple[float, ...]
    """Per channel, of values in [0, 1]; one value means a greyscale network, three mean RGB."""
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    crop: float = 0.875
    """The share of the resized picture's side that the crop keeps (timm's ``crop_pct``)."""
    crop_mode: str = "center"
    """timm's: "center" keeps the proportions, "squash" does not, "border" shows all of the picture on a border."""

    def __post_init__(self):
        if len(self.size) != 2 or min(self.size) < 1:
            raise ModelError(f"The input size must be (height, width), at least 1 pixel each, not {self.size}.")
        if len(self.mean) not in (1, 3) or len(self.std) != len(self.mean) or min(self.std) <= 0:
            raise ModelError(f"mean and std must hold 1 or 3 values each, std above 0: {self.mean}, {self.std}.")
        if self.interpolation not in INTERPOLATIONS:
            raise ModelError(f"Interpolation {self.interpolation!r} is not one of {', '.join(INTERPOLATIONS)}.")
        if self.crop_mode not in CROP_MODES or self.crop <= 0:
            raise ModelError(f"Crop {self.crop_mode!r} by {self.crop} is not {', '.join(CROP_MODES)} by more than 0.")

    @property
    def channels(self) -> int:
        """1 for greyscale, 3 for RGB."""
        return len(self.mean)

    def __call__(self, pixels: Tensor, fit: Fit = "crop") -> tuple[Tensor, View]:
        """Prepare one picture.

        ``pixels`` is (3, height, width) uint8 RGB on the CPU. Gives the input, (channels, *size) float32, normalised,
        and the view it has of the picture. ``fit``: "crop" as in the network's evaluation, which loses the margins;
        "whole" squeezes the whole picture; "pad" keeps the whole picture and its proportions, on the mean colour.

        Raises ``InputError`` for anything but such pixels, or an unknown ``fit``.
        """
        _check(pixels, fit)
        photo_height, photo_width = pixels.shape[1:]
        top, height = self._looked_at(photo_height, photo_width, fit)
        left, width = self._looked_at(photo_width, photo_height, fit)
        resized = self._resized(height, width, fit)
        corner = _centred(resized[0], self.size[0]), _centred(resized[1], self.size[1])

        pixels = pixels[:, top : top + height, left : left + width]
        if self.channels == 1:
            pixels = _luma(pixels)
        # On uint8, torch's resampling is within rounding of Pillow's, and four times as fast as on floats.
        picture = F.interpolate(pixels[None], resized, mode=self.interpolation, antialias=True)[0]
        window = _window(picture.float() / 255, corner, self.size, self._border(fit))

        (scale_y, scale_x), (y, x) = (height / resized[0], width / resized[1]), corner
        x0, x1 = (left + edge * scale_x for edge in (x, x + self.size[1]))
        y0, y1 = (top + edge * scale_y for edge in (y, y + self.size[0]))
        view = View((photo_width, photo_height), (x0, y0, x1, y1), self.size)
        return (window - _column(self.mean)) / _column(self.std), view

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values, for a checkpoint's card."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Preprocessing:
        """The inverse of :meth:`as_dict`, also after JSON made lists of tuples. ``ModelError`` if they don't fit."""
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
        try:
            return cls(**values)
        except TypeError as error:
            raise ModelError(f"Not a description of a preprocessing: {error}.") from None

    def _looked_at(self, length: int, across: int, fit: Fit) -> tuple[int, int]:
        """Start and length of the photograph's part to resize, along one side.

        A centre crop shows the middle of a very long picture only; resizing all of it could need any amount of memory.
        """
        if fit != "crop" or self.crop_mode != "center":
            return 0, length
        most = across * LONGEST * max(self.size) // min(self.size)
        start = max(length - most, 0) // 2  # the same at both ends, so that the middle stays the middle
        return start, length - 2 * start

    def _resized(self, height: int, width: int, fit: Fit) -> tuple[int, int]:
        """Height and width of the picture before it is cropped or padded to ``size``, rounded as timm rounds."""
        if fit == "whole":
            return self.size
        if fit == "pad":
            return _scaled(height, width, max(height / self.size[0], width / self.size[1]))
        target = tuple(max(math.floor(side / self.crop), 1) for side in self.size)
        if self.crop_mode == "squash":
            return target[0], target[1]
        ratios = height / target[0], width / target[1]
        if self.crop_mode == "border":
            return _scaled(height, width, max(ratios))
        if target[0] != target[1]:
            return _scaled(height, width, min(ratios))
        short, long = sorted((height, width))
        longer = int(target[0] * long / short)  # a square target is torchvision's to resize: it truncates
        return (target[0], longer) if height <= width else (longer, target[0])

    def _border(self, fit: Fit) -> tuple[float, ...]:
        """The colour, in [0, 1], of what the picture does not fill."""
        if fit == "pad":
            return self.mean  # exactly 0 once normalised
        if self.crop_mode == "border":
            return tuple(round(255 * value) / 255 for value in self.mean)
        return (0.0,) * self.channels


def _check(pixels: Tensor, fit: str) -> None:
    if fit not in get_args(Fit):
        raise InputError(f"fit={fit!r} is not one of {', '.join(get_args(Fit))}.")
    if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[0] != 3 or not pixels.numel():
        raise InputError(f"A picture is a uint8 tensor (3, height, width), not {pixels.dtype} {tuple(pixels.shape)}.")


def _luma(pixels: Tensor) -> Tensor:
    """RGB (3, height, width) -> grey (1, height, width), uint8, with Pillow's integer weights (ITU-R 601)."""
    red, green, blue = pixels.int()
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).to(torch.uint8)[None]


def _scaled(height: int, width: int, ratio: float) -> tuple[int, int]:
    """Both sides divided by ``ratio``; a side never vanishes."""
    return max(round(height / ratio), 1), max(round(width / ratio), 1)


def _centred(length: int, window: int) -> int:
    """Where a centred window starts along a picture's side, negative when it is wider; torchvision's rounding."""
    return -((window - length) // 2) if window > length else round((length - window) / 2)


def _window(picture: Tensor, corner: tuple[int, int], size: tuple[int, int], border: tuple[float, ...]) -> Tensor:
    """The (channels, *size) part of ``picture`` whose top left is ``corner``; ``border`` where there is no picture."""
    (top, left), (height, width), colour = corner, size, _column(border)
    bottom, right = top + height - picture.shape[1], left + width - picture.shape[2]
    return F.pad(picture - colour, (-left, right, -top, bottom)) + colour  # a negative width crops


def _column(values: tuple[float, ...]) -> Tensor:
    """(channels,) numbers -> (channels, 1, 1)."""
    return torch.tensor(values)[:, None, None]
