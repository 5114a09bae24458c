"""Rendered models on disk, in the training layout that One-2-3-45 has published.

    OUT/
      zero12345_narrow/models/<key>/   one finished model, put there whole
        view_{i}.png                   principal view i = 0..7: RGBA, 8 bit, straight alpha
        view_{i}_{j}_10.png            its neighbour j = 0..3, 10 degrees away
        view_{i}_depth_mm.png          its depth, 16 bit: millimetres along the viewing axis (1 world unit is 1 m); 0
                                       where nothing is
        view_{i}_depth.png             the same for the eye, 8 bit: near is bright, black where nothing is
        metadata.json                  what was rendered, how, and every file with its size
      One2345_training_pose.json       `intrinsics`, `near_far` and `c2ws` (OpenGL axes): the 8 principal views, then
                                       their 32 neighbours
      lvis_split_cc_by.json            `train` and `val`: {"folder_id", "uid"} of each model
      render.json                      the settings; one folder holds models of one kind of settings
      .work/                           what is being made; nothing in it is worth keeping

The published loader takes the pictures at the size that the intrinsics are for, and finds views by their order in
the pose file.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import secrets
import shutil
import struct
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine import cameras
from engine.cameras import FloatArray
from engine.core.errors import EmptyResultError, InputError, OrielError
from engine.core.files import read_object, sync, write_whole, writing
from engine.meshes.companions import companions
from engine.rendering.jobs import ModelFile, RenderSettings, frames

if TYPE_CHECKING:
    from engine.rendering.blender import Rendered
    from engine.screening.items import Item

MODEL_SUFFIXES = (".glb", ".gltf", ".obj", ".fbx", ".ply", ".stl", ".usd", ".usda", ".usdc", ".usdz")
"""Names of files that can be rendered."""
FOLDER = "models"
"""`folder_id` of all models in the published layout."""
VALIDATION = 50
"""Models held out for validation; of fewer than ten times as many models, a tenth."""
METADATA, SETTINGS = "metadata.json", "render.json"
POSES, SPLIT = "One2345_training_pose.json", "lvis_split_cc_by.json"

_DATA, _WORK = "zero12345_narrow", ".work"
_REACH = 3**0.5 / 2
"""How far a model reaches from its centre at most: its longest side is 1."""
_MOST_MM = 65535
_UNSEEN = ("device", "frame_seconds", "model_seconds")
"""Settings that the pictures do not show."""
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_RGBA, _GREY = (8, 6), (8, 0)
_GREY_16 = (16, 0)
_BRIGHTEST, _DARKEST = 255, 40
_PNG = b"\x89PNG\r\n\x1a\n"
Stamp = list[list[Any]]
"""[name, size, time of change in ns] of a model and of each file beside it that it uses."""


# -- where things are ----------------------------------------------------------------------------------------


def folder_of(out: Path, key: str) -> Path:
    """The folder of a model in an output folder."""
    if not is_key(key):
        raise InputError(f"{key!r} is not the key of a model. Keys are the names of the folders in {out / _DATA}.")
    return out / _DATA / FOLDER / key


def is_key(text: str) -> bool:
    """Whether a text may be a model's key: safe as the name of a folder on every system."""
    return bool(_KEY.fullmatch(text)) and not text.endswith(".") and not _RESERVED.fullmatch(text)


def new_work(out: Path, key: str) -> Path:
    """A fresh empty folder to make a model in; `place` takes it away, or `sweep`."""
    path = _work_path(out, key)
    with writing(path):
        path.mkdir(parents=True)
    return path


def _work_path(out: Path, key: str) -> Path:
    return out / _WORK / f"{folder_of(out, key).name}.{secrets.token_hex(4)}"


def sweep(out: Path) -> None:
    """Remove what earlier runs have left unfinished; only while no run works in the folder."""
    shutil.rmtree(out / _WORK, ignore_errors=True)


def settings_for(out: Path | None, changes: dict[str, Any]) -> RenderSettings:
    """The settings of an output folder that has some, else the usual ones, with changes by name.

    Raises InputError for a value that cannot be.
    """
    known = (read_object(out / SETTINGS) or {}).get("settings") if out is not None else None
    return RenderSettings.from_dict((known if isinstance(known, dict) else {}) | changes)


