"""The results of an evaluation: figures for programs (CSV, JSON) and one page for people, all from the records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from engine.core.errors import InputError
from engine.core.files import read_object, write_whole
from engine.core.tables import csv_bytes, plain
from engine.evaluation.details import BANDS, DARKNESSES, SATURATIONS, color_table, frequency_table
from engine.evaluation.metrics import FEWEST, METRICS
from engine.evaluation.page import write_page
from engine.evaluation.pairs import Pairs
from engine.evaluation.statistics import compare, mean_of

CSV, JSON, PAGE = "results.csv", "results.json", "report.html"
_RESAMPLES = 1000


@dataclass(frozen=True)
class Results:
    """What an evaluation found."""

    folder: Path
    data: dict[str, Any]
    """Content of `results.json`:

    `labels` (the sets of predictions, the first being the one that others are compared with), `metrics` (keys, the one
    that the page is about first), `unavailable` (by metric, why), `notes`, `summary` (by label and metric: count,
    mean, low, high, median), `paired` (by label and metric: count, difference, better, worse, t_p, wilcoxon_p),
    `details` (by label: `frequency` and `colors`, see `engine.evaluation.details`), and `samples`: by model `name`,
    `picture` and by label its `figures`, `alignment`, `problem` and `notes`.
    """

    @property
    def page(self) -> Path:
        """The report, one file."""
        return self.folder / PAGE

    @property
    def problems(self) -> list[str]:
        """What could not be measured: one sentence each."""
        return [
            f"{sample['name']} ({label}): {found['problem']}"
            for sample in self.data["samples"]
            for label, found in sample["predictions"].items()
            if found["problem"]
        ]


def read_results(folder: Path) -> Results:
    """The results in a folder that an evaluation wrote; `InputError` if there are none."""
    data = read_object(folder / JSON)
    if data is None or "samples" not in data:
        raise InputError(f"{folder} holds no finished evaluation: its {JSON} is missing or damaged.")
    return Results(folder, data)


def picture_path(folder: Path, label: str, name: str, which: str) -> Path:
    """Where a picture of the page lies in the folder of pictures; those of the truth are the same for all labels."""
    if which == "truth":
        return folder / ".truth" / f"{quote(name, safe='')}.jpg"
    return folder / quote(label, safe="") / quote(name, safe="") / f"{which}.jpg"


def write_report(
    out: Path,
    pairs: Pairs,
    metrics: Sequence[str],
    unavailable: Mapping[str, str],
    rows: Mapping[tuple[str, str], dict[str, Any]],
    pictures: Path,
) -> Results:
    """Write the three files from the rows by label and model's name. Raises `OutputError` where they cannot be."""
    samples: list[dict[str, Any]] = []
    for model in pairs.models:
        found: dict[str, Any] = {}
        for label in pairs.labels:
            prediction, row = pairs.predictions.get((label, model.name)), rows.get((label, model.name))
            problem = "There is no prediction of this name." if prediction is None else "It was not measured."
            found[label] = {
                "path": None if prediction is None else str(prediction.path.absolute()),
                "figures": row["figures"] if row else {},
                "alignment": row["alignment"] if row else None,
                "problem": row["problem"] if row else problem,
                "notes": row["notes"] if row else [],
            }
        samples.append({"name": model.name, "path": str(model.path.absolute()), "predictions": found})
    there = [key for key in metrics if any(key in f["figures"] for s in samples for f in s["predictions"].values())]
    data: dict[str, Any] = {
        "format": 1,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "labels": pairs.labels,
        "metrics": there,
        "unavailable": dict(unavailable),
        "notes": pairs.notes,
        "summary": {label: _summary(samples, label, there) for label in pairs.labels},
        "paired": {label: _paired(samples, pairs.labels[0], label, there) for label in pairs.labels[1:]},
        "details": _details(samples, pairs.labels, rows),
        "samples": samples,
    }
    write_whole(out / CSV, _csv(samples, pairs.labels, there))
    write_whole(out / JSON, json.dumps(data, indent=1).encode())
    results = Results(out, data)

    def picture(label: str, name: str, which: str) -> bytes | None:
        path = picture_path(pictures, label, name, which)
        return path.read_bytes() if path.is_file() else None

    write_whole(out / PAGE, write_page(data, picture).encode())
    return results


def values_of(samples: Sequence[dict[str, Any]], label: str, metric: str) -> list[float | None]:
    """A measure of each sample, None where there is none."""
    return [sample["predictions"][label]["figures"].get(metric) for sample in samples]


def _summary(samples: Sequence[dict[str, Any]], label: str, metrics: Sequence[str]) -> dict[str, Any]:
    found = {}
    for metric in metrics:
        mean = mean_of([value for value in values_of(samples, label, metric) if value is not None])
        found[metric] = None if mean is None else asdict(mean)
    return found


def _paired(samples: Sequence[dict[str, Any]], first: str, second: str, metrics: Sequence[str]) -> dict[str, Any]:
    found = {}
    for metric in metrics:
        pairs = zip(values_of(samples, first, metric), values_of(samples, second, metric), strict=True)
        both = np.array([pair for pair in pairs if None not in pair], np.float64).reshape(-1, 2)
        result = compare(both[:, 0], both[:, 1], higher_is_better=METRICS[metric].higher_is_better)
        found[metric] = None if result is None else asdict(result)
    return found


def _details(
    samples: Sequence[dict[str, Any]], labels: Sequence[str], rows: Mapping[tuple[str, str], dict[str, Any]]
) -> dict[str, Any]:
    """The two tables, each pooled over the samples that every label has, with 95 % intervals of the errors."""
    names = [s["name"] for s in samples if all((rows.get((lb, s["name"])) or {}).get("details") for lb in labels)]
    if not names:
        return {}
    draws = np.random.default_rng(0).integers(0, len(names), (_RESAMPLES, len(names)))
    found: dict[str, Any] = {
        "count": len(names),
        "bands": list(BANDS),
        "classes": {"saturation": list(SATURATIONS), "darkness": list(DARKNESSES)},
        "labels": {},
    }
    for label in labels:
        tables = {}
        for kind, table, error in (("frequency", frequency_table, "error"), ("colors", color_table, "difference")):
            sums = np.array([rows[label, name]["details"][kind] for name in names])
            drawn = np.array([table(sums[draw].sum(0))[error] for draw in draws], np.float64)
            with np.errstate(all="ignore"):
                empty = np.asarray(np.isnan(drawn).all(0)) | (len(names) < FEWEST)
                drawn[:, empty] = 0.0
                low, high = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
            tables[kind] = {
                **table(sums.sum(0)),
                "low": [None if none else float(v) for v, none in zip(low, empty, strict=True)],
                "high": [None if none else float(v) for v, none in zip(high, empty, strict=True)],
            }
        found["labels"][label] = tables
    return found


def _csv(samples: Sequence[dict[str, Any]], labels: Sequence[str], metrics: Sequence[str]) -> bytes:
    """One line a prediction, as a spreadsheet opens it."""
    rows = [["model", "predictions", *metrics, "inliers", "problem"]]
    for sample in samples:
        for label in labels:
            found = sample["predictions"][label]
            figures = [found["figures"].get(metric) for metric in metrics]
            inliers = found["alignment"]["inliers"] if found["alignment"] else None
            cells = ["" if value is None else f"{value:.6g}" for value in (*figures, inliers)]
            rows.append([plain(sample["name"]), plain(label), *cells, plain(found["problem"] or "")])
    return csv_bytes(rows, newline="\n")
