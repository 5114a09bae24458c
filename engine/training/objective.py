"""The loss of one batch, and what it says about the state of the network."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from engine.surface.network import SurfaceModel
from engine.surface.rendering import eikonal_loss, gradient, render_pixels, sparsity_loss
from engine.training.data import Example
from engine.training.options import FineTuneOptions

FREE_POINTS = 1024
"""Points, anywhere in the volume, of the eikonal and sparsity terms."""
NEAR_POINTS = 1024
"""Points on rays, most where the surface is, of the eikonal term."""
COLORED = 8
"""Sections of a ray that have colours of their own."""


class Objective(nn.Module):
    """The weighted loss terms of a network, as one module: what several processes share the gradients of."""

    def __init__(self, network: SurfaceModel, options: FineTuneOptions) -> None:
        super().__init__()
        self.network = network
        self.options = options

    def forward(self, example: Example) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Loss terms, weighted, and figures without gradient: `inside` and `outside` are the sums over foreground and
        background rays of the accumulated weight, `foreground` and `background` their numbers; `squares` the sum of
        squared colour errors on the foreground, `overlap` and `union` of the rays that are, or seem, foreground,
        `depth_error` the sum of depth errors on the overlap."""
        options, network = self.options, self.network
        device = network.device
        scene = network.encode(example.views, example.c2ws, example.k, sources=example.sources)

        def sdf(x: Tensor) -> Tensor:
            # Differences of distances a fraction of a voxel apart mean nothing in half precision.
            with torch.autocast(device.type, enabled=False):
                return network.sdf(scene, x)

        generator = torch.Generator().manual_seed(example.seed)
        with torch.autocast(device.type, enabled=False):
            seen = render_pixels(
                network, scene, example.camera, example.camera_k, example.pixels,
                coarse=options.coarse, fine=options.fine, colored=COLORED, generator=generator,
            )  # fmt: skip
        color = torch.from_numpy(example.color).to(device)
        mask = torch.from_numpy(example.mask).to(device)
        truth = mask.float()
        opacity = seen.opacity.clamp(1e-3, 1 - 1e-3)
        said = torch.where(mask, opacity, 1 - opacity)  # torch's own cross-entropy raises for what is no number
        importance = torch.from_numpy(example.importance).to(device)
        terms = {"rgb": options.rgb * (importance[:, None] * (seen.color - color).abs()).mean()}
        off = -said.log() if options.mask_loss == "bce" else (seen.opacity - truth).abs()
        terms["mask"] = options.mask * (importance * off).mean()
        extent = network.config.extent
        free = (torch.rand(FREE_POINTS, 3, generator=generator).to(device) * 2 - 1) * extent
        on_rays = seen.middles.detach().reshape(-1, 3)
        weight = seen.weights.detach().nan_to_num(0, 0, 0).reshape(-1).cpu() + 1e-4
        near = on_rays[torch.multinomial(weight, NEAR_POINTS, replacement=True, generator=generator).to(device)]
        step = 0.5 * network.config.voxel
        terms["eikonal"] = options.eikonal * eikonal_loss(gradient(sdf, torch.cat([near, free]), step))
        terms["sparsity"] = options.sparsity * sparsity_loss(sdf(free), options.decay)
        depth_error = seen.depth.new_zeros(())
        if example.depth is not None:
            depth = torch.from_numpy(np.ascontiguousarray(example.depth)).to(device)
            error = (seen.depth - depth).abs()
            if options.depth:
                terms["depth"] = options.depth * (error * truth).sum() / truth.sum().clamp(min=1)
            hit = mask & (seen.opacity > 0.5)
            along = seen.depth / seen.opacity.clamp(min=1e-3)
            depth_error = ((along - depth).abs() * hit).sum()
        with torch.no_grad():
            solid = seen.opacity > 0.5
            figures = {
                "inside": (seen.opacity * truth).sum(),
                "outside": (seen.opacity * (1 - truth)).sum(),
                "foreground": truth.sum(),
                "background": (1 - truth).sum(),
                "squares": (((seen.color - color) ** 2).mean(-1) * truth).sum(),
                "overlap": (solid & mask).sum().float(),
                "union": (solid | mask).sum().float(),
                "depth_error": depth_error,
            }
        return terms, {name: value.detach().float() for name, value in figures.items()}
