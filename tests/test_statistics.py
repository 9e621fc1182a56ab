import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from limelight.errors import InputError
from limelight.statistics import bootstrap, cases_needed, holm, paired_test, wilson


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.9, 0.95]))
def test_wilson_is_scipys(counts, confidence):
    expected = stats.binomtest(*counts).proportion_ci(confidence, method="wilson")
    assert wilson(*counts, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("counts", [(0, 0), (3, 2), (-1, 4)])
def test_no_proportion_is_refused(counts):
    with pytest.raises(InputError, match="is no proportion"):
        wilson(*counts)


def test_bootstrap_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = [
        low <= 1.0 <= high for low, high in (bootstrap(rng.exponential(size=60), resamples=400) for _ in range(300))
    ]
    assert 0.88 <= np.mean(held) <= 0.98


def test_bootstrap_draws_rows_together():
    """A difference of two columns that move together is known far better than either."""
    x = np.random.default_rng(1).normal(0, 10, 50)
    pairs = np.stack([x, x + 1], axis=1)
    low, high = bootstrap(pairs, lambda drawn: (drawn[..., 1] - drawn[..., 0]).mean(axis=1))
    assert low == pytest.approx(1) and high == pytest.approx(1)


def test_bootstrap_is_the_same_in_one_go_and_in_many(monkeypatch):
    values = np.random.default_rng(2).normal(size=40)
    whole = bootstrap(values)
    monkeypatch.setattr("limelight.statistics.CHUNK", 500)
    assert bootstrap(values) == whole


def test_one_case_has_no_interval():
    with pytest.raises(InputError, match="at least two cases"):
        bootstrap([0.5])


def test_paired_test_agrees_with_scipys_permutation_test():
    rng = np.random.default_rng(3)
    one = rng.normal(size=12)
    other = one + rng.normal(0.4, 0.6, 12)
    exact = stats.permutation_test(
        (one, other), lambda a, b: (a - b).mean(), permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert paired_test(one, other) == pytest.approx(exact, abs=0.01)


def test_equal_measurements_are_not_told_apart_and_gaps_are_left_out():
    assert paired_test([1, 2, 3, float("nan")], [1, 2, 3, 4]) == 1
    with pytest.raises(InputError, match="no pair"):
        paired_test([float("nan")], [1.0])
    with pytest.raises(InputError, match="two lists of one length"):
        paired_test([1, 2], [1])


def test_false_alarms_are_as_rare_as_said():
    rng = np.random.default_rng(4)
    found = [paired_test(*rng.normal(size=(2, 20)), resamples=500, seed=i) <= 0.1 for i in range(300)]
    assert np.mean(found) <= 0.15


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_corrects_upwards_and_keeps_the_order(p_values):
    corrected = holm(p_values)
    assert all(p <= c <= 1 for p, c in zip(p_values, corrected, strict=True))
    assert [corrected[i] for i in np.argsort(p_values, kind="stable")] == sorted(corrected)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_as_many_cases_as_said_tell_two_methods_apart():
    rng = np.random.default_rng(5)
    n = cases_needed(rng.normal(0.5, 1, 4000), np.zeros(4000))
    assert n == pytest.approx(32, abs=4)  # (1.96 + 0.84)**2 / 0.5**2
    told = [stats.ttest_1samp(rng.normal(0.5, 1, n), 0).pvalue < 0.05 for _ in range(500)]
    assert 0.72 <= np.mean(told) <= 0.88
    assert cases_needed([1.0, 2.0], [1.0, 2.0]) is None
