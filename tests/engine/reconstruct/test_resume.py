"""Runs that go on: from what their folder holds, wherever they stopped, and whichever version left it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from engine import choices
from engine.core.errors import Cancelled
from engine.core.progress import CancelToken, Progress
from engine.reconstruct.options import STAGES, Options
from engine.reconstruct.run import Run
from engine.views import load_generator

FORMAT_1 = Path(__file__).parent / "files" / "format-1"
"""A run as it was left before the neighbours were a step of their own: tiny, and without its GLB."""


def steps_done(run: Run) -> list[str]:
    return json.loads((run.folder / "run.json").read_text())["stages_done"]


def results(folder: Path) -> dict[str, bytes]:
    """What a run has left, but for the records of its times."""
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name not in ("run.json", "report.json")}


@pytest.mark.usefixtures("tiny_draft")
@pytest.mark.parametrize("method", choices.METHODS)
def test_a_run_that_stops_after_every_step_ends_as_one_that_never_stops(method, house_picture, tmp_path):
    options = Options(quality="draft", method=method)
    whole = Run.create(house_picture, tmp_path / "whole", options)
    whole.execute()
    run, stops = Run.create(house_picture, tmp_path / "stopped", options), []
    while run.status != "done":
        before, token = steps_done(run), CancelToken()

        def watch(event: Progress, run: Run = run, before: list[str] = before, token: CancelToken = token) -> None:
            if steps_done(run) != before:
                token.cancel()

        try:
            run.execute(watch, token, start="texture")
        except Cancelled:
            stops.append(run.stages_done)
        run = Run.open(run.folder)
    assert stops == [
        ("foreground",),
        ("foreground",),
        ("foreground", "elevation"),
        ("foreground", "views", "elevation"),
        ("foreground", "views", "elevation", "surface"),
    ]
    assert results(run.folder) == results(whole.folder)
    # Begun again from the elevation, the same neighbours give the same estimate.
    run.execute(start="elevation")
    assert results(run.folder) == results(whole.folder)
    assert tuple(run.report["stages"]) == STAGES


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Folder of a finished run of format 1."""
    return Path(shutil.copytree(FORMAT_1, tmp_path / "run"))


def change_record(folder: Path, **changes: object) -> None:
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_run_of_format_1_opens_and_shows_what_it_has(old):
    run = Run.open(old)
    assert (run.name, run.status, run.stages_done) == ("house", "done", STAGES)
    assert run.principal_views().shape == (8, 64, 64, 4)
    assert run.mesh().texture.shape == (64, 64, 3)
    assert run.elevation().value == pytest.approx(json.loads((old / "elevation.json").read_text())["value"])
    assert tuple(run.report["stages"]) == STAGES


@pytest.mark.usefixtures("tiny_draft")
def test_a_run_of_format_1_goes_on_where_it_stopped(old):
    before = Run.open(old)
    seconds = before.report["stages"]["views"]["seconds"]
    stages: list[str] = []
    before.execute(lambda event: stages.append(event.stage), start="texture")
    assert set(stages) == {"texture"} and (old / "mesh.glb").exists()
    after = Run.open(old)
    assert (after.status, after.stages_done) == ("done", STAGES)
    assert after.report["stages"]["views"]["seconds"] == seconds
    assert np.array_equal(before.surface().vertices, after.surface().vertices)
    # It stopped in the views, of which the first rest on no elevation.
    change_record(old, format=1, status="cancelled", stages_done=["foreground", "elevation"])
    stages.clear()
    run = Run.open(old)
    assert run.stages_done == ("foreground", "elevation")
    run.execute(lambda event: stages.append(event.stage), start="texture")
    assert list(dict.fromkeys(stages)) == list(STAGES[1:])
    assert np.array_equal(Run.open(old).surface().faces, before.surface().faces)


@pytest.mark.usefixtures("tiny_draft")
def test_the_elevation_of_a_run_of_format_1_is_estimated_on_neighbours_of_its_own(old):
    change_record(old, format=1)
    run = Run.open(old)
    value = load_generator().estimate_elevation(run.framed())
    assert run.change(elevation=40.0) == "elevation"
    run.execute(start="elevation")
    assert run.elevation().value == 40.0 and run.neighbours() is None
    assert run.change(elevation=None) == "views"
    run.execute()
    assert run.elevation().value == pytest.approx(value, abs=2) and len(run.neighbours()) == 4
