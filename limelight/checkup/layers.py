"""Checks of the layer that maps are drawn at: whether there is one, whether it is alive, how fine it is."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from limelight.checkup.finding import Finding
from limelight.checkup.patient import Patient
from limelight.cut import Cut
from limelight.errors import LayerError, TargetError
from limelight.grid import layout_of

DEAD = 0.95
"""A layer is dead from this share of channels, or of cells, on."""
COARSE = 3
"""A grid of so many cells a side, or fewer, says little."""


def has_a_grid(patient: Patient) -> Iterator[Finding]:
    """A layer after pooling, one that the outputs pass by, or none at all."""
    try:
        layout_of(patient.captured, 0)
        patient.gradients  # noqa: B018 - a layer without one is told here
    except TargetError:
        return  # outputs that must be asked about with a function
    except LayerError as error:
        yield Finding("layer", str(error), "Choose another one: `limelight layers` lists them with their grids")


def dead_gradient(patient: Patient) -> Iterator[Finding]:
    """A gradient that is zero, for the class that the network itself predicts."""
    try:
        cells = layout_of(patient.captured, 0).read(patient.gradients).abs().amax(dim=1).flatten(1)
    except (LayerError, TargetError):
        return
    dead = (cells == 0).float().mean(dim=1)
    if float(dead.mean()) > DEAD:
        yield Finding(
            "gradient",
            f"the predicted class's gradient is zero at {float(dead.mean()):.0%} of the cells of "
            f"'{patient.captured.sites[0]}'",
            "A ReLU after the layer is dead, a clamp holds, or a softmax is saturated: try an earlier layer, or a "
            "method without gradients such as scorecam",
        )


def dead_channels(patient: Patient) -> Iterator[Finding]:
    """Channels that are zero in every picture, and in noise."""
    try:
        own = layout_of(patient.captured, 0).read(patient.captured.activations[0].detach())
        noisy = Cut(patient.captured.cut.network, patient.captured.cut.sites).capture(patient.noise)
        noise = layout_of(noisy, 0).read(noisy.activations[0].detach())
    except LayerError:
        return
    alive = torch.cat([own, noise]).transpose(0, 1).flatten(1).any(dim=1)
    if float(alive.float().mean()) < 1 - DEAD:
        yield Finding(
            "dead layer",
            f"{int((~alive).sum())} of the {len(alive)} channels of '{patient.captured.sites[0]}' are zero in every "
            "picture and in noise",
            "Its ReLUs have died (too large a learning rate), or its weights were not loaded: train or load it again",
        )


def coarse(patient: Patient) -> Iterator[Finding]:
    """A grid of a few cells."""
    try:
        grid = layout_of(patient.captured, 0).grid
    except LayerError:
        return
    if math.prod(grid) <= COARSE ** len(grid):
        yield Finding(
            "coarse",
            f"'{patient.captured.sites[0]}' has a grid of {' x '.join(map(str, grid))}: every map will be a blob",
            "Give larger pictures, or explain an earlier layer (`limelight layers`)",
        )


CHECKS = (has_a_grid, dead_gradient, dead_channels, coarse)
