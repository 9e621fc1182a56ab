"""Small sets of pictures on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

import limelight as ll


def noise(level: int, seed: int, size: tuple[int, int] = (40, 48)) -> np.ndarray:
    """(height, width, 3) uint8: noise around a brightness, with a few large blobs so that no two are alike."""
    rng = np.random.default_rng(seed)
    blobs = np.kron(rng.integers(-40, 40, (5, 6)), np.ones((size[0] // 5, size[1] // 6)))
    return np.clip(blobs[..., None] + level + rng.integers(-10, 10, (*size, 3)), 0, 255).astype(np.uint8)


def learnt(file: Path, network: str) -> Path:
    """Weights "that have learnt", so that there is a body to freeze: random ones, from a file."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        torch.save(ll.load(network, weights="random").network.state_dict(), file)
    return file


def picture(path: Path, level: int, seed: int, **how: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(level, seed)).save(path, **how)
    return path


def two_classes(root: Path, each: int = 20) -> Path:
    """ROOT/dark and ROOT/light: told apart by their brightness."""
    for label, level in (("dark", 70), ("light", 180)):
        for i in range(each):
            picture(root / label / f"{i:02d}.png", level, 2 * i + (level > 100))
    return root
