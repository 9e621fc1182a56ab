"""Networks of which it is known what must come out, and pictures for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from limelight.evaluation import Case, Scene, explainer


class Linear(nn.Module):
    """Two scores: a weighted sum of the pixels, and its negative. Weight times pixel is the exact attribution."""

    def __init__(self, side: int = 12, seed: int = 0):
        super().__init__()
        weights = torch.randn(3, side, side, generator=torch.Generator().manual_seed(seed)) / side
        self.weights = nn.Parameter(weights.double())

    def forward(self, x: Tensor) -> Tensor:
        score = (x * self.weights).flatten(1).sum(dim=1)
        return torch.stack([score, -score], dim=1)

    def attribution(self, x: Tensor) -> Tensor:
        return (x * self.weights).sum(dim=1).detach()


class Quadrant(nn.Module):
    """Only the mean square of the upper left quarter decides."""

    def forward(self, x: Tensor) -> Tensor:
        score = x[:, :, : x.shape[2] // 2, : x.shape[3] // 2].square().mean(dim=(1, 2, 3))
        return torch.stack([score, -score], dim=1)


def noise(batch: int = 3, side: int = 12, seed: int = 1) -> Tensor:
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(seed)).double()


def linear_case(scale: str = "logit", **given) -> Case:
    network, x = Linear(), noise()
    return Case.of(Scene.of(network, x, 0, scale=scale), network.attribution(x), **given)


def grad_cam_case(network: nn.Module, x: Tensor, target=None, scale: str = "probability", **given) -> Case:
    """Grad-CAM's maps of a network, with the method at hand."""
    method = explainer("gradcam")
    scene = Scene.of(network, x, target, scale=scale)
    return Case.of(scene, method(network, x, target), explainer=method, **given)


def square(batch: int, size: tuple[int, int], y: slice, x: slice) -> Tensor:
    masks = torch.zeros(batch, *size, dtype=torch.bool)
    masks[:, y, x] = True
    return masks
