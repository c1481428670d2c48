"""Keras on OpenVINO: ``predict`` of a model. (OpenVINO 2026.4 cannot compile the file that Keras 3.15 exports.)"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import openvino
from peer_keras import layer_of, stack_of
from problem import Problem, Work


class Peer:
    """Inference of whole batches: the backend has no gradients.

    Keras leaves precision and threads to OpenVINO, which takes bfloat16 where the processor has it; here as the other
    peers are.
    """

    def __init__(self, threads: int):
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }

        def compile_model(model: Any, device: str) -> Any:
            return openvino.Core().compile_model(model, device, options)

        openvino.compile_model = compile_model

    def versions(self) -> dict[str, str]:
        return {"keras": keras.__version__, "openvino": openvino.__version__}

    def prepare(self, p: Problem) -> Work:
        c = p.cell
        if c.work not in ("sequence", "bidirectional", "startup"):
            raise NotImplementedError("inference of full batches only")
        layer = stack_of(p) if c.work == "bidirectional" else layer_of(p)
        x = keras.Input((c.timesteps, c.units), batch_size=c.batch)
        model = keras.Model(x, layer(x))

        def run() -> np.ndarray:
            return model.predict(p.x, batch_size=c.batch, verbose=0)

        return Work(run, lambda: {"y": run()})
