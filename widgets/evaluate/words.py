"""How evaluations are put into words: states of samples, figures, and what a comparison came to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine.evaluation.metrics import FEWEST, METRICS, Metric, probability

STATES = {
    "waiting": ("Waiting", "muted"),
    "done": ("Measured", "good"),
    "failed": ("Failed", "error"),
    "missing": ("Incomplete", "warning"),
}
"""Words and colour of each state of a sample."""
_SURE = 0.05


def figure(value: float | None, metric: Metric) -> str:
    """`0.8123`, `24.10`, or a dash where there is none."""
    return "–" if value is None else f"{value:.{metric.decimals}f}"


def signed(value: float | None, metric: Metric) -> str:
    """`+0.0123`, with a real minus."""
    return "–" if value is None else f"{value:+.{metric.decimals}f}".replace("-", "−")


def interval(mean: dict[str, Any] | None, metric: Metric, *, sign: bool = False, short: bool = False) -> str:
    """The 95 % interval of a mean; that there are too few for one. `short` leaves out its last digit."""
    if mean is None:
        return ""
    if mean["count"] < FEWEST or mean["low"] is None:
        return "too few"
    form = signed if sign else figure
    if short:
        metric = replace(metric, decimals=max(metric.decimals - 1, 1))
        return f"{form(mean['low'], metric)} … {form(mean['high'], metric)}"
    return f"{form(mean['low'], metric)} to {form(mean['high'], metric)}"


def gain(difference: float, metric: Metric) -> float:
    """A difference, above 0 where it is for the better."""
    return difference if metric.higher_is_better else -difference


def title(metric: Metric) -> str:
    """`PSNR (dB) ↑`: the arrow, which a line's end does not part from the rest, says which way is better."""
    unit = f" ({metric.unit})" if metric.unit else ""
    return f"{metric.label}{unit}\N{NO-BREAK SPACE}{'↑' if metric.higher_is_better else '↓'}"


def verdict(data: dict[str, Any], key: str, label: str) -> str:
    """What came out of a measure for a set of predictions, in plain words."""
    metric, first = METRICS[key], data["labels"][0]
    found = data["paired"].get(label, {}).get(key)
    if found is None:
        mean = data["summary"].get(label, {}).get(key)
        if mean is None:
            return f"{metric.label} was not measured of {label}."
        about = interval(mean, metric)
        sure = "too few models for an interval" if about == "too few" else f"95 % confidence {about}"
        models = f"{mean['count']:,} model{'s' * (mean['count'] != 1)}"
        return f"{label}: {metric.label} {figure(mean['mean'], metric)} on average over {models} ({sure})."
    difference, p = found["difference"], found["wilcoxon_p"]
    better, worse, count = found["better"], found["worse"], found["count"]
    mean = gain(difference["mean"], metric)
    few = count < FEWEST
    clear = not few and p is not None and p < _SURE
    way, number = ("better", better) if mean >= 0 else ("worse", worse)
    size = f"by {figure(abs(difference['mean']), metric)}{' ' * bool(metric.unit)}{metric.unit} on average"
    about = f"{label} is {way} than {first} in {metric.label} on {number} of {count:,} models, {size}"
    if few:
        return f"{about}. Too few models for an interval or a test."
    sure = f"95 % confidence of the difference {interval(difference, metric, sign=True)}; p = {probability(p, count)}"
    return f"{about} ({sure})." if clear else f"No clear difference: {about} ({sure})."
