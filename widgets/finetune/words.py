"""How fine-tuning is put into words: its states, its stages, its figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RUN_STATES = {
    "starting": "Starting…",
    "running": "Running",
    "paused": "Paused",
    "stopping": "Stopping…",
}
LOOK_STATES = {
    "best": ("Best", "good"),
    "latest": ("Latest", "accent"),
    "earlier": ("Earlier", "muted"),
    "empty": ("Empty", "error"),
}
"""Words and colour of what a validation found of a model."""
FIGURES = {"f_score": "F-score", "mask_iou": "Mask IoU", "psnr": "PSNR"}
_SHOWN = ("loss", "rgb", "mask", "eikonal", "sparsity", "depth")


def figure(name: str, value: float | None) -> str:
    """A validation figure as text: `0.613`, `21.4 dB`; empty for none."""
    if value is None:
        return ""
    return f"{value:.1f} dB" if name == "psnr" else f"{value:.3f}"


def log_line(row: Mapping[str, Any]) -> str:
    """A row of the log as a line."""
    head = f"step {row.get('step', 0):,.0f}"
    if row.get("message"):
        return f"{head}  {row['message']}"
    if row.get("kind") == "validate":
        found = [f"{label} {figure(name, row[name])}" for name, label in FIGURES.items() if name in row]
        return f"{head}  validation: {', '.join(found)}"
    return "  ".join([head, *(f"{name} {row[name]:.3g}" for name in _SHOWN if name in row)])
