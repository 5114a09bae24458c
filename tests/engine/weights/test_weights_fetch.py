"""Weights from the hub: a real server on loopback, the hub's real library, a real cache."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from engine import weights
from engine.core.errors import Cancelled, OrielError, OutputError, WeightsError
from engine.core.progress import CancelToken, Progress
from engine.weights import hub, releases
from tests.hub_server import HubServer

KEY = "one-2-3-45-surface"
ORIGIN = weights.MODELS[KEY].origin
NAME = weights.MODELS[KEY].files[0].name
CONTENT = os.urandom(300_000)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(weights, "_paths", {})
    return tmp_path / "hub"


@pytest.fixture
def server(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer({f"{ORIGIN}/{NAME}": CONTENT}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def partials(cache: Path) -> list[Path]:
    return sorted(cache.glob("*/blobs/*.incomplete"))


def wait_until(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def cancelled_fetch(server: HubServer) -> float:
    """Fetch slowly, cancel once something has come; returns the seconds that cancelling took."""
    server.pause = 0.05
    cancel, moment = CancelToken(), []

    def watch(event: Progress) -> None:
        if event.done and not moment:
            moment.append(time.monotonic())
            cancel.cancel()

    with pytest.raises(Cancelled):
        weights.fetch(KEY, watch, cancel)
    server.pause = 0.0
    return time.monotonic() - moment[0]


def test_nothing_is_asked_of_the_network_but_by_fetch(server):
    assert weights.locate(KEY) is None
    with pytest.raises(WeightsError, match=rf"not on this machine.*weights fetch {KEY}"):
        weights.require(KEY)
    assert server.asked == []


def test_a_fetched_file_is_found_and_other_programs_find_it_too(server, cache):
    events: list[Progress] = []
    path = weights.fetch(KEY, events.append)
    assert path.read_bytes() == CONTENT
    found = weights.locate(KEY)
    assert found == weights.Located(weights.MODELS[KEY], path, "hub cache")
    assert weights.require(KEY) == path
    assert found.size == len(CONTENT)
    assert (events[-1].done, events[-1].total) == (len(CONTENT), len(CONTENT))
    assert all(a.done <= b.done for a, b in itertools.pairwise(events))

    from huggingface_hub import hf_hub_download, scan_cache_dir

    assert Path(hf_hub_download(ORIGIN, NAME, cache_dir=cache, local_files_only=True)) == path
    assert not scan_cache_dir(cache).warnings
    before = len(server.asked)
    assert weights.fetch(KEY) == path
    assert not [a for a in server.asked[before:] if a[0] == "GET"], "fetched twice"


def test_a_folder_of_files_comes_whole(cache, monkeypatch):
    name = weights.MODELS["sam2"].origin
    model = save({"vision_encoder.layers.0.w": torch.ones(3)})
    with HubServer({f"{name}/config.json": b"{}", f"{name}/model.safetensors": model}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        path = weights.fetch("sam2")
    assert (path / "config.json").read_bytes() == b"{}"
    assert (path / "model.safetensors").read_bytes() == model
    assert weights.locate("sam2").path == path
    assert weights.remove("sam2") >= 2 + len(model)
    assert not list(cache.glob("models--*"))


def test_cancelling_is_at_once_and_the_next_fetch_goes_on(server, cache):
    assert cancelled_fetch(server) < 1
    assert weights.locate(KEY) is None
    held = weights.unfinished(KEY)
    assert 0 < held < len(CONTENT)
    assert weights.fetch(KEY).read_bytes() == CONTENT
    assert server.ranges_asked == [f"bytes={held}-"]
    assert weights.unfinished(KEY) == 0


def test_cancelling_does_not_wait_for_a_silent_network(server):
    server.silent = threading.Event()
    cancel = CancelToken()
    threading.Timer(0.3, cancel.cancel).start()
    begin = time.monotonic()
    with pytest.raises(Cancelled):
        weights.fetch(KEY, cancel=cancel)
    assert time.monotonic() - begin < 1.3
    server.silent.set()
    wait_until(lambda: "download" not in {t.name for t in threading.enumerate()})


def test_a_server_that_sends_no_parts_is_asked_for_all_again(server):
    cancelled_fetch(server)
    server.ranges = False
    assert weights.fetch(KEY).read_bytes() == CONTENT


def test_a_connection_that_breaks_is_taken_up_again(server):
    server.drop_after = 131_072
    assert weights.fetch(KEY).read_bytes() == CONTENT
    assert len(server.ranges_asked) == 2


def test_a_connection_that_brings_nothing_is_given_up_and_what_came_is_kept(server, monkeypatch):
    monkeypatch.setattr(hub, "_ATTEMPTS", 1)
    server.drop_after = 131_072
    cancelled_fetch(server)
    server.drop_after = 0
    with pytest.raises(WeightsError, match=r"ends early|cannot be reached"):
        weights.fetch(KEY)
    assert weights.unfinished(KEY) > 0


def test_what_arrives_damaged_is_discarded(server, cache):
    server.spoilt = True
    with pytest.raises(WeightsError, match=r"arrived damaged.*fetch it again"):
        weights.fetch(KEY)
    assert weights.locate(KEY) is None
    assert not partials(cache)


def test_a_file_that_is_not_the_published_one_is_not_downloaded(server):
    model = weights.MODELS["loftr"]
    server.files[f"{model.origin}/{model.files[0].name}"] = CONTENT
    with pytest.raises(WeightsError, match=r"not the published file.*not downloaded"):
        weights.fetch("loftr")
    assert not [a for a in server.asked if a[0] == "GET"]


def test_a_disk_too_small_is_told_before_the_download(server):
    server.stated_size = 10**15
    with pytest.raises(OutputError, match=r"too full: 1000000\.0 GB are still to come.*HF_HUB_CACHE"):
        weights.fetch(KEY)
    assert not [a for a in server.asked if a[0] == "GET"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_disk_that_fills_up_is_told(server, cache):
    cancelled_fetch(server)
    (partial,) = partials(cache)
    partial.unlink()
    partial.symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"is full\. Free some space"):
        weights.fetch(KEY)


def test_a_cache_that_cannot_be_written_is_told(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    with pytest.raises(OutputError, match=r"cannot be written: Not a directory.*HF_HUB_CACHE"):
        weights.fetch(KEY)


def test_no_network_is_told(cache, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WeightsError, match=r"http://127.0.0.1:9 cannot be reached .*refused.*a copy that you have"):
        weights.fetch(KEY)


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_asks_nothing(server, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE is set"):
        weights.fetch(KEY)
    assert server.asked == []


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (401, None, r"closed to you \(401\).*hf auth login"),
        (403, "GatedRepo", r"closed to you \(403\).*Ask for access"),
        (404, "EntryNotFound", r"does not exist there \(404\).*HF_ENDPOINT"),
        (500, None, r"answers with the error 500\. Fetch again later"),
    ],
)
def test_refusals_are_told(server, status, code, text):
    server.status, server.error_code = status, code or "Other"
    with pytest.raises(WeightsError, match=text):
        weights.fetch(KEY)


def test_an_endpoint_that_is_no_hub_is_told(server):
    server.is_hub = False
    with pytest.raises(WeightsError, match=r"does not answer as the hub does.*HF_ENDPOINT"):
        weights.fetch(KEY)


def test_the_token_goes_to_the_hub_and_not_to_the_host_of_the_contents(server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    weights.fetch(KEY)
    sent = {(host.split(":")[0], authorization) for _, host, _, authorization in server.asked}
    assert sent == {("127.0.0.1", "Bearer hf_secret"), ("localhost", None)}


def test_two_fetches_at_once_do_not_spoil_each_other(server):
    server.pause = 0.02
    results: list[bytes | OrielError] = []

    def fetch() -> None:
        try:
            results.append(weights.fetch(KEY).read_bytes())
        except OrielError as error:
            results.append(error)

    threads = [threading.Thread(target=fetch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [CONTENT, CONTENT]
    assert len([a for a in server.asked if a[0] == "GET" and a[1].startswith("localhost")]) == 1


def test_damage_in_the_cache_is_found_by_the_hubs_checksum(server, cache):
    torch_file = cache.parent / "surface.pth"
    networks = ("pyramid_feature_network", "sdf_network_lod0", "rendering_network_lod0", "variance_network_lod0")
    torch.save({name: {"weight": torch.zeros(1000)} for name in networks}, torch_file)
    server.files[f"{ORIGIN}/{NAME}"] = torch_file.read_bytes()
    path = weights.fetch(KEY)
    assert weights.check(KEY) == []
    content = bytearray(path.read_bytes())
    content[content.index(bytes(4000)) + 2000] ^= 1
    path.resolve().write_bytes(content)
    (problem,) = weights.check(KEY)
    assert "damaged" in problem
    assert "checksum" in problem


def test_removing_leaves_the_files_of_other_models(server, cache):
    other = weights.MODELS["zero123-xl"]
    assert other.origin == ORIGIN
    server.files[f"{ORIGIN}/{other.files[0].name}"] = b"PK" + CONTENT
    weights.fetch(KEY)
    kept = weights.fetch("zero123-xl")
    assert weights.remove(KEY) == len(CONTENT)
    assert weights.locate(KEY) is None
    assert weights.require("zero123-xl") == kept
    with pytest.raises(WeightsError, match="no weights of One-2-3-45"):
        weights.remove(KEY)


def test_removing_leaves_what_another_model_has_received_so_far(server, cache):
    cancelled_fetch(server)
    held = weights.unfinished(KEY)
    other = weights.MODELS["zero123-xl"]
    server.files[f"{ORIGIN}/{other.files[0].name}"] = b"PK" + CONTENT
    weights.fetch("zero123-xl")
    weights.remove("zero123-xl")
    assert weights.unfinished(KEY) == held


def test_a_folder_that_another_program_downloaded_is_removed_whole(cache):
    folder = cache / "models--kxic--zero123-xl"
    for name in ("model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.bin"):
        (folder / "snapshots" / "c" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "snapshots" / "c" / name).write_bytes(bytes(1000))
    assert weights.locate("zero123-xl").path == folder / "snapshots" / "c"
    assert weights.remove("zero123-xl") == 3000
    assert not folder.exists()


def test_an_unfinished_download_can_be_removed(server, cache):
    cancelled_fetch(server)
    assert weights.remove(KEY) > 0
    assert weights.unfinished(KEY) == 0


def test_built_in_weights_are_neither_fetched_nor_removed(server):
    with pytest.raises(WeightsError, match="come with the program"):
        weights.fetch("surface")
    with pytest.raises(WeightsError, match="Delete them there"):
        weights.remove("surface")
    assert server.asked == []


@pytest.fixture
def releases_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Serves `u2net.onnx` as the release does, with the checksum that the registry is made to state."""
    model = weights.MODELS["u2net"]
    source = dataclasses.replace(
        model.sources[0], files=(dataclasses.replace(model.files[0], checksum=hashlib.md5(CONTENT).hexdigest()),)
    )
    monkeypatch.setitem(weights.MODELS, "u2net", dataclasses.replace(model, sources=(source,)))
    monkeypatch.setattr(weights, "_paths", {})
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_hub_alone")
    for name in ("U2NET_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REMBG_HOME", str(tmp_path / "rembg"))
    with HubServer({"danielgatis/rembg/u2net.onnx": CONTENT}) as running:
        monkeypatch.setattr(releases, "ADDRESS", running.url)
        yield running


