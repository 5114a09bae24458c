"""What a run leaves on disk besides weights: its settings and its log, readable while it goes on."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.core import ledger
from engine.core.files import read_object, write_whole, writing

RUN, LOG, WEIGHTS = "finetune.json", "log.csv", "surface.safetensors"
COLUMNS = (
    "kind", "step", "epoch", "seconds", "rate", "loss", "rgb", "mask", "eikonal", "sparsity", "depth", "sharpness",
    "inside", "outside", "gradient", "psnr", "mask_iou", "depth_error", "f_score", "score", "message",
)  # fmt: skip
"""Columns of the log. `kind` is `train` (means over some steps), `validate`, `rollback` or `collapse`."""


def append_row(path: Path, columns: Sequence[str], row: Mapping[str, Any]) -> int:
    """Append a row to a CSV file, floats shortened, with the header if it is new; returns the file's length."""
    short = {name: round(v, 6) if isinstance(v, float) else v for name, v in row.items()}
    head, line = io.StringIO(newline=""), io.StringIO(newline="")
    csv.DictWriter(head, columns).writeheader()
    csv.DictWriter(line, columns).writerow(short)
    with writing(path):
        return ledger.append(path, line.getvalue().encode(), head.getvalue().encode())


def cut(path: Path, length: int) -> None:
    """Forget what a log says beyond `length` bytes."""
    if path.exists() and path.stat().st_size > length:
        os.truncate(path, length)


def read_log(out: Path) -> list[dict[str, Any]]:
    """The rows of a run's log, oldest first: numbers as floats, empty cells left out; a torn last row too."""
    try:
        text = (out / LOG).read_bytes().decode(errors="replace")
    except OSError:
        return []
    whole = text[: text.rfind("\n") + 1]
    rows = []
    for row in csv.DictReader(io.StringIO(whole, newline="")):
        found: dict[str, Any] = {}
        for name, value in row.items():
            if name and value:
                found[name] = value if name in ("kind", "message") else float(value)
        rows.append(found)
    return rows


def write_run(out: Path, content: dict[str, Any]) -> None:
    """Write what a run is about: `data`, `options`, `train` and `validation` (keys), `started`."""
    write_whole(out / RUN, json.dumps(content, indent=1).encode())


def read_run(out: Path) -> dict[str, Any] | None:
    """What `write_run` wrote; None if there is no run."""
    return read_object(out / RUN)
