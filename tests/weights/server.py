"""Local web server that sends files as real ones do: with redirects, in parts, broken off, or something else."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """Reply to a request for one path.

    Attributes:
        data: whole content.
        status: status without a Range.
        headers: further headers.
        cut: number of bytes after which the connection ends, although more were announced; None: none.
        ranges: send the rest of the content for a Range; otherwise all of it.
        before: called before the reply is sent.
    """

    data: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    ranges: bool = True
    before: Callable[[], Any] = lambda: None


class Site:
    """Replies by path, and the requests that came.

    Attributes:
        address: beginning of every address, as ``http://127.0.0.1:PORT``.
        replies: path → replies, one after the other; the last one stays.
        requests: path and headers of every request.
    """

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.replies: dict[str, list[Reply]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []

    def put(self, path: str, *replies: Reply) -> str:
        """Answer requests for a path with these replies; return its address."""
        self.replies[path] = list(replies)
        return self.address + path

    def reply_to(self, path: str) -> Reply:
        waiting = self.replies.get(path.partition("?")[0], [Reply(b"not here", 404)])
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, *_: object) -> None:
        return None

    def do_GET(self) -> None:
        self.site.requests.append((self.path, dict(self.headers)))
        reply = self.site.reply_to(self.path)
        reply.before()
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(wanted[1]) if wanted and reply.ranges else 0
        self.send_response(206 if begin else reply.status)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(reply.data) - 1}/{len(reply.data)}")
        self.send_header("Content-Length", str(len(reply.data) - begin))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.data[begin : reply.cut])


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        return None  # the other side has gone away


@contextmanager
def serving() -> Iterator[Site]:
    """Serve a site on 127.0.0.1 within the context."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        site = Site(server.server_port)
        server.RequestHandlerClass = type("Handler", (_Handler,), {"site": site})
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
