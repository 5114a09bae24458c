"""What goes on between the Screen tab and the engine: the list, the decisions, the previews made ahead."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices

from app.engine_thread import EngineThread, load_viewer
from app.settings import Settings
from app.tasks import Tasks
from engine.core.errors import OrielError
from widgets.kit.words import count
from widgets.screen import Found, Review, Rights, Scene, ScreenTab, StartRequest
from widgets.screen.contents import Sweep, title_of
from widgets.screen.side import RECENT

if TYPE_CHECKING:
    from engine.screening import Hints, Item, PreviewCache, ScreeningSession, Thumbnails

AHEAD, BEHIND = 8, 3
"""Items whose previews are made before they are needed, and kept after."""
TRIANGLES, TEXTURE_SIDE, TEXTURE_BYTES = 50_000, 1024, 6 << 20
"""Of a preview: what software OpenGL on two cores draws for the first time in well under a tenth of a second."""
SLOW_SECONDS = 0.5
"""A decision that takes longer to be written is remarked upon."""


class ScreenSession:
    """Everything that the Screen tab needs besides itself. `restore` it at the start, `close` it at the end.

    Runs on the Qt thread; the list and the decisions are the thread `files`', one call after the other.
    """

    def __init__(self, tab: ScreenTab, settings: Settings) -> None:
        self.tab = tab
        self.settings = settings
        self.files = EngineThread("oriel-screen")
        self.cache: PreviewCache | None = None
        self.tasks = Tasks(tab.say)
        self.ahead = AHEAD
        """Items whose previews are made before they are needed."""
        self._session: ScreeningSession | None = None
        self._rights: dict[str, Rights] = {}
        self._acts: deque[tuple[str, dict[str, Any]]] = deque()
        self._acting = False
        self._restored = self._looked = False
        self.thumbnails: Thumbnails | None = None
        """Once they were asked for."""
        self._sweeping = False
        tab.grid.wanted.connect(lambda paths: self.thumbnails and self.thumbnails.want(paths))
        tab.grid.order_wanted.connect(self.tasks.then(self.sort))
        tab.look_wanted.connect(self.tasks.then(self.look))
        tab.start_requested.connect(self.tasks.then(self.begin))
        tab.acted.connect(self.act)
        tab.left.connect(self.tasks.then(self.leave))
        tab.shown.connect(self._first_shown)
        tab.options_changed.connect(self._remember)
        tab.page_requested.connect(lambda url: QDesktopServices.openUrl(QUrl(url)))
        tab.folder_requested.connect(self._open_folder)

    # -- life --------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Set the options as they were; the list is read once the tab is looked at."""
        kept = self.settings.screen
        keys = kept.get("keys")
        self.tab.set_options(keys if isinstance(keys, dict) else {}, kept.get("turning") is True)
        self._restored = True
        if self.tab.isVisible():
            self._first_shown()

    async def close(self) -> None:
        """Close the list, end the workers and the thread."""
        await self.tasks.finish()
        await self._end()
        await self.files.close()

    @property
    def alive(self) -> bool:
        """Whether its thread still runs."""
        return self.files.alive

    def _first_shown(self) -> None:
        if not self._restored or self.tasks.closing:
            return
        crawled = self.settings.crawl.get("folder")
        self.tab.start.offer_crawl(Path(crawled) if crawled and Path(crawled).is_dir() else None)
        if not self._looked:
            self._looked = True
            self.tasks.spawn(self._show_last())

    async def _show_last(self) -> None:
        kept, start = self.settings.screen, self.tab.start
        name, criterion, reasons = await self.files.submit(_usual)
        if not start.annotator.text():
            start.annotator.setText(str(kept.get("annotator") or "") or name)
        start.set_usual(criterion, reasons)
        if kept.get("source") and not start.source.text():
            start.choose(Path(kept["source"]), Path(kept["folder"]) if kept.get("folder") else None)

    # -- the list ----------------------------------------------------------------------------------------

    async def look(self, source: Path, folder: Path | None) -> None:
        """Say what a list or folder holds."""
        self.tab.start.show_found(await self.files.submit(_look, source, folder))

    async def begin(self, request: StartRequest) -> None:
        """Open a list and show the first item without a decision."""
        if self._session is not None or self.tasks.closing:
            return
        start = self.tab.start
        start.set_busy(True)
        try:
            self._session = await self.files.submit(_open, request)
            self.cache = await self.files.submit(_make_cache)
        except OrielError as error:
            await self._end()
            self.tab.say(str(error))
            return
        finally:
            start.set_busy(False)
        self._loop = asyncio.get_running_loop()
        self.cache.on_ready(self._post)
        self.settings.screen |= {
            "source": str(request.source),
            "folder": str(request.folder),
            "annotator": request.annotator,
        }
        self.tab.begin()
        scene = await self.files.submit(self._scene)
        if any(item.path is not None for item in self._session.items):
            self.cache.want(scene.ahead)
            if not await load_viewer(self.files, lambda: not self.tasks.closing):
                return
            self.tab.prepare_view()
        self._show(scene)

    async def sort(self, by: str) -> None:
        """Sort the thumbnails."""
        session, thumbnails = self._session, self.thumbnails
        if session is not None and thumbnails is not None:
            order, words = await self.files.submit(_sorted, session, thumbnails, by)
            if self.thumbnails is thumbnails:
                self.tab.grid.show_order(order, words)

    async def leave(self) -> None:
        """Close the list; the tab shows its start page."""
        await self._end()

    async def _end(self) -> None:
        session, self._session = self._session, None
        cache, self.cache = self.cache, None
        thumbnails, self.thumbnails, self._sweeping = self.thumbnails, None, False
        self._acts.clear()
        self._rights.clear()
        if thumbnails is not None:
            await self.files.submit(thumbnails.close)
        if cache is not None:
            await self.files.submit(cache.close)
        if session is not None:
            await self.files.submit(session.close)

    # -- actions -----------------------------------------------------------------------------------------

    def act(self, action: str, given: dict[str, Any]) -> None:
        """Do something about the list, after what was asked for before, and show what comes of it."""
        if self._session is None or self.tasks.closing:
            return
        self._acts.append((action, given))
        if not self._acting:
            self._acting = True
            self.tasks.spawn(self._work())

    async def _work(self) -> None:
        try:
            while self._acts and self._session is not None:
                action, given = self._acts.popleft()
                work = asyncio.ensure_future(self.files.submit(self._do, action, given))
                done, _ = await asyncio.wait({work}, timeout=SLOW_SECONDS)
                if not done:
                    self.tab.status_changed.emit("The disk is slow: the decision is being written…")
                try:
                    scene = await work
                except OrielError as error:
                    self.tab.say(str(error))
                    continue
                if scene is not None and not self.tasks.closing:
                    self._show(scene)
        finally:
            self._acting = False

    def _do(self, action: str, given: dict[str, Any]) -> Scene | None:
        """On the thread `files`: what is decided is on the disk when it returns. None if nothing has changed."""
        session = self._session
        if session is None:
            return None
        item = session.current
        if given.get("key", item.key) != item.key:
            return None  # it was meant for what was on the screen before
        done = None
        if action in ("select", "reject", "skip"):
            if session.at_end:
                return None  # there is nothing left that it could be meant for
            session.decide(action, given.get("seconds"), reasons=given["reasons"], unseen=given["unseen"])
            done = (action, item.key, item.line)
        elif action == "reasons":
            session.give_reasons(item, given["reasons"])
            done = ("reasons", item.key, item.line)
        elif action == "grid":
            self._sweeping = given["on"]
            if "index" in given:
                session.go(given["index"])
        elif action == "sweep":
            items = [session.items[place] for place in given["places"]]
            unseen = [session.items[place] for place in given["unseen"]]
            session.decide_all(given["decision"], items, reasons=given["reasons"], unseen=unseen)
            done = (given["decision"], items[-1].key, count(len(items), "item"))
        elif action == "undo" and self._sweeping:
            taken_all = session.undo_all()
            if taken_all:
                done = ("undo", taken_all[-1].key, count(len(taken_all), "item"))
        elif action == "review":
            self._sweeping = False
            self._review(session, given["wanted"], given.get("others", ()))
        elif action == "undo":
            taken = session.undo()
            if taken is None and not session.notices:
                session.notices.append("There is nothing left to take back.")
            if taken is not None:
                done = ("undo", taken.key, taken.line)
        elif action == "flag":
            session.flag(item, given.get("note", ""))
            done = ("flag", item.key, item.line)
        elif action == "unflag":
            session.unflag(item)
            done = ("unflag", item.key, item.line)
        elif action == "next" and session.next_unjudged() is None:
            session.notices.append("Every item has a decision.")
        elif action == "next_skipped" and session.next_skipped() is None:
            session.notices.append("No item was skipped.")
        elif action in ("back", "forward"):
            getattr(session, action)()
        elif action == "go":
            session.go(given["index"])
        return self._scene(done)

    def _review(self, session: ScreeningSession, wanted: dict[str, str] | None, others: tuple[Path, ...]) -> None:
        from engine.screening import Wanted

        if not session.review(None if wanted is None else Wanted(**wanted), others) and wanted is not None:
            session.notices.append("There is no such item: choose another decision, reason or person.")

    def _scene(self, done: tuple[str, str, str] | None = None) -> Scene:
        """On the thread `files`: what is to be seen now."""
        session = self._session
        assert session is not None
        item = session.current
        notices, session.notices = tuple(session.notices), []
        return Scene(
            item=item,
            index=session.index,
            total=len(session.items),
            progress=session.progress(),
            decision=session.decision(item),
            note=session.note(item),
            rights=self._rights_of(item),
            recent=tuple(session.recent(RECENT)),
            criterion=session.criterion,
            reasons=tuple(session.reasons),
            gold=session.gold,
            sweep=self._sweep(session) if self._sweeping else None,
            review=_review_of(session),
            at_end=session.at_end,
            notices=notices,
            done=done,
            ahead=() if self._sweeping else tuple(self._wanted(session)),
        )

    def _sweep(self, session: ScreeningSession) -> Sweep:
        from engine.screening import Thumbnails

        if self.thumbnails is None:
            self.thumbnails = Thumbnails(session.folder)
            self.thumbnails.on_ready(self._drawn)
        made = {item.path: self.thumbnails.get(item.path) for item in session.items if item.path is not None}
        decided = ((item.key, session.decision(item)) for item in session.items)
        return Sweep(
            session.items,
            {key: entry.action for key, entry in decided if entry is not None},
            {path: thumbnail for path, thumbnail in made.items() if thumbnail is not None},
        )

    def _wanted(self, session: ScreeningSession) -> list[Path]:
        """The files to have ready: the present one, the next ones, and the last ones for undo."""
        items = [session.current, *session.upcoming(self.ahead)]
        if self.ahead:
            place = session.index
            items += [session.items[at] for at in (place - 1, place + 1) if 0 <= at < len(session.items)]
            items += [judged.item for judged in session.recent(BEHIND)]
        return list(dict.fromkeys(item.path for item in items if item.path is not None))

    def _rights_of(self, item: Item) -> Rights:
        if item.key not in self._rights:
            self._rights[item.key] = _rights(item)
        return self._rights[item.key]

    # -- previews ----------------------------------------------------------------------------------------

    def _show(self, scene: Scene) -> None:
        cache, path = self.cache, scene.item.path
        if cache is None:
            return
        preview = cache.get(path) if path is not None else None
        self.tab.show_scene(scene, preview)
        cache.want(scene.ahead)
        if scene.done is not None:
            words = {"select": "Selected", "reject": "Rejected", "skip": "Skipped", "undo": "Taken back"}
            words |= {"flag": "Flagged", "unflag": "No longer flagged", "reasons": "Reasons changed"}
            self.tab.status_changed.emit(f"{words[scene.done[0]]}: {scene.done[2]}")

    def _post(self, path: Path) -> None:
        """A preview is ready; called from a thread of the cache."""
        with contextlib.suppress(RuntimeError):  # the event loop is gone
            self._loop.call_soon_threadsafe(self._arrived, path)

    def _drawn(self, path: Path) -> None:
        """A thumbnail is ready; called from another thread."""
        with contextlib.suppress(RuntimeError):  # the event loop is gone
            self._loop.call_soon_threadsafe(self._show_thumbnail, path)

    def _show_thumbnail(self, path: Path) -> None:
        made = self.thumbnails.get(path) if self.thumbnails is not None else None
        if made is not None:
            self.tab.grid.cells.add(path, made)

    def _arrived(self, path: Path) -> None:
        scene = self.tab.scene
        if self.cache is None or self.tasks.closing or scene is None or scene.item.path != path or scene.sweep:
            return
        preview = self.cache.get(path)
        if preview is not None and preview is not self.tab.preview:
            self.tab.show_preview(preview)

    # -- the rest ----------------------------------------------------------------------------------------

    def _open_folder(self) -> None:
        if self._session is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._session.folder)))

    def _remember(self) -> None:
        self.settings.screen |= {"keys": self.tab.keymap.changed, "turning": self.tab.turning}


