"""Modules of PyTorch found by the names and shapes of their parameters, and the layers that are made of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats.torch._archive import quoted
from rnnx.formats.torch._classes import LARGEST_WINDOW, Numbers, numbers
from rnnx.formats.torch._slots import PROJECTION, needed, slots
from rnnx.layers import (
    GRU,
    LSTM,
    BatchNormalization,
    Bidirectional,
    Conv1D,
    Conv2D,
    Conv3D,
    Dense,
    Embedding,
    GroupNormalization,
    GRUCell,
    Input,
    LayerNormalization,
    LSTMCell,
    SimpleRNN,
    SimpleRNNCell,
    ZeroPadding1D,
    ZeroPadding2D,
    ZeroPadding3D,
)
from rnnx.models import Model, Sequential
from rnnx.saving import FormatError

Parts = dict[str, Array]
RECURRENT = re.compile(r"(weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)_l(\d{1,4})(_reverse)?")
CELL_NAMES = {"weight_ih", "weight_hh", "bias_ih", "bias_hh"}
BATCH_NAMES = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
LAYERS: dict[int, Any] = {layer.gates: layer for layer in (LSTM, GRU, SimpleRNN)}  # gates: blocks of rows
CELLS: dict[int, Any] = {cell.gates: cell for cell in (LSTMCell, GRUCell, SimpleRNNCell)}
LARGEST_PRODUCTS = 1 << 28  # bytes of all recurrent kernels of LSTMs with proj_size; 4 times the file if that is more
LONGEST_PRODUCTS = 1 << 35  # multiplications for them, 1 s; 1000 for each byte of a file of more than 100 MB
SMALL_FILE = 100_000_000  # bytes
MOST_LAYERS = 10_000  # of all modules of a file, each direction and each layer of a stack; one takes 0.1 ms to make
CONVOLUTIONS: dict[str, Any] = {"Conv1d": Conv1D, "Conv2d": Conv2D, "Conv3d": Conv3D}
ZEROS: dict[int, Any] = {1: ZeroPadding1D, 2: ZeroPadding2D, 3: ZeroPadding3D}  # by the axes of places
OPTIONS = {
    "recurrent": {"nonlinearity"},
    "matrix": {"kind"},
    **dict.fromkeys(CONVOLUTIONS, {"strides", "padding", "dilation_rate", "groups"}),
    "BatchNorm": {"epsilon", "momentum"},
    "LayerNorm": {"epsilon"},
    "GroupNorm": {"groups", "epsilon"},
}
DAMAGE = (IndexError, KeyError, TypeError, ValueError, ZeroDivisionError)
STARTS = ("kernel_initializer", "recurrent_initializer", "bias_initializer", "embeddings_initializer")


def modules_of(arrays: Mapping[str, Array]) -> dict[str, Parts]:
    """Parameters by the name of their module; the module without a name is ``""``."""
    found: dict[str, Parts] = {}
    for name, array in arrays.items():
        module, _, leaf = name.rpartition(".")
        found.setdefault(module, {})[leaf] = array
    return found


def kind_of(name: str, parts: Parts, options: Mapping[str, Any]) -> str | None:
    """What a module is: a key of `OPTIONS` or ``"cell"``; ``"nothing"`` if it has no weights; None if unknown."""
    if any(RECURRENT.fullmatch(leaf) for leaf in parts):
        return "recurrent" if all(RECURRENT.fullmatch(leaf) for leaf in parts) else None
    if {"weight_ih", "weight_hh"} <= parts.keys() <= CELL_NAMES:
        return "cell"
    if {"running_mean", "running_var"} <= parts.keys() <= BATCH_NAMES:
        return "BatchNorm"
    if "weight" in parts and parts.keys() <= {"weight", "bias"} and parts["weight"].dtype.kind == "f":
        shape = parts["weight"].shape
        if len(shape) == 2:
            return "matrix"
        if (convolution := f"Conv{len(shape) - 2}d") in CONVOLUTIONS:
            return convolution
        if len(shape) == 1 and "bias" in parts and "groups" in options:
            return "GroupNorm"
        if (
            len(shape) == 1
            and "bias" in parts
            and ("norm" in name.lower() or "ln" in name.lower() or "epsilon" in options)
        ):
            return "LayerNorm"
    return "nothing" if all(array.dtype.kind in "iub" for array in parts.values()) else None


def is_embedding(name: str, parts: Parts, options: Mapping[str, Any]) -> bool:
    """Whether a matrix is a table of rows; by the name of its module, since shapes cannot tell."""
    kind = options.get("kind", "Embedding" if "bias" not in parts and "emb" in name.lower() else "Linear")
    if kind not in ("Embedding", "Linear"):
        raise FormatError(f"module {quoted(name)}: `kind` must be 'Embedding' or 'Linear', got {kind!r}")
    return bool(kind == "Embedding")


def layers_of(kind: str | None, parts: Parts) -> int:
    """How many layers a module becomes, those of two directions twice."""
    return sum(leaf.startswith("weight_hh") for leaf in parts) if kind == "recurrent" else 1


def spoken(name: str, kind: str | None, parts: Parts) -> str:
    """What a module is, in PyTorch's words; its parameters are checked, and nothing is made."""
    if kind in ("recurrent", "cell"):
        try:
            check_floats(parts)
            plan = Plan(parts) if kind == "recurrent" else Plan.of_cell(parts)
        except DAMAGE as error:
            raise _misfit(name, error) from error
        words = [(CELLS if kind == "cell" else LAYERS)[plan.gates].__name__.replace("SimpleRNN", "RNN")]
        if plan.depth > 1:
            words.append(f"{plan.depth} layers")
        if plan.both:
            words.append("bidirectional")
        if plan.projected:
            words.append(f"proj_size={plan.width}")
        return ", ".join(words)
    if kind == "matrix":
        return "Embedding" if is_embedding(name, parts, {}) else "Linear"
    return {"BatchNorm": "BatchNorm1d", "nothing": "numbers", None: "unknown"}.get(kind, kind or "")


