"""Captum's perturbation methods give the same numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.models import mobilenet_v3_small, resnet18, vgg11

import limelight as ll
from limelight.methods.perturbation import segmentation

attr = pytest.importorskip("captum.attr")

TARGET = 3


@pytest.fixture(
    params=[resnet18, pytest.param(vgg11, marks=pytest.mark.slow), mobilenet_v3_small],
    ids=lambda build: build.__name__,
    scope="module",
)
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
    """Of nine segments there are 512 coalitions: asked once each they give the exact values, drawn they don't."""
    mask = segmentation(images[:1], 3)
    there = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 9)
    with torch.no_grad():
        scores = torch.cat([network(images[:1] * some[:, mask[0]][:, None])[:, TARGET] for some in there.split(64)])
    exact = shapley(there, scores)[mask]
    torch.manual_seed(0)
    shap = attr.KernelShap(network)
    theirs = shap.attribute(images[:1], target=TARGET, feature_mask=mask[:, None], n_samples=510)[:, 0]
    exactly, drawn = (
        ll.explain(network, images[:1], TARGET, ll.methods.KernelSHAP(samples=samples, segments=3)).raw[:, 0]
        for samples in (510, 509)
    )

    def agreement(values):
        return float(torch.corrcoef(torch.stack([values.flatten(), exact.flatten()]))[0, 1])

    torch.testing.assert_close(exactly, exact, rtol=1e-3, atol=1e-3 * float(exact.abs().max()))
    assert agreement(drawn) > 0.97
    assert 0.9 < agreement(theirs) < agreement(exactly)


def shapley(there, scores):
    """The Shapley values of all coalitions' scores."""
    n = there.shape[1]
    weight = torch.tensor([1 / (n * math.comb(n - 1, size)) for size in range(n)])  # of those without the player
    values = []
    for player in range(n):
        without = there[:, player] == 0
        joined = scores[~without] - scores[without]  # in the order of cartesian_prod the rest of both is the same
        values.append((weight[there[without].sum(dim=1).long()] * joined).sum())
    return torch.stack(values)
