"""Oriel's entry point: the window with no arguments, else the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run Oriel; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments:
        from app.cli import main as run_command

        return run_command(arguments)
    from app.window import run_window

    return run_window()


if __name__ == "__main__":
    sys.exit(main())
