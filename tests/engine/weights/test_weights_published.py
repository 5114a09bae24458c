"""Published weights: where they are found, what a file of them holds, and what is said of one that will not do."""

from __future__ import annotations

import argparse
import collections
import datetime
import enum
import functools
import json
import os
import pickle
import subprocess
import sys
import types
import typing
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine import weights
from engine.core.errors import Cancelled, WeightsError
from engine.core.progress import CancelToken
from tests import tiny_models

ROOT = Path(__file__).resolve().parents[3]
SURFACE = {
    "pyramid_feature_network": {"conv0.weight": torch.zeros(2)},
    "sdf_network_lod0": {"layer.weight": torch.arange(3.0)},
    "rendering_network_lod0": {"layer.weight": torch.zeros(2)},
    "variance_network_lod0": {"variance": torch.tensor(0.3)},
}
SAM = {f"{part}.weight": torch.ones(4) for part in ("image_encoder", "prompt_encoder", "mask_decoder")}
LOFTR = {f"matcher.{part}.weight": torch.ones(4) for part in ("backbone", "loftr_coarse", "loftr_fine")}


@pytest.fixture(autouse=True)
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(weights, "_paths", {})
    monkeypatch.setattr(weights, "_added", [])


def write(path: Path, value: object, **kwargs: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(value, path, **kwargs)
    return path


def put_into_cache(tmp_path: Path, origin: str, files: dict[str, bytes], commit: str = "a" * 40) -> Path:
    repository = tmp_path / "hub" / f"models--{origin.replace('/', '--')}"
    for name, content in files.items():
        path = repository / "snapshots" / commit / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(commit)
    return repository / "snapshots" / commit


# -- the list ------------------------------------------------------------------------------------------------


def test_importing_the_registry_starts_no_heavy_library():
    code = (
        "import sys, engine.weights as w; [w.locate(k) for k in w.MODELS]\n"
        "sys.exit(str({'torch', 'numpy', 'huggingface_hub', 'safetensors', 'httpx2'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == "\n", done.stderr


def test_every_model_says_what_it_is():
    kinds = {"views", "shape", "matcher", "foreground", "salient", "surface", "similarity"}
    assert {m.kind for m in weights.MODELS.values()} == kinds
    for key, model in weights.MODELS.items():
        assert model.key == key
        assert model.label and model.purpose and model.licence
        assert bool(model.origin) == bool(model.files)
        for source in model.sources:
            assert source.layout.parts or source.layout.side
            for file in source.files:
                assert file.checksum is None or len(file.checksum) == (32 if source.release else 64)


def test_an_unknown_model_is_told_with_the_known_ones():
    with pytest.raises(WeightsError, match=r"no model 'castle'.*zero123-xl"):
        weights.locate("castle")


# -- where they are ------------------------------------------------------------------------------------------


def test_the_settings_come_before_the_named_folder_before_the_cache(tmp_path, monkeypatch):
    key, model = "loftr", weights.MODELS["loftr"]
    cached = put_into_cache(tmp_path, model.origin, {model.files[0].name: b"x"}) / model.files[0].name
    assert weights.locate(key) == weights.Located(model, cached, "hub cache")
    folder = tmp_path / "mine"
    named = write(folder / "loftr.ckpt", {})
    monkeypatch.setenv("ORIEL_WEIGHTS", str(folder))
    assert weights.locate(key) == weights.Located(model, named, "environment")
    chosen = write(tmp_path / "chosen.ckpt", {})
    weights.set_paths({key: str(chosen), "of a later version": "/x"})
    assert weights.locate(key) == weights.Located(model, chosen, "settings")
    assert weights.paths() == {key: str(chosen)}
    chosen.unlink()
    assert weights.locate(key).path == named, "a path that is gone hides what there is"
    monkeypatch.delenv("ORIEL_WEIGHTS")
    cached.unlink()
    with pytest.raises(WeightsError, match=rf"nothing is at {chosen}.*weights use loftr PATH"):
        weights.require(key)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("zero123-xl", "zero123-xl.ckpt"),
        ("zero123-xl", "zero123-xl.safetensors"),
        ("zero123", "105000.ckpt"),
        ("zero123", "165000.ckpt"),
        ("loftr", "indoor_ds_new.ckpt"),
        ("loftr", "loftr_indoor_ds_new.ckpt"),
        ("loftr", "loftr/indoor_ds_new.ckpt"),
        ("sam-vit-h", "sam_vit_h_4b8939.pth"),
        ("sam-vit-l", "sam_vit_l_0b3195.pth"),
        ("sam-vit-b", "checkpoints/sam_vit_b_01ec64.pth"),
        ("one-2-3-45-surface", "ckpt_215000.pth"),
        ("one-2-3-45-surface", "SparseNeuS_demo_v1/exp/lod0/checkpoints/ckpt_215000.pth"),
        ("clip-vit-b-32", "clip-vit-b-32.bin"),
        ("clip-vit-b-32", "clip-vit-b-32/open_clip_pytorch_model.bin"),
        ("clip-vit-b-32", "CLIP-ViT-B-32-laion2B-s34B-b79K/open_clip_model.safetensors"),
    ],
)
def test_a_folder_may_hold_files_by_key_or_by_their_published_names(tmp_path, monkeypatch, key, name):
    path = write(tmp_path / "mine" / name, {})
    monkeypatch.setenv("ORIEL_WEIGHTS", str(tmp_path / "mine"))
    assert weights.require(key) == path
    others = {k for k in weights.MODELS if (found := weights.locate(k)) and found.source == "environment"}
    assert others == {key}


