"""The examples of services: their answers are those of the model."""

from __future__ import annotations

import runpy
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx

pytestmark = pytest.mark.serve
FOLDER = Path(__file__).parents[2] / "examples/services"


def test_fastapi(models: Path, monkeypatch: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the test client's own packages
        from fastapi.testclient import TestClient
    path = models / "gru.safetensors"
    monkeypatch.setenv("RNNX_MODEL", str(path))
    client = TestClient(runpy.run_path(str(FOLDER / "fastapi_app.py"))["app"])
    x = np.random.default_rng(3).normal(size=(6, 4)).astype(np.float32)
    model = rnnx.load_model(path)
    outputs = client.post("/score", json={"sequences": [x.tolist(), x[:2].tolist()]}).json()["outputs"]
    np.testing.assert_allclose(outputs, np.concatenate([model(x[None]), model(x[None, :2])]), atol=1e-6)
    stream = client.post("/streams").json()["id"]
    for part in (x[:2], x[2:]):
        outputs = client.post(f"/streams/{stream}", json={"steps": part.tolist()}).json()["outputs"]
    np.testing.assert_allclose(outputs[-1], model(x[None])[0], atol=1e-6)
    assert client.post(f"/streams/{stream}", json={"steps": [[1.0]]}).status_code == 422
    assert client.post("/score", json={"sequences": [[[1.0]]]}).status_code == 422
    assert client.delete(f"/streams/{stream}").status_code == 200
    assert client.post(f"/streams/{stream}", json={"steps": []}).status_code == 404


def test_consumer() -> None:
    run = [sys.executable, "-W", "error", str(FOLDER / "asyncio_consumer.py"), "--tiny"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("100 messages of 20 senders in "), done.stderr
