"""How many workers a machine has, and how many threads each."""

import pytest

from engine.rendering import cluster
from engine.rendering.jobs import DEVICES


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr(cluster, "CPU_COUNT", 8)
    monkeypatch.setattr(cluster, "MEMORY_LIMIT", 32 << 30)


def test_workers_share_the_processor_the_memory_and_the_models(monkeypatch):
    assert cluster.sizes(100) == (4, 2)
    assert cluster.sizes(3) == (3, 2)
    assert cluster.sizes(0) == (1, 8)
    assert cluster.sizes(100, 8) == (8, 1)
    monkeypatch.setattr(cluster, "MEMORY_LIMIT", 5 << 30)
    assert cluster.sizes(100) == (2, 4)


@pytest.mark.parametrize("device", [device for device in DEVICES if device != "cpu"])
def test_on_a_gpu_one_blender_has_the_machine_unless_more_are_asked_for(device):
    assert cluster.sizes(100, None, device) == (1, 8)
    assert cluster.sizes(100, 2, device) == (2, 4)
