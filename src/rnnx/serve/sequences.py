"""Sequences that clients feed piece by piece: Triton's sequence extension, and streams over a WebSocket."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.serve.batching import AT_ONCE
from rnnx.serve.metrics import ModelMetrics
from rnnx.serve.network import Network, least_time
from rnnx.serve.protocol import DATATYPES
from rnnx.serve.refusal import Refusal
from rnnx.serve.settings import Settings
from rnnx.streaming import StreamPool

TRIED = 8  # steps, and sizes of axes of any size, of the calls that measure what a step costs


class Sequence:
    """A sequence that is alive: its stream in the pool, and whose turn it is."""

    __slots__ = ("stream", "turn", "used")

    def __init__(self, stream: int):
        self.stream, self.turn, self.used = stream, asyncio.Lock(), time.monotonic()


class Sequences:
    """The sequences of one model by their ids.

    Those of one id take turns. When there are too many, those that have been idle for long are forgotten, the oldest
    first.

    Parameters
    ----------
    network : Network
    executor : ThreadPoolExecutor
    settings : Settings
    metrics : ModelMetrics
    """

    def __init__(self, network: Network, executor: ThreadPoolExecutor, settings: Settings, metrics: ModelMetrics):
        self._executor, self._settings, self._metrics, self._tell = executor, settings, metrics, metrics.alive.set
        self._alive: OrderedDict[Any, Sequence] = OrderedDict()  # the one that was used last is the last
        self._waiting = 0  # blocks that wait for their turn or a thread, or run in one
        self._start(network)

    def _start(self, network: Network) -> None:
        self.network = network
        self._pool = StreamPool(network.model) if network.streams else None
        self._step_seconds = self._measure()

    def _measure(self) -> float:
        """Seconds that a step takes, one after the other; a network that takes no ones counts as dear."""
        if self._pool is None:
            return 1.0
        (info,) = self.network.inputs
        block = np.ones((1, TRIED, *(TRIED if k < 0 else k for k in self.network.step_shape)), DATATYPES[info.datatype])
        pool, stream = self._pool, self._pool.open()
        try:
            return least_time(lambda: _run(pool, stream, block, False)) / TRIED
        except ValueError:
            return 1.0
        finally:
            pool.close(stream)

    def __len__(self) -> int:
        return len(self._alive)

    def __contains__(self, key: Any) -> bool:
        return key in self._alive

    @property
    def pool(self) -> StreamPool:
        """The streams of all sequences.

        Raises
        ------
        Refusal
            If the model cannot be fed step by step.
        """
        if self._pool is None:
            raise Refusal(400, f"the model has no sequences: {self.network.why_no_stream}")
        return self._pool

    def open(self, key: Any, saved: bytes | None = None) -> Sequence:
        """A sequence at its beginning, or where a saved one was; one of that id that is alive is dropped.

        Raises
        ------
        Refusal
            400 if the model cannot be fed step by step, 429 if too many are alive.
        """
        pool = self.pool
        if (old := self._alive.get(key)) is not None:
            self.close(key, old)
        if len(self._alive) >= self._settings.max_sequences:
            self.forget_idle()
        if len(self._alive) >= self._settings.max_sequences:
            raise Refusal(429, f"{len(self._alive)} sequences are alive already", self._until_idle())
        sequence = self._alive[key] = Sequence(pool.open() if saved is None else pool.load(saved))
        self._tell(len(self._alive))
        return sequence

    def _until_idle(self) -> float:
        oldest = next(iter(self._alive.values()))
        return max(1.0, oldest.used + self._settings.sequence_idle - time.monotonic())

    def forget_idle(self) -> int:
        """Forget the sequences that have been idle too long; their number."""
        before, old = time.monotonic() - self._settings.sequence_idle, []
        for key, sequence in self._alive.items():
            if sequence.used > before:
                break
            if not sequence.turn.locked():
                old.append((key, sequence))
        for key, sequence in old:
            self.close(key, sequence)
        return len(old)

    def close(self, key: Any, sequence: Sequence) -> None:
        """Forget a sequence, unless another one has begun under its id meanwhile."""
        if self._alive.get(key) is sequence:
            del self._alive[key]
            self._tell(len(self._alive))
            if sequence.turn.locked():  # who has it closes the stream
                return
            self.pool.close(sequence.stream)

    def find(self, key: Any) -> Sequence:
        """The sequence of an id.

        Raises
        ------
        Refusal
            If there is none.
        """
        if (sequence := self._alive.get(key)) is None:
            raise Refusal(
                400,
                f"sequence {str(key)[:64]!r} is not alive: it never began, has ended, was idle too long, or its model "
                "was replaced by one with other states; begin with sequence_start",
            )
        self._alive.move_to_end(key)
        sequence.used = time.monotonic()
        return sequence

    def is_of(self, key: Any, sequence: Sequence) -> bool:
        """Whether a sequence is still the one of an id."""
        return self._alive.get(key) is sequence

    def saved(self, key: Any) -> bytes | None:
        """Where the sequence of an id is; None if there is none, or a request of it is at hand, which moves it."""
        sequence = self._alive.get(key)
        return None if sequence is None or sequence.turn.locked() else self.pool.save(sequence.stream)

    def reload(self, network: Network) -> int:
        """Let all go on with a newer version of the model; the number of those that its states do not fit."""
        if self._pool is not None and network.streams:
            try:
                self._pool.reload(network.model)
                self.network = network
                self._step_seconds = self._measure()
                return 0
            except ValueError:
                pass
        lost = len(self._alive)
        self._alive.clear()
        self._tell(0)
        self._start(network)
        return lost

    async def feed(
        self, key: Any, sequence: Sequence, block: Array, *, finite: bool, timeout: float | None = None
    ) -> Array:
        """Outputs of shape (1, timesteps, ...) for the next steps, a block of shape (1, timesteps, ...).

        On any error the sequence is where it was.

        Parameters
        ----------
        key : object
        sequence : Sequence
        block : array
        finite : bool
            Whether infinities and NaN among the outputs are an error.
        timeout : float, optional
            Seconds until it must have begun; those of the settings if not given.

        Raises
        ------
        Refusal
            409 if the sequence ended while it waited for its turn, 429 if too many wait, 504 if the time is over.
        ValueError
            If the model refuses the block.
        """
        if self._waiting >= self._settings.max_queue:
            raise Refusal(429, f"{self._waiting} requests of sequences wait for the model already", 1.0)
        until = time.monotonic() + min(timeout or self._settings.timeout, self._settings.timeout)
        self._waiting += 1
        begun = time.perf_counter()
        try:
            await self._turn_of(sequence, until)
            try:
                outputs, seconds = await self._fed(key, sequence, block, finite, until)
                self._metrics.called(1, seconds)
                self._metrics.queued.observe(time.perf_counter() - begun - seconds)
                return outputs
            finally:
                sequence.turn.release()
        finally:
            self._waiting -= 1

    async def _turn_of(self, sequence: Sequence, until: float) -> None:
        if not sequence.turn.locked():
            await sequence.turn.acquire()
            return
        try:
            await asyncio.wait_for(sequence.turn.acquire(), until - time.monotonic())
        except asyncio.TimeoutError:
            raise Refusal(504, "earlier requests of the sequence took too long") from None

    async def _fed(self, key: Any, sequence: Sequence, block: Array, finite: bool, until: float) -> tuple[Array, float]:
        """The outputs, and how long they took."""
        if self._alive.get(key) is not sequence:
            self.find(key)  # says that there is none, or
            raise Refusal(409, "the sequence began again while this request waited")
        pool = self.pool
        try:
            if self._step_seconds * block.shape[1] <= AT_ONCE:
                return _timed(pool, sequence.stream, block, finite)
            call = self._executor.submit(_timed, pool, sequence.stream, block, finite)
            found = asyncio.wrap_future(call)
            try:
                return await asyncio.wait_for(asyncio.shield(found), until - time.monotonic())
            except asyncio.TimeoutError:
                if call.cancel():
                    raise Refusal(504, "no thread was free for the sequence in time") from None
                return await found  # it has begun, and the states with it
        finally:
            if self._alive.get(key) is not sequence and sequence.stream in pool:
                pool.close(sequence.stream)

    async def taken(self, key: Any) -> bytes | None:
        """The state of a sequence, which is forgotten here; None if there is none."""
        if (sequence := self._alive.get(key)) is None:
            return None
        async with sequence.turn:
            if self._alive.get(key) is not sequence:
                return None
            saved = self.pool.save(sequence.stream)
        self.close(key, sequence)
        return saved


def _timed(pool: StreamPool, stream: int, block: Array, finite: bool) -> tuple[Array, float]:
    begun = time.perf_counter()
    return _run(pool, stream, block, finite), time.perf_counter() - begun


def _run(pool: StreamPool, stream: int, block: Array, finite: bool) -> Array:
    """The outputs of some steps of a stream; all of them or none."""
    ids = [stream]
    if block.shape[1] == 1 and not finite:
        only: Array = pool.step(ids, block[:, 0])
        return only[:, None]
    before = pool.state(stream)
    try:
        outputs = np.stack([pool.step(ids, block[:, t]) for t in range(block.shape[1])], axis=1)
        if finite and not np.isfinite(outputs).all():
            raise Refusal(500, "the output holds infinities or NaN, which JSON lacks; ask for bytes")
        return outputs
    except BaseException:
        pool.set_state(stream, before)
        raise


def block_of(network: Network, tensors: dict[str, Array]) -> tuple[Array, bool]:
    """The steps in a request of a sequence.

    Returns
    -------
    array of shape (1, timesteps, ...)
    bool
        Whether it was one step, without the axis of the steps.

    Raises
    ------
    Refusal
        If it is not one row of steps.
    """
    (info,) = network.inputs
    if tensors.keys() != {info.name}:
        raise Refusal(400, f"expected input {info.name!r}, got {', '.join(repr(n[:64]) for n in list(tensors)[:8])}")
    array = tensors[info.name]
    single = array.ndim == len(info.shape) - 1
    block = array[:, None] if single else array
    inner = network.step_shape
    if (
        block.ndim != len(info.shape)
        or block.shape[0] != 1
        or any(k not in (-1, n) for k, n in zip(inner, block.shape[2:], strict=True))
    ):
        raise Refusal(
            400, f"input {info.name!r} of a sequence must have shape {[1, -1, *inner]}, or {[1, *inner]} for one step, "
            f"got {list(array.shape)}"
        )  # fmt: skip
    if not 0 < block.shape[1] <= network.max_steps:
        raise Refusal(413 if block.shape[1] else 400, f"a request has 1 to {network.max_steps} steps")
    return network.numbers(info, block), single


def answer_of(network: Network, outputs: Array, single: bool) -> Array:
    """What is answered to a request of a sequence, from the outputs after each of its steps."""
    if not network.every_step:
        return outputs[:, -1]
    return outputs[:, 0] if single else np.ascontiguousarray(outputs)
