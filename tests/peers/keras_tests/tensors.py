"""``keras.backend`` and ``keras.ops`` for rnnx, whose tensors are arrays of NumPy.

What `rnnx.ops` has is taken from there. Other functions are those of NumPy: tests make their data with them.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from types import ModuleType
from typing import Any

import numpy as np

import rnnx
from rnnx.layers.carried import MaskCarrier
from rnnx.layers.layer import Weight
from rnnx.layers.names import clear_names

from . import tree
from .placeholders import NotApplicable, placeholder


def rnnx_module(name: str) -> ModuleType | None:
    """A module of rnnx, None if there is none of this name."""
    try:
        return importlib.import_module(f"rnnx.{name}")
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("rnnx"):
            raise
        return None


def clear_session(free_memory: bool = True) -> None:
    module = rnnx_module("backend")
    if module is not None and hasattr(module, "clear_session"):
        module.clear_session()
    else:
        clear_names()


def standardize_dtype(dtype: Any) -> str:
    if dtype is None:
        return "float32"
    if isinstance(dtype, type) and dtype in (int, float, bool, str):
        return {int: "int32", float: "float32", bool: "bool", str: "string"}[dtype]
    if isinstance(dtype, str) and dtype in ("bfloat16", "string"):
        return dtype
    try:
        return np.dtype(dtype).name
    except TypeError as error:
        raise ValueError(f"Invalid dtype: {dtype}") from error


def is_float_dtype(dtype: Any) -> bool:
    return standardize_dtype(dtype).startswith(("float", "bfloat"))


def is_int_dtype(dtype: Any) -> bool:
    return standardize_dtype(dtype).startswith(("int", "uint"))


def is_tensor(x: Any) -> bool:
    return isinstance(x, (np.ndarray, np.generic))


def convert_to_tensor(x: Any, dtype: Any = None, sparse: Any = None, ragged: Any = None) -> Any:
    """An array; Python's floats are float32 and its integers int32, as in Keras. It can carry a mask."""
    if rnnx_symbolic(x):
        return rnnx_ops().convert_to_tensor(x, dtype) if dtype is not None else x
    mask = getattr(x, "mask", None) if isinstance(x, MaskCarrier) else None
    value = x.value if isinstance(x, Weight) else x
    array = np.asarray(value)
    if dtype is not None:
        array = array.astype(standardize_dtype(dtype), copy=False)
    elif not isinstance(value, (np.ndarray, np.generic)):
        leaves = tree.flatten(value)
        if not any(isinstance(leaf, (np.ndarray, np.generic)) for leaf in leaves):
            array = array.astype({"float64": "float32", "int64": "int32"}.get(array.dtype.name, array.dtype))
    carrier = array.view(MaskCarrier)
    carrier.mask = mask
    return carrier


def rnnx_symbolic(x: Any) -> bool:
    return bool(importlib.import_module("rnnx.layers.graph").is_symbolic(x))


def convert_to_numpy(x: Any) -> Any:
    if isinstance(x, np.ndarray):
        return x.view(np.ndarray)
    return np.asarray(x.value if isinstance(x, Weight) else x)


def get_keras_mask(x: Any) -> Any:
    return getattr(x, "_keras_mask", None)


def set_keras_mask(x: Any, mask: Any) -> None:
    if not isinstance(x, MaskCarrier):
        raise NotApplicable("a mask set on a plain array")
    x.mask = None if mask is None else np.asarray(mask)


def KerasTensor(shape: Any, dtype: Any = "float32", sparse: bool = False, ragged: bool = False, **rest: Any) -> Any:
    """A symbolic tensor of this shape: what `rnnx.Input` gives."""
    if sparse or ragged:
        raise NotApplicable("sparse and ragged tensors")
    return rnnx.Input(batch_shape=tuple(shape), dtype=standardize_dtype(dtype), name=rest.get("name"))


class _SymbolicType(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, importlib.import_module("rnnx.layers.graph").SymbolicTensor)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return KerasTensor(*args, **kwargs)


class KerasTensorType(metaclass=_SymbolicType):
    """``KerasTensor`` as tests use it: to make one and to ask for one."""


class _VariableType(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, Weight)

    def __call__(
        cls,
        initializer: Any = None,
        shape: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        aggregation: Any = None,
        name: Any = None,
        **rest: Any,
    ) -> Any:
        if callable(initializer):
            value = np.asarray(initializer(tuple(shape), dtype=standardize_dtype(dtype)))
        else:
            value = np.asarray(initializer.value if isinstance(initializer, Weight) else initializer)
            kind = standardize_dtype(dtype) if dtype else ("float32" if value.dtype.kind == "f" else value.dtype.name)
            value = np.array(value, kind)
        return Weight(name or "variable", value, trainable)


