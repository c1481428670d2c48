"""Faults of networks, disks, clocks and clients: nothing is lost but what the fault took."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

import rnnx
from rnnx import layers
from rnnx.serve import Settings, create_app
from rnnx.serve.metrics import Metrics
from rnnx.serve.network import Network
from rnnx.serve.peers import check_folder
from rnnx.serve.refusal import Refusal
from rnnx.serve.sequences import Sequences
from rnnx.serve.stream_socket import StreamSocket, stream_key
from tests.serve.conftest import Server
from tests.serve.test_server import block, eventually

pytestmark = pytest.mark.serve
UPGRADE = (
    b"GET /v2/models/gru/stream HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


# ---- Clients ---------------------------------------------------------------------------------------------------------


def test_messages_of_streams_on_their_way_count_as_held(models: Path, start: Callable[..., Server]) -> None:
    server = start(models / "gru.safetensors", "--max-pending", 100_000)
    frame = b"\x82\xff" + (90_000).to_bytes(8, "big") + bytes(4)
    with contextlib.ExitStack() as open_ones:
        one, two = (open_ones.enter_context(socket.create_connection(("127.0.0.1", server.port), 20)) for _ in range(2))
        for stream in (one, two):
            stream.sendall(UPGRADE)
            while b"token" not in stream.recv(4096):
                pass
        one.sendall(frame + bytes(60_000))
        time.sleep(0.5)
        two.sendall(frame + bytes(60_000))
        said = two.recv(4096)
        assert said[0] == 0x88 and int.from_bytes(said[2:4], "big") == 1013  # try again later
        one.sendall(bytes(30_000))  # 5,625 steps
        assert one.recv(1)
    eventually(lambda: server.infer("gru", np.zeros((1, 4000, 4)))[0] == 200)  # nothing is held any more


def upgraded(server: Server, stack: contextlib.ExitStack, model: bytes = b"gru") -> socket.socket:
    """A stream without a library, past its first message."""
    stream = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 20))
    stream.sendall(UPGRADE.replace(b"gru", model))
    while b"token" not in stream.recv(4096):
        pass
    return stream


PING = b"\x89\xfd" + bytes(4) + bytes(125)


def test_pings_hold_nothing(models: Path, start: Callable[..., Server]) -> None:
    server = start(models / "gru.safetensors", "--max-pending", 100_000, "--reload-every", 0.05)
    with contextlib.ExitStack() as stack:
        stream = upgraded(server, stack)
        for _ in range(20):  # of 13,100 bytes each
            stream.sendall(PING * 100)
            left = 127 * 100
            while left:
                part = stream.recv(left)
                assert part
                left -= len(part)
        assert server.infer("gru", np.zeros((1, 4000, 4)))[0] == 200
        stream.sendall(b"\x82\x90" + bytes(4) + bytes(16))  # a step
        assert stream.recv(100)[:2] == b"\x82\x08"


def test_who_pings_and_reads_no_answer_is_read_no_more(models: Path, start: Callable[..., Server]) -> None:
    server = start(models / "gru.safetensors")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", server.port))
        slow.sendall(UPGRADE)
        slow.settimeout(2)
        with pytest.raises(OSError):  # the buffers of the system are full, and those of the server take no more
            for _ in range(10_000):
                slow.sendall(PING * 100)
        slow.settimeout(20)
        answers = 0
        while answers < 1_000_000:  # read on, and it answers on
            answers += len(slow.recv(1 << 16)) or pytest.fail("the connection has ended")
    assert server.infer("gru", np.zeros((1, 1, 4)))[0] == 200


@pytest.mark.parametrize("between", [b"\x00\x80" + bytes(4), PING], ids=["fragments", "pings"])
def test_a_message_that_does_not_end(between: bytes, models: Path, start: Callable[..., Server]) -> None:
    server = start(models / "gru.safetensors", "--max-message", 1000, "--reload-every", 0.05)
    with contextlib.ExitStack() as stack:
        stream = upgraded(server, stack)
        stream.sendall(b"\x02\x80" + bytes(4))  # the first fragment
        said, stop = bytearray(), time.monotonic() + 60
        stream.settimeout(0.01)
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < stop:
                with contextlib.suppress(TimeoutError):
                    stream.sendall(between * 1000)
                with contextlib.suppress(TimeoutError):
                    if not (part := stream.recv(1 << 18)):
                        break
                    said += part
        assert time.monotonic() < stop
    eventually(lambda: held(server) == 0)
    assert server.infer("gru", np.zeros((1, 1, 4)))[0] == 200


def test_a_message_has_a_limit_of_its_own(models: Path, start: Callable[..., Server]) -> None:
    server = start(models / "gru.safetensors", "--max-message", 1000)
    with connect(f"ws://127.0.0.1:{server.port}/v2/models/gru/stream") as stream:
        stream.recv()
        stream.send(np.zeros((60, 4), np.float32).tobytes())
        assert len(stream.recv()) == 60 * 2 * 4
        stream.send(np.zeros((70, 4), np.float32).tobytes())
        with pytest.raises(Exception, match="1009"):
            stream.recv()


@pytest.mark.parametrize("kind", ["request", "stream"])
def test_who_does_not_read_the_answer_is_left(kind: str, tmp_path: Path, start: Callable[..., Server]) -> None:
    cells = [layers.SimpleRNN(2, return_sequences=True), layers.Dense(128, name="y")]
    rnnx.Sequential([rnnx.Input((None, 1), name="x"), *cells]).save(tmp_path / "wide.safetensors")
    words = [tmp_path / "wide.safetensors", "--reload-every", 0.05]
    server = start(*words, before="import rnnx.serve.connections as c; c.STALLED = 4.0")
    x = np.zeros((40, 1000, 1), np.float32)  # of which the answer has 20 MB
    head = {"name": "x", "shape": x.shape, "datatype": "FP32", "parameters": {"binary_data_size": x.nbytes}}
    text = json.dumps({"inputs": [head], "parameters": {"binary_data_output": True}}).encode()
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(60)
        slow.connect(("127.0.0.1", server.port))
        if kind == "request":
            slow.sendall(
                b"POST /v2/models/wide/infer HTTP/1.1\r\nhost: localhost\r\ninference-header-content-length: %d\r\n"
                b"content-length: %d\r\n\r\n" % (len(text), len(text) + x.nbytes) + text + x.tobytes()
            )
        else:
            slow.sendall(UPGRADE.replace(b"gru", b"wide"))
            while b"token" not in slow.recv(4096):
                pass
            frame = b"\x82\xfe" + (4000).to_bytes(2, "big") + bytes(4) + bytes(4000)
            slow.sendall(frame * 40)  # which the system's buffers take
        eventually(lambda: held(server) > 100_000)  # by the answer that waits
        assert server.infer("wide", x[:1, :5])[0] == 200
        eventually(lambda: held(server) == 0)
        with pytest.raises(OSError):
            while slow.recv(1 << 20):
                pass
            raise ConnectionResetError  # an end is one as well


def held(server: Server) -> float:
    text = server.request("GET", "/metrics")[1].decode()
    return float(text.split("\nrnnx_held_bytes ")[1].split()[0])


def test_one_sequence_of_two_clients(server: Server, models: Path) -> None:
    x = block(1, 1, 4)
    single = server.output("gru", x, parameters={"sequence_id": "both", "sequence_start": True})

    def ask(_: int) -> Any:
        return server.output("gru", x, parameters={"sequence_id": "both"})

    with ThreadPoolExecutor(2) as clients:  # whole turns: the outputs of one sequence of 21 steps, in some order
        found = np.concatenate([single, *clients.map(ask, range(20))])
    model = rnnx.load_model(models / "gru.safetensors")
    expected = np.concatenate([model(np.repeat(x, n, axis=1)) for n in range(1, 22)])
    order = np.lexsort(found.T), np.lexsort(expected.T)
    np.testing.assert_allclose(found[order[0]], expected[order[1]], atol=1e-5)


def test_many_sequences_that_are_never_closed(models: Path) -> None:
    settings = Settings(max_sequences=300, sequence_idle=1e-4)
    network = Network(models / "gru.safetensors", 100)
    with ThreadPoolExecutor(1) as executor:
        sequences = Sequences(network, executor, settings, Metrics().of_model("gru"))
        for key in range(20_000):
            try:
                sequences.open(key)
            except Refusal as refusal:
                assert refusal.status == 429
                time.sleep(1e-3)
        assert len(sequences) <= 300 and len(sequences.pool) <= 300


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
        b"content-length: 5\r\ncontent-length: 50\r\n",
        b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        b"content-length: +5\r\n",
    ],
)
def test_a_body_cannot_become_a_request(server: Server, head: bytes) -> None:
    inner = b"GET /v2/models/seq HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 20) as raw:
        raw.sendall(b"POST /v2/models/gru/infer HTTP/1.1\r\nhost: localhost\r\n" + head + b"\r\n0\r\n\r\n" + inner)
        raw.shutdown(socket.SHUT_WR)
        said = b""
        with contextlib.suppress(ConnectionResetError):
            while part := raw.recv(4096):
                said += part
    assert said.startswith(b"HTTP/1.1 400") and b'"seq"' not in said


@pytest.mark.parametrize("name", ["..%2fgru", "%2e%2e", "gru%00", "gru/../seq", "..%5cgru", "%2fetc%2fpasswd"])
def test_names_are_no_paths(server: Server, name: str) -> None:
    status, body, _ = server.request("GET", f"/v2/models/{name}")
    assert status == 404 and json.loads(body)["error"]


@pytest.mark.skipif(os.name == "nt", reason="one process there")
def test_a_stream_that_finds_no_room_elsewhere_stays(models: Path) -> None:
    """A stream goes on in another process, which gives it away only to one that has room, and can say why not."""
    answers: list[Any] = []

    class Others:
        own, count = 0, 2

        async def ask(self, number: int, message: Any) -> Any:
            asked.append(message[0])
            return answers.pop()

    asked: list[str] = []
    application = create_app(models / "gru.safetensors", Settings(max_sequences=1)).state.rnnx
    application.peers = Others()
    served = application.repository.find("gru")
    streams = StreamSocket(application)

    async def test() -> None:
        answers.append([429, 1.0, b"too many bytes", None])
        token, resumed = await streams._opened(served, "1.other")
        assert asked == ["take"] and not resumed and stream_key(token) in served.sequences
        with pytest.raises(Refusal, match="alive already"):
            await streams._opened(served, "1.other")
        assert asked == ["take"]  # and nothing was taken

    asyncio.run(test())


# ---- Others' pages, tokens and streams -------------------------------------------------------------------------------


def test_pages_of_other_sites_get_nothing(server: Server) -> None:
    for origin, expected in (("http://evil.example", 403), ("null", 403), (f"http://127.0.0.1:{server.port}", 200)):
        assert server.request("GET", "/v2", headers={"Origin": origin})[0] == expected
    x = json.dumps({"inputs": [{"name": "x", "shape": [1, 1, 4], "datatype": "FP32", "data": [0, 0, 0, 0]}]})
    for origin in ("http://evil.example", "http://["):
        assert server.request("POST", "/v2/models/gru/infer", x, {"Origin": origin})[0] == 403


def test_streams_are_of_one_model_and_no_sequences(server: Server) -> None:
    with connect(f"ws://127.0.0.1:{server.port}/v2/models/gru/stream") as stream:
        token = json.loads(stream.recv())["token"]
        with connect(f"ws://127.0.0.1:{server.port}/v2/models/seq/stream?token={token}") as other:
            assert json.loads(other.recv())["resumed"] is False
        status, answer, _ = server.infer("gru", np.zeros((1, 1, 4)), parameters={"sequence_id": token})
        assert status == 400 and "not alive" in answer["error"]


def test_who_has_no_token_learns_no_names_and_logs_hold_none(
    models: Path, tmp_path: Path, start: Callable[..., Server]
) -> None:
    (tmp_path / "tokens").write_text("secret\n")
    server = start(models / "gru.safetensors", "--token-file", tmp_path / "tokens", "--access-log")
    found = []
    for name in ("gru", "none"):
        with connect(f"ws://127.0.0.1:{server.port}/v2/models/{name}/stream") as stream:
            stream.send('{"token": "wrong"}')
            found.append(stream.recv())
        assert server.get(f"/v2/models/{name}")[0] == 401
    assert found[0] == found[1]
    headers = {"Authorization": "Bearer secret"}
    with connect(f"ws://127.0.0.1:{server.port}/v2/models/gru/stream", additional_headers=headers) as stream:
        token = json.loads(stream.recv())["token"]
    with connect(
        f"ws://127.0.0.1:{server.port}/v2/models/gru/stream?a=b&token={token}", additional_headers=headers
    ) as stream:
        assert json.loads(stream.recv())["resumed"]
    with pytest.raises(InvalidStatus):
        connect(f"ws://127.0.0.1:{server.port}/v2/models/none/stream", additional_headers=headers)
    server.process.terminate()
    assert server.process.stderr is not None
    os.set_blocking(server.process.stderr.fileno(), True)
    said = server.process.stderr.read().decode()
    assert "token=..." in said and token not in said and "secret" not in said


# ---- The machine -----------------------------------------------------------------------------------------------------


def test_logs_on_a_full_disk(models: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with open("/dev/full", "wb") as full:
        process = subprocess.Popen(
            [sys.executable, "-m", "rnnx", "serve", models / "gru.safetensors", "--port", str(port), "--access-log"],
            stdout=full,
            stderr=full,
        )
    try:

        def answers() -> bool:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            try:
                connection.request("GET", "/v2/health/ready")
                return connection.getresponse().status == 200
            except OSError:
                return False
            finally:
                connection.close()

        eventually(answers, 60)
        assert all(answers() for _ in range(20)) and process.poll() is None
    finally:
        process.terminate()
        process.wait(40)


def test_clocks_that_jump(models: Path, start: Callable[..., Server]) -> None:
    jumps = (
        "import time, itertools; k = itertools.count(); t = time.time; time.time = lambda: t() + (-1) ** next(k) * 1e6"
    )
    server = start(
        models / "gru.safetensors", "--access-log", "--sequence-idle", 60, "--reload-every", 0.1, before=jumps
    )
    x = block(1, 5, 4)
    for t in range(5):
        found = server.output("gru", x[:, t], parameters={"sequence_id": 1, "sequence_start": t == 0})
        time.sleep(0.15)
    np.testing.assert_allclose(found, rnnx.load_model(models / "gru.safetensors")(x), atol=1e-6)


@pytest.mark.skipif(os.name == "nt", reason="one process there")
def test_a_process_that_dies_at_work(models: Path, start: Callable[..., Server]) -> None:
    server = start(models / "seq.keras", "--workers", 2)
    x = np.zeros((1, 30_000, 1))
    found: list[Any] = []

    def ask(k: int) -> None:
        try:
            found.append(server.infer("seq", x, parameters={"sequence_id": f"s{k}", "sequence_start": True})[:2])
        except (OSError, http.client.HTTPException) as error:
            found.append((0, error))  # the connection has ended

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.4)
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    workers = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(int(workers[0]), 9)
    for thread in threads:
        thread.join()
    assert {status for status, _ in found} <= {0, 200, 503}
    assert all("gone" in answer["error"] for status, answer in found if status == 503)

    def all_begin_again() -> bool:
        try:
            parameters = [{"sequence_id": f"s{k}", "sequence_start": True} for k in range(8)]
            return all(server.infer("seq", x[:, :2], parameters=own)[0] == 200 for own in parameters)
        except OSError:
            return False

    eventually(all_begin_again, 150)


@pytest.mark.skipif(os.name == "nt", reason="one process there")
def test_processes_end_with_the_one_that_started_them(models: Path, start: Callable[..., Server]) -> None:
    server = start(models / "gru.safetensors", "--workers", 2)
    server.process.kill()
    server.process.wait()

    def port_is_free() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", server.port)) != 0

    eventually(port_is_free, 40)


@pytest.mark.skipif(os.name == "nt", reason="one process there")
def test_a_folder_whose_sockets_would_have_too_long_paths() -> None:
    check_folder("/tmp/rnnx-serve-12345678", 100)
    with pytest.raises(ValueError, match="set TMPDIR to a shorter one"):
        check_folder("/tmp/" + "a" * 97, 2)  # sun_path has 108 bytes on Linux and 104 elsewhere, the last one a zero


def test_a_file_with_as_long_a_name_as_there_can_be(models: Path, tmp_path: Path) -> None:
    path = tmp_path / ("n" * 243 + ".safetensors")
    path.write_bytes((models / "gru.safetensors").read_bytes())
    served = create_app({"m": path}, Settings()).state.rnnx.repository.find("m")
    x = block(2, 3, 4)
    expected = rnnx.load_model(models / "gru.safetensors")(x)
    np.testing.assert_allclose(served.network.run([x])[0], expected, atol=1e-6)


# ---- In another application, and what Triton's clients ask -----------------------------------------------------------


def test_a_mounted_application_reads_files_again(models: Path, tmp_path: Path) -> None:
    import httpx
    from starlette.applications import Starlette
    from starlette.routing import Mount

    path = tmp_path / "m.safetensors"
    model = rnnx.load_model(models / "gru.safetensors")
    model.save(path)
    outer = Starlette(routes=[Mount("/models", create_app(path, Settings(reload_every=0.05)))])
    x = block(1, 3, 4)
    body = {"inputs": [{"name": "x", "shape": x.shape, "datatype": "FP32", "data": x.ravel().tolist()}]}

    async def test() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(outer), base_url="http://a") as client:
            for factor in (1, 2):
                model.set_weights([w * np.float32(factor) for w in model.get_weights()])
                model.save(path)
                until = time.monotonic() + 20
                while time.monotonic() < until:
                    answer = (await client.post("/models/v2/models/m/infer", json=body)).json()
                    if np.allclose(answer["outputs"][0]["data"], model(x)[0], atol=1e-6):
                        break
                    await asyncio.sleep(0.05)
                else:
                    raise AssertionError("the new file was not read")

    asyncio.run(test())


@pytest.mark.parametrize("workers", [1, 2])
def test_statistics_of_triton_client(models: Path, start: Callable[..., Server], workers: int) -> None:
    server = start(models / "gru.safetensors", models / "dear.safetensors", "--workers", workers)
    for rows in (1, 3):
        server.output("gru", block(rows, 2, 4))
    server.output("dear", block(2, 40, 64))
    assert server.infer("gru", block(1, 2, 5))[0] == 400
    parameters = {"sequence_id": "s", "sequence_start": True}
    server.output("gru", block(1, 1, 4), parameters=parameters)
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    (gru,) = client.get_inference_statistics("gru", "1")["model_stats"]
    assert (gru["inference_count"], gru["execution_count"]) == (5, 3)
    times = gru["inference_stats"]
    assert times["success"]["count"] == 3 and times["fail"]["count"] == 1 and times["compute_infer"]["count"] == 3
    assert 0 < times["compute_infer"]["ns"] < times["success"]["ns"] < 60e9
    assert abs(gru["last_inference"] / 1e3 - time.time()) < 60
    stats = {one["name"]: one for one in client.get_inference_statistics()["model_stats"]}
    assert stats["dear"]["inference_count"] == 2 and stats["dear"]["inference_stats"]["queue"]["count"] == 1
    with pytest.raises(InferenceServerException, match="no model 'none'"):
        client.get_inference_statistics("none")


def test_loading_by_request_is_refused(server: Server) -> None:
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    for call in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="command line"):
            call("gru")
        with pytest.raises(InferenceServerException, match="no model 'none'"):
            call("none")
    with pytest.raises(ValueError, match="cannot be named 'stats'"):
        create_app({"stats": "m.safetensors"})
