"""Models that are a chain of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnx._config import what_is
from rnnx.layers import constructor
from rnnx.layers.embedding import Embedding
from rnnx.layers.graph import SymbolicTensor, enter
from rnnx.layers.input import InputLayer
from rnnx.layers.layer import Layer
from rnnx.layers.names import unique_name
from rnnx.layers.preprocessing.categories import Encoder
from rnnx.layers.registry import layer_config, layer_from_config
from rnnx.models.model import Model


class Sequential(Model):
    """A chain of layers.

    Parameters
    ----------
    layers : list of Layer, optional
    name : str, optional

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> model = rnnx.Sequential()
    >>> model.add(rnnx.layers.GRU(units=8, return_sequences=True, dropout=0.5, input_shape=(None, 3)))
    >>> model.add(rnnx.layers.Dropout(0.5))
    >>> model(np.zeros((2, 5, 3))).shape
    (2, 5, 8)
    """

    _is_chain = True  # whether each layer is called on the output of the one before

    def __init__(
        self, layers: Sequence[Any] | None = None, name: str | None = None, trainable: bool = True, **kwargs: Any
    ):
        if isinstance(layers, Layer) or isinstance(name, Layer):
            raise TypeError(
                f"{type(self).__name__}: `layers` must be one list, Sequential([a, b]), got layers beside it"
            )
        super().__init__(name=name, trainable=trainable, **kwargs)
        self._entry: SymbolicTensor | None = None
        self._chain: list[Layer] = []
        if self.overrides_call:
            self.graph_model = Sequential(name=self.name)
            self._chain = self.graph_model._chain  # the same list: a layer that is added counts in `call`
        else:
            self.several_inputs = self.several_outputs = False
        if layers:
            self._add_all(layers)

    @property
    def inner_layers(self) -> list[Layer]:
        return self._chain if hasattr(self, "_chain") else []

    def add(self, layer: Any) -> None:
        """Append a layer.

        Raises
        ------
        TypeError
            If it is not a layer.
        ValueError
            If its name is taken, or its input does not fit the layers before.
        """
        self._add_all([layer])

    def _add_all(self, layers: Sequence[Any]) -> None:
        """Append layers, in a time that grows with their number only."""
        chain = self.graph_model or self
        names = {layer.name for layer in self._chain}
        for layer in layers:
            chain._add(layer, names)

    def _add(self, layer: Any, names: set[str]) -> None:
        """Append a layer whose name is none of these; it is added to them."""
        if isinstance(layer, SymbolicTensor) and isinstance(layer.node.layer, InputLayer):
            layer = layer.node.layer
        if not isinstance(layer, Layer):
            raise TypeError(f"{self.name}: a layer is needed, got {what_is(layer)}")
        if isinstance(layer, InputLayer):
            if self._chain or self._entry is not None:
                raise ValueError(f"{self.name}: an input must come first, and there is one input only")
            self._entry = enter(layer)
            return
        if layer.name in names:
            raise ValueError(f"{self.name}: there is a layer named {layer.name!r} already; give it another name")
        entry = self._entry
        if entry is None and not self._chain:
            shape = layer.given_input_shape
            if shape is None and isinstance(layer, Model) and layer.built:
                shape = layer.input_shape[1:]
            if shape is not None:
                name, dtype = unique_name("InputLayer"), _entry_dtype(layer)
                entry = enter(InputLayer(shape, layer.given_batch_size, dtype, name=name))
        start = self.outputs[0] if self.built else entry
        end = self._extend(entry, [layer]) if entry is not None else None
        self._entry = entry
        if end is not None and (end.node.layer is not layer or end.node.inputs[0] is not start):
            self._take_graph(entry, end, names)
            return
        self._chain.append(layer)
        names.add(layer.name)
        if self.built and end is not None:
            self.outputs = [end]  # the rest of the graph is as it was
            self.plan.append(end.node)
        elif end is not None:
            self.set_graph(entry, end)

    def _take_graph(self, entry: Any, end: SymbolicTensor, names: set[str]) -> None:
        """Append the layers that one with a ``__call__`` of its own has called, up to its output."""
        self.set_graph(entry, end)
        made = [layer for layer in vars(self)["layers"] if layer not in self._chain and layer is not entry.node.layer]
        self._chain.extend(made)
        names.update(layer.name for layer in made)
        self._is_chain = False

    def pop(self) -> Layer:
        """Remove the last layer and return it."""
        if self.graph_model is not None:
            removed: Layer = self.graph_model.pop()
            return removed
        if not self._chain:
            raise ValueError(f"{self.name}: there is no layer to remove")
        self.check_chain("pop")
        layer = self._chain.pop()
        if self.built:
            end = self.outputs[0].node.inputs[0]
            self.built = bool(self._chain)
            if self._chain:
                self.set_graph(self._entry, end)
        layer._node = None
        return layer

    def _extend(self, start: SymbolicTensor, layers: list[Layer]) -> SymbolicTensor:
        """The end of the chain with these layers behind what there is."""
        tensor: Any = self.outputs[0] if self.built else start
        nodes = [layer._node for layer in layers]
        try:
            for layer in layers:
                tensor = layer(tensor)
                if isinstance(tensor, list):
                    raise ValueError(f"{self.name}: {layer.name!r} has several outputs; use Model(inputs, outputs)")
        except BaseException:
            for layer, node in zip(layers, nodes, strict=True):
                layer._node = node
            raise
        end: SymbolicTensor = tensor
        return end

    def build(self, input_shape: Any) -> None:
        """Build for this input shape (with the batch axis)."""
        if not self._chain:
            raise ValueError(f"{self.name}: add a layer first")
        if self.graph_model is not None:
            self.graph_model.build(input_shape)
            return
        batch_size, *shape = input_shape
        entry = enter(InputLayer(shape, batch_size, _entry_dtype(self._chain[0]), name=unique_name("InputLayer")))
        end = self._extend(entry, self._chain)
        self._entry = entry
        if end.node.layer is not self._chain[-1]:
            raise ValueError(f"{self.name}: give an Input first, {self._chain[-1].name!r} calls other layers")
        self.set_graph(entry, end)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the output for inputs of this shape (with the batch axis), also of a chain that is not built."""
        if self.overrides_call:
            return super().compute_output_shape(input_shape)
        for layer in self._chain:
            input_shape = layer.computation.compute_output_shape(input_shape)
        return input_shape

    @property
    def input_axes(self) -> int | None:
        known = super().input_axes
        return 2 if known is None and self._chain and isinstance(self._chain[0], Embedding) else known

    def build_for(self, x: Any) -> None:
        if isinstance(x, (list, tuple)) and not isinstance(x[0], (int, float)):
            x = np.asarray(x)
        shape = np.shape(x)
        first = self._chain[0] if self._chain else None
        if len(shape) > 2 or isinstance(first, Embedding):
            try:  # any number of steps, if the layers allow it
                self.build((None, None, *shape[2:]))
                return
            except ValueError:
                pass
        self.build((None, *shape[1:]))

    @property
    def layers(self) -> list[Layer]:
        """The layers, without the input."""
        return list(self._chain)

    @layers.setter
    def layers(self, value: Any) -> None:
        raise AttributeError(f"{self.name}: `layers` are those of the chain; use add() and pop()")

    def check_chain(self, what: str) -> None:
        """Refuse what needs each layer to be called on the output of the one before."""
        if not self._is_chain:
            raise NotImplementedError(
                f"{self.name}: {what} needs a chain of layers, and one of them calls others in a `__call__` of its "
                "own; give it `call` in its place, use Model(inputs, outputs), or save weights alone with save_weights"
            )

    def get_config(self) -> dict[str, Any]:
        (self.graph_model or self).check_chain("a configuration")
        start = (self.graph_model or self)._entry
        entry = None if start is None else start.node.layer.get_config()
        return {
            "name": self.name,
            "trainable": self.trainable,
            "input": entry,
            "layers": [layer_config(layer) for layer in self._chain],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        if cls.overrides_call and not {"layers", "name"} <= config.keys():
            return constructor.from_config(cls, config)
        if cls is not Sequential and "layers" not in config:  # what a class of one's own gave
            return cls(**config)
        model = cls(name=config["name"], trainable=config.get("trainable", True))
        entry = [] if config.get("input") is None else [InputLayer.from_config(config["input"])]
        model._add_all(entry + [layer_from_config(each) for each in config["layers"]])
        return model


def _entry_dtype(layer: Layer) -> Any:
    """Ids for an Embedding, what a layer of texts or classes reads, else the layer's own dtype."""
    if isinstance(layer, Encoder):
        return layer.entry_dtype
    return np.dtype(np.int64) if isinstance(layer, Embedding) else layer.dtype
