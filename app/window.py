"""The window put together: its widgets, the engine's thread, the settings and the history."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import itertools
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from PySide6.QtCore import QSize, QSocketNotifier, Qt, QUrl
from PySide6.QtGui import QDesktopServices, QImage, QImageReader
from PySide6.QtWidgets import QApplication

from app.crawl_session import CrawlSession
from app.engine_thread import EngineThread, ProgressFunnel
from app.evaluate_session import EvaluateSession
from app.finetune_session import FineTuneSession
from app.model_previews import VIEWER_MODULES
from app.render_session import RenderSession
from app.screen_session import ScreenSession
from app.settings import Settings
from app.tasks import Tasks, unexpected
from engine.core.errors import Cancelled, OrielError
from engine.core.progress import CancelToken, Progress
from widgets.common import opaque, to_qimage
from widgets.main_window import MainWindow
from widgets.models import ModelEntry, bytes_text
from widgets.reconstruct.incoming import SUFFIXES
from widgets.reconstruct.model_choices import ROWS
from widgets.reconstruct.request import Choice, HistoryEntry, Picture, QueueEntry, Request
from widgets.reconstruct.stage_bar import STAGES, seconds_text
from widgets.reconstruct.tab import RunContents
from widgets.screen import share_contexts
from widgets.theme import RESOURCES, theme

if TYPE_CHECKING:
    from app.history import History
    from engine.reconstruct.options import Options
    from engine.reconstruct.run import Run

T = TypeVar("T")

ENGINE_NICENESS = 5
"""The engine's thread gives way to the window's."""
GARBAGE_INTERVAL = 0.5
"""Seconds between two looks whether a search for garbage is due."""
SLOW = "Without a GPU that torch can use, the views take many minutes; the run tells how many."
"""What is said of a diffusion model without a GPU."""
RECENT_RUNS = 3
"""Runs that the estimate of the remaining time is taken from."""
THUMBNAIL = 128
ENGINE_MODULES = (
    "torch",
    "engine.reconstruct.run",
    "engine.views.builtin",
    "engine.elevation",
    "engine.surface",
    "engine.texture.bake",
    "mcubes",
    "xatlas",
)


@dataclass
class Job:
    """Work for the engine: a new run, or more work on one that is there."""

    key: int
    title: str
    request: Request | None = None
    run: Run | None = None
    view: int | None = None
    """Principal view to draw again."""
    cancel: CancelToken = field(default_factory=CancelToken)


class Session:
    """What goes on between the window and the engine, from the first picture to the last wait at closing.

    Everything here runs on the Qt thread and waits for three others: `engine`, which alone uses torch for a run,
    `files`, which reads pictures, runs and meshes so that a look at the history does not wait for a run, and `fetcher`,
    which fetches and checks models, one at a time. What the other tabs do is
    `crawl`'s, `screen`'s, `render`'s, `finetune`'s and `evaluate`'s.
    """

    def __init__(self, window: MainWindow, settings: Settings) -> None:
        self.window = window
        self.tab = window.reconstruct
        self.settings = settings
        settings.apply_weights()
        self.engine = EngineThread(nice=ENGINE_NICENESS)
        self.files = EngineThread("oriel-files")
        self.fetcher = EngineThread("oriel-models")
        self.crawl = CrawlSession(window.crawl, settings)
        self.screen = ScreenSession(window.screen_tab, settings)
        self.render = RenderSession(window.render_tab, settings)
        self.finetune = FineTuneSession(window.finetune, settings)
        self.evaluate = EvaluateSession(window.evaluate, settings)
        self.queue: list[Job] = []
        self._at_work = False
        self.current: Job | None = None
        self._history: History | None = None
        self._numbers = itertools.count(1)
        self.tasks = Tasks(self.tab.show_error)
        self._pictures: dict[str, Picture] = {}
        self._previews: list[Progress] = []
        self._current_run: tuple[str, str, str, str] | None = None  # key, name, first stage, method of the run in work
        self._preview_cancel = CancelToken()
        self._pixels: tuple[Picture, Any] | None = None
        self._thumbnails: dict[str, tuple[int, QImage]] = {}
        self._model_work: dict[str, CancelToken] = {}
        self._damaged: set[str] = set()
        self._has_gpu = True  # until torch is there to tell
        self._closed = asyncio.Event()
        self._connect()

    def _connect(self) -> None:
        tab = self.tab
        tab.requested.connect(self.add_requests)
        tab.cancel_requested.connect(self.cancel)
        tab.remove_requested.connect(self.remove)
        tab.retry_requested.connect(self.retry_view)
        tab.continue_requested.connect(self.tasks.then(self.continue_shown))
        tab.open_requested.connect(self.tasks.then(self.open_run))
        tab.rerun_requested.connect(self.tasks.then(self.rerun))
        tab.delete_requested.connect(self.tasks.then(self.delete))
        tab.folder_requested.connect(self.tasks.then(self.show_folder))
        tab.export_requested.connect(self.export)
        tab.picture_chosen.connect(self.tasks.then(self.load_picture))
        tab.pictures_brought.connect(self.tasks.then(self.load_thumbnails))
        tab.preview_wanted.connect(self.tasks.then(self.find_foreground))
        tab.folder_used.connect(lambda folder: setattr(self.settings, "last_folder", folder))
        page = self.window.models
        self.window.models_shown.connect(self.tasks.then(self.refresh_models))
        page.fetch_requested.connect(self.tasks.then(self.fetch_model))
        page.cancel_requested.connect(lambda key: self._model_work[key].cancel())
        page.use_requested.connect(self.tasks.then(self.use_model))
        page.check_requested.connect(self.tasks.then(self.check_model))
        page.remove_requested.connect(self.tasks.then(self.remove_model))
        page.folder_requested.connect(_show_place)
        tab.input.models.picked.connect(self._remember_model)
        self.window.theme_chosen.connect(lambda mode: setattr(self.settings, "theme", mode))
        self.window.close_requested.connect(self.tasks.then(self.close))

    # -- life --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve the window until it is closed."""
        self.window.restore_place(self.settings.window)
        if self.settings.last_folder:
            self.tab.last_folder = self.settings.last_folder
        self.tab.input.set_options(quality=self.settings.quality)
        self.tab.input.models.remember(self.settings.models | {"memory_gb": self.settings.memory_gb})
        for tab in self.tab_sessions:
            tab.restore()
        self.window.show()
        self.tasks.spawn(self._warm_up())
        with _garbage_kept_to_this_thread():
            await self._closed.wait()

    async def close(self) -> None:
        """Cancel what runs, wait for it, save the settings and close the window."""
        if self.tasks.closing:
            return
        self.tab.toast.finish()  # a deletion that could still be undone is begun
        self.tasks.closing = True
        self.window.show_status("Stopping…")
        self.queue.clear()
        self._preview_cancel.cancel()
        if self.current:
            self.current.cancel.cancel()
        for token in self._model_work.values():
            token.cancel()
        await asyncio.gather(*(tab.close() for tab in self.tab_sessions))
        await self.tasks.finish()
        await self.engine.close()
        await self.files.close()
        await self.fetcher.close()
        self.settings.window = {**self.settings.window, **self.window.place()}
        with contextlib.suppress(OrielError):  # nobody is left to read it
            self.settings.save()
        self.window.close_now()
        self._closed.set()

    @property
    def tab_sessions(self) -> tuple[Any, ...]:
        """What serves the tabs besides the first."""
        return (self.crawl, self.screen, self.render, self.finetune, self.evaluate)

    async def _warm_up(self) -> None:
        """Fill the window, then import what the first run needs while the user looks for a picture."""
        await self.files.submit(self._open_history)
        await self.refresh_history()
        await self.refresh_models()
        self.tab.set_samples(await self.files.submit(_samples))
        # Loading libraries holds the interpreter, which would be felt in the middle of a run. One call each, so that
        # closing need not wait for all. Nothing of Qt is imported on another thread than its own.
        for thread, modules in ((self.engine, ENGINE_MODULES), (self.files, VIEWER_MODULES)):
            for name in modules:
                if self.tasks.closing:
                    return
                await thread.submit(importlib.import_module, name)
        if self.tasks.closing:
            return
        if self.current is None:
            for _ in self.tab.prepare_viewport().warm_up():
                await asyncio.sleep(0.01)
        self._has_gpu = await self.engine.submit(_has_gpu)
        await self.refresh_models()

    def _open_history(self) -> None:
        from app.history import History

        self._history = History(self.settings.history_folder)

    @property
    def history(self) -> History:
        """The runs on this machine."""
        if self._history is None:
            self._open_history()
        assert self._history is not None
        return self._history

    # -- pictures ----------------------------------------------------------------------------------------

    async def load_picture(self, picture: Picture) -> None:
        """Read a picture and show it."""
        try:
            pixels = await self.files.submit(_load, picture.source)
        except OrielError as error:
            self.tab.show_input_problem(picture, str(error))
            return
        self._pixels = (picture, pixels)
        self.tab.show_picture(picture, pixels)

    async def load_thumbnails(self, pictures: list[Picture]) -> None:
        """Show several pictures small, one after the other, as long as they are the ones in work."""
        for picture in pictures if len(pictures) > 1 else ():
            if self.tasks.closing or not any(picture is shown for shown in self.tab.input.pictures):
                return
            with contextlib.suppress(OrielError):  # what is wrong with it is said once it is chosen
                self.tab.input.show_thumbnail(picture, await self.files.submit(_small, picture.source))

    async def find_foreground(self, picture: Picture, mode: str) -> None:
        """Find the object in a loaded picture and show it. A newer call stops an older one."""
        if self._pixels is None or self._pixels[0] is not picture:
            return
        self._preview_cancel.cancel()
        self._preview_cancel = cancel = CancelToken()
        # Segment Anything needs torch, which is the engine's.
        thread = self.engine if mode == "sam" else self.files
        if mode == "sam" and self.current is not None:
            self.tab.input.show_problem(picture, "Segment Anything waits until the run is done.")
        try:
            found = await thread.submit(_foreground, self._pixels[1], mode, picture, cancel)
        except Cancelled:
            return
        except OrielError as error:
            self.tab.input.show_problem(picture, str(error))
            return
        if not cancel.cancelled:
            self.tab.input.show_mask(picture, found.mask, found.method)

    # -- jobs --------------------------------------------------------------------------------------------

    def add_requests(self, requests: list[Request]) -> None:
        """Queue new runs."""
        for request in requests:
            self.settings.quality = request.quality
            self._add(Job(next(self._numbers), request.picture.name, request=request))

    def retry_view(self, index: int) -> None:
        """Draw a principal view of the run on the screen again, and rebuild."""

        async def add() -> None:
            run = await self._shown_run()
            if run is not None:
                self._add(Job(next(self._numbers), f"{run.name}, view {index + 1}", run=run, view=index))

        self.tasks.spawn(add())

    async def continue_shown(self) -> None:
        """Go on with the run on the screen from where it stopped, with what was drawn and chosen since."""
        run = await self._shown_run()
        if run is None:
            return
        picture = self._pictures.get(run.folder.name)
        panel = self.tab.input
        if picture is not None and picture is panel.picture:
            drawn = {"box": picture.box, "strokes": picture.strokes, "points": picture.points}
            chosen = {"mode": panel.mode.currentData(), "quality": panel.quality.currentData(), **panel.models.values()}
            elevation, before = panel.known_elevation, run.options.elevation
            if elevation is not None and before is not None and abs(elevation - before) < 0.051:
                elevation = before  # the panel shows one decimal of it
            try:
                await self.files.submit(lambda: run.change(elevation=elevation, **chosen, **drawn))
            except OrielError as error:
                self.tab.show_error(str(error))
                return
        self._add(Job(next(self._numbers), run.name, run=run))

    def cancel(self) -> None:
        """Stop the run in work."""
        if self.current:
            self.current.cancel.cancel()
            self.tab.stages.cancelling()

    def remove(self, key: int) -> None:
        """Take a waiting job out of the queue."""
        self.queue = [job for job in self.queue if job.key != key]
        self._show_queue()

    def _add(self, job: Job) -> None:
        if self.tasks.closing:
            return
        self.queue.append(job)
        self._show_queue()
        if not self._at_work:
            self._at_work = True
            self.tasks.spawn(self._work())

    async def _work(self) -> None:
        """Do the jobs of the queue, one after the other."""
        first, refused = True, []
        try:
            while self.queue and not self.tasks.closing:
                self.current = self.queue.pop(0)
                self._show_queue()
                try:
                    await self._do(self.current, follow=first or self.tab.following)
                except Exception as error:
                    refused.append(str(error) if isinstance(error, OrielError) else unexpected(error))
                    self.tab.show_error(refused[-1])
                finally:
                    self.current = self._current_run = None
                    self._previews.clear()
                first = False
                self._show_queue()
                await self.refresh_history()
        finally:
            self._at_work = False
        if len(refused) > 1 or (refused and not first):
            self.tab.show_error("\n".join(refused))  # later runs have covered what was said of earlier ones

    async def _do(self, job: Job, *, follow: bool) -> None:
        """Do one job. Raises an OrielError if there can be no run; one that fails shows it itself."""
        run = job.run
        done = () if run is None else run.stages_done
        first = "surface" if job.view is not None else next((s for s in STAGES if s not in done), "texture")
        self.tab.prepare_run(first)  # at once: making the folder of a large picture takes its time
        try:
            if job.request is not None:
                options = await self.files.submit(_options, job.request)
                source, name = job.request.picture.source, job.request.picture.name
                run = await self.files.submit(self.history.create, source, options, name=name)
                self._pictures[run.folder.name] = job.request.picture
            assert run is not None
            expected = await self.files.submit(_expected_seconds, self.history, run.options)
        except BaseException:
            self.tab.forget_run()
            raise
        key = run.folder.name
        self.tab.stages.set_expected(expected)
        method = run.options.method
        self._current_run = (key, run.name, first, method)
        if job.view is not None:
            self.tab.begin_retry(key, run.name, job.view)
        else:
            self.tab.begin_run(key, run.name, first, follow=follow, method=method)
        if job.cancel.cancelled:
            self.tab.stages.cancelling()
        await self.refresh_history()
        funnel = ProgressFunnel(self._take_progress)
        refusal = ""
        try:
            await self.engine.submit(_execute, run, job.view, funnel.post, job.cancel)
        except Cancelled:
            pass  # the run has recorded it
        except OrielError as error:
            refusal = str(error)
        except Exception:
            traceback.print_exc()
        funnel.close()
        try:
            contents = await self.files.submit(_contents, run)
        except BaseException:
            self.tab.give_up_run()
            raise
        self.tab.finish_run(contents)
        if refusal and contents.status != "failed":  # it was not begun at all
            self.tab.show_error(refusal)
        if self.queue or not self.tab.following:
            words = {"done": "is done", "failed": "failed"}.get(contents.status, "was stopped")
            self.tab.toast.show_action(
                f"{run.name} {words}.", "Show", lambda: self.tasks.spawn(self.open_run(key)), lambda: None
            )

    def _take_progress(self, events: list[Progress]) -> None:
        self._previews += [event for event in events if event.preview is not None]
        self.tab.take_progress(events)

    def _show_queue(self) -> None:
        entries = [QueueEntry(self.current.key, self.current.title, running=True)] if self.current else []
        self.tab.input.queue.set_entries(entries + [QueueEntry(job.key, job.title) for job in self.queue])

    # -- history -----------------------------------------------------------------------------------------

    async def refresh_history(self) -> None:
        """Show the history as it is on the disk now."""
        if self.tasks.closing:
            return
        try:
            self.tab.set_history(await self.files.submit(_entries, self.history, self._thumbnails))
        except OrielError as error:
            self.tab.show_error(str(error))

    async def open_run(self, key: str) -> None:
        """Show a run of the past, or the one in work."""
        contents, problem = None, ""
        try:
            run = await self.files.submit(self.history.get, key)
            contents = await self.files.submit(_contents, run)
        except OrielError as error:
            problem = str(error)
        if self._current_run is not None and self._current_run[0] == key:
            *what, method = self._current_run
            self.tab.follow_run(*what, contents, method=method)  # without what is just being written
            for event in list(self._previews):
                self.tab.show_event(event)
            return
        if contents is None:
            self.tab.show_error(problem)
            await self.refresh_history()
            return
        self.tab.show_run(contents)
        picture = await self._picture_of(run)
        if self.tab.shown_key == key and picture is not None:
            options = run.options
            models = {part: getattr(options, part) for part in ("method", *ROWS)}
            self.tab.input.set_options(mode=options.mode, quality=options.quality, **models)
            self.tab.input.set_elevation(options.elevation)
            self.tab.input.set_pictures([picture])

    async def rerun(self, key: str) -> None:
        """Make a new run of an old one's picture with the options as they are set."""
        try:
            run = await self.files.submit(self.history.get, key)
        except OrielError as error:
            self.tab.show_error(str(error))
            return
        picture = await self._picture_of(run)
        if picture is not None:
            self.tab.show_side("picture")
            self.tab.input.set_pictures([picture])
            self.tab.input.request()

    async def delete(self, key: str) -> None:
        """Delete a run for good."""
        try:
            run = await self.files.submit(self.history.get, key)
            await self.files.submit(self.history.delete, run)
        except OrielError as error:
            self.tab.show_error(str(error))
        self.tab.history.unhide_entry(key)
        await self.refresh_history()

    async def show_folder(self, key: str) -> None:
        """Open a run's folder in the file manager."""
        run = await self.files.submit(self.history.get, key)
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(run.folder)))

    async def _shown_run(self) -> Run | None:
        if self.tab.shown_key is None:
            return None
        try:
            return await self.files.submit(self.history.get, self.tab.shown_key)
        except OrielError as error:
            self.tab.show_error(str(error))
            return None

    async def _picture_of(self, run: Run) -> Picture | None:
        key = run.folder.name
        if key not in self._pictures:
            found = await self.files.submit(lambda: sorted(run.folder.glob("input.*")))
            if not found:
                return None
            options = run.options
            strokes = options.strokes
            if isinstance(strokes, Path):
                strokes = await self.files.submit(_grey, strokes)
            self._pictures[key] = Picture(found[0], run.name, options.box, strokes, options.points)
        return self._pictures[key]

    # -- models ------------------------------------------------------------------------------------------

    async def refresh_models(self) -> None:
        """Show which models are on this machine, and offer them for the next run."""
        if self.tasks.closing:
            return
        found = await self.files.submit(_models, frozenset(self._damaged))
        self.window.models.set_entries(found.entries)
        self.window.models.set_places(found.places)
        self.tab.input.set_choices(found.choices, found.preferred, "" if self._has_gpu else SLOW)

    async def fetch_model(self, key: str) -> None:
        """Fetch a model from the hub and check it."""
        from engine import weights

        if await self._work_on_model(key, "Fetching", weights.fetch) is not None:
            self.window.models.show_note(key, "Fetched.")

    async def check_model(self, key: str) -> None:
        """Compare a model's files with what they should be."""
        from engine import weights

        problems = await self._work_on_model(key, "Checking", weights.check)
        if problems:
            self._damaged.add(key)
            self.window.models.show_note(key, "\n".join(problems), "error")
            await self.refresh_models()
        elif problems is not None:
            self.window.models.show_note(key, "It is whole, and of the right kind.")

    async def use_model(self, key: str, path: Path) -> None:
        """Take a file or a folder of the user's for a model from now on."""
        from engine import weights

        def use(key: str, progress: Callable[[Progress], None], cancel: CancelToken) -> weights.Located:
            return weights.use(key, path)

        if await self._work_on_model(key, "Looking at it", use) is not None:
            await self._save_model_paths()
            self.window.models.show_note(key, "It is of the right kind, and used from now on.")

    async def remove_model(self, key: str) -> None:
        """Forget the user's file for a model, or delete what was fetched."""
        from engine import weights

        try:
            freed = await self.files.submit(weights.remove, key)
        except OrielError as error:
            self.window.models.show_note(key, str(error), "error")
        else:
            text = (
                f"Removed; {bytes_text(freed)} are free again." if freed else "Forgotten; the file stays where it is."
            )
            self.window.models.show_note(key, text)
        self._damaged.discard(key)
        await self._save_model_paths()
        await self.refresh_models()

    async def _work_on_model(self, key: str, words: str, work: Callable[..., T]) -> T | None:
        """Do something that takes its time to a model, and show it; what it returned, None if it did not go well.

        `work` is called with the key, `progress` and `cancel`.
        """
        if key in self._model_work or self.tasks.closing:
            return None
        page, token = self.window.models, CancelToken()
        page.set_work(key, "Waiting" if self._model_work else words)
        self._model_work[key] = token
        funnel = ProgressFunnel(lambda events: page.take_progress(key, words, events[-1]))

        def begin() -> T:
            token.check()
            return work(key, progress=funnel.post, cancel=token)

        note = None
        try:
            done = await self.fetcher.submit(begin)
            self._damaged.discard(key)
            return done
        except Cancelled:
            kept = " What has come stays, and fetching goes on from there." if words == "Fetching" else ""
            note = (f"Stopped.{kept}", "info")
        except OrielError as error:
            note = (str(error), "error")
        finally:
            funnel.close()
            try:
                await self.refresh_models()  # first, so that the new state and what is said of it come in one step
            finally:
                del self._model_work[key]
                page.set_work(key, None)
                if note is not None:
                    page.show_note(key, *note)
        return None

    async def _save_model_paths(self) -> None:
        try:
            await self.files.submit(self.settings.keep_weights)
        except OrielError as error:
            self.tab.show_error(str(error))

    def _remember_model(self, part: str, value: Any) -> None:
        if part == "memory_gb":
            self.settings.memory_gb = value
        else:
            self.settings.models = {**self.settings.models, part: value}

    # -- export ------------------------------------------------------------------------------------------

    def export(self) -> None:
        """Ask where and how to write the mesh on the screen."""
        mesh = self.tab.viewport.mesh if self.tab.viewport else None
        if mesh is None:
            self.tab.status_changed.emit("There is no mesh to export yet.")
            return
        from widgets.viewport import ExportDialog

        def write(path: Path, **options: Any) -> None:
            from engine.meshes.export import export_mesh

            export_mesh(mesh, path, **options)

        remembered = self.settings.window.get("export")
        dialog = ExportDialog(write, name=self.tab.title.text(), choice=remembered, parent=self.window)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.exported.connect(self._exported)
        dialog.accepted.connect(lambda: self._remember_export(dialog.choice()))
        dialog.open()

    def _remember_export(self, choice: dict[str, Any]) -> None:
        kept = {name: value for name, value in choice.items() if name != "height_m"}  # that is the building's
        self.settings.window = {**self.settings.window, "export": kept}

    def _exported(self, paths: list[Path]) -> None:
        self.tab.status_changed.emit("Written: " + ", ".join(str(path) for path in paths))


