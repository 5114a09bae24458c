"""The model that is chosen: its pictures, its cameras around it in 3D, or the log of its failure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QPushButton, QStackedWidget

from engine.rendering.jobs import ModelState, RenderSettings, frames
from widgets.kit.buttons import IconButton
from widgets.kit.details import LogView, Segments, small_viewport
from widgets.kit.labels import ElidedLabel, hint, label, plain_text
from widgets.kit.panel import Panel, column, holder, row, split
from widgets.kit.theme import theme
from widgets.kit.words import count
from widgets.reconstruct.views_grid import describe
from widgets.render.sheet import ContactSheet
from widgets.render.words import STATES, pace, sentence, worker

if TYPE_CHECKING:
    from widgets.viewport import Viewport

_ASIDE = (24.0, 12.0)
"""Degrees that the eye stands beside and above the chosen camera, so that both it and the model show."""


@dataclass(frozen=True)
class ModelDetails:
    """What is kept on the disk of a model."""

    key: str
    pictures: dict[str, QImage] = field(default_factory=dict)
    """Small, by view."""
    depths: dict[str, QImage] = field(default_factory=dict)
    folder: Path | None = None
    """Where its pictures are, once it is finished."""
    facts: str = ""
    """What Blender found in it."""
    log: str = ""
    """Blender's, of its last failure."""


