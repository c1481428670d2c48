"""Many live streams of one model, of which those that have input advance together."""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from rnnx import _kernels
from rnnx._typing import Array
from rnnx.runtime.parallel import get_num_threads
from rnnx.streaming.chained import chained
from rnnx.streaming.held_rows import CompiledRows, HeldRows, Rows, convolution_rows, recurrent_rows
from rnnx.streaming.steppers import check_out
from rnnx.streaming.stream import Stream

MAGIC = b"rnnxrow1"
HEAD = struct.Struct("<8sII")  # magic, CRC-32 of all that follows the head, bytes of the description
FEWEST_ROWS = 64


class RowSteps(Stream):
    """The step of some rows out of many; the states of all of them.

    Parameters
    ----------
    layer : Layer or Model
    """

    _steppers: list[HeldRows]

    def __init__(self, layer: Any):
        self.rows = Rows()
        super().__init__(layer, 1)

    @property
    def settled(self) -> bool:
        """Whether no other thread changed the weights while they were taken."""
        return self._settled

    def _recurrent_stepper(self, cell: Any, dtype: Any, zero_output: bool) -> Any:
        return recurrent_rows(self.rows, cell, dtype, self._turn)

    def _convolution_stepper(self, layer: Any) -> Any:
        return convolution_rows(self.rows, layer)

    def _short_way(self) -> Any:
        compiled = [stepper for stepper in self._steppers if isinstance(stepper, CompiledRows)]
        found = chained(self._layer, len(compiled)) if len(compiled) == len(self._steppers) else None
        if found is None:
            return None
        links, own = [], iter(compiled)
        for link in found.links:
            links.append(next(own).link if link is None else link)
        chain, embedding, last = _kernels.RowChain(links, found.table), found.embedding, found.last
        cast = self._cast
        if embedding is not None:
            cast = lambda x: embedding.cast(self._cast(x))  # noqa: E731

        def step(x: Any, out: Array | None) -> Array:
            rows = self.rows
            if embedding is not None and embedding.mask_zero and not np.asarray(x).all():
                raise ValueError("step: `x` has id 0, which is padding (mask_zero); leave its stream out of the call")
            if last is None:
                y: Array = chain.step(rows.of_now, x, out, rows.threads, cast)
                return y
            if out is not None:
                check_out(out, (len(rows.of_now), chain.units), chain.dtype)
            y = last(chain.step(rows.of_now, x, None, rows.threads, cast))
            if out is None:
                return y
            out[...] = y
            return out

        self.width = chain.features if embedding is None else None
        self.dtype = chain.dtype
        return step

    width: int | None = None  # of rows that can be stacked without a look at their kind

    def advance(self, rows: Any, x: Any, out: Array | None, threads: int) -> Array:
        """The outputs of these rows; on an error their states are those before it."""
        self.rows.of_now, self.rows.threads = rows, threads
        if self._short is not None:
            y: Array = self._short(x, out)
            return y
        x = self._cast(x)
        if x.shape[:1] != (len(rows),):
            raise ValueError(f"step: `x` must have {len(rows)} row(s), one for each stream, got shape {x.shape}")
        before = self.read(rows)
        try:
            return self._output(x, out, None)
        except BaseException:
            self.write(rows, before)
            raise

    def reserve(self, capacity: int) -> None:
        """Make room for so many rows."""
        for stepper in self._steppers:
            stepper.reserve(capacity)

    def begin(self, rows: Any) -> None:
        """The state at the beginning, in some rows."""
        for stepper in self._steppers:
            stepper.begin(rows)

    def read(self, rows: Any) -> list[tuple[Array, ...]]:
        """Copies of the states of some rows."""
        return [stepper.read(rows) for stepper in self._steppers]

    def write(self, rows: Any, states: Any) -> None:
        """Assign the states of some rows."""
        for stepper, parts in zip(self._steppers, states, strict=True):
            stepper.write(rows, parts)

    @cached_property
    def description(self) -> list[list[list[Any]]]:
        """For each part of the state of each layer its shape for one row and its dtype."""
        return [
            [[list(part.shape[1:]), part.dtype.name] for part in stepper.read(np.zeros(1, np.intp))]
            for stepper in self._steppers
        ]


