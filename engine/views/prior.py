"""Shape prior, stage one: a generative model of an object's occupancy, given one picture.

As the first stage of One-2-3-45++ (Liu et al., 2023, section 3.3) it draws a coarse occupancy, 64 cells a side, of
which there are as many as a picture leaves open. It is a rectified flow (Liu et al., "Flow Straight and Fast", 2023):
x_t = t x + (1 - t) noise, from noise at t = 0 to the occupancy x, -1 outside and 1 inside, at t = 1. The network
predicts x itself, not the velocity: occupancies lie on a thin manifold, and noise does not (Li and He, "Back to
Basics: Let Denoising Generative Models Denoise", 2025), so that whole pillars of 4 x 4 x 64 cells can be tokens. As
cells are either empty or full, the prediction is a logit, learnt by cross-entropy, whose mean is what a flow needs.

What a `SpatialNetwork` knows of the picture comes with each pillar: the token that it has made of it. Pillars outside
of the silhouette's cone take no part and are empty.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from engine import weights
from engine.core.errors import WeightsError
from engine.core.options import Option
from engine.views.network import zeroed
from engine.views.spatial import put, take

MODEL = "oriel-shape-prior"
"""Kind of model on the card of its weights."""


@dataclass(frozen=True)
class PriorConfig:
    """Sizes of the prior."""

    cells: Annotated[int, Option(hidden=True)] = 64
    """Cells along a side of the occupancy."""
    side: Annotated[int, Option(hidden=True)] = 16
    """Pillars along a side, as in the `SpatialNetwork` that tells it of the picture."""
    known: Annotated[int, Option(hidden=True)] = 256
    """Channels of that network's tokens."""
    width: int = 256
    """Channels of a token, a multiple of 64."""
    layers: int = 6
    """Layers of the transformer."""

    @property
    def patch(self) -> int:
        """Cells along the side of a pillar."""
        return self.cells // self.side

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a weight's card."""
        return asdict(self)


