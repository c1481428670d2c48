"""A ``keras`` package that is rnnx: every module is made when it is imported, and looks its names up in rnnx.

Translations only; no expectation of a test is touched:

* ``keras.src.layers.rnn.lstm.LSTM`` and ``keras.layers.LSTM`` are `rnnx.layers.LSTM`, likewise for all modules;
* tensors are arrays, ``KerasTensor`` is `rnnx.Input`, ``backend.Variable`` is `rnnx.layers.Weight` (see `tensors`);
* TensorFlow, JAX, PyTorch and Grain, quantizers, device meshes, dtype policies other than float32 and Keras' internals
  are not there: what uses them is not applicable. Other names that rnnx does not have are absent.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import rnnx

from . import harness, tensors, tree
from .placeholders import NotApplicable, placeholder

FRAMEWORKS = {"tensorflow", "jax", "torch", "grain", "flax", "tensorflow_text"}
FOREIGN = {  # parts of Keras that exist for backends, devices and Keras itself
    "api_export", "applications", "distillation", "distribution", "dtype_policies", "export", "quantizers", "trainers",
    "visualization", "wrappers", "backend.common", "backend.config", "backend.jax", "backend.tensorflow",
    "backend.torch", "backend.numpy.trainer", "backend.openvino", "ops.operation", "ops.node", "ops.function",
    "ops.symbolic_arguments", "utils.tracking", "utils.jax_layer", "utils.torch_utils", "utils.backend_utils",
    "utils.module_utils", "utils.traceback_utils", "utils.dtype_utils", "legacy.saving.json_utils",
    "saving.file_editor",
}  # fmt: skip
PUBLIC = {"activations", "callbacks", "constraints", "initializers", "layers", "losses", "metrics", "models",
          "optimizers", "random", "regularizers", "saving", "utils", "legacy"}  # fmt: skip


def named_scope(objects: Any = None) -> Any:
    """``custom_object_scope``, of rnnx if it has one; without objects a scope is none."""
    found = getattr(tensors.rnnx_module("saving"), "custom_object_scope", None)
    return found(objects) if found is not None and objects else tensors.scope()


def serialize_keras_object(instance: Any) -> Any:
    found = getattr(tensors.rnnx_module("saving"), "serialize_keras_object", None)
    if found is not None:
        return found(instance)
    from rnnx.layers.registry import layer_config

    return layer_config(instance)


def register_keras_serializable(package: str = "Custom", name: Any = None) -> Any:
    found = getattr(tensors.rnnx_module("saving"), "register_keras_serializable", None)
    return found(package, name) if found is not None else lambda cls: cls


def deserialize_keras_object(config: Any, custom_objects: Any = None, **rest: Any) -> Any:
    found = getattr(tensors.rnnx_module("saving"), "deserialize_keras_object", None)
    if found is not None:
        return found(config, custom_objects=custom_objects, **rest)
    name = config["class_name"]
    for place in ("layers", "losses", "metrics", "optimizers", "initializers", "regularizers", "constraints", "models"):
        cls = getattr(tensors.rnnx_module(place), name, None)
        if isinstance(cls, type):
            return cls.from_config(config["config"])
    cls = getattr(importlib.import_module("rnnx.optimizers.schedules"), name, None)
    if cls is None:
        from rnnx.layers.registry import layer_from_config

        return layer_from_config(config)
    return cls.from_config(config["config"])


SAVING = {
    "register_keras_serializable": register_keras_serializable,
    "custom_object_scope": named_scope, "CustomObjectScope": named_scope,
    "serialize_keras_object": serialize_keras_object, "deserialize_keras_object": deserialize_keras_object,
}  # fmt: skip
OWN_FILES = {"testing.test_utils", "backend.common.backend_utils"}  # with which tests compute what they expect


class Trainer(rnnx.Model):
    """What a model trains with; a class that rnnx refuses when it is defined is refused when it is used."""

    refused: Exception | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        try:
            super().__init_subclass__(**kwargs)
        except TypeError as error:
            cls.refused = error

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls.refused is not None:
            raise cls.refused
        return super().__new__(cls)


RENAMED = {"Functional": ("models", "Model"), "compute_fans": ("initializers", "fans")}
INTERNAL = {  # functions and classes below what Keras makes public
    "validate_float_arg", "squeeze_or_expand_to_same_rank", "DropoutRNNCell", "MonitorCallback", "IndexLookup",
    "OptimizerMap", "ConvLSTM", "ConvLSTMCell", "_analyze_einsum_string", "GLOBAL_CUSTOM_NAMES", "DataLayer",
}  # fmt: skip
FUNCTIONS = {  # of Keras' modules, which are methods or functions of another name here
    ("legacy.saving.legacy_h5_format", "load_model_from_hdf5"): rnnx.load_model,
    ("legacy.saving.legacy_h5_format", "save_model_to_hdf5"): lambda model, path, overwrite=True, **options: model.save(
        path, overwrite=overwrite, **options
    ),
    ("saving.saving_lib", "load_model"): rnnx.load_model,
    ("saving.saving_lib", "load_weights_only"): lambda model, path, **options: model.load_weights(path, **options),
    ("saving.saving_lib", "save_model"): lambda model, path, **options: model.save(path, **options),
    ("saving.saving_lib", "save_weights_only"): lambda model, path, **options: model.save_weights(path, **options),
    ("utils.file_utils", "exists"): os.path.exists,
    ("utils.file_utils", "join"): os.path.join,
    ("utils.summary_utils", "print_summary"): lambda model, **options: model.summary(**options),
}
POLICY = {
    "dtype_policy": lambda: "float32",
    "set_dtype_policy": lambda policy: tensors.Config.set_floatx(str(policy)),
}
TESTING = {
    "TestCase": harness.TestCase,
    **{f"{who}_uses_{what}": harness.nowhere for who in ("jax", "tensorflow", "torch") for what in ("gpu", "tpu")},
    "uses_gpu": harness.nowhere,
    "uses_tpu": harness.nowhere,
}


def lookup(path: str, name: str) -> Any:
    """What the module ``path`` (behind ``keras.src`` or ``keras``) has under a name."""
    first, _, rest = path.partition(".")
    last = path.rsplit(".", 1)[-1]
    if first in ("tree",):
        return getattr(tree, name, None) or placeholder(f"tree.{name}", NotApplicable)
    if first == "testing" and rest != "test_utils":
        return TESTING[name] if name in TESTING else placeholder(f"testing.{name}", NotApplicable)
    if path == "dtype_policies.dtype_policy" and name in POLICY:
        return POLICY[name]
    if path in ("backend.random", "ops.random"):
        return lookup("random", name)
    if first == "ops" or path in ("backend.numpy", "backend.math", "backend.nn"):
        if name == "operation_utils" or any(path == part or path.startswith(part + ".") for part in FOREIGN):
            return placeholder(f"{path}.{name}", NotApplicable)
        return tensors.operation(name)
    if first == "backend" and not path.endswith(".trainer"):
        if name in tensors.BACKEND and rest in ("", "common", "config", "common.keras_tensor", "common.dtypes",
                                                "common.global_state", "common.variables"):  # fmt: skip
            return tensors.BACKEND[name]
        module = tensors.rnnx_module("backend")
        if not rest and module is not None and hasattr(module, name):
            return getattr(module, name)
        return placeholder(f"backend.{name}", NotApplicable)
    if path == "trainers.trainer" or path.endswith(".trainer"):
        return Trainer
    if path == "utils.module_utils" or any(path == part or path.startswith(part + ".") for part in FOREIGN):
        if last == "py_dataset_adapter" and name == "PyDataset":
            return lookup("utils", name)
        return placeholder(f"{path}.{name}", NotApplicable)
    if name in RENAMED:
        module, own = RENAMED[name]
        return getattr(tensors.rnnx_module(module), own)
    if name in INTERNAL:
        return placeholder(f"{path}.{name}", NotApplicable)
    if (path, name) in FUNCTIONS:
        return FUNCTIONS[path, name]
    if name in SAVING and first in ("saving", "utils"):
        return SAVING[name]
    if not path:
        if hasattr(rnnx, name):
            return getattr(rnnx, name)
        return {"KerasTensor": tensors.KerasTensorType, "Variable": tensors.Variable}.get(name, placeholder(name))
    for place in (path, first):
        module = tensors.rnnx_module(place)
        if module is not None and hasattr(module, name):
            return getattr(module, name)
    if first in ("losses", "metrics", "activations", "optimizers") and rest:
        return lookup(first, name)
    return placeholder(f"{first}.{name}")


class _Module(ModuleType):
    """A module of the shim: names come from `lookup`, submodules as they are imported."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        path = self.__name__.removeprefix("keras").removeprefix(".src").removeprefix(".api").lstrip(".")
        if self.__name__.split(".")[0] in FRAMEWORKS:
            return placeholder(f"{self.__name__}.{name}", NotApplicable)
        if name in PACKAGES.get(path, ()):
            return importlib.import_module(f"{self.__name__}.{name}")
        return lookup(path, name)


