import cv2
import numpy as np
import pytest
import torch
import trimesh

from engine import cameras
from engine.core.errors import InputError
from engine.data import texture_library
from engine.data.models import ModelLibrary
from engine.views import problem
from engine.views.cases import CaseMaker, CasePool, CaseSize, DevicePool, main_direction
from engine.views.manhattan import edge_votes
from engine.views.problem import mirror_some, to_tensors
from tests.engine.data.boxes import Boxes


def pixels_of(points, case, side):
    """Columns and rows (N,) of world points in the picture (side, side) of a case's camera."""
    lens = float(case["lens"])
    c2w = cameras.camera_to_world(float(case["elevation"]), 0.0, lens * cameras.INPUT_RADIUS)
    k = cameras.intrinsics(side, lens * cameras.REFERENCE_FOCAL * side / cameras.REFERENCE_SIZE)
    return np.clip(cameras.project(points.astype(np.float32), c2w, k)[0], 0, side - 1).astype(int).T


def in_silhouette(case, points):
    """Share of world points that project onto or next to the object in a case's mask."""
    column, row = pixels_of(points, case, len(case["mask"]))
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    near = cv2.dilate((case["mask"] > 20).astype(np.uint8), cross)
    return near[row, column].mean()


def test_a_case_fits_together():
    """Points labelled inside project into the silhouette, whatever the lens; rays that hit hold points inside."""
    size = CaseSize(picture=128)
    for seed in range(6):
        for case in CaseMaker(size, views=2).make(seed):
            inside, ray_inside, hit = (case[name] > 0 for name in ("inside", "ray_inside", "ray_hit"))
            for points in (case["points"][inside], case["ray_points"][ray_inside]):
                assert in_silhouette(case, points) > 0.97
            assert 0.2 < hit.mean() < 0.8
            assert ray_inside[hit].any(1).mean() > 0.75  # a wall can be thinner than the step under its surface
            assert ray_inside[~hit].mean() < 0.01


def test_the_solid_seen_along_the_pictures_rays_is_its_mask():
    """Of any solid, lens, elevation and place in the picture: something where the mask says so, else nothing."""
    side, grid = 64, 32
    maker = CaseMaker(CaseSize(picture=side, points=60_000, colors=16), views=3, votes=False)
    elevations, agree = [], []
    for seed in range(40, 52):
        for case in maker.make(seed):
            at = case["points"][case["inside"] > 0].astype(np.float32)
            column, row = pixels_of(at, case, grid)
            seen = np.zeros((grid, grid), bool)
            seen[row, column] = True
            mask = cv2.resize(case["mask"], (grid, grid), interpolation=cv2.INTER_AREA)
            agree += [seen[mask > 240].mean(), (~seen[cv2.dilate(mask, np.ones((3, 3))) == 0]).mean()]
            elevations.append(float(case["elevation"]))
            rows, columns = np.nonzero(mask > 127)
            assert 0.3 * grid < max(np.ptp(rows), np.ptp(columns)) + 1 < 0.95 * grid  # least where much ground is left
    assert np.min(agree) > 0.93 and np.mean(agree) > 0.985
    assert min(elevations) < 0 and max(elevations) > 45


def test_a_mirrored_case_fits_together():
    case = {name: value[None] for name, value in CaseMaker(CaseSize(picture=128), views=1).make(3)[0].items()}
    batch = to_tensors({name: np.repeat(value, 12, 0) for name, value in case.items()}, torch.device("cpu"))
    torch.manual_seed(0)
    mirrored = mirror_some(batch)
    flipped = (mirrored["picture"] != batch["picture"]).flatten(1).any(1)
    votes = edge_votes(mirrored["picture"])
    assert 0 < flipped.sum() < 12
    for i in range(12):
        mine = {name: values[i].numpy() for name, values in mirrored.items()}
        for points, inside in (("points", "inside"), ("ray_points", "ray_inside")):
            assert in_silhouette(mine, mine[points][mine[inside] > 0]) > 0.97
        assert mine["azimuth"] == pytest.approx(case["azimuth"][0] * (-1 if flipped[i] else 1))
        assert np.allclose(mine["votes"], votes[i], atol=0.05)


def test_who_takes_every_lens_for_the_reference_sees_the_same_silhouette(monkeypatch):
    cases = [case for seed in range(4) for case in CaseMaker(CaseSize(picture=128), views=2).make(seed)]
    batch = to_tensors({name: np.stack([case[name] for case in cases]) for name in cases[0]}, torch.device("cpu"))
    assert batch["lens"].std() > 0.1
    monkeypatch.setattr(problem, "_LENS_UNKNOWN", 1.1)
    bent = problem.assume_reference(batch)
    assert torch.allclose(bent["lens"], torch.ones(8))
    for i in range(8):
        mine = {name: values[i].numpy() for name, values in bent.items()}
        assert in_silhouette(mine, mine["points"][mine["inside"] > 0]) > 0.97


@pytest.mark.parametrize("azimuth", [0.0, 20.0, -44.0, 70.0])
def test_a_buildings_main_direction_is_that_of_its_walls(azimuth):
    box = trimesh.creation.box(extents=(1, 0.6, 0.4))
    box.apply_transform(trimesh.transformations.rotation_matrix(np.radians(azimuth), (0, 0, 1)))
    found, aligned = main_direction(box)
    assert aligned and (np.degrees(found) - azimuth + 45) % 90 - 45 == pytest.approx(0, abs=0.1)
    assert not main_direction(trimesh.creation.cone(radius=0.5, height=1, sections=33))[1]


