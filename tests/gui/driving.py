"""What tests of the whole window do and look at."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from app.window import Session
from widgets.reconstruct.request import Picture

Scenario = Callable[[Session], Coroutine[Any, Any, None]]
Drive = Callable[[Scenario], None]


async def until(condition: Callable[[], Any], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.02)


async def activate(session: Session) -> None:
    """Keys are for the active window, and no window manager activates it here, nor again once it has a viewport; what X
    is asked before it has put the window on the screen is lost, so it is asked again until it has done so."""
    window = session.window

    def active() -> bool:
        if window.isVisible() and not window.isActiveWindow():
            window.activateWindow()
        return window.isActiveWindow()

    await until(active)


def busy() -> float:
    """How many times longer than on an idle machine things may take now."""
    return max(1.0, 2 * os.getloadavg()[0] / (os.cpu_count() or 1))


def bring(session: Session, *paths: Path) -> None:
    session.reconstruct.tab.bring([Picture(path, path.stem) for path in paths])


def banner(session: Session) -> str:
    return session.reconstruct.tab.banner.text.text() if session.reconstruct.tab.banner.isVisible() else ""


async def start_draft(session: Session, picture: Path) -> None:
    """Have a picture at work, in the draft quality, once there is a viewport for it."""
    tab = session.reconstruct.tab
    await until(lambda: tab.viewport is not None)
    bring(session, picture)
    tab.input.set_options(quality="draft")
    tab.input.request()
    await until(lambda: session.reconstruct.current is not None)