PACKAGES = {  # submodules that are taken from their package as attributes
    "": (*sorted(PUBLIC), "src", "api", "backend", "ops", "tree", "testing", "dtype_policies", "quantizers",
         "distribution", "export", "applications", "trainers"),
    "backend": ("common", "config", "numpy", "random", "math", "nn"),
    "backend.common": ("keras_tensor", "global_state", "dtypes", "backend_utils", "remat", "variables"),
    "dtype_policies": ("dtype_policy",),
    "testing": ("test_case", "test_utils"),
    "ops": ("numpy", "nn", "math", "core", "random", "linalg", "image"),
    "optimizers": ("schedules",),
    "metrics": ("accuracy_metrics", "reduction_metrics", "hinge_metrics", "f_score_metrics", "correlation_metrics",
                "iou_metrics", "metrics_utils", "regression_metrics", "probabilistic_metrics", "confusion_metrics"),
    "losses": ("losses", "loss"),
    "saving": ("saving_api", "saving_lib", "serialization_lib", "object_registration", "saving_lib_test"),
    "layers": ("activations", "core"),
    "layers.activations": ("softmax", "relu", "prelu", "leaky_relu", "elu"),
    "layers.core": ("input_layer",),
    "random": ("seed_generator",),
    "utils": ("numerical_utils", "rng_utils", "io_utils", "file_utils", "summary_utils", "sequence_utils", "progbar",
              "timeseries_dataset_utils", "naming", "python_utils", "traceback_utils", "tracking", "dtype_utils",
              "backend_utils", "image_utils", "module_utils"),
    "legacy.saving": ("legacy_h5_format", "json_utils"),
    "trainers": ("data_adapters",),
}  # fmt: skip


