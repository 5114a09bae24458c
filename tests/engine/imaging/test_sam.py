"""Segment Anything: the published layouts against the model written out plainly, prompts, and what can go wrong."""

import json
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from engine import weights
from engine.core.errors import Cancelled, InputError, WeightsError
from engine.core.progress import CancelToken
from engine.imaging import extract_foreground, sam
from tests.engine.imaging.plain_sam import PlainSam
from tests.tiny_models import TINY_SAM, dark_sam_state, random_sam_state, sam_shapes, tiny_sam2, write_tiny_sam

MEAN, DEVIATION = np.float32([123.675, 116.28, 103.53]), np.float32([58.395, 57.12, 57.375])
BOX = (60, 30, 140, 110)


@pytest.fixture(autouse=True)
def nothing_in_memory():
    yield
    sam.release()


@pytest.fixture
def use_sam(tmp_path):
    """The tiny model as the user's Segment Anything."""
    weights.use("sam-vit-b", write_tiny_sam(tmp_path / "sam_vit_b_01ec64.pth"))
    yield
    weights.set_paths({})


def scene() -> tuple[np.ndarray, np.ndarray]:
    """(picture, mask) of a dark object on white, 200 x 150."""
    picture = np.full((150, 200, 4), 255, np.uint8)
    truth = np.zeros((150, 200), bool)
    truth[32:108, 62:138] = True
    picture[truth, :3] = (120, 70, 50)
    return picture, truth


SIZES = TINY_SAM | {"grid": 12}
"""Of the models that are compared with the plain one, which is slow."""


def random_picture(shape=(96, 160), seed=2) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 4)).astype(np.uint8)


def expected(state, picture, box=None, points=None, labels=None) -> np.ndarray:
    """The mask's probabilities (H, W) as published, from the model written out plainly: the last of three where a
    box is all that is given (`masks_bbox[-1]` of the released code), else the best."""
    model = PlainSam(state, SIZES)
    height, width = picture.shape[:2]
    scale = model.side / max(height, width)
    inner = int(height * scale + 0.5), int(width * scale + 0.5)
    resized = Image.fromarray(picture[..., :3]).resize(inner[::-1], Image.Resampling.BILINEAR)
    pixels = torch.zeros(3, model.side, model.side)
    pixels[:, : inner[0], : inner[1]] = torch.from_numpy((np.asarray(resized) - MEAN) / DEVIATION).permute(2, 0, 1)
    factor = torch.tensor([inner[1] / width, inner[0] / height])
    whole = box is not None and points is None
    box = None if box is None else (torch.tensor(box).reshape(2, 2) * factor - 0.5).reshape(-1)
    points = None if points is None else torch.tensor(points) * factor - 0.5
    masks, iou = model.decode(model.encode(pixels), model.prompt(points, labels, box))
    best = masks[2 if whole else int(iou.argmax())][None, None]
    best = torch.nn.functional.interpolate(best, (model.side,) * 2, mode="bilinear")[..., : inner[0], : inner[1]]
    return torch.nn.functional.interpolate(best, (height, width), mode="bilinear")[0, 0].sigmoid().numpy()


PROMPTS = {
    "box": {"box": (20.0, 10.0, 130.0, 80.0)},
    "points": {"points": [[30.5, 40.0], [100.0, 20.0], [77.0, 60.5]], "labels": [1, 0, 1]},
    "both": {"box": (20.0, 10.0, 130.0, 80.0), "points": [[30.5, 40.0], [100.0, 20.0]], "labels": [0, 1]},
}


# Layouts


@pytest.mark.parametrize("layout", ["original", "hub"])
@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_the_masks_are_those_of_the_published_equations(tmp_path, layout, prompt):
    state = random_sam_state(5, SIZES)
    path = write_tiny_sam(tmp_path / ("sam_vit_b.pth" if layout == "original" else "sam"), layout, state=state)
    picture = random_picture()
    found = sam.SamSegmenter.load(path, device="cpu").segment(picture, **prompt)
    assert found.shape == (96, 160) and found.dtype == np.float32
    assert np.ptp(found) > 0.05
    np.testing.assert_allclose(found, expected(state, picture, **prompt), atol=1e-4)


