"""Layers that somebody else made with Keras, on the engine."""

from __future__ import annotations

import functools
import importlib
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras
from keras import layers

from rnnx._config import what_is
from rnnx._report import Report
from rnnx.keras._loop import CELLS, form_of, masks_of, obstacle, weights_of

CLASSES = (layers.LSTM, layers.GRU, layers.SimpleRNN, layers.RNN)
BACKENDS = ("torch", "jax", "tensorflow")
_switch = threading.RLock()
_exporting: ContextVar[bool] = ContextVar("exporting", default=False)


def _backend() -> Any:
    """The module for the backend that Keras runs on."""
    name = keras.backend.backend()
    if name not in BACKENDS:
        raise NotImplementedError(
            f"rnnx.keras: runs on Keras' backends {', '.join(BACKENDS)}, got {name!r}; set KERAS_BACKEND to one of "
            "them before keras is imported, or open the model with rnnx.load_model"
        )
    return importlib.import_module(f"rnnx.keras._{name}")


def inner_loop(
    own: Callable[..., Any], layer: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False
) -> Any:
    """The loop of a layer on the engine, or its own loop where the engine does not run it."""
    backend = _backend()
    states = list(initial_state) if isinstance(initial_state, (list, tuple)) else [initial_state]
    alike = all(keras.backend.standardize_dtype(part.dtype) == layer.compute_dtype for part in (sequences, *states))
    if _exporting.get() or obstacle(layer) is not None or not alike or not backend.runs(sequences, states):
        _check_left(layer, sequences, training)
        return own(sequences, initial_state, mask, training=training)
    if not hasattr(layer, "words") and _products(sequences, states) < fewest_products(backend, layer):
        return own(sequences, initial_state, mask, training=training)
    if layer.stateful:  # Keras writes the next states into these very tensors, before the gradient is asked for
        states = [keras.ops.copy(part) for part in states]
    given = mask[0] if isinstance(mask, (list, tuple)) else mask
    masks = masks_of(layer, sequences, states, bool(training))
    last, outputs, final = backend.loop(
        layer, form_of(layer, bool(training)), sequences, states, weights_of(layer), given, masks
    )
    return last, outputs, final


def fewest_products(backend: Any, layer: Any) -> int:
    """Multiplications from which on a layer runs on the engine."""
    return int(backend.FEWEST_PRODUCTS.get(CELLS[type(layer.cell)], 0))


def _products(x: Any, states: list[Any]) -> int:
    """Multiplications of one gate of a call; sizes that a graph does not know count as 1."""
    batch, timesteps, features = (size or 1 for size in x.shape)
    units = states[0].shape[1] or 1
    return int(batch * timesteps * units * (features + units))


def _check_left(layer: Any, x: Any, training: bool) -> None:
    """Refuse what Keras' own loop would run without the noise that was asked for."""
    words = dict(getattr(layer, "words", ()))
    if not words or str(getattr(x, "device", "")) == "meta":  # where PyTorch is asked for shapes only
        return
    if words["zoneout"] not in (0, (0, 0)) or (training and (words["dropout"] or words["recurrent_dropout"])):
        reason = obstacle(layer) or "the call is compiled by another compiler, exported, or not on a processor"
        raise NotImplementedError(
            f"{type(layer).__name__} {layer.name!r}: zoneout, noise shapes and modes of dropout run on rnnx alone, "
            f"which does not run this call: {reason}"
        )


def accelerate(model: Any) -> Report:
    """Let every LSTM, GRU, SimpleRNN and RNN of one such cell inside a model or layer run on rnnx.

    The layers stay Keras': weights, masks, seeds, configuration and saved files are what they were, and the same seed
    gives the same losses.

    Parameters
    ----------
    model : keras.Model or keras.layers.Layer

    Returns
    -------
    Report
        What runs on rnnx now, and what does not and why.

    Raises
    ------
    TypeError
        If it is no layer of Keras.
    NotImplementedError
        If Keras runs on another backend than PyTorch, JAX and TensorFlow.
    """
    _backend()
    if not isinstance(model, layers.Layer):
        raise TypeError(f"accelerate: expected a model or layer of Keras, got {what_is(model)}")
    report = Report(framework="Keras")
    of_tensorflow = keras.backend.backend() == "tensorflow"
    for layer in model._flatten_layers(include_self=True, recursive=True):
        if isinstance(layer, keras.Model):
            _compile_again(layer)
            if "export" not in vars(layer):
                object.__setattr__(layer, "export", functools.partial(_export, layer.export))
        if not isinstance(layer, layers.RNN):
            continue
        if hasattr(layer, "words"):
            report.swapped.append(layer.name)
            continue
        reason = obstacle(layer) if type(layer) in CLASSES else f"{type(layer).__name__} is a class of its own"
        if reason is not None:
            report.left[layer.name] = reason
        elif layer.name not in report.swapped:
            report.swapped.append(layer.name)
            layer.supports_jit = layer.supports_jit and not of_tensorflow  # XLA cannot call the engine there
            if "inner_loop" not in vars(layer):
                object.__setattr__(layer, "inner_loop", functools.partial(inner_loop, layer.inner_loop, layer))
    return report


def _compile_again(model: Any) -> None:
    """What a model has compiled runs without the engine; so would what TensorFlow's XLA compiles."""
    model.train_function = model.test_function = model.predict_function = None
    if keras.backend.backend() == "tensorflow" and model.compiled:
        model.jit_compile = False


def _export(own: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What is exported runs without rnnx."""
    token = _exporting.set(True)
    try:
        return own(*arguments, **options)
    finally:
        _exporting.reset(token)


@contextmanager
def accelerated() -> Iterator[None]:
    """Every recurrent layer of Keras runs on rnnx inside this block, also those that are made there.

    Raises
    ------
    NotImplementedError
        If Keras runs on another backend than PyTorch, JAX and TensorFlow.
    """
    _backend()
    kept: dict[Any, Any] = {}
    with _switch:
        for cls in CLASSES:
            if "inner_loop" in vars(cls):
                kept[cls] = vars(cls)["inner_loop"]
                cls.inner_loop = _on_engine(kept[cls])
        try:
            yield
        finally:
            for cls, own in kept.items():
                cls.inner_loop = own


def _on_engine(own: Any) -> Any:
    @functools.wraps(own)
    def loop(self: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
        if type(self) not in CLASSES:
            return own(self, sequences, initial_state, mask, training=training)
        return inner_loop(types.MethodType(own, self), self, sequences, initial_state, mask, training)

    return loop
