"""The graphs that a traced function has left, kept until something that it reads has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any

from rnnx.layers.tracing import Traced
from rnnx.layers.watched import Watched, watched_after

MOST_GRAPHS = 256  # of one function: one for each length of its sequences


class GraphCache:
    """Graphs of one function, by all that decides what the function does.

    The owner of a cache makes its keys of what it calls the function with: the structure of the arguments, the dtype
    and the shape of every tensor (but for the batch), and constants. What the function reads besides is watched: when
    it has changed, all graphs are forgotten. There are at most `MOST_GRAPHS`; one more, and all are forgotten.

    Parameters
    ----------
    *read : object
        The functions that are traced, and the objects whose attributes they may read.
    lock : RLock, optional
        Held while a graph is made, so that several threads make it once; that of the owner if making it takes it too.
    """

    def __init__(self, *read: Any, lock: Any = None):
        self._read = read
        self.lock = threading.RLock() if lock is None else lock
        self._graphs: dict[Any, Traced] = {}
        self._watched: Watched | None = None

    def __len__(self) -> int:
        return len(self._graphs)

    def get(self, key: Hashable) -> Traced | None:
        """The graph of a key; None if there is none, or none that still holds."""
        found = self._graphs.get(key)
        return found if found is not None and self._is_current() else None

    def items(self) -> list[tuple[Any, Traced]]:
        """All keys and graphs that still hold; to be called with the lock."""
        if not self._is_current():
            self._graphs.clear()
        return list(self._graphs.items())

    def put(self, key: Hashable, graph: Traced) -> None:
        """Keep a graph under one more key; to be called with the lock."""
        if len(self._graphs) >= MOST_GRAPHS and key not in self._graphs:
            self._graphs.clear()
        self._graphs[key] = graph

    def trace(self, key: Hashable, make: Callable[[], Traced]) -> Traced:
        """Make the graph of a key; to be called with the lock."""
        apart = frozenset() if self._watched is None else self._watched.apart
        before = Watched(*self._read, apart=apart)
        graph = make()
        self._watched = watched_after(before, *self._read)
        self.put(key, graph)
        return graph

    def get_or_trace(self, key: Hashable, make: Callable[[], Traced]) -> Traced:
        """The graph of a key, made if it has to be."""
        found = self.get(key)
        if found is None:
            with self.lock:
                found = dict(self.items()).get(key)
                if found is None:
                    found = self.trace(key, make)
        return found

    def _is_current(self) -> bool:
        watched = self._watched
        if watched is None:
            return False
        if watched.is_current():
            return True
        now = watched.again()
        if now != watched:
            return False
        self._watched = now  # equal, but other objects: compared by identity again from now on
        return True
