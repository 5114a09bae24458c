"""The big view of one model: drawn fast in software, turned by held keys, looked at from inside."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QElapsedTimer, Qt, QTimer, Signal
from PySide6.QtGui import QCloseEvent, QImage, QShowEvent
from PySide6.QtWidgets import QVBoxLayout, QWidget

from engine.cameras import camera_to_world
from engine.meshes.viewer import import_viewer
from widgets.kit.theme import theme
from widgets.screen.four_views import FourViews
from widgets.viewport.hands import Hands
from widgets.viewport.scene import DARK, LIGHT, Orbit

if TYPE_CHECKING:
    from engine.meshes.reducing import PreviewPart
    from engine.screening.preview import Preview

HOME_AZIMUTH, HOME_ELEVATION = 300.0, 18.0
"""The front of a glTF model lies at azimuth 270; seen from a little aside, it shows its depth."""
VIEW_ANGLE, INSIDE_ANGLE = 36.0, 74.0
MARGIN = 1.06
TURN, TILT, ZOOM, WALK = 110.0, 75.0, 2.4, 0.55
"""While a key is held: degrees a second about the vertical and up or down, factor a second, radii a second."""
TAP_SECONDS = 0.12
"""A tap moves for as long."""
TURNTABLE_SECONDS = 16.0
REST_MS = 350
SAMPLES = 4
SLOW_PICTURE = 0.03
"""Seconds that a picture may take for one with smooth edges to follow at rest: that takes five times as long."""
FRAME_MS = 16
THUMBNAIL = (192, 144)
BACK_TINT = (0.78, 0.58, 0.95)
"""Back faces that are drawn are multiplied with it: a hollow back, and what shows through a missing wall, is violet."""


class ModelView(QWidget):
    """Shows previews. The mouse turns, moves (right or with Shift) and zooms; keys come from the owner by `press`.

    Call `close()` before its window goes.
    """

    drawn = Signal(object)
    """The key given to `show_preview`, once its first picture is on the screen."""
    inside_changed = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        import_viewer()
        from pyvistaqt import QtInteractor  # takes a second: only who opens a view waits for it

        self.inside = False
        self.everything = False
        """Whether what the preview leaves out is shown as well."""
        self.four = False
        """Whether it is seen from four sides at once; that stays so from model to model."""
        self.turning = False
        self.preview: Preview | None = None
        self._key: object = None
        self._waiting = self._refining = False
        self._thumbnail: QImage | None = None
        self._closed = False
        self._actors: list[Any] = []
        self._one_sided: list[Any] = []
        self._orbit = Orbit()
        self._place = np.zeros(3)
        self._heading = [0.0, 0.0]
        self._size = (1.0, 0.0)
        """Largest distance from the vertical axis, and height of the middle; see `_fit`."""
        self._half = 1.0
        self._held: set[str] = set()
        self._left: dict[str, float] = {}
        self._canvas: Any = QtInteractor(self, auto_update=False, multi_samples=0, lighting="none")
        self._canvas.setAcceptDrops(False)
        self._canvas.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._quarters: FourViews | None = None
        self._hands = Hands(self._canvas)
        self._hands.dragged.connect(self._dragged)
        self._hands.zoomed.connect(self._nearer)
        if (window := self._canvas.ren_win) is not None:
            window.AddObserver("EndEvent", self._on_drawn)
        for light in _lights():
            self._canvas.add_light(light)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self._canvas)
        self._timer = QTimer(self, singleShot=True)
        self._timer.timeout.connect(self._tick)
        self._clock = QElapsedTimer()
        self._rest = QTimer(self, singleShot=True, interval=REST_MS)
        self._rest.timeout.connect(self._refine)
        self._hands.let_go.connect(self._rest.start)
        self._hands.double_clicked.connect(self.home)
        self._hands.resized.connect(self._resized)
        theme.changed.connect(self._restyle)
        self._restyle()
        self._home()

    # -- what is shown -----------------------------------------------------------------------------------

    def show_preview(self, preview: Preview | None, key: object = None) -> None:
        """Show a model as a whole, or nothing."""
        self.preview, self._key, self._waiting = preview, key, preview is not None
        self._thumbnail, self._refining = None, False
        self.everything = False
        inside, self.inside = self.inside, False
        self._show_parts()
        if inside:
            self.inside_changed.emit(False)
        self._home()
        self._redraw()

    @property
    def thumbnail(self) -> QImage | None:
        """A small picture of the model as it was last seen at rest; None before the first."""
        return self._thumbnail

    # -- moving ------------------------------------------------------------------------------------------

    def press(self, axis: str) -> None:
        """The key of `axis` (left, right, up, down, zoom_in or zoom_out) goes down: move until it is let go."""
        self._held.add(axis)
        self._left[axis] = TAP_SECONDS
        self._run()

    def release(self, axis: str) -> None:
        """It is let go."""
        self._held.discard(axis)

    def release_all(self) -> None:
        """All are let go, as when the window loses the keyboard."""
        self._held.clear()
        self._left.clear()

    def set_turning(self, on: bool) -> None:
        """Turn slowly by itself."""
        self.turning = on
        self._run()

    def home(self) -> None:
        """See the whole model from where it was first seen."""
        self.set_inside(False)
        self._home()
        self._redraw(moving=True)

    def set_inside(self, on: bool) -> None:
        """Look around from the middle of the model, or at it from outside again."""
        if on == self.inside or (on and self.preview is None):
            return
        self.inside = on
        self._cull()
        if self._quarters is not None:
            self._quarters.set_on(self.four and not on)
        self._place = np.array([0.0, 0.0, self._size[1]])
        self._heading = [(self._orbit.azimuth + 180.0) % 360.0, 0.0]
        self.inside_changed.emit(on)
        self._redraw(moving=True)

    def set_everything(self, on: bool) -> None:
        """Show also what the preview leaves out, such as a ground, and see all of it; or the model alone again."""
        if on == self.everything or (on and (self.preview is None or not self.preview.around)):
            return
        self.everything = on
        self.set_inside(False)
        self._show_parts()
        self._home()
        self._redraw(moving=True)

    def set_four(self, on: bool) -> None:
        """See the model from the front, the right, the back and above at once, or from one side again."""
        if on and self._quarters is None:
            self._quarters = FourViews(self._canvas.ren_win, self._canvas.renderer, _lights)
            self._restyle()
        self.four = on
        if on:
            self.set_inside(False)
        if self._quarters is not None:
            self._quarters.show(self._actors if on else ())
            self._quarters.set_on(on)
        self._redraw(moving=True)

    @property
    def azimuth(self) -> float:
        """Where the camera stands or looks, in degrees."""
        return self._heading[0] if self.inside else self._orbit.azimuth

    @property
    def elevation(self) -> float:
        """Of the camera, or of its look, in degrees."""
        return self._heading[1] if self.inside else self._orbit.elevation

    @property
    def distance(self) -> float:
        """From the middle of the model."""
        return float(np.linalg.norm(self._place)) if self.inside else self._orbit.distance

    @property
    def canvas(self) -> Any:
        """VTK's widget."""
        return self._canvas

    # -- inside ------------------------------------------------------------------------------------------

    def _show_parts(self) -> None:
        """Draw what is to be seen of the preview; all of it lies in the unit sphere then."""
        for actor in self._actors:
            self._canvas.renderer.RemoveActor(actor)
        old, self._actors, self._one_sided = self._actors, [], []
        parts: tuple[PreviewPart, ...] = ()
        middle, scale = np.zeros(3), 1.0
        if self.preview is not None:
            parts = self.preview.parts + (self.preview.around if self.everything else ())
        if self.everything:
            low = np.min([part.points.min(0) for part in parts], 0).astype(np.float64)
            high = np.max([part.points.max(0) for part in parts], 0).astype(np.float64)
            middle, scale = (low + high) / 2, 2 / float(np.linalg.norm(high - low))
        radius, lowest, highest = 0.0, 1.0, -1.0
        for part in parts:
            actor = actor_for(part)
            if not part.double_sided:
                self._one_sided.append(actor)
            actor.SetScale(scale)
            actor.SetPosition(*(-middle * scale))
            self._canvas.renderer.AddActor(actor)
            self._actors.append(actor)
            points = (part.points - middle) * scale
            radius = max(radius, float(np.square(points[:, :2]).sum(1).max(initial=0.0)))
            lowest, highest = min(lowest, float(points[:, 2].min())), max(highest, float(points[:, 2].max()))
        self._size = (max(math.sqrt(radius), 0.02), (lowest + highest) / 2)
        self._half = max((highest - lowest) / 2, 0.02)
        if self._quarters is not None:
            self._quarters.show(self._actors if self.four else ())
        for actor in old:
            actor.ReleaseGraphicsResources(self._canvas.ren_win)
        self._cull()

    def _cull(self) -> None:
        """Faces with one side are not seen from behind, as on the web; inside, a void would be all there is."""
        for actor in self._one_sided:
            actor.GetProperty().SetBackfaceCulling(not self.inside)

    def _home(self) -> None:
        orbit = self._orbit
        orbit.azimuth, orbit.elevation = HOME_AZIMUTH, HOME_ELEVATION
        self._fit()

    def _fit(self) -> None:
        """Step back until all of it is in the picture."""
        self._orbit.target = np.array([0.0, 0.0, self._size[1]])
        self._orbit.distance = self._distance(self._orbit.elevation, self._orbit.azimuth)

    def _distance(self, elevation: float, azimuth: float) -> float:
        """From where the cylinder that the model turns in is in the picture."""
        radius = self._size[0]
        around = np.radians(np.arange(0, 360, 15))
        ring = np.stack([radius * np.cos(around), radius * np.sin(around), np.full_like(around, self._half)], 1)
        points = np.concatenate([ring, ring * [1, 1, -1]])
        seen = points @ camera_to_world(elevation, azimuth)[:3, :3].astype(np.float64)
        slope = math.tan(math.radians(VIEW_ANGLE / 2))
        aspect = max(self._canvas.width(), 1) / max(self._canvas.height(), 1)
        need = np.maximum(np.abs(seen[:, 0]) / (slope * aspect), np.abs(seen[:, 1]) / slope) + seen[:, 2]
        return MARGIN * max(float(need.max()), 0.05)

    def _took(self) -> float:
        """Seconds that the last picture took."""
        if self.four and self._quarters is not None and not self.inside:
            return self._quarters.seconds
        return float(self._canvas.renderer.GetLastRenderTimeInSeconds())

    def _run(self) -> None:
        if not self._timer.isActive() and not self._closed:
            self._clock.start()
            self._timer.start(0)

    def _tick(self) -> None:
        moving = self._held or self._left or (self.turning and not self.inside and self.preview is not None)
        if not moving or not self.isVisible():
            return
        # By the clock, not by the tick: a slow machine drops pictures, not speed.
        seconds = min(self._clock.restart() / 1000, 0.2)
        if self.turning and not self.inside and not self._held:
            self._orbit.rotate(360.0 * seconds / TURNTABLE_SECONDS, 0.0)
        for axis in (*self._held, *(axis for axis in self._left if axis not in self._held)):
            left = self._left.get(axis, 0.0)
            self._move(axis, seconds if axis in self._held else min(seconds, left))
            if left > seconds:
                self._left[axis] = left - seconds
            else:
                self._left.pop(axis, None)
        self._redraw(moving=True)
        # As much time between two pictures as one takes: keys are served in between.
        self._timer.start(max(FRAME_MS, min(round(2000 * self._took()), 250)))

    def _move(self, axis: str, seconds: float) -> None:
        sign = 1 if axis in ("right", "up", "zoom_in") else -1
        if axis in ("left", "right"):
            if self.inside:
                self._look(-sign * TURN / 1.6 * seconds, 0.0)
            else:
                self._orbit.rotate(sign * TURN * seconds, 0.0)
        elif axis in ("up", "down"):
            if self.inside:
                self._look(0.0, sign * TILT * seconds)
            else:
                self._orbit.rotate(0.0, sign * TILT * seconds)
        elif self.inside:
            self._walk(sign * WALK * seconds)
        else:
            self._zoom(ZOOM ** (sign * seconds))

    def _look(self, across: float, up: float) -> None:
        """Turn the head, inside; in degrees."""
        self._heading[0] = (self._heading[0] + across) % 360.0
        self._heading[1] = min(max(self._heading[1] + up, -89.0), 89.0)

    def _walk(self, far: float) -> None:
        """Go where the head looks, inside."""
        yaw = math.radians(self._heading[0])
        self._place = np.clip(self._place + far * np.array([math.cos(yaw), math.sin(yaw), 0.0]), -1.5, 1.5)

    def _zoom(self, factor: float) -> None:
        self._orbit.distance = min(max(self._orbit.distance / factor, 0.1), 12.0)

    def _redraw(self, moving: bool = False) -> None:
        """Have Qt paint soon: several changes make one picture."""
        if self._closed:
            return
        if self._canvas.ren_win.GetMultiSamples():
            self._canvas.ren_win.SetMultiSamples(0)
        if moving:
            self._rest.start()
        camera = self._canvas.camera
        if self.inside:
            yaw, pitch = (math.radians(angle) for angle in self._heading)
            ahead = np.array([math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch), math.sin(pitch)])
            camera.SetViewAngle(INSIDE_ANGLE)
            camera.SetPosition(*self._place)
            camera.SetFocalPoint(*(self._place + ahead))
            camera.SetViewUp(0.0, 0.0, 1.0)
            camera.SetClippingRange(0.004, 5.0)
        elif self.four and self._quarters is not None:
            self._quarters.place(self._orbit.target, self._distance, VIEW_ANGLE)
        else:
            orbit = self._orbit
            c2w = camera_to_world(orbit.elevation, orbit.azimuth, orbit.distance).astype(np.float64)
            camera.SetViewAngle(VIEW_ANGLE)
            camera.SetPosition(*(orbit.target + c2w[:3, 3]))
            camera.SetFocalPoint(*orbit.target)
            camera.SetViewUp(*c2w[:3, 1])
            # The model lies in the unit sphere.
            reach = float(np.linalg.norm(orbit.target + c2w[:3, 3]))
            camera.SetClippingRange(max(reach - 1.02, 0.01), reach + 1.02)
        self._canvas.update()

    def _refine(self) -> None:
        """At rest, smooth edges, where they come quickly."""
        if self._closed or self._timer.isActive() or self._hands.dragging:
            return
        if self._took() < SLOW_PICTURE:
            self._canvas.ren_win.SetMultiSamples(SAMPLES)
            self._refining = True
            self._canvas.update()

    def _on_drawn(self, *_: object) -> None:
        """A picture is done; its pixels can be read now, while its OpenGL context is current."""
        if self._closed or self.preview is None:
            return
        if self._waiting or self._refining:
            self._thumbnail = _read_thumbnail(self._canvas.ren_win)
        self._refining = False
        if self._waiting:
            self._waiting = False
            self._rest.start()
            self.drawn.emit(self._key)
            self._run()

    def _restyle(self) -> None:
        if not self._closed:
            lower, upper = (DARK if theme.dark else LIGHT).background
            self._canvas.set_background(lower, top=upper)
            if self._quarters is not None:
                self._quarters.restyle(lower, upper)
            self._redraw()

    # -- Qt ----------------------------------------------------------------------------------------------

    def _resized(self) -> None:
        if not self._closed:
            self._fit()
            self._redraw()

    def _nearer(self, factor: float) -> None:
        if self.inside:
            self._walk(0.5 * math.log(factor))
        else:
            self._zoom(factor)
        self._redraw(moving=True)

    def _dragged(self, pan: bool, across: float, down: float) -> None:
        if self.preview is None:
            return
        if self.inside:
            self._look(90 * across, 90 * down)
        elif pan:
            self._orbit.pan(-across, down)
        else:
            self._orbit.rotate(-240 * across, 180 * down)
        self._redraw(moving=True)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._run()

    def closeEvent(self, event: QCloseEvent) -> None:
        if not self._closed:
            self._closed = True
            self._timer.stop()
            self._rest.stop()
            theme.changed.disconnect(self._restyle)
            self._hands.rest()
            self._canvas.close()
        super().closeEvent(event)


