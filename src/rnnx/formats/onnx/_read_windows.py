"""Convolution and pooling along one, two or three axes as layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx import layers, ops
from rnnx.formats.onnx import _read_operations
from rnnx.formats.onnx._axes import channels_last
from rnnx.formats.onnx._file import attributes_of, called
from rnnx.formats.onnx._limits import MOST_REPEATED
from rnnx.formats.onnx._read_layers import activation_after, dtype_of
from rnnx.formats.onnx._reading import NoLayer, Reading
from rnnx.formats.onnx._view import View, view_of

CONVOLUTIONS = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}
TRANSPOSED = {1: layers.Conv1DTranspose, 2: layers.Conv2DTranspose, 3: layers.Conv3DTranspose}
CROPPING = {1: layers.Cropping1D, 2: layers.Cropping2D, 3: layers.Cropping3D}
UPSAMPLING = {1: layers.UpSampling1D, 2: layers.UpSampling2D, 3: layers.UpSampling3D}
REPEATING = {  # how nearest neighbours are chosen, where whole times as many places repeat each place
    ("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil"),
    ("pytorch_half_pixel", "round_prefer_floor"), ("pytorch_half_pixel", "round_prefer_ceil"),
}  # fmt: skip
ZEROS = {1: layers.ZeroPadding1D, 2: layers.ZeroPadding2D, 3: layers.ZeroPadding3D}
POOLS: dict[tuple[str, int], Any] = {
    ("MaxPool", 1): layers.MaxPooling1D, ("MaxPool", 2): layers.MaxPooling2D,
    ("AveragePool", 1): layers.AveragePooling1D, ("AveragePool", 2): layers.AveragePooling2D,
    ("GlobalMaxPool", 1): layers.GlobalMaxPooling1D, ("GlobalMaxPool", 2): layers.GlobalMaxPooling2D,
    ("GlobalAveragePool", 1): layers.GlobalAveragePooling1D, ("GlobalAveragePool", 2): layers.GlobalAveragePooling2D,
    ("MaxPool", 3): layers.MaxPooling3D, ("AveragePool", 3): layers.AveragePooling3D,
    ("GlobalMaxPool", 3): layers.GlobalMaxPooling3D, ("GlobalAveragePool", 3): layers.GlobalAveragePooling3D,
}  # fmt: skip


def _along(reading: Reading, node: Any) -> tuple[View, int]:
    """The input, (batch, channels, ...), of a tensor that has the channels last, and how many axes lie between."""
    view = reading.tensor(node, 0)
    if view.rank - 2 not in CONVOLUTIONS:
        raise NoLayer(f"{called(node)} along {view.rank - 2} axes")
    return channels_last(reading, node, view), view.rank - 2


def _of_rows(view: View, layer: Any) -> Any:
    """A layer for each row of a value: of the batch, or of the batch and the timesteps."""
    return layer if view.axes[0] == (0,) else layers.TimeDistributed(layer)


def _numbers(node: Any, name: str, count: int, default: int) -> list[int]:
    """One number for each axis."""
    found = [int(n) for n in attributes_of(node).get(name, [default] * count)]
    if len(found) != count or min(found) < 1:
        raise NoLayer(f"{called(node)} with {name} {found[:8]}")
    return found


def _padding(node: Any, windows: list[int], strides: list[int]) -> str | None:
    """The padding of a layer; None if no layer has it."""
    attributes, count = attributes_of(node), len(windows)
    auto, pads = attributes.get("auto_pad", "NOTSET"), list(attributes.get("pads", [0] * 2 * count))
    if auto in ("SAME_UPPER", "VALID"):
        return "same" if auto == "SAME_UPPER" else "valid"
    if auto != "NOTSET" or len(pads) != 2 * count or min(pads) < 0 or max(pads) > MOST_REPEATED:
        raise NoLayer(f"{called(node)} with auto_pad {auto} and pads {pads[:8]}")
    if not any(pads):
        return "valid"
    before = [(window - 1) // 2 for window in windows]
    if set(strides) == {1} and pads == [*before, *(w - 1 - b for w, b in zip(windows, before, strict=True))]:
        return "same"
    return "causal" if count == 1 and pads == [windows[0] - 1, 0] else None


def _padded(reading: Reading, node: Any, view: View, count: int) -> View:
    """Zeros around the value."""
    pads = attributes_of(node)["pads"]
    edges = tuple(zip(pads[:count], pads[count:], strict=True))
    layer = ZEROS[count](edges[0] if count == 1 else edges, dtype=np.dtype(view.dtype).name)
    return _moved(reading, view, reading.call(_of_rows(view, layer), view.single))


def _moved(reading: Reading, view: View, y: Any) -> View:
    """What a layer with windows makes of a value."""
    rows = len(view.axes[0])
    names = [*view.names[:rows], *(reading.new_name() if n is None else "" for n in y.shape[rows:-1]), ""]
    return view_of(y, view.axes, names)


def _convolution(reading: Reading, node: Any) -> None:
    kernel = reading.constant(node, 1)
    view, count = _along(reading, node)
    if kernel.ndim != count + 2:
        raise NoLayer(f"{called(node)} with a kernel of shape {kernel.shape}")
    bias = node.input[2] if len(node.input) > 2 else ""
    order = (*range(2, count + 2), 1, 0)
    arrays = [kernel.transpose(order), *([reading.constant(node, 2)] if bias else [])]
    strides, dilations = _numbers(node, "strides", count, 1), _numbers(node, "dilations", count, 1)
    sizes = list(kernel.shape[2:])
    windows = [(size - 1) * dilation + 1 for size, dilation in zip(sizes, dilations, strict=True)]
    padding = _padding(node, windows, strides)
    if padding is None:
        view, padding = _padded(reading, node, view, count), "valid"
    name, axes, follow = node.output[0], view.axes, reading.only_reader(node.output[0])
    back = [0, *range(2, count + 2), 1]
    if follow is not None and follow.op_type == "Transpose" and attributes_of(follow).get("perm") == back:
        rows = len(axes[0])
        name, axes = follow.output[0], (axes[0], *((k,) for k in range(rows, rows + count + 1)))
    activation, name = activation_after(reading, name, view.moved(axes))
    groups = attributes_of(node).get("group", 1)
    y = reading.weighted(
        ("Conv", *node.input[1:], padding, activation, *strides, *dilations, groups, view.axes[0]),
        lambda: _of_rows(view, CONVOLUTIONS[count](
            kernel.shape[0], sizes, strides=strides, dilation_rate=dilations, groups=groups, padding=padding,
            activation=activation, use_bias=bool(bias), dtype=dtype_of(kernel),
        )),
        lambda: arrays,
        view.single,
    )  # fmt: skip
    reading.give(name, _moved(reading, view.moved(axes), y))


def _pool(reading: Reading, node: Any) -> None:
    attributes = attributes_of(node)
    view, count = _along(reading, node)
    sizes, strides = _numbers(node, "kernel_shape", count, 1), _numbers(node, "strides", count, 1)
    padding, counted = _padding(node, sizes, strides), bool(attributes.get("count_include_pad", 0))
    ceil, highest = bool(attributes.get("ceil_mode", 0)), node.op_type == "MaxPool"
    dilated = set(attributes.get("dilations", [1])) != {1}
    if dilated or len(node.output) > 1 or (ceil and not (highest and attributes.get("auto_pad", "NOTSET") == "NOTSET")):
        raise NoLayer(f"{called(node)} with {attributes}")
    if highest and (ceil or padding in (None, "causal")):
        view, padding = _padded_below(reading, node, view, sizes, strides, ceil), "valid"
    elif padding is None and counted:
        view, padding = _padded(reading, node, view, count), "valid"
    if padding in (None, "causal") or (padding == "same" and counted and not highest):
        raise NoLayer(f"{called(node)} with {attributes}")
    size, stride = (sizes, strides) if count > 1 else (sizes[0], strides[0])
    layer = POOLS[node.op_type, count](size, strides=stride, padding=padding, dtype=np.dtype(view.dtype).name)
    reading.give(node.output[0], _moved(reading, view, reading.call(_of_rows(view, layer), view.single)))


def _padded_below(reading: Reading, node: Any, view: View, windows: list[int], strides: list[int], ceil: bool) -> View:
    """A margin that is no maximum of any window.

    With `ceil` a window that begins inside of the value and ends beyond it counts too: a stride less than a step at the
    end is as much as such windows reach, whatever the number of places.
    """
    count = len(windows)
    pads = attributes_of(node).get("pads", [0] * 2 * count)
    margins = []
    for k, (window, stride) in enumerate(zip(windows, strides, strict=True)):
        before, after = pads[k], pads[count + k]
        if max(before, after) >= window or (ceil and after > window - stride):
            raise NoLayer(f"{called(node)} whose windows may lie in the padding alone")
        margins.append((before, after + (stride - 1 if ceil else 0)))
    if not any(map(any, margins)):
        return view
    rows = [(0, 0)] * len(view.axes[0])
    y = reading.operate(ops.pad, view.single, [*rows, *margins, (0, 0)], constant_values=-np.inf)
    return _moved(reading, view, y)


def _transposed(reading: Reading, node: Any) -> None:
    attributes, kernel = attributes_of(node), reading.constant(node, 1)
    view, count = _along(reading, node)
    automatic, groups = attributes.get("auto_pad", "NOTSET"), attributes.get("group", 1)
    if kernel.ndim != count + 2 or groups != 1 or automatic not in ("NOTSET", "VALID") or "output_shape" in attributes:
        raise NoLayer(f"{called(node)} with {attributes} and a kernel of shape {kernel.shape}")
    strides, dilations = _numbers(node, "strides", count, 1), _numbers(node, "dilations", count, 1)
    pads, more = (list(attributes.get(name, [0] * n)) for name, n in (("pads", 2 * count), ("output_padding", count)))
    if len(pads) != 2 * count or len(more) != count or min(*pads, *more) < 0 or max(pads) > MOST_REPEATED:
        raise NoLayer(f"{called(node)} with pads {pads[:8]} and output_padding {more[:8]}")
    if any(extra >= stride for extra, stride in zip(more, strides, strict=True)):
        raise NoLayer(f"{called(node)} with strides {strides} and output_padding {more}")
    bias = node.input[2] if len(node.input) > 2 else ""
    arrays = [kernel.transpose(*range(2, count + 2), 1, 0), *([reading.constant(node, 2)] if bias else [])]
    activation, name = activation_after(reading, node.output[0], view)
    y = reading.weighted(
        ("ConvTranspose", *node.input[1:], activation, *strides, *dilations, *more, view.axes[0]),
        lambda: _of_rows(view, TRANSPOSED[count](
            kernel.shape[1], list(kernel.shape[2:]), strides=strides, dilation_rate=dilations,
            output_padding=more if count > 1 else more[0], activation=activation, use_bias=bool(bias),
            dtype=dtype_of(kernel),
        )),
        lambda: arrays,
        view.single,
    )  # fmt: skip
    view = _moved(reading, view, y)
    if any(pads):
        edges = list(zip(pads[:count], pads[count:], strict=True))
        layer = CROPPING[count](edges[0] if count == 1 else edges, dtype=np.dtype(view.dtype).name)
        view = _moved(reading, view, reading.call(_of_rows(view, layer), view.single))
    reading.give(name, view)


def _resize(reading: Reading, node: Any) -> None:
    """Resize and Upsample to whole times as many places."""
    attributes = attributes_of(node)
    view, count = _along(reading, node)
    times = _times(reading, node, count + 2)
    mode = attributes.get("mode", "nearest")
    old = node.op_type == "Upsample" or reading.source.opsets[""] < 11
    how = "asymmetric" if old else attributes.get("coordinate_transformation_mode", "half_pixel")
    choice = "floor" if old else attributes.get("nearest_mode", "round_prefer_floor")
    repeats = mode == "nearest" and (how, choice) in REPEATING
    between = mode == "linear" and count == 2 and how in ("half_pixel", "pytorch_half_pixel")
    if times is None or times[:2] != [1, 1] or not (repeats or between) or attributes.get("antialias", 0):
        raise NoLayer(f"{called(node)} of mode {mode}, {how}, {choice}, to {times} times the places")
    reading.repeat(node, int(np.prod(times)))
    options: dict[str, Any] = {"interpolation": "bilinear"} if between else {}
    size = times[2:] if count > 1 else times[2]
    layer = UPSAMPLING[count](size, dtype=np.dtype(view.dtype).name, **options)
    reading.give(node.output[0], _moved(reading, view, reading.call(_of_rows(view, layer), view.single)))


def _times(reading: Reading, node: Any, rank: int) -> list[int] | None:
    """How many times as long each axis becomes; None if it is no whole number, or not known."""
    attributes = attributes_of(node)
    if "axes" in attributes or attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return None
    place = 1 if node.op_type == "Upsample" or reading.source.opsets[""] < 11 else 2
    name = node.input[place] if len(node.input) > place else ""
    found: Any = attributes.get("scales") if node.op_type == "Upsample" else None
    if found is None and name and reading.constant(node, place).size:
        found = reading.known[name].reshape(-1)
    if found is None or len(found) != rank or any(scale < 1 or scale != int(scale) for scale in found):
        return None
    return [int(scale) for scale in found]


def _global(reading: Reading, node: Any) -> None:
    """GlobalMaxPool and GlobalAveragePool, which keep axes of size 1."""
    view, count = _along(reading, node)
    layer = _of_rows(view, POOLS[node.op_type, count](dtype=np.dtype(view.dtype).name))
    y, rows = reading.call(layer, view.single), view.axes[0]
    reading.give(node.output[0], view_of(y, (rows, (len(rows),), *[()] * count), [*view.names[: len(rows)], ""]))


def _over_time(reading: Reading, node: Any) -> None:
    """ReduceMax and ReduceMean, over the timesteps as layers."""
    view = reading.stacked(reading.view(node, 0))
    axes = reading.integers(node, 1, "axes") or []
    place = axes[0] % view.rank if len(axes) == 1 and view.rank else 0
    if view.width != 3 or view.axes[place] != (1,):
        _read_operations.reduced(reading, node)
        return
    kind = "GlobalMaxPool" if node.op_type == "ReduceMax" else "GlobalAveragePool"
    y = reading.call(POOLS[kind, 1](dtype=np.dtype(view.dtype).name), view.single)
    entries: list[tuple[int, ...]] = [tuple(min(k, 1) for k in entry) for entry in view.axes]
    entries[place : place + 1] = [()] if attributes_of(node).get("keepdims", 1) else []
    reading.give(node.output[0], view_of(y, tuple(entries), [view.names[0], view.names[2]]))


READERS: dict[str, Callable[[Reading, Any], None]] = {
    "AveragePool": _pool,
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "GlobalAveragePool": _global,
    "GlobalMaxPool": _global,
    "MaxPool": _pool,
    "ReduceMax": _over_time,
    "ReduceMean": _over_time,
    "Resize": _resize,
    "Upsample": _resize,
}
