"""The gradient-weighted maps are the peers', number for number, wherever the peers follow the paper."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import limelight as ll
from tests.parity.peers import (
    PLACES,
    correlation,
    error,
    images,
    network,
    pytorch_grad_cam,
    torchcam,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning"),
    pytest.mark.parametrize(("name", "layer"), PLACES),
]
CLASSES = [207, 401]


def ours(name: str, layer: str, method: object, times: float = 1.0, classes: list[int] = CLASSES) -> Tensor:
    target = classes if times == 1 else [lambda out, index=index: times * out[:, index] for index in classes]
    return ll.explain(network(name), images(), target, method, layer).raw[:, 0]


@pytest.mark.parametrize(
    ("method", "theirs"),
    [
        ("gradcam", "GradCAM"),
        ("hirescam", "HiResCAM"),
        ("elementwisegradcam", "GradCAMElementWise"),
        ("layercam", "LayerCAM"),
        ("shapleycam", "ShapleyCAM"),
    ],
)
def test_pytorch_grad_cam(name: str, layer: str, method: str, theirs: str):
    if method == "shapleycam" and (name, layer) == ("mobilenet_v3_small", "features.8"):
        pytest.skip("PyTorch has no second derivative of hardsigmoid: the peer raises RuntimeError, we MethodError")
    expected = pytorch_grad_cam(theirs, network(name), layer, images(), CLASSES)
    assert error(ours(name, layer, method), expected) < 1e-4


@pytest.mark.parametrize(("method", "theirs"), [("gradcampp", "GradCAMPlusPlus"), ("xgradcam", "XGradCAM")])
def test_pytorch_grad_cam_where_its_epsilon_is_small(name: str, layer: str, method: str, theirs: str):
    """It adds 1e-6 (1e-7) to a denominator: scores are asked for a thousandfold, so that this is nothing beside it."""
    if method == "gradcampp" and (name, layer) == ("mobilenet_v3_small", "features.8"):
        pytest.skip("its activations sum below zero, and alpha's denominator comes close to it: eq. 19 is for ReLUs")
    expected = pytorch_grad_cam(theirs, network(name), layer, images(), CLASSES, times=1000)
    assert error(ours(name, layer, method, times=1000), expected) < 1e-3


@pytest.mark.parametrize(("method", "theirs"), [("xgradcam", "XGradCAM"), ("layercam", "LayerCAM")])
def test_torchcam(name: str, layer: str, method: str, theirs: str):
    expected = torchcam(theirs, network(name), layer, images(), CLASSES)
    assert error(ours(name, layer, method).clamp(min=0), expected) < 1e-4


def test_torchcam_leaves_out_alpha(name: str, layer: str):
    """Its Grad-CAM++ weighs channels by the sum of g^2 relu(g), which is not eq. 19: see test_gradient for ours."""

    def without_alpha(activations: Tensor, gradients: Tensor) -> Tensor:
        weights = (gradients**2 * gradients.clamp(min=0)).sum(dim=(2, 3))
        return torch.einsum("bc,bchw->bhw", weights, activations)

    theirs = torchcam("GradCAMpp", network(name), layer, images(), CLASSES)
    assert error(ours(name, layer, without_alpha).clamp(min=0), theirs) < 1e-4
    assert error(ours(name, layer, "gradcampp"), theirs) > 0.5


@pytest.mark.parametrize(("base", "theirs"), [("gradcam", "GradCAM"), ("layercam", "LayerCAM")])
def test_finer_cam_is_torchcam_s(name: str, layer: str, base: str, theirs: str):
    methods = pytest.importorskip("torchcam.methods")
    expected = torchcam("FinerCAM", network(name), layer, images(), CLASSES, base_method=getattr(methods, theirs))
    assert error(ours(name, layer, ll.methods.FinerCAM(base=base)).clamp(min=0), expected) < 1e-4


def test_finer_cam_against_one_rival_is_pytorch_grad_cam_s(name: str, layer: str):
    """Against several, it lets gradients flow through the rivals' softmax weights."""
    pgc = pytest.importorskip("pytorch_grad_cam")
    maps = []
    with pgc.FinerCAM(network(name), [network(name).get_submodule(layer)]) as cam:
        formula = cam.base_cam.get_cam_image
        cam.base_cam.get_cam_image = lambda *given: maps.append(formula(*given)) or maps[-1]
        cam(images().requires_grad_(), comparison_categories=[1], alpha=0.6)
    best = network(name)(images()).argmax(dim=1).tolist()
    method = ll.methods.FinerCAM(rivals=1, strength=0.6)
    assert error(ours(name, layer, method, classes=best), torch.as_tensor(maps[0])) < 1e-3


def test_sess_is_pytorch_grad_cam_s(name: str, layer: str):
    """But for its windows' maps, which lose their minimum and are resized to the window before they are laid back.

    On noise all depends on where a pixel falls, so the input's size is one that the second scale enlarges by whole
    pixels.
    """

    def without_least(activations: Tensor, gradients: Tensor) -> Tensor:
        raw = ll.methods.grad_cam(activations, gradients).clamp(min=0)
        return raw - raw.amin(dim=(1, 2), keepdim=True)

    pgc = pytest.importorskip("pytorch_grad_cam")
    target = pytest.importorskip("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget
    inputs = images(size=112)
    best = network(name)(inputs).argmax(dim=1).tolist()
    with pgc.SESS(network(name), [network(name).get_submodule(layer)], num_scales=2, smooth=False) as cam:
        theirs = torch.from_numpy(cam(inputs.requires_grad_(), [target(index) for index in best]))
    method = ll.methods.SESS(base=without_least, scales=2, smooth=0)
    assert correlation(ll.explain(network(name), inputs, best, method, layer).raw[:, 0], theirs) > 0.95
