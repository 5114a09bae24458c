"""A table of all models, and beside it the one that is chosen, with what can be done about it.

The page shows what it is given and says by signals what the user wants; it looks for nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, QRect, QSize, Qt, Signal
from PySide6.QtGui import QFontMetrics, QKeySequence, QPainter, QShortcut
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from engine.core.progress import Progress
from widgets.kit.banner import Banner
from widgets.kit.buttons import IconButton, with_key
from widgets.kit.labels import label
from widgets.kit.panel import Panel
from widgets.kit.theme import theme

COLUMNS = ("Model", "State", "Size", "Licence", "Origin")
STATES = {
    "built in": ("Built in", "good"),
    "present": ("Found", "good"),
    "partly": ("Partly fetched", "warning"),
    "missing": ("Missing", "muted"),
    "damaged": ("Damaged", "error"),
}
"""Words and colour of each state."""
ENTRY = Qt.ItemDataRole.UserRole

Index = QModelIndex | QPersistentModelIndex


@dataclass(frozen=True)
class ModelEntry:
    """A model as the page shows it."""

    key: str
    """Its name in the registry of weights."""
    label: str
    purpose: str
    licence: str
    origin: str
    """Where it is published; empty for what comes with the program."""
    size: int | None
    """Bytes of all its files, None where nobody knows."""
    files: tuple[tuple[str, int | None], ...] = ()
    """Name and bytes of each file that it consists of."""
    state: str = "missing"
    """One of `STATES`."""
    path: Path | None = None
    source: str = ""
    """How it was found: `settings`, `environment`, `hub cache`, `package`, `built in`."""


@dataclass(frozen=True)
class Work:
    """What is being done to a model just now."""

    words: str
    """E.g. `Fetching`."""
    done: float = 0.0
    total: float = 0.0
    """Bytes; 0 for a total that is not known."""
    message: str = ""
    cancellable: bool = True

    @property
    def short(self) -> str:
        """For the table."""
        return f"{self.words}, {100 * self.done / self.total:.0f} %" if self.total else f"{self.words}…"

    @property
    def long(self) -> str:
        """For the side."""
        amount = f": {bytes_text(self.done)} of {bytes_text(self.total)}" if self.total else "…"
        return f"{self.message or self.words}{amount}"


class ModelsPage(QWidget):
    """All models: state, size, licence, origin; fetch, use a file, check, remove."""

    fetch_requested = Signal(str)
    cancel_requested = Signal(str)
    """Stop what is being done to this model."""
    use_requested = Signal(str, object)
    """Take this file or folder for this model."""
    check_requested = Signal(str)
    remove_requested = Signal(str)
    """Forget the path of a file of the user's, or delete what was fetched."""
    folder_requested = Signal(object)
    """Show this path in the file manager."""
    closed = Signal()
    """Back to where the user came from."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("page")
        self._work: dict[str, Work] = {}
        self._notes: dict[str, tuple[str, str]] = {}
        self._last_folder = str(Path.home())
        self._wanted = ""

        self.model = _Table(self._work)
        self.table = QTableView()
        self.table.setModel(self.model)
        self.table.setItemDelegate(_Delegate(self.table))
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.table.setTabKeyNavigation(False)
        self.table.setShowGrid(False)
        self.table.setWordWrap(False)
        self.table.setAccessibleName("Models")
        self.table.verticalHeader().hide()
        header = self.table.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionsClickable(False)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        self.table.selectionModel().currentRowChanged.connect(lambda: self._show_current())

        list_panel = Panel(spacing=8)
        list_panel.top.addWidget(IconButton("left", with_key("Back", "Esc"), self.closed.emit))
        list_panel.top.addWidget(label("Models", "heading"))
        list_panel.top.addStretch(1)
        self._total = label("", "muted")
        list_panel.top.addWidget(self._total)
        list_panel.body.addLayout(list_panel.top)
        list_panel.body.addWidget(self.table, 1)
        self._places = label("", "small", wrap=True)
        self._places.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        list_panel.body.addWidget(self._places)

        self.side = self._build_side()
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 12, 12, 12)
        row.setSpacing(12)
        row.addWidget(list_panel, 1)
        row.addWidget(self.side)
        self._bind_keys()
        theme.changed.connect(self._restyle)
        self._restyle()
        self._show_current()

    def _build_side(self) -> Panel:
        side = Panel(spacing=10)
        self._title = label("", "heading", wrap=True)
        self._purpose = label("", "muted", wrap=True)
        self.banner = Banner()
        self._facts = QGridLayout()
        self._facts.setHorizontalSpacing(14)
        self._facts.setVerticalSpacing(6)
        self._facts.setColumnStretch(1, 1)
        self._values: dict[str, QLabel] = {}
        for at, name in enumerate(("State", "Where", "Files", "Licence", "Origin")):
            value = label("", wrap=True)
            value.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            value.setTextFormat(Qt.TextFormat.PlainText)
            self._facts.addWidget(label(name, "muted"), at, 0, Qt.AlignmentFlag.AlignTop)
            self._facts.addWidget(value, at, 1)
            self._values[name] = value
        self.bar = QProgressBar(textVisible=False)
        self._progress = label("", "small", wrap=True)

        self.fetch = self._button(
            "Fetch", "Fetch this model from the hub; nothing is fetched unasked", "F", self._fetch
        )
        self.fetch.setObjectName("primary")
        self.cancel = self._button("Cancel", "Stop; what has come stays, to go on from there", "Esc", self._cancel)
        self.use_file = self._button("Use a file…", "Use weights that lie on this machine", "U", self._use_file)
        self.use_folder = self._button(
            "Use a folder…", "Use a folder that holds the model", "Shift+U", self._use_folder
        )
        self.check = self._button("Check", "Compare checksums and look whether the model fits", "C", self._check)
        self.folder = self._button("Show", "Show where it lies, in the file manager", "S", self._show_folder)
        self.remove = self._button("Remove", "", "Del", self._remove)
        own = QHBoxLayout()
        rest = QHBoxLayout()
        for line, buttons in ((own, (self.use_file, self.use_folder)), (rest, (self.check, self.folder, self.remove))):
            line.setSpacing(8)
            for button in buttons:
                line.addWidget(button, 1)

        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(12)
        column.addWidget(self._purpose)
        column.addWidget(self.banner)
        column.addLayout(self._facts)
        column.addStretch(1)
        area = QScrollArea(widgetResizable=True)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setWidget(inside)
        side.top.addWidget(self._title, 1)
        side.body.addLayout(side.top)
        side.body.addWidget(area, 1)
        side.body.addWidget(self._progress)
        side.body.addWidget(self.bar)
        side.body.addWidget(self.fetch)
        side.body.addWidget(self.cancel)
        side.body.addLayout(own)
        side.body.addLayout(rest)
        return side

    def _button(self, text: str, tip: str, key: str, act: Callable[[], Any]) -> QPushButton:
        button = QPushButton(text)
        button.setToolTip(with_key(tip, key))
        button.clicked.connect(lambda: act())
        return button

    def _bind_keys(self) -> None:
        # Not Esc: the window asks `escape`, which leaves the page where there is nothing to cancel.
        for key, button in (
            ("F", self.fetch),
            ("U", self.use_file),
            ("Shift+U", self.use_folder),
            ("C", self.check),
            ("S", self.folder),
            ("Del", self.remove),
        ):
            shortcut = QShortcut(QKeySequence(key), self, context=Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(button.click)

    # -- content -----------------------------------------------------------------------------------------

    def set_entries(self, entries: list[ModelEntry]) -> None:
        """Show these models; the one that is chosen stays chosen."""
        current = self.current
        self.model.set_entries(entries)
        keys = [entry.key for entry in entries]
        wanted = self._wanted or (current.key if current is not None else "")
        row = keys.index(wanted) if wanted in keys else 0
        if entries:
            self.table.setCurrentIndex(self.model.index(row, 0))
            self._wanted = ""
        here = [e for e in entries if e.state in ("built in", "present")]
        self._total.setText(f"{len(here)} of {len(entries)} are here")
        self._restyle()
        self._show_current()

    def set_places(self, text: str) -> None:
        """Say where models are looked for."""
        self._places.setText(text)

    def choose(self, key: str) -> None:
        """Go to a model; before there are any, when they come."""
        self._wanted = "" if self.model.entries else key
        for row, entry in enumerate(self.model.entries):
            if entry.key == key:
                self.table.setCurrentIndex(self.model.index(row, 0))

    @property
    def current(self) -> ModelEntry | None:
        """The model that is chosen."""
        row = self.table.currentIndex().row()
        return self.model.entries[row] if 0 <= row < len(self.model.entries) else None

    def set_work(self, key: str, words: str | None, *, cancellable: bool = True) -> None:
        """Say what is being done to a model, None when it ended."""
        if words is None:
            self._work.pop(key, None)
        else:
            self._work[key] = Work(words, cancellable=cancellable)
            self._notes.pop(key, None)
        self._touch(key)

    def take_progress(self, key: str, words: str, event: Progress) -> None:
        """Show how far the work on a model is: `done` and `total` are bytes."""
        if (work := self._work.get(key)) is not None:
            self._work[key] = Work(words, event.done, event.total, event.message, work.cancellable)
            self._touch(key)

    def show_note(self, key: str, text: str, kind: str = "info") -> None:
        """Say something about a model, as `info`, `warning` or `error`; it stays until something is done to it."""
        self._notes[key] = (kind, text)
        self._touch(key)

    def escape(self) -> None:
        """Stop what is being done to the chosen model, else leave the page."""
        if self.cancel.isVisible() and self.cancel.isEnabled():
            self._cancel()
        else:
            self.closed.emit()

    # -- inside ------------------------------------------------------------------------------------------

    def _touch(self, key: str) -> None:
        self.model.touch(key)
        if self.current is not None and self.current.key == key:
            self._show_current()

    def _show_current(self) -> None:
        entry = self.current
        self.side.setVisible(entry is not None)
        if entry is None:
            return
        work = self._work.get(entry.key)
        self._title.setText(entry.label)
        self._purpose.setText(entry.purpose)
        words = STATES[entry.state][0]
        sources = {
            "settings": "a file of yours",
            "environment": "in the folder that ORIEL_WEIGHTS names",
            "hub cache": "in rembg's folder" if entry.origin.endswith("rembg") else "in the hub's cache",
            "package": "in a package that the set-up installs",
        }
        found = sources.get(entry.source)
        self._values["State"].setText(f"{words}, {found}" if found else words)
        self._values["Where"].setText(str(entry.path) if entry.path is not None else "nowhere on this machine")
        files = [f"{name} ({bytes_text(size)})" if size else name for name, size in entry.files]
        self._values["Files"].setText("\n".join(files) or "one file")
        self._values["Licence"].setText(entry.licence)
        self._values["Origin"].setText(entry.origin or "made with Oriel")
        built_in, here = entry.state == "built in", entry.path is not None
        fetchable = bool(entry.origin) and not built_in
        size = f"  {bytes_text(entry.size)}" if entry.size else ""
        verb = {"partly": "Go on fetching", "damaged": "Fetch again"}.get(entry.state, "Fetch")
        self.fetch.setText(f"{verb}{size}")
        self.fetch.setVisible(work is None and fetchable and entry.state != "present")
        self.cancel.setVisible(work is not None)
        self.cancel.setEnabled(work is not None and work.cancellable)
        for button in (self.use_file, self.use_folder):
            button.setVisible(not built_in)
            button.setEnabled(work is None)
        self.check.setEnabled(work is None and here)
        self.folder.setEnabled(here)
        mine = entry.source == "settings"
        removable = mine or entry.source == "hub cache" or entry.state == "partly"
        self.remove.setEnabled(work is None and removable)
        self.remove.setText("Forget" if mine else "Remove")
        why = {
            "environment": "It lies in your own folder, which Oriel leaves alone",
            "built in": "It comes with Oriel and stays",
        }.get(entry.source, "There is nothing to remove")
        tip = "Use this file no longer; it stays where it is" if mine else "Delete what was fetched"
        self.remove.setToolTip(with_key(tip, "Del") if removable else why)
        self.bar.setVisible(work is not None)
        self._progress.setVisible(work is not None)
        if work is not None:
            self.bar.setRange(0, 1000 if work.total else 0)
            self.bar.setValue(round(1000 * work.done / work.total) if work.total else 0)
            self._progress.setText(work.long)
        note = self._notes.get(entry.key)
        if note is None:
            self.banner.hide()
        elif (self.banner.property("kind"), self.banner.text.text()) != note or not self.banner.isVisibleTo(self):
            self.banner.show_message(note[1], note[0])

    def _fetch(self) -> None:
        if (entry := self.current) and self.fetch.isVisibleTo(self):
            self.fetch_requested.emit(entry.key)

    def _cancel(self) -> None:
        if entry := self.current:
            self.cancel.setEnabled(False)
            self.cancel_requested.emit(entry.key)

    def _use_file(self) -> None:
        if entry := self.current:
            kinds = "Weights (*.ckpt *.pth *.pt *.bin *.safetensors);;All (*)"
            name, _ = QFileDialog.getOpenFileName(self, f"Weights of {entry.label}", self._last_folder, kinds)
            self._use(entry, name)

    def _use_folder(self) -> None:
        if entry := self.current:
            self._use(entry, QFileDialog.getExistingDirectory(self, f"Folder of {entry.label}", self._last_folder))

    def _use(self, entry: ModelEntry, name: str) -> None:
        if name:
            self._last_folder = str(Path(name).parent)
            self.use_requested.emit(entry.key, Path(name))

    def _check(self) -> None:
        if entry := self.current:
            self.check_requested.emit(entry.key)

    def _show_folder(self) -> None:
        if (entry := self.current) and entry.path is not None:
            self.folder_requested.emit(entry.path)

    def _remove(self) -> None:
        entry = self.current
        if entry is None:
            return
        if entry.source == "settings":
            self.remove_requested.emit(entry.key)
            return
        size = f"{bytes_text(entry.size)} are deleted. " if entry.size else ""
        text = f"{size}Other programs that use the hub's cache will miss them as well."
        key = entry.key
        self._notes.pop(key, None)
        self.banner.show_message(text, "warning", {"Delete": lambda: self.remove_requested.emit(key)})

    def _restyle(self) -> None:
        self.side.setFixedWidth(theme.px(370))
        metrics = QFontMetrics(theme.font())
        self.table.verticalHeader().setDefaultSectionSize(2 * metrics.height() + theme.px(16))
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in range(1, len(COLUMNS)):
            texts = [COLUMNS[column], *(self.model.text(entry, column) for entry in self.model.entries)]
            widest = max(metrics.horizontalAdvance(text) for text in texts) + theme.px(22)
            if column == 1:
                widest = max(widest, metrics.horizontalAdvance("Fetching, 100 %") + theme.px(34))
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)
            header.resizeSection(column, min(widest, theme.px(170)))

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        self.table.setFocus()


class _Table(QAbstractTableModel):
    def __init__(self, work: dict[str, Work]) -> None:
        super().__init__()
        self.entries: list[ModelEntry] = []
        self._work = work

    def set_entries(self, entries: list[ModelEntry]) -> None:
        self.beginResetModel()
        self.entries = entries
        self.endResetModel()

    def touch(self, key: str) -> None:
        for row, entry in enumerate(self.entries):
            if entry.key == key:
                self.dataChanged.emit(self.index(row, 0), self.index(row, len(COLUMNS) - 1))

    def text(self, entry: ModelEntry, column: int) -> str:
        if column == 1 and (work := self._work.get(entry.key)) is not None:
            return work.short
        size = bytes_text(entry.size) if entry.size else "unknown"
        return (entry.label, STATES[entry.state][0], size, entry.licence, entry.origin or "Oriel")[column]

    def rowCount(self, parent: Any = None) -> int:
        return len(self.entries)

    def columnCount(self, parent: Any = None) -> int:
        return len(COLUMNS)

    def headerData(self, section: int, orientation: Any, role: int = 0) -> Any:
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return COLUMNS[section]
        return None

    def data(self, index: Index, role: int = 0) -> Any:
        entry = self.entries[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return self.text(entry, index.column())
        if role == Qt.ItemDataRole.ToolTipRole:
            return entry.purpose if index.column() == 0 else self.text(entry, index.column())
        if role == Qt.ItemDataRole.AccessibleDescriptionRole and index.column() == 0:
            return f"{entry.purpose} {self.text(entry, 1)}"
        return entry if role == ENTRY else None


class _Delegate(QStyledItemDelegate):
    """Name over purpose; the state with a dot in its colour; everything else as one line."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        entry: ModelEntry = index.data(ENTRY)
        painter.save()
        state = option.state
        chosen = bool(state & QStyle.StateFlag.State_Selected)
        if chosen:
            painter.fillRect(option.rect, theme.color("selection"))
        if chosen and index.column() == 0:
            bar = QRect(option.rect.left(), option.rect.top(), theme.px(3), option.rect.height())
            focused = bool(state & QStyle.StateFlag.State_Active) and option.widget and option.widget.hasFocus()
            painter.fillRect(bar, theme.color("accent" if focused else "strong_border"))
        room = option.rect.adjusted(theme.px(12), 0, -theme.px(8), 0)
        normal = QFontMetrics(theme.font())
        if index.column() == 0:
            bold = theme.font(bold=True)
            top = room.center().y() - normal.height()
            first = QRect(room.left(), top, room.width(), normal.height() + 1)
            painter.setFont(bold)
            painter.setPen(theme.color("text"))
            painter.drawText(first, _LEFT, _elided(QFontMetrics(bold), entry.label, room.width()))
            small = theme.font(12)
            second = QRect(room.left(), first.bottom() + theme.px(2), room.width(), normal.height())
            painter.setFont(small)
            painter.setPen(theme.color("muted"))
            painter.drawText(second, _LEFT, _elided(QFontMetrics(small), entry.purpose, room.width()))
        else:
            text = str(index.data())
            painter.setFont(theme.font())
            painter.setPen(theme.color("text" if index.column() == 1 else "muted"))
            if index.column() == 1:
                words, color = STATES[entry.state]
                side = theme.px(8)
                dot = QRect(room.left(), room.center().y() - side // 2, side, side)
                painter.setRenderHint(QPainter.RenderHint.Antialiasing)
                painter.setBrush(theme.color(color if text == words else "accent"))
                painter.setPen(Qt.PenStyle.NoPen)
                painter.drawEllipse(dot)
                painter.setPen(theme.color("text"))
                room.setLeft(dot.right() + theme.px(8))
            painter.drawText(room, _LEFT, _elided(normal, text, room.width()))
        painter.restore()

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(theme.px(60), theme.px(48))


_LEFT = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft


def _elided(metrics: QFontMetrics, text: str, width: int) -> str:
    return metrics.elidedText(text, Qt.TextElideMode.ElideRight, width)


def bytes_text(size: float) -> str:
    """A number of bytes as people write it: `512 kB`, `3.4 MB`, `15 GB`."""
    for unit, worth in (("GB", 1e9), ("MB", 1e6)):
        if size >= worth:
            return f"{size / worth:.1f} {unit}" if size < 10 * worth else f"{size / worth:.0f} {unit}"
    return f"{size / 1e3:.0f} kB"
