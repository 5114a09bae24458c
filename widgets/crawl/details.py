"""The page that is chosen, with its model, its rights or the reason of its failure; and the log of the crawl."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QSize, Qt, QTimer, Signal
from PySide6.QtGui import QImage, QPainter
from PySide6.QtWidgets import QGridLayout, QLabel, QPushButton, QSizePolicy, QStackedWidget, QWidget

from engine.crawling import PageState
from widgets.crawl.table import attempts, name
from widgets.crawl.words import STATES, advice
from widgets.kit.buttons import IconButton
from widgets.kit.details import LogView, Segments, small_viewport
from widgets.kit.images import paint_fitted
from widgets.kit.labels import hint, label, plain_text
from widgets.kit.panel import Panel, column, holder, row, scrolled
from widgets.kit.theme import theme
from widgets.kit.words import amount, count

if TYPE_CHECKING:
    from widgets.viewport import Viewport

_UNLIMITED = 16_777_215
_ROWS = ("Licence", "Author", "Source", "File", "Tags")


@dataclass(frozen=True)
class PageDetails:
    """What is kept on the disk of a page."""

    key: str
    file: Path | None = None
    """The model."""
    rights: dict[str, Any] = field(default_factory=dict)
    """What stands beside the model: title, author, licence and so on."""
    saved_page: Path | None = None
    """The page as it was when it failed."""
    screenshot: Path | None = None
    picture: QImage = field(default_factory=QImage)
    """The screenshot's pixels."""


