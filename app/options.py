"""The command line of a function: an argument or option for each of its parameters, and for the fields of dataclasses.

    def frame(
        model: Annotated[Path, option("file with the model")], /, *,
        side: Annotated[int, option("side in pixels", low=16)] = 160,
        settings: Annotated[dict[str, Any], Fields(RenderSettings)],
    ) -> int:

What stands before the slash are arguments, the others options; the function returns the exit code, or None for 0.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from inspect import Parameter
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from engine.core.options import Option, check_value, option_of, options_of, texts_of

Command = Callable[..., int | None]
_METAVARS = {int: "N", float: "X", Path: "PATH", str: "NAME"}


@dataclass(frozen=True)
class Fields:
    """The fields of a dataclass, each an option; the function gets a dict of those that were given."""

    kind: type | str
    """The dataclass, or `module:name` of one that is imported for its own command only."""
    only: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    """Those that the help lists, the others being taken as well; all where there are none."""
    title: str | None = None
    about: str | None = None

    def each(self) -> Iterator[tuple[str, Any, Any, Option]]:
        """Name, type, default and option of each field."""
        kind: Any = self.kind
        if isinstance(kind, str):
            module, _, name = kind.partition(":")
            kind = getattr(importlib.import_module(module), name)
        texts, hints, options = texts_of(kind), get_type_hints(kind), options_of(kind)
        for field in fields(kind):
            if field.name in (self.only or hints) and not options[field.name].hidden:
                default = field.default if field.default_factory is MISSING else field.default_factory()
                text = texts.get(field.name, "") if field.name in (self.shown or hints) else argparse.SUPPRESS
                yield field.name, hints[field.name], default, replace(options[field.name], text=text)


def option(text: str, *flags: str, **more: Any) -> Option:
    """What is to be said of a parameter."""
    return Option(text=text, flags=flags, **more)


class Parser(argparse.ArgumentParser):
    """One that complains in one line, as all of the program does."""

    def error(self, message: str) -> NoReturn:
        """Say it and exit with 2."""
        self.exit(2, f"oriel: {message}. `{self.prog} --help` says what there is.\n")


def choose(program: str, commands: Mapping[str, str], words: Sequence[str], kind: str, about: str = "") -> str:
    """The command (each has a text) that the first word names; without one the program ends with help or complaint."""
    if not words or words[0] not in commands:
        parser = Parser(prog=program, description=about)
        actions = parser.add_subparsers(metavar=kind, required=True)
        for name, text in commands.items():
            actions.add_parser(name, help=text)
        parser.parse_args(words)
    return words[0]


def run(program: str, command: Command | Sequence[Command], words: Sequence[str]) -> int:
    """Call a function, or the one of several that the first word names, with what the words say."""
    if not callable(command):
        named = {function.__name__.strip("_"): function for function in command}
        texts = {name: inspect.getdoc(function) or "" for name, function in named.items()}
        name = choose(program, {n: f"{t[:1].lower()}{t[1:]}".rstrip(".") for n, t in texts.items()}, words, "ACTION")
        return run(f"{program} {name}", named[name], words[1:])
    given = vars(parser_of(program, command).parse_args(words))
    arguments, options = [], dict[str, Any]()
    for parameter, group in _parameters(command):
        parts = list(group.each()) if group else [(parameter.name, None, None, option_of(parameter.annotation))]
        for part, _, _, about in parts:
            if about.scale != 1 and part in given:
                given[part] = int(given[part] * about.scale)
            check_value(f"--{part.replace('_', '-')}", given.get(part), about)
        if group:
            options[parameter.name] = {part: given[part] for part, *_ in parts if part in given}
        elif parameter.kind is Parameter.POSITIONAL_ONLY:
            arguments.append(given[parameter.name])
        else:
            options[parameter.name] = given[parameter.name]
    return int(command(*arguments, **options) or 0)


def parser_of(program: str, function: Command) -> argparse.ArgumentParser:
    """The parser of a function's parameters."""
    parser = Parser(prog=program, description=inspect.getdoc(function))
    for parameter, group in _parameters(function):
        if group:
            target: Any = parser.add_argument_group(group.title, group.about) if group.title else parser
            for part in group.each():
                flags, more = _described(*part)
                target.add_argument(*flags, **more | {"default": argparse.SUPPRESS})
            continue
        about = option_of(parameter.annotation)
        flags, more = _described(parameter.name, parameter.annotation, parameter.default, about)
        if parameter.kind is Parameter.POSITIONAL_ONLY:
            flags, more["metavar"] = [more.pop("dest")], about.metavar
            if not more.pop("required"):
                more["nargs"] = more["nargs"] or "?"
        parser.add_argument(*flags, **more)
    return parser


def _parameters(function: Command) -> Iterator[tuple[Parameter, Fields | None]]:
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        marks = getattr(parameter.annotation, "__metadata__", ())
        yield parameter, next((mark for mark in marks if isinstance(mark, Fields)), None)


def _described(name: str, hint: Any, default: Any, about: Option) -> tuple[Sequence[str], dict[str, Any]]:
    """The flags of an option, and what argparse is told of it."""
    kind, many = hint, any(get_origin(part) in (list, tuple) for part in (hint, *get_args(hint)))
    while get_args(kind):  # of `list[Path] | None` the Path
        kind = get_args(kind)[0]
    kind = str if isinstance(kind, str) else kind  # of a literal
    named = any(flag.startswith("--") for flag in about.flags)
    flags = about.flags if named else (*about.flags, f"--{name.replace('_', '-')}")
    required = default in (Parameter.empty, MISSING)
    default = None if required else list(default or ()) if many else default
    more: dict[str, Any] = {"dest": name, "required": required, "default": default, "help": about.text}
    if about.text != argparse.SUPPRESS:
        more["help"] = about.text.rstrip(".").replace("%", "%%")
        if default not in (None, [], "") and default is not False and "(default" not in about.text:
            value: Any = "yes" if default is True else " ".join(map(str, default)) if many else default
            value = f"{value / about.scale:g}" if kind is float or about.scale != 1 else value
            more["help"] += f" (default {value})"
    if kind is bool:
        turned_off = "store_false" if named else argparse.BooleanOptionalAction
        return flags, more | {"action": turned_off if default else "store_true"}
    return flags, more | {
        "type": kind if about.scale == 1 else float,
        "choices": about.choices or None,
        "metavar": about.metavar or (None if about.choices else _METAVARS[kind]),
        "nargs": about.nargs or ("+" if many and not about.repeat else None),
        "action": "store" if not about.repeat else "extend" if about.nargs == "+" else "append",
    }
