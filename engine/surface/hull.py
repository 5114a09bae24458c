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

from engine.cameras import pixel_rays, world_to_camera
from engine.core.progress import CancelToken
from engine.surface.extraction import CHUNK, FieldFunction

FloatArray = npt.NDArray[np.float32]

PULL_SIZE = 96
"""Largest side in pixels at which foreground rays that meet nothing are looked for."""
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


@dataclass
class TrustedSilhouettes:
    """Bends a field so that its mesh has given silhouettes in given cameras.

    Background rays are carved exactly. Where a foreground ray meets nothing, the field's minimum along the
    ray is pulled below zero, smoothly in depth and across the picture.
    """

    carving: SilhouetteField
    pulls: list[Tensor]
    """(1, 2, h, w) by silhouette, at most `PULL_SIZE` a side: amount of the pull and depth of its centre."""
    margin: float

    @classmethod
    def build(
        cls,
        silhouettes: Sequence[tuple[npt.NDArray, npt.NDArray, npt.NDArray]],
        field: FieldFunction,
        *,
        extent: float,
        margin: float,
        cancel: CancelToken | None = None,
    ) -> TrustedSilhouettes:
        """`silhouettes` are (mask (S, S) in 0..1, camera_to_world, intrinsics) of one common size S.

        `field` is the signed distance to bend, `margin` how far (world units) below zero a pulled ray at least reaches.
        """
        masks = np.stack([np.asarray(m, np.float32) for m, _, _ in silhouettes])
        c2ws = np.stack([np.asarray(c, np.float32) for _, c, _ in silhouettes])
        ks = np.stack([np.asarray(k, np.float32) for _, _, k in silhouettes])
        pulls = []
        for mask, c2w, k in zip(masks, c2ws, ks, strict=True):
            small = torch.from_numpy(mask)[None, None]
            scale = min(1.0, PULL_SIZE / mask.shape[0])
            if scale < 1:
                side = round(mask.shape[0] * scale)
                small = F.interpolate(small, (side, side), mode="bilinear", antialias=True)
                scale = side / mask.shape[0]
            reduced = k * np.array([[scale], [scale], [1]], np.float32)
            pulls.append(_pull_map(field, small[0, 0].numpy(), c2w, reduced, extent, margin, cancel)[None])
        return cls(SilhouetteField.build(masks, c2ws, ks), pulls, margin)

    def bend(self, points: Tensor, values: Tensor) -> Tensor:
        """Bent field (N,) from its values (N,) at points (N, 3)."""
        pixels, depth = project_points(points, self.carving.w2c, self.carving.k)
        side = self.carving.distance.shape[-1]
        for pull, pixel, z in zip(self.pulls, pixels, depth, strict=True):
            amount, centre = sample_pictures(pull, pixel[None] * (pull.shape[-1] / side))[0].unbind(-1)
            width = amount.clamp(min=3 * self.margin)
            values = values - amount * torch.exp(-0.5 * ((z - centre) / width) ** 2)
        return torch.maximum(values, self.carving.distances(points).amax(0))


def _pull_map(
    field: FieldFunction,
    mask: FloatArray,
    c2w: FloatArray,
    k: FloatArray,
    extent: float,
    margin: float,
    cancel: CancelToken | None,
) -> Tensor:
    """(2, H, W): how far to pull the field along each pixel's ray, and at which depth."""
    distance = mask_distance(mask)
    height, width = distance.shape
    rows, columns = np.nonzero(distance < 0)
    if not len(rows):
        return torch.zeros(2, height, width)
    origin, directions = pixel_rays(c2w, k, np.stack([columns + 0.5, rows + 0.5], -1))
    middle = float(np.linalg.norm(origin))
    near, far = max(middle - 1.2 * extent, 0.05), middle + 1.2 * extent
    o = torch.from_numpy(origin)

    def lowest(rays: npt.NDArray, first: Tensor, last: Tensor, samples: int) -> tuple[Tensor, Tensor]:
        """Least value and its depth along rays (N, 3) between depths (N,)."""
        values, where = [], []
        steps = torch.linspace(0, 1, samples)
        for part in torch.arange(len(rays)).split(max(1, CHUNK // samples)):
            if cancel:
                cancel.check()
            depths = first[part, None] + (last - first)[part, None] * steps
            points = o + torch.from_numpy(rays)[part, None] * depths[..., None]
            inside = (points.abs() <= extent).all(-1)
            value = field(points.reshape(-1, 3)).reshape(inside.shape)
            low = torch.where(inside, value, torch.full_like(value, FAR)).min(1)
            values.append(low.values)
            where.append(depths.gather(1, low.indices[:, None])[:, 0])
        return torch.cat(values), torch.cat(where)

    ones = torch.ones(len(directions))
    value, where = lowest(directions, near * ones, far * ones, 64)
    step = (far - near) / 63
    unsure = torch.nonzero((value > -margin) & (value < 2 * step))[:, 0]
    if len(unsure):
        # Between two samples the field may be lower: look again where that decides.
        again = lowest(directions[unsure.numpy()], where[unsure] - step, where[unsure] + step, 11)
        value[unsure], where[unsure] = again
    minimum, depth = value.numpy(), where.numpy()
    # A pulled part is half as deep as its silhouette is broad there, within reason: most lie along the rim, where
    # deeper ones would be fins that the object does not have.
    thickness = np.clip(-distance[rows, columns] * depth / k[0, 0] * 0.25, 0.5 * margin, 2 * margin)
    amount = np.where((minimum < FAR * 0.99) & (minimum >= -0.25 * margin), minimum + thickness, 0.0).clip(0.0)
    needed = amount > 0
    amounts, weights, depths = np.zeros((3, height, width), np.float32)
    amounts[rows, columns], weights[rows, columns] = amount, needed
    depths[rows, columns] = np.where(needed, depth, 0.0)
    mass = ndimage.gaussian_filter(weights, 2.0)
    smooth_depth = ndimage.gaussian_filter(depths, 2.0) / np.maximum(mass, 1e-6)
    # Grown before it is smoothed, so that smoothing never leaves a pulled ray short of the surface.
    grown = ndimage.grey_dilation(amounts, size=(3, 3))
    smooth_amount = np.maximum(ndimage.gaussian_filter(grown, 1.0), amounts)
    return torch.from_numpy(np.stack([smooth_amount, smooth_depth]).astype(np.float32))
