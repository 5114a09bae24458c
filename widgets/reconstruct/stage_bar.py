"""The five stages of a run with their times, and an estimate of what remains."""

from __future__ import annotations

import time

from PySide6.QtCore import QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QFontMetrics, QPainter, QPen
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QWidget

from engine.core.progress import Progress
from widgets.kit.buttons import IconButton
from widgets.kit.theme import theme

STAGES = {
    "foreground": "Object",
    "views": "Views",
    "elevation": "Elevation",
    "surface": "Surface",
    "texture": "Texture",
}
"""Stages of a reconstruction in order, with the names people see."""
DEFAULT_SECONDS = {"foreground": 0.5, "views": 6.0, "elevation": 2.0, "surface": 6.0, "texture": 5.0}
"""Expected seconds of each stage before any run was measured on this machine."""


def seconds_text(seconds: float) -> str:
    """`0.4 s`, `12 s` or `2 min 05 s`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


class StageStrip(QWidget):
    """The painted part: a segment for each stage, filled as far as it has come."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.state = dict.fromkeys(STAGES, "waiting")
        self.fraction = dict.fromkeys(STAGES, 0.0)
        self.seconds: dict[str, float | None] = dict.fromkeys(STAGES)
        self.expected = dict(DEFAULT_SECONDS)
        theme.changed.connect(self.updateGeometry)

    def sizeHint(self) -> QSize:
        return QSize(theme.px(420), theme.px(46))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.px(340), theme.px(46))

    def share(self, stage: str) -> float:
        """How far a stage has come, 0..1: as it says, or as long as it takes, for what says nothing for a while."""
        if self.state[stage] == "done":
            return 1.0
        by_time = (self.seconds[stage] or 0.0) / self.expected[stage] if self.state[stage] == "running" else 0.0
        return max(self.fraction[stage], min(by_time, 0.9))

    def paintEvent(self, event: object) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        gap = theme.px(8)
        width = (self.width() - gap * (len(STAGES) - 1)) / len(STAGES)
        colors = {
            "waiting": "muted",
            "paused": "muted",
            "running": "text",
            "done": "text",
            "failed": "error",
            "stopped": "warning",
        }
        name_font, time_font = theme.font(13, bold=True), theme.font(12)
        for i, (stage, title) in enumerate(STAGES.items()):
            left, state = i * (width + gap), self.state[stage]
            bar = QRectF(left, self.height() - theme.px(8), width, theme.px(5))
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.color("border"))
            painter.drawRoundedRect(bar, bar.height() / 2, bar.height() / 2)
            if (share := self.share(stage)) > 0:
                tint = {"failed": "error", "stopped": "warning"}.get(state, "accent")
                painter.setBrush(theme.color(tint))
                bar.setWidth(max(width * share, bar.height()))
                painter.drawRoundedRect(bar, bar.height() / 2, bar.height() / 2)
            room = QRectF(left, theme.px(2), width, self.height() - theme.px(14))
            painter.setFont(name_font)
            painter.setPen(QPen(theme.color(colors[state])))
            shown = QFontMetrics(name_font).elidedText(title, Qt.TextElideMode.ElideRight, int(width))
            painter.drawText(room, Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft, shown)
            seconds = self.seconds[stage]
            note = {"failed": "failed", "stopped": "stopped"}.get(state, "")
            if seconds is not None and not note:
                note = seconds_text(seconds)
            painter.setFont(time_font)
            painter.setPen(QPen(theme.color(colors[state] if note and state in ("failed", "stopped") else "muted")))
            painter.drawText(room, Qt.AlignmentFlag.AlignBottom | Qt.AlignmentFlag.AlignLeft, note or "–")


