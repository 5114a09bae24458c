"""The log that a long job keeps in its folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.core.files import writing


@contextmanager
def log_to(path: Path, log: logging.Logger) -> Iterator[None]:
    """Keep what a logger is told in a file, besides; `OutputError` where it cannot be written."""
    with writing(path, "Check its rights."):
        handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.setLevel(logging.INFO)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
