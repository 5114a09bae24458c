"""What an evaluation is given: the true models, the sets of predictions, the folder for the results, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QSpinBox,
    QWidget,
)

from engine.evaluation.metrics import METRICS
from widgets.evaluate.contents import Choice
from widgets.kit import setup_panel
from widgets.kit.actions import bind
from widgets.kit.buttons import IconButton, with_key
from widgets.kit.fields import ElidedComboBox, indent
from widgets.kit.form import form_grid
from widgets.kit.labels import label
from widgets.kit.panel import column, holder, row, scrolled
from widgets.kit.path_field import PathField, PlaceField
from widgets.kit.theme import theme

_UPS = (
    ("+z", "As the format says"),
    ("+y", "+Y"),
    ("-y", "−Y"),
    ("+x", "+X"),
    ("-x", "−X"),
    ("-z", "−Z"),
    ("all", "Unknown: try all six"),
)
_WEIGHTS = ("clip", "lpips")
"""Measures that need weights."""


class SetupPanel(setup_panel.SetupPanel):
    """Folders and options."""

    places_changed = Signal(object, list, object)
    """Models, predictions and the folder for the results, as the user wants them now; None where there is none."""
    weights_requested = Signal(str)
    """Show where the weights of a measure are to be had."""

    def __init__(self) -> None:
        tip = "Folder for the results; an evaluation that is there is shown"
        super().__init__(
            PlaceField("No models yet", "Folder of the true models", "Folder of true models"),
            PlaceField("No folder yet", tip, "Folder for the results, or of an earlier evaluation"),
        )
        self.models = self.source_field
        self._predictions: list[Path] = []
        self._setting = False
        self._missing: Mapping[str, str] = {}
        self._wanted = set(METRICS)
        """Measures that are ticked, or would be if their weights were here."""
        self.models.chosen.connect(lambda path: self._tell(path))
        self.predictions = _Sets()
        self.predictions.setToolTip(
            "Folders of predictions of the same names; the others are compared with the first. "
            "Del removes one, Ctrl+Up and Ctrl+Down move it"
        )
        self.predictions.currentRowChanged.connect(lambda _: self._refresh())
        self.predictions.moved.connect(self._dragged)
        self.add = IconButton("open", "")
        self.up = IconButton("chevron-up", with_key("Earlier; the first is compared with", "Ctrl+Up"), self._earlier)
        self.down = IconButton("chevron-down", with_key("Later", "Ctrl+Down"), self._later)
        self.remove = IconButton("trash", with_key("Do without this set", "Del"), self.remove_chosen)
        self.area = scrolled(self._build_form())
        column(
            label("True models", "muted"),
            self.models,
            row((label("Predictions", "muted"), 1), self.add, self.up, self.down, self.remove, spacing=0),
            self.predictions,
            self.note,
            label("Folder for the results", "muted"),
            self.folder,
            4,
            (self.area, 1),
            self.start,
            spacing=6,
            within=self,
        )
        bind(self.predictions, "Del", self.remove_chosen, alone=True)
        bind(self.predictions, "Ctrl+Up", self._earlier, alone=True)
        bind(self.predictions, "Ctrl+Down", self._later, alone=True)
        theme.changed.connect(self._restyle)
        self._restyle()
        self.set_missing({})

    def _build_form(self) -> QWidget:
        self.metrics: dict[str, QCheckBox] = {}
        self.get: dict[str, QPushButton] = {}
        lines = []
        for key, metric in METRICS.items():
            self.metrics[key] = box = QCheckBox(metric.label)
            box.clicked.connect(lambda on, key=key: self._tick(key, on))
            if key in _WEIGHTS:
                self.get[key] = button = QPushButton("Get weights…")
                button.setObjectName("flat")
                button.clicked.connect(lambda _=False, key=key: self.weights_requested.emit(key))
            lines.append(row((box, 1), *([self.get[key]] if key in self.get else []), spacing=6))
        grid = form_grid(10)
        grid.setVerticalSpacing(6)
        self.clip = PathField("As on the Models page", "Weights of CLIP: a file or folder of open_clip's")
        self.lpips = PathField("As found", "Weights of LPIPS: the state of lpips.LPIPS(net='alex')")
        for field in (self.clip, self.lpips):
            field.edited.connect(self._option_changed)
            field.button.clicked.connect(lambda _=False, field=field: self._open_weights(field))
        self.axis = ElidedComboBox()
        for key, text in _UPS:
            self.axis.addItem(text, key)
        self.axis.setToolTip("Axis of the predictions that points up")
        self.axis.currentIndexChanged.connect(self._option_changed)
        self.workers = QSpinBox(minimum=0, maximum=256)
        self.workers.setSpecialValueText("Automatic")
        self.workers.setToolTip("Processes that measure, at a time, on this machine")
        indent(self.workers)
        self.workers.valueChanged.connect(self._option_changed)
        self.scheduler = QLineEdit()
        self.scheduler.setPlaceholderText("This machine alone")
        self.scheduler.setToolTip("Address of a Dask scheduler whose workers measure instead, as tcp://host:8786")
        self.scheduler.editingFinished.connect(self._option_changed)
        for text, edit in (
            ("CLIP", self.clip),
            ("LPIPS", self.lpips),
            ("Up axis", self.axis),
            ("Workers", self.workers),
            ("Scheduler", self.scheduler),
        ):
            at = grid.rowCount()
            grid.addWidget(label(text, "muted"), at, 0)
            grid.addWidget(edit, at, 1)
            if isinstance(field, QComboBox):
                field.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
                field.setMinimumContentsLength(6)
        parts = column(label("Measures", "heading"), *lines, 4, label("How", "heading"), grid, None, spacing=6)
        parts.setContentsMargins(0, 0, 6, 0)
        return holder(parts)

    # -- content -----------------------------------------------------------------------------------------

    @property
    def models_path(self) -> Path | None:
        """The folder of true models in force."""
        return self.models.path

    @property
    def prediction_paths(self) -> list[Path]:
        """The sets of predictions in force, the one that the others are compared with first."""
        return list(self._predictions)

    @property
    def ready(self) -> bool:
        """Whether there are models, predictions and a folder."""
        return super().ready and self.models.path is not None and bool(self._predictions)

    def show_places(self, models: Path | None, predictions: Sequence[Path], folder: Path | None) -> None:
        """Show these folders."""
        self._predictions = list(predictions)
        self.predictions.show_paths(self._predictions)
        self._restyle()
        self.set_places(models, folder)

    def set_missing(self, missing: Mapping[str, str]) -> None:
        """Measures whose weights are not on this machine, and what to do about it."""
        self._missing = missing
        self._refresh()

    def choice(self) -> Choice:
        """The options as they stand."""
        return Choice(
            without=tuple(key for key in self.metrics if key not in self._wanted),
            clip=self.clip.edit.text().strip(),
            lpips=self.lpips.edit.text().strip(),
            up=self.axis.currentData(),
            workers=self.workers.value(),
            scheduler=self.scheduler.text().strip(),
        )

    def set_choice(self, choice: Choice) -> None:
        """Show these options."""
        self._setting = True
        self._wanted = {key for key in self.metrics if key not in choice.without}
        self.clip.set_path(Path(choice.clip) if choice.clip else None)
        self.lpips.set_path(Path(choice.lpips) if choice.lpips else None)
        self.axis.setCurrentIndex(max(self.axis.findData(choice.up), 0))
        self.workers.setValue(choice.workers)
        self.scheduler.setText(choice.scheduler)
        self._setting = False
        self._refresh()

    # -- what the user does ------------------------------------------------------------------------------

    def open_source(self) -> None:
        """Ask for the folder of true models."""
        self._look_beside(self.models.ask(self.last_folder))

    def open_predictions(self) -> None:
        """Ask for another folder of predictions."""
        if not self._running:
            name = QFileDialog.getExistingDirectory(self, "Folder of predictions", self.last_folder)
            self._look_beside(name)
            if name:
                self.add_predictions([Path(name)])

    def open_folder(self) -> None:
        """Ask for the folder of the results."""
        self._look_beside(self.folder.ask(self.last_folder))

    def add_predictions(self, paths: Sequence[Path]) -> None:
        """Compare these sets as well."""
        self._predictions += [path for path in paths if path not in self._predictions]
        self._tell(self.models.path)

    def remove_chosen(self) -> None:
        """Do without the chosen set."""
        at = self.predictions.currentRow()
        if not self._running and 0 <= at < len(self._predictions):
            del self._predictions[at]
            self._tell(self.models.path)

    def _earlier(self) -> None:
        self._move(-1)

    def _later(self) -> None:
        self._move(1)

    def _move(self, by: int) -> None:
        at = self.predictions.currentRow()
        to = at + by
        if not self._running and at >= 0 and 0 <= to < len(self._predictions):
            self._predictions.insert(to, self._predictions.pop(at))
            self._tell(self.models.path)
            self.predictions.setCurrentRow(to)

    def _dragged(self, paths: list[Path]) -> None:
        self._predictions = paths
        self._tell(self.models.path)

    # -- inside ------------------------------------------------------------------------------------------

    def _tell(self, models: Path | None) -> None:
        self.show_places(models, self._predictions, self.folder.path)
        self.places_changed.emit(models, list(self._predictions), self.folder.path)

    def _look_beside(self, name: str) -> None:
        """Look for the next folder beside this one."""
        if name:
            self.last_folder = str(Path(name).parent)

    def _open_weights(self, field: PathField) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Weights", self.last_folder)
        if name:
            self.last_folder = str(Path(name).parent)
            field.set_path(Path(name))
            self._option_changed()

    def _option_changed(self, *_: object) -> None:
        if not self._setting:
            self._refresh()
            self.changed.emit()

    def _tick(self, key: str, on: bool) -> None:
        (self._wanted.add if on else self._wanted.discard)(key)
        self._option_changed()

    def _refresh(self) -> None:
        super()._refresh()
        free = not self._running
        at, number = self.predictions.currentRow(), len(self._predictions)
        for widget in (self.predictions, self.add):
            widget.setEnabled(free)
        self.up.setEnabled(free and at > 0)
        self.down.setEnabled(free and 0 <= at < number - 1)
        self.remove.setEnabled(free and at >= 0)
        for field in (self.clip, self.lpips, self.axis, self.workers, self.scheduler):
            field.setEnabled(free)
        self.workers.setEnabled(free and not self.scheduler.text().strip())
        for key, box in self.metrics.items():
            named = key in _WEIGHTS and bool(getattr(self, key).edit.text().strip())
            missing = self._missing.get(key, "") if not named else ""
            box.setEnabled(free and not missing)
            box.setChecked(key in self._wanted and not missing)
            box.setToolTip(missing or METRICS[key].meaning)
            if key in self.get:
                self.get[key].setVisible(bool(missing))
                self.get[key].setToolTip(f"{missing} Opens the Models page")

    def _restyle(self) -> None:
        rows = min(max(len(self._predictions), 2), 4)
        self.predictions.setFixedHeight(rows * theme.px(30) + theme.px(6))


class _Sets(QListWidget):
    """The folders of predictions; dragging reorders them."""

    moved = Signal(list)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("sets")
        self.setDragDropMode(QAbstractItemView.DragDropMode.InternalMove)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setAccessibleName("Folders of predictions")
        self.model().rowsMoved.connect(lambda *_: self.moved.emit(self.paths()))

    def show_paths(self, paths: Sequence[Path]) -> None:
        """Show these, keeping the place of the chosen one."""
        if self.paths() != list(paths) or self.count() != len(paths):
            before = self.currentRow()
            self.clear()
            for path in paths:
                item = QListWidgetItem()
                item.setData(Qt.ItemDataRole.UserRole, str(path))
                self.addItem(item)
            self.setCurrentRow(min(before, len(paths) - 1))
        for at, path in enumerate(paths):
            item = self.item(at)
            alone = [other.name for other in paths].count(path.name) == 1
            name = path.name if alone else "/".join(path.parts[-2:])
            item.setText(f"{name}  ·  baseline" if at == 0 and len(paths) > 1 else name)
            item.setToolTip(str(path))
            item.setSizeHint(QSize(10, theme.px(28)))

    def paths(self) -> list[Path]:
        """The folders in their order."""
        return [Path(self.item(at).data(Qt.ItemDataRole.UserRole)) for at in range(self.count())]
