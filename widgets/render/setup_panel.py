"""What a rendering is given: the models, the folder for the pictures, and the settings."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QPushButton, QScrollArea, QVBoxLayout, QWidget

from widgets.crawl.incoming import LIST_SUFFIXES
from widgets.kit.buttons import with_key
from widgets.kit.labels import label
from widgets.kit.path_field import PathField
from widgets.render.settings_form import SettingsForm

MODEL_SUFFIXES = (".glb", ".gltf", ".obj", ".fbx", ".ply", ".stl", ".usd", ".usda", ".usdc", ".usdz")


class SetupPanel(QWidget):
    """Models, folder and settings; `start_requested` is up to whoever reads them."""

    source_chosen = Signal(object)
    """The path of a model, a list or a folder; None to do without."""
    folder_chosen = Signal(object)
    start_requested = Signal()
    changed = Signal()
    """A setting was changed."""

    def __init__(self) -> None:
        super().__init__()
        self.last_folder = str(Path.home())
        self._source: Path | None = None
        self._folder: Path | None = None
        self._running = False
        self.source = PathField("No models yet", "A folder of models, a list of what was selected, or one model")
        self.source.edited.connect(self._source_edited)
        self.source.button.setToolTip(with_key("Choose a folder of models", "Ctrl+O"))
        self.source.button.clicked.connect(self.open_source)
        self.list = QPushButton("List…")
        self.list.setToolTip("Open the list of a screening (selected.txt), or one model")
        self.list.clicked.connect(lambda _=False: self.open_list())
        self.crawled = QPushButton("Last crawl")
        self.screened = QPushButton("Selected")
        self._offers: dict[QPushButton, Path | None] = {self.crawled: None, self.screened: None}
        for button in self._offers:
            button.clicked.connect(lambda _=False, button=button: self.source_chosen.emit(self._offers[button]))
        self.note = label("", "small", wrap=True)
        self.folder = PathField("No folder yet", "Folder for the pictures; what an earlier run left there is shown")
        self.folder.edited.connect(self._folder_edited)
        self.folder.button.setToolTip(with_key("Choose the folder for the pictures", "Ctrl+Shift+O"))
        self.folder.button.clicked.connect(self.open_folder)
        self.form = SettingsForm()
        self.form.changed.connect(self.changed)
        self.start = QPushButton("Start")
        self.start.setObjectName("primary")
        self.start.setToolTip(with_key("Render the models; goes on where an earlier run ended", "Ctrl+R"))
        self.start.clicked.connect(lambda: self.start_requested.emit())

        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        for button in (self.list, self.crawled, self.screened):
            buttons.addWidget(button, 1)
        self.area = area = QScrollArea(widgetResizable=True)
        area.setWidget(self.form)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addWidget(label("Models", "muted"))
        column.addWidget(self.source)
        column.addLayout(buttons)
        column.addWidget(self.note)
        column.addSpacing(4)
        column.addWidget(label("Folder for the pictures", "muted"))
        column.addWidget(self.folder)
        column.addSpacing(6)
        column.addWidget(area, 1)
        column.addWidget(self.start)
        self.offer(None, None)
        self.set_note("")
        self._refresh()

    # -- content -----------------------------------------------------------------------------------------

    @property
    def source_path(self) -> Path | None:
        """The models in force."""
        return self._source

    @property
    def folder_path(self) -> Path | None:
        """The folder in force."""
        return self._folder

    def set_places(self, source: Path | None, folder: Path | None) -> None:
        """Show these as models and folder."""
        self._source, self._folder = source, folder
        self.source.set_path(source)
        self.folder.set_path(folder)
        self._refresh()

    def offer(self, crawl: Path | None, selected: Path | None) -> None:
        """Offer the models of the last crawl, and those that the last screening has selected."""
        self._offers = {self.crawled: crawl, self.screened: selected}
        self.crawled.setToolTip(f"The models that were collected last: {crawl}")
        self.screened.setToolTip(f"The models that were selected last: {selected}")
        self._refresh()

    def set_note(self, text: str) -> None:
        """Say what there is to render."""
        self.note.setText(text)
        self.note.setVisible(bool(text))

    def set_running(self, running: bool) -> None:
        """While a run goes on, nothing here can be changed."""
        self._running = running
        self._refresh()

    def open_source(self) -> None:
        """Ask for a folder of models."""
        if self._running:
            return
        name = QFileDialog.getExistingDirectory(self, "Folder of models", str(self._source or self.last_folder))
        if name:
            self.last_folder = name
            self.source_chosen.emit(Path(name))

    def open_list(self) -> None:
        """Ask for a list, or a model."""
        if self._running:
            return
        lists = " ".join(f"*{suffix}" for suffix in (*LIST_SUFFIXES, *MODEL_SUFFIXES))
        name, _ = QFileDialog.getOpenFileName(
            self, "Open a list or a model", self.last_folder, f"Lists and models ({lists});;All (*)"
        )
        if name:
            self.last_folder = str(Path(name).parent)
            self.source_chosen.emit(Path(name))

    def open_folder(self) -> None:
        """Ask for the folder of the pictures."""
        if self._running:
            return
        name = QFileDialog.getExistingDirectory(self, "Folder for the pictures", str(self._folder or self.last_folder))
        if name:
            self.folder_chosen.emit(Path(name))

    # -- inside ------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        free = not self._running
        for widget in (self.source, self.folder, self.list):
            widget.setEnabled(free)
        for button, path in self._offers.items():
            button.setVisible(path is not None)
            button.setEnabled(free)
        self.form.set_enabled(free)
        self.start.setVisible(free)
        self.start.setEnabled(self._folder is not None)

    def _source_edited(self, text: str) -> None:
        path = Path(text).expanduser() if text else None
        if path != self._source:
            self.source_chosen.emit(path)

    def _folder_edited(self, text: str) -> None:
        path = Path(text).expanduser() if text else None
        if path != self._folder:
            self.folder_chosen.emit(path)
