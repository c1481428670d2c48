"""Batch and layer normalization, over any axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from rnnx import initializers
from rnnx._changes import change, seen
from rnnx._typing import Array
from rnnx.layers.axes import axes_of, given_axes, sizes_along
from rnnx.layers.checks import check_mask
from rnnx.layers.layer import Gradients, Pullback, Weight
from rnnx.layers.weight import assignable
from rnnx.layers.weighted import Weighted

# Sums of arrays of all processes that have a part of the batch; set where several of them train one model.
sum_over_parts: ContextVar[Callable[[Array], Array] | None] = ContextVar("sum_over_parts", default=None)
_at_rest: ContextVar[bool] = ContextVar("at_rest", default=False)


@contextmanager
def normalization_at_rest() -> Iterator[None]:
    """Batch normalization uses and keeps its moving averages in what this thread calls inside the block."""
    token = _at_rest.set(True)
    try:
        yield
    finally:
        _at_rest.reset(token)


def is_at_rest() -> bool:
    """Whether calls are inside `normalization_at_rest`."""
    return _at_rest.get()


class Normalization(Weighted):
    """What the normalizations share: scale ``gamma`` and shift ``beta`` along an axis, or several."""

    fixed_when_built = Weighted.fixed_when_built | {"axis", "center", "scale", "groups"}
    chosen = ("beta", "gamma")
    of_one_axis = False

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        who = type(self).__name__
        self.axis = given_axes(who, axis)
        if self.of_one_axis and isinstance(self.axis, list):
            raise ValueError(f"{who}: `axis` must be one axis, that of the features, got {axis!r}")
        if not epsilon > 0:
            raise ValueError(f"{who}: `epsilon` must be positive, got {epsilon}")
        self.epsilon, self.center, self.scale = float(epsilon), bool(center), bool(scale)
        self.choose(locals())
        self._gamma: Weight | None = None
        self._beta: Weight | None = None

    def build(self, input_shape: Any) -> None:
        self._sizes: Any = sizes_along(self, input_shape)
        if self.scale:
            self._gamma = self.add_weight("gamma", self._sizes, chosen="gamma")
        if self.center:
            self._beta = self.add_weight("beta", self._sizes, chosen="beta")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the axes, as the weights have them."""
        return self._sizes if "_sizes" in vars(self) else (self._width,)  # the latter in pickles of older versions

    _width = 0

    def prepare(self, x: Any) -> Any:
        x = super().prepare(x)
        self._check(x.shape)
        return x

    def _check(self, shape: Any) -> None:
        """Refuse an input shape that does not have the sizes of the weights."""
        found = [shape[axis] for axis in axes_of(self, shape)] if len(shape) > 1 else []
        if len(found) != len(self.sizes) or any(
            got not in (None, want) for got, want in zip(found, self.sizes, strict=True)
        ):
            if self.axis == -1:
                wanted = f"(batch, ..., {self.sizes[0]})"
            else:
                wanted = f"of size {', '.join(map(str, self.sizes))} along axis {self.axis}"
            raise ValueError(f"{self.name}: the input must have shape {wanted}, got {tuple(shape)}")

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self.built:
            self._check(input_shape)
        return input_shape

    def along(self, value: Array, ndim: int) -> Array:
        """A weight as it broadcasts to an input of so many axes."""
        axes = axes_of(self, (None,) * ndim)
        if axes == (ndim - 1,):
            return value
        shape = [1] * ndim
        for axis, size in zip(axes, self.sizes, strict=True):
            shape[axis] = size
        return value.reshape(shape)

    @property
    def gamma(self) -> Any:
        return None if self._gamma is None else assignable(self._gamma)

    @property
    def beta(self) -> Any:
        return None if self._beta is None else assignable(self._beta)

    def affine(self, normal: Array) -> Array:
        """``normal * gamma + beta``."""
        y = normal if self._gamma is None else normal * self.along(self._gamma.array, normal.ndim)
        return y if self._beta is None else y + self.along(self._beta.array, normal.ndim)

    def affine_back(self, normal: Array, dy: Array) -> tuple[Array, list[Array | None]]:
        """Gradient of ``normal``, and those of gamma and beta."""
        own = axes_of(self, dy.shape)
        axes = tuple(axis for axis in range(dy.ndim) if axis not in own)
        dweights: list[Array | None] = []
        if self._gamma is not None:
            dweights.append((dy * normal).sum(axis=axes).reshape(self.sizes) if self.trainable else None)
        if self._beta is not None:
            dweights.append(dy.sum(axis=axes).reshape(self.sizes) if self.trainable else None)
        return dy if self._gamma is None else dy * self.along(self._gamma.array, dy.ndim), dweights

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "axis": self.axis, "epsilon": self.epsilon}
        config.update(center=self.center, scale=self.scale)
        return config


class LayerNormalization(Normalization):
    """Every vector along an axis, or along several together, to mean 0 and variance 1, then scale and shift.

    Parameters
    ----------
    axis : int or tuple of int
    epsilon : float
        Added to the variance.
    center, scale : bool
        Whether there are weights ``beta`` and ``gamma``, with a number for each place along the axes.
    beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint
        As in Keras 3.

    References
    ----------
    .. [1] J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer normalization", arXiv 1607.06450, 2016.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.LayerNormalization()(np.array([[1.0, 3.0]])).round(2).tolist()
    [[-1.0, 1.0]]
    """

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        axes = axes_of(self, x.shape)
        centred = x - x.mean(axis=axes, keepdims=True)
        inverse = 1 / np.sqrt(np.square(centred).mean(axis=axes, keepdims=True) + np.asarray(self.epsilon, x.dtype))
        normal = centred * inverse

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            dnormal, dweights = self.affine_back(normal, self.cast(dy))
            if not need_dx:
                return Gradients(None, dweights)
            mean = dnormal.mean(axis=axes, keepdims=True)
            along = (dnormal * normal).mean(axis=axes, keepdims=True)
            return Gradients(inverse * (dnormal - mean - normal * along), dweights)

        return self.affine(normal), pullback if keep else None


