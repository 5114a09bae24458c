"""What a fine-tuning is given: rendered models, the folder of the run, and the options."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QPushButton, QScrollArea, QVBoxLayout, QWidget

from widgets.finetune.options_form import OptionsForm
from widgets.kit.buttons import with_key
from widgets.kit.labels import label
from widgets.kit.path_field import PathField

KEY = "Ctrl+R"


class SetupPanel(QWidget):
    """Data, folder and options; `start_requested` is up to whoever reads them."""

    source_chosen = Signal(object)
    """The folder of rendered models; None to do without."""
    folder_chosen = Signal(object)
    new_requested = Signal()
    """Another folder is wanted for a new run."""
    start_requested = Signal()
    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.last_folder = str(Path.home())
        self._source: Path | None = None
        self._folder: Path | None = None
        self._offer: Path | None = None
        self._running = self._kept = False
        self.source = PathField("No models yet", "A folder of rendered models, as the Render tab writes it")
        self.source.edited.connect(self._source_edited)
        self.source.button.setToolTip(with_key("Choose a folder of rendered models", "Ctrl+O"))
        self.source.button.clicked.connect(self.open_source)
        self.rendered = QPushButton("Last rendering")
        self.rendered.clicked.connect(lambda _=False: self.source_chosen.emit(self._offer))
        self.note = label("", "small", wrap=True)
        self.problems = label("", "warning", wrap=True)
        for part in (self.note, self.problems):
            part.setTextFormat(Qt.TextFormat.PlainText)
        self.folder = PathField("No folder yet", "Folder of the run; an earlier run in it is shown, and can go on")
        self.folder.edited.connect(self._folder_edited)
        self.folder.button.setToolTip(with_key("Choose the folder of the run", "Ctrl+Shift+O"))
        self.folder.button.clicked.connect(self.open_folder)
        self.new = QPushButton("New run")
        self.new.setToolTip(with_key("Take another folder, to begin anew with other options", "Ctrl+N"))
        self.new.clicked.connect(lambda _=False: self.new_requested.emit())
        self.kept = label("The run in this folder goes on with the options it has.", "small", wrap=True)
        self.form = OptionsForm()
        self.form.changed.connect(self.changed)
        self.start = QPushButton("Start")
        self.start.setObjectName("primary")
        self.start.clicked.connect(lambda: self.start_requested.emit())
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.kept, 1)
        row.addWidget(self.new)
        self.area = QScrollArea(widgetResizable=True)
        self.area.setWidget(self.form)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addWidget(label("Rendered models", "muted"))
        column.addWidget(self.source)
        column.addWidget(self.rendered)
        column.addWidget(self.note)
        column.addWidget(self.problems)
        column.addSpacing(4)
        column.addWidget(label("Folder of the run", "muted"))
        column.addWidget(self.folder)
        column.addLayout(row)
        column.addSpacing(6)
        column.addWidget(self.area, 1)
        column.addWidget(self.start)
        self.offer(None)
        self.set_note("", "")
        self.set_kept(False)

    # -- content -----------------------------------------------------------------------------------------

    @property
    def source_path(self) -> Path | None:
        """The folder of rendered models in force."""
        return self._source

    @property
    def folder_path(self) -> Path | None:
        """The folder of the run in force."""
        return self._folder

    def set_places(self, source: Path | None, folder: Path | None) -> None:
        """Show these."""
        self._source, self._folder = source, folder
        self.source.set_path(source)
        self.folder.set_path(folder)
        self._refresh()

    def offer(self, rendered: Path | None) -> None:
        """Offer what the Render tab has rendered last."""
        self._offer = rendered
        self.rendered.setToolTip(f"The models that were rendered last: {rendered}")
        self._refresh()

    def set_note(self, text: str, problem: str) -> None:
        """Say what the folder holds, and what is missing of it."""
        self.note.setText(text)
        self.note.setVisible(bool(text))
        self.problems.setText(problem)
        self.problems.setVisible(bool(problem))

    def set_kept(self, kept: bool) -> None:
        """Whether the folder has a run that goes on, the options of which are settled."""
        self._kept = kept
        self._refresh()

    def set_running(self, running: bool) -> None:
        """While a run goes on, nothing here can be changed."""
        self._running = running
        self._refresh()

    def open_source(self) -> None:
        """Ask for a folder of rendered models."""
        if self._running:
            return
        name = QFileDialog.getExistingDirectory(
            self, "Folder of rendered models", str(self._source or self.last_folder)
        )
        if name:
            self.last_folder = name
            self.source_chosen.emit(Path(name))

    def open_folder(self) -> None:
        """Ask for the folder of the run."""
        if self._running:
            return
        name = QFileDialog.getExistingDirectory(self, "Folder of the run", str(self._folder or self.last_folder))
        if name:
            self.folder_chosen.emit(Path(name))

    # -- inside ------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        free = not self._running
        for widget in (self.source, self.folder, self.new, self.rendered):
            widget.setEnabled(free)
        self.rendered.setVisible(self._offer is not None and self._offer != self._source)
        for widget in (self.kept, self.new):
            widget.setVisible(self._kept)
        self.form.set_enabled(free, kept=self._kept)
        self.start.setVisible(free)
        self.start.setEnabled(self._folder is not None and self._source is not None)
        self.start.setText("Go on" if self._kept else "Start")
        tip = "Go on with the run from its last checkpoint" if self._kept else "Fine-tune on these models"
        self.start.setToolTip(with_key(tip, KEY))

    def _source_edited(self, text: str) -> None:
        path = Path(text).expanduser() if text else None
        if path != self._source:
            self.source_chosen.emit(path)

    def _folder_edited(self, text: str) -> None:
        path = Path(text).expanduser() if text else None
        if path != self._folder:
            self.folder_chosen.emit(path)
