"""A Hub in a thread: the three requests that fetching needs, and the ways in which they go wrong.

    GET  /api/models/ORG/NAME?blobs=true      files with sizes and hashes
    HEAD /ORG/NAME/resolve/REVISION/PATH      where a file's bytes are
    GET  /ORG/NAME/resolve/REVISION/PATH      the bytes, from any offset

Large files (`.pt`, `.pth`, `.safetensors`) are kept at another address, as on the real Hub.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

REVISION = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".pt", ".pth", ".safetensors")


@dataclass
class FakeHub:
    """What the server holds, how it misbehaves, and what it was asked."""

    files: dict[str, dict[str, bytes]]
    """Repository → path → content."""
    gated: set[str] = field(default_factory=set)
    """Repositories that want a token."""
    cut: dict[str, list[int]] = field(default_factory=dict)
    """Path → after how many bytes each of the next answers breaks off."""
    stall: dict[str, int] = field(default_factory=dict)
    """Path → after how many bytes an answer waits for ever."""
    expired: dict[str, int] = field(default_factory=dict)
    """Path → how many of the next signed addresses have run out when they are used."""
    altered: dict[str, list[bytes]] = field(default_factory=dict)
    """Path → what the next answers hold instead."""
    asked: list[tuple[str, str, str, str]] = field(default_factory=list)
    """Method, path, Range and Authorization of every request."""
    address: str = ""
    stalled: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def ranges(self, path: str) -> list[str]:
        """The Range of every request for a file's bytes."""
        return [asked[2] for asked in self.asked if asked[0] == "GET" and asked[1].endswith(path)]


@contextmanager
def a_hub(files: dict[str, dict[str, bytes]], **settings) -> Iterator[FakeHub]:
    """Runs a FakeHub; `address` is what HF_ENDPOINT should be."""
    hub = FakeHub(files, **settings)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield hub
    finally:
        hub.ended.set()
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients may leave at any time: what is said of that would stand in some later test's output."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, *words: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        token = self.headers.get("Authorization", "")
        self.hub.asked.append((self.command, path, self.headers.get("Range", ""), token))
        if path.startswith("api/models/"):
            return self._list(path.removeprefix("api/models/"))
        stored = path.startswith("store/")
        organisation, name, *_ = [*path.removeprefix("store/").split("/"), ""]
        repository = f"{organisation}/{name}"
        path = "/".join(path.removeprefix("store/").split("/")[4:])
        content = self.hub.files.get(repository, {}).get(path)
        if content is None:
            return self._refuse(404, "EntryNotFound")
        if repository in self.hub.gated and not token and not stored:
            return self._refuse(401, "GatedRepo")
        if path.endswith(LARGE) and not stored:
            return self._elsewhere(repository, path, content)
        if stored and self.hub.expired.get(path):
            self.hub.expired[path] -= 1
            return self._refuse(403, "")
        return self._bytes(path, content)

    def _list(self, repository: str) -> None:
        files = self.hub.files.get(repository)
        if files is None:
            return self._refuse(404, "RepoNotFound")
        siblings = []
        for path, content in files.items():
            entry = {"rfilename": path, "size": len(content), "blobId": git_sha1(content)}
            if path.endswith(LARGE):
                entry["lfs"] = {"size": len(content), "sha256": sha256(content), "pointerSize": 134}
            siblings.append(entry)
        gated = "manual" if repository in self.hub.gated else False
        body = json.dumps({"id": repository, "sha": REVISION, "gated": gated, "siblings": siblings}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _elsewhere(self, repository: str, path: str, content: bytes) -> None:
        port = self.server.socket.getsockname()[1]
        self.send_response(302)
        self.send_header("Location", f"http://localhost:{port}/store/{repository}/resolve/{REVISION}/{path}")
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("X-Linked-Etag", f'"{sha256(content)}"')
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _bytes(self, path: str, content: bytes) -> None:
        etag, getting = git_sha1(content), self.command == "GET"
        if getting and self.hub.altered.get(path):
            content = self.hub.altered[path].pop(0)
        wanted = self.headers.get("Range", "")
        first = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        body = content[first:]
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not getting:
            return
        if path in self.hub.stall:
            self.wfile.write(body[: self.hub.stall.pop(path)])
            self.wfile.flush()
            self.hub.stalled.set()
            self.hub.ended.wait()
            self.close_connection = True
            return
        if self.hub.cut.get(path):
            self.wfile.write(body[: self.hub.cut[path].pop(0)])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def sha256(content: bytes) -> str:
    """The hash the Hub states of large files."""
    return hashlib.sha256(content).hexdigest()


def git_sha1(content: bytes) -> str:
    """The hash git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
