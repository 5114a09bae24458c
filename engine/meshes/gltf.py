"""The glTF 2.0 format: the chunks of a GLB, the description of a file, and the numbers and files that it points to.

Done here rather than by a library: a file is mapped, so that only what is asked for is ever read (large files come
about ten times faster), and what is missing or out of bounds is found.
"""

from __future__ import annotations

import base64
import binascii
import json
import mmap
import re
import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import numpy as np
import numpy.typing as npt

from engine.meshes import meshopt

Array = npt.NDArray[Any]

MAGIC = b"glTF"
COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
"""Kinds of numbers by `componentType`."""
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
"""Numbers in an element by `type`."""
TRIANGLES, STRIP, FAN = 4, 5, 6
"""Modes of primitives that are triangles."""
DRACO = "KHR_draco_mesh_compression"
TEXTURES = ("EXT_texture_webp", "EXT_texture_avif")
"""Extensions that give a texture another picture; the last goes before."""
KTX2 = "KHR_texture_basisu"
KTX2_WORDS = "Its textures are in the KTX2 format, which is not shown; colours are plain."
MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")

_JSON, _BIN = 0x4E4F534A, 0x004E4942
_LARGEST = 0xFFFFFFFF


class Damaged(ValueError):
    """What of a file does not fit together, in words that follow its name."""


class Missing(Damaged):
    """Data that are not there; the text says which."""


MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError)
"""What reading a description raises in which something is not of the kind that it should be; `Damaged` is among it."""


# -- files ---------------------------------------------------------------------------------------------------


def glb_header(content: mmap.mmap) -> tuple[int, int]:
    """Version and length in bytes that a GLB gives for itself."""
    if len(content) < 12:
        raise Damaged("it is cut off at its beginning")
    version, length = struct.unpack("<II", content[4:12])
    return version, length


def glb_parts(content: mmap.mmap, length: int) -> tuple[bytes, int, int]:
    """The JSON of a GLB of this length, where its binary part begins, and how long that is (0 where there is none)."""
    at, text, begin, room = 12, None, 0, 0
    while at + 8 <= min(length, len(content)):
        size, kind = struct.unpack("<II", content[at : at + 8])
        at += 8
        if at + size > len(content):
            raise Damaged("a part of it is longer than the file")
        if kind == _JSON and text is None:
            text = content[at : at + size]
        elif kind == _BIN and not room:
            begin, room = at, size
        at += size
    if text is None:
        raise Damaged("its description is missing")
    return text, begin, room


def glb_head(document: dict[str, Any], room: int) -> bytes:
    """All of a GLB but its binary part, whose `room` bytes (a multiple of 4, or 0 for none) are to follow."""
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    total = 20 + len(text) + (8 + room if room else 0)
    if total > _LARGEST:
        raise Damaged("it is larger than a GLB can be")
    head = struct.pack("<4sIIII", MAGIC, 2, total, len(text), _JSON) + text
    return head + struct.pack("<II", room, _BIN) if room else head


class GlbWriter:
    """The binary part of a GLB as it grows, and what points into it."""

    def __init__(self) -> None:
        self._body = bytearray()
        self._views: list[dict[str, Any]] = []
        self._accessors: list[dict[str, Any]] = []

    def view(self, content: bytes, **fields: Any) -> int:
        """Number of the buffer view of these bytes, which has more `fields`."""
        self._views.append({"buffer": 0, "byteOffset": len(self._body), "byteLength": len(content), **fields})
        self._body += content + b"\0" * (-len(content) % 4)
        return len(self._views) - 1

    def accessor(self, values: Array, target: int | None = None, **fields: Any) -> int:
        """Number of the accessor of an array (N,) or (N, 2..4), whose view is for the `target`."""
        kind = "SCALAR" if values.ndim == 1 else f"VEC{values.shape[1]}"
        component = next(code for code, name in COMPONENTS.items() if values.dtype == name)
        view = self.view(np.ascontiguousarray(values).tobytes(), **({} if target is None else {"target": target}))
        entry = {"bufferView": view, "componentType": component, "count": len(values), "type": kind}
        self._accessors.append(entry | fields)
        return len(self._accessors) - 1

    def content(self, document: dict[str, Any]) -> bytes:
        """The file, of a description without what was written here."""
        accessors = {"accessors": self._accessors} if self._accessors else {}
        buffers = {"bufferViews": self._views, "buffers": [{"byteLength": len(self._body)}]}
        return glb_head(document | accessors | buffers, len(self._body)) + self._body


def parse(text: bytes) -> dict[str, Any]:
    """The description of a file, of its JSON."""
    try:
        document = json.loads(text.rstrip(b"\0 \r\n\t"))
    except (ValueError, RecursionError) as error:
        raise Damaged("its description cannot be read") from error
    if not isinstance(document, dict):
        raise Damaged("its description cannot be read")
    return document


