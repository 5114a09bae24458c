"""The command line, as a user types it: good and bad input, batches, interruption and what is left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app import cli
from app.history import History
from app.settings import Settings
from engine import choices, weights
from engine.reconstruct import options
from engine.reconstruct.run import Run

MAIN = Path(__file__).resolve().parents[2] / "main.py"
QUICK = ("--quality", "draft", "--elevation", "20")


def oriel(*arguments: object, **kwargs: object) -> subprocess.CompletedProcess[str]:
    """The program in a process of its own."""
    command = [sys.executable, str(MAIN), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, **kwargs)


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(MAIN), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_stage(folder: Path, process: subprocess.Popen[str], stage: str) -> None:
    """Wait until the run in `folder` has finished `stage` and is still at work."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            record = json.loads((folder / "run.json").read_text())
            if record["status"] == "running" and stage in record["stages_done"]:
                return
        except (OSError, ValueError):
            pass
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    pytest.fail(f"{stage} was not reached")


HEAVY = {
    "--help": {"torch", "numpy", "cv2", "PySide6", "pyvista"},
    **{f"{name} --help": {"torch", "PySide6", "pyvista"} for name in (*cli.COMMANDS, "render run", "crawl run")},
}


@pytest.mark.parametrize("words", HEAVY)
def test_help_answers_at_once_and_imports_nothing_heavy(words):
    code = (
        "import sys, time, app.cli\n"
        f"try: app.cli.main({words.split()})\n"
        "except SystemExit: pass\n"
        "print(time.process_time(), file=sys.stderr)\n"
        f"heavy = {HEAVY[words]} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=MAIN.parent)
    assert done.returncode == 0, done.stderr
    assert float(done.stderr) < 1
    assert f"oriel {words.removesuffix('--help')}".strip() in done.stdout
    if words == "--help":
        for command in ("reconstruct", "data", "train", "runs", "doctor", "demo"):
            assert command in done.stdout


# -- bad input -----------------------------------------------------------------------------------------------


def _not_a_picture(path: Path) -> None:
    path.write_text("Dear reader, this is a letter.")


def _truncated(path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (200, 200, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _one_pixel(path: Path) -> None:
    Image.new("RGB", (1, 1), "red").save(path)


def _enormous(path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(2501 * 20_000), 1)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def _nothing_on_it(path: Path) -> None:
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(path)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("make", [_not_a_picture, _truncated, _one_pixel, _enormous, _nothing_on_it, _empty])
def test_a_bad_picture_gives_one_plain_line_and_code_2(make, tmp_path, capsys):
    picture = tmp_path / "bad.png"
    make(picture)
    mode = ("--foreground", "alpha") if make is _nothing_on_it else ()
    assert cli.main(["reconstruct", str(picture), "-o", str(tmp_path / "out"), *mode]) == 2
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("oriel: ")
    assert "bad.png" in lines[0]
    assert "Traceback" not in captured.err
    assert captured.out == ""
    for folder in (tmp_path / "out").glob("*"):
        assert Run.open(folder).status == "failed"


def test_missing_files_and_empty_folders_are_named(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert cli.main(["reconstruct", str(tmp_path / "none.png"), str(tmp_path / "empty")]) == 2
    error = capsys.readouterr().err
    assert "There is no file" in error
    assert "holds no pictures" in error
    assert "2 of 2 failed" in error


def test_paths_that_no_file_system_takes_are_named_and_stop_nothing(house_picture, tmp_path, capsys):
    long = tmp_path / ("long" * 100)
    assert cli.main(["reconstruct", str(house_picture), "-o", str(long)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "file name too long" in lines[0].lower()
    bad = tmp_path / "note.png"
    bad.write_text("not a picture")
    assert cli.main(["reconstruct", str(long), str(bad), "-o", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "file name too long" in error
    assert "2 of 2 failed" in error


def test_what_nobody_expected_does_not_end_a_batch(house_picture, tmp_path, capsys, monkeypatch):
    def execute(run: Run, *_: object) -> None:
        raise RuntimeError("a screw is loose")

    monkeypatch.setattr(Run, "execute", execute)
    second = shutil.copy(house_picture, tmp_path / "second.png")
    assert cli.main(["reconstruct", str(house_picture), str(second), "-o", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "2 of 2 failed" in error
    assert "second.png: Unexpected RuntimeError: a screw is loose" in error


def test_an_output_that_cannot_be_written_is_named(house_picture, tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    places = [blocked, *([Path("/proc/nowhere")] if sys.platform == "linux" else [])]
    for place in places:
        assert cli.main(["reconstruct", str(house_picture), "-o", str(place)]) == 2
        error = capsys.readouterr().err
        assert str(place) in error
        assert "Choose another" in error
    assert blocked.read_text() == "in the way"


def test_wrong_options_end_with_code_2(house_picture, tmp_path, capsys):
    out = ["-o", str(tmp_path / "out")]
    assert cli.main(["reconstruct", str(house_picture), *out, "--elevation", "120"]) == 2
    assert "between" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        cli.main(["reconstruct", str(house_picture), *out, "--quality", "best"])
    assert stopped.value.code == 2
    assert cli.main(["reconstruct", str(house_picture), *out, "--generator", "magic"]) == 2
    assert "magic" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["views", "surface"])
def test_damaged_weights_are_named(name, house_picture, tmp_path, monkeypatch, capsys):
    for file in weights.BUILT_IN_FOLDER.glob(f"{name}.*"):
        shutil.copy(file, tmp_path)
    damaged = tmp_path / f"{name}.safetensors"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 0xFF
    damaged.write_bytes(bytes(content))
    monkeypatch.setenv("ORIEL_WEIGHTS", str(tmp_path))
    out = tmp_path / "out"
    assert cli.main(["reconstruct", str(house_picture), "-o", str(out), *QUICK, "--method", "views"]) == 2
    error = capsys.readouterr().err
    assert "damaged" in error
    assert str(damaged) in error
    assert Run.open(out / "house").status == "failed"


# -- good input ----------------------------------------------------------------------------------------------


def test_a_batch_goes_on_past_a_bad_file_and_says_so(house_picture, tmp_path, capsys):
    folder = tmp_path / "pictures"
    folder.mkdir()
    shutil.copy(house_picture, folder / "b.png")
    (folder / "a.png").write_text("no picture")
    (folder / "readme.txt").write_text("is passed over")
    out = tmp_path / "out"
    code = cli.main(["reconstruct", str(folder), "-o", str(out), *QUICK, "--json", "--format", "ply"])
    captured = capsys.readouterr()
    records = [json.loads(line) for line in captured.out.splitlines()]
    assert code == 2
    assert [(Path(r["picture"]).name, r["status"]) for r in records] == [("a.png", "failed"), ("b.png", "done")]
    assert "a.png" in records[0]["error"]
    assert records[1]["error"] is None
    assert {Path(f).name for f in records[1]["files"]} == {"mesh.glb", "mesh.ply"}
    assert all(Path(f).exists() for f in records[1]["files"])
    assert set(records[1]["report"]["stages"]) == set(options.STAGES)
    assert "1 of 2 failed" in captured.err


def test_without_a_folder_the_run_goes_to_the_history(house_picture, oriel_home, capsys):
    assert cli.main(["reconstruct", str(house_picture), "--foreground", "alpha", "--box", "500", "1", "2", "3"]) == 2
    capsys.readouterr()
    assert cli.main(["reconstruct", str(house_picture), *QUICK]) == 0
    assert "mesh.glb" in capsys.readouterr().out
    (run,) = History(Settings.load().history_folder).runs()
    assert run.status == "done"
    name = run.folder.name

    assert cli.main(["runs", "list"]) == 0
    assert name in capsys.readouterr().out
    assert cli.main(["runs", "list", "castle"]) == 0
    assert name not in capsys.readouterr().out
    assert cli.main(["runs", "show", name]) == 0
    assert "texture" in capsys.readouterr().out
    assert cli.main(["runs", "show", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["elevation"] == 20
    assert cli.main(["runs", "resume", name, "--faces", "900", "--texture-size", "256"]) == 0
    assert len(run.mesh().faces) <= 900 and run.mesh().texture.shape[0] == 256
    capsys.readouterr()
    assert cli.main(["runs", "delete", name]) == 0
    assert not run.folder.exists()
    assert cli.main(["runs", "show", name]) == 2
    assert "no run named" in capsys.readouterr().err


def test_the_method_is_chosen_and_told(house_picture, tmp_path, capsys):
    for method in choices.METHODS:
        words = ["reconstruct", str(house_picture), "-o", str(tmp_path / method), *QUICK, "--method", method, "--json"]
        assert cli.main(words) == 0
        record = json.loads(capsys.readouterr().out)
        assert (record["method"], record["report"]["used"]["method"]["name"]) == (method, method)
    assert cli.main(["runs", "show", str(tmp_path / "field" / "house")]) == 0
    shown = capsys.readouterr().out
    assert choices.METHODS["field"].label in shown
    assert "surface.safetensors" not in shown


def test_killed_in_the_middle_the_run_is_unfinished_and_can_be_resumed(house_picture, tmp_path):
    out = tmp_path / "out"
    process = start("reconstruct", house_picture, "-o", out, *QUICK)
    wait_for_stage(out / "house", process, "elevation")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    history = History(out)
    (run,) = history.runs()
    assert run.status == "unfinished"
    assert "foreground" in run.stages_done
    assert run.elevation() is not None
    done = oriel("runs", "resume", run.folder)
    assert done.returncode == 0, done.stderr
    assert history.runs()[0].status == "done"


def test_interrupted_the_run_is_cancelled_with_code_130(house_picture, tmp_path):
    out = tmp_path / "out"
    process = start("reconstruct", house_picture, "-o", out, *QUICK)
    wait_for_stage(out / "house", process, "foreground")
    process.send_signal(signal.SIGINT)
    begin = time.monotonic()
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert time.monotonic() - begin < 10  # the run stops within a second; the interpreter has to end as well
    assert "interrupted" in error
    assert "Traceback" not in error
    assert Run.open(out / "house").status == "cancelled"


# -- the other commands --------------------------------------------------------------------------------------


def test_doctor_says_what_is_there(capsys):
    cli.main(["doctor", "--json"])
    checks = {(c["group"], c["name"]): c for c in json.loads(capsys.readouterr().out)}
    assert checks["packages", "torch"]["status"] == "ok"
    assert checks["weights", "views"]["status"] == "ok"
    assert checks["weights", "surface"]["status"] == "ok"
    assert ("device", "GPU") in checks
    cli.main(["doctor"])
    assert "OpenGL" in capsys.readouterr().out


def test_doctor_finds_damaged_weights(tmp_path, monkeypatch, capsys):
    (tmp_path / "views.safetensors").write_bytes(b"broken")
    monkeypatch.setenv("ORIEL_WEIGHTS", str(tmp_path))
    assert cli.main(["doctor", "--json"]) == 2
    checks = {(c["group"], c["name"]): c for c in json.loads(capsys.readouterr().out)}
    assert checks["weights", "views"]["status"] == "problem"
    assert "damaged" in checks["weights", "views"]["detail"]


def test_weights_are_listed(capsys):
    assert cli.main(["weights"]) == 0
    output = capsys.readouterr().out
    assert "views" in output
    assert "built-in" in output


def test_data_and_training_show_their_own_help(capsys):
    for command in (["data", "--help"], ["train", "views", "--help"], ["train", "surface", "--help"]):
        with pytest.raises(SystemExit) as stopped:
            cli.main(command)
        assert stopped.value.code == 0
        assert f"oriel {command[0]}" in capsys.readouterr().out


@pytest.mark.parametrize(("budget", "words"), [([], "how long"), (["--minutes", "0"], "more than 0")])
def test_a_training_without_a_budget_is_refused(tmp_path, budget, words, capsys):
    assert cli.main(["train", "surface", "--out", str(tmp_path), *budget]) == 2
    assert words in capsys.readouterr().err


def test_demo_draws_the_mesh_from_four_sides(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    assert cli.main(["demo", "-o", str(tmp_path), "--quality", "draft"]) == 0
    output = capsys.readouterr().out
    sheet = np.asarray(Image.open(tmp_path / "church" / "sheet.png"))
    assert str(tmp_path / "church" / "mesh.glb") in output
    side = sheet.shape[0]
    assert sheet.shape[1] == 5 * side
    tiles = [sheet[:, i * side : (i + 1) * side] for i in range(5)]
    for i, tile in enumerate(tiles):
        assert all((tile != other).any() for other in tiles[:i]), f"picture {i} is drawn twice"
        assert 0.02 < (tile < 245).any(2).mean() < 0.95, f"picture {i} shows no object"
    assert cli.main(["demo", "--sample", "nothing"]) == 2
    assert "church" in capsys.readouterr().err


def test_a_closed_pipe_is_no_error(house_picture, tmp_path):
    if os.name == "nt":
        pytest.skip("no pipes of this kind")
    done = subprocess.run(
        f"{sys.executable} {MAIN} weights | head -c 0", shell=True, capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in done.stderr
