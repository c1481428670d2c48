"""Layers that shift and stretch their input."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.layers.layer import Gradients, Layer, Pullback

EPSILON = 1e-7  # the least deviation that is divided by


class Scaling(Layer):
    """A layer that multiplies by a factor and adds an offset; neither is trained."""

    def factor_and_offset(self) -> tuple[Any, Any]:
        """Both, of the layer's dtype."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it scales")

    def scaled(self, x: Array) -> Array:
        """The output."""
        factor, offset = self.factor_and_offset()
        return x * factor + offset

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        y = self.scaled(x)
        if y.shape != x.shape:
            raise ValueError(f"{self.name}: an input of shape {x.shape} would get the shape {y.shape}")

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            dx = self.cast(dy) * self.factor_and_offset()[0] if need_dx else None
            return Gradients(dx, [None] * len(self._weights))

        return y, pullback if keep else None


class Rescaling(Scaling):
    """``x * scale + offset``.

    Parameters
    ----------
    scale, offset : float or array
        Arrays must fit the last axes of the input.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Rescaling(1 / 4, offset=-1)(np.array([[0.0, 4.0, 8.0]])).tolist()
    [[-1.0, 0.0, 1.0]]
    """

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale, self.offset = _numbers("Rescaling", "scale", scale), _numbers("Rescaling", "offset", offset)
        self.built = True

    def factor_and_offset(self) -> tuple[Any, Any]:
        return np.asarray(self.scale, self.dtype), np.asarray(self.offset, self.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale, "offset": self.offset}


