"""cut.py: a layer is found by any name for it, captured in one pass, pulled back exactly and replayed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from limelight.borrow import borrowed
from limelight.cut import Cut, Site, resolve
from limelight.errors import LayerError
from tests.networks import (
    AWKWARD,
    CLASSES,
    Branches,
    Checkpointed,
    DictOutputs,
    FrozenBody,
    FrozenBodyDictOutputs,
    Plain,
    Twice,
    full_autograd,
    logits,
    pictures,
    small_networks,
)


def names(sites: tuple[Site, ...]) -> list[str]:
    return [str(site) for site in sites]


def third(outputs):
    return logits(outputs)[:, 3]


def pull(captured, score=third, keep=False):
    with torch.enable_grad():
        return captured.pull_back(score(captured.outputs), keep)


# ---- resolve


class TestResolve:
    network = Plain()

    def test_by_name(self):
        (site,) = resolve(self.network, "head.1")
        assert site == Site("head.1", self.network.head[1])

    def test_by_module(self):
        assert resolve(self.network, self.network.head[1]) == resolve(self.network, "head.1")

    def test_by_a_wrapped_module(self):
        assert resolve(self.network, nn.DataParallel(self.network.cut)) == resolve(self.network, "cut")

    def test_a_sequence_keeps_its_order(self):
        assert names(resolve(self.network, ["head.1", self.network.stem, "fc"])) == ["head.1", "stem", "fc"]

    @pytest.mark.parametrize(
        ("glob", "found"),
        [
            ("stem.*", ["stem.0", "stem.1", "stem.2"]),
            ("*.1", ["stem.1", "cut.1", "head.1"]),
            ("*", ["stem", "cut", "head", "fc"]),
            ("?c", ["fc"]),
            ("**.2", ["stem.2", "cut.2", "head.2"]),
            ("s**", ["stem", "stem.0", "stem.1", "stem.2"]),
        ],
    )
    def test_globs_stay_within_one_part_and_double_stars_cross(self, glob, found):
        assert names(resolve(self.network, glob)) == found

    def test_a_glob_is_no_regular_expression(self):
        with pytest.raises(LayerError):
            resolve(self.network, "stem+*")

    def test_a_call_of_a_shared_module(self):
        (site,) = resolve(Twice(), "relu@2")
        assert (site.name, site.call, str(site)) == ("relu", 2, "relu@2")

    def test_a_call_of_every_module_of_a_glob(self):
        assert names(resolve(self.network, "stem.*@1")) == ["stem.0@1", "stem.1@1", "stem.2@1"]

    @pytest.mark.parametrize("bad", ["relu@", "relu@0", "relu@-1", "relu@x", "relu@1@2"])
    def test_a_call_that_is_no_number_from_1_is_refused(self, bad):
        with pytest.raises(LayerError, match="counted from 1"):
            resolve(Twice(), bad)

    def test_the_input(self):
        assert resolve(self.network, "input") == (Site("input", None),)

    def test_a_layer_called_input_is_that_layer(self):
        network = nn.Sequential()
        network.add_module("input", nn.Conv2d(3, 2, 1))
        assert resolve(network, "input")[0].module is network.get_submodule("input")

    @pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."])
    def test_names_as_a_wrapper_spells_them(self, prefix):
        assert names(resolve(nn.DataParallel(self.network), f"{prefix}cut.0")) == ["cut.0"]

    def test_a_layer_whose_own_name_is_module(self):
        network = nn.Sequential()
        network.add_module("module", nn.Sequential(nn.Conv2d(3, 2, 1)))
        assert names(resolve(network, "module.0")) == ["module.0"]

    @pytest.mark.parametrize(
        ("misspelt", "meant"),
        [("stem.O", "'stem.0'"), ("haed.1", "'head.1'"), ("CUT", "'cut'"), ("heads", "'head'")],
    )
    def test_an_unknown_name_is_told_with_the_closest(self, misspelt, meant):
        with pytest.raises(LayerError, match="Did you mean") as error:
            resolve(self.network, misspelt)
        assert meant in str(error.value)
        assert misspelt in str(error.value)

    @pytest.mark.parametrize("bad", ["", "cut.", "zzzzzz", "*.zzz", "weight", "stem.0.weight"])
    def test_what_is_no_layer_is_refused(self, bad):
        with pytest.raises(LayerError):
            resolve(self.network, bad)

    def test_a_foreign_module_is_refused(self):
        with pytest.raises(LayerError, match="not a part of this Plain"):
            resolve(self.network, nn.ReLU())

    def test_a_number_is_refused_in_a_clear_line(self):
        with pytest.raises(LayerError):
            resolve(self.network, -1)

    def test_an_empty_sequence_is_refused_in_a_clear_line(self):
        with pytest.raises(LayerError):
            resolve(self.network, [])


# ---- capture and pull back


@pytest.mark.parametrize("make", AWKWARD.values(), ids=AWKWARD)
@pytest.mark.parametrize("frozen", [False, True], ids=["trainable", "frozen"])
def test_the_gradient_equals_full_back_propagation(make, frozen):
    network, x = make().double(), pictures(dtype=torch.float64)
    name = "cut.inner" if make.__name__ == "TupleLayer" else "cut"
    unfrozen = FrozenBody if "FrozenBody" in make.__name__ else make
    reference = unfrozen().double()
    reference.load_state_dict(network.state_dict())
    if unfrozen is FrozenBody:  # full autograd stops at no_grad: the same network without it
        reference = Plain().double()
        reference.load_state_dict(network.state_dict())
    (activations,), (gradients,), outputs = full_autograd(reference, [name], x, third)
    network.requires_grad_(not frozen)
    captured = Cut.at(network, "cut").capture(x)
    torch.testing.assert_close(captured.activations[0].detach(), activations)
    with borrowed(network):  # as explain does: a checkpoint runs the head again
        torch.testing.assert_close(pull(captured)[0], gradients)
    torch.testing.assert_close(logits(captured.outputs), logits(outputs))
    assert all(parameter.grad is None for parameter in network.parameters())


@given(small_networks(), st.data())
@settings(max_examples=20, deadline=None, derandomize=True)
def test_any_layers_gradient_equals_full_back_propagation(network, data):
    """Several layers at once, at any depth, nested in each other or not, with in-place operations between."""
    known = [name for name, _ in network.named_modules() if name]
    layers = data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=4, unique=True))
    x = pictures(2, 8, torch.float64)
    activations, gradients, outputs = full_autograd(network, layers, x, third)
    captured = Cut.at(network, layers).capture(x)
    torch.testing.assert_close(captured.outputs, outputs)
    for k, pulled in enumerate(pull(captured)):
        torch.testing.assert_close(captured.activations[k].detach(), activations[k])
        torch.testing.assert_close(pulled, gradients[k])


@pytest.mark.parametrize(
    "layers",
    [
        ["left", "right"],
        ["right", "left"],
        ["left.0", "left.2", "join"],
        ["join", "stem", "left.1"],
        ["left", "left.2"],
    ],
    ids="+".join,
)
def test_layers_in_a_row_nested_and_side_by_side_share_a_pass(layers):
    network, x = Branches().double(), pictures(dtype=torch.float64)
    activations, gradients, _ = full_autograd(network, layers, x, third)
    captured = Cut.at(network, layers).capture(x)
    for k, pulled in enumerate(pull(captured)):
        torch.testing.assert_close(captured.activations[k].detach(), activations[k])
        torch.testing.assert_close(pulled, gradients[k])


def test_pulling_back_through_a_checkpoint_does_not_train_the_network():
    network, x = Checkpointed().double().train(), pictures(dtype=torch.float64)
    captured = Cut.at(network, "cut").capture(x)
    torch.testing.assert_close(pull(captured)[0], full_autograd(network, ["cut"], x, third)[1][0])


def test_nested_layers_of_a_resnet():
    """layer4 and its last block hand on the same tensor."""
    import torchvision

    network, x = torchvision.models.resnet18(num_classes=CLASSES), pictures(1, 32)
    layers = ["layer4", "layer4.1", "layer4.0", "layer3"]
    activations, gradients, _ = full_autograd(network, layers, x, third)
    captured = Cut.at(network, layers).capture(x)
    for k, pulled in enumerate(pull(captured)):
        torch.testing.assert_close(captured.activations[k].detach(), activations[k])
        torch.testing.assert_close(pulled, gradients[k])


def test_the_graph_starts_at_the_layer():
    """The trunk runs without autograd: that is what makes the capture cheap."""
    network = Plain()
    captured = Cut.at(network, "cut").capture(pictures())
    assert captured.activations[0].is_leaf
    below = {p for module in (network.stem, network.cut) for p in module.parameters()}
    nodes, seen = [captured.outputs.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        nodes.extend(parent for parent, _ in node.next_functions)
    reached = {node.variable for node in seen if hasattr(node, "variable")}
    assert not reached & below
    assert any(leaf is captured.activations[0] for leaf in reached)


def test_the_input_can_be_cut_and_combined_with_layers():
    network, x = Plain().double(), pictures(dtype=torch.float64).requires_grad_()
    reference = Plain().double().eval()
    reference.load_state_dict(network.state_dict())
    (expected,) = torch.autograd.grad(reference(x)[:, 3].sum(), x)
    captured = Cut.at(network, ["input", "cut"]).capture(x)
    of_input, of_cut = pull(captured)
    torch.testing.assert_close(of_input, expected)
    torch.testing.assert_close(of_cut, full_autograd(network, ["cut"], x.detach(), third)[1][0])
    assert x.grad is None


def test_the_input_of_a_keyword_argument():
    class Keyword(Plain):
        def forward(self, *, mask=None, pixels):
            return super().forward(pixels)

    x = pictures()
    captured = Cut.at(Keyword(), "input").capture(mask=torch.tensor([True]), pixels=x)
    assert torch.equal(captured.activations[0].detach(), x)
    assert pull(captured)[0].abs().sum() > 0


class Counted(Plain):
    """How often it ran."""

    ran = 0

    def forward(self, x):
        type(self).ran += 1
        return super().forward(x)


@pytest.mark.parametrize("layer", ["cut", ["stem", "cut", "head.1"], "input"])
def test_a_capture_is_exactly_one_forward_pass(layer):
    Counted.ran = 0
    captured = Cut.at(Counted(), layer).capture(pictures())
    for k in range(CLASSES):
        pull(captured, lambda out, k=k: out[:, k], keep=True)
    assert Counted.ran == 1


def test_a_capture_of_an_object_as_outputs_is_one_forward_pass():
    """What isn't a tensor or a plain container must not look like "no graph"."""

    class Outputs:
        def __init__(self, logits):
            self.logits = logits

    class WithObject(Counted):
        def forward(self, x):
            return Outputs(super().forward(x))

    WithObject.ran = 0
    captured = Cut.at(WithObject(), "cut").capture(pictures())
    with torch.enable_grad():
        assert captured.pull_back(captured.outputs.logits[:, 1])[0].abs().sum() > 0
    assert WithObject.ran == 1


