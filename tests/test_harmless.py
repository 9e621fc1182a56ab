"""The model leaves every call as it entered, and nothing around changes a map: no mode, no thread, no neighbour."""

from __future__ import annotations

import threading
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import limelight as ll
from tests.networks import (
    AWKWARD,
    FrozenBodyInMiddle,
    InPlaceHead,
    Noisy,
    Plain,
    pictures,
    same,
    small_networks,
    state,
    untouched,
)

pytestmark = pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")

TARGET = 3


def raw(network, x=None, **options):
    return ll.explain(network, pictures() if x is None else x, **{"target": TARGET, "layer": "cut"} | options).raw


def evaluated(network: nn.Module) -> torch.Tensor:
    """The map of the same network in evaluation mode, in the plainest of circumstances."""
    twin = type(network)()
    twin.load_state_dict(network.state_dict())
    return raw(twin.eval())


def in_training(network):
    return network.train()


def mixed_modes(network):
    network.train()
    network.stem[1].eval()
    return network


def frozen(network):
    return network.requires_grad_(False)


def with_gradients(network):
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    return network


def with_hooks(network):
    """A user's own hooks of every kind."""
    network.cut.register_forward_hook(lambda module, args, output: None)
    network.cut.register_forward_pre_hook(lambda module, args: None)
    network.head.register_full_backward_hook(lambda module, grad_in, grad_out: None)
    network.fc.register_forward_hook(lambda module, args, kwargs, output: None, with_kwargs=True, always_call=True)
    return network


CONDITIONS = {f.__name__: f for f in (in_training, mixed_modes, frozen, with_gradients, with_hooks)}
AROUND = {
    "nothing": nullcontext,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "enable_grad": torch.enable_grad,
}


@pytest.mark.parametrize("make", [*AWKWARD.values(), Noisy], ids=[*AWKWARD, "draws random numbers"])
@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
def test_a_network_leaves_as_it_came(make, condition):
    network = condition(make())
    with untouched(network):
        raw(network, target=ll.top(2))
        ll.explain(network, pictures(), layer=None)
        ll.explain(network, pictures(), layer="cut" if make is FrozenBodyInMiddle else ["stem", "cut"])


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
@pytest.mark.parametrize("make", AWKWARD.values(), ids=AWKWARD)
def test_the_callers_gradient_mode_changes_neither_network_nor_map(make, around):
    network, x = make().train(), pictures()
    expected = evaluated(network)
    with around(), untouched(network):
        torch.testing.assert_close(raw(network, x), expected)


@pytest.mark.parametrize("make", AWKWARD.values(), ids=AWKWARD)
@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
def test_the_map_is_the_one_of_evaluation_mode(make, condition):
    network = condition(make())
    expected = evaluated(network)
    torch.testing.assert_close(raw(network), expected)


@pytest.mark.parametrize("inputs", ["plain", "need a gradient", "made in inference mode"])
@pytest.mark.parametrize("make", [Plain, InPlaceHead], ids=lambda make: make.__name__)
def test_images_may_be_any_tensors_and_stay_as_they_are(make, inputs):
    network, x = make(), pictures()
    expected = evaluated(network)
    if inputs == "need a gradient":
        x.requires_grad_()
    if inputs == "made in inference mode":
        with torch.inference_mode():
            x = x.clone()
    torch.testing.assert_close(raw(network, x), expected)
    assert x.grad is None
    assert torch.equal(x, pictures())


@pytest.mark.parametrize(
    "where", ["a stem with a gradient", "handed on by the first layer", "cut at a layer that hands it on"]
)
def test_images_made_in_inference_mode_through_any_network(where):
    with torch.inference_mode():
        x = pictures().clone()
    if where == "a stem with a gradient":
        raw(FrozenBodyInMiddle(), x)
    else:
        raw(nn.Sequential(nn.Identity(), Plain()), x, layer=None if "first" in where else "0")


