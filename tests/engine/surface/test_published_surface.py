from dataclasses import replace

import numpy as np
import pytest
import released_surface as released
import torch
from released_surface import OFFSETS
from tiny_models import (
    FULL_ONE2345,
    TINY_ONE2345,
    one2345_state,
    write_one2345_surface,
    write_tiny_loftr,
    write_tiny_one2345_surface,
)

from engine import cameras, weights
from engine.core.errors import Cancelled, WeightsError
from engine.core.progress import CancelToken
from engine.surface import PUBLISHED, PublishedNetwork, load_surface, reconstruct_surface
from engine.surface.published import (
    SparseConv,
    SparseTransposed,
    SparseUNet,
    VolumeFrame,
    coarser,
    from_published,
    load_published,
    to_published,
)

VOXELS, PIXELS = 12, 32
"""Sides of the volume and of the pictures in the comparisons, where neighbours are looked up one by one."""


def _flat(state):
    """As `weights.read_checkpoint` gives a checkpoint."""
    parts = {name: part for name, part in state.items() if name not in ("optimizer", "iter_step", "val_step")}
    return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.items()}


def _network(state):
    network = load_published(_flat(state), "ckpt.pth").eval()
    network.config = replace(network.config, volume_resolution=VOXELS, image_size=PIXELS)
    return network


@pytest.fixture(scope="module")
def compared():
    """One object encoded by the network and by the straightforward one, and what both know of its cameras."""
    torch.set_num_threads(1)
    state = one2345_state(radius=0, seed=3)
    network = _network(state)
    elevation = 20.0
    poses = cameras.source_poses(elevation)[:4] + cameras.source_poses(elevation)[9::7]
    c2ws = np.stack([p.matrix() for p in poses])
    k = cameras.intrinsics(PIXELS)
    draw = np.random.default_rng(0)
    views = draw.random((len(poses), PIXELS, PIXELS, 4)).astype(np.float32)
    with torch.no_grad():
        scene = network.encode(views, c2ws, k)

    # The released frame: OpenCV cameras at 1.2 from the object, seen from the input's.
    def at_released_distance(c2w):
        moved = cameras.opengl_to_opencv(c2w).astype(np.float64)
        moved[:3, 3] *= 1.2 / cameras.INPUT_RADIUS
        return moved

    reference = at_released_distance(cameras.Pose(elevation, 0.0).matrix())
    seen = [at_released_distance(c) for c in c2ws]
    centre, radius = released.scale_matrix(reference, np.stack(seen), k, PIXELS)
    w2cs = torch.tensor(
        np.stack([released.scaled_w2c(reference, c, centre, radius) for c in seen]), dtype=torch.float32
    )
    pictures = torch.from_numpy(views[..., :3]).permute(0, 3, 1, 2)
    sdf = state["sdf_network_lod0"]
    with torch.no_grad():
        features = released.pyramid(pictures, state["pyramid_feature_network"])
        cost = released.cost(released.compress(features, sdf), w2cs, torch.from_numpy(k), VOXELS)
        volume = released.unet(cost, sdf)
    return {
        "state": state, "network": network, "scene": scene, "reference": reference, "centre": centre, "radius": radius,
        "w2cs": w2cs, "k": torch.from_numpy(k), "pictures": pictures, "features": features, "cost": cost,
        "volume": volume,
    }  # fmt: skip


def _world(compared, points):
    """Points (N, 3) of the released frame in ours."""
    camera = points.double().numpy() * compared["radius"] + compared["centre"]
    world = camera @ compared["reference"][:3, :3].T + compared["reference"][:3, 3]
    return torch.from_numpy(world * cameras.INPUT_RADIUS / 1.2).float()


def _dense(values, side=VOXELS):
    """(C, side, side, side) with axes z, y, x of values by coordinate (x, y, z)."""
    out = torch.zeros(side, side, side, len(next(iter(values.values()))))
    for (x, y, z), value in values.items():
        out[z, y, x] = value
    return out.permute(3, 0, 1, 2)


def _unit(kernel, layer):
    """A layer with the released kernel [27, 1, 1] whose batch norm does nothing; values are positive."""
    layer.requires_grad_(False)
    dense = kernel.reshape(3, 3, 3, 1, 1).permute(
        (3, 4, 0, 1, 2) if isinstance(layer, SparseTransposed) else (4, 3, 0, 1, 2)
    )
    layer.conv.weight.data = dense.clone()
    layer.bn.running_var.fill_(1 - 1e-5)
    return layer.eval()


