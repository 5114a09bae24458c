"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from engine.core import files
from engine.core.errors import OutputError
from engine.core.files import whole_file, write_whole


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_swept", set())


def test_a_writer_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_whole(path, b"old")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as partial:
        partial.write_bytes(b"half")
        raise KeyboardInterrupt

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OutputError, match=r"a\.json cannot be written: No space"):
        patched.setattr(os, "fsync", full)
        write_whole(path, b"new")
    with monkeypatch.context() as patched, whole_file(tmp_path / "b", durable=False) as partial:
        patched.setattr(os, "fsync", full)
        partial.write_bytes(b"quick")
    assert path.read_bytes() == b"old" and {p.name for p in tmp_path.iterdir()} == {"a.json", "b"}
    with pytest.raises(OutputError, match="cannot be written"):
        write_whole(path / "below", b"new")


def test_threads_that_write_the_same_file_leave_it_whole(tmp_path: Path) -> None:
    path, texts = tmp_path / "a.json", [bytes([65 + n]) * 200_000 for n in range(4)]
    threads = [threading.Thread(target=lambda t=text: [write_whole(path, t) for _ in range(20)]) for text in texts]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert not path.exists() or path.read_bytes() in texts
    assert path.read_bytes() in texts and [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib\nfrom engine.core.files import whole_file\n"
        "with whole_file(pathlib.Path(sys.argv[1])) as partial:\n    partial.write_bytes(b'half')\n    os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "a.json"], check=False).returncode == 9
    (left,) = tmp_path.iterdir()
    at_work = tmp_path / f".a.json.{os.getpid()}.1.tmp"
    others = tmp_path / ".notes.12.tmp"
    for path in (left, at_work, others):
        path.touch()
        os.utime(path, (time.time() - 120,) * 2)
    write_whole(tmp_path / "a.json", b"new")
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", at_work.name, others.name}
