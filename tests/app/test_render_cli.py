"""`oriel render`, as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from app import cli
from engine.rendering import layout
from engine.rendering.jobs import RenderSettings
from tests.benchmarks.render_farm import MAIN, wait_for, write_models
from tests.render_models import BAD, ODD

QUICK = ("--size", 16, "--samples", 1, "--no-denoise")
FARM = ("--workers", 2, "--keep-free", 0)


def render(*arguments: object) -> int:
    return cli.main(["render", *map(str, arguments)])


def test_run_status_retry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "models", tmp_path / "renders"
    write_models(source, 2, "skyscraper")
    BAD["flat.glb"][0](source / "flat.glb")
    assert render("run", source, "-o", out, *QUICK, *FARM) == 2
    said, complaint = capsys.readouterr()
    assert "2 done, 1 failed" in said and "done skyscraper_3000000000" in complaint
    assert "flat failed" in complaint and str(out / "logs" / "flat.log") in complaint
    assert f"1 of 3 models were set aside. Mend them, or leave them out; `oriel render retry {out}`" in complaint
    # The second attempt was another worker's.
    lines = [json.loads(line) for line in (out / "render.jsonl").read_text().splitlines()]
    failures = [line for line in lines if line["key"] == "flat"]
    assert [line["event"] for line in failures] == ["failed", "aside"]
    assert failures[0]["worker"] != failures[1]["worker"]

    assert render("status", out) == 0
    said = capsys.readouterr().out
    assert "state      finished" in said and "2 done, 1 failed, of 3" in said and "flat failed (2 attempts)" in said
    assert render("status", out, "--json") == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["done"], status["failed"], status["frames"]) == (2, 1, 80)
    assert [model["state"] for model in status["models"]] == ["failed", "done", "done"]
    assert render("watch", out) == 0
    assert "2 done, 1 failed" in capsys.readouterr().out

    # The settings are those of the folder, unless they are named; all is known, so that nothing is begun.
    assert render("run", source, "-o", out, *FARM) == 2
    assert "flat failed" in capsys.readouterr().err
    assert render("run", source, "-o", out, "--samples", 2, *FARM) == 2
    assert "samples is 1 there and 2 here" in capsys.readouterr().err
    assert render("retry", out, "none") == 2
    assert "has no model none" in capsys.readouterr().err
    ODD["draco.glb"](source / "flat.glb")
    assert render("retry", out, "flat", "--json", *FARM) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["key"]: line["state"] for line in told[:-1]}["flat"] == "done" and told[-1]["done"] == 3
    assert render("retry", out) == 0
    assert "no model failed" in capsys.readouterr().out


def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path) -> None:
    source, out = tmp_path / "models", tmp_path / "renders"
    models = write_models(source, 3, "skyscraper")
    command = [
        sys.executable,
        str(MAIN),
        "render",
        "run",
        str(source),
        "-o",
        str(out),
        "--size",
        "256",
        *map(str, FARM),
    ]
    pipe = subprocess.PIPE
    process = subprocess.Popen(list(map(str, command)), stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    try:
        path = out / "progress.json"
        wait_for(lambda: (path.exists() and '"rendering"' in path.read_text()) or process.poll() is not None)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        said, complaint = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "to go" in said and "the same command goes on from here" in complaint
    assert "Traceback" not in complaint and "interrupted" in complaint
    settings = RenderSettings(size=256)
    assert not all(layout.is_finished(out, model, settings) for model in models)
    assert cli.main(["render", "status", str(out)]) == 0


def test_a_look_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [model] = write_models(tmp_path / "models", 1, "skyscraper")
    sheet, picture = tmp_path / "a" / "sheet.png", tmp_path / "frame.png"
    assert render("preview", model.path, "-o", sheet, "--side", 32) == 0
    with Image.open(sheet) as shown:
        assert shown.size == (8 * 32, 5 * 32) and len(shown.getcolors(8 * 32 * 5 * 32)) > 5
    assert render("frame", model.path, "-o", picture, "--view", "view_0_3_10", *QUICK) == 0
    with Image.open(picture) as shown:
        assert shown.size == (16, 16) and shown.mode == "RGBA"
    assert "view_0_3_10 of" in capsys.readouterr().out
    for arguments, text in (
        (("frame", model.path, "-o", picture, "--view", "view_9"), "There is no view view_9"),
        (("frame", tmp_path / "x.glb", "-o", picture), "There is no file"),
        (("frame", model.path, "-o", picture, "--size", 3), "size is 3"),
        (("preview", model.path, "-o", sheet, "--side", 1), "--side is 1"),
        (("run", tmp_path / "none", "-o", tmp_path), "none"),
        (("run", model.path, "-o", tmp_path / "r", "--workers", 0), "workers is 0"),
        (("run", model.path, "-o", tmp_path / "r", "--workers", 1, "--scheduler", "tcp://x:1"), "choose them there"),
        (("status", tmp_path / "none"), "There is no folder"),
        (("worker", "tcp://127.0.0.1:9"), "No scheduler answers at tcp://127.0.0.1:9"),
        (("worker", "tcp://127.0.0.1:9", "--workers", 0), "--workers is 0"),
    ):
        assert render(*arguments) == 2
        assert text in capsys.readouterr().err


def test_every_setting_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        render("run", "--help")
    text = " ".join(capsys.readouterr().out.split())
    for name in RenderSettings.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in text
    assert "Side of the square pictures in pixels (default 512)" in text
    assert "Focal length in mm (default 35.0)" in text or "Focal length in mm (default 35)" in text
