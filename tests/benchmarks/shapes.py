"""Shapes on the test sets: how good a mesh is on the side that its picture does not show, beside what costs nothing.

Each object's mesh is measured beside the grey box of its true bounds (along the axes of the reconstruction, and along
its own) and the visual hull of its input picture. A folder keeps the run: `shapes.jsonl`, one object a line, appended
as they come and gone on with, and `meshes/SET/NAME.npz`, so that two runs can be put beside each other.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from engine import weights
from engine.core.errors import EmptyResultError, InputError, WeightsError
from engine.core.files import read_object, write_whole
from engine.evaluation.clip import ClipSimilarity
from engine.evaluation.likeness import Likeness
from engine.evaluation.metrics import probability
from engine.evaluation.statistics import compare
from engine.meshes.mesh import Mesh
from engine.reconstruct.options import Options
from engine.reconstruct.run import Run
from engine.views.builtin import BuiltInGenerator
from tests.benchmarks.baselines import bounding_box, input_hull
from tests.benchmarks.quality import as_png
from tests.benchmarks.table import Table
from tests.benchmarks.testsets import TEST_SETS, VERSION, TestObject

RECORDS, MESHES = "shapes.jsonl", "meshes"
BASELINES = {"box": "grey box", "own_box": "box along the object's axes", "hull": "visual hull"}
BUILDINGS = ("artists", "sketchfab")
"""Sets that are told together as well: buildings that no generator of ours has made."""
FIGURES = {
    "f_score": ("F-score at 0.05", True),
    "far_f_score": ("F-score at 0.05 of the far side", True),
    "volume_iou": ("volume IoU", True),
    "chamfer": ("Chamfer distance in sides", False),
    "normal_consistency": ("normal consistency", True),
    "rear_mask_iou": ("mask IoU from behind", True),
    "rear_ssim": ("SSIM from behind", True),
    "rear_likeness": ("likeness from behind (EfficientNet-Lite0)", True),
    "rear_clip": ("CLIP similarity from behind", True),
    "silhouette_iou": ("silhouette IoU in the input's camera", True),
}
"""Label of each figure of `TestObject.measure`, and whether more of it is better."""
Rows = dict[tuple[str, str], dict[str, Any]]
"""What was measured, by set and object's name."""


@dataclass(frozen=True)
class ShapesOptions:
    """What is measured, and against what."""

    out: Path
    """Folder of the run."""
    cache: Path
    """Folder of what does not depend on the run: carved solids and the baselines' figures."""
    models: dict[str, Path]
    """Folders of models by set; see `model_folders`."""
    sets: tuple[str, ...] = tuple(TEST_SETS)
    counts: dict[str, int] = field(default_factory=dict)
    """How many objects of a set, the first ones; all where nothing is said."""
    final: bool = False
    """Whether the pipeline's final mesh is measured, rather than the generator's own solid."""
    true_elevation: bool = False
    """Whether the input's true elevation is given, rather than estimated."""
    against: Path | None = None
    """Folder of another run, or its records."""

    def __post_init__(self) -> None:
        if unknown := [key for key in self.sets if key not in TEST_SETS]:
            raise InputError(f"There is no test set {unknown[0]!r}. There are: {', '.join(TEST_SETS)}.")

    def wanted(self) -> tuple[list[tuple[str, str]], dict[str, str]]:
        """Sets and names of the objects; and of sets without models, why they are left out."""
        found, missing = [], {}
        for key in self.sets:
            try:
                found += [(key, name) for name in TEST_SETS[key].names(self.models.get(key))[: self.counts.get(key)]]
            except InputError as error:
                missing[key] = str(error)
        return found, missing

    def load(self, key: str, name: str) -> TestObject:
        """One of the objects."""
        return TEST_SETS[key].load(name, self.models.get(key), self.cache / "solids")


def model_folders(named: list[str], root: str | None) -> dict[str, Path]:
    """Folders of models by set, from `NAME=FOLDER` texts and a folder that holds all under their usual names."""
    found = {key: Path(root).expanduser() / each.folder for key, each in TEST_SETS.items() if root and each.folder}
    for text in named:
        key, _, folder = text.partition("=")
        if not folder or not (key in TEST_SETS and TEST_SETS[key].folder):
            names = ", ".join(key for key, each in TEST_SETS.items() if each.folder)
            raise InputError(f"{text!r} names no set of models. Write NAME=FOLDER with NAME one of {names}.")
        found[key] = Path(folder).expanduser()
    return found


