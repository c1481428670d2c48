"""Types that NumPy lacks, and quantized numbers in files of every age, against sums in float64."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rnnx.formats.onnx import Session
from rnnx.saving import FormatError

BFLOAT, HALF = np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16)
RNG = np.random.default_rng(2)
EPSILON = {BFLOAT: 2.0**-8, HALF: 2.0**-11, np.dtype("f4"): 2.0**-22, np.dtype("f8"): 1e-14}


def run(path: Any, operator: str, arrays: list[Any], *, out: Any = None, opset: int = 22, **attributes: Any) -> Any:
    """The output of one node."""

    def described(name: str, dtype: Any, shape: Any) -> Any:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)

    names = [f"x{k}" for k in range(len(arrays))]
    node = helper.make_node(operator, names, ["y"], **attributes)
    ins = [described(name, array.dtype, array.shape) for name, array in zip(names, arrays, strict=True)]
    graph = helper.make_graph([node], "g", ins, [described("y", out or arrays[0].dtype, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.save(model, path / "m.onnx")
    return Session(path / "m.onnx").run(dict(zip(names, arrays, strict=True)))["y"]


def drawn(dtype: Any, *shape: int) -> Any:
    return (RNG.normal(size=shape) + 3).astype(dtype)


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def normalized(x: Any, scale: Any, bias: Any) -> Any:
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + 1e-5) * scale + bias


ROW, OTHER = (4, 600), (600, 3)
OPERATORS: dict[str, tuple[list[tuple[int, ...]], Any]] = {
    "Div": ([ROW, ROW], lambda a, b: a / b),
    "MatMul": ([ROW, OTHER], lambda a, b: a @ b),
    "Gemm": ([ROW, OTHER, (3,)], lambda a, b, c: a @ b + c),
    "Gelu": ([ROW], np.vectorize(lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2)),
    "Softmax": ([ROW], softmax),
    "LogSoftmax": ([ROW], lambda x: np.log(softmax(x))),
    "ReduceMean": ([ROW], lambda x: x.mean(keepdims=True)),
    "ReduceSum": ([ROW], lambda x: x.sum(keepdims=True)),
    "LayerNormalization": ([ROW, (600,), (600,)], normalized),
    "BatchNormalization": (
        [ROW, *[(600,)] * 4],
        lambda x, scale, bias, mean, variance: (x - mean) / np.sqrt(variance + 1e-5) * scale + bias,
    ),
    "Mean": ([ROW, ROW, ROW], lambda a, b, c: (a + b + c) / 3),
    "Sum": ([ROW, ROW, ROW], lambda a, b, c: a + b + c),
}


@pytest.mark.parametrize("dtype", [BFLOAT, HALF, np.dtype("f4"), np.dtype("f8")], ids=lambda d: d.name)
@pytest.mark.parametrize("operator", OPERATORS)
def test_types_are_kept_and_results_rounded_once(operator: str, dtype: Any, tmp_path: Any) -> None:
    shapes, expected = OPERATORS[operator]
    arrays = [np.abs(drawn(dtype, *shape)) + dtype.type(0.5) for shape in shapes]
    arrays = [array.astype(dtype) for array in arrays]
    y = run(tmp_path, operator, arrays)
    wish = np.asarray(expected(*[array.astype("f8") for array in arrays]))
    assert y.dtype == dtype
    rounded = dtype == BFLOAT or operator in ("Div", "Gelu")
    tolerance = EPSILON[dtype] * (1.02 if rounded else 60)
    if dtype == np.dtype("f4"):
        tolerance = 4e-6
    np.testing.assert_allclose(y.astype("f8"), wish, rtol=tolerance, atol=tolerance * max(1, np.abs(wish).max() / 50))


@pytest.mark.parametrize(("dtype", "largest"), [(ml_dtypes.float8_e5m2, 57344.0), (ml_dtypes.float8_e4m3fn, 448.0)])
def test_casts_to_eight_bits_saturate(dtype: Any, largest: float, tmp_path: Any) -> None:
    x = np.array([1e6, -1e6, np.inf, -np.inf, np.nan, 3.0], np.float32)
    to = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    for more in ({}, {"saturate": 1}):
        y = run(tmp_path, "Cast", [x], out=dtype, to=to, **more).astype("f4")
        np.testing.assert_array_equal(y, [largest, -largest, largest, -largest, np.nan, 3])
    y = run(tmp_path, "Cast", [x], out=dtype, to=to, saturate=0).astype("f4")
    over = np.inf if dtype == ml_dtypes.float8_e5m2 else np.nan
    np.testing.assert_array_equal(np.abs(y), np.abs([over, over, over, over, np.nan, 3]))


def test_numbers_of_eight_bits_are_read(tmp_path: Any) -> None:
    x = np.array([1.5, -3, 57344], ml_dtypes.float8_e5m2)
    np.testing.assert_array_equal(run(tmp_path, "Cast", [x], out="f4", to=TensorProto.FLOAT), [1.5, -3, 57344])


@pytest.mark.parametrize("opset", [10, 13, 19, 21, 23])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32"])
def test_dequantize_linear(opset: int, dtype: str, tmp_path: Any) -> None:
    x = RNG.integers(0, 100, (2, 3, 4)).astype(dtype)
    scale, zero = np.float32([0.5, 2.0, 0.25]), np.array([0, 0, 0] if dtype == "int32" else [1, 2, 120], dtype)
    wish = (x.astype("f8") - int(zero[2])) * 0.25
    y = run(tmp_path, "DequantizeLinear", [x, scale[2:].reshape(()), zero[2:].reshape(())], out="f4", opset=opset)
    np.testing.assert_array_equal(y, wish)
    assert y.dtype == np.float32
    y = run(tmp_path, "DequantizeLinear", [x, scale[2:].reshape(())], out="f4", opset=opset)
    np.testing.assert_array_equal(y, x.astype("f8") * 0.25)
    if opset < 13:
        return
    wish = (x.astype("f8") - zero[None, :, None]) * scale[None, :, None]
    for axis in (1, -2):
        y = run(tmp_path, "DequantizeLinear", [x, scale, zero], out="f4", opset=opset, axis=axis)
        np.testing.assert_array_equal(y, wish)
    np.testing.assert_array_equal(run(tmp_path, "DequantizeLinear", [x, scale, zero], out="f4", opset=opset), wish)
    last = np.float32([1, 2, 3, 4])
    y = run(tmp_path, "DequantizeLinear", [x, last], out="f4", opset=opset, axis=2)
    np.testing.assert_array_equal(y, x * last.astype("f8"))


def test_dequantize_linear_of_other_types(tmp_path: Any) -> None:
    x = np.array([1, -3, 7], ml_dtypes.int4)
    y = run(tmp_path, "DequantizeLinear", [x, np.float16(0.5).reshape(()), np.array(2, ml_dtypes.int4)], out=HALF)
    np.testing.assert_array_equal(y, np.float16([-0.5, -2.5, 2.5]))
    x = np.array([1.5, -3], ml_dtypes.float8_e5m2)
    y = run(tmp_path, "DequantizeLinear", [x, np.float32(2).reshape(()), np.array(0, x.dtype)], out="f4")
    np.testing.assert_array_equal(y, [3, -6])
    x = np.arange(8, dtype=np.int8).reshape(2, 4)
    scale = np.float32([[1, 2], [3, 4]])
    y = run(tmp_path, "DequantizeLinear", [x, scale], out="f4", axis=1, block_size=2)
    np.testing.assert_array_equal(y, x * np.repeat(scale, 2, axis=1))


@pytest.mark.parametrize(("scale", "zero"), [([1, 2], None), ([1, 2, 3], [1, 2]), ([1, 2, 3], [1.0, 2.0, 3.0])])
def test_scales_that_do_not_fit(scale: Any, zero: Any, tmp_path: Any) -> None:
    arrays = [np.ones((2, 3), np.uint8), np.float32(scale)]
    if zero is not None:
        arrays.append(np.array(zero, np.uint8 if isinstance(zero[0], int) else np.int8))
    with pytest.raises(FormatError, match="x_scale must have|x_zero_point must be like"):
        run(tmp_path, "DequantizeLinear", arrays, out="f4", opset=13)
