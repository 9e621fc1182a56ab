"""The activation-only maps, principal components and factors against their definitions; and what each claims."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import limelight as ll
from limelight.errors import MethodError
from limelight.methods import REGISTRY, eigen_cam, fem, kpca_cam, lafam, random_cam, seg_eigen_cam
from limelight.methods.dff import factorize
from tests.methods.test_gradient import X, net, pooled, raw

pytestmark = pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")
FAMILIES = [
    name for name, method in REGISTRY.items() if method.family in ("activation", "eigen", "dff") and name != "cam"
]


@st.composite
def features(draw: st.DrawFn) -> Tensor:
    torch.manual_seed(draw(st.integers(0, 2**16)))
    channels, height, width = draw(st.integers(1, 20)), draw(st.integers(2, 5)), draw(st.integers(1, 4))
    return torch.randn(2, channels, height, width, dtype=torch.float64)


@given(features())
@settings(max_examples=50, deadline=None)
def test_eigen_cam_is_the_full_decomposition_s_first_component(activations: Tensor):
    """With fewer channels than cells, and with more."""
    for one, found in zip(activations, eigen_cam(activations), strict=True):
        cells = one.flatten(1).T
        cells = cells - cells.mean(dim=0)
        _, _, directions = torch.linalg.svd(cells, full_matrices=True)
        expected = cells @ directions[0]
        agreement = expected @ cells.mean(dim=1)
        torch.testing.assert_close(found.flatten(), expected * (1 if agreement >= 0 else -1), rtol=1e-5, atol=1e-7)
        assert found.flatten() @ cells.mean(dim=1) >= -1e-9  # turned towards the mean activation


@given(features())
@settings(max_examples=20, deadline=None)
def test_a_linear_kernel_makes_kpca_cam_eigen_cam(activations: Tensor):
    torch.testing.assert_close(kpca_cam(activations, kernel="linear"), eigen_cam(activations), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kernel", ["sigmoid", "rbf"])
def test_kpca_cam_is_scikit_learn_s(kernel: str):
    decomposition = pytest.importorskip("sklearn.decomposition")
    activations = torch.randn(1, 6, 4, 5, dtype=torch.float64)
    cells = activations[0].flatten(1).T
    cells = (cells - cells.mean(dim=0)).numpy()
    expected = torch.from_numpy(decomposition.KernelPCA(1, kernel=kernel, gamma=0.3).fit_transform(cells))[:, 0]
    found = kpca_cam(activations, kernel=kernel, gamma=0.3).flatten()
    torch.testing.assert_close(found, expected * (found @ expected).sign(), rtol=1e-5, atol=1e-7)


def test_kpca_cam_names_its_kernels():
    with pytest.raises(MethodError, match="no kernel 'cubic'; there are sigmoid, rbf, linear"):
        kpca_cam(torch.randn(1, 2, 3, 3), kernel="cubic")


@given(features(), st.integers(0, 2**16))
@settings(max_examples=20, deadline=None)
def test_seg_eigen_cam_has_its_extreme_above_zero_whatever_the_gradients_sign(activations: Tensor, seed: int):
    gradients = torch.randn(activations.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = seg_eigen_cam(activations, gradients).flatten(1)
    assert (found.amax(dim=1) >= -found.amin(dim=1) - 1e-12).all()
    torch.testing.assert_close(seg_eigen_cam(activations, -gradients).flatten(1), found)


def test_constant_activations_have_no_component():
    for method in (eigen_cam, kpca_cam):
        assert method(torch.ones(1, 3, 4, 4, dtype=torch.float64)).abs().max() < 1e-6


def test_fem_and_lafam_written_out():
    activations = torch.randn(2, 3, 4, 5)
    expected = torch.zeros(2, 4, 5)
    for b in range(2):
        for c in range(3):
            cells = activations[b, c]
            stands_out = cells > cells.mean() + 1.5 * cells.std(correction=0)
            expected[b] += stands_out.sum() / 20 * cells
    torch.testing.assert_close(fem(activations, k=1.5), expected)
    torch.testing.assert_close(lafam(activations), sum(activations[:, c] for c in range(3)) / 3)


def test_random_cam_is_drawn_between_minus_one_and_one_from_its_seed():
    weights = random_cam(torch.eye(1000).view(1, 1000, 1000, 1), seed=4).flatten()
    assert -1 <= weights.min() < -0.95 and 0.95 < weights.max() <= 1 and abs(weights.mean()) < 0.1
    assert torch.equal(weights, random_cam(torch.eye(1000).view(1, 1000, 1000, 1), seed=4).flatten())
    assert not torch.equal(weights, random_cam(torch.eye(1000).view(1, 1000, 1000, 1), seed=5).flatten())


def test_factors_of_a_sum_of_two_concepts_are_the_two():
    """Two concepts in separate places and channels: any factorisation that fits finds them."""
    strengths = torch.zeros(2, 1, 4, 4, dtype=torch.float64)
    strengths[0, 0, 0], strengths[1, 0, 3] = 2.0, 1.0
    directions = torch.tensor([[1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]], dtype=torch.float64)
    activations = torch.einsum("kbhw,kc->bchw", strengths, directions)
    found = factorize(activations, concepts=2, steps=200)
    torch.testing.assert_close(found.alone(torch.arange(2)).sum(dim=0), activations, atol=1e-6, rtol=1e-6)
    order = found.maps[0, :, 0, 0].argsort(descending=True)
    torch.testing.assert_close(
        found.directions[0, order], directions / directions.norm(dim=1, keepdim=True), atol=1e-6, rtol=0
    )


@given(features(), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_factors_are_not_negative_and_fit_better_with_every_step(activations: Tensor, concepts: int):
    errors = []
    for steps in (1, 10, 100):
        found = factorize(activations, concepts, steps)
        assert found.maps.min() >= 0 and found.directions.min() >= 0 and found.floor.max() <= 0
        fitted = found.alone(torch.arange(concepts)).sub(found.floor).sum(dim=0) + found.floor
        errors.append(float((activations - fitted).norm()))
    assert errors[0] >= errors[1] - 1e-9 and errors[1] >= errors[2] - 1e-9


def test_dff_shows_the_concept_that_scores_highest_alone():
    network = net(head=pooled())
    found = factorize(network[:2](X).detach(), concepts=3, steps=200)
    scores = torch.stack([network[2](alone)[:, 1] for alone in found.alone(torch.arange(3))])
    best = scores.argmax(dim=0)
    expected = torch.stack([found.maps[i, best[i]] for i in range(2)])
    torch.testing.assert_close(raw(network, ll.methods.DFF(concepts=3)), expected)


def test_concepts_share_their_directions_and_have_a_score_for_every_class():
    network = net(head=pooled())
    found = ll.methods.concepts_of(network, X, "1", concepts=3)
    assert found.maps.shape == (2, 3, 6, 6) and found.scores.shape == (2, 3, 5)
    assert torch.equal(found.directions[0], found.directions[1])
    linear = network[2][2]
    alone = found.maps.mean(dim=(2, 3))[:, :, None] * found.directions
    torch.testing.assert_close(found.scores, alone @ linear.weight.T + linear.bias)


def test_concepts_need_class_scores_and_at_least_one():
    with pytest.raises(MethodError, match="no class scores"):
        ll.methods.concepts_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).double(), X, "0")
    with pytest.raises(MethodError, match="at least one"):
        ll.methods.concepts_of(net(), X, "1", concepts=0)


@pytest.mark.parametrize("name", FAMILIES)
def test_only_methods_that_say_so_know_the_target(name: str):
    network = net()
    same = torch.allclose(raw(network, name, 1), raw(network, name, 3))
    if name == "dff":  # two classes may have their best concept in common
        same = all(torch.allclose(raw(network, name, 1), raw(network, name, target)) for target in (0, 2, 3, 4))
    assert same != REGISTRY[name].per_target


@pytest.mark.parametrize("name", FAMILIES)
def test_a_map_does_not_depend_on_its_batch(name: str):
    torch.testing.assert_close(raw(net(), name, x=X[1:]), raw(net(), name)[1:])
