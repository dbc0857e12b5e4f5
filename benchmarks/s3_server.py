"""A real S3 server on this machine's loopback, which can be made slow and unreliable, and counts what it is asked.

The server is moto's, in a process of its own that ends with ours. What stands before it delays answers, fails some,
cuts some connections, and keeps a log, all over the same sockets that any client uses. Tests and benchmarks share it:

    with S3Server() as server:
        server.faults(latency=0.05, fail_every=10)
        tps.make_dataset(server.url("data/set"))
        print(server.counts())
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

ACCESS_KEY = "AKIAPLANTEDKEY"
# Characters that need quoting in a URL, as real ones have.
SECRET_KEY = "planted/Secret+Key/of=the&Server"
REGION = "eu-central-1"
BUCKET = "data"

_HOME = Path(__file__).parent.parent
#: A body is sent in pieces of this size, so that a connection can be cut in its middle.
_PIECE = 1 << 16


@dataclass(frozen=True)
class Faults:
    """How the server misbehaves.

    latency: seconds before each answer. fail_every: each n-th request (1: all) is answered with `status` and the S3
    error `code`. cut_every: each n-th request that is not failed has its connection cut in the middle of the answer's
    body, or before an answer if it has no body. times: after so many failed and cut requests there are no more.
    match: only requests whose "METHOD bucket/key" contains it fail or are cut. methods: only these fail or are cut.
    """

    latency: float = 0.0
    fail_every: int = 0
    cut_every: int = 0
    status: str = "503 Slow Down"
    code: str = "SlowDown"
    times: int = -1
    match: str = ""
    methods: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """One request. key: bucket and object, without the query. start, end: of the byte range asked for, end exclusive,
    or None. status: of the answer, 0 if the connection was cut. sent: bytes of the answer's body that were sent.
    received: bytes of the request's body. client: the port that it came from, one a connection.
    """

    method: str
    key: str
    query: str
    start: int | None
    end: int | None
    status: int
    sent: int
    received: int
    client: int


@dataclass(frozen=True)
class Counts:
    """Requests since the last reset.

    requests: how many by (method, key). sent: bytes of bodies by (method, key). peak: most requests under way at once.
    """

    log: tuple[Request, ...] = ()
    peak: int = 0
    requests: Mapping[tuple[str, str], int] = field(default_factory=dict)
    sent: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def of(self, method: str = "", match: str = "") -> list[Request]:
        """The requests of a method whose key contains `match`, in the order of their ends."""
        return [one for one in self.log if method in ("", one.method) and match in one.key]

    def bytes_sent(self, method: str = "GET", match: str = "") -> int:
        """Bytes of answers' bodies."""
        return sum(one.sent for one in self.of(method, match))


