"""Model files read into plain pieces: GLB and glTF directly, OBJ, PLY and STL through trimesh.

glTF is read here rather than by a library: the file is mapped, and only what a preview shows is ever decoded
(positions, texture coordinates, colours and base colour pictures), which makes large files about ten times faster.
What is damaged in part is left out with a warning, so that the rest can still be judged.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import mmap
import re
import struct
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, unquote_to_bytes

import numpy as np
import numpy.typing as npt

from engine.core.errors import InputError
from engine.meshes import meshopt
from engine.meshes.mesh import ByteArray, FloatArray, IntArray

Alpha = Literal["opaque", "mask", "blend"]
Array = npt.NDArray[Any]

FORMATS = (".glb", ".gltf", ".obj", ".ply", ".stl")
"""Suffixes of the files that can be shown."""

_JSON, _BIN = 0x4E4F534A, 0x004E4942
_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_DRACO = "KHR_draco_mesh_compression"
_MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")
_KNOWN = {
    *_MESHOPT,
    _DRACO,
    "KHR_mesh_quantization",
    "KHR_texture_transform",
    "KHR_texture_basisu",
    "EXT_texture_webp",
    "KHR_materials_pbrSpecularGlossiness",
}
_Y_TO_Z = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
_CHUNK = 1 << 16
_FAILURES = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, struct.error)


class Unreadable(InputError):
    """A model file of which nothing can be shown; the text says why and what may be done."""


@dataclass
class Picture:
    """A texture that has not been decoded yet."""

    name: str
    read: Callable[[], bytes]


@dataclass
class Surface:
    """How the triangles of a piece look."""

    picture: Picture | None = None
    color: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    """Multiplied with the texture and the vertex colours; linear light, alpha last."""
    alpha: Alpha = "opaque"
    cutoff: float = 0.5
    double_sided: bool = False
    repeat: bool = True


@dataclass
class Piece:
    """Triangles of one surface in the file's units, Z up."""

    points: FloatArray
    """(V, 3)."""
    triangles: IntArray
    """(T, 3)."""
    surface: Surface
    uv: FloatArray | None = None
    """(V, 2), origin at the lower left."""
    colors: ByteArray | None = None
    """(V, 4) sRGB and alpha."""
    normals: FloatArray | None = None
    """(V, 3)."""


@dataclass
class Model:
    """All that a preview needs of a file."""

    pieces: list[Piece]
    origin: Array
    """(3,) to be added to every point: taken off so that far-away models keep their precision."""
    warnings: list[str] = field(default_factory=list)
    animated: bool = False
    compressed: str = ""
    """Draco, meshopt or nothing."""


def read_model(path: Path) -> Model:
    """The triangles of a model file, at rest, all scenes together. Raises Unreadable with a text for the annotator."""
    if not path.is_file():
        raise Unreadable(f"There is no file {path.name} in {path.parent}. Was it moved? Skip it, or put it back.")
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise Unreadable(f"{path.name} cannot be opened ({error.strerror}). Check its rights and the disk.") from error
    suffix = path.suffix.lower()
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not head:
        raise Unreadable(f"{path.name} is empty: 0 bytes. Download it again, or reject it.")
    if head[:4] == b"glTF":
        return _Gltf(path).read()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise Unreadable(f"{path.name} is a web page, not a model. Download the model again, or reject it.")
    if text.startswith(b"version https://git-lfs"):
        raise Unreadable(f"{path.name} only points to a file in Git LFS. Fetch the file itself with git lfs pull.")
    if head[:2] == b"PK":
        raise Unreadable(f"{path.name} is a zip archive. Unpack it and screen the model inside.")
    if suffix == ".glb":
        raise Unreadable(f"{path.name} is damaged: it does not begin as a GLB. Download it again, or reject it.")
    if suffix == ".gltf" or (suffix not in FORMATS and text.startswith(b"{")):
        return _Gltf(path).read()
    if suffix in FORMATS:
        return _read_other(path, suffix)
    raise Unreadable(f"{path.name} is of a kind that cannot be shown. Shown are {', '.join(FORMATS)} files.")


# -- glTF ----------------------------------------------------------------------------------------------------


