"""`oriel render run | status | watch | retry | preview | frame | worker`: many views of many models, with Blender."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from app.options import Fields, option
from app.reporting import BAD_INPUT, Reporter, complain, duration, interruptible, json_lines, say_json, working, write
from engine.core.errors import Cancelled, InputError, OrielError
from engine.core.progress import CancelToken, Progress
from engine.rendering.jobs import FarmOptions, Frame, ModelState, RenderSettings, RenderTotals, frames
from engine.rendering.layout import settings_for

if TYPE_CHECKING:
    from engine.rendering.farm import RenderRun

_ROWS = 8
"""Models at work that a terminal shows one by one."""
_COLUMNS, _LINES = 8, 5
_FORM = "{desc} |{bar}| {n_fmt}/{total_fmt} frames{postfix}"

Renders = Annotated[Path, option("folder with the renders", metavar="OUT")]
Model = Annotated[Path, option("file with the model", metavar="MODEL")]
Farm = Annotated[dict[str, Any], Fields(FarmOptions)]
Blender = Annotated[dict[str, Any], Fields(FarmOptions, only=("blender",))]
# What is not given is left to the output folder, or to the defaults.
Settings = Annotated[
    dict[str, Any],
    Fields(RenderSettings, title="settings", about="Default: as in an earlier run of OUT, or else as named here."),
]
Json = Annotated[bool, option("print one JSON object for each model that is settled, and one for the whole at the end")]


def run(
    models: Annotated[
        Path,
        option(
            "a model, a folder of models, a crawl's or a screening's folder, or a list with one model a line",
            metavar="MODELS",
        ),
    ],
    /,
    *,
    output: Annotated[Path, option("folder for the renders", "-o", metavar="OUT")],
    folder: Annotated[
        Path | None, option("where the models of a list are, if not beside it", "--models", metavar="FOLDER")
    ] = None,
    retry: Annotated[bool, option("try models again that failed before, or were cancelled")] = False,
    json: Json = False,
    farm: Farm,
    settings: Settings,
) -> int:
    """Render the models of a folder or list; goes on where an earlier run of OUT ended."""
    from engine.rendering.farm import RenderRun
    from engine.rendering.layout import find_models

    options, chosen = FarmOptions(**farm), settings_for(output, settings)
    found = find_models(models, folder)
    return _carry_out(RenderRun(found, output, chosen, options, source=models, retry_failed=retry), json)


def retry(
    folder: Renders,
    keys: Annotated[list[str], option("only these models (default: all that failed)", metavar="KEY", nargs="*")],
    /,
    *,
    json: Json = False,
    farm: Farm,
) -> int:
    """Try again models that failed, and go on with those that are left."""
    from engine.rendering.farm import RenderRun
    from engine.rendering.records import read_status

    _, states = read_status(folder)
    known = {state.model.key: state for state in states}
    unknown = [key for key in keys if key not in known]
    if unknown:
        raise InputError(
            f"{folder} has no model {', '.join(unknown)}. `oriel render status {folder}` names those that failed."
        )
    keys = keys or [key for key, state in known.items() if state.state == "failed"]
    if not keys and all(state.state in ("done", "cancelled") for state in states):
        print(f"{folder}: no model failed")
        return 0
    work = RenderRun([state.model for state in states], folder, settings_for(folder, {}), FarmOptions(**farm))
    work.retry(keys)
    return _carry_out(work, json)


def status(folder: Renders, /, *, json: Annotated[bool, option("print JSON")] = False) -> None:
    """Say how far the renders of a folder are; also while they are made."""
    from engine import weights
    from engine.rendering.records import log_path, read_status

    totals, states = read_status(folder)
    if json:
        return say_json(asdict(totals) | {"folder": str(folder), "models": [_told(state) for state in states]})
    print(f"state      {totals.state}" + (f": {totals.message}" if totals.message else ""))
    print(f"models     {_counts(totals)}, of {totals.total}")
    pace = f", {totals.frames_per_hour:,.0f} an hour" if totals.frames_per_hour else ""
    left = "" if not totals.seconds_left else f", {duration(totals.seconds_left)} left"
    print(f"frames     {totals.frames:,} of {totals.frames_total:,}{pace}{left}")
    print(f"disk       {weights.readable(totals.disk)}")
    if totals.workers:
        print(f"workers    {totals.workers}")
    for state in states:
        if state.state == "working":
            print(f"  {state.model.key}: {state.frames} of {state.total} frames, {state.worker}, {state.message}")
    for state in states:
        if state.state == "failed":
            print(f"  {state.model.key} failed ({state.attempts} attempts): {state.message}")
            if (log := log_path(folder, state.model.key)).is_file():
                print(f"    {log}")


def watch(folder: Renders, /) -> None:
    """Follow a run that another process has started, to its end."""
    from engine.rendering.records import read_progress, read_status

    with working("render", _FORM, rows=_ROWS) as (report, cancel):
        while (told := read_progress(folder)) is not None and told[2]:
            totals, at_work, _ = told
            report.keep({str(found["key"]) for found in at_work})
            for found in at_work:
                total = totals.frames_total // max(totals.total, 1)
                report.row(str(found["key"]), int(found["frames"]), total, _row(found["key"], found.get("message", "")))
            _show_totals(report, totals)
            for _ in range(10):
                cancel.check()
                time.sleep(0.1)
    totals, _ = read_status(folder)
    print(_summary(totals, folder))
    if totals.state == "stopped":
        print("nothing renders there now", file=sys.stderr)


def preview(
    model: Model,
    /,
    *,
    output: Annotated[Path, option("PNG file to write", "-o", metavar="SHEET")],
    side: Annotated[int, option("side of a view", metavar="PX", low=16, high=1024)] = 160,
    settings: Settings,
) -> None:
    """Draw all views of a model at once, without Blender, to see poses and size."""
    import io

    from PIL import Image

    from engine.rendering.preview import preview_frames

    chosen = settings_for(None, settings)
    wanted = frames(chosen)
    places = {frame.name: place for place, frame in enumerate(_by_row(wanted))}
    sheet = Image.new("RGB", (_COLUMNS * side, _LINES * side), "white")
    with interruptible(CancelToken()) as cancel:
        for name, content in preview_frames(model, chosen, wanted, side=side, cancel=cancel):
            row, column = divmod(places[name], _COLUMNS)
            with Image.open(io.BytesIO(content)) as picture:
                view = picture.convert("RGBA")
            sheet.paste(view, (column * side, row * side), view)
    raw = io.BytesIO()
    sheet.save(raw, "PNG")
    write(output, raw.getvalue())
    print(f"{output}: {len(wanted)} views of {model.name}, a column for each principal one")


def _by_row(wanted: list[Frame]) -> list[Frame]:
    """Frames as they stand on the sheet: the principal ones on top, below each its neighbours."""
    each = len(wanted) // _COLUMNS
    return [wanted[column * each + row] for row in range(each) for column in range(_COLUMNS)]


def frame(
    model: Model,
    /,
    *,
    output: Annotated[Path, option("PNG file to write", "-o", metavar="PICTURE")],
    view: Annotated[str, option("which: view_0 to view_7, or a neighbour such as view_0_3_10")] = "view_0",
    blender: Blender,
    settings: Settings,
) -> None:
    """Render one view of a model with Blender, to look at the settings."""
    from engine.rendering.farm import render_frame

    chosen = settings_for(None, settings)
    named = {frame.name: frame for frame in frames(chosen)}
    if view not in named:
        raise InputError(f"There is no view {view}. There are: {', '.join(named)}.")
    began = time.monotonic()
    with interruptible(CancelToken()) as cancel:
        content = render_frame(model, chosen, named[view], blender.get("blender"), cancel)
    write(output, content)
    print(f"{output}: {view} of {model.name}, {time.monotonic() - began:.1f} s")


def worker(
    scheduler: Annotated[
        str,
        option(
            "of `dask scheduler`, as tcp://HOST:8786; the run is given the same with --scheduler", metavar="ADDRESS"
        ),
    ],
    /,
    *,
    farm: Annotated[dict[str, Any], Fields(FarmOptions, only=("workers", "blender"))],
) -> None:
    """Render on this machine for a run that was started on another one."""
    import asyncio

    from engine.rendering.blender import find_blender
    from engine.rendering.cluster import serve

    workers, blender = farm.get("workers"), farm.get("blender")
    print(f"Blender {find_blender(blender).version}", flush=True)
    with interruptible(CancelToken()) as cancel:
        asyncio.run(serve(scheduler, workers, blender, lambda text: print(text, flush=True), cancel))
    raise Cancelled


COMMANDS = (run, status, watch, retry, preview, frame, worker)

# -- helpers -------------------------------------------------------------------------------------------------


def _carry_out(work: RenderRun, json: bool) -> int:
    from engine.rendering.records import log_path

    def settled(event: Progress) -> dict[str, Any] | None:
        over = event.stage == "model" and event.preview.state in ("done", "failed", "cancelled")
        return _told(event.preview) if over else None

    try:
        with working("render", _FORM, rows=_ROWS, silent=json) as (report, cancel):
            totals = work.run(json_lines(settled) if json else lambda event: _show(report, event), cancel)
    except (Cancelled, OrielError) as stopped:
        totals = work.totals()
        if json:
            say_json(asdict(totals))
        elif totals.done or isinstance(stopped, Cancelled):
            print(_summary(totals, work.out), flush=True)
            print("what is done is kept; the same command goes on from here", file=sys.stderr)
        raise
    if json:
        say_json(asdict(totals))
    else:
        print(_summary(totals, work.out))
    failed = [state for state in work.board.rows() if state.state == "failed"]
    for state in failed[:20]:
        log = log_path(work.out, state.model.key)
        complain(f"{state.model.key} failed: {state.message}" + (f" ({log})" if log.is_file() else ""))
    if failed:
        more = f"; {len(failed) - 20} more failed" if len(failed) > 20 else ""
        again = f"Mend them, or leave them out; `oriel render retry {work.out}` tries them again."
        complain(f"{len(failed)} of {totals.total} models were set aside{more}. {again}")
    return BAD_INPUT if failed else 0


def _told(state: ModelState) -> dict[str, Any]:
    return {
        "key": state.model.key,
        "model": str(state.model.path),
        "state": state.state,
        "message": state.message,
        "frames": state.frames,
        "attempts": state.attempts,
        "worker": state.worker,
        "seconds_per_frame": state.seconds_per_frame,
        "earlier": state.earlier,
    }


def _counts(totals: RenderTotals) -> str:
    parts = [f"{totals.done} done"]
    parts += [f"{count} {name}" for name in ("failed", "cancelled") if (count := getattr(totals, name))]
    if totals.working:
        parts.append(f"{totals.working} at work")
    left = totals.total - totals.done - totals.failed - totals.cancelled - totals.working
    return ", ".join([*parts, f"{left} to go"] if left else parts)


def _summary(totals: RenderTotals, folder: Path) -> str:
    return f"{folder}: {_counts(totals)}"


def _show(report: Reporter, event: Progress) -> None:
    """Bars over all frames and those of the first models at work; what has failed as a line, on a file all."""
    state = event.preview
    if event.stage == "render":
        _show_totals(report, state)
    elif event.stage == "model" and state.state == "working":
        report.row(state.model.key, state.frames, state.total, _row(state.model.key, state.message))
    elif event.stage == "model":
        report.drop(state.model.key)
        if not state.earlier and (state.state == "failed" or (report.quiet and state.state in ("done", "cancelled"))):
            report.line(f"{state.state} {state.model.key}" + (f": {state.message}" if state.message else ""))


def _show_totals(report: Reporter, totals: RenderTotals) -> None:
    pace = f", {totals.frames_per_hour:,.0f} frames/h" if totals.frames_per_hour else ""
    left = f", {duration(totals.seconds_left)} left" if totals.seconds_left else ""
    said = totals.message or ("" if totals.state == "running" else totals.state)
    after = f"{totals.done}/{totals.total} models, {totals.failed} failed{pace}{left} {said}"
    report.show(totals.frames, totals.frames_total, after=after)
    report.notice("" if totals.message.startswith("starting") else totals.message)


def _row(key: str, message: str) -> str:
    return f"{key[:28]:<28} {message[:18]:<18}"
