"""`oriel data`."""

import argparse

import pytest
from PIL import Image

from engine.core.errors import InputError, OutputError
from engine.data import cli


def _run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return cli.run(parser.parse_args(list(arguments)))


def test_sheet_shows_as_many_objects_as_asked(tmp_path):
    path = tmp_path / "new" / "sheet.png"
    assert _run("sheet", "-o", str(path), "--count", "5", "--split", "validation") == 0
    picture = Image.open(path)
    assert picture.size[0] % 160 == 0 and picture.size[1] % 160 == 0
    assert len(picture.convert("RGB").getcolors(1 << 20)) > 200


def test_export_writes_glbs(tmp_path):
    assert _run("export", "-o", str(tmp_path), "--count", "2", "--family", "tower") == 0
    files = sorted(tmp_path.glob("tower_*.glb"))
    assert len(files) == 2 and all(file.read_bytes()[:4] == b"glTF" for file in files)


def test_bad_counts_and_places_are_refused(tmp_path):
    with pytest.raises(InputError, match="200"):
        _run("sheet", "-o", str(tmp_path / "a.png"), "--count", "201")
    with pytest.raises(InputError, match="at least 1"):
        _run("export", "-o", str(tmp_path), "--count", "0")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        _run("export", "-o", str(tmp_path / "file"), "--count", "1")
