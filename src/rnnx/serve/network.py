"""A model file as the server sees it: names, types and shapes of its tensors, a call, and what a call costs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.layers.embedding import Embedding
from rnnx.layers.layer import walk
from rnnx.saving import load_model
from rnnx.serve.protocol import DATATYPES, NAMES, TensorInfo, is_finite
from rnnx.serve.refusal import Refusal

SHORT, LONG = 8, 64  # sizes of axes of any size, and rows, of the calls that measure the cost
REPEATS = 3


class Network:
    """A loaded model file.

    Parameters
    ----------
    path : path
    max_steps : int
        Of one request.
    packed : path, optional
        A file for the packed weights, which the processes of a server share.

    Attributes
    ----------
    inputs, outputs : tuple of TensorInfo
    streams : bool
        Whether it can be fed step by step.
    why_no_stream : str
    every_step : bool
        Whether a stream's output belongs to each step, and not to what came so far.

    Raises
    ------
    ValueError, OSError
        As `rnnx.load_model`, and if a tensor is not of numbers.
    """

    def __init__(self, path: Any, max_steps: int, packed: Any = None):
        self.path, self.max_steps = Path(path), max_steps
        self.model = load_model(path, compile=False)
        if packed is not None and hasattr(self.model, "warm_up"):
            self.model.warm_up(packed)
        model = self.model
        part: Any
        for part in walk(model):
            if vars(part).get("stateful") and hasattr(part, "carry"):
                part.stateful = False  # requests are not each other's next batch; what goes on is a sequence
        of_ids = {place for step in model.plan.steps if isinstance(step.layer, Embedding) for place in step.inputs}
        self.inputs = tuple(
            TensorInfo(
                name, "INT32" if place in of_ids else _datatype(path, "input", name, tensor), _sizes(tensor.shape)
            )
            for name, tensor, place in zip(_apart(model.input_names), model.inputs, model.plan.inputs, strict=True)
        )
        self.outputs = tuple(
            TensorInfo(name, _datatype(path, "output", name, tensor), _sizes(tensor.shape))
            for name, tensor in zip(_apart(model.output_names), model.outputs, strict=True)
        )
        self.why_no_stream, self.every_step = self._try_stream()
        self.streams = not self.why_no_stream
        self._fixed, self._each, self.sharing = self._measure()

    # ---- Streams -----------------------------------------------------------------------------------------------------

    def _try_stream(self) -> tuple[str, bool]:
        """Why there are no streams of it, and whether they have an output that belongs to each step."""
        try:
            stream = self.model.stream()
            output = stream.run(self._zeros(self.inputs[0], 1, 1)[:, :1])
        except (ValueError, TypeError) as error:
            return str(error), False
        return "", output.ndim == len(self.outputs[0].shape)

    @property
    def step_shape(self) -> tuple[int, ...]:
        """Of one step of one row of the input."""
        return self.inputs[0].shape[2:]

    # ---- What a call costs -------------------------------------------------------------------------------------------

    def cost(self, inputs: list[Array]) -> float:
        """Seconds that a call with these inputs is expected to take."""
        return self._fixed + self._each * max(array.shape[0] * _steps(array) for array in inputs)

    def _measure(self) -> tuple[float, float, float]:
        """Seconds of any call, and of each step of each row; and what a row costs among others, of what it does alone.

        A model that takes none of the sizes tried counts as dear.
        """
        for size in (SHORT, LONG, 4 * LONG):
            try:
                alone, joined = (self._time(rows, size) for rows in (1, SHORT))
                steps = max(_steps(self._zeros(info, 1, size)) for info in self.inputs)
                each = max(joined - alone, 0.0) / ((SHORT - 1) * steps)
                return max(alone - each * steps, 0.0), each, joined / (SHORT * alone)
            except ValueError:
                continue
        return 1.0, 0.0, 1.0

    def _time(self, rows: int, size: int) -> float:
        inputs = [self._zeros(info, rows, size) for info in self.inputs]
        self.run(inputs)
        return least_time(lambda: self.run(inputs))

    def _zeros(self, info: TensorInfo, rows: int, size: int) -> Array:
        return np.zeros((rows, *(size if k < 0 else k for k in info.shape[1:])), DATATYPES[info.datatype])

    # ---- Calls -------------------------------------------------------------------------------------------------------

    def check(self, tensors: dict[str, Array]) -> list[Array]:
        """The inputs in the order of the model, as contiguous arrays of its types.

        Raises
        ------
        Refusal
            If one is missing, unknown, of another shape or type, or not finite.
        """
        if tensors.keys() != {info.name for info in self.inputs}:
            expected = ", ".join(repr(info.name) for info in self.inputs)
            got = ", ".join(repr(name[:64]) for name in list(tensors)[:8]) or "none"
            raise Refusal(400, f"expected input(s) {expected}, got {got}")
        found = [self._fitting(info, tensors[info.name]) for info in self.inputs]
        if len({array.shape[0] for array in found}) > 1:
            raise Refusal(400, f"inputs must have the same number of rows, got {[len(array) for array in found]}")
        return found

    def _fitting(self, info: TensorInfo, array: Array) -> Array:
        shape = array.shape
        fits = len(shape) == len(info.shape)
        for k, n in zip(info.shape, shape, strict=False):  # a generator would take longer than all of it
            if k != n and k != -1:
                fits = False
        if not fits:
            raise Refusal(400, f"input {info.name!r}: shape must be {list(info.shape)} (-1: any), got {list(shape)}")
        if not array.size:
            raise Refusal(400, f"input {info.name!r}: shape {list(shape)} holds no numbers")
        if len(shape) > 1 and info.shape[1] < 0 and shape[1] > self.max_steps:
            raise Refusal(413, f"input {info.name!r}: at most {self.max_steps} steps in a request, got {shape[1]}")
        return self.numbers(info, array)

    def numbers(self, info: TensorInfo, array: Array) -> Array:
        """An array as the type of an input.

        Raises
        ------
        Refusal
            If it holds something that type does not have.
        """
        wanted = DATATYPES[info.datatype]
        if not (array.flags.c_contiguous and array.flags.aligned):
            array = array.copy()
        if array.dtype.kind == "f" and not is_finite(array):
            raise Refusal(400, f"input {info.name!r} holds infinities or NaN")
        if array.dtype != wanted:
            if wanted.kind in "iu" and array.dtype.kind == "f" and not np.array_equal(array, np.trunc(array)):
                raise Refusal(400, f"input {info.name!r} takes whole numbers ({info.datatype})")
            with np.errstate(over="ignore", invalid="ignore"):
                cast = array.astype(wanted)
            if wanted.kind == "f" and not np.isfinite(cast).all() or wanted.kind in "iu" and (cast != array).any():
                raise Refusal(400, f"input {info.name!r} holds numbers out of the range of {info.datatype}")
            return cast
        return array

    def run(self, inputs: list[Array]) -> list[Array]:
        """The outputs of a call.

        Raises
        ------
        ValueError
            If the model refuses the inputs, such as ids beyond a vocabulary.
        """
        outputs = self.model(inputs if len(inputs) > 1 else inputs[0])
        return list(self._flat(outputs))

    def _flat(self, outputs: Any) -> Any:
        if isinstance(outputs, dict):
            return [outputs[name] for name in self.model.output_names]
        return outputs if isinstance(outputs, (list, tuple)) else [outputs]


def least_time(call: Callable[[], Any]) -> float:
    """Seconds that a call takes, the least of several."""
    taken = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
    return min(taken)


def _steps(array: Array) -> int:
    return array.shape[1] if array.ndim > 1 else 1


def _sizes(shape: Any) -> tuple[int, ...]:
    return tuple(-1 if size is None else int(size) for size in shape)


def _datatype(path: Any, what: str, name: str, tensor: Any) -> str:
    dtype = np.dtype(tensor.dtype)
    if (found := NAMES.get(dtype)) is None:
        raise ValueError(
            f"{path}: {what} {name!r} has dtype {dtype}, which the protocol of the server lacks; it takes numbers"
        )
    return found


def _apart(names: list[str]) -> list[str]:
    """Names, numbered where one is there twice: several outputs of one layer have its name."""
    taken = {name for name in names if names.count(name) == 1}
    found = []
    for name in names:
        if names.count(name) > 1:
            name = next(own for k in itertools.count() if (own := f"{name}_{k}") not in taken)
            taken.add(name)
        found.append(name)
    return found
