"""The same layer at every step."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._config import what_is
from rnnx._typing import Array
from rnnx.layers.call_signature import signature_of
from rnnx.layers.checks import as_mask
from rnnx.layers.layer import Gradients, Layer, Pullback, walk
from rnnx.layers.normalization import Normalization
from rnnx.layers.registry import layer_config, layer_from_config

NOISE_SHAPES = ("noise_shape", "recurrent_noise_shape")


class TimeDistributed(Layer):
    """The same layer at every step.

    Parameters
    ----------
    layer : layer or model
        Its input lacks the time axis; it has one output. Noise is drawn anew at every step.
    **kwargs
        ``name``, ``trainable``, ``input_shape``. The dtype is that of the layer.

    Raises
    ------
    ValueError
        If it is not a layer.

    Notes
    -----
    All steps go through the layer at once, as rows of one batch: `BatchNormalization` inside takes its averages over
    all valid steps.

    A mask of the steps alone, (batch, timesteps), goes on to the output. One that says more, (batch, timesteps, ...),
    is split: the layer inside sees the part of each step, as the words of each sentence of a document. The output has
    the same mask if the layer inside keeps its own, otherwise that of the steps that have anything valid in them.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.TimeDistributed(rnnx.layers.Dense(5))(np.zeros((2, 7, 3))).shape
    (2, 7, 5)
    """

    positional_arguments = ("training", "mask")
    fixed_when_built = Layer.fixed_when_built | {"layer"}
    not_attributes = frozenset({"dtype"})

    def __init__(self, layer: Any, **kwargs: Any):
        if not isinstance(layer, Layer):
            raise ValueError(f"TimeDistributed: a layer is needed, got {what_is(layer)}")
        if getattr(layer, "stateful", False):
            raise ValueError(f"TimeDistributed: layer {layer.name!r} is stateful; its states would mix the steps")
        super().__init__(**{**kwargs, "dtype": layer.dtype})
        self.layer = layer

    @property
    def inner_layers(self) -> list[Layer]:
        return [self.layer]

    def build(self, input_shape: Any) -> None:
        if len(input_shape) < 3:
            raise ValueError(
                f"{self.name}: the input must have shape (batch, timesteps, ...), got {tuple(input_shape)}"
            )
        self.layer.build((input_shape[0], *input_shape[2:]))

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
        if x.ndim < 3:
            raise ValueError(f"{self.name}: the input must have shape (batch, timesteps, ...), got {x.shape}")
        batch, timesteps, *rest = x.shape
        mask = None if mask is None else self._check_mask(mask, x.shape)
        inside = mask
        if mask is not None and mask.ndim == 2 and not self._reads_masks_of_rows():
            inside = None  # what is inside a step is all valid or of no matter
        if training and timesteps and self._noise_is_shared_by_rows(len(rest) + 1):
            parts = [(x[:, t], None if inside is None else inside[:, t]) for t in range(timesteps)]
        else:
            flat_mask = None if inside is None else inside.reshape(batch * timesteps, *inside.shape[2:])
            parts = [(x.reshape(batch * timesteps, *rest), flat_mask)]
        inner = self.layer.computation
        outputs: list[Any] = []
        backs: list[Any] = []
        kept = True
        for part, valid in parts:
            y, after, back = inner.forward_masked(inner.prepare(part), mask=valid, training=training, keep=keep)
            if isinstance(y, list):
                raise ValueError(f"{self.name}: layers with several outputs are not supported")
            outputs.append(y)
            backs.append(back)
            kept = kept and _same_shape(after, valid)
        if len(outputs) == 1:
            whole = outputs[0].reshape(batch, timesteps, *outputs[0].shape[1:])
        else:
            whole = np.stack(outputs, axis=1)

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            dy = np.asarray(dy)
            if dy.shape != whole.shape:
                raise ValueError(f"{self.name}: the gradient must have the shape {whole.shape}, got {dy.shape}")
            dys = [dy.reshape(outputs[0].shape)] if len(backs) == 1 else [dy[:, t] for t in range(timesteps)]
            grads = [back(d, need_dx=need_dx) for back, d in zip(backs, dys, strict=True)]
            dweights = [None if own[0] is None else sum(own) for own in zip(*(g.dweights for g in grads), strict=True)]
            dx = None
            if grads[0].dx is not None:
                dx = grads[0].dx.reshape(x.shape) if len(grads) == 1 else np.stack([g.dx for g in grads], axis=1)
            return Gradients(dx, dweights if self.trainable else [None] * len(dweights))

        return whole, mask if kept else _of_steps(mask), pullback if keep else None

    def _check_mask(self, mask: Any, shape: tuple[int, ...]) -> Array:
        """The mask of an input of this shape as a boolean array."""
        found = np.asarray(mask)
        if found.ndim < 2 or found.shape != shape[: found.ndim]:
            wanted = f"(batch, timesteps) = {shape[:2]}" + (f" or {shape[:-1]}" if len(shape) > 3 else "")
            raise ValueError(f"{self.name}: `mask` must have shape {wanted}, got {found.shape}")
        return as_mask(self.name, found)

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        if mask is None or np.ndim(mask) <= 2:
            return mask
        valid = self._check_mask(mask, np.shape(x))
        rows = np.asarray(x).reshape(-1, *np.shape(x)[2:])
        inside = valid.reshape(len(rows), *valid.shape[2:])
        return mask if _same_shape(self.layer.compute_mask(rows, inside), inside) else _of_steps(valid)

    def _reads_masks_of_rows(self) -> bool:
        """Whether the layer inside cares which steps are valid: averages over them do, and a `call` with ``mask``."""
        if self.layer.overrides_call:
            return "mask" in signature_of(type(self.layer)).signature.parameters
        return isinstance(self.layer, Normalization)

    def _noise_is_shared_by_rows(self, rank: int) -> bool:
        """Whether rows of a batch share noise inside the layer: then the steps must not be rows of one batch."""
        shapes = [getattr(part, name, None) for part in walk(self.layer) for name in NOISE_SHAPES]
        return any(s is not None and (len(s) < rank or s[0] is not None) for s in shapes)

    def compute_output_shape(self, input_shape: Any) -> Any:
        inner = self.layer.computation.compute_output_shape((input_shape[0], *input_shape[2:]))
        if isinstance(inner, list):
            raise ValueError(f"{self.name}: layers with several outputs are not supported")
        return (inner[0], input_shape[1], *inner[1:])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layer": layer_config(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**{**config, "layer": layer_from_config(config["layer"])})


def _same_shape(mask: Any, other: Any) -> bool:
    return isinstance(mask, np.ndarray) and isinstance(other, np.ndarray) and mask.shape == other.shape


def _of_steps(mask: Any) -> Any:
    """The steps in which anything is valid."""
    return mask if mask is None or mask.ndim == 2 else mask.any(axis=tuple(range(2, mask.ndim)))
