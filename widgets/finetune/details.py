"""The validation models: a list of looks at them, the mesh of the chosen one beside the true one, and the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QStackedWidget, QWidget

from widgets.finetune.looks import Look, LookTable, LookView
from widgets.finetune.words import FIGURES, figure
from widgets.kit.details import LogView, Segments, small_viewport
from widgets.kit.labels import ElidedLabel, hint, label
from widgets.kit.panel import Panel, column, holder, row, split

if TYPE_CHECKING:
    from widgets.viewport import Viewport

_LINES = 20_000


class DetailsPanel(Panel):
    """Looks above; below them segments for the meshes and the log."""

    log_shown = Signal()

    def __init__(self) -> None:
        super().__init__(spacing=6)
        self.look: Look | None = None
        self.ours, self.true = _Side("What the network makes of it"), _Side("The true one")
        self.model = LookTable()
        self.table = LookView(self.model)
        self.top.addWidget(label("Validation models", "heading"))
        self._nothing = hint(
            "Before the first step and after every epoch the network builds some models that it does not learn from. "
            "Each mesh comes up here, with its figures."
        )
        self.tables = QStackedWidget()
        self.tables.addWidget(self.table)
        self.tables.addWidget(self._nothing)

        self.log = LogView("The run's log", "What the run says of itself appears here.", lines=_LINES, fixed=False)
        self.sides = split((self.ours, 0), (self.true, 0), beside=True)
        self._parts = QStackedWidget()
        self._parts.addWidget(self.sides)
        self._parts.addWidget(self.log)
        self._parts.setMinimumHeight(150)
        self.segments = Segments(self, 2)
        self.segments.idClicked.connect(self.show_side)
        self.caption = ElidedLabel("", "small")
        sides = row(*self.segments.buttons(), (self.caption, 1), spacing=0)
        lower = holder(column(sides, (self._parts, 1), spacing=4))
        self.parts = split((self.tables, 3), (lower, 4), sizes=(230, 330))
        self.body.addLayout(self.top)
        self.body.addWidget(self.parts, 1)
        self.set_look(None)
        self.show_rows()

    # -- content -----------------------------------------------------------------------------------------

    def set_running(self, running: bool) -> None:
        """Whether a run goes on: nothing here depends on it."""

    def show_rows(self) -> None:
        """Show the table, or what will be in it."""
        self.tables.setCurrentIndex(0 if self.model.rows else 1)

    def show_side(self, at: int) -> None:
        """Show the meshes (0) or the log (1)."""
        self.segments.button(at).setChecked(True)
        self._parts.setCurrentIndex(at)
        if at == 1:
            self.log.to_end()
            self.log_shown.emit()

    def set_look(self, look: Look | None) -> None:
        """Show another look, before its meshes are there; the view of the same model stays."""
        same = look is not None and self.look is not None and look.model == self.look.model
        self.look = look
        if not same:
            for side in (self.ours, self.true):
                side.show_mesh(None)
            if look is None:
                self.ours.show_mesh(None, "The mesh of the chosen model appears here, beside its true shape.")
        if self.true.isHidden() == (look is not None):
            self.true.setVisible(look is not None)
            self.sides.setSizes([1000, 1000])  # both alike; the user may change it
        found = [] if look is None else [f"{label} {figure(name, look.figures[name])}"
                                         for name, label in FIGURES.items() if name in look.figures]  # fmt: skip
        self.caption.setText("" if look is None else ", ".join([f"{look.name}, step {look.step:,}", *found]))

    def show_meshes(self, key: str, mesh: Any, note: str = "") -> None:
        """Show the mesh of a look, if it is still the chosen one; or say why there is none."""
        if self.look is not None and self.look.key == key:
            self.ours.show_mesh(mesh, note, keep_view=True)

    def show_true(self, model: str, mesh: Any, note: str = "") -> None:
        """Show the true shape of the chosen model; or say why there is none."""
        if self.look is not None and self.look.model == model:
            self.true.show_mesh(mesh, note)

    def prepare_viewports(self) -> None:
        """Make the 3D viewports, whose libraries are loaded."""
        from widgets.viewport import link

        if self.ours.viewport is None:
            link(self.ours.make_viewport(), self.true.make_viewport())

    def set_log(self, lines: list[str]) -> None:
        """Show these in place of what was there."""
        self.log.setPlainText("\n".join(lines[-_LINES:]))
        self.log.to_end()

    def add_log(self, lines: list[str]) -> None:
        """Append lines; who reads further up is left there."""
        self.log.keep_place(lambda: self.log.appendPlainText("\n".join(lines)))

    def close_down(self) -> None:
        """Free the 3D viewports."""
        for side in (self.ours, self.true):
            if side.viewport is not None:
                side.viewport.close()


class _Side(QWidget):
    """A mesh below its caption, or a note in its place."""

    def __init__(self, caption: str) -> None:
        super().__init__()
        self.viewport: Viewport | None = None
        self.caption = ElidedLabel(caption, "small")
        self.note = hint(margin=10)
        self._pages = QStackedWidget()
        self._pages.addWidget(self.note)
        column((self._pages, 1), self.caption, spacing=2, within=self)
        self.caption.hide()
        self.setMinimumWidth(140)

    @property
    def mesh(self) -> Any:
        """What is shown, or None."""
        return self.viewport.mesh if self.viewport is not None else None

    def make_viewport(self) -> Viewport:
        self.viewport = small_viewport("Drag to turn; C P N: colours, plain, normals; W: wireframe; R: the whole model")
        self._pages.addWidget(self.viewport)
        return self.viewport

    def show_mesh(self, mesh: Any, note: str = "", *, keep_view: bool = False) -> None:
        viewport = self.viewport
        if mesh is None or viewport is None:
            if viewport is not None and viewport.mesh is not None:
                viewport.show_mesh(None)
            self.note.setText(note)
            self.caption.hide()
            self._pages.setCurrentWidget(self.note)
            return
        self.caption.show()
        fresh = viewport.mesh is None or not keep_view
        viewport.show_mesh(mesh, reset_camera=fresh)
        self._pages.setCurrentWidget(viewport)
        if fresh:
            QTimer.singleShot(0, viewport, viewport.reset)  # fits the mesh once the viewport has its size
