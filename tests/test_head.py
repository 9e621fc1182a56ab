"""The head alone answers as the whole network does, whatever the network is like, and sees it change."""

from __future__ import annotations

import copy
import gc
import threading
import warnings
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import limelight as ll
from limelight import head as head_room
from limelight.alone import alone, channels_apart
from limelight.cut import Captured, Cut
from limelight.head import Head
from limelight.recording import trace
from limelight.targets import ask
from limelight.traced import Untraceable
from tests.architectures import build
from tests.networks import CLASSES, Plain, pictures

COUNT = 30


class Net(nn.Module):
    """A trunk of 6 channels on a grid of 5 x 5, cut at ``cut``, and a head: a function of net, layer and trunk."""

    def __init__(self, head: Callable[[Net, Tensor, Tensor], Tensor]):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.cut = nn.Conv2d(6, 6, 1)
        self.conv = nn.Conv2d(6, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, 4)
        nn.init.uniform_(self.norm.running_mean)
        self.answer = head

    def forward(self, x: Tensor) -> Tensor:
        trunk = self.stem(x)
        return self.answer(self, self.cut(trunk), trunk)


def pooled(net: Net, a: Tensor) -> Tensor:
    return net.fc(F.adaptive_avg_pool2d(a, 1).flatten(1))


def plain(net: Net, a: Tensor, trunk: Tensor) -> Tensor:
    return pooled(net, F.silu(net.norm(net.conv(a))))


def in_place(net: Net, a: Tensor, trunk: Tensor) -> Tensor:
    a += trunk
    a[:, 0] = 3.0
    return pooled(net, net.conv(F.relu_(a)))


def skip(net: Net, a: Tensor, trunk: Tensor) -> Tensor:
    return pooled(net, net.conv(a) * trunk.sigmoid() + trunk.mean(dim=(2, 3), keepdim=True))


def skip_changed_later(net: Net, a: Tensor, trunk: Tensor) -> Tensor:
    early = a + trunk
    trunk.mul_(3)
    return pooled(net, early * trunk)


def into_zeros(net: Net, a: Tensor, trunk: Tensor) -> Tensor:
    out = a.new_zeros(len(a), 6, 7, 7)
    out[:, :, 1:6, 1:6] = a
    return pooled(net, out.tanh())


def into_trunk(net: Net, a: Tensor, trunk: Tensor) -> Tensor:
    both = trunk * 2
    both[:, :3] += a[:, 3:]
    return pooled(net, both.relu())


def tokens(net: Net, a: Tensor, trunk: Tensor) -> Tensor:
    sequence = a.flatten(2).permute(2, 0, 1)  # the batch in the middle
    attention = torch.softmax(torch.einsum("ibc,jbc->bij", sequence, sequence), dim=-1)
    attended = torch.einsum("bij,jbc->ibc", attention, sequence)
    return net.fc((attended + trunk.flatten(2).permute(2, 0, 1)).mean(dim=0))


def split(net: Net, a: Tensor, trunk: Tensor) -> Tensor:
    one, other = a.chunk(2, dim=1)
    values, _ = torch.cat([other.exp(), one], dim=1).flatten(2).max(dim=2)
    return net.fc(values)


def by_value(net: Net, a: Tensor, trunk: Tensor) -> Tensor:
    return pooled(net, a if a.sum().item() > 1e9 else net.conv(a))


def without_graph(net: Net, a: Tensor, trunk: Tensor) -> Tensor:
    with torch.no_grad():
        gate = a.mean(dim=(2, 3), keepdim=True).sigmoid()
    return pooled(net, a * gate)


class Straight(torch.autograd.Function):
    """A rounding whose gradient is not that of what it does."""

    @staticmethod
    def forward(ctx, x):
        return x.sign() * x**2

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def own_gradient(net: Net, a: Tensor, trunk: Tensor) -> Tensor:
    return pooled(net, Straight.apply(a))


RECORDED = [plain, in_place, skip, skip_changed_later, into_zeros, into_trunk, tokens, split]
AWKWARD = [by_value, without_graph, own_gradient]


