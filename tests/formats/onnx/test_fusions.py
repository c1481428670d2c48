"""Nodes of quantized graphs that are one operation in integers: found, and computed as integers are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnnx._kernels import ISA
from rnnx.formats.onnx import Session

onnx = pytest.importorskip("onnx")
from onnx import helper, numpy_helper  # noqa: E402

F4, U1, I1 = 1, 2, 3
ON_ENGINE = ISA != "generic"  # where whole numbers are left to BLAS
RNG = np.random.default_rng(23)


def session_of(
    nodes: list[Any], constants: dict[str, Any], outputs: dict[str, int], inputs: dict[str, int] | None = None
) -> Any:
    """A session of these nodes, of float inputs unless it is said."""
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(name, kind, None) for name, kind in (inputs or {"x": F4}).items()],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )  # fmt: skip
    return Session(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def steps(session: Any) -> list[str]:
    """The operators that are run."""
    return [step.who.split()[0] for step in session._program.steps]


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def pair(value: str, made: str, scale: str = "s", zero: str = "z") -> list[Any]:
    """Numbers that become bytes and numbers again."""
    return [
        node("QuantizeLinear", f"{value} {scale} {zero}", f"{made}_q"),
        node("DequantizeLinear", f"{made}_q {scale} {zero}", made),
    ]


def to_bytes(x: Any, scale: Any, zero: Any) -> Any:
    """The nearest bytes, in the type of the zero point."""
    info = np.iinfo(zero.dtype)
    return np.clip(np.rint(np.float32(x) / np.float32(scale)) + int(zero), info.min, info.max).astype(zero.dtype)


def dynamic(x: Any) -> tuple[Any, Any, Any]:
    """Bytes, scale and zero point of DynamicQuantizeLinear as its definition says it."""
    low, high = min(np.float32(0), x.min()), max(np.float32(0), x.max())
    scale = np.float32(high - low) / np.float32(255)
    zero = np.uint8(np.clip(np.rint(np.float32(0 - low) / scale), 0, 255))
    return to_bytes(x, scale, zero), scale, zero


def chain(bias: bool, x: str = "x", hint: str = "") -> list[Any]:
    """What quantize_dynamic writes for a product."""
    nodes = [
        node("MatMulInteger", f"{x}_q w{hint} {x}_z wz{hint}", f"sums{hint}"),
        node("Cast", f"sums{hint}", f"cast{hint}", to=F4), node("Mul", f"{x}_s ws{hint}", f"scale{hint}"),
        node("Mul", f"cast{hint} scale{hint}", f"y{hint}" if not bias else f"scaled{hint}"),
    ]  # fmt: skip
    return nodes + ([node("Add", f"b{hint} scaled{hint}", f"y{hint}")] if bias else [])


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", ["i1", "u1"])
@pytest.mark.parametrize("by_column", [False, True])
def test_a_dynamic_product_is_one_step(kind: str, bias: bool, by_column: bool) -> None:
    for terms, columns in ((3, 2), (64, 33), (600, 40)):
        w = RNG.integers(0, 256, (terms, columns)).astype("u1").view(kind)
        wz = RNG.integers(0, 256, (columns,) if by_column else ()).astype("u1").view(kind)
        ws = (RNG.random((columns,) if by_column else ()) / 20).astype("f4")
        b = RNG.normal(size=columns).astype("f4")
        first = node("DynamicQuantizeLinear", "x", "x_q x_s x_z")
        session = session_of([first, *chain(bias)], {"w": w, "wz": wz, "ws": ws, "b": b}, {"y": F4})
        assert not ON_ENGINE or steps(session) == ["com.microsoft.DynamicQuantizeMatMul"] and session.evaluated == ()
        for shape in ((1, terms), (2, 3, terms), (50, terms)):
            x = RNG.normal(size=shape).astype("f4") + 1
            whole, scale, zero = dynamic(x)
            sums = (whole.astype("i8") - int(zero)) @ (w.astype("i8") - wz.astype("i8"))
            wanted = sums.astype("f4") * (scale * ws)
            np.testing.assert_array_equal(session.run({"x": x})["y"], wanted + b if bias else wanted)


def test_two_products_share_the_bytes_of_their_input() -> None:
    constants = {}
    for hint in ("1", "2"):
        constants |= {
            f"w{hint}": RNG.integers(-128, 128, (20, 7)).astype("i1"), f"wz{hint}": np.int8(0),
            f"ws{hint}": np.float32(0.01), f"b{hint}": RNG.normal(size=7).astype("f4"),
        }  # fmt: skip
    first = node("DynamicQuantizeLinear", "x", "x_q x_s x_z")
    session = session_of([first, *chain(True, hint="1"), *chain(False, hint="2")], constants, {"y1": F4, "y2": F4})
    assert not ON_ENGINE or steps(session) == ["DynamicQuantizeLinear", *["com.microsoft.MatMulIntegerToFloat"] * 2]
    x = RNG.normal(size=(4, 20)).astype("f4")
    whole, scale, zero = dynamic(x)
    found = session.run({"x": x})
    for hint in ("1", "2"):
        sums = (whole.astype("i8") - int(zero)) @ constants[f"w{hint}"].astype("i8")
        wanted = sums.astype("f4") * (scale * np.float32(0.01)) + (constants["b1"] if hint == "1" else np.float32(0))
        np.testing.assert_array_equal(found[f"y{hint}"], wanted)


def test_what_others_need_is_kept() -> None:
    constants = {"w": RNG.integers(-128, 128, (5, 3)).astype("i1"), "wz": np.int8(0), "ws": np.float32(0.01)}
    first = node("DynamicQuantizeLinear", "x", "x_q x_s x_z")
    session = session_of([first, *chain(False)], constants, {"y": F4, "sums": 6, "x_q": U1})
    assert len(steps(session)) == 5
    x = RNG.normal(size=(2, 5)).astype("f4")
    found, (whole, scale, zero) = session.run({"x": x}), dynamic(x)
    np.testing.assert_array_equal(found["x_q"], whole)
    np.testing.assert_array_equal(found["sums"], (whole.astype("i8") - int(zero)) @ constants["w"].astype("i8"))
    np.testing.assert_array_equal(found["y"], found["sums"].astype("f4") * (scale * np.float32(0.01)))


STATIC: dict[str, Any] = {
    "s": np.float32(0.03), "z": np.uint8(120), "t": np.float32(0.05), "u": np.uint8(90),
    "w": RNG.integers(-127, 128, (12, 6)).astype("i1"), "ws": (RNG.random(6) / 40 + 0.001).astype("f4"),
    "wz": np.zeros(6, "i1"),
}  # fmt: skip


def in_steps(x: Any, name: str = "s", zero: str = "z") -> Any:
    """The integers that bytes stand for, from 0."""
    return to_bytes(x, STATIC[name], STATIC[zero]).astype("i8") - int(STATIC[zero])


def test_a_product_between_pairs() -> None:
    of_w = node("DequantizeLinear", "w ws wz", "wf", axis=1)
    nodes = [*pair("x", "a"), of_w, node("MatMul", "a wf", "m"), *pair("m", "y", "t", "u")]
    session = session_of(nodes, STATIC, {"y": F4})
    assert not ON_ENGINE or steps(session) == ["QuantizeLinear", "QLinearMatMul", "DequantizeLinear"]
    x = RNG.normal(size=(7, 12)).astype("f4")
    sums = (in_steps(x) @ STATIC["w"].astype("i8")).astype("f4")
    scaled = np.rint(sums * (STATIC["s"] * STATIC["ws"] / STATIC["t"])) + 90
    wanted = (np.clip(scaled, 0, 255) - 90).astype("f4") * STATIC["t"]
    np.testing.assert_array_equal(session.run({"x": x})["y"], wanted)

    bias = {"b": RNG.normal(size=6).astype("f4")}
    session = session_of([*nodes[:4], node("Add", "m b", "y")], {**STATIC, **bias}, {"y": F4})
    assert not ON_ENGINE or steps(session) == ["QuantizeLinear", "com.microsoft.MatMulIntegerToFloat"]
    wanted = sums * (STATIC["s"] * STATIC["ws"]) + bias["b"]
    np.testing.assert_array_equal(session.run({"x": x})["y"], wanted)
    session = session_of([*nodes[:3], node("MatMul", "a wf", "y")], STATIC, {"y": F4})
    assert not ON_ENGINE or steps(session) == ["QuantizeLinear", "com.microsoft.MatMulIntegerToFloat"]
    np.testing.assert_array_equal(session.run({"x": x})["y"], sums * (STATIC["s"] * STATIC["ws"]))


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_gemm_between_pairs(rounded: bool, turned: bool) -> None:
    c = RNG.integers(-3000, 3000, 6).astype("i4")
    constants = {**STATIC, "c": c, "cs": STATIC["s"] * STATIC["ws"], "cz": np.zeros(6, "i4")}
    if turned:
        constants["w"] = np.ascontiguousarray(STATIC["w"].T)
    nodes = [
        *pair("x", "a"), node("DequantizeLinear", "w ws wz", "wf", axis=0 if turned else 1),
        node("DequantizeLinear", "c cs cz", "cf", axis=0), node("Gemm", "a wf cf", "m", transB=int(turned)),
    ]  # fmt: skip
    session = session_of([*nodes, *pair("m", "y", "t", "u")] if rounded else nodes, constants,
                         {"y" if rounded else "m": F4})  # fmt: skip
    assert (
        not ON_ENGINE
        or steps(session) == ["QuantizeLinear", "com.microsoft.QGemm", "DequantizeLinear"][: 3 if rounded else 2]
    )
    x = RNG.normal(size=(7, 12)).astype("f4")
    sums = (in_steps(x) @ STATIC["w"].astype("i8") + c).astype("f4")
    scale = STATIC["s"] * STATIC["ws"]
    if rounded:
        scaled = np.rint(sums * (scale / STATIC["t"])) + 90
        np.testing.assert_array_equal(session.run({"x": x})["y"],
                                      (np.clip(scaled, 0, 255) - 90).astype("f4") * STATIC["t"])  # fmt: skip
    else:
        np.testing.assert_array_equal(session.run({"x": x})["m"], sums * scale)


def test_a_bias_in_other_steps_stays_a_float() -> None:
    constants = {**STATIC, "c": np.arange(6, dtype="i4"), "cs": np.float32(0.5), "cz": np.int32(0)}
    nodes = [
        *pair("x", "a"), node("DequantizeLinear", "w ws wz", "wf", axis=1), node("DequantizeLinear", "c cs cz", "cf"),
        node("Gemm", "a wf cf", "m"),
    ]  # fmt: skip
    session = session_of(nodes, constants, {"m": F4})
    assert "com.microsoft.QGemm" not in steps(session)
    x = RNG.normal(size=(7, 12)).astype("f4")
    wanted = (in_steps(x) @ STATIC["w"].astype("i8")) * (STATIC["s"] * STATIC["ws"]) + np.arange(6) * 0.5
    np.testing.assert_allclose(session.run({"x": x})["m"], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("operator", ["Add", "Mul"])
def test_sums_and_products_of_bytes(operator: str) -> None:
    nodes = [*pair("x", "a"), *pair("v", "b", "t", "u"), node(operator, "a b", "m"), *pair("m", "y", "t", "u")]
    session = session_of(nodes, STATIC, {"y": F4}, {"x": F4, "v": F4})
    assert f"com.microsoft.QLinear{operator}" in steps(session) and operator not in steps(session)
    x = RNG.normal(size=(3, 5, 12)).astype("f4")
    for shape in ((3, 5, 12), (12,), (5, 12), (1, 1), (5, 1)):
        v = RNG.normal(size=shape, scale=2).astype("f4")
        a, b = in_steps(x).astype("f8"), in_steps(v, "t", "u").astype("f8")
        s, t = float(STATIC["s"]), float(STATIC["t"])
        number = a * s + b * t if operator == "Add" else a * s * b * t
        found = session.run({"x": x, "v": v})["y"] / STATIC["t"]
        wanted = np.clip(number / t, -90, 165)
        assert np.abs(found - wanted).max() <= 0.5 + 1e-4  # the nearest byte of the exact number


@pytest.mark.parametrize(("operator", "attributes"), [
    ("Sigmoid", {}), ("Tanh", {}), ("Relu", {}), ("LeakyRelu", {"alpha": 0.3}), ("HardSigmoid", {}), ("Elu", {}),
])  # fmt: skip
def test_functions_of_one_array_are_tables(operator: str, attributes: dict[str, float]) -> None:
    functions = {
        "Sigmoid": lambda v: 1 / (1 + np.exp(-v)), "Tanh": np.tanh, "Relu": lambda v: np.maximum(v, 0),
        "LeakyRelu": lambda v: np.where(v < 0, 0.3 * v, v), "HardSigmoid": lambda v: np.clip(0.2 * v + 0.5, 0, 1),
        "Elu": lambda v: np.where(v < 0, np.expm1(v), v),
    }  # fmt: skip
    nodes = [*pair("x", "a"), node(operator, "a", "m", **attributes), *pair("m", "y", "t", "u")]
    session = session_of(nodes, STATIC, {"y": F4})
    assert not ON_ENGINE or steps(session) == ["QuantizeLinear", "rnnx.Table", "DequantizeLinear"]
    x = np.linspace(-5, 5, 300, dtype="f4").reshape(3, 100)
    exact = functions[operator](in_steps(x) * np.float64(STATIC["s"])) / STATIC["t"]
    found = session.run({"x": x})["y"] / STATIC["t"]
    assert np.abs(found - np.clip(exact, -90, 165)).max() <= 0.5 + 1e-3


def test_bytes_that_are_moved_stay_bytes() -> None:
    nodes = [
        *pair("x", "a"), node("Transpose", "a", "turned", perm=[1, 0]), *pair("turned", "b"),
        node("Reshape", "b shape", "flat"), *pair("flat", "c"), node("Split", "c sizes", "p q", axis=0),
        *pair("p", "d"), *pair("q", "e"), node("Concat", "e d", "joined", axis=0), *pair("joined", "y"),
    ]  # fmt: skip
    constants = {**STATIC, "shape": np.array([4, 3]), "sizes": np.array([1, 3])}
    session = session_of(nodes, constants, {"y": F4})
    assert not ON_ENGINE or steps(session) == [
        "QuantizeLinear",
        "Transpose",
        "Reshape",
        "Split",
        "Concat",
        "DequantizeLinear",
    ]
    x = RNG.normal(size=(2, 6)).astype("f4")
    parts = np.split(in_steps(x).T.reshape(4, 3), [1])
    np.testing.assert_array_equal(session.run({"x": x})["y"], np.concatenate(parts[::-1]).astype("f4") * STATIC["s"])


def test_parts_of_other_steps_are_rounded_to_those_of_the_whole() -> None:
    nodes = [*pair("x", "a"), *pair("v", "b", "t", "u"), node("Concat", "a b", "m", axis=1), *pair("m", "y")]
    session = session_of(nodes, STATIC, {"y": F4}, {"x": F4, "v": F4})
    assert "com.microsoft.QLinearConcat" in steps(session)
    x, v = RNG.normal(size=(3, 5)).astype("f4"), RNG.normal(size=(3, 4)).astype("f4")
    found = session.run({"x": x, "v": v})["y"]
    np.testing.assert_array_equal(found[:, :5], in_steps(x).astype("f4") * STATIC["s"])
    other = to_bytes(in_steps(v, "t", "u").astype("f4") * STATIC["t"], STATIC["s"], STATIC["z"]).astype("f4")
    np.testing.assert_array_equal(found[:, 5:], (other - 120) * STATIC["s"])


@pytest.mark.parametrize(("axes", "attributes"), [
    (1, {}), (1, {"pads": [2, 1], "strides": [2], "dilations": [3]}), (1, {"auto_pad": "SAME_UPPER", "strides": [2]}),
    (2, {"pads": [1, 0, 2, 1], "strides": [2, 1]}), (2, {"dilations": [1, 2]}),
])  # fmt: skip
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.skipif(not ON_ENGINE, reason="convolutions of bytes are computed in floats there")
def test_convolution_between_pairs(axes: int, attributes: dict[str, Any], bias: bool) -> None:
    w = RNG.integers(-127, 128, (5, 3, *(3, 2)[:axes])).astype("i1")
    ws = (RNG.random(5) / 40 + 0.001).astype("f4")
    c = RNG.integers(-3000, 3000, 5).astype("i4")
    constants = {**STATIC, "w": w, "ws": ws, "wz": np.zeros(5, "i1"), "c": c, "cs": STATIC["s"] * ws,
                 "cz": np.zeros(5, "i4")}  # fmt: skip
    nodes = [*pair("x", "a"), node("DequantizeLinear", "w ws wz", "wf", axis=0)]
    if bias:
        nodes.append(node("DequantizeLinear", "c cs cz", "cf", axis=0))
    nodes += [node("Conv", "a wf cf" if bias else "a wf", "m", **attributes), *pair("m", "y", "t", "u")]
    session = session_of(nodes, constants, {"y": F4})
    assert (
        not ON_ENGINE
        or steps(session) == ["QuantizeLinear", "QLinearConv", "DequantizeLinear"]
        and session.evaluated == ()
    )
    x = RNG.normal(size=(2, 3, *(20, 9)[:axes])).astype("f4")
    sums = convolved(in_steps(x), w.astype("i8"), attributes) + (c if bias else np.zeros(5)).reshape(-1, *[1] * axes)
    scale = (STATIC["s"] * ws / STATIC["t"]).reshape(-1, *[1] * axes)
    scaled = np.clip(np.rint(sums.astype("f4") * scale) + 90, 0, 255)
    np.testing.assert_array_equal(session.run({"x": x})["y"], (scaled - 90).astype("f4") * STATIC["t"])


def test_convolution_in_groups_stays_one_of_floats() -> None:
    constants = {**STATIC, "w": RNG.integers(-127, 128, (6, 1, 3)).astype("i1"), "ws": np.float32(0.01),
                 "wz": np.int8(0)}  # fmt: skip
    nodes = [*pair("x", "a"), node("DequantizeLinear", "w ws wz", "wf"), node("Conv", "a wf", "m", group=3),
             *pair("m", "y", "t", "u")]  # fmt: skip
    session = session_of(nodes, constants, {"y": F4})
    assert "Conv" in steps(session) and session.evaluated == ()
    x = RNG.normal(size=(2, 3, 9)).astype("f4")
    whole = in_steps(x)
    sums = np.concatenate([convolved(whole[:, k : k + 1], constants["w"][2 * k : 2 * k + 2].astype("i8"), {})
                           for k in range(3)], axis=1)  # fmt: skip
    wanted = np.clip(sums * (0.03 * 0.01), -90 * 0.05, 165 * 0.05)
    assert np.abs(session.run({"x": x})["y"] - wanted).max() < 0.0251


def convolved(x: Any, w: Any, attributes: dict[str, Any]) -> Any:
    """A convolution of integers, window by window."""
    axes = w.ndim - 2
    strides, dilations = attributes.get("strides", [1] * axes), attributes.get("dilations", [1] * axes)
    pads = attributes.get("pads", [0] * 2 * axes)
    reach = [(n - 1) * d + 1 for n, d in zip(w.shape[2:], dilations, strict=True)]
    if "auto_pad" in attributes:
        total = max(0, (-(-x.shape[2] // strides[0]) - 1) * strides[0] + reach[0] - x.shape[2])
        pads = [total // 2, total - total // 2]
    x = np.pad(x, [(0, 0), (0, 0), *[(pads[k], pads[axes + k]) for k in range(axes)]])
    places = [(x.shape[2 + k] - reach[k]) // strides[k] + 1 for k in range(axes)]
    y = np.zeros((len(x), len(w), *places), "i8")
    for place in np.ndindex(*places):
        window = tuple(slice(p * s, p * s + r, d) for p, s, r, d in zip(place, strides, reach, dilations, strict=True))
        part = x[(slice(None), slice(None), *window)].reshape(len(x), -1)
        y[(slice(None), slice(None), *place)] = part @ w.reshape(len(w), -1).T
    return y


def test_pairs_inside_of_a_loop() -> None:
    body = helper.make_graph(
        [
            helper.make_node("Constant", [], ["s"], value=numpy_helper.from_array(np.array(0.03, "f4"))),
            helper.make_node("Constant", [], ["z"], value=numpy_helper.from_array(np.array(120, "u1"))),
            *pair("h", "a"), node("Tanh", "a", "m"), *pair("m", "h2"), helper.make_node("Identity", ["going"], ["go"]),
        ],
        "body",
        [helper.make_tensor_value_info("k", 7, ()), helper.make_tensor_value_info("going", 9, ()),
         helper.make_tensor_value_info("h", F4, None)],
        [helper.make_tensor_value_info("go", 9, ()), helper.make_tensor_value_info("h2", F4, None)],
    )  # fmt: skip
    session = session_of(
        [helper.make_node("Loop", ["n", "yes", "x"], ["y"], body=body)],
        {"n": np.array(3), "yes": np.array(True)}, {"y": F4},
    )  # fmt: skip
    x = RNG.normal(size=(2, 5)).astype("f4")
    h = x
    for _ in range(3):
        h = in_steps(np.tanh(in_steps(h) * STATIC["s"])) * STATIC["s"]
    np.testing.assert_allclose(session.run({"x": x})["y"], h, atol=1e-6)


@pytest.mark.parametrize("operator", ["Tanh", "Sigmoid", "Relu", "Softsign"])
def test_activations_behind_a_product_are_part_of_it(operator: str) -> None:
    constants = {"w": RNG.integers(-128, 128, (12, 40)).astype("i1"), "wz": np.int8(0), "ws": np.float32(0.01),
                 "b": RNG.normal(size=40).astype("f4")}  # fmt: skip
    first = node("DynamicQuantizeLinear", "x", "x_q x_s x_z")
    session = session_of([first, *chain(True), node(operator, "y", "z")], constants, {"z": F4})
    assert not ON_ENGINE or steps(session) == ["com.microsoft.DynamicQuantizeMatMul"]
    x = RNG.normal(size=(5, 12)).astype("f4")
    whole, scale, zero = dynamic(x)
    y = ((whole.astype("i8") - int(zero)) @ constants["w"].astype("i8")) * np.float64(scale * np.float32(0.01))
    y = y + constants["b"]
    wanted = {
        "Tanh": np.tanh(y),
        "Sigmoid": 1 / (1 + np.exp(-y)),
        "Relu": np.maximum(y, 0),
        "Softsign": y / (1 + abs(y)),
    }
    np.testing.assert_allclose(session.run({"x": x})["z"], wanted[operator], rtol=2e-6, atol=2e-6)
    session = session_of([first, *chain(True), node(operator, "y", "z")], constants, {"z": F4, "y": F4})
    assert not ON_ENGINE or steps(session)[1:] == [operator]  # what is an output itself is made


@pytest.mark.parametrize("kind", ["u1", "i1"])
@pytest.mark.parametrize("behind", ["Add", "Tanh", "Add Tanh"])
def test_a_dense_layer_of_bytes_is_one_step(behind: str, kind: str) -> None:
    low = 0 if kind == "u1" else -128
    constants = {
        **STATIC, "z": np.array(120 + low, kind), "u": np.array(90 + low, kind), "v": np.float32(0.0437),
        "k": np.array(100 + low, kind), "b": RNG.integers(low, low + 256, 6).astype(kind), "bs": np.float32(0.02),
        "bz": np.array(110 + low, kind), "t2": np.float32(0.0103), "u2": np.array(128 + low, kind),
    }  # fmt: skip
    nodes = [*pair("x", "a"), node("DequantizeLinear", "w ws wz", "wf", axis=1), node("MatMul", "a wf", "m"),
             *pair("m", "p", "t", "u")]  # fmt: skip
    last = "p"
    if "Add" in behind:
        nodes += [node("DequantizeLinear", "b bs bz", "bf"), node("Add", "p bf", "q"), *pair("q", "r", "v", "k")]
        last = "r"
    if "Tanh" in behind:
        nodes += [node("Tanh", last, "e"), *pair("e", "y", "t2", "u2")]
        last = "y"
    session = session_of(nodes, constants, {last: F4})
    assert not ON_ENGINE or steps(session) == ["QuantizeLinear", "rnnx.QLinearDense", "DequantizeLinear"]
    apart = session_of(nodes, constants, {name: F4 for name in {"p", last}})  # the product is an output: no such step
    assert len(steps(apart)) > 4
    for rows in (1, 2, 7, 60):
        x = RNG.normal(size=(rows, 12)).astype("f4")
        whole = to_bytes(x, STATIC["s"], constants["z"]).astype("i8") - int(constants["z"])
        sums = (whole @ STATIC["w"].astype("i8")).astype("f4") * (STATIC["s"] * STATIC["ws"] / STATIC["t"])
        bounds = np.iinfo(kind)
        value = np.clip(np.rint(sums) + int(constants["u"]), bounds.min, bounds.max) - int(constants["u"])
        value = value * np.float64(STATIC["t"])
        certain = np.ones(value.shape, bool)
        if "Add" in behind:
            value = value + (constants["b"].astype(float) - int(constants["bz"])) * np.float64(constants["bs"])
            steps_of = value / np.float64(constants["v"])
            certain = np.abs(steps_of - np.floor(steps_of) - 0.5) > 1e-4  # no tie that float32 decides
            value = np.clip(np.rint(steps_of), bounds.min - int(constants["k"]), bounds.max - int(constants["k"]))
            value = value * np.float64(constants["v"])
        if "Tanh" in behind:
            steps_of = np.tanh(value) / np.float64(constants["t2"])
            certain &= np.abs(steps_of - np.floor(steps_of) - 0.5) > 1e-4
            value = np.rint(steps_of) * np.float64(constants["t2"])
        found = session.run({"x": x})[last]
        assert certain.mean() > 0.8
        np.testing.assert_allclose(found[certain], value[certain], atol=1e-5)
        np.testing.assert_array_equal(found, apart.run({"x": x})[last])


def test_large_products_are_not_refused_for_their_work() -> None:
    w = RNG.integers(-127, 128, (1024, 1024)).astype("i1")
    names = ["a", "sa", "za", "w", "sw", "zw", "", "sy", "zy"]
    constants = {"sa": np.float32(0.02), "za": np.uint8(3), "w": w, "sw": np.float32(0.01), "zw": np.int8(0),
                 "sy": np.float32(4), "zy": np.uint8(128)}  # fmt: skip
    graph = helper.make_graph(
        [helper.make_node("QGemm", names, ["y"], domain="com.microsoft")], "g",
        [helper.make_tensor_value_info("a", U1, None)], [helper.make_tensor_value_info("y", U1, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    session = Session(helper.make_model(graph, opset_imports=opsets, ir_version=8))
    a = RNG.integers(0, 256, (512, 1024)).astype("u1")
    sums = (a.astype("f8") - 3) @ w.astype("f8")
    wanted = np.clip(np.rint(sums.astype("f4") * (np.float32(0.02) * np.float32(0.01) / np.float32(4))) + 128, 0, 255)
    np.testing.assert_array_equal(session.run({"a": a})["y"], wanted)
