"""One browser with a profile of its own: started, asked, watched and, whatever happens, ended.

Chrome and its driver are processes that may hang or die at any time. Every question to them is watched from a thread:
one that takes too long, or that a cancelled crawl waits for, is ended by killing both, which the asking thread sees
as `BrowserLost`. Nothing is ever downloaded to get a driver.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import platform
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout
from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    InvalidElementStateException,
    JavascriptException,
    NoSuchElementException,
    StaleElementReferenceException,
    TimeoutException,
    WebDriverException,
)
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.remote_connection import ChromeRemoteConnection
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from urllib3.exceptions import HTTPError

from engine.core.errors import Cancelled, OrielError, OutputError
from engine.core.progress import CancelToken

BROWSER_VARIABLE, DRIVER_VARIABLE = "ORIEL_BROWSER", "ORIEL_CHROMEDRIVER"
WIDTH, HEIGHT = 1400, 1000
_SLOTS = 16
_CANCEL_GRACE = 0.5
_ANSWER = 2.0
"""Seconds that a script may take; a page that is busy, or on its way, is asked again."""
_GONE = (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    InvalidElementStateException,
    NoSuchElementException,
    StaleElementReferenceException,
)
# It writes what it is asked to type into the log of whoever logs everything.
logging.getLogger("selenium.webdriver.remote.remote_connection").setLevel(logging.INFO)


@dataclass(frozen=True)
class BrowserLimits:
    """Seconds, but for the last: what takes longer is given up."""

    launch: float = 60.0
    """Until a started browser answers."""
    call: float = 30.0
    """One question to the browser."""
    load: float = 60.0
    """Until a page has loaded."""
    element: float = 20.0
    """Until a page that has loaded shows what is looked for."""
    login: float = 30.0
    start: float = 60.0
    """From the last click to the first byte of the download."""
    stall: float = 60.0
    """Without a byte."""
    total: float = 3600.0
    """For one file."""
    attention: float = 1800.0
    """For the user to solve a captcha, or to log in."""
    by_itself: float = 8.0
    """For a captcha that goes away without anybody."""
    unseen: float = 90.0
    """For a captcha to go away by itself where no window can be shown."""
    recheck: float = 10.0
    """Between looks at a captcha that nobody sees."""
    pages: int = 150
    """After so many a browser is started afresh, so that its memory does not grow for days."""


class BrowserLost(Exception):
    """The browser died, hung or was closed."""


# -- finding one ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BrowserPaths:
    """A browser and the driver that belongs to it."""

    binary: Path
    driver: Path


def find_browser() -> BrowserPaths:
    """Chrome or Chromium with its driver: named by the environment, on the PATH, or in the usual places.

    OrielError that says what to install if either is missing.
    """
    binary = _find(
        BROWSER_VARIABLE,
        ("google-chrome", "google-chrome-stable", "chrome", "chromium", "chromium-browser"),
        _usual_browsers(),
    )
    if binary is None:
        raise OrielError(
            "No Chrome or Chromium was found. Install one (Debian, Ubuntu: `sudo apt install chromium "
            f"chromium-driver`), or name its program in {BROWSER_VARIABLE}."
        )
    beside = [binary.resolve().parent / name for name in ("chromedriver", "chromedriver.exe")]
    usual = [Path("/usr/lib/chromium/chromedriver"), Path("/usr/lib/chromium-browser/chromedriver")]
    driver = _find(DRIVER_VARIABLE, ("chromedriver", "chromium.chromedriver"), beside + usual)
    if driver is None:
        raise OrielError(
            f"{binary} was found, but not the ChromeDriver that steers it. Install it (Debian, Ubuntu: `sudo apt "
            "install chromium-driver`; else from https://googlechromelabs.github.io/chrome-for-testing, in the "
            f"browser's version), or name it in {DRIVER_VARIABLE}."
        )
    return BrowserPaths(binary, driver)


def _find(variable: str, names: tuple[str, ...], places: list[Path]) -> Path | None:
    if named := os.environ.get(variable, "").strip():
        found = shutil.which(named)
        if found is None:
            raise OrielError(f"{variable} is {named}, which is no program. Correct it, or unset it.")
        return Path(found)
    for name in names:
        if found := shutil.which(name):
            return Path(found)
    return next((path for path in places if os.access(path, os.X_OK) and path.is_file()), None)


def _usual_browsers() -> list[Path]:
    system = platform.system()
    if system == "Windows":
        roots = [os.environ.get(name, "") for name in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA")]
        kinds = ("Google/Chrome", "Chromium")
        return [Path(root) / kind / "Application" / "chrome.exe" for root in roots if root for kind in kinds]
    if system == "Darwin":
        names = ("Google Chrome", "Chromium")
        folders = [Path("/Applications"), Path.home() / "Applications"]
        return [folder / f"{name}.app" / "Contents" / "MacOS" / name for folder in folders for name in names]
    return [Path("/opt/google/chrome/chrome"), Path("/usr/lib/chromium/chromium"), Path("/snap/bin/chromium")]


def has_display() -> bool:
    """Whether a window can be shown."""
    if platform.system() in ("Windows", "Darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


# -- profiles ------------------------------------------------------------------------------------------------


class Slot:
    """One of the profile folders below a base, held by this process alone."""

    def __init__(self, folder: Path, lock: FileLock) -> None:
        self.folder, self._lock = folder, lock

    @classmethod
    def take(cls, base: Path) -> Slot:
        """The first that no other crawl uses."""
        try:
            base.mkdir(parents=True, exist_ok=True)
            for number in range(_SLOTS):
                lock = FileLock(base / f"profile-{number}.lock", thread_local=False)
                with contextlib.suppress(Timeout):
                    lock.acquire(timeout=0)
                    folder = base / f"profile-{number}"
                    folder.mkdir(exist_ok=True)
                    return cls(folder.resolve(), lock)
        except OSError as error:
            raise OutputError(
                f"{base} cannot be written, where the browser's profile is kept: {error.strerror or error}. Check its "
                "rights."
            ) from error
        raise OrielError(f"All {_SLOTS} browser profiles in {base} are in use. End other crawls first.")

    def release(self) -> None:
        """Release it."""
        self._lock.release()


def end_orphans(base: Path) -> int:
    """End browsers that a killed crawl has left, in profiles that no crawl uses now; returns how many processes."""
    ended = 0
    for number in range(_SLOTS):
        folder = base / f"profile-{number}"
        if not folder.is_dir():
            continue
        lock = FileLock(base / f"profile-{number}.lock", thread_local=False)
        with contextlib.suppress(Timeout, OSError):
            lock.acquire(timeout=0)
            try:
                ended += _end_users_of(folder.resolve())
            finally:
                lock.release()
    return ended


def _end_users_of(folder: Path) -> int:
    """End every Chrome and driver whose command line names the profile, with what they have started."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter(["name", "cmdline"]):
        line = process.info["cmdline"] or []
        if "chrom" in (process.info["name"] or "").lower() and any(
            text.startswith("--") and _names(text.partition("=")[2], folder) for text in line
        ):
            found |= {one.pid: one for one in _family(process)}
    _kill(list(found.values()))
    for name in ("SingletonLock", "SingletonSocket", "SingletonCookie"):
        with contextlib.suppress(OSError):
            (folder / name).unlink()
    return len(found)


