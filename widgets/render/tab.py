"""The Render tab: models and settings at the left, the table of models in the middle, the chosen model at the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PySide6.QtCore import QMimeData, QTimer, Signal
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QWidget

from engine.rendering.jobs import ModelState, RenderSettings, RenderTotals
from widgets.crawl.incoming import folder_in, list_in
from widgets.kit.actions import ELSEWHERE, OWN, TABLE, WINDOW, Action
from widgets.kit.details import SIDES
from widgets.kit.job_page import JobPage
from widgets.kit.words import amount, count, duration
from widgets.render.details import DetailsPanel
from widgets.render.setup_panel import MODEL_SUFFIXES, SetupPanel
from widgets.render.sheet import SheetOverlay
from widgets.render.table import ModelTable, ModelView
from widgets.render.trial import TrialFrame
from widgets.render.words import RUN_STATES, STATES

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


class RenderTab(JobPage):
    """Everything of a rendering on one page."""

    model: ModelTable

    retry_requested = Signal(list)
    """Render the models of these keys again."""
    cancel_requested = Signal(list)
    """Leave the models of these keys out."""
    first_requested = Signal(list)
    """Render the models of these keys before the others."""
    details_wanted = Signal(str)
    preview_requested = Signal(str)
    test_requested = Signal(str, str)
    """Render a view of a model to see what it looks like, and how long it takes."""
    large_wanted = Signal(str, str, bool)
    """The whole picture of a model's view is wanted, or its depth."""
    pictures_wanted = Signal(list)
    """Pictures beside the names of these finished models."""
    folder_requested = Signal(str)
    """Show the folder of a model; of all, without a name."""

    NAME, SETUP, ITEM = "Render", "Models and settings", "model"
    STATES, RUN_STATES = STATES, RUN_STATES
    FILTERS, RARE = ("", "working", "waiting", "done", "failed", "cancelled"), ("cancelled",)
    BUTTONS = ("start", "pause", "stop", "retry", "folder")
    MENU = ("enlarge", "preview", "test", "", "first", "cancel", "again", "retry", "", "file", "copy")
    INVITATION = (
        "camera",
        "Render models",
        "Drop a folder of models here, or the list of those that were selected. Blender takes 40 pictures of each, "
        "with depth, as a training set needs them; a run can be stopped at any time and goes on where it was.",
        420,
    )
    INVITED = ("open", "list")

    _totals: RenderTotals | None = None

    def __init__(self) -> None:
        model = ModelTable()
        super().__init__(SetupPanel(), model, ModelView(model), DetailsPanel())
        self._wanted: list[str] = []
        self.retry, self.folder = self.buttons["retry"], self.buttons["folder"]
        self.overlay = SheetOverlay(self, self.details.sheet)
        self.test = TrialFrame(self)
        self._pictures_delay = QTimer(self, singleShot=True, interval=_PICTURES_DELAY_MS)
        self._pictures_delay.timeout.connect(self._ask_pictures)
        details = self.details
        for name in ("preview", "test", "first", "cancel"):
            self.acts.dress(getattr(details, name), name)
        self.acts.dress(details.depth_button, "depth")
        self.acts.dress(details.retry, "again")
        self.acts.dress(details.files, "file")
        self.acts.dress(self.setup.list, "list")
        self.setup.changed.connect(lambda: details.set_settings(self.setup.form.values()))
        self.model.picture_wanted.connect(self._want_picture)
        self.table.activated.connect(lambda _: self.enlarge())
        details.sheet.enlarge_requested.connect(self.overlay.show_view)
        details.sheet.large_wanted.connect(self._large_wanted)
        self.overlay.depth_toggled.connect(self._toggle_depth)
        self._show_content()
        self._refresh()

    def _actions(self) -> Sequence[Action]:
        setup = self.setup

        def state(*states: str, runs: bool = False) -> Any:
            return lambda row: row.state in states and (self.running or not runs)

        return (
            Action("start", self.request_start, "Start", "Render the models; goes on where an earlier run ended",
                   "Ctrl+R", sheet="start"),
            Action("pause", self.toggle_pause, "Pause", "Begin no further model; those at work go on", "Space", TABLE,
                   sheet=", pause and go on"),
            Action("stop", self.request_stop, "Stop",
                   "Stop now; finished models are kept, and the run goes on from there", "X", OWN, sheet=", stop"),
            Action("preview", self._preview, "Preview", "Show its 40 poses at once, drawn without Blender", "P", OWN,
                   sheet="fast preview", fits=lambda row: row.state != "done"),
            Action("test", self._test, "Test frame", "Render the chosen view with Blender, and see how long it takes",
                   "T", OWN, sheet=", one test frame"),
            Action("depth", self._toggle_depth, "Depth", "Depth maps in place of pictures", "D", OWN, sheet="depth"),
            Action("enlarge", self.enlarge, "Enlarge", key="Return", where=ELSEWHERE,
                   sheet=", enlarge; arrows for the next"),
            Action("first", lambda: self._on_current(self.first_requested, "waiting"), "Render next",
                   "Before all others that wait", "N", OWN, sheet="render next", fits=state("waiting", runs=True)),
            Action("cancel", lambda: self._on_current(self.cancel_requested, "waiting", "working"), "Cancel",
                   "Leave this model out", "Del", OWN, sheet=", cancel", menu="Cancel this model",
                   fits=state("waiting", "working", runs=True)),
            Action("retry", self.retry_failed, "Retry failed", "Render all failed models again", "F", OWN,
                   sheet=", retry failed", menu="Try all failed models again", fits=lambda _: self.retry.isEnabled()),
            Action(SIDES[0], lambda: self.details.show_side(0), "Cameras",
                   "The model and where its pictures are taken from", "Ctrl+D", sheet="cameras"),
            Action(SIDES[1], lambda: self.details.show_side(1), "Log", "What Blender wrote when it failed", "Ctrl+L",
                   sheet=", Blender's log"),
            Action("file", self._show_file, "Show its folder", "Show its folder", "S", OWN,
                   sheet="folder of the model"),
            Action("folder", self.show_pictures, "Open folder", "Open the folder of the pictures", "Shift+S", OWN,
                   sheet=", of all"),
            Action("again", self._retry_current, "Try it again", "Render this model once more",
                   menu="Try this model again", fits=state("failed", "cancelled")),
            Action("copy", self._copy, "Copy the path", key="Ctrl+C", where=OWN),
            Action("open", setup.open_source, "Open a folder…", "Open a folder of models", "Ctrl+O", WINDOW),
            Action("list", setup.open_list, "Open a list…",
                   "Open the list of a screening (selected.txt), or one model"),
            Action("folder place", setup.open_folder, tip="Choose the folder for the pictures", key="Ctrl+Shift+O"),
            Action("options", self.toggle_setup, tip=self.SETUP, key="Ctrl+I", where=WINDOW),
            Action("paste", self.paste, key="Ctrl+V", where=WINDOW),
            Action("find", self.focus_search, tip="Show the models in whose name or message these words occur",
                   key="Ctrl+F", where=WINDOW),
            Action("follow", lambda: self.follow.toggle(), tip="Keep the models at work in view", key="L", where=OWN),
            Action("reload", self.reload, key="F5"),
        )  # fmt: skip

    def _own_widgets(self) -> tuple[QWidget, ...]:
        return self.table, self.details.sheet

    # -- models in ---------------------------------------------------------------------------------------

    def source_in(self, mime: QMimeData) -> Path | None:
        """The list, folder or model in a drop or on the clipboard."""
        if (path := list_in(mime) or folder_in(mime)) is not None:
            return path
        paths = [Path(url.toLocalFile()) for url in mime.urls() if url.isLocalFile()] if mime.hasUrls() else []
        return next((path for path in paths if path.suffix.lower() in MODEL_SUFFIXES), None)

    def take(self, mime: QMimeData) -> None:
        """Take models that were dropped or pasted, or say why there is nothing to take."""
        if self.running:
            self.say("Stop the run first: other models cannot be taken while it goes on.", "warning")
        elif (path := self.source_in(mime)) is not None:
            self.setup.source.chosen.emit(path)
        else:
            self.say("There is no model, no list and no folder of models in what was dropped or pasted.", "warning")

    def show_opened(self, opened: Opened) -> None:
        """Show models and a folder with what an earlier run has left there."""
        self.setup.set_places(opened.source, opened.folder)
        self.setup.set_note(count(len(opened.models), "model") if opened.source and not opened.problem else "")
        if opened.settings is not None:
            self.setup.form.set_values(opened.settings)
        self._totals, self._state, self._following = opened.totals, "", ""
        place = opened.source or (opened.folder if opened.models else None)
        self.title.setText(place.name if place is not None else "Render")
        self.title.detail = f"{opened.source or 'no models'}\n{opened.folder or 'no folder'}"
        self.details.set_settings(self.setup.form.values())
        self.model.set_rows(opened.models)
        self.banner.hide()
        if opened.problem:
            self.say(opened.problem)
        elif opened.elsewhere:
            self.say("Another process renders into this folder now. F5 shows how far it is.", "info")
        self._show_content()
        self._refresh()
        if opened.models and self.isVisible():
            self.table.setFocus()
            if self.table.current is None:
                self.table.choose(opened.models[0].model.key)

    # -- a run -------------------------------------------------------------------------------------------

    def take_progress(self, totals: RenderTotals | None = None) -> None:
        """Show what has changed of a run."""
        if models := self.model.refresh():
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

    def _may_start(self) -> bool:
        if self.setup.ready and self.model.rows:
            return True
        self.show_setup(True)
        missing = "models" if not self.model.rows else "a folder for the pictures"
        self.say(f"Choose {missing} first.", "warning")
        return False

    def retry_failed(self) -> None:
        """Render all failed models again."""
        keys = [row.model.key for row in self.model.rows if row.state == "failed"]
        if not keys:
            self.status_changed.emit("No model failed.")
        elif self.setup.ready:
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
        if self.setup.ready:
            self.folder_requested.emit("")

    def escape(self) -> bool:
        """Close what lies on top, leave the search field or close the message; whether there was something to do."""
        for overlay in (self.test, self.overlay):
            if overlay.isVisible():
                overlay.dismiss()
                return True
        return super().escape()

    def close_down(self) -> None:
        """The window closes: free the 3D viewport."""
        self._pictures_delay.stop()
        self.test.dismiss()
        super().close_down()

    # -- inside ------------------------------------------------------------------------------------------

    def _preview(self) -> None:
        if (row := self.table.current) is not None:
            self.preview_requested.emit(row.model.key)

    def _test(self) -> None:
        if (row := self.table.current) is not None:
            self.test_requested.emit(row.model.key, self.details.sheet.current)

    def _retry_current(self) -> None:
        row = self.table.current
        if row is not None and row.state in ("failed", "cancelled"):
            self.retry_requested.emit([row.model.key])

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
            self._copy_text(str(row.model.path))

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

    def _progress(self) -> tuple[int, int, str]:
        counts, total, totals = self.model.counts, len(self.model.rows), self._totals
        settled = counts["done"] + counts["failed"] + counts["cancelled"]
        text = f"{settled:,} of {count(total, 'model')}" if total else ""
        if total and totals is not None and totals.frames and totals.frames_total:
            text += f", {totals.frames:,} of {totals.frames_total:,} frames"
        if self.running and totals is not None and totals.frames_total:
            # Frames move where models take minutes; what has failed counts as done with.
            share = min(totals.frames / totals.frames_total, 1.0)
            lost = (totals.failed + totals.cancelled) / max(totals.total, 1)
            return round(1000 * min(share + lost, 1.0)), 1000, text
        return settled, total, text

    def _pace_parts(self) -> list[str]:
        parts, totals, free = [], self._totals, self._free
        if totals is not None:
            if self.running:
                free = totals.free or free
                if totals.frames_per_hour:
                    parts.append(f"{totals.frames_per_hour:,.0f} frames/h")
                if totals.seconds_left and totals.state not in ("stopping", "starting"):
                    parts.append(f"about {duration(totals.seconds_left)} left")
            if totals.disk:
                parts.append(f"{amount(totals.disk)} used")
        if free is not None:
            parts.append(f"{amount(free)} free")
        return parts

    def _state_words(self) -> str:
        workers = self._totals.workers if self._totals is not None and self._state in ("running", "paused") else 0
        return super()._state_words() + (f"  ·  {count(workers, 'worker')}" if workers else "")

    def _message(self) -> str:
        return self._totals.message if self._totals is not None else ""

    def _show_buttons(self) -> None:
        some = bool(self.model.rows)
        self.retry.setVisible(some)
        self.folder.setVisible(some and not self.running)
        self.folder.setEnabled(self.setup.ready)
        self.table.show_columns("Worker", on=self.running)

    def _show_counts(self) -> None:
        self.retry.setEnabled(self.model.counts["failed"] > 0 and self._state != "stopping")
        super()._show_counts()