class _Gltf:
    """One GLB or glTF file while it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._warnings: dict[str, None] = {}
        self._compressed = ""
        self._views: dict[int, Array] = {}
        self._buffers: dict[int, Array] = {}
        self._surfaces: dict[int | None, tuple[Surface, int, Callable[[Array], Array]]] = {}
        self._pictures: dict[int, Picture | None] = {}
        self._decoded: dict[int, Any] = {}
        self._origin: Array | None = None
        self._bin: Array | None = None
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                text = self._open(content)
        except (OSError, ValueError) as error:
            raise Unreadable(f"{path.name} cannot be opened ({error}). Check its rights and the disk.") from error
        try:
            document = json.loads(text.rstrip(b"\0 \r\n\t"))
            if not isinstance(document, dict):
                raise ValueError
        except (ValueError, RecursionError) as error:
            raise self._damaged("its description cannot be read") from error
        self._document: dict[str, Any] = document

    def _damaged(self, why: str) -> Unreadable:
        return Unreadable(f"{self._path.name} is damaged: {why}. Download it again, or reject it.")

    def _warn(self, text: str) -> None:
        self._warnings[text] = None

    def _open(self, content: mmap.mmap) -> bytes:
        """The JSON of the file; the binary part of a GLB is mapped."""
        size = len(content)
        if content[:4] != b"glTF":
            return content[:].removeprefix(b"\xef\xbb\xbf")
        if size < 20:
            raise self._damaged("it is cut off at its beginning")
        version, length = struct.unpack("<II", content[4:12])
        if version != 2:
            raise Unreadable(
                f"{self._path.name} is an old GLB of version {version}; only version 2 can be shown. "
                "Convert it, or skip it."
            )
        if size < length:
            raise self._damaged(f"it is cut off, {size:,} of {length:,} bytes are there")
        at, text = 12, None
        while at + 8 <= length:
            chunk, kind = struct.unpack("<II", content[at : at + 8])
            at += 8
            if at + chunk > size:
                raise self._damaged("a part of it is longer than the file")
            if kind == _JSON and text is None:
                text = content[at : at + chunk]
            elif kind == _BIN and self._bin is None and chunk:
                self._bin = np.asarray(np.memmap(self._path, np.uint8, "r", at, (chunk,)))
            at += chunk + -chunk % 4
        if text is None:
            raise self._damaged("its description is missing")
        return text

    def _list(self, name: str) -> list[Any]:
        found = self._document.get(name, [])
        return found if isinstance(found, list) else []

    def read(self) -> Model:
        document = self._document
        version = str((document.get("asset") or {}).get("version", "2.0")) if "asset" in document else "2.0"
        if not version.startswith("2"):
            raise Unreadable(
                f"{self._path.name} is glTF of version {version}; only version 2 can be shown. Convert it, or skip it."
            )
        required = document.get("extensionsRequired")
        unknown = sorted({str(e) for e in required} - _KNOWN) if isinstance(required, list) else []
        for name in unknown:
            if not name.startswith("KHR_materials"):
                self._warn(f"It needs the extension {name}, which is not shown.")
        if not self._list("meshes"):
            raise Unreadable(f"{self._path.name} holds no mesh, so there is nothing to see. Reject or skip it.")
        pieces: list[Piece] = []
        failures: dict[str, None] = {}
        skipped = False
        for mesh, matrix, skin in self._instances():
            for primitive in self._primitives(mesh):
                if not isinstance(primitive, dict):
                    failures["a part of it cannot be read"] = None
                    continue
                if primitive.get("mode", _TRIANGLES) not in (_TRIANGLES, _STRIP, _FAN):
                    skipped = True
                    continue
                try:
                    piece = self._piece(primitive, matrix, skin)
                except _Missing as error:
                    failures[str(error)] = None
                    continue
                except _FAILURES as error:
                    reason = str(error) if isinstance(error, _Outside) else f"a part of it cannot be read ({error})"
                    failures[reason] = None
                    continue
                if piece is not None:
                    pieces.append(piece)
        if skipped:
            self._warn("Its points and lines are not shown.")
        if not pieces:
            if failures:
                raise self._damaged("; ".join(list(failures)[:3]))
            what = "only points and lines, no triangles" if skipped else "no triangles"
            raise Unreadable(f"{self._path.name} holds {what}, so there is nothing to see. Reject or skip it.")
        for reason in failures:
            self._warn(f"Parts are left out: {reason}.")
        animated = bool(self._list("animations"))
        origin = self._origin if self._origin is not None else np.zeros(3)
        return Model(pieces, origin, list(self._warnings), animated, self._compressed)

    # -- scene --

    def _primitives(self, mesh: int) -> list[Any]:
        try:
            primitives = self._list("meshes")[mesh]["primitives"]
        except _FAILURES:
            return [None]
        return primitives if isinstance(primitives, list) else [None]

    def _instances(self) -> Iterator[tuple[int, Array, int | None]]:
        """Every mesh that the scenes show: its index, its place in the world (4, 4), Z up, and its skin."""
        nodes = self._list("nodes")
        worlds: dict[int, Array] = {}
        parents = self._parents(nodes)
        roots: list[int] = []
        for scene in self._list("scenes"):
            if isinstance(scene, dict) and isinstance(scene.get("nodes"), list):
                roots += [r for r in scene["nodes"] if isinstance(r, int) and 0 <= r < len(nodes)]
        if not roots:
            roots = [i for i in range(len(nodes)) if i not in parents] or list(range(len(nodes)))
        if not nodes:
            for index in range(len(self._list("meshes"))):
                yield index, _Y_TO_Z, None
            return
        order: list[int] = []
        stack = [(root, _Y_TO_Z, False) for root in reversed(roots)]
        while stack:
            index, above, child = stack.pop()
            if index in worlds:
                if child:  # a root may well stand in several scenes
                    self._warn("Its nodes form a loop or share children; each is shown once.")
                continue
            node = nodes[index] if isinstance(nodes[index], dict) else {}
            worlds[index] = above @ self._local(node)
            order.append(index)
            children = node.get("children", [])
            for below in reversed(children if isinstance(children, list) else []):
                if isinstance(below, int) and 0 <= below < len(nodes):
                    stack.append((below, worlds[index], True))
        self._worlds = worlds
        for index in order:
            node = nodes[index]
            if isinstance(node, dict) and isinstance(node.get("mesh"), int):
                skin = node.get("skin")
                for matrix in self._copies(node, worlds[index]):
                    yield node["mesh"], matrix, skin if isinstance(skin, int) else None

    @staticmethod
    def _parents(nodes: list[Any]) -> set[int]:
        found: set[int] = set()
        for node in nodes:
            children = node.get("children", []) if isinstance(node, dict) else []
            found |= {c for c in children if isinstance(c, int)} if isinstance(children, list) else set()
        return found

    def _local(self, node: dict[str, Any]) -> Array:
        try:
            if "matrix" in node:
                matrix = np.asarray(node["matrix"], np.float64).reshape(4, 4).T
            else:
                matrix = _compose(
                    np.asarray(node.get("translation", (0, 0, 0)), np.float64).reshape(3),
                    np.asarray(node.get("rotation", (0, 0, 0, 1)), np.float64).reshape(4),
                    np.asarray(node.get("scale", (1, 1, 1)), np.float64).reshape(3),
                )
            if np.isfinite(matrix).all():
                return matrix
        except _FAILURES:
            pass
        self._warn("The place of one of its parts cannot be read; it stands where its parent stands.")
        return np.eye(4)

    def _copies(self, node: dict[str, Any], world: Array) -> list[Array]:
        """The places of a mesh that is drawn many times (EXT_mesh_gpu_instancing), else its own alone."""
        extensions = node.get("extensions")
        found = extensions.get("EXT_mesh_gpu_instancing") if isinstance(extensions, dict) else None
        if not isinstance(found, dict):
            return [world]
        try:
            read = {name: _real(*self._accessor(index)) for name, index in found["attributes"].items()}
            count = max(len(values) for values in read.values())
            places = read.get("TRANSLATION", np.zeros((count, 3)))
            turns = read.get("ROTATION", np.tile((0.0, 0, 0, 1), (count, 1)))
            sizes = read.get("SCALE", np.ones((count, 3)))
            return [world @ _compose(*parts) for parts in zip(places, turns, sizes, strict=True)]
        except (*_FAILURES, _Missing):
            self._warn("Copies of a part cannot be read; it is shown once.")
            return [world]

    # -- geometry --

    def _piece(self, primitive: dict[str, Any], matrix: Array, skin: int | None) -> Piece | None:
        attributes = primitive["attributes"]
        draco = (primitive.get("extensions") or {}).get(_DRACO)
        if draco is not None:
            read, triangles = self._draco(draco)
        else:
            read, triangles = self._plain(attributes), None
        if "POSITION" not in attributes:
            return None
        raw, normalized = read("POSITION")
        positions = _real(raw, normalized)
        if triangles is None:
            triangles = self._triangles(primitive, len(positions))
        if len(triangles) == 0 or len(positions) == 0:
            return None
        if int(triangles.max()) >= len(positions) or int(triangles.min()) < 0:
            raise _Outside("its mesh uses corners that it does not have")
        surface, channel, transform = self._surface(primitive.get("material"))
        if skin is not None and "JOINTS_0" in attributes:
            points = self._skinned(positions, read, skin, matrix)
        else:
            points = self._placed(positions, matrix)
            if _cofactors(matrix)[1] < 0:
                triangles = triangles[:, ::-1]
        piece = Piece(points, np.ascontiguousarray(triangles, np.int32), surface)
        if surface.picture is not None:
            if f"TEXCOORD_{channel}" in attributes:
                piece.uv = self._optional(lambda: transform(_real(*read(f"TEXCOORD_{channel}"))), len(points))
            if piece.uv is None:
                piece.surface = Surface(None, surface.color, surface.alpha, surface.cutoff, surface.double_sided)
        if "COLOR_0" in attributes:
            piece.colors = self._optional(lambda: _vertex_colors(_real(*read("COLOR_0"))), len(points))
        if "NORMAL" in attributes and len(triangles) < 1_000_000 and skin is None:

            def normals() -> Array:
                turn, volume = _cofactors(matrix)
                turned = _moved(_real(*read("NORMAL")), turn * np.sign(volume), np.zeros(3))
                return turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-20)

            piece.normals = self._optional(normals, len(points))
        return piece

    def _optional(self, make: Callable[[], Array], count: int) -> Array | None:
        """What `make` reads, or None where it cannot be read or does not fit."""
        try:
            found = make()
        except (*_FAILURES, _Missing):
            found = None
        if found is None or len(found) != count:
            self._warn("Texture coordinates, colours or normals of a part cannot be read.")
            return None
        return found

    def _plain(self, attributes: dict[str, int]) -> Callable[[str], tuple[Array, bool]]:
        return lambda name: self._accessor(attributes[name])

    def _draco(self, draco: dict[str, Any]) -> tuple[Callable[[str], tuple[Array, bool]], IntArray]:
        self._compressed = "Draco"
        index = draco["bufferView"]
        if index not in self._decoded:
            import DracoPy

            try:
                mesh = DracoPy.decode(self._view(index)[0].tobytes())
                faces = mesh.faces
            except Exception as error:  # the decoder's own kinds
                raise _Outside(f"its Draco compressed mesh cannot be read ({error})") from error
            values = {a["unique_id"]: np.asarray(a["data"]) for a in mesh.attributes}
            self._decoded[index] = values, np.asarray(faces, np.int32).reshape(-1, 3)
        values, triangles = self._decoded[index]

        def read(name: str) -> tuple[Array, bool]:
            found = values[draco["attributes"][name]]
            found = found.reshape(len(found), -1)
            return found, found.dtype.kind in "iu" and name.startswith(("TEXCOORD", "COLOR", "NORMAL", "WEIGHTS"))

        return read, triangles

    def _triangles(self, primitive: dict[str, Any], count: int) -> IntArray:
        if "indices" in primitive:
            order: Array = self._accessor(primitive["indices"])[0].reshape(-1)
            if order.dtype.kind != "u":
                raise _Outside("its list of corners is none")
        else:
            order = np.arange(count, dtype=np.int32)
        mode = primitive.get("mode", _TRIANGLES)
        if mode == _TRIANGLES:
            order = order[: len(order) // 3 * 3].reshape(-1, 3)
        elif len(order) < 3:
            order = order[:0].reshape(0, 3)
        elif mode == _STRIP:
            order = np.stack([order[:-2], order[1:-1], order[2:]], 1)
            order[1::2] = order[1::2, ::-1]
        else:
            order = np.stack([np.broadcast_to(order[0], len(order) - 2), order[1:-1], order[2:]], 1)
        if order.dtype == np.uint32 and order.flags.c_contiguous:
            return order.view(np.int32)  # larger ones come out negative and are refused
        return order.astype(np.int32)

    def _placed(self, positions: Array, matrix: Array) -> FloatArray:
        """Positions (V, 3) in the world, less the origin, as float32."""
        if self._origin is None:
            first = matrix[:3] @ [*positions[0].astype(np.float64), 1.0]
            self._origin = first if np.isfinite(first).all() else np.zeros(3)
        return _moved(positions, matrix[:3, :3], matrix[:3, 3] - self._origin)

    def _skinned(
        self, positions: Array, read: Callable[[str], tuple[Array, bool]], skin: int, matrix: Array
    ) -> FloatArray:
        """Positions as the joints hold them while nothing moves."""
        try:
            found = self._list("skins")[skin]
            joints = [int(j) for j in found["joints"]]
            bind = np.tile(np.eye(4), (len(joints), 1, 1))
            if "inverseBindMatrices" in found:
                raw = _real(*self._accessor(found["inverseBindMatrices"])).astype(np.float64)
                bind = raw.reshape(-1, 4, 4).transpose(0, 2, 1)[: len(joints)]
            places = np.stack([self._worlds[j] for j in joints]) @ bind
            held = read("JOINTS_0")[0].astype(np.int64)
            weights = _real(*read("WEIGHTS_0")).astype(np.float64)
            total = weights.sum(1, keepdims=True)
            if not (total > 0).all() or len(held) != len(positions) or not np.isfinite(places).all():
                raise _Outside("weights do not fit")
            weights /= total
            if self._origin is None:
                self._placed(positions[:1], places[held[0, 0]])
            points = np.empty((len(positions), 3), np.float32)
            for at in range(0, len(positions), _CHUNK):
                part = slice(at, at + _CHUNK)
                each = np.einsum("vk,vkij->vij", weights[part], places[held[part], :3])
                moved = np.einsum("vij,vj->vi", each[:, :, :3], positions[part]) + each[:, :, 3]
                points[part] = moved - self._origin
            return points
        except (*_FAILURES, _Missing):
            self._warn("Its skeleton cannot be read; the figure is shown as modelled.")
            return self._placed(positions, matrix)

    # -- data --

    def _accessor(self, index: int) -> tuple[Array, bool]:
        """The numbers of an accessor (N, width) and whether integers stand for 0..1; not to be written to."""
        accessor = self._list("accessors")[_index(index)]
        kind, width = np.dtype(_COMPONENTS[accessor["componentType"]]), _WIDTHS[accessor["type"]]
        count = accessor["count"]
        if not isinstance(count, int) or count < 0:
            raise _Outside("a list of its numbers has no length")
        if "bufferView" in accessor:
            view, stride = self._view(accessor["bufferView"])
            values = _strided(view, kind, width, count, stride, accessor.get("byteOffset", 0))
        elif _DRACO in self._document.get("extensionsUsed", ()) and "sparse" not in accessor:
            raise _Outside("a list of its numbers has no data")
        else:
            values = np.zeros((count, width), kind)
        if "sparse" in accessor:
            sparse = accessor["sparse"]
            few = sparse["count"]
            at, to = sparse["indices"], sparse["values"]
            places = _strided(
                self._view(at["bufferView"])[0],
                np.dtype(_COMPONENTS[at["componentType"]]),
                1,
                few,
                None,
                at.get("byteOffset", 0),
            )
            put = _strided(self._view(to["bufferView"])[0], kind, width, few, None, to.get("byteOffset", 0))
            values = values.copy()
            values[places[:, 0]] = put
        return values, bool(accessor.get("normalized")) and kind.kind in "iu"

    def _view(self, index: int) -> tuple[Array, int | None]:
        """The bytes of a buffer view, unpacked where they are compressed, and their stride."""
        view = self._list("bufferViews")[_index(index)]
        packed = next((view["extensions"][n] for n in _MESHOPT if n in (view.get("extensions") or {})), None)
        if packed is None:
            return self._slice(view), view.get("byteStride")
        if index not in self._views:
            self._compressed = "meshopt"
            self._views[index] = meshopt.decode(
                self._slice(packed),
                count=packed["count"],
                stride=packed["byteStride"],
                mode=packed["mode"],
                filter=packed.get("filter", "NONE"),
            )
        return self._views[index], packed["byteStride"] if packed["mode"] == "ATTRIBUTES" else None

    def _slice(self, view: dict[str, Any]) -> Array:
        data = self._buffer(view["buffer"])
        at, length = view.get("byteOffset", 0), view["byteLength"]
        if at < 0 or length < 0 or at + length > len(data):
            raise _Outside("some of its data lie outside of the file")
        return data[at : at + length]

    def _buffer(self, index: int) -> Array:
        if index not in self._buffers:
            uri = self._list("buffers")[_index(index)].get("uri")
            if uri is None:
                if index != 0 or self._bin is None:
                    raise _Missing("its data are not in the file")
                self._buffers[index] = self._bin
            elif uri.startswith("data:"):
                self._buffers[index] = np.frombuffer(_data(uri), np.uint8)
            else:
                self._buffers[index] = np.asarray(np.memmap(self._beside(uri), np.uint8, "r"))
        return self._buffers[index]

    def _beside(self, uri: str) -> Path:
        """The file that a glTF names, which must lie in its folder or below."""
        if re.match(r"[a-z][a-z0-9+.-]+:", uri, re.IGNORECASE):
            raise _Missing(f"it needs {uri[:80]} from the network")
        root = self._path.parent.resolve()
        for name in (unquote(uri).replace("\\", "/"), uri):
            found = (root / name).resolve()
            if found.is_relative_to(root) and found.is_file() and found.stat().st_size:
                return found
        raise _Missing(f"the file {unquote(uri)[:80]} is missing beside it")

    # -- surfaces --

    def _surface(self, index: int | None) -> tuple[Surface, int, Callable[[Array], Array]]:
        """The surface of a material, its texture's set of coordinates, and what makes them (V, 2) lower left."""
        if index not in self._surfaces:
            try:
                self._surfaces[index] = self._read_surface(index)
            except (*_FAILURES, _Missing):
                self._warn("A material cannot be read; its part is shown plain.")
                self._surfaces[index] = Surface(color=(0.6, 0.6, 0.6, 1.0)), 0, _flip
        return self._surfaces[index]

    def _read_surface(self, index: int | None) -> tuple[Surface, int, Callable[[Array], Array]]:
        if index is None:
            return Surface(color=(0.6, 0.6, 0.6, 1.0)), 0, _flip
        material = self._list("materials")[_index(index)]
        extensions = material.get("extensions") or {}
        older = extensions.get("KHR_materials_pbrSpecularGlossiness")
        if older is not None:
            texture, factor = older.get("diffuseTexture"), older.get("diffuseFactor", (1, 1, 1, 1))
        else:
            plain = material.get("pbrMetallicRoughness") or {}
            texture, factor = plain.get("baseColorTexture"), plain.get("baseColorFactor", (1, 1, 1, 1))
        glow = material.get("emissiveFactor", (0, 0, 0))
        if (
            max(factor[:3]) < 0.02 and max(glow) > 0.02
        ):  # shadeless models keep their colours in the light they give off
            texture, factor = material.get("emissiveTexture"), (*glow[:3], factor[3])
        red, green, blue, opacity = (float(np.clip(v, 0, 1)) for v in factor)
        surface = Surface(
            color=(red, green, blue, opacity),
            alpha=_ALPHA.get(material.get("alphaMode", "OPAQUE"), "opaque"),
            cutoff=float(material.get("alphaCutoff", 0.5)),
            double_sided=bool(material.get("doubleSided", False)),
        )
        channel = 0
        transform: Callable[[Array], Array] = _flip
        if isinstance(texture, dict):
            channel = int(texture.get("texCoord", 0))
            change = (texture.get("extensions") or {}).get("KHR_texture_transform")
            if change is not None:
                channel = int(change.get("texCoord", channel))
                transform = _transform(change)
            surface.picture, surface.repeat = self._texture(texture["index"])
        return surface, channel, transform

    def _texture(self, index: int) -> tuple[Picture | None, bool]:
        texture = self._list("textures")[_index(index)]
        extensions = texture.get("extensions") or {}
        source = texture.get("source")
        if "EXT_texture_webp" in extensions:
            source = extensions["EXT_texture_webp"].get("source", source)
        if source is None:
            if "KHR_texture_basisu" in extensions:
                self._warn("Its textures are in the KTX2 format, which is not shown; colours are plain.")
            return None, True
        repeat = True
        if isinstance(texture.get("sampler"), int):
            repeat = self._list("samplers")[texture["sampler"]].get("wrapS", 10497) != 33071
        if source not in self._pictures:
            self._pictures[source] = self._picture(source)
        return self._pictures[source], repeat

    def _picture(self, index: int) -> Picture | None:
        image = self._list("images")[_index(index)]
        name = str(image.get("name") or image.get("uri", "")[:80] or f"texture {index}")
        try:
            if "bufferView" in image:
                view = self._view(image["bufferView"])[0]
                return Picture(name, view.tobytes)
            uri = image["uri"]
            if uri.startswith("data:"):
                return Picture(name, lambda: _data(uri))
            return Picture(unquote(uri), self._beside(uri).read_bytes)
        except _Missing as error:
            self._warn(f"A texture is not shown: {error}.")
        except _FAILURES:
            self._warn("A texture is not shown: its data lie outside of the file.")
        return None


