"""The report's page: one HTML file that needs nothing else, in light and dark, with its plots as SVG.

Its words and tables are in `report.html.j2`, its looks in `report.css`; here is what they are filled with.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from engine.evaluation.metrics import FEWEST, METRICS, Metric, probability

Picture = Callable[[str, str, str], bytes | None]
"""Of (label, name, which), a JPEG."""
Column = Sequence[float | None]
"""A measure of each sample, None where there is none."""

SHOWN = 10
"""Best and worst samples that are shown."""
_NAMED = 8
"""Samples that could not be measured and are named at the top."""


def write_page(data: dict[str, Any], picture: Picture) -> str:
    """The page of results (as `Results.data`) with pictures from `picture`."""
    labels, metrics = data["labels"], [METRICS[key] for key in data["metrics"]]
    metric = metrics[0] if metrics else None

    def encoded(label: str, name: str, which: str) -> str:
        return base64.b64encode(picture(label, name, which) or b"").decode()

    def any_picture(name: str, which: str) -> str:
        return next((found for label in reversed(labels) if (found := encoded(label, name, which))), "")

    def best_mean(metric: Metric) -> float | None:
        means = [found["mean"] for label in labels if (found := data["summary"][label].get(metric.key))]
        return (max if metric.higher_is_better else min)(means) if len(means) > 1 else None

    best, worst = _extremes(data, metric) if metric else ([], [])
    kinds = (("input", "Input"), ("views", "Generated views"))
    return _template().render(
        data=data,
        labels=labels,
        metrics=metrics,
        metric=metric,
        versus=" against ".join(labels) if len(labels) == 2 else ", ".join(labels),
        notices=_notices(data),
        best=best,
        worst=worst,
        shown=[kind for kind in kinds if any(any_picture(sample["name"], kind[0]) for sample in best + worst)],
        fewest=FEWEST,
        picture=encoded,
        any_picture=any_picture,
        best_mean=best_mean,
        draw=lambda metric: _draw(data, metric),
    )


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("engine.evaluation", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": _number,
        "signed": _signed,
        "interval": _interval,
        "probability": probability,
        "form": _form,
    }
    return environment.get_template("report.html.j2")


def _notices(data: dict[str, Any]) -> list[str]:
    """What was not measured, and why."""
    lines = [f"{METRICS[key].label} was not measured. {text}" for key, text in data["unavailable"].items()]
    lines += data["notes"]
    for label in data["labels"]:
        found = [(s["name"], s["predictions"][label]["problem"]) for s in data["samples"]]
        failed = [f"{name}: {problem.removesuffix('.')}." for name, problem in found if problem]
        if failed:
            more = f" And {len(failed) - _NAMED} more, in the list of all samples." if len(failed) > _NAMED else ""
            lines.append(f"{label}: {len(failed)} of {len(found)} not measured. {' '.join(failed[:_NAMED])}{more}")
    return lines


def _extremes(data: dict[str, Any], metric: Metric) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The best samples of the last label and the worst, each the most telling first."""
    figures = [(sample["predictions"][data["labels"][-1]]["figures"], sample) for sample in data["samples"]]
    scored = [(found[metric.key], sample) for found, sample in figures if metric.key in found]
    scored.sort(key=lambda pair: pair[0], reverse=metric.higher_is_better)
    samples = [sample for _, sample in scored]
    worst = min(SHOWN, len(samples) // 2)
    return samples[: min(SHOWN, len(samples) - worst)], samples[len(samples) - worst :][::-1]


# -- plots ---------------------------------------------------------------------------------------------------


def _draw(data: dict[str, Any], metric: Metric) -> dict[str, Any] | None:
    """Plots of a measure: `curves` over the samples, and `pairs` of label, points and bars against the first label."""
    labels, names = data["labels"], [sample["name"] for sample in data["samples"]]
    columns = [[s["predictions"][label]["figures"].get(metric.key) for s in data["samples"]] for label in labels]
    rows = [row for row in zip(names, *columns, strict=True) if any(value is not None for value in row[1:])]
    if not rows:
        return None
    rows.sort(key=lambda row: (row[1] is None, row[1] or 0.0))
    names, *columns = (list(column) for column in zip(*rows, strict=True))
    pairs = []
    for i, label in enumerate(labels[1:], 1):
        points = [
            (name, a, b)
            for name, a, b in zip(names, columns[0], columns[i], strict=True)
            if a is not None and b is not None
        ]
        if points:
            both = (points, labels[0], label)
            pairs.append((label, _scatter(*both, f"var(--s{i % 6})", metric), _differences(*both, metric)))
    return {"curves": _curves(columns, labels, names, metric), "pairs": pairs}


class _Plot:
    """An SVG picture with a plane of `width` x `height` in it, whose y axis holds `values`. All in pixels."""

    def __init__(self, values: Sequence[float], width: float, height: float, top: float, right: float) -> None:
        self.left, self.top, self.width, self.height = 64, top, width, height
        self.size = self.left + width + right, top + height
        self.low, self.high, self.ticks = _scale(values)
        self.parts: list[Markup] = []
        self.digits = _decimals(self.ticks)
        for tick in self.ticks:
            self.horizontal(tick, "grid")
            self.text(self.left - 8, self.y(tick) + 4, f"{tick:.{self.digits}f}", "end")

    def x(self, value: float) -> float:
        """Where the value of the y axis's scale is on the x axis."""
        return self.left + self.width * (value - self.low) / (self.high - self.low)

    def y(self, value: float) -> float:
        return self.top + self.height * (1 - (value - self.low) / (self.high - self.low))

    def add(self, tag: str, text: str | Markup = "", **attributes: object) -> None:
        """An element; numbers are given to a tenth, `_` in an attribute's name is `-`."""
        self.parts.append(_element(tag, text, **attributes))

    def horizontal(self, value: float, style: str) -> None:
        """A line through the plane."""
        y = self.y(value)
        self.add("line", class_=style, x1=self.left, x2=self.left + self.width, y1=y, y2=y)

    def text(self, x: float, y: float, text: str, anchor: str = "middle", **attributes: object) -> None:
        self.add("text", text, x=x, y=y, text_anchor=anchor, **attributes)

    def below(self, text: str, distance: float) -> None:
        """The title of the x axis."""
        self.text(self.left + self.width / 2, self.top + self.height + distance, text)

    def svg(self, label: str, below: float) -> Markup:
        """The whole, with `below` pixels under the plane."""
        view = f"0 0 {self.size[0]:g} {self.size[1] + below:g}"
        return _element("svg", Markup("").join(self.parts), viewBox=view, role="img", aria_label=label)


def _element(tag: str, text: str | Markup = "", **attributes: object) -> Markup:
    pairs = ((name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items())
    shown = Markup("").join(
        Markup(' {}="{}"').format(name, f"{value:.1f}" if isinstance(value, float) else value) for name, value in pairs
    )
    return Markup("<{0}{1}>{2}</{0}>").format(tag, shown, text)


def _curves(columns: Sequence[Column], labels: Sequence[str], names: Sequence[str], metric: Metric) -> Markup:
    values = [value for column in columns for value in column if value is not None]
    plot = _Plot(values, 882, 260, top=14, right=14)
    share = [0.5] if len(names) == 1 else [0.01 + 0.98 * i / (len(names) - 1) for i in range(len(names))]
    places = [plot.left + part * plot.width for part in share]
    for i in range(0, len(names), math.ceil(len(names) / 14)):
        plot.text(places[i], plot.top + plot.height + 18, str(i + 1))
    plot.below("sample", 38)
    for n, column in enumerate(columns):
        color = f"var(--s{n % 6})"
        there = [value is not None for value in column]
        line = " ".join(
            f"{'L' if i and there[i - 1] else 'M'}{places[i]:.1f} {plot.y(value):.1f}"
            for i, value in enumerate(column)
            if value is not None
        )
        plot.add("path", d=line, fill="none", stroke=color, stroke_width=1.8, stroke_linejoin="round")
        for name, place, value in zip(names, places, column, strict=True):
            if value is not None:
                tip = _element("title", f"{name}, {labels[n]}: {_number(value, metric)}")
                plot.add("circle", tip, cx=place, cy=plot.y(value), r=2.6, fill=color)
    return plot.svg(f"{metric.label} by sample", 46)


def _scatter(points: Sequence[tuple[str, float, float]], first: str, second: str, color: str, metric: Metric) -> Markup:
    """A point a sample: its name, the value of the first and that of the second."""
    plot = _Plot([value for point in points for value in point[1:]], 352, 352, top=12, right=24)
    bottom = plot.top + plot.height
    for tick in plot.ticks:
        plot.add("line", class_="grid", x1=plot.x(tick), x2=plot.x(tick), y1=plot.top, y2=bottom)
        plot.text(plot.x(tick), bottom + 18, f"{tick:.{plot.digits}f}")
    right = plot.left + plot.width
    plot.add("line", class_="axis", stroke_dasharray="4 4", x1=plot.left, y1=bottom, x2=right, y2=plot.top)
    plot.below(first, 40)
    middle = plot.top + plot.height / 2
    plot.text(14, middle, second, transform=f"rotate(-90 14 {middle:g})")
    for name, a, b in points:
        tip = _element("title", f"{name}: {_number(a, metric)}, then {_number(b, metric)}")
        plot.add("circle", tip, cx=plot.x(a), cy=plot.y(b), r=4, fill=color, fill_opacity=".75")
    return plot.svg(f"{metric.label}: {second} over {first}", 48)


def _differences(points: Sequence[tuple[str, float, float]], first: str, second: str, metric: Metric) -> Markup:
    """Bars of second minus first, the smallest first."""
    found = sorted((b - a, name) for name, a, b in points)
    plot = _Plot([0.0, *(value for value, _ in found)], 364, 352, top=12, right=12)
    step = plot.width / len(found)
    wide = min(step * 0.8, 40.0)
    for i, (value, name) in enumerate(found):
        tone = "good" if (value > 0) == metric.higher_is_better else "bad"
        top, bottom = sorted((plot.y(value), plot.y(0)))
        left = plot.left + (i + 0.5) * step - wide / 2
        tip = _element("title", f"{name}: {_signed(value, metric)}")
        plot.add("rect", tip, x=left, y=top, width=wide, height=bottom - top, fill=f"var(--{tone})")
    plot.horizontal(0, "axis")
    plot.below(f"{second} minus {first}", 40)
    return plot.svg(f"{metric.label}: {second} minus {first}", 48)


def _scale(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """Ends of an axis that holds all values, and about five round ticks on it."""
    low, high = min(values), max(values)
    if high - low < 1e-9:
        low, high = low - max(abs(low) * 0.05, 0.01), high + max(abs(high) * 0.05, 0.01)
    raw = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [i * step for i in range(first, last + 1)]
    return ticks[0], ticks[-1], ticks


def _decimals(ticks: Sequence[float]) -> int:
    """Decimals that all ticks come out round in."""
    return next((d for d in range(8) if all(abs(round(t, d) - t) < 1e-9 for t in ticks)), 8)


# -- figures in words ----------------------------------------------------------------------------------------


def _number(value: float, metric: Metric) -> str:
    return f"{value:.{metric.decimals}f}"


def _signed(value: float, metric: Metric) -> str:
    return f"{value:+.{metric.decimals}f}".replace("-", "−")


def _interval(mean: dict[str, Any], metric: Metric, form: str) -> str:
    """The 95 % interval of a mean, where it has one; `form` is `number` or `signed`."""
    if mean["low"] is None:
        return "too few"
    show = _signed if form == "signed" else _number
    return f"{show(mean['low'], metric)} to {show(mean['high'], metric)}"


def _form(value: float, style: str) -> str:
    """A figure of the tables of detail, without the sign of what is rounded to nothing."""
    return format(value if float(f"{value:.2f}") else 0, style)
