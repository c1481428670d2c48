"""The base of layers of one's own around another layer."""

from __future__ import annotations

from typing import Any

from rnnx.layers.layer import Layer
from rnnx.layers.registry import layer_config, layer_from_config


class Wrapper(Layer):
    """A layer around another one, which a class of one's own calls in its ``call``.

    Parameters
    ----------
    layer : Layer
        It is built with the shape of the input, unless it is built already or the class has ``build`` of its own.

    Raises
    ------
    ValueError
        If it is no layer.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> class Residual(rnnx.layers.Wrapper):
    ...     def call(self, inputs):
    ...         return inputs + self.layer(inputs)
    >>> residual = Residual(rnnx.layers.GRU(3, return_sequences=True))
    >>> residual(np.ones((2, 5, 3))).shape, len(residual.weights)
    ((2, 5, 3), 3)
    """

    def __init__(self, layer: Any, **kwargs: Any):
        if not isinstance(layer, Layer):
            raise ValueError(f"{type(self).__name__}: `layer` must be a layer, got {type(layer).__name__}")
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape: Any = None) -> None:
        """Build the layer inside."""
        if not self.layer.built:
            self.layer.build(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layer": layer_config(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The layer of a configuration, with the one inside."""
        inside = config["layer"]
        return cls(**{**config, "layer": inside if isinstance(inside, Layer) else layer_from_config(inside)})