def test_a_network_built_in_inference_mode_works_or_is_told():
    with torch.inference_mode():
        network = Plain()
    try:
        raw(network)
    except ll.LimelightError:
        return


# ---- when something raises


class Broken(RuntimeError):
    pass


def _raise(*args):
    raise Broken


def break_forward(network):
    network.head[3].forward = _raise
    return {}


def break_target(network):
    return {"target": _raise}


def break_user_hook(network):
    network.head[1].register_forward_hook(_raise)
    return {}


def break_backward(network):
    network.head[1].register_full_backward_hook(_raise)
    return {}


def break_method(network):
    return {"method": lambda activations, gradients: _raise()}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
@pytest.mark.parametrize("breaks", [break_forward, break_target, break_user_hook, break_backward, break_method])
def test_a_network_leaves_as_it_came_after_an_exception(breaks, around):
    network = mixed_modes(Noisy())
    options = breaks(network)
    with around(), untouched(network), pytest.raises(Broken):
        raw(network, **options)


@pytest.mark.parametrize(
    "options",
    [{"layer": "nowhere"}, {"target": 99}, {"target": [1]}, {"layer": "fc"}, {"method": "cam"}, {"layer": "cut@2"}],
)
def test_a_network_leaves_as_it_came_after_a_refusal(options):
    network = mixed_modes(Noisy())
    with untouched(network), pytest.raises(ll.LimelightError):
        raw(network, **options)


def test_an_interrupt_gives_the_network_back():
    network = mixed_modes(Noisy())

    def interrupted(*args):
        raise KeyboardInterrupt

    with untouched(network), pytest.raises(KeyboardInterrupt):
        raw(network, target=interrupted)


# ---- wrappers, compilers and precisions


def compiled(network):
    wrapped = torch.compile(network, backend="eager")
    with torch.no_grad():
        wrapped(pictures())
    return wrapped


def compiled_in_place(network):
    network.compile(backend="eager")
    with torch.no_grad():
        network(pictures())
    return network


def partly_compiled(network):
    network.cut = torch.compile(network.cut, backend="eager")
    with torch.no_grad():
        network(pictures())
    return network


@pytest.mark.parametrize("wrap", [compiled, compiled_in_place, partly_compiled, nn.DataParallel])
@pytest.mark.parametrize("training", [False, True])
def test_a_wrapped_network_gives_the_networks_map(wrap, training):
    network = Plain()
    expected = evaluated(network)
    wrapped = wrap(network.eval())
    wrapped.train(training)
    with untouched(wrapped):
        torch.testing.assert_close(raw(wrapped), expected)
        torch.testing.assert_close(ll.explain(wrapped, pictures(), target=TARGET).raw.shape, torch.Size([2, 1, 4, 4]))


def test_a_compiled_network_still_runs_compiled_afterwards():
    runs = []

    def backend(graph, inputs):
        def run(*args):
            runs.append(1)
            return graph(*args)

        return run

    network = Plain().eval()
    wrapped = torch.compile(network, backend=backend)
    with torch.no_grad():
        wrapped(pictures())
        raw(wrapped)
        assert len(runs) == 1, "explain runs the network plainly"
        wrapped(pictures())
    assert len(runs) == 2


def test_double_precision_stays_double():
    maps = raw(Plain().double(), pictures(dtype=torch.float64))
    assert maps.dtype == torch.float64


def relative(a, b):
    return float((a - b).abs().max() / b.abs().max())


def test_bf16_parameters_give_about_the_same_map_in_single_precision():
    network = Plain()
    expected = evaluated(network)
    network.bfloat16()
    with untouched(network):
        maps = raw(network, pictures(dtype=torch.bfloat16))
    assert maps.dtype == torch.float32
    assert relative(maps, expected) < 0.1


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
def test_autocast_gives_about_the_same_map_and_leaves_its_cache_fit_for_training(around):
    network = Plain().eval()
    expected = evaluated(network)
    with torch.autocast("cpu", torch.bfloat16):
        with around():
            network(pictures())
            with untouched(network):
                maps = raw(network)
        network(pictures()).sum().backward()
    assert maps.dtype == torch.float32
    assert relative(maps, expected) < 0.1
    assert all(parameter.grad is not None for parameter in network.parameters())


