"""What the sessions of long work share, without a window."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from app.job_session import Job, JobSession, recalled
from engine.core.errors import Cancelled, InputError
from engine.core.progress import CancelToken, Progress, ProgressCallback


class Run:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def run(self, progress: ProgressCallback, cancel: CancelToken) -> str:
        progress(Progress("model", 1, 2))
        progress(Progress("whole", 1, 2, "half"))
        return "done"


def test_a_job_keeps_what_is_noted_until_it_is_taken_and_passes_on_what_is_asked() -> None:
    run = Run()
    job = Job(lambda: run, lambda event: event.message or None)
    job.ask(lambda run: run.asked.append("paused"))  # before it is made
    assert not run.asked
    assert job.work() == "done" and run.asked == ["paused"]
    job.ask(lambda run: run.asked.append("resumed"))
    assert run.asked == ["paused", "resumed"]
    assert job.take() == ["half"] and not job.take()


def test_a_job_that_is_cancelled_before_it_begins_makes_nothing() -> None:
    job = Job(lambda: pytest.fail("made"))
    job.cancel.cancel()
    with pytest.raises(Cancelled):
        job.work()


def test_what_went_wrong_is_told_without_options_of_the_command_line() -> None:
    async def work() -> None:
        raise InputError("It is full.", advice="Go on with it{}.", options=[" (--resume)"])

    assert asyncio.run(JobSession._outcome(work())) == ("It is full. Go on with it.", False)


@dataclass(frozen=True)
class Choice:
    name: str = "auto"
    number: int = 2
    pause: float = 1.5
    shown: bool = False
    kinds: tuple[str, ...] = ("a",)


def test_options_are_recalled_and_what_does_not_fit_is_passed_over() -> None:
    values = {"name": "browser", "number": "three", "pause": 4, "shown": 1, "kinds": ["b", "c"], "gone": 5}
    assert recalled(Choice, values) == Choice("browser", 2, 4, False, ("b", "c"))
    assert recalled(Choice, None) == recalled(Choice, []) == Choice()
