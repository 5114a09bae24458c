"""Training of the surface network.

    python -m engine.surface.train --minutes 60 --out out/surface

Runs on CPU or CUDA; the same command with `--resume` goes on where it stopped, step for step. `--generator` mixes in
views drawn by the built-in view generator, whose faults the network then learns to mend. Needs numpy, scipy, torch,
opencv, moderngl and safetensors only.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import platform
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.spatial import cKDTree
from torch import Tensor

from engine import weights
from engine.data import split_seeds
from engine.device import pick_device
from engine.errors import InputError
from engine.evaluation.geometry import f_score_of, sample_mesh
from engine.files import claim_run
from engine.mesh import Mesh
from engine.progress import CancelToken
from engine.surface.cases import CaseMaker, SurfaceCase, degrade
from engine.surface.extraction import FieldFunction, extract_mesh
from engine.surface.hull import SilhouetteField
from engine.surface.network import BUILT_IN, SurfaceConfig, SurfaceModel
from engine.surface.reconstruct import CONFIGS, MODEL, build_surface
from engine.surface.rendering import eikonal_loss, gradient, render_pixels, sparsity_loss
from engine.training.records import append_row

TRAINING_SOURCES = 10
"""Views that a training step takes features from."""
TRUNCATION = 0.1
"""Distances (world units) beyond this count as equal in the direct loss."""
OCCUPANCY_WIDTH = 0.015
"""Width (world units) of the soft inside/outside that the sign loss sees."""
LOG_COLUMNS = (
    "step", "seconds", "kind", "loss", "distance", "sign", "overlap", "rgb", "mask", "eikonal", "sparsity",
    "iou", "hull_iou", "f_score", "hull_f_score",
)  # fmt: skip


@dataclass
class TrainOptions:
    """Everything a training run depends on."""

    out: Path
    """Folder of checkpoint, log, cases and weights."""
    minutes: float | None = None
    """Budget in minutes of training, resumed runs added up."""
    steps: int | None = None
    """Budget in steps, resumed runs added up; the first budget reached ends the run."""
    config: str = BUILT_IN.name
    """Name of the network's configuration."""
    rate: float = 1.5e-3
    """Highest learning rate (AdamW, short warm-up, cosine)."""
    points: int = 8192
    """Labelled points a step."""
    rays: int = 32
    """Rays rendered a step."""
    seed: int = 0
    """Seed of weights, order, data and faults."""
    device: str = "auto"
    """auto, cpu or cuda."""
    resume: bool = False
    """Go on from the folder's last checkpoint."""
    generator: Path | None = None
    """Weights of the built-in view generator whose views are mixed in."""
    predicted_share: float = 0.6
    """Share of the steps that see a generator's views, when there is one."""
    reuse: int = 3
    """Steps that each case takes part in on average, a drawn one eight times as many."""
    evaluate_every: float = 8.0
    """Minutes between validation figures."""
    objects: int = 8
    """Validation objects behind them."""
    heldout: int = 24
    """Held-out objects behind the figures on the card; 0 for none."""


@dataclass
class _State:
    """What a checkpoint holds besides tensors."""

    step: int = 0
    seconds: float = 0.0


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


@dataclass
class _Cases:
    """Which case, seen how, belongs to a step: a function of seed and step, so that resuming is exact."""

    options: TrainOptions
    truth: CaseMaker
    predicted: CaseMaker | None

    def at(self, step: int) -> tuple[SurfaceCase, npt.NDArray, np.random.Generator]:
        """Case, views (32, S, S, 4) float32 and the generator of the step's further choices."""

        rng = np.random.default_rng([self.options.seed, 11, step])
        predicted = self.predicted is not None and rng.random() < self.options.predicted_share
        # A drawn case costs several steps' time: it is used longer.
        latest = step // (self.options.reuse * (8 if predicted else 1)) + 8
        seed = int(split_seeds("train")[int(rng.integers(max(0, latest - 400), latest))])
        if self.predicted is not None and predicted:
            case = self.predicted.make(seed)
            return case, case.views.astype(np.float32) / 255, rng
        case = self.truth.make(seed)
        return case, degrade(case.views, float(rng.uniform(0, 1) ** 2), rng), rng


