"""The Render tab: models and settings at the left, the table of models in the middle, the chosen model at the right.

The tab shows what it is given and says by signals what the user wants; it reads and renders nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PySide6.QtCore import QMimeData, Qt, QTimer, Signal
from PySide6.QtGui import QGuiApplication, QImage
from PySide6.QtWidgets import (
    QButtonGroup,
    QHBoxLayout,
    QLineEdit,
    QMenu,
    QProgressBar,
    QSizePolicy,
    QSplitter,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from engine.rendering.jobs import ModelState, RenderSettings, RenderTotals
from widgets.crawl.incoming import folder_in, list_in
from widgets.job_tab import JobTab, action_button
from widgets.kit.actions import bind
from widgets.kit.banner import Banner, MessagePage
from widgets.kit.buttons import IconButton, with_key
from widgets.kit.labels import ElidedLabel, label
from widgets.kit.panel import Beside, Panel
from widgets.kit.words import amount, count, duration, plain
from widgets.render.details import DetailsPanel
from widgets.render.setup_panel import MODEL_SUFFIXES, SetupPanel
from widgets.render.sheet import SheetOverlay
from widgets.render.table import ModelTable, ModelView
from widgets.render.trial import TrialFrame
from widgets.render.words import RUN_STATES, STATES

_SEARCH_DELAY_MS = 120
_PICTURES_DELAY_MS = 60


@dataclass(frozen=True)
class Opened:
    """Models and a folder as they were found on the disk."""

    source: Path | None = None
    folder: Path | None = None
    models: list[ModelState] = field(default_factory=list)
    totals: RenderTotals | None = None
    """Of the last run, or of one that another process is doing now."""
    settings: RenderSettings | None = None
    """That the folder was begun with."""
    elsewhere: bool = False
    """Whether another process renders into the folder now."""
    problem: str = ""
    """Why the models or the folder cannot be used."""


class RenderTab(JobTab):
    """Everything of a rendering on one page."""

    source_chosen = Signal(object)
    folder_chosen = Signal(object)
    start_requested = Signal()
    retry_requested = Signal(list)
    """Render the models of these keys again."""
    cancel_requested = Signal(list)
    """Leave the models of these keys out."""
    first_requested = Signal(list)
    """Render the models of these keys before the others."""
    reload_requested = Signal()
    details_wanted = Signal(str)
    log_wanted = Signal()
    preview_requested = Signal(str)
    test_requested = Signal(str, str)
    test_cancelled = Signal()
    large_wanted = Signal(str, str, bool)
    """The whole picture of a model's view is wanted, or its depth."""
    pictures_wanted = Signal(list)
    """Pictures beside the names of these finished models."""
    folder_requested = Signal(str)
    """Show the folder of a model."""
    blender_changed = Signal()
    options_changed = Signal()

    FILTERS = ("", "working", "waiting", "done", "failed", "cancelled")

    def __init__(self) -> None:
        super().__init__()
        self._totals: RenderTotals | None = None
        self._wanted: list[str] = []

        self.setup = SetupPanel()
        self.setup_panel = Panel("Models and settings", spacing=8)
        self.setup_panel.top.addWidget(
            IconButton("left", with_key("Hide models and settings", "Ctrl+I"), self.toggle_setup)
        )
        self.setup_panel.body.addWidget(self.setup, 1)
        self.setup_panel.setMinimumWidth(270)

        self.model = ModelTable()
        self.table = ModelView(self.model)
        self.details = DetailsPanel()
        self.details.setMinimumWidth(330)
        middle = self._build_middle()
        middle.setMinimumWidth(400)

        self.columns = QSplitter()
        for at, (panel, stretch) in enumerate(((self.setup_panel, 0), (middle, 5), (self.details, 4))):
            self.columns.addWidget(panel)
            self.columns.setStretchFactor(at, stretch)
        self.columns.setChildrenCollapsible(False)
        self.columns.setHandleWidth(12)
        self.columns.setSizes([276, 576, 380])
        box = QHBoxLayout(self)
        box.setContentsMargins(12, 12, 12, 12)
        box.addWidget(self.columns)
        self.overlay = SheetOverlay(self, self.details.sheet)
        self.test = TrialFrame(self)
        self._connect()
        self._bind_keys()
        self._show_models()
        self._refresh()

    def _build_middle(self) -> Panel:
        middle = Panel(spacing=8)
        self.title = ElidedLabel("Render", "heading")
        self.state = label("", "muted")
        self.options_button = IconButton("options", with_key("Models and settings", "Ctrl+I"), self.toggle_setup)
        self.start = action_button("Start", "Render the models; goes on where an earlier run ended", "Ctrl+R")
        self.pause = action_button("Pause", "Begin no further model; those at work go on", "Space")
        self.stop = action_button("Stop", "Stop now; finished models are kept, and the run goes on from there", "X")
        self.retry = action_button("Retry failed", "Render all failed models again", "F")
        self.folder = action_button("Open folder", "Open the folder of the pictures", "Shift+S")
        middle.top.addWidget(self.options_button)
        middle.top.addWidget(self.title, 1)
        middle.top.addWidget(self.state)
        middle.top.addSpacing(4)
        for button in (self.start, self.pause, self.stop, self.retry, self.folder):
            middle.top.addWidget(button)
        self.bar = QProgressBar(textVisible=False)
        self.totals = ElidedLabel("")
        self.pace = label("", "muted")
        line = QHBoxLayout()
        line.setSpacing(14)
        line.addWidget(self.totals, 1)
        line.addWidget(self.pace)
        self.banner = Banner()

        self._filters = QButtonGroup(self)
        states, find = QHBoxLayout(), QHBoxLayout()
        states.setSpacing(0)
        find.setSpacing(6)
        for at, state in enumerate(self.FILTERS):
            button = QToolButton()
            button.setObjectName("segment")
            button.setCheckable(True)
            button.setChecked(at == 0)
            button.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
            words = STATES[state][0].lower() if state else "all"
            tip = f"Show the models that are {words}" if state else "Show all models"
            button.setToolTip(with_key(tip, f"Alt+{at + 1}"))
            self._filters.addButton(button, at)
            states.addWidget(button)
        states.addStretch(1)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Find")
        self.search.setToolTip(with_key("Show the models in whose name or message these words occur", "Ctrl+F"))
        self.search.setMinimumWidth(80)
        self.search.setClearButtonEnabled(True)
        self.follow = IconButton("follow", with_key("Keep the models at work in view", "L"))
        self.follow.setCheckable(True)
        self.follow.setChecked(True)
        find.addWidget(self.search, 1)
        find.addWidget(self.follow)

        self.invitation = Invitation()
        self._no_match = label("No model fits the filter.", "muted")
        self._no_match.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._tables = QStackedWidget()
        self._tables.addWidget(self.table)
        self._tables.addWidget(self._no_match)
        self._work = QWidget()
        column = QVBoxLayout(self._work)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addWidget(Beside(states, find))
        column.addWidget(self._tables, 1)
        self._pages = QStackedWidget()
        self._pages.addWidget(self.invitation)
        self._pages.addWidget(self._work)
        middle.body.addLayout(middle.top)
        middle.body.addWidget(self.bar)
        middle.body.addLayout(line)
        middle.body.addWidget(self.banner)
        middle.body.addWidget(self._pages, 1)
        self._search_delay = QTimer(self, singleShot=True, interval=_SEARCH_DELAY_MS)
        self._search_delay.timeout.connect(self._filter)
        self._pictures_delay = QTimer(self, singleShot=True, interval=_PICTURES_DELAY_MS)
        self._pictures_delay.timeout.connect(self._ask_pictures)
        return middle

    def _connect(self) -> None:
        setup, details = self.setup, self.details
        setup.source_chosen.connect(self.source_chosen)
        setup.folder_chosen.connect(self.folder_chosen)
        setup.start_requested.connect(self.request_start)
        setup.changed.connect(self._options_changed)
        setup.form.blender_changed.connect(self.blender_changed)
        self.invitation.open_pressed.connect(setup.open_source)
        self.invitation.list_pressed.connect(setup.open_list)
        for button, act in (
            (self.start, self.request_start),
            (self.pause, self.toggle_pause),
            (self.stop, self.request_stop),
            (self.retry, self.retry_failed),
            (self.folder, self.show_pictures),
        ):
            button.clicked.connect(lambda _=False, act=act: act())
        self._filters.idClicked.connect(lambda _: self._filter())
        self.search.textChanged.connect(lambda _: self._search_delay.start())
        self.search.returnPressed.connect(self.table.setFocus)
        self.model.counts_changed.connect(self._show_counts)
        self.model.picture_wanted.connect(self._want_picture)
        self.table.chosen.connect(self._show_chosen)
        self.table.activated.connect(lambda _: self.enlarge())
        self.table.customContextMenuRequested.connect(self._menu)
        self.table.moved_by_hand.connect(lambda: self.follow.setChecked(False))
        self.follow.toggled.connect(self._follow_toggled)
        details.preview_requested.connect(self.preview_requested)
        details.test_requested.connect(self.test_requested)
        details.retry_model.connect(self._retry_one)
        details.cancel_model.connect(lambda key: self.cancel_requested.emit([key]))
        details.first_model.connect(lambda key: self.first_requested.emit([key]))
        details.show_folder.connect(self.folder_requested)
        details.log_wanted.connect(self.log_wanted)
        details.sheet.enlarge_requested.connect(self.overlay.show_view)
        details.sheet.large_wanted.connect(self._large_wanted)
        self.overlay.depth_toggled.connect(self._toggle_depth)
        self.test.cancelled.connect(self.test_cancelled)

    def _bind_keys(self) -> None:
        keys: list[tuple[str, Callable[[], Any]]] = [
            ("Ctrl+R", self.request_start),
            ("Ctrl+Shift+O", self.setup.open_folder),
            ("Ctrl+D", lambda: self.details.show_side(0)),
            ("Ctrl+L", lambda: self.details.show_side(1)),
            ("F5", self._reload),
        ]
        keys += [(f"Alt+{at + 1}", lambda at=at: self.show_filter(self.FILTERS[at])) for at in range(len(self.FILTERS))]
        for key, act in keys:
            bind(self, key, act)
        # Keys of one letter are the table's and the sheet's: elsewhere they are typed, or belong to the viewport.
        own: list[tuple[str, Callable[[], Any]]] = [
            ("X", self.request_stop),
            ("F", self.retry_failed),
            ("S", self._show_file),
            ("Shift+S", self.show_pictures),
            ("L", self.follow.toggle),
            ("N", lambda: self._on_current(self.first_requested, "waiting")),
            ("Del", lambda: self._on_current(self.cancel_requested, "waiting", "working")),
            ("P", self.details.preview.click),
            ("T", self.details.test.click),
            ("D", self._toggle_depth),
            ("Ctrl+C", self._copy),
        ]
        for key, act in own:
            for widget in (self.table, self.details.sheet):
                bind(widget, key, act, alone=True)
        bind(self.table, "Space", self.toggle_pause, alone=True)

    # -- models in ---------------------------------------------------------------------------------------

    @staticmethod
    def source_in(mime: QMimeData) -> Path | None:
        """The list, folder or model in a drop or on the clipboard."""
        if (path := list_in(mime) or folder_in(mime)) is not None:
            return path
        paths = [Path(url.toLocalFile()) for url in mime.urls() if url.isLocalFile()] if mime.hasUrls() else []
        return next((path for path in paths if path.suffix.lower() in MODEL_SUFFIXES), None)

    def paste(self) -> None:
        """Take the models that were copied in a file manager."""
        self.take(QGuiApplication.clipboard().mimeData())

    def take(self, mime: QMimeData) -> None:
        """Take models that were dropped or pasted, or say why there is nothing to take."""
        if self.running:
            self.say("Stop the run first: other models cannot be taken while it goes on.", "warning")
        elif (path := self.source_in(mime)) is not None:
            self.source_chosen.emit(path)
        else:
            self.say("There is no model, no list and no folder of models in what was dropped or pasted.", "warning")

    def show_opened(self, opened: Opened) -> None:
        """Show models and a folder with what an earlier run has left there."""
        self.setup.set_places(opened.source, opened.folder)
        self.setup.set_note(count(len(opened.models), "model") if opened.source and not opened.problem else "")
        if opened.settings is not None:
            self.setup.form.set_values(opened.settings)
        self._totals, self._state, self._following = opened.totals, "", ""
        self.title.setText(opened.source.name if opened.source else opened.folder.name if opened.models else "Render")
        self.title.detail = f"{opened.source or 'no models'}\n{opened.folder or 'no folder'}"
        self.details.set_settings(self.setup.form.values())
        self.model.set_rows(opened.models)
        self.banner.hide()
        if opened.problem:
            self.say(opened.problem)
        elif opened.elsewhere:
            self.say("Another process renders into this folder now. F5 shows how far it is.", "info")
        self._show_models()
        self._refresh()
        if opened.models and self.isVisible():
            self.table.setFocus()
            if self.table.current is None:
                self.table.choose(opened.models[0].model.key)

    # -- a run -------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A run begins."""
        self.running, self._state = True, "starting"
        self.banner.hide()
        self.setup.set_running(True)
        self.details.set_running(True)
        self._setup_wanted = False
        self._make_room()
        self.table.setFocus()
        self._refresh()

    def take_progress(self, models: list[ModelState], totals: RenderTotals | None) -> None:
        """Show what has changed of a run."""
        if models:
            self.model.update_rows(models)
            model = self.table.current
            if model is not None and model is not self.details.model:
                before = self.details.model
                self.details.update_model(model)
                if before is not None and before.state != model.state and model.state in ("done", "failed"):
                    self.details_wanted.emit(model.model.key)
            self._follow(models)
        if totals is not None:
            self._totals = totals
            if self._state != "stopping" or totals.state == "finished":
                self._state = totals.state
            self._refresh()

    def take_frames(self, key: str, pictures: dict[str, QImage], depths: dict[str, QImage]) -> None:
        """Show frames of a model that have just come."""
        if (first := pictures.get("view_0")) is not None:
            self.model.set_picture(key, first)
        if self.details.model is not None and self.details.model.model.key == key:
            self.details.add_frames(pictures, depths)
            self.overlay.refresh()

    # -- what the user asks for --------------------------------------------------------------------------

    def request_start(self) -> None:
        """Start, or go on after a pause."""
        if self.running:
            if self._state == "paused":
                self.resume_requested.emit()
            return
        if self.setup.folder_path is None or not self.model.rows:
            self.show_setup(True)
            missing = "models" if not self.model.rows else "a folder for the pictures"
            self.say(f"Choose {missing} first.", "warning")
            return
        self.start_requested.emit()

    def retry_failed(self) -> None:
        """Render all failed models again."""
        keys = [row.model.key for row in self.model.rows if row.state == "failed"]
        if not keys:
            self.status_changed.emit("No model failed.")
        elif self.setup.folder_path is not None:
            self.retry_requested.emit(keys)

    def enlarge(self) -> None:
        """Show the chosen view of the chosen model as large as the window."""
        sheet = self.details.sheet
        if sheet.images:
            name = sheet.current if sheet.current in sheet.images else next(iter(sheet.images))
            self.overlay.show_view(name)
        else:
            self.status_changed.emit("There is no picture of this model yet; P shows a fast preview.")

    def show_pictures(self) -> None:
        """Open the folder of the pictures."""
        if self.setup.folder_path is not None:
            self.folder_requested.emit("")

    def escape(self) -> bool:
        """Close what lies on top, leave the search field or close the message; whether there was something to do."""
        for overlay in (self.test, self.overlay):
            if overlay.isVisible():
                overlay.dismiss()
                return True
        if self.search.hasFocus():
            self.search.clear()
            self.table.setFocus()
        elif self.banner.isVisible():
            self.banner.hide()
        else:
            return False
        return True

    def close_down(self) -> None:
        """The window closes: free the 3D viewport."""
        self._search_delay.stop()
        self._pictures_delay.stop()
        self.test.dismiss()
        self.details.close_down()

    # -- inside ------------------------------------------------------------------------------------------

    def _options_changed(self) -> None:
        self.details.set_settings(self.setup.form.values())
        self.options_changed.emit()

    def _reload(self) -> None:
        if not self.running:
            self.reload_requested.emit()

    def _retry_one(self, key: str) -> None:
        row = self.model.find(key)
        if row is not None and row.state in ("failed", "cancelled"):
            self.retry_requested.emit([key])

    def _on_current(self, signal: Any, *states: str) -> None:
        row = self.table.current
        if row is not None and self.running and row.state in states:
            signal.emit([row.model.key])

    def _show_file(self) -> None:
        if (row := self.table.current) is not None:
            self.folder_requested.emit(row.model.key)

    def _toggle_depth(self) -> None:
        self.details.toggle_depth()
        self.overlay.refresh()

    def _copy(self) -> None:
        if (row := self.table.current) is not None:
            QGuiApplication.clipboard().setText(str(row.model.path))
            self.status_changed.emit(f"Copied: {row.model.path}")

    def _menu(self, position: Any) -> None:
        index = self.table.indexAt(position)
        if not index.isValid():
            return
        self.table.setCurrentIndex(index)
        row = self.table.current
        key = row.model.key
        menu = QMenu(self)
        menu.addAction("Enlarge\tReturn", self.enlarge)
        menu.addAction("Preview\tP", self.details.preview.click).setEnabled(row.state != "done")
        menu.addAction("Test frame\tT", self.details.test.click)
        menu.addSeparator()
        first = menu.addAction("Render next\tN", lambda: self.first_requested.emit([key]))
        first.setEnabled(self.running and row.state == "waiting")
        cancel = menu.addAction("Cancel this model\tDel", lambda: self.cancel_requested.emit([key]))
        cancel.setEnabled(self.running and row.state in ("waiting", "working"))
        again = menu.addAction("Try this model again", lambda: self._retry_one(key))
        again.setEnabled(row.state in ("failed", "cancelled"))
        menu.addAction("Try all failed models again\tF", self.retry_failed).setEnabled(self.retry.isEnabled())
        menu.addSeparator()
        menu.addAction("Show its folder\tS", self._show_file)
        menu.addAction("Copy the path\tCtrl+C", self._copy)
        menu.exec(self.table.viewport().mapToGlobal(position))
        menu.deleteLater()

    def _show_chosen(self, key: str) -> None:
        self.details.set_model(self.model.find(key) if key else None)
        if key:
            self.details_wanted.emit(key)

    def _large_wanted(self, name: str, depth: bool) -> None:
        if self.details.model is not None:
            self.large_wanted.emit(self.details.model.model.key, name, depth)

    def _want_picture(self, key: str) -> None:
        if key not in self._wanted:
            self._wanted.append(key)
        self._pictures_delay.start()

    def _ask_pictures(self) -> None:
        """Ask for the pictures that were missed last: those of rows that have been scrolled past can wait."""
        wanted, self._wanted = self._wanted[-60:], []
        self.pictures_wanted.emit(wanted)

    def _show_models(self) -> None:
        self._pages.setCurrentWidget(self._work if self.model.rows else self.invitation)
        for part in (self.bar, self.totals, self.pace):
            part.setVisible(bool(self.model.rows))
        self._show_rows()
        self._show_counts()

    def _show_counts(self) -> None:
        counts, total = self.model.counts, len(self.model.rows)
        settled = counts["done"] + counts["failed"] + counts["cancelled"]
        self.totals.setText(f"{settled:,} of {count(total, 'model')}{self._frames_text()}" if total else "")
        totals = self._totals
        if self.running and totals is not None and totals.frames_total:
            # Frames move where models take minutes; what has failed counts as done with.
            share = min(totals.frames / totals.frames_total, 1.0)
            lost = (totals.failed + totals.cancelled) / max(totals.total, 1)
            done, whole = round(1000 * min(share + lost, 1.0)), 1000
        else:
            done, whole = settled, max(total, 1)
        self.bar.setRange(0, whole)
        self.bar.setValue(done)
        for at, state in enumerate(self.FILTERS):
            words = STATES[state][0] if state else "All"
            button = self._filters.button(at)
            button.setText(f"{words} {counts[state] if state else total:,}")
            if state in ("working", "cancelled"):
                there = self.running if state == "working" else counts[state] > 0
                button.setVisible(there or button.isChecked())
        self.retry.setEnabled(counts["failed"] > 0 and self._state != "stopping")
        self._show_rows()
        self.badge_changed.emit(f"{100 * done // whole} %" if self.running and total else "")

    def _frames_text(self) -> str:
        totals = self._totals
        if totals is None or not totals.frames:
            return ""
        return f", {totals.frames:,} of {totals.frames_total:,} frames" if totals.frames_total else ""

    def _show_pace(self) -> None:
        parts, totals = [], self._totals
        if totals is not None:
            if self.running:
                if totals.frames_per_hour:
                    parts.append(f"{totals.frames_per_hour:,.0f} frames/h")
                if totals.seconds_left and totals.state not in ("stopping", "starting"):
                    parts.append(f"about {duration(totals.seconds_left)} left")
            if totals.disk:
                parts.append(f"{amount(totals.disk)} used")
        free = totals.free if self.running and totals is not None and totals.free else self._free
        if free is not None:
            parts.append(f"{amount(free)} free")
        self.pace.setText("  ·  ".join(parts))

    def _refresh(self) -> None:
        """Everything that depends on the state of the run."""
        running, state = self.running, self._state
        words = [RUN_STATES.get(state, "")] if running else []
        if running and self._totals is not None and self._totals.workers and state in ("running", "paused"):
            words.append(count(self._totals.workers, "worker"))
        self.state.setText("  ·  ".join(words))
        ending = state in ("stopping", "starting")
        paused = running and state == "paused"
        setup_shown = self.setup_panel.isVisibleTo(self)
        self.options_button.setVisible(not setup_shown)
        self.start.setVisible(not running and not setup_shown)
        self.start.setEnabled(self.setup.folder_path is not None and bool(self.model.rows))
        for button in (self.pause, self.stop):
            button.setVisible(running)
        self.pause.setText("Resume" if paused else "Pause")
        self.pause.setToolTip(with_key("Go on" if paused else "Begin no further model; those at work go on", "Space"))
        self.pause.setEnabled(not ending)
        self.stop.setEnabled(state != "stopping")
        self.retry.setVisible(bool(self.model.rows))
        self.folder.setVisible(bool(self.model.rows) and not running)
        self.folder.setEnabled(self.setup.folder_path is not None)
        self.table.show_columns("Worker", on=running)
        told = self._totals.message if running and self._totals is not None else ""
        if told != self._told:
            self._told = told
            self.status_changed.emit(plain(told))
        self._show_counts()
        self._show_pace()


class Invitation(MessagePage):
    """The empty tab: asks for models."""

    open_pressed = Signal()
    list_pressed = Signal()

    def __init__(self) -> None:
        super().__init__(
            "camera",
            "Render models",
            "Drop a folder of models here, or the list of those that were selected. Blender takes 40 pictures of each, "
            "with depth, as a training set needs them; a run can be stopped at any time and goes on where it was.",
            width=420,
        )
        self.add_buttons(
            (
                ("Open a folder…", with_key("Open a folder of models", "Ctrl+O"), self.open_pressed),
                ("Open a list…", "Open the list of a screening (selected.txt), or one model", self.list_pressed),
            ),
        )
