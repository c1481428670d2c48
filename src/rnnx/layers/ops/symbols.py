"""What operators, indices and functions of NumPy mean for symbolic tensors: the operations of the same names."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from rnnx.layers.graph import SymbolicTensor
from rnnx.layers.ops import arrangement, composed, creation, elementwise, parts, products, reductions, selection
from rnnx.layers.ops.arguments import Slot
from rnnx.layers.ops.operation import Operation
from rnnx.layers.weight import Weight

BINARY = {
    "add": elementwise.add, "sub": elementwise.subtract, "mul": elementwise.multiply, "truediv": elementwise.divide,
    "floordiv": elementwise.floor_divide, "mod": elementwise.mod, "pow": elementwise.power, "matmul": products.matmul,
    "and": elementwise.logical_and, "or": elementwise.logical_or, "xor": elementwise.logical_xor,
}  # fmt: skip
ORDER = {
    "lt": elementwise.less, "le": elementwise.less_equal, "gt": elementwise.greater, "ge": elementwise.greater_equal,
}  # fmt: skip
MODULES = (elementwise, reductions, arrangement, parts, selection, products, creation, composed)
OTHER_NAMES = {"remainder": "mod", "rint": "round", "fabs": "absolute"}  # of functions of NumPy
NOT_OF_TENSORS = {"arange", "eye", "full", "identity", "linspace", "ones", "zeros"}


# ---- Operators -------------------------------------------------------------------------------------------------------


def _operand(value: Any) -> bool:
    """Whether an operator takes this beside a symbolic tensor: an array or a number; a truth value is none."""
    if isinstance(value, (SymbolicTensor, np.ndarray, Weight)):
        return True
    return isinstance(value, Real) and not isinstance(value, (bool, np.bool_))


def _forward(function: Any) -> Any:
    return lambda self, other: function(self, other) if _operand(other) else NotImplemented


def _reflected(function: Any) -> Any:
    return lambda self, other: function(other, self) if _operand(other) else NotImplemented


def _comparing(function: Any, same: bool) -> Any:
    """``==`` or ``!=``: of each number; two tensors that do not fit together are different ones."""

    def compare(self: SymbolicTensor, other: Any) -> Any:
        if not isinstance(other, SymbolicTensor):
            return function(self, other) if _operand(other) else NotImplemented
        try:
            return function(self, other)
        except ValueError:
            return not same

    return compare


def _truth(self: SymbolicTensor) -> bool:
    """What ``tensor in tensors`` asks: whether two are one. All other symbolic tensors have no truth value.

    Raises
    ------
    TypeError
        If it is not the result of ``==`` or ``!=`` of two symbolic tensors.
    """
    layer, template = self.node.layer, None
    if isinstance(layer, Operation) and layer.function in ("equal", "not_equal"):
        template = [layer.arguments["x1"], layer.arguments["x2"]]
    if template is None or not all(isinstance(part, Slot) for part in template):
        raise TypeError(
            f"{self!r} is true or false only when there are values: use ops.where in place of `if`, `and`, `or`, `not`"
        )
    return (template[0] == template[1]) == (layer.function == "equal")


def _refusing(words: str) -> Any:
    def refuse(self: SymbolicTensor) -> Any:
        raise TypeError(f"{self!r} {words}")

    return refuse


# ---- Functions of NumPy ----------------------------------------------------------------------------------------------


def _of_numpy(name: str, module: str) -> Any:
    """The operation that a function of NumPy means, or None."""
    name = OTHER_NAMES.get(name, name)
    if name in NOT_OF_TENSORS or (module != "numpy" and (module, name) != ("numpy.linalg", "norm")):
        return None
    found = next((getattr(part, name) for part in MODULES if name in vars(part)), None)
    return found if getattr(found, "__module__", "").startswith("rnnx.layers.ops") else None


def _unknown(name: str) -> TypeError:
    return TypeError(
        f"{name} has no meaning for a symbolic tensor, which has no values yet: use a function of rnnx.ops, or call a "
        "Model with arrays"
    )


def _ufunc(self: SymbolicTensor, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    function = _of_numpy(ufunc.__name__, "numpy")
    if function is None or method != "__call__" or kwargs:
        called = f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
        raise _unknown(called + "".join(f"({word}=)" for word in kwargs))
    return function(*inputs)


def _array_function(self: SymbolicTensor, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
    module = str(getattr(func, "__module__", "")).replace("numpy", "np", 1)
    function = _of_numpy(func.__name__, module.replace("np", "numpy", 1))
    if function is None:
        raise _unknown(f"{module}.{func.__name__}")
    return function(*args, **{word: value for word, value in kwargs.items() if word != "out" or value is not None})


METHODS: dict[str, Any] = {
    **{f"__{word}__": _forward(function) for word, function in {**BINARY, **ORDER}.items()},
    **{f"__r{word}__": _reflected(function) for word, function in BINARY.items()},
    "__neg__": elementwise.negative,
    "__pos__": lambda self: self,
    "__abs__": elementwise.absolute,
    "__invert__": elementwise.logical_not,
    "__round__": lambda self, ndigits=None: elementwise.round(self, ndigits or 0),
    "__getitem__": selection.get_item,
    "__hash__": object.__hash__,  # as `==` is of each number; a dict asks for identity first
    "__eq__": _comparing(elementwise.equal, True),
    "__ne__": _comparing(elementwise.not_equal, False),
    "__bool__": _truth,
    "__len__": _refusing("has no length; its sizes are in `shape`, and as numbers in ops.shape(x)"),
    "__iter__": _refusing("cannot be iterated; use ops.unstack(x, num, axis) or an index"),
    "__array_ufunc__": _ufunc,
    "__array_function__": _array_function,
}
for _name, _method in METHODS.items():
    setattr(SymbolicTensor, _name, _method)
