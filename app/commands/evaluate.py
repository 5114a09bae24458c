"""`oriel evaluate`: measure sets of predictions against true models, and write the report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from app.options import Fields, option
from app.reporting import BAD_INPUT, complain, say_json, working
from engine.core.progress import Progress
from engine.evaluation.metrics import METRICS, probability
from engine.evaluation.options import Options

if TYPE_CHECKING:
    from engine.evaluation.report import Results


def evaluate(
    *,
    models: Annotated[Path, option("folder of the true models", metavar="DIR")],
    predictions: Annotated[list[Path], option("folders of meshes", metavar="DIR", nargs="+", repeat=True)],
    output: Annotated[Path, option("folder for the results", "-o", metavar="OUT")],
    metrics: Annotated[
        str | None,
        option(
            f"measures, the most important first, with commas between: {', '.join(METRICS)} (default: all that can be)",
            metavar="NAMES",
        ),
    ] = None,
    options: Annotated[dict[str, Any], Fields(Options, only=("clip", "lpips", "up", "workers", "scheduler"))],
    json: Annotated[bool, option("print results.json")] = False,
) -> int:
    """Measure sets of predicted meshes against true models: one folder of true models, one or more folders of
    predictions of the same names (mesh files, or run folders of `oriel reconstruct`); the first is the one that the
    others are compared with. Writes results.csv, results.json and report.html. Run again, it goes on where it
    ended."""
    from engine.evaluation.study import Evaluation

    names = None if metrics is None else tuple(name.strip() for name in metrics.split(",") if name.strip())
    up = tuple(options.pop("up", Options.up))
    evaluation = Evaluation(models, predictions, output, Options(names, up=up, **options))
    form = "{desc} |{bar}| {n_fmt}/{total_fmt} {elapsed}<{remaining}{postfix}"
    with working("evaluate", form) as (report, cancel):

        def show(event: Progress) -> None:
            if event.stage == "measure":
                report.show(event.done, event.total, after=f" {event.message}"[:80])
            else:
                report.show(after=f" {event.message}"[:80])

        results = evaluation.run(show, cancel)
    for text in (*results.data["unavailable"].values(), *results.data["notes"], *results.problems):
        complain(text)
    if json:
        say_json(results.data)
    else:
        print_results(results)
    return 0 if results.data["metrics"] else BAD_INPUT  # nothing could be measured


COMMANDS = evaluate


def print_results(results: Results) -> None:
    """The means, and how sure the differences are, as a table."""
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
