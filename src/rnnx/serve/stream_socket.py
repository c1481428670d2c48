"""Streams over a WebSocket: steps in, outputs out, and a token with which another connection goes on."""

from __future__ import annotations

import contextlib
import secrets
import time
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec
import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from rnnx._typing import Array
from rnnx.reference.gates import gate_values
from rnnx.serve.peers import Peers
from rnnx.serve.protocol import DATATYPES, encode
from rnnx.serve.refusal import Refusal
from rnnx.serve.repository import Repository, Served
from rnnx.serve.sequences import Sequences, block_of

NOT_ALLOWED, TRY_LATER = 1008, 1013
MOST_WATCHED, MOST_UNITS = 64, 128  # steps and units of which the activity is told


class Host(Protocol):
    """What is needed of the application."""

    repository: Repository
    peers: Peers | None

    def allows(self, headers: Any) -> bool: ...


class StreamMessage(msgspec.Struct, forbid_unknown_fields=True):
    """A message of a client in JSON."""

    data: list[Any] | None = None
    reset: bool = False
    activity: bool = False
    token: str | None = None


def stream_key(token: str) -> tuple[str, str]:
    """The id of a stream among the sequences, which no client can give."""
    return "stream", token


class Activity:
    """What the units of the recurrent layers do in the next steps of a stream.

    Of a model that begins with an LSTM, GRU or SimpleRNN its gates at each step, computed by the reference; of others
    what each layer remembers after the last one.
    """

    def __init__(self, sequences: Sequences, key: Any):
        first = sequences.network.model.plan.steps[0].layer
        self._first = first if getattr(first, "cell_kind", "") else None
        self._sequences, self._key = sequences, key
        self._before = self._states()[0] if self._first is not None else None

    def _states(self) -> list[tuple[Array, ...]]:
        return self._sequences.pool.state(self._sequences.find(self._key).stream)

    def of(self, block: Array) -> dict[str, list[Any]]:
        """Lists of units for each step, by what they are."""
        if self._first is None:
            states = self._states()
            return {
                f"state {k + 1}": parts[0][:1].reshape(1, -1)[:, :MOST_UNITS].tolist() for k, parts in enumerate(states)
            }
        layer, dtype = self._first, self._first.dtype
        values = gate_values(layer.cell_kind, layer.packed()[0], block.astype(dtype), initial_state=self._before)
        return {title: value[:, :MOST_UNITS].tolist() for title, value in values.items()}


_decoder = msgspec.json.Decoder(StreamMessage)


