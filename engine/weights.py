"""The one registry of model weights.

Weights are a `NAME.safetensors` beside a card `NAME.json` that says what they are: `name`, `description`, `model`,
`sha256` and measured figures. They are looked for in the folder that `ORIEL_WEIGHTS` names, then in folders
that were added, then among those built in. A path of a file works in place of a name.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

BUILT_IN_FOLDER = Path(__file__).resolve().parent.parent / "resources" / "weights"
_added: list[Path] = []


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
    named = os.environ.get("ORIEL_WEIGHTS")
    return [*([Path(named)] if named else []), *_added, BUILT_IN_FOLDER]


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
    for folder in folders():
        path = folder / f"{name}.safetensors"
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


def save(path: Path, tensors: dict[str, Tensor], card: dict[str, Any]) -> None:
    """Write weights and their card, with the checksum added to it; both atomically."""
    from safetensors.torch import save_file

    partial = path.with_name(f".{path.name}.tmp")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial)
    text = json.dumps({**card, "sha256": sha256(partial)}, indent=2) + "\n"
    partial_card = path.with_name(f".{path.stem}.json.tmp")
    partial_card.write_text(text)
    partial.replace(path)
    partial_card.replace(path.with_suffix(".json"))


def sha256(path: Path) -> str:
    """Checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_header(path: Path) -> dict[str, Any]:
    """Names, types, shapes and places of the tensors in a safetensors file; WeightsError if it is damaged.

    Checks that the file is as long as its header says, which a download cut short is not.
    """
    damaged = WeightsError(f"The weights {path} are damaged or no safetensors file. Copy or download them again.")
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= 100_000_000:
                raise damaged
            header = json.loads(file.read(length))
        end = max((t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"), default=0)
        if path.stat().st_size != 8 + length + end:
            raise damaged
    except (ValueError, KeyError, TypeError, AttributeError):
        raise damaged from None
    except OSError as error:
        raise WeightsError(f"The weights {path} cannot be read: {error.strerror}.") from None
    return dict(header)
