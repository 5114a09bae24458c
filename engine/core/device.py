"""Where networks run, and in how much memory: the device, the budget, the largest batch that fits.

What fits is found by trying: work starts in one batch, a batch that runs out of memory is halved, and the size that
worked is remembered while the program runs. A budget below what the card has is enforced by torch's own limit on the
process, so it is met by the same halving.
"""

from __future__ import annotations

import gc
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from engine.core.errors import InputError, OrielError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
R = TypeVar("R")

ROOM_GB = 10.0
"""With less than this, the parts of a model that are not in use wait in the main memory."""
DEVICES = ("auto", "cuda", "mps", "cpu")

_BFLOAT16 = ("avx512_bf16", "amx_bf16")
"""Instructions of processors that multiply in bfloat16."""
_sizes: dict[str, int] = {}


def pick_device(wanted: str = "auto") -> torch.device:
    """The device to run on: one of `DEVICES`; `auto` is CUDA, else Apple's MPS, else the CPU.

    Raises `InputError` when the wanted one is not there.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        wanted = next(name for name, found in there.items() if found)
    if wanted not in there:
        raise InputError(f"Device is {wanted!r}, but has to be one of {', '.join(DEVICES)}.")
    if not there[wanted]:
        found = ", ".join(name for name, is_there in there.items() if is_there)
        raise InputError(f"This computer has no {wanted} device that torch can use. Choose one of: auto, {found}.")
    return torch.device(wanted)


def precision(device: torch.device) -> torch.dtype:
    """Half precision on CUDA; single on the CPU, and on MPS, where some layers lose their range in half."""
    import torch

    return torch.float16 if device.type == "cuda" else torch.float32


def denoising_precision(device: torch.device) -> torch.dtype:
    """Precision of a large diffusion network: as `precision`, but bfloat16 on processors with instructions for it.

    Zero123's U-Net takes 1.4 s a view and step in bfloat16 with AVX-512 BF16 on one core, 3.7 s in single. Processors
    without these instructions, or AMX, emulate them, and are slower than in single.
    """
    import torch

    quick = device.type == "cpu" and _processor_has(*_BFLOAT16)
    return torch.bfloat16 if quick else precision(device)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether matrix products are quicker in bfloat16 than in single: with AVX-512 BF16 training is, by 1.6 times."""
    return device.type != "cpu" or not _is_x86() or _processor_has(*_BFLOAT16)


def mixed_precision(device: torch.device) -> torch.autocast:
    """Context in which a network of this program works in bfloat16 where `device` is quicker at it than in single.

    An x86 processor is only with matrix tiles (AMX): without them bfloat16 takes about twice as long.
    """
    import torch

    quick = device.type != "cpu" or not _is_x86() or _processor_has("amx_bf16")
    return torch.autocast(device.type, torch.bfloat16, enabled=quick)


def _is_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64")


def _processor_has(*instructions: str) -> bool:
    """Whether the processor has any of these."""
    import torch

    known = torch.cpu.get_capabilities()
    return any(known.get(name, False) for name in instructions)


@dataclass(frozen=True)
class MemoryBudget:
    """How much GPU memory a run may take."""

    gb: float | None = None
    """Gigabytes, or None for whatever is free."""

    def __post_init__(self) -> None:
        if self.gb is not None and not self.gb >= 1:
            raise InputError(f"The memory budget is {self.gb:g} GB, but has to be at least 1 GB, or `auto`.")

    def available_gb(self, device: torch.device) -> float:
        """Gigabytes to use on `device`: the budget, or less where less is free; infinite off CUDA."""
        import torch

        if device.type != "cuda":
            return float("inf")
        free_bytes, _ = torch.cuda.mem_get_info(device)
        own = torch.cuda.memory_reserved(device)
        return min((free_bytes + own) / 2**30, self.gb or float("inf"))

    def offloads(self, device: torch.device) -> bool:
        """Whether parts of a model that are not in use should leave `device`."""
        return self.available_gb(device) < ROOM_GB

    @contextmanager
    def limit(self, device: torch.device) -> Iterator[None]:
        """While open, torch refuses to take more than the budget on `device`; the CPU has no such limit."""
        import torch

        if self.gb is None or device.type != "cuda":
            yield
            return
        if device.index is None:  # torch's limit is on a numbered device
            device = torch.device("cuda", torch.cuda.current_device())
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(self.gb * 2**30 / total, 1.0), device)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, device)


def free() -> None:
    """Give back the GPU memory that nothing holds any more."""
    if gc.isenabled():  # the window keeps the search for garbage to its own thread
        gc.collect()
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device's memory, or the computer's, was not enough."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
    )


def in_batches(
    items: Sequence[T], run: Callable[[Sequence[T]], R], *, key: str, largest: int | None = None
) -> Iterator[tuple[Sequence[T], R]]:
    """Run all items in the largest batches that fit, and give each batch with its result.

    Args:
        items: what is to be done; a batch is a slice of it.
        run: does one batch. Called again with half as many when memory runs out, so it must bear a new start.
        key: names the kind of work and device; the size that fits is remembered under it.
        largest: items in a batch at most; all of them if not given.

    Raises `OrielError` when even one item does not fit, and whatever else `run` raises.
    """
    start = 0
    while start < len(items):
        left = len(items) - start
        size = min(_sizes.get(key, left), largest or left, left)
        size = -(-left // -(-left // size))  # as many batches, but of about the same size
        part = items[start : start + size]
        try:
            result = run(part)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if size == 1:
                raise OrielError(
                    "There is not enough memory for even one view at a time. Close other programs, choose a larger "
                    "memory budget, or the built-in generator."
                ) from error
            _sizes[key] = size // 2
        else:
            start += size
            yield part, result
            continue
        free()  # outside the handler, which holds on to the tensors of the failed batch
