"""heatmap.py: a cell's value is shown where the cell is, and a map never depends on its neighbours in a batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from limelight.errors import MethodError
from limelight.heatmap import fuse, place, rectify, rescale, resize, shown

sides = st.integers(1, 12)
quick = settings(max_examples=40, deadline=None, derandomize=True)


def maps(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(0, 99), sides, sides, st.integers(1, 40), st.integers(1, 40))
@quick
def test_resize_is_torchs_bilinear_interpolation_larger_and_smaller(seed, height, width, rows, columns):
    raw = maps(seed, 2, 3, height, width)
    expected = F.interpolate(raw, (rows, columns), mode="bilinear", align_corners=False)
    torch.testing.assert_close(resize(raw, (rows, columns)), expected)


def centre_of_mass(heat: torch.Tensor) -> tuple[float, float]:
    """x, y with a pixel's centre at .5."""
    y, x = torch.meshgrid(*(torch.arange(n) + 0.5 for n in heat.shape), indexing="ij")
    return float((heat * x).sum() / heat.sum()), float((heat * y).sum() / heat.sum())


@pytest.mark.parametrize("cell", [(1, 1), (3, 2), (5, 5)])
@pytest.mark.parametrize("stride", [4, 7, 32])
def test_an_impulse_lands_on_its_cells_receptive_centre(cell, stride):
    """Half-pixel centred: a stride of 32 puts cell (0, 0)'s centre at 16, not at 0."""
    row, column = cell
    impulse = torch.zeros(7, 7)
    impulse[row, column] = 1
    x, y = centre_of_mass(resize(impulse, (7 * stride, 7 * stride)))
    assert (x, y) == pytest.approx(((column + 0.5) * stride, (row + 0.5) * stride), abs=1e-3)


def test_an_impulse_lands_where_the_network_really_saw_it():
    """The cell a network answers from, for an input that is dark but for one patch, is where the map shows it."""
    network = torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.AvgPool2d(2))
    picture = torch.zeros(1, 1, 56, 56)
    picture[..., 16:24, 40:48] = 1  # cell (2, 5) of 7 x 7
    x, y = centre_of_mass(resize(network(picture)[0, 0], (56, 56)))
    assert (x, y) == pytest.approx((44, 20), abs=1e-3)


@given(
    st.integers(1, 5),
    st.integers(1, 5),
    st.floats(-30, 60),
    st.floats(-30, 60),
    st.floats(40, 120),
    st.floats(40, 120),
)
@quick
def test_an_impulse_lands_at_its_place_in_a_box_on_a_larger_photograph(row, column, x0, y0, width, height):
    """Wherever the crop was, also partly beyond the photograph; checked where the whole bump is on it."""
    grid = 7
    impulse = torch.zeros(grid, grid, dtype=torch.float64)
    impulse[row, column] = 1
    heat = place(impulse, (200, 220), (x0, y0, x0 + width, y0 + height))
    x, y = x0 + (column + 0.5) * width / grid, y0 + (row + 0.5) * height / grid
    reach_x, reach_y = width / grid, height / grid
    if reach_x <= x <= 220 - reach_x and reach_y <= y <= 200 - reach_y:
        assert centre_of_mass(heat) == pytest.approx((x, y), abs=0.6)
        assert heat.max() <= 1
        at = heat[int(y), int(x)]
        assert at >= heat.max() - 0.5 / reach_x - 0.5 / reach_y


def test_outside_the_box_is_zero_and_inside_is_the_map_resized():
    raw = maps(0, 3, 4)
    heat = place(raw, (20, 30), (6, 2, 26, 17))
    torch.testing.assert_close(heat[2:17, 6:26], resize(raw, (15, 20)))
    heat[2:17, 6:26] = 0
    assert not heat.any()


def test_a_box_beyond_the_picture_shows_its_middle():
    raw = maps(0, 3, 4)
    torch.testing.assert_close(place(raw, (20, 30), (-5, -10, 35, 30)), resize(raw, (40, 40))[10:30, 5:35])


@given(st.integers(0, 99), sides, sides, st.floats(1e-30, 1e30))
@quick
def test_rescaled_maps_are_in_0_to_1_with_1_at_their_peak(seed, height, width, scale):
    rescaled = rescale(rectify(maps(seed, 4, height, width) * scale))
    assert rescaled.min() >= 0
    for one, raw in zip(rescaled, maps(seed, 4, height, width), strict=True):
        assert one.max() == (1 if raw.max() > 0 else 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_tiniest_map_is_rescaled_too(dtype):
    tiny = torch.zeros(3, 3, dtype=dtype)
    tiny[1, 1] = torch.finfo(dtype).smallest_normal
    assert rescale(tiny)[1, 1] == 1


def test_a_map_of_zeros_stays_zero_beside_others():
    both = torch.stack([torch.zeros(3, 3), torch.eye(3)])
    assert torch.equal(rescale(both), both)


@given(st.integers(0, 99), st.sampled_from(["mean", "max", "product"]))
@quick
def test_a_shown_map_is_the_same_alone_and_in_a_batch(seed, how):
    layers = [maps(seed, 3, 2, 4, 4), maps(seed + 1, 3, 2, 7, 5) * 100]
    together = shown(layers, (12, 11), how=how)
    assert together.shape == (3, 2, 12, 11)
    assert together.min() >= 0
    assert together.max() <= 1 + 1e-12
    for i in range(3):
        for j in range(2):
            torch.testing.assert_close(shown([layer[i, j] for layer in layers], (12, 11), how=how), together[i, j])


def test_layers_weigh_the_same_whatever_their_scale():
    a, b = maps(0, 1, 1, 5, 5), maps(1, 1, 1, 5, 5)
    torch.testing.assert_close(shown([a, b * 1e6], (9, 9)), shown([a * 1e-6, b], (9, 9)))


@pytest.mark.parametrize(
    ("how", "expected"), [("mean", [0.75, 1.0, 0.25]), ("max", [1.0, 1.0, 0.5]), ("product", [0.5, 1.0, 0.0])]
)
def test_fusions_by_hand(how, expected):
    a, b = torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[0.5, 1.0, 0.5]])
    torch.testing.assert_close(fuse([a, b], how), torch.tensor([expected]))


def test_one_layer_is_not_rescaled_again():
    """A crop's map that peaks between pixels keeps its height."""
    one = torch.full((2, 2), 0.9)
    assert fuse([one]) is one


def test_an_unknown_fusion_is_refused():
    with pytest.raises(MethodError, match=r"'sum'.*mean, max, product"):
        fuse([torch.zeros(2, 2)] * 2, "sum")


def test_a_callers_autocast_does_not_coarsen_a_map():
    raw = torch.rand(7, 7)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(resize(raw, (50, 50)), resize(raw, (50, 50)))
        coarse = resize(raw, (50, 50))
    torch.testing.assert_close(coarse, resize(raw, (50, 50)))
    assert coarse.dtype == torch.float32
