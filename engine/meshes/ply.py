"""PLY files as plain pieces, one a texture."""

from __future__ import annotations

import re
import struct
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.meshes.beside import find_beside
from engine.meshes.mesh import ByteArray
from engine.meshes.model import GREY, Model, Picture, Piece, Surface, Unreadable
from engine.meshes.polygons import triangulate

Array = npt.NDArray[Any]
Values = dict[str, Array]
"""Numbers of an element by property; of a list all of them (L,), with how many each row has (N,) at `#name`."""

_KINDS = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"}
_KINDS |= {"float": "f4", "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4"}
_KINDS |= {"uint32": "u4", "float32": "f4", "float64": "f8"}
_UV = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texture_s", "texture_t"))
_COLORS = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))
_NORMALS = (("nx", "ny", "nz"),)
_CORNERS = ("vertex_indices", "vertex_index")
"""What programs call what there is of a corner."""
_MALFORMED = (KeyError, ValueError, IndexError, TypeError, OverflowError, struct.error)


@dataclass
class _Element:
    name: str
    rows: int
    properties: list[tuple[str, str, str]] = field(default_factory=list)
    """Name, kind of its numbers and, of a list, of how many there are (else empty), as numpy writes kinds."""


def read_ply(path: Path) -> Model:
    """The triangles of a PLY file, Z up. Raises Unreadable."""
    content = path.read_bytes()
    try:
        elements, comments, order, begin = _header(content)
        read = (_binary if order else _text)(content, begin, elements)
        vertices, faces = read["vertex"], read.get("face", {})
        places = np.stack([vertices[axis] for axis in "xyz"], 1).astype(np.float64)
        name = next((name for name in _CORNERS if name in faces), "")
        corners = faces[name].astype(np.int64) if name else np.zeros(0, np.int64)
        sizes = faces[f"#{name}"] if name else corners
    except _MALFORMED as error:
        raise Unreadable(
            f"{path.name} cannot be read as PLY ({error or type(error).__name__}).",
            advice="Download it again, or reject it.",
        ) from error
    if len(corners) and not 0 <= corners.min() <= corners.max() < len(places):
        what = f"{path.name} is damaged: its mesh uses corners that it does not have."
        raise Unreadable(what, advice="Download it again.")
    triangles, face = triangulate(places[corners], sizes)
    if not len(triangles):
        what = "only points, no triangles" if len(places) else "no triangles"
        raise Unreadable(f"{path.name} holds {what}, so there is nothing to see.", advice="Reject or skip it.")
    told: list[str] = []
    pictures = _pictures(path, comments, told)
    origin = np.nan_to_num(places[corners[triangles[0, 0]]])
    look = _Look(vertices, faces, corners, sizes, bool(pictures))
    points = (places - origin).astype(np.float32)
    local: Array = corners[triangles]
    if look.by_corner:
        points, local = points[corners], triangles
    number = faces["texnumber"][face] if "texnumber" in faces and len(pictures) > 1 else np.zeros(len(face), np.int64)
    pieces = []
    for index in np.unique(number).astype(int).tolist():
        piece = Piece(points, local[number == index].astype(np.int32), Surface(color=GREY), normals=look.normals)
        picture = pictures[index] if 0 <= index < len(pictures) else None
        if picture is not None and look.uv is not None:
            piece.uv, piece.surface = look.uv, Surface(picture)
        elif look.colors is not None:
            piece.colors, piece.surface = look.colors, Surface()
        pieces.append(piece)
    return Model(pieces, origin, told)


