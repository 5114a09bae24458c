"""Files of weights: published ones, read without running any of their code, and this project's own with their cards.

Own weights are a `NAME.safetensors` beside a card `NAME.json` that says what they are: `name`, `description`, `model`,
`sha256` and measured figures.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from engine.core.errors import WeightsError
from engine.core.files import whole_file, writing

if TYPE_CHECKING:
    from torch import Tensor, nn

_ROOT = Path(__file__).resolve().parents[2]
BUILT_IN_FOLDER = _ROOT / "resources" / "weights"
_Any = TypeVar("_Any")
_LONGEST_HEADER = 100_000_000
"""Bytes of the longest header of a safetensors file, as its own library has it."""


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a published checkpoint by name, on the CPU, mapped from the file where its form allows it.

    Reads `.safetensors`, and what `torch.save` wrote (`.ckpt`, `.pth`, `.pt`, `.bin`; both its forms), whatever the
    file's name. No code in the file is run. Of a checkpoint that wraps its tensors as `state_dict`, `model` or the
    like these are returned; of one that holds several networks all of them, each under its name and a dot. What else
    is kept beside them (optimiser, step) is left out, as is `module.` or `_orig_mod.` before all names. WeightsError
    if the file is damaged, cut short, or wants to run code.
    """
    path = Path(path)
    form = _form(path)
    if form == "safetensors":
        read_header(path)
        from safetensors.torch import load_file

        return _plainly_named(load_file(path))
    return _plainly_named(_named_tensors(_unpickle(path, mapped=form == "zip"), path))


def _plainly_named(tensors: Mapping[str, _Any]) -> dict[str, _Any]:
    """The tensors without what was put before all of their names by the way they were trained."""
    named = dict(tensors)
    while named and all(_PREFIX.search(name) for name in named):
        named = {_PREFIX.sub("", name, count=1): tensor for name, tensor in named.items()}
    return named


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
        raise damaged(path, "the file is empty")
    if head.startswith(b"version https://git-lfs"):
        raise WeightsError(
            f"{path} is a pointer of Git LFS, not the weights themselves. Run `git lfs pull` where it came from, or "
            "download the file itself."
        )
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _LONGEST_HEADER:
        return "safetensors"
    if head.startswith(b"PK"):
        if not zipfile.is_zipfile(path):
            raise damaged(path, f"it is cut short at {readable(size)}, its list of contents is missing")
        return "zip"
    if head.startswith(b"\x80"):
        return "pickle"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith((b"<", b"{")):
        what = "a web page" if text.startswith(b"<") else "a text file"
        raise WeightsError(f"{path} is {what}, not weights, perhaps a download that failed. Download the file itself.")
    raise damaged(path, "it is no file of weights")


def damaged(path: Path, reason: str) -> WeightsError:
    """What to raise for a file that is not as it was published."""
    return WeightsError(f"The weights {path} are damaged: {reason}. Copy or download them again.")


