"""A loopback HTTP server with configurable faults."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Server:
    """What the server holds and how it answers; `requests` are the paths and ranges requested."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    version: str | None = '"1"'
    ranges: bool = True
    honours_if_range: bool = True
    cuts: list[int] = field(default_factory=list)  # bytes sent before closing, a request each
    failures: list[int] = field(default_factory=list)  # statuses before it works; 0 just closes
    range_shift: int = 0
    redirects: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    def ranges_asked(self) -> list[str | None]:
        return [requested for _, requested in self.requests]


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            requested = self.headers.get("Range")
            server.requests.append((self.path, requested))
            if server.failures:
                status = server.failures.pop(0)
                if status:
                    self.send_error(status)
                return
            if self.path in server.redirects:
                self.send_response(302)
                self.send_header("Location", server.redirects[self.path])
                self.end_headers()
                return
            if self.path not in server.files:
                self.send_error(404)
                return
            self.answer(server.files[self.path], requested)

        def answer(self, content: bytes, requested: str | None) -> None:
            same = not server.honours_if_range or self.headers.get("If-Range") == server.version
            start = 0
            if requested and server.ranges and same:
                matched = re.fullmatch(r"bytes=(\d+)-", requested)
                assert matched
                start = int(matched[1])
                if start >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206)
                shown = start + server.range_shift
                server.range_shift = 0
                self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/9")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(content) - start))
            if server.version:
                self.send_header("ETag", server.version)
            self.end_headers()
            end = start + server.cuts.pop(0) if server.cuts else len(content)
            self.wfile.write(content[start:end])

    return Handler


@contextmanager
def running() -> Iterator[Server]:
    """A server on a free port of this machine."""
    server = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
