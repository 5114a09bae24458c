"""What the user can do on a page: one entry gives the button, the key, the line in the menu and that in F1's sheet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QAbstractButton, QMenu, QPushButton, QWidget

from widgets.kit.buttons import IconButton, with_key

PAGE, OWN, TABLE, WINDOW, ELSEWHERE = "page", "own", "table", "window", "elsewhere"
"""Where a key works: on the whole page; while the page's own widgets have the keyboard, as keys of one letter are typed
elsewhere or belong to a viewport; while its table has. The window's keys are passed on by the main window, and those
`ELSEWHERE` are bound by a widget of the page."""


@dataclass(frozen=True)
class Action:
    """Something that the user can do."""

    name: str
    act: Callable[[], Any]
    text: str = ""
    """On its button, and in the context menu."""
    tip: str = ""
    key: str = ""
    where: str = PAGE
    sheet: str = ""
    """What F1's sheet says of it; what begins with a comma or semicolon goes on with the line before."""
    shown: str = ""
    """Its key in F1's sheet, where one stands for several."""
    menu: str = ""
    """In the context menu, where the button says less."""
    fits: Callable[[Any], bool] | None = None
    """Whether it can be done with the row that the menu is for."""
    icon: str = ""
    """Of its button, in place of the text."""


class Actions:
    """Everything that can be done on a page, by name."""

    def __init__(self, actions: Iterable[Action]) -> None:
        self._actions = {action.name: action for action in actions}

    def __contains__(self, name: str) -> bool:
        return name in self._actions

    def run(self, name: str) -> bool:
        """Do it; whether the page has such an action."""
        if name not in self._actions:
            return False
        self._actions[name].act()
        return True

    def tip(self, name: str, text: str = "") -> str:
        """The tooltip: what it does, or `text`, and its key."""
        action = self._actions[name]
        text = text or action.tip
        return with_key(text, action.key) if action.key else text

    def button(self, name: str) -> QAbstractButton:
        """A new button for it."""
        icon = self._actions[name].icon
        return self.dress(IconButton(icon, self.tip(name)) if icon else QPushButton(), name)

    def dress(self, button: Any, name: str) -> Any:
        """Have a button do it, with its words, unless it has a text of its own.

        What comes of one that can be checked is up to whoever made it.
        """
        action = self._actions[name]
        if isinstance(button, IconButton):
            button.setAccessibleName(self.tip(name))
        elif not button.text():
            button.setText(action.text)
        button.setToolTip(self.tip(name))
        if not button.isCheckable():
            button.clicked.connect(lambda _=False: action.act())
        return button

    def bind(self, page: QWidget, table: QWidget, *others: QWidget) -> None:
        """Have the keys work; `table` and `others` are the page's own widgets."""
        for action in self._actions.values():
            if action.key and action.where == PAGE:
                bind(page, action.key, action.act)
            elif action.key and action.where in (OWN, TABLE):
                for widget in (table, *others) if action.where == OWN else (table,):
                    bind(widget, action.key, action.act, alone=True)

    def menu(self, parent: QWidget, names: Iterable[str], row: Any) -> QMenu:
        """A context menu of these for a row of the table; an empty name is a line."""
        menu = QMenu(parent)
        for name in names:
            if not name:
                menu.addSeparator()
                continue
            action = self._actions[name]
            text = action.menu or action.text
            entry = menu.addAction(f"{text}\t{action.key}" if action.key else text, action.act)
            entry.setEnabled(action.fits is None or action.fits(row))
        return menu

    def sheet(self) -> list[tuple[str, str]]:
        """The lines of F1's sheet: keys, and what they do."""
        lines: list[tuple[str, str]] = []
        for action in self._actions.values():
            key = action.shown or action.key
            if action.sheet[:1] in (",", ";"):
                keys, words = lines.pop()
                lines.append((f"{keys}  {key}", words + action.sheet))
            elif action.sheet:
                lines.append((key, action.sheet))
        return lines


def bind(widget: QWidget, key: str, act: Callable[[], Any], *, alone: bool = False) -> None:
    """Have a key do something while a widget is on the screen, or while it has the keyboard `alone`."""
    shortcut = QShortcut(QKeySequence(key), widget)
    if alone:  # set here, as the context given beside a function to call is passed over
        shortcut.setContext(Qt.ShortcutContext.WidgetShortcut)
    shortcut.activated.connect(lambda: act())
