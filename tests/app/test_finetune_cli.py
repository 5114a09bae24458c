import json

import pytest
import torch

from app.cli import main
from engine.surface import reconstruct
from tests.engine.training.tiny_run import TINY
from tests.rendered_models import write_renders

SMALL = "--rays 32 --coarse 8 --fine 4 --predicted-share 0 --device cpu --threads 1 --validate-models 0"
QUICK = SMALL.split()


@pytest.fixture(scope="module")
def renders(tmp_path_factory):
    torch.set_num_threads(1)
    return write_renders(tmp_path_factory.mktemp("renders") / "data", [0, 3], size=40, validation=0)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(reconstruct.CONFIGS, TINY.name, TINY)


def test_a_run_is_told_in_lines_and_goes_on_with_its_options(renders, tiny, tmp_path, capsys):
    out = tmp_path / "run"
    command = ["finetune", str(renders), "-o", str(out), "--config", "tiny", "--steps", "2", "--json", *QUICK]
    assert main(command) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["train", "train", "done"]
    assert lines[0]["rgb"] > 0
    assert lines[-1]["weights"] == str(out / "surface.safetensors")
    assert main(["finetune", "-o", str(out), "--resume", "--steps", "3", "--threads", "1"]) == 0
    said = capsys.readouterr().out
    assert "oriel reconstruct PICTURE --surface" in said
    assert json.loads((out / "surface.json").read_text())["steps"] == 3
    assert main(["finetune", "-o", str(out), "--resume", "--rays", "5"]) == 2
    assert "rays was 32 and is 5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere", "-o", "{out}"], "There is no folder nowhere"),
        (["-o", "{out}"], "Name the folder"),
        (["-o", "{out}", "--resume"], "There is no run in"),
        (["{renders}", "-o", "{out}", "--from", "built-in", "--config", "published"], "exclude each other"),
        (["{renders}", "-o", "{out}", "--rate", "7"], "rate is 7"),
        (["{renders}", "-o", "{out}", "--from", "no.safetensors"], "no weights at no.safetensors"),
    ],
)
def test_what_the_user_can_put_right_is_said(renders, tmp_path, capsys, words, said):
    words = [w.format(out=tmp_path / "out", renders=renders) for w in words]
    assert main(["finetune", *words]) == 2
    assert said in capsys.readouterr().err


def test_fine_tuned_built_in_weights_reconstruct_a_picture(renders, tmp_path, house_picture, tiny_draft, capsys):
    out = tmp_path / "run"
    assert main(["finetune", str(renders), "-o", str(out), "--steps", "1", "--sources", "4", *QUICK]) == 0
    weights = out / "surface.safetensors"
    reconstruct = ["reconstruct", str(house_picture), "-o", str(tmp_path / "runs"), "--quality", "draft", "--json"]
    assert main([*reconstruct, "--surface", str(weights), "--generator", "built-in", "--elevation", "20"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["surface"] == str(weights)
    assert result["report"]["used"]["surface"]["path"] == str(weights)
