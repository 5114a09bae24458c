"""GLB files: whether one is complete and holds a mesh, and the packing of glTF files and archives into one.

Written here rather than left to a reader of meshes: those take the whole file into memory, and pass over what is
missing or out of bounds.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import mmap
import posixpath
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, unquote_to_bytes

import numpy as np
import numpy.typing as npt

from engine.crawling.downloader import PageFailed, PageTrouble

_JSON, _BIN = 0x4E4F534A, 0x004E4942
_LIMIT = 0xFFFFFFFF
_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_TRIANGLES = (4, 5, 6)
_MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")


@dataclass(frozen=True)
class GlbFacts:
    """What a checked GLB holds."""

    bytes: int
    meshes: int
    triangles: int
    """As drawn once each; 0 where the mesh is compressed."""
    textures: int


class _Damaged(Exception):
    """What is wrong with a file, in words that follow its name."""


# -- checking ------------------------------------------------------------------------------------------------


def check_glb(path: Path) -> GlbFacts:
    """Read a GLB through: lengths, JSON, the bounds of every buffer, positions and indices of every mesh.

    PageTrouble for one that is cut off or damaged, as another download may be whole; PageFailed for a whole one
    without a mesh.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _check(content)
    except ValueError as error:  # an empty file cannot be mapped
        raise PageTrouble("The file that came is empty.") from error
    except _Damaged as error:
        raise PageTrouble(f"The file that came is damaged: {error}.") from error


def _check(content: mmap.mmap) -> GlbFacts:
    size = len(content)
    if size < 12 or content[:4] != b"glTF":
        raise _Damaged("it does not begin as a GLB")
    version, length = struct.unpack("<II", content[4:12])
    if version != 2:
        raise PageFailed(f"The model is in an old format: GLB version {version}, where version 2 is needed.")
    if size < length:
        raise PageTrouble(f"The file came incomplete: {size} of {length} bytes.")
    if size > length:
        raise _Damaged(f"it has {size} bytes where its header says {length}")
    document, at, room = _chunks(content, length)
    if any(not str(b.get("uri", "data:")).startswith("data:") for b in _list(document, "buffers")):
        raise PageFailed("The model refers to other files that did not come with it.")
    if any("uri" in i and not str(i["uri"]).startswith("data:") for i in _list(document, "images")):
        raise PageFailed("The model refers to pictures that did not come with it.")
    try:
        return _check_document(document, content, at, room)
    except _Damaged:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _Damaged(f"its parts do not fit together ({type(error).__name__}: {error})") from error


def _chunks(content: mmap.mmap, length: int) -> tuple[dict[str, Any], int, int]:
    """The JSON, and where the binary chunk begins and how long it is."""
    at, document, begin, room = 12, None, 0, 0
    while at + 8 <= length:
        size, kind = struct.unpack("<II", content[at : at + 8])
        at += 8
        if at + size > length:
            raise _Damaged("a part of it is longer than the file")
        if kind == _JSON and document is None:
            document = parse_gltf(content[at : at + size])
        elif kind == _BIN and not room:
            begin, room = at, size
        at += size
    if document is None:
        raise _Damaged("its description is missing")
    return document, begin, room


def parse_gltf(text: bytes) -> dict[str, Any]:
    """The JSON of a glTF file."""
    try:
        document = json.loads(text.rstrip(b"\0 \r\n\t"))
    except (ValueError, RecursionError) as error:
        raise _Damaged("its description cannot be read") from error
    if not isinstance(document, dict):
        raise _Damaged("its description is none")
    return document


