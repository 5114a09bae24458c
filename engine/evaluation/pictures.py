"""Shapes as evaluation sees them: read from a model file or run folder, drawn from many sides, sampled outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engine import cameras
from engine.core.errors import EmptyResultError, InputError
from engine.evaluation.geometry import sample_mesh
from engine.meshes import gl
from engine.meshes.loading import read_model
from engine.meshes.mesh import FloatArray, Mesh, vertex_normals
from engine.meshes.model import CLEAR, Unreadable
from engine.meshes.reducing import PreviewPart, reduce_model

BoolArray = npt.NDArray[np.bool_]

RADIUS = 1.9
"""Distance of the cameras from a truth whose longest side is 1, so that no corner of it is cut off."""
POSES = tuple(cameras.Pose(pose.elevation, pose.azimuth, RADIUS) for pose in cameras.source_poses(30.0))
"""The 32 cameras of an evaluation: around as One-2-3-45's source views of an input at 30 degrees."""

_TRIANGLES, _PARTS, _SIDE, _TEXTURE_BYTES = 400_000, 200, 1024, 96 << 20
_SUPERSAMPLE = 2
_AROUND = tuple(
    cameras.Pose(elevation, azimuth, 2.2)
    for elevation, count in ((-90, 1), (-45, 4), (0, 8), (45, 8), (90, 1))
    for azimuth in np.arange(count) * 360.0 / count
)
"""Where a surface has to be seen from to count as outside."""
_DEPTH_SIZE, _DEPTH_SLACK = 384, 0.012

_VERTEX = """
#version 330
uniform mat4 clip;
in vec3 position; in vec3 normal; in vec4 color; in vec2 uv;
out vec3 n; out vec3 world; out vec4 c; out vec2 t;
void main() { world = position; n = normal; c = color; t = uv; gl_Position = clip * vec4(position, 1.0); }
"""
_FRAGMENT = """
#version 330
uniform sampler2D skin; uniform float textured; uniform float cutoff; uniform vec3 eye; uniform float lit;
uniform vec3 sun;
in vec3 n; in vec3 world; in vec4 c; in vec2 t;
out vec4 color;
void main() {
  vec4 texel = textured > 0.5 ? texture(skin, t) : vec4(1.0);
  if (texel.a < cutoff || c.a < CLEAR) discard;
  vec3 m = normalize(n); vec3 view = normalize(eye - world);
  if (dot(m, view) < 0.0) m = -m;
  float shade = dot(sun, sun) > 0.0 ? 0.48 + 0.12 * m.z + 0.55 * max(dot(m, sun), 0.0) : 0.55 + 0.45 * dot(m, view);
  color = vec4(texel.rgb * c.rgb * mix(1.0, shade, lit), 1.0);
}
""".replace("CLEAR", str(CLEAR))


@dataclass
class Shape:
    """A model to be measured."""

    mesh: Mesh
    """All triangles, without colours: what geometry is measured on."""
    parts: list[PreviewPart]
    """The same triangles as they are drawn, in the same frame."""
    warnings: tuple[str, ...] = ()
    """What of the file is not shown as it should be."""
    frame: npt.NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    """The similarity (4x4) that took the file's coordinates, Z up, to these."""

    def moved(self, matrix: npt.ArrayLike) -> Shape:
        """The shape after a similarity (4x4)."""
        m = np.asarray(matrix, np.float64)
        turn = m[:3, :3] / np.cbrt(np.linalg.det(m[:3, :3]))

        def place(points: FloatArray) -> FloatArray:
            return np.asarray(points @ m[:3, :3].T + m[:3, 3], np.float32)

        parts = [
            replace(part, points=place(part.points), normals=np.asarray(part.normals @ turn.T, np.float32))
            for part in self.parts
        ]
        return Shape(Mesh(place(self.mesh.vertices), self.mesh.faces), parts, self.warnings, m @ self.frame)

    def bare(self) -> Shape:
        """The shape without its colours and textures; what a texture cuts out is there again."""
        parts = [PreviewPart(part.points, part.triangles, part.normals) for part in self.parts]
        return Shape(self.mesh, parts, self.warnings, self.frame)

    def to_unit(self) -> npt.NDArray[np.float64]:
        """The similarity (4x4) that puts the middle of the bounding box at the origin and makes its longest side 1."""
        low, high = self.mesh.bounds.astype(np.float64)
        matrix = np.eye(4) / float((high - low).max())
        matrix[:3, 3], matrix[3, 3] = -(low + high) / 2 * matrix[0, 0], 1.0
        return matrix


