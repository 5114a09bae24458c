"""Small files that a kill or a full disk leaves whole, written under another name and renamed; folders of one owner."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from engine.core.errors import InputError, OutputError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f".{path.name}.tmp")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error


def read_object(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if it is missing or damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def lock_folder(folder: Path, name: str, busy: str) -> FileLock:
    """Make a folder if needed and take the lock `name` in it, which any thread may release.

    Raises `InputError` with the text `busy` where somebody has it, `OutputError` where it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / name, thread_local=False)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(busy) from error
    except OSError as error:
        raise unwritable(folder, error) from error
    return lock


def claim_run(folder: Path, checkpoint: str, log: str, *, resume: bool) -> Path:
    """Make a training run's folder and see that its `log` can be written; returns the path of its last `checkpoint`.

    Raises `InputError` for a folder that has one already, unless it is to be resumed; `OutputError` for one that cannot
    be written.
    """
    last = folder / checkpoint
    if last.exists() and not resume:
        raise InputError(f"{folder} holds a run already. Go on with it (--resume), or give another folder (--out).")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / log).touch()
    except OSError as error:
        raise unwritable(folder, error) from error
    return last


def sync(path: Path) -> None:
    """Put what was written to a file, or a folder, on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def unwritable(path: Path, error: OSError) -> OutputError:
    """What to raise when a file or folder of records cannot be written."""
    return OutputError(f"{path} cannot be written: {error.strerror or error}. Check its rights and the free space.")
