"""``.keras``, ``.h5`` and ``.weights.h5`` files in the form of Keras 3."""

from __future__ import annotations

import datetime
import json
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from rnnx import layers
from rnnx._assigned import is_of_user
from rnnx._config import name_of_custom, to_builtin
from rnnx._nested import frozen, packed
from rnnx._typing import Array
from rnnx.formats._limits import level_of_caller
from rnnx.formats.keras import _compiled, _hdf5_write, _legacy, _optimizer, _paths, _vocabularies
from rnnx.formats.keras._calls import SWITCHES
from rnnx.formats.keras._container import ARCHIVED_WEIGHTS, NOISE
from rnnx.formats.keras._functions import written, written_call
from rnnx.layers.call_arguments import list_structure
from rnnx.layers.convolution import Convolution
from rnnx.layers.depthwise import DepthwiseConvolution
from rnnx.layers.layer import walk
from rnnx.layers.plan import Plan, Step
from rnnx.layers.registry import LAYER_CLASSES, layer_from_config
from rnnx.layers.rnn.conv_lstm import ConvLSTM
from rnnx.layers.rnn.gru import GRUWeights
from rnnx.layers.rnn.lstm import LSTMWeights
from rnnx.layers.rnn.weights import RecurrentWeights
from rnnx.layers.transposed import ConvolutionTranspose
from rnnx.models import Model, Sequential
from rnnx.saving import FormatError, write_whole

VERSION = "3.8.0"  # of Keras, whose words these are
OWN_DEFAULTS = {  # arguments that Keras does not have, and the values that change nothing
    "noise_shape": (None,), "recurrent_noise_shape": (None,), "dropout_gates": ("keras",),
    "recurrent_dropout_mode": ("state",), "zoneout": (0.0, 0, (0.0, 0.0), [0.0, 0.0]), "quantization_mode": (None,),
    "recurrent_blocks": (1,), "weight_noise": (None,),
}  # fmt: skip
NOT_WRITTEN = ("recompute", "compat", *OWN_DEFAULTS)
OBJECTS = {"initializer": "initializers", "regularizer": "regularizers", "constraint": "constraints"}
OPERATIONS = {
    "add": "Add", "subtract": "Subtract", "multiply": "Multiply", "divide": "TrueDivide", "maximum": "Maximum",
    "minimum": "Minimum",
}  # fmt: skip
OPERATION_LAYERS = (layers.Arithmetic, layers.Operation)
OLD_LINE, NEW_LINE = "hard_sigmoid_keras2", "hard_sigmoid"  # clip(0.2 x + 0.5) = clip(1.2 x / 6 + 0.5)
LINE_FACTOR = 1.2
SCALED = (
    "Dense", "Conv1D", "Conv2D", "DepthwiseConv1D", "DepthwiseConv2D", "Conv1DTranspose", "Conv2DTranspose", "Conv3D",
    "Conv3DTranspose", "SimpleRNN", "SimpleRNNCell", "GRU", "GRUCell",
)  # fmt: skip  # whose weights go to it only
LINEAR = (layers.Dense, Convolution, DepthwiseConvolution, ConvolutionTranspose)
PUBLIC_NAMES = {"GroupedQueryAttention": "GroupQueryAttention"}  # of classes that Keras calls otherwise to others
INNER = ("layer", "backward_layer", "cell")
Order = list[tuple[str, Any]]


OTHER_FILES = "; save the model as .safetensors, or its weights alone with save_weights"