class Finder(MetaPathFinder, Loader):
    """Finds ``keras`` in rnnx, its test files in a folder, and frameworks nowhere."""

    def __init__(self, folder: Path):
        self.folder = folder

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        first, *rest = fullname.split(".")
        if first in FRAMEWORKS or fullname == "conftest":
            return ModuleSpec(fullname, self, is_package=True)
        if first != "keras":
            return None
        if rest and (rest[-1].endswith("_test") or fullname.removeprefix("keras.src.") in OWN_FILES):
            file = self.folder / "/".join(fullname.split("."))
            return importlib.util.spec_from_file_location(fullname, file.with_suffix(".py"))
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name, "A module of rnnx under Keras' name.")

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ == "conftest":
            import pytest

            module.skip_if_backend = lambda backend, reason: pytest.mark.skipif(False, reason=reason)  # type: ignore[attr-defined]
        if module.__name__ == "keras":
            module.__version__ = "3.15.1"  # type: ignore[attr-defined]


def install(folder: Path) -> None:
    """Put the shim before every other way to import ``keras``; packages of test files are there before pytest looks."""
    sys.meta_path.insert(0, Finder(folder))
    for package in sorted({file.parent for file in folder.rglob("*.py")}):
        importlib.import_module(".".join(package.relative_to(folder).parts))
