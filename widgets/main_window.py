"""The window: four tabs, the page of models, a line at the bottom, and the keys that work everywhere."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QByteArray, Qt, Signal
from PySide6.QtGui import QAction, QCloseEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QButtonGroup,
    QFrame,
    QHBoxLayout,
    QMainWindow,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from widgets.common import IconButton, MessagePage, ShortcutSheet, label, with_key
from widgets.models import ModelsPage
from widgets.reconstruct.incoming import may_hold_picture
from widgets.reconstruct.tab import ReconstructTab
from widgets.theme import theme

PLACEHOLDERS = {
    "Crawl": (
        "globe",
        "This tab will search Sketchfab and other sources for 3D models of buildings, read and record each licence, "
        "and download what may be used, slowly and only when told to.",
    ),
    "Screen": (
        "check",
        "This tab will show thousands of models one after the other, so that the arrow keys, y and n decide "
        "which are kept for training.",
    ),
    "Render": (
        "camera",
        "This tab will render the kept models with Blender from the views that a training set needs.",
    ),
}
FULL_SCREEN_BASIS = (1280, 720)
"""Size of the window at which full screen would enlarge nothing."""
KEYS = {
    "Everywhere": [
        ("Ctrl+1 … 4", "go to a tab"),
        ("Ctrl+M", "models, and back"),
        ("F11", "full screen"),
        ("Ctrl+Shift+L", "dark or light"),
        ("F1", "this page"),
        ("Ctrl+Q", "quit"),
    ],
    "Picture": [
        ("Ctrl+O", "open pictures"),
        ("Ctrl+V", "paste a picture"),
        ("Ctrl+Return", "reconstruct, or add to the queue"),
        ("Esc", "cancel the run"),
        ("Ctrl+I", "picture and options"),
        ("Ctrl+Shift+M", "which models do the work"),
        ("Ctrl+F", "search the history"),
        ("Return / Del", "open / delete a run in the history"),
    ],
    "Object": [
        ("B", "draw a box around it"),
        ("A  R", "paint what belongs, what does not"),
        ("[  ]", "smaller, larger brush"),
        ("Ctrl+Z", "undo"),
        ("Ctrl+Shift+Z", "redo"),
    ],
    "Mesh": [
        ("T C N P", "texture, colours, normals, plain"),
        ("W  V  G", "wireframe, cameras, ruler"),
        ("R  1  3  7", "whole model, front, side, top"),
        ("Space", "turntable"),
        ("S  F", "save a picture, a film"),
        ("E  Ctrl+E", "export"),
    ],
    "Models": [
        ("F  C", "fetch, check"),
        ("U  Shift+U", "use a file, a folder of yours"),
        ("S  Del", "show where it lies, remove"),
    ],
    "Views": [
        ("Arrows", "move from view to view"),
        ("Return", "enlarge, then arrows for the next"),
        ("R", "draw this view again and rebuild"),
    ],
}


class MainWindow(QMainWindow):
    """Four tabs and the page of models.

    `close_requested` asks the application to stop its work and then call `close_now`.
    """

    close_requested = Signal()
    theme_chosen = Signal(str)
    models_shown = Signal()
    """The page of models came up: what it shows may be old."""

    def __init__(self) -> None:
        super().__init__()
        self.setWindowTitle("Oriel")
        self.setWindowIcon(theme.icon("oriel", "accent"))
        self.setAcceptDrops(True)
        self.setMinimumSize(1000, 640)
        self.resize(1280, 800)
        self._may_close = False
        self._was_maximised = False
        self._last_tab = 0

        self.reconstruct = ReconstructTab()
        self.pages = QStackedWidget()
        self.pages.addWidget(self.reconstruct)
        for name, (icon, sentence) in PLACEHOLDERS.items():
            self.pages.addWidget(MessagePage(icon, name, sentence))
        self.models = ModelsPage()
        self.pages.addWidget(self.models)
        self._message = label("", "")
        self._build()
        self.reconstruct.status_changed.connect(self._message.setText)
        self.reconstruct.models_requested.connect(self.show_models)
        self.models.closed.connect(lambda: self.show_tab(self._last_tab))
        self.sheet = ShortcutSheet(self.centralWidget(), KEYS)
        self._bind_keys()
        theme.changed.connect(self._restyle)

    def _build(self) -> None:
        header = QFrame()
        header.setObjectName("header")
        row = QHBoxLayout(header)
        row.setContentsMargins(14, 7, 12, 7)
        row.setSpacing(4)
        self._logo = label()
        row.addWidget(self._logo)
        row.addWidget(label("Oriel", "brand"))
        self.tabs = QButtonGroup(self)
        for i, name in enumerate(("Reconstruct", *PLACEHOLDERS)):
            button = QToolButton()
            button.setText(name)
            button.setCheckable(True)
            button.setChecked(i == 0)
            button.setToolTip(with_key(name, f"Ctrl+{i + 1}"))
            self.tabs.addButton(button, i)
            row.addWidget(button)
        self.tabs.idClicked.connect(self.show_tab)
        row.addStretch(1)
        self._models_button = IconButton(
            "models",
            with_key("Weights on this machine, and how to get more", "Ctrl+M"),
            self.toggle_models,
            text="Models",
        )
        self._models_button.setCheckable(True)
        row.addWidget(self._models_button)
        tip = with_key("Dark or light", "Ctrl+Shift+L") + "; right click: follow the system"
        self._theme_button = IconButton("sun", tip, self.toggle_theme)
        self._theme_button.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        for text, mode in (("Follow the system", "system"), ("Dark", "dark"), ("Light", "light")):
            action = QAction(text, self._theme_button)
            action.triggered.connect(lambda _=False, mode=mode: self.set_theme(mode))
            self._theme_button.addAction(action)
        row.addWidget(self._theme_button)
        row.addWidget(IconButton("full-screen", with_key("Full screen", "F11"), self.toggle_full_screen))
        row.addWidget(IconButton("help", with_key("Keyboard", "F1"), self.toggle_sheet))
        status = QFrame()
        status.setObjectName("status")
        line = QHBoxLayout(status)
        line.setContentsMargins(16, 4, 16, 5)
        line.addWidget(self._message, 1)
        line.addWidget(label("F1 shows all keys"))
        centre = QWidget()
        column = QVBoxLayout(centre)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(header)
        column.addWidget(self.pages, 1)
        column.addWidget(status)
        self.setCentralWidget(centre)
        self._restyle()

    def _bind_keys(self) -> None:
        tab = self.reconstruct
        keys: list[tuple[str, Any]] = [(f"Ctrl+{i + 1}", lambda i=i: self.show_tab(i)) for i in range(4)]
        keys += [
            ("F1", self.toggle_sheet),
            ("F11", self.toggle_full_screen),
            ("Ctrl+Shift+L", self.toggle_theme),
            ("Ctrl+M", self.toggle_models),
            ("Ctrl+Q", self.close),
            ("Esc", self.escape),
            ("Ctrl+O", self._on_tab(tab.open_dialog)),
            ("Ctrl+V", self._on_tab(tab.paste)),
            ("Ctrl+Return", self._on_tab(tab.input.request)),
            ("Ctrl+Enter", self._on_tab(tab.input.request)),
            ("Ctrl+I", self._on_tab(lambda: tab.show_side("picture"))),
            ("Ctrl+F", self._on_tab(lambda: tab.show_side("history"))),
            ("Ctrl+E", self._on_tab(tab.export_requested.emit)),
            ("Ctrl+Shift+M", self._on_tab(lambda: (tab.show_side("picture"), tab.input.models.open()))),
        ]
        for key, action in keys:
            QShortcut(QKeySequence(key), self, action)

    def _on_tab(self, action: Any) -> Any:
        """`action` after going to the Reconstruct tab."""
        return lambda: (self.show_tab(0), action())

    def show_tab(self, index: int) -> None:
        """Go to a tab, 0..3."""
        self._last_tab = index
        self.pages.setCurrentIndex(index)
        self.tabs.button(index).setChecked(True)
        self._models_button.setChecked(False)

    def show_models(self, key: str = "") -> None:
        """Go to the page of models, and to the model `key` on it."""
        self.pages.setCurrentWidget(self.models)
        self.tabs.setExclusive(False)
        self.tabs.button(self._last_tab).setChecked(False)
        self.tabs.setExclusive(True)
        self._models_button.setChecked(True)
        self.models_shown.emit()
        if key:
            self.models.choose(key)

    def toggle_models(self) -> None:
        """Go to the page of models, or back from it."""
        if self.pages.currentWidget() is self.models:
            self.show_tab(self._last_tab)
        else:
            self.show_models()

    def show_status(self, text: str) -> None:
        """Say something in the line at the bottom."""
        self._message.setText(text)

    def toggle_sheet(self) -> None:
        """Show or hide the page of keys."""
        if self.sheet.isVisible():
            self.sheet.dismiss()
        else:
            self.sheet.open()

    def toggle_theme(self) -> None:
        """Change between dark and light."""
        self.set_theme("light" if theme.dark else "dark")

    def set_theme(self, mode: str) -> None:
        """Use `dark` or `light`, or follow the `system`."""
        theme.set_mode(mode)
        self.theme_chosen.emit(mode)

    def toggle_full_screen(self) -> None:
        """Enter full screen with everything enlarged, or leave it."""
        if self.isFullScreen():
            theme.set_scale(1.0)
            if self._was_maximised:
                self.showMaximized()
            else:
                self.showNormal()
        else:
            self._was_maximised = self.isMaximized()
            # As large as the page still fits, to be read from afar.
            size = self.screen().size()
            theme.set_scale(max(min(size.width() / FULL_SCREEN_BASIS[0], size.height() / FULL_SCREEN_BASIS[1]), 1.0))
            self.showFullScreen()

    def escape(self) -> None:
        """Close what lies on top, cancel the run, or leave full screen: the first that there is."""
        if self.sheet.isVisible():
            self.sheet.dismiss()
        elif self.pages.currentWidget() is self.models:
            self.models.escape()
        elif self.pages.currentIndex() == 0 and self.reconstruct.escape():
            pass
        elif self.isFullScreen():
            self.toggle_full_screen()

    def place(self) -> dict[str, Any]:
        """Size and parts of the window, as JSON values."""
        geometry = self.saveGeometry().toBase64().data().decode()
        return {"geometry": geometry, "columns": self.reconstruct.columns.sizes()}

    def restore_place(self, place: dict[str, Any]) -> None:
        """Take up what `place` returned in an earlier session; passes over what does not fit."""
        geometry, columns = place.get("geometry"), place.get("columns")
        if isinstance(geometry, str):
            self.restoreGeometry(QByteArray.fromBase64(geometry.encode()))
        if isinstance(columns, list) and len(columns) == 3 and all(isinstance(c, int) for c in columns):
            self.reconstruct.columns.setSizes(columns)

    def close_now(self) -> None:
        """Close for good."""
        self._may_close = True
        self.close()

    def _restyle(self) -> None:
        self._theme_button.set_icon("sun" if theme.dark else "moon")
        self._logo.setPixmap(theme.icon("oriel", "accent").pixmap(theme.px(22), theme.px(22)))

    def closeEvent(self, event: QCloseEvent) -> None:
        if self._may_close:
            self.reconstruct.close_down()
            event.accept()
        else:
            event.ignore()
            self.close_requested.emit()

    def dragEnterEvent(self, event: Any) -> None:
        if may_hold_picture(event.mimeData()):
            event.acceptProposedAction()
            self.show_tab(0)
            self.reconstruct.show_drop_hint(True)

    def dragMoveEvent(self, event: Any) -> None:
        event.acceptProposedAction()

    def dragLeaveEvent(self, event: Any) -> None:
        self.reconstruct.show_drop_hint(False)

    def dropEvent(self, event: Any) -> None:
        self.reconstruct.show_drop_hint(False)
        event.acceptProposedAction()
        self.reconstruct.take(event.mimeData())
        self.activateWindow()
