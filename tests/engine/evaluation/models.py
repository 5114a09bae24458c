"""Small true models and predictions of them, on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from PIL import Image
from scipy.spatial.transform import Rotation


def building(seed: int) -> Any:
    """A building of four coloured parts that is the same from no two sides."""
    rng = np.random.default_rng(seed)
    wide, deep, high = rng.uniform(0.5, 1.0, 3)
    parts = [
        trimesh.creation.box((wide, deep, high)),
        trimesh.creation.box((0.3, 0.5, 0.3)).apply_translation((wide / 2, deep / 2, (0.3 - high) / 2)),
        trimesh.creation.cylinder(0.12, 0.6, sections=12).apply_translation((-wide / 2, -deep / 3, high / 2)),
        trimesh.creation.cone(0.16, 0.3, sections=12).apply_translation((-wide / 2, -deep / 3, high / 2 + 0.3)),
    ]
    for part, color in zip(parts, ((200, 60, 40), (90, 120, 60), (180, 170, 150), (40, 50, 110)), strict=True):
        part.visual.vertex_colors = (*color, 255)
    return trimesh.util.concatenate(parts)


def predicted(shape: Any, error: float, seed: int) -> Any:
    """The shape as a poor network might give it: bent and paled by `error`, turned, scaled and moved."""
    rng = np.random.default_rng(seed)
    found = shape.subdivide().subdivide()
    points = np.asarray(found.vertices)
    points = points + error * np.sin(7 * points[:, [1, 2, 0]] + rng.uniform(0, 6, 3))
    turn = Rotation.from_euler("z", rng.uniform(0, 360), True).as_matrix()
    found.vertices = (points @ turn.T) * rng.uniform(0.5, 2) + rng.normal(size=3)
    colors = np.asarray(found.visual.vertex_colors).copy()
    colors[:, :3] = colors[:, :3] * (1 - 3 * error) + 230 * 3 * error
    found.visual.vertex_colors = colors
    return found


def write_run(folder: Path, shape: Any, elevation: float) -> None:
    """A run folder of `oriel reconstruct` with a mesh, an elevation, an input and views."""
    (folder / "views").mkdir(parents=True)
    picture = Image.new("RGBA", (64, 64), (120, 60, 200, 255))
    picture.save(folder / "input.png")
    for i in range(4):
        picture.save(folder / "views" / f"view_{i}.png")
    options = {"mode": "auto", "quality": "draft"}
    record = {"format": 1, "name": folder.name, "source": None, "created": "2026-01-01T00:00:00+00:00"}
    record |= {"options": options, "status": "done", "error": None, "stages_done": []}
    (folder / "run.json").write_text(json.dumps(record))
    curve = [[0.0], [0.0]]
    estimate = {"value": elevation, "confidence": 1.0, "coarse": curve, "fine": curve, "matches": 30}
    (folder / "elevation.json").write_text(json.dumps(estimate | {"is_fallback": False, "message": "Estimated."}))
    colors = np.asarray(shape.visual.vertex_colors, np.uint8)[:, :3]
    np.savez(
        folder / "mesh.npz",
        vertices=np.asarray(shape.vertices, np.float32),
        faces=np.asarray(shape.faces, np.int32),
        colors=colors,
    )


def write_study(folder: Path, count: int = 3) -> tuple[Path, Path, Path]:
    """Folders of true models, of worse and of better predictions."""
    models, worse, better = folder / "models", folder / "worse", folder / "better"
    for part in (models, worse, better):
        part.mkdir(parents=True)
    for i in range(count):
        shape = building(i)
        shape.export(models / f"house {i}.ply")
        predicted(shape, 0.08, 10 + i).export(worse / f"house {i}.ply")
        predicted(shape, 0.02, 20 + i).export(better / f"house {i}.ply")
    return models, worse, better
