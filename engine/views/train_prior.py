"""Training of the shape prior, stage one.

    oriel train shape --stage 1 --minutes 60 --out out/shape --models MODELS

The view generator that tells it of the picture is not trained. As what it says of a picture costs more than the
prior itself, each picture is taken with several noises a step. For the rest as `engine.views.train`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine import weights
from engine.core.options import Option
from engine.training import trainer
from engine.training.muon import Muon
from engine.views.builtin import BuiltInGenerator
from engine.views.cases import CaseSize
from engine.views.prior import MODEL, PriorConfig, ShapePrior, shifted
from engine.views.problem import CasesOptions, CasesProblem, iou, load_start, to_tensors
from engine.views.spatial import SpatialCode

WEIGHTS = "shape.safetensors"
_BLIND = 0.1  # share of samples that are told nothing of the picture
_SEEDS = 2  # shapes drawn of each validation case


@dataclass
class PriorOptions(CasesOptions):
    """Everything a training run of the shape prior depends on."""

    stage: Annotated[int, Option(choices=(1,))] = 1
    """Which of the shape's networks: 1 draws the coarse occupancy."""
    views: Path | None = None
    """Weights of the view generator that tells of the picture; by default those that are used."""
    noises: int = 4
    """Noises that each picture is taken with in a step."""
    network: Annotated[PriorConfig, Option(hidden=True)] = field(default_factory=PriorConfig)
    """Sizes of the network."""


class PriorProblem(CasesProblem):
    """The shape prior, as the training loop asks for it."""

    options: PriorOptions

    def __init__(self, options: PriorOptions) -> None:
        """Raises `InputError` for an option that does not fit, `WeightsError` for weights that do not."""
        trainer.check(
            ("stage", options.stage, options.stage == 1, "1, which is all there is"),
            ("noises", options.noises, options.noises >= 1, "at least 1"),
        )
        self.views_path = weights.find(options.views or "views").path
        views = BuiltInGenerator.load(self.views_path).network
        config = dataclasses.replace(options.network, side=views.side, known=views.config.width)
        super().__init__(options, CaseSize(picture=views.config.input_size, occupancy=config.cells))
        self.views = views.to(self.device)
        torch.manual_seed(options.seed)
        self.network = ShapePrior(config)
        load_start(self.network, options.start, MODEL)

    def optimizers(self, rate: float) -> list[torch.optim.Optimizer]:
        """Muon for the matrices of the transformer, AdamW for the rest."""
        matrices = [p for n, p in self.network.layers.named_parameters() if p.ndim == 2 and "modulate" not in n]
        of_muon = set(matrices)
        others = [p for p in self.network.parameters() if p not in of_muon]
        return [
            torch.optim.AdamW([{"params": others, "share": 1.0}], lr=rate, betas=(0.9, 0.98), weight_decay=0.01),
            Muon([{"params": matrices, "share": 0.4}], rate, weight_decay=0.02),
        ]

    def look(self, batch: dict[str, Tensor], azimuth: Tensor | None = None) -> SpatialCode:
        """What the view generator says of pictures, told elevation, lens and, if given, azimuth."""
        with torch.no_grad():
            code = self.views.encode(batch["picture"], batch["votes"].float())
            code.lens = batch["lens"]
            code.azimuth = code.azimuth if azimuth is None else azimuth
            self.views.place(code, batch["elevation"])
        return code

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy of the occupancy that is predicted from a noisy one, at times drawn from a logit-normal that
        is moved towards the noise as in sampling."""
        code, k = self.look(batch, batch["azimuth"]), self.options.noises
        assert code.chosen is not None and code.pillars is not None
        truth = self.network.gather(unpacked(batch["occupancy"]), code.chosen).repeat(k, 1, 1)
        known, chosen = code.pillars.repeat(k, 1, 1), code.chosen.repeat(k, 1)
        time = shifted(torch.sigmoid(torch.randn(len(truth), device=truth.device)))
        blind = torch.rand_like(time) < _BLIND
        at = time[:, None, None]
        noisy = at * (2 * truth - 1) + (1 - at) * torch.randn_like(truth)
        logits = self.network(noisy, time, known, chosen, blind)
        return {"occupancy": 100 * F.binary_cross_entropy_with_logits(logits, truth)}

    def validate(self, network: nn.Module) -> dict[str, float]:
        """By kind of object, with the true elevation and azimuth: overlap of the
        whole occupancy with that of single shapes (`iou`), of the shapes' mean (`mean_iou`), and how far two shapes
        of one picture overlap (`same`: 1 if all seeds give one shape)."""
        assert isinstance(network, ShapePrior)
        figures: dict[str, float] = {}
        for kind, cases in self.held_back().items():
            found: dict[str, list[float]] = {"iou": [], "mean_iou": [], "same": []}
            for first in range(0, len(cases["picture"]), 16):
                batch = to_tensors({k: v[first : first + 16] for k, v in cases.items()}, self.device)
                code, truth = self.look(batch, batch["azimuth"]), unpacked(batch["occupancy"]) > 0
                assert code.chosen is not None and code.pillars is not None
                seeds = [torch.Generator().manual_seed(seed) for seed in range(_SEEDS)]
                drawn = [network.sample(code.pillars, code.chosen, generator=seed).sigmoid() for seed in seeds]
                for one in drawn:
                    found["iou"] += iou(one > 0.5, truth).tolist()
                found["mean_iou"] += iou(torch.stack(drawn).mean(0) > 0.5, truth).tolist()
                found["same"] += iou(drawn[0] > 0.5, drawn[1] > 0.5).tolist()
            figures |= {f"{kind}_{name}": float(np.mean(values)) for name, values in found.items()}
        return figures

    def score(self, figures: dict[str, float]) -> float:
        """Overlap of single shapes: of real buildings where there are any, else of procedural ones."""
        return figures.get("building_iou", figures["procedural_iou"])

    def export(self, network: nn.Module, path: Path, run: dict[str, Any]) -> None:
        """Write float16 weights and their card."""
        about = "Shape prior, stage one, trained by Oriel on the solids that its view generator learns from."
        card = {"model": MODEL, "description": about, "views": weights.sha256(self.views_path)}
        self.write(network, path, card, "oriel train shape", run)


def unpacked(occupancy: Tensor) -> Tensor:
    """(B, n, n, n) of 0 and 1, of bits packed along the last axis as numpy does it."""
    shifts = torch.arange(7, -1, -1, device=occupancy.device)
    return ((occupancy[..., None] >> shifts) & 1).flatten(-2).float()


def train(options: PriorOptions) -> Path:
    """Run the training; returns the path of the float16 weights (with a card beside them). See `trainer.train`."""
    return trainer.train(PriorProblem(options), options, WEIGHTS)
