"""A problem as an ONNX file, for ONNX Runtime and OpenVINO: time-major, with ONNX' own LSTM and GRU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from problem import GATES, Array, Problem

ORDER = {"lstm": (0, 3, 1, 2), "gru": (0, 1, 2)}  # ONNX' gates, i o f c and z r h, in Keras' numbering
WORKS = ("step", "sequence", "bidirectional", "ragged", "int8", "startup")


def model_of(p: Problem) -> Path:
    """The file of a problem, beside its arrays; written if it is not there, and only then the package is imported."""
    if p.cell.work not in WORKS:
        raise NotImplementedError("inference only")
    path = p.path.with_suffix(".onnx")
    if not path.exists():
        write(p, path)
    return path


def inputs_of(p: Problem) -> dict[str, Array]:
    """What the model is fed with at first."""
    c = p.cell
    found = {"x": p.by_time("x")}
    if c.work == "ragged":
        found["lengths"] = p.lengths.astype(np.int32)
    if c.work == "step":
        for name in states(p):
            found[name] = np.zeros((1, c.batch, c.units), np.float32)
    return found


def output_of(p: Problem, output: Array) -> Array:
    """The model's first output as (batch, timesteps, width), or (batch, units) for steps and ragged batches."""
    if p.cell.work in ("step", "ragged"):
        return output[0]
    return output.reshape(p.cell.timesteps, p.cell.batch, -1).swapaxes(0, 1)


def states(p: Problem) -> tuple[str, ...]:
    return ("h", "c") if p.cell.kind == "lstm" else ("h",)


def write(p: Problem, path: Path) -> None:
    """Make the model."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    c, nodes, constants = p.cell, [], []

    def info(name: str, *shape: int, kind: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    def constant(name: str, value: Array) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def recurrent(x: str, layer: int, directions: int, outputs: list[str], more: list[str]) -> None:
        arrays = [stacked(p, layer, direction) for direction in range(directions)]
        weights = [constant(f"{n}{layer}", np.stack(a)) for n, a in zip("WRB", zip(*arrays, strict=True), strict=True)]
        options = {"linear_before_reset": 1} if c.kind == "gru" else {}
        direction = "bidirectional" if directions == 2 else "forward"
        nodes.append(
            helper.make_node(
                c.kind.upper(), [x, *weights, *more], outputs, hidden_size=c.units, direction=direction, **options
            )
        )

    shape = (c.timesteps, c.batch, c.units)
    inputs, state = [info("x", *shape)], (1, c.batch, c.units)
    if c.work == "bidirectional":
        joined = constant("joined", np.array([c.timesteps, c.batch, 2 * c.units]))
        for layer, (x, y) in enumerate((("x", "middle"), ("middle", "y"))):
            recurrent(x, layer, 2, [f"raw{layer}"], [])
            nodes.append(helper.make_node("Transpose", [f"raw{layer}"], [f"turned{layer}"], perm=[0, 2, 1, 3]))
            nodes.append(helper.make_node("Reshape", [f"turned{layer}", joined], [y]))
        outputs = [info("y", c.timesteps, c.batch, 2 * c.units)]
    elif c.work == "step":
        names = states(p)
        recurrent("x", 0, 1, ["", *(f"{name}_next" for name in names)], ["", *names])
        inputs += [info(name, *state) for name in names]
        outputs = [info(f"{name}_next", *state) for name in names]
    elif c.work == "ragged":
        recurrent("x", 0, 1, ["", "y"], ["lengths"])
        inputs.append(info("lengths", c.batch, kind=TensorProto.INT32))
        outputs = [info("y", *state)]
    else:
        recurrent("x", 0, 1, ["y"], [])
        outputs = [info("y", c.timesteps, 1, c.batch, c.units)]
    graph = helper.make_graph(nodes, str(c), inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    save(model, str(path))


def stacked(p: Problem, layer: int, direction: int) -> tuple[Array, Array, Array]:
    """W, R and B of one direction."""
    kernel, recurrent, bias = p.weights(layer, direction)
    if p.cell.kind == "lstm":
        bias = np.stack([bias, np.zeros_like(bias)])

    def swapped(weight: Array) -> Array:
        parts = np.split(weight, GATES[p.cell.kind], axis=-1)
        return np.concatenate([parts[k] for k in ORDER[p.cell.kind]], axis=-1)

    return swapped(kernel).T, swapped(recurrent).T, swapped(bias).ravel()
