"""The test sets: objects with one fixed input picture each, and the figures taken on them.

Besides the held-out procedural objects these are folders of models, whose pictures are drawn by a plain light, framed
as those of the held-out objects; azimuth and elevation are drawn from the file's name.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from engine import cameras
from engine.core.errors import InputError
from engine.core.files import write_whole
from engine.data.carving import CarvedSolid, carve
from engine.data.objects import ProceduralObject
from engine.data.renderer import FramedObject, frame_object
from engine.data.textures import texture_library
from engine.evaluation.clip import ClipSimilarity, mean_cosine
from engine.evaluation.geometry import Surface, sample_mesh, surface_figures, volume_iou
from engine.evaluation.likeness import Likeness
from engine.evaluation.pictures import RADIUS, Shape, draw_shape, hidden_points, read_shape, shape_of
from engine.evaluation.views import mask_iou, ssim
from engine.meshes.loading import FORMATS
from engine.meshes.mesh import Mesh
from engine.meshes.reducing import PreviewPart
from engine.surface.extraction import march
from engine.weights import sha256
from tests.benchmarks.heldout import heldout_case, heldout_count, well_framed

FloatArray = npt.NDArray[np.float32]

VERSION = 3
"""Of the truths and of the figures on them; raised when they or the carving change, so that none of before is used."""
ELEVATIONS = (5.0, 40.0)
"""Range in degrees of the input cameras' elevations for models."""
SAMPLES = 20_000
"""Points of each surface that figures are taken on."""
_SUN = (0.55, -0.45, 0.7)
"""Where the light of the models' input pictures comes from: from the left of the camera and above."""
_CARVED = 128
_NEAR_FACETS = 4.0
"""Voxels within which a facet accounts for the solid's boundary."""


@dataclass(frozen=True)
class TestSet:
    """A set of objects."""

    __test__ = False  # its name is not meant for pytest

    key: str
    label: str
    folder: str = ""
    """Usual name of its folder of models; empty for the held-out objects, which need none."""
    elevation: float | None = None
    """Elevation of all input cameras in degrees; None for `ELEVATIONS` by name."""

    def names(self, models: Path | None) -> list[str]:
        """The objects, in a fixed order, of those that lie in the folder `models`. `InputError` where there is none."""
        if not self.folder:
            return [f"{index:03d}" for index in range(heldout_count())]
        if models is None or not models.is_dir():
            raise InputError(f"There is no folder {models or self.folder}. Name the folder of these models.")
        names = sorted(path.name for path in models.iterdir() if path.suffix.lower() in FORMATS)
        if not names:
            raise InputError(f"{models} holds no models ({', '.join(FORMATS)}). Name the folder that does.")
        return names

    def load(self, name: str, models: Path | None, cache: Path | None = None) -> TestObject:
        """One of the `names`. Carved solids are kept in the folder `cache`, a second or two each to make."""
        if not self.folder or models is None:
            case = heldout_case(int(name))
            return TestObject(name, case.truth, _shape_of_object(case.truth.obj).moved(case.truth.model), case.image)
        path = models / name
        rng = np.random.default_rng(zlib.crc32(Path(name).stem.encode()))
        elevation = float(rng.uniform(*ELEVATIONS)) if self.elevation is None else self.elevation
        shape = read_shape(path)
        shape = shape.moved(shape.to_unit())
        solid = _ModelSolid(shape.mesh.vertices, shape.mesh.faces, _carved(path, shape.mesh, cache))
        for _ in range(32):  # as of the held-out objects: a long one seen end-on would not fit the volume
            framed = frame_object(solid, elevation, float(rng.uniform(0, 360)))
            if well_framed(framed):
                break
        placed = shape.moved(framed.model)
        return TestObject(name, framed, placed, draw_shape(placed, [cameras.Pose(elevation, 0.0)], sun=_SUN)[0])