def test_every_name_is_converted_and_the_way_back_is_clear():
    from transformers import SamModel

    state = random_sam_state()
    tensors, config = sam.from_original(state)
    ours = SamModel(config).state_dict()
    assert {name: t.shape for name, t in tensors.items()} == {name: t.shape for name, t in ours.items()}
    # Every tensor marked with a number of its own shows which became which.
    names = list(state)
    marked, _ = sam.from_original({name: torch.full_like(state[name], i) for i, name in enumerate(names)})
    twin = "prompt_encoder.shared_embedding.positional_embedding"
    back = {names[int(tensor.flatten()[0])]: new for new, tensor in marked.items() if new != twin}
    assert set(back) == set(names) and len(set(back.values())) == len(marked) - 1
    assert all(torch.equal(tensors[new], state[name]) for name, new in back.items())


def test_published_sizes_are_read_off_the_shapes():
    base = {
        "width": 768,
        "depth": 12,
        "heads": 12,
        "grid": 64,
        "patch": 16,
        "window": 14,
        "global": (2, 5, 8, 11),
        "hidden": 3072,
        "out": 256,
        "mask_channels": 16,
        "decoder_hidden": 2048,
        "iou_hidden": 256,
    }
    huge = base | {"width": 1280, "depth": 32, "heads": 16, "global": (7, 15, 23, 31), "hidden": 5120}
    for sizes in (base, huge):
        state = {name: torch.empty(shape, device="meta") for name, shape in sam_shapes(sizes).items()}
        _, config = sam.from_original(state)
        vision, decoder = config.vision_config, config.mask_decoder_config
        assert (vision.hidden_size, vision.num_hidden_layers) == (sizes["width"], sizes["depth"])
        assert (vision.num_attention_heads, vision.mlp_dim) == (sizes["heads"], sizes["hidden"])
        assert (vision.image_size, vision.patch_size, vision.window_size) == (1024, 16, 14)
        assert tuple(vision.global_attn_indexes) == sizes["global"]
        assert (vision.output_channels, vision.num_pos_feats) == (256, 128)
        assert (decoder.num_hidden_layers, decoder.mlp_dim, decoder.attention_downsample_rate) == (2, 2048, 2)
        assert (decoder.num_multimask_outputs, decoder.iou_head_depth, decoder.iou_head_hidden_dim) == (3, 3, 256)
        assert config.prompt_encoder_config.mask_input_channels == 16


def test_sam_2_gives_what_transformers_gives(tmp_path):
    from transformers import Sam2ImageProcessor, Sam2Processor

    picture = random_picture()
    found = sam.SamSegmenter.load(write_tiny_sam(tmp_path / "sam2", "sam2"), device="cpu")
    mask = found.segment(picture, box=(20.0, 10.0, 130.0, 80.0), points=[[40.0, 30.0]], labels=[1])
    torch.manual_seed(0)
    model = tiny_sam2()
    processor = Sam2Processor(Sam2ImageProcessor(size={"height": 128, "width": 128}), target_size=128)
    inputs = processor(
        images=Image.fromarray(picture[..., :3]),
        input_points=[[[[40.0, 30.0]]]],
        input_labels=[[[1]]],
        input_boxes=[[[20.0, 10.0, 130.0, 80.0]]],
        return_tensors="pt",
    )
    # Theirs counts the first centre as (0, 0) in the square.
    inputs["input_points"], inputs["input_boxes"] = inputs["input_points"] - 0.5, inputs["input_boxes"] - 0.5
    with torch.inference_mode():
        out = model(**{k: v for k, v in inputs.items() if k != "original_sizes"})
    best = out.pred_masks[:, 0, int(out.iou_scores[0, 0].argmax())][:, None]
    logits = torch.nn.functional.interpolate(best, (96, 160), mode="bilinear")[0, 0]
    np.testing.assert_allclose(mask, logits.sigmoid().numpy(), atol=1e-3)
    assert np.ptp(logits.numpy()) > 1e-5


def test_the_video_tracker_in_a_sam_2_file_is_passed_over(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = write_tiny_sam(tmp_path / "sam2", "sam2")
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "sam2_video", "num_maskmem": 7}
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"memory_encoder.projection.weight": torch.zeros(3)}, folder / "model.safetensors")
    assert sam.SamSegmenter.load(folder).segment(random_picture()).shape == (96, 160)


# What it does with a picture