@dataclass
class Space:
    """What the recurrent kernels of LSTMs with ``proj_size`` may still take: they are products, larger than their file.

    Attributes
    ----------
    left : int
        Bytes.
    work : int
        Multiplications that it may still take to make them.
    """

    left: int = LARGEST_PRODUCTS
    work: int = LONGEST_PRODUCTS

    @classmethod
    def of_file(cls, size: int) -> Space:
        """For a file of so many bytes."""
        return cls(max(LARGEST_PRODUCTS, 4 * size), 1000 * size if size > SMALL_FILE else LONGEST_PRODUCTS)

    def take(self, plan: Plan, itemsize: int) -> None:
        """Count the products of a module that is about to be made."""
        count = 4 * plan.units**2 * plan.depth * (1 + plan.both)
        self.left -= count * itemsize
        self.work -= count * plan.width
        if self.left < 0 or self.work < 0:
            raise FormatError(
                f"proj_size={plan.width} of {plan.units} units: the products of its kernels (4 * {plan.units} * "
                f"{plan.units} numbers each) and those of the modules before it are too large for a file of its size"
            )


def make_layer(
    name: str,
    kind: str,
    parts: Parts,
    options: Mapping[str, Any],
    *,
    return_state: bool = False,
    space: Space | None = None,
) -> Any:
    """A layer with the weights of a module.

    Parameters
    ----------
    name : str
    kind : str
        What `kind_of` said.
    parts : dict of str to array
    options : dict
        What the file does not say, see `OPTIONS`.
    return_state : bool
        Recurrent layers also give their final states.
    space : Space, optional
        What products of kernels may take; that of a small file if not given.

    Raises
    ------
    FormatError
        If shapes do not fit each other; nothing is allocated then.
    """
    known = OPTIONS.get("recurrent" if kind == "cell" else kind, set())
    if unknown := sorted(set(options) - known):
        raise FormatError(f"module {quoted(name)}: unknown option(s) {', '.join(unknown)}; known: {sorted(known)}")
    dtype = "float64" if {a.dtype.str[1:] for a in parts.values() if a.dtype.kind == "f"} == {"f8"} else "float32"
    common = {"dtype": dtype, **({"name": name} if name else {})}
    try:
        check_floats(parts)
        if kind == "recurrent":
            plan = Plan(parts)
            if plan.projected:
                (space or Space()).take(plan, np.dtype(dtype).itemsize)
            layer = _recurrent(name, plan, options, common, return_state)
        elif kind == "cell":
            layer = _cell(parts, options, common)
        else:
            layer = _single(name, kind, parts, options, common)
        for slot in slots(layer, ""):  # one after the other: what is turned round for one is gone before the next
            for weight, array in slot.arrange(parts):
                weight.assign(array)
    except DAMAGE as error:
        raise _misfit(name, error) from error
    return layer


def _misfit(name: str, error: Exception) -> FormatError:
    reason = str(error) if isinstance(error, ValueError) else f"its parameters do not fit each other ({error!r})"
    return FormatError(f"module {quoted(name)}: {reason}")


def check_floats(parts: Parts) -> None:
    """Refuse parameters that are no floating-point numbers."""
    for leaf, array in parts.items():
        if array.dtype.kind != "f" and leaf != "num_batches_tracked":
            raise FormatError(f"{quoted(leaf)} must be floating-point numbers, got {array.dtype}")


