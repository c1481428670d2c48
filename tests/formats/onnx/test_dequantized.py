"""Files of 8 bits as models of floats: the numbers that the bytes stand for, without the rounding of inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import rnnx
from rnnx.formats.onnx import Session, load_model
from rnnx.saving import FormatError

node = helper.make_node
RANDOM = np.random.default_rng(0)


def model_of(nodes: Any, constants: dict[str, Any], shape: Any, kind: int = 1) -> Any:
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", kind, shape)], [helper.make_tensor_value_info("y", 1, None)],
        tensors,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def as_bytes(floats: Any, axis: int | None = None, kind: Any = np.uint8) -> tuple[Any, Any, Any, Any]:
    """Bytes, scale, zero point, and the numbers that they stand for."""
    ends = np.iinfo(kind)
    axes = None if axis is None else tuple(k for k in range(floats.ndim) if k != axis)
    low, high = np.minimum(floats.min(axes), 0), np.maximum(floats.max(axes), 0)
    scale = np.asarray((high - low) / (ends.max - ends.min), "f")
    zero = np.asarray(np.round(ends.min - low / scale), kind)
    wide = scale.shape if axis is None else [-1 if k == axis else 1 for k in range(floats.ndim)]
    factor, shift = scale.reshape(wide), zero.reshape(wide).astype("f")
    whole = np.clip(np.round(floats / factor + shift), ends.min, ends.max).astype(kind)
    return whole, scale, zero, (whole.astype("f") - shift) * factor


def products(per_channel: bool) -> tuple[Any, Any, Any]:
    """A convolution with a bias and a product, as ``quantize_dynamic`` writes them; the same in floats."""
    k, bias = RANDOM.normal(size=(4, 2, 3)).astype("f"), RANDOM.normal(size=4).astype("f")
    m, last = RANDOM.normal(size=(4, 5)).astype("f"), RANDOM.normal(size=5).astype("f")
    kb, ks, kz, k = as_bytes(k, 0 if per_channel else None)
    mb, ms, mz, m = as_bytes(m, 1 if per_channel else None, np.int8)
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]), node("Mul", ["s", "ks"], ["bs"]),
        node("Div", ["bias", "bs"], ["b1"]), node("Floor", ["b1"], ["b2"]), node("Cast", ["b2"], ["b3"], to=6),
        node("ConvInteger", ["q", "k", "z", "kz"], ["c"], pads=[1, 1], strides=[2]),
        node("Reshape", ["b3", "wide"], ["b4"]), node("Add", ["c", "b4"], ["c2"]), node("Cast", ["c2"], ["c3"], to=1),
        node("Mul", ["s", "ks"], ["scale"]), node("Mul", ["c3", "scale"], ["c4"]),
        node("Relu", ["c4"], ["r"]), node("Transpose", ["r"], ["t"], perm=[0, 2, 1]),
        node("DynamicQuantizeLinear", ["t"], ["q2", "s2", "z2"]),
        node("MatMulInteger", ["q2", "m", "z2", "mz"], ["p"]), node("Cast", ["p"], ["p2"], to=1),
        node("Mul", ["ms", "s2"], ["scale2"]), node("Mul", ["p2", "scale2"], ["p3"]),
        node("Add", ["last", "p3"], ["y"]),
    ]  # fmt: skip
    if per_channel:
        for one in nodes:
            if one.output[0] == "scale":
                one.input[1] = "ks1"
            if one.output[0] == "bs":
                one.input[1] = "ks"
    constants = {"k": kb, "ks": ks, "ks1": ks.reshape(-1, 1) if per_channel else ks, "kz": kz, "m": mb, "ms": ms,
                 "mz": mz, "bias": bias, "last": last, "wide": np.array([1, -1, 1])}  # fmt: skip
    floats = [
        node("Conv", ["x", "k", "bias"], ["c"], pads=[1, 1], strides=[2]), node("Relu", ["c"], ["r"]),
        node("Transpose", ["r"], ["t"], perm=[0, 2, 1]), node("MatMul", ["t", "m"], ["p"]),
        node("Add", ["p", "last"], ["y"]),
    ]  # fmt: skip
    own = {"k": k, "m": m, "bias": bias, "last": last}
    x = RANDOM.normal(size=(3, 2, 7)).astype("f")
    shape = ["N", 2, "T"]
    return model_of(nodes, constants, shape), model_of(floats, own, shape), x


def recurrent() -> tuple[Any, Any, Any]:
    """Words from a table of bytes through an LSTM of bytes, as ``quantize_dynamic`` writes it."""
    table = RANDOM.normal(size=(9, 3)).astype("f")
    w, r = RANDOM.normal(size=(1, 3, 16)).astype("f"), RANDOM.normal(size=(1, 4, 16)).astype("f")
    b = RANDOM.normal(size=(1, 32)).astype("f")
    tb, ts, tz, table = as_bytes(table)
    wb, ws, wz, w = as_bytes(w, kind=np.int8)
    rb, rs, rz, r = as_bytes(r, kind=np.int8)
    nodes = [
        node("Gather", ["table", "x"], ["e"]), node("Transpose", ["e"], ["e2"], perm=[1, 0, 2]),
        node("DequantizeLinear", ["e2", "ts", "tz"], ["f"]), node("DequantizeLinear", ["e", "ts", "tz"], ["f2"]),
        node("DynamicQuantizeLSTM", ["f", "w", "r", "b", "", "", "", "", "ws", "wz", "rs", "rz"], ["h"], "lstm", None,
             "com.microsoft", hidden_size=4),
        node("Squeeze", ["h", "one"], ["h2"]), node("Transpose", ["h2"], ["h3"], perm=[1, 0, 2]),
        node("Concat", ["h3", "f2"], ["y"], axis=2),
    ]  # fmt: skip
    constants = {"table": tb, "ts": ts, "tz": tz, "w": wb, "r": rb, "b": b, "ws": ws.reshape(1), "wz": wz.reshape(1),
                 "rs": rs.reshape(1), "rz": rz.reshape(1), "one": np.array([1])}  # fmt: skip
    floats = [
        node("Gather", ["table", "x"], ["e"]), node("Transpose", ["e"], ["f"], perm=[1, 0, 2]),
        node("LSTM", ["f", "w", "r", "b"], ["h"], hidden_size=4), node("Squeeze", ["h", "one"], ["h2"]),
        node("Transpose", ["h2"], ["h3"], perm=[1, 0, 2]), node("Concat", ["h3", "e"], ["y"], axis=2),
    ]  # fmt: skip
    own = {"table": table, "w": w.swapaxes(1, 2), "r": r.swapaxes(1, 2), "b": b, "one": np.array([1])}
    x, shape = RANDOM.integers(0, 9, (2, 6)), ["N", "T"]
    return model_of(nodes, constants, shape, 7), model_of(floats, own, shape, 7), x


def pairs() -> tuple[Any, Any, Any]:
    """Pairs of QuantizeLinear and DequantizeLinear: what lies beyond the bytes is cut, here at 0 and 2.55."""
    w = RANDOM.normal(size=(3, 4)).astype("f")
    wb, ws, wz, w = as_bytes(w, kind=np.int8)
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("Transpose", ["q"], ["q2"], perm=[0, 2, 1]),
        node("DequantizeLinear", ["q2", "s", "z"], ["d"]), node("DequantizeLinear", ["w", "ws", "wz"], ["k"]),
        node("MatMul", ["d", "k"], ["y"]),
    ]  # fmt: skip
    constants = {"s": np.float32(0.01), "z": np.uint8(0), "w": wb, "ws": ws, "wz": wz}
    floats = [node("Clip", ["x", "low", "high"], ["c"]), node("Transpose", ["c"], ["d"], perm=[0, 2, 1]),
              node("MatMul", ["d", "w"], ["y"])]  # fmt: skip
    own = {"low": np.float32(0), "high": np.float32(2.55), "w": w}
    x = RANDOM.normal(0, 3, size=(2, 3, 5)).astype("f")
    return model_of(nodes, constants, ["N", 3, "T"]), model_of(floats, own, ["N", 3, "T"]), x


CASES = {"products": lambda: products(False), "products, scales of channels": lambda: products(True),
         "an LSTM and a table": recurrent, "pairs": pairs}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_model_of_floats(name: str, tmp_path: Path) -> None:
    proto, floats, x = CASES[name]()
    with pytest.warns(UserWarning, match=r"products of 8 bits are products of floats.*Session\(path\)"):
        model = load_model(proto)
    (expected,) = ReferenceEvaluator(floats).run(None, {"x": x})
    model.save(tmp_path / "m.safetensors")
    for one in (model, rnnx.load_model(tmp_path / "m.safetensors")):
        np.testing.assert_allclose(one(x), expected, rtol=1e-5, atol=1e-5)
    (rounded,) = Session(proto).run({"x": x}).values()  # the file itself is as before
    assert 0 < np.abs(rounded - expected).max() < 0.05 * np.abs(expected).max()


def test_what_is_not_followed_is_refused_as_before() -> None:
    """Integers that are used for something else, and an addition that is no rounded bias."""
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]), node("MatMulInteger", ["q", "m", "z"], ["p"]),
        node("Add", ["p", "more"], ["p1"]), node("Cast", ["p1"], ["p2"], to=1), node("Mul", ["p2", "s"], ["y"]),
    ]  # fmt: skip
    proto = model_of(nodes, {"m": np.ones((3, 2), np.int8), "more": np.ones(2, np.int32)}, ["N", 3])
    with pytest.raises(FormatError, match="DynamicQuantizeLinear node 'q'"):
        load_model(proto)


def test_weights_of_bytes_make_no_more_numbers_than_a_file_has_bytes_for() -> None:
    """The same bytes, each time with another scale."""
    bytes_, nodes, constants = np.ones((512, 512), np.int8), [], {}
    for k in range(120):
        nodes += [
            node("DynamicQuantizeLinear", ["x"], [f"q{k}", f"s{k}", f"z{k}"]),
            node("MatMulInteger", [f"q{k}", "m", f"z{k}"], [f"p{k}"]), node("Cast", [f"p{k}"], [f"c{k}"], to=1),
            node("Mul", [f"s{k}", f"f{k}"], [f"g{k}"]), node("Mul", [f"c{k}", f"g{k}"], [f"y{k}"]),
        ]  # fmt: skip
        constants[f"f{k}"] = np.float32(k + 1)
    nodes.append(node("Sum", [f"y{k}" for k in range(120)], ["y"]))
    proto = model_of(nodes, {"m": bytes_, **constants}, ["N", 512])
    with pytest.raises(FormatError, match="make more numbers than it has bytes for"):
        load_model(proto)


@pytest.mark.parametrize(("kind", "low", "high"), [(2, 0.0, 2.55), (3, -1.28, 1.27)], ids=["uint8", "int8"])
def test_bytes_without_a_zero_point_are_cut_where_their_type_ends(kind: int, low: float, high: float) -> None:
    nodes = [node("QuantizeLinear", ["x", "s"], ["q"], output_dtype=kind), node("DequantizeLinear", ["q", "s"], ["y"])]
    model = model_of(nodes, {"s": np.float32(0.01)}, ["N", 4])
    model.opset_import[0].version = 21
    with pytest.warns(UserWarning, match="products of floats"):
        made = load_model(model)
    np.testing.assert_allclose(made(np.array([[-3, -1, 0.5, 3]], "f")), [[low, max(low, -1), 0.5, high]], rtol=1e-6)


def test_bytes_that_a_graph_inside_reads_stay_bytes() -> None:
    inside = [helper.make_tensor_value_info("o", 1, None)]
    cast = node("Cast", ["q"], ["o"], to=1)
    branches = {f"{name}_branch": helper.make_graph([cast], name, [], inside) for name in ("then", "else")}
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("If", ["true"], ["w"], **branches), node("Add", ["d", "w"], ["y"]),
    ]  # fmt: skip
    model = model_of(nodes, {"s": np.float32(0.05), "z": np.uint8(100), "true": np.bool_(True)}, ["N", 4])
    with pytest.raises(FormatError, match="QuantizeLinear"):
        load_model(model)
