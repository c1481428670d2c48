"""Who may ask the server: by which names, from which pages, with which token."""

from __future__ import annotations

from typing import Any, Protocol
from urllib.parse import urlsplit

from rnnx.serve.host_names import Hosts
from rnnx.serve.protocol import encode
from rnnx.serve.stream_socket import NOT_ALLOWED

LONGEST_SAID = 100  # characters of a header in an error
MODELS, INFER = "/v2/models/", "/infer"
TOKEN_NEEDED = "a token is needed: Authorization: Bearer TOKEN"


class Guarded(Protocol):
    """What is needed of the application."""

    settings: Any
    infer_route: Any

    def wake(self) -> None: ...
    def allows(self, headers: Any) -> bool: ...


class Guard:
    """Refuses what asks by a wrong name or brings no token, and what pages of other sites ask a browser for.

    Requests for inference go straight to their route: to find it among all others would take a third of what they cost.

    Parameters
    ----------
    app : ASGI application
    application : Guarded
    open_paths : collection of str
        What needs no token.
    """

    def __init__(self, app: Any, application: Guarded, open_paths: Any):
        self._app, self._application, self._open = app, application, open_paths
        self._hosts = Hosts(application.settings.allowed_hosts)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await self._app(scope, receive, send)
            return
        application, headers = self._application, scope["headers"]
        application.wake()
        host = origin = None
        for name, value in headers:
            if name == b"host":
                if not self._hosts.allows(value):
                    said = value[:LONGEST_SAID].decode("latin-1")
                    await _turn_away(kind, send, 421, f"not asked by the name {said!r}: see --allowed-hosts")
                    return
                host = value if host is None else host
            elif name == b"origin" and origin is None:
                origin = value
        if origin is not None and _of_other_site(origin, host):
            await _turn_away(kind, send, 403, "pages of other sites may not ask this server")
            return
        if kind == "http":
            path = scope["path"].removeprefix(scope.get("root_path", ""))  # where another application has it mounted
            if not application.allows(headers) and path not in self._open:
                await _refuse(send, 401, TOKEN_NEEDED, (b"www-authenticate", b"Bearer"))
                return
            if path.endswith(INFER) and path.startswith(MODELS) and scope["method"] == "POST":
                model = path[len(MODELS) : -len(INFER)]
                if model and "/" not in model:
                    scope["path_params"] = {"name": model}
                    await application.infer_route(scope, receive, send)
                    return
        await self._app(scope, receive, send)


async def _turn_away(kind: str, send: Any, status: int, message: str) -> None:
    if kind == "websocket":
        await send({"type": "websocket.close", "code": NOT_ALLOWED})
    else:
        await _refuse(send, status, message)


async def _refuse(send: Any, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
    body = encode({"error": message})
    length = (b"content-length", str(len(body)).encode())
    kind = (b"content-type", b"application/json")
    await send({"type": "http.response.start", "status": status, "headers": [kind, length, *headers]})
    await send({"type": "http.response.body", "body": body})


def _of_other_site(origin: bytes, host: bytes | None) -> bool:
    """Whether a browser says that a page of another site makes the request."""
    try:
        return urlsplit(origin).netloc != host
    except ValueError:
        return True