def prepare(out: Path, settings: RenderSettings, source: Path | None) -> None:
    """Make an output folder with its settings and its pose file, or make sure that it is one for these settings.

    Raises InputError if it holds models of other settings, OutputError if it cannot be written.
    """
    known = (read_object(out / SETTINGS) or {}).get("settings")
    if isinstance(known, dict):
        wanted = asdict(settings)
        changes = [
            f"{name} is {known.get(name)} there and {value} here"
            for name, value in wanted.items()
            if name not in _UNSEEN and known.get(name) != value
        ]
        if changes:
            raise InputError(
                f"{out} holds models of other settings: {'; '.join(changes)}. Render with the settings there, or into "
                "another folder."
            )
    with writing(out):
        (out / _DATA / FOLDER).mkdir(parents=True, exist_ok=True)
    record = {
        "settings": asdict(settings),
        "source": None if source is None else str(source.absolute()),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_whole(out / SETTINGS, json.dumps(record, indent=1).encode())
    poses = cameras.pose_file(settings.elevation, radius=settings.radius, k=settings.intrinsics, reach=_REACH)
    write_whole(out / POSES, json.dumps(poses, indent=1).encode())


# -- what a model is -----------------------------------------------------------------------------------------


def settings_digest(settings: RenderSettings) -> str:
    """What tells settings from others whose pictures would look different: not the device, nor limits of time."""
    shown = {name: value for name, value in asdict(settings).items() if name not in _UNSEEN}
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()


_digests: dict[tuple[str, str], str] = {}
"""SHA-256 by path and stamp."""


def sha256_of(path: Path) -> str:
    """SHA-256 of a model's content as hex digits: of its file and, if it uses any, of those beside it."""
    stamp = _stamp(path)
    known = _digests.get((str(path), repr(stamp)))
    if known is not None:
        return known
    beside = companions(path)
    found = _hash(path)
    if beside:
        whole = hashlib.sha256(found.encode())
        for name, companion in sorted(beside.items()):
            content = _hash(companion) if companion.is_file() else "missing"
            whole.update(f"\n{name}\0{content}".encode("utf-8", "surrogateescape"))
        found = whole.hexdigest()
    if _stamp(path) == stamp:  # else it is being written
        _digests[str(path), repr(stamp)] = found
    return found


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}. Check that it is there.") from error


def _stamp(path: Path) -> Stamp:
    found: Stamp = []
    for name, file in [("", path), *sorted(companions(path).items())]:
        try:
            state = file.stat()
            found.append([name, state.st_size, state.st_mtime_ns])
        except OSError:
            found.append([name, None, None])
    return found


# -- a model is made -----------------------------------------------------------------------------------------


def finish(work: Path, model: ModelFile, sha256: str, settings: RenderSettings, rendered: Rendered) -> None:
    """Make what Blender has left in a folder a finished model: depth pictures, checks and `metadata.json`.

    `sha256` is of the model as it was before Blender read it. Raises OrielError where a picture is missing or
    damaged, EmptyResultError where no view shows anything, OutputError where the folder cannot be written.
    """
    name = model.path.name
    alphas: dict[str, npt.NDArray[np.uint8]] = {}
    for frame in frames(settings):
        alphas[frame.name] = _alpha(work / f"{frame.name}.png", name, settings)
    if not any(alpha.any() for alpha in alphas.values()):
        raise EmptyResultError(
            f"Nothing is to be seen of {name}: all its views are empty. Look at it in another program; its faces may "
            "be hidden or quite transparent."
        )
    principal = [frame.name for frame in frames(settings) if frame.depth]
    depths = {stem: _raw_depth(work / f"{stem}_depth.npy", name, settings) for stem in principal}
    # A pixel of the picture that is empty has no depth: training takes the depth for the mask.
    depths = {stem: np.where(alphas[stem] > 0, depth, 0) for stem, depth in depths.items()}
    solid = sum(int((alphas[stem] == 255).sum()) for stem in principal)
    without = sum(int(((alphas[stem] == 255) & (depths[stem] == 0)).sum()) for stem in principal)
    shown = for_the_eye(depths)
    with writing(work):
        for stem, depth in depths.items():
            Image.fromarray(_millimetres(depth, name)).save(work / f"{stem}_depth_mm.png")
            Image.fromarray(shown[stem]).save(work / f"{stem}_depth.png")
        wanted = expected_files(settings)
        for path in work.iterdir():
            if path.name not in wanted:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        sizes = {file: (work / file).stat().st_size for file in wanted}
    record = {
        "key": model.key,
        "model": str(model.path),
        "sha256": sha256,
        "stamp": _stamp_if(model.path, sha256),
        "settings": asdict(settings),
        "settings_digest": settings_digest(settings),
        "blender": rendered.blender,
        "statistics": rendered.statistics,
        "repairs": list(rendered.repairs),
        "seconds": rendered.seconds,
        "megabytes": rendered.megabytes,
        "solid_without_depth": without / solid if solid else 0.0,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": sizes,
    }
    write_whole(work / METADATA, json.dumps(record, indent=1, ensure_ascii=True).encode())


