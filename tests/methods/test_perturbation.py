"""Methods that take parts of the picture away, on networks for which it is known what must come out."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

import limelight as ll
from limelight.errors import MethodError
from limelight.methods import REGISTRY

SIDE, CELLS = 28, 7  # cells of 4 x 4
NAMES = ["occlusion", "rise", "ablation", "sobol", "hsic", "lime", "kernelshap"]
MASKS = ["meaningfulperturbation", "extremalperturbation"]


class Weighted(nn.Module):
    """One score: a weighted sum of the pixels, with the weight of a cell the same on all its pixels."""

    def __init__(self, weights: torch.Tensor):
        super().__init__()
        self.weights = nn.Parameter(weights.repeat_interleave(4, dim=0).repeat_interleave(4, dim=1))

    def forward(self, x):
        return (x.mean(dim=1) * self.weights).sum(dim=(1, 2))[:, None]


@pytest.fixture
def weights():
    return torch.randn(CELLS, CELLS, generator=torch.Generator().manual_seed(1))


def explain(network, images, name, **settings):
    settings = {key: value for key, value in settings.items() if key in REGISTRY[name].options}
    return ll.explain(network, images, target=0, method=REGISTRY[name](**settings)).raw[:, 0]


def by_cell(raw):
    return raw.unflatten(1, (CELLS, 4)).unflatten(3, (CELLS, 4)).mean(dim=(2, 4))


def correlation(a, b):
    return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]


@pytest.mark.parametrize(("name", "factor"), [("ablation", 1), ("kernelshap", 1)])
def test_a_segment_of_a_linear_network_is_worth_what_it_adds(name, factor, weights):
    """Exactly: the Shapley value, and the drop, of a cell is its sixteen pixels times their weight."""
    images = torch.ones(2, 3, SIDE, SIDE) * torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)
    found = by_cell(explain(Weighted(weights), images, name, samples=256))
    worth = 16 * weights * torch.tensor([1.0, 2.0]).view(2, 1, 1)
    torch.testing.assert_close(found, factor * worth, rtol=1e-3, atol=1e-3)


def test_lime_is_the_drop_shrunk(weights):
    """With little ridge, the regression's weights are the linear network's own."""
    found = by_cell(explain(Weighted(weights), torch.ones(1, 3, SIDE, SIDE), "lime", samples=400, ridge=1e-4))
    torch.testing.assert_close(found[0], 16 * weights, rtol=1e-2, atol=1e-2)


def test_sobol_is_each_cells_share_of_the_variance(weights):
    """Of a linear function, a cell's total index is its squared weight over the sum of them."""
    found = by_cell(explain(Weighted(weights), torch.ones(1, 3, SIDE, SIDE), "sobol", samples=512))
    share = weights.square() / weights.square().sum()
    torch.testing.assert_close(found[0], share, rtol=0.25, atol=2e-3)


@pytest.mark.parametrize(("name", "least"), [("rise", 0.7), ("hsic", 0.7), ("occlusion", 0.9)])
def test_estimates_follow_the_weights(name, least, weights):
    """Sampling methods find the ranking, up to noise; the unsigned one that of the weights' size."""
    found = by_cell(explain(Weighted(weights), torch.ones(1, 3, SIDE, SIDE), name, samples=2000, window=4, stride=4))
    truth = weights.square() if name == "hsic" else weights
    assert correlation(found, truth) > least


def test_occlusion_averages_the_windows_on_a_pixel(weights):
    """Against the definition, window by window, with windows that overlap and reach over the border."""
    network, image = Weighted(weights), torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    falls, times = torch.zeros(SIDE, SIDE), torch.zeros(SIDE, SIDE)
    for top in range(0, SIDE, 5):
        for left in range(0, SIDE, 5):
            if top - 5 >= SIDE - 8 or left - 5 >= SIDE - 8:  # the window before already reached the border
                continue
            covered = image.clone()
            covered[..., top : top + 8, left : left + 8] = 0
            fall = (network(image) - network(covered)).item()
            falls[top : top + 8, left : left + 8] += fall
            times[top : top + 8, left : left + 8] += 1
    found = explain(network, image, "occlusion", window=8, stride=5)
    torch.testing.assert_close(found[0], falls / times, rtol=1e-4, atol=1e-4)


def test_shapley_values_are_complete():
    """Imposed, so it holds for any network and any number of samples: the sum is score minus baseline's score."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 26 * 26, 1))
    images = torch.randn(2, 3, SIDE, SIDE)
    found = by_cell(explain(network, images, "kernelshap", samples=120, baseline=0.5)).sum(dim=(1, 2))
    expected = (network(images) - network(torch.full_like(images, 0.5)))[:, 0].detach()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")  # of some networks all four values are negative
@given(seed=st.integers(0, 2**16))
@example(seed=153)
@settings(max_examples=8, deadline=None)
def test_kernel_shap_of_few_segments_is_the_mean_over_all_orders(seed):
    """Shapley's own definition: what a segment adds when it joins those before it, averaged over the 24 orders of 4."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    image, labels = torch.randn(1, 3, 4, 4, dtype=torch.float64), torch.arange(4).view(2, 2)
    labels = labels.repeat_interleave(2, dim=0).repeat_interleave(2, dim=1)

    def score(present):
        return network(torch.where(torch.isin(labels, torch.tensor(present)), image, 0.5)).item()

    values = torch.zeros(4, dtype=torch.float64)
    for order in itertools.permutations(range(4)):
        for place, segment in enumerate(order):
            values[segment] += (score(order[: place + 1]) - score(order[:place])) / 24
    found = explain(network, image, "kernelshap", segments=labels, baseline=0.5)
    torch.testing.assert_close(found, values[labels][None], rtol=1e-6, atol=1e-8)


class CornerBrightness(nn.Module):
    """The contrast within one corner: blurring that corner, and nothing else, takes the score away."""

    def forward(self, x):
        return x[:, :, :8, :8].diff(dim=-1).square().mean(dim=(1, 2, 3))[:, None]


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_finds_the_corner_that_matters(name):
    images = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    network = nn.Sequential(nn.Conv2d(3, 3, 1), CornerBrightness())
    found = explain(network, images, name, steps=60, areas=(0.1, 0.2))[0]
    assert found.min() >= 0 and found.max() <= 1
    assert found[:8, :8].mean() > 2 * found[12:, 12:].mean()


@pytest.mark.parametrize("name", NAMES + MASKS)
def test_seeds_and_batches(name):
    """The same seed gives the same map, whatever else is in the batch and in the global random state."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    images = torch.randn(3, 3, SIDE, SIDE)
    together = explain(network, images, name, samples=16, steps=5)
    torch.manual_seed(99)
    alone = explain(network, images[1:2], name, samples=16, steps=5)
    torch.testing.assert_close(alone[0], together[1], rtol=1e-3, atol=1e-4 * together.abs().max().item())


def test_a_segmentation_may_be_given():
    """Any numbers, one segmentation for all pictures or one each; of the wrong size it is refused."""
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = torch.rand(2, 3, 8, 8)
    halves = torch.zeros(8, 8, dtype=torch.long)
    halves[:, 4:] = 70
    found = explain(network, images, "ablation", segments=halves)
    assert found[:, :, :4].flatten(1).std(dim=1).max() == 0
    own = explain(network, images, "ablation", segments=torch.stack([halves, halves.T]))
    torch.testing.assert_close(own[0], found[0])
    with pytest.raises(MethodError, match="do not fit"):
        explain(network, images, "ablation", segments=halves[:4])
