"""The held-out cases: one fixed input picture of each held-out object, and the figures taken on them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.cameras import (
    FRAME_FRACTION,
    INPUT_RADIUS,
    REFERENCE_SIZE,
    VOLUME_EXTENT,
    Pose,
    camera_to_world,
    intrinsics,
    project,
)
from engine.data import make_object, split_seeds
from engine.data.renderer import FramedObject, Light, Renderer, frame_object
from engine.evaluation.geometry import f_score_of, volume_iou
from engine.meshes.mesh import Mesh
from tests.benchmarks.measures import silhouette_iou, surface_distances

FloatArray = npt.NDArray[np.float32]

ELEVATIONS = (0.0, 50.0)
"""Range in degrees of the held-out input cameras' elevations."""

_renderers = threading.local()


@dataclass(frozen=True)
class HeldoutCase:
    """A held-out object as an input camera sees it."""

    index: int
    truth: FramedObject
    """The object in the reconstruction's frame: input camera at azimuth 0, `INPUT_RADIUS` and `elevation`."""
    elevation: float
    """True elevation of the input camera in degrees."""
    light: Light
    image: FloatArray
    """(256, 256, 4) the framed input, RGB over white and mask, 0..1."""

    def render(self, poses: Sequence[Pose], size: int = REFERENCE_SIZE) -> FloatArray:
        """True pictures (N, size, size, 4) from other cameras under the same light, as `image`."""
        c2ws = np.stack([pose.matrix() for pose in poses])
        return _render(self.truth, c2ws, self.light, size)


def heldout_count() -> int:
    """How many held-out cases there are."""
    return len(split_seeds("heldout"))


def heldout_case(index: int) -> HeldoutCase:
    """Held-out case `index`, 0 .. `heldout_count()` - 1; the same on every machine but for the last bit of rendering.

    Elevation (0..50 degrees, uniform), azimuth (0..360) and light are drawn from the object's seed. Azimuths that put
    parts of the object outside the volume that reconstructions search or too close to the camera to be framed, as a
    long bridge seen end-on, are drawn again.
    """
    seed = split_seeds("heldout")[index]
    rng = np.random.default_rng([seed, 20_231])
    elevation, light, obj = float(rng.uniform(*ELEVATIONS)), Light.random(rng), make_object(seed)
    for _ in range(32):
        truth = frame_object(obj, elevation, float(rng.uniform(0, 360)))
        if well_framed(truth):
            break
    image = _render(truth, camera_to_world(elevation, [0.0], INPUT_RADIUS), light, REFERENCE_SIZE)[0]
    return HeldoutCase(index, truth, elevation, light, image)


def measure_mesh(mesh: Mesh, case: HeldoutCase, *, elevation: float | None = None) -> dict[str, float]:
    """Figures of a mesh against the truth of a case; lengths in units of the object's longest side.

    The mesh is taken as it stands, nothing aligned. `silhouette_iou` is in the input's camera; the mesh was made
    for one at `elevation` degrees, the true one unless given.
    """
    to_truth, to_mesh = surface_distances(mesh, case.truth, unit=case.truth.scale)
    camera = camera_to_world(case.elevation if elevation is None else elevation, 0.0)
    return {
        "volume_iou": volume_iou(mesh, case.truth),
        "f_score": f_score_of(to_truth, to_mesh),
        "chamfer": float((to_truth.mean() + to_mesh.mean()) / 2),
        "silhouette_iou": silhouette_iou(mesh, case.image[..., 3], camera, intrinsics(REFERENCE_SIZE)),
    }


def well_framed(truth: FramedObject) -> bool:
    """Whether the object lies in the volume, centred in the input's picture and of the right size to 2 px."""
    vertices = truth.to_world(truth.obj.vertices[np.unique(truth.obj.faces)])
    pixels, _ = project(vertices, camera_to_world(truth.elevation, 0.0), intrinsics(REFERENCE_SIZE))
    low, high = pixels.min(0), pixels.max(0)
    off_centre = np.abs((low + high - REFERENCE_SIZE) / 2).max()
    off_size = abs(float((high - low).max()) - FRAME_FRACTION * REFERENCE_SIZE)
    return bool(np.abs(vertices).max() < VOLUME_EXTENT and off_centre < 2 and off_size < 2)


def _render(truth: FramedObject, c2ws: FloatArray, light: Light, size: int) -> FloatArray:
    # OpenGL objects stay with the thread that made them.
    renderers: dict[int, Renderer] = _renderers.__dict__.setdefault("by_size", {})
    renderer = renderers.setdefault(size, Renderer(size))
    rgba, _ = renderer.render(truth.obj, c2ws, intrinsics(size), light=light, model=truth.model, depth=False)
    return rgba.astype(np.float32) / np.float32(255)
