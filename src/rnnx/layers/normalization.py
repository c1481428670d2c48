"""Batch and layer normalization."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from rnnx import initializers
from rnnx._changes import change, seen
from rnnx._typing import Array
from rnnx.layers.checks import check_mask
from rnnx.layers.layer import Gradients, Pullback, Weight
from rnnx.layers.weighted import Weighted

_at_rest: ContextVar[bool] = ContextVar("at_rest", default=False)


@contextmanager
def normalization_at_rest() -> Iterator[None]:
    """Batch normalization uses and keeps its moving averages in what this thread calls inside the block."""
    token = _at_rest.set(True)
    try:
        yield
    finally:
        _at_rest.reset(token)


class Normalization(Weighted):
    """What both normalizations share: scale ``gamma`` and shift ``beta`` of the last axis."""

    chosen = ("beta", "gamma")

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
        self.axis = axis[0] if isinstance(axis, (list, tuple)) and len(axis) == 1 else axis
        if isinstance(self.axis, bool) or not isinstance(self.axis, (int, np.integer)):
            raise ValueError(f"{type(self).__name__}: `axis` must be one integer (the last axis), got {axis!r}")
        self.axis = int(self.axis)
        if not epsilon > 0:
            raise ValueError(f"{type(self).__name__}: `epsilon` must be positive, got {epsilon}")
        self.epsilon, self.center, self.scale = float(epsilon), bool(center), bool(scale)
        self.choose(locals())
        self._gamma: Weight | None = None
        self._beta: Weight | None = None

    def build(self, input_shape: Any) -> None:
        width = input_shape[-1]
        if self.axis not in (-1, len(input_shape) - 1) or width is None:
            raise ValueError(f"{self.name}: `axis` must be the last axis and its size known, got {tuple(input_shape)}")
        self._width = int(width)
        if self.scale:
            self._gamma = self.add_weight("gamma", (width,), chosen="gamma")
        if self.center:
            self._beta = self.add_weight("beta", (width,), chosen="beta")

    def prepare(self, x: Any) -> Any:
        x = super().prepare(x)
        if x.ndim < 2 or x.shape[-1] != self._width:
            raise ValueError(f"{self.name}: the input must have shape (batch, ..., {self._width}), got {x.shape}")
        return x

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self.built and input_shape[-1] not in (None, self._width):
            shape = tuple(input_shape)
            raise ValueError(f"{self.name}: the input must have shape (batch, ..., {self._width}), got {shape}")
        return input_shape

    @property
    def gamma(self) -> Array | None:
        return None if self._gamma is None else self._gamma.value

    @property
    def beta(self) -> Array | None:
        return None if self._beta is None else self._beta.value

    def affine(self, normal: Array) -> Array:
        """``normal * gamma + beta``."""
        y = normal if self._gamma is None else normal * self._gamma.value
        return y if self._beta is None else y + self._beta.value

    def affine_back(self, normal: Array, dy: Array) -> tuple[Array, list[Array | None]]:
        """Gradient of ``normal``, and those of gamma and beta."""
        axes = tuple(range(dy.ndim - 1))
        dweights: list[Array | None] = []
        if self._gamma is not None:
            dweights.append((dy * normal).sum(axis=axes) if self.trainable else None)
        if self._beta is not None:
            dweights.append(dy.sum(axis=axes) if self.trainable else None)
        return dy if self._gamma is None else dy * self._gamma.value, dweights

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "axis": self.axis, "epsilon": self.epsilon}
        config.update(center=self.center, scale=self.scale)
        return config


class LayerNormalization(Normalization):
    """Every vector along the last axis to mean 0 and variance 1, then scale and shift.

    References
    ----------
    .. [1] J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer normalization", arXiv 1607.06450, 2016.
    """

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        centred = x - x.mean(axis=-1, keepdims=True)
        inverse = 1 / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + np.asarray(self.epsilon, x.dtype))
        normal = centred * inverse

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            dnormal, dweights = self.affine_back(normal, self.cast(dy))
            if not need_dx:
                return Gradients(None, dweights)
            mean = dnormal.mean(axis=-1, keepdims=True)
            along = (dnormal * normal).mean(axis=-1, keepdims=True)
            return Gradients(inverse * (dnormal - mean - normal * along), dweights)

        return self.affine(normal), pullback if keep else None


class BatchNormalization(Normalization):
    """Every feature to mean 0 and variance 1 over the batch (in training) or by moving averages (otherwise).

    Masked steps do not count in the averages. With ``trainable=False`` it always uses the moving averages.

    Parameters
    ----------
    momentum : float
        Of the moving averages.

    References
    ----------
    .. [1] S. Ioffe, C. Szegedy, "Batch normalization", ICML 2015.
    """

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
        width = (input_shape[-1],)
        self._mean = self.add_weight("moving_mean", width, self.moving_mean_initializer, trainable=False)
        self._variance = self.add_weight("moving_variance", width, self.moving_variance_initializer, trainable=False)

    @property
    def moving_mean(self) -> Array:
        return self._mean.value

    @property
    def moving_variance(self) -> Array:
        return self._variance.value

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        axes = tuple(range(x.ndim - 1))
        by_batch = training and self.trainable and not _at_rest.get()
        share: Any = None
        if by_batch:
            share, mean, variance = _moments(self.name, x, mask, axes)
            if share.any():  # nothing is learned from a batch without a valid step
                for weight, value in ((self._mean, mean), (self._variance, variance)):
                    average = seen(weight, weight.value) * self.momentum + value * (1 - self.momentum)
                    change(weight, average, weight.assign)
        else:
            mean, variance = self._mean.value, self._variance.value
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
            return Gradients(inverse * (dnormal - share * (total + normal * along)), dweights)

        return self.affine(normal), pullback if keep else None

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "moving_mean_initializer": initializers.serialize(self.moving_mean_initializer),
            "moving_variance_initializer": initializers.serialize(self.moving_variance_initializer),
        }


def _moments(who: str, x: Array, mask: Any, axes: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """Each element's share in the mean, the mean and the variance, over the steps that count."""
    counted = np.ones(x.shape[:-1], bool)
    if mask is not None:
        valid = np.asarray(mask)
        fits = valid.dtype == bool and valid.ndim == counted.ndim
        if not fits or any(n not in (1, counted.shape[k]) for k, n in enumerate(valid.shape)):
            valid = check_mask(who, valid, x.shape)
        counted &= valid.reshape(valid.shape + (1,) * (counted.ndim - valid.ndim))
    number = max(1, int(counted.sum()))
    share = (counted[..., None] / number).astype(x.dtype)
    mean = (np.where(share > 0, x, 0) * share).sum(axis=axes)
    variance = (np.where(share > 0, np.square(x - mean), 0) * share).sum(axis=axes)
    return share, mean.astype(x.dtype), variance.astype(x.dtype)
