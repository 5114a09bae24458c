"""The site: Sketchfab's API with its files, and its pages (`web`), over real HTTP on loopback."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.site.models import make_archive, make_glb
from tests.site.pages import LICENCES
from tests.site.web import Web


def uid_of(number: int) -> str:
    """A model's id, always the same for a number."""
    return hashlib.md5(f"model {number}".encode()).hexdigest()


@dataclass
class SiteModel:
    """A model of the site."""

    number: int
    size: int = 4000
    licence: str | None = "by"
    tags: tuple[str, ...] = ("architecture",)
    category: str = "architecture"
    no_ai: bool = False
    """Whether the page forbids the use for generative AI though no tag does."""
    downloadable: bool = True
    formats: tuple[str, ...] = ("glb",)
    """Any of `glb`, `gltf` and `usdz`; others are original files."""
    made_with_ai: bool = False
    """Whether its page says that generative AI has made it though no tag does."""
    textures: tuple[int, ...] = ()
    """Sizes of textures that its GLB is offered with, the first being that of who does not choose."""
    content: bytes | None = None
    """In place of the made model."""
    fault: str = ""
    """One of: `missing` (404), `withheld` (400 to who asks for its files' addresses), `busy` (429), `unavailable`
    (503), `error` (500), `forbidden` (403), `no_data` (HTML from the API), `download_busy` (429 to who asks for its
    files' addresses), in the API; `file_busy` (429), `throttled`, `broken` (the connection breaks), `truncated` (less
    than the header of the GLB says), `expired` (the address is valid no more), `html` (a web page in place of the
    model), `empty`, `silent`, `file_error` (503), in its file; on its page `page_missing` (404), `page_busy` (429),
    `page_error` (500), `removed` (a page that says so), `captcha` (until it is solved), `no_button` (the way to the
    download has no name), `hang` (half a page), `crash_tab` (kills the renderer), `alert` (a dialog of JavaScript).
    `busy` and `forbidden` also refuse the download that a page asks for."""
    times: int = 1_000_000
    """How often the fault occurs, then all is well."""
    retry_after: str | None = None
    break_after: int = 2000
    """Bytes after which a broken connection ends."""

    @property
    def uid(self) -> str:
        return uid_of(self.number)

    @property
    def title(self) -> str:
        return f"Building {self.number}"

    def file(self, kind: str, texture: int = 0) -> bytes:
        """The file in a format, and with textures of a size."""
        if self.content is not None:
            return self.content
        if texture:
            return make_glb(self.number, self.size + texture)
        if kind == "gltf":
            return make_archive(self.number, self.size)
        glb = make_glb(self.number, self.size)
        return glb if kind == "glb" else b"Kaydara FBX Binary  \x00\x1a\x00" + glb

    def file_name(self, kind: str) -> str:
        """Name under which a browser saves it."""
        return f"building_{self.number}.{'zip' if kind == 'gltf' else kind}"


