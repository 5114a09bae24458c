"""Training and test cases of the surface network: 32 views of an object with what is true about its shape."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from engine import cameras
from engine.core.files import whole_file

if TYPE_CHECKING:
    from engine.views.generator import ViewGenerator

FloatArray = npt.NDArray[np.float32]

ELEVATIONS = (0.0, 50.0)
"""Range of input elevations in degrees."""
POINTS = 12288
"""Labelled points of a case."""


@dataclass
class SurfaceCase:
    """One object seen as a reconstruction sees it, and its truth."""

    views: npt.NDArray[np.uint8]
    """(32, S, S, 4) views to reconstruct from: true renders or a generator's."""
    truth: npt.NDArray[np.uint8]
    """(32, S, S, 4) true renders of the same poses."""
    elevation: float
    """Input camera's elevation in degrees."""
    points: FloatArray
    """(POINTS, 3): the first half near the surface, the second uniform in and around its bounding box."""
    distance: FloatArray
    """(POINTS,) true signed distance in world units, negative inside."""
    surface: FloatArray
    """(4096, 3) points of the outer surface."""
    scale: float
    """World units for the object's longest side."""

    @property
    def c2ws(self) -> FloatArray:
        """(32, 4, 4) cameras of the views."""
        return np.stack([p.matrix() for p in cameras.source_poses(self.elevation)])

    @property
    def k(self) -> FloatArray:
        """(3, 3) intrinsics of the views."""
        return cameras.intrinsics(self.views.shape[1])


@dataclass
class CaseMaker:
    """Makes cases by seed and keeps them on disk; the same seed gives the same case."""

    folder: Path | None = None
    """Where cases are kept; None: nowhere."""
    size: int = 128
    """Side of the views in pixels."""
    generator: ViewGenerator | None = None
    """Draws the views from the framed input; None: true renders."""
    generator_id: str = "truth"
    """Tells the cases of one generator's weights from another's on disk."""
    _renderers: dict[int, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def predicted(cls, weights: Path, folder: Path | None = None, size: int = 128) -> CaseMaker:
        """Cases whose views the built-in generator draws with the given weights file."""
        from engine.views.builtin import BuiltInGenerator

        digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:10]
        return cls(folder, size, BuiltInGenerator.load(weights), digest)

    def make(self, seed: int) -> SurfaceCase:
        """The case of object `seed`, from disk if it is there."""
        path = None if self.folder is None else self.folder / f"{self.generator_id}_{seed}.npz"
        if path is not None and path.exists():
            with np.load(path) as data:
                arrays = {name: data[name] for name in data.files}
            elevation, scale = float(arrays.pop("elevation")), float(arrays.pop("scale"))
            arrays.setdefault("views", arrays["truth"])
            return SurfaceCase(elevation=elevation, scale=scale, **arrays)
        case = self._draw(seed)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = {name: value for name, value in vars(case).items() if name != "views" or self.generator is not None}
            with whole_file(path) as partial, partial.open("wb") as file:
                np.savez_compressed(file, **kept)
        return case

    def _renderer(self, size: int) -> Any:
        # Training's compiler brings an LLVM of its own; loaded after software OpenGL's it crashes the process.
        import torch._dynamo  # noqa: F401

        from engine.data.renderer import Renderer

        if size not in self._renderers:
            self._renderers[size] = Renderer(size)
        return self._renderers[size]

    def _draw(self, seed: int) -> SurfaceCase:
        from engine.data import make_object
        from engine.data.renderer import Light, frame_object

        rng = np.random.default_rng([23, seed])
        elevation, azimuth = float(rng.uniform(*ELEVATIONS)), float(rng.uniform(0, 360))
        framed = frame_object(make_object(seed), elevation, azimuth)
        light = Light.random(rng)
        poses = cameras.source_poses(elevation)
        c2ws = np.stack([p.matrix() for p in poses])
        k = cameras.intrinsics(self.size)
        truth, _ = self._renderer(self.size).render(framed.obj, c2ws, k, light=light, model=framed.model, depth=False)
        views = truth
        if self.generator is not None:
            origin = cameras.Pose(elevation, 0.0)
            picture, _ = self._renderer(256).render(
                framed.obj, origin.matrix()[None], cameras.intrinsics(256), light=light, model=framed.model, depth=False
            )
            drawn = self.generator.generate(
                picture[0].astype(np.float32) / 255,
                cameras.offsets(poses, origin),
                elevation=elevation,
                size=self.size,
                seed=seed,
            )
            views = (drawn.clip(0, 1) * 255).round().astype(np.uint8)
        points, distance, surface = _labels(framed, rng)
        return SurfaceCase(views, truth, elevation, points, distance, surface, framed.scale)


