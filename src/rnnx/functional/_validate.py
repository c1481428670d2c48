"""Every check of what reaches the engine: who, which argument, expected with numbers, got, what to do."""

from __future__ import annotations

from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np

from rnnx import _kernels
from rnnx._typing import Array
from rnnx.dropout import DropoutMasks
from rnnx.dropout.masks import ARRAYS
from rnnx.functional._types import GRUParams, LSTMParams, Params, RNNParams

CELL_NAMES: dict[type, str] = {params: params.cell.name for params in (LSTMParams, GRUParams, RNNParams)}
GATES: dict[type, int] = {params: params.cell.gates for params in (LSTMParams, GRUParams, RNNParams)}
GATE_ORDERS = {"zrh": (0, 1, 2), "rzh": (1, 0, 2)}  # where z, r and h stand
RECURRENT_MODES = ("state", "update", "cell", "weights")
ROWS = 1024  # of a kernel that are checked at a time: a copy of a large one whole would be too much


def check_array(
    who: str, name: str, value: Any, shape: tuple[int | None, ...], meaning: str, dtype: Any = None
) -> Array:
    """An array of float32 or float64 with this shape (None: any size) and, if given, this dtype.

    Byte order is no matter of the caller's: other than the machine's, the array is returned as a native copy.
    """
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{who}: `{name}` must be a numpy array, got {type(value).__name__}; use np.asarray(...)")
    if not value.dtype.isnative:
        value = native(value)
    if value.dtype.char not in "fd":
        raise TypeError(
            f"{who}: `{name}` must be float32 or float64, got {value.dtype}; use .astype(np.float32) or np.float64"
        )
    if value.shape != shape and (
        value.ndim != len(shape)
        or any([want is not None and want != got for want, got in zip(shape, value.shape, strict=True)])
    ):
        wanted = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"
        raise ValueError(f"{who}: `{name}` must have shape {meaning} = {wanted}, got {value.shape}")
    if dtype is not None and value.dtype != dtype:
        raise TypeError(
            f"{who}: `{name}` is {value.dtype} but the weights are {dtype}; "
            f"one call has one dtype: use {name}.astype(np.{dtype}), or cast the weights"
        )
    return value


def check_out(who: str, out: Any, shape: tuple[int, ...], meaning: str, dtype: Any) -> None:
    """Check an array that is to be written: every element of it has a place of its own."""
    check_array(who, "out", out, shape, meaning, dtype)
    if not out.flags.writeable:
        raise ValueError(f"{who}: `out` is read-only")
    if not _kernels.has_own_places(out):
        raise ValueError(
            f"{who}: `out` has elements that overlap (shape {shape}, strides {out.strides}); "
            "give an array of its own memory, such as np.empty(shape)"
        )


def native(array: Any) -> Any:
    """An array in the machine's byte order: itself if it is, or a copy. Anything else as it is."""
    if not isinstance(array, np.ndarray) or array.dtype.isnative:
        return array
    return array.astype(array.dtype.newbyteorder("="))


def native_params(params: Params) -> Params:
    """Weights in the machine's byte order: the same object if they are."""
    names = ("kernel", "recurrent_kernel", "bias", *(("peepholes",) if isinstance(params, LSTMParams) else ()))
    arrays = {name: getattr(params, name) for name in names}
    made = {name: native(array) for name, array in arrays.items()}
    return params if all(made[name] is array for name, array in arrays.items()) else replace(params, **made)


def check_params(params: Params) -> tuple[str, int, int]:
    """Check the weights; their cell's name, features and units."""
    who, gates = CELL_NAMES[type(params)], GATES[type(params)]
    product = "units" if gates == 1 else f"{gates}*units"
    recurrent = params.recurrent_kernel
    if not isinstance(recurrent, np.ndarray) or recurrent.ndim != 2:
        check_array(who, "recurrent_kernel", recurrent, (None, None), f"(units, {product})")
    blocks = params.recurrent_blocks
    if isinstance(blocks, bool) or not isinstance(blocks, (int, np.integer)) or blocks < 1:
        raise ValueError(f"{who}: `recurrent_blocks` must be a positive integer, got {blocks!r}")
    size, rows = recurrent.shape[0], "units" if blocks == 1 else f"units / {blocks}"
    units = size * int(blocks)
    if units < 1:
        raise ValueError(f"{who}: `recurrent_kernel` must have at least one unit, got shape {recurrent.shape}")
    check_array(who, "recurrent_kernel", recurrent, (size, gates * units), f"({rows}, {product})")
    dtype = recurrent.dtype
    check_array(who, "kernel", params.kernel, (None, gates * units), f"(features, {product})", dtype)
    if params.bias is not None:
        if isinstance(params, GRUParams) and params.reset_after:
            check_array(who, "bias", params.bias, (2, gates * units), f"(2, {product})", dtype)
        else:
            check_array(who, "bias", params.bias, (gates * units,), f"({product},)", dtype)
    if isinstance(params, LSTMParams) and params.peepholes is not None:
        check_array(who, "peepholes", params.peepholes, (3 * units,), "(3*units,)", dtype)
    if isinstance(params, GRUParams) and params.gate_order not in GATE_ORDERS:
        raise ValueError(f"{who}: `gate_order` must be one of {tuple(GATE_ORDERS)}, got {params.gate_order!r}")
    clip = params.clip
    if clip is not None and (isinstance(clip, bool) or not isinstance(clip, Real) or not clip > 0):
        raise ValueError(f"{who}: `clip` must be a positive number or None, got {clip!r}")
    return who, params.kernel.shape[0], units


