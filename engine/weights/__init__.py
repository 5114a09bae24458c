"""Model weights: what each model is for, where its weights are, how they are got, checked and read.

`MODELS` lists every model. Its weights are looked for (`locate`), first to last: at a path from the settings, in the
folder that `ORIEL_WEIGHTS` names, in folders that were added, in the cache of the Hugging Face hub or rembg's folder,
in an installed package, among those built in. Nothing is downloaded but by `fetch`, which is called only when a user
asked for it. Weights trained by this project (`Weights`) are found by name too, and a path of a file works in place of
a name.

Importing this package starts neither torch nor the hub's library.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Literal

from engine.core.errors import WeightsError
from engine.core.progress import CancelToken, ProgressCallback, ignore_progress
from engine.weights import hub, releases
from engine.weights.checks import check_family, check_layout, check_sums
from engine.weights.files import (
    BUILT_IN_FOLDER,
    Weights,
    commit,
    load_into,
    read_card,
    read_checkpoint,
    read_header,
    readable,
    save,
    sha256,
)
from engine.weights.models import MODELS, Model, Source, model

__all__ = ["BUILT_IN_FOLDER", "CHECKPOINT_SUFFIXES", "MODELS", "Located", "Weights", "add_folder", "available", "check"]
__all__ += ["check_family", "commit", "fetch", "find", "folders", "load_into", "locate", "paths", "read_card"]
__all__ += ["read_checkpoint", "read_header", "readable", "remove", "require", "save", "set_paths", "sha256"]
__all__ += ["unfinished", "use"]

CHECKPOINT_SUFFIXES = (".safetensors", ".ckpt", ".pth", ".pt", ".bin", ".onnx")
_added: list[Path] = []
_paths: dict[str, Path] = {}


@dataclass(frozen=True)
class Located:
    """Where a model's weights were found."""

    model: Model
    path: Path
    """A file, or a folder where the layout is one."""
    source: Literal["settings", "environment", "hub cache", "package", "built in"]
    """The hub's cache stands for rembg's folder as well: what was fetched."""

    @property
    def size(self) -> int:
        """Bytes on disk."""
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return sum(file.stat().st_size for file in files if file.is_file())


def set_paths(paths: Mapping[str, str | Path]) -> None:
    """Take over the settings' paths of models, by key. Keys that no model has are ignored."""
    _paths.clear()
    for key, path in paths.items():
        if key in MODELS and isinstance(path, str | Path):
            _paths[key] = Path(path).expanduser()


def paths() -> dict[str, str]:
    """The paths of models as `set_paths` and `use` left them, for the settings to keep."""
    return {key: str(path) for key, path in _paths.items()}


def locate(key: str) -> Located | None:
    """Where the weights of a model are; None if they are nowhere. Reads no file and never uses the network.

    A path in the settings counts only while something is there.

    >>> locate("surface").source
    'built in'
    >>> locate("zero123-xl") is None  # until `oriel weights fetch zero123-xl`
    True
    """
    found = model(key)
    path = _paths.get(key)
    if path is not None and path.exists():
        return Located(found, path, "settings")
    named = _named_folder()
    for folder in folders():
        if folder != BUILT_IN_FOLDER and (path := _in_folder(found, folder)) is not None:
            return Located(found, path, "environment" if folder == named else "settings")
    for source in found.sources:
        if (cached := _cached(source)) is not None:
            return Located(found, cached, "hub cache")
    if (path := _in_package(found.package)) is not None:
        return Located(found, path, "package")
    path = BUILT_IN_FOLDER / f"{key}.safetensors"
    return Located(found, path, "built in") if path.is_file() else None


def _store(source: Source) -> ModuleType:
    """What fetches and keeps the files of a source: `releases`, which has the functions of `hub`, or `hub`."""
    return hub if source.release is None else releases


def _cached(source: Source) -> Path | None:
    """What to load of weights that were fetched, by this program or another."""
    folder = _store(source).cached(source.origin, source.names)
    return None if folder is None else source.weights_in(folder)


def _in_package(name: str) -> Path | None:
    """A file of an installed package, which is not imported."""
    package, _, inside = name.partition("/")
    spec = find_spec(package) if package else None
    places = (spec.submodule_search_locations or ()) if spec is not None else ()
    return next((path for place in places if (path := Path(place) / inside).is_file()), None)


def require(key: str) -> Path:
    """Path of a model's weights; WeightsError that says how to get them if they are nowhere."""
    found = locate(key)
    if found is not None:
        return found.path
    missing = f"The weights of {model(key).label} are not on this machine"
    if key in _paths:
        missing += f", and nothing is at {_paths[key]}, where the settings say they are"
    raise WeightsError(f"{missing}. {_advice(key)}")


def _advice(key: str) -> str:
    """How to get a model's weights."""
    have = f"point to a copy that you have with `oriel weights use {key} PATH`"
    if not MODELS[key].origin:
        return f"Put {key}.safetensors into {BUILT_IN_FOLDER}, or {have}."
    return f"Fetch them with `oriel weights fetch {key}` or in the window's Models page, or {have}."


