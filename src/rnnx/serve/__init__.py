"""A server for model files: the Open Inference Protocol over HTTP, stateful sequences, streams over a WebSocket.

On the command line it is ``rnnx serve FILE...``; `create_app` gives the same as an ASGI application for a server of
one's own. It needs the extra ``serve``.
"""

try:
    from rnnx.serve.app import create_app
    from rnnx.serve.run import serve
except ModuleNotFoundError as error:
    if (error.name or "").startswith("rnnx"):
        raise
    raise ModuleNotFoundError(
        f"rnnx.serve needs more packages ({error}): pip install 'rnnx[serve]'", name=error.name
    ) from error
from rnnx.serve.settings import Settings

__all__ = ["Settings", "create_app", "serve"]
