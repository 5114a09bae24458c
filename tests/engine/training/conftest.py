"""A folder of small renders, and a network small enough to train in a test."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.surface import reconstruct
from tests.engine.training.tiny_run import TINY
from tests.rendered_models import write_renders


@pytest.fixture(scope="session")
def renders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models for training and one for validation, 40 px a side; not to be changed."""
    torch.set_num_threads(1)
    return write_renders(tmp_path_factory.mktemp("renders") / "data", [0, 3, 6, 9], size=40)


@pytest.fixture
def own_renders(renders: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(renders, tmp_path / "data"))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a tiny configuration."""
    torch.set_num_threads(1)
    monkeypatch.setitem(reconstruct.CONFIGS, TINY.name, TINY)
    return TINY.name


@pytest.fixture
def model_file() -> Callable[[Path, int, str], Path]:
    """The path of a picture of the n-th model."""

    def find(data: Path, number: int, name: str) -> Path:
        return sorted((data / "zero12345_narrow" / "models").iterdir())[number] / name

    return find