def test_the_best_of_the_three_masks_is_taken(tmp_path):
    picture, truth = scene()
    found = sam.SamSegmenter.load(write_tiny_sam(tmp_path / "sam.pth")).segment(picture, points=[[99, 69]], labels=[1])
    assert ((found > 0.5) & truth).sum() / ((found > 0.5) | truth).sum() > 0.85


def test_a_box_alone_is_answered_with_the_whole_of_what_is_in_it(tmp_path):
    """The last of the masks, though the model thinks more of another: with clicks that one is taken."""
    picture, truth = scene()
    state = dark_sam_state()
    state["mask_decoder.output_hypernetworks_mlps.2.layers.2.bias"][:2] *= -1  # the best: all but the object
    segmenter = sam.SamSegmenter.load(write_tiny_sam(tmp_path / "sam.pth", state=state))
    masks = [segmenter.segment(picture, box=BOX) > 0.5]
    masks += [segmenter.segment(picture, box, [[5, 5]], [1]) > 0.5 for box in (None, BOX)]
    overlaps = [(mask & truth).sum() / (mask | truth).sum() for mask in masks]
    assert overlaps[0] > 0.85 and max(overlaps[1:]) < 0.1


def test_further_prompts_do_not_read_the_picture_again(tmp_path):
    segmenter = sam.SamSegmenter.load(write_tiny_sam(tmp_path / "sam.pth", state=random_sam_state(0, SIZES)))
    encoded = []
    segmenter._model.vision_encoder.register_forward_hook(lambda *_: encoded.append(1))
    picture = random_picture()
    first = segmenter.segment(picture, points=[[20, 20]], labels=[1])
    second = segmenter.segment(picture.copy(), points=[[20, 20], [90, 70]], labels=[1, 0])
    assert len(encoded) == 1 and not np.allclose(first, second)
    segmenter.segment(random_picture(seed=9))
    assert len(encoded) == 2


def test_without_a_prompt_it_looks_in_the_middle(tmp_path):
    segmenter = sam.SamSegmenter.load(write_tiny_sam(tmp_path / "sam.pth", state=random_sam_state(0, SIZES)))
    picture = random_picture()
    middle = (16.0, 9.6, 144.0, 86.4)
    np.testing.assert_allclose(segmenter.segment(picture), segmenter.segment(picture, middle), atol=1e-6)
    off = {"points": [[3, 3]], "labels": [0]}
    np.testing.assert_allclose(segmenter.segment(picture, **off), segmenter.segment(picture, middle, **off), atol=1e-6)


@pytest.mark.parametrize("layout", ["original", "sam2"])
def test_what_half_precision_makes_no_numbers_of_is_read_again_in_single(tmp_path, monkeypatch, layout):
    path = write_tiny_sam(tmp_path / "sam", layout)
    expected = sam.SamSegmenter.load(path, device="cpu").segment(random_picture(), box=(20.0, 10.0, 130.0, 80.0))
    segmenter = sam.SamSegmenter.load(path, device="cpu")
    own, tried = segmenter._model.get_image_embeddings, []

    def embeddings(pixels):
        tried.append(1)
        found = own(pixels)
        if len(tried) > 1:
            return found
        return [part * np.nan for part in found] if layout == "sam2" else found * np.nan

    monkeypatch.setattr(segmenter._model, "get_image_embeddings", embeddings)
    np.testing.assert_allclose(segmenter.segment(random_picture(), box=(20.0, 10.0, 130.0, 80.0)), expected, atol=1e-5)
    assert len(tried) == 2


def test_cancel_stops_between_layers(tmp_path):
    segmenter = sam.SamSegmenter.load(write_tiny_sam(tmp_path / "sam.pth"))
    token = CancelToken()
    segmenter._model.vision_encoder.layers[0].register_forward_hook(lambda *_: token.cancel())
    with pytest.raises(Cancelled):
        segmenter.segment(random_picture(), cancel=token)
    assert segmenter.segment(random_picture()).shape == (96, 160)


# The mode of the foreground


def test_the_mode_finds_the_object_and_says_by_what(use_sam, tmp_path):
    picture, truth = scene()
    found = extract_foreground(picture, mode="sam", points=[(100, 70, 1)])
    assert found.method == "sam" and found.weights == tmp_path / "sam_vit_b_01ec64.pth" and found.device == "cpu"
    assert found.mask.dtype == np.float32 and 0 <= found.mask.min() <= found.mask.max() <= 1
    assert ((found.mask > 0.5) & truth).sum() / ((found.mask > 0.5) | truth).sum() > 0.9


