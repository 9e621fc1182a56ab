"""methods/: what every method must keep, for whatever the registry holds, and what the registry says of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import limelight as ll
from limelight import methods
from limelight.errors import MethodError
from limelight.methods import REGISTRY, Method, get
from limelight.methods.evidence import Evidence
from tests.networks import CLASSES, grad_cam, pictures, untouched

pytestmark = pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")

SECONDS = {"blurintegratedgradients", "dff", "expectedgradcam", "extremalperturbation", "guidedintegratedgradients"}
SECONDS |= {"meaningfulperturbation", "opticam", "sess", "xrai"}
"""Methods that take seconds even here: their maps are asked for in the slow tests only."""

described = pytest.mark.parametrize("name", REGISTRY)
quickly = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SECONDS)) for name in REGISTRY]
)


def thoroughly(test):
    """For every method, among the slow tests."""
    return pytest.mark.slow(described(test))


def network() -> nn.Sequential:
    """Pooling and one linear layer, so that CAM can be asked too."""
    torch.manual_seed(3)
    body = [
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, stride=2, padding=1),
        nn.ReLU(),
    ]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES)).eval()


def transformer() -> nn.Module:
    """Two blocks, a class token, patches of 2 x 2 pixels."""
    from timm.models import VisionTransformer

    torch.manual_seed(3)
    return VisionTransformer(img_size=12, patch_size=2, embed_dim=16, depth=2, num_heads=2, num_classes=CLASSES).eval()


def network_for(name: str) -> nn.Module:
    return transformer() if REGISTRY[name].family == "attention" else network()


def maps(name, x=None, target=3, net=None, **options):
    torch.manual_seed(0)
    return ll.explain(net or network_for(name), pictures() if x is None else x, target, name, **options).raw


@quickly
def test_a_finite_map_for_each_image_and_target_from_a_network_that_leaves_as_it_came(name):
    net = network_for(name).train()
    x = pictures()
    with untouched(net):
        raw = ll.explain(net, x, ll.top(2), name).raw
    assert raw.shape[:2] == (2, 2)
    assert raw.ndim == 4
    assert raw.isfinite().all()
    assert raw.dtype == torch.float32


@thoroughly
def test_the_map_stands_at_the_layers_resolution_or_the_inputs(name):
    assert maps(name).shape[2:] in {(6, 6), (12, 12)}


@quickly
def test_a_map_alone_is_the_map_in_a_batch(name):
    x = pictures()
    together = maps(name, x, target=[0, 3])
    torch.testing.assert_close(maps(name, x[1:], 3)[0], together[1], rtol=1e-4, atol=1e-6)


@thoroughly
def test_asked_twice_it_answers_the_same(name):
    assert torch.equal(maps(name), maps(name))


@thoroughly
def test_the_target_matters_only_where_the_registry_says_so(name):
    """Another class, another map; its scale aside."""
    a, b = (ll.explain(network_for(name), pictures(), target, name).raw for target in (0, 3))
    assert REGISTRY[name].per_target != torch.allclose(a / a.abs().max(), b / b.abs().max(), atol=1e-5)


@thoroughly
def test_a_signed_method_gives_negative_values(name):
    values = torch.cat([maps(name, target=target).flatten() for target in range(CLASSES)])
    assert not REGISTRY[name].signed or bool((values < 0).any())


@thoroughly
def test_double_precision_is_kept(name):
    assert maps(name, pictures(dtype=torch.float64), net=network_for(name).double()).dtype == torch.float64


# ---- what the registry says


@described
def test_it_says_what_a_reader_must_know(name):
    method = REGISTRY[name]
    assert method.name == name
    assert method.title
    assert method.source
    assert set(method.needs) <= set(Evidence.known())
    assert method.needs
    assert method.function.__doc__
    assert method.passes
    assert method.family


@described
def test_it_is_found_by_its_name_by_attribute_and_by_its_function(name):
    method = REGISTRY[name]
    assert get(name) is get(name.upper()) is get(method.function) is get(method) is method
    assert getattr(methods, name[0].upper() + name[1:]) is method


@described
def test_its_settings_can_be_named_and_unknown_ones_are_refused(name):
    method = REGISTRY[name]
    assert method(**method.options).options == method.options
    with pytest.raises(MethodError, match="has no setting 'nonsense'"):
        method(nonsense=1)


@pytest.mark.parametrize("spelling", ["Grad-CAM", "GradCAM", "grad_cam", "GRAD CAM", "gradcam"])
def test_spelling_is_forgiving(spelling):
    assert get(spelling).function is methods.grad_cam


def test_plus_plus_is_pp():
    assert methods.spelling("Grad-CAM++") == "gradcampp"


@pytest.mark.parametrize("bad", ["gradcamm", "", "nothing at all"])
def test_an_unknown_name_is_refused(bad):
    with pytest.raises(MethodError, match="no method is called"):
        get(bad)
    with pytest.raises(AttributeError):
        methods.Nonsense


def test_a_setting_is_passed_on():
    def powered(activations, *, power: float = 1.0):
        return activations.pow(power).mean(1)

    method = get(powered)
    assert method.needs == ("activations",)
    assert method.options == {"power": 1.0}
    squared = method(power=2.0)
    assert squared.options == {"power": 2.0}
    assert method.options == {"power": 1.0}, "a method is a value"
    activations = torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(squared.run({"activations": activations}), activations.square().mean(1))


def test_a_method_is_a_value_that_can_be_printed_and_compared():
    assert REGISTRY["gradcam"] == REGISTRY["gradcam"]()
    assert "Grad-CAM" in repr(REGISTRY["gradcam"])
    assert isinstance(REGISTRY["gradcam"], Method)


# ---- the formulas themselves


def test_grad_cam_by_hand():
    activations, gradients = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(methods.grad_cam(activations, gradients), grad_cam(activations, gradients))


def test_cam_by_hand():
    activations, weights = torch.randn(2, 3, 4, 5), torch.randn(2, 3)
    expected = (activations * weights[:, :, None, None]).sum(1)
    torch.testing.assert_close(methods.cam(activations, weights), expected)


@pytest.mark.parametrize("grid", [(6,), (3, 4), (2, 3, 4)])
def test_grad_cam_of_any_grid(grid):
    assert methods.grad_cam(torch.randn(2, 3, *grid), torch.randn(2, 3, *grid)).shape == (2, *grid)