def measure_shapes(table: Table, options: ShapesOptions) -> None:
    """Measure what the run's folder does not hold yet, and add a table for each set; those without models are told.

    The built-in generator's weights are those that the registry finds.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    generator = BuiltInGenerator.load()
    settings = {
        "version": VERSION,
        "meshes": "final" if options.final else "generator",
        "elevation": "true" if options.true_elevation else "estimated",
        "weights": weights.sha256(weights.find("views").path)[:16],
    }
    wanted, missing = options.wanted()
    for key, reason in missing.items():
        table.add(TEST_SETS[key].label, "not measured", None, "", reason)
    done = {pair: row for pair, row in read_rows(options.out).items() if row.get("settings") == settings}
    eyes, blind = _eyes()
    for name, reason in blind.items():
        table.add("shapes", f"{name}: not measured", None, "", reason)
    records = options.out / RECORDS
    if records.exists() and not records.read_bytes().endswith(b"\n"):  # torn by a kill
        write_whole(records, records.read_bytes() + b"\n")
    with records.open("a") as lines:
        left = [pair for pair in wanted if pair not in done]
        for key, name in tqdm(left, desc="shapes", unit="object", disable=None):
            obj = options.load(key, name)
            row = {"set": key, "name": name, "settings": settings} | _measure(obj, key, options, generator, eyes)
            done[key, name] = row
            lines.write(json.dumps(row) + "\n")
            lines.flush()
    before = {} if options.against is None else read_rows(options.against)
    for key in options.sets:
        add_shapes(table, TEST_SETS[key].label, [done[pair] for pair in wanted if pair[0] == key], before)
    pooled = [done[pair] for pair in wanted if pair[0] in BUILDINGS]
    if len({row["set"] for row in pooled}) == len(BUILDINGS):
        add_shapes(table, "buildings of both sets", pooled, before)


def read_rows(run: Path) -> Rows:
    """The lines of a run's records (the file, or its folder), the last of each object; none where there is no file."""
    path = run / RECORDS if run.is_dir() else run
    found: Rows = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
            found[row["set"], row["name"]] = row
        except (ValueError, KeyError, TypeError):
            continue  # torn: measured again
    return found


def add_shapes(table: Table, label: str, rows: list[dict[str, Any]], before: Rows) -> None:
    """Add the means of a set's figures, in each note the baselines' and `before`'s, with tests by pairs."""
    if not rows:
        return
    group = f"{label} ({len(rows)})"
    for key, (figure, more_is_better) in FIGURES.items():
        ours = _values(rows, "ours", key)
        if np.isnan(ours).all():
            continue
        notes = [
            _against(ours, _values(rows, name, key), more_is_better, f"{text} {{mean:.3f}}, beaten on {{share:.0%}}")
            for name, text in BASELINES.items()
        ]
        past = [before.get((row["set"], row["name"]), {}) for row in rows]
        notes.append(_against(ours, _values(past, "ours", key), more_is_better, _BEFORE))
        fewer = f"{np.isfinite(ours).sum()} of {len(ours)}" if not np.isfinite(ours).all() else ""
        table.add(group, figure, ours[np.isfinite(ours)].mean(), "", "; ".join(filter(None, (*notes, fewer))))
    errors = np.array([row.get("elevation_error", np.nan) for row in rows])
    if np.isfinite(errors).any():
        past = [before.get((row["set"], row["name"]), {}) for row in rows]
        others = np.array([row.get("elevation_error", np.nan) for row in past])
        note = _against(errors, others, False, _BEFORE, np.median)
        table.add(group, "elevation error, median", np.nanmedian(errors), "deg", note)
        table.add(group, "elevation error, 90th percentile", np.nanquantile(errors, 0.9), "deg")
    empty = [row["name"] for row in rows if "failed" in row]
    if empty:
        table.add(group, "objects of which nothing was found", len(empty), "", ", ".join(empty)[:200])


_BEFORE = "before {mean:.3f}, better on {better}, worse on {worse}"


