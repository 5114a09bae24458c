"""The window put together: its tabs and what serves them, from the start to the last wait at closing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

from PySide6.QtCore import QSocketNotifier, QTimer
from PySide6.QtWidgets import QApplication

from app.crawl_session import CrawlSession
from app.engine_thread import EngineThread, load_viewer
from app.evaluate_session import EvaluateSession
from app.finetune_session import FineTuneSession
from app.models_session import ModelsSession
from app.reconstruct_session import ReconstructSession
from app.render_session import RenderSession
from app.screen_session import ScreenSession
from app.settings import Settings
from app.tasks import Tasks
from engine.core.errors import OrielError
from widgets.kit.theme import theme
from widgets.kit.words import count
from widgets.main_window import MainWindow
from widgets.screen import share_contexts

KEEP_MS = 2000
"""Milliseconds between looks whether the settings have changed."""
GARBAGE_INTERVAL = 0.5
"""Seconds between two looks whether a search for garbage is due."""
ENGINE_MODULES = (
    "torch",
    "engine.views.builtin",
    "engine.elevation",
    "engine.surface",
    "engine.texture.bake",
    "mcubes",
    "xatlas",
)


class Session:
    """What serves the window. Everything here runs on the Qt thread; each tab's session waits for threads of its own,
    and `files` reads small things for those of the Reconstruct tab and the Models page.
    """

    def __init__(self, window: MainWindow, settings: Settings) -> None:
        self.window = window
        self.settings = settings
        settings.apply_weights()
        self.files = EngineThread("oriel-files")
        self.reconstruct = ReconstructSession(window.reconstruct, settings, self.files)
        self.crawl = CrawlSession(window.crawl, settings)
        self.screen = ScreenSession(window.screen_tab, settings)
        self.render = RenderSession(window.render_tab, settings)
        self.finetune = FineTuneSession(window.finetune, settings)
        self.evaluate = EvaluateSession(window.evaluate, settings)
        self.models = ModelsSession(window.models, window.reconstruct, settings, self.files)
        self.tasks = Tasks(window.reconstruct.show_error)
        self._closed = asyncio.Event()
        self._kept = ""
        self._keeper = QTimer(interval=KEEP_MS)
        self._keeper.timeout.connect(self._keep_settings)
        window.models_shown.connect(self.tasks.then(self.models.refresh))
        window.theme_chosen.connect(lambda mode: setattr(settings, "theme", mode))
        window.close_requested.connect(self._close_asked)
        self._asked_to_close = False

    @property
    def tab_sessions(self) -> tuple[Any, ...]:
        """What serves the tabs."""
        return (self.reconstruct, self.crawl, self.screen, self.render, self.finetune, self.evaluate)

    async def run(self) -> None:
        """Serve the window until it is closed."""
        self.window.restore_place(self.settings.window)
        for tab in self.tab_sessions:
            tab.restore()
        self.window.show()
        self._kept = self.settings.as_text()
        self._keeper.start()
        self.tasks.spawn(self._warm_up())
        with _garbage_kept_to_this_thread():
            await self._closed.wait()

    def _close_asked(self) -> None:
        """Close, but first say once that pictures wait, which would be lost."""
        waiting = len(self.reconstruct.queue)
        if waiting and not self._asked_to_close:
            self._asked_to_close = True
            self.window.show_tab(0)
            text = f"{count(waiting, 'picture')} still {'waits' if waiting == 1 else 'wait'} to be reconstructed."
            self.window.reconstruct.banner.show_message(
                f"{text} Close the window again to leave them.", "warning", {"Close": self._close_asked}
            )
            return
        self.tasks.spawn(self.close())

    async def close(self) -> None:
        """Cancel what runs, wait for it, save the settings and close the window."""
        if self.tasks.closing:
            return
        self.tasks.closing = True
        self._keeper.stop()
        self.window.show_status("Stopping…")
        await asyncio.gather(*(session.close() for session in (*self.tab_sessions, self.models)))
        await self.tasks.finish()
        await self.files.close()
        self.settings.window = {**self.settings.window, **self.window.place()}
        with contextlib.suppress(OrielError):  # nobody is left to read it
            self.settings.save()
        self.window.close_now()
        self._closed.set()

    def _keep_settings(self) -> None:
        """Write the settings if they have changed, so that a crash costs none."""
        text = self.settings.as_text()
        if text != self._kept and not self.tasks.closing:
            self._kept = text
            self.tasks.spawn(self.files.submit(self.settings.save_if_possible))

    async def _warm_up(self) -> None:
        """Fill the window, then import what the first run needs while the user looks for a picture."""
        engine = self.reconstruct.engine
        await self.reconstruct.fill()
        await self.models.refresh()
        # Loading libraries holds the interpreter, which would be felt in the middle of a run. One call each, so that
        # closing need not wait for all. Nothing of Qt is imported on another thread than its own.
        for name in ENGINE_MODULES:
            if self.tasks.closing:
                return
            await engine.submit(importlib.import_module, name)
        if not await load_viewer(self.files, lambda: not self.tasks.closing):
            return
        if self.reconstruct.current is None:
            for _ in self.window.reconstruct.prepare_viewport().warm_up():
                await asyncio.sleep(0.01)
        if self.tasks.closing:
            return
        self.models.has_gpu = await engine.submit(_has_gpu)
        await self.models.refresh()


def _has_gpu() -> bool:
    from engine.core.device import pick_device

    return pick_device().type != "cpu"


@contextlib.contextmanager
def _closing_on_signals(session: Session) -> Iterator[None]:
    """Ctrl+C in the terminal, or the end of the user's session, closes the window without a question."""
    # Python handles a signal between two of its own instructions; in Qt's loop, a byte in a socket brings them about.
    reader, writer = socket.socketpair()
    for end in (reader, writer):
        end.setblocking(False)
    notifier = QSocketNotifier(reader.fileno(), QSocketNotifier.Type.Read)
    notifier.activated.connect(lambda: reader.recv(64))
    before = signal.set_wakeup_fd(writer.fileno())
    handlers = {
        s: signal.signal(s, lambda *_: session.tasks.spawn(session.close())) for s in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for s, handler in handlers.items():
            signal.signal(s, handler)
        signal.set_wakeup_fd(before)
        notifier.setEnabled(False)
        reader.close()
        writer.close()


@contextlib.contextmanager
def _garbage_kept_to_this_thread() -> Iterator[None]:
    """Have Python look for garbage on the event loop's thread only.

    The search frees what it finds on whichever thread it happens to run, and an object of Qt that is freed on
    another thread than its own takes the process with it.
    """

    async def search() -> None:
        limits = gc.get_threshold()
        while True:
            await asyncio.sleep(GARBAGE_INTERVAL)
            counts = gc.get_count()
            due = [i for i in range(3) if counts[i] > limits[i]]
            if due:
                gc.collect(due[-1])

    gc.collect()
    gc.freeze()  # what is there at the start stays: no need to look at it again
    gc.disable()
    task = asyncio.ensure_future(search())
    try:
        yield
    finally:
        task.cancel()
        gc.enable()
        gc.unfreeze()


def run_window() -> int:
    """Show the window and serve it until it is closed."""
    import qasync

    share_contexts()
    app = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(app, QApplication)
    app.setApplicationName("Oriel")
    app.setDesktopFileName("oriel")
    app.setQuitOnLastWindowClosed(False)
    settings = Settings.load()
    theme.set_mode(settings.theme)

    async def serve() -> None:
        session = Session(MainWindow(), settings)
        with _closing_on_signals(session):
            await session.run()

    with qasync.QEventLoop(app) as loop:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(serve())
    return 0
