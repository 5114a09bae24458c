"""Files of lines that a kill, a power cut or a full disk tears."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.core.ledger import append, mend


def test_lines_follow_each_other_below_the_head(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert append(path, b"one\n", head=b"head\n") == 9
    assert append(path, b"two\nthree\n", head=b"head\n") == 19
    assert path.read_bytes() == b"head\none\ntwo\nthree\n"


def test_a_line_that_finds_no_room_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    append(path, b"one\n")

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
        patched.setattr(os, "fsync", full)
        append(path, b"two\n")
    append(path, b"three\n")
    assert path.read_bytes() == b"one\nthree\n"


@pytest.mark.parametrize(
    ("content", "mended"),
    [
        (b"", b""),
        (b"one\n", b"one\n"),
        (b"one\ntw", b"one\n"),
        (b"one\nwhole", b"one\nwhole\n"),
        (b"one\nwhole\0\0\0", b"one\nwhole\n"),
        (b"one\nwho\0\0\0", b"one\n"),
        (b"one\n\0\0\0", b"one\n"),
        (b"\0\0\0", b""),
        (b"tw", b""),
    ],
)
def test_a_torn_last_line_is_ended_or_cut_off(tmp_path: Path, content: bytes, mended: bytes) -> None:
    path = tmp_path / "log"
    mend(path)
    assert not path.exists()
    path.write_bytes(content)
    mend(path, lambda line: line.rstrip(b"\0") == b"whole")
    assert path.read_bytes() == mended
    path.write_bytes(content)
    mend(path)
    assert path.read_bytes() == mended.replace(b"whole\n", b"")
