"""A probe: does a handful of numbers a picture tell its class? Asked of each picture by all the others.

Kernel ridge regression with a Gaussian kernel. Leave-one-out predictions and those for shuffled labels are matrix
products with one hat matrix (Golub, Heath and Wahba 1979), so the baseline costs next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

SHUFFLES = 300


@dataclass(frozen=True, eq=False)
class Probe:
    """How well a class is told from the others.

    accuracy: balanced, in [0, 1], on pictures left out. baseline: the mean of the same with shuffled labels. p: how
    rarely shuffled labels do as well, by a normal fit to theirs. score: (n,) the left-out predictions, above 0 for the
    class. right: (n,) bool.
    """

    accuracy: float
    baseline: float
    p: float
    score: np.ndarray
    right: np.ndarray


def probe(features: np.ndarray, own: np.ndarray, seed: int, ridge: float = 0.02) -> Probe:
    """Tell ``own`` (n,) bool from ``features`` (n, k), one picture left out at a time."""
    return _probe(_hat(_scaled(features), ridge), own, seed)


def _probe(hat: np.ndarray, own: np.ndarray, seed: int) -> Probe:
    rng = np.random.default_rng(seed)
    truth = np.stack([own, *(rng.permutation(own) for _ in range(SHUFFLES))], 1)
    target = np.where(truth, 1 / own.mean(), -1 / (~own).mean()) / 2  # both kinds weigh the same
    leverage = np.diag(hat)[:, None]
    score = (hat @ target - leverage * target) / (1 - leverage)
    right = (score > 0) == truth
    accuracy = ((right & truth).sum(0) / own.sum() + (right & ~truth).sum(0) / (~own).sum()) / 2
    return Probe(
        float(accuracy[0]),
        float(accuracy[1:].mean()),
        _tail((accuracy[0] - accuracy[1:].mean()) / max(accuracy[1:].std(), 1e-6)),
        score[:, 0],
        right[:, 0],
    )


def shift_probe(values: np.ndarray, own: np.ndarray, seed: int, ridge: float = 0.02) -> Probe:
    """The same of one number a picture, (n,), with a linear rule: what it finds is a shift, never a wider spread.

    p is how rarely shuffled labels shift the two means as far apart (normal): left out one at a time, a rule with
    nothing to go by is wrong about most, so shuffled accuracies are no measure of a shift.
    """
    scaled = _scaled(values[:, None])
    found = _probe(_hat_of(1 + scaled @ scaled.T, ridge), own, seed)
    apart = abs(values[own].mean() - values[~own].mean())
    error = values.std(ddof=1) * np.sqrt(1 / own.sum() + 1 / (~own).sum())
    return replace(found, p=2 * _tail(apart / max(error, 1e-9)))


def _scaled(features: np.ndarray) -> np.ndarray:
    """Columns to a middle of 0 and a spread of 1, by their quartiles; what never changes is dropped."""
    low, middle, high = np.percentile(features, [25, 50, 75], axis=0)
    spread = (high - low) / 1.35
    spread = np.where(spread > 1e-6, spread, features.std(0))
    some = spread > 1e-6
    return np.clip((features[:, some] - middle[some]) / spread[some], -4, 4)


def _hat(features: np.ndarray, ridge: float) -> np.ndarray:
    square = (features**2).sum(1)
    distance = np.maximum(square[:, None] + square - 2 * features @ features.T, 0)
    typical = np.median(distance)
    kernel = np.exp(-distance / typical) if typical > 0 else np.exp(-distance)
    return _hat_of(kernel, ridge)


def _hat_of(kernel: np.ndarray, ridge: float) -> np.ndarray:
    n = len(kernel)
    return kernel @ np.linalg.inv(kernel + ridge * n * np.eye(n))


def _tail(z: float) -> float:
    """How rarely a standard normal number is above ``z``."""
    from math import erfc, sqrt

    return 0.5 * erfc(z / sqrt(2))