def test_the_same_seed_makes_the_same_case():
    size = CaseSize(picture=64, points=64, colors=16)
    one, two = (CaseMaker(size, views=1).make(7)[0] for _ in range(2))
    assert all((one[k] == two[k]).all() for k in one)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A small library of models: an arch, and a box in a folder that says that it is a building."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "buildings").mkdir()
    arch = trimesh.util.concatenate(
        [trimesh.creation.box(bounds=b) for b in
         [[(0, 0, 0), (0.2, 0.3, 0.8)], [(0.8, 0, 0), (1, 0.3, 0.8)], [(0, 0, 0.8), (1, 0.3, 1)]]]
    )  # fmt: skip
    arch.export(folder / "arch.ply")
    trimesh.creation.box(extents=(1, 0.7, 0.6)).export(folder / "buildings" / "house.ply")
    (folder / "broken.glb").write_bytes(b"not a model")
    return ModelLibrary.scan([folder], folder / "cache")


def test_pool_serves_new_whole_cases_of_models_and_procedural_objects(models):
    """With reuse 1 no case comes twice; all labels agree with the picture, whatever kind of object it shows."""
    size = CaseSize(picture=64, points=512, colors=16)
    pool = CasePool(size, workers=1, slots=24, reuse=1, first_seed=0, seed=0, models=models, share=0.6, buildings=0.5)
    seen, kinds = set(), set()
    try:
        for _ in range(10):
            batch = pool.batch(4)
            assert batch["picture"].shape == (4, 64, 64, 4)
            assert np.ptp(batch["picture"]) > 0
            seen |= {float(e) for e in batch["elevation"]}
            kinds |= set(batch["kind"].tolist())
            for i in range(4):
                case = {name: values[i] for name, values in batch.items()}
                assert in_silhouette(case, case["points"][case["inside"] > 0]) > 0.95
    finally:
        pool.close()
    assert len(seen) == 40
    assert kinds == {0, 1, 2}


def test_a_model_that_fails_does_not_end_the_work(models, monkeypatch):
    """Another is drawn in its place; where none can be used, a procedural object."""
    draws = []

    def fails_twice(self, rng, split="train", *, buildings=0.5):
        draws.append(split)
        if len(draws) % 3:
            raise KeyError("accessors")
        return good

    good = models.draw(np.random.default_rng(0), buildings=1.0)
    monkeypatch.setattr(ModelLibrary, "draw", fails_twice)
    maker = CaseMaker(CaseSize(picture=64, points=64, colors=16), views=1, models=models, share=1.0)
    assert maker.make(0)[0]["kind"] == 1 and draws == ["train"] * 3
    monkeypatch.setattr(ModelLibrary, "draw", lambda *a, **k: (_ for _ in ()).throw(InputError("none is left")))
    assert maker.make(0)[0]["kind"] == 0


def test_a_solids_own_picture_is_in_its_cases():
    """Red all over: so are the picture and the surface colours."""
    red = np.zeros((1, 16, 16, 3), np.uint8)
    red[..., 0] = 200
    solid = Boxes((-0.5, -0.3, -0.4), (0.5, 0.3, 0.4), textures=red, layer_of_all=len(texture_library()))
    for case in CaseMaker(CaseSize(picture=64, points=64), views=6).cases_of(solid, np.random.default_rng(1)):
        pixels = case["picture"][case["mask"] == 255][:, :3]
        assert np.median(pixels[:, 0]) > 2 * np.median(pixels[:, 1])
        assert np.median(case["colors"][:, 0]) > 2 * np.median(case["colors"][:, 1])
        assert case["kind"] == 2


def test_makers_and_trainer_take_turns():
    """On the same cores cases are made while the trainer waits: a quarter of the stock at a time, none in between."""
    pool = CasePool(CaseSize(picture=64, points=64, colors=16), workers=1, slots=24, reuse=1, first_seed=0, seed=0,
                    turns=True)  # fmt: skip
    try:
        made = []
        for _ in range(6):
            pool.batch(2)
            made.append(pool.made)
        assert made == [24, 24, 24, 30, 30, 30]
    finally:
        pool.close()


def test_a_device_keeps_the_newest_cases():
    """Every kept case is whole, with the votes of its own edges; the oldest give way."""
    size = CaseSize(picture=64, points=64, colors=16)
    pool = CasePool(size, workers=1, slots=12, reuse=1, first_seed=0, seed=0, votes=False)
    made = [case for seed in range(24) for case in CaseMaker(size).make(seed)]
    known = {case["points"].tobytes(): case for case in made}
    try:
        device = DevicePool(pool, 18, torch.device("cpu"))
        seen = []
        while pool.made < 48:
            batch = device.batch(6)
            assert pool.made >= 18  # waits until there is something to choose from
            names = [points.numpy().tobytes() for points in batch["points"]]
            seen.append(set(names))
            for i, case in enumerate(known[name] for name in names):
                assert all((batch[name][i].numpy() == case[name]).all() for name in case if name != "votes")
                assert np.allclose(batch["votes"][i], case["votes"], atol=2e-3)
        assert not seen[0] & seen[-1]
    finally:
        pool.close()
