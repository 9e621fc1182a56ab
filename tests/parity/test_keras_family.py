"""tf-keras-vis's maps by their definitions, written out on our networks: it runs on Keras networks only.

From its sources of 2025 (release 0.8): Gradcam, Layercam, Saliency and GradcamPlusPlus. Its Score-CAM weighs by raw
scores, without the paper's softmax, and its SmoothGrad averages absolute gradients, not gradients: neither is compared.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import limelight as ll
from tests.parity.peers import PLACES, error, images, network

pytestmark = [
    pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning"),
    pytest.mark.parametrize(("name", "layer"), PLACES),
]
CLASSES = [207, 401]


def ours(name: str, method: str, layer: str | None) -> Tensor:
    return ll.explain(network(name), images(), CLASSES, method, layer).raw[:, 0]


def parts(name: str, layer: str) -> tuple[Tensor, Tensor, Tensor]:
    """The layer's activations, their gradients and the pixels', from one plain backward pass."""
    built, kept = network(name), []
    handle = built.get_submodule(layer).register_forward_hook(lambda module, args, output: kept.append(output))
    pixels = images().requires_grad_()
    try:
        outputs = built(pixels)
    finally:
        handle.remove()
    score = sum(row[index] for row, index in zip(outputs, CLASSES, strict=True))
    gradients, of_pixels = torch.autograd.grad(score, [kept[0], pixels])  # type: ignore[arg-type]
    return kept[0].detach(), gradients, of_pixels


def test_gradcam_layercam_and_saliency(name: str, layer: str):
    activations, gradients, of_pixels = parts(name, layer)
    mean = gradients.mean(dim=(2, 3), keepdim=True)
    assert error(ours(name, "gradcam", layer), (mean * activations).sum(dim=1)) < 1e-4
    assert error(ours(name, "layercam", layer), (gradients.relu() * activations).sum(dim=1)) < 1e-4
    assert error(ours(name, "saliency", None), of_pixels.abs().amax(dim=1)) < 1e-4


def test_gradcam_plus_plus_but_for_alphas_that_are_made_to_sum_to_one(name: str, layer: str):
    """It divides each channel's alphas by their sum, which the paper does not (eq. 19, put into eq. 5).

    So a weight there is a mean of gradients, and here a sum: a channel whose evidence covers twice the cells counts
    twice. Undone channel by channel, the maps are one.
    """
    if (name, layer) == ("mobilenet_v3_small", "features.8"):
        pytest.skip("its activations sum below zero, and alpha's denominator comes close to it: eq. 19 is for ReLUs")
    activations, gradients, _ = (each.double() for each in parts(name, layer))
    second, third = gradients**2, gradients**3
    below = 2 * second + third * activations.sum(dim=(2, 3), keepdim=True)
    alphas = second / torch.where(second == 0, 1, below)
    sums = alphas.sum(dim=(2, 3), keepdim=True)
    shares = alphas / torch.where(sums == 0, 1, sums)
    of_theirs = (shares * gradients.relu()).sum(dim=(2, 3), keepdim=True)
    found = ours(name, "gradcampp", layer).double()
    assert error(found, (sums * of_theirs * activations).sum(dim=1)) < 1e-3
    assert error(found, (of_theirs * activations).sum(dim=1)) > 1e-2