@pytest.mark.parametrize("name", ["sam-vit-b", "sam-vit-base"])
def test_a_folder_may_hold_folders_by_key_or_by_the_repositorys_name(tmp_path, monkeypatch, name):
    path = tmp_path / "mine" / name
    path.mkdir(parents=True)
    for file in ("config.json", "model.safetensors"):
        (path / file).write_bytes(b"{}")
    monkeypatch.setenv("ORIEL_WEIGHTS", str(tmp_path / "mine"))
    assert weights.require("sam-vit-b") == path


def test_other_published_forms_in_the_cache_are_found(tmp_path):
    name = "bennyguo/zero123-xl-diffusers"
    put_into_cache(tmp_path, name, {"model_index.json": b"{}"})
    assert weights.locate("zero123-xl") is None, "half a download counts"
    folder = put_into_cache(tmp_path, name, {"model_index.json": b"{}", "unet/config.json": b"{}"}, "b" * 40)
    assert weights.require("zero123-xl") == folder


def test_built_in_weights_are_found_and_can_be_replaced(tmp_path, monkeypatch):
    assert weights.locate("surface").source == "built in"
    weights.save(tmp_path / "mine.safetensors", {"a": torch.zeros(2)}, {"model": "toy"})
    weights.use("surface", tmp_path / "mine.safetensors")
    assert weights.locate("surface").source == "settings"
    assert weights.find("surface").path == tmp_path / "mine.safetensors"
    weights.remove("surface")
    assert weights.locate("surface").source == "built in"
    assert (tmp_path / "mine.safetensors").exists()


# -- what a file holds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrapper", ["state_dict", "model", None])
def test_tensors_are_taken_out_of_their_wrapping(tmp_path, zipped, wrapper):
    top = {wrapper: LOFTR, "epoch": 3, "optimizer_states": [{"state": {0: {"step": torch.ones(1)}}}]}
    top = top if wrapper else LOFTR
    path = write(tmp_path / "x.ckpt", top, _use_new_zipfile_serialization=zipped)
    read = weights.read_checkpoint(path)
    assert set(read) == set(LOFTR)
    assert all(torch.equal(read[name], LOFTR[name]) for name in LOFTR)


def test_several_networks_keep_their_names(tmp_path):
    optimizer = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}
    path = write(tmp_path / "x.pth", SURFACE | {"optimizer": optimizer, "iter_step": 215000, "val_step": 0})
    read = weights.read_checkpoint(path)
    assert set(read) == {f"{network}.{name}" for network, state in SURFACE.items() for name in state}
    assert torch.equal(read["sdf_network_lod0.layer.weight"], torch.arange(3.0))