# ---- random numbers


def test_a_network_that_draws_gets_the_same_numbers_each_time():
    network = Noisy()
    torch.manual_seed(5)
    first = raw(network)
    assert torch.equal(raw(network), first), "the state it found is the state it left"
    torch.manual_seed(6)
    assert not torch.equal(raw(network), first)


def test_threads_that_draw_leave_the_random_state_as_it_was():
    networks = [Noisy() for _ in range(2)]
    before = torch.get_rng_state()
    inside, leave = threading.Event(), threading.Event()

    def wait_inside(outputs):
        torch.randn(3)
        inside.set()
        leave.wait(5)
        return outputs[:, 0]

    first = threading.Thread(target=raw, args=(networks[0],), kwargs={"target": wait_inside})
    first.start()
    assert inside.wait(5)

    def let_the_first_go(outputs):
        leave.set()
        first.join()
        return outputs[:, 0]

    raw(networks[1], target=let_the_first_go)
    assert torch.equal(torch.get_rng_state(), before)


# ---- threads


@pytest.mark.parametrize("make", [Plain, InPlaceHead], ids=lambda make: make.__name__)
def test_eight_threads_with_one_network_give_the_maps_of_one(make):
    """Different images, targets and layers; the network is in both modes at once."""
    network = mixed_modes(make())
    jobs = [
        {"x": pictures(2, seed=i), "target": i % 5, "layer": ["cut", "stem", "head.1", None][i % 4]} for i in range(8)
    ]
    alone = [raw(network, **job) for job in jobs]
    found: list[list[torch.Tensor]] = [[] for _ in jobs]
    failures: list[BaseException] = []
    together = threading.Barrier(len(jobs))

    def work(i):
        try:
            together.wait(10)
            for _ in range(5):
                found[i].append(raw(network, **jobs[i]))
        except BaseException as error:
            failures.append(error)

    before = state(network)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert same(before, state(network))
    for expected, maps in zip(alone, found, strict=True):
        assert len(maps) == 5
        assert all(torch.equal(one, expected) for one in maps)


def test_another_threads_forward_is_not_captured():
    """A hook hears the calls of its own thread only."""
    network, x = Plain().eval(), pictures()
    expected = raw(network, x)

    def meanwhile(outputs):
        other = threading.Thread(target=lambda: network(pictures(3, seed=9)))
        other.start()
        other.join()
        return outputs[:, TARGET]

    main = threading.get_ident()

    class Interrupted(nn.Module):
        def forward(self, x):
            if threading.get_ident() == main:
                meanwhile(torch.zeros(1, 5))
            return x

    torch.testing.assert_close(raw(network, x, target=meanwhile), expected)
    network.head.insert(0, Interrupted())
    torch.testing.assert_close(raw(network, x), expected)


# ---- batches


@given(small_networks(), st.integers(2, 4), st.integers(0, 99))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_a_map_alone_is_the_map_in_a_batch(network, batch, seed):
    x = pictures(batch, 8, torch.float64, seed)
    together = ll.explain(network, x, layer="0", target=ll.top(2))
    for i in range(batch):
        alone = ll.explain(network, x[i : i + 1], layer="0", target=ll.top(2))
        assert alone.targets == together[i].targets
        torch.testing.assert_close(alone.raw, together[i].raw)
        torch.testing.assert_close(alone.maps, together[i].maps)
        torch.testing.assert_close(alone.scores, together[i].scores)


def test_what_a_network_does_to_its_images_stays_its_own():
    """Some networks normalise in place."""

    class InPlaceInput(Plain):
        def forward(self, x):
            return super().forward(x.mul_(0.5))

    x = pictures()
    raw(InPlaceInput(), x)
    assert torch.equal(x, pictures())
