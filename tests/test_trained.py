"""benchmarks/trained.py: networks trained for real look at what they are asked about, and less at what they are not."""

from __future__ import annotations

import pytest
import torch

trained = pytest.importorskip("benchmarks.trained", reason="a source distribution has no benchmarks")
looks = pytest.importorskip("benchmarks.looks")
scenes = pytest.importorskip("benchmarks.scenes")


@pytest.mark.slow
@pytest.mark.parametrize("task", trained.TASKS, ids=lambda task: task.__name__)
def test_a_trained_network_looks_at_what_it_is_asked_about(task):
    """Most of the map lies on it, and little on what was not asked about."""
    torch.manual_seed(0)
    facts, _ = task("development")
    assert facts["right"] > (0.7 if task is trained.counter else 0.6), "57 % of pictures have no beans"
    assert facts.get("error", 0.0) < 0.4, "a counter that always says none is off by 0.85"
    assert facts["on it"] > 0.6 > 3 * facts["area"]
    assert facts.get("on the others", 0.0) < 0.15
    assert facts["maps"] >= 60
    for kind in scenes.KINDS if task is trained.captioner else ():
        on, off, elsewhere = (
            facts[f"{kind}: {where}"] / area
            for where, area in (
                ("on it", facts[f"{kind}: area"]),
                ("on the others", facts[f"{kind}: others' area"]),
                ("elsewhere", 1 - facts[f"{kind}: area"] - facts[f"{kind}: others' area"]),
            )
        )
        assert on > 2 * max(off, elsewhere), f"the paper's captioning check, for {kind}"


def test_shares_are_of_the_map_s_sum():
    maps = torch.zeros(2, 8, 8)
    maps[0, 2:4, 2:4] = 1.0
    where = torch.zeros(2, 8, 8, dtype=torch.bool)
    where[:, 2:4, 2:3] = True
    shares = looks.share(maps, where)
    assert float(shares[0]) == 0.5 and bool(shares[1].isnan())
    assert int(looks.near(where, 1)[0].sum()) == 4 * 3


def test_a_caption_names_what_is_there():
    def said(counts, order):
        return " ".join(scenes.WORDS[i] for i in scenes.caption(counts, order) if i)

    assert said([2, 1, 0, 0], [0, 1]) == "rice and one bean" and said([0, 3, 0, 0], [1]) == "three beans"
    assert said([0, 0, 2, 1], [3, 2]) == "one leaf and two coins"


def test_scenes_know_where_their_things_are():
    """Counts, labels, boxes and densities are of the same things."""
    image, things, kinds, order = scenes._scene(5, 64)
    one = scenes.Scenes(torch.zeros(1, 3, 64, 64), torch.from_numpy(things)[None].long(), [kinds], [order])
    assert image.shape == (64, 64, 3) and len(order) == 2 and set(kinds) == set(order)
    for kind in range(len(scenes.KINDS)):
        assert float(one.density(kind, 8).sum()) == pytest.approx(float(one.counts()[0, kind]))
        assert bool((one.labels() == 1 + kind).any()) == (kind in order)
    for kind, x0, y0, x1, y1 in one.boxes()[0].int().tolist():
        assert bool((one.labels()[0, y0:y1, x0:x1] == 1 + kind).any())
