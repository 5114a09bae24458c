"""The command line: `oriel reconstruct | runs | demo | weights | doctor`, and the commands of `DELEGATED`.

What is heavy is imported by the command that needs it, so that `oriel --help` answers at once.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import weights_cli
from app.terminal import interruptible
from engine.core.errors import Cancelled, InputError, OrielError
from engine.core.progress import CancelToken, Progress

if TYPE_CHECKING:
    from app.history import History
    from engine.reconstruct.options import Options
    from engine.reconstruct.run import Run

BAD_INPUT, INTERRUPTED = 2, 130
PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif"}
# Said here again, as importing the pipeline for its help would make the help slow; a test compares them.
STAGES = ("foreground", "views", "elevation", "surface", "texture")
MODES = ("auto", "alpha", "plain", "grabcut", "sam", "whole")
QUALITIES = ("draft", "standard", "fine")
FORMATS = ("glb", "obj", "ply", "stl")
SAMPLERS = ("fast", "published")
METHODS = ("field", "views")
DELEGATED = {
    ("crawl",): "app.crawl_cli",
    ("screen",): "app.screen_cli",
    ("evaluate",): "app.evaluate_cli",
    ("render",): "app.render_cli",
    ("finetune",): "app.finetune_cli",
    ("study",): "app.study_cli",
    ("data",): "engine.data.cli",
    ("train", "views"): "engine.views.train",
    ("train", "shape"): "engine.views.train_prior",
    ("train", "surface"): "engine.surface.train",
}
"""Commands that other modules bring along, with `add_arguments(parser)` and `run(arguments)`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 2 for what the user can put right, 130 when interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = None
    # These have parsers of their own, in the modules that do the work.
    delegate = next((d for d in DELEGATED if tuple(words[: len(d)]) == d), None)
    if delegate is None:
        arguments = build_parser().parse_args(words)
    try:
        _add_weights_folder()
        if delegate is not None:
            return _delegate(" ".join(delegate), DELEGATED[delegate], words[len(delegate) :])
        assert arguments is not None
        return int(arguments.run(arguments) or 0)
    except OrielError as error:
        _complain(str(error))
        return BAD_INPUT
    except (Cancelled, KeyboardInterrupt):
        _complain("interrupted.")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of the output (`| head`) has gone; nothing is left to be said to it.
        sys.stderr.close()
        return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser with all commands."""
    parser = argparse.ArgumentParser(
        prog="oriel",
        description="One picture in, a textured 3D mesh out. Without a command the window opens.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    sub = commands.add_parser("reconstruct", help="reconstruct a mesh from each picture")
    sub.add_argument("pictures", nargs="+", type=Path, metavar="PICTURES", help="picture files, or folders of them")
    sub.add_argument("-o", "--output", type=Path, metavar="OUT", help="folder for the runs (default: the history)")
    _add_options(sub)
    sub.add_argument("--json", action="store_true", help="print one JSON object for each picture")
    sub.set_defaults(run=_reconstruct)

    sub = commands.add_parser("runs", help="list, show, delete or resume runs")
    actions = sub.add_subparsers(metavar="ACTION", required=True)
    for name, function, text in (
        ("list", _runs_list, "list the history, newest first"),
        ("show", _runs_show, "show a run and its times"),
        ("resume", _runs_resume, "finish a run, or run it again from a stage on"),
        ("delete", _runs_delete, "delete runs and their files"),
    ):
        action = actions.add_parser(name, help=text)
        if name == "list":
            action.add_argument("search", nargs="*", help="words to look for")
        else:
            many = "+" if name == "delete" else None
            action.add_argument("name", nargs=many, help="folder name in the history, or path of a run folder")
        if name == "resume":
            action.add_argument("--from", dest="start", choices=STAGES, help="stage to start from")
        if name != "delete":
            action.add_argument("--json", action="store_true", help="print JSON")
        action.set_defaults(run=function)

    sub = commands.add_parser("demo", help="reconstruct a bundled picture and draw its mesh from four sides")
    sub.add_argument("-o", "--output", type=Path, default=Path("out/demo"), metavar="OUT", help="default: out/demo")
    sub.add_argument("--sample", default="church", help="name of the bundled picture (default: church)")
    sub.add_argument("--quality", choices=QUALITIES, default="standard")
    _add_method(sub)
    sub.set_defaults(run=_demo)

    sub = commands.add_parser("weights", help="list, fetch, check, use or remove model weights")
    weights_cli.add_arguments(sub)

    sub = commands.add_parser("doctor", help="check what is installed, the device and the weights")
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub.set_defaults(run=_doctor)

    commands.add_parser("crawl", help="collect 3D models: search, run, retry, status, credits, token, login")
    commands.add_parser("screen", help="judge models as a team: split, merge, conflicts, stats, list")
    commands.add_parser("evaluate", help="measure predicted meshes against true models, and write a report")
    commands.add_parser("render", help="render models: run, status, watch, retry, preview, frame, worker")
    commands.add_parser("finetune", help="fine-tune the surface network on rendered models")
    commands.add_parser("study", help="the study of fine-tuning on buildings, in miniature, from models to report")
    commands.add_parser("data", help="procedural architecture: contact sheets, GLB export")
    sub = commands.add_parser("train", help="train the built-in weights: views, shape or surface")
    models = sub.add_subparsers(metavar="MODEL", required=True)
    for model in ("views", "shape", "surface"):
        models.add_parser(model, help=f"train the {model} network")
    return parser


def _add_method(parser: argparse.ArgumentParser) -> None:
    text = "how the surface comes about: the view generator's own solid, or a surface network that reads 32 views"
    parser.add_argument("--method", choices=METHODS, help=f"{text} (default: what suits --generator and --surface)")


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quality", choices=QUALITIES, default="standard")
    _add_method(parser)
    parser.add_argument("--format", dest="formats", action="append", choices=FORMATS, help="repeat for several")
    parser.add_argument("--elevation", type=float, metavar="DEG", help="known elevation of the camera")
    best = "(default: published weights if they are here, else what is built in; `oriel weights list`)"
    parser.add_argument(
        "--generator", metavar="NAME", help=f"what draws the views: built-in, zero123-xl, zero123 {best}"
    )
    parser.add_argument("--matcher", metavar="NAME", help=f"for the elevation: dense-flow, sift, loftr {best}")
    parser.add_argument("--surface", metavar="NAME", help=f"built-in, one-2-3-45, or a file of weights {best}")
    parser.add_argument("--sampler", choices=SAMPLERS, default="fast", help="how a diffusion model draws the views")
    parser.add_argument("--memory", type=float, metavar="GB", help="memory of the GPU to fill (default: what is free)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--foreground", dest="mode", choices=MODES, default="auto", help="how the object is found")
    parser.add_argument("--box", nargs=4, type=int, metavar=("X0", "Y0", "X1", "Y1"), help="box around it, in pixels")
    for flag, what in (("--point", "on the object"), ("--remove-point", "beside it")):
        text = f"a pixel {what}, for --foreground sam; repeat for several"
        parser.add_argument(flag, nargs=2, type=float, action="append", default=[], metavar=("X", "Y"), help=text)
    parser.add_argument("--mask", type=Path, metavar="FILE", help="finished mask, white where the object is")
    parser.add_argument("--up", choices=("Y", "Z"), help="up axis of the files (default: Y in GLB, else Z)")
    parser.add_argument("--height-m", type=float, metavar="M", help="height of the object in metres")


# -- commands ------------------------------------------------------------------------------------------------


def _reconstruct(arguments: argparse.Namespace) -> int:
    from app.history import free_folder, safe_name
    from app.settings import Settings
    from engine import choices
    from engine.reconstruct.options import Options
    from engine.reconstruct.run import Run

    if (arguments.point or arguments.remove_point) and arguments.mode != "sam":
        raise InputError("--point and --remove-point are for --foreground sam. Add it, or leave the points out.")
    method = arguments.method or ""
    options = Options(
        mode=arguments.mode,
        mask=arguments.mask,
        elevation=arguments.elevation,
        method=method,
        generator=arguments.generator or choices.preferred("generator", method),
        sampler=arguments.sampler,
        matcher=arguments.matcher or choices.preferred("matcher"),
        surface=arguments.surface or choices.preferred("surface"),
        memory_gb=Settings.load().memory_gb if arguments.memory is None else arguments.memory,
        quality=arguments.quality,
        seed=arguments.seed,
        formats=tuple(arguments.formats or ("glb",)),
        up=arguments.up,
        height_m=arguments.height_m,
    )
    pictures, failures = _collect(arguments.pictures)
    for path, text in failures:
        _result(arguments.json, path, None, text)
    for number, path in enumerate(pictures, 1):
        run = None
        try:
            chosen = _with_prompts(options, path, arguments)
            if arguments.output is None:
                run = _history().create(path, chosen)
            else:
                run = Run.create(path, free_folder(arguments.output / safe_name(path.stem)), chosen)
            _execute(run, f"{number}/{len(pictures)} {path.name}" if len(pictures) > 1 else path.name)
        except OrielError as error:
            failures.append((path, str(error)))
            _result(arguments.json, path, run, str(error))
        except (Cancelled, KeyboardInterrupt):
            _result(arguments.json, path, run, "interrupted")
            raise
        except Exception as error:  # of our own making; the other pictures can do nothing about it
            traceback.print_exc()
            failures.append((path, f"Unexpected {type(error).__name__}: {error}"))
            _result(arguments.json, path, run, failures[-1][1])
        else:
            _result(arguments.json, path, run, None)
    total = len(pictures) + len([f for f in failures if f[0] not in pictures])
    if failures and total > 1:
        _complain(f"{len(failures)} of {total} failed: {', '.join(str(path) for path, _ in failures)}")
    return BAD_INPUT if failures else 0


def _collect(given: list[Path]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The pictures named, or in the folders named, and what could not be used with the reason."""
    pictures: list[Path] = []
    failures: list[tuple[Path, str]] = []
    for path in given:
        try:
            if path.is_dir():
                inside = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
                pictures += inside
                if not inside:
                    failures.append((path, f"The folder {path} holds no pictures."))
            elif path.is_file():
                pictures.append(path)
            else:
                failures.append((path, f"There is no file {path}. Check the path."))
        except OSError as error:
            failures.append((path, f"{path} cannot be read: {(error.strerror or str(error)).lower()}."))
    return list(dict.fromkeys(pictures)), failures


