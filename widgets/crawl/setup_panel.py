"""What a crawl is given: the list, the folder for the models, and how to go about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import QPoint, Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from engine.crawling import DEFAULT_LICENCES, LICENCES, Options
from widgets.crawl.incoming import LIST_SUFFIXES
from widgets.kit import setup_panel
from widgets.kit.buttons import IconButton
from widgets.kit.fields import indent
from widgets.kit.labels import ElidedLabel, label
from widgets.kit.panel import column, holder, row
from widgets.kit.path_field import PlaceField
from widgets.kit.theme import theme

SOURCES = {
    "auto": ("Automatic", "Sketchfab's API where a token is set, else the browser"),
    "api": ("Sketchfab's API", "The site's own interface, with your token; the quicker and more reliable way"),
    "browser": ("Browser", "Opens each page in a browser of its own, logged in with your account"),
}
_SHORT = {"cc0": "CC0", "free-st": "Free Standard", "st": "Standard", "ed": "Editorial"}


@dataclass(frozen=True)
class CrawlOptions:
    """What is set in the panel."""

    source: str = "auto"
    parallel: int = 1
    pause: float = Options.pause
    attempts: int = Options.attempts
    keep_free_gb: float = Options.keep_free / 1e9
    licences: tuple[str, ...] = DEFAULT_LICENCES
    """Short names; empty allows all."""
    show_browser: bool = False


@dataclass(frozen=True)
class SearchRequest:
    """A search that is to become a list."""

    words: str
    most: int
    licences: tuple[str, ...]
    min_faces: int | None = None
    max_faces: int | None = None


class SetupPanel(setup_panel.SetupPanel):
    """List, folder and options."""

    search_requested = Signal(object)
    search_cancelled = Signal()

    def __init__(self) -> None:
        tip = "Folder for the models; what an earlier crawl left there is shown"
        super().__init__(
            PlaceField("No list yet", "File with one address a line; drop it anywhere on this page", ""),
            PlaceField("No folder yet", tip, "Folder for the models"),
        )
        self.list = self.source_field
        self.paste, self.search_button = QPushButton("Paste"), QPushButton("Search…")
        self.searching = ElidedLabel("", "small")
        self.stop_search = IconButton("cancel", "Stop the search; what was found stays in the list", self._stop_search)
        self._search_row = holder(row((self.searching, 1), self.stop_search, spacing=6))
        self._search_row.hide()

        self.source = QComboBox()
        for key, (text, tip) in SOURCES.items():
            self.source.addItem(text, key)
            self.source.setItemData(self.source.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.licences = LicenceChoice()
        self.parallel = QSpinBox(minimum=1, maximum=4)
        self.pause = QDoubleSpinBox(minimum=0.0, maximum=600.0, decimals=1, suffix=" s")
        self.attempts = QSpinBox(minimum=1, maximum=20)
        self.keep_free = QDoubleSpinBox(minimum=0.0, maximum=100_000.0, decimals=1, suffix=" GB")
        for box in (self.parallel, self.pause, self.attempts, self.keep_free):
            indent(box)
        self.show_browser = QCheckBox("Show the browser")
        self.show_browser.setToolTip(
            "Watch the browser at work, and answer what the site asks; with the API there is none"
        )
        form = QGridLayout()
        form.setHorizontalSpacing(14)
        form.setVerticalSpacing(8)
        form.setColumnStretch(1, 1)
        self._fields: list[QWidget] = []
        for at, (text, field, tip) in enumerate(
            (
                ("Source", self.source, "How the models are brought"),
                ("Licences", self.licences, "Models of other licences are skipped; so is what is tagged NoAI, always"),
                ("At once", self.parallel, "Pages that are worked on at the same time"),
                ("Pause", self.pause, "Rest between two pages, out of politeness to the site"),
                ("Attempts", self.attempts, "How often a page is tried before it counts as failed"),
                ("Keep free", self.keep_free, "The crawl stops before the disk has less than this left"),
            )
        ):
            field.setToolTip(tip)
            field.setAccessibleName(text)
            field.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            form.addWidget(label(text, "muted"), at, 0)
            form.addWidget(field, at, 1)
            self._fields.append(field)
        form.addWidget(self.show_browser, form.rowCount(), 1)
        self.sheet = SearchSheet(self)
        self.sheet.search_requested.connect(self._search)
        column(
            label("List of pages", "muted"),
            self.list,
            row((self.paste, 1), (self.search_button, 1), spacing=8),
            self._search_row,
            self.note,
            6,
            label("Folder for the models", "muted"),
            self.folder,
            10,
            form,
            None,
            self.start,
            spacing=8,
            within=self,
        )
        self.set_options(CrawlOptions())
        self.source.currentIndexChanged.connect(lambda _=0: self.changed.emit())
        self.licences.changed.connect(self.changed)
        for box in (self.parallel, self.pause, self.attempts, self.keep_free):
            box.valueChanged.connect(lambda _=0: self.changed.emit())
        self.show_browser.toggled.connect(lambda _=False: self.changed.emit())
        self._refresh()

    # -- content -----------------------------------------------------------------------------------------

    @property
    def list_path(self) -> Path | None:
        """The list in force."""
        return self.list.path

    def set_searching(self, text: str | None) -> None:
        """Show how far a search is; None when there is none."""
        self.searching.setText(text or "")
        self._search_row.setVisible(text is not None)
        self.stop_search.setEnabled(text is not None)
        self.search_button.setEnabled(text is None)

    def options(self) -> CrawlOptions:
        """What is set."""
        return CrawlOptions(
            source=self.source.currentData(),
            parallel=self.parallel.value(),
            pause=self.pause.value(),
            attempts=self.attempts.value(),
            keep_free_gb=self.keep_free.value(),
            licences=self.licences.value,
            show_browser=self.show_browser.isChecked(),
        )

    def set_options(self, options: CrawlOptions) -> None:
        """Set all of them."""
        self.source.setCurrentIndex(max(self.source.findData(options.source), 0))
        self.parallel.setValue(options.parallel)
        self.pause.setValue(options.pause)
        self.attempts.setValue(options.attempts)
        self.keep_free.setValue(options.keep_free_gb)
        self.licences.set_value(options.licences)
        self.show_browser.setChecked(options.show_browser)

    def open_list(self) -> None:
        """Ask for the file of a list."""
        if self._running:
            return
        kinds = " ".join(f"*{suffix}" for suffix in LIST_SUFFIXES)
        name, _ = QFileDialog.getOpenFileName(self, "Open a list", self.last_folder, f"Lists ({kinds});;All (*)")
        if name:
            self.last_folder = str(Path(name).parent)
            self.list.chosen.emit(Path(name))

    def open_search(self) -> None:
        """Show the sheet for a search."""
        self.sheet.open_at(self.search_button, self.licences.accessibleDescription())

    # -- inside ------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        super()._refresh()
        for widget in (self.show_browser, *self._fields):
            widget.setEnabled(not self._running)

    def _search(self, words: str, most: int, faces: tuple[int | None, int | None]) -> None:
        self.search_requested.emit(SearchRequest(words, most, self.licences.value, *faces))

    def _stop_search(self) -> None:
        self.stop_search.setEnabled(False)
        self.search_cancelled.emit()


class _Sheet(QFrame):
    """A sheet beside the button that opens it; a click elsewhere closes it."""

    def __init__(self, parent: QWidget, heading: str) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setObjectName("sheet")
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(18, 14, 18, 16)
        self.column.setSpacing(10)
        self.column.addWidget(label(heading, "heading"))

    def show_at(self, button: QWidget, width: float) -> None:
        """Show below the button, or above it where there is no room."""
        layout = self.column
        self.setFixedWidth(theme.px(width))
        layout.activate()
        height = layout.totalHeightForWidth(self.width()) if layout.hasHeightForWidth() else self.sizeHint().height()
        self.setFixedHeight(height)
        at = button.mapToGlobal(QPoint(0, button.height() + 4))
        screen = button.screen().availableGeometry()
        if at.y() + height > screen.bottom():
            at = button.mapToGlobal(QPoint(0, -height - 4))
        at.setX(max(min(at.x(), screen.right() - self.width()), screen.left()))
        at.setY(max(at.y(), screen.top()))
        self.move(at)
        self.show()


class LicenceChoice(QPushButton):
    """Which licences are collected: a button that names them, and a sheet to tick them on."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("choice")
        self.sheet = _Sheet(self, "Licences that are collected")
        self.boxes: dict[str, QCheckBox] = {}
        for key, (title, _) in LICENCES.items():
            box = QCheckBox(title)
            box.toggled.connect(lambda _=False: self._ticked())
            self.boxes[key] = box
            self.sheet.column.addWidget(box)
        self.any = QCheckBox("Any, also models that state none")
        self.any.setToolTip("What is tagged NoAI, or not offered for download, is skipped all the same")
        self.any.toggled.connect(lambda _=False: self._ticked())
        self.sheet.column.addSpacing(4)
        self.sheet.column.addWidget(self.any)
        self.clicked.connect(lambda: self.sheet.show_at(self, 350))
        self.set_value(DEFAULT_LICENCES)

    @property
    def value(self) -> tuple[str, ...]:
        """Short names; empty for any."""
        return () if self.any.isChecked() else tuple(key for key, box in self.boxes.items() if box.isChecked())

    def set_value(self, licences: tuple[str, ...]) -> None:
        """Tick these; none allows any."""
        for box in (self.any, *self.boxes.values()):
            box.blockSignals(True)
        for key, box in self.boxes.items():
            box.setChecked(key in licences)
        self.any.setChecked(not licences)
        for box in (self.any, *self.boxes.values()):
            box.blockSignals(False)
        self._refresh()

    def _ticked(self) -> None:
        if not self.any.isChecked() and not any(box.isChecked() for box in self.boxes.values()):
            self.set_value(DEFAULT_LICENCES)  # none at all would collect nothing
        self._refresh()
        self.changed.emit()

    def _refresh(self) -> None:
        for box in self.boxes.values():
            box.setEnabled(not self.any.isChecked())
        names = [_SHORT.get(key, key.upper()) for key in self.value]
        text = ", ".join(names) if names else "Any"
        room = self.width() - theme.px(24) if self.isVisible() else theme.px(150)
        self.setText(self.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, room))
        self.setAccessibleDescription(text)

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._refresh()


