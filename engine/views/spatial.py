"""The built-in generator's network with a space of its own: tokens of the picture and of space attend to each other.

A `FieldNetwork` reads the picture at half of the size and gives features, a frustum volume and the elevation. Space
about the object is cut into tokens in the gravity-aligned frame, *pillars* over the ground or *blocks*; each begins
with what the frustum volume and the picture's features, projected into space as in PIFu (Saito et al., 2019) and
One-2-3-45++ (Liu et al., 2023, section 3.3), say at its places. A transformer lets them and the picture's tokens
attend to each other; what comes out is a feature volume in which walls run straight because one token holds them
whole. A point's answer is the field's own, corrected by a small decoder of the volume and of finer picture features.

Tokens that the silhouette rules out are dropped before the transformer: most of space lies outside of its cone.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.cameras import VOLUME_EXTENT
from engine.views.network import (
    FieldCode,
    FieldConfig,
    FieldNetwork,
    enlarge,
    sample_map,
    sample_volume,
    to_frustum,
)

_PATCH = 8  # pixels along the side of a picture token
_FINE = 48  # channels of the features at half of the resolution
_SEEN = 8  # of them that are projected into space


@dataclass(frozen=True)
class SpatialConfig:
    """Sizes of the network."""

    field: FieldConfig = field(default_factory=lambda: FieldConfig(input_size=64, fine_layers=6))
    """Sizes of the network that reads the picture at half of the size."""
    tokens: str = "pillars"
    """How space is cut: `pillars` over the ground, or cubic `blocks`."""
    cells: int = 32
    """Cells along a side of the feature volume."""
    width: int = 256
    """Channels of a token, a multiple of 64."""
    layers: int = 4
    """Layers of the transformer."""
    picture_tokens: int = 112
    """Picture tokens that take part, those with most of the object."""
    space_tokens: int = 160
    """Space tokens that take part, those with most of the silhouette's cone."""
    channels: int = 12
    """Channels of the feature volume; the first is an occupancy logit."""
    hidden: int = 96
    """Width of the point decoder."""

    @property
    def input_size(self) -> int:
        """Side of the picture it reads, in pixels."""
        return 2 * self.field.input_size

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a weight's card."""
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> SpatialConfig:
        """The sizes that `to_json` gave."""
        return SpatialConfig(**values | {"field": FieldConfig(**values["field"])})


@dataclass
class SpatialCode(FieldCode):
    """What the network knows of B pictures, at the elevation that it was last asked at; `picture` is half the size."""

    sharp: Tensor
    """(B, 3, S, S) the pictures' colours at the full size."""
    fine: Tensor
    """(B, _FINE, S/2, S/2) picture features at half of the resolution."""
    tokens: Tensor
    """(B, P, width) tokens of the picture and one of the whole."""
    mask: Tensor
    """(B, 1, S/2, S/2) the object's share of each pixel, a little grown."""
    space: Tensor | None = None
    """(B, channels, cells, cells, cells) the feature volume, axes z, y, x of the world."""
    placed_at: Tensor | None = None
    """(B,) the elevation in degrees that `space` is for."""


