"""The pictures of a data set as the audit sees them: small, in memory, with their classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from limelight.errors import InputError
from limelight.images import read

SIDE = 224
"""The long side, in pixels, at which pictures are searched."""
FEWEST = 8
"""Pictures a class must have for anything to be said of it."""

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the small picture."""


@dataclass(frozen=True, eq=False)
class Album:
    """Pictures and their classes.

    paths: one file a picture. labels: (n,) class numbers. classes: the classes' names. small: each (h, w, 3) uint8 with
    a long side of ``SIDE``. sizes: (n, 2) width and height of the files, upright.
    """

    paths: tuple[Path, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    small: tuple[np.ndarray, ...]
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    def scale(self, i: int) -> float:
        """Pixels of picture ``i``'s file to one pixel of its small version."""
        return float(max(self.sizes[i])) / SIDE

    def in_file(self, i: int, box: Box) -> list[int]:
        """A box on the small picture as whole pixels of the file, inside it."""
        width, height = (int(side) for side in self.sizes[i])
        x0, y0, x1, y1 = (edge * self.scale(i) for edge in box)
        return [max(0, round(x0)), max(0, round(y0)), min(width, round(x1)), min(height, round(y1))]


def read_album(paths: Sequence[str | Path], labels: Sequence[int | str], classes: Sequence[str] | None = None) -> Album:
    """Read all pictures, small.

    ``labels`` are names, or numbers into ``classes``. Raises InputError for fewer than two classes, a class of fewer
    than ``FEWEST`` pictures, an unknown label, or a file that is no picture.
    """
    if classes is None:
        classes = sorted({str(label) for label in labels})
    place = {name: number for number, name in enumerate(classes)}
    numbers = np.array([_number(label, place) for label in labels])
    counts = np.bincount(numbers, minlength=len(classes))
    if len(classes) < 2:
        raise InputError("Bias is what tells classes apart: the audit needs pictures of at least two classes.")
    if counts.min(initial=FEWEST) < FEWEST:
        few = classes[int(counts.argmin())]
        raise InputError(f"Class {few!r} has {counts.min()} pictures; the audit needs at least {FEWEST} of each class.")
    small, sizes = zip(*(_small(path) for path in paths), strict=True)
    return Album(tuple(map(Path, paths)), numbers, tuple(classes), small, np.array(sizes))


def _number(label: int | str, place: dict[str, int]) -> int:
    if isinstance(label, str):
        if label not in place:
            raise InputError(f"No class {label!r} among {', '.join(place)}.")
        return place[label]
    if not 0 <= label < len(place):
        raise InputError(f"Label {label} is no class: there are {len(place)}, numbered from 0.")
    return int(label)


def _small(path: str | Path) -> tuple[np.ndarray, tuple[int, int]]:
    pixels = read(path).pixels
    height, width = pixels.shape[1:]
    ratio = SIDE / max(height, width)
    size = max(1, round(height * ratio)), max(1, round(width * ratio))
    if size != (height, width):
        pixels = F.interpolate(pixels[None], size, mode="bilinear", antialias=True)[0]
    return np.ascontiguousarray(pixels.permute(1, 2, 0).to(torch.uint8).numpy()), (width, height)
