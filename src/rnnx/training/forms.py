"""Data in the form that a model takes, from lists of one, nested lists, dicts and ragged lists."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from rnnx._nested import matched
from rnnx.training.arrow import columns_of, is_arrow, numbers_of
from rnnx.training.stored import Stored, is_stored


def is_ragged(x: Any) -> bool:
    """Whether this is a list of sequences, each an array with its own number of steps."""
    return isinstance(x, (list, tuple)) and len(x) > 0 and all(_is_sequence(part) for part in x)


def _is_sequence(part: Any) -> bool:
    """An array with one or two axes, or a list of numbers or of steps; judged by its first element."""
    if isinstance(part, np.ndarray):
        return part.ndim in (1, 2)
    if not isinstance(part, (list, tuple)):
        return False
    if not part or np.isscalar(part[0]):
        return True
    step = part[0]
    if isinstance(step, np.ndarray):
        return step.ndim == 0 or (step.ndim == 1 and not isinstance(part, tuple))  # (x, y) is a batch
    return isinstance(step, (list, tuple)) and len(step) > 0 and bool(np.isscalar(step[0]))


def is_texts(x: Any) -> bool:
    """Whether this is a list of texts, or of lists of one text or word each; judged by its first element."""
    while isinstance(x, (list, tuple)) and len(x):
        x = x[0]
    return isinstance(x, (str, bytes))


def count_rows(x: Any) -> int:
    """Rows of an array, or of the first array of a list or dict."""
    if isinstance(x, (dict, list, tuple)):
        if not len(x):
            raise ValueError(f"the data must have rows, got an empty {type(x).__name__}")
        return count_rows(next(iter(x.values())) if isinstance(x, dict) else x[0])
    if not np.ndim(x):
        what = x.item() if isinstance(x, np.ndarray) and x.dtype.kind == "O" else x
        raise ValueError(f"the data must have rows, got {type(what).__name__} without axes")
    return len(x)


def arrays_of(y: Any) -> Any:
    """Targets or weights as one array, or as the list or dict of arrays they came as, or as rows still to be read."""
    if y is None or isinstance(y, (dict, Stored)):
        return y
    if isinstance(y, (list, tuple)) and len(y) > 0 and all(part is None or isinstance(part, np.ndarray) for part in y):
        return y
    return np.asarray(y)


def depth(x: Any) -> int:
    """Axes of an array, or of the array that a nested list would be; judged by the first elements."""
    axes = 0
    while isinstance(x, (list, tuple)):
        axes += 1
        if not len(x):
            return axes
        x = x[0]
    return axes + np.ndim(x)


def only_one(x: Any, axes: int | None) -> Any:
    """What is in a list of one array with so many axes (three or more if it is not known); anything else as it is."""
    if isinstance(x, (list, tuple)) and len(x) == 1 and not isinstance(x[0], dict):
        inside = depth(x[0])
        if inside == axes or (axes is None and inside >= 3):
            return x[0]
    return x


def refuse_unread(who: str, x: Any, word: str = "x") -> None:
    """Say how to read what has rows only when it has been read: a path, or an open file of several arrays or columns.

    Raises
    ------
    TypeError
    """
    if isinstance(x, (np.ndarray, list, tuple, dict)) or x is None or hasattr(x, "shape"):
        return
    if isinstance(x, (str, bytes, os.PathLike)):
        what = f"the text {x!r:.100}" if isinstance(x, str) else type(x).__name__
        do = (
            "of a file, give what is read from it: np.load(path), h5py.File(path)[name], a column of pyarrow, or a "
            "generator of its batches; one text is a row of a list, [text]"
        )
    elif (reader := next((name for name in ("iter_batches", "to_batches") if hasattr(x, name)), None)) and not is_arrow(
        x
    ):
        what = type(x).__name__
        do = (
            f"give its batches, as a generator: (batch[name] for batch in x.{reader}(columns=[name])), in fit pairs "
            "(batch[name], batch[target])"
        )
    elif hasattr(x, "visititems"):  # an open file of h5py, or a group in one
        what = f"{type(x).__name__} with {', '.join(repr(name) for name in list(x)[:10]) or 'nothing in it'}"
        do = "give one of its arrays, x[name]"
    else:
        return
    raise TypeError(f"{who}: `{word}` must be arrays, lists of them or batches, got {what}; {do}")


def inputs_of(model: Any, x: Any) -> Any:
    """Inputs as the model takes them: an array, a list or dict of arrays, or a ragged list."""
    refuse_unread(model.name, x)
    if is_arrow(x):
        x = _of_table(model, x)
    model.note_form(x)
    if model.input_template is not None and model.built:
        x = model.flat_inputs(x)
    if isinstance(x, dict):
        return {name: _array(part) for name, part in x.items()}
    if not isinstance(x, (list, tuple)):
        return _array(x)
    if model.several_inputs:
        return [_array(part) for part in x]
    axes = model.input_axes
    x = only_one(x, axes)
    if not isinstance(x, (list, tuple)):
        return _array(x)
    if is_texts(x):
        return np.array(x, object)
    if any(hasattr(row, "__array__") and not isinstance(row, np.ndarray) for row in x[:1]):
        x = [np.asarray(row) for row in x]  # rows in arrays of another library, such as PyTorch's
    if is_rows_of_features(model, x):
        return np.asarray(x)
    if x and all(isinstance(row, (list, tuple)) for row in x) and (axes is None or depth(x) == axes):
        try:
            return np.asarray(x)
        except ValueError:
            pass  # rows that differ in length
    return x


def targets_of(model: Any, y: Any, rows: int | None, ragged: bool) -> Any:
    """Targets or weights as the outputs need them: an array, a list or dict of arrays, or a ragged list.

    Parameters
    ----------
    y : anything
    rows : int or None
        Those of the inputs, if they are known.
    ragged : bool
        Whether the inputs are a ragged list.
    """
    if y is None:
        return None
    refuse_unread(model.name, y, "y")
    if is_arrow(y):
        columns = columns_of(y)
        y = numbers_of(y) if columns is None else _of_outputs(model, columns)
    if model.output_template is not None and not (isinstance(y, dict) and set(y) <= set(model.output_names)):
        y = matched(f"{model.name}: targets", model.output_template, y)
        y = y if model.several_outputs else y[0]
    if isinstance(y, dict):
        return {name: None if part is None else _array(part) for name, part in y.items()}
    if not isinstance(y, (list, tuple)):
        return _array(y)
    if model.several_outputs:
        if len(y) == len(model.outputs):
            return [None if part is None else _array(part) for part in y]
        return arrays_of(y)
    axes = len(model.outputs[0].shape) if model.built else None
    if len(y) == 1 and depth(y[0]) > 0:
        nested = isinstance(y[0], (list, tuple))
        if (not nested and depth(y[0]) == axes) if rows == 1 else len(y[0]) == rows:
            y = y[0]
    if ragged and axes != 2 and is_ragged(y):
        return y  # targets of every step
    if is_ragged(y) and len({len(row) for row in y}) > 1:
        return y  # for the sentence that says what does not fit
    return _array(y)


def data_of(model: Any, x: Any, y: Any = None, sample_weight: Any = None) -> tuple[Any, Any, Any]:
    """All three as the model needs them; see `inputs_of` and `targets_of`."""
    x = inputs_of(model, x)
    ragged = not model.several_inputs and is_ragged(x)
    rows = len(x) if ragged else _rows(x)
    model.build_with(x[0][None] if ragged and isinstance(x[0], np.ndarray) else x)
    of_all = model.output_template is not None and isinstance(sample_weight, np.ndarray)  # outputs
    weights = sample_weight if of_all else targets_of(model, sample_weight, rows, ragged)
    return x, targets_of(model, y, rows, ragged), weights


def parts_of(model: Any, item: Any) -> tuple[Any, ...]:
    """A batch that somebody made as a tuple of inputs, targets and weights, as far as they are there."""
    if isinstance(item, list) and 0 < len(item) <= 3:
        first = item[0]
        if isinstance(first, dict):
            return tuple(item)
        if model.several_inputs:
            return tuple(item) if isinstance(first, (list, tuple)) else (item,)
        inside, axes = depth(first), model.input_axes
        if axes is None:
            pair = inside >= 3 or (inside == 2 and len(item) > 1 and np.shape(first)[:1] == np.shape(item[1])[:1])
        else:
            pair = inside >= axes
        return tuple(item) if pair else (item,)
    return item if isinstance(item, tuple) else (item,)


def is_rows_of_features(model: Any, x: Any) -> bool:
    """Whether a list is one of vectors for a model that takes vectors, and not of sequences of ids."""
    if model.several_inputs or not is_ragged(x) or not model.built:
        return False
    shape = model.inputs[0].shape
    return len(shape) == 2 and shape[1] is not None and all(np.shape(row) == (shape[1],) for row in x)


def _of_table(model: Any, x: Any) -> Any:
    """The column of Arrow that is a model's input, or those of its inputs by their names."""
    columns = columns_of(x)
    if columns is None:
        return numbers_of(x)
    if model.built and (model.several_inputs or len(columns) > 1):
        names = model.input_names
        if set(names) <= columns.keys():
            found = {name: numbers_of(columns[name], name) for name in names}
            return found if model.several_inputs or isinstance(model.input_template, dict) else found[names[0]]
        if model.several_inputs:
            raise ValueError(
                f"{model.name}: the table must have the columns {', '.join(map(repr, names))} of the inputs, got "
                f"{', '.join(map(repr, columns))}"
            )
    return _side_by_side(model, columns)


