"""The viewport as its user meets it: real windows, real OpenGL, real files."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PySide6.QtCore import QPoint, QPointF, Qt, QTimer
from PySide6.QtGui import QColor, QGuiApplication, QPalette, QWheelEvent
from PySide6.QtWidgets import QApplication

from engine.cameras import intrinsics, principal_poses, project, source_poses
from engine.core.errors import InputError, OutputError
from engine.core.progress import CancelToken
from engine.meshes.export import export_mesh
from engine.meshes.mesh import Mesh
from tests.meshes import load_mesh
from widgets.viewport import ExportDialog, FilmDialog, Viewport

RED, BLUE = (200, 60, 50), (40, 90, 190)
SIZE = 360


def _block() -> Mesh:
    """A block, 0.5 x 0.8 x 0.6, each side textured red above and blue below; green vertex colours."""
    half = np.array([0.25, 0.4, 0.3], np.float32)
    vertices, faces, uv = [], [], []
    for axis in range(3):
        for sign in (1.0, -1.0):
            u, v = (axis + 1) % 3, (axis + 2) % 3
            if axis == 1:
                u, v = v, u
            corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
            start = len(vertices)
            for a, b in corners:
                point = np.zeros(3, np.float32)
                point[axis], point[u], point[v] = sign, a, b
                vertices.append(point * half)
                up = b if v == 2 else (a if u == 2 else b)
                uv.append(((a + 1) / 2, (up + 1) / 2))
            handed = np.cross(np.eye(3)[u], np.eye(3)[v])[axis] * sign
            order = (0, 1, 2, 3) if handed > 0 else (3, 2, 1, 0)
            faces += [[start + order[0], start + order[1], start + order[2]]]
            faces += [[start + order[0], start + order[2], start + order[3]]]
    texture = np.empty((64, 64, 3), np.uint8)
    texture[:32], texture[32:] = RED, BLUE
    colors = np.tile(np.array([[60, 170, 80]], np.uint8), (len(vertices), 1))
    return Mesh(np.array(vertices), np.array(faces, np.int32), colors, np.array(uv, np.float32), texture)


@pytest.fixture
def mesh() -> Mesh:
    return _block()


@pytest.fixture
def viewport(qtbot):
    if QGuiApplication.platformName() == "offscreen":
        pytest.skip("needs a display: run under xvfb-run")
    widget = Viewport()
    qtbot.addWidget(widget)
    widget.resize(SIZE + 60, SIZE + 60)
    widget.show()
    qtbot.waitExposed(widget)
    widget.setFocus()
    yield widget
    widget.close()


def _covered(viewport: Viewport) -> np.ndarray:
    return viewport.picture()[..., 3] > 127


def _press(qtbot, viewport: Viewport, key: Qt.Key) -> None:
    viewport.activateWindow()
    viewport.setFocus()
    qtbot.waitUntil(viewport.hasFocus, timeout=3000)
    qtbot.keyClick(viewport, key)


def test_without_a_mesh_says_what_to_do(viewport, mesh):
    assert viewport._empty.isVisible() and "Reconstruct" in viewport._empty.text()
    with pytest.raises(InputError):
        viewport.picture()
    with pytest.raises(InputError):
        viewport.save_turntable(Path("film.mp4"))
    viewport.show_mesh(mesh)
    assert not viewport._empty.isVisible()
    assert "24 vertices" in viewport._line.text() and "12 faces" in viewport._line.text()
    viewport.show_mesh(None)
    assert viewport._empty.isVisible()


def test_warming_up_draws_out_of_sight_and_gives_way_to_a_mesh(qtbot, mesh):
    widget = Viewport()
    qtbot.addWidget(widget)
    assert sum(1 for _ in widget.warm_up()) == 4
    assert widget.mesh is None and not widget._scene.plotter.actors, "nothing of it stays"
    steps = widget.warm_up()
    next(steps)
    widget.show_mesh(mesh)
    assert list(steps) == []
    assert widget.mesh is mesh and _covered(widget).any()
    widget.close()


def test_texture_stands_upright_in_its_true_colours(viewport, mesh):
    viewport.show_mesh(mesh)
    viewport.look_front()
    picture = viewport.picture().astype(int)
    rows = np.flatnonzero(picture[:, picture.shape[1] // 2, 3] == 255)
    column = picture[:, picture.shape[1] // 2, :3]
    above, below = column[rows[len(rows) // 4]], column[rows[3 * len(rows) // 4]]
    assert np.abs(above - RED).max() < 25 and np.abs(below - BLUE).max() < 25


def test_each_style_looks_different(viewport, mesh):
    viewport.show_mesh(mesh)
    pictures = {}
    for style in ("texture", "colors", "normals", "plain"):
        viewport.set_style(style)
        assert viewport.style_shown == style
        pictures[style] = viewport.picture()[..., :3].astype(int)
    names = list(pictures)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            assert np.abs(pictures[a] - pictures[b]).max() > 40, (a, b)
    green = pictures["colors"][_covered(viewport)].mean(0)
    assert green[1] > green[0] + 40 and green[1] > green[2] + 40


def test_styles_fall_back_to_what_the_mesh_has(viewport, mesh):
    viewport.show_mesh(Mesh(mesh.vertices, mesh.faces, mesh.colors))
    assert viewport.style_shown == "colors"
    viewport.show_mesh(Mesh(mesh.vertices, mesh.faces))
    assert viewport.style_shown == "plain"
    viewport.show_mesh(mesh)
    assert viewport.style_shown == "texture"


def test_front_view_is_the_input_camera(viewport, mesh):
    poses = principal_poses(20.0) + source_poses(20.0)
    viewport.show_mesh(mesh)
    viewport.show_cameras(poses)
    viewport.look_front()
    covered = _covered(viewport)
    height, width = covered.shape
    pixels, _ = project(mesh.vertices, poses[0].matrix(), intrinsics(height))
    ys, xs = np.nonzero(covered)
    assert abs(ys.min() - pixels[:, 1].min()) < 2 and abs(ys.max() + 1 - pixels[:, 1].max()) < 2
    shift = (width - height) / 2
    assert abs(xs.min() - pixels[:, 0].min() - shift) < 2 and abs(xs.max() + 1 - pixels[:, 0].max() - shift) < 2


def test_mouse_orbits_pans_and_zooms(qtbot, viewport, mesh):
    viewport.show_mesh(mesh)
    canvas = viewport._canvas
    home = viewport.picture()
    middle = canvas.rect().center()

    qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=middle)
    qtbot.mouseMove(canvas, middle + QPoint(90, 0))
    qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=middle + QPoint(90, 0))
    turned = viewport.picture()
    assert np.abs(turned.astype(int) - home).max() > 60
    assert viewport._scene.plotter.camera.up[2] > 0

    before = np.nonzero(_covered(viewport))[1].mean()
    qtbot.mousePress(canvas, Qt.MouseButton.MiddleButton, pos=middle)
    qtbot.mouseMove(canvas, middle + QPoint(40, 0))
    qtbot.mouseRelease(canvas, Qt.MouseButton.MiddleButton, pos=middle + QPoint(40, 0))
    assert 30 < np.nonzero(_covered(viewport))[1].mean() - before < 50

    small = _covered(viewport).sum()
    wheel = QWheelEvent(
        QPointF(middle),
        QPointF(canvas.mapToGlobal(middle)),
        QPoint(),
        QPoint(0, 120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(canvas, wheel)
    assert _covered(viewport).sum() > small * 1.1

    _press(qtbot, viewport, Qt.Key.Key_R)
    again = viewport.picture()
    rows = min(len(home), len(again))  # the canvas may have been laid out anew, a pixel higher
    assert np.abs(again[:rows].astype(int) - home[:rows]).mean() < 4


def test_keys_switch_everything(qtbot, viewport, mesh):
    viewport.show_mesh(mesh)
    viewport.show_cameras(principal_poses(20.0) + source_poses(20.0))
    for key, style in ((Qt.Key.Key_N, "normals"), (Qt.Key.Key_P, "plain"), (Qt.Key.Key_C, "colors")):
        _press(qtbot, viewport, key)
        assert viewport.style_shown == style
    _press(qtbot, viewport, Qt.Key.Key_T)
    for key, what in ((Qt.Key.Key_W, "edges"), (Qt.Key.Key_V, "cameras"), (Qt.Key.Key_G, "ruler")):
        before = viewport.picture()
        _press(qtbot, viewport, key)
        assert np.abs(viewport.picture().astype(int) - before).max() > 40, what
    _press(qtbot, viewport, Qt.Key.Key_7)
    assert viewport._scene.orbit.elevation == 90
    _press(qtbot, viewport, Qt.Key.Key_3)
    assert viewport._scene.orbit.azimuth == 90
    with qtbot.waitSignal(viewport.export_requested, timeout=2000):
        _press(qtbot, viewport, Qt.Key.Key_E)


def test_every_button_names_its_key(viewport):
    for name, action in viewport._actions.items():
        assert f"({action.shortcut().toString()})" in action.toolTip(), name
        assert not action.icon().isNull()


def test_what_finds_no_room_in_the_tool_bar_is_in_a_menu(qtbot, viewport):
    viewport.resize(300, 360)
    qtbot.waitUntil(viewport._tool_bar.more.isVisible)
    viewport._tool_bar.more.menu().aboutToShow.emit()
    offered = {action.text() for action in viewport._tool_bar.more.menu().actions()}
    on_the_bar = {
        a.text() for a in viewport._tool_bar.bar.actions() if viewport._tool_bar.bar.widgetForAction(a).isVisible()
    }
    assert "Export" in offered and offered.isdisjoint(on_the_bar)
    viewport.resize(900, 360)
    qtbot.waitUntil(lambda: not viewport._tool_bar.more.isVisible())


def test_input_camera_is_drawn_in_the_accent_colour(viewport, mesh):
    viewport.show_mesh(mesh)
    viewport.show_cameras(principal_poses(20.0) + source_poses(20.0), visible=True)
    picture = viewport.picture().astype(int)
    accent = QColor(viewport._scene.look.accent)
    distance = np.abs(picture[..., :3] - (accent.red(), accent.green(), accent.blue())).sum(-1)
    assert ((distance < 60) & (picture[..., 3] == 255)).sum() > 20


def test_ruler_counts_in_metres_once_the_height_is_known(viewport, mesh):
    from widgets.viewport.scene import Ruler

    units = [text for _, text in Ruler.of(mesh, None).labels]
    metres = [text for _, text in Ruler.of(mesh, 12.0).labels]
    assert units[-1] == "0.60" and metres[-1] == "12.00 m"
    viewport.show_mesh(mesh)
    viewport.set_grid(True)
    before = viewport.picture()
    viewport.set_height(12.0)
    assert np.abs(viewport.picture().astype(int) - before).max() > 40


def test_turntable_turns_and_rests_while_hidden(qtbot, viewport, mesh):
    viewport.show_mesh(mesh)
    viewport._actions["turntable"].setChecked(True)
    start = viewport._scene.orbit.azimuth
    qtbot.waitUntil(lambda: abs(viewport._scene.orbit.azimuth - start) > 3, timeout=5000)
    viewport.hide()
    assert not viewport._turn.isActive()
    viewport.show()
    assert viewport._turn.isActive()
    viewport._actions["turntable"].setChecked(False)
    assert not viewport._turn.isActive()


def test_screenshot_has_a_transparent_background_and_lands_on_the_clipboard(viewport, mesh, tmp_path):
    viewport.show_mesh(mesh)
    viewport.screenshot(tmp_path / "shot.png")
    shot = np.asarray(Image.open(tmp_path / "shot.png"))
    assert shot.shape[2] == 4
    assert shot[0, 0, 3] == 0 and shot[-1, -1, 3] == 0
    assert shot[shot.shape[0] // 2, shot.shape[1] // 2, 3] == 255
    copied = QGuiApplication.clipboard().image()
    assert (copied.width(), copied.height()) == (shot.shape[1], shot.shape[0])
    with pytest.raises(OutputError, match="missing"):
        viewport.screenshot(tmp_path / "missing" / "shot.png")


def test_a_picture_has_the_width_and_the_ground_that_are_asked_for(viewport, mesh):
    viewport.show_mesh(mesh)
    viewport._actions["backdrop"].trigger()  # white
    shown, cut = viewport.picture(600, transparent=False), viewport.picture(600)
    assert shown.shape == cut.shape and shown.shape[1] == 600
    assert shown[..., 3].min() == 255 and (shown[0, 0, :3] == 255).all() and cut[0, 0, 3] == 0
    middle = shown.shape[0] // 2, 300
    assert cut[middle][3] == 255 and np.abs(cut[middle][:3].astype(int) - shown[middle][:3]).max() <= 2


def test_light_and_backdrop_are_chosen_by_key(qtbot, viewport, mesh):
    viewport.show_mesh(mesh)
    pictures = [viewport.picture(transparent=False)]
    for key in 3 * [Qt.Key.Key_L]:
        _press(qtbot, viewport, key)
        pictures.append(viewport.picture(transparent=False))
    for one, other in pairwise(picture[:350] for picture in pictures):  # the line below may take a pixel more
        assert np.abs(one.astype(int) - other).max() > 20
    for color in (255, 128, 0):
        _press(qtbot, viewport, Qt.Key.Key_B)
        assert viewport.picture(transparent=False)[0, 0, 0] == pytest.approx(color, abs=1)
    assert "Backdrop: black" in viewport._line.text()


def test_screenshot_works_while_hidden(viewport, mesh):
    viewport.show_mesh(mesh)
    viewport.hide()
    viewport.set_style("colors")
    assert (viewport.picture()[..., 3] == 255).mean() > 0.1


@pytest.mark.parametrize(("suffix", "fps"), [(".mp4", 24), (".gif", 20)])
def test_film_has_the_asked_pictures_and_turns(qtbot, viewport, mesh, tmp_path, suffix, fps):
    import imageio.v3 as iio

    viewport.show_mesh(mesh)
    path, seen = tmp_path / f"turn{suffix}", []
    with qtbot.waitSignal(viewport.film_finished, timeout=30000) as end:
        viewport.save_turntable(path, seconds=0.5, fps=fps, size=161, progress=seen.append)
    assert end.args == [path, ""]
    frames = np.stack(list(iio.imiter(path)))[..., :3]
    assert frames.shape == (round(0.5 * fps), 160, 160, 3)
    assert np.abs(frames[0].astype(int) - frames[len(frames) // 4]).max() > 60
    assert seen[-1].done == seen[-1].total == len(frames)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_film_errors_and_cancelling_leave_nothing_behind(qtbot, viewport, mesh, tmp_path):
    viewport.show_mesh(mesh)
    with pytest.raises(InputError, match="mp4"):
        viewport.save_turntable(tmp_path / "turn.avi")
    with qtbot.waitSignal(viewport.film_finished, timeout=30000) as end:
        viewport.save_turntable(tmp_path / "missing" / "turn.gif", seconds=0.2, size=64)
    assert end.args[0] is None and "another folder" in end.args[1]
    with qtbot.waitSignal(viewport.film_finished, timeout=30000) as end:
        viewport.save_turntable(tmp_path / "missing" / "turn.mp4", seconds=0.2, size=64)
    assert end.args[0] is None and "another folder" in end.args[1]
    cancel = CancelToken()  # as the button does
    with qtbot.waitSignal(viewport.film_finished, timeout=30000) as end:
        viewport.save_turntable(
            tmp_path / "turn.mp4", seconds=60, size=64, progress=lambda event: cancel.cancel(), cancel=cancel
        )
    assert end.args[0] is None and "Cancelled" in end.args[1]
    assert not list(tmp_path.iterdir())


def test_closing_leaves_no_thread_and_no_timer(qtbot, mesh, tmp_path):
    widget = Viewport()
    widget.resize(300, 300)
    widget.show()
    qtbot.waitExposed(widget)
    widget.show_mesh(mesh)
    widget._actions["turntable"].setChecked(True)
    qtbot.wait(100)
    widget.save_turntable(tmp_path / "turn.mp4", seconds=60, size=64)
    film = widget._film
    qtbot.wait(200)
    started = time.monotonic()
    widget.close()
    assert time.monotonic() - started < 5
    assert not film.running and not list(tmp_path.iterdir())
    assert not any(timer.isActive() for timer in widget.findChildren(QTimer))
    qtbot.wait(50)
    widget.deleteLater()
    qtbot.wait(50)


def test_backdrop_follows_the_palette(qtbot, viewport, mesh):
    viewport.show_mesh(mesh)
    for color in ("#1b1d22", "#f4f5f7"):
        palette = QPalette(viewport.palette())
        palette.setColor(QPalette.ColorRole.Window, QColor(color))
        viewport.setPalette(palette)
        qtbot.wait(20)
        shown = viewport._canvas.grabFramebuffer().pixelColor(3, 3).lightness()
        assert abs(shown - QColor(color).lightness()) < 40


def test_export_dialog_writes_what_is_ticked_and_remembers(qtbot, mesh, tmp_path):
    def export(path, **options):
        export_mesh(mesh, path, **options)

    dialog = ExportDialog(
        export, name="house.glb", choice={"formats": [".glb", ".ply"], "folder": str(tmp_path / "new")}
    )
    qtbot.addWidget(dialog)
    dialog.show()
    dialog._formats[".obj"].setChecked(True)
    dialog._height.setValue(9.0)
    assert "house.glb" in dialog._note.text()
    with qtbot.waitSignal(dialog.exported, timeout=20000) as done:
        qtbot.mouseClick(dialog._go, Qt.MouseButton.LeftButton)
    assert {p.name for p in done.args[0]} == {"house.glb", "house.obj", "house.ply"}
    assert not dialog.isVisible()
    for name in ("house.glb", "house.ply"):
        bounds = load_mesh(tmp_path / "new" / name).bounds
        assert np.allclose(bounds[:, 2], [0, 9], atol=1e-3), name

    again = ExportDialog(export, choice=dialog.choice())
    qtbot.addWidget(again)
    assert again.choice() == dialog.choice()


def test_export_dialog_shows_errors_in_place(qtbot, mesh, tmp_path):
    (tmp_path / "file").write_text("in the way")
    dialog = ExportDialog(
        lambda path, **options: export_mesh(mesh, path, **options), name="house", folder=tmp_path / "file"
    )
    qtbot.addWidget(dialog)
    dialog.show()
    qtbot.mouseClick(dialog._go, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "file" in dialog._note.text() and dialog._go.isEnabled(), timeout=10000)
    assert dialog.isVisible() and "Choose another folder" in dialog._note.text()
    dialog._folder.setText(str(tmp_path))
    with qtbot.waitSignal(dialog.exported, timeout=20000):
        qtbot.mouseClick(dialog._go, Qt.MouseButton.LeftButton)
    assert (tmp_path / "house.glb").stat().st_size > 500
    again = ExportDialog(lambda path, **options: None, name="house", folder=tmp_path)
    qtbot.addWidget(again)
    assert "Replaces house.glb" in again._note.text()
    again._formats[".glb"].setChecked(False)
    assert not again._go.isEnabled()


def test_film_dialog_offers_sensible_sizes(qtbot):
    dialog = FilmDialog()
    qtbot.addWidget(dialog)
    assert dialog.choice() == (".mp4", 6.0, 720)
    dialog._format.setCurrentIndex(1)
    assert dialog.choice() == (".gif", 6.0, 480)
