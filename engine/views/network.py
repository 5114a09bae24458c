"""The built-in generator's network: a pixel-aligned implicit function with a frustum volume.

An encoder reads the framed picture once. It gives a feature map, a *frustum volume* (channels of the map
are depth bins along each pixel's ray, so that two-dimensional convolutions reason about depth), a global
code and the camera's elevation, for which straight edges vote too. A small decoder then answers, for any point in
space, occupancy and colour.
Pixel-aligned features follow PIFu (Saito et al., 2019); occupancy as a decision boundary follows Occupancy
Networks (Mescheder et al., 2019). The frustum volume gets every ray's silhouette right at little cost.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.cameras import INPUT_RADIUS, REFERENCE_TANGENT, VOLUME_EXTENT
from engine.views.manhattan import CANDIDATES, edge_votes

MODEL = "oriel-built-in-views"
"""Kind of model on the card of its weights."""


@dataclass(frozen=True)
class FieldConfig:
    """Sizes of the network."""

    input_size: int = 128
    """Side of the picture it reads, in pixels; a multiple of 16."""
    width: int = 32
    """Channels at half resolution; doubled at each halving, up to eight times."""
    blocks: int = 1
    """Residual blocks at each resolution."""
    layers: int = 4
    """Transformer layers at a sixteenth of the resolution."""
    fine_layers: int = 0
    """Transformer layers at an eighth of the resolution, where most of a large network's weights are."""
    fine_width: int = 384
    """Channels of those, a multiple of 64."""
    bins: int = 64
    """Depth bins of the frustum volume."""
    volume_channels: int = 3
    """Channels of the frustum volume; the first is an occupancy logit."""
    hidden: int = 128
    """Width of the point decoder."""
    frequencies: int = 5
    """Octaves of the positional encoding."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a weight's card."""
        return asdict(self)


_Layer = TypeVar("_Layer", bound=nn.Module)


def zeroed(layer: _Layer) -> _Layer:
    """The layer with weights and bias of 0: what it adds to is unchanged at first."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.norm1(self.conv1(x)))
        return F.silu(x + self.norm2(self.conv2(y)))


class _Attention(nn.Module):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        # Each layer starts as the identity: the stream keeps the scale of the features that enter it.
        self.qkv, self.out = nn.Linear(channels, 3 * channels), zeroed(nn.Linear(channels, channels))
        last = zeroed(nn.Linear(4 * channels, channels))
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), last)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        # so few tokens that a fused kernel costs more than it saves
        share = (q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5).softmax(-1)
        x = x + self.out((share.to(v.dtype) @ v).transpose(1, 2).reshape(b, n, c))
        return x + self.mlp(self.norm2(x))


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.SiLU(inplace=True)
    )


class _Fine(nn.Module):
    """A wide transformer on a map (B, C, s, s) and a code (B, G); both come back corrected, at first unchanged."""

    def __init__(self, channels: int, code: int, config: FieldConfig) -> None:
        super().__init__()
        width, side = config.fine_width, config.input_size // 8
        self.enter, self.enter_code = nn.Linear(channels, width), nn.Linear(code, width)
        self.position = nn.Parameter(torch.randn(1, side * side + 1, width) * 0.02)
        self.attention = nn.Sequential(*(_Attention(width, width // 64) for _ in range(config.fine_layers)))
        self.norm = nn.LayerNorm(width)
        self.leave, self.leave_code = zeroed(nn.Linear(width, channels)), zeroed(nn.Linear(width, code))

    def forward(self, x: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        side = x.shape[-1]
        tokens = torch.cat([self.enter_code(code)[:, None], self.enter(x.flatten(2).transpose(1, 2))], 1)
        tokens = self.norm(self.attention(tokens + stretch_positions(self.position, side)))
        correction = self.leave(tokens[:, 1:]).transpose(1, 2).unflatten(2, (side, side))
        return x + correction.to(x.dtype), code + self.leave_code(tokens[:, 0]).to(code.dtype)


@dataclass
class FieldCode:
    """What the encoder knows of B pictures."""

    picture: Tensor
    """(B, 4, S, S) the pictures, RGB over white and alpha, 0..1."""
    features: Tensor
    """(B, C, S/2, S/2) pixel-aligned features."""
    volume: Tensor
    """(B, V, D, S/2, S/2) frustum volume; channel 0 is an occupancy logit."""
    code: Tensor
    """(B, G) global code."""
    elevation_logits: Tensor
    """(B, CANDIDATES) how likely each candidate elevation of the camera is."""
    map: Tensor
    """(B, M, S/2, S/2) the features before they are made ready for the decoder."""
    coarse: Tensor
    """(B, 4 W, S/8, S/8) features at an eighth of the resolution, where the widest transformer works."""
    lens: Tensor
    """(B,) focal lengths of the cameras, the reference's being 1; as long as nobody knows better, 1."""

    @property
    def elevation(self) -> Tensor:
        """(B,) camera elevation in degrees, as the network sees it."""
        return elevation_of(self.elevation_logits)


