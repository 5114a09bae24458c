"""`oriel evaluate`, as a user types it, on a cluster of processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from app import cli
from tests.engine.evaluation.models import write_study

MAIN = Path(__file__).resolve().parents[2] / "main.py"
PATIENCE = 240.0
"""Seconds for what takes a few on a machine that is not busy."""


def evaluate(*arguments: object) -> int:
    return cli.main(["evaluate", *map(str, arguments)])


def test_killed_on_a_cluster_and_gone_on_with_gives_the_same_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models, worse, better = write_study(tmp_path, 2)
    common = ["--models", models, "--predictions", worse, better, "--metrics", "f_score"]
    out = tmp_path / "killed"
    command = [sys.executable, MAIN, "evaluate", *common, "-o", out, "--workers", "1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    records = out / "measures.jsonl"
    with subprocess.Popen(list(map(str, command)), env=environment, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + PATIENCE
        while not (records.exists() and records.read_bytes().count(b"\n")):
            assert process.poll() is None and time.monotonic() < deadline, process.stderr and process.stderr.read()
            time.sleep(0.05)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
    assert workers
    _, alive = psutil.wait_procs(workers, PATIENCE)
    assert not alive, "the workers end with the program"
    assert not (out / "results.csv").exists()

    kept = records.read_bytes()
    assert evaluate(*common, "-o", out, "--workers", 0) == 0
    shown, said = capsys.readouterr()
    assert "F-score" in shown and "Wilcoxon p" in shown and str(out / "report.html") in shown and said == ""
    assert records.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1]), "what was measured is kept"
    rows = [json.loads(line) for line in records.read_bytes().splitlines()]
    assert sorted((row["name"], row["label"]) for row in rows) == [
        (name, label) for name in ("house 0", "house 1") for label in ("better", "worse")
    ]

    # The whole, measured without a break in this process, is the same to the last digit that is shown.
    (out / "measures.jsonl").rename(out / "earlier.jsonl")
    table = (out / "results.csv").read_bytes()
    assert evaluate(*common, "-o", out, "--workers", 0, "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert (out / "results.csv").read_bytes() == table
    assert data["labels"] == ["worse", "better"] and data["paired"]["better"]["f_score"]["better"] == 2


def test_what_cannot_go_well_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models, worse, _ = write_study(tmp_path, 1)
    here = ("--models", models, "--predictions", worse, "-o", tmp_path / "out")
    for arguments, text in (
        (("--models", tmp_path / "none", "--predictions", worse, "-o", tmp_path / "out"), "There is no folder"),
        ((*here, "--metrics", "beauty"), "no measure 'beauty'"),
        ((*here, "--metrics", ","), "No measure was chosen"),
        ((*here, "--clip", tmp_path / "clip.bin"), "clip.bin"),
        ((*here, "--workers", -1), "Workers are -1"),
    ):
        assert evaluate(*arguments) == 2
        assert text in capsys.readouterr().err
    (worse / "house 0.ply").write_bytes(b"ply\n")
    assert evaluate(*here, "--workers", 0, "--metrics", "f_score") == 2
    shown, said = capsys.readouterr()
    assert "house 0 (worse): house 0.ply" in said and "report" in shown