class _Look:
    """Texture coordinates, colours and normals: of each vertex or, where those of faces count, of each corner."""

    def __init__(self, vertices: Values, faces: Values, corners: Array, sizes: Array, textured: bool) -> None:
        self.uv = _columns(vertices, _UV)
        self.colors = _bytes(_columns(vertices, _COLORS))
        self.normals = _columns(vertices, _NORMALS)
        if self.normals is not None:
            lengths = np.linalg.norm(self.normals, axis=1, keepdims=True)
            self.normals = (self.normals / np.maximum(lengths, 1e-20)).astype(np.float32) if lengths.any() else None
        counts = faces.get("#texcoord")
        own_uv = faces["texcoord"] if textured and counts is not None and np.array_equal(counts, 2 * sizes) else None
        own_colors = _bytes(_columns(faces, _COLORS)) if self.colors is None else None
        self.by_corner = own_uv is not None or own_colors is not None
        if self.by_corner:
            self.uv, self.colors, self.normals = (
                None if values is None else values[corners] for values in (self.uv, self.colors, self.normals)
            )
        if own_uv is not None:
            self.uv = own_uv.reshape(-1, 2)
        if own_colors is not None:
            self.colors = np.repeat(own_colors, sizes, 0)
        if self.uv is not None:
            self.uv = self.uv.astype(np.float32)


def _columns(values: Values, names: tuple[tuple[str, ...], ...]) -> Array | None:
    """Properties side by side, by the first of several customs that an element follows."""
    found = next((name for name in names if all(part in values for part in name)), None)
    return None if found is None else np.stack([values[part] for part in found], 1)


def _bytes(colors: Array | None) -> ByteArray | None:
    """Colours (N, 4), sRGB, of bytes, 16 bits or 0..1; alpha says nothing in these files. None where all are black."""
    if colors is None or not colors.any():
        return None
    if colors.dtype.kind == "f":
        scale = 255.0 if np.nan_to_num(colors).max() <= 1 else 1.0
    else:
        scale = 255.0 / np.iinfo(colors.dtype).max
    out = np.full((len(colors), 4), 255, np.uint8)
    out[:, :3] = np.rint(np.clip(np.nan_to_num(colors) * scale, 0, 255))
    return out


def _pictures(path: Path, comments: list[str], told: list[str]) -> list[Picture | None]:
    """The textures that comments name, in their order."""
    found: list[Picture | None] = []
    for name in _textures(comments):
        file = find_beside(path.parent, name)
        if file is None:
            told.append(f"A texture is not shown: the file {name} is missing beside it.")
        found.append(None if file is None else Picture(file.name, file.read_bytes))
    return found


def texture_names(head: bytes) -> list[str]:
    """What a PLY file names as its textures, of the bytes that it begins with; empty where there is no header."""
    try:
        comments = _header(head)[1]
    except _MALFORMED:
        return []
    return _textures(comments)


def _textures(comments: list[str]) -> list[str]:
    matches = [re.match(r"(?i)texture_?file:?\s+(.+)", comment) for comment in comments]
    return [match[1].strip() for match in matches if match]


# -- the format ----------------------------------------------------------------------------------------------


def _header(content: bytes) -> tuple[list[_Element], list[str], str, int]:
    """Elements, comments, the order of bytes (empty: text) of a PLY file, and where its data begin."""
    end = re.search(rb"(?m)^end_header[ \t]*(\r\n|\n|\r)", content)
    if not content.startswith(b"ply") or end is None:
        raise ValueError("its header has no end")
    elements: list[_Element] = []
    comments: list[str] = []
    order = ""
    for line in content[: end.start()].decode("utf-8", "surrogateescape").splitlines():
        word, _, rest = line.strip().partition(" ")
        parts = rest.split()
        if word == "format":
            order = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}[parts[0]]
        elif word in ("comment", "obj_info"):
            comments.append(rest.strip())
        elif word == "element":
            elements.append(_Element(parts[0], int(parts[1])))
        elif word == "property" and parts[0] == "list":
            elements[-1].properties.append((parts[3], order + _KINDS[parts[2]], order + _KINDS[parts[1]]))
        elif word == "property":
            elements[-1].properties.append((parts[1], order + _KINDS[parts[0]], ""))
    return elements, comments, order, end.end()


def _binary(content: bytes, at: int, elements: list[_Element]) -> dict[str, Values]:
    read = {}
    for element in elements:
        read[element.name], size = _alike(content, at, element) or _ragged(content, at, element)
        at += size
    return read


