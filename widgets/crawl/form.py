"""The options of a crawl and of a search; what is not as usual is marked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QGridLayout,
    QLineEdit,
    QPushButton,
    QSpinBox,
)

from engine.core.options import options_of, texts_of
from engine.crawling import DEFAULT_LICENCES, LICENCES, Options, Policy
from engine.crawling.filters import CATEGORIES, ORDERS, Filters
from engine.crawling.runner import MOST_AT_ONCE, TEXTURES
from engine.crawling.sources import Source
from widgets.kit.fields import choice_box
from widgets.kit.form import Form, form_grid, put, taken
from widgets.kit.sheet import Sheet
from widgets.kit.theme import theme

SOURCES = {
    "auto": ("Automatic", "Sketchfab's API where a token is set, else the browser"),
    "api": ("Sketchfab's API", "The site's own interface, with your token; the quicker and more reliable way"),
    "browser": ("Browser", "Opens each page in a browser of its own, logged in with your account"),
}
_SHORT = {"cc0": "CC0", "free-st": "Free Standard", "st": "Standard", "ed": "Editorial"}
_NAMES = {key: title for key, (title, _) in LICENCES.items()}
_CATEGORIES = {key: key.replace("-", ", ").capitalize() for key in CATEGORIES}


# -- fields --------------------------------------------------------------------------------------------------


class ScaledSpinBox(QDoubleSpinBox):
    """A number that is shown in a unit of its own, as gigabytes for bytes."""

    def __init__(self, name: str, kind: type, **more: Any) -> None:
        super().__init__(**more)
        self.scale = options_of(kind)[name].scale

    def whole(self) -> int | None:
        """The number in the option's unit; None for 0 where that has a text of its own."""
        return None if self.specialValueText() and not self.value() else round(self.value() * self.scale)


class TagsEdit(QLineEdit):
    """Words with commas between."""


class TickChoice(QPushButton):
    """Several of some things, or any: a button that names them, and a sheet to tick them on."""

    editingFinished = Signal()

    def __init__(self, heading: str, names: Mapping[str, str], any_text: str, fallback: tuple[str, ...] = ()) -> None:
        """`fallback` are those that are ticked once nothing is any more; where there are none, that means any."""
        super().__init__()
        self.setObjectName("choice")
        self._names, self._fallback = names, fallback
        self.boxes = {key: QCheckBox(text) for key, text in names.items()}
        self.any = QCheckBox(any_text)
        grid, columns = QGridLayout(), 2 if len(names) > 12 else 1
        self.sheet = Sheet(self, heading, 350 * columns**0.5)
        for at, box in enumerate((*self.boxes.values(), self.any)):
            box.toggled.connect(lambda on, box=box: self._ticked(box, on))
            grid.addWidget(box, at // columns, at % columns)
        self.sheet.column.addLayout(grid)
        self.clicked.connect(lambda: self.sheet.show_at(self))
        self.set_value(fallback)

    @property
    def value(self) -> tuple[str, ...]:
        """What is ticked; empty for any."""
        return () if self.any.isChecked() else tuple(key for key, box in self.boxes.items() if box.isChecked())

    def set_value(self, keys: tuple[str, ...]) -> None:
        """Tick these; none allows any."""
        wanted = {self.any: not keys} | {box: key in keys for key, box in self.boxes.items()}
        for box, on in wanted.items():
            with QSignalBlocker(box):
                box.setChecked(on)
        self._refresh()

    def _ticked(self, box: QCheckBox, on: bool) -> None:
        if on and box is self.any:
            self.set_value(())
        else:
            self.set_value(tuple(key for key, box in self.boxes.items() if box.isChecked()) or self._fallback)
        self.editingFinished.emit()

    def _refresh(self) -> None:
        names = [_SHORT.get(key, key.upper() if key in LICENCES else self._names[key]) for key in self.value]
        text = ", ".join(names) if names else "Any"
        room = self.width() - theme.px(24) if self.isVisible() else theme.px(150)
        self.setText(self.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, room))
        self.setAccessibleDescription(text)

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._refresh()


class AnySpinBox(QSpinBox):
    """A number that may be None, which is shown as any."""

    def __init__(self, most: int, step: int, suffix: str = "") -> None:
        super().__init__(minimum=0, maximum=most, singleStep=step, suffix=suffix)
        self.setSpecialValueText("any")
        self.setGroupSeparatorShown(True)


put.register(ScaledSpinBox, lambda field, value: field.setValue((value or 0) / field.scale))
put.register(TagsEdit, lambda field, value: field.setText(", ".join(value)))
put.register(TickChoice, lambda field, value: field.set_value(value))
put.register(AnySpinBox, lambda field, value: field.setValue(value or 0))
taken.register(ScaledSpinBox, lambda field: field.whole())
taken.register(TagsEdit, lambda field: tuple(tag for tag in map(str.strip, field.text().split(",")) if tag))
taken.register(TickChoice, lambda field: field.value)
taken.register(AnySpinBox, lambda field: field.value() or None)