class SearchSheet(_Sheet):
    """What to search for."""

    search_requested = Signal(str, int, tuple)
    """Words, models at most, and least and most faces."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, "Search Sketchfab")
        self.words = QLineEdit()
        self.words.setPlaceholderText("gothic church")
        self.words.setAccessibleName("What to look for")
        self.words.returnPressed.connect(self._go)
        self.most = QSpinBox(minimum=1, maximum=100_000)
        self.most.setValue(1000)
        indent(self.most)
        self.faces = (_faces("least"), _faces("most"))
        self.licences = label("", "small", wrap=True)
        grid = QGridLayout()
        grid.setHorizontalSpacing(14)
        grid.setVerticalSpacing(8)
        grid.setColumnStretch(1, 1)
        faces = QHBoxLayout()
        faces.setSpacing(8)
        faces.addWidget(self.faces[0], 1)
        faces.addWidget(label("to", "muted"))
        faces.addWidget(self.faces[1], 1)
        for at, (text, field) in enumerate((("Words", self.words), ("At most", self.most))):
            grid.addWidget(label(text, "muted"), at, 0)
            grid.addWidget(field, at, 1)
        grid.addWidget(label("Faces", "muted"), 2, 0)
        grid.addLayout(faces, 2, 1)
        self.button = QPushButton("Make a list")
        self.button.setToolTip("Search, and make a list of what is found; nothing is downloaded yet")
        self.button.clicked.connect(lambda: self._go())
        self.column.addLayout(grid)
        self.column.addWidget(self.licences)
        self.column.addWidget(self.button, 0, Qt.AlignmentFlag.AlignRight)

    def open_at(self, button: QWidget, licences: str) -> None:
        """Show beside a button."""
        self.licences.setText(f"Of the licences in the options: {licences}. What is tagged NoAI is left out.")
        self.show_at(button, 380)
        self.words.setFocus()
        self.words.selectAll()

    def _go(self) -> None:
        words = " ".join(self.words.text().split())
        if not words:
            self.words.setFocus()
            return
        self.hide()
        least, most = (box.value() or None for box in self.faces)
        self.search_requested.emit(words, self.most.value(), (least, most))


def _faces(what: str) -> QSpinBox:
    box = QSpinBox(minimum=0, maximum=100_000_000, singleStep=10_000)
    indent(box)
    box.setSpecialValueText("any")
    box.setGroupSeparatorShown(True)
    box.setAccessibleName(f"Number of faces at {what}")
    box.setToolTip(f"Number of faces at {what}; any for 0")
    return box
