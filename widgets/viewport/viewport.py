"""The embedded 3D viewport: orbit a mesh, change its look, take pictures and films of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PySide6.QtCore import QElapsedTimer, QEvent, Qt, QTimer, Signal
from PySide6.QtGui import (
    QAction,
    QActionGroup,
    QCloseEvent,
    QGuiApplication,
    QHideEvent,
    QImage,
    QImageWriter,
    QKeySequence,
    QPalette,
    QShowEvent,
)
from PySide6.QtWidgets import (
    QApplication,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QStackedLayout,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from engine.cameras import Pose
from engine.core.errors import InputError, OrielError, OutputError
from engine.core.progress import CancelToken, Progress, ProgressCallback
from engine.meshes.mesh import Mesh
from engine.meshes.viewer import import_viewer
from widgets.kit.labels import ElidedLabel
from widgets.viewport.background import Job
from widgets.viewport.export_dialog import FilmDialog, PictureDialog
from widgets.viewport.film import FILM_SUFFIXES, save_turntable
from widgets.viewport.hands import Hands
from widgets.viewport.icons import icon
from widgets.viewport.scene import (
    BACKDROPS,
    DARK,
    HOME_AZIMUTH,
    HOME_ELEVATION,
    LIGHT,
    LIGHTS,
    STYLES,
    Orbit,
    Scene,
    Style,
)
from widgets.viewport.tool_bar import ToolBar

EMPTY_TEXT = "The 3D model appears here.\nReconstruct a picture, or open an earlier run."
TURN_SECONDS = 14.0
SAMPLES = 4
"""Anti-aliasing at rest; none while the picture changes, which triples the frame rate of software OpenGL."""
REST_MS = 220
SLOW_PICTURE = 0.06
"""Seconds that a picture without anti-aliasing may take for one with it to follow."""

_GROUPS: tuple[tuple[str, ...], ...] = (
    STYLES,
    ("wireframe", "cameras", "grid", "light", "backdrop"),
    ("home", "front", "side", "top", "turntable"),
    ("screenshot", "film", "export"),
)
"""Actions of the tool bar."""
_STYLE_TEXT = {
    "texture": ("Texture", "T", "baked texture"),
    "colors": ("Colours", "C", "one colour a vertex"),
    "normals": ("Normals", "N", "direction of the surface as colours"),
    "plain": ("Plain", "P", "shape alone, as clay"),
}


class Viewport(QWidget):
    """A mesh to orbit (left drag), pan (right or middle drag) and zoom (wheel), with Z always up.

    Every action has a button and a key; keys work while the viewport has the focus. Close it (`close()`)
    before its window goes: that stops its timer and film, and frees the OpenGL context.
    """

    export_requested = Signal()
    """The user asked for the export dialog, which the owner shows, knowing how to export."""
    style_changed = Signal(str)
    camera_changed = Signal()
    """The view has moved, by the user or a call, but not by `set_camera`."""
    wireframe_changed = Signal(bool)
    grid_changed = Signal(bool)
    film_progress = Signal(object)
    """`Progress` of the film in work."""
    film_finished = Signal(object, str)
    """Path of the finished film, or None and why there is none."""

    def __init__(self, parent: QWidget | None = None, *, tools: Collection[str] | None = None) -> None:
        """`tools` are the names of the actions that have a button, where not all; every key works all the same."""
        super().__init__(parent)
        self._tools = tools
        # VTK takes a second to import: only who opens a viewport waits for it.
        import_viewer()
        from pyvistaqt import QtInteractor

        self._mesh: Mesh | None = None
        self._poses: list[Pose] = []
        self._height_m: float | None = None
        self._folder = Path.home()
        self._name = "model"
        self._film: Job | None = None
        self._film_cancel = CancelToken()
        self._film_path = Path()
        self._film_progress: ProgressCallback | None = None
        self._closed = False

        self._canvas: Any = QtInteractor(self, auto_update=False, multi_samples=SAMPLES, lighting="none")
        self._canvas.setAcceptDrops(False)  # a dropped picture is for the window, not another mesh for VTK
        self._canvas.setMinimumSize(160, 120)
        self._canvas.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._hands = Hands(self._canvas)
        self._hands.pressed.connect(lambda: self.setFocus(Qt.FocusReason.MouseFocusReason))
        self._hands.dragged.connect(self._dragged)
        self._hands.zoomed.connect(self._zoom)
        self._hands.double_clicked.connect(self.reset)
        self._scene = Scene(self._canvas, DARK if self._is_dark() else LIGHT)

        self._restyling = QTimer(self, singleShot=True, interval=0)
        self._restyling.timeout.connect(self._restyle)
        self._rest = QTimer(self, singleShot=True, interval=REST_MS)
        self._rest.timeout.connect(self._refine)
        self._hands.let_go.connect(self._rest.start)
        self._hands.resized.connect(self._redraw)
        self._turn = QTimer(self, interval=16)
        self._turn.timeout.connect(self._turn_step)
        self._turn_clock = QElapsedTimer()

        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._build_actions()
        self._build_layout()
        self._paint_icons()
        self.show_mesh(None)
        if (application := QApplication.instance()) is not None:
            application.aboutToQuit.connect(self.close)

    # --- what is shown --------------------------------------------------------------------------

    def show_mesh(self, mesh: Mesh | None, reset_camera: bool = True) -> None:
        """Show a mesh, or the empty text for None. Without `reset_camera` the view stays where it is."""
        self._mesh = mesh if mesh is not None and len(mesh.faces) else None
        self._scene.set_mesh(self._mesh)
        if self._mesh is None:
            self._pages.setCurrentIndex(0)
            self._actions["turntable"].setChecked(False)
            self._say("")
        else:
            self._pages.setCurrentIndex(1)
            self._say(self._statistics())
        for name, action in self._actions.items():
            action.setEnabled(self._mesh is not None and (name != "cameras" or bool(self._poses)))
        self._mark_style()
        if reset_camera:
            self.reset()
        self._redraw()

    def warm_up(self) -> Iterator[None]:
        """Draw what a reconstruction will show, out of sight and a picture a step, for as long as there is no mesh.

        The first picture of its kind takes software OpenGL up to half a second, as it compiles its programs: better
        now than while somebody watches a run.
        """
        triangle = np.eye(3, dtype=np.float32), np.arange(3, dtype=np.int32)[None]
        grey = np.full((64, 64, 3), 128, np.uint8)
        kinds = Mesh(*triangle, colors=grey[0, :3]), Mesh(*triangle, uv=triangle[0][:, :2], texture=grey)
        for mesh, samples in product(kinds, (0, SAMPLES)):
            if self._mesh is not None or self._closed:
                return
            self._scene.set_mesh(mesh)
            self._scene.apply_camera()
            self._canvas.ren_win.SetMultiSamples(samples)
            self._canvas.grabFramebuffer()  # has Qt make the OpenGL context and render, hidden or not
            self._scene.set_mesh(None)
            yield

    @property
    def mesh(self) -> Mesh | None:
        """The mesh shown."""
        return self._mesh

    def set_empty_text(self, text: str) -> None:
        """What stands there while there is no mesh."""
        self._empty.setText(text)

    @property
    def style_shown(self) -> Style:
        """The style on the screen: the chosen one, or the nearest that the mesh has the data for."""
        return self._scene.shown_style

    @property
    def chosen_style(self) -> Style:
        """The style that was chosen."""
        return self._scene.style

    @property
    def wireframe(self) -> bool:
        """Whether the triangles' edges are drawn."""
        return self._actions["wireframe"].isChecked()

    @property
    def grid(self) -> bool:
        """Whether the ruler is shown."""
        return self._actions["grid"].isChecked()

    def set_style(self, style: Style) -> None:
        """Surface as "texture", "colors", "normals" or "plain"."""
        self._scene.set_style(style)
        self._mark_style()
        self._redraw()
        self.style_changed.emit(style)

    def set_wireframe(self, on: bool) -> None:
        """Draw the triangles' edges over the surface."""
        self._actions["wireframe"].setChecked(on)

    def show_cameras(self, poses: list[Pose], visible: bool | None = None) -> None:
        """Set the cameras of the views; the first is the input's and stands out.

        They are drawn once the user (V) or `visible` says so; None leaves that as it is.
        """
        self._poses = list(poses)
        action = self._actions["cameras"]
        action.setEnabled(self._mesh is not None and bool(self._poses))
        if visible is not None and visible != action.isChecked():
            action.setChecked(visible)
        else:
            self._scene.set_cameras(self._poses, action.isChecked())
            self._redraw()

    def set_grid(self, on: bool) -> None:
        """Show the ruler on the floor."""
        self._actions["grid"].setChecked(on)

    def set_height(self, metres: float | None) -> None:
        """Real height of the object: the ruler then counts in metres instead of world units."""
        self._height_m = metres
        self._scene.set_grid(self._actions["grid"].isChecked(), metres)
        self._redraw()

    def set_save_target(self, folder: Path, name: str) -> None:
        """Folder and stem that screenshots and films are offered under."""
        self._folder, self._name = Path(folder), name

    # --- looking around -------------------------------------------------------------------------

    @property
    def camera(self) -> Orbit:
        """Where the view is taken from."""
        return replace(self._scene.orbit, target=self._scene.orbit.target.copy())

    def set_camera(self, camera: Orbit) -> None:
        """Look from there."""
        self._scene.orbit = replace(camera, target=camera.target.copy())
        self._redraw()

    def reset(self) -> None:
        """Three-quarter view of the whole object."""
        self.look_from(HOME_AZIMUTH, HOME_ELEVATION)

    def look_front(self) -> None:
        """As the input camera sees it, when it is known; else level, from azimuth 0."""
        if self._poses:
            self._scene.look_as(self._poses[0])
            self._moved()
        else:
            self.look_from(0.0, 0.0)

    def look_side(self) -> None:
        """Level, from azimuth 90."""
        self.look_from(90.0, 0.0)

    def look_top(self) -> None:
        """From straight above."""
        self.look_from(0.0, 90.0)

    def look_from(self, azimuth: float, elevation: float) -> None:
        """The whole object from a direction in degrees."""
        self._scene.look_from(azimuth, elevation)
        self._scene.fit(self._aspect())
        self._moved()

    def _aspect(self) -> float:
        return max(self._canvas.width(), 1) / max(self._canvas.height(), 1)

    # --- pictures and films ---------------------------------------------------------------------

    def picture(self, width: int | None = None, *, transparent: bool = True) -> np.ndarray:
        """(H, W, 4) uint8 straight RGBA of what is shown, `width` pixels wide where that is given.

        Where nothing is it is transparent, or shows what is behind.
        """
        if self._mesh is None:
            raise InputError("There is no model to take a picture of. Reconstruct a picture first.")
        self._canvas.ren_win.SetMultiSamples(SAMPLES)
        self._scene.apply_camera()
        times = 1 if width is None else -(-width // max(self._canvas.ren_win.GetSize()[0], 1))
        with self._scene.without_background() if transparent else nullcontext():
            self._canvas.grabFramebuffer()
            taken = self._canvas.screenshot(None, transparent_background=transparent, return_img=True, scale=times)
        picture = np.asarray(taken)
        self._redraw()
        if width is not None and picture.shape[1] != width:
            size = width, max(round(picture.shape[0] * width / picture.shape[1]), 1)
            picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
        if not transparent:
            return np.dstack([picture[..., :3], np.full(picture.shape[:2], 255, np.uint8)])
        # The buffer holds colours multiplied by their coverage.
        alpha = picture[..., 3:].astype(np.float32) / 255
        straight = np.where(alpha > 0, picture[..., :3] / np.maximum(alpha, 1 / 255), 0)
        return np.concatenate([np.clip(straight + 0.5, 0, 255).astype(np.uint8), picture[..., 3:]], -1)

    def screenshot(self, path: Path, width: int | None = None, *, transparent: bool = True) -> None:
        """Write what is shown as a PNG, and copy it to the clipboard: see `picture`.

        Raises `OutputError` where the file cannot be written.
        """
        path = Path(path)
        picture = np.ascontiguousarray(self.picture(width, transparent=transparent))
        height, width = picture.shape[:2]
        image = QImage(picture.data, width, height, 4 * width, QImage.Format.Format_RGBA8888).copy()
        QGuiApplication.clipboard().setImage(image)
        if not QImageWriter(str(path), b"PNG").write(image):
            raise OutputError(f"The picture could not be written to {path}. Choose a folder that you may write to.")

    def save_turntable(
        self,
        path: Path,
        *,
        seconds: float = 6.0,
        fps: int = 30,
        size: int = 720,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Begin a film of one whole turn (.mp4 or .gif) in the style shown; returns at once.

        It is rendered off-screen on a thread of its own. `progress` is called on the window's thread;
        `film_finished` tells the end. Raises `InputError` without a mesh, for another suffix, or while
        another film is in work.
        """
        path = Path(path)
        if self._mesh is None:
            raise InputError("There is no model to film. Reconstruct a picture first.")
        if path.suffix.lower() not in FILM_SUFFIXES:
            raise InputError(f"A film cannot be saved as {path.name}: choose a name that ends in .mp4 or .gif.")
        if self._film is not None:
            raise InputError("A film is being made already. Wait for it, or cancel it.")
        scene, cancel = self._scene, cancel or CancelToken()
        work = partial(
            save_turntable,
            self._mesh,
            path,
            seconds=seconds,
            fps=fps,
            size=size,
            style=scene.style,
            wireframe=scene.wireframe,
            look=scene.look,
            light=scene.light,
            backdrop=scene.backdrop,
            azimuth=scene.orbit.azimuth,
            elevation=min(max(scene.orbit.elevation, -35.0), 50.0),
            cancel=cancel,
        )
        film = Job("film", lambda report: work(progress=report))
        self._film, self._film_cancel, self._film_path = film, cancel, path
        film.progressed.connect(self._on_film_progress)
        film.ended.connect(self._on_film_end)
        self._film_progress = progress
        self._show_bar(f"Filming {path.name}")
        film.start()

    def cancel_film(self) -> None:
        """Stop the film in work, if any; nothing of it is kept."""
        self._film_cancel.cancel()

    def _on_film_progress(self, event: Progress) -> None:
        self._bar.setValue(round(event.fraction * 1000))
        if self._film_progress is not None:
            self._film_progress(event)
        self.film_progress.emit(event)

    def _on_film_end(self, error: str, cancelled: bool) -> None:
        if self._film is None:
            return  # closed in the meantime
        self._film.join()
        self._film = None
        self._bar_row.hide()
        self._line.show()
        self._say(error or f"Film saved: {self._film_path}", error=bool(error) and not cancelled)
        self.film_finished.emit(None if error else self._film_path, error)

    def _ask_screenshot(self) -> None:
        dialog = PictureDialog(self._canvas.ren_win.GetSize()[0], self)
        accepted, (width, transparent) = dialog.exec(), dialog.choice()
        dialog.deleteLater()
        path = self._ask_path("Save a picture", ".png", "PNG picture (*.png)") if accepted else None
        if path is None:
            return
        try:
            self.screenshot(path, width, transparent=transparent)
            self._say(f"Picture saved and copied: {path}")
        except OrielError as error:
            self._say(str(error), error=True)

    def _ask_film(self) -> None:
        dialog = FilmDialog(self)
        accepted, (suffix, seconds, size) = dialog.exec(), dialog.choice()
        dialog.deleteLater()
        if not accepted:
            return
        path = self._ask_path("Save a turntable film", suffix, f"Film (*{suffix})")
        if path is None:
            return
        try:
            self.save_turntable(path, seconds=seconds, fps=30 if suffix == ".mp4" else 20, size=size)
        except OrielError as error:
            self._say(str(error), error=True)

    def _ask_path(self, title: str, suffix: str, kinds: str) -> Path | None:
        text, _ = QFileDialog.getSaveFileName(self, title, str(self._folder / (self._name + suffix)), kinds)
        if not text:
            return None
        path = Path(text)
        self._folder = path.parent
        return path if path.suffix.lower() == suffix else path.with_name(path.name + suffix)

    # --- inner workings -------------------------------------------------------------------------

    def _redraw(self) -> None:
        """Have Qt paint soon: several changes make one rendering. It is anti-aliased once nothing changes any more."""
        if self._closed:
            return
        self._canvas.ren_win.SetMultiSamples(0)
        self._rest.start()
        self._scene.apply_camera()
        self._canvas.update()

    def _moved(self) -> None:
        self._redraw()
        self.camera_changed.emit()

    def _refine(self) -> None:
        if self._turn.isActive() or self._hands.dragging:
            self._rest.start()
            return
        # Software OpenGL takes three times as long with it: too long a stall while the engine has the processor.
        if self._canvas.renderer.GetLastRenderTimeInSeconds() < SLOW_PICTURE:
            self._canvas.ren_win.SetMultiSamples(SAMPLES)
            self._canvas.update()

    def _on_turntable(self, on: bool) -> None:
        if on and self.isVisible():
            self._turn_clock.start()
            self._turn.start()
        else:
            self._turn.stop()

    def _turn_step(self) -> None:
        # By the clock, not by the tick: a slow machine drops pictures, not speed.
        seconds = min(self._turn_clock.restart() / 1000, 0.25)
        self._scene.orbit.rotate(360.0 * seconds / TURN_SECONDS, 0.0)
        self._moved()

    def _on_wireframe(self, on: bool) -> None:
        self._scene.set_wireframe(on)
        self._redraw()
        self.wireframe_changed.emit(on)

    def _on_cameras(self, on: bool) -> None:
        self._scene.set_cameras(self._poses, on)
        self._scene.fit(self._aspect())  # the cameras stand well outside the object
        self._moved()

    def _on_grid(self, on: bool) -> None:
        self._scene.set_grid(on, self._height_m)
        if on:
            self._scene.fit(self._aspect())  # its labels stand around the object
        self._moved()
        self.grid_changed.emit(on)

    def _next_light(self) -> None:
        self._scene.set_light(_after(LIGHTS, self._scene.light))
        self._say(f"Light: {self._scene.light}")
        self._redraw()

    def _next_backdrop(self) -> None:
        self._scene.set_backdrop(_after(BACKDROPS, self._scene.backdrop))
        self._say(f"Backdrop: {self._scene.backdrop}")
        self._redraw()

    def _mark_style(self) -> None:
        self._actions[self._scene.shown_style].setChecked(True)
        if self._mesh is not None:
            self._actions["texture"].setEnabled(self._mesh.texture is not None)
            self._actions["colors"].setEnabled(self._mesh.colors is not None)

    def _statistics(self) -> str:
        mesh = self._mesh
        if mesh is None:
            return ""
        parts = [f"{len(mesh.vertices):,} vertices", f"{len(mesh.faces):,} faces"]
        if mesh.texture is not None:
            parts.append(f"texture {mesh.texture.shape[1]} × {mesh.texture.shape[0]}")
        else:
            parts.append("vertex colours" if mesh.colors is not None else "no colours")
        return "   ·   ".join(parts)

    def _say(self, text: str, error: bool = False) -> None:
        self._line.setText(text or self._statistics())
        self._line.setStyleSheet("color: #d4483b;" if error else "")
        self._line.detail = text if error else ""

    def _show_bar(self, text: str) -> None:
        self._bar_text.setText(text)
        self._bar.setValue(0)
        self._line.hide()
        self._bar_row.show()

    def _build_actions(self) -> None:
        self._actions: dict[str, QAction] = {}
        styles = QActionGroup(self)
        for style in STYLES:
            text, key, what = _STYLE_TEXT[style]
            action = self._add_action(
                style, text, key, what, lambda _=False, s=style: self.set_style(s), checkable=True
            )
            styles.addAction(action)
        self._actions["texture"].setChecked(True)
        toggles: tuple[tuple[str, str, str, str, Callable[[bool], None]], ...] = (
            ("wireframe", "Wireframe", "W", "edges of the triangles", self._on_wireframe),
            ("cameras", "Cameras", "V", "where the views were taken from", self._on_cameras),
            ("grid", "Ruler", "G", "grid on the floor", self._on_grid),
            ("turntable", "Turntable", "Space", "turn the model", self._on_turntable),
        )
        for name, text, key, what, slot in toggles:
            action = self._add_action(name, text, key, what, None, checkable=True)
            action.toggled.connect(slot)
        self._add_action("light", "Light", "L", "studio, lamp at the camera, sun, evening", self._next_light)
        self._add_action("backdrop", "Backdrop", "B", "the window's, white, grey, black", self._next_backdrop)
        self._add_action("home", "Whole model", "R", "back to the first view", self.reset)
        self._actions["home"].setShortcuts([QKeySequence("R"), QKeySequence("Home")])
        self._add_action("front", "Front", "1", "from the input's camera", self.look_front)
        self._add_action("side", "Side", "3", "from the side, level", self.look_side)
        self._add_action("top", "Top", "7", "from above", self.look_top)
        self._add_action("screenshot", "Picture", "S", "save and copy, at a chosen size", self._ask_screenshot)
        self._add_action("film", "Film", "F", "turntable as MP4 or GIF", self._ask_film)
        self._add_action("export", "Export", "E", "GLB, OBJ, PLY, STL", self.export_requested.emit)
        moves: tuple[tuple[str, Callable[[], None]], ...] = (
            ("Left", lambda: self._nudge(-10, 0)),
            ("Right", lambda: self._nudge(10, 0)),
            ("Up", lambda: self._nudge(0, 10)),
            ("Down", lambda: self._nudge(0, -10)),
            ("+", lambda: self._nudge(zoom=1.15)),
            ("=", lambda: self._nudge(zoom=1.15)),
            ("-", lambda: self._nudge(zoom=1 / 1.15)),
        )
        for key, move in moves:
            action = QAction(self)
            action.setShortcut(QKeySequence(key))
            action.setShortcutContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            action.triggered.connect(move)
            self.addAction(action)

    def _add_action(
        self, name: str, text: str, key: str, what: str, slot: Callable[..., Any] | None, checkable: bool = False
    ) -> QAction:
        action = QAction(text, self, checkable=checkable)
        action.setShortcut(QKeySequence(key))
        action.setShortcutContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        action.setToolTip(f"{text}: {what} ({key})")
        if slot is not None:
            action.triggered.connect(lambda _=False: slot())
        self.addAction(action)
        self._actions[name] = action
        return action

    def _nudge(self, azimuth: float = 0.0, elevation: float = 0.0, zoom: float = 1.0) -> None:
        if self._mesh is None:
            return
        self._scene.orbit.rotate(azimuth, elevation)
        self._scene.orbit.zoom(zoom)
        self._moved()

    def _build_layout(self) -> None:
        self._tool_bar = ToolBar()
        bar = self._tool_bar.bar
        bar.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonIconOnly)
        for group in _GROUPS:
            shown = [name for name in group if self._tools is None or name in self._tools]
            if shown and bar.actions():
                bar.addSeparator()
            for name in shown:
                bar.addAction(self._actions[name])

        self._empty = QLabel(EMPTY_TEXT, alignment=Qt.AlignmentFlag.AlignCenter)
        self._empty.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self._empty.setWordWrap(True)
        self._pages = QStackedLayout()
        self._pages.addWidget(self._empty)
        self._pages.addWidget(self._canvas)

        self._line = ElidedLabel()
        self._bar_row = QWidget()
        row = QHBoxLayout(self._bar_row)
        row.setContentsMargins(0, 0, 0, 0)
        self._bar_text, self._bar = QLabel(), QProgressBar(maximum=1000, textVisible=False)
        self._bar.setMaximumHeight(8)
        stop = QToolButton()
        stop.setText("Cancel")
        stop.setToolTip("Stop writing the film; nothing is kept of it")
        stop.clicked.connect(self.cancel_film)
        row.addWidget(self._bar_text)
        row.addWidget(self._bar, 1)
        row.addWidget(stop)
        self._bar_row.hide()

        foot = QHBoxLayout()
        foot.setContentsMargins(8, 3, 8, 4)
        foot.addWidget(self._line, 1)
        foot.addWidget(self._bar_row, 1)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(0)
        box.addWidget(self._tool_bar)
        box.addLayout(self._pages, 1)
        box.addLayout(foot)

    def _is_dark(self) -> bool:
        return self.palette().color(QPalette.ColorRole.Window).lightness() < 128

    def _paint_icons(self) -> None:
        palette = self.palette()
        for name, action in self._actions.items():
            action.setIcon(icon(name, palette))
        side = round(self.fontMetrics().height() * 1.25)
        self._tool_bar.set_icons(side, icon("more", palette))

    # --- Qt -------------------------------------------------------------------------------------

    def _dragged(self, pan: bool, across: float, down: float) -> None:
        if self._mesh is None:
            return
        if pan:
            self._scene.orbit.pan(-across, down)
        else:
            self._scene.orbit.rotate(-across * 240, down * 180)
        self._moved()

    def _zoom(self, factor: float) -> None:
        if self._mesh is not None:
            self._scene.orbit.zoom(factor)
            self._moved()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        changes = (QEvent.Type.PaletteChange, QEvent.Type.FontChange)
        if event.type() in changes and hasattr(self, "_pages"):
            self._restyling.start()  # a change of theme comes as a dozen of these

    def _restyle(self) -> None:
        if not self._closed:
            self._paint_icons()
            self._scene.set_look(DARK if self._is_dark() else LIGHT)
            self._redraw()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._on_turntable(self._actions["turntable"].isChecked())

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._turn.stop()

    def closeEvent(self, event: QCloseEvent) -> None:
        if not self._closed:
            self._closed = True
            self._turn.stop()
            self._rest.stop()
            if self._film is not None:
                self._film_cancel.cancel()
                self._film.join()
                self._film = None
            self._hands.rest()
            self._canvas.close()
        super().closeEvent(event)


def _after(names: Collection[str], name: str) -> str:
    """The next of some names, and after the last the first."""
    order = [*names]
    return order[(order.index(name) + 1) % len(order)]
