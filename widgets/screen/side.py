"""Beside the model: how far it is, the criterion, and the last decisions."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QRect, QSize, Qt, Signal
from PySide6.QtGui import QColor, QPainter, QPen, QPixmap
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QProgressBar,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from widgets.kit.labels import ElidedLabel, label
from widgets.kit.panel import Panel
from widgets.kit.theme import theme
from widgets.kit.words import duration
from widgets.screen.contents import Scene

if TYPE_CHECKING:
    from engine.screening import WithGold

DECISIONS = {"select": ("Selected", "good"), "reject": ("Rejected", "error"), "skip": ("Skipped", "warning")}
"""Words and colour of each decision."""
RECENT = 12
_KEPT = 300
"""Thumbnails in memory."""


class SidePanel(QWidget):
    """Progress, criterion and the last decisions; `chosen` asks to go back to an item."""

    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self._thumbnails: OrderedDict[str, QPixmap] = OrderedDict()
        self.figure = label("", "figure")
        self.total = label("", "muted")
        self.bar = QProgressBar(textVisible=False)
        self.counts = ElidedLabel("", "muted")
        self.rate = label("", "")
        self.left = label("", "muted")
        progress = Panel(spacing=6)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.figure, 0, Qt.AlignmentFlag.AlignBaseline)
        row.addWidget(self.total, 1, Qt.AlignmentFlag.AlignBaseline)
        progress.body.addLayout(row)
        progress.body.addWidget(self.bar)
        pace = QHBoxLayout()
        pace.addWidget(self.rate)
        pace.addStretch(1)
        pace.addWidget(self.left)
        progress.body.addLayout(pace)
        progress.body.addWidget(self.counts)
        self.gold = label("", "muted")
        self.gold.setToolTip("How well your decisions agree with those that are known to be right, and Cohen's kappa")
        progress.body.addWidget(self.gold)

        criterion = Panel("Criterion", spacing=4)
        self.criterion = label("", "", wrap=True)
        self.criterion.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.criterion.setTextInteractionFlags(Qt.TextInteractionFlag.NoTextInteraction)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setWidget(self.criterion)
        criterion.body.addWidget(area, 1)

        recent = Panel("Last decisions", spacing=6)
        grid = QGridLayout()
        grid.setSpacing(8)
        self.cards = [Card() for _ in range(RECENT)]
        for at, card in enumerate(self.cards):
            card.clicked.connect(lambda _=False, card=card: card.index is not None and self.chosen.emit(card.index))
            grid.addWidget(card, at // 3, at % 3)
        recent.body.addLayout(grid)
        recent.body.addStretch(1)

        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(12)
        column.addWidget(progress)
        column.addWidget(criterion, 1)
        column.addWidget(recent)
        theme.changed.connect(self._restyle)
        self._restyle()

    def keep_thumbnail(self, key: str, picture: QPixmap) -> None:
        """Remember how an item looked."""
        self._thumbnails[key] = picture
        self._thumbnails.move_to_end(key)
        while len(self._thumbnails) > _KEPT:
            self._thumbnails.popitem(last=False)

    def show_scene(self, scene: Scene) -> None:
        """Show the present state."""
        progress = scene.progress
        self.figure.setText(f"{progress.done:,}")
        self.total.setText(f"of {progress.total:,} decided")
        self.bar.setMaximum(max(progress.total, 1))
        self.bar.setValue(progress.done)
        share = "" if progress.share is None else f" ({100 * progress.share:.0f} %)"
        parts = [f"{progress.selected:,} selected{share}", f"{progress.rejected:,} rejected"]
        parts += [f"{progress.skipped:,} skipped"] if progress.skipped else []
        parts += [f"{progress.flagged:,} flagged"] if progress.flagged else []
        self.counts.setText(" · ".join(parts))
        self.rate.setText(f"{progress.rate:,.0f} an hour" if progress.rate else "")
        left = progress.seconds_left
        self.left.setText(f"{duration(left)} left" if left and progress.left else "")
        self.gold.setVisible(scene.gold is not None)
        if scene.gold is not None:
            self.gold.setText(_agreement(scene.gold))
        if self.criterion.text() != scene.criterion.strip():
            self.criterion.setText(scene.criterion.strip())
        for at, card in enumerate(self.cards):
            if at < len(scene.recent):
                judged = scene.recent[at]
                card.show_decision(
                    judged.index, judged.entry.action, judged.item.line, self._thumbnails.get(judged.item.key)
                )
            else:
                card.clear()

    def make_room(self, height: int) -> None:
        """Show as many decisions as there is room for."""
        rows = 4 if height > theme.px(820) else 3 if height > theme.px(700) else 2
        for at, card in enumerate(self.cards):
            card.setVisible(at < 3 * rows)

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self.make_room(self.height())

    def _restyle(self) -> None:
        self.setFixedWidth(theme.px(304))


def _agreement(gold: WithGold) -> str:
    if gold.share is None:
        return "Gold set: none decided yet"
    kappa = "" if gold.kappa is None else f", κ {gold.kappa:.2f}"
    return f"Gold set: {gold.agreed:,} of {gold.items:,} ({100 * gold.share:.0f} %){kappa}"


class Card(QToolButton):
    """A decision: what the item looked like, and what it is now."""

    def __init__(self) -> None:
        super().__init__()
        self.index: int | None = None
        self.action = ""
        self._picture: QPixmap | None = None
        self._name = ""
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.clear()

    def show_decision(self, index: int, action: str, line: str, picture: QPixmap | None) -> None:
        """Show a decision on the item at a place of the list."""
        if (index, action, picture) != (self.index, self.action, self._picture):
            self.index, self.action, self._picture = index, action, picture
            self._name = line.rstrip("/").rpartition("/")[2]
            self.setEnabled(True)
            self.setToolTip(f"{DECISIONS[action][0]}: {line}\nClick to go back to it")
            self.update()

    def clear(self) -> None:
        """Show nothing."""
        self.index, self.action, self._picture = None, "", None
        self.setEnabled(False)
        self.setToolTip("")
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(theme.px(84), theme.px(66))

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        rect = self.rect().adjusted(1, 1, -1, -1)
        if self.index is None:
            painter.setPen(QPen(theme.color("border"), 1, Qt.PenStyle.DashLine))
            painter.drawRoundedRect(rect, 6, 6)
            return
        color = theme.color(DECISIONS[self.action][1])
        painter.setPen(QPen(theme.color("text") if self.underMouse() else theme.color("border"), 1))
        painter.setBrush(theme.color("raised"))
        painter.drawRoundedRect(rect, 6, 6)
        foot = theme.px(5)
        room = rect.adjusted(2, 2, -2, -foot - 1)
        if self._picture is not None:
            size = self._picture.size().scaled(room.size(), Qt.AspectRatioMode.KeepAspectRatioByExpanding)
            source = QRect(0, 0, room.width(), room.height())
            scale = self._picture.width() / size.width()
            source = QRect(
                round((size.width() - room.width()) / 2 * scale),
                round((size.height() - room.height()) / 2 * scale),
                round(room.width() * scale),
                round(room.height() * scale),
            )
            painter.drawPixmap(room, self._picture, source)
        else:
            painter.setPen(theme.color("muted"))
            painter.setFont(theme.font(10))
            flags = int(Qt.AlignmentFlag.AlignCenter) | int(Qt.TextFlag.TextWrapAnywhere)
            painter.drawText(room.adjusted(4, 2, -4, -2), flags, self._name[:42])
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(color))
        painter.drawRoundedRect(QRect(rect.left() + 3, rect.bottom() - foot, rect.width() - 6, foot - 2), 2, 2)
