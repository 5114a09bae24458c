"""What an option may be, said once: at the field of the dataclass that has it, by its type, an `Option` and its text.

    @dataclass
    class Settings:
        size: Annotated[int, Option(16, 4096)] = 512
        "Side of the pictures in pixels."

The command line and the forms of the window are made of it, and `check` holds values to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from engine.core.errors import InputError


@dataclass(frozen=True)
class Option:
    """What neither type nor text of an option say."""

    low: float = -math.inf
    """Least value of a number."""
    high: float = math.inf
    """Greatest."""
    choices: tuple[Any, ...] = ()
    metavar: str | tuple[str, ...] | None = None
    """What stands for the value in the help of the command line: a unit, a kind of name."""
    scale: float = 1.0
    """How many of the field's units the command line's unit is."""
    flags: tuple[str, ...] = ()
    """On the command line: in place of the name's, or short ones beside it."""
    nargs: int | str | None = None
    """Values on the command line, as argparse counts them."""
    repeat: bool = False
    """Whether it may be given several times, for a list."""
    hidden: bool = False
    """Whether the command line leaves it out."""
    text: str = ""
    """What it means, where no text stands under a field."""


def option_of(hint: Any) -> Option:
    """The option that an annotation brings along."""
    return next((found for found in getattr(hint, "__metadata__", ()) if isinstance(found, Option)), Option())


@cache
def options_of(kind: type) -> dict[str, Option]:
    """The option of each field of a dataclass."""
    return {name: option_of(hint) for name, hint in get_type_hints(kind, include_extras=True).items()}


@cache
def texts_of(kind: type) -> dict[str, str]:
    """What is written under each field of a dataclass; nothing where the source is not at hand (a frozen program)."""
    from docstring_parser import parse_from_object

    found: dict[str, str] = {}
    for one in reversed(kind.__mro__[:-1]):
        found |= {p.arg_name: p.description for p in parse_from_object(one).params if p.description}
    return {name: " ".join(text.split()).replace("`", "") for name, text in found.items()}


def limits_of(kind: type) -> dict[str, tuple[float, float]]:
    """Least and greatest value of each field that has both."""
    every = options_of(kind).items()
    return {name: (o.low, o.high) for name, o in every if math.isfinite(o.low) and math.isfinite(o.high)}


def check(values: Any) -> None:
    """Raise `InputError` for the first field that its option does not allow; None and lists always go."""
    kind: type = type(values)
    for name, option in options_of(kind).items():
        check_value(name.replace("_", " "), getattr(values, name), option)


def check_value(name: str, value: Any, option: Option) -> None:
    """The same of one value, as the user knows it by `name`."""
    if value is None or isinstance(value, list | tuple):
        return
    if option.choices and value not in option.choices:
        raise InputError(f"{name} is {value!r}: choose one of {', '.join(map(str, option.choices))}.")
    limited = (option.low, option.high) != (-math.inf, math.inf)
    if limited and isinstance(value, int | float) and not option.low <= value <= option.high:  # also true for NaN
        shown = f"{value:g}" if isinstance(value, float) else value
        wanted = f"give a value from {option.low:g} to {option.high:g}"
        if option.high == math.inf:
            wanted = f"it must be at least {option.low:g}"
        raise InputError(f"{name} is {shown}: {wanted}.")


def changed_arguments(values: Any, usual: Any, without: tuple[str, ...] = ()) -> list[str]:
    """What is otherwise than in `usual`, as on the command line; of paths the names alone."""
    words: list[str] = []
    kind: type = type(values)
    for name, option in options_of(kind).items():
        value = getattr(values, name)
        if name in without or option.hidden or value == getattr(usual, name):
            continue
        plain = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(plain if value else f"--no{plain[1:]}")
            continue
        flag = next((flag for flag in option.flags if flag.startswith("--")), plain)
        every = value if isinstance(value, list | tuple) else [value]
        words += [flag, *(one.name if isinstance(one, Path) else str(one) for one in every)]
    return words
