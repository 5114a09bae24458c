"""An item's web page inside the window: its 3D viewer turned by the same keys, nothing else let through."""

from __future__ import annotations

import json
import os
from typing import Any

from PySide6.QtCore import QCoreApplication, QEvent, QObject, QPoint, QPointF, Qt, QTimer, QUrl, Signal
from PySide6.QtGui import QMouseEvent, QOffscreenSurface, QOpenGLContext, QPixmap, QSurfaceFormat, QWheelEvent
from PySide6.QtWidgets import QApplication, QHBoxLayout, QProgressBar, QPushButton, QStackedLayout, QVBoxLayout
from PySide6.QtWidgets import QWidget as Widget

from widgets.kit.labels import label
from widgets.kit.theme import theme
from widgets.screen.model_view import TAP_SECONDS, THUMBNAIL

FLAGS = "QTWEBENGINE_CHROMIUM_FLAGS"
SPEED = 320.0
"""Pixels a second that a held key drags the viewer."""
STEP_MS = 25
_GL_RENDERER = 0x1F01
_FIND_VIEWER = """(() => {
  let best = null, most = 120 * 120;
  for (const e of document.querySelectorAll("canvas, iframe, model-viewer, [class*=viewer]")) {
    const r = e.getBoundingClientRect();
    const w = Math.min(r.right, innerWidth) - Math.max(r.left, 0);
    const h = Math.min(r.bottom, innerHeight) - Math.max(r.top, 0);
    if (w > 0 && h > 0 && w * h > most) {
      most = w * h;
      best = [Math.max(r.left, 0) + w / 2, Math.max(r.top, 0) + h / 2, w, h];
    }
  }
  return JSON.stringify(best);
})()"""


def share_contexts() -> None:
    """Let pages and VTK draw with OpenGL in one window; to be called before the application is made."""
    QCoreApplication.setAttribute(Qt.ApplicationAttribute.AA_ShareOpenGLContexts)
    # What pyvistaqt asks for with its first view: contexts can only be shared by those that are alike.
    like = QSurfaceFormat()
    like.setRenderableType(QSurfaceFormat.RenderableType.OpenGL)
    like.setProfile(QSurfaceFormat.OpenGLContextProfile.CoreProfile)
    like.setVersion(3, 2)
    like.setDepthBufferSize(8)
    like.setAlphaBufferSize(8)
    QSurfaceFormat.setDefaultFormat(like)


