"""Seconds and memory of whole reconstructions, each in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from app.demo import samples
from engine.cameras import REFERENCE_SIZE, Pose, intrinsics
from engine.core.errors import EmptyResultError, InputError
from engine.reconstruct.options import STAGES
from engine.reconstruct.run import Run
from tests.benchmarks.measures import silhouette_iou
from tests.benchmarks.table import Table

MAIN = Path(__file__).resolve().parents[2] / "main.py"


def measure_speed(table: Table, folder: Path) -> None:
    """Every bundled sample at standard quality, the first also as a draft and fine."""
    pictures = samples()
    if not pictures:
        raise InputError("There are no bundled samples in resources/samples. Make them with `make samples`.")
    jobs = [(picture, "standard") for picture in pictures] + [(pictures[0], "draft"), (pictures[0], "fine")]
    for picture, quality in jobs:
        _measure(table, picture, quality, folder / quality)


def _measure(table: Table, picture: Path, quality: str, folder: Path) -> None:
    command = [sys.executable, str(MAIN), "reconstruct", str(picture), "-o", str(folder), "--quality", quality]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)  # unlike Popen.wait, with the memory of this child alone
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    if process.returncode:
        raise EmptyResultError(f"oriel reconstruct {picture.name} failed: {said.strip().splitlines()[-1:]}")
    run_folder = folder / picture.stem
    report = json.loads((run_folder / "report.json").read_text())
    group = f"{quality}, {picture.stem}"
    table.add(group, "whole process, start included", wall, "s", "target <= 45 s" if quality == "standard" else "")
    table.add(group, "peak memory", usage.ru_maxrss / 1024, "MB", "target < 4096 MB" if quality == "standard" else "")
    for stage in STAGES:
        figures = report["stages"][stage]
        table.add(group, f"  {stage}", figures["seconds"], "s", f"peak {figures['peak_mb']:.0f} MB")
    table.add(
        group, "silhouette IoU in the input's camera", input_silhouette(Run.open(run_folder)), "", "target >= 0.90"
    )


def input_silhouette(run: Run) -> float:
    """IoU of the finished mesh's silhouette, seen by the input's camera, with the framed input's mask."""
    mesh, framed, estimate = run.mesh(), run.framed(), run.elevation()
    if mesh is None or framed is None or estimate is None:
        return 0.0
    return silhouette_iou(mesh, framed[..., 3], Pose(estimate.value, 0.0).matrix(), intrinsics(REFERENCE_SIZE))
