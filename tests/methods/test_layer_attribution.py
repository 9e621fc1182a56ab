"""Layer attributions against their definitions and the axioms they claim."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from limelight.errors import MethodError
from limelight.methods.input_gradient import drawn_positions
from limelight.methods.paths import normals
from tests.methods.test_input_gradient import differences, networks, raw, total
from tests.networks import Plain, pictures

pytestmark = pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")

METHODS = [
    "layergradientxactivation",
    "layerintegratedgradients",
    "layergradientshap",
    "conductance",
    "internalinfluence",
]


def parts(network: nn.Module, images: Tensor, target: int = 1) -> tuple[Tensor, Tensor]:
    """Activations of ``cut`` and the gradient there, by plain autograd through the head."""
    with torch.no_grad():
        activations = network.eval().features(images)
    with torch.enable_grad():
        leaf = activations.clone().requires_grad_()
        (slope,) = torch.autograd.grad(network.fc(network.head(leaf))[:, target].sum(), leaf)
    return activations, slope


def test_gradient_times_activation():
    network, images = Plain().double(), pictures(2, 12, torch.float64)
    activations, slope = parts(network, images)
    found = raw(network, images, "layergradientxactivation", layer="cut")
    torch.testing.assert_close(found, (activations * slope).sum(dim=1))


def test_internal_influence_is_the_mean_gradient_while_the_image_comes_from_its_baseline():
    network, images, points = Plain().double(), pictures(2, 12, torch.float64), 200
    steps = [0.2 + (k + 0.5) / points * (images - 0.2) for k in range(points)]
    expected = sum(parts(network, step)[1] for step in steps).sum(dim=1) / points
    found = raw(network, images, "internalinfluence", layer="cut", baseline=0.2)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_conductance_is_the_gradient_along_the_activations_own_way():
    network, images, points = Plain().double(), pictures(2, 12, torch.float64), 800
    seen = [parts(network, k / points * images) for k in range(points + 1)]
    expected = sum((seen[k + 1][0] - seen[k][0]) * seen[k][1] for k in range(points)).sum(dim=1)
    found = raw(network, images, "conductance", layer="cut")
    torch.testing.assert_close(found, expected, rtol=0, atol=float(0.01 * expected.abs().max()))


def test_layer_integrated_gradients_start_at_the_baseline_images_activations():
    network, images, points = Plain().double(), pictures(2, 12, torch.float64), 200
    (end, _), (start, _) = parts(network, images), parts(network, torch.full_like(images, 0.3))
    mean = torch.zeros_like(end)
    for k in range(points):
        leaf = (start + (k + 0.5) / points * (end - start)).requires_grad_()
        mean += torch.autograd.grad(network.fc(network.head(leaf))[:, 1].sum(), leaf)[0] / points
    found = raw(network, images, "layerintegratedgradients", layer="cut", baseline=0.3)
    torch.testing.assert_close(found, ((end - start) * mean).sum(dim=1), rtol=1e-3, atol=1e-6)


def test_layer_gradient_shap_draws_its_points_between_images():
    network, images, samples, seed = Plain().double(), pictures(2, 12, torch.float64), 5, 2
    references = pictures(3, 12, torch.float64, seed=5)
    width = 0.3 * (images.amax(dim=(1, 2, 3), keepdim=True) - images.amin(dim=(1, 2, 3), keepdim=True))
    chosen = torch.randint(3, (samples,), generator=torch.Generator().manual_seed(seed + 1))
    expected = torch.zeros(2, 6, 6, dtype=torch.float64)
    for draw, start, position in zip(
        normals(torch.arange(samples), images.shape[1:], seed, images),
        references[chosen],
        drawn_positions(images, samples, seed),
        strict=True,
    ):
        end = images + width * draw
        slope = parts(network, start + position * (end - start))[1]
        way = parts(network, end)[0] - parts(network, start.expand_as(images))[0]
        expected += (slope * way).sum(dim=1) / samples
    options: dict[str, Any] = {"baseline": references, "noise": 0.3, "samples": samples, "seed": seed}
    found = raw(network, images, "layergradientshap", layer="cut", **options)
    torch.testing.assert_close(found, expected)
    assert not torch.equal(found, raw(network, images, "layergradientshap", layer="cut", **options | {"seed": 3}))


@given(networks(smooth=True), st.sampled_from([0.0, -0.4]))
@settings(max_examples=5, deadline=None)
def test_completeness_of_smooth_networks(network: nn.Sequential, baseline: float):
    """At every layer of a chain; to 1e-6 of the score by an exact rule, to 0.1 % of the map's mass by trapezoids."""
    images = pictures(2, 8, torch.float64)
    expected = differences(network, images, torch.full_like(images, baseline))
    for layer in ("0.0", "0"):
        line = raw(network, images, "layerintegratedgradients", layer=layer, baseline=baseline)
        torch.testing.assert_close(total(line), expected, rtol=1e-6, atol=1e-8)
        flow = raw(network, images, "conductance", layer=layer, baseline=baseline)
        assert ((total(flow) - expected).abs() <= 1e-3 * total(flow.abs()) + 1e-9).all()


@given(networks())
@settings(max_examples=3, deadline=None)
def test_completeness_of_relu_networks(network: nn.Sequential):
    """To 2 % of the map's mass with 200 steps."""
    images = pictures(2, 8, torch.float64)
    expected = differences(network, images, torch.zeros_like(images))
    for method in ("conductance", "layerintegratedgradients"):
        found = raw(network, images, method, layer="0", steps=200)
        assert ((total(found) - expected).abs() <= 0.02 * total(found.abs()) + 1e-9).all(), method


@given(networks(), st.floats(-2, 2), st.floats(-2, 2))
@settings(max_examples=3, deadline=None)
def test_linearity(network: nn.Sequential, a: float, b: float):
    images = pictures(2, 7, torch.float64)
    for method in METHODS:
        mixed = raw(network, images, method, lambda out: a * out[:, 0] + b * out[:, 2], layer="0.0")
        expected = sum(
            factor * raw(network, images, method, target, layer="0.0") for factor, target in ((a, 0), (b, 2))
        )
        torch.testing.assert_close(mixed, expected, msg=method)


@given(networks(smooth=True))
@settings(max_examples=4, deadline=None)
def test_conductance_at_the_input_is_integrated_gradients(network: nn.Sequential):
    images = pictures(2, 8, torch.float64)
    expected = raw(network, images, "integratedgradients")
    found = raw(network, images, "conductance", layer="input", steps=100)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("method", METHODS)
def test_a_map_depends_on_its_own_image_alone_and_not_on_how_many_run_at_once(
    method: str, monkeypatch: pytest.MonkeyPatch
):
    network, images = Plain().double(), pictures(3, 12, torch.float64)
    together = raw(network, images, method, layer="cut")
    monkeypatch.setattr("limelight.head.BUDGET", 1)
    alone = raw(network, images[1:2], method, layer="cut")
    torch.testing.assert_close(together[1:2], alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", ["conductance", "internalinfluence", "layerintegratedgradients"])
def test_a_path_without_steps_is_told(method: str):
    with pytest.raises(MethodError, match="steps=0"):
        raw(Plain(), pictures(1), method, layer="cut", steps=0)
