"""What a run leaves on disk: its settings, its log, its looks at validation models; readable while it goes on."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.core import ledger
from engine.core.errors import InputError, OrielError, OutputError
from engine.core.files import lock_folder, read_object, whole_file, write_whole, writing
from engine.training.options import FineTuneOptions

if TYPE_CHECKING:
    from engine.meshes.mesh import Mesh

RUN, LOG, WEIGHTS, LOCK, CHECKPOINTS = "finetune.json", "log.csv", "surface.safetensors", ".lock", "checkpoints"
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


@dataclass(frozen=True)
class RunState:
    """What the folder of a run holds."""

    step: int = 0
    """Of the newest checkpoint."""
    steps: int = 0
    """Of the whole run; 0 where not known."""
    resumable: bool = False
    """Whether there is a checkpoint to go on from."""
    weights: Path | None = None
    """That can be used."""


def read_state(out: Path) -> RunState:
    """How far the run in a folder is."""
    from engine.training.data import PRINCIPAL

    record = read_run(out) or {}
    found = sorted(out.glob(f"{CHECKPOINTS}/step-*.ckpt"))
    step = int(found[-1].stem.partition("-")[2]) if found else 0
    steps = 0
    with contextlib.suppress(OrielError, TypeError, ValueError, KeyError):
        options = FineTuneOptions.from_dict(record["options"])
        steps = options.plan(len(record["train"]) * len(PRINCIPAL), int(record.get("processes", 1)))[0]
    weights = out / WEIGHTS
    return RunState(step, steps, bool(found), weights if weights.is_file() else None)


def at_work(out: Path) -> bool:
    """Whether somebody trains in a folder now."""
    with contextlib.suppress(OutputError):
        if (out / LOCK).exists():
            try:
                lock_folder(out, LOCK, "").release()
            except InputError:
                return True
    return False


# -- looks at validation models ------------------------------------------------------------------------------


def keep_look(out: Path, key: str, step: int, figures: dict[str, float], mesh: Mesh) -> None:
    """Keep what a validation found of a model in place of what was found before."""
    import numpy as np

    path = _look(out, key)
    colors = np.zeros((0, 3), np.uint8) if mesh.colors is None else mesh.colors
    with writing(path.parent):
        path.parent.mkdir(exist_ok=True)
        with whole_file(path) as partial, partial.open("wb") as file:
            np.savez_compressed(
                file, vertices=mesh.vertices, faces=mesh.faces, colors=colors, step=step, figures=json.dumps(figures)
            )


def kept_figures(out: Path, key: str) -> tuple[int, dict[str, float]] | None:
    """Step and figures of the newest look at a validation model; None if none is kept."""
    import numpy as np

    with contextlib.suppress(OSError, ValueError, KeyError), np.load(_look(out, key)) as kept:
        return int(kept["step"]), json.loads(str(kept["figures"])) if "figures" in kept else {}
    return None


def kept_mesh(out: Path, key: str, step: int) -> Mesh | None:
    """The mesh of a validation model, if what is kept is of this step."""
    import numpy as np

    from engine.meshes.mesh import Mesh

    with contextlib.suppress(OSError, ValueError, KeyError), np.load(_look(out, key)) as kept:
        if int(kept["step"]) == step:
            return Mesh(kept["vertices"], kept["faces"], colors=kept["colors"] if len(kept["colors"]) else None)
    return None


def _look(out: Path, key: str) -> Path:
    return out / "validation" / f"{key.replace('/', '_')}.npz"
