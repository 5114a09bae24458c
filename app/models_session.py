"""What goes on between the Models page and the models on this machine: looked for, fetched, checked, used, removed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices

from app.engine_thread import EngineThread, ProgressFunnel
from app.settings import Settings
from app.tasks import Tasks
from engine.core.errors import Cancelled, OrielError
from engine.core.progress import CancelToken, Progress
from widgets.models import ModelEntry, ModelsPage, bytes_text
from widgets.reconstruct.request import Choice
from widgets.reconstruct.tab import ReconstructTab

T = TypeVar("T")

SLOW = "Without a GPU that torch can use, the views take many minutes; the run tells how many."
"""What is said of a diffusion model without a GPU."""


class ModelsSession:
    """Everything that the Models page needs besides itself. Models are offered in `tab` as well.

    Runs on the Qt thread and waits for two others: `files`, which looks, and its own, which fetches and checks, one
    model at a time.
    """

    def __init__(self, page: ModelsPage, tab: ReconstructTab, settings: Settings, files: EngineThread) -> None:
        self.page, self.tab, self.settings, self.files = page, tab, settings, files
        self.fetcher = EngineThread("oriel-models")
        self.tasks = Tasks(tab.show_error)
        self.has_gpu = True
        """Whether torch can use one; until torch is there to tell, it is taken for granted."""
        self._work: dict[str, CancelToken] = {}
        self._damaged: set[str] = set()
        page.fetch_requested.connect(self.tasks.then(self.fetch))
        page.cancel_requested.connect(lambda key: self._work[key].cancel())
        page.use_requested.connect(self.tasks.then(self.use_path))
        page.check_requested.connect(self.tasks.then(self.check))
        page.remove_requested.connect(self.tasks.then(self.remove))
        page.folder_requested.connect(_show_place)

    async def close(self) -> None:
        """Cancel what is being fetched, and wait for it."""
        self.tasks.closing = True
        for token in self._work.values():
            token.cancel()
        await self.tasks.finish()
        await self.fetcher.close()

    @property
    def alive(self) -> bool:
        """Whether its thread still runs."""
        return self.fetcher.alive

    async def refresh(self) -> None:
        """Show which models are on this machine, and offer them for the next run."""
        if self.tasks.closing:
            return
        found = await self.files.submit(_models, frozenset(self._damaged))
        self.page.set_entries(found.entries)
        self.page.set_places(found.places)
        self.tab.input.set_choices(found.choices, found.preferred, "" if self.has_gpu else SLOW)

    async def fetch(self, key: str) -> None:
        """Fetch a model from the hub and check it."""
        from engine import weights

        if await self._work_on(key, "Fetching", weights.fetch) is not None:
            self.page.show_note(key, "Fetched.")

    async def check(self, key: str) -> None:
        """Compare a model's files with what they should be."""
        from engine import weights

        problems = await self._work_on(key, "Checking", weights.check)
        if problems:
            self._damaged.add(key)
            self.page.show_note(key, "\n".join(problems), "error")
            await self.refresh()
        elif problems is not None:
            self.page.show_note(key, "It is whole, and of the right kind.")

    async def use_path(self, key: str, path: Path) -> None:
        """Take a file or a folder of the user's for a model from now on."""
        from engine import weights

        def use(key: str, progress: Callable[[Progress], None], cancel: CancelToken) -> weights.Located:
            return weights.use(key, path)

        if await self._work_on(key, "Looking at it", use) is not None:
            await self._save_model_paths()
            self.page.show_note(key, "It is of the right kind, and used from now on.")

    async def remove(self, key: str) -> None:
        """Forget the user's file for a model, or delete what was fetched."""
        from engine import weights

        try:
            freed = await self.files.submit(weights.remove, key)
        except OrielError as error:
            self.page.show_note(key, str(error), "error")
        else:
            text = (
                f"Removed; {bytes_text(freed)} are free again." if freed else "Forgotten; the file stays where it is."
            )
            self.page.show_note(key, text)
        self._damaged.discard(key)
        await self._save_model_paths()
        await self.refresh()

    async def _work_on(self, key: str, words: str, work: Callable[..., T]) -> T | None:
        """Do something that takes its time to a model, and show it; what it returned, None if it did not go well.

        `work` is called with the key, `progress` and `cancel`.
        """
        if key in self._work or self.tasks.closing:
            return None
        page, token = self.page, CancelToken()
        page.set_work(key, "Waiting" if self._work else words)
        self._work[key] = token
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
                await self.refresh()  # first, so that the new state and what is said of it come in one step
            finally:
                del self._work[key]
                page.set_work(key, None)
                if note is not None:
                    page.show_note(key, *note)
        return None

    async def _save_model_paths(self) -> None:
        try:
            await self.files.submit(self.settings.keep_weights)
        except OrielError as error:
            self.tab.show_error(str(error))


# -- on the other threads ------------------------------------------------------------------------------------


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


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _show_place(path: Path) -> None:
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(path if path.is_dir() else path.parent)))
