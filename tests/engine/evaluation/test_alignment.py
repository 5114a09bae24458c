"""Alignment: planted rotations, scales and shifts are found again."""

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from engine.core.errors import Cancelled, EmptyResultError, InputError
from engine.core.progress import CancelToken
from engine.evaluation.alignment import align
from engine.meshes.mesh import Mesh


def house(*left_out: int) -> Mesh:
    """A building that is the same from no two sides."""
    parts = [
        trimesh.creation.box((1.0, 0.5, 0.4)),
        trimesh.creation.box((0.3, 0.6, 0.3)).apply_translation((0.35, 0.5, -0.05)),
        trimesh.creation.cylinder(0.11, 0.8, sections=24).apply_translation((-0.4, -0.2, 0.2)),
        trimesh.creation.cone(0.16, 0.3, sections=24).apply_translation((-0.4, -0.2, 0.6)),
        trimesh.creation.box((0.1, 0.1, 0.25)).apply_translation((0.2, -0.1, 0.3)),
    ]
    joined = trimesh.util.concatenate([part for i, part in enumerate(parts) if i not in left_out])
    return Mesh(np.asarray(joined.vertices, np.float32), np.asarray(joined.faces, np.int32))


def placed(mesh: Mesh, rotation: np.ndarray, scale: float, shift: tuple[float, float, float]) -> Mesh:
    return Mesh((mesh.vertices @ (scale * rotation).T + shift).astype(np.float32), mesh.faces)


def degrees_between(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(Rotation.from_matrix(a @ b.T).magnitude()))


@pytest.mark.parametrize(
    ("yaw", "tilt", "scale", "shift"),
    [(37.0, (0, 0), 2.6, (5.0, -2.0, 0.3)), (201.0, (8, -6), 0.31, (0, 0.4, 1)), (292.5, (-3, 11), 1.1, (0, 0, 0))],
)
def test_planted_similarities_are_found_within_a_degree_and_a_per_cent(yaw, tilt, scale, shift):
    rotation = (Rotation.from_euler("z", yaw, True) * Rotation.from_euler("xy", tilt, True)).as_matrix()
    truth = house()
    prediction = placed(truth, rotation, scale, shift)
    found = align(prediction, truth)
    assert degrees_between(found.rotation, rotation.T) < 1
    assert found.scale == pytest.approx(1 / scale, rel=0.01)
    assert np.abs(found.apply(prediction.vertices) - truth.vertices).max() < 0.02
    assert found.inliers > 0.98 and found.f_score > 0.98
    moved = np.c_[prediction.vertices, np.ones(len(prediction.vertices))] @ found.matrix().T
    np.testing.assert_allclose(moved[:, :3], found.apply(prediction.vertices), atol=1e-4)


def test_a_part_that_is_missing_does_not_pull_the_rest_away():
    rotation = Rotation.from_euler("z", 130, True).as_matrix()
    found = align(placed(house(4), rotation, 0.7, (1, 2, 3)), house())
    assert degrees_between(found.rotation, rotation.T) < 1 and found.scale == pytest.approx(1 / 0.7, rel=0.01)


def test_how_a_rough_prediction_was_turned_makes_no_difference():
    rng = np.random.default_rng(3)
    parts = [
        trimesh.creation.box((1.0, 0.5, 0.4)),
        trimesh.creation.box((0.3, 0.6, 0.3)).apply_translation((0.35, 0.5, -0.05)),
        trimesh.creation.cylinder(0.15, 0.6, sections=24).apply_translation((-0.38, -0.2, 0.15)),
    ]
    for part in parts:
        part.vertices = part.vertices * (1 + rng.normal(0, 0.08, 3)) + rng.normal(0, 0.02, 3)
    joined = trimesh.util.concatenate(parts)
    rough = Mesh(np.asarray(joined.vertices, np.float32), np.asarray(joined.faces, np.int32))
    scores = []
    for yaw in (0, 95, 203, 310):
        turned = placed(rough, Rotation.from_euler("z", yaw, True).as_matrix(), 0.8, (0, 0, 0))
        scores.append(align(turned, house()).f_score)
    assert max(scores) - min(scores) < 0.006, scores


def test_a_prediction_that_lies_on_its_side():
    rotation = (Rotation.from_euler("x", 90, True) * Rotation.from_euler("z", 70, True)).as_matrix()  # z up to -y up
    prediction = placed(house(), rotation, 1.5, (0, 0, 0))
    found = align(prediction, house(), up=("+z", "-y"))
    assert degrees_between(found.rotation, rotation.T) < 1 and found.scale == pytest.approx(1 / 1.5, rel=0.01)


def test_what_cannot_be_aligned():
    empty = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    flat = Mesh(np.zeros((3, 3), np.float32), np.array([[0, 1, 2]], np.int32))
    for prediction in (empty, flat):
        with pytest.raises(EmptyResultError, match="prediction has no surface"):
            align(prediction, house())
    with pytest.raises(InputError, match=r"no up axis 'y'.*\+y"):
        align(house(), house(), up=("y",))
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        align(house(), house(), check=cancel.check)
