"""The bytes that requests and answers hold in memory, counted for all of them together."""

from __future__ import annotations

from typing import Protocol

from rnnx.serve.refusal import Refusal
from rnnx.serve.settings import Settings


class Counting(Protocol):
    """Who counts."""

    settings: Settings
    pending: int


class Held:
    """The bytes that one request holds in memory.

    Parameters
    ----------
    application : Counting
    """

    __slots__ = ("_application", "_size")

    def __init__(self, application: Counting):
        self._application, self._size = application, 0

    def add(self, size: int) -> None:
        """Hold some more.

        Raises
        ------
        Refusal
            429 if all requests together would hold too many.
        """
        application = self._application
        if application.pending + size > application.settings.max_pending:
            raise Refusal(429, "too many bytes of requests are held already", 1.0)
        application.pending += size
        self._size += size

    def keep(self, size: int) -> None:
        """Hold this many from now on, which are there whether they are too many or not."""
        self._application.pending += size - self._size
        self._size = size

    def release(self) -> None:
        """Hold nothing any more."""
        self.keep(0)
