"""What a fine-tuning run depends on."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from engine.core.errors import InputError
from engine.core.options import Option, check, limits_of

LOSSES = ("rgb", "mask", "eikonal", "sparsity", "depth")
"""Terms of the loss, each an option of `FineTuneOptions` that weighs it."""


@dataclass(frozen=True)
class FineTuneOptions:
    """How the surface network is fine-tuned. The defaults are those of the study that did it for buildings."""

    weights: Annotated[str, Option(flags=("--from",), metavar="WEIGHTS")] = "built-in"
    """What to start from: `built-in`, `one-2-3-45`, or a file of weights."""
    config: str | None = None
    """Name of a configuration (`built-in`, `compact`, `published`) to train from nothing instead."""
    epochs: Annotated[float, Option(1e-4, 1e6)] = 3.0
    """How often each view of each training model is looked at."""
    steps: Annotated[int | None, Option(1, 1e9)] = None
    """Most steps, whatever the epochs say."""
    rays: Annotated[int, Option(1, 16384)] = 512
    """Rays of a batch: all of one view of one model."""
    accumulate: Annotated[int, Option(1, 4096)] = 1
    """Batches a step in each process; their gradients are added up."""
    rate: Annotated[float, Option(0, 1)] = 2e-4
    """Learning rate (Adam)."""
    halve_at: Annotated[tuple[int, ...], Option(nargs="*")] = (100_000, 150_000, 200_000)
    """Steps at which the rate is halved, as in SparseNeuS."""
    rgb: Annotated[float, Option(0, 1e6)] = 1.0
    """Weight of the colours' L1 error."""
    mask: Annotated[float, Option(0, 1e6)] = 0.1
    """Weight of the error of the rays' accumulated weight against the binary mask."""
    mask_loss: Annotated[str, Option(choices=("bce", "l1"))] = "bce"
    """Its form: `bce` (cross-entropy) or `l1`."""
    eikonal: Annotated[float, Option(0, 1e6)] = 0.1
    """Weight of the gradients' deviation from unit length."""
    sparsity: Annotated[float, Option(0, 1e6)] = 0.02
    """Weight of the penalty on surfaces in free space."""
    decay: Annotated[float, Option(0, 1e6)] = 100.0
    """How fast that penalty fades with distance, per world unit."""
    depth: Annotated[float, Option(0, 1e6)] = 0.0
    """Weight of the depth's L1 error on foreground rays: the study saw the model collapse with it."""
    sharpness: Annotated[float | None, Option(1, 1e5)] = None
    """NeuS's s at the end of the run, reached geometrically from what it is at the start; None: it is learned."""
    sources: Annotated[int, Option(2, 32)] = 32
    """How many of the 32 source views features are taken from in a step; the fewer, the faster."""
    predicted_share: Annotated[float, Option(0, 1)] = 1.0
    """Share of the principal views whose four neighbours are the view generator's; those of the others are the
    folder's own. Give 0 for a published folder: its neighbours are predictions already."""
    predicted_from: Annotated[str, Option(choices=("each", "one"))] = "each"
    """What the generator draws from: of `each` principal view its neighbours, as in One-2-3-45, or all 32 views from
    `one` of them, as in use. Views from several do not quite agree: a network that learns on them from a generator
    whose own views agree learns to inflate. Those from one are brought to the true model's size and place."""
    generator: str = "built-in"
    """The view generator: a name, or a file of weights of the built-in one's kind."""
    foreground_share: Annotated[float, Option(0, 1)] = 0.75
    """Share of the rays that are drawn from the object and its rim, the others from the whole picture."""
    coarse: Annotated[int, Option(4, 512)] = 32
    """Samples along a ray, spread evenly."""
    fine: Annotated[int, Option(1, 512)] = 16
    """Further samples where the surface seems to be."""
    precision: Annotated[str, Option(choices=("no", "bf16", "fp16"))] = "no"
    """Mixed precision. Distances are always computed in single precision."""
    device: Annotated[str, Option(choices=("auto", "cpu", "cuda"))] = "auto"
    """Where to train."""
    seed: Annotated[int, Option(0, 2**32 - 1)] = 0
    """Seed of the order, the rays, and the split if the folder has none."""
    checkpoint_every: Annotated[int, Option(1, 1e9)] = 100
    """Steps between checkpoints."""
    keep: Annotated[int, Option(1, 1000)] = 3
    """Checkpoints that are kept, besides the best."""
    validate_every: Annotated[int, Option(0, 1e9)] = 0
    """Steps between validations; 0: after every epoch."""
    validate_models: Annotated[int, Option(0, 1e6)] = 8
    """Validation models that are looked at; 0 for none."""
    watch: Annotated[bool, Option(flags=("--no-watch",))] = True
    """Whether a collapse is rolled back; if not it is only noted."""
    rollbacks: Annotated[int, Option(0, 1000)] = 3
    """How often a run may go back to an earlier checkpoint before it gives up."""
    skip_faulty: bool = False
    """Whether models with missing or damaged files are left out instead of refused."""
    cache: Annotated[Path | None, Option(metavar="DIR")] = None
    """Folder of the predicted views; None: in the folder of the renders."""

    def __post_init__(self) -> None:
        check(self)
        if not any(getattr(self, name) for name in LOSSES):
            raise InputError("All losses have the weight 0: there is nothing to learn. Give one of them a weight.")

    def plan(self, examples: int, processes: int = 1) -> tuple[int, int]:
        """Steps of a run with so many examples an epoch, and between two of its validations."""
        batch = self.accumulate * processes
        steps = max(1, round(self.epochs * examples / batch))
        every = self.validate_every or max(1, examples // batch)
        return (steps if self.steps is None else min(steps, self.steps)), every

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FineTuneOptions:
        """The inverse of `to_dict`; names that are not known are left out."""
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        if "halve_at" in known:
            known["halve_at"] = tuple(known["halve_at"])
        if known.get("cache") is not None:
            known["cache"] = Path(known["cache"])
        return cls(**known)

    def differences(self, earlier: dict[str, Any]) -> list[str]:
        """What keeps a run with these options from going on where one with the `earlier` ones stopped."""
        mine = self.to_dict()
        return [
            f"{_spoken(name)} was {earlier[name]} and is {value}"
            for name, value in mine.items()
            if name not in FREE and name in earlier and earlier[name] != value
        ]


LIMITS = limits_of(FineTuneOptions)
"""Least and greatest value of each number among the options."""
PUBLIC = (
    "weights",
    "config",
    "epochs",
    "steps",
    "rays",
    "rate",
    "depth",
    "sources",
    "predicted_share",
    "generator",
    "device",
    "seed",
    "skip_faulty",
)
"""Options that the help of the command line lists; the others are for who knows what they do."""
FREE = ("epochs", "steps", "checkpoint_every", "keep", "rollbacks", "device", "cache", "skip_faulty")
"""Options that a resumed run may have otherwise: they do not change a step."""


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _spoken(name: str) -> str:
    return name.replace("_", " ")
