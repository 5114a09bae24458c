"""A whole evaluation: pairs, measures, resume, and the report that comes of it."""

import csv
import json
import multiprocessing
import shutil
import threading
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import trimesh

from engine.core.errors import Cancelled, InputError, OutputError, WeightsError
from engine.core.progress import CancelToken
from engine.evaluation.measuring import Settings, measure_model, pack
from engine.evaluation.pairs import Model, Prediction, find_pairs
from engine.evaluation.report import read_results
from engine.evaluation.study import Begun, Evaluation, Options, read_measures
from tests.engine.evaluation.models import building, predicted, write_run, write_study
from tests.tiny_models import write_tiny_clip

HERE = Options(workers=0)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Three models: one with two good predictions, one of a run folder, and bad ones of every kind."""
    root = tmp_path_factory.mktemp("study")
    models, worse, better = write_study(root)
    (better / "house 1.ply").unlink()
    write_run(better / "house 1", predicted(building(1), 0.02, 21), 27.5)
    cases = {"house 1": {"elevation": 30.0}}
    (models / "cases.json").write_text(json.dumps(cases))
    shape = trimesh.load(worse / "house 2.ply")
    shape.vertices[5] = np.nan
    shape.export(worse / "house 2.ply")
    (better / "house 2.ply").unlink()
    building(3).export(models / "house 3.ply")
    trimesh.PointCloud(np.zeros((4, 3))).export(better / "house 3.ply")
    (better / "shed.ply").write_bytes((worse / "house 0.ply").read_bytes())
    clip = write_tiny_clip(root / "clip")
    options = Options(workers=0, clip=clip)
    events = []
    results = Evaluation(models, [worse, better], root / "out", options).run(events.append)
    return root, models, worse, better, options, results, events


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_the_better_predictions_are_better_in_everything(study):
    *_, results, events = study
    found = {key: results.data["paired"]["better"][key] for key in results.data["metrics"] if key != "elevation_error"}
    assert (found.pop("far_f_score") or {"count": 0})["count"] == 0, "two run folders of one model are needed"
    surface = {"f_score", "chamfer", "normal_consistency", "volume_iou"}
    assert set(found) == surface | {"clip", "likeness", "psnr", "ssim", "mask_iou"}
    for key, paired in found.items():
        assert (paired["count"], paired["better"]) == (2, 2), key
    rows = {(row["model"], row["predictions"]): row for row in table(results.folder)}
    assert float(rows["house 0", "better"]["f_score"]) > 0.9
    assert float(rows["house 1", "better"]["elevation_error"]) == pytest.approx(2.5)
    assert 0.8 < float(rows["house 1", "better"]["far_f_score"]) <= 1 and rows["house 0", "better"]["far_f_score"] == ""
    assert [event.stage for event in events][-1] == "report"
    assert events[-3].done == events[-3].total == 6


def test_what_is_bad_is_named_and_the_rest_went_on(study):
    *_, results, _ = study
    said = "\n".join(results.problems)
    assert "house 2 (worse): house 2.ply has vertices that are no numbers" in said
    assert "house 2 (better): There is no prediction of this name." in said
    assert "house 3 (worse): There is no prediction" in said and "house 3 (better): house 3.ply holds" in said
    assert len(results.problems) == 4
    assert results.data["notes"] == ["better holds predictions of no model: shed."]
    assert "LPIPS are not on this machine" in results.data["unavailable"]["lpips"]
    rows = {(row["model"], row["predictions"]): row for row in table(results.folder)}
    assert rows["house 2", "worse"]["f_score"] == "" and "no numbers" in rows["house 2", "worse"]["problem"]


def test_the_alignment_takes_the_files_onto_one_another(study):
    _, models, worse, _, _, results, _ = study
    sample = results.data["samples"][0]
    matrix = np.array(sample["predictions"]["better"]["alignment"]["matrix"])
    prediction = trimesh.load(worse.parent / "better" / "house 0.ply").apply_transform(matrix)
    truth = trimesh.load(models / "house 0.ply")
    assert np.abs(prediction.bounds - truth.bounds).max() < 0.06
    assert sample["predictions"]["better"]["alignment"]["inliers"] > 0.9


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.seen: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_shows_it_all(study):
    *_, results, _ = study
    text = results.page.read_text()
    page = Page(text)
    assert page.open == [] and page.seen.count("svg") >= 3
    assert page.sources and all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert "url(" not in text and "@import" not in text and "prefers-color-scheme: dark" in text
    for words in ("CLIP similarity", "Wilcoxon p", "house 2.ply has vertices", "Where the texture fails", "The best"):
        assert words in text, words
    assert text.count("Generated views") == 2, "of each sample that is shown"
    assert read_results(results.folder).data == results.data


def test_a_run_goes_on_where_it_ended_and_gives_the_same_table(study, tmp_path):
    root, models, worse, better, options, results, _ = study
    out = shutil.copytree(root / "out", tmp_path / "out")
    whole = (out / "results.csv").read_bytes()
    lines = (out / "measures.jsonl").read_bytes().splitlines(keepends=True)
    last = json.loads(lines[1])
    for name in ("results.csv", "results.json", "report.html"):
        (out / name).unlink()
    (out / "measures.jsonl").write_bytes(lines[0] + lines[1][: len(lines[1]) // 2])  # as a kill leaves it
    events = []
    cancel = CancelToken()

    def stop_at_first(event):
        events.append(event)
        if event.preview is not None and event.preview.figures:
            cancel.cancel()

    with pytest.raises(Cancelled):
        Evaluation(models, [worse, better], out, options).run(stop_at_first, cancel)
    assert not (out / "results.csv").exists() and events[0].done == 1
    first = next(event.preview for event in events if event.preview is not None)
    assert (first.label, first.name) == (last["label"], last["name"])
    events.clear()
    again = Evaluation(models, [worse, better], out, options).run(events.append)
    assert events[0].done > 1
    assert (out / "results.csv").read_bytes() == whole
    assert again.data["summary"] == results.data["summary"] and again.data["details"] == results.data["details"]


def test_a_changed_prediction_is_measured_again(study, tmp_path):
    root, models, worse, _, options, *_ = study
    changed = shutil.copytree(worse, tmp_path / "worse")
    out = shutil.copytree(root / "out", tmp_path / "out")
    before = table(out)
    predicted(building(0), 0.01, 5).export(changed / "house 0.ply")
    events = []
    Evaluation(models, [changed, root / "better"], out, options).run(events.append)
    measured = [event.preview.name for event in events if event.preview is not None and event.preview.figures]
    assert measured == ["house 0"]
    assert float(table(out)[0]["f_score"]) > float(before[0]["f_score"])


def test_a_machine_that_does_not_see_the_files_is_sent_them(study, tmp_path):
    _, models, _, better, *_ = study
    pairs = find_pairs(models, [better])
    model, prediction = pairs.models[1], pairs.predictions["better", "house 1"]
    settings = Settings(("chamfer",))
    sent = pack(model, [prediction])
    here = measure_model(model, [prediction], settings)
    gone = type(model)(model.name, tmp_path / "house 1.ply", model.case)
    assert measure_model(gone, [prediction], settings) is None
    there = measure_model(gone, [prediction], settings, sent)
    assert there[0].figures == here[0].figures and there[0].problem is None
    assert set(there[0].pictures) == {"mesh", "truth", "input", "views"}


def test_a_model_travels_with_the_files_that_it_uses(tmp_path):
    here, there = tmp_path / "here" / "shapes", tmp_path / "there"
    here.mkdir(parents=True)
    (here.parent / "skins").mkdir()
    (here.parent / "skins" / "wood.mtl").write_text("newmtl wood\nKd 1 0 0\n")
    (here / "other.obj").write_text("v 0 0 0\n")
    building(0).export(here / "house.obj")
    (here / "house.obj").write_text("mtllib ../skins/wood.mtl\n" + (here / "house.obj").read_text())
    prediction = Prediction("set", "house", here / "house.obj")
    sent = pack(Model("house", here / "house.obj"), [prediction])
    assert {Path(name).name for name in sent} == {"house.obj", "wood.mtl"}
    gone = Model("house", there / "house.obj")
    [found] = measure_model(gone, [replace(prediction, path=there / "house.obj")], Settings(("chamfer",)), sent)
    assert found.problem is None and found.figures["chamfer"] < 0.03


def test_what_cannot_be_evaluated_is_said_before_it_begins(tmp_path, study):
    _, models, worse, *_ = study
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, text in (
        ((tmp_path / "none", [worse]), "There is no folder"),
        ((models, []), "No predictions were given"),
        ((models, [worse, worse]), "given twice"),
        ((empty, [worse]), "holds no models"),
        ((models, [empty]), "None of the predictions has the name of a model"),
    ):
        with pytest.raises(InputError, match=text):
            Evaluation(*arguments, tmp_path / "out", HERE)
    with pytest.raises(InputError, match=r"no measure 'iou'.*volume_iou"):
        Options(metrics=("iou",))
    with pytest.raises(InputError, match=r"Nothing can be measured.*CLIP"):
        Evaluation(models, [worse], tmp_path / "out", Options(metrics=("clip",)))
    with pytest.raises(WeightsError, match=r"nothing\.bin"):
        Evaluation(models, [worse], tmp_path / "out", Options(clip=tmp_path / "nothing.bin"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        Evaluation(models, [worse], tmp_path / "file" / "out", HERE).run()
    with pytest.raises(InputError, match="No scheduler answers at tcp://127"):
        Evaluation(models, [worse], tmp_path / "out", Options(scheduler="tcp://127.0.0.1:1")).run()


def test_labels_names_and_bad_cases(tmp_path):
    models = tmp_path / "models"
    (models / "deep").mkdir(parents=True)
    for name in ("a.glb", "deep/a.obj", "b.ply", "b.stl"):
        (models / name).write_bytes(b"x")
    one, two = tmp_path / "one" / "out", tmp_path / "two" / "out"
    for folder in (one, two):
        (folder / "b").mkdir(parents=True)
        (folder / "b" / "mesh.obj").write_bytes(b"x")
        (folder / "b" / "mesh.glb").write_bytes(b"x")
    write_run(one / "a (2)", building(0), 10)
    record = json.loads((one / "a (2)" / "run.json").read_text())
    (one / "a (2)" / "run.json").write_text(json.dumps(record | {"name": "a"}))
    pairs = find_pairs(models, [one, two])
    assert pairs.labels == ["one/out", "two/out"]
    assert [model.name for model in pairs.models] == ["a", "b", "deep/a"]
    found = {key: prediction.path.name for key, prediction in pairs.predictions.items()}
    assert found == {("one/out", "a"): "a (2)", ("one/out", "b"): "mesh.glb", ("two/out", "b"): "mesh.glb"}
    assert pairs.notes == ["There are two models b; b.stl is left out."]
    for text in ("[]", '{"a": {"elevation": "high"}}', "{"):
        (models / "cases.json").write_text(text)
        with pytest.raises(InputError, match=r"cases\.json"):
            find_pairs(models, [one])


def test_of_few_pairs_no_interval_and_no_test_is_given(study):
    *_, results, _ = study
    found = results.data["paired"]["better"]["ssim"]
    assert found["count"] == 2 and found["t_p"] is None and found["difference"]["low"] is None
    assert results.data["details"]["labels"]["better"]["frequency"]["low"][0] is None
    text = results.page.read_text()
    assert "<td>too few</td>" in text and "too few models for an interval or a test" in text


def test_what_was_begun_is_kept(study):
    root, models, worse, better, options, *_ = study
    begun = Begun.read(root / "out")
    assert (begun.models, begun.predictions) == (models, (worse, better))
    assert begun.options == replace(options, workers=None)
    assert set(read_measures(root / "out")) >= {("worse", "house 0"), ("better", "house 3")}
    assert Begun.read(root) is None and read_measures(root) == {}


def test_processes_measure_and_leave_nothing_behind(tmp_path):
    models, worse, better = write_study(tmp_path, 1)
    before = set(threading.enumerate())
    events = []
    options = Options(metrics=("chamfer",), workers=2)
    found = Evaluation(models, [worse, better], tmp_path / "out", options).run(events.append)
    assert found.data["paired"]["better"]["chamfer"]["better"] == 1 and not found.problems
    assert sum(event.preview is not None for event in events) == 2
    assert not [thread for thread in threading.enumerate() if thread not in before]
    assert not multiprocessing.active_children()
