"""One page, from its opening to the file: what a person would click, in whatever order the site puts things there."""

from __future__ import annotations

import contextlib
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from engine.core.errors import OrielError
from engine.core.progress import CancelToken, Progress, ProgressCallback
from engine.crawling.browser.account import LOOPBACK, PASSWORD_VARIABLE, USER_VARIABLE, Account
from engine.crawling.browser.driver import WIDTH, Browser, BrowserLost, has_display
from engine.crawling.browser.page import View, copy_of, look, read_page
from engine.crawling.browser.selectors import FORMATS
from engine.crawling.downloader import AccessDenied, CrawlStopped, Download, PageFailed, PageTrouble
from engine.crawling.http import raise_for_refusal, retry_after
from engine.crawling.lists import Page
from engine.crawling.rights import Rights
from engine.crawling.sketchfab import best_texture

if TYPE_CHECKING:
    from engine.crawling.browser.downloader import BrowserDownloader

_BEAT = 0.1
"""Seconds between looks."""
_AGAIN = 1.5
"""Seconds after a click without effect until the next."""
_CLICKS = 25
"""On one page; a page that asks for more goes round in circles."""
_SURE = 0.8
"""Seconds that what was in the way has to be gone before that is believed."""
_CAPTCHA_COMES = 0.5
"""Seconds that a page which refuses gets to show a captcha instead."""
_SIGN_IN = re.compile(r"/(log|sign)[-_]?(in|on)\b|/(sso|oauth2?|authorize)\b", re.IGNORECASE)
"""In the path of a page for signing in."""
_STRANGE = 8
"""Pages in a row on which nothing was found: then the site looks different, and the list is not to be burnt."""


class _Again(PageTrouble):
    """The page is to be opened anew; trouble if that does not help."""