class StageBar(QWidget):
    """Follows one run. `remaining_changed` carries the line that says how long it still takes."""

    cancel_requested = Signal()
    remaining_changed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.strip = StageStrip()
        self.cancel_button = IconButton("cancel", "Cancel this run (Esc)", self.cancel_requested.emit, text="Cancel")
        self.cancel_button.setObjectName("")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(16)
        row.addWidget(self.strip, 1)
        row.addWidget(self.cancel_button)
        self._spent = dict.fromkeys(STAGES, 0.0)
        self._stage: str | None = None
        self._began = self._stage_began = 0.0
        self._clock = QTimer(self)
        self._clock.setInterval(100)
        self._clock.timeout.connect(self._tick)
        self.reset()

    def set_expected(self, seconds: dict[str, float]) -> None:
        """Seconds that each stage took lately on this machine."""
        self.strip.expected = {stage: max(seconds.get(stage, DEFAULT_SECONDS[stage]), 0.1) for stage in STAGES}

    def reset(self) -> None:
        """Nothing runs and nothing ran."""
        self._clock.stop()
        self._stage = None
        self.cancel_button.hide()
        self.strip.state = dict.fromkeys(STAGES, "waiting")
        self.strip.fraction = dict.fromkeys(STAGES, 0.0)
        self.strip.seconds = dict.fromkeys(STAGES)
        self.strip.update()
        self.remaining_changed.emit("")

    def begin(self, first: str = "foreground") -> None:
        """A run starts with stage `first`; the stages before it keep what they show."""
        before = list(STAGES)[: list(STAGES).index(first)]
        kept = {stage: self.strip.seconds[stage] for stage in before}
        self.reset()
        for stage in before:
            self.strip.state[stage], self.strip.seconds[stage] = "done", kept[stage]
        self._spent = dict.fromkeys(STAGES, 0.0)
        self._began = time.monotonic()
        self._enter(first)
        self.cancel_button.setEnabled(True)
        self.cancel_button.setText("Cancel")
        self.cancel_button.show()
        self._clock.start()

    def advance(self, event: Progress) -> None:
        """Take in a progress event. A stage may pause for another one and go on later."""
        if event.stage not in STAGES or self._stage is None:
            return
        if event.stage != self._stage:
            self._leave("done" if self.strip.fraction[self._stage] > 0.999 else "paused")
            self._enter(event.stage)
        self.strip.fraction[event.stage] = event.fraction
        self.strip.update()

    def cancelling(self) -> None:
        """Cancel was asked for and the engine has not stopped yet."""
        self.cancel_button.setEnabled(False)
        self.cancel_button.setText("Stopping…")

    def finish(self, state: str = "done") -> None:
        """The run ended: `done`, `failed` or `stopped`."""
        if self._stage is None:
            return
        self._leave(state)
        if state == "done":
            self.strip.state = dict.fromkeys(STAGES, "done")
        total = seconds_text(time.monotonic() - self._began)
        self._stage = None
        self._clock.stop()
        self.cancel_button.hide()
        self.remaining_changed.emit({"done": f"Done in {total}.", "stopped": f"Stopped after {total}."}.get(state, ""))

    def show_report(self, seconds: dict[str, float], state: str, last: str | None = None) -> None:
        """Show a run of the past: seconds by stage, and how it ended."""
        self.reset()
        for stage in STAGES:
            if stage in seconds:
                self.strip.state[stage], self.strip.seconds[stage] = "done", seconds[stage]
        if state != "done":
            broken = last or next((s for s in STAGES if s not in seconds), "texture")
            self.strip.state[broken] = "failed" if state == "failed" else "stopped"
        self.strip.update()

    def remaining(self) -> float:
        """Estimate of the seconds still to go."""
        if self._stage is None:
            return 0.0
        total = 0.0
        for stage in STAGES:
            if self.strip.state[stage] != "done":
                spent, share = self._seconds(stage), self.strip.fraction[stage]
                left = max(self.strip.expected[stage] - spent, 0.3)
                if share > 0.1:  # the run's own pace is the better guide once there is some
                    left = share * (spent * (1 - share) / share) + (1 - share) * left
                total += left
        return total

    @property
    def running(self) -> bool:
        """Whether a run is being followed."""
        return self._stage is not None

    @property
    def stage(self) -> str | None:
        """The stage in work."""
        return self._stage

    def _seconds(self, stage: str) -> float:
        now = time.monotonic() - self._stage_began if stage == self._stage else 0.0
        return self._spent[stage] + now

    def _enter(self, stage: str) -> None:
        self._stage, self._stage_began = stage, time.monotonic()
        self.strip.state[stage] = "running"
        self.strip.seconds[stage] = self._spent[stage]

    def _leave(self, state: str) -> None:
        assert self._stage is not None
        self._spent[self._stage] = self.strip.seconds[self._stage] = self._seconds(self._stage)
        self.strip.state[self._stage] = state
        self.strip.update()

    def _tick(self) -> None:
        if self._stage is None:
            return
        self.strip.seconds[self._stage] = self._seconds(self._stage)
        self.strip.update()
        left = max(round(self.remaining()), 1)
        to_go = f"{left} s" if left < 60 else seconds_text(left)
        self.remaining_changed.emit(f"{seconds_text(time.monotonic() - self._began)} so far, about {to_go} to go")