def test_safetensors_are_read_whatever_the_name(tmp_path):
    save_file(SAM, tmp_path / "x.bin")
    assert torch.equal(weights.read_checkpoint(tmp_path / "x.bin")["mask_decoder.weight"], torch.ones(4))


def test_what_frameworks_keep_beside_the_tensors_is_left_out(tmp_path, monkeypatch):
    module = type(sys)("pytorch_lightning.callbacks.model_checkpoint")
    callback = type("ModelCheckpoint", (), {"__module__": module.__name__})
    module.ModelCheckpoint = callback
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks"):
        monkeypatch.setitem(sys.modules, name, type(sys)(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    one = callback()
    one.best = 1.0
    top = {
        "state_dict": collections.OrderedDict(LOFTR),
        "callbacks": {callback: {"best": one}},
        "best": np.float64(0.5),
        "history": np.arange(3),
    }
    path = write(tmp_path / "x.ckpt", top)
    for name in [n for n in sys.modules if n.startswith("pytorch_lightning")]:
        monkeypatch.delitem(sys.modules, name)
    assert set(weights.read_checkpoint(path)) == set(LOFTR)


PLAIN = {
    "arguments": argparse.Namespace(lr=0.1, out=Path("runs")),
    "namespace": types.SimpleNamespace(lr=0.1),
    "path": Path("/data"),
    "time": datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
    "defaultdict": collections.defaultdict(list, {"a": [1]}),
    "deque": collections.deque([1, 2]),
    "counter": collections.Counter("abca"),
    "range": range(3),
    "others": (slice(1, 2), frozenset([1]), 1j, {1, 2}),
}


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("zipped", [True, False])
def test_plain_data_of_pythons_own_library_is_no_code(tmp_path, kind, zipped):
    top = {"state_dict": LOFTR, "beside": {"kept": PLAIN[kind]}}
    path = write(tmp_path / "x.ckpt", top, _use_new_zipfile_serialization=zipped)
    assert set(weights.read_checkpoint(path)) == set(LOFTR)
    assert weights.use("loftr", path).path == path


def made(monkeypatch: pytest.MonkeyPatch, module: str, name: str, *bases: type, **members: object) -> type:
    """A class of a library that is not here, until `forgotten`."""
    names = module.split(".")
    for i in range(1, len(names) + 1):
        part = ".".join(names[:i])
        if part not in sys.modules:
            monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
    kind = type(name, bases, {"__module__": module, "__qualname__": name, **members})
    monkeypatch.setattr(sys.modules[module], name, kind, raising=False)
    return kind


def settings(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What checkpoints of Lightning, OmegaConf and Stable Diffusion's code hold beside the tensors."""
    attributes = made(monkeypatch, "pytorch_lightning.utilities.parsing", "AttributeDict", dict)
    fabric = made(monkeypatch, "lightning.fabric.utilities.data", "AttributeDict", dict)
    state = {"__getstate__": lambda self: dict(vars(self)), "__setstate__": lambda self, kept: vars(self).update(kept)}
    config = made(monkeypatch, "omegaconf.dictconfig", "DictConfig", **state)()
    node, metadata = (made(monkeypatch, f"omegaconf.{m}", n)() for m, n in (("nodes", "AnyNode"), ("base", "Metadata")))
    node.__dict__.update(_val=1.5, _flags=None)
    metadata.__dict__.update(ref_type=typing.Any, object_type=dict, resolver_cache=collections.defaultdict(dict))
    config.__dict__.update(_content={"rate": node}, _metadata=metadata)
    schedule = made(monkeypatch, "ldm.lr_scheduler", "LambdaLinearScheduler", schedule=lambda self, n: 1.0)()
    schedule.__dict__.update(lr_warm_up_steps=[100])
    slotted = made(monkeypatch, "ldm.util", "Slotted", __slots__=("a",))()
    slotted.a = 1
    strategy = enum.Enum("Strategy", {"DDP": "ddp"}, module="pytorch_lightning.utilities.parsing", type=str)
    monkeypatch.setattr(sys.modules["pytorch_lightning.utilities.parsing"], "Strategy", strategy, raising=False)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))])
    return {
        "AttributeDict": attributes(rate=0.1, inner=[attributes(a=1)]),
        "another AttributeDict": fabric(rate=0.1),
        "OmegaConf": config,
        "schedule": schedule,
        "method": schedule.schedule,
        "partial": functools.partial(schedule.schedule, 1, by=2),
        "slots": slotted,
        "enum": [strategy.DDP],
        "list": made(monkeypatch, "omegaconf.listy", "Many", list)([1, torch.ones(1)]),
        "tuple": made(monkeypatch, "ldm.some", "Pair", tuple)((1, 2)),
        "set": made(monkeypatch, "ldm.some", "Few", set)({1}),
        "deque": made(monkeypatch, "mmengine.some", "History", collections.deque)([1, 2]),
        "ordered": made(monkeypatch, "pyhocon.config_tree", "ConfigTree", collections.OrderedDict)(a=1),
        "defaultdict": made(monkeypatch, "fvcore.some", "Counts", collections.defaultdict)(list, {"a": [1]}),
        "arguments": made(monkeypatch, "__main__", "Settings", dict)(a=1),
        "optimiser": optimizer,
        "its state": optimizer.state_dict(),
        "version": torch.__version__,
        "random": {
            "numpy": np.random.default_rng(0),
            "torch": torch.Generator().get_state(),
            "old": np.random.get_state(),
        },
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_what_libraries_that_are_not_here_have_left_is_no_code(tmp_path, monkeypatch, zipped):
    paths = {}
    with monkeypatch.context() as patch:
        for number, (kind, value) in enumerate(settings(patch).items()):
            top = {"state_dict": LOFTR, "hyper_parameters": {"kept": value}}
            paths[kind] = write(tmp_path / f"{number}.ckpt", top, _use_new_zipfile_serialization=zipped)
        wrapped = made(patch, "lightning.fabric.utilities.data", "AttributeDict", dict)(LOFTR)
        paths["the tensors' own mapping"] = write(tmp_path / "own.ckpt", {"state_dict": wrapped})
    assert "omegaconf" not in sys.modules
    for kind, path in paths.items():
        read = weights.read_checkpoint(path)
        assert set(read) == set(LOFTR), kind
        assert all(torch.equal(read[name], LOFTR[name]) for name in LOFTR)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("form", ["model_state_dict", "net", "", "safetensors"])
def test_prefixes_of_how_a_network_was_trained_are_taken_off(tmp_path, prefix, form):
    tensors = {prefix + name: tensor for name, tensor in LOFTR.items()}
    path = tmp_path / "x.ckpt"
    if form == "safetensors":
        save_file(tensors, path)
    else:
        write(path, {form: tensors} if form else tensors)
    assert set(weights.read_checkpoint(path)) == set(LOFTR)
    assert weights.use("loftr", path).path == path


class Harm:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_named_and_not_run(tmp_path, zipped):
    harm = tmp_path / "harm"
    path = write(tmp_path / "x.ckpt", {"state_dict": LOFTR, "x": Harm(harm)}, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"wants to run code when it is loaded \(\w+\.mkdir\).*not loaded"):
        weights.read_checkpoint(path)
    with pytest.raises(WeightsError, match="wants to run code"):
        weights.use("loftr", path)
    assert not harm.exists()
    assert weights.locate("loftr") is None


@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_a_torchscript_program_is_refused(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "x.pt"))
    with pytest.raises(WeightsError, match="TorchScript program"):
        weights.read_checkpoint(tmp_path / "x.pt")


