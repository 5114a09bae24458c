"""Training of the surface network.

    oriel train surface --minutes 60 --out out/surface

Runs on CPU or CUDA; the same command with `--resume` goes on where it stopped, step for step. `--generator` mixes in
views drawn by the built-in view generator, whose faults the network then learns to mend. Needs numpy, scipy, torch,
opencv, moderngl and safetensors only.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.spatial import cKDTree
from torch import Tensor, nn

from engine import weights
from engine.core.errors import InputError
from engine.core.options import Option, changed_arguments
from engine.data import split_seeds
from engine.evaluation.geometry import f_score_of, sample_mesh
from engine.meshes.mesh import Mesh
from engine.surface.cases import CaseMaker, SurfaceCase, degrade
from engine.surface.extraction import FieldFunction, extract_mesh
from engine.surface.hull import SilhouetteField
from engine.surface.network import BUILT_IN, SurfaceModel
from engine.surface.reconstruct import CONFIGS, MODEL, build_surface
from engine.surface.rendering import eikonal_loss, gradient, render_pixels, sparsity_loss
from engine.training import trainer
from engine.training.trainer import TrainerOptions

WEIGHTS = "surface.safetensors"
TRAINING_SOURCES = 10
"""Views that a training step takes features from."""
TRUNCATION = 0.1
"""Distances (world units) beyond this count as equal in the direct loss."""
OCCUPANCY_WIDTH = 0.015
"""Width (world units) of the soft inside/outside that the sign loss sees."""


@dataclass
class SurfaceOptions(TrainerOptions):
    """Everything a training run of the surface network depends on."""

    batch: int = 1
    """Cases a step."""
    rate: float = 1.5e-3
    """Highest learning rate."""
    config: Annotated[str, Option(choices=tuple(CONFIGS))] = BUILT_IN.name
    """Name of the network's configuration."""
    points: int = 8192
    """Labelled points of each case a step."""
    rays: int = 32
    """Rays rendered of each case a step."""
    generator: Path | None = None
    """Weights of the built-in view generator whose views are mixed in."""
    predicted_share: float = 0.6
    """Share of the steps that see a generator's views, when there is one."""
    reuse: int = 3
    """Steps that each case takes part in on average, a drawn one eight times as many."""
    objects: int = 8
    """Validation objects behind the figures."""


