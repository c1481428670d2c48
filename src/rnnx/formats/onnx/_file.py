"""ONNX files: reading them, and checks of everything in them that could ask for memory or reach other files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats._limits import check_regular
from rnnx.formats.onnx._limits import (
    DEEPEST,
    LARGEST_FILE,
    LOADING,
    LONGEST_NAME,
    MOST_AXES,
    MOST_COMPUTED,
    MOST_FIELDS,
    MOST_NAMES,
    MOST_NODES,
    MOST_NUMBERS,
    MOST_RECURRENT,
    OLDEST_OPSET,
    UNFOLDED,
    Meter,
)  # fmt: skip
from rnnx.formats.onnx._wire import UNSEEN, count
from rnnx.saving import FormatError

LONGEST_TEXT = 300  # of a name or reason in a message
RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
TEXT = 8  # TensorProto.STRING
PACKED = {1: ("float_data", "<f4"), 11: ("double_data", "<f8")}  # types whose numbers lie in a row also in a list


def require_onnx() -> Any:
    """The package `onnx`.

    Raises
    ------
    FormatError
        If it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise FormatError("ONNX files need the package onnx: pip install 'rnnx[onnx]'") from error
    return onnx


class Source:
    """A parsed and checked model.

    Parameters
    ----------
    source : path, bytes or ModelProto

    Attributes
    ----------
    name : str
        For error messages.
    proto : ModelProto
        Local functions are written out.
    recurrences_sought : bool
        Whether what spells recurrent layers out was sought, and replaced in ``proto``.
    folder : Path or None
        Where tensors outside the file may lie; None if there was no file.

    Raises
    ------
    FormatError
        If it is not an ONNX model, or asks for what cannot be honoured.
    OSError
        If the file cannot be read.
    """

    def __init__(self, source: Any):
        onnx = require_onnx()
        self.folder: Path | None = None
        self._files: dict[str, tuple[Path, int]] = {}  # by their locations
        self._regions: dict[tuple[Any, ...], Array] = {}  # what was read from them
        if isinstance(source, onnx.ModelProto):
            self.name, proto = "ModelProto", onnx.ModelProto()
            proto.CopyFrom(source)
        else:
            if isinstance(source, (bytes, bytearray, memoryview)):
                self.name, data = "bytes", bytes(source)
            else:
                path = Path(source)
                self.name, self.folder = str(source), path.parent
                check_regular(path)
                if path.stat().st_size > LARGEST_FILE:
                    raise FormatError(f"{source}: an ONNX file has at most {LARGEST_FILE} bytes")
                data = path.read_bytes()
            proto = self._parsed(data)
        self._check(proto)
        if proto.functions:
            self._count_functions(proto)
            proto = self._written_out(proto)
            self._check(proto)
        self.proto = proto
        self.size = proto.ByteSize()
        self.most_computed = MOST_COMPUTED + 4 * self.size
        self.budget, self.loading = self.most_computed, LOADING  # for what is computed from constants beforehand
        self.meter = Meter()
        self.evaluators: dict[Any, Any] = {}
        self.recurrences_sought = False
        self.opsets: dict[str, int] = {entry.domain: entry.version for entry in proto.opset_import}
        self.opsets.setdefault("", self.opsets.pop("ai.onnx", 1))

    @property
    def computed(self) -> int:
        """Bytes that were computed from constants."""
        return self.most_computed - self.budget

    def _parsed(self, data: bytes) -> Any:
        proto = require_onnx().ModelProto()
        fields, numbers = count(data, MOST_FIELDS) if len(data) > UNSEEN else (0, 0)
        if fields > MOST_FIELDS:
            raise FormatError(f"{self.name}: more than {MOST_FIELDS:,} messages, numbers and texts in it")
        self._check_numbers(numbers)
        try:
            proto.ParseFromString(data)
        except Exception as error:  # the class of the parser's errors depends on how protobuf was built
            raise FormatError(f"{self.name}: not an ONNX file, or a damaged one: {reason(error)}") from error
        if not proto.ir_version or not proto.HasField("graph"):
            raise FormatError(f"{self.name}: not an ONNX file, or a damaged one: it holds no graph")
        return proto

    def _check(self, proto: Any) -> None:
        texts = [proto.producer_name, proto.producer_version]
        texts += [text for entry in proto.metadata_props for text in (entry.key, entry.value)]
        texts += [entry.domain for entry in proto.opset_import] + [function.domain for function in proto.functions]
        self._check_texts(texts)
        versions = {entry.domain: entry.version for entry in proto.opset_import}
        version = versions.get("", versions.get("ai.onnx", 0))
        if version < OLDEST_OPSET:
            raise FormatError(f"{self.name}: written for opset {version}; opsets from {OLDEST_OPSET} on are supported")
        self._count(proto)
        for graph in [proto.graph, *proto.functions]:
            for inner, depth in walk(graph):
                if depth > DEEPEST:
                    raise FormatError(f"{self.name}: more than {DEEPEST} graphs inside each other")
                self._check_texts(_names(inner), LONGEST_NAME)
                if getattr(inner, "sparse_initializer", None):
                    raise FormatError(f"{self.name}: sparse initializers are not supported")
                for tensor in getattr(inner, "initializer", ()):
                    self.check_tensor(tensor)
                for node in inner.node:
                    self._check_node(node)

    def _count(self, proto: Any) -> None:
        """Refuse more nodes, names and numbers than can be read in time."""
        nodes = names = numbers = recurrent = 0
        for graph in [proto.graph, *proto.functions]:
            for inner, _ in walk(graph, most=MOST_NODES):
                nodes += len(inner.node)
                recurrent += sum(node.op_type in RECURRENT for node in inner.node)
                if recurrent > MOST_RECURRENT:
                    raise FormatError(f"{self.name}: it has more than {MOST_RECURRENT:,} recurrent nodes")
                names += len(inner.input) + len(inner.output) + len(inner.value_info)
                tensors = getattr(inner, "initializer", ())
                names += len(tensors)
                if nodes > MOST_NODES:
                    raise FormatError(f"{self.name}: it has more than {MOST_NODES:,} nodes")
                if names <= MOST_NAMES:
                    numbers += sum(map(_numbers, tensors))
                    for node in inner.node:
                        names += len(node.input) + len(node.output) + len(node.attribute)
                        if names > MOST_NAMES:
                            break
                        for entry in node.attribute:
                            numbers += len(entry.ints) + len(entry.floats) + len(entry.strings)
                            numbers += _numbers(entry.t) if entry.HasField("t") else 0
                            numbers += sum(map(_numbers, entry.tensors))
                if names > MOST_NAMES:
                    raise FormatError(
                        f"{self.name}: more than {MOST_NAMES:,} inputs, outputs, attributes and constants"
                    )
                self._check_numbers(numbers)

    def _check_numbers(self, numbers: int) -> None:
        if numbers > MOST_NUMBERS:
            raise FormatError(
                f"{self.name}: {numbers:,} integers stand in lists, at most {MOST_NUMBERS:,} are read; "
                "raw data may have any number"
            )

    def _check_texts(self, texts: Iterable[Any], longest: int = LARGEST_FILE) -> None:
        for text in texts:
            if isinstance(text, bytes):
                raise FormatError(f"{self.name}: damaged: a name in it is not UTF-8 text")
            if len(text) > longest:
                raise FormatError(f"{self.name}: a name in it has {len(text):,} characters, the most is {longest:,}")

    def _check_node(self, node: Any) -> None:
        for attribute in node.attribute:
            if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
                raise FormatError(f"{self.name}: {called(node)} has a sparse tensor, which is not supported")
            tensors = [attribute.t] if attribute.HasField("t") else []
            for tensor in [*tensors, *attribute.tensors]:
                self.check_tensor(tensor, called(node))

    def check_tensor(self, tensor: Any, owner: str = "initializer") -> int:
        """Number of elements of a tensor, whose data are there in full.

        Raises
        ------
        FormatError
            If type, shape and data do not fit together.
        """
        onnx = require_onnx()
        who = f"{self.name}: {owner} {_short(tensor.name)!r}"
        if len(tensor.dims) > MOST_AXES:
            raise FormatError(f"{who} has {len(tensor.dims):,} axes, at most {MOST_AXES} are possible")
        if any(n < 0 for n in tensor.dims):
            raise FormatError(f"{who} has the shape {tuple(tensor.dims)}")
        count = math.prod(tensor.dims)
        if tensor.data_type == TEXT:
            found = len(tensor.string_data)
            if found != count:
                raise FormatError(f"{who} of shape {tuple(tensor.dims)} holds {found} strings")
            return count
        try:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        except (KeyError, ValueError, TypeError) as error:
            raise FormatError(f"{who} has the unknown type {tensor.data_type}") from error
        bits = 2 if "2" in dtype.name[-1:] and dtype.name in ("int2", "uint2") else None
        bits = 4 if dtype.name in ("int4", "uint4", "float4_e2m1fn") else bits or 8 * dtype.itemsize
        size = (count * bits + 7) // 8
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            return count
        if tensor.HasField("raw_data"):
            if len(tensor.raw_data) != size:
                raise FormatError(
                    f"{who} of type {dtype.name} and shape {tuple(tensor.dims)} needs {size} bytes, "
                    f"there are {len(tensor.raw_data)}"
                )
            return count
        field = onnx.helper.tensor_dtype_to_field(tensor.data_type)
        held = len(getattr(tensor, field))
        wanted = size if bits < 8 else 2 * count if dtype.kind == "c" else count
        if held != wanted:
            raise FormatError(
                f"{who} of type {dtype.name} and shape {tuple(tensor.dims)} needs {wanted} numbers, there are {held}"
            )
        return count

    def array(self, tensor: Any, owner: str = "initializer") -> Array:
        """The values of a tensor, also of one whose data lie in another file of the same folder."""
        onnx = require_onnx()
        count = self.check_tensor(tensor, owner)
        try:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                return self._external(tensor, count, owner)
            if tensor.data_type in PACKED and not tensor.HasField("raw_data"):
                return _unpacked(tensor)
            return np.asarray(onnx.numpy_helper.to_array(tensor))
        except (ValueError, TypeError, OverflowError, MemoryError, UnicodeDecodeError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(
                f"{self.name}: {owner} {_short(tensor.name)!r} cannot be read: {reason(error)}"
            ) from error

    def stored(self, tensors: Iterable[Any]) -> int:
        """Number of elements of tensors whose data are there, in the file or in others; no bytes count twice.

        Raises
        ------
        FormatError
            If some are not.
        """
        total, apart = 0, {}
        for tensor in tensors:
            count = self.check_tensor(tensor)
            if tensor.data_location == require_onnx().TensorProto.EXTERNAL:
                apart[self._region(tensor, count, "initializer")] = count
            else:
                total += count
        for path, size in set(self._files.values()):
            total += min(size, sum(count for (other, *_), count in apart.items() if other == path))
        return total

    def _external(self, tensor: Any, count: int, owner: str) -> Array:
        """Data in another file; those that are there once are read once."""
        path, start, dtype = self._region(tensor, count, owner)
        shape = tuple(tensor.dims)
        key = (path, start, count, dtype)
        if key not in self._regions:
            read = sum(array.nbytes for (other, *_), array in self._regions.items() if other == path)
            if read + count * dtype.itemsize > path.stat().st_size:
                raise FormatError(
                    f"{self.name}: {owner} {_short(tensor.name)!r} and others use the same bytes of {path.name!r}"
                )
            data = np.fromfile(path, dtype.newbyteorder("<"), count, offset=start)
            self._regions[key] = data.astype(dtype, copy=False)
        return self._regions[key].reshape(shape)

    def _region(self, tensor: Any, count: int, owner: str) -> tuple[Path, int, Any]:
        """Where data lie in another file, below the folder of the model, without leaving it by any way."""
        who = f"{self.name}: {owner} {_short(tensor.name)!r}"
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        path, held = self._file(location, who)
        dtype = require_onnx().helper.tensor_dtype_to_np_dtype(tensor.data_type)
        try:
            start, length = int(entries.get("offset", 0)), int(entries.get("length", count * dtype.itemsize))
        except ValueError as error:
            raise FormatError(f"{who}: offset and length of the data must be integers") from error
        if dtype.name in ("int4", "uint4", "int2", "uint2", "float4_e2m1fn"):
            raise FormatError(f"{who}: data of type {dtype.name} in another file are not supported")
        if start < 0 or length != count * dtype.itemsize or start + length > held:
            raise FormatError(
                f"{who} of type {dtype.name} and shape {tuple(tensor.dims)} does not fit bytes "
                f"{start}..{start + length} of {_short(location)!r} ({held} bytes)"
            )
        return path, start, dtype

    def _file(self, location: str, who: str) -> tuple[Path, int]:
        """Another file, and its bytes."""
        if location in self._files:
            return self._files[location]
        if self.folder is None:
            raise FormatError(
                f"{who} lies in another file ({_short(location)!r}), and a model without a path has no folder"
            )
        if not location or "\0" in location or "\\" in location or Path(location).is_absolute():
            raise FormatError(
                f"{who} has the location {_short(location)!r}, which is not a path inside the model's folder"
            )
        root = self.folder.resolve()
        try:
            path = (root / location).resolve()
        except (OSError, RuntimeError) as error:
            raise FormatError(f"{who}: {_short(location)!r} cannot be followed: {reason(error)}") from error
        if ".." in Path(location).parts or not path.is_relative_to(root):
            raise FormatError(f"{who} has the location {_short(location)!r}, which leads out of the model's folder")
        try:
            regular = path.is_file()
        except (OSError, ValueError) as error:
            raise FormatError(f"{who}: {_short(location)!r} cannot be followed: {reason(error)}") from error
        if not regular:
            raise FormatError(f"{who}: there is no file {_short(location)!r} beside the model")
        self._files[location] = path, path.stat().st_size
        return self._files[location]

    def _count_functions(self, proto: Any) -> None:
        """Refuse functions that call themselves, or that grow beyond all bounds when they are written out."""
        bodies = {(f.domain, f.name): f for f in proto.functions}
        if len(bodies) != len(proto.functions):
            raise FormatError(f"{self.name}: two local functions have the same name")
        sizes: dict[tuple[str, str], tuple[int, int]] = {}
        own = proto.ByteSize()
        most = 2 * own + UNFOLDED

        def size(body: Any, above: tuple[Any, ...]) -> tuple[int, int]:
            """Nodes and bytes of a graph or function with all calls written out."""
            nodes, held = 0, body.ByteSize()
            for graph, _ in walk(body):
                for node in graph.node:
                    key = (node.domain, node.op_type)
                    if key in above or len(above) > DEEPEST:
                        raise FormatError(f"{self.name}: local function {_short(node.op_type)!r} calls itself")
                    if key in bodies and key not in sizes:
                        sizes[key] = size(bodies[key], (*above, key))
                    more = sizes.get(key, (1, 0))
                    nodes, held = nodes + more[0], held + more[1]
                    if nodes > MOST_NODES:
                        raise FormatError(f"{self.name}: its local functions grow to more than {MOST_NODES:,} nodes")
                    if held > most:
                        raise FormatError(f"{self.name}: its {own:,} bytes grow to more than {most:,} by its functions")
            return nodes, held

        size(proto.graph, ())

    def _written_out(self, proto: Any) -> Any:
        from onnx import inliner

        try:
            return inliner.inline_local_functions(proto)
        except Exception as error:  # the exceptions of a C++ library have no common class
            raise FormatError(f"{self.name}: its local functions cannot be written out: {reason(error)}") from error


def walk(graph: Any, depth: int = 0, most: int | None = None) -> Iterator[tuple[Any, int]]:
    """A graph (or function) and all graphs inside it, each with its depth.

    Parameters
    ----------
    graph : GraphProto or FunctionProto
    depth : int
    most : int, optional
        Graphs with more nodes are not searched for other graphs.
    """
    pending = [(graph, depth)]
    while pending:
        inner, level = pending.pop()
        yield inner, level
        if level > DEEPEST or (most is not None and len(inner.node) > most):
            continue
        for node in inner.node:
            if node.attribute:
                pending += [(sub, level + 1) for sub in subgraphs(node)]


def subgraphs(node: Any) -> list[Any]:
    """The graphs among the attributes of a node."""
    found: list[Any] = []
    for attribute in node.attribute:
        found += [attribute.g] if attribute.HasField("g") else []
        found += list(attribute.graphs)
    return found


def called(node: Any) -> str:
    """What error messages call a node."""
    operator = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else str(node.op_type)
    name = node.name or next((output for output in node.output if output), "")
    return f"{_short(operator)} node {_short(name)!r}"


def reason(error: BaseException) -> str:
    """The message of an exception of another package in one line of bounded length."""
    text = _short(str(error))
    return (
        text if isinstance(error, FormatError) else f"{type(error).__name__}: {text}" if text else type(error).__name__
    )


def _short(text: str) -> str:
    line = " ".join(text.split())
    line = "".join(c if c.isprintable() else "?" for c in line)
    return line if len(line) <= LONGEST_TEXT else line[:LONGEST_TEXT] + "..."


def _numbers(tensor: Any) -> int:
    """Integers and texts in the lists of a tensor."""
    return (
        len(tensor.dims) + len(tensor.int32_data) + len(tensor.int64_data) + len(tensor.uint64_data)
        + len(tensor.string_data)
    )  # fmt: skip


def _unpacked(tensor: Any) -> Array:
    """The values of a tensor that stand in a list of floats: their bytes, without an object for each."""
    field, dtype = PACKED[tensor.data_type]
    alone = type(tensor)()
    getattr(alone, field).MergeFrom(getattr(tensor, field))
    size = len(getattr(tensor, field)) * np.dtype(dtype).itemsize
    data = alone.SerializeToString()
    return np.frombuffer(data, dtype, offset=len(data) - size).astype(dtype[1:], copy=False).reshape(tuple(tensor.dims))


def _names(message: Any) -> Iterator[Any]:
    """All texts of a graph or function that name something; bytes where one is not UTF-8."""
    yield message.name
    for value in [*message.input, *message.output, *message.value_info]:
        yield value if isinstance(value, (str, bytes)) else value.name
    for tensor in getattr(message, "initializer", ()):
        yield tensor.name
    for node in message.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield from (attribute.name, attribute.ref_attr_name)


def attributes_of(node: Any) -> dict[str, Any]:
    """Numbers, strings, lists of them, tensors and graphs of a node by their names.

    Raises
    ------
    FormatError
        If an attribute is damaged, or one of a function that was not written out.
    """
    from onnx import helper

    found: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            raise FormatError(f"{called(node)}: attribute {_short(attribute.name)!r} belongs to a function")
        try:
            value = helper.get_attribute_value(attribute)
            found[attribute.name] = _plain(value)
        except (ValueError, UnicodeDecodeError) as error:
            raise FormatError(
                f"{called(node)}: attribute {_short(attribute.name)!r} is damaged: {reason(error)}"
            ) from error
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if hasattr(value, "extend"):  # a list of protocol buffers
        return [_plain(part) for part in value]
    return value
