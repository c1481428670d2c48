"""LiteRT: Keras cells and layers converted by TensorFlow, which is not needed once the file is there."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from problem import Array, Problem, Work, several_steps

WORKS = ("step", "sequence", "bidirectional", "startup")
UNROLLED = 64  # units up to which a sequence is faster as a chain of steps than as a loop


class Peer:
    """NumPy arrays in and out."""

    def __init__(self, threads: int):
        self.threads = threads

    def versions(self) -> dict[str, str]:
        return {name: version(name) for name in ("ai-edge-litert", "tensorflow-cpu", "keras")}

    def prepare(self, p: Problem) -> Work:
        if p.cell.batch > 1 or p.cell.work not in WORKS:
            raise NotImplementedError("inference with batch 1 only")
        path = p.path.with_suffix(".tflite")
        if not path.exists():
            path.write_bytes(converted(p))
        model = Interpreter(str(path), num_threads=self.threads)
        model.allocate_tensors()
        inputs = [d["index"] for d in model.get_input_details()]
        outputs = [d["index"] for d in model.get_output_details()]
        if p.cell.work == "step":
            return step(p, model, inputs, outputs)

        def call() -> Array:
            model.set_tensor(inputs[0], p.x)
            model.invoke()
            y: Array = model.get_tensor(outputs[0])
            return y

        return Work(call, lambda: {"y": call()})


def step(p: Problem, model: Any, inputs: list[int], outputs: list[int]) -> Work:
    """The inputs are x and the state, the outputs the next state."""
    x, state = p.x[:, 0], [np.zeros((1, p.cell.units), np.float32)] * len(outputs)

    def call() -> Array:
        nonlocal state
        for index, value in zip(inputs, (x, *state), strict=True):
            model.set_tensor(index, value)
        model.invoke()
        state = [model.get_tensor(index) for index in outputs]
        return state[0]

    return several_steps(call, lambda y: y)


def converted(p: Problem) -> bytes:
    """The model of a problem; its inputs and outputs keep their order."""
    import keras
    import tensorflow as tf
    from peer_keras import layer_of, stack_of

    c, shapes = p.cell, [p.x.shape]
    if c.work == "step":
        cell = (keras.layers.LSTMCell if c.kind == "lstm" else keras.layers.GRUCell)(c.units)
        cell.build((1, c.units))
        cell.set_weights(p.weights())
        function = tf.function(lambda x, *state: cell(x, list(state))[1])
        shapes = [(1, c.units)] * (3 if c.kind == "lstm" else 2)
    else:
        options = {"unroll": c.units <= UNROLLED}
        layer = stack_of(p, **options) if c.work == "bidirectional" else layer_of(p, **options)
        function = tf.function(lambda x: layer(x))
    concrete = function.get_concrete_function(*(tf.TensorSpec(shape) for shape in shapes))
    model: bytes = tf.lite.TFLiteConverter.from_concrete_functions([concrete], function).convert()
    return model
