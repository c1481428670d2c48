"""A step in the graph of ``call``: what the class computes that the layer's own class is derived from."""

from __future__ import annotations

from typing import Any

from rnnx.layers.weight import Weight


class BaseCall:
    """``super().call(x)`` in a graph.

    Everything but ``call`` is inherited, so a layer computes with its own methods what the class below it does; only
    the weights are fewer.

    Parameters
    ----------
    layer : Layer
        Of a class with ``call`` of its own.
    """

    overrides_call = False
    knows_trained = takes_lookups = False
    activity_regularizer = None  # is that of the layer, whose output is penalised as a whole
    _node: Any = None

    def __init__(self, layer: Any):
        self.layer, self.name, self.dtype = layer, layer.name, layer.dtype

    @property
    def computation(self) -> BaseCall:
        return self

    def prepare(self, x: Any) -> Any:
        return self.layer.prepare(x)

    def cast(self, x: Any) -> Any:
        return self.layer.cast(x)

    def forward(self, x: Any, **call: Any) -> tuple[Any, Any]:
        y, pullback = self.layer.forward(x, **call)
        return y, pullback

    def forward_masked(self, x: Any, **call: Any) -> tuple[Any, Any, Any]:
        y, mask, pullback = self.layer.forward_masked(x, **call)
        return y, mask, pullback

    def leaves_traces(self) -> bool:
        return bool(self.layer.leaves_traces())

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.layer.compute_output_shape(input_shape)

    def call_output_shapes(self, input_shape: Any, call: dict[str, Any]) -> Any:
        return self.layer.call_output_shapes(input_shape, call)

    @property
    def weights(self) -> list[Weight]:
        """Those of the class below, in the order of its gradients."""
        layer = self.layer
        return [*layer._weights, *[weight for inner in layer.inner_layers for weight in inner.weights]]

    def weight_is_trained(self) -> list[bool]:
        """For each of them, whether training changes it."""
        layer, trainable = self.layer, self.layer.trainable
        inside = [flag for inner in layer.inner_layers for flag in inner.weight_is_trained()]
        return [trainable and flag for flag in [*[weight.trainable for weight in layer._weights], *inside]]
