"""The replay family against its formulas, written out the long way, and what each method claims."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import limelight as ll
from limelight.cut import Cut
from limelight.head import Head
from limelight.methods.replay import shapley_values
from limelight.rules.rescale import multipliers
from limelight.targets import ask

pytestmark = pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")

CHANNELS = 6
TARGET = 2


class Net(nn.Module):
    """``cut`` gives 6 channels on 4 x 4 for pictures of 8 x 8; the head is pooling and an MLP, or the layer given."""

    def __init__(self, head: nn.Module | None = None):
        super().__init__()
        self.cut = nn.Sequential(nn.Conv2d(3, CHANNELS, 3, stride=2, padding=1), nn.ReLU())
        mlp = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(CHANNELS, 16),
            nn.Tanh(),
            nn.Linear(16, 16),
            nn.ReLU(),
            nn.Linear(16, 4),
        )
        self.head = head or mlp

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cut(x))


@pytest.fixture
def net() -> Net:
    return Net().eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 8, 8)


def raw(net: nn.Module, x: Tensor, method, target=TARGET) -> Tensor:
    return ll.explain(net, x, target, method, "cut").raw[:, 0]


def summed(weights: Tensor, activations: Tensor) -> Tensor:
    return (weights[:, :, None, None] * activations).sum(dim=1)


def unit(maps: Tensor) -> Tensor:
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    return (maps - low) / (high - low).clamp(min=1e-12)


@torch.no_grad()
def scores_through_channels(net: Net, x: Tensor, shares=(1.0,)) -> Tensor:
    masks = unit(F.interpolate(net.cut(x), size=x.shape[-2:], mode="bilinear"))
    return torch.stack(
        [
            sum(net(share * x * masks[:, k : k + 1])[:, TARGET] for share in shares) / len(shares)
            for k in range(CHANNELS)
        ],
        dim=1,
    )


def test_ablation_cam_is_its_formula(net, x):
    with torch.no_grad():
        a, y = net.cut(x), net(x)[:, TARGET]
        drops = []
        for k in range(CHANNELS):
            without = a.clone()
            without[:, k] = 0
            drops.append((y - net.head(without)[:, TARGET]) / y.abs())
        torch.testing.assert_close(raw(net, x, "ablationcam"), summed(torch.stack(drops, dim=1), a))


def test_ablation_cam_is_grad_cam_where_the_head_is_linear(x):
    net = Net(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 4))).eval()
    with torch.no_grad():
        a = net.cut(x)
        y = net(x)[:, TARGET].abs()
        weights = net.head[2].weight[TARGET] * a.mean(dim=(2, 3)) / y[:, None]
        torch.testing.assert_close(raw(net, x, "ablationcam"), summed(weights, a))
        contributions = net.head[2].weight[TARGET] * a.mean(dim=(2, 3))
        for same in ("liftcam", ll.methods.ShapCAM(permutations=1)):
            torch.testing.assert_close(raw(net, x, same), summed(contributions, a))


def test_ablation_cam_keeps_its_sign_where_the_score_is_negative(net, x):
    with torch.no_grad():
        net.head[-1].bias[TARGET] = -50.0
        below = raw(net, x, "ablationcam") * (net(x)[:, TARGET].abs())[:, None, None]
        net.head[-1].bias[TARGET] = 50.0
        above = raw(net, x, "ablationcam") * (net(x)[:, TARGET].abs())[:, None, None]
    torch.testing.assert_close(below, above, rtol=1e-3, atol=1e-3)


def test_score_cam_is_its_formula(net, x):
    weights = scores_through_channels(net, x).softmax(dim=1)
    torch.testing.assert_close(raw(net, x, "scorecam"), summed(weights, net.cut(x).detach()))


def test_score_cam_of_the_channels_that_vary_most(net, x):
    a = net.cut(x).detach()
    scores = scores_through_channels(net, x)
    dull = a.flatten(2).std(dim=2).argsort(dim=1)[:, :3]
    weights = scores.scatter(1, dull, -torch.inf).softmax(dim=1)
    torch.testing.assert_close(raw(net, x, ll.methods.ScoreCAM(top=3)), summed(weights, a))


def test_is_cam_is_its_formula(net, x):
    weights = scores_through_channels(net, x, shares=(0.25, 0.5, 0.75, 1.0)).softmax(dim=1)
    torch.testing.assert_close(raw(net, x, ll.methods.ISCAM(steps=4)), summed(weights, net.cut(x).detach()))


def test_ss_cam_without_noise_is_score_cam(net, x):
    quiet = raw(net, x, ll.methods.SSCAM(std=0.0, samples=2))
    torch.testing.assert_close(quiet, raw(net, x, "scorecam"))
    assert not torch.allclose(raw(net, x, ll.methods.SSCAM(std=2.0, samples=2)), quiet)


def test_ss_cam_depends_on_its_seed_alone(net, x):
    def once(seed):
        return raw(net, x, ll.methods.SSCAM(samples=2, seed=seed))

    first = once(0)
    torch.manual_seed(99)
    assert torch.equal(first, once(0))
    assert not torch.equal(first, once(1))


def test_group_cam_is_its_formula(net, x):
    a = net.cut(x).detach().requires_grad_()
    (g,) = torch.autograd.grad(net.head(a)[:, TARGET].sum(), a)
    parts = g.mean(dim=(2, 3), keepdim=True) * a.detach()
    masks = torch.stack([parts[:, :3].sum(dim=1), parts[:, 3:].sum(dim=1)], dim=1).clamp(min=0)
    masks = masks * (masks >= masks.flatten(2).quantile(0.5, dim=2)[..., None, None])
    from torchvision.transforms.functional import gaussian_blur

    blurred = gaussian_blur(F.pad(x, (8, 8, 8, 8), mode="replicate"), [7, 7], [1.0, 1.0])[:, :, 8:-8, 8:-8]
    with torch.no_grad():
        weights = []
        for k in range(2):
            mask = unit(F.interpolate(masks[:, k : k + 1], size=x.shape[-2:], mode="bilinear"))
            weights.append(net(x * mask + blurred * (1 - mask))[:, TARGET] - net(blurred)[:, TARGET])
    expected = summed(torch.stack(weights, dim=1), unit(masks))
    found = raw(net, x, ll.methods.GroupCAM(groups=2, quantile=0.5, blur=1.0))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_opti_cam_raises_the_score_of_what_it_shows(net, x):
    def seen(steps):
        mask = unit(F.interpolate(raw(net, x, ll.methods.OptiCAM(steps=steps))[:, None], x.shape[-2:], mode="bilinear"))
        return net(x * mask)[:, TARGET].detach()

    assert (seen(40) > seen(0) + 1e-4).all()


def head_at_cut(net: nn.Module, x: Tensor) -> tuple[Tensor, Head]:
    captured = Cut.at(net, "cut").capture(x)
    return captured.activations[0].detach(), Head(captured, 0, ask(TARGET, captured.outputs)[0])


@given(seed=st.integers(0, 2**16), permutations=st.integers(1, 5))
@settings(max_examples=10, deadline=None)
def test_shapley_values_are_complete(seed, permutations):
    torch.manual_seed(seed)
    net, x = Net().eval(), torch.randn(2, 3, 8, 8)
    a, head = head_at_cut(net, x)
    values = torch.cat([*shapley_values(a, head, permutations, seed, at_once=2)])
    assert len(values) == permutations
    with torch.no_grad():
        whole = net(x)[:, TARGET] - net.head(torch.zeros_like(a))[:, TARGET]
    torch.testing.assert_close(values.sum(dim=2), whole.expand(permutations, -1), rtol=1e-4, atol=1e-5)


def test_shapley_values_converge_to_the_exact_ones(net, x):
    from itertools import combinations
    from math import comb

    a, head = head_at_cut(net, x)

    @torch.no_grad()
    def value(coalition):
        mask = torch.zeros(CHANNELS)
        mask[list(coalition)] = 1
        return net.head(a * mask[:, None, None])[:, TARGET]

    exact = torch.zeros(2, CHANNELS)
    for k in range(CHANNELS):
        others = [j for j in range(CHANNELS) if j != k]
        for size in range(CHANNELS):
            for coalition in combinations(others, size):
                share = 1 / (CHANNELS * comb(CHANNELS - 1, size))
                exact[:, k] += share * (value((*coalition, k)) - value(coalition))
    few = (torch.cat([*shapley_values(a, head, 2, 0, 2)]).mean(dim=0) - exact).abs().max()
    many = (torch.cat([*shapley_values(a, head, 400, 0, 100)]).mean(dim=0) - exact).abs().max()
    assert many < 0.02 * exact.abs().max()
    assert many < few


@given(seed=st.integers(0, 2**16))
@settings(max_examples=10, deadline=None)
def test_lift_cam_contributions_are_complete(seed):
    """DeepLIFT's summation to delta (Shrikumar et al. 2017, eq. 1), in place, through maxima and others."""
    torch.manual_seed(seed)
    layers = [
        nn.Conv2d(CHANNELS, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 1),
        nn.Hardswish(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 8), nn.GELU(), nn.Linear(8, 4),
    ]  # fmt: skip
    net, x = Net(nn.Sequential(*layers)).eval(), torch.randn(2, 3, 8, 8)
    a, head = head_at_cut(net, x)
    contributions = multipliers(head, torch.zeros_like(a)) * a
    with torch.no_grad():
        whole = net(x)[:, TARGET] - net.head(torch.zeros_like(a))[:, TARGET]
    torch.testing.assert_close(contributions.flatten(1).sum(dim=1), whole, rtol=1e-3, atol=1e-4)


