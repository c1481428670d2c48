"""Requests of one model on their way to it: at once, in a thread, or joined with others that wait as well."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.serve.metrics import ModelMetrics
from rnnx.serve.network import Network
from rnnx.serve.refusal import Refusal
from rnnx.serve.settings import Settings

AT_ONCE = 3e-4  # seconds; a cheaper call runs in the event loop, as a thread costs some 100 us to reach and return from
SHARING_PAYS = 0.7  # cost of a row among others over its cost alone
WAIT_SHARE = 0.25  # of the cost of a call, that a request waits for others at most


class Waiting:
    """A request in the queue."""

    __slots__ = ("inputs", "rows", "kind", "done", "network", "since")

    def __init__(self, network: Network, inputs: list[Array], done: asyncio.Future[list[Array]]):
        self.network, self.inputs, self.done = network, inputs, done
        self.rows, self.since = inputs[0].shape[0], time.perf_counter()
        self.kind = (id(network), *(array.shape[1:] for array in inputs))


class Batcher:
    """The calls of one model.

    A call that is cheap runs at once. Dearer ones run in the threads of the executor; while all of them are busy,
    requests wait, and those of the same shape become one call. Where sharing pays and a call is running already, a
    request that finds a free thread waits a little for others: a quarter of what its call costs, within the latency
    budget.

    Parameters
    ----------
    executor : ThreadPoolExecutor
    settings : Settings
    metrics : ModelMetrics
    """

    def __init__(self, executor: ThreadPoolExecutor, settings: Settings, metrics: ModelMetrics):
        self._executor, self._settings, self._metrics = executor, settings, metrics
        self._queue: deque[Waiting] = deque()
        self._running = 0
        self._timer: asyncio.TimerHandle | None = None
        self.waiting_rows = 0
        self.waiting_seconds = 0.0  # that the calls in the queue are expected to take

    async def run(self, network: Network, inputs: list[Array], timeout: float) -> list[Array]:
        """The outputs for these inputs.

        Raises
        ------
        Refusal
            429 if too many rows wait, 504 if the time is over.
        ValueError
            If the model refuses the inputs.
        """
        cost = network.cost(inputs)
        if cost <= AT_ONCE:
            begun = time.perf_counter()
            outputs = network.run(inputs)
            self._metrics.called(inputs[0].shape[0], time.perf_counter() - begun)
            return outputs
        rows = inputs[0].shape[0]
        if self._queue and self.waiting_rows + rows > self._settings.max_queue:
            raise Refusal(429, f"{self.waiting_rows} rows wait for the model already", self._until_free())
        waiting = Waiting(network, inputs, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._count(waiting, 1)
        self._start(cost)
        try:
            return await asyncio.wait_for(waiting.done, timeout)
        except asyncio.TimeoutError:
            raise Refusal(504, f"no answer within {timeout:g} s") from None

    def _until_free(self) -> float:
        return max(1.0, math.ceil(self.waiting_seconds / self._settings.threads))

    def _count(self, waiting: Waiting, sign: int) -> None:
        self.waiting_rows += sign * waiting.rows
        cost = waiting.network.cost(waiting.inputs) * min(1.0, waiting.network.sharing)
        self.waiting_seconds = self.waiting_seconds + sign * cost if self.waiting_rows else 0.0
        self._metrics.waiting.set(self.waiting_rows)

    def _start(self, cost: float) -> None:
        """Let the queue run, now or after a moment in which others may come."""
        if self._running >= self._settings.threads or self._timer is not None:
            return
        newest = self._queue[-1]
        wait = min(self._settings.latency_budget, WAIT_SHARE * cost)
        full = self.waiting_rows >= self._settings.max_batch
        if full or self._running == 0 or newest.network.sharing > SHARING_PAYS or not wait:
            self._next()
        else:
            self._timer = asyncio.get_running_loop().call_later(wait, self._time_is_over)

    def _time_is_over(self) -> None:
        self._timer = None
        self._next()

    def _next(self) -> None:
        """Begin calls while there are threads for them."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue and self._running < self._settings.threads:
            if batch := self._taken():
                self._running += 1
                call = asyncio.get_running_loop().run_in_executor(self._executor, _timed, batch)
                call.add_done_callback(partial(self._finish, batch))

    def _taken(self) -> list[Waiting]:
        """The first request that is still wanted, and others of its kind."""
        batch: list[Waiting] = []
        rows, left = 0, deque[Waiting]()
        while self._queue:
            waiting = self._queue.popleft()
            if waiting.done.done():  # given up, or its client has gone
                self._count(waiting, -1)
            elif not batch or (waiting.kind == batch[0].kind and rows + waiting.rows <= self._settings.max_batch):
                self._count(waiting, -1)
                batch.append(waiting)
                rows += waiting.rows
            else:
                left.append(waiting)
        self._queue = left
        now = time.perf_counter()
        for waiting in batch:
            self._metrics.queued.observe(now - waiting.since)
        return batch

    def _finish(self, batch: list[Waiting], call: asyncio.Future[tuple[list[Any], float]]) -> None:
        self._running -= 1
        error = call.exception()
        if error is not None:
            results: list[Any] = [error] * len(batch)
        else:
            results, seconds = call.result()
            self._metrics.called(sum(waiting.rows for waiting in batch), seconds)
        for waiting, result in zip(batch, results, strict=True):
            if waiting.done.done():
                continue
            if isinstance(result, BaseException):
                waiting.done.set_exception(result)
            else:
                waiting.done.set_result(result)
        self._next()


def _timed(batch: list[Waiting]) -> tuple[list[Any], float]:
    begun = time.perf_counter()
    return _joined(batch), time.perf_counter() - begun


def _joined(batch: list[Waiting]) -> list[Any]:
    """The outputs of each request, or its error; rows that a model refuses, or fails with, fail alone."""
    network = batch[0].network
    if len(batch) > 1:
        try:
            joined = [np.concatenate(parts) for parts in zip(*(waiting.inputs for waiting in batch), strict=True)]
            outputs = network.run(joined)
        except Exception:  # also too little memory for all of them, of which those who ask for little know nothing
            pass
        else:
            ends = np.cumsum([waiting.rows for waiting in batch])[:-1]
            return [list(parts) for parts in zip(*(np.split(output, ends) for output in outputs), strict=True)]
    return [_alone(waiting) for waiting in batch]


def _alone(waiting: Waiting) -> Any:
    try:
        return waiting.network.run(waiting.inputs)
    except Exception as error:  # handed to whom it concerns
        return error
