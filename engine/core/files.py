"""Files that a kill or a full disk leaves whole, and folders of one owner.

A file is written whole under another name and renamed (`write_whole`, `whole_file`), or a line at a time is appended to
it (`engine.core.ledger`).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from engine.core.errors import InputError, OutputError

_PARTIAL = re.compile(r"\..+\.(\d+)\.\d+\.tmp")
_swept: set[Path] = set()


# -- writing -------------------------------------------------------------------------------------------------


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, whatever others write there at the same time; `OutputError` if it cannot be."""
    with writing(path), whole_file(path) as partial:
        partial.write_bytes(content)


@contextlib.contextmanager
def whole_file(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A path to write a file to, which takes its place at the end; after an exception the place is as it was.

    `durable` puts it on the disk first, so that a power cut cannot leave it empty. Raises `OSError` as it is; see
    `writing`.
    """
    _sweep(path.parent)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}.tmp")
    try:
        yield partial
        if durable:
            sync(partial)
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):  # the folder has gone, and the file with it
            partial.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what processes that were killed have left in a folder, the first time that this one writes there."""
    import psutil

    if folder in _swept:
        return
    _swept.add(folder)
    with contextlib.suppress(OSError):
        for left in folder.iterdir():
            made_by = _PARTIAL.fullmatch(left.name)
            # A process of another machine that shares the folder has not been silent for so long.
            if made_by and not psutil.pid_exists(int(made_by[1])) and time.time() - left.stat().st_mtime > 60:
                left.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Put what was written to a file, or a folder, on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextlib.contextmanager
def writing(path: Path, advice: str = "Check its rights and the free space.") -> Iterator[None]:
    """Turn what the file system refuses into an `OutputError` that names `path` and says what to do."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error, advice) from error


def unwritable(path: Path, error: OSError, advice: str = "Check its rights and the free space.") -> OutputError:
    """What to raise when a file or folder cannot be written."""
    return OutputError(f"{path} cannot be written: {error.strerror or error}. {advice}")


# -- reading -------------------------------------------------------------------------------------------------


def read_object(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if it is missing or damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


# -- folders of one owner ------------------------------------------------------------------------------------


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


@contextlib.contextmanager
def locked_folder(folder: Path, name: str, busy: str) -> Iterator[None]:
    """`lock_folder` for as long as the block takes."""
    lock = lock_folder(folder, name, busy)
    try:
        yield
    finally:
        lock.release()


def claim_run(folder: Path, checkpoint: str, log: str, *, resume: bool) -> Path:
    """Make a training run's folder and see that its `log` can be written; returns the path of its last `checkpoint`.

    Raises `InputError` for a folder that has one already, unless it is to be resumed; `OutputError` for one that cannot
    be written.
    """
    last = folder / checkpoint
    if last.exists() and not resume:
        raise InputError(f"{folder} holds a run already. Go on with it (--resume), or give another folder (--out).")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / log).touch()
    return last