def cut(path: Path, share: float = 0.5) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def text(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: text(p, b""), r"damaged: the file is empty\. Copy or download them again"),
        (lambda p: text(p, b"<!DOCTYPE html><html>Sign in</html>"), r"a web page, not weights.*download that failed"),
        (lambda p: text(p, b'{"error": "not found"}'), r"a text file, not weights"),
        (
            lambda p: text(p, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
            r"pointer of Git LFS.*git lfs pull",
        ),
        (lambda p: text(p, b"\x89PNG" + bytes(999)), r"damaged: it is no file of weights"),
        (lambda p: cut(write(p, SURFACE)), r"damaged: it is cut short at .*kB"),
        (lambda p: cut(write(p, SURFACE, _use_new_zipfile_serialization=False)), r"damaged"),
        (lambda p: (save_file(SAM, p), cut(p, 0.9)), r"damaged: it is cut short at \d+ bytes of \d+ bytes"),
        (lambda p: (save_file(SAM, p), cut(p, 0.2)), r"damaged: its list of contents cannot be read"),
        (lambda p: write(p, [1, 2]), r"holds no named tensors"),
        (lambda p: write(p, torch.zeros(3)), r"holds no named tensors"),
        (lambda p: p.write_bytes(pickle.dumps({"a": 1}, protocol=2)), r"damaged|no named tensors"),
        (lambda p: zipfile.ZipFile(p, "w").writestr("photo.txt", "x"), r"damaged|cannot be read"),
        (lambda p: p.mkdir(), r"is a folder, but a file"),
        (lambda p: None, r"cannot be read: No such file"),
    ],
)
def test_a_file_that_will_not_do_is_told_plainly(tmp_path, make, said):
    path = tmp_path / "x.ckpt"
    make(path)
    with pytest.raises(WeightsError, match=said) as error:
        weights.read_checkpoint(path)
    assert str(path) in str(error.value)


