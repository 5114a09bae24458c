"""What goes on between the Reconstruct tab and the engine: pictures, runs, their queue, and the history."""

from __future__ import annotations

import contextlib
import itertools
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PySide6.QtCore import QSize, Qt, QUrl
from PySide6.QtGui import QDesktopServices, QImage, QImageReader

from app.engine_thread import EngineThread, ProgressFunnel
from app.history import History
from app.settings import Settings
from app.tasks import Tasks, unexpected
from engine.core.errors import Cancelled, OrielError
from engine.core.progress import CancelToken, Progress
from engine.reconstruct.folder import PRINCIPAL, SOURCES, as_pixels
from engine.reconstruct.options import PICTURE_SUFFIXES, Options
from engine.reconstruct.run import Run
from widgets.kit.images import opaque, to_qimage
from widgets.kit.theme import RESOURCES
from widgets.reconstruct.model_choices import ROWS
from widgets.reconstruct.request import HistoryEntry, Picture, QueueEntry, Request
from widgets.reconstruct.stage_bar import STAGES, seconds_text
from widgets.reconstruct.tab import ReconstructTab, RunContents

NICENESS = 5
"""The engine's thread gives way to the window's."""
RECENT_RUNS = 3
"""Runs that the estimate of the remaining time is taken from."""
THUMBNAIL = 128


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


