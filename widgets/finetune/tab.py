"""The Fine-tune tab: data and options at the left, the run's curves in the middle, the validation models at the right.

The tab shows what it is given and says by signals what the user wants; it reads and trains nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PySide6.QtCore import QMimeData, Qt, QTimer, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QHBoxLayout,
    QMenu,
    QProgressBar,
    QSplitter,
    QStackedWidget,
)

from engine.core.errors import InputError
from engine.core.progress import Progress
from engine.training import FineTuneOptions
from widgets.crawl.incoming import folder_in
from widgets.finetune.chart import LOSSES, VALIDATIONS, ChartPanel
from widgets.finetune.details import DetailsPanel
from widgets.finetune.looks import Look
from widgets.finetune.record import Pace, Record
from widgets.finetune.setup_panel import KEY, SetupPanel
from widgets.finetune.words import FIGURES, RUN_STATES, figure, log_line, said
from widgets.job_tab import JobTab, action_button
from widgets.kit.actions import bind
from widgets.kit.banner import Banner, MessagePage
from widgets.kit.buttons import IconButton, with_key
from widgets.kit.labels import ElidedLabel, label
from widgets.kit.panel import Panel
from widgets.kit.words import amount, count

_SEARCH_DELAY_MS = 120
_DRAW_MS = 200
"""Between two drawings of the curves while rows come in; more for very long ones."""
_LOG_EVERY = 10
"""Steps between lines of the log while a run goes on."""
_SHOWN_PROBLEMS = 4


@dataclass(frozen=True)
class Holding:
    """What a folder of rendered models holds."""

    train: int = 0
    validation: int = 0
    size: int = 0
    """Side of the pictures in pixels."""
    depth: bool = False
    """Whether there are depth maps, so that meshes can be compared with the true ones."""
    problems: tuple[str, ...] = ()
    """What is missing or damaged, by model."""
    error: str = ""
    """Why nothing of it can be used."""


@dataclass(frozen=True)
class RunState:
    """What the folder of a run holds."""

    step: int = 0
    """Of the newest checkpoint."""
    steps: int = 0
    """Of the whole run; 0 where not known."""
    resumable: bool = False
    """Whether there is a checkpoint to go on from."""
    weights: Path | None = None
    """That can be used."""


@dataclass(frozen=True)
class Opened:
    """Data and the folder of a run as they were found on the disk."""

    source: Path | None = None
    folder: Path | None = None
    holding: Holding | None = None
    run: RunState = RunState()
    options: FineTuneOptions | None = None
    """Of the run in the folder."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """Its log."""
    looks: list[Look] = field(default_factory=list)
    """At its validation models, as far as they are kept."""
    elsewhere: bool = False
    """Whether another process trains there now."""
    problem: str = ""
    """Why the folder of the run cannot be used."""


class FineTuneTab(JobTab):
    """Everything of a fine-tuning on one page."""

    source_chosen = Signal(object)
    folder_chosen = Signal(object)
    new_requested = Signal()
    start_requested = Signal()
    use_requested = Signal()
    """Reconstructions are to use the weights of this run."""
    reload_requested = Signal()
    look_wanted = Signal(object)
    """The mesh of this `Look`, and the true one, are wanted."""
    folder_requested = Signal()
    options_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.record = Record()
        self.run = RunState()
        self._pace: Pace | None = None
        self._event: Progress | None = None
        self.holding: Holding | None = None
        """What the folder of rendered models holds; None until it has been read."""

        self.setup = SetupPanel()
        self.setup_panel = Panel("Data and options", spacing=8)
        self.setup_panel.top.addWidget(
            IconButton("left", with_key("Hide data and options", "Ctrl+I"), self.toggle_setup)
        )
        self.setup_panel.body.addWidget(self.setup, 1)
        self.setup_panel.setMinimumWidth(270)

        self.details = DetailsPanel()
        self.details.setMinimumWidth(330)
        self.model, self.table = self.details.model, self.details.table
        self.search, self.follow = self.details.search, self.details.follow
        middle = self._build_middle()
        middle.setMinimumWidth(400)

        self.columns = QSplitter()
        for at, (panel, stretch) in enumerate(((self.setup_panel, 0), (middle, 5), (self.details, 4))):
            self.columns.addWidget(panel)
            self.columns.setStretchFactor(at, stretch)
        self.columns.setChildrenCollapsible(False)
        self.columns.setHandleWidth(12)
        self.columns.setSizes([300, 530, 402])
        box = QHBoxLayout(self)
        box.setContentsMargins(12, 12, 12, 12)
        box.addWidget(self.columns)
        self._connect()
        self._bind_keys()
        self._show_work()
        self._refresh()

    def _build_middle(self) -> Panel:
        middle = Panel(spacing=8)
        self.title = ElidedLabel("Fine-tune", "heading")
        self.state = label("", "muted")
        self.options_button = IconButton("options", with_key("Data and options", "Ctrl+I"), self.toggle_setup)
        self.start = action_button("Start", "Fine-tune on these models", KEY)
        self.pause = action_button("Pause", "Hold the run after the step in work", "Space")
        self.stop = action_button("Stop", "Stop after the step in work, and keep checkpoint and weights", "X")
        self.use = action_button("Use for reconstruction", "Build surfaces with these weights from now on", "U")
        self.folder = action_button("Open folder", "Open the folder of the run", "Shift+S")
        middle.top.addWidget(self.options_button)
        middle.top.addWidget(self.title, 1)
        middle.top.addWidget(self.state)
        middle.top.addSpacing(4)
        for button in (self.start, self.pause, self.stop, self.use, self.folder):
            middle.top.addWidget(button)
        self.bar = QProgressBar(textVisible=False)
        self.totals = ElidedLabel("")
        self.pace = label("", "muted")
        line = QHBoxLayout()
        line.setSpacing(14)
        line.addWidget(self.totals, 1)
        line.addWidget(self.pace)
        self.banner = Banner()
        self.losses = ChartPanel(
            "Loss", LOSSES, "The loss terms appear here, step by step.", first_key=1, log=True, smooth=True
        )
        self.validations = ChartPanel(
            "Validation", VALIDATIONS, "What the validation finds appears here.", first_key=len(LOSSES) + 1
        )
        self.charts = QSplitter(Qt.Orientation.Vertical)
        self.charts.setChildrenCollapsible(False)
        self.charts.setHandleWidth(8)
        self.charts.addWidget(self.losses)
        self.charts.addWidget(self.validations)
        for at, stretch in enumerate((5, 4)):
            self.charts.setStretchFactor(at, stretch)
        self.invitation = Invitation()
        self._pages = QStackedWidget()
        self._pages.addWidget(self.invitation)
        self._pages.addWidget(self.charts)
        middle.body.addLayout(middle.top)
        middle.body.addWidget(self.bar)
        middle.body.addLayout(line)
        middle.body.addWidget(self.banner)
        middle.body.addWidget(self._pages, 1)
        self._search_delay = QTimer(self, singleShot=True, interval=_SEARCH_DELAY_MS)
        self._search_delay.timeout.connect(self._filter)
        self._draw_delay = QTimer(self, singleShot=True, interval=_DRAW_MS)
        self._draw_delay.timeout.connect(self.draw)
        return middle

    def _connect(self) -> None:
        setup, details = self.setup, self.details
        setup.source_chosen.connect(self.source_chosen)
        setup.folder_chosen.connect(self.folder_chosen)
        setup.new_requested.connect(self.new_run)
        setup.start_requested.connect(self.request_start)
        setup.changed.connect(self.options_changed)
        setup.form.fields["skip_faulty"].toggled.connect(lambda _: self._show_holding())
        self.invitation.open_pressed.connect(setup.open_source)
        self.invitation.run_pressed.connect(setup.open_folder)
        for button, act in (
            (self.start, self.request_start),
            (self.pause, self.toggle_pause),
            (self.stop, self.request_stop),
            (self.use, self.use_weights),
            (self.folder, self.show_folder),
        ):
            button.clicked.connect(lambda _=False, act=act: act())
        self.search.textChanged.connect(lambda _: self._search_delay.start())
        self.search.returnPressed.connect(self.table.setFocus)
        self.table.chosen.connect(self._show_chosen)
        self.table.moved_by_hand.connect(lambda: self.follow.setChecked(False))
        self.table.customContextMenuRequested.connect(self._menu)
        self.follow.toggled.connect(self._follow_toggled)
        details.log_shown.connect(lambda: details.log.setFocus())

    def _bind_keys(self) -> None:
        keys: list[tuple[str, Callable[[], Any]]] = [
            (KEY, self.request_start),
            ("Ctrl+Shift+O", self.setup.open_folder),
            ("Ctrl+N", self.new_run),
            ("Ctrl+D", lambda: self.details.show_side(0)),
            ("Ctrl+L", lambda: self.details.show_side(1)),
            ("F5", self._reload),
        ]
        for key, act in keys:
            bind(self, key, act)
        # Keys of one letter are the charts' and the table's: elsewhere they are typed, or belong to the viewports.
        own: list[tuple[str, Callable[[], Any]]] = [
            ("Space", self.toggle_pause),
            ("X", self.request_stop),
            ("U", self.use_weights),
            ("Shift+S", self.show_folder),
            ("G", self.losses.log.click),
            ("M", self.losses.smooth.click),
            ("L", self.follow.toggle),
        ]
        for key, act in own:
            for widget in (self.table, self.losses.chart, self.validations.chart, self.details.log):
                bind(widget, key, act, alone=True)

    # -- data in -----------------------------------------------------------------------------------------

    @staticmethod
    def source_in(mime: QMimeData) -> Path | None:
        """The folder in a drop or on the clipboard."""
        if (path := folder_in(mime)) is not None:
            return path
        text = mime.text().strip() if mime.hasText() else ""
        return Path(text) if text.startswith("/") and "\n" not in text and Path(text).is_dir() else None

    def open_source(self) -> None:
        """Ask for a folder of rendered models."""
        self.setup.open_source()

    def paste(self) -> None:
        """Take the folder that was copied in a file manager."""
        self.take(QGuiApplication.clipboard().mimeData())

    def take(self, mime: QMimeData) -> None:
        """Take a folder of renders, or of a run, that was dropped or pasted."""
        if self.running:
            self.say("Stop the run first: other models cannot be taken while it goes on.", "warning")
        elif (path := self.source_in(mime)) is None:
            self.say("There is no folder in what was dropped or pasted.", "warning")
        elif (path / "finetune.json").exists():
            self.folder_chosen.emit(path)
        else:
            self.source_chosen.emit(path)

    def show_opened(self, opened: Opened) -> None:
        """Show data, and a folder with what an earlier run has left there."""
        self.setup.set_places(opened.source, opened.folder)
        if opened.options is not None:
            self.setup.form.set_values(opened.options)
        self.holding, self._state = opened.holding, ""
        self._pace = self._event = None
        self.record = Record()
        self.record.extend(opened.rows)
        name = opened.folder.name if opened.folder is not None and opened.options is not None else ""
        self.title.setText(name or (opened.source.name if opened.source is not None else "Fine-tune"))
        self.title.detail = f"{opened.source or 'no models'}\n{opened.folder or 'no folder'}"
        self.details.set_log([log_line(row) for row in opened.rows])
        self.details.set_look(None)
        self.model.set_rows([])
        self._set_looks(opened.looks)
        self.banner.hide()
        self.set_run(opened.run)
        self._show_work()
        self.draw()
        self._show_holding()
        if opened.problem:
            self.say(said(opened.problem))
        elif opened.elsewhere:
            self.say("Another process trains in this folder now. F5 shows how far it is.", "info")
        elif opened.holding is not None and opened.holding.error:
            self.say(said(opened.holding.error))
        elif opened.rows and opened.rows[-1].get("kind") in ("rollback", "collapse"):
            self.say(said(f"The run ended so: {opened.rows[-1].get('message', '')}"), "warning")
        if opened.looks:
            self.table.choose(self.model.rows[0].key)
        if self.isVisible():
            (self.table if opened.looks else self.losses.chart).setFocus()

    def show_holding(self, holding: Holding) -> None:
        """Show what the folder of rendered models holds, for other options than before."""
        self.holding = holding
        self._show_holding()

    def show_weights(self, weights: Path | None) -> None:
        """There are weights that can be used, while the run goes on."""
        if weights is not None:
            self.run = replace(self.run, weights=weights)
            self._refresh()

    def set_run(self, run: RunState) -> None:
        """Show what the folder of the run holds now."""
        self.run = run
        self.setup.set_kept(run.resumable)
        self._refresh()

    @property
    def ready(self) -> bool:
        """Whether there is something to train on, and a folder for it."""
        places = self.setup.folder_path is not None and self.setup.source_path is not None
        return places and self.holding is not None and not self.holding.error

    # -- a run -------------------------------------------------------------------------------------------

    def begin(self, validate_every: int) -> None:
        """A run begins, or goes on; `validate_every`: steps between its validations, 0 for none."""
        self.running, self._state = True, "starting"
        self._pace, self._event = Pace(validate_every), None
        self.banner.hide()
        if not self.run.resumable:
            self.record = Record()
            self.model.set_rows([])
            self.details.set_look(None)
            self.details.set_log([])
        self.follow.setChecked(True)
        self.setup.set_running(True)
        self._setup_wanted = False
        self._make_room()
        self._show_work()
        self.draw()
        self.losses.chart.setFocus()
        self._refresh()

    def take_events(self, events: Sequence[tuple[float, Progress]]) -> None:
        """Show what a run has reported: each event with the moment that it came at."""
        lines: list[str] = []
        for moment, event in events:
            if self._pace is not None:
                self._pace.take(moment, event)
            row = event.preview if isinstance(event.preview, dict) else {}
            if event.stage == "train":
                self._take_row(row, lines)
            elif event.stage == "validate":
                self._take_look(row, lines)
            elif event.message:
                lines.append(event.message)
            self._event = event
        if not events:
            return
        if lines:
            self.details.add_log(lines)
        if self._state == "starting":
            self._state = "running"
        if not self._draw_delay.isActive():
            self._draw_delay.start(max(_DRAW_MS, len(self.record) // 100))
        self._refresh()

    def _take_row(self, row: dict[str, Any], lines: list[str]) -> None:
        self.record.add(row)
        message = row.get("message")
        if message:
            self.say(said(str(message)), "warning")
        if message or int(row.get("step", 0)) % _LOG_EVERY == 0:
            lines.append(log_line(row))

    def _take_look(self, row: dict[str, Any], lines: list[str]) -> None:
        step, figures = int(row.get("step", 0)), dict(row.get("figures", {}))
        if "key" in row:
            empty = row.get("mesh") is None
            note = "The network found no surface in this model." if empty else ""
            self._set_looks([Look(row["key"], step, figures, "empty" if empty else "latest", note), *self.model.rows])
            self._follow([])
            return
        known = {"kind": "validate", "step": step, **figures}
        self.record.add(known)
        lines.append(log_line(known))
        self._set_looks(self.model.rows)

    def set_state(self, state: str) -> None:
        """Say what was asked of the work before it has done it."""
        if self._pace is not None:
            self._pace.interrupt()
        super().set_state(state)

    def draw(self) -> None:
        """Draw the curves as they are now."""
        self._draw_delay.stop()
        record = self.record
        total = self._event.total if self._event is not None and self._event.stage == "train" else self.run.steps
        end = max(record.last_step, min(total, record.last_step * 1.05), 1.0)
        for panel in (self.losses, self.validations):
            panel.set_data({curve.name: record.series(curve.name) for curve in panel.chart.curves}, record.notes, end)
        latest, best = record.figures(), record.best_step
        shown = [f"{text} {figure(name, latest.get(name))}" for name, text in FIGURES.items() if name in latest]
        text = ", ".join(shown)
        if best is not None and best != latest.get("step"):
            text += f"; best {_main_figure(record.figures(best))} at step {best:,.0f}"
        self.validations.summary.setText(text)

    # -- what the user asks for --------------------------------------------------------------------------

    def request_start(self) -> None:
        """Start or go on; after a pause too."""
        if self.running:
            if self._state == "paused":
                self.resume_requested.emit()
            return
        if self.setup.source_path is None or self.setup.folder_path is None:
            self.show_setup(True)
            missing = "a folder of rendered models" if self.setup.source_path is None else "a folder for the run"
            self.say(f"Choose {missing} first.", "warning")
            return
        if self.holding is None:
            self.status_changed.emit("The folder of rendered models is still being read.")
            return
        if self.holding.error:
            self.say(said(self.holding.error))
            return
        if self._refused:
            self.show_setup(True)
            self.say(
                f"{count(len(self.holding.problems), 'file')} of these models "
                "cannot be used, as said at the left. Render the models again, or leave them out.",
                "warning",
                {"Leave them out": self._leave_out},
            )
            return
        try:
            self.setup.form.values()
        except InputError as error:
            self.show_setup(True)
            self.say(said(str(error)))
            return
        self.start_requested.emit()

    def new_run(self) -> None:
        """Take another folder, to begin anew."""
        if not self.running and self.setup.source_path is not None:
            self.new_requested.emit()

    def use_weights(self) -> None:
        """Have reconstructions use the weights of this run."""
        if self.run.weights is not None:
            self.use_requested.emit()
        else:
            self.status_changed.emit("There are no weights yet: they are written after a validation, or when you stop.")

    def show_folder(self) -> None:
        """Open the folder of the run."""
        if self.setup.folder_path is not None:
            self.folder_requested.emit()

    def escape(self) -> bool:
        """Leave the search field or close the message; whether there was something to do."""
        if self.search.hasFocus():
            self.search.clear()
            self.table.setFocus()
        elif self.banner.isVisible():
            self.banner.hide()
        else:
            return False
        return True

    def close_down(self) -> None:
        """The window closes: free the 3D viewports."""
        self._search_delay.stop()
        self._draw_delay.stop()
        self.details.close_down()

    # -- inside ------------------------------------------------------------------------------------------

    @property
    def _refused(self) -> bool:
        """Whether there are faulty models that are not to be left out."""
        faulty = self.holding is not None and bool(self.holding.problems)
        return faulty and not self.setup.form.fields["skip_faulty"].isChecked()

    def _leave_out(self) -> None:
        self.setup.form.fields["skip_faulty"].setChecked(True)
        self.request_start()

    def _show_holding(self) -> None:
        """Say what the folder of rendered models holds, and what is missing of it."""
        found = self.holding
        if found is None or found.error:
            self.setup.set_note("", said(found.error) if found is not None else "")
            return
        text = f"{count(found.train, 'model')} for training, {found.validation:,} for validation, {found.size} px"
        if not found.validation:
            text += ". None is held out: there will be no figures, and the last weights are kept."
        elif not found.depth:
            text += ". There is no depth: no F-score, and no true shape beside the meshes."
        problem = ""
        if found.problems:
            left = "left out" if not self._refused else "not whole"
            named = [f"…/{text}" if text.count("/") > 1 else text for text in found.problems[:_SHOWN_PROBLEMS]]
            named = [text.partition("/")[2] if text.startswith("…/") else text for text in named]
            more = len(found.problems) - len(named)
            problem = "\n".join([f"Some models are {left}:", *named, *([f"and {more:,} more"] if more else [])])
        self.setup.set_note(text, problem)

    def _set_looks(self, looks: Sequence[Look]) -> None:
        """Show these, newest first, each with what it is now."""
        best = self.record.best_step
        latest: dict[str, int] = {}
        for look in looks:
            latest[look.model] = max(latest.get(look.model, -1), look.step)

        def state(look: Look) -> str:
            if look.state == "empty":
                return "empty"
            return "best" if look.step == best else "latest" if look.step == latest[look.model] else "earlier"

        unique = {look.key: look for look in reversed(looks)}  # a step that is done again replaces what was there
        rows = sorted(unique.values(), key=lambda look: look.name)
        rows.sort(key=lambda look: look.step, reverse=True)
        self.model.set_rows([replace(look, state=state(look)) for look in rows])
        self._show_rows()

    def _filter(self) -> None:
        self._search_delay.stop()
        self.model.set_filter("", self.search.text())

    def _show_rows(self) -> None:
        self.details.show_rows()

    def _follow_toggled(self, on: bool) -> None:
        if on:
            self._follow([])

    def _follow(self, rows: Sequence[Any]) -> None:
        """Choose the newest look at the chosen model, or at the first one."""
        if not self.follow.isChecked() or not self.model.rows:
            return
        chosen = self.table.current
        newest = next((row for row in self.model.rows if chosen is not None and row.model == chosen.model), None)
        look = newest or self.model.rows[0]
        self.table.choose(look.key)
        self.table.bring_into_view(look.key)

    def _show_chosen(self, key: str) -> None:
        look = self.model.find(key) if key else None
        self.details.set_look(look)
        if look is not None:
            self.look_wanted.emit(look)

    def _reload(self) -> None:
        if not self.running:
            self.reload_requested.emit()

    def _menu(self, position: Any) -> None:
        menu = QMenu(self)
        menu.addAction("Use these weights for reconstruction\tU", self.use_weights).setEnabled(
            self.run.weights is not None
        )
        menu.addAction("Open the folder of the run\tShift+S", self.show_folder)
        menu.exec(self.table.viewport().mapToGlobal(position))
        menu.deleteLater()

    def _show_work(self) -> None:
        something = self.running or not self.record.empty or self.setup.source_path is not None
        self._pages.setCurrentWidget(self.charts if something else self.invitation)
        for part in (self.bar, self.totals, self.pace):
            part.setVisible(something)

    def _show_pace(self) -> None:
        parts = []
        if self.running and self._pace is not None and self._state in ("running", "paused"):
            parts = [words] if (words := self._pace.words()) else []
        if self._free is not None:
            parts.append(f"{amount(self._free)} free")
        self.pace.setText("  ·  ".join(parts))

    def _show_progress(self) -> None:
        event, run = self._event, self.run
        if not self.running:
            steps = f"{run.step:,} of {run.steps:,} steps" if run.steps else f"{run.step:,} steps"
            self.totals.setText(steps + (" done" if run.step < run.steps else "") if run.resumable else "")
            self.bar.setRange(0, max(run.steps, 1))
            self.bar.setValue(min(run.step, run.steps) if run.resumable else 0)
            self.badge_changed.emit("")
            return
        if event is None:
            self.totals.setText("Reading the models and the network…")
            self.bar.setRange(0, 1)
            self.bar.setValue(0)
            return
        done, total = int(event.done), int(event.total)
        if event.stage == "predict":
            self.totals.setText(f"Predicting views: {done:,} of {count(total, 'model')}")
        elif event.stage == "validate":
            step = (event.preview or {}).get("step", 0)
            self.totals.setText(f"Validating at step {step:,}: {done:,} of {count(total, 'model')}")
        else:
            row = event.preview or {}
            parts = [f"Training: step {done:,} of {total:,}"]
            parts += [f"epoch {row['epoch']:.2f}"] if "epoch" in row else []
            parts += [f"loss {row['loss']:.4f}"] if "loss" in row else []
            self.totals.setText(", ".join(parts))
            self.badge_changed.emit(f"{100 * done // max(total, 1)} %")
        if event.stage != "validate":  # which is a halt of the training, not a way of its own
            self.bar.setRange(0, max(total, 1))
            self.bar.setValue(done)

    def _refresh(self) -> None:
        """Everything that depends on the state of the run."""
        running, state = self.running, self._state
        words = RUN_STATES.get(state, "") if running else ""
        if state == "paused" and self._event is not None and self._event.stage != "train":
            words = "Pauses before the next step"
        self.state.setText(words)
        setup_shown = self.setup_panel.isVisibleTo(self)
        self.options_button.setVisible(not setup_shown)
        self.start.setVisible(not running and not setup_shown)
        self.start.setText("Go on" if self.run.resumable else "Start")
        self.start.setEnabled(self.setup.folder_path is not None and self.setup.source_path is not None)
        for button in (self.pause, self.stop):
            button.setVisible(running)
        paused = running and state == "paused"
        self.pause.setText("Resume" if paused else "Pause")
        self.pause.setToolTip(with_key("Go on" if paused else "Hold the run after the step in work", "Space"))
        self.pause.setEnabled(state not in ("stopping", "starting"))
        self.stop.setEnabled(state != "stopping")
        self.use.setVisible(self.run.weights is not None)
        self.folder.setVisible(not running and (self.run.resumable or self.run.weights is not None))
        self._show_progress()
        self._show_pace()


class Invitation(MessagePage):
    """The empty tab: asks for rendered models."""

    open_pressed = Signal()
    run_pressed = Signal()

    def __init__(self) -> None:
        super().__init__(
            "curves",
            "Fine-tune the reconstruction",
            "Drop a folder of rendered models here. The network that builds surfaces learns from them how your "
            "buildings look; a run can be stopped at any time, its weights can be used at once, and it goes on where "
            "it was.",
            width=420,
        )
        self.add_buttons(
            (
                ("Open renders…", with_key("Open a folder of rendered models", "Ctrl+O"), self.open_pressed),
                ("Open a run…", with_key("Open the folder of an earlier run", "Ctrl+Shift+O"), self.run_pressed),
            ),
        )


def _main_figure(figures: dict[str, float]) -> str:
    """The first of the figures that there is."""
    return next((figure(name, figures[name]) for name in FIGURES if name in figures), "")
