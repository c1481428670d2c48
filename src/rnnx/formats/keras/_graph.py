"""Models from their configurations: chains, graphs of all generations, models inside models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rnnx.formats.keras._dialect import Dialect
from rnnx.formats.keras._layers import MODELS, Layers
from rnnx.layers import Arithmetic, InputLayer, Masking
from rnnx.layers.base import Layer
from rnnx.layers.graph import SymbolicTensor, enter
from rnnx.layers.merging import Merge
from rnnx.layers.recurrent_base import SequenceLayer
from rnnx.models import Model, Sequential
from rnnx.saving import FormatError

DEEPEST_MODEL = 20
Key = tuple[str, int]  # layer, which of its calls
Place = tuple[str, int, int]  # layer, call, output
OPERATORS = ("keras.src.ops", "keras.ops")
MASK_OPERATORS = {
    "NotEqual", "Any", "All", "ExpandDims", "ZerosLike", "OnesLike", "LogicalOr", "LogicalAnd", "Concatenate", "Stack",
    "Squeeze", "Cast", "BroadcastTo", "Flip",
}  # fmt: skip
ARITHMETIC = {
    "Add": "add", "Subtract": "subtract", "Multiply": "multiply", "Divide": "divide", "TrueDivide": "divide",
    "Maximum": "maximum", "Minimum": "minimum",
}  # fmt: skip


@dataclass
class Call:
    """One call of a layer, as a file describes it.

    Attributes
    ----------
    inputs, states : list of places
    single : bool
        Whether the layer was called with one tensor rather than a list.
    training : bool or None
        A constant that was given in the call.
    mask : place or None
        A mask that was given, or that Keras 3 wrote down.
    """

    inputs: list[Place]
    single: bool
    states: list[Place] = field(default_factory=list)
    training: bool | None = None
    mask: Place | None = None

    @property
    def needs(self) -> list[Place]:
        return self.inputs + self.states


class Models:
    """Makes the models of one file.

    Parameters
    ----------
    path : path
        For messages.
    dialect : Dialect
    custom : dict, optional
        Layer classes of the user by their names in the file.

    Attributes
    ----------
    layers : Layers
    order : dict
        For each model that was made, by its id: its layers in the order of the file, each with the name of its class
        there.
    """

    def __init__(self, path: Any, dialect: Dialect, custom: dict[str, Any] | None = None):
        self.path, self.dialect = path, dialect
        self.layers = Layers(path, dialect, self._model, dict(custom or {}))
        self.order: dict[int, list[tuple[str, Any]]] = {}
        self._depth = 0

    def make(self, config: dict[str, Any]) -> Any:
        """The model of a whole configuration.

        Raises
        ------
        FormatError
            If it cannot be honoured.
        """
        if config.get("class_name") not in MODELS:
            raise FormatError(
                f"{self.path}: the model is of the class {str(config.get('class_name'))[:200]!r}; only Sequential and "
                "functional models say how their layers are connected"
            )
        shape = (config.get("build_config") or {}).get("input_shape")
        own = config.get("config")
        if isinstance(own, dict) and shape is not None:
            config = {**config, "config": {"build_input_shape": shape, **own}}
        return self.layers.make(config)

    def _model(self, source: str, config: Any, name: str | None) -> Any:
        if self._depth >= DEEPEST_MODEL:
            raise FormatError(f"{self.path}: more than {DEEPEST_MODEL} models inside each other")
        self._depth += 1
        try:
            if source == "Sequential" or isinstance(config, list):
                model = self._sequential(config, name)
            else:
                model = self._functional(config, name)
        finally:
            self._depth -= 1
        trainable = config.get("trainable") if isinstance(config, dict) else None
        if trainable is False:
            model.trainable = False
        return model

    # ---- Chains ------------------------------------------------------------------------------------------------------

    def _sequential(self, config: Any, name: str | None) -> Any:
        entries = config.get("layers") if isinstance(config, dict) else config
        where = f"{self.path}: model {str(name)[:200]!r}"
        if not isinstance(entries, list):
            raise FormatError(f"{where}: it has no list of layers")
        made = [self.layers.make(entry, _entry_name(entry)) for entry in entries]
        chain = [layer for layer in made if not isinstance(layer, InputLayer)]
        if not chain:
            raise FormatError(f"{where}: it has no layers")
        model = Sequential(made, name=name or None)
        if not model.built:
            shape = config.get("build_input_shape") if isinstance(config, dict) else None
            if not isinstance(shape, (list, tuple)) or not shape:
                raise FormatError(f"{where}: it was never built, the file does not say the shape of its input")
            _build(model, shape)
        self.order[id(model)] = [(self.layers.sources[id(layer)], layer) for layer in made]
        return model

    # ---- Graphs ------------------------------------------------------------------------------------------------------

    def _functional(self, config: Any, name: str | None) -> Any:
        where = f"{self.path}: model {str(name)[:200]!r}"
        if not isinstance(config, dict) or not isinstance(config.get("layers"), list):
            raise FormatError(f"{where}: it has no list of layers; a model that is a class of its own cannot be read")
        graph = _Graph(self, where)
        for entry in config["layers"]:
            graph.add(entry)
        inputs, outputs = (_ends(config.get(name), where) for name in ("input_layers", "output_layers"))
        graph.number_calls(outputs)
        graph.run([place[0] for place in inputs])
        ins, outs = ([graph.tensor(place) for place in places] for places in (inputs, outputs))
        model = Model(ins if len(ins) > 1 else ins[0], outs if len(outs) > 1 else outs[0], name=name or None)
        self.order[id(model)] = graph.order
        return model


def _build(model: Sequential, shape: Any) -> None:
    """Build a chain for an input shape that a file remembers; any number of steps, if the layers allow it."""
    if len(shape) == 3:
        try:
            model.build((None, None, shape[2]))
            return
        except ValueError:
            pass
    model.build((None, *shape[1:]))


def _entry_name(entry: Any) -> str | None:
    """The name of a layer in a list of layers: inside its configuration, or beside it."""
    if not isinstance(entry, dict):
        return None
    config = entry.get("config")
    name = config.get("name") if isinstance(config, dict) else None
    return name if name is not None else entry.get("name")


def _ends(places: Any, where: str) -> list[Place]:
    """Inputs or outputs of a graph; Keras makes no difference between one tensor and a list of one."""
    if isinstance(places, dict):
        places = list(places.values())
    if not isinstance(places, list) or not places:
        raise FormatError(f"{where}: it does not say its inputs and outputs")
    return [_place(place, where) for place in ([places] if isinstance(places[0], str) else places)]


def _place(value: Any, where: str) -> Place:
    if (
        not isinstance(value, (list, tuple))
        or len(value) < 3
        or not isinstance(value[0], str)
        or not all(isinstance(n, int) and n >= 0 for n in value[1:3])
    ):
        raise FormatError(f"{where}: {str(value)[:100]} is not the place of a tensor")
    return value[0], value[1], value[2]


class _Graph:
    """The layers of one graph and their calls, run symbolically in an order that satisfies them."""

    def __init__(self, models: Models, where: str):
        self.models, self.where = models, where
        self.entries: dict[str, Any] = {}
        self.order: list[tuple[str, Any]] = []
        self.calls: dict[Key, Call] = {}
        self.tensors: dict[Key, list[SymbolicTensor]] = {}
        self.masks: dict[Key, frozenset[Any]] = {}  # what operators on masks were made from
        self.origins: dict[Key, frozenset[Any]] = {}  # what the mask that a tensor carries was made from

    def add(self, entry: Any) -> None:
        """Take a layer and its calls."""
        if not isinstance(entry, dict):
            raise FormatError(f"{self.where}: one of its layers is not described")
        name = entry.get("name") or _entry_name(entry)
        if not isinstance(name, str) or name in self.entries:
            raise FormatError(f"{self.where}: the layer name {str(name)[:200]!r} is missing or used twice")
        if self._is_operator(entry):
            layer: Any = _operator(entry, self.where, name)
        else:
            layer = self.models.layers.make(entry, name)
            self.order.append((self.models.layers.sources[id(layer)], layer))
        self.entries[name] = layer
        nodes = entry.get("inbound_nodes") or []
        if not isinstance(nodes, list):
            raise FormatError(f"{self.where}: the calls of {name[:200]!r} are not a list")
        for k, node in enumerate(nodes):
            self.calls[name, k] = self._call(name, layer, node)

    def _is_operator(self, entry: dict[str, Any]) -> bool:
        """Whether it is an operation and no layer; the ``.h5`` files of Keras 3 do not say the module."""
        module, config = entry.get("module"), entry.get("config")
        if isinstance(module, str):
            return module.startswith(OPERATORS)
        known = entry.get("class_name") in MASK_OPERATORS | ARITHMETIC.keys() | {"Negative"}
        return known and self.models.dialect.generation == 3 and isinstance(config, dict) and "trainable" not in config

    # ---- What files say about calls ----------------------------------------------------------------------------------

    def _call(self, name: str, layer: Any, node: Any) -> Call:
        where = f"{self.where}: layer {name[:200]!r}"
        if isinstance(node, dict) and "args" in node:
            return _call_of_keras3(node, layer, where)
        return _call_of_keras2(node, layer, where)

    def number_calls(self, outputs: list[Place]) -> None:
        """Count the calls of models inside as tf.keras does: from 1, if a model was built before it was called.

        Every call is referred to, so that the largest number tells.
        """
        largest: dict[str, int] = {}
        for place in [*outputs, *(place for call in self.calls.values() for place in call.needs)]:
            largest[place[0]] = max(place[1], largest.get(place[0], 0))
        counts = Counter(name for name, _ in self.calls if isinstance(self.entries[name], Model))
        for name, count in counts.items():
            if largest.get(name) == count:
                for k in reversed(range(count)):
                    self.calls[name, k + 1] = self.calls.pop((name, k))

    # ---- Running -----------------------------------------------------------------------------------------------------

    def run(self, inputs: list[str]) -> None:
        """Make all tensors."""
        for name in inputs:
            layer = self.entries.get(name)
            if isinstance(layer, Sequential):
                raise FormatError(f"{self.where}: {name[:200]!r} is a model and an input; that is not supported")
            if not isinstance(layer, InputLayer):
                raise FormatError(f"{self.where}: {name[:200]!r} is not an input")
            self.tensors[name, 0] = [enter(layer)]
        waiting: dict[Key, int] = {}
        users: dict[Key, list[Key]] = {}
        for key, call in self.calls.items():
            needed = {place[:2] for place in call.needs} | ({call.mask[:2]} if call.mask else set())
            for other in needed:
                users.setdefault(other, []).append(key)
            waiting[key] = len(needed)
        ready = list(self.tensors)
        while ready:
            key = ready.pop()
            for user in users.get(key, []):
                waiting[user] -= 1
                if not waiting[user]:
                    self._apply(user, self.calls[user])
                    ready.append(user)

    def tensor(self, place: Place) -> SymbolicTensor:
        """A tensor that was made."""
        name, call, index = place
        outputs = self.tensors.get((name, call))
        if outputs is None or index >= len(outputs):
            raise FormatError(f"{self.where}: there is no output {index} of call {call} of layer {name[:200]!r}")
        return outputs[index]

    def _apply(self, key: Key, call: Call) -> None:
        layer = self.entries[key[0]]
        if isinstance(layer, str):  # an operator on masks
            found: frozenset[Any] = frozenset()
            for place in call.inputs:
                found |= self.masks.get(place[:2], frozenset())
            self.masks[key] = found | (frozenset(call.inputs) if layer == "NotEqual" else frozenset())
            return
        where = f"{self.where}: layer {key[0][:200]!r}"
        for place in call.needs:
            if place[:2] in self.masks:
                raise FormatError(f"{where}: it computes with a mask ({place[0][:200]!r}); that is not supported")
        self._check_mask(where, call)
        inputs = [self.tensor(place) for place in call.inputs]
        arguments: dict[str, Any] = {}
        if call.states:
            arguments["initial_state"] = [self.tensor(place) for place in call.states]
        if call.training is not None:
            arguments["training"] = call.training
        try:
            y = layer(inputs[0] if call.single else inputs, **arguments)
        except FormatError:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise FormatError(f"{where}: {error}") from error
        self.tensors[key] = y if isinstance(y, list) else [y]
        self.origins[key] = self._origin(layer, call)

    # ---- Masks: Keras 3 writes down the operators that made them; rnnx makes them again ----------------------------

    def _origin(self, layer: Any, call: Call) -> frozenset[Any]:
        """Of which tensors the mask was made that the output of a call carries."""
        if isinstance(layer, Masking) or getattr(layer, "mask_zero", False):
            return frozenset(call.inputs[:1])
        carried: frozenset[Any] = frozenset()
        for place in call.inputs:
            carried |= self.origins.get(place[:2], frozenset())
        if isinstance(layer, Model):
            return carried | {None}  # what is inside may change it
        if getattr(layer, "return_sequences", True) is False or not layer.supports_masking:
            return frozenset()
        return carried

    def _check_mask(self, where: str, call: Call) -> None:
        """Refuse a mask that rnnx would not use by itself."""
        if call.mask is None:
            return
        carried: frozenset[Any] = frozenset()
        for place in call.inputs:
            carried |= self.origins.get(place[:2], frozenset())
        if None not in carried and self.masks.get(call.mask[:2]) != carried:
            raise FormatError(
                f"{where}: it was called with a mask of its own ({call.mask[0][:200]!r}); only masks of Masking and "
                "Embedding layers are supported"
            )


def _operator(entry: dict[str, Any], where: str, name: str) -> Layer | str:
    """An operation of Keras 3 that is no layer: a layer that does the same, or the name of one on masks."""
    kind = str(entry.get("class_name"))
    if kind == "Negative":
        return Arithmetic("multiply", right=-1.0, name=name)
    if kind in ARITHMETIC:
        return Arithmetic(ARITHMETIC[kind], *_numbers(entry, f"{where}: {name[:200]!r}"), name=name)
    if kind not in MASK_OPERATORS:
        raise FormatError(f"{where}: {name[:200]!r}: the operator {kind[:200]!r} between layers is not supported")
    return kind


def _numbers(entry: dict[str, Any], where: str) -> list[float | None]:
    """The operands of an operation, None for those that are tensors."""
    nodes = entry.get("inbound_nodes")
    args = nodes[0].get("args") if isinstance(nodes, list) and nodes and isinstance(nodes[0], dict) else None
    if not isinstance(args, list) or len(args) != 2:
        raise FormatError(f"{where}: an operation needs two operands")
    if not all(type(part) in (dict, int, float) for part in args) or dict not in map(type, args):
        raise FormatError(f"{where}: only arithmetic of tensors and single numbers is supported")
    try:
        return [None if isinstance(part, dict) else float(part) for part in args]
    except OverflowError as error:
        raise FormatError(f"{where}: an operand is too large") from error


def _tensors_in(value: Any, where: str) -> list[Place] | None:
    """Places of a tensor or of a list of them in Keras 3's words; None if it is something else."""
    if isinstance(value, (list, tuple)):
        found = [_tensors_in(part, where) for part in value]
        return None if not found or None in found else [place for part in found for place in part or []]
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        config = value.get("config")
        return [_place(config.get("keras_history") if isinstance(config, dict) else None, where)]
    return None


