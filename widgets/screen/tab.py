"""The Screen tab: one model after the other, judged by single keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QMimeData, Qt, Signal
from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import (
    QHBoxLayout,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from widgets.crawl.incoming import folder_in, list_in
from widgets.kit.banner import Banner
from widgets.kit.buttons import IconButton
from widgets.kit.labels import ElidedLabel, label
from widgets.kit.theme import theme
from widgets.kit.words import amount, count
from widgets.screen.contents import Scene, Sweep
from widgets.screen.curtain import Curtain
from widgets.screen.flag_bar import FlagBar
from widgets.screen.grid import Grid
from widgets.screen.head import Head
from widgets.screen.key_catcher import KeyCatcher
from widgets.screen.key_sheet import KeySheet
from widgets.screen.keys import ACTIONS, REASONS, KeyMap
from widgets.screen.reason_bar import ReasonBar
from widgets.screen.review_bar import ReviewBar
from widgets.screen.side import DECISIONS, SidePanel
from widgets.screen.start_page import StartPage
from widgets.screen.web_view import WebView

if TYPE_CHECKING:
    from engine.screening import Preview
    from widgets.screen.model_view import ModelView

UNSEEN_SECONDS = 0.6
"""For so long nothing is decided on what has not been drawn yet; then it may be skipped."""
_BUTTONS = {
    "undo": ("undo", "Undo", "Take back the last decision"),
    "back": ("left", "", "One back, without a decision"),
    "reject": ("", "Reject", "Reject, and go on"),
    "skip": ("", "Skip", "Skip what you cannot tell, and go on"),
    "select": ("", "Select", "Select, and go on"),
    "forward": ("right", "", "One forward, without a decision"),
    "next": ("finish", "Next", "Next without a decision"),
    "flag": ("flag", "Flag", "Flag with a note"),
    "inside": ("inside", "Inside", "Look around from inside"),
    "everything": ("fit", "All", "Show what was left out as well: a ground, a sky, what lies far off"),
    "four": ("models", "Four", "From the front, the right, the back and above at once"),
    "turntable": ("retry", "Turn", "Turn by itself"),
}
"""Icon, word and tooltip, in the order of the bar below the model."""
_NARROW = 1150
"""Width below which there is no room for words on all buttons."""
OF_THE_GRID = (*DECISIONS, *REASONS, "undo", "grid", "review", "help")
"""What can be done while all models are shown as thumbnails; other keys move among them."""
_OF_THE_VIEW = ("inside", "everything", "four", "turntable")
"""These stand beside the hints on how to turn it."""


class ScreenTab(QWidget):
    """Start page and the annotator's view. What is asked for leaves as signals; `show_scene` brings the answer."""

    look_wanted = Signal(object, object)
    start_requested = Signal(object)
    """A StartRequest."""
    acted = Signal(str, object)
    """An action of `ACTIONS` that concerns the list, or `go`, with what it needs: a dict."""
    left = Signal()
    """Back to the start page."""
    shown = Signal()
    options_changed = Signal()
    page_requested = Signal(str)
    """Open this address in a browser."""
    folder_requested = Signal()
    """Show the folder with the decisions."""
    status_changed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("page")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.scene: Scene | None = None
        self.view: ModelView | None = None
        self.keymap = KeyMap()
        self._seen_at: float | None = None
        self._on_screen = False
        """Whether the model itself was to be seen, not only why there is none."""
        self._scene_at = 0.0
        self._held: set[str] = set()
        self._turning = False
        self._told_end = False
        self._sheet: KeySheet | None = None
        self._preview: Preview | None = None
        self._catcher = KeyCatcher(self)
        self.start = StartPage()
        self.start.look_wanted.connect(self.look_wanted)
        self.start.start_requested.connect(self.start_requested)
        self.side = SidePanel()
        self.side.chosen.connect(lambda index: self._go(index))
        self.web = WebView()
        self.web.open_requested.connect(self._open_page)
        self.web.loaded.connect(self._page_loaded)
        self.web.windows_changed.connect(lambda: self._catcher.watch())
        self.grid = Grid()
        self.grid.opened.connect(lambda index: self.acted.emit("grid", {"on": False, "index": index}))
        self.curtain = Curtain()
        self.pages = QStackedWidget()
        self.pages.addWidget(self.start)
        self.pages.addWidget(self._build())
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.pages)
        self._show_keys()

    def _build(self) -> QWidget:
        self.banner = Banner()
        self.stage = QStackedWidget()
        self.stage.addWidget(self.curtain)
        self.stage.addWidget(self.web)
        self.stage.addWidget(self.grid)
        self.flag_bar = FlagBar()
        self.flag_bar.flagged.connect(self._flag)
        self.flag_bar.removed.connect(self._remove_flag)
        self.flag_bar.dismissed.connect(self.close_note)
        self.note = self.flag_bar.note
        self.head = head = Head(self.leave, self.act)
        self.title, self.place, self.badge, self.flagged = head.title, head.place, head.badge, head.flagged
        self.reasons = ReasonBar()
        self.reasons.changed.connect(self._reasons_changed)
        self.review_bar = ReviewBar()
        self.review_bar.changed.connect(self._review)
        self.review_bar.left.connect(lambda: self.acted.emit("review", {"wanted": None}))
        foot, bar = self._build_buttons()
        left = QWidget()
        column = QVBoxLayout(left)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addWidget(head)
        column.addWidget(self.review_bar)
        column.addWidget(self.banner)
        column.addWidget(self.stage, 1)
        column.addWidget(self.warning)
        column.addLayout(foot)
        column.addWidget(self.flag_bar)
        column.addWidget(self.reasons)
        column.addLayout(bar)
        page = QWidget()
        page.setObjectName("page")
        row = QHBoxLayout(page)
        row.setContentsMargins(12, 8, 12, 12)
        row.setSpacing(12)
        row.addWidget(left, 1)
        row.addWidget(self.side)
        for child in page.findChildren(QWidget):
            if isinstance(child, QPushButton | IconButton):
                child.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        return page

    def _build_buttons(self) -> tuple[QHBoxLayout, QHBoxLayout]:
        """What stands below the model, and the buttons below that."""
        self.facts = ElidedLabel("", "small")
        self.warning = label("", "warning", wrap=True)
        self.hint = label("", "small")
        foot = QHBoxLayout()
        foot.setSpacing(12)
        foot.addWidget(self.facts, 1)
        self.buttons: dict[str, Any] = {}
        bar = QHBoxLayout()
        bar.setSpacing(8)
        for action, (icon, _, tip) in _BUTTONS.items():
            if action in DECISIONS:
                button: Any = QPushButton()
                button.setObjectName("judge")
                button.setProperty("kind", action)
                button.setMinimumWidth(96)
                bar.addWidget(button, 1)
            else:
                button = IconButton(icon, tip)
                button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
                button.setCheckable(action in _OF_THE_VIEW)
                (foot if action in _OF_THE_VIEW else bar).addWidget(button)
            if action in ("back", "select"):
                bar.addSpacing(6)
            button.clicked.connect(lambda _=False, action=action: self.act(action))
            self.buttons[action] = button
        foot.addWidget(self.hint)
        return foot, bar

    # -- what is shown -----------------------------------------------------------------------------------

    @property
    def judging(self) -> bool:
        """Whether models are shown, and not the start page."""
        return self.pages.currentIndex() == 1

    def begin(self) -> None:
        """A list is opened: show the annotator's view, still empty."""
        self.scene = self._preview = None
        self._told_end = False
        self.banner.hide()
        self.pages.setCurrentIndex(1)
        self.stage.setCurrentWidget(self.curtain)
        self.curtain.show_loading("Opening the list…")
        self.setFocus()

    def prepare_view(self) -> None:
        """Make the 3D view; what it needs has been imported."""
        if self.view is None:
            from widgets.screen.model_view import ModelView

            self.view = ModelView(self.stage)
            self.stage.addWidget(self.view)
            self.view.drawn.connect(self._drawn)
            self.view.inside_changed.connect(self._inside_changed)
            self.view.set_turning(self._turning)

    def show_scene(self, scene: Scene, preview: Preview | None) -> None:
        """Show an item and everything about it; `preview` is None while it is not ready, and for pages."""
        before, self.scene = self.scene, scene
        same = before is not None and before.item.key == scene.item.key and before.sweep is None
        self.head.show_scene(scene)
        if before is None or (before.sweep is None) != (scene.sweep is None):
            self._show_hint()
        self.review_bar.show_scene(scene)
        self._show_reasons(before if same else None, scene)
        self.side.show_scene(scene)
        if scene.sweep is not None:
            self._show_sweep(scene, scene.sweep)
        elif not same or preview is not self._preview:
            self.close_note()
            self._seen_at, self._scene_at, self._on_screen = None, time.monotonic(), False
            if scene.item.path is not None:
                self.web.leave()
                self.show_preview(preview)
            else:
                self._show_page(scene.item.url)
        if scene.notices:
            self.say("\n".join(scene.notices), "info")
        self._tell_end(scene)

    def _show_sweep(self, scene: Scene, sweep: Sweep) -> None:
        if self.stage.currentWidget() is not self.grid:
            self.release_keys()
            self.web.leave()
            self.curtain.hide_words()
            self.stage.setCurrentWidget(self.grid)
            self._show_facts(None)
            self.grid.view.setFocus()
        self.grid.show_sweep(sweep, scene.index)
        if scene.done is not None and scene.done[0] in DECISIONS:
            self.grid.go_on()

    def show_preview(self, preview: Preview | None) -> None:
        """Show the model of the present item, or that it is still loading, or why it cannot be shown."""
        assert self.scene is not None
        self._preview = preview
        if preview is not None and preview.problem is None and self.view is not None:
            self.curtain.hide_words()
            self.stage.setCurrentWidget(self.view)
            self.view.show_preview(preview, self.scene.item.key)
        else:
            if self.view is not None:
                self.view.show_preview(None)
            self.stage.setCurrentWidget(self.curtain)
            if preview is None or preview.problem is None:
                self.curtain.show_loading(f"Loading {self.scene.title}…")
            else:
                self.curtain.show_problem("This model cannot be shown", f"{preview.problem} {preview.decision}".strip())
            self._seen()
        self._show_facts(preview)

    @property
    def preview(self) -> Preview | None:
        """The present item's preview, or None while there is none."""
        return self._preview

    @property
    def seen(self) -> bool:
        """Whether the present item, or why there is nothing to see of it, is on the screen."""
        return self._seen_at is not None

    @property
    def loading(self) -> bool:
        """Whether the present item's model is still on its way."""
        return self.scene is not None and self.scene.item.path is not None and self._preview is None

    def leave(self) -> None:
        """Back to the start page."""
        if self.judging:
            self.release_keys()
            self.web.leave()
            self.scene = self._preview = None
            self.pages.setCurrentIndex(0)
            self.left.emit()
            self.start.look_again()

    def say(self, text: str, kind: str = "error", actions: dict[str, Callable[[], Any]] | None = None) -> None:
        """Say something in place."""
        (self.banner if self.judging else self.start.banner).show_message(text, kind, actions)

    def take(self, mime: QMimeData) -> None:
        """Take a list or folder that was dropped or pasted."""
        path = list_in(mime) or folder_in(mime)
        if path is None:
            self.say("There is no list and no folder in what was dropped or pasted.", "warning")
            return
        self.leave()
        self.start.choose(path)

    # -- options -----------------------------------------------------------------------------------------

    @property
    def turning(self) -> bool:
        """Whether models turn by themselves."""
        return self._turning

    def set_options(self, keys: dict[str, Any], turning: bool) -> None:
        """Take up keys and turning of an earlier session."""
        self.keymap = KeyMap(keys)
        self._set_turning(turning)
        self._show_keys()

    def toggle_keys(self) -> None:
        """Show or hide the page of keys."""
        if self._sheet is None:
            self._sheet = KeySheet(self.window().centralWidget(), self.keymap)  # type: ignore[attr-defined]
            self._sheet.changed.connect(self._keys_changed)
            self._sheet.show_reasons(self.scene.reasons if self.scene is not None else ())
        self._sheet.keymap = self.keymap
        if self._sheet.isVisible():
            self._sheet.dismiss()
        else:
            self.release_keys()
            self._sheet.open()

    @property
    def sheet(self) -> KeySheet | None:
        """The page of keys, once it was shown."""
        return self._sheet

    # -- actions -----------------------------------------------------------------------------------------

    @property
    def possible(self) -> Collection[str]:
        """What the keys may do now."""
        return OF_THE_GRID if self.scene is not None and self.scene.sweep is not None else ACTIONS

    def act(self, action: str) -> None:
        """Do what a key or button asks for."""
        scene = self.scene
        if not self.judging or scene is None or action not in self.possible:
            return
        if action == "grid":
            self.acted.emit("grid", {"on": scene.sweep is None})
        elif action in DECISIONS and scene.sweep is not None:
            self._sweep(action)
        elif action in DECISIONS:
            self._decide(scene, action)
        elif action == "review":
            if scene.review is None:
                self._review()
            else:
                self.review_bar.left.emit()
        elif action in REASONS:
            self.reasons.toggle(REASONS.index(action))
        elif action == "flag":
            self.open_note()
        elif action == "inside":
            if self.view is not None and self.stage.currentWidget() is self.view:
                self.view.set_inside(not self.view.inside)
            self._inside_changed(self.view is not None and self.view.inside)
        elif action == "everything":
            if self.view is not None:
                self.view.set_everything(not self.view.everything)
                self.buttons["everything"].setChecked(self.view.everything)
        elif action == "four":
            if self.view is not None:
                self.view.set_four(not self.view.four)
                self.buttons["four"].setChecked(self.view.four)
        elif action == "turntable":
            self._set_turning(not self._turning)
            self.options_changed.emit()
        elif action == "home":
            if self.view is not None:
                self.view.home()
        elif action == "open_page":
            self._open_page()
        elif action == "help":
            self.toggle_keys()
        else:
            self.acted.emit(action, {})

    def open_note(self) -> None:
        """Ask for the note of a flag."""
        if self.scene is None:
            return
        self.release_keys()
        self.window().activateWindow()  # the page may have the keyboard
        self.flag_bar.ask(self.scene.note)

    def close_note(self) -> None:
        """Ask no more."""
        if self.flag_bar.isVisible():
            self.flag_bar.hide()
            self.setFocus()

    def escape(self) -> bool:
        """Close what is open; whether there was something."""
        if self._sheet is not None and self._sheet.isVisible():
            self._sheet.dismiss()
        elif self.flag_bar.isVisible():
            self.close_note()
        elif self.view is not None and self.view.inside:
            self.view.set_inside(False)
        elif self.judging and self.banner.isVisible():
            self.banner.hide()
        elif self.judging and self.scene is not None and self.scene.sweep is not None:
            self.act("grid")
        else:
            return False
        return True

    def close_down(self) -> None:
        """The window closes: free the 3D view and the browser."""
        self.curtain.hide_words()
        self.web.close_down()
        if self.view is not None:
            self.view.close()

    # -- inside ------------------------------------------------------------------------------------------

    def _decide(self, scene: Scene, action: str) -> None:
        now = time.monotonic()
        drawing = self._seen_at is None or self.loading
        if scene.at_end:
            back, undo = self.keymap.shown("back"), self.keymap.shown("undo")
            what = "Every item has a decision" if scene.review is None else "That was the last one of the review"
            self.status_changed.emit(f"{what}: {back} goes back to one, {undo} takes the last back.")
        elif drawing and (action != "skip" or now - self._scene_at < UNSEEN_SECONDS):
            skip, forward = self.keymap.shown("skip"), self.keymap.shown("forward")
            self.status_changed.emit(f"Nothing is to be seen of it yet: wait, skip it ({skip}) or go on ({forward}).")
        else:
            self._keep_thumbnail(scene)
            seconds = round(now - (self._seen_at or self._scene_at), 2)
            given = {"key": scene.item.key, "seconds": seconds, "unseen": not self._on_screen}
            self.acted.emit(action, given | {"reasons": self.reasons.given})

    def _sweep(self, action: str) -> None:
        chosen = self.grid.chosen
        drawn = [place for place in chosen if self.grid.drawn(place)]
        if missing := len(chosen) - len(drawn):
            self.status_changed.emit(f"{count(missing, 'item')} not drawn yet: left as they are.")
        if drawn:
            unseen = [place for place in drawn if not self.grid.pictured(place)]
            given = {"decision": action, "places": drawn, "unseen": unseen, "reasons": self.reasons.given}
            self.acted.emit("sweep", given)

    def _show_reasons(self, before: Scene | None, scene: Scene) -> None:
        keys = [self.keymap.shown(action) for action in REASONS]
        self.reasons.show_reasons(scene.reasons, keys)
        if scene.sweep is not None:
            if scene.done is not None:
                self.reasons.give(())
        elif before is None or before.decision is not scene.decision:
            self.reasons.give(scene.decision.reasons if scene.decision is not None else ())
        if self._sheet is not None:
            self._sheet.show_reasons(scene.reasons)

    def _review(self) -> None:
        self.acted.emit("review", {"wanted": self.review_bar.wanted, "others": tuple(self.review_bar.others)})

    def _reasons_changed(self) -> None:
        """Of what is decided already, they are recorded at once; else with the decision."""
        if self.scene is not None and self.scene.decision is not None and self.scene.sweep is None:
            self.acted.emit("reasons", {"key": self.scene.item.key, "reasons": self.reasons.given})

    def _flag(self, note: str) -> None:
        if self.scene is not None:
            self._keep_thumbnail(self.scene)
            self.acted.emit("flag", {"key": self.scene.item.key, "note": note})
        self.close_note()

    def _remove_flag(self) -> None:
        if self.scene is not None:
            self.acted.emit("unflag", {"key": self.scene.item.key})
        self.close_note()

    def _go(self, index: int) -> None:
        if self.judging:
            self.acted.emit("go", {"index": index})

    def _open_page(self) -> None:
        if self.scene is not None and self.scene.item.url:
            self.page_requested.emit(self.scene.item.url)

    def _keep_thumbnail(self, scene: Scene) -> None:
        shown = self.stage.currentWidget()
        picture = None
        if shown is self.view and self.view is not None:
            image = self.view.thumbnail
            picture = QPixmap.fromImage(image) if image is not None else None
        elif shown is self.web:
            picture = self.web.thumbnail()
        if picture is not None:
            self.side.keep_thumbnail(scene.item.key, picture)

    def _show_page(self, url: str) -> None:
        self._preview = None
        self.curtain.hide_words()
        if self.view is not None:
            self.view.show_preview(None)
        self.stage.setCurrentWidget(self.web)
        self.web.load(url)
        self._show_facts(None)
        self._seen()

    def _drawn(self, key: object) -> None:
        if self.scene is not None and key == self.scene.item.key:
            self._on_screen = True
            self._seen()

    def _page_loaded(self, good: bool) -> None:
        self._on_screen = good and self.stage.currentWidget() is self.web

    def _seen(self) -> None:
        self._seen_at = time.monotonic()

    def _show_facts(self, preview: Preview | None) -> None:
        words: list[str] = []
        warnings: tuple[str, ...] = ()
        if preview is not None:
            facts = preview.facts
            words = [count(facts.triangles, "triangle")] if facts.triangles else []
            words += [amount(facts.bytes)] if facts.bytes else []
            words += ["animated, shown at rest"] if facts.animated else []
            warnings = (*(facts.hints.words if facts.hints is not None else ()), *facts.warnings)
            if preview.around:
                warnings = (*warnings, f"{self.keymap.shown('everything')} shows everything.")
        self.facts.setText(" · ".join(words))
        self.buttons["everything"].setVisible(preview is not None and bool(preview.around))
        self.buttons["everything"].setChecked(False)
        self.warning.setText(" ".join(warnings))
        self.warning.setVisible(bool(warnings))

    def _tell_end(self, scene: Scene) -> None:
        progress = scene.progress
        if scene.review is not None:
            if scene.at_end:
                text = f"You are at the end of the review of {count(scene.review.total, 'item')}."
                self.say(text, "info", {"Back to the list": self.review_bar.left.emit})
            return
        if progress.left or self._told_end:
            self._told_end = self._told_end and not progress.left
            return
        self._told_end = True
        actions: dict[str, Callable[[], Any]] = {}
        if progress.skipped:
            actions["Look at skipped"] = lambda: self.act("next_skipped")
        actions["Show the lists"] = self.folder_requested.emit
        text = f"All {count(progress.total, 'item')} are judged: {progress.selected:,} selected, {progress.rejected:,} "
        self.say(f"{text}rejected, {progress.skipped:,} skipped.", "info", actions)

    def _set_turning(self, on: bool) -> None:
        self._turning = on
        self.buttons["turntable"].setChecked(on)
        if self.view is not None:
            self.view.set_turning(on)

    def _inside_changed(self, inside: bool) -> None:
        self.buttons["inside"].setChecked(inside)
        self._show_hint()

    def _keys_changed(self) -> None:
        self._show_keys()
        self.options_changed.emit()

    def _show_keys(self) -> None:
        keys = self.keymap
        for action, button in self.buttons.items():
            _, word, tip = _BUTTONS[action]
            narrow = self.width() < theme.px(_NARROW) and action not in DECISIONS and action not in _OF_THE_VIEW
            key = "" if narrow and action in ("back", "forward") else keys.shown(action)
            button.setText(f"{'' if narrow else word}  {key}".strip())
            every = ", ".join((keys.shown(action), *keys.keys(action)[1:]))
            button.setToolTip(f"{tip} ({every})")
            button.setAccessibleName(tip)
        if self.scene is not None:
            self.reasons.show_reasons(self.scene.reasons, [keys.shown(action) for action in REASONS])
        self.head.show_keys(keys)
        self._show_hint()

    def _show_hint(self) -> None:
        shown = self.keymap.shown
        inside = self.view is not None and self.view.inside
        turn = "".join(shown(a) for a in ("left", "right")), "".join(shown(a) for a in ("up", "down"))
        near = " ".join(shown(a) for a in ("zoom_in", "zoom_out"))
        sweeping = self.scene is not None and self.scene.sweep is not None
        for action in _OF_THE_VIEW:
            self.buttons[action].setEnabled(not sweeping)
        if sweeping:
            self.hint.setText(f"Shift Ctrl select more   Return opens one   {shown('grid')} back")
        elif inside:
            self.hint.setText(f"{turn[0]}{turn[1]} look   {near} walk   {shown('inside')} outside")
        else:
            self.hint.setText(f"{turn[0]} turn   {turn[1]} tilt   {near} zoom   {shown('help')} keys")

    # -- held keys ---------------------------------------------------------------------------------------

    def press(self, action: str) -> None:
        """A key that goes on while it is held goes down."""
        self._held.add(action)
        shown = self.stage.currentWidget()
        if shown is self.web:
            self.web.press(action)
        elif shown is self.view and self.view is not None:
            self.view.press(action)

    def release(self, action: str) -> None:
        """It is let go."""
        if action in self._held:
            self._held.remove(action)
            for shown in (self.view, self.web):
                if shown is not None:
                    shown.release(action)

    def release_keys(self) -> None:
        """Stop what held keys do, as when another window takes the keyboard."""
        self._held.clear()
        self.web.release_all()
        if self.view is not None:
            self.view.release_all()

    # -- Qt ----------------------------------------------------------------------------------------------

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        if (event.oldSize().width() < theme.px(_NARROW)) != (self.width() < theme.px(_NARROW)):
            self._show_keys()

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        self._catcher.watch()
        if self.judging:
            self.setFocus()
        self.shown.emit()

    def hideEvent(self, event: Any) -> None:
        super().hideEvent(event)
        self.release_keys()
