"""`oriel demo`: a bundled picture and its mesh from four sides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from app.commands.reconstruct import Method, Quality
from app.commands.runs import execute
from app.history import free_folder
from app.options import option
from engine.reconstruct.options import Options
from engine.reconstruct.run import Run


def demo(
    *,
    output: Annotated[Path, option("folder for it", "-o", metavar="OUT")] = Path("out/demo"),
    sample: Annotated[str, option("name of the bundled picture")] = "church",
    quality: Quality = "standard",
    method: Method = None,
) -> None:
    """Reconstruct a bundled picture and draw its mesh from four sides."""
    from app import demo

    picture = demo.sample(sample)
    run = Run.create(picture, free_folder(output / picture.stem), Options(quality=quality, method=method or ""))
    execute(run, picture.name)
    sheet = run.folder / "sheet.png"
    demo.write_sheet(run, sheet)
    print(f"run folder  {run.folder}")
    print(f"mesh        {run.folder / 'mesh.glb'}")
    print(f"pictures    {sheet}")
    print(f"time        {run.report['seconds']:.1f} s, peak memory {run.report['peak_mb']:.0f} MB")


COMMANDS = demo