_ALPHA: dict[str, Alpha] = {"OPAQUE": "opaque", "MASK": "mask", "BLEND": "blend"}


class _Missing(Exception):
    """Data that are not there; the text says which."""


class _Outside(ValueError):
    """Data that do not fit together; the text says which."""


def _index(index: Any) -> int:
    if not isinstance(index, int) or index < 0:
        raise _Outside("a reference in it leads nowhere")
    return index


def _strided(view: Array, kind: np.dtype[Any], width: int, count: int, stride: int | None, offset: int) -> Array:
    """(count, width) numbers in bytes (N,), without a copy."""
    element = kind.itemsize * width
    stride = stride or element
    if count == 0:
        return np.zeros((0, width), kind)
    if offset < 0 or stride < element or offset + stride * (count - 1) + element > len(view):
        raise _Outside("a list of its numbers lies outside of its data")
    return np.ndarray((count, width), kind, view, offset, (stride, kind.itemsize))


def _real(values: Array, normalized: bool) -> Array:
    if values.dtype.kind == "f":
        return values
    real = values.astype(np.float32)
    if normalized:
        real /= np.iinfo(values.dtype).max
        if values.dtype.kind == "i":
            np.maximum(real, -1, out=real)
    return real


def _moved(points: Array, turn: Array, shift: Array) -> FloatArray:
    """Points (N, 3) turned by (3, 3) and shifted, in double precision; a large mesh is never there twice in it."""
    moved = np.empty((len(points), 3), np.float32)
    with np.errstate(all="ignore"):
        for at in range(0, len(points), _CHUNK):
            x, y, z = points[at : at + _CHUNK].T.astype(np.float64)
            for axis, (along_x, along_y, along_z) in enumerate(turn.tolist()):
                moved[at : at + _CHUNK, axis] = x * along_x + y * along_y + z * along_z + shift[axis]
    return moved


