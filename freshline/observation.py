"""What a process shows of itself over HTTP: ``/metrics``, ``/live`` and ``/ready``."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from infra.logs import logger
from infra.progress import Progress

_log = logger("observation")


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Say nothing: a probe every second is no news."""


@contextmanager
def observed(host: str, port: int, registry: CollectorRegistry, progress: Mapping[str, Progress]) -> Iterator[int]:
    """Serve in a thread of its own; yields the port, which for 0 is a free one."""
    metrics = make_wsgi_app(registry)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            served: Iterable[bytes] = metrics(environ, start_response)
            return served
        if path not in {"/live", "/ready"}:
            start_response("404 Not Found", [])
            return [b"metrics, live or ready\n"]
        good = all(p.is_alive if path == "/live" else p.is_ready for p in progress.values())
        start_response("200 OK" if good else "503 Service Unavailable", [("Content-Type", "text/plain")])
        return ["".join(f"{name} {p.describe()}\n" for name, p in progress.items()).encode()]

    server = make_server(host, port, app, server_class=WSGIServer, handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True, name="observation")
    thread.start()
    _log.info("observed", host=host, port=server.server_port)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