def test_a_network_of_rembg_is_fetched_from_its_release_into_rembgs_folder(releases_server, tmp_path):
    assert weights.locate("u2net") is None
    path = weights.fetch("u2net")
    assert path == tmp_path / "rembg" / "models" / "u2net" / "u2net.onnx"
    assert path.read_bytes() == CONTENT
    assert weights.locate("u2net") == weights.Located(weights.MODELS["u2net"], path, "hub cache")
    assert not any(token for *_, token in releases_server.asked), "the hub's token was sent to another server"
    assert weights.remove("u2net") == len(CONTENT)
    assert weights.locate("u2net") is None


def test_a_broken_fetch_from_a_release_goes_on_and_a_spoilt_one_is_discarded(releases_server, tmp_path):
    releases_server.pause = 0.05
    cancel = CancelToken()
    with pytest.raises(Cancelled):
        weights.fetch("u2net", lambda event: cancel.cancel() if event.done else None, cancel)
    releases_server.pause = 0.0
    received = weights.unfinished("u2net")
    assert received > 0
    assert weights.fetch("u2net").read_bytes() == CONTENT
    assert any(int(part.removeprefix("bytes=").rstrip("-")) > 0 for part in releases_server.ranges_asked)
    weights.remove("u2net")
    releases_server.spoilt = True
    with pytest.raises(WeightsError, match="arrived damaged"):
        weights.fetch("u2net")
    assert weights.locate("u2net") is None and weights.unfinished("u2net") == 0


def test_what_earlier_versions_of_rembg_kept_is_found(releases_server, tmp_path, monkeypatch):
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "old"))
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "u2net.onnx").write_bytes(CONTENT)
    assert weights.locate("u2net").path == tmp_path / "old" / "u2net.onnx"


def test_the_small_network_is_there_after_set_up_and_whole():
    found = weights.locate("u2netp")
    assert found is not None and found.source in ("package", "hub cache")
    assert weights.check("u2netp") == []


def test_another_network_in_onnx_is_told(tmp_path):
    small = weights.require("u2netp")
    for wrong in ("isnet-general-use.onnx", "noise.onnx"):
        (tmp_path / wrong).write_bytes(small.read_bytes() if wrong.startswith("isnet") else CONTENT)
        with pytest.raises(WeightsError, match=r"not IS-Net.*1024|cannot be read as a network"):
            weights.use("isnet-general-use", tmp_path / wrong)