def _no_numbers(shape: tuple[int, ...], dtype: Any = "float32", **_: Any) -> Array:
    """Zeros; those of a matrix are one number in memory. (The LSTM writes in the bias that it starts with.)"""
    return np.zeros(shape, dtype) if len(shape) == 1 else np.broadcast_to(np.zeros((), dtype), shape)


def _built(layer: Any, shape: tuple[Any, ...]) -> Any:
    """Build a layer without drawing initial weights that are replaced at once, nor memory for them."""
    ends = [layer.forward_layer, layer.backward_layer] if isinstance(layer, Bidirectional) else [layer]
    kept = [(end, name, getattr(end, name)) for end in ends for name in STARTS if hasattr(end, name)]
    for end, name, _ in kept:
        setattr(end, name, _no_numbers)
    layer.build(shape)
    for end, name, start in kept:
        setattr(end, name, start)
    return layer


def _sizes(weight_hh: Array, units: int) -> int:
    """Number of gates."""
    rows = weight_hh.shape[0]
    if weight_hh.ndim != 2 or units < 1 or rows % units or rows // units not in LAYERS:
        raise FormatError(f"'weight_hh' of shape {weight_hh.shape} is of no LSTM, GRU or RNN of {units} units")
    return rows // units


def _nonlinearity(gates: int, options: Mapping[str, Any]) -> dict[str, Any]:
    if gates != 1:
        return {}
    activation = options.get("nonlinearity", "tanh")
    if activation not in ("tanh", "relu"):
        raise FormatError(f"`nonlinearity` must be 'tanh' or 'relu', got {activation!r}")
    return {"activation": activation}


def _cell(parts: Parts, options: Mapping[str, Any], common: dict[str, Any]) -> Any:
    plan = Plan.of_cell(parts)
    cell = CELLS[plan.gates](plan.units, use_bias=plan.use_bias, **_nonlinearity(plan.gates, options), **common)
    return _built(cell, (None, plan.features))


def _has_bias(parts: Parts, suffix: str) -> bool:
    both = [f"bias_{side}{suffix}" in parts for side in ("ih", "hh")]
    if both[0] != both[1]:
        raise FormatError(f"one of 'bias_ih{suffix}' and 'bias_hh{suffix}' is missing")
    return both[0]


class Plan:
    """What the parameters of a recurrent module make together, each of them of the shape that it must have.

    Parameters
    ----------
    parts : dict of str to array

    Attributes
    ----------
    gates, units, features : int
    width : int
        Of the outputs of a direction: ``proj_size`` or the units.
    depth : int
        Layers on each other.
    both, projected, use_bias : bool

    Raises
    ------
    FormatError, IndexError, KeyError
        If parameters are missing or do not fit each other.
    """

    def __init__(self, parts: Parts):
        first = parts["weight_ih_l0"], parts["weight_hh_l0"]
        self.projected, self.both = "weight_hr_l0" in parts, "weight_ih_l0_reverse" in parts
        self.width = first[1].shape[1]
        self.units = parts["weight_hr_l0"].shape[1] if self.projected else self.width
        self.gates, self.features = _sizes(first[1], self.units), first[0].shape[1]
        if self.projected and self.gates != LSTM.gates:
            raise FormatError("'weight_hr' (proj_size) is known for an LSTM only")
        self.use_bias = _has_bias(parts, "_l0")
        self.depth = 1 + max(int(match[2]) for leaf in parts if (match := RECURRENT.fullmatch(leaf)))
        stems = ["weight_ih", "weight_hh", *["bias_ih", "bias_hh"] * self.use_bias, *["weight_hr"] * self.projected]
        ends = ["", "_reverse"][: 1 + self.both]
        wanted = {f"{stem}_l{k}{end}" for stem in stems for k in range(min(self.depth, len(parts))) for end in ends}
        if wanted != parts.keys() or self.depth > len(parts):
            odd = sorted(wanted ^ parts.keys())
            raise FormatError(f"its layers differ: {odd[0] if odd else 'some'!r} is missing or does not belong to them")
        rows, features = self.gates * self.units, self.features
        for k in range(self.depth):
            for end in ends:
                self._check(parts, f"_l{k}{end}", rows, features)
            features = self.width * len(ends)

    @classmethod
    def of_cell(cls, parts: Parts) -> Plan:
        """The plan of a cell."""
        plan = cls.__new__(cls)
        plan.width = plan.units = parts["weight_hh"].shape[1]
        plan.gates, plan.features = _sizes(parts["weight_hh"], plan.units), parts["weight_ih"].shape[1]
        plan.use_bias, plan.depth, plan.both, plan.projected = _has_bias(parts, ""), 1, False, False
        plan._check(parts, "", plan.gates * plan.units, plan.features)
        return plan

    def _check(self, parts: Parts, suffix: str, rows: int, features: int) -> None:
        """The shapes of one layer in one direction: before its weights, which have them too, are made."""
        needed(parts, f"weight_ih{suffix}", (rows, features))
        needed(parts, f"weight_hh{suffix}", (rows, self.width))
        if self.projected:
            needed(parts, f"weight_hr{suffix}", (self.width, self.units))
        for side in ("ih", "hh") if self.use_bias else ():
            needed(parts, f"bias_{side}{suffix}", (rows,))


