"""A layer around another one whose kernel keeps a largest singular value of 1."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._changes import change, seen
from rnnx._config import what_is
from rnnx._typing import Array
from rnnx.functional._products import product
from rnnx.layers.layer import Gradients, Layer, Pullback, Weight, weight_value
from rnnx.layers.normalization import is_at_rest
from rnnx.layers.weight import replace_all
from rnnx.layers.wrapper import Wrapper

EPSILON = 1e-7  # the least norm that a vector is divided by
NAMES = ("kernel", "embeddings")


class SpectralNormalization(Wrapper):
    """A layer whose kernel is divided by an estimate of its largest singular value, in every step of training.

    Parameters
    ----------
    layer : Layer
        With a ``kernel``, as `Dense` and convolutions have, or ``embeddings``.
    power_iterations : int
        Of the estimate, which goes on from that of the call before.
    **kwargs
        ``name``, ``trainable``, ``input_shape``. The dtype is that of the layer.

    Raises
    ------
    ValueError
        If the layer has no such weight, or the number is not positive.

    Notes
    -----
    A call with ``training=True`` replaces the kernel of the layer by the divided one, and takes the gradient there, as
    Keras does: nothing passes through the estimate. Other calls, and all of one that is not trainable, are those of the
    layer inside.

    References
    ----------
    .. [1] T. Miyato et al., "Spectral normalization for generative adversarial networks", ICLR 2018.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> dense = rnnx.layers.Dense(2, use_bias=False, kernel_initializer="ones")
    >>> layer = rnnx.layers.SpectralNormalization(dense, power_iterations=3)
    >>> layer(np.ones((1, 2)), training=True).round(3)  # the singular values of ones of shape (2, 2) are 2 and 0
    array([[1., 1.]], dtype=float32)
    """

    positional_arguments = ("training",)

    fixed_when_built = Wrapper.fixed_when_built | {"layer"}
    not_attributes = frozenset({"dtype"})

    def __init__(self, layer: Any, power_iterations: int = 1, **kwargs: Any):
        if not isinstance(layer, Layer):
            raise ValueError(f"SpectralNormalization: `layer` must be a layer, got {what_is(layer)}")
        if isinstance(power_iterations, bool) or not isinstance(power_iterations, (int, np.integer)):
            raise ValueError(f"SpectralNormalization: `power_iterations` must be an integer, got {power_iterations!r}")
        if power_iterations < 1:
            raise ValueError(
                f"SpectralNormalization: `power_iterations` should be greater than zero, got {power_iterations}"
            )
        super().__init__(layer, **{**kwargs, "dtype": layer.dtype})
        self.power_iterations = int(power_iterations)
        self.makes_mask = bool(layer.makes_mask)

    @property
    def inner_layers(self) -> list[Layer]:
        return [self.layer]

    def build(self, input_shape: Any = None) -> None:
        super().build(input_shape)
        self.add_weight(
            "vector_u", (1, self._divided().shape[-1]), {"class_name": "TruncatedNormal", "config": {"stddev": 0.02}},
            trainable=False,
        )  # fmt: skip

    vector_u = weight_value(0)

    # The divided weight is one of this layer too, and comes first, as in Keras and its files.

    @property
    def own_weights(self) -> list[Weight]:
        return [self._divided(), *self._weights] if self._weights else []

    @property
    def weights(self) -> list[Weight]:
        own = self.own_weights
        return own + [weight for weight in self.layer.weights if weight not in own[:1]]

    def weight_is_trained(self) -> list[bool]:
        inside = self.layer.weight_is_trained()
        return self._in_order([flag and self.trainable for flag in inside], False)

    def _in_order(self, of_layer: list[Any], of_vector: Any) -> list[Any]:
        """What there is for each weight of the layer inside, and for the estimate, in the order of `weights`."""
        if not self._weights:
            return of_layer
        place = self.layer.weights.index(self._divided())
        return [of_layer[place], of_vector, *of_layer[:place], *of_layer[place + 1 :]]

    def _divided(self) -> Weight:
        """The weight that is divided."""
        own = {weight.name: weight for weight in self.layer.own_weights}
        found = next((own[name] for name in NAMES if name in own), None)
        if found is None or "recurrent_kernel" in own:
            raise ValueError(
                f"{self.name}: layer {self.layer.name!r} ({type(self.layer).__name__}) is not one kernel: it must have "
                f"a weight 'kernel' or 'embeddings' and no other matrix, got {sorted(own) or 'no weights'}"
            )
        return found

    def _divide(self) -> None:
        """Replace the kernel and the estimate of its singular vector; a call that fails puts back what was there."""
        weights = [self._divided(), self._weights[0]]
        kernel, vector = (weight.array for weight in weights)
        if not kernel.any():
            return
        matrix = kernel.reshape(-1, kernel.shape[-1])
        for _ in range(self.power_iterations):
            left = _unit(product(vector, matrix.T))
            vector = _unit(product(left, matrix))
        size = product(product(left, matrix), vector.T).item()
        before = seen(self, [weight.array for weight in weights])
        change(self, before, lambda _: None, lambda: replace_all(weights, before))
        replace_all(weights, [kernel / np.asarray(size, kernel.dtype), vector])

    def cast(self, x: Any) -> Array:
        array: Array = self.layer.computation.cast(x)
        return array

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        y, _, pullback = self.forward_masked(x, mask=mask, training=training, keep=keep)
        return y, pullback

    def forward_masked(
        self, x: Any, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Any, Any, Any]:
        if training and self.trainable and not is_at_rest():
            self._divide()
        inner = self.layer.computation
        y, after, back = inner.forward_masked(inner.prepare(x), mask=mask, training=training, keep=keep)

        def pullback(dy: Any, *, need_dx: bool = True) -> Gradients:
            grads = back(dy, need_dx=need_dx)
            own = grads.dweights if self.trainable else [None] * len(grads.dweights)
            return Gradients(grads.dx, self._in_order(own, None))

        return y, after, pullback if keep else None

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        return self.layer.compute_mask(x, mask)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.layer.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "power_iterations": self.power_iterations}


def _unit(x: Array) -> Array:
    """A vector of length 1 in the same direction."""
    return x / np.asarray(max(float(np.sqrt(np.sum(x * x))), EPSILON), x.dtype)
