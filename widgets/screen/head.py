"""Above the model: what it is, whose, and what was decided of it: `Head`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from PySide6.QtWidgets import QHBoxLayout, QWidget

from widgets.kit.buttons import IconButton
from widgets.kit.labels import ElidedLabel, label
from widgets.screen.contents import Scene
from widgets.screen.keys import KeyMap
from widgets.screen.side import DECISIONS

_BUTTONS = {
    "grid": ("table", "All models as thumbnails, to decide on many at once"),
    "review": ("search", "Look again at what was decided, by you or by others"),
    "open_page": ("globe", "Open its page in the browser"),
    "help": ("help", "Keys, and how to change them"),
}


class Head(QWidget):
    """A line of words, with the buttons that lead away from the model at its ends."""

    def __init__(self, leave: Callable[[], Any], act: Callable[[str], Any]) -> None:
        super().__init__()
        self.title = ElidedLabel("", "heading")
        self.place = label("", "muted")
        self.rights = ElidedLabel("", "muted")
        self.badge = label("", "badge")
        self.flagged = label("", "badge")
        self.buttons = {action: IconButton(icon, "", partial(act, action)) for action, (icon, _) in _BUTTONS.items()}
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(8)
        row.addWidget(IconButton("options", "List, folder, criterion and reasons", leave))
        row.addWidget(self.place)
        row.addWidget(self.title, 3)
        row.addWidget(self.flagged)
        row.addWidget(self.badge)
        row.addWidget(self.rights, 2)
        for button in self.buttons.values():
            row.addWidget(button)

    def show_keys(self, keys: KeyMap) -> None:
        """Say which keys do the same as the buttons."""
        for action, button in self.buttons.items():
            button.setToolTip(f"{_BUTTONS[action][1]} ({keys.shown(action)})")

    def show_scene(self, scene: Scene) -> None:
        """Say what an item is."""
        self.title.setText(scene.title)
        self.title.detail = f"{scene.title}\n{scene.item.path or ''}\n{scene.item.url}".strip()
        self.place.setText(f"{scene.index + 1:,} of {scene.total:,}")
        words = [scene.rights.author, scene.rights.licence]
        self.rights.setText(" · ".join(word for word in words if word) or (scene.item.url and scene.item.line))
        self.buttons["open_page"].setEnabled(bool(scene.item.url))
        decision = scene.decision
        said = f"{DECISIONS[decision.action][0]}{' unseen' if decision.unseen else ''}" if decision else ""
        _badge(self.badge, said, decision.action if decision else "")
        if decision is not None:
            when = f"{decision.who or 'somebody'} {decision.when.replace('T', ' ')[:16]}".strip()
            self.badge.setToolTip("\n".join((when, *decision.reasons)))
        _badge(self.flagged, "Flagged" if scene.note is not None else "", "flag")
        self.flagged.setToolTip(scene.note or "")


def _badge(badge: Any, text: str, kind: str) -> None:
    badge.setText(text)
    badge.setVisible(bool(text))
    if badge.property("kind") != kind:
        badge.setProperty("kind", kind)
        badge.style().unpolish(badge)
        badge.style().polish(badge)
