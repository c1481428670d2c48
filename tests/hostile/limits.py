"""Time and memory of reading a file, measured in a child process under limits.

Command, from the root of the repository: ``python -m tests.hostile.limits FILE ...`` prints what came of each file.

A server process imports the readers once; every file is read in a fork of it, so that a measurement costs some
milliseconds and what one file leaves behind is gone with its process.
"""

from __future__ import annotations

import json
import math
import os
import resource
import select
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SECONDS = 5.0  # of a processor, for a file below 100 MB
WAITING = 4  # times as long by the clock: other tests run beside, and what only waits uses no processor
MEMORY = 1 << 30  # bytes beyond those in use at the start
LONGEST_MESSAGE = 4000  # characters
LARGEST_INPUT = 1 << 20  # numbers of an input that a session is given
LIMIT_OF_JSON = 1 << 20  # numbers of the weights that a description alone is made with


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
        Of a processor.
    memory : int
        Bytes: the most that was resident beyond what was when the file was opened.
    """

    result: str
    message: str
    seconds: float
    memory: int


class TooSlow(BaseException):
    """Raised in a reader that takes too long; nothing catches it on the way."""


def ways(path: Path) -> dict[str, Callable[[], Any]]:
    """What a user does with a file: read the model with all its weights, have it described, make and run a session.

    Parameters
    ----------
    path : Path
    """
    from rnnx.formats import info, torch
    from rnnx.formats.convert import reader_of
    from rnnx.formats.keras import from_json
    from rnnx.layers.limits import weights_limited

    def layers() -> list[Any]:
        module = reader_of(path)
        return list(torch.load(path).values()) if module is torch else [module.load_model(path)]

    def load() -> None:
        for layer in layers():
            for weight in layer.weights:
                weight.value.sum()

    def structure() -> None:
        text = path.read_text("utf-8", "replace")
        with weights_limited(LIMIT_OF_JSON):
            from_json(text)

    found: dict[str, Callable[[], Any]] = {"info": lambda: info.lines(path), "load": load}
    if path.suffix == ".onnx":  # first: most graphs are not refused by a run alone
        found = {"run": lambda: run(path), **found}
    if path.suffix == ".json":
        found["from_json"] = structure
    return found


def act(path: Path) -> None:
    """Read a file in every way; the first refusal is raised at the end."""
    from rnnx.saving import FormatError

    first: Exception | None = None
    for way in ways(path).values():
        try:
            way()
        except FormatError as error:
            first = first or error
    if first is not None:
        raise first


def run(path: Path) -> None:
    """Run an ONNX file once, on ones; unknown axes have two elements. What needs large inputs is only loaded."""
    import numpy as np

    from rnnx.formats.onnx import Session

    session = Session(path)
    feeds: dict[str, Any] = {}
    for port in session.inputs:
        shape = [n if isinstance(n, int) else 2 for n in port.shape or ()]
        if any(n < 0 for n in shape) or math.prod(shape) > LARGEST_INPUT:
            return
        array = np.ones(shape, port.dtype)
        feeds[port.name] = array if port.kind == "tensor" else [array]
    session.run(feeds)


def unclear(message: str, path: Path) -> str | None:
    """Why the message of a refusal is not one clear line that names the file; None if it is."""
    if "\n" in message or len(message) > LONGEST_MESSAGE or path.name not in message:
        return f"not one clear line that names the file: {message[:300]!r}"
    if any(not character.isprintable() for character in message):
        return f"characters that are no text reach the terminal: {message[:300]!r}"
    return None


def limited(memory: int) -> None:
    """Bound the address space of this process to so many bytes beyond those in use."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, resource.getrlimit(resource.RLIMIT_AS)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def unlimited() -> None:
    """Take the bound away again."""
    resource.setrlimit(resource.RLIMIT_AS, (resource.getrlimit(resource.RLIMIT_AS)[1],) * 2)


def _late(*_: Any) -> None:
    raise TooSlow


@contextmanager
def timed(seconds: float, *, of_processor: bool = False) -> Iterator[None]:
    """`TooSlow` is raised in what takes longer, by the clock or by the time that this process has had of a processor.

    The second does not depend on what else the machine does, and does not see what only waits.
    """
    timer, number = (signal.ITIMER_PROF, signal.SIGPROF) if of_processor else (signal.ITIMER_REAL, signal.SIGALRM)
    before = signal.signal(number, _late)
    signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        signal.setitimer(timer, 0)
        signal.signal(number, before)


def peak() -> int:
    """The most bytes that were resident since `peak_again`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError("VmHWM is not in /proc/self/status")


def peak_again() -> int:
    """Let the peak start again; the bytes that are resident now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def _child(path: Path, seconds: float, memory: int) -> Outcome:
    limited(memory)
    before = peak_again()
    begin, result, message = time.process_time(), "read", ""
    try:
        with timed(WAITING * seconds), timed(seconds, of_processor=True):
            act(path)
    except TooSlow:
        result = "too slow"
    except Exception as error:
        result, message = type(error).__name__, str(error)
    taken = time.process_time() - begin
    unlimited()
    return Outcome(result, message[:20_000], taken, peak() - before)


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
    grace = begin + WAITING * seconds + 2.0  # a call into C that does not come back is killed
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
        assert self.server.stdin is not None and self.server.stdout is not None
        self.server.stdin.close()
        self.server.stdout.close()
        self.server.wait()
        self.server.stdout.close()

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
