"""Pairs, triples, ... of classes as one class each."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.layers.checks import as_integers, as_strings
from rnnx.layers.preprocessing.categories import Encoder, checked_mode, encode, encoded_shape
from rnnx.layers.preprocessing.hashes import crossed, fingerprint


class HashedCrossing(Encoder):
    """What several inputs say together, in buckets by its hash: "Paris" and 7 as one class, which needs no vocabulary.

    Parameters
    ----------
    num_bins : int
        Buckets.
    output_mode : {"int", "one_hot"}

    Raises
    ------
    ValueError
        If there is no bucket, or the output mode is another one; if it is called with less than two inputs, with some
        that are neither words nor integers, or with some that are not of one shape, (), (batch,) or (batch, 1).

    Examples
    --------
    >>> import rnnx
    >>> rnnx.layers.HashedCrossing(5)([["A", "B", "A"], [101, 101, 102]]).tolist()
    [1, 4, 3]
    """

    def __init__(self, num_bins: int, output_mode: str = "int", sparse: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        if isinstance(num_bins, bool) or not isinstance(num_bins, (int, np.integer)) or num_bins < 1:
            raise ValueError(f"HashedCrossing: `num_bins` must be a positive integer, got {num_bins!r}")
        self.num_bins = int(num_bins)
        self.output_mode = checked_mode("HashedCrossing", output_mode, ("int", "one_hot"), sparse)

    @property
    def entry_dtype(self) -> Any:
        return "string"

    def takes_list(self, x: Any) -> bool:
        return True

    def prepare(self, x: Any) -> Any:
        if not isinstance(x, (list, tuple)) or len(x) < 2:
            got = f"{len(x)} input(s)" if isinstance(x, (list, tuple)) else type(x).__name__
            raise ValueError(f"{self.name}: expected a list of at least two inputs, got {got}")
        columns = super().prepare(list(x))
        shapes = [column.shape for column in columns]
        if len({*shapes}) > 1 or len(shapes[0]) > 2 or shapes[0][1:] not in ((), (1,)):
            raise ValueError(
                f"{self.name}: the inputs must have one shape, (), (batch,) or (batch, 1), got "
                f"{', '.join(map(str, shapes))}"
            )
        return columns

    def cast(self, x: Any) -> Array:
        array = np.asarray(x)
        if array.dtype.kind in "iu":
            return as_integers(self.name, array)
        if array.dtype.kind in "fbc":
            raise ValueError(f"{self.name}: the inputs must be words or integers, got dtype {array.dtype}")
        return as_strings(self.name, array)

    def encoding(self, x: list[Array], **call: Any) -> Array:
        columns = []
        for column in x:
            flat = column.reshape(-1).tolist()
            words = column.dtype.kind not in "iu"
            columns.append([fingerprint(v.encode("utf-8", "surrogateescape")) for v in flat] if words else flat)
        ids = np.array([crossed(row) % self.num_bins for row in zip(*columns, strict=True)], np.int64)
        ids = ids.reshape(x[0].shape)
        return ids if self.output_mode == "int" else encode(ids, "one_hot", self.num_bins, self.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        if not isinstance(input_shape, (list, tuple)) or len(input_shape) < 2 or not hasattr(input_shape[0], "__len__"):
            raise ValueError(f"{self.name}: the shapes of at least two inputs are needed, got {input_shape!r}")
        return encoded_shape(input_shape[0], self.output_mode, self.num_bins)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_bins": self.num_bins, "output_mode": self.output_mode}
