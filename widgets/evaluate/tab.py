"""The Evaluate tab: folders and options left, what came out in the middle, a sample in 3D or the report right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PySide6.QtCore import QMimeData, Qt, Signal
from PySide6.QtWidgets import QComboBox, QFileDialog, QStackedWidget, QToolButton, QWidget

from engine.evaluation.metrics import METRICS, probability
from widgets.crawl.incoming import folder_in
from widgets.evaluate.compare import ComparePanel
from widgets.evaluate.contents import Found, Opened, Pace, Sample
from widgets.evaluate.grid import Cell, Grid, Line
from widgets.evaluate.report_view import ReportView
from widgets.evaluate.setup_panel import SetupPanel
from widgets.evaluate.table import DIFFERENCE, FIRST, SECOND, SampleTable, SampleView
from widgets.evaluate.words import STATES, figure, gain, interval, signed, title, verdict
from widgets.kit.actions import ELSEWHERE, OWN, WINDOW, Action, bind
from widgets.kit.details import SIDES, Segments
from widgets.kit.job_page import JobPage
from widgets.kit.labels import hint, label, plain_text
from widgets.kit.panel import Panel, column, holder, scrolled, split
from widgets.kit.theme import theme
from widgets.kit.words import count, duration

_COMPARE, _REPORT = 0, 1
_JUMPS = {
    "best": ("Best", "Alt+B"),
    "worst": ("Worst", "Alt+W"),
    "improved": ("Most improved", "Alt+I"),
    "worsened": ("Most worsened", "Alt+D"),
}
"""Samples that can be gone to at once, by the measure that is shown; once more goes to the next of them."""


class EvaluateTab(JobPage):
    """Everything of an evaluation on one page."""

    model: SampleTable
    table: SampleView

    meshes_wanted = Signal()
    """What the two viewports show has changed."""
    folder_requested = Signal(str)
    """Show the folder of a sample's model; without a name, of the results."""
    browser_requested = Signal()
    csv_requested = Signal(object)
    """Copy the figures to this file."""
    models_requested = Signal(str)
    """Show the page of models, at this one."""

    NAME, SETUP, ITEM = "Evaluate", "Models and predictions", "sample"
    STATES = STATES
    RUN_STATES = MappingProxyType({"starting": "Starting…", "running": "Measuring", "stopping": "Stopping…"})
    FILTERS = ("", "waiting", "done", "failed", "missing")
    RARE = FILTERS[1:]
    BUTTONS = ("browser", "export", "folder", "start", "stop")
    RUNNING = ("stop",)  # a stopped evaluation goes on by itself: there is no other pause
    MENU = ("compare", "", *_JUMPS, "", "file", "copy")
    INVITATION = (
        "table",
        "Evaluate predictions",
        "Choose the folder of true models, and one or more folders of predictions of the same names: meshes, or "
        "runs of Reconstruct. Each is laid onto its model and measured; the first set is what the others are "
        "compared with.",
        340,
    )
    INVITED = ("open", "folder place")
    STRETCHES, SIZES, LEAST = (4, 6), (276, 450, 510), (400, 420)

    results: dict[str, Any] | None = None
    measure = "f_score"
    page: Path | None = None
    """The report that is there."""
    _labels: tuple[str, ...] = ()
    _pace: Pace | None = None
    _jump = ""
    _loaded: tuple[Any, ...] | None = None

    def __init__(self) -> None:
        model = SampleTable()
        super().__init__(SetupPanel(), model, SampleView(model), DetailsPanel())
        setup, compare, report = self.setup, self.details.compare, self.details.report
        self.compare, self.report = compare, report
        for button, name in ((setup.add, "add"), (compare.previous, "previous"), (compare.next, "next")):
            self.acts.dress(button, name)
        self.acts.dress(compare.linked, "link")
        setup.weights_requested.connect(self._show_weights)
        self.table.activated.connect(lambda _: self._enter())
        self.table.horizontalHeader().sectionClicked.connect(lambda _: self._keep_in_view())
        self.overview.chosen.connect(self.set_metric)
        self.against.activated.connect(lambda _: self._compare_sets())
        self.details.segments.idClicked.connect(self.show_side)
        compare.metric_chosen.connect(self.set_metric)
        compare.meshes_wanted.connect(self.meshes_wanted)
        report.open_requested.connect(self.browser_requested)
        report.clicked.connect(self._take_keyboard)
        self._show_content()
        self._refresh()

    def _actions(self) -> Sequence[Action]:
        setup, compare = self.setup, self.details.compare
        jumps = [Action(name, partial(self.jump_to, name), text, key=key) for name, (text, key) in _JUMPS.items()]
        jumps[0] = replace(jumps[0], sheet="best, worst, most improved, worsened", shown="Alt+B W I D")
        return (
            Action("start", self.request_start, "Evaluate", "Measure what is not yet measured, and write the report",
                   "Ctrl+R", sheet="evaluate or go on"),
            Action("stop", self.request_stop, "Stop",
                   "Stop now; what is measured is kept, and the next start goes on there", "X", OWN, sheet=", stop"),
            Action("open", setup.open_source, "True models…", "Choose the folder of the true models", "Ctrl+O", WINDOW,
                   sheet="true models"),
            Action("add", setup.open_predictions, tip="Add a folder of predictions", key="Ctrl+P",
                   sheet=", add predictions"),
            Action(SIDES[0], lambda: self.show_side(_COMPARE), "Compare", "The chosen sample in two views", "Ctrl+D",
                   sheet="two views"),
            Action(SIDES[1], lambda: self.show_side(_REPORT), "Report",
                   "The page of the evaluation, as it can be passed on", "Ctrl+L", sheet=", the report"),
            Action("previous", lambda: self.step(-1), tip="The sample before", key="Alt+Up", sheet="sample",
                   shown="Alt+Up Down"),
            Action("next", lambda: self.step(1), tip="The next sample", key="Alt+Down"),
            Action("measure before", lambda: self._step_metric(-1), key="Alt+PgUp", sheet="; measure",
                   shown="Alt+PgUp PgDn"),
            Action("next measure", lambda: self._step_metric(1), key="Alt+PgDown"),
            *jumps,
            Action("left", compare.left.step, key="Alt+Left", sheet="what stands on a side", shown="Alt+Left Right"),
            Action("right", compare.right.step, key="Alt+Right"),
            Action("link", compare.toggle_link, tip="Move both views together", key="L", where=ELSEWHERE,
                   sheet="; link the views"),
            Action("browser", self.open_browser, tip="Open the report in the browser", key="Ctrl+B", icon="globe"),
            Action("export", self.export_csv, tip="Save the figures as CSV", key="Ctrl+E", where=WINDOW, icon="table"),
            Action("folder", self.show_folder, tip="Open the folder of the results", key="Shift+S", where=OWN,
                   icon="folder"),
            Action("compare", self._enter, "Compare", key="Return", where=ELSEWHERE),
            Action("file", self._show_file, "Show its folder", key="S", where=OWN),
            Action("copy", self._copy, "Copy the path", key="Ctrl+C", where=OWN),
            Action("folder place", setup.open_folder, "Earlier evaluation…",
                   "Choose the folder for the results, or an earlier evaluation", "Ctrl+Shift+O"),
            Action("options", self.toggle_setup, tip=self.SETUP, key="Ctrl+I", where=WINDOW),
            Action("paste", self.paste, key="Ctrl+V", where=WINDOW),
            Action("find", self.focus_search, key="Ctrl+F", where=WINDOW,
                   tip="Show the samples in whose name or message these words occur"),
            Action("reload", self.reload, key="F5"),
        )  # fmt: skip

    def _build_work(self) -> QWidget:
        self.verdict = plain_text(label("", wrap=True))
        self.overview = Grid("Means of each set")
        inside = column(self.overview, None, spacing=6)
        inside.setContentsMargins(0, 0, 4, 0)
        area = scrolled(holder(inside))
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._upper = holder(column(self.verdict, (area, 1), spacing=6))
        self.against = QComboBox()
        self.against.setToolTip("Set of predictions that is compared with the first")
        self.against.setMinimumWidth(110)
        self.jump = QToolButton()
        self.jump.setText("Go to")
        self.jump.setToolTip(f"Go to the best or worst sample, or what changed most ({_JUMPS['best'][1]} and others)")
        self.jump.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.jump.setMenu(self.acts.menu(self.jump, _JUMPS, None))
        lower = self._build_table(self.search, self.against, self.jump)
        lower.setMinimumHeight(160)
        return split((self._upper, 5), (lower, 4))

    # -- folders in --------------------------------------------------------------------------------------

    def source_in(self, mime: QMimeData) -> Path | None:
        """The folder in a drop or on the clipboard."""
        return folder_in(mime)

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
            self.setup.folder.chosen.emit(folders[0])
        elif self.setup.models_path is None:
            self.setup.places_changed.emit(folders[0], folders[1:], self.setup.folder_path)
        else:
            self.setup.add_predictions(folders)

    def show_opened(self, opened: Opened) -> None:
        """Show what stands on the disk."""
        setup = self.setup
        setup.show_places(opened.models, opened.predictions, opened.folder)
        if opened.choice is not None:
            setup.set_choice(opened.choice)
        self.results, self.page, self._labels = opened.results, opened.page, opened.labels
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
        self._pace = None
        super().begin()

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
        self._pace = None
        super().end(text, kind, actions)

    # -- what the user asks for --------------------------------------------------------------------------

    def _may_start(self) -> bool:
        setup = self.setup
        if not setup.ready or not self.model.rows:
            self.show_setup(True)
            if setup.models_path is None:
                self.say("Choose the folder of the true models first.", "warning", {"Choose…": setup.open_source})
            elif not setup.prediction_paths:
                add = {"Add…": setup.open_predictions}
                self.say("Add at least one folder of predictions first.", "warning", add)
            elif setup.folder_path is None:
                self.say("Choose a folder for the results first.", "warning", {"Choose…": setup.open_folder})
            elif not self.banner.isVisible():
                self.reload()
            return False
        return True

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
        self.details.segments.button(at).setChecked(True)
        if at == _COMPARE:
            self.report.leave()
            self._loaded = None
            self.details.pages.setCurrentWidget(self.compare)
            return
        if self.page is None:
            self.report.leave()
            self._loaded = None
            waits = "It is written when all is measured." if self.running else "Evaluate (Ctrl+R) writes it."
            self.details.no_report.setText(f"There is no report yet. {waits}")
            self.details.pages.setCurrentWidget(self.details.no_report)
            return
        self.details.pages.setCurrentWidget(self.report)
        made = (self.page, self.results["made"] if self.results else "")
        if self._loaded != made and self.isVisible():
            self._loaded = made
            self.report.show_report(self.page)
        self._take_keyboard()

    def open_browser(self) -> None:
        """Open the report in the browser of the system."""
        if self.page is not None:
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
        if self.page is None or folder is None:
            self.status_changed.emit("There are no results yet.")
            return
        name, _ = QFileDialog.getSaveFileName(
            self, "Save the figures", str(folder.parent / f"{folder.name}.csv"), "Tables (*.csv)"
        )
        if name:
            path = Path(name)
            self.csv_requested.emit(path if path.suffix else path.with_suffix(".csv"))

    # -- inside ------------------------------------------------------------------------------------------

    def _wants_room(self) -> bool:
        return self.running or self.results is not None

    def _take_keyboard(self) -> None:
        """Have the keys of the window work, though a page stands in it."""
        if self.details.segments.checkedId() == _REPORT and self.isVisible():
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
            self._copy_text(row.path)

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
        if self.details.segments.checkedId() == _REPORT:
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

    def _progress(self) -> tuple[int, int, str]:
        found = [one for row in self.model.rows for one in row.predictions.values() if one.path is not None]
        done, whole = sum(one.settled for one in found), len(found)
        if self.running and self._pace is not None:
            done, whole = self._pace.done, self._pace.total
        if not self.model.rows:
            return done, whole, ""
        failed = sum(bool(one.problem) for one in found)
        models, sets = count(len(self.model.rows), "model"), count(len(self._labels), "set")
        text = f"{done - failed:,} of {count(whole, 'prediction')} measured, {models}, {sets}"
        return done, whole, text + (f", {failed:,} failed" if failed else "")

    def _pace_parts(self) -> list[str]:
        left = self._pace.seconds_left if self._pace is not None and self._state == "running" else None
        return [f"about {duration(left)} left"] if left else []

    def _state_words(self) -> str:
        writing = self._pace is not None and self._pace.stage == "report"
        return "Writing the report" if writing else super()._state_words()

    def _message(self) -> str:
        return self._pace.message if self._pace is not None else ""

    def _show_buttons(self) -> None:
        for name in ("browser", "export"):
            self.buttons[name].setVisible(self.page is not None and not self.running)
        folder = self.setup.folder_path is not None
        self.buttons["folder"].setVisible(bool(self.model.rows) and not self.running and folder)

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        if self.details.segments.checkedId() == _REPORT:
            self.show_side(_REPORT)

    def hideEvent(self, event: Any) -> None:
        super().hideEvent(event)
        self.report.leave()  # it shall not go on drawing unseen
        self._loaded = None


