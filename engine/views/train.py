"""Training of the built-in view generator.

    oriel train views --minutes 60 --out out/views --models MODELS

Runs on CPU or CUDA; the same command with `--resume` goes on where it stopped. On a CPU a third of the time goes into
memory that is given back to the system and fetched again at every step, unless the allocator keeps it, as with the
environment variable `LD_PRELOAD=libtcmalloc_minimal.so.4` (Debian's libtcmalloc-minimal4). On a GPU cases are kept in
its memory and drawn again and again while the workers make new ones. Needs numpy, scipy, torch, opencv, moderngl,
trimesh, safetensors and tqdm only.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine import weights
from engine.cameras import INPUT_RADIUS
from engine.data import make_object, split_seeds
from engine.data.models import ModelLibrary
from engine.data.renderer import Solid
from engine.data.variation import finished
from engine.errors import InputError
from engine.training import trainer
from engine.training.muon import Muon
from engine.training.trainer import TrainerOptions
from engine.views.builtin import LEAN
from engine.views.cases import CaseMaker, CasePool, CaseSize, DevicePool
from engine.views.manhattan import CANDIDATES, mirrored
from engine.views.network import MODEL, stretch_positions, to_camera
from engine.views.spatial import AZIMUTHS, SpatialConfig, SpatialNetwork

WEIGHTS = "views.safetensors"
_AZIMUTH_ERROR, _AZIMUTH_LOST = 2.0, 0.06  # degrees by which the azimuth given is wrong; share that is just any
_LENS_UNKNOWN = 0.25
_KINDS = ("procedural", "building", "thing")
"""Names of the kinds of objects, as numbered in a case."""


@dataclass
class ViewsOptions(TrainerOptions):
    """Everything a training run of the view generator depends on."""

    points: int = 512
    """Labelled points of each picture a step."""
    rays: int = 32
    """Rays of other cameras for each picture a step, each with some labelled points."""
    colors: int = 160
    """Coloured surface points of each picture a step."""
    models: list[Path] = field(default_factory=list)
    """Folders of real models to learn from, beside the procedural objects."""
    cache: Path | None = None
    """Folder for their solids, made once; by default `models` in the run's folder."""
    share: float = 0.6
    """Share of real models among the objects, where there are any."""
    buildings: float = 0.65
    """Share of buildings among those."""
    field_rate: float = 0.3
    """Part of the rate that the network which reads the picture takes; 0 leaves it as it is."""
    workers: int = os.cpu_count() or 1
    """Processes that make data; on a CPU they and the trainer take turns."""
    slots: int = 6000
    """Cases held in memory."""
    reuse: int = 4
    """Steps that each case takes part in."""
    start: list[Path] = field(default_factory=list)
    """Weights to start from (.safetensors of this program); what has another shape starts anew. Of several, runs from
    the same weights, the mean: often better than each (Wortsman et al., "Model soups", 2022)."""
    validation: int = 48
    """Validation objects of each kind behind the figures."""
    network: SpatialConfig = field(default_factory=SpatialConfig)
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
    code.azimuth = (code.azimuth + 45) % 90 - 45
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
    turn = (AZIMUTHS.to(picture.device) - azimuth[:, None] + 45) % 90 - 45
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
        "mask": torch.where(flip[:, None, None], batch["mask"].flip(2), batch["mask"]),
        "votes": torch.where(flip[:, None, None], mirrored(batch["votes"]), batch["votes"]),
        "azimuth": torch.where(flip, -batch["azimuth"], batch["azimuth"]),
        "points": batch["points"].float() * sign,
        "color_points": batch["color_points"].float() * sign,
        "ray_points": batch["ray_points"].float() * sign[:, None],
    }


