"""Make ``onnx_spelled.npz``: what ONNX Runtime makes of recurrent layers that a graph spells out.

Environment: ``pip install onnxruntime onnx`` beside rnnx, for the graphs of ``tests.formats.onnx.spelled``.
Command, from the root of the repository: ``python -m tests.golden.make_onnx_spelled``.
"""

from __future__ import annotations

import onnxruntime

from tests.formats.onnx.spelled import SPELLED, feeds_of

from .store import Case, save


def main() -> None:
    """Write the file."""
    cases: dict[str, Case] = {}
    for name, make in SPELLED.items():
        proto = make()
        session = onnxruntime.InferenceSession(proto.SerializeToString())
        case = cases[name] = Case({"writer": f"onnxruntime {onnxruntime.__version__}"})
        case.put("outputs", session.run(None, feeds_of(proto)))
    save("onnx_spelled", cases)


if __name__ == "__main__":
    main()
