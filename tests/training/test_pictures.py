"""Pictures as inputs: what is evaluated is what the network's users will see; variations depend on their seed alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limelight.errors import InputError
from limelight.images import read
from limelight.preprocessing import Preprocessing
from limelight.training import pictures
from limelight.training.augment import AUGMENTATIONS, vary
from limelight.training.pictures import Pictures
from tests.training.sets import two_classes

SHOWN = Preprocessing((24, 24), (0.5,) * 3, (0.5,) * 3, crop=1.0)
STRONG = AUGMENTATIONS["strong"]


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return sorted(two_classes(tmp_path_factory.mktemp("pictures"), 4).glob("*/*.png"))


def together(batches):
    return torch.cat(list(batches))


def test_what_is_evaluated_is_what_a_user_s_picture_becomes(paths):
    for given_ in Pictures(paths, SHOWN).batches(range(8), 3), Pictures(paths, SHOWN).batches(range(8), 8):
        wanted = [SHOWN(read(path).pixels)[0] for path in paths]
        assert torch.equal(together(given_), torch.stack(wanted))


def test_variations_depend_on_seed_and_picture_and_on_nothing_else(paths):
    whole = together(Pictures(paths, SHOWN).batches(range(8), 8, STRONG, (7, 1)))
    some = Pictures(paths, SHOWN)
    list(some.batches([3], 1, STRONG, (7, 2)))
    assert torch.equal(together(some.batches([5, 2], 1, STRONG, (7, 1))), whole[[5, 2]])
    assert not torch.equal(together(some.batches([5, 2], 2, STRONG, (7, 2))), whole[[5, 2]])


def test_what_does_not_fit_in_memory_is_read_again(paths, monkeypatch):
    kept = together(Pictures(paths, SHOWN).batches(range(8), 4, STRONG, (1,)))
    monkeypatch.setattr(pictures, "MEMORY", 0)
    assert torch.equal(together(Pictures(paths, SHOWN).batches(range(8), 4, STRONG, (1,))), kept)


def test_a_picture_that_has_gone_is_told(paths, tmp_path):
    with pytest.raises(InputError, match=r"gone\.png"):
        list(Pictures([tmp_path / "gone.png"], SHOWN).batches([0], 1))


@given(
    st.tuples(st.integers(2, 90), st.integers(2, 90)),
    st.tuples(st.integers(8, 40), st.integers(8, 40)),
    st.sampled_from([name for name, how in AUGMENTATIONS.items() if how]),
    st.integers(0, 9),
)
def test_a_variation_of_any_picture_has_the_size_asked_for(shape, size, name, seed):
    pixels = torch.full((3, *shape), 120, dtype=torch.uint8)
    varied = vary(pixels, size, AUGMENTATIONS[name], np.random.default_rng(seed))
    assert varied.shape == (3, *size) and varied.dtype == torch.uint8
    assert varied.float().std() < 1  # a picture of one colour stays one


def test_a_variation_shows_a_part_perhaps_mirrored():
    """Columns numbered from left to right: a crop's values run up or, mirrored, down, over part of the range."""
    pixels = torch.arange(200, dtype=torch.uint8).expand(3, 100, 200).clone()
    ways = set()
    for seed in range(20):
        row = vary(pixels, (20, 20), AUGMENTATIONS["light"], np.random.default_rng(seed))[0, 10].int()
        steps = row.diff().sign()
        assert steps.abs().sum() == len(steps) and len(set(steps.tolist())) == 1
        assert row.max() - row.min() < 150
        ways.add(steps[0].item())
    assert ways == {1, -1}
