"""What may do each part of the work, which weights that takes, and whether they are here.

A part is `generator`, `matcher`, `surface` or `foreground`, as the fields of `engine.reconstruct.options.Options`
(its `mode` for the last). The `method` says which of the parts are taken, and what for. Looking whether weights are
here reads no file: it is quick enough for a window. Importing this module starts no heavy library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine import weights
from engine.core.errors import InputError, WeightsError


@dataclass(frozen=True)
class Choice:
    """Something that can do a part."""

    label: str
    """What people see."""
    weights: tuple[str, ...] = ()
    """Keys in `weights.MODELS` of which it takes one, the best first; none where it needs none."""


GENERATORS = {
    "built-in": Choice("Built-in (trained by Oriel on procedural architecture)", ("views",)),
    "shape-prior": Choice("Built-in with a shape prior (train one: oriel train shape)", ("shape",)),
    "zero123-xl": Choice("Zero123-XL (published weights)", ("zero123-xl",)),
    "zero123": Choice("Zero123 (published weights)", ("zero123",)),
}
"""What draws the views, loaded by `engine.views.load_generator`. The first is always there, as of all parts."""
MATCHERS = {
    "dense-flow": Choice("Dense flow, needs no weights"),
    "sift": Choice("SIFT key points, needs no weights"),
    "loftr": Choice("LoFTR, as One-2-3-45 uses it", ("loftr",)),
}
"""What finds the same points in two views, loaded by `engine.elevation.load_matcher`."""
SURFACES = {
    "built-in": Choice("Built-in (trained by Oriel on procedural architecture)", ("surface",)),
    "one-2-3-45": Choice("One-2-3-45 (published)", ("one-2-3-45-surface",)),
}
"""Reconstruction networks, loaded by `engine.surface.reconstruct.load_surface`."""
FOREGROUNDS = {
    "alpha": Choice("Alpha channel"),
    "plain": Choice("Plain background"),
    "salient": Choice("Salient object", ("birefnet-general-lite", "isnet-general-use", "u2net", "u2netp")),
    "grabcut": Choice("GrabCut"),
    "sam": Choice("Segment Anything", ("sam-vit-h", "sam-vit-l", "sam-vit-b", "sam2")),
    "whole": Choice("Whole picture"),
    "mask": Choice("A mask that was given"),
}
"""What may find the object."""


@dataclass(frozen=True)
class Method:
    """A way from the framed picture to the surface."""

    label: str
    """What people see."""
    meaning: str
    """One line for who has to choose."""
    source_views: bool
    """Whether 32 source views are drawn and a surface network builds the surface from them."""
    generators: tuple[str, ...] | None = None
    """View generators that can do it; None for all."""


METHODS = {
    "field": Method(
        "Direct",
        "The surface is the view generator's own solid: quick, and smooth on all sides",
        source_views=False,
        generators=("built-in", "shape-prior"),
    ),
    "views": Method(
        "32 views (One-2-3-45)",
        "As One-2-3-45: 32 views are drawn, and a surface network reads the surface off them",
        source_views=True,
    ),
}
DEFAULT_METHOD = "field"
"""What is done unless something else is asked for, where the generator can."""


_PARTS: dict[str, Mapping[str, Choice | Method]] = {
    "generator": GENERATORS,
    "matcher": MATCHERS,
    "surface": SURFACES,
    "foreground": FOREGROUNDS,
    "method": METHODS,
}


def names(part: str) -> dict[str, str]:
    """What may do a part, with the labels that people see."""
    return {name: choice.label for name, choice in _PARTS[part].items()}


def models(part: str, name: str) -> tuple[str, ...]:
    """Keys in `weights.MODELS` of which `name` takes one, the best first; none where it takes no weights."""
    choice = _PARTS[part].get(name)
    return choice.weights if isinstance(choice, Choice) else ()


def find(part: str, name: str) -> weights.Located | None:
    """The weights that `name` would use, None where it takes none or they are missing."""
    return next((found for key in models(part, name) if (found := weights.locate(key)) is not None), None)


def present(part: str, name: str) -> bool:
    """Whether `name` can do its part on this machine now."""
    return not models(part, name) or find(part, name) is not None


def preferred(part: str, method: str = "") -> str:
    """What does a part unless the user says otherwise: published weights where they are here, else what is built in.

    Of the view generators one that can do `method`, if that is given.
    """
    able = [
        name for name in names(part) if part != "generator" or method not in METHODS or refusal(method, name) is None
    ]
    published = (name for name in able if any(weights.MODELS[key].origin for key in models(part, name)))
    return next((name for name in published if present(part, name)), able[0])


def refusal(method: str, generator: str) -> str | None:
    """Why a generator cannot do a method, and what to choose instead; None if it can."""
    able = METHODS[method].generators
    if able is None or generator in able:
        return None
    label = names("generator").get(generator, generator)
    return (
        f"{label} has no solid of its own, which the method {method!r} takes for the surface. "
        f"Choose the view generator {able[0]}, or the method 'views'."
    )


def preferred_method(generator: str, surface: str = "built-in") -> str:
    """The method for a generator and a surface network unless the user says otherwise.

    A network other than what is built in was chosen to be used, so it is.
    """
    usual = surface == "built-in" and refusal(DEFAULT_METHOD, generator) is None
    return DEFAULT_METHOD if usual else "views"


def check(part: str, name: str) -> None:
    """InputError if nothing of this name does the part. For a surface the path of a file is as good as a name."""
    known = names(part)
    if name in known or (part == "surface" and is_file(name)):
        return
    what = {"generator": "view generator", "surface": "surface network"}.get(part, part)
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
