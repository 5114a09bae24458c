"""Folders of real models as training data: what is there, what can be learnt from, and the solids made of it.

A library looks at each file once (`ModelLibrary.scan`) and makes its solid when it is first asked for. Both are kept in
a cache folder that several processes may share. What cannot be used is left out, and `report` says why.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from engine.core.errors import InputError
from engine.core.files import read_object, write_whole, writing
from engine.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from engine.data.carving import carve, unpack
from engine.data.model_solids import BUILDING, THING, Carving, ModelSolid, resized
from engine.data.textures import LAYERS, texture_library
from engine.data.variation import finished, varied
from engine.meshes.loading import FORMATS, read_model
from engine.meshes.mesh import FloatArray, facet_normals, summed_at_corners
from engine.meshes.model import Model
from engine.meshes.reducing import PreviewPart, reduce_model

Array = npt.NDArray[Any]

Split = Literal["train", "validation"]

_VERSION = 2
"""Of the cached solids; a new one makes them anew."""
_RESOLUTION = 128
_SAMPLES = 20_000
_TRIANGLES, _PARTS, _SIDE, _TEXTURE_BYTES = 30_000, 24, 256, 3 << 20
_THINNEST, _LEAST_SHARE = 0.08, 0.004
_GREY = 0.5
_BUILDINGS = re.compile(r"\b(buildings?|houses?|towers?|castles?|church(es)?)\b", re.IGNORECASE)


@dataclass
class ModelEntry:
    """A file of a library."""

    path: Path
    name: str
    """Its path below the folder, with slashes."""
    split: Split
    kind: int
    """`BUILDING` or `THING`."""
    source: str
    """The folder that it came in: models of one source are alike."""
    author: str = ""
    licence: str = ""
    attribution: str = ""
    """What the licence asks to be written, where it does."""
    origin: str = ""
    """Where the author published it."""
    key: str = ""
    """Of all that was read from it, and so of its solid in the cache."""
    left_out: str = ""
    """Why it is not used; empty for one that is, as far as is known."""


@dataclass
class ModelLibrary:
    """Models to train on. May be sent to worker processes."""

    entries: list[ModelEntry]
    cache: Path
    _drawn: dict[tuple[Split, int], tuple[list[list[int]], npt.NDArray[np.float64]]] = field(
        default_factory=dict, repr=False
    )

    @classmethod
    def scan(
        cls,
        folders: Sequence[Path],
        cache: Path,
        *,
        progress: ProgressCallback = ignore_progress,
        cancel: CancelToken | None = None,
    ) -> ModelLibrary:
        """Look at every model file (GLB, glTF, OBJ, PLY, STL) in the folders and below.

        A `models.csv` in a folder (columns file, split, category, author, licence, attribution_text, source_repo, all
        but the first optional) says more of its files; without one, every 14th file by a hash of its name is for
        validation. Files are read once and remembered in `cache`. Raises `InputError` for a folder without model files,
        `OutputError` for a cache that cannot be written.
        """
        entries = [entry for folder in folders for entry in _listed(Path(folder))]
        with writing(cache):
            cache.mkdir(parents=True, exist_ok=True)
        known = read_object(cache / "files.json") or {}
        contents: dict[str, str] = {}
        shapes: dict[str, str] = {}
        try:
            for done, entry in enumerate(entries):
                if cancel:
                    cancel.check()
                seen = _look(entry, known)
                entry.key, entry.left_out = seen["key"], seen["problem"]
                if entry.key:
                    first = contents.setdefault(entry.key, entry.name)
                    alike = shapes.setdefault(seen["shape"], entry.name)
                    if first != entry.name:
                        entry.left_out = f"the same as {first}"
                    elif alike != entry.name:
                        entry.left_out = f"the same shape as {alike}"
                progress(Progress("models", done + 1, len(entries), entry.name))
        finally:
            write_whole(cache / "files.json", json.dumps(known).encode())
        return cls(entries, cache)

    def solid(self, index: int) -> ModelSolid:
        """The model `index` of `entries` as a solid, as it is in the file; made at the first call.

        Raises `InputError` saying why where it is left out.
        """
        entry = self.entries[index]
        if not entry.left_out:
            path = self.cache / f"{entry.key}.npz"
            try:
                return _load(path, entry)
            except (OSError, KeyError, ValueError, zipfile.BadZipFile):
                found = read_object(path.with_suffix(".json")) or {}
                if not found.get("left_out"):
                    found = _make(entry, path)
                if not found["left_out"]:
                    return _load(path, entry)
                entry.left_out = found["left_out"]
        raise InputError(f"{entry.name} is left out: {entry.left_out}.")

    def draw(self, rng: np.random.Generator, split: Split = "train", *, buildings: float = 0.5) -> ModelSolid:
        """A model at random as a solid: a building with the chance `buildings`, each source by the root of its size.

        Those for training are varied (mirrored, stretched, painted, stacked, cut, set beside each other); those for
        validation only get finishes where they have none. Raises `InputError` where no model can be used.
        """
        for _ in range(200):
            index = self._pick(rng, split, BUILDING if rng.random() < buildings else THING)
            seed = int(rng.integers(1 << 31))
            try:
                solid = self.solid(index)
            except InputError:
                continue
            if split == "validation":
                return finished(solid, np.random.default_rng(seed))

            def another(chance: np.random.Generator, kind: int = solid.kind) -> ModelSolid:
                return self.solid(self._pick(chance, split, kind))

            return varied(solid, seed, another)
        raise InputError(f"None of the models for {split} can be used; the report in {self.cache} says why.")

    def _pick(self, rng: np.random.Generator, split: Split, kind: int) -> int:
        """The index of a model of a kind, or of any where there is none of it."""
        if (split, kind) not in self._drawn:
            usable = [i for i, e in enumerate(self.entries) if e.split == split and not e.left_out]
            usable = [i for i in usable if self.entries[i].kind == kind] or usable
            if not usable:
                raise InputError(f"There are no models for {split} in the folders given. Add some.")
            sources: dict[str, list[int]] = {}
            for i in usable:
                sources.setdefault(self.entries[i].source, []).append(i)
            weight = np.sqrt([len(members) for members in sources.values()])
            self._drawn[split, kind] = list(sources.values()), np.cumsum(weight) / weight.sum()
        groups, share = self._drawn[split, kind]
        group = groups[min(int(np.searchsorted(share, rng.random())), len(groups) - 1)]
        return group[int(rng.integers(len(group)))]

    def report(self) -> list[dict[str, str]]:
        """A line for each file: its name, `state` ("used", "left out" or "not used yet") and `why` or what is amiss."""
        lines = []
        for entry in self.entries:
            found = None if entry.left_out else read_object(self.cache / f"{entry.key}.json")
            why = entry.left_out or (found or {}).get("left_out", "")
            state = "left out" if why else "used" if found else "not used yet"
            lines.append({"file": entry.name, "state": state, "why": why or "; ".join((found or {}).get("notes", []))})
        return lines

    def write_report(self) -> Path:
        """Write `report` to `models-report.csv` in the cache; returns its path."""
        path = self.cache / "models-report.csv"
        write_whole(path, _csv(self.report(), ("file", "state", "why")))
        return path

    def prepare(
        self, *, progress: ProgressCallback = ignore_progress, cancel: CancelToken | None = None
    ) -> list[dict[str, str]]:
        """Make every solid that is not in the cache yet; returns and writes the report."""
        for index, entry in enumerate(self.entries):
            if cancel:
                cancel.check()
            if not entry.left_out and not (self.cache / f"{entry.key}.json").exists():
                with suppress(InputError):  # the report says why
                    self.solid(index)
            progress(Progress("solids", index + 1, len(self.entries), entry.name))
        self.write_report()
        return self.report()


def write_attribution(library: ModelLibrary, path: Path) -> None:
    """Write the authors, licences and attribution texts of the models that a library uses, as Markdown.

    A line for each author, licence and origin, with the number of models. Raises `OutputError` where it cannot be
    written.
    """
    groups: dict[tuple[str, str, str], list[ModelEntry]] = {}
    for entry, line in zip(library.entries, library.report(), strict=True):
        if line["state"] != "left out":
            groups.setdefault((entry.author or "unknown", entry.licence or "unknown", entry.origin), []).append(entry)
    count = sum(len(found) for found in groups.values())
    lines = [
        "# Models that Oriel learns from",
        "",
        f"{count:,} models by the authors below, each under the licence named; changed for training: scaled, cut, "
        "combined, painted anew. CC0: <https://creativecommons.org/publicdomain/zero/1.0/>, CC BY 3.0 and 4.0: "
        "<https://creativecommons.org/licenses/by/3.0/>, <https://creativecommons.org/licenses/by/4.0/>.",
        "",
        "| Author | Licence | From | Models | Attribution |",
        "| --- | --- | --- | ---: | --- |",
    ]
    for (author, licence, origin), found in sorted(groups.items()):
        titles: dict[str, dict[str, None]] = {}  # texts that differ by the model's title alone are one
        for entry in found:
            quoted = re.match(r'("[^"]+") (.+)', entry.attribution)
            title, text = quoted.groups() if quoted else ("", entry.attribution)
            titles.setdefault(text, {})[title] = None
        texts = [f"{', '.join(filter(None, names))} {text}".strip() for text, names in titles.items()]
        cells = (author, licence, origin, str(len(found)), "; ".join(filter(None, texts)))
        lines.append("| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |")
    write_whole(path, ("\n".join(lines) + "\n").encode())


# -- what is there -------------------------------------------------------------------------------------------


def _listed(folder: Path) -> list[ModelEntry]:
    """The model files of a folder, in order, with what its `models.csv` says of them."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}. Give the folder that holds the models.")
    told: dict[str, dict[str, str]] = {}
    table = folder / "models.csv"
    if table.is_file():
        try:
            with table.open(newline="", encoding="utf-8-sig") as file:
                told = {row["file"].strip(): {k: v or "" for k, v in row.items() if k} for row in csv.DictReader(file)}
        except (OSError, KeyError, ValueError, AttributeError, csv.Error) as error:
            raise InputError(f"{table} cannot be read as a table with a column 'file' ({error}). Mend it.") from error
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix.lower() in FORMATS and p.is_file()}
    if not there | set(told):
        raise InputError(f"There is no model ({', '.join(FORMATS)}) in {folder} or below. Give another folder.")
    entries = []
    for name in sorted(there | set(told)):
        row = told.get(name, {})
        source = name.rpartition("/")[0]
        split: Split = "validation" if row.get("split") == "validation" else "train"
        if not row.get("split") and int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 14 == 0:
            split = "validation"
        kind = BUILDING if _BUILDINGS.search(f"{row.get('category', '')} {name.partition('/')[0]}") else THING
        entries.append(
            ModelEntry(
                folder / name,
                name,
                split,
                kind,
                f"{folder.name}/{source}",
                row.get("author", ""),
                row.get("licence", ""),
                row.get("attribution_text", ""),
                row.get("source_repo", ""),
            )
        )
    return entries


