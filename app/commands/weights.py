"""`oriel weights list | fetch | check | where | use | remove`: the models' weights from the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any

from app.options import option
from app.reporting import BAD_INPUT, Reporter, say_json
from app.settings import Settings
from engine import weights
from engine.core.errors import OrielError
from engine.core.progress import ProgressCallback
from engine.weights import hub

_KEY = "key of a model, see `oriel weights list`"
Model = Annotated[str, option(_KEY, metavar="MODEL")]
Models = Annotated[tuple[str, ...], option(_KEY, metavar="MODEL")]
Json = Annotated[bool, option("print JSON")]


def _checksum(known: str | None) -> dict[str, str | None]:
    return {"sha256": None, "md5": known} if known is not None and len(known) == 32 else {"sha256": known}


def describe_model(key: str) -> dict[str, Any]:
    """What is known of a model and of its weights on this machine; cheap, reads no weights."""
    model, located = weights.MODELS[key], weights.locate(key)
    return {
        "key": key,
        "label": model.label,
        "kind": model.kind,
        "purpose": model.purpose,
        "licence": model.licence,
        "origin": model.origin or None,
        "files": [{"name": f.name, "size": f.size, **_checksum(f.checksum)} for f in model.files],
        "source": located.source if located else None,
        "path": str(located.path) if located else None,
        "bytes": located.size if located else None,
        "unfinished_bytes": weights.unfinished(key),
    }


def list_(*, json: Json = False) -> None:
    """List the models, with where their weights are."""
    known = [describe_model(key) for key in weights.MODELS]
    if json:
        return say_json(known)
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


def fetch(models: Models, /) -> None:
    """Download weights from the hub; goes on from what is there."""
    for key in models:
        with _bar(key) as show:
            path = weights.fetch(key, show)
        print(f"{key}: {path}")


def check(
    models: Annotated[tuple[str, ...], option(_KEY, metavar="MODEL", nargs="*")] = (), /, *, json: Json = False
) -> int:
    """Look for damage and for weights of another model."""
    findings: dict[str, list[str]] = {}
    for key in models or [key for key in weights.MODELS if weights.locate(key) is not None]:
        try:
            with _bar(key) as show:
                findings[key] = weights.check(key, show)
        except OrielError as error:
            findings[key] = [str(error)]
    if json:
        say_json(findings)
    else:
        for key, problems in findings.items():
            print(f"{key:<19} {' '.join(problems) or 'ok'}")
    return BAD_INPUT if any(findings.values()) else 0


def where(model: Model, /) -> None:
    """Print the path of a model's weights."""
    print(weights.require(model))


def use(model: Model, path: Annotated[Path, option("file or folder", metavar="PATH")], /) -> None:
    """Take a model's weights from a file or folder of yours."""
    located = weights.use(model, path)
    Settings.load().keep_weights()
    print(f"{model}: {located.path}")


def remove(models: Models, /) -> None:
    """Forget that file, or delete weights that were downloaded."""
    for key in models:
        freed = weights.remove(key)
        Settings.load().keep_weights()
        print(f"{key}: {f'{weights.readable(freed)} freed' if freed else 'the path is forgotten, the file is kept'}")


COMMANDS = (list_, fetch, check, where, use, remove)
DEFAULT = ["list"]
"""What is meant where no word follows."""


@contextmanager
def _bar(key: str) -> Iterator[ProgressCallback]:
    """A bar over the bytes."""
    form = "{desc} |{bar}| {n_fmt} of {total_fmt}  {elapsed}<{remaining}"
    with closing(Reporter(key, form, scaled=True)) as report:
        yield lambda event: report.show(event.done, event.total, f"{key}  {event.message}"[:70])