TEST_SETS = {
    each.key: each
    for each in (
        TestSet("heldout", "held-out procedural objects"),
        TestSet("artists", "artists' models of buildings", "real-buildings"),
        TestSet("sketchfab", "buildings from Sketchfab", "sketchfab-buildings"),
        TestSet("gso", "Google Scanned Objects", "gso", elevation=30.0),
    )
}


def rear_poses(elevation: float) -> list[cameras.Pose]:
    """Ten cameras behind an object whose input picture was taken at azimuth 0 and `elevation` degrees.

    Azimuths 120 to 240 by 30, at both elevations of the 8 principal views.
    """
    heights = dict.fromkeys(pose.elevation for pose in cameras.principal_poses(elevation))
    return [cameras.Pose(height, azimuth, RADIUS) for height in heights for azimuth in range(120, 241, 30)]


@dataclass
class TestObject:
    """An object, all of it in the reconstruction's frame: input camera at azimuth 0 and the true elevation."""

    __test__ = False

    name: str
    truth: FramedObject
    shape: Shape
    """The truth as it is drawn."""
    image: FloatArray
    """(256, 256, 4) the framed input, RGB over white and mask, 0..1."""
    _embedded: dict[str, FloatArray] = field(default_factory=dict, repr=False)

    @property
    def elevation(self) -> float:
        """True elevation of the input camera in degrees."""
        return self.truth.elevation

    def measure(
        self, mesh: Mesh | None, elevation: float, eyes: Mapping[str, Likeness | ClipSimilarity]
    ) -> dict[str, float]:
        """Figures of a mesh that was made for an input camera at `elevation` degrees; the mesh is taken as it stands.

        Those of `surface_figures`, `volume_iou` and, in its own camera, `silhouette_iou` with the input's mask; and
        means over the pictures of `rear_poses`, both in their own colours by a lamp at the camera: `rear_mask_iou`,
        `rear_ssim`, and `rear_NAME`, the mean cosine of features, for each of the `eyes`. None or a mesh without faces
        is the worst there is, its `chamfer` infinite.
        """
        empty = mesh is None or not len(mesh.faces)
        figures: dict[str, float] = dict.fromkeys(
            ("volume_iou", "f_score", "far_f_score", "normal_consistency", "silhouette_iou"), 0.0
        ) | {"chamfer": float("inf")}
        drawn = np.tile(np.array([1, 1, 1, 0], np.float32), (*self._rear.shape[:3], 1))
        if mesh is not None and not empty:
            shape = shape_of(mesh)
            pose = cameras.Pose(elevation, 0.0)
            predicted = sample_mesh(mesh, SAMPLES, np.random.default_rng(0))
            hidden = hidden_points(shape, *predicted, pose), self._hidden
            figures |= surface_figures(predicted, self._surface, unit=self.truth.scale, hidden=hidden)
            figures["volume_iou"] = volume_iou(mesh, self.truth)
            figures["silhouette_iou"] = mask_iou(draw_shape(shape, [pose])[0, ..., 3], self.image[..., 3])
            drawn = draw_shape(shape, self._rear_poses)
        pairs = list(zip(drawn, self._rear, strict=True))
        figures["rear_mask_iou"] = float(np.mean([mask_iou(p[..., 3], t[..., 3]) for p, t in pairs]))
        figures["rear_ssim"] = float(np.mean([ssim(p, t) for p, t in pairs]))
        for name, eye in eyes.items():
            if name not in self._embedded:
                self._embedded[name] = eye.embed(self._rear)
            figures[f"rear_{name}"] = mean_cosine(eye.embed(drawn), self._embedded[name])
        return figures

    @cached_property
    def _surface(self) -> Surface:
        return self.truth.sample_surface(SAMPLES, np.random.default_rng(1))

    @cached_property
    def _hidden(self) -> npt.NDArray[np.bool_]:
        return hidden_points(self.shape, *self._surface, cameras.Pose(self.elevation, 0.0))

    @property
    def _rear_poses(self) -> list[cameras.Pose]:
        return rear_poses(self.elevation)

    @cached_property
    def _rear(self) -> FloatArray:
        return draw_shape(self.shape, self._rear_poses)