class BatchNormalization(Normalization):
    """Every feature to mean 0 and variance 1 over the batch (in training) or by moving averages (otherwise).

    Masked steps do not count in the averages. With ``trainable=False`` it always uses the moving averages.

    Parameters
    ----------
    axis : int
        That of the features.
    momentum : float
        Of the moving averages.
    epsilon : float
        Added to the variance.
    center, scale : bool
        Whether there are weights ``beta`` and ``gamma``.

    References
    ----------
    .. [1] S. Ioffe, C. Szegedy, "Batch normalization", ICML 2015.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.BatchNormalization()(np.array([[1.0], [3.0]]), training=True).round(2).tolist()
    [[-1.0], [1.0]]
    """

    of_one_axis = True
    not_attributes = frozenset({"renorm", "synchronized"})
    positional_arguments = ("training", "mask")

    def __init__(
        self,
        axis: Any = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        synchronized: bool = False,
        **kwargs: Any,
    ):
        if renorm:
            raise ValueError("BatchNormalization: `renorm` is not supported")
        super().__init__(
            axis, epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer,
            beta_constraint, gamma_constraint, **kwargs,
        )  # fmt: skip
        if not 0 <= momentum <= 1:
            raise ValueError(f"BatchNormalization: `momentum` must lie in [0, 1], got {momentum}")
        self.momentum = float(momentum)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        width = self.sizes
        self._mean = self.add_weight("moving_mean", width, self.moving_mean_initializer, trainable=False)
        self._variance = self.add_weight("moving_variance", width, self.moving_variance_initializer, trainable=False)

    @property
    def moving_mean(self) -> Any:
        return assignable(self._mean)

    @property
    def moving_variance(self) -> Any:
        return assignable(self._variance)

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        (own,) = axes_of(self, x.shape)
        axes = tuple(axis for axis in range(x.ndim) if axis != own)
        by_batch = training and self.trainable and not _at_rest.get()
        share: Any = None
        summed = sum_over_parts.get() if by_batch else None
        if by_batch:
            share, counts, mean, variance = _moments(self.name, x, mask, axes, summed)
            if counts:  # nothing is learned from a batch without a valid step
                for weight, value in ((self._mean, mean), (self._variance, variance)):
                    average = seen(weight, weight.array) * self.momentum + value * (1 - self.momentum)
                    change(weight, average, weight.assign)
        else:
            mean, variance = self._mean.array, self._variance.array
        mean, variance = self.along(mean, x.ndim), self.along(variance, x.ndim)
        inverse = 1 / np.sqrt(variance + np.asarray(self.epsilon, x.dtype))
        normal = (x - mean) * inverse

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            dnormal, dweights = self.affine_back(normal, self.cast(dy))
            dweights += [None, None]
            if not need_dx:
                return Gradients(None, dweights)
            if not by_batch:
                return Gradients(dnormal * inverse, dweights)
            total, along = dnormal.sum(axis=axes), (dnormal * normal).sum(axis=axes)
            if summed is not None:
                total, along = summed(np.stack([total, along])).astype(x.dtype)
            total, along = self.along(total, x.ndim), self.along(along, x.ndim)
            return Gradients(inverse * (dnormal - share * (total + normal * along)), dweights)

        return self.affine(normal), pullback if keep else None

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "moving_mean_initializer": initializers.serialize(self.moving_mean_initializer),
            "moving_variance_initializer": initializers.serialize(self.moving_variance_initializer),
        }


def _moments(
    who: str, x: Array, mask: Any, axes: tuple[int, ...], summed: Callable[[Array], Array] | None
) -> tuple[Array, bool, Array, Array]:
    """Each element's share in the mean, whether there is one, the mean and the variance, over the steps that count.

    Of a part of a batch they are those of the whole, whose sums come from ``summed``.
    """
    counted = np.ones(x.shape[:-1], bool)
    if mask is not None:
        valid = np.asarray(mask)
        fits = valid.dtype == bool and valid.ndim == counted.ndim
        if not fits or any(n not in (1, counted.shape[k]) for k, n in enumerate(valid.shape)):
            valid = check_mask(who, valid, x.shape)
        counted &= valid.reshape(valid.shape + (1,) * (counted.ndim - valid.ndim))
    if axes == tuple(range(x.ndim - 1)):
        number: Any = counted.sum()
    else:
        number = np.broadcast_to(counted[..., None], x.shape).sum(axis=axes, keepdims=True)
    if summed is not None:
        number = summed(number)
    share = (counted[..., None] / np.maximum(1, number)).astype(x.dtype)
    mean = (np.where(share > 0, x, 0) * share).sum(axis=axes, keepdims=True)
    if summed is not None:
        mean = summed(mean)
    variance = (np.where(share > 0, np.square(x - mean), 0) * share).sum(axis=axes)
    if summed is not None:
        variance = summed(variance)
    return share, bool(np.any(number)), mean.astype(x.dtype).reshape(variance.shape), variance.astype(x.dtype)