# -- on the other threads ------------------------------------------------------------------------------------


def _options(request: Request) -> Options:
    from engine.reconstruct.options import Options

    return Options(
        mode=request.mode,
        box=request.box,
        strokes=request.strokes,
        points=request.points,
        elevation=request.elevation,
        method=request.method,
        generator=request.generator,
        sampler=request.sampler,
        matcher=request.matcher,
        surface=request.surface,
        memory_gb=request.memory_gb,
        quality=request.quality,
    )


def _execute(run: Run, view: int | None, progress: Callable[[Progress], None], cancel: CancelToken) -> None:
    if view is None:
        run.execute(progress, cancel, start="texture")  # or from the first stage that is not done
    else:
        run.retry_view(view, progress, cancel)
        run.execute(progress, cancel, start="surface")


def _load(source: Path | bytes) -> Any:
    from engine.imaging import load_picture

    return load_picture(source)


def _foreground(pixels: Any, mode: str, picture: Picture, cancel: CancelToken) -> Any:
    from engine.imaging import extract_foreground

    cancel.check()
    return extract_foreground(
        pixels, mode=mode, box=picture.box, strokes=picture.strokes, points=picture.points, cancel=cancel
    )


def _grey(path: Path) -> Any:
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        return np.array(image.convert("L"))


