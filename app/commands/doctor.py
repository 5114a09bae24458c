"""`oriel doctor`: what is installed, the device and the weights."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from app.options import option
from app.reporting import BAD_INPUT, say_json


def doctor(*, json: Annotated[bool, option("print JSON")] = False) -> int:
    """Check what is installed, the device and the weights."""
    from app.doctor import examine

    checks = examine()
    if json:
        say_json([dataclasses.asdict(check) for check in checks])
    else:
        signs = {"ok": "ok", "note": "--", "problem": "!!"}
        group = ""
        for check in checks:
            if check.group != group:
                group = check.group
                print(group)
            print(f"  {signs[check.status]}  {check.name:<26} {check.detail}")
    return BAD_INPUT if any(check.status == "problem" for check in checks) else 0


COMMANDS = doctor