def captured_at(net: nn.Module, layer: str = "cut", batch: int = 2, side: int = 10) -> Captured:
    x = torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(1))
    return Cut.at(net.eval(), layer).capture(x)


def head_of(captured: Captured) -> Head:
    (asked,) = ask(1, captured.outputs)
    return Head(captured, 0, asked)


def altered(captured: Captured) -> Callable[[Tensor], Tensor]:
    own = captured.activations[0].detach()
    noise = torch.randn(COUNT, *own.shape, generator=torch.Generator().manual_seed(2))
    return lambda few: own + noise[few]


def kept(captured: Captured) -> Callable[[Tensor], Tensor]:
    shape = captured.activations[0].shape[:2]
    chosen = torch.rand(COUNT, *shape, generator=torch.Generator().manual_seed(3)) < 0.5
    return lambda few: chosen[few]


def answers(captured: Captured) -> list[Tensor]:
    head = head_of(captured)
    parts = list(zip(*head.gradients(altered(captured), COUNT), strict=True))
    return [head.scores(altered(captured), COUNT), head.masked(kept(captured), COUNT), *(torch.cat(p) for p in parts)]


@pytest.mark.parametrize("head", RECORDED + AWKWARD)
@pytest.mark.parametrize("budget", [2**26, 30000], ids=["at once", "in parts"])
def test_alone_and_whole_agree(head, budget, monkeypatch):
    monkeypatch.setattr(head_room, "BUDGET", budget)
    net = Net(head).eval()
    here = answers(captured_at(net))
    monkeypatch.setattr(head_room, "alone", lambda *_: None)
    for mine, whole in zip(here, answers(captured_at(net)), strict=True):
        torch.testing.assert_close(mine, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", RECORDED)
@pytest.mark.parametrize("graph", [False, True])
def test_the_head_is_recorded(head, graph):
    assert alone(captured_at(Net(head)), 0, graph, worth=True)


def test_what_cannot_be_recorded_says_so():
    with pytest.raises(Untraceable):
        trace(captured_at(Net(by_value)), 0, False)
    for head in (without_graph, own_gradient):
        assert alone(captured_at(Net(head)), 0, False, worth=True)
        with pytest.raises(Untraceable, match="autograd"):
            trace(captured_at(Net(head)), 0, True)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer4.1.conv1"),
        ("vgg11", "features"),
        pytest.param("densenet121", "features", marks=pytest.mark.slow),
        pytest.param("mobilenet_v3_small", "features.4", marks=pytest.mark.slow),
    ],
)
def test_networks_people_use(name, layer, monkeypatch):
    network = build(name)
    here = captured_at(network, layer, side=64)
    assert alone(here, 0, False, worth=True)
    keep = kept(here)
    mine = head_of(here).masked(keep, 5)
    monkeypatch.setattr(head_room, "alone", lambda *_: None)
    torch.testing.assert_close(mine, head_of(here).masked(keep, 5), rtol=1e-4, atol=1e-5)


def test_only_the_head_runs():
    net = Net(plain)
    here = captured_at(net)
    head_of(here).scores(altered(here), COUNT)
    ran = []
    net.stem.register_forward_hook(lambda *_: ran.append(1))
    net.conv.register_forward_hook(lambda *_: ran.append(1))
    head_of(here).scores(altered(here), COUNT)
    assert not ran


def test_channels_are_mixed_as_late_as_may_be():
    def head(net, a, trunk):
        return pooled(net, F.hardswish(net.norm(a)))

    here = captured_at(Net(head))
    recorded = trace(here, 0, False)
    steps, _, dimension = channels_apart(recorded, here.activations[0])
    names = [str(step.operation) for step in recorded.steps]
    assert dimension == 1
    assert any("mean" in name or "pool" in name for name in names[:steps])
    assert not any("addmm" in name for name in names[:steps])
    here = captured_at(Net(plain))
    assert channels_apart(trace(here, 0, False), here.activations[0])[0] == 0


def test_a_shuffle_of_channels_is_a_mixture():
    def head(net, a, trunk):
        return pooled(net, a.unflatten(1, (2, 3)).transpose(1, 2).flatten(1, 2))

    here = captured_at(Net(head))
    assert channels_apart(trace(here, 0, False), here.activations[0])[0] == 0


