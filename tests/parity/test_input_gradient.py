"""Input gradients and layer attributions give the maps of captum and of PAIR's saliency.

Random weights, in single precision, at a size that is quick. Maps are compared in their own units, relative to the
largest value of each; by rank correlation where the peer takes another rule for the same integral. Where the peer
draws, it is given our draws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

import limelight as ll
from limelight.methods import get
from limelight.methods.around import noise_tunnel
from limelight.methods.input_gradient import ranked, segments
from limelight.methods.paths import normals
from tests.architectures import build

attr = pytest.importorskip("captum.attr")

pytestmark = pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning", "ignore::UserWarning:captum")

SIZE = 48
LAYERS = {"resnet18": "layer3", "mobilenet_v3_small": "features.6", "squeezenet1_1": "features.7"}
CLASSES = torch.tensor([3, 700])
STEPS = 8


@pytest.fixture(scope="module", params=LAYERS)
def subject(request: pytest.FixtureRequest) -> tuple[nn.Module, str]:
    return build(request.param, size=SIZE).requires_grad_(False), LAYERS[request.param]


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def raw(network: nn.Module, images: Tensor, method: Any, layer: str | None = None, **options: Any) -> Tensor:
    return ll.explain(network, images, CLASSES.tolist(), get(method)(**options), layer).raw[:, 0]


def error(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference of any map, relative to that map's largest value."""
    theirs = theirs.detach()
    assert ours.shape == theirs.shape
    return float(((ours - theirs).abs().amax(dim=(1, 2)) / theirs.abs().amax(dim=(1, 2))).max())


def agreement(ours: Tensor | np.ndarray, theirs: Tensor | np.ndarray) -> float:
    """Rank correlation."""
    return float(spearmanr(np.asarray(ours).ravel(), np.asarray(theirs).ravel()).statistic)


# ---- captum, at the input


def test_saliency(subject, images: Tensor):
    network, _ = subject
    theirs = attr.Saliency(network).attribute(images.clone(), target=CLASSES).amax(dim=1)
    assert error(raw(network, images, "saliency"), theirs) < 1e-4


def test_input_x_gradient(subject, images: Tensor):
    network, _ = subject
    theirs = attr.InputXGradient(network).attribute(images.clone(), target=CLASSES).sum(dim=1)
    assert error(raw(network, images, "inputxgradient"), theirs) < 1e-4


@pytest.mark.parametrize("baseline", [0.0, 0.5])
def test_integrated_gradients(subject, images: Tensor, baseline: float):
    network, _ = subject
    peer = attr.IntegratedGradients(network)
    theirs = peer.attribute(images, baselines=baseline, target=CLASSES, n_steps=STEPS).sum(dim=1)
    assert error(raw(network, images, "integratedgradients", baseline=baseline, steps=STEPS), theirs) < 1e-4


@pytest.fixture
def our_noise(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, int], None]:
    """Let captum's noise tunnel draw what we draw: the same for every image, in the measure of its range."""

    def use(noise: float, seed: int) -> None:
        def add(input: Tensor, stdev: float, samples: int) -> Tensor:
            width = noise * (input.amax(dim=(1, 2, 3), keepdim=True) - input.amin(dim=(1, 2, 3), keepdim=True))
            drawn = normals(torch.arange(samples), input.shape[1:], seed, input)
            return (input + width * drawn).transpose(0, 1).flatten(0, 1)  # captum's order: sample by sample of an image

        monkeypatch.setattr(attr.NoiseTunnel, "_add_noise_to_input", staticmethod(add))

    return use


@pytest.mark.parametrize("kind", ["smoothgrad", "smoothgrad_sq", "vargrad"])
def test_noise_tunnel(subject, images: Tensor, our_noise, kind: str):
    network, _ = subject
    our_noise(0.2, 3)
    options: dict[str, Any] = {"samples": 4, "noise": 0.2, "seed": 3}
    told = {"nt_type": kind, "nt_samples": 4, "stdevs": 1.0, "target": CLASSES}
    signed = attr.NoiseTunnel(attr.Saliency(network)).attribute(images.clone(), abs=False, **told)
    method = {"smoothgrad": "smoothgrad", "smoothgrad_sq": "smoothgradsquared", "vargrad": "vargrad"}[kind]
    assert error(raw(network, images, method, **options), signed.abs().amax(dim=1)) < 1e-3

    if kind == "smoothgrad":  # of a linear reduction the mean is the same before and after it
        peer = attr.NoiseTunnel(attr.InputXGradient(network))
        assert error(
            raw(network, images, noise_tunnel("inputxgradient"), **options),
            peer.attribute(images.clone(), **told).sum(dim=1),
        ) < 1e-4  # fmt: skip