def _look(entry: ModelEntry, known: dict[str, Any]) -> dict[str, str]:
    """`key`, `shape` and `problem` of a file; remembered in `known` for as long as it is not touched."""
    try:
        state = entry.path.stat()
    except OSError:
        return {"key": "", "shape": "", "problem": "it is in models.csv, but the file is missing"}
    stamp = f"{entry.path.resolve()} {state.st_size} {state.st_mtime_ns} {_VERSION}"
    if stamp not in known:
        try:
            key, shape = _fingerprints(read_model(entry.path))
            known[stamp] = {"key": key, "shape": shape, "problem": ""}
        except InputError as error:
            known[stamp] = {"key": "", "shape": "", "problem": _reason(error, entry)}
    found: dict[str, str] = known[stamp]
    return found


def _reason(error: InputError, entry: ModelEntry) -> str:
    """What is wrong with a file, without its name and without advice."""
    return error.what.rstrip(".").removeprefix(f"{entry.path.name} is ").removeprefix(f"{entry.path.name} ")


def _fingerprints(model: Model) -> tuple[str, str]:
    """A digest of all that a solid is made of, and one of the shape alone, whatever its size and place."""
    content = hashlib.sha256(str(_VERSION).encode())
    corners = []
    for piece in model.pieces:
        for array in (piece.points, piece.triangles, piece.uv, piece.colors, piece.normals):
            content.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        content.update(repr((piece.surface.color, piece.surface.alpha, piece.surface.repeat)).encode())
        corners.append(piece.points[piece.triangles.reshape(-1)])
    for picture in {id(p.surface.picture): p.surface.picture for p in model.pieces}.values():
        if picture is not None:
            try:
                content.update(picture.read())
            except Exception:  # as unreadable as it will be when it is drawn
                content.update(b"-")
    points = np.concatenate(corners)
    points = points[np.isfinite(points).all(1)]
    if not len(points):
        return content.hexdigest()[:32], content.hexdigest()[:32]
    low = points.min(0)
    cells = np.rint((points - low) * np.float32(1000 / max(float((points.max(0) - low).max()), 1e-30)))
    shape = hashlib.sha256(np.unique(cells.astype(np.int32), axis=0).tobytes())
    return content.hexdigest()[:32], shape.hexdigest()[:32]


