"""The released reconstruction network once more, written straightforwardly from its description.

The released code never leaves training mode, so mean and variance are always those of what is normalised: all views
of the object at once, all voxels that take part. What a checkpoint keeps as running ones is not looked at.

Nothing is shared with `engine.surface.published`: a checkpoint is a dictionary of dictionaries in the published layout,
everything happens in the volume's frame with OpenCV cameras, and sparse convolutions look their neighbours up one by
one in a dictionary of coordinates.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Coordinate = tuple[int, int, int]
OFFSETS = [(x, y, z) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1)]
"""Of a 3^3 kernel, in the order of its 27 matrices."""


def activated_norm(x: Tensor, part: dict, name: str) -> Tensor:
    """In-place ABN of (V, C, H, W), all views at once."""
    rows = x.double().transpose(0, 1).flatten(1)
    mean, variance = rows.mean(1), rows.var(1, correction=0)
    weight, bias = part[f"{name}.weight"].double(), part[f"{name}.bias"].double()
    y = (rows - mean[:, None]) / torch.sqrt(variance + 1e-5)[:, None] * (weight.abs() + 1e-5)[:, None] + bias[:, None]
    y = y.view(x.shape[1], len(x), *x.shape[2:]).transpose(0, 1).float()
    return torch.where(y >= 0, y, 0.01 * y)


def pyramid(pictures: Tensor, part: dict) -> Tensor:
    """(V, 3, H, W) to all levels at full size, coarse first."""

    def blocks(x: Tensor, name: str, count: int) -> Tensor:
        for i in range(count):
            weight = part[f"{name}.{i}.conv.weight"]
            kernel = weight.shape[-1]
            x = F.conv2d(x, weight, stride=2 if kernel == 5 else 1, padding=kernel // 2)
            x = activated_norm(x, part, f"{name}.{i}.bn")
        return x

    def plain(x: Tensor, name: str) -> Tensor:
        weight = part[f"{name}.weight"]
        return F.conv2d(x, weight, part[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def twice(x: Tensor, factor: int = 2) -> Tensor:
        return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=True)

    zero = blocks(pictures, "conv0", 2)
    one = blocks(zero, "conv1", 3)
    two = plain(blocks(one, "conv2", 3), "toplayer")
    middle = twice(two) + plain(one, "lat1")
    fine = twice(middle) + plain(zero, "lat0")
    return torch.cat([twice(two, 4), twice(plain(middle, "smooth1")), plain(fine, "smooth0")], 1)


def compress(features: Tensor, part: dict) -> Tensor:
    """All levels to the features of the cost volume."""
    y = F.conv2d(features, part["compress_layer.conv.weight"], padding=1)
    return activated_norm(y, part, "compress_layer.bn")


def scale_matrix(reference: np.ndarray, c2ws: np.ndarray, k: np.ndarray, size: int) -> tuple[np.ndarray, float]:
    """Centre, in the reference camera's frame, and radius of the box around the frusta; OpenCV cameras to world.

    Depths are those of cameras at 1.2: 0.5 to 1.8.
    """
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for c2w in (reference, *c2ws):
        for depth in (0.5, 1.8):
            for u, v in product((0, size), (0, size)):
                camera = np.array([(u - k[0, 2]) / k[0, 0] * depth, (v - k[1, 2]) / k[1, 1] * depth, depth, 1.0])
                point = (np.linalg.inv(reference) @ c2w @ camera)[:3]
                low, high = np.minimum(low, point), np.maximum(high, point)
    return (low + high) / 2, float((high - low).max() / 2 * 1.1)


def scaled_w2c(reference: np.ndarray, c2w: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    """World-to-camera matrix of an OpenCV camera in the volume's frame."""
    relative = np.linalg.inv(reference) @ c2w
    relative[:3, 3] = (relative[:3, 3] - centre) / radius
    return np.linalg.inv(relative)


