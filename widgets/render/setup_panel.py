"""What a rendering is given: the models, the folder for the pictures, and the settings."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtWidgets import QFileDialog, QPushButton

from widgets.crawl.incoming import LIST_SUFFIXES
from widgets.kit import setup_panel
from widgets.kit.labels import label
from widgets.kit.panel import column, row, scrolled
from widgets.kit.path_field import PlaceField
from widgets.render.settings_form import SettingsForm

MODEL_SUFFIXES = (".glb", ".gltf", ".obj", ".fbx", ".ply", ".stl", ".usd", ".usda", ".usdc", ".usdz")


class SetupPanel(setup_panel.SetupPanel):
    """Models, folder and settings."""

    def __init__(self) -> None:
        tip = "A folder of models, a list of what was selected, or one model"
        self.source = PlaceField("No models yet", tip, "Folder of models")
        tip = "Folder for the pictures; what an earlier run left there is shown"
        super().__init__(self.source, PlaceField("No folder yet", tip, "Folder for the pictures"))
        self.list, self.crawled, self.screened = (
            QPushButton("List…"),
            QPushButton("Last crawl"),
            QPushButton("Selected"),
        )
        self._offers: dict[QPushButton, Path | None] = {self.crawled: None, self.screened: None}
        for button in self._offers:
            button.clicked.connect(lambda _=False, button=button: self.source.chosen.emit(self._offers[button]))
        self.form = SettingsForm()
        self.form.changed.connect(self.changed)
        self.area = scrolled(self.form, sideways=True)
        column(
            label("Models", "muted"),
            self.source,
            row((self.list, 1), (self.crawled, 1), (self.screened, 1), spacing=8),
            self.note,
            4,
            label("Folder for the pictures", "muted"),
            self.folder,
            6,
            (self.area, 1),
            self.start,
            spacing=8,
            within=self,
        )
        self.offer(None, None)

    def offer(self, crawl: Path | None, selected: Path | None) -> None:
        """Offer the models of the last crawl, and those that the last screening has selected."""
        self._offers = {self.crawled: crawl, self.screened: selected}
        self.crawled.setToolTip(f"The models that were collected last: {crawl}")
        self.screened.setToolTip(f"The models that were selected last: {selected}")
        self._refresh()

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
            self.source.chosen.emit(Path(name))

    # -- inside ------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        super()._refresh()
        free = not self._running
        self.list.setEnabled(free)
        for button, path in self._offers.items():
            button.setVisible(path is not None)
            button.setEnabled(free)
        self.form.set_enabled(free)
