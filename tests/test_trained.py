"""benchmarks/trained.py: networks trained for real look at what they are asked about, and less at what they are not."""

from __future__ import annotations

import pytest
import torch

trained = pytest.importorskip("benchmarks.trained", reason="a source distribution has no benchmarks")


LEARNT = (trained.segmenter, trained.detector, trained.event, trained.lesion)
"""Those that learn their task in so few steps; docs/trained.md says what becomes of the others."""


@pytest.mark.slow
@pytest.mark.parametrize("task", LEARNT, ids=lambda task: task.__name__)
def test_a_trained_network_looks_at_what_it_is_asked_about(task):
    """Most of the map lies on it, and hardly any on what was not asked about."""
    torch.manual_seed(0)
    facts = task()
    assert facts["right"] > 0.5, "it must have learnt something"
    assert facts["on it"] > 0.6 > 3 * facts["of the area"]
    assert facts.get("on the other kind", 0.0) < 0.05


def test_shares_are_of_the_map_s_sum():
    maps = torch.zeros(2, 8, 8)
    maps[0, 2:4, 2:4] = 1.0
    where = torch.zeros(2, 8, 8, dtype=torch.bool)
    where[:, 2:4, 2:3] = True
    shares = trained.share(maps, where)
    assert float(shares[0]) == 0.5 and bool(shares[1].isnan())
    assert int(trained.near(where, 1)[0].sum()) == 4 * 3


def test_a_caption_names_what_is_there():
    def said(*counts):
        return " ".join(trained.WORDS[i] for i in trained.caption(counts) if i)

    assert said(2, 1) == "two rice and one beans" and said(0, 3) == "three beans" and said(1, 0) == "one rice"