class WebView(Widget):
    """Shows one page at a time. Keys come from the owner by `press`; the browser starts with the first page."""

    loaded = Signal(bool)
    open_requested = Signal()
    """Open the page in the browser of the system."""
    windows_changed = Signal()
    """The browser has other windows than before that keys may go to."""

    def __init__(self, parent: Widget | None = None) -> None:
        super().__init__(parent)
        self.problem = ""
        self.url = ""
        self._view: Any = None
        self._page: Any = None
        self._profile: Any = None
        self._container: Widget | None = None
        self._held: set[str] = set()
        self._left: dict[str, float] = {}
        self._grip: QPointF | None = None
        self._area: tuple[float, float, float, float] | None = None
        self._message = label("", "lead", wrap=True)
        self._message.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._again = QPushButton("Try again")
        self._again.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._again.clicked.connect(lambda: self.load(self.url))
        self._open = QPushButton("Open in the browser")
        self._open.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._open.clicked.connect(lambda: self.open_requested.emit())
        self._bar = QProgressBar(textVisible=False)
        failed = Widget()
        failed.setObjectName("page")
        column = QVBoxLayout(failed)
        column.setSpacing(14)
        column.addStretch(3)
        column.addWidget(self._message, 0, Qt.AlignmentFlag.AlignCenter)
        row = QHBoxLayout()
        row.setSpacing(10)
        row.addStretch(1)
        row.addWidget(self._again)
        row.addWidget(self._open)
        row.addStretch(1)
        column.addLayout(row)
        column.addStretch(4)
        self._shown = Widget()
        self._shown_column = QVBoxLayout(self._shown)
        self._shown_column.setContentsMargins(0, 0, 0, 0)
        self._shown_column.setSpacing(0)
        self._shown_column.addWidget(self._bar)
        self._pages = QStackedLayout(self)
        self._pages.setContentsMargins(0, 0, 0, 0)
        self._pages.addWidget(self._shown)
        self._pages.addWidget(failed)
        self._timer = QTimer(self, interval=STEP_MS)
        self._timer.timeout.connect(self._tick)
        theme.changed.connect(self._restyle)
        self._restyle()

    # -- pages -------------------------------------------------------------------------------------------

    def load(self, url: str) -> None:
        """Go to a page."""
        self.url, self.problem, self._area = url, "", None
        self.release_all()
        if not self._start():
            return
        self._pages.setCurrentIndex(0)
        self._bar.setValue(0)
        self._bar.setVisible(True)
        self._page.go(QUrl(url))

    def leave(self) -> None:
        """Forget the page: it shall not go on drawing unseen."""
        self.release_all()
        if self._page is not None and self.url:
            self.url = ""
            self._page.go(QUrl("about:blank"))

    def thumbnail(self) -> QPixmap | None:
        """A small picture of what is shown."""
        if self._view is None or self.problem or not self._view.isVisible():
            return None
        keep, smooth = Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
        picture = self._view.grab()
        return None if picture.isNull() else picture.scaled(*THUMBNAIL, keep, smooth)

    @property
    def target(self) -> Widget | None:
        """The widget that keys and mouse go to; None before the first page."""
        return self._view.focusProxy() if self._view is not None else None

    @property
    def system_window(self) -> Any:
        """The window of the system that the page is in; None before the first."""
        return self._view.windowHandle() if self._view is not None else None

    @property
    def page(self) -> Any:
        """The page of QtWebEngine; None before the first."""
        return self._page

    def close_down(self) -> None:
        """End the page and what belongs to it."""
        self.release_all()
        theme.changed.disconnect(self._restyle)
        if self._view is not None and self._container is not None:
            self._view.setPage(None)
            self._page.deleteLater()
            self._container.deleteLater()
            self._view.deleteLater()
            self._profile.deleteLater()  # after its page: Qt deletes in this order
            self._view = self._page = self._profile = self._container = None

    # -- keys as drags -----------------------------------------------------------------------------------

    def press(self, axis: str) -> None:
        """A key of a direction or of nearer and farther goes down."""
        if self._view is None or self.problem:
            return
        self._held.add(axis)
        self._left[axis] = TAP_SECONDS
        if not self._timer.isActive():
            if self._area is None:
                self._page.runJavaScript(_FIND_VIEWER, 0, self._found)
            self._timer.start()

    def release(self, axis: str) -> None:
        """It is let go."""
        self._held.discard(axis)

    def release_all(self) -> None:
        """All are let go."""
        self._held.clear()
        self._left.clear()
        self._let_go()

    def _found(self, answer: Any) -> None:
        try:
            found = json.loads(answer) if answer else None
        except ValueError:
            found = None
        if isinstance(found, list) and len(found) == 4:
            x, y, width, height = (float(value) * self._view.zoomFactor() for value in found)
            self._area = (x, y, width, height)
        elif self._view is not None:
            size = self._view.size()
            self._area = (size.width() / 2, size.height() / 2, size.width(), size.height())

    def _tick(self) -> None:
        if self._area is None or self._view is None:
            return
        if not (self._held or self._left):
            self._let_go()
            return
        seconds = STEP_MS / 1000
        x = y = zoom = 0.0
        for axis in {*self._held, *self._left}:
            sign = 1 if axis in ("right", "down", "zoom_in") else -1
            if axis in ("left", "right"):
                x += sign
            elif axis in ("up", "down"):
                y += sign
            else:
                zoom += sign
            left = self._left.get(axis, 0.0) - seconds
            if left > 0:
                self._left[axis] = left
            else:
                self._left.pop(axis, None)
        middle_x, middle_y, width, height = self._area
        if zoom:
            at = QPointF(middle_x, middle_y)
            spin = QWheelEvent(
                at,
                self._global(at),
                QPoint(),
                QPoint(0, round(40 * zoom)),
                Qt.MouseButton.NoButton,
                Qt.KeyboardModifier.NoModifier,
                Qt.ScrollPhase.NoScrollPhase,
                False,
            )
            self._send(spin)
        if not (x or y):
            return
        if self._grip is None:
            self._grip = QPointF(middle_x, middle_y)
            self._mouse(QEvent.Type.MouseMove, Qt.MouseButton.NoButton)
            self._mouse(QEvent.Type.MouseButtonPress, Qt.MouseButton.LeftButton)
        # A drag turns the model the way the mouse goes: the key for the right turns the view to the right side.
        self._grip = QPointF(self._grip.x() - SPEED * x * seconds, self._grip.y() - SPEED * y * seconds)
        far_x, far_y = abs(self._grip.x() - middle_x) > 0.42 * width, abs(self._grip.y() - middle_y) > 0.42 * height
        self._mouse(QEvent.Type.MouseMove, Qt.MouseButton.LeftButton)
        if far_x or far_y:  # take hold anew in the middle
            self._mouse(QEvent.Type.MouseButtonRelease, Qt.MouseButton.NoButton)
            self._grip = None

    def _let_go(self) -> None:
        self._timer.stop()
        if self._grip is not None and self._view is not None:
            self._mouse(QEvent.Type.MouseButtonRelease, Qt.MouseButton.NoButton)
        self._grip = None

    def _mouse(self, kind: QEvent.Type, buttons: Qt.MouseButton) -> None:
        assert self._grip is not None
        button = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseMove else Qt.MouseButton.LeftButton
        event = QMouseEvent(kind, self._grip, self._global(self._grip), button, buttons, Qt.KeyboardModifier.NoModifier)
        self._send(event)

    def _send(self, event: QEvent) -> None:
        if (target := self.target) is not None:
            QApplication.sendEvent(target, event)

    def _global(self, at: QPointF) -> QPointF:
        target = self.target
        return QPointF(target.mapToGlobal(at.toPoint())) if target is not None else at

    # -- inside ------------------------------------------------------------------------------------------

    def _start(self) -> bool:
        """Start the browser, once; whether it is there."""
        if self._view is not None:
            return True
        try:
            _prepare()
            from widgets.screen.web_page import make_page, make_view
        except Exception as error:  # no such module, or a library of the system that it needs is missing
            self._fail(f"Pages cannot be shown here: Qt's web engine does not start ({error}).", again=False)
            return False
        self._profile, self._page = make_page()
        self._view = make_view(self._page)
        # A window of its own inside ours: with its page as a part of ours, Qt would make all windows anew, and VTK
        # would lose its own.
        self._view.winId()
        self._container = Widget.createWindowContainer(self._view.windowHandle(), self._shown)
        self._container.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._shown_column.addWidget(self._container, 1)
        self._view.loadProgress.connect(self._bar.setValue)
        self._view.loadProgress.connect(lambda _: self.windows_changed.emit())
        self._view.installEventFilter(self)
        self._view.loadFinished.connect(self._finished)
        self._page.renderProcessTerminated.connect(self._crashed)
        self.windows_changed.emit()
        return True

    def _finished(self, good: bool) -> None:
        if self._view is None or not self.url:
            return
        self._bar.setVisible(False)
        if not good and not self.problem:
            self._fail(f"{self.url} cannot be shown: the site does not answer, or the page is not there.")
        self.loaded.emit(good)

    def _crashed(self, *_: object) -> None:
        self._fail("This page has made the browser crash.")

    def _fail(self, text: str, *, again: bool = True) -> None:
        self.problem = text
        self.release_all()
        self._message.setText(f"{text} Open it in your own browser, and decide here.")
        self._again.setVisible(again)
        self._pages.setCurrentIndex(1)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ChildAdded:  # a page of another site comes with a widget of its own
            QTimer.singleShot(0, self.windows_changed.emit)
        return False

    def _restyle(self) -> None:
        self._message.setFixedWidth(theme.px(460))
        self._bar.setFixedHeight(theme.px(3))


def _prepare() -> None:
    """Set what Chromium must know before it starts."""
    flags = os.environ.get(FLAGS, "").split()
    wanted = ["--disable-features=DialMediaRouteProvider"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        wanted.append("--no-sandbox")  # Chromium does not start as root with it
    if _software_opengl():
        # Its own list says no to WebGL in software, which the viewers need; the page itself is drawn without OpenGL.
        wanted += ["--ignore-gpu-blocklist", "--disable-gpu-compositing"]
    os.environ[FLAGS] = " ".join(flags + [flag for flag in wanted if flag not in flags])


def _software_opengl() -> bool:
    surface, context = QOffscreenSurface(), QOpenGLContext()
    surface.create()
    if not context.create() or not context.makeCurrent(surface):
        return True
    name = str(context.functions().glGetString(_GL_RENDERER))
    context.doneCurrent()
    return any(word in name.lower() for word in ("llvmpipe", "softpipe", "swrast", "software"))
