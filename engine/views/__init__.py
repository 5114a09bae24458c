"""Novel views of an object from one picture: one protocol, several generators."""

from __future__ import annotations

from pathlib import Path

from engine.core.device import MemoryBudget
from engine.core.errors import InputError
from engine.views.generator import ViewGenerator

GENERATORS = {
    "built-in": "Built-in (trained by Oriel on procedural architecture)",
    "zero123-xl": "Zero123-XL (published weights)",
    "zero123": "Zero123 (published weights)",
}
"""Generators by name, with the label that people see."""


def load_generator(
    name: str = "built-in",
    path: Path | None = None,
    *,
    sampler: str = "fast",
    budget: MemoryBudget | None = None,
) -> ViewGenerator:
    """A generator by name; `path` names other weights of its kind. `WeightsError` when they are missing or damaged.

    `sampler` (`fast` or `published`) and `budget` of GPU memory are for Zero123.
    """
    if name not in GENERATORS:
        raise InputError(f"There is no view generator named {name!r}. Choose one of: {', '.join(GENERATORS)}.")
    if name == "built-in":
        from engine.views.builtin import BuiltInGenerator

        return BuiltInGenerator.load(path)
    from engine.views.zero123 import Zero123Generator

    return Zero123Generator.load(path, name=name, sampler=sampler, budget=budget)


__all__ = ["GENERATORS", "ViewGenerator", "load_generator"]
