"""What goes on between the Fine-tune tab and the engine: data, runs, meshes, and weights that are taken into use."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.engine_thread import load_viewer
from app.history import free_folder
from app.job_session import POLL, Job, JobSession
from app.settings import Settings
from engine.core.errors import InputError, OrielError
from engine.core.progress import Progress
from engine.training import FineTuneOptions, RunState, read_log, read_run
from engine.training.records import at_work, kept_figures, kept_mesh, read_state
from widgets.finetune import FineTuneTab, Holding, Look, Opened
from widgets.finetune.words import FIGURES, figure
from widgets.kit.words import count

if TYPE_CHECKING:
    from engine.meshes.mesh import Mesh
    from engine.training.data import Renders
    from engine.training.finetune import FineTune

KEPT = 64
"""Meshes of a run that are kept to be looked at again; the newest of each model is on the disk too."""
TRUE_KEPT = 16

Event = tuple[float, Progress]
"""The moment that it came at, in seconds, and what it says."""


class FineTuneSession(JobSession[FineTuneTab, "FineTune"]):
    """Everything that the Fine-tune tab needs besides itself."""

    WORK = "training"

    def __init__(self, tab: FineTuneTab, settings: Settings) -> None:
        super().__init__(tab, settings, "finetune")
        self._meshes: OrderedDict[str, Mesh] = OrderedDict()
        self._true: OrderedDict[str, tuple[Mesh | None, str]] = OrderedDict()
        self._renders: dict[Path, Renders] = {}
        """Those that true shapes are taken from: to look at all of their files anew for each would be slow."""
        self._needs: tuple[bool, ...] = ()
        tab.setup.source.chosen.connect(self.tasks.then(self.choose_source))
        tab.setup.folder.chosen.connect(self.tasks.then(self.choose_folder))
        tab.new_requested.connect(self.tasks.then(self.new_folder))
        tab.start_requested.connect(self.tasks.then(self.train))
        tab.pause_requested.connect(lambda: self.ask(lambda run: run.pause(), "paused"))
        tab.resume_requested.connect(lambda: self.ask(lambda run: run.resume(), "running"))
        tab.use_requested.connect(self.tasks.then(self.use_weights))
        tab.look_wanted.connect(self.tasks.then(self.show_look))
        tab.folder_requested.connect(self.tasks.then(self.show_folder))
        tab.setup.changed.connect(self._needs_changed)

    # -- life --------------------------------------------------------------------------------------------

    def _recall(self) -> None:
        with contextlib.suppress(OrielError, TypeError, AttributeError, ValueError):
            self.tab.setup.form.set_values(FineTuneOptions.from_dict(self.kept.get("options") or {}))
        used = self.settings.models.get("surface")
        if isinstance(used, str) and Path(used).is_file() and (choices := self._choices()) is not None:
            choices.choose(surface=used)

    def _places(self) -> dict[str, Any]:
        return {"source": self.tab.setup.source_path, "folder": self.tab.setup.folder_path}

    def _options(self) -> dict[str, Any]:
        try:
            return {"options": self.tab.setup.form.values().to_dict()}
        except InputError:
            return {"options": self.kept.get("options")}

    def _look_around(self) -> None:
        self.tasks.spawn(self._offer())

    async def _offer(self) -> None:
        """Offer what the Render tab has rendered last, and what there is to start from."""
        rendered, published, generators, missing = await self.files.submit(_offers, self.settings.render.get("folder"))
        self.tab.setup.offer(rendered)
        if self.job is None:
            self.tab.setup.form.set_choices(published, generators, missing)

    # -- data and folder ---------------------------------------------------------------------------------

    async def choose_source(self, source: Path | None) -> None:
        """Take other rendered models; a folder for the run is suggested, unless there is a free one."""
        folder = self.tab.setup.folder_path
        if source is not None:
            folder = await self.files.submit(_folder_for, source, folder)
        await self._open(source, folder)

    async def choose_folder(self, folder: Path | None) -> None:
        """Take another folder; the models of the run in it, if there is one."""
        source = self.tab.setup.source_path
        if folder is not None:
            source = await self.files.submit(_source_of, folder) or source
        await self._open(source, folder)

    async def new_folder(self) -> None:
        """Take a folder that is still free, with the models and options as they are."""
        source, before = self.tab.setup.source_path, self.tab.setup.folder_path
        if source is not None and self.job is None:
            folder = await self.files.submit(free_folder, before or suggested_folder(source))
            await self._open(source, folder)

    async def _open(self, source: Path | None, folder: Path | None) -> None:
        options = self._values()
        if (opened := await self._read(_open, source, folder, options)) is None:
            return
        self._meshes.clear()
        self._true.clear()
        self._renders = {}
        self._needs = _needs(opened.options or options)
        self.tab.show_opened(opened)
        self._remember()
        self.tasks.spawn(self._show_free())

    def _values(self) -> FineTuneOptions:
        """The options, or the usual ones while those in the form do not go together."""
        try:
            return self.tab.setup.form.values()
        except InputError:
            return FineTuneOptions()

    def _needs_changed(self) -> None:
        # Which files must be there depends on the options.
        if self.job is None and self.tab.setup.source_path is not None and _needs(self._values()) != self._needs:
            self._needs = _needs(self._values())
            self.tasks.spawn(self._look_again())

    async def _look_again(self) -> None:
        source, needs = self.tab.setup.source_path, self._needs
        if source is not None:
            found = await self.files.submit(_holding, source, self._values())
            if source == self.tab.setup.source_path and needs == self._needs:
                self.tab.show_holding(found)

    async def show_folder(self) -> None:
        """Open the folder of the run."""
        await self._open_outside(self.tab.setup.folder_path)

    # -- the run -----------------------------------------------------------------------------------------

    async def train(self) -> None:
        """Train, or go on with the run in the folder."""
        setup = self.tab.setup
        source, folder = setup.source_path, setup.folder_path
        if self.job is not None or self.tasks.closing or source is None or folder is None:
            return
        options = setup.form.values()
        resume = self.tab.run.resumable

        def make() -> FineTune:
            _do_without_triton()
            from engine.training.finetune import FineTune

            return FineTune(source, folder, options, resume=resume)

        self.job = job = Job(make, lambda event: (time.monotonic(), event))
        if not resume:
            self._meshes.clear()
        self.tab.begin(await self.files.submit(_validate_every, self.tab.holding, options))
        problem, cancelled = await self._watch(job, self._take)
        run = await self.files.submit(read_state, folder)
        stopped, self.job = job.cancel.cancelled, None
        self.tab.set_run(run)
        self._show_end(run, problem, stopped=stopped, never=cancelled)
        await self._show_free()

    def _take(self, events: list[Event]) -> None:
        for _, event in events:
            row = event.preview if isinstance(event.preview, dict) else {}
            if event.stage == "validate" and row.get("mesh") is not None:
                self._meshes[f"{row['key']}@{row['step']}"] = row["mesh"]
                if len(self._meshes) > KEPT:
                    self._meshes.popitem(last=False)
        before = self.tab.record.best_step
        self.tab.take_events(events)
        if self.tab.record.best_step != before and self.job is not None:
            self.tasks.spawn(self._show_weights())

    async def _show_weights(self) -> None:
        """The best weights are written after a validation: offer them."""
        folder = self.tab.setup.folder_path
        if folder is not None:
            await asyncio.sleep(POLL)
            self.tab.show_weights((await self.files.submit(read_state, folder)).weights)

    def _show_end(self, run: RunState, problem: str, *, stopped: bool, never: bool) -> None:
        tab = self.tab
        use = {"Use for reconstruction": tab.use_weights} if run.weights is not None else {}
        if problem:
            other = {"New run": tab.new_run} if "another folder" in problem else {"Go on": tab.request_start}
            tab.end(problem, "error", other if "another folder" in problem or run.resumable else {})
        elif never:
            again = "Go on continues from here" if run.resumable else "Start begins anew"
            tab.end(f"Stopped before the first step: there are no weights yet. {again}.", "info")
        elif stopped:
            kept = "the best so far" if tab.record.best_step is not None else "as they are now"
            where = f" of {run.steps:,}" if run.steps else ""
            text = f"Stopped at step {run.step:,}{where}. The weights are kept, {kept}; Go on continues from here."
            tab.end(text, "info", use)
        else:
            tab.end(f"Finished: {count(run.step, 'step')}.{_gain(tab)}", "info", use)

    # -- the weights -------------------------------------------------------------------------------------

    async def use_weights(self) -> None:
        """Have reconstructions build their surfaces with the weights of this run."""
        path = self.tab.run.weights
        if path is None or self.tasks.closing:
            return
        try:
            await self.files.submit(_check_weights, path)
        except OrielError as error:
            self.tab.say(str(error))
            return
        choices = self._choices()
        if choices is None:
            return
        before = choices.value("surface")
        choices.choose(surface=str(path))
        self._remember_surface(str(path))

        def back() -> None:
            choices.choose(surface=before)
            self._remember_surface(before)

        window: Any = self.tab.window()
        actions = {"Go to Reconstruct": lambda: window.show_tab(0)}
        if before != str(path):
            actions["Take it back"] = back
        self.tab.say(f"Reconstructions now use the weights of {path.parent.name}.", "info", actions)

    def _remember_surface(self, surface: Any) -> None:
        self.settings.models = {**self.settings.models, "surface": surface}

    def _choices(self) -> Any:
        """The models of the next reconstruction; None in a window without that tab."""
        reconstruct = getattr(self.tab.window(), "reconstruct", None)
        return None if reconstruct is None else reconstruct.input.models

    # -- meshes ------------------------------------------------------------------------------------------

    async def show_look(self, look: Look) -> None:
        """Show the mesh of a look at a validation model, beside the true shape."""
        details = self.tab.details

        def chosen() -> bool:
            return not self.tasks.closing and details.look is not None and details.look.key == look.key

        if not await load_viewer(self.files, chosen):
            return
        details.prepare_viewports()
        mesh, folder = self._meshes.get(look.key), self.tab.setup.folder_path
        if mesh is None and look.state != "empty" and folder is not None:
            mesh = await self.files.submit(kept_mesh, folder, look.model, look.step)
        if not chosen():
            return
        gone = f"The mesh of step {look.step:,} is not kept any more: the newest of each model is."
        details.show_meshes(look.key, mesh, look.message or gone)
        source = self.tab.setup.source_path
        if source is None:
            return
        found = self._true.get(look.model)
        if found is None:
            found = await self.files.submit(_true_mesh, self._renders, source, look.model)
            self._true[look.model] = found
            if len(self._true) > TRUE_KEPT:
                self._true.popitem(last=False)
        if chosen():
            details.show_true(look.model, *found)


def _gain(tab: FineTuneTab) -> str:
    """What the training has brought, by the first figure that there is."""
    record = tab.record
    best, start = record.best_step, record.figures(0.0)
    if best is None:
        return ""
    found = record.figures(best)
    name = next((name for name in FIGURES if name in found), "")
    if not name:
        return ""
    text = f" {FIGURES[name]} {figure(name, found[name])} at step {best:,.0f}"
    return f"{text}, {figure(name, start[name])} before it." if name in start else f"{text}."


# -- on the other threads ------------------------------------------------------------------------------------


def suggested_folder(source: Path) -> Path:
    """Where a run on these models goes unless the user says otherwise."""
    return source.with_name(f"{source.name}-finetune")


def _offers(rendered: str | None) -> tuple[Path | None, bool, dict[str, str], tuple[str, ...]]:
    from engine import choices
    from engine.training.data import POSES

    there = rendered is not None and Path(rendered, POSES).is_file()
    generators = choices.names("generator")
    missing = tuple(name for name in generators if not choices.present("generator", name))
    return Path(rendered) if there and rendered else None, choices.present("surface", "one-2-3-45"), generators, missing


def _folder_for(source: Path, before: Path | None) -> Path:
    """A folder for a run on these models: the one that is set, unless it is another's."""
    if before is not None and ((run := read_run(before)) is None or Path(run.get("data", "")) == source.absolute()):
        return before
    return suggested_folder(source)


