"""`oriel weights`, as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from app import cli, doctor
from app.settings import Settings
from engine import weights
from tests.hub_server import HubServer

MAIN = Path(__file__).resolve().parents[2] / "main.py"
LOFTR = {f"matcher.{part}.weight": torch.ones(4) for part in ("backbone", "loftr_coarse", "loftr_fine")}
KEY = "one-2-3-45-surface"
MODEL = weights.MODELS[KEY]
NETWORKS = ("pyramid_feature_network", "sdf_network_lod0", "rendering_network_lod0", "variance_network_lod0")


@pytest.fixture(autouse=True)
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(weights, "_paths", {})
    monkeypatch.setattr(weights, "_added", [])


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    file = tmp_path / "published.pth"
    torch.save({name: {"weight": torch.rand(20_000)} for name in NETWORKS}, file)
    with HubServer({f"{MODEL.origin}/{MODEL.files[0].name}": file.read_bytes()}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture
def loftr(tmp_path: Path) -> Path:
    torch.save({"state_dict": LOFTR}, tmp_path / "my loftr.ckpt")
    return tmp_path / "my loftr.ckpt"


def weights_command(*arguments: object) -> int:
    return cli.main(["weights", *map(str, arguments)])


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, dict]:
    capsys.readouterr()
    assert weights_command("list", "--json") == 0
    return {entry["key"]: entry for entry in json.loads(capsys.readouterr().out)}


def test_the_list_says_of_every_model_what_it_is_for_and_where_it_is(capsys):
    assert weights_command() == 0
    output, places = capsys.readouterr()
    lines = {line.split()[0]: line for line in output.splitlines()}
    assert set(lines) == set(weights.MODELS)
    assert "built-in, " in lines["views"]
    assert "missing, size 605.1 MB" in lines["clip-vit-b-32"]
    assert "missing, size unknown" in lines["zero123-xl"]
    assert "Apache-2.0" in lines["loftr"]
    assert str(weights.BUILT_IN_FOLDER) in places
    assert listed(capsys)["sam-vit-b"]["files"][0]["sha256"].startswith("ec2df627")


def test_listing_starts_no_heavy_library():
    heavy = "{'torch', 'huggingface_hub', 'PySide6'} & set(sys.modules)"
    code = f"import sys, main; main.main(['weights']); sys.exit(str({heavy} or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=MAIN.parent)
    assert done.stderr.endswith("hub\n\n"), done.stderr


def test_a_file_of_the_user_is_remembered_between_starts(loftr, capsys, monkeypatch):
    assert weights_command("use", "loftr", loftr) == 0
    assert str(loftr) in capsys.readouterr().out
    monkeypatch.setattr(weights, "_paths", {})  # a new start
    assert weights_command("where", "loftr") == 0
    assert capsys.readouterr().out.strip() == str(loftr)
    entry = listed(capsys)["loftr"]
    assert (entry["source"], entry["path"], entry["bytes"]) == ("settings", str(loftr), loftr.stat().st_size)
    assert weights_command("remove", "loftr") == 0
    assert "the file is kept" in capsys.readouterr().out
    assert loftr.exists()
    assert Settings.load().model_paths == {}
    assert weights_command("where", "loftr") == 2
    assert "weights fetch loftr" in capsys.readouterr().err


def test_other_settings_survive(loftr):
    settings = Settings.load()
    settings.theme = "dark"
    settings.save()
    weights_command("use", "loftr", loftr)
    assert Settings.load().theme == "dark"
    assert Settings.load().model_paths == {"loftr": str(loftr)}


def test_a_wrong_file_is_refused_and_nothing_is_remembered(loftr, tmp_path, capsys):
    assert weights_command("use", "zero123-xl", loftr) == 2
    assert "is not Zero123-XL" in capsys.readouterr().err
    (tmp_path / "page.ckpt").write_text("<!doctype html>Log in")
    assert weights_command("use", "loftr", tmp_path / "page.ckpt") == 2
    assert "a web page, not weights" in capsys.readouterr().err
    assert weights_command("use", "castle", loftr) == 2
    assert "no model 'castle'" in capsys.readouterr().err
    assert Settings.load().model_paths == {}


def test_fetch_check_and_remove(server, capsys):
    assert weights_command("fetch", KEY) == 0
    path = Path(capsys.readouterr().out.strip().partition(": ")[2])
    assert path.is_file()
    assert listed(capsys)[KEY]["source"] == "hub cache"
    assert weights_command("check") == 0
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} == {"views", "surface", "u2netp", KEY}
    assert weights_command("remove", KEY) == 0
    assert "freed" in capsys.readouterr().out
    assert listed(capsys)[KEY]["source"] is None


def test_damage_is_found_and_the_exit_code_says_so(loftr, capsys):
    weights_command("use", "loftr", loftr)
    loftr.write_bytes(loftr.read_bytes()[:700])
    capsys.readouterr()
    assert weights_command("check", "loftr", "views", "sam2") == 2
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "damaged: it is cut short at 700 bytes" in lines["loftr"]
    assert lines["views"].endswith("ok")
    assert "not on this machine" in lines["sam2"]
    assert weights_command("check", "loftr", "--json") == 2
    assert "cut short" in json.loads(capsys.readouterr().out)["loftr"][0]


def test_no_network_is_one_plain_line(capsys):
    assert weights_command("fetch", "loftr") == 2
    error = capsys.readouterr().err
    assert "cannot be reached" in error
    assert error.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="no signals of this kind")
def test_ctrl_c_keeps_what_came_and_says_so_in_the_list(server, capsys):
    server.pause, server.chunk = 0.1, 4096
    command = [sys.executable, str(MAIN), "weights", "fetch", KEY]
    # A shell's background jobs ignore the signal, and so would their children.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    deadline = time.monotonic() + 120
    while not weights.unfinished(KEY):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "oriel: interrupted.\n")
    assert weights_command() == 0
    assert "unfinished, " in next(line for line in capsys.readouterr().out.splitlines() if line.startswith(KEY))
    server.pause = 0.0
    assert weights_command("fetch", KEY) == 0


def test_doctor_says_which_published_weights_are_here(loftr, tmp_path):
    def findings() -> dict[str, doctor.Check]:
        return {check.name: check for check in doctor._weights()}

    weights.set_paths({"loftr": loftr, "sam2": tmp_path / "gone"})
    found = findings()
    assert found["loftr"].status == "ok"
    assert str(loftr) in found["loftr"].detail
    assert found["sam2"].status == "problem"
    assert "where the settings say" in found["sam2"].detail
    assert found["published"].status == "note"
    assert "zero123-xl" in found["published"].detail
    loftr.write_bytes(b"")
    assert findings()["loftr"].status == "problem"
