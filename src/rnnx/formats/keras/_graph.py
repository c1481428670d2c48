"""Models from their configurations: chains, graphs of all generations, models inside models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rnnx import ops
from rnnx._nested import leaves, packed
from rnnx.formats._limits import DAMAGE, Budget, is_foreign, obstacles
from rnnx.formats.keras._calls import Call, Place, call_of, place_of
from rnnx.formats.keras._dialect import Dialect
from rnnx.formats.keras._functions import Function
from rnnx.formats.keras._layers import MODELS, Layers
from rnnx.formats.keras._operations import call_of_operation, is_operation, operation
from rnnx.layers import Arithmetic, InputLayer, Masking
from rnnx.layers.graph import SymbolicTensor, enter
from rnnx.layers.limits import MOST_CALLS
from rnnx.models import Model, Sequential
from rnnx.saving import FormatError

DEEPEST_MODEL = 20
MOST_TRIED = 1000  # layers that are looked at for other reasons, once there is one; 0.2 ms each
MOST_ORIGINS = 1_000_000  # tensors that masks are made of, over all tensors that carry them
Key = tuple[str, int]  # layer, which of its calls


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
        self.calls = Budget(path, MOST_CALLS, "calls of layers")
        self.origins = Budget(path, MOST_ORIGINS, "tensors that masks are made of")
        self._depth = 0

    def make(self, config: dict[str, Any]) -> Any:
        """The model of a whole configuration.

        Raises
        ------
        FormatError
            If it cannot be honoured.
        """
        kind = self.layers.own(config)
        if kind is not None and not issubclass(kind, Model):
            raise FormatError(f"{self.path}: {kind.__name__} is a layer, not a model")
        if kind is None and config.get("class_name") not in MODELS:
            raise FormatError(
                f"{self.path}: the model is of the class {str(config.get('class_name'))[:200]!r}; only Sequential and "
                "functional models say how their layers are connected; give the class, with a `call` in words of rnnx, "
                "in custom_objects, or export it to ONNX where it runs"
            )
        shape = (config.get("build_config") or {}).get("input_shape")
        own = config.get("config")
        if isinstance(own, dict) and shape is not None:
            config = {**config, "config": {"build_input_shape": shape, **own}}
        try:
            return self.layers.make(config)
        except FormatError as error:
            reasons = self._all_reasons(config, str(error))
            if len(reasons) == 1:
                raise
            raise obstacles(self.path, reasons) from error

    def _all_reasons(self, config: dict[str, Any], first: str) -> list[str]:
        """The first reason why a model cannot be made, and those of all other layers that cannot be made either."""
        reasons = [first]
        for model, entry in islice(_entries(config), MOST_TRIED):
            name = entry.get("name") or _entry_name(entry)
            try:
                if is_operation(entry, self.dialect.generation):
                    operation(entry, f"{self.path}: model {model[:200]!r}", str(name))
                else:
                    Layers(self.path, self.dialect, self._model, self.layers.custom).make(entry, name)
            except FormatError as error:
                if str(error) not in reasons:
                    reasons.append(str(error))
            except DAMAGE:
                continue  # a fault that the reading has for itself
        return reasons

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
        forms = [_ends(config.get(name), where) for name in ("input_layers", "output_layers")]
        inputs, outputs = ([place_of(leaf.place, where) for leaf in leaves(form)] for form in forms)
        graph.number_calls(outputs)
        graph.run([place[0] for place in inputs])
        ins, outs = (
            packed(form, [graph.tensor(place) for place in places])
            for form, places in zip(forms, (inputs, outputs), strict=True)
        )
        model = Model(ins, outs, name=name or None)
        self.order[id(model)] = graph.order
        return model


def _entries(config: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The layers of a configuration with the names of their models, those of models inside of it in their places."""
    waiting: list[tuple[str, Any]] = [("", config)]
    while waiting:
        model, entry = waiting.pop()
        if not isinstance(entry, dict):
            continue
        if entry.get("class_name") not in MODELS:
            yield model, entry
            continue
        own = entry.get("config")
        inner = own.get("layers") if isinstance(own, dict) else own
        name = str(own.get("name")) if isinstance(own, dict) else ""
        waiting += [(name, part) for part in reversed(inner)] if isinstance(inner, list) else []


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


