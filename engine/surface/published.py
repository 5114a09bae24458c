"""One-2-3-45's reconstruction network as it was released, and its checkpoint `ckpt_215000.pth`.

The network is SparseNeuS (arXiv 2206.05737) at its coarse level, after One-2-3-45 (arXiv 2306.16928, section 3.3).
Layout and semantics were read off the released sources: One-2-3-45/One-2-3-45 at 9d5e3a0 (reconstruction/), torchsparse
1.4.0 (74099d1) and inplace_abn 1.1.0 (55bf330). What they do, and the paper does not say:

- *Frame.* Everything happens in the axes of the input's camera (OpenCV's: x right, y down, z forwards), moved and
  scaled so that the box around all viewing frusta, of depths 0.5 to 1.8 for cameras at 1.2 from the object, and 1.1
  times that, becomes [-1, 1]^3. See `VolumeFrame`. Here the world frame is left and entered in this module only.
- *Pixels.* A projected coordinate of 0 is the centre of the first pixel, though the intrinsics count from its corner.
- *Cost.* Per voxel, variance then mean over all views of bilinear samples, zero off the picture; both are divided by
  the number of views that see the voxel, at least two.
- *Normalisation.* The released code never leaves training mode: its meshes too are normalised by the statistics of the
  one object, of all 32 views at once and of the voxels that take part. The running statistics in the checkpoint are
  read by nobody. A network that was trained here is used with its running ones. See `PublishedNetwork.released`.
- *Sparse convolutions.* See `SparseConv` and `SparseTransposed`; batch norm and plain ReLU follow. In the pyramid and
  its compression it is in-place ABN: the scale is |weight| + eps, the slope of the leaky ReLU 0.01.
- *Signed distance.* Three weight-normed layers (which is what the released `num_sdf_layers = 4` makes); in the second
  and the third the volume's feature follows the layer before. Softplus with beta 100 after the first two.
- *Colours.* IBRNet's blending (arXiv 2102.13090, section 3.2) of the source pixels, with the surface's normal in place
  of the direction to a target camera. Occlusion is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine import cameras, weights
from engine.cameras import world_to_camera
from engine.core.device import precision
from engine.core.errors import WeightsError
from engine.core.progress import CancelToken
from engine.surface.hull import project_points, sample_pictures
from engine.surface.network import (
    BlendNetwork,
    Conv,
    FeaturePyramid,
    SurfaceConfig,
    SurfaceModel,
    SurfaceScene,
    encode_points,
)

PUBLISHED = SurfaceConfig(
    "published",
    volume_resolution=96,
    image_size=256,
    pyramid_channels=(8, 16, 32),
    feature_channels=16,
    unet_channels=(16, 16, 32, 64),
    sdf_width=128,
    frequencies=6,
)
COMPACT = replace(PUBLISHED, name="compact", volume_resolution=64, image_size=128)
"""The released network of fewer voxels and pixels, to train without a GPU."""
REDUCED = {"volume_resolution": 32, "image_size": 64}
"""Voxels and pixels a side for a checkpoint of other widths than the published ones: the file does not say them."""

SDF_LAYERS = 3
"""Linear layers of the signed distance."""
NEAR_FAR = (0.5 / 1.2, 1.8 / 1.2)
"""Depths that the viewing frusta span, in distances of the input's camera."""
MARGIN = 1.1
"""What the box around the frusta is enlarged by."""
MIN_VIEWS = 2
"""Views that see a voxel that takes part."""
BALL = 0.3
"""Radius, in half sides of the volume, of the ball that an untrained network sees."""


class BatchNorm(nn.Module):
    """What both of the network's batch norms share: the weights, and the choice of the statistics."""

    by_batch = False
    """Whether mean and variance are those of what is normalised in use too, as in training; nothing is kept of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def normalised(self, x: Tensor, scale: Tensor) -> Tensor:
        """(N, C, ...) to the same shape, times `scale` (C,)."""
        by_batch = self.by_batch and not self.training
        mean, variance = (None, None) if by_batch else (self.running_mean, self.running_var)
        return F.batch_norm(x, mean, variance, scale, self.bias, self.training or by_batch, 0.1, 1e-5)


class ActivatedNorm(BatchNorm):
    """In-place ABN: batch norm whose scale is |weight| + eps, then leaky ReLU (0.01)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) to the same shape."""
        return F.leaky_relu(self.normalised(x, self.weight.abs() + 1e-5), 0.01)


class SparseNorm(BatchNorm):
    """Batch norm over the voxels that take part, then ReLU; the others are zero."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(1, C, D, H, W) and mask (D, H, W) to the same shape."""
        rows = self.normalised(x[0, :, mask].T, self.weight).relu()
        out = torch.zeros_like(x, dtype=rows.dtype)
        out[0, :, mask] = rows.T
        return out


