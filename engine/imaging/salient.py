"""The object of a photograph without a click: salient object detection by U-2-Net (Qin et al. 2020) and its like.

rembg's sessions run the networks: U-2-Net small (`u2netp`, 4.6 MB, 0.3 s on two cores, there after set-up), U-2-Net,
IS-Net and BiRefNet, which a user may fetch. What they find at 320 or 1024 px is sharpened by `foreground`.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine import choices, weights
from engine.core.errors import WeightsError

ByteArray = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]

KEYS = choices.FOREGROUNDS["salient"].weights
"""The registry's models of this kind, the best first."""

_lock = threading.Lock()
_session: tuple[Path, Any] | None = None


def available() -> bool:
    """Whether one of the networks is on this machine. Reads no file."""
    return choices.present("foreground", "salient")


def find_salient(rgb: ByteArray, model: str | Path | None = None) -> tuple[FloatArray, Path]:
    """How much each pixel of a picture (H, W, 3) belongs to what stands out in it (H, W) in 0..1, and who said so.

    `model` is one of `KEYS` or a file of weights named as the registry has it; without it the best that is there.
    The network stays in memory for the next picture. WeightsError for weights that are missing or damaged.
    """
    if model is None and (located := choices.find("foreground", "salient")) is not None:
        key, path = located.model.key, located.path
    elif model is None or str(model) in KEYS:
        key = str(model or KEYS[-1])
        path = weights.require(key)
    else:
        path = Path(model)
        key = path.stem
    session = _loaded(path, key)
    found = session.predict(Image.fromarray(np.ascontiguousarray(rgb)))[0]
    return np.asarray(found, np.float32) / np.float32(255), path


def _loaded(path: Path, key: str) -> Any:
    global _session
    with _lock:
        if _session is None or _session[0] != path:
            import onnxruntime
            from rembg.sessions import sessions_class

            kind = next((session for session in sessions_class if session.name() == key and key in KEYS), None)
            if kind is None:
                raise WeightsError(f"{path} is named as none of the networks {', '.join(KEYS)}. Rename it.")
            # rembg would look for the file, and download it, by itself.
            here = type(kind.__name__, (kind,), {"download_models": classmethod(lambda *_, **__: str(path))})
            try:
                _session = path, here(key, onnxruntime.SessionOptions(), providers=["CPUExecutionProvider"])
            except Exception as error:  # the runtime has a dozen types of its own, none of them public
                raise WeightsError(
                    f"The weights {path} cannot be read ({type(error).__name__}). Copy or download them again."
                ) from error
        return _session[1]