# -- solids --------------------------------------------------------------------------------------------------


def _make(entry: ModelEntry, path: Path) -> dict[str, Any]:
    """Make the solid of a file and put it into the cache; returns and writes its `notes` and why it is `left_out`."""
    notes: list[str] = []
    reason = ""
    try:
        arrays = _build(entry.path, notes)
    except InputError as error:
        reason = _reason(error, entry)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # a file so odd that nobody thought of it
        reason = f"it cannot be understood ({type(error).__name__}: {error})"
    else:
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **arrays)
        write_whole(path, content.getvalue())
    found = {"file": entry.name, "left_out": reason, "notes": notes}
    write_whole(path.with_suffix(".json"), json.dumps(found).encode())
    return found


def _build(path: Path, notes: list[str]) -> dict[str, Array]:
    """The arrays of a solid made of a file; what is amiss but can be lived with goes into `notes`."""
    model = read_model(path)
    flat = any(piece.normals is None for piece in model.pieces)
    reduced = reduce_model(
        model, triangles=_TRIANGLES, parts=_PARTS, side=_SIDE, texture_bytes=_TEXTURE_BYTES, name=path.name
    )
    notes += reduced.warnings
    if reduced.triangles > _TRIANGLES:
        notes.append(f"Its {reduced.triangles:,} triangles are reduced to {_TRIANGLES:,}.")
    mesh = _merged(reduced.parts, flat and reduced.triangles <= _TRIANGLES)
    sheet = _ground(mesh)
    if sheet.any():
        notes.append("The sheet of ground that it stands on is left out.")
        mesh = mesh.kept(~sheet)
    low, high = mesh.points.min(0), mesh.points.max(0)
    extent = float((high - low).max())
    if float((high - low).min()) < _THINNEST * extent:
        raise InputError(f"too thin: it measures {' x '.join(f'{s:.2f}' for s in (high - low) / extent)}")
    points = ((mesh.points - (low + high) / 2) / extent).astype(np.float32)
    solid = carve(points, mesh.faces, _RESOLUTION)
    if solid.share < _LEAST_SHARE:
        raise InputError(f"too thin: it fills {solid.share:.2%} of its cube")
    outer, outer_normals = solid.sample_surface(_SAMPLES, np.random.default_rng(0))
    faces = _turned_out(points, mesh.faces, solid.contains, 1.5 * solid.step)
    return {
        "vertices": points,
        "faces": faces,
        "normals": _facing(points, faces, mesh.normals).astype(np.float16),
        "uv": mesh.uv,
        "layer": mesh.layer.astype(np.int16),
        "color": mesh.color,
        "textures": mesh.textures,
        "packed": solid.packed,
        "grid": np.array([*solid.low, solid.step], np.float64),
        "outer": outer,
        "outer_normals": outer_normals.astype(np.float16),
    }