def read_shape(path: Path, triangles: int = _TRIANGLES) -> Shape:
    """A model file (GLB, glTF, OBJ, PLY, STL) or the mesh of a run folder, Z up.

    Raises `InputError` where it cannot be read or its vertices are no numbers, `EmptyResultError` for one without
    faces. Files of more `triangles` are reduced to so many.
    """
    if path.is_dir():
        return shape_of(_mesh_of_run(path))
    try:
        model = read_model(path)
    except Unreadable as error:  # its advice is for those who screen models
        raise InputError(error.what, advice="Make or export it again.") from error
    for piece in model.pieces:
        if not np.isfinite(piece.points[np.unique(piece.triangles)]).all():
            raise InputError(f"{path.name} has vertices that are no numbers (NaN or infinite). Export it again.")
    reduced = reduce_model(
        model, triangles=triangles, parts=_PARTS, side=_SIDE, texture_bytes=_TEXTURE_BYTES, name=path.name
    )
    counts = np.cumsum([0] + [len(part.points) for part in reduced.parts])
    faces = [part.triangles + start for part, start in zip(reduced.parts, counts, strict=False)]
    mesh = Mesh(
        np.concatenate([part.points for part in reduced.parts]).astype(np.float32),
        np.concatenate(faces).astype(np.int32),
    )
    # What reading did to the coordinates: one scale and one shift.
    low, high = np.asarray(reduced.bounds, np.float64)
    frame = np.eye(4) * float(np.ptp(mesh.bounds, axis=0).max() / (high - low).max())
    frame[:3, 3] = mesh.bounds.astype(np.float64).mean(0) - frame[0, 0] * (low + high) / 2
    frame[3, 3] = 1.0
    return Shape(mesh, list(reduced.parts), tuple(reduced.warnings), frame)


def shape_of(mesh: Mesh) -> Shape:
    """A mesh of this program as a shape.

    Raises `EmptyResultError` for one without faces, `InputError` for vertices that are no numbers.
    """
    if not len(mesh.faces):
        raise EmptyResultError("The mesh has no faces, so there is nothing to measure. Reconstruct it again.")
    used, faces = np.unique(mesh.faces, return_inverse=True)
    points = mesh.vertices[used]
    if not np.isfinite(points).all():
        raise InputError("The mesh has vertices that are no numbers (NaN or infinite). Reconstruct it again.")
    triangles = faces.reshape(-1, 3).astype(np.int32)
    textured = mesh.uv is not None and mesh.texture is not None
    part = PreviewPart(
        points,
        triangles,
        vertex_normals(points, triangles),
        uv=mesh.uv[used] if textured and mesh.uv is not None else None,
        texture=mesh.texture if textured else None,
        colors=None if textured or mesh.colors is None else mesh.colors[used][:, :3],
        repeat=False,
    )
    if not np.ptp(points, axis=0).max() > 0:
        raise EmptyResultError("All points of the mesh lie in one place. Reconstruct it again.")
    return Shape(Mesh(points, triangles), [part])


def _mesh_of_run(folder: Path) -> Mesh:
    from engine.reconstruct.run import Run

    run = Run.open(folder)
    try:
        mesh = run.mesh()
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"The mesh of the run {folder} cannot be read ({error}). Reconstruct it again.") from error
    if mesh is None:
        why = f" ({run.error})" if run.error else ""
        raise EmptyResultError(f"The run {folder.name} has no mesh{why}. Reconstruct it first.")
    return mesh


def draw_shape(
    shape: Shape,
    poses: Sequence[cameras.Pose] = POSES,
    size: int = cameras.REFERENCE_SIZE,
    *,
    lit: bool = True,
    sun: npt.ArrayLike | None = None,
) -> FloatArray:
    """Pictures (N, size, size, 4) of a shape, RGB over white and the coverage, 0..1.

    In its own colours (mid grey without any), by a lamp at the camera that lets the form be seen, or unlit. With
    `sun`, a direction (3,) towards it in the world, by that and the sky instead; nothing casts shadows.
    """
    return _draw(shape, poses, size, lit, sun=sun)[0]


def hidden_points(shape: Shape, points: FloatArray, normals: FloatArray | None, pose: cameras.Pose) -> BoolArray:
    """Which points (N, 3) of a shape's surface a camera does not see: bool (N,).

    Those that lie behind another part of the shape; and, where the outward normals (N, 3) are known, those that face
    away from it, which tells the back of a sheet. Of what lies beyond the picture's edge nothing counts as behind.
    """
    _, depths = _draw(shape, [pose], _DEPTH_SIZE, False, depth=True)
    # Of a slanted surface the farthest depth within a pixel or so is the one to compare with.
    farthest = np.asarray(cv2.dilate(depths[0], np.ones((3, 3), np.uint8)), np.float32)
    there, distance = _look_up(farthest, points, pose)
    hidden = (there > 0) & (distance > there + _DEPTH_SLACK)
    return hidden if normals is None else hidden | ((normals * (pose.matrix()[:3, 3] - points)).sum(1) <= 0)