def test_pulling_back_twice_needs_keep_and_gives_the_same():
    captured = Cut.at(Plain(), "cut").capture(pictures())
    assert torch.equal(pull(captured, keep=True)[0], pull(captured)[0])
    with pytest.raises(RuntimeError, match="second time"):
        pull(captured)


def test_the_captured_activations_are_not_what_the_head_makes_of_them():
    network = AWKWARD["in-place head"]().eval()
    x = pictures()
    captured = Cut.at(network, "cut").capture(x)
    with torch.no_grad():
        assert torch.equal(captured.activations[0].detach(), network.features(x))


class TestSharedModule:
    """``relu`` runs twice, and a skip connection joins the two calls."""

    @pytest.fixture
    def network(self):
        return Twice().double()

    x = pictures(dtype=torch.float64)

    def by_hand(self, network, call):
        first = network.first(self.x).relu()
        second = network.second(first).relu()
        outputs = network.fc((second + first.tanh()).mean((2, 3)))
        kept = (first, second)[call - 1]
        return kept, torch.autograd.grad(outputs[:, 3].sum(), kept)[0]

    @pytest.mark.parametrize("call", [1, 2])
    def test_a_call_can_be_chosen(self, network, call):
        captured = Cut.at(network, f"relu@{call}").capture(self.x)
        activations, gradients = self.by_hand(network, call)
        torch.testing.assert_close(captured.activations[0], activations)
        torch.testing.assert_close(pull(captured)[0], gradients)
        assert captured.calls == (2,)

    def test_the_last_call_is_meant_without_a_number(self, network):
        captured = Cut.at(network, "relu").capture(self.x)
        torch.testing.assert_close(captured.activations[0], self.by_hand(network, 2)[0])
        torch.testing.assert_close(pull(captured)[0], self.by_hand(network, 2)[1])
        assert captured.calls == (2,)

    def test_both_calls_in_one_pass(self, network):
        captured = Cut.at(network, ["relu@1", "relu@2"]).capture(self.x)
        for call, pulled in enumerate(pull(captured), start=1):
            torch.testing.assert_close(pulled, self.by_hand(network, call)[1])

    def test_a_call_too_many_is_told(self, network):
        with pytest.raises(LayerError, match="ran 2 times"):
            Cut.at(network, "relu@3").capture(self.x)

    @pytest.mark.parametrize("call", [1, 2])
    def test_replay_alters_the_chosen_call_only(self, network, call):
        captured = Cut.at(network, f"relu@{call}").capture(self.x)
        altered = captured.activations[0].detach() * 0.5
        first = network.first(self.x).relu()
        if call == 1:
            first = altered
        second = altered if call == 2 else network.second(first).relu()
        torch.testing.assert_close(captured.replay(altered), network.fc((second + first.tanh()).mean((2, 3))).detach())

    def test_replay_without_a_number_alters_the_call_that_was_captured(self, network):
        captured = Cut.at(network, "relu").capture(self.x)
        torch.testing.assert_close(captured.replay(captured.activations[0].detach()), captured.outputs.detach())


