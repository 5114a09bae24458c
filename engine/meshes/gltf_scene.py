"""What a glTF file shows at its start, as plain pieces.

Only what a preview shows is ever decoded: positions, texture coordinates, colours, normals and base colour pictures.
"""

from __future__ import annotations

import io
import mmap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine.meshes import gltf
from engine.meshes.colors import to_srgb
from engine.meshes.gltf import FAN, STRIP, TRIANGLES, Damaged
from engine.meshes.mesh import ByteArray, FloatArray, IntArray
from engine.meshes.model import GREY, Y_TO_Z, Alpha, Model, Picture, Piece, Surface, Unreadable

T = TypeVar("T")
Array = npt.NDArray[Any]
Look = tuple[Surface, int, Callable[[Array], Array]]
"""A surface, its texture's set of coordinates, and what makes them (V, 2), origin at the lower left."""

_KNOWN = {
    *gltf.MESHOPT,
    gltf.DRACO,
    "KHR_mesh_quantization",
    "KHR_texture_transform",
    gltf.KTX2,
    "EXT_texture_webp",
    "EXT_texture_avif",
    "KHR_materials_pbrSpecularGlossiness",
}
_ALPHA: dict[str, Alpha] = {"OPAQUE": "opaque", "MASK": "mask", "BLEND": "blend"}
_CHUNK = 1 << 16


def read_gltf(path: Path) -> Model:
    """The triangles that a GLB or glTF file shows at its start, at rest. Raises Unreadable."""
    return _Scenes(path, open_gltf(path)).read()


