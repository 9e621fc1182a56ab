"""Architectures for parity and benchmarks: the real ones, with seeded random weights and activations that are alive."""

from __future__ import annotations

import torch
from torch import nn

SIZES = {
    "resnet50": 224,
    "vgg16": 224,
    "mobilenet_v3_large": 224,
    "densenet121": 224,
    "convnext_tiny": 224,
    "efficientnet_b0": 224,
    "regnet_y_400mf": 224,
    "inception_v3": 299,
    "efficientnet_lite0": 224,
}
"""The architectures, and the input size each is evaluated at."""


def build(name: str, seed: int = 0, size: int = 96) -> nn.Module:
    """An architecture of torchvision (or of timm, where torchvision has none) with random weights, ready to evaluate.

    Freshly initialised deep networks are nearly dead in evaluation mode: outputs of 1e-14, layer scales of 1e-6, every
    shift zero. Scales and shifts are drawn at random and batch norm is given the statistics of noise images of
    ``size``, so that a comparison of maps says something, and timings meet no denormal numbers.
    """
    torch.manual_seed(seed)
    return enlivened(_create(name), size)


def enlivened(network: nn.Module, size: int = 96) -> nn.Module:
    """A freshly initialised network as :func:`build` gives it: alive, and ready to evaluate."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")  # VGG, without batch norm, needs it to be alive
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.05)  # some transformers begin with scores of zero
        for key, parameter in module.named_parameters(recurse=False):
            if key == "layer_scale":
                nn.init.uniform_(parameter, 0.1, 0.5)
            elif parameter.ndim == 1 and key == "weight":
                nn.init.uniform_(parameter, 0.5, 1.5)
            elif key == "bias":
                nn.init.normal_(parameter, std=0.2)
    _calibrate(network, torch.randn(4, 3, size, size))
    return network.eval()


def _create(name: str) -> nn.Module:
    if name == "efficientnet_lite0":
        import timm

        return timm.create_model(name)
    from torchvision import models

    slow_to_draw = {"init_weights": False} if name in ("inception_v3", "vgg16") else {}
    return models.get_model(name, weights=None, **slow_to_draw)


def _calibrate(network: nn.Module, images: torch.Tensor) -> None:
    """Set every batch norm's statistics to those of the images."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    if norms:
        with torch.no_grad():
            network(images)
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
