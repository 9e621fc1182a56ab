"""FullGrad sums to the score, for any network; Relevance-CAM written out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torch.nn import functional as F

import limelight as ll
from limelight.heatmap import resize
from limelight.methods import get
from limelight.methods.whole import spread
from tests.methods.test_backward import chain, networks
from tests.networks import CLASSES, pictures

pytestmark = pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")

double = torch.float64


@settings(max_examples=20, deadline=None)
@given(networks())
def test_full_grad_is_complete(network):
    """Biases, batch norm's shift, and what SiLU, tanh and gates leave over, with the gradient, are the score."""
    explanation = ll.explain(network, pictures(dtype=double), 1, get("fullgrad")(complete=True))
    torch.testing.assert_close(explanation.raw.sum(dim=(1, 2, 3)), explanation.scores[:, 0])


class Written(nn.Module):
    """Constants and weights that are no module's: a shift, a learned scale, channels last, a mean taken away."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.a, self.b, self.fc = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, 7), nn.Linear(7, CLASSES)
        self.scale, self.shift, self.norm = (
            nn.Parameter(torch.randn(6, 1, 1)),
            nn.Parameter(torch.randn(7)),
            nn.LayerNorm(7),
        )
        self.double().eval()

    def forward(self, x):
        x = F.relu((self.a(x - 0.3) * self.scale + 1.5), inplace=True)
        x = self.norm(F.gelu(self.b(x.permute(0, 2, 3, 1)))) + self.shift
        return self.fc(x.mean(dim=(1, 2)))


def test_full_grad_is_complete_for_what_no_module_holds():
    explanation = ll.explain(Written(), pictures(dtype=double), 1, get("fullgrad")(complete=True))
    torch.testing.assert_close(explanation.raw.sum(dim=(1, 2, 3)), explanation.scores[:, 0])


class Normed(nn.Module):
    """Batch norm as a module, with the batch's own statistics, and as torch's own function."""

    def __init__(self, norm):
        super().__init__()
        torch.manual_seed(3)
        self.a, self.fc, self.norm = nn.Conv2d(3, 6, 3), nn.Linear(6, CLASSES), nn.BatchNorm2d(6)
        for tensor in (self.norm.running_mean, self.norm.weight, self.norm.bias):
            nn.init.normal_(tensor)
        self.bend = norm
        self.double().eval()

    def forward(self, x):
        return self.fc(F.relu(self.bend(self.norm, self.a(x))).mean(dim=(2, 3)))


NORMS = {
    "module": lambda norm, x: norm(x),
    "of the batch": lambda norm, x: F.batch_norm(x, None, None, norm.weight, norm.bias, training=True),
    "torch's": lambda norm, x: torch.batch_norm(
        x, norm.weight, norm.bias, norm.running_mean, norm.running_var, False, 0.1, 1e-5, True
    ),
}


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_full_grad_is_complete_for_any_batch_norm(norm):
    explanation = ll.explain(Normed(norm), pictures(1, dtype=double), 1, get("fullgrad")(complete=True))
    torch.testing.assert_close(explanation.raw.sum(dim=(1, 2, 3)), explanation.scores[:, 0])


def test_full_grad_written_out():
    """Srinivas and Fleuret 2019, eq. 8: absolute values, rescaled for each layer, upsampled, summed."""
    network, x = chain(), pictures(dtype=double).requires_grad_()
    first = network[0](x)
    second = network[2](first.relu())
    score = network[4:](second.relu())[:, 1].sum()
    slopes = torch.autograd.grad(score, [x, first, second])
    terms = [slopes[0] * x, slopes[1] * network[0].bias[:, None, None], slopes[2] * network[2].bias[:, None, None]]
    expected = torch.zeros(2, 12, 12, dtype=double)
    for term in terms:
        for i, one in enumerate(term.detach().abs()):
            expected[i] += resize(((one - one.min()) / (one.max() - one.min())).sum(dim=0), (12, 12))
    torch.testing.assert_close(ll.explain(network, x.detach(), 1, "fullgrad").raw[:, 0], expected)


def test_terms_are_grad_cams_full_grads():
    """grad-cam's own terms and picture, from the pass of ours: it differs only in rescaling every channel by itself."""
    pgc = pytest.importorskip("pytorch_grad_cam")
    scale = pytest.importorskip("pytorch_grad_cam.utils.image").scale_accross_batch_and_channels
    target = pytest.importorskip("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget
    from limelight.rules.biases import Biases

    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, 2, 1), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES)).eval()
    nn.init.normal_(layers[1].running_mean, std=0.3)
    x, told = pictures(1), []
    with Biases(1) as biases:
        leaf = x.clone().requires_grad_()
        outputs = network(leaf)
    with biases.telling(told.append):
        (slope,) = torch.autograd.grad(outputs[:, 1].sum(), leaf)
    places = [slope * x, *(term for term in told if term.ndim == 4)]
    assert len(places) == 4
    maps = sum(scale(abs(term.numpy()), (12, 12)).sum(axis=1) for term in places)
    with pgc.FullGrad(network, []) as cam:
        theirs = cam(x.clone(), [target(1)])
    ours = torch.from_numpy((maps - maps.min()) / (maps - maps.min()).max())
    torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=1e-4, atol=1e-4)


def test_a_channel_that_contributes_nothing_counts_for_nothing():
    """What grad-cam's rescaling of each channel by itself breaks: ours hardly sees a bias of 1e-9."""
    network = chain()
    with torch.no_grad():
        network[0].bias[0] = 0.0
    before = ll.explain(network, pictures(dtype=double), 1, "fullgrad").raw
    with torch.no_grad():
        network[0].bias[0] = 1e-9
    after = ll.explain(network, pictures(dtype=double), 1, "fullgrad").raw
    torch.testing.assert_close(before, after, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (3, 2), (5, 5)])
def test_spreading_keeps_the_sum(size):
    maps = torch.randn(2, 5, 3, dtype=double)
    torch.testing.assert_close(spread(maps, size).sum(dim=(1, 2)), maps.sum(dim=(1, 2)))


def test_spreading_gives_each_pixel_its_share_of_the_cell():
    torch.testing.assert_close(
        spread(torch.tensor([[[4.0, 8.0]]]), (2, 4)), torch.tensor([[[1.0, 1.0, 2.0, 2.0]] * 2]).squeeze(1)
    )


def test_relevance_cam_weights_channels_by_contrasted_relevance():
    """On one linear layer above the layer: z+ of the class, less the mean of z+ of the others."""
    torch.manual_seed(6)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(600, CLASSES)).double().eval()
    x = pictures(dtype=double)
    layer = network[:2](x).detach()
    share = layer.flatten(1)[:, None] * network[3].weight.detach().clamp(min=0)
    share = share / (share.sum(dim=2, keepdim=True) + network[3].bias.detach().clamp(min=0)[:, None])
    start = torch.full((CLASSES,), -1 / (CLASSES - 1), dtype=double)
    start[1] = 1
    weights = torch.einsum("bkd,k->bd", share, start).view_as(layer).sum(dim=(2, 3))
    expected = torch.einsum("bc,bchw->bhw", weights, layer)
    raw = ll.explain(network, x, 1, "relevancecam", layer="1").raw[:, 0]
    torch.testing.assert_close(raw, expected, rtol=1e-4, atol=1e-7)