def _lights() -> list[Any]:
    """A head light and two from the sides: no face of a wall is as bright as its neighbour."""
    import pyvista as pv

    places = (((0.0, 0.0, 1.0), 0.42), ((-1.0, 0.9, 0.7), 0.5), ((1.1, 0.2, 0.3), 0.28))
    return [pv.Light(position=at, intensity=intensity, light_type="camera light") for at, intensity in places]


def _read_thumbnail(window: Any) -> QImage:
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkCommonCore import vtkUnsignedCharArray

    width, height = window.GetSize()
    data = vtkUnsignedCharArray()
    window.GetPixelData(0, 0, width - 1, height - 1, 0, data, 0)
    pixels = vtk_to_numpy(data).reshape(height, width, 3)
    side = min(width, height * THUMBNAIL[0] // THUMBNAIL[1])
    left, step = (width - side) // 2, max(min(side // (2 * THUMBNAIL[0]), height // (2 * THUMBNAIL[1])), 1)
    pixels = np.ascontiguousarray(pixels[::-step, left : left + side : step])
    image = QImage(pixels.data, pixels.shape[1], pixels.shape[0], 3 * pixels.shape[1], QImage.Format.Format_RGB888)
    return image.scaled(*THUMBNAIL, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation)


def actor_for(part: PreviewPart) -> Any:
    """A part as it is judged: tinted from behind."""
    from vtkmodules.vtkRenderingCore import vtkProperty

    from engine.meshes.actors import actor_of

    actor, back = actor_of(part, ambient=0.3, diffuse=0.78), vtkProperty()
    back.DeepCopy(actor.GetProperty())
    back.SetColor(*BACK_TINT)
    actor.SetBackfaceProperty(back)
    return actor
