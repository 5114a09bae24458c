"""OBJ and PLY files as other programs write them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.evaluation.pictures import draw_shape, read_shape
from engine.meshes.companions import companions, read_files
from engine.screening import load_preview
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


def volume_and_area(path: Path) -> tuple[float, float]:
    shape = read_shape(path)
    corners = shape.mesh.vertices[shape.mesh.faces].astype(float) / shape.frame[0, 0]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return float((corners[:, 0] * normals).sum() / 6), float(np.linalg.norm(normals, axis=1).sum() / 2)


def colour(path: Path) -> tuple[int, ...]:
    """What a model shows, unlit."""
    shape = read_shape(path)
    drawn = draw_shape(shape.moved(shape.to_unit()), lit=False)
    return tuple(np.rint(np.median(drawn[drawn[..., 3] > 0.99][:, :3], 0) * 255).astype(int).tolist())


@pytest.mark.parametrize("first", range(6))
def test_faces_that_are_not_convex_have_their_area_whatever_corner_they_begin_with(tmp_path: Path, first: int) -> None:
    for form in ("{}", "{}/1", "{}//1", "{}/1/1", "{}/"):
        assert volume_and_area(write_block_obj(tmp_path / "l.obj", first, form)) == pytest.approx((12, 40), rel=1e-5)
    for order in ("", "<", ">"):
        assert volume_and_area(write_block_ply(tmp_path / "l.ply", first, order)) == pytest.approx((12, 40), rel=1e-5)


def test_corners_counted_from_the_end_and_lines_that_go_on(tmp_path: Path) -> None:
    points, triangles, _ = box((1, 2, 3))
    lines = []
    for triangle in triangles:  # each with its own corners before it
        lines += ["v {} {} {}".format(*points[i]) for i in triangle] + ["f -3 \\", "\t-2 -1 # a triangle"]
    (tmp_path / "back.obj").write_bytes("\r\n".join(lines).encode())
    preview = load_preview(tmp_path / "back.obj")
    assert preview.problem is None and preview.facts.triangles == 12
    assert volume_and_area(tmp_path / "back.obj") == pytest.approx((6, 22), rel=1e-5)
    (tmp_path / "back.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n")
    assert "corners that it does not have" in str(load_preview(tmp_path / "back.obj").problem)


# -- materials -----------------------------------------------------------------------------------------------


def write_obj(folder: Path, material: str | bytes, *, library: str = "mtllib m.mtl", mtl: str = "m.mtl") -> Path:
    points, triangles, uv = box((1, 2, 1))
    lines = [library, *(f"v {x} {y} {z}" for x, y, z in points), *(f"vt {u} {v}" for u, v in uv), "usemtl wall"]
    lines += ["f " + " ".join(f"{i + 1}/{i + 1}" for i in triangle) for triangle in triangles]
    (folder / "model.obj").write_text("\n".join(lines) + "\n")
    content = material if isinstance(material, bytes) else f"newmtl wall\n{material}\n".encode()
    (folder / mtl).write_bytes(content)
    return folder / "model.obj"


def flat(path: Path, color: tuple[int, ...] = ORANGE) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGBA" if len(color) == 4 else "RGB", (8, 8), color).save(path)


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


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_found_however_it_is_named(tmp_path: Path, name: str) -> None:
    for file in ("Wall.PNG", "wall colour.png", "2 storeys.png", "textures/inner.png"):
        flat(tmp_path / file)
    model = write_obj(tmp_path, NAMES[name])
    assert colour(model) == ORANGE and load_preview(model).facts.warnings == ()
    used = companions(model)
    assert len(used) == 2 and all(file.is_file() for file in used.values())
    (there := tmp_path / "there").mkdir()
    for file, content in read_files(model).items():
        (there / file).parent.mkdir(parents=True, exist_ok=True)
        (there / file).write_bytes(content)
    assert colour(there / "model.obj") == ORANGE, "also on another machine"


@pytest.mark.parametrize(
    ("library", "mtl"),
    [
        ("mtllib the house.mtl", "the house.mtl"),
        ('mtllib "the house.mtl"', "the house.mtl"),
        ("mtllib THE.MTL", "the.mtl"),
        ("mtllib\tthe.mtl \t", "the.mtl"),
        ("mtllib C:\\x\\the.mtl", "the.mtl"),
        ("mtllib none.mtl\nmtllib the.mtl", "the.mtl"),
    ],
)
def test_a_library_is_found_however_it_is_named(tmp_path: Path, library: str, mtl: str) -> None:
    flat(tmp_path / "wall.png")
    content = b"\xef\xbb\xbfnewmtl wall\r\n\tmap_Kd wall.png\r\n"
    model = write_obj(tmp_path, content, library=library, mtl=mtl)
    assert colour(model) == ORANGE
    assert len(load_preview(model).facts.warnings) == ("none" in library)


def test_what_is_missing_is_told_once_and_by_its_name(tmp_path: Path) -> None:
    model = write_obj(tmp_path, "Kd 0.2 0.4 0.6\nmap_Kd -s 2 2 2 C:\\x\\gone away.png")
    told = load_preview(model).facts.warnings
    assert len(told) == 1 and "gone away.png is missing" in told[0]
    assert colour(model) == (51, 102, 153)
    (tmp_path / "m.mtl").unlink()
    told = load_preview(model).facts.warnings
    assert len(told) == 1 and "m.mtl is missing" in told[0]


def test_options_place_the_picture_and_a_mask_cuts_it_out(tmp_path: Path) -> None:
    halves = Image.new("RGB", (64, 64), BLUE)
    halves.paste(ORANGE, (0, 0, 16, 64))  # a quarter
    halves.save(tmp_path / "wall.png")
    assert colour(write_obj(tmp_path, "map_Kd wall.png")) == BLUE
    assert colour(write_obj(tmp_path, "map_Kd -s 0.1 0.5 1 -o 0.05 0.2 0 wall.png")) == ORANGE
    Image.new("L", (8, 8), 0).save(tmp_path / "mask.png")
    part = load_preview(write_obj(tmp_path, "map_Kd wall.png\nmap_d wall.png")).parts[0]
    assert part.alpha == "blend" and part.texture is not None and part.texture.shape[2] == 4


def test_materials_that_share_a_picture_and_colours_of_corners(tmp_path: Path) -> None:
    flat(tmp_path / "wall.png")
    model = write_obj(tmp_path, "map_Kd wall.png\nnewmtl door\nmap_Kd wall.png")
    model.write_text(model.read_text().replace("f 9/9", "usemtl door\nf 9/9"))
    preview = load_preview(model)
    assert preview.facts.textures == 1 and preview.facts.triangles == 12
    points, triangles, _ = box()
    for scale in (1, 255):
        rows = [" ".join(map(str, [*p, *(c / 255 * scale for c in ORANGE)])) for p in points]
        lines = [f"v {row}" for row in rows] + ["f " + " ".join(str(i + 1) for i in t) for t in triangles]
        (tmp_path / "corners.obj").write_text("\n".join(lines))
        assert colour(tmp_path / "corners.obj") == ORANGE


# -- PLY -----------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "text"])
@pytest.mark.parametrize("name", PLY)
def test_a_ply_has_its_colours(tmp_path: Path, name: str, binary: bool) -> None:
    skin = Image.new("RGB", (64, 64), BLUE)
    skin.paste(ORANGE, (0, 0, 32, 64))
    skin.save(tmp_path / "the skin.png")
    flat(tmp_path / "other.png", BLUE)
    corner, face = PLY[name]
    if not binary and name in ("16 bits", "floats"):
        corner = {
            key: (kind, round(value, 6) if kind == "float" else int(value)) for key, (kind, value) in corner.items()
        }
    comments = ("TextureFile other.png",) * ("texnumber" in face) + ("made by hand", "TextureFile the skin.png")
    model = write_ply(tmp_path / "model.ply", corner, face, comments, binary)
    assert np.abs(np.subtract(colour(model), ORANGE)).max() <= 1
    assert load_preview(model).facts.warnings == ()
    assert all(file.is_file() for file in companions(model).values()) and "the skin.png" in companions(model)


def test_a_ply_without_its_texture_says_so(tmp_path: Path) -> None:
    model = write_ply(tmp_path / "model.ply", rgb(), TEXTURED, ("TextureFile gone.png",))
    told = load_preview(model).facts.warnings
    assert len(told) == 1 and "gone.png is missing" in told[0] and colour(model) == ORANGE