@dataclass
class _End:
    """The place of an input or output in a file."""

    place: Any


def _ends(places: Any, where: str) -> Any:
    """Inputs or outputs of a graph, in dicts and lists as they are there."""
    if isinstance(places, dict) and places:
        return {str(key)[:200]: _ends(part, where) for key, part in places.items()}
    if not isinstance(places, list) or not places:
        raise FormatError(f"{where}: it does not say its inputs and outputs")
    return _End(places) if isinstance(places[0], str) else [_ends(part, where) for part in places]


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
        if is_operation(entry, self.models.dialect.generation):
            layer: Any = operation(entry, self.where, name)
        else:
            layer = self.models.layers.make(entry, name)
            self.order.append((self.models.layers.sources[id(layer)], layer))
        self.entries[name] = layer
        nodes = entry.get("inbound_nodes") or []
        if not isinstance(nodes, list):
            raise FormatError(f"{self.where}: the calls of {name[:200]!r} are not a list")
        self.models.calls.spend(len(nodes))
        for k, node in enumerate(nodes):
            self.calls[name, k] = self._call(name, layer, node)

    # ---- What files say about calls ----------------------------------------------------------------------------------

    def _call(self, name: str, layer: Any, node: Any) -> Call:
        where = f"{self.where}: layer {name[:200]!r}"
        if isinstance(layer, (Function, Arithmetic)):
            return call_of_operation(node, layer, where)
        return call_of(node, layer, where)

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
        where = f"{self.where}: layer {key[0][:200]!r}"
        if isinstance(layer, Function):
            self._compute(key, layer, call, where)
            return
        self._check_mask(where, call)
        inputs = [self.tensor(place) for place in call.inputs]
        arguments: dict[str, Any] = dict(call.arguments)
        if call.states:
            arguments["initial_state"] = [self.tensor(place) for place in call.states]
        if call.training is not None:
            arguments["training"] = call.training
        try:
            y = layer(inputs[0] if call.single else inputs, **arguments)
        except FormatError:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            if is_foreign(error):
                raise
            raise FormatError(f"{where}: {error}") from error
        self.tensors[key] = leaves(y)
        self.origins[key] = self._origin(layer, call)

    def _compute(self, key: Key, layer: Function, call: Call, where: str) -> None:
        """The result of an operation. One on masks need not have any: rnnx makes them again."""
        if layer.of_masks:
            found = self._joined(self.masks, call)
            self.masks[key] = found | (frozenset(call.inputs) if layer.function is ops.not_equal else frozenset())
        try:
            self.tensors[key] = layer([self.tensor(place) for place in call.inputs], call.template)
        except FormatError:
            if not layer.of_masks:
                raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            if not layer.of_masks:
                raise FormatError(f"{where}: {error}") from error
        self.origins[key] = frozenset()

    # ---- Masks: Keras 3 writes down the operators that made them; rnnx makes them again ----------------------------

    def _joined(self, known: dict[Key, frozenset[Any]], call: Call) -> frozenset[Any]:
        """What the inputs of a call carry together."""
        parts = dict.fromkeys(known.get(place[:2], frozenset()) for place in call.inputs)
        if len(parts) == 1:
            return next(iter(parts))
        self.models.origins.spend(sum(len(part) for part in parts))
        return frozenset().union(*parts)

    def _origin(self, layer: Any, call: Call) -> frozenset[Any]:
        """Of which tensors the mask was made that the output of a call carries."""
        if isinstance(layer, Masking) or getattr(layer, "mask_zero", False):
            return frozenset(call.inputs[:1])
        carried = self._joined(self.origins, call)
        if isinstance(layer, Model):
            return carried | {None}  # what is inside may change it
        if getattr(layer, "return_sequences", True) is False or not layer.supports_masking:
            return frozenset()
        return carried

    def _check_mask(self, where: str, call: Call) -> None:
        """Refuse a mask that rnnx would not use by itself."""
        if call.mask is None:
            return
        carried = self._joined(self.origins, call)
        if None not in carried and self.masks.get(call.mask[:2]) != carried:
            raise FormatError(
                f"{where}: it was called with a mask of its own ({call.mask[0][:200]!r}); only masks of Masking and "
                "Embedding layers are supported"
            )
