"""The replay family against pytorch-grad-cam and torchcam, and where they are not what their papers say.

Maps are compared at the layer's resolution before any rescaling.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import limelight as ll
from tests.parity import peers

pytestmark = pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")

LAST = [
    ("resnet18", "layer4"),
    pytest.param("mobilenet_v3_small", "features", marks=pytest.mark.slow),
    pytest.param("vgg11", "features", marks=pytest.mark.slow),
]
SIZE = 64


def best(name: str, inputs: Tensor) -> list[int]:
    with torch.no_grad():
        return peers.network(name)(inputs).argmax(dim=1).tolist()


def ours(name: str, layer: str, method, inputs: Tensor) -> Tensor:
    return ll.explain(peers.network(name), inputs, best(name, inputs), method, layer).raw[:, 0]


def pytorch_grad_cam(method: str, name: str, layer: str, inputs: Tensor) -> Tensor:
    return peers.pytorch_grad_cam(method, peers.network(name), layer, inputs, best(name, inputs))


def torchcam(method: str, name: str, layer: str, inputs: Tensor, **options) -> Tensor:
    return peers.torchcam(method, peers.network(name), layer, inputs, best(name, inputs), batch_size=64, **options)


@pytest.mark.parametrize(("name", "layer"), LAST)
def test_ablation_cam(name, layer, monkeypatch):
    """Where a layer goes below zero theirs takes channels to -1e7, "deviating from the paper"; with zero it agrees."""
    ablation = pytest.importorskip("pytorch_grad_cam.ablation_layer").AblationLayer

    def zeroed(self, x):
        for row, channel in zip(self.activations, self.indices, strict=False):  # later batches' indices follow
            row[channel] = 0
        return self.activations

    if name.startswith("mobilenet"):  # its last activation is Hardswish
        monkeypatch.setattr(ablation, "__call__", zeroed)
    inputs = peers.images(1, SIZE)
    assert (
        peers.error(ours(name, layer, "ablationcam", inputs), pytorch_grad_cam("AblationCAM", name, layer, inputs))
        < 1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layer"), LAST)
def test_score_cam_with_corners_as_in_pytorch_grad_cam(name, layer, monkeypatch):
    """It aligns the corners of masks; told not to, it gives our map."""
    inputs = peers.images(1, SIZE)
    mine = ours(name, layer, "scorecam", inputs)
    monkeypatch.setattr(
        torch.nn, "UpsamplingBilinear2d", lambda size: lambda a: F.interpolate(a, size=size, mode="bilinear")
    )
    assert peers.error(mine, pytorch_grad_cam("ScoreCAM", name, layer, inputs)) < 1e-4


@pytest.mark.parametrize(("name", "layer"), LAST)
@pytest.mark.parametrize(
    ("method", "theirs", "options"),
    [
        (ll.methods.ScoreCAM, "ScoreCAM", {}),
        pytest.param(ll.methods.ISCAM(steps=1), "ISCAM", {"num_samples": 1}, marks=pytest.mark.slow),
        pytest.param(
            ll.methods.SSCAM(samples=1, std=0.0), "SSCAM", {"num_samples": 1, "std": 1e-12}, marks=pytest.mark.slow
        ),
    ],
    ids=["scorecam", "iscam", "sscam"],
)
def test_score_cams_of_torchcam(name, layer, method, theirs, options, monkeypatch):
    """It brings masks into [0, 1] before it upsamples them, the paper after; done after, too, it gives our map."""
    activation = pytest.importorskip("torchcam.methods.activation")
    before = activation.ScoreCAM._upsample
    monkeypatch.setattr(
        activation.ScoreCAM, "_upsample", lambda self, a: self._normalize(before(self, a).clone(), a.ndim - 2)
    )
    inputs = peers.images(1, SIZE)
    found = torchcam(theirs, name, layer, inputs, **options)
    assert peers.error(ours(name, layer, method, inputs).clamp(min=0), found) < 1e-3


def test_a_mask_reaches_one_as_in_the_paper():
    """Eq. 6 of Score-CAM: the mask that the image is seen through has maximum 1, after upsampling."""
    from limelight.methods.replay_input import _through

    grid = torch.tensor([[0.0, 1, 0], [1, 5, 2], [0, 1, 0]])[None, None]
    seen = _through(grid, torch.ones(1, 1, 8, 8))
    assert float(seen.amin()) == 0
    assert float(seen.amax()) == 1
    upsampled = F.interpolate((grid - grid.amin()) / (grid.amax() - grid.amin()), size=(8, 8), mode="bilinear")
    assert float(upsampled.amax()) < 1  # what torchcam sees through


def test_is_cam_never_brightens_the_image():
    """Torchcam adds the steps up, and so looks at brighter images than the photograph; our way ends at the mask."""
    brightest = []
    network = peers.network("resnet18")
    handle = network.register_forward_pre_hook(lambda module, args: brightest.append(float(args[0].abs().max())))
    inputs = peers.images(1, SIZE)
    try:
        ll.explain(network, inputs, 0, ll.methods.ISCAM(steps=4, top=2), "layer1")
        assert max(brightest) <= float(inputs.abs().max()) * 1.0001
        brightest.clear()
        activation = pytest.importorskip("torchcam.methods.activation")
        with activation.ISCAM(network, "layer1", num_samples=4, batch_size=64) as extractor:
            extractor([0], network(inputs))
        assert max(brightest) > 1.5 * float(inputs.abs().max())
    finally:
        handle.remove()
