"""Pictures that are the same picture: found by a perceptual hash, confirmed by their pixels.

The hash is the sign pattern of a picture's coarsest cosines (Zauner 2010, *Implementation and Benchmarking of
Perceptual Image Hash Functions*, section 3.2.1: DCT based hash), which survives another size, another compression and
a little brightness. It is coarse: photographs of one kind taken one way (chest films) come near each other in it. So a
pair it proposes is held against the pixels of two thumbnails.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torch.nn import functional as F

SIDE = 32
"""Of the grey thumbnail the hash is made from."""
KEPT = 8
"""Cosines along either side: 8 x 8 = 64 bits."""
NEAR = 6
"""Bits that may differ between two pictures that are one."""
ALIKE = 0.985
"""The least correlation of their thumbnails."""
_CHUNK = 1024


def thumbnail(pixels: Tensor) -> np.ndarray:
    """(3, height, width) uint8 RGB -> (32, 32) float32 grey, in 0..255."""
    red, green, blue = F.interpolate(pixels[None], (SIDE, SIDE), mode="bilinear", antialias=True)[0].float()
    return (0.299 * red + 0.587 * green + 0.114 * blue).numpy()


def hashes(thumbnails: np.ndarray) -> np.ndarray:
    """(pictures, 32, 32) -> (pictures,) uint64: whether each of the 64 coarsest cosines is above their median."""
    basis = _cosines(SIDE, KEPT)
    coarse = np.einsum("ai,nij,bj->nab", basis, thumbnails.astype(np.float64), basis).reshape(-1, KEPT * KEPT)
    bits = coarse > np.median(coarse, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def pairs(thumbnails: np.ndarray, near: int = NEAR, alike: float = ALIKE) -> list[tuple[int, int]]:
    """The numbers (i < j) of thumbnails (pictures, 32, 32) that show the same picture.

    ``near`` bits of the hashes may differ, and the thumbnails' correlation must be at least ``alike``.
    """
    codes = hashes(thumbnails)
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float64)
    flat = flat - flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)  # a picture of one colour is like no other
    found: list[tuple[int, int]] = []
    for start in range(0, len(codes), _CHUNK):
        apart = np.bitwise_count(codes[start : start + _CHUNK, None] ^ codes[None, start:])
        rows, columns = np.nonzero(np.triu(apart <= near, k=1))
        same = np.einsum("nd,nd->n", flat[start + rows], flat[start + columns]) >= alike
        found += [(int(start + i), int(start + j)) for i, j in zip(rows[same], columns[same], strict=True)]
    return found


def groups(count: int, linked: list[tuple[int, int]]) -> list[int]:
    """(count,) The group of each picture: the lowest number among those it is linked with, by any chain."""
    leader = list(range(count))

    def find(i: int) -> int:
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = leader[i]
        return i

    for i, j in linked:
        one, other = sorted((find(i), find(j)))
        leader[other] = one
    return [find(i) for i in range(count)]


def _cosines(length: int, kept: int) -> np.ndarray:
    """(kept, length) The lowest basis functions of the type-II discrete cosine transform."""
    places, frequencies = np.arange(length) + 0.5, np.arange(kept)
    return np.cos(np.pi * frequencies[:, None] * places / length)