def entries(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """A list of a description, which may be left out; `Damaged` where it is none of objects."""
    found = document.get(name, [])
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise Damaged(f"its list of {name} is none")
    return found


# -- addresses -----------------------------------------------------------------------------------------------


def is_remote(uri: str) -> bool:
    """Whether an address is not that of a file beside."""
    return bool(re.match(r"[a-z][a-z0-9+.-]+:", uri, re.IGNORECASE))


def data_of(uri: str) -> tuple[str, bytes]:
    """Media type and content of an address that begins with `data:`."""
    head, _, body = uri[5:].partition(",")
    try:
        if head.endswith(";base64"):
            return head.removesuffix(";base64"), base64.b64decode(unquote(body))
        return head, unquote_to_bytes(body)
    except (binascii.Error, ValueError) as error:
        raise Damaged("data inside its description cannot be read") from error


# -- numbers -------------------------------------------------------------------------------------------------


def numbers_of(accessor: dict[str, Any]) -> tuple[np.dtype[Any], int]:
    """Kind and count of the numbers in each element of an accessor."""
    return np.dtype(COMPONENTS[accessor["componentType"]]), WIDTHS[accessor["type"]]


def stride_within(room: int, element: int, count: int, stride: int | None, offset: int) -> int:
    """Bytes from each of `count` elements to the next; `Damaged` where they do not lie within `room` bytes."""
    stride = stride or element
    if count < 1 or offset < 0 or stride < element or offset + stride * (count - 1) + element > room:
        raise Damaged("a list of its numbers lies outside of its data")
    return stride


def strided(view: Array, kind: np.dtype[Any], width: int, count: int, stride: int | None, offset: int) -> Array:
    """(count, width) numbers in bytes (N,), without a copy."""
    if count == 0:
        return np.zeros((0, width), kind)
    stride = stride_within(len(view), kind.itemsize * width, count, stride, offset)
    return np.ndarray((count, width), kind, view, offset, (stride, kind.itemsize))


class Reader:
    """What a description points to, read when it is asked for. Raises one of `MALFORMED` for what is not there."""

    def __init__(self, document: dict[str, Any], folder: Path, binary: Array | None) -> None:
        """`folder`: the file's own. `binary`: the mapped binary part of a GLB, if there is one."""
        self.document = document
        self.compressed = ""
        """How of what was read so far was packed: Draco, meshopt or not."""
        self._folder = folder
        self._binary = binary
        self._buffers: dict[int, Array] = {}
        self._unpacked: dict[int, Array] = {}

    def items(self, name: str) -> list[Any]:
        """A list of the description; empty where there is none."""
        found = self.document.get(name, [])
        return found if isinstance(found, list) else []

    def item(self, name: str, index: Any) -> Any:
        """An entry of a list of the description."""
        if not isinstance(index, int) or index < 0:
            raise Damaged("a reference in it leads nowhere")
        return self.items(name)[index]

    def accessor(self, index: int) -> tuple[Array, bool]:
        """The numbers of an accessor (N, width) and whether integers stand for 0..1; not to be written to."""
        accessor = self.item("accessors", index)
        kind, width = numbers_of(accessor)
        count = accessor["count"]
        if not isinstance(count, int) or count < 0:
            raise Damaged("a list of its numbers has no length")
        if "bufferView" in accessor:
            view, stride = self.view(accessor["bufferView"])
            values = strided(view, kind, width, count, stride, accessor.get("byteOffset", 0))
        elif DRACO in self.document.get("extensionsUsed", ()) and "sparse" not in accessor:
            raise Damaged("a list of its numbers has no data")
        else:
            values = np.zeros((count, width), kind)
        if "sparse" in accessor:
            sparse = accessor["sparse"]
            few, at, to = sparse["count"], sparse["indices"], sparse["values"]
            which = np.dtype(COMPONENTS[at["componentType"]])
            places = strided(self.view(at["bufferView"])[0], which, 1, few, None, at.get("byteOffset", 0))
            put = strided(self.view(to["bufferView"])[0], kind, width, few, None, to.get("byteOffset", 0))
            values = values.copy()
            values[places[:, 0]] = put
        return values, bool(accessor.get("normalized")) and kind.kind in "iu"

    def view(self, index: int) -> tuple[Array, int | None]:
        """The bytes of a buffer view, unpacked where they are compressed, and their stride."""
        view = self.item("bufferViews", index)
        packed = next((view["extensions"][n] for n in MESHOPT if n in (view.get("extensions") or {})), None)
        if packed is None:
            return self._slice(view), view.get("byteStride")
        if index not in self._unpacked:
            self.compressed = "meshopt"
            self._unpacked[index] = meshopt.decode(
                self._slice(packed),
                count=packed["count"],
                stride=packed["byteStride"],
                mode=packed["mode"],
                filter=packed.get("filter", "NONE"),
            )
        return self._unpacked[index], packed["byteStride"] if packed["mode"] == "ATTRIBUTES" else None

    def _slice(self, view: dict[str, Any]) -> Array:
        data = self._buffer(view["buffer"])
        at, length = view.get("byteOffset", 0), view["byteLength"]
        if at < 0 or length < 0 or at + length > len(data):
            raise Damaged("some of its data lie outside of the file")
        return data[at : at + length]

    def _buffer(self, index: int) -> Array:
        if index not in self._buffers:
            uri = self.item("buffers", index).get("uri")
            if uri is None:
                if index != 0 or self._binary is None:
                    raise Missing("its data are not in the file")
                self._buffers[index] = self._binary
            elif uri.startswith("data:"):
                self._buffers[index] = np.frombuffer(data_of(uri)[1], np.uint8)
            else:
                self._buffers[index] = np.asarray(np.memmap(self.beside(uri), np.uint8, "r"))
        return self._buffers[index]

    def picture(self, image: dict[str, Any]) -> bytes:
        """The content of an image that has an address."""
        uri = image["uri"]
        return data_of(uri)[1] if uri.startswith("data:") else self.beside(uri).read_bytes()

    def beside(self, uri: str) -> Path:
        """The file that an address names, which must lie in the folder or below."""
        if is_remote(uri):
            raise Missing(f"it needs {uri[:80]} from the network")
        root = self._folder.resolve()
        for name in (unquote(uri).replace("\\", "/"), uri):
            found = (root / name).resolve()
            if found.is_relative_to(root) and found.is_file() and found.stat().st_size:
                return found
        raise Missing(f"the file {unquote(uri)[:80]} is missing beside it")
