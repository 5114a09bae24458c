"""The picture, what of it is the object, and the options of the reconstruction."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QSize, Qt, QTimer, Signal
from PySide6.QtGui import QImage, QPainter, QPixmap, QStandardItemModel
from PySide6.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QHBoxLayout,
    QLayout,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from engine.reconstruct.options import ELEVATION_RANGE, Options
from widgets.kit.buttons import IconButton, with_key
from widgets.kit.fields import choice_box
from widgets.kit.images import paint_fitted, to_qimage
from widgets.kit.labels import ElidedLabel, label
from widgets.kit.panel import clear_layout
from widgets.kit.theme import theme
from widgets.reconstruct.foreground_editor import ForegroundEditor
from widgets.reconstruct.framing_button import FramingButton
from widgets.reconstruct.model_choices import MISSING_TIP, ModelChoices
from widgets.reconstruct.request import Choice, Picture, QueueEntry, Request

MODES = {
    "auto": ("Automatic", "Alpha if the picture has it, else a plain background, else what stands out"),
    "alpha": ("Alpha channel", "The picture's own transparency"),
    "plain": ("Plain background", "Remove a background of one colour"),
    "salient": ("What stands out", "U-2-Net or its like: the object of a photograph, without a click"),
    "grabcut": ("Box and strokes", "GrabCut: draw a box around the object, correct it with strokes"),
    "sam": ("Segment Anything", "SAM: click on the object, or draw a box around it"),
    "whole": ("Whole picture", "Keep everything"),
}
QUALITIES = {
    "draft": ("Draft", "Quickest, coarse mesh"),
    "standard": ("Standard", "The usual choice"),
    "fine": ("Fine", "Finer mesh and larger texture, takes longer"),
}
FOUND = {
    "alpha": "Found by its alpha channel",
    "plain": "Found on its plain background",
    "salient": "Found as what stands out",
    "grabcut": "Found by GrabCut",
    "sam": "Found by Segment Anything",
    "whole": "The whole picture is kept",
}
EDIT_DELAY_MS = 150
SHORT = 560
"""Height in pixels below which the panel stands closer and does without the samples, which the empty tab has too."""


class ThumbnailStrip(QScrollArea):
    """A row of pictures to choose from, as large as they fit beside each other; it scrolls when there are many."""

    GAP, SMALLEST = 6, 34

    chosen = Signal(int)

    def __init__(self, side: int) -> None:
        super().__init__()
        self._largest = side
        self._images: list[tuple[QImage, str]] = []
        self._buttons: list[QToolButton] = []
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        content = QWidget()
        self._row = QHBoxLayout(content)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.setSpacing(self.GAP)
        self.setWidget(content)
        theme.changed.connect(self._restyle)
        self._restyle()

    def set_side(self, side: int) -> None:
        """Show the pictures no larger than this."""
        if side != self._largest:
            self._largest = side
            self._restyle()

    def set_items(self, items: list[tuple[QImage, str]]) -> None:
        """Show these pictures, each with a tooltip."""
        self._images = items
        clear_layout(self._row)
        self._buttons = []
        self._row.addStretch(1)
        for i, (_, tip) in enumerate(items):
            button = QToolButton()
            button.setToolTip(tip)
            button.setAccessibleName(tip)
            button.setCheckable(True)
            button.setObjectName("thumbnail")
            button.clicked.connect(lambda _=False, index=i: self.chosen.emit(index))
            self._row.addWidget(button)
            self._buttons.append(button)
        self._row.addStretch(1)
        self._restyle()

    def set_image(self, index: int, image: QImage) -> None:
        """Show the picture at `index`, which was not there at first."""
        self._images[index] = (image, self._images[index][1])
        self._fill(index)

    def mark(self, index: int) -> None:
        """Frame one of them; -1 for none."""
        for i, button in enumerate(self._buttons):
            button.setChecked(i == index)

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self._restyle()

    def _restyle(self) -> None:
        count = max(len(self._buttons), 1)
        room = (self.width() - (count + 1) * self.GAP) // count
        fits = room >= theme.px(self.SMALLEST)
        side = min(theme.px(self._largest), max(room, theme.px(self.SMALLEST)))
        inner = side - 6
        for i, button in enumerate(self._buttons):
            button.setFixedSize(side, side)
            button.setIconSize(QSize(inner, inner))
            self._fill(i)
        self.setFixedHeight(side + (2 if fits else theme.px(12)))
        self._row.activate()
        if (inside := self.widget()) is not None:  # at once: a layout request would come after the paint
            needed = self._row.minimumSize().width()
            inside.resize(max(self.viewport().width(), needed), side)

    def _fill(self, index: int) -> None:
        image, size = self._images[index][0], self._buttons[index].iconSize()
        if image.isNull():
            return
        filling = image.scaled(
            size, Qt.AspectRatioMode.KeepAspectRatioByExpanding, Qt.TransformationMode.SmoothTransformation
        )
        left, top = (filling.width() - size.width()) // 2, (filling.height() - size.height()) // 2
        self._buttons[index].setIcon(QPixmap.fromImage(filling.copy(left, top, size.width(), size.height())))


class PictureWell(QPushButton):
    """Asks for a picture, or shows the one in work; a click is for opening one, or for correcting its mask."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("well")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.image = QImage()
        self.set_image(QImage())

    def set_image(self, image: QImage) -> None:
        """Show a picture; a null one asks for one."""
        self.image = image
        empty = image.isNull()
        self.setText("Drop a picture here\nor press Ctrl+O" if empty else "")
        self.setToolTip("Open a picture" if empty else "Correct what is the object, in the middle of the window")
        self.setAccessibleName(self.toolTip())
        self.update()

    def paintEvent(self, event: Any) -> None:
        super().paintEvent(event)
        if not self.image.isNull():
            painter = QPainter(self)
            paint_fitted(painter, self.image, self.rect().adjusted(6, 6, -6, -6))


