"""Model files for the tests of rendering: a tower in every format, and models that are odd in one way each."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.screening_models import Gltf, box, checker, write_draco

SIDES = (1.0, 0.6, 2.0)
"""Of the tower: width, depth and height."""
RED = (1.0, 0.05, 0.05)


def tower(up: str = "z", sides: tuple[float, float, float] = SIDES) -> tuple[Any, Any, Any]:
    """Points, triangles and texture coordinates of an upright box; `up` is the axis that points up."""
    x, y, z = sides
    return box((x, y, z) if up == "z" else (x, z, y))


# -- formats -------------------------------------------------------------------------------------------------


def write_glb(path: Path) -> Path:
    """Textured: red above, blue below."""
    gltf = Gltf()
    points, triangles, uv = tower("y")
    material = gltf.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": {"index": gltf.texture(checker())}}})
    gltf.node(mesh=gltf.mesh(points, triangles, material, TEXCOORD_0=uv))
    path.write_bytes(gltf.glb())
    return path


def write_gltf(path: Path) -> Path:
    """With its data and its texture in files of their own."""
    gltf = Gltf()
    points, triangles, uv = tower("y")
    checker().save(path.with_suffix(".png"))
    image = gltf.add("images", {"uri": path.with_suffix(".png").name})
    texture = gltf.add("textures", {"source": image})
    material = gltf.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": {"index": texture}}})
    gltf.node(mesh=gltf.mesh(points, triangles, material, TEXCOORD_0=uv))
    path.with_suffix(".bin").write_bytes(gltf.data)
    gltf.add("buffers", {"uri": path.with_suffix(".bin").name, "byteLength": len(gltf.data)})
    path.write_text(json.dumps(gltf.document))
    return path


def write_obj(path: Path, up: str = "y", texture: bool = True) -> Path:
    """With its materials and (if `texture`) its texture beside it; Z up as Oriel itself writes it."""
    points, triangles, uv = tower(up)
    lines = ["# Oriel" if up == "z" else "# a tower", f"mtllib {path.stem}.mtl", "o tower"]
    lines += [f"v {x} {y} {z}" for x, y, z in points] + [f"vt {u} {v}" for u, v in uv] + ["usemtl wall"]
    lines += ["f " + " ".join(f"{i + 1}/{i + 1}" for i in triangle) for triangle in triangles]
    path.write_text("\n".join(lines) + "\n")
    path.with_suffix(".mtl").write_text(f"newmtl wall\nKd 0.2 0.8 0.2\nmap_Kd {path.stem}.png\n")
    if texture:
        checker().save(path.with_suffix(".png"))
    return path


def write_ply(path: Path) -> Path:
    """With red vertices."""
    points, triangles, _ = tower()
    colour = " ".join(str(round(255 * c)) for c in RED)
    head = ["ply", "format ascii 1.0", f"element vertex {len(points)}", *(f"property float {c}" for c in "xyz")]
    head += [f"property uchar {c}" for c in ("red", "green", "blue")]
    head += [f"element face {len(triangles)}", "property list uchar int vertex_indices", "end_header"]
    rows = [f"{x} {y} {z} {colour}" for x, y, z in points] + ["3 " + " ".join(map(str, t)) for t in triangles]
    path.write_text("\n".join(head + rows) + "\n")
    return path


def write_stl(path: Path) -> Path:
    """Binary."""
    points, triangles, _ = tower()
    records = np.zeros(len(triangles), [("normal", "<f4", 3), ("points", "<f4", (3, 3)), ("more", "<u2")])
    records["points"] = points[triangles]
    path.write_bytes(b"\0" * 80 + struct.pack("<I", len(triangles)) + records.tobytes())
    return path


def write_usd(path: Path) -> Path:
    """As text."""
    points, triangles, _ = tower()
    corners = ", ".join(f"({x}, {y}, {z})" for x, y, z in points)
    path.write_text(
        f"""#usda 1.0
( defaultPrim = "tower"
  upAxis = "Z"
  metersPerUnit = 1 )