def train_surface(options: TrainOptions, cancel: CancelToken | None = None) -> Path:
    """Run the training; returns the path of the float16 weights (with a card beside them).

    A cancelled run ends after the step in work with a checkpoint and weights; `resume` goes on from there. Raises
    `InputError` for a folder that holds a run, unless it is resumed; `OutputError` for one that cannot be written.
    """
    if options.config not in CONFIGS:
        raise InputError(f"There is no surface network named {options.config!r}; choose one of {', '.join(CONFIGS)}.")
    config = CONFIGS[options.config]
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    device = pick_device(auto if options.device == "auto" else options.device)
    out = options.out
    last = claim_run(out, "last.ckpt", "log.csv", resume=options.resume)
    torch.manual_seed(options.seed)
    network = build_surface(config).to(device)
    average = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(network.parameters(), options.rate, betas=(0.9, 0.99), weight_decay=0.01)
    state = _State()
    if last.exists():
        saved = torch.load(last, map_location=device, weights_only=True)
        try:
            network.load_state_dict(saved["network"])
            average.load_state_dict(saved["average"])
        except RuntimeError:
            raise InputError(
                f"{last} is of another network than {options.config!r}. Give that run's --config, or start anew in "
                "another folder."
            ) from None
        optimizer.load_state_dict(saved["optimizer"])
        state = _State(saved["step"], saved["seconds"])
    cases = _make_cases(options, config)
    cancel = cancel or CancelToken()
    figures = _train(options, network, average, optimizer, state, cases, cancel)
    path = out / "surface.safetensors"
    if options.heldout > 0 and not cancel.cancelled:
        figures = {"heldout, degraded truth": evaluate(average, cases.truth, "heldout", options.heldout)}
        if cases.predicted is not None:
            figures["heldout, built-in generator"] = evaluate(average, cases.predicted, "heldout", options.heldout)
        print(figures, flush=True)
    export(average, path, options, state, figures)
    return path


def _make_cases(options: TrainOptions, config: SurfaceConfig) -> _Cases:
    folder = options.out / "cases"
    predicted = None
    if options.generator is not None:
        predicted = CaseMaker.predicted(options.generator, folder, config.image_size)
    return _Cases(options, CaseMaker(folder, config.image_size), predicted)


def _train(
    options: TrainOptions,
    network: SurfaceModel,
    average: SurfaceModel,
    optimizer: torch.optim.Optimizer,
    state: _State,
    cases: _Cases,
    cancel: CancelToken,
) -> dict[str, Any]:
    """Steps until the budget is spent or the run is cancelled; returns the last figures."""
    earlier, started = state.seconds, time.perf_counter()
    saved = evaluated = started
    latest: dict[str, Any] = {}
    sums: dict[str, float] = {}
    count = 0

    def share() -> float:
        parts = [state.step / options.steps] if options.steps else []
        parts += [state.seconds / 60 / options.minutes] if options.minutes else []
        return max(parts, default=0.0)

    def save() -> None:
        content = {
            "network": network.state_dict(),
            "average": average.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": state.step,
            "seconds": state.seconds,
        }
        partial = options.out / "last.tmp"
        torch.save(content, partial)
        partial.replace(options.out / "last.ckpt")

    while share() < 1 and not cancel.cancelled:
        case, views, rng = cases.at(state.step)
        rate = options.rate * (min(1.0, (state.step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * share())) + 0.01)
        for group in optimizer.param_groups:
            group["lr"] = rate
        network.train()
        terms = losses(network, case, views, rng, options.points, options.rays)
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        if torch.isfinite(norm):
            optimizer.step()
        state.step += 1
        state.seconds = earlier + time.perf_counter() - started
        keep = min(0.997, state.step / (state.step + 10))
        with torch.no_grad():
            for slow, fast in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
                slow.lerp_(fast, 1 - keep)
        count += 1
        for name, value in (("loss", loss), *terms.items()):
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        if count == 50 or share() >= 1 or cancel.cancelled:
            _log(options.out, {"kind": "train", "step": state.step, "seconds": state.seconds}
                 | {name: value / count for name, value in sums.items()})  # fmt: skip
            sums.clear()
            count = 0
        now = time.perf_counter()
        if now - evaluated > options.evaluate_every * 60:
            for name, maker in (("truth", cases.truth), ("predicted", cases.predicted)):
                if maker is not None:
                    figures = evaluate(average, maker, "validation", options.objects)
                    latest[f"validation, {name}"] = {"step": state.step} | figures
                    _log(options.out, {"kind": name, "step": state.step, "seconds": state.seconds} | figures)
            export(average, options.out / "surface.safetensors", options, state, latest)
            evaluated = time.perf_counter()
        if now - saved > 90:
            save()
            saved = now
    save()
    return latest


