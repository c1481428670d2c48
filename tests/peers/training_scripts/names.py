"""Keras' names, wherever ten years of scripts import them from, over rnnx; and the few of TensorFlow beside them.

``keras.layers.recurrent.LSTM``, ``tensorflow.python.keras.layers.LSTM`` and ``keras.layers.LSTM`` are all
`rnnx.layers.LSTM`: a name is looked for in the module of rnnx that is called like Keras', then in those above it, then
in `PLACES`. A name that rnnx does not have is a finding, and is recorded in `ABSENT`.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import rnnx

ABSENT: list[str] = []  # names of Keras that were asked for and that rnnx does not have
TENSORFLOW: list[str] = []  # names of TensorFlow that have no meaning on arrays
PLACES = ("layers", "models", "utils", "preprocessing", "callbacks", "optimizers", "initializers", "regularizers")
PACKAGES = set(
    """
    activations advanced_activations api applications attention backend base_layer boston_housing callbacks
    cifar10 cifar100 constraints contrib convolutional convolutional_recurrent core cudnn_recurrent data_utils datasets
    embeddings engine experimental fashion_mnist generic_utils image imdb initializers io_utils keras layer_utils layers
    legacy local losses merge metrics mnist models multi_gpu_utils noise normalization np_utils ops optimizers
    optimizer_v2 pooling preprocessing python random recurrent regularizers reuters saving schedules scikit_learn
    sequence src tensorflow_backend text timeseries topology training utils vgg16 vis_utils wrappers
    """.split()
)  # modules of Keras of any year
INERT = {  # about sessions and devices, of which there are none
    "set_session", "get_session", "set_learning_phase", "learning_phase", "tensorflow_backend", "Session",
    "InteractiveSession", "ConfigProto", "GPUOptions", "logging", "compat", "config", "get_logger", "device",
    "disable_eager_execution", "test", "global_variables_initializer", "tables_initializer", "reset_default_graph",
    "get_default_graph", "saved_model", "distribute", "device_lib",
}  # fmt: skip
OPERATIONS = {  # TensorFlow's functions that rnnx.ops has under another name
    "reduce_sum": "sum", "reduce_mean": "mean", "reduce_max": "max", "reduce_min": "min", "concat": "concatenate",
    "range": "arange", "math.reduce_sum": "sum", "math.reduce_mean": "mean",
}  # fmt: skip
TYPES = ("float16", "float32", "float64", "int32", "int64", "bool")


class NoTensor:
    """A tensor of TensorFlow, of which there are none."""


class NotOnArrays(Exception):
    """A word of TensorFlow that no array library has."""


def place(path: str) -> Any:
    """The module of rnnx of a name like "layers.recurrent", None if there is none."""
    try:
        return importlib.import_module(f"rnnx.{path}" if path else "rnnx")
    except ImportError:
        return None


def found(path: str, name: str) -> Any:
    """What a name of ``keras.<path>`` is in rnnx.

    Raises
    ------
    AttributeError
        If it is not there.
    """
    parts = [part for part in path.split(".") if part and part not in ("src", "api", "_v2", "python", "keras")]
    wanted = [".".join(parts[:count]) for count in range(len(parts), -1, -1)]
    for module in (place(path) for path in (*wanted, *PLACES)):
        try:
            return getattr(module, name)
        except AttributeError:
            continue
    raise AttributeError(f"rnnx has no {name} for keras.{path}".rstrip("."))


def is_there(name: str) -> bool:
    """Whether some module of rnnx has this name."""
    try:
        return found("", name) is not None
    except AttributeError:
        return False


def public(path: str) -> list[str]:
    """The names of ``keras.<path>``: those of the module of rnnx that is called like its first part."""
    module = place(path.split(".")[0]) or rnnx
    return list(getattr(module, "__all__", [name for name in dir(module) if not name.startswith("_")]))


class KerasModule(ModuleType):
    """A module of Keras; its names are those of rnnx."""

    stand_ins: dict[str, Any] = {}  # instead of what rnnx has: what downloads, and what starts other programs
    __path__: list[str] = []
    __version__ = "2.15.0"

    def __getattr__(self, name: str) -> Any:
        path = re.split(r"(?:^|\.)(?:tf_)?keras\.?", self.__name__, maxsplit=1)[1]
        if name == "__all__":  # of ``from keras.layers.core import *``
            return sorted({*public(path), *self.stand_ins})
        if name.startswith("__"):
            raise AttributeError(name)
        own = self.stand_ins.get(self.__name__.rsplit(".", 1)[-1])  # of a data set that is imported as a module
        if hasattr(own, name):
            return getattr(own, name)
        if name in self.stand_ins:
            return self.stand_ins[name]
        if name in INERT:
            return MagicMock()
        try:
            value = found(path, name)
            if isinstance(value, ModuleType) and name in PACKAGES:
                return importlib.import_module(f"{self.__name__}.{name}")  # with the stand-ins
            return value
        except AttributeError:
            if name in PACKAGES:
                return importlib.import_module(f"{self.__name__}.{name}")
            ABSENT.append(f"{self.__name__}.{name}")
            raise


class TensorFlowModule(ModuleType):
    """A module of TensorFlow: `keras`, functions that mean the same on arrays, and sessions that do nothing."""

    stand_ins: dict[str, Any] = {}
    __path__: list[str] = []
    __version__ = "2.15.0"
    newaxis = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "keras" or name in ("random", "math", "nn", "linalg", "contrib", "initializers", "losses", "python"):
            return importlib.import_module(f"{self.__name__}.{name}")
        if name in ("set_seed", "set_random_seed"):
            return rnnx.utils.set_random_seed
        if self.__name__ in ("tensorflow.initializers", "tensorflow.losses"):
            return found(self.__name__.split(".")[1], name)
        if name in TYPES:
            return name
        if name in ("is_tensor", "Tensor"):  # with which other packages ask whether something is of TensorFlow
            return NoTensor if name == "Tensor" else lambda value: False
        if name in self.stand_ins:
            return self.stand_ins[name]
        if name in INERT:
            return MagicMock()
        if name == "function":
            return _function
        if name in ("convert_to_tensor", "constant"):
            return _tensor
        if name == "range":
            return _range
        if name == "one_hot":
            return lambda indices, depth, **options: rnnx.ops.one_hot(indices, depth)
        operation = OPERATIONS.get(name, name)
        if hasattr(rnnx.ops, operation):
            return getattr(rnnx.ops, operation)
        TENSORFLOW.append(f"{self.__name__}.{name}")
        raise NotOnArrays(f"{self.__name__}.{name}")


def _function(given: Callable[..., Any] | None = None, **options: Any) -> Any:
    """``tf.function``: the function itself."""
    return given if given is not None else lambda function: function


def _range(start: Any, limit: Any = None, delta: Any = 1, **options: Any) -> Any:
    """``tf.range``, whose arguments have other names."""
    return rnnx.ops.arange(0 if limit is None else start, start if limit is None else limit, delta)


def _tensor(value: Any, dtype: Any = None, **options: Any) -> Any:
    """``tf.convert_to_tensor``, whose argument has another name."""
    return rnnx.ops.convert_to_tensor(value, dtype)


class Finder(MetaPathFinder, Loader):
    """Makes the modules of Keras and TensorFlow, and empty ones for packages that only draw, log or display."""

    def __init__(self, displayed: set[str]) -> None:
        self.displayed = displayed

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        first, *rest = fullname.split(".")
        if first in ("keras", "tf_keras") or fullname.startswith("tensorflow.") and "keras" in rest:
            beyond = {part for part in rest if part not in PACKAGES | {"tf_keras"}}
            return None if beyond else ModuleSpec(fullname, self, is_package=True)
        if first == "tensorflow" or {first, ".".join([first, *rest[:1]])} & self.displayed:
            return ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        first, *rest = spec.name.split(".")
        if first in ("keras", "tf_keras") or first == "tensorflow" and "keras" in rest:
            return KerasModule(spec.name)
        return TensorFlowModule(spec.name) if first == "tensorflow" else Displayed(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        return None


class Displayed(ModuleType):
    """A package that draws, logs or displays: everything in it can be called and does nothing."""

    __path__: list[str] = []
    version_info = (9, 0, 0)  # of IPython, which Matplotlib asks for

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = self.__dict__[name] = MagicMock()
        return value


def install(displayed: set[str], stand_ins: dict[str, Any], tensorflow: dict[str, Any]) -> None:
    """Put the modules in front of every other place that Python imports from."""
    KerasModule.stand_ins, TensorFlowModule.stand_ins = stand_ins, tensorflow
    sys.meta_path.insert(0, Finder(displayed))
