"""The window with the real engine behind it: pictures, runs, queue, cancel, history and closing."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from PIL import Image
from PySide6.QtWidgets import QPushButton

from app.history import History
from app.reconstruct_session import Job
from app.settings import Settings
from app.window import Session
from engine import weights
from engine.reconstruct.options import Options
from engine.reconstruct.run import Run
from tests.gui.driving import banner, bring, busy, start_draft, until
from tests.loop_gaps import LoopGapProbe

HAVE_WEIGHTS = {"views", "surface"} <= {found.name for found in weights.available()}
needs_weights = pytest.mark.skipif(not HAVE_WEIGHTS, reason="the built-in weights are not in this checkout")


def old_run(picture: Path, name: str) -> Run:
    return History(Settings.load().history_folder).create(picture, Options(), name=name)


def test_the_foreground_of_a_brought_picture_is_shown(drive, house_picture) -> None:
    async def scenario(session: Session) -> None:
        bring(session, house_picture)
        await until(lambda: "alpha" in session.reconstruct.tab.input.note.text().lower())
        session.reconstruct.tab.input.set_options(mode="whole")
        await until(lambda: "whole" in session.reconstruct.tab.input.note.text().lower())

    drive(scenario)


def test_a_file_that_is_no_picture_is_said_in_place(drive, tmp_path) -> None:
    broken = tmp_path / "notes.png"
    broken.write_text("not a picture")

    async def scenario(session: Session) -> None:
        bring(session, broken)
        await until(lambda: "notes.png" in banner(session))
        assert not session.reconstruct.tab.input.button.isEnabled()
        assert not session.reconstruct.history.runs()

    drive(scenario)


def test_damaged_weights_fail_the_run_in_place_and_it_is_kept(drive, house_picture, tmp_path, monkeypatch) -> None:
    (tmp_path / "views.safetensors").write_bytes(b"cut short")
    monkeypatch.setenv("ORIEL_WEIGHTS", str(tmp_path))

    async def scenario(session: Session) -> None:
        bring(session, house_picture)
        await until(lambda: "Found" in session.reconstruct.tab.input.note.text())
        session.reconstruct.tab.input.request()
        await until(lambda: "damaged" in banner(session))
        assert session.reconstruct.tab.stages.strip.state["views"] == "failed"
        assert session.reconstruct.tab.stages.strip.state["foreground"] == "done"
        await until(lambda: len(session.reconstruct.tab.history.keys()) == 1)
        assert session.reconstruct.history.runs()[0].status == "failed"
        assert session.reconstruct.current is None

    drive(scenario)


def test_jobs_queue_and_one_is_taken_out(drive, house_picture) -> None:
    async def scenario(session: Session) -> None:
        bring(session, house_picture)
        for _ in range(3):
            session.reconstruct.tab.input.request()
        await until(lambda: session.reconstruct.current is not None)
        waiting = [entry for entry in session.reconstruct.tab.input.queue.entries if not entry.running]
        assert len(waiting) == 2 and session.reconstruct.tab.input.queue.isVisible()
        session.reconstruct.remove(waiting[0].key)
        assert [job.key for job in session.reconstruct.queue] == [waiting[1].key]
        session.reconstruct.remove(waiting[1].key)
        assert not session.reconstruct.tab.input.queue.isVisible()
        session.reconstruct.cancel()
        await until(lambda: session.reconstruct.current is None)

    drive(scenario)


def test_a_run_of_the_past_is_opened_searched_and_deleted(drive, house_picture) -> None:
    for name in ("church", "tower"):
        old_run(house_picture, name)

    async def scenario(session: Session) -> None:
        panel = session.reconstruct.tab.history
        await until(lambda: len(panel.keys()) == 2)
        panel.search.setText("tower")
        assert len(panel.keys()) == 1
        key = panel.keys()[0]
        panel.open_requested.emit(key)
        await until(lambda: session.reconstruct.tab.shown_key == key)
        assert session.reconstruct.tab.title.text() == "tower"
        assert "interrupted" in banner(session)
        chosen = session.reconstruct.tab.input
        await until(lambda: chosen.picture is not None and chosen.picture.name == "tower")
        panel.delete_requested.emit(key)
        assert panel.keys() == []
        session.reconstruct.tab.toast.finish()
        await until(lambda: [run.name for run in session.reconstruct.history.runs()] == ["church"])

    drive(scenario)


def test_what_was_deleted_just_before_closing_stays_deleted(drive, house_picture) -> None:
    key = old_run(house_picture, "tower").folder.name

    async def scenario(session: Session) -> None:
        await until(lambda: session.reconstruct.tab.history.keys() == [key])
        session.reconstruct.tab.history.delete_requested.emit(key)
        session.window.close()

    drive(scenario)
    assert History(Settings.load().history_folder).runs() == []


def test_several_pictures_are_shown_small_as_they_are(drive, house_picture, tmp_path) -> None:
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (300, 100), (200, 120, 80)).save(turned, exif=exif)
    broken = tmp_path / "broken.png"
    broken.write_text("not a picture")

    async def scenario(session: Session) -> None:
        strip = session.reconstruct.tab.input.strip
        bring(session, house_picture, broken, turned)
        await until(lambda: not strip._images[2][0].isNull())
        assert strip._images[1][0].isNull()
        assert strip._images[2][0].width() < strip._images[2][0].height()
        assert not strip._buttons[2].icon().isNull() and strip._buttons[1].icon().isNull()

    drive(scenario)


def test_a_stopped_run_goes_on_with_the_quality_and_the_elevation_of_now(drive, house_picture) -> None:
    key = old_run(house_picture, "tower").folder.name

    async def scenario(session: Session) -> None:
        await until(lambda: session.reconstruct.tab.history.keys() == [key])
        session.reconstruct.tab.history.open_requested.emit(key)
        chosen = session.reconstruct.tab.input
        await until(lambda: chosen.picture is not None and chosen.picture.name == "tower")
        session.reconstruct.tab.input.set_options(quality="draft")
        session.reconstruct.tab.input.set_elevation(33.0)
        session.reconstruct.tab.continue_requested.emit()
        await until(lambda: session.reconstruct.current is not None)
        session.reconstruct.cancel()
        await until(lambda: session.reconstruct.current is None)
        options = session.reconstruct.history.get(key).options
        assert (options.quality, options.elevation) == ("draft", 33.0)

    drive(scenario)


def test_a_job_that_goes_wrong_unexpectedly_does_not_hold_up_the_next(drive, house_picture, monkeypatch) -> None:
    create, calls = History.create, []

    def stumble(history: History, *arguments: object, **options: object) -> Run:
        calls.append(arguments)
        if len(calls) == 1:
            raise RuntimeError("a screw is loose")
        return create(history, *arguments, **options)

    monkeypatch.setattr(History, "create", stumble)

    async def scenario(session: Session) -> None:
        bring(session, house_picture)
        session.reconstruct.tab.input.request()
        session.reconstruct.tab.input.request()
        await until(lambda: session.reconstruct._current_run is not None)  # which covers what was said of the first
        session.reconstruct.cancel()
        await until(lambda: session.reconstruct.current is None and not session.reconstruct.tab.stages.running)
        await until(lambda: "screw" in banner(session))
        assert [run.status for run in session.reconstruct.history.runs()] == ["cancelled"]

    drive(scenario)


def test_a_run_whose_process_was_killed_is_shown_as_unfinished(drive, house_picture) -> None:
    run = old_run(house_picture, "tower")
    record = json.loads((run.folder / "run.json").read_text())
    record |= {"status": "running", "pid": 2**22 + 1, "process_started": 1.0}
    (run.folder / "run.json").write_text(json.dumps(record))

    async def scenario(session: Session) -> None:
        await until(lambda: len(session.reconstruct.tab.history.keys()) == 1)
        assert session.reconstruct.tab.history.model.shown[0].status == "unfinished"

    drive(scenario)


def test_the_look_and_the_options_are_remembered(drive, house_picture) -> None:
    async def scenario(session: Session) -> None:
        session.window.toggle_theme()
        bring(session, house_picture)
        session.reconstruct.tab.input.set_options(quality="draft")
        session.reconstruct.tab.input.request()

    drive(scenario)
    settings = Settings.load()
    assert settings.theme == "light" and settings.quality == "draft"


def test_closing_at_once_leaves_nothing_behind(drive) -> None:
    async def scenario(session: Session) -> None:
        session.window.close()

    drive(scenario)


@needs_weights
def test_the_method_is_chosen_shown_and_remembered(drive, house_picture) -> None:
    async def scenario(session: Session) -> None:
        tab, box, stages = session.reconstruct.tab, session.reconstruct.tab.input.models.method, []
        await until(lambda: tab.viewport is not None)
        bring(session, house_picture)
        tab.input.set_options(quality="draft")
        box.setCurrentIndex(box.findData("field"))
        box.activated.emit(box.currentIndex())
        assert not tab.input.models.boxes["surface"].isEnabled()
        tab.input.request()
        await until(lambda: tab.viewport.mesh is not None, 30 * busy())
        stages.append(tab.stages.stage)
        await until(lambda: session.reconstruct.current is None, 100 * busy())
        assert stages == ["views"], "a first mesh is there while the views are drawn"
        assert banner(session) == "" and tab.viewport.mesh.texture is not None
        assert set(tab.views.names) <= set(tab.views.images) and len(tab.views.names) == 8
        assert not tab.views.can_retry and "Method: Direct" in tab.used.text()
        run = session.reconstruct.history.runs()[0]
        assert run.options.method == "field"
        # Going on with it by another method draws what that one needs.
        tab.input.set_options(method="views")
        tab.continue_requested.emit()
        await until(lambda: len(tab.views.names) == 40, 30 * busy())
        session.reconstruct.cancel()
        await until(lambda: session.reconstruct.current is None)
        assert session.reconstruct.history.get(run.folder.name).stages_done == ("foreground",)

    drive(scenario)
    assert Settings.load().models["method"] == "field"


@needs_weights
def test_cancel_stops_a_run_within_a_second(drive, house_picture) -> None:
    async def scenario(session: Session) -> None:
        bring(session, house_picture)
        session.reconstruct.tab.input.set_options(quality="draft")
        session.reconstruct.tab.input.request()
        await until(lambda: len(session.reconstruct.tab.views.images) >= 4)
        began = time.monotonic()
        session.window.escape()
        await until(lambda: session.reconstruct.current is None)
        assert time.monotonic() - began < 1.0 * busy()
        assert "Cancelled" in banner(session)
        assert session.reconstruct.history.runs()[0].status == "cancelled"

    drive(scenario)


@needs_weights
def test_closing_in_mid_run_marks_it_and_ends(drive, house_picture) -> None:
    async def scenario(session: Session) -> None:
        bring(session, house_picture)
        session.reconstruct.tab.input.request()
        await until(lambda: session.reconstruct.tab.stages.stage == "views")
        session.window.close()

    drive(scenario)
    assert [run.status for run in History(Settings.load().history_folder).runs()] == ["cancelled"]


@needs_weights
def test_a_whole_run_shows_everything_and_the_window_stays_lively(drive, house_picture) -> None:
    async def scenario(session: Session) -> None:
        tab, probe = session.reconstruct.tab, LoopGapProbe()
        await until(lambda: tab.viewport is not None)
        bring(session, house_picture)
        await until(lambda: "Found" in tab.input.note.text())
        tab.input.set_options(quality="draft", method="views")
        probe.start()
        tab.input.request()
        await until(lambda: session.reconstruct.current is not None, 10)
        await until(lambda: session.reconstruct.current is None, 200)
        longest = probe.stop()
        print(f"longest gap of the event loop: {longest * 1000:.0f} ms; over 50 ms: {probe.gaps}")
        assert banner(session) == ""
        assert len(tab.views.images) == 40
        assert tab.elevation.figure.text().endswith("°")
        assert tab.viewport.mesh is not None and tab.viewport.mesh.texture is not None
        assert set(tab.stages.strip.state.values()) == {"done"}
        assert tab.views.can_retry and "Done in" in tab.clock.text()
        # One view drawn again: the mesh is rebuilt, the other views stay.
        before, mesh = tab.views.images["view_5"].copy(), tab.viewport.mesh
        tab.views.retry("view_5_2_10")
        await until(lambda: session.reconstruct.current is not None, 10)
        assert tab.views.images["view_2"] is not None
        await until(lambda: session.reconstruct.current is None, 100)
        assert tab.viewport.mesh is not mesh and before is not None
        assert session.reconstruct.history.runs()[0].status == "done"
        assert longest < 0.3 * busy()

    drive(scenario)


def test_each_picture_begins_with_the_usual_options_and_settings_are_kept_at_once(drive, house_picture) -> None:
    async def scenario(session: Session) -> None:
        tab = session.reconstruct.tab
        bring(session, house_picture)
        await until(lambda: "ound" in tab.input.note.text())
        tab.input.set_options(mode="whole", quality="fine", upright=False, foreground_ratio=0.66)
        framing = {"upright": False, "foreground_ratio": 0.66}
        assert tab.input.chosen(tab.input.picture).items() >= framing.items()
        tab.input.set_elevation(33.0)
        tab.input.editor.set_tool("remove")
        bring(session, house_picture)
        assert tab.input.mode.currentData() == "auto" and tab.input.known_elevation is None
        assert tab.input.framing.values() == {"upright": True, "foreground_ratio": 0.75}
        assert tab.input.quality.currentData() == session.settings.quality == "standard"
        assert tab.input.editor.canvas.tool == "box"
        session.settings.quality = "draft"
        await until(lambda: Settings.path().exists() and Settings.load().quality == "draft")

    drive(scenario)


def test_closing_with_pictures_that_wait_is_asked_once(drive, house_picture) -> None:
    async def scenario(session: Session) -> None:
        session.reconstruct.queue.append(Job(1, "house", request=None))
        session.window.close()
        await until(lambda: "1 picture still waits" in banner(session))
        assert not session.tasks.closing
        session.window.close()
        await until(lambda: session.tasks.closing)

    drive(scenario)


@needs_weights
def test_a_finished_mesh_stays_while_the_next_picture_is_at_work(drive, house_picture) -> None:
    async def scenario(session: Session) -> None:
        tab = session.reconstruct.tab
        await start_draft(session, house_picture)
        tab.input.request()
        await until(lambda: tab.shown_key is not None)
        first = tab.shown_key
        await until(lambda: tab.has_mesh and tab.shown_key == first and not tab.following, 100 * busy())
        assert tab.viewport.isVisible() and tab.export_button.isVisible()
        await until(lambda: "running" in [entry.status for entry in tab.history.model.shown], 10)
        assert "unfinished" not in [entry.status for entry in tab.history.model.shown]
        await until(lambda: session.reconstruct.current is None, 100 * busy())
        assert tab.shown_key == first and tab.toast.isVisible()

    drive(scenario)


@needs_weights
def test_a_mesh_is_rebuilt_otherwise_and_compared_with_what_it_was(drive, house_picture) -> None:
    async def scenario(session: Session) -> None:
        tab = session.reconstruct.tab
        await start_draft(session, house_picture)
        assert not tab.rebuild.isVisible()
        await until(lambda: session.reconstruct.current is None, 100 * busy())
        await until(lambda: tab.rebuild.isVisible())
        assert not tab.before.isVisible()
        before = tab.viewport.mesh
        tab.rebuild.click()
        fields = tab.rebuild.form.fields
        assert tab.rebuild.sheet.isVisible() and fields["faces"].text() == "By the quality"
        tab.rebuild.sheet.findChild(QPushButton).click()
        await until(lambda: "Nothing would be different" in banner(session))
        tab.rebuild.click()
        fields["faces"].setValue(1500)
        fields["smooth"].setValue(3)
        fields["texture_size"].setCurrentIndex(fields["texture_size"].findData(256))
        tab.rebuild.sheet.findChild(QPushButton).click()
        await until(lambda: session.reconstruct.current is not None)
        await until(lambda: session.reconstruct.current is None, 60 * busy())
        await until(lambda: tab.before.isVisible())
        after = tab.viewport.mesh
        assert len(after.faces) <= 1500 < len(before.faces) and after.texture.shape[0] == 256
        tab.before.click()
        assert len(tab.viewport.mesh.faces) == len(before.faces)
        tab.before.click()
        assert len(tab.viewport.mesh.faces) == len(after.faces)
        run = session.reconstruct.history.runs()[0]
        assert (run.options.faces, run.options.smooth, run.options.texture_size) == (1500, 3, 256)

    drive(scenario)
