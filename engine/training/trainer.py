"""One training loop for every network: one resume, one log, one claim of the folder.

A *problem* brings the network, its batches, losses and figures; the loop brings learning rates, the running average of
the weights, checkpoints, the log and the clock. The rate warms up, stays level, and falls to nothing over the last part
of the budget (Hu et al., "MiniCPM", 2024, section 4), so that a run which has ended can be given more time and goes on.
"""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from engine.core import ledger
from engine.core.device import multiplies_bfloat16, pick_device
from engine.core.errors import InputError
from engine.core.files import claim_run, whole_file, writing
from engine.core.options import Option

LAST, LOG = "last.pt", "log.jsonl"
"""Checkpoint and log in a run's folder."""
_WARM_UP = 100  # steps
_REPORT = 30.0  # seconds between lines of the log


@dataclass
class TrainerOptions:
    """What a run of any network depends on."""

    out: Annotated[Path, Option(metavar="OUT")]
    """Folder of checkpoints, log and weights."""
    minutes: float | None = None
    """Budget in minutes of training, resumed runs added up."""
    steps: int | None = None
    """Budget in steps; the first budget reached ends the run."""
    batch: int = 32
    """Samples a step."""
    rate: float = 1e-3
    """Highest learning rate."""
    decay: float = 0.2
    """Share of the budget at its end over which the rate falls."""
    seed: int = 0
    """Seed of weights, order and data; another seed sees other data."""
    device: Annotated[str, Option(choices=("auto", "cpu", "cuda"))] = "auto"
    """What to train on."""
    resume: bool = False
    """Go on from the folder's last checkpoint."""
    evaluate_every: float = 15.0
    """Minutes between validation figures."""


class Problem(Protocol):
    """What the loop asks of a network and its data."""

    @property
    def network(self) -> nn.Module:
        """What is trained."""

    def optimizers(self, rate: float) -> list[torch.optim.Optimizer]:
        """Optimizers of the network; a group's `share` is what part of the rate it takes."""

    def open(self, state: dict[str, Any]) -> None:
        """Start making data; `state` is the problem's own, as `state` returned it before a checkpoint."""

    def state(self) -> dict[str, Any]:
        """Plain values to be kept in the checkpoint."""

    def batch(self, count: int) -> Any:
        """Training samples, as `losses` takes them; may wait for them."""

    def losses(self, batch: Any) -> dict[str, Tensor]:
        """Named losses, already weighted; their sum is minimised."""

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Figures of a network on held-back data."""

    def score(self, figures: dict[str, float]) -> float:
        """What the best checkpoint has most of."""

    def export(self, network: nn.Module, path: Path, run: dict[str, Any]) -> None:
        """Write weights and their card; `run` holds hours, samples, hardware and figures."""

    def close(self) -> None:
        """End what makes data."""


def train(problem: Problem, options: TrainerOptions, weights_name: str) -> Path:
    """Run the training; returns the path of the best weights, `weights_name` in the run's folder.

    A stop (Ctrl-C, SIGTERM) saves the checkpoint and raises `KeyboardInterrupt`. Raises `InputError` for a folder that
    holds a run, unless it is resumed, and for a checkpoint of another network; `OutputError` for a folder that cannot
    be written.
    """
    check(
        ("minutes", options.minutes, options.minutes is None or options.minutes > 0, "more than 0"),
        ("steps", options.steps, options.steps is None or options.steps >= 0, "0 or more"),
        ("batch", options.batch, options.batch >= 1, "at least 1"),
        ("decay", options.decay, 0 <= options.decay <= 1, "0 to 1"),
    )
    return _Run(problem, options, weights_name).execute()


class _Run:
    """One execution of a training."""

    def __init__(self, problem: Problem, options: TrainerOptions, weights_name: str) -> None:
        self.problem, self.options, self.device = problem, options, pick(options.device)
        self.last = claim_run(options.out, LAST, LOG, resume=options.resume)
        self.best_path = options.out / weights_name
        torch.manual_seed(options.seed)
        self.network = problem.network.to(self.device)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizers = problem.optimizers(options.rate)
        self.state: dict[str, Any] = {"step": 0, "seconds": 0.0, "samples": 0, "best": -math.inf, "problem": {}}
        if self.last.exists():
            self._restore()
            log(options.out, {"event": "resumed", **{k: v for k, v in self.state.items() if k != "problem"}})
        self.averaged, self.current = (
            [v for v in n.state_dict().values() if v.is_floating_point()] for n in (self.average, self.network)
        )
        quick = multiplies_bfloat16(self.device)
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=quick)

    def execute(self) -> Path:
        try:
            self.problem.open(self.state["problem"])
            earlier = evaluated = self.state["seconds"]
            started = time.perf_counter()
            report = _Report(self.options, self.state)
            while self._share() < 1:
                asked = time.perf_counter()
                batch = self.problem.batch(self.options.batch)
                waited = time.perf_counter() - asked
                losses = self._step(batch)
                self.state["seconds"] = earlier + time.perf_counter() - started
                report.add(losses, waited)
                if self.state["seconds"] - evaluated > self.options.evaluate_every * 60:
                    self._evaluate()
                    evaluated = self.state["seconds"]
            self._evaluate()
        except KeyboardInterrupt:
            self._save()
            raise
        finally:
            self.problem.close()
        return self.best_path

    def _share(self) -> float:
        """How much of the budget is spent; 1 and more ends the run."""
        options, state = self.options, self.state
        parts = [state["step"] / options.steps if options.steps else 1.0] if options.steps is not None else []
        parts += [state["seconds"] / 60 / options.minutes] if options.minutes else []
        return max(parts, default=0.0)

    def _step(self, batch: Any) -> dict[str, Tensor]:
        """Learn from a batch; returns its losses."""
        options, network, state = self.options, self.network, self.state
        falling = (1 - self._share()) / options.decay if options.decay else 1.0
        factor = min(1.0, (state["step"] + 1) / _WARM_UP, falling)
        for group in (g for o in self.optimizers for g in o.param_groups):
            group["lr"] = options.rate * factor * group["share"]
        with self.autocast:
            losses = self.problem.losses(batch)
            total = torch.stack(list(losses.values())).sum()
        network.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for p in network.parameters():
            if p.grad is not None:  # one that overflowed counts as 0; asking which would make a GPU wait
                p.grad.nan_to_num_(0.0, 0.0, 0.0)
        for optimizer in self.optimizers:
            optimizer.step()
        state["problem"] = self.problem.state()  # not in `_save`: a stop may come after the next batch was taken
        state["step"] += 1
        state["samples"] += options.batch
        get_ema_multi_avg_fn(min(0.998, state["step"] / (state["step"] + 20)))(self.averaged, self.current, None)
        return losses

    def _evaluate(self) -> None:
        state, problem, average = self.state, self.problem, self.average
        average.eval()
        with torch.no_grad(), self.autocast:
            figures = problem.validate(average)
        average.train()
        minutes = round(state["seconds"] / 60, 2)
        log(self.options.out, {"event": "validation", "step": state["step"], "minutes": minutes, **figures})
        if problem.score(figures) > state["best"]:
            state["best"] = problem.score(figures)
            run = {"hours": state["seconds"] / 3600, "samples": state["samples"], "figures": figures}
            problem.export(average, self.best_path, run | {"device": self.device})
        self._save()

    def _save(self) -> None:
        content = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "state": self.state,
            "rng": torch.get_rng_state(),
        }
        with writing(self.last), whole_file(self.last) as partial, partial.open("wb") as file:
            torch.save(content, file)

    def _restore(self) -> None:
        """Put the last checkpoint's content in place."""
        saved = torch.load(self.last, map_location=self.device, weights_only=True)
        advice = f"Start anew in another folder from its weights: --start {self.best_path}"
        try:
            self.state = dict(saved["state"])
            self.state["samples"], self.state["problem"]
        except KeyError:
            raise InputError(f"{self.last} is of an earlier version. {advice}") from None
        try:
            self.network.load_state_dict(saved["network"])
            self.average.load_state_dict(saved["average"])
        except RuntimeError:
            other = f"{self.last} is of a network of other sizes. Give the sizes of that run."
            raise InputError(f"{other} {advice}") from None
        for optimizer, content in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(content)
        torch.set_rng_state(saved["rng"].cpu())


