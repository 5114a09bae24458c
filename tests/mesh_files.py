"""OBJ and PLY files as other programs write them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image

from tests.screening_models import box

ORANGE = (230, 120, 30)
BLUE = (30, 60, 200)
ELL = [(0, 0), (4, 0), (4, 1), (1, 1), (1, 3), (0, 3)]


def block(first: int = 0) -> tuple[list[tuple[float, float, float]], list[list[int]]]:
    """Points and faces of an L, 2 high, whose floor and roof are faces of six corners: volume 12, surface 40."""
    points = [(float(x), float(y), z) for z in (0.0, 2.0) for x, y in ELL]
    faces = [np.roll(range(6, 12), first).tolist(), np.roll(range(5, -1, -1), first).tolist()]
    faces += [[i, (i + 1) % 6, (i + 1) % 6 + 6, i + 6] for i in range(6)]
    return points, faces


def write_block_obj(path: Path, first: int, form: str = "{}") -> Path:
    points, faces = block(first)
    lines = [f"v {x} {z} {-y}" for x, y, z in points] + ["vn 0 1 0", "vt 0 0"]
    path.write_text("\n".join(lines + ["f " + " ".join(form.format(i + 1) for i in face) for face in faces]) + "\n")
    return path


def write_block_ply(path: Path, first: int, order: str = "") -> Path:
    points, faces = block(first)
    kind = {"": "ascii", "<": "binary_little_endian", ">": "binary_big_endian"}[order]
    head = f"ply\nformat {kind} 1.0\nelement vertex 12\n" + "".join(f"property double {c}\n" for c in "xyz")
    head += "element face 8\nproperty list uchar int vertex_indices\nproperty uchar flags\nend_header\n"
    if order:
        body = b"".join(struct.pack(f"{order}3d", *p) for p in points)
        body += b"".join(struct.pack(f"{order}B{len(f)}iB", len(f), *f, 7) for f in faces)
    else:
        rows = [" ".join(map(str, p)) for p in points] + [" ".join(map(str, [len(f), *f, 7])) for f in faces]
        body = ("\n".join(rows) + "\n").encode()
    path.write_bytes(head.encode() + body)
    return path


def write_obj(folder: Path, material: str | bytes, *, library: str = "mtllib m.mtl", mtl: str = "m.mtl") -> Path:
    points, triangles, uv = box((1, 2, 1))
    lines = [library, *(f"v {x} {y} {z}" for x, y, z in points), *(f"vt {u} {v}" for u, v in uv), "usemtl wall"]
    lines += ["f " + " ".join(f"{i + 1}/{i + 1}" for i in triangle) for triangle in triangles]
    (folder / "model.obj").write_text("\n".join(lines) + "\n")
    content = material if isinstance(material, bytes) else f"newmtl wall\n{material}\n".encode()
    (folder / mtl).write_bytes(content)
    for file in PICTURES:
        flat(folder / file)
    return folder / "model.obj"


def flat(path: Path, color: tuple[int, ...] = ORANGE) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGBA" if len(color) == 4 else "RGB", (8, 8), color).save(path)


PICTURES = ("Wall.PNG", "wall colour.png", "2 storeys.png", "textures/inner.png")
"""Orange all over, beside every OBJ."""
NAMES = {
    "plain": "map_Kd Wall.PNG",
    "dark beside it": "Kd 0 0 0\nmap_Kd Wall.PNG",
    "lower key": "map_kd Wall.PNG",
    "tab": "map_Kd\tWall.PNG",
    "indented": "  \tmap_Kd   Wall.PNG",
    "trailing blank": "map_Kd Wall.PNG  \t ",
    "other case": "map_Kd WALL.png",
    "quoted": 'map_Kd "Wall.PNG"',
    "blank": "map_Kd wall colour.png",
    "quoted blank": "map_Kd 'wall colour.png'",
    "coded blank": "map_Kd wall%20colour.png",
    "backslash": "map_Kd .\\Wall.PNG",
    "folder of other case": "map_Kd TEXTURES\\Inner.png",
    "windows": "map_Kd C:\\models\\export\\Wall.PNG",
    "windows, folder": "map_Kd C:\\models\\textures\\inner.png",
    "unix": "map_Kd /home/somebody/export/Wall.PNG",
    "relative elsewhere": "map_Kd ../../maps/Wall.PNG",
    "scale and offset": "map_Kd -s 1 1 1 -o 0 0 0 Wall.PNG",
    "scale of two": "map_Kd -s 1 1 wall colour.png",
    "number in the name": "map_Kd -o 0 0 2 storeys.png",
    "clamp and others": "map_Kd -clamp on -blendu off -texres 512 -bm 0.5 -mm 0 1 -imfchan r Wall.PNG",
    "options and windows": "map_Kd -bm 1.000000 C:\\x\\Wall.PNG",
    "one number": "Ka 0\nKs 0\nmap_Kd Wall.PNG",
    "words for numbers": "Ka none\nNs -\nmap_Kd Wall.PNG",
}


def write_ply(
    path: Path,
    corner: dict[str, tuple[str, float]],
    face: dict[str, tuple[str, float | list[float]]] | None = None,
    comments: tuple[str, ...] = (),
    binary: bool = True,
) -> Path:
    """A box whose corners, or faces, all have these properties: kind and value by name."""
    points, triangles, _ = box()
    face = face or {}
    codes = {"uchar": "B", "ushort": "H", "float": "f", "int": "i"}
    head = ["ply", f"format {'binary_little_endian' if binary else 'ascii'} 1.0", *(f"comment {c}" for c in comments)]
    head += [f"element vertex {len(points)}", *(f"property float {c}" for c in "xyz")]
    head += [f"property {kind} {name}" for name, (kind, _) in corner.items()]
    head += [f"element face {len(triangles)}", "property list uchar int vertex_indices"]
    for name, (kind, value) in face.items():
        head.append(f"property {'list uchar ' * isinstance(value, list)}{kind} {name}")
    body = b""
    rows = []
    for p in points:
        body += struct.pack("<3f", *p) + b"".join(struct.pack(f"<{codes[k]}", v) for k, v in corner.values())
        rows.append([*p, *(v for _, v in corner.values())])
    for t in triangles.tolist():
        body += struct.pack("<B3i", 3, *t)
        rows.append([3, *t])
        for kind, value in face.values():
            values = value if isinstance(value, list) else [value]
            counted = isinstance(value, list)
            body += bytes([len(values)] * counted) + struct.pack(f"<{len(values)}{codes[kind]}", *values)
            rows[-1] += [len(values)] * counted + values
    text = "\n".join(" ".join(map(str, row)) for row in rows).encode() + b"\n"
    path.write_bytes("\n".join([*head, "end_header", ""]).encode() + (body if binary else text))
    return path


def rgb(kind: str = "uchar", scale: float = 1, prefix: str = "") -> dict[str, tuple[str, float]]:
    values = zip(("red", "green", "blue"), ORANGE, strict=True)
    return {prefix + name: (kind, value * scale) for name, value in values}


TEXTURED = {"texcoord": ("float", [0.1, 0.5, 0.2, 0.5, 0.1, 0.6])}
PLY = {
    "bytes": (rgb(), {}),
    "diffuse": (rgb(prefix="diffuse_"), {}),
    "floats": (rgb("float", 1 / 255), {}),
    "floats to 255": (rgb("float"), {}),
    "16 bits": (rgb("ushort", 257), {}),
    "alpha 0": (rgb() | {"alpha": ("uchar", 0)}, {}),
    "of faces": ({}, rgb()),
    "s, t": ({"s": ("float", 0.1), "t": ("float", 0.5)}, {}),
    "u, v": ({"u": ("float", 0.1), "v": ("float", 0.5)}, {}),
    "texture_u, texture_v": ({"texture_u": ("float", 0.1), "texture_v": ("float", 0.5)}, {}),
    "of faces' corners": ({}, TEXTURED),
    "with colours beside": (dict.fromkeys(("red", "green", "blue"), ("uchar", 255)), TEXTURED),
    "with the number of the picture": ({}, TEXTURED | {"texnumber": ("int", 1)}),
}
"""Boxes of which orange is to be seen: properties of corners and of faces."""


def write_skins(folder: Path, face: dict[str, tuple[str, float | list[float]]]) -> tuple[str, ...]:
    """The pictures that faces and corners of `PLY` take their colour from; returns the comments that name them."""
    skin = Image.new("RGB", (64, 64), BLUE)
    skin.paste(ORANGE, (0, 0, 32, 64))
    skin.save(folder / "the skin.png")
    flat(folder / "other.png", BLUE)
    return ("TextureFile other.png",) * ("texnumber" in face) + ("made by hand", "TextureFile the skin.png")
