"""`oriel study`: the study of fine-tuning on buildings, in miniature, from procedural models to the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from app.options import Fields, option
from app.reporting import INTERRUPTED, working
from engine.training.study import Study, StudyOptions


def study(
    *,
    output: Annotated[Path, option("folder of the study", "-o", metavar="OUT")],
    options: Annotated[dict[str, Any], Fields(StudyOptions)],
) -> int:
    """Trains a surface network on rendered generic shapes, fine-tunes it on rendered buildings with a loss on the mask
    and with one on the depth and, as a control, on the generic shapes, reconstructs held-out buildings with each and
    compares them. Takes two and a half hours on two cores; run again, it goes on where it was stopped."""
    work = Study.open(output, options)
    try:
        with working() as (report, cancel):
            results = work.run(report, cancel)
    finally:
        work.close()
    if results is None:
        print(f"stopped; go on with: oriel study -o {output}")
        return INTERRUPTED
    from app.commands.evaluate import print_results

    print_results(results)
    return 0


COMMANDS = study
