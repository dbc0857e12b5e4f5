"""A web server of one folder, for fsspec's http: with ranges or without, and failing where it is told to."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path
from types import TracebackType


class WebServer:
    """Serves the files of `folder` on this machine.

    ranges: whether a request for a range gets that range, or the whole file. statuses: what is answered for names that
    hold a word, instead of the file; 0 cuts the connection. log: method and status of each answer, in order.
    """

    def __init__(self, folder: Path, *, ranges: bool = True) -> None:
        self.folder = folder
        self.ranges = ranges
        self.statuses: dict[str, int] = {}
        self.log: list[tuple[str, int]] = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def url(self, name: str, userinfo: str = "") -> str:
        """The URL of a file."""
        return f"http://{userinfo}{'@' if userinfo else ''}127.0.0.1:{self._server.server_port}/{name}"

    def __enter__(self) -> WebServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(server: WebServer) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            name = self.path.partition("?")[0].lstrip("/")
            status = next((status for word, status in server.statuses.items() if word in name), 200)
            if status == 200 and not (server.folder / name).is_file():
                status = 404
            body = (server.folder / name).read_bytes() if status == 200 else b""
            length = len(body)
            wanted = self.headers.get("Range") if server.ranges and status == 200 else None
            if wanted:
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                body = body[int(first) : int(last) + 1 if last else None]
                status = 206 if body else 416
            server.log.append((self.command, status))
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if status == 206:
                self.send_header("Content-Range", f"bytes {first}-{int(first) + len(body) - 1}/{length}")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    return Handler
