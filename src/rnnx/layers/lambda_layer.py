"""A function as a layer."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx._config import lookup_custom, name_of_custom
from rnnx.layers.layer import Layer


class Lambda(Layer):
    """A function of symbolic tensors as a layer.

    It is traced once, like the ``call`` of a layer: operators, indices, `rnnx.ops` and functions of
    NumPy may be used, and layers without weights. One with weights belongs into a class with ``call``.

    Parameters
    ----------
    function : callable
        Of the input(s), with ``mask`` and ``training`` if it has such arguments.
    output_shape : tuple, optional
        Shape of one sample of the output, which is known anyway; another one is refused.
    mask : mask or callable ``mask(inputs, mask)``, optional
        The time mask of the output; none if it is not given.
    arguments : dict, optional
        More arguments of the function.

    Raises
    ------
    TypeError
        If the function cannot be called.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> last = rnnx.layers.Lambda(lambda h: h[:, -1])
    >>> last(np.ones((2, 5, 3), np.float32)).shape
    (2, 3)
    """

    not_attributes = frozenset({"output_shape"})

    def __init__(
        self,
        function: Callable[..., Any],
        output_shape: Any = None,
        mask: Any = None,
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if isinstance(function, dict) and function.get("class_name") == "function":
            function = lookup_custom(str(function.get("config")))
        if not callable(function):
            raise TypeError(f"Lambda: `function` must be callable, got {type(function).__name__}")
        if not (output_shape is None or callable(output_shape) or isinstance(output_shape, (list, tuple))):
            raise TypeError(f"Lambda: `output_shape` must be a tuple or callable, got {output_shape!r:.100}")
        if not (mask is None or callable(mask) or np.asarray(mask).dtype.kind in "iufb"):
            raise TypeError(f"Lambda: `mask` must be an array or callable, got {mask!r:.100}")
        self.function, self.mask, self.arguments = function, mask, dict(arguments or {})
        self.wanted_shape = None if output_shape is None or callable(output_shape) else tuple(output_shape)
        self.supports_masking = mask is not None

    def call(self, inputs: Any, mask: Any = None, training: bool = False) -> Any:
        known = inspect.signature(self.function).parameters
        given = {name: value for name, value in (("mask", mask), ("training", training)) if name in known}
        y = self.function(inputs, **{**given, **self.arguments})
        shape = getattr(y, "shape", None)
        if self.wanted_shape is not None and shape is not None:
            pairs = zip(shape[1:], self.wanted_shape, strict=False)
            same = all(None in pair or pair[0] == pair[1] for pair in pairs)
            if not same or len(shape) != 1 + len(self.wanted_shape):
                raise ValueError(
                    f"{self.name}: `output_shape` is {self.wanted_shape}, the function gives {tuple(shape[1:])}"
                )
        return y

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        return self.mask(x, mask) if callable(self.mask) else self.mask

    def get_config(self) -> dict[str, Any]:
        name = name_of_custom(self.function)
        if name is None or callable(self.mask):
            raise ValueError(
                f"layer {self.name!r} (Lambda) holds Python code, which no file can: register its function with "
                "rnnx.utils.register_keras_serializable(), or write a Layer with `call`"
            )
        return {
            **super().get_config(),
            "function": {"class_name": "function", "config": name},
            "output_shape": self.wanted_shape,
            "mask": self.mask,
            "arguments": self.arguments,
        }
