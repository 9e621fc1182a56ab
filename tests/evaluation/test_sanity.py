"""Does the map depend on the network and on the class: what randomising does, and what must come out."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import spearmanr

from limelight.errors import MetricError
from limelight.evaluation import Case, Scene, chance_maps, explainer, get, sanity
from limelight.evaluation.randomise import cascade, layers_from_the_top, one_by_one, randomised
from tests.evaluation.worlds import Linear, Quadrant, grad_cam_case, noise
from tests.networks import Plain, pictures, untouched

LAYERS = ["fc", "head.1", "cut.1", "cut.0", "stem.1", "stem.0"]


def plain() -> Plain:
    torch.manual_seed(0)
    return Plain().eval()


def changed(a, b) -> set[str]:
    return {
        name.rpartition(".")[0]
        for (name, one), other in zip(a.named_parameters(), b.parameters(), strict=True)
        if not torch.equal(one, other)
    }


def test_layers_are_drawn_anew_with_their_own_spread_and_the_rest_stays():
    network = plain()
    assert layers_from_the_top(network) == LAYERS
    with untouched(network):
        twin = randomised(network, ["fc", "cut.0"])
    assert changed(network, twin) == {"fc", "cut.0"}
    for name in ("fc", "cut.0"):
        own, new = (float(net.get_submodule(name).weight.detach().std()) for net in (network, twin))
        assert new == pytest.approx(own, rel=0.35)
    assert torch.equal(randomised(network, ["fc"]).fc.weight, twin.fc.weight), "whatever else is drawn"
    assert not torch.equal(randomised(network, ["fc"], seed=1).fc.weight, twin.fc.weight)


def test_the_cascade_goes_down_from_the_classifier_and_the_parts_one_by_one():
    network = plain()
    stages = list(cascade(network, 6))
    assert [name for name, _ in stages] == LAYERS
    constant = {"cut.1", "stem.1"}  # fresh batch norms: weights of 1 and shifts of 0 have no spread to draw from
    for depth, (_, twin) in enumerate(stages, 1):
        assert changed(network, twin) == set(LAYERS[:depth]) - constant
    assert [name for name, _ in cascade(network, 3)] == ["fc", "cut.0", "stem.0"]
    parts = [changed(network, twin) for _, twin in one_by_one(network, 3)]
    assert not parts[0] & parts[1]
    assert not parts[1] & parts[2]
    assert parts[0] == {"fc"}


def test_similarities_written_out():
    case = grad_cam_case(plain(), pictures(3))
    names, found = sanity.similarities(
        cascade(case.scene.network, 6), case.maps, case.scene, case.explain_with, sanity.rank_similarity
    )
    assert names == LAYERS
    for (_, network), row in zip(cascade(case.scene.network, 6), found, strict=True):
        again = case.explain_with(network, case.inputs, case.scene.question)
        expected = [spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(case.maps, again, strict=True)]
        assert row.tolist() == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(case.measure("cascading_randomisation"), found.mean(dim=0))


@pytest.mark.parametrize(
    "name",
    ["cascading_randomisation", "independent_randomisation", "random_logit", "class_contrast", "label_randomisation"],
)
def test_a_method_that_sees_only_the_picture_is_found_out(name):
    """An edge detector's map is the same for every network and every class."""
    x = pictures(3)

    def edges(network, inputs, target):
        return chance_maps("edges", inputs, (6, 6))

    case = Case.of(Scene.of(plain(), x), edges(None, x, None), explainer=edges, mislabelled=Plain())
    torch.testing.assert_close(case.measure(name), torch.ones(3).to(case.measure(name)))
    torch.testing.assert_close(case.measure("efficient_mprt"), torch.zeros(3))
    grad_cam = grad_cam_case(plain(), x, mislabelled=Plain())
    assert (grad_cam.measure(name) < 0.98).all()


def test_the_classes_compared_are_other_ones():
    case = grad_cam_case(plain(), pictures(3))
    asked = []

    def remember(network, inputs, target):
        asked.append(target)
        return case.explain_with(network, inputs, target)

    watched = Case.of(case.scene, case.maps, explainer=remember)
    watched.measure("random_logit")
    watched.measure("class_contrast")
    logits = case.scene.network(case.inputs)
    own = logits.argmax(dim=1).tolist()
    assert all(a != b for a, b in zip(asked[0], own, strict=True))
    assert asked[1] == logits.topk(2, dim=1).indices[:, 1].tolist()


def test_of_two_opposite_classes_the_maps_are_opposite():
    """A linear network's second score is the first's negative."""
    network, x = Linear(), noise()
    method = explainer("inputxgradient")
    case = Case.of(Scene.of(network, x, 0), method(network, x, 0), explainer=method)
    torch.testing.assert_close(case.measure("class_contrast"), -torch.ones(3).double())


def test_the_entropy_of_a_histogram():
    m = torch.arange(100.0).view(1, 10, 10)
    assert float(sanity.histogram_entropy(m, 10)) == pytest.approx(torch.log(torch.tensor(10.0)).item())
    assert float(sanity.histogram_entropy(m * 0, 10)) == 0


def test_a_map_of_another_picture_is_less_faithful_and_the_same_map_as_much():
    x = 0.1 * noise(2, side=16)
    x[0, :, 1:4, 1:4] += 2
    x[1, :, 4:7, 4:7] += 2
    network = Quadrant()
    maps = (x**2).mean(dim=1)
    scene = Scene.of(network, x, 0)
    order = sanity.matched(torch.zeros(2).long(), scene.scores)
    assert order.tolist() == [1, 0]
    assert (Case.of(scene, maps, controls=maps[order]).measure("matched_control") > 0).all()
    assert Case.of(scene, maps, controls=maps).measure("matched_control").tolist() == [0, 0]


def test_a_control_is_of_the_same_class_where_there_is_one_and_near_in_score():
    classes, scores = torch.tensor([0, 1, 0, 0, 2]), torch.tensor([0.9, 0.8, 0.1, 0.7, 0.75])
    assert sanity.matched(classes, scores).tolist() == [3, 4, 3, 0, 1]
    with pytest.raises(MetricError, match="only one"):
        sanity.matched(classes[:1], scores[:1])


def test_what_was_not_given_is_asked_for():
    case = grad_cam_case(plain(), pictures())
    for name, message in [("label_randomisation", "permuted labels"), ("matched_control", "controls")]:
        assert not case.can(name)
        with pytest.raises(MetricError, match=message):
            case.measure(name)
    scene = Scene.of(plain(), pictures(), lambda outputs: outputs[:, 0])
    with pytest.raises(MetricError, match="not a class"):
        Case.of(scene, case.maps, explainer=case.explain_with).measure(get("class_contrast"))