class TestRefusals:
    x = pictures()

    def test_a_layer_never_reached_is_told(self):
        network = Plain()
        network.unused = nn.Conv2d(3, 3, 1)
        with pytest.raises(LayerError, match="'unused' was never reached"):
            Cut.at(network, ["cut", "unused"]).capture(self.x)

    def test_a_layer_without_a_floating_tensor_is_told(self):
        class Index(nn.Module):
            def forward(self, x):
                return x.argmax(1)

        network = nn.Sequential(nn.Conv2d(3, 4, 1), Index())
        with pytest.raises(LayerError, match="'1' gives a tensor of shape"):
            Cut.at(network, "1").capture(self.x)

    def test_a_layer_the_score_does_not_use_is_told(self):
        class TwoHeads(Plain):
            def __init__(self):
                super().__init__()
                self.other = nn.Conv2d(6, 4, 1)

            def forward(self, x):
                x = self.stem(x)
                return {"logits": self.fc(self.head(self.cut(x))), "other": self.other(x)}

        captured = Cut.at(TwoHeads(), "other").capture(self.x)
        with pytest.raises(LayerError, match="does not depend on layer 'other'"):
            pull(captured)

    def test_a_score_without_a_graph_is_told(self):
        class NoGradHead(Plain):
            def forward(self, x):
                with torch.no_grad():
                    return super().forward(x)

        class Argmax(Plain):
            def forward(self, x):
                return super().forward(x).argmax(1, keepdim=True).float()

        assert pull(Cut.at(NoGradHead(), "cut").capture(self.x))[0].abs().sum() > 0, "no_grad around all is no obstacle"
        with pytest.raises(LayerError, match="does not depend on layer 'cut'"):
            captured = Cut.at(Argmax(), "cut").capture(self.x)
            pull(captured, lambda out: out[:, 0])

    def test_a_reentrant_checkpoint_in_the_head_works_or_is_told(self):
        network = Checkpointed()
        network.reentrant = True
        captured = Cut.at(network, "cut").capture(self.x)
        try:
            pulled = pull(captured)[0]
        except LayerError:
            return
        torch.testing.assert_close(pulled, full_autograd(network, ["cut"], self.x, third)[1][0])