def _load(path: Path, entry: ModelEntry) -> ModelSolid:
    """A solid out of the cache."""
    with np.load(path) as data:
        color = data["color"].astype(np.float32) / 255
        textures = data["textures"]
        *low, step = data["grid"]
        to_cells = np.eye(4) / step
        to_cells[:3, 3], to_cells[3, 3] = -np.array(low) / step, 1
        grid = unpack(data["packed"], _RESOLUTION)
        outer = data["outer"]
        return ModelSolid(
            data["vertices"],
            data["faces"],
            data["normals"].astype(np.float32),
            data["uv"],
            data["layer"].astype(np.int32),
            color,
            color,
            textures if len(textures) else None,
            entry.name,
            entry.kind,
            carvings=[Carving(grid, to_cells, np.zeros(3), np.full(3, float(_RESOLUTION)))],
            outer=outer,
            outer_normals=data["outer_normals"].astype(np.float32),
            weight=np.ones(len(outer), np.float32),
        )


@dataclass
class _Mesh:
    """All triangles of a file with what they look like."""

    points: FloatArray
    faces: npt.NDArray[np.int32]
    normals: FloatArray
    uv: FloatArray
    layer: npt.NDArray[np.int32]
    color: npt.NDArray[np.uint8]
    """(V, 3)."""
    textures: npt.NDArray[np.uint8]
    """(T, S, S, 3), row 0 at v = 0."""

    def kept(self, chosen: npt.NDArray[np.bool_]) -> _Mesh:
        """The chosen (F,) faces alone."""
        used, faces = np.unique(self.faces[chosen], return_inverse=True)
        return _Mesh(
            self.points[used],
            faces.reshape(-1, 3).astype(np.int32),
            self.normals[used],
            self.uv[used],
            self.layer[used],
            self.color[used],
            self.textures,
        )