# -- on the other thread -------------------------------------------------------------------------------------


def _usual() -> tuple[str, str, str]:
    """The annotator's name, the criterion and the reasons where nothing else is said."""
    from engine.screening import CRITERION, REASONS, default_annotator

    return default_annotator(), CRITERION, "\n".join(REASONS)


def _look(source: Path, folder: Path | None) -> Found:
    from engine.screening import CRITERION, REASONS, History, default_folder, read_items
    from engine.screening.session import CRITERION_FILE, REASONS_FILE, kept_text

    folder = folder or default_folder(source)
    try:
        found = read_items(source)
        keys = {item.key for item in found.items}
        decided = len(keys & History.read(folder, keys).decided.keys()) if folder.is_dir() else 0
    except (OrielError, OSError) as error:
        return Found(source, folder, problem=str(error))
    criterion = kept_text(CRITERION_FILE, folder, source) or CRITERION
    reasons = kept_text(REASONS_FILE, folder, source) or "\n".join(REASONS)
    return Found(source, folder, len(found.items), decided, criterion, reasons)


def _open(request: StartRequest) -> ScreeningSession:
    from engine.screening import ScreeningSession

    session = ScreeningSession.open(request.source, request.folder, request.annotator)
    try:
        if request.criterion and request.criterion.strip() != session.criterion.strip():
            session.save_criterion(f"{request.criterion.strip()}\n")
        if request.reasons.split() != " ".join(session.reasons).split():
            session.save_reasons(request.reasons)
        if request.gold is not None:
            session.use_gold(request.gold)
    except BaseException:
        session.close()
        raise
    return session


