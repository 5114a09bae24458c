"""Before the screening: what is screened, where the decisions go, who decides, and by which criterion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from widgets.kit.banner import Banner
from widgets.kit.buttons import IconButton, with_key
from widgets.kit.labels import label
from widgets.kit.panel import Panel
from widgets.kit.theme import theme
from widgets.kit.words import count
from widgets.screen.contents import Found, StartRequest

LISTS = "*.txt *.csv *.tsv *.list *.urls"
_WIDTH = 640


class StartPage(QWidget):
    """Asks for everything; `look_wanted` asks what a list or folder holds, `start_requested` begins."""

    look_wanted = Signal(object, object)
    """Path of what is screened, and of the folder for the decisions or None for the usual one."""
    start_requested = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("page")
        self.last_folder = str(Path.home())
        self._found: Found | None = None
        self._looking: tuple[Path, Path | None] | None = None
        """What is being looked at now, and the folder for its decisions if one was named."""
        self._crawl: Path | None = None
        self._kept: dict[QPlainTextEdit, str] = {}
        self._busy = self._begin_when_found = False
        self._make_fields()
        self._panel = self._build_panel()
        inner = QWidget()
        row = QHBoxLayout(inner)
        row.setContentsMargins(12, 12, 12, 12)
        row.addStretch(1)
        row.addWidget(self._panel)
        row.addStretch(1)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(inner)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(area)
        theme.changed.connect(self._restyle)
        self._restyle()
        self._refresh()

    def _make_fields(self) -> None:
        self.source = QLineEdit()
        self.source.setPlaceholderText("A list of addresses or files, or a folder of models; drop it here")
        self.source.setAccessibleName("What is screened")
        self.source.editingFinished.connect(self._source_edited)
        self.list_button = QPushButton("List…")
        self.list_button.setToolTip(with_key("A file with one address or path a line", "Ctrl+O"))
        self.list_button.clicked.connect(lambda: self.open_list())
        self.folder_button = QPushButton("Folder…")
        self.folder_button.setToolTip(with_key("A folder of models, such as a crawl's", "Ctrl+Shift+O"))
        self.folder_button.clicked.connect(lambda: self.open_folder())
        self.crawl_button = QPushButton("Last crawl")
        self.crawl_button.clicked.connect(lambda: self._crawl and self.choose(self._crawl))
        self.crawl_button.hide()
        self.gold: Path | None = None
        self.gold_button = QPushButton("Gold set…")
        self.gold_button.setToolTip(
            "A table (CSV) with the columns item and decision, whose decisions are known to be right: how well you "
            "agree with it is shown while you screen. A gold.csv beside the list is found by itself"
        )
        self.gold_button.clicked.connect(lambda: self._choose_gold())
        self.note = label("", "small", wrap=True)
        self.folder = QLineEdit()
        self.folder.setPlaceholderText("Beside the list")
        self.folder.setAccessibleName("Folder for the decisions")
        self.folder.setToolTip("selected.txt, rejected.txt, skipped.txt and decisions.jsonl lie there")
        self.folder.editingFinished.connect(self._folder_edited)
        self.annotator = QLineEdit()
        self.annotator.setPlaceholderText("Your name, as it is recorded")
        self.annotator.setAccessibleName("Annotator")
        self.criterion, self.reasons = QPlainTextEdit(), QPlainTextEdit()
        for field, name in ((self.criterion, "Criterion"), (self.reasons, "Reasons")):
            field.setObjectName("criterion")
            field.setAccessibleName(name)
            field.setTabChangesFocus(True)
        self.reasons.setToolTip("One a line, nine at most: while you screen, the keys 1 to 9 give them")
        self.start = QPushButton("Begin")
        self.start.setObjectName("primary")
        self.start.setToolTip(with_key("Show the first model without a decision", "Ctrl+Return"))
        self.start.clicked.connect(lambda: self.request())
        self.banner = Banner()

    def _build_panel(self) -> Panel:
        panel = Panel(spacing=7)
        panel.body.setContentsMargins(26, 22, 26, 24)
        panel.body.addWidget(label("Screen models", "title"))
        panel.body.addWidget(
            label(
                "Go through thousands of models and decide which are kept. Every decision is on the disk before the "
                "next model shows; close at any time and go on later.",
                "muted",
                wrap=True,
            )
        )
        panel.body.addSpacing(8)
        panel.body.addWidget(self.banner)
        panel.body.addWidget(label("What is screened", "muted"))
        panel.body.addWidget(self.source)
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        for button in (self.list_button, self.folder_button, self.crawl_button, self.gold_button):
            buttons.addWidget(button)
        buttons.addSpacing(6)
        buttons.addWidget(self.note, 1)
        panel.body.addLayout(buttons)
        panel.body.addSpacing(6)
        browse = IconButton("folder", "Folder for the decisions", self._choose_folder)
        panel.body.addLayout(
            _columns(("Decisions go into", [self.folder, browse], 3), ("Annotator", [self.annotator], 2))
        )
        panel.body.addSpacing(6)
        panel.body.addLayout(
            _columns(
                ("Criterion, shown beside each model", [self.criterion], 5), ("Reasons, keys 1 to 9", [self.reasons], 3)
            ),
            1,
        )
        panel.body.addSpacing(8)
        panel.body.addWidget(self.start)
        return panel

    # -- content -----------------------------------------------------------------------------------------

    def choose(self, source: Path, folder: Path | None = None) -> None:
        """Take a list or folder, and ask what it holds."""
        self.source.setText(str(source))
        self.last_folder = str(source.parent)
        self.banner.hide()
        self.note.setText("Reading…")
        self._found, self._looking = None, (source, folder)
        self._begin_when_found = False
        self._refresh()
        self.look_wanted.emit(source, folder)

    def look_again(self) -> None:
        """Ask anew what the list or folder holds."""
        if self.source.text().strip():
            folder = self.folder.text().strip()
            self.choose(Path(self.source.text().strip()).expanduser(), Path(folder).expanduser() if folder else None)

    @property
    def ready(self) -> bool:
        """Whether there is something to begin with."""
        return self._found is not None and not self._busy

    def offer_crawl(self, folder: Path | None) -> None:
        """Offer the models of the last crawl."""
        self._crawl = folder
        self.crawl_button.setVisible(folder is not None)
        self.crawl_button.setToolTip(f"The models that were collected last: {folder}")

    def show_found(self, found: Found) -> None:
        """Say what a list or folder holds."""
        if self._looking not in ((found.source, None), (found.source, found.folder)):
            return  # another was asked for meanwhile
        self._looking = None
        self.folder.setText(str(found.folder))
        if found.problem:
            self.note.setText("")
            self.banner.show_message(found.problem)
            self._found, self._begin_when_found = None, False
        else:
            self._found = found
            words = count(found.items, "item")
            if found.decided:
                words += f", {found.decided:,} decided"
            self.note.setText(words)
            for field, text in ((self.criterion, found.criterion), (self.reasons, found.reasons)):
                if field.toPlainText() in ("", self._kept.get(field, "")):
                    self._keep(field, text)
        self._refresh()
        if self._begin_when_found:
            self.request()

    def set_usual(self, criterion: str, reasons: str) -> None:
        """Show the usual texts, where nothing else is known yet."""
        for field, text in ((self.criterion, criterion), (self.reasons, reasons)):
            if not field.toPlainText():
                self._keep(field, text)

    def set_busy(self, busy: bool) -> None:
        """While the list is opened."""
        self._busy = busy
        self._refresh()

    def request(self) -> None:
        """Begin, if there is something to screen."""
        if self._busy:
            return
        self._source_edited()  # a path that was typed counts without Return
        self._folder_edited()
        if self._found is None and self.source.text().strip():
            if self._looking is None:
                self.look_again()
            self._begin_when_found = True
            return
        if self._found is None:
            self.banner.show_message("Choose a list or a folder of models first.", "warning")
            return
        folder = Path(self.folder.text().strip() or self._found.folder).expanduser()
        who = self.annotator.text().strip()
        criterion, reasons = self.criterion.toPlainText().strip(), self.reasons.toPlainText().strip()
        self.start_requested.emit(StartRequest(self._found.source, folder, who, criterion, reasons, self.gold))

    def open_list(self) -> None:
        """Ask for a list."""
        name, _ = QFileDialog.getOpenFileName(self, "Open a list", self.last_folder, f"Lists ({LISTS});;All (*)")
        if name:
            self.choose(Path(name))

    def open_folder(self) -> None:
        """Ask for a folder of models."""
        name = QFileDialog.getExistingDirectory(self, "Folder of models", self.last_folder)
        if name:
            self.choose(Path(name))

    # -- inside ------------------------------------------------------------------------------------------

    def _keep(self, field: QPlainTextEdit, text: str) -> None:
        self._kept[field] = text.strip()
        field.setPlainText(text.strip())

    def take_gold(self, path: Path) -> None:
        """Take a gold set for what is screened next."""
        self.gold = path
        self.gold_button.setText(path.name)

    def _choose_gold(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Gold set", self.last_folder, "Tables (*.csv);;All (*)")
        if name:
            self.take_gold(Path(name))

    def _choose_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Folder for the decisions", self.folder.text())
        if name:
            self.folder.setText(name)
            self._folder_edited()

    def _source_edited(self) -> None:
        text = self.source.text().strip()
        path = Path(text).expanduser()
        looking = self._looking is not None and path == self._looking[0]
        if text and not looking and (self._found is None or path != self._found.source):
            self.choose(path)

    def _folder_edited(self) -> None:
        text = self.folder.text().strip()
        if self._found is not None and text and Path(text).expanduser() != self._found.folder:
            self.choose(self._found.source, Path(text).expanduser())

    def _refresh(self) -> None:
        self.start.setEnabled(not self._busy)
        begun = self._found is not None and self._found.decided
        self.start.setText("Opening…" if self._busy else "Go on" if begun else "Begin")

    def _restyle(self) -> None:
        self._panel.setFixedWidth(theme.px(_WIDTH))
        self._panel.setMaximumHeight(theme.px(660))
        for field in (self.criterion, self.reasons):
            field.setMinimumHeight(theme.px(96))

    def keyPressEvent(self, event: Any) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.source.hasFocus():
            return
        super().keyPressEvent(event)


def _columns(*columns: tuple[str, list[QWidget], int]) -> QHBoxLayout:
    """Fields side by side, each under its words and with its share of the width."""
    out = QHBoxLayout()
    out.setSpacing(16)
    for words, fields, stretch in columns:
        column, row = QVBoxLayout(), QHBoxLayout()
        column.setSpacing(7)
        row.setSpacing(4)
        column.addWidget(label(words, "muted"))
        for at, field in enumerate(fields):
            row.addWidget(field, 0 if at else 1)
        column.addLayout(row)
        out.addLayout(column, stretch)
    return out
