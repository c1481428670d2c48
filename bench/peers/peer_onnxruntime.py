"""ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
from as_onnx import inputs_of, model_of, output_of, states
from problem import Problem, Work, several_steps


def narrow(p: Problem) -> Path:
    """The model with 8-bit weights, with a scale for each row: ONNX Runtime's DynamicQuantizeLSTM."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    if p.cell.kind != "lstm":
        raise NotImplementedError("8-bit weights for LSTM only")
    path = p.path.with_suffix(".int8.onnx")
    if not path.exists():
        quantize_dynamic(model_of(p), path, per_channel=True, weight_type=QuantType.QInt8)
    return path


class Peer:
    """NumPy arrays in and out; its threads stop spinning when a call is over, as the others have their turn then."""

    def __init__(self, threads: int):
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.options.inter_op_num_threads = 1
        self.options.add_session_config_entry("session.force_spinning_stop", "1")

    def versions(self) -> dict[str, str]:
        return {"onnxruntime": onnxruntime.__version__}

    def prepare(self, p: Problem) -> Work:
        path = narrow(p) if p.cell.work == "int8" else model_of(p)
        session = onnxruntime.InferenceSession(path, self.options, providers=["CPUExecutionProvider"])
        feeds = inputs_of(p)
        if p.cell.work != "step":
            return Work(lambda: session.run(None, feeds), lambda: {"y": output_of(p, session.run(None, feeds)[0])})
        names = states(p)

        def call() -> Any:
            after = session.run(None, feeds)
            feeds.update(zip(names, after, strict=True))
            return after

        return several_steps(call, lambda after: output_of(p, after[0]))
