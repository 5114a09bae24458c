"""What commands show, and how Ctrl-C ends them."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from app.reporting import Reporter, duration, interruptible, working
from engine.core.progress import CancelToken, Progress


def work(report: Reporter) -> None:
    report(Progress("draw", 1, 4, "first"))
    for key in "abc":
        report.row(key, 1, 2, f"row {key}")
    report.drop("a")
    report.row("c", 1, 2, "row c")
    report.keep(set())
    report.notice("log in")
    report.notice("log in")
    report.line("kept")


def test_a_terminal_shows_bars_and_a_file_only_lines(capsys, monkeypatch):
    with working("all", rows=2) as (report, _):
        work(report)
    assert capsys.readouterr().err == "log in\nkept\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with working("all", rows=2) as (report, _):
        work(report)
    shown = capsys.readouterr().err
    assert "draw: first" in shown and "row b" in shown and "row c" in shown
    assert shown.count("log in") == 1


def test_the_first_ctrl_c_asks_and_the_second_interrupts():
    before = signal.getsignal(signal.SIGINT)
    with interruptible(CancelToken()) as cancel:
        os.kill(os.getpid(), signal.SIGINT)
        assert cancel.cancelled
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) == before


def test_durations():
    assert [duration(s) for s in (4.4, 61, 7500)] == ["4 s", "1 min", "2 h 05 min"]
