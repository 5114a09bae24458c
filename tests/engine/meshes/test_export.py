import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import trimesh

from engine.core.errors import EmptyResultError, InputError, OutputError
from engine.meshes.export import export_mesh, sample_texture
from engine.meshes.mesh import Mesh, smooth_normals, weld
from tests.meshes import load_mesh

SIZE = np.array([0.6, 0.4, 1.0], np.float32)
COLORS = np.array(
    [[220, 30, 30], [30, 200, 40], [40, 60, 220], [230, 220, 40], [20, 20, 20], [240, 240, 240]], np.uint8
)


def box(textured: bool = True) -> Mesh:
    """A Z-up box, away from the origin, whose six sides have a colour each; corners split, as by an atlas."""
    corners, faces, uv, colors = [], [], [], []
    for side in range(6):
        axis, sign = side // 2, (-1, 1)[side % 2]
        u, v = (axis + 1) % 3, (axis + 2) % 3
        square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (1 if sign > 0 else [-1, 1])
        corner = np.zeros((4, 3), np.float32)
        corner[:, axis], corner[:, u], corner[:, v] = sign, square[:, 0], square[:, 1]
        faces += [[4 * side, 4 * side + 1, 4 * side + 2], [4 * side, 4 * side + 2, 4 * side + 3]]
        corners.append(corner * SIZE / 2)
        tile = np.array([[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]])
        uv.append((tile + np.array([side % 3, side // 3])) / [3, 2])
        colors.append(np.repeat(COLORS[side : side + 1], 4, 0))
    texture = np.zeros((64, 96, 3), np.uint8)
    for side in range(6):
        row, column = 1 - side // 3, side % 3  # the first row of the picture is the top, v grows upwards
        texture[32 * row : 32 * row + 32, 32 * column : 32 * column + 32] = COLORS[side]
    mesh = Mesh(
        np.concatenate(corners) + np.float32([0.1, -0.2, 0.3]), np.array(faces, np.int32), np.concatenate(colors)
    )
    if textured:
        mesh.uv, mesh.texture = np.concatenate(uv).astype(np.float32), texture
    return mesh


def color_of_side(mesh: Mesh, axis: int, sign: int) -> np.ndarray:
    """Colour in the middle of a side of a box, through faces and texture as a viewer would."""
    triangles = mesh.vertices[mesh.faces]
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    face = mesh.faces[np.argmax(normals[:, axis] * sign)]
    return sample_texture(mesh.texture, mesh.uv[face].mean(0, keepdims=True))[0]


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_textured_round_trip_keeps_every_side(tmp_path: Path, suffix: str) -> None:
    mesh = box()
    export_mesh(mesh, tmp_path / f"house{suffix}", on_floor=False)
    back = load_mesh(tmp_path / f"house{suffix}")
    np.testing.assert_allclose(back.bounds, mesh.bounds, atol=1e-5)
    assert len(back.faces) == 12
    for side in range(6):
        assert np.abs(color_of_side(back, side // 2, (-1, 1)[side % 2]).astype(int) - COLORS[side]).max() <= 1
    assert back.colors is not None and back.colors.shape == (len(back.vertices), 3)


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply"])
def test_vertex_colours_round_trip(tmp_path: Path, suffix: str) -> None:
    mesh = trimesh.creation.icosphere(2)
    colors = np.random.default_rng(0).integers(0, 256, (len(mesh.vertices), 3), dtype=np.uint8)
    source = Mesh(mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32), colors)
    export_mesh(source, tmp_path / f"ball{suffix}", on_floor=False)
    back = load_mesh(tmp_path / f"ball{suffix}")
    assert back.texture is None
    np.testing.assert_allclose(back.vertices, source.vertices, atol=1e-5)
    assert np.abs(back.colors.astype(int) - colors).max() <= 1


@pytest.mark.parametrize("suffix", [".ply", ".stl"])
def test_formats_for_printing_are_watertight(tmp_path: Path, suffix: str) -> None:
    export_mesh(box(), tmp_path / f"house{suffix}")
    back = load_mesh(tmp_path / f"house{suffix}")
    assert len(back.vertices) == 8
    solid = trimesh.Trimesh(back.vertices, back.faces, process=False)
    assert solid.is_watertight and solid.volume == pytest.approx(SIZE.prod(), rel=1e-4)
    if suffix == ".ply":
        assert back.colors is not None and len(np.unique(back.colors, axis=0)) > 1


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply", ".stl"])
@pytest.mark.parametrize("up", [None, "Y", "Z"])
def test_up_axis_height_and_floor(tmp_path: Path, suffix: str, up: str | None) -> None:
    path = tmp_path / f"house{suffix}"
    export_mesh(box(), path, up=up, height_m=12.5)
    low, high = trimesh.load_scene(path).bounds
    vertical = {"Y": 1, "Z": 2}[up or ("Y" if suffix in (".glb", ".obj") else "Z")]
    assert low[vertical] == pytest.approx(0, abs=1e-4)
    assert high[vertical] == pytest.approx(12.5, abs=1e-3)
    for axis in {0, 1, 2} - {vertical}:
        assert low[axis] + high[axis] == pytest.approx(0, abs=1e-3)
    back = load_mesh(path, up=up)
    np.testing.assert_allclose(np.ptp(back.bounds, axis=0), SIZE * 12.5, atol=1e-3)


def test_origin_stays_without_floor(tmp_path: Path) -> None:
    mesh = box()
    export_mesh(mesh, tmp_path / "a.ply", on_floor=False)
    np.testing.assert_allclose(load_mesh(tmp_path / "a.ply").bounds, mesh.bounds, atol=1e-5)


def test_obj_names_its_own_files_even_with_blanks(tmp_path: Path) -> None:
    export_mesh(box(), tmp_path / "town hall.obj")
    export_mesh(box(), tmp_path / "church.obj")
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["church.mtl", "church.obj", "church.png", "town hall.obj", "town_hall.mtl", "town_hall.png"]
    assert "mtllib town_hall.mtl" in (tmp_path / "town hall.obj").read_text()
    assert "map_Kd town_hall.png" in (tmp_path / "town_hall.mtl").read_text()
    assert load_mesh(tmp_path / "town hall.obj").texture is not None
    assert (tmp_path / "church.obj").read_text().count("\nv ") == 8  # welded, though the uv are split


def test_glb_holds_one_matt_textured_primitive(tmp_path: Path) -> None:
    export_mesh(box(), tmp_path / "a.glb")
    data = (tmp_path / "a.glb").read_bytes()
    document = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    (primitive,) = document["meshes"][0]["primitives"]
    assert set(primitive["attributes"]) == {"POSITION", "NORMAL", "TEXCOORD_0"}
    pbr = document["materials"][0]["pbrMetallicRoughness"]
    assert pbr["metallicFactor"] == 0 and pbr["roughnessFactor"] == pytest.approx(0.9)
    assert document["images"][0]["mimeType"] == "image/png"


def test_glb_passes_the_khronos_validator(tmp_path: Path, validate_glb) -> None:
    bare = box(textured=False)
    bare.colors = None
    folded = box()
    folded.faces = np.concatenate([folded.faces, [[0, 0, 1]]]).astype(np.int32)  # a degenerate face
    meshes = {"textured": box(), "colors": box(textured=False), "bare": bare, "folded": folded}
    for name, mesh in meshes.items():
        export_mesh(mesh, tmp_path / f"{name}.glb", height_m=3)
    result = validate_glb(*(tmp_path / f"{name}.glb" for name in meshes))
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("0 errors, 0 warnings") == len(meshes), result.stdout
    (tmp_path / "broken.glb").write_bytes(b"glTF" + b"\0" * 40)
    assert validate_glb(tmp_path / "broken.glb").returncode == 1


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply", ".stl"])
def test_full_disk_is_said_in_plain_words(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    path = tmp_path / f"house{suffix}"
    path.write_bytes(b"older file")
    plain_open = Path.open

    def open_full(self: Path, mode: str = "r", *args: object, **kwargs: object) -> object:
        return plain_open(Path("/dev/full") if self.suffix == ".tmp" else self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(OutputError, match=r"disk .* full") as caught:
        export_mesh(box(), path)
    assert isinstance(caught.value.__cause__, OSError) and caught.value.__cause__.errno == errno.ENOSPC
    assert path.read_bytes() == b"older file" and [p.name for p in tmp_path.iterdir()] == [path.name]


def test_unwritable_places_are_said_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="Choose another folder"):
        export_mesh(box(), tmp_path / "file" / "house.glb")
    with pytest.raises(OutputError, match="Choose another folder"):
        export_mesh(box(), Path("/proc/house.glb"))
    if os.geteuid() != 0:
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        with pytest.raises(OutputError, match="may not write"):
            export_mesh(box(), locked / "house.glb")


def test_wrong_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.fbx"):
        export_mesh(box(), tmp_path / "house.fbx")
    with pytest.raises(InputError, match="above 0"):
        export_mesh(box(), tmp_path / "house.glb", height_m=0)
    with pytest.raises(InputError, match="up axis"):
        export_mesh(box(), tmp_path / "house.glb", up="X")  # type: ignore[arg-type]
    with pytest.raises(EmptyResultError):
        export_mesh(Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)), tmp_path / "house.glb")
    assert not (tmp_path / "house.glb").exists()


def test_normals_are_unit_outward_and_seamless() -> None:
    ball = trimesh.creation.icosphere(3)
    split = Mesh(
        ball.vertices[ball.faces.ravel()].astype(np.float32),
        np.arange(len(ball.faces) * 3, dtype=np.int32).reshape(-1, 3),
    )
    normals = smooth_normals(split.vertices, split.faces)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    assert (normals * split.vertices).sum(1).min() > 0.99
    first, group = weld(split.vertices)
    assert len(first) == len(ball.vertices)
    np.testing.assert_array_equal(split.vertices[first][group], split.vertices)
