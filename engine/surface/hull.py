"""Visual hull as a signed distance: what the silhouettes of many views say about shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from engine.cameras import VOLUME_EXTENT, world_to_camera
from engine.errors import EmptyResultError
from engine.mesh import Mesh
from engine.progress import CancelToken
from engine.surface.cleaning import clean_mesh
from engine.surface.extraction import FieldFunction, extract_mesh

FloatArray = npt.NDArray[np.float32]

FAR = 1.0
"""Distance (world units) given to a point that no camera has in front of it."""


def project_points(points: Tensor, w2c: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """World points (N, 3) in V cameras: pixels (V, N, 2) and depth (V, N); `engine.cameras.project` in torch.

    `w2c` is (V, 4, 4) with OpenGL axes, `k` (3, 3) or (V, 3, 3).
    """
    k = k.expand(len(w2c), 3, 3)
    cam = torch.einsum("vij,nj->vni", w2c[:, :3, :3], points) + w2c[:, None, :3, 3]
    depth = -cam[..., 2]
    safe = torch.where(depth.abs() < 1e-6, torch.full_like(depth, 1e-6), depth)
    x = k[:, None, 0, 0] * cam[..., 0] / safe + k[:, None, 0, 2]
    y = -k[:, None, 1, 1] * cam[..., 1] / safe + k[:, None, 1, 2]
    return torch.stack([x, y], -1), depth


def sample_pictures(pictures: Tensor, pixels: Tensor, padding: str = "border") -> Tensor:
    """Bilinear values (V, N, C) of pictures (V, C, H, W) at pixels (V, N, 2); centres lie at halves."""
    size = pixels.new_tensor([pictures.shape[-1], pictures.shape[-2]])
    grid = (pixels / size * 2 - 1).clamp(-4, 4)[:, :, None]
    values = F.grid_sample(
        pictures, grid.to(pictures.dtype), mode="bilinear", padding_mode=padding, align_corners=False
    )
    return values[..., 0].transpose(1, 2)


def mask_distance(mask: npt.NDArray) -> FloatArray:
    """Signed distance in pixels (H, W) to the contour alpha = 0.5 of a soft mask (H, W) in 0..1; negative inside."""
    inside = mask >= 0.5
    if not inside.any():
        return np.full(mask.shape, float(max(mask.shape)), np.float32)
    if inside.all():
        return np.full(mask.shape, -float(max(mask.shape)), np.float32)
    distance = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)
    distance -= np.sign(distance) * 0.5
    # Antialiased pixels know where in them the contour runs; take their word where the contour crosses them.
    edge = (np.abs(distance) <= 0.5) & (mask > 0.02) & (mask < 0.98)
    return np.where(edge, 0.5 - mask, distance).astype(np.float32)


@dataclass
class SilhouetteField:
    """Signed cone distances of points to the silhouettes of V views."""

    distance: Tensor
    """(V, 1, H, W) signed distance to the contour in pixels, negative inside."""
    w2c: Tensor
    """(V, 4, 4) world to camera, OpenGL axes."""
    k: Tensor
    """(V, 3, 3) intrinsics in pixels."""

    @classmethod
    def build(
        cls, masks: npt.NDArray, c2ws: npt.NDArray, k: npt.NDArray, device: torch.device | str = "cpu"
    ) -> SilhouetteField:
        """From masks (V, H, W) in 0..1, cameras (V, 4, 4) and intrinsics (3, 3) or (V, 3, 3) for that size."""
        distance = np.stack([mask_distance(m) for m in masks])[:, None]
        intrinsics = np.broadcast_to(np.asarray(k, np.float32), (len(masks), 3, 3)).copy()
        return cls(
            torch.from_numpy(distance).to(device),
            torch.from_numpy(world_to_camera(c2ws)).to(device),
            torch.from_numpy(intrinsics).to(device),
        )

    def distances(self, points: Tensor) -> Tensor:
        """Distance (V, N) in world units of points (N, 3) to each view's silhouette cone, negative inside."""
        pixels, depth = project_points(points, self.w2c, self.k)
        value = sample_pictures(self.distance, pixels)[..., 0] * depth / self.k[:, :1, 0]
        # Outside a picture the border's word holds: background stays outside, a cropped object goes on.
        return torch.where(depth > 1e-3, value.clamp(-FAR, FAR), torch.full_like(value, -FAR))

    def largest(self, points: Tensor, count: int) -> Tensor:
        """(N, count) largest distances, falling; the first is the visual hull's signed distance."""
        return self.distances(points).topk(min(count, len(self.w2c)), dim=0).values.T


def visual_hull(
    views: npt.NDArray,
    c2ws: npt.NDArray,
    k: npt.NDArray,
    resolution: int = 128,
    *,
    extent: float = VOLUME_EXTENT,
    cancel: CancelToken | None = None,
) -> Mesh:
    """Visual hull of views (V, H, W, 4) whose alpha is the mask, as a closed mesh without colours.

    Raises `EmptyResultError` when the silhouettes have no point in common.
    """
    field = SilhouetteField.build(views[..., 3], c2ws, k)
    vertices, faces = extract_mesh(
        lambda p: field.largest(p, 1)[:, 0], resolution=resolution, extent=extent, cancel=cancel
    )
    if not len(faces):
        raise EmptyResultError("The silhouettes of the views have no common volume. Check the masks of the views.")
    return clean_mesh(Mesh(vertices, faces))


