"""A server that misbehaves as it is told: what a client meets between itself and a healthy service."""

import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

JOB_ID = "0123456789abcdef0123456789abcdef"


@dataclass
class Request:
    """What came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Act = Callable[["Handler"], None]


@dataclass
class OddServer:
    """What it does is a list: an action for each request, in order."""

    url: str = ""
    acts: deque[Act] = field(default_factory=deque)
    seen: list[Request] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    plan: OddServer

    def read_body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _handle(self) -> None:
        self.plan.acts.popleft()(self)

    do_GET = do_POST = _handle  # noqa: N815 - the names of the base class

    def log_message(self, *_: object) -> None:
        pass

    def note(self, body: bytes = b"") -> None:
        self.plan.seen.append(Request(self.command, self.path, dict(self.headers), body))


@contextmanager
def odd_server(*acts: Act) -> Iterator[OddServer]:
    """Runs until the block ends."""
    plan = OddServer(acts=deque(acts))
    handler = type("Planned", (Handler,), {"plan": plan})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        plan.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield plan
        server.shutdown()
        thread.join()


def answer(status: int, body: Any, **headers: str) -> Act:
    """Take the whole request, and answer."""

    def act(handler: Handler) -> None:
        handler.note(handler.read_body())
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return act


def refuse(status: int, code: str, **headers: str) -> Act:
    return answer(status, {"error": {"code": code, "message": f"It is {code}."}}, **headers)


def accept() -> Act:
    return answer(202, {"id": JOB_ID, "url": f"/view/{JOB_ID}", "state": "queued", "cached": False})


def refuse_unread(status: int, code: str) -> Act:
    """Answer before the body is read, and close: what a proxy with a limit does."""

    def act(handler: Handler) -> None:
        handler.note()
        content = json.dumps({"error": {"code": code, "message": "Too much."}}).encode()
        handler.wfile.write(
            b"HTTP/1.1 %d No\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (status, len(content), content)
        )
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_WR)
        while handler.connection.recv(1 << 16):
            pass
        handler.close_connection = True

    return act


def reset(handler: Handler) -> None:
    """Break the connection (RST) in the middle of the request."""
    handler.note()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def swallow(handler: Handler) -> None:
    """Take what comes until the client leaves, and say nothing."""
    handler.note(handler.read_body())
    handler.close_connection = True


def cut_short(handler: Handler) -> None:
    """Promise more than comes."""
    handler.note(handler.read_body())
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    handler.close_connection = True


def job(state: str, **more: Any) -> dict[str, Any]:
    """A job as the service tells it."""
    return {
        "id": JOB_ID,
        "state": state,
        "filename": "dog.jpg",
        "model": "small",
        "options": {},
        "created_at": "2026-01-01T00:00:00Z",
        "links": {"self": "/jobs/1", "view": "/view/1", "events": "/jobs/1/events", "json": None},
        **more,
    }
