"""The driver's side of a worker: start it, ask it, end it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from environments import cores, variables
from problem import Cell

WORKER = Path(__file__).with_name("worker.py")


class WorkerError(RuntimeError):
    """A worker died or could not do what it was asked for."""


class Client:
    """One worker process.

    Parameters
    ----------
    peer : str
        A name of `worker.MODULES`.
    python : str
        The interpreter of its environment.
    threads : int
        Threads that it may use; its process is kept on as many cores, where the system can do that.
    log : path
        The file to which its standard error is appended.
    isa : str
        A name of `environments.HELD`, or "" for what the processor has.
    """

    def __init__(self, peer: str, python: str, threads: int, log: Path, isa: str = ""):
        self.peer, self.log = peer, log
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [python, str(WORKER), peer, str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=variables(peer, threads, isa),
                encoding="utf-8",
            )
        chosen = cores(threads)
        if chosen is not None:
            os.sched_setaffinity(self.process.pid, chosen)

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a command; WorkerError if there is none or it is an error."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            last = self.log.read_text(encoding="utf-8", errors="replace").rstrip().rpartition("\n")[2]
            raise WorkerError(f"the worker of {self.peer} died ({self.process.wait()}): {last}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def prepare(self, cell: Cell, data: Path, result: Path | None) -> str | None:
        """None, or why the peer has no such work."""
        answer = self.ask(
            "prepare", cell=cell.as_dict(), data=str(data), result=None if result is None else str(result)
        )
        return answer.get("unsupported")

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
