"""Properties a picture has as a whole: measured where the object is not, or so that the object hardly shows.

A picture is cut into small tiles, and a property is read from the middle tiles of a strip along the border, or from the
whole picture's light; the tiles that a known mark touches are left out. Whether it tells a class is asked of a probe
that is judged on pictures it has not seen, beside the same probe with the labels shuffled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from limelight.studies.bias.album import Album, Box

TILE = 16
STRIP = 2  # tiles from the border
FRAME = 5  # pixels from the border that a printed frame would take
SIDES = 4  # of a picture
_QUARTILES = (25, 50, 75)


@dataclass(frozen=True, eq=False)
class Tiles:
    """One picture in tiles; each array is (rows, columns, ...), NaN where a mark lies.

    light: mean log of red, green, blue. chroma_spread: of log red/green and blue/green. contrast, gradient: logs of the
    spread and of the mean step between neighbours. flat: mean size of the second difference.
    """

    light: np.ndarray
    chroma_spread: np.ndarray
    contrast: np.ndarray
    gradient: np.ndarray
    flat: np.ndarray
    fine: np.ndarray
    coarse: np.ndarray

    @property
    def chroma(self) -> np.ndarray:
        """(rows, columns, 2) log red/green and log blue/green."""
        return self.light[..., [0, 2]] - self.light[..., [1]]

    @property
    def border(self) -> np.ndarray:
        """(rows, columns) bool, the strip along the border."""
        strip = np.ones(self.light.shape[:2], bool)
        strip[STRIP:-STRIP, STRIP:-STRIP] = False
        return strip


def tiles(picture: np.ndarray, without: Box | None = None) -> Tiles:
    """Cut (h, w, 3) uint8 into tiles; those that ``without`` touches are NaN."""
    values = (picture.astype(np.float32) + 4) / 259
    log = np.log(values)
    grey = values.mean(2)
    step = np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    second = np.zeros_like(grey)
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    second[1:-1, 1:-1] = np.abs(4 * grey[1:-1, 1:-1] - around)
    far = np.zeros_like(grey)
    far[:, :-4] = np.abs(grey[:, 4:] - grey[:, :-4])
    chroma = np.stack([log[..., 0] - log[..., 1], log[..., 2] - log[..., 1]], -1)
    known = Tiles(
        light=_cut(log).mean(2),
        chroma_spread=_cut(chroma).std(2),
        contrast=np.log(_cut(grey[..., None]).std(2)[..., 0] + 0.01),
        gradient=np.log(_cut(step[..., None]).mean(2)[..., 0] + 0.003),
        flat=_cut(second[..., None]).mean(2)[..., 0],
        fine=np.percentile(_cut(step[..., None])[..., 0], 95, axis=2),
        coarse=np.percentile(_cut(far[..., None])[..., 0], 95, axis=2),
    )
    if without is not None:
        x0, y0, x1, y1 = without
        touched = slice(int(y0) // TILE, int(y1 - 1) // TILE + 1), slice(int(x0) // TILE, int(x1 - 1) // TILE + 1)
        if not _all_but(touched, known.light.shape[:2]):
            return known  # it covers the strip whole: nothing would be left to measure
        for name in known.__dataclass_fields__:
            getattr(known, name)[touched] = np.nan
    return known


def _all_but(touched: tuple[slice, slice], shape: tuple[int, int]) -> bool:
    left = np.ones(shape, bool)
    left[touched] = False
    left[STRIP:-STRIP, STRIP:-STRIP] = False
    return bool(left.any())


def _cut(values: np.ndarray) -> np.ndarray:
    """(h, w, k) -> (rows, columns, pixels of a tile, k)."""
    height, width, k = values.shape
    rows, columns = max(1, height // TILE), max(1, width // TILE)
    down, right = height // rows, width // columns
    cut = values[: rows * down, : columns * right].reshape(rows, down, columns, right, k)
    return cut.swapaxes(1, 2).reshape(rows, columns, down * right, k)


def _quartiles(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.nanpercentile(values[where], _QUARTILES, axis=0).ravel()


def colour_cast(t: Tiles) -> np.ndarray:
    """The whole picture's colour: mean log red/green and log blue/green."""
    return np.nanmean(t.chroma, axis=(0, 1))


def brightness(t: Tiles) -> np.ndarray:
    """How light the picture is, and how evenly."""
    level = t.light[..., 1]
    return np.array([np.nanmean(level), np.nanstd(level)])


