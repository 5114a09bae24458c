"""What is read from a page and who is given a password, without a browser."""

from __future__ import annotations

import html
import json
import sys

import pytest

from engine.core.errors import InputError, OrielError
from engine.crawling import Page, Policy, Rights, Skipped
from engine.crawling.browser import Account, find_account, store_account
from engine.crawling.browser.page import rights_of

UID = "0123456789abcdef0123456789abcdef"
PAGE = Page(f"https://sketchfab.com/3d-models/tower-{UID}", UID)
BY = "https://creativecommons.org/licenses/by/4.0/"


def rights(**found: object) -> Rights:
    return rights_of({"links": {}, "texts": {}, "meta": {}, "tags": [], "linked": [], "prefetched": []} | found, PAGE)


def linked(**about: object) -> list[str]:
    return ["no json", json.dumps([{"@type": "WebSite"}, {"@type": "3DModel", "name": "Tower"} | about])]


def test_what_forbids_something_counts_wherever_it_stands() -> None:
    assert rights(linked=linked(license=BY)).licence == "by"
    for forbidding in (
        {"meta": {"robots": "index, NoAI"}},
        {"texts": {"noai": "This model may not be used"}},
        {"tags": ["church", "NoAI"]},
        {"linked": linked(license=BY, keywords="church, noai")},
        {"prefetched": [json.dumps({"uid": UID, "noAi": True})]},
    ):
        with pytest.raises(Skipped, match="generative AI"):
            Policy(()).check(rights(**({"linked": linked(license=BY)} | forbidding)))
    for free in (False, "False"):
        assert not rights(linked=linked(isAccessibleForFree=free)).downloadable
    assert not rights(prefetched=[json.dumps({"uid": UID, "isDownloadable": False})]).downloadable
    assert rights(prefetched=[json.dumps({"uid": UID, "name": "Tower"})]).downloadable


@pytest.mark.parametrize(
    ("stated", "key"),
    [
        ({"links": {"licence": BY}}, "by"),
        ({"links": {"licence": "http://creativecommons.org/publicdomain/zero/1.0/"}}, "cc0"),
        ({"linked": linked(license="https://creativecommons.org/licenses/by-nc-sa/4.0/")}, "by-nc-sa"),
        ({"texts": {"licence": "CC BY-SA 4.0"}, "links": {"licence": "https://x.org/about"}}, "by-sa"),
        ({"texts": {"licence": "Standard"}, "links": {"licence": "https://sketchfab.com/licenses"}}, "st"),
        ({}, ""),
    ],
)
def test_a_licence_is_read_from_its_address_or_name(stated: dict[str, object], key: str) -> None:
    assert rights(**stated).licence == key


def test_the_data_of_a_page_are_those_of_its_own_model() -> None:
    other = {"uid": "f" * 32, "name": "Other", "isDownloadable": False}
    own = {"uid": UID, "name": "Tower", "isDownloadable": True, "license": {"slug": "by"}, "user": {"username": "ann"}}
    kept = html.escape(json.dumps({f"/i/models/{other['uid']}": other, f"/i/models/{UID}": own}))
    found = rights(prefetched=["{broken", kept])
    assert (found.title, found.licence, found.author, found.downloadable) == ("Tower", "by", "ann", True)
    assert rights(prefetched=[json.dumps({"x": other})], texts={"title": "Seen"}).title == "Seen"


def test_a_password_goes_to_its_own_site_only() -> None:
    account = Account("ann", "secret")
    assert account.belongs_to("https://sketchfab.com/login") and account.belongs_to("https://www.sketchfab.com/x")
    for url in (
        "http://sketchfab.com/login",
        "https://sketchfab.com.evil.org/login",
        "https://evilsketchfab.com/login",
        "https://elsewhere.org/login?next=sketchfab.com",
        "http://127.0.0.1:80/login",
    ):
        assert not account.belongs_to(url)
    local = Account("ann", "secret", "http://127.0.0.1:8000")
    assert local.belongs_to("http://127.0.0.1:8000/login") and not local.belongs_to("http://127.0.0.1:8001/login")


def test_an_account_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    monkeypatch.setenv("ORIEL_SKETCHFAB_USER", "ann")
    monkeypatch.delenv("ORIEL_SKETCHFAB_PASSWORD", raising=False)
    with pytest.raises(InputError, match="ORIEL_SKETCHFAB_PASSWORD is not set"):
        find_account()
    monkeypatch.setenv("ORIEL_SKETCHFAB_PASSWORD", " se cret ")
    found = find_account()
    assert found is not None and (found.user, found.password) == ("ann", " se cret ")
    with pytest.raises(OrielError, match="keyring cannot be used"):
        store_account(found)
    monkeypatch.delenv("ORIEL_SKETCHFAB_USER")
    monkeypatch.delenv("ORIEL_SKETCHFAB_PASSWORD")
    assert find_account() is None
