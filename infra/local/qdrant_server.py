"""A server of Qdrant's engine for one machine: ``python -m infra.local.qdrant_server FOLDER PORT``.

It answers what Freshline asks of Qdrant's REST interface, so that the local run and the tests speak to it as to a real
server, over the same client. See ``docs/decisions/a-local-qdrant.md``.

    https://api.qdrant.tech/api-reference
"""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from infra.local.ports import HOST
from infra.local.qdrant_engine import CollectionExistsError, Engine, NoSuchCollectionError, NotOfferedError
from schemas.errors import FreshlineError

VERSION: Final = "1.20.0"
_DONE: Final = {"operation_id": 0, "status": "completed"}

_REFUSALS: Final[tuple[tuple[type[Exception], HTTPStatus], ...]] = (
    (NoSuchCollectionError, HTTPStatus.NOT_FOUND),
    (CollectionExistsError, HTTPStatus.CONFLICT),
    (NotOfferedError, HTTPStatus.NOT_IMPLEMENTED),
    (KeyError, HTTPStatus.BAD_REQUEST),
    (TypeError, HTTPStatus.BAD_REQUEST),
    (ValueError, HTTPStatus.BAD_REQUEST),
)

_Answer = Callable[[Engine, str, dict[str, Any]], Any]


def _aliases(engine: Engine, collection: str | None = None) -> dict[str, Any]:
    found = [
        {"alias_name": alias, "collection_name": target}
        for alias, target in engine.aliases.items()
        if collection in {None, target}
    ]
    return {"aliases": found}


def _doing(act: Callable[[Engine, str, dict[str, Any]], None], result: Any = _DONE) -> _Answer:
    def answer(engine: Engine, name: str, body: dict[str, Any]) -> Any:
        act(engine, name, body)
        return result

    return answer


def _batch(engine: Engine, name: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    engine.collection(name).batch(body["operations"])
    return [_DONE] * len(body["operations"])


_ROUTES: Final[tuple[tuple[str, str, _Answer], ...]] = (
    ("GET", r"/collections", lambda e, _n, _b: {"collections": [{"name": name} for name in e.names]}),
    ("GET", r"/aliases", lambda e, _n, _b: _aliases(e)),
    ("POST", r"/collections/aliases", _doing(lambda e, _n, b: e.change_aliases(b["actions"]), result=True)),
    ("GET", r"/collections/([^/]+)/aliases", lambda e, n, _b: _aliases(e, n)),
    ("GET", r"/collections/([^/]+)/exists", lambda e, n, _b: {"exists": n in e.names or n in e.aliases}),
    ("GET", r"/collections/([^/]+)", lambda e, n, _b: e.collection(n).info()),
    ("PUT", r"/collections/([^/]+)", _doing(lambda e, n, b: e.create(n, b), result=True)),
    ("DELETE", r"/collections/([^/]+)", lambda e, n, _b: e.delete(n)),
    (
        "PUT",
        r"/collections/([^/]+)/index",
        _doing(lambda e, n, b: e.collection(n).index(b["field_name"], b["field_schema"])),
    ),
    ("PUT", r"/collections/([^/]+)/points", _doing(lambda e, n, b: e.collection(n).upsert(b))),
    ("POST", r"/collections/([^/]+)/points", lambda e, n, b: e.collection(n).retrieve(b)),
    ("POST", r"/collections/([^/]+)/points/delete", _doing(lambda e, n, b: e.collection(n).delete(b))),
    ("POST", r"/collections/([^/]+)/points/payload", _doing(lambda e, n, b: e.collection(n).set_payload(b))),
    ("POST", r"/collections/([^/]+)/points/query", lambda e, n, b: e.collection(n).query(b)),
    ("POST", r"/collections/([^/]+)/points/scroll", lambda e, n, b: e.collection(n).scroll(b)),
    ("POST", r"/collections/([^/]+)/points/count", lambda e, n, b: e.collection(n).count(b)),
    ("POST", r"/collections/([^/]+)/points/batch", _batch),
    # Not of Qdrant's interface: a real server does so by itself, and beside its other work.
    ("POST", r"/collections/([^/]+)/optimise", _doing(lambda e, n, _b: e.collection(n).optimise(), result=True)),
)
_COMPILED: Final = tuple((method, re.compile(path), answer) for method, path, answer in _ROUTES)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine: Engine

    def setup(self) -> None:
        super().setup()
        # Head and body go out in two writes, and the second would wait for the first to be acknowledged.
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Say nothing of each request."""

    def _answer(self) -> None:
        began = time.monotonic()
        path = self.path.partition("?")[0].rstrip("/")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, result = self._result(path, body)
        is_ok = status == HTTPStatus.OK
        answer: dict[str, Any] = {"status": "ok" if is_ok else {"error": result}, "time": time.monotonic() - began}
        if is_ok:
            answer["result"] = result
        if not path:
            answer = {"title": "qdrant - vector search engine", "version": VERSION}
        encoded = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def _result(self, path: str, body: bytes) -> tuple[HTTPStatus, Any]:
        if path in {"", "/healthz", "/readyz"}:
            return HTTPStatus.OK, True
        for method, pattern, answer in _COMPILED:
            match = pattern.fullmatch(path)
            if match is not None and method == self.command:
                try:
                    name = (*match.groups(), "")[0]
                    return HTTPStatus.OK, answer(self.engine, name, json.loads(body) if body else {})
                except Exception as error:  # noqa: BLE001 - the edge of a process: the caller is told
                    return _refusal(error)
        return HTTPStatus.NOT_IMPLEMENTED, f"The local Qdrant does not answer {self.command} {path}."

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = _answer  # noqa: N815 - the base's names


def _refusal(error: Exception) -> tuple[HTTPStatus, str]:
    status = next((status for kind, status in _REFUSALS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)
    return status, str(error) if isinstance(error, FreshlineError) else f"{type(error).__name__}: {error}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def serve(folder: Path, port: int) -> None:
    """Serve until told to stop."""
    engine = Engine(folder)
    handler = type("Handler", (_Handler,), {"engine": engine})
    server = _Server((HOST, port), handler)

    def stop(*_: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        server.serve_forever()
    finally:
        server.server_close()
        engine.close()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
