"""Where the arrays of PyTorch's modules go in layers of rnnx, and back.

======================  ==================================================================================
PyTorch                 rnnx
======================  ==================================================================================
``weight_ih, weight_hh``  transposed: ``kernel``, ``recurrent_kernel``
LSTM gates ``i f g o``  ``i f c o``: the same order
GRU gates ``r z n``     ``z r h``: the first two swapped
two biases              GRU: the two rows of the bias; else their sum, written back as ``bias_ih`` and zeros
``weight_hr`` (proj)    a Dense without bias behind the LSTM, whose recurrent kernel is ``weight_hh @ weight_hr``
Linear ``weight``       Dense ``kernel``, transposed
Conv1d ``weight``       (filters, channels, steps) to ``kernel`` (steps, channels, filters); with more axes likewise
======================  ==================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnx._cells import CELLS
from rnnx._typing import Array
from rnnx.functional._products import product
from rnnx.layers import (
    GRU,
    LSTM,
    RNN,
    BatchNormalization,
    Bidirectional,
    Conv1D,
    Conv2D,
    Conv3D,
    Dense,
    Dropout,
    Embedding,
    GroupNormalization,
    GRUCell,
    InputLayer,
    LayerNormalization,
    LSTMCell,
    SimpleRNN,
    SimpleRNNCell,
    TimeDistributed,
    Weight,
    ZeroPadding1D,
    ZeroPadding2D,
    ZeroPadding3D,
)
from rnnx.layers.layer import walk
from rnnx.models import Model
from rnnx.saving import FormatError

Assignment = tuple[Weight, Array]
SEQUENCE, CELL = (LSTM, GRU, SimpleRNN), (LSTMCell, GRUCell, SimpleRNNCell)
PROJECTION = "_projection"  # end of the name of a Dense that stands for weight_hr
ROWS = 4096  # of a product in float64 at a time: the whole would take twice its float32
TOLERANCE = 1e-4  # of a recurrent kernel that is taken apart into weight_hh and weight_hr


def needed(found: Mapping[str, Array], name: str, shape: tuple[int, ...]) -> Array:
    """An array of a state dict, of the shape that the layer needs."""
    if name not in found:
        raise FormatError(f"the state dict has no {name!r}")
    if found[name].shape != shape:
        raise FormatError(f"{name!r} must have shape {shape}, got {found[name].shape}")
    if found[name].dtype.kind != "f":
        raise FormatError(f"{name!r} must be floating-point numbers, got {found[name].dtype}")
    return found[name]


def reorder(kind: str, array: Array) -> Array:
    """Swap the first two of a GRU's three blocks of rows; to do it twice undoes it."""
    if kind != "gru":
        return array
    first, second, third = np.split(array, 3)
    return np.concatenate([second, first, third])


@dataclass(eq=False)
class RecurrentSlot:
    """One direction of one layer of ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN``, or one cell."""

    layer: Any
    prefix: str
    suffix: str

    def names(self) -> list[str]:
        """Names of its arrays in PyTorch."""
        stems = ["weight_ih", "weight_hh", *["bias_ih", "bias_hh"] * (len(self.layer.weights) > 2)]
        return [f"{self.prefix}{stem}{self.suffix}" for stem in stems]

    def export(self) -> dict[str, Array]:
        """Arrays by their names in PyTorch."""
        refuse_unknown_to_torch(self.layer)
        kind, (kernel, recurrent, *bias) = self.layer.cell_kind, [w.array for w in self.layer.weights]
        made = {"weight_ih": reorder(kind, kernel.T), "weight_hh": reorder(kind, recurrent.T)}
        if bias:
            rows = bias[0] if bias[0].ndim == 2 else np.stack([bias[0], np.zeros_like(bias[0])])
            made.update(bias_ih=reorder(kind, rows[0]), bias_hh=reorder(kind, rows[1]))
        return {f"{self.prefix}{stem}{self.suffix}": array for stem, array in made.items()}

    def arrange(self, found: Mapping[str, Array]) -> list[Assignment]:
        """What the weights of the layer become."""
        kind, (kernel, recurrent, *bias) = self.layer.cell_kind, self.layer.weights
        parts = [("weight_ih", kernel.shape[::-1]), ("weight_hh", recurrent.shape[::-1])]
        arrays = [reorder(kind, needed(found, self.prefix + stem + self.suffix, shape)).T for stem, shape in parts]
        return [(kernel, arrays[0]), (recurrent, arrays[1]), *self.arrange_bias(found, bias)]

    def arrange_bias(self, found: Mapping[str, Array], bias: list[Weight]) -> list[Assignment]:
        """The two biases as one weight."""
        if not bias:
            return []
        kind, width = self.layer.cell_kind, bias[0].shape[-1]
        rows = [
            reorder(kind, needed(found, f"{self.prefix}{stem}{self.suffix}", (width,)).astype(np.float64))
            for stem in ("bias_ih", "bias_hh")
        ]
        return [(bias[0], np.stack(rows) if len(bias[0].shape) == 2 else rows[0] + rows[1])]


