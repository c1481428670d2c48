"""Leave the tests of this folder out unless a run says ``-m serve``; then a missing package is an error."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return None if "serve" in config.option.markexpr or collection_path.suffix != ".py" else True


def write_models(folder: Path) -> None:
    """A classifier, a network with an output for each step, one of ids, one of two inputs, and a dear one."""
    chains = {
        "gru.safetensors": [rnnx.Input((None, 4), name="x"), layers.GRU(24), layers.Dense(2, name="y")],
        "seq.keras": [
            rnnx.Input((None, 1), name="x"),
            layers.LSTM(8, return_sequences=True),
            layers.Dense(1, name="y"),
        ],
        "ids.safetensors": [rnnx.Input((None,), name="ids"), layers.Embedding(9, 4), layers.GRU(3)],
        "dear.safetensors": [
            rnnx.Input((None, 64), name="x"),
            layers.Bidirectional(layers.LSTM(256, return_sequences=True)),
            layers.Bidirectional(layers.LSTM(256)),
            layers.Dense(1, name="y"),
        ],
    }
    for name, chain in chains.items():
        rnnx.Sequential(chain).save(folder / name)
    a, b = rnnx.Input((None, 3), name="a"), rnnx.Input((5,), name="b")
    h = layers.LSTM(8)(a)
    outputs = [layers.Dense(2, name="o1")(layers.Concatenate()([h, b])), layers.Dense(3, name="o2")(h)]
    rnnx.Model([a, b], outputs).save(folder / "two.keras")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_models(folder)
    return folder


class Server:
    """A server in a process of its own."""

    def __init__(self, *words: Any, before: str = ""):
        """``before`` is Python that runs first in its process."""
        program = ["-c", f"{before}\nimport rnnx.cli, sys; sys.exit(rnnx.cli.main())"] if before else ["-m", "rnnx"]
        self.process = subprocess.Popen(
            [sys.executable, *program, "serve", *map(str, words), "--port", "0"],
            stderr=subprocess.PIPE,
            env=dict(os.environ, RNNX_SERVE_TOKEN=""),
        )
        assert self.process.stderr is not None
        self.lines: list[str] = []
        for line in iter(self.process.stderr.readline, b""):
            self.lines.append(line.decode())
            if found := re.search(r"running on https?://127.0.0.1:(\d+)", self.lines[-1]):
                self.port = int(found[1])
                os.set_blocking(self.process.stderr.fileno(), False)
                break
        else:
            self.process.wait()
            self.process.stderr.close()
            raise RuntimeError("".join(self.lines))
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                if self.get("/v2/health/ready")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        self.stop()
        raise RuntimeError("the server is not ready")

    def request(self, method: str, path: str, body: Any = None, headers: Any = None) -> tuple[int, bytes, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        status, body, _ = self.request("GET", path, headers=headers)
        return status, json.loads(body)

    def infer(self, model: str, x: Any, name: str = "x", datatype: str = "FP32", **more: Any) -> tuple[int, Any, Any]:
        x = np.asarray(x)
        tensor = {"name": name, "shape": x.shape, "datatype": datatype, "data": x.ravel().tolist()}
        body = json.dumps({"inputs": [tensor], **more})
        status, answer, headers = self.request("POST", f"/v2/models/{model}/infer", body)
        return status, json.loads(answer), headers

    def output(self, model: str, x: Any, **more: Any) -> Any:
        status, answer, _ = self.infer(model, x, **more)
        assert status == 200, answer
        return np.array(answer["outputs"][0]["data"], np.float32).reshape(answer["outputs"][0]["shape"])

    def stop(self) -> int:
        """End it as a service manager does, and give its status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(40)
        finally:
            self.process.kill()
            self.process.wait()
            assert self.process.stderr is not None
            self.process.stderr.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """Starts servers that end with the test."""
    servers: list[Server] = []

    def begin(*words: Any, before: str = "") -> Server:
        servers.append(Server(*words, before=before))
        return servers[-1]

    yield begin
    for server in servers:
        if server.process.poll() is None:
            server.stop()
        assert server.process.stderr is not None
        server.process.stderr.close()


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    running = Server(*sorted(models.iterdir()))
    yield running
    running.stop()
