"""An open window with the engine behind it, for the tests that drive it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
import trimesh

from app.settings import Settings
from app.window import Session
from tests.gui.driving import Drive, Scenario
from widgets.kit.theme import theme
from widgets.main_window import MainWindow
from widgets.screen import share_contexts

share_contexts()


@pytest.fixture(autouse=True, scope="module")
def lean_collection() -> None:
    """What the libraries hold is not searched for garbage after each test of windows: that took a fifth of a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def window(qtbot) -> Iterator[MainWindow]:
    """The active window, without an engine."""
    theme.set_mode("dark")
    window = MainWindow()
    qtbot.addWidget(window)
    window.show()
    qtbot.waitExposed(window)
    window.activateWindow()  # shortcuts are for the active window, and no window manager activates it here
    qtbot.waitUntil(window.isActiveWindow)
    yield window
    theme.set_scale(1.0)
    window.close_now()


@pytest.fixture
def drive(qapp) -> Iterator[Drive]:
    """Runs a scenario in an open window on a qasync loop, and closes the window as a user does if it is still open."""
    import qasync

    qapp.setQuitOnLastWindowClosed(False)
    loop = qasync.QEventLoop(qapp)
    asyncio.set_event_loop(loop)

    async def whole(scenario: Scenario) -> None:
        theme.set_mode("dark")
        window = MainWindow()
        session = Session(window, Settings.load())
        serving = asyncio.ensure_future(session.run())
        try:
            await scenario(session)
        finally:
            window.close()
            if not session.tasks.closing:  # pictures wait: the second time is meant
                window.close()
            await asyncio.wait_for(serving, 120)
            assert not session.files.alive and not session.models.alive
            assert not any(tab.alive for tab in session.tab_sessions)
            assert not window.isVisible()
            window.deleteLater()

    yield lambda scenario: loop.run_until_complete(whole(scenario))
    loop.close()
    asyncio.set_event_loop(None)
    qapp.setQuitOnLastWindowClosed(True)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with five small models."""
    folder = tmp_path / "models"
    folder.mkdir()
    for number in range(5):
        trimesh.creation.box((1, 1 + number / 4, 1)).export(folder / f"model_{number}.glb")
    return folder
