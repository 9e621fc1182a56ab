"""A verdict tells a true map from planted ones, says why, and leaves the network as it was.

The network is one whose truth is known: it answers by how much of its class's colour is chequered, wherever.
"""

from __future__ import annotations

import json
import math
import pickle

import pytest
import torch
from torch import nn

import limelight as ll
from limelight.errors import InputError, TargetError
from limelight.judging import Hearing, judge
from limelight.judging.hearing import correlation
from limelight.judging.verdict import fitted, label_of, weighed
from tests.networks import untouched
from tests.tiny import tiny

RED, GREEN, BLUE = range(3)


class Checks(nn.Module):
    """Class k is how much of colour k is chequered: gradient times activation is the truth, and a blur ends it."""

    def __init__(self):
        super().__init__()
        self.cells = nn.Conv2d(3, 6, 8, stride=8, bias=False)
        self.on = nn.ReLU()
        with torch.no_grad():
            both = torch.cat([torch.eye(3), -torch.eye(3)])  # chequers that begin with the light and with the dark
            self.cells.weight.copy_(both[:, :, None, None] * chequers(8, 8) / 64)

    def forward(self, x):
        found = self.on(self.cells(x))
        return (found[:, :3] + found[:, 3:]).mean(dim=(2, 3)) * 64


def chequers(rows, columns):
    return ((torch.arange(rows)[:, None] + torch.arange(columns)) % 2) * 2.0 - 1


@pytest.fixture
def scene():
    """Red chequers to the upper left and green ones to the lower right of a slightly noisy picture."""
    image = 0.1 * torch.randn(1, 3, 64, 64)
    image[0, RED, 8:32, 8:32] = chequers(24, 24)
    image[0, GREEN, 40:56, 32:56] = 0.8 * chequers(16, 24)
    return Checks().eval(), image


def patch(rows, columns):
    heat = torch.zeros(64, 64)
    heat[rows, columns] = 1.0
    return heat


def test_true_maps_are_supported_and_planted_ones_are_not(scene):
    network, image = scene
    e = ll.explain(network, image, RED)
    true = e.verdict()
    heat = e.maps[0, 0]
    planted = {
        "mirrored": heat.flip(1),
        "rolled": heat.roll((32, 32), (0, 1)),
        "inverted": 1 - heat,
        "of the other class": ll.explain(network, image, GREEN).maps[0, 0],
        "a corner": patch(slice(0, 12), slice(52, 64)),
    }
    assert true.label == "supported"
    for kind, bad in planted.items():
        found = ll.verdict(network, image, bad, RED)
        assert found.label != "supported" and found.support < true.support - 0.3, (kind, found)


def test_the_figures_are_what_they_are_called(scene):
    network, image = scene
    found = ll.verdict(network, image, patch(slice(8, 32), slice(8, 32)), RED).evidence
    assert found["agreement"] > 0.85 and found["over_mirrored"] > 0.85 and found["stability"] > 0.85
    assert found["steadiness"] == pytest.approx(1.0, abs=0.15)
    assert 0.6 < found["margin"] <= 1
    assert found["class_contrast"] > 0.5
    assert found["probability"] == pytest.approx(network(image).softmax(1)[0, RED].item(), abs=1e-5)


def test_a_verdict_is_said_in_one_sentence_with_its_figures(scene):
    network, image = scene
    found = ll.explain(network, image, RED).verdict()
    assert str(found) == found.sentence
    assert found.sentence.startswith(f"{found.label} ({found.support:.2f}): ") and found.sentence.endswith(".")
    assert f"{found.evidence['agreement']:.2f}" in found.sentence and "'on'" in found.sentence
    record = json.loads(json.dumps(found.record()))
    assert set(record) == {"label", "support", "evidence", "sentence"}


@pytest.mark.parametrize("heat", [torch.zeros(8, 8), torch.ones(8, 8), -torch.rand(8, 8)])
def test_a_map_that_says_nothing_is_contradicted(scene, heat):
    found = ll.verdict(*scene, heat, RED)
    assert (found.label, found.support, found.evidence) == ("contradicted", 0.0, {})


