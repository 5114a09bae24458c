"""`oriel weights list | fetch | check | where | use | remove`: the models' weights from the command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.core.errors import OrielError
from engine.core.progress import Progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands; without one, `list` is meant."""
    parser.set_defaults(run=_list, json=False)
    actions = parser.add_subparsers(metavar="ACTION")
    for name, function, text in (
        ("list", _list, "list the models, with where their weights are"),
        ("fetch", _fetch, "download weights from the hub; goes on from what is there"),
        ("check", _check, "look for damage and for weights of another model"),
        ("where", _where, "print the path of a model's weights"),
        ("use", _use, "take a model's weights from a file or folder of yours"),
        ("remove", _remove, "forget that file, or delete weights that were downloaded"),
    ):
        action = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        action.set_defaults(run=function)
        if name in ("fetch", "check", "remove"):
            many = "*" if name == "check" else "+"
            action.add_argument("models", nargs=many, metavar="MODEL", help="key of a model, see `oriel weights list`")
        elif name != "list":
            action.add_argument("model", metavar="MODEL", help="key of a model, see `oriel weights list`")
        if name == "use":
            action.add_argument("path", type=Path, metavar="PATH", help="file or folder")
        if name in ("list", "check"):
            action.add_argument("--json", action="store_true", help="print JSON")


def describe_model(key: str) -> dict[str, Any]:
    """What is known of a model and of its weights on this machine; cheap, reads no weights."""
    from engine import weights

    model, located = weights.MODELS[key], weights.locate(key)
    return {
        "key": key,
        "label": model.label,
        "kind": model.kind,
        "purpose": model.purpose,
        "licence": model.licence,
        "origin": model.origin or None,
        "files": [{"name": f.name, "size": f.size, "sha256": f.sha256} for f in model.files],
        "source": located.source if located else None,
        "path": str(located.path) if located else None,
        "bytes": located.size if located else None,
        "unfinished_bytes": weights.unfinished(key),
    }


def _list(arguments: argparse.Namespace) -> int:
    from engine import weights
    from engine.weights import hub

    known = [describe_model(key) for key in weights.MODELS]
    if arguments.json:
        print(json.dumps(known))
        return 0
    for entry in known:
        if entry["source"] is not None:
            state = f"{entry['source'].replace(' ', '-')}, {weights.readable(entry['bytes'])}"
        elif entry["unfinished_bytes"]:
            state = f"unfinished, {weights.readable(entry['unfinished_bytes'])} received"
        else:
            state = f"missing, size {weights.readable(weights.MODELS[entry['key']].size)}"
        print(f"{entry['key']:<19} {state:<32} {entry['label']}: {entry['purpose']}; {entry['licence']}")
    for other in weights.available():
        if other.name not in weights.MODELS:
            print(f"{other.name:<19} {'yours':<32} {other.path}")
    places = ", ".join(str(folder) for folder in weights.folders())
    print(f"looked in: the settings, {places}, {hub.cache()}", file=sys.stderr)
    return 0


def _fetch(arguments: argparse.Namespace) -> int:
    from engine import weights

    for key in arguments.models:
        with _bar(key) as show:
            path = weights.fetch(key, show)
        print(f"{key}: {path}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from engine import weights

    keys = arguments.models or [key for key in weights.MODELS if weights.locate(key) is not None]
    findings: dict[str, list[str]] = {}
    for key in keys:
        try:
            with _bar(key) as show:
                findings[key] = weights.check(key, show)
        except OrielError as error:
            findings[key] = [str(error)]
    if arguments.json:
        print(json.dumps(findings))
    else:
        for key, problems in findings.items():
            print(f"{key:<19} {' '.join(problems) or 'ok'}")
    return 2 if any(findings.values()) else 0


def _where(arguments: argparse.Namespace) -> int:
    from engine import weights

    print(weights.require(arguments.model))
    return 0


def _use(arguments: argparse.Namespace) -> int:
    from app.settings import Settings
    from engine import weights

    located = weights.use(arguments.model, arguments.path)
    Settings.load().keep_weights()
    print(f"{arguments.model}: {located.path}")
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    from app.settings import Settings
    from engine import weights

    for key in arguments.models:
        freed = weights.remove(key)
        Settings.load().keep_weights()
        print(f"{key}: {f'{weights.readable(freed)} freed' if freed else 'the path is forgotten, the file is kept'}")
    return 0


@contextmanager
def _bar(key: str) -> Iterator[Callable[[Progress], None]]:
    """A bar over the bytes on the terminal, none where standard error is a file."""
    from tqdm import tqdm

    form = "{desc} |{bar}| {n_fmt} of {total_fmt}  {elapsed}<{remaining}"
    with tqdm(desc=key, unit="B", unit_scale=True, bar_format=form, leave=False, disable=None) as bar:

        def show(event: Progress) -> None:
            bar.total = event.total or None
            bar.n = event.done
            bar.set_description_str(f"{key}  {event.message}"[:70], refresh=True)

        yield show
