"""The reconstruction network: 2D feature pyramid, cost volume, 3D U-Net, SDF and colour blending.

After SparseNeuS (arXiv 2206.05737, section 3) as One-2-3-45 uses it (arXiv 2306.16928, section 3.3). One code, two
configurations: `PUBLISHED`, the layer layout of the released system, and `BUILT_IN`, smaller, which predicts a
correction of the visual hull instead of a distance from nothing, and so starts from the hull.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.cameras import VOLUME_EXTENT, world_to_camera
from engine.errors import InputError
from engine.progress import CancelToken
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
    """Sizes of a `SurfaceNetwork`."""

    name: str
    """Short name, kept in the weights' card."""
    volume_resolution: int = 96
    """Voxels along a side of the cost volume."""
    extent: float = 1.0
    """Half side of the volume in world units; the outermost voxel centres lie on it."""
    image_size: int = 256
    """Side in pixels that pictures are brought to."""
    pyramid_channels: tuple[int, int, int] = (8, 16, 32)
    """Channels of the feature pyramid at full, half and quarter size."""
    feature_channels: int = 16
    """Channels that the pyramid is compressed to before it enters the volume."""
    unet_channels: tuple[int, int, int, int] = (16, 16, 32, 64)
    """Channels of the 3D U-Net at full, half, quarter and eighth resolution; the first is its output."""
    sdf_width: int = 128
    """Width of the SDF network."""
    sdf_layers: int = 4
    """Linear layers of the SDF network."""
    frequencies: int = 6
    """Frequencies of the positional encoding of points."""
    min_views: int = 2
    """A voxel takes part when at least as many views see it."""
    uses_alpha: bool = False
    """Whether the pyramid sees the mask as a fourth channel."""
    instance_norm: bool = False
    """Normalise each sample by its own statistics instead of in-place ABN's running ones."""
    hull: bool = False
    """Predict a correction of the visual hull; voxels far outside the hull are left out."""
    hull_band: float = 0.1
    """Distance (world units) outside the hull up to which voxels take part."""
    blend_pyramid: bool = True
    """Whether colour blending sees the whole pyramid (else the compressed features)."""
    blend_views: int = 0
    """Views blended at a point, those that see it best; 0: all."""

    @property
    def blend_channels(self) -> int:
        """Image features seen by colour blending."""
        return sum(self.pyramid_channels) if self.blend_pyramid else self.feature_channels

    @property
    def voxel(self) -> float:
        """Side of a voxel in world units."""
        return 2 * self.extent / (self.volume_resolution - 1)


PUBLISHED = SurfaceConfig("published")
BUILT_IN = SurfaceConfig(
    "built-in",
    volume_resolution=64,
    extent=VOLUME_EXTENT,
    image_size=128,
    pyramid_channels=(8, 12, 16),
    feature_channels=8,
    unet_channels=(12, 24, 32, 48),
    sdf_width=64,
    frequencies=4,
    uses_alpha=True,
    instance_norm=True,
    hull=True,
    blend_pyramid=False,
    blend_views=8,
)


