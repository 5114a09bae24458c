"""What is left out of the picture so that a building is no speck in it, and what stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import trimesh

from engine.meshes.framing import set_apart
from engine.meshes.model import Model, Piece, Surface

Creation: Any = trimesh.creation


def model(*meshes: Any) -> Model:
    """One piece a mesh."""
    pieces = [
        Piece(np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.int32), Surface()) for mesh in meshes
    ]
    return Model(pieces, np.zeros(3))


def building() -> Any:
    """20 x 16 x 12 m on the ground."""
    return Creation.box((20, 16, 12)).apply_translation((0, 0, 6))


def stray(*at: float, size: float = 0.1) -> Any:
    return trimesh.Trimesh(np.eye(3) * size + np.array(at), [[0, 1, 2]])


def plane(side: float, tiles: int = 1, waves: float = 0.0) -> Any:
    steps = np.linspace(-side / 2, side / 2, tiles + 1)
    x, y = (grid.ravel() for grid in np.meshgrid(steps, steps))
    at = np.arange((tiles + 1) ** 2).reshape(tiles + 1, tiles + 1)
    a, b, c, d = (at[i : tiles + i, j : tiles + j].ravel() for i, j in ((0, 0), (0, 1), (1, 1), (1, 0)))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return trimesh.Trimesh(np.stack([x, y, waves * np.sin(x / 70) * np.cos(y / 50)], 1), faces, process=False)


def dome(radius: float, detail: int = 2) -> Any:
    ball = Creation.icosphere(detail, radius)
    ball.update_faces((ball.triangles[:, :, 2] > -1e-6 * radius).all(1))
    return ball


def fence(side: float) -> Any:
    """Four walls, 2 m high."""
    walls = [Creation.box((side, 0.1, 2)).apply_translation((0, sign * side / 2, 1)) for sign in (-1, 1)]
    walls += [Creation.box((0.1, side, 2)).apply_translation((sign * side / 2, 0, 1)) for sign in (-1, 1)]
    return trimesh.util.concatenate(walls)


FAR = [stray(1000, 0, 0), stray(0, -3000, 0), stray(5, 5, 20_000), stray(200, 90, 3)]
SPOILED: dict[str, tuple[list[Any], str]] = {
    "stray": ([stray(1000, 0, 0)], "1 triangle is left out, which lies up to 50 times"),
    "far stray": ([stray(0, 0, 20_000)], "1,000 times"),
    "strays on all sides, near and far": (FAR, "4 triangles are left out"),
    "flat stray at the height of the floor": ([plane(0.1).apply_translation((1000, 0, 0))], "2 triangles"),
    "stray without an area": ([stray(1000, 0, 0, size=0)], "1 triangle"),
    "ground": ([plane(2000)], "ground 100 times as wide"),
    "ground of tiles": ([plane(2000, 40)], "ground 100 times"),
    "ground in one mesh with the building": ([], "ground 100 times"),
    "uneven ground": ([plane(2000, 60, 2.0)], "ground 100 times"),
    "slab": ([Creation.box((2000, 2000, 3)).apply_translation((0, 0, -1.5))], "ground 100 times"),
    "ground and strays": ([plane(2000, 3), *FAR], "ground 100 times"),
    "sky": ([Creation.icosphere(3, 1000)], "shell around the model, 100 times"),
    "near sky of few triangles": ([Creation.icosphere(1, 50).apply_translation((0, 0, 6))], "shell around the model"),
    "dome on its ground": ([dome(1000), plane(2000, 5)], "shell around the model, 100 times"),
    "low dome": ([dome(300, 3).apply_scale((1, 1, 0.3))], "shell around the model, 30 times"),
    "sky that is a box": ([Creation.box((900, 900, 900)).apply_translation((0, 0, 100))], "shell around the model"),
    "sky, ground and a stray": ([Creation.icosphere(3, 1000), plane(1500), stray(3000, 0, 0)], "shell"),
    "small shed a mile off": ([Creation.box((8, 6, 3)).apply_translation((1600, 0, 1))], "12 triangles"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_building_is_shown_without_what_makes_it_a_speck(name: str) -> None:
    others, words = SPOILED[name]
    if not others:
        given = model(trimesh.util.concatenate([building(), plane(2000, 2)]))
    else:
        given = model(building(), *others)
    body, around, notes = set_apart(given)
    points = np.concatenate([piece.points for piece in body.pieces])
    assert np.allclose(points.min(0), (-10, -8, 0), atol=2.5) and np.allclose(points.max(0), (10, 8, 12), atol=2.5)
    assert sum(len(piece.triangles) for piece in body.pieces) >= 12
    assert around is not None and words in " ".join(notes)
    count = sum(len(piece.triangles) for piece in given.pieces)
    assert count == sum(len(piece.triangles) for one in (body, around) for piece in one.pieces)


COURT = trimesh.util.concatenate([fence(30), Creation.box((4, 4, 3)).apply_translation((0, 0, 1.5))])
WHOLE: dict[str, list[Any]] = {
    "building": [building()],
    "a fence far off that belongs": [building(), Creation.box((40, 0.2, 2)).apply_translation((100, 0, 1))],
    "a fence around it": [building(), fence(80)],
    "a fence around it on a lawn": [building(), fence(60), plane(64, 4)],
    "a lawn": [building(), plane(70, 4)],
    "a lamp beside it": [building(), stray(24, 0, 4, size=0.4)],
    "a village on its ground": [
        *(building().apply_translation((70 * i, 70 * j, 0)) for i in range(-3, 4) for j in range(-3, 4)),
        plane(600, 4),
    ],
    "a room with a chair": [Creation.box((6, 5, 3)), Creation.box((0.9, 0.9, 1))],
    "a court with a well": [COURT],
    "scattered stones": [
        Creation.icosphere(1, 0.3).apply_translation(at)
        for at in np.random.default_rng(3).uniform(-60, 60, (60, 3)) * (1, 1, 0)
    ],
    "a flat wall": [plane(20, 4)],
    "hills": [plane(2000, 60, 120.0), building()],
    "two towers": [Creation.box((8, 8, 60)), Creation.box((8, 8, 60)).apply_translation((70, 0, 0))],
    "one triangle": [stray(0, 0, 0, size=1)],
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_belongs_to_a_model_stays(name: str) -> None:
    body, around, notes = set_apart(model(*WHOLE[name]))
    assert around is None and not notes
    assert sum(len(piece.triangles) for piece in body.pieces) == sum(len(mesh.faces) for mesh in WHOLE[name])


def test_points_that_no_triangle_uses_make_nothing_small() -> None:
    given = model(building())
    given.pieces[0].points = np.concatenate([given.pieces[0].points, [[5000, 0, 0]]]).astype(np.float32)
    body, around, _ = set_apart(given)
    assert around is None and body.pieces[0].points.max() < 13 and len(body.pieces[0].triangles) == 12