def check_scales(params: Params, scales: Any, largest: int) -> tuple[Array, Array]:
    """The scales of the columns of both kernels, which must be whole multiples of them, by at most ``largest``."""
    who = CELL_NAMES[type(params)]
    if not isinstance(scales, tuple) or len(scales) != 2:
        raise TypeError(f"{who}: `scales` must be a pair of arrays, got {type(scales).__name__}")
    for name, scale in zip(("kernel", "recurrent_kernel"), scales, strict=True):
        kernel = getattr(params, name)
        check_array(who, f"scales of {name}", scale, kernel.shape[1:], f"{kernel.shape[1:]}", kernel.dtype)
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            raise ValueError(f"{who}: `scales` of `{name}` must be positive and finite")
        if not all(_are_multiples(kernel[k : k + ROWS], scale, largest) for k in range(0, len(kernel), ROWS)):
            raise ValueError(
                f"{who}: `{name}` must be whole multiples of its `scales`, of -{largest} to {largest} times each"
            )
    first, second = scales
    return first, second


def _are_multiples(kernel: Array, scale: Array, largest: int) -> bool:
    numbers = np.rint(kernel / scale)
    return bool((np.abs(numbers) <= largest).all()) and np.allclose(numbers * scale, kernel, rtol=1e-6, atol=0)


def check_batch_sizes(who: str, rows: int, sizes: Any) -> Array:
    """The numbers of rows at each step of packed data, which has so many rows."""
    sizes = np.asarray(sizes)
    if sizes.dtype.kind not in "iu" or sizes.ndim != 1:
        raise TypeError(
            f"{who}: `batch_sizes` must be integers of shape (timesteps,), got {sizes.dtype} of shape {sizes.shape}"
        )
    sizes = sizes.astype(np.intp)
    if (sizes < 1).any() or (np.diff(sizes) > 0).any():
        raise ValueError(
            f"{who}: `batch_sizes` must be positive and not grow: sort the sequences by falling length, got {sizes}"
        )
    if sizes.sum() != rows:
        raise ValueError(f"{who}: `x` must have sum(batch_sizes) = {sizes.sum()} rows, got {rows}")
    return sizes


def check_validity(who: str, batch: int, timesteps: int, mask: Any, lengths: Any) -> Array | None:
    """The boolean (batch, timesteps) array that `mask` or `lengths` stands for; None if neither is given."""
    if mask is not None and lengths is not None:
        raise ValueError(f"{who}: give `mask` or `lengths`, not both")
    if mask is not None:
        mask = np.asarray(mask)
        if mask.dtype != np.bool_:
            raise TypeError(
                f"{who}: `mask` must be boolean (True = use the step), got {mask.dtype}; use mask.astype(bool)"
            )
        if mask.shape != (batch, timesteps):
            raise ValueError(
                f"{who}: `mask` must have shape (batch, timesteps) = {(batch, timesteps)}, got {mask.shape}"
            )
        return mask
    if lengths is None:
        return None
    lengths = np.asarray(lengths)
    if lengths.dtype.kind not in "iu":
        raise TypeError(f"{who}: `lengths` must be integers, got {lengths.dtype}; use lengths.astype(int)")
    if lengths.shape != (batch,):
        raise ValueError(f"{who}: `lengths` must have shape (batch,) = {(batch,)}, got {lengths.shape}")
    bad = (lengths < 0) | (lengths > timesteps)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"{who}: `lengths` must lie in 0..{timesteps} (timesteps), got {lengths[row]} in row {row}")
    return np.arange(timesteps) < lengths[:, None]


def check_reset(who: str, shape: tuple[int, ...], reset: Any) -> Array:
    """The boolean array of shape (batch, timesteps), or (rows,) of packed data, that says where new sequences begin."""
    reset = np.asarray(reset)
    if reset.dtype != np.bool_:
        raise TypeError(
            f"{who}: `reset` must be boolean (True = a new sequence begins), got {reset.dtype}; use reset.astype(bool)"
        )
    if reset.shape != shape:
        meaning = "(rows,)" if len(shape) == 1 else "(batch, timesteps)"
        raise ValueError(f"{who}: `reset` must have shape {meaning} = {shape}, got {reset.shape}")
    return reset