# -- the user's own files ------------------------------------------------------------------------------------


def test_a_users_file_is_used_until_it_is_forgotten(tmp_path):
    path = write(tmp_path / "my loftr.ckpt", {"state_dict": LOFTR})
    assert weights.use("loftr", path) == weights.Located(weights.MODELS["loftr"], path, "settings")
    assert weights.paths() == {"loftr": str(path)}
    assert weights.check("loftr") == []
    assert weights.remove("loftr") == 0
    assert path.exists()
    assert weights.paths() == {}
    with pytest.raises(WeightsError, match="no weights of LoFTR"):
        weights.remove("loftr")


def test_weights_of_another_model_are_refused(tmp_path):
    path = write(tmp_path / "sam.pth", SAM)
    with pytest.raises(WeightsError, match=r"is not LoFTR: it has no weights named backbone\.\*.*another model's"):
        weights.use("loftr", path)
    with pytest.raises(WeightsError, match=r"is not One-2-3-45's reconstruction"):
        weights.use("one-2-3-45-surface", path)
    with pytest.raises(WeightsError, match=r"has no card sam.json"):
        weights.use("surface", (save_file(SAM, tmp_path / "sam.safetensors"), tmp_path / "sam.safetensors")[1])
    assert weights.paths() == {}
    weights.use("sam-vit-b", path)
    write(path, LOFTR)  # the file was replaced since
    assert "is not SAM" in weights.check("sam-vit-b")[0]


@pytest.mark.parametrize(
    ("key", "make"),
    [
        ("loftr", lambda p: tiny_models.write_tiny_loftr(p / "indoor_ds_new.ckpt")),
        ("loftr", lambda p: tiny_models.write_tiny_loftr(p / "x.ckpt", prefix="", wrapped=False)),
        ("sam-vit-b", lambda p: tiny_models.write_tiny_sam(p / "x.pth")),
        ("sam-vit-h", lambda p: tiny_models.write_tiny_sam(p / "sam", "hub")),
        ("sam2", lambda p: tiny_models.write_tiny_sam(p / "sam2", "sam2")),
        ("one-2-3-45-surface", lambda p: tiny_models.write_tiny_one2345_surface(p / "ckpt_215000.pth")),
        ("zero123-xl", lambda p: tiny_models.write_tiny_zero123(p / "zero123-xl.ckpt")),
        ("zero123", lambda p: tiny_models.write_tiny_zero123(p / "zero123", "diffusers")),
        ("clip-vit-b-32", lambda p: tiny_models.write_tiny_clip(p / "clip") / "open_clip_model.safetensors"),
    ],
)
def test_models_in_their_published_layouts_are_accepted_as_themselves_only(tmp_path, key, make):
    path = make(tmp_path)
    assert weights.use(key, path).path == path
    assert weights.check(key, quick=True) == []
    for other, model in weights.MODELS.items():
        if model.kind != weights.MODELS[key].kind:
            with pytest.raises(WeightsError):
                weights.use(other, path)


