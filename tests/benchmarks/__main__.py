"""`python -m tests.benchmarks`: measure, print one table, write it as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
import torch

from engine import weights
from engine.core.errors import OrielError
from tests.benchmarks.heldout import heldout_count
from tests.benchmarks.photos import measure_photos
from tests.benchmarks.published import measure_published
from tests.benchmarks.quality import measure_quality
from tests.benchmarks.ratios import measure_data, measure_extraction, measure_matchers
from tests.benchmarks.shapes import ShapesOptions, measure_shapes, model_folders
from tests.benchmarks.sheet import write_sheets
from tests.benchmarks.speed import measure_speed
from tests.benchmarks.table import Table
from tests.benchmarks.testsets import TEST_SETS


def main() -> int:
    """Returns 0, or 1 when something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    text = "objects to measure (default: 24 held-out ones, and all of the folders of models)"
    parser.add_argument("--count", type=int, help=text)
    parser.add_argument("--all", action="store_true", help="measure every held-out object")
    parser.add_argument(
        "--stage",
        choices=("speed", "quality", "shapes", "ratios", "photos", "published"),
        help="only this part (default: all but photos and published)",
    )
    parser.add_argument("--quality", choices=("draft", "standard", "fine"), default="standard", help="of held-out runs")
    parser.add_argument("--tiny", action="store_true", help="published: tiny models, to see on a CPU that all runs")
    parser.add_argument("--memory", type=float, help="published: budget of GPU memory in GB (default: what is free)")
    parser.add_argument(
        "--json",
        type=Path,
        default=Path("out/benchmarks.json"),
        help="where the figures are written, those of each object beside",
    )
    text = "photos: where they are, or are rendered to by Blender, a minute each (default out/photos)"
    parser.add_argument("--photos", type=Path, default=Path("out/photos"), metavar="FOLDER", help=text)
    shapes = parser.add_argument_group("shapes")
    text = f"of {', '.join(TEST_SETS)}, with commas between (default: all)"
    shapes.add_argument("--sets", metavar="NAMES", default=",".join(TEST_SETS), help=text)
    text = "folder of a set's models; repeat for others (default: under their usual names in ORIEL_TEST_MODELS)"
    shapes.add_argument("--models", metavar="NAME=FOLDER", action="append", default=[], help=text)
    text = "the generator's own solid (default) or the pipeline's final mesh"
    shapes.add_argument("--meshes", choices=("generator", "final"), default="generator", help=text)
    shapes.add_argument("--elevation", choices=("estimated", "true"), default="estimated", help="of the input's camera")
    shapes.add_argument("--weights", type=Path, metavar="FILE", help="of the built-in generator, instead of its own")
    text = "of the run: its records and meshes, gone on with if they are there (default out/shapes)"
    shapes.add_argument("--out", type=Path, default=Path("out/shapes"), metavar="FOLDER", help=text)
    text = "for carved solids and the baselines' figures (default out/shapes-cache)"
    shapes.add_argument("--cache", type=Path, default=Path("out/shapes-cache"), metavar="FOLDER", help=text)
    text = "another run to compare with: its folder, or its shapes.jsonl"
    shapes.add_argument("--against", type=Path, metavar="RUN", help=text)
    shapes.add_argument("--sheet", type=Path, metavar="PNG", help="draw the meshes beside the truth, a picture a set")
    shapes.add_argument("--before", type=Path, metavar="FOLDER", help="another run, drawn on the sheet as well")
    arguments = parser.parse_args()
    load_before = psutil.getloadavg()[2]
    count = heldout_count() if arguments.all else max(1, min(arguments.count or 24, heldout_count()))

    def measure_all_shapes() -> None:
        if arguments.weights is not None:
            weights.set_paths({"views": arguments.weights})
        options = ShapesOptions(
            arguments.out,
            arguments.cache,
            model_folders(arguments.models, os.environ.get("ORIEL_TEST_MODELS")),
            tuple(key.strip() for key in arguments.sets.split(",")),
            {key: arguments.count for key in TEST_SETS if arguments.count} | {"heldout": count},
            arguments.meshes == "final",
            arguments.elevation == "true",
            arguments.against,
        )
        measure_shapes(table, options)
        if arguments.sheet is not None:
            for path in write_sheets(arguments.sheet, options, arguments.before):
                print(f"written to {path}")

    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    objects = arguments.json.with_suffix(".objects.jsonl")
    table, complete = Table(), True
    with tempfile.TemporaryDirectory(prefix="oriel-bench-") as scratch:
        folder = Path(scratch)
        parts: list[tuple[str, Callable[[], None]]] = [
            ("speed", lambda: measure_speed(table, folder / "speed")),
            ("quality", lambda: measure_quality(table, folder / "quality", objects, count, arguments.quality)),
            ("shapes", measure_all_shapes),
            ("ratios", lambda: measure_extraction(table)),
            ("ratios", lambda: measure_matchers(table, min(count, 24))),
            ("ratios", lambda: measure_data(table)),
        ]
        if arguments.stage == "photos":
            parts.append(("photos", lambda: measure_photos(table, arguments.photos)))
        if arguments.stage == "published":
            options = {"tiny": arguments.tiny, "memory_gb": arguments.memory}
            parts.append(("published", lambda: measure_published(table, folder / "published", **options)))
        for name, measure in parts:
            if arguments.stage in (None, name):
                try:
                    measure()
                except OrielError as error:
                    complete = False
                    table.add(name, "not measured", None, "", str(error))
    machine = {
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU only",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load_before": load_before,
    }
    print(", ".join(f"{key.replace('_', ' ')}: {value}" for key, value in machine.items()))
    print()
    print(table.text())
    arguments.json.write_text(json.dumps({"machine": machine, "rows": table.to_json()}, indent=1))
    print(f"\nwritten to {arguments.json}")
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
