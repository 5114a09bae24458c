"""Model files for the tests of screening: a good one, and one of each kind that makes trouble."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[Any]
_COMPONENTS = {"float32": 5126, "uint32": 5125, "uint16": 5123, "uint8": 5121}
_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


class Gltf:
    """A glTF document that is built up part by part."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {"asset": {"version": "2.0"}}
        self.data = bytearray()

    def add(self, name: str, entry: dict[str, Any]) -> int:
        """Append to one of the lists of the document; returns the index."""
        self.document.setdefault(name, []).append(entry)
        return len(self.document[name]) - 1

    def view(self, content: bytes) -> int:
        """Append bytes."""
        start = len(self.data)
        self.data += content + b"\0" * (-len(content) % 4)
        return self.add("bufferViews", {"buffer": 0, "byteOffset": start, "byteLength": len(content)})

    def accessor(self, values: Array, **more: Any) -> int:
        """Append numbers (N,) or (N, width)."""
        values = np.ascontiguousarray(values)
        width = 1 if values.ndim == 1 else values[0].size
        entry = {"componentType": _COMPONENTS[values.dtype.name], "count": len(values), "type": _TYPES[width]}
        return self.add("accessors", entry | {"bufferView": self.view(values.tobytes())} | more)

    def texture(self, picture: Image.Image | bytes, kind: str = "PNG") -> int:
        """Append a picture, encoded where it is not yet."""
        if isinstance(picture, Image.Image):
            raw = io.BytesIO()
            picture.save(raw, kind)
            picture = raw.getvalue()
        image = self.add("images", {"bufferView": self.view(picture), "mimeType": f"image/{kind.lower()}"})
        return self.add("textures", {"source": image})

    def mesh(self, points: Array, triangles: Array, material: int | None = None, **attributes: Array) -> int:
        """Append a mesh of one part; attributes by their names in glTF."""
        places = {"POSITION": self.accessor(points.astype(np.float32))}
        places |= {name: self.accessor(values) for name, values in attributes.items()}
        primitive = {"attributes": places, "indices": self.accessor(triangles.astype(np.uint32).reshape(-1))}
        return self.add("meshes", {"primitives": [primitive | ({} if material is None else {"material": material})]})

    def node(self, **entry: Any) -> int:
        """Append a node that is a root of the first scene."""
        index = self.add("nodes", entry)
        self.document.setdefault("scenes", [{"nodes": []}])[0]["nodes"].append(index)
        return index

    def glb(self) -> bytes:
        """The document as one binary file."""
        if self.data:
            self.document.setdefault("buffers", [{"byteLength": len(self.data)}])
        text = json.dumps(self.document).encode()
        text += b" " * (-len(text) % 4)
        data = self.data + b"\0" * (-len(self.data) % 4)
        total = 20 + len(text) + (8 + len(data) if data else 0)
        head = struct.pack("<4sIIII", b"glTF", 2, total, len(text), 0x4E4F534A)
        return head + text + (struct.pack("<II", len(data), 0x004E4942) + data if data else b"")


def box(sides: tuple[float, float, float] = (1.0, 1.0, 1.0), rows: int = 1) -> tuple[Array, Array, Array]:
    """A box around the origin with `rows` squared squares a side: points, triangles, texture coordinates."""
    steps = np.linspace(0, 1, rows + 1)
    u, v = (g.ravel() for g in np.meshgrid(steps, steps))
    at = np.arange((rows + 1) ** 2).reshape(rows + 1, rows + 1)
    a, b, c, d = (at[i : i + rows or None, j : j + rows or None].ravel() for i, j in ((0, 0), (0, 1), (1, 1), (1, 0)))
    squares = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    points, triangles, uv = [], [], []
    for axis in range(3):
        for side in (-0.5, 0.5):
            p = np.full((len(u), 3), side)
            p[:, (axis + 1) % 3], p[:, (axis + 2) % 3] = u - 0.5, v - 0.5
            triangles.append((squares if side > 0 else squares[:, ::-1]) + sum(len(q) for q in points))
            points.append(p * sides)
            uv.append(np.stack([u, v], 1))
    return np.concatenate(points).astype(np.float32), np.concatenate(triangles), np.concatenate(uv).astype(np.float32)


