"""What shapes hint at, and the small pictures that go with it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from engine.screening import Thumbnails, alike, load_preview
from engine.screening.thumbnails import SIZE, make_thumbnail
from tests.screening_models import Gltf, box, write_bad, write_house, write_slow

Creation: Any = trimesh.creation


def write(
    path: Path, points: Any, triangles: Any, *, both: bool = False, scale: float = 1.0, turn: float = 0.0
) -> Path:
    gltf = Gltf()
    material = gltf.add("materials", {"doubleSided": both})
    matrix = trimesh.transformations.rotation_matrix(turn, (0, 1, 0))[:3, :3]
    gltf.node(mesh=gltf.mesh((points @ matrix.T * scale).astype(np.float32), triangles, material))
    path.write_bytes(gltf.glb())
    return path


def hints(path: Path) -> Any:
    found = load_preview(path).facts.hints
    assert found is not None
    return found


def test_flat_fronts_and_rooms_are_told_from_buildings(tmp_path: Path) -> None:
    points, triangles, _ = box((20, 12, 15))
    assert hints(write(tmp_path / "building.glb", points, triangles)).words == ()
    room = hints(write(tmp_path / "room.glb", points, triangles[:, ::-1]))
    assert room.inward == pytest.approx(1) and "point inwards" in room.words[0]
    assert hints(write(tmp_path / "both.glb", points, triangles[:, ::-1], both=True)).words == ()
    for turn in (0.0, 0.6, 2.0):  # a front is flat however it stands
        front = hints(write(tmp_path / "front.glb", points * (1, 1, 0.05), triangles, turn=turn))
        assert "Flat" in front.words[0] and front.depth < 0.1
    assert hints(write(tmp_path / "slab.glb", points * (1, 0.05, 1), triangles)).words == ()  # low is not flat


def test_shapes_that_are_the_same_are_alike_and_others_not(tmp_path: Path) -> None:
    made = {}
    meshes = {
        "ring": Creation.torus(1.0, 0.4),
        "ball": Creation.icosphere(3),
        "tower": Creation.cylinder(0.5, 4),
        "cone": Creation.cone(0.5, 4),
        "cube": Creation.box((1, 1, 1)),
    }
    for name, mesh in meshes.items():
        for copy, (scale, turn) in enumerate(((1.0, 0.0), (25.0, 0.5))):
            points, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
            if copy:  # made anew, as another author would
                points, faces = trimesh.remesh.subdivide(points, faces)
            made[f"{name}-{copy}"] = hints(
                write(tmp_path / f"{name}-{copy}.glb", points, faces, scale=scale, turn=turn)
            )
    assert alike(made) == {f"{name}-{a}": [f"{name}-{b}"] for name in meshes for a, b in ((0, 1), (1, 0))}
    assert alike({}) == {}


def test_thumbnails_show_the_model_in_its_colours(tmp_path: Path) -> None:
    made = make_thumbnail(write_house(tmp_path / "house.glb"))
    picture = np.asarray(Image.open(io.BytesIO(made.picture)).convert("RGB")).astype(int)
    assert picture.shape == (SIZE[1], SIZE[0], 3)
    front = picture[:, 60:105]  # the checker as the large view shows it: blue above, red below
    red, blue = (front[..., at] > front[..., 2 - at] + 60 for at in (0, 2))
    assert blue[10:65].mean() > 0.3 and red[85:130].mean() > 0.3 and red[10:60].mean() == blue[85:120, :30].mean() == 0
    assert (np.abs(picture[0, 0] - picture[0, -1]) < 8).all()
    bad = make_thumbnail(write_bad(tmp_path, "empty.glb"))
    assert bad.picture == b"" and "empty" in bad.problem and bad.hints is None


def test_thumbnails_are_made_in_order_kept_and_made_again_where_files_change(tmp_path: Path) -> None:
    folder = tmp_path / "decisions"
    folder.mkdir()
    paths = [write_house(tmp_path / f"house_{number}.glb") for number in range(3)]
    paths.insert(1, write_bad(tmp_path, "cut.glb"))
    thumbnails = Thumbnails(folder)
    told: list[Path] = []
    thumbnails.on_ready(told.append)
    thumbnails.want(paths)
    thumbnails.wait()
    assert told == paths and not thumbnails.get(paths[1]).picture  # type: ignore[union-attr]
    thumbnails.close()
    write_house(paths[0], rows=6)
    again = Thumbnails(folder)
    assert all(again.get(path) is not None for path in paths)
    again.on_ready(told.append)
    again.want(paths)
    again.wait()
    assert told[4:] == [paths[0]]
    again.want([write_slow(tmp_path / "slow.glb")])
    again.close()  # at once, whatever it is at
    (folder / ".thumbnails.jsonl").write_bytes(b'{"path": "torn')
    assert Thumbnails(folder).get(paths[0]) is None
