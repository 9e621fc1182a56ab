"""rules/: what a backward pass becomes, written out by hand; and clear words where there is no rule."""

from __future__ import annotations

import gc
import threading
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import limelight as ll
from limelight.errors import MethodError
from limelight.rules import relevance
from limelight.rules.biases import Biases
from limelight.rules.rescale import Reference, Rescaled
from tests.networks import CLASSES, pictures, untouched

pytestmark = pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")

WRITTEN = {
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
    "F.relu": F.relu,
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "torch.relu": torch.relu,
    "method": lambda x: x.relu(),
    "method in place": lambda x: x.relu_(),
    "result thrown away": lambda x: (x.relu_(), x)[1],
    "clamp": lambda x: x.clamp(min=0),
}
"""One function, written in many ways."""


class Written(nn.Module):
    """The same network, whichever way its rectifier is written."""

    def __init__(self, rectifier=F.relu):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.norm, self.fc = nn.BatchNorm2d(8), nn.Linear(8, CLASSES)
        nn.init.normal_(self.norm.running_mean, std=0.3)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)
        self.rectifier = rectifier
        self.double().eval()

    def forward(self, x):
        x = self.rectifier(self.a(x))
        x = self.rectifier(self.norm(self.b(x)))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def raw(network, method, **settings):
    return ll.explain(network, pictures(dtype=torch.float64), 2, ll.methods.get(method)(**settings), layer="input").raw[
        :, 0
    ]


