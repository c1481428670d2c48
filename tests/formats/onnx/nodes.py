"""Small ONNX models made by hand: one recurrent node with any of its inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from rnnx.formats.onnx._recurrent import GATES

NAMES = {
    "LSTM": ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"],
    "GRU": ["X", "W", "R", "B", "sequence_lens", "initial_h"],
    "RNN": ["X", "W", "R", "B", "sequence_lens", "initial_h"],
}
OUTPUTS = {"LSTM": ["Y", "Y_h", "Y_c"], "GRU": ["Y", "Y_h"], "RNN": ["Y", "Y_h"]}
WEIGHTS = {"W", "R", "B", "P"}


def arrays_for(
    kind: str,
    many: int,
    dtype: Any,
    *,
    layout: int = 0,
    optional: bool | None = None,
    lengths: bool = False,
    peepholes: bool = False,
    batch: int = 4,
    steps: int = 5,
    features: int = 3,
    hidden: int = 4,
) -> dict[str, Any]:
    """Random inputs of a node by name; ``optional`` also bias and states (by default with ``lengths``)."""
    random = np.random.default_rng(7)

    def draw(*shape: int) -> Any:
        return (random.normal(size=shape) * 0.5).astype(dtype)

    rows = GATES[kind] * hidden
    found = {"X": draw(steps, batch, features), "W": draw(many, rows, features), "R": draw(many, rows, hidden)}
    if peepholes:
        found["P"] = draw(many, 3 * hidden)
    if lengths if optional is None else optional:
        found["B"] = draw(many, 2 * rows)
        found["initial_h"] = draw(many, batch, hidden)
        if kind == "LSTM":
            found["initial_c"] = draw(many, batch, hidden)
    if lengths:
        found["sequence_lens"] = np.array([steps, 2, 0, 1][:batch], np.int32)
    if layout:
        found.update({k: found[k].swapaxes(0, 1) for k in ("X", "initial_h", "initial_c") if k in found})
    return found


def one_node(
    kind: str,
    options: dict[str, Any],
    arrays: dict[str, Any],
    constant: bool,
    *,
    outputs: list[str] | None = None,
    node: Any = None,
    opset: int = 22,
) -> Any:
    """A model of one node; its weights are constants or inputs."""
    names = [name if name in arrays else "" for name in NAMES[kind]]
    while not names[-1]:
        names.pop()
    outputs = OUTPUTS[kind] if outputs is None else outputs
    hidden = {} if "hidden_size" in options or node is not None else {"hidden_size": arrays["R"].shape[2]}
    node = helper.make_node(kind, names, outputs, name=kind.lower(), **hidden, **options) if node is None else node
    fixed = {name for name in arrays if constant and (name in WEIGHTS or "_scale" in name or "_zero" in name)}

    def info(name: str, dtype: Any, rank: int) -> Any:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), [None] * rank)

    graph = helper.make_graph(
        [node],
        "graph",
        [info(name, array.dtype, array.ndim) for name, array in arrays.items() if name not in fixed],
        [info(name, arrays["X"].dtype, 4 if name == "Y" else 3) for name in outputs if name],
        [numpy_helper.from_array(np.ascontiguousarray(arrays[name]), name) for name in sorted(fixed)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def _golden_options() -> dict[str, tuple[str, dict[str, Any]]]:
    """Nodes whose outputs by ONNX Runtime are a golden file."""
    odd = {
        "LSTM": (["HardSigmoid", "ScaledTanh", "Affine"], [0.3, 0.7, 0.9], [0.4, 1.3, 0.1]),
        "GRU": (["HardSigmoid", "LeakyRelu"], [0.3, 0.1], [0.4]),
        "RNN": (["ThresholdedRelu"], [0.05], []),
    }
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for kind, (names, alphas, betas) in odd.items():
        for direction, many in (("forward", 1), ("reverse", 1), ("bidirectional", 2)):
            activations = {"activations": names * many, "activation_alpha": alphas * many}
            if betas:
                activations["activation_beta"] = betas * many
            variants: dict[str, dict[str, Any]] = {"plain": {}, "clip": {"clip": 0.5}, "activations": activations}
            if kind == "LSTM":
                variants["coupled"] = {"input_forget": 1}
            if kind == "GRU":
                variants["after"] = {"linear_before_reset": 1}
                variants["after clip"] = {"linear_before_reset": 1, "clip": 0.5}
            for name, options in variants.items():
                found[f"{kind} {direction} {name}"] = (kind, {"direction": direction, **options})
    return found


GOLDEN_OPTIONS = _golden_options()


def golden_arrays(kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """Inputs of such a node: with lengths, states and, for an LSTM, peepholes."""
    many = 2 if options["direction"] == "bidirectional" else 1
    return arrays_for(kind, many, np.float32, lengths=True, peepholes=kind == "LSTM" and "clip" in options)
