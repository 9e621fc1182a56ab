"""A place is found where the network goes by it, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from limelight.models import Model
from limelight.preprocessing import Preprocessing
from limelight.studies.bias.album import read_album
from limelight.studies.bias.effects import Scorer
from limelight.studies.bias.places import PlaceEdit, middles, places
from limelight.studies.bias.probes import shift_probe
from limelight.studies.bias.remedy import counterparts

EACH, CLASSES, SIDE = 30, ("first", "second"), 64


def write(folder, biased):
    """A bright square: on the left of most of the first class where the set is biased, else anywhere."""
    rng = np.random.default_rng(5)
    paths, labels = [], []
    for number in range(2 * EACH):
        label = number % 2
        pixels = rng.integers(40, 90, (SIDE, SIDE, 3)).astype(np.uint8)
        left = rng.random() < ((0.95 if label == 0 else 0.05) if biased else 0.5)
        x, y = rng.integers(0, 12) + (0 if left else 36), rng.integers(0, 48)
        pixels[y : y + 16, x : x + 16] = 230
        path = folder / f"{number:02d}.png"
        Image.fromarray(pixels).save(path)
        paths.append(path)
        labels.append(label)
    return read_album(paths, labels, CLASSES)


def network(by_place: bool) -> Model:
    """Brightness in 8 x 8 cells; the first class is that on the left, the second that on the right, or all either."""
    light = nn.Conv2d(3, 1, 8, 8)
    head = nn.Linear(64, 2)
    with torch.no_grad():
        light.weight.fill_(1 / 192)
        light.bias.zero_()
        left = (torch.arange(64) % 8 < 4).float()
        head.weight.copy_(torch.stack([left, 1 - left]) if by_place else torch.stack([torch.ones(64), -torch.ones(64)]))
        head.bias.copy_(torch.zeros(2) if by_place else torch.tensor([5.0, -5.0]))
    stages = nn.Sequential(light, nn.Threshold(0.0, 0.0), nn.Flatten(), head)
    return Model(stages, Preprocessing((SIDE, SIDE), (0.5,) * 3, (0.25,) * 3, crop=1.0), CLASSES, "cells", "given", 2)


@pytest.fixture(scope="module")
def biased(tmp_path_factory):
    return write(tmp_path_factory.mktemp("biased"), True)


def test_a_planted_place_that_the_network_goes_by_is_found(biased):
    (found,) = places(biased, Scorer(network(True)), 0, 0)
    assert (found.kind, found.label, found.name) == ("place", "first", "left side")
    assert found.accuracy_alone > 0.85 and found.used.interval[0] > 0.2
    assert "nearer the left side in the pictures of first than of second" in found.sentence
    assert len(found.regions) > 20
    for region in found.regions:
        x0, _, x1, _ = region["box"]
        assert (x0 + x1) / 2 < SIDE / 2
    i, pixels = next(iter(counterparts(found)))
    assert np.array_equal(pixels, np.asarray(Image.open(biased.paths[i]))[:, ::-1])


def test_it_is_no_finding_for_a_network_that_can_not_go_by_places(biased):
    assert places(biased, Scorer(network(False)), 0, 0) == []


@pytest.mark.parametrize("seed", range(3))
def test_an_honest_set_has_none_even_for_a_network_that_goes_by_places(tmp_path, seed):
    assert places(write(tmp_path, False), Scorer(network(True)), 0, seed) == []


def test_where_marks_were_found_no_place_is_looked_for(biased):
    assert places(biased, Scorer(network(True)), 1, 0) == []


def test_a_network_without_a_grid_has_no_places(biased):
    flat = network(True)
    flat = Model(
        nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 2)), flat.preprocessing, CLASSES, "flat", "given", 2
    )
    assert places(biased, Scorer(flat), 0, 0) == []


def test_the_middle_of_a_map_is_where_the_square_is(biased):
    for i, (x, y) in enumerate(middles(biased, Scorer(network(True)), range(4))):
        bright = np.argwhere(np.asarray(Image.open(biased.paths[i]))[..., 0] > 200).mean(0) / SIDE
        assert abs(x - bright[1]) < 0.15 and abs(y - bright[0]) < 0.15


def test_the_control_is_mirrored_too_and_moved_back(biased):
    album, rng = biased, np.random.default_rng(0)
    where = np.full(len(album), 0.25)
    changed, control = PlaceEdit(album, where, 0).remove(0, rng)
    assert np.array_equal(changed, np.asarray(Image.open(album.paths[0]))[:, ::-1])
    assert np.array_equal(control, np.roll(changed, -SIDE // 2, axis=1))
    down, _ = PlaceEdit(album, where, 1).insert(0, rng)
    assert np.array_equal(down, np.asarray(Image.open(album.paths[0]))[::-1])


def test_the_probe_finds_a_shift_and_no_spread():
    rng, own = np.random.default_rng(0), np.arange(200) % 2 == 0
    narrow = np.where(own, 0.05, 0.4) * rng.normal(size=200)
    assert shift_probe(narrow, own, 0).p > 0.01
    shifted = shift_probe(narrow + own, own, 0)
    assert shifted.p < 1e-6 and shifted.accuracy > 0.9