def test_strokes_correct_the_answer(use_sam):
    picture, _ = scene()
    strokes = np.zeros((150, 200), np.uint8)
    strokes[40:60, 70:90], strokes[5:15, 5:15] = 2, 1
    mask = extract_foreground(picture, mode="sam", box=BOX, strokes=strokes).mask
    assert mask[45:55, 75:85].max() == 0 and mask[5:15, 5:15].min() == 1 and mask[90, 100] > 0.9


def test_one_model_serves_previews_and_runs(use_sam):
    picture, _ = scene()
    masks = {}

    def work(name):
        masks[name] = extract_foreground(picture, mode="sam").mask

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first = sam.shared()
    assert len(masks) == 3 and np.array_equal(masks[0], masks[2]) and sam.shared() is first
    sam.release()
    assert sam.shared() is not first


def test_an_empty_answer_is_said(tmp_path):
    state = dark_sam_state()
    state["mask_decoder.output_hypernetworks_mlps.3.layers.2.bias"][:2] = -5.0  # the mask of nothing
    path = write_tiny_sam(tmp_path / "sam.pth", state=state)
    with pytest.raises(InputError, match=r"found no object there.*click a point"):
        extract_foreground(scene()[0], mode="sam", model=path)


def test_points_that_cannot_be(use_sam):
    picture, _ = scene()
    with pytest.raises(InputError, match=r"\(250, 20\) lies outside the picture of 200 x 150"):
        extract_foreground(picture, mode="sam", points=[(100, 70, 1), (250, 20, 0)])
    for points in ([(1, 2)], [(1, 2, 3)], [1, 2, 1]):
        with pytest.raises(InputError, match="three numbers"):
            extract_foreground(picture, mode="sam", points=points)
    assert extract_foreground(picture, mode="whole", points=[]).mask.all()


# Weights that are not right


def test_missing_weights_say_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert sam.available() == []
    with pytest.raises(WeightsError, match=r"SAM.*fetch"):
        extract_foreground(scene()[0], mode="sam")


def test_what_is_not_segment_anything_is_named(tmp_path):
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="no Segment Anything checkpoint"):
        sam.SamSegmenter.load(tmp_path / "other.pth")
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(WeightsError, match=r"cut.pth"):
        sam.SamSegmenter.load(tmp_path / "cut.pth")
    with pytest.raises(WeightsError, match=r"nothing.pth"):
        sam.SamSegmenter.load(tmp_path / "nothing.pth")
    with pytest.raises(WeightsError, match=r"holds no model.safetensors"):
        sam.SamSegmenter.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda s: s.pop("image_encoder.blocks.1.norm1.bias"), "missing: vision_encoder.layers.1.layer_norm1.bias"),
        (
            lambda s: s.update({"mask_decoder.hf_token.weight": torch.zeros(1)}),
            "left over: mask_decoder.hf_token.weight",
        ),
        (
            lambda s: s.update({"mask_decoder.iou_token.weight": torch.zeros(2, 32)}),
            r"iou_token.weight \(2, 32\), not \(1",
        ),
        (lambda s: s.pop("image_encoder.pos_embed"), "it lacks 'image_encoder.pos_embed'"),
    ],
    ids=["missing", "left over", "shape", "size"],
)
def test_every_tensor_is_used_or_named(tmp_path, change, text):
    state = random_sam_state()
    change(state)
    with pytest.raises(WeightsError, match=text):
        sam.SamSegmenter.load(write_tiny_sam(tmp_path / "sam.pth", state=state))


def test_a_folder_of_another_model(tmp_path):
    folder = write_tiny_sam(tmp_path / "sam", "hub")
    config = json.loads((folder / "config.json").read_text())
    for text, match in ((json.dumps(config | {"model_type": "clip"}), "'clip'"), ("{", "not the configuration")):
        (folder / "config.json").write_text(text)
        with pytest.raises(WeightsError, match=match):
            sam.SamSegmenter.load(folder)
    (folder / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"with config.json"):
        sam.SamSegmenter.load(folder)
