"""OBJ files as plain pieces, one a material."""

from __future__ import annotations

import io
import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine.meshes.colors import to_linear
from engine.meshes.materials import Material, find_libraries, logical_lines, read_materials
from engine.meshes.mesh import ByteArray
from engine.meshes.model import GREY, Y_TO_Z, Model, Picture, Piece, Surface, Unreadable
from engine.meshes.polygons import triangulate

Array = npt.NDArray[Any]
_WORD = rb"\n[ \t]*%s[ \t]+([^\n]*)"


def read_obj(path: Path) -> Model:
    """The triangles of an OBJ file, Y up but for some of Oriel's, which say so. Raises Unreadable."""
    text = logical_lines(path.read_bytes())
    places = _numbers(text, b"v", 3)
    if places.shape[1] < 3 or not len(places):
        raise Unreadable(f"{path.name} holds no triangles, so there is nothing to see.", advice="Reject or skip it.")
    corners, sizes, material = _faces(path, text, places)
    triangles, polygon = triangulate(places[corners[:, 0], :3], sizes)
    if not len(triangles):
        what = f"{path.name} holds only points, no triangles, so there is nothing to see."
        raise Unreadable(what, advice="Reject or skip it.")
    first = text[1:81].partition(b"\n")[0]
    z_up = first.startswith(b"# Oriel") and b"Y up" not in first
    turn = np.eye(3) if z_up else Y_TO_Z[:3, :3]
    origin = np.nan_to_num(places[corners[triangles[0, 0], 0], :3] @ turn.T)
    uvs, normals = _numbers(text, b"vt", 2), _numbers(text, b"vn", 3)
    colors = _colors(places)
    told: dict[str, None] = {}
    materials = materials_of(path, text, told)
    pictures: dict[tuple[Path, Path | None], Picture] = {}
    pieces = []
    for index, name in enumerate(material.names):
        chosen = triangles[material.of[polygon] == index]
        if not len(chosen):
            continue
        kept, local = _unique_rows(corners[chosen.reshape(-1)])
        points = (places[kept[:, 0], :3] @ turn.T - origin).astype(np.float32)
        piece = Piece(points, local.reshape(-1, 3).astype(np.int32), Surface(color=GREY))
        if uvs.shape[1] >= 2 and 0 <= kept[:, 1].min() <= kept[:, 1].max() < len(uvs):
            piece.uv = uvs[kept[:, 1], :2].astype(np.float32)
        if normals.shape[1] == 3 and 0 <= kept[:, 2].min() <= kept[:, 2].max() < len(normals):
            turned = normals[kept[:, 2]] @ turn.T
            piece.normals = (turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-20)).astype("f4")
        _dress(piece, materials.get(name), None if colors is None else colors[kept[:, 0]], pictures)
        pieces.append(piece)
    return Model(pieces, origin, list(told))


def materials_of(path: Path, text: bytes, told: dict[str, None]) -> dict[str, Material]:
    """The materials of an OBJ file by name; `told` gets what is missing of them."""
    files: list[Path] = []
    for line in dict.fromkeys(re.findall(_WORD % b"mtllib", text)):
        found, missing = find_libraries(path.parent, os.fsdecode(line.strip()))
        files += found
        for name in missing:
            told[f"Its materials are not shown: the file {name} is missing beside it."] = None
    try:
        materials = read_materials(files)
    except OSError as error:
        told[f"Its materials are not shown: {error.filename} cannot be read ({error.strerror})."] = None
        return {}
    used = {os.fsdecode(name.strip()) for name in re.findall(_WORD % b"usemtl", text)}
    for name in sorted(used & materials.keys()):
        for word in ("map_kd", "map_d"):
            picture = materials[name].maps.get(word)
            if picture and picture.file is None:
                told[f"A texture is not shown: the file {picture.name} is missing beside it."] = None
    return materials


# -- numbers -------------------------------------------------------------------------------------------------


def _numbers(text: bytes, word: bytes, least: int) -> Array:
    """(N, width) of the lines that begin with a word; where some are shorter than others, 1 for what they lack."""
    lines = re.findall(_WORD % word, text)
    if not lines:
        return np.zeros((0, least))
    width = max(len(lines[0].split()), least)
    found = _parsed(b" ".join(lines), np.float64)
    if found is not None and len(found) == width * len(lines):
        return found.reshape(-1, width)
    rows = [[_number(word) for word in line.partition(b"#")[0].split()] for line in lines]
    width = max(min(max(map(len, rows)), 8), least)
    return np.array([(row + [1.0 if len(row) >= least else np.nan] * width)[:width] for row in rows])


def _number(word: bytes) -> float:
    try:
        return float(word)
    except ValueError:
        return float("nan")


def _colors(places: Array) -> ByteArray | None:
    """(N, 4) of vertices that have colours behind their places, which nobody has agreed upon but many write."""
    if places.shape[1] < 6:
        return None
    colors = np.nan_to_num(places[:, 3:6])
    colors = np.clip(colors if colors.max() > 1 else colors * 255, 0, 255)
    if not colors.any():
        return None  # as some write who have none
    return np.concatenate([np.rint(colors), np.full((len(colors), 1), 255)], 1).astype(np.uint8)


class _Materials:
    """Which material each face has."""

    def __init__(self, names: list[str], of: Array) -> None:
        self.names = names
        self.of = of