def test_nothing_and_the_wrong_kind_of_thing_are_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"nothing at .*Check the path"):
        weights.use("loftr", tmp_path / "nothing")
    with pytest.raises(WeightsError, match=r"is a folder, but the weights of LoFTR are a file"):
        weights.use("loftr", tmp_path)
    with pytest.raises(WeightsError, match=r"is a file, but the weights of SAM 2, large are a folder"):
        weights.use("sam2", write(tmp_path / "sam2.pt", SAM))
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"is not SAM 2, large: it has no weights"):
        weights.use("sam2", tmp_path / "empty")


def test_a_published_folder_is_taken_by_any_of_its_files(tmp_path):
    folder = tmp_path / "sam"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    names = ("vision_encoder.layers.0.w", "prompt_encoder.w", "mask_decoder.w")
    save_file({name: torch.ones(1) for name in names}, folder / "model.safetensors")
    for given in (folder, folder / "model.safetensors", folder / "config.json"):
        assert weights.use("sam-vit-l", given).path == folder
    with pytest.raises(WeightsError, match=r"is not SAM 2, large: it has no weights named vision_encoder\.backbone"):
        weights.use("sam2", folder)
    write(tmp_path / "download" / "indoor_ds_new.ckpt", {"state_dict": LOFTR})
    assert weights.use("loftr", tmp_path / "download").path.name == "indoor_ds_new.ckpt"


def test_a_diffusers_folder_is_checked_part_by_part(tmp_path):
    parts = {
        "unet": ("conv_in.w", "down_blocks.w", "up_blocks.w"),
        "vae": ("encoder.w", "decoder.w"),
        "image_encoder": ("vision_model.w",),
        "clip_camera_projection": ("proj.weight",),
    }
    for part, names in parts.items():
        (tmp_path / "z" / part).mkdir(parents=True)
        (tmp_path / "z" / part / "config.json").write_text("{}")
        save_file({name: torch.ones(1) for name in names}, tmp_path / "z" / part / "model.fp16.safetensors")
    (tmp_path / "z" / "model_index.json").write_text("{}")
    assert weights.use("zero123", tmp_path / "z" / "model_index.json").path == tmp_path / "z"
    assert weights.check("zero123") == []
    (tmp_path / "z" / "vae" / "model.fp16.safetensors").unlink()
    assert "vae has no weights" in weights.check("zero123")[0]
    (tmp_path / "z" / "vae").rename(tmp_path / "vae")
    assert "vae has no weights" in weights.check("zero123")[0]


def test_a_changed_byte_is_found_by_the_checksum_in_the_file(tmp_path):
    path = write(tmp_path / "x.pth", SURFACE | {"extra": {"w": torch.zeros(5000)}})
    weights.use("one-2-3-45-surface", path)
    assert weights.check("one-2-3-45-surface") == []
    content = bytearray(path.read_bytes())
    content[content.index(bytes(20000)) + 500] ^= 1
    path.write_bytes(content)
    (problem,) = weights.check("one-2-3-45-surface")
    assert "damaged: a part of it does not fit its checksum" in problem


def test_a_file_of_a_published_name_has_the_published_checksum(tmp_path):
    weights.use("sam-vit-h", write(tmp_path / "sam_vit_h_4b8939.pth", SAM))
    assert "not the one that was published" in weights.check("sam-vit-h")[0]


def test_checking_can_be_cancelled_and_reports_bytes(tmp_path):
    path = write(tmp_path / "x.ckpt", LOFTR)
    weights.use("loftr", path)
    events = []
    weights.check("loftr", events.append)
    assert (events[-1].done, events[-1].total) == (path.stat().st_size,) * 2
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        weights.check("loftr", cancel=cancel)


def test_built_in_weights_pass_the_check():
    assert weights.check("views") == []
    assert weights.check("surface") == []


def test_sizes_are_readable():
    assert [weights.readable(n) for n in (None, 12, 3400, 605_143_316, 15_460_000_000)] == [
        "unknown",
        "12 bytes",
        "3 kB",
        "605.1 MB",
        "15.5 GB",
    ]
    assert json.dumps(weights.MODELS["clip-vit-b-32"].size) == "605143316"
    assert weights.MODELS["zero123"].size is None
