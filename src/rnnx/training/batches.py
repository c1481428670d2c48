"""Data in the forms that ``fit`` accepts, turned into what one step needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx import losses
from rnnx._typing import Array
from rnnx.training.data import Batch, Batches, GivenBatches, arrays_of, count_rows, is_indexed, is_ragged, take
from rnnx.utils import shuffling_generator


def for_each(value: Any, make: Callable[[Any], Any]) -> Any:
    if isinstance(value, (list, tuple)):
        return [make(v) for v in value]
    if isinstance(value, dict) and "class_name" not in value:
        return {k: make(v) for k, v in value.items()}
    return make(value)


def as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def is_source(x: Any) -> bool:
    """Whether this gives batches: a generator, a list of (x, y) tuples, or an object that has them by number."""
    if isinstance(x, (np.ndarray, dict)) or x is None or isinstance(x, Batches):
        return isinstance(x, Batches)
    if isinstance(x, (list, tuple)):
        return len(x) > 0 and all(isinstance(item, (tuple, Batch)) and not is_ragged([item]) for item in x)
    return is_indexed(x) or (hasattr(x, "__iter__") and not hasattr(x, "__array__"))


def batches_of(
    model: Any, x: Any, y: Any, weight: Any, batch_size: int | None, shuffle: bool, steps: int | None, seed: int | None
) -> Batches | GivenBatches:
    """The data of ``fit``, ``evaluate`` or ``predict`` as batches."""
    generator = shuffling_generator() if shuffle else None
    if is_source(x):
        return GivenBatches(x, steps, generator, seed)
    if x is None:
        raise ValueError(f"{model.name}: `x` is needed")
    if is_rows_of_features(model, x):
        x = np.asarray(x)
        y, weight = (rows_as_array(part) if not model.several_outputs else part for part in (y, weight))
    return Batches(
        x, y, weight, batch_size=32 if batch_size is None else batch_size, shuffle=shuffle, generator=generator,
        several_inputs=model.several_inputs and not isinstance(x, np.ndarray), steps=steps, seed=seed,
    )  # fmt: skip


def data_of_fit(
    model: Any, x: Any, y: Any, weight: Any, class_weight: Any, batch_size: int | None, shuffle: bool,
    steps: int | None, seed: int | None, split: float, validation_data: Any, validation_batch_size: int | None,
    validation_steps: int | None,
) -> tuple[Any, Any]:  # fmt: skip
    """The batches to train with and those to validate with (or None), after they were seen to fit the model."""
    if split:
        if validation_data is not None:
            raise ValueError("fit: give `validation_split` or `validation_data`, not both")
        x, y, weight, validation_data = split_rows(x, y, weight, split, model.several_inputs)
    if class_weight is not None:
        weight = class_weights(y, class_weight, weight, one_hot(model))
    train = batches_of(model, x, y, weight, batch_size, shuffle and not model.is_stateful, steps, seed)
    if isinstance(train, Batches) and train.rows == 0:
        raise ValueError("fit: there is no data, `x` has 0 rows")
    validation = None
    if validation_data is not None:
        given = validation_data
        given = tuple(given) if isinstance(given, list) and not is_source(given) else given
        xs, ys, weights = (*given, None, None)[:3] if isinstance(given, tuple) else (given, None, None)
        validation = batches_of(model, xs, ys, weights, validation_batch_size, False, validation_steps, None)
    try_out(model, train, validation)
    return train, validation


def one_hot(model: Any) -> bool:
    """Whether the targets of a model are one-hot."""
    return isinstance(model.loss, losses.CategoricalCrossentropy)


def is_rows_of_features(model: Any, x: Any) -> bool:
    """Whether a list is one of vectors for a model that takes vectors, and not of sequences of ids."""
    if model.several_inputs or not is_ragged(x) or not model.built:
        return False
    shape = model.inputs[0].shape
    return len(shape) == 2 and shape[1] is not None and all(np.shape(row) == (shape[1],) for row in x)


def rows_as_array(rows: Any) -> Any:
    """A list with an array for each row as one array."""
    return np.asarray(rows) if isinstance(rows, (list, tuple)) else rows


def try_out(model: Any, train: Any, validation: Any) -> None:
    """Find what does not fit before anything is trained: classes that do not exist, and the data to validate with.

    Batches that somebody else makes, and stateful models with their fixed batch size, are seen as they come.
    """
    if isinstance(train, Batches):
        if not model.built:
            model.prepare(train.first_row().x)
        targets, weights = (model.by_output(part, len(model.outputs)) for part in (train.y, train.sample_weight))
        chosen = model.by_output(model.loss, len(model.outputs))
        for loss, tensor, target, weight in zip(chosen, model.outputs, targets, weights, strict=True):
            if isinstance(loss, losses.SparseCategoricalCrossentropy) and isinstance(target, np.ndarray):
                _check_classes(loss, tensor.shape, target, weight)
    if isinstance(validation, Batches) and validation.rows and model.built:
        model.try_batch(validation.first_row())


def _check_classes(loss: Any, shape: Any, target: Array, weight: Any) -> None:
    if len(shape) != 2 or shape[1] is None:
        return  # steps may be masked, and what is masked may be anything
    if weight is not None and np.shape(weight) == target.shape[:1]:
        target = losses.blank(target, np.asarray(weight) != 0)
    loss.align(target, np.broadcast_to(np.float32(0), (len(target), shape[1])))


def one_batch(x: Any, y: Any, weight: Any, several: bool) -> Batch:
    if not several and is_ragged(x):
        return next(iter(Batches(x, y, weight, batch_size=max(1, len(x)))))
    return Batch(x if isinstance(x, (list, tuple, dict)) else np.asarray(x), arrays_of(y), arrays_of(weight))


def split_rows(x: Any, y: Any, weight: Any, share: float, several: bool = False) -> tuple[Any, Any, Any, Any]:
    if not isinstance(share, (int, float, np.number)) or not 0 < share < 1:
        raise ValueError(f"fit: `validation_split` must be a number between 0 and 1, got {share!r}")
    if is_source(x):
        raise ValueError("fit: `validation_split` needs arrays, not an iterable of batches")
    ragged = not several and is_ragged(x)
    rows = len(x) if ragged else count_rows(x)
    cut = int(rows * (1 - share))
    if cut in (0, rows):
        raise ValueError(f"fit: `validation_split` = {share} of {rows} rows leaves one side empty")

    def part(a: Any, which: slice) -> Any:
        return a[which] if ragged and is_ragged(a) else take(arrays_of(a) if a is not x else a, which)

    first, second = slice(0, cut), slice(cut, rows)
    validation = (part(x, second), part(y, second), part(weight, second))
    return part(x, first), part(y, first), part(weight, first), validation


def class_weights(y: Any, class_weight: dict[Any, float], sample_weight: Any, one_hot: bool = False) -> Any:
    """The weight of every target by its class, times its own; a list where the targets are ragged.

    Parameters
    ----------
    one_hot : bool
        Whether integers with a last axis are one-hot; floats always are.
    """
    if not isinstance(class_weight, dict):
        raise TypeError(f"`class_weight` must be a dict of weights by class, got {type(class_weight).__name__}")
    if is_ragged(y) and len({np.shape(row) for row in y}) > 1:
        own = [None] * len(y) if sample_weight is None else sample_weight
        if len(own) != len(y):
            raise ValueError(f"`y` has {len(y)} rows but `sample_weight` has {len(own)}")
        return [class_weights(np.asarray(row), class_weight, w, one_hot) for row, w in zip(y, own, strict=True)]
    y = arrays_of(y)
    if not isinstance(y, np.ndarray):
        raise ValueError("`class_weight` needs targets in one array")
    classes = y
    if classes.ndim > 1 and classes.shape[-1] > 1 and (one_hot or classes.dtype.kind == "f"):
        classes = classes.argmax(axis=-1)
    elif classes.ndim > 1 and classes.shape[-1] == 1:
        classes = classes[..., 0]
    weights = np.ones(classes.shape, np.float64)
    for name, weight in class_weight.items():
        weights[classes == int(name)] = weight
    if sample_weight is None:
        return weights
    own = np.asarray(sample_weight)
    return weights * own.reshape(own.shape + (1,) * (weights.ndim - own.ndim))


def in_order(parts: list[Array], lengths: list[Any], order: Array) -> Any:
    """Batches joined in the order of the data; a list of rows without their padding where there are lengths."""
    if all(n is None for n in lengths):
        joined = np.concatenate(parts)
        return joined if np.array_equal(order, np.arange(len(order))) else joined[order]
    rows = [row[:n] for part, steps in zip(parts, lengths, strict=True) for row, n in zip(part, steps, strict=True)]
    return [rows[k] for k in order]


def starting_mask(who: str, x: Array, mask: Any, lengths: Any) -> Any:
    if mask is not None and lengths is not None:
        raise ValueError(f"{who}: give `mask` or `lengths`, not both")
    if lengths is None:
        return mask
    lengths = np.asarray(lengths)
    if lengths.dtype.kind not in "iu" or lengths.shape != x.shape[:1]:
        raise ValueError(
            f"{who}: `lengths` must be integers of shape (batch,) = {x.shape[:1]}, got {lengths.dtype} {lengths.shape}"
        )
    if lengths.size and (lengths.min() < 0 or lengths.max() > x.shape[1]):
        raise ValueError(
            f"{who}: `lengths` must lie in 0..{x.shape[1]} (timesteps), got {lengths.min()}..{lengths.max()}"
        )
    return np.arange(x.shape[1]) < lengths[:, None]
