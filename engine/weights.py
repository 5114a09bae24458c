"""The one registry of model weights: what each model is for, where its weights are, how they are got and checked.

`MODELS` lists every model. Its weights are looked for (`locate`), first to last: at a path from the settings, in the
folder that `ORIEL_WEIGHTS` names, in folders that were added, in the cache of the Hugging Face hub, among those
built in. Nothing is downloaded but by `fetch`, which is called only when a user asked for it.

Weights trained by this project are a `NAME.safetensors` beside a card `NAME.json` that says what they are: `name`,
`description`, `model`, `sha256` and measured figures. A path of a file works in place of a name.

Importing this module starts neither torch nor the hub's library.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine import hub
from engine.core.errors import WeightsError
from engine.core.files import whole_file, writing
from engine.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress

if TYPE_CHECKING:
    from torch import Tensor

BUILT_IN_FOLDER = Path(__file__).resolve().parent.parent / "resources" / "weights"
CHECKPOINT_SUFFIXES = (".safetensors", ".ckpt", ".pth", ".pt", ".bin")
_added: list[Path] = []
_paths: dict[str, Path] = {}
_LONGEST_HEADER = 100_000_000
"""Bytes of the longest header of a safetensors file, as its own library has it."""


# -- the models ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelFile:
    """One published file."""

    name: str
    """Path inside the hub's repository."""
    size: int | None = None
    """Bytes; None where not known for certain."""
    sha256: str | None = None
    """Checksum in hexadecimal; None where not known for certain."""


@dataclass(frozen=True)
class Source:
    """A published form of a model's weights, recognised in the hub's cache and by its files' names."""

    origin: str
    """Repository on the hub, `owner/name`."""
    files: tuple[ModelFile, ...]
    layout: str
    """Key of `LAYOUTS`."""


@dataclass(frozen=True)
class Model:
    """One model and where its weights are published."""

    key: str
    label: str
    kind: Literal["views", "matcher", "foreground", "surface", "similarity"]
    purpose: str
    licence: str
    """That of the code they were published with; the hub's page has the last word."""
    origin: str
    """Repository on the hub that `fetch` takes the files from; empty for built-in weights."""
    files: tuple[ModelFile, ...]
    layout: str
    """Key of `LAYOUTS`: how the weights are arranged, hence which loader reads them."""
    others: tuple[Source, ...] = ()
    """Further published forms that are used where a user has them."""

    @property
    def sources(self) -> tuple[Source, ...]:
        """All published forms, the one that is fetched first; none for built-in weights."""
        return (Source(self.origin, self.files, self.layout), *self.others) if self.origin else ()

    @property
    def size(self) -> int | None:
        """Bytes to fetch; None where not known beforehand."""
        sizes = [file.size for file in self.files]
        return sum(size for size in sizes if size is not None) if sizes and None not in sizes else None


@dataclass(frozen=True)
class Layout:
    """How weights are arranged: which names of tensors must be there."""

    parts: Mapping[str, tuple[str, ...]]
    """Beginnings of names that must occur, by subfolder (`a|b`: either); "" is the file or folder itself."""
    folder: bool = False
    """Whether it is a folder with a `config.json` in each part, rather than one file."""
    optional_prefix: str = ""
    """What some published files put before every name."""


