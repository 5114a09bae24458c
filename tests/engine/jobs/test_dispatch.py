"""Tasks on real Dask workers: what is lost is done again, what kills its workers is given up, the rest goes on."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path

import pytest

from engine import cluster
from engine.core.errors import OrielError
from engine.jobs.dispatch import LOSSES, Dispatcher, Task, Trouble, Worker

LOG = logging.getLogger("tests.dispatch")


def job(argument: tuple[str, str], files: str | None) -> str | None:
    """What a worker does: `deadly` ends its process each time, `unlucky` once; `remote` needs what is sent."""
    key, mark = argument
    if key == "deadly":
        os._exit(1)
    if key == "unlucky" and not Path(mark).exists():
        Path(mark).touch()
        os._exit(1)
    if key == "slow":
        time.sleep(5)
    return None if key == "remote" and files is None else f"{key} {files}"


def work(keys: list[str], folder: Path, said: dict[str, list[str]], *, stop: str = "", workers: int = 1) -> None:
    """Do tasks of these keys; `said` gets how each of them went. The one to `stop` is cancelled at work."""

    async def run() -> None:
        async with (
            cluster.local_cluster(workers, 1, folder) as address,
            cluster.connect(address, "test") as client,
        ):

            async def attempt(task: Task, worker: Worker) -> None:
                if task.key == "troublesome":
                    raise Trouble("no luck")
                argument = task.key, str(folder / "mark")
                found = await dispatcher.call(task, worker, job, argument, lambda: "sent")
                said.setdefault(task.key, []).append(found)

            def ended(task: Task, how: str, why: str) -> None:
                said.setdefault(task.key, []).append(how)

            def turn() -> None:
                for task in tasks:
                    if task.key == stop and task.attempt is not None:
                        dispatcher.cancel(task)

            dispatcher: Dispatcher[Task] = Dispatcher(attempt, ended, what="try", log=LOG)
            tasks = [Task(key) for key in keys]
            dispatcher.queue.extend(tasks)
            dispatcher.first(tasks[-1:])
            await dispatcher.work(client, None, turn)

    asyncio.run(cluster.attend(run(), lambda: False))


def test_a_lost_worker_costs_no_task_and_a_deadly_task_only_itself(tmp_path: Path) -> None:
    said: dict[str, list[str]] = {}
    began = time.monotonic()
    work(["remote", "plain", "deadly", "slow", "unlucky"], tmp_path, said, stop="slow", workers=2)
    assert time.monotonic() - began < 60
    *before, last = said["deadly"]
    assert last == "lost" and before.count("again") == len(before) >= LOSSES - 1
    assert said["slow"] == ["cancelled"]
    for key in ("plain", "unlucky", "remote"):  # beside the deadly one each may have to be done again
        *before, last = said[key]
        assert set(before) <= {"again"} and last in {f"{key} sent", f"{key} None"} - {"remote None"}
    assert "again" in said["unlucky"]


def test_a_worker_that_is_no_good_gets_no_more_and_without_one_it_ends(tmp_path: Path) -> None:
    said: dict[str, list[str]] = {}
    with pytest.raises(OrielError, match="No worker can try: no luck"):
        work(["plain", "troublesome"], tmp_path, said)
    assert said == {"troublesome": ["again"] * 3}, "the last is done first"
