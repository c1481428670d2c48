"""Normalization of groups of features, and scaling by the length of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.functional._norms import unit_norm, unit_norm_backward
from rnnx.layers.axes import axes_of, given_axes, sizes_along
from rnnx.layers.layer import Gradients, Layer, Pullback
from rnnx.layers.normalization import Normalization
from rnnx.layers.weight import Weight


class GroupNormalization(Normalization):
    """Every group of features of a sample, over all its steps, to mean 0 and variance 1, then scale and shift.

    Parameters
    ----------
    groups : int
        How many; -1 makes every feature a group of its own.
    axis : int
        That of the features.
    epsilon : float
        Added to the variance.
    center, scale : bool
        Whether there are weights ``beta`` and ``gamma``, with a number for each feature.
    beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint
        As in Keras 3.

    Raises
    ------
    ValueError
        If ``groups`` is neither positive nor -1, or does not divide the features.

    References
    ----------
    .. [1] Y. Wu, K. He, "Group normalization", ECCV 2018.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> y = rnnx.layers.GroupNormalization(2)(np.arange(24.0).reshape(1, 6, 4))
    >>> bool(abs(y[..., :2].mean()) < 1e-6)
    True
    """

    of_one_axis = True

    def __init__(
        self,
        groups: int = 32,
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
        super().__init__(
            axis, epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer,
            beta_constraint, gamma_constraint, **kwargs,
        )  # fmt: skip
        if isinstance(groups, bool) or not isinstance(groups, (int, np.integer)) or (groups < 1 and groups != -1):
            raise ValueError(f"GroupNormalization: `groups` must be a positive integer or -1, got {groups!r}")
        self.groups = int(groups)

    def build(self, input_shape: Any) -> None:
        width = input_shape[axes_of(self, input_shape)[0]]
        if width is not None and width % max(self.groups, 1):
            raise ValueError(f"{self.name}: `groups` must divide the {width} features, got {self.groups}")
        super().build(input_shape)

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        (axis,) = axes_of(self, x.shape)
        count = self.sizes[0] if self.groups == -1 else self.groups
        apart = (*x.shape[:axis], count, self.sizes[0] // count, *x.shape[axis + 1 :])
        axes = tuple(a for a in range(1, x.ndim + 1) if a != axis)
        grouped = x.reshape(apart)
        centred = grouped - grouped.mean(axis=axes, keepdims=True)
        inverse = 1 / np.sqrt(np.square(centred).mean(axis=axes, keepdims=True) + np.asarray(self.epsilon, x.dtype))
        scaled = centred * inverse
        normal = scaled.reshape(x.shape)

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            dnormal, dweights = self.affine_back(normal, self.cast(dy))
            if not need_dx:
                return Gradients(None, dweights)
            d = dnormal.reshape(apart)
            mean, along = d.mean(axis=axes, keepdims=True), (d * scaled).mean(axis=axes, keepdims=True)
            return Gradients((inverse * (d - mean - scaled * along)).reshape(x.shape), dweights)

        return self.affine(normal), pullback if keep else None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "groups": self.groups}


class RMSNormalization(Layer):
    """Every vector along an axis, or along several together, divided by the root of its mean square, then scaled.

    Parameters
    ----------
    axis : int or tuple of int
    epsilon : float
        Added to the mean square.

    References
    ----------
    .. [1] B. Zhang, R. Sennrich, "Root mean square layer normalization", NeurIPS 2019.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.RMSNormalization()(np.array([[3.0, -3.0]])).round(4)
    array([[ 1., -1.]], dtype=float32)
    """

    fixed_when_built = Layer.fixed_when_built | {"axis"}
    supports_masking = False

    def __init__(self, axis: Any = -1, epsilon: float = 1e-6, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = given_axes("RMSNormalization", axis)
        if not epsilon > 0:
            raise ValueError(f"RMSNormalization: `epsilon` must be positive, got {epsilon}")
        self.epsilon = float(epsilon)
        self._scale: Weight | None = None

    @property
    def scale(self) -> Array | None:
        return None if self._scale is None else self._scale.value

    def build(self, input_shape: Any) -> None:
        self._scale = self.add_weight("scale", sizes_along(self, input_shape), "ones")

    def compute_output_shape(self, input_shape: Any) -> Any:
        self._sizes(input_shape)
        return input_shape

    def _sizes(self, shape: Any) -> list[int]:
        """The shape in which the weight broadcasts to an input."""
        spread = [1] * len(shape)
        axes = axes_of(self, shape)
        wanted = self._weights[0].shape if self._weights else tuple(shape[axis] for axis in axes)
        for axis, size in zip(axes, wanted, strict=True):
            if shape[axis] not in (None, size):
                raise ValueError(
                    f"{self.name}: the input must be of size {', '.join(map(str, wanted))} along axis {self.axis}, "
                    f"got {tuple(shape)}"
                )
            spread[axis] = size
        return spread

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        own = self._weights[0].array
        axes, scale = axes_of(self, x.shape), own.reshape(self._sizes(x.shape))
        inverse = 1 / np.sqrt(np.square(x).mean(axis=axes, keepdims=True) + np.asarray(self.epsilon, x.dtype))
        normal = x * inverse

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            dy = self.cast(dy)
            rest = tuple(axis for axis in range(x.ndim) if axis not in axes)
            dscale = (dy * normal).sum(axis=rest).reshape(own.shape) if self.trainable else None
            if not need_dx:
                return Gradients(None, [dscale])
            d = dy * scale
            return Gradients(inverse * (d - normal * (d * normal).mean(axis=axes, keepdims=True)), [dscale])

        return normal * scale, pullback if keep else None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis, "epsilon": self.epsilon}


class UnitNormalization(Layer):
    """Every vector along an axis, or along several together, divided by its length.

    Parameters
    ----------
    axis : int or tuple of int

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.UnitNormalization()(np.array([[3.0, 4.0]]))
    array([[0.6, 0.8]], dtype=float32)
    """

    def __init__(self, axis: Any = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = given_axes("UnitNormalization", axis)
        self.built = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        axes_of(self, input_shape)
        return input_shape

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        axes = axes_of(self, x.shape)
        y = unit_norm(x, axes)

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            return Gradients(unit_norm_backward(x, y, self.cast(dy), axes) if need_dx else None)

        return y, pullback if keep else None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}
