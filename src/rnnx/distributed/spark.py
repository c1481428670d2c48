"""Scoring with Spark: a model as a function of columns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

try:
    import pandas as pd
    from pyspark.sql import types
    from pyspark.sql.functions import pandas_udf
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] not in ("pyspark", "pandas"):
        raise
    raise ModuleNotFoundError(
        f"rnnx.distributed.spark works inside Spark ({error}): pip install 'rnnx[spark]'", name=error.name
    ) from error

from rnnx._typing import Array
from rnnx.distributed.scoring import Scorer

__all__ = ["predict_udf"]
WHO = "rnnx.distributed.spark.predict_udf"
NUMBERS = {
    "bool": types.BooleanType, "float16": types.FloatType, "float32": types.FloatType, "float64": types.DoubleType,
    "int8": types.ByteType, "int16": types.ShortType, "int32": types.IntegerType, "int64": types.LongType,
}  # fmt: skip


def predict_udf(
    path: Any,
    *,
    shape: Any = None,
    batch_size: int | None = None,
    threads: int | None = 1,
    custom_objects: dict[str, Any] | None = None,
) -> Any:
    """A model as a function of columns: ``frame.select("key", predict_udf(path)("sequence"))``.

    It is an iterator of pandas series: each Python process of Spark reads the file once, and holds the rows of a batch
    of ``spark.sql.execution.arrow.maxRecordsPerBatch``. Rows keep their order; a task that fails is run again by Spark.

    Parameters
    ----------
    path : path, or Predictor
        Of any file that `rnnx.load_model` reads, under the same path for the driver and all executors. It is read now,
        for the type of the outputs; an executor that finds another file there later raises.
    shape : tuple of int, or list of them for several inputs, optional
        Of a row, where its column holds the numbers one after the other: ``(50, 4)`` for ``array<float>`` of 200
        numbers, ``(None, 4)`` for sequences of any length. It is the fast way: Spark hands ``array<array<float>>`` over
        as an object for each step. Not given, rows have the shape that they have.
    batch_size : int, optional
        Rows of a call of the model; 32 if not given.
    threads : int, optional
        Of each task. 1 is best where tasks keep all processors busy.
    custom_objects : dict, optional
        As for `rnnx.load_model`.

    Returns
    -------
    function of columns
        As many as the model has inputs, in the order of ``model.input_names``: of type ``array<array<...>>`` for
        (timesteps, features), also of differing lengths where there is one input, and ``array<...>`` for ids or
        features; for a model that takes vectors also a column of numbers for each feature. It gives
        ``array<float>`` for an output of shape (units,), ``array<array<float>>`` for (timesteps, units), without any
        padding, and a struct with a field for each of several outputs. A null gives a null; NaN and a null inside of an
        array make that row's outputs NaN; among ids they are an error.

    Raises
    ------
    ValueError
        If ``shape`` does not fit the model, or it is stateful.
    OSError, FormatError
        As of `rnnx.load_model`.

    Examples
    --------
    With a session of Spark::

        from rnnx.distributed.spark import predict_udf

        score = predict_udf("/shared/model.safetensors", shape=(None, 4))
        table.withColumn("score", score("flat_sequence")).write.parquet("/shared/scored")
    """
    scorer = Scorer(WHO, path, batch_size, threads, custom_objects)
    model = scorer.model
    several = scorer.several_inputs
    given = [None] * len(model.inputs) if shape is None else list(shape) if several else [shape]
    if len(given) != len(model.inputs):
        raise ValueError(f"{WHO}: `shape` must have a shape for each of {len(model.inputs)} inputs, got {shape!r}")
    shapes = [_checked_shape(own, tensor) for own, tensor in zip(given, model.inputs, strict=True)]
    fields = [_type_of(tensor) for tensor in model.outputs]
    function = _Columns(
        scorer, shapes, [tuple(n or 0 for n in tensor.shape[2:]) for tensor in model.inputs], len(fields)
    )
    if not scorer.several_outputs:

        def score(columns: Iterator[tuple[pd.Series, ...]]) -> Iterator[pd.Series]:
            for outputs in function(columns):
                yield outputs[0]

        return pandas_udf(score, fields[0])  # type: ignore[call-overload, unused-ignore]
    names = [str(name) for name in model.output_names]
    result = types.StructType([types.StructField(*field) for field in zip(names, fields, strict=True)])

    def score_all(columns: Iterator[tuple[pd.Series, ...]]) -> Iterator[pd.DataFrame]:
        for outputs in function(columns):
            yield pd.DataFrame(dict(zip(names, outputs, strict=True)))

    return pandas_udf(score_all, result)  # type: ignore[call-overload, unused-ignore]


def _checked_shape(shape: Any, tensor: Any) -> tuple[int, ...] | None:
    """The shape of a row for `reshape`, with -1 for what is open."""
    if shape is None:
        return None
    own = tensor.shape[1:]
    known = isinstance(shape, (tuple, list)) and all(n is None or (isinstance(n, int) and n > 0) for n in shape)
    fits = known and len(shape) == len(own) and all(n == m or None in (n, m) for n, m in zip(shape, own, strict=True))
    if not fits or sum(n is None for n in shape) > 1:
        raise ValueError(
            f"{WHO}: `shape` of a row of {tensor.name!r} must fit {tuple(own)}, with None for at most one of its "
            f"axes, got {shape!r}"
        )
    return tuple(-1 if n is None else n for n in shape)


def _type_of(tensor: Any) -> Any:
    """Spark's type of a row of an output."""
    name = np.dtype(tensor.dtype).name
    if name not in NUMBERS:
        raise ValueError(f"{WHO}: Spark has no type for the output {tensor.name!r} of dtype {name}")
    found = NUMBERS[name]()
    for _ in tensor.shape[1:]:
        found = types.ArrayType(found)
    return found