def _alike(content: bytes, begin: int, element: _Element) -> tuple[Values, int] | None:
    """Values of an element all of whose lists are as long as those of its first row, and how many bytes it takes."""
    fields: list[Any] = []
    at = begin
    for name, kind, count in element.properties:
        many = int(np.frombuffer(content, count, 1, at)[0]) if count and element.rows else 0
        fields += [(f"#{name}", count), (name, kind, (many,))] if count else [(name, kind)]
        at += (np.dtype(count).itemsize + many * np.dtype(kind).itemsize) if count else np.dtype(kind).itemsize
    row = np.dtype(fields)
    if begin + row.itemsize * element.rows > len(content):
        return None
    rows = np.frombuffer(content, row, element.rows, begin)
    counts = {name: rows[name].astype(np.int64) for name in row.names or () if name.startswith("#")}
    if any((many != many[:1]).any() for many in counts.values()):
        return None
    return {name: rows[name].reshape(-1) for name in row.names or ()} | counts, row.itemsize * element.rows


def _ragged(content: bytes, begin: int, element: _Element) -> tuple[Values, int]:
    """Values of an element whose rows are not alike, and how many bytes it takes."""
    lists: list[list[Any]] = [[] for _ in element.properties]
    counts: list[list[int]] = [[] for _ in element.properties]
    codes = [(_code(kind), _code(count) if count else "") for _, kind, count in element.properties]
    at = begin
    for _ in range(element.rows):
        for number, (code, counted) in enumerate(codes):
            many = 1
            if counted:
                many = struct.unpack_from(counted, content, at)[0]
                at += struct.calcsize(counted)
                counts[number].append(many)
            found = struct.unpack_from(f"{code[0]}{many}{code[1]}", content, at)
            at += struct.calcsize(code) * many
            lists[number] += found
    return _gathered(element, lists, counts), at - begin


def _code(kind: str) -> str:
    return kind[0] + {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "f4": "f", "f8": "d"}[kind[1:]]


def _gathered(element: _Element, lists: list[list[Any]], counts: list[list[int]]) -> Values:
    values: Values = {}
    for number, (name, kind, count) in enumerate(element.properties):
        values[name] = np.array(lists[number], kind)
        if count:
            values[f"#{name}"] = np.array(counts[number], np.int64)
    return values


def _text(content: bytes, begin: int, elements: list[_Element]) -> dict[str, Values]:
    lines = [line for line in content[begin:].splitlines() if line.strip()]
    read, at = {}, 0
    for element in elements:
        rows = lines[at : at + element.rows]
        at += element.rows
        if len(rows) < element.rows:
            raise ValueError("it is cut off")
        read[element.name] = _table(rows, element) or _lines(rows, element)
    return read


def _lines(rows: list[bytes], element: _Element) -> Values:
    """Values of rows that are not alike."""
    lists: list[list[Any]] = [[] for _ in element.properties]
    counts: list[list[int]] = [[] for _ in element.properties]
    for line in rows:
        words, place = line.split(), 0
        for number, (_, kind, count) in enumerate(element.properties):
            many = 1
            if count:
                many, place = int(words[place]), place + 1
                counts[number].append(many)
            part = words[place : place + many]
            if len(part) < many:
                raise ValueError("a row of it is too short")
            lists[number] += map(float if "f" in kind else int, part)
            place += many
    return _gathered(element, lists, counts)


def _table(rows: list[bytes], element: _Element) -> Values | None:
    """Values of rows that are as long as each other, with lists that are; else None."""
    width = len(rows[0].split()) if rows else 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = np.fromstring(b" ".join(rows), np.float64, sep=" ")
        except (DeprecationWarning, ValueError):
            return None
    if not width or len(found) != width * len(rows) or {len(row.split()) for row in rows} != {width}:
        return None
    table, at = found.reshape(-1, width), 0
    values: Values = {}
    for name, kind, count in element.properties:
        many = 1
        if count:
            many, counts, at = int(table[0, at]), table[:, at].astype(np.int64), at + 1
            if (counts != many).any():
                return None
            values[f"#{name}"] = counts
        if at + many > width:
            return None
        values[name] = table[:, at : at + many].reshape(-1).astype(kind)
        at += many
    return values