class S3Server:
    """The server, while the `with` statement lasts. Credentials other than its own are refused.

    endpoint: its URL. port: its port. access_key, secret_key, session_token, region: what it accepts.
    session_token: if given, a client has to send it. buckets: made at the start, and again by `reset`. in_memory: an
    object is held in memory once it was read, as moto reads all of it for each range; for benchmarks, where what the
    server computes is missed on the other side.
    """

    def __init__(
        self, buckets: Iterable[str] = (BUCKET,), *, session_token: str | None = None, in_memory: bool = False
    ) -> None:
        self.access_key, self.secret_key, self.session_token = ACCESS_KEY, SECRET_KEY, session_token
        self.region = REGION
        self.buckets = tuple(buckets)
        self.port = 0
        self._in_memory = in_memory
        self._child: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> S3Server:
        command = [sys.executable, "-m", "benchmarks.s3_server"]
        given = {"access_key": self.access_key, "session_token": self.session_token, "buckets": self.buckets}
        given["in_memory"] = self._in_memory
        # What it logs is of interest only where it can't start.
        self._child = subprocess.Popen(
            command, cwd=_HOME, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environment()
        )
        self._ask(given)
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            assert self._child.stdin is not None
            assert self._child.stdout is not None
            self._child.stdin.close()
            self._child.wait(30)
            self._child.stdout.close()
            self._child = None

    def url(self, path: str = "", *, bucket: str = BUCKET, scheme: str = "s3") -> str:
        """A URL for pyarrow that holds all it takes to reach `path`, credentials too."""
        query = f"endpoint_override=127.0.0.1:{self.port}&scheme=http&region={self.region}"
        user = f"{self.access_key}:{quote(self.secret_key, safe='')}"
        return f"{scheme}://{user}@{bucket}/{path}?{query}"

    def filesystem(self, **options: Any) -> Any:
        """A `pyarrow.fs.S3FileSystem`. options: more of its arguments."""
        import pyarrow.fs as pafs

        given = {
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "session_token": self.session_token,
            "region": self.region,
            "endpoint_override": f"127.0.0.1:{self.port}",
            "scheme": "http",
        }
        return pafs.S3FileSystem(**{**given, **options})

    def storage_options(self) -> dict[str, Any]:
        """What fsspec needs to reach the server: `fsspec.open("s3://…", **storage_options)`."""
        return {
            "key": self.access_key,
            "secret": self.secret_key,
            "token": self.session_token,
            "endpoint_url": self.endpoint,
            "client_kwargs": {"region_name": self.region},
        }

    def fsspec(self, **options: Any) -> Any:
        """An `s3fs.S3FileSystem` of its own. options: more of its arguments."""
        import s3fs

        return s3fs.S3FileSystem(**self.storage_options(), skip_instance_cache=True, **options)

    def environment(self) -> dict[str, str]:
        """Variables by which AWS clients that are told nothing else find the server."""
        found = {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        return found | ({"AWS_SESSION_TOKEN": self.session_token} if self.session_token else {})

    def faults(self, **options: Any) -> None:
        """Misbehave from now on; see `Faults`. What is not given is switched off; counting to n starts anew."""
        self._ask({"faults": asdict(Faults(**options))})

    def counts(self) -> Counts:
        """What was asked of the server since the last reset of counts."""
        found = self._ask({"counts": True})
        log = tuple(Request(**one) for one in found["log"])
        requests: dict[tuple[str, str], int] = {}
        sent: dict[tuple[str, str], int] = {}
        for one in log:
            requests[one.method, one.key] = requests.get((one.method, one.key), 0) + 1
            sent[one.method, one.key] = sent.get((one.method, one.key), 0) + one.sent
        return Counts(log, found["peak"], requests, sent)

    def reset(self, *, objects: bool = False) -> None:
        """Behave, and count from 0. objects: also delete all that is stored."""
        self._ask({"reset": True, "objects": objects})

    def _ask(self, what: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            assert self._child is not None, "the server is used in a with statement"
            assert self._child.stdin is not None
            assert self._child.stdout is not None
            self._child.stdin.write(json.dumps(what) + "\n")
            self._child.stdin.flush()
            answer = self._child.stdout.readline()
        if not answer:
            raise RuntimeError(f"the S3 server ended with {self._child.wait()}; is moto[server] installed?")
        found: dict[str, Any] = json.loads(answer)
        self.port = found.get("port", self.port)
        return found


def _environment() -> dict[str, str]:
    # Warnings that are errors in our tests are none in another's server; its own clients must not find a real account.
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "PYTHONWARNINGS"))}
    return kept | {"AWS_EC2_METADATA_DISABLED": "true", "MOTO_S3_CUSTOM_ENDPOINTS": "", "PYTHONPATH": str(_HOME)}


# ── the child process ───────────────────────────────────────────────────────────────────────────────────────────────


class _Front:
    """The WSGI application before moto's: it delays, refuses, fails, cuts and counts."""

    def __init__(self, application: Any, access_key: str, session_token: str | None, in_memory: bool) -> None:
        self._application = application
        self._objects: dict[str, tuple[bytes, list[tuple[str, str]]]] | None = {} if in_memory else None
        self._access_key, self._session_token = access_key, session_token
        self.lock = threading.Lock()
        self.faults = Faults()
        self.log: list[dict[str, Any]] = []
        self.seen = self.failed = self.under_way = self.peak = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with self.lock:
            faults = self.faults
            fail, cut = self._next(environ, faults)
            self.under_way += 1
            self.peak = max(self.peak, self.under_way)
        try:
            if faults.latency:
                time.sleep(faults.latency)
            answer = self._refusal(environ) or ((faults.status, faults.code) if fail else None)
            if answer is not None:
                yield from self._send(environ, start_response, *_error(environ, *answer), cut=False)
                return
            kept: list[Any] = []
            body: Any = self._from_memory(environ, lambda *given: kept.append(given))
            if body is None:
                body = b"".join(self._application(environ, lambda *given: kept.append(given)))
            yield from self._send(environ, start_response, kept[-1], body, cut=cut)
        finally:
            with self.lock:
                self.under_way -= 1

    def _send(self, environ: dict[str, Any], start: Any, head: Any, body: Any, *, cut: bool) -> Iterator[bytes]:
        # Written down before it is sent: a client that has its answer may ask for the counts at once.
        end = len(body) // 2 if cut else len(body)
        with self.lock:
            one = asdict(_record(environ, 0 if cut else int(str(head[0]).split()[0])))
            self.log.append(one)
        if cut and not end:
            _cut(environ)
        start(*head)
        size = _PIECE if cut or self._objects is None else max(1, end)
        for begin in range(0, end, size):
            one["sent"] = min(end, begin + size)
            yield bytes(body[begin : one["sent"]])
        if cut:
            _cut(environ)

    def _from_memory(self, environ: dict[str, Any], start_response: Any) -> memoryview | None:
        """A range of an object that is held, or is from now on; None for all other requests."""
        if self._objects is None:
            return None
        key, (start, end) = environ["PATH_INFO"], _asked(environ)
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            self._objects.pop(key, None)
        if environ["REQUEST_METHOD"] != "GET" or start is None or end is None:
            return None
        if key not in self._objects:
            answer: list[Any] = []
            whole = {name: value for name, value in environ.items() if name != "HTTP_RANGE"}
            body = b"".join(self._application(whole, lambda *given: answer.append(given)))
            if not str(answer[-1][0]).startswith("200"):
                return None
            same = [one for one in answer[-1][1] if one[0].lower() in ("etag", "last-modified", "content-type")]
            self._objects[key] = body, same
        body, headers = self._objects[key]
        end = min(end, len(body))
        length = ("Content-Length", str(end - start))
        start_response(
            "206 Partial Content", [*headers, length, ("Content-Range", f"bytes {start}-{end - 1}/{len(body)}")]
        )
        return memoryview(body)[start:end]

    def _next(self, environ: dict[str, Any], faults: Faults) -> tuple[bool, bool]:
        name = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO'].lstrip('/')}"
        if faults.match not in name or (faults.methods and environ["REQUEST_METHOD"] not in faults.methods):
            return False, False
        if 0 <= faults.times <= self.failed:
            return False, False
        self.seen += 1
        fail = bool(faults.fail_every) and self.seen % faults.fail_every == 0
        cut = not fail and bool(faults.cut_every) and self.seen % faults.cut_every == 0
        self.failed += fail or cut
        return fail, cut

    def _refusal(self, environ: dict[str, Any]) -> tuple[str, str] | None:
        if f"Credential={self._access_key}/" not in environ.get("HTTP_AUTHORIZATION", ""):
            return ("403 Forbidden", "InvalidAccessKeyId")
        if self._session_token is not None and environ.get("HTTP_X_AMZ_SECURITY_TOKEN") != self._session_token:
            return ("403 Forbidden", "InvalidToken")
        return None


