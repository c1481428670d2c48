"""Nodes as layers, one function for each kind: the mirror of `_write_layers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx import layers, ops
from rnnx._typing import Array
from rnnx.formats.onnx import _axes, _read_operations
from rnnx.formats.onnx._activations import ACTIVATIONS, activation_of_node
from rnnx.formats.onnx._file import attributes_of, called
from rnnx.formats.onnx._read_shapes import aligned, chosen_sizes, computed_sizes, names_of
from rnnx.formats.onnx._reading import FLOATS, NoLayer, Reading
from rnnx.formats.onnx._view import Size, View, Zeros, view_of
from rnnx.formats.onnx._write_layers import ARITHMETIC

OPERATIONS = {operator: name for name, operator in ARITHMETIC.items()}
OVER_FEATURES = ("softmax", "log_softmax")
EPSILON = 1e-3  # of a normalization that is written out, if its variances are larger


def dtype_of(array: Array) -> str:
    if array.dtype not in FLOATS:
        raise NoLayer(f"it has weights of type {array.dtype}")
    return str(array.dtype)


def _bias(reading: Reading, name: str, units: int, rank: int) -> tuple[str, str]:
    """The constant that the only reader of a product adds to its features, if it does, and the value behind that."""
    node = reading.only_reader(name)
    if node is None or node.op_type != "Add" or node.domain not in ("", "ai.onnx"):
        return "", name
    other = next((given for given in node.input if given in reading.known), "")
    array = reading.known.get(other)
    if array is None or array.ndim > rank or array.shape[-1:] != (units,) or array.size != units:
        return "", name
    return other, node.output[0]


def activation_after(reading: Reading, name: str, view: View) -> tuple[str, str]:
    """The activation that the only reader of a value is, if it is one, and the value behind that."""
    node = reading.only_reader(name)
    if node is None or node.domain not in ("", "ai.onnx"):
        return "linear", name
    found = activation_of_node(node.op_type, attributes_of(node))
    if found is None:
        return "linear", name
    if found in OVER_FEATURES:  # of the tensor, which may lie on another axis of the value than the last
        axis = _softmax_axis(reading, node, view)
        if axis is None or view.axes[axis] != (view.width - 1,):
            return "linear", name
    return ("linear", name) if _approximates(node) else (found, node.output[0])


def _approximates(node: Any) -> bool:
    return attributes_of(node).get("approximate", "none") != "none"


def _softmax_axis(reading: Reading, node: Any, view: View) -> int | None:
    """The axis of the value that a Softmax is over; None if it is over several."""
    old = reading.source.opsets[""] < 13
    axis = int(attributes_of(node).get("axis", 1 if old else -1))
    axis += view.rank if axis < 0 else 0
    return None if old and axis != view.rank - 1 else axis


def _matmul(reading: Reading, node: Any) -> None:
    if not any(name in reading.known for name in node.input):
        _read_operations.matmul(reading, node)
        return
    kernel = reading.constant(node, 1)
    if kernel.ndim != 2:
        raise NoLayer(f"{called(node)} by an array of shape {kernel.shape}")
    if _of_zeros(reading, node, kernel.shape[1]):
        return
    view = reading.features_last(reading.tensor(node, 0))
    bias, name = _bias(reading, node.output[0], kernel.shape[1], view.rank)
    arrays = [kernel] if not bias else [kernel, reading.known[bias].reshape(-1)]
    _give_dense(reading, view, ("MatMul", node.input[1], bias), lambda: arrays, name)


def _of_zeros(reading: Reading, node: Any, units: int) -> bool:
    """Read a product of zeros, which are zeros."""
    zeros = reading.values.get(node.input[0])
    if not isinstance(zeros, Zeros):
        return False
    reading.give(node.output[0], Zeros(None if zeros.sizes is None else (*zeros.sizes[:-1], Size(units))))
    return True


def _gemm(reading: Reading, node: Any) -> None:
    attributes = attributes_of(node)
    if attributes.get("transA", 0):
        raise NoLayer(f"{called(node)} with transA")
    view, kernel = reading.features_last(_axes.view(reading, node, 0)), reading.constant(node, 1)
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    units = kernel.shape[0 if attributes.get("transB", 0) else 1]
    bias = node.input[2] if len(node.input) > 2 else ""
    if bias and reading.constant(node, 2).size not in (1, units):
        raise NoLayer(f"{called(node)} adds an array of shape {reading.known[bias].shape} to {units} features")

    def arrays() -> list[Array]:
        turned = kernel.T if attributes.get("transB", 0) else kernel
        found = [turned if alpha == 1 else turned * np.asarray(alpha, kernel.dtype)]
        if bias:
            scaled = reading.known[bias].reshape(-1) * np.asarray(beta, kernel.dtype)
            found.append(np.broadcast_to(scaled, units))
        return found

    key = ("Gemm", node.input[1], bias, alpha, beta, attributes.get("transB", 0))
    _give_dense(reading, view, key, arrays, node.output[0])


def _give_dense(reading: Reading, view: View, key: Any, arrays: Callable[[], list[Array]], name: str) -> None:
    """A Dense, with the activation behind it."""
    activation, name = activation_after(reading, name, view)
    kernel, *bias = arrays()
    y = reading.weighted(
        (*key, activation),
        lambda: layers.Dense(kernel.shape[1], activation=activation, use_bias=bool(bias), dtype=dtype_of(kernel)),
        arrays,
        view.single,
    )
    reading.give(name, reading.after(view, y))


def _activation(reading: Reading, node: Any) -> None:
    attributes = attributes_of(node)
    name = activation_of_node(node.op_type, attributes)
    view = reading.view(node, 0)
    if name == "gelu" and _approximates(node):
        reading.give(node.output[0], _read_operations.each(reading, view, ops.gelu, True))
        return
    if name is None or _approximates(node):
        raise NoLayer(f"{called(node)} with {attributes}")
    reading.give(node.output[0], reading.elementwise(view, lambda dtype: layers.Activation(name, dtype=dtype)))


def _softmax(reading: Reading, node: Any) -> None:
    view = reading.tensor(node, 0)
    axis = _softmax_axis(reading, node, view)
    if axis is None:
        raise NoLayer(f"{called(node)} is over more than one axis")
    (own,) = view.axes[axis] if len(view.axes[axis]) == 1 else (0,)
    dtype = np.dtype(view.dtype).name
    if own and own == view.width - 1:
        name = "softmax" if node.op_type == "Softmax" else "log_softmax"
        y = reading.call(layers.Activation(name, dtype=dtype), view.single)
    elif node.op_type == "Softmax" and own:
        y = reading.call(layers.Softmax(own, dtype=dtype), view.single)
    else:
        reading.give(node.output[0], _read_operations.normalized(reading, node, view, axis))
        return
    reading.give(node.output[0], reading.after(view, y))


def _leaky_relu(reading: Reading, node: Any) -> None:
    alpha = attributes_of(node).get("alpha", 0.01)
    view = reading.view(node, 0)
    if activation_of_node("LeakyRelu", {"alpha": alpha}):
        _activation(reading, node)
        return
    reading.give(
        node.output[0], reading.elementwise(view, lambda dtype: layers.ReLU(negative_slope=alpha, dtype=dtype))
    )


def _clip(reading: Reading, node: Any) -> None:
    attributes, view = attributes_of(node), reading.view(node, 0)
    bounds: list[float | None] = []
    for place, name in ((1, "min"), (2, "max")):
        given = node.input[place] if place < len(node.input) else ""
        bound = reading.number(given) if given else attributes.get(name)
        if given and bound is None:
            raise NoLayer(f"{called(node)} with bounds that are not constant")
        bounds.append(bound)
    low, high = bounds
    if low == 0 and high is not None and high >= 0:
        view = reading.elementwise(view, lambda dtype: layers.ReLU(max_value=high, dtype=dtype))
    else:
        for operation, bound in (("maximum", low), ("minimum", high)):
            if bound is not None:
                view = _with_number(reading, view, operation, right=bound)
    reading.give(node.output[0], view)


def _with_number(reading: Reading, view: View, operation: str, **numbers: float) -> View:
    return reading.elementwise(view, lambda dtype: layers.Arithmetic(operation, dtype=dtype, **numbers))


def _dropout(reading: Reading, node: Any) -> None:
    if len(node.output) > 1 and reading.is_used(node.output[1]):
        raise NoLayer(f"{called(node)}: its mask is used")
    if len(node.input) > 2 and node.input[2] and reading.constant(node, 2).any():
        raise NoLayer(f"{called(node)} in training mode")
    rate = float(attributes_of(node).get("ratio", 0.5))
    if len(node.input) > 1 and node.input[1]:
        rate = float(reading.constant(node, 1))
    view = reading.view(node, 0)
    reading.give(node.output[0], reading.elementwise(view, lambda dtype: layers.Dropout(rate, dtype=dtype)))


def _layer_normalization(reading: Reading, node: Any) -> None:
    attributes = attributes_of(node)
    if any(reading.is_used(name) for name in node.output[1:]):
        raise NoLayer(f"{called(node)}: its mean or deviation is used")
    view, gamma = reading.features_last(reading.tensor(node, 0)), reading.constant(node, 1)
    if attributes.get("axis", -1) not in (-1, view.rank - 1):
        raise NoLayer(f"{called(node)} is over more than the features")
    beta = node.input[2] if len(node.input) > 2 else ""
    arrays = [gamma, reading.constant(node, 2)] if beta else [gamma]
    epsilon = attributes.get("epsilon", 1e-5)
    y = reading.weighted(
        ("LayerNormalization", node.input[1], beta, epsilon),
        lambda: layers.LayerNormalization(epsilon=epsilon, center=bool(beta), dtype=dtype_of(gamma)),
        lambda: arrays,
        view.single,
    )
    reading.give(node.output[0], reading.after(view, y))


def _batch_normalization(reading: Reading, node: Any) -> None:
    view, attributes = reading.tensor(node, 0), attributes_of(node)
    if attributes.get("training_mode", 0) or any(reading.is_used(name) for name in node.output[1:]):
        raise NoLayer(f"{called(node)} in training mode")
    if view.rank < 2 or view.axes[1] != (view.width - 1,):
        if view.rank < 3:
            raise NoLayer(f"{called(node)} is not over the features")
        view = _axes.channels_last(reading, node, view)
    arrays = [reading.constant(node, place) for place in range(1, 5)]
    epsilon = attributes.get("epsilon", 1e-5)
    y = reading.weighted(
        ("BatchNormalization", *node.input[1:], epsilon),
        lambda: layers.BatchNormalization(epsilon=epsilon, dtype=dtype_of(arrays[0])),
        lambda: arrays,
        view.single,
    )
    reading.give(node.output[0], reading.after(view, y))


def _written_out(reading: Reading, node: Any, view: View) -> bool:
    """Read ``(x - mean) / deviation * gamma + beta``, as rnnx writes it, if it is that from this subtraction on."""
    mean = reading.known.get(node.input[1])
    width = view.single.shape[-1] if view.single is not None and view.axes[-1] == (view.width - 1,) else None
    after = reading.only_reader(node.output[0])
    if mean is None or mean.shape != (width,) or after is None or after.op_type != "Div" or width is None:
        return False
    deviation = reading.known.get(after.input[1])
    if after.input[0] != node.output[0] or deviation is None or deviation.shape != (width,) or not deviation.all():
        return False
    name, found = after.output[0], {}
    for operator in ("Mul", "Add"):
        follow = reading.only_reader(name)
        if follow is None or follow.op_type != operator or follow.input[0] != name:
            continue
        array = reading.known.get(follow.input[1])
        if array is not None and array.shape == (width,):
            found[operator], name = follow.input[1], follow.output[0]
    squares = np.square(deviation)
    epsilon = min(EPSILON, float(squares.min()) / 2)
    parts = [reading.known[found[operator]] for operator in ("Mul", "Add") if operator in found]
    y = reading.weighted(
        ("Sub", node.input[1], after.input[1], *found.items()),
        lambda: layers.BatchNormalization(
            epsilon=epsilon, scale="Mul" in found, center="Add" in found, dtype=dtype_of(mean)
        ),
        lambda: [*parts, mean, squares - np.asarray(epsilon, squares.dtype)],
        view.single,
    )
    reading.give(name, reading.after(view, y))
    return True


def _arithmetic(reading: Reading, node: Any) -> None:
    """Add, Sub, Mul, Div, Max and Min of two values, or of one and a number."""
    operation = OPERATIONS[node.op_type]
    if (sizes := computed_sizes(reading, node)) is not None:
        reading.give(node.output[0], sizes)
        return
    if len(node.input) == 2 and sum(name in reading.known for name in node.input) == 1:
        place = 0 if node.input[0] in reading.known else 1
        view, number = _axes.view(reading, node, 1 - place), reading.number(node.input[place])
        array = reading.known[node.input[place]]
        if number is not None and array.ndim <= view.rank and np.dtype(view.dtype) in FLOATS:
            operand = {"left" if place == 0 else "right": number}
            reading.give(node.output[0], _with_number(reading, view, operation, **operand))
        elif node.op_type != "Sub" or place == 0 or not _written_out(reading, node, view):
            _read_operations.binary(reading, node)
        return
    if np.dtype(_axes.view(reading, node, 0).dtype) not in FLOATS:
        _read_operations.binary(reading, node)
        return
    reading.give(node.output[0], _merge(reading, node, operation))


def _merge(reading: Reading, node: Any, operation: str) -> View:
    """One value from several by a layer for all of them, or from two at a time."""
    views = aligned(reading, node, [_axes.view(reading, node, k) for k in range(len(node.input))])
    dtype = np.dtype(views[0].dtype)
    if dtype not in FLOATS:
        raise NoLayer(f"{called(node)} of numbers of type {dtype}")
    tensors: list[Any] = [view.single for view in views]
    first = views[0]
    if len(tensors) > 1:
        whole = {"add": layers.Add, "multiply": layers.Multiply, "average": layers.Average}.get(operation)
        if whole is not None:
            tensors = [reading.call(whole(dtype=dtype.name), tensors)]
        while len(tensors) > 1:
            tensors[:2] = [reading.call(layers.Arithmetic(operation, dtype=dtype.name), tensors[:2])]
    return view_of(tensors[0], first.axes, names_of(views), first.flipped)


def _sum(reading: Reading, node: Any) -> None:
    reading.give(node.output[0], _merge(reading, node, "add" if node.op_type == "Sum" else "average"))


def _where(reading: Reading, node: Any) -> None:
    """Sizes, or ``where(x > threshold, x, slope * (x - threshold))``, as rnnx writes a ReLU, or any other choice."""
    if (sizes := chosen_sizes(reading, node)) is not None:
        reading.give(node.output[0], sizes)
    elif not _written_relu(reading, node):
        _read_operations.where(reading, node)


def _written_relu(reading: Reading, node: Any) -> bool:
    """Read a ReLU as rnnx writes it, if it is one."""
    greater, product = (reading.makers.get(node.input[k]) for k in (0, 2))
    below = reading.makers.get(product.input[0]) if product is not None and product.op_type == "Mul" else None
    x = node.input[1]
    if greater is None or product is None or below is None or greater.op_type != "Greater" or below.op_type != "Sub":
        return False
    threshold, slope = reading.number(greater.input[1]), reading.number(product.input[1])
    same = greater.input[0] == below.input[0] == x and greater.input[1] == below.input[1]
    if not same or threshold is None or slope is None:
        return False
    view = reading.view(node, 1)
    name, most = node.output[0], None
    follow = reading.only_reader(name)
    if follow is not None and follow.op_type == "Min" and list(follow.input)[0] == name and len(follow.input) == 2:
        most = reading.number(follow.input[1])
        name = name if most is None else follow.output[0]
    reading.give(name, reading.elementwise(view, lambda dtype: layers.ReLU(most, slope, threshold, dtype=dtype)))
    return True


READERS: dict[str, Callable[[Reading, Any], None]] = {
    **{row.operator: _activation for row in ACTIVATIONS if row.node},
    **{operator: _arithmetic for operator in OPERATIONS},
    "BatchNormalization": _batch_normalization,
    "Clip": _clip,
    "Dropout": _dropout,
    "Gemm": _gemm,
    "LayerNormalization": _layer_normalization,
    "LeakyRelu": _leaky_relu,
    "LogSoftmax": _softmax,
    "MatMul": _matmul,
    "Mean": _sum,
    "Softmax": _softmax,
    "Sum": _sum,
    "Where": _where,
}
