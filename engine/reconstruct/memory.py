"""What a step takes of the memory, and giving it back."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from engine.core import device
from engine.core.errors import OrielError


class PeakMemory:
    """Largest resident set of this process while the context is open, sampled 20 times a second, and what torch took of
    a GPU's memory at most."""

    def __init__(self) -> None:
        self.peak_mb = 0.0
        self.peak_gpu_mb = 0.0
        self._process = psutil.Process()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="oriel-memory", daemon=True)

    def _sample(self) -> None:
        self.peak_mb = max(self.peak_mb, self._process.memory_info().rss / 2**20)

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self._sample()

    def __enter__(self) -> PeakMemory:
        self._sample()
        self._thread.start()
        if (cuda := _cuda()) is not None:
            cuda.reset_peak_memory_stats()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()
        if (cuda := _cuda()) is not None:
            self.peak_gpu_mb = cuda.max_memory_allocated() / 2**20


def _cuda() -> Any:
    """torch's CUDA, if torch is in use and there is one."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def free_memory() -> None:
    """Give back what a step has left, so that the next one starts from little."""
    device.free()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


@contextmanager
def enough_memory() -> Iterator[None]:
    """Turns running out of memory into an OrielError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if device.is_out_of_memory(error):
            raise OrielError(
                "There was not enough memory for this run. Close other programs, or choose a lower quality."
            ) from error
        raise
