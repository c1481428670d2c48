"""Rules for signals, sequences, texts and tables; see `_sizes`."""

from __future__ import annotations

from typing import Any

from rnnx.formats.onnx._node import Array, NodeInfo
from rnnx.formats.onnx._sizes import ENTRY, STEP, TEXT, elements, extent, integers, measure, total
from rnnx.saving import FormatError

# ---- Signals ---------------------------------------------------------------------------------------------------------


def transform(info: NodeInfo, x: Array, length: Any = None, axis: Any = None) -> int:
    """A Fourier transform, of a length that may be given."""
    if length is None:
        return 2 * extent(x.shape) * 16
    place = int(axis.reshape(-1)[0]) if axis is not None else info.attributes.get("axis", 1 if info.opset < 20 else -2)
    along = x.shape[place] if -x.ndim <= place < x.ndim else 1
    return extent(x.shape) // max(1, along) * max(1, *integers(length)) * 2 * 16


def _frames(x: Array, step: Array, window: Any, length: Any) -> tuple[int, int]:
    """How many frames a signal has, and how long they are."""
    hop = int(step.reshape(-1)[0])
    wide = int(length.reshape(-1)[0]) if length is not None else x.shape[-2] if window is None else len(window)
    if hop < 1 or wide < 1 or x.ndim < 2:
        raise FormatError(f"frames of {wide} elements every {hop} of a signal of shape {x.shape}")
    return x.shape[-2] // hop + 1, max(wide, 0 if window is None else len(window))


def frames(info: NodeInfo, x: Array, step: Array, window: Any = None, length: Any = None) -> int:
    """Transforms of all frames of a signal."""
    count, wide = _frames(x, step, window, length)
    return extent(x.shape[:-2]) * count * wide * 2 * 16


def frames_work(info: NodeInfo, x: Array, step: Array, window: Any = None, length: Any = None) -> int:
    """The evaluator cuts out each frame in Python."""
    return _frames(x, step, window, length)[0] * 50_000


def mel_weights(info: NodeInfo, bins: Array, length: Array, *rest: Any) -> int:
    """A weight for each bin and each frequency."""
    return (max(1, *integers(bins)) + 2) * (max(1, *integers(length)) // 2 + 1) * 8


def mel_work(info: NodeInfo, bins: Array, length: Array, *rest: Any) -> int:
    """The evaluator fills the table in Python."""
    return max(1, *integers(bins)) * 20_000 + max(1, *integers(length)) * 20 * STEP


# ---- Sequences, texts, tables ----------------------------------------------------------------------------------------


def joined(info: NodeInfo, *parts: Any) -> int:
    """Arrays one after another; they become one type."""
    found = [x for part in parts for x in (part if isinstance(part, (list, tuple)) else [part]) if x is not None]
    widest = max([x.itemsize for x in found], default=1)
    return sum([max(measure(x), elements(x) * widest) for x in found])


def split_up(info: NodeInfo, x: Array, *rest: Any) -> int:
    """A sequence of the parts of an array."""
    axis = info.attributes.get("axis", 0)
    return total(x) + 2 * ENTRY * (x.shape[axis] if -x.ndim <= axis < x.ndim else 1)


def split_up_work(info: NodeInfo, x: Array, *rest: Any) -> int:
    """A view for each part."""
    return split_up(info, x) // ENTRY * STEP


def texts_split(info: NodeInfo, x: Array) -> int:
    """All texts get as many parts as the one with the most."""
    longest = max([len(str(text)) for text in x.flat], default=0)
    return extent(x.shape) * (longest + 1) * TEXT


def counted_words(info: NodeInfo, x: Array) -> int:
    """A row of counts for every row of words."""
    return extent(x.shape) * (max(info.attributes.get("ngram_indexes") or [0], default=0) + 1) * 8


def counted_words_work(info: NodeInfo, x: Array) -> int:
    """Every word, length and gap is looked up in Python."""
    lengths, gaps = (max(1, int(info.attributes.get(n, 1))) for n in ("max_gram_length", "max_skip_count"))
    return extent(x.shape) * (lengths + 1) * (gaps + 1) * 3 * STEP


def _listed(info: NodeInfo) -> int:
    """The longest list among the attributes."""
    return max([len(value) for value in info.attributes.values() if isinstance(value, (list, str))], default=0) + 1


def with_lists(info: NodeInfo, *inputs: Any) -> int:
    """Every element of the inputs with every entry of the attributes."""
    return 8 * sum([elements(x) for x in inputs if x is not None]) * _listed(info)


def with_lists_work(info: NodeInfo, *inputs: Any) -> int:
    """The same in Python."""
    return with_lists(info, *inputs) // 8 * STEP