@torch.no_grad()
def evaluate(network: SurfaceModel, maker: CaseMaker, split: str, count: int) -> dict[str, float]:
    """Mean volume IoU and F-score of the network and of the visual hull of the same views, on fixed objects.

    True renders are degraded by a fixed amount; a generator's views are taken as they are. The F-score's
    threshold is 0.05 of the object's longest side.
    """

    network.eval()
    seeds = split_seeds("validation" if split == "validation" else "heldout")
    rows = []
    for seed in list(seeds)[:count]:
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


def export(network: SurfaceModel, path: Path, options: TrainOptions, state: _State, figures: dict[str, Any]) -> None:
    """Write float16 weights and their card."""
    save_surface(
        network,
        path,
        config=options.config,
        description="Surface reconstruction network, trained by Oriel on its own procedural architecture.",
        command=" ".join(["python -m engine.surface.train", *_arguments(options)]),
        seconds=state.seconds,
        steps=state.step,
        data={
            "source": "engine.data, train split",
            "views": "degraded true renders" + (" and the built-in generator's" if options.generator else ""),
            "seed": options.seed,
        },
        figures=figures,
    )


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


def _arguments(options: TrainOptions) -> list[str]:
    names = ("minutes", "steps", "config", "rate", "seed", "reuse")
    default = TrainOptions(Path())
    changed = [(n, getattr(options, n)) for n in names if getattr(options, n) != getattr(default, n)]
    return [f"--{n} {v}" for n, v in changed] + (["--generator views.safetensors"] if options.generator else [])


def _log(out: Path, row: dict[str, Any]) -> None:
    """Append one row to log.csv and print it."""
    short = {name: round(v, 5) if isinstance(v, float) else v for name, v in row.items()}
    append_row(out / "log.csv", LOG_COLUMNS, short)
    print(" ".join(f"{name}={value}" for name, value in short.items()), flush=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `oriel train surface`."""
    default = TrainOptions(Path())
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint, log, cases and weights")
    parser.add_argument("--minutes", type=float, help="budget in minutes of training")
    parser.add_argument("--steps", type=int, help="budget in steps")
    parser.add_argument("--config", choices=tuple(CONFIGS), default=default.config)
    parser.add_argument("--rate", type=float, default=default.rate, help="highest learning rate")
    parser.add_argument("--points", type=int, default=default.points, help="labelled points a step")
    parser.add_argument("--rays", type=int, default=default.rays, help="rays rendered a step")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default=default.device)
    parser.add_argument("--resume", action="store_true", help="go on from the folder's last checkpoint")
    parser.add_argument("--generator", type=Path, help="weights of the view generator whose views are mixed in")
    parser.add_argument("--predicted-share", type=float, default=default.predicted_share, help="share of its views")
    parser.add_argument("--reuse", type=int, default=default.reuse, help="steps that each case takes part in")
    parser.add_argument("--evaluate-every", type=float, default=default.evaluate_every, help="minutes between figures")
    parser.add_argument("--objects", type=int, default=default.objects, help="validation objects behind them")
    parser.add_argument("--heldout", type=int, default=default.heldout, help="held-out objects behind the last ones")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU threads")


def run(args: argparse.Namespace) -> int:
    """`oriel train surface`."""
    if not (args.minutes or args.steps):  # a budget of 0 is none, and such a run would not end
        raise InputError("Say how long to train: --minutes 60 or --steps 2000.")
    torch.set_num_threads(args.threads)
    options = TrainOptions(**{name: getattr(args, name) for name in TrainOptions.__dataclass_fields__})
    cancel = CancelToken()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: cancel.cancel())
    print(f"weights: {train_surface(options, cancel=cancel)}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command line `python -m engine.surface.train`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    return run(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
