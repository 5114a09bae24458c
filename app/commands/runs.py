"""`oriel runs list | show | resume | delete`; and how the commands that reconstruct execute a run and tell of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from app.history import History
from app.options import option
from app.reporting import BAD_INPUT, complain, say_json, working
from app.settings import Settings
from engine.core.errors import OrielError
from engine.core.progress import Progress
from engine.reconstruct.options import STAGES, TEXTURE_SIZES
from engine.reconstruct.run import Run

Name = Annotated[str, option("folder name in the history, or path of a run folder")]
Json = Annotated[bool, option("print JSON")]


def list_(
    search: Annotated[tuple[str, ...], option("words to look for", nargs="*")] = (), /, *, json: Json = False
) -> None:
    """List the history, newest first."""
    found = history().search(" ".join(search))
    for run in found:
        if json:
            say_json(_summary(run))
            continue
        seconds = f"{run.report['seconds']:.1f} s" if run.status == "done" and "seconds" in run.report else ""
        print(f"{run.folder.name:<40} {run.status:<10} {run.options.quality:<9} {run.options.method:<6} {seconds}")
    if not found and not json:
        print(f"no runs in {history().root}", file=sys.stderr)


def show(name: Name, /, *, json: Json = False) -> None:
    """Show a run and its times."""
    run = _find(name)
    if json:
        return say_json(_summary(run) | {"report": run.report})
    for key, value in _summary(run).items():
        if value is not None:
            print(f"{key:<10} {', '.join(value) if isinstance(value, list) else value}")
    for part, what in run.report.get("used", {}).items():
        place = f", {what['path']} ({what['source']})" if what.get("path") else ""
        machine = f", on {what['device']}" if "device" in what else ""
        note = f"; {what['note']}" if "note" in what else ""
        print(f"{part:<10} {what['label']}{place}{machine}{note}")
    for stage, cost in run.report.get("stages", {}).items():
        print(f"{stage:<10} {cost['seconds']:6.1f} s  {cost['peak_mb']:6.0f} MB")


def resume(
    name: Name,
    /,
    *,
    start: Annotated[str | None, option("stage to start from", "--from", choices=STAGES)] = None,
    faces: Annotated[int | None, option("another number of triangles")] = None,
    texture_size: Annotated[int | None, option("another side of the texture", choices=TEXTURE_SIZES)] = None,
    smooth: Annotated[int | None, option("other passes of smoothing, 0 to 50")] = None,
    seed: Annotated[int | None, option("another seed")] = None,
    json: Json = False,
) -> int:
    """Finish a run, or run it again from a stage on, or with other options from where they count."""
    run = _find(name)
    changes = {"faces": faces, "texture_size": texture_size, "smooth": smooth, "seed": seed}
    try:
        run.change(**{option: value for option, value in changes.items() if value is not None})
        execute(run, run.name, start or "texture")  # it goes back to the first stage that is not done
    except OrielError as error:
        tell(json, run.folder, run, str(error))
        return BAD_INPUT
    tell(json, run.folder, run, None)
    return 0


def delete(
    names: Annotated[list[str], option("folder name in the history, or path of a run folder", metavar="name")], /
) -> None:
    """Delete runs and their files."""
    kept = history()
    for run in [_find(name) for name in names]:
        kept.delete(run)
        print(f"deleted {run.folder}")


COMMANDS = (list_, show, resume, delete)

# -- what other commands share -------------------------------------------------------------------------------


def history() -> History:
    """The user's runs."""
    return History(Settings.load().history_folder)


def execute(run: Run, label: str, start: str = "foreground") -> None:
    """Execute a run with a bar over all stages; Ctrl-C cancels it, a second Ctrl-C interrupts at once."""
    shares = dict.fromkeys(STAGES, 0.0)
    with working(label) as (report, cancel):

        def show(event: Progress) -> None:
            shares[event.stage] = event.fraction
            # A later stage that has begun means that all before it are done, but for the views: the elevation
            # is estimated from the first of them.
            report.show(sum(shares.values()), len(STAGES), f"{label}  {event.stage}: {event.message}"[:90])

        run.execute(show, cancel, start)


def tell(json: bool, source: Path, run: Run | None, error: str | None) -> None:
    """Say how one picture went."""
    if json:
        record = {"picture": str(source), "status": "failed", "error": error}
        if run is not None:
            record |= _summary(run) | {"picture": str(source), "report": run.report}
        say_json(record)
    elif error is not None:
        complain(error if str(source) in error or source.name in error else f"{source}: {error}")
    elif run is not None:
        print(f"{source}: {run.folder / 'mesh.glb'} ({run.report['seconds']:.1f} s)", flush=True)
        for note in run.report.get("notes", ()):
            complain(f"{source}: {note}")


def _summary(run: Run) -> dict[str, Any]:
    estimate = run.elevation()
    return {
        "name": run.folder.name,
        "picture": run.source,
        "status": run.status,
        "error": run.error,
        "created": run.created.isoformat(),
        "folder": str(run.folder),
        "quality": run.options.quality,
        "method": run.options.method,
        "generator": run.options.generator,
        "matcher": run.options.matcher,
        "surface": run.options.surface,
        "elevation": None if estimate is None else round(estimate.value, 2),
        "elevation_is_fallback": None if estimate is None else estimate.is_fallback,
        "seconds": run.report.get("seconds"),
        "peak_mb": run.report.get("peak_mb"),
        "files": [str(p) for p in sorted(run.folder.glob("mesh.*")) if p.suffix != ".npz"],
    }


def _find(name: str) -> Run:
    try:
        is_path = (Path(name) / "run.json").exists()
    except OSError:
        is_path = False
    return Run.open(name) if is_path else history().get(name)
