"""Run a layer of real Keras on its PyTorch backend and record values and gradients as a golden case.

Environment of every script that imports this module:
``pip install keras==3.15.1 torch==2.13.0`` (the versions that the files were made with, on Python 3.11).

All results are float64, from inputs and weights that float32 holds exactly, so one file serves both dtypes. Off
TensorFlow, Keras computes products of float64 in float32; that one rule of its type promotion is lifted here.
PyTorch's gradient of hard_sigmoid holds 1/6 in float32 all the same: such cases say so in their configuration.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .store import Case, build_layer, random_like

os.environ["KERAS_BACKEND"] = "torch"
keras = importlib.import_module("keras")
torch = importlib.import_module("torch")
keras.config.set_floatx("float64")
keras.src.backend.common.dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
torch.manual_seed(0)
torch.set_num_threads(1)

Spec = dict[str, Any]


def tensor(array: np.ndarray, gradient: bool = True) -> Any:
    """Turn an array into a tensor; floating-point ones become float64 and ask for a gradient."""
    if array.dtype.kind != "f":
        return torch.tensor(array)
    return torch.tensor(array.astype(np.float64), requires_grad=gradient)


def gradient_of(value: Any) -> np.ndarray | None:
    """Return the gradient of a tensor as an array, zeros where nothing flowed, None where none is defined."""
    if not value.requires_grad:
        return None
    return np.zeros(tuple(value.shape)) if value.grad is None else value.grad.numpy()


def as_list(value: Any) -> list[Any]:
    """Return the tensors of a possibly nested result in order."""
    if isinstance(value, (list, tuple)):
        return [item for member in value for item in as_list(member)]
    return [value]


def inject(cell: Any, masks: dict[str, np.ndarray], timesteps: int, go_backwards: bool) -> None:
    """Make a Keras cell use given dropout masks.

    Parameters
    ----------
    cell : keras cell with dropout
    masks : dict
        ``inputs`` and ``recurrent``, shaped (gates, batch, 1 or timesteps, width); time is that of the input.
    timesteps, go_backwards
        Needed to find the mask of a step when it varies along time.
    """

    def getter(mask: np.ndarray) -> Callable[[Any], Any]:
        calls = -2  # the layer asks before the loop, and the loop runs its first step twice

        def get(_: Any) -> Any:
            nonlocal calls
            step, calls = max(calls, 0), calls + 1
            position = 0 if mask.shape[2] == 1 else timesteps - 1 - step if go_backwards else step
            gates = [tensor(gate[:, position], gradient=False) for gate in mask]
            count = getattr(cell, "dropout_mask_count", None)
            if count is None:
                return gates[0]
            return gates if len(gates) == count else gates * count

        return get

    if "inputs" in masks:
        cell.get_dropout_mask = getter(masks["inputs"])
    if "recurrent" in masks:
        cell.get_recurrent_dropout_mask = getter(masks["recurrent"])


def record(
    spec: Spec,
    rng: np.random.Generator,
    inputs: np.ndarray | Sequence[np.ndarray],
    *,
    weights: Sequence[np.ndarray] | None = None,
    mask: np.ndarray | None = None,
    initial_state: Sequence[np.ndarray] | None = None,
    masks: dict[str, np.ndarray] | None = None,
    training: bool = False,
    gradients: bool = True,
) -> Case:
    """Run one layer forward and backward.

    Parameters
    ----------
    spec : dict
        See `golden.store.build_layer`.
    rng : numpy.random.Generator
        Source of the weights (unless given) and of the gradient that comes from above.
    inputs : array or list of arrays
    weights : list of arrays, optional
    mask : array of shape (batch, timesteps), optional
    initial_state : list of arrays, optional
    masks : dict, optional
        Dropout masks, see `inject`.
    training, gradients : bool

    Returns
    -------
    Case
        Arrays ``x``, ``weights``, ``mask``, ``initial_state``, ``masks``; ``y``; with ``gradients`` also
        ``dy``, ``dx``, ``dweights`` (of the trainable ones) and ``dinitial_state``; ``weights_after`` if
        training changes some weights by itself. Every one but the masks is a list.
    """
    several = isinstance(inputs, (list, tuple))
    xs = list(inputs) if several else [inputs]
    layer = build_layer(keras.layers, spec, dtype="float64")
    layer.build([x.shape for x in xs] if several else xs[0].shape)
    if weights is None:
        weights = random_like(rng, [tuple(weight.shape) for weight in layer.weights])
    layer.set_weights([weight.astype(np.float64) for weight in weights])
    if masks:
        inject(layer.cell, masks, xs[0].shape[1], layer.go_backwards)

    x_tensors = [tensor(x) for x in xs]
    call: dict[str, Any] = {"training": training}
    state_tensors = None
    if mask is not None:
        call["mask"] = torch.tensor(mask)
    if initial_state is not None:
        state_tensors = [tensor(state) for state in initial_state]
        call["initial_state"] = state_tensors
    ys = as_list(layer(x_tensors if several else x_tensors[0], **call))

    case = Case({"spec": spec, "training": training})
    if "hard_sigmoid" in str(spec):
        case.config["gradient_precision"] = "float32"
    case.put("x", xs)
    case.put("weights", weights)
    case.put("mask", mask)
    case.put("initial_state", initial_state)
    for name, value in (masks or {}).items():
        case.put(f"masks/{name}", value)
    case.put("y", [y.detach().numpy() for y in ys])
    if training and layer.non_trainable_weights:
        case.put("weights_after", layer.get_weights())
    if gradients:
        dys = random_like(rng, [tuple(y.shape) for y in ys], scale=1.0)
        torch.autograd.backward(ys, [tensor(dy, gradient=False) for dy in dys])
        case.put("dy", dys)
        case.put("dx", [gradient_of(x) for x in x_tensors])
        case.put("dweights", [gradient_of(weight.value) for weight in layer.weights if weight.trainable])
        case.put("dinitial_state", [gradient_of(state) for state in state_tensors or []])
    return case