def check_ids(who: str, ids: Any, count: int) -> Array:
    """Numbers of rows, as the engine reads them."""
    ids = np.asarray(ids)
    if ids.dtype.kind not in "iu" or ids.ndim != 2:
        raise ValueError(
            f"{who}: `x` must hold integers of shape (batch, timesteps) for a `table`, got {ids.dtype} of {ids.shape}"
        )
    if ids.size and (ids.min() < 0 or ids.max() >= count):
        bad = int(ids.min()) if ids.min() < 0 else int(ids.max())
        raise ValueError(f"{who}: `x` must lie in 0..{count - 1} (rows of `table`), got {bad}")
    return ids.astype(np.intp, copy=False)


def _is_mask(value: Any, gates: int, batch: int, timesteps: int, width: int, dtype: Any) -> bool:
    """Whether it is an array of this very dtype and a shape (gates, batch, timesteps, width), each axis that or 1."""
    if type(value) is not np.ndarray or value.dtype is not dtype or value.ndim != 4:
        return False
    count, rows, steps, wide = value.shape
    return (
        (count == 1 or count == gates)
        and (rows == 1 or rows == batch)
        and (steps == 1 or steps == timesteps)
        and (wide == 1 or wide == width)
    )


def check_dropout_masks(
    who: str,
    masks: DropoutMasks | None,
    gates: int,
    batch: int,
    timesteps: int,
    features: int,
    units: int,
    dtype: Any,
    blocks: int = 1,
) -> DropoutMasks | None:
    """Check a set of dropout masks against the call it is meant for; the set in the machine's byte order."""
    if masks is None:
        return None
    if not isinstance(masks, DropoutMasks):
        raise TypeError(f"{who}: `masks` must be a DropoutMasks, got {type(masks).__name__}")
    if masks.recurrent_mode not in RECURRENT_MODES:
        raise ValueError(f"{who}: `recurrent_mode` must be one of {RECURRENT_MODES}, got {masks.recurrent_mode!r}")

    others = (masks.zoneout_hidden, masks.zoneout_cell, masks.kernel_noise, masks.recurrent_kernel_noise)
    if masks.recurrent_mode == "state" and all([array is None for array in others]):  # what most calls have
        inputs, recurrent = masks.inputs, masks.recurrent
        if (inputs is None or _is_mask(inputs, gates, batch, timesteps, features, dtype)) and (
            recurrent is None or _is_mask(recurrent, gates, batch, timesteps, units, dtype)
        ):
            return masks
    for name in ARRAYS:
        array = getattr(masks, name)
        if isinstance(array, np.ndarray) and not array.dtype.isnative:
            masks = masks.map(native)
            break

    def fits(name: str, value: Array | None, leading: tuple[int, ...], width: int, last: str) -> None:
        if value is None:
            return
        if type(value) is np.ndarray and value.dtype == dtype and value.ndim == (4 if leading else 3):
            rows, steps, wide = value.shape[-3:]
            known = (not leading or value.shape[0] in leading) and rows in (1, batch) and steps in (1, timesteps)
            if known and wide in (1, width):
                return
        axes = (("gates",) if leading else ()) + ("batch", "timesteps", last)
        check_array(who, f"masks.{name}", value, (None,) * len(axes), f"({', '.join(axes)})", dtype)
        full = ((gates,) if leading else ()) + (batch, timesteps, width)
        sizes = value.shape
        if leading and sizes[0] not in leading:
            raise ValueError(
                f"{who}: `masks.{name}` must have {' or '.join(map(str, leading))} gates, got shape {sizes}"
            )
        if any([got not in (1, want) for got, want in zip(sizes[-3:], full[-3:], strict=True)]):
            raise ValueError(
                f"{who}: `masks.{name}` must have shape ({', '.join(axes)}) = {full}, each axis that or 1, got {sizes}"
            )

    fits("inputs", masks.inputs, (1, gates), features, "features")
    wide, rows = (units // blocks, gates * units), "units" if blocks == 1 else f"units / {blocks}"
    if masks.kernel_noise is not None:
        of_x = (features, gates * units)
        check_array(who, "masks.kernel_noise", masks.kernel_noise, of_x, f"(features, {gates}*units)", dtype)
    if (noise := masks.recurrent_kernel_noise) is not None:
        check_array(who, "masks.recurrent_kernel_noise", noise, wide, f"({rows}, {gates}*units)", dtype)
    if masks.recurrent is not None and masks.recurrent_mode == "weights":
        check_array(who, "masks.recurrent", masks.recurrent, wide, f"({rows}, {gates}*units)", dtype)
    elif masks.recurrent is not None:
        fits(
            "recurrent",
            masks.recurrent,
            (1, gates) if masks.recurrent_mode == "state" else (1,),
            units,
            "units",
        )
    fits("zoneout_hidden", masks.zoneout_hidden, (), units, "units")
    if masks.zoneout_cell is not None and who != "LSTM":
        raise ValueError(f"{who}: `masks.zoneout_cell` is for LSTM only, this cell has no separate cell state")
    fits("zoneout_cell", masks.zoneout_cell, (), units, "units")
    return masks
