"""What is read of OBJ and PLY files as other programs write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.evaluation.pictures import draw_shape, read_shape
from engine.meshes.companions import companions, read_files
from engine.screening import load_preview
from tests.mesh_files import (
    BLUE,
    NAMES,
    ORANGE,
    PLY,
    TEXTURED,
    flat,
    rgb,
    write_block_obj,
    write_block_ply,
    write_obj,
    write_ply,
)
from tests.screening_models import box


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


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_found_however_it_is_named(tmp_path: Path, name: str) -> None:
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