def Xform "tower" {{
  def Mesh "walls" {{
    int[] faceVertexCounts = [{", ".join(["3"] * len(triangles))}]
    int[] faceVertexIndices = [{", ".join(map(str, triangles.ravel().tolist()))}]
    point3f[] points = [{corners}]
  }}
}}
"""
    )
    return path


def write_fbx(path: Path) -> Path:
    """Binary, in centimetres and Y up, as most are."""
    points, triangles, _ = tower("y")
    corners = triangles.copy()
    corners[:, 2] = -corners[:, 2] - 1  # the end of a face
    axes = {"UpAxis": 1, "UpAxisSign": 1, "FrontAxis": 2, "FrontAxisSign": 1, "CoordAxis": 0, "CoordAxisSign": 1}
    settings = [_fbx("P", name, "int", "Integer", "", value) for name, value in axes.items()]
    settings.append(_fbx("P", "UnitScaleFactor", "double", "Number", "", 1.0))
    geometry = _fbx(
        "Geometry",
        np.int64(1),
        "walls\0\1Geometry",
        "Mesh",
        children=[
            _fbx("GeometryVersion", 124),
            _fbx("Vertices", points.astype(np.float64).ravel() * 100),
            _fbx("PolygonVertexIndex", corners.astype(np.int32).ravel()),
        ],
    )
    model = _fbx("Model", np.int64(2), "tower\0\1Model", "Mesh", children=[_fbx("Version", 232), _fbx("Properties70")])
    nodes = [
        _fbx("FBXHeaderExtension", children=[_fbx("FBXHeaderVersion", 1003), _fbx("FBXVersion", 7400)]),
        _fbx("GlobalSettings", children=[_fbx("Version", 1000), _fbx("Properties70", children=settings)]),
        _fbx("Definitions", children=[_fbx("Version", 100), _fbx("Count", 2)]),
        _fbx("Objects", children=[geometry, model]),
        _fbx("Connections", children=[_fbx("C", "OO", *np.int64([2, 0])), _fbx("C", "OO", *np.int64([1, 2]))]),
    ]
    data = bytearray(b"Kaydara FBX Binary  \0\x1a\0" + struct.pack("<I", 7400))
    for node in nodes:
        data += node(len(data))
    path.write_bytes(data + b"\0" * 13 + b"\0" * 200)
    return path


def _fbx(name: str, *values: Any, children: list[Callable[[int], bytes]] | None = None) -> Callable[[int], bytes]:
    """A record of a binary FBX file, once its place in the file is known."""

    def write(start: int) -> bytes:
        held = b""
        for value in values:
            if isinstance(value, np.ndarray):
                kind = {"float64": b"d", "int32": b"i"}[value.dtype.name]
                held += kind + struct.pack("<III", value.size, 0, value.nbytes) + value.tobytes()
            elif isinstance(value, str):
                held += b"S" + struct.pack("<I", len(value)) + value.encode()
            elif isinstance(value, float):
                held += b"D" + struct.pack("<d", value)
            elif isinstance(value, np.int64):
                held += b"L" + struct.pack("<q", value)
            else:
                held += b"I" + struct.pack("<i", value)
        head = 13 + len(name)
        inner = bytearray()
        for child in children or []:
            inner += child(start + head + len(held) + len(inner))
        if children:
            inner += b"\0" * 13
        end = start + head + len(held) + len(inner)
        return struct.pack("<IIIB", end, len(values), len(held), len(name)) + name.encode() + held + inner

    return write


FORMATS: dict[str, Callable[[Path], Path]] = {
    "tower.glb": write_glb,
    "tower.gltf": write_gltf,
    "tower.obj": write_obj,
    "tower.fbx": write_fbx,
    "tower.ply": write_ply,
    "tower.stl": write_stl,
    "tower.usda": write_usd,
}


# -- odd ones that are rendered -------------------------------------------------------------------------------


def _made(change: Callable[[Gltf, int], None], **material: Any) -> Callable[[Path], Path]:
    """A GLB with the tower's mesh (Y up), the rest of which `change` adds."""

    def write(path: Path) -> Path:
        gltf = Gltf()
        points, triangles, _ = tower("y")
        index = gltf.add("materials", {"pbrMetallicRoughness": {"baseColorFactor": [*RED, 1]}} | material)
        change(gltf, gltf.mesh(points, triangles, index))
        path.write_bytes(gltf.glb())
        return path

    return write


