"""The pictures of a data set as network inputs: decoded once while memory allows, prepared by several threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from limelight.images import read
from limelight.preprocessing import Preprocessing
from limelight.training.augment import Augmentation, vary

MEMORY = 1 << 30
"""Bytes of decoded pictures that are kept, and as many of prepared inputs."""
THREADS = 2
_SPARE = 1.8  # times the input's side are kept of a picture's short side, so that a crop of a third of it stays sharp


class Pictures:
    """Files -> inputs. Safe for several threads."""

    def __init__(self, paths: Sequence[Path], preprocessing: Preprocessing):
        self._paths, self._preprocessing = paths, preprocessing
        self._decoded, self._inputs = _Kept(MEMORY), _Kept(MEMORY)
        self._pool = ThreadPoolExecutor(THREADS)

    def as_evaluated(self, i: int) -> Tensor:
        """(channels, *size) Exactly what the network is shown of picture ``i`` when it is used."""
        kept = self._inputs.get(i)
        if kept is None:
            kept, _ = self._preprocessing(read(self._paths[i]).pixels)
            self._inputs.put(i, kept)
        return kept

    def varied(self, i: int, how: Augmentation, rng: np.random.Generator) -> Tensor:
        """(channels, *size) Picture ``i``, varied: a part of it, fitted into the input as all of it would be."""
        kept = self._decoded.get(i)
        if kept is None:
            kept = _shrunk(read(self._paths[i]).pixels, round(_SPARE * max(self._preprocessing.size)))
            self._decoded.put(i, kept)
        if self._preprocessing.crop_mode == "center":  # what is cut out has the input's proportions at once
            return self._preprocessing(vary(kept, self._preprocessing.size, how, rng), "whole")[0]
        height, width = kept.shape[1:]
        return self._preprocessing(vary(kept, (height, width), how, rng))[0]

    def batches(
        self, numbers: Sequence[int], size: int, how: Augmentation | None = None, seed: Sequence[int] = ()
    ) -> Iterator[Tensor]:
        """Inputs (batch, channels, *size) of these pictures in their order; the next batch is prepared meanwhile.

        With ``how`` they are varied, each by random numbers that depend on ``seed`` and its own number alone: not on
        the batch, on the threads or on what was asked before.
        """

        def one(place: int) -> Tensor:
            i = numbers[place]
            return self.varied(i, how, np.random.default_rng([*seed, i])) if how else self.as_evaluated(i)

        starts = range(0, len(numbers), size)
        waiting = [self._pool.submit(one, place) for place in range(min(size, len(numbers)))]
        for start in starts:
            following = range(start + size, min(start + 2 * size, len(numbers)))
            ahead = [self._pool.submit(one, place) for place in following]
            yield torch.stack([each.result() for each in waiting])
            waiting = ahead


class _Kept:
    """Tensors by number, as many as fit in so many bytes: the first that came stay."""

    def __init__(self, most: int):
        self._most, self._held, self._lock = most, 0, Lock()
        self._tensors: dict[int, Tensor] = {}

    def get(self, i: int) -> Tensor | None:
        return self._tensors.get(i)

    def put(self, i: int, tensor: Tensor) -> None:
        with self._lock:
            if i not in self._tensors and self._held + tensor.nbytes <= self._most:
                self._tensors[i] = tensor
                self._held += tensor.nbytes


def _shrunk(pixels: Tensor, short: int) -> Tensor:
    """A picture whose short side is at most ``short``."""
    height, width = pixels.shape[1:]
    scale = short / min(height, width)
    if scale >= 1:
        return pixels
    size = max(round(height * scale), 1), max(round(width * scale), 1)
    return F.interpolate(pixels[None], size, mode="bilinear", antialias=True)[0]
