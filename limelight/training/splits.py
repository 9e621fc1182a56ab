"""Who learns, who chooses, who tests: stratified, seeded, and the copies of one picture always together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from limelight.errors import InputError
from limelight.training.folder import SPLITS, Dataset

SHARES = (0.7, 0.15, 0.15)


def split(
    dataset: Dataset, groups: Sequence[int], seed: int, shares: Sequence[float] = SHARES, val: bool = True
) -> Dataset:
    """Put every picture in train, val or test, in about these ``shares`` of each class.

    Given splits are kept. What they lack is taken from train: no val, a part of train; no test, val becomes the test
    (it is what others report on) and a new val is a part of train. Without ``val`` none is made. ``groups`` (one number
    a picture) stay together. Raises ``InputError`` for shares that are no shares, and where a class can't be in every
    split.
    """
    if len(shares) != len(SPLITS) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise InputError(
            f"Splits are three shares above 0 that sum to 1, for {', '.join(SPLITS)}; got {tuple(shares)}."
        )
    given = [part or "train" for part in dataset.splits]
    held = set(given)
    if "test" not in held and "val" in held:
        given = ["test" if part == "val" else part for part in given]
        held = set(given)
    wanted = {name: share for name, share in zip(SPLITS, shares, strict=True) if name == "train" or name not in held}
    if not val and "val" in wanted:
        wanted["train"] += wanted.pop("val")
    if len(wanted) > 1:
        whole = sum(wanted.values())
        given = _dealt(dataset, given, groups, seed, {name: share / whole for name, share in wanted.items()})
    return dataset.with_splits(given)


def folds(labels: Sequence[int], groups: Sequence[int], count: int, seed: int) -> np.ndarray:
    """(pictures,) A fold from 0 to ``count`` - 1 for each picture: stratified, groups together."""
    shares = dict.fromkeys(range(count), 1 / count)
    given = np.zeros(len(labels), int)
    for members, parts in _deals(labels, range(len(labels)), groups, seed, list(shares.values())):
        given[members] = parts
    return given


def _dealt(dataset: Dataset, given: list[str], groups: Sequence[int], seed: int, shares: dict[str, float]) -> list[str]:
    given, names = list(given), list(shares)
    pool = [i for i, part in enumerate(given) if part == "train"]
    for members, part in _deals(dataset.labels, pool, groups, seed, list(shares.values())):
        for i in members:
            given[i] = names[part]
    for name in names:
        lacking = set(range(len(dataset.classes))) - {
            item.label for item, part in zip(dataset.items, given, strict=True) if part == name
        }
        if lacking:
            label = dataset.classes[min(lacking)]
            raise InputError(
                f"{dataset.source}: class {label!r} has too few different pictures for one in {name}: add some."
            )
    return given


def _deals(labels: Sequence[int], pool: Sequence[int], groups: Sequence[int], seed: int, shares: list[float]):
    """(members, part) for each group in the pool: every class is shuffled and dealt in about these shares.

    A group goes where its class's part is furthest behind its share; with one picture a group the shares are exact to
    the nearest picture, and no part of a class stays empty while another has two.
    """
    together: dict[int, list[int]] = defaultdict(list)
    for i in pool:
        together[groups[i]].append(i)
    by_class: dict[int, list[list[int]]] = defaultdict(list)
    for members in together.values():
        by_class[labels[members[0]]].append(members)
    for label, lots in sorted(by_class.items()):
        rng = np.random.default_rng([seed, label])
        total, dealt = sum(map(len, lots)), np.zeros(len(shares))
        for place in rng.permutation(len(lots)):
            behind = np.array(shares) * total - dealt
            part = int(np.argmax(np.where(dealt == 0, behind + total, behind)))  # nobody twice before all have one
            dealt[part] += len(lots[place])
            yield lots[place], part
