"""What the peers' methods give before they rescale and resize it, and networks small enough to ask them often."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.architectures import build

LAYERS = {
    "resnet18": ("layer3", "layer4"),
    "mobilenet_v3_small": ("features.8", "features"),
    "vgg11": ("features.15", "features"),
}
"""Three networks, a layer in the middle and the one before the pooling."""
PLACES = [
    pytest.param(name, layer, marks=[pytest.mark.slow] * (name == "vgg11")) for name in LAYERS for layer in LAYERS[name]
]


@functools.cache
def network(name: str) -> nn.Module:
    """Seeded random weights; its ReLUs leave their input to the peers' hooks.

    Of the weights only the first layer's and the last layer's take a gradient: the peers would spend most of their time
    on the others, and some of them fail when there is none.
    """
    built = build(name, size=96).requires_grad_(False)
    first, *_, last_weight, _ = built.parameters()
    for weight in (first, last_weight):
        weight.requires_grad_()
    for module in built.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return built


def images(batch: int = 2, size: int = 96) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))


def pytorch_grad_cam(
    method: str,
    built: nn.Module,
    layer: str,
    inputs: Tensor,
    classes: Sequence[int],
    times: float = 1.0,
    **options: Any,
) -> Tensor:
    """The map of a class of pytorch_grad_cam before it is rectified, of ``times`` the class scores."""
    pgc = pytest.importorskip("pytorch_grad_cam")
    maps = []
    with getattr(pgc, method)(built, [built.get_submodule(layer)]) as cam:
        formula = cam.get_cam_image
        cam.get_cam_image = lambda *given: maps.append(formula(*given)) or maps[-1]
        targets = [lambda scores, index=index: times * scores[index] for index in classes]
        cam(inputs.clone().requires_grad_(), targets, **options)
    return torch.as_tensor(maps[0])


def torchcam(method: str, built: nn.Module, layer: str, inputs: Tensor, classes: list[int], **options: Any) -> Tensor:
    """The map of a class of torchcam, rectified."""
    methods = pytest.importorskip("torchcam.methods")
    with getattr(methods, method)(built, layer, **options) as extractor:
        scores = built(inputs.clone().requires_grad_())
        (raw,) = extractor(classes, scores, normalized=False)
    return raw.detach()


def error(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference of any map, relative to that map's largest value."""
    assert ours.shape == theirs.shape
    peaks = theirs.abs().amax(dim=(-2, -1))
    assert (peaks > 0).any(), "maps of zeros are equal for no reason"
    return float(((ours - theirs).abs().amax(dim=(-2, -1)) / torch.where(peaks > 0, peaks, 1)).max())


def correlation(ours: Tensor, theirs: Tensor) -> float:
    """Pearson's, of each map; the least of them."""
    ours, theirs = (maps.flatten(1) - maps.flatten(1).mean(dim=1, keepdim=True) for maps in (ours, theirs))
    return float(((ours * theirs).sum(dim=1) / (ours.norm(dim=1) * theirs.norm(dim=1))).min())
