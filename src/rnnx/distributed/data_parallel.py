"""One model trained by several processes: each runs its rows of every batch, and gradients are summed by MPI."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from rnnx._seeds import shuffling_generator
from rnnx._typing import Array
from rnnx.distributed.job import ended_from_outside, mpi, remember
from rnnx.distributed.ranks import Ranks, mark, wait_for_all
from rnnx.distributed.share import ShareOfRank
from rnnx.runtime import parallel, threads
from rnnx.training.batches import Batches
from rnnx.training.group import group_of_now

FEW = 64  # numbers of a weight that are compared after a single step
LARGE = 64 << 20  # bytes of data that are compared whole; of more, rows here and there


def rank(comm: Any = None) -> int:
    """The number of this process in its job: 0 in a program that was started alone."""
    return int((mpi().COMM_WORLD if comm is None else comm).Get_rank())


def size(comm: Any = None) -> int:
    """How many processes the job has."""
    return int((mpi().COMM_WORLD if comm is None else comm).Get_size())


@contextmanager
def data_parallel(comm: Any = None) -> Iterator[None]:
    """Train together: ``fit``, ``evaluate`` and the methods for one batch, of all ranks of an MPI job.

    Every rank runs the same program (``mpiexec -n 4 python script.py``) with the same data, builds the same model and
    calls the same methods; ``batch_size`` is that of the whole batch. Weights, the state of the optimizer, of all noise
    and of the order of the rows are those of rank 0 when a training begins. Each rank runs its part of the rows of a
    batch; gradients are summed, so that all have the same weights after every step: up to rounding those of one process
    with the same ``batch_size``, with the same order, dropout masks, losses and metrics.

    Callbacks that write (``ModelCheckpoint``, ``BackupAndRestore``, ``CSVLogger``, ``TensorBoard``, progress) run on
    rank 0, all others on every rank. ``predict`` runs on each rank by itself.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm, optional
        The ranks that train together; all of the job if not given. A copy of it is used.

    Raises
    ------
    ImportError
        Without mpi4py.
    RankError
        By what runs inside, on every rank: when something was raised on another one, or when ranks do not call the
        same methods with the same data.
    ValueError
        By ``fit``, before weights move, for what cannot be shared: stateful layers, losses whose rows depend on each
        other or that reduce by themselves, and ``add_loss``.

    Examples
    --------
    >>> import rnnx.distributed
    >>> with rnnx.distributed.data_parallel():                        # doctest: +SKIP
    ...     model.fit(x, y, batch_size=256, epochs=10)
    """
    given = mpi().COMM_WORLD if comm is None else comm
    if group_of_now.get() is not None:
        raise RuntimeError("data_parallel: this is inside another `data_parallel` block already")
    if given.Get_size() == 1:
        yield
        return
    wait_for_all(given, mpi().COMM_WORLD)
    ranks = Ranks(given)
    remember(ranks)
    token = group_of_now.set(DataParallel(ranks))
    try:
        with ended_from_outside(ranks), _threads_of_node(ranks):
            try:
                yield
                ranks.meet("the end of `data_parallel`")
            except BaseException as error:
                ranks.fail("the end of `data_parallel`", error)
                raise
    finally:
        group_of_now.reset(token)


def _threads_of_node(ranks: Ranks) -> Any:
    """Share the processors among the ranks that may run on the same ones, unless somebody has said how many to use."""
    if os.environ.get("RNNX_NUM_THREADS") or parallel.get_num_threads() < parallel.cpu_info()["processors"]:
        return nullcontext()
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    node = ranks.comm.Split_type(mpi().COMM_TYPE_SHARED)
    beside = sum(other == usable for other in node.allgather(usable))
    node.Free()
    return threads(max(1, parallel.get_num_threads() // beside))


class DataParallel:
    """See `rnnx.training.group.Group`.

    Parameters
    ----------
    ranks : Ranks
    """

    def __init__(self, ranks: Ranks):
        self.ranks, self.rank, self.size = ranks, ranks.rank, ranks.size
        self.place = ""  # the method that all are in
        self._alike: list[Any] = []  # models whose weights are those of rank 0

    @contextmanager
    def together(self, what: str, model: Any) -> Iterator[None]:
        if self.place:  # inside another one
            yield
            return
        self.place = f"`{what}`"
        try:
            if what == "evaluate" and model.built:
                self._refuse_other_weights(self.place, model, "before an evaluation; load them on every rank")
            yield
            self._leave(what, model)
        except BaseException as error:
            self.tell(error)
            raise
        finally:
            self.place = ""

    def _leave(self, what: str, model: Any) -> None:
        """What is raised after the last exchange of a method is so on every rank, and what differs is seen.

        After a single step a few numbers of each weight are looked at, as all of them would take longer than the step.
        """
        place, seen = f"the end of {self.place}", 0
        if what == "train_on_batch":
            for weight in model.weights:
                flat = weight.value.reshape(-1)
                seen = mark(np.nan_to_num(flat[:: -(-flat.size // FEW) or 1], nan=0.0), seen)
        found = self.ranks.meet(place, [float(seen)])[:, 0]
        self._refuse_others("the weights", found, "after a batch; what changes them must do the same on every rank")

    def tell(self, error: BaseException) -> None:
        self.ranks.fail(self.place or "a call of one rank alone", error)

    def start(self, model: Any, batches: Any, validation: Any, facts: Mapping[str, Any]) -> None:
        known = {f"`{name}`": repr(value) for name, value in facts.items() if name not in ("verbose",)}
        for name, data in (("", batches), ("validation ", validation)):
            if isinstance(data, Batches):
                known[f"the {name}batch size"] = repr(data.batch_size)
                for part in ("x", "y", "sample_weight"):
                    known[f"the {name}data `{part}`"] = fingerprint(getattr(data, part))
        self._compare("the start of `fit`", known)
        first_epoch = self.ranks.of_first("the start of `fit`", model.first_epoch)
        model.first_epoch = first_epoch
        self._alike = [own for own in self._alike if own is not model]
        if model.built:
            self.make_alike(model)
        order = self.ranks.of_first("the order of the rows", shuffling_generator().bit_generator.state)
        if order["bit_generator"] == shuffling_generator().bit_generator.state["bit_generator"]:
            shuffling_generator().bit_generator.state = order

    def _compare(self, place: str, facts: dict[str, str]) -> None:
        """Refuse what differs between ranks."""
        everybody = self.ranks.objects(place, facts)
        for name in sorted(set().union(*everybody)):
            values = [own.get(name, "nothing") for own in everybody]
            if len(set(values)) > 1:
                other = next(k for k, value in enumerate(values) if value != values[0])
                raise ValueError(
                    f"data_parallel: {name} must be the same on all ranks, got {values[0]} on rank 0 and "
                    f"{values[other]} on rank {other}; each rank takes its part of every batch by itself"
                )

    def make_alike(self, model: Any) -> None:
        """Give the state of rank 0 to a model, unless it has it already."""
        if any(own is model for own in self._alike):
            return
        if model.is_stateful:
            raise ValueError(
                f"data_parallel: {model.name} has layers with stateful=True, whose states belong to rows of a batch of "
                "fixed size; use stateful=False, or train it in one process"
            )
        self._compare(
            "the weights of the model",
            {
                "the optimizer": type(model.optimizer).__name__,
                "the model": repr([(w.shape, w.dtype.name, w.trainable) for w in model.weights]),
                "the number of sources of noise": repr(len(model.seed_generators())),
            },
        )
        state = None
        if self.rank == 0:
            state = (
                [weight.array for weight in model.weights],
                model.optimizer.get_state(),
                [generator.state for generator in model.seed_generators()],
            )
        weights, optimizer, noise = self.ranks.of_first("the weights of the model", state)
        if self.rank:
            for weight, value in zip(model.weights, weights, strict=True):
                weight.assign(value)
            model.optimizer.set_state(optimizer)
            for generator, own in zip(model.seed_generators(), noise, strict=True):
                generator.state = own
        self._alike.append(model)

    @contextmanager
    def share(self, model: Any, batch: Any, training: bool, stops: bool = False) -> Iterator[ShareOfRank]:
        if not self.place:  # a method that is not called together, such as `rnnx.training.Trainer.try_batch`
            raise RuntimeError(f"data_parallel: {model.name} was asked for a step outside of fit and evaluate")
        if not model.built:
            model.prepare(batch.x)
        self.make_alike(model)
        share = ShareOfRank(self.ranks, batch, training, self.place)
        share.stops = stops
        with share.running():
            yield share

    def end(self, model: Any) -> None:
        self.ranks.meet("the end of `fit`'s epochs")

    def end_epoch(self, model: Any) -> None:
        place = "the end of an epoch"
        found = self.ranks.meet(place, [float(bool(model.stop_training)), float(model.optimizer.learning_rate)])
        model.stop_training = bool(found[:, 0].any())
        said = "after an epoch; a callback that changes the model must do the same on every rank"
        self._refuse_others("the learning rate", found[:, 1], said)
        self._refuse_other_weights(place, model, said)

    def _refuse_other_weights(self, place: str, model: Any, said: str) -> None:
        found = 0
        for weight in model.weights:
            value = weight.array
            if np.isnan(value).any():  # one NaN is as good as another, whatever its bits
                value = np.nan_to_num(value, nan=0.0)
            found = mark(value, found)
        self._refuse_others("the weights", self.ranks.meet(place, [float(found)])[:, 0], said)

    def _refuse_others(self, what: str, values: Array, said: str) -> None:
        if not (values == values[0]).all() and not np.isnan(values).all():
            other = int(np.argmax(values != values[0]))
            raise ValueError(f"data_parallel: {what} of rank {other} and of rank 0 differ {said}")


def fingerprint(data: Any) -> str:
    """A few words that differ where data differ; of large data some rows are looked at."""
    if data is None:
        return "none"
    if isinstance(data, dict):
        return repr({str(name): fingerprint(part) for name, part in data.items()})
    if isinstance(data, (list, tuple)):
        if len(data) > 16:  # a ragged list
            arrays = [np.asarray(part) for part in data[:: max(1, len(data) // 4096)]]
            marks = [_mark(array) for array in arrays]
            return f"{len(data)} rows, mark {zlib.crc32(repr(marks).encode()):08x}"
        return repr([fingerprint(part) for part in data])
    if not isinstance(data, np.ndarray):
        return f"{type(data).__name__} of shape {getattr(data, 'shape', None)}"
    return f"shape {data.shape}, {data.dtype}, mark {_mark(data):08x}"


def _mark(array: Array) -> int:
    if array.dtype == object:
        return zlib.crc32(repr(array.shape).encode())
    rows = array if array.nbytes <= LARGE or not array.ndim else array[:: -(-array.nbytes // LARGE)]
    return mark(rows, zlib.crc32(repr(array.shape).encode()))
