"""How sure a figure is: intervals, paired comparisons, and what is left of a finding when many were looked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from limelight.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

CHUNK = 4_000_000
"""Resampled values held at once, at most (32 MB)."""


class Interval(NamedTuple):
    """A figure's confidence interval."""

    low: float
    high: float


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """The interval of a proportion, ``successes`` of ``n`` (Wilson 1927); sound for few cases and near 0 and 1.

    Raises:
        InputError: no case at all, or more successes than cases.
    """
    if not 0 <= successes <= n or n < 1:
        raise InputError(f"{successes} of {n} is no proportion")
    z = _normal_quantile(0.5 + confidence / 2)
    share = successes / n
    scale = 1 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At 0 and n the bound is exact; in floating point it would miss by an ulp.
    return Interval(0.0 if successes == 0 else middle - half, 1.0 if successes == n else middle + half)


def bootstrap(
    values: ArrayLike,
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The percentile interval of a statistic over cases drawn again with replacement (Efron 1979).

    Args:
        values: (cases,) or (cases, columns), one row a case: what belongs to one picture is drawn together.
        statistic: from (resamples, cases[, columns]) to (resamples,); None for the mean over cases of one column.
        confidence: the share of resamples that the interval holds.
        resamples: how many.
        seed: of the drawing.

    Raises:
        InputError: fewer than two cases: nothing is known of how they vary.
    """
    import numpy as np

    cases = np.asarray(values, dtype=np.float64)
    if len(cases) < 2:
        raise InputError("an interval needs at least two cases: one says nothing of how they vary")
    rng = np.random.default_rng(seed)
    at_once = max(1, CHUNK // cases.size)
    found = []
    for start in range(0, resamples, at_once):
        drawn = cases[rng.integers(0, len(cases), (min(at_once, resamples - start), len(cases)))]
        found.append(drawn.mean(axis=1) if statistic is None else statistic(drawn))
    low, high = np.quantile(np.concatenate(found), [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(float(low), float(high))


def paired_test(first: ArrayLike, second: ArrayLike, *, resamples: int = 10_000, seed: int = 0) -> float:
    """The p-value that two measurements of the same cases have one mean, by flipping the signs of their differences.

    Two-sided; never 0, since what was seen is one of the ways it could have come out (Phipson and Smyth 2010). Cases
    where either is NaN are left out.

    Raises:
        InputError: not as many of the one as of the other, or no pair to compare.
    """
    import numpy as np

    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != other.shape or one.ndim != 1:
        raise InputError(f"pairs are two lists of one length, not {one.shape} and {other.shape}")
    difference = one - other
    difference = difference[~np.isnan(difference)]
    if not len(difference):
        raise InputError("there is no pair to compare")
    rng = np.random.default_rng(seed)
    seen = abs(difference.sum())
    tolerance = 1e-12 * np.abs(difference).sum()
    at_once = max(1, CHUNK // len(difference))
    as_far = 0
    for start in range(0, resamples, at_once):
        signs = rng.integers(0, 2, (min(at_once, resamples - start), len(difference))) * 2 - 1
        as_far += int((np.abs(signs @ difference) >= seen - tolerance).sum())
    return (as_far + 1) / (resamples + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, so that one false alarm among all stays as rare as one alone (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[i]))
        corrected[i] = highest
    return corrected


def cases_needed(first: ArrayLike, second: ArrayLike, *, power: float = 0.8, alpha: float = 0.05) -> int | None:
    """How many cases would tell two measurements apart, going by the difference and spread seen in these pairs.

    By the normal approximation of a paired two-sided test; None when no difference was seen.

    Raises:
        InputError: fewer than two pairs.
    """
    import numpy as np

    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    difference = difference[~np.isnan(difference)]
    if len(difference) < 2:
        raise InputError("how cases vary is known from two pairs on")
    mean, spread = float(difference.mean()), float(difference.std(ddof=1))
    if mean == 0:
        return None
    z = _normal_quantile(1 - alpha / 2) + _normal_quantile(power)
    return max(2, math.ceil((z * spread / mean) ** 2))


def _normal_quantile(share: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(share)
