"""Brings models by pages in browsers, one a worker, which share their logins."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.core.errors import Cancelled, OrielError
from engine.core.progress import CancelToken, ProgressCallback
from engine.crawling.browser.account import Account
from engine.crawling.browser.driver import (
    Browser,
    BrowserLimits,
    BrowserLost,
    BrowserPaths,
    Slot,
    end_orphans,
    find_browser,
    has_display,
)
from engine.crawling.browser.visit import Visit
from engine.crawling.downloader import CrawlStopped, Download, PageFailed, PageTrouble
from engine.crawling.lists import Page
from engine.crawling.rights import Policy

_VAIN_LOGINS = 3
log = logging.getLogger("engine.crawling")


class BrowserDownloader:
    """A `Downloader` that drives Chrome or Chromium. Up to four workers have a browser each.

    `profile` is a folder with one profile for each of them; a login of one is passed on to the others, and lasts.
    `texture` is the most pixels that a side of a texture may have where there are several sizes; 0 for any.
    Raises OrielError at once if there is no browser.
    """

    name = "browser"

    def __init__(
        self,
        profile: Path,
        *,
        account: Account | None = None,
        policy: Policy | None = None,
        texture: int = 0,
        headless: bool = True,
        limits: BrowserLimits | None = None,
        paths: BrowserPaths | None = None,
    ) -> None:
        self.limits = limits or BrowserLimits()
        self.profile, self.account, self._headless = profile, account, headless
        self.policy, self.texture = policy or Policy(), texture
        self._paths = paths or find_browser()
        if not headless and not has_display():
            raise OrielError("The browser's window cannot be shown, as there is no screen. Run it without a window.")
        self._guard = threading.Lock()
        self._idle: list[Browser] = []
        self._browsers: list[Browser] = []
        self._cookies: list[dict[str, Any]] = []
        self._cookies_version = 0
        self.login = threading.Lock()
        """Held by the one worker that logs in."""
        self.attention = threading.Lock()
        """Held by the one worker that waits for the user."""
        self.refused = ""
        """What the site said to a login that it did not accept; no other is tried then."""
        self._started = False
        self._strange = self._vain_logins = 0
        self._closing = threading.Event()
        self._watch: threading.Thread | None = None

    def fetch(self, page: Page, folder: Path, progress: ProgressCallback, cancel: CancelToken) -> Download:
        """See `Downloader.fetch`."""
        with self._browser(cancel) as browser:
            try:
                found = Visit(self, browser, page, folder, progress, cancel).run()
            except BrowserLost as lost:
                browser.kill(str(lost))
                cancel.check()
                raise PageTrouble(f"The browser was lost and is started afresh: {lost}") from None
            except PageFailed as failed:
                if failed.kind == "login":
                    self._count_vain_login(failed)
                raise
        self._strange = self._vain_logins = 0
        return found

    def close(self) -> None:
        """See `Downloader.close`. No process of a browser is left."""
        with self._guard:
            browsers, self._browsers, self._idle = self._browsers, [], []
        enders = [threading.Thread(target=browser.quit, name="browser-end") for browser in browsers]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()
        for browser in browsers:
            browser.slot.release()
        self._closing.set()
        if self._watch is not None:
            self._watch.join()
            self._watch = None

    # -- browsers --------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _browser(self, cancel: CancelToken) -> Iterator[Browser]:
        """A browser that runs, for this thread alone; one that was used long enough is started afresh."""
        cancel.check()
        with self._guard:
            if self._watch is None:
                end_orphans(self.profile)
                self._closing.clear()
                self._watch = threading.Thread(target=self._watch_all, name="browser-watch", daemon=True)
                self._watch.start()
            if self._idle:
                browser = self._idle.pop()
            else:
                try:
                    slot = Slot.take(self.profile)
                except OrielError as error:
                    raise CrawlStopped(str(error)) from None
                browser = Browser(self._paths, slot, self.limits)
                self._browsers.append(browser)
        browser.cancel = cancel
        try:
            self._make_ready(browser)
            yield browser
        finally:
            try:
                if browser.running and not cancel.cancelled:
                    browser.rest()
            except (BrowserLost, Cancelled) as lost:
                browser.kill(str(lost))
            finally:
                with self._guard:
                    self._idle.append(browser)

    def _make_ready(self, browser: Browser) -> None:
        """Start it, if it does not run or was used long enough."""
        try:
            if browser.running and browser.pages >= self.limits.pages:
                self.publish(browser)
                browser.quit()
            if not browser.running:
                browser.start(self._headless)
                self._started = True
                if self._cookies_version:
                    self.adopt(browser)
        except BrowserLost as lost:
            browser.kill(str(lost))
            raise PageTrouble(f"The browser did not start: {lost}") from None
        except OrielError as error:
            raise (PageTrouble if self._started else CrawlStopped)(str(error)) from None

    def _watch_all(self) -> None:
        while not self._closing.wait(0.1):
            for browser in list(self._browsers):
                try:
                    browser.check()
                except Exception:  # whatever it was, the watch goes on
                    log.exception("a browser could not be watched")

    # -- cookies that workers share --------------------------------------------------------------------------

    def publish(self, browser: Browser) -> None:
        """Pass on what a browser is known by."""
        cookies = browser.cookies()
        with self._guard:
            self._cookies, self._cookies_version = cookies, self._cookies_version + 1
            browser.cookies_known = self._cookies_version

    def adopt(self, browser: Browser) -> bool:
        """Take over what another has passed on; False if there is nothing new."""
        with self._guard:
            cookies, version = self._cookies, self._cookies_version
        if version <= browser.cookies_known:
            return False
        browser.set_cookies(cookies)
        browser.cookies_known = version
        return True

    def _count_vain_login(self, failed: PageFailed) -> None:
        """CrawlStopped once logins lead nowhere time after time: no further page would fare better."""
        with self._guard:
            self._vain_logins += 1
            if self._vain_logins >= _VAIN_LOGINS:
                raise CrawlStopped(
                    f"The crawl was stopped, as {_VAIN_LOGINS} logins in a row led nowhere. The last: {failed}",
                    advice="Nothing is lost. Log in by hand in the browser's window{}, or use the API{}.",
                    options=[" (--show-browser)", " (--source api)"],
                ) from failed

    def count_strange(self) -> int:
        """Note a page on which nothing was found; returns how many in a row."""
        with self._guard:
            self._strange += 1
            return self._strange