# Sparse convolutions


def test_sparse_convolutions_of_a_few_voxels_are_as_worked_out_by_hand():
    # Matrix k of the kernel is the number k + 1; its offset is x = k % 3 - 1, y = k // 3 % 3 - 1, z = k // 9 - 1.
    kernel = torch.arange(1.0, 28.0).view(27, 1, 1)
    mask = torch.zeros(4, 4, 4, dtype=torch.bool)
    x = torch.zeros(1, 1, 4, 4, 4)
    for (i, j, k), value in {(2, 1, 3): 1.0, (3, 1, 3): 10.0}.items():  # coordinates x, y, z
        mask[k, j, i], x[0, 0, k, j, i] = True, value

    same = _unit(kernel, SparseConv(1, 1))(x, mask)[0, 0]
    # The voxel itself by the middle one, number 14; the neighbour at x + 1 by number 15, at x - 1 by number 13.
    assert same[3, 1, 2] == pytest.approx(14 * 1 + 15 * 10)
    assert same[3, 1, 3] == pytest.approx(14 * 10 + 13 * 1)
    assert int((same != 0).sum()) == 2

    # Even coordinates within a step of a voxel and not below the least: x of 2 or 4, y = 2 (0 is below 1), z = 4.
    coarse = coarser(mask)
    assert coarse.shape == (3, 3, 3)
    assert torch.nonzero(coarse).tolist() == [[2, 1, 1], [2, 1, 2]]  # z, y, x in steps of two
    down = _unit(kernel, SparseConv(1, 1, 2))(x, coarse)[0, 0]
    # From (2, 2, 4) the voxels lie at (0, -1, -1), number 2, and (1, -1, -1), number 3; from (4, 2, 4) at (-1, -1, -1).
    assert down[2, 1, 1] == pytest.approx(2 * 1 + 3 * 10)
    assert down[2, 1, 2] == pytest.approx(1 * 10)

    y = torch.zeros(1, 1, 3, 3, 3)
    y[0, 0, 2, 1, 1], y[0, 0, 2, 1, 2] = 1.0, 100.0
    up = _unit(kernel, SparseTransposed(1, 1))(y, mask)[0, 0]
    assert up[3, 1, 2] == pytest.approx(2 * 1)
    assert up[3, 1, 3] == pytest.approx(3 * 1 + 1 * 100)
    assert int((up != 0).sum()) == 2


@pytest.mark.parametrize("side", [9, 12])
def test_dense_u_net_equals_one_that_looks_its_neighbours_up(side):
    draw = torch.Generator().manual_seed(side)
    mask = torch.rand(side, side, side, generator=draw) < 0.3
    mask[:3] = False  # an odd least coordinate
    mask[:, :, :1] = False
    mask[-1, -1, -1] = True
    part = one2345_state(seed=side)["sdf_network_lod0"]
    values = {tuple(reversed(c)): torch.randn(8, generator=draw) for c in torch.nonzero(mask).tolist()}
    network = load_published(_flat(one2345_state(seed=side)), "ckpt.pth").eval()
    with torch.no_grad():
        found = network.unet(_dense(values, side)[None], mask)[0]
    expected = released.unet(values, part)
    assert torch.allclose(found, _dense(expected, side), atol=1e-4)
    assert (found[:, ~mask] == 0).all()
    levels = list(values)
    for stride in (1, 2, 4):
        levels, mask = released.downsampled(levels, stride), coarser(mask)
        places = {tuple(2 * stride * i for i in reversed(c)) for c in torch.nonzero(mask).tolist()}
        assert places == set(levels)


def test_offsets_run_with_x_fastest():
    assert OFFSETS[0] == (-1, -1, -1)
    assert OFFSETS[1] == (0, -1, -1)
    assert OFFSETS[13] == (0, 0, 0)


# The forward, part by part


def test_pyramid_equals_the_released_one(compared):
    network = compared["network"]
    with torch.no_grad():
        found = network.pyramid(compared["pictures"])
        small = network.compress(found)
    assert torch.allclose(found, compared["features"], atol=1e-4)
    expected = released.compress(compared["features"], compared["state"]["sdf_network_lod0"])
    assert torch.allclose(small, expected, atol=1e-4)


