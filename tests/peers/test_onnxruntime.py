"""rnnx beside ONNX Runtime: models written by rnnx, and recurrent operators with every option.

In an environment with rnnx, its extras ``onnx`` and ``test``, and onnxruntime: ``pytest -m peers
tests/peers/test_onnxruntime.py``.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnx.formats.onnx import Session
from rnnx.formats.onnx._write import exported

from ..formats.onnx import test_write_attention
from ..formats.onnx.models import MODELS, inputs_of, made
from ..formats.onnx.nodes import arrays_for, one_node

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("default")]
LACKS = {"float64": "ONNX Runtime has no recurrent operators in float64 on a CPU"}


def run(model: Any, feeds: dict[str, Any]) -> list[Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    found: list[Any] = onnxruntime.InferenceSession(model, options).run(None, feeds)
    return found


@pytest.mark.parametrize("name", sorted(set(MODELS) - set(LACKS)))
def test_models_written_by_rnnx(name: str, tmp_path: Path) -> None:
    model, path = made(name), tmp_path / "model.onnx"
    model.save(path)
    names = [port.name for port in Session(path).inputs]
    for batch, timesteps in ((3, 7), (1, 5), (2, 9)):
        arrays = inputs_of(model, batch, timesteps)
        own = model(arrays if model.several_inputs else arrays[0])
        theirs = run(str(path), dict(zip(names, arrays, strict=True)))
        for a, b in zip(own if isinstance(own, list) else [own], theirs, strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", test_write_attention.CASES)
def test_attention_and_convolutional_lstms(name: str) -> None:
    model, inputs = test_write_attention.model_of(name)
    own = model(inputs if len(inputs) > 1 else inputs[0])
    proto, _ = exported(model)
    theirs = run(proto.SerializeToString(), {f"x{k}": x for k, x in enumerate(inputs)})
    for a, b in zip(own if isinstance(own, list) else [own], theirs, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_options_of_recurrent_operators(kind: str, direction: str) -> None:
    many = 2 if direction == "bidirectional" else 1
    activations = {
        "LSTM": ["Sigmoid", "Tanh", "Tanh", "HardSigmoid", "Softsign", "Relu"],
        "GRU": ["Sigmoid", "Tanh", "HardSigmoid", "LeakyRelu"],
        "RNN": ["Tanh", "Elu"],
    }[kind]
    sets = [activations[: len(activations) // 2], activations[len(activations) // 2 :]]
    for opset, lengths, names, clip, coupled, after, peepholes in itertools.product(
        (7, 14, 22), (False, True), sets, (None, 0.5), (0, 1), (0, 1), (False, True)
    ):
        if (coupled or peepholes) and kind != "LSTM" or after and kind != "GRU":
            continue
        options: dict[str, Any] = {"direction": direction, "activations": names * many}
        options.update({"clip": clip} if clip else {}, **({"input_forget": 1} if coupled else {}))
        options.update({"linear_before_reset": 1} if after else {})
        arrays = arrays_for(kind, many, np.float32, lengths=lengths, peepholes=peepholes)
        model = one_node(kind, options, arrays, True, opset=opset)
        session = Session(model)
        feeds = {port.name: arrays[port.name] for port in session.inputs}
        for a, b in zip(session.run(feeds).values(), run(model.SerializeToString(), feeds), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=2e-6, err_msg=f"{options}")


def test_quantized_lstm_is_near() -> None:
    """ONNX Runtime also rounds inputs and states to bytes: what it gives lies around what the float network gives."""
    from onnxruntime.quantization import quantize_dynamic

    arrays = arrays_for("LSTM", 1, np.float32, optional=True, hidden=16, features=8, steps=20)
    arrays["X"] = np.random.default_rng(0).normal(0, 0.5, (20, 4, 8)).astype(np.float32)
    folder = Path(__import__("tempfile").mkdtemp())
    (folder / "float.onnx").write_bytes(one_node("LSTM", {}, arrays, True, opset=17).SerializeToString())
    quantize_dynamic(folder / "float.onnx", folder / "bytes.onnx")
    session = Session(folder / "bytes.onnx")
    feeds = {port.name: arrays[port.name] for port in session.inputs}
    (own, *_), theirs = session.run(feeds).values(), run(str(folder / "bytes.onnx"), feeds)[0]
    exact = run(str(folder / "float.onnx"), feeds)[0]
    assert np.abs(own - theirs).max() < 0.05
    assert np.abs(own - exact).max() < np.abs(theirs - exact).max()
