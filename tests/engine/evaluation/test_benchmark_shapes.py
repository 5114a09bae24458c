"""The benchmark of shapes: what a run keeps, goes on with and tells, with a generator of its own."""

import numpy as np
import pytest
import trimesh

from engine.core.errors import EmptyResultError, InputError
from engine.meshes.mesh import Mesh
from tests.benchmarks import shapes
from tests.benchmarks.shapes import ShapesOptions, add_shapes, measure_shapes, model_folders, read_mesh, read_rows
from tests.benchmarks.sheet import write_sheets
from tests.benchmarks.table import Table
from tests.engine.evaluation.models import building


class BallGenerator:
    """Takes everything for a ball, and sees nothing in the second picture."""

    calls = 0

    @classmethod
    def load(cls):
        return cls()

    def estimate_elevation(self, image, lens=1.0):
        return 20.0

    def mesh(self, image, elevation):
        type(self).calls += 1
        if type(self).calls == 2:
            raise EmptyResultError("nothing solid")
        ball = trimesh.creation.icosphere(3, 0.4)
        return Mesh(np.asarray(ball.vertices, np.float32), np.asarray(ball.faces, np.int32))


@pytest.fixture
def options(tmp_path, monkeypatch):
    models = tmp_path / "models" / "gso"
    models.mkdir(parents=True)
    for i in range(2):
        building(i).export(models / f"house {i}.ply")
    monkeypatch.setattr(shapes, "BuiltInGenerator", BallGenerator)
    monkeypatch.setattr(shapes, "_eyes", lambda: ({}, {"clip": "No weights of CLIP."}))
    BallGenerator.calls = 0
    folders = model_folders([], str(tmp_path / "models"))
    return ShapesOptions(tmp_path / "run", tmp_path / "cache", folders, ("gso", "artists"))


def test_a_run_goes_on_where_it_ended_and_says_what_is_missing(options, tmp_path):
    table = Table()
    measure_shapes(table, options)
    rows = {(row.group, row.figure): row for row in table.rows}
    missing = rows["artists' models of buildings", "not measured"]
    assert missing.value is None and "real-buildings" in missing.note
    assert rows["shapes", "clip: not measured"].note == "No weights of CLIP."
    far = rows["Google Scanned Objects (2)", "F-score at 0.05 of the far side"]
    assert 0 < far.value < 1 and "grey box 0." in far.note and "visual hull 0." in far.note and "beaten on" in far.note
    assert rows["Google Scanned Objects (2)", "objects of which nothing was found"].note == "house 1.ply"
    assert rows["Google Scanned Objects (2)", "elevation error, median"].value == pytest.approx(10)
    assert read_mesh(options.out, "gso", "house 0.ply") is not None
    assert read_mesh(options.out, "gso", "house 1.ply") is None

    records = options.out / "shapes.jsonl"
    whole = records.read_text().splitlines(True)
    records.write_text(whole[0] + whole[1][:40])
    measure_shapes(Table(), options)
    assert BallGenerator.calls == 3, "only the torn one"
    assert len(read_rows(options.out)) == 2
    (sheet,) = write_sheets(tmp_path / "sheet.png", options, options.out)
    assert sheet.stat().st_size > 10_000


def test_two_runs_are_compared_object_by_object():
    def row(name, value):
        of = {key: {"f_score": value - less} for key, less in (("ours", 0.0), ("box", 0.2), ("own_box", -0.1))}
        return {"set": "gso", "name": name, "elevation_error": 1.0, **of}

    after = [row(str(i), 0.5 + 0.03 * i) for i in range(8)]
    before = {("gso", str(i)): row(str(i), 0.4 + 0.03 * i) for i in range(7)}
    table = Table()
    add_shapes(table, "things", after, before)
    note = next(r.note for r in table.rows if r.figure == "F-score at 0.05")
    assert "grey box 0.405, beaten on 100% (p 0.0078)" in note
    assert "box along the object's axes 0.705, beaten on 0% (p 0.0078)" in note
    assert "before 0.490, better on 7, worse on 0 (p 0.0156)" in note


def test_folders_and_sets_that_do_not_exist(tmp_path):
    assert model_folders(["gso=/there"], None)["gso"].as_posix() == "/there"
    for text in ("gso", "heldout=/x", "cars=/x"):
        with pytest.raises(InputError, match="names no set of models"):
            model_folders([text], None)
    with pytest.raises(InputError, match="no test set 'cars'"):
        ShapesOptions(tmp_path, tmp_path, {}, ("cars",))
    assert read_rows(tmp_path) == {}