def _faces(path: Path, text: bytes, places: Array) -> tuple[Array, Array, _Materials]:
    """Corners (C, 3) of all faces, as numbers of place, texture coordinate and normal (-1 for none); how many each
    face has (F,); and its material."""
    found = list(re.finditer(_WORD % b"f", text))
    lines = [match[1].partition(b"#")[0] if b"#" in match[1] else match[1] for match in found]
    changes = [(match.start(), os.fsdecode(match[1].strip())) for match in re.finditer(_WORD % b"usemtl", text)]
    names = list(dict.fromkeys(["", *(name for _, name in changes)]))
    numbers = {name: index for index, name in enumerate(names)}
    at = np.array([match.start() for match in found], np.int64)
    of = np.array([0, *(numbers[name] for _, name in changes)])[
        np.searchsorted([start for start, _ in changes], at) if changes else np.zeros(len(at), np.int64)
    ]
    sizes = np.array([len(line.split()) for line in lines], np.int64)
    corners = np.full((int(sizes.sum()), 3), 0, np.int64)
    slashes = np.array([line.count(b"/") for line in lines], np.int64)
    each = np.where(slashes % np.maximum(sizes, 1) == 0, slashes // np.maximum(sizes, 1), 2)
    of_corner = np.repeat(np.arange(len(lines)), sizes)
    for kind in np.unique(each).tolist():
        rows = each == kind
        some = lines if rows.all() else [lines[row] for row in np.flatnonzero(rows).tolist()]
        corners[rows[of_corner], : kind + 1] = _corners(some, int(sizes[rows].sum()), min(kind, 2), path)
    for column, word in enumerate((b"v", b"vt", b"vn")):
        values = corners[:, column]
        if (back := values < 0).any():
            starts = [match.start() for match in re.finditer(_WORD % word, text)]
            values[back] += np.searchsorted(starts, at)[of_corner[back]] + 1
    corners -= 1
    if len(corners) and not (corners[:, 0].min() >= 0 and corners[:, 0].max() < len(places)):
        what = f"{path.name} is damaged: its mesh uses corners that it does not have."
        raise Unreadable(what, advice="Download it again.")
    return corners, sizes, _Materials(names, of)


def _corners(lines: list[bytes], count: int, slashes: int, path: Path) -> Array:
    """(C, slashes + 1) numbers of all corners in lines with so many slashes a corner; 0 for one that is left out."""
    joined = b" ".join(lines).replace(b"//", b"/0/")
    found = _parsed(joined.replace(b"/", b" "), np.int64)
    if found is not None and len(found) == (slashes + 1) * count:
        return found.reshape(-1, slashes + 1)
    try:
        slowly = [[int(number or 0) for number in corner.split(b"/")] for corner in joined.split()]
    except ValueError:
        what = f"{path.name} is damaged: a corner of its faces is no number."
        raise Unreadable(what, advice="Download it again.") from None
    return np.array([[*corner, 0, 0][: slashes + 1] for corner in slowly], np.int64)


def _parsed(text: bytes, kind: Any) -> Array | None:
    """The numbers of a text; None where there is anything else."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return np.fromstring(text, kind, sep=" ")
        except (DeprecationWarning, ValueError):
            return None


def _unique_rows(rows: Array) -> tuple[Array, Array]:
    """Each different row (U, 3) once, and which of them every row (N, 3) is."""
    low = rows.min(0)
    span = rows.max(0) - low + 1
    key = (rows[:, 0] - low[0]) * span[1] + rows[:, 1] - low[1]
    if float(np.prod(span.astype(np.float64))) > 2.0**62:
        _, key = np.unique(key, return_inverse=True)
    _, first, inverse = np.unique(key * span[2] + rows[:, 2] - low[2], return_index=True, return_inverse=True)
    return rows[first], inverse


# -- looks ---------------------------------------------------------------------------------------------------


def _dress(
    piece: Piece,
    material: Material | None,
    colors: ByteArray | None,
    pictures: dict[tuple[Path, Path | None], Picture],
) -> None:
    """Give a piece its look: a picture, else the colours of its corners, else one colour."""
    surface = piece.surface
    if material is not None:
        if material.color is not None:
            red, green, blue = to_linear(np.clip(material.color, 0, 1)).tolist()
            surface.color = (red, green, blue, 1.0)
        shown, clear = material.maps.get("map_kd"), material.maps.get("map_d")
        if shown is not None and shown.file is not None and piece.uv is not None:
            mask = clear.file if clear is not None else None
            if (shown.file, mask) not in pictures:
                pictures[shown.file, mask] = _picture(shown.file, mask)
            surface.picture, surface.color = pictures[shown.file, mask], (1.0, 1.0, 1.0, 1.0)
            surface.repeat = shown.options.get("-clamp") != ["on"]
            if mask is not None:
                surface.alpha = "blend"
            piece.uv = (piece.uv * shown.numbers("-s", 1.0) + shown.numbers("-o", 0.0)).astype(np.float32)
        if material.opacity < 1:
            surface.alpha = "blend"
            surface.color = (*surface.color[:3], float(np.clip(material.opacity, 0, 1)))
    if colors is not None and surface.picture is None:
        piece.colors = colors
        surface.color = (1.0, 1.0, 1.0, surface.color[3])


def _picture(file: Path, mask: Path | None) -> Picture:
    if mask is None:
        return Picture(file.name, file.read_bytes)

    def read() -> bytes:
        """With the alpha, or else the light, of another picture as its own alpha."""
        with Image.open(file) as image, Image.open(mask) as other:
            alpha = other.getchannel("A") if "A" in other.getbands() and mask == file else other.convert("L")
            merged = image.convert("RGB")
            merged.putalpha(alpha.resize(image.size))
        raw = io.BytesIO()
        merged.save(raw, "PNG", compress_level=1)
        return raw.getvalue()

    return Picture(file.name, read)
