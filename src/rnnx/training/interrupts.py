"""Ctrl-C at a moment that leaves everything whole."""

from __future__ import annotations

import _thread
import importlib
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any

PATIENCE = 0.5  # seconds that Ctrl-C waits for the end of a batch

try:  # that of C: what `signal` makes of it looks for names of an enumeration, which every update would wait for
    handlers: Any = importlib.import_module("_signal")
except ImportError:
    handlers = signal


class Stop(threading.Event):
    """Ends trainings of other threads, and with them those that they have begun.

    Parameters
    ----------
    outer : Event, optional
        That of the training which these belong to; it ends them too.
    """

    def __init__(self, outer: threading.Event | None = None):
        super().__init__()
        self._outer = outer

    def is_set(self) -> bool:
        return super().is_set() or (self._outer is not None and self._outer.is_set())


stop_of_now: ContextVar[threading.Event | None] = ContextVar("stop", default=None)


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Let an update finish before Ctrl-C is heard; only the main thread can arrange that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[Any] = []
    before = handlers.getsignal(signal.SIGINT)
    if before is None:
        yield
        return
    handlers.signal(signal.SIGINT, lambda *event: heard.append(event))
    try:
        yield
    finally:
        handlers.signal(signal.SIGINT, before)
    if heard and callable(before):
        before(*heard[0])


class Interrupts:
    """Ctrl-C that waits for `check`, the border of a batch; the second one is heard at once.

    A batch that takes long is given up: while ``batch_runs`` the first one waits PATIENCE seconds. Outside the
    main thread, and where somebody else handles the signal, nothing is changed.

    Attributes
    ----------
    count : int
        How often it was pressed.
    batch_runs : bool
        Whether what runs now may be given up half way.
    """

    def __init__(self) -> None:
        self.count = 0
        self.batch_runs = False
        self._stop = stop_of_now.get()
        self._before: Any = None
        self._lock = threading.Lock()  # of the two that follow
        self._listens = self._late = False
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if before is signal.default_int_handler or isinstance(getattr(before, "__self__", None), Interrupts):
                self._before, self._listens = before, True
                signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        if self._before is not None:
            with self._lock:
                self._listens = False
            if self._timer is not None:
                self._timer.cancel()
            signal.signal(signal.SIGINT, self._before)  # what is pending is heard here before

    def _hear(self, *event: Any) -> None:
        if self._late:
            self._late = False
            if self.batch_runs:
                raise KeyboardInterrupt
            return
        self.count += 1
        if self.count > 1:
            raise KeyboardInterrupt
        self._timer = threading.Timer(PATIENCE, self._time_is_over)
        self._timer.daemon = True
        self._timer.start()

    def _time_is_over(self) -> None:
        with self._lock:
            if self._listens:
                self._late = True
                _thread.interrupt_main(signal.SIGINT)

    def check(self) -> None:
        """Raise the KeyboardInterrupt that was waiting, here or in the thread that waits for this one."""
        if self._stop is not None and self._stop.is_set():
            self.count = 2  # not to be taken for the end of this training alone
        if self.count:
            raise KeyboardInterrupt
