"""looks.py, gaze.py and failures.py: where maps fall is measured where they fall."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from limelight.studies import failures, gaze, resting
from limelight.studies.failures import EVERYWHERE, NOWHERE, where
from limelight.studies.looks import CELLS, CONTRAST, COUNTER, LABEL, PREDICTED, Looks, Sample, look, share
from limelight.studies.study import drawn
from limelight.training import Picture

ALL = np.ones((CELLS, CELLS))


def spot(row: float, column: float, size: int = 6) -> np.ndarray:
    """A map that is all in one place, given as shares of the side."""
    heat = np.zeros((CELLS, CELLS))
    y, x = round(row * (CELLS - size)), round(column * (CELLS - size))
    heat[y : y + size, x : x + size] = 1
    return heat


def made(labels, probabilities) -> Sample:
    pictures = [Picture(path=None, label=label) for label in labels]  # type: ignore[arg-type]
    return Sample(pictures, [str(i) for i in range(len(labels))], ("a", "b", "c"), np.array(probabilities))


def test_the_rival_is_the_true_class_of_a_mistake_and_the_runner_up_otherwise():
    sample = made([0, 1, 2, 0], [[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.2, 0.4, 0.4]])
    assert sample.predicted.tolist() == [0, 0, 0, 1]
    assert sample.right.tolist() == [True, False, False, False]
    assert sample.rivals.tolist() == [1, 1, 2, 0]


@given(st.lists(st.floats(0.05, 1), min_size=3, max_size=3), st.integers(0, 2))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_rival_is_never_what_was_predicted(weights, label):
    sample = made([label], [np.array(weights) / sum(weights)])
    assert sample.rivals[0] != sample.predicted[0]


def test_the_regions_cover_what_they_are_said_to():
    areas = {name: region.mean() for name, region in gaze.regions().items()}
    assert areas == pytest.approx({gaze.MIDDLE: 0.25, gaze.BORDER: 0.4375, gaze.CORNERS: 0.25})
    for region in gaze.regions().values():
        assert np.array_equal(region, region.T)
        assert np.array_equal(region, region[::-1])


@pytest.mark.parametrize(
    ("place", "held"),
    [((0.5, 0.5), (1, 0, 0)), ((0, 0), (0, 1, 1)), ((1, 0), (0, 1, 1)), ((0.5, 0), (0, 1, 0)), ((0.1, 0.9), (0, 1, 1))],
)
def test_a_spot_falls_where_it_is(place, held):
    maps = torch.from_numpy(spot(*place, size=2))[None]
    shares = [share(maps, region)[0] for region in gaze.regions().values()]
    assert shares == pytest.approx(held)


def test_an_even_map_falls_everywhere_as_its_area_says_and_an_empty_one_nowhere():
    maps = torch.stack([torch.ones(CELLS, CELLS), torch.zeros(CELLS, CELLS)])
    even, empty = share(maps, gaze.regions()[gaze.CORNERS])
    assert even == pytest.approx(0.25)
    assert np.isnan(empty)


def test_four_maps_are_kept_of_each_picture(looks):
    """The contrast is the difference of the two classes' raw maps, and the counter map the negative."""
    raw = looks.explanation.raw
    assert raw.shape[1] == 4
    torch.testing.assert_close(raw[:, COUNTER], -raw[:, PREDICTED])
    wrong = torch.from_numpy(~looks.sample.right)
    assert wrong.any()
    torch.testing.assert_close(raw[wrong, CONTRAST], raw[wrong, PREDICTED] - raw[wrong, LABEL], atol=1e-4, rtol=1e-4)


def test_masks_are_seen_as_the_network_sees_the_picture(looks):
    """Squares of 24 x 24 in pictures of 80 x 72, of which a crop of 63 x 63 is seen."""
    assert looks.has_mask.all()
    for i, picture in enumerate(looks.sample.pictures):
        x0, y0, x1, y1 = looks.explanation.views[i].box
        mask = np.asarray(Image.open(picture.mask)) > 0
        inside = mask[round(y0) : round(y1), round(x0) : round(x1)]
        assert looks.on_object[i].mean() == pytest.approx(inside.mean(), abs=0.01)


def test_masks_are_seen_in_the_middle_of_the_border_of_a_letter_boxed_picture(model, sample):
    padded = replace(model, preprocessing=replace(model.preprocessing, crop=1.0, crop_mode="border"))
    looks = look(padded, sample.of([0, 1]))
    for i, filled in enumerate(looks.on_object):
        assert filled.mean() == pytest.approx(24 * 24 / 80**2, abs=0.01)
        rows = np.flatnonzero((np.asarray(Image.open(looks.sample.pictures[i].mask)) > 0).any(axis=1))
        seen = np.flatnonzero((filled > 0.5).any(axis=1))
        assert seen.mean() + 0.5 == pytest.approx((rows.mean() + 0.5 + 4) / 80 * CELLS, abs=1)


def test_pictures_without_masks_are_left_out_of_the_objects_share(model, sample):
    mixed = Sample(
        [*sample.pictures[:3], *(Picture(each.path, each.label) for each in sample.pictures[3:6])],
        sample.names[:6],
        sample.classes,
        sample.probabilities[:6],
    )
    looks = look(model, mixed)
    assert looks.has_mask.tolist() == [True] * 3 + [False] * 3
    on_object = gaze.gaze(looks).share(gaze.OBJECT)
    assert on_object is None or on_object.pictures <= 3


