"""What a job is given: a source, a folder for what comes of it, and options."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QPushButton, QWidget

from widgets.kit.labels import label
from widgets.kit.path_field import PlaceField


class SetupPanel(QWidget):
    """The places and Start; a tab adds its own. The buttons get their words and keys from the tab's actions."""

    changed = Signal()
    """An option was changed."""

    def __init__(self, source: PlaceField, folder: PlaceField) -> None:
        super().__init__()
        self.last_folder = str(Path.home())
        """Where the next file is looked for."""
        self._running = False
        self.source_field, self.folder = source, folder
        self.note = label("", "small", wrap=True)
        self.note.setTextFormat(Qt.TextFormat.PlainText)
        self.note.hide()
        self.start = QPushButton()
        self.start.setObjectName("primary")

    @property
    def source_path(self) -> Path | None:
        """What is worked on."""
        return self.source_field.path

    @property
    def folder_path(self) -> Path | None:
        """The folder in force."""
        return self.folder.path

    @property
    def ready(self) -> bool:
        """Whether there is enough to start with."""
        return self.folder.path is not None

    def set_places(self, source: Path | None, folder: Path | None) -> None:
        """Show these as source and folder."""
        self.source_field.set_path(source)
        self.folder.set_path(folder)
        self._refresh()

    def set_note(self, text: str) -> None:
        """Say what the source holds."""
        self.note.setText(text)
        self.note.setVisible(bool(text))

    def set_running(self, running: bool) -> None:
        """While the work goes on, nothing here can be changed."""
        self._running = running
        self._refresh()

    def open_source(self) -> None:
        """Ask for a folder to work on."""
        self.last_folder = self.source_field.ask(self.last_folder) or self.last_folder

    def open_folder(self) -> None:
        """Ask for the folder of what comes of it."""
        self.folder.ask(self.last_folder)

    def _refresh(self) -> None:
        free = not self._running
        for part in (self.source_field, self.folder):
            part.setEnabled(free)
        self.start.setVisible(free)
        self.start.setEnabled(self.ready)
