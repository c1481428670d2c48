"""Where a model begins: symbolic inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.layers import graph
from rnnx.layers.checks import TEXT, as_strings, dtype_of
from rnnx.layers.layer import Gradients, Layer


class InputLayer(Layer):
    """The entry of a model.

    Parameters
    ----------
    shape : tuple
        Shape of one sample, unknown sizes None.
    batch_size : int, optional
    dtype : str
        ``"int32"`` or ``"int64"`` for ids, ``"string"`` for texts.

    Examples
    --------
    >>> import rnnx
    >>> rnnx.Sequential([rnnx.layers.InputLayer((None, 3)), rnnx.layers.Dense(2)]).output_shape
    (None, None, 2)
    """

    def __init__(self, shape: Any = None, batch_size: int | None = None, dtype: Any = None, **kwargs: Any):
        for name in ("sparse", "ragged", "optional"):
            if kwargs.pop(name, False):
                raise ValueError(f"InputLayer: `{name}` inputs are not supported; ragged batches are lists of arrays")
        wanted = dtype_of(dtype)
        if wanted is None:
            raise ValueError(f"InputLayer: unknown `dtype` {repr(dtype)[:100]}")
        if wanted.kind not in "fiub" and wanted is not TEXT:
            raise ValueError(f"InputLayer: `dtype` must be a float or integer type, or 'string', got {wanted}")
        if batch_size is not None and (not isinstance(batch_size, (int, np.integer)) or batch_size < 1):
            raise ValueError(f"InputLayer: `batch_size` must be a positive integer or None, got {batch_size!r}")
        if kwargs.get("batch_shape") is not None:
            for name, value in (("shape", shape), ("batch_size", batch_size)):
                if value is not None:
                    raise ValueError(f"InputLayer: give `{name}` or `batch_shape`, not both")
        if shape is not None:
            kwargs["input_shape"] = shape
        super().__init__(dtype=wanted.name if wanted.kind == "f" else "float32", **kwargs)
        if self.given_input_shape is None:
            raise ValueError("InputLayer: give the shape of one sample, for example shape=(None, 8)")
        batch_size = self.given_batch_size if batch_size is None else int(batch_size)
        batch_shape = (batch_size, *self.given_input_shape)
        vars(self).update(value_dtype=wanted, batch_size=batch_size, built=True, batch_shape=batch_shape)

    value_dtype: Any
    batch_size: int | None
    batch_shape: tuple[int | None, ...]
    not_attributes = frozenset({"shape"})
    fixed_when_built = frozenset({"batch_size", "dtype"})

    def arguments_now(self) -> dict[str, Any]:
        return {"batch_shape": self.batch_shape, "dtype": self.value_dtype, "name": self.name}

    def cast(self, x: Any) -> Array:
        if self.value_dtype is TEXT:
            return as_strings(self.name, x)
        return np.asarray(x) if self.value_dtype.kind in "iu" else super().cast(x)

    def forward(self, x: Any, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any) -> Any:
        return x, (lambda dy, *, need_dx=True: Gradients(dy if need_dx else None)) if keep else None

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "shape": self.given_input_shape,
            "batch_size": self.batch_size,
            "dtype": "string" if self.value_dtype is TEXT else self.value_dtype.name,
        }


def Input(
    shape: Any = None, batch_size: int | None = None, dtype: Any = None, name: str | None = None, **kwargs: Any
) -> graph.SymbolicTensor:
    """A symbolic tensor from which a model is made.

    Parameters
    ----------
    shape : tuple
        Shape of one sample, unknown sizes None.

    Examples
    --------
    >>> import rnnx
    >>> x = rnnx.Input((None, 3))
    >>> rnnx.Model(x, rnnx.layers.LSTM(4)(x)).output_shape
    (None, 4)
    """
    layer = InputLayer(shape, batch_size, dtype, name=name, **kwargs)
    return graph.enter(layer)


def entry(name: str, shape: Any, dtype: Any) -> graph.SymbolicTensor:
    """A symbolic tensor of this shape, the batch axis included."""
    batch, *rest = shape or (None,)
    tensor = graph.enter(InputLayer(tuple(rest), batch, dtype, name=name))
    tensor.shape = tuple(shape)
    return tensor
