"""Does the map hold still, and move as the picture does: written out, and where it is known what must come out."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import spearmanr

from limelight.evaluation import Case, Scene, explainer, get, stability
from limelight.evaluation.consistency import CHANGES
from limelight.evaluation.nearby import shifting
from limelight.evaluation.perturb import blurred
from tests.evaluation.worlds import Linear, noise
from tests.networks import Plain, pictures, untouched


def identity_case(x=None) -> Case:
    """A method whose map is the first colour of the picture."""
    x = pictures(3, dtype=torch.float64) if x is None else x
    torch.manual_seed(0)
    network = Plain().eval().double()
    return Case.of(Scene.of(network, x), x[:, 0], explainer=lambda network, inputs, target: inputs[:, 0].clone())


def constant_case() -> Case:
    """A method whose map is always the same."""
    x = pictures(3, dtype=torch.float64)
    still = torch.rand(3, 6, 6, dtype=torch.float64)
    torch.manual_seed(0)
    return Case.of(Scene.of(Plain().eval().double(), x), still, explainer=lambda network, inputs, target: still)


def test_the_noise_is_as_asked_and_the_same_for_every_picture():
    case = identity_case()
    nearby = case.around(4, 0.3, 0)
    moved = nearby.inputs - case.inputs
    assert moved.abs().max() <= 0.3
    assert moved.abs().max() > 0.29
    torch.testing.assert_close(moved[:, 0], moved[:, 1])
    assert case.around(4, 0.3, 0) is nearby, "asked once for all metrics"


def test_sensitivities_written_out():
    case = identity_case()
    nearby = case.around(5, 0.1, 0)
    moved = torch.stack([(m - case.maps).flatten(1).norm(dim=1) for m in nearby.maps])
    relative = moved / case.maps.flatten(1).norm(dim=1)
    settings = {"samples": 5, "radius": 0.1}
    torch.testing.assert_close(case.measure(get("max_sensitivity")(**settings)), relative.amax(dim=0))
    torch.testing.assert_close(case.measure(get("avg_sensitivity")(**settings)), relative.mean(dim=0))
    by_picture = torch.stack([(z - case.inputs).flatten(1).norm(dim=1) for z in nearby.inputs])
    unscaled = get("lipschitz")(scaled=False, **settings)
    torch.testing.assert_close(case.measure(unscaled), (moved / by_picture).amax(dim=0))
    assert (case.measure(unscaled) < 1).all(), "one colour moves less than all three"
    torch.testing.assert_close(
        case.measure(get("lipschitz")(**settings)), (moved / by_picture).amax(dim=0) / case.maps.flatten(1).norm(dim=1)
    )


def test_relative_stabilities_written_out():
    case = identity_case()
    network, settings = case.scene.network, {"samples": 5, "radius": 0.1}
    nearby = case.around(5, 0.1, 0)
    same = torch.stack([network(z).argmax(1) for z in nearby.inputs]) == network(case.inputs).argmax(1)
    change = torch.stack([((case.maps - m) / case.maps).flatten(1).norm(dim=1) for m in nearby.maps])
    of_input = torch.stack([((case.inputs - z) / case.inputs).flatten(1).norm(dim=1) for z in nearby.inputs])
    of_output = torch.stack([(network(z) - network(case.inputs)).norm(dim=1) for z in nearby.inputs])
    own = network.head[:3](network.features(case.inputs))
    of_inside = torch.stack(
        [((own - network.head[:3](network.features(z))) / own).flatten(1).norm(dim=1) for z in nearby.inputs]
    )
    for name, distance in [
        ("relative_input_stability", of_input),
        ("relative_output_stability", of_output),
        ("relative_representation_stability", of_inside),
    ]:
        expected = torch.where(same, change / distance, -torch.inf).amax(dim=0)
        torch.testing.assert_close(case.measure(get(name)(**settings)), expected.detach(), msg=name)


def test_where_the_prediction_always_changes_nothing_is_known():
    own, moved = torch.rand(2, 3, 3), torch.rand(4, 2, 3, 3)
    same = torch.tensor([[True, False]] * 4)
    found = stability.relative_stability(own, moved, torch.ones(4, 2), same)
    assert found[0].isfinite()
    assert found[1].isnan()


STILL = ["max_sensitivity", "avg_sensitivity", "lipschitz", "continuity", "input_invariance"]


@pytest.mark.parametrize("name", [*STILL, "relative_input_stability", "relative_output_stability"])
def test_a_map_that_never_moves_is_perfectly_stable(name):
    assert constant_case().measure(name).tolist() == [0, 0, 0]


def test_continuity_written_out():
    case = identity_case()
    ratios = []
    for by in (1, 2):
        z = torch.roll(case.inputs, by, dims=3)
        z[..., :by] = case.inputs[..., :1]
        change = (z[:, 0] - case.maps).abs().sum(dim=(1, 2)) / case.maps.abs().sum(dim=(1, 2))
        ratios.append(change / (z - case.inputs).flatten(1).norm(dim=1))
    torch.testing.assert_close(case.measure(get("continuity")(steps=2)), torch.stack(ratios).amax(dim=0))


# ---- input invariance


def test_a_shifted_network_answers_the_same_for_shifted_pictures():
    torch.manual_seed(0)
    network, x = Plain().eval(), pictures()
    with untouched(network):
        twin = shifting(network, 2.0)
    torch.testing.assert_close(twin(x + 2.0), network(x))


def test_gradients_do_not_mind_a_shift_and_their_product_with_the_picture_does():
    network, x = Linear(), noise()
    for method, moves in [("saliency", False), ("inputxgradient", True)]:
        maps = explainer(method)(network, x, 0)
        value = Case.of(Scene.of(network, x, 0), maps, explainer=explainer(method)).measure("input_invariance")
        assert bool((value > 1e-6).all()) is moves
        assert bool((value > 1e-6).any()) is moves


# ---- consistency


@pytest.mark.parametrize("change", ["flip", "shift", "crop"])
def test_a_map_that_moves_as_the_picture_does_is_consistent(change):
    """A map that is the picture itself goes wherever the picture goes."""
    case = identity_case(pictures(3, side=32, dtype=torch.float64))
    torch.testing.assert_close(case.measure(f"consistency_{change}"), torch.ones(3, dtype=torch.float64))
    still = case.maps
    stuck = Case.of(case.scene, still, explainer=lambda network, inputs, target: still)
    assert (stuck.measure(f"consistency_{change}") < 0.5).all(), "one that stays does not"


@pytest.mark.parametrize("change", ["noise", "jpeg"])
def test_a_map_that_stays_while_the_picture_gets_worse_is_consistent(change):
    case = constant_case()
    torch.testing.assert_close(case.measure(f"consistency_{change}"), torch.ones(3, dtype=torch.float64))
    x = blurred(pictures(3, side=32), 3.0)  # a photograph is smooth, and JPEG made for that
    worse = (CHANGES[change].alter(x) - x).abs().mean() / x.std()
    assert 0.01 < worse < 0.3


# ---- over networks


def test_generalisation_by_brute_force():
    maps = torch.randn(3, 12, 4, 4)
    maps[:, ::2] = maps[:1, ::2] + 0.3 * maps[:, ::2]
    fold = torch.arange(12) % 3
    right = torch.rand(3, 12) < 0.7
    same, other = [], []
    for n in range(12):
        i = int(fold[n])
        for j in {0, 1, 2} - {i}:
            rho = spearmanr(maps[i, n].flatten().numpy(), maps[j, n].flatten().numpy()).statistic
            distance = math.sqrt(1 - abs(rho))
            if right[i, n] and right[j, n]:
                same.append(distance)
            elif right[i, n] or right[j, n]:
                other.append(distance)
    reco = max(sum(d <= g for d in same) / len(same) + sum(d > g for d in other) / len(other) - 1 for g in same + other)
    found = stability.generalisation(maps, right, fold)
    assert found[0] == pytest.approx(1 / (1 + sum(same) / len(same)))
    assert found[1] == pytest.approx(max(0, reco))


def test_networks_that_agree_generalise_and_without_pairs_nothing_is_known():
    maps = torch.randn(1, 6, 4, 4).expand(3, -1, -1, -1)
    fold = torch.arange(6) % 3
    mege, reco = stability.generalisation(maps, torch.ones(3, 6, dtype=torch.bool), fold)
    assert mege == pytest.approx(1, abs=1e-3)
    assert math.isnan(reco)
    assert all(math.isnan(value) for value in stability.generalisation(maps, torch.zeros(3, 6).bool(), fold))
