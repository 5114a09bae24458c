"""The engine's thread, the progress funnel and the gap probe, on a plain asyncio loop."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time

import pytest

from app.engine_thread import EVENT_INTERVAL, EngineThread, ProgressFunnel
from engine.core.progress import Progress
from tests.loop_gaps import LoopGapProbe


def test_calls_run_in_order_on_one_other_thread() -> None:
    async def scenario() -> None:
        engine = EngineThread("test-engine")
        names = await asyncio.gather(
            *(engine.submit(lambda i=i: (i, threading.current_thread().name)) for i in range(5))
        )
        assert names == [(i, "test-engine") for i in range(5)]
        await engine.close()
        assert not engine.alive
        assert "test-engine" not in [thread.name for thread in threading.enumerate()]

    asyncio.run(scenario())


def test_what_a_call_raises_comes_back_and_the_thread_goes_on() -> None:
    async def scenario() -> None:
        engine = EngineThread()
        with pytest.raises(ZeroDivisionError):
            await engine.submit(lambda: 1 // 0)
        assert await engine.submit(sum, [1, 2]) == 3
        await engine.close()
        with pytest.raises(RuntimeError, match="closed"):
            await engine.submit(sum, [1])

    asyncio.run(scenario())


def test_a_call_that_has_not_begun_can_be_taken_back() -> None:
    async def scenario() -> None:
        engine, release, ran = EngineThread(), threading.Event(), []
        first = asyncio.ensure_future(engine.submit(release.wait, 5))
        second = asyncio.ensure_future(engine.submit(ran.append, 1))
        await asyncio.sleep(0.05)
        second.cancel()
        await asyncio.sleep(0)
        release.set()
        assert await first
        await engine.close()
        assert ran == []

    asyncio.run(scenario())


def test_the_loop_lives_while_the_thread_works() -> None:
    async def scenario() -> None:
        def busy() -> None:
            end = time.monotonic() + 0.6
            while time.monotonic() < end:  # holds the interpreter as much as Python code can
                sum(range(1000))

        engine, probe = EngineThread(), LoopGapProbe()
        probe.start()
        await engine.submit(busy)
        assert probe.stop() < 0.25
        await engine.close()

    asyncio.run(scenario())


def test_the_funnel_keeps_all_previews_and_thins_out_the_rest() -> None:
    async def scenario() -> None:
        batches: list[tuple[float, list[Progress]]] = []
        funnel = ProgressFunnel(lambda events: batches.append((time.monotonic(), events)))
        engine = EngineThread()

        def work() -> None:
            for i in range(2000):
                funnel.post(Progress("views", i, 2000, preview=("view", i) if i % 400 == 0 else None))
                time.sleep(0.0001)

        await engine.submit(work)
        funnel.close()
        await engine.close()
        events = [event for _, batch in batches for event in batch]
        assert [e.preview[1] for e in events if e.preview] == [0, 400, 800, 1200, 1600]
        assert [e.done for e in events] == sorted(e.done for e in events)
        assert events[-1].done == 1999
        assert len(events) < 500
        gaps = [b[0] - a[0] for a, b in itertools.pairwise(batches[:-1])]
        assert all(gap > EVENT_INTERVAL * 0.8 for gap in gaps)

    asyncio.run(scenario())


def test_the_probe_sees_a_stall() -> None:
    async def scenario() -> None:
        probe = LoopGapProbe()
        probe.start()
        await asyncio.sleep(0.03)
        time.sleep(0.2)
        await asyncio.sleep(0.03)
        assert probe.stop() > 0.15
        assert len(probe.gaps) >= 1

    asyncio.run(scenario())
