"""The main window and the panels of the Reconstruct tab, driven as a user does, without an engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from PySide6.QtCore import QByteArray, QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QGuiApplication, QImage
from PySide6.QtWidgets import QApplication, QTextBrowser, QToolButton

from engine import cameras
from engine.core.progress import Progress
from engine.elevation import ElevationEstimate
from widgets.about import AboutDialog
from widgets.kit.theme import theme
from widgets.main_window import MainWindow
from widgets.reconstruct.incoming import pictures_from_mime
from widgets.reconstruct.request import HistoryEntry, Picture, QueueEntry
from widgets.reconstruct.tab import RunContents
from widgets.reconstruct.views_grid import ORDER, describe

ESTIMATE = ElevationEstimate(
    value=23.4,
    confidence=0.81,
    coarse=([-10.0, 0, 10, 20, 30, 40], [3.0, 2.0, 1.2, 0.5, 0.7, 1.4]),
    fine=([21.0, 22, 23, 24, 25], [0.48, 0.45, 0.43, 0.44, 0.47]),
    matches=412,
    is_fallback=False,
    message="From 412 matches.",
)


def picture_files(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"house{i}.png" for i in range(count)]
    for path in paths:
        Image.new("RGB", (20, 16), (200, 120, 80)).save(path)
    return paths


def drop(window: MainWindow, mime: QMimeData) -> None:
    where = QPoint(400, 400)
    action, button, keys = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(where, action, mime, button, keys)
    QApplication.sendEvent(window, enter)
    assert enter.isAccepted()
    QApplication.sendEvent(window, QDropEvent(QPointF(where), action, mime, button, keys))


def file_mime(paths: list[Path]) -> QMimeData:
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    return mime


def view(shade: float) -> np.ndarray:
    return np.full((16, 16, 4), shade, np.float32)


# -- pictures in ---------------------------------------------------------------------------------------------


def test_a_dropped_file_becomes_the_picture(window, tmp_path) -> None:
    chosen: list[Picture] = []
    window.reconstruct.picture_chosen.connect(chosen.append)
    window.show_tab(2)
    drop(window, file_mime(picture_files(tmp_path, 1)))
    assert [p.name for p in chosen] == ["house0"]
    assert window.pages.currentIndex() == 0, "a drop on another tab goes to Reconstruct"
    assert window.reconstruct.input.button.isEnabled()


def test_several_files_make_several_requests(window, tmp_path) -> None:
    requests: list = []
    window.reconstruct.requested.connect(requests.extend)
    drop(window, file_mime(picture_files(tmp_path, 3)))
    assert "3 pictures" in window.reconstruct.input.button.text()
    window.reconstruct.input.request()
    assert [r.picture.name for r in requests] == ["house0", "house1", "house2"]


def test_a_folder_gives_its_pictures(tmp_path) -> None:
    picture_files(tmp_path, 2)
    (tmp_path / "notes.txt").write_text("no picture")
    pictures, refusal = pictures_from_mime(file_mime([tmp_path]))
    assert [p.name for p in pictures] == ["house0", "house1"]
    assert not refusal


def test_an_address_on_the_network_is_refused_in_words(window) -> None:
    mime = QMimeData()
    mime.setUrls([QUrl("https://example.org/house.jpg")])
    drop(window, mime)
    assert window.reconstruct.banner.isVisible()
    assert "does not download" in window.reconstruct.banner.text.text()
    assert window.reconstruct.input.picture is None


def test_pixels_dragged_from_a_browser_are_taken_before_their_address() -> None:
    mime = QMimeData()
    mime.setUrls([QUrl("https://example.org/house.jpg")])
    mime.setImageData(QImage(8, 6, QImage.Format.Format_RGB888))
    pictures, _ = pictures_from_mime(mime)
    assert isinstance(pictures[0].source, bytes)


def test_a_data_address_is_decoded() -> None:
    image = QImage(8, 6, QImage.Format.Format_ARGB32)
    image.fill(Qt.GlobalColor.red)
    from widgets.reconstruct.incoming import png_bytes

    data = png_bytes(image)
    mime = QMimeData()
    mime.setText("data:image/png;base64," + QByteArray(data).toBase64().data().decode())
    pictures, _ = pictures_from_mime(mime)
    assert pictures[0].source == data


def test_ctrl_v_pastes_an_image(window, qtbot) -> None:
    image = QImage(12, 10, QImage.Format.Format_RGB888)
    image.fill(Qt.GlobalColor.blue)
    QGuiApplication.clipboard().setImage(image)
    chosen: list[Picture] = []
    window.reconstruct.picture_chosen.connect(chosen.append)
    qtbot.keyClick(window, Qt.Key.Key_V, Qt.KeyboardModifier.ControlModifier)
    assert chosen and isinstance(chosen[0].source, bytes)
    assert QImage.fromData(chosen[0].source).size() == image.size()


def test_ctrl_v_in_the_search_field_pastes_text(window, qtbot) -> None:
    QGuiApplication.clipboard().setText("church")
    tab = window.reconstruct
    qtbot.keyClick(window, Qt.Key.Key_F, Qt.KeyboardModifier.ControlModifier)
    qtbot.keyClick(tab.history.search, Qt.Key.Key_V, Qt.KeyboardModifier.ControlModifier)
    assert tab.history.search.text() == "church"
    assert not tab.banner.isVisible()


# -- options -------------------------------------------------------------------------------------------------


def test_the_request_carries_the_options(window, qtbot, tmp_path) -> None:
    requests: list = []
    tab = window.reconstruct
    tab.requested.connect(requests.extend)
    drop(window, file_mime(picture_files(tmp_path, 1)))
    tab.input.set_options(mode="whole", quality="draft")
    tab.input.set_elevation(12.5)
    qtbot.keyClick(window, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    options = requests[0].options
    assert (options.mode, options.quality, options.elevation) == ("whole", "draft", 12.5)
    tab.input.set_elevation(None)
    qtbot.keyClick(window, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert requests[1].options.elevation is None


def test_the_built_in_generator_is_named_honestly(window) -> None:
    assert "trained by Oriel" in window.reconstruct.input.models.boxes["generator"].currentText()


def test_a_box_drawn_by_the_user_goes_into_the_request(window, tmp_path) -> None:
    tab, wanted = window.reconstruct, []
    drop(window, file_mime(picture_files(tmp_path, 1)))
    tab.preview_wanted.connect(lambda picture, mode: wanted.append(picture.box))
    tab.input.editor.edited.emit((1, 2, 15, 12), None, ())
    tab.input._want_preview()
    assert wanted[-1] == (1, 2, 15, 12)


# -- a run ---------------------------------------------------------------------------------------------------


def test_views_fill_the_grid_and_their_poses_are_told(window) -> None:
    tab = window.reconstruct
    tab.begin_run("k", "house")
    tab.take_progress([Progress("elevation", 1, 1, "", ("elevation", ESTIMATE))])
    tab.take_progress([Progress("views", 1, 40, "", ("view", name, view(0.5))) for name in ORDER])
    assert len(tab.views.images) == 40
    cells = [tab.views.cell(name) for name in ORDER]
    assert all(tab.views.rect().contains(cell) for cell in cells)
    assert not any(a.intersects(b) for i, a in enumerate(cells) for b in cells[:i])
    assert "elevation 33°" in describe("view_0_0_10", 23.4) and "azimuth 0°" in describe("view_0_0_10", 23.4)
    told: list[str] = []
    tab.views.hovered.connect(told.append)
    tab.views.select("view_1")
    assert told == ["View 2: elevation 23°, azimuth 90°"]
    assert tab.elevation.figure.text() == "23.4°"
    assert "81" in tab.elevation.confidence.text()


def test_stages_that_pause_keep_their_time(window, qtbot) -> None:
    bar = window.reconstruct.stages
    bar.begin()
    bar.advance(Progress("foreground", 3, 3))
    bar.advance(Progress("views", 4, 40))
    qtbot.wait(150)
    bar.advance(Progress("elevation", 1, 1))
    assert bar.strip.state["views"] == "paused" and bar.strip.state["foreground"] == "done"
    bar.advance(Progress("views", 5, 40))
    assert bar.strip.state["views"] == "running" and bar.strip.state["elevation"] == "done"
    before = bar.remaining()
    bar.advance(Progress("surface", 0, 1))
    assert bar.remaining() < before
    bar.advance(Progress("texture", 1, 1))
    bar.finish()
    assert set(bar.strip.state.values()) == {"done"}
    assert bar.strip.seconds["views"] >= 0.1


def test_the_clock_tells_what_remains_and_stops(window, qtbot) -> None:
    bar = window.reconstruct.stages
    bar.begin()
    qtbot.waitUntil(lambda: "to go" in window.reconstruct.clock.text(), timeout=2000)
    bar.finish("stopped")
    assert "Stopped" in window.reconstruct.clock.text()


def test_a_fallback_is_said_plainly(window) -> None:
    panel = window.reconstruct.elevation
    panel.show_estimate(
        ElevationEstimate(15.0, 0.0, ([], []), ([], []), 7, True, "Fallback: only 7 points matched, 24 are needed.")
    )
    assert panel.note.isVisibleTo(panel) and "Fallback" in panel.note.text()
    assert panel.note.objectName() == "warning"
    assert panel.curve.value is None


def test_esc_cancels_and_a_second_job_is_queued_and_removable(window, qtbot, tmp_path) -> None:
    tab, cancelled, removed = window.reconstruct, [], []
    drop(window, file_mime(picture_files(tmp_path, 1)))
    tab.cancel_requested.connect(lambda: cancelled.append(True))
    tab.remove_requested.connect(removed.append)
    tab.begin_run("k", "house")
    assert "queue" in tab.input.button.text()
    tab.input.queue.set_entries([QueueEntry(1, "house", running=True), QueueEntry(2, "church")])
    assert tab.input.queue.isVisible()
    tab.input.queue.findChild(QToolButton).click()
    assert removed == [2]
    qtbot.keyClick(window, Qt.Key.Key_Escape)
    assert cancelled == [True]
    tab.stages.finish("stopped")


def test_enlarge_walk_and_close_with_the_keyboard(window, qtbot) -> None:
    tab = window.reconstruct
    tab.views.show_neighbours(True)
    for name in ORDER:
        tab.views.set_view(name, view(0.3))
    tab.views.setFocus()
    tab.views.select("view_0")
    qtbot.keyClick(tab.views, Qt.Key.Key_Down)
    assert tab.views.current == "view_1"
    qtbot.keyClick(tab.views, Qt.Key.Key_Return)
    assert tab.overlay.isVisible() and tab.overlay.name == "view_1"
    qtbot.keyClick(tab.overlay, Qt.Key.Key_Right)
    assert tab.overlay.name == "view_1_0_10"
    qtbot.keyClick(tab.overlay, Qt.Key.Key_Escape)
    assert not tab.overlay.isVisible()


def test_a_method_without_source_views_has_the_principal_ones_alone_and_larger(window, qtbot) -> None:
    tab = window.reconstruct
    tab.begin_run("k", "house", method="views")
    side = tab.views.cell("view_0").width()
    tab.begin_run("k", "house", method="field")
    for name in ORDER:
        tab.views.set_view(name, view(0.3))
    cells = [tab.views.cell(name) for name in tab.views.names]
    assert len(cells) == 8 and cells[0].width() > side
    assert all(tab.views.rect().contains(cell) for cell in cells)
    assert not any(a.intersects(b) for i, a in enumerate(cells) for b in cells[:i])
    tab.overlay.show_view("view_0")
    qtbot.keyClick(tab.overlay, Qt.Key.Key_Right)
    assert tab.overlay.name == "view_1"
    tab.overlay.dismiss()
    assert "none can be drawn again alone" in tab._retry.toolTip()
    tab.stages.finish()


def test_a_click_enlarges_and_r_retries_only_when_it_can(window, qtbot) -> None:
    tab, retried = window.reconstruct, []
    tab.retry_requested.connect(retried.append)
    tab.views.set_view("view_5", view(0.3))
    centre = tab.views.cell("view_5").center()
    qtbot.mouseClick(tab.views, Qt.MouseButton.LeftButton, pos=centre)
    assert tab.overlay.isVisible()
    tab.overlay.dismiss()
    qtbot.keyClick(tab.views, Qt.Key.Key_R)
    assert retried == []
    tab.views.can_retry = True
    qtbot.keyClick(tab.views, Qt.Key.Key_R)
    assert retried == [5]


def test_a_failed_foreground_offers_to_draw_a_box(window, tmp_path) -> None:
    tab = window.reconstruct
    drop(window, file_mime(picture_files(tmp_path, 1)))
    text = "No object was found in house.png. Draw a box around it."
    tab.begin_run("k", "house")
    tab.finish_run(RunContents("k", "house", "failed", text, "foreground", QImage()))
    assert tab.banner.isVisible() and tab.banner.text.text() == text
    names = [tab.banner._actions.itemAt(i).widget().text() for i in range(tab.banner._actions.count())]
    assert names == ["Draw a box", "Try again"]
    tab.banner._actions.itemAt(0).widget().click()
    assert tab.input.mode.currentData() == "grabcut"
    assert not tab.banner.isVisible()


def test_an_earlier_run_can_be_looked_at_while_one_is_in_work(window) -> None:
    tab = window.reconstruct
    tab.begin_run("new", "church")
    tab.show_run(
        RunContents("old", "house", "done", None, None, QImage(), {"view_0": QImage(4, 4, QImage.Format.Format_RGB32)})
    )
    tab.take_progress([Progress("views", 3, 40, "", ("view", "view_3", view(0.2)))])
    assert tab.title.text() == "house" and list(tab.views.images) == ["view_0"]
    assert tab.stages.stage == "views", "the stage bar follows the run in work"
    tab.finish_run(RunContents("new", "church", "done", None, None, QImage()))
    assert tab.title.text() == "house"


def test_a_broken_run_looked_at_while_another_ends_can_be_gone_on_with(window) -> None:
    tab, going_on = window.reconstruct, []
    tab.continue_requested.connect(lambda: going_on.append(True))
    tab.begin_run("new", "church")
    tab.show_run(RunContents("old", "house", "cancelled", None, "views", QImage(), seconds={"foreground": 2.0}))
    assert tab.banner._actions.count() == 0
    tab.finish_run(RunContents("new", "church", "done", None, None, QImage(), seconds={"foreground": 1.0}))
    assert tab.stages.strip.state["views"] == "stopped" and tab.stages.strip.seconds["foreground"] == 2.0
    assert "Done" not in tab.clock.text(), "that was the other run's"
    tab.banner._actions.itemAt(0).widget().click()
    assert going_on == [True]


def test_back_at_a_run_in_its_late_stages_its_own_views_are_there(window) -> None:
    tab, picture = window.reconstruct, QImage(4, 4, QImage.Format.Format_RGB32)
    own = RunContents("new", "church", "running", None, "surface", QImage(), {"view_1": picture}, ESTIMATE)
    tab.begin_run("new", "church", "surface")
    tab.show_run(RunContents("old", "house", "done", None, None, QImage(), {"view_0": picture}))
    tab.follow_run("new", "church", "surface", own)
    assert list(tab.views.images) == ["view_1"] and tab.views.elevation == ESTIMATE.value
    tab.stages.finish()


def test_a_run_in_work_is_not_deleted_and_another_is(window) -> None:
    tab, deleted = window.reconstruct, []
    tab.delete_requested.connect(deleted.append)
    tab.set_history(entries())
    tab.begin_run("k0", "church")
    tab.history.delete_requested.emit("k0")
    assert "Cancel it first" in tab.banner.text.text() and len(tab.history.keys()) == 3
    tab.show_run(RunContents("k1", "tower", "done", None, None, QImage()))
    tab.history.delete_requested.emit("k1")
    assert tab.shown_key is None and tab.title.text() == "Mesh"
    assert tab.stages.running, "the stage bar is the other run's"
    tab.toast.finish()
    assert deleted == ["k1"]
    tab.stages.finish()


def test_a_request_keeps_what_was_drawn_when_it_was_made(window, tmp_path) -> None:
    requests: list = []
    window.reconstruct.requested.connect(requests.extend)
    drop(window, file_mime(picture_files(tmp_path, 1)))
    picture = window.reconstruct.input.picture
    for box in ((1, 1, 9, 9), (2, 2, 12, 12)):
        picture.box = box
        window.reconstruct.input.request()
    assert [request.options.box for request in requests] == [(1, 1, 9, 9), (2, 2, 12, 12)]


def test_a_broken_picture_does_not_leave_the_one_before_ready(window, tmp_path) -> None:
    tab = window.reconstruct
    drop(window, file_mime(picture_files(tmp_path, 1)))
    tab.show_picture(tab.input.picture, np.full((20, 16, 4), 200, np.uint8))
    assert tab.mask_page.isVisible()
    bad = Picture(tmp_path / "notes.png", "notes")
    tab.bring([bad])
    tab.show_input_problem(bad, "'notes.png' is not a picture.")
    assert not tab.mask_page.isVisible() and not tab.input.button.isEnabled()


def test_the_end_of_a_run_does_not_resize_the_picture(window, qtbot) -> None:
    tab = window.reconstruct
    tab.begin_run("k", "house")
    qtbot.wait(50)
    before = tab.preview.geometry()
    used = {"surface": {"label": "Built-in surface", "path": "", "source": "built-in", "device": "cpu"}}
    tab.finish_run(RunContents("k", "house", "done", None, None, QImage(), used=used))
    qtbot.wait(50)
    assert "Built-in" in tab.used.text() and tab.used.isVisible()
    assert tab.preview.geometry() == before


# -- history -------------------------------------------------------------------------------------------------


def entries() -> list[HistoryEntry]:
    return [
        HistoryEntry(f"k{i}", name, "12 s", "done", haystack=f"{name} 2026-11-2{i} standard")
        for i, name in enumerate(("church", "tower", "house"))
    ]


def test_the_history_is_searched_by_any_word(window, qtbot) -> None:
    panel, opened = window.reconstruct.history, []
    panel.open_requested.connect(opened.append)
    panel.set_entries(entries())
    assert panel.keys() == ["k0", "k1", "k2"]
    qtbot.keyClick(window, Qt.Key.Key_F, Qt.KeyboardModifier.ControlModifier)
    qtbot.keyClicks(panel.search, "standard TOW")
    assert panel.keys() == ["k1"]
    qtbot.keyClick(panel.search, Qt.Key.Key_Return)
    assert opened == ["k1"]
    panel.search.setText("palace")
    assert panel.keys() == [] and panel.pages.currentIndex() == 1


def test_esc_in_the_search_leaves_it_and_cancels_nothing(window, qtbot) -> None:
    tab, cancelled = window.reconstruct, []
    tab.cancel_requested.connect(lambda: cancelled.append(True))
    tab.set_history(entries())
    tab.begin_run("k", "house")
    qtbot.keyClick(window, Qt.Key.Key_F, Qt.KeyboardModifier.ControlModifier)
    qtbot.keyClicks(tab.history.search, "tow")
    qtbot.keyClick(tab.history.search, Qt.Key.Key_Escape)
    assert cancelled == [] and tab.history.keys() == ["k0", "k1", "k2"] and tab.history.list.hasFocus()
    qtbot.keyClick(tab.history.list, Qt.Key.Key_Escape)
    assert cancelled == [True]
    tab.stages.finish("stopped")


def test_esc_in_a_drag_ends_the_drag_and_cancels_nothing(window, qtbot, tmp_path) -> None:
    tab, cancelled = window.reconstruct, []
    tab.cancel_requested.connect(lambda: cancelled.append(True))
    drop(window, file_mime(picture_files(tmp_path, 1)))
    picture = tab.input.picture
    tab.input.show_picture(picture, np.full((20, 16, 4), 200, np.uint8))
    tab.begin_run("k", "house")
    canvas = tab.input.editor.canvas
    canvas.setFocus()
    middle = canvas.rect().center()
    qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=middle - QPoint(30, 30))
    qtbot.mouseMove(canvas, middle)
    qtbot.keyClick(canvas, Qt.Key.Key_Escape)
    qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=middle)
    assert cancelled == [] and picture.box is None
    qtbot.keyClick(canvas, Qt.Key.Key_Escape)
    assert cancelled == [True]
    tab.stages.finish("stopped")


def test_f6_goes_round_picture_mesh_and_views(window, qtbot, tmp_path) -> None:
    tab = window.reconstruct
    drop(window, file_mime(picture_files(tmp_path, 1)))
    tab.show_picture(tab.input.picture, np.full((20, 16, 4), 200, np.uint8))
    seen = []
    for _ in range(3):
        qtbot.keyClick(QApplication.focusWidget() or window, Qt.Key.Key_F6)
        seen.append(QApplication.focusWidget())
    assert seen == [tab.input.editor.canvas, tab.views, tab.input.editor.canvas], "there is no mesh yet"


def test_the_mask_is_corrected_in_the_middle_also_while_a_run_goes_on(window, qtbot, tmp_path) -> None:
    tab = window.reconstruct
    drop(window, file_mime(picture_files(tmp_path, 1)))
    tab.show_picture(tab.input.picture, np.full((20, 16, 4), 200, np.uint8))
    assert tab.input.editor.isVisible() and not tab.mask_page.back.isVisible()
    assert tab.input.editor.canvas.width() > 1.5 * tab.input.well.width(), "it is the large picture"
    qtbot.mouseClick(tab.input.button, Qt.MouseButton.LeftButton)
    tab.begin_run("k", "house")
    assert tab.preview.isVisible()
    qtbot.mouseClick(tab.input.well, Qt.MouseButton.LeftButton)
    assert tab.input.editor.isVisible() and tab.mask_page.back.isVisible()
    tab.take_progress([Progress("views", 1, 8, "", ("view", "view_0", view(0.5)))])
    tab.finish_run(RunContents("k", "house", "done", None, None, QImage()))
    assert tab.input.editor.isVisible(), "what is being drawn on is not taken away by the run"
    qtbot.keyClick(tab.input.editor.canvas, Qt.Key.Key_Escape)
    assert not tab.input.editor.isVisible()
    assert tab.preview.isVisible()
    qtbot.mouseClick(tab.input.well, Qt.MouseButton.LeftButton)
    tab.mask_page.back.click()
    assert tab.preview.isVisible()


def test_space_after_the_button_does_not_ask_for_a_second_run(window, qtbot, tmp_path) -> None:
    tab, asked = window.reconstruct, []
    tab.requested.connect(asked.append)
    drop(window, file_mime(picture_files(tmp_path, 1)))
    tab.show_picture(tab.input.picture, np.full((20, 16, 4), 200, np.uint8))
    tab.input.button.setFocus()
    qtbot.keyClick(tab.input.button, Qt.Key.Key_Space)
    assert len(asked) == 1
    tab.begin_run("k", "house")
    qtbot.keyClick(QApplication.focusWidget() or window, Qt.Key.Key_Space)
    tab.finish_run(RunContents("k", "house", "done", None, None, QImage()))
    qtbot.keyClick(QApplication.focusWidget() or window, Qt.Key.Key_Space)
    assert len(asked) == 1


def test_a_deleted_run_can_be_brought_back(window, qtbot) -> None:
    tab, deleted = window.reconstruct, []
    tab.delete_requested.connect(deleted.append)
    tab.set_history(entries())
    tab.show_side("history")
    tab.history.list.setCurrentIndex(tab.history.model.index(1))
    qtbot.keyClick(tab.history.list, Qt.Key.Key_Delete)
    assert tab.history.keys() == ["k0", "k2"] and tab.toast.isVisible() and deleted == []
    tab.toast.button.click()
    assert tab.history.keys() == ["k0", "k1", "k2"] and deleted == []
    tab.history.list.setCurrentIndex(tab.history.model.index(0))
    qtbot.keyClick(tab.history.list, Qt.Key.Key_Delete)
    tab.toast.finish()
    assert deleted == ["k0"]


# -- the window ----------------------------------------------------------------------------------------------


def test_tabs_by_key_and_each_says_what_it_will_do(window, qtbot) -> None:
    for i, key in enumerate((Qt.Key.Key_1, Qt.Key.Key_2, Qt.Key.Key_3, Qt.Key.Key_4)):
        qtbot.keyClick(window, key, Qt.KeyboardModifier.ControlModifier)
        assert window.pages.currentIndex() == i
        assert window.tabs.checkedId() == i


def test_dark_and_light_are_told_apart_and_remembered(window, qtbot) -> None:
    modes: list[str] = []
    window.theme_chosen.connect(modes.append)
    both = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    dark = window.grab().toImage().pixelColor(5, 400).lightness()
    qtbot.keyClick(window, Qt.Key.Key_L, both)
    assert modes == ["light"]
    assert window.grab().toImage().pixelColor(5, 400).lightness() > dark + 100
    qtbot.keyClick(window, Qt.Key.Key_L, both)
    assert modes == ["light", "dark"]


def test_full_screen_enlarges_the_text_and_esc_leaves(window, qtbot) -> None:
    before = window.fontMetrics().height()
    qtbot.keyClick(window, Qt.Key.Key_F11)
    qtbot.waitUntil(window.isFullScreen)
    assert theme.scale > 1.2 and window.fontMetrics().height() > before
    qtbot.keyClick(window, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: not window.isFullScreen())
    assert theme.scale == 1.0


def test_f1_shows_and_hides_the_keys(window, qtbot) -> None:
    qtbot.keyClick(window, Qt.Key.Key_F1)
    assert window.sheet.isVisible()
    qtbot.keyClick(window.sheet, Qt.Key.Key_Escape)
    assert not window.sheet.isVisible()


def test_buttons_tell_their_purpose(window) -> None:
    silent = [b for b in window.findChildren(QToolButton) if b.isVisible() and not b.toolTip()]
    assert not silent


def test_it_fits_1280_by_800(window) -> None:
    window.resize(1280, 800)
    QApplication.processEvents()
    assert (window.width(), window.height()) == (1280, 800)
    assert window.minimumSizeHint().width() <= 1280 and window.minimumSizeHint().height() <= 800


def test_closing_asks_first(window) -> None:
    asked: list[bool] = []
    window.close_requested.connect(lambda: asked.append(True))
    window.close()
    assert asked == [True] and window.isVisible()


def test_places_are_taken_up_again_and_nonsense_is_not(window) -> None:
    window.reconstruct.columns.setSizes([320, 500, 380])
    place = window.place()
    window.restore_place({"geometry": 5, "columns": ["a"]})
    window.restore_place({})
    window.restore_place(place)
    assert window.reconstruct.columns.sizes() == place["columns"]


def test_a_window_left_in_full_screen_comes_back_enlarged(window, qtbot) -> None:
    qtbot.keyClick(window, Qt.Key.Key_F11)
    qtbot.waitUntil(window.isFullScreen)
    place = window.place()
    qtbot.keyClick(window, Qt.Key.Key_F11)
    qtbot.waitUntil(lambda: not window.isFullScreen())
    assert theme.scale == 1.0
    window.restore_place(place)
    qtbot.waitUntil(window.isFullScreen)
    assert theme.scale > 1.2


def test_cameras_of_the_run_are_ready_for_the_viewport(window) -> None:
    tab = window.reconstruct
    tab.begin_run("k", "house")
    tab.take_progress([Progress("elevation", 1, 1, "", ("elevation", ESTIMATE))])
    assert len(tab._poses) == 33 and tab._poses[0] == cameras.Pose(23.4, 0.0)
    tab.stages.finish()


def test_about_names_whom_the_weights_have_learnt_from(window, qtbot):
    qtbot.keyClick(window, Qt.Key.Key_F1, Qt.KeyboardModifier.ShiftModifier)
    dialog = window.findChild(AboutDialog)
    assert dialog.isVisible()
    said = dialog.findChild(QTextBrowser).toPlainText()
    assert "Kenney" in said and "CC-BY-4.0" in said
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: window.findChild(AboutDialog) is None)
