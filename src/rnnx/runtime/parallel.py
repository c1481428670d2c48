"""What this process runs on: instruction sets and the number of threads."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import math
import os
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from rnnx import _kernels

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_local = threading.local()

# Quota and period of the control group, in one file (version 2) or two.
_QUOTA_FILES = (
    ("/sys/fs/cgroup/cpu.max",),
    ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)


def _check(n: Any) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"the number of threads must be a positive integer, got {n!r}")
    return n


def _text(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


def _quota() -> float:
    """Processors that the control group of this process may use on average; infinity without a limit."""
    for files in _QUOTA_FILES:
        try:
            quota, period = (float(word) for name in files for word in _text(name).split())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        if quota > 0 and period > 0:
            return quota / period
    return math.inf


@functools.cache
def _available() -> int:
    """Processors that this process may use: of its affinity, and no more than the quota of its control group."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, count if _quota() == math.inf else min(count, math.ceil(_quota())))


def _default() -> int:
    text = os.environ.get("RNNX_NUM_THREADS", "")
    if not text:
        openmp = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
        return min(_available(), int(openmp)) if openmp.isdigit() and int(openmp) > 0 else _available()
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"RNNX_NUM_THREADS must be a positive integer, got {text!r}")
    return int(text)


_count: int | None = None


def get_num_threads() -> int:
    """Threads that a call may use: of the innermost ``with threads(n)``, of `set_num_threads`, or the default.

    The default is ``RNNX_NUM_THREADS``, or the number of processors this process may use: of its affinity, within the
    CPU quota of its container, and no more than ``OMP_NUM_THREADS``, by which joblib and others divide a machine among
    processes. Calls that are made side by side share this number. ``threadpoolctl`` sees and sets it (see
    ``rnnx.threadpools``).
    """
    local = getattr(_local, "count", None)
    if local is not None:
        return int(local)
    return _default() if _count is None else _count


def set_num_threads(n: int) -> None:
    """Set the number of threads for the process.

    Parameters
    ----------
    n : int

    Raises
    ------
    ValueError
        If it is not a positive integer.
    """
    global _count
    _count = _check(n)


@contextlib.contextmanager
def threads(n: int) -> Iterator[None]:
    """Use this number of threads inside a ``with`` block of the current Python thread.

    Examples
    --------
    >>> import rnnx
    >>> with rnnx.threads(1):
    ...     rnnx.get_num_threads()
    1
    """
    before = getattr(_local, "count", None)
    _local.count = _check(n)
    try:
        yield
    finally:
        _local.count = before


_helpers: ThreadPoolExecutor | None = None


def _forget_helpers() -> None:
    global _helpers
    _helpers = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_helpers)  # the child has none of the threads


def side_by_side(first: Callable[[], Any], second: Callable[[], Any]) -> tuple[Any, Any]:
    """Results of two functions that share no state, run at the same time if another thread is free.

    Each gets half of the threads of this call. An error of either is raised when both have ended; one of the first,
    such as Ctrl-C, ends what the second computes.
    """
    global _helpers
    count = get_num_threads()
    if count < 2 or _kernels.busy():
        return first(), second()
    import concurrent.futures  # not at the top: it takes longer than all of this package's own start

    if _helpers is None:
        _helpers = concurrent.futures.ThreadPoolExecutor(_available(), "rnnx")
    stop = _kernels.Stop()

    def with_half(function: Callable[[], Any]) -> Any:
        with threads(count // 2):
            return function()

    def stoppable() -> Any:
        with stop:
            return with_half(second)

    other = None
    try:
        other = _helpers.submit(contextvars.copy_context().run, stoppable)
        mine = with_half(first)
        return mine, second() if other.cancel() else other.result()
    except BaseException:
        stop.ask()  # first: Ctrl-C may have come when it was handed over and not known here yet
        if other is not None and not other.cancel():
            concurrent.futures.wait([other])
        raise


def cpu_info() -> dict[str, Any]:
    """The instruction set in use, those this CPU and build offer, processors and threads.

    Examples
    --------
    >>> import rnnx
    >>> sorted(rnnx.cpu_info())
    ['isa', 'isa_levels', 'num_threads', 'processors']
    """
    return {
        "isa": _kernels.ISA,
        "isa_levels": list(_kernels.ISA_LEVELS),
        "num_threads": get_num_threads(),
        "processors": _available(),
    }
