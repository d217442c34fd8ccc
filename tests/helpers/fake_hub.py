"""A hub on this machine: the few answers of the Hugging Face hub that a download asks for, from files in memory."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """Repositories by ``models/owner/name`` or ``datasets/owner/name``: their files; or an error code of the hub."""

    repositories: dict[str, dict[str, bytes] | str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self._answer(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        self.hub.asked.append(self.path)

    def _answer(self, body: str = "") -> None:
        path = self.path.partition("?")[0].strip("/")
        api = path.startswith("api/")
        parts = path.removeprefix("api/").split("/")
        if not api and parts[0] != "datasets":
            parts.insert(0, "models")
        files = self.hub.repositories.get("/".join(parts[:3]), "RepoNotFound")
        rest = parts[3:]
        if isinstance(files, str):
            self._send({"RepoNotFound": 401, "GatedRepo": 403, "Down": 503}[files], b"{}", {"X-Error-Code": files})
        elif len(rest) > 1 and rest[1] not in (COMMIT, "main"):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif rest[:1] == ["resolve"]:
            self._file(files, "/".join(rest[2:]))
        elif rest[:1] == ["tree"]:
            self._json([self._entry(files, name) for name in files if name.startswith("/".join(rest[2:]))])
        elif rest[:1] == ["paths-info"]:
            self._json([self._entry(files, name) for name in files if name in body])
        else:
            self._json({"id": "/".join(parts[1:3]), "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]})

    def _file(self, files: dict[str, bytes], name: str) -> None:
        if name not in files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        etag = hashlib.sha1(files[name]).hexdigest()
        self._send(200, files[name], {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

    def _entry(self, files: dict[str, bytes], name: str) -> dict[str, object]:
        content = files[name]
        return {"type": "file", "oid": hashlib.sha1(content).hexdigest(), "size": len(content), "path": name}

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def serve(hub: FakeHub) -> Iterator[FakeHub]:
    """Answer on a free port for as long as the block lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
