"""The weights of a layer: how they are made, in which order they are, and which of them are trained."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import constraints, initializers, regularizers
from rnnx._typing import Array
from rnnx.layers import graph
from rnnx.layers.checks import dtype_of
from rnnx.layers.limits import budget
from rnnx.layers.weight import Weight, assignable, changing

# Arguments of `add_weight` about how Keras stores a weight; they say nothing of its value.
STORAGE = ("autocast", "aggregation", "synchronization", "use_resource", "getter", "experimental_autocast")


class WeightOwner:
    """Something with weights of its own and layers inside; a base of `Layer`."""

    name: str
    dtype: Any
    built: bool
    overrides_call: bool
    says_sublayers: bool
    call_is_all: bool
    computation: Any
    _trainable: bool
    _weights: list[Weight]
    _building: Any

    @property
    def trainable(self) -> bool:
        """Whether training changes the weights; to set it sets it for every layer inside."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        if not isinstance(value, (bool, np.bool_)) and value not in (0, 1):
            raise ValueError(f"{self.name}: `trainable` must be True or False, got {value!r:.100}")
        self._trainable = bool(value)
        for layer in self.sublayers:
            layer.trainable = value

    def add_weight(
        self,
        *given: Any,
        trainable: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
        chosen: str | None = None,
        **named: Any,
    ) -> Weight:
        """Make a weight; to be called by ``build`` or ``__init__``.

        Parameters
        ----------
        shape : tuple of int
            A number without it.
        initializer, regularizer, constraint : name, configuration, callable or None
            Without an initializer ``"glorot_uniform"``, or zeros of integers.
        dtype : dtype, optional
            That of the layer if it is not given.
        trainable : bool
        name : str, optional
            May also be the first of the arguments without names, in front of the shape.
        chosen : str, optional
            Those that are not given are the layer's own: ``chosen="kernel"`` stands for ``self.kernel_initializer``,
            ``self.kernel_regularizer`` and ``self.kernel_constraint``.

        Raises
        ------
        TypeError
            If there is no initializer.
        """
        if chosen is not None or (len(given) == 3 and isinstance(given[0], str) and not named):
            name, shape, initializer = (*given, None)[:3]
            dtype = self.dtype
        else:
            name, shape, initializer, dtype = self._weight_arguments(given, named)
        tracing = graph.tracing.get() if self.overrides_call else None
        if tracing is not None and tracing.owner is self and not self._building:
            raise RuntimeError(f"{self.name}: a weight is made in `call`, which runs often; make it in `build`")
        if chosen is not None:
            initializer = getattr(self, f"{chosen}_initializer") if initializer is None else initializer
            regularizer = getattr(self, f"{chosen}_regularizer") if regularizer is None else regularizer
            constraint = getattr(self, f"{chosen}_constraint") if constraint is None else constraint
        if initializer is None:
            raise TypeError(f"{self.name}: weight {name!r} needs an `initializer` (a name or a callable), got None")
        left = budget()
        if left is not None and left.numbers is not None:
            left.take_weight(self.name, name, shape)
            value = np.broadcast_to(np.zeros((), dtype), shape)
        else:
            make = initializers.get(initializer)
            made = make(shape, dtype=dtype if dtype.kind == "f" else self.dtype)
            own = isinstance(make, initializers.Initializer)  # another may keep what it returns, and write in it
            # Rows in C's order, as those of files: the transposes of some initializers would be slower at every step.
            value = np.asarray(made, dtype, order="C") if own else np.array(made, dtype, order="C")
        weight = Weight(
            name,
            value,
            trainable,
            None if regularizer is None else regularizers.get(regularizer),
            None if constraint is None else constraints.get(constraint),
        )
        building: Any = self._building or object
        of_base = building is not object and not building.overrides_call
        if not self.overrides_call or self.call_is_all or of_base:
            self._weights.append(weight)
        else:  # apart from those that the class below knows by their places
            vars(self).setdefault("_added", []).append((len(self._weights), weight))
        return weight

    def add_variable(self, *given: Any, **named: Any) -> Weight:
        """`add_weight` by its older name."""
        return self.add_weight(*given, **named)

    def _weight_arguments(self, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[str, Any, Any, np.dtype[Any]]:
        """Name, shape, initializer and dtype of a weight, in Keras' order or the older one."""
        name_first = bool(given) and isinstance(given[0], str)
        order = ("name", "shape", "initializer") if name_first else ("shape", "initializer", "dtype")
        if len(given) > len(order):
            raise TypeError(f"{self.name}: add_weight takes at most {len(order)} arguments without a name")
        for word, value in zip(order, given, strict=False):
            if word in named:
                raise TypeError(f"{self.name}: add_weight got `{word}` twice")
            named[word] = value
        for word in STORAGE:
            named.pop(word, None)
        if unknown := named.keys() - {"name", "shape", "initializer", "dtype"}:
            raise TypeError(f"{self.name}: add_weight has no argument(s) {', '.join(sorted(unknown))}")
        shape, initializer, dtype = named.get("shape"), named.get("initializer"), named.get("dtype")
        kind = self.dtype if dtype is None else dtype_of(dtype)
        if kind is None or kind.kind not in "fiub":
            raise ValueError(f"{self.name}: add_weight: unknown `dtype` {dtype!r}")
        if initializer is None and len(given) < 2:
            initializer = "glorot_uniform" if kind.kind == "f" else "zeros"
        name = named.get("name") or f"weight_{len(self.own_weights)}"
        sizes = () if shape is None else (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
        for size in sizes:
            if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 0:
                raise ValueError(f"{self.name}: weight {name!r} needs a `shape` of whole numbers, got {tuple(sizes)}")
        return name, sizes, initializer, kind

    @property
    def sublayers(self) -> list[Any]:
        """Layers whose weights are also this layer's, in order; a class may add its own to those of ``super()``."""
        found: list[Any] = self.computation.sublayers if self.overrides_call else self.inner_layers
        return found

    @property
    def inner_layers(self) -> list[Any]:
        """Those that this class calls itself; a class with ``call`` of its own may have more, as attributes."""
        return []

    @property
    def own_weights(self) -> list[Weight]:
        """Weights of this layer that are not those of a layer inside."""
        found: list[Weight] = self.computation.own_weights if self.overrides_call else self._weights
        return found

    @property
    def weights(self) -> list[Weight]:
        """All weights, in ``get_weights`` order: trainable ones first within each layer, as Keras has them."""
        if self.overrides_call:
            found: list[Weight] = self.computation.weights
            return found
        own = list(self._weights)
        for layer in self.sublayers if self.says_sublayers else self.inner_layers:
            own += layer.weights
        return own

    def weight_is_trained(self) -> list[bool]:
        """For each weight, whether training changes it."""
        if self.overrides_call:
            found: list[bool] = self.computation.weight_is_trained()
            return found
        flags = [w.trainable and self.trainable for w in self._weights]
        for layer in self.sublayers if self.says_sublayers else self.inner_layers:
            flags += [flag and self.trainable for flag in layer.weight_is_trained()]
        return flags

    @property
    def trainable_weights(self) -> list[Weight]:
        return [w for w, trained in zip(self.weights, self.weight_is_trained(), strict=True) if trained]

    @property
    def non_trainable_weights(self) -> list[Weight]:
        return [w for w, trained in zip(self.weights, self.weight_is_trained(), strict=True) if not trained]

    @property
    def variables(self) -> list[Weight]:
        """The weights, by Keras' other name."""
        return self.weights

    @property
    def trainable_variables(self) -> list[Weight]:
        return self.trainable_weights

    @property
    def non_trainable_variables(self) -> list[Weight]:
        return self.non_trainable_weights

    def get_weights(self) -> list[Array]:
        """Copies of all weights, in Keras' order."""
        return [w.array.copy() for w in self.weights]

    def set_weights(self, weights: Any) -> None:
        """Set all weights from arrays in ``get_weights`` order; all are checked before the first is changed.

        Raises
        ------
        ValueError
            If the number of arrays or a shape differs.
        """
        own = self.weights
        arrays = [np.asarray(w) for w in weights]
        if len(arrays) != len(own):
            hint = "" if self.built else "; the layer is not built yet: call it once, or give it an input shape"
            raise ValueError(f"{self.name}: expected {len(own)} weight arrays, got {len(arrays)}{hint}")
        for weight, array in zip(own, arrays, strict=True):
            if array.shape != weight.shape:
                raise ValueError(
                    f"{self.name}: weight {weight.name!r} has shape {weight.shape}, got an array of shape {array.shape}"
                )
            if array.dtype.kind not in "fiub":
                raise ValueError(f"{self.name}: weight {weight.name!r} takes real numbers, got dtype {array.dtype}")
        with changing(own):
            for weight, array in zip(own, arrays, strict=True):
                weight.assign(array)

    def count_params(self) -> int:
        """Number of weight elements."""
        return sum(w.array.size for w in self.weights)

    @property
    def losses(self) -> list[float]:
        """Penalties of the regularizers of the weights that are trained."""
        return [float(w.regularizer(w.array)) for w in self.trainable_weights if w.regularizer is not None]


def weight_value(index: int) -> property:
    """A property that reads and assigns the value of the weight with this index in the layer's own list."""

    def read(self: WeightOwner) -> Any:
        return assignable(self._weights[index]) if index < len(self._weights) else None

    def assign(self: WeightOwner, value: Any) -> None:
        if index >= len(self._weights):
            raise ValueError(f"{self.name}: this weight does not exist (yet); build the layer first")
        self._weights[index].assign(value)

    return property(read, assign)
