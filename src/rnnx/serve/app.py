"""The server as an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import importlib.resources
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute

import rnnx
from rnnx.serve.guard import Guard
from rnnx.serve.held import Held
from rnnx.serve.metrics import Metrics
from rnnx.serve.openapi import description
from rnnx.serve.peers import Peers
from rnnx.serve.protocol import JSON_LENGTH, InferRequest, encode, read_request, unpacked, write_response
from rnnx.serve.refusal import Refusal
from rnnx.serve.repository import Repository, Served
from rnnx.serve.sequences import answer_of, block_of
from rnnx.serve.settings import Settings
from rnnx.serve.stream_socket import FAILED, StreamSocket, stream_key

logger = logging.getLogger("rnnx.serve")
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

EXTENSIONS = [
    "binary_tensor_data", "sequence", "sequence(string_id)", "model_configuration", "model_repository", "statistics",
]  # fmt: skip
PAGE = {
    "/": ("index.html", "text/html"), "/page.js": ("page.js", "text/javascript"), "/page.css": ("page.css", "text/css"),
}  # fmt: skip
OPEN = (*PAGE, "/v2/health/live", "/v2/health/ready")  # need no token
BEARER = b"Bearer "
LONGEST_RETRY = 86400.0  # seconds, as limits may be infinite
JSON = (b"content-type", b"application/json")
BINARY = (b"content-type", b"application/octet-stream")
PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def create_app(
    paths: Any, settings: Settings | None = None, *, peers: Peers | None = None, folder: Any = None
) -> Starlette:
    """An ASGI application that serves model files, to be run by any server or mounted in another application.

    Parameters
    ----------
    paths : path, list of paths, or dict of names to paths
        What `rnnx.load_model` reads; without a name a model has that of its file, without the suffix.
    settings : Settings, optional
    peers : Peers, optional
        The other processes of the same server.
    folder : path, optional
        Where the copies of the files lie that are mapped; by default a temporary one.

    Returns
    -------
    Starlette
        The models are loaded before it returns. While it runs it looks whether their files have changed; mounted in
        another application, whose servers tell it of no start, from the first request on.

    Raises
    ------
    ValueError, OSError
        If a file cannot be read or two models have one name.
    """
    settings = Settings() if settings is None else settings
    metrics = Metrics()
    repository = Repository(named(paths), settings, metrics, folder)
    return Application(repository, settings, metrics, peers).starlette


def named(paths: Any) -> dict[str, Path]:
    """Paths by the names of the models.

    Raises
    ------
    ValueError
        If there are none, or two have one name.
    """
    if isinstance(paths, dict):
        found = [(str(name), Path(path)) for name, path in paths.items()]
    else:
        one = isinstance(paths, (str, Path))
        found = [(Path(path).stem, Path(path)) for path in ([paths] if one else paths)]
    names = [name for name, _ in found]
    if not found:
        raise ValueError("serve: no model files")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"serve: two models are named {name!r}; give names, as in NAME=FILE")
        if not name or "/" in name or not name.isprintable() or name in (".", "..", "stats"):  # of which paths are made
            raise ValueError(f"serve: a model cannot be named {name!r}")
    return dict(found)


class Application:
    """Routes, and what a request passes through.

    Attributes
    ----------
    starlette : Starlette
    """

    def __init__(self, repository: Repository, settings: Settings, metrics: Metrics, peers: Peers | None):
        self.repository, self.settings, self.metrics, self.peers = repository, settings, metrics, peers
        self._tokens = [_digest(BEARER + token.encode()) for token in settings.tokens]
        self._keeper: asyncio.Task[None] | None = None
        self.pending = 0  # bytes of requests that are held
        infer = self.infer_route = _Infer(self)
        model = "/v2/models/{name}"
        version = model + "/versions/{version}"
        self.starlette = Starlette(
            routes=[
                Route(model + "/infer", infer, methods=["POST"]),
                Route(version + "/infer", infer, methods=["POST"]),
                Route("/v2/health/live", self._live),
                Route("/v2/health/ready", self._is_ready),
                Route("/v2", self._server),
                Route("/v2/", self._server),
                Route("/v2/repository/index", self._index, methods=["POST"]),
                *(
                    Route(f"/v2/repository/models/{{name}}/{change}", self._no_change, methods=["POST"])
                    for change in ("load", "unload")
                ),
                Route("/v2/models/stats", self._all_statistics),
                *(Route(base, self._model) for base in (model, version)),
                *(Route(base + "/ready", self._model_ready) for base in (model, version)),
                *(Route(base + "/config", self._config) for base in (model, version)),
                *(Route(base + "/stats", self._statistics) for base in (model, version)),
                WebSocketRoute(model + "/stream", StreamSocket(self)),
                Route("/metrics", self._metrics),
                Route("/openapi.json", self._openapi),
                *(Route(path, self._page) for path in PAGE),
            ],
            lifespan=self._lifespan,
            exception_handlers={Refusal: self._refused, 404: self._no_route, 405: self._no_route},
        )
        self.starlette.add_middleware(Guard, application=self, open_paths=OPEN)
        self.starlette.state.rnnx = self

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[dict[str, Any]]:
        if self.peers is not None:
            await self.peers.open(self._for_peer)
        self.wake()
        try:
            yield {"rnnx": self}
        finally:
            assert self._keeper is not None
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            if self.peers is not None:
                self.peers.close()
            self.repository.close()

    def wake(self) -> None:
        """Look after files and sequences from now on."""
        if self._keeper is None or self._keeper.done():
            keep = self.repository.keep(lambda: self.metrics.held.set(self.pending))
            self._keeper = asyncio.get_running_loop().create_task(keep)

    def allows(self, headers: Any) -> bool:
        """Whether a request brings a token, if one is needed; compared in constant time."""
        if not self._tokens:
            return True
        given = next((value for name, value in headers if name == b"authorization"), b"")
        if given[: len(BEARER)].lower() == BEARER.lower():
            given = BEARER + given[len(BEARER) :]
        given = _digest(given)  # of one length, which tells nothing of that of a token
        return any([hmac.compare_digest(given, token) for token in self._tokens])  # a list: all are compared

    # ---- Inference ---------------------------------------------------------------------------------------------------

    async def body(self, receive: Receive, held: Held) -> bytes:
        """The body of a request, within the limits of size and time.

        Raises
        ------
        Refusal
            408, 413 or 429.
        """
        most = self.settings.max_body
        message = await receive()
        body: bytes = message.get("body", b"")
        held.add(len(body))
        if message["type"] == "http.request" and message.get("more_body"):
            parts, size = [body], len(body)
            try:
                with anyio.fail_after(self.settings.read_timeout):
                    while message["type"] == "http.request" and message.get("more_body"):
                        if size > most:
                            break
                        message = await receive()
                        parts.append(message.get("body", b""))
                        held.add(len(parts[-1]))
                        size += len(parts[-1])
            except TimeoutError:
                raise Refusal(408, f"the request did not arrive within {self.settings.read_timeout:g} s") from None
            body = b"".join(parts)
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        if len(body) > most:
            raise Refusal(413, f"the body is larger than {most} bytes")
        return body

    async def infer(self, served: Served, headers: Any, body: bytes, held: Held) -> tuple[bytes, int | None]:
        """The body of the answer, and how much of it is JSON if not all."""
        length, encoding = None, b""
        for name, value in headers:
            if name == JSON_LENGTH:
                length = value
            elif name == b"content-encoding":
                encoding = value.lower()
        if encoding:
            body = unpacked(body, encoding, self.settings.max_body)
            held.add(len(body))
        request = read_request(body, length)
        if request.sequence is not None and self.peers is not None:
            owner = self.peers.owner(request.sequence)
            if owner != self.peers.own:
                return await self._of_peer(owner, served.name, length, body)
        return await self._answer(served, request)

    async def _of_peer(self, owner: int, name: str, length: bytes | None, body: bytes) -> tuple[bytes, int | None]:
        """What the process answers that holds the sequence."""
        assert self.peers is not None
        status, retry_after, answer, json_length = await self.peers.ask(owner, ["infer", name, length, body])
        if status != 200:
            raise Refusal(status, answer.decode(), retry_after)
        return answer, json_length

    async def _for_peer(self, message: Any) -> Any:
        """The answer to a request that another process has read, or a stream that goes on there."""
        what, name, length, body = message
        held = Held(self)
        try:
            held.add(len(body))
            if what == "take":
                return await self.repository.find(name).sequences.taken(stream_key(body.decode()))
            answer, json_length = await self._answer(self.repository.find(name), read_request(body, length))
        except Refusal as refusal:
            return [refusal.status, refusal.retry_after, refusal.message.encode(), None]
        except Exception:
            logger.exception("a request failed", extra={"model": name[:64]})
            return [500, None, FAILED.encode(), None]
        finally:
            held.release()
        return [200, None, answer, json_length]

    async def _answer(self, served: Served, request: InferRequest) -> tuple[bytes, int | None]:
        network = served.network
        names = [info.name for info in network.outputs]
        if request.wanted and (unknown := [name for name in request.wanted if name not in names]):
            raise Refusal(400, f"no output {unknown[0][:64]!r}; there are {', '.join(map(repr, names))}")
        try:
            if request.sequence is not None:
                outputs = [await self._feed(served, request)]
            else:
                timeout = min(request.timeout or self.settings.timeout, self.settings.timeout)
                outputs = await served.batcher.run(network, network.check(request.tensors), timeout)
        except ValueError as error:
            raise Refusal(400, str(error)) from None
        return write_response(served.name, request, dict(zip(names, outputs, strict=True)))

    async def _feed(self, served: Served, request: InferRequest) -> Any:
        sequences, key = served.sequences, request.sequence
        sequences.pool  # noqa: B018  before anything is said about the input
        block, single = block_of(sequences.network, request.tensors)
        binary = all(request.wanted.values()) if request.wanted else request.binary
        before = sequences.saved(key) if request.starts else None
        sequence = sequences.open(key) if request.starts else sequences.find(key)
        try:
            outputs = await sequences.feed(key, sequence, block, finite=not binary, timeout=request.timeout)
        except BaseException:
            if request.starts and sequences.is_of(key, sequence):  # it has not begun, and the one before it goes on
                sequences.close(key, sequence)
                if before is not None:
                    sequences.open(key, before)
            raise
        if request.ends:
            sequences.close(key, sequence)
        return answer_of(sequences.network, outputs, single)

    # ---- What else is asked ------------------------------------------------------------------------------------------

    async def _live(self, request: Request) -> Response:
        return _json({"live": True})

    async def _is_ready(self, request: Request) -> Response:
        return _json({"ready": True})

    async def _server(self, request: Request) -> Response:
        return _json({"name": "rnnx", "version": rnnx.__version__, "extensions": EXTENSIONS})

    async def _index(self, request: Request) -> Response:
        return _json([{"name": name, "version": "1", "state": "READY"} for name in self.repository.models])

    def _of(self, request: Request) -> Served:
        return self.repository.find(request.path_params["name"], request.path_params.get("version"))

    async def _model(self, request: Request) -> Response:
        return _json(self._of(request).describe())

    async def _model_ready(self, request: Request) -> Response:
        served = self._of(request)
        return _json({"name": served.name, "ready": True})

    async def _config(self, request: Request) -> Response:
        served = self._of(request)
        described = served.describe()
        return _json(
            {
                "name": served.name,
                "platform": "rnnx",
                "max_batch_size": 0,  # shapes begin with the rows, as the metadata say
                "input": [_for_config(tensor) for tensor in described["inputs"]],
                "output": [_for_config(tensor) for tensor in described["outputs"]],
                "rnnx": {"streams": served.network.streams, "every_step": served.network.every_step},
            }
        )

    async def _no_change(self, request: Request) -> Response:
        self._of(request)
        raise Refusal(400, "models are those of the command line: write a new file over the old one to load it")

    async def _statistics(self, request: Request) -> Response:
        return _json(self.metrics.statistics([self._of(request).name]))

    async def _all_statistics(self, request: Request) -> Response:
        return _json(self.metrics.statistics(self.repository.models))

    async def _metrics(self, request: Request) -> Response:
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _openapi(self, request: Request) -> Response:
        return _json(description(self.settings))

    async def _page(self, request: Request) -> Response:
        name, kind = PAGE[request.scope["route"].path]
        file = importlib.resources.files("rnnx.serve") / "page" / name
        return Response(file.read_bytes(), media_type=kind, headers=PAGE_HEADERS)

    async def _no_route(self, request: Request, error: Any) -> Response:
        status = getattr(error, "status_code", 404)
        what = "there is nothing here" if status == 404 else "this method is not for here"
        said = {"error": f"{what}: {request.method} {request.url.path[:256]}"}
        return _json(said, status, getattr(error, "headers", None))

    async def _refused(self, request: Request, error: Any) -> Response:
        return _json({"error": error.message}, error.status)


class _Infer:
    """The way of a request for inference, past all that is not needed for it."""

    def __init__(self, application: Application):
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        application = self._application
        parameters = scope["path_params"]
        served = begun = None
        arrived = time.perf_counter()
        headers = [JSON]
        held = Held(application)
        try:
            served = application.repository.find(parameters["name"], parameters.get("version"))
            body = await application.body(receive, held)
            begun = time.perf_counter()
            answer, json_length = await application.infer(served, scope["headers"], body, held)
            status = 200
            if json_length is not None:
                headers = [BINARY, (JSON_LENGTH, str(json_length).encode())]
        except Refusal as refusal:
            status, answer = refusal.status, encode({"error": refusal.message})
            if refusal.retry_after is not None:
                headers.append((b"retry-after", str(int(min(refusal.retry_after, LONGEST_RETRY))).encode()))
            if served is not None and begun is None:  # what is left of the body is not read
                headers.append((b"connection", b"close"))
        except ConnectionResetError:
            return
        except Exception:
            logger.exception("a request failed", extra={"model": parameters["name"][:64]})
            status, answer = 500, encode({"error": FAILED})
        finally:
            held.release()
        if served is not None:
            served.metrics.count(status, time.perf_counter() - (arrived if begun is None else begun))
        headers.append((b"content-length", str(len(answer)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


def _digest(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()


def _json(value: Any, status: int = 200, headers: Any = None) -> Response:
    return Response(encode(value), status, headers, "application/json")


def _for_config(tensor: dict[str, Any]) -> dict[str, Any]:
    return {"name": tensor["name"], "data_type": f"TYPE_{tensor['datatype']}", "dims": tensor["shape"]}
