"""The Evaluate tab: folders and options at the left, what came out in the middle, a sample in 3D or the report right.

The tab shows what it is given and says by signals what the user wants; it reads and measures nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PySide6.QtCore import QMimeData, Qt, QTimer, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QMenu,
    QProgressBar,
    QScrollArea,
    QSizePolicy,
    QSplitter,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from engine.evaluation.metrics import METRICS, probability
from widgets.crawl.incoming import folder_in
from widgets.evaluate.compare import ComparePanel
from widgets.evaluate.contents import Found, Opened, Pace, Sample
from widgets.evaluate.grid import Cell, Grid, Line
from widgets.evaluate.report_view import ReportView
from widgets.evaluate.setup_panel import SetupPanel
from widgets.evaluate.table import DIFFERENCE, FIRST, SECOND, SampleTable, SampleView
from widgets.evaluate.words import STATES, figure, gain, interval, signed, title, verdict
from widgets.job_tab import NARROW, JobTab, action_button
from widgets.kit.actions import bind
from widgets.kit.banner import Banner, MessagePage
from widgets.kit.buttons import IconButton, with_key
from widgets.kit.labels import ElidedLabel, label
from widgets.kit.panel import Beside, Panel
from widgets.kit.theme import theme
from widgets.kit.words import count, duration

_SEARCH_DELAY_MS = 120
_COMPARE, _REPORT = 0, 1
_JUMPS = {
    "best": ("Best", "Alt+B"),
    "worst": ("Worst", "Alt+W"),
    "improved": ("Most improved", "Alt+I"),
    "worsened": ("Most worsened", "Alt+D"),
}
"""Samples that can be gone to at once, by the measure that is shown; once more goes to the next of them."""


class EvaluateTab(JobTab):
    """Everything of an evaluation on one page."""

    places_changed = Signal(object, list, object)
    """Models, predictions and the folder for the results, as the user wants them now."""
    folder_chosen = Signal(object)
    """The folder for the results, which may hold an earlier evaluation."""
    start_requested = Signal()
    reload_requested = Signal()
    meshes_wanted = Signal()
    """What the two viewports show has changed."""
    folder_requested = Signal(str)
    """Show the folder of a sample's model; without a name, of the results."""
    browser_requested = Signal()
    csv_requested = Signal(object)
    """Copy the figures to this file."""
    models_requested = Signal(str)
    """Show the page of models, at this one."""
    options_changed = Signal()

    FILTERS = ("", "waiting", "done", "failed", "missing")

    def __init__(self) -> None:
        super().__init__()
        self.results: dict[str, Any] | None = None
        self.measure = "f_score"
        self._page: Any = None
        self._labels: tuple[str, ...] = ()
        self._pace: Pace | None = None
        self._jump = ""
        self._loaded: tuple[Any, ...] | None = None

        self.setup = SetupPanel()
        self.setup_panel = Panel("Models and predictions", spacing=8)
        self.setup_panel.top.addWidget(
            IconButton("left", with_key("Hide models and predictions", "Ctrl+I"), self.toggle_setup)
        )
        self.setup_panel.body.addWidget(self.setup, 1)
        self.setup_panel.setMinimumWidth(270)

        self.model = SampleTable()
        self.table = SampleView(self.model)
        middle = self._build_middle()
        middle.setMinimumWidth(400)
        self.details = self._build_right()
        self.details.setMinimumWidth(420)

        self.columns = QSplitter()
        for at, (panel, stretch) in enumerate(((self.setup_panel, 0), (middle, 4), (self.details, 6))):
            self.columns.addWidget(panel)
            self.columns.setStretchFactor(at, stretch)
        self.columns.setChildrenCollapsible(False)
        self.columns.setHandleWidth(12)
        self.columns.setSizes([276, 450, 510])
        box = QHBoxLayout(self)
        box.setContentsMargins(12, 12, 12, 12)
        box.addWidget(self.columns)
        self._connect()
        self._bind_keys()
        self._show_content()
        self._refresh()

    def _build_middle(self) -> Panel:
        middle = Panel(spacing=8)
        self.title = ElidedLabel("Evaluate", "heading")
        self.state = label("", "muted")
        self.options_button = IconButton("options", with_key("Models and predictions", "Ctrl+I"), self.toggle_setup)
        self.start = action_button("Evaluate", "Measure what is not yet measured, and write the report", "Ctrl+R")
        self.stop = action_button("Stop", "Stop now; what is measured is kept, and the next start goes on there", "X")
        self.pause = self.stop  # a stopped evaluation goes on by itself: there is no other pause
        self.browser = IconButton("globe", with_key("Open the report in the browser", "Ctrl+B"), self.open_browser)
        self.csv = IconButton("table", with_key("Save the figures as CSV", "Ctrl+E"), self.export_csv)
        self.folder = IconButton("folder", with_key("Open the folder of the results", "Shift+S"), self.show_folder)
        middle.top.addWidget(self.options_button)
        middle.top.addWidget(self.title, 1)
        middle.top.addWidget(self.state)
        for button in (self.browser, self.csv, self.folder):
            middle.top.addWidget(button)
        for button in (self.start, self.stop):
            middle.top.addWidget(button)
        self.bar = QProgressBar(textVisible=False)
        self.totals = ElidedLabel("")
        self.pace = label("", "muted")
        line = QHBoxLayout()
        line.setSpacing(14)
        line.addWidget(self.totals, 1)
        line.addWidget(self.pace)
        self.banner = Banner()

        self.verdict = label("", wrap=True)
        self.verdict.setTextFormat(Qt.TextFormat.PlainText)
        self.verdict.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.overview = Grid("Means of each set")
        area = QScrollArea(widgetResizable=True)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        holder = QWidget()
        column = QVBoxLayout(holder)
        column.setContentsMargins(0, 0, 4, 0)
        column.addWidget(self.overview)
        column.addStretch(1)
        area.setWidget(holder)
        self._upper = QWidget()
        column = QVBoxLayout(self._upper)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(self.verdict)
        column.addWidget(area, 1)

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
            tip = f"Show the samples that are {words}" if state else "Show all samples"
            button.setToolTip(with_key(tip, f"Alt+{at + 1}"))
            self._filters.addButton(button, at)
            states.addWidget(button)
        states.addStretch(1)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Find")
        self.search.setToolTip(with_key("Show the samples in whose name or message these words occur", "Ctrl+F"))
        self.search.setMinimumWidth(80)
        self.search.setClearButtonEnabled(True)
        self.against = QComboBox()
        self.against.setToolTip("Set of predictions that is compared with the first")
        self.against.setMinimumWidth(110)
        self.jump = QToolButton()
        self.jump.setText("Go to")
        self.jump.setToolTip(f"Go to the best or worst sample, or what changed most ({_JUMPS['best'][1]} and others)")
        self.jump.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self.jump)
        for name, (text, key) in _JUMPS.items():
            menu.addAction(f"{text}\t{key}", lambda name=name: self.jump_to(name))
        self.jump.setMenu(menu)
        find.addWidget(self.search, 1)
        find.addWidget(self.against)
        find.addWidget(self.jump)

        self.invitation = Invitation()
        self._no_match = label("No sample fits the filter.", "muted")
        self._no_match.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._tables = QStackedWidget()
        self._tables.addWidget(self.table)
        self._tables.addWidget(self._no_match)
        lower = QWidget()
        column = QVBoxLayout(lower)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addWidget(Beside(states, find))
        column.addWidget(self._tables, 1)
        lower.setMinimumHeight(160)
        self._work = QSplitter(Qt.Orientation.Vertical)
        self._work.setChildrenCollapsible(False)
        self._work.setHandleWidth(8)
        self._work.addWidget(self._upper)
        self._work.addWidget(lower)
        self._work.setStretchFactor(0, 5)
        self._work.setStretchFactor(1, 4)
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
        return middle

    def _build_right(self) -> Panel:
        right = Panel(spacing=6)
        self._segments = QButtonGroup(self)
        for at, (text, tip, key) in enumerate(
            (
                ("Compare", "The chosen sample in two views", "Ctrl+D"),
                ("Report", "The page of the evaluation, as it can be passed on", "Ctrl+L"),
            )
        ):
            button = QToolButton()
            button.setObjectName("segment")
            button.setText(text)
            button.setCheckable(True)
            button.setChecked(at == _COMPARE)
            button.setToolTip(with_key(tip, key))
            self._segments.addButton(button, at)
            right.top.addWidget(button)
        self._segments.idClicked.connect(self.show_side)
        right.top.addStretch(1)
        self.compare = ComparePanel()
        self.report = ReportView()
        self.no_report = label("", "muted", wrap=True)
        self.no_report.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.no_report.setMargin(16)
        self._right = QStackedWidget()
        for page in (self.compare, self.report, self.no_report):
            self._right.addWidget(page)
        right.body.addLayout(right.top)
        right.body.addWidget(self._right, 1)
        return right

    def _connect(self) -> None:
        setup = self.setup
        setup.places_changed.connect(self.places_changed)
        setup.folder_chosen.connect(self.folder_chosen)
        setup.start_requested.connect(self.request_start)
        setup.changed.connect(self.options_changed)
        setup.weights_requested.connect(self._show_weights)
        self.invitation.models_pressed.connect(setup.open_models)
        self.invitation.folder_pressed.connect(setup.open_folder)
        self.start.clicked.connect(lambda _=False: self.request_start())
        self.stop.clicked.connect(lambda _=False: self.request_stop())
        self._filters.idClicked.connect(lambda _: self._filter())
        self.search.textChanged.connect(lambda _: self._search_delay.start())
        self.search.returnPressed.connect(self.table.setFocus)
        self.model.counts_changed.connect(self._show_counts)
        self.table.chosen.connect(self._show_chosen)
        self.table.activated.connect(lambda _: self._enter())
        self.table.customContextMenuRequested.connect(self._menu)
        self.table.horizontalHeader().sectionClicked.connect(lambda _: self._keep_in_view())
        self.overview.chosen.connect(self.set_metric)
        self.against.activated.connect(lambda _: self._compare_sets())
        self.compare.step_requested.connect(self.step)
        self.compare.metric_chosen.connect(self.set_metric)
        self.compare.meshes_wanted.connect(self.meshes_wanted)
        self.report.open_requested.connect(self.browser_requested)
        self.report.clicked.connect(self._take_keyboard)

    def _bind_keys(self) -> None:
        keys: list[tuple[str, Callable[[], Any]]] = [
            ("Ctrl+R", self.request_start),
            ("Ctrl+P", self.setup.open_predictions),
            ("Ctrl+Shift+O", self.setup.open_folder),
            ("Ctrl+D", lambda: self.show_side(_COMPARE)),
            ("Ctrl+L", lambda: self.show_side(_REPORT)),
            ("Ctrl+B", self.open_browser),
            ("Alt+Up", lambda: self.step(-1)),
            ("Alt+Down", lambda: self.step(1)),
            ("Alt+Left", self.compare.left.step),
            ("Alt+Right", self.compare.right.step),
            ("Alt+PgDown", lambda: self._step_metric(1)),
            ("Alt+PgUp", lambda: self._step_metric(-1)),
            ("F5", self._reload),
        ]
        keys += [(key, lambda name=name: self.jump_to(name)) for name, (_, key) in _JUMPS.items()]
        keys += [(f"Alt+{at + 1}", lambda at=at: self.show_filter(self.FILTERS[at])) for at in range(len(self.FILTERS))]
        for key, act in keys:
            bind(self, key, act)
        # Keys of one letter are the table's: elsewhere they are typed, or belong to the viewports.
        for key, act in (
            ("X", self.request_stop),
            ("S", self._show_file),
            ("Shift+S", self.show_folder),
            ("Ctrl+C", self._copy),
        ):
            bind(self.table, key, act, alone=True)
        bind(self.compare, "L", self.compare.toggle_link)
        for key, act in (
            ("PgDown", lambda: self.report.scroll(0.9)),
            ("PgUp", lambda: self.report.scroll(-0.9)),
            ("Down", lambda: self.report.scroll(0.15)),
            ("Up", lambda: self.report.scroll(-0.15)),
            ("Home", lambda: self.report.jump(0)),
            ("End", lambda: self.report.jump(1)),
        ):
            bind(self.details, key, act, alone=True)
        self.details.setFocusPolicy(Qt.FocusPolicy.ClickFocus)

    @property
    def page(self) -> Path | None:
        """The report that is there."""
        return self._page

    # -- folders in --------------------------------------------------------------------------------------

    @staticmethod
    def source_in(mime: QMimeData) -> Path | None:
        """The folder in a drop or on the clipboard."""
        return folder_in(mime)

    def open_source(self) -> None:
        """Ask for the folder of true models."""
        self.setup.open_models()

    def paste(self) -> None:
        """Take the folder that was copied in a file manager."""
        self.take(QGuiApplication.clipboard().mimeData())

    def take(self, mime: QMimeData) -> None:
        """Take folders: the first one as the true models where there are none yet, the others as predictions."""
        urls = mime.urls() if mime.hasUrls() else []
        paths = [Path(url.toLocalFile()) for url in urls if url.isLocalFile()]
        typed = mime.text().strip() if mime.hasText() and not paths else ""
        if typed and "\n" not in typed:
            paths = [Path(typed).expanduser()]
        folders = [path for path in paths if path.is_dir()]
        if self.running:
            self.say("Stop the evaluation first: other folders cannot be taken while it goes on.", "warning")
        elif not folders:
            self.say("There is no folder in what was dropped or pasted.", "warning")
        elif any((folder / name).is_file() for folder in folders[:1] for name in ("results.json", "study.json")):
            self.folder_chosen.emit(folders[0])
        elif self.setup.models_path is None:
            self.places_changed.emit(folders[0], folders[1:], self.setup.folder_path)
        else:
            self.setup.add_predictions(folders)

    def show_opened(self, opened: Opened) -> None:
        """Show what stands on the disk."""
        setup = self.setup
        setup.set_places(opened.models, opened.predictions, opened.folder)
        if opened.choice is not None:
            setup.set_choice(opened.choice)
        self.results, self._page, self._labels = opened.results, opened.page, opened.labels
        self._state, self._pace, self._jump = "", None, ""
        name = opened.folder.name if opened.results and opened.folder else opened.models.name if opened.models else ""
        self.title.setText(name or "Evaluate")
        self.title.detail = f"{opened.models or 'no models'}\n{opened.folder or 'no folder'}"
        self._show_sets()
        self.model.set_rows(list(opened.samples))
        setup.set_note(self._found_text(opened))
        self.banner.hide()
        if opened.problem:
            self.say(opened.problem)
        self._show_results()
        self._show_content()
        self._make_room()
        self._refresh()
        if opened.samples and self.table.current is None and self.model.rowCount():
            self.table.choose(self.model.at(0).name)
        elif opened.samples:
            self._refresh_chosen(force=True)
        if opened.samples and self.isVisible():
            self.table.setFocus()

    # -- an evaluation -----------------------------------------------------------------------------------

    def begin(self) -> None:
        """An evaluation begins."""
        self.running, self._state, self._pace = True, "starting", None
        self.banner.hide()
        self.setup.set_running(True)
        self._setup_wanted = False
        self._make_room()
        self.table.setFocus()
        self._refresh()

    def take_progress(self, found: Sequence[tuple[str, str, Found]], pace: Pace | None) -> None:
        """Show what has been measured: label, sample's name and figures of each; and how far it is."""
        rows: dict[str, Sample] = {}
        for name_of_set, name, one in found:
            row = rows.get(name) or self.model.find(name)
            if row is not None and name_of_set in row.predictions:
                rows[name] = replace(row, predictions=row.predictions | {name_of_set: one})
        if rows:
            self.model.update_rows(rows.values())
            if self.compare.sample is not None and self.compare.sample.name in rows:
                self._refresh_chosen(force=True)
        if pace is not None:
            self._pace = pace
            if self._state != "stopping":
                self._state = "running"
            self._refresh()

    def end(self, text: str, kind: str, actions: dict[str, Callable[[], Any]] | None = None) -> None:
        """The evaluation has ended: `text` says how, as `info`, `warning` or `error`."""
        self.running, self._state, self._pace = False, "", None
        self.setup.set_running(False)
        self._make_room()
        self._refresh()
        self.banner.show_message(text, kind, actions)

    # -- what the user asks for --------------------------------------------------------------------------

    def request_start(self) -> None:
        """Start, or go on where it was stopped."""
        setup = self.setup
        if self.running:
            return
        if setup.models_path is None or not setup.prediction_paths or setup.folder_path is None or not self.model.rows:
            self.show_setup(True)
            if setup.models_path is None:
                self.say("Choose the folder of the true models first.", "warning", {"Choose…": setup.open_models})
            elif not setup.prediction_paths:
                add = {"Add…": setup.open_predictions}
                self.say("Add at least one folder of predictions first.", "warning", add)
            elif setup.folder_path is None:
                self.say("Choose a folder for the results first.", "warning", {"Choose…": setup.open_folder})
            elif not self.banner.isVisible():
                self._reload()
            return
        self.start_requested.emit()

    def set_metric(self, key: str) -> None:
        """Show this measure in the table."""
        if key not in METRICS:
            return
        self.measure, self._jump = key, ""
        self.overview.choose(key)
        self._compare_sets()
        self.compare.set_metrics(self._metrics(), key)
        self._keep_in_view()

    def step(self, by: int) -> None:
        """Choose the next sample, or the one before."""
        rows = self.model.rowCount()
        if rows:
            at = self.table.currentIndex().row()
            to = min(max(at + by, 0), rows - 1) if at >= 0 else 0
            self.table.choose(self.model.at(to).name)
        self._jump = ""

    def jump_to(self, which: str) -> None:
        """Go to the best, worst, most improved or most worsened sample of those shown; again, to the next such one."""
        shown = [self.model.at(row) for row in range(self.model.rowCount())]
        metric = METRICS[self.measure]
        ranked = which in ("improved", "worsened")
        if ranked and not self.model.second:
            self.status_changed.emit("There is one set of predictions only: nothing to compare.")
            return
        column = DIFFERENCE if ranked else SECOND if self.model.second else FIRST
        down = (which in ("best", "improved")) == metric.higher_is_better
        order = [row for row in self.model.ordered(shown, column, descending=down) if self._value(row, column)]
        if not order:
            self.status_changed.emit(f"{metric.label} is not measured yet.")
            return
        names = [row.name for row in order]
        current = self.table.current
        again = self._jump == which and current is not None and current.name in names
        at = (names.index(current.name) + 1) % len(names) if again else 0
        self.table.choose(names[at])
        self._jump = which
        place = f"{at + 1}. of {len(names)}" if again else f"first of {len(names)}"
        self.status_changed.emit(f"{_JUMPS[which][0]} in {metric.label}: {names[at]} ({place})")

    def show_side(self, at: int) -> None:
        """Show the two views (0) or the report (1)."""
        self._segments.button(at).setChecked(True)
        if at == _COMPARE:
            self.report.leave()
            self._loaded = None
            self._right.setCurrentWidget(self.compare)
            return
        if self._page is None:
            self.report.leave()
            self._loaded = None
            waits = "It is written when all is measured." if self.running else "Evaluate (Ctrl+R) writes it."
            self.no_report.setText(f"There is no report yet. {waits}")
            self._right.setCurrentWidget(self.no_report)
            return
        self._right.setCurrentWidget(self.report)
        made = (self._page, self.results["made"] if self.results else "")
        if self._loaded != made and self.isVisible():
            self._loaded = made
            self.report.show_report(self._page)
        self._take_keyboard()

    def open_browser(self) -> None:
        """Open the report in the browser of the system."""
        if self._page is not None:
            self.browser_requested.emit()
        else:
            self.status_changed.emit("There is no report yet.")

    def show_folder(self) -> None:
        """Open the folder of the results."""
        if self.setup.folder_path is not None:
            self.folder_requested.emit("")

    def export_csv(self) -> None:
        """Ask where to copy the figures to."""
        folder = self.setup.folder_path
        if self._page is None or folder is None:
            self.status_changed.emit("There are no results yet.")
            return
        name, _ = QFileDialog.getSaveFileName(
            self, "Save the figures", str(folder.parent / f"{folder.name}.csv"), "Tables (*.csv)"
        )
        if name:
            path = Path(name)
            self.csv_requested.emit(path if path.suffix else path.with_suffix(".csv"))

    def escape(self) -> bool:
        """Leave the search field, or close the message; whether there was something to do."""
        if self.search.hasFocus():
            self.search.clear()
            self.table.setFocus()
        elif self.banner.isVisible():
            self.banner.hide()
        else:
            return False
        return True

    def close_down(self) -> None:
        """The window closes: free viewports and browser."""
        self._search_delay.stop()
        self.compare.close_down()
        self.report.close_down()

    # -- inside ------------------------------------------------------------------------------------------

    def _make_room(self) -> None:
        """Hide the options in a narrow window while something goes on or is to be looked at."""
        busy = self.running or self.results is not None
        narrow = busy and self.width() < theme.px(NARROW) and not self._setup_wanted
        if narrow and self.setup_panel.isVisibleTo(self):
            self._setup_hidden = True
            self.show_setup(False)
        elif self._setup_hidden and not narrow:
            self._setup_hidden = False
            self.show_setup(True)

    def _reload(self) -> None:
        if not self.running:
            self.reload_requested.emit()

    def _take_keyboard(self) -> None:
        """Have the keys of the window work, though a page stands in it."""
        if self._segments.checkedId() == _REPORT and self.isVisible():
            self.window().activateWindow()
            self.details.setFocus()

    def _show_weights(self, key: str) -> None:
        self.models_requested.emit("clip-vit-b-32" if key == "clip" else "")

    def _enter(self) -> None:
        """Go from the table to what it has chosen."""
        self.show_side(_COMPARE)
        side = self.compare.left
        if side.viewport is not None:
            side.viewport.setFocus()

    def _show_file(self) -> None:
        if (row := self.table.current) is not None:
            self.folder_requested.emit(row.name)

    def _copy(self) -> None:
        if (row := self.table.current) is not None:
            QGuiApplication.clipboard().setText(row.path)
            self.status_changed.emit(f"Copied: {row.path}")

    def _menu(self, position: Any) -> None:
        index = self.table.indexAt(position)
        if not index.isValid():
            return
        self.table.setCurrentIndex(index)
        menu = QMenu(self)
        menu.addAction("Compare\tReturn", self._enter)
        menu.addSeparator()
        for name, (text, key) in _JUMPS.items():
            menu.addAction(f"{text}\t{key}", lambda name=name: self.jump_to(name))
        menu.addSeparator()
        menu.addAction("Show its folder\tS", self._show_file)
        menu.addAction("Copy the path\tCtrl+C", self._copy)
        menu.exec(self.table.viewport().mapToGlobal(position))
        menu.deleteLater()

    def _value(self, row: Sample, column: int) -> bool:
        """Whether a sample has a value in a column."""
        model = self.model
        if column == DIFFERENCE:
            return row.difference(model.first, model.second, self.measure) is not None
        return row.figure(model.first if column == FIRST else model.second, self.measure) is not None

    def _step_metric(self, by: int) -> None:
        keys = self._metrics()
        if keys:
            at = keys.index(self.measure) if self.measure in keys else 0
            self.set_metric(keys[(at + by) % len(keys)])

    def _metrics(self) -> list[str]:
        """Measures that there are figures of, the most important first."""
        if self.results is not None:
            return list(self.results["metrics"])
        there = {key for row in self.model.rows for found in row.predictions.values() for key in found.figures}
        return [key for key in METRICS if key in there]

    def _show_sets(self) -> None:
        """Offer the sets of predictions where they can be chosen."""
        labels = self._labels
        before = self.against.currentText()
        self.against.clear()
        self.against.addItems(labels[1:])
        self.against.setCurrentIndex(max(self.against.findText(before), 0) if labels[1:] else -1)
        self.against.setVisible(len(labels) > 2)
        self._compare_sets()

    def _compare_sets(self) -> None:
        """Compare the first set with the chosen one, by the measure that is shown."""
        labels = self._labels
        second = self.against.currentText() if labels[1:] else ""
        self.model.show(self.measure, labels[0] if labels else "", second)
        self.table.show_columns(self.model.columns[DIFFERENCE], on=bool(second))
        self.table.setColumnHidden(SECOND, not second)
        self.table.setColumnHidden(FIRST, not labels)
        self.table.make_room()
        before = [side.label for side in self.compare.sides]
        self.compare.set_labels(labels, second)
        if before != [side.label for side in self.compare.sides] and self.compare.sample is not None:
            self.compare.set_sample(self.compare.sample)
            self.meshes_wanted.emit()
        if self.results is not None:
            self.verdict.setText(verdict(self.results, self.measure, second or labels[0]))
            self._fill_overview(second)

    def _show_results(self) -> None:
        """What came out, if something has."""
        metrics = self._metrics()
        if metrics and self.measure not in metrics:
            self.measure = metrics[0]
        there = self.results is not None and bool(metrics)
        if there:
            self._compare_sets()
            self._upper.setMaximumHeight(self.overview.height() + theme.px(52))
        self._upper.setVisible(there)
        self.compare.set_metrics(metrics, self.measure)
        self.table.mark_order()
        if self._segments.checkedId() == _REPORT:
            self.show_side(_REPORT)

    def _fill_overview(self, second: str) -> None:
        results = self.results
        assert results is not None
        labels = results["labels"]
        lines = []
        for key in results["metrics"]:
            metric = METRICS[key]
            means = [results["summary"][name].get(key) for name in labels]
            known = [mean["mean"] for mean in means if mean is not None]
            best = (max if metric.higher_is_better else min)(known) if len(known) > 1 else None
            cells = [
                Cell("–")
                if mean is None
                else Cell(figure(mean["mean"], metric), interval(mean, metric, short=True), bold=mean["mean"] == best)
                for mean in means
            ]
            if second:
                found = results["paired"][second].get(key)
                if found is None:
                    cells += [Cell("–"), Cell("–"), Cell("–")]
                else:
                    mean = found["difference"]
                    better = gain(mean["mean"], metric)
                    color = "good" if better > 0 else "error" if better < 0 else "muted"
                    cells.append(
                        Cell(signed(mean["mean"], metric), interval(mean, metric, sign=True, short=True), color)
                    )
                    cells.append(Cell(f"{found['better']} of {found['count']}"))
                    cells.append(Cell(probability(found["wilcoxon_p"], found["count"]), color="muted"))
            lines.append(Line(key, title(metric), cells, metric.meaning))
        self.overview.set_content([*labels, *(["Difference", "Better", "p"] if second else [])], lines)
        self.overview.choose(self.measure)

    def _show_chosen(self, key: str) -> None:
        self._jump = ""
        self._refresh_chosen()

    def _refresh_chosen(self, *, force: bool = False) -> None:
        row = self.table.current
        before = self.compare.sample
        if row is before and not force:
            return
        self.compare.set_metrics(self._metrics(), self.measure)
        self.compare.set_sample(row)
        if row is not None:
            self.meshes_wanted.emit()

    def _keep_in_view(self) -> None:
        if (row := self.table.current) is not None:
            self.table.bring_into_view(row.name)

    @staticmethod
    def _found_text(opened: Opened) -> str:
        if not opened.samples or opened.problem:
            return ""
        parts = [f"{count(len(opened.samples), 'model')}."]
        for name in opened.labels:
            missing = [row.name for row in opened.samples if row.predictions[name].path is None]
            if missing:
                more = f" and {len(missing) - 3:,} more" if len(missing) > 3 else ""
                parts.append(f"{name} lacks {len(missing):,}: {', '.join(missing[:3])}{more}.")
        return " ".join([*parts, *opened.notes])

    def _show_content(self) -> None:
        there = bool(self.model.rows)
        self._pages.setCurrentWidget(self._work if there else self.invitation)
        for part in (self.bar, self.totals, self.pace):
            part.setVisible(there)
        self._show_rows()
        self._show_counts()

    def _show_counts(self) -> None:
        counts, total = self.model.counts, len(self.model.rows)
        found = [one for row in self.model.rows for one in row.predictions.values() if one.path is not None]
        done, whole = sum(one.settled for one in found), len(found)
        if self.running and self._pace is not None:
            done, whole = self._pace.done, self._pace.total
        sets = count(len(self._labels), "set")
        failed = sum(bool(one.problem) for one in found)
        text = f"{done - failed:,} of {count(whole, 'prediction')} measured, {count(total, 'model')}, {sets}"
        text += f", {failed:,} failed" if failed else ""
        self.totals.setText(text if total else "")
        self.bar.setRange(0, max(whole, 1))
        self.bar.setValue(done)
        for at, state in enumerate(self.FILTERS):
            words = STATES[state][0] if state else "All"
            button = self._filters.button(at)
            button.setText(f"{words} {counts[state] if state else total:,}")
            button.setVisible(not state or counts[state] > 0 or button.isChecked())
        self._show_rows()
        self.badge_changed.emit(f"{100 * done // max(whole, 1)} %" if self.running and total else "")

    def _show_pace(self) -> None:
        pace = self._pace
        left = pace.seconds_left if pace is not None and self._state == "running" else None
        self.pace.setText(f"about {duration(left)} left" if left else "")

    def _refresh(self) -> None:
        """Everything that depends on the state of the evaluation."""
        running, state = self.running, self._state
        writing = running and self._pace is not None and self._pace.stage == "report"
        words = {"starting": "Starting…", "running": "Measuring", "stopping": "Stopping…"}
        self.state.setText("Writing the report" if writing else words.get(state, "") if running else "")
        setup_shown = self.setup_panel.isVisibleTo(self)
        self.options_button.setVisible(not setup_shown)
        self.start.setVisible(not running and not setup_shown)
        self.start.setEnabled(self.setup.start.isEnabled())
        self.stop.setVisible(running)
        self.stop.setEnabled(state != "stopping")
        for button in (self.browser, self.csv):
            button.setVisible(self._page is not None and not running)
        self.folder.setVisible(bool(self.model.rows) and not running and self.setup.folder_path is not None)
        told = self._pace.message if running and self._pace is not None else ""
        if told != self._told:
            self._told = told
            self.status_changed.emit(told)
        self._show_counts()
        self._show_pace()

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        if self._segments.checkedId() == _REPORT:
            self.show_side(_REPORT)

    def hideEvent(self, event: Any) -> None:
        super().hideEvent(event)
        self.report.leave()  # it shall not go on drawing unseen
        self._loaded = None


class Invitation(MessagePage):
    """The empty tab: asks for models."""

    models_pressed = Signal()
    folder_pressed = Signal()

    def __init__(self) -> None:
        super().__init__(
            "table",
            "Evaluate predictions",
            "Choose the folder of true models, and one or more folders of predictions of the same names: meshes, or "
            "runs of Reconstruct. Each is laid onto its model and measured; the first set is what the others are "
            "compared with.",
            width=340,
        )
        self.add_buttons(
            (
                ("True models…", with_key("Choose the folder of the true models", "Ctrl+O"), self.models_pressed),
                (
                    "Earlier evaluation…",
                    with_key("Open the folder of an evaluation", "Ctrl+Shift+O"),
                    self.folder_pressed,
                ),
            ),
        )
