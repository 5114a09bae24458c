"""Refusals that are meant for everybody, and pages that are refused for themselves."""

from __future__ import annotations

import re
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from engine.core.errors import Cancelled
from engine.core.progress import CancelToken, Progress
from engine.crawling import CrawlStopped, Records
from tests.engine.crawling.conftest import MakeCrawl
from tests.site import ModelSite, SiteModel

KINDS = ("busy", "page_busy", "download_busy", "file_busy", "file_error", "unavailable", "error")


@pytest.mark.parametrize("fault", KINDS)
@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("parallel", [1, 3])
def test_a_page_that_is_always_refused_costs_nothing_but_itself(
    make_crawl: MakeCrawl, tmp_path: Path, fault: str, at: int, parallel: int
) -> None:
    models = [SiteModel(n, fault=fault if n == at else "") for n in range(3)]
    with ModelSite(models) as site:
        totals = make_crawl(site, parallel=parallel).run()
        assert (totals.done, totals.failed) == (2, 1)
        asked = len(site.asked)
        assert asked < 40
        failure = Records.read(tmp_path / "models").failed[models[at].uid]
        assert re.search("429|503|500", failure.reason) and failure.attempts >= 3
        # A further run is through at once, and one that tries again comes to the same end.
        assert make_crawl(site).run().failed == 1 and len(site.asked) == asked
        models[at].fault = ""
        assert make_crawl(site, retry_failed=True).run().done == 3


@pytest.mark.parametrize("bad", [(0, 1, 2, 3, 4), (3, 9, 10, 11, 17), (15, 16, 17, 18, 19), (0, 10, 19)])
def test_a_few_such_pages_among_many(make_crawl: MakeCrawl, bad: tuple[int, ...]) -> None:
    models = [SiteModel(n, fault=KINDS[n % 2] if n in bad else "") for n in range(20)]
    with ModelSite(models) as site:
        crawl = make_crawl(site)
        totals = crawl.run()
        assert (totals.done, totals.failed) == (20 - len(bad), len(bad))
        assert {at for at, row in enumerate(crawl.board.rows()) if row.state == "failed"} == set(bad)


@pytest.mark.parametrize("number", [1, 2, 5])
@pytest.mark.parametrize("answered", [0, 1])
def test_a_site_that_refuses_everything_for_a_while_loses_no_page(
    make_crawl: MakeCrawl, number: int, answered: int
) -> None:
    with ModelSite([SiteModel(n) for n in range(number + answered)]) as site:
        told: list[str] = []

        def watch(event: Progress) -> None:
            if event.stage == "crawl" and event.preview.done >= answered and not told:
                told.append("refusing")
                site.refuses = 15 if number > 1 or not answered else 4

        if not answered:
            site.refuses = 40
            told.append("refusing")
        totals = make_crawl(site, pause=0.3 if answered else 0.0).run(watch)
        assert (totals.done, totals.failed, site.refuses) == (number + answered, 0, 0)


def test_a_site_that_answers_now_and_then_loses_no_page(make_crawl: MakeCrawl) -> None:
    """Most requests come too soon for it; that is no page's fault."""
    with ModelSite([SiteModel(n) for n in range(6)], every=0.5) as site:
        totals = make_crawl(site, backoff=0.2, longest_backoff=1.0).run()
        assert (totals.done, totals.failed) == (6, 0)


def test_a_crawl_that_nobody_attends_waits_for_hours() -> None:
    from engine.crawling import Options

    options = Options()
    waits = [min(options.backoff * 2**n, options.longest_backoff) for n in range(options.refusals - 1)]
    assert 12 * 3600 < sum(waits) < 24 * 3600 and max(waits) <= 600


def test_it_says_what_it_waits_for_and_until_when_and_is_cancelled_at_once(make_crawl: MakeCrawl) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=3000), usegmt=True)
    for asked, words in (("7200", "Waiting 2.0 h"), (soon, "Waiting 50 min"), ("80", "Waiting 80 s")):
        with ModelSite([SiteModel(0, fault="busy", retry_after=asked), SiteModel(1)]) as site:
            token, told = CancelToken(), list[str]()

            def watch(event: Progress, told: list[str] = told) -> None:
                if event.stage == "crawl" and event.preview.state == "waiting":
                    told.append(event.message)

            timer = threading.Timer(0.8, token.cancel)
            timer.start()
            began = time.monotonic()
            with pytest.raises(Cancelled):
                make_crawl(site).run(watch, token)
            assert time.monotonic() - began < 0.8 + 1
            assert len(set(told)) <= 2 and "(429)" in told[0]
            assert words in told[0] and re.search(r"until (\w+ )?\d\d:\d\d(:\d\d)?\.", told[0])
            assert site.count("model") == 1


def test_the_last_page_is_waited_for_in_words(make_crawl: MakeCrawl) -> None:
    """It is refused for itself, so the crawl as a whole waits for nothing; still nothing happens until then."""
    models = [SiteModel(0, fault="busy", times=2), SiteModel(1), SiteModel(2)]
    with ModelSite(models) as site:
        told: list[str] = []

        def watch(event: Progress) -> None:
            if event.stage == "crawl" and event.preview.state == "waiting":
                told.append(event.message)

        def ask_to_wait() -> None:
            models[0].retry_after = "2"

        threading.Timer(0.15, ask_to_wait).start()
        assert make_crawl(site, pause=0.2).run(watch).done == 3
        assert any("asks to wait 2 s" in text and "Waiting 2 s, until" in text for text in told)


def test_who_is_asked_to_wait_for_days_stops(make_crawl: MakeCrawl, tmp_path: Path) -> None:
    with ModelSite([SiteModel(0, fault="busy", retry_after="200000"), SiteModel(1)]) as site:
        with pytest.raises(CrawlStopped, match="asks to wait"):
            make_crawl(site).run()
        assert not Records.read(tmp_path / "models").failed
