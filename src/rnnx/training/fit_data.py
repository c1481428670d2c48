"""What `fit` trains and validates with: rows to validate with, weights of classes, and whether data fit a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import losses
from rnnx._typing import Array
from rnnx.training.batches import Batches, GivenBatches, batches_of, is_source, part_of
from rnnx.training.forms import arrays_of, count_rows, data_of, is_ragged
from rnnx.training.stored import Stored


def data_of_fit(
    model: Any,
    x: Any,
    y: Any,
    sample_weight: Any,
    *,
    class_weight: Any = None,
    batch_size: int | None = None,
    shuffle: bool | str = True,
    steps: int | None = None,
    seed: int | None = None,
    validation_split: float = 0.0,
    validation_data: Any = None,
    validation_batch_size: int | None = None,
    validation_steps: int | None = None,
) -> tuple[Batches | GivenBatches, Batches | GivenBatches | None]:
    """The batches to train with and those to validate with (or None), after they were seen to fit the model.

    The arguments are those of `fit`.
    """
    if x is not None and not is_source(x):
        x, y, sample_weight = data_of(model, x, y, sample_weight)
    if validation_split:
        if validation_data is not None:
            raise ValueError("fit: give `validation_split` or `validation_data`, not both")
        x, y, sample_weight, validation_data = split_rows(x, y, sample_weight, validation_split, model.several_inputs)
    if class_weight is not None:
        if x is not None and not is_source(x):
            if not model.built:
                model.prepare(Batches(x, several_inputs=model.several_inputs).first_row().x)
            check_class_weight(model, class_weight)
            sample_weight = weights_by_class(model, y, class_weight, sample_weight)
        else:  # `Trainer` weighs every batch when it comes
            check_class_weight(model, class_weight)
    train = batches_of(
        model, x, y, sample_weight,
        batch_size=batch_size, shuffle=shuffle if not model.is_stateful else False, steps=steps, seed=seed,
    )  # fmt: skip
    if isinstance(train, Batches) and train.rows == 0:
        raise ValueError("fit: there is no data, `x` has 0 rows")
    validation = None
    if validation_data is not None:
        given = validation_data
        if isinstance(given, np.ndarray) and model.loss is not None:
            raise ValueError("fit: `validation_data` must be (x, y), (x, y, sample_weight) or batches, got one array")
        if isinstance(given, list) and (not is_source(given) or all(len(part) == 1 for part in given)):
            given = tuple(given)  # [x, y], where x and y may be lists of one
        parts = (*given, None, None)[:3] if isinstance(given, tuple) else (given,)
        validation = batches_of(model, *parts, batch_size=validation_batch_size, steps=validation_steps)
    try_out(model, train, validation)
    return train, validation


def split_rows(x: Any, y: Any, weight: Any, share: float, several: bool = False) -> tuple[Any, Any, Any, Any]:
    """The rows to train with, and behind them a tuple of those to validate with."""
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
        return a[which] if ragged and is_ragged(a) else part_of(arrays_of(a) if a is not x else a, which)

    first, second = slice(0, cut), slice(cut, rows)
    validation = (part(x, second), part(y, second), part(weight, second))
    return part(x, first), part(y, first), part(weight, first), validation


def check_class_weight(model: Any, class_weight: Any) -> None:
    """Refuse what cannot be weights of classes, or has classes that the model does not know."""
    given = class_weight if model.several_outputs and isinstance(class_weight, (list, tuple)) else [class_weight]
    if model.several_outputs:
        names = model.output_names
        if isinstance(class_weight, dict) and not class_weight.keys() <= set(names):
            raise ValueError(
                "`class_weight` of a model with several outputs must be a dict of such dicts by output, or a list with "
                f"a dict or None for each of {', '.join(names)}; got {class_weight!r}"
            )
        given = model.by_output(class_weight, len(model.outputs), "class_weight")
    for k, weights in enumerate(given):
        if weights is None and model.several_outputs:
            continue
        if not isinstance(weights, dict):
            raise TypeError(f"`class_weight` must be a dict of weights by class, got {type(weights).__name__}")
        width = model.outputs[k].shape[-1] if model.built else None
        for name, weight in weights.items():
            try:
                known = int(name) == float(name) and int(name) >= 0 and 0 <= float(weight) < float("inf")
            except (TypeError, ValueError):
                known = False
            if not known:
                raise ValueError(
                    "`class_weight` must be a dict of weights (0 or more) by class (0, 1, ...), "
                    f"got {name!r}: {weight!r}; a label needs its number"
                )
            if width is not None and width > 1 and int(name) >= width:
                raise ValueError(f"`class_weight`: there is no class {name!r}, the output has {width} of them")


def weights_by_class(model: Any, y: Any, class_weight: Any, sample_weight: Any) -> Any:
    """The weights of all targets of a (built) model; a list of them for several outputs."""
    count = len(model.outputs)
    if not model.several_outputs:
        (y,), (own,) = model.by_output(y, count), model.by_output(sample_weight, count)
        return class_weights(y, class_weight, own, is_one_hot(y, model.outputs[0].shape))
    found = []
    for target, weights, own, tensor in zip(
        model.by_output(y, count),
        model.by_output(class_weight, count, "class_weight"),
        model.by_output(sample_weight, count),
        model.outputs,
        strict=True,
    ):
        found.append(own if weights is None else class_weights(target, weights, own, is_one_hot(target, tensor.shape)))
    return found


def is_one_hot(y: Any, shape: Any) -> bool:
    """Whether targets have a number for every number of an output of this shape, so that their classes stand apart."""
    axes = 1 + np.ndim(y[0]) if is_ragged(y) else np.ndim(y)
    return axes >= len(shape)


def class_weights(y: Any, class_weight: dict[Any, float], sample_weight: Any, one_hot: bool | None = None) -> Any:
    """The weight of every target by its class, times its own; a list where the targets are ragged.

    Parameters
    ----------
    one_hot : bool, optional
        Whether targets with a last axis of more than one are one-hot; if nobody says so, floats are.
    """
    if not isinstance(class_weight, dict):
        raise TypeError(f"`class_weight` must be a dict of weights by class, got {type(class_weight).__name__}")
    if is_ragged(y) and len({np.shape(row) for row in y}) > 1:
        own = [None] * len(y) if sample_weight is None else sample_weight
        if len(own) != len(y):
            raise ValueError(f"`y` has {len(y)} rows but `sample_weight` has {len(own)}")
        return [class_weights(np.asarray(row), class_weight, w, one_hot) for row, w in zip(y, own, strict=True)]
    y = np.asarray(y) if isinstance(y, Stored) else arrays_of(y)
    if not isinstance(y, np.ndarray):
        raise ValueError("`class_weight` needs targets in one array")
    classes = y
    if classes.ndim > 1 and classes.shape[-1] > 1 and (classes.dtype.kind == "f" if one_hot is None else one_hot):
        classes = classes.argmax(axis=-1)
    elif classes.ndim > 1 and classes.shape[-1] == 1 and one_hot is not False:
        classes = classes[..., 0]
    classes = np.round(classes)
    weights = np.ones(classes.shape, np.float64)
    for name, weight in class_weight.items():
        weights[classes == int(name)] = weight
    if sample_weight is None:
        return weights
    own = np.asarray(sample_weight)
    if own.ndim == weights.ndim + 1 and own.shape[-1] == 1:
        own = own[..., 0]
    return weights * own.reshape(own.shape + (1,) * (weights.ndim - own.ndim))


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
    if model.is_stateful:
        for name, data in (("", train), ("the validation data: ", validation)):
            if isinstance(data, Batches) and data.rows > data.batch_size and data.rows % data.batch_size:
                raise ValueError(
                    f"{model.name}: {name}a stateful model needs batches of one size: {data.rows} rows in batches of "
                    f"{data.batch_size} leave {data.rows % data.batch_size} for the last; leave them out, or change "
                    "`batch_size`"
                )
    if model.built and validation is not None and validation.rows:
        model.try_batch(validation.first_row())


def _check_classes(loss: Any, shape: Any, target: Array, weight: Any) -> None:
    if len(shape) != 2 or shape[1] is None:
        return  # steps may be masked, and what is masked may be anything
    if weight is not None and np.shape(weight) == target.shape[:1]:
        target = losses.blank(target, np.asarray(weight) != 0)
    loss.align(target, np.broadcast_to(np.float32(0), (len(target), shape[1])))
