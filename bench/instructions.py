"""Instructions that a few calls of the engine execute, against the numbers in instructions.json.

A regression guard that does not depend on how busy the machine is: a child process is single-stepped through each call
(ptrace, Linux on x86-64), and the call may take at most a tenth more instructions than when the numbers were written.

    python bench/instructions.py            # check
    python bench/instructions.py --write    # after a change that is meant to move them
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

NUMBERS = Path(__file__).with_name("instructions.json")
TOLERANCE = 0.10
TRACEME, CONT, SINGLESTEP = 0, 7, 9


def calls() -> dict[str, Callable[[], Any]]:
    """The calls, small enough to be stepped through in seconds."""
    import numpy as np

    from rnnx import _kernels
    from rnnx.functional import GRUParams, LSTMParams, gru, lstm

    rng = np.random.default_rng(1)

    def array(*shape: int) -> Any:
        return rng.normal(size=shape).astype(np.float32)

    units, batch, timesteps = 16, 6, 2
    found: dict[str, Callable[[], Any]] = {}
    for name, core, params in (
        ("lstm", lstm, LSTMParams(array(units, 4 * units), array(units, 4 * units), array(4 * units))),
        ("gru", gru, GRUParams(array(units, 3 * units), array(units, 3 * units), array(2, 3 * units))),
    ):
        packed = core.pack(params)
        x, one = array(batch, timesteps, units), array(1, units)
        stepper, out = _kernels.Stepper(packed, 1), np.empty((1, units), np.float32)
        dy = array(batch, timesteps, units)

        outputs = array(batch, timesteps, units)

        def train(packed: Any = packed, x: Any = x, outputs: Any = outputs, dy: Any = dy) -> None:
            cache = _kernels.forward(packed, x, out=outputs, keep=True)[3]
            _kernels.backward(cache, dy, None, None, True, True)

        found[f"{name} step"] = lambda stepper=stepper, one=one, out=out: stepper.step(one, out)
        found[f"{name} sequence"] = lambda packed=packed, x=x: _kernels.forward(
            packed, x, None, False, None, None, None, None, True, False
        )
        found[f"{name} training"] = train
        narrow = core.pack(params, "int8")
        found[f"{name} sequence int8"] = lambda narrow=narrow, x=x: _kernels.forward(
            narrow, x, None, False, None, None, None, None, True, False
        )
    return found


def ptrace(request: int, pid: int, data: int = 0) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(request, pid, None, data) == -1:
        raise PermissionError(ctypes.get_errno(), "ptrace is not permitted here")


def mark() -> None:
    """Stop, so that the parent knows where a count begins and ends."""
    os.kill(os.getpid(), signal.SIGUSR1)


def child() -> None:
    found = calls()
    for call in found.values():
        call(), call()
    ptrace(TRACEME, 0)
    mark(), mark()  # counted too: what the marks themselves take
    for call in found.values():
        mark(), call(), mark()
    os._exit(0)


def wait_for_mark(pid: int) -> None:
    _, status = os.waitpid(pid, 0)
    if not os.WIFSTOPPED(status):
        raise PermissionError(os.WEXITSTATUS(status), "the child could not be traced")


def steps_to_mark(pid: int) -> int:
    """Single-step from one mark to the next."""
    count = 0
    while True:
        ptrace(SINGLESTEP, pid)
        _, status = os.waitpid(pid, 0)
        if os.WSTOPSIG(status) == signal.SIGUSR1:
            return count
        count += 1


def count() -> dict[str, int]:
    """Instructions of each call."""
    names = list(calls())
    pid = os.fork()
    if pid == 0:
        try:
            child()
        finally:
            os._exit(1)
    wait_for_mark(pid)
    marks = steps_to_mark(pid)
    counted = {}
    for name in names:
        ptrace(CONT, pid)
        wait_for_mark(pid)
        counted[name] = steps_to_mark(pid) - marks
    ptrace(CONT, pid)
    os.waitpid(pid, 0)
    return counted


def main() -> int:
    parser = argparse.ArgumentParser(description="Count the instructions of a few calls of the engine.")
    parser.add_argument("--write", action="store_true", help="keep the counts as those to compare with")
    write = parser.parse_args().write
    if os.environ.get("RNNX_ISA") != "avx2":  # one level for all machines
        os.execve(
            sys.executable, [sys.executable, *sys.argv], {**os.environ, "RNNX_ISA": "avx2", "PYTHONHASHSEED": "0"}
        )
    try:
        if sys.platform != "linux" or platform.machine() != "x86_64":
            raise PermissionError(0, "only Linux on x86-64 is known here")
        counted = count()
    except PermissionError as error:
        print(f"NOT CHECKED: instructions cannot be counted: {error.strerror}")
        return 0
    if write:
        NUMBERS.write_text(json.dumps(counted, indent=1) + "\n")
    known = json.loads(NUMBERS.read_text())
    worse = []
    print(f"{'call':<22}{'before':>10}{'now':>10}{'':>9}")
    for name, now in counted.items():
        change = now / known[name] - 1
        print(f"{name:<22}{known[name]:>10,}{now:>10,}{change:>+9.1%}")
        if change > TOLERANCE:
            worse.append(name)
    if worse:
        print(f"more than {TOLERANCE:.0%} worse: {', '.join(worse)}; find out why, or say so with --write")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
