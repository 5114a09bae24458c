"""Published weights on the command line: tiny models in every published layout, through the whole pipeline."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app import cli
from app.settings import Settings
from engine import weights
from engine.reconstruct import stages
from engine.reconstruct.folder import PRINCIPAL, SOURCES
from engine.reconstruct.run import Run

PUBLISHED = {
    "foreground": ("sam", "sam-vit-b.pth"),
    "generator": ("zero123-xl", "zero123-xl.ckpt"),
    "matcher": ("loftr", "loftr.ckpt"),
    "surface": ("one-2-3-45", "one-2-3-45-surface.pth"),
}


@pytest.fixture
def house_on_white(house_image: Image.Image, tmp_path: Path) -> Path:
    """The house without an alpha channel."""
    path = tmp_path / "house.png"
    white = Image.new("RGBA", house_image.size, "white")
    white.alpha_composite(house_image)
    white.convert("RGB").save(path)
    return path


def test_published_models_run_the_whole_pipeline(
    house_on_white, house_image, published_models, tiny_draft, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("ORIEL_WEIGHTS", str(published_models))
    # The published models that are there are taken unasked, but for the foreground.
    command = ["reconstruct", house_on_white, "-o", tmp_path / "out", "--quality", "draft", "--memory", "8", "--json"]
    command += ["--foreground", "sam", "--point", "90", "120", "--remove-point", "5", "5"]
    assert cli.main([str(word) for word in command]) == 0, capsys.readouterr().err
    record = json.loads(capsys.readouterr().out)
    used = record["report"]["used"]
    assert used.pop("method")["name"] == "views", "the generator has no solid of its own"
    assert {part: (what["name"], Path(what["path"]).name) for part, what in used.items()} == PUBLISHED
    assert {what["source"] for what in used.values()} == {"environment"}
    assert "published" in used["generator"]["label"]
    run = Run.open(tmp_path / "out" / "house")
    assert run.options.points == ((90.0, 120.0, True), (5.0, 5.0, False))
    assert run.options.memory_gb == 8
    found, true = run.mask() > 0.5, np.asarray(house_image)[..., 3] > 127
    assert (found & true).sum() / (found | true).sum() > 0.9
    assert len(run.principal_views()) == 8 and len(run.source_views()) == 32
    assert run.mesh().texture is not None

    assert cli.main(["runs", "show", str(run.folder)]) == 0
    shown = capsys.readouterr().out
    assert all(str(published_models / file) in shown for _, file in PUBLISHED.values())

    # Published networks are not bent to the picture, unless that is chosen.
    assert used["surface"]["note"] == "not fitted to the picture's silhouette" and "; not fitted" in shown
    free = run.surface()
    assert run.change(silhouette="fitted") == "surface"
    run.execute(start="surface")
    assert Run.open(run.folder).report["used"]["surface"]["note"] == "fitted to the picture's silhouette"
    assert run.surface().vertices.shape != free.vertices.shape or not np.allclose(run.surface().vertices, free.vertices)
    run.change(silhouette="auto")

    # Another surface takes the last two stages only, and the report keeps what the others used.
    views = (run.folder / "views" / "view_3.png").stat().st_mtime_ns
    start = run.change(surface="built-in", memory_gb=None)
    assert start == "surface"
    run.execute(start=start)
    assert (run.folder / "views" / "view_3.png").stat().st_mtime_ns == views
    names = [what["name"] for what in run.report["used"].values()]
    assert names == ["views", "sam", "zero123-xl", "loftr", "built-in"]
    assert run.report["used"]["surface"]["note"] == "fitted to the picture's silhouette", "as ever"


def test_models_are_found_in_the_settings_and_taken_by_name(house_picture, published_models, tmp_path, capsys):
    paths = {"loftr": str(published_models / "loftr.ckpt")}
    Settings(model_paths=paths).save()
    command = ["reconstruct", str(house_picture), "-o", str(tmp_path / "out"), "--quality", "draft"]
    assert cli.main([*command, "--surface", "one-2-3-45"]) == 2
    error = capsys.readouterr().err
    assert "One-2-3-45" in error and "oriel weights fetch one-2-3-45-surface" in error
    run = Run.open(tmp_path / "out" / "house")
    assert run.options.matcher == "loftr", "what is there is preferred"
    assert (run.options.generator, run.status, run.error_kind) == ("built-in", "failed", "WeightsError")
    assert run.stages_done == (), "it says so before any work"


def test_points_on_nothing_and_wrong_names_are_refused(house_picture, tmp_path, capsys):
    command = ["reconstruct", str(house_picture), "-o", str(tmp_path / "out")]
    for words, told in (
        (["--point", "3", "4"], "No object was found at the point"),
        (["--matcher", "magic"], "dense-flow"),
        (["--method", "field", "--generator", "zero123"], "Choose the view generator built-in, or the method 'views'"),
        (["--surface", "magic"], "one-2-3-45"),
        (["--memory", "0.5"], "memory budget is 0.5 GB"),
        (["--foreground", "sam"], "oriel weights fetch sam-vit"),
    ):
        assert cli.main([*command, *words]) == 2
        assert told in capsys.readouterr().err


class _Command:
    def __reduce__(self) -> tuple:
        return print, ("this code must not run",)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _spoilt(path: Path) -> None:
    """One byte of the tensors is another."""
    with zipfile.ZipFile(path) as archive:
        entry = max(archive.infolist(), key=lambda e: e.file_size)
    content = bytearray(path.read_bytes())
    content[entry.header_offset + entry.file_size // 2 + 200] ^= 0xFF
    path.write_bytes(bytes(content))


def _with_code(path: Path) -> None:
    import torch

    torch.save({"state_dict": _Command()}, path)


def _another_model(path: Path) -> None:
    import torch

    torch.save({"state_dict": {"some.other.weight": torch.zeros(3)}}, path)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _no_weights(path: Path) -> None:
    path.write_text("<html>Sign in to download</html>")


@pytest.mark.parametrize("key", ["zero123-xl", "loftr", "sam-vit-b", "one-2-3-45-surface"])
@pytest.mark.parametrize("spoil", [_truncated, _with_code, _another_model, _empty, _no_weights])
def test_bad_files_fail_the_run_with_one_plain_line(
    key, spoil, house_picture, published_models, tiny_draft, tmp_path, monkeypatch, capsys
):
    name = next(file for _, file in PUBLISHED.values() if file.startswith(key))
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / name).write_bytes((published_models / name).read_bytes())
    spoil(folder / name)
    monkeypatch.setenv("ORIEL_WEIGHTS", str(folder))
    command = ["reconstruct", str(house_picture), "-o", str(tmp_path / "out"), "--quality", "draft"]
    command += ["--foreground", "sam"] if key == "sam-vit-b" else []
    # What comes before the stage that loads it is drawn by nobody here.
    white = {name: np.ones((64, 64, 4), np.float32) for name in (*PRINCIPAL, *SOURCES)}
    monkeypatch.setattr(stages, "draw_views", lambda *_: white)
    if key == "loftr":
        few = {name: white[name] for name in SOURCES[:4]}
        monkeypatch.setattr(stages, "draw_neighbours", lambda *_: stages.Neighbours(few, None))
    if key == "one-2-3-45-surface":
        command += ["--elevation", "20"]
    assert cli.main(command) == 2
    captured = capsys.readouterr()
    assert len(captured.err.strip().splitlines()) == 1
    assert name in captured.err
    assert "must not run" not in captured.out + captured.err
    run = Run.open(tmp_path / "out" / "house")
    assert (run.status, run.error_kind) == ("failed", "WeightsError")


def test_a_spoilt_checkpoint_is_found_by_the_check(published_models, tmp_path):
    path = tmp_path / "zero123-xl.ckpt"
    path.write_bytes((published_models / path.name).read_bytes())
    weights.use("zero123-xl", path)
    assert weights.check("zero123-xl") == []
    _spoilt(path)
    (problem,) = weights.check("zero123-xl")
    assert path.name in problem and "damaged" in problem