def _recurrent(name: str, plan: Plan, options: Mapping[str, Any], common: dict[str, Any], return_state: bool) -> Any:
    """A layer, a Bidirectional, or a model of several."""
    gates, units, width, features = plan.gates, plan.units, plan.width, plan.features
    both, projected, depth, directions = plan.both, plan.projected, plan.depth, 1 + plan.both
    base = name or LAYERS[gates].cell_kind.replace("simple_", "")
    alone = depth == 1 and not projected
    chain: list[Any] = []
    for k in range(depth):
        own = {**common, "name": base if alone else f"{base}_l{k}"}
        layer = LAYERS[gates](
            units, return_sequences=True, return_state=return_state, use_bias=plan.use_bias, zero_output_for_mask=True,
            **_nonlinearity(gates, options), **own,
        )  # fmt: skip
        layer = Bidirectional(layer, name=own["name"]) if both else layer
        chain.append(_built(layer, (None, None, features)))
        features = units * directions
        if projected:
            own["name"] += PROJECTION
            dense = Dense(width * directions, use_bias=False, **own)
            chain.append(_built(dense, (None, None, features)))
            features = width * directions
    if alone:
        return chain[0]
    if not return_state:
        return Sequential([Input((None, plan.features), dtype=common["dtype"]), *chain], name=base)
    y = x = Input((None, plan.features), dtype=common["dtype"])
    states: list[Any] = []
    for layer in chain:
        y = layer(y)
        if isinstance(y, list):
            states += y[1:]
            y = y[0]
    return Model(x, [y, *states], name=base)


def _convolution(kind: str, weight: Array, use_bias: bool, options: dict[str, Any], common: dict[str, Any]) -> Any:
    """A convolution; with zeros around its input by PyTorch's ``padding=1`` a model of both."""
    filters, channels, *sizes = weight.shape
    zeros: Numbers = ()
    if not isinstance(options.get("padding", ""), str):
        zeros = numbers(options, "padding", 0, len(sizes))
        options["padding"] = "valid"
    if max(zeros, default=0) > LARGEST_WINDOW:
        raise FormatError(f"padding={zeros}, the most is {LARGEST_WINDOW:,}")
    layer = CONVOLUTIONS[kind](filters, sizes, use_bias=use_bias, **options, **common)
    shape = (*[None] * layer.rank, channels * layer.groups)
    _built(layer, (None, *shape))
    if not any(zeros):
        return layer
    around = ZEROS[layer.rank](
        zeros if layer.rank > 1 else zeros[0], dtype=common["dtype"], name=f"{layer.name}_padding"
    )
    return Sequential([Input(shape, dtype=common["dtype"]), around, layer], name=layer.name)


def _single(name: str, kind: str, parts: Parts, options: Mapping[str, Any], common: dict[str, Any]) -> Any:
    weight = parts.get("weight", parts.get("running_mean", np.zeros(0)))
    if kind == "matrix":
        if is_embedding(name, parts, options):
            return _built(Embedding(*weight.shape, **common), (None, None))
        return _built(Dense(weight.shape[0], use_bias="bias" in parts, **common), (None, weight.shape[1]))
    if kind in CONVOLUTIONS:
        return _convolution(kind, weight, "bias" in parts, dict(options), common)
    if weight.ndim != 1:
        raise FormatError(f"a normalization over one axis is needed, got parameters of shape {weight.shape}")
    settings = {"epsilon": 1e-5, **options}
    if kind == "LayerNorm":
        return _built(LayerNormalization(**settings, **common), (None, weight.shape[0]))
    if kind == "GroupNorm":
        return _built(GroupNormalization(**settings, **common), (None, weight.shape[0]))
    affine = "weight" in parts
    if affine != ("bias" in parts):
        raise FormatError("one of 'weight' and 'bias' is missing")
    settings = {"momentum": 0.9, **settings}
    return _built(BatchNormalization(center=affine, scale=affine, **settings, **common), (None, weight.shape[0]))
