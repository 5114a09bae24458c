"""The report's page inside the window, in the window's look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import QEvent, QObject, QTimer, QUrl, Signal

from widgets.kit.theme import theme
from widgets.screen.web_view import WebView


class ReportView(WebView):
    """Shows one report; its keys scroll it."""

    clicked = Signal()
    """The page was clicked on, and has taken the keyboard."""

    def __init__(self) -> None:
        super().__init__()
        self.path: Path | None = None
        self.loaded.connect(lambda good: self._dress())
        theme.changed.connect(self._dress)
        self.windows_changed.connect(self._watch)

    def show_report(self, path: Path) -> None:
        """Show a report, anew if it has been written again."""
        self.path = path
        self.load(QUrl.fromLocalFile(str(path)).toString())

    def scroll_pages(self, pages: float) -> None:
        """Go down by pages, up by negative ones."""
        if self.page is not None:
            self.page.runJavaScript(f"window.scrollBy({{top: innerHeight * {pages}, behavior: 'smooth'}})")

    def jump(self, share: int) -> None:
        """Go to the beginning (0) or the end (1)."""
        if self.page is not None:
            self.page.runJavaScript(f"window.scrollTo(0, document.documentElement.scrollHeight * {share})")

    def close_down(self) -> None:
        """End the page and what belongs to it."""
        theme.changed.disconnect(self._dress)
        super().close_down()

    def _start(self) -> bool:
        begun = super()._start()
        self._dress()
        return begun

    def _watch(self) -> None:
        for found in (self.target, self.system_window):
            if found is not None:
                found.installEventFilter(self)  # once more does no harm

    def eventFilter(self, watched: QObject, event: QEvent) -> Any:
        if event.type() == QEvent.Type.MouseButtonRelease:
            QTimer.singleShot(0, self, self.clicked.emit)
        return super().eventFilter(watched, event)

    def _fail(self, text: str, *, again: bool = True) -> None:
        super()._fail(text, again=again)
        self._message.setText(f"{text} Open it in your own browser instead.")

    def _dress(self) -> None:
        """Have the page look as the window does."""
        if self.page is not None:
            self.page.setBackgroundColor(theme.color("surface"))
            look = "dark" if theme.dark else "light"
            self.page.runJavaScript(f"document.documentElement.dataset.theme = '{look}'")