def _merged(parts: list[PreviewPart], flat: bool) -> _Mesh:
    """The parts of a model as one mesh; `flat`: each triangle has its own corners and its own normal."""
    largest = max((max(p.texture.shape[:2]) for p in parts if p.texture is not None), default=1)
    side = min(1 << (largest - 1).bit_length(), _SIDE)
    library = len(texture_library())
    sheets: list[npt.NDArray[np.uint8]] = []
    meshes = []
    for part in parts:
        points, faces, normals = part.points, part.triangles, part.normals
        uv = np.zeros((len(points), 2), np.float32) if part.uv is None else part.uv
        color = np.full((len(points), 3), 255, np.uint8)
        if part.colors is not None:
            color = part.colors[:, :3]
        elif part.texture is None:
            color[:] = round(_GREY * 255)
        palette = np.zeros(len(faces), bool)
        if part.texture is not None and part.uv is not None:
            height, width = part.texture.shape[:2]
            texels = uv[faces] * (width, height)
            # facets that show one texel of a palette have its colour; a smaller picture would mix it with others
            palette = (texels.max(1) - texels.min(1)).max(1) < 1
        if flat or palette.any():
            corner = faces.reshape(-1)
            if flat:
                facet = facet_normals(points, faces)
                facet /= np.maximum(np.linalg.norm(facet, axis=1, keepdims=True), 1e-20)
                normals = np.repeat(facet, 3, axis=0)
            else:
                normals = normals[corner]
            points, uv, color = points[corner], uv[corner], color[corner]
            faces = np.arange(len(corner), dtype=np.int32).reshape(-1, 3)
        layer = np.full(len(points), LAYERS["plain"], np.int32)
        if part.texture is not None:
            picture = _filled(part.texture)
            of = np.repeat(palette, 3) if palette.any() else np.zeros(len(points), bool)
            height, width = picture.shape[:2]
            spot = np.repeat(uv[faces].mean(1), 3, axis=0) if palette.any() else uv
            column = np.floor(spot[:, 0] % 1 * width).astype(int).clip(0, width - 1)
            row = np.floor((1 - spot[:, 1] % 1) * height).astype(int).clip(0, height - 1)
            color = np.where(of[:, None], (color * (picture[row, column] / 255)).astype(np.uint8), color)
            if not of.all():
                layer[~of] = library + len(sheets)
                sheets.append(resized(picture, side)[::-1])
                if not part.repeat:
                    uv = uv.clip(0.5 / side, 1 - 0.5 / side)
        meshes.append((points, faces, normals, uv, layer, color))
    starts = np.cumsum([0] + [len(mesh[0]) for mesh in meshes])
    points, _, normals, uv, layer, color = (np.concatenate(column) for column in zip(*meshes, strict=True))
    faces = np.concatenate([mesh[1] + start for mesh, start in zip(meshes, starts, strict=False)])
    textures = np.stack(sheets) if sheets else np.zeros((0, 1, 1, 3), np.uint8)
    mesh = _Mesh(
        points, faces.astype(np.int32), normals.astype(np.float32), uv.astype(np.float32), layer, color, textures
    )
    return mesh.kept(np.linalg.norm(facet_normals(points, faces), axis=1) > 0)


