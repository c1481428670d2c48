"""Reading the graph of another program as a chain of rnnx layers.

The graph is followed from its input to its output. What is followed has named axes: batch, time and features, or ids;
transpositions only change their order. Weights are constants; initial states must be zeros.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnx import layers
from rnnx.formats.onnx._chain_recurrent import NoChain, recurrent_layer
from rnnx.formats.onnx._file import Source, attributes_of, called, reason
from rnnx.formats.onnx._limits import MOST_LAYERS
from rnnx.formats.onnx._program import Program
from rnnx.formats.onnx._recurrent import Options
from rnnx.layers.layer import weights_limited
from rnnx.saving import FormatError

Array = NDArray[Any]
ACTIVATIONS = {
    "Elu": "elu", "Exp": "exponential", "Gelu": "gelu", "Relu": "relu", "Selu": "selu", "Sigmoid": "sigmoid",
    "Softmax": "softmax", "Softplus": "softplus", "Softsign": "softsign", "Tanh": "tanh",
}  # fmt: skip
DEFAULTS = {"Elu": {"alpha": 1.0}, "Selu": {"alpha": 1.67326324, "gamma": 1.05070099}, "Gelu": {}}
UNFIT = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError)
SHAPE_OPERATORS = {"Shape", "Gather", "Concat", "Unsqueeze", "Squeeze", "Slice", "Cast", "ConstantOfShape", "Expand"}
CLASSES = {"LSTM": layers.LSTM, "GRU": layers.GRU, "RNN": layers.SimpleRNN}


@dataclass
class _Chain:
    """What has been read so far.

    Attributes
    ----------
    axes : str
        Letters of the axes of the value that is followed: b(atch), t(ime), f(eatures), d(irections), or the number of
        an axis of the input before it is known what that is.
    layers : list
        Pairs of a layer and its weights.
    uses : set of str
        Values that something reads.
    """

    source: Source
    known: dict[str, Array]
    value: str
    axes: str
    layers: list[tuple[Any, list[Array]]] = field(default_factory=list)
    zeros: set[str] = field(default_factory=set)
    shapes: set[str] = field(default_factory=set)
    time_major: bool = False
    uses: set[str] = field(default_factory=set)

    def constant(self, node: Any, place: int) -> Array:
        name = node.input[place] if place < len(node.input) else ""
        if name not in self.known:
            raise NoChain(f"input {place} of {called(node)} is not a constant")
        return self.known[name]

    def add(self, layer: Any, *weights: Array) -> None:
        if len(self.layers) >= MOST_LAYERS:
            raise NoChain(f"it has more than {MOST_LAYERS:,} layers")
        self.layers.append((layer, [np.asarray(w) for w in weights]))


def read_chain(source: Source) -> Any:
    """A `Sequential` of the layers of a graph.

    Raises
    ------
    FormatError
        If the graph is not a chain of such layers; the node is named.
    """
    try:
        return _model(source)
    except UNFIT as error:
        if isinstance(error, FormatError) and str(error).startswith(source.name):
            raise
        raise FormatError(
            f"{source.name}: not a chain of layers that rnnx has: {reason(error)}; "
            "rnnx.formats.onnx.Session(path) runs any graph"
        ) from error


def _model(source: Source) -> Any:
    from rnnx.models import Sequential

    graph = source.proto.graph
    given = {tensor.name for tensor in graph.initializer}
    entries = [value for value in graph.input if value.name not in given]
    if len(entries) != 1 or len(graph.output) != 1:
        raise NoChain(f"it has {len(entries)} inputs and {len(graph.output)} outputs, one of each is needed")
    entry = entries[0].type.tensor_type
    if not entries[0].type.HasField("tensor_type") or not entry.HasField("shape"):
        raise NoChain("the shape of its input is not given")
    program = Program(source, graph)
    known = {name: program.known[place] for name, place in program.places.items() if place in program.known}
    chain = _Chain(source, known, entries[0].name, "0123456789"[: len(entry.shape.dim)])
    chain.uses = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for node in graph.node:
        if all(name in known for name in node.output):
            continue
        _read_node(chain, node)
    if chain.value != graph.output[0].name:
        raise NoChain(f"its output {graph.output[0].name!r} is not the end of the chain")
    if not any(hasattr(layer, "return_sequences") for layer, _ in chain.layers):
        raise NoChain("there is no recurrent layer in it")
    turned = chain.axes not in ("btf", "bf")
    if turned and sorted(chain.axes) != ["b", "f", "t"]:
        raise NoChain(f"its output has the axes {_spelled(chain.axes)}")
    if turned or chain.time_major:
        ends = [word for word, there in (("inputs", chain.time_major), ("outputs", turned)) if there]
        warnings.warn(
            f"{source.name}: a rnnx model has (batch, timesteps, features), the file's {' and '.join(ends)} have the "
            "timesteps first; swap the axes of the arrays: x.swapaxes(0, 1)",
            stacklevel=5,
        )
    model = Sequential(name=_name(graph.name))
    first = chain.layers[0][0]
    width = None if isinstance(first, layers.Embedding) else _width(chain.layers[0])
    shape = (None,) if width is None else (None, width) if len(entry.shape.dim) == 3 else (width,)
    model.add(layers.InputLayer(shape, dtype=np.int64 if width is None else np.float32, name=_name(entries[0].name)))
    with weights_limited(sum(array.size for _, weights in chain.layers for array in weights)):
        for layer, weights in chain.layers:
            model.add(layer)
            if weights:
                layer.set_weights(weights)
    return model


def _read_node(chain: _Chain, node: Any) -> None:
    try:
        if chain.value in node.input and node.op_type != "Shape":
            _follow(chain, node)
        elif node.op_type in SHAPE_OPERATORS:
            _follow_shape(chain, node)
        else:
            raise NoChain(f"{called(node)} is beside the chain")
    except NoChain:
        raise
    except UNFIT as error:
        raise NoChain(f"{called(node)}: {reason(error)}") from error


def _name(name: str) -> str:
    return name.strip("/").replace("/", "_") or "onnx"


def _spelled(axes: str) -> str:
    words = {"b": "batch", "t": "timesteps", "f": "features", "d": "directions"}
    return "(" + ", ".join(words.get(a, f"axis {a}") for a in axes) + ")"


def _width(first: tuple[Any, list[Array]]) -> int:
    layer, weights = first
    if not weights:
        raise NoChain(f"the width of its input is not known before {type(layer).__name__}")
    return int(weights[0].shape[1] if isinstance(layer, layers.Conv1D) else weights[0].shape[0])


def _follow_shape(chain: _Chain, node: Any) -> None:
    """Nodes that make initial states of zeros from the size of the batch."""
    (output,) = node.output
    if node.op_type == "ConstantOfShape":
        value = attributes_of(node).get("value")
        if value is None or not chain.source.array(value).any():
            chain.zeros.add(output)
    elif node.op_type == "Expand" and node.input[0] in chain.known and not chain.known[node.input[0]].any():
        chain.zeros.add(output)
    elif any(name in chain.zeros for name in node.input):
        if node.op_type in ("Concat", "Expand") and not all(n in chain.zeros | chain.shapes for n in node.input):
            raise NoChain(f"{called(node)} makes initial states that are not zeros")
        chain.zeros.add(output)
    chain.shapes.add(output)


def _follow(chain: _Chain, node: Any) -> None:
    """One node of the chain."""
    readers = {
        "Add": _add, "Cast": _identity, "Clip": _clip, "Dropout": _dropout, "Gather": _gather, "Gemm": _gemm,
        "GRU": _recurrent, "HardSigmoid": _hard_sigmoid, "Identity": _identity, "LayerNormalization": _layer_norm,
        "LeakyRelu": _leaky_relu, "LSTM": _recurrent, "MatMul": _matmul, "Reshape": _reshape, "RNN": _recurrent,
        "Squeeze": _squeeze, "Transpose": _transpose,
    }  # fmt: skip
    operator = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
    if operator in ACTIVATIONS:
        _activation(chain, node)
    elif operator in readers:
        readers[operator](chain, node)
    else:
        raise NoChain(f"{called(node)}")
    if operator not in CLASSES:
        chain.value = node.output[0]


def _identity(chain: _Chain, node: Any) -> None:
    """Nothing happens to the value."""


def _transpose(chain: _Chain, node: Any) -> None:
    perm = attributes_of(node).get("perm", list(range(len(chain.axes)))[::-1])
    if sorted(perm) != list(range(len(chain.axes))):
        raise NoChain(called(node))
    chain.axes = "".join(chain.axes[k] for k in perm)


def _gather(chain: _Chain, node: Any) -> None:
    axis = attributes_of(node).get("axis", 0)
    if len(node.input) == 2 and node.input[1] == chain.value and axis == 0:
        table = chain.constant(node, 0)
        if table.ndim != 2 or len(chain.axes) != 2 or chain.layers:
            raise NoChain(called(node))
        chain.add(layers.Embedding(*table.shape, dtype=_dtype(table)), table)
        chain.axes += "f"
        return
    index = chain.constant(node, 1)
    if index.ndim or chain.axes[axis] != "t" or int(index) != -1 or not _last_step(chain):
        raise NoChain(called(node))
    chain.axes = chain.axes.replace("t", "")


def _last_step(chain: _Chain) -> bool:
    """Turn the last layer, if it is recurrent and reads forwards, into one that gives its last output only."""
    layer, weights = chain.layers[-1] if chain.layers else (None, [])
    if type(layer) not in CLASSES.values():
        return False
    last: Any = layer
    chain.layers[-1] = (type(last).from_config({**last.get_config(), "return_sequences": False}), weights)
    return True


def _features_last(chain: _Chain, node: Any) -> None:
    last = len(chain.axes) - 1
    if last == 2 and chain.axes[last] == "2":
        chain.axes = chain.axes[:last] + "f"
    if "d" in chain.axes or chain.axes[last] != "f":
        raise NoChain(f"{called(node)} is not over the features")


def _matmul(chain: _Chain, node: Any) -> None:
    _features_last(chain, node)
    kernel = chain.constant(node, 1)
    if kernel.ndim != 2:
        raise NoChain(called(node))
    chain.add(layers.Dense(kernel.shape[1], use_bias=False, dtype=_dtype(kernel)), kernel)


def _dtype(array: Array) -> str:
    if array.dtype not in (np.float32, np.float64):
        raise NoChain(f"weights of type {array.dtype}")
    return str(array.dtype)


def _add(chain: _Chain, node: Any) -> None:
    place = 1 if node.input[0] == chain.value else 0
    bias = chain.constant(node, place)
    layer, weights = chain.layers[-1] if chain.layers else (None, [])
    if not isinstance(layer, layers.Dense) or layer.use_bias or layer.activation.name != "linear":
        raise NoChain(f"{called(node)} is not the bias of a product")
    if bias.shape[-1:] != (layer.units,) or bias.size != layer.units:
        raise NoChain(f"{called(node)} adds an array of shape {bias.shape} to {layer.units} features")
    chain.layers[-1] = (layers.Dense(layer.units, dtype=layer.dtype.name), [*weights, bias.reshape(-1)])


def _gemm(chain: _Chain, node: Any) -> None:
    attributes = attributes_of(node)
    _features_last(chain, node)
    if attributes.get("transA", 0) or node.input[0] != chain.value:
        raise NoChain(called(node))
    kernel = chain.constant(node, 1) * np.asarray(attributes.get("alpha", 1.0), chain.constant(node, 1).dtype)
    kernel = kernel.T if attributes.get("transB", 0) else kernel
    bias = np.zeros(kernel.shape[1], kernel.dtype)
    if len(node.input) > 2 and node.input[2]:
        bias = bias + chain.constant(node, 2).reshape(-1) * np.asarray(attributes.get("beta", 1.0), kernel.dtype)
    chain.add(layers.Dense(kernel.shape[1], dtype=_dtype(kernel)), kernel, bias)


def _activation(chain: _Chain, node: Any) -> None:
    attributes = attributes_of(node)
    for name, number in DEFAULTS.get(node.op_type, {}).items():
        if abs(attributes.get(name, number) - number) > 1e-5:
            raise NoChain(f"{called(node)} with {name} {attributes[name]}")
    if attributes.get("approximate", "none") != "none":
        raise NoChain(f"{called(node)} with an approximation")
    if node.op_type == "Softmax":
        last = len(chain.axes) - 1
        old = chain.source.opsets[""] < 13
        axis = attributes.get("axis", 1 if old else -1)
        if axis not in (-1, last) or chain.axes[-1] != "f":
            raise NoChain(f"{called(node)} is not over the features")
    _add_activation(chain, ACTIVATIONS[node.op_type])


def _add_activation(chain: _Chain, name: str) -> None:
    """An activation becomes that of the Dense before it, or a layer."""
    layer, weights = chain.layers[-1] if chain.layers else (None, [])
    if isinstance(layer, layers.Dense) and layer.activation.name == "linear":
        with_it = layers.Dense(layer.units, activation=name, use_bias=layer.use_bias, dtype=layer.dtype.name)
        chain.layers[-1] = (with_it, weights)
        return
    chain.add(layers.Activation(name))


def _hard_sigmoid(chain: _Chain, node: Any) -> None:
    attributes = attributes_of(node)
    numbers = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
    for name, own in (("hard_sigmoid", (1 / 6, 0.5)), ("hard_sigmoid_keras2", (0.2, 0.5))):
        if np.allclose(numbers, own, rtol=1e-6, atol=0):
            _add_activation(chain, name)
            return
    raise NoChain(f"{called(node)} with alpha, beta {numbers}")


def _leaky_relu(chain: _Chain, node: Any) -> None:
    chain.add(layers.ReLU(negative_slope=attributes_of(node).get("alpha", 0.01)))


def _clip(chain: _Chain, node: Any) -> None:
    attributes = attributes_of(node)
    low = attributes.get("min", chain.known.get(node.input[1]) if len(node.input) > 1 else None)
    high = attributes.get("max", chain.known.get(node.input[2]) if len(node.input) > 2 else None)
    if low is None or high is None or float(low) != 0 or float(high) < 0:
        raise NoChain(f"{called(node)} between {low} and {high}")
    chain.add(layers.ReLU(max_value=float(high)))


def _dropout(chain: _Chain, node: Any) -> None:
    rate = attributes_of(node).get("ratio", 0.5)
    if len(node.input) > 1 and node.input[1]:
        rate = float(chain.constant(node, 1))
    chain.add(layers.Dropout(float(rate)))


def _layer_norm(chain: _Chain, node: Any) -> None:
    attributes = attributes_of(node)
    _features_last(chain, node)
    if attributes.get("axis", -1) not in (-1, len(chain.axes) - 1):
        raise NoChain(called(node))
    gamma = chain.constant(node, 1)
    weights = [gamma]
    if center := len(node.input) > 2 and bool(node.input[2]):
        weights.append(chain.constant(node, 2))
    options = {"epsilon": attributes.get("epsilon", 1e-5), "center": center, "dtype": _dtype(gamma)}
    chain.add(layers.LayerNormalization(**options), *weights)


def _squeeze(chain: _Chain, node: Any) -> None:
    axes = attributes_of(node).get("axes")
    if axes is None and len(node.input) > 1:
        axes = [int(n) for n in chain.constant(node, 1).reshape(-1)]
    if axes is None or [chain.axes[a] for a in axes] != ["d"] or _two_directions(chain):
        raise NoChain(called(node))
    chain.axes = chain.axes.replace("d", "")


def _two_directions(chain: _Chain) -> bool:
    return isinstance(chain.layers[-1][0], layers.Bidirectional)


def _reshape(chain: _Chain, node: Any) -> None:
    """Directions and features become one axis, as in an output of both directions side by side."""
    shape = chain.constant(node, 1).reshape(-1)
    if chain.axes[-2:] != "df" or len(shape) != len(chain.axes) - 1 or any(shape[:-1] > 0):
        raise NoChain(called(node))
    if list(shape[:-1]) != [0] * (len(shape) - 1):
        raise NoChain(f"{called(node)} to {shape.tolist()}")
    chain.axes = chain.axes[:-2] + "f"


def _recurrent(chain: _Chain, node: Any) -> None:
    attributes = attributes_of(node)
    try:
        options = Options.read(node.op_type, attributes)
    except FormatError as error:
        raise NoChain(f"{called(node)}: {error}") from error
    if node.input[0] != chain.value:
        raise NoChain(called(node))
    wanted = "btf" if options.batch_first else "tbf"
    if chain.axes[0] in "012" and len(chain.axes) == 3:  # the first recurrent operator tells which axis is which
        chain.time_major = chain.axes[wanted.index("t")] == "0"
        fits = chain.axes[2] in "2f" and "0" in chain.axes[:2] and "1" in chain.axes[:2]
        chain.axes = wanted if fits else chain.axes
    if chain.axes != wanted:
        raise NoChain(f"{called(node)} takes {_spelled(wanted)}, but the axes are {_spelled(chain.axes)}")
    inputs = [*node.input, *[""] * 8][:8]
    if inputs[4] or inputs[7]:
        raise NoChain(f"{called(node)} has {'sequence_lens' if inputs[4] else 'peepholes'}")
    for name in inputs[5:7]:
        if name and name not in chain.zeros and (name not in chain.known or chain.known[name].any()):
            raise NoChain(f"{called(node)} has initial states that are not zeros")
    used = [k for k, name in enumerate(node.output) if name and name in chain.uses]
    if used not in ([0], [1]):
        raise NoChain(f"{called(node)}: exactly one of Y and Y_h must be used")
    bias = chain.constant(node, 3) if inputs[3] else None
    w, r = chain.constant(node, 1), chain.constant(node, 2)
    _dtype(w)
    try:
        layer, weights = recurrent_layer(options, w, r, bias, sequences=used == [0])
    except NoChain as error:
        raise NoChain(f"{called(node)} {error}") from error
    chain.add(layer, *weights)
    chain.value = node.output[used[0]]
    if used == [0]:
        chain.axes = "btdf" if options.batch_first else "tdbf"
    else:
        chain.axes = "bdf" if options.batch_first else "dbf"
