"""Options declared at the fields of dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest

from engine.core.errors import InputError
from engine.core.options import Option, changed_arguments, check, limits_of, texts_of


@dataclass
class Base:
    size_px: Annotated[int, Option(16, 4096)] = 512
    """Side of the pictures,
    in `pixels`."""
    attempts: Annotated[int | None, Option(1)] = None


@dataclass
class Settings(Base):
    engine: Annotated[str, Option(choices=("cycles", "eevee"))] = "cycles"
    """What draws."""
    free: float = 0.0
    start: Annotated[list[Path], Option(flags=("-s", "--from"))] = field(default_factory=list)
    watch: bool = True
    parts: Annotated[int, Option(hidden=True)] = 1


def test_texts_and_limits_are_those_of_the_fields_and_of_the_bases():
    assert texts_of(Settings) == {"size_px": "Side of the pictures, in pixels.", "engine": "What draws."}
    assert limits_of(Settings) == {"size_px": (16, 4096)}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"size_px": 3}, "size px is 3: give a value from 16 to 4096."),
        ({"size_px": float("nan")}, "size px is nan: give"),
        ({"attempts": 0}, "attempts is 0: it must be at least 1."),
        ({"engine": "pen"}, "engine is 'pen': choose one of cycles, eevee."),
    ],
)
def test_what_is_not_allowed_is_named(values, said):
    check(Settings(attempts=None, free=float("nan")))
    with pytest.raises(InputError, match=f"^{said}"):
        check(Settings(**values))


def test_what_was_changed_is_said_as_on_the_command_line():
    changed = Settings(size_px=64, engine="eevee", start=[Path("a/b"), Path("c")], watch=False, parts=2)
    said = changed_arguments(changed, Settings(), without=("engine",))
    assert said == ["--size-px", "64", "--from", "b", "c", "--no-watch"]
