"""What a fine-tuning is given: rendered models, the folder of the run, and the options."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QPushButton

from widgets.finetune.options_form import OptionsForm
from widgets.kit import setup_panel
from widgets.kit.buttons import with_key
from widgets.kit.labels import label
from widgets.kit.panel import column, row, scrolled
from widgets.kit.path_field import PlaceField

KEY = "Ctrl+R"


class SetupPanel(setup_panel.SetupPanel):
    """Data, folder and options."""

    def __init__(self) -> None:
        tip = "A folder of rendered models, as the Render tab writes it"
        source = PlaceField("No models yet", tip, "Folder of rendered models")
        tip = "Folder of the run; an earlier run in it is shown, and can go on"
        super().__init__(source, PlaceField("No folder yet", tip, "Folder of the run"))
        self.source = source
        self._offer: Path | None = None
        self._kept = False
        self.rendered = QPushButton("Last rendering")
        self.rendered.clicked.connect(lambda _=False: source.chosen.emit(self._offer))
        self.problems = label("", "warning", wrap=True)
        self.problems.setTextFormat(Qt.TextFormat.PlainText)
        self.new = QPushButton()
        self.kept = label("The run in this folder goes on with the options it has.", "small", wrap=True)
        self.form = OptionsForm()
        self.form.changed.connect(self.changed)
        self.area = scrolled(self.form)
        column(
            label("Rendered models", "muted"),
            source,
            self.rendered,
            self.note,
            self.problems,
            4,
            label("Folder of the run", "muted"),
            self.folder,
            row((self.kept, 1), self.new, spacing=8),
            6,
            (self.area, 1),
            self.start,
            spacing=8,
            within=self,
        )
        self.offer(None)
        self.set_note("")

    # -- content -----------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether there are models and a folder."""
        return super().ready and self.source_path is not None

    def offer(self, rendered: Path | None) -> None:
        """Offer what the Render tab has rendered last."""
        self._offer = rendered
        self.rendered.setToolTip(f"The models that were rendered last: {rendered}")
        self._refresh()

    def set_note(self, text: str, problem: str = "") -> None:
        """Say what the folder holds, and what is missing of it."""
        super().set_note(text)
        self.problems.setText(problem)
        self.problems.setVisible(bool(problem))

    def set_kept(self, kept: bool) -> None:
        """Whether the folder has a run that goes on, the options of which are settled."""
        self._kept = kept
        self._refresh()

    # -- inside ------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        super()._refresh()
        free = not self._running
        for widget in (self.new, self.rendered):
            widget.setEnabled(free)
        self.rendered.setVisible(self._offer is not None and self._offer != self.source_path)
        for kept in (self.kept, self.new):
            kept.setVisible(self._kept)
        self.form.set_enabled(free, kept=self._kept)
        self.start.setText("Go on" if self._kept else "Start")
        tip = "Go on with the run from its last checkpoint" if self._kept else "Fine-tune on these models"
        self.start.setToolTip(with_key(tip, KEY))