def changed_in_place(net: Net) -> None:
    with torch.no_grad():
        net.fc.weight.mul_(-2)
        net.norm.running_mean.add_(1)


def parameter_replaced(net: Net) -> None:
    net.conv.weight = nn.Parameter(net.conv.weight.detach() * 3)


def module_replaced(net: Net) -> None:
    net.norm = nn.Sequential(nn.Conv2d(6, 6, 1), nn.Tanh())


def code_changed(net: Net) -> None:
    net.answer = into_zeros


@pytest.mark.parametrize("change", [changed_in_place, parameter_replaced, module_replaced, code_changed])
def test_a_remembered_head_sees_the_network_change(change, monkeypatch):
    net = Net(plain).eval()
    before = answers(captured_at(net))
    change(net)
    after = answers(captured_at(net))
    monkeypatch.setattr(head_room, "alone", lambda *_: None)
    for old, mine, whole in zip(before, after, answers(captured_at(net)), strict=True):
        torch.testing.assert_close(mine, whole, rtol=1e-4, atol=1e-5)
        assert old is before[2] or not torch.allclose(old, mine)  # [2]: the altered activations themselves


def test_another_batch_and_size_use_what_fits(monkeypatch):
    net = Net(skip).eval()
    cases = [(1, 10), (3, 10), (3, 14)]
    mine = [answers(captured_at(net, batch=batch, side=side)) for batch, side in cases]
    monkeypatch.setattr(head_room, "alone", lambda *_: None)
    for (batch, side), here in zip(cases, mine, strict=True):
        for one, whole in zip(here, answers(captured_at(net, batch=batch, side=side)), strict=True):
            torch.testing.assert_close(one, whole, rtol=1e-4, atol=1e-5)


def test_few_replays_are_not_worth_recording(monkeypatch):
    monkeypatch.setattr("limelight.alone.trace", lambda *_: pytest.fail("recorded"))
    here = captured_at(Net(plain))
    assert head_of(here).scores(altered(here), 3).shape == (3, 2)


def test_the_network_stays_as_it_was():
    net = Net(skip).train()
    net.fc.weight.requires_grad_(False)
    before = copy.deepcopy(net.state_dict())
    here = Cut.at(net, "cut").capture(torch.randn(2, 3, 10, 10))
    random = torch.get_rng_state()
    answers(here)
    assert torch.equal(random, torch.get_rng_state())
    assert all(module.training and not module._forward_hooks for module in net.modules())
    assert [p.requires_grad for p in net.parameters()].count(False) == 1
    assert all(p.grad is None for p in net.parameters())
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_network_is_not_kept_alive():
    net = Net(skip)
    answers(captured_at(net))
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None


