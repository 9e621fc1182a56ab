"""Captum's perturbation methods give the same numbers."""

from __future__ import annotations

import pytest
import torch
from torchvision.models import mobilenet_v3_small, resnet18, vgg11

import limelight as ll
from limelight.methods.perturbation import segmentation

attr = pytest.importorskip("captum.attr")

TARGET = 3


@pytest.fixture(params=[resnet18, vgg11, mobilenet_v3_small], ids=lambda build: build.__name__, scope="module")
def network(request):
    torch.manual_seed(0)
    return request.param(num_classes=5).eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def close(ours, theirs):
    return (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


def test_feature_ablation(network, images):
    mask = segmentation(images[:1], 4)[:, None]
    theirs = attr.FeatureAblation(network).attribute(images, target=TARGET, feature_mask=mask)[:, 0]
    assert close(ll.explain(network, images, TARGET, ll.methods.Ablation(segments=4)).raw[:, 0], theirs)


def test_occlusion(network, images):
    theirs = attr.Occlusion(network).attribute(images, (3, 16, 16), (3, 16, 16), target=TARGET)[:, 0]
    assert close(ll.explain(network, images, TARGET, ll.methods.Occlusion(window=16, stride=16)).raw[:, 0], theirs)


def test_occlusion_with_overlapping_windows(network, images):
    """The windows' places agree too: both walk from the corner, and let the last ones reach over the border."""
    theirs = attr.Occlusion(network).attribute(images, (3, 20, 20), (3, 15, 15), target=TARGET)[:, 0]
    assert close(ll.explain(network, images, TARGET, ll.methods.Occlusion(window=20, stride=15)).raw[:, 0], theirs)


@pytest.mark.slow
def test_kernel_shap(network, images):
    """Both estimate Shapley values of 16 segments; captum's needs many more samples, being drawn without pairs."""
    mask = segmentation(images[:1], 4)[:, None]
    torch.manual_seed(0)
    theirs = attr.KernelShap(network).attribute(images[:1], target=TARGET, feature_mask=mask, n_samples=3000)[:, 0]
    ours = ll.explain(network, images[:1], TARGET, ll.methods.KernelSHAP(samples=2000, segments=4)).raw[:, 0]
    assert torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1] > 0.99
