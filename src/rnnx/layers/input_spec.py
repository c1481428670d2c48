"""What a layer of one's own says about its inputs."""

from __future__ import annotations

from typing import Any

import numpy as np


class InputSpec:
    """What an input must be; ``self.input_spec = InputSpec(ndim=3)`` in a layer with `call` is checked in every call.

    Parameters
    ----------
    dtype : str, optional
        Kept as in Keras, not checked: layers cast their inputs.
    shape : tuple, optional
        The shape with the batch axis; None where any size will do.
    ndim, min_ndim, max_ndim : int, optional
        The number of axes.
    axes : dict of int to int, optional
        Sizes of single axes.
    name, optional, allow_last_axis_squeeze
        Kept as in Keras; without effect.

    Examples
    --------
    >>> import rnnx
    >>> spec = rnnx.layers.InputSpec(min_ndim=2, axes={-1: 4})
    >>> spec.check("mine", (None, 7, 4))
    >>> spec.check("mine", (None, 7, 5))
    Traceback (most recent call last):
    ValueError: mine: axis -1 of the input must have size 4, got shape (None, 7, 5)
    """

    def __init__(
        self,
        dtype: Any = None,
        shape: Any = None,
        ndim: int | None = None,
        max_ndim: int | None = None,
        min_ndim: int | None = None,
        axes: dict[int, int | None] | None = None,
        allow_last_axis_squeeze: bool = False,
        name: str | None = None,
        optional: bool = False,
    ):
        self.dtype = None if dtype is None else np.dtype(dtype).name
        self.shape = None if shape is None else tuple(shape)
        self.ndim = ndim if self.shape is None else len(self.shape)
        self.max_ndim, self.min_ndim = max_ndim, min_ndim
        self.axes = {int(axis): size for axis, size in (axes or {}).items()}
        self.allow_last_axis_squeeze, self.name, self.optional = allow_last_axis_squeeze, name, optional
        most = self.ndim if self.ndim is not None else max_ndim
        if self.axes and most is not None and max(self.axes) > most - 1:
            raise ValueError(f"InputSpec: `axes` names axis {max(self.axes)} of an input with {most} axes")

    def check(self, who: str, shape: Any) -> None:
        """Refuse a shape.

        Raises
        ------
        ValueError
            If it is not as said.
        """
        shape = tuple(shape)
        for wrong, wanted in (
            (self.ndim is not None and len(shape) != self.ndim, f"{self.ndim}"),
            (self.min_ndim is not None and len(shape) < self.min_ndim, f"at least {self.min_ndim}"),
            (self.max_ndim is not None and len(shape) > self.max_ndim, f"at most {self.max_ndim}"),
        ):
            if wrong:
                raise ValueError(f"{who}: the input must have {wanted} axes, got shape {shape}")
        sizes = {**dict(enumerate(self.shape or ())), **self.axes}
        for axis, size in sizes.items():
            if size is not None and shape[axis] not in (None, size):
                raise ValueError(f"{who}: axis {axis} of the input must have size {size}, got shape {shape}")

    def get_config(self) -> dict[str, Any]:
        """Arguments that make it again."""
        names = ("dtype", "shape", "ndim", "max_ndim", "min_ndim", "axes", "optional")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> InputSpec:
        """The object of a configuration."""
        return cls(**config)


def check_inputs(layer: Any, shapes: list[Any]) -> None:
    """Refuse inputs that are not what the ``input_spec`` of a layer says, if it has one."""
    specs = getattr(layer, "input_spec", None)
    if specs is None:
        return
    specs = list(specs) if isinstance(specs, (list, tuple)) else [specs]
    if len(specs) > len(shapes):
        raise ValueError(f"{layer.name}: {len(specs)} inputs are needed, got {len(shapes)}")
    for spec, shape in zip(specs, shapes, strict=False):
        if spec is not None:
            spec.check(layer.name, shape)