class DetailsPanel(Panel):
    """The chosen model, with segments for its cameras and the log below its pictures.

    What its buttons do, and their words, the tab says.
    """

    log_wanted = Signal()
    """The log came up: what it shows may be old."""

    def __init__(self) -> None:
        super().__init__(spacing=6)
        self.model: ModelState | None = None
        self.details: ModelDetails | None = None
        self._settings = RenderSettings()
        self._running = False
        self._viewport: Viewport | None = None
        self._preview_note = self._mesh_note = ""
        self.title = ElidedLabel("", "heading")
        self.files = IconButton("folder", "")
        self.top.addWidget(self.title, 1)
        self.top.addWidget(self.files)
        self.state = ElidedLabel("", "muted")
        self.reason = plain_text(label("", wrap=True))
        pushes = [QPushButton() for _ in range(6)]
        self.preview, self.test, self.depth_button, self.retry, self.first, self.cancel = pushes
        for button in pushes:
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.depth_button.setCheckable(True)
        buttons = row(self.preview, self.test, self.depth_button, None, self.retry, self.first, self.cancel, spacing=6)

        self.sheet = ContactSheet()
        self.depth_button.clicked.connect(self.sheet.set_depth)
        self.sheet.selected.connect(lambda _: (self._show_cameras(), self._turn()))
        self.sheet.hovered.connect(self._show_caption)
        self.caption = ElidedLabel("", "small")
        upper = holder(column((self.sheet, 1), self.caption, spacing=4))

        self.note = hint()
        self.log = LogView(
            "Blender's log of the failure", "Blender has written nothing about this model: logs are kept of failures."
        )
        self._look = QStackedWidget()
        self._look.addWidget(self.note)
        self._look.addWidget(self.log)
        self._look.setMinimumHeight(120)
        self.segments = Segments(self, 2)
        self.segments.idClicked.connect(self.show_side)
        self.look_note = ElidedLabel("", "small")
        sides = row(*self.segments.buttons(), (self.look_note, 1), spacing=0)
        lower = holder(column(sides, (self._look, 1), spacing=4))
        self.parts = split((upper, 4), (lower, 3), sizes=(330, 250))
        self._about = holder(column(self.state, self.reason, buttons, (self.parts, 1), spacing=6))
        self._nothing = hint("Choose a model in the table to see its pictures and cameras, or why it failed.")
        self._sides = QStackedWidget()
        self._sides.addWidget(self._nothing)
        self._sides.addWidget(self._about)
        self.body.addLayout(self.top)
        self.body.addWidget(self._sides, 1)
        theme.changed.connect(self._show_state)
        self.set_model(None)

    # -- content -----------------------------------------------------------------------------------------

    @property
    def viewport(self) -> Viewport | None:
        """The 3D viewport, None before the first model."""
        return self._viewport

    @property
    def log_shown(self) -> bool:
        """Whether the log is on the screen."""
        return self.segments.checkedId() == 1 and self.isVisible()

    def show_side(self, at: int) -> None:
        """Show the cameras (0) or the log (1) below the pictures."""
        self.look_note.setText(self._mesh_note if at == 0 else "")
        self.segments.button(at).setChecked(True)
        if at == 1:
            self._look.setCurrentWidget(self.log)
            self.log_wanted.emit()
        else:
            viewport = self._viewport
            self._look.setCurrentWidget(self.note if viewport is None or viewport.mesh is None else viewport)

    def set_settings(self, settings: RenderSettings) -> None:
        """The settings whose cameras are shown."""
        if settings != self._settings:
            self._settings = settings
            self.sheet.set_elevation(settings.elevation)
            self._show_cameras()
            self._show_caption("")

    def set_running(self, running: bool) -> None:
        """While a run goes on, models can be cancelled and put first."""
        self._running = running
        self._show_state()

    def set_model(self, model: ModelState | None) -> None:
        """Show another model, before anything is known of it from the disk."""
        failed = model is not None and model.state == "failed"
        self.model, self.details, self._preview_note, self._mesh_note = model, None, "", ""
        self.sheet.clear()
        self.log.clear()
        self.note.setText("")
        if self._viewport is not None:
            self._viewport.show_mesh(None)
        self._sides.setCurrentWidget(self._nothing if model is None else self._about)
        self.files.setVisible(model is not None)
        self.title.setText("")
        self.show_side(1 if failed else 0)
        self._show_state()
        self._show_caption("")

    def update_model(self, model: ModelState) -> None:
        """The chosen model has changed."""
        failed = model.state == "failed" and self.model is not None and self.model.state != "failed"
        self.model = model
        if failed:
            self.show_side(1)
        self._show_state()

    def set_details(self, details: ModelDetails) -> None:
        """What the disk says of the model, if it is still the one that is shown."""
        if self.model is None or details.key != self.model.model.key:
            return
        self.details = details
        self.sheet.add(details.pictures, details.depths)
        if details.log != self.log.toPlainText():
            self.log.setPlainText(details.log)
            self.log.to_end()
        self._show_state()
        self._show_caption("")

    def add_frames(self, pictures: dict[str, QImage], depths: dict[str, QImage]) -> None:
        """Pictures of the chosen model that have just come."""
        self.sheet.add(pictures, depths)
        self._show_caption("")

    def add_preview(self, key: str, name: str, picture: QImage) -> None:
        """A picture of the fast preview."""
        if self.model is not None and key == self.model.model.key:
            self.sheet.add_preview(name, picture)
            self._show_caption("")

    def set_preview_note(self, key: str, text: str) -> None:
        """Say how the fast preview stands."""
        if self.model is not None and key == self.model.model.key:
            self._preview_note = text
            self._show_caption("")

    def show_mesh(self, key: str, mesh: Any, note: str = "") -> None:
        """Show the model among its cameras; or, without a mesh, say why there is none to see."""
        if self.model is None or key != self.model.model.key:
            return
        if mesh is None:
            self.note.setText(note)
        else:
            viewport = self._make_viewport()
            viewport.show_mesh(mesh)
            self._show_cameras()
            self._mesh_note = note
            QTimer.singleShot(0, viewport, self._turn)  # fits the mesh once the viewport has its size
        if self.segments.checkedId() == 0:
            self.show_side(0)

    def toggle_depth(self) -> None:
        """Depth maps in place of pictures, and back."""
        self.depth_button.click()

    def close_down(self) -> None:
        """Free the 3D viewport."""
        if self._viewport is not None:
            self._viewport.close()

    # -- inside ------------------------------------------------------------------------------------------

    def _make_viewport(self) -> Viewport:
        if self._viewport is None:
            self._viewport = small_viewport("Drag to turn; 1 looks through the chosen camera, V hides all")
            self._look.addWidget(self._viewport)
        return self._viewport

    def _show_cameras(self) -> None:
        """Draw all cameras, the chosen one first: the viewport has that stand out."""
        if self._viewport is None or self._viewport.mesh is None:
            return
        poses = {frame.name: frame.pose for frame in frames(self._settings)}
        chosen = poses.pop(self.sheet.current)
        self._viewport.show_cameras([chosen, *poses.values()], visible=True)

    def _turn(self) -> None:
        """Look over the shoulder of the chosen camera."""
        if self._viewport is not None and self._viewport.mesh is not None:
            name = self.sheet.current
            pose = next(frame.pose for frame in frames(self._settings) if frame.name == name)
            elevation = min(pose.elevation + _ASIDE[1], 85.0)
            self._viewport.look_from(pose.azimuth + _ASIDE[0], elevation)

    def _show_state(self) -> None:
        model = self.model
        for button in (self.preview, self.test, self.depth_button):
            button.setEnabled(model is not None)
        if model is None:
            return
        words = [STATES[model.state][0]]
        if model.state == "working" and model.message:
            words.append(model.message)
        if model.frames:
            words.append(f"{model.frames} of {model.total} frames")
        if model.seconds_per_frame:
            words.append(f"{pace(model.seconds_per_frame)} a frame")
        if model.attempts > 1 or model.state == "failed":
            words.append(count(model.attempts, "attempt"))
        if model.worker and model.state == "working":
            words.append(worker(model.worker))
        self.title.setText(model.model.key)
        self.title.detail = str(model.model.path)
        self.state.setText("  ·  ".join(words))
        told = model.message if model.state not in ("working", "waiting") else ""
        if model.state == "done":
            told = self.details.facts if self.details is not None else ""
        elif model.state == "cancelled":
            told = told or "It stays out until it is tried again."
        self.reason.setText(sentence(told))
        self.reason.setVisible(bool(told))
        color = theme.color("error" if model.state == "failed" else "muted").name()
        self.reason.setStyleSheet(f"color: {color};")
        self.retry.setVisible(model.state in ("failed", "cancelled"))
        self.first.setVisible(self._running and model.state == "waiting")
        self.cancel.setVisible(self._running and model.state in ("waiting", "working"))
        self.preview.setVisible(model.state != "done")

    def _show_caption(self, hovered: str) -> None:
        if hovered:
            self.caption.setText(hovered)
        elif self.sheet.previewed:
            self.caption.setText(self._preview_note or "Dashed: a fast preview, drawn without Blender")
        elif self._preview_note:
            self.caption.setText(self._preview_note)
        elif self.sheet.images:
            self.caption.setText(describe(self.sheet.current, self.sheet.elevation))
        else:
            self.caption.setText("No pictures yet; P draws a fast preview")

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        if self._viewport is not None and self._viewport.isVisible():
            QTimer.singleShot(0, self._viewport, self._turn)  # a narrower one would cut the model off