def _in_folder(found: Model, folder: Path, only: bool = False) -> Path | None:
    """A model's weights in a user's folder: by the key, by the published file's name, or as the repository has it.

    `only`: the folder is meant for this model alone, so that names count that many models use.
    """
    candidates = [folder / f"{found.key}{suffix}" for suffix in CHECKPOINT_SUFFIXES]
    for source in found.sources:
        clone = folder / source.origin.rpartition("/")[2]
        if source.layout.folder:
            if all((clone / name).is_file() for name in source.names):
                return clone
            continue
        name = source.names[0]
        candidates.append(clone / name)
        if only or source.telling:
            candidates += [folder / Path(name).name, folder / name]
    if (path := next(filter(Path.is_file, candidates), None)) is not None:
        return path
    own = folder / found.key
    return (_in_folder(found, own, True) or own) if own.is_dir() else None


def add_folder(folder: Path) -> None:
    """Look for weights in `folder` too, before the built-in ones."""
    if folder not in _added:
        _added.insert(0, folder)


def folders() -> list[Path]:
    """Where weights are looked for, first to last."""
    named = _named_folder()
    return [*([named] if named else []), *_added, BUILT_IN_FOLDER]


def _named_folder() -> Path | None:
    named = os.environ.get("ORIEL_WEIGHTS")
    return Path(named).expanduser() if named else None


def available() -> list[Weights]:
    """All weights that can be found by name."""
    found: dict[str, Weights] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.safetensors")):
            if path.stem not in found:
                found[path.stem] = Weights(path.stem, path, read_card(path))
    return list(found.values())


def find(name: str | Path) -> Weights:
    """Weights by name, or by the path of their file; WeightsError if there are none."""
    path = Path(name)
    if path.suffix:
        if not path.is_file():
            raise WeightsError(f"There are no weights at {path}. Check the path.")
        return Weights(path.stem, path, read_card(path))
    chosen = _paths.get(str(name))
    for path in [*([chosen] if chosen else []), *(folder / f"{name}.safetensors" for folder in folders())]:
        if path.is_file():
            return Weights(str(name), path, read_card(path))
    places = ", ".join(str(f) for f in folders())
    raise WeightsError(f"There are no weights named {name!r}. Put {name}.safetensors into one of: {places}.")


def check(
    key: str, progress: ProgressCallback | None = None, cancel: CancelToken | None = None, *, quick: bool = False
) -> list[str]:
    """What is wrong with a model's weights, in sentences; empty if nothing is.

    Says damage, another model's weights, code. `quick` reads only the lists of contents; else all of every file is
    compared with the published checksum, the one in the hub's cache, or the file's own, and `Progress` in bytes is
    reported. WeightsError if the weights are nowhere; `Cancelled`.
    """
    path = require(key)
    try:
        check_layout(MODELS[key], path)
        if not quick:
            check_sums(MODELS[key], path, progress or ignore_progress, cancel or CancelToken())
    except WeightsError as error:
        return [str(error)]
    return []


def use(key: str, path: str | Path) -> Located:
    """Take a model's weights from a file or folder of the user from now on; `paths` gives what to keep.

    For a folder with the published file in it that file is taken, for a file inside a published folder the folder.
    WeightsError if nothing is there, if it is damaged, or of another model.
    """
    found = model(key)
    path = Path(path).expanduser().absolute()
    if not path.exists():
        raise WeightsError(f"There is nothing at {path}. Check the path.")
    described = {"config.json", "model_index.json"}
    if path.is_dir() and not any((path / name).is_file() for name in described):
        path = _in_folder(found, path, True) or path
    elif path.is_file() and path.name in described | {"model.safetensors"}:
        path = path.parent
    check_layout(found, path)
    _paths[key] = path
    return Located(found, path, "settings")


def fetch(key: str, progress: ProgressCallback | None = None, cancel: CancelToken | None = None) -> Path:
    """Download a model's weights into the hub's cache or rembg's folder, where `locate` finds them; returns their path.

    Called only when a user asked for it; see `hub.download` for what it honours, reports and raises.
    """
    found = model(key)
    if not found.sources:
        raise WeightsError(f"The weights of {found.label} come with the program and cannot be fetched. {_advice(key)}")
    source = found.sources[0]
    checksums = {file.name: file.checksum for file in source.files}
    if source.release is not None:
        folder = releases.download(source.origin, source.release, checksums, progress, cancel)
    else:
        folder = hub.download(source.origin, checksums, progress, cancel)
    return source.weights_in(folder)


def unfinished(key: str) -> int:
    """Bytes received by a fetch that was cancelled or broke, from which the next one goes on."""
    return sum(_store(source).unfinished(source.origin, source.names) for source in model(key).sources[:1])


def remove(key: str) -> int:
    """Forget the settings' path of a model, or else delete its weights from the hub's cache; returns the bytes freed.

    A user's own file stays where it is, as do built-in weights and those in `ORIEL_WEIGHTS`: WeightsError.
    """
    found = model(key)
    if _paths.pop(key, None) is not None:
        return 0
    located = locate(key)
    if located is not None and located.source != "hub cache":
        raise WeightsError(f"The weights of {found.label} are at {located.path}. Delete them there if you want to.")
    if located is None and not unfinished(key):
        raise WeightsError(f"There are no weights of {found.label} on this machine.")
    first = found.sources[0]
    freed = _store(first).remove(first.origin, first.names) if unfinished(key) else 0
    cached = next((source for source in found.sources if _cached(source) is not None), None)
    if cached is not None:
        freed += _store(cached).remove(cached.origin, None if cached.layout.folder else cached.names)
    return freed
