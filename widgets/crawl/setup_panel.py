"""What a crawl is given: the list, the folder for the models, and how to go about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QCheckBox, QFileDialog, QLineEdit, QPushButton, QWidget

from engine.crawling import Options
from engine.crawling.filters import Filters
from engine.crawling.sources import Source
from widgets.crawl.form import CrawlForm, SearchForm
from widgets.crawl.incoming import LIST_SUFFIXES
from widgets.kit import setup_panel
from widgets.kit.buttons import IconButton
from widgets.kit.labels import ElidedLabel, label
from widgets.kit.panel import column, holder, row, scrolled
from widgets.kit.path_field import PlaceField
from widgets.kit.sheet import Sheet


@dataclass(frozen=True)
class SearchRequest:
    """A search that is to become a list."""

    words: str
    most: int
    filters: Filters


class SetupPanel(setup_panel.SetupPanel):
    """List, folder and options."""

    search_requested = Signal(object)
    search_cancelled = Signal()
    token_given = Signal(object)
    """Keep this API token; None to forget the one that is kept."""

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

        self.form = CrawlForm()
        self.licences = self.form.licences
        self.token = QPushButton()
        self.token_sheet = TokenSheet(self)
        self.token_sheet.given.connect(self.token_given)
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
            self.token,
            (scrolled(self.form), 1),
            self.start,
            spacing=8,
            within=self,
        )
        self.form.changed.connect(self.changed)
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

    @property
    def show_browser(self) -> QCheckBox:
        """Whether the browser is shown."""
        box = self.form.fields["show_browser"]
        assert isinstance(box, QCheckBox)
        return box

    def options(self) -> Options:
        """How the crawl is to go about it."""
        return self.form.values()

    def source(self) -> Source:
        """What is to bring the models."""
        return self.form.source_values()

    def set_options(self, options: Options, source: Source | None = None) -> None:
        """Set all of them."""
        self.form.set_values(options, source or Source())

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

    def open_token(self) -> None:
        """Show the sheet for the API token."""
        self.token_sheet.open_at(self.token)

    # -- inside ------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        super()._refresh()
        self.form.set_enabled(not self._running)
        self.token.setEnabled(not self._running)

    def _search(self, words: str, most: int) -> None:
        filters = self.sheet.form.values(self.options().policy)
        self.search_requested.emit(SearchRequest(words, most, filters))

    def _stop_search(self) -> None:
        self.stop_search.setEnabled(False)
        self.search_cancelled.emit()


class SearchSheet(Sheet):
    """What to search for."""

    search_requested = Signal(str, int)
    """Words, and models at most."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, "Search Sketchfab", 380)
        self.form = SearchForm()
        self.words, self.most = self.form.words, self.form.most
        self.words.returnPressed.connect(self._go)
        self.licences = label("", "small", wrap=True)
        self.button = QPushButton("Make a list")
        self.button.setToolTip("Search, and make a list of what is found; nothing is downloaded yet")
        self.button.clicked.connect(lambda: self._go())
        self.column.addWidget(self.form)
        self.column.addWidget(self.licences)
        self.column.addWidget(self.button, 0, Qt.AlignmentFlag.AlignRight)

    def open_at(self, button: QWidget, licences: str) -> None:
        """Show beside a button."""
        self.licences.setText(f"Of the licences in the options: {licences}. What is tagged NoAI is left out.")
        self.show_at(button)
        self.words.setFocus()
        self.words.selectAll()

    def _go(self) -> None:
        words = " ".join(self.words.text().split())
        if not words and self.form.differing == []:
            self.words.setFocus()
            return
        self.hide()
        self.search_requested.emit(words, self.most.value())


class TokenSheet(Sheet):
    """The API token, which goes to the system's keyring and is not shown."""

    given = Signal(object)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, "Sketchfab's API token", 360)
        self.secret = QLineEdit(echoMode=QLineEdit.EchoMode.Password)
        self.secret.setAccessibleName("API token")
        self.secret.returnPressed.connect(self._keep)
        self.keep, self.forget = QPushButton("Keep"), QPushButton("Forget")
        self.keep.setToolTip("Put the token into the system's keyring, in place of one that is there")
        self.forget.setToolTip("Take the token out of the system's keyring")
        self.keep.clicked.connect(lambda: self._keep())
        self.forget.clicked.connect(lambda: self._give(None))
        text = (
            "The quickest and most reliable way to the models, without a browser and its login. It stands on "
            "Sketchfab's site under Settings, Password & API; an access token of OAuth is taken as well. It is kept in "
            "the system's keyring, and sent to the API alone."
        )
        self.column.addWidget(label(text, "small", wrap=True))
        self.column.addWidget(self.secret)
        self.column.addWidget(holder(row(None, self.forget, self.keep, spacing=8)))

    def open_at(self, button: QWidget) -> None:
        """Show beside a button, empty."""
        self.secret.clear()
        self.show_at(button)
        self.secret.setFocus()

    def _keep(self) -> None:
        if secret := self.secret.text().strip():
            self._give(secret)
        else:
            self.secret.setFocus()

    def _give(self, secret: str | None) -> None:
        self.secret.clear()
        self.hide()
        self.given.emit(secret)
