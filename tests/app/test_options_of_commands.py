"""Command lines of functions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest

from app.options import Fields, option, run
from engine.core.errors import InputError
from engine.core.options import Option


@dataclass
class Settings:
    size: Annotated[int, Option(16, 4096)] = 512
    """Side in pixels."""
    denoise: bool = True
    """Whether it is smooth, 100 %."""
    free: Annotated[int, Option(0, metavar="GB", scale=1e9)] = 2_000_000_000
    """Disk to leave free."""
    watch: Annotated[bool, Option(flags=("--no-watch",))] = True
    """Whether somebody looks."""
    secret: Annotated[int, Option(hidden=True)] = 1
    rare: str | None = None
    """Of use to few."""


called: dict[str, Any] = {}


def draw(
    model: Annotated[Path, option("a file", metavar="MODEL")],
    words: Annotated[tuple[str, ...], option("words", nargs="*")] = (),
    /,
    *,
    output: Annotated[Path, option("a folder", "-o", metavar="OUT")],
    point: Annotated[tuple[tuple[float, float], ...], option("a pixel", nargs=2, repeat=True)] = (),
    side: Annotated[int, option("in pixels", low=16)] = 160,
    json: Annotated[bool, option("print JSON")] = False,
    settings: Annotated[dict[str, Any], Fields(Settings, shown=("size", "denoise", "free", "watch"), title="settings")],
) -> int:
    """Draw a model."""
    called.update(locals())
    return 3 if json else 0


def stop() -> None:
    """Stop it."""


def test_a_function_is_called_with_what_was_given():
    words = "draw m.glb a b -o out --point 1 2 --point -3 4 --size 20 --no-denoise --free 0.5 --no-watch --rare x"
    assert run("oriel", (draw, stop), [*words.split(), "--json"]) == 3
    given = {"size": 20, "denoise": False, "free": 500_000_000, "watch": False, "rare": "x"}
    assert called == {
        "model": Path("m.glb"),
        "words": ["a", "b"],
        "output": Path("out"),
        "point": [[1, 2], [-3, 4]],
        "side": 160,
        "json": True,
        "settings": given,
    }
    assert run("oriel draw", draw, ["m.glb", "--out", "x"]) == 0
    assert called["settings"] == {} and called["words"] == [] and called["output"] == Path("x")
    assert run("oriel", (draw, stop), ["stop"]) == 0


def test_the_help_says_what_is_declared(capsys):
    with pytest.raises(SystemExit):
        run("oriel draw", draw, ["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for part in (
        "Draw a model.",
        "-o OUT, --output OUT a folder",
        "--side N in pixels (default 160)",
        "settings:",
        "--size N Side in pixels (default 512)",
        "--denoise, --no-denoise Whether it is smooth, 100 % (default yes)",
        "--free GB Disk to leave free (default 2)",
    ):
        assert part in text
    assert "secret" not in text and "rare" not in text
    with pytest.raises(SystemExit):
        run("oriel", (draw, stop), ["--help"])
    assert "draw a model" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["fly"], ["draw", "m"], ["draw", "m", "-o", "x", "--size", "big"]])
def test_what_cannot_be_read_is_said_in_one_line(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        run("oriel", (draw, stop), words)
    assert stopped.value.code == 2
    line, *more = capsys.readouterr().err.splitlines()
    assert line.startswith("oriel: ") and not more


@pytest.mark.parametrize("words", [("--size", "3"), ("--side", "3"), ("--free", "-1")])
def test_limits_are_said_with_the_flag(words):
    with pytest.raises(InputError, match=f"^{words[0]} is -?[0-9]*: "):
        run("oriel draw", draw, ["m", "-o", "x", *words])