def test_a_coarse_map_can_not_lie_on_the_object_alone(looks):
    """As coarse as its grid is: a perfect map has more there than an even one, and less than all."""
    on_object = gaze.gaze(looks).share(gaze.OBJECT)
    assert on_object.area < on_object.ceiling < 1
    whole = Looks(looks.sample, looks.explanation, np.ones_like(looks.on_object))
    assert gaze.gaze(whole).share(gaze.OBJECT).ceiling == pytest.approx(1)


def test_a_gaze_says_what_it_rests_on(looks):
    overall = gaze.gaze(looks)
    parts = [gaze.gaze(looks, only) for only in range(2)]
    assert overall.pictures + overall.empty == len(looks.sample)
    assert sum(part.pictures for part in parts) == overall.pictures
    assert overall.mean_map.sum() == pytest.approx(1)
    for each in overall.shares:
        assert each.interval[0] <= each.mean <= each.interval[1]


class Reader(nn.Module):
    """Says "red" by how much redder than blue a window of the picture is."""

    def __init__(self, window: slice):
        super().__init__()
        self.window, self.unused = window, nn.Parameter(torch.zeros(()))

    def forward(self, x):
        seen = x[:, :, :, self.window]
        redness = 50 * (seen[:, 0] - seen[:, 2]).mean(dim=(1, 2))
        return torch.stack([-redness, redness], 1)


def halves(model, looks, window: slice) -> resting.Resting:
    """What a network rests on that sees one part only, of pictures whose object is the left half."""
    pixels = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.2
    pixels[:, 0] += 0.7
    on_object = np.zeros((4, CELLS, CELLS))
    on_object[:, :, : CELLS // 2] = 1
    shown = SimpleNamespace(
        on_object=on_object,
        has_mask=np.ones(4, dtype=bool),
        sample=SimpleNamespace(of=lambda numbers: numbers, predicted=np.ones(4, dtype=int)),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resting, "pixels_of", lambda model, numbers: pixels[numbers])
        patch.setattr(resting, "blurred", torch.zeros_like)
        return resting.resting(replace(model, network=Reader(window)), shown)


@pytest.mark.parametrize(("window", "outside"), [(slice(0, 28), 0), (slice(36, 64), 1), (slice(0, 64), 0.5)])
def test_what_an_answer_rests_on_is_what_it_loses(model, looks, window, outside):
    found = halves(model, looks, window)
    assert found.outside == pytest.approx(outside, abs=0.02)
    assert found.interval[0] <= found.outside <= found.interval[1]
    assert found.pictures == 4


def test_what_answers_rest_on_is_measured_of_real_pictures(model, looks):
    found = resting.resting(model, looks, most=6)
    assert found.pictures == 6
    assert found.interval is None or 0 <= found.interval[0] <= found.interval[1] <= 1
    assert resting.resting(model, Looks(looks.sample, looks.explanation)) is None


def test_the_best_are_right_and_surest_first(looks):
    best = gaze.best(looks, 1, 5)
    sure = looks.sample.confidence[best]
    assert looks.sample.right[best].all()
    assert (looks.sample.labels[best] == 1).all()
    assert (np.diff(sure) <= 0).all()


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ((0.5, 0.5), "the middle"),
        ((0, 0), "the top left corner"),
        ((1, 1), "the bottom right corner"),
        ((0, 0.5), "the top edge"),
        ((0.5, 1), "the right side"),
    ],
)
def test_where_a_map_lies_in_words(place, name):
    assert where(spot(*place)[None]) == [name]


def test_maps_that_are_everywhere_or_empty_are_said_to_be():
    assert where(np.stack([ALL, 0 * ALL])) == [EVERYWHERE, NOWHERE]


def test_mistakes_are_counted_where_they_were_looked_for():
    """Wrong twice of four at the corner, never of two in the middle."""
    maps = torch.from_numpy(np.stack([spot(0, 0)] * 4 + [spot(0.5, 0.5)] * 2))
    sample = made(
        [0, 0, 1, 1, 0, 0], [[0.9, 0.1, 0], [0.8, 0.2, 0], [0.6, 0.4, 0], [0.7, 0.3, 0]] + [[0.9, 0.1, 0]] * 2
    )
    looks = SimpleNamespace(sample=sample, maps=lambda target: maps)
    corner, middle = failures.places(looks)  # type: ignore[arg-type]
    assert (corner.name, corner.numbers, corner.wrong) == ("the top left corner", (0, 1, 2, 3), (3, 2))
    assert (middle.name, middle.rate) == ("the middle", 0)
    assert corner.interval[0] < corner.rate == 0.5 < corner.interval[1]


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.integers(1, 60), st.integers(0, 9))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_drawn_sample_has_of_each_class_its_share(labels, most, seed):
    sample = made(labels, [[0.4, 0.3, 0.3]] * len(labels))
    chosen = drawn(sample, most, seed)
    assert len(chosen) == len(set(chosen)) == min(most, len(labels))
    assert chosen == sorted(chosen)
    for label in set(labels):
        expected = labels.count(label) * len(chosen) / len(labels)
        assert abs(sum(labels[i] == label for i in chosen) - expected) <= 1
