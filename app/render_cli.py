"""`oriel render run | status | watch | retry | preview | frame | worker`: many views of many models, with Blender."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.rendering import setting_texts, settings_for
from app.terminal import interruptible
from engine.core.errors import Cancelled, InputError, OrielError
from engine.core.files import writing
from engine.core.progress import CancelToken, Progress
from engine.rendering.jobs import DEVICES, ENGINES, Frame, ModelState, RenderSettings, RenderTotals, frames

if TYPE_CHECKING:
    from engine.rendering.farm import FarmOptions, RenderRun

FAILED = 2
_ROWS = 8
"""Models at work that a terminal shows one by one."""
_COLUMNS, _LINES = 8, 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, function: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        sub.set_defaults(render_run=function)
        return sub

    sub = action("run", _run, "render the models of a folder or list; goes on where an earlier run of OUT ended")
    text = "a model, a folder of models, a crawl's or a screening's folder, or a list with one model a line"
    sub.add_argument("models", type=Path, metavar="MODELS", help=text)
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder for the renders")
    text = "where the models of a list are, if not beside it"
    sub.add_argument("--models", dest="folder", type=Path, metavar="FOLDER", help=text)
    text = "try models again that failed before, or were cancelled"
    sub.add_argument("--retry", action="store_true", help=text)
    _add_farm(sub)
    _add_settings(sub)

    sub = action("status", _status, "say how far the renders of a folder are; also while they are made")
    sub.add_argument("folder", type=Path, metavar="OUT", help="folder with the renders")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = action("watch", _watch, "follow a run that another process has started, to its end")
    sub.add_argument("folder", type=Path, metavar="OUT", help="folder with the renders")

    sub = action("retry", _retry, "try again models that failed, and go on with those that are left")
    sub.add_argument("folder", type=Path, metavar="OUT", help="folder with the renders")
    sub.add_argument("keys", nargs="*", metavar="KEY", help="only these models (default: all that failed)")
    _add_farm(sub)

    sub = action("preview", _preview, "draw all views of a model at once, without Blender, to see poses and size")
    sub.add_argument("model", type=Path, metavar="MODEL", help="file with the model")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="SHEET", help="PNG file to write")
    sub.add_argument("--side", type=int, default=160, metavar="PX", help="side of a view (default %(default)s)")
    _add_settings(sub)

    sub = action("frame", _frame, "render one view of a model with Blender, to look at the settings")
    sub.add_argument("model", type=Path, metavar="MODEL", help="file with the model")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="PICTURE", help="PNG file to write")
    text = "which: view_0 to view_7, or a neighbour such as view_0_3_10 (default %(default)s)"
    sub.add_argument("--view", default="view_0", metavar="NAME", help=text)
    _add_blender(sub)
    _add_settings(sub)

    sub = action("worker", _worker, "render on this machine for a run that was started on another one")
    text = "of `dask scheduler`, as tcp://HOST:8786; the run is given the same with --scheduler"
    sub.add_argument("scheduler", metavar="ADDRESS", help=text)
    _add_workers(sub)
    _add_blender(sub)


def _add_farm(parser: argparse.ArgumentParser) -> None:
    _add_workers(parser)
    text = "render on the workers of this Dask scheduler, tcp://HOST:8786, and not on this machine"
    parser.add_argument("--scheduler", metavar="ADDRESS", help=text)
    text = "failures after which a model is set aside (default 2)"
    parser.add_argument("--attempts", type=int, default=2, metavar="N", help=text)
    text = "disk to leave free, in GB (default 1)"
    parser.add_argument("--keep-free", type=float, default=1.0, metavar="GB", help=text)
    _add_blender(parser)
    text = "print one JSON object for each model that is settled, and one for the whole at the end"
    parser.add_argument("--json", action="store_true", help=text)


def _add_workers(parser: argparse.ArgumentParser) -> None:
    text = "Blenders at once (default: by this machine's cores and memory)"
    parser.add_argument("--workers", type=int, metavar="N", help=text)


def _add_blender(parser: argparse.ArgumentParser) -> None:
    text = "a blender executable, or a Python with bpy (default: ORIEL_BLENDER, that of make setup, or the PATH)"
    parser.add_argument("--blender", metavar="PATH", help=text)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """An option for each setting; those that are not given are left to the output folder, or to the defaults."""
    group = parser.add_argument_group("settings", "Default: as in an earlier run of OUT, or else as named here.")
    usual, texts = RenderSettings(), setting_texts()
    for field in fields(RenderSettings):
        name, value = field.name, getattr(usual, field.name)
        shown = ("yes" if value else "no") if isinstance(value, bool) else value
        meaning = re.sub(r"^One of `\w+`[.;] ?", "", texts[name]).rstrip(".").replace("`", "")
        options: dict[str, Any] = {
            "dest": f"setting_{name}",
            "default": None,
            "help": f"{meaning} (default {shown})".strip().replace("%", "%%"),
        }
        if isinstance(value, bool):
            options["action"] = argparse.BooleanOptionalAction
        elif isinstance(value, str):
            options["choices"] = {"engine": ENGINES, "device": DEVICES}[name]
        else:
            options |= {"type": type(value), "metavar": "N" if isinstance(value, int) else "X"}
        group.add_argument(f"--{name.replace('_', '-')}", **options)


def run(args: argparse.Namespace) -> int:
    """Carry out a parsed command; returns the exit status: 2 also where models have failed."""
    return int(args.render_run(args))


# -- commands ------------------------------------------------------------------------------------------------


def _run(args: argparse.Namespace) -> int:
    from engine.rendering.farm import RenderRun
    from engine.rendering.layout import find_models

    settings, options = _settings(args, args.output), _options(args)
    models = find_models(args.models, args.folder)
    run = RenderRun(models, args.output, settings, options, source=args.models, retry_failed=args.retry)
    return _carry_out(run, args.json)


def _retry(args: argparse.Namespace) -> int:
    from engine.rendering.farm import RenderRun
    from engine.rendering.records import read_status

    _, states = read_status(args.folder)
    known = {state.model.key: state for state in states}
    unknown = [key for key in args.keys if key not in known]
    if unknown:
        raise InputError(
            f"{args.folder} has no model {', '.join(unknown)}. `oriel render status {args.folder}` names those that "
            "failed."
        )
    failed = [key for key, state in known.items() if state.state == "failed"]
    keys = args.keys or failed
    if not keys and all(state.state in ("done", "cancelled") for state in states):
        print(f"{args.folder}: no model failed")
        return 0
    run = RenderRun([state.model for state in states], args.folder, settings_for(args.folder, {}), _options(args))
    run.retry(keys)
    return _carry_out(run, args.json)


def _status(args: argparse.Namespace) -> int:
    from engine import weights
    from engine.rendering.records import log_path, read_status

    totals, states = read_status(args.folder)
    if args.json:
        listed = [_told(state) for state in states]
        print(json.dumps(asdict(totals) | {"folder": str(args.folder), "models": listed}))
        return 0
    print(f"state      {totals.state}" + (f": {totals.message}" if totals.message else ""))
    print(f"models     {_counts(totals)}, of {totals.total}")
    pace = f", {totals.frames_per_hour:,.0f} an hour" if totals.frames_per_hour else ""
    left = "" if not totals.seconds_left else f", {_duration(totals.seconds_left)} left"
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
            log = log_path(args.folder, state.model.key)
            if log.is_file():
                print(f"    {log}")
    return 0


def _watch(args: argparse.Namespace) -> int:
    from engine.rendering.records import read_progress, read_status

    cancel = CancelToken()
    with _bars() as show, interruptible(cancel):
        while (told := read_progress(args.folder)) is not None and told[2]:
            totals, working, _ = told
            for found in working:
                show.row(str(found["key"]), int(found["frames"]), totals.frames_total // max(totals.total, 1), found)
            show.keep({str(found["key"]) for found in working})
            show.whole(totals)
            for _ in range(10):
                cancel.check()
                time.sleep(0.1)
    totals, _ = read_status(args.folder)
    print(_summary(totals, args.folder))
    if totals.state == "stopped":
        print("nothing renders there now", file=sys.stderr)
    return 0


def _preview(args: argparse.Namespace) -> int:
    import io

    from PIL import Image

    from engine.rendering.preview import preview_frames

    if not 16 <= args.side <= 1024:
        raise InputError(f"--side is {args.side}: give a value from 16 to 1024.")
    settings = _settings(args)
    wanted = frames(settings)
    places = {frame.name: place for place, frame in enumerate(_by_row(wanted))}
    sheet = Image.new("RGB", (_COLUMNS * args.side, _LINES * args.side), "white")
    cancel = CancelToken()
    with interruptible(cancel):
        for name, content in preview_frames(args.model, settings, wanted, side=args.side, cancel=cancel):
            row, column = divmod(places[name], _COLUMNS)
            with Image.open(io.BytesIO(content)) as picture:
                view = picture.convert("RGBA")
            sheet.paste(view, (column * args.side, row * args.side), view)
    raw = io.BytesIO()
    sheet.save(raw, "PNG")
    _write(args.output, raw.getvalue())
    print(f"{args.output}: {len(wanted)} views of {args.model.name}, a column for each principal one")
    return 0


def _by_row(wanted: list[Frame]) -> list[Frame]:
    """Frames as they stand on the sheet: the principal ones on top, below each its neighbours."""
    each = len(wanted) // _COLUMNS
    return [wanted[column * each + row] for row in range(each) for column in range(_COLUMNS)]


def _frame(args: argparse.Namespace) -> int:
    from engine.rendering.farm import render_frame

    settings = _settings(args)
    named = {frame.name: frame for frame in frames(settings)}
    if args.view not in named:
        raise InputError(f"There is no view {args.view}. There are: {', '.join(named)}.")
    cancel, began = CancelToken(), time.monotonic()
    with interruptible(cancel):
        content = render_frame(args.model, settings, named[args.view], args.blender, cancel)
    _write(args.output, content)
    print(f"{args.output}: {args.view} of {args.model.name}, {time.monotonic() - began:.1f} s")
    return 0


def _worker(args: argparse.Namespace) -> int:
    import asyncio

    from engine.rendering.blender import find_blender
    from engine.rendering.cluster import serve

    if args.workers is not None and args.workers < 1:
        raise InputError(f"--workers is {args.workers}: it must be at least 1.")
    print(f"Blender {find_blender(args.blender).version}", flush=True)
    cancel = CancelToken()
    with interruptible(cancel):
        asyncio.run(serve(args.scheduler, args.workers, args.blender, lambda text: print(text, flush=True), cancel))
    raise Cancelled


# -- helpers -------------------------------------------------------------------------------------------------


def _settings(args: argparse.Namespace, out: Path | None = None) -> RenderSettings:
    given = {field.name: getattr(args, f"setting_{field.name}") for field in fields(RenderSettings)}
    return settings_for(out, {name: value for name, value in given.items() if value is not None})


def _options(args: argparse.Namespace) -> FarmOptions:
    from engine.rendering.farm import FarmOptions

    return FarmOptions(args.workers, args.scheduler, args.attempts, args.blender, int(args.keep_free * 1e9))


def _write(path: Path, content: bytes) -> None:
    with writing(path, "Choose another place with -o."):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _carry_out(run: RenderRun, as_json: bool) -> int:
    from engine.rendering.records import log_path

    cancel = CancelToken()

    def tell(event: Progress) -> None:
        if event.stage == "model" and event.preview.state in ("done", "failed", "cancelled"):
            print(json.dumps(_told(event.preview)), flush=True)

    try:
        with nullcontext(tell) if as_json else _bars() as show, interruptible(cancel):
            totals = run.run(show, cancel)
    except (Cancelled, OrielError) as stopped:
        totals = run.totals()
        if as_json:
            print(json.dumps(asdict(totals)), flush=True)
        elif totals.done or isinstance(stopped, Cancelled):
            print(_summary(totals, run.out), flush=True)
            print("what is done is kept; the same command goes on from here", file=sys.stderr)
        raise
    if as_json:
        print(json.dumps(asdict(totals)), flush=True)
    else:
        print(_summary(totals, run.out))
    failed = [state for state in run.states() if state.state == "failed"]
    for state in failed[:20]:
        log = log_path(run.out, state.model.key)
        where = f" ({log})" if log.is_file() else ""
        print(f"oriel: {state.model.key} failed: {state.message}{where}", file=sys.stderr)
    if failed:
        more = f"; {len(failed) - 20} more failed" if len(failed) > 20 else ""
        again = f"Mend them, or leave them out; `oriel render retry {run.out}` tries them again."
        print(f"oriel: {len(failed)} of {totals.total} models were set aside{more}. {again}", file=sys.stderr)
    return FAILED if failed else 0


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


class _Bars:
    """A bar over all frames and one for each of the first models at work; lines where standard error is a file."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._tqdm = tqdm
        self._quiet = not sys.stderr.isatty()
        form = "{desc} |{bar}| {n_fmt}/{total_fmt} frames{postfix}"
        self._whole = tqdm(total=0, desc="render", bar_format=form, disable=self._quiet, leave=False, position=0)
        self._rows: dict[int, Any] = {}
        self._places: dict[str, int] = {}
        self._told = ""

    def __call__(self, event: Progress) -> None:
        if event.stage == "render":
            self.whole(event.preview)
        elif event.stage == "model":
            state = event.preview
            if state.state == "working":
                self.row(state.model.key, state.frames, state.total, {"message": state.message})
                return
            self.keep(self._places.keys() - {state.model.key})
            if not state.earlier and (
                state.state == "failed" or (self._quiet and state.state in ("done", "cancelled"))
            ):
                text = f"{state.state} {state.model.key}" + (f": {state.message}" if state.message else "")
                self._tqdm.write(text, file=sys.stderr)

    def whole(self, totals: RenderTotals) -> None:
        """Show the run."""
        bar = self._whole
        bar.total, bar.n = totals.frames_total, totals.frames
        pace = f", {totals.frames_per_hour:,.0f} frames/h" if totals.frames_per_hour else ""
        left = f", {_duration(totals.seconds_left)} left" if totals.seconds_left else ""
        said = totals.message or ("" if totals.state == "running" else totals.state)
        bar.set_postfix_str(f"{totals.done}/{totals.total} models, {totals.failed} failed{pace}{left} {said}"[:110])
        if totals.message not in ("", self._told) and not totals.message.startswith("starting"):
            self._tqdm.write(totals.message, file=sys.stderr)  # a bar has no room for what a user is asked to do
        self._told = totals.message

    def row(self, key: str, count: int, total: int, about: dict[str, Any]) -> None:
        """Show a model at work."""
        place = self._places.get(key)
        if place is None:
            free = [place for place in range(_ROWS) if place not in self._places.values()]
            if not free:
                return
            place = self._places[key] = free[0]
        if place not in self._rows:
            form = "  {desc} |{bar}| {n_fmt}/{total_fmt}"
            self._rows[place] = self._tqdm(bar_format=form, disable=self._quiet, leave=False, position=place + 1)
        row = self._rows[place]
        row.total, row.n = total, count
        row.set_description_str(f"{key[:28]:<28} {str(about.get('message', ''))[:18]:<18}")

    def keep(self, keys: set[str]) -> None:
        """Leave only these models."""
        for key in self._places.keys() - keys:
            row = self._rows[self._places.pop(key)]
            row.total, row.n = None, 0
            row.set_description_str("")

    def close(self) -> None:
        """Clear the terminal."""
        for row in [*self._rows.values(), self._whole]:
            row.close()


@contextmanager
def _bars() -> Iterator[_Bars]:
    bars = _Bars()
    try:
        yield bars
    finally:
        bars.close()


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(int(seconds / 60 + 0.5), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
