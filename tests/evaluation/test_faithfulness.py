"""Does the score fall: against the definitions written out, and where it is known what must come out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from limelight.evaluation import REGISTRY, Case, Scene, get
from limelight.evaluation.perturb import ranks
from tests.evaluation.worlds import Linear, Quadrant, grad_cam_case, linear_case, noise
from tests.networks import Plain, pictures


def by_hand(case: Case, shares, least=False, instead=0.0) -> torch.Tensor:
    """The scores as pixels go, one picture and one pixel set at a time: ``(shares, batch)``."""
    order = ranks(case.maps, case.scene.size)
    total = order[0].numel()
    curves = []
    for share in shares:
        row = []
        for x, o in zip(case.scene.inputs, order, strict=True):
            count = round(share * total)
            gone = o >= total - count if least else o < count
            with torch.no_grad():
                outputs = case.scene.network(torch.where(gone, instead, x)[None])
            row.append(outputs.softmax(dim=1)[0, 0] if case.scene.asked.scale == "probability" else outputs[0, 0])
        curves.append(torch.stack(row))
    return torch.stack(curves)


def trapezoids(curve):
    return ((curve[:-1] + curve[1:]) / 2).mean(dim=0)


TENTHS = [i / 10 for i in range(11)]


@pytest.mark.parametrize("scale", ["logit", "probability"])
def test_every_curve_is_what_removing_pixels_one_by_one_gives(scale):
    case = linear_case(scale)
    most, least = by_hand(case, TENTHS), by_hand(case, TENTHS, least=True)

    def value(name, **settings):
        return case.measure(get(name)(baseline="zero", **settings))

    for found, expected in [
        (value("deletion", steps=10), trapezoids(most)),
        (value("insertion", steps=10), trapezoids(least)),
        (value("margin", steps=10), trapezoids(least) - trapezoids(most)),
        (value("pixel_flipping", steps=10), trapezoids(most)),
        (value("morf", steps=10, region=1), most.mean(dim=0)),
        (value("lerf", steps=10, region=1), least.mean(dim=0)),
        (value("aopc", steps=10, region=1), (most[0] - most).mean(dim=0)),
        (value("aopc", steps=5, region=1, until=0.5), (most[0] - most[:6]).mean(dim=0)),
        (value("comprehensiveness", bins=(0.1, 0.3)), most[0] - most[[1, 3]].mean(dim=0)),
        (value("sufficiency", bins=(0.1, 0.3)), least[0] - least[[9, 7]].mean(dim=0)),
    ]:
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


CURVES = ["deletion", "insertion", "margin", "morf", "lerf", "aopc", "comprehensiveness", "sufficiency"]


@pytest.mark.parametrize("name", CURVES)
def test_a_linear_networks_exact_attribution_is_best_possible(name):
    """No order takes a sum down faster than that of its terms; a reversed one is worst; chance lies between."""
    settings = {"baseline": "zero"} | ({"region": 1} if "region" in get(name).options else {})
    metric, best = get(name)(**settings), linear_case()
    sign = 1 if metric.better == "higher" else -1
    exact = sign * best.measure(metric)
    worst = sign * best.with_maps(-best.maps).measure(metric)
    for seed in range(20):
        random = torch.rand(best.maps.shape, generator=torch.Generator().manual_seed(seed))
        chance = sign * best.with_maps(random).measure(metric)
        assert (exact > chance).all()
        assert (chance > worst).all()


def test_a_reversed_map_gives_the_mirror_value():
    case = linear_case()
    back = case.with_maps(-case.maps)
    metric = get("margin")(baseline="zero", steps=12)
    torch.testing.assert_close(back.measure(metric), -case.measure(metric))
    torch.testing.assert_close(
        back.measure(get("deletion")(baseline="zero")), case.measure(get("insertion")(baseline="zero"))
    )
    torch.testing.assert_close(back.measure("road"), -case.measure("road"))


def test_a_random_map_gives_chance():
    """Of a linear network: every pixel's part falls evenly, so the margin's expectation is 0."""
    case = linear_case()
    spread = case.measure(get("margin")(baseline="zero"))
    random = [
        case.with_maps(torch.rand(case.maps.shape, generator=torch.Generator().manual_seed(seed))).measure(
            get("margin")(baseline="zero")
        )
        for seed in range(60)
    ]
    mean = torch.stack(random).mean(dim=0)
    assert (mean.abs() < 0.15 * spread).all()


@pytest.mark.parametrize("name", [*CURVES, "road", "road_morf", "road_lerf", "average_drop", "cam_mult_image"])
def test_the_object_that_decides_beats_every_other_place(name):
    """A bright object in the upper left quarter is all that counts: with every baseline, the map that says so wins."""
    x = 0.1 * noise(side=16)
    x[:, :, 2:6, 2:6] += 2
    scene = Scene.of(Quadrant(), x, 0)
    quarters = torch.eye(4).view(4, 1, 2, 2).expand(-1, 3, -1, -1)
    options = get(name).options
    baselines = ["blur", "mean", "noise", "zero", "inpaint"] if "steps" in options else ["zero"]
    for baseline in baselines:
        few = {"steps": 10} if "steps" in options else {}
        metric = get(name)(**few, **({"baseline": baseline} if "baseline" in options else {}))
        values = torch.stack([Case.of(scene, quarter).measure(metric) for quarter in quarters])
        sign = 1 if metric.better == "higher" else -1
        assert (sign * values[0] > sign * values[1:]).all(), (baseline, values)


def test_squares_go_as_one():
    case = linear_case()
    maps = nn.functional.avg_pool2d(case.maps[:, None], 4)[:, 0]
    curve = case.removal([0, 1 / 9, 2 / 9], "zero", region=4)
    squares = maps.flatten(1).argsort(dim=1, descending=True)[:, :2].tolist()
    for i, (first, second) in enumerate(squares):
        x = case.scene.inputs[i].clone()
        for gone, expected in zip((first, second), curve[1:, i], strict=True):
            y, z = gone // 3 * 4, gone % 3 * 4
            x[:, y : y + 4, z : z + 4] = 0
            torch.testing.assert_close(case.scene.network(x[None])[0, 0].detach(), expected)


# ---- the picture seen through its map


def test_what_is_seen_through_the_map_is_what_multiplying_gives():
    torch.manual_seed(0)
    network, x = Plain().eval(), pictures(4)
    case = grad_cam_case(network, x)
    y, seen = case.scores, network(x * case.seen[:, None]).softmax(dim=1).detach()
    o = seen.gather(1, network(x).argmax(dim=1)[:, None])[:, 0]
    for name, expected in {
        "cam_mult_image": o - y,
        "average_drop": (y - o).clamp(min=0) / y,
        "average_increase": (o > y).float(),
        "average_gain": (o - y).clamp(min=0) / (1 - y),
    }.items():
        torch.testing.assert_close(case.measure(name), expected, msg=name)
    again = case.explain(x * case.seen[:, None])
    pairs = [torch.stack([a.flatten(), b.flatten()]) for a, b in zip(case.seen, _shown(again), strict=True)]
    coherence = torch.stack([torch.corrcoef(pair)[0, 1] for pair in pairs]) / 2 + 0.5
    torch.testing.assert_close(case.measure("coherence"), coherence)
    torch.testing.assert_close(case.measure("complexity"), case.seen.mean(dim=(1, 2)))
    parts = torch.stack([coherence, 1 - case.seen.mean(dim=(1, 2)), 1 - (y - o).clamp(min=0) / y])
    torch.testing.assert_close(case.measure("adcc"), 3 / (1 / parts).sum(dim=0), rtol=1e-4, atol=1e-6)


def _shown(raw):
    large = nn.functional.interpolate(raw.clamp(min=0)[:, None], (12, 12), mode="bilinear", align_corners=False)[:, 0]
    return large / raw.amax(dim=(1, 2), keepdim=True)


def test_a_map_of_ones_loses_nothing_and_gains_nothing():
    case = linear_case("probability")
    ones = case.with_maps(torch.ones_like(case.maps))
    assert ones.measure("average_drop").abs().max() < 1e-12
    assert ones.measure("average_increase").tolist() == [0, 0, 0]
    assert ones.measure("complexity").tolist() == [1, 1, 1]


def test_scores_are_probabilities_unless_asked_otherwise():
    assert REGISTRY["deletion"].range == (0, 1)
    network, x = Linear(), noise()
    logit, probability = (
        Case.of(Scene.of(network, x, 0, scale=scale), network.attribution(x)).measure("deletion")
        for scale in ("logit", "probability")
    )
    assert not torch.allclose(logit, probability)
