"""The Reconstruct tab: picture and history at the left, the mesh in the middle, views and elevation at the right.

The tab shows what it is given and says by signals what the user wants; it computes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QMimeData, Qt, QTimer, Signal
from PySide6.QtGui import QGuiApplication, QImage
from PySide6.QtWidgets import (
    QApplication,
    QButtonGroup,
    QFileDialog,
    QHBoxLayout,
    QPushButton,
    QSplitter,
    QStackedWidget,
    QToolButton,
    QWidget,
)

from engine import cameras, choices
from engine.core.progress import Progress
from engine.reconstruct.options import PICTURE_SUFFIXES
from widgets.kit.banner import Banner
from widgets.kit.buttons import IconButton, with_key
from widgets.kit.images import opaque, to_qimage
from widgets.kit.labels import ElidedLabel, label
from widgets.kit.overlay import Toast
from widgets.kit.panel import Panel
from widgets.reconstruct.elevation_panel import ElevationPanel
from widgets.reconstruct.history_panel import HistoryPanel
from widgets.reconstruct.incoming import pictures_from_mime
from widgets.reconstruct.input_panel import InputPanel
from widgets.reconstruct.preview import DropHint, Invitation, LivePreview, MaskPage
from widgets.reconstruct.rebuild_sheet import RebuildButton
from widgets.reconstruct.request import HistoryEntry, Picture, short_label
from widgets.reconstruct.stage_bar import STAGES, StageBar
from widgets.reconstruct.views_grid import ViewOverlay, ViewsGrid

if TYPE_CHECKING:
    from widgets.viewport import Viewport

STAGE_WORDS = {
    "foreground": "Finding the object",
    "views": "Drawing it from other sides",
    "elevation": "Estimating the camera's elevation",
    "surface": "Building the surface",
    "texture": "Painting the texture",
}
RETRY_TIP = "Draw the chosen view again and rebuild (R)"
NO_RETRY_TIP = "These views are pictures of one solid: none can be drawn again alone"


@dataclass(frozen=True)
class RunContents:
    """All that the tab shows of a finished or interrupted run."""

    key: str
    name: str
    status: str
    error: str | None
    stage: str | None
    """The first stage that is not done."""
    picture: QImage
    """The framed input, or the picture as it was given."""
    views: dict[str, QImage] = field(default_factory=dict)
    elevation: Any = None
    mesh: Any = None
    seconds: dict[str, float] = field(default_factory=dict)
    height_m: float | None = None
    used: dict[str, Any] = field(default_factory=dict)
    """What did each part of the work, as the run's report says."""
    error_kind: str | None = None
    """Class of the error, e.g. `WeightsError`."""
    method: str = "views"
    """Name in `engine.choices.METHODS`."""
    made_with: dict[str, Any] = field(default_factory=dict)
    """Options that a mesh may be rebuilt with otherwise, by their names in `Options`."""