@dataclass(frozen=True)
class _Models:
    """What the window shows of the models on this machine."""

    entries: list[ModelEntry]
    places: str
    choices: dict[str, list[Choice]]
    preferred: dict[str, str]


def _models(damaged: frozenset[str]) -> _Models:
    from engine import choices, weights
    from engine.weights import hub

    entries = []
    for key, model in weights.MODELS.items():
        located = weights.locate(key)
        if located is None:
            state = "partly" if weights.unfinished(key) else "missing"
        else:
            state = "built in" if located.source == "built in" else "present"
        entries.append(
            ModelEntry(
                key=key,
                label=model.label,
                purpose=_sentence(model.purpose),
                licence=model.licence,
                origin=model.origin,
                size=model.size if located is None else located.size,
                files=tuple((file.name, file.size) for file in model.files),
                state="damaged" if key in damaged and located is not None else state,
                path=None if located is None else located.path,
                source="" if located is None else located.source,
            )
        )
    offered = {
        part: [Choice(name, label, choices.present(part, name)) for name, label in choices.names(part).items()]
        for part in ("generator", "matcher", "surface", "foreground")
    }
    preferred = {part: choices.preferred(part) for part in ("generator", "matcher", "surface")}
    named = os.environ.get("ORIEL_WEIGHTS")
    places = [
        "Looked for at the paths that you give here",
        f"in {named} (ORIEL_WEIGHTS)" if named else "in the folder that ORIEL_WEIGHTS names (not set)",
        f"in the hub's cache {hub.cache()}",
    ]
    fetching = "HF_HUB_OFFLINE forbids fetching" if hub.offline() else f"fetched from {hub.endpoint()} when you ask"
    return _Models(entries, f"{', '.join(places)}; {fetching}.", offered, preferred)


