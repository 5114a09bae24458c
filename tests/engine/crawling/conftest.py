"""Crawls of the test site with short waits."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.crawling import Crawl, Options, Page, parse_page
from engine.crawling.http import Http, Limits
from engine.crawling.sketchfab import SketchfabApi, SketchfabDownloader, Token
from tests.site import ModelSite, SiteModel

QUICK = Options(pause=0.0, backoff=0.02, longest_backoff=0.1, keep_free=0)
LIMITS = Limits(connect=2, stall=0.8, total=20, rest=0.01)
MakeCrawl = Callable[..., Crawl]


def page_of(site: ModelSite, model: SiteModel) -> Page:
    found = parse_page(site.page(model))
    assert isinstance(found, Page)
    return found


@pytest.fixture
def make_crawl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeCrawl:
    """Makes a crawl of all models of a site, or of some, into `tmp_path / "models"`."""
    monkeypatch.setitem(sys.modules, "keyring", None)  # the user's own is not touched

    def make(
        site: ModelSite, models: list[SiteModel] | None = None, limits: Limits = LIMITS, **options: object
    ) -> Crawl:
        chosen = replace(QUICK, **options)  # type: ignore[arg-type]
        api = SketchfabApi(Token(site.token), base=site.api, http=Http(limits))
        pages = [page_of(site, model) for model in (site.models if models is None else models)]
        return Crawl(
            pages, tmp_path / "models", SketchfabDownloader(api, chosen.policy, texture=chosen.texture), chosen
        )

    return make
