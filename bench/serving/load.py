"""Requests by the thousand: with wrk where it is installed, and from Python at a pace that waits for no answer."""

from __future__ import annotations

import asyncio
import http.client
import re
import shutil
import subprocess
import tempfile
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

HOST = "127.0.0.1"
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass
class Load:
    """A request that is sent again and again.

    Attributes
    ----------
    port : int
    path : str
    body : bytes or None
        None for GET.
    headers : dict
    """

    port: int
    path: str
    body: bytes | None = None
    headers: dict[str, Any] = field(default_factory=dict)

    def once(self) -> tuple[int, bytes]:
        """Status and body of one answer."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=60)
        try:
            headers = {"Content-Type": "application/json", **self.headers}
            connection.request("GET" if self.body is None else "POST", self.path, self.body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def raw(self) -> bytes:
        """The request as it goes over the wire."""
        body = self.body or b""
        lines = [f"{'GET' if self.body is None else 'POST'} {self.path} HTTP/1.1", f"Host: {HOST}"]
        headers = {"Content-Type": "application/json", **self.headers, "Content-Length": len(body)}
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


@dataclass
class Measured:
    """What came of it: answers with status 200 a second, their latencies in seconds, and how many had which status."""

    rate: float
    p50: float
    p99: float
    statuses: Counter[int]


def closed(load: Load, connections: int, seconds: float) -> Measured:
    """Each connection sends when its answer is there."""
    wrk = shutil.which("wrk")
    if wrk is None or "Inference-Header-Content-Length" in load.headers:
        return asyncio.run(_closed(load, connections, seconds))
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        if load.body is not None:
            script.write('wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n')
            script.write(f"wrk.body = [==[{load.body.decode()}]==]\n")
        script.flush()
        command = [wrk, "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "-s", script.name]
        done = subprocess.run(
            [*command, f"http://{HOST}:{load.port}{load.path}"], capture_output=True, text=True, check=True
        )
    said = done.stdout
    p50, p99 = (float(n) * UNITS[unit] for n, unit in re.findall(r"(?:50|99)%\s+([\d.]+)(us|ms|s)\b", said))
    (rate,) = re.findall(r"Requests/sec:\s+([\d.]+)", said)
    bad = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", said))
    for errors in re.findall(r"Socket errors: connect (\d+), read (\d+), write (\d+)", said):
        bad += sum(map(int, errors))
    return Measured(float(rate), p50, p99, Counter({200: round(float(rate) * seconds) - bad, 0: bad}))


class Connection(asyncio.Protocol):
    """One connection that carries one request at a time."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[int] | None = None
        self._buffer, self._needed, self._status = b"", -1, 0
        self.closed = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def ask(self, raw: bytes) -> asyncio.Future[int]:
        """The status of the answer, or 0 if the connection ended."""
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(raw)
        return self.answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._needed < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            self._status = int(head[9:12])
            length = re.search(rb"\r\ncontent-length: (\d+)", head)
            assert length is not None
            self._needed = end + 4 + int(length[1])
        if len(self._buffer) >= self._needed:
            self._buffer, self._needed = self._buffer[self._needed :], -1
            if self.answer is not None and not self.answer.done():
                self.answer.set_result(self._status)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(0)


async def _connected(port: int) -> Connection:
    _, protocol = await asyncio.get_running_loop().create_connection(Connection, HOST, port)
    return protocol


def _measured(taken: list[tuple[int, float]], seconds: float) -> Measured:
    good = np.array([time for status, time in taken if status == 200] or [np.nan])
    p50, p99 = np.quantile(good, 0.5), np.quantile(good, 0.99)
    statuses = Counter(status for status, _ in taken)
    return Measured(statuses[200] / seconds, float(p50), float(p99), statuses)


async def _closed(load: Load, connections: int, seconds: float) -> Measured:
    raw, taken = load.raw(), []

    async def work() -> None:
        connection = await _connected(load.port)
        while time.perf_counter() < until:
            begun = time.perf_counter()
            taken.append((await connection.ask(raw), time.perf_counter() - begun))
            if connection.closed:
                connection = await _connected(load.port)
        connection.transport.close()

    until = time.perf_counter() + seconds
    await asyncio.gather(*(work() for _ in range(connections)))
    return _measured(taken, seconds)


def paced(load: Load, rate: float, seconds: float, connections: int = 1000) -> Measured:
    """So many a second, whether answers come or not; what finds no free connection counts as status -1."""
    return asyncio.run(_paced(load, rate, seconds, connections))


async def _paced(load: Load, rate: float, seconds: float, most: int) -> Measured:
    raw, taken = load.raw(), []
    free: deque[Connection] = deque()
    tasks: set[asyncio.Task[None]] = set()
    made = 0

    async def one(due: float) -> None:
        nonlocal made
        try:
            while free:
                connection = free.pop()
                if not connection.closed:
                    break
                made -= 1
            else:
                made += 1
                connection = await _connected(load.port)
            status = await connection.ask(raw)
            free.append(connection)
        except OSError:
            made -= 1
            status = 0
        taken.append((status, time.perf_counter() - due))  # from when it was due, so that no wait is left out

    begun = time.perf_counter()
    for k in range(int(rate * seconds)):
        due = begun + k / rate
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        if not free and made >= most:
            taken.append((-1, 0.0))
            continue
        task = asyncio.ensure_future(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        if k % 16 == 15:
            await asyncio.sleep(0)  # answers are read also where the pace is not kept
    if tasks:
        await asyncio.wait(tasks)
    for connection in free:
        connection.transport.close()
    return _measured(taken, max(seconds, time.perf_counter() - begun))
