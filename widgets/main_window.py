"""The window: six tabs, the page of models, a line at the bottom, and the keys that work everywhere."""

from __future__ import annotations

from functools import partial
from typing import Any

from PySide6.QtCore import QByteArray, QSize, Qt, Signal
from PySide6.QtGui import QAction, QCloseEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QButtonGroup,
    QFrame,
    QHBoxLayout,
    QMainWindow,
    QSplitter,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from engine.reconstruct.options import PICTURE_SUFFIXES
from widgets.about import AboutDialog
from widgets.crawl import CrawlTab
from widgets.crawl.incoming import folder_in, list_in
from widgets.evaluate import EvaluateTab
from widgets.finetune import FineTuneTab
from widgets.kit.buttons import IconButton, with_key
from widgets.kit.job_page import JobPage
from widgets.kit.labels import ElidedLabel, label
from widgets.kit.overlay import ShortcutSheet
from widgets.kit.theme import theme
from widgets.models import ModelsPage
from widgets.reconstruct.incoming import may_hold_picture
from widgets.reconstruct.tab import ReconstructTab
from widgets.render import RenderTab
from widgets.screen import ScreenTab

TABS = ("Reconstruct", "Crawl", "Screen", "Render", "Fine-tune", "Evaluate")
FULL_SCREEN_BASIS = (1280, 720)
"""Size of the window at which full screen would enlarge nothing."""
KEYS = {
    "Everywhere": [
        ("Ctrl+1 … 6", "go to a tab"),
        ("Ctrl+M", "models, and back"),
        ("F11", "full screen"),
        ("Ctrl+Shift+L", "dark or light"),
        ("F1", "the keys of each page"),
        ("Shift+F1", "about this program"),
        ("Ctrl+Q", "quit"),
    ],
    "Picture": [
        ("Ctrl+O", "open pictures"),
        ("Ctrl+V", "paste a picture"),
        ("Ctrl+Return", "reconstruct, or add to the queue"),
        ("Esc", "cancel the run"),
        ("Ctrl+I", "picture and options"),
        ("Ctrl+Shift+M", "which models do the work"),
        ("Ctrl+B", "rebuild with other triangles, smoothing, texture, seed"),
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
        ("L  B", "light, backdrop"),
        ("R  1  3  7", "whole model, front, side, top"),
        ("Space", "turntable"),
        ("S  F", "save a picture, a film"),
        ("E  Ctrl+E", "export"),
    ],
    "Screen": [
        ("Y  N  S", "select, reject, skip"),
        ("U  F", "take back, flag with a note"),
        ("1 … 9", "give a reason"),
        ("G  PgUp  PgDn", "next undecided, back, forward"),
        ("V  R", "thumbnails, look again at decisions"),
        ("Arrows  +  −", "turn, tilt, nearer, farther"),
        ("I  Q  T  Home", "inside, four sides, turn by itself, whole"),
        ("H", "all of its keys; change them"),
    ],
    "Models": [
        ("F  C", "fetch, check"),
        ("U  Shift+U", "use a file, a folder of yours"),
        ("S  Del", "show where it lies, remove"),
    ],
    "Views": [
        ("F6", "to the mesh, to the views, to the picture"),
        ("Arrows", "move from view to view"),
        ("Return", "enlarge, then arrows for the next"),
        ("R", "draw this view again and rebuild"),
    ],
}


KEYS_OF = {"Reconstruct": ("Picture", "Object", "Mesh", "Views")}
"""Groups of the pages that have several."""


TITLE_BAR = 40
"""Pixels that a desktop's own frame takes of the screen's height."""