# -- forms ---------------------------------------------------------------------------------------------------


class CrawlForm(Form):
    """`Source`, and of `Options` with its `Policy` what is set in the window; the rest stays as it was given."""

    def __init__(self) -> None:
        super().__init__(Options(), Policy(), Source())
        self._given = Options()
        self.source = choice_box(SOURCES)
        any_licence = "Any, also models that state none"
        self.licences = TickChoice("Licences that are collected", _NAMES, any_licence, DEFAULT_LICENCES)
        self.licences.any.setToolTip("What is tagged NoAI, or not offered for download, is skipped all the same")
        sizes = {size: (f"{size} px" if size else "The largest", "") for size in TEXTURES}
        texts = texts_of(Options)
        grid = form_grid(14, self)
        grid.setContentsMargins(0, 0, 4, 0)
        for name, text, field, tip in (
            ("source", "Source", self.source, "How the models are brought"),
            ("licences", "Licences", self.licences,
             "Models of other licences are skipped; so is what is tagged NoAI, always"),
            ("parallel", "At once", QSpinBox(minimum=1, maximum=MOST_AT_ONCE),
             "Pages that are worked on at the same time"),
            ("pause", "Pause", QDoubleSpinBox(minimum=0.0, maximum=600.0, decimals=1, suffix=" s"),
             "Rest between two pages, out of politeness to the site"),
            ("attempts", "Attempts", QSpinBox(minimum=1, maximum=20),
             "How often a page is tried before it counts as failed"),
            ("texture", "Textures", choice_box(sizes), texts["texture"] if texts else ""),
            ("keep_free", "Keep free", ScaledSpinBox("keep_free", Options, maximum=100_000.0, decimals=1, suffix=" GB"),
             "The crawl stops before the disk has less than this left"),
            ("created_with_ai", "Also models made with AI", QCheckBox(),
             "Take models that are tagged CreatedWithAI; they are skipped otherwise, as a data set is better without"),
            ("show_browser", "Show the browser", QCheckBox(),
             "Watch the browser at work, and answer what the site asks; with the API there is none"),
        ):  # fmt: skip
            self.add(grid, name, text, field, tip, wide=True)
        grid.setRowStretch(grid.rowCount(), 1)  # in a tall window the fields stay together
        self.set_values(Options(), Source())

    def values(self) -> Options:
        """The options as they stand."""
        policy = Policy(**{field.name: self.value(field.name) for field in fields(Policy)})
        shown = {field.name: self.value(field.name) for field in fields(Options) if field.name in self.fields}
        return replace(self._given, policy=policy, **shown)

    def source_values(self) -> Source:
        """What is to bring the models."""
        return Source(**{field.name: self.value(field.name) for field in fields(Source)})

    def set_values(self, options: Options, source: Source) -> None:
        """Show these."""
        self._given = options
        for values in (options, options.policy, source):
            self.show_values(values)

    def set_enabled(self, on: bool) -> None:
        """Whether anything can be changed."""
        for field in self.fields.values():
            field.setEnabled(on)


class SearchForm(Form):
    """`Filters` but for those that the crawl has too: its licences, and whether AI has made it."""

    def __init__(self) -> None:
        super().__init__(Filters())
        self.words, self.most = QLineEdit(), QSpinBox(minimum=1, maximum=100_000)
        self.words.setPlaceholderText("gothic church")
        self.most.setValue(1000)
        largest = ScaledSpinBox("max_bytes", Filters, maximum=100_000.0, decimals=0, suffix=" MB")
        largest.setSpecialValueText("any")
        tags = TagsEdit()
        tags.setPlaceholderText("any")
        orders = {key: (key.capitalize(), "") for key in ORDERS}
        faces = [AnySpinBox(100_000_000, 10_000) for _ in range(2)]
        grid = form_grid(14, self)
        for name, text, field, tip in (
            ("words", "Words", self.words, "What to look for; may be left empty where a category or a tag is given"),
            ("most", "At most", self.most, "Models that the list gets at most"),
            ("categories", "Categories", TickChoice("Categories of Sketchfab", _CATEGORIES, "Any"),
             "Models of any of these"),
            ("tags", "Tags", tags, "Tags that a model has, with commas between"),
            ("sort", "First", choice_box(orders), "What stands first in the list"),
            ("days", "Within", AnySpinBox(36_500, 30, " days"), "Published no longer ago than so many days"),
            ("min_faces", "Faces, least", faces[0], "Number of faces at least; any for 0"),
            ("max_faces", "Faces, most", faces[1], "Number of faces at most; any for 0"),
            ("max_bytes", "File", largest, "Size of the GLB at most, or of the archive where no GLB is stated"),
        ):  # fmt: skip
            self.add(grid, name, text, field, tip)

    def values(self, policy: Policy) -> Filters:
        """What is set, with what the crawl would take."""
        shown = {field.name: self.value(field.name) for field in fields(Filters) if field.name in self.fields}
        return Filters(policy.licences, created_with_ai=policy.created_with_ai, **shown)