def elevation_of(logits: Tensor) -> Tensor:
    """Elevations in degrees (B,) of logits (B, CANDIDATES): the mean about the likeliest candidate, not of rivals."""
    candidates = CANDIDATES.to(logits.device)
    index = torch.arange(len(candidates), device=logits.device)
    near = (index - logits.argmax(1, keepdim=True)).abs() <= 2
    return (logits.masked_fill(~near, -torch.inf).softmax(1) * candidates).sum(1)


class FieldNetwork(nn.Module):
    """Occupancy and colour of any point around the object in a picture."""

    octaves: Tensor

    def __init__(self, config: FieldConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or FieldConfig()
        w = [c.width, c.width * 2, c.width * 4, c.width * 8]

        def blocks(channels: int, count: int = c.blocks) -> nn.Sequential:
            return nn.Sequential(*(_Residual(channels) for _ in range(count)))

        self.down = nn.ModuleList(
            nn.Sequential(_conv(i, o, 2), blocks(o)) for i, o in zip([6, *w[:-1]], w, strict=True)
        )
        tokens = (c.input_size // 16) ** 2
        self.position = nn.Parameter(torch.randn(1, tokens + 1, w[3]) * 0.02)
        self.attention = nn.Sequential(*(_Attention(w[3], max(1, w[3] // 64)) for _ in range(c.layers)))
        self.norm = nn.LayerNorm(w[3])
        self.fine = _Fine(w[2], w[3], c) if c.fine_layers else None
        up = [w[2], w[1] + c.width, c.width + c.width // 2]  # at an eighth, a quarter, half of the resolution
        self.up = nn.ModuleList(
            nn.Sequential(_conv(i + s, o), blocks(o, n))
            for i, s, o, n in zip(
                [w[3], up[0], up[1]], [w[2], w[1], w[0]], up, [c.blocks, c.blocks, c.blocks - 1], strict=True
            )
        )
        self.to_volume = nn.Conv2d(up[2], c.bins * c.volume_channels, 1)
        bins = len(CANDIDATES)
        self.to_elevation = nn.Sequential(nn.Linear(2 * w[3] + w[2] + 2 * bins, 192), nn.SiLU(), nn.Linear(192, bins))
        self.trust_votes = nn.Parameter(torch.tensor([5.0, 20.0]))
        self.point_width = 3 * (2 * c.frequencies + 1) + 3 + 4 + c.volume_channels
        h = c.hidden
        self.from_features = nn.Conv2d(up[2], h, 1)  # before sampling: cheaper than after
        # What the narrow fine map has no room for comes straight from the wide coarse ones.
        self.from_coarse = nn.ModuleList(nn.Conv2d(i, h + c.bins * c.volume_channels, 1) for i in (w[3], up[0]))
        for parameter in self.from_coarse.parameters():
            nn.init.zeros_(parameter)
        self.from_point = nn.Linear(self.point_width, h)
        self.from_code = nn.Linear(w[3] + 2, h)
        self.trunk = nn.ModuleList(nn.Linear(h, h) for _ in range(3))
        self.to_logit = nn.Linear(h, 1)
        self.to_color = nn.Linear(h, 4)
        nn.init.zeros_(self.to_logit.weight)
        nn.init.constant_(self.to_logit.bias, 0.0)
        self.register_buffer(
            "octaves", 2.0 ** torch.arange(c.frequencies) * math.pi / (2 * VOLUME_EXTENT), persistent=False
        )

    def encode(self, picture: Tensor, votes: Tensor | None = None) -> FieldCode:
        """Read pictures (B, 4, S, S), RGB over white and alpha, 0..1, S a multiple of 16 (best the configured size).

        `votes` are those of `edge_votes`, where they are known already.
        """
        b, _, s, _ = picture.shape
        if s % 16:
            raise ValueError(f"the network reads pictures whose side is a multiple of 16, got {s}")
        steps = torch.linspace(-1, 1, s, device=picture.device)
        grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij"))[None]
        x = torch.cat([picture * 2 - 1, grid.expand(b, -1, -1, -1)], 1)
        x = x.contiguous(memory_format=torch.channels_last)
        skips = []
        for stage in self.down:
            x = stage(x)
            skips.append(x)
        n, c, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1) + stretch_positions(self.position, h)
        tokens = self.norm(self.attention(tokens))
        code = tokens[:, 0]
        x = tokens[:, 1:].transpose(1, 2).reshape(n, c, h, w).contiguous(memory_format=torch.channels_last)
        maps = [x]  # from a sixteenth of the resolution to half of it
        for stage, skip in zip(self.up, skips[-2::-1], strict=True):
            x = stage(torch.cat([enlarge(x, 2 * x.shape[-1]), skip], 1))
            if self.fine is not None and len(maps) == 1:
                x, code = self.fine(x, code)
            maps.append(x)
        side = x.shape[-1]
        wide = enlarge(self.from_coarse[0](maps[0]), side // 4) + self.from_coarse[1](maps[1])
        wide = enlarge(wide, side)
        of_points, of_volume = wide.split([self.config.hidden, wide.shape[1] - self.config.hidden], 1)
        volume = (self.to_volume(x) + of_volume).view(n, self.config.volume_channels, self.config.bins, side, side)
        pooled = [code, *(skip.mean((2, 3)) for skip in skips[-2:])]  # straight from the convolutions: learns sooner
        votes = (edge_votes(picture) if votes is None else votes)[:, :2]
        elevation = self.to_elevation(torch.cat([*pooled, 10 * (votes - votes.mean(2, keepdim=True)).flatten(1)], 1))
        elevation = elevation.float() + (votes * self.trust_votes[:, None]).sum(1)
        features, lens = self.from_features(x) + of_points, picture.new_ones(b)
        return FieldCode(picture, features, volume, code, elevation, x, maps[1], lens)

    def decode(
        self, code: FieldCode, points: Tensor, elevation: Tensor, *, color: bool = True, volume: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Ask about world points (B, N, 3) with the cameras at `elevation` (B,) degrees.

        `volume` are the frustum volume's values there (B, N, V), if `look_up` has found them already.
        Returns the occupancy logit (B, N), positive inside; the frustum volume's own share of it (B, N); and
        RGB (B, N, 3) in 0..1, or None without `color`.
        """
        where = to_frustum(points.float(), elevation.float(), code.lens)
        if volume is None:
            volume = sample_volume(code.volume, where)
        features, pixel = sample_map(code.features, where), sample_map(code.picture, where)
        waves = (points.float()[..., None] * self.octaves).flatten(-2)
        point = torch.cat([points, waves.sin(), waves.cos(), where, pixel, volume], -1)
        radians = torch.deg2rad(elevation)[:, None]
        context = torch.cat([code.code.float(), radians.sin(), radians.cos()], -1)
        dtype = self.from_point.weight.dtype
        x = self.from_point(point.to(dtype))
        x = F.silu(x + features.to(x.dtype) + self.from_code(context.to(dtype))[:, None])
        for layer in self.trunk:
            x = x + F.silu(layer(x))
        own = volume[..., 0]
        logit = own + self.to_logit(x).float()[..., 0]
        if not color:
            return logit, own, None
        out = self.to_color(x).float()
        share = torch.sigmoid(out[..., 3:])
        rgb = share * pixel[..., :3] + (1 - share) * torch.sigmoid(out[..., :3])
        return logit, own, rgb

    def look_up(self, code: FieldCode, points: Tensor, elevation: Tensor) -> tuple[Tensor, Tensor]:
        """The frustum volume's values (B, N, V) at world points (B, N, 3), the first an occupancy logit; and the
        largest occupancy logit (B, S/2, S/2) along each pixel's ray. For training: one gradient serves both."""
        where = to_frustum(points.float(), elevation.float(), code.lens)
        values, rays = _LookUp.apply(code.volume, where[:, :, None, None])
        return values[..., 0, 0].transpose(1, 2), rays


class _LookUp(torch.autograd.Function):
    """Values at points and the largest first channel along each ray; the volume's gradient is written once."""

    @staticmethod
    def forward(ctx: Any, volume: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
        dense = volume.float()
        rays, index = dense[:, 0].max(1, keepdim=True)
        ctx.save_for_backward(dense, where, index)
        ctx.kind = volume.dtype
        return F.grid_sample(dense, where, padding_mode="border", align_corners=False), rays[:, 0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        dense, where, index = ctx.saved_tensors
        to_values, to_rays = gradients
        bilinear, border = 0, 1
        wanted = (True, False)
        out, _ = torch.ops.aten.grid_sampler_3d_backward(to_values, dense, where, bilinear, border, False, wanted)
        out[:, 0].scatter_add_(1, index, to_rays[:, None])
        return out.to(ctx.kind), None


def enlarge(x: Tensor, side: int) -> Tensor:
    """(B, C, s, s) -> (B, C, side, side), bilinear with edges aligned as in `F.interpolate`.

    Two matrix products along the sides: on a CPU several times faster than `F.interpolate`, there and back.
    """
    b, c, s, _ = x.shape
    steps = _interpolation(s, side, x.device)
    rows = torch.matmul(steps, x.permute(0, 2, 3, 1).reshape(b, s, s * c))
    out = torch.matmul(steps, rows.view(b * side, s, c))
    return out.view(b, side, side, c).permute(0, 3, 1, 2)


@cache
def _interpolation(source: int, target: int, device: torch.device) -> Tensor:
    """(target, source) weights of linear interpolation."""
    with torch.inference_mode(False):  # whoever asks first: what inference made is of no use to training
        unit = torch.eye(source, device=device)[None]
        return F.interpolate(unit, target, mode="linear", align_corners=False)[0].T.contiguous()


def stretch_positions(position: Tensor, side: int) -> Tensor:
    """A position embedding (1, 1 + tokens, C), the global token first, for `side` x `side` tokens."""
    own = math.isqrt(position.shape[1] - 1)
    if own == side:
        return position
    plane = position[:, 1:].transpose(1, 2).unflatten(2, (own, own))
    plane = F.interpolate(plane, (side, side), mode="bilinear", align_corners=False)
    return torch.cat([position[:, :1], plane.flatten(2).transpose(1, 2)], 1)


def sample_volume(volume: Tensor, where: Tensor) -> Tensor:
    """(B, N, V) values of a volume (B, V, D, H, W) at coordinates (B, N, 3) from -1 to 1, the first along W."""
    values = F.grid_sample(volume.float(), where[:, :, None, None], padding_mode="border", align_corners=False)
    return values[..., 0, 0].transpose(1, 2)


def sample_map(plane: Tensor, where: Tensor) -> Tensor:
    """(B, N, C) values of a map (B, C, S, S) at frustum coordinates (B, N, 3), whose depth does not count.

    As `F.grid_sample`, bilinear with the border beyond, but by whole pixels: on a CPU twice as fast, there and back.
    """
    b, c, side, _ = plane.shape
    xy = ((where[..., :2] + 1) * (side / 2) - 0.5).clamp(0, side - 1)
    low = xy.floor().clamp(max=side - 2)
    right, down = (xy - low).unbind(-1)
    column, row = low.long().unbind(-1)
    first = (torch.arange(b, device=plane.device)[:, None] * side + row) * side + column
    corners = torch.stack([first, first + 1, first + side, first + side + 1], -1).view(-1, 4)
    shares = torch.stack([(1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down], -1)
    pixels = plane.permute(0, 2, 3, 1).reshape(-1, c).float()
    out = F.embedding_bag(corners, pixels, per_sample_weights=shares.view(-1, 4), mode="sum")
    return out.view(b, -1, c)


def to_frustum(points: Tensor, elevation: Tensor, lens: Tensor) -> Tensor:
    """World points (B, N, 3) in the frustum of input cameras at `elevation` (B,) degrees with focal lengths `lens`
    (B,), the reference's being 1, as many times further away.

    Picture x (right), picture y (down) and depth about the object, each -1..1 within the picture and the volume.
    """
    camera = to_camera(points, elevation)
    depth = (lens[:, None] - 1) * INPUT_RADIUS - camera[..., 2]
    scale = lens[:, None] / (depth.clamp_min(0.1) * REFERENCE_TANGENT)
    xy = camera[..., :2] * scale[..., None] * camera.new_tensor([1.0, -1.0])
    return torch.cat([xy, ((depth - lens[:, None] * INPUT_RADIUS) / VOLUME_EXTENT)[..., None]], -1)


def to_camera(points: Tensor, elevation: Tensor) -> Tensor:
    """World points (B, N, 3) in the axes of input cameras at `elevation` (B,) degrees, azimuth 0 (OpenGL axes),
    `INPUT_RADIUS` away.

    The same as `cameras.world_to_camera(cameras.camera_to_world(elevation, 0))`, batched and differentiable.
    """
    e = torch.deg2rad(elevation)[:, None]
    x, y, z = points.unbind(-1)
    up = -x * e.sin() + z * e.cos()
    back = x * e.cos() + z * e.sin() - INPUT_RADIUS
    return torch.stack([y, up, back], -1)