@dataclass(eq=False)
class ProjectedSlot:
    """One layer of ``nn.LSTM(proj_size=...)`` with its directions, and the Dense that projects their outputs."""

    directions: list[RecurrentSlot]
    dense: Any

    def _blocks(self, kernel: Array) -> list[Array]:
        """The projection of each direction; the kernel holds them on its diagonal."""
        rows = np.split(kernel, len(self.directions))
        return [np.split(block, len(rows), axis=1)[k] for k, block in enumerate(rows)]

    def names(self) -> list[str]:
        return [name for slot in self.directions for name in [*slot.names(), f"{slot.prefix}weight_hr{slot.suffix}"]]

    def export(self) -> dict[str, Array]:
        made: dict[str, Array] = {}
        kernel = self.dense.kernel
        for slot, block in zip(self.directions, self._blocks(kernel), strict=True):
            made.update(slot.export())
            joined = slot.layer.recurrent_kernel
            hidden, *_ = np.linalg.lstsq(block.astype(np.float64), joined.astype(np.float64), rcond=None)
            whole = np.count_nonzero(kernel) == sum(np.count_nonzero(b) for b in self._blocks(kernel))
            gap, size = np.abs(product(block, hidden) - joined).max(), np.abs(joined).max()
            if not whole or gap > TOLERANCE * max(1e-30, size):
                raise FormatError(
                    f"{slot.layer.name}: was changed after it was read; its recurrent kernel is no longer the product "
                    "of weight_hh and weight_hr (proj_size) and cannot be written for PyTorch"
                )
            made[f"{slot.prefix}weight_hh{slot.suffix}"] = hidden.T.astype(joined.dtype)
            made[f"{slot.prefix}weight_hr{slot.suffix}"] = block.T
        return made

    def arrange(self, found: Mapping[str, Array]) -> list[Assignment]:
        made: list[Assignment] = []
        (weight,) = self.dense.weights
        projection = np.zeros(weight.shape)
        for slot, block in zip(self.directions, self._blocks(projection), strict=True):
            kernel, recurrent, *bias = slot.layer.weights
            units, width = block.shape
            hidden = needed(found, f"{slot.prefix}weight_hh{slot.suffix}", (4 * units, width))
            down = needed(found, f"{slot.prefix}weight_hr{slot.suffix}", (width, units)).astype(np.float64)
            block[...] = down.T
            made.append((kernel, needed(found, f"{slot.prefix}weight_ih{slot.suffix}", kernel.shape[::-1]).T))
            joined = np.empty((4 * units, units), recurrent.dtype)
            for row in range(0, 4 * units, ROWS):
                joined[row : row + ROWS] = product(hidden[row : row + ROWS].astype(np.float64), down)
            made += [(recurrent, joined.T), *slot.arrange_bias(found, bias)]
        return [*made, (weight, projection)]


