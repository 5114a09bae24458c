"""Novel views of an object from one picture: one protocol, several generators."""

from __future__ import annotations

from pathlib import Path

from engine import choices
from engine.core.device import MemoryBudget
from engine.views.generator import ViewGenerator


def load_generator(
    name: str = "built-in",
    path: Path | None = None,
    *,
    sampler: str = "fast",
    budget: MemoryBudget | None = None,
) -> ViewGenerator:
    """A generator by its name in `engine.choices.GENERATORS`; `path` names other weights of its kind.

    `sampler` (`fast` or `published`) and `budget` of GPU memory are for Zero123. Raises `InputError` for another
    name, `WeightsError` when the weights are missing or damaged.
    """
    choices.check("generator", name)
    if name in ("built-in", "shape-prior"):
        from engine.views.builtin import BuiltInGenerator

        return BuiltInGenerator.load(path, with_prior=name == "shape-prior")
    from engine.views.zero123 import Zero123Generator

    return Zero123Generator.load(path, name=name, sampler=sampler, budget=budget)


__all__ = ["ViewGenerator", "load_generator"]
