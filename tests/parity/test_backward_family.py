"""Modified backward rules against captum, zennit and pytorch-grad-cam.

The peers hook modules, so they are asked about networks without functional ReLUs and with every module used once;
zennit needs a canonizer for each architecture with batch norm or additions, we none.
"""

from __future__ import annotations

import copy
import functools
import types
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import limelight as ll
from tests.architectures import build
from tests.parity.peers import correlation, error

pytestmark = pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning", "ignore::UserWarning")

NETWORKS = ("resnet18", pytest.param("vgg11_bn", marks=pytest.mark.slow), "squeezenet1_1")


def small(name: str) -> nn.Module:
    """Random weights in double precision; VGG with a head that is quick to build."""
    built = build(name, size=48)
    if hasattr(built, "avgpool") and hasattr(built, "classifier"):
        wide = next(m.out_channels for m in reversed(list(built.features)) if isinstance(m, nn.Conv2d))
        built.avgpool = nn.AdaptiveAvgPool2d(2)
        built.classifier = nn.Sequential(nn.Linear(wide * 4, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 500))
    for module in built.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return built.requires_grad_(False).double().eval()


@functools.cache
def network(name: str) -> nn.Module:
    """Random weights; each ReLU a module of its own that leaves its input alone."""
    built = small(name)
    for module in built.modules():
        if type(module).__name__ == "BasicBlock":
            module.relu2 = nn.ReLU()
            module.forward = types.MethodType(_basic_block, module)
    return built


def _basic_block(self, x):
    out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
    return self.relu2(out + (x if self.downsample is None else self.downsample(x)))


def images() -> Tensor:
    return torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@functools.cache
def classes(name: str) -> list[int]:
    """The classes predicted: in a network that ends in a ReLU, others have no gradient."""
    return network(name)(images()).argmax(dim=1).tolist()


def one_hot(outputs: Tensor) -> Tensor:
    return nn.functional.one_hot(outputs.argmax(dim=1), outputs.shape[1]).to(outputs)


def ours(name: str, method: str, **settings) -> Tensor:
    return ll.explain(network(name), images(), classes(name), ll.methods.get(method)(**settings), layer="input").raw[
        :, 0
    ]


def captum(method: str, built: nn.Module, target: list[int], **options) -> Tensor:
    attr = pytest.importorskip("captum.attr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(attr, method)(built).attribute(images().requires_grad_(), target=target, **options).detach()


def zennit(composite: str, name: str, start: Callable[[Tensor], Tensor], merge: bool = True, **options) -> Tensor:
    composites = pytest.importorskip("zennit.composites")
    from zennit.attribution import Gradient
    from zennit.canonizers import SequentialMergeBatchNorm
    from zennit.torchvision import ResNetCanonizer

    canonizers = [ResNetCanonizer() if "resnet" in name else SequentialMergeBatchNorm()] if merge else []
    rules = getattr(composites, composite)(canonizers=canonizers, **options)
    plain = small(name) if merge else network(name)  # its canonizer replaces the blocks' forward itself
    plain.load_state_dict(network(name).state_dict())
    with Gradient(plain, rules) as attributor:
        return attributor(images(), start)[1]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("method", "theirs"), [("guidedbackprop", "GuidedBackprop"), ("deconvolution", "Deconvolution")]
)
def test_rectifier_rules_are_captums(name, method, theirs):
    expected = captum(theirs, network(name), classes(name)).abs().amax(dim=1)
    assert error(ours(name, method), expected) < 1e-6


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("method", "theirs"), [("guidedbackprop", "GuidedBackprop"), ("deconvolution", "DeconvNet")])
def test_rectifier_rules_are_zennits(name, method, theirs):
    expected = zennit(theirs, name, one_hot, merge=False).abs().amax(dim=1)
    assert error(ours(name, method), expected) < 1e-6


