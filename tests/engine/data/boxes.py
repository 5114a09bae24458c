"""Solids made of a few boxes, with pictures of their own or not."""

from dataclasses import dataclass

import numpy as np
import trimesh


@dataclass
class Boxes:
    """Axis-aligned boxes as the training renderer and the case maker take them."""

    low: np.ndarray
    """(N, 3) lower corners."""
    high: np.ndarray
    """(N, 3) upper corners."""
    textures: np.ndarray | None = None
    layer_of_all: int = 0
    kind: int = 2

    def __post_init__(self):
        self.low, self.high = np.atleast_2d(np.float32(self.low)), np.atleast_2d(np.float32(self.high))
        boxes = [trimesh.creation.box(bounds=pair) for pair in zip(self.low, self.high, strict=True)]
        mesh = trimesh.util.concatenate(boxes)
        mesh.unmerge_vertices()  # flat faces
        self.mesh = mesh
        self.vertices, self.faces = np.float32(mesh.vertices), np.int32(mesh.faces)
        self.normals = np.repeat(np.float32(mesh.face_normals), 3, 0)
        along = np.abs(self.normals).argmax(1)
        low, high = self.vertices.min(0), self.vertices.max(0)
        unit = (self.vertices - low) / (high - low)
        # across each face from left to right and from bottom to top, 0..1 over the whole solid
        self.uv = np.stack(
            [np.where(along == 0, unit[:, 1], unit[:, 0]), np.where(along == 2, unit[:, 1], unit[:, 2])], 1
        )
        count = len(self.vertices)
        self.layer = np.full(count, self.layer_of_all, np.int32)
        self.color_a = np.full((count, 3), 0.6, np.float32)
        self.color_b = self.color_a
        self.family, self.seed = "boxes", 0

    def contains(self, points):
        p = np.asarray(points)[:, None]
        return ((p >= self.low) & (p <= self.high)).all(2).any(1)

    def sample_surface(self, count, rng):
        points, face = trimesh.sample.sample_surface(self.mesh, count, seed=int(rng.integers(1 << 31)))
        return np.float32(points), np.float32(self.mesh.face_normals[face])


def table():
    """A wide floor and, high above its left half (y < 0), a slab on a thin post."""
    return Boxes(
        [(-0.5, -0.5, -0.35), (-0.4, -0.5, 0.25), (-0.03, -0.5, -0.25)],
        [(0.5, 0.5, -0.25), (0.4, 0.0, 0.35), (0.03, -0.44, 0.25)],
    )
