"""Running an ONNX model: recurrent operators on rnnx, others in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnx.formats._limits import printable
from rnnx.formats.onnx._file import Source, require_onnx
from rnnx.formats.onnx._fusions import join
from rnnx.formats.onnx._limits import (
    MEMORY,
    MOST_AXES,
    MOST_COMPUTED,
    PER_INPUT,
    SHARE,
    WORK,
    WORK_PER_BYTE,
    WORK_PER_INPUT,
)
from rnnx.formats.onnx._model_run import ModelRun, run_as_model
from rnnx.formats.onnx._program import Program
from rnnx.formats.onnx._recurrences import written_as_layers
from rnnx.formats.onnx._sizes import measure
from rnnx.functional._validate import native
from rnnx.saving import FormatError

MOST_NAMED = 20  # inputs in a message
MOST_KNOWN = 256  # shapes of an input that are known to fit


@dataclass(frozen=True)
class Port:
    """An input or output of a model.

    Attributes
    ----------
    name : str
    dtype : dtype or None
        None where the file does not say, or for what is not an array of numbers.
    shape : tuple or None
        Sizes; names (or None) where any size will do. None if the file does not say.
    kind : str
        ``"tensor"``, or another type of ONNX, such as a sequence, which is given as a list.
    """

    name: str
    dtype: Any
    shape: tuple[int | str | None, ...] | None
    kind: str = "tensor"


class Session:
    """A loaded ONNX model.

    A graph of recurrent nodes and others that are layers runs as that model. In any other one the operators LSTM, GRU
    and RNN run on rnnx' engine, as does ONNX Runtime's DynamicQuantizeLSTM, in integers of 8 bits; with activations
    that rnnx lacks they run in NumPy. Common other operators have small versions of their own; all others run on the
    reference evaluator of the package `onnx`.

    Parameters
    ----------
    model : path, bytes or ModelProto
        Opset 7 or newer.
    memory : int, optional
        Bytes that the values of one run, with what is computed on the way, may take together beside its inputs and the
        file; a file that asks for more is refused before it gets them. By default half a GiB, or 128 MiB and four times
        the file if that is more, and 64 times the inputs.
    work : int, optional
        Nanoseconds, roughly, that one run may take. By default a second, ten for each byte of the file, and what is in
        proportion to the inputs.

    Attributes
    ----------
    inputs, outputs : tuple of Port
    evaluated : tuple of str
        Operators that run on the reference evaluator, which is slow and exact.
    model : Model or None
        The model that the graph runs as, if layers compute all its nodes and at least as fast; its arrays have the
        batch first.

    Raises
    ------
    FormatError
        If the model is damaged or has something that cannot be honoured; the operator is named.
    OSError
        If the file cannot be read.

    Notes
    -----
    A session is read-only while it runs: any number of threads may share it. Rows of ``sequence_lens`` 0 end in states
    of zeros, and outputs behind the end of a row are 0, as in ONNX Runtime.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> from rnnx.formats.onnx import Session, save_model
    >>> model = rnnx.Sequential([rnnx.layers.GRU(4, input_shape=(None, 3), name="gru")])
    >>> save_model(model, "gru.onnx")                                     # doctest: +SKIP
    >>> session = Session("gru.onnx")                                     # doctest: +SKIP
    >>> session.run({session.inputs[0].name: np.zeros((2, 5, 3), "f")})   # doctest: +SKIP
    """

    def __init__(self, model: Any, *, memory: int | None = None, work: int | None = None):
        source = model if isinstance(model, Source) else Source(model)
        self.name, self.memory, self.work = source.name, memory, work
        self._meter = source.meter
        self._memory = max(MEMORY, MOST_COMPUTED + 4 * source.size)  # by default, and in proportion to the inputs
        self._work = WORK + WORK_PER_BYTE * source.size
        self._work_per_input = WORK_PER_INPUT + source.size // SHARE
        graph = source.proto.graph
        written_as_layers(source)
        self._program: Program | ModelRun
        try:
            found = run_as_model(source)
            if found is None:
                join(source)
            self._program = found or Program(source, graph)
        except (RecursionError, MemoryError) as error:
            raise FormatError(f"{source.name}: too deep or too large: {type(error).__name__}") from error
        self.model = self._program.model if isinstance(self._program, ModelRun) else None
        given = {tensor.name for tensor in graph.initializer}
        self.inputs = tuple(_port(value) for value in graph.input if value.name not in given)
        self.outputs = tuple(_port(value) for value in graph.output)
        self.evaluated = tuple(sorted(self._program.evaluated))
        self._computed = source.computed
        self._checks: list[tuple[str, Any, set[tuple[int, ...]], Port]] = [
            (port.name, port.dtype, set(), port) for port in self.inputs
        ]
        self._most = memory or self._memory, work or self._work  # beside what is in proportion to the inputs
        self._least = 0 if memory else PER_INPUT, 0 if work else self._work_per_input
        self._names_of_outputs = [port.name for port in self.outputs]

    def run(self, feeds: dict[str, Any]) -> dict[str, Any]:
        """The outputs for these inputs.

        Parameters
        ----------
        feeds : dict
            An array for every name in ``inputs``.

        Returns
        -------
        dict
            An array for every name in ``outputs``.

        Raises
        ------
        TypeError, ValueError
            If an input is missing, unknown, or has another type or shape than the model says.
        FormatError
            If an operator fails on them.
        """
        arrays, size = [], 0
        for name, dtype, known, port in self._checks:
            if name not in feeds:
                raise ValueError(f"{self.name}: input {name!r} is missing; it needs {self._names()}")
            array = feeds[name]
            if array.__class__ is not np.ndarray or array.dtype is not dtype or array.shape not in known:
                array = self._checked(array, port, known)
                size += measure(array)
            else:
                size += array.nbytes or measure(array)
            arrays.append(array)
        if len(feeds) != len(arrays):
            unknown = sorted(set(feeds) - {port.name for port in self.inputs})
            names = ", ".join([str(name) for name in unknown[:MOST_NAMED]])
            raise ValueError(f"{self.name}: unknown input(s) {names}; it needs {self._names()}")
        (memory, work), (of_memory, of_work) = self._most, self._least
        self._meter.begin(memory + of_memory * size, work + of_work * size, held=self._computed)
        if self._program.quiet:
            results = self._program.run(*arrays)
        else:
            with np.errstate(all="ignore"):
                results = self._program.run(*arrays)
        found = dict(zip(self._names_of_outputs, results, strict=True))
        for name, result in found.items():
            if isinstance(result, np.generic):
                found[name] = np.asarray(result)
        return found

    def _checked(self, given: Any, port: Port, known: set[tuple[int, ...]]) -> Any:
        """An input of the type and shape that the model says; its shape is remembered."""
        if port.kind != "tensor":
            return given
        array = native(np.asarray(given))
        if port.dtype is not None and array.dtype != port.dtype:
            raise TypeError(f"{self.name}: input {port.name!r} must be {port.dtype}, got {array.dtype}")
        if port.shape is not None and not _fits(array.shape, port.shape):
            raise ValueError(f"{self.name}: input {port.name!r} must have the shape {port.shape}, got {array.shape}")
        if len(known) < MOST_KNOWN:
            known.add(array.shape)
        return array

    def _names(self) -> str:
        names = [printable(repr(port.name)) for port in self.inputs]
        return ", ".join([*names[:MOST_NAMED], "..."] if len(names) > MOST_NAMED else names)

    def __repr__(self) -> str:
        return f"<rnnx.formats.onnx.Session of {self.name}: {self._names()} -> {[p.name for p in self.outputs]}>"


def _fits(got: tuple[int, ...], wanted: tuple[int | str | None, ...]) -> bool:
    if len(got) != len(wanted):
        return False
    return all(n == want or not isinstance(want, int) for n, want in zip(got, wanted, strict=True))


def _port(value: Any) -> Port:
    onnx = require_onnx()
    if not value.type.HasField("tensor_type"):
        return Port(value.name, None, None, str(value.type.WhichOneof("value") or "tensor").removesuffix("_type"))
    tensor = value.type.tensor_type
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except (KeyError, TypeError, ValueError):
        dtype = None
    if not tensor.HasField("shape") or len(tensor.shape.dim) > MOST_AXES:
        return Port(value.name, dtype, None)
    sizes = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in tensor.shape.dim]
    return Port(value.name, dtype, tuple(sizes))