def _cofactors(matrix: Array) -> tuple[Array, float]:
    """Of the upper left (3, 3): what turns normals, but for its sign; and the determinant."""
    (a, b, c), (d, e, f), (g, h, i) = matrix[:3, :3].tolist()
    turn = np.array(
        [
            [e * i - f * h, f * g - d * i, d * h - e * g],
            [c * h - b * i, a * i - c * g, b * g - a * h],
            [b * f - c * e, c * d - a * f, a * e - b * d],
        ]
    )
    return turn, a * (e * i - f * h) + b * (f * g - d * i) + c * (d * h - e * g)


def _compose(place: Array, turn: Array, size: Array) -> Array:
    x, y, z, w = turn / max(float(np.linalg.norm(turn)), 1e-30)
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, :3] *= size
    matrix[:3, 3] = place
    return matrix


def _data(uri: str) -> bytes:
    head, _, body = uri[5:].partition(",")
    try:
        return base64.b64decode(unquote(body)) if head.endswith(";base64") else unquote_to_bytes(body)
    except (binascii.Error, ValueError) as error:
        raise _Outside("data inside its description cannot be read") from error


def _flip(uv: Array) -> Array:
    out = np.empty((len(uv), 2), np.float32)
    out[:, 0], out[:, 1] = uv[:, 0], 1 - uv[:, 1]
    return out


