"""The keys of the annotator: which one does what, and how they are told apart and changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import QKeyCombination, Qt
from PySide6.QtGui import QKeyEvent, QKeySequence

ACTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "select": ("select", ("Y",)),
    "reject": ("reject", ("N",)),
    "skip": ("skip", ("S",)),
    "undo": ("undo", ("U", "Backspace")),
    "next": ("next without a decision", ("G",)),
    "next_skipped": ("next skipped one", ("K",)),
    "back": ("one back", ("PgUp", "Ctrl+Left")),
    "forward": ("one forward", ("PgDown", "Ctrl+Right")),
    "grid": ("all as thumbnails", ("V",)),
    "review": ("look at decisions again", ("R",)),
    "flag": ("flag with a note", ("F",)),
    "left": ("turn left", ("Left",)),
    "right": ("turn right", ("Right",)),
    "up": ("tilt up", ("Up",)),
    "down": ("tilt down", ("Down",)),
    "zoom_in": ("nearer; walk on inside", ("+", "=", "W")),
    "zoom_out": ("farther; walk back inside", ("-", "X")),
    "inside": ("look from inside", ("I",)),
    "everything": ("what was left out as well", ("E",)),
    "four": ("four sides at once", ("Q",)),
    "turntable": ("turn by itself", ("T", "Space")),
    "home": ("whole model", ("Home",)),
    "open_page": ("open its web page", ("O",)),
    "help": ("keys, and change them", ("H",)),
    **{f"reason_{number}": (f"reason {number}", (str(number),)) for number in range(1, 10)},
}
"""Words and keys of each action; the first key is shown and can be changed."""
REASONS = tuple(action for action in ACTIONS if action.startswith("reason_"))
"""Each gives or takes one of the project's reasons."""
HELD = ("left", "right", "up", "down", "zoom_in", "zoom_out")
"""Actions that go on while their key is held."""
_SHOWN = {"Left": "←", "Right": "→", "Up": "↑", "Down": "↓", "-": "−", "PgDown": "PgDn"}
_MODIFIERS = (Qt.Key.Key_Shift, Qt.Key.Key_Control, Qt.Key.Key_Alt, Qt.Key.Key_Meta, Qt.Key.Key_AltGr)
_NOT_FREE = ("Esc", "Tab", "Backtab", "Return", "Enter", "F1", "F11")


class KeyMap:
    """Which key does what."""

    def __init__(self, changed: Mapping[str, Any] | None = None) -> None:
        self._changed: dict[str, str] = {}
        for action, key in (changed or {}).items():
            if action in ACTIONS and isinstance(key, str) and not self.conflict(action, key):
                self._set(action, key)

    def keys(self, action: str) -> tuple[str, ...]:
        """All keys of an action."""
        usual = ACTIONS[action][1]
        if action in self._changed:
            usual = (self._changed[action], *usual[1:])
        # One that another action was given is that action's.
        given = {key for other, key in self._changed.items() if other != action}
        return tuple(key for at, key in enumerate(usual) if at == 0 or key not in given)

    def shown(self, action: str) -> str:
        """The first key of an action as people know it."""
        return shown(self.keys(action)[0])

    def action(self, event: QKeyEvent) -> str | None:
        """What a key press or release is for."""
        return self._by_key().get(name_of(event))

    def conflict(self, action: str, key: str) -> str:
        """Why an action cannot have a key, in words; empty if it can."""
        if key in _NOT_FREE or not key:
            return f"{shown(key) or 'This key'} is needed elsewhere. Press another key."
        if "+" in key[:-1] and key.split("+")[0] in ("Ctrl", "Alt", "Meta"):
            return "A key without Ctrl or Alt serves the hand better. Press one."
        for other in ACTIONS:
            if other != action and self.keys(other)[0] == key:
                return f"{shown(key)} is for “{ACTIONS[other][0]}”. Press another key, or change that one first."
        return ""

    def change(self, action: str, key: str) -> str:
        """Give an action another key; returns why that cannot be, or nothing."""
        problem = self.conflict(action, key)
        if not problem:
            self._set(action, key)
        return problem

    def reset(self) -> None:
        """The usual keys."""
        self._changed.clear()

    @property
    def changed(self) -> dict[str, str]:
        """What differs from the usual keys, by action; for the settings."""
        return dict(self._changed)

    def _set(self, action: str, key: str) -> None:
        self._changed.pop(action, None)
        if key != ACTIONS[action][1][0]:
            self._changed[action] = key

    def _by_key(self) -> dict[str, str]:
        return {key: action for action in ACTIONS for key in self.keys(action)}


def name_of(event: QKeyEvent) -> str:
    """The name of the key of an event, e.g. `Y`, `PgUp`, `Ctrl+Left`; empty for a modifier alone.

    Shift and Caps Lock make no difference, and neither does the keypad.
    """
    key = event.key()
    if key in _MODIFIERS or key in (0, Qt.Key.Key_unknown):
        return ""
    gone = Qt.KeyboardModifier.ShiftModifier | Qt.KeyboardModifier.KeypadModifier
    combination = QKeyCombination(event.modifiers() & ~gone, Qt.Key(key))
    return QKeySequence(combination).toString(QKeySequence.SequenceFormat.PortableText)


def shown(key: str) -> str:
    """A key as people know it: an arrow rather than `Left`."""
    return _SHOWN.get(key, key)