def _error(environ: dict[str, Any], status: str, code: str) -> tuple[Any, bytes]:
    # An answer that comes before the request was read would look like a cut connection.
    left = int(environ.get("CONTENT_LENGTH") or 0)
    while left > 0 and (piece := environ["wsgi.input"].read(min(left, _PIECE))):
        left -= len(piece)
    body = f"<Error><Code>{code}</Code><Message>{status}</Message></Error>".encode()
    body = b"" if environ["REQUEST_METHOD"] == "HEAD" else body
    return (status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]), body


def _cut(environ: dict[str, Any]) -> None:
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionError("cut, as asked")


def _asked(environ: dict[str, Any]) -> tuple[int | None, int | None]:
    unit, _, asked = environ.get("HTTP_RANGE", "").partition("=")
    first, _, last = asked.partition("-")
    return (int(first), int(last) + 1) if unit == "bytes" and first and last else (None, None)


def _record(environ: dict[str, Any], status: int) -> Request:
    start, end = _asked(environ)
    received = int(environ.get("HTTP_X_AMZ_DECODED_CONTENT_LENGTH") or environ.get("CONTENT_LENGTH") or 0)
    key = environ["PATH_INFO"].lstrip("/")
    port = int(environ.get("REMOTE_PORT", 0))
    return Request(environ["REQUEST_METHOD"], key, environ["QUERY_STRING"], start, end, status, 0, received, port)


def _serve(orders: IO[str], answers: IO[str]) -> None:
    import logging

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server
    from werkzeug.test import Client

    class Handler(WSGIRequestHandler):
        # A request isn't over with the first packet of its answer: without this each would wait 40 ms for the next.
        disable_nagle_algorithm = True

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    given = json.loads(orders.readline())
    moto = DomainDispatcherApplication(create_backend_app)
    front = _Front(moto, given["access_key"], given["session_token"], given["in_memory"])
    server = make_server("127.0.0.1", 0, front, threaded=True, request_handler=Handler)
    server.daemon_threads = True
    inside = Client(moto)

    def empty() -> None:
        inside.post("/moto-api/reset", headers={"Host": "motoapi.amazonaws.com"})
        for bucket in given["buckets"]:
            place = f"<LocationConstraint>{REGION}</LocationConstraint>"
            place = f"<CreateBucketConfiguration>{place}</CreateBucketConfiguration>"
            made = inside.put(f"/{bucket}", data=place, headers={"Host": "s3.amazonaws.com"})
            assert made.status_code == 200, made.get_data()

    empty()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"port": server.server_port}), file=answers, flush=True)
    for line in orders:  # until our parent closes its end, or dies
        print(json.dumps(_obey(json.loads(line), front, empty)), file=answers, flush=True)


def _obey(order: dict[str, Any], front: _Front, empty: Any) -> dict[str, Any]:
    with front.lock:
        if "faults" in order:
            front.faults = Faults(**order["faults"])
            front.seen = front.failed = 0
        if "reset" in order:
            front.faults = Faults()
            front.log = []
            front.seen = front.failed = 0
            front.peak = front.under_way
            if order["objects"]:
                empty()
        if "counts" in order:
            return {"log": front.log, "peak": front.peak}
    return {}


if __name__ == "__main__":
    _serve(sys.stdin, sys.stdout)