def test_cost_volume_equals_the_released_one(compared):
    network, scene = compared["network"], compared["scene"]
    with torch.no_grad():
        cost, mask = network.cost(network.compress(scene.features), scene.w2c, scene.k, scene.frame)
    expected = _dense(compared["cost"])
    assert 100 < len(compared["cost"]) < VOXELS**3
    assert torch.equal(mask, (expected != 0).any(0))
    assert torch.allclose(cost[0], expected, atol=1e-4)


def test_volume_equals_the_released_one(compared):
    assert torch.allclose(compared["scene"].volume[0], _dense(compared["volume"]), atol=1e-4)


def test_distance_equals_the_released_one_in_world_units(compared):
    draw = torch.Generator().manual_seed(1)
    points = torch.rand(200, 3, generator=draw) * 2 - 1
    expected = released.distance(points, compared["volume"], VOXELS, compared["state"]["sdf_network_lod0"])
    with torch.no_grad():
        found = compared["network"].sdf(compared["scene"], _world(compared, points))
    in_world = compared["radius"] * cameras.INPUT_RADIUS / 1.2
    assert float(expected.std()) > 0.1
    assert torch.allclose(found, expected * in_world, atol=2e-4)


def test_colours_equal_the_released_ones(compared):
    draw = torch.Generator().manual_seed(2)
    points = torch.rand(120, 3, generator=draw) * 1.6 - 0.8
    normals = torch.nn.functional.normalize(torch.randn(120, 3, generator=draw), dim=-1)
    expected = released.colors(
        points, normals, compared["pictures"], compared["features"], compared["w2cs"], compared["k"],
        compared["volume"], VOXELS, compared["state"]["rendering_network_lod0"],
    )  # fmt: skip
    directions = -normals @ torch.from_numpy(compared["reference"][:3, :3]).float().T
    with torch.no_grad():
        found = compared["network"].colors(compared["scene"], _world(compared, points), directions)
    assert float(expected.std()) > 0.02
    assert torch.allclose(found, expected, atol=1e-4)


def test_published_weights_are_normalised_by_the_object_and_trained_ones_by_what_they_keep(scene):
    tensors = _flat(one2345_state(radius=0, seed=3))
    strange = {n: v + 2.0 if n.endswith(("running_mean", "running_var")) else v for n, v in tensors.items()}
    found = []
    for state in (tensors, strange):
        network = load_published(state, "ckpt.pth").eval()
        before = {name: value.clone() for name, value in network.state_dict().items()}
        with torch.no_grad():
            found.append(network.encode(scene.views, scene.c2ws, scene.k).volume)
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(*found)

    # The same weights, if they were trained here.
    with torch.no_grad():
        ours, other = (
            load_published(state, "ckpt.pth").eval().use_as(released=False).encode(scene.views, scene.c2ws, scene.k)
            for state in (tensors, strange)
        )
    assert not torch.allclose(ours.volume, other.volume, atol=0.1)
    assert not torch.allclose(ours.volume, found[0], atol=0.1)


def test_normals_are_the_gradient_of_the_distance(compared):
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(4)) - 0.5
    network, scene = compared["network"], compared["scene"]
    normals = network.normals(scene, points)
    with torch.no_grad():
        steps = [1e-3 * e for e in torch.eye(3)]
        slope = torch.stack([network.sdf(scene, points + s) - network.sdf(scene, points - s) for s in steps], -1)
    assert torch.allclose(normals.norm(dim=-1), torch.ones(50), atol=1e-4)
    agreement = (normals * torch.nn.functional.normalize(slope, dim=-1)).sum(-1)
    assert float(agreement.median()) > 0.999