@dataclass(eq=False)
class PlainSlot:
    """Linear, Embedding, convolutions, BatchNorm, GroupNorm and LayerNorm: each array has its place."""

    layer: Any
    prefix: str

    def _places(self) -> list[tuple[str, Weight]]:
        layer = self.layer
        if isinstance(layer, BatchNormalization):
            if layer.center != layer.scale:
                raise FormatError(f"{layer.name}: PyTorch has `scale` and `center` of BatchNorm together or not at all")
            names = (["weight", "bias"] if layer.scale else []) + ["running_mean", "running_var"]
        else:
            if isinstance(layer, (GroupNormalization, LayerNormalization)) and not (layer.scale and layer.center):
                kind = "GroupNorm" if isinstance(layer, GroupNormalization) else "LayerNorm"
                raise FormatError(f"{layer.name}: `scale` and `center` of a {kind} are needed for PyTorch")
            names = ["weight", "bias"][: len(layer.weights)]
        return [(self.prefix + name, weight) for name, weight in zip(names, layer.weights, strict=True)]

    def names(self) -> list[str]:
        counter = [f"{self.prefix}num_batches_tracked"] if isinstance(self.layer, BatchNormalization) else []
        return [name for name, _ in self._places()] + counter

    def _order(self, weight: Weight) -> tuple[int, ...]:
        """The axes of a weight as PyTorch has them: those of a kernel are (filters, channels, *places)."""
        axes = tuple(range(len(weight.shape)))
        return axes if isinstance(self.layer, Embedding) or len(axes) < 2 else (axes[-1], axes[-2], *axes[:-2])

    def export(self) -> dict[str, Array]:
        made = {name: weight.array.transpose(self._order(weight)) for name, weight in self._places()}
        if isinstance(self.layer, BatchNormalization):
            made[f"{self.prefix}num_batches_tracked"] = np.zeros((), np.int64)
        return made

    def arrange(self, found: Mapping[str, Array]) -> list[Assignment]:
        made: list[Assignment] = []
        for name, weight in self._places():
            order = self._order(weight)
            array = needed(found, name, tuple(weight.shape[axis] for axis in order))
            made.append((weight, array.transpose(np.argsort(order))))
        return made


Slot = RecurrentSlot | ProjectedSlot | PlainSlot
PLAIN = (Dense, Embedding, Conv1D, Conv2D, Conv3D, BatchNormalization, GroupNormalization, LayerNormalization)


# ---- Which slots a layer has ----------------------------------------------------------------------------------------


def slots(layer: Any, prefix: str) -> Iterator[Slot]:
    """Every place of a layer or model; the layers of a model are named after themselves.

    A chain of nothing but like recurrent layers is one module of several layers.
    """
    if not layer.built:
        raise FormatError(f"{layer.name}: not built yet, there are no weights; call it once first")
    if any(part.overrides_call and not isinstance(part, Model) for part in walk(layer)):
        raise FormatError(f"{layer.name}: a class with a `call` of its own has no counterpart among PyTorch's modules")
    if isinstance(layer, Model):
        parts = [part for part in layer.layers if part.weights]
        if is_padded(layer):
            yield PlainSlot(parts[0], prefix)
            return
        if is_stack(layer, parts):
            yield from _stack_slots(parts, prefix)
            return
        for part in parts:
            yield from slots(part, f"{prefix}{part.name}.")
    elif isinstance(layer, TimeDistributed):
        yield from slots(layer.layer, prefix)
    elif isinstance(layer, PLAIN):
        yield PlainSlot(layer, prefix)
    elif isinstance(layer, CELL):
        yield RecurrentSlot(layer, prefix, "")
    elif layer.weights:
        yield from _directions(layer, prefix, 0)


def _directions(layer: Any, prefix: str, number: int) -> list[RecurrentSlot]:
    """The slots of one recurrent layer."""
    if isinstance(layer, Bidirectional):
        if layer.merge_mode != "concat":
            raise FormatError(f"{layer.name}: PyTorch joins directions by 'concat' only, not {layer.merge_mode!r}")
        both = [layer.forward_layer, layer.backward_layer]
        if len({_kind(part) for part in both}) == 2:
            raise FormatError(f"{layer.name}: PyTorch has no module with directions that differ")
        return [
            RecurrentSlot(_inner(part), prefix, f"_l{number}{end}")
            for part, end in zip(both, ("", "_reverse"), strict=True)
        ]
    if getattr(layer, "go_backwards", False):
        raise FormatError(f"{layer.name}: `go_backwards` is unknown to PyTorch, except in a Bidirectional")
    return [RecurrentSlot(_inner(layer), prefix, f"_l{number}")]


