"""Messages of many senders, each the next step of its own stream: what arrives within a moment is one batched step.

    python asyncio_consumer.py

The queue stands for Kafka, MQTT or a socket. A stream begins with a sender's first message and is forgotten when it has
been silent for ten minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import time

import numpy as np

import rnnx
from rnnx import layers

MOMENT = 0.002  # seconds that a message waits for others


async def consume(queue: asyncio.Queue, pool: rnnx.StreamPool, say) -> int:
    """Step until a message is None; the number of steps of the pool."""
    streams: dict[str, int] = {}
    waiting: list[tuple[str, np.ndarray]] = []
    count, open_ = 0, True
    while open_ or waiting:
        if open_ and not waiting:
            waiting.append(await queue.get())
            await asyncio.sleep(MOMENT)
            while not queue.empty():
                waiting.append(queue.get_nowait())
            open_ = None not in waiting
            waiting = [message for message in waiting if message is not None]
        batch: dict[str, np.ndarray] = {}
        later = []
        for sender, x in waiting:  # one step of each; a second message of a sender is the next step's
            if sender in batch:
                later.append((sender, x))
            else:
                batch[sender] = x
        waiting = later
        for sender in batch:
            if streams.get(sender) not in pool:
                streams[sender] = pool.open()
        if batch:
            outputs = pool.step([streams[sender] for sender in batch], np.stack(list(batch.values())))
            count += 1
            for sender, y in zip(batch, outputs, strict=True):
                say(sender, y)
    return count


async def send(queue: asyncio.Queue, senders: int, messages: int, rng: np.random.Generator) -> None:
    """Messages of many senders in turns, then the end."""
    for _ in range(messages):
        for sender in rng.permutation(senders):
            await queue.put((f"sensor {sender}", rng.normal(size=4).astype(np.float32)))
        await asyncio.sleep(0)
    await queue.put(None)


async def main(senders: int, messages: int) -> None:
    model = rnnx.Sequential([rnnx.Input((None, 4)), layers.GRU(32), layers.Dense(1, "sigmoid")])
    pool = rnnx.StreamPool(model, max_streams=100_000, max_idle=600)
    queue: asyncio.Queue = asyncio.Queue(10_000)  # full: senders wait
    said: dict[str, float] = {}
    begun = time.perf_counter()
    steps, _ = await asyncio.gather(
        consume(queue, pool, lambda sender, y: said.__setitem__(sender, float(y[0]))),
        send(queue, senders, messages, np.random.default_rng(0)),
    )
    seconds = time.perf_counter() - begun
    print(f"{senders * messages} messages of {len(said)} senders in {steps} steps of the pool, {seconds:.2f} s")
    print(f"sensor 0 is at {said['sensor 0']:.3f}; {len(pool)} streams are alive")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--tiny", action="store_true")
    tiny = parser.parse_args().tiny
    asyncio.run(main(*((20, 5) if tiny else (2000, 50))))
