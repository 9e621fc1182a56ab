"""What a network is shown is chosen by pictures it may learn from, and only where another way is better for certain."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import limelight as ll
from limelight.errors import InputError
from limelight.preprocessing import Preprocessing
from limelight.training import Picture, Settings, inputs, networks, read_dataset, train
from limelight.training.inputs import Judged, candidates, choose, fit_of
from limelight.training.state import State
from tests.training.sets import learnt, noise

OWN = Preprocessing((224, 224), (0.5,) * 3, (0.5,) * 3, crop=1.0)


def pictures(root, sizes):
    root.mkdir(exist_ok=True)
    for i, size in enumerate(sizes):
        Image.new("RGB", size).save(root / f"{i}.png")
    return [Picture(root / f"{i}.png", 0) for i in range(len(sizes))]


def ways(found):
    return [(shown.size[0], fit_of(shown)) for shown in found]


class TestWhatIsTried:
    def test_every_size_up_to_the_pictures_and_every_fit_the_network_s_own_first(self, tmp_path):
        found = ways(candidates(OWN, Settings(), pictures(tmp_path, [(300, 200)] * 3)))
        assert found == [(size, fit) for size in (224, 288) for fit in ("crop", "whole", "pad")]

    def test_square_pictures_fit_in_one_way(self, tmp_path):
        assert ways(candidates(OWN, Settings(), pictures(tmp_path, [(400, 400), (401, 400)]))) == [
            (224, "crop"),
            (288, "crop"),
            (320, "crop"),
        ]

    def test_what_was_asked_for_is_not_chosen(self, tmp_path):
        items = pictures(tmp_path, [(400, 300)] * 2)
        assert len(candidates(OWN, Settings(fit="pad"), items)) == 3
        assert len(candidates(OWN, Settings(size=224), items)) == 3
        assert candidates(OWN, Settings(size=None, fit="crop"), items) == [OWN]


class TestTheRule:
    """Losses of 100 pictures, made so that means and standard errors are known."""

    def test_the_others_are_not_tried_where_the_network_s_own_way_is_taken_whatever_they_have(self):
        """Of 100 pictures none can be better by more than 0.01 than one that has 0.01."""
        own, best = self.judged(224, 0.0099), self.judged(320, 0.0)
        assert inputs._settled([own]) and choose([own, best]) is own
        assert not inputs._settled([self.judged(224, 0.0101)]) and not inputs._settled([])
        assert "no other can be better by more than chance" in inputs.told(inputs._facts([own], own))[0]

    def judged(self, size, mean, spread=0.0, pictures=100):
        signs = torch.tensor([1.0, -1.0]).repeat(pictures // 2)
        shown = Preprocessing((size, size), (0.5,) * 3, (0.5,) * 3)
        return Judged(shown, mean + spread * signs, torch.ones(pictures))

    def test_the_default_stays_while_the_best_is_within_a_standard_error(self):
        default, better = self.judged(224, 0.30), self.judged(288, 0.26, spread=0.5)  # standard error 0.05
        assert choose([default, better]) is default

    def test_the_best_is_taken_when_it_is_further_ahead(self):
        default, better = self.judged(224, 0.40), self.judged(288, 0.26, spread=0.5)
        assert choose([default, better]) is better

    def test_a_cheaper_one_that_is_as_good_goes_before_the_best(self):
        default, cheap, best = self.judged(224, 0.9), self.judged(288, 0.26, spread=0.5), self.judged(320, 0.25)
        assert choose([default, best, cheap]) is cheap

    def test_a_sure_gain_that_is_nobody_s_profit_is_left(self):
        default, better = self.judged(224, 0.002), self.judged(288, 0.001, spread=1e-5)
        assert better.behind(default)[0] < -better.behind(default)[1]
        assert choose([default, better]) is default


@pytest.fixture(scope="module")
def margins(tmp_path_factory):
    """Wide pictures told apart by their left margin alone, which a crop of the middle never shows."""
    root = tmp_path_factory.mktemp("margins")
    for label, colour in (("dark", 0), ("light", 255)):
        (root / label).mkdir()
        for i in range(25):
            pixels = noise(128, 2 * i + (colour > 0), (80, 180))
            pixels[:, :30] = colour
            Image.fromarray(pixels).save(root / label / f"{i:02d}.png")
    return root


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    return learnt(tmp_path_factory.mktemp("weights") / "body.pt", "small_cnn")


def test_the_fit_that_shows_what_matters_is_chosen_told_and_kept(margins, body, tmp_path):
    said = []
    how = {"model": "small_cnn", "weights": body, "size": 64, "frozen": True, "views": 0}
    run = train(margins, tmp_path / "run", **how, say=said.append)
    card = json.loads((run.folder / "card.json").read_text())
    assert run.accuracy == 1.0
    found = run.report["input"]
    assert found == card["input"] and found["chosen"] and found["fit"] in ("whole", "pad")
    assert found["pictures"] == 42  # none of the test
    assert [each["fit"] for each in found["tried"]] == ["crop", "whole", "pad"]
    (line,) = [line for line in said if line.startswith("input: ")]
    assert "its own, 64 pixels, the middle" in line and "cross-validated" in line
    model = run.model()
    assert fit_of(model.preprocessing) == found["fit"]
    assert inputs.as_settings(card) == {"size": 64, "fit": found["fit"]}


def test_what_was_judged_is_not_judged_again_after_an_interruption(margins, body, tmp_path, monkeypatch):
    dataset = read_dataset(margins)
    dataset = dataset.with_splits(["train"] * len(dataset))
    settings = Settings(model="small_cnn", weights=str(body), size=64)
    model = networks.start("small_cnn", str(body), dataset.classes, 64)
    asked = model, dataset, range(len(dataset)), settings, State(tmp_path), lambda *_: None
    once = inputs.chosen(*asked)
    monkeypatch.setattr(inputs, "features", None)
    assert inputs.chosen(*asked) == once
    assert once[1]["fit"] != "crop"


def test_nothing_is_chosen_by_a_handful_of_pictures(margins, body):
    dataset = read_dataset(margins)
    few = dataset.with_splits(["train" if i % 3 == 0 else "test" for i in range(len(dataset))])
    assert inputs._sample(few, range(len(few)), 0) == []
    whole = dataset.with_splits(["train"] * len(dataset))
    assert len(inputs._sample(whole, range(len(whole)), 0)) == 50


def test_of_many_pictures_some_hundred_are_chosen_by_copies_together():
    rng = np.random.default_rng(0)
    items = tuple(Picture(None, int(label), "train") for label in rng.integers(0, 2, 1000))
    dataset = ll.training.Dataset(None, None, ("a", "b"), items)
    groups = [i - i % 2 for i in range(1000)]
    found = inputs._sample(dataset, groups, 0)
    assert 150 <= len(found) <= inputs.PICTURES
    assert {i ^ 1 for i in found} == set(found)


@pytest.mark.parametrize(
    ("wrong", "said"), [({"fit": "stretch"}, "not one of auto, crop"), ({"size": "big"}, "'auto'")]
)
def test_settings_that_make_no_sense(wrong, said):
    with pytest.raises(InputError, match=said):
        Settings(**wrong)
