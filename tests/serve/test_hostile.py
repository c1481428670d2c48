"""Clients that mean harm, and models that few have."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import rnnx
from rnnx import layers
from rnnx.serve.metrics import Metrics
from rnnx.serve.network import Network
from rnnx.serve.protocol import numbers_of, read_request, write_response
from rnnx.serve.refusal import Refusal
from rnnx.serve.repository import Repository, stamp_of
from rnnx.serve.settings import Settings
from tests.serve.conftest import Server
from tests.serve.test_server import block, eventually

pytestmark = pytest.mark.serve
HEAD = b"POST /v2/models/gru/infer HTTP/1.1\r\nhost: localhost\r\n"


# ---- Numbers ---------------------------------------------------------------------------------------------------------


def test_requests_to_stateful_models_know_nothing_of_each_other(tmp_path: Path) -> None:
    inner = layers.Bidirectional(layers.LSTM(3, stateful=True, return_sequences=True))
    model = rnnx.Sequential([rnnx.Input(batch_shape=(1, None, 2)), inner, layers.GRU(3, stateful=True)])
    model.save(tmp_path / "m.safetensors")
    network = Network(tmp_path / "m.safetensors", 100)  # which has run it, to see what it costs
    x = block(1, 4, 2)
    expected = model(x)  # the first call begins at zeros
    for _ in range(2):
        np.testing.assert_allclose(network.run([x])[0], expected, atol=1e-6)
    assert not np.allclose(model(x), expected)


def test_outputs_of_one_name_all_have_names_of_their_own(tmp_path: Path) -> None:
    x = rnnx.Input((None, 4), name="x")
    twice, other = layers.Dense(2, name="o"), layers.Dense(2, name="o_1")
    h = layers.GRU(5, return_sequences=True)(x)
    rnnx.Model(x, [twice(h), twice(layers.Dense(5)(h)), other(h)]).save(tmp_path / "m.keras")
    assert [info.name for info in Network(tmp_path / "m.keras", 100).outputs] == ["o_0", "o_2", "o_1"]


def test_models_of_strings_are_refused_with_their_input(tmp_path: Path) -> None:
    words = layers.StringLookup(vocabulary=["a", "b"])
    rnnx.Sequential([rnnx.Input((1,), dtype="string", name="word"), words]).save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="input 'word' has dtype object"):
        Network(tmp_path / "m.keras", 100)


def test_bytes_are_the_rule_for_outputs_that_say_nothing() -> None:
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}
    outputs = [{"name": "a"}, {"name": "b", "parameters": {"binary_data": False}}]
    body = {"inputs": [tensor], "outputs": outputs, "parameters": {"binary_data_output": True}}
    request = read_request(json.dumps(body).encode(), None)
    assert request.wanted == {"a": True, "b": False}
    answer, length = write_response("m", request, {"a": np.float32([1]), "b": np.float32([2])})
    assert answer[length:] == np.float32([1]).tobytes()


@pytest.mark.parametrize(
    ("datatype", "number"), [("INT64", "9223372036854775808.0"), ("UINT64", "18446744073709551616.0")]
)
def test_the_first_number_beyond_the_range_is_refused(datatype: str, number: str) -> None:
    text = f'{{"inputs": [{{"name": "x", "shape": [1], "datatype": "{datatype}", "data": [{number}]}}]}}'
    with pytest.raises(Refusal, match="out of the range"):
        read_request(text.encode(), None)


@pytest.mark.parametrize(
    "data", ["[" + "[]," * 5000 + "[]]", "[" * 90000 + "]" * 90000, '[{"a": 1}]', "[1e999]", '["1"]']
)
def test_lists_that_hold_no_numbers(data: str) -> None:
    import msgspec

    assert numbers_of(msgspec.Raw(data.encode()), 1000).dtype.kind == "O"


HUGE = 10**4000  # more digits than Python turns into text when two are multiplied


@pytest.mark.parametrize(
    ("tensor", "parameters", "said"),
    [
        ({"shape": [HUGE, HUGE]}, {}, "`shape` must have"),
        ({"shape": [HUGE, HUGE], "data": None, "parameters": {"binary_data_size": 4}}, {}, "`shape` must have"),
        ({"data": None, "parameters": {"binary_data_size": HUGE}}, {}, "`binary_data_size` is 1000"),
        ({}, {"timeout": 10**400}, "`timeout` must be"),
        ({}, {"timeout": "a" * 100_000}, "`timeout` must be"),
        ({}, {"binary_data_output": "a" * 100_000}, "must be true or false"),
        ({}, {"sequence_id": 2**64}, "`sequence_id` must be"),
        ({}, {"sequence_id": -(2**63) - 1}, "`sequence_id` must be"),
    ],
)
def test_numbers_and_words_without_measure(tensor: dict[str, Any], parameters: dict[str, Any], said: str) -> None:
    whole = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1], **tensor}
    body = {"inputs": [{k: v for k, v in whole.items() if v is not None}], "parameters": parameters}
    with pytest.raises(Refusal, match=said) as refused:
        read_request(json.dumps(body).encode(), None)
    assert refused.value.status == 400 and len(refused.value.message) < 500


@pytest.mark.parametrize("key", [2**64 - 1, -(2**63), 1, "a" * 256])
def test_ids_at_their_limits(key: Any) -> None:
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}
    body = {"inputs": [tensor], "parameters": {"sequence_id": key, "timeout": 2**64 - 1}}
    assert read_request(json.dumps(body).encode(), None).sequence == key


def test_numbers_beyond_half_precision_are_infinite_without_a_warning() -> None:
    tensor = {"name": "x", "shape": [2], "datatype": "FP16", "data": [1, 70000]}
    request = read_request(json.dumps({"inputs": [tensor]}).encode(), None)
    np.testing.assert_array_equal(request.tensors["x"], np.float16([1, np.inf]))


@pytest.mark.parametrize("more", [{"data": []}, {"parameters": {"binary_data_size": 0}}])
def test_an_empty_tensor_of_a_shape_that_no_array_has(more: dict[str, Any]) -> None:
    tensor = {"name": "x", "shape": [0, 2**62, 2**62], "datatype": "FP32", **more}
    with pytest.raises(Refusal, match="product"):
        read_request(json.dumps({"inputs": [tensor]}).encode(), None)


# ---- Sequences and streams -------------------------------------------------------------------------------------------


def test_a_block_that_is_refused_changes_no_sequence(server: Server, models: Path) -> None:
    model = rnnx.load_model(models / "ids.safetensors")
    parameters = {"sequence_id": "bad", "sequence_start": True}
    assert server.infer("ids", [[1, 99]], "ids", "INT64", parameters=parameters)[0] == 400
    status, answer, _ = server.infer("ids", [[1]], "ids", "INT64", parameters={"sequence_id": "bad"})
    assert status == 400 and "not alive" in answer["error"]  # it has not begun
    with connect(f"ws://127.0.0.1:{server.port}/v2/models/ids/stream") as stream:
        stream.recv()
        stream.send('{"data": [1, 8]}')
        stream.recv()
        for wrong in (
            '{"data": [3, 99]}',
            '{"reset": true, "data": [99]}',
            '{"data": ' + "[" * 90000,
            '{"data": [[3]]}',
        ):
            stream.send(wrong)
            assert json.loads(stream.recv())["error"]
        stream.send('{"data": [3]}')
        np.testing.assert_allclose(json.loads(stream.recv())["data"], model(np.array([[1, 8, 3]])), atol=1e-6)


def test_a_beginning_that_is_refused_leaves_the_sequence_of_its_id(server: Server, models: Path) -> None:
    model = rnnx.load_model(models / "ids.safetensors")
    for ids, start, status in (([1, 8], True, 200), ([1, 99], True, 400), ([3], False, 200)):
        parameters = {"sequence_id": "again", "sequence_start": start}
        found, answer, _ = server.infer("ids", [ids], "ids", "INT64", parameters=parameters)
        assert found == status, answer
    np.testing.assert_allclose([answer["outputs"][0]["data"]], model(np.array([[1, 8, 3]])), atol=1e-6)


def test_outputs_that_json_lacks_leave_the_sequence_where_it_was(tmp_path: Path, start: Callable[..., Server]) -> None:
    model = rnnx.Sequential([rnnx.Input((None, 1), name="x"), layers.SimpleRNN(1, "relu", name="y")])
    model.set_weights([np.float32([[1]]), np.float32([[1]]), np.float32([0])])  # a sum
    model.save(tmp_path / "sum.safetensors")
    server = start(tmp_path / "sum.safetensors")
    big = float(np.finfo(np.float32).max)
    with connect(f"ws://127.0.0.1:{server.port}/v2/models/sum/stream") as stream:
        stream.recv()
        for data, expected in (([[1.0]], [[1.0]]), ([[big], [big]], None), ([[2.0]], [[3.0]])):
            stream.send(json.dumps({"data": data}))
            assert json.loads(stream.recv()).get("data") == expected
    for k, (data, status, total) in enumerate(((1.0, 200, 1.0), (big, 200, big), (big, 500, 0), (0.0, 200, big))):
        parameters = {"sequence_id": 1, "sequence_start": k == 0}
        found, answer, _ = server.infer("sum", [[[data]]], parameters=parameters)
        assert found == status and (status == 500 or answer["outputs"][0]["data"] == [total])


def test_sequences_wait_no_longer_than_requests(models: Path, start: Callable[..., Server]) -> None:
    path = models / "seq.keras"
    server = start(path, "--threads", 1, "--max-queue", 2)
    x, found = np.zeros((1, 50000, 1)), []

    def ask(k: int) -> None:
        parameters = {"sequence_id": k + 1, "sequence_start": True, "timeout": 1000}
        found.append(server.infer("seq", x, parameters=parameters)[0])

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) <= {200, 429, 504} and 200 in found and found.count(200) < 6
    assert server.infer("seq", np.zeros((1, 1, 1)))[0] == 200


def test_a_first_message_that_is_no_token(models: Path, tmp_path: Path, start: Callable[..., Server]) -> None:
    (tmp_path / "tokens").write_text("secret\n")
    server = start(models / "gru.safetensors", "--token-file", tmp_path / "tokens", "--read-timeout", 0.5)
    address = f"ws://127.0.0.1:{server.port}/v2/models/gru/stream"
    for first in (b"\x00", "[" * 90000, "{}", None):  # None: says nothing
        with connect(address) as stream:
            if first is not None:
                stream.send(first)
            assert json.loads(stream.recv(timeout=20)) == {"error": "a token is needed"}
            with pytest.raises(ConnectionClosed):
                stream.recv(timeout=20)
    assert server.get("/v2", Authorization="bearer secret")[0] == 200  # a scheme has no case
    with pytest.raises(InvalidStatus):
        connect(address, origin="http://[")  # type: ignore[arg-type]
    assert b"Traceback" not in (server.process.stderr.read() or b"")  # type: ignore[union-attr]


# ---- Connections -----------------------------------------------------------------------------------------------------


def test_heads_that_do_not_end(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        begun = time.monotonic()
        slow.sendall(b"GET /v2 HTTP/1.1\r\nhost: localhost\r\n")
        with pytest.raises(OSError):
            while time.monotonic() - begun < 30:
                slow.sendall(b"x: y\r\n")
                time.sleep(0.2)
    with socket.create_connection(("127.0.0.1", server.port)) as long:
        with pytest.raises(OSError):
            for _ in range(1000):
                long.sendall(b"x: " + b"y" * 65536 + b"\r\n" if _ else b"GET /v2 HTTP/1.1\r\n")
    with connect(f"ws://127.0.0.1:{server.port}/v2/models/gru/stream") as stream:
        stream.recv()
        time.sleep(max(0.0, 10.5 - (time.monotonic() - begun)))  # which a stream may
        stream.send('{"data": [[1, 2, 3, 4]]}')
        assert "data" in json.loads(stream.recv())


def test_bodies_on_their_way_count_as_held(models: Path, start: Callable[..., Server]) -> None:
    server = start(models / "gru.safetensors", "--max-pending", 100000, "--sequence-idle", "inf", "--max-sequences", 1)
    part = HEAD + b"content-length: 90000\r\n\r\n" + b" " * 60000
    with socket.create_connection(("127.0.0.1", server.port)) as one:
        one.sendall(part)
        time.sleep(0.5)
        with socket.create_connection(("127.0.0.1", server.port)) as two:
            two.sendall(part)
            assert two.recv(1000).startswith(b"HTTP/1.1 429")
    eventually(lambda: server.infer("gru", np.zeros((1, 2000, 4)))[0] == 200)
    for key, expected in ((1, 200), (2, 429)):  # a time that never comes is told all the same
        parameters = {"sequence_id": key, "sequence_start": True}
        status, _, headers = server.infer("gru", np.zeros((1, 1, 4)), parameters=parameters)
        assert status == expected and (status == 200 or int(headers["retry-after"]) > 1)


# ---- Files and processes ---------------------------------------------------------------------------------------------


def test_copies_of_files_that_were_replaced_go(models: Path, tmp_path: Path, start: Callable[..., Server]) -> None:
    path, temporary = tmp_path / "m.safetensors", tmp_path / "temporary"
    temporary.mkdir()
    model = rnnx.load_model(models / "gru.safetensors")
    model.save(path)
    os.environ["TMPDIR"] = str(temporary)
    try:
        server = start(path, "--reload-every", 0.1)
    finally:
        del os.environ["TMPDIR"]
    x = block(1, 3, 4)
    for factor in (2, 0.25, 3):
        model.set_weights([w * np.float32(factor) for w in model.get_weights()])
        model.save(path)
        eventually(lambda: np.allclose(server.output("m", x), model(x), atol=1e-6))
        path.write_bytes(path.read_bytes()[:-50])
        eventually(lambda: 'result="failed"} 0' not in server.request("GET", "/metrics")[1].decode())
    eventually(lambda: len(list(temporary.glob("rnnx-serve-*/*.safetensors"))) <= 1)


@pytest.mark.skipif(os.name == "nt", reason="one process there")
def test_the_dead_have_no_sequences(models: Path, start: Callable[..., Server]) -> None:
    server = start(models / "seq.keras", "--workers", 2)
    for key in range(8):
        server.output("seq", block(1, 2, 1), parameters={"sequence_id": f"s{key}", "sequence_start": True})

    def alive() -> float:
        found = re.search(r'rnnx_sequences{model="seq"} (\S+)', server.request("GET", "/metrics")[1].decode())
        return float(found[1]) if found else 0.0

    assert alive() == 8
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    workers = [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    time.sleep(1)  # now they are asked whether they live
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    killed = time.monotonic()

    def none_is_left() -> bool:
        try:
            return alive() == 0
        except OSError:
            return False

    eventually(none_is_left)
    assert time.monotonic() - killed < 40, "the dead were waited for"


def test_processes_share_packed_weights(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    rnnx.Sequential([rnnx.Input((None, 4)), layers.LSTM(8)]).save(tmp_path / "m.safetensors")

    async def scenario() -> None:
        paths = {"m": tmp_path / "m.safetensors"}
        repositories = [Repository(paths, Settings(), Metrics(), folder) for _ in range(2)]
        packed = [each.models["m"].network.model.layers[0].packed()[1] for each in repositories]
        assert all(not panels.flags.writeable for part in packed for panels in part.made_panels())
        (first,) = folder.glob("*.packed")
        rnnx.Sequential([rnnx.Input((None, 4)), layers.LSTM(9)]).save(tmp_path / "m.safetensors")
        for each in repositories:
            served = each.models["m"]
            await served.reload(stamp_of(served.path), each.executor)
            each.close()
        (second,) = folder.glob("*.packed")
        assert first != second and len(list(folder.iterdir())) == 2

    asyncio.run(scenario())
