"""The report's page: one HTML file that needs nothing else, in light and dark, with its plots as SVG."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Collection, Sequence
from html import escape
from typing import Any

from engine.evaluation.metrics import FEWEST, METRICS, Metric, probability

Picture = Callable[[str, str, str], bytes | None]
"""Of (label, name, which), a JPEG."""

SHOWN = 10
"""Best and worst samples that are shown."""
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 960, 320, 64, 46, 14, 14

_DARK = """--paper:#16181b; --card:#1e2125; --ink:#e6e4df; --soft:#9aa2ad;
 --line:#33383f; --warn:#f0c674; --warn-back:#2d2718; --good:#6cc796; --bad:#ee8b7f;
 --s0:#9aa5b4; --s1:#f08a55; --s2:#6ea8e6; --s3:#74c08f; --s4:#b891dd; --s5:#dcb94f;"""
_STYLE = (
    """
:root { color-scheme: light dark; --paper:#fbfaf7; --card:#fff; --ink:#1f2328; --soft:#5d6570; --line:#e2dfd8;
 --warn:#8a5a00; --warn-back:#fff6e0; --good:#1a7a4c; --bad:#b3382c;
 --s0:#7a8594; --s1:#d9622b; --s2:#2f6fb3; --s3:#3f8f5f; --s4:#8a5bb5; --s5:#b08a1e; }
"""
    # What shows the page may say by `data-theme` which look it has; else it is the system's.
    f"@media (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{ {_DARK} }} }}\n"
    f":root[data-theme=dark] {{ {_DARK} color-scheme: dark }} :root[data-theme=light] {{ color-scheme: light }}"
    """
* { box-sizing:border-box } body { margin:0; background:var(--paper); color:var(--ink);
 font:15px/1.5 system-ui,-apple-system,"Segoe UI","Noto Sans",sans-serif }
main { max-width:1040px; margin:0 auto; padding:32px 24px 64px } h1 { font-size:26px; margin:0 }
h2 { font-size:18px; margin:40px 0 6px } h3 { font-size:15px; margin:24px 0 6px } p { margin:6px 0; max-width:76ch }
.soft, figcaption, small { color:var(--soft) } figcaption { font-size:13px; margin-top:6px }
figure { margin:12px 0 0 } .card { background:var(--card); border:1px solid var(--line); border-radius:10px;
 padding:14px 16px; margin-top:12px } .scroll { overflow-x:auto }
.finding { font-size:17px } .warn { background:var(--warn-back); border-color:transparent; color:var(--warn) }
.warn ul { margin:4px 0 0; padding-left:20px } table { border-collapse:collapse; width:100%;
 font-variant-numeric:tabular-nums } th { font-weight:600; text-align:right; color:var(--soft); font-size:13px;
 vertical-align:bottom } td { text-align:right } th,td { padding:5px 10px; border-bottom:1px solid var(--line);
 white-space:nowrap } tbody tr:last-child > * { border-bottom:0 } tbody > tr > * { vertical-align:top }
 tbody th { font-weight:400; color:var(--ink); font-size:15px }
 thead th { white-space:normal } th.span { text-align:center }
 th:first-child, td:first-child { text-align:left; padding-left:0 }
td small { display:block; font-weight:400; font-size:12px; line-height:1.2 }
 td.text { white-space:normal; text-align:left }
.wins { font-weight:600 } .good { color:var(--good) } .bad { color:var(--bad) } .key { display:inline-block; width:11px;
 height:11px; border-radius:3px; margin-right:6px; vertical-align:-1px } .legend { display:flex; gap:18px;
 flex-wrap:wrap; font-size:13px; margin-bottom:4px } svg { display:block; width:100%; height:auto }
svg text { fill:var(--soft); font-size:12px } .grid { stroke:var(--line) } .axis { stroke:var(--soft) }
.two { display:grid; grid-template-columns:repeat(auto-fill,minmax(380px,1fr)); gap:12px }
.sample { display:grid; gap:8px; align-items:start }
.sample figure { margin:0 } .sample img { display:block; width:100%; border-radius:6px; background:#fff }
.sample .none { aspect-ratio:1; border:1px dashed var(--line); border-radius:6px; display:grid; place-items:center;
 color:var(--soft); font-size:12px; text-align:center } .sample .wide { aspect-ratio:2 }
.sample figcaption { margin-top:3px; font-size:12px; line-height:1.3; overflow-wrap:anywhere }
.name { font-weight:600; margin:0 0 6px; overflow-wrap:anywhere } details { margin-top:14px }
summary { cursor:pointer; font-weight:600 } dl { display:grid; grid-template-columns:max-content 1fr; gap:4px 16px }
dt { font-weight:600 } dd { margin:0 } @media print { details { display:block } }
"""
)


