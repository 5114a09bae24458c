"""The history and the settings."""

from __future__ import annotations

import json
import os

import pytest

from app.history import History, free_folder, safe_name
from app.settings import Settings
from engine.core.errors import InputError, OutputError
from engine.reconstruct.options import Options
from engine.reconstruct.run import Run


def test_runs_are_listed_newest_first_and_found_by_any_word(tmp_path, house_picture):
    history = History(tmp_path / "runs")
    assert history.runs() == []
    first = history.create(house_picture, Options(quality="draft"))
    second = history.create(house_picture.read_bytes(), name="Old Church")
    assert [r.folder for r in history.runs()] == [second.folder, first.folder]
    assert [r.name for r in history.search("church old")] == ["Old Church"]
    assert [r.name for r in history.search("DRAFT")] == ["house"]
    assert history.search("castle") == []
    assert history.get(first.folder.name).name == "house"
    with pytest.raises(InputError, match="no run named"):
        history.get("nothing")


def test_a_deleted_run_is_gone_with_its_files(tmp_path, house_picture):
    history = History(tmp_path / "runs")
    run = history.create(house_picture)
    history.delete(run)
    assert history.runs() == []
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_run_in_work_is_not_deleted(tmp_path, house_picture):
    import psutil

    history = History(tmp_path / "runs")
    run = history.create(house_picture)
    path = run.folder / "run.json"
    process = psutil.Process()
    mark = {"status": "running", "pid": process.pid, "process_started": process.create_time()}
    path.write_text(json.dumps(json.loads(path.read_text()) | mark))
    with pytest.raises(InputError, match="Cancel it first"):
        history.delete(history.runs()[0])
    assert path.exists()


def test_a_damaged_run_does_not_hide_the_others(tmp_path, house_picture):
    history = History(tmp_path / "runs")
    good, bad = history.create(house_picture), history.create(house_picture)
    (bad.folder / "run.json").write_text("{")
    strange = history.create(house_picture).folder / "run.json"
    strange.write_text(strange.read_text().replace('"standard"', '"of-another-version"'))
    (tmp_path / "runs" / "stray").mkdir()
    assert [r.folder for r in history.runs()] == [good.folder]


def test_what_killed_processes_left_goes_with_the_next_run(tmp_path, house_picture):
    root = tmp_path / "runs"
    gone, alive = root / f".a.{2**22 - 3}.tmp", root / f".b.{os.getpid()}.tmp"
    for folder in (gone, alive, root / ".deleted-c"):
        folder.mkdir(parents=True)
    run = History(root).create(house_picture)
    assert {path.name for path in root.iterdir()} == {alive.name, run.folder.name}


def test_a_run_named_by_the_folder_one_is_in_is_deleted(tmp_path, house_picture, monkeypatch):
    history = History(tmp_path / "runs")
    monkeypatch.chdir(history.create(house_picture).folder)
    history.delete(Run.open("."))
    assert history.runs() == []


def test_a_folder_that_nobody_can_look_at_is_named(tmp_path):
    with pytest.raises(OutputError, match="file name too long"):
        free_folder(tmp_path / ("long" * 100))


def test_names_are_made_safe_and_free(tmp_path):
    assert safe_name("Kölner Dom (west) / 2.jpg") == "Kölner-Dom-west-2.jpg"
    assert safe_name("///") == "picture"
    (tmp_path / "a").mkdir()
    (tmp_path / "a-2").mkdir()
    assert free_folder(tmp_path / "a") == tmp_path / "a-3"
    assert free_folder(tmp_path / "b") == tmp_path / "b"


def test_settings_come_back(oriel_home):
    settings = Settings.load()
    assert settings == Settings()
    settings.theme = "dark"
    settings.window["size"] = [1280, 800]
    settings.save()
    assert Settings.load() == settings
    assert Settings.load().history_folder == oriel_home / "runs"
    assert [p.name for p in oriel_home.iterdir()] == ["settings.json"]


def test_damaged_settings_are_put_aside(oriel_home):
    (oriel_home / "settings.json").write_text("{broken")
    assert Settings.load() == Settings()
    assert (oriel_home / "settings.damaged.json").read_text() == "{broken"


def test_settings_of_a_wrong_kind_fall_back_one_by_one(oriel_home):
    (oriel_home / "settings.json").write_text(json.dumps({"theme": 3, "quality": "fine", "unknown": 1}))
    settings = Settings.load()
    assert (settings.theme, settings.quality) == ("system", "fine")


def test_settings_that_cannot_be_saved_say_so(oriel_home, monkeypatch):
    blocked = oriel_home / "file"
    blocked.write_text("")
    monkeypatch.setenv("ORIEL_HOME", str(blocked))
    with pytest.raises(OutputError, match="ORIEL_HOME"):
        Settings().save()
