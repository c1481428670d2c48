"""Layers that make classes of numbers and words, and rows of classes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.layers.checks import as_integers, as_strings
from rnnx.layers.layer import Gradients, Layer, Pullback
from rnnx.layers.preprocessing.hashes import bucket, checked_salt

ENCODINGS = ("one_hot", "multi_hot", "count")
OLD_MODES = {"binary": "multi_hot", "tf-idf": "tf_idf"}


def encoded_shape(shape: Any, mode: str, depth: int | None) -> Any:
    """The shape of `encode` for ids of this shape."""
    shape = tuple(shape)
    if mode == "int":
        return shape
    if mode == "one_hot":
        return (*(shape[:-1] if len(shape) > 1 and shape[-1] == 1 else shape), depth)
    return (*shape[:-1], depth)


def encode(ids: Array, mode: str, depth: int, dtype: Any, weights: Array | None = None) -> Array:
    """Ids as rows with a column for each of them.

    Parameters
    ----------
    ids : int array
        Negative ones have no column.
    mode : {"one_hot", "multi_hot", "count"}
        A row for each id, or for all ids along the last axis, with ones or how often they come.
    depth : int
    dtype : dtype
    weights : array of the shape of ``ids``, optional
        What each id counts.
    """
    if ids.ndim == 0:
        ids, weights = ids[None], None if weights is None else weights[None]
    if mode == "one_hot":
        flat = ids[..., 0] if ids.ndim > 1 and ids.shape[-1] == 1 else ids
        return (flat[..., None] == np.arange(depth)).astype(dtype)
    y = np.zeros((*ids.shape[:-1], depth), dtype)
    places = np.nonzero(ids >= 0)
    where = (*places[:-1], ids[places])
    if mode == "multi_hot":
        y[where] = 1
    else:
        np.add.at(y, where, 1 if weights is None else weights[places])
    return y


def checked_mode(who: str, mode: Any, known: tuple[str, ...], sparse: bool = False) -> str:
    """An output mode, also by its older name.

    Raises
    ------
    ValueError
        If it is none of the known ones, or sparse outputs are asked for.
    """
    mode = OLD_MODES.get(mode, mode) if isinstance(mode, str) else mode
    if mode not in known:
        raise ValueError(f"{who}: `output_mode` must be one of {known}, got {mode!r}")
    if sparse:
        raise ValueError(f"{who}: `sparse` outputs are not supported; leave it out, the rows are dense arrays")
    return str(mode)


class Encoder(Layer):
    """A layer without weights and gradient, whose outputs may be ids."""

    supports_masking = False

    not_attributes = frozenset({"sparse"})

    def __init__(self, **kwargs: Any):
        if kwargs.get("dtype") in ("int64", "int32", "string"):  # as Keras has it, of what comes in or goes out
            del kwargs["dtype"]
        super().__init__(**kwargs)
        self.built = True

    @property
    def entry_dtype(self) -> Any:
        """The type of the input of a model that begins with this layer."""
        return self.dtype

    @property
    def value_dtype(self) -> np.dtype[Any]:
        """The type of the outputs."""
        return np.dtype(np.int64) if getattr(self, "output_mode", None) == "int" else self.dtype

    def encoding(self, x: Any, **call: Any) -> Any:
        """The output."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it encodes its input")

    def forward(
        self, x: Any, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Any, Pullback | None]:
        y = self.encoding(x, **call)
        return y, (lambda dy, *, need_dx=True: Gradients()) if keep else None


