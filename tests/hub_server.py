"""A hub on loopback: what `huggingface_hub` asks of huggingface.co, with the faults that a network has."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "1" * 40


@dataclass
class HubServer:
    """Serves `files`, contents by `owner/name/path`; use it as a context. Large files come from another host name,
    `localhost`, as the real hub sends them from its content network."""

    files: dict[str, bytes]
    chunk: int = 16384
    """Bytes sent at a time."""
    pause: float = 0.0
    """Seconds between chunks."""
    drop_after: int | None = None
    """Bytes after which a connection breaks."""
    ranges: bool = True
    """Whether a part of a file can be asked for."""
    status: int | None = None
    """Error that every request is answered with."""
    error_code: str | None = None
    """The hub's name for that error."""
    stated_size: int | None = None
    """Size that is stated in place of the true one."""
    spoilt: bool = False
    """Whether contents change on the way."""
    is_hub: bool = True
    """Whether answers carry the hub's own headers."""
    silent: threading.Event | None = None
    """No request is answered before this is set."""
    asked: list[tuple[str, str, str | None, str | None]] = field(default_factory=list)
    """Of each request: method, host, range, authorization."""

    def __enter__(self) -> HubServer:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                hub._answer(self)

            def do_GET(self) -> None:
                hub._answer(self)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *arguments: object) -> None:
        if self.silent is not None:
            self.silent.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """What `HF_ENDPOINT` is to be."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def ranges_asked(self) -> list[str]:
        """The parts of files that were asked for, in order."""
        return [part for _, host, part, _ in self.asked if host.startswith("localhost") and part]

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        host, part = request.headers["Host"], request.headers.get("Range")
        self.asked.append((request.command, host, part, request.headers.get("Authorization")))
        if self.silent is not None:
            self.silent.wait(30)
        path = request.path.split("?")[0].replace("/releases/download/", "/resolve/")  # as GitHub has it
        resolved = re.fullmatch(r"/(.+)/resolve/[^/]+/(.+)|/content/(.+)", path)
        name = None if resolved is None else resolved[3] or f"{resolved[1]}/{resolved[2]}"
        if self.status is not None or name not in self.files:
            self._send(request, self.status or 404, {"X-Error-Code": self.error_code or "EntryNotFound"})
            return
        content = self.files[name]
        size = len(content) if self.stated_size is None else self.stated_size
        large = not name.endswith(".json")
        if large and resolved is not None and resolved[3] is None:
            checksum = hashlib.sha256(content).hexdigest()
            headers = {"X-Linked-Etag": f'"{checksum}"', "X-Linked-Size": str(size), "X-Repo-Commit": COMMIT}
            headers = headers if self.is_hub else {}
            self._send(request, 302, headers | {"Location": f"http://localhost:{host.split(':')[1]}/content/{name}"})
            return
        checksum = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        headers = {"ETag": f'"{checksum}"', "X-Repo-Commit": COMMIT} if self.is_hub else {}
        if self.spoilt:
            content = content[:-1] + bytes([content[-1] ^ 1])
        start = 0
        if part and self.ranges:
            start = int(part.removeprefix("bytes=").partition("-")[0])
            headers |= {"Content-Range": f"bytes {start}-{size - 1}/{size}"}
        headers |= {"Content-Length": str(size - start)}
        self._send(request, 206 if start else 200, headers, content[start:])

    def _send(
        self, request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], content: bytes = b""
    ) -> None:
        request.send_response(status)
        for name, value in ({"Content-Length": "0"} | headers).items():
            request.send_header(name, value)
        request.end_headers()
        if request.command == "HEAD":
            return
        try:
            for sent in range(0, len(content), self.chunk):
                if self.drop_after is not None and sent >= self.drop_after:
                    request.close_connection = True
                    return
                request.wfile.write(content[sent : sent + self.chunk])
                time.sleep(self.pause)
        except OSError:  # the other side has gone
            request.close_connection = True
