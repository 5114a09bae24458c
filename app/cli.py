"""The command line: what each word after `oriel` does stands in a module of `app.commands`, imported for it alone."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from app import options
from app.reporting import BAD_INPUT, INTERRUPTED, complain
from app.settings import Settings
from engine.core.errors import Cancelled, OrielError

COMMANDS = {
    "reconstruct": "reconstruct a mesh from each picture",
    "runs": "list, show, delete or resume runs",
    "demo": "reconstruct a bundled picture and draw its mesh from four sides",
    "weights": "list, fetch, check, use or remove model weights",
    "doctor": "check what is installed, the device and the weights",
    "crawl": "collect 3D models: search, run, retry, status, credits, token, login",
    "screen": "judge models as a team: split, merge, conflicts, stats, list",
    "evaluate": "measure predicted meshes against true models, and write a report",
    "render": "render models: run, status, watch, retry, preview, frame, worker",
    "finetune": "fine-tune the surface network on rendered models",
    "study": "the study of fine-tuning on buildings, in miniature, from models to report",
    "data": "procedural architecture: contact sheets, GLB export",
    "train": "train the built-in weights: views, shape or surface",
}
_ABOUT = "One picture in, a textured 3D mesh out. Without a command the window opens."


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 2 for what the user can put right, 130 when interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        name = options.choose("oriel", COMMANDS, words, "COMMAND", _ABOUT)
        Settings.load().apply_weights()
        module = importlib.import_module(f"app.commands.{name}")
        return options.run(f"oriel {name}", module.COMMANDS, words[1:] or getattr(module, "DEFAULT", []))
    except OrielError as error:
        complain(str(error))
        return BAD_INPUT
    except (Cancelled, KeyboardInterrupt):
        complain("interrupted.")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of the output (`| head`) has gone; nothing is left to be said to it.
        sys.stderr.close()
        return 0