def cost(features: Tensor, w2cs: Tensor, k: Tensor, n: int) -> dict[Coordinate, Tensor]:
    """Variance and mean by the coordinate (x, y, z) of each voxel that at least two views see."""
    size = features.shape[-1]
    found = {}
    for x, y, z in product(range(n), repeat=3):
        point = torch.tensor([x, y, z, 1.0]) * torch.tensor([2 / (n - 1)] * 3 + [1.0])
        point[:3] -= 1
        camera = (w2cs @ point)[:, :3]
        u, v, depth = (k @ camera.T).unbind(0)
        grid = torch.stack([2 * (u / depth) / (size - 1) - 1, 2 * (v / depth) / (size - 1) - 1], -1)
        count = ((grid.abs() <= 1).all(-1) & (depth > 0)).sum()
        if count < 2:
            continue
        values = F.grid_sample(features, grid[:, None, None], align_corners=True)[:, :, 0, 0]
        mean = values.sum(0) / (count + 1e-5)
        found[x, y, z] = torch.cat([(values**2).sum(0) / (count + 1e-5) - mean**2, mean])
    return found


def downsampled(coordinates: list[Coordinate], stride: int) -> list[Coordinate]:
    """Coordinates after a strided 3^3 convolution of voxels that are `stride` apart."""
    low = [min(c[axis] for c in coordinates) for axis in range(3)]
    reached = {tuple(a + stride * b for a, b in zip(c, o, strict=True)) for c in coordinates for o in OFFSETS}
    return sorted(c for c in reached if all(a % (2 * stride) == 0 and a >= b for a, b in zip(c, low, strict=True)))


def convolved(
    x: dict[Coordinate, Tensor], outputs: list[Coordinate], kernel: Tensor, stride: int, *, transposed: bool = False
) -> dict[Coordinate, Tensor]:
    """Sparse convolution; `stride` is the distance of the finer voxels. Transposed: from coarse to fine `outputs`."""
    found = {c: torch.zeros(kernel.shape[2]) for c in outputs}
    for matrix, offset in zip(kernel, OFFSETS, strict=True):
        pairs = []
        for coarse in x if transposed else outputs:
            fine = tuple(a + stride * b for a, b in zip(coarse, offset, strict=True))
            if transposed and fine in found:
                pairs.append((coarse, fine))
            elif not transposed and fine in x:
                pairs.append((fine, coarse))
        if pairs:
            products = torch.stack([x[a] for a, _ in pairs]) @ matrix
            for (_, target), row in zip(pairs, products, strict=True):
                found[target] = found[target] + row
    return found


def unet(x: dict[Coordinate, Tensor], part: dict) -> dict[Coordinate, Tensor]:
    """The sparse 3D U-Net."""
    levels = [list(x)]
    for stride in (1, 2, 4):
        levels.append(downsampled(levels[-1], stride))

    def block(x: dict[Coordinate, Tensor], number: int, level: int, stride: int, transposed: bool = False) -> dict:
        name = f"sparse_costreg_net.conv{number}.net"
        y = convolved(x, levels[level], part[f"{name}.0.kernel"], stride, transposed=transposed)
        rows = torch.stack(list(y.values())).double()
        mean, deviation = rows.mean(0), torch.sqrt(rows.var(0, correction=0) + 1e-5)
        rows = ((rows - mean) / deviation * part[f"{name}.1.weight"] + part[f"{name}.1.bias"]).clamp(min=0)
        return dict(zip(y, rows.float(), strict=True))

    def total(a: dict, b: dict) -> dict:
        return {c: a[c] + b[c] for c in a}

    x0 = block(x, 0, 0, 1)
    x2 = block(block(x0, 1, 1, 1), 2, 1, 2)
    x4 = block(block(x2, 3, 2, 2), 4, 2, 4)
    y = block(block(x4, 5, 3, 4), 6, 3, 8)
    y = total(x4, block(y, 7, 2, 4, True))
    y = total(x2, block(y, 9, 1, 2, True))
    return total(x0, block(y, 11, 0, 1, True))


def trilinear(volume: dict[Coordinate, Tensor], n: int, point: Tensor, open_faces: bool) -> Tensor:
    """Value at a point in [-1, 1]^3; zero beyond, and, unless `open_faces`, on the lower faces."""
    index = (point + 1) / 2 * (n - 1)
    zero = torch.zeros_like(next(iter(volume.values())))
    if not open_faces and not bool((index > 0).all()):
        return zero
    base = index.floor()
    out = zero
    for corner in product((0, 1), repeat=3):
        at = base + torch.tensor(corner)
        weight = (1 - (index - at).abs()).prod()
        out = out + weight * volume.get(tuple(int(a) for a in at), zero)
    return out


