"""Marks: small patches that come again, near-identical, in many pictures of one class wherever they lie.

Patches of a few pictures of a class are looked for in all pictures (compare Doersch et al. 2012, "What makes Paris look
like Paris?"). How well a patch's best match in a picture of the class fits is measured in spreads of its best matches
in the other classes' pictures: parts of an object fit a little better than chance, a mark fits as nothing does by
chance. The best are sharpened by averaging what they match and searched again, and what one of them misses (another
corner, another turn, another day's date) a second may find.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from skimage.measure import label as components
from torch import Tensor
from torch.nn import functional as F

from limelight.studies.bias.album import Album, Box
from limelight.studies.bias.patches import BLOCK, CELL, Whitening, cells, contrast

QUERIES = 12  # pictures of a class whose patches are looked for
STRIDE = 4  # cells between those patches
SCREEN = 40  # pictures of a class in which they are looked for first
KEPT = 24  # patches that are looked for in all pictures
STANDS_OUT = 4.0
"""Spreads above chance from which on a patch counts as the same patch."""
EDGE = 0.5  # of a patch's sameness: where it ends, half the patch lies beside the mark
INSET = 8  # pixels from the edge of such a patch to the mark's edge, and a little to spare
LIKELY = 3.5  # the same, for a patch that is yet to be sharpened
NEAR = 3  # cells a mark with a place of its own may shift
PARTS = 6  # patches that may make one mark
GAIN = 0.015  # of balanced accuracy that a further one must bring
PART = (0.15, 0.5)
"""The share of a class that must bear a part of a mark, and how alike two of its showings must be (cosine)."""
REPEATS = 0.3
"""Share times likeness, from which on a class is said to bear a mark."""
TEXTURE = 0.2
"""A patch like which so much of the picture looks is no mark but a texture. Planted marks had up to 0.17 (rulers, which
are long); patches of grains that had passed for marks had 0.24."""


@dataclass(frozen=True, eq=False)
class Mark:
    """A repeated patch.

    label: the class it goes with. fit: (n,) spreads above chance of its best match in each picture. present: (n,) bool.
    honest: (n,) bool, its presence by parts that were chosen on other pictures. repeats: the share of the class that
    bears it times how alike its showings are (cosine of whitened patches). boxes: where it lies in the pictures that
    bear it. covered: the share of those pictures that looks like it.
    """

    label: int
    fit: np.ndarray
    present: np.ndarray
    honest: np.ndarray
    repeats: float
    boxes: dict[int, Box]
    covered: float


@dataclass(frozen=True, eq=False)
class _Patches:
    """Patches to look for: (q, d) vectors, (q, 2) the cell each comes from, (q, 2) the grid of that picture."""

    vectors: Tensor
    cell: Tensor
    grid: Tensor

    def __getitem__(self, which: Tensor | np.ndarray) -> _Patches:
        which = torch.as_tensor(which)
        return _Patches(self.vectors[which], self.cell[which], self.grid[which])


@dataclass(frozen=True, eq=False)
class _Matches:
    """The best match of each of q patches in each of m pictures, anywhere and near the patch's own place.

    similarity: (2, q, m) cosines; at: (2, q, m, 2) row and column of the cell.
    """

    similarity: np.ndarray
    at: np.ndarray


class Search:
    """All patches of an album, described once."""

    def __init__(self, album: Album, seed: int):
        self.album, self.seed = album, seed
        pictures = [cells(picture) for picture in album.small]
        self.whitening = Whitening.of(pictures, seed)
        self.maps = [self.whitening(picture) for picture in pictures]
        self.contrasts = [contrast(picture) for picture in pictures]

    def mark(self, label: int) -> Mark | None:
        """What repeats in the pictures of class ``label`` and not in the others', if anything may."""
        rng = np.random.default_rng((self.seed, label))
        own = self.album.labels == label
        inside, outside = rng.permutation(np.flatnonzero(own)), rng.permutation(np.flatnonzero(~own))
        sources = inside[:QUERIES]
        patches, owners = self._exemplars(sources)
        first = np.concatenate([inside[len(sources) :][:SCREEN], outside[:SCREEN]])
        if len(inside) <= len(sources) + 4:
            first = np.concatenate([inside, outside[:SCREEN]])
        matches = self._match(patches, first, owners)
        kept = []
        for way in (0, 1):
            fit = _fit(matches.similarity[way], own[first])
            kept.append(_promising(fit > LIKELY, own[first]))
        found = [self._sharpen(patches[which], way, own) for way, which in enumerate(kept)]
        vectors = torch.cat([vectors for vectors, _, _ in found])
        fits, at = (np.concatenate([one[k] for one in found]) for k in (1, 2))
        return self._joined(label, own, vectors, fits, at, rng)

    def _exemplars(self, pictures: np.ndarray) -> tuple[_Patches, np.ndarray]:
        vectors, places, grids, owners = [], [], [], []
        for i in pictures:
            height, width = self.contrasts[i].shape
            rows, columns = torch.meshgrid(
                torch.arange(0, height, STRIDE), torch.arange(0, width, STRIDE), indexing="ij"
            )
            cell = torch.stack([rows.flatten(), columns.flatten()], 1)
            strong = self.contrasts[i][cell[:, 0], cell[:, 1]] > 0.7 * self.contrasts[i].median()
            cell = cell[strong]
            vectors.append(self.maps[i][cell[:, 0], cell[:, 1]])
            places.append(cell)
            grids.append(torch.tensor([[height, width]]).expand(len(cell), 2))
            owners.append(np.full(len(cell), i))
        return _Patches(torch.cat(vectors), torch.cat(places), torch.cat(grids)), np.concatenate(owners)

    def _match(self, patches: _Patches, pictures: Sequence[int] | np.ndarray, owners: np.ndarray | None) -> _Matches:
        count = len(patches.vectors)
        similarity = np.full((2, count, len(pictures)), np.nan, np.float32)
        at = np.zeros((2, count, len(pictures), 2), np.int16)
        for column, i in enumerate(pictures):
            grid = self.maps[i].shape[:2]
            found = (patches.vectors @ self.maps[i].flatten(0, 1).T).view(count, *grid)
            for way, (best, place) in enumerate((_anywhere(found), _near(found, patches))):
                similarity[way, :, column], at[way, :, column] = best.numpy(), place.numpy()
            if owners is not None:
                similarity[:, owners == i, column] = np.nan  # a patch is no match of itself
        return _Matches(similarity, at)

    def _sharpen(self, patches: _Patches, way: int, own: np.ndarray) -> tuple[Tensor, np.ndarray, np.ndarray]:
        """Each patch as the mean of what it matches in its class: vectors, fits (q, n) and places (q, n, 2)."""
        everything = np.arange(len(own))
        for last in (False, False, True):
            matches = self._match(patches, everything, None)
            fit = _fit(matches.similarity[way], own)
            if last:
                return patches.vectors, fit, matches.at[way]
            vectors = []
            for q in range(len(fit)):
                bearers = np.flatnonzero(own & (fit[q] > LIKELY))
                if len(bearers) < 3:
                    bearers = np.flatnonzero(own)[np.argsort(-fit[q][own])[:3]]
                rows, columns = matches.at[way][q, bearers].T
                vectors.append(
                    torch.stack([self.maps[i][r, c] for i, r, c in zip(bearers, rows, columns, strict=True)]).mean(0)
                )
            patches = _Patches(F.normalize(torch.stack(vectors), dim=1), patches.cell, patches.grid)
        raise AssertionError("unreachable")

    def _joined(
        self, label: int, own: np.ndarray, vectors: Tensor, fits: np.ndarray, at: np.ndarray, rng: np.random.Generator
    ) -> Mark | None:
        """The patches that together tell the class best, as one mark; chosen on each half to judge the other."""
        present = fits > STANDS_OUT
        share = _share(present, own)
        alike = np.array([self._likeness(at[q], np.flatnonzero(own & present[q])) for q in range(len(at))])
        parts = np.flatnonzero(((share >= PART[0]) & (alike >= PART[1])) | (share * alike >= REPEATS))
        if not len(parts):
            return None
        chosen = parts[_choose(present[parts], own)]
        honest, half = np.zeros(len(own), bool), _halves(own, rng)
        for part in (half, ~half):
            judged = parts[_choose(present[parts][:, part], own[part])]
            honest[~part] = present[judged][:, ~part].any(0)
        if not len(chosen):
            return None
        first = present[chosen].argmax(0)  # the part that finds it, the best first
        shown = present[chosen].any(0)
        repeats = sum(alike[q] * np.mean(own & shown & (first == k)) for k, q in enumerate(chosen)) / own.mean()
        boxes: dict[int, Box] = {}
        for k, q in enumerate(chosen):
            extent = self._extent(at[q], np.flatnonzero(own & present[q]))
            boxes |= {int(i): self._box(int(i), at[q, i], extent) for i in np.flatnonzero(shown & (first == k))}
        covered = [self._covered(i, vectors[chosen[first[i]]]) for i in list(boxes)[:40]]
        fit = fits[chosen].max(0)
        return Mark(label, fit, np.asarray(shown), honest, float(repeats), boxes, float(np.median(covered)))

    def _likeness(self, at: np.ndarray, bearers: np.ndarray) -> float:
        """The mean cosine between two showings of a patch."""
        m = len(bearers)
        if m < 3:
            return 0.0
        rows, columns = at[bearers].T
        together = torch.stack([self.maps[i][r, c] for i, r, c in zip(bearers, rows, columns, strict=True)]).sum(0)
        return float((together.norm() ** 2 - m) / (m * (m - 1)))

    def _covered(self, i: int, vector: Tensor) -> float:
        """The share of picture ``i`` that looks like a patch, half as much as its best match at least."""
        found = self.maps[i] @ vector
        same = F.max_pool2d((found > 0.5 * found.max()).float()[None], BLOCK, 1, BLOCK // 2)
        return float(same.mean())

    def _extent(self, at: np.ndarray, bearers: np.ndarray, reach: int = 24) -> tuple[int, int, int, int]:
        """How far the sameness goes around a patch: first and last cell, rows then columns, from the patch's own."""
        size = 2 * reach + 1
        total, count = torch.zeros(size, size, self.maps[0].shape[-1]), torch.zeros(size, size)
        for i in bearers:
            patches, (row, column) = self.maps[i], at[i]
            height, width = patches.shape[:2]
            top, left = max(0, row - reach), max(0, column - reach)
            bottom, right = min(height, row + reach + 1), min(width, column + reach + 1)
            rows = slice(top - row + reach, bottom - row + reach)
            columns = slice(left - column + reach, right - column + reach)
            total[rows, columns] += patches[top:bottom, left:right]
            count[rows, columns] += 1
        few = max(3, len(bearers) / 4)
        alike = torch.where(count >= few, total.norm(dim=2) / count.clamp(min=1), 0.0)
        by_chance = 1 / count.clamp(min=1).sqrt()
        same = (alike > by_chance + EDGE * (alike[reach, reach] - by_chance)).numpy()

        same[reach, reach] = True
        parts = np.asarray(components(same))
        down, across = np.nonzero(parts == parts[reach, reach])
        top, bottom, left, right = (int(edge) - reach for edge in (down.min(), down.max(), across.min(), across.max()))
        return top, bottom, left, right

    def _box(self, i: int, at: np.ndarray, extent: tuple[int, int, int, int]) -> Box:
        height, width = self.album.small[i].shape[:2]
        top, bottom, left, right = extent
        row, column = int(at[0]), int(at[1])
        return (
            float(max(0, (column + left) * CELL + INSET)),
            float(max(0, (row + top) * CELL + INSET)),
            float(min(width, (column + right + BLOCK) * CELL - INSET)),
            float(min(height, (row + bottom + BLOCK) * CELL - INSET)),
        )


def _anywhere(found: Tensor) -> tuple[Tensor, Tensor]:
    best, index = found.flatten(1).max(1)
    return best, torch.stack([index // found.shape[2], index % found.shape[2]], 1)


def _near(found: Tensor, patches: _Patches) -> tuple[Tensor, Tensor]:
    """The best match within ``NEAR`` cells of the patch's place, reckoned from the picture's nearest corner."""
    height, width = found.shape[1:]
    grid = torch.tensor([height, width])
    far = patches.cell * 2 > patches.grid
    place = torch.where(far, patches.cell - patches.grid + grid, patches.cell)
    steps = torch.arange(-NEAR, NEAR + 1)
    shifts = torch.cartesian_prod(steps, steps)
    around = torch.minimum((place[:, None] + shifts).clamp(min=0), grid - 1)  # (q, shifts, 2)
    index = around[..., 0] * width + around[..., 1]
    best, which = found.flatten(1).gather(1, index).max(1)
    return best, around[torch.arange(len(found)), which]


def _fit(similarity: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(q, m) similarities in spreads above what is usual among pictures of the other classes."""
    middle, low = np.nanpercentile(similarity[:, ~own], [50, 15.87], axis=1)
    return (similarity - middle[:, None]) / np.maximum(middle - low, 0.02)[:, None]


def _promising(present: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Of q patches those that tell the class best, each counting less what the ones before it find already."""
    weight = np.ones(int(own.sum()))
    false, chosen = _share(present, ~own), []
    for _ in range(min(KEPT, len(present))):
        gain = present[:, own] @ weight / len(weight) - false * weight.mean()
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
        weight = np.where(present[chosen[-1]][own], weight * 0.8, weight)
    return np.array(chosen)


def _share(present: np.ndarray, where: np.ndarray) -> np.ndarray:
    return present[:, where].mean(1)


def _halves(own: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) bool, true for half of either kind."""
    half = np.zeros(len(own), bool)
    for kind in (own, ~own):
        half[rng.permutation(np.flatnonzero(kind))[::2]] = True
    return half


def _choose(present: np.ndarray, own: np.ndarray) -> list[int]:
    """Patches (of q) that together, if any is present, tell the class best; the best first."""
    chosen: list[int] = []
    together, best = np.zeros(present.shape[1], bool), 0.5
    while len(chosen) < PARTS:
        joined = present | together
        accuracy = (_share(joined, own) + 1 - _share(joined, ~own)) / 2
        q = int(accuracy.argmax())
        if accuracy[q] < best + GAIN:
            break
        chosen.append(q)
        together, best = joined[q], float(accuracy[q])
    return chosen