class DetailsPanel(Panel):
    """The chosen sample in two views, or the report."""

    def __init__(self) -> None:
        super().__init__(spacing=6)
        self.segments = Segments(self, 2)
        for button in self.segments.buttons():
            self.top.addWidget(button)
        self.top.addStretch(1)
        self.compare, self.report, self.no_report = ComparePanel(), ReportView(), hint()
        self.pages = QStackedWidget()
        for page in (self.compare, self.report, self.no_report):
            self.pages.addWidget(page)
        self.body.addLayout(self.top)
        self.body.addWidget(self.pages, 1)
        bind(self.compare, "L", self.compare.toggle_link)
        for key, act in (
            ("PgDown", lambda: self.report.scroll_pages(0.9)),
            ("PgUp", lambda: self.report.scroll_pages(-0.9)),
            ("Down", lambda: self.report.scroll_pages(0.15)),
            ("Up", lambda: self.report.scroll_pages(-0.15)),
            ("Home", lambda: self.report.jump(0)),
            ("End", lambda: self.report.jump(1)),
        ):
            bind(self, key, act, alone=True)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)

    def set_running(self, running: bool) -> None:
        """Whether an evaluation goes on: nothing here depends on it."""

    def close_down(self) -> None:
        """Free viewports and browser."""
        self.compare.close_down()
        self.report.close_down()
