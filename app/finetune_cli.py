"""`oriel finetune`: fine-tunes the surface network on rendered models."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.terminal import interruptible
from engine.core.errors import InputError
from engine.core.progress import CancelToken, Progress
from engine.training import PRECISIONS, PREDICTED_FROM, FineTuneOptions, read_run

if TYPE_CHECKING:
    from engine.training.finetune import FineTune

INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `oriel finetune`."""
    parser.description = (
        "Fine-tunes the surface network on models that `oriel render run` has rendered; the view generator stays as it "
        "is. On several GPUs: `accelerate launch main.py finetune ...`; in several processes on CPUs: `torchrun`."
    )
    parser.add_argument("renders", nargs="?", type=Path, metavar="RENDERS", help="folder of the rendered models")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on with the run in OUT, with the options it had")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each event")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    # What is not given is left to the run that is resumed, or to the defaults.
    default = FineTuneOptions()

    def option(name: str, text: str, *, flag: str | None = None, shown: Any = None, **more: Any) -> None:
        value = getattr(default, name) if shown is None else shown
        help_text = text if value is None else f"{text} (default: {value})"
        flag = flag or f"--{name.replace('_', '-')}"
        parser.add_argument(flag, dest=name, default=argparse.SUPPRESS, help=help_text, **more)

    option("weights", "what to start from: built-in, one-2-3-45, or a file", flag="--from", metavar="WEIGHTS")
    option(
        "config", "train from nothing instead: built-in, compact (published, but smaller) or published", metavar="NAME"
    )
    option("epochs", "how often each view is looked at", type=float)
    option("steps", "most steps", type=int)
    option("rays", "rays of a batch", type=int)
    option("accumulate", "batches a step in each process", type=int)
    option("rate", "learning rate", type=float)
    option("halve_at", "steps at which it is halved", type=int, nargs="*", shown="100000 150000 200000")
    option("rgb", "weight of the colours' error", type=float)
    option("mask", "weight of the mask's error", type=float)
    option("mask_loss", "its form", choices=("bce", "l1"))
    option("eikonal", "weight of the gradients' deviation from unit length", type=float)
    option("sparsity", "weight of surfaces in free space", type=float)
    option("decay", "how fast that fades with distance", type=float)
    option("depth", "weight of the depth's error", type=float)
    option("sharpness", "NeuS's s at the end of the run (default: learned)", type=float)
    option("sources", "source views that a step takes features from", type=int)
    option("predicted_share", "share of source views that the generator draws", type=float)
    option("predicted_from", "whether it draws each view's neighbours or all from one", choices=PREDICTED_FROM)
    option("generator", "the view generator, or a file of weights for the built-in one", metavar="NAME")
    option("foreground_share", "share of the rays drawn from the object and its rim", type=float)
    option("coarse", "even samples along a ray", type=int)
    option("fine", "further samples near the surface", type=int)
    option("precision", "mixed precision", choices=PRECISIONS)
    option("device", "where to train", choices=("auto", "cpu", "cuda"))
    option("seed", "seed of the order and the rays", type=int)
    option("checkpoint_every", "steps between checkpoints", type=int)
    option("keep", "checkpoints kept besides the best", type=int)
    option("validate_every", "steps between validations; 0: every epoch", type=int)
    option("validate_models", "validation models looked at", type=int)
    option("rollbacks", "returns to an earlier checkpoint before giving up", type=int)
    option("cache", "folder of the predicted views (default: in RENDERS)", type=Path, metavar="DIR")
    option("watch", "only note a collapse", flag="--no-watch", action="store_false", shown="")
    option("skip_faulty", "leave out models that are not whole", flag="--skip-faulty", action="store_true", shown="")


def run(args: argparse.Namespace) -> int:
    """`oriel finetune`."""
    given = {field.name: getattr(args, field.name) for field in fields(FineTuneOptions) if hasattr(args, field.name)}
    if "halve_at" in given:
        given["halve_at"] = tuple(given["halve_at"])
    if "weights" in given and "config" in given:
        raise InputError("--from and --config exclude each other: one fine-tunes, the other trains from nothing.")
    base: dict[str, Any] = {}
    if args.resume:
        known = read_run(args.output)
        if known is None:
            raise InputError(f"There is no run in {args.output} to go on with. Leave out --resume to start one.")
        base = known["options"]
        args.renders = args.renders or Path(known["data"])
    if args.renders is None:
        raise InputError("Name the folder of the rendered models: `oriel finetune RENDERS -o OUT`.")
    options = FineTuneOptions.from_dict(base | given)

    import torch

    from engine.training.finetune import FineTune

    if args.threads is not None:
        torch.set_num_threads(max(1, args.threads))
    work = FineTune(args.renders, args.output, options, resume=args.resume)
    cancel = CancelToken()
    with _lines() if args.json else _bar() as show, interruptible(cancel):
        path = work.run(show, cancel)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        _say(work, path, cancel.cancelled, args)
    return INTERRUPTED if cancel.cancelled else 0


def _say(work: FineTune, path: Path, stopped: bool, args: argparse.Namespace) -> None:
    """How it ended."""
    state = work.state
    if args.json:
        end = {"event": "stopped" if stopped else "done", "step": state.step, "weights": str(path)}
        print(json.dumps(end | {"best_step": state.best_step, "figures": state.figures}), flush=True)
        return
    for name in ("start", "best", "latest"):
        if name in state.figures:
            found = state.figures[name]
            shown = ("score", "f_score", "mask_iou", "psnr", "loss")
            figures = "  ".join(f"{key} {found[key]:.4f}" for key in shown if key in found)
            print(f"{name:<8} step {found['step']:.0f}  {figures}")
    if stopped:
        print(f"stopped at step {state.step}; go on with: oriel finetune -o {args.output} --resume")
    print(f"weights  {path}")
    print(f"use them with: oriel reconstruct PICTURE --surface {path}")


@contextmanager
def _lines() -> Iterator[Callable[[Progress], None]]:
    """Events as lines of JSON."""

    def show(event: Progress) -> None:
        row = {"event": event.stage, "done": event.done, "total": event.total, "message": event.message}
        preview = {name: value for name, value in (event.preview or {}).items() if name != "mesh"}
        print(json.dumps(row | preview), flush=True)

    yield show


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    """A bar on the terminal; what is worth keeping (validation, trouble) as lines on standard error."""
    from tqdm import tqdm

    with tqdm(bar_format="{desc} |{bar}| {elapsed}", leave=False, disable=None) as bar:

        def show(event: Progress) -> None:
            bar.total, bar.n = event.total, event.done
            bar.set_description_str(f"{event.stage}: {event.message}"[:100])
            preview = event.preview or {}
            if (event.stage == "validate" and "key" not in preview) or "message" in preview:
                step = f"step {preview['step']}: " if event.stage == "validate" else ""
                tqdm.write(f"{step}{event.message}", file=sys.stderr)

        yield show
