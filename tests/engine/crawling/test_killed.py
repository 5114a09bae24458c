"""A crawl whose process is killed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from engine.core.progress import CancelToken, ProgressCallback
from engine.crawling import Crawl, Download, Page, Rights
from engine.crawling.packing import check_glb
from tests.benchmarks.crawl import killed_crawl
from tests.engine.crawling.conftest import QUICK
from tests.site import make_glb

PAGES = [Page(f"https://sketchfab.com/3d-models/{n:032x}", f"{n:032x}") for n in range(3)]


class Shelf:
    """Models without a network, two of them the same; writes down what it is asked for."""

    name = "shelf"

    def __init__(self, asked: Path) -> None:
        self.asked = asked

    def fetch(self, page: Page, folder: Path, progress: ProgressCallback, cancel: CancelToken) -> Download:
        with self.asked.open("a") as file:
            file.write(f"{page.key}\n")
        path = folder / "model.glb"
        path.write_bytes(make_glb(int(page.key, 16) // 2))
        return Download(path, Rights(title="Shelved", licence="by"))

    def close(self) -> None:
        pass


def die_at(step: int, after: bool, folder: Path, asked: Path) -> bool:
    """Crawl in a process that ends without a word at a step that reaches the disk; returns whether it got there."""
    if (child := os.fork()) == 0:
        steps = 0

        def deadly(function: object) -> object:
            def call(*arguments: object) -> object:
                nonlocal steps
                steps += 1
                if steps == step and not after:
                    os._exit(9)
                result = function(*arguments)  # type: ignore[operator]
                if steps == step:
                    os._exit(9)
                return result

            return call

        try:
            os.fsync = deadly(os.fsync)  # type: ignore[assignment]
            Path.replace = deadly(Path.replace)  # type: ignore[assignment,method-assign]
            Crawl(PAGES, folder, Shelf(asked), QUICK).run()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("after", [False, True])
def test_a_death_at_any_step_costs_the_page_at_work(tmp_path: Path, after: bool) -> None:
    for step in range(1, 100):
        folder, asked = tmp_path / str(step), tmp_path / f"{step}.asked"
        died = die_at(step, after, folder, asked)
        for path in folder.glob("*.glb"):
            check_glb(path)
            assert path.with_suffix(".json").exists()
        in_place = {path.stem for path in folder.glob("*.glb")}
        before = asked.read_text().split() if asked.exists() else []
        assert Crawl(PAGES, folder, Shelf(asked), QUICK).run().done == 3
        again = asked.read_text().split()[len(before) :]
        assert not in_place & set(again) and len(set(before) & set(again)) <= 1
        assert sorted((folder / "downloaded_urls.txt").read_text().split()) == sorted(page.url for page in PAGES)
        twins = [json.loads((folder / f"{page.key}.json").read_text())["duplicate_of"] for page in PAGES]
        assert twins.count(None) == 2
        if not died:
            break
    assert step > 12


def test_a_crawl_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    report = killed_crawl(tmp_path, models=24, kills=3, size=100_000, pause=0.03, seed=5)
    assert report.problems == []
    assert report.kills == 3
    assert report.valid == 24
    assert report.refetched <= 3 * 3
