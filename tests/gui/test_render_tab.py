"""The Render tab: its parts with values made by hand, and whole runs of Blender in the window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import trimesh
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QColor, QDesktopServices, QDragEnterEvent, QDropEvent, QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QPushButton, QToolButton

from app import render_session
from app.settings import Settings
from app.window import Session
from engine.core.progress import Progress
from engine.jobs import Board
from engine.meshes.mesh import Mesh
from engine.rendering import farm
from engine.rendering.jobs import ModelFile, ModelState, RenderSettings, RenderTotals, frames
from tests.gui import driving
from tests.gui.driving import activate, busy
from tests.loop_gaps import LoopGapProbe
from widgets.main_window import MainWindow
from widgets.render import FarmChoice, ModelDetails, Opened, RenderTab
from widgets.render.words import sentence, worker

TINY = RenderSettings(size=16, samples=1, denoise=False)


@pytest.fixture
def window(window: MainWindow) -> MainWindow:
    window.show_tab(3)
    return window


async def until(condition: Callable[[], Any], seconds: float = 240) -> None:
    await driving.until(condition, seconds)


def said(tab: RenderTab) -> str:
    return tab.banner.text.text() if tab.banner.isVisible() else ""


def counts(tab: RenderTab) -> dict[str, int]:
    return {state: number for state, number in tab.model.counts.items() if number}


def models(number: int) -> list[ModelState]:
    """Every third one is done, waits, failed."""

    def state(at: int) -> ModelState:
        model = ModelFile(f"house-{at}", Path(f"/models/house-{at}.glb"))
        kind = ("done", "waiting", "failed")[at % 3]
        if kind == "failed":
            return ModelState(model, kind, "Blender cannot read it: the file is damaged.", attempts=2)
        return ModelState(model, kind, frames=40 if kind == "done" else 0)

    return [state(at) for at in range(number)]


def opened(tab: RenderTab, number: int = 9) -> list[ModelState]:
    states = models(number)
    tab.show_opened(Opened(Path("/models"), Path("/renders"), states))
    return states


def picture(color: str, side: int = 16) -> QImage:
    image = QImage(side, side, QImage.Format.Format_RGBA8888)
    image.fill(QColor(color))
    return image


def whole_sheet() -> tuple[dict[str, QImage], dict[str, QImage]]:
    every = frames(RenderSettings())
    return {f.name: picture("red") for f in every}, {f.name: picture("grey") for f in every if f.depth}


def write_models(folder: Path, number: int, broken: bool = False) -> Path:
    folder.mkdir()
    for at in range(number):
        trimesh.creation.box((1, 1 + at, 2)).export(folder / f"box-{at}.glb")
    if broken:
        (folder / "broken.glb").write_bytes(b"glTF" + bytes(40))
    return folder


def seen(tab: RenderTab, name: str) -> QColor:
    """The colour in the middle of a picture on the screen."""
    sheet = tab.details.sheet
    return sheet.grab().toImage().pixelColor(sheet.cell(name).center())


# -- models in -----------------------------------------------------------------------------------------------


def test_the_empty_tab_says_what_to_do_and_starts_nothing(window, qtbot) -> None:
    tab, asked = window.render_tab, []
    tab.start_requested.connect(lambda: asked.append("start"))
    assert window.tabs.button(3).isChecked() and "Ctrl+4" in window.tabs.button(3).toolTip()
    assert tab.invitation.isVisible() and not tab.table.isVisible() and not tab.setup.start.isEnabled()
    qtbot.keyClick(window, Qt.Key.Key_R, Qt.KeyboardModifier.ControlModifier)
    assert not asked and "Choose models first" in said(tab)
    qtbot.keyClick(window, Qt.Key.Key_Escape)
    assert not said(tab)
    silent = [b for b in tab.findChildren(QToolButton) + tab.findChildren(QPushButton) if not b.toolTip()]
    assert not [b for b in silent if b.isVisible()]
    qtbot.keyClick(window, Qt.Key.Key_F1)
    assert any(part.text() == "Render" for part in window.sheet.findChildren(QLabel))


def test_folders_lists_and_models_are_dropped_here(window, tmp_path) -> None:
    tab, taken = window.render_tab, []
    tab.setup.source.chosen.connect(taken.append)
    dropped = [tmp_path, tmp_path / "selected.txt", tmp_path / "house.glb"]
    for path in [*dropped, tmp_path / "house.png"]:
        window.show_tab(3)
        mime = QMimeData()
        mime.setUrls([QUrl.fromLocalFile(str(path))])
        where, action = QPoint(400, 400), Qt.DropAction.CopyAction
        button, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        QApplication.sendEvent(window, QDragEnterEvent(where, action, mime, button, keys))
        QApplication.sendEvent(window, QDropEvent(QPointF(where), action, mime, button, keys))
    assert taken == dropped and window.pages.currentIndex() == 0  # the picture went to the first tab
    window.show_tab(3)
    opened(tab)
    tab.begin()
    mime.setUrls([QUrl.fromLocalFile(str(tmp_path))])
    tab.take(mime)
    assert taken == dropped and "Stop the run first" in said(tab)


def test_the_last_crawl_and_what_was_selected_are_offered(drive, tmp_path) -> None:
    crawl, screen = write_models(tmp_path / "crawl", 1), write_models(tmp_path / "screen", 2)
    (screen / "selected.txt").write_text("box-1.glb\n")

    async def scenario(session: Session) -> None:
        session.settings.crawl, session.settings.screen = {"folder": str(crawl)}, {"folder": str(screen)}
        session.window.show_tab(3)
        tab = session.window.render_tab
        await until(lambda: tab.setup.screened.isVisible() and tab.setup.crawled.isVisible())
        tab.setup.screened.click()
        await until(lambda: [row.model.key for row in tab.model.rows] == ["box-1"])
        assert tab.setup.folder_path is not None
        tab.setup.source.chosen.emit(tmp_path / "nowhere")
        await until(lambda: "nowhere" in said(tab))
        assert tab.invitation.isVisible()

    drive(scenario)


# -- the table and the totals --------------------------------------------------------------------------------


def test_the_filter_keeps_the_chosen_model_and_counts_all(window, qtbot) -> None:
    tab = window.render_tab
    opened(tab, 300)
    tab.table.choose("house-150")
    qtbot.keyClick(window, Qt.Key.Key_4, Qt.KeyboardModifier.AltModifier)
    assert tab.model.rowCount() == 100 and tab.table.current.model.key == "house-150"
    assert tab._filters.button(3).text() == "Done 100" and tab._filters.button(0).text() == "All 300"
    qtbot.keyClick(window, Qt.Key.Key_F, Qt.KeyboardModifier.ControlModifier)
    qtbot.keyClicks(tab.search, "house-15")
    qtbot.waitUntil(lambda: tab.model.rowCount() == 5)  # 15, 150, 153, 156, 159
    qtbot.keyClicks(tab.search, "x")
    qtbot.waitUntil(lambda: tab._no_match.isVisible())
    assert tab.details.model is None


def test_keys_and_buttons_ask_for_what_they_say(window, qtbot) -> None:
    tab, asked = window.render_tab, []
    for name in ("retry", "cancel", "first", "preview", "test", "pause", "resume", "stop", "folder"):
        signal = getattr(tab, f"{name}_requested")
        signal.connect(lambda *args, name=name: asked.append((name, *args)))
    opened(tab)
    tab.table.choose("house-1")
    qtbot.keyClick(tab.table, Qt.Key.Key_F)
    qtbot.keyClick(tab.table, Qt.Key.Key_P)
    qtbot.keyClick(tab.table, Qt.Key.Key_T)
    qtbot.keyClick(tab.table, Qt.Key.Key_N)  # nothing runs: neither of them asks
    qtbot.keyClick(tab.table, Qt.Key.Key_Delete)
    assert asked == [
        ("retry", ["house-2", "house-5", "house-8"]),
        ("preview", "house-1"),
        ("test", "house-1", "view_0"),
    ]
    asked.clear()
    tab.begin()
    tab.take_progress(RenderTotals("running", 9))
    qtbot.keyClick(tab.table, Qt.Key.Key_N)
    qtbot.keyClick(tab.table, Qt.Key.Key_Delete)
    qtbot.keyClick(tab.table, Qt.Key.Key_Space)
    tab.set_state("paused")
    qtbot.keyClick(tab.table, Qt.Key.Key_Space)
    qtbot.keyClick(tab.table, Qt.Key.Key_X)
    qtbot.keyClick(tab.table, Qt.Key.Key_S)
    tab.table.choose("house-2")
    tab.details.retry.click()
    assert asked == [
        ("first", ["house-1"]),
        ("cancel", ["house-1"]),
        ("pause",),
        ("resume",),
        ("stop",),
        ("folder", "house-1"),
        ("retry", ["house-2"]),
    ]
    tab.search.setFocus()
    qtbot.keyClicks(tab.search, "f x")
    assert tab.search.text() == "f x" and len(asked) == 7


def test_totals_say_how_long_it_takes(window) -> None:
    tab = window.render_tab
    opened(tab, 6)
    tab.begin()
    totals = RenderTotals(
        "running", 6, 2, 2, 0, 1, 84, 240, 900.0, 11_000, disk=2_500_000, free=120_000_000_000, workers=2
    )
    tab.take_progress(totals)
    assert tab.pace.text() == "900 frames/h  ·  about 3 h 03 min left  ·  2.5 MB used  ·  120 GB free"
    assert tab.state.text() == "Running  ·  2 workers"
    assert tab.totals.text() == "4 of 6 models, 84 of 240 frames" and "%" in window.tabs.button(3).text()
    working = replace(models(2)[1], state="working", frames=10, seconds_per_frame=4.51, worker="tcp://127.0.0.1:4021")
    tab.model.board.put(working)
    tab.take_progress()
    assert [tab.model.cell(working, column) for column in range(6)] == [
        "At work",
        "house-1",
        "10 of 40",
        "4.5",
        "4021",
        "",
    ]
    assert tab.model.index(1, 0).data() == "At work" and not tab.table.isColumnHidden(4)
    tab.end("Stopped.", "info")
    assert window.tabs.button(3).text() == "Render" and tab.table.isColumnHidden(4)


def test_settings_make_room_while_it_runs_in_a_small_window(window, qtbot) -> None:
    tab = window.render_tab
    window.resize(1280, 800)
    opened(tab)
    tab.begin()
    assert not tab.setup_panel.isVisible() and tab.options_button.isVisible()
    qtbot.keyClick(window, Qt.Key.Key_I, Qt.KeyboardModifier.ControlModifier)
    assert tab.setup_panel.isVisible() and not tab.setup.form.fields["size"].isEnabled()
    tab.end("Stopped.", "info")
    assert tab.setup_panel.isVisible() and tab.setup.form.fields["size"].isEnabled()
    assert tab.minimumSizeHint().width() <= 1280 and tab.minimumSizeHint().height() <= 700


# -- the chosen model ----------------------------------------------------------------------------------------


def test_the_sheet_fills_as_frames_come_and_shows_depth(window, qtbot) -> None:
    tab, sheet = window.render_tab, window.render_tab.details.sheet
    opened(tab)
    tab.table.choose("house-1")
    tab.details.add_preview("house-1", "view_3", picture("blue"))
    assert seen(tab, "view_3") == QColor("blue") and "fast preview" in tab.details.caption.text()
    pictures, depths = whole_sheet()
    tab.take_frames("house-0", pictures, depths)  # of another model
    assert sheet.count == 0
    tab.take_frames("house-1", {"view_3": pictures["view_3"]}, {"view_3": depths["view_3"]})
    tab.details.add_preview("house-1", "view_3", picture("blue"))  # comes too late
    assert seen(tab, "view_3") == QColor("red") and not sheet.previewed
    tab.take_frames("house-1", pictures, depths)
    assert sheet.count == 40 and seen(tab, "view_7_3_10") == QColor("red")
    small = sheet.cell("view_0").width()
    sheet.setFocus()
    qtbot.keyClick(sheet, Qt.Key.Key_D)
    assert tab.details.depth_button.isChecked() and seen(tab, "view_7") == QColor("grey")
    assert sheet.cell("view_0_1_10").isEmpty() and sheet.cell("view_0").width() > small
    qtbot.keyClick(sheet, Qt.Key.Key_D)
    assert seen(tab, "view_7") == QColor("red")
    tab.table.choose("house-4")
    assert not sheet.images


def test_a_picture_is_enlarged_and_arrows_go_on(window, qtbot) -> None:
    tab, wanted = window.render_tab, []
    tab.large_wanted.connect(lambda *args: wanted.append(args))
    opened(tab)
    tab.table.choose("house-0")
    tab.take_frames("house-0", *whole_sheet())
    qtbot.keyClick(tab.table, Qt.Key.Key_Return)
    overlay = tab.overlay
    assert overlay.isVisible() and overlay.name == "view_0"
    overlay.grab()
    assert wanted[-1] == ("house-0", "view_0", False)
    tab.details.sheet.set_large("view_0", False, picture("green", 64))
    assert overlay.grab().toImage().pixelColor(overlay.rect().center()) == QColor("green")
    qtbot.keyClick(overlay, Qt.Key.Key_Right)
    assert overlay.name == "view_0_0_10"
    qtbot.keyClick(overlay, Qt.Key.Key_D)
    overlay.grab()
    assert overlay.name == "view_0" and wanted[-1] == ("house-0", "view_0", True)
    qtbot.keyClick(window, Qt.Key.Key_Escape)
    assert not overlay.isVisible()


def test_the_chosen_camera_stands_out_among_those_around_the_model(window, qtbot) -> None:
    tab = window.render_tab
    opened(tab)
    tab.table.choose("house-0")
    tab.take_frames("house-0", *whole_sheet())
    box = trimesh.creation.box()
    tab.details.show_mesh("house-0", Mesh(box.vertices.astype("float32"), box.faces.astype("int32")))
    viewport = tab.details.viewport
    assert viewport is not None and len(viewport._poses) == 40
    sheet, pose = tab.details.sheet, frames(RenderSettings())[10].pose
    qtbot.mouseClick(sheet, Qt.MouseButton.LeftButton, pos=sheet.cell("view_2").center())
    assert viewport._poses[0] == pose and not tab.overlay.isVisible()
    assert abs(viewport._scene.orbit.azimuth - pose.azimuth) < 40  # looks over its shoulder
    tab.setup.form.fields["radius"].setValue(2.0)
    assert {round(p.radius, 3) for p in viewport._poses} == {2.0}


def test_a_failure_shows_its_log_and_what_to_do(window, qtbot) -> None:
    tab = window.render_tab
    opened(tab)
    tab.table.choose("house-2")
    tab.details.set_details(ModelDetails("house-2", log="Error: not a glTF"))
    assert tab.details.log.isVisible() and "not a glTF" in tab.details.log.toPlainText()
    assert "damaged" in tab.details.reason.text() and "2 attempts" in tab.details.state.text()
    assert tab.details.retry.isVisible()
    qtbot.keyClick(window, Qt.Key.Key_D, Qt.KeyboardModifier.ControlModifier)
    assert not tab.details.log.isVisible()
    assert sentence("house.glb is damaged") == "house.glb is damaged" and worker("tcp://10.0.0.2:41") == "10.0.0.2:41"


# -- the settings --------------------------------------------------------------------------------------------


def test_the_form_has_every_setting_marks_what_differs_and_goes_back(window, qtbot) -> None:
    tab, form = window.render_tab, window.render_tab.setup.form
    assert form.values() == RenderSettings() and form.farm() == FarmChoice() and not form.reset.isEnabled()
    assert {field.name for field in fields(RenderSettings)} <= form.fields.keys()
    assert "Samples a pixel" in form.fields["samples"].toolTip() and "Usually 32." in form.fields["samples"].toolTip()
    changed: list[bool] = []
    tab.setup.changed.connect(lambda: changed.append(True))
    form.fields["size"].setValue(256)
    form.fields["denoise"].setChecked(False)
    assert form.differing == ["size", "denoise"] and len(changed) == 2
    assert "color" in form._labels["size"].styleSheet() and not form._labels["lens"].styleSheet()
    assert form.values() == replace(RenderSettings(), size=256, denoise=False)
    form.reset.click()
    assert form.values() == RenderSettings() and not form._labels["size"].styleSheet()
    exact = replace(RenderSettings(), radius=1.23456, elevation=-12.34)
    form.set_values(exact)
    assert form.values() == exact  # though the fields show fewer digits
    tab.show_opened(Opened(Path("/models"), Path("/renders"), models(3), settings=replace(exact, samples=8)))
    assert form.values().samples == 8


def test_no_blender_says_what_to_do(drive, tmp_path) -> None:
    async def scenario(session: Session) -> None:
        session.settings.render = {"farm": {"blender": str(tmp_path / "none")}}
        session.render.restore()
        session.window.show_tab(3)
        form = session.window.render_tab.setup.form
        await until(lambda: "There is no Blender at" in form.blender_note.text())
        assert "There is no Blender at" in said(session.window.render_tab)
        form.blender.set_path(None)
        form.blender.edited.emit("")
        await until(lambda: form.blender_note.text().startswith("Blender 5"))

    drive(scenario)


# -- for real ------------------------------------------------------------------------------------------------


def test_a_run_with_a_failure_closed_midway_and_finished_by_the_next_window(drive, tmp_path, monkeypatch) -> None:
    source = write_models(tmp_path / "boxes", 2, broken=True)
    looked_at: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: looked_at.append(url.toLocalFile()))

    async def begin(session: Session) -> None:
        await until(session.window.isVisible)  # by then the options of the last time have been set
        session.window.show_tab(3)
        tab = session.window.render_tab
        tab.setup.form.set_values(TINY)
        tab.setup.form.set_farm(FarmChoice(workers=1, attempts=1, keep_free_gb=0.0))
        tab.setup.source.chosen.emit(source)
        await until(lambda: counts(tab) == {"waiting": 3})
        details, sheet = tab.details, tab.details.sheet
        assert details.model.model.key == "box-0" and tab.setup.folder_path == tmp_path / "boxes-renders"
        details.preview.click()
        await until(lambda: len(sheet.images) == 40 and details.viewport is not None and details.viewport.mesh)
        assert sheet.previewed and abs(details.viewport.mesh.bounds[1] - details.viewport.mesh.bounds[0]).max() == 1
        details.test.click()
        await until(lambda: tab.test.image is not None)
        assert tab.test.image.width() == 16 and "40 frames of 3 models take 1 worker" in tab.test.estimate.text()
        await activate(session)
        QTest.keyClick(session.window, Qt.Key.Key_Escape)
        tab.setup.start.click()
        await until(lambda: tab.model.counts["working"] and tab.pause.isEnabled())
        await activate(session)
        QTest.keyClick(tab.table, Qt.Key.Key_Space)
        await until(lambda: counts(tab) == {"done": 1, "waiting": 2} and tab.state.text().startswith("Paused"))
        await until(lambda: sheet.count == 40)  # the last frames may be shown a moment after the state
        assert not sheet.previewed and "%" in session.window.tabs.button(3).text()
        tab.first_requested.emit(["broken"])
        await activate(session)
        QTest.keyClick(tab.table, Qt.Key.Key_Space)
        await until(lambda: tab.model.counts["failed"] == 1)  # and the third one is begun

    async def finish(session: Session) -> None:
        session.window.show_tab(3)
        tab, details = session.window.render_tab, session.window.render_tab.details
        await until(lambda: len(tab.model.rows) == 3)
        assert tab.model.counts["failed"] == 1 and tab.model.counts["done"] >= 1
        tab.table.choose("broken")
        await until(lambda: details.log.isVisible() and "broken.glb" in details.log.toPlainText())
        assert details.reason.text().startswith("broken.glb")
        assert tab.setup.form.values() == TINY and tab.setup.form.farm().workers == 1
        tab.request_start()
        await until(lambda: "2 models rendered, 1 failed" in said(tab))
        tab.table.choose("box-1")
        await until(lambda: tab.details.sheet.count == 40 and len(tab.details.sheet._depths) == 8)
        assert "Blender 5" in tab.details.reason.text() and "12 triangles" in tab.details.reason.text()
        tab.enlarge()
        await until(lambda: ("view_0", False) in tab.details.sheet._large)
        tab.overlay.dismiss()
        tab.folder_requested.emit("box-1")
        await until(lambda: looked_at == [str(tmp_path / "boxes-renders/zero12345_narrow/models/box-1")])

    drive(begin)
    assert Settings.load().render["source"] == str(source)
    drive(finish)


def test_ten_thousand_models_do_not_hold_the_window_up(drive, tmp_path, monkeypatch) -> None:
    number = 10_000
    states = models(number)
    monkeypatch.setattr(render_session, "_open", lambda source, folder: Opened(source, folder, states))

    class Run:
        """Finds all models done at once, as a run does that goes on with most of them done."""

        def __init__(self, every: list[ModelFile], *_: Any, board: Board[ModelState], **__: Any) -> None:
            self.models, self.board = every, board

        def run(self, progress: Callable[[Any], None], cancel: Any) -> None:
            for model in self.models:
                self.board.update(model.key, state="done", message="", frames=40, earlier=True)
            progress(Progress("render", number, number, preview=RenderTotals("finished", number, number)))

    monkeypatch.setattr(farm, "RenderRun", Run)

    async def scenario(session: Session) -> None:
        await until(lambda: session.reconstruct.tab.viewport is not None)  # the libraries are loaded
        session.window.show_tab(3)
        tab = session.window.render_tab
        probe = LoopGapProbe()
        probe.start()
        tab.setup.source.chosen.emit(tmp_path)
        await until(lambda: len(tab.model.rows) == number)
        tab.request_start()
        await until(lambda: counts(tab) == {"done": number} and session.render.job is None)
        for state in ("failed", "done", ""):
            tab.show_filter(state)
        tab.search.setText("house-99")
        await until(lambda: tab.model.rowCount() == 111)
        # What a person would call stuck; on two idle cores it is about 0.1 s.
        assert probe.stop() < busy(), probe.gaps

    drive(scenario)
