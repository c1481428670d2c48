"""The networks that are served, in the files and words of each server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from load import Load

import rnnx
from rnnx import layers
from rnnx.formats.onnx import save_model

KINDS = {"gru128": (16, 10), "big": (64, 50)}  # features and steps of a request
TOLERANCE = 1e-4


def write(folder: Path) -> None:
    """A GRU(128), of which a call takes a fraction of a millisecond, and two layers of LSTM(256), which take some."""
    for name, cells in (
        ("gru128", [layers.GRU(128)]),
        ("big", [layers.LSTM(256, return_sequences=True), layers.LSTM(256)]),
    ):
        features, _ = KINDS[name]
        model = rnnx.Sequential([rnnx.Input((None, features), name="x"), *cells, layers.Dense(4, name="y")])
        model.save(folder / f"{name}.safetensors")
        save_model(model, folder / f"{name}.onnx")
        np.savez(folder / f"{name}.npz", *model.get_weights())


def example(name: str) -> Any:
    """The input of a request."""
    features, steps = KINDS[name]
    return np.random.default_rng(0).normal(size=(1, steps, features)).round(4).astype(np.float32)


def expected(folder: Path, name: str) -> Any:
    return rnnx.load_model(folder / f"{name}.safetensors")(example(name))


def _numbers(x: Any) -> Any:
    return np.vectorize(lambda v: round(float(v), 4), otypes=[object])(x)


def protocol_request(port: int, name: str, binary: bool = False) -> Load:
    """A request of the Open Inference Protocol."""
    x = example(name)
    tensor: dict[str, Any] = {"name": "x", "shape": x.shape, "datatype": "FP32"}
    if not binary:
        body = json.dumps({"inputs": [{**tensor, "data": _numbers(x).ravel().tolist()}]}).encode()
        return Load(port, f"/v2/models/{name}/infer", body)
    tensor["parameters"] = {"binary_data_size": x.nbytes}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return Load(port, f"/v2/models/{name}/infer", head + x.tobytes(), {"Inference-Header-Content-Length": len(head)})


def fastapi_request(port: int, name: str) -> Load:
    """The same for the services in FastAPI."""
    return Load(port, f"/{name}", json.dumps({"x": _numbers(example(name)).tolist()}).encode())


def numbers_in(answer: bytes) -> Any:
    """The numbers of an answer in JSON of either kind."""
    found = json.loads(answer)
    return np.ravel(found["y"] if "y" in found else found["outputs"][0]["data"])
