"""The service that people write around ONNX Runtime: FastAPI, one session for each model, one thread in each call."""

import os

import numpy as np
import onnxruntime
from fastapi import FastAPI
from models import KINDS
from pydantic import BaseModel

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
sessions = {
    name: onnxruntime.InferenceSession(f"{os.environ['MODELS']}/{name}.onnx", options, ["CPUExecutionProvider"])
    for name in KINDS
}
app = FastAPI()


class Sequences(BaseModel):
    x: list[list[list[float]]]


def answer(name: str, sequences: Sequences) -> dict[str, list[list[float]]]:
    session = sessions[name]
    x = np.asarray(sequences.x, np.float32)
    return {"y": session.run(None, {session.get_inputs()[0].name: x})[0].tolist()}


@app.get("/")
async def empty() -> dict[str, bool]:
    return {"live": True}


@app.post("/gru128")
async def gru128(sequences: Sequences) -> dict[str, list[list[float]]]:  # cheap: in the event loop, which is faster
    return answer("gru128", sequences)


@app.post("/big")
def big(sequences: Sequences) -> dict[str, list[list[float]]]:  # dear: in FastAPI's threads
    return answer("big", sequences)
