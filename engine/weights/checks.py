"""What is wrong with weights: damage, another model's, code."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from engine.core.errors import WeightsError
from engine.core.progress import CancelToken, Progress, ProgressCallback
from engine.weights import hub
from engine.weights.files import damaged, read_card, read_header, tensor_names
from engine.weights.models import Layout, Model

_STABLE = re.compile(r"stable[\W_]*zero[\W_]*123", re.IGNORECASE)


def check_family(path: Path) -> None:
    """WeightsError for Stable Zero123, which has Zero123's tensors by name and shape, but is told another camera.

    In place of the change of the distance it takes the polar angle of the picture's own camera (threestudio's
    `stable_zero123_guidance`), without which it draws from the wrong side. Its files are known by their names alone.
    """
    real, parts = path.resolve(), path.absolute().parts
    repository = parts[parts.index("snapshots") - 1 : parts.index("snapshots")] if "snapshots" in parts else ()
    if any(_STABLE.search(name) for name in (*parts[-2:], real.name, real.parent.name, *repository)):
        raise WeightsError(
            f"{path} is Stable Zero123, which is told its camera in another way than Zero123 and cannot be used here. "
            "Choose zero123-xl.ckpt or 105000.ckpt, or fetch one with `oriel weights fetch zero123-xl`."
        )


def check_layout(found: Model, path: Path) -> None:
    """WeightsError unless what is at `path` can be read and has the names of one of the model's layouts."""
    if not found.sources:
        card = read_card(path)
        read_header(path)
        if card.get("model") is None:
            raise WeightsError(f"{path} has no card {path.stem}.json beside it that says which model it is. Copy both.")
        return
    if found.kind == "views":
        check_family(path)
    if (side := found.layouts[0].side) and not path.is_dir():
        _check_onnx(found, path, side)
        return
    layouts = [layout for layout in found.layouts if layout.folder == path.is_dir()]
    if not layouts:
        is_, needs = ("a folder", "a file") if path.is_dir() else ("a file", "a folder")
        raise WeightsError(f"{path} is {is_}, but the weights of {found.label} are {needs}. Choose that.")
    missing = [_missing(layout, path) for layout in layouts]
    if all(missing):
        raise WeightsError(
            f"{path} is not {found.label}: {missing[0]}. It may be another model's; choose the right one, or fetch it "
            f"with `oriel weights fetch {found.key}`."
        )


def _check_onnx(found: Model, path: Path, side: int) -> None:
    """WeightsError unless the file is a network in ONNX that takes pictures of this side."""
    import onnxruntime

    try:
        wanted = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).get_inputs()[0].shape
    except Exception as error:  # the runtime has a dozen types of its own, none of them public
        raise damaged(path, "it cannot be read as a network in ONNX") from error
    if list(wanted)[1:] != [3, side, side]:
        raise WeightsError(
            f"{path} is not {found.label}: it takes pictures {wanted}, not (1, 3, {side}, {side}). It may be another "
            f"model's; choose the right one, or fetch it with `oriel weights fetch {found.key}`."
        )


def _missing(layout: Layout, path: Path) -> str:
    """What of a layout is not at `path`; empty if all is there."""
    for part, beginnings in layout.parts.items():
        folder = path
        if layout.folder:
            folder = next((path / name for name in part.split("|") if (path / name).is_dir()), path / part)
            files = [f for f in sorted(folder.glob("*")) if f.suffix in (".safetensors", ".bin")]
            if not files or not (folder / "config.json").is_file():
                name = part.replace("|", " or ")
                return f"{name or 'it'} has no {'weights' if not files else 'config.json'}"
        else:
            files = [path]
        names = {name.removeprefix(layout.optional_prefix) for file in files for name in tensor_names(file)}
        for beginning in beginnings:
            if not any(name.startswith(beginning) for name in names):
                return f"it has no weights named {part + '/' if part else ''}{beginning}*"
    return ""


def check_sums(found: Model, path: Path, report: ProgressCallback, cancel: CancelToken) -> None:
    """WeightsError unless all files have the checksum that was published, that the hub's cache or that they state."""
    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    total, done = sum(file.stat().st_size for file in files), 0
    known = {Path(file.name).name: file.checksum for source in found.sources for file in source.files}
    for file in files:
        stated = known.get(file.name) if found.sources else read_card(file).get("sha256")
        if file.is_symlink() and re.fullmatch("[0-9a-f]{64}|[0-9a-f]{40}", file.readlink().name):
            stated = file.readlink().name

        def tell(step: int, name: str = file.name, before: int = done) -> None:
            cancel.check()
            report(Progress("weights", before + step, total, f"Checking {name}"))

        if stated is not None:
            if hub.digest(file, len(stated), tell) != stated:
                raise damaged(file, "its checksum is not the one that was published")
        elif zipfile.is_zipfile(file):
            _check_zip(file, tell)
        done += file.stat().st_size
        tell(file.stat().st_size)


def _check_zip(path: Path, tell: Callable[[int], None]) -> None:
    """WeightsError unless each part of a zip file, the form of `torch.save`, has the checksum written beside it."""
    done = 0
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                with archive.open(entry) as part:
                    while chunk := part.read(1 << 22):
                        done += len(chunk)
                        tell(done)
    except (zipfile.BadZipFile, EOFError, OSError):
        raise damaged(path, "a part of it does not fit its checksum") from None