def _call_of_keras3(node: dict[str, Any], layer: Any, where: str) -> Call:
    args, kwargs = node.get("args"), dict(node.get("kwargs") or {})
    if not isinstance(args, list) or not args:
        raise FormatError(f"{where}: a call without arguments")
    if isinstance(layer, str):
        return Call([place for part in args for place in _tensors_in(part, where) or []], False)
    if isinstance(layer, Arithmetic):
        operands = [place for part in args for place in _tensors_in(part, where) or []]
        return Call(operands, len(operands) == 1)
    first = _tensors_in(args[0], where)
    if first is None:
        raise FormatError(f"{where}: it is called with {str(args[0])[:100]}, not with a tensor")
    one_model = isinstance(layer, Model) and not layer.several_inputs and len(first) == 1
    call = Call(first, isinstance(args[0], dict) or one_model)
    rest = list(args[1:])
    if isinstance(layer, SequenceLayer) and rest:
        kwargs.setdefault("initial_state", rest.pop(0))
    if kwargs.get("initial_state") is not None:
        states = _tensors_in(kwargs.pop("initial_state"), where)
        if states is None:
            raise FormatError(f"{where}: its initial state is not a tensor")
        call.states = states
    # Keras 3 writes training=False also where nothing was given, and `fit` overrides it.
    call.training = True if kwargs.pop("training", None) is True else None
    masks = _tensors_in(kwargs.pop("mask", None), where)
    call.mask = masks[0] if masks and len(masks) == 1 else None
    left = [name for name, value in kwargs.items() if value is not None] + [part for part in rest if part is not None]
    if left:
        raise FormatError(f"{where}: the call argument {str(left[0])[:100]!r} is not supported")
    return call


