"""The activation-only maps and the principal components are the peers', up to a component's sign."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import limelight as ll
from limelight.methods.dff import factorize
from tests.parity.peers import PLACES, error, images, network, pytorch_grad_cam, torchcam

pytestmark = [
    pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning"),
    pytest.mark.parametrize(("name", "layer"), PLACES),
]
CLASSES = [207, 401]


def ours(name: str, layer: str, method: object) -> Tensor:
    return ll.explain(network(name), images(), CLASSES, method, layer).raw[:, 0]


def turned(maps: Tensor, like: Tensor) -> Tensor:
    return maps * torch.where((maps * like).sum(dim=(1, 2)) < 0, -1, 1)[:, None, None]


@pytest.mark.parametrize(
    ("method", "theirs"), [("eigencam", "EigenCAM"), ("eigengradcam", "EigenGradCAM"), ("kpcacam", "KPCA_CAM")]
)
def test_components_are_pytorch_grad_cam_s_up_to_their_sign(name: str, layer: str, method: str, theirs: str):
    found = ours(name, layer, method)
    expected = pytorch_grad_cam(theirs, network(name), layer, images(), CLASSES)
    assert error(found, turned(expected, like=found)) < 1e-3


@pytest.mark.parametrize(("method", "theirs"), [("segeigencam", "SegEigenCAM"), ("fem", "FEM")])
def test_the_rest_is_pytorch_grad_cam_s_with_its_sign(name: str, layer: str, method: str, theirs: str):
    found = ours(name, layer, method)
    assert error(found, pytorch_grad_cam(theirs, network(name), layer, images(), CLASSES)) < 1e-3


@pytest.mark.parametrize(
    ("method", "theirs"), [("gradcam", "GradCAM"), ("layercam", "LayerCAM"), ("hirescam", "HiResCAM")]
)
def test_eigen_smoothing_is_pytorch_grad_cam_s(name: str, layer: str, method: str, theirs: str):
    found = ours(name, layer, ll.methods.eigen_smoothed(method))
    expected = pytorch_grad_cam(theirs, network(name), layer, images(), CLASSES, eigen_smooth=True)
    assert error(found, turned(expected, like=found)) < 1e-3


def test_cam_is_torchcam_s(name: str, layer: str):
    if (name, layer) != ("resnet18", "layer4"):
        pytest.skip("CAM is for a head of pooling and one linear layer")
    expected = torchcam("CAM", network(name), layer, images(), CLASSES)
    assert error(ours(name, layer, "cam"), expected) < 1e-4


def test_factors_fit_as_well_as_scikit_learn_s(name: str, layer: str):
    """Factors are not unique, how well they fit is: pytorch_grad_cam hands its problem to scikit-learn."""
    decomposition = pytest.importorskip("sklearn.decomposition")
    kept = []
    hook = network(name).get_submodule(layer).register_forward_hook(lambda module, args, output: kept.append(output))
    with torch.no_grad():
        network(name)(images())
    hook.remove()
    found = factorize(kept[0], concepts=3, steps=300, together=True)
    fitted = found.alone(torch.arange(3)).sub(found.floor).sum(dim=0)
    cells = (kept[0] - found.floor).flatten(2).mT.flatten(0, 1)
    residual = (cells - fitted.flatten(2).mT.flatten(0, 1)).norm()
    theirs = decomposition.NMF(3, init="random", random_state=0, max_iter=1000)
    theirs.fit(cells.double().numpy())
    assert residual < 1.05 * theirs.reconstruction_err_