class _Columns:
    """The outputs for batches of columns, as lists of series."""

    def __init__(self, scorer: Scorer, shapes: list[Any], steps: list[tuple[int, ...]], outputs: int):
        self.scorer, self.shapes, self.steps, self.outputs = scorer, shapes, steps, outputs

    def __call__(self, batches: Iterator[tuple[pd.Series, ...]]) -> Iterator[list[pd.Series]]:
        for columns in batches:
            if not isinstance(columns, tuple):  # only one
                columns = (columns,)
            if any(isinstance(column, pd.DataFrame) for column in columns):  # of a struct, which vectors are too
                raise ValueError(
                    f"{WHO}: a column must hold numbers or arrays of them, got structs; of a column of vectors of "
                    "Spark ML, give pyspark.ml.functions.vector_to_array(column)"
                )
            there = ~np.logical_or.reduce([column.isna().to_numpy() for column in columns])
            found: list[Any] = [()] * self.outputs
            if there.any():
                found = self.scorer.outputs(self._inputs([column[there] for column in columns]))
            yield [_series(output, there) for output in found]

    def _inputs(self, columns: list[pd.Series]) -> Any:
        if len(columns) == len(self.shapes):
            forms = zip(columns, self.shapes, self.steps, strict=True)
            found = [_rows(*form) for form in forms]
            return [_stacked(rows) for rows in found] if self.scorer.several_inputs else found[0]
        if self.scorer.several_inputs or any(column.dtype == object for column in columns):
            raise ValueError(
                f"{WHO}: the model has {len(self.shapes)} input(s), got {len(columns)} columns; several for one input "
                "must hold a number each (cast decimals to double)"
            )
        return np.stack([column.to_numpy() for column in columns], axis=1)


def _rows(column: pd.Series, shape: tuple[int, ...] | None, step: tuple[int, ...]) -> Any:
    """The rows of a column: an array where they hold one number each, otherwise a list of arrays."""
    if column.dtype != object:
        return column.to_numpy()
    if shape is None:
        return [_array(row, step) for row in column]
    rows = [np.asarray(row) for row in column]
    size = -math.prod(shape) if -1 in shape else math.prod(shape)
    for row in rows:
        if row.ndim != 1 or (row.size % size if -1 in shape else row.size != size):
            wanted = tuple(None if n == -1 else n for n in shape)
            raise ValueError(f"{WHO}: a row of shape {row.shape} does not have the numbers of `shape` = {wanted}")
    if -1 not in shape:
        return np.concatenate(rows).reshape(len(rows), *shape)
    return [row.reshape(shape) if row.size else row.reshape([0 if n == -1 else n for n in shape]) for row in rows]


def _array(row: Any, step: tuple[int, ...]) -> Array:
    """A row of numbers, or of arrays for its steps."""
    if isinstance(row, np.ndarray) and row.dtype != object:
        return row
    if not len(row):
        return np.zeros((0, *step), np.float32)
    given = [None if part is None else np.asarray(part) for part in row]
    known = next((part.shape for part in given if part is not None), step)
    steps = [
        np.full(known, np.nan, np.float32) if part is None else part for part in given
    ]  # a null step is one of NaN
    if len({part.shape for part in steps}) > 1:
        raise ValueError(
            f"{WHO}: a row has steps of shapes {sorted({part.shape for part in steps})}; all must have one"
        )
    found = np.stack(steps)
    return found.astype(np.float64) if found.dtype == object else found  # with nulls, which become NaN


def _stacked(rows: Any) -> Array:
    if isinstance(rows, list) and len({row.shape for row in rows}) > 1:
        raise ValueError(
            f"{WHO}: rows of a model with several inputs must have one shape, got {sorted({row.shape for row in rows})}"
        )
    return np.asarray(rows)


def _series(output: Any, there: Array) -> pd.Series:
    """The rows of an output, and nulls where there was no row."""
    values = np.full(len(there), None, object)
    for place, row in zip(np.flatnonzero(there), output, strict=True):
        values[place] = list(row) if np.ndim(row) > 1 else row
    return pd.Series(values)