def save_model(model: Any, path: Any, include_optimizer: bool, overwrite: bool) -> None:
    """See `rnnx.formats.keras.save_model`."""
    _check_form(model, path)
    writer = _Writer(path)
    config = {**writer.entry(model), "compile_config": None}
    compiled = _compiled.compile_config(model) if include_optimizer else None
    lines = [part for part in walk(model) if line_factor(part) is not None]
    if Path(path).suffix.lower() == ".keras":
        metadata: dict[str, Any] = {
            "keras_version": VERSION,
            "date_saved": datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S"),
        }
        if compiled is not None:
            config["compile_config"] = compiled
            metadata[NOISE] = noise_of(model)
        tree = _tree(model, writer.orders, whole=True)
        if compiled is not None:
            group = tree.group("optimizer/vars")
            group.attributes["name"] = model.optimizer.name
            for k, (_, array) in enumerate(_optimizer.state_of(model, writer.orders, fresh=bool(lines))):
                group.members[str(k)] = array
        write_whole(path, lambda part: _archive(part, metadata, config, tree), overwrite=overwrite)
    else:
        tree = _legacy.tree(model, writer.orders, line_factor)
        _legacy.add_model(tree, model, config, VERSION)
        if compiled is not None:
            tree.attributes["training_config"] = json.dumps(_compiled.training_config(compiled))
            tree.attributes[NOISE] = json.dumps(noise_of(model))
            _legacy.add_optimizer(tree, model, _optimizer.state_of(model, writer.orders, fresh=bool(lines)))
        write_whole(path, lambda part: _hdf5_write.write(part, tree), overwrite=overwrite)
    if others := [part.name for part in lines if _is_penalized(part)]:
        warnings.warn(
            f"{path}: weights of {', '.join(map(repr, others[:5]))} are {LINE_FACTOR} times as large for Keras 3's "
            "hard_sigmoid, also for their regularizers and constraints in training; outputs are the same",
            UserWarning,
            stacklevel=level_of_caller(),
        )


def check(model: Any, path: Any) -> None:
    """Raise what `save_model` would raise about the model, without writing anything."""
    _check_form(model, path)
    _Writer(path).entry(model)


def _check_form(model: Any, path: Any) -> None:
    if is_of_user(type(model)) and Path(path).suffix.lower() != ".keras":
        raise FormatError(
            f"{path}: {model.name!r} ({type(model).__name__}): models of a class of one's own are written as .keras, "
            f"{Path(path).suffix} holds Sequential and functional models{OTHER_FILES}"
        )


def noise_of(model: Any) -> list[list[int]]:
    """Seed and counter of all sources of noise."""
    return [[int(n) for n in generator.state] for generator in model.seed_generators()]


def _archive(part: Path, metadata: dict[str, Any], config: dict[str, Any], tree: _hdf5_write.Tree) -> None:
    with tempfile.TemporaryDirectory(prefix=".rnnx", dir=part.parent) as folder:
        weights = Path(folder) / ARCHIVED_WEIGHTS
        _hdf5_write.write(weights, tree)
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("metadata.json", json.dumps(metadata))
            archive.writestr("config.json", json.dumps(config))
            archive.write(weights, ARCHIVED_WEIGHTS)


def save_weights(model: Any, path: Any, overwrite: bool) -> None:
    """See `rnnx.formats.keras.save_weights`."""
    if not model.built:
        raise FormatError(f"{path}: {model.name!r} is not built yet, there are no weights to save; call it once first")
    writer = _Writer(path)
    writer.note_order(model)
    if str(path).lower().endswith(".weights.h5"):
        tree = _tree(model, writer.orders)
    else:
        tree = _legacy.tree(model, writer.orders)
        _legacy.add_version(tree, VERSION)
    write_whole(path, lambda part: _hdf5_write.write(part, tree), overwrite=overwrite)


def line_factor(layer: Any) -> Array | None:
    """By what the columns of a layer's weights are multiplied because their activation is another line in Keras 3.

    A number for each column, or one for all; None if nothing changes.
    """
    if isinstance(layer, RecurrentWeights):
        factor = np.ones((layer.gates, layer.units))
        if isinstance(layer, (LSTMWeights, GRUWeights)) and layer.recurrent_activation.name == OLD_LINE:
            factor[[0, 1, 3] if isinstance(layer, LSTMWeights) else [0, 1]] = LINE_FACTOR  # of i f c o; of z r h
        if layer.activation.name == OLD_LINE:
            factor[-1] = LINE_FACTOR  # the candidate of a GRU, all of a SimpleRNN; an LSTM is refused
        return None if (factor == 1).all() else factor.reshape(-1)
    if isinstance(layer, ConvLSTM) and layer.recurrent_activation.name == OLD_LINE:
        factor = np.ones((4, layer.filters))
        factor[[0, 1, 3]] = LINE_FACTOR
        return factor.reshape(-1)
    if isinstance(layer, LINEAR) and layer.activation.name == OLD_LINE:
        return np.asarray(LINE_FACTOR)
    return None


