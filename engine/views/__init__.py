"""Novel views of an object from one picture: one protocol, several generators."""

from __future__ import annotations

from pathlib import Path

from engine.errors import InputError
from engine.views.generator import ViewGenerator

GENERATORS = {"built-in": "Built-in (trained by Oriel on procedural architecture)"}
"""Generators by name, with the label that people see."""


def load_generator(name: str = "built-in", path: Path | None = None) -> ViewGenerator:
    """A generator by name; `path` names other weights of its kind. `WeightsError` when they are missing or damaged."""
    if name not in GENERATORS:
        raise InputError(f"There is no view generator named {name!r}. Choose one of: {', '.join(GENERATORS)}.")
    from engine.views.builtin import BuiltInGenerator

    return BuiltInGenerator.load(path)


__all__ = ["GENERATORS", "ViewGenerator", "load_generator"]
