"""Fine-tuning of the surface network on rendered models; the view generator stays as it is.

    OUT/
      surface.safetensors, surface.json   the best weights so far with their card: use them at once
      finetune.json                       what the run is about
      log.csv, tensorboard/               losses and figures
      checkpoints/                        the last few and the best
      validation/<key>.npz                the latest mesh of each validation model

A run may be stopped or killed at any instant; one with `resume` then goes on from the last checkpoint and takes the
very steps that the other would have taken. Under `accelerate launch` several processes, also of several machines that
share the folders, each take a part of every step.
"""

from __future__ import annotations

import contextlib
import copy
import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine import weights
from engine.core.device import pick_device
from engine.core.errors import Cancelled, InputError, OrielError
from engine.core.files import lock_folder
from engine.core.options import changed_arguments
from engine.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from engine.meshes.mesh import Mesh
from engine.surface.cleaning import clean_mesh
from engine.surface.extraction import extract_mesh
from engine.surface.network import SurfaceModel
from engine.surface.published import PublishedNetwork
from engine.surface.reconstruct import CONFIGS, build_surface, color_vertices, load_surface
from engine.surface.train import save_surface, surface_f_score
from engine.training import records
from engine.training.checkpoints import Checkpoints
from engine.training.data import PRINCIPAL, Example, Examples, RenderedModel, Renders
from engine.training.objective import Objective
from engine.training.options import LOSSES, FineTuneOptions
from engine.training.predictions import Predictions

LOG_EVERY = 10
"""Steps between rows of the log."""
AHEAD = 4
"""Examples read ahead."""
PATIENCE = 20
"""Steps that the watch looks back on."""
EMPTY, FULL = 0.1, 0.9
"""Mean weight of foreground rays below which, and of background rays above which, a network has collapsed."""
MESH = 81
"""Points along a side of the grid that validation meshes are extracted on."""
THRESHOLD = 0.05
"""F-score's, in longest sides of the model."""


@dataclass
class State:
    """Where a run stands: what a checkpoint holds besides tensors."""

    step: int = 0
    seconds: float = 0.0
    rollbacks: int = 0
    inside: float | None = None
    """Running mean of the weight of foreground rays."""
    outside: float | None = None
    watched: int = 0
    """Steps that the running means are made of."""
    best_score: float = -math.inf
    best_step: int | None = None
    validated: int | None = None
    """Step of the last validation."""
    log_bytes: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    """What the next row of the log is made of."""
    count: int = 0
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    """Validation figures at the start, the best and the latest."""


class FineTune:
    """A fine-tuning run of the renders in `data`, in the folder `out`."""

    def __init__(self, data: Path, out: Path, options: FineTuneOptions | None = None, *, resume: bool = False) -> None:
        self.data, self.out = Path(data), Path(out)
        self.options = options or FineTuneOptions()
        self.resume_run = resume
        self.state = State()
        self._go_on = threading.Event()
        self._go_on.set()

    def pause(self) -> None:
        """Hold the run after the step in work; from any thread."""
        self._go_on.clear()

    def resume(self) -> None:
        """Let a paused run go on."""
        self._go_on.set()

    @property
    def paused(self) -> bool:
        """Whether `pause` was called last."""
        return not self._go_on.is_set()

    def run(self, progress: ProgressCallback = ignore_progress, cancel: CancelToken | None = None) -> Path:
        """Train; returns the path of the best weights.

        `Progress` of stage `predict` counts models whose views are predicted; `train` steps, its preview a dict of the
        latest row of the log (see `records.COLUMNS`; `kind` is `rollback` or `collapse` where something happened);
        `validate` models, its preview `{"key", "mesh", "figures", "step"}` of one, at the end `{"figures", "step"}`.

        A cancelled run keeps a checkpoint and the weights as they are after the step in work, and returns their path;
        cancelled before the first step it raises `Cancelled`. Raises `InputError` for renders that are not whole, for
        another run in `out`, for options that a resumed run cannot change; `WeightsError`, `OutputError`; `OrielError`
        when the network collapses again and again.
        """
        accelerator = _accelerator(self.options)
        busy = f"Another run is at work in {self.out}. Wait for it, or give another folder."
        lock = lock_folder(self.out, records.LOCK, busy) if accelerator.is_main_process else None
        report = progress if accelerator.is_main_process else ignore_progress
        run = None
        try:
            run = _Run(self, accelerator, report, cancel or CancelToken())
            return run.execute()
        finally:
            if run is not None:
                run.close()
            if lock is not None:
                lock.release()