class _Layer(nn.Module):
    """A transformer layer whose norms are set by the time (Peebles and Xie, "DiT", 2023: adaLN-Zero)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // 64
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.enter, self.leave = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.modulate = zeroed(nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift, gate, scale2, shift2, gate2 = self.modulate(time)[:, None].chunk(6, -1)
        h = self.norm(x) * (1 + scale) + shift
        q, k, v = self.qkv(h).unflatten(-1, (3, self.heads, 64)).permute(2, 0, 3, 1, 4)
        h = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + gate * self.out(h)
        h = self.norm(x) * (1 + scale2) + shift2
        return x + gate2 * self.leave(nn.functional.gelu(self.enter(h), approximate="tanh"))


class ShapePrior(nn.Module):
    """Predicts an occupancy from a noisy one and what is known of the picture."""

    octaves: Tensor

    def __init__(self, config: PriorConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or PriorConfig()
        cells = c.cells * c.patch**2
        self.from_cells = nn.Sequential(nn.Linear(cells, c.width // 2), nn.Linear(c.width // 2, c.width))
        self.from_known = nn.Linear(c.known, c.width)
        self.unknown = nn.Parameter(torch.zeros(c.width))
        self.position = nn.Parameter(torch.randn(1, c.side**2, c.width) * 0.02)
        self.from_time = nn.Sequential(nn.Linear(64, c.width), nn.SiLU(), nn.Linear(c.width, c.width), nn.SiLU())
        self.layers = nn.ModuleList(_Layer(c.width) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.width)
        self.to_cells = nn.Linear(c.width, cells)
        self.from_picture = zeroed(nn.Linear(c.known, cells))
        self.register_buffer("octaves", torch.exp(torch.linspace(0, math.log(1000), 32)), persistent=False)

    @classmethod
    def load(cls, views: Path) -> ShapePrior:
        """The weights named `shape` in the registry, for a picture's network of the weights `views`.

        `WeightsError` says what is wrong, also where they were trained for another network.
        """
        found = weights.find("shape")
        tensors = found.load(MODEL)
        try:
            prior = cls(PriorConfig(**found.card["network"]))
            prior.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=False)
            missing = {name for name, _ in prior.named_parameters()} - set(tensors)
            fits = not missing and found.card["views"] == weights.sha256(views)
        except (KeyError, TypeError, RuntimeError):
            fits = False
        if not fits:
            raise WeightsError(
                f"The shape prior {found.path} was not trained for the view generator's weights {views}. Choose the "
                "generator built-in, or train a prior for them: oriel train shape --stage 1."
            )
        return prior

    def forward(self, noisy: Tensor, time: Tensor, known: Tensor, chosen: Tensor, blind: Tensor) -> Tensor:
        """Logits (B, K, cells of a pillar) of the occupancy at `chosen` pillars (B, K).

        `noisy` is x_t there, at `time` (B,) from 0 to 1; `known` (B, K, C) what the picture's network knows of them,
        of which a sample is told nothing where `blind` (B,) is True.
        """
        wave = time[:, None] * self.octaves
        when = self.from_time(torch.cat([wave.sin(), wave.cos()], -1))
        seeing = ~blind[:, None, None]
        told = torch.where(seeing, self.from_known(known), self.unknown)
        x = self.from_cells(noisy) + told + take(self.position.expand(len(noisy), -1, -1), chosen)
        for layer in self.layers:
            x = layer(x, when)
        return self.to_cells(self.norm(x)) + self.from_picture(known) * seeing

    @torch.no_grad()
    def sample(
        self,
        known: Tensor,
        chosen: Tensor,
        *,
        steps: int = 10,
        guidance: float = 1.5,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Occupancy logits (B, cells, cells, cells), axes z, y, x of the object's own frame, given what is `known`
        (B, K, C) of the `chosen` pillars (B, K). Another seed of `generator` gives another shape that the picture
        allows.

        `guidance` 1 samples what was learnt; more goes away from what one would say without a picture (Ho and
        Salimans, "Classifier-free guidance", 2022).
        """
        count = len(known)
        x = torch.randn((*chosen.shape, self.to_cells.out_features), generator=generator)
        x, blind = x.to(known), torch.zeros(count, dtype=torch.bool, device=known.device)
        times = shifted(torch.linspace(0, 1, steps + 1, device=known.device))
        logits = x
        for now, after in pairwise(times):
            at = now.expand(count)
            logits = self(x, at, known, chosen, blind)
            if guidance != 1:
                logits = logits + (guidance - 1) * (logits - self(x, at, known, chosen, ~blind))
            mean = torch.tanh(logits / 2)
            x = x + (after - now) * (mean - x) / (1 - now)
        return self.spread(logits, chosen)

    def spread(self, logits: Tensor, chosen: Tensor) -> Tensor:
        """(B, cells, cells, cells), axes z, y, x, of the chosen pillars' logits (B, K, C); empty elsewhere."""
        c = self.config
        full = put(logits, chosen, c.side**2, -20.0)
        full = full.view(-1, c.side, c.side, c.cells, c.patch, c.patch)
        return full.permute(0, 3, 1, 4, 2, 5).reshape(-1, c.cells, c.cells, c.cells)

    def gather(self, occupancy: Tensor, chosen: Tensor) -> Tensor:
        """The inverse of `spread`: (B, K, C) of an occupancy (B, cells, cells, cells) at chosen pillars."""
        c = self.config
        pillars = occupancy.view(-1, c.cells, c.side, c.patch, c.side, c.patch).permute(0, 2, 4, 1, 3, 5)
        return take(pillars.reshape(len(occupancy), c.side**2, -1), chosen)


def shifted(time: Tensor, shift: float = 4.0) -> Tensor:
    """Times from 0 to 1 moved towards the noise, where the large decisions are made: there are so many cells that a
    shape shows through much noise (Esser et al., "Scaling Rectified Flow Transformers", 2024, section 5.3.2)."""
    return time / (shift - (shift - 1) * time)