def test_gradient_shap(subject, images: Tensor, our_noise, monkeypatch: pytest.MonkeyPatch):
    """With our noise and points; the order of captum's samples is by image."""
    network, _ = subject
    our_noise(0.1, 0)
    samples = 6
    monkeypatch.setattr(np.random, "uniform", _our_positions(images, samples))
    peer = attr.GradientShap(network)
    theirs = peer.attribute(images, torch.zeros(1, 3, SIZE, SIZE), n_samples=samples, stdevs=1.0, target=CLASSES)
    assert error(raw(network, images, "gradientshap", noise=0.1, samples=samples), theirs.sum(dim=1)) < 1e-4


def _our_positions(images: Tensor, samples: int) -> Callable[..., np.ndarray]:
    from limelight.methods.input_gradient import drawn_positions

    return lambda low, high, count: drawn_positions(images, samples, 0).repeat(count // samples).numpy()


# ---- captum, at a layer


def module(network: nn.Module, layer: str) -> nn.Module:
    return network.get_submodule(layer)


def test_layer_gradient_x_activation(subject, images: Tensor):
    network, layer = subject
    theirs = attr.LayerGradientXActivation(network, module(network, layer)).attribute(images, target=CLASSES)
    assert error(raw(network, images, "layergradientxactivation", layer), theirs.sum(dim=1)) < 1e-4


def test_layer_integrated_gradients(subject, images: Tensor):
    network, layer = subject
    peer = attr.LayerIntegratedGradients(network, module(network, layer))
    theirs = peer.attribute(images, baselines=torch.full_like(images, 0.3), target=CLASSES, n_steps=STEPS)
    found = raw(network, images, "layerintegratedgradients", layer, baseline=0.3, steps=STEPS)
    assert error(found, theirs.sum(dim=1)) < 1e-4


def test_internal_influence(subject, images: Tensor):
    network, layer = subject
    peer = attr.InternalInfluence(network, module(network, layer))
    theirs = peer.attribute(images, target=CLASSES, n_steps=STEPS)
    assert error(raw(network, images, "internalinfluence", layer, steps=STEPS), theirs.sum(dim=1)) < 1e-4


def test_layer_gradient_shap(subject, images: Tensor, our_noise, monkeypatch: pytest.MonkeyPatch):
    network, layer = subject
    our_noise(0.1, 0)
    samples = 6
    monkeypatch.setattr(np.random, "uniform", _our_positions(images, samples))
    peer = attr.LayerGradientShap(network, module(network, layer))
    theirs = peer.attribute(images, torch.zeros(1, 3, SIZE, SIZE), n_samples=samples, stdevs=1.0, target=CLASSES)
    found = raw(network, images, "layergradientshap", layer, noise=0.1, samples=samples)
    assert error(found, theirs.sum(dim=1)) < 1e-4


def test_conductance(subject, images: Tensor):
    """Captum's own sum goes from the first node to the last and takes each step's gradient at its beginning.

    So with as many steps, ours is the one that sums to the difference of the scores.
    """
    network, layer = subject
    found = raw(network, images, "conductance", layer, steps=STEPS)
    peer = attr.LayerConductance(network, module(network, layer))
    theirs = peer.attribute(images, target=CLASSES, n_steps=STEPS).detach().sum(dim=1)
    expected = (network(images) - network(torch.zeros_like(images)))[[0, 1], CLASSES]
    ours, captums = (float((each.sum(dim=(1, 2)) - expected).abs().sum()) for each in (found, theirs))
    assert ours < captums


def test_conductance_as_the_steps_grow_fine():
    network, images = smooth_network(), torch.randn(2, 3, 24, 24)
    peer = attr.LayerConductance(network, network[1])
    theirs = peer.attribute(images, target=CLASSES, n_steps=300, internal_batch_size=64).detach().sum(dim=1)
    for ours, captums in zip(raw(network, images, "conductance", "1"), theirs, strict=True):
        assert agreement(ours, captums) > 0.999


def smooth_network() -> nn.Module:
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(3, 8, 3, 2, 1), nn.Softplus(), nn.Conv2d(8, 8, 3, 2, 1), nn.Softplus()]
    head = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 1000)]
    return nn.Sequential(*convolutions, *head).requires_grad_(False)


