"""What a call changes besides its result: counters of noise, carried states, moving averages.

They are made when the call has succeeded, all at once, so that nothing has to be undone when it fails. Inside the call
they are seen already: a layer that is called twice in a model draws two masks. A call inside another one leaves its
changes to the outer one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

Change = tuple[Any, Callable[[Any], None], Callable[[], None] | None]  # value, how it is made, what to do if it is not
_current: ContextVar[dict[Any, Change] | None] = ContextVar("changes", default=None)


class Changes:
    """A call, as a ``with`` block: what `change` is told inside is made when the block has ended well.

    Parameters
    ----------
    kept : bool
        False for a call that leaves everything as it was, whatever comes of it.

    Examples
    --------
    >>> class Counter:
    ...     count = 0
    >>> counter = Counter()
    >>> def increase():
    ...     change(counter, seen(counter, counter.count) + 1, lambda value: setattr(counter, "count", value))
    >>> with Changes():
    ...     increase()
    ...     increase()
    ...     before = counter.count
    >>> before, counter.count
    (0, 2)
    """

    __slots__ = ("_kept", "_token")

    def __init__(self, kept: bool = True):
        self._kept = kept

    def __enter__(self) -> Changes:
        self._token = _current.set({}) if _current.get() is None or not self._kept else None
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self._token is not None:
            if _current.get():
                self._end(kind is None and self._kept)
            _current.reset(self._token)

    def make(self) -> None:
        """Make the changes so far, before the end of the block; a call inside another one leaves that to the outer."""
        if self._token is not None:
            self._end(self._kept)

    def _end(self, well: bool) -> None:
        changes = _current.get() or {}
        made = list(changes.values())
        changes.clear()
        for value, make, drop in made:
            if well:
                make(value)
            elif drop is not None:
                drop()


def seen(owner: Any, otherwise: Any) -> Any:
    """What the call at hand has changed of ``owner``, or ``otherwise``."""
    changes = _current.get()
    return changes[owner][0] if changes and owner in changes else otherwise


def change(owner: Any, value: Any, make: Callable[[Any], None], drop: Callable[[], None] | None = None) -> None:
    """Let ``make(value)`` be called when the call at hand has succeeded; at once where there is none.

    Parameters
    ----------
    owner : object
        What changes; a later change of the same takes the place of this one.
    value : object
        What `seen` gives from now on inside the call.
    make : callable
    drop : callable, optional
        Called instead if the call fails.
    """
    changes = _current.get()
    if changes is None:
        make(value)
    else:
        changes[owner] = (value, make, drop)
