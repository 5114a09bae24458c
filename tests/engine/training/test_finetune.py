import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.core.errors import Cancelled, InputError, OrielError
from engine.core.progress import CancelToken
from engine.surface import PUBLISHED, PublishedNetwork, load_surface, reconstruct
from engine.surface.reconstruct import build_surface
from engine.training import FineTuneOptions, finetune, read_log, read_run
from engine.training.finetune import FineTune
from engine.training.objective import Objective
from tests.engine.training import tiny_run
from tests.engine.training.tiny_run import small

SCRIPT = Path(tiny_run.__file__)


def last_weights(out):
    newest = max((out / "checkpoints").glob("step-*.ckpt"))
    return torch.load(newest, weights_only=True)["network"]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def train_rows(out):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_log(out) if row["kind"] == "train"]


def test_the_loss_falls_and_the_weights_can_be_used_at_once(renders, tiny, tmp_path):
    events = []
    options = small(steps=40, rate=4e-3, rays=64, validate_models=1, validate_every=20, checkpoint_every=15, keep=2)
    path = FineTune(renders, tmp_path, options).run(events.append)
    rows = train_rows(tmp_path)
    assert [row["step"] for row in rows] == [10, 20, 30, 40]
    assert rows[-1]["loss"] < 0.9 * rows[0]["loss"]
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["model"] == "oriel-surface"
    start, best = card["figures"]["validation, start"], card["figures"]["validation, best"]
    assert best["loss"] < start["loss"]
    assert best["step"] == card["steps"]
    network = load_surface(path)
    assert network.config.name == tiny
    assert next(network.parameters()).dtype == torch.float32
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "best.ckpt", "step-00000030.ckpt", "step-00000040.ckpt",
    ]  # fmt: skip
    steps = [e for e in events if e.stage == "train"]
    assert [e.done for e in steps] == list(range(1, 41))
    assert {"loss", "rgb", "mask", "eikonal", "sparsity", "rate", "sharpness", "inside"} <= set(steps[-1].preview)
    meshes = [e.preview["mesh"] for e in events if e.stage == "validate" and "mesh" in e.preview]
    assert len(meshes) == 3
    assert len(meshes[-1].faces) > 50
    assert len(meshes[-1].colors) == len(meshes[-1].vertices)
    with np.load(tmp_path / "validation" / "models_model_00009.npz") as kept:
        assert np.array_equal(kept["faces"], meshes[-1].faces)
    assert list((tmp_path / "tensorboard").glob("events*")) or finetune._board(tmp_path, 0) is None