class MainWindow(QMainWindow):
    """Six tabs and the page of models.

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
        free = self.screen().availableGeometry().size() - QSize(0, TITLE_BAR)
        self.resize(QSize(1280, 800).boundedTo(free))
        self._may_close = False
        self._was_maximised = False
        self._last_tab = 0

        self.reconstruct = ReconstructTab()
        self.crawl = CrawlTab()
        self.pages = QStackedWidget()
        self.pages.addWidget(self.reconstruct)
        self.pages.addWidget(self.crawl)
        self.screen_tab = ScreenTab()
        self.pages.addWidget(self.screen_tab)
        self.render_tab = RenderTab()
        self.pages.addWidget(self.render_tab)
        self.finetune = FineTuneTab()
        self.pages.addWidget(self.finetune)
        self.evaluate = EvaluateTab()
        self.pages.addWidget(self.evaluate)
        self.models = ModelsPage()
        self.pages.addWidget(self.models)
        self._message = ElidedLabel()
        self._build()
        for tab in self._tabs:
            tab.status_changed.connect(self._message.setText)
        self.reconstruct.models_requested.connect(self.show_models)
        self.evaluate.models_requested.connect(self.show_models)
        for i, tab in enumerate(self._tabs):
            if hasattr(tab, "badge_changed"):
                tab.badge_changed.connect(partial(self._show_badge, i))
        self.models.closed.connect(lambda: self.show_tab(self._last_tab))
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
        for i, name in enumerate(TABS):
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
        line.setContentsMargins(16, 1, 10, 2)
        line.addWidget(self._message, 1)
        line.addWidget(label("F1 shows the keys"))
        about = QToolButton()
        about.setText("About")
        about.setObjectName("flat")
        about.setToolTip(with_key("Version, licence, and who made the models that it learnt from", "Shift+F1"))
        about.clicked.connect(self.show_about)
        line.addWidget(about)
        centre = QWidget()
        column = QVBoxLayout(centre)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(header)
        column.addWidget(self.pages, 1)
        column.addWidget(status)
        self.setCentralWidget(centre)
        self.sheet = ShortcutSheet(centre)
        self._restyle()

    def _bind_keys(self) -> None:
        tab, screen = self.reconstruct, self.screen_tab.start
        start = self._on_tab("start", tab.input.request, screen.request)
        keys: list[tuple[str, Any]] = [(f"Ctrl+{i + 1}", lambda i=i: self.show_tab(i)) for i in range(len(TABS))]
        keys += [
            ("F1", self.toggle_sheet),
            ("Shift+F1", self.show_about),
            ("F11", self.toggle_full_screen),
            ("Ctrl+Shift+L", self.toggle_theme),
            ("Ctrl+M", self.toggle_models),
            ("Ctrl+Q", self.close),
            ("Esc", self.escape),
            ("Ctrl+O", self._on_tab("open", tab.open_dialog, screen.open_list)),
            ("Ctrl+V", self._on_tab("paste", tab.paste)),
            ("Ctrl+Return", start),
            ("Ctrl+Enter", start),
            ("Ctrl+I", self._on_tab("options", lambda: tab.show_side("picture"))),
            ("Ctrl+F", self._on_tab("find", lambda: tab.show_side("history"))),
            ("Ctrl+E", self._on_tab("export", tab.export_requested.emit)),
            ("F6", lambda: self.pages.currentWidget() is tab and tab.focus_next()),
            ("Ctrl+Shift+M", self._on_tab("", lambda: (tab.show_side("picture"), tab.input.models.open()))),
        ]
        for key, action in keys:
            QShortcut(QKeySequence(key), self, action)

    @property
    def _tabs(self) -> tuple[Any, ...]:
        """The tabs, as `TABS` names them."""
        return (self.reconstruct, self.crawl, self.screen_tab, self.render_tab, self.finetune, self.evaluate)

    def _on_tab(self, name: str, first: Any, screen: Any = None) -> Any:
        """What does the action of this name of the tab that is shown, or `screen` on the Screen tab; where there is no
        such thing, `first` after going to the Reconstruct tab."""

        def act() -> None:
            shown = self.pages.currentWidget()
            if shown is self.screen_tab and screen is not None:
                if not self.screen_tab.judging:
                    screen()
            elif not (isinstance(shown, JobPage) and shown.acts.run(name)):
                self.show_tab(0)
                first()

        return act

    def show_tab(self, index: int) -> None:
        """Go to a tab, 0..5."""
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
        """Show or hide the keys of the page that is shown, and those that work everywhere."""
        if self.sheet.isVisible():
            self.sheet.dismiss()
        else:
            shown = self.pages.currentWidget()
            page = "Models" if shown is self.models else TABS[self.pages.currentIndex()]
            names = KEYS_OF.get(page, (page,))
            groups = {page: shown.acts.sheet()} if isinstance(shown, JobPage) else {name: KEYS[name] for name in names}
            self.sheet.open_with({"Everywhere": KEYS["Everywhere"]} | groups)

    def show_about(self) -> None:
        """Show version, licence and credits."""
        AboutDialog(self).open()

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
            self._enlarge()
            self.showFullScreen()

    def _enlarge(self) -> None:
        """Everything as large as the page still fits, to be read from afar."""
        size = self.screen().size()
        theme.set_scale(max(min(size.width() / FULL_SCREEN_BASIS[0], size.height() / FULL_SCREEN_BASIS[1]), 1.0))

    def escape(self) -> None:
        """Close what lies on top, cancel the run, or leave full screen: the first that there is."""
        if self.sheet.isVisible():
            self.sheet.dismiss()
        elif self.pages.currentWidget() is self.models:
            self.models.escape()
        elif not self._tabs[self.pages.currentIndex()].escape() and self.isFullScreen():
            self.toggle_full_screen()

    def place(self) -> dict[str, Any]:
        """Size and parts of the window, as JSON values."""
        geometry = bytes(self.saveGeometry().toBase64().data()).decode()
        return {"geometry": geometry} | {name: columns.sizes() for name, columns in self._columns.items()}

    def restore_place(self, place: dict[str, Any]) -> None:
        """Take up what `place` returned in an earlier session; passes over what does not fit."""
        geometry = place.get("geometry")
        if isinstance(geometry, str):
            self.restoreGeometry(QByteArray.fromBase64(geometry.encode()))
            if self.isFullScreen():
                self._enlarge()
        for name, columns in self._columns.items():
            sizes = place.get(name)
            parts = columns.count()
            if isinstance(sizes, list) and len(sizes) == parts and all(isinstance(size, int) for size in sizes):
                columns.setSizes(sizes)

    @property
    def _columns(self) -> dict[str, QSplitter]:
        """The columns of the tabs that have some, by their names among the settings."""
        return {
            "columns": self.reconstruct.columns,
            "crawl columns": self.crawl.columns,
            "render columns": self.render_tab.columns,
            "finetune columns": self.finetune.columns,
            "evaluate columns": self.evaluate.columns,
        }

    def close_now(self) -> None:
        """Close for good."""
        self._may_close = True
        self.close()

    def _restyle(self) -> None:
        self._theme_button.set_icon("sun" if theme.dark else "moon")
        self._logo.setPixmap(theme.icon("oriel", "accent").pixmap(theme.px(22), theme.px(22)))

    def closeEvent(self, event: QCloseEvent) -> None:
        if self._may_close:
            for tab in self._tabs:
                tab.close_down()
            event.accept()
        else:
            event.ignore()
            self.close_requested.emit()

    def dragEnterEvent(self, event: Any) -> None:
        if self._is_for_screen(event.mimeData()) or self._is_for_job(event.mimeData()):
            event.acceptProposedAction()
        elif may_hold_picture(event.mimeData()):
            event.acceptProposedAction()
            if not self._is_for_crawl(event.mimeData()):
                self.show_tab(0)
                self.reconstruct.show_drop_hint(True)
            elif self.pages.currentWidget() is not self.crawl:
                self.show_tab(1)

    def dragMoveEvent(self, event: Any) -> None:
        event.acceptProposedAction()

    def dragLeaveEvent(self, event: Any) -> None:
        self.reconstruct.show_drop_hint(False)

    def dropEvent(self, event: Any) -> None:
        self.reconstruct.show_drop_hint(False)
        event.acceptProposedAction()
        mime = event.mimeData()
        for_crawl = self.crawl if self._is_for_crawl(mime) else self.reconstruct
        for_job: Any = self.pages.currentWidget() if self._is_for_job(mime) else for_crawl
        (self.screen_tab if self._is_for_screen(mime) else for_job).take(mime)
        self.activateWindow()

    def _is_for_screen(self, mime: Any) -> bool:
        """Lists and folders that are dropped on the Screen tab."""
        on_it = self.pages.currentWidget() is self.screen_tab
        return on_it and (list_in(mime) is not None or folder_in(mime) is not None)

    def _is_for_job(self, mime: Any) -> bool:
        """What a tab of long work takes as its source, dropped on it."""
        shown = self.pages.currentWidget()
        return isinstance(shown, JobPage) and shown.source_in(mime) is not None

    def _is_for_crawl(self, mime: Any) -> bool:
        """A list is for the Crawl tab wherever else it is dropped; there, so is everything but a picture's file."""
        if list_in(mime) is not None:
            return True
        pictures = any(url.toLocalFile().lower().endswith(PICTURE_SUFFIXES) for url in mime.urls()) or mime.hasImage()
        return self.pages.currentWidget() is self.crawl and not pictures

    def _show_badge(self, tab: int, text: str) -> None:
        self.tabs.button(tab).setText(f"{TABS[tab]}  {text}" if text else TABS[tab])
