"""The metrics judged: scenes whose true attribution is known, and which metric prefers it to worse maps."""

from __future__ import annotations

import pytest
import torch

from limelight.evaluation import get
from limelight.evaluation.judge import WORSE, RedReader, judged, scenes


def test_only_one_of_the_two_objects_decides():
    made, network = scenes(12), RedReader()
    assert not (made.deciding & made.idle).any()
    assert made.idle.flatten(1).float().mean(dim=1).std() > 0
    score = network(made.images)[:, 0]
    assert (score > 2).all()
    without = [torch.where(mask[:, None], torch.zeros(()), made.images) for mask in (made.deciding, made.idle)]
    torch.testing.assert_close(network(without[1])[:, 0], score)
    assert (network(without[0])[:, 0] < -1).all()


def test_scenes_are_the_same_each_time_and_others_by_another_seed():
    assert torch.equal(scenes(3).images, scenes(3).images)
    assert not torch.equal(scenes(3).images, scenes(3, seed=1).images)


def test_faithfulness_prefers_the_true_map_to_the_idle_objects_and_to_chance():
    """All that a metric of faithfulness is for. Preferring it to a map of both objects is more than most can."""
    few = [get(name)(steps=20, baseline="mean") for name in ("deletion", "insertion", "margin")]
    table = judged([*few, "comprehensiveness", "faithfulness_correlation", "mufidelity", "infidelity"], number=12)
    for name, row in table.items():
        assert set(row) == set(WORSE)
        for worse in ("idle object", "shifted by a quarter", "inverted", "random", "centre", "edges"):
            assert row[worse] > 0.9, (name, worse)


def test_what_can_not_tell_gets_a_half():
    """Complexity sees two objects of about one size; a metric that is the same for all maps can't tell any."""
    table = judged(["monotonicity", "pixel_ap"], number=6)
    assert set(table["monotonicity"].values()) <= {0.5, 0.0, 1.0}
    assert table["pixel_ap"]["idle object"] == 1.0
    assert judged([get("complexity")], number=12)["complexity"]["idle object"] == pytest.approx(0.5, abs=0.4)
