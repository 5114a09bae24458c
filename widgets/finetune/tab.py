"""The Fine-tune tab: data and options left, the run's curves in the middle, the validation models at the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PySide6.QtCore import QMimeData, QTimer, Signal
from PySide6.QtWidgets import QWidget

from engine.core.errors import InputError
from engine.core.progress import Progress
from engine.training import FineTuneOptions, RunState
from engine.training.records import RUN
from widgets.crawl.incoming import folder_in
from widgets.finetune.chart import LOSSES, VALIDATIONS, ChartPanel
from widgets.finetune.details import DetailsPanel
from widgets.finetune.looks import Look
from widgets.finetune.record import Pace, Record
from widgets.finetune.setup_panel import KEY, SetupPanel
from widgets.finetune.words import FIGURES, RUN_STATES, figure, log_line
from widgets.kit.actions import ELSEWHERE, OWN, WINDOW, Action
from widgets.kit.details import SIDES
from widgets.kit.job_page import JobPage
from widgets.kit.panel import split
from widgets.kit.words import amount, count

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
class Opened:
    """Data and the folder of a run as they were found on the disk."""

    source: Path | None = None
    folder: Path | None = None
    holding: Holding | None = None
    run: RunState = field(default_factory=RunState)
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


class FineTuneTab(JobPage):
    """Everything of a fine-tuning on one page."""

    new_requested = Signal()
    """Another folder is wanted for a new run."""
    use_requested = Signal()
    """Reconstructions are to use the weights of this run."""
    look_wanted = Signal(object)
    """The mesh of this `Look`, and the true one, are wanted."""
    folder_requested = Signal()

    NAME, SETUP, ITEM = "Fine-tune", "Data and options", "model"
    RUN_STATES = RUN_STATES
    BUTTONS = ("start", "pause", "stop", "use", "folder")
    MENU = ("use", "folder")
    INVITATION = (
        "curves",
        "Fine-tune the reconstruction",
        "Drop a folder of rendered models here. The network that builds surfaces learns from them how your buildings "
        "look; a run can be stopped at any time, its weights can be used at once, and it goes on where it was.",
        420,
    )
    INVITED = ("open", "folder place")
    SIZES = (300, 530, 402)

    _pace: Pace | None = None
    _event: Progress | None = None
    holding: Holding | None = None
    """What the folder of rendered models holds; None until it has been read."""

    def __init__(self) -> None:
        self.record = Record()
        self.run = RunState()
        details = DetailsPanel()
        super().__init__(SetupPanel(), details.model, details.table, details)
        self.use, self.folder = self.buttons["use"], self.buttons["folder"]
        details.top.addWidget(self.search, 1)
        details.top.addWidget(self.follow)
        self.acts.dress(self.setup.new, "new")
        self._draw_delay = QTimer(self, singleShot=True, interval=_DRAW_MS)
        self._draw_delay.timeout.connect(self.draw)
        self.setup.form.fields["skip_faulty"].toggled.connect(lambda _: self._show_holding())
        details.log_shown.connect(details.log.setFocus)
        self._show_content()
        self._refresh()

    def _actions(self) -> Sequence[Action]:
        setup = self.setup
        return (
            Action("start", self.request_start, "Start", "Fine-tune on these models", KEY, sheet="start or go on"),
            Action("pause", self.toggle_pause, "Pause", "Hold the run after the step in work", "Space", OWN,
                   sheet=", pause"),
            Action("stop", self.request_stop, "Stop", "Stop after the step in work, and keep checkpoint and weights",
                   "X", OWN, sheet=", stop and keep"),
            Action("use", self.use_weights, "Use for reconstruction", "Build surfaces with these weights from now on",
                   "U", OWN, sheet="use the weights", menu="Use these weights for reconstruction",
                   fits=lambda _: self.run.weights is not None),
            Action("folder", self.show_folder, "Open folder", "Open the folder of the run", "Shift+S", OWN,
                   sheet=", open the run's folder", menu="Open the folder of the run"),
            Action("curves", lambda: None, sheet="show or hide a curve", shown="Alt+1 … 9"),
            Action("log scale", lambda: self.losses.log.click(), key="G", where=OWN, sheet="log scale"),
            Action("smooth", lambda: self.losses.smooth.click(), key="M", where=OWN, sheet=", smooth"),
            Action("values", lambda: None, key="←  →", where=ELSEWHERE, sheet=", values by step"),
            Action(SIDES[0], lambda: self.details.show_side(0), "Mesh",
                   "The chosen model as the network builds it, beside the true one", "Ctrl+D", sheet="mesh"),
            Action(SIDES[1], lambda: self.details.show_side(1), "Log", "What the run says of itself", "Ctrl+L",
                   sheet=", log"),
            Action("follow", lambda: self.follow.toggle(), key="L", where=OWN, sheet=", follow the newest mesh",
                   tip="Show the newest mesh of the chosen model as it comes"),
            Action("folder place", setup.open_folder, "Open a run…", "Open the folder of an earlier run, or a new one",
                   "Ctrl+Shift+O", sheet="open a run"),
            Action("new", self.new_run, "New run", "Take another folder, to begin anew with other options", "Ctrl+N",
                   sheet=", new run"),
            Action("reload", self.reload, key="F5", sheet=", read anew"),
            Action("open", setup.open_source, "Open renders…", "Open a folder of rendered models", "Ctrl+O", WINDOW),
            Action("options", self.toggle_setup, tip=self.SETUP, key="Ctrl+I", where=WINDOW),
            Action("paste", self.paste, key="Ctrl+V", where=WINDOW),
            Action("find", self.focus_search, key="Ctrl+F", where=WINDOW,
                   tip="Show the models in whose name these words occur"),
        )  # fmt: skip

    def _own_widgets(self) -> tuple[QWidget, ...]:
        return self.table, self.losses.chart, self.validations.chart, self.details.log

    def _build_work(self) -> QWidget:
        self.losses = ChartPanel(
            "Loss", LOSSES, "The loss terms appear here, step by step.", first_key=1, switches=True
        )
        self.validations = ChartPanel(
            "Validation", VALIDATIONS, "What the validation finds appears here.", first_key=len(LOSSES) + 1
        )
        return split((self.losses, 5), (self.validations, 4))

    # -- data in -----------------------------------------------------------------------------------------

    def source_in(self, mime: QMimeData) -> Path | None:
        """The folder in a drop or on the clipboard."""
        if (path := folder_in(mime)) is not None:
            return path
        text = mime.text().strip() if mime.hasText() else ""
        return Path(text) if text.startswith("/") and "\n" not in text and Path(text).is_dir() else None

    def take(self, mime: QMimeData) -> None:
        """Take a folder of renders, or of a run, that was dropped or pasted."""
        if self.running:
            self.say("Stop the run first: other models cannot be taken while it goes on.", "warning")
        elif (path := self.source_in(mime)) is None:
            self.say("There is no folder in what was dropped or pasted.", "warning")
        elif (path / RUN).exists():
            self.setup.folder.chosen.emit(path)
        else:
            self.setup.source.chosen.emit(path)

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
        self._show_content()
        self.draw()
        self._show_holding()
        if opened.problem:
            self.say(opened.problem)
        elif opened.elsewhere:
            self.say("Another process trains in this folder now. F5 shows how far it is.", "info")
        elif opened.holding is not None and opened.holding.error:
            self.say(opened.holding.error)
        elif opened.rows and opened.rows[-1].get("kind") in ("rollback", "collapse"):
            self.say(f"The run ended so: {opened.rows[-1].get('message', '')}", "warning")
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
        return self.setup.ready and self.holding is not None and not self.holding.error

    # -- a run -------------------------------------------------------------------------------------------

    def begin(self, validate_every: int = 0) -> None:
        """A run begins, or goes on; `validate_every`: steps between its validations, 0 for none."""
        self._pace, self._event = Pace(validate_every), None
        if not self.run.resumable:
            self.record = Record()
            self.model.set_rows([])
            self.details.set_look(None)
            self.details.set_log([])
        self.follow.setChecked(True)
        super().begin()
        self._show_content()
        self.draw()
        self.losses.chart.setFocus()

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
            self.say(str(message), "warning")
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

    def _may_start(self) -> bool:
        if not self.setup.ready:
            self.show_setup(True)
            missing = "a folder of rendered models" if self.setup.source_path is None else "a folder for the run"
            self.say(f"Choose {missing} first.", "warning")
            return False
        if self.holding is None:
            self.status_changed.emit("The folder of rendered models is still being read.")
            return False
        if self.holding.error:
            self.say(self.holding.error)
            return False
        if self._refused:
            self.show_setup(True)
            self.say(
                f"{count(len(self.holding.problems), 'file')} of these models "
                "cannot be used, as said at the left. Render the models again, or leave them out.",
                "warning",
                {"Leave them out": self._leave_out},
            )
            return False
        try:
            self.setup.form.values()
        except InputError as error:
            self.show_setup(True)
            self.say(str(error))
            return False
        return True

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

    def close_down(self) -> None:
        """The window closes: free the 3D viewports."""
        self._draw_delay.stop()
        super().close_down()

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
            self.setup.set_note("", found.error if found is not None else "")
            return
        text = f"{count(found.train, 'model')} for training, {found.validation:,} for validation, {found.size} px"
        if not found.validation:
            text += ". None is held out: there will be no figures, and the last weights are kept."
        elif not found.depth:
            text += ". There is no depth: no F-score, and no true shape beside the meshes."
        problem = ""
        if found.problems:
            left = "left out" if not self._refused else "not whole"
            named = found.problems[:_SHOWN_PROBLEMS]
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

    def _menu(self, position: Any) -> None:
        self._open_menu(position)  # what is in it is of the run, wherever one clicks

    def _filter(self) -> None:
        self._search_delay.stop()
        self.model.set_filter("", self.search.text())

    def _show_rows(self) -> None:
        self.details.show_rows()

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

    def _has_content(self) -> bool:
        return self.running or not self.record.empty or self.setup.source_path is not None

    def _pace_parts(self) -> list[str]:
        parts = []
        if self.running and self._pace is not None and self._state in ("running", "paused"):
            parts = [words] if (words := self._pace.words()) else []
        if self._free is not None:
            parts.append(f"{amount(self._free)} free")
        return parts

    def _show_counts(self) -> None:
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

    def _state_words(self) -> str:
        if self._state == "paused" and self._event is not None and self._event.stage != "train":
            return "Pauses before the next step"
        return super()._state_words()

    def _show_buttons(self) -> None:
        self.start.setText("Go on" if self.run.resumable else "Start")
        self.use.setVisible(self.run.weights is not None)
        self.folder.setVisible(not self.running and (self.run.resumable or self.run.weights is not None))


def _main_figure(figures: dict[str, float]) -> str:
    """The first of the figures that there is."""
    return next((figure(name, figures[name]) for name in FIGURES if name in figures), "")
