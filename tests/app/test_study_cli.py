"""`oriel study`, at its smallest: every step for real, stopped once, and read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app import cli
from engine.core.errors import Cancelled, InputError
from engine.core.progress import CancelToken, Progress
from engine.training.study import NETWORKS, Study

TINY = "--heldout 1 --training 1 --size 32 --samples 1 --epochs 0.25 --rays 16 --sources 4"


def test_a_study_stopped_on_the_way_ends_with_a_report_of_all_networks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["study", "-o", str(tmp_path), *TINY.split()]
    options = {"heldout": 1, "training": 1, "size": 32, "samples": 1, "epochs": 0.25}
    study = Study.open(tmp_path, options | {"rays": 16, "sources": 4})
    cancel = CancelToken()

    def stop(event: Progress) -> None:
        if event.stage == "render":
            cancel.cancel()

    try:
        assert study.run(stop, cancel) is None
    except Cancelled:
        pass
    finally:
        study.close()
    picture = next((tmp_path / "models").glob("*.png"))
    drawn = picture.stat().st_mtime_ns

    assert cli.main(command) == 0

    assert picture.stat().st_mtime_ns == drawn  # what was done is not done again
    found = json.loads((tmp_path / "report" / "results.json").read_text())
    assert found["labels"] == list(NETWORKS)
    (sample,) = found["samples"]
    assert sample["name"] == picture.stem
    for label in NETWORKS:
        assert 0 <= sample["predictions"][label]["figures"]["f_score"] <= 1, sample
        assert (tmp_path / "predictions" / label / picture.stem / "mesh.glb").is_file()
    cards = [json.loads((tmp_path / "training" / name / "surface.json").read_text()) for name in NETWORKS]
    shown = [json.loads((tmp_path / "training" / name / "finetune.json").read_text())["train"] for name in NETWORKS]
    kinds = {name: ["generic" in key for key in keys] for name, keys in zip(NETWORKS, shown, strict=True)}
    assert kinds == {"zero-shot": [True], "fine-tuned": [False], "control": [True], "with-depth": [False]}
    assert len({card["sha256"] for card in cards}) == len(NETWORKS)
    said = capsys.readouterr().out
    assert "F-score" in said and "fine-tuned" in said

    with pytest.raises(InputError, match="heldout was 1 and is 3"):
        Study.open(tmp_path, {"heldout": 3})
    record = json.loads((tmp_path / "study.json").read_text())
    (tmp_path / "study.json").write_text(json.dumps(record | {"format": 1}))
    with pytest.raises(InputError, match="another version"):
        Study.open(tmp_path, {})
