"""What straight edges say about camera and building: most of a building's edges are vertical or level.

After Coughlan and Yuille, "Manhattan World: Compass Direction from a Single Image by Bayesian Inference" (1999): an
edge seen in a picture lies in a plane through the camera, and supports every direction in that plane. For each
candidate elevation, the edges vote for the vertical, and for the two level directions of each azimuth. The camera
does not roll and has the reference lens.
"""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.cameras import REFERENCE_TANGENT

CANDIDATES = torch.arange(-15.0, 75.1, 2.5)
"""Elevations in degrees that are voted for."""
AZIMUTHS = torch.arange(0.0, 90.0, 7.5)
"""Azimuths in degrees of one of two level directions, at right angles to each other, that are voted for."""
VOTES = 2 + len(AZIMUTHS)
"""Kinds of votes for each elevation."""
_SIDE = 64  # pixels; of larger pictures the edges are looked for at this size
_EDGES = 512
_TOLERANCE = math.radians(6.0)  # a vote has fallen to 0 at this angle between edge and direction


@torch.no_grad()
def edge_votes(pictures: Tensor) -> Tensor:
    """Votes (B, VOTES, CANDIDATES) in 0..1 of pictures (B, 3 or more, S, S): for the vertical; for any main direction,
    with the best azimuth; the same with each azimuth."""
    rgb = pictures[:, :3].float()
    if rgb.shape[-1] > _SIDE:
        rgb = F.adaptive_avg_pool2d(rgb, _SIDE)
    normals, rays, weight = _edge_planes(rgb)
    level, vertical = _directions(pictures.device)
    up = _votes(normals, rays, vertical)
    pairs = _votes(normals, rays, level).view(*up.shape, -1)
    first, second = pairs.chunk(2, -1)
    best = torch.maximum(torch.maximum(first, second), up[..., None])
    manhattan = (weight[:, None] @ best.flatten(2)).view(len(best), len(CANDIDATES), -1).transpose(1, 2)
    return torch.cat([weight[:, None] @ up, manhattan.amax(1, keepdim=True), manhattan], 1)


def mirrored(votes: Tensor) -> Tensor:
    """The votes (B, VOTES, CANDIDATES) of the same pictures in a mirror, left to right."""
    return torch.cat([votes[:, :3], votes[:, 3:].flip(1)], 1)  # azimuth a becomes 90 - a


def _votes(normals: Tensor, rays: Tensor, directions: Tensor) -> Tensor:
    """Tukey's biweight of the angles between edges and the picture of directions (D, 3): (B, N, D).

    Edges are given by their planes' normals and by their own rays (B, N, 3). Angles are those about the ray: close to
    a vanishing point every plane contains the direction, which proves nothing.
    """
    apart = (rays @ directions.T).square_().neg_().add_(1).clamp_(min=1e-3)
    out = (normals @ directions.T).square_().div_(apart)
    return out.mul_(-1 / _TOLERANCE**2).add_(1).clamp_(min=0).square_()


@cache
def _directions(device: torch.device) -> tuple[Tensor, Tensor]:
    """Level directions (candidates x azimuths, 3) and the vertical (candidates, 3), in camera axes (OpenGL)."""
    e, a = torch.deg2rad(CANDIDATES)[:, None], torch.deg2rad(torch.cat([AZIMUTHS, AZIMUTHS + 90]))[None]
    x, y = a.cos().expand(len(e), -1), a.sin().expand(len(e), -1)
    level = torch.stack([y, -x * e.sin(), x * e.cos()], -1).flatten(0, 1)
    vertical = torch.cat([torch.zeros_like(e), e.cos(), e.sin()], 1)
    return level.to(device), vertical.to(device)


def _edge_planes(rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The strongest edges: normals of their planes through the camera, their rays (B, N, 3, unit), weights (B, N)."""
    count, _, side, _ = rgb.shape
    across = rgb.new_tensor([[-3.0, 0.0, 3.0], [-10.0, 0.0, 10.0], [-3.0, 0.0, 3.0]]) / 32
    kernels = torch.stack([across, across.T])[:, None].repeat(3, 1, 1, 1)
    slope = F.conv2d(F.pad(rgb, (1, 1, 1, 1), mode="replicate"), kernels, groups=3).unflatten(1, (3, 2))
    x, y = slope[:, :, 0], -slope[:, :, 1]
    tensor = torch.stack([x * x, x * y, y * y], 2).sum(1).flatten(0, 1)[:, None]  # structure tensor
    near = torch.exp(-0.5 * torch.arange(-3.0, 4.0, device=rgb.device).square())
    near /= near.sum()
    tensor = F.conv2d(F.conv2d(tensor, near.view(1, 1, 1, -1), padding=(0, 3)), near.view(1, 1, -1, 1), padding=(3, 0))
    xx, xy, yy = tensor.view(count, 3, -1).unbind(1)
    coherent = ((xx - yy) ** 2 + 4 * xy**2).sqrt()
    strength = (coherent * (coherent / (xx + yy + 1e-6)) ** 2).sqrt()
    n = min(_EDGES, strength.shape[1])
    weight, index = strength.topk(n, 1)
    weight = torch.minimum(weight, weight[:, n // 3, None]) + 1e-9  # a third are edges as good as any
    angle = (0.5 * torch.atan2(2 * xy, xx - yy)).gather(1, index)
    u = ((index % side + 0.5) / side * 2 - 1) * REFERENCE_TANGENT
    v = -((index // side + 0.5) / side * 2 - 1) * REFERENCE_TANGENT
    normal = torch.stack([angle.cos(), angle.sin(), angle.cos() * u + angle.sin() * v], -1)
    ray = torch.stack([u, v, -torch.ones_like(u)], -1)
    return F.normalize(normal, dim=-1), F.normalize(ray, dim=-1), weight / weight.sum(1, keepdim=True)
