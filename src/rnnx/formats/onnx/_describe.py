"""What is in an ONNX file, without running it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rnnx.formats.onnx._file import Source, require_onnx, walk
from rnnx.formats.onnx._quantized import NAME as QUANTIZED
from rnnx.formats.onnx._recurrent import GATES
from rnnx.formats.onnx.session import Session, _port
from rnnx.saving import FormatError


def describe(path: Any) -> dict[str, Any]:
    """What ``rnnx info`` prints of an ONNX file.

    Parameters
    ----------
    path : path, bytes or ModelProto

    Returns
    -------
    dict
        ``kind``, ``producer``, ``ir_version``, ``opsets``, ``inputs`` and ``outputs`` (name, type, shape),
        ``operators`` (how often each, also inside ``If`` and ``Loop``), ``recurrent`` (a line for each recurrent node),
        ``weights`` (type and shape by name), ``parameters`` (their number), ``warnings``.

    Raises
    ------
    FormatError
        If the file is damaged.
    OSError
        If it cannot be read.
    """
    source = Source(path)
    proto = source.proto
    operators: Counter[str] = Counter()
    recurrent: list[str] = []
    weights: dict[str, tuple[str, tuple[int, ...]]] = {}
    warnings: list[str] = []
    helper = require_onnx().helper
    for graph, _ in walk(proto.graph):
        for tensor in graph.initializer:
            kind = str(helper.tensor_dtype_to_np_dtype(tensor.data_type))
            weights[tensor.name] = (kind, tuple(int(n) for n in tensor.dims))
        for node in graph.node:
            domain = "" if node.domain == "ai.onnx" else node.domain
            name = f"{domain}.{node.op_type}" if domain else node.op_type
            operators[name] += 1
            if name in GATES or name == QUANTIZED:
                recurrent.append(_line(node, name))
    try:
        session: Session | None = Session(source)
    except FormatError as error:
        session = None
        warnings += [f"it cannot be run: {one}" for one in (error.reasons or [str(error)])]
    if session is not None and session.evaluated:
        warnings.append(f"on the slow reference evaluator: {', '.join(session.evaluated)}")
    if operators[QUANTIZED]:
        warnings.append("DynamicQuantizeLSTM rounds inputs and states row by row, ONNX Runtime those of all rows alike")
    count = 0
    for _, shape in weights.values():
        size = 1
        for n in shape:
            size *= n
        count += size
    given = set(weights)
    return {
        "kind": "ONNX model",
        "producer": f"{proto.producer_name or 'unknown'} {proto.producer_version}".strip(),
        "ir_version": int(proto.ir_version),
        "opsets": {domain or "ai.onnx": int(version) for domain, version in source.opsets.items()},
        "inputs": [_ends(value) for value in proto.graph.input if value.name not in given],
        "outputs": [_ends(value) for value in proto.graph.output],
        "operators": dict(sorted(operators.items())),
        "recurrent": recurrent,
        "weights": weights,
        "parameters": count,
        "warnings": warnings,
    }


def _ends(value: Any) -> tuple[str, str, Any]:
    port = _port(value)
    return port.name, str(port.dtype) if port.dtype is not None else "?", port.shape


def _line(node: Any, name: str) -> str:
    words = {attribute.name: attribute for attribute in node.attribute}
    parts = [f"{name} {node.name!r}"]
    if "hidden_size" in words:
        parts.append(f"hidden_size {words['hidden_size'].i}")
    direction = words["direction"].s.decode("utf-8", "replace") if "direction" in words else "forward"
    return ", ".join([*parts, direction])
