"""Dask in this project: a cluster of processes on this machine, workers for another machine's scheduler, a client.

All of it is asynchronous and belongs to one event loop. Dask is kept quiet, on loopback where all is on one machine,
and its processes end with the one that started them, however that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import dask
import distributed
import distributed.utils
import psutil
from distributed import Client, Nanny, Scheduler, Status, Worker, rpc
from distributed.comm.addressing import get_address_host_port
from distributed.diagnostics.plugin import WorkerPlugin

from engine.core.errors import InputError, OrielError

_LOGGERS = ("distributed", "distributed.client", "distributed.gc", "tornado", "tornado.application", "bokeh")
_SILENT = logging.CRITICAL + 1
_LOOPBACK = "127.0.0.1"
_NEEDED_ALIKE = ("dask", "distributed", "msgpack", "cloudpickle")


class _Manners(WorkerPlugin):
    """What a worker's process minds: Ctrl-C is for the one that started it, and so is what Dask has to say."""

    def __init__(self, leave: Callable[[], None] | None) -> None:
        self._leave = leave

    def setup(self, worker: Worker) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(_SILENT)

    def teardown(self, worker: Worker) -> None:
        if self._leave is not None:
            self._leave()


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing of what Dask says on the terminal, and neither a thread nor a variable of it that stays behind.

    Several pieces of work of one process may be within it at a time; the last of them puts everything back.
    """
    with _quieting:
        _within.append(_hush() if not _within else _within[-1])
    try:
        yield
    finally:
        with _quieting:
            hushed = _within.pop()
            if not _within:
                hushed.close()


async def attend(work: Coroutine[Any, Any, None], look: Callable[[], bool]) -> None:
    """Have some work done with Dask, quietly, and leave nothing of it behind, however it ends.

    `look` is called ten times a second, on this event loop; once it says True the work is cancelled, and that is no
    error. Raises what the work does.
    """
    with quiet():
        task, ended = asyncio.ensure_future(work), False
        try:
            while not task.done():
                if look() and not ended:
                    ended = True
                    task.cancel()  # once: its cleaning up is not to be cut short
                await asyncio.wait({task}, timeout=0.1)
        finally:
            if not ended:
                task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            task.result()


_quieting = threading.Lock()
_within: list[ExitStack] = []


def _hush() -> ExitStack:
    """Quiet from now on, until it is closed."""
    before = {name: logging.getLogger(name).handlers for name in _LOGGERS}
    set_by_dask = [name for name in ("PYTHONHASHSEED", "__DASK_PARENT_PID") if name not in os.environ]
    # Dask would keep a thread of this pool for as long as the process lives.
    pool, theirs = ThreadPoolExecutor(1, thread_name_prefix="Dask-Offload"), distributed.utils._offload_executor

    def loud() -> None:
        distributed.utils._offload_executor = theirs
        pool.shutdown()
        for name, handlers in before.items():
            logging.getLogger(name).handlers = handlers
        for name in set_by_dask:
            os.environ.pop(name, None)

    for name in _LOGGERS:
        logging.getLogger(name).handlers = [logging.NullHandler()]
    distributed.utils._offload_executor = pool
    hushed = ExitStack()
    hushed.callback(loud)
    hushed.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore")
    return hushed


@asynccontextmanager
async def local_cluster(
    workers: int,
    threads: int,
    folder: Path,
    environment: dict[str, str] | None = None,
    leave: Callable[[], None] | None = None,
) -> AsyncIterator[str]:
    """A scheduler in this process and workers in processes of their own; gives the scheduler's address.

    `folder` is for the workers' files; `leave` is called by each worker before it ends.
    """
    web = f"{_LOOPBACK}:0"  # Dask serves its state there, and would do so to the whole network
    async with AsyncExitStack() as stack:
        with start_troubles():
            scheduler = Scheduler(host=_LOOPBACK, port=0, dashboard=False, dashboard_address=web)
            await stack.enter_async_context(scheduler)
            await stack.enter_async_context(
                nannies(scheduler.address, workers, threads, folder, _LOOPBACK, environment, leave)
            )
        yield scheduler.address


@contextmanager
def start_troubles() -> Iterator[None]:
    """Say what it means where processes cannot be started."""
    try:
        yield
    except (OSError, RuntimeError, TimeoutError) as error:
        text = f"The worker processes could not be started: {error}. Try with fewer --workers."
        raise OrielError(text) from error


@asynccontextmanager
async def nannies(
    scheduler: str,
    workers: int,
    threads: int,
    folder: Path,
    host: str | None,
    environment: dict[str, str] | None = None,
    leave: Callable[[], None] | None = None,
) -> AsyncIterator[list[Nanny]]:
    """Workers of this machine in processes of their own; see `local_cluster`."""
    # Nannies would set OMP_NUM_THREADS and others in this process, where torch may yet want its threads.
    with dask.config.set({"distributed.nanny.pre-spawn-environ": {}}):
        all_of_them = [
            Nanny(
                scheduler,
                nthreads=threads,
                memory_limit=0,  # what a worker starts is not its own memory, and is watched elsewhere
                local_directory=str(folder),
                host=host,
                env=environment or {},
                silence_logs=_SILENT,
                dashboard=False,
                dashboard_address=f"{_LOOPBACK}:0",
                plugins=(_Manners(leave),),
            )
            for _ in range(workers)
        ]
    starting = asyncio.gather(*(nanny.start() for nanny in all_of_them), return_exceptions=True)
    try:
        for begun in await asyncio.shield(starting):
            if isinstance(begun, BaseException):
                raise begun
        yield all_of_them
    finally:
        if not starting.done():
            # A start that is cut short would leave its process behind.
            for nanny in all_of_them:
                if nanny.status == Status.starting and nanny.process is not None and nanny.process.process is not None:
                    nanny.process.process.kill()
            await asyncio.wait({starting})
        closing = (nanny.close(timeout=5, reason="the run is over") for nanny in all_of_them)
        await asyncio.gather(*closing, return_exceptions=True)


@asynccontextmanager
async def connect(address: str, name: str) -> AsyncIterator[Client]:
    """A client of a scheduler; raises InputError where there is none, or one that does not fit."""
    await check_fit(address)
    client = Client(address, asynchronous=True, set_as_default=False, timeout=10, name=name)
    try:
        await client
        yield client
    finally:
        with contextlib.suppress(Exception):
            await client.close(timeout=2)


async def check_fit(address: str) -> None:
    """Make sure that there is a scheduler, and that its packages can talk with these."""
    theirs: dict[str, Any]
    try:
        if address.startswith("tcp://"):
            # Dask would knock again and again for a while.
            _, writer = await asyncio.wait_for(asyncio.open_connection(*get_address_host_port(address)), 10)
            writer.close()
        async with rpc(address, timeout=10) as remote:
            theirs = await remote.versions()
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(
            f"No scheduler answers at {address} ({error or type(error).__name__}). Start one there with `dask "
            "scheduler`, and check the address: tcp://HOST:8786."
        ) from error
    found = theirs.get("packages", {})
    python = str(theirs.get("host", {}).get("python", "")).split(".")[:2]
    here = [str(number) for number in sys.version_info[:2]]
    differences = [f"Python {'.'.join(python)} there, {'.'.join(here)} here"] if python != here else []
    ours = distributed.versions.get_versions()["packages"]
    differences += [
        f"{name} {found.get(name)} there, {ours.get(name)} here"
        for name in _NEEDED_ALIKE
        if found.get(name) != ours.get(name)
    ]
    if differences:
        raise InputError(
            f"The scheduler at {address} has other versions: {'; '.join(differences)}. Install the same on all "
            "machines."
        )


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder for workers; those that killed ones have left are removed."""
    prefix = "oriel-worker-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        number = left.name.removeprefix(prefix).partition("-")[0]
        if number.isdecimal() and not psutil.pid_exists(int(number)):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{prefix}{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