@dataclass
class TrustedSilhouettes:
    """Bends a field so that its mesh has given silhouettes in given cameras.

    Background rays are carved exactly. Where a foreground ray meets nothing, the field's minimum along the
    ray is pulled below zero, smoothly in depth and across the picture.
    """

    carving: SilhouetteField
    pull: Tensor
    """(V, 2, H, W) amount of the pull and depth of its centre."""
    margin: float

    @classmethod
    def build(
        cls,
        silhouettes: Sequence[tuple[npt.NDArray, npt.NDArray, npt.NDArray]],
        field: FieldFunction,
        *,
        extent: float,
        margin: float,
        samples: int = 96,
        cancel: CancelToken | None = None,
    ) -> TrustedSilhouettes:
        """`silhouettes` are (mask (S, S) in 0..1, camera_to_world, intrinsics) of one common size S.

        `field` is the signed distance to bend, `margin` how far (world units) below zero a pulled ray at least reaches.
        """
        masks = np.stack([np.asarray(m, np.float32) for m, _, _ in silhouettes])
        c2ws = np.stack([np.asarray(c, np.float32) for _, c, _ in silhouettes])
        ks = np.stack([np.asarray(k, np.float32) for _, _, k in silhouettes])
        carving = SilhouetteField.build(masks, c2ws, ks)
        maps = [
            _pull_map(field, carving, i, c2ws[i], ks[i], extent, margin, samples, cancel)
            for i in range(len(silhouettes))
        ]
        return cls(carving, torch.stack(maps), margin)

    def bend(self, points: Tensor, values: Tensor) -> Tensor:
        """Bent field (N,) from its values (N,) at points (N, 3)."""
        pixels, depth = project_points(points, self.carving.w2c, self.carving.k)
        pull = sample_pictures(self.pull, pixels)
        for amount, centre, z in zip(pull[..., 0], pull[..., 1], depth, strict=True):
            width = amount.clamp(min=3 * self.margin)
            values = values - amount * torch.exp(-0.5 * ((z - centre) / width) ** 2)
        return torch.maximum(values, self.carving.distances(points).amax(0))


def _pull_map(
    field: FieldFunction,
    carving: SilhouetteField,
    index: int,
    c2w: FloatArray,
    k: FloatArray,
    extent: float,
    margin: float,
    samples: int,
    cancel: CancelToken | None,
) -> Tensor:
    """(2, H, W): how far to pull the field along each pixel's ray, and at which depth."""
    distance = carving.distance[index, 0].numpy()
    height, width = distance.shape
    rows, columns = np.nonzero(distance < 0)
    empty = torch.zeros(2, height, width)
    if not len(rows):
        return empty
    x = (columns + 0.5 - k[0, 2]) / k[0, 0]
    y = -(rows + 0.5 - k[1, 2]) / k[1, 1]
    rays = np.stack([x, y, -np.ones(len(x))], -1).astype(np.float32) @ c2w[:3, :3].T
    centre = float(np.linalg.norm(c2w[:3, 3]))
    reach = extent * 1.2
    depths = torch.linspace(max(centre - reach, 0.05), centre + reach, samples)
    origin, directions = torch.from_numpy(c2w[:3, 3]), torch.from_numpy(rays)
    lowest, where = [], []
    for start in range(0, len(rays), 512):
        if cancel:
            cancel.check()
        points = origin + directions[start : start + 512, None] * depths[:, None]
        inside = (points.abs() <= extent).all(-1)
        values = field(points.reshape(-1, 3)).reshape(inside.shape)
        values = torch.where(inside, values, torch.full_like(values, FAR))
        low = values.min(1)
        lowest.append(low.values)
        where.append(depths[low.indices])
    minimum, depth = torch.cat(lowest).numpy(), torch.cat(where).numpy()
    # A pulled part is as deep as its silhouette is broad there, within reason.
    thickness = np.clip(-distance[rows, columns] * depth / k[0, 0] * 0.5, margin, 6 * margin)
    amount = np.where(minimum < FAR * 0.99, minimum + thickness, 0.0).clip(0.0)
    amount[minimum < -0.25 * margin] = 0.0
    needed = amount > 0
    if not needed.any():
        return empty
    amounts = np.zeros((height, width), np.float32)
    weights = np.zeros((height, width), np.float32)
    weights[rows, columns] = needed
    amounts[rows, columns] = amount
    depths_map = np.zeros((height, width), np.float32)
    depths_map[rows, columns] = np.where(needed, depth, 0.0)
    blur = max(width / 128.0, 0.5)
    mass = ndimage.gaussian_filter(weights, 2 * blur)
    smooth_depth = ndimage.gaussian_filter(depths_map, 2 * blur) / np.maximum(mass, 1e-6)
    # Grown before it is smoothed, so that smoothing never leaves a pulled ray short of the surface.
    grown = ndimage.grey_dilation(amounts, size=(3, 3))
    smooth_amount = np.maximum(ndimage.gaussian_filter(grown, blur), amounts)
    return torch.from_numpy(np.stack([smooth_amount, smooth_depth]).astype(np.float32))
