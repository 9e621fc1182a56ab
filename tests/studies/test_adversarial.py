"""adversarial.py: how far maps move, and the table of attacks beside their control."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from limelight.studies.adversarial import (
    FGSM,
    NOISE,
    PGD,
    STRENGTHS,
    TARGETED,
    TARGETED_STRENGTH,
    correlation,
    mean,
    overlap,
    robustness,
)
from limelight.studies.looks import Looks


def test_correlation_of_a_map_with_itself_its_negative_and_nothing():
    maps = torch.randn(3, 7, 7)
    torch.testing.assert_close(correlation(maps, maps * 2 + 1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(correlation(maps, -maps), -torch.ones(3, dtype=torch.float64))
    assert correlation(maps, torch.zeros(3, 7, 7)).isnan().all()


def test_correlation_is_numpys():
    one, other = torch.randn(4, 5, 5), torch.randn(4, 5, 5)
    expected = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(correlation(one, other), expected, rtol=1e-5)


def test_overlap_of_the_strongest_fifth():
    before = torch.arange(25.0).reshape(1, 5, 5)
    assert overlap(before, before) == 1
    assert overlap(before, before.flip(1, 2)) == 0
    moved = before.clone()
    moved[0, 4, 4], moved[0, 0, 0] = 0, 24
    assert overlap(before, moved).item() == pytest.approx(4 / 6)


def test_means_leave_out_what_is_not_known():
    assert mean(np.array([np.nan, 1.0, 1.0])) == {"mean": 1.0, "interval": [1.0, 1.0], "pictures": 2}
    assert mean(np.array([np.nan])) == {"mean": None, "interval": None, "pictures": 0}


@pytest.fixture(scope="module")
def found(model, looks):
    return robustness(model, looks, most=10, seed=3, examples=2)


def test_every_attack_has_its_control_on_the_same_pictures(found):
    kinds = [(attack.kind, attack.strength) for attack in found.attacks]
    for strength in STRENGTHS:
        assert {(FGSM, strength), (PGD, strength), (NOISE, strength)} <= set(kinds)
    assert {(TARGETED, TARGETED_STRENGTH), (NOISE, TARGETED_STRENGTH)} <= set(kinds)
    assert len(kinds) == len(set(kinds))
    assert {len(attack.flipped) for attack in found.attacks} == {10}


def test_only_what_was_right_is_attacked_and_the_order_is_the_samples(found, looks):
    assert looks.sample.right[list(found.numbers)].all()
    assert list(found.numbers) == sorted(found.numbers)


def test_attacks_turn_predictions_and_noise_of_their_size_does_not(found):
    strongest = max(STRENGTHS)
    assert found.find(PGD, strongest).flipped.mean() > 0.5
    assert found.find(NOISE, strongest).flipped.mean() < 0.2
    assert found.find(PGD, strongest).flipped.sum() >= found.find(PGD, min(STRENGTHS)).flipped.sum()
    moved, control = (np.nanmean(found.find(kind, strongest).correlation) for kind in (PGD, NOISE))
    assert moved < control


def test_the_numbers_are_json_and_say_what_they_rest_on(found):
    facts = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert facts["pictures"] == 10
    for row in facts["attacks"]:
        assert row["correlation_when_flipped"]["pictures"] <= row["flips"]
        assert 0 <= row["flip_interval"][0] <= row["flip_rate"] <= row["flip_interval"][1] <= 1


def test_examples_are_the_pictures_before_and_after(found):
    assert [example.number for example in found.examples] == list(found.numbers[:2])
    for example in found.examples:
        assert example.pixels.shape[0] == 2
        assert (example.pixels[1] - example.pixels[0]).abs().max() <= TARGETED_STRENGTH / 255 + 1e-6


def test_the_same_seed_attacks_the_same_pictures_the_same_way(found, model, looks):
    again = robustness(model, looks, most=10, strengths=(1,), seed=3, examples=0)
    assert again.numbers == found.numbers
    np.testing.assert_array_equal(again.find(NOISE, 1).correlation, found.find(NOISE, 1).correlation)
    assert again.examples == ()


def test_without_a_right_prediction_there_is_nothing_to_attack(model, looks):
    wrong = np.flatnonzero(~looks.sample.right).tolist()
    assert robustness(model, Looks(looks.sample.of(wrong), looks.explanation), most=5) is None