def losses(
    network: SurfaceModel, case: SurfaceCase, views: npt.NDArray, rng: np.random.Generator, points: int, rays: int
) -> dict[str, Tensor]:
    """Weighted loss terms of one case seen through `views`.

    Direct: truncated distance and its sign at labelled points; overlap, one less the soft intersection over the union
    with the true solid at those that fill the box, which says what to do where distance and sign leave a doubt.
    Along rays (NeuS): colour L1, mask cross-entropy 0.1. Regularisers: eikonal 0.1, sparseness 0.02 (decay 100).
    """
    config = network.config
    device = network.device
    order = rng.permutation(len(views))
    # A third of the views gives the same mean and variance, with more noise, in a third of the time.
    scene = network.encode(views, case.c2ws, case.k, sources=np.sort(order[:TRAINING_SOURCES]))

    def sdf(x: Tensor) -> Tensor:
        return network.sdf(scene, x)

    half = len(case.points) // 2
    start = int(rng.integers(0, max(half - points // 2, 0) + 1))
    chosen = np.r_[start : start + points // 2, half + start : half + start + points // 2]
    at = torch.from_numpy(case.points[chosen]).to(device)
    true = torch.from_numpy(case.distance[chosen]).to(device)
    predicted = sdf(at)
    error = predicted.clamp(-TRUNCATION, TRUNCATION) - true.clamp(-TRUNCATION, TRUNCATION)
    terms = {
        "distance": 20 * error.abs().mean(),
        "sign": F.binary_cross_entropy_with_logits(-predicted / OCCUPANCY_WIDTH, (true < 0).float()),
    }
    solid, inside = torch.sigmoid(-predicted[points // 2 :] / OCCUPANCY_WIDTH), (true[points // 2 :] < 0).float()
    both = (solid * inside).sum()
    terms["overlap"] = 0.5 * (1 - both / (solid.sum() + inside.sum() - both).clamp_min(1))
    # A view that no colour is taken from.
    target = int(order[-1])
    pixels = _pick_pixels(case.truth[target, ..., 3], rays, rng)
    pixel = torch.from_numpy(case.truth[target][pixels[:, 1], pixels[:, 0]].astype(np.float32) / 255).to(device)
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    seen = render_pixels(
        network, scene, case.c2ws[target], case.k, pixels, coarse=24, fine=12, colored=6, generator=generator
    )
    terms["rgb"] = (seen.color - pixel[:, :3]).abs().mean()
    terms["mask"] = 0.1 * F.binary_cross_entropy(seen.opacity.clamp(1e-3, 1 - 1e-3), pixel[:, 3])
    terms["eikonal"] = 0.1 * eikonal_loss(gradient(sdf, at[true.abs() < 0.05][:384], 0.5 * config.voxel))
    free = torch.from_numpy(rng.uniform(-config.extent, config.extent, (512, 3)).astype(np.float32)).to(device)
    terms["sparsity"] = 0.02 * sparsity_loss(sdf(free))
    return terms


def _pick_pixels(alpha: npt.NDArray[np.uint8], count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """(count, 2) pixels (x, y): most in and around the object."""
    rows, columns = np.nonzero(alpha > 0)
    size = alpha.shape[0]
    if not len(rows):
        return rng.integers(0, size, (count, 2))
    margin = size // 16
    low = np.maximum([columns.min() - margin, rows.min() - margin], 0)
    high = np.minimum([columns.max() + margin + 1, rows.max() + margin + 1], size)
    return rng.integers(low, high, (count, 2))


class SurfaceProblem:
    """The surface network and its cases, as the training loop asks for them."""

    def __init__(self, options: SurfaceOptions) -> None:
        """Raises `InputError` for an option that does not fit, `WeightsError` for the generator's weights."""
        if options.config not in CONFIGS:
            known = ", ".join(CONFIGS)
            raise InputError(f"There is no surface network named {options.config!r}; choose one of {known}.")
        self.options, config = options, CONFIGS[options.config]
        device = trainer.pick(options.device)
        torch.manual_seed(options.seed)
        self.network = build_surface(config).to(device)
        folder, size = options.out / "cases", config.image_size
        self.makers = {"truth": CaseMaker(folder, size)}
        if options.generator is not None:
            self.makers["predicted"] = CaseMaker.predicted(options.generator, folder, size)
        self._taken = 0

    def optimizers(self, rate: float) -> list[torch.optim.Optimizer]:
        """AdamW."""
        groups = [{"params": list(self.network.parameters()), "share": 1.0}]
        return [torch.optim.AdamW(groups, rate, betas=(0.9, 0.99), weight_decay=0.01)]

    def open(self, state: dict[str, Any]) -> None:
        """Go on with the cases where the checkpoint was."""
        self._taken = state.get("taken", 0)

    def state(self) -> dict[str, Any]:
        """How many cases were taken."""
        return {"taken": self._taken}

    def batch(self, count: int) -> list[tuple[SurfaceCase, npt.NDArray, np.random.Generator]]:
        """The next cases, each with its views (32, S, S, 4) float32 and the generator of its further choices."""
        self._taken += count
        return [self._at(i) for i in range(self._taken - count, self._taken)]

    def _at(self, index: int) -> tuple[SurfaceCase, npt.NDArray, np.random.Generator]:
        """A function of seed and index, so that resuming is exact."""
        options = self.options
        rng = np.random.default_rng([options.seed, 11, index])
        predicted = "predicted" in self.makers and rng.random() < options.predicted_share
        # A drawn case costs several steps' time: it is used longer.
        latest = index // (options.reuse * (8 if predicted else 1)) + 8
        seed = int(split_seeds("train")[int(rng.integers(max(0, latest - 400), latest))])
        case = self.makers["predicted" if predicted else "truth"].make(seed)
        if predicted:
            return case, case.views.astype(np.float32) / 255, rng
        return case, degrade(case.views, float(rng.uniform(0, 1) ** 2), rng), rng

    def losses(self, batch: list[tuple[SurfaceCase, npt.NDArray, np.random.Generator]]) -> dict[str, Tensor]:
        """The mean of `losses` over the cases."""
        options = self.options
        terms = [losses(self.network, *case, options.points, options.rays) for case in batch]
        return {name: torch.stack([t[name] for t in terms]).mean() for name in terms[0]}

    def validate(self, network: nn.Module) -> dict[str, float]:
        """`evaluate` on validation objects, named `<truth or predicted>_<figure>`."""
        assert isinstance(network, SurfaceModel)
        return {
            f"{name}_{figure}": value
            for name, maker in self.makers.items()
            for figure, value in evaluate(network, maker, self.options.objects).items()
        }

    def score(self, figures: dict[str, float]) -> float:
        """Overlap from a generator's views where there is one, which is what users have; else from the truth's."""
        return figures.get("predicted_iou", figures["truth_iou"])

    def export(self, network: nn.Module, path: Path, run: dict[str, Any]) -> None:
        """Write float16 weights and their card."""
        assert isinstance(network, SurfaceModel)
        options = self.options
        changed = changed_arguments(options, SurfaceOptions(Path()), ("out", "resume", "device"))
        drawn = " and the built-in generator's" if options.generator else ""
        save_surface(
            network,
            path,
            config=options.config,
            description="Surface reconstruction network, trained by Oriel on its own procedural architecture.",
            command=" ".join(["oriel train surface", *changed]),
            seconds=run["hours"] * 3600,
            steps=run["samples"] // options.batch,
            data={"source": "engine.data, train split", "views": f"degraded true renders{drawn}", "seed": options.seed},
            figures=run["figures"],
        )

    def close(self) -> None:
        """Nothing works beside it."""


def train_surface(options: SurfaceOptions) -> Path:
    """Run the training; returns the path of the float16 weights (with a card beside them). See `trainer.train`."""
    return trainer.train(SurfaceProblem(options), options, WEIGHTS)


@torch.no_grad()
def evaluate(network: SurfaceModel, maker: CaseMaker, count: int) -> dict[str, float]:
    """Mean volume IoU and F-score of the network and of the visual hull of the same views, on `count` fixed objects.

    True renders are degraded by a fixed amount; a generator's views are taken as they are. The F-score's
    threshold is 0.05 of the object's longest side.
    """
    rows = []
    for seed in list(split_seeds("validation"))[:count]:
        case = maker.make(seed)
        views: npt.NDArray = case.views.astype(np.float32) / 255
        if maker.generator is None:
            views = degrade(case.views, 0.4, np.random.default_rng([5, seed]))
        scene = network.encode(views, case.c2ws, case.k)
        hull = SilhouetteField.build(views[..., 3], case.c2ws, case.k, network.device)
        fields: list[FieldFunction] = [
            lambda p, scene=scene: network.sdf(scene, p.to(network.device)),  # type: ignore[misc]
            lambda p, hull=hull: hull.largest(p.to(network.device), 1)[:, 0],  # type: ignore[misc]
        ]
        half = len(case.points) // 2
        box, inside = torch.from_numpy(case.points[half:]), torch.from_numpy(case.distance[half:] < 0)
        row = {}
        for name, field in zip(("", "hull_"), fields, strict=True):
            solid = field(box).cpu() < 0
            row[f"{name}iou"] = float((solid & inside).sum() / (solid | inside).sum().clamp(min=1))
            mesh = Mesh(*extract_mesh(field, 97, network.config.extent))
            row[f"{name}f_score"] = surface_f_score(mesh, case.surface, 0.05 * case.scale)
        rows.append(row)
    return {name: round(float(np.mean([r[name] for r in rows])), 4) for name in rows[0]}


def surface_f_score(mesh: Mesh, surface: npt.NDArray, threshold: float) -> float:
    """F-score of a mesh against points (N, 3) of the true surface; 0 if it has no faces.

    `threshold` in world units says how near is right.
    """
    if not len(mesh.faces):
        return 0.0
    points, _ = sample_mesh(mesh, 4096, np.random.default_rng(0))
    to_truth, _ = cKDTree(surface).query(points)
    to_mesh, _ = cKDTree(points).query(surface)
    return f_score_of(to_truth, to_mesh, threshold)


def save_surface(
    network: SurfaceModel,
    path: Path,
    *,
    config: str,
    description: str,
    command: str,
    seconds: float,
    steps: int,
    data: dict[str, Any],
    figures: dict[str, Any],
    **more: Any,
) -> None:
    """Write a network's weights in float16 with a card that says what made them; `load_surface` reads them.

    `seconds` of training go on the card as hours; `more` is added to it.
    """
    threads = f"CPU, {torch.get_num_threads()} thread(s)"
    where = torch.cuda.get_device_name() if network.device.type == "cuda" else threads
    card = {
        "model": MODEL,
        "config": config,
        "description": description,
        "commit": weights.commit(),
        "command": command,
        "hours": round(seconds / 3600, 3),
        "hardware": f"{where} ({platform.machine()})",
        "steps": steps,
        "data": data,
        "figures": figures,
        **more,
    }
    weights.save(path, {name: value.half() for name, value in network.state_dict().items()}, card)
