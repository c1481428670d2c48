"""OpenVINO."""

from __future__ import annotations

from typing import Any

import openvino
from as_onnx import inputs_of, model_of, output_of, states
from problem import Problem, Work, several_steps


class Peer:
    """One inference request, made for latency, in float32; it reads its inputs where they lie."""

    def __init__(self, threads: int):
        self.core = openvino.Core()
        self.options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }

    def versions(self) -> dict[str, str]:
        return {"openvino": openvino.__version__}

    def prepare(self, p: Problem) -> Work:
        model = self.core.compile_model(self.core.read_model(model_of(p)), "CPU", self.options)
        request, feeds = model.create_infer_request(), inputs_of(p)
        if p.cell.work != "step":

            def run() -> Any:
                return request.infer(feeds, share_inputs=True, share_outputs=True)[0]

            return Work(run, lambda: {"y": output_of(p, run()).copy()})
        names = states(p)

        def call() -> Any:
            after = request.infer(feeds, share_inputs=True)
            for k, name in enumerate(names):
                feeds[name] = after[k]
            return after

        return several_steps(call, lambda after: output_of(p, after[0]))
