"""What the trainings of the view generator and of the shape prior have in common: their cases."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from engine import weights
from engine.cameras import INPUT_RADIUS
from engine.core.errors import InputError
from engine.core.options import Option, changed_arguments
from engine.data import make_object, split_seeds
from engine.data.models import ModelLibrary
from engine.data.renderer import Solid
from engine.data.variation import finished
from engine.training import trainer
from engine.training.trainer import TrainerOptions
from engine.views.cases import CaseMaker, CasePool, CaseSize, DevicePool
from engine.views.manhattan import mirrored
from engine.views.network import to_camera

_LENS_UNKNOWN = 0.25
_KINDS = ("procedural", "building", "thing")
"""Names of the kinds of objects, as numbered in a case."""


@dataclass
class CasesOptions(TrainerOptions):
    """What every training on cases depends on."""

    network: Annotated[Any, Option(hidden=True)] = None
    """Sizes of the network."""
    models: Annotated[list[Path], Option(repeat=True)] = field(default_factory=list)
    """Folders of real models to learn from, beside the procedural objects."""
    cache: Path | None = None
    """Folder for their solids, made once (default: `models` in the run's folder)."""
    share: float = 0.6
    """Share of real models among the objects, where there are any."""
    buildings: float = 0.65
    """Share of buildings among those."""
    workers: int = os.cpu_count() or 1
    """Processes that make data; on a CPU they and the trainer take turns."""
    slots: int = 6000
    """Cases held in memory, about 0.1 MB each."""
    reuse: int = 4
    """Steps that each case takes part in."""
    start: list[Path] = field(default_factory=list)
    """Weights to start from (.safetensors of this program); what has another shape starts anew. Of several, runs from
    the same weights, the mean: often better than each (Wortsman et al., "Model soups", 2022), which with 0 steps
    is all that is made."""
    validation: Annotated[int, Option(hidden=True)] = 48
    """Validation objects of each kind behind the figures."""


class CasesProblem:
    """Training cases and those held back, as a training loop asks for them."""

    def __init__(self, options: CasesOptions, size: CaseSize) -> None:
        """Raises `InputError` for an option that the cases or their pool cannot work with, and for a folder of models
        in which nothing can be used."""
        # A pool on a CPU is refilled when a quarter of it is spent: a batch has to find its cases in the rest.
        largest = options.slots * 3 // 4
        trainer.check(
            ("batch", options.batch, 1 <= options.batch <= largest, f"1 to {largest}, three quarters of --slots"),
            ("workers", options.workers, options.workers >= 1 or options.steps == 0, "at least 1"),
            ("share", options.share, 0 <= options.share <= 1, "0 to 1"),
        )
        self.options, self.size = options, size
        self.device = trainer.pick(options.device)
        self.library: ModelLibrary | None = None
        if options.models:
            self.library = ModelLibrary.scan(options.models, options.cache or options.out / "models")
            self.library.write_report()
        self._pool: CasePool | None = None
        self._cases: dict[str, dict[str, Any]] | None = None

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
        self.held_back()

    def state(self) -> dict[str, Any]:
        """The first object that no worker has taken."""
        return {"next_seed": self._pool.next_seed} if self._pool else {}

    def batch(self, count: int) -> dict[str, Tensor]:
        """`count` cases, half of them mirrored."""
        return mirror_some(to_tensors(self._source.batch(count), self.device))

    def write(self, network: Any, path: Path, card: dict[str, Any], command: str, run: dict[str, Any]) -> None:
        """Write a network's float16 weights and their card, which says how they came about."""
        options, device = self.options, run["device"]
        tensors = {k: v.half() for k, v in network.state_dict().items() if v.is_floating_point()}
        data = {"pictures_seen": run["samples"], "seed": options.seed, "source": "engine.data", **self._credits()}
        card |= {
            "network": network.config.to_json(),
            "commit": weights.commit(),
            "command": " ".join([command, *self._arguments()]),
            "hours": round(run["hours"], 3),
            "hardware": torch.cuda.get_device_name() if device.type == "cuda" else f"{os.cpu_count()} CPU cores",
            "data": data,
            "validation": run["figures"],
        }
        weights.save(path, tensors, card)

    def _arguments(self) -> list[str]:
        """What was set otherwise than by default, sizes of the network among it."""
        options, plain = self.options, type(self.options)(Path())
        said = changed_arguments(options, plain, ("out", "cache", "resume", "device"))
        return [*said, *changed_arguments(options.network, plain.network)]

    def _credits(self) -> dict[str, Any]:
        """How many models there were, and whose, under which licence."""
        used = [e for e in self.library.entries if not e.left_out] if self.library else []
        authors = sorted({f"{e.author or 'unknown'} ({e.licence or 'licence unknown'})" for e in used})
        return {"models": len(used), "model_authors": authors} if used else {}

    def close(self) -> None:
        """End the workers."""
        if self._pool:
            self._pool.close()

    def held_back(self) -> dict[str, dict[str, Any]]:
        """Fixed cases of held-back objects, one picture each, by kind; made once."""
        if self._cases is None:
            maker, self._cases = CaseMaker(self.size, views=1), {}
            for kind, name in enumerate(_KINDS):
                made = [
                    maker.cases_of(solid, np.random.default_rng([8, i]))[0]
                    for i, solid in enumerate(self._solids(kind))
                ]
                if made:
                    self._cases[name] = {k: np.stack([c[k] for c in made]) for k in made[0]}
        return self._cases

    def _solids(self, kind: int) -> Iterator[Solid]:
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
    if "occupancy" in batch:  # (B, z, y, x)
        occupancy = batch["occupancy"]
        batch = batch | {"occupancy": torch.where(flip[:, None, None, None], occupancy.flip(2), occupancy)}
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


def iou(predicted: Tensor, truth: Tensor) -> Tensor:
    """(B,) overlap of masks (B, ...) over their union, on the CPU."""
    both, either = (predicted & truth).flatten(1).sum(1), (predicted | truth).flatten(1).sum(1)
    return (both / either.clamp_min(1)).cpu()


def _first_seed(seed: int) -> int:
    """First object of a run: a million of them lie between two runs' seeds."""
    objects = split_seeds("train")
    return int(objects[seed * 1_000_000 % len(objects)])


def load_start(network: nn.Module, paths: list[Path], model: str) -> None:
    """Put the mean of some weights of that kind of `model` into a network, as far as shapes fit."""
    given = [weights.find(path).load(model) for path in paths]
    fitting = {k: [g[k] for g in given if k in g and g[k].shape == v.shape] for k, v in network.state_dict().items()}
    network.load_state_dict({k: torch.stack(v).float().mean(0) for k, v in fitting.items() if v}, strict=False)
