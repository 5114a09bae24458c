"""`oriel data`."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from app import cli


def data(*arguments: object) -> int:
    return cli.main(["data", *map(str, arguments)])


def test_sheet_shows_as_many_objects_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "new" / "sheet.png"
    assert data("sheet", "-o", path, "--count", 5, "--split", "validation") == 0
    picture = Image.open(path)
    assert picture.size[0] % 160 == 0 and picture.size[1] % 160 == 0
    assert len(picture.convert("RGB").getcolors(1 << 20)) > 200


def test_export_writes_glbs(tmp_path: Path) -> None:
    assert data("export", "-o", tmp_path, "--count", 2, "--family", "tower") == 0
    files = sorted(tmp_path.glob("tower_*.glb"))
    assert len(files) == 2 and all(file.read_bytes()[:4] == b"glTF" for file in files)


def test_bad_counts_and_places_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    for arguments, text in (
        (("sheet", "-o", tmp_path / "a.png", "--count", 201), "200"),
        (("export", "-o", tmp_path, "--count", 0), "at least 1"),
        (("export", "-o", tmp_path / "file", "--count", 1), "cannot be written"),
    ):
        assert data(*arguments) == 2
        assert text in capsys.readouterr().err
