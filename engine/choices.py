"""What may do each part of the work, which weights that takes, and whether they are here.

A part is `generator`, `matcher`, `surface` or `foreground`, as the fields of `engine.pipeline.Options` (its `mode` for
the last). Looking whether weights are here reads no file: it is quick enough for a window.
"""

from __future__ import annotations

from pathlib import Path

from engine import weights
from engine.errors import InputError, WeightsError

SURFACES = {
    "built-in": "Built-in (trained by Oriel on procedural architecture)",
    "one-2-3-45": "One-2-3-45 (published)",
}
"""Reconstruction networks by name, with the label that people see."""
FOREGROUNDS = {
    "alpha": "Alpha channel",
    "plain": "Plain background",
    "grabcut": "GrabCut",
    "sam": "Segment Anything",
    "whole": "Whole picture",
    "mask": "A mask that was given",
}
"""What may find the object, with the label that people see."""

_MODELS = {
    ("generator", "built-in"): ("views",),
    ("matcher", "loftr"): ("loftr",),
    ("surface", "built-in"): ("surface",),
    ("surface", "one-2-3-45"): ("one-2-3-45-surface",),
    ("foreground", "sam"): ("sam-vit-h", "sam-vit-l", "sam-vit-b", "sam2"),
}
_BEST = {
    "generator": ("zero123-xl", "zero123", "built-in"),
    "matcher": ("loftr", "dense-flow"),
    "surface": ("one-2-3-45", "built-in"),
}
"""Published ones first; the last of each is always there."""


def names(part: str) -> dict[str, str]:
    """What may do a part, with the labels that people see."""
    if part == "generator":
        from engine.views import GENERATORS

        return GENERATORS
    if part == "matcher":
        from engine.elevation import MATCHERS

        return MATCHERS
    return SURFACES if part == "surface" else FOREGROUNDS


def models(part: str, name: str) -> tuple[str, ...]:
    """Keys in `weights.MODELS` of which `name` takes one, the best first; none where it takes no weights."""
    return _MODELS.get((part, name), (name,) if name in weights.MODELS else ())


def find(part: str, name: str) -> weights.Located | None:
    """The weights that `name` would use, None where it takes none or they are missing."""
    return next((found for key in models(part, name) if (found := weights.locate(key)) is not None), None)


def present(part: str, name: str) -> bool:
    """Whether `name` can do its part on this machine now."""
    return not models(part, name) or find(part, name) is not None


def preferred(part: str) -> str:
    """What does a part unless the user says otherwise: published weights where they are here, else what is built in."""
    best = _BEST[part]
    return next((name for name in best[:-1] if present(part, name)), best[-1])


def check(part: str, name: str) -> None:
    """InputError if nothing of this name does the part. For a surface the path of a file is as good as a name."""
    known = names(part)
    if name in known or (part == "surface" and is_file(name)):
        return
    what = {"generator": "view generator", "matcher": "matcher", "surface": "surface network"}.get(part, part)
    raise InputError(f"There is no {what} named {name!r}. Choose one of: {', '.join(known)}.")


def require(part: str, name: str) -> None:
    """WeightsError that says how to get them if the weights of `name` are missing."""
    if part == "surface" and is_file(name):
        if not Path(name).is_file():
            raise WeightsError(f"There are no weights at {name}. Check the path.")
    elif not present(part, name):
        weights.require(models(part, name)[0])


def is_file(name: str) -> bool:
    """Whether the name of a surface is the path of a file."""
    return name not in SURFACES and bool(Path(name).suffix)
