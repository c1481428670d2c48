"""By which names a server may be asked: that of a page, which leads to this machine (DNS rebinding), is none."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from rnnx.serve import Settings
from rnnx.serve.host_names import Hosts, is_loopback
from tests.serve.conftest import Server

pytestmark = pytest.mark.serve

OWN = ("localhost", "localhost.", "LOCALHOST:8000", "a.localhost", "127.0.0.1", "127.9.0.1:80", "[::1]", "[::1]:8000")
OTHERS = (
    "evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "xlocalhost", "10.0.0.1",
    "[2001:db8::1]", "", ":8000", "localhost:evil", "localhost:80:80", "[::1", "[::1]evil", "localhost@evil.example",
    "localhost..", "127.0.0.1\xff",
)  # fmt: skip


@pytest.mark.parametrize("names", [("127.0.0.1",), ("localhost",)])
def test_names_of_this_machine(names: tuple[str, ...]) -> None:
    hosts = Hosts(names)
    for _ in range(2):  # the second time from memory
        assert [host for host in OWN if not hosts.allows(host.encode("latin-1"))] == []
        assert [host for host in OTHERS if hosts.allows(host.encode("latin-1"))] == []


def test_other_names() -> None:
    hosts = Hosts(Settings(allowed_hosts=("Example.org.", "*.b.example", "2001:db8::1")).allowed_hosts)
    for host in (b"example.org", b"EXAMPLE.org:80", b"a.b.example", b"x.a.b.example:1", b"[2001:db8::1]", b"localhost"):
        assert hosts.allows(host)
    for host in (b"www.example.org", b"b.example", b"xb.example", b"[2001:db8::2]"):
        assert not hosts.allows(host)
    for anything in (Hosts(()), Hosts(("*",))):
        assert anything.allows(b"evil.example")


def test_what_is_remembered_is_bounded() -> None:
    hosts = Hosts(("*.example",))
    for k in range(2000):
        assert hosts.allows(b"%d.example" % k)
    assert len(hosts._known) <= 256


@pytest.mark.parametrize("name", ["http://example.org", "example.org:80", "a/b", "*.*.org", "*.", "a b", "[::1]", ""])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="allowed_hosts"):
        Settings(allowed_hosts=(name,))


def test_one_name_is_no_list() -> None:
    with pytest.raises(ValueError, match="list of strings"):
        Settings(allowed_hosts="localhost")  # type: ignore[arg-type]


def test_addresses() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.3.4.5", "::1", "localhost")))
    assert not any(map(is_loopback, ("", "0.0.0.0", "::", "192.0.2.1", "a..b")))


def stream_by_name(port: int, name: str, **more: Any) -> Any:
    """A WebSocket to this server by any name."""
    address = f"ws://{name}:{port}/v2/models/gru/stream"
    return connect(address, sock=socket.create_connection(("127.0.0.1", port)), **more)


def test_a_server_for_this_machine_alone(server: Server) -> None:
    body = json.dumps({"inputs": [{"name": "x", "shape": [1, 1, 4], "datatype": "FP32", "data": [0, 0, 0, 0]}]})
    for host, status in (("localhost", 200), (f"127.0.0.1:{server.port}", 200), (f"evil.example:{server.port}", 421)):
        same = {"Host": host, "Origin": f"http://{host}"}  # what a browser says of a page that comes from there
        for headers in ({"Host": host}, same):
            for method, path, content in (("GET", "/", None), ("POST", "/v2/models/gru/infer", body)):
                found, said, _ = server.request(method, path, content, headers)
                assert found == status
                assert status == 200 or "--allowed-hosts" in json.loads(said)["error"]
    with stream_by_name(server.port, "localhost", origin=f"http://localhost:{server.port}") as stream:
        assert json.loads(stream.recv())["token"]
    for origin in (None, f"http://evil.example:{server.port}"):
        with pytest.raises(InvalidStatus, match="403"):
            stream_by_name(server.port, "evil.example", origin=origin)


def test_two_names_in_one_request(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        assert b" 421 " in raw.makefile("rb").readline()


def test_more_names(models: Path, start: Callable[..., Server]) -> None:
    for workers in (1, 2):
        server = start(models / "gru.safetensors", "--allowed-hosts", "api.example,*.b.example", "--workers", workers)
        for host, status in (("api.example", 200), ("a.b.example:80", 200), ("localhost", 200), ("evil.example", 421)):
            assert server.request("GET", "/v2", headers={"Host": host})[0] == status