def _list(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = document.get(name, [])
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise _Damaged(f"its list of {name} is none")
    return found


def _check_document(document: dict[str, Any], content: mmap.mmap, at: int, room: int) -> GlbFacts:
    buffers, views = _list(document, "buffers"), _list(document, "bufferViews")
    if buffers and "uri" not in buffers[0] and buffers[0]["byteLength"] > room:
        raise _Damaged("its data are shorter than it says")
    for view in views:
        if (
            view.get("byteOffset", 0) < 0
            or view.get("byteOffset", 0) + view["byteLength"] > (buffers[view["buffer"]]["byteLength"])
        ):
            raise _Damaged("a piece of its data lies outside of them")
    for image in _list(document, "images"):
        if "bufferView" in image:
            views[image["bufferView"]]
    accessors = _list(document, "accessors")

    def read(index: int) -> npt.NDArray[Any] | None:
        return _read(accessors[index], views, buffers, content, at)

    meshes = triangles = 0
    for mesh in _list(document, "meshes"):
        found = False
        for primitive in _list(mesh, "primitives"):
            attributes = primitive.get("attributes", {})
            if primitive.get("mode", 4) not in _TRIANGLES or "POSITION" not in attributes:
                continue
            count = accessors[attributes["POSITION"]]["count"]
            if "KHR_draco_mesh_compression" in primitive.get("extensions", {}):
                views[primitive["extensions"]["KHR_draco_mesh_compression"]["bufferView"]]
                found |= count >= 3
                continue
            positions = read(attributes["POSITION"])
            if positions is not None and positions.dtype.kind == "f" and not np.isfinite(positions).all():
                raise _Damaged("positions of its mesh are no numbers")
            drawn = count
            if "indices" in primitive:
                indices = read(primitive["indices"])
                drawn = accessors[primitive["indices"]]["count"]
                if indices is not None and indices.size and int(indices.max()) >= count:
                    raise _Damaged("its mesh uses corners that it does not have")
            triangles += drawn // 3 if primitive.get("mode", 4) == 4 else max(drawn - 2, 0)
            found |= drawn >= 3
        meshes += found
    if not meshes:
        what = "no mesh" if not document.get("meshes") else "only points and lines, no mesh"
        raise PageFailed(f"The model holds {what}.")
    return GlbFacts(len(content), meshes, triangles, len(_list(document, "images")))


def _read(
    accessor: dict[str, Any],
    views: list[dict[str, Any]],
    buffers: list[dict[str, Any]],
    content: mmap.mmap,
    at: int,
) -> npt.NDArray[Any] | None:
    """The numbers of an accessor, checked to lie inside; None where they are compressed or elsewhere than in BIN."""
    if "bufferView" not in accessor:
        return None
    view = views[accessor["bufferView"]]
    if any(name in view.get("extensions", {}) for name in _MESHOPT):
        return None
    kind, width, count = np.dtype(_COMPONENTS[accessor["componentType"]]), _WIDTHS[accessor["type"]], accessor["count"]
    element = kind.itemsize * width
    stride, offset = view.get("byteStride", element), accessor.get("byteOffset", 0)
    if count < 1 or offset < 0 or stride < element or offset + stride * (count - 1) + element > view["byteLength"]:
        raise _Damaged("a list of its numbers lies outside of its data")
    if view["buffer"] != 0 or "uri" in buffers[0]:
        return None
    begin = at + view.get("byteOffset", 0) + offset
    # A copy: an array that shares the memory would keep the file mapped.
    raw = content[begin : begin + stride * (count - 1) + element]
    return np.ndarray((count, width), kind, raw, strides=(stride, kind.itemsize))


# -- packing -------------------------------------------------------------------------------------------------


def sniff(path: Path) -> str:
    """What a file is by its content: `glb`, `zip`, `gltf`, `page` (HTML), `empty` or `unknown`."""
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        return "empty"
    if head.startswith(b"glTF"):
        return "glb"
    if head.startswith(b"PK"):
        return "zip"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"{"):
        return "gltf"
    return "page" if text.startswith(b"<") else "unknown"


