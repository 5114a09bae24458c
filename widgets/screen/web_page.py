"""The parts of QtWebEngine, with everything refused that an item's page does not need. Imported with the first page."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QUrl
from PySide6.QtWebEngineCore import QWebEnginePage, QWebEngineProfile, QWebEngineSettings
from PySide6.QtWebEngineWidgets import QWebEngineView

_ON = (QWebEngineSettings.WebAttribute.WebGLEnabled, QWebEngineSettings.WebAttribute.JavascriptEnabled)
_OFF = (
    QWebEngineSettings.WebAttribute.JavascriptCanOpenWindows,
    QWebEngineSettings.WebAttribute.JavascriptCanAccessClipboard,
    QWebEngineSettings.WebAttribute.JavascriptCanPaste,
    QWebEngineSettings.WebAttribute.PluginsEnabled,
    QWebEngineSettings.WebAttribute.FullScreenSupportEnabled,
    QWebEngineSettings.WebAttribute.PdfViewerEnabled,
    QWebEngineSettings.WebAttribute.LocalContentCanAccessRemoteUrls,
)


class ItemPage(QWebEnginePage):
    """A page that stays where it is: no pop-ups, no dialogs, no other pages."""

    def __init__(self, profile: QWebEngineProfile) -> None:
        super().__init__(profile)
        self._wanted = QUrl()
        self.permissionRequested.connect(lambda permission: permission.deny())
        self.certificateError.connect(lambda error: error.rejectCertificate())

    def go(self, url: QUrl) -> None:
        """Show a page."""
        self._wanted = url
        self.load(url)

    def acceptNavigationRequest(self, url: Any, kind: QWebEnginePage.NavigationType, is_main_frame: bool) -> bool:
        if not is_main_frame or url == self._wanted or url.scheme() == "about":
            return True
        kinds = QWebEnginePage.NavigationType
        moved = kind in (kinds.NavigationTypeRedirect, kinds.NavigationTypeReload)
        return url.scheme() in ("http", "https") and (moved or _place(url) == _place(self.url()))

    def createWindow(self, kind: QWebEnginePage.WebWindowType) -> Any:
        return None

    def javaScriptAlert(self, origin: Any, text: str) -> None:
        pass

    def javaScriptConfirm(self, origin: Any, text: str) -> bool:
        return False

    def javaScriptPrompt(self, origin: Any, text: str, usual: str) -> Any:
        return False, ""

    def javaScriptConsoleMessage(self, level: Any, text: str, line: int, source: str) -> None:
        pass


def _place(url: QUrl) -> tuple[str, str, str]:
    """An address without its query and fragment."""
    return url.scheme(), url.authority(), url.path()


def make_page() -> tuple[QWebEngineProfile, ItemPage]:
    """A profile that leaves nothing on the disk and downloads nothing, and a page in it."""
    profile = QWebEngineProfile()
    profile.setPersistentCookiesPolicy(QWebEngineProfile.PersistentCookiesPolicy.NoPersistentCookies)
    profile.downloadRequested.connect(lambda download: download.cancel())
    page = ItemPage(profile)
    settings = page.settings()
    for attributes, on in ((_ON, True), (_OFF, False)):
        for attribute in attributes:
            settings.setAttribute(attribute, on)
    page.setAudioMuted(True)
    return profile, page


def make_view(page: ItemPage) -> QWebEngineView:
    """A view of a page, with no menu of its own."""
    from PySide6.QtCore import Qt

    view = QWebEngineView()
    view.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)
    view.setPage(page)
    return view
