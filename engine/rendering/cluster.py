"""The processes of the farm: how many there are, and this machine's workers for a scheduler elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AsyncExitStack

from dask.system import CPU_COUNT
from distributed.system import MEMORY_LIMIT

from engine import cluster
from engine.core.errors import OrielError
from engine.core.progress import CancelToken

MEMORY_OF_A_WORKER = 2 << 30
"""Bytes that one worker is counted with: Blender, a model and its pictures."""


def sizes(models: int, workers: int | None = None, device: str = "cpu") -> tuple[int, int]:
    """How many workers this machine is to have for so many models on a device of `DEVICES`, and how many threads each.

    Two threads each: on two cores one Blender with both is faster than two with one each (0.7 of the time at 96 px),
    and what it does between two frames is not parallel. Fewer where memory or models are few. On a GPU one Blender
    after the other is the fastest; EEVEE draws on what OpenGL finds, whatever the device, and where
    a GPU was chosen that will be it.
    """
    if workers is None:
        workers = 1 if device != "cpu" else min(CPU_COUNT // 2, MEMORY_LIMIT // MEMORY_OF_A_WORKER)
    workers = max(1, min(workers, models))
    return workers, max(1, CPU_COUNT // workers)


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
    from engine.rendering.station import close_blender

    cancel = cancel or CancelToken()
    count, threads = sizes(1 << 30, workers)
    environment = {} if blender is None else {"ORIEL_BLENDER": blender}
    async with AsyncExitStack() as stack:
        stack.enter_context(cluster.quiet())
        await cluster.check_fit(scheduler)
        folder = stack.enter_context(cluster.scratch())
        with cluster.start_troubles():
            here = cluster.nannies(scheduler, count, threads, folder, None, environment, close_blender)
            nannies = await stack.enter_async_context(here)
        told(f"{count} workers with {threads} threads each wait for work from {scheduler}")
        ends = asyncio.gather(*(nanny.finished() for nanny in nannies))
        while not cancel.cancelled:
            if (await asyncio.wait({ends}, timeout=0.1))[0]:
                raise OrielError(f"The scheduler at {scheduler} has gone. Start the worker again once it is back.")
        ends.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ends
