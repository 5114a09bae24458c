"""The records of a crawl, and what a kill may do to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.core.errors import InputError, OutputError
from engine.crawling import Page, Records, parse_page


def page(number: int) -> Page:
    found = parse_page(f"https://sketchfab.com/3d-models/church-{number:032x}")
    assert isinstance(found, Page)
    return found


def test_outcomes_are_read_again(tmp_path: Path) -> None:
    with Records.open(tmp_path) as records:
        records.add_downloaded(page(1))
        records.add_downloaded(page(1))
        records.add_failed(page(2), "has\tgone\n(404)", 3)
        records.add_failed(page(2), "has gone", 2, "gone")
        records.add_failed(page(3), "broke", 1)
        records.add_downloaded(page(3))
        records.add_skipped(page(4), "noai", "tagged NoAI")
    again = Records.read(tmp_path)
    assert [again.state(page(n)) for n in range(1, 6)] == ["done", "failed", "done", "skipped", "waiting"]
    assert (again.failed[page(2).key].reason, again.failed[page(2).key].attempts) == ("has gone", 5)
    assert again.failed[page(2).key].kind == "gone"
    assert again.skipped[page(4).key].kind == "noai"
    assert (tmp_path / "downloaded_urls.txt").read_text() == f"{page(1).url}\n{page(3).url}\n"
    assert "has gone (404)\t3\t" in (tmp_path / "failed_urls.tsv").read_text()


def test_failures_written_before_they_had_kinds_are_read(tmp_path: Path) -> None:
    old = f"# url\treason\tattempts\ttime\n{page(1).url}\tbroke\t3\t2026-01-01T00:00:00+00:00\n"
    (tmp_path / "failed_urls.tsv").write_text(old)
    with Records.open(tmp_path) as records:
        records.add_failed(page(2), "has gone", 1, "gone")
    kept = Records.read(tmp_path).failed
    assert [(kept[page(n).key].attempts, kept[page(n).key].kind) for n in (1, 2)] == [(3, ""), (1, "gone")]


def test_every_cut_of_the_last_line_is_mended(tmp_path: Path) -> None:
    """A kill, or a power cut, may leave any number of bytes of a line."""
    path = tmp_path / "downloaded_urls.txt"
    whole, torn = f"{page(1).url}\n", f"{page(2).url}\n"
    for cut in range(len(torn) + 1):
        path.write_text(whole + torn[:cut])
        with Records.open(tmp_path) as records:
            complete = cut >= len(torn) - 1
            assert set(records.downloaded) == {page(1).key, *([page(2).key] if complete else [])}
            records.add_downloaded(page(3))
        lines = path.read_text().splitlines()
        assert lines == [page(1).url, *([page(2).url] if complete else []), page(3).url]


def test_torn_rows_and_zeros_are_cut_off(tmp_path: Path) -> None:
    with Records.open(tmp_path) as records:
        records.add_failed(page(1), "broke", 1)
        records.add_downloaded(page(4))
    with (tmp_path / "failed_urls.tsv").open("a") as file:
        file.write(f"{page(2).url}\tbro")
    with (tmp_path / "downloaded_urls.txt").open("ab") as broken:
        broken.write(b"\0" * 50)
    with Records.open(tmp_path) as records:
        assert list(records.failed) == [page(1).key]
        assert list(records.downloaded) == [page(4).key]
    assert (tmp_path / "downloaded_urls.txt").read_text() == f"{page(4).url}\n"


def test_files_of_the_original_script_are_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "downloaded_urls.txt"
    original = f"{page(1).url}\r\n\r\n{page(2).url}?utm_source=x\r\n{page(1).url}\r\n{page(3).url}"
    path.write_bytes(original.encode())
    with Records.open(tmp_path) as records:
        assert set(records.downloaded) == {page(n).key for n in (1, 2, 3)}
    assert path.read_bytes() == original.encode() + b"\n"


def test_a_last_address_that_could_go_on_counts_only_if_the_list_has_it(tmp_path: Path) -> None:
    other = parse_page("https://models.example/town-hall")
    assert isinstance(other, Page)
    path = tmp_path / "downloaded_urls.txt"
    for known, kept in (((), set()), ({other.key}, {other.key})):
        path.write_text(other.url)
        with Records.open(tmp_path, known) as records:
            assert set(records.downloaded) == kept


def test_two_crawls_cannot_share_a_folder(tmp_path: Path) -> None:
    with Records.open(tmp_path):
        with pytest.raises(InputError, match="Another crawl is at work"), Records.open(tmp_path):
            pass
        assert Records.read(tmp_path).downloaded == {}  # looking is allowed
    with Records.open(tmp_path):
        pass


def test_folders_that_cannot_be_used_say_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"), Records.open(tmp_path / "file"):
        pass
    with pytest.raises(InputError, match="There is no folder"):
        Records.read(tmp_path / "none")
    (tmp_path / "crawl.json").write_text("{torn")
    assert Records.read(tmp_path).settings() == {}


def test_a_line_that_finds_no_room_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Records.open(tmp_path) as records:
        records.add_downloaded(page(1))

        def full(number: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched, pytest.raises(OutputError, match="No space left"):
            patched.setattr("os.fsync", full)
            records.add_downloaded(page(2))
        records.add_downloaded(page(3))
    assert (tmp_path / "downloaded_urls.txt").read_text() == f"{page(1).url}\n{page(3).url}\n"