def write_page(data: dict[str, Any], picture: Picture) -> str:
    """The page of results (as `Results.data`) with pictures from `picture`."""
    labels, samples, metrics = data["labels"], data["samples"], [METRICS[key] for key in data["metrics"]]
    versus = " against ".join(labels[:2]) if len(labels) == 2 else ", ".join(labels)
    made = data["made"][:16].replace("T", " ")
    parts = [
        f"<h1>Evaluation</h1><p class=soft>{len(samples)} model{'s' * (len(samples) != 1)} · {escape(versus)} · "
        f"{made} UTC</p>"
    ]
    parts += [_finding(data, metrics[0])] if metrics else []
    parts.append(_notices(data))
    if metrics:
        parts += [_means(data, metrics), _tests(data, metrics), _figures(data, metrics[0], True)]
        parts += [_extremes(data, metrics[0], picture), _details(data)]
        others = "".join(f"<h3>{escape(m.label)}</h3>{_figures(data, m, False)}" for m in metrics[1:])
        parts.append(f"<details><summary>Figures of the other measures</summary>{others}</details>" if others else "")
        parts.append(_all_samples(data, metrics))
        parts.append(_method(metrics))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Evaluation: {escape(versus)}</title><style>{_STYLE}</style></head><body><main>"
        + "\n".join(part for part in parts if part)
        + "</main></body></html>\n"
    )


# -- words and tables ----------------------------------------------------------------------------------------


def _finding(data: dict[str, Any], metric: Metric) -> str:
    """What came out, in a sentence for each run."""
    first = data["labels"][0]
    lines = []
    for label in data["labels"][1:]:
        found = data["paired"][label].get(metric.key)
        if found is None:
            continue
        difference = found["difference"]
        p, t_p = (probability(found[test], found["count"]) for test in ("wilcoxon_p", "t_p"))
        sure = "" if found["wilcoxon_p"] is None else f"; Wilcoxon p {p}, paired t p {t_p}"
        lines.append(
            f"<p class=finding><b>{escape(label)}</b> against <b>{escape(first)}</b>: {escape(metric.label)} better on "
            f"{found['better']} of {found['count']} model{'s' * (found['count'] != 1)}, "
            f"{_signed(difference['mean'], metric)} on average ({_confidence(difference, metric, _signed)}{sure}).</p>"
        )
    if not lines:
        mean = data["summary"][first].get(metric.key)
        if mean is not None:
            lines.append(
                f"<p class=finding><b>{escape(first)}</b>: {escape(metric.label)} {_number(mean['mean'], metric)} on "
                f"average over {mean['count']} model{'s' * (mean['count'] != 1)} "
                f"({_confidence(mean, metric, _number)}).</p>"
            )
    return f"<div class=card>{''.join(lines)}</div>" if lines else ""


def _notices(data: dict[str, Any]) -> str:
    lines = [f"{METRICS[key].label} was not measured. {text}" for key, text in data["unavailable"].items()]
    lines += data["notes"]
    for label in data["labels"]:
        found = [(s["name"], s["predictions"][label]["problem"]) for s in data["samples"]]
        failed = [(name, problem) for name, problem in found if problem]
        if failed:
            named = " ".join(f"{name}: {problem.removesuffix('.')}." for name, problem in failed[:8])
            more = f" And {len(failed) - 8} more, in the list of all samples." if len(failed) > 8 else ""
            lines.append(f"{label}: {len(failed)} of {len(found)} not measured. {named}{more}")
    if not lines:
        return ""
    return f"<div class='card warn'><ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul></div>"