def test_threads_do_not_meet():
    net = Net(skip).eval()
    expected = answers(captured_at(copy.deepcopy(net)))
    found: list[list[Tensor]] = []
    threads = [threading.Thread(target=lambda: found.append(answers(captured_at(net)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for mine, truth in ((m, t) for one in found for m, t in zip(one, expected, strict=True)):
        torch.testing.assert_close(mine, truth)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("no"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_halves_the_batch(error):
    here = captured_at(Net(plain))
    tried = []

    def alter(few: Tensor) -> Tensor:
        tried.append(len(few))
        if len(few) > 4:
            raise error
        return altered(here)(few)

    scores = head_of(here).scores(alter, COUNT)
    torch.testing.assert_close(scores, head_of(here).scores(altered(here), COUNT))
    assert tried[:4] == [30, 15, 7, 3]
    assert max(tried[4:]) <= 3


def test_an_error_that_is_not_memory_is_raised():
    here = captured_at(Net(plain))

    def alter(few: Tensor) -> Tensor:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        head_of(here).scores(alter, COUNT)


def test_the_memory_budget_decides_how_many_run_at_once(monkeypatch):
    here = captured_at(Net(plain))
    most = []

    def alter(few: Tensor) -> Tensor:
        most.append(len(few))
        return altered(here)(few)

    head_of(here).scores(alter, COUNT)
    monkeypatch.setattr(head_room, "BUDGET", 20000)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    head_of(here).scores(alter, COUNT)
    assert most[0] == COUNT
    assert 1 < max(most[1:]) < 10


def test_the_callers_autocast_holds_in_a_replay(monkeypatch):
    net = Net(plain).eval()
    x = torch.randn(2, 3, 10, 10)
    with torch.autocast("cpu", torch.bfloat16):
        here = Cut.at(net, "cut").capture(x)
    assert here.activations[0].dtype == torch.bfloat16
    mine = head_of(here).scores(altered(here), COUNT)
    assert alone(here, 0, False, worth=True)
    monkeypatch.setattr(head_room, "alone", lambda *_: None)
    torch.testing.assert_close(mine, head_of(here).scores(altered(here), COUNT), rtol=3e-2, atol=3e-2)


# ---- many targets at once


@pytest.mark.parametrize("head", RECORDED + AWKWARD)
@pytest.mark.parametrize("target", [ll.top(4), ll.probability(ll.top(4))], ids=["logits", "probabilities"])
@pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")
def test_many_targets_are_as_one_by_one(head, target, monkeypatch):
    net, x = Net(head).eval(), torch.randn(3, 3, 10, 10)
    method = ["gradcam", "hirescam"]
    many = ll.compare(net, x, method, target, "cut")
    monkeypatch.setattr("limelight.methods.for_all.EvidenceForAll.MANY", 99)
    for name, one in ll.compare(net, x, method, target, "cut").items():
        torch.testing.assert_close(many[name].raw, one.raw)
        torch.testing.assert_close(many[name].scores, one.scores)
        assert many[name].targets == one.targets


@pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")
def test_many_targets_of_other_kinds(monkeypatch):
    net, x = Net(plain).eval(), torch.randn(2, 3, 10, 10)
    target = ll.each(0, ll.counter(1), ll.probability(2), lambda outputs: outputs[:, 3] - outputs[:, 0], ll.top(2))
    many = ll.explain(net, x, target, layer="cut")
    monkeypatch.setattr("limelight.methods.for_all.EvidenceForAll.MANY", 99)
    one = ll.explain(net, x, target, layer="cut")
    torch.testing.assert_close(many.raw, one.raw)
    torch.testing.assert_close(many.scores, one.scores)


@pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")
def test_many_targets_are_never_held_at_once(monkeypatch):
    held = []

    def watch(activations, gradients):
        held.append(len(gradients))
        return (activations * gradients).sum(dim=1)

    monkeypatch.setattr("limelight.fold.BUDGET", 4 * 4 * (6 * 25 + 4) * 2)  # two targets
    ll.explain(Net(plain).eval(), torch.randn(1, 3, 10, 10), ll.top(4), watch, "cut")
    assert held == [2, 2]


# ---- several targets of the same replays


@pytest.mark.parametrize("name", [name for name, method in ll.methods.REGISTRY.items() if method.same_replays])
def test_the_network_is_not_run_again_for_every_target(name, monkeypatch):
    """Five targets ask for as many passes as one, and each has the map it has alone."""
    torch.manual_seed(0)
    network, rows = Plain().eval(), []
    network.fc.register_forward_hook(lambda module, args, output: rows.append(len(output)))
    monkeypatch.setattr("limelight.head.WORTH", 10**9)  # so that every replay runs the network, and is counted
    options = {"samples": 8, "permutations": 2, "segments": 3, "steps": 2, "window": 6}
    method = ll.methods.get(name)
    method = method(**{key: value for key, value in options.items() if key in method.options})

    def run(target):
        rows.clear()
        raw = ll.explain(network, pictures(), target, method, "cut" if method.layer is None else None).raw
        return raw, sum(rows)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ll.LimelightWarning)
        together, many = run(ll.each(*range(CLASSES)))
        alone = [run(target) for target in range(CLASSES)]
    assert many == alone[0][1]
    for number, (raw, _) in enumerate(alone):
        torch.testing.assert_close(together[:, number], raw[:, 0], rtol=1e-5, atol=1e-6)
