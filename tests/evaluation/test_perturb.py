"""How pixels are taken away: the order, what takes their place, and in-painting."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limelight.errors import MetricError
from limelight.evaluation.imputation import STENCIL, noisy_linear
from limelight.evaluation.perturb import BASELINES, blurred, fill, ranks
from tests.evaluation.worlds import noise

# ---- the order


def test_the_highest_goes_first():
    maps = torch.tensor([[[0.0, 3.0], [2.0, 1.0]]])
    assert ranks(maps, (2, 2)).tolist() == [[[3, 0], [1, 2]]]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_every_pixel_goes_once(rows, columns, region, seed):
    maps = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(seed))
    found = ranks(maps, (rows, columns), region)
    parts = -(-rows // region) * -(-columns // region)
    for each in found:
        assert each.shape == (rows, columns)
        assert each.unique().tolist() == list(range(parts))


def test_a_region_is_ranked_by_its_mean_and_goes_as_one():
    maps = torch.zeros(1, 5, 5)
    maps[0, 0, 0] = 1.0  # a quarter of it is the mean of its square
    maps[0, 4, 4] = 0.5  # a square of one pixel, cut off by the border
    found = ranks(maps, (5, 5), region=2)[0]
    assert found[4, 4] == 0
    assert (found[:2, :2] == 1).all()


def test_ties_are_broken_without_favour():
    """A constant map takes pixels from all over, and an order that depends on nothing but the number of pixels."""
    found = ranks(torch.zeros(2, 7, 7), (40, 40))
    assert torch.equal(found[0], found[1])
    first = (found[0] < 160).nonzero().double()
    assert (first.mean(dim=0) - 19.5).abs().max() < 3
    assert first.std(dim=0).min() > 9


def test_a_map_that_is_not_finite_is_refused():
    with pytest.raises(MetricError, match="no order"):
        ranks(torch.full((1, 2, 2), torch.nan), (4, 4))


# ---- what takes their place


@pytest.mark.parametrize("baseline", BASELINES)
def test_what_stays_is_untouched_and_what_goes_is_replaced(baseline):
    x = noise()
    removed = torch.rand(2, 3, 12, 12) < 0.5
    found = fill(x, baseline)(removed)
    kept = ~removed[:, :, None].expand_as(found)
    assert torch.equal(found[kept], x.expand(2, -1, -1, -1, -1)[kept])
    assert (found != x)[~kept].float().mean() > 0.99
    assert found.isfinite().all()


@pytest.mark.parametrize("baseline", BASELINES)
def test_a_picture_alone_is_the_picture_in_a_batch(baseline):
    x, removed = noise(), torch.rand(1, 3, 12, 12) < 0.5
    torch.testing.assert_close(fill(x[1:2], baseline)(removed[:, 1:2])[0, 0], fill(x, baseline)(removed)[0, 1])


def test_an_unknown_baseline_is_refused():
    with pytest.raises(MetricError, match="no baseline is called 'black'; there are blur"):
        fill(noise(), "black")


def test_blur_keeps_a_constant_and_the_mean_of_what_lies_inside():
    x = torch.zeros(1, 3, 31, 31, dtype=torch.float64)
    torch.testing.assert_close(blurred(x + 2, 3.0), x + 2)
    x[:, :, 15, 15] = 1
    spot = blurred(x, 2.0)
    torch.testing.assert_close(spot.sum(dim=(2, 3)), torch.ones(1, 3).double())
    torch.testing.assert_close(spot, spot.transpose(2, 3))


# ---- in-painting


def test_removed_pixels_solve_roads_equations():
    """Each removed pixel is the weighted mean of its neighbours, checked against a dense solution."""
    x, removed = noise(2, 9), torch.rand(3, 2, 9, 9) < 0.6
    found = noisy_linear(x, removed, noise=0, tolerance=1e-10)
    for few in range(3):
        for i in range(2):
            torch.testing.assert_close(found[few, i], _dense(x[i], removed[few, i]), rtol=0, atol=1e-6)


def _dense(image, removed):
    rows, columns = removed.shape
    system, right = torch.eye(rows * columns).double(), image.flatten(1).T.clone()
    for y, x in removed.nonzero().tolist():
        at, total = y * columns + x, 0.0
        system[at], right[at] = 0, 0
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                if (dy or dx) and 0 <= y + dy < rows and 0 <= x + dx < columns:
                    system[at, (y + dy) * columns + x + dx] -= STENCIL[dy + 1][dx + 1]
                    total += STENCIL[dy + 1][dx + 1]
        system[at, at] = total
    return torch.linalg.solve(system, right).T.view_as(image)


def test_a_ramp_is_guessed_from_its_border():
    """The solution is smooth: inside a hole in a ramp, the ramp."""
    ramp = torch.arange(20.0).expand(1, 3, 20, 20)
    removed = torch.zeros(1, 1, 20, 20, dtype=torch.bool)
    removed[..., 5:15, 5:15] = True
    torch.testing.assert_close(noisy_linear(ramp, removed, noise=0)[0], ramp, atol=1e-2, rtol=0)


def test_with_nothing_left_the_mean_colour_is_guessed():
    x = noise()
    found = noisy_linear(x, torch.ones(1, 3, 12, 12, dtype=torch.bool), noise=0)[0]
    torch.testing.assert_close(found, x.mean(dim=(2, 3), keepdim=True).expand_as(x))


def test_the_noise_is_as_asked_and_the_same_each_time():
    x, removed = noise(), torch.ones(1, 3, 12, 12, dtype=torch.bool)
    quiet, loud = (noisy_linear(x, removed, noise=std) for std in (0.0, 0.1))
    assert abs(float((loud - quiet).std()) - 0.1) < 0.02
    assert torch.equal(loud, noisy_linear(x, removed, noise=0.1))