class Visit:
    """One page from its opening to the file."""

    def __init__(
        self,
        owner: BrowserDownloader,
        browser: Browser,
        page: Page,
        folder: Path,
        progress: ProgressCallback,
        cancel: CancelToken,
    ) -> None:
        self._owner, self._browser, self._page = owner, browser, page
        self._limits, self._progress, self._cancel = owner.limits, progress, cancel
        self._files = (folder / "download").absolute()
        crawl = folder.absolute().parent
        self._failures = (crawl.parent if crawl.name == ".partial" else crawl) / "failures"
        self._rights: Rights | None = None
        self._clicks = 0
        self._clicked: dict[tuple[float, str], tuple[float, str]] = {}
        self._chosen = 0.0
        self._logins = 0
        self._told = ""
        self._begin()

    # -- the whole -------------------------------------------------------------------------------------------

    def run(self) -> Download:
        """Go through the page until its file has come."""
        shutil.rmtree(self._files, ignore_errors=True)
        self._files.mkdir(parents=True)
        for left in (self._failures / f"{self._page.key}{kind}" for kind in (".html", ".png")):
            left.unlink(missing_ok=True)  # of an earlier failure, which was another
        for attempt in range(3):
            try:
                self._open(self._page.url)
                path = self._go()
                break
            except _Again:
                if attempt == 2:
                    raise
        return Download(path, self._rights or Rights(source_url=self._page.url))

    def _begin(self) -> None:
        self._moved = time.monotonic()
        self._ready_at: float | None = None
        self._origin = -1.0
        self._asked_to_wait: dict[int, str | None] = {}
        self._refusal: tuple[int, float | None] | None = None
        self._error = ""
        self._download: dict[str, Any] = {}

    def _open(self, url: str) -> None:
        self._say("opening")
        self._begin()
        self._chosen = 0.0
        self._browser.devtools(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self._files), eventsEnabled=True
        )
        self._browser.open(url)

    def _go(self) -> Path:
        """Look, and do what is next, until a download begins."""
        while True:
            self._cancel.check()
            if self._download or any(self._files.iterdir()):
                return self._receive()
            view = look(self._browser)
            if view is not None and not view.blank:
                self._note(view)
                if self._step(view):
                    continue
            self._check_time(view)
            time.sleep(_BEAT)

    def _note(self, view: View) -> None:
        """Keep count of time by what happens to the page."""
        now = time.monotonic()
        if view.origin != self._origin:
            self._origin, self._moved, self._ready_at = view.origin, now, None
        if view.ready == "complete" and self._ready_at is None:
            self._ready_at = now
        if view.width < WIDTH // 2:
            self._browser.widen()

    def _step(self, view: View) -> bool:
        """The next thing to do on the page as it is; False if it is to be waited for."""
        found = view.found
        if "captcha" in found and not {"download", "chooser", "password_field"} & found.keys():
            self._wait_for_user("captcha")
            return True
        form = {"password_field", "user_field"} <= found.keys()
        sign_in = form or self._is_sign_in(view)
        if not sign_in and "password_field" not in found and not self._came(view):
            return False
        if "code_field" in found:
            self._wait_for_user("code")
            return True
        if sign_in:
            # A form may be drawn late.
            if not form and self._waited() < (_SURE if "user_field" in found else self._limits.element / 4):
                return False
            self._log_in(view)
            return True
        if "consent" in found and self._click(view, "consent"):
            return True
        if "login_link" in found and self._asked():
            return self._click(view, "login_link")
        if "notice" in found and self._chosen:
            self._listen()
            self._heed(view.texts["notice"])
        if any(choice.format for choice in view.offered):
            return self._choose(view)
        if "removed" in found and "download" not in found:
            raise PageFailed("The model does not exist any more: the page says that it was removed.", kind="gone")
        return self._ask_for_download(view)

    def _is_sign_in(self, view: View) -> bool:
        """Whether the browser was led to where one signs in, with this site or for it with another, whatever is asked
        for there: a name first, or a button of another company."""
        parts = urlsplit(view.url)
        wanted = self._page.key in parts.path.lower() or parts.path == urlsplit(self._page.url).path
        if wanted or "download" in view.found or view.failed:
            return False
        if "sign_in" in view.found or _SIGN_IN.search(parts.path):
            return True
        return self._abroad(view) and ("user_field" in view.found or self._waited() > self._limits.element / 2)

    def _abroad(self, view: View) -> bool:
        """Whether the browser was led to another site than the page's."""
        return _site(view.url) != _site(self._page.url)

    def _waited(self) -> float:
        """Seconds since the page has come as a whole and nothing has happened to it."""
        return 0.0 if self._ready_at is None else time.monotonic() - max(self._ready_at, self._moved)

    def _asked(self) -> bool:
        """Whether the button for the download was pressed."""
        return any(name == "download" for _, name in self._clicked)

    def _check_time(self, view: View | None) -> None:
        """Give up when nothing has happened for too long."""
        now, limits = time.monotonic(), self._limits
        if self._chosen:
            if view is not None and now - self._chosen > 1:
                self._listen()
                if self._refusal is not None and now - self._chosen > 3:
                    self._heed("")
            if now - self._chosen > limits.start:
                raise PageTrouble(f"The download did not begin within {limits.start:g} s.")
            return
        loading = view is None or view.blank or view.ready != "complete"
        if loading and now - self._moved > limits.load:
            text = f"The page did not load within {limits.load:g} s."
            if view is None and self._origin >= 0:
                raise BrowserLost(text)  # it was there, and does not answer any more
            raise PageTrouble(text)
        if not loading and self._waited() > limits.element:
            wanted, kind = ("a choice of formats", "") if self._asked() else ("the button for the download", "page")
            saved = self._save()
            text = f"Within {limits.element:g} s nothing on the page looked like {wanted}.{saved}"
            if self._owner.count_strange() >= _STRANGE:
                raise CrawlStopped(
                    f"The crawl was stopped, as {_STRANGE} pages in a row looked different from what is known: the "
                    f"site may have been redesigned. The last: {text} Nothing is lost; a newer version may know it."
                )
            raise PageFailed(text, kind=kind)

    # -- what the browser has seen ---------------------------------------------------------------------------

    def _listen(self) -> None:
        """Take note of answers and of the download."""
        for name, said in self._browser.events():
            if name.endswith(".downloadWillBegin"):
                self._download = {"guid": said["guid"], "state": "inProgress", "totalBytes": 0, "receivedBytes": 0}
            elif name.endswith(".downloadProgress") and said["guid"] == self._download.get("guid"):
                self._download |= said
            elif name == "Network.loadingFailed" and said.get("type") == "Document" and not said.get("canceled"):
                self._error = str(said.get("errorText", ""))
            elif name == "Network.responseReceived":
                answer = said["response"]
                headers = {key.lower(): value for key, value in answer.get("headers", {}).items()}
                if said.get("type") == "Document":
                    self._asked_to_wait[int(answer["status"])] = headers.get("retry-after")
                elif (
                    self._chosen
                    and answer["status"] in (401, 403, 404, 410, 429, 500, 502, 503, 504)
                    and urlsplit(answer["url"]).hostname == urlsplit(self._page.url).hostname
                ):
                    self._refusal = (int(answer["status"]), retry_after(headers.get("retry-after")))

    def _came(self, view: View) -> bool:
        """Raise for a page that came with an error; False while it may yet turn out to be a captcha's."""
        if view.status < 400 and not view.failed:
            return True
        self._listen()
        if view.status < 400:
            host, why = urlsplit(self._page.url).netloc, self._error or "no answer"
            raise PageTrouble(f"{host} cannot be reached ({why}). Check the network.", busy=True)
        if view.status in (403, 429, 503) and (
            self._ready_at is None or time.monotonic() - self._ready_at < _CAPTCHA_COMES
        ):
            return False
        wait = retry_after(self._asked_to_wait.get(view.status))
        self._refuse(view.status, wait, None if view.failed else urlsplit(view.url).hostname)

    def _refuse(self, status: int, wait: float | None, host: str | None = None) -> NoReturn:
        """Raise what a status of HTTP stands for."""
        site = urlsplit(self._page.url).netloc
        raise_for_refusal(status, wait, site)
        elsewhere = host is not None and host != urlsplit(self._page.url).hostname
        if self._chosen and elsewhere and status in (401, 403, 410):
            raise _Again("The addresses that the site gives for the file are not valid.")
        if status in (401, 403):
            raise AccessDenied(f"{site} does not let this account have the model ({status}).")
        if status in (404, 410):
            raise PageFailed(f"The model does not exist, or no longer ({status}).", kind="gone")
        raise PageTrouble(f"{site} does not understand the request ({status}).")

    def _heed(self, notice: str) -> None:
        """Raise what the site said to a click, in an answer or in words."""
        if self._refusal is not None and self._refusal[0] != 401:
            self._refuse(*self._refusal)
        if notice and self._chosen:
            raise PageTrouble(f"The site says: {notice}")

    # -- clicks ----------------------------------------------------------------------------------------------

    def _click(self, view: View, name: str) -> bool:
        """Click what was found, unless that was done just now."""
        key, now = (view.origin, name), time.monotonic()
        element, before = view.found[name], self._clicked.get(key)
        # A new element in the place of one that did nothing need not be waited for.
        if before is not None and now - before[0] < (_AGAIN if element.id == before[1] else _AGAIN / 5):
            return False
        self._count_click()
        if not self._browser.click(element):
            return False
        self._clicked[key] = (now, element.id)
        if before is None:
            self._moved = now
        return True

    def _count_click(self) -> None:
        self._clicks += 1
        if self._clicks > _CLICKS:
            raise PageTrouble(f"The page goes round in circles: {_CLICKS} clicks led to no download.{self._save()}")

    def _ask_for_download(self, view: View) -> bool:
        """Look at the rights, then press the button."""
        if view.ready == "loading":
            return False
        rights = read_page(self._browser, self._page)
        if rights is None:
            return False
        if rights.no_ai or not rights.downloadable or rights.licence:
            self._owner.policy.check(rights)
        if "download" not in view.found:
            return False
        if not rights.licence and self._ready_at is not None and time.monotonic() - self._ready_at < 2:
            return False  # it may come late, as the button does
        self._owner.policy.check(rights)
        self._rights = rights
        self._progress(Progress("page", 0, 0, "asking", rights))
        return self._click(view, "download")

    def _choose(self, view: View) -> bool:
        """Ask for the best format that is offered."""
        now = time.monotonic()
        if self._chosen:
            return False
        format = next((wanted for wanted in FORMATS[:2] for c in view.offered if c.format == wanted), None)
        if format is None:
            offered = ", ".join(dict.fromkeys(choice.format for choice in view.offered if choice.format))
            raise PageFailed(f"The model is offered neither as GLB nor as glTF, only as {offered}.", kind="model")
        if self._rights is None:
            rights = read_page(self._browser, self._page)
            if rights is None:
                return False
            self._owner.policy.check(rights)
            self._rights = rights
        choices = [c for c in view.offered if c.format == format]
        choice = choices[best_texture([c.texture for c in choices], self._owner.texture)]
        self._count_click()
        if not self._browser.click(choice.element):
            return False
        self._chosen = now
        self._say(f"asked for {choice.format}")
        return True

    # -- logins ----------------------------------------------------------------------------------------------

    def _log_in(self, view: View) -> None:
        """Log in, or take over the login of another worker."""
        owner = self._owner
        with self._alone(owner.login, "waiting for the login"):
            if owner.refused:
                raise CrawlStopped(owner.refused)
            if owner.adopt(self._browser):
                raise _Again("The login did not last.", kind="login")
            self._logins += 1
            if self._logins > 2:
                raise PageTrouble(f"The site asks for the login again and again.{self._save()}", kind="login")
            account = owner.account
            if account is None or not account.belongs_to(view.url) or "password_field" not in view.found:
                self._wait_for_user("login", view)
            else:
                self._say("logging in")
                self._fill(view, account)
                self._after_login(urlsplit(view.url).path)
            owner.publish(self._browser)
        # What was clicked before was for nothing.
        self._clicked.clear()
        self._chosen, self._refusal = 0.0, None
        self._moved, self._ready_at = time.monotonic(), None
        now = look(self._browser)
        if now is None or not (self._page.key in now.url.lower() or now.url == self._page.url):
            self._open(self._page.url)  # logins end in all kinds of places

    def _fill(self, view: View, account: Account) -> None:
        """Fill the form in and send it off. What gets in the way meanwhile, a banner that comes late, is answered."""
        end = time.monotonic() + self._limits.login
        now: View | None = view
        while time.monotonic() < end:
            self._cancel.check()
            if now is not None:
                if "password_field" not in now.found or "login_error" in now.found:
                    return  # it was sent off after all
                covered = "consent" in now.found and self._click(now, "consent")
                if not covered and "user_field" in now.found and self._send_off(now.found, account):
                    return
            time.sleep(_BEAT)
            now = look(self._browser)
        raise PageTrouble("The login changed while it was filled in.", kind="login")

    def _send_off(self, found: dict[str, Any], account: Account) -> bool:
        """Type and click; False if something was gone or covered meanwhile."""
        browser, button = self._browser, found.get("login_button")
        filled = browser.type(found["user_field"], account.user)
        filled = filled and browser.type(found["password_field"], account.password, enter=button is None)
        return filled and (button is None or browser.click(button))

    def _after_login(self, path: str) -> None:
        """Wait until the login is through; `path` is that of the page with the form, which a script may draw late."""
        end = time.monotonic() + self._limits.login
        gone = _Lasting(_SURE)
        while True:
            self._cancel.check()
            view = look(self._browser)
            found = view.found if view is not None else {}
            if view is not None and not view.blank and view.ready == "complete":
                if "code_field" in found:
                    self._wait_for_user("code")
                    return
                if gone("password_field" not in found) or (
                    "password_field" not in found and urlsplit(view.url).path != path
                ):
                    if "captcha" in found:
                        self._wait_for_user("captcha")
                    return
                if "login_error" in found:
                    site, said = urlsplit(view.url).netloc, view.texts["login_error"].rstrip(".")
                    self._owner.refused = (
                        f"{site} does not accept the login; it says: {said}. Correct it with `oriel crawl login`, or "
                        f"in {USER_VARIABLE} and {PASSWORD_VARIABLE}, and run the crawl again; nothing is lost."
                    )
                    raise CrawlStopped(self._owner.refused)
            if time.monotonic() > end:
                if "captcha" in found:
                    self._wait_for_user("captcha")
                    return
                text = f"The login led nowhere within {self._limits.login:g} s.{self._save()}"
                raise PageTrouble(text, kind="login")
            time.sleep(_BEAT)

    @contextlib.contextmanager
    def _alone(self, lock: threading.Lock, message: str) -> Iterator[bool]:
        """Hold a lock; gives whether it had to be waited for."""
        waited = False
        while not lock.acquire(timeout=0.1):
            self._cancel.check()
            waited = True
            self._say(message)
        try:
            yield waited
        finally:
            lock.release()

    # -- what only the user can do ---------------------------------------------------------------------------

    def _wait_for_user(self, what: str, view: View | None = None) -> None:
        """Say what the site wants and show the window, until it is done; `view` is that of a page with a login."""
        site = urlsplit(self._page.url).netloc
        there = site if view is None else urlsplit(view.url).netloc
        login = "a login" if there == site else f"a login at {there}"
        wanted, todo, gone = {
            "captcha": ("a captcha", f"{site} wants to know whether a person is there: solve the captcha", _no_captcha),
            "code": ("a code", f"{site} asks for a second factor: enter the code", _no_code),
            "login": (login, f"{site} asks for {login}: log in", self._is_logged_in),
        }[what]
        if what == "captcha" and self._gone_within(self._limits.by_itself, gone):
            return
        with self._alone(self._owner.attention, f"waiting for {wanted} in another window") as waited:
            if waited and what == "captcha":
                raise _Again(f"{site} asks for a captcha again and again.", kind="login")
            self._show_window()
            seen = not self._browser.headless
            if not seen and what != "captcha":
                hint = ""
                if view is not None and self._owner.account is None and there == site:
                    hint = "Store the login with `oriel crawl login`, or: "
                elif view is not None:
                    hint = f"The page asks for a login at {there}, which has no account here that can be filled in. "
                raise CrawlStopped(hint + self._without_screen(wanted))
            limit = self._limits.attention if seen else self._limits.unseen
            told = (
                f"{todo} in the window of the browser" if seen else f"{todo}, or wait: {self._without_screen(wanted)}"
            )
            if self._gone_within(limit, gone, Progress("attention", 0, 0, told), recheck=not seen):
                self._told = ""
                self._say("going on")
                return
        if not seen:
            raise CrawlStopped(self._without_screen(wanted))
        raise CrawlStopped(
            f"The crawl was stopped, as {site} asked for {wanted} and nobody saw to it within {limit / 60:.0f} "
            "minutes. Run it again when you are there; nothing is lost."
        )

    def _is_logged_in(self, view: View) -> bool:
        """Whether the user is through with a login, and back."""
        asked = {"password_field", "code_field", "captcha"} & view.found.keys()
        return not asked and view.ready == "complete" and not self._abroad(view) and not self._is_sign_in(view)

    def _gone_within(
        self, seconds: float, gone: Callable[[View], bool], told: Progress | None = None, recheck: bool = False
    ) -> bool:
        """Whether what was in the way goes within some time; says what to do meanwhile."""
        begun = checked = time.monotonic()
        sure = _Lasting(_SURE)
        while time.monotonic() - begun < seconds:
            self._cancel.check()
            if told is not None:
                self._progress(told)
            view = look(self._browser)
            # A script may draw it a moment after the page has come.
            if sure(view is not None and not view.blank and not view.failed and gone(view)):
                self._begin()
                return True
            if recheck and time.monotonic() - checked > self._limits.recheck:
                checked = time.monotonic()
                self._browser.open(self._page.url)
            time.sleep(2 * _BEAT)
        return False

    def _show_window(self) -> None:
        browser = self._browser
        if browser.headless and has_display():
            view = look(browser)
            url = view.url if view is not None and not view.blank else self._page.url
            cookies = browser.cookies()
            browser.quit()
            try:
                browser.start(headless=False)
            except OrielError as error:
                raise CrawlStopped(str(error)) from None
            browser.set_cookies(cookies)
            self._open(url)
        browser.front()

    def _without_screen(self, wanted: str) -> str:
        site = urlsplit(self._page.url).netloc
        return (
            f"{site} asks for {wanted}, and there is no screen to show the browser's window on. Run the crawl once on "
            f"a computer with a screen (`--show-browser`), with the profile {self._owner.profile}, or use the API "
            "with your token (`oriel crawl token`, `--source api`). Nothing is lost."
        )

    # -- the file --------------------------------------------------------------------------------------------

    def _receive(self) -> Path:
        """Watch the file grow until it is whole."""
        try:
            return self._watch_file()
        except BaseException:
            if "guid" in self._download and not self._cancel.cancelled:
                with contextlib.suppress(BrowserLost):
                    self._browser.devtools("Browser.cancelDownload", guid=self._download["guid"])
            raise

    def _watch_file(self) -> Path:
        limits, began = self._limits, time.monotonic()
        grew, size = began, -1
        while True:
            self._browser.ask("return 1")  # a dead browser shows itself here
            self._listen()
            names = list(self._files.iterdir())
            growing = [path for path in names if path.suffix in (".crdownload", ".tmp")]
            whole = [path for path in names if path not in growing]
            now, state = time.monotonic(), self._download.get("state", "")
            held = sum(_size(path) for path in (growing or whole))
            total = int(self._download.get("totalBytes") or 0)
            if held != size:
                grew, size = now, held
                self._progress(Progress("page", held, max(total, held) if total else 0, "downloading"))
            if state == "canceled":
                raise PageTrouble(f"The download broke off: {max(held, 0)} of {total or 'unknown'} bytes came.")
            if whole and not growing and (state == "completed" or now - grew > (2 if state else 0.5)):
                return max(whole, key=_size)
            if now - grew > limits.stall:
                raise PageTrouble(f"The download stood still for {limits.stall:g} s, after {max(held, 0)} bytes.")
            if now - began > limits.total:
                raise PageTrouble(f"The download took longer than {limits.total / 60:.0f} minutes; {held} bytes came.")
            time.sleep(_BEAT)

    # -- words -----------------------------------------------------------------------------------------------

    def _say(self, message: str) -> None:
        if message != self._told:
            self._told = message
            self._progress(Progress("page", 0, 0, message))

    def _save(self) -> str:
        """Keep the page as it is for whoever finds out why; says where."""
        saved = []
        with contextlib.suppress(BrowserLost, OSError, ValueError):
            text, secret = next((copy for _ in range(3) if (copy := copy_of(self._browser))[0]), ("", True))
            account = self._owner.account
            for word in (account.password, account.user) if account is not None else ():
                text = text.replace(word, "***")
            self._failures.mkdir(parents=True, exist_ok=True)
            path = self._failures / f"{self._page.key}.html"
            if text:
                path.write_text(text, encoding="utf-8")
                saved.append(str(path))
            if not secret:
                picture = self._browser.screenshot()
                path.with_suffix(".png").write_bytes(picture)
                saved.append(str(path.with_suffix(".png")))
        return f" The page was saved: {' and '.join(saved)}." if saved else ""


class _Lasting:
    """Whether something has held for some time without a break."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._since = seconds, 0.0

    def __call__(self, holds: bool) -> bool:
        now = time.monotonic()
        self._since = (self._since or now) if holds else 0.0
        return holds and now - self._since >= self._seconds


def _site(url: str) -> str:
    """What tells sites from each other: a host with all below it, and on this machine the port too."""
    parts = urlsplit(url)
    host = (parts.hostname or "").removeprefix("www.")
    if host in LOOPBACK:
        return parts.netloc
    return host if re.fullmatch(r"[\d.:]+", host) else ".".join(host.split(".")[-2:])


def _no_captcha(view: View) -> bool:
    return "captcha" not in view.found and view.ready == "complete" and view.status < 400


def _no_code(view: View) -> bool:
    return "code_field" not in view.found and "password_field" not in view.found and view.ready == "complete"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
