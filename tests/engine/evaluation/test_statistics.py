"""Intervals and tests, with scipy as the judge."""

import numpy as np
import pytest
from scipy import stats

from engine.evaluation.metrics import probability
from engine.evaluation.statistics import compare, mean_of


def test_means_and_their_intervals():
    x = np.random.default_rng(0).normal(0.7, 0.1, 98)
    found = mean_of(x)
    judge = stats.bootstrap((x,), np.mean, method="percentile", n_resamples=9999, random_state=1).confidence_interval
    assert (found.count, found.mean, found.median) == (98, pytest.approx(x.mean()), pytest.approx(np.median(x)))
    assert (found.low, found.high) == pytest.approx((judge.low, judge.high), abs=0.001)
    assert mean_of(x) == found and mean_of([]) is None
    few = mean_of([0.4, 0.5, 0.5, 0.6])
    assert (few.count, few.mean, few.low) == (4, pytest.approx(0.5), None) and mean_of(x[:5]).low is not None


def test_paired_tests():
    rng = np.random.default_rng(1)
    first = rng.normal(0.6, 0.1, 40)
    second = first + rng.normal(0.02, 0.03, 40)
    found = compare(first, second, higher_is_better=True)
    assert found.t_p == pytest.approx(stats.ttest_rel(second, first).pvalue)
    assert found.wilcoxon_p == pytest.approx(stats.wilcoxon(second, first).pvalue)
    assert (found.better, found.worse) == ((second > first).sum(), (second < first).sum())
    turned = compare(first, second, higher_is_better=False)
    assert (turned.better, turned.worse) == (found.worse, found.better)
    assert turned.difference == found.difference


def test_too_few_or_all_the_same():
    assert compare([], [], higher_is_better=True) is None
    for a, b in (([0.5], [0.6]), ([0.5, 0.6, 0.4, 0.3], [0.6, 0.7, 0.8, 0.9]), ([0.5] * 6, [0.5] * 6)):
        found = compare(a, b, higher_is_better=True)
        assert found.t_p is None and found.wilcoxon_p is None and found.count == len(a)


def test_a_p_is_put_as_people_write_it():
    assert [probability(p, 98) for p in (0.25, 0.0012, 1.6e-8, None)] == ["0.2500", "0.0012", "1.6e−8", "–"]
    assert probability(None, 4) == "too few"