METHODS = [
    "deconvolution",
    "guidedbackprop",
    "deeplift",
    "lrpepsilonplus",
    "lrpalpha2beta1flat",
    "excitationbackprop",
    "fullgrad",
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("written", WRITTEN)
def test_it_does_not_matter_how_a_relu_is_written(method, written):
    torch.testing.assert_close(raw(Written(WRITTEN[written]), method), raw(Written(), method))


def by_hand(network, x, rule):
    """The pass back through ``Written``, each ReLU by the rule ``(input, signal) -> signal``."""
    a = network.a(x)
    b = network.norm(network.b(a.relu()))
    signal = network.fc.weight[2][None, :, None, None].expand_as(b) / (b.shape[2] * b.shape[3])
    scale = (network.norm.weight * (network.norm.running_var + network.norm.eps).rsqrt())[:, None, None]
    signal = F.conv_transpose2d(rule(b, signal) * scale, network.b.weight, padding=1)
    return F.conv_transpose2d(rule(a, signal), network.a.weight, padding=1).detach()


RULES = {
    "deconvolution": lambda given, signal: signal.clamp(min=0),
    "guidedbackprop": lambda given, signal: signal * (given > 0) * (signal > 0),
    "saliency": lambda given, signal: signal * (given > 0),
}


@pytest.mark.parametrize("method", RULES)
def test_rectifier_rules_are_the_papers(method):
    network = Written()
    expected = by_hand(network, pictures(dtype=torch.float64), RULES[method]).abs().amax(dim=1)
    torch.testing.assert_close(raw(network, method), expected)


@pytest.mark.parametrize(
    "bend", [F.silu, F.gelu, F.hardswish, F.elu, F.mish, lambda x: F.leaky_relu(x.clone(), 0.1, True)]
)
def test_other_rectifiers_keep_their_own_slope_where_input_and_signal_are_positive(bend):
    def rule(given, signal):
        given = given.detach().requires_grad_()
        (back,) = torch.autograd.grad(bend(given), given, signal)
        return back * (given > 0) * (signal > 0)

    network, x = Written(bend), pictures(dtype=torch.float64)
    a = bend(network.a(x))
    b = network.norm(network.b(a))
    signal = network.fc.weight[2][None, :, None, None].expand_as(b) / (b.shape[2] * b.shape[3])
    scale = (network.norm.weight * (network.norm.running_var + network.norm.eps).rsqrt())[:, None, None]
    signal = F.conv_transpose2d(rule(b, signal) * scale, network.b.weight, padding=1)
    expected = F.conv_transpose2d(rule(network.a(x), signal), network.a.weight, padding=1).detach()
    torch.testing.assert_close(raw(network, "guidedbackprop"), expected.abs().amax(dim=1))


@pytest.mark.parametrize("method", ["deconvolution", "guidedbackprop", "guidedgradcam"])
def test_a_network_without_rectifiers_is_told_so(method):
    with pytest.raises(MethodError, match=r"no ReLU.*use saliency"):
        raw(Written(torch.tanh), method)


def test_a_hidden_backward_pass_is_refused():
    from torch.utils.checkpoint import checkpoint

    network = Written(lambda x: checkpoint(F.relu, x, use_reentrant=True))
    with pytest.raises(MethodError, match="use_reentrant"):
        raw(network, "guidedbackprop")


@pytest.mark.parametrize("method", ["lrpepsilon", "deeplift", "excitationbackprop"])
def test_an_operation_without_a_rule_is_named(method):
    with pytest.raises(MethodError, match=r"no rule for 'sin'.*use "):
        raw(Written(torch.sin), method)


def test_a_way_that_depends_on_the_image_is_refused():
    class Forks(Written):
        def forward(self, x):
            self.rectifier = F.relu if x.abs().sum() > 0 else torch.tanh  # the reference, zero, goes the other way
            return super().forward(x)

    network = Forks()
    with pytest.raises(MethodError, match="depends on what it sees"):
        raw(network, "deeplift")


# ---- relevance


@pytest.mark.parametrize("written", ["module in place", "F.relu"])
@pytest.mark.parametrize("method", ["lrpepsilonplus", "lrpepsilongammabox", "lrpalpha2beta1flat", "excitationbackprop"])
def test_batch_norm_counts_as_part_of_the_layer_before_it(written, method):
    """The same maps as from a network whose batch norm was merged beforehand."""
    network, merged = Written(WRITTEN[written]), Written(WRITTEN[written])
    merged.b = torch.nn.utils.fuse_conv_bn_eval(network.b, network.norm)
    merged.norm = nn.Identity()
    with untouched(network):
        torch.testing.assert_close(raw(network, method), raw(merged, method))


RELEVANCE = {
    "epsilon": relevance.epsilon(1e-9),
    "plus": relevance.plus(),
    "alpha beta": relevance.alpha_beta(2, 1),
    "gamma": relevance.gamma(0.25),
    "flat": relevance.flat,
    "box": relevance.box(-2.0, 2.0),
}


def shares(rule, z, b, x, w):
    """The share ``(inputs,)`` of one output's relevance, from the papers' formulas, with ``z = x w``."""
    pos, neg = z.clamp(min=0), z.clamp(max=0)
    plus = pos / (pos.sum() + b.clamp(min=0))
    favoured = pos if z.sum() + b > 0 else neg
    weighed = z + 0.25 * favoured
    bent = b * 1.25 if b.sign() == (z.sum() + b).sign() else b * 0
    boxed = z + 2 * w.clamp(min=0) - 2 * w.clamp(max=0)
    return {
        "epsilon": lambda: z / (z.sum() + b),
        "plus": lambda: plus,
        "alpha beta": lambda: 2 * plus - neg / (neg.sum() + b.clamp(max=0)),
        "gamma": lambda: weighed / (weighed.sum() + b + 0.25 * (b if bent else 0)),
        "flat": lambda: torch.full_like(z, 1 / len(z)),
        "box": lambda: boxed / boxed.sum(),
    }[rule]()


@pytest.mark.parametrize("name", RELEVANCE)
def test_relevance_rules_are_the_papers_on_one_layer(name):
    torch.manual_seed(1)
    layer, x = nn.Linear(6, 3).double(), torch.randn(1, 6, dtype=torch.float64)
    given = torch.randn(1, 3, dtype=torch.float64)
    operation = type(
        "Operation", (), {"kwargs": {}, "args": (None,) * 3, "function": staticmethod(F.linear), "name": "linear"}
    )
    known = relevance.Layer(operation(), layer.weight.detach(), layer.bias.detach())
    got = RELEVANCE[name](known, x, layer(x).detach(), given)[0]
    each = zip(given[0], layer.weight.detach(), layer.bias.detach(), strict=True)
    expected = sum(r * shares(name, x[0] * w, b, x[0], w) for r, w, b in each)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


# ---- the engine


def test_only_the_thread_that_watches_is_watched():
    network, x = Written(), pictures(dtype=torch.float64).requires_grad_()
    inside, seen = threading.Event(), []

    def elsewhere():
        inside.wait(5)
        seen.append(network(x).grad_fn)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    with relevance.Composite(relevance.plus(), relevance.plus()).watch():
        watched = network(x).grad_fn
        inside.set()
        thread.join()
    assert type(watched).__name__ == "ReplacedBackward"
    assert type(seen[0]).__name__ == "AddmmBackward0"


def test_nothing_is_in_force_after_an_error():
    class Breaks(Written):
        def forward(self, x):
            super().forward(x)
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        raw(Breaks(), "lrpepsilon")
    x = torch.randn(2, 3, requires_grad=True)
    assert type(F.linear(x, torch.randn(4, 3)).grad_fn).__name__ != "ReplacedBackward"


PLUS = relevance.Composite(relevance.plus(), relevance.plus())


@pytest.mark.parametrize("watch", [PLUS.watch, Reference, partial(Biases, 2)], ids=["relevance", "reference", "biases"])
def test_a_pass_is_freed_when_nobody_holds_it(watch):
    """No ring of references through the graph, in-place operations included."""
    network = Written(lambda x: F.silu(x, inplace=True))
    alive = []
    for _ in range(2):
        with watch():
            outputs = network(pictures(dtype=torch.float64).requires_grad_())
        del outputs
        gc.collect()
        alive.append(sum(isinstance(each, torch.Tensor) for each in gc.get_objects()))
    assert alive[0] == alive[1]


def test_a_replaced_operation_answers_as_it_did():
    """In place or not, whatever is replaced: the outputs are the network's, to the bit."""
    x = pictures(dtype=torch.float64)
    for bend in [
        *WRITTEN.values(),
        F.silu,
        lambda x: F.hardswish(x, True),
        lambda x: x * F.hardsigmoid(x.mean((2, 3), True)),
    ]:
        network, expected = Written(bend), Written(bend)(x)
        reference = Reference()
        for watch in (
            relevance.Composite(relevance.plus(), relevance.flat).watch(),
            reference,
            Biases(2),
        ):
            with watch:
                assert torch.equal(network(x.clone().requires_grad_()), expected)
        with Rescaled(reference):
            assert torch.equal(network(x.clone().requires_grad_()), expected)
