"""NeuS volume rendering of a signed distance field (arXiv 2106.10689), for training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine import cameras

if TYPE_CHECKING:
    from engine.surface.network import SurfaceModel


@dataclass
class RenderedRays:
    """What N rays saw with M samples each."""

    color: Tensor
    """(N, 3) colour over white."""
    opacity: Tensor
    """(N,) sum of the weights, 0..1."""
    depth: Tensor
    """(N,) weighted depth, in the unit of the sampled depths."""
    weights: Tensor
    """(N, M - 1) weight of each section between two samples."""
    middles: Tensor
    """(N, M - 1, 3) middle of each section."""
    sdf: Tensor
    """(N, M) distance at the samples."""


def neus_weights(sdf: Tensor, inverse_deviation: Tensor | float) -> Tensor:
    """Weights (N, M - 1) of the sections between M samples of `sdf` (N, M) along rays; NeuS, Eq. 13 and 11.

    Unbiased: the weight peaks where the field first crosses zero; the weights of a ray sum to at most 1.
    """
    alpha = _alpha(sdf[:, :-1], sdf[:, 1:], inverse_deviation)
    return alpha * _transmittance(alpha)


def _alpha(first: Tensor, last: Tensor, inverse_deviation: Tensor | float) -> Tensor:
    """Opacity (N, M) of sections with these distances where a ray enters and leaves them; NeuS, Eq. 13."""
    entered, left = torch.sigmoid(first * inverse_deviation), torch.sigmoid(last * inverse_deviation)
    return ((entered - left) / entered.clamp(min=1e-5)).clamp(0, 1)


def _transmittance(alpha: Tensor) -> Tensor:
    """Share (N, M) of a ray that the sections before each, of opacities (N, M), let through; NeuS, Eq. 11."""
    clear = torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha[:, :-1] + 1e-7], 1)
    return torch.cumprod(clear, 1).clamp(max=1)


def sample_depths(
    sdf: Callable[[Tensor], Tensor],
    origins: Tensor,
    directions: Tensor,
    near: float,
    far: float,
    *,
    coarse: int = 32,
    fine: int = 16,
    sharpness: float = 64.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Depths (N, coarse + fine), rising: stratified ones, and more in two rounds where the surface may be.

    As NeuS samples (section 3.3, from coarse to fine at a doubled sharpness), but by the least distance that a section
    can hold rather than by that at its ends: between two samples outside, as far apart as their distances allow, a ray
    may cross a thin wall or cut an edge. Rays that miss those look empty, and a field that learns from them inflates.

    `origins` and `directions` are (N, 3); depth counts in lengths of the direction. No gradient flows.
    """
    with torch.no_grad():
        n = len(origins)
        length = directions.norm(dim=-1, keepdim=True)

        def ask(depths: Tensor) -> Tensor:
            points = origins[:, None] + directions[:, None] * depths[..., None]
            return sdf(points.reshape(-1, 3)).view(depths.shape)

        steps = torch.linspace(0, 1, coarse, device=origins.device).expand(n, coarse)
        jitter = (torch.rand(n, coarse, generator=generator, device="cpu").to(origins.device) - 0.5) / coarse
        depths = near + (far - near) * (steps + jitter).clamp(0, 1)
        values = ask(depths)
        for last, count in ((False, fine // 2), (True, fine - fine // 2)):
            if not count:
                continue
            widths = (depths[:, 1:] - depths[:, :-1]) * length
            extra = _draw_depths(depths, _possible_weights(values, widths, sharpness), count)
            merged = torch.cat([depths, extra], 1).sort(1)
            depths = merged.values
            if not last:
                values = torch.cat([values, ask(extra)], 1).gather(1, merged.indices)
                sharpness *= 2
        return depths


def _possible_weights(sdf: Tensor, widths: Tensor, inverse_deviation: float) -> Tensor:
    """NeuS weights (N, M - 1) of sections of `widths` (N, M - 1), if in each the distance fell as low as it may.

    `sdf` (N, M) are the distances at their ends; what lies before a section hides it as far as these say.
    """
    first, second = sdf[:, :-1], sdf[:, 1:]
    least = torch.minimum(torch.minimum(first, second), (first + second - widths) / 2)
    before = _transmittance(_alpha(first, second, inverse_deviation))
    return _alpha(first, least, inverse_deviation) * before + 1e-4


def _draw_depths(depths: Tensor, weights: Tensor, count: int) -> Tensor:
    """`count` depths (N, count) spread over the sections between depths (N, M) as their weights (N, M - 1) say."""
    cdf = torch.cumsum(weights / weights.sum(1, keepdim=True), 1)
    cdf = torch.cat([torch.zeros_like(cdf[:, :1]), cdf], 1)
    u = (torch.arange(count, device=depths.device) + 0.5).expand(len(depths), count) / count
    upper = torch.searchsorted(cdf.contiguous(), u.contiguous(), right=True).clamp(1, cdf.shape[1] - 1)
    low, high = cdf.gather(1, upper - 1), cdf.gather(1, upper)
    share = ((u - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
    return depths.gather(1, upper - 1) * (1 - share) + depths.gather(1, upper) * share


def render_rays(
    sdf: Callable[[Tensor], Tensor],
    color: Callable[[Tensor, Tensor], Tensor],
    origins: Tensor,
    directions: Tensor,
    depths: Tensor,
    inverse_deviation: Tensor,
    *,
    colored: int = 8,
) -> RenderedRays:
    """Render rays at given depths (N, M).

    `color` maps points (K, 3) and unit directions (K, 3) to (K, 3); it is asked at the `colored` heaviest
    sections of each ray only, the rest share their mean: blending is the dear part.
    """
    n, m = depths.shape
    points = origins[:, None] + directions[:, None] * depths[..., None]
    values = sdf(points.reshape(-1, 3)).view(n, m)
    weights = neus_weights(values, inverse_deviation)
    middles = (points[:, 1:] + points[:, :-1]) / 2
    heavy = weights.detach().topk(min(colored, m - 1), 1).indices
    at = middles.gather(1, heavy[..., None].expand(-1, -1, 3))
    unit = torch.nn.functional.normalize(directions, dim=-1)[:, None].expand_as(at)
    rgb = color(at.reshape(-1, 3), unit.reshape(-1, 3)).view(n, -1, 3)
    share = weights.gather(1, heavy)
    opacity = weights.sum(1)
    mean = (rgb * share[..., None]).sum(1) / share.sum(1, keepdim=True).clamp(min=1e-5)
    shade = mean * opacity[:, None] + (1 - opacity[:, None])
    depth = (weights * (depths[:, 1:] + depths[:, :-1]) / 2).sum(1)
    return RenderedRays(shade, opacity, depth, weights, middles, values)


def render_pixels(
    network: SurfaceModel,
    scene: Any,
    c2w: npt.NDArray,
    k: npt.NDArray,
    pixels: npt.NDArray,
    *,
    coarse: int = 32,
    fine: int = 16,
    colored: int = 8,
    generator: torch.Generator | None = None,
) -> RenderedRays:
    """What a network's `scene` looks like in pixels (N, 2) (x, y) of a camera (4, 4) with intrinsics (3, 3).

    Depth counts along the viewing axis in world units, from as far before the origin as the network looks to as far
    behind it. `generator` draws where rays are sampled.
    """
    device, reach = network.device, network.config.extent
    origin, directions = cameras.pixel_rays(c2w, k, np.asarray(pixels) + 0.5)
    d = torch.from_numpy(directions).to(device)
    o = torch.from_numpy(origin).to(device).expand_as(d)

    def sdf(x: Tensor) -> Tensor:
        return network.sdf(scene, x)

    def color(x: Tensor, direction: Tensor) -> Tensor:
        return network.colors(scene, x, direction)

    middle = float(np.linalg.norm(origin))
    near, far = max(middle - reach, 0.05 * middle), middle + reach
    depths = sample_depths(sdf, o, d, near, far, coarse=coarse, fine=fine, generator=generator)
    return render_rays(sdf, color, o, d, depths, network.inverse_deviation, colored=colored)


def gradient(sdf: Callable[[Tensor], Tensor], points: Tensor, step: float) -> Tensor:
    """Gradient (N, 3) of a field at points (N, 3) by four evaluations at a tetrahedron's corners, `step` away.

    Differentiable once more, which trilinear sampling's own gradient is not.
    """
    corners = points.new_tensor([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])
    values = sdf((points[None] + step * corners[:, None]).reshape(-1, 3)).view(4, -1)
    return (values[..., None] * corners[:, None]).sum(0) / (4 * step)


def eikonal_loss(gradients: Tensor) -> Tensor:
    """Mean squared deviation of gradients (N, 3) from unit length."""
    return ((gradients.norm(dim=-1) - 1) ** 2).mean()


def sparsity_loss(sdf: Tensor, decay: float = 100.0) -> Tensor:
    """SparseNeuS's sparseness term: mean of exp(-decay |sdf|), which keeps free space free of surfaces."""
    return torch.exp(-decay * sdf.abs()).mean()