class QueueList(QWidget):
    """Jobs that wait, each with a button that takes it out."""

    remove_requested = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(2)
        self.entries: list[QueueEntry] = []
        self.hide()

    def set_entries(self, entries: list[QueueEntry]) -> None:
        """Show the jobs in the order they are done; hides when none waits."""
        self.entries = entries
        clear_layout(self._column)
        waiting = [entry for entry in entries if not entry.running]
        self.setVisible(bool(waiting))
        if not waiting:
            return
        self._column.addWidget(label(f"Waiting: {len(waiting)}", "small"))
        for entry in waiting[:4]:
            row = QWidget()
            line = QHBoxLayout(row)
            line.setContentsMargins(0, 0, 0, 0)
            line.addWidget(ElidedLabel(entry.title), 1)
            tip = f"Take {entry.title} out of the queue"
            line.addWidget(IconButton("cancel", tip, partial(self.remove_requested.emit, entry.key)))
            self._column.addWidget(row)
        if len(waiting) > 4:
            self._column.addWidget(label(f"and {len(waiting) - 4} more", "small"))


class InputPanel(QWidget):
    """Left side of the tab. `requested` carries what is to be reconstructed."""

    requested = Signal(list)
    """A list of `Request`: one, or one for each of several pictures."""
    picture_chosen = Signal(object)
    """Another `Picture` is to be shown: load it and call `show_picture`."""
    preview_wanted = Signal(object, str)
    """The foreground of a `Picture` in a mode is to be found: call `show_mask` or `show_problem`."""
    open_pressed = Signal()
    edit_pressed = Signal()
    """The mask is to be corrected: show `editor`, which belongs to the owner's layout."""
    paste_pressed = Signal()
    remove_requested = Signal(int)
    sample_chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.pictures: list[Picture] = []
        self._index = 0
        self._samples: list[tuple[Path, QImage]] = []
        self._busy = False
        self._usable = True
        self._title = ElidedLabel("", "heading")
        top = QHBoxLayout()
        top.setSpacing(2)
        top.addWidget(self._title, 1)
        self.framing = FramingButton()
        top.addWidget(self.framing)
        top.addWidget(IconButton("open", with_key("Open pictures", "Ctrl+O"), self.open_pressed.emit))
        top.addWidget(IconButton("paste", with_key("Paste a picture", "Ctrl+V"), self.paste_pressed.emit))

        self.well = PictureWell()
        self.well.clicked.connect(lambda: (self.open_pressed if self.well.image.isNull() else self.edit_pressed).emit())
        self.editor = ForegroundEditor()
        self.editor.edited.connect(self._edited)
        self.well.setMinimumHeight(170)
        self.note = label("", "small", wrap=True)
        self.strip = ThumbnailStrip(52)
        self.strip.chosen.connect(self._strip_chosen)

        self.mode = choice_box(MODES)
        self.mode.setToolTip("How the object is found in the picture")
        self.mode.currentIndexChanged.connect(self._mode_changed)
        self.framing.upright.toggled.connect(lambda _: self._want_preview())
        self.elevation_kind = QComboBox()
        self.elevation_kind.addItems(["Automatic", "Known"])
        self.elevation_kind.setToolTip("Estimate the camera's elevation from the views, or type it if it is known")
        self.elevation_kind.currentIndexChanged.connect(self._elevation_kind_changed)
        self.elevation = QDoubleSpinBox()
        self.elevation.setRange(*ELEVATION_RANGE)
        self.elevation.setDecimals(1)
        self.elevation.setSuffix("°")
        self.elevation.setValue(20.0)
        self.elevation.setToolTip("Degrees above the horizon: 0 is level, 89 straight down onto the object")
        self.elevation.setAccessibleName("Elevation in degrees")
        self.elevation.setVisible(False)
        elevation_row = QHBoxLayout()
        elevation_row.setSpacing(8)
        elevation_row.addWidget(self.elevation_kind, 1)
        elevation_row.addWidget(self.elevation, 1)
        self.quality = choice_box(QUALITIES)
        self.quality.setToolTip("How fine the views, the mesh and the texture are")
        self.quality.setCurrentIndex(1)
        self.models = ModelChoices()
        self._form = form = QGridLayout()
        form.setHorizontalSpacing(14)
        form.setVerticalSpacing(8)
        form.setColumnStretch(1, 1)
        for box in (self.mode, self.elevation_kind, self.quality, self.models.method):
            box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        fields: dict[str, QWidget | QLayout] = {
            "Object": self.mode,
            "Elevation": elevation_row,
            "Quality": self.quality,
            "Method": self.models.method,
            "Models": self.models,
        }
        for row, (text, field) in enumerate(fields.items()):
            form.addWidget(label(text, "muted"), row, 0)
            if isinstance(field, QWidget):
                form.addWidget(field, row, 1)
            else:
                form.addLayout(field, row, 1)

        self.button = QPushButton("Reconstruct")
        self.button.setObjectName("primary")
        self.button.setToolTip(with_key("Make a mesh of this picture", "Ctrl+Return"))
        self.button.clicked.connect(lambda: self.request())
        self.queue = QueueList()
        self.queue.remove_requested.connect(self.remove_requested)

        self._column = column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(10)
        column.addLayout(top)
        column.addWidget(self.well, 1)
        column.addWidget(self.note)
        column.addWidget(self.strip)
        column.addLayout(form)
        column.addSpacing(2)
        column.addWidget(self.button)
        column.addWidget(self.queue)
        self._delay = QTimer(self)
        self._delay.setSingleShot(True)
        self._delay.setInterval(EDIT_DELAY_MS)
        self._delay.timeout.connect(self._want_preview)
        self._mode_changed()
        self._refresh()

    # -- pictures ----------------------------------------------------------------------------------------

    @property
    def picture(self) -> Picture | None:
        """The picture in work."""
        return self.pictures[self._index] if self.pictures else None

    def set_pictures(self, pictures: list[Picture]) -> None:
        """Take in new pictures in place of the old ones, and show the first. `show_thumbnail` follows for several."""
        self.pictures = list(pictures)
        self._index = 0
        if len(pictures) > 1:
            self.strip.set_items([(QImage(), p.name) for p in pictures])
        else:
            self._show_samples()
        self._choose(0)

    def show_thumbnail(self, picture: Picture, image: QImage) -> None:
        """Show one of several pictures in the strip, if it is still there."""
        index = next((i for i, p in enumerate(self.pictures) if p is picture), None)
        if index is not None and len(self.pictures) > 1:
            self.strip.set_image(index, image)

    def set_samples(self, samples: list[tuple[Path, QImage]]) -> None:
        """Offer the bundled pictures, each with a thumbnail."""
        self._samples = samples
        if len(self.pictures) < 2:
            self._show_samples()

    def show_picture(self, picture: Picture, pixels: Any) -> None:
        """Show loaded `pixels`, uint8 (H, W, 4), if `picture` is still the one in work."""
        if picture is self.picture:
            self.editor.set_picture(pixels, picture.box, picture.strokes, picture.points)
            self.well.set_image(to_qimage(pixels))
            self.note.setText("Looking for the object…")
            self._want_preview()

    def show_mask(self, picture: Picture, mask: Any, method: str, notes: Sequence[str] = ()) -> None:
        """Show the foreground that was found, float (H, W), and what is doubtful about it."""
        if picture is self.picture:
            self.editor.set_mask(mask)
            self.note.setText(" ".join([f"{FOUND.get(method, method)}.", *notes]))

    def show_problem(self, picture: Picture, text: str, *, usable: bool = True) -> None:
        """Say what is wrong with the picture or its foreground; `usable` if another mode or a box may mend it."""
        if picture is self.picture:
            self.note.setText(text)
            if not usable:
                self.well.set_image(QImage())
            self._usable = usable
            self._refresh()

    def draw_box(self) -> None:
        """Let the user draw a box around the object now."""
        self.mode.setCurrentIndex(list(MODES).index("grabcut"))
        self.editor.setFocus()

    # -- options -----------------------------------------------------------------------------------------

    def set_options(
        self,
        *,
        mode: str | None = None,
        quality: str | None = None,
        upright: bool | None = None,
        foreground_ratio: float | None = None,
        **models: Any,
    ) -> None:
        """Choose options by their names in `Options`; `models` are those of `ModelChoices`."""
        self.framing.choose(upright, foreground_ratio)
        for box, value in ((self.mode, mode), (self.quality, quality)):
            if value is not None and box.findData(value) >= 0:
                box.setCurrentIndex(box.findData(value))
        self.models.choose(**models)

    def set_choices(self, choices: dict[str, list[Choice]], preferred: dict[str, str], note: str = "") -> None:
        """Offer models, by the part of the work that they do; see `ModelChoices.set_choices`."""
        present = {choice.name for choice in choices.get("foreground", []) if choice.present}
        listed = self.mode.model()
        assert isinstance(listed, QStandardItemModel)  # as of every combo box that was given no other
        for mode in ("salient", "sam"):
            item = listed.item(list(MODES).index(mode))
            item.setEnabled(mode in present)
            item.setToolTip(MODES[mode][1] if mode in present else MISSING_TIP)
        self.models.set_choices({part: c for part, c in choices.items() if part != "foreground"}, preferred, note)

    @property
    def known_elevation(self) -> float | None:
        """Elevation in degrees that was typed; None to estimate it."""
        return self.elevation.value() if self.elevation_kind.currentIndex() == 1 else None

    def set_elevation(self, elevation: float | None) -> None:
        """Choose a known elevation in degrees, or None to estimate it."""
        self.elevation_kind.setCurrentIndex(0 if elevation is None else 1)
        if elevation is not None:
            self.elevation.setValue(elevation)

    def request(self) -> None:
        """Ask for the reconstruction of the pictures, as the button does."""
        if not self.pictures:
            self.open_pressed.emit()
            return
        if not self.button.isEnabled():
            return
        self.requested.emit([Request(picture, Options(**self.chosen(picture))) for picture in self.pictures])

    def chosen(self, picture: Picture) -> dict[str, Any]:
        """What is chosen for a picture and drawn on it, by the names of `Options`."""
        return {
            "box": picture.box,
            "strokes": picture.strokes,
            "points": picture.points,
            "mode": self.mode.currentData(),
            "elevation": self.known_elevation,
            "quality": self.quality.currentData(),
            **self.framing.values(),
            **self.models.values(),
        }

    def set_busy(self, busy: bool) -> None:
        """Whether a run is on, so that another one will wait."""
        self._busy = busy
        self._refresh()

    # -- inside ------------------------------------------------------------------------------------------

    def _choose(self, index: int) -> None:
        self._index = index
        self._usable = True
        picture = self.picture
        self.note.setText("Opening…" if picture else "")
        if len(self.pictures) > 1:
            self.strip.mark(index)
        self._refresh()
        if picture:
            self.picture_chosen.emit(picture)

    def _strip_chosen(self, index: int) -> None:
        if len(self.pictures) > 1:
            self._choose(index)
        else:
            self.strip.mark(-1)
            self.sample_chosen.emit(self._samples[index][0])

    def _show_samples(self) -> None:
        self.strip.set_items([(image, f"Sample: {path.stem}") for path, image in self._samples])
        self._show_strip()

    def _refresh(self) -> None:
        picture = self.picture
        title = "" if picture is None else picture.name
        if len(self.pictures) > 1:
            title = f"{title} ({self._index + 1} of {len(self.pictures)})"
        self._title.setText(title)
        if picture is None:
            self.well.set_image(QImage())
        self.note.setVisible(picture is not None)
        self._show_strip()
        several = f" {len(self.pictures)} pictures" if len(self.pictures) > 1 else ""
        self.button.setText(f"Add{several} to the queue" if self._busy else f"Reconstruct{several}")
        self.button.setEnabled(picture is not None and (self._usable or len(self.pictures) > 1))

    def _show_strip(self) -> None:
        short = self.height() < theme.px(SHORT)
        self.strip.setVisible(len(self.pictures) > 1 or (bool(self._samples) and not short))

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        short = self.height() < theme.px(SHORT)
        self._column.setSpacing(6 if short else 10)
        self._form.setVerticalSpacing(4 if short else 8)
        self.well.setMinimumHeight(110 if short else 170)
        self.strip.set_side(38 if short else 52)
        self._show_strip()

    def _mode_changed(self) -> None:
        mode = self.mode.currentData()
        self.editor.allow_points(mode not in ("grabcut", "whole"), hint=mode == "sam")
        self._want_preview()

    def _elevation_kind_changed(self, index: int) -> None:
        self.elevation.setVisible(index == 1)
        if index == 1:
            self.elevation.setFocus()
            self.elevation.selectAll()

    def _edited(self, box: Any, strokes: Any, points: Any) -> None:
        if picture := self.picture:
            picture.box, picture.strokes, picture.points = box, strokes, points
            self._delay.start()

    def _want_preview(self) -> None:
        if picture := self.picture:
            self.preview_wanted.emit(picture, self.mode.currentData())
