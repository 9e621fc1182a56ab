"""Modified backward passes: what each map must sum to, and where it must be zero, on random small networks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import limelight as ll
from limelight.heatmap import resize
from limelight.methods import get
from tests.networks import CLASSES, pictures

pytestmark = pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")

few = settings(max_examples=15, deadline=None)
double = torch.float64


class Gate(nn.Module):
    """Squeeze and excitation: a product of two tensors."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return x * self.fc(F.adaptive_avg_pool2d(x, 1)).sigmoid()


class Skip(nn.Module):
    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


@st.composite
def networks(draw: st.DrawFn, bias: bool = True, bends: tuple[type[nn.Module], ...] = (nn.ReLU, nn.SiLU, nn.Tanh)):
    """Convolutions, norms, bends, pools, gates and skips, in any order, in double precision."""
    torch.manual_seed(draw(st.integers(0, 2**16)))
    channels, layers = 3, []
    for _ in range(draw(st.integers(1, 3))):
        wide = draw(st.sampled_from([4, 6]))
        layers += [nn.Conv2d(channels, wide, 3, draw(st.sampled_from([1, 2])), 1, bias=bias)]
        if bias and draw(st.booleans()):
            layers += [nn.BatchNorm2d(wide)]
            nn.init.normal_(layers[-1].running_mean, std=0.3)
            nn.init.uniform_(layers[-1].running_var, 0.5, 2)
        layers += [bends[draw(st.integers(0, len(bends) - 1))]()]
        extra = [nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1), Skip(nn.Conv2d(wide, wide, 1, bias=bias)), nn.Identity()]
        extra += [Gate(wide)] if bias else []
        layers += [extra[draw(st.integers(0, len(extra) - 1))]]
        channels = wide
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES, bias=bias)]
    return nn.Sequential(*layers, *head).double().eval()


def explained(network: nn.Module, method: str, x: Tensor | None = None, target=1, layer=None, **options):
    x = pictures(dtype=double) if x is None else x
    return ll.explain(network, x, target, get(method)(**options), layer)


@few
@given(networks(), st.sampled_from([0.0, 0.4, "blur"]))
def test_deeplift_is_complete(network, baseline):
    """Max pooling, gates, skips and bent functions included; and at a layer in the middle too."""
    from limelight.methods.paths import baseline_of

    x = pictures(dtype=double)
    rise = (network(x) - network(baseline_of(x, baseline)))[:, 1].detach()
    torch.testing.assert_close(explained(network, "deeplift", baseline=baseline).raw.sum(dim=(1, 2, 3)), rise)
    torch.testing.assert_close(
        explained(network, "deeplift", layer="0", baseline=baseline).raw.sum(dim=(1, 2, 3)), rise
    )


@few
@given(networks(bias=False))
def test_epsilon_relevance_is_complete_without_biases(network):
    explanation = explained(network, "lrpepsilon", epsilon=1e-12)
    torch.testing.assert_close(explanation.raw.sum(dim=(1, 2, 3)), explanation.scores[:, 0], rtol=1e-5, atol=1e-9)


@few
@given(networks(bias=False, bends=(nn.ReLU,)))
def test_without_epsilon_it_is_input_times_gradient(network):
    a, b = explained(network, "lrpepsilon", epsilon=1e-13).raw, explained(network, "inputxgradient").raw
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("method", ["lrpepsilonplus", "lrpepsilongammabox", "lrpalpha2beta1flat", "lrpepsilon"])
def test_relevance_of_the_opposite_score_is_the_opposite(method):
    network = chain()
    for_, against = (explained(network, method, target=target).raw for target in (1, ll.targets.counter(1)))
    torch.testing.assert_close(for_, -against)


def chain(bias: bool = True, bend: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    torch.manual_seed(4)
    body = [nn.Conv2d(3, 8, 3, padding=1, bias=bias), bend(), nn.Conv2d(8, 8, 3, padding=1, bias=bias), bend()]
    return nn.Sequential(*body, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 36, CLASSES, bias=bias)).double().eval()


def test_excitation_is_a_probability():
    explanation = explained(chain(), "excitationbackprop", layer="1")
    assert (explanation.raw >= 0).all()
    torch.testing.assert_close(explanation.raw.sum(dim=(1, 2, 3)), torch.ones(2, dtype=double), rtol=1e-3, atol=0)


