"""Training of the built-in view generator.

    python -m engine.views.train --minutes 60 --out out/views

Runs on CPU or CUDA; the same command with `--resume` goes on where it stopped. On a CPU a third of the time goes into
memory that is given back to the system and fetched again at every step, unless the allocator keeps it, as with the
environment variable `LD_PRELOAD=libtcmalloc_minimal.so.4` (Debian's libtcmalloc-minimal4). On a GPU cases are kept in
its memory and drawn again and again while the workers make new ones. Needs numpy, scipy, torch, opencv, moderngl,
safetensors and tqdm only.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from engine import weights
from engine.device import mixed_precision, pick_device
from engine.errors import InputError
from engine.files import claim_run
from engine.views.cases import CasePool, CaseSize, DevicePool
from engine.views.manhattan import CANDIDATES
from engine.views.network import MODEL, FieldCode, FieldConfig, FieldNetwork, stretch_positions

_SIZES = ("input_size", "width", "blocks", "layers", "fine_layers", "fine_width", "hidden")
"""Sizes of the network that the command line can set."""


@dataclass
class TrainOptions:
    """Everything a training run depends on."""

    out: Path
    """Folder of checkpoints, log and weights."""
    minutes: float | None = None
    """Budget in minutes of training, resumed runs added up."""
    steps: int | None = None
    """Budget in steps; the first budget reached ends the run."""
    batch: int = 32
    """Pictures a step."""
    points: int = 512
    """Labelled points of each picture a step."""
    rays: int = 32
    """Rays of other cameras for each picture a step, each with some labelled points."""
    colors: int = 160
    """Coloured surface points of each picture a step."""
    rate: float = 1.2e-3
    """Highest learning rate (Muon for the transformers' matrices, AdamW for the rest; short warm-up, cosine)."""
    seed: int = 0
    """Seed of weights, order and data; another seed sees other objects."""
    workers: int = os.cpu_count() or 1
    """Processes that make data; on a CPU they and the trainer take turns."""
    slots: int = 8192
    """Cases held in memory."""
    reuse: int = 3
    """Steps that each case takes part in."""
    device: str = "auto"
    """auto, cpu or cuda."""
    resume: bool = False
    """Go on from the folder's last checkpoint."""
    start: list[Path] = field(default_factory=list)
    """Weights to start from (.safetensors of this program); what has another shape starts anew. Of several, runs from
    the same weights, the mean: often better than each (Wortsman et al., "Model soups", 2022)."""
    evaluate_every: float = 8.0
    """Minutes between validation figures."""
    validation: int = 64
    """Validation objects behind those figures."""
    network: FieldConfig = field(default_factory=lambda: FieldConfig(input_size=64, fine_layers=6))
    """Sizes of the network. After 1.3 million pictures, those of 64 px had given more than those of 96."""


def losses(network: FieldNetwork, batch: dict[str, Tensor], points: int, colors: int, rays: int) -> dict[str, Tensor]:
    """The training losses of one batch.

    Occupancy: cross-entropy of the whole field on `points` of the labelled points and on the points of `rays` rays of
    other cameras, and (half weight) of the frustum volume alone, which costs little, on all of them. Rays: for every
    pixel, the largest occupancy along its ray through the frustum volume against the picture's alpha, so that
    foreground rays hit something and background rays nothing. Silhouette: the same for the rays of other cameras, in
    the whole field; and overlap: one less the soft intersection of these rays over their union in each picture, which
    asks for a decision where cross-entropy is content with a doubt. Colour: L1 at `colors` surface points. Elevation:
    cross-entropy with the candidates within 2 degrees or so of the truth.
    """
    picture, elevation = batch["picture"], batch["elevation"]
    code = network.encode(picture, batch["votes"].float())
    labelled = batch["points"].shape[1]
    n, r, c = (
        int(torch.randint(0, batch[name].shape[1] - count + 1, ()).item())
        for name, count in (("points", points), ("ray_points", rays), ("colors", colors))
    )
    ray_points = batch["ray_points"][:, r : r + rays].float().flatten(1, 2)
    where = torch.cat([batch["points"].float(), ray_points, batch["color_points"][:, c : c + colors].float()], 1)
    inside = torch.cat([batch["inside"], batch["ray_inside"][:, r : r + rays].flatten(1)], 1).float()
    volume, own_rays = network.look_up(code, where, elevation)
    chosen = torch.cat([torch.arange(n, n + points), torch.arange(labelled, where.shape[1])]).to(picture.device)
    logit, _, rgb = network.decode(code, where[:, chosen], elevation, volume=volume[:, chosen])
    assert rgb is not None
    answers = points + ray_points.shape[1]
    other_rays = logit[:, points:answers].unflatten(1, (rays, -1)).amax(2)
    other_hits = batch["ray_hit"][:, r : r + rays].float()
    soft = other_rays.float().sigmoid()
    both = (soft * other_hits).sum(1)
    hit = F.interpolate(picture[:, 3:], size=code.volume.shape[-2:], mode="area")[:, 0]
    near = -0.5 * ((CANDIDATES.to(picture.device) - elevation[:, None]) / 2) ** 2
    cross_entropy = F.binary_cross_entropy_with_logits
    return {
        "occupancy": cross_entropy(logit[:, :answers], inside[:, chosen[:answers]])
        + 0.5 * cross_entropy(volume[:, : inside.shape[1], 0], inside),
        "rays": 0.15 * cross_entropy(own_rays, hit),
        "silhouette": 0.12 * cross_entropy(other_rays, other_hits),
        "overlap": 0.08 * (1 - both / (soft.sum(1) + other_hits.sum(1) - both).clamp_min(1)).mean(),
        "color": 0.5 * (rgb[:, answers:] - batch["colors"][:, c : c + colors].float() / 255).abs().mean(),
        "elevation": 0.15 * F.cross_entropy(code.elevation_logits, near.softmax(1)),
    }


def to_tensors(arrays: dict[str, Any], device: torch.device) -> dict[str, Tensor]:
    """A batch of the pool as tensors; pictures become (B, 4, S, S) in 0..1."""
    out = {k: torch.as_tensor(v, device=device) for k, v in arrays.items()}
    out["picture"] = out["picture"].permute(0, 3, 1, 2).float() / 255
    return out


def mirror_some(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Half of a batch, drawn at random, as in a mirror: pictures left to right, worlds in y."""
    picture = batch["picture"]
    flip = torch.rand(len(picture), device=picture.device) < 0.5
    sign = picture.new_ones(len(picture), 1, 3)
    sign[:, :, 1] -= 2 * flip[:, None]
    return batch | {
        "picture": torch.where(flip[:, None, None, None], picture.flip(3), picture),
        "points": batch["points"].float() * sign,
        "color_points": batch["color_points"].float() * sign,
        "ray_points": batch["ray_points"].float() * sign[:, None],
    }


def validation_cases(size: CaseSize, count: int) -> dict[str, Any]:
    """Fixed cases of the validation split, one picture an object, with uniform points added for IoU."""
    from engine.data import split_seeds
    from engine.views.cases import CaseMaker

    maker = CaseMaker(size, views=1)
    cases = [maker.make(seed)[0] for seed in list(split_seeds("validation"))[:count]]
    return {k: np.stack([c[k] for c in cases]) for k in cases[0]}


def _iou(predicted: Tensor, truth: Tensor) -> Tensor:
    """(B,) overlap of masks (B, ...) over their union, on the CPU."""
    both, either = (predicted & truth).flatten(1).sum(1), (predicted | truth).flatten(1).sum(1)
    return (both / either.clamp_min(1)).cpu()


@torch.no_grad()
def validate(network: FieldNetwork, cases: dict[str, Any], device: torch.device) -> dict[str, float]:
    """Figures on validation cases: IoU of labelled points (with true elevation), elevation error, colour error."""
    network.eval()
    ious, errors, colors, rays, others = [], [], [], [], []
    count = len(cases["picture"])
    for start in range(0, count, 16):
        batch = to_tensors({k: v[start : start + 16] for k, v in cases.items()}, device)
        code: FieldCode = network.encode(batch["picture"])
        logit, _, _ = network.decode(code, batch["points"].float(), batch["elevation"], color=False)
        _, _, rgb = network.decode(code, batch["color_points"].float(), batch["elevation"])
        assert rgb is not None
        ious.append(_iou(logit > 0, batch["inside"] > 0))
        along, _, _ = network.decode(code, batch["ray_points"].float().flatten(1, 2), batch["elevation"], color=False)
        hits = batch["ray_hit"] > 0
        others.append(_iou(along.unflatten(1, (hits.shape[1], -1)).amax(2) > 0, hits))
        errors.append((code.elevation - batch["elevation"]).abs().cpu())
        colors.append((rgb - batch["colors"].float() / 255).abs().mean((1, 2)).cpu())
        hit = F.interpolate(batch["picture"][:, 3:], size=code.volume.shape[-2:], mode="area")[:, 0] > 0.5
        ray = code.volume[:, 0].amax(1) > 0
        rays.append(_iou(ray, hit))
    network.train()
    elevation = torch.cat(errors)
    return {
        "point_iou": float(torch.cat(ious).mean()),
        "elevation_median": float(elevation.median()),
        "elevation_p90": float(elevation.quantile(0.9)),
        "color_l1": float(torch.cat(colors).mean()),
        "ray_iou": float(torch.cat(rays).mean()),
        "other_ray_iou": float(torch.cat(others).mean()),
    }


def _optimizers(network: FieldNetwork, rate: float, *, fused: bool) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al., 2024) for the transformers' matrices, AdamW for the rest.

    Each group's `share` is what part of the learning rate it takes.
    """
    # Attention learns at less than half the rate: at the convolutions' it drowns the features in a constant.
    slow = set(network.attention.parameters()) | {network.position}
    transformers = [network.attention]
    if network.fine is not None:
        slow |= set(network.fine.parameters())
        transformers.append(network.fine.attention)
    inner = [p for transformer in transformers for p in transformer.parameters() if p.ndim == 2]
    matrices = set(inner)
    outer = [p for p in network.parameters() if p not in matrices]
    groups = [
        {
            "params": [p for p in outer if (p in slow) == is_slow and (p.ndim > 1) == is_matrix],
            "share": 0.4 if is_slow else 1.0,
            "weight_decay": 0.02 if is_matrix else 0.0,
        }
        for is_slow in (True, False)
        for is_matrix in (True, False)
    ]
    return [
        torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=fused),
        torch.optim.Muon([{"params": inner, "share": 0.4, "weight_decay": 0.02}], rate, adjust_lr_fn="match_rms_adamw"),
    ]


def _check(options: TrainOptions) -> None:
    """Raise `InputError` for an option that the network, its cases or their pool cannot work with."""
    case, side = CaseSize(), options.network.input_size
    # A pool on a CPU is refilled when a quarter of it is spent: a batch has to find its cases in the rest.
    largest = options.slots * 3 // 4
    rules = (
        ("minutes", options.minutes, options.minutes is None or options.minutes > 0, "more than 0"),
        ("steps", options.steps, options.steps is None or options.steps >= 0, "0 or more"),
        ("batch", options.batch, 1 <= options.batch <= largest, f"1 to {largest}, three quarters of --slots"),
        ("points", options.points, 1 <= options.points <= case.points, f"1 to {case.points}"),
        ("rays", options.rays, 1 <= options.rays <= case.rays, f"1 to {case.rays}"),
        ("workers", options.workers, options.workers >= 1 or options.steps == 0, "at least 1"),
        ("input-size", side, side > 0 and side % 16 == 0, "a multiple of 16"),
    )
    for name, value, fits, wanted in rules:
        if not fits:
            raise InputError(f"--{name} is {value}, but has to be {wanted}.")


def train(options: TrainOptions) -> Path:
    """Run the training; returns the path of the float16 weights (with a card beside them).

    Raises `InputError` for options that do not work and for a folder that holds a run, unless it is resumed;
    `OutputError` for one that cannot be written.
    """
    _check(options)
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    device = pick_device(auto if options.device == "auto" else options.device)
    out = options.out
    last = claim_run(out, "last.pt", "log.jsonl", resume=options.resume)
    torch.manual_seed(options.seed)
    network = FieldNetwork(options.network).to(device).to(memory_format=torch.channels_last)
    if options.start:
        own = network.state_dict()
        given = [_load(path, options.network.input_size) for path in options.start]
        fitting = {k: [g[k] for g in given if k in g and g[k].shape == v.shape] for k, v in own.items()}
        found = {k: torch.stack(values).mean(0) for k, values in fitting.items() if values}
        network.load_state_dict(found, strict=False)
        new = [k for k, v in own.items() if v.is_floating_point() and k not in found]
        _log(out, {"event": "start", "weights": [str(p) for p in options.start], "tensors": len(found), "new": new})
    average = copy.deepcopy(network).requires_grad_(False)
    optimizers = _optimizers(network, options.rate, fused=device.type == "cuda")
    size = CaseSize(picture=options.network.input_size)
    state: dict[str, Any] = {"step": 0, "seconds": 0.0, "best": -1.0, "next_seed": _first_seed(options.seed)}
    if last.exists():
        saved = torch.load(last, map_location=device, weights_only=True)
        if "optimizers" not in saved:
            raise InputError(
                f"{last} is of an earlier version. Start anew in another folder from its weights: "
                f"--start {out}/views.safetensors"
            )
        try:
            network.load_state_dict(saved["network"])
            average.load_state_dict(saved["average"])
        except RuntimeError:
            raise InputError(
                f"{last} is of a network of other sizes. Give the sizes of that run, or start anew in another folder "
                f"from its weights: --start {out}/views.safetensors"
            ) from None
        for optimizer, content in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(content)
        state = saved["state"]
        torch.set_rng_state(saved["rng"].cpu())
        _log(out, {"event": "resumed", **state})

    def share() -> float:
        parts = [state["step"] / options.steps if options.steps else 1.0] if options.steps is not None else []
        parts += [state["seconds"] / 60 / options.minutes] if options.minutes else []
        return max(parts, default=0.0)

    on_cpu = device.type == "cpu"
    pool = CasePool(
        size,
        workers=options.workers if share() < 1 else 0,
        slots=options.slots if on_cpu else min(options.slots, 16 * options.workers + options.batch),
        reuse=options.reuse,
        first_seed=state["next_seed"],
        seed=options.seed + state["step"],
        turns=on_cpu,
        votes=on_cpu,
    )
    source = pool if on_cpu else DevicePool(pool, options.slots, device)
    autocast = mixed_precision(device)
    earlier = evaluated = state["seconds"]
    sums, count = dict[str, Tensor](), 0
    averaged, current = ([v for v in n.state_dict().values() if v.is_floating_point()] for n in (average, network))

    def save() -> None:
        state["next_seed"] = pool.next_seed
        content = {
            "network": network.state_dict(),
            "average": average.state_dict(),
            "optimizers": [o.state_dict() for o in optimizers],
            "state": state,
            "rng": torch.get_rng_state(),
        }
        torch.save(content, out / "last.tmp")
        (out / "last.tmp").replace(last)

    def evaluate() -> None:
        with autocast:
            figures = validate(average, cases, device)
        score = figures["point_iou"] - 0.005 * figures["elevation_median"]
        _log(out, {"event": "validation", "step": state["step"], "minutes": state["seconds"] / 60, **figures})
        if score > state["best"]:
            state["best"] = score
            export(average, out / "views.safetensors", options, state, figures, device)
        save()

    try:
        cases = validation_cases(size, options.validation)  # meanwhile the workers fill the pool
        started = reported = time.perf_counter()
        while share() < 1:
            batch = mirror_some(to_tensors(source.batch(options.batch), device))
            done = share()
            factor = min(1.0, (state["step"] + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * done)) + 0.002
            for group in (g for o in optimizers for g in o.param_groups):
                group["lr"] = options.rate * factor * group["share"]
            with autocast:
                parts = losses(network, batch, options.points, options.colors, options.rays)
                total = torch.stack(list(parts.values())).sum()
            network.zero_grad(set_to_none=True)
            total.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            for p in network.parameters():
                if p.grad is not None:  # one that overflowed counts as 0; asking which would make a GPU wait
                    p.grad.nan_to_num_(0.0, 0.0, 0.0)
            for optimizer in optimizers:
                optimizer.step()
            state["step"] += 1
            state["seconds"] = earlier + time.perf_counter() - started
            keep = min(0.999, state["step"] / (state["step"] + 20))
            get_ema_multi_avg_fn(keep)(averaged, current, None)
            count += 1
            for name, value in parts.items():
                sums[name] = sums.get(name, 0) + value.detach()
            now = time.perf_counter()
            if now - reported > 30:
                means = {k: round(float(v) / count, 4) for k, v in sums.items()}
                speed = count * options.batch / (now - reported)
                _log(
                    out,
                    {
                        "event": "step",
                        "step": state["step"],
                        "minutes": round(state["seconds"] / 60, 2),
                        "pictures_per_s": round(speed, 1),
                        "waiting": round(pool.waited / (now - started), 3),
                        "made": pool.made,
                        **means,
                    },
                )
                reported, count = now, 0
                sums.clear()
            if state["seconds"] - evaluated > options.evaluate_every * 60:
                evaluate()
                evaluated = state["seconds"]
        evaluate()
    except KeyboardInterrupt:
        save()
        raise
    finally:
        pool.close()
    return out / "views.safetensors"


def export(
    network: FieldNetwork,
    path: Path,
    options: TrainOptions,
    state: dict[str, Any],
    figures: dict[str, float],
    device: torch.device,
) -> None:
    """Write float16 weights and their card."""
    tensors = {k: v.half() for k, v in network.state_dict().items() if v.is_floating_point()}
    card = {
        "model": MODEL,
        "description": "Built-in view generator, trained by Oriel on its own procedural architecture.",
        "network": options.network.to_json(),
        "commit": weights.commit(),
        "command": " ".join(["python", "-m", "engine.views.train", *_arguments(options)]),
        "hours": round(state["seconds"] / 3600, 3),
        "hardware": torch.cuda.get_device_name() if device.type == "cuda" else f"{os.cpu_count()} CPU cores",
        "data": {"pictures_seen": state["step"] * options.batch, "seed": options.seed, "source": "engine.data"},
        "validation": figures,
    }
    weights.save(path, tensors, card)


def _load(path: Path, side: int) -> dict[str, Tensor]:
    """Weights for a network that reads pictures of `side` px."""
    given = {k: v.float() for k, v in weights.find(path).load(MODEL).items()}
    for name, pixels in (("position", 16), ("fine.position", 8)):
        if name in given:
            given[name] = stretch_positions(given[name], side // pixels)
    return given


def _first_seed(seed: int) -> int:
    """First object of a run: a million of them lie between two runs' seeds."""
    from engine.data import split_seeds

    objects = split_seeds("train")
    return int(objects[seed * 1_000_000 % len(objects)])


def _arguments(options: TrainOptions) -> list[str]:
    args = []
    for name in ("minutes", "steps", "batch", "points", "rays", "rate", "seed", "workers", "slots", "reuse"):
        value = getattr(options, name)
        if value is not None:
            args += [f"--{name}", str(value)]
    if options.start:
        args += ["--start", *(path.name for path in options.start)]
    default = TrainOptions(Path()).network
    for name in _SIZES:
        if getattr(options.network, name) != getattr(default, name):
            args += [f"--{name.replace('_', '-')}", str(getattr(options.network, name))]
    return args


def _log(out: Path, row: dict[str, Any]) -> None:
    line = json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()})
    print(line, flush=True)
    with (out / "log.jsonl").open("a") as file:
        file.write(line + "\n")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `oriel train views`."""
    default = TrainOptions(Path())
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints, log and weights")
    parser.add_argument("--minutes", type=float, help="budget in minutes of training")
    parser.add_argument("--steps", type=int, help="budget in steps")
    parser.add_argument("--batch", type=int, default=default.batch, help="pictures a step")
    parser.add_argument("--points", type=int, default=default.points, help="labelled points of each picture a step")
    parser.add_argument("--rays", type=int, default=default.rays, help="rays of other cameras of each picture a step")
    parser.add_argument("--rate", type=float, default=default.rate, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--workers", type=int, default=default.workers, help="processes that make data")
    parser.add_argument("--slots", type=int, default=default.slots, help="cases held in memory (about 0.1 MB each)")
    parser.add_argument("--reuse", type=int, default=default.reuse, help="steps that each case takes part in")
    parser.add_argument("--device", default=default.device, choices=("auto", "cpu", "cuda"))
    parser.add_argument("--resume", action="store_true", help="go on from the folder's last checkpoint")
    parser.add_argument(
        "--start",
        type=Path,
        nargs="+",
        default=[],
        help="weights to start from; the mean of several (--steps 0: only it)",
    )
    parser.add_argument("--evaluate-every", type=float, default=default.evaluate_every, help="minutes between figures")
    for name in _SIZES:
        value = getattr(default.network, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value, help=f"network: {name}")


def run(args: argparse.Namespace) -> int:
    """`oriel train views`."""
    if args.minutes is None and args.steps is None:
        raise InputError("Say how long to train: --minutes 60 or --steps 5000.")
    # Either signal stops and saves; a shell that starts a job in the background has it ignore the first.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    network = FieldConfig(**{name: getattr(args, name) for name in _SIZES})
    names = (
        "out",
        "minutes",
        "steps",
        "batch",
        "points",
        "rays",
        "rate",
        "seed",
        "workers",
        "slots",
        "reuse",
        "device",
        "resume",
        "start",
    )
    options = TrainOptions(**{n: getattr(args, n) for n in names}, evaluate_every=args.evaluate_every, network=network)
    try:
        path = train(options)
    except KeyboardInterrupt:
        print(f"stopped; the same command with --resume goes on from {options.out / 'last.pt'}")
        return 130
    print(f"weights: {path}")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    sys.exit(run(parser.parse_args()))
