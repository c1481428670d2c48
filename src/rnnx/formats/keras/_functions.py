"""Operations of Keras 3 between layers and those of `rnnx.ops`, which have their names and arguments."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from rnnx import ops
from rnnx._nested import leaves
from rnnx.formats.keras._calls import Call, Place, tensors_in
from rnnx.layers import Operation
from rnnx.layers.graph import SymbolicTensor, topological_order
from rnnx.layers.ops.arguments import Slot, replaced
from rnnx.layers.ops.dtypes import named
from rnnx.saving import FormatError

MASK_OPERATORS = {  # with which Keras 3 writes down how a mask is handed on
    "NotEqual", "Any", "All", "ExpandDims", "ZerosLike", "OnesLike", "LogicalOr", "LogicalAnd", "Concatenate", "Stack",
    "Squeeze", "Cast", "BroadcastTo", "Flip", "ConvertToTensor",
}  # fmt: skip
NOT_BETWEEN_LAYERS = {"convert_to_numpy", "ndim", "shape", "size"}
OF_MODULES = {  # of `keras.src.ops`; the others are in `numpy`
    "core": {"cast", "slice", "stop_gradient", "unstack"},
    "linalg": {"norm"},
    "math": {"erf", "logsumexp", "rsqrt", "top_k"},
    "nn": {
        "elu", "gelu", "hard_sigmoid", "leaky_relu", "log_softmax", "normalize", "one_hot", "relu", "relu6", "selu",
        "sigmoid", "silu", "softmax", "softplus", "softsign",
    },
}  # fmt: skip


def kind_of(name: str) -> str:
    """The class that Keras has for an operation."""
    return "".join(part.capitalize() for part in name.split("_"))


FUNCTIONS = {kind_of(name): getattr(ops, name) for name in ops.__all__ if name not in NOT_BETWEEN_LAYERS}


# ---- Reading ---------------------------------------------------------------------------------------------------------


class Function:
    """An operation of a file, in the place of a layer.

    Parameters
    ----------
    kind : str
        Its class in Keras.
    config : dict
    name : str

    Attributes
    ----------
    of_masks : bool
        Whether it may be one that Keras wrote down for a mask.
    """

    def __init__(self, kind: str, config: dict[str, Any], name: str, where: str):
        self.name, self.function, self.of_masks = name, FUNCTIONS[kind], kind in MASK_OPERATORS
        known = inspect.signature(self.function).parameters
        given = {word: value for word, value in config.items() if word not in ("name", "trainable", "sparse")}
        self.options = {word: _value(value, [], where) for word, value in given.items() if word in known}
        left = [word for word in given if word not in known and given[word] is not None and word != "dtype"]
        if left:
            raise FormatError(f"{where}: the argument {left[0][:100]!r} of the operator {kind} is not supported")

    def call_of(self, node: Any, where: str) -> Call:
        """The call that a file describes."""
        if not isinstance(node, dict) or not isinstance(node.get("args"), list):
            raise FormatError(f"{where}: a call without arguments")
        places: list[Place] = []
        args = [_value(part, places, where) for part in node["args"]]
        kwargs = {word: _value(part, places, where) for word, part in (node.get("kwargs") or {}).items()}
        if not places:
            raise FormatError(f"{where}: an operation without a tensor")
        return Call(places, False, template=(args, {w: v for w, v in kwargs.items() if v is not None}))

    def __call__(self, inputs: list[SymbolicTensor], arguments: Any) -> list[SymbolicTensor]:
        """The symbolic results; the layer that makes them gets the name in the file."""
        args, kwargs = replaced(arguments, lambda leaf: inputs[leaf.index] if isinstance(leaf, Slot) else leaf)
        options = dict(self.options)
        front = [options.pop("subscripts")] if "subscripts" in options else []
        found = leaves(self.function(*front, *args, **kwargs, **options))
        given = {id(node.layer) for node in topological_order(inputs)}
        made = [node.layer for node in topological_order(found) if id(node.layer) not in given]
        for number, layer in enumerate(reversed(made)):
            vars(layer)["name"] = self.name if not number else f"{self.name}_part_{number}"
        return found


def _value(value: Any, places: list[Place], where: str) -> Any:
    """An argument; tensors are slots then, and their places noted."""
    if isinstance(value, list):
        return tuple([_value(part, places, where) for part in value])
    if not isinstance(value, dict):
        return value
    found = tensors_in(value, where)
    if found is not None:
        places += found
        return Slot(len(places) - 1)
    kind, config = value.get("class_name"), value.get("config")
    config = config if isinstance(config, dict) else {}
    if kind == "__slice__":
        return slice(*[_value(config.get(end), places, where) for end in ("start", "stop", "step")])
    if kind == "__ellipsis__":
        return Ellipsis
    if kind in ("__numpy__", "__tensor__"):
        try:
            return np.array(config["value"], named(config.get("dtype")))
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise FormatError(f"{where}: a constant that is no array of numbers") from error
    raise FormatError(f"{where}: the argument {str(value)[:100]} of an operation is not supported")


# ---- Writing ---------------------------------------------------------------------------------------------------------


def written(layer: Operation, where: str) -> dict[str, Any]:
    """The description of an operation as Keras 3 has it, without its calls.

    Raises
    ------
    FormatError
        If Keras cannot say it.
    """
    kind, module = kind_of(layer.function), "numpy"
    for name, functions in OF_MODULES.items():
        module = name if layer.function in functions else module
    if kind not in FUNCTIONS or layer.function in ("full", "arange"):
        raise FormatError(f"{where}: ops.{layer.function} of symbolic sizes is not written for Keras")
    given = layer.input
    _, options, _ = _parts(layer, len(given) if isinstance(given, list) else 1, where)
    config = {"name": layer.name, **{word: _plain(value, where) for word, value in options.items()}}
    return {"module": f"keras.src.ops.{module}", "class_name": kind, "config": config, "registered_name": kind}


def written_call(layer: Operation, inputs: list[Any], where: str) -> dict[str, Any]:
    """A call of it with these descriptions of tensors."""
    operands, _, named_ones = _parts(layer, len(inputs), where)
    args, kwargs = replaced(
        (operands, named_ones), lambda leaf: _Written(inputs[leaf.index]) if isinstance(leaf, Slot) else leaf
    )
    return {
        "args": [_plain(part, where) for part in args],
        "kwargs": {word: _plain(value, where) for word, value in kwargs.items()},
    }


class _Written:
    """A description that is complete."""

    def __init__(self, value: Any):
        self.value = value


def _parts(layer: Operation, inputs: int, where: str) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """What Keras has as arguments of the call, what in the configuration, and as arguments of the call by name."""
    template, record = layer.template(inputs), layer.record
    in_call = {*record.names, "key", "fill_value"} - ({"x_min", "x_max"} if layer.function == "clip" else set())
    operands = [template[word] for word in template if word in in_call]
    options = {word: value for word, value in template.items() if word not in in_call}
    if layer.function == "einsum":
        operands = list(operands[0])
    named_ones = {}
    if layer.function == "pad" and (value := options.pop("constant_values", None)) is not None:
        named_ones["constant_values"] = value
    if layer.function == "reshape":
        options["newshape"] = _written_shape(options["newshape"], where)
    return operands, options, named_ones


def _written_shape(newshape: Any, where: str) -> list[Any]:
    """The sizes with -1 for an unknown one, of which Keras takes one."""
    sizes = [-1 if n is None else n for n in newshape]
    if sizes.count(-1) > 1 or any(isinstance(n, Slot) for n in sizes):
        raise FormatError(f"{where}: ops.reshape with several unknown sizes is not written for Keras")
    return sizes


def _plain(value: Any, where: str) -> Any:
    """An argument as Keras writes it."""
    if isinstance(value, _Written):
        return value.value
    if isinstance(value, (list, tuple)):
        return [_plain(part, where) for part in value]
    if isinstance(value, slice):
        ends = {end: _plain(getattr(value, end), where) for end in ("start", "stop", "step")}
        return {"class_name": "__slice__", "config": ends}
    if value is Ellipsis:
        return {"class_name": "__ellipsis__", "config": {}}
    if isinstance(value, np.ndarray):
        return {"class_name": "__numpy__", "config": {"value": value.tolist(), "dtype": value.dtype.name}}
    if isinstance(value, (type, np.dtype)):
        return np.dtype(value).name
    if isinstance(value, Slot):
        raise FormatError(f"{where}: an operation with symbolic sizes is not written for Keras")
    return value.item() if isinstance(value, np.generic) else value