def checker(side: int = 64) -> Image.Image:
    """Red above, blue below, with white squares."""
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[: side // 2, :, 0], pixels[side // 2 :, :, 2] = 255, 255
    pixels[(np.indices((side, side)) // (side // 8) % 2).sum(0) == 2] = 255
    return Image.fromarray(pixels)


def write_house(path: Path, *, rows: int = 4, side: int = 64, kind: str = "PNG") -> Path:
    """A textured box, 12 * rows ** 2 triangles, twice as high as wide; Y up as glTF is."""
    gltf = Gltf()
    texture = gltf.texture(checker(side), kind)
    material = gltf.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": {"index": texture}}})
    points, triangles, uv = box((1, 2, 1), rows)
    gltf.node(mesh=gltf.mesh(points, triangles, material, TEXCOORD_0=uv))
    path.write_bytes(gltf.glb())
    return path


def write_slow(path: Path, copies: int = 400_000) -> Path:
    """A small sound file that takes minutes to load: one triangle, very many times."""
    gltf = Gltf()
    gltf.mesh(np.eye(3), np.arange(3))
    gltf.document["nodes"] = [{"mesh": 0}] * copies
    path.write_bytes(gltf.glb())
    return path


def write_draco(path: Path) -> Path:
    """The textured box, its mesh compressed by Draco."""
    import DracoPy

    points, triangles, uv = box((1, 2, 1), 4)
    packed = DracoPy.encode(points, triangles, quantization_bits=14, tex_coord=uv.astype(float), preserve_order=True)
    ids = {a["attribute_type"]: a["unique_id"] for a in DracoPy.decode(packed).attributes}
    gltf = Gltf()
    texture = gltf.texture(checker())
    gltf.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": {"index": texture}}})
    counts = ((len(points), "VEC3", 5126), (len(points), "VEC2", 5126), (triangles.size, "SCALAR", 5125))
    for count, kind, component in counts:
        gltf.add("accessors", {"count": count, "type": kind, "componentType": component})
    draco = {"bufferView": gltf.view(packed), "attributes": {"POSITION": ids[0], "TEXCOORD_0": ids[3]}}
    primitive = {"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "indices": 2, "material": 0}
    gltf.add("meshes", {"primitives": [primitive | {"extensions": {"KHR_draco_mesh_compression": draco}}]})
    gltf.node(mesh=0)
    gltf.document["extensionsRequired"] = gltf.document["extensionsUsed"] = ["KHR_draco_mesh_compression"]
    path.write_bytes(gltf.glb())
    return path


def _house(path: Path) -> bytes:
    return write_house(path).read_bytes()


def _changed(path: Path, change: Callable[[Gltf], None]) -> bytes:
    gltf = Gltf()
    points, triangles, _ = box()
    gltf.node(mesh=gltf.mesh(points, triangles))
    change(gltf)
    return gltf.glb()


def _no_numbers(gltf: Gltf) -> None:
    gltf.data[:288] = np.full(72, np.nan, np.float32).tobytes()


def _flat(gltf: Gltf) -> None:
    gltf.data[:288] = np.full(72, 3.0, np.float32).tobytes()


def _points_only(gltf: Gltf) -> None:
    gltf.document["meshes"][0]["primitives"][0]["mode"] = 0


def _outside(gltf: Gltf) -> None:
    gltf.document["accessors"][0]["count"] = 10_000


def _corners(gltf: Gltf) -> None:
    gltf.data[-4:] = struct.pack("<I", 4_000_000_000)


def _enormous(gltf: Gltf) -> None:
    """Claims more memory than any machine of ours has."""
    count = 1 << 31
    gltf.document["accessors"][0] = {"componentType": 5126, "type": "VEC3", "count": count}


BAD: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "empty.glb": (lambda path: b"", "empty"),
    "page.glb": (lambda path: b"<!DOCTYPE html><html>Sign in</html>", "web page"),
    "noise.glb": (lambda path: bytes(range(256)) * 8, "does not begin as a GLB"),
    "cut.glb": (lambda path: _house(path)[:-500], "cut off"),
    "head.glb": (lambda path: _house(path)[:15], "cut off"),
    "old.glb": (lambda path: struct.pack("<4sII", b"glTF", 1, 40) + b" " * 28, "version 1"),
    "text.gltf": (lambda path: b'{"asset": {"version": "2.0"}, "meshes": [', "description cannot be read"),
    "no_mesh.glb": (lambda path: Gltf().glb(), "holds no mesh"),
    "no_numbers.glb": (lambda path: _changed(path, _no_numbers), "no numbers"),
    "flat.glb": (lambda path: _changed(path, _flat), "no extent"),
    "points.glb": (lambda path: _changed(path, _points_only), "only points and lines"),
    "outside.glb": (lambda path: _changed(path, _outside), "outside of"),
    "corners.glb": (lambda path: _changed(path, _corners), "corners that it does not have"),
    "enormous.glb": (lambda path: _changed(path, _enormous), "too large"),
    "no_data.gltf": (
        lambda path: json.dumps(
            json.loads(_changed(path, lambda gltf: None)[20:].split(b"\0")[0].rsplit(b"}", 1)[0] + b"}")
            | {"buffers": [{"uri": "scene.bin", "byteLength": 600}]}
        ).encode(),
        "scene.bin is missing",
    ),
    "text.obj": (lambda path: b"nothing that is a model", "no triangles"),
    "cut.ply": (lambda path: b"ply\nformat binary_little_endian 1.0\nelement vertex 9\nend_header\nxx", "PLY"),
    "cut.stl": (lambda path: b"\0" * 80 + struct.pack("<I", 1000) + b"\0" * 90, "no triangles"),
    "model.fbx": (lambda path: b"Kaydara FBX Binary", "cannot be shown"),
    "model.zip": (lambda path: b"PK\3\4" + b"\0" * 30, "zip archive"),
}
"""Files of which nothing can be seen, by name: their content, and words that the problem must hold."""


def write_bad(folder: Path, name: str) -> Path:
    """One of `BAD`."""
    path = folder / name
    path.write_bytes(BAD[name][0](path))
    return path


def write_scenes(path: Path, scene: int | None, lists: list[list[int]] | None) -> Path:
    """A red cube (node 0) and, 5 beside it, a blue pillar three times as high (node 1), in scenes of these nodes."""
    gltf = Gltf()
    for at, (sides, color) in enumerate((((1, 1, 1), (1, 0, 0)), ((1, 3, 1), (0, 0, 1)))):
        look = {"pbrMetallicRoughness": {"baseColorFactor": [*color, 1], "metallicFactor": 0}}
        points, triangles, _ = box(sides)
        gltf.node(mesh=gltf.mesh(points, triangles, gltf.add("materials", look)), translation=[5 * at, 0, 0])
    del gltf.document["scenes"]
    if lists is not None:
        gltf.document["scenes"] = [{"nodes": nodes} if nodes else {} for nodes in lists]
    if scene is not None:
        gltf.document["scene"] = scene
    path.write_bytes(gltf.glb())
    return path


ORANGE = (230, 120, 30)
COLORED = (
    "only",
    "no material",
    "second set",
    "rgb8",
    "factor",
    "white picture",
    "normal map",
    "rough map",
    "emissive map",
)
"""Ways in which a model is orange, most by the colours of its corners."""


def write_colored(path: Path, name: str) -> Path:
    """A box that is `ORANGE`; see `COLORED`."""
    gltf = Gltf()
    points, triangles, uv = box((1, 2, 1))
    linear = (np.array(ORANGE) / 255) ** 2.2
    colors: Array = np.tile(np.append(linear, 1), (len(points), 1)).astype(np.float32)
    look: dict[str, Any] = {"metallicFactor": 0}
    material: dict[str, Any] = {"pbrMetallicRoughness": look}
    white = Image.new("RGB", (8, 8), "white")
    attributes: dict[str, Array] = {"TEXCOORD_0": uv, "COLOR_0": colors}
    if name == "rgb8":
        attributes["COLOR_0"] = np.rint(colors * 255).astype(np.uint8)
    elif name == "factor":
        look["baseColorFactor"] = [*linear.tolist(), 1]
        del attributes["COLOR_0"]
    elif name == "second set":
        attributes["COLOR_1"] = np.tile(np.array([0, 0, 1, 1], np.float32), (len(points), 1))
    elif name == "white picture":
        look["baseColorTexture"] = {"index": gltf.texture(white)}
    elif name == "normal map":
        material["normalTexture"] = {"index": gltf.texture(Image.new("RGB", (8, 8), (128, 128, 255)))}
    elif name == "rough map":
        look["metallicRoughnessTexture"] = {"index": gltf.texture(Image.new("RGB", (8, 8), (255, 230, 0)))}
    elif name == "emissive map":
        material["emissiveTexture"] = {"index": gltf.texture(white)}
    mesh = gltf.mesh(
        points, triangles, None if name == "no material" else gltf.add("materials", material), **attributes
    )
    if name == "rgb8":
        places = gltf.document["meshes"][mesh]["primitives"][0]["attributes"]
        gltf.document["accessors"][places["COLOR_0"]]["normalized"] = True
    gltf.node(mesh=mesh)
    path.write_bytes(gltf.glb())
    return path


CLEAR = {
    "factor.glb": 1,
    "almost.glb": 1,
    "picture.glb": 1,
    "corners.glb": 1,
    "masked.glb": 1,
    "d.obj": 1,
    "tr.obj": 1,
    "opaque corners.glb": 0,
    "opaque picture.glb": 0,
}
"""Models of which nothing is to be seen by the letter, but for those that are opaque; and how many repairs that is."""


def write_clear(path: Path, name: str) -> Path:
    """One of `CLEAR`, a box that is `ORANGE`; or `one of two.glb`: it is clear, and beside it a blue one is not."""
    points, triangles, uv = box((1, 2, 1) if "two" not in name else (1, 1, 1))
    if name.endswith(".obj"):
        word = {"d.obj": "d 0", "tr.obj": "Tr 1.0"}[name]
        lines = [f"mtllib {path.stem}.mtl", *(f"v {x} {y} {z}" for x, y, z in points), "usemtl wall"]
        lines += ["f " + " ".join(str(i + 1) for i in triangle) for triangle in triangles]
        path.write_text("\n".join(lines))
        path.with_suffix(".mtl").write_text(f"newmtl wall\nKd 0.902 0.47 0.118\n{word}\n")
        return path
    gltf = Gltf()
    linear = ((np.array(ORANGE) / 255) ** 2.2).tolist()
    look: dict[str, Any] = {"metallicFactor": 0, "baseColorFactor": [*linear, 1]}
    mode = "OPAQUE" if "opaque" in name else "MASK" if "masked" in name else "BLEND"
    attributes: dict[str, Array] = {"TEXCOORD_0": uv}
    if "corners" in name:
        attributes["COLOR_0"] = np.tile(np.array([1, 1, 1, 0], np.float32), (len(points), 1))
    elif "picture" in name:
        look |= {"baseColorTexture": {"index": gltf.texture(Image.new("RGBA", (8, 8), (*ORANGE, 0)))}}
        del look["baseColorFactor"]
    else:
        look["baseColorFactor"] = [*linear, {"almost.glb": 0.01, "masked.glb": 0.3}.get(name, 0)]
    material = gltf.add("materials", {"pbrMetallicRoughness": look, "alphaMode": mode})
    gltf.node(mesh=gltf.mesh(points, triangles, material, **attributes))
    if "two" in name:
        blue = gltf.add("materials", {"pbrMetallicRoughness": {"baseColorFactor": [0, 0, 1, 1], "metallicFactor": 0}})
        gltf.node(mesh=gltf.mesh(points, triangles, blue), translation=[6, 0, 0])
    path.write_bytes(gltf.glb())
    return path


MIRRORED, CLAMPED = 33648, 33071
_IN = (0.1, 0.4), (0.6, 0.9)
COORDINATES: dict[str, tuple[dict[str, Any], dict[str, int], Any]] = {
    "transformed": ({"KHR_texture_transform": {"offset": [0.1, 0.6], "scale": [0.3, 0.3]}}, {}, ((0, 1), (0, 1))),
    "turned": (
        {"KHR_texture_transform": {"offset": [0.1, 0.9], "rotation": np.pi / 2, "scale": [0.3, 0.3]}},
        {},
        ((0, 1), (0, 1)),
    ),
    "second set": ({"texCoord": 1}, {}, _IN),
    "second set by transform": ({"KHR_texture_transform": {"texCoord": 1}}, {}, _IN),
    "far out": ({}, {}, ((7.1, 7.4), (-3.4, -3.1))),
    "mirrored": ({}, {"wrapS": MIRRORED, "wrapT": MIRRORED}, ((7.6, 7.9), (-0.9, -0.6))),
    "mirrored across": ({}, {"wrapS": MIRRORED}, ((1.6, 1.9), (2.6, 2.9))),
    "clamped": ({}, {"wrapS": CLAMPED, "wrapT": CLAMPED}, ((-5, -4), (2, 3))),
}
"""What a material says of its picture, the sampler, and where coordinates (u, v, counted from the top) run."""


def write_coordinates(path: Path, name: str) -> Path:
    """A box with a picture, `ORANGE` at its lower left and blue elsewhere, of which only orange is to be seen."""
    said, sampler, (across, down) = COORDINATES[name]
    gltf = Gltf()
    points, triangles, uv = box((1, 2, 1))
    picture = Image.new("RGB", (64, 64), (30, 60, 200))
    picture.paste(ORANGE, (0, 32, 32, 64))
    gltf.texture(picture)
    gltf.document["textures"][0]["sampler"] = gltf.add("samplers", sampler)
    gltf.document["extensionsUsed"] = ["KHR_texture_transform"]
    placed = (np.array([across[0], down[0]]) + uv * (np.ptp(across), np.ptp(down))).astype(np.float32)
    sets = {"TEXCOORD_0": placed}
    if "second" in name:
        sets = {"TEXCOORD_0": np.full_like(placed, 0.1), "TEXCOORD_1": placed}
    extensions = {key: value for key, value in said.items() if key != "texCoord"}
    entry = {"index": 0} | {key: value for key, value in said.items() if key == "texCoord"}
    look = {"baseColorTexture": entry | ({"extensions": extensions} if extensions else {}), "metallicFactor": 0}
    material = gltf.add("materials", {"pbrMetallicRoughness": look})
    gltf.node(mesh=gltf.mesh(points, triangles, material, **sets))
    path.write_bytes(gltf.glb())
    return path
