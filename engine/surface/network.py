"""The reconstruction network: 2D feature pyramid, cost volume, 3D U-Net, SDF and colour blending.

After SparseNeuS (arXiv 2206.05737, section 3) as One-2-3-45 uses it (arXiv 2306.16928, section 3.3). Here are the
parts and `SurfaceNetwork`, the built-in one, small, which predicts a correction of the visual hull instead of a
distance from nothing, and so starts from the hull. The released system is `engine.surface.published`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.cameras import VOLUME_EXTENT, world_to_camera
from engine.core.device import mixed_precision
from engine.core.errors import InputError
from engine.core.progress import CancelToken
from engine.surface.hull import SilhouetteField, project_points, sample_pictures

HULL_RANKS = (0, 1, 3, 7)
"""Which of the falling per-view silhouette distances the network sees: one bad view must not decide."""
HULL_SCALE = 10.0
"""Factor from world units to network inputs of silhouette distances."""
CORRECTION_SCALE = 0.05
"""World units of correction for one unit of the SDF network's output: keeps early steps of training small."""
HULL_CLAMP = 0.2
"""Silhouette distances beyond this (world units) look the same to the network."""


@dataclass(frozen=True)
class SurfaceConfig:
    """Sizes of a reconstruction network."""

    name: str
    """Short name, kept in the weights' card."""
    volume_resolution: int
    """Voxels along a side of the cost volume."""
    image_size: int
    """Side in pixels that pictures are brought to."""
    pyramid_channels: tuple[int, int, int]
    """Channels of the feature pyramid at full, half and quarter size."""
    feature_channels: int
    """Channels that the pyramid is compressed to before it enters the volume."""
    unet_channels: tuple[int, int, int, int]
    """Channels of the 3D U-Net at full, half, quarter and eighth resolution; the first is its output."""
    sdf_width: int
    """Width of the SDF network."""
    frequencies: int
    """Frequencies of the positional encoding of points."""
    extent: float = VOLUME_EXTENT
    """Half side in world units of the cube around the origin that the surface is looked for in."""

    @property
    def voxel(self) -> float:
        """Side in world units of a voxel, if the volume fills the cube."""
        return 2 * self.extent / (self.volume_resolution - 1)


BUILT_IN = SurfaceConfig(
    "built-in",
    volume_resolution=64,
    image_size=128,
    pyramid_channels=(8, 12, 16),
    feature_channels=8,
    unet_channels=(12, 24, 32, 48),
    sdf_width=64,
    frequencies=4,
)
SDF_LAYERS = 4
"""Linear layers of the built-in network's SDF."""
HULL_BAND = 0.1
"""Distance (world units) outside the hull up to which voxels take part."""
BLEND_VIEWS = 8
"""Views blended at a point: those that see it best."""

MakeNorm = Callable[[int], nn.Module]
"""Makes the normalisation and activation of so many channels."""


