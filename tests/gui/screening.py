"""What tests of the Screen tab do and look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QApplication

from app.window import Session
from tests.gui.driving import until

Key = Qt.Key


async def begin(session: Session, source: Path, folder: Path | None = None) -> Any:
    """Start to screen a list or folder; returns the tab once the first item is seen."""
    tab = session.window.screen_tab
    session.window.show_tab(2)
    tab.start.choose(source, folder)
    await until(lambda: tab.start.ready)
    tab.start.annotator.setText("Ada")
    tab.start.request()
    await until(lambda: tab.scene is not None and seen(tab))
    return tab


def seen(tab: Any) -> bool:
    return tab.seen and not tab.loading


def press(session: Session, key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
    """Press and let go a key, as the system brings it to the window."""
    hold(session, key, modifier)
    let_go(session, key, modifier)


def hold(session: Session, key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
    QApplication.sendEvent(session.window.windowHandle(), QKeyEvent(QEvent.Type.KeyPress, key, modifier))


def let_go(session: Session, key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
    QApplication.sendEvent(session.window.windowHandle(), QKeyEvent(QEvent.Type.KeyRelease, key, modifier))


async def do(session: Session, key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
    """Press a key and wait for what comes of it."""
    tab = session.window.screen_tab
    await until(lambda: seen(tab))
    before = tab.scene
    press(session, key, modifier)
    await until(lambda: tab.scene is not before and seen(tab))


def lines(folder: Path, name: str) -> list[str]:
    path = folder / f"{name}.txt"
    return path.read_text().splitlines() if path.exists() else []


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "decisions.jsonl").read_text().splitlines()]
