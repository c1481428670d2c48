"""Time and memory of reading a file, measured in a child process under limits.

Command, from the root of the repository: ``python -m tests.hostile.limits FILE ...`` prints what came of each file.

A server process imports the readers once; every file is read in a fork of it, so that a measurement costs some
milliseconds and what one file leaves behind is gone with its process.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SECONDS = 5.0  # for a file below 100 MB
MEMORY = 1 << 30  # bytes beyond those in use at the start


@dataclass(frozen=True)
class Outcome:
    """What came of a file.

    Attributes
    ----------
    result : str
        "read", the name of the exception, "too slow" or "killed by signal n".
    message : str
        That of the exception.
    seconds : float
    memory : int
        Bytes: the most that was resident beyond what was when the file was opened.
    """

    result: str
    message: str
    seconds: float
    memory: int


class TooSlow(BaseException):
    """Raised in a reader that takes too long; nothing catches it on the way."""


def act(path: Path) -> None:
    """Read a file in every way a user does: the model with all its weights, its description, and as a session."""
    from rnnx.formats import torch
    from rnnx.formats.convert import reader_of
    from rnnx.saving import FormatError

    first: Exception | None = None
    module = reader_of(path)
    ways: list[Any] = [lambda: module.describe(path)]
    if module is torch:
        ways.append(lambda: list(torch.load(path).values()))
    else:
        ways.append(lambda: [module.load_model(path)])
    if path.suffix == ".onnx":
        ways.append(lambda: run(path))
    for way in ways:
        try:
            for layer in way() or ():
                for weight in getattr(layer, "weights", ()):
                    weight.value.sum()
        except FormatError as error:
            first = first or error
    if first is not None:
        raise first


def run(path: Path) -> None:
    """Run an ONNX file once, on ones; unknown axes have two elements."""
    import numpy as np

    from rnnx.formats.onnx import Session

    session = Session(path)
    shapes = {port.name: [n if isinstance(n, int) else 2 for n in port.shape or ()] for port in session.inputs}
    session.run({port.name: np.ones(shapes[port.name], port.dtype) for port in session.inputs})


def limited(memory: int) -> None:
    """Bound the address space of this process to so many bytes beyond those in use."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, resource.getrlimit(resource.RLIMIT_AS)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _late(*_: Any) -> None:
    raise TooSlow


def _peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError("VmHWM is not in /proc/self/status")


def _child(path: Path, seconds: float, memory: int) -> Outcome:
    limited(memory)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
    before = _peak()
    signal.signal(signal.SIGALRM, _late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    begin, result, message = time.perf_counter(), "read", ""
    try:
        act(path)
    except TooSlow:
        result = "too slow"
    except Exception as error:
        result, message = type(error).__name__, str(error)
    signal.setitimer(signal.ITIMER_REAL, 0)
    resource.setrlimit(resource.RLIMIT_AS, (resource.getrlimit(resource.RLIMIT_AS)[1],) * 2)
    return Outcome(result, message[:20_000], time.perf_counter() - begin, _peak() - before)


def _measure(path: Path, seconds: float, memory: int) -> Outcome:
    """Read a file in a fork of this process."""
    source, sink = os.pipe()
    begin = time.perf_counter()
    child = os.fork()
    if child == 0:
        try:
            os.close(source)
            outcome = _child(path, seconds, memory)
            os.write(sink, json.dumps(asdict(outcome)).encode())
        finally:
            os._exit(0)
    os.close(sink)
    grace = begin + seconds + 2.0  # a call into C that does not come back is killed
    with os.fdopen(source, "rb") as pipe:
        told = pipe.read() if select.select([pipe], [], [], grace - time.perf_counter())[0] else b""
        if not told and time.perf_counter() >= grace:
            os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    taken = time.perf_counter() - begin
    if told:
        return Outcome(**json.loads(told))
    late = taken >= seconds
    return Outcome("too slow" if late else f"killed by signal {os.WTERMSIG(status)}", "", taken, 0)


def serve() -> None:
    """Read requests, one line of JSON each, and answer in kind."""
    import onnx  # noqa: F401  the readers' imports are not part of a measurement

    import rnnx  # noqa: F401
    from rnnx.formats import convert, info, keras, safetensors, torch  # noqa: F401
    from rnnx.formats import onnx as _  # noqa: F401

    warnings.simplefilter("ignore")
    for line in sys.stdin:
        path, seconds, memory = json.loads(line)
        print(json.dumps(asdict(_measure(Path(path), seconds, memory))), flush=True)


class Meter:
    """Reads files in processes of their own; to be used with ``with``."""

    def __enter__(self) -> Meter:
        command = [sys.executable, "-m", "tests.hostile.limits", "--serve"]
        self.server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: Any) -> None:
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait()

    def read(self, path: Path, seconds: float = SECONDS, memory: int = MEMORY) -> Outcome:
        """What came of a file.

        Parameters
        ----------
        path : Path
        seconds : float
        memory : int
            Bytes of address space that the process may take beyond those it has.
        """
        assert self.server.stdin is not None and self.server.stdout is not None
        print(json.dumps([str(path), seconds, memory]), file=self.server.stdin, flush=True)
        return Outcome(**json.loads(self.server.stdout.readline()))


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        with Meter() as meter:
            for name in sys.argv[1:]:
                found = meter.read(Path(name))
                print(f"{name}: {found.result}, {found.seconds:.2f} s, {found.memory / 1e6:.0f} MB {found.message}")