class StreamPool:
    """Thousands of live streams of one model: those that have input advance together, in one batched step.

    Each stream gives, bit for bit, what a `Stream` of its own gives, whichever others step with it; behind convolutions
    and operations of `rnnx.ops` that multiply matrices, to rounding. Streams join and leave at any time, at the cost of
    their own state.

    Threads that share a pool take turns: every call happens as a whole. A step uses several threads
    (`rnnx.set_num_threads`) where it is large enough to pay. Weights are those at the time the pool was made; see
    `reload`. A pool can be pickled and copied, with its streams and their ids.

    Parameters
    ----------
    model : Layer or Model
        Built, and one that can be streamed.
    max_streams : int, optional
        How many may be open at a time.
    max_idle : float, optional
        Seconds without a step after which a stream may be closed: `open` does so, and `evict`.
    evict_oldest : bool
        Whether `open` at ``max_streams`` closes the stream that has been idle the longest; otherwise it raises.

    Raises
    ------
    ValueError
        If the model cannot be streamed; the layer is named.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> model = rnnx.Sequential([rnnx.Input((None, 3)), rnnx.layers.GRU(4), rnnx.layers.Dense(2)])
    >>> pool = rnnx.StreamPool(model)
    >>> a, b = pool.open(), pool.open()
    >>> y = pool.step({a: np.ones(3), b: np.zeros(3)})
    >>> y[a].shape
    (2,)
    >>> y = pool.step([b], np.zeros((1, 3)))
    >>> other = rnnx.StreamPool(model)
    >>> c = other.load(pool.save(b))
    >>> bool((other.step({c: np.ones(3)})[c] == pool.step({b: np.ones(3)})[b]).all())
    True
    """

    def __init__(
        self,
        model: Any,
        *,
        max_streams: int | None = None,
        max_idle: float | None = None,
        evict_oldest: bool = False,
    ):
        most = _kernels.MOST_ROWS
        if max_streams is not None and (
            isinstance(max_streams, bool)
            or not isinstance(max_streams, (int, np.integer))
            or not 1 <= max_streams <= most
        ):
            raise ValueError(
                f"StreamPool: `max_streams` must be an integer from 1 to {most} or None, got {max_streams!r}"
            )
        if max_idle is not None and not max_idle > 0:
            raise ValueError(f"StreamPool: `max_idle` must be a number of seconds above 0 or None, got {max_idle!r}")
        if evict_oldest and max_streams is None:
            raise ValueError("StreamPool: `evict_oldest` has no effect without `max_streams`; give that too")
        self.max_streams = None if max_streams is None else int(max_streams)
        self.max_idle, self.evict_oldest = max_idle, bool(evict_oldest)
        self._turn = _kernels.Turn()
        self._model = model
        self._steps = RowSteps(model)
        self._roster = _kernels.Roster()
        self._reserve(FEWEST_ROWS)

    @property
    def model(self) -> Any:
        """The layer or model."""
        return self._model

    def __repr__(self) -> str:
        return f"<StreamPool of {self._model.name}, {len(self)} open>"

    # ---- Joining and leaving -----------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return int(self._roster.count)

    def __contains__(self, id: Any) -> bool:
        return isinstance(id, (int, np.integer)) and 0 <= int(id) < 2**63 and self._roster.has(int(id))

    @property
    def ids(self) -> Array:
        """The ids of all streams, an int64 array: first the one that has been idle the longest."""
        with self._turn:
            found: Array = self._roster.ids()
            return found

    def open(self, count: int | None = None) -> Any:
        """Begin a stream, or several.

        Parameters
        ----------
        count : int, optional

        Returns
        -------
        int, or int64 array of shape (count,)
            Ids, which no other stream of this pool has had or will have.

        Raises
        ------
        RuntimeError
            If that were more than ``max_streams``.
        """
        number = 1 if count is None else count
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 0:
            raise ValueError(f"open: `count` must be an integer of at least 0 or None, got {count!r}")
        with self._turn:
            now = time.monotonic()
            self._make_room(int(number), now)
            ids = np.array([self._roster.open(now) for _ in range(number)], np.int64)
            self._steps.begin(self._roster.rows(ids, "open"))
        return int(ids[0]) if count is None else ids

    def _make_room(self, number: int, now: float) -> None:
        roster = self._roster
        if self.max_idle is not None:
            self._close(roster.ids(now - self.max_idle))
        wanted = roster.count + number
        if self.max_streams is not None and wanted > self.max_streams:
            if not self.evict_oldest or number > self.max_streams:
                raise RuntimeError(
                    f"open: {roster.count} of at most {self.max_streams} streams (max_streams) are open, {number} more "
                    "wanted; close some, or make the pool with evict_oldest=True"
                )
            self._close(roster.ids(most=wanted - self.max_streams))
            wanted = self.max_streams
        if wanted > roster.capacity:
            self._reserve(max(wanted, min(2 * roster.capacity, _kernels.MOST_ROWS)))

    def _reserve(self, capacity: int) -> None:
        self._steps.reserve(capacity)
        self._roster.reserve(capacity)

    def close(self, ids: Any) -> None:
        """End a stream, or several.

        Parameters
        ----------
        ids : int or sequence of int

        Raises
        ------
        LookupError
            If one is not open; none is closed then.
        """
        with self._turn:
            self._close(_as_ids(ids, "close"))

    def _close(self, ids: Array) -> None:
        if len(ids):
            self._roster.close(self._roster.rows(ids, "close"))

    def evict(self, max_idle: float | None = None) -> list[int]:
        """Close the streams that have had no step for long.

        Parameters
        ----------
        max_idle : float, optional
            Seconds; those of the pool if not given.

        Returns
        -------
        list of int
            Their ids.
        """
        seconds = self.max_idle if max_idle is None else max_idle
        if seconds is None or not seconds >= 0:
            raise ValueError(f"evict: `max_idle` must be a number of seconds of at least 0, got {seconds!r}")
        with self._turn:
            ids = self._roster.ids(time.monotonic() - seconds)
            self._close(ids)
        found: list[int] = ids.tolist()
        return found

    def reset(self, ids: Any) -> None:
        """Begin again, with a stream or several.

        Parameters
        ----------
        ids : int or sequence of int
        """
        with self._turn:
            self._steps.begin(self._roster.rows(_as_ids(ids, "reset"), "reset"))

    # ---- Running -----------------------------------------------------------------------------------------------------

    def step(self, ids: Any, x: Any = None, out: Array | None = None) -> Any:
        """Advance some streams by one step.

        Parameters
        ----------
        ids : mapping of id to input, or sequence of n ids
            Each stream once. The input of a stream is an array of shape (features,), or one id for an `Embedding`.
        x : array of shape (n, features), or (n,) of ids for an `Embedding`
            The inputs, in the order of ``ids``; not with a mapping.
        out : array of shape (n, units), optional
            Where to put the outputs; not with a mapping.

        Returns
        -------
        dict of id to array of shape (units,), or array of shape (n, units)
            The rows of a dict are views of one array.

        Raises
        ------
        LookupError
            If a stream is not open.
        TypeError, ValueError
            If an argument does not fit, or a stream comes twice. On any error all states are those before the call.
        """
        if x is None:
            if not isinstance(ids, Mapping):
                raise TypeError(f"step: without `x`, `ids` must be a mapping of id to input, got {type(ids).__name__}")
            if out is not None:
                raise TypeError("step: `out` goes with an array `x`; a mapping gets a new array")
            names = list(ids)
            if not names:
                return {}
            y = self._step(names, list(ids.values()), None, True)
            if y.ndim == 2 and y.flags.carray and len(y) == len(names):
                return _kernels.rows_by_name(names, y)
            return dict(zip(names, y, strict=True))
        if isinstance(ids, Mapping):
            raise TypeError("step: give a mapping of id to input alone, or a sequence of ids and `x`")
        return self._step(ids, x, out, False)

    def _step(self, ids: Any, x: Any, out: Array | None, apart: bool) -> Array:
        numbers = _as_ids(ids, "step")
        with self._turn:
            if not self._steps.settled:
                self._take(RowSteps(self._model))
            steps = self._steps
            rows = self._roster.rows(numbers, "step")
            y = steps.advance(rows, self._joined(ids, x) if apart else x, out, get_num_threads())
            self._roster.touch(rows, time.monotonic())
        return y

    def _joined(self, ids: Sequence[Any], values: list[Any]) -> Array:
        """One array of the inputs of streams."""
        if self._steps.width is not None:
            together = _kernels.stack_rows(values, self._steps.width, self._steps.dtype)
            if together is not None:
                return together
        arrays = [np.asarray(value) for value in values]
        for id, array in zip(ids, arrays, strict=True):
            if array.shape != arrays[0].shape:
                raise ValueError(
                    f"step: the inputs of all streams must have one shape, got {arrays[0].shape} for stream {ids[0]} "
                    f"and {array.shape} for {id}"
                )
        return np.stack(arrays)

    # ---- States ------------------------------------------------------------------------------------------------------

    def state(self, id: int) -> list[tuple[Array, ...]]:
        """The state of a stream, as ``Stream.state`` of a stream of one row has it: copies of shape (1, ...).

        Parameters
        ----------
        id : int

        Returns
        -------
        list of tuple of array
            For each layer with a memory: ``(h,)`` or ``(h, c)`` of a recurrent layer, the last inputs of a causal
            convolution.
        """
        with self._turn:
            return self._steps.read(self._roster.rows(_as_ids(id, "state"), "state"))

    def set_state(self, id: int, state: Any) -> None:
        """Give a stream the state that `state` or ``Stream.state`` has.

        Parameters
        ----------
        id : int
        state : list of tuple of array

        Raises
        ------
        ValueError
            If the shapes do not fit; the state is unchanged then.
        """
        with self._turn:
            rows = self._roster.rows(_as_ids(id, "set_state"), "set_state")
            given = [[np.asarray(part) for part in parts] for parts in state]
            shapes = [[part.shape for part in parts] for parts in given]
            wanted = [[(1, *shape) for shape, _ in parts] for parts in self._steps.description]
            if shapes != wanted:
                raise ValueError(f"set_state: expected arrays of shapes {wanted}, got {shapes}")
            self._steps.write(rows, given)

    def save(self, id: int) -> bytes:
        """The state of a stream as bytes, for `load` in this pool, another process or on another machine.

        Parameters
        ----------
        id : int

        Returns
        -------
        bytes
            16 bytes and a description in JSON, then the arrays of `state` in little-endian order.
        """
        parts = [part for layer in self.state(id) for part in layer]
        description = _as_json(self._steps.description)
        body = b"".join([description, *(part.astype(part.dtype.newbyteorder("<")).tobytes() for part in parts)])
        return HEAD.pack(MAGIC, zlib.crc32(body), len(description)) + body

    def load(self, data: bytes) -> int:
        """Begin a stream that goes on where a saved one was.

        Parameters
        ----------
        data : bytes
            Of `save`, of a pool of a model whose states have the same shapes and dtypes, such as a later version of
            the file.

        Returns
        -------
        int
            A new id.

        Raises
        ------
        ValueError
            If the bytes are damaged or of another model.
        RuntimeError
            As of `open`.
        """
        state = self._read(bytes(data))
        with self._turn:
            id = self.open()
            self.set_state(id, state)
        return int(id)

    def _read(self, data: bytes) -> list[list[Array]]:
        if len(data) < HEAD.size or data[: len(MAGIC)] != MAGIC:
            raise ValueError(
                f"load: these {len(data)} bytes are not of StreamPool.save: they do not begin with {MAGIC!r}"
            )
        _, checksum, size = HEAD.unpack_from(data)
        body, wanted = data[HEAD.size :], self._steps.description
        if zlib.crc32(body) != checksum:
            raise ValueError(f"load: these {len(data)} bytes are damaged: their checksum is another")
        if body[:size] != _as_json(wanted):
            found = body[: min(size, 500)].decode("ascii", "replace")
            raise ValueError(f"load: this is the state of another model: {found}, expected {_as_json(wanted).decode()}")
        state, at = [], size
        for parts in wanted:
            arrays = []
            for shape, name in parts:
                kind = np.dtype(name).newbyteorder("<")
                end = at + int(np.prod(shape)) * kind.itemsize
                if end > len(body):
                    raise ValueError(f"load: {len(body) - size} bytes of states, which is less than the model has")
                arrays.append(np.frombuffer(body[at:end], kind).reshape(1, *shape))
                at = end
            state.append(arrays)
        if at != len(body):
            raise ValueError(f"load: {len(body) - at} bytes are left behind the state")
        return state

    def reload(self, model: Any = None) -> None:
        """Take the weights of now, or those of another model, and let every stream go on with them.

        Parameters
        ----------
        model : Layer or Model, optional

        Raises
        ------
        ValueError
            If the states of that model have other shapes or dtypes; nothing changes then.
        """
        model = self._model if model is None else model
        steps = RowSteps(model)
        with self._turn:
            self._take(steps)
            self._model = model

    def _take(self, steps: RowSteps) -> None:
        before, after = self._steps.description, steps.description
        if before != after:
            raise ValueError(
                f"reload: the streams have states {_as_json(before).decode()}, those of this model are "
                f"{_as_json(after).decode()}; make a new pool"
            )
        steps.reserve(self._roster.capacity)
        rows = self._roster.rows(self._roster.ids(), "reload")
        steps.write(rows, self._steps.read(rows))
        self._steps = steps

    # ---- Copies ------------------------------------------------------------------------------------------------------

    def __reduce__(self) -> Any:
        with self._turn:
            taken, ids, times = self._roster.snapshot()
            rows = self._roster.rows(ids, "copy")
            idle = time.monotonic() - times
            options = {name: getattr(self, name) for name in ("max_streams", "max_idle", "evict_oldest")}
            return _going_on, (self._model, options, taken, ids, idle, self._steps.read(rows))


def _going_on(model: Any, options: dict[str, Any], taken: Array, ids: Array, idle: Array, states: Any) -> StreamPool:
    """A pool with the streams of another one."""
    pool = StreamPool(model, **options)
    roster = _kernels.Roster()
    roster.restore(taken, ids, time.monotonic() - idle)
    pool._roster = roster
    pool._steps.reserve(roster.capacity)
    pool._steps.write(roster.rows(ids, "copy"), states)
    return pool


def _as_ids(ids: Any, who: str) -> Array:
    """An int64 array of one axis."""
    if type(ids) is list and (found := _kernels.ids_of_list(ids)) is not None:
        return found
    array = np.asarray(ids)
    if array.ndim == 0:
        array = array[None]
    if array.size == 0 and array.ndim == 1:
        return np.zeros(0, np.int64)
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise TypeError(f"{who}: ids must be integers, as `open` gives them, got {array.dtype} of shape {array.shape}")
    return np.ascontiguousarray(array, np.int64)


def _as_json(description: Any) -> bytes:
    return json.dumps(description, separators=(",", ":")).encode()