def background_colour(t: Tiles) -> np.ndarray:
    """The border's colours beside the picture's own cast and brightness, and how they are mixed."""
    chroma = t.chroma - colour_cast(t)
    level = t.light[..., 1:2] - np.nanmean(t.light[..., 1])
    border = np.concatenate([chroma, level, t.chroma_spread], axis=2)
    return _quartiles(border, t.border)


def background_texture(t: Tiles) -> np.ndarray:
    """The border's contrast, and how fine its grain is."""
    return _quartiles(np.stack([t.contrast, t.gradient - t.contrast], -1), t.border)


def sharpness(t: Tiles) -> np.ndarray:
    """How steep the border's strongest edges are beside the contrast they bridge.

    Of the border only: the whole picture's strongest edges are the objects' own, and how steep those are may be theirs.
    """
    ratio = np.log((t.fine + 0.004) / (t.coarse + 0.004))
    coarse = np.where(t.border, t.coarse, np.nan)
    return np.nanpercentile(ratio[coarse >= np.nanpercentile(coarse, 75)], [50, 85])


def noise(t: Tiles) -> np.ndarray:
    """How much the flattest tiles flicker."""
    return np.log(np.nanpercentile(t.flat, [5, 15]) + 1e-3)


def frame(picture: np.ndarray, without: Box | None = None) -> np.ndarray:
    """For each side of (h, w, 3) uint8: the outermost pixels' spread, and how they differ from those next to them.

    A side that ``without`` reaches is NaN.
    """
    values = picture.astype(np.float32) / 255
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = without or (width / 2, height / 2, width / 2, height / 2)
    found = []
    for side, reached in (
        (values, y0 < 3 * FRAME),
        (values[::-1], y1 > height - 3 * FRAME),
        (values.swapaxes(0, 1), x0 < 3 * FRAME),
        (values.swapaxes(0, 1)[::-1], x1 > width - 3 * FRAME),
    ):
        edge, next_to = side[:FRAME], side[FRAME : 3 * FRAME]
        look = [np.log(edge.std() + 0.01), *(edge.mean((0, 1)) - next_to.mean((0, 1)))]
        found += [np.nan] * len(look) if reached else look
    return np.array(found)


@dataclass(frozen=True)
class Property:
    """``kind`` is a finding's, ``name`` in words; ``of`` measures one picture's tiles: (features,)."""

    kind: str
    name: str
    of: Callable[[Tiles], np.ndarray]


PROPERTIES = (
    Property("tint", "colour cast", colour_cast),
    Property("tint", "brightness", brightness),
    Property("sharpness", "sharpness", sharpness),
    Property("sharpness", "noise", noise),
    Property("background", "background colour", background_colour),
    Property("background", "background texture", background_texture),
)


def measured(album: Album, marked: dict[int, Box]) -> dict[Property, np.ndarray]:
    """Each property of every picture, (n, features), away from the marks in ``marked``."""
    cut = [tiles(picture, marked.get(i)) for i, picture in enumerate(album.small)]
    found = {one: np.stack([one.of(t) for t in cut]) for one in PROPERTIES}
    frames = np.stack([frame(picture, marked.get(i)) for i, picture in enumerate(album.small)])
    found[FRAMED] = evened(frames)
    return found


def evened(frames: np.ndarray) -> np.ndarray:
    """(n, features) of frames in which it does not show any more where marks lie.

    A picture without a known mark hides the sides that one with a mark does, drawn by chance: else what is hidden
    would tell the classes apart. Each hidden side is that of another picture, whole.
    """
    rng, sides = np.random.default_rng(0), frames.reshape(len(frames), SIDES, -1).copy()
    hidden = np.isnan(sides).max(axis=-1, keepdims=True)[..., 0]
    marked = np.array([side.any() for side in hidden])
    if marked.any():
        hidden[~marked] = rng.permutation(np.resize(hidden[marked], (int((~marked).sum()), SIDES)))
    for side, gone in enumerate(hidden.T):
        sides[gone, side] = sides[rng.choice(np.flatnonzero(~gone), gone.sum()), side] if not gone.all() else 0.0
    return sides.reshape(len(frames), -1)


FRAMED = Property("border", "frame", lambda t: np.empty(0))
"""Measured on pixels rather than on tiles."""