def _filled(texture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A picture without alpha: what is transparent has the mean colour of the rest."""
    picture = texture[..., :3].copy()
    if texture.shape[2] == 4:
        clear = texture[..., 3] < 128
        if clear.any() and not clear.all():
            picture[clear] = picture[~clear].mean(0).astype(np.uint8)
    return picture


def _ground(mesh: _Mesh) -> npt.NDArray[np.bool_]:
    """(F,) the faces of a flat sheet at the bottom that is far wider than what stands on it; none otherwise."""
    low, high = mesh.points.min(0), mesh.points.max(0)
    width = float((high - low)[:2].max())
    flat = (mesh.points[mesh.faces][:, :, 2] < low[2] + 0.02 * width).all(1)
    none = np.zeros(len(flat), bool)
    if not flat.any() or (~flat).sum() < 12 or width < 0.6 * float((high - low).max()):
        return none
    sheet, rest = mesh.points[mesh.faces[flat].reshape(-1)], mesh.points[mesh.faces[~flat].reshape(-1)]
    wide, narrow = np.ptp(sheet, axis=0)[:2], np.ptp(rest, axis=0)
    apart = (wide > 1.5 * narrow[:2]).all() and narrow[2] > 0.15 * narrow[:2].max()
    return flat if apart else none


def _turned_out(
    points: FloatArray,
    faces: npt.NDArray[np.int32],
    contains: Callable[[FloatArray], npt.NDArray[np.bool_]],
    aside: float,
) -> npt.NDArray[np.int32]:
    """The faces, those turned round that look into the solid and have air behind them."""
    normal = facet_normals(points, faces)
    normal *= aside / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-20)
    middle = points[faces].mean(1, dtype=np.float32)
    wrong = contains(middle + normal) & ~contains(middle - normal)
    return np.where(wrong[:, None], faces[:, ::-1], faces).astype(np.int32)


def _facing(points: FloatArray, faces: npt.NDArray[np.int32], normals: FloatArray) -> FloatArray:
    """The normals (V, 3), unit length, on the side that their faces look to."""
    total = summed_at_corners(facet_normals(points, faces), faces, len(points))
    turned = np.where((total * normals).sum(1, keepdims=True) < 0, -normals, normals)
    return (turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-20)).astype(np.float32)


def _csv(lines: list[dict[str, str]], columns: Sequence[str]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode()