def _transform(change: dict[str, Any]) -> Callable[[Array], Array]:
    """KHR_texture_transform: scaled, turned, moved, in glTF's frame."""
    angle = float(change.get("rotation", 0))
    across, down = (float(v) for v in change.get("scale", (1, 1)))
    right, below = (float(v) for v in change.get("offset", (0, 0)))
    cos, sin = np.cos(angle), np.sin(angle)

    def apply(uv: Array) -> Array:
        u, v = uv[:, 0] * across, uv[:, 1] * down
        return _flip(np.stack([cos * u + sin * v + right, cos * v - sin * u + below], 1))

    return apply


def to_srgb(linear: Array) -> ByteArray:
    """Linear light 0..1 as sRGB bytes."""
    linear = np.clip(np.nan_to_num(linear), 0, 1)
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.power(linear, 1 / 2.4) - 0.055)
    return np.rint(encoded * 255).astype(np.uint8)


_SRGB = to_srgb(np.arange(4096) / 4095)


def _vertex_colors(linear: Array) -> ByteArray:
    out = np.full((len(linear), 4), 255, np.uint8)
    scaled = np.clip(np.nan_to_num(linear), 0, 1)
    out[:, :3] = _SRGB[np.rint(scaled[:, :3] * 4095).astype(np.int16)]
    if linear.shape[1] == 4:
        out[:, 3] = np.rint(scaled[:, 3] * 255)
    return out


