"""Taking a candidate out of a picture, or putting it into one, and doing the same with something of no meaning.

Every edit gives a pair: the picture changed, and the picture changed as much in a way that has nothing to do with the
candidate. What the network makes of the first beyond the second is the candidate's doing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image, ImageFilter

from limelight.images import read
from limelight.studies.bias.album import Album
from limelight.studies.bias.properties import Tiles, colour_cast, tiles

Pixels = np.ndarray
"""(height, width, 3) uint8, a file's own resolution."""
Pair = tuple[Pixels, Pixels]


class Edit(Protocol):
    """How a candidate is taken out and put in; ``rng`` draws what is left to chance."""

    def remove(self, i: int, rng: np.random.Generator) -> Pair:
        """Picture ``i`` without it, and a control."""
        ...

    def insert(self, i: int, rng: np.random.Generator) -> Pair:
        """Picture ``i`` with it, and a control."""
        ...


def pixels(album: Album, i: int) -> Pixels:
    """A picture of the album, as large as its file."""
    return read(album.paths[i]).pixels.permute(1, 2, 0).contiguous().numpy()


@dataclass(frozen=True, eq=False)
class MarkEdit:
    """A mark that lies in ``boxes``: painted over, or a box with it pasted where it lay. Control: a box beside it."""

    album: Album
    boxes: dict[int, tuple[float, float, float, float]]
    donors: Sequence[int]

    def remove(self, i: int, rng: np.random.Generator) -> Pair:
        """See :meth:`Edit.remove`."""
        picture = pixels(self.album, i)
        box = self.album.in_file(i, self.boxes[i])
        other = _elsewhere(picture.shape[:2], box, rng)
        return _painted_over(picture, box), _painted_over(picture, other)

    def insert(self, i: int, rng: np.random.Generator) -> Pair:
        """See :meth:`Edit.insert`."""
        donor = int(rng.choice(self.donors))
        picture, source = pixels(self.album, i), pixels(self.album, donor)
        box = self.album.in_file(donor, self.boxes[donor])
        other = _elsewhere(source.shape[:2], box, rng)
        return _pasted(picture, source, box, box), _pasted(picture, source, other, box)


@dataclass(frozen=True, eq=False)
class LightEdit:
    """A cast or a brightness: red, green and blue multiplied by ``gains``. Control: as strong, another way."""

    album: Album
    gains: tuple[float, float, float]

    def remove(self, i: int, rng: np.random.Generator) -> Pair:
        """See :meth:`Edit.remove`."""
        return self._both(i, -np.log(self.gains), rng)

    def insert(self, i: int, rng: np.random.Generator) -> Pair:
        """See :meth:`Edit.insert`."""
        return self._both(i, np.log(self.gains), rng)

    def _both(self, i: int, logs: np.ndarray, rng: np.random.Generator) -> Pair:
        picture = pixels(self.album, i)
        away = rng.normal(size=3)
        away -= logs * (away @ logs) / max(logs @ logs, 1e-9)
        away *= np.linalg.norm(logs) / max(np.linalg.norm(away), 1e-9)
        return _lit(picture, logs), _lit(picture, away)


@dataclass(frozen=True, eq=False)
class GrainEdit:
    """Sharpness or noise: ``softer`` classes are blurred into, the others sharpened. Control: noise as large."""

    album: Album
    radius: float
    softer: bool

    def remove(self, i: int, rng: np.random.Generator) -> Pair:
        """See :meth:`Edit.remove`."""
        return self._both(i, not self.softer, rng)

    def insert(self, i: int, rng: np.random.Generator) -> Pair:
        """See :meth:`Edit.insert`."""
        return self._both(i, self.softer, rng)

    def _both(self, i: int, soften: bool, rng: np.random.Generator) -> Pair:
        picture = pixels(self.album, i)
        radius = self.radius * self.album.scale(i)
        image = Image.fromarray(picture)
        kind = ImageFilter.GaussianBlur(radius) if soften else ImageFilter.UnsharpMask(radius, 120, 0)
        changed = np.asarray(image.filter(kind))
        size = np.abs(changed.astype(float) - picture).mean()
        tone = rng.normal(0, 1, 3)
        tone *= size * np.sqrt(3) / max(np.linalg.norm(tone), 1e-9)
        return changed, _bytes(picture + tone)


@dataclass(frozen=True, eq=False)
class BorderEdit:
    """A background: the tiles of the border strip that look most like the rest of it, from a picture of either kind.

    ``bearers`` have the property and ``others`` don't. Control: the same strip from a picture of the same kind.
    """

    album: Album
    bearers: Sequence[int]
    others: Sequence[int]
    thin: bool = False

    def remove(self, i: int, rng: np.random.Generator) -> Pair:
        """See :meth:`Edit.remove`."""
        return self._both(i, self.others, self.bearers, rng)

    def insert(self, i: int, rng: np.random.Generator) -> Pair:
        """See :meth:`Edit.insert`."""
        return self._both(i, self.bearers, self.others, rng)

    def _both(self, i: int, donors: Sequence[int], alike: Sequence[int], rng: np.random.Generator) -> Pair:
        picture = pixels(self.album, i)
        first, second = (int(rng.choice([d for d in kind if d != i])) for kind in (donors, alike))
        return self._framed(picture, i, first), self._framed(picture, i, second)

    def _framed(self, picture: Pixels, i: int, donor: int) -> Pixels:
        height, width = picture.shape[:2]
        source = np.asarray(Image.fromarray(pixels(self.album, donor)).resize((width, height)))
        if self.thin:
            where = np.ones((height, width), bool)
            edge = max(1, round(0.03 * max(height, width)))
            where[edge:-edge, edge:-edge] = False
        else:
            plain = Image.fromarray(_plain(tiles(self.album.small[donor])))
            where = np.asarray(plain.resize((width, height), Image.Resampling.NEAREST))
        return np.where(where[..., None], source, picture)


