"""The Open Inference Protocol v2 (KServe, Triton): requests and responses in JSON, tensors in JSON or as bytes.

Source: https://github.com/kserve/open-inference-protocol and Triton's extensions for binary tensors and sequences.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any, TypeGuard

import msgspec
import numpy as np

from rnnx import _kernels
from rnnx._typing import Array
from rnnx.serve.refusal import Refusal

DATATYPES = {
    "BOOL": np.dtype("?"), "UINT8": np.dtype("u1"), "UINT16": np.dtype("<u2"), "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"), "INT8": np.dtype("i1"), "INT16": np.dtype("<i2"), "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"), "FP16": np.dtype("<f2"), "FP32": np.dtype("<f4"), "FP64": np.dtype("<f8"),
}  # fmt: skip
COMPUTED = (np.dtype("f4"), np.dtype("f8"))  # in the machine's order of bytes
NAMES = {dtype: name for name, dtype in DATATYPES.items()}
JSON_LENGTH = b"inference-header-content-length"
PARAMETERS = {"sequence_id", "sequence_start", "sequence_end", "binary_data_output", "timeout"}
MOST_AXES = 8
MOST_NUMBERS = 1 << 48  # an array can have; the body limits what is there, but not the shape of an empty tensor
MOST_SIZE = 1 << 128  # of an axis, beyond which errors would not be told either
MOST_WHOLE = 1 << 64  # beyond ids and times; JSON may hold numbers of thousands of digits
LONGEST_NAME = 256  # characters of a name or id

Parameters = dict[str, str | int | float | bool]


class TensorIn(msgspec.Struct):
    """A tensor of a request: its numbers are `data`, nested or not, or bytes behind the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = {}
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class WantedOutput(msgspec.Struct):
    """An output that a request asks for."""

    name: str
    parameters: Parameters = {}


class InferBody(msgspec.Struct):
    """The JSON of a request."""

    inputs: list[TensorIn]
    id: str = ""
    parameters: Parameters = {}
    outputs: list[WantedOutput] = []


