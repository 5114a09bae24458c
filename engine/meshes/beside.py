"""The file that a name in a model means: programs write such names in many ways."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path, PurePosixPath
from urllib.parse import unquote


def find_beside(folder: Path, name: str) -> Path | None:
    """The file that `name`, as a model in `folder` has it, stands for; None where there is none.

    The name may be quoted, have backslashes, blanks coded as `%20` or letters of another case. Of a path that leads
    nowhere here, as an absolute one of another machine, ever shorter ends are looked for.
    """
    name = name.strip().strip("\"'").strip()
    for written in dict.fromkeys((name, name.replace("\\", "/"), unquote(name.replace("\\", "/")), _as_latin(name))):
        if written and "\0" not in written and (found := _find(folder, written)):
            return found
    return None


def _find(folder: Path, name: str) -> Path | None:
    path = PurePosixPath(name)
    parts = [part for part in path.parts if part not in ("/", ".") and not part.endswith(":")]
    if not path.is_absolute() and (found := _walk(folder, parts)):
        return found
    ends = [parts[start:] for start in range(len(parts)) if ".." not in parts[start:]]
    for end in ends:
        if found := _walk(folder, end):
            return found
    return Path(path) if path.is_absolute() and Path(path).is_file() else None


def _walk(folder: Path, parts: list[str]) -> Path | None:
    """The file below a folder with this path, whatever the case of its letters."""
    at = folder
    for part in parts:
        exact = at / part
        if part == ".." or exact.exists():
            at = exact
            continue
        try:
            alike = sorted(entry.name for entry in at.iterdir() if _plain(entry.name) == _plain(part))
        except OSError:
            return None
        if not alike:
            return None
        at = at / alike[0]
    return at if parts and at.is_file() else None


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _as_latin(name: str) -> str:
    """What stands in a file that is not in UTF-8."""
    return os.fsencode(name).decode("latin-1")