def _plain(t: Tiles) -> np.ndarray:
    """(rows, columns) bool: the border's tiles that are most like its middle ones, three in four of them."""
    look = np.concatenate([t.light, t.contrast[..., None], t.gradient[..., None]], 2)
    border = t.border
    middle, spread = np.median(look[border], 0), look[border].std(0) + 1e-3
    away = np.abs((look - middle) / spread).mean(2)
    return border & (away <= np.quantile(away[border], 0.75))


def cast_gains(album: Album, own: np.ndarray) -> tuple[float, float, float]:
    """What red, green and blue of the one kind are, beside the other's, at the same lightness."""
    chroma = np.stack([colour_cast(tiles(picture)) for picture in album.small])
    red, blue = np.median(chroma[own], 0) - np.median(chroma[~own], 0)
    level = (red + blue) / 3
    return tuple(float(np.exp(shift - level)) for shift in (red, 0.0, blue))  # type: ignore[return-value]


def brightness_gains(album: Album, own: np.ndarray) -> tuple[float, float, float]:
    """How much lighter the one kind is than the other."""
    level = np.array([np.log((picture.mean() + 4) / 259) for picture in album.small])
    gain = float(np.exp(np.median(level[own]) - np.median(level[~own])))
    return gain, gain, gain


def _lit(picture: Pixels, logs: np.ndarray) -> Pixels:
    return _bytes(picture * np.exp(logs))


def _bytes(values: np.ndarray) -> Pixels:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _elsewhere(shape: tuple[int, int], box: Sequence[int], rng: np.random.Generator, tries: int = 40) -> list[int]:
    """A box of the same size that overlaps ``box`` as little as ``tries`` draws allow."""
    height, width = shape
    x0, y0, x1, y1 = box
    w, h = x1 - x0, y1 - y0
    best, least = list(box), float("inf")
    for _ in range(tries):
        x, y = int(rng.integers(0, max(1, width - w + 1))), int(rng.integers(0, max(1, height - h + 1)))
        overlap = max(0, min(x + w, x1) - max(x, x0)) * max(0, min(y + h, y1) - max(y, y0))
        if overlap < least:
            best, least = [x, y, x + w, y + h], overlap
        if not overlap:
            break
    return best


def _painted_over(picture: Pixels, box: Sequence[int], coarse: int = 24, rounds: int = 120) -> Pixels:
    """The box filled smoothly from its surroundings (the heat equation at rest), coarsely where it is large."""
    x0, y0, x1, y1 = box
    height, width = picture.shape[:2]
    if x1 <= x0 or y1 <= y0:
        return picture
    step = max(1, max(x1 - x0, y1 - y0) // coarse)
    left, top = max(0, x0 - 2 * step), max(0, y0 - 2 * step)
    right, bottom = min(width, x1 + 2 * step), min(height, y1 + 2 * step)
    small_size = max(3, (right - left) // step), max(3, (bottom - top) // step)
    window = Image.fromarray(picture[top:bottom, left:right])
    small = np.asarray(window.resize(small_size, Image.Resampling.BOX), np.float32)
    hole = np.zeros(small.shape[:2], bool)
    sx, sy = small_size[0] / (right - left), small_size[1] / (bottom - top)
    hole[
        int(np.floor((y0 - top) * sy)) : int(np.ceil((y1 - top) * sy)),
        int(np.floor((x0 - left) * sx)) : int(np.ceil((x1 - left) * sx)),
    ] = True
    if hole.all():
        return picture
    values = small.copy()
    values[hole] = small[~hole].mean(0)
    for _ in range(rounds):
        wide = np.pad(values, ((1, 1), (1, 1), (0, 0)), mode="edge")
        mean = (wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]) / 4
        values[hole] = mean[hole]
    full = Image.fromarray(_bytes(values)).resize((right - left, bottom - top), Image.Resampling.BICUBIC)
    changed = picture.copy()
    changed[y0:y1, x0:x1] = np.asarray(full)[y0 - top : y1 - top, x0 - left : x1 - left]
    return changed


def _pasted(picture: Pixels, source: Pixels, box: Sequence[int], place: Sequence[int]) -> Pixels:
    """The part ``box`` of ``source`` laid on ``picture`` where ``place`` is, both scaled to the picture's size."""
    height, width = picture.shape[:2]
    down, right = height / source.shape[0], width / source.shape[1]
    x0, y0 = min(width - 1, round(place[0] * right)), min(height - 1, round(place[1] * down))
    w, h = max(1, round((box[2] - box[0]) * right)), max(1, round((box[3] - box[1]) * down))
    part = Image.fromarray(source[box[1] : box[3], box[0] : box[2]]).resize((w, h), Image.Resampling.BICUBIC)
    changed = picture.copy()
    w, h = min(w, width - x0), min(h, height - y0)
    changed[y0 : y0 + h, x0 : x0 + w] = np.asarray(part)[:h, :w]
    return changed
