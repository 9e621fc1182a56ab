"""A graph is judged in double precision: what rounding can do is let pass, what it can't is refused."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from limelight.errors import ModelError, ZeroMapWarning
from limelight.export.agreement import _nudged, asked_of, compared
from limelight.methods import get
from limelight.step import Step, step_of
from tests.export.small import EARLY, images, small


class Edges(nn.Module):
    """Most cells before the ReLU are zero but for rounding, so single precision draws lots for their gradients."""

    def __init__(self):
        super().__init__()
        self.early = nn.Conv2d(3, 8, 1, bias=False)
        self.there, self.back = nn.Conv2d(8, 64, 1, bias=False), nn.Conv2d(64, 8, 1, bias=False)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = self.early(x)
        rest = self.back(self.there(x)) - x.detach()  # zero, as `back` undoes `there`, but not its gradient
        return self.fc((torch.relu(rest) + x * 0.01).mean((2, 3)))


def edges() -> Edges:
    torch.manual_seed(0)
    network = Edges().eval()
    with torch.no_grad():
        inverse = torch.linalg.pinv(network.there.weight[:, :, 0, 0].double()).float()
        network.back.weight.copy_(inverse[:, :, None, None])
    return network


def asked(network: nn.Module, method: str = "layercam", target: int | None = None) -> Step:
    return step_of(network, images(1), get(method), EARLY, target)


def engine(step: Step):
    """An engine that computes what the step does."""
    return lambda *batch: step(*batch).named


def moved(step: Step, factor: float) -> Step:
    """The step with one filter after the layer changed."""
    network = copy.deepcopy(step.network)
    with torch.no_grad():
        network.down[0].weight[0].mul_(factor)
    return asked_of(step, network)


BATCHES = [(images(1, seed=1),), (images(4, seed=2),)]


def test_rounding_at_the_edge_of_a_relu_is_let_pass():
    """Another engine's rounding is played by weights that are a unit in the last place off, other ones than judge."""
    step = asked(edges(), target=1)
    found = compared(step, engine(asked_of(step, _nudged(step.network, seed=99))), BATCHES)
    assert found.worst_map > 0.01  # which no limit for all networks would let pass
    assert found.good, found


@pytest.mark.parametrize("factor", [-1, 1.01])
def test_an_error_is_refused_where_rounding_does_little(factor):
    step = asked(small())
    assert compared(step, engine(step), BATCHES).good
    found = compared(step, engine(moved(step, factor)), BATCHES)
    assert not found.good and found.graph.worst_map > found.rounding.worst_map


def test_in_bfloat16_its_rounding_is_let_pass_and_an_error_is_not():
    step = asked(small(), target=1)

    def rounded(step: Step):
        def run(*batch):
            with torch.autocast("cpu", torch.bfloat16):
                return {name: each if name == "classes" else each.float() for name, each in step(*batch).named.items()}

        return run

    found = compared(step, rounded(step), BATCHES, "bfloat16")
    assert found.good and found.rank < 1
    assert not compared(step, rounded(step), BATCHES).good
    found = compared(step, rounded(moved(step, -1)), BATCHES, "bfloat16")
    assert not found.good and "bfloat16: rank correlation of maps" in str(found)


def test_an_error_is_refused_also_where_rounding_does_much():
    step = asked(edges(), target=1)
    late = copy.deepcopy(step.network)
    late.early.weight.data.neg_()
    assert not compared(step, engine(asked_of(step, late)), BATCHES).good


@pytest.mark.parametrize("factor", [1.01, torch.nan])
@pytest.mark.parametrize("name", ["scores", "map"])
def test_one_output_that_is_wrong_is_enough(name, factor):
    step = asked(small())

    def tampered(*batch):
        named = step(*batch).named
        return {**named, name: named[name] * factor}

    assert not compared(step, tampered, BATCHES).good
    assert not compared(
        step, lambda *batch: {**step(*batch).named, name: step(*batch).named[name] * torch.nan}, BATCHES
    ).good


def test_another_class_is_refused():
    step = asked(small())
    other = asked_of(replace(step, target=2), step.network)
    found = compared(step, engine(other), BATCHES)
    assert found.classes < 1 and not found.good


def test_a_network_that_insists_on_single_precision_is_judged_by_itself():
    network = small()
    network.early.register_forward_pre_hook(lambda module, given: (given[0].float(),))
    step = asked(network)
    found = compared(step, engine(step), BATCHES)
    assert found.graph is None and found.good
    assert not compared(step, engine(moved(step, 1.01)), BATCHES).good


def test_images_that_single_precision_does_not_settle_say_nothing():
    """Two classes with the same score: which is predicted is rounding's to say."""
    network = small()
    with torch.no_grad():
        for tensor in (network.fc.weight, network.fc.bias):
            tensor.copy_(tensor[:1].expand_as(tensor))
    step = asked(network)
    with pytest.raises(ModelError, match="on no image of noise is it settled which class"):
        compared(step, engine(step), BATCHES)


def test_maps_that_are_all_zero_are_told():
    """Whatever zeroes them, the graph agrees perfectly: of what a map shows it has proved nothing."""
    network = small()
    with torch.no_grad():
        network.fc.weight[2].zero_()
    step = asked(network, target=2)
    with pytest.warns(ZeroMapWarning, match="every map that the graph was held against is zero"):
        compared(step, engine(step), BATCHES)
