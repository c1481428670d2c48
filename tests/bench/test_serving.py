"""The parts of the bench of the server that need no server's packages: requests, and how answers are counted."""

from __future__ import annotations

import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "bench" / "serving"


class Answers(http.server.BaseHTTPRequestHandler):
    """Says 429 to every third request."""

    protocol_version = "HTTP/1.1"
    count = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        Answers.count += 1
        self.send_response(429 if Answers.count % 3 == 0 else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_load_from_python(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.delitem(sys.modules, "load", raising=False)
    import load as module

    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    load = module.Load(port, "/", b"abc", {"x": 1})
    assert load.once() == (200, b"{}")
    closed = module.closed(load, 2, 0.3)
    assert set(closed.statuses) == {200, 429} and 0 < closed.p50 <= closed.p99 and closed.rate > 0
    paced = module.paced(load, 100, 0.3)
    assert paced.statuses.total() == 30 and paced.statuses[429] == 10
    monkeypatch.delitem(sys.modules, "load")