def test_features_beside_the_scores_do_not_hide_that_the_scores_have_no_graph():
    """Under no_grad the features get a graph from the hook, the head after it none."""
    network = FrozenBodyDictOutputs().double()
    reference = Plain().double()
    reference.load_state_dict(network.state_dict())
    x = pictures(dtype=torch.float64)
    captured = Cut.at(network, "cut").capture(x)
    torch.testing.assert_close(pull(captured)[0], full_autograd(reference, ["cut"], x, third)[1][0])


# ---- replay


@pytest.mark.parametrize("make", AWKWARD.values(), ids=AWKWARD)
def test_replaying_what_was_captured_gives_the_outputs_again(make):
    captured = Cut.at(make(), "cut").capture(pictures())
    replayed = captured.replay(captured.activations[0].detach())
    assert torch.equal(logits(replayed), logits(captured.outputs).detach())


@given(small_networks(), st.integers(1, 3), st.data())
@settings(max_examples=15, deadline=None, derandomize=True)
def test_replay_equals_a_forward_with_the_layers_output_replaced(network, times, data):
    """For any layer, and for several altered versions of every image at once, block after block."""
    layer = data.draw(st.sampled_from([name for name, _ in network.named_modules() if name]))
    x = pictures(2, 8, torch.float64)
    captured = Cut.at(network, layer).capture(x)
    altered = captured.activations[0].detach().repeat(times, *[1] * (captured.activations[0].ndim - 1))
    altered = altered * torch.rand_like(altered)
    given = altered.clone()
    outputs = captured.replay(altered)
    assert torch.equal(altered, given), "the altered activations are the caller's"
    modes = {module: module.training for module in network.modules()}
    network.eval()
    for block in range(times):
        part = altered[2 * block : 2 * block + 2].clone()
        with network.get_submodule(layer).register_forward_hook(lambda *_, part=part: part):
            torch.testing.assert_close(outputs[2 * block : 2 * block + 2], network(x).detach())
    for module, training in modes.items():
        module.training = training