def _with_prompts(options: Options, path: Path, arguments: argparse.Namespace) -> Options:
    """Options with box and points, given in the file's pixels, in those of the picture as it is loaded."""
    import dataclasses

    points = [(*at, True) for at in arguments.point] + [(*at, False) for at in arguments.remove_point]
    if arguments.box is None and not points:
        return options
    from PIL import Image

    from engine.imaging import load_picture

    height, width = load_picture(path).shape[:2]
    with Image.open(path) as image:
        scale = max(height, width) / max(image.size)
    box = None if arguments.box is None else tuple(round(value * scale) for value in arguments.box)
    return dataclasses.replace(options, box=box, points=tuple((x * scale, y * scale, add) for x, y, add in points))


def _demo(arguments: argparse.Namespace) -> int:
    from app.demo import sample, write_sheet
    from app.history import free_folder
    from engine.reconstruct.options import Options
    from engine.reconstruct.run import Run

    picture, options = sample(arguments.sample), Options(quality=arguments.quality, method=arguments.method or "")
    run = Run.create(picture, free_folder(arguments.output / picture.stem), options)
    _execute(run, picture.name)
    sheet = run.folder / "sheet.png"
    write_sheet(run, sheet)
    print(f"run folder  {run.folder}")
    print(f"mesh        {run.folder / 'mesh.glb'}")
    print(f"pictures    {sheet}")
    print(f"time        {run.report['seconds']:.1f} s, peak memory {run.report['peak_mb']:.0f} MB")
    return 0


