"""Is the map simple: where it is known what must come out."""

from __future__ import annotations

import math

import pytest
import torch

from limelight.evaluation import simplicity

EVEN, ONE = torch.ones(1, 10, 10), torch.zeros(1, 10, 10)
ONE[0, 3, 4] = -2.0


def test_the_gini_index_is_the_mean_difference():
    m = torch.randn(2, 5, 6)
    values = m.abs().flatten(1)
    apart = (values[:, :, None] - values[:, None]).abs().mean(dim=(1, 2))
    torch.testing.assert_close(simplicity.sparseness(m), apart / (2 * values.mean(dim=1)))
    assert simplicity.sparseness(EVEN).tolist() == pytest.approx([0], abs=1e-9)
    assert simplicity.sparseness(ONE).tolist() == pytest.approx([0.99])


def test_entropy_is_the_logarithm_of_how_many_share_the_map():
    assert simplicity.entropy(EVEN).tolist() == pytest.approx([math.log(100)])
    assert simplicity.entropy(ONE).tolist() == [0]


def test_effective_complexity_and_area_count_pixels():
    assert simplicity.effective_complexity(EVEN).tolist() == [100]
    assert simplicity.effective_complexity(ONE).tolist() == [1]
    m = torch.linspace(0, 1, 100).view(1, 10, 10)
    assert simplicity.area(m).tolist() == pytest.approx([0.5])
    assert simplicity.effective_complexity(m, threshold=0.25).tolist() == [75]


def test_a_map_of_zeros_has_no_extent():
    zeros = EVEN * 0
    for metric in (simplicity.sparseness, simplicity.entropy, simplicity.effective_complexity, simplicity.area):
        assert metric(zeros).tolist() == [0]