def expected_files(settings: RenderSettings) -> dict[str, tuple[int, int]]:
    """The pictures of a finished model: bits and PNG colour type (0 grey, 6 RGBA) by name."""
    found: dict[str, tuple[int, int]] = {}
    for frame in frames(settings):
        found[f"{frame.name}.png"] = _RGBA
        if frame.depth:
            found[f"{frame.name}_depth_mm.png"] = _GREY_16
            found[f"{frame.name}_depth.png"] = _GREY
    return found


def _stamp_if(path: Path, sha256: str) -> Stamp | None:
    """The stamp of a model that still has this content; None if it has changed or is not here."""
    try:
        stamp = _stamp(path)
        return stamp if sha256_of(path) == sha256 else None
    except OrielError:
        return None


def _alpha(path: Path, model: str, settings: RenderSettings) -> npt.NDArray[np.uint8]:
    problem = _unlike(path, settings.size, _RGBA)
    if problem:
        raise OrielError(f"The picture {path.name} of {model} {problem}. Render the model again.")
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.getchannel("A"))
    except (OSError, ValueError, SyntaxError) as error:
        raise OrielError(f"The picture {path.name} of {model} is damaged ({error}). Render the model again.") from error


def _raw_depth(path: Path, model: str, settings: RenderSettings) -> FloatArray:
    """Depth (S, S) that Blender has left, 0 where nothing is."""
    try:
        depth = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise OrielError(
            f"The depth {path.name} of {model} cannot be read ({error}). Render the model again."
        ) from error
    if depth.shape != (settings.size, settings.size) or depth.dtype.kind != "f":
        raise OrielError(
            f"The depth {path.name} of {model} is {depth.dtype} {depth.shape}: it is to be "
            f"{settings.size} x {settings.size} float32. Render the model again."
        )
    # Blender writes 1e10 for the background where it has no infinity
    return np.where(np.isfinite(depth) & (depth > 0) & (depth < 1e9), depth, 0).astype(np.float32)


def _millimetres(depth: FloatArray, model: str) -> npt.NDArray[np.uint16]:
    mm = np.where(depth > 0, np.maximum(np.round(depth * 1000), 1), 0)
    if mm.max(initial=0) > _MOST_MM:
        raise OrielError(
            f"The depth of {model} reaches {mm.max() / 1000:.1f} world units; up to {_MOST_MM / 1000} can be kept. "
            "Render it with a smaller radius."
        )
    return mm.astype(np.uint16)


def for_the_eye(depths: dict[str, FloatArray]) -> dict[str, npt.NDArray[np.uint8]]:
    """Depth as grey pictures, near bright, all of one scale; black where nothing is."""
    seen = [depth[depth > 0] for depth in depths.values() if (depth > 0).any()]
    near = min((float(s.min()) for s in seen), default=0.0)
    far = max((float(s.max()) for s in seen), default=1.0)
    scale = (_BRIGHTEST - _DARKEST) / max(far - near, 1e-6)
    return {
        stem: np.where(depth > 0, np.round(_BRIGHTEST - (depth - near) * scale), 0).astype(np.uint8)
        for stem, depth in depths.items()
    }


def place(work: Path, out: Path, key: str) -> None:
    """Put a finished model into its place, whole or not at all, instead of any that is there.

    Raises OutputError if the disk is full or cannot be written.
    """
    target = folder_of(out, key)
    old = _work_path(out, key)
    with writing(target):
        for path in sorted(work.iterdir()):
            sync(path)
        sync(work)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_symlink() or target.is_file():
            target.unlink()
        elif target.exists():  # a kill between the two renames leaves none: it would have been made anew anyway
            old.parent.mkdir(exist_ok=True)
            target.rename(old)
        work.rename(target)
        sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


# -- a model is found again ----------------------------------------------------------------------------------


def metadata(out: Path, key: str) -> dict[str, Any] | None:
    """What is known of a finished model (`metadata.json`); None if there is none."""
    return read_object(folder_of(out, key) / METADATA)


