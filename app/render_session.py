"""What goes on between the Render tab and the engine: models, runs, previews, and what is kept of a model."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices, QImage

from app.engine_thread import EngineThread, ProgressFunnel
from app.job_session import POLL, SETTLE, JobSession
from app.model_previews import VIEWER_MODULES, make_cache, mesh_of
from app.settings import Settings
from engine.core.errors import Cancelled, OrielError
from engine.core.progress import CancelToken, Progress
from engine.rendering.jobs import Frame, FrameDone, ModelFile, ModelState, RenderSettings, RenderTotals, frames
from widgets.kit.words import count
from widgets.render import FarmChoice, ModelDetails, Opened, RenderTab
from widgets.render.table import THUMBNAIL
from widgets.render.words import DEVICES, ENGINES

if TYPE_CHECKING:
    from engine.meshes.mesh import Mesh
    from engine.rendering.farm import FarmOptions, RenderRun
    from engine.screening import Preview, PreviewCache

PORTION = 1500
"""Models that are shown at a time: ten thousand at once would hold the window up."""
PICTURES = 8
"""Pictures that are read at a time."""
SHEET = 160
"""Side of the sheet's pictures in pixels."""
LOG_BYTES = 64_000
KEPT = 64
"""Models whose frames are kept while they are not finished."""

Frames = dict[str, tuple[dict[str, QImage], dict[str, QImage]]]
"""Pictures and depths by model and view."""