def _labels(framed: Any, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Points near the surface and in the bounding box with their signed distance; and surface points."""
    surface, normals = framed.sample_surface(24000, rng)
    half = POINTS // 2
    pick = rng.integers(0, len(surface), half)
    reach = np.where(rng.random(half) < 0.5, 0.015, 0.05)
    near = surface[pick] + rng.normal(0, 1, (half, 3)) * reach[:, None]
    low, high = surface.min(0) - 0.08, surface.max(0) + 0.08
    points = np.concatenate([near, rng.uniform(low, high, (POINTS - half, 3))]).astype(np.float32)
    gap, index = cKDTree(surface).query(points)
    plane = np.abs(np.einsum("ij,ij->i", points - surface[index], normals[index]))
    # Close to the surface the samples' spacing shows in the distance to the nearest one; its plane is nearer the truth.
    unsigned = np.where(gap < 0.03, np.minimum(plane, gap), gap)
    inside = framed.contains(points)
    distance = np.where(inside, -unsigned, unsigned).astype(np.float32)
    return points, distance, surface[rng.permutation(len(surface))[:4096]].astype(np.float32)


def degrade(views: npt.NDArray[np.uint8], severity: float, rng: np.random.Generator) -> FloatArray:
    """True renders (V, S, S, 4) with the faults of drawn views, as float32 in 0..1.

    Smooth warps, masks grown or shrunk alike in all views and wobbling in each, blur, and a colour cast by view.
    `severity` is 0 (nothing) to 1 (displacements of some 3 px at 128 px).
    """
    import cv2

    count, size = views.shape[0], views.shape[1]
    unit = size / 128
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).astype(np.float32)
    grow = float(rng.normal(0, 1.0) * severity * unit)
    blur = float(rng.uniform(0.0, 1.2) * severity * unit)
    out = np.empty(views.shape, np.float32)
    for i in range(count):
        cells = int(rng.integers(3, 9))
        flow = cv2.resize(
            rng.normal(0, 1.1, (cells, cells, 2)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC
        )
        at = grid + flow * (severity * unit)
        picture = cv2.remap(
            views[i].astype(np.float32) / 255, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        if blur > 0.2:
            picture = cv2.GaussianBlur(picture, (0, 0), blur)
        wobble = cv2.resize(
            rng.normal(0, 0.6, (12, 12)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC
        )
        shift = grow + wobble * severity * unit
        soft = cv2.GaussianBlur(picture[..., 3], (0, 0), 2.0 * unit)
        # Across a straight edge blurred by sigma 2, alpha falls by 0.2 a pixel.
        mask = np.clip((soft - 0.5) * 2.5 / unit + 0.5 + shift * 0.5, 0, 1) if severity > 0.1 else picture[..., 3]
        gain = rng.normal(1, 0.06 * severity, 3)
        straight = np.where(
            picture[..., 3:] > 0.05, (picture[..., :3] - 1 + picture[..., 3:]) / np.maximum(picture[..., 3:], 0.05), 0.6
        )
        color = np.clip(straight * gain, 0, 1)
        out[i, ..., :3] = color * mask[..., None] + 1 - mask[..., None]
        out[i, ..., 3] = mask
    return out