def test_excitation_written_out():
    """Zhang et al. 2016, eq. 3 to 5, unit by unit."""
    network, x = chain(), pictures(dtype=double)
    below = network[:2](x)
    above = network[2](below).relu()
    winners = explained(network, "excitationbackprop", layer="3")
    weight = network[6].weight[1].clamp(min=0) * network[4:6](above)
    chance = weight / weight.sum(dim=1, keepdim=True)  # given the class, which pooled unit
    _, where = F.max_pool2d(above, 2, return_indices=True)
    p = torch.zeros_like(above).flatten(2).scatter(2, where.flatten(2), chance.view(2, 8, 36)).view_as(above)
    torch.testing.assert_close(winners.raw[:, 0], p.sum(dim=1).detach(), rtol=1e-4, atol=1e-9)
    positive = network[2].weight.clamp(min=0)
    inflow = F.conv2d(below, positive, padding=1)
    lower = below * F.conv_transpose2d(p / inflow.clamp(min=1e-12), positive, padding=1)
    got = explained(network, "excitationbackprop", layer="1").raw[:, 0]
    torch.testing.assert_close(got, lower.sum(dim=1).detach(), rtol=1e-3, atol=1e-8)


def test_contrastive_excitation_is_the_class_less_its_dual():
    network = chain(bias=False)
    dual = chain(bias=False)
    with torch.no_grad():
        dual[-1].weight.neg_()
    contrast = explained(network, "contrastiveexcitation", layer="1").raw
    own, other = (explained(net, "excitationbackprop", layer="1").raw for net in (network, dual))
    torch.testing.assert_close(contrast, own - other, rtol=1e-4, atol=1e-9)
    assert (contrast < 0).any()


def test_guided_grad_cam_is_the_product_of_its_factors_for_every_image():
    network, x = chain(), pictures(3, dtype=double)
    product = explained(network, "guidedgradcam", x, layer="1").raw[:, 0]
    coarse = explained(network, "gradcam", x, layer="1").raw[:, 0].clamp(min=0)
    fine = explained(network, "guidedbackprop", x).raw[:, 0]
    torch.testing.assert_close(product, fine * resize(coarse, (12, 12)))
    assert (product.amax(dim=(1, 2)) > 0).any()


@pytest.mark.parametrize("bend", [nn.SiLU, nn.GELU, nn.Hardswish])
def test_relevance_passes_bent_functions_unchanged(bend):
    """No relevance is lost where only a bent function lies between, and none invented."""
    network = chain(bias=False, bend=bend)
    explanation = explained(network, "lrpepsilon", layer="0", epsilon=1e-12)
    torch.testing.assert_close(explanation.raw.sum(dim=(1, 2, 3)), explanation.scores[:, 0], rtol=1e-5, atol=1e-9)
    before, after = (explained(network, "lrpepsilon", layer=layer, epsilon=1e-12).raw for layer in ("2", "3"))
    torch.testing.assert_close(before, after, rtol=1e-5, atol=1e-9)


def test_first_layer_rules_hold_at_the_input_only():
    """At an inner layer the relevance is that of the layers above, whatever the first layer's rule."""
    network = chain()
    inner = [explained(network, "lrpepsilongammabox", layer="1", low=low, high=4.0).raw for low in (-4.0, -9.0)]
    torch.testing.assert_close(*inner, rtol=0, atol=0)
    outer = [explained(network, "lrpepsilongammabox", low=low, high=4.0).raw for low in (-4.0, -9.0)]
    assert not torch.allclose(*outer)


def test_a_flat_pixel_has_relevance_under_the_flat_rule_even_where_it_is_zero():
    x = pictures(dtype=double)
    x[:, :, :6] = 0
    assert (explained(chain(), "lrpalpha2beta1flat", x).raw[:, 0, :4].abs().amax() > 0).all()


def test_half_precision_and_frozen_weights():
    network = chain().to(torch.bfloat16).requires_grad_(False)
    for method in ("guidedbackprop", "lrpepsilonplus", "deeplift", "excitationbackprop"):
        assert explained(network, method, pictures(dtype=torch.bfloat16)).raw.isfinite().all()
