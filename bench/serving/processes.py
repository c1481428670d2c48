"""Servers in processes of their own: started, looked at, stopped."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(words: list[Any], log: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server that ``python -m WORDS --port PORT`` starts, while the block runs: its process and port."""
    port = free_port()
    with open(log, "ab") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", *map(str, words), "--port", str(port)],
            stdout=said,
            stderr=said,
            env=dict(os.environ, **environment),
            cwd=Path(__file__).parent,
        )
    try:
        _wait(process, port, log)
        yield process, port
    finally:
        process.terminate()
        try:
            process.wait(40)
        finally:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"the server did not start:\n{log.read_text()[-2000:]}")


def family(process: int) -> list[int]:
    """A process and those it has started (Linux)."""
    found = [process]
    for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
        found += family(int(child))
    return found


def memory(process: int) -> float:
    """MB of the machine's memory that a process and those it has started hold: shared pages in parts (Linux)."""
    total = 0
    for one in family(process):
        for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def open_files(process: int) -> int:
    """Files and sockets that they have open (Linux)."""
    return sum(len(os.listdir(f"/proc/{one}/fd")) for one in family(process))