def is_finished(out: Path, model: ModelFile, settings: RenderSettings, *, thorough: bool = False) -> bool:
    """Whether a model has been rendered: this content, with these settings, and all its files are there.

    The content of a file whose size and time have not changed is taken to be the same; `thorough` reads it, and
    every picture. A model that cannot be read any more stands as it was rendered.
    """
    folder = folder_of(out, model.key)
    known = read_object(folder / METADATA)
    if known is None or known.get("settings_digest") != settings_digest(settings):
        return False
    sizes, wanted = known.get("files"), expected_files(settings)
    if not isinstance(sizes, dict) or sizes.keys() != wanted.keys():
        return False
    for name, kind in wanted.items():
        path = folder / name
        try:
            if path.stat().st_size != sizes[name] or _unlike(path, settings.size, kind):
                return False
            if thorough:
                with Image.open(path) as picture:
                    picture.verify()  # it was decoded once: its checksums tell the rest
        except (OSError, ValueError, SyntaxError):
            return False
    if not model.path.exists():
        return True
    if not thorough and known.get("stamp") == _stamp(model.path):
        return True
    try:
        return known.get("sha256") == sha256_of(model.path)
    except InputError:
        return True


def _unlike(path: Path, size: int, kind: tuple[int, int]) -> str | None:
    """What is wrong with the head of a PNG that is to have this side, depth in bits and colour type."""
    try:
        with path.open("rb") as file:
            head = file.read(26)
    except OSError:
        return "is missing"
    if len(head) < 26 or not head.startswith(_PNG):
        return "is not a PNG"
    width, height, bits, colour = struct.unpack(">IIBB", head[16:26])
    if (width, height) != (size, size):
        return f"is {width} x {height} instead of {size} x {size}"
    return (
        None if (bits, colour) == kind else f"has {bits} bits of colour type {colour} instead of {kind[0]} of {kind[1]}"
    )


def thumbnail(path: Path, side: int = 160) -> bytes:
    """A picture of at most `side` px as PNG, RGBA or 8-bit grey. Raises InputError if it cannot be read."""
    try:
        with Image.open(path) as picture:
            picture.thumbnail((side, side), Image.Resampling.BOX, reducing_gap=None)
            small = picture if picture.mode in ("L", "RGBA") else picture.convert("RGBA")
            raw = io.BytesIO()
            small.save(raw, "PNG", compress_level=1)
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"The picture {path} cannot be read ({error}). Render its model again.") from error
    return raw.getvalue()


# -- training and validation ---------------------------------------------------------------------------------