class DetailsPanel(Panel):
    """Segments for the page and for the log. What the buttons do, and their words, the tab says."""

    open_path = Signal(object)
    log_wanted = Signal()
    """The log came up: what it shows may be old."""

    def __init__(self) -> None:
        super().__init__(spacing=8)
        self.page: PageState | None = None
        self.details: PageDetails | None = None
        self._running = False
        self._viewport: Viewport | None = None
        self.segments = Segments(self, 2)
        self.segments.idClicked.connect(self.show_side)
        self.link, self.files, self.copy = (IconButton(icon, "") for icon in ("link", "folder", "copy"))
        for button in self.segments.buttons():
            self.top.addWidget(button)
        self.top.addStretch(1)
        for button in (self.link, self.files, self.copy):
            self.top.addWidget(button)

        self.title = plain_text(label("", "heading", wrap=True))
        self.state = label("", "muted", wrap=True)
        self.reason = plain_text(label("", wrap=True))
        self.advice = label("", "muted", wrap=True)
        self.advice.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._facts: dict[str, tuple[QLabel, QLabel]] = {}
        grid = QGridLayout()
        grid.setHorizontalSpacing(12)
        grid.setVerticalSpacing(4)
        grid.setColumnStretch(1, 1)
        for at, text in enumerate(_ROWS):
            head, value = label(text, "muted"), label("", wrap=True)
            value.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
            value.setTextFormat(Qt.TextFormat.RichText)
            value.setOpenExternalLinks(True)
            value.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            grid.addWidget(head, at, 0, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(value, at, 1)
            self._facts[text] = (head, value)
        self.note = hint()
        self.screenshot = _Picture()
        self.screenshot.clicked.connect(lambda: self.details and self.open_path.emit(self.details.screenshot))
        self._look = QStackedWidget()
        self._look.addWidget(self.note)
        self._look.addWidget(self.screenshot)
        self._look.setMinimumHeight(170)
        self._look.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.look_note = label("", "small", wrap=True)
        self.retry = QPushButton()
        self.saved = QPushButton("The page as saved")
        self.saved.setToolTip("Open the page as it was when it failed")
        self.saved.clicked.connect(lambda: self.details and self.open_path.emit(self.details.saved_page))
        actions = row(self.retry, self.saved, None, spacing=8)
        area = scrolled(holder(column(self.reason, self.advice, actions, grid, None, spacing=8)))
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setMinimumHeight(120)
        self._about = holder(column(self.title, self.state, (self._look, 3), self.look_note, (area, 2), spacing=6))
        self._nothing = hint("Choose a page in the table to see its model, its licence, or why it failed.")
        self.log = LogView("Log of the crawl", "Nothing has been written to the log of this folder yet.")
        self._sides = QStackedWidget()
        for widget in (self._nothing, self._about, self.log):
            self._sides.addWidget(widget)
        self.body.addLayout(self.top)
        self.body.addWidget(self._sides, 1)
        theme.changed.connect(self._restyle)
        self.set_page(None)

    # -- content -----------------------------------------------------------------------------------------

    @property
    def viewport(self) -> Viewport | None:
        """The 3D viewport, None before the first model."""
        return self._viewport

    @property
    def log_shown(self) -> bool:
        """Whether the log is on the screen."""
        return self.segments.checkedId() == 1 and self.isVisible()

    def show_side(self, at: int) -> None:
        """Show the page (0) or the log (1)."""
        self.segments.button(at).setChecked(True)
        if at == 1:
            self._sides.setCurrentWidget(self.log)
            self.log_wanted.emit()
        else:
            self._sides.setCurrentWidget(self._nothing if self.page is None else self._about)

    def set_running(self, running: bool) -> None:
        """While a crawl runs, no page can be tried again by itself."""
        self._running = running
        self._show_state()

    def set_page(self, page: PageState | None) -> None:
        """Show another page, before anything is known from the disk."""
        self.page, self.details = page, None
        for button in (self.link, self.files, self.copy):
            button.setVisible(page is not None)
        self._look.hide()
        self.look_note.hide()
        if self._viewport is not None:
            self._viewport.show_mesh(None)
        self._show_details()
        self._show_state()
        if self.segments.checkedId() == 0:
            self.show_side(0)

    def update_page(self, page: PageState) -> None:
        """The chosen page has changed."""
        self.page = page
        self._show_state()

    def set_details(self, details: PageDetails) -> None:
        """What the disk says of the page, if it is still the one that is shown."""
        if self.page is None or details.key != self.page.page.key:
            return
        self.details = details
        self._show_details()
        self._show_state()
        if details.picture.isNull() and self._look.currentWidget() is self.screenshot:
            self._look.hide()  # that of an earlier failure
        elif not details.picture.isNull():
            self.screenshot.set_image(details.picture)
            self._look.setCurrentWidget(self.screenshot)
            self._look.setMaximumHeight(theme.px(230))
            self._look.show()

    def show_model(self, key: str, mesh: Any, note: str = "") -> None:
        """Show the model of a page in the viewport; or, without a mesh, say why there is none to see."""
        if self.page is None or key != self.page.page.key:
            return
        self._look.setMaximumHeight(_UNLIMITED)
        self._look.show()
        if mesh is None:
            self._look.setMaximumHeight(theme.px(170))
            self.note.setText(note)
            self._look.setCurrentWidget(self.note)
            return
        viewport = self._make_viewport()
        viewport.show_mesh(mesh)
        self.look_note.setText(note)
        self.look_note.setVisible(bool(note))
        self._look.setCurrentWidget(viewport)
        QTimer.singleShot(0, viewport.reset)  # fits the mesh once the viewport has its size

    def set_log(self, text: str) -> None:
        """Show the end of the log; it follows the end unless the user has gone back in it."""
        if text != self.log.toPlainText():
            self.log.keep_place(lambda: self.log.setPlainText(text))

    def close_down(self) -> None:
        """Free the 3D viewport."""
        if self._viewport is not None:
            self._viewport.close()

    # -- inside ------------------------------------------------------------------------------------------

    def _make_viewport(self) -> Viewport:
        if self._viewport is None:
            self._viewport = small_viewport("Drag to turn, wheel to come nearer; W shows the triangles")
            self._look.addWidget(self._viewport)
        return self._viewport

    def _show_state(self) -> None:
        page = self.page
        self.files.setEnabled(self.details is not None and self.details.file is not None)
        if page is None:
            return
        words = [STATES[page.state][0]]
        if page.state == "working" and page.message:
            words.append(page.message)
        if tries := attempts(page):
            words.append(count(tries, "attempt"))
        if page.size and page.state != "waiting":
            words.append(amount(page.size))
        self.title.setText(name(page))
        self.state.setText("  ·  ".join(words))
        told = page.message if page.state != "working" else ""
        self.reason.setText(told[:1].upper() + told[1:])
        self.reason.setVisible(bool(told))
        self.reason.setStyleSheet(
            f"color: {theme.color(STATES[page.state][1]).name()};" if page.state == "failed" else ""
        )
        self.advice.setText(advice(page.state, page.kind))
        self.advice.setVisible(bool(self.advice.text()))
        self.retry.setVisible(page.state in ("failed", "skipped"))
        self.retry.setEnabled(not self._running)
        self.retry.setToolTip("Once the crawl has stopped" if self._running else "Try this page once more")

    def _show_details(self) -> None:
        details = self.details
        rights = details.rights if details is not None else {}
        address = str(rights.get("source_url") or (self.page.page.url if self.page is not None else ""))
        tags = rights.get("tags") or []
        facts = []
        if details is not None and details.file is not None:
            facts = [details.file.name, amount(int(rights.get("bytes") or 0))]
            if rights.get("triangles"):
                facts.append(count(int(rights["triangles"]), "triangle"))
            if rights.get("duplicate_of"):
                facts.append(f"same content as {rights['duplicate_of']}")
        values = {
            "Licence": _linked(
                rights.get("licence_name") or ("none stated" if rights else ""), rights.get("licence_url")
            ),
            "Author": _linked(rights.get("author"), rights.get("author_url")),
            "Source": _linked(address, address),
            "File": _breakable(escape(", ".join(facts))),
            "Tags": escape(", ".join(str(tag) for tag in tags[:12])),
        }
        for text, (head, value) in self._facts.items():
            value.setText(values[text])
            for part in (head, value):
                part.setVisible(bool(values[text]))
        self.saved.setVisible(details is not None and details.saved_page is not None)

    def _restyle(self) -> None:
        if self.page is not None:
            self._show_state()
            self._show_details()

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        if self._viewport is not None and self._viewport.isVisible():
            QTimer.singleShot(0, self._viewport.reset)  # a narrower one would cut the model off


class _Picture(QWidget):
    """The screenshot of a page that failed; a click opens it."""

    clicked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._image = QImage()
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolTip("The page as it looked when it failed; click to open it")

    def set_image(self, image: QImage) -> None:
        """Show this."""
        self._image = image
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(theme.px(300), theme.px(200))

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), theme.color("surface"))
        if not self._image.isNull():
            paint_fitted(painter, self._image, self.rect())

    def mouseReleaseEvent(self, event: Any) -> None:
        self.clicked.emit()


def _linked(text: Any, url: Any) -> str:
    """HTML of a text that leads to an address, if that is one of the web."""
    shown = escape(str(text or ""))
    if shown and str(url or "").startswith(("https://", "http://")):
        color = theme.color("accent").name()
        return f'<a style="color: {color}" href="{escape(str(url))}">{_breakable(shown)}</a>'
    return shown


def _breakable(text: str) -> str:
    """Addresses may be broken after a slash or a hyphen, and ids anywhere."""
    text = re.sub(r"(?<=[0-9a-f]{8})(?=[0-9a-f]{8})", "&#8203;", text)
    return text.replace("/", "/&#8203;").replace("-", "-&#8203;") if "://" in text else text
