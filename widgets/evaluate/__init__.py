"""The Evaluate tab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QSplitter, QVBoxLayout, QWidget


class EvaluateTab(QWidget):
    """The page of evaluation."""

    status_changed = Signal(str)
    badge_changed = Signal(str)
    shown = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("page")
        self.columns = QSplitter()
        QVBoxLayout(self).addWidget(self.columns)

    def escape(self) -> bool:
        return False

    def close_down(self) -> None: ...

    def request_start(self) -> None: ...

    def open_source(self) -> None: ...

    def toggle_setup(self) -> None: ...

    def focus_search(self) -> None: ...

    def paste(self) -> None: ...

    def source_in(self, mime: Any) -> Path | None:
        return None

    def take(self, mime: Any) -> None: ...
