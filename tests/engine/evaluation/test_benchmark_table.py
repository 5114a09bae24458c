"""How the benchmarks put the figures of held-out objects together."""

import math

import pytest

from tests.benchmarks.quality import add_quality
from tests.benchmarks.table import Table


def test_a_table_names_a_group_once_and_lines_its_columns_up():
    table = Table()
    table.add("speed", "whole run", 12.345, "s", "target <= 20 s")
    table.add("speed", "not measured", None, "", "no picture")
    table.add("quality", "volume IoU, mean", 0.61234)
    assert table.text().splitlines() == [
        "         figure            value",
        "speed    whole run         12.35 s  target <= 20 s",
        "         not measured          -    no picture",
        "",
        "quality  volume IoU, mean  0.612",
    ]


def test_objects_of_which_nothing_was_found_count_as_empty_meshes():
    whole = {"volume_iou": 0.8, "f_score": 0.6, "chamfer": 0.02, "silhouette_iou": 0.9, "psnr": 20.0, "mask_iou": 0.9}
    empty = {"volume_iou": 0.0, "f_score": 0.0, "chamfer": math.inf, "silhouette_iou": 0.0, "mask_iou": 0.0}
    table = Table()
    add_quality(
        table,
        [
            {"index": 0, "elevation_error": 1.0, "true_view_error": 0.5, "final mesh": whole},
            {"index": 1, "failed": "no surface", "elevation_error": 3.0, "true_view_error": 0.5, "final mesh": empty},
            {"index": 2, "failed": "no foreground"},
            {"index": 3, "elevation_error": 2.0, "true_view_error": 0.5, "final mesh": whole},
        ],
    )
    rows = {(row.group, row.figure): row for row in table.rows}
    mesh = "held-out (4), final mesh"
    assert rows[mesh, "volume IoU, mean"].value == pytest.approx(0.4)
    assert rows[mesh, "F-score at 0.05, mean"].value == pytest.approx(0.3)
    assert rows[mesh, "silhouette IoU with the input's mask, median"].value == pytest.approx(0.45)
    chamfer = rows[mesh, "Chamfer distance, mean"]
    assert (chamfer.value, chamfer.note) == (0.02, "2 of 4")
    elevation = rows["held-out (4), elevation", "error, median"]
    assert (elevation.value, elevation.note) == (2.0, "3 of 4; target <= 2.5 deg")
    failed = rows["held-out (4), elevation", "reconstructions that found nothing"]
    assert (failed.value, failed.unit, failed.note) == (2, "of 4", "1: no surface; 2: no foreground")
