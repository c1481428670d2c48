"""Hours of mixed traffic against ``rnnx serve``: every answer is checked, and its memory watched.

Clients side by side: requests in JSON and in bytes, sequences (every tenth is never closed), streams over a WebSocket
that break off and go on by their token, files that are replaced (every fourth time by a damaged one), garbage, and
clients that leave before their answer. What must be answered must be right; what is wrong must get a 4xx and one
sentence; the log must hold no traceback.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import struct
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from processes import HOST, memory, open_files, server
from websockets.sync.client import connect

import rnnx
from rnnx import layers

LENGTHS = (1, 7, 20, 50)
TOLERANCE = 1e-5
SAMPLE = 5.0  # seconds between looks at the memory
SETTLED = 0.2  # of the run, after which memory must stay
GROWTH = 0.03  # share by which it may
JSON_LENGTH = "Inference-Header-Content-Length"
UPGRADE = (
    b"GET /v2/models/steps/stream HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class Wrong(AssertionError):
    """An answer that is not the right one."""


def write_models(folder: Path) -> None:
    """Networks of four kinds: small, with an output for each step, dear, and one that is replaced."""
    chains: dict[str, list[Any]] = {
        "small": [rnnx.Input((None, 4), name="x"), layers.GRU(24), layers.Dense(2, name="y")],
        "steps": [
            rnnx.Input((None, 3), name="x"), layers.LSTM(16, return_sequences=True), layers.Dense(2, name="y"),
        ],
        "dear": [
            rnnx.Input((None, 32), name="x"), layers.LSTM(192, return_sequences=True), layers.LSTM(192),
            layers.Dense(2, name="y"),
        ],
        "replaced": [rnnx.Input((None, 4), name="x"), layers.LSTM(32), layers.Dense(2, name="y")],
    }  # fmt: skip
    for name, chain in chains.items():
        rnnx.Sequential(chain).save(folder / f"{name}.safetensors")


class Client:
    """What one client does again and again, and what came of it."""

    def __init__(self, folder: Path, port: int, seed: int):
        self.folder, self.port = folder, port
        self.counts: Counter[str] = Counter()
        self.times: list[float] = []
        self.rng, self.random = np.random.default_rng(seed), random.Random(seed)
        self._connection: http.client.HTTPConnection | None = None
        self._models: dict[str, Any] = {}

    def model(self, name: str) -> Any:
        if name not in self._models:
            self._models[name] = rnnx.load_model(self.folder / f"{name}.safetensors")
        return self._models[name]

    def block(self, *shape: int) -> Any:
        return self.rng.normal(size=shape).astype(np.float32)

    def post(self, name: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes, Any]:
        """Status, body and headers of an answer, over a connection that stays open."""
        begun = time.perf_counter()
        for again in (True, False):
            fresh = self._connection is None
            if self._connection is None:
                self._connection = http.client.HTTPConnection(HOST, self.port, timeout=120)
            try:
                self._connection.request("POST", f"/v2/models/{name}/infer", body, headers)
                answer = self._connection.getresponse()
                found = answer.status, answer.read(), answer.headers
                break
            except (ConnectionError, http.client.RemoteDisconnected):
                self._connection.close()
                self._connection = None
                if fresh or not again:  # one that was idle too long is closed, and that is no error
                    raise
        self.times.append(time.perf_counter() - begun)
        return found

    def infer(self, name: str, x: Any, binary: bool = False, **parameters: Any) -> tuple[int, Any]:
        """The status, and the output or the error."""
        head: dict[str, Any] = {"name": "x", "shape": x.shape, "datatype": "FP32"}
        if binary:
            head["parameters"] = {"binary_data_size": x.nbytes}
            parameters["binary_data_output"] = True
        else:
            head["data"] = x.ravel().tolist()
        body = json.dumps({"inputs": [head], "parameters": parameters}).encode()
        headers = {JSON_LENGTH: str(len(body))} if binary else {}
        status, answer, headers = self.post(name, body + (x.tobytes() if binary else b""), headers)
        self.counts["requests"] += 1
        if status != 200:
            return status, json.loads(answer)["error"]
        cut = int(headers.get(JSON_LENGTH, len(answer)))
        output = json.loads(answer[:cut])["outputs"][0]
        data = np.frombuffer(answer[cut:], np.float32) if binary else np.array(output["data"], np.float32)
        return 200, data.reshape(output["shape"])

    def check(self, what: str, found: tuple[int, Any], *expected: Any) -> None:
        status, output = found
        if status != 200:
            raise Wrong(f"{what}: {status} {output}")
        if not any(e.shape == output.shape and np.allclose(e, output, atol=TOLERANCE) for e in expected):
            raise Wrong(f"{what}: the numbers are wrong")

    # ---- What clients do ---------------------------------------------------------------------------------------------

    def small_json(self) -> None:
        x = self.block(self.random.choice((1, 3)), self.random.choice(LENGTHS), 4)
        self.check("JSON", self.infer("small", x), self.model("small")(x))

    def dear_bytes(self) -> None:
        x = self.block(1, self.random.choice(LENGTHS), 32)
        self.check("bytes", self.infer("dear", x, binary=True), self.model("dear")(x))

    def sequence(self) -> None:
        name, features = self.random.choice((("steps", 3), ("small", 4)))
        key = self.random.choice((str, int))(self.random.getrandbits(60) + 1)
        parts = [self.block(1, self.random.randrange(1, 6), features) for _ in range(self.random.randrange(2, 8))]
        expected = self.model(name)(np.concatenate(parts, 1))
        left = self.random.random() < 0.1
        outputs = []
        for k, part in enumerate(parts):
            last = k == len(parts) - 1
            found = self.infer(
                name, part, self.random.random() < 0.5, sequence_id=key, sequence_start=k == 0,
                sequence_end=last and not left,
            )  # fmt: skip
            if found[0] == 429 and k == 0:  # those that were never closed are in the way
                self.counts["shed"] += 1
                time.sleep(0.5)
                return
            outputs.append(found[1])
            if found[0] != 200:
                raise Wrong(f"sequence: {found}")
        whole = np.concatenate(outputs, 1) if name == "steps" else outputs[-1]
        self.check("sequence", (200, whole), expected)
        self.counts["sequences left open"] += left

    def stream(self) -> None:
        x = self.block(24, 3)
        expected = self.model("steps")(x[None])[0]
        address, token, at = f"ws://{HOST}:{self.port}/v2/models/steps/stream", "", 0
        while at < len(x):
            with connect(f"{address}?token={token}" if token else address) as socket_:
                hello = json.loads(socket_.recv(timeout=60))
                if "error" in hello:  # as many streams as may live
                    self.counts["shed"] += 1
                    time.sleep(0.5)
                    return
                if hello["resumed"] != bool(token):
                    raise Wrong("stream: a token was not honoured")
                token = hello["token"]
                for _ in range(self.random.randrange(1, 4)):
                    part = x[at : at + self.random.randrange(1, 6)]
                    if not len(part):
                        break
                    if self.random.random() < 0.5:
                        socket_.send(part.tobytes())
                        y = np.frombuffer(socket_.recv(timeout=60), np.float32).reshape(-1, 2)
                    else:
                        socket_.send(json.dumps({"data": part.tolist(), "activity": self.random.random() < 0.2}))
                        y = np.array(json.loads(socket_.recv(timeout=60))["data"], np.float32)
                    self.counts["messages"] += 1
                    self.check("stream", (200, y), expected[at : at + len(part)])
                    at += len(part)

    def replace(self) -> None:
        """Write another version of a file; answers meanwhile are those of the one or the other."""
        path = self.folder / "replaced.safetensors"
        model = self._models.setdefault("replaced", rnnx.load_model(path))
        x = self.block(1, 6, 4)
        before = model(x)
        self.counts["replaced"] += 1
        if self.counts["replaced"] % 4 == 0:
            whole = path.read_bytes()
            path.write_bytes(whole[:-200])
            for _ in range(20):
                self.check("beside a damaged file", self.infer("replaced", x), before)
                time.sleep(0.1)
            path.write_bytes(whole)
            return
        model.set_weights([w + np.float32(0.01) * self.block(*w.shape) for w in model.get_weights()])
        model.save(path)
        after, until = model(x), time.monotonic() + 60
        while True:
            found = self.infer("replaced", x)
            self.check("while a file is replaced", found, before, after)
            if np.allclose(found[1], after, atol=TOLERANCE):
                break
            if time.monotonic() > until:
                raise Wrong("a new file was not read within a minute")
            time.sleep(0.05)

    def garbage(self) -> None:
        """Requests that are none: a 4xx and a sentence, or the end of the connection."""
        x = self.block(1, 3, 4)
        good = {"name": "x", "shape": [1, 3, 4], "datatype": "FP32", "data": x.ravel().tolist()}
        wrong = self.random.choice(
            (
                b"", b"{", self.random.randbytes(200), b"[" * 50000, json.dumps({"inputs": []}).encode(),
                json.dumps({"inputs": [{**good, "shape": [1, 3, 5]}]}).encode(),
                json.dumps({"inputs": [{**good, "shape": [2**40, 2**40, 4]}]}).encode(),
                json.dumps({"inputs": [{**good, "data": [float("nan")] * 12}]}).encode(),
                json.dumps({"inputs": [{**good, "name": "y"}]}).encode(),
                json.dumps({"inputs": [good], "parameters": {"sequence_id": "never-began"}}).encode(),
            )
        )  # fmt: skip
        status, answer, _ = self.post("small", wrong, {})
        if not 400 <= status < 500 or not json.loads(answer)["error"]:
            raise Wrong(f"garbage: {status} {answer[:200]!r}")
        with socket.create_connection((HOST, self.port), timeout=60) as raw:
            raw.sendall(self.random.randbytes(300) + b"\r\n\r\n")
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(4096):
                pass
        self.counts["garbage"] += 2

    def leave(self) -> None:
        """Begin something and go, politely or not."""
        x = self.block(1, 20, 32)
        tensor = {"name": "x", "shape": x.shape, "datatype": "FP32", "data": x.ravel().tolist()}
        body = json.dumps({"inputs": [tensor]}).encode()
        head = b"POST /v2/models/dear/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
        whole = head % len(body) + body
        with socket.create_connection((HOST, self.port), timeout=60) as raw:
            raw.sendall(whole[: self.random.choice((10, 80, 500, len(whole)))])
            if self.random.random() < 0.5:  # a reset
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            time.sleep(self.random.choice((0.0, 0.002)))
        with socket.create_connection((HOST, self.port), timeout=60) as raw:  # a stream without a last word
            raw.sendall(UPGRADE)
            if not raw.recv(4096).startswith(b"HTTP/1.1 101"):
                raise Wrong("stream: no upgrade")
            raw.sendall(b"\x82\x8c" + bytes(4) + self.block(1, 3).tobytes()[: self.random.choice((3, 12))])
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.counts["clients that left"] += 2


PLAN: tuple[tuple[str, int, float], ...] = (  # what, clients, seconds between two turns
    ("small_json", 2, 0.01), ("dear_bytes", 2, 0.02), ("sequence", 2, 0.01), ("stream", 2, 0.02), ("replace", 1, 2.0),
    ("garbage", 1, 0.1), ("leave", 1, 0.1),
)  # fmt: skip


def soak(minutes: float, workers: int) -> bool:
    """Run it and print what came of it; whether all was well."""
    clients: list[Client] = []
    faults: list[str] = []
    stop = threading.Event()
    with tempfile.TemporaryDirectory() as place:
        folder, log = Path(place), Path(place) / "log"
        write_models(folder)
        words = ["rnnx", "serve", *sorted(folder.glob("*.safetensors")), "--workers", workers]
        limits = ["--reload-every", 0.5, "--max-sequences", 1000, "--sequence-idle", 10]
        with server([*words, *limits], log) as (process, port):
            samples: list[tuple[float, float, int]] = []

            def work(turn: Callable[[], None], pause: float) -> None:
                while not stop.is_set():
                    try:
                        turn()
                    except Exception:
                        faults.append(traceback.format_exc())
                    stop.wait(pause)

            threads = []
            for name, count, pause in PLAN:
                for _ in range(count):
                    clients.append(Client(folder, port, len(clients)))
                    threads.append(threading.Thread(target=work, args=(getattr(clients[-1], name), pause)))
            begun = time.monotonic()
            for thread in threads:
                thread.start()
            while time.monotonic() < begun + 60 * minutes and process.poll() is None:
                time.sleep(min(SAMPLE, 6 * minutes))
                samples.append((time.monotonic() - begun, memory(process.pid), open_files(process.pid)))
            stop.set()
            for thread in threads:
                thread.join()
            seconds = time.monotonic() - begun
        said = log.read_text()
    counts = sum((client.counts for client in clients), Counter())
    taken = np.concatenate([client.times for client in clients]) * 1e3
    settled = [m for at, m, _ in samples if at >= SETTLED * seconds] or [0.0]
    third = max(1, len(settled) // 3)
    first, last = float(np.median(settled[:third])), float(np.median(settled[-third:]))
    traces = said.count('"trace"') + said.count("Traceback")
    print(f"{seconds / 60:.1f} minutes, {workers} process(es)")
    for what in ("requests", "messages", "sequences left open", "replaced", "garbage", "clients that left", "shed"):
        print(f"{what:22} {counts[what]:10,}")
    print(f"{'errors':22} {len(faults):10,}\n{'tracebacks in the log':22} {traces:10,}")
    print(f"latency ms: p50 {np.quantile(taken, 0.5):.1f}, p99 {np.quantile(taken, 0.99):.1f}")
    print(
        f"memory MB: {first:.1f} after {SETTLED:.0%} of the time, {last:.1f} at the end, most {max(settled):.1f}; "
        f"open files at most {max(f for _, _, f in samples)}, at the end {samples[-1][2]}"
    )
    for fault in faults[:5]:
        print(fault)
    for line in [line for line in said.splitlines() if "trace" in line.lower()][:5]:
        print(line[:2000])
    return not faults and not traces and (minutes < 5 or last <= first * (1 + GROWTH))
