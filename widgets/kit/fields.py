"""Fields of forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QStandardItemModel
from PySide6.QtWidgets import QAbstractSpinBox, QComboBox, QStyle, QStyleOptionComboBox, QStylePainter

from widgets.kit.theme import theme


class ElidedComboBox(QComboBox):
    """A combo box that ends a text too long for it with an ellipsis."""

    def paintEvent(self, event: Any) -> None:
        painter = QStylePainter(self)
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        style = self.style()
        room = style.subControlRect(
            QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, self
        )
        option.currentText = self.fontMetrics().elidedText(
            option.currentText, Qt.TextElideMode.ElideRight, room.width() - 6
        )
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)


def choice_box(entries: Mapping[Any, tuple[str, str]]) -> QComboBox:
    """A combo box of values: the text of each, and its tooltip."""
    box = QComboBox()
    for value, (text, tip) in entries.items():
        add_choice(box, value, text, tip)
    return box


def add_choice(box: QComboBox, value: Any, text: str, tip: str, *, present: bool = True) -> None:
    """Offer one more value; one that is not `present` is listed, but cannot be chosen."""
    box.addItem(text, value)
    at = box.count() - 1
    box.setItemData(at, tip, Qt.ItemDataRole.ToolTipRole)
    model = box.model()
    if not present and isinstance(model, QStandardItemModel):
        model.item(at).setEnabled(False)


def indent(box: QAbstractSpinBox) -> None:
    """Have the text stand as far from the edge as in other fields."""
    box.lineEdit().setTextMargins(theme.px(7), 0, 0, 0)
