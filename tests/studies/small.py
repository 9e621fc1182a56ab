"""A small run to study: coloured squares in noise, a network of few layers, and a few labels that are wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from limelight.training import train
from tests.training.sets import learnt

NETWORK, SIZE = "mobilenetv3_small_050", 64
CLASSES = "blue", "red"
COUNTS = {"train": 16, "val": 6, "test": 12}
MISLABELLED = ("blue_10.png", "red_11.png")
"""Test pictures whose square has the other class's colour: mistakes, whatever is learnt."""


def write_pictures(root: Path) -> Path:
    """Squares of either colour anywhere in grey noise, in train, val and test, with masks."""
    rng = np.random.default_rng(0)
    for split, count in COUNTS.items():
        for label in CLASSES:
            for i in range(count):
                name = f"{label}_{i:02d}.png"
                picture = rng.integers(60, 140, (72, 80, 1)).repeat(3, axis=2).astype(np.uint8)
                top, left = rng.integers(0, 72 - 24), rng.integers(0, 80 - 24)
                swapped = split == "test" and name in MISLABELLED
                channel = 0 if (label == "red") != swapped else 2
                picture[top : top + 24, left : left + 24] = 30
                picture[top : top + 24, left : left + 24, channel] = 230
                mask = np.zeros((72, 80), np.uint8)
                mask[top : top + 24, left : left + 24] = 255
                for folder, content in ((root / split, picture), (root / "masks" / split, mask)):
                    (folder / label).mkdir(parents=True, exist_ok=True)
                    Image.fromarray(content).save(folder / label / name)
    return root


def small_run(root: Path) -> Path:
    """The folder of a finished run on such pictures, which lie in ``root / "pictures"``."""
    pictures = write_pictures(root / "pictures")
    shown = {"size": SIZE, "fit": "crop"}
    options = {"model": NETWORK, "weights": learnt(root / "body.pt", NETWORK), **shown, "frozen": True, "views": 0}
    return train(pictures, root / "run", **options).folder