# ---- PAIR's saliency


def gradients_of(network: nn.Module, target: int) -> Callable[..., dict[str, np.ndarray]]:
    """A network as saliency calls it."""

    def call(pictures: np.ndarray, call_model_args: Any = None, expected_keys: Any = None) -> dict[str, np.ndarray]:
        leaf = (
            torch.from_numpy(np.asarray(pictures)).movedim(-1, 1).to(next(network.parameters()).dtype).requires_grad_()
        )
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(network(leaf)[:, target].sum(), leaf)
        return dict.fromkeys(expected_keys, slope.movedim(1, -1).numpy())

    return call


def as_theirs(image: Tensor) -> np.ndarray:
    return image.movedim(0, -1).numpy()


def test_guided_integrated_gradients(subject, images: Tensor, monkeypatch: pytest.MonkeyPatch):
    """In double precision, from a baseline of noise: the path is chosen by sorting gradients, and on a constant
    baseline many are equal, so that rounding decides where it goes."""
    guided = pytest.importorskip("saliency.core.guided_ig")
    quantile = np.quantile  # which lost the name of this argument in numpy 2.4
    monkeypatch.setattr(np, "quantile", lambda a, q, interpolation: quantile(a, q, method=interpolation))
    network, images = subject[0], images.double()
    start = torch.randn(3, SIZE, SIZE, dtype=torch.float64)
    try:
        network.double()
        found = raw(network, images, "guidedintegratedgradients", steps=4, distance=0.1, baseline=start)
        for ours, image, target in zip(found, images, CLASSES.tolist(), strict=True):
            theirs = guided.GuidedIG().GetMask(
                as_theirs(image),
                gradients_of(network, target),
                x_baseline=as_theirs(start),
                x_steps=4,
                fraction=0.25,
                max_dist=0.1,
            )
            assert error(ours[None], torch.from_numpy(theirs.sum(axis=-1))[None]) < 1e-4
    finally:
        network.float()


def test_blur_integrated_gradients():
    """PAIR's equal steps and finite differences come to our integral as they grow fine, on a network that is smooth."""
    blur = pytest.importorskip("saliency.core.blur_ig")
    network, images = smooth_network(), torch.randn(2, 3, 24, 24)
    found = raw(network, images, "blurintegratedgradients", sigma=6.0)
    for ours, image, target in zip(found, images, CLASSES.tolist(), strict=True):
        theirs = blur.BlurIG().GetMask(
            as_theirs(image), gradients_of(network, target), max_sigma=6.0, steps=800, grad_step=0.001, batch_size=50
        )
        assert agreement(ours, theirs.sum(axis=-1)) > 0.999


def test_xrai(images: Tensor):
    """The same segments and, from one attribution, the same regions."""
    theirs = pytest.importorskip("saliency.core.xrai")
    picture = torch.nn.functional.interpolate(images[:1, :, :8, :8], 150, mode="bicubic")[0]
    masks = theirs._get_segments_felzenszwalb(as_theirs(picture))
    ours = segments(picture)
    assert len(ours) == len(masks)
    assert (ours.numpy() == np.stack(masks)).mean() > 0.999
    attribution = torch.randn(150, 150, dtype=torch.float64).cumsum(0).cumsum(1)
    expected, _ = theirs.XRAI._xrai(attribution.numpy(), masks)
    np.testing.assert_allclose(ranked(attribution, torch.from_numpy(np.stack(masks))), expected, rtol=1e-6)