@pytest.mark.parametrize("name", NETWORKS)
def test_guided_backprop_is_grad_cams_for_the_one_image_it_takes(name):
    pgc = pytest.importorskip("pytorch_grad_cam")
    model = pgc.GuidedBackpropReLUModel(small(name), "cpu")
    model.model.load_state_dict(network(name).state_dict())
    for i, index in enumerate(classes(name)):
        expected = abs(model(images()[i : i + 1], target_category=index)).max(axis=-1)
        assert error(ours(name, "guidedbackprop")[i : i + 1], torch.from_numpy(expected)[None]) < 1e-6


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer3"),
        pytest.param("vgg11_bn", "features.20", marks=pytest.mark.slow),
        ("squeezenet1_1", "features.9"),
    ],
)
def test_guided_grad_cam_is_captums(name, layer):
    attr = pytest.importorskip("captum.attr")
    built = network(name)
    guided = attr.GuidedGradCam(built, built.get_submodule(layer))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = guided.attribute(images().requires_grad_(), classes(name), interpolate_mode="bilinear").detach()
    raw = ll.explain(built, images(), classes(name), "guidedgradcam", layer).raw[:, 0]
    assert error(raw, theirs.abs().amax(dim=1)) < 1e-6


def averaging(name: str) -> nn.Module:
    """The network with its maxima made means."""
    built = copy.deepcopy(network(name))
    for module in list(built.modules()):
        if type(module).__name__ == "BasicBlock":
            module.forward = types.MethodType(_basic_block, module)
        for key, child in list(module.named_children()):
            if isinstance(child, nn.MaxPool2d):
                mean = nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode)
                setattr(module, key, mean)
    return built


@pytest.mark.parametrize("name", NETWORKS)
def test_deeplift_is_captums_without_max_pooling(name):
    built, start = averaging(name), torch.full((1, 3, 48, 48), 0.3, dtype=torch.float64)
    target = built(images()).argmax(dim=1).tolist()
    expected = captum("DeepLift", built, target, baselines=start).sum(dim=1)
    raw = ll.explain(built, images(), target, ll.methods.get("deeplift")(baseline=0.3)).raw[:, 0]
    assert error(raw, expected) < 1e-9


@pytest.mark.parametrize("name", NETWORKS)
def test_deeplift_is_complete_with_max_pooling_and_captums_is_not(name):
    """What captum 0.9 unpools is not what it pooled; its own convergence delta says so."""
    start = torch.full((1, 3, 48, 48), 0.3, dtype=torch.float64)
    rows = range(2)
    rise = network(name)(images())[rows, classes(name)] - network(name)(start).expand(2, -1)[rows, classes(name)]
    torch.testing.assert_close(ours(name, "deeplift", baseline=0.3).sum(dim=(1, 2)), rise)
    theirs = captum("DeepLift", network(name), classes(name), baselines=start).sum(dim=(1, 2, 3))
    assert ((theirs - rise).abs() > 1e-3 * rise.abs()).any()


COMPOSITES = {
    "lrpepsilonplus": ("EpsilonPlus", {}),
    "lrpepsilongammabox": ("EpsilonGammaBox", {"low": -3.0, "high": 4.0}),
    "lrpalpha2beta1flat": ("EpsilonAlpha2Beta1Flat", {}),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("method", COMPOSITES)
def test_relevance_is_zennits(name, method):
    """Zennit's merged batch norms still divide by sqrt(1 + eps), each, and its additions are stabilised."""
    composite, options = COMPOSITES[method]
    expected = zennit(composite, name, lambda outputs: outputs * one_hot(outputs), **options).sum(dim=1)
    raw = ours(name, method, **options)
    assert correlation(raw, expected) > 0.999
    assert error(raw, expected) < 1e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_excitation_is_zennits_without_biases(name):
    expected = zennit("ExcitationBackprop", name, one_hot, zero_params=["bias"]).sum(dim=1)
    assert error(ours(name, "excitationbackprop"), expected) < 1e-3


@pytest.mark.parametrize("name", [pytest.param("vgg11", marks=pytest.mark.slow), "squeezenet1_0", "squeezenet1_1"])
def test_epsilon_relevance_is_captums(name):
    """On networks without batch norm or additions: captum gives those rules of their own, or refuses them."""
    expected = captum("LRP", network(name), classes(name)).sum(dim=1)
    assert error(ours(name, "lrpepsilon", epsilon=1e-9), expected) < 1e-4