def distance(points: Tensor, volume: dict[Coordinate, Tensor], n: int, part: dict) -> Tensor:
    """Signed distance (N,) at points (N, 3) of the volume's frame."""
    latent = torch.stack([trilinear(volume, n, p, open_faces=False) for p in points])
    count = part["sdf_layer.lin0.weight_v"].shape[1] // 6
    encoded = [points]
    for i in range(count):
        encoded += [torch.sin(2**i * points), torch.cos(2**i * points)]
    x = torch.cat(encoded, 1)
    for i in range(3):
        if i > 0:
            x = torch.cat([x, latent], 1)
        v = part[f"sdf_layer.lin{i}.weight_v"]
        weight = part[f"sdf_layer.lin{i}.weight_g"] * v / v.norm(dim=1, keepdim=True)
        x = x @ weight.T + part[f"sdf_layer.lin{i}.bias"]
        if i < 2:
            x = F.softplus(x, beta=100)
    return x[:, 0]


def colors(
    points: Tensor,
    normals: Tensor,
    pictures: Tensor,
    features: Tensor,
    w2cs: Tensor,
    k: Tensor,
    volume: dict[Coordinate, Tensor],
    n: int,
    part: dict,
) -> Tensor:
    """Blended colours (N, 3) of points with unit normals, in the volume's frame."""

    def dense(x: Tensor, name: str, last: bool = False) -> Tensor:
        x = x @ part[f"{name}.weight"].T + part[f"{name}.bias"]
        return x if last else F.elu(x)

    size = pictures.shape[-1]
    ones = {c: torch.ones(1) for c in volume}
    found = []
    for point, normal in zip(points, normals, strict=True):
        camera = (w2cs @ torch.cat([point, torch.ones(1)]))[:, :3]
        u, v, depth = (k @ camera.T).unbind(0)
        depth = depth.clamp(min=1e-3)
        grid = torch.stack([2 * (u / depth) / (size - 1) - 1, 2 * (v / depth) / (size - 1) - 1], -1)
        grid = torch.where(grid.abs() > 1, torch.tensor(2.0), grid)
        inside = bool((point.abs() < 1).all()) and float(trilinear(ones, n, point, open_faces=True)) > 0
        mask = ((grid.abs() < 1).all(-1) & inside).float()[:, None]
        stacked = torch.cat([pictures, features], 1)
        inputs = F.grid_sample(stacked, grid[:, None, None], align_corners=True)[:, :, 0, 0]
        rgb = inputs[:, :3]

        positions = torch.linalg.inv(w2cs)[:, :3, 3]
        to_view = positions - point
        to_view = to_view / (to_view.norm(dim=-1, keepdim=True) + 1e-6)
        difference = normal - to_view
        cosine = (normal * to_view).sum(-1, keepdim=True)
        directions = torch.cat([difference / difference.norm(dim=-1, keepdim=True).clamp(min=1e-6), cosine], -1)

        inputs = inputs + dense(dense(directions, "ray_dir_fc.0"), "ray_dir_fc.2")
        weight = torch.exp(part["s"].abs() * (cosine - 1))
        weight = (weight - weight.min()) * mask
        weight = weight / (weight.sum() + 1e-8)
        mean = (inputs * weight).sum(0)
        variance = (weight * (inputs - mean) ** 2).sum(0)
        geometry = trilinear(volume, n, point, open_faces=True)
        shared = torch.cat([geometry, mean, variance]).expand(len(inputs), -1)
        x = dense(dense(torch.cat([shared, inputs], 1), "base_fc.0"), "base_fc.2")
        change = dense(dense(x * weight, "vis_fc.0"), "vis_fc.2")
        x = x + change[:, :-1]
        visible = torch.sigmoid(change[:, -1:]) * mask
        visible = torch.sigmoid(dense(dense(x * visible, "vis_fc2.0"), "vis_fc2.2", last=True)) * mask
        x = dense(dense(torch.cat([x, visible, directions], 1), "rgb_fc.0"), "rgb_fc.2")
        logits = dense(x, "rgb_fc.4", last=True).masked_fill(mask == 0, -1e9)
        found.append((rgb * torch.softmax(logits, 0)).sum(0))
    return torch.stack(found)
