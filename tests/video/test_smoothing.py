"""Smoothing in time: no lag, nothing across a cut, and between frames that were asked a straight way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limelight.video.film import Frame
from limelight.video.smoothing import Answer, Cuts, Shot, smoothed, weight
from tests.pictures import noise

RATE = 10


def answer(raw, index=0, probability=0.5) -> Answer:
    return Answer(index, f"class {index}", probability, 2 * probability, torch.as_tensor(raw, dtype=torch.float32))


def film(answers, shots=None) -> list[Shot]:
    frames = [Frame(n, n / RATE, n, np.zeros((2, 2, 3), np.uint8)) for n in range(len(answers))]
    return [Shot(frame, 0 if shots is None else shots[n], answers[n]) for n, frame in enumerate(frames)]


def blob(at: float) -> torch.Tensor:
    return torch.exp(-((torch.arange(40.0) - at) ** 2) / 8)[None]


def test_what_moves_evenly_is_shown_where_it_is():
    """The centre of a blob's smoothed map is the blob's own: it neither trails behind nor runs ahead."""
    places = [5 + 1.5 * n for n in range(20)]
    shown = list(smoothed(film([answer(blob(at)) for at in places]), radius=0.45))
    assert [shot.frame.number for shot, _ in shown] == list(range(20))
    for (_, one), at in list(zip(shown, places, strict=True))[5:-5]:
        centre = float((one.raw[0] * torch.arange(40.0)).sum() / one.raw.sum())
        assert centre == pytest.approx(at, abs=0.02)
        assert one.raw.max() < 0.99, "it is a mean of several"


def test_flicker_goes_and_the_mean_stays():
    answers = [answer(blob(20) * (1.5 if n % 2 else 0.5), probability=0.4 + 0.2 * (n % 2)) for n in range(20)]
    shown = [one for _, one in smoothed(film(answers), radius=0.5)][5:-5]
    assert all(abs(one.probability - 0.5) < 0.01 for one in shown)
    assert all(abs(float(one.raw.max()) - 1) < 0.05 for one in shown)


def test_nothing_is_averaged_across_a_cut():
    answers = [answer(blob(5), 0)] * 4 + [answer(blob(30), 1)] * 4
    for shot, one in smoothed(film(answers, [0] * 4 + [1] * 4), radius=1.0):
        torch.testing.assert_close(one.raw, blob(5 if shot.shot == 0 else 30))
        assert one.index == shot.shot


def test_the_class_is_the_one_with_most_weight_around_and_its_map_that_classes():
    """A single frame that says otherwise is not shown, nor does it blur the map."""
    answers = [answer(blob(30), 1) if n == 5 else answer(blob(10), 0) for n in range(11)]
    for _, one in smoothed(film(answers), radius=0.4):
        assert one.label == "class 0"
        torch.testing.assert_close(one.raw, blob(10))


@given(st.integers(1, 6), st.integers(1, 25))
def test_frames_that_were_not_asked_lie_between_those_that_were(every, count):
    """Any ``--every``, any length: each frame once, in order, and values between its neighbours'."""
    answers = [answer([[float(n)]], probability=n / 100) if n % every == 0 else None for n in range(count)]
    shown = list(smoothed(film(answers), radius=every / RATE))
    assert [shot.frame.number for shot, _ in shown] == list(range(count))
    for shot, one in shown:
        n, last = shot.frame.number, (count - 1) // every * every
        low, high = n // every * every, min(n // every * every + every, last)
        assert low - 1e-4 <= float(one.raw) <= max(high, low) + 1e-4
        if n % every == 0:
            assert float(one.raw) == pytest.approx(n, abs=1e-4)
            assert one.probability == pytest.approx(n / 100)


@given(st.floats(0.01, 10), st.floats(0, 1))
def test_two_neighbours_weigh_one_together(radius, part):
    assert weight(part * radius, radius) + weight((1 - part) * radius, radius) == pytest.approx(1)
    assert weight(-part * radius, radius) == weight(part * radius, radius)


def test_frames_are_not_waited_for_longer_than_the_radius():
    """A frame is given as soon as what may count for it is there: an endless film goes on."""
    taken = []

    def endless():
        for shot in film([answer(blob(3))] * 100):
            taken.append(shot)
            yield shot

    steps = smoothed(endless(), radius=0.3)
    next(steps)
    assert len(taken) == 4


def test_a_cut_is_seen_and_a_pan_is_not():
    wide = [np.asarray(noise(seed).resize((400, 90))) for seed in (1, 2)]
    frames = [wide[0][:, x : x + 160] for x in range(0, 80, 4)] + [wide[1][:, x : x + 160] for x in range(0, 80, 4)]
    cuts = Cuts()
    assert [n for n, pixels in enumerate(frames) if cuts.begins(pixels)] == [0, 20]
