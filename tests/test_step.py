"""The step as one function answers as ``explain`` does: for every method that can be recorded, and every target."""

from __future__ import annotations

import pytest
import torch

import limelight as ll
from limelight.errors import MethodError, TargetError
from limelight.methods import REGISTRY, get
from limelight.step import AT_HAND, GIVEN, step_of
from limelight.targets import Top
from tests.export.small import EARLY, LATE, images, small
from tests.networks import untouched

RECORDABLE = [name for name, method in REGISTRY.items() if AT_HAND.issuperset(method.needs)]


def step(target=None, layer=LATE, method="gradcam", fusion="mean", network=None):
    return step_of(network or small(), images(1), get(method), layer, target, fusion=fusion)


def test_the_methods_of_one_pass_can_be_recorded():
    wanted = {"gradcam", "gradcampp", "xgradcam", "layercam", "hirescam", "eigencam", "finercam", "elementwisegradcam"}
    assert wanted <= set(RECORDABLE)


@pytest.mark.parametrize("method", RECORDABLE)
def test_every_recordable_method_answers_as_explain_does(method):
    network, x = small(), images(3)
    explained = ll.explain(network, x, method=method, layer=EARLY)

    answer = step(layer=EARLY, method=method, network=network)(x)

    torch.testing.assert_close(answer.raws[0], explained.raws[0][:, 0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(answer.map, explained.maps[:, 0], rtol=1e-5, atol=1e-5)
    assert answer.classes.tolist() == [best[0].index for best in explained.predictions]


@pytest.mark.parametrize(
    "target", [2, Top(3), ll.probability(1), ll.log_probability(), ll.counter(), ll.counter(ll.probability(Top(2)))]
)
def test_every_target_answers_as_explain_does(target):
    network, x = small(), images(2)
    explained = ll.explain(network, x, target=target, layer=LATE)

    answer = step(target, network=network)(x)

    raw = answer.raws[0] if answer.raws[0].ndim == 4 else answer.raws[0][:, None]
    torch.testing.assert_close(raw, explained.raws[0], rtol=1e-5, atol=1e-6)


def test_several_layers_are_fused_and_kept_apart():
    network, x = small(), images(2)
    explained = ll.explain(network, x, layer=[EARLY, LATE], fusion="product")

    answer = step(layer=[EARLY, LATE], fusion="product", network=network)(x)

    torch.testing.assert_close(answer.map, explained.maps[:, 0], rtol=1e-5, atol=1e-5)
    assert list(answer.named) == ["scores", "classes", "raw_1", "raw_2", "map"]


def test_a_given_class_is_an_input_and_minus_one_is_the_predicted_class():
    network, x = small(), images(3)
    predicted, asked = step(network=network), step(GIVEN, network=network)
    best = predicted(x).classes

    given = asked(x, torch.tensor([-1, 0, 4]))

    assert given.classes.tolist() == [int(best[0]), 0, 4]
    torch.testing.assert_close(given.map[0], predicted(x).map[0])
    torch.testing.assert_close(given.raws[0][1], step(0, network=network)(x).raws[0][1])
    with pytest.raises(TargetError, match="given with each batch"):
        asked(x)


def test_the_network_is_left_as_it_was():
    network = small().train()
    with untouched(network):
        step(network=network)(images(2))


def test_a_method_of_many_passes_and_a_target_of_many_kinds_are_refused():
    with pytest.raises(MethodError, match="can be compiled, such as gradcam"):
        step(method="scorecam")
    with pytest.raises(TargetError, match="can't be compiled"):
        step(lambda outputs: outputs[:, 0])
    with pytest.raises(TargetError, match="out of range"):
        step(5)(images(1))