class _Report:
    """Lines of the log while a run goes on: the mean losses since the line before, and how fast it goes."""

    def __init__(self, options: TrainerOptions, state: dict[str, Any]) -> None:
        self.options, self.state = options, state
        self._begin()

    def _begin(self) -> None:
        self.since, self.count, self.waiting = time.perf_counter(), 0, 0.0
        self.sums: dict[str, Tensor] = {}

    def add(self, losses: dict[str, Tensor], waited: float) -> None:
        """Count a step that waited so many seconds for its batch; write the line if it is time."""
        self.count, self.waiting = self.count + 1, self.waiting + waited
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()
        passed = time.perf_counter() - self.since
        if passed > _REPORT:
            row = {
                "event": "step",
                "step": self.state["step"],
                "minutes": round(self.state["seconds"] / 60, 2),
                "samples_per_s": round(self.count * self.options.batch / passed, 2),
                "waiting": round(self.waiting / passed, 3),
            }
            log(self.options.out, row | {k: round(float(v) / self.count, 4) for k, v in self.sums.items()})
            self._begin()


def pick(device: str) -> torch.device:
    """The device to train on: `auto` is CUDA where there is one, else the CPU."""
    return pick_device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)


def check(*rules: tuple[str, Any, bool, str]) -> None:
    """Raise `InputError` for the first of (option, value, whether it fits, what is wanted) that does not fit."""
    for name, value, fits, wanted in rules:
        if not fits:
            raise InputError(f"--{name} is {value}, but has to be {wanted}.")


def log(out: Path, row: dict[str, Any]) -> None:
    """Print a line and append it to the run's log."""
    line = json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()})
    print(line, flush=True)
    with writing(out / LOG):
        ledger.append(out / LOG, f"{line}\n".encode())
