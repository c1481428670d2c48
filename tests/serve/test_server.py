"""A server in a process of its own, as clients meet it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import rnnx
from rnnx.serve.run import serve
from tests.serve.conftest import Server

pytestmark = pytest.mark.serve
RNG = np.random.default_rng(3)


def block(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


def eventually(true: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.1)


# ---- The protocol ----------------------------------------------------------------------------------------------------


def test_triton_client(server: Server, models: Path) -> None:
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("gru", "1")
    assert "sequence(string_id)" in client.get_server_metadata()["extensions"]
    assert {model["name"] for model in client.get_model_repository_index()} == {"dear", "gru", "ids", "seq", "two"}
    about = client.get_model_metadata("two")
    assert [tensor["name"] for tensor in about["inputs"]] == ["a", "b"]
    assert about["inputs"][0] == {"name": "a", "datatype": "FP32", "shape": [-1, -1, 3]}
    assert client.get_model_config("ids")["input"][0]["data_type"] == "TYPE_INT32"
    x = block(2, 7, 4)
    expected = rnnx.load_model(models / "gru.safetensors")(x)
    for binary in (True, False):
        for packing in (None, "gzip", "deflate"):
            tensor = triton.InferInput("x", x.shape, "FP32")
            tensor.set_data_from_numpy(x, binary_data=binary)
            wanted = [triton.InferRequestedOutput("y", binary_data=binary)] if packing else None
            answer = client.infer(
                "gru", [tensor], request_id="7", outputs=wanted, request_compression_algorithm=packing
            )
            np.testing.assert_allclose(answer.as_numpy("y"), expected, atol=1e-6)
            assert answer.get_response()["id"] == "7"


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("kind", [int, str])
def test_sequences_of_triton_client(server: Server, models: Path, kind: Any, binary: bool) -> None:
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    x = block(3, 9, 1)
    expected = rnnx.load_model(models / "seq.keras")(x)
    found: list[list[Any]] = [[], [], []]
    for begin in range(0, 9, 3):
        for row in range(3):  # in turns
            tensor = triton.InferInput("x", [1, 3, 1], "FP32")
            tensor.set_data_from_numpy(x[row : row + 1, begin : begin + 3], binary_data=binary)
            answer = client.infer(
                "seq", [tensor], sequence_id=kind(row + 1), sequence_start=begin == 0, sequence_end=begin == 6
            )
            found[row].append(answer.as_numpy("y"))
    np.testing.assert_allclose(np.concatenate([np.concatenate(row, 1) for row in found]), expected, atol=1e-6)
    status, answer, _ = server.infer("seq", x[:1], parameters={"sequence_id": kind(1)})
    assert status == 400 and "not alive" in answer["error"]


def test_a_sequence_of_a_network_with_one_output(server: Server, models: Path) -> None:
    x = block(1, 5, 4)
    model = rnnx.load_model(models / "gru.safetensors")
    for t in range(5):
        found = server.output("gru", x[:, t], parameters={"sequence_id": "s", "sequence_start": t == 0})
        np.testing.assert_allclose(found, model(x[:, : t + 1]), atol=1e-6)


def test_networks_of_ids_and_of_two_inputs(server: Server, models: Path) -> None:
    ids = np.array([[1, 8, 3]])
    expected = rnnx.load_model(models / "ids.safetensors")(ids)
    for datatype in ("INT64", "INT32", "UINT8", "FP32"):
        _, answer, _ = server.infer("ids", ids, "ids", datatype)
        np.testing.assert_allclose(answer["outputs"][0]["data"], expected[0], atol=1e-6)
    for wrong in ([[1, 9, 3]], [[-1, 0, 0]]):
        status, answer, _ = server.infer("ids", wrong, "ids", "INT64")
        assert status == 400 and "0..8" in answer["error"]
    a, b = block(2, 4, 3), block(2, 5)
    tensors = [
        {"name": name, "shape": x.shape, "datatype": "FP32", "data": x.tolist()} for name, x in (("b", b), ("a", a))
    ]
    status, body, _ = server.request("POST", "/v2/models/two/infer", json.dumps({"inputs": tensors}))
    for found, expected in zip(json.loads(body)["outputs"], rnnx.load_model(models / "two.keras")([a, b]), strict=True):
        np.testing.assert_allclose(np.reshape(found["data"], found["shape"]), expected, atol=1e-6)


def test_dear_calls_beside_each_other(server: Server, models: Path) -> None:
    inputs = [block(1, 30, 64) for _ in range(8)]
    expected = [rnnx.load_model(models / "dear.safetensors")(x) for x in inputs]
    found: list[Any] = [None] * 8

    def ask(k: int) -> None:
        found[k] = server.output("dear", inputs[k])

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(expected), atol=1e-5)


@pytest.mark.parametrize(
    ("model", "x", "said"),
    [
        ("gru", np.zeros((1, 3, 5)), "shape must be [-1, -1, 4]"),
        ("gru", np.zeros((3, 4)), "shape must be"),
        ("gru", np.zeros((0, 3, 4)), "no numbers"),
        ("gru", np.zeros((1, 0, 4)), "no numbers"),
        ("two", np.zeros((1, 3, 3)), "expected input(s) 'a', 'b', got 'x'"),
    ],
)
def test_inputs_that_do_not_fit(server: Server, model: str, x: Any, said: str) -> None:
    status, answer, _ = server.infer(model, x)
    assert status == 400 and said in answer["error"]


def test_numbers_that_are_none(server: Server) -> None:
    for value in (np.nan, np.inf):
        x = np.full((1, 2, 4), value, np.float32)
        head = {"name": "x", "shape": x.shape, "datatype": "FP32", "parameters": {"binary_data_size": x.nbytes}}
        text = json.dumps({"inputs": [head], "parameters": {"sequence_id": 5, "sequence_start": True}}).encode()
        headers = {"Inference-Header-Content-Length": str(len(text))}
        status, body, _ = server.request("POST", "/v2/models/gru/infer", text + x.tobytes(), headers)
        assert status == 400 and "NaN" in json.loads(body)["error"]
    assert server.infer("gru", np.full((1, 2, 4), 1e300), datatype="FP64")[0] == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/none", 404),
        ("POST", "/v2/models/none/infer", 404),
        ("GET", "/v2/models/gru/versions/2", 404),
        ("GET", "/v2/models/gru/infer", 405),
        ("GET", "/somewhere", 404),
        ("GET", "/../../etc/passwd", 404),
        ("POST", "/v2/models/gru/infer", 400),
    ],
)
def test_other_paths(server: Server, method: str, path: str, status: int) -> None:
    found, body, headers = server.request(method, path)
    assert found == status and json.loads(body)["error"] and headers["content-type"] == "application/json"


def test_metrics(server: Server) -> None:
    server.output("gru", block(3, 2, 4))
    text = server.request("GET", "/metrics")[1].decode()
    assert 'rnnx_requests_total{model="gru",status="200"}' in text
    for name in ("rnnx_request_seconds_bucket", "rnnx_batch_rows_sum", "rnnx_waiting_rows", "rnnx_sequences"):
        assert f"{name}{{" in text


def test_the_page_needs_nothing_from_elsewhere(server: Server) -> None:
    for path, kind in (("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")):
        status, body, headers = server.request("GET", path)
        assert status == 200 and headers["content-type"].startswith(kind)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert b"http://" not in body and b"https://" not in body


# ---- Streams ---------------------------------------------------------------------------------------------------------


def test_streams_go_on_by_token(server: Server, models: Path) -> None:
    x = block(1, 6, 1)
    expected = rnnx.load_model(models / "seq.keras")(x)[0]
    address = f"ws://127.0.0.1:{server.port}/v2/models/seq/stream"
    with connect(address) as stream:
        hello = json.loads(stream.recv())
        assert not hello["resumed"] and hello["input"]["name"] == "x"
        stream.send(x[0, :2].tobytes())
        np.testing.assert_allclose(np.frombuffer(stream.recv(), np.float32)[:, None], expected[:2], atol=1e-6)
        for wrong in ("{", '{"data": [["a"]]}', '{"data": [[1, 2]]}', '{"nothing": 1}', b"abc", b""):
            stream.send(wrong)
            assert json.loads(stream.recv())["error"]
        stream.send(json.dumps({"data": x[0, 2:4].tolist(), "activity": True}))
        answer = json.loads(stream.recv())
        np.testing.assert_allclose(answer["data"], expected[2:4], atol=1e-6)
        assert np.shape(answer["activity"]["forget gate f"]) == (2, 8)
    with connect(f"{address}?token={hello['token']}") as stream:
        assert json.loads(stream.recv())["resumed"]
        stream.send(x[0, 4:].tobytes())
        np.testing.assert_allclose(np.frombuffer(stream.recv(), np.float32)[:, None], expected[4:], atol=1e-6)
        stream.send(json.dumps({"reset": True, "data": x[0, :1].tolist()}))
        np.testing.assert_allclose(json.loads(stream.recv())["data"], expected[:1], atol=1e-6)


def test_gates_of_a_stream_are_those_of_the_layer(server: Server, models: Path) -> None:
    layer = rnnx.load_model(models / "gru.safetensors").layers[-2]
    x = block(1, 5, 4)
    states = layer.stream()
    with connect(f"ws://127.0.0.1:{server.port}/v2/models/gru/stream") as stream:
        stream.recv()
        for part in (x[0, :3], x[0, 3:]):
            stream.send(json.dumps({"data": part.tolist(), "activity": True}))
            found = json.loads(stream.recv())["activity"]["output h"]
            np.testing.assert_allclose(found, states.run(part[None])[0], atol=1e-5)


def test_pages_of_other_sites_and_unknown_models_get_no_stream(server: Server) -> None:
    for path, origin in (("gru", "http://evil.example"), ("none", None)):
        with pytest.raises(InvalidStatus):
            connect(f"ws://127.0.0.1:{server.port}/v2/models/{path}/stream", origin=origin)
    with connect(f"ws://127.0.0.1:{server.port}/v2/models/two/stream") as stream:
        assert "one input" in json.loads(stream.recv())["error"]
        with pytest.raises(ConnectionClosed):
            stream.recv()


# ---- Limits and faults -----------------------------------------------------------------------------------------------


def test_limits(models: Path, start: Callable[..., Server]) -> None:
    server = start(
        models / "gru.safetensors", "--max-body", 4000, "--max-steps", 50, "--max-sequences", 2, "--sequence-idle", 1,
        "--read-timeout", 0.5,
    )  # fmt: skip
    assert server.infer("gru", np.zeros((1, 51, 4)))[0] == 413
    assert server.infer("gru", np.zeros((1, 500, 4)))[0] == 413
    x = np.zeros((1, 1, 4))
    for key in (1, 2):
        assert server.infer("gru", x, parameters={"sequence_id": key, "sequence_start": True})[0] == 200
    status, _, headers = server.infer("gru", x, parameters={"sequence_id": 3, "sequence_start": True})
    assert status == 429 and int(headers["retry-after"]) >= 1
    assert server.infer("gru", x, parameters={"sequence_id": 1})[0] == 200
    eventually(lambda: server.infer("gru", x, parameters={"sequence_id": 3, "sequence_start": True})[0] == 200)
    time.sleep(2.5)
    assert server.infer("gru", x, parameters={"sequence_id": 1})[0] == 400
    with socket.create_connection(("127.0.0.1", server.port)) as slow:  # says more than it sends
        slow.sendall(b"POST /v2/models/gru/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{")
        assert slow.recv(1000).startswith(b"HTTP/1.1 408")
    with socket.create_connection(("127.0.0.1", server.port)) as half:
        half.sendall(b"POST /v2/models/gru/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{")
        half.shutdown(socket.SHUT_WR)
        half.recv(1000)
    for garbage in (b"\x00\xff" * 100, b"GET / HTTP/9.9\r\n\r\n", b"POST /v2/models/gru/infer HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port)) as wrong:
            wrong.sendall(garbage)
            wrong.settimeout(5)
            wrong.recv(1000)
    assert server.get("/v2/health/ready")[0] == 200


def test_many_connections_that_say_nothing(models: Path, start: Callable[..., Server]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(10_000, hard - 200)
    try:
        server = start(models / "gru.safetensors")  # which raises its own limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 200), hard))
        silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(count)]
        assert server.infer("gru", np.zeros((1, 3, 4)))[0] == 200
        silent[0].settimeout(30)
        assert silent[0].recv(1) == b""  # closed by the server
        for one in silent:
            one.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_tokens(models: Path, tmp_path: Path, start: Callable[..., Server]) -> None:
    (tmp_path / "tokens").write_text("first\nsecond\n")
    server = start(models / "gru.safetensors", "--token-file", tmp_path / "tokens")
    assert server.get("/v2/health/live") == (200, {"live": True})
    assert server.get("/v2")[0] == 401
    assert server.get("/v2", Authorization="Bearer wrong")[0] == 401
    assert server.infer("gru", np.zeros((1, 3, 4)))[0] == 401
    for token in ("first", "second"):
        assert server.get("/v2", Authorization=f"Bearer {token}")[0] == 200
    address = f"ws://127.0.0.1:{server.port}/v2/models/gru/stream"
    with connect(address, additional_headers={"Authorization": "Bearer second"}) as stream:
        assert json.loads(stream.recv())["token"]
    with connect(address) as stream:
        stream.send('{"token": "first"}')
        assert json.loads(stream.recv())["token"]
    with connect(address) as stream:
        stream.send('{"token": "wrong"}')
        assert json.loads(stream.recv()) == {"error": "a token is needed"}


def test_overload_is_shed_and_over_at_once(models: Path, start: Callable[..., Server]) -> None:
    server = start(models / "dear.safetensors", "--max-queue", 4, "--threads", 1, "--max-batch", 2)
    x, found = np.zeros((1, 60, 64)), []
    threads = [threading.Thread(target=lambda: found.append(server.infer("dear", x))) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = [status for status, _, _ in found]
    assert set(statuses) == {200, 429} and statuses.count(200) >= 4
    assert all(int(headers["retry-after"]) >= 1 for status, _, headers in found if status == 429)
    assert server.infer("dear", x)[0] == 200


def test_files_are_read_again_while_serving(models: Path, tmp_path: Path, start: Callable[..., Server]) -> None:
    path = tmp_path / "m.safetensors"
    shutil.copy(models / "gru.safetensors", path)
    server = start(path, "--reload-every", 0.2)
    x = block(1, 4, 4)
    model = rnnx.load_model(path)
    assert server.infer("m", x[:, :2], parameters={"sequence_id": 1, "sequence_start": True})[0] == 200
    stop, statuses = threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            statuses.append(server.infer("m", x)[0])

    asking = threading.Thread(target=ask)
    asking.start()

    newer = rnnx.load_model(path)
    newer.set_weights([w * 2 for w in newer.get_weights()])
    newer.save(path)
    eventually(lambda: np.allclose(server.output("m", x), newer(x), atol=1e-6))
    stream = model.stream()  # a sequence goes on with the state it had
    stream.run(x[:, :2])
    state = stream.state
    stream = newer.stream()
    stream.state = state
    found = server.output("m", x[:, 2:], parameters={"sequence_id": 1})
    np.testing.assert_allclose(found, stream.run(x[:, 2:])[:, -1], atol=1e-6)

    path.write_bytes(path.read_bytes()[:-100])  # a damaged file leaves the old model
    eventually(lambda: 'result="failed"} 1.0' in server.request("GET", "/metrics")[1].decode())
    np.testing.assert_allclose(server.output("m", x), newer(x), atol=1e-6)

    other = rnnx.Sequential([rnnx.Input((None, 4), name="x"), rnnx.layers.LSTM(5), rnnx.layers.Dense(2, name="y")])
    other.save(path)
    eventually(lambda: np.allclose(server.output("m", x), other(x), atol=1e-6))
    status, answer, _ = server.infer("m", x, parameters={"sequence_id": 1})
    assert status == 400 and "replaced" in answer["error"]
    stop.set()
    asking.join()
    assert set(statuses) == {200}


def test_a_stop_ends_what_is_at_hand(models: Path, start: Callable[..., Server]) -> None:
    server = start(models / "dear.safetensors", "--threads", 1)
    found: list[Any] = []
    asking = threading.Thread(target=lambda: found.append(server.infer("dear", np.zeros((16, 300, 64)))))
    asking.start()
    time.sleep(0.3)
    server.stop()
    asking.join()
    assert found and found[0][0] == 200


def test_what_cannot_be_served_is_said_at_once(models: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.keras").write_bytes(b"nothing")
    for words, said in (
        ([tmp_path / "none.keras"], "no such file"),
        ([tmp_path / "broken.keras"], "broken.keras"),
        ([models / "gru.safetensors", models / "gru.safetensors"], "two models are named 'gru'"),
        ([models / "gru.safetensors", "--max-batch", 0], "max_batch"),
        ([models / "gru.safetensors", "--host", "127.0.0.1", "--certfile", models / "seq.keras"], "no certificate"),
        ([models / "gru.safetensors", "--workers", 2, "--certfile", models / "seq.keras"], "no certificate"),
        ([models / "gru.safetensors", "--keyfile", models / "seq.keras"], "needs a `certfile`"),
    ):
        with pytest.raises(RuntimeError, match="rnnx: .*" + said):
            Server(*words)
    with pytest.raises(ValueError, match="65535"):
        serve(models / "gru.safetensors", port=99999)


# ---- Several processes -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="one process there")
def test_sequences_stay_with_their_process(models: Path, start: Callable[..., Server]) -> None:
    server = start(models / "seq.keras", "--workers", 2)
    x = block(12, 6, 1)
    expected = rnnx.load_model(models / "seq.keras")(x)
    for t in range(6):
        for row in range(12):  # each request is a connection of its own, to either process
            parameters = {"sequence_id": f"s{row}", "sequence_start": t == 0, "sequence_end": t == 5}
            found = server.output("seq", x[row : row + 1, t : t + 1], parameters=parameters)
            np.testing.assert_allclose(found[0], expected[row, t : t + 1], atol=1e-6)
    text = server.request("GET", "/metrics")[1].decode()
    assert 'rnnx_requests_total{model="seq",status="200"} 72.0' in text
    assert server.infer("seq", x[:1], parameters={"sequence_id": "s0"})[0] == 400
    assert server.stop() in (0, -15)


@pytest.mark.skipif(os.name == "nt", reason="one process there")
def test_streams_go_on_in_another_process(models: Path, start: Callable[..., Server]) -> None:
    server = start(models / "seq.keras", "--workers", 2)
    x = block(1, 12, 1)
    expected = rnnx.load_model(models / "seq.keras")(x)[0]
    address, token, processes = f"ws://127.0.0.1:{server.port}/v2/models/seq/stream", "", set()
    for t in range(12):
        with connect(f"{address}?token={token}" if token else address) as stream:
            hello = json.loads(stream.recv())
            assert hello["resumed"] == (t > 0)
            token = hello["token"]
            processes.add(token.partition(".")[0])
            stream.send(x[0, t : t + 1].tobytes())
            np.testing.assert_allclose(np.frombuffer(stream.recv(), np.float32), expected[t], atol=1e-6)
    for wrong in ("0.nothing", "1.nothing", "7.x", "x"):
        with connect(f"{address}?token={wrong}") as stream:
            assert json.loads(stream.recv()).get("resumed") is False
    assert processes <= {"0", "1"}


@pytest.mark.skipif(os.name == "nt", reason="one process there")
def test_a_process_that_dies_is_replaced(models: Path, start: Callable[..., Server]) -> None:
    server = start(models / "seq.keras", "--workers", 2)
    x = block(1, 2, 1)
    keys = [f"s{k}" for k in range(8)]
    for key in keys:
        server.output("seq", x, parameters={"sequence_id": key, "sequence_start": True})
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    os.kill(int(children[-1]), 9)
    statuses = set()

    def all_answer() -> bool:
        try:
            for key in keys:
                statuses.add(server.infer("seq", x, parameters={"sequence_id": key})[0])
        except OSError:
            return False
        return server.infer("seq", x)[0] == 200 and statuses <= {200, 400, 503}

    eventually(all_answer)
    eventually(lambda: all(
        server.infer("seq", x, parameters={"sequence_id": key, "sequence_start": True})[0] == 200 for key in keys
    ))  # fmt: skip
