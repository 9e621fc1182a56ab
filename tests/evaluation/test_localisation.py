"""Where a map falls: each metric against its definition written out, and what is known to come out."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label
from sklearn.metrics import average_precision_score

from limelight.errors import MetricError
from limelight.evaluation import boxes as boxing
from limelight.evaluation import localisation as located
from tests.evaluation.worlds import square

MASKS = square(2, (20, 30), slice(4, 10), slice(6, 18))
INSIDE = MASKS.float()
BOX = [torch.tensor([[6.0, 4.0, 18.0, 10.0]])] * 2
AREA = 6 * 12 / 600
SHARES = ["energy_pointing", "relevance_mass", "attribution_localisation", "focus", "relevance_rank"]


def maps(seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 20, 30, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", [*SHARES, "pixel_average_precision"])
def test_the_mask_itself_is_best_possible_and_a_constant_map_is_chance(name):
    metric = getattr(located, name)
    torch.testing.assert_close(metric(INSIDE, MASKS), torch.ones(2))
    torch.testing.assert_close(metric(torch.ones_like(INSIDE), MASKS), torch.full((2,), AREA))
    torch.testing.assert_close(metric(torch.zeros_like(INSIDE), MASKS), torch.full((2,), AREA))


@pytest.mark.parametrize("name", SHARES[:4])
def test_a_share_is_the_sum_inside_over_the_sum(name):
    m = maps()
    counted = m.abs() if name == "relevance_mass" else m.clamp(min=0)
    given_map = m.clamp(min=0) if name == "energy_pointing" else m  # that one is of the shown map
    expected = torch.stack([c[k].sum() / c.sum() for c, k in zip(counted, MASKS, strict=True)])
    torch.testing.assert_close(getattr(located, name)(given_map, MASKS), expected)


def test_ranks_are_counted_at_the_masks_size_and_at_k():
    m = maps()
    for count, found in [(72, located.relevance_rank(m, MASKS)), (50, located.top_k(m, MASKS, k=50))]:
        best = m.flatten(1).topk(count, dim=1).indices
        torch.testing.assert_close(found, MASKS.flatten(1).gather(1, best).float().mean(dim=1))
    assert located.top_k(m, MASKS, k=10**6).tolist() == pytest.approx([AREA, AREA])


def test_weighted_attribution_localisation_is_one_by_chance():
    torch.testing.assert_close(
        located.attribution_localisation(torch.ones_like(INSIDE), MASKS, weighted=True), torch.ones(2)
    )


def test_average_precision_is_scikit_learns():
    m = maps().round(decimals=1)  # with ties
    pairs = zip(MASKS.flatten(1).numpy(), m.flatten(1).numpy(), strict=True)
    expected = [average_precision_score(mask, values) for mask, values in pairs]
    assert located.pixel_average_precision(m, MASKS).tolist() == pytest.approx(expected, abs=1e-6)
    pooled = average_precision_score(MASKS.flatten().numpy(), m.flatten().numpy())
    assert float(located.pooled_average_precision(m, MASKS)) == pytest.approx(pooled, abs=1e-6)


# ---- pointing


def test_pointing_has_a_tolerance_in_pixels():
    peak = torch.zeros(2, 20, 30)
    peak[0, 6, 20] = peak[1, 13, 21] = 1.0  # 3 columns beside the mask; 4 rows and 4 columns
    for tolerance, hits in [(0, [0, 0]), (2.9, [0, 0]), (3, [1, 0]), (5.65, [1, 0]), (5.66, [1, 1])]:
        assert located.pointing(peak, MASKS, tolerance=tolerance).tolist() == hits


def test_pointing_sees_a_coarse_maps_peak_at_its_cells_centre():
    coarse = torch.zeros(2, 2, 3)
    coarse[:, 0, 1] = 1.0  # its centre is at row 5, column 15
    assert located.pointing(coarse, MASKS, tolerance=0).tolist() == [1, 1]
    coarse[:, 1, 2] = 2.0  # row 15, column 25
    assert located.pointing(coarse, MASKS, tolerance=0).tolist() == [0, 0]


def test_tied_peaks_point_as_well_as_chance():
    torch.testing.assert_close(located.pointing(torch.ones(2, 20, 30), MASKS, tolerance=0), torch.full((2,), AREA))


def test_growing_a_mask_reaches_by_distance():
    mask = square(1, (15, 15), slice(7, 8), slice(7, 8))
    y, x = torch.meshgrid(torch.arange(15), torch.arange(15), indexing="ij")
    for by in (0, 1, 2.5, 4):
        assert torch.equal(located.grown(mask, by)[0], (y - 7) ** 2 + (x - 7) ** 2 <= by**2)


def test_the_difficult_and_the_off_centre_part():
    small, large = square(1, (20, 20), slice(0, 5), slice(0, 5)), square(1, (20, 20), slice(0, 20), slice(0, 11))
    masks = torch.cat([small, small, large, large])
    assert located.difficult(masks, torch.tensor([True, False, True, False])).tolist() == [True, False, False, False]
    assert located.off_centre(masks).tolist() == [True, True, False, False]


# ---- boxes


@given(st.integers(0, 999), st.floats(0.2, 0.8))
@settings(max_examples=40, deadline=None)
def test_connected_parts_are_scikit_images(seed, share):
    on = torch.rand(2, 13, 17, generator=torch.Generator().manual_seed(seed)) < share
    for found, each in zip(boxing.components(on), on, strict=True):
        expected = torch.from_numpy(label(each.numpy(), connectivity=2))
        pairs = {(int(a), int(b)) for a, b in zip(found.flatten(), expected.flatten(), strict=True)}
        assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs), "the same parts by other numbers"


def test_a_spiral_is_one_part():
    on = torch.zeros(1, 41, 41, dtype=torch.bool)
    for i in range(0, 20, 2):
        on[0, i, i : 41 - i] = on[0, i : 41 - i, 40 - i] = on[0, 40 - i, i : 41 - i] = True
        on[0, i + 2 : 41 - i, i] = True
        on[0, i + 2, i : i + 3] = True
    assert len(boxing.components(on)[on].unique()) == 1


def test_the_box_is_around_the_largest_part_above_the_threshold():
    m = torch.zeros(2, 20, 30)
    m[0, 4:10, 6:18] = 0.2
    m[0, 15:17, 2:4] = 1.0
    m[0, 0, 29] = 0.14
    assert boxing.boxes_from_maps(m)[0].tolist() == [6, 4, 18, 10]
    assert boxing.boxes_from_maps(m, 0.25)[0].tolist() == [2, 15, 4, 17]
    assert boxing.boxes_from_maps(m)[1].isnan().all()
    assert located.box_iou(m, BOX).tolist() == [1, 0]
    assert located.localisation_error(m, BOX).tolist() == [0, 1]
    assert sorted(boxing.all_boxes(m[0], 0.15).tolist()) == [[2, 15, 4, 17], [6, 4, 18, 10]]
    assert boxing.all_boxes(m[1], 0.15).shape == (0, 4)
    assert located.iou_sweep(m, BOX, [0.15], every_part=True).tolist() == [[1, 0]]


def test_the_best_of_several_boxes_counts():
    m = torch.zeros(1, 20, 30)
    m[0, :10, :10] = 1
    own = [torch.tensor([[20.0, 0, 30, 10], [0, 0, 10, 20]])]
    assert located.box_iou(m, own).tolist() == [0.5]


def test_boxes_around_masks_and_masks_of_boxes():
    assert torch.equal(boxing.around(MASKS), torch.cat(BOX))
    assert torch.equal(boxing.rasterised(BOX[0], (20, 30)), MASKS[0])
    thin = boxing.rasterised(torch.tensor([[3.1, 0.0, 3.2, 20.0]]), (20, 30))
    assert thin.sum() == 20
    assert thin[:, 2:4].any(dim=0).sum() == 1


def test_intersection_over_union():
    a = torch.tensor([[0.0, 0, 4, 4], [torch.nan] * 4])
    b = torch.tensor([[2.0, 2, 6, 6], [5, 5, 6, 6], [0, 0, 4, 2]])
    torch.testing.assert_close(boxing.iou(a, b), torch.tensor([[4 / 28, 0, 0.5], [0, 0, 0]]))


@pytest.mark.parametrize("bad", [[[0, 0, 0, 4]], [[-1, 0, 3, 4]], [[0, 0, 31, 4]], [[3, 3, 2, 4]], [], [[1, 2, 3]]])
def test_boxes_that_are_none_are_refused(bad):
    with pytest.raises(MetricError, match="box"):
        boxing.check_boxes(torch.tensor(bad, dtype=torch.float32), (20, 30))


def test_max_box_acc_v2_by_brute_force():
    """Over all connected parts and thresholds; the threshold is chosen for the whole set, for each overlap."""
    torch.manual_seed(0)
    seen = torch.nn.functional.interpolate(torch.rand(6, 1, 5, 5), (40, 40), mode="bilinear")[:, 0]
    own = [torch.tensor([[x, y, x + 12.0, y + 16.0]]) for x, y in torch.randint(0, 20, (6, 2)).tolist()]
    thresholds = [i / 10 for i in range(10)]
    sweep = located.iou_sweep(seen, own, thresholds, every_part=True)
    expected = []
    for overlap in (0.3, 0.5, 0.7):
        accuracies = []
        for threshold in thresholds:
            hits = []
            for one, truth in zip(seen, own, strict=True):
                parts = torch.from_numpy(label((one >= threshold * one.max()).numpy(), connectivity=2))
                found = torch.cat([boxing.around((parts == n)[None]) for n in range(1, int(parts.max()) + 1)])
                hits.append(bool((boxing.iou(found, truth) >= overlap).any()))
            accuracies.append(sum(hits) / len(hits))
        expected.append(max(accuracies))
    result = located.max_box_acc_v2(sweep)
    assert result.shape == (6,)
    assert float(result.mean()) == pytest.approx(sum(expected) / 3)
    assert 0 < float(result.mean()) < 1


def test_seeds_are_scored_with_their_background():
    seen = torch.zeros(2, 20, 30)
    seen[:, 4:10, 6:12] = 1.0  # half of the target
    expected = (0.5 + (600 - 72) / (600 - 36)) / 2
    torch.testing.assert_close(located.seed_iou(seen, MASKS), torch.full((2,), expected))
    torch.testing.assert_close(located.seed_iou(INSIDE, MASKS), torch.ones(2))
    assert math.isclose(float(located.seed_iou(seen * 0, MASKS)[0]), (1 - AREA) / 2, rel_tol=1e-6)
