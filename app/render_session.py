"""What goes on between the Render tab and the engine: models, runs, previews, and what is kept of a model."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtGui import QImage

from app.engine_thread import EngineThread, ProgressFunnel, load_viewer
from app.job_session import SETTLE, Job, JobSession, recalled
from app.model_previews import mesh_of
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
    from engine.screening import Preview

PICTURES = 8
"""Pictures that are read at a time."""
SHEET = 160
"""Side of the sheet's pictures in pixels."""
LOG_BYTES = 64_000
KEPT = 64
"""Models whose frames are kept while they are not finished."""

Pictures = tuple[dict[str, QImage], dict[str, QImage]]
"""Pictures and depths by view."""


class RenderSession(JobSession[RenderTab, "RenderRun"]):
    """Everything that the Render tab needs besides itself; previews and test frames have a thread of their own."""

    WORK = "run"

    def __init__(self, tab: RenderTab, settings: Settings) -> None:
        self.looker = EngineThread("oriel-render-looks")
        super().__init__(tab, settings, "render", self.looker)
        self._look: CancelToken | None = None
        self._frames: OrderedDict[str, Pictures] = OrderedDict()
        """The frames that have come of models that are not finished."""
        tab.setup.source.chosen.connect(self.tasks.then(self.choose_source))
        tab.setup.folder.chosen.connect(self.tasks.then(self.choose_folder))
        tab.start_requested.connect(self.tasks.then(self.render))
        tab.retry_requested.connect(self.tasks.then(self.retry))
        tab.pause_requested.connect(lambda: self.ask(lambda run: run.pause(), "paused"))
        tab.resume_requested.connect(lambda: self.ask(lambda run: run.resume(), "running"))
        tab.cancel_requested.connect(lambda keys: self.ask(lambda run: run.cancel_models(keys)))
        tab.first_requested.connect(lambda keys: self.ask(lambda run: run.prioritise(keys)))
        tab.details_wanted.connect(self.tasks.then(self.show_details))
        tab.details.log_wanted.connect(self.tasks.then(self.show_log))
        tab.preview_requested.connect(self.tasks.then(self.preview))
        tab.test_requested.connect(self.tasks.then(self.test))
        tab.test.cancelled.connect(self._end_looks)
        tab.large_wanted.connect(self.tasks.then(self.show_large))
        tab.pictures_wanted.connect(self.tasks.then(self.show_pictures))
        tab.folder_requested.connect(self.tasks.then(self.show_folder))
        tab.setup.form.blender_changed.connect(self.tasks.then(self.look_for_blender))

    # -- life --------------------------------------------------------------------------------------------

    def _recall(self) -> None:
        form = self.tab.setup.form
        form.set_farm(recalled(FarmChoice, self.kept.get("farm")))
        with contextlib.suppress(OrielError, AttributeError):
            form.set_values(RenderSettings.from_dict(self.kept.get("settings") or {}))

    def _places(self) -> dict[str, Any]:
        return {"source": self.tab.setup.source_path, "folder": self.tab.setup.folder_path}

    def _options(self) -> dict[str, Any]:
        form = self.tab.setup.form
        return {"settings": asdict(form.values()), "farm": asdict(form.farm())}

    def _look_around(self) -> None:
        self.tasks.spawn(self._offer())
        if not self._opened:
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

    async def _open(self, source: Path | None, folder: Path | None) -> None:
        self._end_looks()
        if (opened := await self._read(_open, source, folder)) is not None:
            self.tab.show_opened(opened)
            self._remember()
            self.tasks.spawn(self._show_free())

    # -- the run -----------------------------------------------------------------------------------------

    async def render(self, again: list[str] | None = None) -> None:
        """Render the models; `again` are keys of settled ones that are rendered once more."""
        setup = self.tab.setup
        folder = setup.folder_path
        if self.job is not None or self.tasks.closing or folder is None:
            return
        settings, farm, source = setup.form.values(), setup.form.farm(), setup.source_path
        board = self.tab.model.board

        def make() -> RenderRun:
            from engine.rendering.farm import RenderRun

            models = [row.model for row in board.rows()]
            run = RenderRun(models, folder, settings, farm_options(farm), source=source, board=board)
            if again:
                run.retry(again)
            return run

        self.job = job = Job(make, _unpacked)
        self._end_looks()
        self.tab.begin()
        problem, _ = await self._watch(job, self._take)
        self.job = None
        self._frames.clear()
        self._show_end(problem, stopped=job.cancel.cancelled)
        await self._show_free()

    def _take(self, told: list[Any]) -> None:
        totals, fresh = None, {}
        for one in told:
            if isinstance(one, RenderTotals):
                totals = one
                continue
            key, name, picture, depth = one
            pictures, depths = fresh[key] = self._frames.setdefault(key, ({}, {}))
            pictures[name] = picture
            if depth is not None:
                depths[name] = depth
            self._frames.move_to_end(key)
        for key, found in fresh.items():
            self.tab.take_frames(key, *found)
        self.tab.take_progress(totals)
        for key in [key for key in self._frames if self.tab.model.find(key).state == "done"]:
            del self._frames[key]
        while len(self._frames) > KEPT:
            self._frames.popitem(last=False)

    async def retry(self, keys: list[str]) -> None:
        """Render failed or cancelled models once more."""
        if self.job is not None:
            self.ask(lambda run: run.retry(keys))
        else:
            await self.render(keys)

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
            self._end_looks()
        if key in self._frames:
            self.tab.take_frames(key, *self._frames[key])
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
        if not await load_viewer(self.files, lambda: self._chosen(key)):
            return
        loading = lambda: details.show_mesh(key, None, "Loading the model…")  # noqa: E731
        preview = await self._preview(model.path, lambda: self._chosen(key), loading)
        if preview is not None:
            details.show_mesh(key, *await self.files.submit(_unit_mesh, preview))

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
        await self._open_outside(path)

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
        self._end_looks()
        self._look = CancelToken()
        return self._look

    def _end_looks(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None


# -- on the other threads ------------------------------------------------------------------------------------


def _unpacked(event: Progress) -> Any:
    """What the window takes of a run's event: totals, or model, view, picture and depth of a frame."""
    if isinstance(found := event.preview, FrameDone):
        # Unpacked here: the window's thread has other things to do.
        depth = QImage.fromData(found.depth) if found.depth is not None else None
        return found.key, found.name, QImage.fromData(found.picture), depth
    return found if isinstance(found, RenderTotals) else None


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
