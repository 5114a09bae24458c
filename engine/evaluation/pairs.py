"""Which prediction belongs to which model: files and run folders, matched by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.core.errors import InputError
from engine.core.files import read_object
from engine.meshes.loading import FORMATS

CASES = "cases.json"
"""File beside the models with what is known of their input pictures."""
_PICTURES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class Case:
    """What is known of a model's input picture."""

    elevation: float | None = None
    """True elevation of its camera in degrees."""
    picture: Path | None = None


@dataclass(frozen=True)
class Model:
    """A true model."""

    name: str
    """Its path in the folder of models, without its suffix."""
    path: Path
    case: Case = field(default_factory=Case)


@dataclass(frozen=True)
class Prediction:
    """What was predicted for a model."""

    label: str
    """The set of predictions it belongs to."""
    name: str
    """The model's."""
    path: Path
    """A mesh file, or a folder of `oriel reconstruct`."""


@dataclass
class Pairs:
    """What is to be measured."""

    models: list[Model]
    labels: list[str]
    """The sets of predictions, as they were given."""
    predictions: dict[tuple[str, str], Prediction]
    """By label and model's name; those that are missing are not in it."""
    notes: list[str]
    """What was found and is left out: whole sentences."""


def find_pairs(models: Path, predictions: Sequence[Path]) -> Pairs:
    """Match models and predictions by name; `InputError` where a folder is missing or holds nothing.

    `models` holds model files, at any depth; beside them may lie `cases.json`: by model's name an object with
    `elevation` (degrees) and `picture` (path from there), both optional. A folder of predictions holds meshes of the
    models' names, folders of such a name with one mesh in it, or run folders of `oriel reconstruct`, whose folder or
    picture has the model's name.
    """
    if not predictions:
        raise InputError("No predictions were given. Name at least one folder of predicted meshes.")
    for folder in (models, *predictions):
        if not folder.is_dir():
            raise InputError(f"There is no folder {folder}. Check the path.")
    notes: list[str] = []
    cases = _read_cases(models)
    found: dict[str, Model] = {}
    for path in _meshes(models):
        name = _name(path, models)
        if name in found:
            notes.append(f"There are two models {name}; {path.name} is left out.")
            continue
        found[name] = Model(name, path, _case(cases.get(name), path, models))
    if not found:
        raise InputError(f"{models} holds no models ({', '.join(FORMATS)}). Name the folder of true models.")
    labels = _labels(predictions)
    matched: dict[tuple[str, str], Prediction] = {}
    for label, folder in zip(labels, predictions, strict=True):
        candidates = _candidates(folder)
        others = [names[0] for names, _ in candidates if not set(names) & set(found)]
        # One of the very name goes before one whose folder or picture has it.
        for names, path in sorted(candidates, key=lambda entry: entry[0][0] not in found):
            for name in names:
                if name in found:
                    matched.setdefault((label, name), Prediction(label, name, path))
                    break
        if others:
            more = f" and {len(others) - 5} more" if len(others) > 5 else ""
            notes.append(f"{label} holds predictions of no model: {', '.join(others[:5])}{more}.")
    if not matched:
        raise InputError(
            "None of the predictions has the name of a model. A prediction is NAME.glb (or another mesh file), or a "
            f"run folder NAME, for the model NAME.*, as {next(iter(found))}."
        )
    return Pairs(list(found.values()), labels, matched, notes)


def _meshes(folder: Path) -> list[Path]:
    """Mesh files at any depth, none of hidden folders; of one name the first of `FORMATS` first."""
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in FORMATS
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    return sorted(found, key=lambda p: (p.with_suffix("").as_posix(), FORMATS.index(p.suffix.lower())))


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _candidates(folder: Path) -> list[tuple[list[str], Path]]:
    """What may be a prediction, with the names it may go by, the most telling first."""
    runs = sorted(path.parent for path in folder.rglob("run.json") if not path.parent.name.startswith("."))
    found: list[tuple[list[str], Path]] = []
    for run in runs:
        names = [run.relative_to(folder).as_posix()]
        names.append(str((read_object(run / "run.json") or {}).get("name")))
        found.append((names, run))
    inside = set(runs)
    for path in _meshes(folder):
        if inside.isdisjoint(path.parents):
            names = [_name(path, folder)]
            if path.parent != folder:
                names.append(path.parent.relative_to(folder).as_posix())
            found.append((names, path))
    return found


def _labels(folders: Sequence[Path]) -> list[str]:
    """The folders' names, with as much of the path as tells them apart."""
    resolved = [folder.resolve() for folder in folders]
    if len(set(resolved)) < len(resolved):
        raise InputError("A folder of predictions was given twice. Name each once.")
    for depth in range(1, 51):
        labels = ["/".join(folder.parts[-depth:]).lstrip("/") for folder in resolved]
        if len(set(labels)) == len(labels):
            break
    return labels


def _read_cases(models: Path) -> dict[str, Any]:
    path = models / CASES
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text())
        if not isinstance(found, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}). It is to be one JSON object by model's name.") from error
    return found


def _case(entry: Any, path: Path, models: Path) -> Case:
    entry = {} if entry is None else entry
    elevation = entry.get("elevation") if isinstance(entry, dict) else None
    picture = entry.get("picture") if isinstance(entry, dict) else None
    if (
        not isinstance(entry, dict)
        or not (elevation is None or (isinstance(elevation, int | float) and not isinstance(elevation, bool)))
        or not (picture is None or isinstance(picture, str))
    ):
        raise InputError(
            f"{models / CASES} says {entry!r} of {path.stem}. It is to be an object with `elevation`, a number of "
            "degrees, and `picture`, a path."
        )
    beside = next((p for suffix in _PICTURES if (p := path.with_suffix(suffix)).is_file()), None)
    return Case(elevation, models / picture if picture else beside)