def test_several_targets_each_have_their_own(scene):
    network, image = scene
    e = ll.explain(network, image.repeat(2, 1, 1, 1), ll.each(RED, GREEN))
    assert e.verdict(1, 1).support == pytest.approx(ll.explain(network, image, GREEN).verdict().support, abs=1e-5)
    per_image = ll.explain(network, image.repeat(2, 1, 1, 1), [RED, GREEN])
    assert per_image.verdict(1).evidence == pytest.approx(e.verdict(1, 1).evidence, abs=1e-4)
    assert per_image[1].verdict().support == per_image.verdict(1).support


def test_a_question_that_is_about_no_class_has_its_verdict(scene):
    network, image = scene
    found = ll.explain(network, image, lambda outputs: outputs[:, RED] - outputs[:, GREEN]).verdict()
    assert math.isnan(found.evidence["probability"]) and math.isnan(found.evidence["class_contrast"])
    assert 0 <= found.support <= 1 and "nan" not in found.sentence
    assert found.record()["evidence"]["probability"] is None


def test_the_network_is_left_as_it_was(scene):
    network, image = scene
    network.train()
    heat = torch.rand(8, 8)
    with untouched(network):
        ll.verdict(network, image, heat, RED)
    assert network.training


def test_the_passes_are_eight(scene):
    """What the documentation promises: ten forward passes at most, whatever the map."""
    network, image = scene
    ll.explain(network, image)  # finds the layer, once a network
    seen = []
    handle = network.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    ll.verdict(network, image, torch.rand(8, 8), RED)
    handle.remove()
    assert sum(seen) == 8


def test_photographs_are_shown_to_the_network_as_they_were(tmp_path):
    from tests.pictures import noise

    model = tiny()
    noise(3).save(tmp_path / "a.png")
    e = ll.explain(model, tmp_path / "a.png", "espresso")
    again = ll.verdict(model, tmp_path / "a.png", e.raw[0, 0], "espresso")
    assert again.evidence == pytest.approx(e.verdict().evidence, abs=1e-4)
    over_photo = ll.verdict(model, tmp_path / "a.png", e.heat(), "espresso")
    assert over_photo.support == pytest.approx(again.support, abs=0.15)


def test_a_pickled_explanation_leaves_its_network_behind(scene):
    e = pickle.loads(pickle.dumps(ll.explain(*scene, RED)))
    assert e.origin is None
    with pytest.raises(InputError, match=r"limelight\.verdict\("):
        e.verdict()


@pytest.mark.parametrize(
    ("heat", "said"),
    [(torch.rand(3, 8, 8), "a map is"), (torch.full((8, 8), torch.nan), "NaN"), (torch.rand(0, 8), "a map is")],
)
def test_what_is_no_map_is_refused(scene, heat, said):
    with pytest.raises(InputError, match=said):
        ll.verdict(*scene, heat, RED)


def test_one_picture_and_one_target_are_asked_about(scene):
    network, image = scene
    with pytest.raises(InputError, match="one picture"):
        ll.verdict(network, image.repeat(2, 1, 1, 1), torch.rand(8, 8))
    with pytest.raises(TargetError, match="one target"):
        ll.verdict(network, image, torch.rand(8, 8), ll.top(2))


def test_a_hearing_serves_every_map_of_its_question(scene):
    network, image = scene
    hearing = Hearing.of(network, image, RED)
    heat = torch.rand(8, 8)
    assert judge(hearing, heat) == ll.verdict(network, image, heat, RED)


def test_labels_follow_support_and_the_weights_say_where_they_come_from():
    limits = fitted()["limits"]
    assert 0 < limits["weak"] < limits["supported"] < 1
    assert [label_of(v) for v in (0.0, limits["weak"], limits["supported"])] == ["contradicted", "weak", "supported"]
    usual = {name: each["mean"] for name, each in fitted()["figures"].items()}
    assert weighed(usual) == pytest.approx(weighed(usual | {"probability": math.nan}))
    assert "benchmarks/verdict" in fitted()["provenance"]


def test_correlation_meets_on_the_coarser_grid():
    fine = torch.arange(64.0).view(8, 8)
    coarse = fine.view(4, 2, 4, 2).mean(dim=(1, 3))
    assert correlation(fine, coarse) == pytest.approx(1.0)
    assert correlation(coarse, -fine) == pytest.approx(-1.0)
    assert correlation(fine, torch.ones(8, 8)) == 0.0
    assert -1 <= correlation(torch.rand(3, 9), torch.rand(7, 4)) <= 1