class ReconstructTab(QWidget):
    """Everything of a reconstruction on one page."""

    requested = Signal(list)
    cancel_requested = Signal()
    remove_requested = Signal(int)
    retry_requested = Signal(int)
    rebuild_requested = Signal(dict)
    """The run that is shown is wanted with these options otherwise."""
    continue_requested = Signal()
    """Go on with the run that is shown, from where it stopped."""
    open_requested = Signal(str)
    delete_requested = Signal(str)
    folder_requested = Signal(str)
    rerun_requested = Signal(str)
    export_requested = Signal()
    pictures_brought = Signal(list)
    picture_chosen = Signal(object)
    preview_wanted = Signal(object, str)
    status_changed = Signal(str)
    """The line at the bottom of the window; empty for nothing."""
    models_requested = Signal(str)
    """The page of models is wanted, at this model if one is named."""
    folder_used = Signal(str)
    """Folder that a picture was opened from."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("page")
        self.last_folder = str(Path.home())
        self.shown_key: str | None = None
        self.following = True
        """Whether the run in work is the one on the screen; a run of the past may be looked at meanwhile."""
        self._viewport: Viewport | None = None
        self._shown: RunContents | None = None
        self._working_on: str | None = None
        self._poses: list[cameras.Pose] = []
        self._meshes: dict[str, Any] = {}
        """The mesh before the run of this key was rebuilt."""
        self._behind: QWidget | None = None
        """The page that the picture's mask is corrected in front of, while it is."""

        # left: picture or history
        self.input = InputPanel()
        self.history = HistoryPanel()
        self._left_pages = QStackedWidget()
        self._left_pages.addWidget(self.input)
        self._left_pages.addWidget(self.history)
        self._segments = QButtonGroup(self)
        left = Panel(spacing=8)
        for i, (text, tip) in enumerate((("Picture", "Picture and options"), ("History", "Earlier runs"))):
            button = QToolButton()
            button.setObjectName("segment")
            button.setText(text)
            button.setCheckable(True)
            button.setChecked(i == 0)
            button.setToolTip(with_key(tip, ("Ctrl+I", "Ctrl+F")[i]))
            self._segments.addButton(button, i)
            left.top.addWidget(button)
        left.top.addStretch(1)
        self._segments.idClicked.connect(self._left_pages.setCurrentIndex)
        left.body.addLayout(left.top)
        left.body.addWidget(self._left_pages, 1)
        left.setMinimumWidth(250)

        # middle: stages, message, mesh
        self.title = ElidedLabel("Mesh", "heading")
        self.clock = label("", "muted")
        self.export_button = QPushButton("Export…")
        self.export_button.setToolTip(with_key("Save the mesh as GLB, OBJ, PLY or STL", "E"))
        self.export_button.clicked.connect(lambda: self.export_requested.emit())
        self.rebuild = RebuildButton()
        self.before = QPushButton("Before")
        self.before.setCheckable(True)
        self.before.setToolTip("Look at the mesh as it was before it was rebuilt")
        self.before.toggled.connect(lambda _: self._compare())
        for hidden in (self.export_button, self.rebuild, self.before):
            hidden.hide()
        self.used = ElidedLabel("", "small")
        self.stages = StageBar()
        self.stages.cancel_requested.connect(self.cancel_requested)
        self.stages.remaining_changed.connect(self.clock.setText)
        self.banner = Banner()
        self.invitation = Invitation()
        self.preview = LivePreview()
        self._pages = QStackedWidget()
        self._pages.addWidget(self.invitation)
        self._pages.addWidget(self.preview)
        self.mask_page = MaskPage(self.input.editor)
        self._pages.addWidget(self.mask_page)
        self.stages.hide()
        self.used.hide()
        middle = Panel(spacing=10)
        middle.top.addWidget(self.title, 1)
        middle.top.addWidget(self.clock)
        middle.top.addWidget(self.before)
        middle.top.addWidget(self.rebuild)
        middle.top.addWidget(self.export_button)
        middle.body.addLayout(middle.top)
        middle.body.addWidget(self.stages)
        middle.body.addWidget(self.used)
        middle.body.addWidget(self.banner)
        middle.body.addWidget(self._pages, 1)
        middle.setMinimumWidth(420)

        # right: views and elevation
        self.views = ViewsGrid()
        self.elevation = ElevationPanel()
        views_panel = Panel("Views", spacing=8)
        self._enlarge = IconButton("full-screen", "Enlarge the chosen view (Return)", self._enlarge_current)
        self._retry = IconButton("retry", RETRY_TIP, self._retry_current)
        views_panel.top.addWidget(self._enlarge)
        views_panel.top.addWidget(self._retry)
        views_panel.body.addWidget(self.views, 1)
        elevation_panel = Panel("Elevation", spacing=4)
        elevation_panel.body.addWidget(self.elevation, 1)
        right = QSplitter(Qt.Orientation.Vertical)
        right.addWidget(views_panel)
        right.addWidget(elevation_panel)
        right.setStretchFactor(0, 2)
        right.setStretchFactor(1, 1)
        right.setChildrenCollapsible(False)
        right.setHandleWidth(12)
        right.setMinimumWidth(260)
        right.setSizes([420, 290])

        self.columns = QSplitter()
        self.columns.addWidget(left)
        self.columns.addWidget(middle)
        self.columns.addWidget(right)
        self.columns.setChildrenCollapsible(False)
        self.columns.setHandleWidth(12)
        for i, stretch in enumerate((2, 7, 3)):
            self.columns.setStretchFactor(i, stretch)
        self.columns.setSizes([300, 620, 320])
        box = QHBoxLayout(self)
        box.setContentsMargins(12, 12, 12, 12)
        box.addWidget(self.columns)

        self.overlay = ViewOverlay(self, self.views)
        self.toast = Toast(self)
        self._drop_hint = DropHint(self)
        self._connect()
        self._set_retry(False)
        self._show_chosen_method()

    def _connect(self) -> None:
        for source in (self.input, self.invitation):
            source.open_pressed.connect(self.open_dialog)
            source.paste_pressed.connect(self.paste)
            source.sample_chosen.connect(lambda path: self.bring([Picture(path, path.stem)]))
        self.rebuild.requested.connect(self._rebuild)
        self.input.requested.connect(self._leave_mask)
        self.input.requested.connect(lambda _: self._leave_button())
        self.input.requested.connect(self.requested)
        self.input.edit_pressed.connect(self.edit_mask)
        self.mask_page.left.connect(self._leave_mask)
        self.input.picture_chosen.connect(self.picture_chosen)
        self.input.preview_wanted.connect(self.preview_wanted)
        self.input.remove_requested.connect(self.remove_requested)
        self.input.models.method.currentIndexChanged.connect(lambda _=0: self._show_chosen_method())
        self.input.models.models_requested.connect(lambda: self.models_requested.emit(""))
        self.history.open_requested.connect(self.open_requested)
        self.history.folder_requested.connect(self.folder_requested)
        self.history.rerun_requested.connect(self.rerun_requested)
        self.history.delete_requested.connect(self._delete)
        self.views.hovered.connect(self.status_changed)
        self.views.enlarge_requested.connect(self.overlay.show_view)
        self.views.retry_requested.connect(self.retry_requested)

    # -- pictures in -------------------------------------------------------------------------------------

    def open_dialog(self) -> None:
        """Ask for picture files."""
        kinds = " ".join(f"*{suffix}" for suffix in PICTURE_SUFFIXES)
        names, _ = QFileDialog.getOpenFileNames(self, "Open pictures", self.last_folder, f"Pictures ({kinds});;All (*)")
        if names:
            self.last_folder = str(Path(names[0]).parent)
            self.folder_used.emit(self.last_folder)
            self.bring([Picture(Path(name), Path(name).stem) for name in names])

    def paste(self) -> None:
        """Take the picture on the clipboard."""
        self.take(QGuiApplication.clipboard().mimeData())

    def take(self, mime: QMimeData) -> None:
        """Take the pictures of a drop or of the clipboard, or say why there is none."""
        pictures, refusal = pictures_from_mime(mime)
        if pictures:
            self.bring(pictures)
        else:
            self.banner.show_message(refusal, "warning")

    def show_drop_hint(self, on: bool) -> None:
        """Show that a drop is welcome, while something is dragged over the window."""
        self._drop_hint.show_over(on)

    def set_samples(self, samples: list[tuple[Path, QImage]]) -> None:
        """Offer the bundled pictures, each with a thumbnail."""
        self.input.set_samples(samples)
        self.invitation.set_samples(samples)

    def show_picture(self, picture: Picture, pixels: Any) -> None:
        """The pixels of a picture in work were loaded: uint8 (H, W, 4)."""
        self.input.show_picture(picture, pixels)
        if not self.stages.running and picture is self.input.picture and self.shown_key is None:
            self._show_page(self.mask_page)

    def show_input_problem(self, picture: Picture, text: str) -> None:
        """A picture cannot be used."""
        self.input.show_problem(picture, "This picture cannot be used.", usable=False)
        if picture is self.input.picture:
            self.banner.show_message(text, "error", {"Open another…": self.open_dialog})
            if not self.stages.running and self.shown_key is None:
                self._show_page(self.invitation)  # what is there is the picture before

    def bring(self, pictures: list[Picture]) -> None:
        """Take new pictures in place of the old ones."""
        self.banner.hide()
        self.show_side("picture")
        self._leave_mask()
        if not self.stages.running:
            self.clear_run()
        self.input.set_pictures(pictures)
        self.pictures_brought.emit(pictures)

    # -- a run -------------------------------------------------------------------------------------------

    def clear_run(self) -> None:
        """Show no run."""
        self.shown_key = self._shown = None
        self._show_used({})
        self.title.setText("Mesh")
        if not self.stages.running:
            self.stages.reset()
        self.views.clear()
        self.elevation.clear()
        self._show_mesh(None)
        self._show_chosen_method()
        self._set_retry(False)
        self._show_page(self.mask_page if self.input.picture else self.invitation)

    def prepare_run(self, first: str) -> None:
        """A run is about to begin at stage `first`: it can be cancelled from now on."""
        self.stages.begin(first)
        self.input.set_busy(True)

    def _leave_button(self) -> None:
        """Take the keyboard from the button that was pressed: another Space would ask for a second run."""
        if self.input.button.hasFocus():
            self.setFocus(Qt.FocusReason.OtherFocusReason)

    def forget_run(self) -> None:
        """The run that was about to begin cannot."""
        self.stages.reset()
        self.input.set_busy(False)
        if self._shown is not None:
            self.stages.show_report(self._shown.seconds, self._shown.status, self._shown.stage)

    def begin_run(
        self,
        key: str,
        name: str,
        first: str = "foreground",
        *,
        follow: bool = True,
        method: str = "views",
        picture: Picture | None = None,
    ) -> None:
        """The engine starts on a run of `picture` by `method` at stage `first`; what earlier stages left stays.

        Without `follow`, what is on the screen stays and only the stage bar changes.
        """
        self.prepare_run(first)
        self._set_retry(False)
        self._working_on = key
        self.following = follow
        if follow:
            if first == "foreground":
                own = picture is None or picture is self.input.picture
                self.preview.show_image(self.input.well.image if own else QImage())
            self.follow_run(key, name, first, method=method)
        else:
            self.status_changed.emit(f"At work on {name}; the mesh of {self.title.text()} stays until you leave it.")

    def follow_run(
        self,
        key: str,
        name: str,
        first: str = "foreground",
        contents: RunContents | None = None,
        *,
        method: str = "views",
    ) -> None:
        """Show the run in work, which began at stage `first`, with what earlier stages have left in `contents`."""
        order = list(STAGES)
        draws = order.index(first) <= order.index("views")
        if draws or key != self.shown_key:
            self.views.clear()
            self.elevation.clear()
            self._poses = []
        self._set_method(method)
        self.following = True
        self.banner.hide()
        self.shown_key, self._shown = key, None
        self._show_used({})
        self.title.setText(name)
        if contents is not None and not draws:
            self._show_views(contents)
        self._show_mesh(None)
        self.preview.show_image(caption=f"{STAGE_WORDS[first]}…")
        self._show_page(self.preview)

    def begin_retry(self, key: str, name: str, index: int) -> None:
        """The engine draws principal view `index` of the run on the screen again, then rebuilds."""
        self.begin_run(key, name, "surface")
        self.stages.advance(Progress("views", 0, 1))
        self.views.set_busy(index)
        self.preview.show_image(caption=f"Drawing view {index + 1} again…")

    def take_progress(self, events: list[Progress]) -> None:
        """Show what the engine reports."""
        for event in events:
            self.stages.advance(event)
            if self.following:
                self.show_event(event)

    def show_event(self, event: Progress) -> None:
        """Show one event of the run in work."""
        caption = event.message or STAGE_WORDS.get(event.stage, "")
        image = None
        if event.preview is not None:
            kind, *what = event.preview
            if kind == "framed":
                image = to_qimage(opaque(what[0]))
            elif kind == "view":
                name, picture = what
                self.views.set_view(name, picture)
                self._enlarge.setEnabled(True)
                image = self.views.images.get(name)
            elif kind == "elevation":
                self._show_elevation(what[0])
            elif kind == "mesh":
                self._show_mesh(what[0])
        if self._pages.currentWidget() is self.preview:
            self.preview.show_image(image, f"{caption}…" if caption else None)

    def finish_run(self, contents: RunContents) -> None:
        """The run ended, well or not: show how and what can be done now."""
        self.stages.finish({"done": "done", "failed": "failed"}.get(contents.status, "stopped"))
        self.input.set_busy(False)
        if self.following:
            clock = self.clock.text()
            self.views.set_busy(None)
            self._show_contents(contents)
            self.clock.setText(clock)
            if contents.mesh is not None and QApplication.focusWidget() in (None, self, self.input.button):
                self.prepare_viewport().setFocus(Qt.FocusReason.OtherFocusReason)
        elif self._shown is not None:  # the stages are its own again, and it may be gone on with
            self._show_contents(self._shown)
            self._show_time(self._shown)

    def give_up_run(self) -> None:
        """The run ended, and what it left cannot be read."""
        self.stages.finish("failed")
        self.input.set_busy(False)
        self.views.set_busy(None)

    def show_run(self, contents: RunContents) -> None:
        """Show a run of the past. One in work goes on meanwhile, and the stage bar stays with it."""
        self.following = False
        self.banner.hide()
        self.views.clear()
        self.elevation.clear()
        self._show_mesh(None)
        self._show_contents(contents)
        self._show_time(contents)

    def show_error(self, text: str, actions: dict[str, Callable[[], Any]] | None = None) -> None:
        """Something went wrong: say it in place."""
        self.banner.show_message(text, "error", actions)

    def show_note(self, text: str) -> None:
        """Something worth a line, and nothing wrong."""
        self.banner.show_message(text, "info")

    @property
    def has_mesh(self) -> bool:
        """Whether a mesh is on the screen."""
        return self._viewport is not None and self._viewport.mesh is not None

    @property
    def viewport(self) -> Viewport | None:
        """The 3D viewport, once it was needed."""
        return self._viewport

    def prepare_viewport(self) -> Viewport:
        """Make the 3D viewport, unless it is there."""
        if self._viewport is None:
            from widgets.viewport import Viewport

            self._viewport = Viewport()
            self._viewport.export_requested.connect(self.export_requested)
            self._pages.addWidget(self._viewport)
        return self._viewport

    # -- keys and places ---------------------------------------------------------------------------------

    def show_side(self, side: str) -> None:
        """Show `picture` or `history` at the left; the history with its search ready."""
        index = 0 if side == "picture" else 1
        self._left_pages.setCurrentIndex(index)
        self._segments.button(index).setChecked(True)
        if index == 1:
            self.history.search.setFocus()
            self.history.search.selectAll()

    def focus_next(self) -> None:
        """Move the keyboard on: picture or history, mesh, views, and round again."""
        middle = [] if self._viewport is None else [self._viewport]
        stops = [part for part in (self.history.list, self.input.editor, *middle, self.views) if part.isVisible()]
        here = QApplication.focusWidget()
        at = next((i for i, part in enumerate(stops) if here and (part is here or part.isAncestorOf(here))), -1)
        stops[(at + 1) % len(stops)].setFocus(Qt.FocusReason.ShortcutFocusReason)

    def escape(self) -> bool:
        """Close what lies on top, else cancel the run; whether there was something to do."""
        if self.overlay.isVisible():
            self.overlay.dismiss()
        elif self._behind is not None:
            self._leave_mask()
        elif self.history.search.hasFocus():
            self.history.leave_search()
        elif self.stages.running:
            self.cancel_requested.emit()
        elif self.banner.isVisible():
            self.banner.hide()
        else:
            return False
        return True

    def close_down(self) -> None:
        """The window closes: finish what is pending and free the 3D viewport."""
        self.toast.finish()
        if self._viewport is not None:
            self._viewport.close()

    # -- inside ------------------------------------------------------------------------------------------

    def _show_time(self, contents: RunContents) -> None:
        if not self.stages.running:
            self.clock.setText(f"Took {sum(contents.seconds.values()):.0f} s" if contents.status == "done" else "")

    def _show_views(self, contents: RunContents) -> None:
        if contents.elevation is not None:
            self._show_elevation(contents.elevation)
        for name, picture in contents.views.items():
            self.views.set_view(name, picture)

    def _show_chosen_method(self) -> None:
        """Lay the views out for the next run while none is shown."""
        if self.shown_key is None:
            self._set_method(self.input.models.value("method"))

    def _set_method(self, method: str) -> None:
        self.views.show_neighbours(choices.METHODS[method].source_views)
        self._retry.setToolTip(RETRY_TIP if self.views.neighbours else NO_RETRY_TIP)

    def _show_contents(self, contents: RunContents) -> None:
        self.shown_key, self._shown = contents.key, contents
        self.title.setText(contents.name)
        self._show_used(contents.used)
        if not self.stages.running:
            self.stages.show_report(contents.seconds, contents.status, contents.stage)
        self._set_method(contents.method)
        self._show_views(contents)
        if not contents.picture.isNull():
            self.preview.show_image(contents.picture, "")
        self._show_mesh(contents.mesh)
        self.rebuild.show_options(contents.made_with)
        self.rebuild.setVisible(contents.mesh is not None and not self.stages.running)
        self.before.setChecked(False)
        self.before.setVisible(contents.mesh is not None and contents.key in self._meshes)
        if self._viewport is not None:
            self._viewport.set_height(contents.height_m)
            self._viewport.set_save_target(Path(self.last_folder), contents.name)
        if contents.mesh is None:
            self._show_page(self.preview)
        self._set_retry(not self.stages.running and len(self.views.images) == 40)
        go_on = {} if self.stages.running else {"Continue": self.continue_requested.emit}
        if contents.status == "failed":
            actions: dict[str, Callable[[], Any]] = {}
            if contents.error_kind == "WeightsError":
                actions["Models"] = lambda: self.models_requested.emit("")
            elif contents.stage == "foreground" and self.input.picture is not None:
                actions["Draw a box"] = self._draw_box
            if go_on:
                actions["Try again"] = self.continue_requested.emit
            self.banner.show_message(contents.error or "The run failed.", "error", actions)
        elif contents.status == "cancelled":
            self.banner.show_message("Cancelled. What was finished is kept.", "info", go_on)
        elif contents.status == "unfinished":
            self.banner.show_message("This run was interrupted. What was finished is kept.", "warning", go_on)

    def _show_used(self, used: dict[str, Any]) -> None:
        words, details = used_text(used)
        self.used.setText(words)
        self.used.detail = details

    def edit_mask(self) -> None:
        """Show the picture in work in the middle, to correct what of it is the object."""
        if self.input.picture is None:
            return
        if self._pages.currentWidget() is not self.mask_page:
            self._behind = self._pages.currentWidget()
            self._pages.setCurrentWidget(self.mask_page)
        self.mask_page.back.setVisible(self._behind is not None)
        self.input.editor.setFocus()

    def _leave_mask(self) -> None:
        page, self._behind = self._behind, None
        if page is not None:
            self._show_page(page)
            if page is self._viewport:
                QTimer.singleShot(0, self._viewport.reset)  # a mesh that came meanwhile met no size

    def _show_page(self, page: QWidget) -> None:
        if self._behind is not None:
            self._behind = page
            return
        self.mask_page.back.setVisible(False)
        self._pages.setCurrentWidget(page)
        for line in (self.stages, self.used):  # the second is empty at first, but a mesh shown later must not jump
            line.setVisible(page is not self.invitation)

    def _show_mesh(self, mesh: Any) -> None:
        self.export_button.setVisible(mesh is not None)
        if mesh is None:
            self.rebuild.hide()
            self.before.hide()
            if self._viewport is not None:
                self._viewport.show_mesh(None)
            return
        viewport = self.prepare_viewport()
        first = self._pages.currentWidget() is not viewport or viewport.mesh is None
        self._show_page(viewport)
        viewport.show_mesh(mesh, reset_camera=first)
        viewport.show_cameras(self._poses)
        if first:
            QTimer.singleShot(0, viewport.reset)  # fits the mesh once the viewport has its size

    def _rebuild(self, changes: dict[str, Any]) -> None:
        if self.shown_key is not None and self._shown is not None:
            self._meshes = {self.shown_key: self._shown.mesh}  # of one run: a mesh with its texture is large
            self.rebuild_requested.emit(changes)

    def _compare(self) -> None:
        """Show the mesh before or after it was rebuilt, from the same side."""
        if self._viewport is not None and self._shown is not None and self._shown.key in self._meshes:
            shown = self._meshes[self._shown.key] if self.before.isChecked() else self._shown.mesh
            self._viewport.show_mesh(shown, reset_camera=False)

    def _show_elevation(self, estimate: Any) -> None:
        self.elevation.show_estimate(estimate)
        self.views.set_elevation(estimate.value)
        drawn = cameras.source_poses if self.views.neighbours else cameras.principal_poses
        self._poses = [cameras.Pose(estimate.value, 0.0), *drawn(estimate.value)]

    def _draw_box(self) -> None:
        self.show_side("picture")
        self.edit_mask()
        self.input.draw_box()

    def _set_retry(self, on: bool) -> None:
        self.views.can_retry = on
        self._retry.setEnabled(on)
        self._enlarge.setEnabled(bool(self.views.images))

    def _retry_current(self) -> None:
        self.views.retry(self.views.current)

    def _enlarge_current(self) -> None:
        if self.views.current in self.views.images:
            self.overlay.show_view(self.views.current)

    def _delete(self, key: str) -> None:
        if self.stages.running and key == self._working_on:
            self.banner.show_message("This run is being worked on. Cancel it first, then delete it.", "warning")
            return
        entry = next((e for e in self.history.model.shown if e.key == key), None)
        self.history.hide_entry(key)
        if key == self.shown_key:
            self.clear_run()
        self.toast.show_action(
            f"Deleted “{entry.title if entry else key}”.",
            "Undo",
            lambda: self.history.unhide_entry(key),
            lambda: self.delete_requested.emit(key),
        )

    def set_history(self, entries: list[HistoryEntry]) -> None:
        """Show the runs of the past, newest first."""
        self.history.set_entries(entries)


def used_text(used: dict[str, Any]) -> tuple[str, str]:
    """One line on what did the parts of a run (`used` in its report), and one line for each with its weights' place."""
    words, details = [], []
    for part, title in (
        ("method", "Method"),
        ("foreground", "Object"),
        ("generator", "Views"),
        ("matcher", "Elevation"),
        ("surface", "Surface"),
    ):
        if (what := used.get(part)) is None:
            continue
        name = short_label(what["label"])
        words.append(f"{title}: {name}")
        place = f", {what['path']} ({what['source']})" if what.get("path") else ""
        machine = f", on {what['device']}" if "device" in what else ""
        note = f"; {what['note']}" if "note" in what else ""
        details.append(f"{title}: {what['label']}{place}{machine}{note}")
    return "  ·  ".join(words), "\n".join(details)