class CategoryEncoding(Encoder):
    """Integer classes as rows with a column for each class.

    Parameters
    ----------
    num_tokens : int
        Number of classes.
    output_mode : {"multi_hot", "one_hot", "count"}
        One row for all classes along the last axis, or one for each class.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.CategoryEncoding(4)(np.array([[0, 1], [3, 3]])).tolist()
    [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    """

    call_arguments = frozenset({"mask", "training", "count_weights"})
    positional_arguments = ("count_weights",)

    def __init__(
        self, num_tokens: int | None = None, output_mode: str = "multi_hot", sparse: bool = False, **kwargs: Any
    ):
        super().__init__(**kwargs)
        if isinstance(num_tokens, bool) or not isinstance(num_tokens, (int, np.integer)) or num_tokens < 1:
            raise ValueError(f"CategoryEncoding: `num_tokens` must be a positive integer, got {num_tokens!r}")
        self.num_tokens = int(num_tokens)
        self.output_mode = checked_mode("CategoryEncoding", output_mode, ENCODINGS, sparse)

    @property
    def entry_dtype(self) -> Any:
        return np.dtype(np.int64)

    def cast(self, x: Any) -> Array:
        ids = as_integers(self.name, x)
        if ids.size and (ids.min() < 0 or ids.max() >= self.num_tokens):
            bad = int(ids.min()) if ids.min() < 0 else int(ids.max())
            raise ValueError(f"{self.name}: classes must lie in 0..{self.num_tokens - 1} (num_tokens - 1), got {bad}")
        return ids

    def encoding(self, x: Array, count_weights: Any = None, **call: Any) -> Array:
        if count_weights is not None:
            if self.output_mode != "count":
                raise ValueError(f"{self.name}: `count_weights` are for output_mode='count', not {self.output_mode!r}")
            count_weights = np.asarray(count_weights, self.dtype)
            if count_weights.shape != x.shape:
                raise ValueError(f"{self.name}: `count_weights` must have shape {x.shape}, got {count_weights.shape}")
        return encode(x, self.output_mode, self.num_tokens, self.dtype, count_weights)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return encoded_shape(input_shape, self.output_mode, self.num_tokens)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_tokens": self.num_tokens, "output_mode": self.output_mode}


