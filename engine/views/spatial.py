"""The built-in generator's network with a space of its own: tokens of the picture and of space attend to each other.

A `FieldNetwork` reads the picture at half of the size and gives features, a frustum volume and the elevation. Space
about the object is cut into tokens, *pillars* over the ground, in the object's own frame: upright, and turned to the
main direction of its walls, which is read off the picture ("Manhattan world", Coughlan and Yuille 1999). So walls lie
along rows of pillars, whichever side they are seen from. Each pillar begins with what the frustum volume and the
picture's features, projected into space as in PIFu (Saito et al., 2019) and One-2-3-45++ (Liu et al., 2023, section
3.3), say at its places. A transformer lets them and the picture's tokens attend to each other; what comes out is a
feature volume and a finer ground plan. A small decoder of these and of finer picture features gives a point's answer
and says how far the field's own is to be trusted.

Tokens that the silhouette rules out are dropped before the transformer: most of space lies outside of its cone.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.cameras import VOLUME_EXTENT
from engine.core.options import Option
from engine.views.features import CHANNELS, PretrainedFeatures
from engine.views.manhattan import CANDIDATES, VOTES, edge_votes
from engine.views.network import (
    FieldCode,
    FieldConfig,
    FieldNetwork,
    enlarge,
    sample_map,
    sample_volume,
    to_frustum,
    zeroed,
)

_PATCH = 8  # pixels along the side of a picture token
_FINE = 48  # channels of the features at half of the resolution
_SEEN = 8  # of them that are projected into space
_PLAN = 8  # channels of the ground plan
_PILLAR = 2  # cells along the side of a pillar
AZIMUTHS = torch.arange(-45 + 1.25, 45, 2.5)
"""Candidates for the main direction in degrees; it repeats after 90."""


@dataclass(frozen=True)
class SpatialConfig:
    """Sizes of the network."""

    field: Annotated[FieldConfig, Option(hidden=True)] = field(
        default_factory=lambda: FieldConfig(input_size=64, fine_layers=6)
    )
    """Sizes of the network that reads the picture at half of the size."""
    cells: Annotated[int, Option(hidden=True)] = 32
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
    """What the network knows of B pictures, at the elevation that it was last asked at; `picture` is half the size.

    Whoever knows the main direction or the lens better than the network puts them in before the first question.
    """

    sharp: Tensor
    """(B, 3, S, S) the pictures' colours at the full size."""
    fine: Tensor
    """(B, _FINE, S/2, S/2) picture features at half of the resolution."""
    tokens: Tensor
    """(B, P, width) tokens of the picture."""
    whole: Tensor
    """(B, width) what else the token of the whole picture knows."""
    mask: Tensor
    """(B, 1, S/2, S/2) the object's share of each pixel, a little grown."""
    azimuth_logits: Tensor
    """(B, 36) how likely each candidate for the main direction is."""
    azimuth: Tensor
    """(B,) azimuth in degrees, -45 to 45, of the object's main direction."""
    chosen: Tensor | None = None
    """(B, K) the pillars that took part, rows of y one after the other."""
    pillars: Tensor | None = None
    """(B, K, width) what the transformer made of them."""
    space: Tensor | None = None
    """(B, channels, cells, cells, cells) the feature volume, axes z, y, x of the object's own frame."""
    plan: Tensor | None = None
    """(B, _PLAN, 2 cells, 2 cells) the ground plan, axes y, x."""
    placed_at: Tensor | None = None
    """(B,) the elevation in degrees that `space` is for."""