def coarser(mask: Tensor) -> Tensor:
    """Which voxels of twice the size take part after a strided sparse convolution: (D // 2 + 1, ...) from (D, H, W).

    As in torchsparse 1.4.0, an output stands at every even coordinate that an input reaches with its 3^3 kernel, and
    that is not below the smallest coordinate of an input along any axis. There is no such bound above: an output may
    stand one step beyond the last input, which is why the result is a layer larger than half.
    """
    out = F.max_pool3d(F.pad(mask[None, None].float(), (0, 1) * 3), 3, 2, 1)[0, 0] > 0
    for axis in range(3):
        used = mask.any(dim=(axis + 1) % 3, keepdim=True).any(dim=(axis + 2) % 3, keepdim=True)
        first = int(used.flatten().long().argmax())
        out.narrow(axis, 0, (first + 1) // 2).fill_(False)
    return out


class SparseConv(nn.Module):
    """A sparse 3^3 convolution of torchsparse 1.4.0 done densely, batch norm, ReLU.

    Stride 1: out[p] = sum over offsets o in {-1, 0, 1}^3 of in[p + o] W[o], at the voxels that take part. Stride 2:
    out[p] = sum of in[2 p + o] W[o], at the voxels of `coarser`. Volumes have axes z, y, x; the released kernel
    `[27, in, out]` lists the offsets x fastest, z slowest, so that it is the dense weight `[out, in, z, y, x]` once
    split and permuted. (On CUDA torchsparse 1.4.0 mistakes the middle offset of a strided convolution if there are, by
    chance, as many outputs as inputs; that is not repeated.)
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn = SparseNorm(outputs)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(1, C, D, H, W), zero where no voxel takes part, to the size of `mask` (D', H', W') after the convolution."""
        if self.conv.stride[0] == 2:
            x = F.pad(x, (0, 1) * 3)
        return self.bn(self.conv(x), mask)


class SparseTransposed(nn.Module):
    """A transposed sparse 3^3 convolution of stride 2 of torchsparse 1.4.0 done densely, batch norm, ReLU.

    It walks the map of the strided convolution backwards: out[2 p + o] gets in[p] W[o] for each pair that the strided
    one joined, at the voxels from which that one started. The dense weight is `[in, out, z, y, x]`.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose3d(inputs, outputs, 3, 2, 1, bias=False)
        self.bn = SparseNorm(outputs)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(1, C, D // 2 + 1, ...) to the size of `mask` (D, H, W)."""
        d, h, w = mask.shape
        return self.bn(self.conv(x)[..., :d, :h, :w], mask)


class SparseUNet(nn.Module):
    """3D U-Net over the voxels that take part: three strided levels, skips by addition."""

    def __init__(self, inputs: int, channels: tuple[int, int, int, int]) -> None:
        super().__init__()
        a, b, c, d = channels
        self.conv0 = SparseConv(inputs, a)
        self.conv1, self.conv2 = SparseConv(a, b, 2), SparseConv(b, b)
        self.conv3, self.conv4 = SparseConv(b, c, 2), SparseConv(c, c)
        self.conv5, self.conv6 = SparseConv(c, d, 2), SparseConv(d, d)
        self.conv7 = SparseTransposed(d, c)
        self.conv9 = SparseTransposed(c, b)
        self.conv11 = SparseTransposed(b, a)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Volume (1, C, D, H, W), zero outside the mask (D, H, W), to (1, channels[0], D, H, W)."""
        masks = [mask]
        for _ in range(3):
            masks.append(coarser(masks[-1]))
        x0 = self.conv0(x, masks[0])
        x2 = self.conv2(self.conv1(x0, masks[1]), masks[1])
        x4 = self.conv4(self.conv3(x2, masks[2]), masks[2])
        x6 = self.conv6(self.conv5(x4, masks[3]), masks[3])
        y = x4 + self.conv7(x6, masks[2])
        y = x2 + self.conv9(y, masks[1])
        return x0 + self.conv11(y, masks[0])


class LatentSDF(nn.Module):
    """MLP from an encoded point and its volume feature to a signed distance, all in the volume's frame."""

    def __init__(self, width: int, frequencies: int, latent: int) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.lins = nn.ModuleList()
        for i in range(SDF_LAYERS):
            linear = nn.Linear(width + latent if i else 3 + 6 * frequencies, width)
            with torch.no_grad():  # a ball (SAL's geometric initialisation), whatever the volume says
                nn.init.zeros_(linear.bias)
                nn.init.normal_(linear.weight, 0.0, (2 / width) ** 0.5)
                if i == SDF_LAYERS - 1:
                    nn.init.normal_(linear.weight, (np.pi / width) ** 0.5, 1e-4)
                    nn.init.constant_(linear.bias, -BALL)
                linear.weight[:, width if i else 3 :].zero_()
            self.lins.append(nn.utils.parametrizations.weight_norm(linear))

    def forward(self, points: Tensor, latent: Tensor) -> Tensor:
        """Points (N, 3) and latent (N, C) to distance and geometry feature (N, width), the distance first."""
        x = encode_points(points, self.frequencies)
        for i, linear in enumerate(self.lins):
            x = linear(torch.cat([x, latent], -1) if i else x)
            if i < SDF_LAYERS - 1:
                x = F.softplus(x, beta=100)
        return x


class PublishedBlend(BlendNetwork):
    """The released blending: no prior; the view least like the wanted direction weighs nothing in mean and variance."""

    def forward(self, rgb: Tensor, features: Tensor, geometry: Tensor, directions: Tensor, seen: Tensor) -> Tensor:
        """Colours (N, 3) in 0..1.

        Args: `rgb` (N, V, 3); `features` (N, V, C); `geometry` (N, G); `directions` (N, V, 4): unit vector of the
        difference between the wanted direction and that to the view, and their cosine; `seen` (N, V): 1 or 0.
        """
        seen = seen[..., None]
        inputs = torch.cat([rgb, features], -1) + self.ray_dir_fc(directions)
        closeness = torch.exp(self.sharpness.abs() * (directions[..., 3:] - 1))
        weight = (closeness - closeness.amin(1, keepdim=True)) * seen
        weight = weight / (weight.sum(1, keepdim=True) + 1e-8)
        mean = (inputs * weight).sum(1, keepdim=True)
        variance = (weight * (inputs - mean) ** 2).sum(1, keepdim=True)
        # The first layer sees geometry, mean, variance and the view's own inputs; the first three are all views' alike.
        shared = torch.cat([geometry[:, None], mean, variance], -1)
        first = self.base_fc[0]
        assert isinstance(first, nn.Linear)
        same, own = first.weight.split([shared.shape[-1], inputs.shape[-1]], 1)
        x = self.base_fc[1:](F.linear(shared, same, first.bias) + F.linear(inputs, own))
        update, visibility = self.vis_fc(x * weight).split([32, 1], -1)
        x = x + update
        visibility = self.vis_fc2(x * (torch.sigmoid(visibility) * seen)) * seen
        logits = self.rgb_fc(torch.cat([x, visibility, directions], -1)).masked_fill(seen == 0, -1e9)
        return (rgb * torch.softmax(logits, 1)).sum(1)


@dataclass(frozen=True)
class VolumeFrame:
    """The frame that the network works in, from the world's: x' = (rotation x + shift) / scale, in [-1, 1]^3."""

    rotation: npt.NDArray[np.float64]
    """(3, 3) world axes to those of the input's camera, OpenCV's."""
    shift: npt.NDArray[np.float64]
    """(3,) in world units."""
    scale: float
    """World units of half a side of the volume."""

    @classmethod
    def around(cls, c2ws: npt.NDArray, k: npt.NDArray, size: int) -> VolumeFrame:
        """Around the frusta of views with cameras (V, 4, 4), intrinsics (3, 3) and side `size`, and of the input's.

        The input's camera is taken from the first four views, which are its neighbours: the third and the fourth stand
        at its height on either side. Of fewer views, the first is taken for the input's.
        """
        seen = np.asarray(c2ws, np.float64)
        reference = seen[0]
        if len(seen) >= 4:
            elevation, azimuth, radius = cameras.spherical(seen[2])
            between = seen[2:4, :2, 3].sum(0)
            if np.linalg.norm(between) > 1e-6 * float(radius):
                azimuth = np.degrees(np.arctan2(between[1], between[0]))
            reference = cameras.camera_to_world(elevation, azimuth, radius).astype(np.float64)
        near, far = (share * float(np.linalg.norm(reference[:3, 3])) for share in NEAR_FAR)
        w2r = np.linalg.inv(cameras.opengl_to_opencv(reference).astype(np.float64))
        corners = np.array([[u, v, 1.0] for u in (0, size) for v in (0, size)])
        rays = corners @ np.linalg.inv(np.asarray(k, np.float64)).T
        local = np.concatenate([rays * near, rays * far])
        points = []
        for c2w in (reference, *seen):
            to_reference = w2r @ cameras.opengl_to_opencv(c2w).astype(np.float64)
            points.append(local @ to_reference[:3, :3].T + to_reference[:3, 3])
        low, high = np.concatenate(points).min(0), np.concatenate(points).max(0)
        return cls(w2r[:3, :3], w2r[:3, 3] - (low + high) / 2, float((high - low).max() / 2 * MARGIN))

    def points(self, world: Tensor) -> Tensor:
        """World points (..., 3) in the volume's frame."""
        rotation, shift = (
            torch.as_tensor(a, dtype=world.dtype, device=world.device) for a in (self.rotation, self.shift)
        )
        return (world @ rotation.T + shift) / self.scale

    def directions(self, world: Tensor) -> Tensor:
        """World directions (..., 3) in the volume's frame."""
        return world @ torch.as_tensor(self.rotation, dtype=world.dtype, device=world.device).T

    def world(self, points: Tensor) -> Tensor:
        """Points (..., 3) of the volume's frame in the world."""
        rotation, shift = (
            torch.as_tensor(a, dtype=points.dtype, device=points.device) for a in (self.rotation, self.shift)
        )
        return (points * self.scale - shift) @ rotation


@dataclass
class PublishedScene(SurfaceScene):
    """What the released network knows of one object; the volume fills [-1, 1]^3 of its frame."""

    frame: VolumeFrame
    mask: Tensor
    """(D, H, W) voxels that take part."""


class PublishedNetwork(SurfaceModel[PublishedScene]):
    """The released network. In use on CUDA the pyramid and the U-Net run in half precision, all else in single.

    Statistics of all views at once want memory: at the published sizes the pyramid of 32 views takes 1.1 GB at most in
    single precision, 0.25 GB more than four at a time.
    """

    def __init__(self, config: SurfaceConfig = PUBLISHED) -> None:
        super().__init__()
        self.config = config
        total, latent = sum(config.pyramid_channels), config.unet_channels[0]
        self.pyramid = FeaturePyramid(3, config.pyramid_channels, ActivatedNorm)
        self.compress = Conv(total, config.feature_channels, 3, norm=ActivatedNorm)
        self.unet = SparseUNet(2 * config.feature_channels, config.unet_channels)
        self.sdf_network = LatentSDF(config.sdf_width, config.frequencies, latent)
        self.blend = PublishedBlend(total, latent)
        self.log_variance = nn.Parameter(torch.tensor(0.2))

    def use_as(self, *, released: bool) -> PublishedNetwork:
        """Take the weights as `released` ones or as some that were trained here; returns the network."""
        self.released = released
        for module in self.modules():
            if isinstance(module, BatchNorm):
                module.by_batch = released
        return self

    def encode(
        self,
        views: npt.NDArray,
        c2ws: npt.NDArray,
        k: npt.NDArray,
        *,
        sources: npt.NDArray[np.int64] | None = None,
        cancel: CancelToken | None = None,
    ) -> PublishedScene:
        """See `SurfaceModel`. The first four views are the neighbours of the input's, see `VolumeFrame.around`.

        What is no numbers in half precision is made again in single.
        """
        pictures, c2ws, k = self._resized(views, c2ws, k)
        frame = VolumeFrame.around(c2ws, k, self.config.image_size)
        if sources is not None:
            pictures, c2ws = pictures[torch.from_numpy(sources).to(self.device)], c2ws[sources]
        w2c = torch.from_numpy(world_to_camera(c2ws)).to(self.device)
        intrinsics = torch.from_numpy(k).to(self.device)

        def made(half: AbstractContextManager) -> tuple[Tensor, Tensor, Tensor]:
            with half:
                features, compressed = self._features(pictures[:, :3].contiguous(), cancel or CancelToken())
            cost, mask = self.cost(compressed, w2c, intrinsics, frame, cancel)
            del compressed
            with half:
                return features, self.unet(cost, mask).float(), mask

        features, volume, mask = made(self._half())
        if not self.training and not (features.isfinite().all() and volume.isfinite().all()):
            features, volume, mask = made(nullcontext())
        return PublishedScene(pictures, features, w2c, intrinsics, volume, frame, mask)

    def _features(self, pictures: Tensor, cancel: CancelToken) -> tuple[Tensor, Tensor]:
        """Pyramid (V, sum of its channels, S, S) of pictures (V, 3, S, S), and what of it enters the cost volume.

        What is normalised by the statistics of the views is so by those of all at once; the rest goes in fours, which
        saves memory.
        """
        at_once = len(pictures) if self.training or self.released else 4
        features = pictures.new_empty(len(pictures), sum(self.config.pyramid_channels), *pictures.shape[2:])
        compressed = []
        for first in range(0, len(pictures), at_once):
            cancel.check()
            levels = self.pyramid.levels(pictures[first : first + at_once])
            joined = []
            for four in range(first, min(first + at_once, len(pictures)), 4):
                cancel.check()
                of_four = slice(four - first, min(four + 4, first + at_once) - first)
                stacked = self.pyramid.stacked(*(level[of_four] for level in levels))
                features[four : four + len(stacked)] = stacked
                joined.append(self.compress.conv(stacked))
            compressed.append(self.compress.bn(torch.cat(joined)).float())
        return features, torch.cat(compressed)

    def _half(self) -> AbstractContextManager:
        if self.training:  # which looks after its precision itself: gradients are lost in half
            return nullcontext()
        dtype = precision(self.device)
        half = dtype != torch.float32
        return torch.autocast(self.device.type, dtype if half else torch.bfloat16, enabled=half)

    def cost(
        self, features: Tensor, w2c: Tensor, k: Tensor, frame: VolumeFrame, cancel: CancelToken | None = None
    ) -> tuple[Tensor, Tensor]:
        """Variance and mean (1, 2 C, D, D, D) of features (V, C, S, S), and the voxels (D, D, D) that take part."""
        n, size = self.config.volume_resolution, self.config.image_size
        axis = torch.linspace(-1, 1, n, device=self.device)
        rows, taking_part = [], []
        for z in axis.split(max(1, 16384 // n**2)):
            if cancel:
                cancel.check()
            grid = torch.meshgrid(z, axis, axis, indexing="ij")
            pixels, depth = project_points(frame.world(torch.stack(grid[::-1], -1).reshape(-1, 3)), w2c, k)
            count = ((pixels >= 0).all(-1) & (pixels <= size - 1).all(-1) & (depth > 0)).sum(0)
            enough = count >= MIN_VIEWS
            taking_part.append(enough)
            # Samples just off a picture, and behind a camera, add to the sums though their view does not count.
            values = sample_pictures(features, pixels[:, enough] + 0.5, "zeros")
            share = 1 / (count[enough] + 1e-5)[:, None]
            mean = values.sum(0) * share
            rows.append(torch.cat([(values**2).sum(0) * share - mean**2, mean], -1))
        mask = torch.cat(taking_part).view(n, n, n)
        dense = features.new_zeros(n, n, n, 2 * features.shape[1])
        dense[mask] = torch.cat(rows)
        return dense.permute(3, 0, 1, 2)[None], mask

    def sdf(self, scene: PublishedScene, points: Tensor) -> Tensor:
        """See `SurfaceModel`; outside the volume it is the distance to it."""
        at = scene.frame.points(points)
        latent = F.grid_sample(scene.volume, at[None, :, None, None], align_corners=True)[0, :, :, 0, 0].T
        # The released sampler gives nothing on the volume's lower faces.
        latent = latent * (at > -1).all(-1, keepdim=True)
        beyond = at.abs().amax(-1) - 1
        return torch.where(beyond > 0, beyond, self.sdf_network(at, latent)[:, 0]) * scene.frame.scale

    def box(self, scene: PublishedScene) -> tuple[float, Callable[[Tensor], Tensor]]:
        """See `SurfaceModel`; released weights have the whole volume, which is turned as the input's camera is."""
        if not self.released:
            return super().box(scene)
        return scene.frame.scale, lambda points: scene.frame.world(points / scene.frame.scale)

    def normals(self, scene: PublishedScene, points: Tensor) -> Tensor:
        """Unit gradients (N, 3) of the signed distance at world points (N, 3)."""
        with torch.enable_grad():
            at = points.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.sdf(scene, at).sum(), at)
        return F.normalize(gradient, dim=-1, eps=1e-6)

    def colors(self, scene: PublishedScene, points: Tensor, directions: Tensor) -> Tensor:
        """See `SurfaceModel`. The released meshes take the negative normal for the direction."""
        frame, size = scene.frame, self.config.image_size
        at = frame.points(points)
        to_view = frame.points(scene.positions)[:, None] - at
        to_view = to_view / (to_view.norm(dim=-1, keepdim=True) + 1e-6)
        wanted = -frame.directions(directions)
        difference = wanted - to_view
        cosine = (wanted * to_view).sum(-1, keepdim=True)
        difference = difference / difference.norm(dim=-1, keepdim=True).clamp(min=1e-6)

        pixels, depth = project_points(points, scene.w2c, scene.k)
        front = depth > 1e-3 * frame.scale
        on_picture = front & (pixels >= 0).all(-1) & (pixels <= size - 1).all(-1)
        inside = front & (pixels > 0).all(-1) & (pixels < size - 1).all(-1)
        rgb = sample_pictures(scene.pictures[:, :3], pixels + 0.5) * on_picture[..., None]
        features = sample_pictures(scene.features, pixels + 0.5) * on_picture[..., None]
        grid = at[None, :, None, None]
        geometry = F.grid_sample(scene.volume, grid, align_corners=True)[0, :, :, 0, 0].T
        known = F.grid_sample(scene.mask[None, None].to(at.dtype), grid, align_corners=True).view(-1) > 0
        seen = inside & known & (at.abs() < 1).all(-1)
        return self.blend(
            rgb.transpose(0, 1),
            features.transpose(0, 1),
            geometry,
            torch.cat([difference, cosine], -1).transpose(0, 1),
            seen.T.to(rgb.dtype),
        )


# The checkpoint

NAMES = (
    ("pyramid_feature_network.{}", "pyramid.{}"),
    ("sdf_network_lod0.compress_layer.{}", "compress.{}"),
    ("sdf_network_lod0.sparse_costreg_net.conv{}.net.0.kernel", "unet.conv{}.conv.weight"),
    ("sdf_network_lod0.sparse_costreg_net.conv{}.net.1.{}", "unet.conv{}.bn.{}"),
    ("sdf_network_lod0.sdf_layer.lin{}.weight_g", "sdf_network.lins.{}.parametrizations.weight.original0"),
    ("sdf_network_lod0.sdf_layer.lin{}.weight_v", "sdf_network.lins.{}.parametrizations.weight.original1"),
    ("sdf_network_lod0.sdf_layer.lin{}.bias", "sdf_network.lins.{}.bias"),
    ("variance_network_lod0.variance", "log_variance"),
    ("rendering_network_lod0.s", "blend.sharpness"),
    ("rendering_network_lod0.{}", "blend.{}"),
)
"""Name in the checkpoint (its dictionary, a dot, the name in it) and name in `PublishedNetwork`."""
IGNORED = (
    "optimizer.",
    "iter_step",
    "val_step",
    "rendering_network_outside.",
    "sdf_network_lod1.",
    "variance_network_lod1.",
    "rendering_network_lod1.",
    "pyramid_feature_network_lod1.",
)
"""What a checkpoint may hold beside the network: the state of its training, and networks that the released
configuration does not have (a background, a second level)."""
COUNTER = "num_batches_tracked"
"""Counters of batches: kept by the conversions, read by nobody, missing in files of older versions of in-place ABN."""


def is_published(names: Iterable[str]) -> bool:
    """Whether these are names of tensors in the released layout."""
    return any(name.startswith("sdf_network_lod0.") for name in names)


def from_published(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a checkpoint under the names and in the shapes of `PublishedNetwork`, `IGNORED` ones left out.

    Raises `WeightsError` for names that are neither.
    """
    wanted = {name: value for name, value in tensors.items() if not name.startswith(IGNORED)}
    unknown = [name for name in wanted if _renamed(name, 0) is None]
    if unknown:
        raise WeightsError(_does_not_fit("has parts that it should not have", unknown))
    return {str(_renamed(name, 0)): _unpacked(name, value) for name, value in wanted.items()}


def to_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `from_published`: tensors of a `PublishedNetwork` in the released layout."""
    out = {}
    for name, value in state.items():
        released = _renamed(name, 1)
        if released is None:
            raise KeyError(name)
        if value.ndim == 5:
            value = value.permute(2, 3, 4, *((0, 1) if _is_transposed(released) else (1, 0))).flatten(0, 2)
        out[released] = value
    return out


def load_published(tensors: dict[str, Tensor], path: Path) -> PublishedNetwork:
    """A network with the weights of a checkpoint that was read from `path`; its sizes are read off the shapes.

    It is taken as `released`. With the published widths the volume has 96^3 voxels and pictures 256 pixels a side, else
    see `REDUCED`.
    Raises `WeightsError` if a tensor is missing, left over or of the wrong shape.
    """
    with torch.device("meta"):
        expected = to_published(PublishedNetwork().state_dict())
    missing = [name for name in expected if name not in tensors]
    try:
        if missing:
            raise WeightsError(_does_not_fit("lacks parts", missing))
        state = from_published(tensors)
        config = _config(state)
    except WeightsError as error:
        raise WeightsError(f"{path} {error}") from None
    network = PublishedNetwork(config)
    kept = {name: value.float() for name, value in state.items() if not name.endswith(COUNTER)}
    weights.load_into(network, kept, path=path, model="One-2-3-45's reconstruction")
    return network.use_as(released=True)


def _config(state: dict[str, Tensor]) -> SurfaceConfig:
    """Sizes of the network that has these tensors."""

    def channels(*names: str) -> Any:
        return tuple(state[f"{name}.weight"].shape[0] for name in names)

    try:
        width, inputs = state["sdf_network.lins.0.parametrizations.weight.original1"].shape
        config = replace(
            PUBLISHED,
            pyramid_channels=channels(*(f"pyramid.conv{i}.0.conv" for i in range(3))),
            feature_channels=channels("compress.conv")[0],
            unet_channels=channels(*(f"unet.conv{i}.conv" for i in (0, 1, 3, 5))),
            sdf_width=width,
            frequencies=(inputs - 3) // 6,
        )
    except (IndexError, ValueError):
        raise WeightsError("is damaged: some of its tensors have lost their shape. Copy or fetch it again.") from None
    return config if config == PUBLISHED else replace(config, **REDUCED)  # type: ignore[arg-type]


def _pattern(name: str) -> re.Pattern:
    return re.compile(re.escape(name).replace(r"\{\}", "(.+)"))


_PATTERNS = [(_pattern(released), _pattern(ours)) for released, ours in NAMES]


def _renamed(name: str, side: int) -> str | None:
    """The other name of a tensor that is named as on `side` (0 released, 1 ours) of `NAMES`."""
    for names, patterns in zip(NAMES, _PATTERNS, strict=True):
        found = patterns[side].fullmatch(name)
        if found:
            return names[1 - side].format(*found.groups())
    return None


def _is_transposed(name: str) -> bool:
    """Whether a kernel, by its released name, is one of the transposed convolutions."""
    return any(f".conv{i}." in name for i in (7, 9, 11))


def _unpacked(name: str, value: Tensor) -> Tensor:
    """A released tensor in our shape: kernels [27, in, out] as dense weights."""
    if not name.endswith(".kernel"):
        return value
    if value.ndim != 3 or value.shape[0] != 27:
        raise WeightsError(f"is damaged: {name} has the shape {tuple(value.shape)}. Copy or fetch it again.")
    order = (3, 4, 0, 1, 2) if _is_transposed(name) else (4, 3, 0, 1, 2)
    return value.reshape(3, 3, 3, *value.shape[1:]).permute(order)


def _does_not_fit(what: str, names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (
        f"is not One-2-3-45's reconstruction checkpoint: it {what}: {', '.join(names[:3])}{more}. "
        "Fetch ckpt_215000.pth again with `oriel weights fetch one-2-3-45-surface`, or point to another file."
    )