class Discretization(Encoder):
    """Numbers as the bins they lie in.

    Parameters
    ----------
    bin_boundaries : list of float, optional
        Bin k holds what lies between boundaries k - 1 (included) and k.
    num_bins : int, optional
        Bins that `adapt` finds, of about as many numbers each.
    epsilon : float
        How finely `adapt` looks: as a share of the data.
    output_mode : {"int", "one_hot", "multi_hot", "count"}

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Discretization([0.0, 1.0, 2.0])(np.array([[-1.5, 1.0, 3.4, 0.5]])).tolist()
    [[0, 2, 3, 1]]
    """

    def __init__(
        self,
        bin_boundaries: Any = None,
        num_bins: int | None = None,
        epsilon: float = 0.01,
        output_mode: str = "int",
        sparse: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if (num_bins is None) == (bin_boundaries is None):
            raise ValueError("Discretization: give `bin_boundaries` or `num_bins`, one of them")
        if num_bins is not None and (isinstance(num_bins, bool) or not isinstance(num_bins, int) or num_bins < 1):
            raise ValueError(f"Discretization: `num_bins` must be a positive integer, got {num_bins!r}")
        if not 0 < epsilon <= 1:
            raise ValueError(f"Discretization: `epsilon` must lie in (0, 1], got {epsilon!r}")
        self.num_bins, self.epsilon = num_bins, epsilon
        self.output_mode = checked_mode("Discretization", output_mode, ("int", *ENCODINGS), sparse)
        self.bin_boundaries = None if bin_boundaries is None else np.asarray(bin_boundaries, float).reshape(-1).tolist()
        if self.bin_boundaries is not None and sorted(self.bin_boundaries) != self.bin_boundaries:
            raise ValueError(f"Discretization: `bin_boundaries` must go up, got {self.bin_boundaries[:10]}")
        self._summary = np.zeros((2, 0), np.float32)

    def adapt(self, data: Any, batch_size: int | None = None, steps: int | None = None) -> None:
        """Find boundaries between which about as many numbers of some data lie.

        Parameters
        ----------
        data : array, or iterable of batches
        batch_size : int, optional
            Accepted as in Keras 2.
        steps : int, optional
            Batches to look at.
        """
        if self.num_bins is None:
            raise ValueError(f"{self.name}: it was given `bin_boundaries`; give `num_bins` instead to adapt them")
        self.reset_state()
        if hasattr(data, "__array__") or isinstance(data, (list, tuple)):
            self.update_state(data)
        else:
            for batch in itertools.islice(data, steps):
                self.update_state(batch)
        self.finalize_state()

    def reset_state(self) -> None:
        """Forget the data that were seen."""
        self._summary = np.zeros((2, 0), np.float32)

    def update_state(self, data: Any) -> None:
        """Look at more data."""
        values = np.sort(np.asarray(data, np.float32).reshape(-1))
        step = max(values.size * self.epsilon, 1)
        kept = values[int(step - 1) :: int(step)]
        both = np.concatenate([np.stack([kept, np.full_like(kept, step)]), self._summary], axis=1)
        self._summary = _compressed(both[:, np.argsort(both[0])], self.epsilon)

    def finalize_state(self) -> None:
        """Make the boundaries."""
        if self.num_bins is not None:
            if not self._summary.shape[1]:
                raise ValueError(f"{self.name}: adapt: there are no data")
            vars(self)["bin_boundaries"] = _compressed(self._summary, 1.0 / self.num_bins)[0, :-1].tolist()

    def encoding(self, x: Array, **call: Any) -> Array:
        if self.bin_boundaries is None:
            raise RuntimeError(f"{self.name}: give `bin_boundaries`, or call adapt(data) first")
        bins = np.digitize(x, np.asarray(self.bin_boundaries, self.dtype))
        if self.output_mode == "int":
            return bins.astype(np.int64)
        return encode(bins, self.output_mode, len(self.bin_boundaries) + 1, self.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        bins = self.num_bins if self.bin_boundaries is None else len(self.bin_boundaries) + 1
        return encoded_shape(input_shape, self.output_mode, bins)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "bin_boundaries": self.bin_boundaries,
            "num_bins": self.num_bins,
            "epsilon": self.epsilon,
            "output_mode": self.output_mode,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The layer of a configuration; what was adapted has both, the bins and their boundaries."""
        if config.get("num_bins") is None or config.get("bin_boundaries") is None:
            return cls(**config)
        layer = cls(**{**config, "bin_boundaries": None})
        vars(layer)["bin_boundaries"] = cls(**{**config, "num_bins": None}).bin_boundaries
        return layer


def _compressed(summary: Array, epsilon: float) -> Array:
    """Numbers (first row) that stand for so many each (second row), as 1 / epsilon of them."""
    if summary.shape[1] * epsilon < 1:
        return summary
    shares = epsilon + np.arange(0.0, 1.0, epsilon)
    sums = summary[1].cumsum()
    known = sums / sums[-1]
    numbers, counts = np.interp(shares, known, summary[0]), np.interp(shares, known, sums)
    return np.stack([numbers, np.diff(counts, prepend=0)]).astype(np.float32)


class Hashing(Encoder):
    """Words or integers in buckets by their hash, which needs no vocabulary.

    Parameters
    ----------
    num_bins : int
        Buckets, that of ``mask_value`` included.
    mask_value : str or int, optional
        Falls into bucket 0, and nothing else does.
    salt : int or pair of int, optional
        For other buckets, by SipHash; without it by FarmHash, as in Keras.
    output_mode : {"int", "one_hot", "multi_hot", "count"}

    Examples
    --------
    >>> import rnnx
    >>> rnnx.layers.Hashing(10)(["a", "bb"]).tolist()
    [9, 2]
    """

    def __init__(
        self,
        num_bins: int,
        mask_value: Any = None,
        salt: Any = None,
        output_mode: str = "int",
        sparse: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if isinstance(num_bins, bool) or not isinstance(num_bins, (int, np.integer)) or num_bins < 1:
            raise ValueError(f"Hashing: `num_bins` must be a positive integer, got {num_bins!r}")
        self.num_bins, self.mask_value = int(num_bins), mask_value
        self.salt = checked_salt("Hashing", salt)
        self.output_mode = checked_mode("Hashing", output_mode, ("int", *ENCODINGS), sparse)

    @property
    def entry_dtype(self) -> Any:
        return "string"

    def cast(self, x: Any) -> Array:
        array = np.asarray(x)
        if array.dtype.kind in "fb":
            array = array.astype(np.int64)
        return array if array.dtype.kind in "iu" else as_strings(self.name, array)

    def encoding(self, x: Array, **call: Any) -> Array:
        masked = self.mask_value is not None and self.num_bins > 1
        buckets, first = (self.num_bins - 1, 1) if masked else (self.num_bins, 0)
        found: dict[Any, int] = {self.mask_value: 0} if masked else {}
        flat = x.reshape(-1).tolist()
        for value in flat:
            if value not in found:
                found[value] = first + bucket(str(value), buckets, self.salt)
        ids = np.array([found[value] for value in flat], np.int64).reshape(x.shape)
        return ids if self.output_mode == "int" else encode(ids, self.output_mode, self.num_bins, self.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return encoded_shape(input_shape, self.output_mode, self.num_bins)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_bins": self.num_bins,
            "mask_value": self.mask_value,
            "salt": self.salt,
            "output_mode": self.output_mode,
        }
