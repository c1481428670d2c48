"""Columns and tables of Arrow (pyarrow, Polars, DuckDB) as arrays and ragged lists, where it can be as views."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.training.stored import Stored


def is_arrow(x: Any) -> bool:
    """Whether this is a table or column with Arrow's interface, all of it there; a pandas object is an array to us."""
    if isinstance(x, (np.ndarray, type)) or hasattr(x, "iloc") or not hasattr(x, "__len__"):
        return False
    return hasattr(x, "__arrow_c_stream__") or hasattr(x, "__arrow_c_array__")


def _pyarrow(x: Any) -> Any:
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        kind = f"{type(x).__module__}.{type(x).__name__}"
        raise ModuleNotFoundError(
            f"data in a {kind} are read through pyarrow: pip install pyarrow", name="pyarrow"
        ) from error
    return pyarrow


def columns_of(x: Any) -> dict[str, Any] | None:
    """The columns of a table by their names; None for what is one column."""
    pa = _pyarrow(x)
    if not isinstance(x, (pa.Table, pa.RecordBatch)):
        if not hasattr(x, "columns"):
            return None
        x = pa.table(x)
    names = x.column_names
    if len(set(names)) < len(names):
        raise ValueError(f"columns of a table need names of their own, got {', '.join(map(repr, names))}")
    return dict(zip(names, x.columns, strict=True))


def numbers_of(x: Any, name: str = "") -> Any:
    """The numbers of a column.

    Parameters
    ----------
    x : column of numbers, of fixed-size lists or tensors, of lists, or of texts
    name : str
        For the errors.

    Returns
    -------
    array of shape (rows, ...)
        Of numbers, fixed-size lists (also inside each other) and tensors: a view where the column is in one piece, and
        otherwise rows that are read piece by piece. Of texts an array of objects.
    list of arrays of shape (timesteps,) or (timesteps, features)
        Of lists.

    Raises
    ------
    TypeError
        If there are other things than numbers in it.
    ValueError
        If there are nulls, or lists of steps that differ in their features.
    """
    pa = _pyarrow(x)
    if not isinstance(x, (pa.Array, pa.ChunkedArray)):
        x = pa.chunked_array(x) if hasattr(x, "__arrow_c_stream__") else pa.array(x)
    chunks = x.chunks if isinstance(x, pa.ChunkedArray) else [x]
    who = f"the column {name!r}" if name else "the column"
    kind = _plain(pa, x.type)
    types = pa.types
    if types.is_string(kind) or types.is_large_string(kind) or kind == pa.string_view():
        _refuse_nulls(x, who)
        return np.array(x.to_pylist(), object)
    if _is_list(pa, kind):
        return [row for chunk in chunks for row in _rows(pa, _storage(pa, chunk), who)]
    if len(chunks) == 1:
        return _dense(pa, chunks[0], who)
    return Stored(_Column(pa, x, who))


class _Column:
    """A column of fixed shape in several pieces, which may be a mapped file that is larger than memory."""

    chunks = None  # any rows can be read for themselves

    def __init__(self, pa: Any, column: Any, who: str):
        self.pa, self.column, self.who = pa, column, who
        none = pa.array([], column.type) if not isinstance(column.type, pa.BaseExtensionType) else column[:0]
        sample = _dense(pa, none if isinstance(none, pa.Array) else none.combine_chunks(), who)
        self.shape, self.dtype = (len(column), *sample.shape[1:]), sample.dtype

    def __getitem__(self, which: slice) -> Array:
        part = self.column.slice(which.start, which.stop - which.start)
        found = [_dense(self.pa, chunk, self.who) for chunk in part.chunks]
        return found[0] if len(found) == 1 else np.concatenate(found)


def _plain(pa: Any, kind: Any) -> Any:
    """The type under one of extension."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _storage(pa: Any, array: Any) -> Any:
    return array.storage if isinstance(array.type, pa.BaseExtensionType) else array


def _is_list(pa: Any, kind: Any) -> bool:
    t = pa.types
    return bool(t.is_list(kind) or t.is_large_list(kind) or t.is_list_view(kind) or t.is_large_list_view(kind))


def _refuse_nulls(x: Any, who: str) -> None:
    if x.null_count:
        row = int(np.argmax(np.asarray(x.is_null())))
        raise ValueError(
            f"{who} has {x.null_count} null(s), the first at {row}; leave such rows out or fill them (`drop_null`, "
            "`fill_null`)"
        )


def _dense(pa: Any, array: Any, who: str) -> Array:
    """Numbers, or lists of a fixed size of them, as one array."""
    kind = array.type
    if isinstance(kind, pa.FixedShapeTensorType):
        order = kind.permutation
        if order is not None and list(order) != sorted(order):
            raise TypeError(f"{who} has tensors with a permutation of their axes, {list(order)}; store them without")
        return _dense(pa, array.storage, who).reshape(len(array), *kind.shape)
    array = _storage(pa, array)
    _refuse_nulls(array, who)
    kind = array.type
    if pa.types.is_fixed_size_list(kind):
        return (inner := _dense(pa, array.flatten(), who)).reshape(len(array), kind.list_size, *inner.shape[1:])
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise TypeError(f"{who} must hold numbers or lists of numbers, got {kind}")
    found: Array = array.to_numpy(zero_copy_only=False)
    return found


def _rows(pa: Any, array: Any, who: str) -> list[Array]:
    """The lists of a piece of a column, as views of its numbers."""
    _refuse_nulls(array, who)
    steps, offsets = _flat(pa, array)
    inside = _storage(pa, steps)
    if _is_list(pa, inside.type):  # steps are lists, which must have one length
        _refuse_nulls(inside, who)
        numbers, ends = _flat(pa, inside)
        widths = np.unique(np.diff(ends))
        if len(widths) > 1:
            raise ValueError(f"{who} has steps with {widths[0]} and with {widths[-1]} features; all must have as many")
        values = _dense(pa, numbers, who).reshape(len(inside), int(widths[0]) if len(widths) else 0)
    else:
        values = _dense(pa, steps, who)
    return [values[a:b] for a, b in zip(offsets[:-1], offsets[1:], strict=True)]


def _flat(pa: Any, array: Any) -> tuple[Any, Array]:
    """What is in the lists, one after the other, and where each begins; the last number is the end."""
    views = pa.types.is_list_view(array.type) or pa.types.is_large_list_view(array.type)
    sizes = array.sizes if views else array.value_lengths()  # a cast from views to lists loses rows (pyarrow 26)
    return array.flatten(), np.append(0, np.cumsum(sizes.to_numpy(), dtype=np.int64))
