"""Where the program keeps what crawling needs: lists that it makes, models, profiles of browsers."""

from __future__ import annotations

import os
import re
from pathlib import Path

from app.settings import home


def profile_folder() -> Path:
    """Folder of the browser's own profiles, in which a login lasts; `ORIEL_BROWSER_PROFILE` names another."""
    named = os.environ.get("ORIEL_BROWSER_PROFILE")
    return Path(named).expanduser() if named else home() / "browser"


def new_list(words: str) -> Path:
    """Where a list of this name is kept."""
    name = re.sub(r"[^\w]+", "-", words.lower()).strip("-")[:60] or "list"
    return home() / "lists" / f"{name}.txt"


def suggested_folder(list_path: Path) -> Path:
    """Where the models of a list go, unless the user says otherwise."""
    if list_path.parent == home() / "lists":
        return home() / "models" / list_path.stem
    return list_path.absolute().parent / "models"
