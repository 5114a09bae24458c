"""Ledgers: files of lines, each on the disk before the next is begun, of which a kill at any instant costs the last."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path


def append(path: Path, lines: bytes, head: bytes = b"") -> int:
    """Put whole lines on the disk, below `head` if the file is new; returns its length. A failure changes nothing."""
    with path.open("ab", buffering=0) as file:
        size = file.tell()
        content = lines if size else head + lines
        try:
            if file.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                file.truncate(size)  # another line may still follow
            raise
    return size + len(content)


def mend(path: Path, is_whole: Callable[[bytes], bool] = lambda line: False) -> None:
    """End a last line that has no end if it `is_whole`, else cut it off. Zeros are what a power cut leaves of one."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        content = file.read()
        start = content.rfind(b"\n") + 1
        last = content[start:]
        if not last:
            return
        if is_whole(last):
            file.seek(start + len(last.rstrip(b"\0")))
            file.write(b"\n")
            file.truncate()
        else:
            file.truncate(start)
        os.fsync(file.fileno())
