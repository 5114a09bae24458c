"""The Dask processes of the farm: a cluster on this machine, workers for another machine's scheduler, a client.

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
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import dask
import distributed
import distributed.utils
import psutil
from dask.system import CPU_COUNT
from distributed import Client, Nanny, Scheduler, Status, Worker, rpc
from distributed.comm.addressing import get_address_host_port
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.system import MEMORY_LIMIT

from engine.errors import InputError, OrielError
from engine.progress import CancelToken

MEMORY_OF_A_WORKER = 2 << 30
"""Bytes that one worker is counted with: Blender, a model and its pictures."""
_LOGGERS = ("distributed", "distributed.client", "distributed.gc", "tornado", "tornado.application", "bokeh")
_SILENT = logging.CRITICAL + 1
_LOOPBACK = "127.0.0.1"
_NEEDED_ALIKE = ("dask", "distributed", "msgpack", "cloudpickle")


def sizes(models: int, workers: int | None = None, *, gpu: bool = False) -> tuple[int, int]:
    """How many workers this machine is to have for so many models, and how many threads each.

    Two threads each: on two cores one Blender with both is faster than two with one each (0.7 of the time at 96 px),
    and what it does between two frames is not parallel. Fewer where memory or models are few. On a GPU one Blender
    after the other is the fastest.
    """
    if workers is None:
        workers = 1 if gpu else min(CPU_COUNT // 2, MEMORY_LIMIT // MEMORY_OF_A_WORKER)
    workers = max(1, min(workers, models))
    return workers, max(1, CPU_COUNT // workers)


class _Manners(WorkerPlugin):
    """What a worker's process minds: Ctrl-C is for the one that started it, and so is what Dask has to say."""

    def setup(self, worker: Worker) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(_SILENT)

    def teardown(self, worker: Worker) -> None:
        from engine.rendering.station import close_blender

        close_blender()


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing of what Dask says on the terminal, and neither a thread nor a variable of it that stays behind."""
    before = {name: logging.getLogger(name).handlers for name in _LOGGERS}
    set_by_dask = [name for name in ("PYTHONHASHSEED", "__DASK_PARENT_PID") if name not in os.environ]
    for name in _LOGGERS:
        logging.getLogger(name).handlers = [logging.NullHandler()]
    # Dask would keep a thread of this pool for as long as the process lives.
    pool, theirs = ThreadPoolExecutor(1, thread_name_prefix="Dask-Offload"), distributed.utils._offload_executor
    distributed.utils._offload_executor = pool
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        distributed.utils._offload_executor = theirs
        pool.shutdown()
        for name, handlers in before.items():
            logging.getLogger(name).handlers = handlers
        for name in set_by_dask:
            os.environ.pop(name, None)


@asynccontextmanager
async def local_cluster(
    workers: int, threads: int, folder: Path, environment: dict[str, str] | None = None
) -> AsyncIterator[str]:
    """A scheduler in this process and workers in processes of their own; gives the scheduler's address."""
    web = f"{_LOOPBACK}:0"  # Dask serves its state there, and would do so to the whole network
    async with AsyncExitStack() as stack:
        with _start_troubles():
            scheduler = Scheduler(host=_LOOPBACK, port=0, dashboard=False, dashboard_address=web)
            await stack.enter_async_context(scheduler)
            await stack.enter_async_context(
                _nannies(scheduler.address, workers, threads, folder, _LOOPBACK, environment)
            )
        yield scheduler.address


@contextmanager
def _start_troubles() -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, TimeoutError) as error:
        text = f"The processes that render could not be started: {error}. Try with fewer --workers."
        raise OrielError(text) from error


@asynccontextmanager
async def _nannies(
    scheduler: str,
    workers: int,
    threads: int,
    folder: Path,
    host: str | None,
    environment: dict[str, str] | None,
) -> AsyncIterator[list[Nanny]]:
    # Nannies would set OMP_NUM_THREADS and others in this process, where torch may yet want its threads.
    with dask.config.set({"distributed.nanny.pre-spawn-environ": {}}):
        nannies = [
            Nanny(
                scheduler,
                nthreads=threads,
                memory_limit=0,  # Blender's memory is not the worker's, and is watched elsewhere
                local_directory=str(folder),
                host=host,
                env=environment or {},
                silence_logs=_SILENT,
                dashboard=False,
                dashboard_address=f"{_LOOPBACK}:0",
                plugins=(_Manners(),),
            )
            for _ in range(workers)
        ]
    starting = asyncio.gather(*(nanny.start() for nanny in nannies), return_exceptions=True)
    try:
        for begun in await asyncio.shield(starting):
            if isinstance(begun, BaseException):
                raise begun
        yield nannies
    finally:
        if not starting.done():
            # A start that is cut short would leave its process behind.
            for nanny in nannies:
                if nanny.status == Status.starting and nanny.process is not None and nanny.process.process is not None:
                    nanny.process.process.kill()
            await asyncio.wait({starting})
        closing = (nanny.close(timeout=5, reason="the run is over") for nanny in nannies)
        await asyncio.gather(*closing, return_exceptions=True)


@asynccontextmanager
async def connect(address: str) -> AsyncIterator[Client]:
    """A client of a scheduler; raises InputError where there is none, or one that does not fit."""
    await _check_fit(address)
    client = Client(address, asynchronous=True, set_as_default=False, timeout=10, name="oriel-render")
    try:
        await client
        yield client
    finally:
        with contextlib.suppress(Exception):
            await client.close(timeout=2)


async def _check_fit(address: str) -> None:
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


async def serve(
    scheduler: str,
    workers: int | None = None,
    blender: str | None = None,
    told: Callable[[str], None] = lambda text: None,
    cancel: CancelToken | None = None,
) -> None:
    """Be the workers of this machine for a scheduler elsewhere, until it has gone or this is cancelled.

    Raises InputError if the scheduler does not answer or fit, and OrielError once it has gone.
    """
    cancel = cancel or CancelToken()
    count, threads = sizes(1 << 30, workers)
    environment = {} if blender is None else {"ORIEL_BLENDER": blender}
    async with AsyncExitStack() as stack:
        stack.enter_context(quiet())
        await _check_fit(scheduler)
        folder = Path(stack.enter_context(_scratch()))
        with _start_troubles():
            here = _nannies(scheduler, count, threads, folder, None, environment)
            nannies = await stack.enter_async_context(here)
        told(f"{count} workers with {threads} threads each wait for work from {scheduler}")
        ends = asyncio.gather(*(nanny.finished() for nanny in nannies))
        while not cancel.cancelled:
            if (await asyncio.wait({ends}, timeout=0.1))[0]:
                raise OrielError(f"The scheduler at {scheduler} has gone. Start the worker again once it is back.")
        ends.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ends


@contextmanager
def _scratch() -> Iterator[str]:
    """A temporary folder; those that killed workers have left are removed."""
    prefix = "oriel-worker-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        number = left.name.removeprefix(prefix).partition("-")[0]
        if number.isdecimal() and not psutil.pid_exists(int(number)):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{prefix}{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        yield folder
