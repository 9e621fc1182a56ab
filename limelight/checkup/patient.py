"""The network under examination, and what several checks look at, worked out once."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limelight.borrow import borrowed
from limelight.cut import Captured, Cut
from limelight.evaluation.similarity import pearson
from limelight.explainer import explain
from limelight.explanation import Explanation
from limelight.grid import default_layer
from limelight.methods.registry import Method
from limelight.preprocessing import Preprocessing
from limelight.targets import Labels, Target, ask, logits_of, probabilities_of

MADE = 4
"""How many pictures are made up where none is given."""


@dataclass(frozen=True, eq=False)
class Patient:
    """A network with pictures.

    Attributes:
        network: the network; every check gives it back as it was.
        labels: its classes' names.
        preprocessing: how photographs were prepared; None where tensors were given.
        images: ``(batch, channels, height, width)``, its input.
        real: whether these are pictures that were given, not made up.
        method: the method whose maps are looked at.
        layer: where, if it was said.
        pixels: the photographs, as they were; empty where tensors were given.
    """

    network: nn.Module
    labels: Labels
    preprocessing: Preprocessing | None
    images: Tensor = field(repr=False)
    real: bool
    method: Method | str = "gradcam"
    layer: Any = None
    pixels: tuple[Any, ...] = field(default=(), repr=False)

    def run(self, images: Tensor, seed: int = 0) -> Any:
        """The outputs, with the random state that a seed gives."""
        with borrowed(self.network), torch.no_grad():
            torch.manual_seed(seed)
            return self.network(images.clone())  # some networks change theirs in place

    @cached_property
    def outputs(self) -> Any:
        """The outputs for the pictures."""
        return self.run(self.images)

    @cached_property
    def logits(self) -> Tensor | None:
        """The class scores ``(batch, classes)``, or None."""
        logits = logits_of(self.outputs)
        return None if logits is None else logits.float()

    @cached_property
    def probabilities(self) -> Tensor | None:
        """``(batch, classes)``; of one output both sides of it."""
        return None if self.logits is None else both_sides(self.logits)

    @cached_property
    def noise(self) -> Tensor:
        """Pictures without an object: smooth noise that has the pictures' own mean and spread."""
        return smooth_noise(self.images, seed=1)

    @cached_property
    def noise_outputs(self) -> Any:
        """The outputs for these."""
        return self.run(self.noise)

    @cached_property
    def captured(self) -> Captured:
        """A pass that is cut at the layer; its graph is kept.

        Raises:
            LayerError: there is none that a map could be drawn at.
        """
        layer = self.layer if self.layer is not None else default_layer(self.network, self.images)
        return Cut.at(self.network, layer).capture(self.images)

    @cached_property
    def gradients(self) -> Tensor:
        """The gradient of the predicted class's score at the layer, in its own layout.

        Raises:
            LayerError, TargetError: as :func:`limelight.explain` does.
        """
        asked = ask(None, self.captured.outputs, self.labels)[0]
        with torch.enable_grad():
            score = asked.score(self.captured.outputs)
        return self.captured.pull_back(score, keep=True)[0]

    @cached_property
    def own_maps(self) -> Tensor:
        """Raw maps ``(batch, *grid)`` of the predicted classes.

        Raises:
            LimelightError: as :func:`limelight.explain` does.
        """
        assert self.logits is not None, "without class scores none is predicted"
        return self.maps(self.logits.argmax(dim=1).tolist())

    def maps(self, target: Target, network: nn.Module | None = None, images: Tensor | None = None) -> Tensor:
        """Raw maps ``(batch, *grid)`` of the method, at the first of the layers."""
        given = self.images if images is None else images
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they warn of is for the checks to tell
            asked = self.network if network is None else network
            found: Explanation = explain(asked, given, target, self.method, self.layer, progress=False)
        return found.raws[0][:, 0]


def both_sides(logits: Tensor) -> Tensor:
    """Probabilities ``(batch, classes)``, two of them where there is one output."""
    own = probabilities_of(logits)
    return torch.cat([1 - own, own], dim=1) if own.shape[1] == 1 else own


def smooth_noise(like: Tensor, seed: int) -> Tensor:
    """Noise whose spots are an eighth of the side, with the mean and deviation of each channel of ``like``."""
    random = torch.Generator().manual_seed(seed)
    few = [max(2, side // 8) for side in like.shape[2:]]
    coarse = torch.randn((len(like), like.shape[1], *few), generator=random).to(like)
    modes = {1: "linear", 2: "bilinear", 3: "trilinear"}
    noise = F.interpolate(coarse.float(), size=like.shape[2:], mode=modes[like.ndim - 2], align_corners=False)
    axes = tuple(range(2, like.ndim))
    noise = (noise - noise.mean(axes, keepdim=True)) / noise.std(axes, keepdim=True).clamp(min=1e-6)
    every = (0, *axes)
    mean, deviation = like.float().mean(every, keepdim=True), like.float().std(every, keepdim=True)
    return (noise * deviation + mean).to(like.dtype)


def made_up(channels: int, size: tuple[int, ...], like: Tensor) -> Tensor:
    """Pictures for a network that none were given for: smooth noise of mean 0 and deviation 1."""
    ones = torch.linspace(-1.5, 1.5, max(2, size[-1])).expand(MADE, channels, *size[:-1], -1)
    return smooth_noise(ones.to(like), seed=0)


def alike(one: Tensor, other: Tensor) -> Tensor:
    """Each image's correlation ``(batch,)`` of two maps ``(batch, *grid)``; NaN where one is flat."""
    rows = [each.flatten(1).double() for each in (one, other)]
    flat = torch.stack([row.amax(dim=1) <= row.amin(dim=1) for row in rows]).any(dim=0)
    return pearson(*rows).masked_fill(flat, torch.nan)