def _several_roots(gltf: Gltf, mesh: int) -> None:
    """The tower in two halves under roots of their own, among a camera and a light that nobody wants."""
    for y in (-0.5, 0.5):
        inner = gltf.add("nodes", {"mesh": mesh, "scale": [1, 0.5, 1]})
        gltf.node(children=[inner], translation=[0, y, 0])
    camera = gltf.add("cameras", {"type": "perspective", "perspective": {"yfov": 1, "znear": 0.1}})
    gltf.node(camera=camera, translation=[0, 900, 0])
    lights = [{"type": "point", "intensity": 1e9, "color": [0, 1, 0]}]
    gltf.document["extensions"] = {"KHR_lights_punctual": {"lights": lights}}
    gltf.document["extensionsUsed"] = ["KHR_lights_punctual"]
    gltf.node(extensions={"KHR_lights_punctual": {"light": 0}}, translation=[0, 5, 0])


def _animated(gltf: Gltf, mesh: int) -> None:
    """Stands upright around a smaller one, but its animation begins with it lying far away."""
    node = gltf.node(mesh=mesh)
    times = gltf.accessor(np.array([0, 1], np.float32), min=[0.0], max=[1.0])
    away = gltf.accessor(np.full((2, 3), 50, np.float32))
    lying = gltf.accessor(np.tile(np.array([0, 0, 0.7071, 0.7071], np.float32), (2, 1)))
    samplers = [{"input": times, "output": output} for output in (away, lying)]
    paths = ("translation", "rotation")
    channels = [{"sampler": i, "target": {"node": node, "path": p}} for i, p in enumerate(paths)]
    gltf.add("animations", {"samplers": samplers, "channels": channels})
    gltf.node(mesh=mesh, scale=[0.5, 0.5, 0.5])


def _skinned(gltf: Gltf, mesh: int) -> None:
    """Hangs on a joint that its animation turns."""
    count = gltf.document["accessors"][0]["count"]
    places = gltf.document["meshes"][mesh]["primitives"][0]["attributes"]
    places["JOINTS_0"] = gltf.accessor(np.zeros((count, 4), np.uint8))
    places["WEIGHTS_0"] = gltf.accessor(np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)))
    joint = gltf.node()
    inverse = gltf.accessor(np.eye(4, dtype=np.float32)[None])
    gltf.add("skins", {"joints": [joint], "inverseBindMatrices": inverse})
    gltf.node(mesh=mesh, skin=0)
    times = gltf.accessor(np.array([0, 1], np.float32), min=[0.0], max=[1.0])
    lying = gltf.accessor(np.tile(np.array([0, 0, 0.7071, 0.7071], np.float32), (2, 1)))
    target = {"node": joint, "path": "rotation"}
    gltf.add(
        "animations",
        {"samplers": [{"input": times, "output": lying}], "channels": [{"sampler": 0, "target": target}]},
    )


def _sheared(gltf: Gltf, mesh: int) -> None:
    """Turned within a parent that is scaled unevenly, and mirrored."""
    inner = gltf.add("nodes", {"mesh": mesh, "rotation": [0, 0, 0.3827, 0.9239]})
    gltf.node(children=[inner], scale=[-0.2, 1, 1])


def write_no_texture(path: Path) -> Path:
    """A GLB whose texture lies in a file that is not there; its base colour is red."""
    gltf = Gltf()
    points, triangles, uv = tower("y")
    texture = gltf.add("textures", {"source": gltf.add("images", {"uri": "wall.png"})})
    colour = {"baseColorTexture": {"index": texture}, "baseColorFactor": [*RED, 1]}
    material = gltf.add("materials", {"pbrMetallicRoughness": colour})
    gltf.node(mesh=gltf.mesh(points, triangles, material, TEXCOORD_0=uv))
    path.write_bytes(gltf.glb())
    return path


