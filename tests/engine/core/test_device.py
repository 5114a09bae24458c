"""Devices, budgets of memory, and batches that shrink until they fit."""

from __future__ import annotations

import pytest
import torch

from engine.core import device
from engine.core.device import MemoryBudget
from engine.core.errors import InputError, OrielError


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_sizes", {})
    monkeypatch.setattr(device, "free", lambda: None)


class _Card:
    """Work that fits up to `room` items at a time, and what it was asked to do."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.asked: list[int] = []

    def run(self, items: list[int]) -> int:
        self.asked.append(len(items))
        if len(items) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return sum(items)


def test_a_batch_that_does_not_fit_is_halved_until_it_does():
    card, items = _Card(room=10), list(range(35))
    done = list(device.in_batches(items, card.run, key="views"))
    assert [i for part, _ in done for i in part] == items
    assert all(result == sum(part) for part, result in done)
    assert card.asked == [35, 12, 6, 6, 6, 6, 6, 5], "batches of about the same size"


def test_the_size_that_fits_is_remembered_for_the_next_time():
    list(device.in_batches(list(range(32)), _Card(room=8).run, key="views"))
    card = _Card(room=8)
    list(device.in_batches(list(range(32)), card.run, key="views"))
    assert card.asked == [8] * 4
    other = _Card(room=100)
    list(device.in_batches(list(range(32)), other.run, key="other work", largest=20))
    assert other.asked == [16, 16]


def test_what_does_not_fit_at_all_is_said_plainly():
    with pytest.raises(OrielError, match="not enough memory for even one view"):
        list(device.in_batches([1, 2], _Card(room=0).run, key="views"))


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def run(items: list[int]) -> None:
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        list(device.in_batches([1, 2], run, key="views"))


@pytest.mark.parametrize("wrong", [-1, 0.5, float("nan")])
def test_a_budget_is_at_least_a_gigabyte(wrong):
    with pytest.raises(InputError, match="memory budget"):
        MemoryBudget(wrong)


def test_a_small_budget_sends_idle_parts_away_and_limits_torch(monkeypatch):
    cuda = torch.device("cuda")
    limits: list[float] = []

    def limit(share: float, device: torch.device) -> None:
        torch.cuda._utils._get_device_index(device)  # as torch's own does: it wants a number
        limits.append(share)

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    gib = 2**30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda d: (20 * gib, 24 * gib))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda d: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda d: type("P", (), {"total_memory": 24 * gib}))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", limit)
    assert [MemoryBudget(gb).offloads(cuda) for gb in (6, 8, 12, 18, None)] == [True, True, False, False, False]
    with MemoryBudget(6).limit(cuda):
        assert limits == [0.25]
    assert limits == [0.25, 1.0]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda d: (5 * gib, 24 * gib))
    assert MemoryBudget(None).offloads(cuda), "little is free, whatever the budget"


def test_without_a_gpu_the_cpu_is_picked(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    cpu = device.pick_device()
    assert cpu.type == "cpu"
    assert device.precision(cpu) == torch.float32
    assert not MemoryBudget(6).offloads(cpu)
    with MemoryBudget(6).limit(cpu):
        pass
    with pytest.raises(InputError, match="no cuda device"):
        device.pick_device("cuda")
    with pytest.raises(InputError, match="has to be one of"):
        device.pick_device("gpu")


@pytest.mark.parametrize(
    ("machine", "tiles", "half"),
    [("x86_64", True, True), ("AMD64", False, False), ("x86_64", False, False), ("aarch64", False, True)],
)
def test_mixed_precision_is_for_processors_that_gain_by_it(
    machine: str, tiles: bool, half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"amx_bf16": tiles})
    with device.mixed_precision(torch.device("cpu")):
        result = torch.ones(2, 2) @ torch.ones(2, 2)
    assert result.dtype == (torch.bfloat16 if half else torch.float32)


@pytest.mark.parametrize(
    ("machine", "known", "quick"),
    [("x86_64", {"avx512_bf16": True}, True), ("x86_64", {"avx512": True}, False), ("aarch64", {}, True)],
)
def test_training_takes_bfloat16_where_the_processor_multiplies_it(
    machine: str, known: dict[str, bool], quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: known)
    assert device.multiplies_bfloat16(torch.device("cpu")) is quick
    assert device.multiplies_bfloat16(torch.device("cuda"))