# -- other formats -------------------------------------------------------------------------------------------


def _read_other(path: Path, suffix: str) -> Model:
    """OBJ, PLY and STL. OBJ files stand Y up, unless Oriel wrote them; the others Z up."""
    import trimesh

    kind = suffix[1:].upper()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scene = trimesh.load_scene(path, process=False)
        meshes = [m for m in scene.dump() if isinstance(m, trimesh.Trimesh) and len(m.faces)]
    except MemoryError:
        raise
    except Exception as error:  # each of trimesh's readers raises kinds of its own
        raise Unreadable(
            f"{path.name} cannot be read as {kind} ({error or type(error).__name__}). Download it again, or reject it."
        ) from error
    if not meshes:
        what = "only points, no triangles" if scene.geometry else "no triangles"
        raise Unreadable(f"{path.name} holds {what}, so there is nothing to see. Reject or skip it.")
    found: list[str] = []
    turn = np.eye(3)
    if suffix == ".obj":
        with path.open("rb") as file:
            if not file.read(7).startswith(b"# Oriel"):
                turn = _Y_TO_Z[:3, :3]
        found = _missing_beside(path)
    origin = np.nan_to_num(np.asarray(meshes[0].vertices[0], np.float64) @ turn.T)
    pieces = []
    for mesh in meshes:
        points = (np.asarray(mesh.vertices, np.float64) @ turn.T - origin).astype(np.float32)
        piece = Piece(points, np.asarray(mesh.faces, np.int32), Surface(color=(0.6, 0.6, 0.6, 1.0)))
        if not 0 <= piece.triangles.min() <= piece.triangles.max() < len(points):
            raise Unreadable(f"{path.name} is damaged: its mesh uses corners that it does not have. Download it again.")
        visual: Any = mesh.visual
        if visual.kind == "texture":
            _textured(piece, visual)
        elif visual.kind in ("vertex", "face"):
            piece.colors = np.asarray(visual.vertex_colors, np.uint8)
            piece.surface.color = (1.0, 1.0, 1.0, 1.0)
        pieces.append(piece)
    return Model(pieces, origin, found)