def _source_of(folder: Path) -> Path | None:
    """The models that the run in a folder is about."""
    run = read_run(folder)
    return Path(run["data"]) if run is not None and isinstance(run.get("data"), str) else None


def _needs(options: FineTuneOptions) -> tuple[bool, ...]:
    """Which pictures the options need: neighbours, depth."""
    return options.predicted_share < 1, options.depth > 0


def _open(source: Path | None, folder: Path | None, options: FineTuneOptions) -> Opened:
    known, problem = None, ""
    record = read_run(folder) if folder is not None else None
    if folder is None or record is None:
        holding = _holding(source, options) if source is not None else None
        return Opened(source, folder, holding)
    try:
        known = FineTuneOptions.from_dict(record.get("options") or {})
    except (OrielError, TypeError, ValueError) as error:
        problem = f"The options of the run in {folder} cannot be read: {error} Take another folder for a new run."
    source = source or _source_of(folder)
    holding = _holding(source, known or options) if source is not None else None
    looks = _kept_looks(folder, record)
    return Opened(source, folder, holding, read_state(folder), known, read_log(folder), looks, at_work(folder), problem)


def _renders(source: Path, options: FineTuneOptions) -> Renders:
    from engine.training.data import Renders

    neighbours, depth = _needs(options)
    return Renders.open(source, neighbours=neighbours, depth=depth, skip_faulty=True, seed=options.seed)


