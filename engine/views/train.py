"""Training of the built-in view generator.

    oriel train views --minutes 60 --out out/views --models MODELS

Runs on CPU or CUDA; the same command with `--resume` goes on where it stopped. On a CPU a third of the time goes into
memory that is given back to the system and fetched again at every step, unless the allocator keeps it, as with the
environment variable `LD_PRELOAD=libtcmalloc_minimal.so.4` (Debian's libtcmalloc-minimal4). On a GPU cases are kept in
its memory and drawn again and again while the workers make new ones. Needs numpy, scipy, torch, opencv, moderngl,
trimesh, safetensors and tqdm only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.core.options import Option
from engine.training import trainer
from engine.training.muon import Muon
from engine.views.builtin import LEAN
from engine.views.cases import CaseSize
from engine.views.manhattan import CANDIDATES
from engine.views.network import MODEL
from engine.views.problem import CasesOptions, CasesProblem, assume_reference, iou, load_start, to_tensors
from engine.views.spatial import AZIMUTHS, SpatialConfig, SpatialNetwork, quarter

WEIGHTS = "views.safetensors"
_AZIMUTH_ERROR, _AZIMUTH_LOST = 2.0, 0.06  # degrees by which the azimuth given is wrong; share that is just any


@dataclass
class ViewsOptions(CasesOptions):
    """Everything a training run of the view generator depends on."""

    points: int = 512
    """Labelled points of each picture a step."""
    rays: int = 32
    """Rays of other cameras for each picture a step, each with some labelled points."""
    colors: Annotated[int, Option(hidden=True)] = 160
    """Coloured surface points of each picture a step."""
    field_rate: float = 0.3
    """Part of the rate that the network which reads the picture takes; 0 leaves it as it is."""
    network: Annotated[SpatialConfig, Option(hidden=True)] = field(default_factory=SpatialConfig)
    """Sizes of the network."""


def losses(network: SpatialNetwork, batch: dict[str, Tensor], points: int, colors: int, rays: int) -> dict[str, Tensor]:
    """The training losses of one batch.

    Occupancy: cross-entropy of the whole field on `points` of the labelled points and on the points of `rays` rays of
    other cameras, and (half weight) of the frustum volume alone and of the feature volume alone. Rays: for every
    pixel, the largest occupancy along its ray through the frustum volume against the object's true coverage, so that
    foreground rays hit something and background rays nothing. Silhouette: the same for the rays of other cameras, in
    the whole field. Volume and overlap: one less the soft intersection over union in each picture, of the labelled
    points and of these rays, which asks for a decision where cross-entropy is content with a doubt. Colour: L1 at
    `colors` surface points. Elevation and azimuth: cross-entropy with the candidates within 2 degrees or so of the
    truth. The network is told lens and azimuth: the latter a little wrong, as it will see it itself, now and then not
    at all.
    """
    picture, elevation, azimuth = batch["picture"], batch["elevation"], batch["azimuth"]
    code = network.encode(picture, batch["votes"].float())
    guess = azimuth + _AZIMUTH_ERROR * torch.randn_like(azimuth)
    code.azimuth = torch.where(torch.rand_like(azimuth) < _AZIMUTH_LOST, 90 * torch.rand_like(azimuth), guess)
    code.azimuth = quarter(code.azimuth)
    code.lens = batch["lens"]
    n, r, c = (
        int(torch.randint(0, batch[name].shape[1] - count + 1, ()).item())
        for name, count in (("points", points), ("ray_points", rays), ("colors", colors))
    )
    ray_points = batch["ray_points"][:, r : r + rays].float().flatten(1, 2)
    labelled = batch["points"][:, n : n + points].float()
    where = torch.cat([labelled, ray_points, batch["color_points"][:, c : c + colors].float()], 1)
    inside = torch.cat([batch["inside"][:, n : n + points], batch["ray_inside"][:, r : r + rays].flatten(1)], 1).float()
    volume, own_rays = network.look_up(code, where, elevation)
    logit, own, rgb, cell = network.decode_parts(code, where, elevation, volume=volume)
    assert rgb is not None
    answers = inside.shape[1]
    other_rays = logit[:, points:answers].unflatten(1, (rays, -1)).amax(2)
    other_hits = batch["ray_hit"][:, r : r + rays].float()
    hit = F.interpolate(batch["mask"][:, None].float() / 255, size=code.volume.shape[-2:], mode="area")[:, 0]
    near = -0.5 * ((CANDIDATES.to(picture.device) - elevation[:, None]) / 2) ** 2
    turn = quarter(AZIMUTHS.to(picture.device) - azimuth[:, None])
    direction = F.cross_entropy(code.azimuth_logits, (-0.5 * (turn / 2) ** 2).softmax(1), reduction="none")
    cross_entropy = F.binary_cross_entropy_with_logits
    return {
        "occupancy": cross_entropy(logit[:, :answers], inside),
        "frustum": 0.5 * cross_entropy(own[:, :answers], inside),
        "space": 0.5 * cross_entropy(cell[:, :answers], inside),
        "volume": 0.2 * _soft_misfit(logit[:, :points], inside[:, :points])
        + 0.1 * _soft_misfit(cell[:, :points], inside[:, :points]),
        "rays": 0.15 * cross_entropy(own_rays, hit),
        "silhouette": 0.12 * cross_entropy(other_rays, other_hits),
        "overlap": 0.08 * _soft_misfit(other_rays, other_hits),
        "color": 0.5 * (rgb[:, answers:] - batch["colors"][:, c : c + colors].float() / 255).abs().mean(),
        "elevation": 0.15 * F.cross_entropy(code.elevation_logits, near.softmax(1)),
        "azimuth": 0.1 * (direction * batch["aligned"].float()).mean(),
    }


def _soft_misfit(logits: Tensor, truth: Tensor) -> Tensor:
    """1 - IoU of probabilities with truths in 0..1, both (B, N), over each row; the mean."""
    soft = logits.float().sigmoid()
    both = (soft * truth).sum(1)
    return (1 - both / (soft.sum(1) + truth.sum(1) - both).clamp_min(1)).mean()


def measure(network: SpatialNetwork, cases: dict[str, Any], device: torch.device) -> dict[str, float]:
    """Figures on validation cases with the true elevation and lens: IoU of labelled points and of rays of other
    cameras, both with the doubt that the generator gives, errors of elevation and azimuth (degrees) and of colours."""
    found: dict[str, list[Tensor]] = {"point_iou": [], "ray_iou": [], "elevation": [], "azimuth": [], "color_l1": []}
    for start in range(0, len(cases["picture"]), 16):
        batch = to_tensors({k: v[start : start + 16] for k, v in cases.items()}, device)
        code = network.encode(batch["picture"], batch["votes"].float())
        code.lens = batch["lens"]
        logit, _, _ = network.decode(code, batch["points"].float(), batch["elevation"], color=False)
        found["point_iou"].append(iou(logit > -LEAN, batch["inside"] > 0))
        along, _, _ = network.decode(code, batch["ray_points"].float().flatten(1, 2), batch["elevation"], color=False)
        hits = batch["ray_hit"] > 0
        found["ray_iou"].append(iou(along.unflatten(1, (hits.shape[1], -1)).amax(2) > -LEAN, hits))
        _, _, rgb = network.decode(code, batch["color_points"].float(), batch["elevation"])
        assert rgb is not None
        found["color_l1"].append((rgb - batch["colors"].float() / 255).abs().mean((1, 2)).cpu())
        found["elevation"].append((code.elevation - batch["elevation"]).abs().cpu())
        turn = quarter(code.azimuth - batch["azimuth"]).abs()
        found["azimuth"].append(turn[batch["aligned"] > 0].cpu())
    joined = {name: torch.cat(values) for name, values in found.items()}
    return {name: float(v.median() if name in ("elevation", "azimuth") else v.mean()) for name, v in joined.items()}


class ViewsProblem(CasesProblem):
    """The view generator, as the training loop asks for it."""

    options: ViewsOptions

    def __init__(self, options: ViewsOptions) -> None:
        """Raises `InputError` for an option that the network, its cases or their pool cannot work with, and for a
        folder of models in which nothing can be used; `WeightsError` for weights to start from that do not fit."""
        case, side = CaseSize(), options.network.field.input_size
        trainer.check(
            ("points", options.points, 1 <= options.points <= case.points, f"1 to {case.points}"),
            ("rays", options.rays, 1 <= options.rays <= case.rays, f"1 to {case.rays}"),
            ("picture", 2 * side, side > 0 and side % 16 == 0, "a multiple of 32"),
        )
        super().__init__(options, CaseSize(picture=options.network.input_size))
        torch.manual_seed(options.seed)
        self.network = SpatialNetwork(options.network)
        self.network.features.fill()
        load_start(self.network, options.start, MODEL)

    def optimizers(self, rate: float) -> list[torch.optim.Optimizer]:
        """Muon for the matrices of the transformer, AdamW for the rest."""
        network, own = self.network, self.options.field_rate
        matrices = [p for p in network.layers.parameters() if p.ndim == 2]
        # Attention learns at less than half the rate: at the convolutions' it drowns the features in a constant.
        slow = [network.layers, network.field.attention, *([network.field.fine] if network.field.fine else [])]
        is_slow = {p for part in slow for p in part.parameters()} | {network.field.position}
        of_field, of_muon = set(network.field.parameters()), set(matrices)
        network.field.requires_grad_(own > 0)
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for p in network.parameters():
            if p.requires_grad and p not in of_muon:
                share = (0.4 if p in is_slow else 1.0) * (own if p in of_field else 1.0)
                groups.setdefault((share, 0.02 if p.ndim > 1 else 0.0), []).append(p)
        of_adam = [{"params": ps, "share": share, "weight_decay": decay} for (share, decay), ps in groups.items()]
        return [
            torch.optim.AdamW(of_adam, lr=rate, betas=(0.9, 0.98), fused=self.device.type == "cuda"),
            Muon([{"params": matrices, "share": 0.4}], rate, weight_decay=0.02),
        ]

    def batch(self, count: int) -> dict[str, Tensor]:
        """`count` cases, half of them mirrored, some with an unknown lens."""
        return assume_reference(super().batch(count))

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """See `losses`."""
        return losses(self.network, batch, self.options.points, self.options.colors, self.options.rays)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """`measure` of each kind of object there is, named `<kind>_<figure>`."""
        assert isinstance(network, SpatialNetwork)
        return {
            f"{kind}_{name}": value
            for kind, cases in self.held_back().items()
            for name, value in measure(network, cases, self.device).items()
        }

    def score(self, figures: dict[str, float]) -> float:
        """What users need: real buildings where there are any, else the procedural ones."""
        kind = "building" if "building_point_iou" in figures else "procedural"
        return figures[f"{kind}_point_iou"] + figures[f"{kind}_ray_iou"] - 0.01 * figures[f"{kind}_elevation"]

    def export(self, network: nn.Module, path: Path, run: dict[str, Any]) -> None:
        """Write float16 weights and their card."""
        assert isinstance(network, SpatialNetwork)
        about = "Built-in view generator, trained by Oriel on its own procedural architecture"
        about += " and on openly licensed models." if self.options.models else "."
        self.write(network, path, {"model": MODEL, "description": about}, "oriel train views", run)


def train(options: ViewsOptions) -> Path:
    """Run the training; returns the path of the float16 weights (with a card beside them). See `trainer.train`."""
    return trainer.train(ViewsProblem(options), options, WEIGHTS)