def write_split(out: Path, keys: Iterable[str], seed: int = 0) -> None:
    """Say which of the finished models `keys` are for training and which for validation.

    Validation models are drawn by `seed` among those that were never for training, and stay what they are, also
    while they are away; `val` only lacks models as long as there are too few new ones.
    """
    before = read_object(out / SPLIT) or {}
    trained, held = set(_uids(before.get("train"))), set(_uids(before.get("val")))
    held |= {key for key in before.get("held", []) if isinstance(key, str)}
    here = sorted(set(keys))
    wanted = VALIDATION if len(here) >= 10 * VALIDATION else max(len(here) // 10, 1 if len(here) > 1 else 0)
    free = [key for key in here if key not in trained and key not in held]
    free.sort(key=lambda key: hashlib.sha256(f"{seed}/{key}".encode()).digest())
    held |= set(free[: max(wanted - len(held.intersection(here)), 0)])
    split = {
        "train": [{"folder_id": FOLDER, "uid": key} for key in here if key not in held],
        "val": [{"folder_id": FOLDER, "uid": key} for key in here if key in held],
        "seed": seed,
        "held": sorted(held),
    }
    write_whole(out / SPLIT, json.dumps(split, indent=1).encode())


def _uids(entries: Any) -> list[str]:
    found = [entry.get("uid") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [uid for uid in found if isinstance(uid, str)]


# -- which models to render ----------------------------------------------------------------------------------


def find_models(source: Path, models: Path | None = None) -> list[ModelFile]:
    """The models to render of a file, a folder with those below it, a crawl, or a list such as `selected.txt`.

    Of a folder that has been screened only the selected models are taken. `models` is a folder in which those of a
    list are sought too. A model that a list names and that is not there is returned all the same, so that a record
    tells of it. Keys depend on a model's name within its folder only. Raises InputError if nothing is found.
    """
    if source.is_dir():
        found = _in_folder(source, models)
    elif source.suffix.lower() in MODEL_SUFFIXES:
        found = [(source.name, source)]
    else:
        found = _listed(source, models)
    if not any(path.is_file() for _, path in found):
        missing = f"There is no file {found[0][1]}" if len(found) == 1 else f"None of the {len(found)} models is there"
        raise InputError(f"{missing}. Check the path, or name the folder that the models are in with --models.")
    names = sorted(name for name, _ in found)
    keys = dict(zip(names, _keys(names), strict=True))
    return [ModelFile(keys[name], path) for name, path in found]


def _in_folder(folder: Path, models: Path | None) -> list[tuple[str, Path]]:
    from engine.screening.records import History  # screening takes its time to import

    if History.read(folder).decided:
        return _selected(folder, models)
    found = [(path.relative_to(folder).as_posix(), path) for path in _walk(folder)]
    if not found:
        raise InputError(
            f"There is no model in the folder {folder}. Name a folder with files of the kinds "
            f"{', '.join(MODEL_SUFFIXES)}."
        )
    return found


def _selected(folder: Path, models: Path | None) -> list[tuple[str, Path]]:
    """The models that a screening has selected."""
    from engine.screening.session import chosen_items

    items, _ = chosen_items(folder)
    if not items:
        raise InputError(f"No model is selected in {folder}. Select some in Screen, or name a list of models.")
    return [_of_item(item, [folder] if models is None else [models, folder]) for item in items]


def _listed(source: Path, models: Path | None) -> list[tuple[str, Path]]:
    """The models of a list: one path, or page whose model has been collected, a line."""
    from engine.screening.items import decode, parse_items
    from engine.screening.records import LOG, TEXTS

    if source.name == TEXTS["select"] and (source.parent / LOG).is_file():
        return _selected(source.parent, models)
    try:
        lines = decode(source.read_bytes()).splitlines()
    except OSError as error:
        raise InputError(f"The list {source} cannot be read: {error.strerror or error}. Check the path.") from error
    items = parse_items(lines, source.parent)
    places = [place for place in (models, items.models, source.parent) if place is not None]
    found = [_of_item(item, places) for item in items.items]
    # a screening shows no USD, so that its lists know none
    usd = [bad.text.strip("\"'") for bad in items.bad if Path(bad.text.strip("\"'")).suffix.lower() in MODEL_SUFFIXES]
    found += [(name, next((p / name for p in places if (p / name).is_file()), source.parent / name)) for name in usd]
    if not found:
        first = f" The first bad line: {items.bad[0]}." if items.bad else ""
        raise InputError(f"The list {source} names no model.{first} Write one path or address a line.")
    return list(dict(found).items())


def _of_item(item: Item, places: list[Path]) -> tuple[str, Path]:
    """What a screening's item is called, and where its file is or should be."""
    name = item.key if item.path is not None and not item.url else f"{item.key}.glb"
    path = item.path if item.path is not None else places[0] / name
    if not path.is_file():
        path = next((place / name for place in places if (place / name).is_file()), path)
    return name, path


def _walk(folder: Path) -> list[Path]:
    """The models in and below a folder, each file once however it is linked; nothing hidden."""
    found: list[Path] = []
    been: set[tuple[int, int]] = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        state = Path(here).stat()
        if (state.st_dev, state.st_ino) in been:  # links may well form a loop
            folders.clear()
            continue
        been.add((state.st_dev, state.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = (name for name in files if not name.startswith(".") and Path(name).suffix.lower() in MODEL_SUFFIXES)
        found += [path for path in (Path(here, name) for name in names) if path.is_file()]
    targets: dict[Path, Path] = {}
    for path in sorted(found, key=lambda path: (path.is_symlink(), path)):
        targets.setdefault(path.resolve(), path)
    return sorted(targets.values())


def _keys(names: list[str]) -> list[str]:
    """A key for each name (path within the folder): that of a plain GLB is its stem, as a crawl has named it.

    Others get a short hash of their name, so that no other model can take theirs.
    """
    taken: set[str] = set()
    keys = []
    for name in names:
        text = unicodedata.normalize("NFKD", name)
        digest = hashlib.sha256(unicodedata.normalize("NFC", name).encode("utf-8", "surrogateescape")).hexdigest()
        suffix = Path(text).suffix
        stem = text.removesuffix(suffix)
        slug = re.sub(r"[^A-Za-z0-9]+", "-", stem.encode("ascii", "ignore").decode())[-48:].strip("-") or "model"
        plain = [stem] if suffix.lower() == ".glb" and is_key(stem) else []
        wishes = [*plain, f"{slug}-{digest[:8]}", f"{slug}-{digest}"[:80]]
        key = next(wish for wish in wishes if wish.casefold() not in taken)
        taken.add(key.casefold())  # some systems' folders do not tell case
        keys.append(key)
    return keys
