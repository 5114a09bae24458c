"""The built-in view generator: weights trained by Oriel itself, small enough to be shipped."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from engine import cameras, choices, weights
from engine.core.errors import EmptyResultError, WeightsError
from engine.core.progress import CancelToken, Progress, ProgressCallback
from engine.imaging.verticals import upright_segments, vertical_support
from engine.meshes.mesh import Mesh
from engine.views.denoising import denoised
from engine.views.manhattan import CANDIDATES
from engine.views.network import MODEL, FieldCode, sample_volume, to_frustum
from engine.views.prior import ShapePrior
from engine.views.raster import render_mesh
from engine.views.spatial import SpatialCode, SpatialConfig, SpatialNetwork, azimuth_of, cell_centres, turned

FloatArray = npt.NDArray[np.float32]

_CHUNK = 16384  # points asked about between two looks at the cancel token
_MARGIN = 1.0  # logit that the silhouette demands of a foreground ray
_TURN = 3.0  # degrees of elevation by which a finished solid may be turned
_ELEVATIONS = np.arange(-30.0, 80.01, 0.25)  # degrees
_NEAR = 5.0
_UNLIKELY = 1e-3  # probability that remains to an elevation which the network rules out
_EDGES = 5.0
"""Logarithm of likelihood for upright edges as long as the picture's side. With 0, 3, 5 and 8 the elevations of 62
held-back buildings are wrong by 2.1, 0.5, 0.5 and 0.6 degrees (median)."""
_FOREGROUND = 0.4  # mask of a ray that belongs to the object
_RAYS = 96  # rays along the picture's side that are held to the silhouette
_DEPTHS = 80  # depths at which each of them is asked
_PULL = 0.02  # depth range in world units that a missed ray is thickened by
_SURE = 4.0  # logit beyond which more certainty counts no more
_STRAIGHT = 0.0175
"""Weight of total variation for each cell along the grid's side. With 0.0125 and 0.025 (and a `LEAN` of 0.2) ten
held-back buildings have F-scores of 0.736 and 0.752, where 0.702 is had with none, eight procedural ones 0.791 and
0.776 (0.806), most of which have thin parts."""
LEAN = 0.2
"""Logit by which doubt counts as solid: thin parts of unsure depth are lost, or all parts grow too thick. With -0.2, 0
and 0.2, ten held-back buildings have F-scores of 0.79, 0.77 and 0.75, and masks from behind of 0.83, 0.84 and 0.85."""


@dataclass
class _Field:
    """What is known of the object in one picture, held to the picture's silhouette: the network's answer about the
    picture and its mirror image, and a shape drawn from the prior, if there is one."""

    network: SpatialNetwork
    code: SpatialCode
    """Of two pictures: the input, and its mirror image, whose world is mirrored in y."""
    elevation: float
    alpha: FloatArray
    """(H, W): the object's mask."""
    silhouette: Tensor
    """(1, 1, H, W): signed distance to the silhouette in world units at the object, positive inside."""
    shape: Tensor | None = None
    """(1, 1, n, n, n): occupancy logits, axes z, y, x of the object's own frame."""
    boost: Tensor | None = None
    """(1, 2, H, W): what each ray lacks to hit something, and the depth where it is nearest to."""
    meshes: dict[int, Mesh] = dataclasses.field(default_factory=dict)
    """Meshes that were extracted, by the resolution."""

    def to_world(self, points: Tensor) -> Tensor:
        """Points (N, 3) of the object's own frame in the world."""
        return turned(points[None], self.code.azimuth[:1])[0]

    @torch.no_grad()
    def draw(self, cells: int, cancel: CancelToken | None, sample: Tensor | None = None) -> None:
        """Ask the network about a grid of `cells` a side in the object's own frame, and straighten its answer.

        A `sample` (1, n, n, n) of occupancy logits from the prior decides where the network is in doubt: what both say
        is added up, so that what the network is sure of stays.
        """
        points = self.to_world(cell_centres(cells))
        near = self._seen(self.silhouette, points)[0][0] > -2 * (2 * cameras.VOLUME_EXTENT / cells)
        answers = []
        for chunk in points[near].split(_CHUNK):
            if cancel:
                cancel.check()
            answers.append(_both(self.network, self.code, chunk, self.elevation, color=False)[0] + LEAN)
        values = torch.full((len(points),), -_SURE)
        logits = torch.cat(answers).clamp(-_SURE, _SURE)
        if sample is not None:
            own = cell_centres(cells)[near][None] / cameras.VOLUME_EXTENT
            logits = logits + sample_volume(sample.clamp(-_SURE, _SURE)[None], own)[0, :, 0]
        values[near] = logits.clamp(-_SURE, _SURE)
        self.straighten(values.view(cells, cells, cells), points)

    def straighten(self, values: Tensor, points: Tensor) -> None:
        """Make `shape` of occupancy logits (n, n, n) at world points (n^3, 3).

        Where that takes away all that some part of the silhouette shows, as of thin things, it is left as it was.
        """
        weight = torch.tensor(_STRAIGHT * len(values))
        self.shape = denoised(values, weight)[None, None]
        lost = self._lost()
        if lost.any():
            kept = self._seen(torch.from_numpy(cv2.GaussianBlur(lost, (0, 0), 1.5))[None, None], points)[0][0]
            self.shape = denoised(values, weight * (1 - 0.9 * kept.view_as(values)))[None, None]

    def _lost(self) -> FloatArray:
        """(_RAYS, _RAYS) of 1 about the parts of the silhouette that nothing solid is behind, nor close by, else 0."""
        small, most, _ = self.along_rays()
        hit = ((small > _FOREGROUND) & (most > 0)).astype(np.uint8)
        far = (small > _FOREGROUND) & (cv2.dilate(hit, np.ones((5, 5), np.uint8)) == 0)
        return np.asarray(cv2.dilate(far.astype(np.float32), np.ones((7, 7), np.uint8)), np.float32)

    def along_rays(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Of each of (_RAYS, _RAYS) rays of the picture: the mask, the largest occupancy logit, and its depth about the
        object in world units; -_SURE and 0 for rays that miss the mask."""
        small = np.asarray(cv2.resize(self.alpha, (_RAYS, _RAYS), interpolation=cv2.INTER_AREA), np.float32)
        rows, columns = np.nonzero(small > _FOREGROUND)
        most, depth = np.full((_RAYS, _RAYS), -_SURE, np.float32), np.zeros((_RAYS, _RAYS), np.float32)
        if len(rows):
            z = ((np.arange(_DEPTHS) + 0.5) / _DEPTHS * 2 - 1) * cameras.VOLUME_EXTENT
            pixels = np.stack([columns + 0.5, rows + 0.5], -1)
            c2w = cameras.camera_to_world(self.elevation, 0.0)
            origin, rays = cameras.pixel_rays(c2w, cameras.intrinsics(_RAYS), pixels)
            along = origin + rays[:, None] * (z + cameras.INPUT_RADIUS)[:, None]
            points = torch.from_numpy(along.reshape(-1, 3).astype(np.float32))
            answers = torch.cat([self.free(chunk) for chunk in points.split(_CHUNK)]).view(len(rows), -1).numpy()
            most[rows, columns], depth[rows, columns] = answers.max(1), z[answers.argmax(1)]
        return small, most, depth

    def hold(self) -> None:
        """Find out what each ray lacks: see `boost`."""
        small, most, depth = self.along_rays()
        foreground = small > _FOREGROUND
        lack = np.where(foreground, np.maximum(_MARGIN - most, 0), 0).astype(np.float32)
        # rays that hit nothing take the depth of the hits around them
        hit = foreground & (most > 0)
        sure = np.where(foreground, np.where(hit, 1.0, 1e-3), 1e-4).astype(np.float32)
        smooth = cv2.GaussianBlur(depth * sure, (0, 0), 2.5) / cv2.GaussianBlur(sure, (0, 0), 2.5)
        # half a ray beyond the edge, so that interpolation does not thin it
        lack = np.maximum(lack, cv2.dilate(lack, np.ones((3, 3), np.uint8)) * ~foreground)
        self.boost = torch.from_numpy(np.stack([lack, np.where(hit, depth, smooth)]).astype(np.float32))[None]

    def _seen(self, plane: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Values (C, N) of a plane (1, C, H, W) of the picture where world points (N, 3) are seen, and their depths
        about the object (N,) in world units."""
        where = to_frustum(points[None], points.new_tensor([self.elevation]), self.code.lens[:1])
        xy = where[:, None, :, :2]
        values = F.grid_sample(plane, xy, padding_mode="border", align_corners=False)[0, :, 0]
        return values, where[0, :, 2] * cameras.VOLUME_EXTENT

    @torch.no_grad()
    def free(self, points: Tensor) -> Tensor:
        """Occupancy logits (N,) of world points (N, 3) as they are without the silhouette."""
        assert self.shape is not None
        own = turned(points[None], -self.code.azimuth[:1])
        return sample_volume(self.shape, own / cameras.VOLUME_EXTENT)[0, :, 0]

    @torch.no_grad()
    def logits(self, points: Tensor) -> Tensor:
        """Occupancy logits (N,) of world points (N, 3)."""
        assert self.boost is not None
        logit = self.free(points)
        (lack, depth), z = self._seen(self.boost, points)
        logit = logit + lack * torch.exp(-(((z - depth) / _PULL) ** 2))
        return torch.minimum(logit, self._seen(self.silhouette, points)[0][0] * 150.0)

    @torch.no_grad()
    def colors(self, points: Tensor) -> Tensor:
        """RGB (N, 3) in 0..1 of world points (N, 3)."""
        _, rgb = _both(self.network, self.code, points, self.elevation, color=True)
        assert rgb is not None
        return rgb

    def mesh(self, resolution: int, cancel: CancelToken | None) -> Mesh:
        """The surface with vertex colours, in the world frame. Raises `EmptyResultError` when nothing is solid."""
        from engine.surface.extraction import extract_mesh

        if resolution in self.meshes:
            return self.meshes[resolution]

        def signed(points: Tensor) -> Tensor:
            return -0.02 * self.logits(self.to_world(points))

        # In the object's own frame, so that its walls lie along the grid.
        own, faces = extract_mesh(signed, resolution, coarse=2, lipschitz=1.5, cancel=cancel)
        if not len(faces):
            raise EmptyResultError(
                "The view generator found nothing solid in this picture. Check the foreground: the object "
                "should be whole, alone and on white."
            )
        vertices = self.to_world(torch.from_numpy(own))
        parts = []
        for chunk in vertices.split(_CHUNK):
            if cancel:
                cancel.check()
            parts.append(self.colors(chunk))
        colors = (torch.cat(parts).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        self.meshes[resolution] = Mesh(vertices.numpy(), faces, colors=colors)
        return self.meshes[resolution]


def _both(
    network: SpatialNetwork, code: SpatialCode, points: Tensor, elevation: float, *, color: bool
) -> tuple[Tensor, Tensor | None]:
    """Mean answer about world points (N, 3) of a picture and its mirror image: logits (N,) and RGB (N, 3)."""
    pair = torch.stack([points, points * points.new_tensor([1.0, -1.0, 1.0])])
    logit, _, rgb = network.decode(code, pair, points.new_tensor([elevation, elevation]), color=color)
    return logit.mean(0), None if rgb is None else rgb.mean(0)


def _elevation(code: FieldCode, image: FloatArray, lens: float) -> float:
    """Elevation in degrees that a picture, its mirror image and its upright edges agree on best."""
    likely = np.log(code.elevation_logits.mean(0).softmax(0).numpy() + _UNLIKELY)
    side = image.shape[0]
    focal = cameras.REFERENCE_FOCAL / cameras.REFERENCE_SIZE * side * lens
    edges = upright_segments(image, image[..., 3])
    upright = vertical_support(edges, focal, (side / 2, side / 2), _ELEVATIONS)[0] / side
    likely = np.interp(_ELEVATIONS, CANDIDATES.numpy(), likely) + _EDGES * upright
    near = np.abs(_ELEVATIONS - _ELEVATIONS[likely.argmax()]) <= _NEAR  # the mean about the best, not of rivals
    return float(np.average(_ELEVATIONS[near], weights=np.exp(likely[near] - likely.max())))


class BuiltInGenerator:
    """Views of a network's solid: meshed once, then drawn from any side."""

    def __init__(self, network: SpatialNetwork, prior: ShapePrior | None = None) -> None:
        """With a `prior`, what the picture leaves open of the solid is drawn from it: for another seed another."""
        self.name = "shape-prior" if prior else "built-in"
        self.label = choices.GENERATORS[self.name].label
        self.network, self.prior = network.eval().requires_grad_(False), prior and prior.eval().requires_grad_(False)
        self._read: tuple[tuple[bytes, int], SpatialCode] | None = None
        self._drawn: tuple[tuple[bytes, int, float, int], _Field] | None = None
        self._last: tuple[bytes, float, Mesh] | None = None

    @classmethod
    def load(cls, path: Path | None = None, *, with_prior: bool = False) -> BuiltInGenerator:
        """From a file of weights, or those named `views` in the registry, and the shape prior trained for them.

        `WeightsError` says what is wrong.
        """
        found = weights.find(path or "views")
        tensors = found.load(MODEL)
        try:
            network = SpatialNetwork(SpatialConfig.from_json(found.card["network"]))
            network.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=False)
            missing = {k for k, v in network.state_dict().items() if v.is_floating_point()} - set(tensors)
            if missing:
                raise KeyError(sorted(missing)[0])
        except (KeyError, TypeError, RuntimeError) as error:
            raise WeightsError(
                f"The weights {found.path} do not fit the built-in view generator ({error}). "
                "Install Oriel again, or train new ones with `oriel train views`."
            ) from None
        return cls(network, ShapePrior.load(found.path) if with_prior else None)

    def estimate_elevation(self, image: FloatArray, lens: float = 1.0) -> float | None:
        """See `ViewGenerator.estimate_elevation`: by the network and by upright edges."""
        with torch.inference_mode():
            return _elevation(self._encode(image, 0), image, lens)

    def mesh(
        self,
        image: FloatArray,
        elevation: float | None = None,
        *,
        resolution: int = 112,
        seed: int = 0,
        cancel: CancelToken | None = None,
    ) -> Mesh:
        """The generator's own solid of `image` (S, S, 4) as a mesh with vertex colours.

        A `seed` other than 0 draws another shape from the prior; where there is none, it reads a slightly shifted and
        brightened copy of the picture, for another opinion. What was read off the last picture and drawn of it is kept,
        so that its mesh for the same elevation and resolution is the same object again: do not change it.
        Raises `EmptyResultError` when nothing is solid, and `Cancelled`.
        """
        with torch.inference_mode():
            return self._field(image, elevation, seed, 48 + resolution // 6, cancel).mesh(resolution, cancel)

    def generate(
        self,
        image: FloatArray,
        offsets: FloatArray,
        *,
        elevation: float | None = None,
        size: int = 256,
        seed: int = 0,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> FloatArray:
        """See `ViewGenerator.generate`. What the input shows keeps the input's own pixels."""
        offsets = np.asarray(offsets, np.float32).reshape(-1, 3)
        if elevation is None:
            elevation = self.estimate_elevation(image)
            assert elevation is not None
        mesh = self._solid(image, elevation, seed, cancel)
        source = (image, cameras.camera_to_world(elevation, 0.0), cameras.intrinsics(image.shape[0]))
        poses = cameras.camera_to_world(elevation + offsets[:, 0], offsets[:, 1], cameras.INPUT_RADIUS + offsets[:, 2])
        k = cameras.intrinsics(size)
        views = np.empty((len(poses), size, size, 4), np.float32)
        step = 8
        for start in range(0, len(poses), step):
            if cancel:
                cancel.check()
            part = slice(start, start + step)
            views[part], _ = render_mesh(mesh, poses[part], k, size, source=source)
            if progress:
                for i in range(start, min(start + step, len(poses))):
                    progress(Progress("views", i + 1, len(poses), "Drawing views", preview=(i, views[i])))
        return views

    def _solid(self, image: FloatArray, elevation: float, seed: int, cancel: CancelToken | None) -> Mesh:
        """`mesh`, kept for the next call; for an elevation a little off, what was kept is turned with the camera."""
        key = image.tobytes() + seed.to_bytes(8, "little", signed=True)
        if self._last is None or self._last[0] != key or abs(self._last[1] - elevation) > _TURN:
            self._last = (key, elevation, self.mesh(image, elevation, seed=seed, cancel=cancel))
        _, kept, mesh = self._last
        if kept == elevation:
            return mesh
        before, after = (cameras.camera_to_world(e, 0.0)[:3, :3] for e in (kept, elevation))
        return replace(mesh, vertices=(mesh.vertices @ before @ after.T).astype(np.float32))

    def _picture(self, image: FloatArray, seed: int) -> Tensor:
        """The picture (S, S, 4) at the network's size and its mirror image, (2, 4, s, s)."""
        side = self.network.config.input_size
        small = cv2.resize(np.asarray(image, np.float32), (side, side), interpolation=cv2.INTER_AREA)
        if seed:
            rng = np.random.default_rng(seed)
            scale, shift = rng.uniform(0.97, 1.03), rng.uniform(-2, 2, 2) * side / 64
            middle = (side - 1) / 2 * (1 - scale)
            matrix = np.array([[scale, 0, middle + shift[0]], [0, scale, middle + shift[1]]])
            small = cv2.warpAffine(small, matrix, (side, side), borderValue=(1, 1, 1, 0))
            small[..., :3] = small[..., :3] ** rng.uniform(0.85, 1.18)
        both = np.stack([small, small[:, ::-1]])
        return torch.from_numpy(np.ascontiguousarray(both)).permute(0, 3, 1, 2)

    def _encode(self, image: FloatArray, seed: int) -> SpatialCode:
        """What the network reads off a picture; the last one is kept."""
        key = (image.tobytes(), seed)
        if self._read is None or self._read[0] != key:
            code = self.network.encode(self._picture(image, seed))
            azimuth = azimuth_of(code.azimuth_logits[:1] + code.azimuth_logits[1:].flip(1))
            code.azimuth = torch.cat([azimuth, -azimuth])
            self._read = (key, code)
        return self._read[1]

    def _field(
        self, image: FloatArray, elevation: float | None, seed: int, cells: int, cancel: CancelToken | None
    ) -> _Field:
        """What is known of a picture, on a grid of `cells` a side."""
        code = self._encode(image, 0 if self.prior else seed)
        if elevation is None:
            elevation = _elevation(code, image, 1.0)
        key = (image.tobytes(), seed, elevation, cells)
        if self._drawn is not None and self._drawn[0] == key:
            return self._drawn[1]
        alpha = np.ascontiguousarray(image[..., 3], np.float32)
        field = _Field(self.network, code, elevation, alpha, _signed_distance(alpha))
        sample = None
        if self.prior is not None:
            self.network.place(code, torch.full((len(code.lens),), elevation))
            assert code.pillars is not None and code.chosen is not None
            generator = torch.Generator().manual_seed(seed)
            sample = self.prior.sample(code.pillars[:1], code.chosen[:1], generator=generator)
        field.draw(cells, cancel, sample)
        field.hold()
        self._drawn = (key, field)
        return field


def _signed_distance(alpha: FloatArray) -> Tensor:
    """(1, 1, H, W) distance to the silhouette's edge in world units at the object, positive inside."""
    mask = (alpha > 0.5).astype(np.uint8)
    inner = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    outer = cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5)
    pixels = np.where(mask > 0, inner - 0.5, 0.5 - outer).astype(np.float32)
    unit = cameras.INPUT_RADIUS * cameras.REFERENCE_SIZE / cameras.REFERENCE_FOCAL / alpha.shape[0]
    return torch.from_numpy(pixels * np.float32(unit))[None, None]
