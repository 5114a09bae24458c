"""`oriel evaluate`: measure sets of predictions against true models, and write the report."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from app.terminal import interruptible
from engine.core.progress import CancelToken, Progress

if TYPE_CHECKING:
    from engine.evaluation.report import Results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    from engine.evaluation.alignment import UP_AXES
    from engine.evaluation.metrics import METRICS

    parser.description = (
        "Measure sets of predicted meshes against true models: one folder of true models, one or more folders of "
        "predictions of the same names (mesh files, or run folders of `oriel reconstruct`); the first is the one that "
        "the others are compared with. Writes results.csv, results.json and report.html. Run again, it goes on where "
        "it ended."
    )
    parser.add_argument("--models", type=Path, required=True, metavar="DIR", help="folder of the true models")
    parser.add_argument(
        "--predictions", type=Path, required=True, nargs="+", action="extend", metavar="DIR", help="folders of meshes"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder for the results")
    text = f"measures, the most important first, with commas between: {', '.join(METRICS)} (default: all that can be)"
    parser.add_argument("--metrics", metavar="NAMES", help=text)
    text = "weights of CLIP: a file or folder of open_clip's (default: where `oriel weights list` says)"
    parser.add_argument("--clip", type=Path, metavar="FILE", help=text)
    text = "weights of LPIPS: the state of lpips.LPIPS(net='alex') (default: lpips-alex.* in a folder of weights)"
    parser.add_argument("--lpips", type=Path, metavar="FILE", help=text)
    text = "axis of the predictions that points up, once read as their format has it; repeat for several (default +z)"
    parser.add_argument("--up", action="append", choices=tuple(UP_AXES), help=text)
    text = "processes on this machine, 0 for none but this (default: by cores and memory)"
    parser.add_argument("--workers", type=int, metavar="N", help=text)
    parser.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler to work on instead, as tcp://host:8786")
    parser.add_argument("--json", action="store_true", help="print results.json")


def run(args: argparse.Namespace) -> int:
    """Carry out a parsed command; returns the exit status: 2 where nothing could be measured."""
    from engine.evaluation.study import Evaluation, Options

    names = None if args.metrics is None else tuple(name.strip() for name in args.metrics.split(",") if name.strip())
    options = Options(
        metrics=names,
        clip=args.clip,
        lpips=args.lpips,
        up=tuple(args.up or ("+z",)),
        workers=args.workers,
        scheduler=args.scheduler,
    )
    evaluation = Evaluation(args.models, args.predictions, args.output, options)
    cancel = CancelToken()
    with _bar() as show, interruptible(cancel):
        results = evaluation.run(show, cancel)
    for text in (*results.data["unavailable"].values(), *results.data["notes"], *results.problems):
        print(f"oriel: {' '.join(text.split())}", file=sys.stderr)
    if args.json:
        print(json.dumps(results.data))
    else:
        print_results(results)
    return 0 if results.data["metrics"] else 2


def print_results(results: Results) -> None:
    """The means, and how sure the differences are, as a table."""
    from engine.evaluation.metrics import METRICS, probability

    data = results.data
    labels = data["labels"]
    width = max(12, *(len(label) for label in labels)) + 2
    if data["metrics"]:
        print(f"{'':<18}" + "".join(f"{label:>{width}}" for label in labels) + ("    Wilcoxon p" if labels[1:] else ""))
    for key in data["metrics"]:
        metric = METRICS[key]
        cells = []
        for label in labels:
            mean = data["summary"][label][key]
            cells.append(f"{'–' if mean is None else format(mean['mean'], f'.{metric.decimals}f'):>{width}}")
        tests = [data["paired"][label][key] for label in labels[1:]]
        shown = ", ".join("–" if t is None else probability(t["wilcoxon_p"], t["count"]) for t in tests)
        print(f"{metric.label:<18}{''.join(cells)}    {shown}".rstrip())
    print(f"report            {results.page}")


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    """A bar over the predictions on the terminal, none where standard error is a file."""
    from tqdm import tqdm

    form = "{desc} |{bar}| {n_fmt}/{total_fmt} {elapsed}<{remaining}{postfix}"
    with tqdm(total=0, desc="evaluate", bar_format=form, leave=False, disable=None) as bar:

        def show(event: Progress) -> None:
            if event.stage == "measure":
                bar.total = event.total
                bar.n = event.done
            bar.set_postfix_str(f" {event.message}"[:80])

        yield show
