"""attacks.py: changes stay as small as they are said to be, are pictures, and turn what can be turned."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from limelight.errors import InputError
from limelight.models import Model
from limelight.preprocessing import Preprocessing
from limelight.studies.attacks import Scores, doubt, fgsm, noise, pgd, picture, towards
from tests.networks import untouched

SIDE = 6


def linear(scale: float = 1.0, classes: int = 2) -> Model:
    """Scores that are linear in the pixels, so that the best attack is known."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, classes))
    with torch.no_grad():
        network[1].weight.copy_(torch.randn(classes, 3 * SIDE * SIDE, generator=torch.Generator().manual_seed(0)))
        network[1].weight *= scale
        network[1].bias.zero_()
    preprocessing = Preprocessing((SIDE, SIDE), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    return Model(network, preprocessing, tuple("abcdef"[:classes]), "linear", "given", classes)


def pictures(batch: int = 4, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, 3, SIDE, SIDE), generator=generator) / 255


def levels(pixels: torch.Tensor) -> torch.Tensor:
    return pixels * 255


@given(st.integers(1, 12), st.integers(0, 99), st.sampled_from(["fgsm", "pgd", "towards", "noise"]))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_an_attacked_picture_is_a_picture_and_differs_by_no_more_than_it_may(strength, seed, kind):
    scores, pixels, labels = Scores(linear(0.02)), pictures(seed=seed), torch.tensor([0, 1, 1, 0])
    attacked = {
        "fgsm": lambda: fgsm(scores, pixels, labels, strength),
        "pgd": lambda: pgd(scores, pixels, labels, strength),
        "towards": lambda: towards(scores, pixels, labels, strength, steps=6),
        "noise": lambda: noise(pixels, strength, [seed, 1, 2, 3]),
    }[kind]()
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    assert (levels(attacked) - levels(attacked).round()).abs().max() < 1e-3
    assert levels(attacked - pixels).abs().max() <= strength + 1e-3


def test_one_step_against_a_linear_network_is_the_best_there_is():
    model, pixels, labels = linear(), (pictures() * 0.5 + 0.25).mul(255).round() / 255, torch.tensor([0, 1, 0, 1])
    weight = model.network[1].weight.detach().reshape(2, 3, SIDE, SIDE)
    away = (weight[1 - labels] - weight[labels]).sign()
    for attack in (fgsm, pgd):
        torch.testing.assert_close(attack(Scores(model), pixels, labels, 3), pixels + away * 3 / 255)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_a_network_that_is_very_sure_is_not_taken_for_a_robust_one(scale):
    """The gradient of its cross-entropy vanishes in float32; that of the log-odds does not."""
    model, pixels = linear(scale), torch.full((2, 3, SIDE, SIDE), 100 / 255)
    scores = Scores(model)
    labels = scores.probabilities(pixels).argmax(dim=1)
    for attack in (fgsm, pgd):
        before, after = (doubt(scores(one), labels) for one in (pixels, attack(scores, pixels, labels, 2)))
        assert (after > before).all()


def test_the_log_odds_are_those_of_the_softmax():
    logits, classes = torch.randn(5, 4, dtype=torch.float64), torch.tensor([0, 3, 2, 1, 1])
    chosen = logits.softmax(1).gather(1, classes[:, None])[:, 0]
    torch.testing.assert_close(doubt(logits, classes), ((1 - chosen) / chosen).log())


def test_a_targeted_attack_ends_at_its_class_and_goes_no_further_than_it_must():
    scores, pixels = Scores(linear(0.3, classes=4)), pictures()
    targets = scores.probabilities(pixels).argsort(dim=1)[:, -2]
    attacked = towards(scores, pixels, targets, strength=60, steps=60, certain=0.9)
    reached = scores.probabilities(attacked).gather(1, targets[:, None])[:, 0]
    assert (reached >= 0.9).all()
    again = towards(scores, attacked, targets, strength=60, steps=60, certain=0.9)
    assert torch.equal(again, picture(attacked, attacked, 60))


def test_noise_is_as_large_as_it_may_be_and_depends_on_the_picture_alone():
    pixels = torch.full((3, 3, SIDE, SIDE), 0.5).mul(255).round() / 255
    noisy = noise(pixels, 4, [7, 8, 9])
    torch.testing.assert_close((noisy - pixels).abs(), torch.full_like(pixels, 4 / 255))
    assert torch.equal(noise(pixels[1:], 4, [8, 9]), noisy[1:])
    assert abs(float((noisy - pixels).mean())) < 0.01


def test_a_network_in_training_mode_is_attacked_as_it_is_used_and_given_back_untouched():
    model = linear()
    model.network.insert(1, nn.Dropout(0.5))
    model.network.train()
    scores, pixels, labels = Scores(model), pictures(), torch.tensor([0, 1, 0, 1])
    with untouched(model.network):
        first = pgd(scores, pixels, labels, 2)
        assert torch.equal(first, pgd(scores, pixels, labels, 2))


def test_one_score_alone_can_not_be_attacked():
    with pytest.raises(InputError, match="two classes or more"):
        fgsm(Scores(linear(classes=1)), pictures(), torch.zeros(4, dtype=torch.long), 1)
