"""What the command line and the window share about rendering: the settings, as a user meets them."""

from __future__ import annotations

import ast
import inspect
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from engine.core.files import read_object
from engine.rendering import jobs
from engine.rendering.jobs import RenderSettings

RECORD = "render.json"
"""Where an output folder keeps the settings of its models."""


@cache
def setting_texts() -> dict[str, str]:
    """What each setting means, by its name: the text below it in `RenderSettings`."""
    texts = {field.name: "" for field in fields(RenderSettings)}
    try:
        body = ast.parse(inspect.getsource(jobs.RenderSettings)).body[0]
    except OSError:  # a frozen application carries no sources
        return texts
    assert isinstance(body, ast.ClassDef)
    for before, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name) and isinstance(after, ast.Expr):
            texts[before.target.id] = " ".join(str(ast.literal_eval(after.value)).split())
    return texts


def settings_for(out: Path | None, changes: dict[str, Any]) -> RenderSettings:
    """The settings of an output folder that has some, else the usual ones, with changes by name.

    Raises InputError for a value that cannot be.
    """
    known = (read_object(out / RECORD) or {}).get("settings") if out is not None else None
    return RenderSettings.from_dict((known if isinstance(known, dict) else {}) | changes)