def _has_gpu() -> bool:
    from engine.core.device import pick_device

    return pick_device().type != "cpu"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _show_place(path: Path) -> None:
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(path if path.is_dir() else path.parent)))


def _thumbnail(path: Path) -> QImage:
    reader = QImageReader(str(path))
    reader.setAutoTransform(True)
    size = reader.size()
    if size.isValid():
        reader.setScaledSize(size.scaled(QSize(2 * THUMBNAIL, 2 * THUMBNAIL), Qt.AspectRatioMode.KeepAspectRatio))
    return reader.read()


def _small(source: Path | bytes) -> QImage:
    small = QSize(2 * THUMBNAIL, 2 * THUMBNAIL)
    return to_qimage(_load(source)).scaled(
        small, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
    )


def _samples() -> list[tuple[Path, QImage]]:
    folder = RESOURCES / "samples"
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    return [(path, image) for path in files if not (image := _thumbnail(path)).isNull()]


def _entries(history: History, thumbnails: dict[str, tuple[int, QImage]]) -> list[HistoryEntry]:
    """What the history shows; `thumbnails` keeps those that were read, by run, with the time of the file."""
    entries = []
    for run in history.runs():
        key, created = run.folder.name, run.created.astimezone()
        picture = run.folder / "framed.png"
        if not picture.exists():
            picture = next(iter(sorted(run.folder.glob("input.*"))), picture)
        changed = picture.stat().st_mtime_ns if picture.exists() else 0
        if key not in thumbnails or thumbnails[key][0] != changed:
            thumbnails[key] = (changed, _thumbnail(picture))
        date = created.strftime("%d %b %Y, %H:%M")
        status = run.status
        seconds = run.report.get("seconds")
        words = seconds_text(seconds) if status == "done" and seconds else status
        options = run.options
        haystack = [run.name, run.source or "", key, status, options.quality, options.method, options.generator, date]
        haystack.append(created.strftime("%Y-%m-%d"))
        entries.append(
            HistoryEntry(
                key=key,
                title=run.name,
                subtitle=f"{words}  ·  {date}",
                status=status,
                thumbnail=thumbnails[key][1],
                haystack=" ".join(haystack).lower(),
            )
        )
    return entries