class StreamSocket:
    """A stream of a model for each connection.

    The server speaks first: ``{"token": ..., "resumed": ..., "input": ..., "output": ...}``. Then each message of the
    client is answered by one: bytes (numbers of the input's type, one step after the other) by bytes, JSON
    (``{"data": [step, ...], "activity": bool, "reset": bool}``) by JSON. What cannot be honoured is answered by
    ``{"error": ...}``, and the stream is where it was. A connection to ``?token=TOKEN`` goes on with that stream.
    """

    def __init__(self, application: Host):
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        socket = WebSocket(scope, receive, send)
        try:
            served = self._application.repository.find(scope["path_params"]["name"])
        except Refusal:
            await socket.close(NOT_ALLOWED)
            return
        origin = socket.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != socket.headers.get("host"):
            await socket.close(NOT_ALLOWED)  # a page of another site, in a browser that reaches this server
            return
        await socket.accept()
        try:
            await self._talk(socket, served)
        except WebSocketDisconnect:
            pass

    async def _talk(self, socket: WebSocket, served: Served) -> None:
        if not self._application.allows(socket.scope["headers"]) and not await self._introduced(socket):
            return
        try:
            token, resumed = await self._opened(served, socket.query_params.get("token"))
        except Refusal as refusal:
            await socket.send_text(encode({"error": refusal.message}).decode())
            await socket.close(TRY_LATER if refusal.status == 429 else NOT_ALLOWED)
            return
        key = stream_key(token)
        (info,), output = served.network.inputs, served.network.outputs[0]
        hello = {"token": token, "resumed": resumed, "input": info.as_dict(), "output": output.as_dict()}
        await socket.send_text(encode(hello).decode())
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            begun, status = time.perf_counter(), 200
            try:
                if (raw := message.get("bytes")) is not None:
                    outputs = await self._feed(served, key, _steps_of(served, raw))
                    await socket.send_bytes(outputs.tobytes())
                else:
                    answer = await self._answer(served, key, message.get("text") or "")
                    await socket.send_text(encode(answer).decode())
            except (Refusal, ValueError, msgspec.DecodeError) as error:
                status, text = (error.status, error.message) if isinstance(error, Refusal) else (400, str(error))
                await socket.send_text(encode({"error": text}).decode())
            served.metrics.count(status)
            served.metrics.seconds.observe(time.perf_counter() - begun)

    async def _opened(self, served: Served, token: str | None) -> tuple[str, bool]:
        """The token of a stream, and whether it is the one that was given; another process may have held it."""
        sequences, peers = served.sequences, self._application.peers
        if token is not None and stream_key(token) in sequences:
            return token, True
        saved = None
        if token is not None and peers is not None:
            number = token.partition(".")[0]
            if number.isdecimal() and int(number) < peers.count and int(number) != peers.own:
                with contextlib.suppress(Refusal):  # it has gone, and the stream with it
                    saved = await peers.ask(int(number), ["take", served.name, None, token.encode()])
        made = f"{0 if peers is None else peers.own}.{secrets.token_urlsafe(16)}"
        sequences.open(stream_key(made), saved)
        return made, saved is not None

    async def _introduced(self, socket: WebSocket) -> bool:
        """Whether the first message brings the token, for browsers, which can send no headers with a WebSocket."""
        text = await socket.receive_text()
        try:
            token = _decoder.decode(text).token or ""
        except (msgspec.DecodeError, RecursionError):
            token = ""
        if self._application.allows([(b"authorization", b"Bearer " + token.encode())]):
            return True
        await socket.send_text(encode({"error": "a token is needed"}).decode())
        await socket.close(NOT_ALLOWED)
        return False

    async def _answer(self, served: Served, key: Any, text: str) -> dict[str, Any]:
        message = _decoder.decode(text)
        answer: dict[str, Any] = {}
        if message.reset:
            served.sequences.open(key)
            answer["reset"] = True
        if message.data is not None:
            (info,) = served.network.inputs
            try:
                block = np.array(message.data)
            except ValueError:
                block = np.array(None)
            if block.dtype.kind not in "iuf":
                raise Refusal(400, "`data` must be a list of steps, each of the shape of one step of the input")
            watched = None
            if message.activity:
                if len(block) > MOST_WATCHED:
                    raise Refusal(400, f"at most {MOST_WATCHED} steps with `activity`, got {len(block)}")
                watched = Activity(served.sequences, key)
            outputs = await self._feed(served, key, block[None])
            if not np.isfinite(outputs).all():
                raise Refusal(500, "the output holds infinities or NaN, which JSON lacks; send bytes")
            answer["data"] = outputs.tolist()
            if watched is not None:
                answer["activity"] = watched.of(block[None])
        return answer

    async def _feed(self, served: Served, key: Any, block: Array) -> Array:
        """The outputs after each step."""
        sequences = served.sequences
        block, _ = block_of(sequences.network, {sequences.network.inputs[0].name: block})
        outputs: Array = await sequences.feed(key, sequences.find(key), block)
        return outputs[0]


def _steps_of(served: Served, raw: bytes) -> Array:
    """The steps in a message of bytes."""
    network = served.network
    (info,) = network.inputs
    dtype = DATATYPES[info.datatype]
    inner = network.step_shape
    size = dtype.itemsize * int(np.prod([n for n in inner if n > 0], dtype=np.int64))
    if min(inner, default=1) < 1:
        raise Refusal(400, "steps of any size come as JSON")
    if not raw or len(raw) % size:
        raise Refusal(400, f"a message of bytes holds steps of {size} bytes, got {len(raw)}")
    return np.frombuffer(raw, dtype).reshape(1, -1, *inner)