class _Ignored(dict[Any, Any]):
    """Stands in a checkpoint for an object beside the tensors; takes anything and does nothing. What it held by name
    stays in it: some keep their tensors in an object of their own."""

    def __init__(self, *arguments: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.update(state)


class _IgnoredMapping(_Ignored):
    """The same for a mapping of a kind of its own. torch sets items in none but plain ones."""

    def __new__(cls, *arguments: object) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()


class _IgnoredList(list[Any]):
    """The same for a list of a kind of its own."""

    def __init__(self, *arguments: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        pass


_BOOKKEEPING = (
    *("pytorch_lightning.", "lightning.", "lightning_fabric.", "lightning_lite.", "lightning_utilities."),
    *("torchmetrics.", "torch.optim.", "torch.torch_version.", "torch.utils.data.", "torch._C.Generator", "numpy."),
    *("omegaconf.", "hydra.", "yacs.", "easydict.", "addict.", "munch.", "box.", "ml_collections.", "pyhocon."),
    *("ldm.", "sgm.", "taming.", "transformers.", "diffusers.", "accelerate.", "timm.", "mmcv.", "mmengine."),
    *("fvcore.", "detectron2.", "fairseq.", "wandb.", "__main__."),
    *("argparse.Namespace", "types.SimpleNamespace", "pathlib.", "collections.", "datetime.", "decimal.", "fractions."),
    *("uuid.UUID", "typing.", "enum.", "functools.partial", "random.Random", "zoneinfo.", "copyreg._reconstructor"),
    *("builtins.range", "builtins.slice", "builtins.complex", "builtins.frozenset", "builtins.set", "builtins.tuple"),
    *("builtins.dict", "builtins.list", "builtins.int", "builtins.float", "builtins.str", "builtins.bool"),
    *("builtins.bytes", "builtins.bytearray", "builtins.object", "builtins.getattr"),
)
"""What training leaves in checkpoints beside the tensors, by name or, with a dot at the end, by what the name begins
with: a step number of NumPy, Lightning's callbacks, the settings of a run, optimisers and schedules, plain data of
Python's own library (`getattr` is how it writes members of an Enum, and methods). They are read as `_Ignored`, so
nothing of theirs runs or need be installed."""
_WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "network", "params_ema", "params", "weights")
"""What checkpoints call the mapping that holds the tensors, the one taken first."""
_PREFIX = re.compile(r"^module\.|(?:^|(?<=\.))_orig_mod\.")
"""What training on several GPUs and `torch.compile` put before the names of tensors."""


def _unpickle(path: Path, mapped: bool) -> Any:
    """What `torch.save` wrote, read without running any of its code."""
    import pickle

    import torch

    if mapped and any(name.endswith("/constants.pkl") for name in zipfile.ZipFile(path).namelist()):
        raise WeightsError(
            f"{path} is a TorchScript program, which is code and not only weights, so it was not loaded. Take the "
            "weights from their publisher."
        )
    ignored: dict[str, Any] = {}
    while True:
        try:
            with torch.serialization.safe_globals([(stub, name) for name, stub in ignored.items()]):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        except pickle.UnpicklingError as error:
            filled = re.search("Can only (SETITEM|append)", str(error))
            if filled and (name := next((n for n, stub in ignored.items() if repr(stub) in str(error)), None)):
                kind = _IgnoredMapping if filled[1] == "SETITEM" else _IgnoredList
                ignored[name] = type(name, (kind,), {})
                continue
            wanted = re.search(r"GLOBAL (\S+)", str(error))
            if wanted is None:
                raise damaged(path, "its contents cannot be read") from None
            name = wanted[1] if "." in wanted[1] else f"builtins.{wanted[1]}"
            known = any(name.startswith(kept) if kept.endswith(".") else name == kept for kept in _BOOKKEEPING)
            if not known or name in ignored:
                raise WeightsError(
                    f"{path} wants to run code when it is loaded ({name}), which weights have no need to do, so it was "
                    "not loaded. Take the weights from their publisher, if possible as .safetensors."
                ) from None
            ignored[name] = type(name, (_Ignored,), {})
        except MemoryError:
            raise
        except Exception:  # torch raises many types for a damaged file
            raise damaged(path, "its contents cannot be read") from None


def _named_tensors(top: Any, path: Path) -> dict[str, Tensor]:
    import torch

    def tensors(value: Any) -> dict[str, Tensor]:
        items = value.items() if isinstance(value, Mapping) else ()
        return {name: t for name, t in items if isinstance(name, str) and isinstance(t, torch.Tensor)}

    for wrapper in _WRAPPERS:
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
        return set(_plainly_named({name: None for name in read_header(path) if name != "__metadata__"}))
    return set(read_checkpoint(path))


def read_header(path: Path) -> dict[str, Any]:
    """Names, types, shapes and places of the tensors in a safetensors file; WeightsError if it is damaged.

    Checks that the file is as long as its header says, which a download cut short is not.
    """
    if _form(path) != "safetensors":
        raise damaged(path, "it is no safetensors file")
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        end = max((t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"), default=0)
        size, wanted = path.stat().st_size, 8 + length + end
    except (ValueError, KeyError, TypeError, AttributeError):
        raise damaged(path, "its list of contents cannot be read, perhaps as it is cut short") from None
    except OSError as error:
        raise WeightsError(f"The weights {path} cannot be read: {error.strerror}.") from None
    if size < wanted:
        raise damaged(path, f"it is cut short at {readable(size)} of {readable(wanted)}")
    if size > wanted:
        raise damaged(path, f"it is longer than its contents ({readable(size)}, not {readable(wanted)})")
    return dict(header)


def load_into(module: nn.Module, state: dict[str, Tensor], *, path: Path, model: str) -> None:
    """Give `module` the tensors of `state`, which were read from `path` and should be those of `model`.

    The tensors, in the module's precision, take the place of its own, so that it may have been built on the meta
    device. Counters of batches, which evaluation does not read, may be missing. Raises `WeightsError` that names what
    is missing, what is left over and what has another shape.
    """
    import torch

    expected = module.state_dict()
    for name, tensor in expected.items():
        if name.endswith("num_batches_tracked") and name not in state:
            state = {**state, name: torch.zeros((), dtype=tensor.dtype)}
    missing = [name for name in expected if name not in state]
    left_over = [name for name in state if name not in expected]
    other = [
        f"{name} {tuple(state[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    found = [
        f"{what}: {_listed(names)}"
        for what, names in (("missing", missing), ("left over", left_over), ("of another shape", other))
        if names
    ]
    if found:
        raise WeightsError(
            f"{path} does not hold the weights of {model} ({'; '.join(found)}). "
            "Use the published file, and copy it again if it was cut short."
        )
    module.load_state_dict({name: state[name].to(tensor.dtype) for name, tensor in expected.items()}, assign=True)


def _listed(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def readable(size: float | None) -> str:
    """Bytes for people; `unknown` for None.

    >>> readable(2_600_000_000)
    '2.6 GB'
    """
    if size is None:
        return "unknown"
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            break
        size, unit = size / 1000, {"bytes": "kB", "kB": "MB", "MB": "GB"}[unit]
    return f"{size:.0f} {unit}" if unit in ("bytes", "kB") else f"{size:.1f} {unit}"


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
            raise damaged(self.path, "their checksum is not the one on their card")

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

    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=_ROOT, capture_output=True, text=True, timeout=10
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
