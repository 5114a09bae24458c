"""The table of models: what it says of each, and the picture beside its name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from PySide6.QtCore import QRect, Signal
from PySide6.QtGui import QImage, QPainter

from engine.rendering.jobs import ModelState
from widgets.kit.images import paint_fitted
from widgets.kit.theme import theme
from widgets.render.words import STATES, pace, sentence, worker
from widgets.state_table import RowPainting, StateTable, StateView

THUMBNAIL = 64
"""Side of the pictures that are kept, in pixels."""
_KEPT = 3000
"""Pictures that are kept."""
_SIDE = 30


class ModelTable(StateTable):
    """Models in the order of their list, each with its picture once there is one."""

    columns = ("State", "Model", "Frames", "s/frame", "Worker", "Tries", "Message")
    picture_wanted = Signal(str)
    """A finished model is on the screen and has no picture yet."""

    def __init__(self) -> None:
        super().__init__()
        self._pictures: OrderedDict[str, QImage] = OrderedDict()

    def key(self, row: ModelState) -> str:
        return row.model.key

    def words(self, row: ModelState) -> str:
        return f"{row.model.key} {row.model.path.name} {row.message} {row.worker}"

    def hint(self, row: ModelState, column: int) -> str:
        return str(row.model.path) if column == 1 else row.worker if column == 4 else self.cell(row, column)

    def cell(self, row: ModelState, column: int) -> str:
        if column == 0:
            return STATES[row.state][0]
        if column == 1:
            return row.model.key
        if column == 2:
            return f"{row.frames} of {row.total}" if row.frames or row.state == "working" else ""
        if column == 3:
            return pace(row.seconds_per_frame).removesuffix(" s") if row.seconds_per_frame else ""
        if column == 4:
            return worker(row.worker)
        if column == 5:
            return str(row.attempts) if row.attempts else ""
        return sentence(row.message)

    def set_rows(self, rows: Iterable[ModelState]) -> None:
        """Show these in place of what was there."""
        self._pictures.clear()
        super().set_rows(rows)

    def picture(self, row: ModelState) -> QImage | None:
        """The picture of a model; asks for it if there should be one."""
        found = self._pictures.get(row.model.key)
        if found is None and row.state == "done":
            self.picture_wanted.emit(row.model.key)
        return found

    def set_picture(self, key: str, image: QImage) -> None:
        """Show this beside a model's name."""
        self._pictures[key] = image
        self._pictures.move_to_end(key)
        if len(self._pictures) > _KEPT:
            self._pictures.popitem(last=False)
        if (row := self.row(key)) >= 0:
            self.dataChanged.emit(self.index(row, 1), self.index(row, 1))


class ModelView(StateView):
    """The table on the screen."""

    def __init__(self, table: ModelTable) -> None:
        samples = ("Cancelled", 3, "40 of 40", "s/frame", "worker 88", "Tries", 2)
        super().__init__(table, _Painting(table), samples, padding=22)
        self.setAccessibleName("Models")


class _Painting(RowPainting):
    def __init__(self, table: ModelTable) -> None:
        super().__init__({state: color for state, (_, color) in STATES.items()}, bar=2, right=(5,))
        self._table = table

    def share(self, row: ModelState) -> float | None:
        return row.frames / row.total if row.state == "working" and row.total else None

    def color(self, row: ModelState, column: int) -> str:
        if column == 6:
            return {"failed": "error", "cancelled": "warning"}.get(row.state, "muted")
        return "text" if column == 0 or (column == 1 and row.state != "waiting") else "muted"

    def paint_picture(self, painter: QPainter, room: QRect, row: ModelState) -> int:
        side = theme.px(_SIDE)
        frame = QRect(room.left(), room.center().y() - side // 2, side, side)
        image = self._table.picture(row)
        painter.fillRect(frame, theme.color("picture" if image is not None else "raised"))
        if image is not None:
            paint_fitted(painter, image, frame)
        return side + theme.px(8)
