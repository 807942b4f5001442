"""A server of videos on 127.0.0.1 that ends its answers in every way that a network has."""

import http.server
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE = 30.0  # seconds after which a connection that nobody reads is given up


@dataclass
class Answer:
    """What the server says to every request.

    Attributes:
        data: all that there would be to send.
        share: of it that is sent.
        length: "none" sends no Content-Length, as HTTP/1.0 may, "true" and "lie" (twice as much) send one.
        reset: the connection ends with a reset rather than a goodbye.
        status: of the answer.
        headers: further ones.
    """

    data: bytes
    share: float = 1.0
    length: str = "none"
    reset: bool = False
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class _Handler(http.server.BaseHTTPRequestHandler):
    answer: Answer
    timeout = PATIENCE

    def log_message(self, *_: object) -> None:
        return None

    def do_GET(self) -> None:
        answer = self.answer
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.length != "none":
            self.send_header("Content-Length", str(len(answer.data) * (2 if answer.length == "lie" else 1)))
        self.end_headers()
        self.wfile.write(answer.data[: int(len(answer.data) * answer.share)])
        self.wfile.flush()
        if answer.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        return None  # the other side has gone away


@contextmanager
def serving(answer: Answer | Path) -> Iterator[str]:
    """Serve an answer, or a file as HTTP/1.0 without a length; gives ``127.0.0.1:PORT``."""
    if isinstance(answer, Path):
        answer = Answer(answer.read_bytes())
    handler = type("Handler", (_Handler,), {"answer": answer})
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
