"""Scoring with Dask: the outputs of a model for arrays and bags that are larger than memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

try:
    import dask.array as da
    from dask.base import tokenize
except ModuleNotFoundError as error:
    if error.name not in ("dask", "dask.array"):
        raise
    raise ModuleNotFoundError(
        "rnnx.distributed.dask works inside Dask: pip install 'rnnx[dask]'", name=error.name
    ) from error

from rnnx._typing import Array
from rnnx.distributed.scoring import Scorer

__all__ = ["predict"]
WHO = "rnnx.distributed.dask.predict"


def predict(
    path: Any,
    x: Any,
    *,
    batch_size: int | None = None,
    threads: int | None = 1,
    custom_objects: dict[str, Any] | None = None,
) -> Any:
    """The outputs of a model for arrays or a bag of Dask, as such: nothing is computed yet.

    Chunk by chunk, or partition by partition, in their order; a worker holds those it is at, and each of its processes
    reads the file once. What a worker that dies was at is computed again by another, by Dask.

    Parameters
    ----------
    path : path, or Predictor
        Of any file that `rnnx.load_model` reads, under the same path for this process and all workers. It is read now,
        to see whether data fit; a worker that finds another file there later raises.
    x : Dask array of shape (rows, ...), list or dict of them for several inputs, or Dask bag
        Chunks are of whole rows: where an array is cut along another axis too, its chunks are joined along those, and
        cut along the rows to Dask's own size of chunks. The chunks of several inputs are cut alike. Each item of a bag
        is one row of the only input: an array or list of shape (timesteps, features), of any length, of ids
        (timesteps,), or (features,).
    batch_size : int, optional
        Rows of a call of the model; 32 if not given.
    threads : int, optional
        Of each task. 1 is best where tasks keep all processors busy.
    custom_objects : dict, optional
        As for `rnnx.load_model`.

    Returns
    -------
    Dask array of shape (rows, ...), or arrays in the form of the outputs for several of them
        Shape, chunks and dtype are known.
    Dask bag
        For a bag: with the output of each item, of shape (units,), or (timesteps, units) without any padding; of
        several outputs those of an item, in their form.

    Raises
    ------
    ValueError
        If data do not fit the model, or it is stateful.
    TypeError
        If ``x`` is something else.
    OSError, FormatError
        As of `rnnx.load_model`.

    Examples
    --------
    >>> import dask.array as da, rnnx, tempfile
    >>> import rnnx.distributed.dask
    >>> path = tempfile.mkdtemp() + "/model.safetensors"
    >>> rnnx.Sequential([rnnx.Input((None, 3)), rnnx.layers.GRU(4)]).save(path)
    >>> y = rnnx.distributed.dask.predict(path, da.ones((1000, 20, 3), chunks=(100, 10, 3), dtype="float32"))
    >>> y.shape, y.dtype, y.numblocks
    ((1000, 4), dtype('float32'), (1, 1))
    >>> y[-2:].compute().shape
    (2, 4)
    """
    scorer = Scorer(WHO, path, batch_size, threads, custom_objects)
    if isinstance(x, (da.Array, list, tuple, dict)):
        return _of_arrays(scorer, x)
    if _is_bag(x):
        if scorer.several_inputs:
            raise ValueError(
                f"{WHO}: {scorer.model.name} has several inputs and a bag holds rows of one; give a list "
                "or dict of Dask arrays"
            )
        return x.map_partitions(_Rows(scorer))
    raise TypeError(
        f"{WHO}: `x` must be a Dask array, a list or dict of them, or a Dask bag, got "
        f"{type(x).__module__}.{type(x).__name__}; of a data frame, give `frame.to_dask_array(lengths=True)`, or "
        "`frame[column].to_bag()` where each row is a sequence"
    )


def _is_bag(x: Any) -> bool:
    """A bag, without an import of what there is for them."""
    return type(x).__module__.startswith("dask.bag") and hasattr(x, "map_partitions")


# ---- Arrays ---------------------------------------------------------------------------------------------------------


def _of_arrays(scorer: Scorer, x: Any) -> Any:
    model = scorer.model
    if isinstance(x, dict) or model.input_template is not None:
        x = model.flat_inputs(x)
    arrays = list(x) if isinstance(x, (list, tuple)) else [x]
    if len(arrays) != len(model.inputs):
        raise ValueError(f"{WHO}: {model.name} has {len(model.inputs)} input(s), got {len(arrays)} array(s)")
    for array in arrays:
        if not isinstance(array, da.Array):
            kind = f"{type(array).__module__}.{type(array).__name__}"
            raise TypeError(f"{WHO}: the inputs must be Dask arrays, got {kind}; `dask.array.from_array` makes them")
    arrays = [_of_whole_rows(array) for array in arrays]
    if len({array.shape[0] for array in arrays if array.shape[0] == array.shape[0]}) > 1:
        raise ValueError(f"{WHO}: the inputs differ in their rows: {', '.join(str(a.shape[0]) for a in arrays)}")
    samples = scorer.sample([array.shape[1:] for array in arrays], [array.dtype for array in arrays])
    # Axis 0 of everything is the rows; all others have names of their own, as they are one chunk each.
    names = iter(range(1, 1000))
    given: list[Any] = []
    for array in arrays:
        given += [array, (0, *(next(names) for _ in array.shape[1:]))]
    if not scorer.several_outputs:
        return scorer.in_form([_joined(_Chunk(scorer, samples[0].dtype), given, samples[0], names)])
    every = _blockwise(_Chunk(scorer), (0,), given, dtype=object, meta=np.empty(0, object))
    return scorer.in_form([_joined(_Output(k), [every, (0,)], sample, names) for k, sample in enumerate(samples)])


def _joined(function: Any, given: list[Any], sample: Array, names: Iterator[int]) -> Any:
    """The array of what a function of chunks gives, in the shape of a sample."""
    axes = {next(names): size for size in sample.shape[1:]}
    meta = np.empty((0,) * sample.ndim, sample.dtype)
    return _blockwise(function, (0, *axes), given, new_axes=axes, dtype=sample.dtype, meta=meta)


def _blockwise(function: Any, axes: Any, given: list[Any], **more: Any) -> Any:
    return da.blockwise(function, axes, *given, name=f"rnnx-predict-{tokenize(function, given)}", **more)


def _of_whole_rows(x: Any) -> Any:
    if not x.ndim:
        raise ValueError(f"{WHO}: the arrays must have rows, got one without axes")
    if any(size != size for size in x.shape[1:]):
        raise ValueError(f"{WHO}: only the number of rows may be unknown, got an array of shape {x.shape}")
    if all(n == 1 for n in x.numblocks[1:]):
        return x
    if x.shape[0] != x.shape[0]:
        raise ValueError(
            f"{WHO}: the array of shape {x.shape} is cut along more than its rows, whose number is unknown, so that "
            "its chunks cannot be joined; call `x.compute_chunk_sizes()` first"
        )
    # Of an array without elements Dask knows no size of chunks.
    rows = "auto" if math.prod(x.shape) else x.chunks[0]
    return x.rechunk({0: rows, **dict.fromkeys(range(1, x.ndim), -1)})


class _Chunk:
    """All outputs for a chunk of rows of every input; the only one as an array."""

    def __init__(self, scorer: Scorer, dtype: Any = None):
        self.scorer, self.dtype = scorer, dtype

    def __call__(self, *chunks: Any) -> Any:
        x = [_only(chunk) for chunk in chunks]
        found = self.scorer.outputs(x if self.scorer.several_inputs else x[0])
        return tuple(found) if self.dtype is None else np.asarray(found[0], self.dtype)

    def __dask_tokenize__(self) -> Any:
        return ("rnnx-chunk", self.scorer.__dask_tokenize__(), str(self.dtype))


class _Output:
    """One of the outputs for a chunk."""

    def __init__(self, number: int):
        self.number = number

    def __call__(self, outputs: Any) -> Array:
        found: Array = outputs[self.number]
        return found

    def __dask_tokenize__(self) -> Any:
        return ("rnnx-output", self.number)


def _only(chunk: Any) -> Array:
    """The chunk inside of the lists of one, in which Dask hands over axes that the result does not have."""
    while isinstance(chunk, list):
        (chunk,) = chunk
    return np.asarray(chunk)


# ---- Bags -----------------------------------------------------------------------------------------------------------


class _Rows:
    """The output of each row of a partition, which is read as a stream; the outputs are a list, as they may travel."""

    def __init__(self, scorer: Scorer):
        self.scorer = scorer

    def __call__(self, rows: Iterable[Any]) -> list[Any]:
        return list(self.scorer.rows(rows))

    def __dask_tokenize__(self) -> Any:
        return ("rnnx-rows", self.scorer.__dask_tokenize__())