class ReconstructSession:
    """Everything that the Reconstruct tab needs besides itself. `restore` it at the start, `close` it at the end.

    Runs on the Qt thread and waits for two others: `engine`, which alone uses torch for a run, and `files`, which
    reads pictures, runs and meshes so that a look at the history does not wait for a run.
    """

    def __init__(self, tab: ReconstructTab, settings: Settings, files: EngineThread) -> None:
        self.tab = tab
        self.settings = settings
        self.engine = EngineThread(nice=NICENESS)
        self.files = files
        self.tasks = Tasks(tab.show_error)
        self.queue: list[Job] = []
        self.current: Job | None = None
        self._at_work = False
        self.history = History(settings.history_folder)
        self._numbers = itertools.count(1)
        self._pictures: dict[str, Picture] = {}
        self._previews: list[Progress] = []
        self._current_run: tuple[str, str, str, str] | None = None  # key, name, first stage, method of the run in work
        self._preview_cancel = CancelToken()
        self._pixels: tuple[Picture, Any] | None = None
        self._thumbnails: dict[str, tuple[int, QImage]] = {}
        tab.requested.connect(self.add_requests)
        tab.cancel_requested.connect(self.cancel)
        tab.remove_requested.connect(self.remove)
        tab.retry_requested.connect(self.retry_view)
        tab.continue_requested.connect(self.tasks.then(self.continue_shown))
        tab.rebuild_requested.connect(self.tasks.then(self.rebuild))
        tab.open_requested.connect(self.tasks.then(self.open_run))
        tab.rerun_requested.connect(self.tasks.then(self.rerun))
        tab.delete_requested.connect(self.tasks.then(self.delete))
        tab.folder_requested.connect(self.tasks.then(self.show_folder))
        tab.export_requested.connect(self.export)
        tab.picture_chosen.connect(self.tasks.then(self.load_picture))
        tab.pictures_brought.connect(lambda _: self._choose_usual())
        tab.pictures_brought.connect(self.tasks.then(self.load_thumbnails))
        tab.preview_wanted.connect(self.tasks.then(self.find_foreground))
        tab.folder_used.connect(lambda folder: setattr(self.settings, "last_folder", folder))
        tab.input.models.picked.connect(self._remember_model)

    # -- life --------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Set the tab as it was in the last session."""
        if self.settings.last_folder:
            self.tab.last_folder = self.settings.last_folder
        self._choose_usual()

    def _choose_usual(self) -> None:
        """Options as the user last asked for them, whatever an earlier run that was looked at had."""
        panel = self.tab.input
        usual = Options()
        panel.set_options(
            mode=usual.mode,
            quality=self.settings.quality,
            upright=usual.upright,
            foreground_ratio=usual.foreground_ratio,
        )
        panel.set_elevation(None)
        panel.editor.set_tool("box")
        panel.models.remember(self.settings.models | {"memory_gb": self.settings.memory_gb})

    async def fill(self) -> None:
        """Show the history and the bundled pictures."""
        await self.refresh_history()
        self.tab.set_samples(await self.files.submit(_samples))

    async def close(self) -> None:
        """Cancel what runs, and wait for it."""
        self.tab.toast.finish()  # a deletion that could still be undone is begun
        self.tasks.closing = True
        self.queue.clear()
        self._preview_cancel.cancel()
        if self.current:
            self.current.cancel.cancel()
        await self.tasks.finish()
        await self.engine.close()

    @property
    def alive(self) -> bool:
        """Whether its thread still runs."""
        return self.engine.alive

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
            upright = self.tab.input.framing.upright.isChecked()
            found = await thread.submit(_foreground, self._pixels[1], mode, picture, upright, cancel)
        except Cancelled:
            return
        except OrielError as error:
            self.tab.input.show_problem(picture, str(error))
            return
        if not cancel.cancelled:
            self.tab.input.show_mask(picture, found.mask, found.method, found.notes)

    # -- jobs --------------------------------------------------------------------------------------------

    def add_requests(self, requests: list[Request]) -> None:
        """Queue new runs."""
        for request in requests:
            self.settings.quality = request.options.quality
            self._add(Job(next(self._numbers), request.picture.name, request=request))

    def retry_view(self, index: int) -> None:
        """Draw a principal view of the run on the screen again, and rebuild."""

        async def add() -> None:
            run = await self._get(self.tab.shown_key)
            if run is not None:
                self._add(Job(next(self._numbers), f"{run.name}, view {index + 1}", run=run, view=index))

        self.tasks.spawn(add())

    async def continue_shown(self) -> None:
        """Go on with the run on the screen from where it stopped, with what was drawn and chosen since."""
        run = await self._get(self.tab.shown_key)
        if run is None:
            return
        picture = self._pictures.get(run.folder.name)
        panel = self.tab.input
        if picture is not None and picture is panel.picture:
            chosen, before = panel.chosen(picture), run.options.elevation
            elevation = chosen["elevation"]
            if elevation is not None and before is not None and abs(elevation - before) < 0.051:
                chosen["elevation"] = before  # the panel shows one decimal of it
            try:
                await self.files.submit(lambda: run.change(**chosen))
            except OrielError as error:
                self.tab.show_error(str(error))
                return
        self._add(Job(next(self._numbers), run.name, run=run))

    async def rebuild(self, changes: dict[str, Any]) -> None:
        """Make the run on the screen again, from where these options count."""
        run = await self._get(self.tab.shown_key)
        if run is None:
            return
        try:
            if await self.files.submit(lambda: run.change(**changes)) is None:
                self.tab.show_note("Nothing would be different: change a value first.")
                return
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
                    # A mesh that is being looked at stays; the bar shows how the next one does.
                    await self._do(self.current, follow=first or (self.tab.following and not self.tab.has_mesh))
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
                source, name = job.request.picture.source, job.request.picture.name
                run = await self.files.submit(self.history.create, source, job.request.options, name=name)
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
            picture = None if job.request is None else job.request.picture
            self.tab.begin_run(key, run.name, first, follow=follow, method=method, picture=picture)
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
            running = self._current_run[0] if self._current_run is not None else ""
            self.tab.set_history(await self.files.submit(_entries, self.history, self._thumbnails, running))
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
            _, name, first, method = self._current_run
            self.tab.follow_run(key, name, first, contents, method=method)  # without what is just being written
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
            self.tab.input.set_options(
                mode=options.mode,
                quality=options.quality,
                upright=options.upright,
                foreground_ratio=options.foreground_ratio,
                **models,
            )
            self.tab.input.set_elevation(options.elevation)
            self.tab.input.set_pictures([picture])

    async def rerun(self, key: str) -> None:
        """Make a new run of an old one's picture with the options as they are set."""
        run = await self._get(key)
        picture = None if run is None else await self._picture_of(run)
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
        if run := await self._get(key):
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(run.folder)))

    async def _get(self, key: str | None) -> Run | None:
        """A run of the history; None where there is none, after saying why."""
        if key is None:
            return None
        try:
            return await self.files.submit(self.history.get, key)
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
                strokes = await self.files.submit(as_pixels, strokes)
            self._pictures[key] = Picture(found[0], run.name, options.box, strokes, options.points)
        return self._pictures[key]

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
        dialog = ExportDialog(write, name=self.tab.title.text(), choice=remembered, parent=self.tab.window())
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.exported.connect(self._exported)
        dialog.accepted.connect(lambda: self._remember_export(dialog.choice()))
        dialog.open()

    def _remember_export(self, choice: dict[str, Any]) -> None:
        kept = {name: value for name, value in choice.items() if name != "height_m"}  # that is the building's
        self.settings.window = {**self.settings.window, "export": kept}

    def _exported(self, paths: list[Path]) -> None:
        self.tab.status_changed.emit("Written: " + ", ".join(str(path) for path in paths))

    def _remember_model(self, part: str, value: Any) -> None:
        if part == "memory_gb":
            self.settings.memory_gb = value
        else:
            self.settings.models = {**self.settings.models, part: value}


