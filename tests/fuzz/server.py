"""A web server whose responses break off in the way that the address asks for."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SERVER = "@SERVER@"
"""Placeholder for ``http://127.0.0.1:PORT`` in a command."""

WAYS = ("whole", "unknown", "cut", "reset", "missing", "moved", "page")
"""First part of an address: how the file is sent. The second is the number of bytes sent."""


class _Answer(BaseHTTPRequestHandler):
    folder = Path()

    def do_GET(self) -> None:
        _, way, count, name = self.path.split("/", 3)
        if way in ("missing", "moved"):
            self.send_response(404 if way == "missing" else 302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
            return
        content = b"<html>" if way == "page" else (self.folder / name).read_bytes()
        self.send_response(200)
        if way != "unknown":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(content if way in ("whole", "unknown", "page") else content[: int(count)])
            if way == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

    def log_message(self, *_arguments: object) -> None:
        pass


def serve(folder: Path) -> str:
    """Serve a folder from a thread of this process and return its address."""
    answer = type("Answer", (_Answer,), {"folder": folder})
    server = ThreadingHTTPServer(("127.0.0.1", 0), answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"