def _runs_list(arguments: argparse.Namespace) -> int:
    runs = _history().search(" ".join(arguments.search))
    if arguments.json:
        for run in runs:
            print(json.dumps(_summary(run)))
        return 0
    for run in runs:
        seconds = f"{run.report['seconds']:.1f} s" if run.status == "done" and "seconds" in run.report else ""
        print(f"{run.folder.name:<40} {run.status:<10} {run.options.quality:<9} {run.options.method:<6} {seconds}")
    if not runs:
        print(f"no runs in {_history().root}", file=sys.stderr)
    return 0


def _runs_show(arguments: argparse.Namespace) -> int:
    run = _find_run(arguments.name)
    if arguments.json:
        print(json.dumps(_summary(run) | {"report": run.report}))
        return 0
    for key, value in _summary(run).items():
        if value is not None:
            print(f"{key:<10} {', '.join(value) if isinstance(value, list) else value}")
    for part, what in run.report.get("used", {}).items():
        place = f", {what['path']} ({what['source']})" if what.get("path") else ""
        machine = f", on {what['device']}" if "device" in what else ""
        print(f"{part:<10} {what['label']}{place}{machine}")
    for stage, cost in run.report.get("stages", {}).items():
        print(f"{stage:<10} {cost['seconds']:6.1f} s  {cost['peak_mb']:6.0f} MB")
    return 0