# -- on the other threads ------------------------------------------------------------------------------------


def _execute(run: Run, view: int | None, progress: Callable[[Progress], None], cancel: CancelToken) -> None:
    if view is None:
        run.execute(progress, cancel, start="texture")  # or from the first stage that is not done
    else:
        run.retry_view(view, progress, cancel)
        run.execute(progress, cancel, start="surface")


def _load(source: Path | bytes) -> Any:
    from engine.imaging import load_picture

    return load_picture(source)


def _foreground(pixels: Any, mode: str, picture: Picture, upright: bool, cancel: CancelToken) -> Any:
    from engine.imaging import extract_foreground
    from engine.imaging.aim import aim_at_object

    cancel.check()
    found = extract_foreground(
        pixels, mode=mode, box=picture.box, strokes=picture.strokes, points=picture.points, cancel=cancel
    )
    return aim_at_object(pixels, found, picture.source)[0] if upright else found


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
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
    return [(path, image) for path in files if not (image := _thumbnail(path)).isNull()]


def _entries(history: History, thumbnails: dict[str, tuple[int, QImage]], running: str) -> list[HistoryEntry]:
    """What the history shows; `thumbnails` keeps those that were read, by run, with the time of the file.

    `running`: the run that this window is at, or about to be.
    """
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
        status = "running" if key == running else run.status
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
    run = Run.open(run.folder)
    views: dict[str, QImage] = {}
    for names, pictures in ((PRINCIPAL, run.principal_views()), (SOURCES, run.source_views())):
        if pictures is not None:
            views |= {name: to_qimage(opaque(picture)) for name, picture in zip(names, pictures, strict=True)}
    framed = run.framed()
    done = run.stages_done
    stages = run.report.get("stages", {})
    return RunContents(
        key=run.folder.name,
        name=run.name,
        status=run.status,
        error=run.error,
        stage=next((stage for stage in STAGES if stage not in done), None),
        picture=to_qimage(run.picture() if framed is None else opaque(framed)),
        views=views,
        elevation=run.elevation(),
        mesh=run.mesh() if "surface" in done else None,
        seconds={stage: stages[stage]["seconds"] for stage in STAGES if stage in stages and stage in done},
        height_m=run.options.height_m,
        used=run.report.get("used", {}),
        error_kind=run.error_kind,
        method=run.options.method,
        made_with={name: getattr(run.options, name) for name in ("faces", "smooth", "texture_size", "seed")},
    )
