"""The examples of services: their answers are those of the model."""

from __future__ import annotations

import io
import runpy
import subprocess
import sys
import warnings
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import numpy as np
import pytest
from safetensors.numpy import save_file

import rnnx
from tests.serve.conftest import Server

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
    assert client.post("/score", json={"sequences": []}).status_code == 422
    assert client.delete(f"/streams/{stream}").status_code == 200
    assert client.post(f"/streams/{stream}", json={"steps": []}).status_code == 404


def test_consumer() -> None:
    run = [sys.executable, "-W", "error", str(FOLDER / "asyncio_consumer.py"), "--tiny"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("100 messages of 20 senders in "), done.stderr


def speech(weights: dict[str, Any], frames: Any) -> list[float]:
    """The network of silero-vad as its package has it, one frame after the other."""
    h = c = np.zeros(128)
    found = []
    for frame in frames:
        padded = np.pad(frame, (0, 64), mode="reflect")
        parts = np.stack([weights["stft_conv.weight"][:, 0] @ padded[t : t + 256] for t in range(0, 512, 128)], 1)
        x = np.hypot(parts[:129], parts[129:])
        for k, stride in ((1, 1), (2, 2), (3, 2), (4, 1)):
            wide = np.pad(x, ((0, 0), (1, 1)))
            columns = [wide[:, t : t + 3] for t in range(0, x.shape[1], stride)]
            x = np.stack([np.einsum("oik,ik->o", weights[f"conv{k}.weight"], part) for part in columns], 1)
            x = np.maximum(x + weights[f"conv{k}.bias"][:, None], 0)
        gates = weights["lstm_cell.weight_ih"] @ x[:, 0] + weights["lstm_cell.weight_hh"] @ h
        i, f, g, o = np.split(gates + weights["lstm_cell.bias_ih"] + weights["lstm_cell.bias_hh"], 4)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        logit = weights["final_conv.weight"][0, :, 0] @ np.maximum(h, 0) + weights["final_conv.bias"][0]
        found.append(1 / (1 + np.exp(-logit)))
    return found


def test_voice_activity(tmp_path: Path, start: Callable[..., Server]) -> None:
    shapes = {
        "stft_conv.weight": (258, 1, 256), "conv1.weight": (128, 129, 3), "conv2.weight": (64, 128, 3),
        "conv3.weight": (64, 64, 3), "conv4.weight": (128, 64, 3), "lstm_cell.weight_ih": (512, 128),
        "lstm_cell.weight_hh": (512, 128), "lstm_cell.bias_ih": (512,), "lstm_cell.bias_hh": (512,),
        "final_conv.weight": (1, 128, 1), "final_conv.bias": (1,), "conv1.bias": (128,), "conv2.bias": (64,),
        "conv3.bias": (64,), "conv4.bias": (128,),
    }  # fmt: skip
    rng = np.random.default_rng(4)
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for name, array in weights.items():
        if array.ndim > 1:
            array /= np.float32(np.sqrt(array[0].size) * (0.3 if name.startswith(("lstm", "final")) else 1))
    save_file(weights, tmp_path / "weights.safetensors")
    sound = (rng.normal(size=3 * 16_000) * np.repeat([300, 9000, 300], 16_000)).clip(-32768, 32767).astype("<i2")
    with wave.open(str(tmp_path / "sound.wav"), "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", ""))
        file.writeframes(np.repeat(sound, 3).tobytes())
    program, out = str(FOLDER / "voice_activity.py"), tmp_path / "voice.safetensors"
    subprocess.run([sys.executable, program, "make", tmp_path / "weights.safetensors", "--out", out], check=True)
    frames = np.stack(list(runpy.run_path(program)["frames_of"](str(tmp_path / "sound.wav"))))
    padded = np.concatenate([np.zeros(64), sound / 32768])
    np.testing.assert_allclose(frames[7], padded[7 * 512 : 8 * 512 + 64], atol=1e-6)
    expected = speech(weights, frames[:20])
    np.testing.assert_allclose(rnnx.load_model(out)(frames[None, :20])[0, :, 0], expected, atol=1e-4)
    server = start(out)
    words = ["listen", tmp_path / "sound.wav", "--fast", "--server", f"127.0.0.1:{server.port}"]
    said = subprocess.run([sys.executable, program, *words], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1].startswith("93 frames, 3.0 s")


def test_gunicorn(models: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def asked(app: Any, body: bytes, method: str = "POST") -> tuple[str, bytes]:
        environ: dict[str, Any] = {"REQUEST_METHOD": method, "CONTENT_LENGTH": str(len(body)), "QUERY_STRING": ""}
        setup_testing_defaults(environ)
        environ["wsgi.input"] = io.BytesIO(body)
        found: list[str] = []

        def start(status: str, headers: Any, error: Any = None) -> Any:
            found.append(status)
            return found.append  # a function to write with, which nobody uses

        answer: Any = validator(app)(environ, start)
        body = b"".join(answer)
        answer.close()
        return found[0][:3], body

    path = models / "gru.safetensors"
    monkeypatch.setenv("RNNX_MODEL", str(path))
    x = np.random.default_rng(3).normal(size=(2, 6, 4)).astype(np.float32)
    data = io.BytesIO()
    np.save(data, x)
    for cache in (None, tmp_path / "cache"):
        if cache is not None:
            monkeypatch.setenv("RNNX_CACHE_DIR", str(cache))
        app = runpy.run_path(str(FOLDER / "gunicorn_app.py"))["app"]
        status, body = asked(app, data.getvalue())
        assert status == "200"
        np.testing.assert_array_equal(np.load(io.BytesIO(body)), rnnx.load_model(path).predict(x))
        assert cache is None or len(list(cache.iterdir())) == 1
    for bad in (b"", b"no array", data.getvalue()[:-9]):
        assert asked(app, bad)[0] == "422"
    assert asked(app, b"", "GET")[0] == "405"