def assume_reference(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Some of a batch as one sees them who takes every lens for the reference's: every pixel's ray is bent to that
    lens, depths about the object stay. It is all that can be said of a picture whose lens is not known."""
    lens, e = batch["lens"], torch.deg2rad(batch["elevation"])[:, None]
    bent = torch.where(torch.rand_like(lens) < _LENS_UNKNOWN, lens, 1.0)[:, None]

    def bend(points: Tensor) -> Tensor:
        right, up, back = to_camera(points.float().flatten(1, -2), batch["elevation"]).unbind(-1)
        scale = bent * back / (back - (bent - 1) * INPUT_RADIUS)
        right, up, back = right * scale, up * scale, back + INPUT_RADIUS
        world = torch.stack([back * e.cos() - up * e.sin(), right, back * e.sin() + up * e.cos()], -1)
        return world.view_as(points)

    of_points = {name: bend(batch[name]) for name in ("points", "color_points", "ray_points")}
    return batch | of_points | {"lens": lens / bent[:, 0]}


def _iou(predicted: Tensor, truth: Tensor) -> Tensor:
    """(B,) overlap of masks (B, ...) over their union, on the CPU."""
    both, either = (predicted & truth).flatten(1).sum(1), (predicted | truth).flatten(1).sum(1)
    return (both / either.clamp_min(1)).cpu()


def measure(network: SpatialNetwork, cases: dict[str, Any], device: torch.device) -> dict[str, float]:
    """Figures on validation cases with the true elevation and lens: IoU of labelled points and of rays of other
    cameras, both with the doubt that the generator gives, errors of elevation and azimuth (degrees) and of colours."""
    found: dict[str, list[Tensor]] = {"point_iou": [], "ray_iou": [], "elevation": [], "azimuth": [], "color_l1": []}
    for start in range(0, len(cases["picture"]), 16):
        batch = to_tensors({k: v[start : start + 16] for k, v in cases.items()}, device)
        code = network.encode(batch["picture"], batch["votes"].float())
        code.lens = batch["lens"]
        logit, _, _ = network.decode(code, batch["points"].float(), batch["elevation"], color=False)
        found["point_iou"].append(_iou(logit > -LEAN, batch["inside"] > 0))
        along, _, _ = network.decode(code, batch["ray_points"].float().flatten(1, 2), batch["elevation"], color=False)
        hits = batch["ray_hit"] > 0
        found["ray_iou"].append(_iou(along.unflatten(1, (hits.shape[1], -1)).amax(2) > -LEAN, hits))
        _, _, rgb = network.decode(code, batch["color_points"].float(), batch["elevation"])
        assert rgb is not None
        found["color_l1"].append((rgb - batch["colors"].float() / 255).abs().mean((1, 2)).cpu())
        found["elevation"].append((code.elevation - batch["elevation"]).abs().cpu())
        turn = ((code.azimuth - batch["azimuth"] + 45) % 90 - 45).abs()
        found["azimuth"].append(turn[batch["aligned"] > 0].cpu())
    joined = {name: torch.cat(values) for name, values in found.items()}
    return {name: float(v.median() if name in ("elevation", "azimuth") else v.mean()) for name, v in joined.items()}


class ViewsProblem:
    """The view generator and its training cases, as the training loop asks for them."""

    def __init__(self, options: ViewsOptions) -> None:
        """Raises `InputError` for an option that the network, its cases or their pool cannot work with, and for a
        folder of models in which nothing can be used; `WeightsError` for weights to start from that do not fit."""
        case, side = CaseSize(), options.network.field.input_size
        # A pool on a CPU is refilled when a quarter of it is spent: a batch has to find its cases in the rest.
        largest = options.slots * 3 // 4
        trainer.check(
            ("batch", options.batch, 1 <= options.batch <= largest, f"1 to {largest}, three quarters of --slots"),
            ("points", options.points, 1 <= options.points <= case.points, f"1 to {case.points}"),
            ("rays", options.rays, 1 <= options.rays <= case.rays, f"1 to {case.rays}"),
            ("workers", options.workers, options.workers >= 1 or options.steps == 0, "at least 1"),
            ("share", options.share, 0 <= options.share <= 1, "0 to 1"),
            ("picture", 2 * side, side > 0 and side % 16 == 0, "a multiple of 32"),
        )
        self.options = options
        self.device = trainer.pick(options.device)
        torch.manual_seed(options.seed)
        self.network = SpatialNetwork(options.network)
        self.network.features.fill()
        if options.start:
            _start(self.network, options.start)
        self.library: ModelLibrary | None = None
        if options.models:
            self.library = ModelLibrary.scan(options.models, options.cache or options.out / "models")
            self.library.write_report()
        self.size = CaseSize(picture=options.network.input_size)
        self._pool: CasePool | None = None
        self._cases: dict[str, dict[str, Any]] | None = None

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

    def open(self, state: dict[str, Any]) -> None:
        """Start the workers; meanwhile make the validation cases."""
        options, on_cpu = self.options, self.device.type == "cpu"
        first = state.get("next_seed", _first_seed(options.seed))
        self._pool = CasePool(
            self.size,
            workers=options.workers if options.steps != 0 else 0,
            slots=options.slots if on_cpu else min(options.slots, 16 * options.workers + options.batch),
            reuse=options.reuse,
            first_seed=first,
            seed=options.seed + first,
            turns=on_cpu,
            votes=on_cpu,
            models=self.library,
            share=options.share,
            buildings=options.buildings,
        )
        self._source = self._pool if on_cpu else DevicePool(self._pool, options.slots, self.device)
        self._validation()

    def state(self) -> dict[str, Any]:
        """The first object that no worker has taken."""
        return {"next_seed": self._pool.next_seed} if self._pool else {}

    def batch(self, count: int) -> dict[str, Tensor]:
        """`count` cases, half of them mirrored, some with an unknown lens."""
        return assume_reference(mirror_some(to_tensors(self._source.batch(count), self.device)))

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """See `losses`."""
        return losses(self.network, batch, self.options.points, self.options.colors, self.options.rays)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """`measure` of each kind of object there is, named `<kind>_<figure>`."""
        assert isinstance(network, SpatialNetwork)
        return {
            f"{kind}_{name}": value
            for kind, cases in self._validation().items()
            for name, value in measure(network, cases, self.device).items()
        }

    def score(self, figures: dict[str, float]) -> float:
        """What users need: real buildings where there are any, else the procedural ones."""
        kind = "building" if "building_point_iou" in figures else "procedural"
        return figures[f"{kind}_point_iou"] + figures[f"{kind}_ray_iou"] - 0.01 * figures[f"{kind}_elevation"]

    def export(self, network: nn.Module, path: Path, run: dict[str, Any]) -> None:
        """Write float16 weights and their card."""
        assert isinstance(network, SpatialNetwork)
        options, device = self.options, run["device"]
        tensors = {k: v.half() for k, v in network.state_dict().items() if v.is_floating_point()}
        card = {
            "model": MODEL,
            "description": "Built-in view generator, trained by Oriel on its own procedural architecture"
            + (" and on openly licensed models." if options.models else "."),
            "network": network.config.to_json(),
            "commit": weights.commit(),
            "command": " ".join(["oriel train views", *_arguments(options)]),
            "hours": round(run["hours"], 3),
            "hardware": torch.cuda.get_device_name() if device.type == "cuda" else f"{os.cpu_count()} CPU cores",
            "data": {"pictures_seen": run["samples"], "seed": options.seed, "source": "engine.data", **self._credits()},
            "validation": run["figures"],
        }
        weights.save(path, tensors, card)

    def _credits(self) -> dict[str, Any]:
        """How many models there were, and whose, under which licence."""
        used = [e for e in self.library.entries if not e.left_out] if self.library else []
        authors = sorted({f"{e.author or 'unknown'} ({e.licence or 'licence unknown'})" for e in used})
        return {"models": len(used), "model_authors": authors} if used else {}

    def close(self) -> None:
        """End the workers."""
        if self._pool:
            self._pool.close()

    def _validation(self) -> dict[str, dict[str, Any]]:
        """Fixed cases of held-back objects, one picture each, by kind; made once."""
        if self._cases is None:
            maker, self._cases = CaseMaker(self.size, views=1), {}
            for kind, name in enumerate(_KINDS):
                made = [
                    maker.cases_of(solid, np.random.default_rng([8, i]))[0]
                    for i, solid in enumerate(self._held_back(kind))
                ]
                if made:
                    self._cases[name] = {k: np.stack([c[k] for c in made]) for k in made[0]}
        return self._cases

    def _held_back(self, kind: int) -> Iterator[Solid]:
        """Solids of the validation split, as many as the options say."""
        if not kind:
            yield from map(make_object, list(split_seeds("validation"))[: self.options.validation])
        elif self.library:
            of_kind = [i for i, e in enumerate(self.library.entries) if (e.split, e.kind) == ("validation", kind)]
            left = self.options.validation
            for i in np.random.default_rng(kind).permutation(of_kind):
                if left:
                    with suppress(InputError):  # left out; the library's report says why
                        yield finished(self.library.solid(int(i)), np.random.default_rng(int(i)))
                        left -= 1


def train(options: ViewsOptions) -> Path:
    """Run the training; returns the path of the float16 weights (with a card beside them). See `trainer.train`."""
    return trainer.train(ViewsProblem(options), options, WEIGHTS)


def _start(network: SpatialNetwork, paths: list[Path]) -> None:
    """Put the mean of some weights into a network, as far as shapes fit."""
    own = network.state_dict()
    given = []
    for path in paths:
        tensors = {k: v.float() for k, v in weights.find(path).load(MODEL).items()}
        for name, pixels in (("field.position", 16), ("field.fine.position", 8)):
            if name in tensors:
                tensors[name] = stretch_positions(tensors[name], network.config.field.input_size // pixels)
        given.append(tensors)
    fitting = {k: [g[k] for g in given if k in g and g[k].shape == v.shape] for k, v in own.items()}
    network.load_state_dict({k: torch.stack(v).mean(0) for k, v in fitting.items() if v}, strict=False)


def _first_seed(seed: int) -> int:
    """First object of a run: a million of them lie between two runs' seeds."""
    objects = split_seeds("train")
    return int(objects[seed * 1_000_000 % len(objects)])


def _arguments(options: ViewsOptions) -> list[str]:
    """What was set otherwise than by default, as on the command line; of paths the names alone."""
    plain = ViewsOptions(Path())
    args = []
    for name in (f.name for f in dataclasses.fields(options)):
        value = getattr(options, name)
        if name in ("out", "cache", "resume", "network", "device") or value == getattr(plain, name):
            continue
        values = [v.name if isinstance(v, Path) else str(v) for v in (value if isinstance(value, list) else [value])]
        args += [f"--{name.replace('_', '-')}", *values]
    for name in _SIZES:
        if getattr(options.network, name) != getattr(plain.network, name):
            args += [f"--{name.replace('_', '-')}", str(getattr(options.network, name))]
    return args


_SIZES = ("width", "layers", "picture_tokens", "space_tokens", "channels", "hidden")
"""Sizes of the network that the command line can set."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `oriel train views`."""
    default = ViewsOptions(Path())
    trainer.add_arguments(parser, default)
    parser.add_argument("--models", type=Path, action="append", default=[], help="folder of models to learn from")
    parser.add_argument("--cache", type=Path, help="folder for the models' solids (default: models in --out)")
    parser.add_argument("--share", type=float, default=default.share, help="share of models among the objects")
    parser.add_argument("--buildings", type=float, default=default.buildings, help="share of buildings among those")
    parser.add_argument("--points", type=int, default=default.points, help="labelled points of each picture a step")
    parser.add_argument("--rays", type=int, default=default.rays, help="rays of other cameras of each picture a step")
    parser.add_argument(
        "--field-rate", type=float, default=default.field_rate, help="part of the rate that the picture's network takes"
    )
    parser.add_argument("--workers", type=int, default=default.workers, help="processes that make data")
    parser.add_argument("--slots", type=int, default=default.slots, help="cases held in memory (about 0.1 MB each)")
    parser.add_argument("--reuse", type=int, default=default.reuse, help="steps that each case takes part in")
    parser.add_argument(
        "--start",
        type=Path,
        nargs="+",
        default=[],
        help="weights to start from; the mean of several (--steps 0: only it)",
    )
    for name in _SIZES:
        value = getattr(default.network, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"network: {name}")


def run(args: argparse.Namespace) -> int:
    """`oriel train views`."""
    given = {f.name: getattr(args, f.name) for f in dataclasses.fields(ViewsOptions) if hasattr(args, f.name)}
    network = SpatialConfig(**{name: getattr(args, name) for name in _SIZES})
    options = ViewsOptions(**given, network=network)
    return trainer.run_command(options, lambda: train(options))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    sys.exit(run(parser.parse_args()))
