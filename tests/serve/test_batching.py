"""Requests that wait, are joined, refused and given up."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from rnnx.serve.batching import AT_ONCE, Batcher
from rnnx.serve.metrics import Metrics
from rnnx.serve.refusal import Refusal
from rnnx.serve.settings import Settings

pytestmark = pytest.mark.serve


class Network:
    """Doubles its input, once it is let; refuses numbers above 100."""

    sharing = 0.2

    def __init__(self, cost: float = 1.0):
        self.gate, self.calls, self._cost = threading.Event(), [], cost

    def cost(self, inputs: Any) -> float:
        return self._cost

    def run(self, inputs: Any) -> Any:
        self.gate.wait(10)
        self.calls.append(inputs[0].shape)
        if (inputs[0] > 100).any():
            raise ValueError("above 100")
        return [inputs[0] * 2, inputs[0].sum(axis=1)]


def row(*values: float) -> Any:
    return [np.float32([values])]


def run(test: Any, **limits: Any) -> None:
    settings = Settings(**({"threads": 1, "timeout": 10} | limits))

    async def inside() -> None:
        with ThreadPoolExecutor(1) as executor:
            await test(Batcher(executor, settings, Metrics().of_model("m")))

    asyncio.run(inside())


def test_cheap_calls_run_at_once_in_the_loop() -> None:
    network = Network(AT_ONCE / 2)
    network.gate.set()

    async def test(batcher: Batcher) -> None:
        (doubled, _) = await batcher.run(network, row(1, 2), 1)
        assert doubled.tolist() == [[2, 4]] and batcher.waiting_rows == 0

    run(test)


def test_those_that_wait_are_joined_by_shape_and_answered_apart() -> None:
    network = Network()

    async def test(batcher: Batcher) -> None:
        calls = [row(0)] + [row(k, k) for k in range(5)] + [row(9, 9, 9)]
        tasks = [asyncio.create_task(batcher.run(network, inputs, 5)) for inputs in calls]
        await asyncio.sleep(0.05)
        assert batcher.waiting_rows == 6
        network.gate.set()
        for inputs, (doubled, total) in zip(calls, await asyncio.gather(*tasks), strict=True):
            assert np.array_equal(doubled, inputs[0] * 2) and np.array_equal(total, inputs[0].sum(axis=1))
        assert network.calls == [(1, 1), (5, 2), (1, 3)]
        assert batcher.waiting_rows == 0 and batcher.waiting_seconds == 0

    run(test)


def test_at_most_max_batch_rows_are_joined_and_a_larger_request_is_a_call() -> None:
    network = Network()

    async def test(batcher: Batcher) -> None:
        calls = [row(0)] + [row(k, k) for k in range(5)] + [[np.zeros((7, 2), np.float32)]]
        tasks = [asyncio.create_task(batcher.run(network, inputs, 5)) for inputs in calls]
        await asyncio.sleep(0.05)
        network.gate.set()
        await asyncio.gather(*tasks)
        assert network.calls == [(1, 1), (4, 2), (1, 2), (7, 2)]

    run(test, max_batch=4)


def test_a_row_that_the_model_refuses_fails_alone() -> None:
    network = Network()

    async def test(batcher: Batcher) -> None:
        calls = [row(0), row(1), row(101), row(2)]
        tasks = [asyncio.create_task(batcher.run(network, inputs, 5)) for inputs in calls]
        await asyncio.sleep(0.05)
        network.gate.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(answer) for answer in found] == [list, list, ValueError, list]
        assert found[3][0].tolist() == [[4]]

    run(test)


def test_requests_that_are_too_many_for_the_memory_are_served_alone() -> None:
    class Small(Network):
        def run(self, inputs: Any) -> Any:
            if len(inputs[0]) > 1:
                raise MemoryError
            return super().run(inputs)

    network = Small()

    async def test(batcher: Batcher) -> None:
        tasks = [asyncio.create_task(batcher.run(network, row(k), 5)) for k in range(3)]
        await asyncio.sleep(0.05)
        network.gate.set()
        assert [answer[0].tolist() for answer in await asyncio.gather(*tasks)] == [[[0]], [[2]], [[4]]]

    run(test)


def test_a_full_queue_says_when_to_come_again() -> None:
    network = Network()

    async def test(batcher: Batcher) -> None:
        tasks = [asyncio.create_task(batcher.run(network, row(k), 5)) for k in range(4)]
        await asyncio.sleep(0.05)
        with pytest.raises(Refusal) as caught:
            await batcher.run(network, row(9), 5)
        assert caught.value.status == 429 and caught.value.retry_after >= 1
        network.gate.set()
        await asyncio.gather(*tasks)
        await batcher.run(network, row(9), 5)

    run(test, max_queue=3)


def test_what_waits_too_long_is_given_up_and_not_computed() -> None:
    network = Network()

    async def test(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.run(network, row(1), 5))
        await asyncio.sleep(0.02)
        with pytest.raises(Refusal) as caught:
            await batcher.run(network, row(2, 3), 0.05)
        assert caught.value.status == 504
        network.gate.set()
        await first
        await asyncio.sleep(0.05)
        assert network.calls == [(1, 1)] and batcher.waiting_rows == 0

    run(test)


def test_an_error_of_the_model_reaches_its_requests_and_the_next_are_served() -> None:
    network = Network()

    class Broken(Network):
        def run(self, inputs: Any) -> Any:
            raise MemoryError("no room")

    async def test(batcher: Batcher) -> None:
        network.gate.set()
        with pytest.raises(MemoryError):
            await batcher.run(Broken(), row(1), 5)
        assert (await batcher.run(network, row(1), 5))[0].tolist() == [[2]]

    run(test)