class Norm(nn.Module):
    """Normalisation and leaky ReLU (0.01): in-place ABN (batch norm with scale |weight| + eps), or by instance."""

    def __init__(self, channels: int, instance: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.instance = instance
        self.running_mean: Tensor | None
        self.running_var: Tensor | None
        self.register_buffer("running_mean", None if instance else torch.zeros(channels))
        self.register_buffer("running_var", None if instance else torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) to the same shape."""
        if self.instance:
            groups = max(1, x.shape[1] // 4)
            return F.leaky_relu(F.group_norm(x, groups, self.weight.to(x.dtype), self.bias.to(x.dtype)), 0.01)
        scale = self.weight.abs() + 1e-5
        y = F.batch_norm(x, self.running_mean, self.running_var, scale, self.bias, self.training, 0.1, 1e-5)
        return F.leaky_relu(y, 0.01)


class Conv(nn.Module):
    """2D convolution without bias, normalisation, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, instance: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bn = Norm(outputs, instance)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, outputs, H / stride, W / stride)."""
        return self.bn(self.conv(x))


class FeaturePyramid(nn.Module):
    """Feature pyramid of MVSNet's family: three scales, all brought back to full size and stacked."""

    def __init__(self, config: SurfaceConfig) -> None:
        super().__init__()
        fine, middle, coarse = config.pyramid_channels
        i = config.instance_norm
        self.conv0 = nn.Sequential(Conv(4 if config.uses_alpha else 3, fine, 3, 1, i), Conv(fine, fine, 3, 1, i))
        self.conv1 = nn.Sequential(
            Conv(fine, middle, 5, 2, i), Conv(middle, middle, 3, 1, i), Conv(middle, middle, 3, 1, i)
        )
        self.conv2 = nn.Sequential(
            Conv(middle, coarse, 5, 2, i), Conv(coarse, coarse, 3, 1, i), Conv(coarse, coarse, 3, 1, i)
        )
        self.toplayer = nn.Conv2d(coarse, coarse, 1)
        self.lat1 = nn.Conv2d(middle, coarse, 1)
        self.lat0 = nn.Conv2d(fine, coarse, 1)
        self.smooth1 = nn.Conv2d(coarse, middle, 3, padding=1)
        self.smooth0 = nn.Conv2d(coarse, fine, 3, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (V, 3 or 4, S, S) in 0..1, S a multiple of 4, to features (V, all channels, S, S), coarse first."""
        c0 = self.conv0(pictures)
        c1 = self.conv1(c0)
        c2 = self.conv2(c1)
        f2 = self.toplayer(c2)
        f1 = _enlarge(f2, c1) + self.lat1(c1)
        f0 = _enlarge(f1, c0) + self.lat0(c0)
        return torch.cat([_enlarge(f2, c0), _enlarge(self.smooth1(f1), c0), self.smooth0(f0)], 1)


def _enlarge(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)


class Conv3(nn.Module):
    """Masked 3D convolution, normalisation, leaky ReLU: what a sparse convolution does, done densely."""

    def __init__(self, inputs: int, outputs: int, instance: bool, stride: int = 1, transposed: bool = False) -> None:
        super().__init__()
        if transposed:
            self.conv: nn.Module = nn.ConvTranspose3d(inputs, outputs, 3, 2, 1, output_padding=1, bias=False)
        else:
            self.conv = nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn = Norm(outputs, instance)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(1, C, D, H, W) to the size of `mask` (1, 1, D', H', W'), zero outside it."""
        return self.bn(self.conv(x)) * mask


class VolumeUNet(nn.Module):
    """3D U-Net of the cost volume: three strided levels, skips by addition."""

    def __init__(self, inputs: int, config: SurfaceConfig) -> None:
        super().__init__()
        a, b, c, d = config.unet_channels
        i = config.instance_norm
        self.conv0 = Conv3(inputs, a, i)
        self.conv1, self.conv2 = Conv3(a, b, i, stride=2), Conv3(b, b, i)
        self.conv3, self.conv4 = Conv3(b, c, i, stride=2), Conv3(c, c, i)
        self.conv5, self.conv6 = Conv3(c, d, i, stride=2), Conv3(d, d, i)
        self.conv7 = Conv3(d, c, i, transposed=True)
        self.conv9 = Conv3(c, b, i, transposed=True)
        self.conv11 = Conv3(b, a, i, transposed=True)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Volume (1, C, D, H, W), sides multiples of 8, and mask (1, 1, D, H, W) to (1, unet_channels[0], D, H, W)."""
        masks = [mask]
        for _ in range(3):
            # A strided sparse convolution keeps every output that any input reaches.
            masks.append(F.max_pool3d(masks[-1], 3, 2, 1))
        x0 = self.conv0(x, masks[0])
        x2 = self.conv2(self.conv1(x0, masks[1]), masks[1])
        x4 = self.conv4(self.conv3(x2, masks[2]), masks[2])
        x6 = self.conv6(self.conv5(x4, masks[3]), masks[3])
        y = x4 + self.conv7(x6, masks[2])
        y = x2 + self.conv9(y, masks[1])
        return x0 + self.conv11(y, masks[0])


class SDFNetwork(nn.Module):
    """MLP from an encoded point and its volume feature to a signed distance and a geometry feature.

    The volume feature enters every layer but the first and the last. Softplus with beta 100.
    """

    def __init__(self, config: SurfaceConfig, latent: int) -> None:
        super().__init__()
        self.frequencies = config.frequencies
        width, layers = config.sdf_width, config.sdf_layers
        first = 3 + 6 * config.frequencies
        self.lins = nn.ModuleList()
        for i in range(layers):
            inputs = first if i == 0 else width if i == layers - 1 else width + latent
            linear = nn.Linear(inputs, width + 1 if i == layers - 1 else width)
            self._initialise(linear, i, layers, config.hull)
            self.lins.append(nn.utils.parametrizations.weight_norm(linear) if not config.hull else linear)

    @staticmethod
    def _initialise(linear: nn.Linear, index: int, layers: int, hull: bool) -> None:
        """A sphere of radius 0.5 (SAL's geometric initialisation); with a hull below: no correction."""
        with torch.no_grad():
            if hull:
                nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu")
                nn.init.zeros_(linear.bias)
                if index == layers - 1:
                    linear.weight[0].zero_()
                return
            if index == layers - 1:
                nn.init.normal_(linear.weight, np.sqrt(np.pi / linear.in_features), 1e-4)
                nn.init.constant_(linear.bias, -0.5)
                return
            nn.init.normal_(linear.weight, 0.0, np.sqrt(2 / linear.out_features))
            nn.init.zeros_(linear.bias)
            if index == 0:
                linear.weight[:, 3:].zero_()
            else:
                linear.weight[:, linear.out_features :].zero_()

    def forward(self, points: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Points (N, 3) and latent (N, C) to distance (N,) and feature (N, width)."""
        scaled = [points * 2.0**f for f in range(self.frequencies)]
        x = torch.cat([points, *(t for s in scaled for t in (s.sin(), s.cos()))], -1)
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
    """What a network knows of one object after `SurfaceNetwork.encode`."""

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
    low: Tensor
    """(3,) centre of the volume's first voxel."""
    high: Tensor
    """(3,) centre of its last voxel."""
    hull: SilhouetteField
    """Silhouettes of the pictures."""

    @property
    def positions(self) -> Tensor:
        """(V, 3) camera positions."""
        return -(self.w2c[:, :3, :3].transpose(1, 2) @ self.w2c[:, :3, 3:])[..., 0]


class SurfaceNetwork(nn.Module):
    """From posed pictures to a signed distance field with colours."""

    def __init__(self, config: SurfaceConfig) -> None:
        super().__init__()
        self.config = config
        ranks = len(HULL_RANKS) if config.hull else 0
        self.pyramid = FeaturePyramid(config)
        self.compress = Conv(sum(config.pyramid_channels), config.feature_channels, 3, 1, config.instance_norm)
        self.unet = VolumeUNet(2 * config.feature_channels + ranks, config)
        self.sdf_network = SDFNetwork(config, config.unet_channels[0] + ranks)
        self.blend = BlendNetwork(config.blend_channels, config.unet_channels[0])
        self.log_variance = nn.Parameter(torch.tensor(0.3))
        """NeuS's s = exp(10 v), Eq. 3."""

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
    ) -> SurfaceScene:
        """Read views (V, H, W, 4) in 0..1 (RGB over white, alpha the mask), cameras (V, 4, 4) and intrinsics (3, 3).

        `sources` are the views that features and colours are taken from (default: all); silhouettes come from all.
        Raises `InputError` for shapes that do not fit together or fewer than two views.
        """
        views, c2ws, k = np.asarray(views, np.float32), np.asarray(c2ws, np.float32), np.asarray(k, np.float32)
        if views.ndim != 4 or views.shape[-1] != 4 or len(views) < 2 or c2ws.shape != (len(views), 4, 4):
            raise InputError(
                "The reconstruction needs at least two RGBA views with one camera each; "
                f"it got views {views.shape} and cameras {c2ws.shape}."
            )
        size = self.config.image_size
        pictures = torch.from_numpy(np.ascontiguousarray(views)).permute(0, 3, 1, 2).to(self.device)
        k = k.copy()
        if views.shape[1:3] != (size, size):
            k[0], k[1] = k[0] * size / views.shape[2], k[1] * size / views.shape[1]
            pictures = F.interpolate(pictures, (size, size), mode="bilinear", antialias=True).clamp(0, 1)
        masks = pictures[:, 3].cpu().numpy()
        hull = SilhouetteField.build(masks, c2ws, k, self.device)
        if sources is not None:
            pictures, c2ws = pictures[torch.from_numpy(sources).to(self.device)], c2ws[sources]
        with torch.autocast(self.device.type, torch.bfloat16):
            parts = []
            for chunk in pictures.split(8 if cancel else len(pictures)):
                if cancel:
                    cancel.check()
                parts.append(self._features(chunk))
        compressed = torch.cat([c for c, _ in parts]).float()
        blending = torch.cat([b for _, b in parts]).float() if self.config.blend_pyramid else compressed
        w2c = torch.from_numpy(world_to_camera(c2ws)).to(self.device)
        intrinsics = torch.from_numpy(k).to(self.device)
        volume, low, high = self._volume(compressed, w2c, intrinsics, hull, cancel)
        return SurfaceScene(pictures, blending, w2c, intrinsics, volume, low, high, hull)

    def _features(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        pyramid = self.pyramid(pictures if self.config.uses_alpha else pictures[:, :3])
        return self.compress(pyramid), pyramid

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
            seeds = torch.arange(len(centres), device=self.device)
            if config.hull:
                # Blocks of two voxels a side first: most of the cube is far outside.
                rank = min(HULL_RANKS[2], len(hull.w2c) - 1)
                pair = torch.arange(n, device=self.device) // 2
                block = (pair[:, None, None] * (n // 2 + 1) + pair[:, None]) * (n // 2 + 1) + pair
                even = torch.arange(0, n, 2, device=self.device)
                corner = centres.view(n, n, n, 3)[even][:, even][:, :, even].reshape(-1, 3) + config.voxel / 2
                reach = config.hull_band + config.voxel * 3**0.5 / 2
                close = torch.zeros((n // 2 + 1) ** 3, dtype=torch.bool, device=self.device)
                close[block[even][:, even][:, :, even].reshape(-1)] = torch.cat(
                    [hull.largest(chunk, rank + 1)[:, rank] < reach for chunk in corner.split(32768)]
                )
                seeds = seeds[close[block.reshape(-1)]]
            taking_part, ranked = [], []
            size = config.image_size
            for chunk in centres[seeds].split(32768):
                if cancel:
                    cancel.check()
                if config.hull:
                    largest = hull.largest(chunk, max(HULL_RANKS) + 1)
                    taking_part.append(largest[:, rank] < config.hull_band)
                    ranked.append(_ranked(largest))
                else:
                    pixels, depth = project_points(chunk, w2c, k)
                    seen = (pixels >= 0).all(-1) & (pixels < size).all(-1) & (depth > 0)
                    taking_part.append(seen.sum(0) >= config.min_views)
            mask = torch.zeros(len(centres), dtype=torch.bool, device=self.device)
            mask[seeds] = torch.cat(taking_part)
            box = _bounds(mask.view(n, n, n))
            mask_box = mask.view(n, n, n)[box]
            points = centres[mask]
        mean, variance = self._cost(features, points, w2c, k, cancel)
        rows = [mean, variance]
        if config.hull:
            rows.append(torch.cat(ranked)[torch.cat(taking_part)])
        inputs = torch.cat(rows, -1)
        dense = inputs.new_zeros((*mask_box.shape, inputs.shape[-1]))
        # Boolean indexing walks the box in the order in which it walks the cube.
        dense[mask_box] = inputs
        if cancel:
            cancel.check()
        with torch.autocast(self.device.type, torch.bfloat16):
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

    def latent(self, scene: SurfaceScene, points: Tensor) -> Tensor:
        """Volume features (N, C) at world points (N, 3), zero outside the volume."""
        grid = (points - scene.low) / (scene.high - scene.low) * 2 - 1
        grid = grid.clamp(-3, 3)[None, :, None, None]
        return F.grid_sample(scene.volume, grid, align_corners=True)[0, :, :, 0, 0].T

    def sdf(self, scene: SurfaceScene, points: Tensor) -> Tensor:
        """Signed distance (N,) in world units at world points (N, 3), negative inside."""
        latent = self.latent(scene, points)
        if not self.config.hull:
            return self.sdf_network(points, latent)[0]
        largest = scene.hull.largest(points, max(HULL_RANKS) + 1)
        ranked = _ranked(largest)
        correction = self.sdf_network(points, torch.cat([latent, ranked], -1))[0]
        # Where no voxel took part there is nothing to correct with; fading keeps the field continuous.
        base = largest[:, 0]
        near = ((self.config.hull_band - ranked[:, 2] / HULL_SCALE) / (0.5 * self.config.hull_band)).clamp(0, 1)
        return base + CORRECTION_SCALE * correction * near

    def colors(
        self, scene: SurfaceScene, points: Tensor, directions: Tensor, *, visibility: Tensor | None = None
    ) -> Tensor:
        """Colours (N, 3) in 0..1 at world points (N, 3) seen along unit `directions` (N, 3) (camera to point).

        `visibility` (V, N) in 0..1 says how far each view sees each point (default: all do).
        """
        config = self.config
        to_point = points[None] - scene.positions[:, None]
        to_point = F.normalize(to_point, dim=-1)
        cosine = (to_point * directions[None]).sum(-1)
        pixels, depth = project_points(points, scene.w2c, scene.k)
        size = config.image_size
        seen = (pixels >= 0).all(-1) & (pixels < size).all(-1) & (depth > 0)
        prior = 8 * (cosine - 1) + torch.where(seen, 0.0, -60.0)
        if visibility is not None:
            prior = prior + visibility.clamp(min=1e-6).log()
        if config.blend_views and config.blend_views < len(prior):
            prior, chosen = prior.topk(config.blend_views, 0)
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
    def _gather(scene: SurfaceScene, pixels: Tensor, views: Tensor) -> Tensor:
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