def test_an_interrupted_run_ends_in_the_same_weights(renders, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(finetune, "LOG_EVERY", 2)
    options = small(steps=7, checkpoint_every=3, validate_models=1, validate_every=4)
    FineTune(renders, tmp_path / "whole", options).run()
    for stop in (2, 5):
        token = CancelToken()

        def watch(event, stop=stop, token=token):
            if event.stage == "train" and event.done == stop:
                token.cancel()

        work = FineTune(renders, tmp_path / "parts", options, resume=stop > 2)
        path = work.run(watch, token)
        assert work.state.step == stop
        assert load_surface(path).config.name == tiny
    FineTune(renders, tmp_path / "parts", options, resume=True).run()
    assert same(last_weights(tmp_path / "whole"), last_weights(tmp_path / "parts"))
    assert train_rows(tmp_path / "whole") == train_rows(tmp_path / "parts")
    best = [(tmp_path / n / "surface.safetensors").read_bytes() for n in ("whole", "parts")]
    assert best[0] == best[1]


def test_a_killed_run_goes_on_to_the_same_weights(renders, tiny, tmp_path):
    out = tmp_path / "killed"
    command = [sys.executable, str(SCRIPT), str(renders), str(out), json.dumps({"steps": 10000, "checkpoint_every": 2})]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 200
    while not (out / "checkpoints" / "step-00000004.ckpt").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    said, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, said.decode()
    reached = max(row["step"] for row in read_log(out))
    # The newest one was cut short by the crash of the whole machine: the one before it serves.
    newest = max((out / "checkpoints").glob("step-*.ckpt"))
    newest.write_bytes(newest.read_bytes()[:1000])
    events = []
    steps = int(reached) + 2
    FineTune(renders, out, small(steps=steps, checkpoint_every=2), resume=True).run(events.append)
    assert f"{newest.name} is damaged" in events[0].message
    assert events[-1].done == steps
    FineTune(renders, tmp_path / "whole", small(steps=steps)).run()
    assert same(last_weights(out), last_weights(tmp_path / "whole"))


def test_two_processes_learn_as_one_with_the_doubled_batch(renders, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(finetune, "LOG_EVERY", 1)
    out = tmp_path / "two"
    launch = "-m torch.distributed.run --standalone --nproc-per-node 2"  # what `accelerate launch` starts for GPUs
    changes = json.dumps({"steps": 4, "rate": 2e-3})
    subprocess.run(
        [sys.executable, *launch.split(), str(SCRIPT), str(renders), str(out), changes],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
        timeout=250,
        stdout=subprocess.DEVNULL,
    )
    FineTune(renders, tmp_path / "one", small(steps=4, rate=2e-3, accumulate=2)).run()
    two, one = train_rows(out), train_rows(tmp_path / "one")
    assert [row["step"] for row in two] == [1, 2, 3, 4]
    for a, b in zip(two, one, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)
        assert a["gradient"] == pytest.approx(b["gradient"], rel=1e-2)
    first, second = last_weights(out), last_weights(tmp_path / "one")
    assert max(float((first[n] - second[n]).abs().max()) for n in first) < 1e-3
    assert read_run(out)["processes"] == 2
    with pytest.raises(InputError, match="processes were 2 and are 1"):
        FineTune(renders, out, small(steps=5, rate=2e-3), resume=True).run()


def test_a_loss_that_is_no_number_is_rolled_back_and_said(renders, tiny, tmp_path, monkeypatch):
    calls = []
    forward = Objective.forward

    def faulty(self, example):
        calls.append(example.key)
        terms, figures = forward(self, example)
        return {**terms, "rgb": terms["rgb"] * (float("nan") if len(calls) == 6 else 1.0)}, figures

    monkeypatch.setattr(Objective, "forward", faulty)
    events = []
    work = FineTune(renders, tmp_path, small(steps=7, checkpoint_every=2))
    work.run(events.append)
    said = [e for e in events if (e.preview or {}).get("kind") == "rollback"]
    assert len(said) == 1
    assert "not a number any more. Back to step 4, with half the rate" in said[0].message
    assert work.state.step == 7
    assert work.state.rollbacks == 1
    rates = [e.preview["rate"] for e in events if "rate" in (e.preview or {})]
    assert (rates[0], rates[-1]) == (2e-4, 1e-4)
    assert [row["kind"] for row in read_log(tmp_path)] == ["rollback", "train"]
    assert all(torch.isfinite(value).all() for value in last_weights(tmp_path).values())


def test_a_run_that_breaks_again_and_again_gives_up_with_what_it_has(renders, tiny, tmp_path, monkeypatch):
    made = _keep_network(monkeypatch)

    def spoil(event):
        if event.stage == "train" and event.done >= 3:
            made[0].log_variance.data.fill_(float("nan"))

    with pytest.raises(OrielError, match=r"gone back 2 times already and is given up.*Try a lower rate"):
        FineTune(renders, tmp_path, small(steps=20, checkpoint_every=2, rollbacks=2)).run(spoil)
    assert [row["kind"] for row in read_log(tmp_path)] == ["rollback", "rollback", "collapse"]
    assert all(torch.isfinite(value).all() for value in last_weights(tmp_path).values())


def _keep_network(monkeypatch):
    made = []
    monkeypatch.setattr(finetune, "build_surface", lambda config: made.append(build_surface(config)) or made[-1])
    return made


@pytest.mark.parametrize("watch", [True, False])
def test_a_collapse_is_noticed(renders, tiny, tmp_path, monkeypatch, watch):
    monkeypatch.setattr(finetune, "PATIENCE", 3)
    made = _keep_network(monkeypatch)
    pushed = []

    def spoil(event):
        if event.stage == "train" and event.done == 3 and not pushed:
            pushed.append(True)
            made[0].sdf_network.lins[-1].bias.data[0] += 1e3  # far from any surface everywhere

    work = FineTune(renders, tmp_path, small(steps=14, checkpoint_every=100, watch=watch))
    work.run(spoil)
    kinds = [row["kind"] for row in read_log(tmp_path)]
    rows = [row for row in read_log(tmp_path) if row["kind"] in ("rollback", "collapse")]
    assert "has become empty" in rows[0]["message"]
    assert work.state.step == 14
    if watch:
        assert kinds.count("rollback") == 1
        assert float(last_weights(tmp_path)["sdf_network.lins.3.bias"][0]) < 1
    else:
        assert "rollback" not in kinds
        assert float(last_weights(tmp_path)["sdf_network.lins.3.bias"][0]) > 100


def test_pause_holds_and_another_run_in_the_folder_is_refused(renders, tiny, tmp_path):
    import threading

    work = FineTune(renders, tmp_path, small(steps=4))
    steps, paused = [], threading.Event()

    def watch(event):
        steps.append(event.done)
        if event.done == 2:
            work.pause()
            paused.set()

    thread = threading.Thread(target=work.run, args=(watch,))
    thread.start()
    assert paused.wait(100)
    with pytest.raises(InputError, match="Another run is at work"):
        FineTune(renders, tmp_path, small(steps=4), resume=True).run()
    assert steps == [1, 2]
    work.resume()
    thread.join(100)
    assert steps == [1, 2, 3, 4]


def test_what_a_resumed_run_cannot_change_is_named(renders, own_renders, tiny, tmp_path, model_file):
    out = tmp_path / "out"
    FineTune(own_renders, out, small(steps=1)).run()
    with pytest.raises(InputError, match="holds a run already"):
        FineTune(own_renders, out, small(steps=2)).run()
    with pytest.raises(InputError, match=r"rays was 32 and is 16; seed was 0 and is 1"):
        FineTune(own_renders, out, small(steps=2, rays=16, seed=1), resume=True).run()
    split = own_renders / "lvis_split_cc_by.json"
    content = json.loads(split.read_text())
    content["train"].pop(0)
    split.write_text(json.dumps(content))
    with pytest.raises(InputError, match="model_00000 went missing"):
        FineTune(own_renders, out, small(steps=2), resume=True).run()
    assert work_cancelled_at_once(renders, tmp_path / "new")


def work_cancelled_at_once(renders, out):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        FineTune(renders, out, small(steps=2)).run(cancel=token)
    return not (out / "surface.safetensors").exists()


def test_options_out_of_range_and_precision_without_a_gpu_are_refused(renders, tmp_path):
    for name, value in (("rate", -1.0), ("rays", 0), ("epochs", float("nan")), ("mask_loss", "l2")):
        with pytest.raises(InputError, match=name.replace("_", " ")):
            FineTuneOptions(**{name: value})
    with pytest.raises(InputError, match="CUDA"):
        FineTune(renders, tmp_path, small(precision="fp16")).run()


def test_the_published_configuration_trains_too(renders, tmp_path, monkeypatch):
    sizes = {"volume_resolution": 16, "image_size": 32, "pyramid_channels": (4, 4, 4), "feature_channels": 4}
    sizes |= {"unet_channels": (4, 4, 8, 8), "sdf_width": 16, "frequencies": 2}
    monkeypatch.setitem(reconstruct.CONFIGS, "published", replace(PUBLISHED, **sizes))
    path = FineTune(renders, tmp_path, small(config="published", steps=2, validate_models=1)).run()
    found = load_surface(path)
    assert isinstance(found, PublishedNetwork)
    statistics = found.state_dict()["pyramid.conv0.0.bn.running_mean"]
    assert statistics.abs().max() > 0  # they followed the pictures


def test_other_losses_schedules_and_precision_train_too(renders, tiny, tmp_path):
    options = small(
        steps=3, depth=0.5, mask_loss="l1", sharpness=60.0, precision="bf16", halve_at=(1, 2), sources=6, accumulate=2
    )
    events = []
    FineTune(renders, tmp_path, options).run(events.append)
    rows = [e.preview for e in events]
    assert [row["rate"] for row in rows] == [2e-4, 1e-4, 5e-5]
    assert rows[0]["sharpness"] < rows[1]["sharpness"] < rows[2]["sharpness"] < 60
    assert all(row["depth"] > 0 for row in rows)