def scaled(value: Array, factor: Array) -> Array:
    """An array times the factors of its columns, rounded once."""
    return (value * factor).astype(value.dtype)


def _is_penalized(layer: Any) -> bool:
    return any(weight.regularizer is not None or weight.constraint is not None for weight in layer.own_weights)


def _tree(model: Any, orders: dict[int, Order], *, whole: bool = False) -> _hdf5_write.Tree:
    """The weights by paths; ``whole``: the configuration goes with them, and says `NEW_LINE` for `OLD_LINE`."""
    done: set[int] = set()
    root = _hdf5_write.Tree()

    def visit(layer: Any, group: _hdf5_write.Tree) -> None:
        if id(layer) in done:
            return
        done.add(id(layer))
        group.group("vars").attributes["name"] = layer.name
        if layer.own_weights:
            arrays = group.group(_paths.variables(layer))
            factor = line_factor(layer) if whole else None
            for k, weight in enumerate(layer.own_weights):
                arrays.members[str(k)] = weight.array if factor is None else scaled(weight.array, factor)
        _vocabularies.add(layer, group)
        for inside, inner in _paths.parts(layer, orders):
            visit(inner, group.group(inside))

    visit(model, root)
    return root


class _Writer:
    """Makes the configuration of one model.

    Attributes
    ----------
    orders : dict
        For each model, by its id, its layers in the order in which Keras will have them.
    """

    def __init__(self, path: Any):
        self.path = path
        self.orders: dict[int, Order] = {}

    def note_order(self, model: Any) -> None:
        """Remember the orders of a model and of those inside of it."""
        for inner in model.sublayers:
            self.note_order(inner)
        if isinstance(model, Model):
            self.orders[id(model)] = _paths.order_of(model, {})

    def entry(self, layer: Any) -> dict[str, Any]:
        """The description of a layer or model.

        Raises
        ------
        FormatError
            If Keras 3 does not have it.
        """
        where = f"{self.path}: layer {layer.name!r} ({type(layer).__name__})"
        if not layer.built and layer.sublayers:
            raise FormatError(f"{where}: not built yet, there are no weights to save; call it once first")
        if is_of_user(type(layer)):
            entry = self._own(type(layer), self._config(layer, where), where)
            if layer.built_by_call and "_built_for" in vars(layer):
                entry["built_for"] = to_builtin(vars(layer)["_built_for"])
            return entry
        if isinstance(layer, Model):
            if type(layer) not in (Model, Sequential):
                raise FormatError(f"{where}: Keras does not have this class{OTHER_FILES}")
            self.note_order(layer)
            if isinstance(layer, Sequential):
                return _described("keras", "Sequential", self._sequential(layer))
            return _described("keras.src.models.functional", "Functional", self._functional(layer))
        if type(layer) is layers.Arithmetic:
            name = OPERATIONS[layer.operator]
            return {**_described("keras.src.ops.numpy", name, {"name": layer.name}), "registered_name": name}
        if isinstance(layer, layers.Operation):
            return written(layer, where)
        if getattr(layers, type(layer).__name__, None) is not type(layer):
            raise FormatError(f"{where}: Keras does not have this class{OTHER_FILES}")
        return self._layer(type(layer).__name__, self._config(layer, where), where)

    def _config(self, layer: Any, where: str) -> dict[str, Any]:
        try:
            config: dict[str, Any] = layer.get_config()
        except (NotImplementedError, ValueError) as error:
            raise FormatError(f"{where}: {error}") from error
        return config

    def _own(self, cls: Any, config: dict[str, Any], where: str) -> dict[str, Any]:
        """The description of a layer or model of a class of one's own."""
        registered = name_of_custom(cls)
        if registered is None:
            raise FormatError(
                f"{where}: Keras does not have this class; put @rnnx.saving.register_keras_serializable() above it, "
                f"and it is written by its name{OTHER_FILES}"
            )
        names = [kind.__name__ for kind in cls.__mro__]
        base = next(name for name, kind in zip(names, cls.__mro__, strict=True) if vars(layers).get(name) is kind)
        config = to_builtin(config) if base == "Layer" else self._layer(base, config, where)["config"]
        try:
            json.dumps(config)
        except (TypeError, ValueError, RecursionError) as error:
            raise FormatError(f"{where}: its get_config gives what JSON cannot hold: {error}") from error
        return {
            "module": cls.__module__, "class_name": cls.__name__, "config": config, "registered_name": registered,
        }  # fmt: skip

    # ---- One layer ---------------------------------------------------------------------------------------------------

    def _layer(self, name: str, config: dict[str, Any], where: str) -> dict[str, Any]:
        dropout = name in ("Dropout", "AlphaDropout")
        for word, defaults in OWN_DEFAULTS.items():
            if config.get(word) not in defaults and word in config and not (dropout and word == "noise_shape"):
                raise FormatError(f"{where}: Keras has no {word}={config[word]!r}")
        written = {
            word: self._line(name, word, where) if value == OLD_LINE else self._value(word, value, where)
            for word, value in config.items()
            if word not in NOT_WRITTEN or (dropout and word == "noise_shape")
        }
        if name == "InputLayer":
            written["batch_shape"] = [written.pop("batch_size"), *written.pop("shape")]
        if name in ("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"):
            written.pop("trainable", None)
        if name == "Discretization":
            written.pop("trainable", None)
        if name in ("Hashing", "HashedCrossing") and written["output_mode"] == "int":
            written["dtype"] = "int64"
        if name == "Bidirectional" and "backward_layer" not in written:
            written["backward_layer"] = None
        return _described("keras.layers", PUBLIC_NAMES.get(name, name), written)

    def _value(self, word: str, value: Any, where: str) -> Any:
        if word in INNER and value is not None:
            return self._inner(value, where)
        if word == "cells":
            return [self._inner(cell, where) for cell in value]
        kind = OBJECTS.get(word.rsplit("_", 1)[-1])
        if kind is not None and isinstance(value, dict):
            return _described(f"keras.{kind}", value["class_name"], value["config"])
        if word == "seed" and isinstance(value, dict):
            return value["config"]["seed"]
        return list(value) if isinstance(value, tuple) else value

    def _line(self, name: str, word: str, where: str) -> str:
        """The old hard_sigmoid in Keras 3's words, where `line_factor` can make up for the difference."""
        if word == "recurrent_activation" or (word == "activation" and name in SCALED):
            return NEW_LINE
        what = "also applied to the cell" if name.startswith("LSTM") else "without weights before it"
        raise FormatError(
            f"{where}: Keras 3 has no clip(0.2 x + 0.5), the hard_sigmoid of Keras 1 and 2, and as {word} it is {what}"
        )

    def _inner(self, entry: dict[str, Any], where: str) -> Any:
        """A layer inside another one, of which there is only the configuration."""
        name = entry["class_name"]
        if name in ("Model", "Sequential"):
            return self.entry(layer_from_config(entry))
        cls = LAYER_CLASSES.get(name)
        if cls is not None and is_of_user(cls):
            return self._own(cls, entry["config"], f"{where}: inside of it {name}")
        if not hasattr(layers, name):
            raise FormatError(f"{where}: Keras does not have the class {name!r}")
        return self._layer(name, entry["config"], where)

    # ---- Models ------------------------------------------------------------------------------------------------------

    def _sequential(self, model: Any) -> dict[str, Any]:
        model.check_chain(f"{self.path}: a file of Keras")
        if operations := [layer.name for layer in model.layers if isinstance(layer, OPERATION_LAYERS)]:
            names = ", ".join(map(repr, operations))
            raise FormatError(
                f"{self.path}: {names}: Keras has operations in functional models only, not in a Sequential"
            )
        first = self.entry(model.inputs[0].node.layer)
        entries = [first, *(self.entry(layer) for layer in model.layers)]
        return {
            "name": model.name,
            "trainable": model.trainable,
            "layers": entries,
            "build_input_shape": list(model.inputs[0].shape),
        }

    def _functional(self, model: Any) -> dict[str, Any]:
        plan: Plan = model.plan
        origins = [list(origin) for origin in plan.origins()]
        calls: dict[str, list[Any]] = {layer.name: [] for layer in model.layers}

        def described(place: int) -> dict[str, Any]:
            tensor = plan.tensors[place]
            kind = getattr(tensor.node.layer, "value_dtype", tensor.dtype)
            dtype = "string" if kind == np.dtype(object) else str(kind)
            config = {"shape": list(tensor.shape), "dtype": dtype, "keras_history": origins[place]}
            return {"class_name": "__keras_tensor__", "config": config}

        for step in plan.steps:
            calls[step.layer.name].append(self._call(step, described))
        entries = []
        for _, layer in self.orders[id(model)]:
            entries.append({**self.entry(layer), "name": layer.name, "inbound_nodes": calls[layer.name]})
        inputs, outputs = ([origins[place] for place in ends] for ends in (plan.inputs, plan.outputs))
        return {
            "name": model.name,
            "trainable": model.trainable,
            "layers": entries,
            "input_layers": _ends(model.input_template, model.several_inputs, inputs),
            "output_layers": _ends(model.output_template, model.several_outputs, outputs),
        }

    def _call(self, step: Step, described: Any) -> dict[str, Any]:
        given = [described(place) for place in step.inputs]
        kwargs: dict[str, Any] = {}
        if step.states:
            kwargs["initial_state"] = [described(place) for place in step.states]
        call = dict(step.call)
        if not step.single and frozen(call.get("structure")) == list_structure(step.layer, len(given)):
            del call["structure"]  # one list of tensors, as it is written
        if "structure" in call:
            raise FormatError(
                f"{self.path}: layer {step.layer.name!r}: it is called with more than one tensor or list of tensors, "
                "or with constants, which is not written; give constants to its constructor, and several tensors as a "
                f"list{OTHER_FILES}"
            )
        switches = [word for words in SWITCHES.values() for word in words]
        for word, value in call.items():
            if word != "training" and not (word in switches and isinstance(value, bool)):
                raise FormatError(f"{self.path}: layer {step.layer.name!r}: the call argument {word!r} is not written")
            kwargs[word] = value
        if isinstance(step.layer, layers.Arithmetic):
            numbers = [[] if n is None else [n] for n in (step.layer.left, step.layer.right)]
            return {"args": [*numbers[0], *given, *numbers[1]], "kwargs": kwargs}
        if isinstance(step.layer, layers.MultiHeadAttention):
            names = dict(zip(("key", "attention_mask"), given[2:], strict=False))
            return {"args": given[:2], "kwargs": {**names, **kwargs}}
        if isinstance(step.layer, layers.Operation):
            return written_call(step.layer, given, f"{self.path}: layer {step.layer.name!r}")
        return {"args": [given[0] if step.single else given], "kwargs": kwargs}


def _ends(template: Any, several: bool, places: list[Any]) -> Any:
    """Places of inputs or outputs in the form in which the model has them."""
    if template is not None:
        return packed(template, places)
    return places if several else places[0]


def _described(module: str, name: str, config: Any) -> dict[str, Any]:
    return {"module": module, "class_name": name, "config": config, "registered_name": None}