class Normalization(Scaling):
    """``(x - mean) / deviation``, with mean and variance of data that `adapt` saw, or given.

    Parameters
    ----------
    axis : int, tuple of int or None
        Axes with a mean of their own for each place; None has one mean for everything.
    mean, variance : float or array, optional
        Both, instead of `adapt`.
    invert : bool
        ``x * deviation + mean`` instead.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> layer = rnnx.layers.Normalization()
    >>> layer.adapt(np.array([[0.0, 7.0], [2.0, 9.0]]))
    >>> layer(np.array([[0.0, 7.0], [3.0, 8.0]])).tolist()
    [[-1.0, -1.0], [2.0, 0.0]]
    """

    fixed_when_built = Scaling.fixed_when_built | {"axis"}
    not_attributes = frozenset({"mean", "variance"})

    def arguments_now(self) -> dict[str, Any]:
        return {**super().arguments_now(), "mean": self.input_mean, "variance": self.input_variance}

    def __init__(self, axis: Any = -1, mean: Any = None, variance: Any = None, invert: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        axes = () if axis is None else axis if isinstance(axis, (tuple, list)) else (axis,)
        if not all(isinstance(a, (int, np.integer)) and not isinstance(a, bool) for a in axes):
            raise ValueError(f"Normalization: `axis` must be an integer, a tuple of them or None, got {axis!r}")
        self.axis = tuple(int(a) for a in axes)
        if (mean is None) != (variance is None):
            raise ValueError("Normalization: give both `mean` and `variance`, or neither")
        self.input_mean: Any = None
        self.input_variance: Any = None
        if mean is not None:
            self.input_mean, self.input_variance = (
                _numbers("Normalization", name, value) for name, value in (("mean", mean), ("variance", variance))
            )
            shape, other = np.shape(self.input_mean), np.shape(self.input_variance)
            if shape != other:
                raise ValueError(f"Normalization: `mean` and `variance` must have one shape, got {shape} and {other}")
            if len(shape) > len(self.axis):
                raise ValueError(
                    f"Normalization: `mean` may have as many axes as `axis` names, {len(self.axis)}, got {shape}"
                )
        self.invert = bool(invert)

    def build(self, input_shape: Any) -> None:
        shape = tuple(input_shape)
        if any(not -len(shape) <= a < len(shape) for a in self.axis):
            raise ValueError(f"{self.name}: there is no axis {self.axis} in an input of shape {shape}")
        self._kept = tuple(sorted(a % len(shape) for a in self.axis))
        sizes = tuple(shape[a] for a in self._kept)
        if None in sizes:
            raise ValueError(f"{self.name}: the sizes of `axis` {self.axis} must be known, got an input of {shape}")
        self._broadcast = tuple(shape[a] if a in self._kept else 1 for a in range(len(shape)))
        if self.input_mean is None:
            self.add_weight("mean", sizes, "zeros", trainable=False)
            self.add_weight("variance", sizes, "ones", trainable=False)
            self.add_weight("count", (), "zeros", trainable=False)  # of files of Keras; of no matter
            return
        for given in (self.input_mean, self.input_variance):
            self._spread(np.asarray(given))  # raises if it does not fit

    def _spread(self, values: Array) -> Array:
        """Given values over the kept axes, aligned with the last of them."""
        shape = [1] * len(self._broadcast)
        for axis, size in zip(self._kept[::-1], values.shape[::-1], strict=False):
            shape[axis] = size
        try:
            return np.broadcast_to(values.astype(self.dtype).reshape(shape), self._broadcast)
        except ValueError:
            raise ValueError(
                f"{self.name}: a mean of shape {values.shape} does not fit axes {self._kept} of {self._broadcast}"
            ) from None

    @property
    def mean(self) -> Array | None:
        """The mean, with an axis for each of the input; None before the layer is built."""
        return self._statistic(0, self.input_mean)

    @property
    def variance(self) -> Array | None:
        """The variance, likewise."""
        return self._statistic(1, self.input_variance)

    def _statistic(self, index: int, given: Any) -> Array | None:
        if not self.built:
            return None
        if given is not None:
            return self._spread(np.asarray(given))
        return self._weights[index].value.reshape(self._broadcast)

    def _mean_and_deviation(self) -> tuple[Array, Array]:
        mean, variance = self.mean, self.variance
        assert mean is not None and variance is not None
        return mean, np.maximum(np.sqrt(variance), np.asarray(EPSILON, self.dtype))

    def factor_and_offset(self) -> tuple[Any, Any]:
        mean, deviation = self._mean_and_deviation()
        return (deviation, mean) if self.invert else (1 / deviation, -mean / deviation)

    def scaled(self, x: Array) -> Array:
        mean, deviation = self._mean_and_deviation()
        return x * deviation + mean if self.invert else (x - mean) / deviation

    def adapt(self, data: Any, batch_size: int | None = None, steps: int | None = None) -> None:
        """Take mean and variance of some data.

        Parameters
        ----------
        data : array, or iterable of batches
            Of ``(x, y)`` batches the x.
        batch_size : int, optional
            Accepted as in Keras 2.
        steps : int, optional
            Batches to look at.

        Raises
        ------
        ValueError
            If there are no data, or the shapes do not fit.
        """
        if self.input_mean is not None:
            raise ValueError(f"{self.name}: it was given `mean` and `variance`, there is nothing to adapt")
        count, mean, spread = 0, np.zeros(()), np.zeros(())
        for x in _batches(data, steps):
            batch = np.asarray(x, np.float64)
            if not self.built:
                self.build((None, *batch.shape[1:]) if batch.ndim else batch.shape)
            sizes = tuple(self._broadcast[a] for a in self._kept)
            if batch.ndim != len(self._broadcast) or tuple(batch.shape[a] for a in self._kept) != sizes:
                raise ValueError(f"{self.name}: adapt: data of shape {batch.shape} do not fit {self._broadcast}")
            if not batch.size:
                continue
            others = tuple(a for a in range(batch.ndim) if a not in self._kept)
            own = math.prod(batch.shape[a] for a in others)
            shift = batch.mean(axis=others) - mean
            spread = spread + batch.var(axis=others) * own + shift**2 * (count * own / (count + own))
            count += own
            mean = mean + shift * (own / count)
        if not count:
            raise ValueError(f"{self.name}: adapt: there are no data")
        for weight, value in zip(self._weights, (mean, spread / count, np.float64(count)), strict=True):
            weight.assign(value)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": self.axis,
            "mean": self.input_mean,
            "variance": self.input_variance,
            "invert": self.invert,
        }


def _batches(data: Any, steps: int | None) -> Any:
    """The batches of data: an array itself (also in nested lists), or those of an iterable; of ``(x, y)`` the x."""
    if isinstance(data, (list, tuple)) and data:
        inside = data[0][0] if isinstance(data[0], tuple) and data[0] else data[0]
        if not hasattr(inside, "__array__") or np.ndim(inside) == 0:
            data = np.asarray(data)
    if hasattr(data, "__array__"):
        yield data
        return
    for batch in itertools.islice(data, steps):
        yield batch[0] if isinstance(batch, tuple) else batch


def _numbers(who: str, name: str, value: Any) -> Any:
    """A number or nested lists of them, from whatever stands for an array, as files of Keras have it too."""
    if isinstance(value, dict) and isinstance(value.get("config"), dict):
        value = value["config"].get("value")
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{who}: `{name}` must be a number or an array of numbers, got {repr(value)[:100]}")
    return array.tolist()
