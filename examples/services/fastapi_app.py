"""A FastAPI service of one's own: a model that scores whole sequences, and a live stream for each caller.

    pip install fastapi uvicorn
    RNNX_MODEL=model.safetensors uvicorn fastapi_app:app --workers 2

`POST /score` takes sequences of any lengths. `POST /streams` begins a stream, `POST /streams/{id}` feeds it, `DELETE`
ends it; all streams of a process live in one pool. With several workers a stream belongs to the process that began it:
let the load balancer send a caller to the same one, or keep `pool.save(id)` where all can read it. `rnnx serve` does
all this by itself; this is for services that have routes of their own.
"""

from __future__ import annotations

import os

import numpy as np
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

import rnnx

predictor = rnnx.Predictor(os.environ["RNNX_MODEL"], threads=1).warm_up()
pool = rnnx.StreamPool(predictor.model, max_streams=10_000, max_idle=600, evict_oldest=True)
app = FastAPI(title="rnnx in a service")


class Sequences(BaseModel):
    """Sequences of steps of features."""

    sequences: list[list[list[float]]]


class Steps(BaseModel):
    """The next steps of a stream."""

    steps: list[list[float]]


@app.post("/score")
def score(given: Sequences) -> dict[str, list]:
    """The output for each sequence; functions without ``async`` run in threads, side by side."""
    try:
        outputs = predictor([np.asarray(sequence, np.float32) for sequence in given.sequences])
    except ValueError as error:
        raise HTTPException(422, str(error)) from None
    return {"outputs": [np.asarray(output).tolist() for output in outputs]}


@app.post("/streams")
def begin() -> dict[str, int]:
    """A new stream."""
    return {"id": pool.open()}


@app.post("/streams/{id}")
def feed(id: int, given: Steps) -> dict[str, list]:
    """The output after each step."""
    if id not in pool:
        raise HTTPException(404, "no such stream: it ended, or was idle for too long")
    try:
        return {"outputs": [pool.step([id], np.array([step], np.float32))[0].tolist() for step in given.steps]}
    except ValueError as error:
        raise HTTPException(422, str(error)) from None


@app.delete("/streams/{id}")
def end(id: int) -> dict[str, int]:
    """Forget a stream."""
    if id not in pool:
        raise HTTPException(404, "no such stream")
    pool.close(id)
    return {"id": id}
