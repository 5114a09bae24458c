"""The test site's pages: who is given a file there, and what tells the designs apart."""

from __future__ import annotations

import re

import pytest
import requests

from tests.site import ModelSite, SiteModel


def log_in(site: ModelSite, browser: requests.Session, password: str) -> requests.Response:
    user, _ = site.account()
    browser.get(f"{site.url}/login")
    sent = {"email": user, "password": password, "csrfmiddlewaretoken": browser.cookies["csrftoken"], "next": "/"}
    return browser.post(f"{site.url}/login", data=sent)


def test_pages_give_files_only_to_who_is_logged_in() -> None:
    with ModelSite([SiteModel(0)], login=True) as site, requests.Session() as browser:
        uid = site.models[0].uid
        way = f"{site.url}/i/archives/latest?archiveType=glb&model={uid}"
        assert browser.get(way, headers={"Authorization": f"Token {site.token}"}).status_code == 401
        assert browser.post(f"{site.url}/login", data={"email": site.user}).status_code == 403  # no CSRF token

        assert "incorrect" in log_in(site, browser, "wrong").text
        assert log_in(site, browser, site.password).ok
        assert (site.logins, site.wrong_logins) == (1, 1)
        file = browser.get(browser.get(way).json()["url"])
        assert file.content == site.models[0].file("glb")
        assert "building_0.glb" in file.headers["Content-Disposition"]

        site.expire_sessions()
        assert browser.get(way).status_code == 401
        assert log_in(site, browser, site.password).ok and browser.get(way).ok


@pytest.mark.parametrize("design", ["classic", "modern"])
def test_pages_state_rights_and_hold_no_button_themselves(design: str) -> None:
    model = SiteModel(0, licence="by-nc", tags=("tower", "NoAI"))
    with ModelSite([model], design=design) as site:
        text = requests.get(f"{site.url}/models/{model.uid}").text
        assert ("js-dom-data-prefetched-data" in text.partition("<script>")[0]) is (design == "classic")
        assert '"3DModel"' in text and re.search('robots" content="noai', text)
        assert "<button" not in text  # the scripts build the page