class Norm(nn.Module):
    """Normalisation of each sample by its own statistics, in groups of four channels, and leaky ReLU (0.01)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) to the same shape."""
        groups = max(1, x.shape[1] // 4)
        return F.leaky_relu(F.group_norm(x, groups, self.weight.to(x.dtype), self.bias.to(x.dtype)), 0.01)


class Conv(nn.Module):
    """2D convolution without bias, normalisation, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, norm: MakeNorm = Norm) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bn = norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, outputs, H / stride, W / stride)."""
        return self.bn(self.conv(x))


class FeaturePyramid(nn.Module):
    """Feature pyramid of MVSNet's family: three scales, all brought back to full size and stacked."""

    def __init__(self, inputs: int, channels: tuple[int, int, int], norm: MakeNorm = Norm) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.conv0 = nn.Sequential(Conv(inputs, fine, 3, 1, norm), Conv(fine, fine, 3, 1, norm))
        self.conv1 = nn.Sequential(
            Conv(fine, middle, 5, 2, norm), Conv(middle, middle, 3, 1, norm), Conv(middle, middle, 3, 1, norm)
        )
        self.conv2 = nn.Sequential(
            Conv(middle, coarse, 5, 2, norm), Conv(coarse, coarse, 3, 1, norm), Conv(coarse, coarse, 3, 1, norm)
        )
        self.toplayer = nn.Conv2d(coarse, coarse, 1)
        self.lat1 = nn.Conv2d(middle, coarse, 1)
        self.lat0 = nn.Conv2d(fine, coarse, 1)
        self.smooth1 = nn.Conv2d(coarse, middle, 3, padding=1)
        self.smooth0 = nn.Conv2d(coarse, fine, 3, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (V, inputs, S, S) in 0..1, S a multiple of 4, to features (V, all channels, S, S), coarse first."""
        return self.stacked(*self.levels(pictures))

    def levels(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The way down, which is all that is normalised: features at full, half and quarter size."""
        c0 = self.conv0(pictures)
        c1 = self.conv1(c0)
        return c0, c1, self.conv2(c1)

    def stacked(self, c0: Tensor, c1: Tensor, c2: Tensor) -> Tensor:
        """The way up, of each view by itself: what `forward` gives, from `levels`."""
        f2 = self.toplayer(c2)
        f1 = _enlarge(f2, c1) + self.lat1(c1)
        f0 = _enlarge(f1, c0) + self.lat0(c0)
        return torch.cat([_enlarge(f2, c0), _enlarge(self.smooth1(f1), c0), self.smooth0(f0)], 1)


def _enlarge(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)


class Conv3(nn.Module):
    """Masked 3D convolution, normalisation, leaky ReLU: what a sparse convolution does, done densely."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, transposed: bool = False) -> None:
        super().__init__()
        if transposed:
            self.conv: nn.Module = nn.ConvTranspose3d(inputs, outputs, 3, 2, 1, output_padding=1, bias=False)
        else:
            self.conv = nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn = Norm(outputs)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(1, C, D, H, W) to the size of `mask` (1, 1, D', H', W'), zero outside it."""
        return self.bn(self.conv(x)) * mask


class VolumeUNet(nn.Module):
    """3D U-Net of the cost volume: three strided levels, skips by addition."""

    def __init__(self, inputs: int, config: SurfaceConfig) -> None:
        super().__init__()
        a, b, c, d = config.unet_channels
        self.conv0 = Conv3(inputs, a)
        self.conv1, self.conv2 = Conv3(a, b, stride=2), Conv3(b, b)
        self.conv3, self.conv4 = Conv3(b, c, stride=2), Conv3(c, c)
        self.conv5, self.conv6 = Conv3(c, d, stride=2), Conv3(d, d)
        self.conv7 = Conv3(d, c, transposed=True)
        self.conv9 = Conv3(c, b, transposed=True)
        self.conv11 = Conv3(b, a, transposed=True)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Volume (1, C, D, H, W), sides multiples of 8, and mask (1, 1, D, H, W) to (1, unet_channels[0], D, H, W)."""
        masks = [mask]
        for _ in range(3):
            # An output that any input reaches takes part.
            masks.append(F.max_pool3d(masks[-1], 3, 2, 1))
        x0 = self.conv0(x, masks[0])
        x2 = self.conv2(self.conv1(x0, masks[1]), masks[1])
        x4 = self.conv4(self.conv3(x2, masks[2]), masks[2])
        x6 = self.conv6(self.conv5(x4, masks[3]), masks[3])
        y = x4 + self.conv7(x6, masks[2])
        y = x2 + self.conv9(y, masks[1])
        return x0 + self.conv11(y, masks[0])


def encode_points(points: Tensor, frequencies: int) -> Tensor:
    """Positional encoding (N, 3 + 6 * frequencies) of points (N, 3): x, sin x, cos x, sin 2x, cos 2x, sin 4x, ..."""
    scaled = [points * 2.0**f for f in range(frequencies)]
    return torch.cat([points, *(t for s in scaled for t in (s.sin(), s.cos()))], -1)


class SDFNetwork(nn.Module):
    """MLP from an encoded point and its volume feature to a signed distance and a geometry feature.

    The volume feature enters every layer but the first and the last. Softplus with beta 100. Untrained, the distance
    is zero everywhere: no correction.
    """

    def __init__(self, config: SurfaceConfig, latent: int) -> None:
        super().__init__()
        self.frequencies = config.frequencies
        width, last = config.sdf_width, SDF_LAYERS - 1
        self.lins = nn.ModuleList()
        for i in range(SDF_LAYERS):
            inputs = 3 + 6 * config.frequencies if i == 0 else width if i == last else width + latent
            linear = nn.Linear(inputs, width + 1 if i == last else width)
            nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu")
            nn.init.zeros_(linear.bias)
            self.lins.append(linear)
        with torch.no_grad():
            linear.weight[0].zero_()

    def forward(self, points: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Points (N, 3) and latent (N, C) to distance (N,) and feature (N, width)."""
        x = encode_points(points, self.frequencies)
        for i, linear in enumerate(self.lins):
            if 0 < i < len(self.lins) - 1:
                x = torch.cat([x, latent], -1)
            x = linear(x)
            if i < len(self.lins) - 1:
                x = F.softplus(x, beta=100)
        return x[:, 0], x[:, 1:]


class BlendNetwork(nn.Module):
    """IBRNet's blending (arXiv 2102.13090, section 3.2): a colour is a learned mean of the source pixels."""

    def __init__(self, channels: int, geometry: int) -> None:
        super().__init__()
        rgb = channels + 3
        self.sharpness = nn.Parameter(torch.tensor(0.2))
        self.ray_dir_fc = nn.Sequential(nn.Linear(4, 16), nn.ELU(), nn.Linear(16, rgb), nn.ELU())
        self.base_fc = nn.Sequential(nn.Linear(rgb * 3 + geometry, 64), nn.ELU(), nn.Linear(64, 32), nn.ELU())
        self.vis_fc = nn.Sequential(nn.Linear(32, 32), nn.ELU(), nn.Linear(32, 33), nn.ELU())
        self.vis_fc2 = nn.Sequential(nn.Linear(32, 32), nn.ELU(), nn.Linear(32, 1), nn.Sigmoid())
        self.rgb_fc = nn.Sequential(nn.Linear(37, 16), nn.ELU(), nn.Linear(16, 8), nn.ELU(), nn.Linear(8, 1))
        # Untrained, the prior alone decides.
        for parameter in self.rgb_fc[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, rgb: Tensor, features: Tensor, geometry: Tensor, directions: Tensor, prior: Tensor) -> Tensor:
        """Colours (N, 3) in 0..1.

        Args: `rgb` (N, V, 3); `features` (N, V, C); `geometry` (N, G); `directions` (N, V, 4): difference of unit
        viewing directions and their cosine; `prior` (N, V): log of how far a view is trusted at the point.
        """
        inputs = torch.cat([rgb, features], -1) + self.ray_dir_fc(directions)
        trust = (prior > -20).to(rgb.dtype)[..., None]
        closeness = torch.exp(self.sharpness.abs() * (directions[..., 3:] - 1)) * trust
        weight = closeness / (closeness.sum(1, keepdim=True) + 1e-8)
        mean = (inputs * weight).sum(1, keepdim=True)
        variance = (weight * (inputs - mean) ** 2).sum(1, keepdim=True)
        shared = torch.cat([mean, variance], -1).expand(-1, rgb.shape[1], -1)
        x = torch.cat([geometry[:, None].expand(-1, rgb.shape[1], -1), shared, inputs], -1)
        x = self.base_fc(x)
        update, visibility = self.vis_fc(x * weight).split([32, 1], -1)
        x = x + update
        visibility = self.vis_fc2(x * torch.sigmoid(visibility) * trust) * trust
        logits = self.rgb_fc(torch.cat([x, visibility, directions], -1))[..., 0] + prior
        return (rgb * torch.softmax(logits.clamp(min=-60), 1)[..., None]).sum(1)


@dataclass
class SurfaceScene:
    """What a network knows of one object after `SurfaceModel.encode`."""

    pictures: Tensor
    """(V, 4, S, S) RGB over white and mask."""
    features: Tensor
    """(V, C, S, S) image features for blending."""
    w2c: Tensor
    """(V, 4, 4) world to camera, OpenGL axes."""
    k: Tensor
    """(3, 3) intrinsics for size S."""
    volume: Tensor
    """(1, C, D, H, W) volume features; axes z, y, x as `grid_sample` wants them."""

    @property
    def positions(self) -> Tensor:
        """(V, 3) camera positions."""
        return -(self.w2c[:, :3, :3].transpose(1, 2) @ self.w2c[:, :3, 3:])[..., 0]


@dataclass
class HullScene(SurfaceScene):
    """What the built-in network knows: the volume is cut to the voxels around the hull."""

    low: Tensor
    """(3,) centre of the volume's first voxel."""
    high: Tensor
    """(3,) centre of its last voxel."""
    hull: SilhouetteField
    """Silhouettes of the pictures."""


Scene = TypeVar("Scene", bound=SurfaceScene)


class SurfaceModel(nn.Module, Generic[Scene]):
    """From posed pictures to a signed distance field with colours: what both networks offer."""

    config: SurfaceConfig
    log_variance: nn.Parameter
    """NeuS's s = exp(10 v), Eq. 3."""
    released = False
    """Whether the weights are published ones and are used as their publisher's code does, rather than trained here."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.log_variance.device

    @property
    def inverse_deviation(self) -> Tensor:
        """NeuS's s, the sharpness of the surface in rendering."""
        return torch.exp(self.log_variance * 10).clamp(1e-6, 1e6)

    def encode(
        self,
        views: npt.NDArray,
        c2ws: npt.NDArray,
        k: npt.NDArray,
        *,
        sources: npt.NDArray[np.int64] | None = None,
        cancel: CancelToken | None = None,
    ) -> Scene:
        """Read views (V, H, W, 4) in 0..1 (RGB over white, alpha the mask), cameras (V, 4, 4) and intrinsics (3, 3).

        `sources` are the views that features and colours are taken from (default: all). Raises `InputError` for
        shapes that do not fit together or fewer than two views, and `Cancelled`.
        """
        raise NotImplementedError

    def sdf(self, scene: Scene, points: Tensor) -> Tensor:
        """Signed distance (N,) in world units at world points (N, 3), negative inside."""
        raise NotImplementedError

    def colors(self, scene: Scene, points: Tensor, directions: Tensor) -> Tensor:
        """Colours (N, 3) in 0..1 at world points (N, 3) seen along unit `directions` (N, 3) (camera to point)."""
        raise NotImplementedError

    def box(self, scene: Scene) -> tuple[float, Callable[[Tensor], Tensor]]:
        """The cube that the surface is looked for in: its half side in world units, and what turns and moves points
        (N, 3) of a cube of that size around the origin into the world."""
        return self.config.extent, lambda points: points

    def _resized(
        self, views: npt.NDArray, c2ws: npt.NDArray, k: npt.NDArray, *, whiten: bool = False
    ) -> tuple[Tensor, npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Checked pictures (V, 4, S, S), cameras and intrinsics for the network's image size S.

        `whiten` makes white what is drawn outside the masks: a diffusion model's white is only nearly so.
        """
        views, c2ws, k = np.asarray(views, np.float32), np.asarray(c2ws, np.float32), np.asarray(k, np.float32)
        if views.ndim != 4 or views.shape[-1] != 4 or len(views) < 2 or c2ws.shape != (len(views), 4, 4):
            raise InputError(
                "The reconstruction needs at least two RGBA views with one camera each; "
                f"it got views {views.shape} and cameras {c2ws.shape}."
            )
        if whiten:
            views = views.copy()
            views[..., :3][views[..., 3] <= 0] = 1
        size = self.config.image_size
        pictures = torch.from_numpy(np.ascontiguousarray(views)).permute(0, 3, 1, 2).to(self.device)
        k = k.copy()
        if views.shape[1:3] != (size, size):
            k[0], k[1] = k[0] * size / views.shape[2], k[1] * size / views.shape[1]
            pictures = F.interpolate(pictures, (size, size), mode="bilinear", antialias=True).clamp(0, 1)
        return pictures, c2ws, k


class SurfaceNetwork(SurfaceModel[HullScene]):
    """The built-in network: corrects the visual hull. Silhouettes come from all views, whatever the `sources`."""

    def __init__(self, config: SurfaceConfig) -> None:
        super().__init__()
        self.config = config
        ranks = len(HULL_RANKS)
        self.pyramid = FeaturePyramid(4, config.pyramid_channels)
        self.compress = Conv(sum(config.pyramid_channels), config.feature_channels, 3)
        self.unet = VolumeUNet(2 * config.feature_channels + ranks, config)
        self.sdf_network = SDFNetwork(config, config.unet_channels[0] + ranks)
        self.blend = BlendNetwork(config.feature_channels, config.unet_channels[0])
        self.log_variance = nn.Parameter(torch.tensor(0.3))

    def encode(
        self,
        views: npt.NDArray,
        c2ws: npt.NDArray,
        k: npt.NDArray,
        *,
        sources: npt.NDArray[np.int64] | None = None,
        cancel: CancelToken | None = None,
    ) -> HullScene:
        """See `SurfaceModel`."""
        pictures, c2ws, k = self._resized(views, c2ws, k, whiten=True)
        masks = pictures[:, 3].cpu().numpy()
        hull = SilhouetteField.build(masks, c2ws, k, self.device)
        if sources is not None:
            pictures, c2ws = pictures[torch.from_numpy(sources).to(self.device)], c2ws[sources]
        with mixed_precision(self.device):
            parts = []
            for chunk in pictures.split(8 if cancel else len(pictures)):
                if cancel:
                    cancel.check()
                parts.append(self.compress(self.pyramid(chunk)))
        features = torch.cat(parts).float()
        w2c = torch.from_numpy(world_to_camera(c2ws)).to(self.device)
        intrinsics = torch.from_numpy(k).to(self.device)
        volume, low, high = self._volume(features, w2c, intrinsics, hull, cancel)
        return HullScene(pictures, features, w2c, intrinsics, volume, low, high, hull)

    def _volume(
        self, features: Tensor, w2c: Tensor, k: Tensor, hull: SilhouetteField, cancel: CancelToken | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Regularised volume (1, C, D, H, W), cut to the voxels that take part, and its first and last centre."""
        config = self.config
        n = config.volume_resolution
        with torch.no_grad():
            axis = torch.linspace(-config.extent, config.extent, n, device=self.device)
            z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
            centres = torch.stack([x, y, z], -1).reshape(-1, 3)
            # Blocks of two voxels a side first: most of the cube is far outside.
            rank = min(HULL_RANKS[2], len(hull.w2c) - 1)
            pair = torch.arange(n, device=self.device) // 2
            block = (pair[:, None, None] * (n // 2 + 1) + pair[:, None]) * (n // 2 + 1) + pair
            even = torch.arange(0, n, 2, device=self.device)
            corner = centres.view(n, n, n, 3)[even][:, even][:, :, even].reshape(-1, 3) + config.voxel / 2
            reach = HULL_BAND + config.voxel * 3**0.5 / 2
            close = torch.zeros((n // 2 + 1) ** 3, dtype=torch.bool, device=self.device)
            close[block[even][:, even][:, :, even].reshape(-1)] = torch.cat(
                [hull.largest(chunk, rank + 1)[:, rank] < reach for chunk in corner.split(32768)]
            )
            seeds = torch.arange(len(centres), device=self.device)[close[block.reshape(-1)]]
            taking_part, ranked = [], []
            for chunk in centres[seeds].split(32768):
                if cancel:
                    cancel.check()
                largest = hull.largest(chunk, max(HULL_RANKS) + 1)
                taking_part.append(largest[:, rank] < HULL_BAND)
                ranked.append(_ranked(largest))
            mask = torch.zeros(len(centres), dtype=torch.bool, device=self.device)
            mask[seeds] = torch.cat(taking_part)
            box = _bounds(mask.view(n, n, n))
            mask_box = mask.view(n, n, n)[box]
            points = centres[mask]
        mean, variance = self._cost(features, points, w2c, k, cancel)
        inputs = torch.cat([mean, variance, torch.cat(ranked)[torch.cat(taking_part)]], -1)
        dense = inputs.new_zeros((*mask_box.shape, inputs.shape[-1]))
        # Boolean indexing walks the box in the order in which it walks the cube.
        dense[mask_box] = inputs
        if cancel:
            cancel.check()
        with mixed_precision(self.device):
            volume = self.unet(dense.permute(3, 0, 1, 2)[None], mask_box[None, None].to(dense.dtype))
        low = torch.stack([axis[s.start] for s in reversed(box)])
        high = torch.stack([axis[s.stop - 1] for s in reversed(box)])
        return volume.float(), low, high

    def _cost(
        self, features: Tensor, points: Tensor, w2c: Tensor, k: Tensor, cancel: CancelToken | None
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance (M, C) over the views that see each voxel centre (M, 3) (SparseNeuS, Eq. 1)."""
        size = self.config.image_size
        means, variances = [], []
        for chunk in points.split(16384 if cancel else max(len(points), 1)):
            if cancel:
                cancel.check()
            pixels, depth = project_points(chunk, w2c, k)
            seen = ((pixels >= 0).all(-1) & (pixels < size).all(-1) & (depth > 0)).to(features.dtype)
            weight = (seen / seen.sum(0).clamp(min=1))[..., None]
            values = sample_pictures(features, pixels, "zeros")
            mean = (values * weight).sum(0)
            means.append(mean)
            variances.append((weight * (values - mean) ** 2).sum(0))
        return torch.cat(means), torch.cat(variances)

    def latent(self, scene: HullScene, points: Tensor) -> Tensor:
        """Volume features (N, C) at world points (N, 3), zero outside the volume."""
        grid = (points - scene.low) / (scene.high - scene.low) * 2 - 1
        grid = grid.clamp(-3, 3)[None, :, None, None]
        return F.grid_sample(scene.volume, grid, align_corners=True)[0, :, :, 0, 0].T

    def sdf(self, scene: HullScene, points: Tensor) -> Tensor:
        """See `SurfaceModel`."""
        latent = self.latent(scene, points)
        largest = scene.hull.largest(points, max(HULL_RANKS) + 1)
        ranked = _ranked(largest)
        correction = self.sdf_network(points, torch.cat([latent, ranked], -1))[0]
        # Where no voxel took part there is nothing to correct with; fading keeps the field continuous.
        base = largest[:, 0]
        near = ((HULL_BAND - ranked[:, 2] / HULL_SCALE) / (0.5 * HULL_BAND)).clamp(0, 1)
        return base + CORRECTION_SCALE * correction * near

    def colors(
        self, scene: HullScene, points: Tensor, directions: Tensor, *, visibility: Tensor | None = None
    ) -> Tensor:
        """See `SurfaceModel`.

        `visibility` (V, N) in 0..1 says how far each view sees each point (default: all do).
        """
        to_point = points[None] - scene.positions[:, None]
        to_point = F.normalize(to_point, dim=-1)
        cosine = (to_point * directions[None]).sum(-1)
        pixels, depth = project_points(points, scene.w2c, scene.k)
        size = self.config.image_size
        seen = (pixels >= 0).all(-1) & (pixels < size).all(-1) & (depth > 0)
        prior = 8 * (cosine - 1) + torch.where(seen, 0.0, -60.0)
        if visibility is not None:
            prior = prior + visibility.clamp(min=1e-6).log()
        if len(prior) > BLEND_VIEWS:
            prior, chosen = prior.topk(BLEND_VIEWS, 0)
            rows = torch.arange(len(points), device=points.device)
            values = self._gather(scene, pixels[chosen, rows], chosen)
            to_point, cosine = to_point[chosen, rows], cosine[chosen, rows]
        else:
            values = sample_pictures(torch.cat([scene.pictures, scene.features], 1), pixels)
        # A pixel off the object has the background's colour.
        prior = prior + values[..., 3].clamp(min=1e-4).log()
        difference = torch.cat([to_point - directions, cosine[..., None]], -1)
        return self.blend(
            values[..., :3].transpose(0, 1),
            values[..., 4:].transpose(0, 1),
            self.latent(scene, points),
            difference.transpose(0, 1),
            prior.T,
        )

    @staticmethod
    def _gather(scene: HullScene, pixels: Tensor, views: Tensor) -> Tensor:
        """(B, N, 4 + C) picture and feature values at pixels (B, N, 2) of views (B, N), bilinear."""
        stack = torch.cat([scene.pictures, scene.features], 1)
        height, width = stack.shape[-2:]
        flat = stack.permute(0, 2, 3, 1).reshape(-1, stack.shape[1])
        x = (pixels[..., 0] - 0.5).clamp(0, width - 1.001)
        y = (pixels[..., 1] - 0.5).clamp(0, height - 1.001)
        x0, y0 = x.floor().long(), y.floor().long()
        fx, fy = (x - x0)[..., None], (y - y0)[..., None]
        first = (views * height + y0) * width + x0
        top = flat[first] * (1 - fx) + flat[first + 1] * fx
        bottom = flat[first + width] * (1 - fx) + flat[first + width + 1] * fx
        return top * (1 - fy) + bottom * fy


def _ranked(largest: Tensor) -> Tensor:
    """Network inputs (N, ranks) from falling silhouette distances (N, count)."""
    columns = [min(r, largest.shape[1] - 1) for r in HULL_RANKS]
    return largest[:, columns].clamp(-HULL_CLAMP, HULL_CLAMP) * HULL_SCALE


def _bounds(mask: Tensor) -> tuple[slice, slice, slice]:
    """Box around the voxels that take part, sides and corners at multiples of 8 voxels."""
    slices: list[slice] = []
    for axis in range(3):
        first_other, second_other = (a for a in range(3) if a != axis)
        used = torch.nonzero(mask.any(second_other).any(first_other))
        side = mask.shape[axis]
        if not len(used):
            slices.append(slice(0, side))
            continue
        first, last = int(used[0]), int(used[-1])
        slices.append(slice(first // 8 * 8, min(-(-(last + 1) // 8) * 8, side)))
    return slices[0], slices[1], slices[2]
