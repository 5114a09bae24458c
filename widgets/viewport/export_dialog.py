"""Dialogs that ask how to export a mesh, and how to film it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QCloseEvent, QIcon, QPalette
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from engine.core.errors import OutputError
from engine.core.progress import ProgressCallback
from widgets.viewport.background import Job

FORMATS = {
    ".glb": ("GLB", "one file with its texture: Blender, web, game engines"),
    ".obj": ("OBJ", "with MTL and PNG: almost every program"),
    ".ply": ("PLY", "vertex colours: MeshLab, research tools"),
    ".stl": ("STL", "shape alone: 3D printing, CAD"),
}
_AXES = (("As each format expects (GLB, OBJ: Y, others: Z)", None), ("Y up", "Y"), ("Z up", "Z"))


class Exporter(Protocol):
    """Writes the mesh to one file, in the format of the path's suffix."""

    def __call__(self, path: Path, *, up: str | None, height_m: float | None, on_floor: bool) -> Any: ...


class ExportDialog(QDialog):
    """Formats, up axis, height, floor and target of an export; writes the files itself, on a thread.

    `choice` is what `choice()` of an earlier dialog returned: a plain dict of JSON values, to be kept by
    the owner. `folder` and `name` (a stem) are the target offered; the dict's folder is used without one.
    The dialog closes once everything is written; an error is shown in place, and the user can try again.
    """

    exported = Signal(list)
    """Paths written, once all are."""

    def __init__(
        self,
        export: Exporter,
        *,
        name: str = "model",
        folder: Path | None = None,
        choice: dict[str, Any] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export the model")
        self._export = export
        self._work: Job | None = None
        self._written: list[Path] = []
        choice = choice or {}

        formats = QGridLayout()
        formats.setHorizontalSpacing(14)
        formats.setVerticalSpacing(7)
        chosen = choice.get("formats") or [".glb"]
        self._formats: dict[str, QCheckBox] = {}
        for row, (suffix, (text, what)) in enumerate(FORMATS.items()):
            tick = QCheckBox(text)
            tick.setChecked(suffix in chosen)
            tick.toggled.connect(self._update_note)
            hint = QLabel(what)
            hint.setForegroundRole(QPalette.ColorRole.PlaceholderText)
            formats.addWidget(tick, row, 0)
            formats.addWidget(hint, row, 1)
            self._formats[suffix] = tick
        formats.setColumnStretch(1, 1)

        self._up = QComboBox()
        for text, value in _AXES:
            self._up.addItem(text, value)
        self._up.setCurrentIndex([value for _, value in _AXES].index(choice.get("up")))
        self._height = QDoubleSpinBox(decimals=3, minimum=0.0, maximum=10_000.0, suffix=" m")
        self._height.setSpecialValueText("unknown (model units)")
        self._height.setValue(choice.get("height_m") or 0.0)
        self._height.setToolTip("Height of the real object, which gives the file its true scale")
        self._floor = QCheckBox("Origin on the floor, below the middle")
        self._floor.setChecked(choice.get("on_floor", True))

        self._folder = QLineEdit(str(folder or choice.get("folder") or Path.home()))
        browse = QPushButton("Browse…", autoDefault=False)
        browse.clicked.connect(self._browse)
        place = QHBoxLayout()
        place.addWidget(self._folder, 1)
        place.addWidget(browse)
        self._name = QLineEdit(name)
        for edit in (self._folder, self._name):
            edit.textChanged.connect(self._update_note)

        form = QFormLayout()
        form.setVerticalSpacing(10)
        form.addRow("Formats", formats)
        form.addRow("Up axis", self._up)
        form.addRow("Height", self._height)
        form.addRow("", self._floor)
        form.addRow("Folder", place)
        form.addRow("Name", self._name)

        self._note = QLabel(wordWrap=True)
        self._note.setMinimumHeight(self._note.fontMetrics().lineSpacing() * 2)
        self._busy = QProgressBar(maximum=0, textVisible=False)
        self._busy.setMaximumHeight(6)
        self._busy.hide()
        self._buttons, self._go = _buttons("Export")
        self._go.clicked.connect(self._start)
        self._buttons.rejected.connect(self.reject)

        self._form = QWidget()
        self._form.setLayout(form)
        form.setContentsMargins(0, 0, 0, 0)
        box = QVBoxLayout(self)
        box.setContentsMargins(20, 18, 20, 16)
        box.setSpacing(12)
        for widget in (self._form, self._note, self._busy, self._buttons):
            box.addWidget(widget)
        self._update_note()
        self._go.setDefault(True)
        self._name.setFocus()

    def choice(self) -> dict[str, Any]:
        """What is chosen now, as JSON values, for the next dialog."""
        return {
            "formats": [suffix for suffix, box in self._formats.items() if box.isChecked()],
            "up": self._up.currentData(),
            "height_m": self._height.value() or None,
            "on_floor": self._floor.isChecked(),
            "folder": self._folder.text().strip(),
        }

    def paths(self) -> list[Path]:
        """The files that the present choice writes (OBJ adds its material and texture beside)."""
        folder, name = Path(self._folder.text().strip() or ".").expanduser(), self._name.text().strip()
        # The suffix a user types is no part of the name: the check boxes say the formats.
        if Path(name).suffix.lower() in FORMATS:
            name = name[: -len(Path(name).suffix)]
        return [folder / (name + suffix) for suffix in self.choice()["formats"]] if name else []

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder to export to", self._folder.text())
        if folder:
            self._folder.setText(folder)

    def _update_note(self) -> None:
        paths = self.paths()
        self._go.setEnabled(bool(paths))
        if not self._name.text().strip():
            text = "Give the file a name."
        elif not paths:
            text = "Choose at least one format."
        else:
            there = [p.name for p in paths if p.exists()]
            text = "Writes " + ", ".join(p.name for p in paths) + "."
            if there:
                text += " Replaces " + ", ".join(there) + "."
        self._say(text)

    def _say(self, text: str, error: bool = False) -> None:
        self._note.setText(text)
        self._note.setStyleSheet("color: #d4483b;" if error else "")

    def _start(self) -> None:
        choice, paths = self.choice(), self.paths()
        options = {key: choice[key] for key in ("up", "height_m", "on_floor")}

        def write(_: ProgressCallback) -> None:
            for path in paths:
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    self._export(path, **options)
                except OSError as error:
                    reason = error.strerror or str(error)
                    raise OutputError(f"{path} could not be written: {reason}. Choose another folder.") from error

        self._set_busy(True)
        self._written = paths
        self._work = Job("export", write)
        self._work.ended.connect(self._end)
        self._work.start()

    def _end(self, error: str, _cancelled: bool) -> None:
        if self._work is None:
            return  # closed in the meantime
        self._work.join()
        self._work = None
        self._set_busy(False)
        if error:
            self._say(error, error=True)
            return
        self.exported.emit(self._written)
        self.accept()

    def _set_busy(self, on: bool) -> None:
        self._form.setEnabled(not on)
        self._buttons.setEnabled(not on)
        self._busy.setVisible(on)
        if on:
            self._say("Writing…")

    def reject(self) -> None:
        if self._work is None:  # a file half written is worse than a second's wait
            super().reject()

    def closeEvent(self, event: QCloseEvent) -> None:
        if self._work is not None:
            self._work.join()
            self._work = None
        super().closeEvent(event)

    def sizeHint(self) -> QSize:
        return super().sizeHint().expandedTo(QSize(560, 0))


class _FormDialog(QDialog):
    """Some fields, and a button to go on."""

    def _lay_out(self, title: str, fields: dict[str, QWidget], go: str) -> None:
        self.setWindowTitle(title)
        buttons, _ = _buttons(go)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        form = QFormLayout()
        form.setVerticalSpacing(10)
        for text, field in fields.items():
            form.addRow(text, field)
        box = QVBoxLayout(self)
        box.setContentsMargins(20, 18, 20, 16)
        box.setSpacing(12)
        box.addLayout(form)
        box.addWidget(buttons, 0, Qt.AlignmentFlag.AlignBottom)


class FilmDialog(_FormDialog):
    """Format, length and size of a turntable film."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._format = QComboBox()
        self._format.addItem("MP4 (H.264)", ".mp4")
        self._format.addItem("GIF (endless)", ".gif")
        self._seconds = QDoubleSpinBox(decimals=1, minimum=1.0, maximum=60.0, singleStep=1.0, value=6.0, suffix=" s")
        self._size = QSpinBox(minimum=128, maximum=2160, singleStep=64, value=720, suffix=" px")
        self._seconds.setFocus()
        self._format.currentIndexChanged.connect(
            lambda: self._size.setValue(480 if self._format.currentData() == ".gif" else 720)
        )
        fields = {"Format": self._format, "One turn takes": self._seconds, "Width and height": self._size}
        self._lay_out("Film a turntable", fields, "Film…")

    def choice(self) -> tuple[str, float, int]:
        """(suffix, seconds, size in pixels)."""
        return self._format.currentData(), self._seconds.value(), self._size.value()


class PictureDialog(_FormDialog):
    """Size and ground of a picture."""

    def __init__(self, width: int, parent: QWidget | None = None) -> None:
        """`width`: of what is shown, in pixels."""
        super().__init__(parent)
        self._width = QSpinBox(minimum=64, maximum=8192, singleStep=64, value=width, suffix=" px")
        self._ground = QComboBox()
        self._ground.addItem("Transparent", True)
        self._ground.addItem("As shown", False)
        self._lay_out("Take a picture", {"Width": self._width, "Background": self._ground}, "Picture…")

    def choice(self) -> tuple[int, bool]:
        """(width in pixels, whether the background is transparent)."""
        return self._width.value(), self._ground.currentData()


def _buttons(go: str) -> tuple[QDialogButtonBox, QPushButton]:
    """The dialog's row of buttons, and the one that goes on."""
    box = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
    box.button(QDialogButtonBox.StandardButton.Cancel).setIcon(QIcon())
    button = box.addButton(go, QDialogButtonBox.ButtonRole.AcceptRole)
    button.setObjectName("primary")
    return box, button