def write_coloured(path: Path) -> Path:
    """A GLB of red vertices."""
    gltf = Gltf()
    points, triangles, _ = tower("y")
    colours = np.tile(np.array([*RED, 1], np.float32), (len(points), 1))
    gltf.node(mesh=gltf.mesh(points, triangles, gltf.add("materials", {}), COLOR_0=colours))
    path.write_bytes(gltf.glb())
    return path


def write_white(path: Path) -> Path:
    """A white cube."""
    gltf = Gltf()
    points, triangles, _ = box()
    material = gltf.add(
        "materials", {"pbrMetallicRoughness": {"baseColorFactor": [0.9, 0.9, 0.9, 1], "metallicFactor": 0}}
    )
    gltf.node(mesh=gltf.mesh(points, triangles, material))
    path.write_bytes(gltf.glb())
    return path


ODD: dict[str, Callable[[Path], Path]] = {
    "several_roots.glb": _made(_several_roots),
    "animated.glb": _made(_animated),
    "skinned.glb": _made(_skinned),
    "sheared.glb": _made(_sheared),
    "enormous.glb": _made(lambda gltf, mesh: gltf.node(mesh=mesh, scale=[1e6] * 3)),
    "tiny.glb": _made(lambda gltf, mesh: gltf.node(mesh=mesh, scale=[1e-6] * 3)),
    "far.glb": _made(lambda gltf, mesh: gltf.node(mesh=mesh, translation=[1e6, -1e6, 1e6])),
    "see_through.glb": _made(
        lambda gltf, mesh: gltf.node(mesh=mesh),
        alphaMode="BLEND",
        pbrMetallicRoughness={"baseColorFactor": [*RED, 0.5]},
    ),
    "no_texture.glb": write_no_texture,
    "no_texture.obj": lambda path: write_obj(path, texture=False),
    "coloured.glb": write_coloured,
    "oriel.obj": lambda path: write_obj(path, up="z"),
    "draco.glb": write_draco,
}
"""Models that can be rendered, by name; all but `sheared` are towers."""


# -- models that cannot --------------------------------------------------------------------------------------


def write_hanging(path: Path) -> Path:
    """A file whose reader waits for ever."""
    os.mkfifo(path)
    return path


def _changed(change: Callable[[Gltf], None]) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        gltf = Gltf()
        points, triangles, _ = tower("y")
        gltf.node(mesh=gltf.mesh(points, triangles))
        change(gltf)
        path.write_bytes(gltf.glb())
        return path

    return write


def _written(content: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return write


def _points(value: float) -> Callable[[Gltf], None]:
    def change(gltf: Gltf) -> None:
        gltf.data[:288] = np.full(72, value, np.float32).tobytes()

    return change


def _one_corner(gltf: Gltf) -> None:
    gltf.data[:4] = np.float32(np.nan).tobytes()


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty.glb": (_written(b""), "is empty"),
    "noise.glb": (_written(bytes(range(256)) * 8), "cannot be loaded"),
    "text.gltf": (_written(b'{"asset": {"version": "2.0"}, "meshes": ['), "cannot be loaded"),
    "no_scene.glb": (_changed(lambda gltf: gltf.document.pop("scenes") and gltf.document.pop("nodes")), "no surfaces"),
    "flat.glb": (_changed(_points(3.0)), "no extent"),
    "no_numbers.glb": (_changed(_points(float("nan"))), "no numbers"),
    "one_corner.glb": (_changed(_one_corner), "no numbers"),
    "noise.fbx": (_written(b"Kaydara FBX Binary  \0\x1a\0" + b"\7" * 90), "cannot be loaded"),
    "nothing.obj": (_written(b"nothing that is a model\n"), "no surfaces"),
    "cut.ply": (
        _written(b"ply\nformat binary_little_endian 1.0\nelement vertex 9\nend_header\nxx"),
        "cannot be loaded",
    ),
    "noise.usdc": (_written(b"PXR-USDC" + b"\7" * 90), "cannot be loaded"),
    "picture.png": (_written(b"\x89PNG"), "no kind that is rendered"),
}
"""Files that cannot be rendered, by name: how to write them, and words that the message must hold."""