def _values(rows: list[dict[str, Any]], of: str, key: str) -> np.ndarray:
    return np.array([row.get(of, {}).get(key, np.nan) for row in rows], np.float64)


def _against(
    ours: np.ndarray, other: np.ndarray, more_is_better: bool, form: str, middle: Callable[..., float] = np.mean
) -> str:
    """What `form` makes of the comparison of paired values (N,), with Wilcoxon's p; empty where nothing pairs."""
    both = np.isfinite(ours) & np.isfinite(other)
    found = compare(other[both], ours[both], higher_is_better=more_is_better)
    if found is None:
        return ""
    share = found.better / found.count
    text = form.format(mean=middle(other[both]), better=found.better, worse=found.worse, share=share)
    return f"{text} (p {probability(found.wilcoxon_p, found.count)})"


def _eyes() -> tuple[dict[str, Likeness | ClipSimilarity], dict[str, str]]:
    """What judges likeness; and of what is not on this machine, why."""
    found: dict[str, Likeness | ClipSimilarity] = {}
    missing = {}
    for name, make in (("likeness", Likeness), ("clip", ClipSimilarity)):
        try:
            found[name] = make()
        except WeightsError as error:
            missing[name] = str(error)
    return found, missing


def _measure(
    obj: TestObject, key: str, options: ShapesOptions, generator: BuiltInGenerator, eyes: dict[str, Any]
) -> dict[str, Any]:
    row: dict[str, Any] = {"elevation": obj.elevation}
    mesh, elevation = None, obj.elevation
    try:
        if options.final:
            mesh, elevation = _final(obj, options.true_elevation)
        else:
            if not options.true_elevation:
                elevation = generator.estimate_elevation(obj.image) or 0.0
            mesh = generator.mesh(obj.image, elevation)
    except EmptyResultError as error:
        row["failed"] = str(error)
    if mesh is not None:
        write_mesh(options.out, key, obj.name, mesh)
        if not options.true_elevation:
            row["elevation_error"] = abs(elevation - obj.elevation)
    return row | {"ours": obj.measure(mesh, elevation, eyes)} | _baselines(obj, key, options.cache, eyes)


def _final(obj: TestObject, true_elevation: bool) -> tuple[Mesh | None, float]:
    """The mesh of the pipeline as users run it, and the elevation that it was made for."""
    with tempfile.TemporaryDirectory(prefix="oriel-shapes-") as folder:
        chosen = Options(elevation=obj.elevation if true_elevation else None)
        run = Run.create(as_png(obj.image), Path(folder) / "run", chosen)
        run.execute()
        estimate = run.elevation()
        return run.mesh(), obj.elevation if estimate is None else estimate.value


def _baselines(obj: TestObject, key: str, cache: Path, eyes: dict[str, Any]) -> dict[str, Any]:
    """Figures of the baselines by name; kept, for they are the same in every run."""
    stamp = hashlib.sha256(obj.image.tobytes() + json.dumps([VERSION, *BASELINES, *eyes]).encode()).hexdigest()
    path = cache / "baselines" / key / f"{obj.name}.json"
    kept = read_object(path) or {}
    if kept.get("stamp") != stamp:
        meshes = {
            "box": bounding_box(obj.truth),
            "own_box": bounding_box(obj.truth, obj.truth.model),
            "hull": input_hull(obj.truth, obj.image, obj.elevation),
        }
        kept = {"stamp": stamp} | {name: obj.measure(mesh, obj.elevation, eyes) for name, mesh in meshes.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(kept).encode())
    return {name: kept[name] for name in BASELINES}


def write_mesh(run: Path, key: str, name: str, mesh: Mesh) -> None:
    """Keep an object's mesh in a run's folder."""
    path = _mesh_path(run, key, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **{part: array for part, array in vars(mesh).items() if array is not None})


def read_mesh(run: Path, key: str, name: str) -> Mesh | None:
    """An object's mesh in a run's folder; None where there is none."""
    path = _mesh_path(run, key, name)
    if not path.exists():
        return None
    with np.load(path) as found:
        return Mesh(**found)


def _mesh_path(run: Path, key: str, name: str) -> Path:
    return run / MESHES / key / f"{name}.npz"