def _expected_seconds(history: History, options: Options) -> dict[str, float]:
    """Mean seconds of each stage over the last finished runs of the same quality and method by the same models."""
    decisive = ("quality", "method", "generator", "surface")

    def alike(other: Options) -> bool:
        return all(getattr(other, name) == getattr(options, name) for name in decisive)

    recent = [run for run in history.runs() if run.status == "done" and alike(run.options)][:RECENT_RUNS]
    stages = [run.report.get("stages", {}) for run in recent]
    found = {stage: [s[stage]["seconds"] for s in stages if stage in s] for stage in STAGES}
    return {stage: sum(seconds) / len(seconds) for stage, seconds in found.items() if seconds}


def _contents(run: Run) -> RunContents:
    """Everything that the tab shows of a run, read from its folder."""
    from engine import cameras
    from engine.reconstruct.run import Run as OpenRun

    run = OpenRun.open(run.folder)
    views: dict[str, QImage] = {}
    for names, pictures in (
        ([cameras.principal_name(i) for i in range(8)], run.principal_views()),
        ([cameras.source_name(i) for i in range(32)], run.source_views()),
    ):
        if pictures is not None:
            views |= {name: to_qimage(opaque(picture)) for name, picture in zip(names, pictures, strict=True)}
    framed = run.framed()
    if framed is not None:
        picture = to_qimage(opaque(framed))
    else:
        picture = to_qimage(run.picture())
    done = run.stages_done
    stages = run.report.get("stages", {})
    return RunContents(
        key=run.folder.name,
        name=run.name,
        status=run.status,
        error=run.error,
        stage=next((stage for stage in STAGES if stage not in done), None),
        picture=picture,
        views=views,
        elevation=run.elevation(),
        mesh=run.mesh() if "surface" in done else None,
        seconds={stage: stages[stage]["seconds"] for stage in STAGES if stage in stages and stage in done},
        height_m=run.options.height_m,
        used=run.report.get("used", {}),
        error_kind=run.error_kind,
        method=run.options.method,
    )


