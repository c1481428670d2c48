"""Several processes that train one model together: what `fit` asks of them, and who they are here and now.

Nobody is asked unless `rnnx.distributed` has made a group. It stands on a floor above, so that training alone needs
nothing of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar, cast

from rnnx._typing import Array

Function = TypeVar("Function", bound=Callable[..., Any])


class Share(Protocol):
    """The part of a process in one batch.

    Attributes
    ----------
    batch : Batch
        The rows that it runs.
    penalty : float
        What activities add to the loss of the whole batch, once the losses are joined.
    """

    batch: Any
    penalty: float

    def join_penalties(self, pullback: Any) -> None:
        """Take what activities of these rows add to the loss; it is joined with the losses."""

    def join_losses(
        self, model: Any, losses: list[Any], values: list[Any], masses: list[float | None], slopes: list[Any]
    ) -> None:
        """Let ``values`` and ``slopes`` be those of the loss of the whole batch."""

    def join_outputs(self, model: Any, outputs: list[Any]) -> list[Any]:
        """The outputs of the whole batch, as far as metrics look at them."""

    def total(self, gradients: list[Array | None]) -> list[Array | None]:
        """The sums of the gradients of all processes."""


class Group(Protocol):
    """Processes that call the same functions with the same arguments.

    Attributes
    ----------
    rank, size : int
        Which of them this is; how many there are.
    """

    rank: int
    size: int

    def together(self, what: str, model: Any) -> AbstractContextManager[Any]:
        """A block that all of them run, a method of a model: what one of them raises ends it in all of them."""

    def tell(self, error: BaseException) -> None:
        """Tell the others what was raised here, if they do not know it."""

    def start(self, model: Any, batches: Any, validation: Any, facts: Mapping[str, Any]) -> None:
        """Before the first batch of a training: see that all are about to do the same, from the same state."""

    def share(self, model: Any, batch: Any, training: bool, stops: bool = False) -> AbstractContextManager[Share]:
        """The part of this process in a batch; its forward and backward pass run inside the block.

        If it ``stops``, `StoppedTogether` is raised in all processes where they join their losses.
        """

    def end_epoch(self, model: Any) -> None:
        """After the callbacks of an epoch: agree on whether to stop, and see that all have the same weights."""

    def end(self, model: Any) -> None:
        """After the last epoch: one that was interrupted meanwhile interrupts all."""


class StoppedTogether(Exception):
    """Raised in a step when one of the processes wants to stop; nothing has been changed in it."""


group_of_now: ContextVar[Group | None] = ContextVar("group_of_now", default=None)
ALONE: AbstractContextManager[Any] = nullcontext()


def together(method: Function) -> Function:
    """Let a method of a model be called by all processes of a group at once."""

    @functools.wraps(method)
    def called(self: Any, *arguments: Any, **options: Any) -> Any:
        group = group_of_now.get()
        if group is None:
            return method(self, *arguments, **options)
        with group.together(method.__name__, self):
            return method(self, *arguments, **options)

    return cast("Function", called)
