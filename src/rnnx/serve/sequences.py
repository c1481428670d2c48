"""Sequences that clients feed piece by piece: Triton's sequence extension, and streams over a WebSocket."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.serve.batching import AT_ONCE
from rnnx.serve.network import Network
from rnnx.serve.refusal import Refusal
from rnnx.serve.settings import Settings


class Sequence:
    """A sequence that is alive: its stream, and whose turn it is."""

    __slots__ = ("stream", "network", "turn", "used")

    def __init__(self, network: Network):
        self.network, self.stream = network, network.model.stream()
        self.turn = asyncio.Lock()
        self.used = time.monotonic()

    def moved_to(self, network: Network) -> bool:
        """Go on with a newer version of the model; False if its states have other shapes."""
        try:
            stream = network.model.stream()
            state = self.stream.state
            if [[a.shape for a in part] for part in stream.state] != [[a.shape for a in part] for part in state]:
                return False
            stream.state = state
        except (ValueError, TypeError):
            return False
        self.network, self.stream = network, stream
        return True


class Sequences:
    """The sequences of one model by their ids.

    Those of one id take turns. When there are too many, those that have been idle for long are forgotten, the oldest
    first.

    Parameters
    ----------
    executor : ThreadPoolExecutor
    settings : Settings
    tell : function of int
        Told how many are alive when that changes.
    """

    def __init__(self, executor: ThreadPoolExecutor, settings: Settings, tell: Callable[[int], Any]):
        self._executor, self._settings, self._tell = executor, settings, tell
        self._alive: OrderedDict[Any, Sequence] = OrderedDict()  # the one that was used last is the last

    def __len__(self) -> int:
        return len(self._alive)

    def __contains__(self, key: Any) -> bool:
        return key in self._alive

    def open(self, key: Any, network: Network) -> Sequence:
        """A sequence at its beginning; one of that id that is alive is dropped.

        Raises
        ------
        Refusal
            400 if the model cannot be fed step by step, 429 if too many are alive.
        """
        if not network.streams:
            raise Refusal(400, f"the model has no sequences: {network.why_no_stream}")
        self._alive.pop(key, None)
        if len(self._alive) >= self._settings.max_sequences:
            self.forget_idle()
        if len(self._alive) >= self._settings.max_sequences:
            raise Refusal(429, f"{len(self._alive)} sequences are alive already", self._until_idle())
        sequence = self._alive[key] = Sequence(network)
        self._tell(len(self._alive))
        return sequence

    def _until_idle(self) -> float:
        oldest = next(iter(self._alive.values()))
        return max(1.0, oldest.used + self._settings.sequence_idle - time.monotonic())

    def forget_idle(self) -> int:
        """Forget the sequences that have been idle too long; their number."""
        before, count = time.monotonic() - self._settings.sequence_idle, 0
        for key, sequence in list(self._alive.items()):
            if sequence.used > before:
                break
            if not sequence.turn.locked():
                del self._alive[key]
                count += 1
        self._tell(len(self._alive))
        return count

    def close(self, key: Any, sequence: Sequence) -> None:
        """Forget a sequence, unless another one has begun under its id meanwhile."""
        if self._alive.get(key) is sequence:
            del self._alive[key]
            self._tell(len(self._alive))

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
                f"sequence {str(key)[:64]!r} is not alive: it never began, has ended, or was idle too long; "
                "begin with sequence_start",
            )
        self._alive.move_to_end(key)
        sequence.used = time.monotonic()
        return sequence

    async def feed(self, key: Any, sequence: Sequence, network: Network, block: Array) -> Array:
        """Outputs of shape (1, timesteps, ...) for the next steps, a block of shape (1, timesteps, ...).

        Parameters
        ----------
        network : Network
            The model as it is now, which a sequence of an older one goes on with if its states fit.

        Raises
        ------
        Refusal
            If they do not fit; the sequence is forgotten.
        ValueError
            If the model refuses the block; the sequence is where it was.
        """
        async with sequence.turn:
            if sequence.network is not network and not sequence.moved_to(network):
                self.close(key, sequence)
                raise Refusal(410, "the model was replaced by one with other states; begin the sequence again")
            if sequence.network.cost([block]) <= AT_ONCE:
                output: Array = sequence.stream.run(block)
                return output
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, sequence.stream.run, block)


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
