"""Means with their uncertainty, and whether one run is better than another: bootstrap, Wilcoxon, t."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from engine.evaluation.metrics import FEWEST

RESAMPLES = 10_000


@dataclass(frozen=True)
class Mean:
    """A mean over samples and its 95 % confidence interval."""

    count: int
    mean: float
    low: float | None
    """None for fewer than `FEWEST` samples, as `high`."""
    high: float | None
    median: float


@dataclass(frozen=True)
class Paired:
    """How the second run differs from the first on the same samples."""

    count: int
    difference: Mean
    """Second minus first."""
    better: int
    """Samples on which the second is better."""
    worse: int
    t_p: float | None
    """p of the paired t test, two-sided; None for fewer than `FEWEST` samples or no difference anywhere."""
    wilcoxon_p: float | None
    """p of Wilcoxon's signed-rank test, two-sided; None as above."""


def mean_of(values: npt.ArrayLike) -> Mean | None:
    """The mean with its percentile bootstrap interval (10,000 resamples, always the same); None for no values."""
    x = np.asarray(values, np.float64)
    if not len(x):
        return None
    middle = float(x.mean()), float(np.median(x))
    if len(x) < FEWEST:
        return Mean(len(x), middle[0], None, None, middle[1])
    low, high = stats.bootstrap(
        (x,), np.mean, n_resamples=RESAMPLES, batch=500, method="percentile", random_state=np.random.default_rng(0)
    ).confidence_interval
    return Mean(len(x), middle[0], float(low), float(high), middle[1])


def compare(first: npt.ArrayLike, second: npt.ArrayLike, *, higher_is_better: bool) -> Paired | None:
    """Paired values (N,) of two runs on the same samples; None for none."""
    difference = np.asarray(second, np.float64) - np.asarray(first, np.float64)
    mean = mean_of(difference)
    if mean is None:
        return None
    gain = difference if higher_is_better else -difference
    t_p = wilcoxon_p = None
    if len(difference) >= FEWEST and np.any(difference != 0):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of differences that are all alike
            t_p = float(stats.ttest_1samp(difference, 0.0).pvalue)
            wilcoxon_p = float(stats.wilcoxon(difference).pvalue)
    return Paired(len(difference), mean, int((gain > 0).sum()), int((gain < 0).sum()), t_p, wilcoxon_p)