class _Run:
    """One execution: everything that lives as long as it."""

    def __init__(self, owner: FineTune, accelerator: Any, report: ProgressCallback, cancel: CancelToken) -> None:
        self.owner, self.accelerator, self.report, self.cancel = owner, accelerator, report, cancel
        self.options, self.out, self.main = owner.options, owner.out, accelerator.is_main_process
        options = self.options
        if options.config is not None and options.config not in CONFIGS:
            raise InputError(f"There is no configuration {options.config!r}. Choose one of: {', '.join(CONFIGS)}.")
        self.renders = Renders.open(
            owner.data,
            neighbours=options.predicted_share < 1,
            depth=options.depth > 0,
            skip_faulty=options.skip_faulty,
            seed=options.seed,
        )
        self.checkpoints = Checkpoints(self.out / records.CHECKPOINTS, options.keep)
        self.train, self.validation = self._settle()
        torch.manual_seed(options.seed)
        self.network = self._network()
        if options.sharpness is not None:
            self.network.log_variance.requires_grad_(False)
        self.first_variance = float(self.network.log_variance.detach())
        trained = [p for p in self.network.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(trained, options.rate)
        self.objective, self.optimizer = accelerator.prepare(Objective(self.network, options), self.optimizer)
        self.predictions: Predictions | None = None
        if options.predicted_share > 0:
            self.predictions = Predictions.of(
                self.renders, options.generator, options.cache, self.out, whole=options.predicted_from == "one"
            )
        self.examples = Examples(
            self.renders, self.train, self.network.config.image_size, options.rays, options.foreground_share,
            options.sources, options.predicted_share, self.predictions, options.seed,
        )  # fmt: skip
        self.batch = options.accumulate * accelerator.num_processes
        self.steps, self.validate_every = options.plan(self.examples.per_epoch, accelerator.num_processes)
        self.state = owner.state = State()
        self.started = 0.0
        self.earlier = 0.0
        self.rolled_to: int | None = None
        self.saved: int | None = None
        self.reader = ThreadPoolExecutor(2, "oriel-examples")
        self.ahead: deque[tuple[int, int, Future[Example]]] = deque()
        self.board: Any = None

    def close(self) -> None:
        """End the threads and files."""
        self.reader.shutdown(wait=True, cancel_futures=True)
        if self.board is not None:
            self.board.close()
        if self.accelerator.num_processes > 1 and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    # -- beginning -------------------------------------------------------------------------------------------

    def _settle(self) -> tuple[list[RenderedModel], list[RenderedModel]]:
        """Training and validation models; the record of the run is written, or compared with."""
        found = {model.key: model for model in (*self.renders.train, *self.renders.validation)}
        known = records.read_run(self.out)
        if not self.owner.resume_run or known is None:
            if self.checkpoints.paths() and not self.owner.resume_run:
                raise InputError(
                    f"{self.out} holds a run already.",
                    advice="Go on with it{}, or give another folder.",
                    options=[" (--resume)"],
                )
            self.accelerator.wait_for_everyone()  # before the first writes what the others look for
            if self.main:
                content = {
                    "data": str(self.renders.folder.absolute()),
                    "options": self.options.to_dict(),
                    "train": [model.key for model in self.renders.train],
                    "validation": [model.key for model in self.renders.validation],
                    "left_out": list(self.renders.problems),
                    "processes": self.accelerator.num_processes,
                    "started": datetime.now(UTC).isoformat(timespec="seconds"),
                }
                records.write_run(self.out, content)
            return list(self.renders.train), list(self.renders.validation)
        differences = self.options.differences(known.get("options", {}))
        if known.get("processes") != self.accelerator.num_processes:
            differences.append(f"processes were {known.get('processes')} and are {self.accelerator.num_processes}")
        if differences:
            raise InputError(
                f"The run in {self.out} cannot go on with other options: {'; '.join(differences)}. Give the same "
                "ones, or start anew in another folder."
            )
        missing = [key for part in ("train", "validation") for key in known[part] if key not in found]
        if missing:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise InputError(
                f"The run in {self.out} cannot go on: {', '.join(missing[:3])}{more} went missing from "
                f"{self.renders.folder}. Bring them back, or start anew in another folder."
            )
        self.accelerator.wait_for_everyone()
        if self.main:
            records.write_run(self.out, known | {"options": self.options.to_dict()})
        return [found[key] for key in known["train"]], [found[key] for key in known["validation"]]

    def _network(self) -> SurfaceModel:
        options = self.options
        if options.config is not None:
            return build_surface(CONFIGS[options.config]).to(self.accelerator.device)
        network = load_surface(options.weights, self.accelerator.device)
        return network.use_as(released=False) if isinstance(network, PublishedNetwork) else network

    # -- the run ---------------------------------------------------------------------------------------------

    def execute(self) -> Path:
        said = self._restore() if self.owner.resume_run else []
        self.board = _board(self.out, self.state.step) if self.main else None
        self._predict()
        self.earlier, self.started = self.state.seconds, time.perf_counter()
        for text in said:
            self._tell({"kind": "train", "step": self.state.step, "message": text})
        while True:
            if self._due() and self._validate():
                best = self.state.best_step == self.state.step
                if best:  # before the checkpoint that counts it as done: a kill between them costs nothing
                    self._export()
                self._save(best=best)
            elif self.state.step % self.options.checkpoint_every == 0 and self.saved != self.state.step:
                self._save()
            if self.state.step >= self.steps or self._stopped():
                break
            fault = self._safe_step()
            if fault is not None:
                self._roll_back(fault)
        if self.state.step == 0:
            raise Cancelled
        if self.saved != self.state.step:
            self._save()
        if self.state.best_step is None:
            self._export()
        else:
            self._finish_card()
        self.accelerator.wait_for_everyone()
        return self.out / records.WEIGHTS

    def _predict(self) -> None:
        if self.predictions is None:
            return
        mine = [*self.train, *self.validation[: self.options.validate_models]]
        mine = mine[self.accelerator.process_index :: self.accelerator.num_processes]
        self.predictions.make(mine, self.report, self.cancel)
        self.predictions.release()
        self.accelerator.wait_for_everyone()

    def _stopped(self) -> bool:
        """Whether any process was cancelled; waits while the run is paused."""
        while self.owner.paused and not self.cancel.cancelled:
            held = time.perf_counter()
            self.owner._go_on.wait(0.1)
            self.started += time.perf_counter() - held
        if self.accelerator.num_processes == 1:
            return self.cancel.cancelled
        flag = torch.tensor(float(self.cancel.cancelled), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum") > 0)

    def _safe_step(self) -> str | None:
        """`_step`; where it cannot read an example, what was learned so far is saved."""
        try:
            return self._step()
        except OrielError:
            if self.accelerator.num_processes == 1:
                self._save()
            raise

    def _step(self) -> str | None:
        """One step; returns what went wrong, if anything did."""
        state, options, accelerator = self.state, self.options, self.accelerator
        rate = self._rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self._sharpen()
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        examples = self._next()
        for number, example in enumerate(examples, 1):
            last = number == options.accumulate
            with contextlib.nullcontext() if last else accelerator.no_sync(self.objective):
                terms, figures = self.objective(example)
                loss = torch.stack(list(terms.values())).sum()
                accelerator.backward(loss / options.accumulate)
            found = {name: value.detach() / options.accumulate for name, value in {"loss": loss, **terms}.items()}
            for name, value in (found | figures).items():
                sums[name] = sums.get(name, torch.zeros((), device=value.device)) + value
        names = sorted(sums)
        values = accelerator.reduce(torch.stack([sums[name].float() for name in names]), "mean").tolist()
        row = dict(zip(names, values, strict=True))
        norm = accelerator.clip_grad_norm_(self.objective.parameters(), 1.0)
        row["gradient"] = float(norm)
        # Mixed precision in 16-bit floats overflows now and then by design, and skips the step by itself.
        finite = math.isfinite(row["loss"]) and (math.isfinite(row["gradient"]) or accelerator.scaler is not None)
        if not finite:
            return "the loss is not a number any more"
        self.optimizer.step()
        state.step += 1
        state.seconds = self.earlier + time.perf_counter() - self.started
        self._log_step(row, rate)
        return self._watch(row)

    def _rate(self) -> float:
        halvings = sum(self.state.step >= at for at in self.options.halve_at) + self.state.rollbacks
        return self.options.rate * 0.5**halvings

    def _sharpen(self) -> None:
        """Set NeuS's s where it is on a schedule."""
        if self.options.sharpness is None:
            return
        last = math.log(self.options.sharpness) / 10
        share = min(1.0, self.state.step / self.steps)
        with torch.no_grad():
            self.network.log_variance.fill_(self.first_variance + (last - self.first_variance) * share)

    def _next(self) -> Iterator[Example]:
        """The examples of this process in the coming step, read ahead."""
        attempt = self.state.rollbacks
        count = self.options.accumulate
        first = self.state.step * self.batch + self.accelerator.process_index * count
        wanted = [first + i for i in range(count)]
        coming = [p + self.batch * turn for turn in range(1 + -(-AHEAD // count)) for p in wanted]
        last = self.steps * self.batch
        while self.ahead and self.ahead[0][:2] != (first, attempt):
            self.ahead.popleft()[2].cancel()
        have = {position for position, _, _ in self.ahead}
        for position in coming[: count + AHEAD]:
            if position not in have and position < last:
                self.ahead.append((position, attempt, self.reader.submit(self.examples.at, position, attempt)))
        for _ in wanted:
            yield self.ahead.popleft()[2].result()

    # -- watching and saying -----------------------------------------------------------------------------------

    def _watch(self, row: dict[str, float]) -> str | None:
        """Update the running means; returns what has collapsed."""
        state = self.state
        for name, number in (("inside", "foreground"), ("outside", "background")):
            if row[number] > 0:
                value = row[name] / row[number]
                before = getattr(state, name)
                setattr(state, name, value if before is None else before + (value - before) / PATIENCE)
        state.watched += 1
        if state.watched < PATIENCE:
            return None
        what = None
        if state.inside is not None and state.inside < EMPTY:
            what = f"the model has become empty: rays through the object gather a weight of {state.inside:.2f}"
        elif state.outside is not None and state.outside > FULL:
            what = f"the model fills everything: rays beside the object gather a weight of {state.outside:.2f}"
        if what is None or self.options.watch:
            return what
        self._tell({"kind": "collapse", "step": state.step, "message": what}, log=True)
        state.watched = 0
        return None

    def _log_step(self, row: dict[str, float], rate: float) -> None:
        state = self.state
        for name, value in row.items():
            state.sums[name] = state.sums.get(name, 0.0) + value
        state.count += 1
        shown = _shown(row, 1) | {"kind": "train", "step": state.step, "epoch": self._epoch(), "rate": rate}
        shown |= {"sharpness": float(self.network.inverse_deviation.detach()), "seconds": state.seconds}
        if state.count == LOG_EVERY or state.step >= self.steps:
            self._write({**shown, **_shown(state.sums, state.count)})
            state.sums, state.count = {}, 0
        left = (self.steps - state.step) * (time.perf_counter() - self.started) / max(1, state.step - self._from)
        message = f"Epoch {shown['epoch']:.2f}, step {state.step}, loss {row['loss']:.4f}, {_duration(left)} left"
        self.report(Progress("train", state.step, self.steps, message, shown))

    _from = 0
    """Step that this execution began at."""

    def _epoch(self) -> float:
        return self.state.step * self.batch / self.examples.per_epoch

    def _tell(self, row: dict[str, Any], *, log: bool = False) -> None:
        if log:
            self._write({"epoch": self._epoch(), "seconds": self.state.seconds, **row})
        self.report(Progress("train", self.state.step, self.steps, row["message"], row))

    def _write(self, row: dict[str, Any]) -> None:
        """Append a row to the logs."""
        if not self.main:
            return
        self.state.log_bytes = records.append_row(self.out / records.LOG, records.COLUMNS, row)
        if self.board is not None:
            for name, value in row.items():
                if isinstance(value, float) and name not in ("epoch", "seconds"):
                    self.board.add_scalar(f"{row['kind']}/{name}", value, row["step"])

    # -- checkpoints -----------------------------------------------------------------------------------------

    def _save(self, *, best: bool = False) -> None:
        self.state.seconds = self.earlier + time.perf_counter() - self.started
        if self.main:
            scaler = self.accelerator.scaler
            content = {
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": None if scaler is None else scaler.state_dict(),
                "variance": self.first_variance,
                "state": asdict(self.state),
            }
            self.checkpoints.save(self.state.step, content, best=best)
        self.saved = self.state.step
        self.accelerator.wait_for_everyone()

    def _restore(self) -> list[str]:
        """Go on from the newest whole checkpoint; returns what there is to say about it."""
        found = self.checkpoints.load(self.accelerator.device)
        if found is None:
            return []
        content, damaged = found
        self._take(content)
        if self.main:
            records.cut(self.out / records.LOG, self.state.log_bytes)
        self._from = self.saved = self.state.step
        return [f"{name} is damaged and was left out." for name in damaged]

    def _take(self, content: dict[str, Any]) -> None:
        self.network.load_state_dict(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])
        if self.accelerator.scaler is not None and content["scaler"]:
            self.accelerator.scaler.load_state_dict(content["scaler"])
        self.first_variance = content["variance"]
        self.state = self.owner.state = State(**content["state"])

    def _roll_back(self, what: str) -> None:
        """Return to the last checkpoint, with half the rate and other rays, or give up."""
        at, state = self.state.step, self.state
        rollbacks, log_bytes = state.rollbacks + 1, state.log_bytes
        kept = f"the best weights, of step {state.best_step}, are kept" if state.best_step else "no weights are kept"
        if rollbacks > self.options.rollbacks:
            message = f"At step {at} {what}"
            self._tell({"kind": "collapse", "step": at, "message": message}, log=True)
            raise OrielError(
                f"{message}. The run has gone back {state.rollbacks} times already and is given up; {kept} in "
                f"{self.out}. Try a lower rate, or other weights of the losses."
            )
        self.accelerator.wait_for_everyone()
        paths = self.checkpoints.paths()
        if self.main and len(paths) > 1 and paths[0] == (self.rolled_to and self.checkpoints.path(self.rolled_to)):
            paths[0].unlink()  # it led here before: the trouble had begun already
        self.accelerator.wait_for_everyone()
        found = self.checkpoints.load(self.accelerator.device)
        if found is None:
            raise OrielError(f"At step {at} {what}, and there is no checkpoint in {self.out} to go back to.")
        self._take(found[0])
        self.state.rollbacks, self.state.log_bytes = rollbacks, log_bytes
        self.state.inside = self.state.outside = None
        self.state.watched = 0
        self.rolled_to = self._from = self.state.step
        self.earlier, self.started = self.state.seconds, time.perf_counter()
        message = f"At step {at} {what}. Back to step {self.state.step}, with half the rate."
        self._tell({"kind": "rollback", "step": at, "message": message}, log=True)

    # -- validation ------------------------------------------------------------------------------------------

    def _due(self) -> bool:
        """Whether to look at the validation models now."""
        step = self.state.step
        if step == self.state.validated or not self.validation[: self.options.validate_models]:
            return False
        return step % self.validate_every == 0 or step >= self.steps

    @torch.no_grad()
    def _validate(self) -> bool:
        """Look at the validation models; returns whether that was done, or else cancelled."""
        models = self.validation[: self.options.validate_models]
        accelerator, state = self.accelerator, self.state
        name = "latest" if state.step else "start"
        self.network.eval()
        mine = models[accelerator.process_index :: accelerator.num_processes]
        found: list[dict[str, float]] = []
        for number, model in enumerate(mine):
            if self.cancel.cancelled and accelerator.num_processes == 1:
                return False
            figures, mesh = self._look(model, self.validation.index(model))
            found.append(figures)
            preview = {"key": model.key, "mesh": mesh, "figures": figures, "step": state.step}
            self.report(Progress("validate", number + 1, len(mine), f"{model.key}: {_spoken(figures)}", preview))
        if accelerator.num_processes > 1:
            from accelerate.utils import gather_object

            found = gather_object(found)
        keys = sorted({key for figures in found for key in figures})
        means = {key: float(np.mean([f[key] for f in found if key in f])) for key in keys}
        means["score"] = means.get("f_score", means.get("mask_iou", 0.0))
        better = state.step > 0 and means["score"] > state.best_score
        state.validated = state.step
        state.figures[name] = {"step": float(state.step), **means}
        if better:
            state.best_score, state.best_step = means["score"], state.step
            state.figures["best"] = dict(state.figures[name])
        self._write({"kind": "validate", "step": state.step, "epoch": self._epoch(), "seconds": state.seconds} | means)
        preview = {"figures": means, "step": state.step}
        self.report(Progress("validate", len(mine), len(mine), f"Validation: {_spoken(means)}", preview))
        return True

    def _look(self, model: RenderedModel, index: int) -> tuple[dict[str, float], Mesh | None]:
        """Figures of a validation model, and its mesh."""
        rng = np.random.default_rng([self.options.seed, 29, index])
        whole = copy.copy(self.examples)
        whole.sources = 32
        example = whole.make(model, 0, index % len(PRINCIPAL), rng)
        # Not the wrapped one: the processes look at different models, and at different numbers of them.
        with self.accelerator.autocast():
            terms, sums = Objective(self.network, self.options)(example)
            scene = self.network.encode(example.views, example.c2ws, example.k)
        figures = {name: float(value) for name, value in terms.items()}
        figures["loss"] = sum(figures.values())
        figures |= _shown({name: float(value) for name, value in sums.items()}, 1)
        extent = self.network.config.extent

        def distance(points: Tensor) -> Tensor:
            return self.network.sdf(scene, points.to(self.network.device)).float().cpu()

        mesh = Mesh(*extract_mesh(distance, MESH, extent))
        surface = self.renders.surface_points(model, 4096, rng)
        if surface is not None:
            longest = float(np.ptp(surface, axis=0).max())
            figures["f_score"] = surface_f_score(mesh, surface, THRESHOLD * longest)
        if not len(mesh.faces):
            return figures, None
        mesh = clean_mesh(mesh)
        mesh.colors = color_vertices(self.network, scene, mesh)
        records.keep_look(self.out, model.key, self.state.step, figures, mesh)
        return figures, mesh

    # -- the result ------------------------------------------------------------------------------------------

    def _export(self) -> None:
        """Write the weights as they are now, with their card."""
        if not self.main:
            return
        options, state = self.options, self.state
        started = options.config is not None
        changed = changed_arguments(options, FineTuneOptions(), ("cache",))
        save_surface(
            self.network,
            self.out / records.WEIGHTS,
            config=self.network.config.name,
            description="Surface reconstruction network, "
            + ("trained" if started else f"fine-tuned from {options.weights}")
            + " on rendered models with Oriel.",
            command=" ".join(["oriel finetune", str(self.owner.data), *changed]),
            seconds=state.seconds,
            steps=state.step,
            data={
                "source": "rendered models",
                "models": len(self.train),
                "validation": len(self.validation),
                "predicted": options.predicted_share,
                "generator": options.generator if options.predicted_share > 0 else None,
                "seed": options.seed,
            },
            figures={f"validation, {name}": _rounded(figures) for name, figures in state.figures.items()},
            processes=self.accelerator.num_processes,
        )

    def _finish_card(self) -> None:
        """The best weights' card gets the latest figures as well."""
        if not self.main:
            return
        path = self.out / records.WEIGHTS
        card = weights.read_card(path)
        found = {f"validation, {name}": _rounded(figures) for name, figures in self.state.figures.items()}
        if card.get("figures") != found:
            tensors = weights.find(path).load()
            card["figures"] = found
            weights.save(path, tensors, card)


# -- helpers ---------------------------------------------------------------------------------------------------


def _accelerator(options: FineTuneOptions) -> Any:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

    cpu = options.device == "cpu" or (options.device == "auto" and not torch.cuda.is_available())
    if not cpu:
        pick_device("cuda")
    if cpu and options.precision == "fp16":
        raise InputError("Precision fp16 needs a CUDA device. Take bf16, or no mixed precision.")
    # Its state is the process's: a window runs one fine-tuning after another.
    if PartialState._shared_state and not torch.distributed.is_initialized():
        AcceleratorState._reset_state(reset_partial_state=True)
    # Predicting the views of many models takes one process longer than another.
    patient = InitProcessGroupKwargs(timeout=timedelta(days=1))
    # A loss of weight 0 leaves parts of the network without gradient.
    shared = DistributedDataParallelKwargs(find_unused_parameters=True)
    return Accelerator(cpu=cpu, mixed_precision=options.precision, kwargs_handlers=[patient, shared])


def _board(out: Path, step: int) -> Any:
    """Writes logs for TensorBoard; None where that is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(out / "tensorboard"), purge_step=step + 1 if step else None)


def _shown(sums: dict[str, float], count: int) -> dict[str, float]:
    """Columns of the log from sums over `count` steps."""
    row = {name: sums[name] / count for name in ("loss", *LOSSES, "gradient") if name in sums}
    foreground, background = max(sums["foreground"], 1), max(sums["background"], 1)
    row["inside"], row["outside"] = sums["inside"] / foreground, sums["outside"] / background
    row["psnr"] = -10 * math.log10(max(sums["squares"] / foreground, 1e-10))
    row["mask_iou"] = sums["overlap"] / max(sums["union"], 1)
    if sums["depth_error"] > 0:
        row["depth_error"] = sums["depth_error"] / max(sums["overlap"], 1)
    return row


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: int(value) if name == "step" else round(value, 4) for name, value in figures.items()}


def _spoken(figures: dict[str, float]) -> str:
    shown = (("f_score", "F-score"), ("mask_iou", "mask IoU"), ("psnr", "PSNR"))
    return ", ".join(f"{label} {figures[name]:.3g}" for name, label in shown if name in figures)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 60 else f"{minutes} min" if minutes < 60 else f"{minutes / 60:.1f} h"
