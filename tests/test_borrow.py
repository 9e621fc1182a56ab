"""borrow.py: a network comes back as it was lent, whoever else has it at the time."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from limelight.borrow import borrowed, unwrap
from tests.networks import Plain, untouched


def mixed() -> Plain:
    """In training, with a frozen batch norm: both modes in one network."""
    network = Plain().train()
    network.stem[1].eval()
    return network


def test_inside_everything_evaluates_without_gradients():
    network = mixed()
    with borrowed(network):
        assert not any(module.training for module in network.modules())
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize("outer", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_inside_is_never_in_inference_mode_and_outside_is_as_before(outer):
    network = mixed()
    with outer(), untouched(network), borrowed(network):
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_grad_enabled()


def test_a_mode_of_each_module_returns_even_when_the_body_raises():
    network = mixed()
    with pytest.raises(KeyError), untouched(network), borrowed(network):
        raise KeyError


def test_an_overridden_train_method_is_not_asked():
    class Stubborn(Plain):
        def train(self, mode=True):
            raise AssertionError("train() must not be called")

    network = Stubborn()
    with untouched(network), borrowed(network):
        assert not network.cut[1].training


def test_random_numbers_drawn_inside_are_not_missed_outside():
    expected = torch.randn(3, generator=torch.Generator().manual_seed(7))
    network = mixed()
    torch.manual_seed(7)
    with borrowed(network):
        torch.randn(100)
    assert torch.equal(torch.randn(3), expected)


def test_nested_loans_return_the_modes_after_the_outermost():
    network = mixed()
    with untouched(network), borrowed(network):
        with borrowed(network):
            pass
        assert not network.training


def test_overlapping_loans_return_the_modes_after_the_last():
    """The first borrower to come is not the last to leave."""
    network, started, leave = mixed(), threading.Event(), threading.Event()

    def hold():
        with borrowed(network):
            started.set()
            leave.wait(5)

    with untouched(network):
        other = threading.Thread(target=hold)
        with borrowed(network):
            other.start()
            assert started.wait(5)
        assert not network.training, "the second borrower still has it"
        assert not network.cut[1].training
        leave.set()
        other.join()


def test_a_part_and_the_whole_lent_at_once_both_evaluate_until_returned():
    network, started, leave = mixed(), threading.Event(), threading.Event()

    def hold():
        with borrowed(network):
            started.set()
            leave.wait(5)

    with untouched(network):
        other = threading.Thread(target=hold)
        other.start()
        assert started.wait(5)
        with borrowed(network.cut):
            leave.set()
            other.join()
            part_evaluates = not network.cut[1].training
        assert part_evaluates


def test_a_module_that_cannot_be_put_into_evaluation_mode_leaves_the_others_as_they_were():
    class Stuck(nn.Module):
        def __setattr__(self, name, value):
            if name == "training" and "training" in vars(self):
                raise RuntimeError("frozen")
            super().__setattr__(name, value)

    network = nn.Sequential(nn.Dropout(), Stuck())
    with pytest.raises(RuntimeError, match="frozen"), untouched(network), borrowed(network):
        pass


def test_compiled_modules_run_plainly_inside_and_compiled_again_outside():
    runs = []

    def backend(graph, inputs):
        def run(*args):
            runs.append("compiled")
            return graph(*args)

        return run

    network = Plain().eval()
    network.compile(backend=backend)
    x = torch.randn(1, 3, 12, 12)
    with torch.no_grad():
        network(x)
        compiled = len(runs)
        assert compiled
        with borrowed(network):
            network(x)
        assert len(runs) == compiled
        network(x)
        assert len(runs) == 2 * compiled


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, lambda n: torch.compile(n, backend="eager"), lambda n: torch.compile(nn.DataParallel(n))],
    ids=["DataParallel", "compile", "compile(DataParallel)"],
)
def test_wrappers_are_looked_through(wrap):
    network = Plain()
    assert unwrap(wrap(network)) is network
    assert unwrap(network) is network
