"""The part of one rank in a batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.distributed.ranks import Ranks, mark
from rnnx.dropout.rows import NoiseOfRows
from rnnx.layers.layer import walk
from rnnx.layers.normalization import sum_over_parts
from rnnx.training.batches import Batch, take
from rnnx.training.group import StoppedTogether


class ShareOfRank:
    """See `rnnx.training.group.Share`. Rows are shared out in their order, to each rank as many, give or take one.

    A rank that gets no row of a small batch runs the first one, so that its noise moves on and its layers come to the
    same exchanges, and adds nothing.

    Parameters
    ----------
    ranks : Ranks
    whole : Batch
        The same on all ranks.
    training : bool
    place : str
        Where in the program this is.

    Attributes
    ----------
    batch : Batch
        The rows of this rank.
    stops : bool
        Whether this rank wants to stop.
    """

    def __init__(self, ranks: Ranks, whole: Batch, training: bool, place: str):
        self._ranks, self._whole, self._training = ranks, whole, training
        self._place = f"a batch of {place}"
        self._rows = whole.size
        first, last = (self._rows * k // ranks.size for k in (ranks.rank, ranks.rank + 1))
        self._idle = first == last
        if self._idle:
            first, last = 0, 1
        self._first, self._last = first, last
        self.batch = self._part()
        self.penalty, self._scale = 0.0, 1.0
        self.stops = False
        self._own_penalty, self._penalised = 0.0, False

    def _part(self) -> Batch:
        whole, rows = self._whole, slice(self._first, self._last)
        lengths = None if whole.lengths is None else whole.lengths[rows]
        return Batch(take(whole.x, rows), take(whole.y, rows), take(whole.sample_weight, rows), lengths)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Noise is that of these rows in the block, and sums over the batch are those of all ranks."""
        token = sum_over_parts.set(self._summed)
        try:
            with NoiseOfRows(self._rows, self._first, self._last).drawn():
                yield
        finally:
            sum_over_parts.reset(token)

    def _summed(self, values: Array) -> Array:
        """The sum of what all ranks have, in their order; this one has nothing if it is idle."""
        given = np.asarray(values)
        flat = np.zeros(given.size) if self._idle else given.reshape(-1).astype(np.float64)
        found = self._ranks.meet("the statistics of a batch", flat).sum(axis=0)
        summed: Array = found.reshape(given.shape)
        return summed if given.dtype.kind != "f" else summed.astype(given.dtype)

    def join_penalties(self, pullback: Any) -> None:
        self._penalised = bool(pullback.adds_loss)
        self._own_penalty = 0.0 if self._idle else float(pullback.activity_loss)

    def join_losses(
        self, model: Any, losses: list[Any], values: list[Any], masses: list[float | None], slopes: list[Any]
    ) -> None:
        chosen = [k for k, loss in enumerate(losses) if loss is not None]
        for k in chosen:
            if masses[k] is None:
                raise ValueError(
                    f"data_parallel: the loss {losses[k].name!r} of the whole batch does not follow from those of its "
                    "rows; a loss must give one value for each row (a function of one's own with axis=-1), without "
                    "looking at other rows"
                )
        _refuse_whole_batches(model, self._training)
        rows = 0 if self._idle else self._last - self._first
        mine = [float(self.stops), self._mark(), float(rows), self._own_penalty]
        for k in chosen:
            mine += [0.0 if self._idle else float(values[k]), 0.0 if self._idle else float(masses[k] or 0.0)]
        found = self._ranks.meet(self._place, mine)
        if (found[:, 1] != found[0, 1]).any():
            raise ValueError(
                "data_parallel: the batches of the ranks differ; a generator must give the same whole batches on every "
                "rank, from a seed of its own, of which each rank takes its part"
            )
        if found[:, 0].any():
            model.stop_training = True
            raise StoppedTogether
        share_of_rows = rows / found[:, 2].sum()
        self.penalty = float((found[:, 3] * found[:, 2]).sum() / found[:, 2].sum())
        self._scale = share_of_rows if self._penalised else 1.0  # of gradients, to which penalties have added theirs
        for place, k in enumerate(chosen):
            value, mass = found[:, 4 + 2 * place], found[:, 5 + 2 * place]
            if losses[k].reduction == "sum":
                values[k], factor = float(value.sum()), 1.0
            else:
                whole = mass.sum()
                values[k] = float((value * mass).sum() / (whole or 1.0))
                factor = float(mass[self._ranks.rank] / (whole or 1.0))
            if slopes[k] is None:
                continue
            if self._idle or not factor:
                slopes[k] = np.zeros_like(slopes[k])
            elif factor != self._scale:
                slopes[k] = slopes[k] * np.asarray(factor / self._scale, slopes[k].dtype)

    def _mark(self) -> float:
        """A number that differs where batches differ: of the numbers of their rows, or of what is in them."""
        if self._whole.rows is not None:
            return float(mark(self._whole.rows))
        found = 0
        for part in (self._whole.x, self._whole.y, self._whole.sample_weight):
            found = _mark_of(part, found)
        return float(found)

    def join_outputs(self, model: Any, outputs: list[Any]) -> list[Any]:
        groups = model.metric_groups(len(outputs))
        looked_at = [bool(group) for group in groups]
        if not any(looked_at):
            return outputs
        own = slice(0, 0) if self._idle else slice(None)
        predictions, masks = [], []
        for output, needed in zip(outputs, looked_at, strict=True):
            prediction, mask = output.prediction, output.mask
            if needed:
                prediction = self._ranks.joined("the predictions of a batch", np.asarray(prediction)[own])
                mask = None if mask is None else self._ranks.joined("the masks of a batch", np.asarray(mask)[own])
            predictions.append(prediction)
            masks.append(mask)
        several = model.several_outputs
        found: list[Any] = model._outputs(
            predictions if several else predictions[0], masks if several else masks[0], self._whole
        )
        return found

    def total(self, gradients: list[Array | None]) -> list[Array | None]:
        given = [g for g in gradients if g is not None]
        if not given:
            return gradients
        sizes = [g.size for g in given]
        flat = self._ranks.buffer(sum(sizes), np.result_type(*given))
        place = 0
        for g in given:
            flat[place : place + g.size] = 0 if self._idle else np.asarray(g).reshape(-1)
            place += g.size
        if self._scale != 1.0 and not self._idle:
            flat *= np.asarray(self._scale, flat.dtype)
        self._ranks.total("the gradients of a batch", flat)
        found: list[Array | None] = []
        place = 0
        for gradient in gradients:
            if gradient is None:
                found.append(None)
                continue
            part = flat[place : place + gradient.size].reshape(gradient.shape)
            found.append(part.astype(gradient.dtype, copy=False))
            place += gradient.size
        return found


def _mark_of(part: Any, found: int) -> int:
    if isinstance(part, dict):
        part = list(part.values())
    if isinstance(part, (list, tuple)):
        for one in part:
            found = _mark_of(one, found)
        return found
    if part is None:
        return found
    array = np.asarray(part)
    return mark(array, found) if array.dtype != object else found


def _refuse_whole_batches(model: Any, training: bool) -> None:
    """Refuse layers of one's own that make something of all rows of a batch, of which a rank sees its part."""
    for layer in walk(model):
        if not layer.overrides_call:
            continue
        graphs = [graph for _, graph in layer.computation.graphs.items()]
        if any(graph.losses for graph in graphs):
            raise ValueError(
                f"data_parallel: {layer.name} calls add_loss, and what it adds for a whole batch does not follow from "
                "what it adds for its rows; put it into the loss, or use an activity_regularizer"
            )
        if training and any(graph.changed for graph in graphs):
            raise ValueError(
                f"data_parallel: {layer.name} assigns to weights in its call, where each rank sees only its own rows "
                "of a batch; train this model in one process"
            )