def _of_outputs(model: Any, columns: dict[str, Any]) -> Any:
    """The columns of a table that are the targets of a model with several outputs, or its only one."""
    if model.several_outputs and set(model.output_names) >= columns.keys():
        return {name: numbers_of(column, name) for name, column in columns.items()}
    return _side_by_side(model, columns)


def _side_by_side(model: Any, columns: dict[str, Any]) -> Any:
    """The only column of a table, or all columns of numbers as an array of shape (rows, columns)."""
    found = {name: numbers_of(column, name) for name, column in columns.items()}
    if len(found) == 1:
        return next(iter(found.values()))
    for name, column in found.items():
        if isinstance(column, list) or column.ndim != 1 or column.dtype.kind == "O":
            raise ValueError(
                f"{model.name}: of a table with the columns {', '.join(map(repr, columns))}, of which {name!r} has "
                f"more than a number in each row, give the one that is meant: table[{name!r}]"
            )
    return np.stack([np.asarray(column) for column in found.values()], axis=1)


def _array(x: Any) -> Any:
    """An array of what has or is one; a list whose rows differ as it is, for whoever says what does not fit."""
    if isinstance(x, (np.ndarray, Stored)) or x is None:
        return x
    if isinstance(x, (list, tuple)):
        try:
            return np.asarray(x)
        except ValueError:
            return x
    if is_arrow(x):
        return numbers_of(x)
    if is_stored(x):
        return Stored(x)
    return np.asarray(x) if hasattr(x, "__array__") else x


def _rows(x: Any) -> int | None:
    """Rows of the first array there is."""
    if isinstance(x, dict):
        return _rows(next(iter(x.values()), None))
    if isinstance(x, (list, tuple)):
        return _rows(x[0]) if len(x) else None
    return len(x) if np.ndim(x) else None
