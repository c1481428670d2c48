"""What stands between layers without being one: operators of Keras 3, functions of TensorFlow."""

from __future__ import annotations

from typing import Any

from rnnx.formats.keras._calls import Call, Place, place_of
from rnnx.formats.keras._functions import FUNCTIONS, Function
from rnnx.layers import Arithmetic
from rnnx.saving import FormatError

MODULES = ("keras.src.ops", "keras.ops")
TENSORFLOW = "TFOpLambda"
CONSTANT = "_CONSTANT_VALUE"  # stands for the name of a layer in front of a number
ARITHMETIC = {
    "__operators__.add": "add", "math.add": "add", "math.subtract": "subtract", "math.multiply": "multiply",
    "math.divide": "divide", "math.truediv": "divide", "math.maximum": "maximum", "math.minimum": "minimum",
    "math.negative": "negative",
}  # fmt: skip


def is_operation(entry: dict[str, Any], generation: int) -> bool:
    """Whether an entry is an operation and no layer; the ``.h5`` files of Keras 3 do not say the module."""
    module, config, kind = entry.get("module"), entry.get("config"), entry.get("class_name")
    if kind == TENSORFLOW:
        return True
    if isinstance(module, str):
        return module.startswith(MODULES)
    return kind in FUNCTIONS and generation == 3 and isinstance(config, dict) and "trainable" not in config


def operation(entry: dict[str, Any], where: str, name: str) -> Arithmetic | Function:
    """The layer or operation that does the same.

    Raises
    ------
    FormatError
        If it is another one.
    """
    kind, config, nodes = str(entry.get("class_name")), entry.get("config"), entry.get("inbound_nodes")
    if kind == TENSORFLOW and isinstance(config, dict):
        kind = str(config.get("function"))
    elif kind in FUNCTIONS and isinstance(config, dict):
        return Function(kind, config, name, f"{where}: {name[:200]!r}")
    if kind not in ARITHMETIC:
        raise FormatError(f"{where}: {name[:200]!r}: the operator {kind[:200]!r} between layers is not supported")
    operator = ARITHMETIC[kind]
    if operator == "negative":
        return Arithmetic("multiply", right=-1.0, name=name)
    operands = _operands(nodes[0] if isinstance(nodes, list) and nodes else None, f"{where}: {name[:200]!r}")
    if len(operands) != 2:
        raise FormatError(f"{where}: {name[:200]!r}: {operator} needs two operands")
    numbers = [None if isinstance(part, tuple) else part for part in operands]
    if None not in numbers:
        raise FormatError(f"{where}: {name[:200]!r}: both operands are numbers")
    return Arithmetic(operator, *numbers, name=name)


def call_of_operation(node: Any, layer: Arithmetic | Function, where: str) -> Call:
    """The call of an operation."""
    if isinstance(layer, Function):
        return layer.call_of(node, where)
    places = [part for part in _operands(node, where) if isinstance(part, tuple)]
    return Call(places, len(places) == 1)


def _operands(node: Any, where: str) -> list[Place | float]:
    """Places of tensors, and numbers: a place or number, and ``y`` beside it."""
    if isinstance(node, list) and len(node) == 4 and isinstance(node[3], dict):
        first = node[2] if node[0] == CONSTANT else {"place": node[:3]}
        second = node[3].get("y")
        given = [first, *([] if second is None else [{"place": second} if isinstance(second, list) else second])]
    else:
        given = None
    if not isinstance(given, list) or not given:
        raise FormatError(f"{where}: an operation without operands")
    return [_operand(part, where) for part in given]


def _operand(value: Any, where: str) -> Place | float:
    if isinstance(value, dict):
        return place_of(value["place"], where)
    if type(value) not in (int, float):
        raise FormatError(f"{where}: only arithmetic of tensors and single numbers is supported")
    try:
        return float(value)
    except OverflowError as error:
        raise FormatError(f"{where}: an operand is too large") from error
