import numpy as np
import pytest

from engine.cameras import FRAME_FRACTION, VOLUME_EXTENT, Pose, intrinsics, neighbour_poses
from engine.elevation import estimate_elevation
from engine.meshes.mesh import Mesh
from tests.benchmarks.heldout import heldout_case, heldout_count, measure_mesh
from tests.benchmarks.measures import silhouette_iou


def mesh_of(case):
    """The truth itself, as a prediction."""
    return Mesh(case.truth.to_world(case.truth.obj.vertices), np.asarray(case.truth.obj.faces, np.int32))


@pytest.fixture(scope="module")
def case():
    return heldout_case(6)


def test_there_are_200_cases_each_the_same_every_time(case):
    assert heldout_count() == 200
    again = heldout_case(6)
    assert again.elevation == case.elevation and (again.truth.model == case.truth.model).all()
    assert np.abs(again.image - case.image).max() < 0.02


def test_inputs_are_framed_and_within_the_volume():
    for index in range(4, 8):
        case = heldout_case(index)
        assert 0 <= case.elevation <= 50
        rows, columns = np.nonzero(case.image[..., 3] > 0.5)
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == pytest.approx(256 * FRAME_FRACTION, abs=4)
        assert np.abs(case.truth.to_world(case.truth.obj.vertices)).max() <= VOLUME_EXTENT


def test_the_true_surface_scores_nearly_perfectly(case):
    figures = measure_mesh(mesh_of(case), case)
    assert figures["f_score"] > 0.9  # the mesh has faces inside, which the truth does not count
    assert figures["silhouette_iou"] > 0.95
    assert figures["chamfer"] < 0.03


def test_pictures_from_other_sides_agree_with_the_surface(case):
    for pose in (Pose(case.elevation, 90.0), Pose(case.elevation + 20, 210.0)):
        picture = case.render([pose])[0]
        assert silhouette_iou(mesh_of(case), picture[..., 3], pose.matrix(), intrinsics(256)) > 0.95


@pytest.mark.parametrize("index", [0, 4, 12])
def test_elevation_of_true_views_is_within_a_degree(index):
    case = heldout_case(index)
    estimate = estimate_elevation(case.render(neighbour_poses(Pose(case.elevation, 0.0))))
    assert not estimate.is_fallback
    assert abs(estimate.value - case.elevation) < 1.0
