"""Calls of layers as files describe them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rnnx.layers.attention import Attending
from rnnx.layers.embedding import ReversibleEmbedding
from rnnx.layers.merging import Merge
from rnnx.layers.multi_head_attention import MultiHeadAttention
from rnnx.layers.rnn.sequence import SequenceLayer
from rnnx.models import Model
from rnnx.saving import FormatError

Place = tuple[str, int, int]  # layer, call, output
SWITCHES: dict[type, tuple[str, ...]] = {  # arguments of calls that are on or off
    Attending: ("return_attention_scores", "use_causal_mask"),
    ReversibleEmbedding: ("reverse",),
}


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
    arguments : dict
        Other constants that were given in the call.
    template : tuple or None
        Arguments of an operation: those without and with names, inputs in their places.
    """

    inputs: list[Place]
    single: bool
    states: list[Place] = field(default_factory=list)
    training: bool | None = None
    mask: Place | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    template: Any = None

    @property
    def needs(self) -> list[Place]:
        return self.inputs + self.states


def call_of(node: Any, layer: Any, where: str) -> Call:
    """The call of a layer in the words of any generation.

    Raises
    ------
    FormatError
        If it cannot be honoured.
    """
    if isinstance(node, dict) and "args" in node:
        return _call_of_keras3(node, layer, where)
    return _call_of_keras2(node, layer, where)


def place_of(value: Any, where: str) -> Place:
    """Where a tensor comes from."""
    if (
        not isinstance(value, (list, tuple))
        or len(value) < 3
        or not isinstance(value[0], str)
        or not all(isinstance(n, int) and n >= 0 for n in value[1:3])
    ):
        raise FormatError(f"{where}: {str(value)[:100]} is not the place of a tensor")
    return value[0], value[1], value[2]


def tensors_in(value: Any, where: str) -> list[Place] | None:
    """Places of a tensor or of a list of them in Keras 3's words; None if it is something else."""
    if isinstance(value, (list, tuple)):
        found = [tensors_in(part, where) for part in value]
        return None if not found or None in found else [place for part in found for place in part or []]
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        config = value.get("config")
        return [place_of(config.get("keras_history") if isinstance(config, dict) else None, where)]
    return None


def _call_of_keras3(node: dict[str, Any], layer: Any, where: str) -> Call:
    args, kwargs = node.get("args"), dict(node.get("kwargs") or {})
    if not isinstance(args, list) or not args:
        raise FormatError(f"{where}: a call without arguments")
    first = tensors_in(args[0], where)
    if first is None:
        raise FormatError(f"{where}: it is called with {str(args[0])[:100]}, not with a tensor")
    if isinstance(layer, MultiHeadAttention):
        first = _of_heads(args, kwargs, where)
        args = [[], *args[4:]]  # what has no name behind them is refused below
    one_model = isinstance(layer, Model) and not layer.several_inputs and len(first) == 1
    call = Call(first, isinstance(args[0], dict) or one_model)
    rest = list(args[1:])
    if isinstance(layer, SequenceLayer) and rest:
        kwargs.setdefault("initial_state", rest.pop(0))
    if kwargs.get("initial_state") is not None:
        states = tensors_in(kwargs.pop("initial_state"), where)
        if states is None:
            raise FormatError(f"{where}: its initial state is not a tensor")
        call.states = states
    call.arguments = _switches(layer, kwargs)
    # Keras 3 writes training=False also where nothing was given, and `fit` overrides it.
    call.training = True if kwargs.pop("training", None) is True else None
    masks = tensors_in(kwargs.pop("mask", None), where)
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
    places = [place_of(entry, where) for entry in entries]
    merges = isinstance(layer, (Merge, Attending)) or getattr(layer, "several_inputs", False)
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
    call.arguments = _switches(layer, kwargs)
    if isinstance(layer, MultiHeadAttention):  # tf.keras writes all but the query beside it
        query = dict(zip(("query", "value", "key"), places, strict=False))
        tensors = {word: kwargs.pop(word, None) for word in ("value", "key") if word not in query}
        call.inputs += [place_of(value, where) for value in tensors.values() if value is not None]
    left = [name for name, value in kwargs.items() if value not in (None, [], {}, False)]
    if left:
        raise FormatError(f"{where}: the call argument {str(left[0])[:100]!r} is not supported")
    return call


def _switches(layer: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a layer that are on or off, taken out of those of a call."""
    words = next((words for kind, words in SWITCHES.items() if isinstance(layer, kind)), ())
    found = {word: kwargs.pop(word, None) for word in words}
    return {word: True for word, value in found.items() if value is True}


def _of_heads(args: list[Any], kwargs: dict[str, Any], where: str) -> list[Place]:
    """Query, value, key and mask of a call of `MultiHeadAttention`, which has them one after the other or by name."""
    given = dict(zip(("query", "value", "key"), args, strict=False))
    found: dict[str, Place] = {}
    for word in ("query", "value", "key", "attention_mask"):
        value = given.get(word) if word in given else kwargs.pop(word, None)
        places = None if value is None else tensors_in(value, where)
        if value is not None and (places is None or len(places) != 1):
            raise FormatError(f"{where}: its {word} is not a tensor")
        if places:
            found[word] = places[0]
    for word in ("query_mask", "value_mask", "key_mask"):  # those that the inputs carry, as Keras 3 writes them down
        kwargs.pop(word, None)
    if "query" not in found or "value" not in found:
        raise FormatError(f"{where}: a call without a query and a value")
    if "attention_mask" in found:
        found = {**found, "key": found.get("key", found["value"])}
    return [found[word] for word in ("query", "value", "key", "attention_mask") if word in found]


def _places_in(value: Any, where: str) -> Iterator[Place]:
    """Places in a list of them, however deep."""
    if isinstance(value, list) and value and not isinstance(value[0], str):
        for part in value:
            yield from _places_in(part, where)
    else:
        yield place_of(value, where)