class RenderSession(JobSession[RenderTab, "Job"]):
    """Everything that the Render tab needs besides itself; previews and test frames have a thread of their own."""

    WORK = "run"

    def __init__(self, tab: RenderTab, settings: Settings) -> None:
        self.looker = EngineThread("oriel-render-looks")
        super().__init__(tab, settings, "render", self.looker)
        self._look: CancelToken | None = None
        self._previews: PreviewCache | None = None
        tab.setup.source.chosen.connect(self.tasks.then(self.choose_source))
        tab.setup.folder.chosen.connect(self.tasks.then(self.choose_folder))
        tab.start_requested.connect(self.tasks.then(self.render))
        tab.retry_requested.connect(self.tasks.then(self.retry))
        tab.pause_requested.connect(lambda: self._ask("pause", state="paused"))
        tab.resume_requested.connect(lambda: self._ask("resume", state="running"))
        tab.cancel_requested.connect(lambda keys: self._ask("cancel_models", keys))
        tab.first_requested.connect(lambda keys: self._ask("prioritise", keys))
        tab.reload_requested.connect(self.tasks.then(self.reload))
        tab.details_wanted.connect(self.tasks.then(self.show_details))
        tab.details.log_wanted.connect(self.tasks.then(self.show_log))
        tab.preview_requested.connect(self.tasks.then(self.preview))
        tab.test_requested.connect(self.tasks.then(self.test))
        tab.test.cancelled.connect(self._end_look)
        tab.large_wanted.connect(self.tasks.then(self.show_large))
        tab.pictures_wanted.connect(self.tasks.then(self.show_pictures))
        tab.folder_requested.connect(self.tasks.then(self.show_folder))
        tab.setup.form.blender_changed.connect(self.tasks.then(self.look_for_blender))
        tab.setup.changed.connect(self._remember)

    # -- life --------------------------------------------------------------------------------------------

    def _recall(self) -> None:
        settings, farm = recalled(self.settings.render)
        self.tab.setup.form.set_values(settings)
        self.tab.setup.form.set_farm(farm)

    def _end_looks(self) -> None:
        self._end_look()

    async def _put_away(self) -> None:
        if self._previews is not None:
            await self.files.submit(self._previews.close)

    def _shown(self) -> None:
        if not self._restored or self.tasks.closing:
            return
        self.tasks.spawn(self._offer())
        if self._opened:
            return
        kept = self.settings.render
        source, folder = (Path(kept[name]) if kept.get(name) else None for name in ("source", "folder"))
        if source or folder:
            self.tasks.spawn(self._open(source, folder))
        self._opened = max(self._opened, 1)
        self.tasks.spawn(self.look_for_blender())

    async def _offer(self) -> None:
        crawl, screen = self.settings.crawl.get("folder"), self.settings.screen.get("folder")
        self.tab.setup.offer(*await self.files.submit(_offers, crawl, screen))

    async def look_for_blender(self) -> None:
        """Say which Blender there is, or what to do about it."""
        choice = self.tab.setup.form.farm().blender
        text, found = await self.files.submit(_blender_words, choice)
        if choice == self.tab.setup.form.farm().blender:
            self.tab.setup.form.show_blender(text, found)
            if not found and self.tab.isVisible() and not self.tab.banner.isVisible():
                self.tab.say(text, "warning", {"Choose Blender…": self.tab.setup.form.open_blender})

    # -- models and folder -------------------------------------------------------------------------------

    async def choose_source(self, source: Path | None) -> None:
        """Take other models, and a folder for them unless there is one."""
        folder = self.tab.setup.folder_path
        if source is not None and folder is None:
            folder = suggested_folder(source)
        await self._open(source, folder)

    async def choose_folder(self, folder: Path | None) -> None:
        """Take another folder, and the models of its last run unless there are some."""
        await self._open(self.tab.setup.source_path, folder)

    async def reload(self) -> None:
        """Read models and folder anew."""
        await self._open(self.tab.setup.source_path, self.tab.setup.folder_path)

    async def _open(self, source: Path | None, folder: Path | None) -> None:
        if self.job is not None or self.tasks.closing:
            return
        self._opened += 1
        mine = self._opened
        self._end_look()
        self.tab.status_changed.emit("Reading the folder…")
        opened = await self.files.submit(_open, source, folder)
        if mine != self._opened or self.job is not None or self.tasks.closing:
            return
        self.tab.status_changed.emit("")
        self.tab.show_opened(opened)
        self._remember()
        self.tasks.spawn(self._show_free())

    def _remember(self) -> None:
        setup = self.tab.setup
        places = {"source": setup.source_path, "folder": setup.folder_path}
        kept = {name: str(path) for name, path in places.items() if path is not None}
        if not kept and self._opened <= 1:  # the places of the last time still wait to be opened
            kept = {name: self.settings.render[name] for name in places if name in self.settings.render}
        form = setup.form
        self.settings.render = kept | {"settings": asdict(form.values()), "farm": asdict(form.farm())}

    # -- the run -----------------------------------------------------------------------------------------

    async def render(self, again: list[str] | None = None) -> None:
        """Render the models; `again` are keys of settled ones that are rendered once more."""
        setup = self.tab.setup
        folder = setup.folder_path
        if self.job is not None or self.tasks.closing or folder is None:
            return
        models = [row.model for row in self.tab.model.rows]
        choice = setup.form.farm()
        self.job = job = Job(models, folder, setup.form.values(), choice, setup.source_path, again or [])
        self._end_look()
        self.tab.begin()

        def take() -> None:
            states, totals, frames = job.take(PORTION)
            for key, (pictures, depths) in frames.items():
                self.tab.take_frames(key, pictures, depths)
            self.tab.take_progress(states, totals)

        problem, _ = await self._watch(job, take)
        self.job = None
        self._show_end(problem, stopped=job.cancel.cancelled)
        await self._show_free()

    async def retry(self, keys: list[str]) -> None:
        """Render failed or cancelled models once more."""
        if self.job is not None:
            self._ask("retry", keys)
        else:
            await self.render(keys)

    def _ask(self, what: str, *args: Any, state: str = "") -> None:
        """Have the run do something; not on this thread, which is not to wait for the cluster."""
        run = self.job.run if self.job is not None else None
        if run is not None:
            self.tasks.spawn(self.files.submit(getattr(run, what), *args))
            if state:
                self.tab.set_state(state)

    def _show_end(self, problem: str, *, stopped: bool) -> None:
        counts = self.tab.model.counts
        left = counts["waiting"] + counts["working"]
        failed, cancelled = counts["failed"], counts["cancelled"]
        if problem:
            self.tab.end(problem, "error", {"Try again": self.tab.request_start})
        elif left:
            how = "Stopped" if stopped else "The run has ended"
            self.tab.end(f"{how}; {count(left, 'model')} to go. Start goes on from here.", "info")
        else:
            extra = [f"{number:,} {word}" for word, number in (("failed", failed), ("cancelled", cancelled)) if number]
            done = f"Finished: {count(counts['done'], 'model')} rendered"
            again = {"Retry failed": self.tab.retry_failed} if failed else {}
            self.tab.end(f"{', '.join([done, *extra])}.", "warning" if failed else "info", again)

    # -- a model -----------------------------------------------------------------------------------------

    async def show_details(self, key: str) -> None:
        """Show what is kept of a model, and the model among its cameras, if it stays chosen for a moment."""
        if self._look is not None and not self.tab.test.busy:
            self._end_look()
        if self.job is not None and (kept := self.job.frames(key)) is not None:
            self.tab.take_frames(key, *kept)
        await asyncio.sleep(SETTLE)
        row, folder = self._chosen(key), self.tab.setup.folder_path
        if row is None:
            return
        if folder is not None:
            self.tab.details.set_details(await self.files.submit(_details, folder, key, row.state))
        if row.state == "done" and folder is not None:
            names = [frame.name for frame in frames(self.tab.setup.form.values())]
            for at in range(0, len(names), PICTURES):
                found = await self.files.submit(_pictures, folder, key, names[at : at + PICTURES])
                if self._chosen(key) is None:
                    return
                self.tab.take_frames(key, *found)
        if self._chosen(key) is not None:
            await self._show_mesh(key, row.model)

    async def _show_mesh(self, key: str, model: ModelFile) -> None:
        details = self.tab.details
        if details.viewport is not None and details.viewport.mesh is not None:
            return  # the chosen model is there since before
        for name in VIEWER_MODULES:
            await self.files.submit(importlib.import_module, name)
            if self._chosen(key) is None:
                return
        cache = await self.files.submit(self._want, model.path)
        while self._chosen(key) is not None:
            preview = cache.get(model.path)
            if preview is not None:
                mesh, note = await self.files.submit(_unit_mesh, preview)
                details.show_mesh(key, mesh, note)
                return
            details.show_mesh(key, None, "Loading the model…")
            await asyncio.sleep(POLL / 2)

    def _want(self, path: Path) -> PreviewCache:
        """Have the preview of a model made next; on the thread for files."""
        if self._previews is None:
            self._previews = make_cache()
        self._previews.want([path])
        return self._previews

    def _chosen(self, key: str) -> ModelState | None:
        row = self.tab.details.model
        return row if not self.tasks.closing and row is not None and row.model.key == key else None

    async def show_log(self) -> None:
        """Show Blender's log of the chosen model."""
        row, folder = self.tab.details.model, self.tab.setup.folder_path
        if row is not None and folder is not None and not self.tasks.closing:
            key = row.model.key
            self.tab.details.set_details(await self.files.submit(_details, folder, key, row.state))

    async def show_large(self, key: str, name: str, depth: bool) -> None:
        """Show the whole picture of a view, or its depth."""
        folder = self.tab.setup.folder_path
        if folder is not None:
            image = await self.files.submit(_large, folder, key, name, depth)
            if not image.isNull() and self._chosen(key) is not None:
                self.tab.details.sheet.set_large(name, depth, image)
                self.tab.overlay.refresh()

    async def show_pictures(self, keys: list[str]) -> None:
        """Show pictures beside the names of finished models."""
        folder, mine = self.tab.setup.folder_path, self._opened
        for at in range(0, len(keys), PICTURES):
            if folder is None or mine != self._opened or self.tasks.closing:
                return
            for key, image in await self.files.submit(_first_pictures, folder, keys[at : at + PICTURES]):
                self.tab.model.set_picture(key, image)

    async def show_folder(self, key: str) -> None:
        """Open the folder of a model's pictures; of the model itself, if there are none; of all, without a key."""
        folder, row = self.tab.setup.folder_path, self.tab.model.find(key)
        path = await self.files.submit(_place, folder, row.model if row is not None else None)
        if path is None:
            self.tab.status_changed.emit("There is no folder yet: it is made when the run starts.")
        else:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))

    # -- looks -------------------------------------------------------------------------------------------

    async def preview(self, key: str) -> None:
        """Fill the sheet with pictures that are drawn without Blender."""
        row = self._chosen(key)
        if row is None:
            return
        cancel = self._begin_look()
        details, settings = self.tab.details, self.tab.setup.form.values()

        def show(events: list[Progress]) -> None:
            for event in events:
                details.add_preview(key, *event.preview)

        funnel = ProgressFunnel(show)
        details.set_preview_note(key, "Drawing a fast preview…")
        note = ""
        try:
            await self.looker.submit(_preview, row.model, settings, funnel.post, cancel)
        except Cancelled:
            pass
        except OrielError as error:
            note = str(error)
        finally:
            funnel.close()
            details.set_preview_note(key, note)
            if self._look is cancel:
                self._look = None

    async def test(self, key: str, name: str) -> None:
        """Render one view of a model with Blender, and say what the whole run would take."""
        row = self._chosen(key)
        if row is None:
            return
        cancel = self._begin_look()
        form, test = self.tab.setup.form, self.tab.test
        settings, choice = form.values(), form.farm()
        counts = self.tab.model.counts
        left = counts["waiting"] + counts["working"] or len(self.tab.model.rows)
        test.begin(f"{key}, {name}")
        try:
            frame = next(frame for frame in frames(settings) if frame.name == name)
            workers, threads = await self.files.submit(_sizes, left, settings, choice)
            image, seconds = await self.looker.submit(_test, row.model, settings, frame, choice, threads, cancel)
        except Cancelled:
            return
        except OrielError as error:
            if not cancel.cancelled:
                test.fail(str(error))
            return
        finally:
            if self._look is cancel:
                self._look = None
        if cancel.cancelled:
            return
        how = (
            f"{ENGINES[settings.engine]} on {DEVICES[settings.device]}, {settings.size} px, {settings.samples} samples"
        )
        test.finish(image, seconds, how, left, len(frames(settings)), workers)

    def _begin_look(self) -> CancelToken:
        self._end_look()
        self._look = CancelToken()
        return self._look

    def _end_look(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None


class Job:
    """One run, between the threads that it works on and the window, which takes what is new at its own pace."""

    def __init__(
        self,
        models: list[ModelFile],
        folder: Path,
        settings: RenderSettings,
        choice: FarmChoice,
        source: Path | None,
        again: list[str],
    ) -> None:
        self.cancel = CancelToken()
        self.run: RenderRun | None = None
        """None until the models have been looked at."""
        self._models, self._folder, self._settings = models, folder, settings
        self._choice, self._source, self._again = choice, source, again
        self._lock = threading.Lock()
        self._changed: dict[str, ModelState] = {}
        self._totals: RenderTotals | None = None
        self._new: Frames = {}
        self._kept: OrderedDict[str, tuple[dict[str, QImage], dict[str, QImage]]] = OrderedDict()

    def work(self) -> None:
        """Render; see `RenderRun.run`."""
        from engine.rendering.farm import RenderRun

        self.cancel.check()
        options = farm_options(self._choice)
        run = RenderRun(self._models, self._folder, self._settings, options, source=self._source)
        if self._again:
            run.retry(self._again)
        self.run = run
        run.run(self._note, self.cancel)

    def take(self, most: int) -> tuple[list[ModelState], RenderTotals | None, Frames]:
        """What is new, of at most so many models; the latest of each model and of the totals, and all frames."""
        with self._lock:
            keys = list(self._changed)[:most]
            states = [self._changed.pop(key) for key in keys]
            totals, self._totals = self._totals, None
            new, self._new = self._new, {}
        return states, totals, new

    @property
    def waiting(self) -> bool:
        """Whether there is something to take."""
        return bool(self._changed) or self._totals is not None or bool(self._new)

    def frames(self, key: str) -> tuple[dict[str, QImage], dict[str, QImage]] | None:
        """The frames that have come of a model that is not finished."""
        with self._lock:
            kept = self._kept.get(key)
            return None if kept is None else (dict(kept[0]), dict(kept[1]))

    def _note(self, event: Progress) -> None:
        found = event.preview
        if isinstance(found, FrameDone):
            # Unpacked here: the window's thread has other things to do.
            picture = QImage.fromData(found.picture)
            depth = QImage.fromData(found.depth) if found.depth is not None else None
            with self._lock:
                for frames in (self._new.setdefault(found.key, ({}, {})), self._kept.setdefault(found.key, ({}, {}))):
                    frames[0][found.name] = picture
                    if depth is not None:
                        frames[1][found.name] = depth
                self._kept.move_to_end(found.key)
                if len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            return
        with self._lock:
            if isinstance(found, ModelState):
                self._changed[found.model.key] = found
                if found.state == "done":
                    self._kept.pop(found.model.key, None)
            elif isinstance(found, RenderTotals):
                self._totals = found


# -- on the other threads ------------------------------------------------------------------------------------


def farm_options(choice: FarmChoice) -> FarmOptions:
    """The engine's options."""
    from engine.rendering.farm import FarmOptions

    here = not choice.scheduler  # else the machines of the scheduler have workers and Blenders of their own
    return FarmOptions(
        workers=choice.workers or None if here else None,
        scheduler=choice.scheduler or None,
        attempts=choice.attempts,
        blender=choice.blender or None if here else None,
        keep_free=int(choice.keep_free_gb * 1e9),
    )


def suggested_folder(source: Path) -> Path:
    """Where the pictures of these models go unless the user says otherwise."""
    return source.with_name(f"{source.name}-renders") if source.is_dir() else source.parent / "renders"


def _offers(crawl: str | None, screen: str | None) -> tuple[Path | None, Path | None]:
    collected = Path(crawl) if crawl and Path(crawl).is_dir() else None
    selected = Path(screen, "selected.txt") if screen else None
    return collected, selected if selected is not None and selected.is_file() else None


def _blender_words(choice: str) -> tuple[str, bool]:
    """Which Blender is found, and whether one is."""
    from engine.rendering.blender import find_blender

    try:
        found = find_blender(choice or None)
    except OrielError as error:
        return str(error), False
    return f"Blender {found.version}: {found.command[0]}", True


def _open(source: Path | None, folder: Path | None) -> Opened:
    from engine.core.files import read_object
    from engine.rendering.farm import read_status
    from engine.rendering.layout import SETTINGS, find_models
    from engine.rendering.records import read_progress

    models: list[ModelFile] = []
    known: list[ModelState] = []
    totals = settings = None
    elsewhere, problem = False, ""
    try:
        record = read_object(folder / SETTINGS) if folder is not None else None
        if folder is not None and record is not None:
            settings = RenderSettings.from_dict(record.get("settings") or {})
            with contextlib.suppress(OrielError):  # settings alone: nothing has been rendered yet
                totals, known = read_status(folder)
            progress = read_progress(folder)
            elsewhere = progress is not None and progress[2]
            named = record.get("source")
            if source is None and isinstance(named, str) and Path(named).exists():
                source = Path(named)
        if source is not None:
            models = find_models(source)
    except (OrielError, OSError) as error:
        problem = str(error)
    before = {state.model.key: state for state in known}
    states = [
        replace(before[model.key], model=model) if model.key in before else ModelState(model, "waiting")
        for model in models
    ]
    return Opened(source, folder, states or known, totals, settings, elsewhere, problem)


def _details(folder: Path, key: str, state: str) -> ModelDetails:
    from engine.rendering.layout import folder_of, metadata
    from engine.rendering.records import log_path

    log = ""
    with contextlib.suppress(OSError):
        log = log_path(folder, key).read_bytes()[-LOG_BYTES:].decode("utf-8", "replace")
    if state != "done":
        return ModelDetails(key, log=log)
    return ModelDetails(key, folder=folder_of(folder, key), facts=_facts(metadata(folder, key) or {}), log=log)


def _facts(found: dict[str, Any]) -> str:
    """What Blender found in a model, in words."""
    statistics = found.get("statistics") or {}
    parts = [f"Blender {found['blender']}"] if found.get("blender") else []
    for name in ("triangles", "materials"):
        if isinstance(statistics.get(name), int):
            parts.append(count(statistics[name], name.removesuffix("s")))
    scale = statistics.get("scale")
    if isinstance(scale, int | float) and not 0.999 < scale < 1.001:
        parts.append(f"scaled by {scale:.3g}")
    repairs = [str(text) for text in found.get("repairs") or []]
    return "  ·  ".join(parts) + ("\n" + " ".join(repairs) if repairs else "")


def _pictures(folder: Path, key: str, names: list[str]) -> tuple[dict[str, QImage], dict[str, QImage]]:
    """Small pictures and depths of a finished model's views."""
    from engine.rendering.layout import folder_of

    place = folder_of(folder, key)
    pictures = {name: _thumbnail(place / f"{name}.png", SHEET) for name in names}
    depths = {name: _thumbnail(place / f"{name}_depth.png", SHEET) for name in names if name.count("_") == 1}
    return (
        {name: image for name, image in pictures.items() if not image.isNull()},
        {name: image for name, image in depths.items() if not image.isNull()},
    )


def _first_pictures(folder: Path, keys: list[str]) -> list[tuple[str, QImage]]:
    from engine.rendering.layout import folder_of

    found = [(key, _thumbnail(folder_of(folder, key) / "view_0.png", THUMBNAIL)) for key in keys]
    return [(key, image) for key, image in found if not image.isNull()]


def _thumbnail(path: Path, side: int) -> QImage:
    from engine.rendering.layout import thumbnail

    with contextlib.suppress(OrielError):
        return QImage.fromData(thumbnail(path, side))
    return QImage()


def _large(folder: Path, key: str, name: str, depth: bool) -> QImage:
    from engine.rendering.layout import folder_of

    return QImage(str(folder_of(folder, key) / f"{name}{'_depth' if depth else ''}.png"))


def _place(folder: Path | None, model: ModelFile | None) -> Path | None:
    from engine.rendering.layout import folder_of

    places = [] if model is None else [model.path.parent]
    if folder is not None:
        places.insert(0, folder if model is None else folder_of(folder, model.key))
    return next((place for place in places if place.is_dir()), None)


def _preview(
    model: ModelFile, settings: RenderSettings, progress: Callable[[Progress], None], cancel: CancelToken
) -> None:
    from engine.rendering.preview import preview_frames

    every = frames(settings)
    for done, (name, picture) in enumerate(preview_frames(model.path, settings, every, side=SHEET, cancel=cancel), 1):
        cancel.check()
        progress(Progress("preview", done, len(every), preview=(name, QImage.fromData(picture))))


def _test(
    model: ModelFile, settings: RenderSettings, frame: Frame, choice: FarmChoice, threads: int, cancel: CancelToken
) -> tuple[QImage, float]:
    """One frame, and the seconds that it took a worker's share of this machine, without Blender's start."""
    from engine.rendering.blender import BlenderProcess, find_blender

    blender = find_blender(choice.blender or None)
    with (
        tempfile.TemporaryDirectory(prefix="oriel-test-") as folder,
        BlenderProcess(blender, threads=threads) as process,
    ):
        rendered = process.render(model.path, Path(folder), settings, [frame], cancel=cancel)
        image = QImage(str(Path(folder, f"{frame.name}.png")))
    return image, float(rendered.seconds["frames"][frame.name])


def _sizes(models: int, settings: RenderSettings, choice: FarmChoice) -> tuple[int, int]:
    """Workers that a run would have here, and threads of each."""
    from engine.rendering.cluster import sizes

    return sizes(models, choice.workers or None, settings.device)


def _unit_mesh(preview: Preview) -> tuple[Mesh | None, str]:
    """The model as it stands before the cameras: its longest side is 1."""
    mesh, note = mesh_of(preview)
    if mesh is not None:
        low, high = mesh.bounds
        mesh.vertices = mesh.vertices / max(float((high - low).max()), 1e-9)
    return mesh, note


def recalled(kept: dict[str, Any]) -> tuple[RenderSettings, FarmChoice]:
    """Settings from JSON values; what does not fit is passed over."""
    usual = {field.name: field.default for field in fields(FarmChoice)}
    farm = kept.get("farm") if isinstance(kept.get("farm"), dict) else {}
    fitting = {name: value for name, value in (farm or {}).items() if type(value) is type(usual.get(name))}
    try:
        settings = RenderSettings.from_dict(kept.get("settings") or {})
    except (OrielError, AttributeError):
        settings = RenderSettings()
    return settings, FarmChoice(**fitting)
