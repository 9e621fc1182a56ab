"""Splits are stratified, seeded, keep copies together, and keep what was given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limelight.errors import InputError
from limelight.training import Dataset, Picture
from limelight.training.splits import folds, split


def dataset(labels, splits=None):
    splits = splits or [None] * len(labels)
    items = tuple(
        Picture(Path(f"{i}.jpg"), label, part) for i, (label, part) in enumerate(zip(labels, splits, strict=True))
    )
    return Dataset(Path("."), Path("."), tuple("abcdefgh"[: max(labels) + 1]), items)


@given(st.lists(st.integers(6, 60), min_size=2, max_size=4), st.integers(0, 99))
def test_each_class_has_its_share_in_each_split(counts, seed):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    parts = split(dataset(labels), range(len(labels)), seed)
    for name, share in zip(("train", "val", "test"), (0.7, 0.15, 0.15), strict=True):
        for count, got in zip(counts, parts.counts(name).values(), strict=True):
            assert abs(got - share * count) <= 1
            assert got >= 1


@given(st.integers(12, 60), st.data())
def test_copies_stay_together(count, data):
    groups = data.draw(st.lists(st.integers(0, count - 1), min_size=count, max_size=count))
    labels = [group % 2 for group in groups]
    if any(len({g for g, own in zip(groups, labels, strict=True) if own == label}) < 3 for label in (0, 1)):
        return
    parts = split(dataset(labels), groups, seed=1).splits
    assert len(set(zip(groups, parts, strict=True))) == len(set(groups))


def test_the_seed_decides():
    data = dataset([0, 1] * 20)
    assert split(data, range(40), 3).splits == split(data, range(40), 3).splits
    assert split(data, range(40), 3).splits != split(data, range(40), 4).splits


def test_given_splits_are_kept():
    given_splits = ["train", "val", "test"] * 4
    assert split(dataset([0, 1] * 6, given_splits), range(12), 0).splits == given_splits


def test_a_missing_val_is_taken_from_train_alone():
    given_splits = ["train"] * 30 + ["test"] * 10
    parts = split(dataset([0, 1] * 20, given_splits), range(40), 0)
    assert parts.splits[30:] == ["test"] * 10
    assert parts.counts("val") == {"a": 3, "b": 3}
    assert split(dataset([0, 1] * 20, given_splits), range(40), 0, val=False).splits == given_splits


def test_without_a_test_the_given_val_is_the_test():
    given_splits = ["train"] * 30 + ["val"] * 10
    parts = split(dataset([0, 1] * 20, given_splits), range(40), 0)
    assert parts.splits[30:] == ["test"] * 10
    assert parts.of("val")


def test_a_class_that_is_one_picture_many_times_is_refused():
    with pytest.raises(InputError, match="class 'a' has too few different pictures for one in val"):
        split(dataset([0] * 5 + [1] * 9), [0] * 5 + list(range(5, 14)), 0)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.8, 0.2, 0.2), (1.0, 0.0, 0.0)])
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(InputError, match="three shares above 0 that sum to 1"):
        split(dataset([0, 1] * 9), range(18), 0, shares)


def test_folds_hold_out_every_picture_once_and_copies_together():
    labels, groups = [0, 1] * 25, [i // 4 * 4 + i % 2 for i in range(50)]
    parts = folds(labels, groups, 5, seed=0)
    assert set(parts) == set(range(5))
    assert len({(g, p) for g, p in zip(groups, parts.tolist(), strict=True)}) == len(set(groups))
    assert np.ptp(np.bincount(parts)) <= 4
