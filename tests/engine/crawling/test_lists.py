"""Lists of pages, as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.core.errors import InputError
from engine.crawling import Page, parse_list, parse_page, read_list

A, B = "a" * 32, "b1" * 16


def test_blank_lines_comments_duplicates_and_tracking_are_tolerated() -> None:
    found = parse_list(
        [
            "# churches",
            "",
            f"https://sketchfab.com/3d-models/old-church-{A}?utm_source=mail&fbclid=x#comments",
            f"   http://www.sketchfab.com/models/{A.upper()}/  # the same, written otherwise",
            f'"https://sketchfab.com/models/{B}/embed?autostart=1",',
            f"sketchfab.com/3d-models/tower-{B}",
            B,
        ]
    )
    assert [page.key for page in found.pages] == [A, B]
    assert found.pages[0].url == f"https://sketchfab.com/3d-models/old-church-{A}"
    assert found.duplicates == 3
    assert not found.bad


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("gothic church", "blanks"),
        ("ftp://sketchfab.com/x", "https://"),
        ("church", "https://"),
        ("https://", "https://"),
        ("http://[broken", "not an address"),
        ("https://sketchfab.com/mason", "not the page of a model"),
        (f"https://sketchfab.com/3d-models/church-{A[:-1]}", "32 letters"),
        ("https://skfb.ly/abc", "short link"),
    ],
)
def test_bad_lines_are_named(line: str, reason: str) -> None:
    found = parse_list(["# list", line])
    assert not found.pages
    assert found.bad[0].number == 2
    assert reason in found.bad[0].reason
    assert f"line 2: {line!r}" in str(found.bad[0])


def test_pages_of_other_sites_are_told_apart_by_their_address() -> None:
    pages = [
        parse_page(text)
        for text in (
            "https://models.example/Town%20Hall?id=1&utm_medium=x",
            "http://www.models.example/Town%20Hall/?id=1",
            "https://models.example/Town%20Hall?id=2",
        )
    ]
    assert all(isinstance(page, Page) for page in pages)
    keys = [page.key for page in pages if isinstance(page, Page)]
    assert keys[0] == keys[1] != keys[2]
    assert keys[0].startswith("town-20hall-")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_in_the_encodings_of_editors_are_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "urls.txt"
    path.write_bytes(f"# églises\r\nhttps://sketchfab.com/3d-models/é-{A}\r\n\r\n".encode(encoding))
    assert [page.key for page in read_list(path).pages] == [A]


def test_lists_without_a_page_say_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_list(tmp_path / "none.txt")
    (tmp_path / "urls.txt").write_text("nonsense here\n")
    with pytest.raises(InputError, match=r"names no page.*line 1: 'nonsense here'"):
        read_list(tmp_path / "urls.txt")
