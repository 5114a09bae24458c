"""What is installed, which device, which weights: the checks behind `oriel doctor`."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from app.settings import Settings, home
from engine import weights
from engine.core.errors import OrielError

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "kornia",
    "moderngl",
    "pyvista",
    "selenium",
    "PySide6",
    "qasync",
    "trimesh",
    "xatlas",
    "PyMCubes",
    "safetensors",
    "huggingface_hub",
    "diffusers",
    "transformers",
    "open_clip_torch",
)
FREE_DISK_GB = 2.0
FREE_MEMORY_GB = 2.5


@dataclass(frozen=True)
class Check:
    """One finding."""

    group: str
    name: str
    status: str
    """`ok`; `note` for what is missing but not needed to reconstruct; `problem`."""
    detail: str
    """What was found, and what to do where it is not `ok`."""


def examine() -> list[Check]:
    """All checks. Takes a few seconds, as it starts torch and OpenGL."""
    checks: list[Check] = []
    for group in (_machine, _packages, _device, _graphics, _weights, _tools):
        checks += group()
    return checks


def _machine() -> Iterator[Check]:
    version = platform.python_version()
    supported = (3, 11) <= sys.version_info[:2] <= (3, 12)
    yield Check(
        "machine", "Python", "ok" if supported else "note", version if supported else f"{version}; 3.11 is tested"
    )
    yield Check("machine", "system", "ok", platform.platform())
    memory = psutil.virtual_memory()
    enough = memory.available / 2**30 >= FREE_MEMORY_GB
    text = f"{memory.total / 2**30:.1f} GB, {memory.available / 2**30:.1f} GB free, {psutil.cpu_count()} cores"
    advice = "" if enough else f"; a run may need {FREE_MEMORY_GB:g} GB: close other programs"
    yield Check("machine", "memory", "ok" if enough else "problem", text + advice)
    place = home()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 2**30
    writable = os.access(place, os.W_OK)
    if not writable:
        yield Check("machine", "disk", "problem", f"{home()} cannot be written; set ORIEL_HOME to a folder that can")
    elif free < FREE_DISK_GB:
        yield Check("machine", "disk", "problem", f"{free:.1f} GB free at {home()}; delete old runs or set ORIEL_HOME")
    else:
        yield Check("machine", "disk", "ok", f"{free:.1f} GB free at {home()}")


def _packages() -> Iterator[Check]:
    for package in PACKAGES:
        try:
            yield Check("packages", package, "ok", importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            yield Check("packages", package, "problem", "not installed; run `make setup`")


def _device() -> Iterator[Check]:
    try:
        import torch
    except ImportError as error:
        yield Check("device", "torch", "problem", f"does not start ({error}); run `make setup`")
        return
    if torch.cuda.is_available():
        yield Check("device", "GPU", "ok", torch.cuda.get_device_name())
    else:
        yield Check("device", "GPU", "note", f"none; the CPU is used, {torch.get_num_threads()} threads")


def _graphics() -> Iterator[Check]:
    from engine.meshes import gl

    try:
        with gl.context() as ctx:
            info = ctx.info
        yield Check("graphics", "OpenGL without a display", "ok", f"{info['GL_VERSION']}, {info['GL_RENDERER']}")
    except OrielError as error:
        yield Check("graphics", "OpenGL without a display", "problem", f"{error} Reconstruction draws with it.")
    display = os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY")
    headless = sys.platform.startswith("linux") and not display
    detail = "none; the window needs one, the command line does not" if headless else display or "the system's"
    yield Check("graphics", "display", "note" if headless else "ok", detail)


def _weights() -> Iterator[Check]:
    found = {w.name: w for w in weights.available()}
    for name in ("views", "surface"):
        if name not in found:
            yield Check(
                "weights", name, "problem", f"missing; {name}.safetensors belongs into {weights.BUILT_IN_FOLDER}"
            )
    for entry in found.values():
        if entry.name in weights.MODELS and weights.MODELS[entry.name].origin:
            continue
        try:
            entry.verify()
        except OrielError as error:
            yield Check("weights", entry.name, "problem", str(error))
            continue
        yield Check("weights", entry.name, "ok", describe(entry))
    missing = []
    for key, model in weights.MODELS.items():
        if not model.origin:
            continue
        located, chosen = weights.locate(key), weights.paths().get(key)
        if located is None:
            missing.append(key)
        elif problems := weights.check(key, quick=True):
            yield Check("weights", key, "problem", " ".join(problems))
        else:
            where = f"{located.source}, {weights.readable(located.size)}; {located.path}"
            yield Check("weights", key, "ok", where)
        if chosen is not None and (located is None or located.source != "settings"):
            text = f"nothing is at {chosen}, where the settings say it is; `oriel weights use {key} PATH`"
            yield Check("weights", key, "problem", f"{text} or `oriel weights remove {key}`")
    if missing:
        text = f"not on this machine, and not needed: {', '.join(missing)}; `oriel weights fetch MODEL`"
        yield Check("weights", "published", "note", text)


def describe(entry: weights.Weights) -> str:
    """One line on a file of weights: where it is from, its size and its card's figures."""
    parts = ["built-in" if entry.built_in else str(entry.path), f"{entry.path.stat().st_size / 1e6:.1f} MB"]
    if description := entry.card.get("description"):
        parts.append(str(description))
    figures = next((entry.card[key] for key in ("heldout", "validation") if key in entry.card), None)
    if isinstance(figures, dict):
        parts.append(", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items()))
    return "; ".join(parts)


def _tools() -> Iterator[Check]:
    blender = ROOT / ".venv-blender" / "bin" / "python"
    yield _tool(
        "Blender", lambda: _run([str(blender), "-c", "import bpy; print(bpy.app.version_string)"]), "make setup"
    )
    validator = ROOT / ".node" / "node_modules" / "gltf-validator" / "package.json"
    yield _tool(
        "glTF validator", lambda: str(validator.parent) if validator.exists() else None, "make setup, with npm,"
    )

    try:
        from engine.crawling.browser import find_browser

        yield Check("tools", "browser", "ok", str(find_browser().binary))
    except (ImportError, OrielError) as error:
        yield Check("tools", "browser", "note", f"{error} Only crawling without an API token needs it.")

    def ffmpeg() -> str | None:
        try:
            import imageio_ffmpeg

            return str(imageio_ffmpeg.get_ffmpeg_exe())
        except (ImportError, RuntimeError):
            return None

    yield _tool("ffmpeg", ffmpeg, "make setup")
    folder = Settings.load().history_folder
    count = len(list(folder.glob("*/run.json"))) if folder.is_dir() else 0
    yield Check("tools", "history", "ok", f"{count} runs in {folder}")


def _tool(name: str, find: Callable[[], str | None], remedy: str) -> Check:
    found = find()
    return Check("tools", name, "ok" if found else "note", found or f"not installed ({remedy} installs it)")


def _run(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.strip().splitlines()
    return lines[-1] if lines else None