def _textured(piece: Piece, visual: Any) -> None:
    image = getattr(visual.material, "image", None) or getattr(visual.material, "baseColorTexture", None)
    color = getattr(visual.material, "main_color", None)
    if image is None or visual.uv is None or len(visual.uv) != len(piece.points):
        if color is not None:
            srgb = np.asarray(color, np.float64)[:3] / 255
            red, green, blue = (((srgb + 0.055) / 1.055) ** 2.4).tolist()
            piece.surface.color = (red, green, blue, 1.0)
        return

    def read() -> bytes:
        raw = io.BytesIO()
        image.convert("RGBA" if "A" in image.getbands() else "RGB").save(raw, "BMP")
        return raw.getvalue()

    piece.uv = np.asarray(visual.uv, np.float32)[:, :2]
    piece.surface = Surface(Picture("texture", read))


def _missing_beside(path: Path) -> list[str]:
    """Warnings for the material files and textures that an OBJ names and that are not there."""
    found: dict[str, None] = {}
    with path.open("rb") as file:
        head = file.read(1 << 16).decode("utf-8", "replace")
    for name in re.findall(r"^mtllib\s+(.+?)\s*$", head, re.MULTILINE):
        library = path.parent / name
        if not library.is_file():
            found[f"Its materials are not shown: the file {name} is missing beside it."] = None
            continue
        for texture in re.findall(r"^\s*map_Kd\s+(.+?)\s*$", library.read_text("utf-8", "replace"), re.MULTILINE):
            if not (library.parent / texture.split()[-1].replace("\\", "/")).is_file():
                found[f"A texture is not shown: the file {texture} is missing beside it."] = None
    return list(found)
