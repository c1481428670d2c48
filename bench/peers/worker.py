"""One peer in a process of its own: ``python worker.py PEER THREADS``.

Reads one JSON command per line and answers each with one JSON line::

    {"command": "versions"}                                         -> {"versions": {...}}
    {"command": "prepare", "cell": {...}, "data": F, "result": F}   -> {} or {"unsupported": why}
    {"command": "time", "repeats": N, "seconds": S}                 -> {"times": [...]}

``prepare`` reads an .npz file and writes the results to check into another; with ``"result": null`` it makes one call
instead. ``time`` gives seconds for one call, of N samples or fewer if S seconds are over. An answer may also be
``{"error": message}``.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import IO, Any

MODULES = {
    "rnnx": "peer_rnnx",
    "numpy": "peer_numpy",
    "torch": "peer_torch",
    "onnxruntime": "peer_onnxruntime",
    "openvino": "peer_openvino",
    "jax": "peer_jax",
    "keras-jax": "peer_keras_jax",
    "keras-torch": "peer_keras_torch",
    "keras-openvino": "peer_keras_openvino",
    "litert": "peer_litert",
}
SAMPLE = 2e-3  # seconds that a sample takes at least


class Worker:
    """The commands; each takes the command and gives the answer."""

    def __init__(self, name: str, threads: int):
        self.peer: Any = importlib.import_module(MODULES[name]).Peer(threads)
        self.call: Any = None
        self.number = 1

    def versions(self, command: dict[str, Any]) -> dict[str, Any]:
        return {"versions": self.peer.versions()}

    def prepare(self, command: dict[str, Any]) -> dict[str, Any]:
        from problem import Cell, Problem

        self.call = None
        try:
            work = self.peer.prepare(Problem(Cell(**command["cell"]), Path(command["data"])))
        except NotImplementedError as reason:
            return {"unsupported": str(reason)}
        if command["result"] is None:
            work.call()
            return {}
        import numpy as np

        np.savez(command["result"], **work.check())
        self.call = work.call
        self.number = self.calibrate()
        return {}

    def calibrate(self) -> int:
        """Calls that make up a sample."""
        self.call()
        number = 1
        while (took := self.sample(number)) < SAMPLE:
            number = max(number + 1, int(number * min(10, 1.2 * SAMPLE / max(took, 1e-9))))
        return number

    def sample(self, number: int) -> float:
        call = self.call
        start = time.perf_counter()
        for _ in range(number):
            call()
        return time.perf_counter() - start

    def time(self, command: dict[str, Any]) -> dict[str, Any]:
        end = time.perf_counter() + command["seconds"]
        self.call()
        times: list[float] = []
        while not times or (len(times) < command["repeats"] and time.perf_counter() < end):
            times.append(self.sample(self.number) / self.number)
        return {"times": times}


def serve(worker: Worker, commands: IO[str], answers: IO[str]) -> None:
    """Answer until there are no more commands."""
    for line in commands:
        command = json.loads(line)
        try:
            answer = getattr(worker, command["command"])(command)
        except Exception as error:  # the driver reports it and goes on with the other peers
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main(name: str, threads: int) -> None:
    """Keep the answers apart from what frameworks print: that goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with contextlib.redirect_stdout(sys.stderr):
        serve(Worker(name, threads), sys.stdin, answers)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
