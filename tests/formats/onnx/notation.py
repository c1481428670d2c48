"""Small graphs in ONNX' own notation, their inputs, and what its reference makes of them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

STEPS = 6  # of inputs that may have any number of them


def parsed(nodes: str, inputs: str, opset: int = 18) -> Any:
    """A graph of one result, y; inputs such as ``float[N, T, 4] x``.

    In place of inputs of nodes constants may stand: ``[1, 2]`` of whole numbers, ``{2}`` and ``{0.5}`` of one number.
    Texts stand in single quotes.
    """
    constants: list[str] = []

    def constant(found: re.Match[str]) -> str:
        text = found[0].strip("{}")
        kind = "ints" if text.startswith("[") else "float" if "." in text else "int"
        constants.append(f"k{len(constants)} = Constant <value_{kind}={text}> ()")
        return f"k{len(constants) - 1}"

    nodes = re.sub(r"(?<!=)(\[[-\d, ]+\]|\{[-.\d]+\})", constant, nodes)
    nodes = " ".join([*constants, nodes]).replace("'", '"')
    return onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": {opset}]> made ({inputs}) => (float[A] y) {{ {nodes} }}'
    )


def feeds(proto: Any, rows: int = 3) -> dict[str, Any]:
    """Random inputs; N is the number of rows."""
    random = np.random.default_rng(2)
    sizes = {
        port.name: [rows if d.dim_param == "N" else d.dim_value or STEPS for d in port.type.tensor_type.shape.dim]
        for port in proto.graph.input
    }
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in sizes.items()}


def wanted(proto: Any, given: dict[str, Any]) -> Any:
    """The result by the reference evaluator of the package onnx."""
    return ReferenceEvaluator(proto).run(None, given)[0]