class _Layer(nn.Module):
    """A transformer layer that starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // 64
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), zeroed(nn.Linear(width, width))
        self.enter, self.leave = nn.Linear(width, 4 * width), zeroed(nn.Linear(4 * width, width))

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
        self.whole_token = nn.Linear(8 * c.field.width + 7, c.width)
        self.picture_position = nn.Parameter(torch.randn(1, side * side, c.width) * 0.02)
        self.to_seen = nn.Conv2d(_FINE, _SEEN, 1)
        self.side, cells = c.cells // _PILLAR, c.cells * _PILLAR**2
        self.space_token = nn.Linear(cells * (c.field.volume_channels + _SEEN + 1), c.width)
        self.space_position = nn.Parameter(torch.randn(1, self.side**2, c.width) * 0.02)
        self.layers = nn.ModuleList(_Layer(c.width) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.width)
        self.to_cells = nn.Linear(c.width, cells * c.channels)
        self.to_plan = nn.Linear(c.width, (2 * _PILLAR) ** 2 * _PLAN)
        self.smooth = nn.ModuleList(zeroed(nn.Conv3d(c.channels, c.channels, 3, padding=1)) for _ in range(2))
        self.features = PretrainedFeatures()
        fine, coarse = sum(CHANNELS[:2]), sum(CHANNELS[2:])
        self.features_to_fine = zeroed(nn.Conv2d(fine, _FINE, 1))
        self.features_to_tokens = zeroed(nn.Conv2d(coarse, c.width, 1))
        self.features_to_whole = zeroed(nn.Linear(coarse, c.width))
        known = coarse + 8 * c.field.width + VOTES * len(CANDIDATES)
        self.to_azimuth = nn.Sequential(nn.Linear(known, 192), nn.SiLU(), nn.Linear(192, len(AZIMUTHS)))
        h = c.hidden
        self.from_point = nn.Linear(c.channels + _PLAN + c.field.volume_channels + 1 + 3 * 9, h)
        self.from_fine = nn.Conv2d(_FINE, h, 1)
        self.trunk = nn.ModuleList(nn.Linear(h, h) for _ in range(2))
        self.answer = zeroed(nn.Linear(h, 6))
        self.register_buffer("places", cell_centres(c.cells)[None], persistent=False)
        self.register_buffer("octaves", 2.0 ** torch.arange(4) * math.pi / VOLUME_EXTENT / 2, persistent=False)

    # -- the picture -------------------------------------------------------------------------------------

    def encode(self, picture: Tensor, votes: Tensor | None = None) -> SpatialCode:
        """Read pictures (B, 4, S, S), RGB over white and alpha, 0..1, S the configured size.

        `votes` are those of `edge_votes` of the pictures at half of the size, where they are known already.
        """
        half = F.avg_pool2d(picture, 2)
        votes = edge_votes(half) if votes is None else votes
        code = self.field.encode(half, votes)
        x = F.pixel_unshuffle(picture * 2 - 1, 2).contiguous(memory_format=torch.channels_last)
        x = self.fine[0](x)
        x = torch.cat([x, enlarge(code.map, x.shape[-1])], 1)
        x = self.fine[1](x)
        side = self.config.input_size // _PATCH
        maps = self.features(picture[:, :3])
        x = x + self.features_to_fine(torch.cat([enlarge(m, x.shape[-1]) for m in maps[:2]], 1))
        pooled = torch.cat([m.mean((2, 3)) for m in maps[2:]], 1)
        x = x + self.fine[2](x)
        patch = _PATCH // 2
        patches = F.pixel_unshuffle(x, patch)
        patches = torch.cat([patches, enlarge(code.coarse, side)], 1).flatten(2).transpose(1, 2)
        tokens = self.picture_token(patches) + self.picture_position
        known = self.features_to_tokens(torch.cat([enlarge(m, side) for m in maps[2:]], 1))
        tokens = tokens + known.flatten(2).transpose(1, 2)
        share = F.avg_pool2d(picture[:, 3:], _PATCH).flatten(1)
        tokens = take(tokens, share.topk(min(self.config.picture_tokens, share.shape[1]), 1).indices)
        mask = F.max_pool2d(half[:, 3:], 3, 1, 1)
        # Not to the elevation: what real surfaces look like there is not what drawn ones do.
        lines = 10 * (votes - votes.mean(2, keepdim=True)).flatten(1)
        direction = self.to_azimuth(torch.cat([pooled, code.code.to(pooled.dtype), lines], 1)).float()
        return SpatialCode(
            **vars(code),
            sharp=picture[:, :3],
            fine=x,
            tokens=tokens,
            whole=self.features_to_whole(pooled),
            mask=mask,
            azimuth_logits=direction,
            azimuth=azimuth_of(direction),
        )

    # -- space -------------------------------------------------------------------------------------------

    def place(self, code: SpatialCode, elevation: Tensor) -> Tensor:
        """The feature volume (B, channels, cells, cells, cells) with the cameras at `elevation` (B,) degrees."""
        if code.space is not None and code.placed_at is not None and torch.equal(code.placed_at, elevation):
            return code.space
        c, n, side = self.config, len(elevation), self.side
        places = turned(self.places.expand(n, -1, -1), code.azimuth)
        where = to_frustum(places, elevation.float(), code.lens)
        frustum = F.grid_sample(code.volume.float(), where[:, :, None, None], align_corners=False)[..., 0, 0]
        seen = sample_map(torch.cat([self.to_seen(code.fine).float(), code.mask], 1), where)
        within = (where[..., :2].abs().amax(-1, keepdim=True) < 1).to(seen.dtype)
        cells = torch.cat([frustum.transpose(1, 2), seen * within], -1)
        cells = cells.view(n, c.cells, side, _PILLAR, side, _PILLAR, -1).permute(0, 2, 4, 1, 3, 5, 6)
        share = cells[..., -1].detach().sum((3, 4, 5)).flatten(1)
        cells = cells.reshape(n, side * side, -1)
        chosen = share.topk(min(c.space_tokens, share.shape[1]), 1).indices
        dtype = self.space_token.weight.dtype
        space = self.space_token(take(cells, chosen).to(dtype)) + take(self.space_position.expand(n, -1, -1), chosen)
        up, turn = torch.deg2rad(elevation.float()), 4 * torch.deg2rad(code.azimuth)
        pose = torch.stack(
            [up.sin(), up.cos(), (2 * up).sin(), (2 * up).cos(), turn.sin(), code.azimuth / 45, code.lens.log()], -1
        )
        whole = self.whole_token(torch.cat([code.code.float(), pose], -1).to(dtype)) + code.whole
        x = torch.cat([whole[:, None], code.tokens, space], 1)
        for layer in self.layers:
            x = layer(x)
        code.chosen, code.pillars = chosen, self.norm(x[:, -chosen.shape[1] :])

        def spread(out: Tensor) -> Tensor:
            """(B, side, side, C) of what the chosen pillars have to say (B, K, C), 0 for the others."""
            return put(out, chosen, side * side).view(n, side, side, -1)

        volume = spread(self.to_cells(code.pillars).float()).unflatten(-1, (c.channels, c.cells, _PILLAR, _PILLAR))
        volume = volume.permute(0, 3, 4, 1, 5, 2, 6).reshape(n, c.channels, c.cells, c.cells, c.cells)
        plan = spread(self.to_plan(code.pillars).float()).unflatten(-1, (_PLAN, 2 * _PILLAR, 2 * _PILLAR))
        code.plan = plan.permute(0, 3, 1, 4, 2, 5).reshape(n, _PLAN, 2 * c.cells, 2 * c.cells)
        for layer in self.smooth:
            volume = volume + layer(F.silu(volume))
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
        assert code.plan is not None
        where = to_frustum(points.float(), elevation.float(), code.lens)
        if volume is None:
            volume = sample_volume(code.volume, where)
        before, own, rgb = self.field.decode(code, points, elevation, color=color, volume=volume)
        mine = turned(points.float(), -code.azimuth)
        cell = sample_volume(space, mine / VOLUME_EXTENT)
        plan = sample_map(code.plan, mine / VOLUME_EXTENT)
        waves = (mine[..., None] * self.octaves).flatten(-2)
        known = torch.cat([cell, plan, volume, before[..., None], mine, waves.sin(), waves.cos()], -1)
        x = self.from_point(known.to(self.from_point.weight.dtype))
        x = F.silu(x + sample_map(self.from_fine(code.fine), where).to(x.dtype))
        for layer in self.trunk:
            x = x + F.silu(layer(x))
        out = self.answer(x).float()
        doubt = torch.sigmoid(out[..., 5])
        logit = before + doubt * (cell[..., 0] - before) + out[..., 0]
        if rgb is not None:
            pixel = sample_map(code.sharp, where)
            share = torch.sigmoid(out[..., 4:5] - 4)
            rgb = (rgb + 0.25 * out[..., 1:4]) * (1 - share) + pixel * share
        return logit, own, rgb, cell[..., 0]

    def look_up(self, code: SpatialCode, points: Tensor, elevation: Tensor) -> tuple[Tensor, Tensor]:
        """See `FieldNetwork.look_up`."""
        return self.field.look_up(code, points, elevation)


def azimuth_of(logits: Tensor) -> Tensor:
    """Azimuths in degrees (B,), -45 to 45, of logits (B, 36): the mean about the likeliest candidate."""
    index = torch.arange(len(AZIMUTHS), device=logits.device)
    best = logits.argmax(1, keepdim=True)
    away = (index - best + len(index) // 2) % len(index) - len(index) // 2
    shift = (logits.masked_fill(away.abs() > 2, -torch.inf).softmax(1) * away).sum(1) * 2.5
    return quarter(AZIMUTHS.to(logits.device)[best[:, 0]] + shift)


def quarter(azimuth: Tensor) -> Tensor:
    """Azimuths in degrees as those of a main direction: -45 to 45, whole quarter turns left out."""
    return (azimuth + 45) % 90 - 45


def cell_centres(cells: int) -> Tensor:
    """(cells^3, 3) the middles of a grid's cells in the volume, x running fastest, then y, then z."""
    axis = (torch.arange(cells) + 0.5) / cells * 2 * VOLUME_EXTENT - VOLUME_EXTENT
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack([x, y, z], -1).view(-1, 3)


def turned(points: Tensor, azimuth: Tensor) -> Tensor:
    """Points (B, N, 3) turned about the vertical by (B,) degrees."""
    a = torch.deg2rad(azimuth.float())[:, None]
    x, y, z = points.unbind(-1)
    return torch.stack([x * a.cos() - y * a.sin(), x * a.sin() + y * a.cos(), z], -1)


def take(tokens: Tensor, chosen: Tensor) -> Tensor:
    """(B, K, C) of tokens (B, N, C) at indices (B, K)."""
    return tokens.gather(1, chosen[..., None].expand(-1, -1, tokens.shape[-1]))


def put(values: Tensor, chosen: Tensor, count: int, fill: float = 0.0) -> Tensor:
    """(B, count, C) with values (B, K, C) at indices (B, K), the inverse of `take`, and `fill` elsewhere."""
    full = values.new_full((len(values), count, values.shape[-1]), fill)
    return full.scatter(1, chosen[..., None].expand_as(values), values)