def test_replay_of_the_input_is_a_forward_of_other_images():
    network, x = Plain().eval(), pictures()
    other = pictures(4, seed=2)
    replayed = Cut.at(network, "input").capture(x).replay(other)
    torch.testing.assert_close(replayed, network(other).detach())


def test_replay_has_a_gradient_where_the_activations_ask_for_one():
    network, x = Plain().double(), pictures(dtype=torch.float64)
    captured = Cut.at(network, "cut").capture(x)
    leaf = captured.activations[0].detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(captured.replay(leaf)[:, 3].sum(), leaf)
    torch.testing.assert_close(gradient, full_autograd(network, ["cut"], x, third)[1][0])
    assert not captured.replay(leaf.detach()).requires_grad


def test_replay_through_a_frozen_body_has_a_gradient_too():
    network, x = FrozenBody(), pictures()
    captured = Cut.at(network, "cut").capture(x)
    leaf = captured.activations[0].detach().clone().requires_grad_()
    assert captured.replay(leaf).requires_grad


def test_a_batch_that_is_no_multiple_is_refused():
    captured = Cut.at(Plain(), "cut").capture(pictures(2))
    with pytest.raises(LayerError, match="3 images do not divide among the 2"):
        captured.replay(captured.activations[0].detach()[[0, 1, 0]])


def test_several_layers_are_replayed_together():
    network = DictOutputs().eval()
    x = pictures()
    captured = Cut.at(network, ["stem", "cut"]).capture(x)
    zero = [torch.zeros_like(a) for a in captured.activations]
    with torch.no_grad():
        expected = network.fc(network.head(zero[1]))
    torch.testing.assert_close(captured.replay(*zero)["logits"], expected)
