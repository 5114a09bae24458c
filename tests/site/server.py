"""The site: Sketchfab's API with its files, over real HTTP on loopback."""

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

LABELS = {
    "cc0": "CC0 Public Domain",
    "by": "CC Attribution",
    "by-sa": "CC Attribution-ShareAlike",
    "by-nc": "CC Attribution-NonCommercial",
    "st": "Standard",
}


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
    downloadable: bool = True
    formats: tuple[str, ...] = ("glb",)
    content: bytes | None = None
    """In place of the made model."""
    fault: str = ""
    """One of: `missing` (404), `busy` (429), `error` (500), `forbidden` (403), `no_data` (HTML from the API), in the
    API; `throttled`, `broken` (the connection breaks), `truncated` (less than the header of the GLB says), `expired`
    (the address is valid no more), `html` (a web page in place of the model), `empty`, `silent`, `file_error` (503),
    in its file."""
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

    def file(self, kind: str) -> bytes:
        """The file in a format."""
        if self.content is not None:
            return self.content
        return make_archive(self.number, self.size) if kind == "gltf" else make_glb(self.number, self.size)


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
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Of each request: kind (`search`, `model`, `download`, `file`), the model's id, the range."""
    sent: dict[str, int] = field(default_factory=dict)
    """Bytes of its file that were sent, by model."""
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

            def log_message(self, *arguments: object) -> None:
                pass

        self._by_uid = {model.uid: model for model in self.models}
        self._lock = threading.Lock()
        self._faults: dict[str, int] = {}
        self._tickets: dict[str, int] = {}
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
            self._note("search", "", "")
            self._search(request, {key: values[0] for key, values in parse_qs(parts.query).items()})
        elif found := re.fullmatch(r"/v3/models/(\w+)(/download)?", parts.path):
            kind = "download" if found[2] else "model"
            self._note(kind, found[1], "")
            if authorized and authorized != f"Token {self.token}":
                self._send(request, 401, b'{"detail": "Invalid token."}')
            elif kind == "download" and not authorized:
                self._send(request, 401, b'{"detail": "Authentication credentials were not provided."}')
            else:
                self._model(request, found[1], kind)
        elif found := re.fullmatch(r"/files/(\w+)\.(\w+)", parts.path):
            self.foreign_token |= bool(authorized)
            part = request.headers.get("Range", "")
            self._note("file", found[1], part)
            self._file(request, found[1], found[2], part, parse_qs(parts.query).get("ticket", [""])[0])
        else:
            self._send(request, 404, b"<html>not found</html>", {"Content-Type": "text/html"})

    def _note(self, kind: str, uid: str, part: str) -> None:
        with self._lock:
            self.asked.append((kind, uid, part))

    def _faulty(self, model: SiteModel, *faults: str) -> bool:
        with self._lock:
            if model.fault not in faults or self._faults.get(model.uid, 0) >= model.times:
                return False
            self._faults[model.uid] = self._faults.get(model.uid, 0) + 1
            return True

    def _model(self, request: BaseHTTPRequestHandler, uid: str, kind: str) -> None:
        model = self._by_uid.get(uid)
        if model is None or self._faulty(model, "missing"):
            self._send(request, 404, b'{"detail": "Not found."}')
            return
        again = {} if model.retry_after is None else {"Retry-After": model.retry_after}
        if self._faulty(model, "busy"):
            self._send(request, 429, b'{"detail": "Request was throttled."}', again)
        elif self._faulty(model, "error"):
            self._send(request, 500, b"<html>error</html>", again)
        elif self._faulty(model, "no_data"):
            self._send(request, 200, b"<html>maintenance</html>", {"Content-Type": "text/html"})
        elif kind == "model":
            self._send(request, 200, json.dumps(self._describe(model)).encode())
        elif not model.downloadable or self._faulty(model, "forbidden"):
            self._send(request, 403, b'{"detail": "You do not have permission to perform this action."}')
        else:
            with self._lock:
                ticket = self._tickets[uid] = self._tickets.get(uid, 0) + 1
            base = f"{self.url.replace('127.0.0.1', 'localhost')}/files/{uid}"
            offered = {
                f: {"url": f"{base}.{f}?ticket={ticket}", "size": len(model.file(f)), "expires": 300}
                for f in model.formats
            }
            self._send(request, 200, json.dumps(offered).encode())

    def _describe(self, model: SiteModel, brief: bool = False) -> dict[str, Any]:
        licence: dict[str, str] | None = None
        if model.licence is not None:
            licence = {"uid": "0", "label": LABELS[model.licence]} | ({} if brief else {"slug": model.licence})
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
            "archives": {kind: {"size": len(model.file(kind)), "type": kind} for kind in model.formats},
        }

    def _search(self, request: BaseHTTPRequestHandler, asked: dict[str, str]) -> None:
        self.queries.append(asked)
        found = [
            m
            for m in self.models
            if (asked.get("license") in (None, m.licence))
            and 100 * m.number >= int(asked.get("min_face_count", 0))
            and 100 * m.number <= int(asked.get("max_face_count", 1 << 60))
        ]
        start, count = int(asked.get("cursor", 0)), int(asked.get("count", 24))
        following = None
        if start + count < len(found):
            # Addresses of the real API name its own host; whoever follows them blindly sends a token there.
            following = "https://elsewhere.invalid/v3/search?" + urlencode(asked | {"cursor": str(start + count)})
        page = [self._describe(m, brief=True) for m in found[start : start + count]]
        answer = {"results": page, "next": following, "cursors": {"next": start + count if following else None}}
        self._send(request, 200, json.dumps(answer).encode())

    def _file(self, request: BaseHTTPRequestHandler, uid: str, kind: str, part: str, ticket: str) -> None:
        model = self._by_uid[uid]
        if self._faulty(model, "expired") or ticket != str(self._tickets.get(uid)):
            self._send(request, 403, b"<Error><Code>AccessDenied</Code></Error>", {"Content-Type": "application/xml"})
            return
        if self._faulty(model, "file_error"):
            self._send(request, 503, b"", {} if model.retry_after is None else {"Retry-After": model.retry_after})
            return
        content = model.file(kind)
        if self._faulty(model, "truncated"):
            content = content[: len(content) // 2]
        elif self._faulty(model, "html"):
            content = b"<!DOCTYPE html><html><body>Please log in</body></html>"
        elif self._faulty(model, "empty"):
            content = b""
        headers = {"Content-Type": "application/octet-stream"}
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        if self.marks:
            headers["ETag"] = etag
        start, status = 0, 200
        if part and self.ranges and request.headers.get("If-Range", etag) == etag:
            start, status = int(part.removeprefix("bytes=").partition("-")[0]), 206
            if start >= len(content):
                self._send(request, 416, b"")
                return
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if self._faulty(model, "silent"):
            self.closing.wait(30)
            return
        self._send(request, status, b"", headers | {"Content-Length": str(len(content) - start)})
        slow = self._faulty(model, "throttled")
        end = start + model.break_after if self._faulty(model, "broken") else len(content)
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

    def _send(
        self, request: BaseHTTPRequestHandler, status: int, content: bytes, headers: dict[str, str] | None = None
    ) -> None:
        request.send_response(status)
        usual = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        for name, value in (usual | (headers or {})).items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)
