"""What this program is, and whom its built-in weights have learnt from."""

from __future__ import annotations

from importlib.metadata import version
from importlib.resources import files

from PySide6.QtCore import Qt
from PySide6.QtGui import QIcon, QTextCursor
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QTextBrowser, QVBoxLayout, QWidget

from widgets.kit.labels import label


class AboutDialog(QDialog):
    """Version, licence, and the authors of the models that the built-in weights were trained on."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("About Oriel")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(820, 560)
        credits = QTextBrowser()
        credits.setOpenExternalLinks(True)
        text = (files("resources") / "ATTRIBUTION.md").read_text(encoding="utf-8")
        credits.setMarkdown(text)
        credits.moveCursor(QTextCursor.MoveOperation.Start)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.button(QDialogButtonBox.StandardButton.Close).setIcon(QIcon())
        buttons.rejected.connect(self.close)
        about = label(
            f"Oriel {version('oriel')} turns one picture into a textured 3D mesh. MIT licence. Its weights were "
            "trained on objects that it makes itself and on models by the authors below.",
            "muted",
        )
        about.setWordWrap(True)
        column = QVBoxLayout(self)
        column.setContentsMargins(20, 18, 20, 16)
        column.addWidget(label("About Oriel", "title"))
        column.addWidget(about)
        column.addWidget(credits, 1)
        column.addWidget(buttons)