def _names(value: str, folder: Path) -> bool:
    return value == str(folder) or value.startswith(f"{folder}{os.sep}")


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return [process]


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    end = time.monotonic() + 10
    while time.monotonic() < end and any(_alive(process) for process in processes):
        time.sleep(0.02)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


# -- the browser ---------------------------------------------------------------------------------------------


class _Connection(ChromeRemoteConnection):
    """The way to the driver; says since when it waits for an answer."""

    def __init__(self, url: str) -> None:
        super().__init__(url, ignore_proxy=True)
        self.add_command("getLog", "POST", "/session/$sessionId/se/log")
        self.waits_since: float | None = None

    def execute(self, command: str, params: dict[str, Any]) -> Any:
        self.waits_since = time.monotonic()
        try:
            return super().execute(command, params)
        finally:
            self.waits_since = None


class Browser:
    """A browser in a profile. Used by one thread at a time; `check` and `kill` may come from another."""

    def __init__(self, paths: BrowserPaths, slot: Slot, limits: BrowserLimits) -> None:
        self.slot, self.limits, self.cancel = slot, limits, CancelToken()
        self.headless = True
        self.pages = 0
        """Opened since it was started."""
        self.cookies_known = 0
        """Which of the cookies that workers share it has."""
        self._paths = paths
        self._service: Service | None = None
        self._driver: webdriver.Remote | None = None
        self._connection: _Connection | None = None
        self._launching: float | None = None
        self._cancelled_at: float | None = None
        self._killing = threading.Lock()
        self._why = ""
        self._ending = False

    @property
    def running(self) -> bool:
        """Whether it was started, and not ended since."""
        return self._driver is not None and not self._why

    # -- start and end ---------------------------------------------------------------------------------------

    def start(self, headless: bool) -> None:
        """Start it; OrielError when that cannot be, BrowserLost when it hangs."""
        with self._killing:  # one that is still at it would end the new one as well
            _end_users_of(self.slot.folder)
            self.headless, self.pages, self._why, self.cookies_known = headless, 0, "", 0
            self._ending, self._cancelled_at = False, None
        # A group of its own: Ctrl-C in a terminal is for the crawl, which ends its browsers in good order.
        self._service = Service(
            str(self._paths.driver),
            service_args=[f"--oriel-profile={self.slot.folder}"],
            log_output=subprocess.DEVNULL,
            popen_kw={"start_new_session": True},
        )
        self._launching = time.monotonic()
        try:
            self._service.start()
            self._connection = _Connection(self._service.service_url)
            self._driver = webdriver.Remote(command_executor=self._connection, options=self._options())
            self._driver.set_script_timeout(_ANSWER)
        except Exception as error:
            why = self._why
            self.kill("it did not start")
            if self.cancel.cancelled:
                raise Cancelled from None
            if why:
                raise BrowserLost(why) from None
            raise OrielError(
                f"{self._paths.binary} could not be started with {self._paths.driver}: {_first_line(error)} Check that "
                "both are of the same version, and that no other program uses the profile "
                f"{self.slot.folder}."
            ) from None
        finally:
            self._launching = None

    def _options(self) -> Options:
        options = Options()
        options.binary_location = str(self._paths.binary)
        options.page_load_strategy = "none"
        options.unhandled_prompt_behavior = "accept"
        options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
        flags = [
            f"--user-data-dir={self.slot.folder}",
            f"--window-size={WIDTH},{HEIGHT}",
            f"--disk-cache-size={50 << 20}",
            "--no-first-run",
            "--no-default-browser-check",
            "--hide-crash-restore-bubble",
            "--disable-breakpad",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--mute-audio",
            # A window that is covered or out of sight is to go on all the same.
            "--disable-background-timer-throttling",
            "--disable-backgrounding-occluded-windows",
            "--disable-renderer-backgrounding",
        ]
        if self.headless:
            flags.append("--headless=new")
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            flags.append("--no-sandbox")  # Chrome refuses to start otherwise
        for flag in flags:
            options.add_argument(flag)
        options.add_experimental_option(
            "prefs",
            {
                "credentials_enable_service": False,
                "profile.password_manager_enabled": False,
                "profile.default_content_setting_values.notifications": 2,
                "profile.default_content_setting_values.automatic_downloads": 1,
                "download.prompt_for_download": False,
            },
        )
        return options

    def quit(self) -> None:
        """End it in good order, so that it keeps its cookies, or else by force."""
        self._ending = True
        if self.running and self._driver is not None:
            quick = threading.Timer(5, self.kill, ("it did not end",))
            quick.daemon = True
            quick.start()
            with contextlib.suppress(WebDriverException, HTTPError, OSError):
                self._driver.quit()
            quick.cancel()
            quick.join()
        self.kill("ended")

    def kill(self, why: str, service: Service | None = None) -> None:
        """End its processes by their ids; if `service` is given, only while it is that one's."""
        with self._killing:
            if service is not None and service is not self._service:
                return
            self._why = self._why or why
            service, connection = self._service, self._connection
            process = getattr(service, "process", None)
            if process is not None:
                with contextlib.suppress(psutil.Error):
                    _kill(_family(psutil.Process(process.pid)))
                if hasattr(os, "killpg"):
                    with contextlib.suppress(OSError):
                        os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            _end_users_of(self.slot.folder)
            if connection is not None:
                connection.close()
            self._service = self._connection = self._driver = None

    def check(self) -> None:
        """Called all the time from another thread: end it if it does not answer in time."""
        now, connection, service = time.monotonic(), self._connection, self._service
        if self._why or self._ending:
            return
        # A later page has a token of its own: what an earlier one's said does not count for it.
        self._cancelled_at = (self._cancelled_at or now) if self.cancel.cancelled else None
        waits = self._launching if self._launching is not None else connection.waits_since if connection else None
        if waits is None:
            return
        limit = self.limits.launch if self._launching is not None else self.limits.call
        if self._cancelled_at is not None and now - max(waits, self._cancelled_at) > _CANCEL_GRACE:
            self.kill("the crawl was stopped", service)
        elif now - waits > limit:
            self.kill(f"it did not answer for {limit:g} s", service)

    # -- questions -------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _asking(self) -> Iterator[webdriver.Remote]:
        self.cancel.check()
        if self._driver is None or self._why:
            raise BrowserLost(self._why or "it is not running")
        try:
            yield self._driver
        except (TimeoutException, *_GONE):
            raise
        except (WebDriverException, HTTPError, OSError) as error:
            if self.cancel.cancelled:
                raise Cancelled from None
            raise BrowserLost(self._why or _first_line(error)) from None

    def open(self, url: str) -> None:
        """Begin to load a page; returns at once."""
        with self._asking() as driver:
            self.pages += 1
            driver.get(url)

    def ask(self, script: str, *arguments: Any) -> Any:
        """What a script returns; None if the page does not answer now, as when it is on its way."""
        with self._asking() as driver:
            try:
                return driver.execute_script(script, *arguments)
            except (TimeoutException, JavascriptException, *_GONE):
                return None

    def click(self, element: WebElement) -> bool:
        """Click as a person does; False if it is gone, hidden or covered."""
        with self._asking():
            try:
                element.click()
            except (TimeoutException, *_GONE):
                return False
        return True

    def type(self, element: WebElement, text: str, enter: bool = False) -> bool:
        """Fill a field; False if it is gone."""
        with self._asking():
            try:
                element.clear()
                element.send_keys(text, *([Keys.ENTER] if enter else []))
            except (TimeoutException, *_GONE):
                return False
        return True

    def devtools(self, command: str, **parameters: Any) -> Any:
        """The answer to a command of the DevTools protocol."""
        with self._asking() as driver:
            try:
                return driver.execute("executeCdpCommand", {"cmd": command, "params": parameters})["value"]
            except TimeoutException as error:
                raise BrowserLost(_first_line(error)) from None

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """What has happened since the last call: names and parameters of events of the network and of downloads.

        Not to be asked for while the page may be on its way: the driver waits for it then, without a limit.
        """
        with self._asking() as driver:
            found = driver.execute("getLog", {"type": "performance"})["value"]
        events = []
        for entry in found:
            text = entry["message"]
            if ".download" in text or '"Network.responseReceived"' in text or '"Network.loadingFailed"' in text:
                message = json.loads(text)["message"]
                events.append((message["method"], message["params"]))
        return events

    def screenshot(self) -> bytes:
        """What is to be seen, as PNG."""
        return base64.b64decode(self.devtools("Page.captureScreenshot", format="png")["data"])

    def cookies(self) -> list[dict[str, Any]]:
        """All cookies."""
        found = self.devtools("Storage.getCookies")["cookies"]
        return [cookie for cookie in found if isinstance(cookie, dict)]

    def set_cookies(self, cookies: list[dict[str, Any]]) -> None:
        """Take over cookies of another browser."""
        # What is read but cannot be set again.
        wanted = [{k: v for k, v in c.items() if k not in ("size", "session", "sourcePort")} for c in cookies]
        for cookie, given in zip(cookies, wanted, strict=True):
            if cookie.get("session"):
                given.pop("expires", None)
        self.devtools("Storage.setCookies", cookies=wanted)

    def rest(self) -> None:
        """Leave the page and close further windows, so that nothing goes on while nobody looks."""
        with self._asking() as driver:
            try:
                handles = driver.window_handles
                for handle in handles[1:]:
                    driver.switch_to.window(handle)
                    driver.close()
                if len(handles) > 1:
                    driver.switch_to.window(handles[0])
                driver.get("about:blank")
            except TimeoutException as error:
                raise BrowserLost(_first_line(error)) from None
        self.events()  # else they pile up in the driver

    def front(self) -> None:
        """Bring its window before the others, in its usual size."""
        with contextlib.suppress(BrowserLost):
            self.devtools("Page.bringToFront")

    def widen(self) -> None:
        """Give a window that was made small its usual size again."""
        with self._asking() as driver, contextlib.suppress(TimeoutException):
            driver.set_window_size(WIDTH, HEIGHT)


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "msg", None) or error).strip().split("\n")[0].strip() or type(error).__name__
    return text if text.endswith(".") else f"{text}."
