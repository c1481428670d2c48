"""Arrays from the tensors of a file: every size is held against the bytes that are there before it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats.torch._archive import quoted
from rnnx.formats.torch._values import Storage, Tensor, shown
from rnnx.quantization.rounding import from_bfloat16
from rnnx.saving import FormatError

Records = Callable[[Any], tuple[memoryview, str]]  # the bytes of a storage and their order, "<" or ">"
MOST_AXES = 8
MOST_BYTES_PER_BYTE = 6  # of the file: bfloat16 takes four for an array and for a layer, and may be tied once
TYPES = {
    "Float": "f4", "Double": "f8", "Half": "f2", "BFloat16": "u2", "Long": "i8", "Int": "i4", "Short": "i2",
    "Char": "i1", "Byte": "u1", "Bool": "u1",
}  # fmt: skip


class Tensors:
    """Makes arrays of tensors.

    Parameters
    ----------
    who : str
        For error messages: the file.
    records : callable
        The bytes of a storage and their order.
    size : int
        Of the file in bytes.
    """

    def __init__(self, who: str, records: Records, size: int):
        self.who, self.records = who, records
        self.left = MOST_BYTES_PER_BYTE * size
        self.made: dict[Any, Array] = {}

    def array(self, name: str, tensor: Tensor) -> Array:
        """A read-only view of the bytes of a tensor; bfloat16 comes as float32, and what is empty with one axis.

        Raises
        ------
        FormatError
            If the tensor is of a type without numbers of NumPy, reaches outside of its storage, or all tensors
            together are many times the file.
        """
        who, storage = f"{self.who}: tensor {quoted(name)}", tensor.storage
        if not isinstance(storage, Storage):
            raise FormatError(f"{who} has no storage")
        kind = tensor.kind or storage.kind
        if kind not in TYPES:
            raise FormatError(f"{who} is of type {shown(kind)}, which rnnx cannot read (quantized, complex or too new)")
        itemsize = np.dtype(TYPES[kind]).itemsize
        raw, order = self.records(storage)
        unit = 1 if storage.kind == "Untyped" else itemsize
        begin, length = storage.offset * unit, storage.numel * unit
        if begin < 0 or length < 0 or begin + length > len(raw):
            raise FormatError(
                f"{who}: its storage {quoted(storage.key)} should hold {length} bytes from byte {begin}, "
                f"there are {len(raw)}; is the file cut off?"
            )
        size, stride = _numbers(who, "size", tensor.size), _numbers(who, "stride", tensor.stride)
        offset, room = tensor.offset, length // itemsize
        if len(size) != len(stride) or type(offset) is not int or offset < 0:
            raise FormatError(f"{who}: its size, stride and offset do not fit each other")
        count = 1
        for n in size:
            count *= n
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if count and (last >= room or count > room):
            raise FormatError(
                f"{who} of shape {size} with strides {stride} reaches element {last} or has more than its storage, "
                f"which holds {room}"
            )
        if not count:
            return np.zeros(0, np.float32)
        self._claim(who, count * max(itemsize, 4))  # of the layer
        same = (storage.key, kind, begin, offset, size, stride)
        if same in self.made:
            return self.made[same]
        if kind in ("BFloat16", "Bool"):
            self._claim(who, count * (4 if kind == "BFloat16" else 1))  # of the array, which is no view
        self.made[same] = array = self._array(raw[begin : begin + length], order, kind, offset, size, stride)
        return array

    def _claim(self, who: str, amount: int) -> None:
        """Count bytes that are about to be taken."""
        self.left -= amount
        if self.left < 0:
            raise FormatError(
                f"{who}: tensors that share storages claim much more than the file holds, "
                f"more than {MOST_BYTES_PER_BYTE} bytes of memory for each of its bytes"
            )

    def _array(self, raw: memoryview, order: str, kind: str, offset: int, size: Any, stride: Any) -> Array:
        itemsize = np.dtype(TYPES[kind]).itemsize
        flat = np.frombuffer(raw, np.dtype(order + TYPES[kind]), len(raw) // itemsize)
        view = np.lib.stride_tricks.as_strided(
            flat[offset:], size, [step * itemsize for step in stride], writeable=False
        )
        if kind == "BFloat16":
            return from_bfloat16(view)
        return view.astype(np.bool_) if kind == "Bool" else view


def _numbers(who: str, what: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, (tuple, list)) or len(value) > MOST_AXES:
        raise FormatError(f"{who}: its {what} is not a list of at most {MOST_AXES} numbers")
    if any(type(n) is not int or not 0 <= n < 1 << 48 for n in value):
        raise FormatError(f"{who}: its {what} holds something other than numbers from 0 on")
    return tuple(value)
