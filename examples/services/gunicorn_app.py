"""Workers of gunicorn that hold the weights of a model once: a WSGI application without a framework.

    pip install gunicorn
    RNNX_MODEL=model.safetensors gunicorn --preload --workers 4 gunicorn_app:app

`POST /` takes one array as `np.save` writes it, (batch, timesteps, features), and answers with one. With `--preload`
the module is imported once, and the workers are forked from it with the packed weights in it. Without, where each
worker is to import it anew (to load new code by a signal, say), give them a folder for a file that they map:

    RNNX_MODEL=model.safetensors RNNX_CACHE_DIR=/var/cache/us gunicorn --workers 4 gunicorn_app:app

`python bench/workers.py --gunicorn` measures the memory of both.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import rnnx

MOST_BYTES = 32 << 20  # of one request
predict = rnnx.Predictor(os.environ["RNNX_MODEL"], threads=1, cache="RNNX_CACHE_DIR" in os.environ).warm_up()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The application, as WSGI has it."""
    status, kind, body = answer(environ)
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


def answer(environ: dict[str, Any]) -> tuple[str, str, bytes]:
    """Status, type and body for a request."""
    if environ["REQUEST_METHOD"] != "POST":
        return "405 Method Not Allowed", "text/plain", b"POST an array\n"
    length = environ.get("CONTENT_LENGTH") or "0"
    if not length.isdigit() or int(length) > MOST_BYTES:
        return "413 Content Too Large", "text/plain", b"an array has at most %d bytes\n" % MOST_BYTES
    try:
        x = np.load(io.BytesIO(environ["wsgi.input"].read(int(length))), allow_pickle=False)
        outputs = predict(x)
    except (ValueError, TypeError, EOFError, OSError) as error:
        return "422 Unprocessable Content", "text/plain", f"{error}\n".encode()
    made = io.BytesIO()
    np.save(made, outputs)
    return "200 OK", "application/octet-stream", made.getvalue()
