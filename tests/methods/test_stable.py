"""stable: an estimate says how stable it is, and stops when that is enough; each image for itself."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import limelight as ll
from limelight.errors import MethodError
from limelight.methods.stable import Estimate, Moments, stability_of, until_stable
from tests.networks import Plain, pictures

pytestmark = pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")

SAMPLED = {
    "rise": 400, "shapcam": 40, "smoothgrad": 64, "smoothgradsquared": 64, "vargrad": 64, "gradientshap": 64,
    "expectedgradients": 64, "lime": 512, "kernelshap": 512, "hsic": 512, "sobol": 64,
}  # fmt: skip
"""Methods that sample and can stop, and the samples that are more than enough here."""
sampled = pytest.mark.parametrize("name", SAMPLED)
LOOKED_AT = {"rise": 100, "shapcam": 4, "lime": 64, "kernelshap": 64, "hsic": 64}
"""After how many more samples it is looked, where that is not 8."""
SETTINGS = {name: {"segments": 4} for name in ("lime", "kernelshap", "hsic", "sobol")}


def method(name: str, **options) -> ll.methods.Method:
    count = {"shapcam": "permutations"}.get(name, "samples")
    return ll.methods.get(name)(**{count: SAMPLED[name], **SETTINGS.get(name, {}), **options})


def explained(name: str, x=None, **options) -> ll.Explanation:
    torch.manual_seed(0)
    layer = "cut" if name == "shapcam" else None
    return ll.explain(Plain().eval(), pictures() if x is None else x, ll.top(2), method(name, **options), layer)


@sampled
def test_it_is_told_for_each_image_and_target(name):
    stability = explained(name).stability
    assert stability.shape == (2, 2)
    assert ((stability <= 1 + 1e-6) & (stability > 0)).all()


@sampled
def test_asked_for_little_it_stops_early_and_is_as_stable_as_asked(name, monkeypatch):
    done = []
    full = ll.methods.stable.stability_of
    monkeypatch.setattr("limelight.methods.stable.stability_of", lambda *halves: done.append(1) or full(*halves))
    early = explained(name, stable=0.5)
    assert (early.stability >= 0.5).all()
    most = 2 * SAMPLED[name] / LOOKED_AT.get(name, 8)
    assert len(done) < most
    assert not torch.equal(early.raw, explained(name).raw)


@sampled
def test_more_samples_are_more_stable_and_the_map_agrees_as_well_as_it_says(name):
    few = {"shapcam": {"permutations": 4}}.get(name, {"samples": 16})
    assert explained(name, **few).stability.mean() < explained(name).stability.mean()
    one, other = (explained(name, seed=seed) for seed in (1, 2))
    maps = zip(one.raw.flatten(0, 1).flatten(1), other.raw.flatten(0, 1).flatten(1), strict=True)
    agreement = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in maps])
    assert (agreement - one.stability.flatten()).abs().max() < 0.35


@sampled
def test_an_image_stops_for_itself_whatever_its_neighbour_needs(name):
    x = torch.cat([pictures(1), 1e-3 * pictures(1, seed=5)])
    together = explained(name, x, stable=0.7)
    alone = explained(name, x[:1], stable=0.7)
    torch.testing.assert_close(together.raw[:1], alone.raw, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(together.stability[:1], alone.stability, rtol=1e-3, atol=1e-4)


@sampled
@pytest.mark.parametrize("stable", [0.0, 1.0, -1, 2])
def test_a_stability_that_is_none_is_refused(name, stable):
    with pytest.raises(MethodError, match="between 0 and 1"):
        explained(name, stable=stable)


def test_other_methods_tell_none():
    e = ll.explain(Plain().eval(), pictures())
    assert e.stability is None
    assert "stability" not in e.records()[0]["targets"][0]


def test_it_is_kept_when_explanations_are_joined_and_cut():
    torch.manual_seed(0)
    e = ll.explain(Plain().eval(), pictures(3), 0, method("rise", samples=32), batch_size=2)
    assert e.stability.shape == (3, 1)
    assert torch.equal(e[1].stability, e.stability[1:2])
    assert e.records()[2]["targets"][0]["stability"] == pytest.approx(float(e.stability[2, 0]), abs=1e-4)


def test_equal_halves_are_perfectly_stable_and_opposite_ones_not():
    half = torch.randn(2, 5, 5)
    torch.testing.assert_close(stability_of(half, 3 * half + 1), torch.ones(2))
    assert (stability_of(half, -half) <= -1).all()
    assert stability_of(torch.ones(1, 4), torch.ones(1, 4)).isfinite().all()


def test_the_first_stable_estimate_of_each_image_is_kept():
    random = torch.randn(2, 9)
    other = torch.randn(2, 9)
    good, bad = torch.tensor([[True], [False]]), torch.tensor([[False], [True]])
    steps = [
        Estimate(torch.full((2, 9), 1.0), (random, torch.where(good, random, other))),
        Estimate(torch.full((2, 9), 2.0), (random, torch.where(bad, random, other))),
        Estimate(torch.full((2, 9), 3.0), (random, random)),
    ]
    assert until_stable(iter(steps), 0.999)[:, 0].tolist() == [1.0, 2.0]
    assert until_stable(iter(steps), None)[:, 0].tolist() == [3.0, 3.0]


@given(values=st.lists(st.floats(-100, 100), min_size=2, max_size=20), split=st.integers(0, 20))
@settings(deadline=None)
def test_moments_of_two_parts_are_those_of_the_whole(values, split):
    x = torch.tensor(values, dtype=torch.float64)
    one, other = Moments(), Moments()
    for number, value in enumerate(x):
        (one if number < max(1, split) else other).add(value)
    joined = one.joined(other)
    torch.testing.assert_close(joined.value("smoothgrad"), x.mean(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(joined.value("vargrad"), x.var(correction=0), rtol=1e-9, atol=1e-7)
    torch.testing.assert_close(joined.value("smoothgrad_sq"), x.square().mean(), rtol=1e-9, atol=1e-7)


def test_progress_inside_a_long_method_reaches_who_looks(monkeypatch):
    heard = []

    @contextmanager
    def gauge(shown):
        assert shown
        yield lambda *told: heard.append(told)

    monkeypatch.setattr("limelight.explainer.gauge", gauge)
    monkeypatch.setattr("limelight.head.BUDGET", 2**18)  # so that not all samples fit at once
    ll.explain(Plain().eval(), pictures(), 0, method("rise"), progress=True)
    assert heard[-1] == ("RISE", 400, 400)
    assert len(heard) > 1
