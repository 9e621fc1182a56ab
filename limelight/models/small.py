"""A small network to train from nothing: four convolutions, for two or a few classes and a few thousand pictures."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from limelight.models.architecture import Architecture
from limelight.preprocessing import Preprocessing

SOURCE = "limelight"
NAME = "small_cnn"
WIDTHS = (24, 48, 64, 96)
SIDE = 128


def names() -> list[str]:
    """The one network."""
    return [NAME]


def find(name: str) -> Architecture | None:
    """The network of this name, if there is one."""
    if name != NAME:
        return None
    return Architecture(
        NAME,
        SOURCE,
        weights=None,
        licence=None,
        num_classes=2,
        origin=None,
        preprocessing=lambda: Preprocessing((SIDE, SIDE), (0.5,) * 3, (0.5,) * 3, "bilinear", crop=1.0),
        labels=lambda: None,
        on_this_machine=lambda: False,
        published=_published,
        build=_build,
    )


def _published() -> nn.Module:
    raise NotImplementedError  # never asked: there are no published weights


def _build(num_classes: int, channels: int) -> nn.Module:
    """Inputs of 9 pixels a side and more; the last map is a sixteenth of the input's."""
    blocks = [
        nn.Sequential(
            nn.Conv2d(before, after, 5 if before == channels else 3, padding="same", bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
        )
        for before, after in pairwise((channels, *WIDTHS))
    ]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(WIDTHS[-1], num_classes)]
    return nn.Sequential(*blocks, *head)