class _Layer(nn.Module):
    """A transformer layer that starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // 64
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.enter, self.leave = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        for last in (self.out, self.leave):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, 64)).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.leave(F.gelu(self.enter(self.norm2(x)), approximate="tanh"))


class _Conv(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm = nn.GroupNorm(8, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.norm(self.conv(x)), inplace=True)


class SpatialNetwork(nn.Module):
    """Occupancy and colour of any point around the object in a picture. Stands in for a `FieldNetwork`."""

    places: Tensor
    octaves: Tensor

    def __init__(self, config: SpatialConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or SpatialConfig()
        self.field = FieldNetwork(c.field)
        of_field = self.field.from_features.in_channels
        self.fine = nn.ModuleList([_Conv(16, 32), _Conv(32 + of_field, _FINE), _Conv(_FINE, _FINE)])
        side = c.input_size // _PATCH
        patch = _PATCH // 2
        self.picture_token = nn.Linear(_FINE * patch * patch + 4 * c.field.width, c.width)
        self.whole_token = nn.Linear(8 * c.field.width + 4, c.width)
        self.picture_position = nn.Parameter(torch.randn(1, side * side, c.width) * 0.02)
        self.to_seen = nn.Conv2d(_FINE, _SEEN, 1)
        if c.tokens == "pillars":
            self.grid, self.patch = (1, c.cells // 2, c.cells // 2), (c.cells, 2, 2)
        else:
            self.grid, self.patch = (c.cells // 4,) * 3, (4, 4, 4)
        count, cells = math.prod(self.grid), math.prod(self.patch)
        self.space_token = nn.Linear(cells * (c.field.volume_channels + _SEEN + 1), c.width)
        self.space_position = nn.Parameter(torch.randn(1, count, c.width) * 0.02)
        self.layers = nn.ModuleList(_Layer(c.width) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.width)
        self.to_cells = nn.Linear(c.width, cells * c.channels)
        self.smooth = nn.Conv3d(c.channels, c.channels, 3, padding=1)
        for parameter in self.smooth.parameters():
            nn.init.zeros_(parameter)
        h = c.hidden
        self.from_volume = nn.Linear(c.channels + c.field.volume_channels + 1 + 3 * 9, h)
        self.from_fine = nn.Conv2d(_FINE, h, 1)
        self.trunk = nn.ModuleList(nn.Linear(h, h) for _ in range(2))
        self.to_answer = nn.Linear(h, 5)
        nn.init.zeros_(self.to_answer.weight)
        nn.init.zeros_(self.to_answer.bias)
        axis = (torch.arange(c.cells) + 0.5) / c.cells * 2 * VOLUME_EXTENT - VOLUME_EXTENT
        z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
        self.register_buffer("places", torch.stack([x, y, z], -1).view(1, -1, 3), persistent=False)
        self.register_buffer("octaves", 2.0 ** torch.arange(4) * math.pi / VOLUME_EXTENT / 2, persistent=False)

    # -- the picture -------------------------------------------------------------------------------------

    def encode(self, picture: Tensor, votes: Tensor | None = None) -> SpatialCode:
        """Read pictures (B, 4, S, S), RGB over white and alpha, 0..1, S the configured size.

        `votes` are those of `edge_votes` of the pictures at half of the size, where they are known already.
        """
        half = F.avg_pool2d(picture, 2)
        code = self.field.encode(half, votes)
        x = F.pixel_unshuffle(picture * 2 - 1, 2).contiguous(memory_format=torch.channels_last)
        x = self.fine[0](x)
        x = torch.cat([x, enlarge(code.map, x.shape[-1])], 1)
        x = self.fine[1](x)
        x = x + self.fine[2](x)
        side = self.config.input_size // _PATCH
        patch = _PATCH // 2
        patches = F.pixel_unshuffle(x, patch)
        patches = torch.cat([patches, enlarge(code.coarse, side)], 1).flatten(2).transpose(1, 2)
        tokens = self.picture_token(patches) + self.picture_position
        share = F.avg_pool2d(picture[:, 3:], _PATCH).flatten(1)
        tokens = _take(tokens, share.topk(min(self.config.picture_tokens, share.shape[1]), 1).indices)
        mask = F.max_pool2d(half[:, 3:], 3, 1, 1)
        return SpatialCode(**vars(code), sharp=picture[:, :3], fine=x, tokens=tokens, mask=mask)

    # -- space -------------------------------------------------------------------------------------------

    def place(self, code: SpatialCode, elevation: Tensor) -> Tensor:
        """The feature volume (B, channels, cells, cells, cells) with the cameras at `elevation` (B,) degrees."""
        if code.space is not None and code.placed_at is not None and torch.equal(code.placed_at, elevation):
            return code.space
        c, n = self.config, len(elevation)
        where = to_frustum(self.places.expand(n, -1, -1), elevation.float())
        frustum = F.grid_sample(code.volume.float(), where[:, :, None, None], align_corners=False)[..., 0, 0]
        seen = sample_map(torch.cat([self.to_seen(code.fine).float(), code.mask], 1), where)
        within = (where[..., :2].abs().amax(-1, keepdim=True) < 1).to(seen.dtype)
        cells = torch.cat([frustum.transpose(1, 2), seen * within], -1)
        cells = cells.view(n, c.cells, c.cells, c.cells, -1)
        grid, patch = self.grid, self.patch
        cells = cells.view(n, grid[0], patch[0], grid[1], patch[1], grid[2], patch[2], -1)
        cells = cells.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(n, math.prod(grid), -1)
        share = cells.detach().view(n, cells.shape[1], math.prod(patch), -1)[..., -1].sum(-1)
        chosen = share.topk(min(c.space_tokens, share.shape[1]), 1).indices
        dtype = self.space_token.weight.dtype
        space = self.space_token(_take(cells, chosen).to(dtype)) + _take(self.space_position.expand(n, -1, -1), chosen)
        radians = torch.deg2rad(elevation.float())
        angles = torch.stack([radians.sin(), radians.cos(), (2 * radians).sin(), (2 * radians).cos()], -1)
        whole = self.whole_token(torch.cat([code.code.float(), angles], -1).to(dtype))[:, None]
        x = torch.cat([whole, code.tokens, space], 1)
        for layer in self.layers:
            x = layer(x)
        out = self.to_cells(self.norm(x[:, -chosen.shape[1] :])).float()
        full = out.new_zeros(n, math.prod(grid), out.shape[-1])
        full = full.scatter(1, chosen[..., None].expand(-1, -1, out.shape[-1]), out)
        full = full.view(n, *grid, c.channels, *patch).permute(0, 4, 1, 5, 2, 6, 3, 7)
        volume = full.reshape(n, c.channels, c.cells, c.cells, c.cells)
        volume = volume + self.smooth(F.silu(volume))
        code.space, code.placed_at = volume, elevation
        return volume

    def decode(
        self, code: SpatialCode, points: Tensor, elevation: Tensor, *, color: bool = True, volume: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """See `FieldNetwork.decode`."""
        logit, own, rgb, _ = self.decode_parts(code, points, elevation, color=color, volume=volume)
        return logit, own, rgb

    def decode_parts(
        self, code: SpatialCode, points: Tensor, elevation: Tensor, *, color: bool = True, volume: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """As `decode`, and what the feature volume alone says of the occupancy: a logit (B, N)."""
        space = self.place(code, elevation)
        where = to_frustum(points.float(), elevation.float())
        if volume is None:
            volume = sample_volume(code.volume, where)
        before, own, rgb = self.field.decode(code, points, elevation, color=color, volume=volume)
        cell = sample_volume(space, points.float() / VOLUME_EXTENT)
        waves = (points.float()[..., None] * self.octaves).flatten(-2)
        known = torch.cat([cell, volume, before[..., None], points.float(), waves.sin(), waves.cos()], -1)
        x = self.from_volume(known.to(self.from_volume.weight.dtype))
        x = F.silu(x + sample_map(self.from_fine(code.fine), where).to(x.dtype))
        for layer in self.trunk:
            x = x + F.silu(layer(x))
        out = self.to_answer(x).float()
        logit = before + out[..., 0]
        if rgb is not None:
            pixel = sample_map(code.sharp, where)
            share = torch.sigmoid(out[..., 4:] - 4)
            rgb = (rgb + 0.25 * out[..., 1:4]) * (1 - share) + pixel * share
        return logit, own, rgb, cell[..., 0]

    def look_up(self, code: SpatialCode, points: Tensor, elevation: Tensor) -> tuple[Tensor, Tensor]:
        """See `FieldNetwork.look_up`."""
        return self.field.look_up(code, points, elevation)


def _take(tokens: Tensor, chosen: Tensor) -> Tensor:
    """(B, K, C) of tokens (B, N, C) at indices (B, K)."""
    return tokens.gather(1, chosen[..., None].expand(-1, -1, tokens.shape[-1]))
