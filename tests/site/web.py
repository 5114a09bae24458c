"""What the site answers to a browser: pages, logins, and the way to a file by clicks."""

from __future__ import annotations

import json
import re
import secrets
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qs, quote

from tests.site import pages

if TYPE_CHECKING:
    from tests.site.server import ModelSite, SiteModel

_TEXTS = {
    "missing": ("Page not found", "Sorry, the page that you are looking for does not exist."),
    "busy": ("Too many requests", "You have sent too many requests. Please try again later."),
    "error": ("Something went wrong", "Our servers have a problem. Please try again later."),
    "removed": ("This model is no longer available", "This model has been removed by its author."),
}


class Web:
    """The pages of a site; knows who is logged in."""

    def __init__(self, site: ModelSite) -> None:
        self._site = site
        self.sessions: dict[str, int] = {}
        """Pages seen, by the session's cookie."""
        self._pending: set[str] = set()
        """Cookies of those who still owe the code."""

    def answer(self, request: BaseHTTPRequestHandler, parts: SplitResult) -> bool:
        """Answer if this is an address for browsers; says whether it is."""
        path, asked = parts.path, {key: values[0] for key, values in parse_qs(parts.query).items()}
        if request.command == "POST":
            if path == "/id/login":
                self._sign_in(request)
            elif path in ("/login", "/login/code"):
                self._log_in(request, path)
            elif found := re.fullmatch(r"/cdn-cgi/challenge-platform/(\w+)", path):
                self._clear(request, found[1])
            else:
                request.close_connection = True  # what was sent is not read
                return False
        elif path == "/":
            boot = self._boot(request) | {"others": self._others(None)}
            self._page(request, 200, pages.home_page(self._site.design, boot))
        elif path == "/login" and self._site.sign_in:
            there = f"{self._site.url.replace('127.0.0.1', 'localhost')}/id/login?next={quote(asked.get('next', '/'))}"
            if self._site.sign_in == "button":
                self._page(request, 200, f'<h1>Login</h1><a href="{there}">Continue with Forge</a>')
            else:
                self._go(request, there)
        elif path == "/id/login":
            self._page(request, 200, pages.sign_in_page(self._site.sign_in, asked.get("next", "/")))
        elif path == "/id/return":
            self._admit(request, asked.get("next", "/"))
        elif path == "/login":
            self._form(request, pages.login_page, asked.get("next", "/"))
        elif path == "/login/code":
            self._form(request, pages.code_page, asked.get("next", "/"))
        elif path == "/logout":
            self.sessions.pop(self._cookie(request, "sessionid"), None)
            self._go(request, "/")
        elif found := re.fullmatch(r"/(3d-models|models)/(?:[^/]*-)?([0-9a-fA-F]{32})/?", path):
            model = self._site.model(found[2].lower())
            if model is not None and found[1] == "models":
                self._go(request, self._site.page(model))
            else:
                self._model(request, found[2].lower(), model)
        elif found := re.fullmatch(r"/i/models/(\w+)", path):
            model = self._site.model(found[1])
            if model is None:
                self._json(request, 404, {"detail": "Not found."})
            else:
                self._json(request, 200, self._describe(model))
        elif path == "/i/archives/latest":
            texture = int(asked.get("textureMaxResolution", 0))
            self._file(request, asked.get("model", ""), asked.get("archiveType", ""), texture, told=True)
        elif found := re.fullmatch(r"/i/models/(\w+)/files/(\w+)", path):
            self._file(request, found[1], found[2], int(asked.get("textureMaxResolution", 0)), told=False)
        else:
            return False
        return True

    # -- models ----------------------------------------------------------------------------------------------

    def _model(self, request: BaseHTTPRequestHandler, uid: str, model: SiteModel | None) -> None:
        site = self._site
        site.note("page", uid, "")
        if session := self._cookie(request, "sessionid"):
            self._age(session)
        if model is None or site.faulty(model, "page_missing"):
            self._say(request, 404, *_TEXTS["missing"])
            return
        again = {} if model.retry_after is None else {"Retry-After": model.retry_after}
        if site.faulty(model, "page_busy"):
            self._say(request, 429, *_TEXTS["busy"], again)
        elif site.faulty(model, "page_error"):
            self._say(request, 500, *_TEXTS["error"], again)
        elif site.faulty(model, "removed"):
            self._say(request, 200, *_TEXTS["removed"])
        elif uid not in site.cleared and site.faulty(model, "captcha"):
            self._page(request, 403 if site.design == "classic" else 200, pages.captcha_page(site.design, uid))
        elif site.faulty(model, "crash_tab"):
            self._page(request, 200, pages.crash_page())
        else:
            flags = {
                "lazy": site.lazy,
                "login": site.login,
                "model": f"/i/models/{uid}",
                "licenceName": "" if model.licence is None else pages.LICENCES[model.licence][1],
                "others": self._others(model),
                "noButton": site.faulty(model, "no_button"),
                "alert": site.faulty(model, "alert"),
            }
            text = pages.model_page(site.design, self._boot(request) | flags, self._describe(model))
            if site.faulty(model, "hang"):
                self._hang(request, text)
            else:
                self._page(request, 200, text, {"X-Robots-Tag": site.page_header} if site.page_header else None)

    def _hang(self, request: BaseHTTPRequestHandler, text: str) -> None:
        """Half a page, and then nothing."""
        content = text.encode()
        headers = {"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(content))}
        self._site.send(request, 200, b"", headers)
        request.wfile.write(content[: len(content) // 4])
        request.wfile.flush()
        self._site.closing.wait()
        request.close_connection = True

    def _describe(self, model: SiteModel) -> dict[str, Any]:
        """What the pages know of a model, which is a little more than the API says."""
        found = self._site.describe(model)
        if found["license"] is not None:
            found["license"]["url"] = pages.LICENCES[model.licence or ""][2]
        return found | {
            "description": f"A building, surveyed and modelled. Number {model.number} of a series.",
            "noAi": model.no_ai or any(tag.lower() == "noai" for tag in model.tags),
            "createdWithAi": model.made_with_ai,
            "textures": model.textures,
        }

    def _others(self, model: SiteModel | None) -> list[dict[str, str]]:
        """Cards of models: all of them, or three beside one."""
        others = [m for m in self._site.models if m is not model][: None if model is None else 3]
        return [{"name": m.title, "url": self._site.page(m)} for m in others]

    def _file(self, request: BaseHTTPRequestHandler, uid: str, kind: str, texture: int, told: bool) -> None:
        """The way to a file: its address as JSON (`told`), or the browser is sent there."""
        site, model = self._site, self._site.model(uid)
        site.note("download", uid, "page")
        if model is None or kind not in model.formats:
            self._refuse(request, told, 404, "Not found.")
        elif site.login and self._user(request) is None:
            if told:
                self._json(request, 401, {"detail": "Authentication credentials were not provided."})
            else:
                self._go(request, f"/login?next={quote(site.page(model).removeprefix(site.url))}")
        elif not model.downloadable or site.faulty(model, "forbidden"):
            self._refuse(request, told, 403, "You do not have permission to download this model.")
        elif site.faulty(model, "busy"):
            self._refuse(request, told, 429, "You have downloaded too many models. Please try again later.")
        else:
            offered = site.offer(model)[kind]
            if isinstance(offered, list):
                offered = next(one for one in offered if one["textureMaxResolution"] == texture)
            if told:
                self._json(request, 200, offered)
            else:
                self._go(request, offered["url"])

    def _refuse(self, request: BaseHTTPRequestHandler, told: bool, status: int, text: str) -> None:
        if told:
            self._json(request, status, {"detail": text})
        else:
            self._say(request, status, "Download refused", text)

    def _clear(self, request: BaseHTTPRequestHandler, uid: str) -> None:
        given = self._posted(request).get("answer", "").strip().lower()
        right = self._site.design == "classic" or given == pages.CAPTCHA_WORD
        if right:
            self._site.cleared.add(uid)
        self._json(request, 200 if right else 400, {})

    # -- logins ----------------------------------------------------------------------------------------------

    def _log_in(self, request: BaseHTTPRequestHandler, path: str) -> None:
        site, posted = self._site, self._posted(request)
        csrf = self._cookie(request, "csrftoken")
        following = posted.get("next", "/")
        if not re.match(r"/(?!/)", following):
            following = "/"
        if not csrf or csrf not in (posted.get("csrfmiddlewaretoken"), request.headers.get("X-CSRFToken")):
            self._json(request, 403, {"detail": "CSRF verification failed. Request aborted."})
            return
        site.note("login", "", "")
        if path == "/login/code":
            pending = self._cookie(request, "pending")
            if pending not in self._pending:
                self._proceed(request, "/login", {})
            elif site.code not in (posted.get("otp_token"), posted.get("code")):
                self._deny(request, pages.code_page, following, "The code is not valid.")
            else:
                self._pending.discard(pending)
                self._admit(request, following)
        elif (posted.get("email") or posted.get("username"), posted.get("password")) != site.account():
            site.wrong_logins += 1
            text = "Your email or password is incorrect." if site.design == "classic" else "Wrong username or password."
            self._deny(request, pages.login_page, following, text)
        elif site.second_factor:
            pending = secrets.token_hex(16)
            self._pending.add(pending)
            self._proceed(request, f"/login/code?next={quote(following)}", {"Set-Cookie": f"pending={pending}; Path=/"})
        else:
            self._admit(request, following)

    def _sign_in(self, request: BaseHTTPRequestHandler) -> None:
        """The other company's answer to its form: back to the site."""
        posted = self._posted(request)
        self._site.foreign_logins += 1
        if (posted.get("email"), posted.get("password")) == self._site.account():
            self._go(request, f"{self._site.url}/id/return?next={quote(posted.get('next', '/'))}")
        else:
            self._page(request, 200, pages.sign_in_page("whole", posted.get("next", "/")))

    def _admit(self, request: BaseHTTPRequestHandler, following: str) -> None:
        session = secrets.token_hex(16)
        self.sessions[session] = 0
        self._site.logins += 1
        cookie = f"sessionid={session}; Path=/; Max-Age=1209600; HttpOnly; SameSite=Lax"
        self._proceed(request, following, {"Set-Cookie": cookie})

    def _proceed(self, request: BaseHTTPRequestHandler, following: str, headers: dict[str, str]) -> None:
        if self._by_script(request):
            self._json(request, 200, {"redirect": following}, headers)
        else:
            self._go(request, following, headers)

    def _deny(self, request: BaseHTTPRequestHandler, page: Any, following: str, text: str) -> None:
        if self._by_script(request):
            self._json(request, 400, {"detail": text})
        else:
            self._form(request, page, following, text)

    def _form(self, request: BaseHTTPRequestHandler, page: Any, following: str, error: str = "") -> None:
        csrf = secrets.token_hex(16)
        boot = self._boot(request) | {"csrf": csrf, "next": following, "error": error}
        self._page(request, 200, page(self._site.design, boot), {"Set-Cookie": f"csrftoken={csrf}; Path=/"})

    def _age(self, session: str) -> None:
        """A page more of a session, which may be its last."""
        if session in self.sessions:
            self.sessions[session] += 1
            if self._site.session_pages is not None and self.sessions[session] > self._site.session_pages:
                self.sessions.pop(session, None)

    def _user(self, request: BaseHTTPRequestHandler) -> str | None:
        return self._site.user if self._cookie(request, "sessionid") in self.sessions else None

    # -- requests --------------------------------------------------------------------------------------------

    def _boot(self, request: BaseHTTPRequestHandler) -> dict[str, Any]:
        return {"user": self._user(request), "banner": self._site.banner}

    def _cookie(self, request: BaseHTTPRequestHandler, name: str) -> str:
        try:
            cookies = SimpleCookie(request.headers.get("Cookie", ""))
        except CookieError:
            return ""
        return cookies[name].value if name in cookies else ""

    def _posted(self, request: BaseHTTPRequestHandler) -> dict[str, str]:
        content = request.rfile.read(int(request.headers.get("Content-Length", 0))).decode("utf-8", "replace")
        return {key: values[0] for key, values in parse_qs(content).items()}

    def _by_script(self, request: BaseHTTPRequestHandler) -> bool:
        return request.headers.get("Accept", "") == "application/json"

    # -- answers ---------------------------------------------------------------------------------------------

    def _say(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        heading: str,
        text: str,
        headers: dict[str, str] | None = None,
    ) -> None:
        self._page(request, status, pages.message_page(self._site.design, self._boot(request), heading, text), headers)

    def _page(
        self, request: BaseHTTPRequestHandler, status: int, text: str, headers: dict[str, str] | None = None
    ) -> None:
        kind = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
        self._site.send(request, status, text.encode(), kind | (headers or {}))

    def _json(
        self, request: BaseHTTPRequestHandler, status: int, value: Any, headers: dict[str, str] | None = None
    ) -> None:
        self._site.send(request, status, json.dumps(value).encode(), headers)

    def _go(self, request: BaseHTTPRequestHandler, where: str, headers: dict[str, str] | None = None) -> None:
        self._site.send(request, 302, b"", {"Location": where} | (headers or {}))
