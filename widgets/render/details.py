"""The model that is chosen: its pictures, its cameras around it in 3D, or the log of its failure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QFontDatabase, QImage, QTextOption
from PySide6.QtWidgets import (
    QButtonGroup,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QSplitter,
    QStackedWidget,
    QToolBar,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from engine.rendering.jobs import ModelState, RenderSettings, frames
from widgets.kit.buttons import IconButton, with_key
from widgets.kit.labels import ElidedLabel, label
from widgets.kit.panel import Panel
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
    """The chosen model, with segments for its cameras and the log below its pictures."""

    preview_requested = Signal(str)
    test_requested = Signal(str, str)
    """Render a view of a model to see what it looks like, and how long it takes."""
    retry_model = Signal(str)
    cancel_model = Signal(str)
    first_model = Signal(str)
    show_folder = Signal(str)
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
        self.files = IconButton("folder", with_key("Show its folder", "S"), lambda: self._emit("show_folder"))
        self.top.addWidget(self.title, 1)
        self.top.addWidget(self.files)
        self.state = ElidedLabel("", "muted")
        self.reason = label("", wrap=True)
        self.reason.setTextFormat(Qt.TextFormat.PlainText)
        self.reason.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.preview = _button("Preview", "Show its 40 poses at once, drawn without Blender", "P", self._ask_preview)
        self.test = _button(
            "Test frame", "Render the chosen view with Blender, and see how long it takes", "T", self._ask_test
        )
        self.depth = _button(
            "Depth", "Depth maps in place of pictures", "D", lambda: self.sheet.set_depth(self.depth.isChecked())
        )
        self.depth.setCheckable(True)
        self.retry = _button("Try it again", "Render this model once more", "", lambda: self._emit("retry_model"))
        self.first = _button("Render next", "Before all others that wait", "N", lambda: self._emit("first_model"))
        self.cancel = _button("Cancel", "Leave this model out", "Del", lambda: self._emit("cancel_model"))
        buttons = QHBoxLayout()
        buttons.setSpacing(6)
        for button in (self.preview, self.test, self.depth):
            buttons.addWidget(button)
        buttons.addStretch(1)
        for button in (self.retry, self.first, self.cancel):
            buttons.addWidget(button)

        self.sheet = ContactSheet()
        self.sheet.selected.connect(lambda _: (self._show_cameras(), self._turn()))
        self.sheet.hovered.connect(self._show_caption)
        self.caption = ElidedLabel("", "small")
        upper = QWidget()
        column = QVBoxLayout(upper)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.sheet, 1)
        column.addWidget(self.caption)

        self.note = label("", "muted", wrap=True)
        self.note.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.note.setMargin(16)
        self.log = QPlainTextEdit(readOnly=True)
        self.log.setObjectName("log")
        self.log.setMaximumBlockCount(4000)
        self.log.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.log.setFrameShape(QFrame.Shape.NoFrame)
        self.log.setPlaceholderText("Blender has written nothing about this model: logs are kept of failures.")
        self.log.setAccessibleName("Blender's log of the failure")
        self._look = QStackedWidget()
        self._look.addWidget(self.note)
        self._look.addWidget(self.log)
        self._look.setMinimumHeight(120)
        self._segments = QButtonGroup(self)
        row = QHBoxLayout()
        row.setSpacing(0)
        for at, (text, tip, key) in enumerate(
            (
                ("Cameras", "The model and where its pictures are taken from", "Ctrl+D"),
                ("Log", "What Blender wrote when it failed", "Ctrl+L"),
            )
        ):
            button = QToolButton()
            button.setObjectName("segment")
            button.setText(text)
            button.setCheckable(True)
            button.setChecked(at == 0)
            button.setToolTip(with_key(tip, key))
            self._segments.addButton(button, at)
            row.addWidget(button)
        self._segments.idClicked.connect(self.show_side)
        self.look_note = ElidedLabel("", "small")
        row.addWidget(self.look_note, 1)
        lower = QWidget()
        column = QVBoxLayout(lower)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(row)
        column.addWidget(self._look, 1)
        self.parts = QSplitter(Qt.Orientation.Vertical)
        self.parts.setChildrenCollapsible(False)
        self.parts.setHandleWidth(8)
        for at, (part, stretch) in enumerate(((upper, 4), (lower, 3))):
            self.parts.addWidget(part)
            self.parts.setStretchFactor(at, stretch)
        self.parts.setSizes([330, 250])
        self._about = QWidget()
        column = QVBoxLayout(self._about)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(self.state)
        column.addWidget(self.reason)
        column.addLayout(buttons)
        column.addWidget(self.parts, 1)
        self._nothing = label(
            "Choose a model in the table to see its pictures and cameras, or why it failed.", "muted", wrap=True
        )
        self._nothing.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._nothing.setMargin(16)
        self._sides = QStackedWidget()
        self._sides.addWidget(self._nothing)
        self._sides.addWidget(self._about)
        self.body.addLayout(self.top)
        self.body.addWidget(self._sides, 1)
        theme.changed.connect(self._restyle)
        self._restyle()
        self.set_model(None)

    # -- content -----------------------------------------------------------------------------------------

    @property
    def viewport(self) -> Viewport | None:
        """The 3D viewport, None before the first model."""
        return self._viewport

    @property
    def log_shown(self) -> bool:
        """Whether the log is on the screen."""
        return self._segments.checkedId() == 1 and self.isVisible()

    def show_side(self, at: int) -> None:
        """Show the cameras (0) or the log (1) below the pictures."""
        self.look_note.setText(self._mesh_note if at == 0 else "")
        self._segments.button(at).setChecked(True)
        if at == 1:
            self._look.setCurrentWidget(self.log)
            self.log_wanted.emit()
        else:
            mesh = self._viewport is not None and self._viewport.mesh is not None
            self._look.setCurrentWidget(self._viewport if mesh else self.note)

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
            self.log.verticalScrollBar().setValue(self.log.verticalScrollBar().maximum())
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
        if self._segments.checkedId() == 0:
            self.show_side(0)

    def toggle_depth(self) -> None:
        """Depth maps in place of pictures, and back."""
        self.depth.click()

    def close_down(self) -> None:
        """Free the 3D viewport."""
        if self._viewport is not None:
            self._viewport.close()

    # -- inside ------------------------------------------------------------------------------------------

    def _make_viewport(self) -> Viewport:
        if self._viewport is None:
            from widgets.viewport import Viewport

            self._viewport = Viewport()
            # Tools for a model of one's own have no room here, and no use; their keys work all the same.
            own = Qt.FindChildOption.FindDirectChildrenOnly
            for part in (*self._viewport.findChildren(QToolBar), *self._viewport.findChildren(QLabel, options=own)):
                part.hide()
            self._viewport.setToolTip("Drag to turn; 1 looks through the chosen camera, V hides all")
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
        for button in (self.preview, self.test, self.depth):
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

    def _ask_preview(self) -> None:
        self._emit("preview_requested")

    def _ask_test(self) -> None:
        if self.model is not None:
            self.test_requested.emit(self.model.model.key, self.sheet.current)

    def _emit(self, which: str) -> None:
        if self.model is not None:
            getattr(self, which).emit(self.model.model.key)

    def _restyle(self) -> None:
        font = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
        font.setPixelSize(theme.px(12))
        self.log.setFont(font)
        if self.model is not None:
            self._show_state()

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        if self._viewport is not None and self._viewport.isVisible():
            QTimer.singleShot(0, self._viewport, self._turn)  # a narrower one would cut the model off


def _button(text: str, tip: str, key: str, act: Any) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(with_key(tip, key) if key else tip)
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    button.clicked.connect(lambda _=False: act())
    return button
