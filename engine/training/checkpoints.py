"""Checkpoints of a run: whole files or none, the last few and the best."""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.core.files import sync, whole_file, writing

BEST = "best.ckpt"


@dataclass(frozen=True)
class Checkpoints:
    """`step-00000120.ckpt` and `best.ckpt` in a folder."""

    folder: Path
    keep: int
    """How many of the last are kept."""

    def paths(self) -> list[Path]:
        """Newest first."""
        return sorted(self.folder.glob("step-*.ckpt"), reverse=True)

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is kept."""
        return self.folder / f"step-{step:08d}.ckpt"

    def save(self, step: int, content: dict[str, Any], *, best: bool = False) -> None:
        """Write one; `best` keeps it beyond its time too. Raises `OutputError`; a kill leaves it whole or absent."""
        path = self.path(step)
        with writing(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as partial, partial.open("wb") as file:
                torch.save(content, file)
            if best:
                with whole_file(self.folder / BEST) as second:
                    try:
                        os.link(path, second)
                    except OSError:  # not on every file system
                        shutil.copyfile(path, second)
            sync(self.folder)
            for old in self.paths()[self.keep :]:
                old.unlink()

    def load(self, device: torch.device | str) -> tuple[dict[str, Any], list[str]] | None:
        """The newest one that can be read and the names of newer ones that cannot; None if there is none."""
        damaged: list[str] = []
        for path in self.paths():
            content = read_checkpoint(path, device)
            if content is not None:
                return content, damaged
            damaged.append(path.name)
        return None

    def best(self, device: torch.device | str) -> dict[str, Any] | None:
        """The best one; None if there is none or it cannot be read."""
        return read_checkpoint(self.folder / BEST, device)


def read_checkpoint(path: Path, device: torch.device | str) -> dict[str, Any] | None:
    """A checkpoint; None if it is missing or damaged."""
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile):
        return None
    return content if isinstance(content, dict) and "network" in content else None
