"""The same picture, seen a little differently: what training varies and the label doesn't depend on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Augmentation:
    """How far a picture may be varied."""

    smallest: float
    """The least share of the picture's area that a crop shows."""
    stretch: float
    """The most a crop's proportions may differ from the input's, as a factor."""
    flip: bool
    """Whether left and right may be exchanged."""
    colour: float
    """The most that brightness, contrast and saturation may change, as a share."""


AUGMENTATIONS = {
    "none": None,
    "light": Augmentation(smallest=0.6, stretch=1.15, flip=True, colour=0.0),
    "medium": Augmentation(smallest=0.35, stretch=4 / 3, flip=True, colour=0.2),
    "strong": Augmentation(smallest=0.15, stretch=4 / 3, flip=True, colour=0.4),
}


def vary(pixels: Tensor, size: tuple[int, int], how: Augmentation, rng: np.random.Generator) -> Tensor:
    """(3, height, width) uint8 -> (3, *size) uint8: a random crop, perhaps flipped, in slightly other colours.

    The crop is that of Szegedy et al. 2015 (Going deeper with convolutions, section 6): its area and its proportions
    are drawn, its place too.
    """
    height, width = pixels.shape[1:]
    area = rng.uniform(how.smallest, 1)
    ratio = math.exp(rng.uniform(-math.log(how.stretch), math.log(how.stretch))) * size[1] / size[0]
    # Of the largest window with these proportions: a long picture is never squeezed into a square.
    across = min(width, height * ratio) * math.sqrt(area)
    w, h = max(round(across), 1), min(max(round(across / ratio), 1), height)
    top, left = (int(rng.integers(0, rest + 1)) for rest in (height - h, width - w))
    crop = pixels[:, top : top + h, left : left + w]
    if how.flip and rng.random() < 0.5:
        crop = crop.flip(2)
    varied = F.interpolate(crop[None], size, mode="bilinear", antialias=True)[0]
    return _coloured(varied, how.colour, rng) if how.colour else varied


def _coloured(pixels: Tensor, most: float, rng: np.random.Generator) -> Tensor:
    brightness, contrast, saturation = rng.uniform(1 - most, 1 + most, 3).tolist()
    picture = pixels.float() * brightness
    grey = picture.mean(0, keepdim=True)
    picture = grey + (picture - grey) * saturation
    level = picture.mean()
    return (level + (picture - level) * contrast).clamp(0, 255).to(torch.uint8)