def pack(path: Path, target: Path, *, most: int = _LIMIT, cancel: Callable[[], None] = lambda: None) -> Path:
    """The GLB of a file that has arrived: itself, or `target` written from a glTF with files beside it or an archive.

    `most` limits the unpacked bytes, against archives that are small only while they are packed. Nothing is
    unpacked to the disk, and no name in an archive is ever used as a path of it.
    """
    kind = sniff(path)
    if kind == "glb":
        return path
    if kind == "page":
        raise PageTrouble("The site sent a web page in place of the model.")
    if kind == "empty":
        raise PageTrouble("The file that came is empty.")
    if kind == "unknown":
        raise PageFailed("The file that came is no model: neither GLB, glTF nor zip.")
    try:
        if kind == "gltf":
            source: _Source = _Folder(path.parent)
            document = parse_gltf(path.read_bytes())
            _write(document, source, "", target, most, cancel)
        else:
            with zipfile.ZipFile(path) as archive:
                _pack_archive(_Archive(archive), target, most, cancel)
    except _Damaged as error:
        raise PageFailed(f"The model cannot be packed: {error}.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise PageTrouble("The archive came damaged or incomplete.") from error
    except (RuntimeError, NotImplementedError, zipfile.LargeZipFile) as error:
        raise PageFailed(f"The archive cannot be opened: {error}.") from error
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise PageFailed(f"The model cannot be packed: its parts do not fit together ({error}).") from error
    return target


def _pack_archive(archive: _Archive, target: Path, most: int, cancel: Callable[[], None]) -> None:
    names = sorted(archive.names, key=lambda name: (name.count("/"), name))
    for suffix in (".gltf", ".glb"):
        for name in names:
            if not name.lower().endswith(suffix):
                continue
            if archive.size(name) > most:
                raise _Damaged(f"{name} is too large: {archive.size(name)} bytes unpacked")
            if suffix == ".glb":
                with archive.open(name) as file, target.open("wb") as out:
                    _copy(file, out, archive.size(name), name, cancel)
            else:
                with archive.open(name) as file:
                    document = parse_gltf(file.read(most))
                _write(document, archive, posixpath.dirname(name), target, most, cancel)
            return
    raise _Damaged("the archive holds neither a .gltf nor a .glb file")


class _Folder:
    """Files beside a glTF; nothing outside of their folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def find(self, name: str) -> str:
        path = (self.root / name).resolve()
        if not path.is_relative_to(self.root) or not path.is_file():
            raise _Damaged(f"the file {name} is missing")
        return str(path)

    def size(self, name: str) -> int:
        return Path(name).stat().st_size

    def open(self, name: str) -> IO[bytes]:
        return Path(name).open("rb")


class _Archive:
    """Files in an archive, by normalised names; names that lead out of it are not found."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.names = {}
        for info in archive.infolist():
            name = posixpath.normpath(info.filename.replace("\\", "/"))
            if not info.is_dir() and not name.startswith(("../", "/")):
                self.names[name] = info
        self._folded = {name.casefold(): name for name in self.names}

    def find(self, name: str) -> str:
        found = self._folded.get(posixpath.normpath(name).casefold())
        if found is None:
            raise _Damaged(f"the file {name} is missing")
        return found

    def size(self, name: str) -> int:
        return self.names[name].file_size

    def open(self, name: str) -> IO[bytes]:
        return self._archive.open(self.names[name])


_Source = _Folder | _Archive
_Piece = tuple[int, Callable[[], IO[bytes]], str]


def _write(
    document: dict[str, Any], source: _Source, base: str, target: Path, most: int, cancel: Callable[[], None]
) -> None:
    """Write a glTF and the files that it names as one GLB."""
    pieces: list[_Piece] = []
    starts: list[int] = []
    end = 0

    def add(size: int, begin: Callable[[], IO[bytes]], name: str) -> int:
        nonlocal end
        start = end
        pieces.append((size, begin, name))
        end += size + -size % 4
        if end > most:
            raise _Damaged(f"it is too large: more than {most} bytes unpacked")
        return start

    def locate(uri: str) -> tuple[int, Callable[[], IO[bytes]], str, str]:
        if uri.startswith("data:"):
            kind, content = _decode(uri)
            return len(content), lambda: io.BytesIO(content), "data", kind
        if re.match(r"[a-z][a-z0-9+.-]+:", uri, re.IGNORECASE):
            raise _Damaged(f"it refers to the address {uri[:80]}")
        name = source.find(posixpath.join(base, unquote(uri).replace("\\", "/")))
        return source.size(name), lambda: source.open(name), name, ""

    for buffer in _list(document, "buffers"):
        if "uri" not in buffer:
            raise _Damaged("one of its buffers has no data")
        size, begin, name, _ = locate(buffer["uri"])
        if size < buffer["byteLength"]:
            raise _Damaged(f"{name} is shorter than it should be: {size} of {buffer['byteLength']} bytes")
        starts.append(add(size, begin, name))
    views = _list(document, "bufferViews")
    for view in views:
        compressed = [view["extensions"][name] for name in _MESHOPT if name in view.get("extensions", {})]
        for place in (view, *compressed):
            place["byteOffset"] = place.get("byteOffset", 0) + starts[place["buffer"]]
            place["buffer"] = 0
    for image in _list(document, "images"):
        if "uri" in image:
            size, begin, name, kind = locate(image.pop("uri"))
            with begin() as file:
                head = file.read(12)
            image["mimeType"] = _mime(head) or image.get("mimeType") or kind or "image/png"
            views.append({"buffer": 0, "byteOffset": add(size, begin, name), "byteLength": size})
            image["bufferView"] = len(views) - 1
    document.pop("buffers", None)
    if views:
        document["bufferViews"] = views
    if end:
        document["buffers"] = [{"byteLength": end}]
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + (8 + end if end else 0)
    if total > _LIMIT:
        raise _Damaged("it is larger than a GLB can be")
    with target.open("wb") as out:
        out.write(struct.pack("<4sII", b"glTF", 2, total) + struct.pack("<II", len(text), _JSON) + text)
        if end:
            out.write(struct.pack("<II", end, _BIN))
        for size, begin, name in pieces:
            with begin() as file:
                _copy(file, out, size, name, cancel)
            out.write(b"\0" * (-size % 4))


def _copy(file: IO[bytes], out: IO[bytes], size: int, name: str, cancel: Callable[[], None]) -> None:
    left = size
    while left > 0:
        cancel()
        block = file.read(min(left, 1 << 20))
        if not block:
            raise _Damaged(f"{name} is shorter than it should be")
        out.write(block)
        left -= len(block)
    file.read(1)  # at its end an archive compares the checksum


def _decode(uri: str) -> tuple[str, bytes]:
    head, _, body = uri[5:].partition(",")
    try:
        if head.endswith(";base64"):
            return head.removesuffix(";base64"), base64.b64decode(unquote(body))
        return head, unquote_to_bytes(body)
    except (binascii.Error, ValueError) as error:
        raise _Damaged("data inside its description cannot be read") from error


def _mime(head: bytes) -> str:
    if head.startswith(b"\x89PNG"):
        return "image/png"
    if head.startswith(b"\xff\xd8"):
        return "image/jpeg"
    if head.startswith(b"RIFF") and head[8:] == b"WEBP":
        return "image/webp"
    return "image/ktx2" if head.startswith(b"\xabKTX 20") else ""
