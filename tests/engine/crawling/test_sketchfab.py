"""The API: search, tokens, what its answers mean."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from engine.core.errors import Cancelled, InputError, OrielError
from engine.core.progress import CancelToken
from engine.crawling import CrawlStopped
from engine.crawling.filters import Filters
from engine.crawling.http import Http, Limits, retry_after
from engine.crawling.sketchfab import (
    Found,
    SketchfabApi,
    Token,
    best_texture,
    find_token,
    keep_token,
    read_model,
)
from tests.site import ModelSite, SiteModel

Search = Callable[..., list[Found]]


@pytest.fixture
def search() -> Search:
    def run(site: ModelSite, filters: Filters | None = None, most: int = 1000, **options: object) -> list[Found]:
        api = SketchfabApi(Token(site.token), base=site.api, http=Http(Limits(connect=2, stall=2)))
        found = api.search("church", filters or Filters(), most, CancelToken(), pause=0, backoff=0.02, **options)
        return list(found)

    return run


def numbers(found: list[Found]) -> list[int]:
    return [int(model.rights.title.split()[1]) for model in found]


def test_a_search_goes_through_all_pages(search: Search) -> None:
    with ModelSite([SiteModel(n) for n in range(60)]) as site:
        assert numbers(search(site)) == list(range(60))
        assert site.count("search") == 3
        assert numbers(search(site, most=30)) == list(range(30))
        assert all(query["q"] == "church" and query["downloadable"] == "true" for query in site.queries)
        assert search(site)[1].page.url == site.page(site.models[1])


def test_a_search_keeps_to_its_filters_whatever_the_site_does(search: Search) -> None:
    licences = ("cc0", "by", "by-sa", "by-nc", "st", None)
    models = [SiteModel(n, size=1000 * n, licence=licences[n % 6]) for n in range(30)]
    models[7].tags, models[13].downloadable = ("NoAI",), False
    with ModelSite(models) as site:
        found = search(site, Filters(("cc0", "by"), min_faces=100, max_faces=2500, max_bytes=21_000))
        assert sorted(numbers(found)) == [1, 6, 12, 18, 19]
        assert {query["license"] for query in site.queries} == {"cc0", "by"}
        assert {model.rights.licence for model in found} == {"cc0", "by"}
        assert 7 not in numbers(search(site))
        assert numbers(search(site, Filters(min_faces=2800))) == [28, 29]


def test_a_search_waits_when_it_is_asked_to(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.crawling import PageTrouble

    answers: list[object] = [PageTrouble("429", busy=True, retry_after=0.05), PageTrouble("500", refused=True)]
    ask = Http.json

    def faulty(http: Http, *arguments: object, **options: object) -> object:
        if answers:
            raise answers.pop(0)  # type: ignore[misc]
        return ask(http, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Http, "json", faulty)
    with ModelSite([SiteModel(1)]) as site:
        assert numbers(search(site)) == [1]
        answers += [PageTrouble("no answer", refused=True)] * 6
        with pytest.raises(CrawlStopped, match=r"no answer Search again later\."):
            search(site)


def test_a_search_can_be_cancelled() -> None:
    with ModelSite([SiteModel(n) for n in range(60)]) as site:
        cancel = CancelToken()
        found = SketchfabApi(base=site.api).search("church", Filters(), 60, cancel)
        next(found)
        cancel.cancel()
        with pytest.raises(Cancelled):
            list(found)


def test_the_token_comes_from_the_environment_or_the_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[tuple[str, str], str] = {}
    keyring, errors = types.ModuleType("keyring"), types.ModuleType("keyring.errors")
    errors.PasswordDeleteError = type("PasswordDeleteError", (Exception,), {})  # type: ignore[attr-defined]
    keyring.errors = errors  # type: ignore[attr-defined]
    keyring.get_password = lambda *key: kept.get(key)  # type: ignore[attr-defined]
    keyring.set_password = lambda a, b, secret: kept.update({(a, b): secret})  # type: ignore[attr-defined]
    keyring.delete_password = lambda *key: kept.pop(key)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)
    monkeypatch.delenv("ORIEL_SKETCHFAB_TOKEN", raising=False)
    assert find_token() is None
    keep_token(" from-keyring\n")
    token = find_token()
    assert token is not None and token.secret == "from-keyring"
    assert "from-keyring" not in f"{token} {token!r}"
    monkeypatch.setenv("ORIEL_SKETCHFAB_TOKEN", "from-environment")
    token = find_token()
    assert token is not None and token.secret == "from-environment"
    monkeypatch.delenv("ORIEL_SKETCHFAB_TOKEN")
    keep_token(None)
    assert find_token() is None

    def locked(*arguments: str) -> None:
        raise RuntimeError(f"no backend for {arguments}")

    keyring.set_password = keyring.get_password = locked  # type: ignore[attr-defined]
    assert find_token() is None
    with pytest.raises(OrielError, match="ORIEL_SKETCHFAB_TOKEN") as error:
        keep_token("secret")
    assert "secret" not in str(error.value)


def test_the_token_goes_over_https_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORIEL_SKETCHFAB_API", "http://mirror.example/v3")
    with pytest.raises(InputError, match="https://"):
        SketchfabApi(Token("x"))


def test_no_netrc_takes_the_place_of_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("default login user password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with ModelSite([SiteModel(1)]) as site:
        api = SketchfabApi(Token(site.token), base=site.api)
        assert "glb" in api.downloads(SiteModel(1).uid, CancelToken())
        assert api.model(SiteModel(1).uid, CancelToken())["name"] == "Building 1"
        with pytest.raises(CrawlStopped, match="need your API token"):
            SketchfabApi(base=site.api).downloads(SiteModel(1).uid, CancelToken())


def test_answers_that_say_little_are_read() -> None:
    rights = read_model({"uid": "x"}, "https://x/page")
    assert rights.source_url == "https://x/page" and not rights.downloadable and rights.licence == ""
    rights = read_model({"license": {"label": "CC Attribution"}, "tags": ["NoAI"], "user": {"username": "a"}}, "")
    assert (rights.licence, rights.no_ai, rights.author) == ("by", True, "a")


def test_a_search_is_narrowed_and_sorted(search: Search) -> None:
    models = [SiteModel(n, category="places-travel" if n % 2 else "architecture") for n in range(60)]
    for model in models[:40]:
        model.tags = ("tower", "stone")
    models[5].tags = ("tower", "stone", "CreatedWithAI")
    with ModelSite(models) as site:
        wanted = Filters(categories=("places-travel",), tags=("tower", "stone"), sort="likes", days=30)
        assert numbers(search(site, wanted, most=12)) == [39, 37, 35, 33, 31, 29, 27, 25, 23, 21, 19, 17]
        assert site.queries[0]["sort_by"] == "-likeCount" and site.queries[0]["date"] == "30"
        both = Filters(categories=("architecture", "places-travel"), tags=("stone",))
        assert numbers(search(site, both)) == [n for n in range(40) if n != 5]  # over two pages of answers
        assert 5 in numbers(search(site, Filters(created_with_ai=True)))
        assert "sort_by" not in site.queries[-1] and "date" not in site.queries[-1]


@pytest.mark.parametrize("bearer", [False, True])
def test_a_token_of_the_settings_and_one_of_oauth_are_both_taken(search: Search, bearer: bool) -> None:
    with ModelSite([SiteModel(1)], bearer=bearer) as site:
        api = SketchfabApi(Token(site.token), base=site.api)
        for _ in range(3):
            assert "glb" in api.downloads(SiteModel(1).uid, CancelToken())
        assert site.count("download") == (4 if bearer else 3)  # once it is known which, it is not tried again
        with pytest.raises(CrawlStopped, match="does not accept the API token"):
            SketchfabApi(Token("another"), base=site.api).downloads(SiteModel(1).uid, CancelToken())


@pytest.mark.parametrize(
    ("said", "licence"),
    [
        ({"license": {"slug": "by"}}, "by"),
        ({"license": "CC Attribution"}, "by"),
        ({"licenses": [{"label": "CC Attribution-ShareAlike"}]}, "by-sa"),
        ({"licenses": ["cc0"]}, "cc0"),
        ({"licenses": {"slug": "by-nc"}}, "by-nc"),
        ({"license": None, "licenses": [{"slug": "by"}, {"slug": "by-nc"}, {"slug": "cc0"}]}, "by-nc"),
        ({"licenses": [{"slug": "by"}, {"label": "My own terms"}]}, "my-own-terms"),
        ({"license": {}, "licenses": []}, ""),
    ],
)
def test_licences_are_read_however_the_api_calls_them(said: dict[str, object], licence: str) -> None:
    assert read_model({"uid": "x"} | said, "").licence == licence


@pytest.mark.parametrize(
    ("sizes", "most", "place"),
    [
        ((0,), 1024, 0),
        ((4096, 1024, 2048), 0, 0),
        ((1024, 4096, 2048), 2048, 2),
        ((4096, 2048), 512, 1),
        ((0, 0), 0, 0),
    ],
)
def test_the_size_of_textures_that_is_taken(sizes: tuple[int, ...], most: int, place: int) -> None:
    assert best_texture(sizes, most) == place


def test_retry_after() -> None:
    assert retry_after("120") == 120
    assert retry_after(None) is None and retry_after("soon") is None
    later = datetime.now(UTC) + timedelta(seconds=90)
    assert retry_after(format_datetime(later, usegmt=True)) == pytest.approx(90, abs=2)
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