@dataclass
class ModelSite:
    """Serves models; use it as a context. What it is asked it keeps in `asked`."""

    models: list[SiteModel]
    token: str = "secret-token-of-a-user"
    ranges: bool = True
    """Whether a part of a file can be asked for."""
    marks: bool = True
    """Whether files carry an ETag."""
    chunk: int = 8192
    pause: float = 0.0
    """Seconds between chunks of every file."""
    latency: float = 0.0
    """Seconds before every answer."""
    refuses: int = 0
    """Requests to the API that are refused yet (429), whatever page they are for."""
    every: float = 0.0
    """Seconds between downloads by the API; what comes sooner is refused (429)."""
    design: str = "classic"
    """Of its pages: `classic` or `modern`."""
    banner: bool = False
    """Whether a banner about cookies covers the pages until it is answered."""
    lazy: float = 0.0
    """Seconds until the button for the download comes. The first one does nothing: after a click on it, or 2 s, another
    takes its place."""
    login: bool = False
    """Whether pages give files only to who is logged in."""
    user: str = "mason@example.org"
    password: str = "built on rock"
    sign_in: str = ""
    """Where it is with another company, what that asks for: `whole` (name and password), `steps` (the name first),
    `bare` (nothing that is known); `button`: the site's own page has no more than a button of that company's."""
    foreign_logins: int = 0
    """Forms that were sent to that company."""
    second_factor: bool = False
    """Whether a code is asked for after the password."""
    code: str = "314159"
    session_pages: int | None = None
    """Pages of models after which a login is lost."""
    logins: int = 0
    wrong_logins: int = 0
    cleared: set[str] = field(default_factory=set)
    """Ids of models whose captcha was solved."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Of each request: kind (`search`, `model`, `download`, `file`, `page`, `login`), the model's id, the range; a
    download that a page asked for has `page` there."""
    sent: dict[str, int] = field(default_factory=dict)
    """Bytes of its file that were sent, by model."""
    bearer: bool = False
    """Whether the token is one of OAuth."""
    page_header: str = ""
    """`X-Robots-Tag` of the models' pages."""
    foreign_token: bool = False
    """Whether the token was sent to where it does not belong."""
    queries: list[dict[str, str]] = field(default_factory=list)

    def __enter__(self) -> ModelSite:
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                try:
                    site._answer(self)
                except OSError:  # the other side has gone
                    self.close_connection = True

            do_POST = do_GET

            def log_message(self, *arguments: object) -> None:
                pass

        self._by_uid = {model.uid: model for model in self.models}
        self._lock = threading.Lock()
        self._faults: dict[str, int] = {}
        self._tickets: dict[str, int] = {}
        self._let_in = 0.0
        self._web = Web(self)
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *arguments: None  # type: ignore[method-assign]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *arguments: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Address of the site."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def api(self) -> str:
        """Address of its API."""
        return f"{self.url}/v3"

    def page(self, model: SiteModel) -> str:
        """Address of a model's page."""
        return f"{self.url}/3d-models/building-{model.number}-{model.uid}"

    def account(self) -> tuple[str, str]:
        """User name and password that let in."""
        return self.user, self.password

    def expire_sessions(self) -> None:
        """Log out everyone."""
        self._web.sessions.clear()

    def count(self, kind: str, model: SiteModel | None = None) -> int:
        """Requests of a kind, for a model or all."""
        with self._lock:
            return sum(k == kind and (model is None or uid == model.uid) for k, uid, _ in self.asked)

    # -- answers ---------------------------------------------------------------------------------------------

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        time.sleep(self.latency)
        parts = urlsplit(request.path)
        authorized = request.headers.get("Authorization", "")
        if parts.path == "/v3/search":
            self.note("search", "", "")
            self._search(request, parse_qs(parts.query))
        elif found := re.fullmatch(r"/v3/models/(\w+)(/download)?", parts.path):
            kind = "download" if found[2] else "model"
            self.note(kind, found[1], "")
            if self._throttled(kind):
                self.send(request, 429, b'{"detail": "Request was throttled."}')
            elif authorized and authorized != f"{'Bearer' if self.bearer else 'Token'} {self.token}":
                self.send(request, 401, b'{"detail": "Invalid token."}')
            elif kind == "download" and not authorized:
                self.send(request, 401, b'{"detail": "Authentication credentials were not provided."}')
            else:
                self._model(request, found[1], kind)
        elif found := re.fullmatch(r"/files/(\w+)\.(\w+)", parts.path):
            self.foreign_token |= bool(authorized)
            part = request.headers.get("Range", "")
            self.note("file", found[1], part)
            asked = {key: values[0] for key, values in parse_qs(parts.query).items()}
            self._file(request, found[1], found[2], part, asked)
        elif not self._web.answer(request, parts):
            self.send(request, 404, b"<html>not found</html>", {"Content-Type": "text/html"})

    # -- for the pages too -----------------------------------------------------------------------------------

    def model(self, uid: str) -> SiteModel | None:
        """The model of an id."""
        return self._by_uid.get(uid)

    def note(self, kind: str, uid: str, part: str) -> None:
        """Keep a request in `asked`."""
        with self._lock:
            self.asked.append((kind, uid, part))

    def faulty(self, model: SiteModel, *faults: str) -> bool:
        """Whether one of the faults occurs now; counts it."""
        with self._lock:
            if model.fault not in faults or self._faults.get(model.uid, 0) >= model.times:
                return False
            self._faults[model.uid] = self._faults.get(model.uid, 0) + 1
            return True

    def _throttled(self, kind: str) -> bool:
        """Whether the site refuses whoever asks now."""
        with self._lock:
            if self.refuses > 0:
                self.refuses -= 1
                return True
            now = time.monotonic()
            if kind != "download" or now - self._let_in >= self.every:
                self._let_in = now if kind == "download" else self._let_in
                return False
            return True

    def _model(self, request: BaseHTTPRequestHandler, uid: str, kind: str) -> None:
        model = self._by_uid.get(uid)
        if model is None or self.faulty(model, "missing"):
            self.send(request, 404, b'{"detail": "Not found."}')
            return
        again = {} if model.retry_after is None else {"Retry-After": model.retry_after}
        if self.faulty(model, "busy") or (kind == "download" and self.faulty(model, "download_busy")):
            self.send(request, 429, b'{"detail": "Request was throttled."}', again)
        elif self.faulty(model, "unavailable"):
            self.send(request, 503, b"<html>maintenance</html>", again)
        elif self.faulty(model, "error"):
            self.send(request, 500, b"<html>error</html>", again)
        elif self.faulty(model, "no_data"):
            self.send(request, 200, b"<html>maintenance</html>", {"Content-Type": "text/html"})
        elif kind == "model":
            self.send(request, 200, json.dumps(self.describe(model)).encode())
        elif self.faulty(model, "withheld"):
            self.send(request, 400, b'{"detail": "This model is not downloadable."}')
        elif not model.downloadable or self.faulty(model, "forbidden"):
            self.send(request, 403, b'{"detail": "You do not have permission to perform this action."}')
        else:
            self.send(request, 200, json.dumps(self.offer(model)).encode())

    def offer(self, model: SiteModel) -> dict[str, Any]:
        """Addresses of a model's files, good until the next are given."""
        with self._lock:
            ticket = self._tickets[model.uid] = self._tickets.get(model.uid, 0) + 1
        base = f"{self.url.replace('127.0.0.1', 'localhost')}/files/{model.uid}"

        def one(kind: str, texture: int) -> dict[str, Any]:
            chosen = f"&texture={texture}" if texture else ""
            found = {"url": f"{base}.{kind}?ticket={ticket}{chosen}", "size": len(model.file(kind, texture))}
            return found | {"expires": 300} | ({"textureMaxResolution": texture} if texture else {})

        sizes = {kind: model.textures if kind == "glb" else () for kind in model.formats}
        return {kind: [one(kind, size) for size in sizes[kind]] or one(kind, 0) for kind in model.formats}

    def describe(self, model: SiteModel, brief: bool = False) -> dict[str, Any]:
        """What the API says of a model."""
        licence: dict[str, str] | None = None
        if model.licence is not None:
            licence = {"uid": "0", "label": LICENCES[model.licence][0]} | ({} if brief else {"slug": model.licence})
        return {
            "uid": model.uid,
            "name": model.title,
            "user": {
                "username": "mason",
                "displayName": "Anna Mason",
                "profileUrl": "https://sketchfab.com/mason",
            },
            "license": licence,
            "tags": [{"name": tag, "slug": tag.lower()} for tag in model.tags],
            "isDownloadable": model.downloadable,
            "viewerUrl": self.page(model),
            "publishedAt": "2026-01-02T03:04:05",
            "faceCount": 100 * model.number,
            "likeCount": model.number,
            "archives": {kind: {"size": len(model.file(kind)), "type": kind} for kind in model.formats},
        }

    def _search(self, request: BaseHTTPRequestHandler, many: dict[str, list[str]]) -> None:
        asked = {key: values[0] for key, values in many.items()}
        self.queries.append(asked)
        found = [
            m
            for m in self.models
            if (asked.get("license") in (None, m.licence))
            and set(many.get("tags", ())) <= set(m.tags)
            and m.category in many.get("categories", (m.category,))
            and 100 * m.number >= int(asked.get("min_face_count", 0))
            and 100 * m.number <= int(asked.get("max_face_count", 1 << 60))
        ]
        if asked.get("sort_by") == "-likeCount":
            found.sort(key=lambda m: -m.number)
        start, count = int(asked.get("cursor", 0)), int(asked.get("count", 24))
        following = None
        if start + count < len(found):
            # Addresses of the real API name its own host; whoever follows them blindly sends a token there.
            following = "https://elsewhere.invalid/v3/search?" + urlencode(
                many | {"cursor": [str(start + count)]}, doseq=True
            )
        page = [self.describe(m, brief=True) for m in found[start : start + count]]
        answer = {"results": page, "next": following, "cursors": {"next": start + count if following else None}}
        self.send(request, 200, json.dumps(answer).encode())

    def _file(self, request: BaseHTTPRequestHandler, uid: str, kind: str, part: str, asked: dict[str, str]) -> None:
        model = self._by_uid[uid]
        if self.faulty(model, "expired") or asked.get("ticket", "") != str(self._tickets.get(uid)):
            self.send(request, 403, b"<Error><Code>AccessDenied</Code></Error>", {"Content-Type": "application/xml"})
            return
        if (busy := self.faulty(model, "file_busy")) or self.faulty(model, "file_error"):
            again = {} if model.retry_after is None else {"Retry-After": model.retry_after}
            self.send(request, 429 if busy else 503, b"", again)
            return
        content = model.file(kind, int(asked.get("texture", 0)))
        if self.faulty(model, "truncated"):
            content = content[: len(content) // 2]
        elif self.faulty(model, "html"):
            content = b"<!DOCTYPE html><html><body>Please log in</body></html>"
        elif self.faulty(model, "empty"):
            content = b""
        name = model.file_name(kind)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f'attachment; filename="{name}"',
        }
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        if self.marks:
            headers["ETag"] = etag
        start, status = 0, 200
        if part and self.ranges and request.headers.get("If-Range", etag) == etag:
            start, status = int(part.removeprefix("bytes=").partition("-")[0]), 206
            if start >= len(content):
                self.send(request, 416, b"")
                return
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if self.faulty(model, "silent"):
            self.closing.wait(30)
            return
        self.send(request, status, b"", headers | {"Content-Length": str(len(content) - start)})
        slow = self.faulty(model, "throttled")
        end = start + model.break_after if self.faulty(model, "broken") else len(content)
        for at in range(start, len(content), self.chunk):
            piece = content[at : min(at + self.chunk, end)]
            request.wfile.write(piece)
            with self._lock:
                self.sent[uid] = self.sent.get(uid, 0) + len(piece)
            if at + self.chunk >= end < len(content):
                request.close_connection = True
                return
            if self.closing.wait(0.05 if slow else self.pause):
                return

    def send(
        self, request: BaseHTTPRequestHandler, status: int, content: bytes, headers: dict[str, str] | None = None
    ) -> None:
        request.send_response(status)
        usual = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        for name, value in (usual | (headers or {})).items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)
