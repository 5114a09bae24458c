"""`oriel finetune`: fine-tunes the surface network on rendered models."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from app.options import Fields, option, parser_of
from app.reporting import INTERRUPTED, Reporter, json_lines, say_json, working
from engine.core.errors import InputError
from engine.core.progress import Progress
from engine.training import FineTuneOptions, read_run
from engine.training.options import PUBLIC

if TYPE_CHECKING:
    from engine.training.finetune import FineTune

_FURTHER = [f"{field.name}={field.default}" for field in fields(FineTuneOptions) if field.name not in PUBLIC]
Options = Annotated[dict[str, Any], Fields(FineTuneOptions, shown=PUBLIC)]


def finetune(
    renders: Annotated[Path | None, option("folder of the rendered models", metavar="RENDERS")] = None,
    /,
    *,
    output: Annotated[Path, option("folder of the run", "-o", metavar="OUT")],
    resume: Annotated[bool, option("go on with the run in OUT, with the options it had")] = False,
    json: Annotated[bool, option("print one JSON object for each event")] = False,
    threads: Annotated[int | None, option("CPU threads (default: torch's choice)")] = None,
    options: Options,
    set: Annotated[
        tuple[str, ...],
        option(f"a further option, one of (with defaults) {', '.join(_FURTHER)}", metavar="NAME=VALUE", repeat=True),
    ] = (),
) -> int:
    """Fine-tunes the surface network on models that `oriel render run` has rendered; the view generator stays as it
    is. On several GPUs: `accelerate launch main.py finetune ...`; in several processes on CPUs: `torchrun`."""
    # What is not given is left to the run that is resumed, or to the defaults.
    given = options | _further(set)
    if "weights" in given and "config" in given:
        raise InputError("--from and --config exclude each other: one fine-tunes, the other trains from nothing.")
    base: dict[str, Any] = {}
    if resume:
        known = read_run(output)
        if known is None:
            raise InputError(f"There is no run in {output} to go on with. Leave out --resume to start one.")
        base = known["options"]
        renders = renders or Path(known["data"])
    if renders is None:
        raise InputError("Name the folder of the rendered models: `oriel finetune RENDERS -o OUT`.")
    chosen = FineTuneOptions.from_dict(base | given)

    import torch

    from engine.training.finetune import FineTune

    if threads is not None:
        torch.set_num_threads(max(1, threads))
    work = FineTune(renders, output, chosen, resume=resume)
    with working(silent=json) as (report, cancel):
        path = work.run(json_lines(_event) if json else lambda event: _show(report, event), cancel)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        _say(work, path, cancel.cancelled, output, json)
    return INTERRUPTED if cancel.cancelled else 0


COMMANDS = finetune


def _further(pairs: Sequence[str]) -> dict[str, Any]:
    """The options in `name=value`, each read as if it were given as `--name value`."""

    def only(*, options: Options) -> None: ...

    words: list[str] = []
    for name, _, value in (pair.partition("=") for pair in pairs):
        flag = name.replace("_", "-")
        switch = {"yes": [f"--{flag}"], "no": [f"--no-{flag}"]}
        words += switch.get(value) or [f"--{flag}", *value.split(",")]
    return vars(parser_of("oriel finetune", only).parse_args(words))


def _say(work: FineTune, path: Path, stopped: bool, output: Path, json: bool) -> None:
    """How it ended."""
    state = work.state
    if json:
        end = {"event": "stopped" if stopped else "done", "step": state.step, "weights": str(path)}
        say_json(end | {"best_step": state.best_step, "figures": state.figures})
        return
    for name in ("start", "best", "latest"):
        if name in state.figures:
            found = state.figures[name]
            shown = ("score", "f_score", "mask_iou", "psnr", "loss")
            figures = "  ".join(f"{key} {found[key]:.4f}" for key in shown if key in found)
            print(f"{name:<8} step {found['step']:.0f}  {figures}")
    if stopped:
        print(f"stopped at step {state.step}; go on with: oriel finetune -o {output} --resume")
    print(f"weights  {path}")
    print(f"use them with: oriel reconstruct PICTURE --surface {path}")


def _event(event: Progress) -> dict[str, Any]:
    row = {"event": event.stage, "done": event.done, "total": event.total, "message": event.message}
    return row | {name: value for name, value in (event.preview or {}).items() if name != "mesh"}


def _show(report: Reporter, event: Progress) -> None:
    """A bar; what is worth keeping (validation, trouble) as lines."""
    report(event)
    preview = event.preview or {}
    if (event.stage == "validate" and "key" not in preview) or "message" in preview:
        step = f"step {preview['step']}: " if event.stage == "validate" else ""
        report.line(f"{step}{event.message}")