@contextlib.contextmanager
def _closing_on_signals(window: MainWindow) -> Iterator[None]:
    """Ctrl+C in the terminal, or the end of the user's session, closes the window as its own button does."""
    # Python handles a signal between two of its own instructions; in Qt's loop, a byte in a socket brings them about.
    reader, writer = socket.socketpair()
    for end in (reader, writer):
        end.setblocking(False)
    notifier = QSocketNotifier(reader.fileno(), QSocketNotifier.Type.Read)
    notifier.activated.connect(lambda: reader.recv(64))
    before = signal.set_wakeup_fd(writer.fileno())
    handlers = {s: signal.signal(s, lambda *_: window.close()) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for s, handler in handlers.items():
            signal.signal(s, handler)
        signal.set_wakeup_fd(before)
        notifier.setEnabled(False)
        reader.close()
        writer.close()


@contextlib.contextmanager
def _garbage_kept_to_this_thread() -> Iterator[None]:
    """Have Python look for garbage on the event loop's thread only.

    The search frees what it finds on whichever thread it happens to run, and an object of Qt that is freed on
    another thread than its own takes the process with it.
    """

    async def search() -> None:
        limits = gc.get_threshold()
        while True:
            await asyncio.sleep(GARBAGE_INTERVAL)
            counts = gc.get_count()
            due = [i for i in range(3) if counts[i] > limits[i]]
            if due:
                gc.collect(due[-1])

    gc.collect()
    gc.freeze()  # what is there at the start stays: no need to look at it again
    gc.disable()
    task = asyncio.ensure_future(search())
    try:
        yield
    finally:
        task.cancel()
        gc.enable()
        gc.unfreeze()


def run_window() -> int:
    """Show the window and serve it until it is closed."""
    import qasync

    share_contexts()
    app = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(app, QApplication)
    app.setApplicationName("Oriel")
    app.setDesktopFileName("oriel")
    app.setQuitOnLastWindowClosed(False)
    settings = Settings.load()
    theme.set_mode(settings.theme)

    async def serve() -> None:
        window = MainWindow()
        with _closing_on_signals(window):
            await Session(window, settings).run()

    with qasync.QEventLoop(app) as loop:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(serve())
    return 0