LAYOUTS = {
    "oriel": Layout({"": ()}),
    "zero123": Layout({"": ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.", "cc_projection.")}),
    "zero123-diffusers": Layout(
        {
            "unet": ("conv_in.", "down_blocks.", "up_blocks."),
            "vae": ("encoder.", "decoder."),
            "image_encoder": ("vision_model.",),
            "cc_projection|clip_camera_projection": (),
        },
        folder=True,
    ),
    "loftr": Layout({"": ("backbone.", "loftr_coarse.", "loftr_fine.")}, optional_prefix="matcher."),
    "sam": Layout({"": ("image_encoder.", "prompt_encoder.", "mask_decoder.")}),
    "sam-hub": Layout({"": ("vision_encoder.layers.", "prompt_encoder.", "mask_decoder.")}, folder=True),
    "sam2-hub": Layout({"": ("vision_encoder.backbone.", "prompt_encoder.", "mask_decoder.")}, folder=True),
    "one-2-3-45": Layout(
        {
            "": (
                "pyramid_feature_network.",
                "sdf_network_lod0.",
                "rendering_network_lod0.",
                "variance_network_lod0.",
            )
        }
    ),
    "open-clip": Layout({"": ("visual.", "transformer.", "token_embedding.")}),
}


def _diffusers(origin: str) -> Source:
    return Source(origin, (ModelFile("model_index.json"), ModelFile("unet/config.json")), "zero123-diffusers")


def _sam(key: str, label: str, file: ModelFile, hub_name: str, others: tuple[Source, ...] = ()) -> Model:
    hub_files = (ModelFile("config.json"), ModelFile("model.safetensors"))
    return Model(
        key,
        label,
        "foreground",
        "finds the object in a picture from a box or points",
        "Apache-2.0",
        "ybelkada/segment-anything",
        (file,),
        "sam",
        (Source(f"facebook/{hub_name}", hub_files, "sam-hub"), *others),
    )


_ONE2345 = "One-2-3-45/code"
_SAM_H, _SAM_L, _SAM_B = (
    ModelFile(
        "checkpoints/sam_vit_h_4b8939.pth",
        2_564_550_879,
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
    ModelFile(
        "checkpoints/sam_vit_l_0b3195.pth",
        1_249_524_607,
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    ModelFile(
        "checkpoints/sam_vit_b_01ec64.pth",
        375_042_383,
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
)
_SAM_H_TOO = ModelFile("sam_vit_h_4b8939.pth", _SAM_H.size, _SAM_H.sha256)
_LOFTR = "be9ff88b323ec27889114719f668ae41aff7034b56a4c4acbd46b8b180b87ed3"
# Sizes and checksums stand here only where several public projects pin the same ones.
_MODELS = (
    Model("views", "Built-in generator", "views", "draws the object from other sides", "MIT", "", (), "oriel"),
    Model(
        "zero123-xl",
        "Zero123-XL",
        "views",
        "draws the object from other sides",
        "MIT",
        _ONE2345,
        (ModelFile("zero123-xl.ckpt"),),
        "zero123",
        (
            Source("cvlab/zero123-weights", (ModelFile("zero123-xl.ckpt"),), "zero123"),
            _diffusers("bennyguo/zero123-xl-diffusers"),
            _diffusers("ashawkey/zero123-xl-diffusers"),
            _diffusers("kxic/zero123-xl"),
        ),
    ),
    Model(
        "zero123",
        "Zero123",
        "views",
        "draws the object from other sides",
        "MIT",
        "cvlab/zero123-weights",
        (ModelFile("105000.ckpt"),),
        "zero123",
        (
            Source("cvlab/zero123-weights", (ModelFile("165000.ckpt"),), "zero123"),
            _diffusers("kxic/zero123-105000"),
            _diffusers("kxic/zero123-165000"),
        ),
    ),
    Model(
        "loftr",
        "LoFTR",
        "matcher",
        "matches points between views, for the camera's elevation",
        "Apache-2.0",
        _ONE2345,
        (ModelFile("elevation_estimate/utils/weights/indoor_ds_new.ckpt", None, _LOFTR),),
        "loftr",
        (Source("kornia/loftr", (ModelFile("loftr_indoor_ds_new.ckpt", None, _LOFTR),), "loftr"),),
    ),
    _sam("sam-vit-h", "SAM, huge", _SAM_H, "sam-vit-huge", (Source(_ONE2345, (_SAM_H_TOO,), "sam"),)),
    _sam("sam-vit-l", "SAM, large", _SAM_L, "sam-vit-large"),
    _sam("sam-vit-b", "SAM, base", _SAM_B, "sam-vit-base"),
    Model(
        "sam2",
        "SAM 2, large",
        "foreground",
        "finds the object in a picture from a box or points",
        "Apache-2.0",
        "facebook/sam2-hiera-large",
        (ModelFile("config.json"), ModelFile("model.safetensors")),
        "sam2-hub",
    ),
    Model("surface", "Built-in surface", "surface", "turns views into a surface", "MIT", "", (), "oriel"),
    Model(
        "one-2-3-45-surface",
        "One-2-3-45's reconstruction",
        "surface",
        "turns views into a surface",
        "Apache-2.0",
        _ONE2345,
        (ModelFile("SparseNeuS_demo_v1/exp/lod0/checkpoints/ckpt_215000.pth"),),
        "one-2-3-45",
    ),
    Model(
        "clip-vit-b-32",
        "CLIP ViT-B/32",
        "similarity",
        "tells in an evaluation how alike two pictures are",
        "MIT",
        "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        (
            ModelFile(
                "open_clip_model.safetensors",
                605_143_316,
                "ac4f8c4b88af6d963118cbf40ad93176d092abbedfcb752601ae1866352656e6",
            ),
        ),
        "open-clip",
        (Source("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", (ModelFile("open_clip_pytorch_model.bin"),), "open-clip"),),
    ),
)
MODELS = {model.key: model for model in _MODELS}
_COMMON_NAMES = ("open_clip_",)
"""Beginnings of file names that many models use, so that a file's name alone does not tell the model."""


def model(key: str) -> Model:
    """A model by its key; WeightsError that lists the keys if there is none."""
    if key not in MODELS:
        raise WeightsError(f"There is no model {key!r}. The models are: {', '.join(MODELS)}.")
    return MODELS[key]


# -- where they are ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Located:
    """Where a model's weights were found."""

    model: Model
    path: Path
    """A file, or a folder where the layout is one."""
    source: Literal["settings", "environment", "hub cache", "built in"]

    @property
    def size(self) -> int:
        """Bytes on disk."""
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return sum(file.stat().st_size for file in files if file.is_file())


def set_paths(paths: Mapping[str, str | Path]) -> None:
    """Take over the settings' paths of models, by key. Keys that no model has are ignored."""
    _paths.clear()
    for key, path in paths.items():
        if key in MODELS and isinstance(path, str | Path):
            _paths[key] = Path(path).expanduser()


def paths() -> dict[str, str]:
    """The paths of models as `set_paths` and `use` left them, for the settings to keep."""
    return {key: str(path) for key, path in _paths.items()}


def locate(key: str) -> Located | None:
    """Where the weights of a model are; None if they are nowhere. Reads no file and never uses the network.

    A path in the settings counts only while something is there.
    """
    found = model(key)
    path = _paths.get(key)
    if path is not None and path.exists():
        return Located(found, path, "settings")
    named = _named_folder()
    for folder in folders():
        if folder != BUILT_IN_FOLDER and (path := _in_folder(found, folder)) is not None:
            return Located(found, path, "environment" if folder == named else "settings")
    for source in found.sources:
        cached = hub.cached(source.origin, [file.name for file in source.files])
        if cached is not None:
            path = cached if LAYOUTS[source.layout].folder else cached / source.files[0].name
            return Located(found, path, "hub cache")
    path = BUILT_IN_FOLDER / f"{key}.safetensors"
    return Located(found, path, "built in") if path.is_file() else None


def require(key: str) -> Path:
    """Path of a model's weights; WeightsError that says how to get them if they are nowhere."""
    found = locate(key)
    if found is not None:
        return found.path
    missing = f"The weights of {model(key).label} are not on this machine"
    if key in _paths:
        missing += f", and nothing is at {_paths[key]}, where the settings say they are"
    raise WeightsError(f"{missing}. {_advice(key)}")


def _advice(key: str) -> str:
    """How to get a model's weights."""
    have = f"point to a copy that you have with `oriel weights use {key} PATH`"
    if not MODELS[key].origin:
        return f"Put {key}.safetensors into {BUILT_IN_FOLDER}, or {have}."
    return f"Fetch them with `oriel weights fetch {key}` or in the window's Models page, or {have}."


def _in_folder(found: Model, folder: Path, only: bool = False) -> Path | None:
    """A model's weights in a user's folder: by the key, by the published file's name, or as the repository has it.

    `only`: the folder is meant for this model alone, so that names count that many models use.
    """
    candidates = [folder / f"{found.key}{suffix}" for suffix in CHECKPOINT_SUFFIXES]
    for source in found.sources:
        clone = folder / source.origin.rpartition("/")[2]
        if LAYOUTS[source.layout].folder:
            if all((clone / file.name).is_file() for file in source.files):
                return clone
            continue
        name = source.files[0].name
        candidates.append(clone / name)
        if only or not Path(name).name.startswith(_COMMON_NAMES):
            candidates += [folder / Path(name).name, folder / name]
    for path in candidates:
        if path.is_file():
            return path
    own = folder / found.key
    return (_in_folder(found, own, True) or own) if own.is_dir() else None


# -- what is in a file ---------------------------------------------------------------------------------------


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a published checkpoint by name, on the CPU, mapped from the file where its form allows it.

    Reads `.safetensors`, and what `torch.save` wrote (`.ckpt`, `.pth`, `.pt`, `.bin`; both its forms), whatever the
    file's name. No code in the file is run. Of a checkpoint that wraps its tensors as `state_dict` or `model` these
    are returned; of one that holds several networks all of them, each under its name and a dot. What else is kept
    beside them (optimiser, step) is left out. WeightsError if the file is damaged, cut short, or wants to run code.
    """
    path = Path(path)
    form = _form(path)
    if form == "safetensors":
        read_header(path)
        from safetensors.torch import load_file

        return dict(load_file(path))
    return _named_tensors(_unpickle(path, mapped=form == "zip"), path)


def _form(path: Path) -> Literal["safetensors", "zip", "pickle"]:
    """How a file of weights is written, by its first bytes; WeightsError if it holds none."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(512)
    except IsADirectoryError:
        raise WeightsError(f"{path} is a folder, but a file of weights is needed here.") from None
    except OSError as error:
        raise WeightsError(f"The weights {path} cannot be read: {error.strerror}.") from None
    if size == 0:
        raise _damaged(path, "the file is empty")
    if head.startswith(b"version https://git-lfs"):
        raise WeightsError(
            f"{path} is a pointer of Git LFS, not the weights themselves. Run `git lfs pull` where it came from, or "
            "download the file itself."
        )
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _LONGEST_HEADER:
        return "safetensors"
    if head.startswith(b"PK"):
        if not zipfile.is_zipfile(path):
            raise _damaged(path, f"it is cut short at {readable(size)}, its list of contents is missing")
        return "zip"
    if head.startswith(b"\x80"):
        return "pickle"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith((b"<", b"{")):
        what = "a web page" if text.startswith(b"<") else "a text file"
        raise WeightsError(f"{path} is {what}, not weights, perhaps a download that failed. Download the file itself.")
    raise _damaged(path, "it is no file of weights")


def _damaged(path: Path, reason: str) -> WeightsError:
    return WeightsError(f"The weights {path} are damaged: {reason}. Copy or download them again.")


class _Ignored:
    """Stands in a checkpoint for an object of a training framework; takes anything and does nothing."""

    def __new__(cls, *arguments: object) -> _Ignored:
        return super().__new__(cls)

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


_BOOKKEEPING = ("pytorch_lightning.", "lightning.", "lightning_fabric.", "omegaconf.", "numpy.", "yacs.")
"""Beginnings of names that training frameworks leave in checkpoints beside the tensors: a step number of NumPy,
Lightning's callbacks. They are read as `_Ignored`, so nothing of those libraries runs or need be installed."""


def _unpickle(path: Path, mapped: bool) -> Any:
    """What `torch.save` wrote, read without running any of its code."""
    import pickle

    import torch

    if mapped and any(name.endswith("/constants.pkl") for name in zipfile.ZipFile(path).namelist()):
        raise WeightsError(
            f"{path} is a TorchScript program, which is code and not only weights, so it was not loaded. Take the "
            "weights from their publisher."
        )
    ignored: dict[str, type[_Ignored]] = {}
    while True:
        try:
            with torch.serialization.safe_globals([(stub, name) for name, stub in ignored.items()]):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        except pickle.UnpicklingError as error:
            wanted = re.search(r"GLOBAL (\S+)", str(error))
            if wanted is None:
                raise _damaged(path, "its contents cannot be read") from None
            name = wanted[1]
            if not name.startswith(_BOOKKEEPING) or name in ignored:
                raise WeightsError(
                    f"{path} wants to run code when it is loaded ({name}), which weights have no need to do, so it was "
                    "not loaded. Take the weights from their publisher, if possible as .safetensors."
                ) from None
            ignored[name] = type(name, (_Ignored,), {})
        except MemoryError:
            raise
        except Exception:  # torch raises many types for a damaged file
            raise _damaged(path, "its contents cannot be read") from None


def _named_tensors(top: Any, path: Path) -> dict[str, Tensor]:
    import torch

    def tensors(value: Any) -> dict[str, Tensor]:
        items = value.items() if isinstance(value, Mapping) else ()
        return {name: t for name, t in items if isinstance(name, str) and isinstance(t, torch.Tensor)}

    for wrapper in ("state_dict", "model"):
        if isinstance(top, Mapping) and (inside := tensors(top.get(wrapper))):
            return inside
    found = tensors(top)
    for network, value in top.items() if isinstance(top, Mapping) else ():
        found.update({f"{network}.{name}": tensor for name, tensor in tensors(value).items()})
    if not found:
        raise WeightsError(f"{path} holds no named tensors, so it is no file of weights. Choose another file.")
    return found


def tensor_names(path: Path) -> set[str]:
    """Names of the tensors in a checkpoint, as `read_checkpoint` gives them; reads no tensor of a safetensors file."""
    if _form(path) == "safetensors":
        return set(read_header(path)) - {"__metadata__"}
    return set(read_checkpoint(path))


# -- checks --------------------------------------------------------------------------------------------------


def check(
    key: str, progress: ProgressCallback | None = None, cancel: CancelToken | None = None, *, quick: bool = False
) -> list[str]:
    """What is wrong with a model's weights, in sentences; empty if nothing is.

    Says damage, another model's weights, code. `quick` reads only the lists of contents; else all of every file is
    compared with the published checksum, the one in the hub's cache, or the file's own, and `Progress` in bytes is
    reported. WeightsError if the weights are nowhere; `Cancelled`.
    """
    path = require(key)
    try:
        _check_layout(MODELS[key], path)
        if not quick:
            _check_sums(MODELS[key], path, progress or ignore_progress, cancel or CancelToken())
    except WeightsError as error:
        return [str(error)]
    return []


def use(key: str, path: str | Path) -> Located:
    """Take a model's weights from a file or folder of the user from now on; `paths` gives what to keep.

    For a folder with the published file in it that file is taken, for a file inside a published folder the folder.
    WeightsError if nothing is there, if it is damaged, or of another model.
    """
    found = model(key)
    path = Path(path).expanduser().absolute()
    if not path.exists():
        raise WeightsError(f"There is nothing at {path}. Check the path.")
    described = {"config.json", "model_index.json"}
    if path.is_dir() and not any((path / name).is_file() for name in described):
        path = _in_folder(found, path, True) or path
    elif path.is_file() and path.name in described | {"model.safetensors"}:
        path = path.parent
    _check_layout(found, path)
    _paths[key] = path
    return Located(found, path, "settings")


def _layouts(found: Model) -> list[str]:
    return list(dict.fromkeys([found.layout, *(source.layout for source in found.others)]))


def _check_layout(found: Model, path: Path) -> None:
    """WeightsError unless what is at `path` can be read and has the names of one of the model's layouts."""
    if found.layout == "oriel":
        weights = Weights(path.stem, path, read_card(path))
        read_header(path)
        if weights.card.get("model") is None:
            raise WeightsError(f"{path} has no card {path.stem}.json beside it that says which model it is. Copy both.")
        return
    layouts = [LAYOUTS[name] for name in _layouts(found) if LAYOUTS[name].folder == path.is_dir()]
    if not layouts:
        is_, needs = ("a folder", "a file") if path.is_dir() else ("a file", "a folder")
        raise WeightsError(f"{path} is {is_}, but the weights of {found.label} are {needs}. Choose that.")
    missing = [_missing(layout, path) for layout in layouts]
    if all(missing):
        raise WeightsError(
            f"{path} is not {found.label}: {missing[0]}. It may be another model's; choose the right one, or fetch it "
            f"with `oriel weights fetch {found.key}`."
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


def _check_sums(found: Model, path: Path, report: ProgressCallback, cancel: CancelToken) -> None:
    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    total, done = sum(file.stat().st_size for file in files), 0
    known = {
        Path(file.name).name: file.sha256
        for source in found.sources
        for file in source.files
        if file.sha256 is not None
    }
    for file in files:
        stated = known.get(file.name)
        if found.layout == "oriel":
            stated = read_card(file).get("sha256")
        elif file.is_symlink() and re.fullmatch("[0-9a-f]{64}|[0-9a-f]{40}", file.readlink().name):
            stated = file.readlink().name

        def tell(step: int, name: str = file.name, before: int = done) -> None:
            cancel.check()
            report(Progress("weights", before + step, total, f"Checking {name}"))

        if stated is not None:
            if hub.digest(file, len(stated), tell) != stated:
                raise _damaged(file, "its checksum is not the one that was published")
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
        raise _damaged(path, "a part of it does not fit its checksum") from None


def readable(size: float | None) -> str:
    """Bytes for people, e.g. `2.6 GB`; `unknown` for None."""
    if size is None:
        return "unknown"
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            break
        size, unit = size / 1000, {"bytes": "kB", "kB": "MB", "MB": "GB"}[unit]
    return f"{size:.0f} {unit}" if unit in ("bytes", "kB") else f"{size:.1f} {unit}"


# -- fetching and removing -----------------------------------------------------------------------------------


def fetch(key: str, progress: ProgressCallback | None = None, cancel: CancelToken | None = None) -> Path:
    """Download a model's weights into the hub's cache, where `locate` finds them; returns their path.

    Called only when a user asked for it; see `hub.download` for what it honours, reports and raises.
    """
    found = model(key)
    if not found.origin:
        raise WeightsError(f"The weights of {found.label} come with the program and cannot be fetched. {_advice(key)}")
    folder = hub.download(found.origin, {file.name: file.sha256 for file in found.files}, progress, cancel)
    return folder if LAYOUTS[found.layout].folder else folder / found.files[0].name


def unfinished(key: str) -> int:
    """Bytes received by a fetch that was cancelled or broke, from which the next one goes on."""
    found = model(key)
    return hub.unfinished(found.origin, [file.name for file in found.files]) if found.origin else 0


def remove(key: str) -> int:
    """Forget the settings' path of a model, or else delete its weights from the hub's cache; returns the bytes freed.

    A user's own file stays where it is, as do built-in weights and those in `ORIEL_WEIGHTS`: WeightsError.
    """
    found = model(key)
    if _paths.pop(key, None) is not None:
        return 0
    located = locate(key)
    if located is not None and located.source != "hub cache":
        raise WeightsError(f"The weights of {found.label} are at {located.path}. Delete them there if you want to.")
    if located is None and not unfinished(key):
        raise WeightsError(f"There are no weights of {found.label} on this machine.")
    freed = hub.remove(found.origin, [file.name for file in found.files]) if unfinished(key) else 0
    for source in found.sources:
        names = [file.name for file in source.files]
        if located is not None and hub.cached(source.origin, names) is not None:
            return freed + hub.remove(source.origin, None if LAYOUTS[source.layout].folder else names)
    return freed


# -- weights with a card -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Weights:
    """One file of weights and its card."""

    name: str
    """Stem of the file, e.g. `surface`."""
    path: Path
    card: dict[str, Any]
    """What the card says; empty if there is none."""

    @property
    def built_in(self) -> bool:
        """Whether they come with the program (trained by this project), rather than from the user."""
        return self.path.parent == BUILT_IN_FOLDER

    def verify(self) -> None:
        """WeightsError if the file is damaged: not safetensors, cut short, or not what its card says."""
        read_header(self.path)
        expected = self.card.get("sha256")
        if expected is not None and sha256(self.path) != expected:
            raise WeightsError(
                f"The weights {self.path} are damaged: their checksum is not the one on their card. "
                "Copy or download them again."
            )

    def load(self, model: str | None = None) -> dict[str, Tensor]:
        """The tensors by name, on the CPU, after `verify`.

        `model` is the kind of network that they are for: WeightsError if their card names another.
        """
        from safetensors.torch import load_file

        self.verify()
        found = self.card.get("model")
        if model is not None and found is not None and found != model:
            raise WeightsError(f"The weights {self.path} are of the model {found!r}, but {model!r} is needed here.")
        return dict(load_file(self.path))


def add_folder(folder: Path) -> None:
    """Look for weights in `folder` too, before the built-in ones."""
    if folder not in _added:
        _added.insert(0, folder)


def folders() -> list[Path]:
    """Where weights are looked for, first to last."""
    named = _named_folder()
    return [*([named] if named else []), *_added, BUILT_IN_FOLDER]


def _named_folder() -> Path | None:
    named = os.environ.get("ORIEL_WEIGHTS")
    return Path(named).expanduser() if named else None


def available() -> list[Weights]:
    """All weights that can be found by name."""
    found: dict[str, Weights] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.safetensors")):
            if path.stem not in found:
                found[path.stem] = Weights(path.stem, path, read_card(path))
    return list(found.values())


def find(name: str | Path) -> Weights:
    """Weights by name, or by the path of their file; WeightsError if there are none."""
    path = Path(name)
    if path.suffix:
        if not path.is_file():
            raise WeightsError(f"There are no weights at {path}. Check the path.")
        return Weights(path.stem, path, read_card(path))
    chosen = _paths.get(str(name))
    for path in [*([chosen] if chosen else []), *(folder / f"{name}.safetensors" for folder in folders())]:
        if path.is_file():
            return Weights(str(name), path, read_card(path))
    places = ", ".join(str(f) for f in folders())
    raise WeightsError(f"There are no weights named {name!r}. Put {name}.safetensors into one of: {places}.")


def read_card(path: Path) -> dict[str, Any]:
    """The card beside a file of weights; empty if there is none, WeightsError if it is damaged."""
    card = path.with_suffix(".json")
    if not card.exists():
        return {}
    try:
        value = json.loads(card.read_text())
        if not isinstance(value, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as error:
        raise WeightsError(f"The card {card} of the weights cannot be read ({error}). Copy it again.") from None
    return value


def commit() -> str:
    """The commit that this program runs from, for a card; `unknown` outside a git repository."""
    import subprocess

    root = Path(__file__).resolve().parent.parent
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=root, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip() or "unknown"


def save(path: Path, tensors: dict[str, Tensor], card: dict[str, Any]) -> None:
    """Write weights and their card, with the checksum added to it; each whole or not at all."""
    from safetensors.torch import save_file

    with writing(path), whole_file(path.with_suffix(".json")) as partial_card, whole_file(path) as partial:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial)
        partial_card.write_text(json.dumps({**card, "sha256": sha256(partial)}, indent=2) + "\n")


def sha256(path: Path) -> str:
    """Checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_header(path: Path) -> dict[str, Any]:
    """Names, types, shapes and places of the tensors in a safetensors file; WeightsError if it is damaged.

    Checks that the file is as long as its header says, which a download cut short is not.
    """
    if _form(path) != "safetensors":
        raise _damaged(path, "it is no safetensors file")
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        end = max((t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"), default=0)
        size, wanted = path.stat().st_size, 8 + length + end
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _damaged(path, "its list of contents cannot be read, perhaps as it is cut short") from None
    except OSError as error:
        raise WeightsError(f"The weights {path} cannot be read: {error.strerror}.") from None
    if size < wanted:
        raise _damaged(path, f"it is cut short at {readable(size)} of {readable(wanted)}")
    if size > wanted:
        raise _damaged(path, f"it is longer than its contents ({readable(size)}, not {readable(wanted)})")
    return dict(header)