@dataclass
class _ModelSolid:
    """What framing and measuring need of a model: a solid, closed also where the model has no floor or is open."""

    vertices: FloatArray
    faces: npt.NDArray[np.int32]
    carved: CarvedSolid

    def contains(self, points: FloatArray) -> npt.NDArray[np.bool_]:
        return self.carved.contains(points)

    def sample_surface(self, n: int, rng: np.random.Generator) -> Surface:
        points, normals = self.carved.sample_surface(n, rng)
        (others, others_normals), share = self._open
        chosen = np.flatnonzero(rng.random(n) < share)
        taken = rng.integers(0, max(len(others), 1), len(chosen))
        points[chosen], normals[chosen] = others[taken], others_normals[taken]
        return points, normals

    @cached_property
    def _open(self) -> tuple[Surface, float]:
        """Points of the solid's boundary that no facet is near, as of a missing floor, and their share of it."""
        c = self.carved
        vertices, faces = march(0.5 - c.occupancy.astype(np.float32), 1.0)
        at = c.low + ((vertices + 1) / 2 * (c.resolution - 1) + 0.5) * np.float32(c.step)
        points, normals = sample_mesh(Mesh(at.astype(np.float32), faces), SAMPLES, np.random.default_rng(0))
        facets, _ = c.sample_surface(SAMPLES, np.random.default_rng(0))
        far = cKDTree(facets).query(points)[0] > _NEAR_FACETS * c.step
        return (points[far], normals[far]), float(far.mean())


def _carved(path: Path, mesh: Mesh, cache: Path | None) -> CarvedSolid:
    """The solid of a model's mesh, from the cache where it was carved before of the same file."""
    kept = None if cache is None else cache / f"{sha256(path)[:20]}-{VERSION}.npz"
    fields = ("packed", "low", "step", "share")
    try:
        if kept is not None:
            with np.load(kept) as found:
                packed, low, step, share = (found[name] for name in fields)
            return CarvedSolid(packed, _CARVED, low, float(step), float(share), mesh.vertices, mesh.faces)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        pass  # not there, or cut short: carved again
    solid = carve(mesh.vertices, mesh.faces, _CARVED)
    if kept is not None:
        content = BytesIO()
        np.savez_compressed(content, **{name: getattr(solid, name) for name in fields})
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_whole(kept, content.getvalue())
    return solid


def _shape_of_object(obj: ProceduralObject) -> Shape:
    """A procedural object as it is drawn: a part for each finish of its surface."""
    finish = np.concatenate([obj.layer[:, None], np.rint(obj.color_a * 255), np.rint(obj.color_b * 255)], 1)
    kinds, group = np.unique(finish.astype(np.int64), axis=0, return_inverse=True)
    of_face = group.reshape(-1)[obj.faces[:, 0]]
    return Shape(Mesh(obj.vertices, obj.faces), list(_parts(obj, kinds, of_face)))


def _parts(obj: ProceduralObject, kinds: npt.NDArray[np.int64], of_face: npt.NDArray[Any]) -> Iterable[PreviewPart]:
    library = texture_library()
    for index, kind in enumerate(kinds):
        used, triangles = np.unique(obj.faces[of_face == index], return_inverse=True)
        if not len(used):
            continue
        texel = library[kind[0]].astype(np.float32) / 255
        color = kind[1:4] + (kind[4:7] - kind[1:4]) * texel[..., :1]
        texture = np.clip(color * (0.5 + texel[..., 1:]), 0, 255).astype(np.uint8)[::-1]
        yield PreviewPart(
            obj.vertices[used],
            triangles.reshape(-1, 3).astype(np.int32),
            obj.normals[used],
            uv=obj.uv[used],
            texture=np.ascontiguousarray(texture),
        )