def _holding(source: Path, options: FineTuneOptions) -> Holding:
    try:
        found = _renders(source, options)
    except (OrielError, OSError) as error:
        return Holding(error=str(error))
    model = found.train[0]
    depth = (model.folder / "view_0_depth_mm.png").exists()
    return Holding(len(found.train), len(found.validation), found.size, depth, found.problems)


def _validate_every(holding: Holding, options: FineTuneOptions) -> int:
    """Steps between validations of a run that is to begin; 0 for none."""
    from engine.training.data import PRINCIPAL

    return options.plan(holding.train * len(PRINCIPAL))[1] if options.validate_models and holding.validation else 0


def _kept_looks(folder: Path, record: dict[str, Any]) -> list[Look]:
    """The newest look at each validation model."""
    kept = ((str(model), kept_figures(folder, str(model))) for model in record.get("validation") or [])
    return [Look(model, *found) for model, found in kept if found is not None]


def _true_mesh(known: dict[Path, Renders], source: Path, model: str) -> tuple[Mesh | None, str]:
    """The true shape of a rendered model; None with the reason if there is none."""
    try:
        renders = known.get(source) or _renders(source, FineTuneOptions())
        known[source] = renders
        found = next((m for m in (*renders.train, *renders.validation) if m.key == model), None)
        mesh = renders.true_surface(found) if found is not None else None
    except (OrielError, OSError) as error:
        return None, str(error)
    if found is None:
        return None, f"{model} is not among the rendered models any more."
    return mesh, "" if mesh is not None else "There are no depth maps of this model that would tell its true shape."


def _do_without_triton() -> None:
    """Have torch find no Triton: optimisers load it without need, and its LLVM, loaded after that of software OpenGL,
    crashes the process. Nothing is compiled in the window."""
    sys.modules.setdefault("triton", None)  # type: ignore[arg-type]


def _check_weights(path: Path) -> None:
    """Raises `WeightsError` unless the file and its card are there."""
    from engine import weights

    if "model" not in weights.find(path).card:
        raise InputError(f"{path} has no card beside it that says what it is. Go on with the run to write it anew.")
    weights.read_header(path)