def _look_up(depth: FloatArray, points: FloatArray, pose: cameras.Pose) -> tuple[FloatArray, FloatArray]:
    """A depth picture at points (N, 3), 0 where it shows nothing or does not reach, and the points' own depths."""
    size = len(depth)
    pixels, distance = cameras.project(points, pose.matrix(), cameras.intrinsics(size))
    column, row = np.floor(pixels).astype(np.int64).T
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size) & (distance > 0)
    there = np.zeros(len(points), np.float32)
    there[inside] = depth[row[inside], column[inside]]
    return there, distance


def outer_points(shape: Shape, n: int, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """`n` points (n, 3) spread evenly over what can be seen of a shape from outside, and the normals of their faces.

    What is hidden inside, as walls where parts overlap or furniture, does not count. The shape is to be about as large
    as 1 and near the origin; where nothing is seen, as of a shape far too large, points of all of it are given.
    """
    rng = np.random.default_rng(seed)
    _, depths = _draw(shape, _AROUND, _DEPTH_SIZE, False, depth=True)
    found: list[tuple[FloatArray, FloatArray]] = []
    count = 0
    for _ in range(12):
        points, normals = sample_mesh(shape.mesh, 2 * n, rng)
        seen = np.zeros(len(points), bool)
        for pose, depth in zip(_AROUND, depths, strict=True):
            there, distance = _look_up(depth, points, pose)
            seen |= (there > 0) & (distance < there + _DEPTH_SLACK)
        found.append((points[seen], normals[seen]))
        count += int(seen.sum())
        if count >= n or (count == 0 and len(found) == 2):
            break
    if count < n:  # mostly hidden, or out of the cameras' sight
        points, normals = sample_mesh(shape.mesh, n, rng)
        return (points, normals) if not count else _repeated(found, n, rng)
    kept = [np.concatenate([pair[i] for pair in found])[:n] for i in (0, 1)]
    return kept[0], kept[1]


def _repeated(
    found: list[tuple[FloatArray, FloatArray]], n: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    points, normals = (np.concatenate([pair[i] for pair in found]) for i in (0, 1))
    chosen = rng.integers(0, len(points), n)
    return points[chosen], normals[chosen]


@gl.context()
def _draw(
    shape: Shape,
    poses: Sequence[cameras.Pose],
    size: int,
    lit: bool,
    *,
    depth: bool = False,
    sun: npt.ArrayLike | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Pictures, and depths along the viewing axis where they are asked for (hard-edged, instead of the pictures)."""
    side = size if depth else size * _SUPERSAMPLE
    ctx, target = gl.current(), gl.target(side)
    program = gl.program(_VERTEX, _FRAGMENT)
    program["skin"], program["lit"] = 0, float(lit)
    lamp = np.zeros(3) if sun is None else np.asarray(sun, np.float64) / np.linalg.norm(np.asarray(sun, np.float64))
    program["sun"] = tuple(lamp.tolist())
    drawn = [_upload(program, part) for part in shape.parts]
    k = cameras.intrinsics(size)
    pictures = np.zeros((0 if depth else len(poses), size, size, 4), np.float32)
    depths = np.zeros((len(poses) if depth else 0, size, size), np.float32)
    ctx.enable_only(ctx.DEPTH_TEST)
    for i, pose in enumerate(poses):
        c2w = pose.matrix()
        gl.clear(target)
        program["clip"].write(gl.clip_from_world(c2w, k, size).tobytes())
        program["eye"] = tuple(c2w[:3, 3].tolist())
        for vao, skin, cutoff in drawn:
            program["textured"], program["cutoff"] = float(skin is not None), cutoff
            if skin is not None:
                skin.use(0)
            vao.render(ctx.TRIANGLES)
        if depth:
            depths[i] = gl.depth_of(target)
        else:
            small = cv2.resize(gl.colors_of(target), (size, size), interpolation=cv2.INTER_AREA)
            pictures[i] = small.astype(np.float32) / 255
    return pictures, depths


def _upload(program: Any, part: PreviewPart) -> tuple[Any, Any, float]:
    """Vertices, texture (or None) and least alpha of a part."""
    bare = part.colors is None and part.texture is None
    colors: FloatArray = np.ones((len(part.points), 4), np.float32)
    colors[:, :3] = 0.6 if bare else 1.0
    if part.colors is not None:
        colors[:, : part.colors.shape[1]] = part.colors / np.float32(255)
    uv = np.zeros((len(part.points), 2), np.float32) if part.uv is None else part.uv
    columns = {"position": part.points, "normal": part.normals, "color": colors, "uv": uv}
    vao = gl.vertices(program, columns, part.triangles)
    skin = None
    if part.texture is not None:
        skin = gl.texture(part.texture)
        skin.repeat_x = skin.repeat_y = part.repeat
        skin.build_mipmaps()
    cutoff = 0.0 if part.alpha == "opaque" else part.cutoff
    return vao, skin, cutoff