def _sorted(session: ScreeningSession, thumbnails: Thumbnails, by: str) -> tuple[list[int], dict[int, str]]:
    """The places of the list in another order, and what to say of some besides."""
    from engine.screening import alike

    hints = thumbnails.hints()
    places = range(len(session.items))
    of = {at: hints[str(path)] for at in places if str(path := session.items[at].path) in hints}
    if by == "decision":
        decided = {at: entry.action for at in places if (entry := session.decision(session.items[at])) is not None}
        return sorted(places, key=lambda at: ("select", "reject", "skip", "").index(decided.get(at, ""))), {}
    if by == "alike":
        near = alike({str(at): hint for at, hint in of.items()})
        first = {int(key): min(int(key), *map(int, others)) for key, others in near.items()}
        names = {at: title_of(session.items[at]) for at in places}
        words = {
            int(key): f"Like {', '.join(names[int(other)] for other in others[:3])}" for key, others in near.items()
        }
        return sorted(places, key=lambda at: (at not in first, first.get(at, at), at)), words
    keys: dict[str, Callable[[Hints], float]] = {
        "flat": lambda hint: hint.depth,
        "inward": lambda hint: -hint.inward,
        "left out": lambda hint: -len(hint.left_out),
    }
    if by in keys:
        return sorted(places, key=lambda at: keys[by](of[at]) if at in of else float("inf")), {}
    return list(places), {}


def _review_of(session: ScreeningSession) -> Review | None:
    if session.wanted is None:
        return None
    place, total = session.place_in_review
    opinions = tuple(session.opinions(session.current))
    return Review(place, total, opinions, tuple(session.people()), tuple(session.reasons_given()))


def _make_cache() -> PreviewCache:
    from engine.screening import PreviewCache, PreviewLimits

    limits = PreviewLimits(triangles=TRIANGLES, texture_side=TEXTURE_SIDE, texture_bytes=TEXTURE_BYTES)
    return PreviewCache(limits, workers=min(max((os.cpu_count() or 2) // 2, 2), 4))


def _rights(item: Item) -> Rights:
    from engine.crawling import read_rights

    found = (read_rights(item.path.with_suffix(".json")) or {}) if item.path is not None else {}
    return Rights(
        title=str(found.get("title") or ""),
        author=str(found.get("author") or ""),
        licence=str(found.get("licence_name") or found.get("licence") or ""),
    )