def _runs_resume(arguments: argparse.Namespace) -> int:
    run = _find_run(arguments.name)
    start = arguments.start or "texture"  # execute() goes back to the first stage that is not done
    try:
        _execute(run, run.name, start)
    except OrielError as error:
        _result(arguments.json, run.folder, run, str(error))
        return BAD_INPUT
    _result(arguments.json, run.folder, run, None)
    return 0


def _runs_delete(arguments: argparse.Namespace) -> int:
    history = _history()
    for run in [_find_run(name) for name in arguments.name]:
        history.delete(run)
        print(f"deleted {run.folder}")
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    import dataclasses

    from app.doctor import examine

    checks = examine()
    if arguments.json:
        print(json.dumps([dataclasses.asdict(check) for check in checks]))
    else:
        signs = {"ok": "ok", "note": "--", "problem": "!!"}
        group = ""
        for check in checks:
            if check.group != group:
                group = check.group
                print(f"{group}")
            print(f"  {signs[check.status]}  {check.name:<26} {check.detail}")
    return BAD_INPUT if any(check.status == "problem" for check in checks) else 0


def _delegate(program: str, module: str, rest: list[str]) -> int:
    """Hand the rest of the line to a module with `add_arguments(parser)` and `run(arguments)`."""
    import importlib

    found = importlib.import_module(module)
    parser = argparse.ArgumentParser(prog=f"oriel {program}")
    found.add_arguments(parser)
    return int(found.run(parser.parse_args(rest)) or 0)


# -- helpers -------------------------------------------------------------------------------------------------


def _execute(run: Run, label: str, start: str = "foreground") -> None:
    """Execute a run with a progress bar; Ctrl-C cancels it, a second Ctrl-C interrupts at once."""
    cancel = CancelToken()
    with _bar(label) as progress, interruptible(cancel):
        run.execute(progress, cancel, start)


@contextmanager
def _bar(label: str) -> Iterator[Callable[[Progress], None]]:
    """A bar over all stages on the terminal, none where standard error is a file."""
    from tqdm import tqdm

    form = "{desc} |{bar}| {elapsed}"
    with tqdm(total=len(STAGES), desc=label, bar_format=form, leave=False, disable=None) as bar:
        shares = dict.fromkeys(STAGES, 0.0)

        def show(event: Progress) -> None:
            shares[event.stage] = event.fraction
            # A later stage that has begun means that all before it are done, but for the views: the elevation
            # is estimated from the first of them.
            bar.n = sum(shares.values())
            bar.set_description_str(f"{label}  {event.stage}: {event.message}"[:90], refresh=False)
            bar.refresh()

        yield show


def _result(as_json: bool, source: Path, run: Run | None, error: str | None) -> None:
    """Say how one picture went."""
    if as_json:
        record = {"picture": str(source), "status": "failed", "error": error}
        if run is not None:
            record |= _summary(run) | {"picture": str(source), "report": run.report}
        print(json.dumps(record), flush=True)
    elif error is not None:
        _complain(error if str(source) in error or source.name in error else f"{source}: {error}")
    elif run is not None:
        print(f"{source}: {run.folder / 'mesh.glb'} ({run.report['seconds']:.1f} s)", flush=True)


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


def _find_run(name: str) -> Run:
    from engine.reconstruct.run import Run

    try:
        is_path = (Path(name) / "run.json").exists()
    except OSError:
        is_path = False
    return Run.open(name) if is_path else _history().get(name)


def _history() -> History:
    from app.history import History
    from app.settings import Settings

    return History(Settings.load().history_folder)


def _add_weights_folder() -> None:
    from app.settings import Settings

    Settings.load().apply_weights()


def _complain(text: str) -> None:
    print(f"oriel: {' '.join(text.split())}", file=sys.stderr)