def test_frame_is_the_released_one_for_the_released_poses():
    """Poses by the released formulas, in their world, which is turned about the vertical against ours."""
    elevation = 25.0
    mid, low, size = 90 - elevation, 90 - elevation + 30, 256
    starts = [30 + 90 * i for i in range(4)], [60 + 90 * i for i in range(4)]
    polar = [p + d for p, four in ((mid, starts[0]), (low, starts[1])) for _ in four for d in (-10, 10, 0, 0)]
    around = [a + d for four in starts for a in four for d in (0, 0, -10, 10)]

    def pose(phi, theta):
        phi, theta = np.radians(phi), np.radians(theta)
        back = np.array([np.sin(theta) * np.sin(phi), -np.cos(theta) * np.sin(phi), np.cos(phi)])
        right = np.cross([0, 0, 1], back)
        right /= np.linalg.norm(right)
        c2w = np.eye(4)
        c2w[:3, :3] = np.stack([right, np.cross(back, right), back], -1)
        c2w[:3, 3] = 1.2 * back
        return c2w @ np.diag([1, -1, -1, 1])

    k = np.array([[280, 0, 128], [0, 280, 128], [0, 0, 1.0]])
    reference = pose(mid, 30)
    centre, radius = released.scale_matrix(
        reference, np.stack([pose(*p) for p in zip(polar, around, strict=True)]), k, size
    )
    ours = np.stack([p.matrix() for p in cameras.source_poses(elevation)])
    frame = VolumeFrame.around(ours, cameras.intrinsics(size), size)
    points = np.random.default_rng(0).uniform(-0.6, 0.6, (20, 3))
    turn = np.radians(30 - 90)
    turned = points @ np.array([[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    w2c = np.linalg.inv(reference)
    expected = ((turned * 1.2 / cameras.INPUT_RADIUS) @ w2c[:3, :3].T + w2c[:3, 3] - centre) / radius
    found = frame.points(torch.from_numpy(points))
    assert np.abs(found.numpy() - expected).max() < 1e-5
    assert torch.allclose(frame.world(found), torch.from_numpy(points))
    # The object that is looked for lies inside the volume.
    corners = torch.tensor([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * PUBLISHED.extent
    assert frame.points(corners.double()).abs().max() < 1


def test_frame_is_the_same_for_any_distance_of_the_cameras():
    near, far = (np.stack([replace(p, radius=r).matrix() for p in cameras.source_poses(10.0)]) for r in (1.2, 3.0))
    k = cameras.intrinsics(64)
    point = torch.tensor([[0.1, -0.2, 0.3]], dtype=torch.float64)
    a, b = VolumeFrame.around(near, k, 64).points(point), VolumeFrame.around(far, k, 64).points(point * 2.5)
    assert torch.allclose(a, b, atol=1e-5)


# The checkpoint


@pytest.mark.parametrize("sizes", [TINY_ONE2345, FULL_ONE2345], ids=["tiny", "published"])
def test_conversion_and_back_gives_the_checkpoint(sizes):
    tensors = _flat(one2345_state(sizes))
    again = to_published(from_published(tensors))
    assert again.keys() == tensors.keys()
    for name, value in tensors.items():
        assert torch.equal(again[name], value), name
    # What the network holds is all of the checkpoint but its counters.
    network = load_published(tensors, "ckpt.pth")
    held = to_published(network.state_dict())
    assert {n for n in tensors if not n.endswith("num_batches_tracked")} == held.keys()
    assert all(torch.equal(held[n], tensors[n]) for n in held)
    if sizes is FULL_ONE2345:
        assert network.config == PUBLISHED
        assert tensors["sdf_network_lod0.sparse_costreg_net.conv7.net.0.kernel"].shape == (27, 64, 32)
        assert network.unet.conv7.conv.weight.shape == (64, 32, 3, 3, 3)
        assert network.unet.conv3.conv.weight.shape == (32, 16, 3, 3, 3)


def test_checkpoint_on_disk_loads_by_path_and_by_name(tmp_path, monkeypatch):
    path = write_tiny_one2345_surface(tmp_path / "folder" / "ckpt_215000.pth")
    network = load_surface(path)
    assert isinstance(network, PublishedNetwork)
    assert network.released and not network.training
    assert network.config.pyramid_channels == TINY_ONE2345["pyramid"]
    assert network.config.frequencies == 2
    assert float(network.inverse_deviation.detach()) == pytest.approx(np.exp(3.5), rel=1e-4)
    monkeypatch.setenv("ORIEL_WEIGHTS", str(path.parent))
    again = load_surface("one-2-3-45")
    assert torch.equal(network.compress.conv.weight, again.compress.conv.weight)
    assert load_surface("built-in").config.name == "built-in"


def test_published_sizes_bring_the_published_resolution(tmp_path):
    assert load_surface(write_one2345_surface(tmp_path / "ckpt_215000.pth")).config == PUBLISHED


def test_file_of_an_older_in_place_abn_without_counters_loads():
    tensors = {n: v for n, v in _flat(one2345_state()).items() if not n.endswith("num_batches_tracked")}
    assert load_published(tensors, "ckpt.pth").config.sdf_width == TINY_ONE2345["width"]


def test_second_level_and_training_state_are_left_aside(tmp_path):
    state = one2345_state()
    plain = load_published(_flat(state), "ckpt.pth").state_dict()
    for name in ("sdf_network_lod0", "rendering_network_lod0", "variance_network_lod0"):
        state[name.replace("lod0", "lod1")] = dict(state[name])
    state["pyramid_feature_network_lod1"] = dict(state["pyramid_feature_network"])
    torch.save(state, tmp_path / "two_levels.pth")
    loaded = load_surface(tmp_path / "two_levels.pth").state_dict()
    assert all(torch.equal(plain[n], loaded[n]) for n in plain)


def test_faults_of_a_checkpoint_are_named(tmp_path):
    def load(change):
        tensors = _flat(one2345_state())
        change(tensors)
        return load_published(tensors, tmp_path / "ckpt.pth")

    kernel = "sdf_network_lod0.sparse_costreg_net.conv3.net.0.kernel"
    with pytest.raises(WeightsError, match=r"ckpt.pth is not .* lacks parts: sdf_network_lod0.*conv3"):
        load(lambda t: t.pop(kernel))
    with pytest.raises(WeightsError, match=r"should not have: sdf_network_lod0.gru.weight"):
        load(lambda t: t.update({"sdf_network_lod0.gru.weight": torch.zeros(1)}))
    with pytest.raises(WeightsError, match=r"conv3.net.0.kernel has the shape \(8, 4, 6\)"):
        load(lambda t: t.update({kernel: torch.zeros(8, 4, 6)}))
    with pytest.raises(WeightsError, match=r"of another shape.*unet.conv3"):
        load(lambda t: t.update({kernel: torch.zeros(27, 5, 6)}))
    with pytest.raises(WeightsError, match="lost their shape"):
        load(lambda t: t.update({"pyramid_feature_network.conv1.0.conv.weight": torch.tensor(0.0)}))


def test_other_files_are_told_from_a_checkpoint(tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match="is not One-2-3-45's reconstruction checkpoint"):
        load_surface(write_tiny_loftr(tmp_path / "loftr.ckpt"))
    path = write_tiny_one2345_surface(tmp_path / "ckpt_215000.pth")
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(WeightsError, match="damaged"):
        load_surface(path)
    with pytest.raises(WeightsError):
        load_surface(tmp_path / "missing.pth")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    weights.set_paths({})
    with pytest.raises(WeightsError, match="one-2-3-45-surface"):
        load_surface("one-2-3-45")


# The whole


@pytest.fixture(scope="module")
def ball(tmp_path_factory):
    return load_surface(write_tiny_one2345_surface(tmp_path_factory.mktemp("weights") / "ckpt_215000.pth"))


def test_tiny_checkpoint_reconstructs_a_coloured_mesh_from_32_views(ball, scene):
    stages = []
    mesh = reconstruct_surface(
        ball, scene.views, scene.c2ws, scene.k, resolution=64, progress=lambda e: stages.append(e.stage)
    )
    frame = VolumeFrame.around(scene.c2ws, scene.k, scene.views.shape[1])
    middle = frame.world(torch.zeros(1, 3, dtype=torch.float64)).numpy()[0]
    distance = np.linalg.norm(mesh.vertices - middle, axis=1)
    assert distance.mean() == pytest.approx(0.22 * frame.scale, rel=0.2)
    assert distance.std() < 0.05
    assert len(mesh.faces) > 500
    assert mesh.colors.shape == (len(mesh.vertices), 3)
    assert mesh.colors.std() > 5
    assert set(stages) == {"surface"}


def test_half_precision_gives_nearly_the_same(compared, monkeypatch, scene):
    network = compared["network"]
    with torch.no_grad():
        single = network.encode(scene.views, scene.c2ws, scene.k)
        monkeypatch.setattr("engine.surface.published.precision", lambda device: torch.bfloat16)
        half = network.encode(scene.views, scene.c2ws, scene.k)
    assert half.volume.dtype == half.features.dtype == torch.float32
    difference = (half.volume - single.volume).norm() / single.volume.norm()
    assert 0 < float(difference) < 0.05


def test_what_half_precision_makes_no_numbers_of_is_made_again_in_single(monkeypatch, scene):
    tensors = _flat(one2345_state(radius=0, seed=3))
    tensors["pyramid_feature_network.conv0.0.conv.weight"] *= 1e6  # beyond what half precision holds
    network = load_published(tensors, "ckpt.pth").eval()
    with torch.no_grad():
        single = network.encode(scene.views, scene.c2ws, scene.k)
        monkeypatch.setattr("engine.surface.published.precision", lambda device: torch.float16)
        half = network.encode(scene.views, scene.c2ws, scene.k)
    assert torch.isfinite(single.volume).all()
    assert torch.equal(half.volume, single.volume) and torch.equal(half.features, single.features)


def test_published_weights_have_the_whole_of_their_volume_for_a_box(tmp_path, scene):
    """A ball as large as most of the volume, beyond the cube that framed objects are looked for in."""
    torch.save(one2345_state(radius=0.7), tmp_path / "ckpt.pth")
    network = load_surface(tmp_path / "ckpt.pth")
    frame = VolumeFrame.around(scene.c2ws, scene.k, scene.views.shape[1])
    assert frame.scale > 1.5 * network.config.extent
    meshes = []
    for as_released in (True, False):
        network.use_as(released=as_released)
        meshes.append(reconstruct_surface(network, scene.views, scene.c2ws, scene.k, resolution=48))
    ranges = [frame.points(torch.from_numpy(mesh.vertices)).abs().amax(0) for mesh in meshes]
    assert (ranges[0] < 1).all()
    distance = np.linalg.norm(frame.points(torch.from_numpy(meshes[0].vertices)).numpy(), axis=1)
    assert distance.mean() == pytest.approx(0.7, rel=0.2) and distance.std() < 0.1
    assert np.abs(meshes[0].vertices).max() > 1.0
    assert np.abs(meshes[1].vertices).max() < network.config.extent + 0.04, "those trained here keep theirs"
    # Its cells are the released ones: they stand along the axes of the input's camera, 2 / 47 of the volume apart.
    steps = (frame.points(torch.from_numpy(meshes[0].vertices)).double() + 1) / 2 * 47
    on_grid = ((steps - steps.round()).abs() < 1e-3).sum(1)
    assert (on_grid >= 2).double().mean() > 0.9


def test_cancelled_encoding_stops(ball, scene):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        reconstruct_surface(ball, scene.views, scene.c2ws, scene.k, resolution=32, cancel=token)


def test_own_training_reaches_every_part(scene):
    from engine.surface.rendering import render_rays, sample_depths

    torch.manual_seed(0)
    sizes = replace(
        PUBLISHED, volume_resolution=16, image_size=32, pyramid_channels=(4, 4, 4), feature_channels=4,
        unet_channels=(4, 4, 4, 4), sdf_width=16, frequencies=2,
    )  # fmt: skip
    network = PublishedNetwork(sizes).train()
    with torch.no_grad():
        network.sdf_network.lins[1].weight = network.sdf_network.lins[1].weight + 0.05  # so that the volume counts
        torch.nn.init.normal_(network.blend.rgb_fc[-1].weight)  # and the blending, which starts even
    encoded = network.encode(scene.views, scene.c2ws, scene.k, sources=np.arange(0, 32, 4))
    origins = torch.tensor([[1.5, 0.0, 0.0]]).expand(8, 3)
    directions = torch.tensor([[-1.0, y, 0.1] for y in np.linspace(-0.2, 0.2, 8)], dtype=torch.float32)
    depths = sample_depths(lambda p: network.sdf(encoded, p), origins, directions, 0.7, 2.3)
    seen = render_rays(
        lambda p: network.sdf(encoded, p),
        lambda p, d: network.colors(encoded, p, d),
        origins, directions, depths, network.inverse_deviation,
    )  # fmt: skip
    (seen.color.sum() + seen.opacity.sum()).backward()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []
    assert isinstance(network.unet, SparseUNet)