class Variable(metaclass=_VariableType):
    """``backend.Variable``: a `rnnx.layers.Weight` of its own."""


def rnnx_ops() -> Any:
    return rnnx_module("ops")


def shape(x: Any) -> Any:
    return tuple(x.shape) if hasattr(x, "shape") else np.shape(x)


def cast(x: Any, dtype: Any) -> Any:
    return convert_to_tensor(x, dtype)


def one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = "float32", **rest: Any) -> Any:
    hot = (np.asarray(x)[..., None] == np.arange(num_classes)).astype(standardize_dtype(dtype))
    return np.moveaxis(hot, -1, axis)


def _made(function: Any) -> Any:
    """Functions that make arrays, of float32 where NumPy gives float64."""

    def make(*args: Any, dtype: Any = None, **kwargs: Any) -> Any:
        if dtype is not None:
            return convert_to_tensor(function(*args, **kwargs), standardize_dtype(dtype))
        array = np.asarray(function(*args, **kwargs))
        return convert_to_tensor(array, {"float64": "float32", "int64": "int32"}.get(array.dtype.name))

    return make


OWN = {
    "convert_to_tensor": convert_to_tensor, "convert_to_numpy": convert_to_numpy, "shape": shape,
    "is_tensor": is_tensor, "array": convert_to_tensor, "arange": _made(np.arange), "eye": _made(np.eye),
    "full": _made(np.full), "linspace": _made(np.linspace), "ones": _made(np.ones), "zeros": _made(np.zeros),
}  # fmt: skip
OTHERWISE = {"cast": cast, "one_hot": one_hot}


def operation(name: str) -> Any:
    """An operation of ``keras.ops`` by its name."""
    if name in OWN:
        return OWN[name]
    ops = rnnx_ops()
    if ops is not None and hasattr(ops, name):
        return getattr(ops, name)
    if name in OTHERWISE:
        return OTHERWISE[name]
    if hasattr(np, name):
        return getattr(np, name)
    return placeholder(f"ops.{name}")


class Config:
    """Global settings: rnnx has none of a backend's, the others keep the only value they may have."""

    @staticmethod
    def floatx() -> str:
        return "float32"

    @staticmethod
    def set_floatx(value: str) -> None:
        if value != "float32":
            raise NotApplicable("another default dtype")

    @staticmethod
    def epsilon() -> float:
        return 1e-7

    @staticmethod
    def image_data_format() -> str:
        return "channels_last"

    @staticmethod
    def set_image_data_format(value: str) -> None:
        if value != "channels_last":
            raise NotApplicable("another default data format")


def nothing() -> None:
    """Switches of a backend, which are off."""


@contextlib.contextmanager
def scope(*args: Any, **kwargs: Any) -> Any:
    """Name scopes, devices: without effect."""
    yield


def backend() -> str:
    """No backend of Keras; a test file that chooses its imports by the name gets those for PyTorch."""
    caller = sys._getframe(1)
    chooses = caller.f_code.co_name == "<module>" and caller.f_globals["__name__"].endswith("trainer_test")
    return "torch" if chooses else "rnnx"


BACKEND = {
    "backend": backend, "Variable": Variable, "KerasTensor": KerasTensorType, "is_tensor": is_tensor,
    "convert_to_tensor": convert_to_tensor, "convert_to_numpy": convert_to_numpy, "cast": cast, "shape": shape,
    "standardize_dtype": standardize_dtype, "is_float_dtype": is_float_dtype, "is_int_dtype": is_int_dtype,
    "get_keras_mask": get_keras_mask, "set_keras_mask": set_keras_mask, "clear_session": clear_session,
    "enable_flash_attention": nothing, "disable_flash_attention": nothing, "is_flash_attention_enabled": nothing,
    "name_scope": scope, "device": scope, "floatx": Config.floatx, "set_floatx": Config.set_floatx,
    "epsilon": Config.epsilon, "image_data_format": Config.image_data_format,
    "set_image_data_format": Config.set_image_data_format, "SUPPORTS_SPARSE_TENSORS": False,
    "SUPPORTS_RAGGED_TENSORS": False, "SUPPORTS_COMPLEX_DTYPES": False,
}  # fmt: skip