def _means(data: dict[str, Any], metrics: Sequence[Metric]) -> str:
    labels = data["labels"]
    head = "".join(f"<th>{_key(i)}{escape(label)}</th>" for i, label in enumerate(labels))
    body = []
    for metric in metrics:
        means = [data["summary"][label].get(metric.key) for label in labels]
        there = [m["mean"] for m in means if m is not None]
        best = (max if metric.higher_is_better else min)(there) if len(there) > 1 else None
        cells = []
        for mean in means:
            if mean is None:
                cells.append("<td>–</td>")
                continue
            wins = " class=wins" if mean["mean"] == best else ""
            cells.append(
                f"<td{wins}>{_number(mean['mean'], metric)}<small>{_interval(mean, metric, _number)}, "
                f"n = {mean['count']}</small></td>"
            )
        body.append(f"<tr><th>{_title(metric)}</th>{''.join(cells)}</tr>")
    return (
        "<h2>Means</h2><p class=soft>With 95 % bootstrap confidence intervals over the models.</p>"
        f"<div class='card scroll'><table><thead><tr><th>Measure</th>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _tests(data: dict[str, Any], metrics: Sequence[Metric]) -> str:
    tables = []
    for label in data["labels"][1:]:
        body = []
        for metric in metrics:
            found = data["paired"][label].get(metric.key)
            if found is None:
                continue
            difference = found["difference"]
            gain = difference["mean"] * (1 if metric.higher_is_better else -1)
            tone = "good" if gain > 0 else "bad" if gain < 0 else ""
            body.append(
                f"<tr><th>{_title(metric)}</th><td class={tone or 'none'}>{_signed(difference['mean'], metric)}"
                f"<small>{_interval(difference, metric, _signed)}</small></td>"
                f"<td>{found['better']} : {found['worse']}</td>"
                + "".join(f"<td>{probability(found[test], found['count'])}</td>" for test in ("wilcoxon_p", "t_p"))
                + f"<td>{found['count']}</td></tr>"
            )
        tables.append(
            f"<div class='card scroll'><table><thead><tr><th>{escape(label)} minus {escape(data['labels'][0])}</th>"
            "<th>Mean difference</th><th>Better : worse</th><th>Wilcoxon p</th><th>Paired t p</th><th>n</th></tr>"
            f"</thead><tbody>{''.join(body)}</tbody></table></div>"
        )
    if not tables:
        return ""
    return (
        "<h2>Paired tests</h2><p class=soft>On the models that both measured; two-sided. "
        f"Fewer than {FEWEST} are too few for an interval or a test.</p>" + "".join(tables)
    )


def _details(data: dict[str, Any]) -> str:
    found = data["details"]
    if not found:
        return ""
    labels = data["labels"]

    def table(kind: str, rows: Sequence[str], lead: tuple[str, str], columns: Sequence[tuple[str, str, str]]) -> str:
        """`lead`: key and title of the share; `columns`: key, title and format of what each label has."""
        top = "".join(
            f"<th class=span colspan={len(columns)}>{_key(i)}{escape(lb)}</th>" for i, lb in enumerate(labels)
        )
        head = "".join(f"<th>{title}</th>" for _ in labels for _, title, _ in columns)
        shares = found["labels"][labels[0]][kind][lead[0]]
        offset = 0
        body = []
        for row in rows:
            if row.startswith("#"):
                body.append(f"<tr><th colspan={2 + len(labels) * len(columns)}><b>{row[1:]}</b></th></tr>")
                continue
            cells = []
            for label in labels:
                values = found["labels"][label][kind]
                for i, (key, _, form) in enumerate(columns):
                    value = values[key][offset]
                    if value is None:
                        cells.append("<td>–</td>")
                        continue
                    low, high = values["low"][offset], values["high"][offset]
                    interval = f"<small>{low:{form}} to {high:{form}}</small>" if i == 0 and low is not None else ""
                    shown = f"{value:{form}}" if float(f"{value:.2f}") else f"{0:{form}}"
                    cells.append(f"<td>{shown}{interval}</td>")
            body.append(f"<tr><th>{escape(row)}</th><td>{shares[offset]:.0%}</td>{''.join(cells)}</tr>")
            offset += 1
        first = "Cycles along the object" if kind == "frequency" else "True colour"
        return (
            f"<div class='card scroll'><table><thead><tr><th></th><th></th>{top}</tr><tr><th>{first}</th>"
            f"<th>{lead[1]}</th>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        )

    bands = table(
        "frequency",
        found["bands"],
        ("contrast", "Share of contrast"),
        (("error", "Relative error", ".2f"), ("kept", "Contrast kept", ".0%"), ("correlation", "Correlation", ".2f")),
    )
    intervals = "95 % bootstrap intervals" if found["count"] >= FEWEST else "too few for intervals"
    rows = ["#Saturation", *found["classes"]["saturation"], "#Lightness (value)", *found["classes"]["darkness"]]
    colors = table(
        "colors",
        rows,
        ("share", "Share of pixels"),
        (("difference", "Difference", ".1f"), ("lighter", "Lighter by", "+.1f"), ("more_colourful", "Chroma", "+.1f")),
    )
    return (
        "<h2>Where the texture fails: fine detail</h2><p class=soft>The truth's texture and the error taken apart by "
        "spatial frequency, in unlit pictures, over the pixels that both share. A relative error of 1 is what a "
        "picture without that detail would have. "
        f"Pooled over {found['count']} models, {intervals}.</p>{bands}"
        "<h2>Where the texture fails: deep and dark colours</h2><p class=soft>Difference of colours (CIE 1976 ΔE) by "
        "the true colour's saturation and value, both 0 to 1; and by how much the prediction is lighter (L*) and more "
        f"colourful (C*, negative where it is paler).</p>{colors}"
    )


def _all_samples(data: dict[str, Any], metrics: Sequence[Metric]) -> str:
    head = "".join(f"<th>{escape(metric.label)}</th>" for metric in metrics)
    body = []
    for sample in data["samples"]:
        for i, label in enumerate(data["labels"]):
            found = sample["predictions"][label]
            if found["problem"]:
                cells = f"<td class=text colspan={len(metrics)}>{escape(found['problem'])}</td>"
            else:
                values = (found["figures"].get(metric.key) for metric in metrics)
                cells = "".join(
                    f"<td>{'–' if v is None else _number(v, m)}</td>" for v, m in zip(values, metrics, strict=True)
                )
            name = escape(sample["name"]) if i == 0 else ""
            body.append(f"<tr><th>{name}</th><td>{_key(i)}{escape(label)}</td>{cells}</tr>")
    return (
        "<details><summary>All samples</summary><div class='card scroll'><table><thead><tr><th>Model</th><th></th>"
        f"{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div></details>"
    )


def _method(metrics: Sequence[Metric]) -> str:
    entries = "".join(f"<dt>{escape(m.label)}</dt><dd>{escape(m.meaning)}</dd>" for m in metrics)
    return (
        "<details><summary>How it was measured</summary><div class=card><p>Each prediction is first laid onto its true "
        "model as One-2-3-45 does: up axes aligned, linear search over scale and rotation about the vertical, ICP for "
        "each, and the best count of inliers kept. Surfaces are what can be seen from outside. Pictures are taken by "
        "the 32 cameras of the source views (8 viewpoints, 4 neighbours of each) of an input at 30 degrees.</p>"
        f"<dl>{entries}</dl></div></details>"
    )


# -- best and worst ------------------------------------------------------------------------------------------


def _extremes(data: dict[str, Any], metric: Metric, picture: Picture) -> str:
    last = data["labels"][-1]
    scored = [
        (sample["predictions"][last]["figures"][metric.key], sample)
        for sample in data["samples"]
        if metric.key in sample["predictions"][last]["figures"]
    ]
    scored.sort(key=lambda pair: pair[0], reverse=metric.higher_is_better)
    worst_count = min(SHOWN, len(scored) // 2)
    best, worst = scored[: min(SHOWN, len(scored) - worst_count)], scored[len(scored) - worst_count :][::-1]
    shown = [sample["name"] for _, sample in best + worst]
    given = {w for w in ("input", "views") if any(picture(lb, n, w) for lb in data["labels"] for n in shown)}
    parts = []
    for title, chosen in (("Best", best), ("Worst", worst)):
        if chosen:
            cards = "".join(_sample(data, sample, metric, picture, given) for _, sample in chosen)
            number = f"The {len(chosen)} {title.lower()}" if len(chosen) > 1 else f"The {title.lower()}"
            parts.append(f"<h2>{number}</h2><p class=soft>By the {escape(metric.label)} of {escape(last)}.</p>{cards}")
    return "".join(parts)


def _sample(
    data: dict[str, Any], sample: dict[str, Any], metric: Metric, picture: Picture, given: Collection[str]
) -> str:
    """`given`: which of `input` and `views` there are at all."""
    name, labels = sample["name"], data["labels"]

    def first_of(which: str) -> bytes | None:
        return next((found for label in reversed(labels) if (found := picture(label, name, which))), None)

    shown = [
        (which, caption) for which, caption in (("input", "Input"), ("views", "Generated views")) if which in given
    ]
    tiles = [_tile(first_of(which), caption, wide=False) for which, caption in shown]
    tiles.append(_tile(first_of("truth"), "Truth", wide=True))
    meshes = []
    for i, label in enumerate(labels):
        value = sample["predictions"][label]["figures"].get(metric.key)
        text = f"{_key(i)}{escape(label)}" + (f", <b>{_number(value, metric)}</b>" if value is not None else "")
        meshes.append(_tile(picture(label, name, "mesh"), text, wide=True))
    columns = " ".join(["1fr"] * len(shown) + ["2fr"] * (1 + len(labels)))
    return (
        f"<div class=card><p class=name>{escape(name)}</p><div class=sample style='grid-template-columns:{columns}'>"
        f"{''.join(tiles + meshes)}</div></div>"
    )


def _tile(jpeg: bytes | None, caption: str, *, wide: bool) -> str:
    if jpeg is None:
        return f"<figure><div class='none{' wide' * wide}'>none</div><figcaption>{caption}</figcaption></figure>"
    source = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
    return f"<figure><img loading=lazy alt='' src='{source}'><figcaption>{caption}</figcaption></figure>"


# -- plots ---------------------------------------------------------------------------------------------------


def _figures(data: dict[str, Any], metric: Metric, heading: bool) -> str:
    labels, samples = data["labels"], data["samples"]
    columns = {
        label: [sample["predictions"][label]["figures"].get(metric.key) for sample in samples] for label in labels
    }
    there = [value for values in columns.values() for value in values if value is not None]
    if not there:
        return ""
    legend = "".join(f"<span>{_key(i)}{escape(label)}</span>" for i, label in enumerate(labels))
    title = f"<h2>{escape(metric.label)} by sample</h2>" if heading else ""
    order = sorted(
        (i for i in range(len(samples)) if any(columns[label][i] is not None for label in labels)),
        key=lambda i: (columns[labels[0]][i] is None, columns[labels[0]][i] or 0.0),
    )
    names = [samples[i]["name"] for i in order]
    curves = _curves([[columns[label][i] for i in order] for label in labels], labels, names, metric)
    found = (
        f"{title}<figure class=card><div class=legend>{legend}</div>{curves}"
        f"<figcaption>{_title(metric)} of each model, ordered by that of {escape(labels[0])}.</figcaption></figure>"
    )
    scatters = []
    for i, label in enumerate(labels[1:], 1):
        points = [
            (a, b, sample["name"])
            for a, b, sample in zip(columns[labels[0]], columns[label], samples, strict=True)
            if a is not None and b is not None
        ]
        if points:
            above = "above" if metric.higher_is_better else "below"
            scatters.append(
                f"<figure class=card>{_scatter(points, labels[0], label, i, metric)}<figcaption>One point a model; "
                f"{above} the diagonal {escape(label)} is better.</figcaption></figure>"
                f"<figure class=card>{_differences(points, labels[0], label, metric)}<figcaption>One bar a model, in "
                "order; green where it got better.</figcaption></figure>"
            )
    return found + (f"<div class=two>{''.join(scatters)}</div>" if scatters else "")


def _curves(
    columns: Sequence[Sequence[float | None]], labels: Sequence[str], names: Sequence[str], metric: Metric
) -> str:
    low, high, ticks = _scale([v for column in columns for v in column if v is not None])
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(i: int) -> float:
        return _LEFT + (width / 2 if len(names) == 1 else (0.01 + 0.98 * i / (len(names) - 1)) * width)

    def y(value: float) -> float:
        return _TOP + height * (1 - (value - low) / (high - low))

    parts = [_horizontal(ticks, y, _LEFT, _WIDTH - _RIGHT)]
    step = max(1, math.ceil(len(names) / 14))
    for i in range(0, len(names), step):
        parts.append(f"<text x={x(i):.1f} y={_HEIGHT - _BOTTOM + 18} text-anchor=middle>{i + 1}</text>")
    parts.append(f"<text x={_LEFT + width / 2:.0f} y={_HEIGHT - 8} text-anchor=middle>sample</text>")
    for n, column in enumerate(columns):
        line, pen = [], "M"
        for i, value in enumerate(column):
            if value is None:
                pen = "M"
                continue
            line.append(f"{pen}{x(i):.1f} {y(value):.1f}")
            pen = "L"
        color = _color(n)
        parts.append(f"<path d='{' '.join(line)}' fill=none stroke='{color}' stroke-width=1.8 stroke-linejoin=round />")
        for i, value in enumerate(column):
            if value is not None:
                tip = f"{escape(names[i])}, {escape(labels[n])}: {_number(value, metric)}"
                parts.append(
                    f"<circle cx={x(i):.1f} cy={y(value):.1f} r=2.6 fill='{color}'><title>{tip}</title></circle>"
                )
    return _svg(_WIDTH, _HEIGHT, parts, f"{metric.label} by sample")


def _scatter(points: Sequence[tuple[float, float, str]], first: str, second: str, color: int, metric: Metric) -> str:
    side, left = 440, 64
    low, high, ticks = _scale([v for point in points for v in point[:2]])
    span = side - left - 24

    def x(value: float) -> float:
        return left + span * (value - low) / (high - low)

    def y(value: float) -> float:
        return 12 + span * (1 - (value - low) / (high - low))

    parts = [_horizontal(ticks, y, left, left + span)]
    for tick in ticks:
        parts.append(f"<line class=grid x1={x(tick):.1f} x2={x(tick):.1f} y1=12 y2={12 + span} />")
        parts.append(
            f"<text x={x(tick):.1f} y={12 + span + 18} text-anchor=middle>{tick:.{_tick_decimals(ticks)}f}</text>"
        )
    parts.append(
        f"<line class=axis stroke-dasharray='4 4' x1={x(low):.1f} y1={y(low):.1f} x2={x(high):.1f} y2={y(high):.1f} />"
    )
    parts.append(f"<text x={left + span / 2:.0f} y={12 + span + 40} text-anchor=middle>{escape(first)}</text>")
    parts.append(
        f"<text x=14 y={12 + span / 2:.0f} text-anchor=middle transform='rotate(-90 14 {12 + span / 2:.0f})'>"
        f"{escape(second)}</text>"
    )
    for a, b, name in points:
        tip = f"{escape(name)}: {_number(a, metric)}, then {_number(b, metric)}"
        mark = f"cx={x(a):.1f} cy={y(b):.1f} r=4 fill='{_color(color)}' fill-opacity=.75"
        parts.append(f"<circle {mark}><title>{tip}</title></circle>")
    return _svg(side, 12 + span + 48, parts, f"{metric.label}: {second} over {first}")


def _differences(points: Sequence[tuple[float, float, str]], first: str, second: str, metric: Metric) -> str:
    """Bars of second minus first, the smallest first."""
    side, left = 440, 64
    found = sorted((b - a, name) for a, b, name in points)
    low, high, ticks = _scale([0.0, *(value for value, _ in found)])
    width, height = side - left - 12, side - left - 24

    def y(value: float) -> float:
        return 12 + height * (1 - (value - low) / (high - low))

    parts = [_horizontal(ticks, y, left, side - 12)]
    step = width / len(found)
    for i, (value, name) in enumerate(found):
        tone = "good" if (value > 0) == metric.higher_is_better else "bad"
        bar = min(step * 0.8, 40.0)
        parts.append(
            f"<rect x={left + (i + 0.5) * step - bar / 2:.1f} y={min(y(value), y(0)):.1f} width={bar:.1f} "
            f"height={abs(y(value) - y(0)):.1f} fill='var(--{tone})'><title>{escape(name)}: {_signed(value, metric)}"
            "</title></rect>"
        )
    parts.append(f"<line class=axis x1={left} x2={side - 12} y1={y(0):.1f} y2={y(0):.1f} />")
    text = f"{escape(second)} minus {escape(first)}"
    parts.append(f"<text x={left + width / 2:.0f} y={12 + height + 40} text-anchor=middle>{text}</text>")
    return _svg(side, 12 + height + 48, parts, f"{metric.label}: {second} minus {first}")


def _horizontal(ticks: Sequence[float], y: Callable[[float], float], left: float, right: float) -> str:
    """Grid lines with their figures."""
    digits = _tick_decimals(ticks)
    return "".join(
        f"<line class=grid x1={left} x2={right} y1={y(tick):.1f} y2={y(tick):.1f} />"
        f"<text x={left - 8} y={y(tick) + 4:.1f} text-anchor=end>{tick:.{digits}f}</text>"
        for tick in ticks
    )


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


def _tick_decimals(ticks: Sequence[float]) -> int:
    """Decimals that all ticks come out round in."""
    return next((d for d in range(8) if all(abs(round(t, d) - t) < 1e-9 for t in ticks)), 8)


def _svg(width: int, height: int, parts: Sequence[str], label: str) -> str:
    return f"<svg viewBox='0 0 {width} {height}' role=img aria-label='{escape(label)}'>{''.join(parts)}</svg>"


# -- small pieces --------------------------------------------------------------------------------------------


def _title(metric: Metric) -> str:
    arrow = "↑" if metric.higher_is_better else "↓"
    unit = f", {metric.unit}" if metric.unit else ""
    way = "higher is better" if metric.higher_is_better else "lower is better"
    return f"{escape(metric.label)}{unit} <span class=soft title='{way}'>{arrow}</span>"


def _number(value: float, metric: Metric) -> str:
    return f"{value:.{metric.decimals}f}"


def _signed(value: float, metric: Metric) -> str:
    return f"{value:+.{metric.decimals}f}".replace("-", "−")


def _interval(mean: dict[str, Any], metric: Metric, form: Callable[[float, Metric], str]) -> str:
    """The 95 % interval of a mean, where it has one."""
    if mean["low"] is None:
        return "too few"
    return f"{form(mean['low'], metric)} to {form(mean['high'], metric)}"


def _confidence(mean: dict[str, Any], metric: Metric, form: Callable[[float, Metric], str]) -> str:
    if mean["low"] is None:
        return "too few models for an interval or a test"
    return f"95 % confidence {_interval(mean, metric, form)}"


def _color(index: int) -> str:
    return f"var(--s{index % 6})"


def _key(index: int) -> str:
    return f"<span class=key style='background:{_color(index)}'></span>"