@dataclass(frozen=True)
class TensorInfo:
    """What is said about an input or output: -1 in the shape is any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclass
class InferRequest:
    """A request, its tensors read.

    Attributes
    ----------
    id : str
    tensors : dict of str to array
    wanted : dict of str to bool, or None
        Outputs that are asked for, and whether as bytes; None for all.
    binary : bool
        Whether outputs that are not named come as bytes.
    sequence : int, str or None
    starts, ends : bool
        Whether the sequence begins or ends with this request.
    timeout : float or None
        Seconds.
    """

    id: str
    tensors: dict[str, Array]
    wanted: dict[str, bool] | None
    binary: bool
    sequence: int | str | None
    starts: bool
    ends: bool
    timeout: float | None


def is_finite(array: Array) -> bool:
    """Whether an array of floats holds neither infinities nor NaN."""
    if array.dtype in COMPUTED and array.flags.c_contiguous and array.flags.aligned:
        return bool(_kernels.all_finite(array))  # NumPy takes two microseconds more for a small one
    return bool(np.isfinite(array).all())


_decoder = msgspec.json.Decoder(InferBody)
_encoder = msgspec.json.Encoder()


def encode(value: Any) -> bytes:
    """JSON."""
    encoded: bytes = _encoder.encode(value)
    return encoded


def unpacked(body: bytes, encoding: bytes, most: int) -> bytes:
    """A body without its ``Content-Encoding``.

    Raises
    ------
    Refusal
        If the encoding is unknown, the data are damaged, or larger than ``most`` bytes.
    """
    if encoding in (b"", b"identity"):
        return body
    if encoding not in (b"gzip", b"deflate"):
        raise Refusal(415, f"content-encoding must be gzip, deflate or identity, got {encoding.decode('latin-1')!r}")
    machine = zlib.decompressobj(zlib.MAX_WBITS | 16 if encoding == b"gzip" else zlib.MAX_WBITS)
    try:
        plain = machine.decompress(body, most + 1)
    except zlib.error as error:
        raise Refusal(400, f"the body is not {encoding.decode()}: {error}") from None
    if len(plain) > most:
        raise Refusal(413, f"the body is larger than {most} bytes")
    if not machine.eof or machine.unused_data:
        raise Refusal(400, f"the body is not one whole {encoding.decode()} stream")
    return plain


def read_request(body: bytes, json_length: bytes | None) -> InferRequest:
    """The request in a body.

    Parameters
    ----------
    body : bytes
    json_length : bytes, optional
        Of the header ``Inference-Header-Content-Length``: how much of the body is JSON; tensors as bytes follow.

    Raises
    ------
    Refusal
        If it is not a request, with what is wrong.
    """
    end = len(body)
    if json_length is not None:
        if not json_length.isdigit() or len(json_length) > 12 or int(json_length) > len(body):
            raise Refusal(400, f"Inference-Header-Content-Length must be 0 to {len(body)}, the length of the body")
        end = int(json_length)
    try:
        parsed = _decoder.decode(memoryview(body)[:end])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"the request is not as the protocol says: {error}") from None
    parameters = parsed.parameters
    if not PARAMETERS.issuperset(parameters):
        unknown = parameters.keys() - PARAMETERS
        raise Refusal(400, f"unknown parameter(s) {_listed(unknown)}; known are {_listed(PARAMETERS)}")
    if len(parsed.id) > LONGEST_NAME:
        raise Refusal(400, f"`id` must have at most {LONGEST_NAME} characters")
    tensors: dict[str, Array] = {}
    for tensor in parsed.inputs:
        if tensor.name in tensors:
            raise Refusal(400, f"input {tensor.name[:LONGEST_NAME]!r} is there twice")
        tensors[tensor.name], end = _read_tensor(tensor, body, end)
    if end != len(body):
        raise Refusal(400, f"{len(body) - end} byte(s) follow the last tensor")
    binary = _flag(parameters, "binary_data_output")
    wanted = None
    if parsed.outputs:
        wanted = {}
        for output in parsed.outputs:
            if unknown := output.parameters.keys() - {"binary_data"}:
                raise Refusal(400, f"output {output.name[:LONGEST_NAME]!r}: unknown parameter(s) {_listed(unknown)}")
            wanted[output.name] = _flag(output.parameters, "binary_data", binary)
    sequence = parameters.get("sequence_id")
    if not _is_id(sequence):
        raise Refusal(
            400, f"`sequence_id` must be an integer of 64 bits, or a string of at most {LONGEST_NAME} characters"
        )
    timeout = parameters.get("timeout")
    if timeout is not None and (isinstance(timeout, (bool, str)) or not 0 <= timeout < MOST_WHOLE):
        raise Refusal(400, f"`timeout` must be a number of microseconds below 2**64, got {_told(timeout)}")
    starts, ends = _flag(parameters, "sequence_start"), _flag(parameters, "sequence_end")
    if not sequence and (starts or ends):
        raise Refusal(400, "`sequence_start` and `sequence_end` need a `sequence_id` that is not 0 or empty")
    return InferRequest(
        parsed.id, tensors, wanted, binary, sequence or None, starts, ends,
        timeout / 1e6 if timeout else None,
    )  # fmt: skip


def _is_id(value: Any) -> TypeGuard[int | str | None]:
    if isinstance(value, str):
        return len(value) <= LONGEST_NAME
    return value is None or type(value) is int and -MOST_WHOLE // 2 <= value < MOST_WHOLE


def _told(value: Any) -> str:
    """A value of a request as an error has it, which is not to be as long as the request."""
    said = repr(value)
    return said if len(said) <= LONGEST_NAME else f"{said[:LONGEST_NAME]}..."


def _listed(names: Any) -> str:
    return ", ".join(repr(name[:LONGEST_NAME]) for name in sorted(names)[:8])


def _flag(parameters: Parameters, name: str, default: bool = False) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise Refusal(400, f"`{name}` must be true or false, got {_told(value)}")
    return value


def _read_tensor(tensor: TensorIn, body: bytes, begin: int) -> tuple[Array, int]:
    """The array of a tensor, and where the bytes of the next one begin."""
    who = f"input {tensor.name[:LONGEST_NAME]!r}"
    if (dtype := DATATYPES.get(tensor.datatype)) is None:
        raise Refusal(
            400, f"{who}: `datatype` must be one of {', '.join(DATATYPES)}, got {tensor.datatype[:LONGEST_NAME]!r}"
        )
    shape = tensor.shape
    if len(shape) > MOST_AXES or min(shape, default=0) < 0 or max(shape, default=0) >= MOST_SIZE:
        raise Refusal(
            400,
            f"{who}: `shape` must have at most {MOST_AXES} sizes of 0 or more with less than 40 digits, "
            f"got {_told(shape[:MOST_AXES])}",
        )
    if unknown := tensor.parameters.keys() - {"binary_data_size"}:
        raise Refusal(400, f"{who}: unknown parameter(s) {_listed(unknown)}")
    count = math.prod(shape)
    if not count and math.prod(n for n in shape if n) > MOST_NUMBERS:
        raise Refusal(400, f"{who}: sizes of `shape` must have a product of at most {MOST_NUMBERS}, got {shape}")
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        if isinstance(tensor.data, msgspec.UnsetType):
            raise Refusal(400, f"{who}: it has neither `data` nor `binary_data_size`")
        return _from_json(who, tensor, tensor.data, dtype, count), begin
    if tensor.data is not msgspec.UNSET:
        raise Refusal(400, f"{who}: it has both `data` and `binary_data_size`")
    if isinstance(size, bool) or not isinstance(size, int) or size != count * dtype.itemsize:
        raise Refusal(
            400,
            f"{who}: shape {shape} of {tensor.datatype} takes {count * dtype.itemsize} bytes, "
            f"`binary_data_size` is {_told(size)}",
        )
    if begin + size > len(body):
        raise Refusal(400, f"{who}: the body ends {begin + size - len(body)} byte(s) too early")
    array = np.frombuffer(body, dtype, count, begin).reshape(shape)
    return array, begin + size


def numbers_of(data: msgspec.Raw, most: int, wanted: np.dtype[Any] | None = None) -> Array:
    """The array in a list of JSON; of kind ``O`` if it is none.

    Parameters
    ----------
    data : Raw
    most : int
        Lists that there may be. Empty ones would take thirty times their length in memory.
    wanted : dtype, optional
        What they are for: whole numbers on both sides of 2**63 stay exact for uint64 alone, and are floats otherwise.
    """
    text = bytes(data)
    if text.count(b"[") > most or b'"' in text or b"{" in text:
        return np.array(None)
    try:
        values = msgspec.json.decode(text)  # numbers are read here and not before: most of the work
        found = np.array(values if isinstance(values, list) else None)
        if wanted == np.uint64 and found.dtype.kind == "f":
            exact = np.array(values, object)
            if all(type(number) is int and 0 <= number < 2**64 for number in exact.flat):
                return exact.astype(wanted)
        return found
    except (ValueError, RecursionError):
        return np.array(None)


def _from_json(who: str, tensor: TensorIn, data: msgspec.Raw, dtype: np.dtype[Any], count: int) -> Array:
    lists = 1000 + sum(math.prod(tensor.shape[:axes]) for axes in range(1, len(tensor.shape)))
    found = numbers_of(data, lists, dtype)
    if found.size == 0:
        found = found.astype(dtype)
    if found.dtype.kind not in "bif" + "u":
        raise Refusal(400, f"{who}: `data` must be a list of numbers, or lists of one length")
    if found.size != count or (found.ndim > 1 and found.shape != tuple(tensor.shape)):
        raise Refusal(
            400, f"{who}: shape {tensor.shape} has {count} number(s), `data` has {found.size} of shape {found.shape}"
        )
    if dtype.kind == "b" and found.dtype.kind != "b" or dtype.kind in "iu" and found.dtype.kind not in "iu":
        if not (dtype.kind in "iu" and found.dtype.kind == "f" and np.array_equal(found, np.trunc(found))):
            raise Refusal(400, f"{who}: `data` holds numbers that are no {tensor.datatype}")
    if dtype.kind in "iu" and count:
        limits = np.iinfo(dtype)
        if found.min() < limits.min or found.max() >= limits.max + 1:  # a power of two, which floats hold as it is
            raise Refusal(400, f"{who}: `data` holds numbers out of the range of {tensor.datatype}")
    with np.errstate(over="ignore"):  # what is beyond the range of floats becomes infinite, and is refused as such
        return found.astype(dtype).reshape(tensor.shape)


def write_response(
    name: str, request: InferRequest, outputs: dict[str, Array], version: str = "1"
) -> tuple[bytes, int | None]:
    """The body of a response, and how much of it is JSON (None for all).

    Raises
    ------
    Refusal
        If an output that goes as JSON holds infinities or NaN.
    """
    wanted = request.wanted or dict.fromkeys(outputs, request.binary)
    described, parts = [], []
    for output, binary in wanted.items():
        array = outputs[output]
        entry: dict[str, Any] = {"name": output, "datatype": NAMES[array.dtype], "shape": array.shape}
        if binary:
            part = array.tobytes()
            entry["parameters"] = {"binary_data_size": len(part)}
            parts.append(part)
        else:
            if array.dtype.kind == "f" and not is_finite(array):
                raise Refusal(500, f"output {output!r} holds infinities or NaN, which JSON lacks; ask for binary data")
            entry["data"] = array.ravel().tolist()
        described.append(entry)
    answer: dict[str, Any] = {"model_name": name, "model_version": version, "outputs": described}
    if request.id:
        answer["id"] = request.id
    head = encode(answer)
    return (b"".join([head, *parts]), len(head)) if parts else (head, None)