def test_lift_cam_says_where_it_cannot(x):
    class Choosy(nn.Module):
        def forward(self, a: Tensor) -> Tensor:
            pooled = a.mean(dim=(2, 3))
            return pooled.tanh() if pooled.sum().item() == 0 else pooled.relu()

    with pytest.raises(ll.errors.MethodError, match="depends on what it sees"):
        raw(Net(Choosy()).eval(), x, "liftcam")


def test_lift_cam_takes_the_gradient_where_there_is_no_rule(x):
    """Between two layer norms there is no chord; the map is still one of finite numbers."""
    head = nn.Sequential(nn.Flatten(), nn.LayerNorm(96), nn.Linear(96, 4))
    assert raw(Net(head).eval(), x, "liftcam").abs().sum() > 0


@pytest.mark.parametrize(
    "method",
    [
        "ablationcam", "liftcam", ll.methods.ShapCAM(permutations=3), "scorecam", ll.methods.ScoreCAM(top=2),
        ll.methods.SSCAM(samples=2), ll.methods.ISCAM(steps=2), "groupcam", ll.methods.OptiCAM(steps=3),
    ],
    ids=lambda m: getattr(m, "name", m),
)  # fmt: skip
def test_a_map_does_not_depend_on_its_batch(net, x, method):
    both = raw(net, x, method, [TARGET, 1])
    torch.testing.assert_close(both[1:], raw(net, x[1:], method, [1]), rtol=1e-4, atol=1e-6)