def _call_of_keras2(node: Any, layer: Any, where: str) -> Call:
    entries = node if isinstance(node, list) else list(node.values()) if isinstance(node, dict) else None
    if entries and isinstance(entries[0], str):
        entries = [entries]
    if not entries:
        raise FormatError(f"{where}: a call without tensors")
    kwargs: dict[str, Any] = {}
    for entry in entries:
        if isinstance(entry, list) and len(entry) > 3 and isinstance(entry[3], dict):
            kwargs.update(entry[3])
    places = [_place(entry, where) for entry in entries]
    merges = isinstance(layer, Merge) or getattr(layer, "several_inputs", False)
    call = Call(places, not merges)
    if isinstance(layer, SequenceLayer):
        call.inputs, call.states = places[:1], places[1:]
    elif not merges and len(places) > 1:
        raise FormatError(f"{where}: it takes one input and is called with {len(places)}")
    state = kwargs.pop("initial_state", None)
    if state is not None and not call.states:
        call.states = list(_places_in(state, where))
    training = kwargs.pop("training", None)
    call.training = bool(training) if training in (True, False) else None
    left = [name for name, value in kwargs.items() if value not in (None, [], {}, False)]
    if left:
        raise FormatError(f"{where}: the call argument {str(left[0])[:100]!r} is not supported")
    return call


def _places_in(value: Any, where: str) -> Iterator[Place]:
    """Places in a list of them, however deep."""
    if isinstance(value, list) and value and not isinstance(value[0], str):
        for part in value:
            yield from _places_in(part, where)
    else:
        yield _place(value, where)