def _inner(layer: Any) -> Any:
    """The layer or cell that holds the weights."""
    if isinstance(layer, RNN) and isinstance(layer.cell, CELL):
        return layer.cell
    if not isinstance(layer, SEQUENCE):
        raise FormatError(f"{layer.name}: {type(layer).__name__} has no counterpart among PyTorch's modules")
    return layer


def _kind(layer: Any) -> Any:
    """What must be alike in all layers of one module of PyTorch; None for what is no recurrent layer."""
    if isinstance(layer, Bidirectional):
        kind = _kind(layer.forward_layer)
        return kind and ("both", *kind)
    if isinstance(layer, RNN):
        layer = layer.cell
    if not isinstance(layer, SEQUENCE + CELL):
        return None
    return (layer.cell_kind, layer.units, layer.use_bias, layer.activation.name)


def is_padded(model: Model) -> bool:
    """Whether a model is a convolution of its name behind zeros, which PyTorch has as one module."""
    kinds = [(ZeroPadding1D, Conv1D), (ZeroPadding2D, Conv2D), (ZeroPadding3D, Conv3D)]
    parts = [part for part in model.layers if not isinstance(part, InputLayer)]
    return tuple(map(type, parts)) in kinds and parts[1].name == model.name


def is_stack(model: Model, parts: list[Any]) -> bool:
    """Whether a model is what PyTorch has as one module of several layers: a chain of like recurrent layers."""
    known = {id(part) for part in parts}
    if any(id(part) not in known and not isinstance(part, (InputLayer, Dropout)) for part in model.layers):
        return False
    if not model.plan.is_chain():
        return False
    layers = [part for part in parts if not part.name.endswith(PROJECTION)]
    kinds = {_kind(part) for part in layers}
    return len(kinds) == 1 and None not in kinds and len(parts) in (len(layers), 2 * len(layers))


def _stack_slots(parts: list[Any], prefix: str) -> Iterator[Slot]:
    number = 0
    for part, after in zip(parts, [*parts[1:], None], strict=True):
        if part.name.endswith(PROJECTION):
            continue
        directions = _directions(part, prefix, number)
        number += 1
        if after is not None and after.name.endswith(PROJECTION):
            yield ProjectedSlot(directions, after)
        else:
            yield from directions


def refuse_unknown_to_torch(layer: Any) -> None:
    """Refuse by name what no module of PyTorch computes.

    Raises
    ------
    FormatError
        Naming the layer and the argument.
    """
    problems = [
        f"{name}={getattr(layer, name)!r}"
        for name in ("dropout", "recurrent_dropout", "zoneout")
        if np.any(np.asarray(getattr(layer, name)) != 0)
    ]
    wanted = ("tanh", "relu") if layer.cell_kind == "simple_rnn" else ("tanh",)
    if layer.activation.name not in wanted:
        problems.append(f"activation={layer.activation.name!r}")
    if layer.cell_kind != "simple_rnn" and layer.recurrent_activation.name != "sigmoid":
        problems.append(f"recurrent_activation={layer.recurrent_activation.name!r}")
    if layer.cell_kind == "gru" and not layer.reset_after:
        problems.append("reset_after=False")
    if layer.recurrent_blocks > 1:
        problems.append(f"recurrent_blocks={layer.recurrent_blocks}")
    if problems:
        kind = CELLS[layer.cell_kind].elsewhere
        only_trains = all([problem.startswith(("dropout=", "recurrent_dropout=")) for problem in problems])
        way = "; they matter in training only: set them to 0 on the layer, and write again" if only_trains else ""
        raise FormatError(f"{layer.name}: PyTorch's {kind} has no {', '.join(problems)}{way}")