def open_gltf(path: Path) -> gltf.Reader:
    """What a GLB or glTF file describes. Raises Unreadable."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            text, begin, room = _glb(path, content) if content[:4] == gltf.MAGIC else (content[:], 0, 0)
        document = gltf.parse(text)
        binary = np.asarray(np.memmap(path, np.uint8, "r", begin, (room,))) if room else None
    except Damaged as error:
        raise _damaged(path, str(error)) from error
    except (OSError, ValueError) as error:
        raise Unreadable(f"{path.name} cannot be opened ({error}).", advice="Check its rights and the disk.") from error
    return gltf.Reader(document, path.parent, binary)


def _glb(path: Path, content: mmap.mmap) -> tuple[bytes, int, int]:
    """See `gltf.glb_parts`."""
    version, length = gltf.glb_header(content)
    if version != 2:
        raise Unreadable(
            f"{path.name} is an old GLB of version {version}; only version 2 can be shown.",
            advice="Convert it, or skip it.",
        )
    if len(content) < length:
        raise Damaged(f"it is cut off, {len(content):,} of {length:,} bytes are there")
    return gltf.glb_parts(content, length)


def _damaged(path: Path, why: str) -> Unreadable:
    return Unreadable(f"{path.name} is damaged: {why}.", advice="Download it again, or reject it.")


def _nothing_to_see(path: Path, held: str) -> Unreadable:
    return Unreadable(f"{path.name} holds {held}, so there is nothing to see.", advice="Reject or skip it.")


class _Scenes:
    """One file while it is read."""

    def __init__(self, path: Path, data: gltf.Reader) -> None:
        self._path = path
        self._data = data
        self._warnings: dict[str, None] = {}
        self._worlds: dict[int, Array] = {}
        self._looks: dict[int | None, Look] = {}
        self._pictures: dict[tuple[int, tuple[bool, bool]], Picture | None] = {}
        self._decoded: dict[int, Any] = {}
        self._origin: Array | None = None

    def _warn(self, text: str) -> None:
        self._warnings[text] = None

    def _attempt(self, make: Callable[[], T], instead: Callable[[], T], warning: str) -> T:
        """What `make` reads; where the file is not as it should be, a warning and `instead`."""
        try:
            return make()
        except gltf.MALFORMED:
            self._warn(warning)
            return instead()

    def read(self) -> Model:
        document = self._data.document
        version = str((document.get("asset") or {}).get("version", "2.0")) if "asset" in document else "2.0"
        if not version.startswith("2"):
            raise Unreadable(
                f"{self._path.name} is glTF of version {version}; only version 2 can be shown.",
                advice="Convert it, or skip it.",
            )
        required = document.get("extensionsRequired")
        unknown = sorted({str(e) for e in required} - _KNOWN) if isinstance(required, list) else []
        for name in unknown:
            if not name.startswith("KHR_materials"):
                self._warn(f"It needs the extension {name}, which is not shown.")
        if not self._data.items("meshes"):
            raise _nothing_to_see(self._path, "no mesh")
        if not self._data.items("nodes"):
            raise _nothing_to_see(self._path, "meshes but nothing that places them")
        pieces: list[Piece] = []
        failures: dict[str, None] = {}
        skipped = False
        for mesh, matrix, skin in self._instances():
            for primitive in self._primitives(mesh):
                if not isinstance(primitive, dict):
                    failures["a part of it cannot be read"] = None
                    continue
                if primitive.get("mode", TRIANGLES) not in (TRIANGLES, STRIP, FAN):
                    skipped = True
                    continue
                try:
                    piece = self._piece(primitive, matrix, skin)
                except gltf.MALFORMED as error:
                    reason = str(error) if isinstance(error, Damaged) else f"a part of it cannot be read ({error})"
                    failures[reason] = None
                    continue
                if piece is not None:
                    pieces.append(piece)
        if skipped:
            self._warn("Its points and lines are not shown.")
        if not pieces:
            if failures:
                raise _damaged(self._path, "; ".join(list(failures)[:3]))
            what = "only points and lines, no triangles" if skipped else "no triangles"
            raise _nothing_to_see(self._path, what)
        for reason in failures:
            self._warn(f"Parts are left out: {reason}.")
        animated = bool(self._data.items("animations"))
        origin = self._origin if self._origin is not None else np.zeros(3)
        return Model(pieces, origin, list(self._warnings), animated, self._data.compressed)

    # -- scene --

    def _primitives(self, mesh: int) -> list[Any]:
        meshes = self._data.items("meshes")
        found = meshes[mesh].get("primitives") if 0 <= mesh < len(meshes) and isinstance(meshes[mesh], dict) else None
        return found if isinstance(found, list) else [None]

    def _instances(self) -> Iterator[tuple[int, Array, int | None]]:
        """Every mesh that is shown: its index, its place in the world (4, 4), Z up, and its skin.

        That of the scene which the file names; of all scenes where it names none, of all nodes where it has none.
        """
        nodes = [node if isinstance(node, dict) else {} for node in self._data.items("nodes")]
        scenes = [scene for scene in self._data.items("scenes") if isinstance(scene, dict)]
        first = self._data.document.get("scene")
        if isinstance(first, int) and 0 <= first < len(scenes) == len(self._data.items("scenes")):
            scenes = scenes[first : first + 1]
        children = [_indices(node.get("children"), len(nodes)) for node in nodes]
        inner = {child for below in children for child in below}
        tops = [i for i in range(len(nodes)) if i not in inner] or list(range(len(nodes)))
        roots = [root for scene in scenes for root in _indices(scene.get("nodes"), len(nodes))] or tops
        self._place(roots, nodes, children)
        shown = list(self._worlds.items())
        self._place(tops, nodes, children)  # joints may stand in no scene
        for index, world in shown:
            mesh, skin = nodes[index].get("mesh"), nodes[index].get("skin")
            if isinstance(mesh, int):
                for matrix in self._copies(nodes[index], world):
                    yield mesh, matrix, skin if isinstance(skin, int) else None

    def _place(self, roots: list[int], nodes: list[dict[str, Any]], children: list[list[int]]) -> None:
        """Find the places of nodes and all below them."""
        stack = [(root, Y_TO_Z, False) for root in reversed(roots)]
        while stack:
            index, above, child = stack.pop()
            if index in self._worlds:
                if child:  # a root may well stand in several scenes
                    self._warn("Its nodes form a loop or share children; each is shown once.")
                continue
            self._worlds[index] = above @ self._local(nodes[index])
            stack += [(below, self._worlds[index], True) for below in reversed(children[index])]

    def _local(self, node: dict[str, Any]) -> Array:
        """The place of a node in its parent's frame (4, 4)."""
        return self._attempt(
            lambda: _matrix(node),
            lambda: np.eye(4),
            "The place of one of its parts cannot be read; it stands where its parent stands.",
        )

    def _copies(self, node: dict[str, Any], world: Array) -> list[Array]:
        """The places of a mesh that is drawn many times (EXT_mesh_gpu_instancing), else its own alone."""
        extensions = node.get("extensions")
        found = extensions.get("EXT_mesh_gpu_instancing") if isinstance(extensions, dict) else None
        if not isinstance(found, dict):
            return [world]
        return self._attempt(
            lambda: self._instanced(found["attributes"], world),
            lambda: [world],
            "Copies of a part cannot be read; it is shown once.",
        )

    def _instanced(self, attributes: dict[str, int], world: Array) -> list[Array]:
        read = {name: _real(*self._data.accessor(index)) for name, index in attributes.items()}
        count = max(len(values) for values in read.values())
        places = read.get("TRANSLATION", np.zeros((count, 3)))
        turns = read.get("ROTATION", np.tile((0.0, 0, 0, 1), (count, 1)))
        sizes = read.get("SCALE", np.ones((count, 3)))
        return [world @ _compose(*parts) for parts in zip(places, turns, sizes, strict=True)]

    # -- geometry --

    def _piece(self, primitive: dict[str, Any], matrix: Array, skin: int | None) -> Piece | None:
        attributes = primitive["attributes"]
        draco = (primitive.get("extensions") or {}).get(gltf.DRACO)
        if draco is not None:
            read, triangles = self._draco(draco)
        else:
            read, triangles = lambda name: self._data.accessor(attributes[name]), None
        if "POSITION" not in attributes:
            return None
        raw, normalized = read("POSITION")
        positions = _real(raw, normalized)
        if triangles is None:
            triangles = self._triangles(primitive, len(positions))
        if len(triangles) == 0 or len(positions) == 0:
            return None
        if int(triangles.max()) >= len(positions) or int(triangles.min()) < 0:
            raise Damaged("its mesh uses corners that it does not have")
        surface, channel, transform = self._look(primitive.get("material"))
        if skin is not None and "JOINTS_0" in attributes:
            points = self._attempt(
                lambda: self._skinned(positions, read, skin),
                lambda: self._placed(positions, matrix),
                "Its skeleton cannot be read; the figure is shown as modelled.",
            )
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
        if primitive.get("material") is None and piece.colors is not None:
            if piece.colors[:, :3].any():
                piece.surface = Surface()
            else:
                piece.colors = None  # as some write who have none
        if "NORMAL" in attributes and len(triangles) < 1_000_000 and skin is None:

            def normals() -> Array:
                turn, volume = _cofactors(matrix)
                turned = _moved(_real(*read("NORMAL")), turn * np.sign(volume), np.zeros(3))
                return turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-20)

            piece.normals = self._optional(normals, len(points))
        return piece

    def _optional(self, make: Callable[[], Array], count: int) -> Array | None:
        """What `make` reads, or None where it cannot be read or does not fit."""
        warning = "Texture coordinates, colours or normals of a part cannot be read."
        found = self._attempt(make, lambda: None, warning)
        if found is not None and len(found) != count:
            self._warn(warning)
            return None
        return found

    def _draco(self, draco: dict[str, Any]) -> tuple[Callable[[str], tuple[Array, bool]], IntArray]:
        self._data.compressed = "Draco"
        index = draco["bufferView"]
        if index not in self._decoded:
            import DracoPy

            try:
                mesh = DracoPy.decode(self._data.view(index)[0].tobytes())
                faces = mesh.faces
            except Exception as error:  # the decoder's own kinds
                raise Damaged(f"its Draco compressed mesh cannot be read ({error})") from error
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
            order: Array = self._data.accessor(primitive["indices"])[0].reshape(-1)
            if order.dtype.kind != "u":
                raise Damaged("its list of corners is none")
        else:
            order = np.arange(count, dtype=np.int32)
        mode = primitive.get("mode", TRIANGLES)
        if mode == TRIANGLES:
            order = order[: len(order) // 3 * 3].reshape(-1, 3)
        elif len(order) < 3:
            order = order[:0].reshape(0, 3)
        elif mode == STRIP:
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

    def _skinned(self, positions: Array, read: Callable[[str], tuple[Array, bool]], skin: int) -> FloatArray:
        """Positions as the joints hold them while nothing moves."""
        found = self._data.items("skins")[skin]
        joints = [int(j) for j in found["joints"]]
        bind = np.tile(np.eye(4), (len(joints), 1, 1))
        if "inverseBindMatrices" in found:
            raw = _real(*self._data.accessor(found["inverseBindMatrices"])).astype(np.float64)
            bind = raw.reshape(-1, 4, 4).transpose(0, 2, 1)[: len(joints)]
        places = np.stack([self._worlds[j] for j in joints]) @ bind
        held = read("JOINTS_0")[0].astype(np.int64)
        weights = _real(*read("WEIGHTS_0")).astype(np.float64)
        total = weights.sum(1, keepdims=True)
        if not (total > 0).all() or len(held) != len(positions) or not np.isfinite(places).all():
            raise Damaged("weights do not fit")
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

    # -- surfaces --

    def _look(self, index: int | None) -> Look:
        """The look of a material; plain grey of one that cannot be read, or of none."""
        if index not in self._looks:
            self._looks[index] = self._attempt(
                lambda: self._read_look(index), _plain, "A material cannot be read; its part is shown plain."
            )
        return self._looks[index]

    def _read_look(self, index: int | None) -> Look:
        if index is None:
            return _plain()
        material = self._data.item("materials", index)
        extensions = material.get("extensions") or {}
        older = extensions.get("KHR_materials_pbrSpecularGlossiness")
        if older is not None:
            texture, factor = older.get("diffuseTexture"), older.get("diffuseFactor", (1, 1, 1, 1))
        else:
            plain = material.get("pbrMetallicRoughness") or {}
            texture, factor = plain.get("baseColorTexture"), plain.get("baseColorFactor", (1, 1, 1, 1))
        glow = material.get("emissiveFactor", (0, 0, 0))
        # shadeless models keep their colours in the light they give off
        if max(factor[:3]) < 0.02 and max(glow) > 0.02:
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
            surface.picture, surface.repeat, mirrored = self._texture(texture["index"])
            if surface.picture is not None and any(mirrored):
                transform = _halved(transform, mirrored)
        return surface, channel, transform

    def _texture(self, index: int) -> tuple[Picture | None, bool, tuple[bool, bool]]:
        """A texture's picture, whether it repeats, and along which of its axes every other time mirrored: then the
        picture holds both."""
        texture = self._data.item("textures", index)
        extensions = texture.get("extensions") or {}
        source = texture.get("source")
        for name in gltf.TEXTURES:
            source = (extensions.get(name) or {}).get("source", source)
        if source is None:
            if gltf.KTX2 in extensions:
                self._warn(gltf.KTX2_WORDS)
            return None, True, (False, False)
        wraps = [10497, 10497]
        if isinstance(texture.get("sampler"), int):
            sampler = self._data.items("samplers")[texture["sampler"]]
            wraps = [sampler.get(name, 10497) for name in ("wrapS", "wrapT")]
        mirrored = wraps[0] == 33648, wraps[1] == 33648
        key = source, mirrored
        if key not in self._pictures:
            found = self._picture(source)
            self._pictures[key] = _with_mirrored(found, mirrored) if found is not None and any(mirrored) else found
        return self._pictures[key], wraps != [33071, 33071], mirrored

    def _picture(self, index: int) -> Picture | None:
        image = self._data.item("images", index)
        name = str(image.get("name") or image.get("uri", "")[:80] or f"texture {index}")
        try:
            if "bufferView" in image:
                view = self._data.view(image["bufferView"])[0]
                return Picture(name, view.tobytes)
            uri = image["uri"]
            if uri.startswith("data:"):
                return Picture(name, lambda: self._data.picture(image))
            return Picture(unquote(uri), self._data.beside(uri).read_bytes)
        except gltf.MALFORMED as error:
            reason = error if isinstance(error, gltf.Missing) else "its data lie outside of the file"
            self._warn(f"A texture is not shown: {reason}.")
        return None


def _plain() -> Look:
    return Surface(color=GREY, double_sided=False), 0, _flip


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


def _indices(found: Any, count: int) -> list[int]:
    """Those of a list that are below `count`; none of what is no list."""
    return [i for i in found if isinstance(i, int) and 0 <= i < count] if isinstance(found, list) else []


def _matrix(node: dict[str, Any]) -> Array:
    if "matrix" in node:
        matrix = np.asarray(node["matrix"], np.float64).reshape(4, 4).T
    else:
        matrix = _compose(
            np.asarray(node.get("translation", (0, 0, 0)), np.float64).reshape(3),
            np.asarray(node.get("rotation", (0, 0, 0, 1)), np.float64).reshape(4),
            np.asarray(node.get("scale", (1, 1, 1)), np.float64).reshape(3),
        )
    if not np.isfinite(matrix).all():
        raise Damaged("its place is no numbers")
    return matrix


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


def _flip(uv: Array) -> Array:
    out = np.empty((len(uv), 2), np.float32)
    out[:, 0], out[:, 1] = uv[:, 0], 1 - uv[:, 1]
    return out


def _with_mirrored(picture: Picture, mirrored: tuple[bool, bool]) -> Picture:
    """A picture with its mirror image at its right, below it, or both."""

    def read() -> bytes:
        with Image.open(io.BytesIO(picture.read())) as image:
            pixels = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
        if mirrored[0]:
            pixels = np.concatenate([pixels, pixels[:, ::-1]], 1)
        if mirrored[1]:
            pixels = np.concatenate([pixels, pixels[::-1]], 0)
        raw = io.BytesIO()
        Image.fromarray(pixels).save(raw, "PNG", compress_level=1)
        return raw.getvalue()

    return Picture(picture.name, read)


def _halved(transform: Callable[[Array], Array], mirrored: tuple[bool, bool]) -> Callable[[Array], Array]:
    """Coordinates for a picture that holds its mirror image as well."""

    def apply(uv: Array) -> Array:
        found = transform(uv)
        if mirrored[0]:
            found[:, 0] /= 2
        if mirrored[1]:
            found[:, 1] = (found[:, 1] + 1) / 2
        return found

    return apply


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


_SRGB = to_srgb(np.arange(4096) / 4095)


def _vertex_colors(linear: Array) -> ByteArray:
    out = np.full((len(linear), 4), 255, np.uint8)
    scaled = np.clip(np.nan_to_num(linear), 0, 1)
    out[:, :3] = _SRGB[np.rint(scaled[:, :3] * 4095).astype(np.int16)]
    if linear.shape[1] == 4:
        out[:, 3] = np.rint(scaled[:, 3] * 255)
    return out
