"""Are the rice and beans honest to learn on? Measured, in minutes, on two cores.

    python benchmarks/grains.py [--n 2000] [--folder DIR]

Writes the pictures (timed), then gives the test accuracy of what must fail (a linear model on pixels, on colour
histograms, on counts of colours and brightness) and of what must do well (a small CNN from scratch, a linear probe
on frozen EfficientNet-Lite0 features). The linear models' strength is tuned on the validation split.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

import limelight as ll
from limelight.data import grains

SPLITS = ("train", "val", "test")
CNN_SIZE = 128


def main() -> None:
    options = argparse.ArgumentParser(description="Measure how hard the grains are.")
    options.add_argument("--n", type=int, default=2000)
    options.add_argument("--folder", type=Path)
    options.add_argument("--epochs", type=int, default=40)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary) / "grains"
        start = time.perf_counter()
        grains.write(folder, given.n)
        print(f"{given.n} pictures in {time.perf_counter() - start:.0f} s")
        measure(folder, given.epochs)


def measure(folder: Path, epochs: int) -> None:
    rows = list(csv.DictReader((folder / "labels.csv").open()))
    split = np.array([row["split"] for row in rows])
    truth = np.array([row["label"] == "beans" for row in rows]).astype(int)
    pictures = np.stack([np.asarray(Image.open(folder / row["path"])) for row in rows])
    areas = np.array([[float(row["area"])] for row in rows])
    for name, features in {
        "32 x 32 pixels": each(pictures, lambda picture: shrunk(picture, 32).ravel() / 255),
        "colour histogram, 8 x 8 x 8": each(pictures, histogram),
        "brightness and saturation, 32 bins each": each(pictures, marginals),
        "covered area alone": areas,
        "frozen Lite0 features": lite0_features(pictures),
    }.items():
        print(f"linear on {name}: {linear(features, truth, split):.1%}", flush=True)
    small = torch.from_numpy(each(pictures, lambda picture: shrunk(picture, CNN_SIZE))).permute(0, 3, 1, 2)
    print(f"small CNN from scratch: {cnn(small, torch.from_numpy(truth), split, epochs):.1%}")


def each(pictures: np.ndarray, feature: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    return np.stack([feature(picture) for picture in pictures])


def shrunk(picture: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BOX))


def histogram(picture: np.ndarray) -> np.ndarray:
    bins = (picture // 32).reshape(-1, 3) @ np.array([64, 8, 1])
    return np.sqrt(np.bincount(bins, minlength=512) / len(bins))


def marginals(picture: np.ndarray) -> np.ndarray:
    channels = np.asarray(Image.fromarray(picture).convert("HSV")).reshape(-1, 3)[:, 1:]
    counts = [np.bincount(channel // 8, minlength=32) for channel in channels.T]
    return np.sqrt(np.concatenate(counts) / len(channels))


def linear(features: np.ndarray, truth: np.ndarray, split: np.ndarray) -> float:
    """Test accuracy of the logistic regression that does best on the validation split."""
    train, val, test = (split == name for name in SPLITS)
    models = [
        make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=500)).fit(features[train], truth[train])
        for strength in 10.0 ** np.arange(-5, 2)
    ]
    best = max(models, key=lambda model: model.score(features[val], truth[val]))
    return float(best.score(features[test], truth[test]))


@torch.inference_mode()
def lite0_features(pictures: np.ndarray) -> np.ndarray:
    network: Any = ll.load("efficientnet_lite0").network
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    maps = (network.forward_features(batch / 127.5 - 1) for batch in x.split(50))
    return torch.cat([a.mean((2, 3)) for a in maps]).numpy()


def cnn(x: Tensor, truth: Tensor, split: np.ndarray, epochs: int) -> float:
    """Test accuracy of four small convolutions trained on turned and flipped pictures, at their best validation."""
    torch.manual_seed(0)
    widths = (3, 24, 48, 64, 96)
    blocks = [
        nn.Sequential(
            nn.Conv2d(a, b, 5 if a == 3 else 3, stride=2 if a == 3 else 1, padding=2 if a == 3 else 1, bias=False),
            nn.BatchNorm2d(b),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        for a, b in pairwise(widths)
    ]
    model = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(widths[-1], 2))
    train, val, test = (torch.from_numpy(np.flatnonzero(split == name)) for name in SPLITS)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    steps = epochs * (len(train) // 32 + 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    best = (0.0, 0.0)
    for epoch in range(epochs):
        model.train()
        for batch in train[torch.randperm(len(train))].split(32):
            loss = nn.functional.cross_entropy(model(shaken(x[batch])), truth[batch], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        model.eval()
        best = max(best, (accuracy(model, x[val], truth[val]), accuracy(model, x[test], truth[test])))
        print(f"  epoch {epoch + 1}: best so far {best[0]:.1%} validation, {best[1]:.1%} test", flush=True)
    return best[1]


def shaken(x: Tensor) -> Tensor:
    x = x.float() / 127.5 - 1
    x = torch.rot90(x, int(torch.randint(4, ())), (2, 3))
    if torch.rand(()) < 0.5:
        x = x.flip(3)
    gain, shift = torch.empty(len(x), 3, 1, 1).uniform_(0.75, 1.25), torch.empty(len(x), 3, 1, 1).uniform_(-0.15, 0.15)
    return x * gain + shift


@torch.inference_mode()
def accuracy(model: nn.Module, x: Tensor, truth: Tensor) -> float:
    answers = torch.cat([model(batch.float() / 127.5 - 1).argmax(1) for batch in x.split(100)])
    return (answers == truth).double().mean().item()


if __name__ == "__main__":
    main()
