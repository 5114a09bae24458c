"""What has arrived: whether a GLB is complete and holds a mesh, and glTF files and archives packed into one."""

from __future__ import annotations

import io
import mmap
import posixpath
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt

from engine.crawling.downloader import PageFailed, PageTrouble
from engine.meshes import gltf
from engine.meshes.gltf import Damaged, entries

_LIMIT = 0xFFFFFFFF
_MODES = (gltf.TRIANGLES, gltf.STRIP, gltf.FAN)


@dataclass(frozen=True)
class GlbFacts:
    """What a checked GLB holds."""

    bytes: int
    meshes: int
    triangles: int
    """As drawn once each; 0 where the mesh is compressed."""
    textures: int


# -- checking ------------------------------------------------------------------------------------------------


def check_glb(path: Path) -> GlbFacts:
    """Read a GLB through: lengths, JSON, the bounds of every buffer, positions and indices of every mesh.

    PageTrouble for one that is cut off or damaged, as another download may be whole; PageFailed for a whole one
    without a mesh.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _check(content)
    except Damaged as error:
        raise PageTrouble(f"The file that came is damaged: {error}.") from error
    except ValueError as error:  # an empty file cannot be mapped
        raise PageTrouble("The file that came is empty.") from error


def _check(content: mmap.mmap) -> GlbFacts:
    size = len(content)
    if size < 12 or content[:4] != gltf.MAGIC:
        raise Damaged("it does not begin as a GLB")
    version, length = gltf.glb_header(content)
    if version != 2:
        raise PageFailed(
            f"The model is in an old format: GLB version {version}, where version 2 is needed.", kind="model"
        )
    if size < length:
        raise PageTrouble(f"The file came incomplete: {size} of {length} bytes.")
    if size > length:
        raise Damaged(f"it has {size} bytes where its header says {length}")
    text, at, room = gltf.glb_parts(content, length)
    document = gltf.parse(text)
    if any(not str(b.get("uri", "data:")).startswith("data:") for b in entries(document, "buffers")):
        raise PageFailed("The model refers to other files that did not come with it.", kind="model")
    if any("uri" in i and not str(i["uri"]).startswith("data:") for i in entries(document, "images")):
        raise PageFailed("The model refers to pictures that did not come with it.", kind="model")
    try:
        return _check_document(document, content, at, room)
    except Damaged:
        raise
    except gltf.MALFORMED as error:
        raise Damaged(f"its parts do not fit together ({type(error).__name__}: {error})") from error


def _check_document(document: dict[str, Any], content: mmap.mmap, at: int, room: int) -> GlbFacts:
    buffers, views = entries(document, "buffers"), entries(document, "bufferViews")
    if buffers and "uri" not in buffers[0] and buffers[0]["byteLength"] > room:
        raise Damaged("its data are shorter than it says")
    for view in views:
        start = view.get("byteOffset", 0)
        if start < 0 or start + view["byteLength"] > buffers[view["buffer"]]["byteLength"]:
            raise Damaged("a piece of its data lies outside of them")
    for image in entries(document, "images"):
        if "bufferView" in image:
            views[image["bufferView"]]
    accessors = entries(document, "accessors")

    def read(index: int) -> npt.NDArray[Any] | None:
        """Numbers, checked to lie inside; None where they are compressed or elsewhere than in the binary part."""
        accessor = accessors[index]
        if "bufferView" not in accessor:
            return None
        view = views[accessor["bufferView"]]
        if any(name in view.get("extensions", {}) for name in gltf.MESHOPT):
            return None
        (kind, width), count, offset = gltf.numbers_of(accessor), accessor["count"], accessor.get("byteOffset", 0)
        element = kind.itemsize * width
        stride = gltf.stride_within(view["byteLength"], element, count, view.get("byteStride"), offset)
        if view["buffer"] != 0 or "uri" in buffers[0]:
            return None
        begin = at + view.get("byteOffset", 0) + offset
        # A copy: an array that shares the memory would keep the file mapped.
        raw = content[begin : begin + stride * (count - 1) + element]
        return np.ndarray((count, width), kind, raw, strides=(stride, kind.itemsize))

    meshes = triangles = 0
    for mesh in entries(document, "meshes"):
        found = False
        for primitive in entries(mesh, "primitives"):
            attributes = primitive.get("attributes", {})
            if primitive.get("mode", 4) not in _MODES or "POSITION" not in attributes:
                continue
            count = accessors[attributes["POSITION"]]["count"]
            if gltf.DRACO in primitive.get("extensions", {}):
                views[primitive["extensions"][gltf.DRACO]["bufferView"]]
                found |= count >= 3
                continue
            positions = read(attributes["POSITION"])
            if positions is not None and positions.dtype.kind == "f" and not np.isfinite(positions).all():
                raise Damaged("positions of its mesh are no numbers")
            drawn = count
            if "indices" in primitive:
                indices = read(primitive["indices"])
                drawn = accessors[primitive["indices"]]["count"]
                if indices is not None and indices.size and int(indices.max()) >= count:
                    raise Damaged("its mesh uses corners that it does not have")
            triangles += drawn // 3 if primitive.get("mode", 4) == 4 else max(drawn - 2, 0)
            found |= drawn >= 3
        meshes += found
    if not meshes:
        what = "no mesh" if not document.get("meshes") else "only points and lines, no mesh"
        raise PageFailed(f"The model holds {what}.", kind="model")
    return GlbFacts(len(content), meshes, triangles, len(entries(document, "images")))


# -- packing -------------------------------------------------------------------------------------------------


def sniff(path: Path) -> str:
    """What a file is by its content: `glb`, `zip`, `gltf`, `page` (HTML), `empty` or `unknown`."""
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        return "empty"
    if head.startswith(gltf.MAGIC):
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
        raise PageFailed("The file that came is no model: neither GLB, glTF nor zip.", kind="model")
    try:
        if kind == "gltf":
            source: _Source = _Folder(path.parent)
            document = gltf.parse(path.read_bytes())
            _write(document, source, "", target, most, cancel)
        else:
            with zipfile.ZipFile(path) as archive:
                _pack_archive(_Archive(archive), target, most, cancel)
    except Damaged as error:
        raise PageFailed(f"The model cannot be packed: {error}.", kind="model") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise PageTrouble("The archive came damaged or incomplete.") from error
    except (RuntimeError, NotImplementedError, zipfile.LargeZipFile) as error:
        raise PageFailed(f"The archive cannot be opened: {error}.") from error
    except gltf.MALFORMED as error:
        raise PageFailed(
            f"The model cannot be packed: its parts do not fit together ({error}).", kind="model"
        ) from error
    return target


def _pack_archive(archive: _Archive, target: Path, most: int, cancel: Callable[[], None]) -> None:
    names = sorted(archive.names, key=lambda name: (name.count("/"), name))
    for suffix in (".gltf", ".glb"):
        for name in names:
            if not name.lower().endswith(suffix):
                continue
            if archive.size(name) > most:
                raise Damaged(f"{name} is too large: {archive.size(name)} bytes unpacked")
            if suffix == ".glb":
                with archive.open(name) as file, target.open("wb") as out:
                    _copy(file, out, archive.size(name), name, cancel)
            else:
                with archive.open(name) as file:
                    document = gltf.parse(file.read(most))
                _write(document, archive, posixpath.dirname(name), target, most, cancel)
            return
    raise Damaged("the archive holds neither a .gltf nor a .glb file")


class _Folder:
    """Files beside a glTF; nothing outside of their folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def find(self, name: str) -> str:
        path = (self.root / name).resolve()
        if not path.is_relative_to(self.root) or not path.is_file():
            raise Damaged(f"the file {name} is missing")
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
            raise Damaged(f"the file {name} is missing")
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
            raise Damaged(f"it is too large: more than {most} bytes unpacked")
        return start

    def locate(uri: str) -> tuple[int, Callable[[], IO[bytes]], str, str]:
        if uri.startswith("data:"):
            kind, content = gltf.data_of(uri)
            return len(content), lambda: io.BytesIO(content), "data", kind
        if gltf.is_remote(uri):
            raise Damaged(f"it refers to the address {uri[:80]}")
        name = source.find(posixpath.join(base, unquote(uri).replace("\\", "/")))
        return source.size(name), lambda: source.open(name), name, ""

    for buffer in entries(document, "buffers"):
        if "uri" not in buffer:
            raise Damaged("one of its buffers has no data")
        size, begin, name, _ = locate(buffer["uri"])
        if size < buffer["byteLength"]:
            raise Damaged(f"{name} is shorter than it should be: {size} of {buffer['byteLength']} bytes")
        starts.append(add(size, begin, name))
    views = entries(document, "bufferViews")
    for view in views:
        compressed = [view["extensions"][name] for name in gltf.MESHOPT if name in view.get("extensions", {})]
        for place in (view, *compressed):
            place["byteOffset"] = place.get("byteOffset", 0) + starts[place["buffer"]]
            place["buffer"] = 0
    for image in entries(document, "images"):
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
    head = gltf.glb_head(document, end)
    with target.open("wb") as out:
        out.write(head)
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
            raise Damaged(f"{name} is shorter than it should be")
        out.write(block)
        left -= len(block)
    file.read(1)  # at its end an archive compares the checksum


def _mime(head: bytes) -> str:
    if head.startswith(b"\x89PNG"):
        return "image/png"
    if head.startswith(b"\xff\xd8"):
        return "image/jpeg"
    if head.startswith(b"RIFF") and head[8:] == b"WEBP":
        return "image/webp"
    return "image/ktx2" if head.startswith(b"\xabKTX 20") else ""
