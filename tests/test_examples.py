"""The examples in docstrings say what happens."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

MODULES = (
    "cameras",
    "core.progress",
    "crawling.lists",
    "evaluation.geometry",
    "evaluation.views",
    "imaging.framing",
    "imaging.pictures",
    "meshes.export",
    "meshes.loading",
    "meshes.mesh",
    "reconstruct.options",
    "reconstruct.run",
    "screening.session",
    "weights",
    "weights.files",
)
"""Of the engine, those with examples; an example may write into `folder`."""


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module_hold(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])  # where `resources` is
    module = importlib.import_module(f"engine.{name}")
    found = doctest.testmod(module, extraglobs={"folder": tmp_path}, optionflags=doctest.ELLIPSIS)
    assert found.attempted and not found.failed
