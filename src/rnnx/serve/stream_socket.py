"""Streams over a WebSocket: steps in, outputs out, and a token with which another connection goes on."""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from typing import Any, Protocol

import anyio
import msgspec
import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from rnnx._typing import Array
from rnnx.reference.gates import gate_values
from rnnx.serve.held import Held
from rnnx.serve.peers import Peers
from rnnx.serve.protocol import DATATYPES, encode, numbers_of
from rnnx.serve.refusal import Refusal
from rnnx.serve.repository import Repository, Served
from rnnx.serve.sequences import Sequences, block_of
from rnnx.serve.settings import Settings

logger = logging.getLogger("rnnx.serve")
FAILED = "the model failed; the log of the server says why"
NOT_ALLOWED, TRY_LATER = 1008, 1013
MOST_LISTS = 1_000_000  # of a message in JSON
MOST_WATCHED, MOST_UNITS = 64, 128  # steps and units of which the activity is told


class Host(Protocol):
    """What is needed of the application."""

    repository: Repository
    settings: Settings
    peers: Peers | None
    pending: int

    def allows(self, headers: Any) -> bool: ...


class StreamMessage(msgspec.Struct, forbid_unknown_fields=True):
    """A message of a client in JSON."""

    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
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

    def __init__(self, sequences: Sequences, key: Any, block: Array):
        first = sequences.network.model.plan.steps[0].layer
        self._first = first if getattr(first, "cell_kind", "") else None
        self._sequences, self._key = sequences, key
        self._gates = None if self._first is None else self._gates_of(self._first, block)

    def _states(self) -> list[tuple[Array, ...]]:
        return self._sequences.pool.state(self._sequences.find(self._key).stream)

    def _gates_of(self, layer: Any, block: Array) -> dict[str, list[Any]]:
        values = gate_values(
            layer.cell_kind, layer.packed()[0], block.astype(layer.dtype), initial_state=self._states()[0]
        )
        return {title: value[:, :MOST_UNITS].tolist() for title, value in values.items()}

    def told(self) -> dict[str, list[Any]]:
        """Lists of units for each step, by what they are; to be asked for after the steps."""
        if self._gates is not None:
            return self._gates
        return {
            f"state {k + 1}": parts[0][:1].reshape(1, -1)[:, :MOST_UNITS].tolist()
            for k, parts in enumerate(self._states())
        }


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
        allowed, name = self._application.allows(scope["headers"]), scope["path_params"]["name"]
        if allowed and name not in self._application.repository.models:
            await socket.close(NOT_ALLOWED)
            return
        await socket.accept()
        try:
            if allowed or await self._introduced(socket):  # only then is said which models there are
                await self._talk(socket, name)
        except WebSocketDisconnect:
            pass

    async def _talk(self, socket: WebSocket, name: str) -> None:
        try:
            served = self._application.repository.find(name)
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
            begun = time.perf_counter()
            status, answer = await self._answer_to(message, served, key)
            served.metrics.count(status, time.perf_counter() - begun)
            await (socket.send_bytes(answer) if isinstance(answer, bytes) else socket.send_text(answer))

    async def _answer_to(self, message: Any, served: Served, key: Any) -> tuple[int, bytes | str]:
        """The status that HTTP would have, and what is answered to a message."""
        raw, text = message.get("bytes"), message.get("text") or ""
        held = Held(self._application)
        try:
            held.add(len(text) if raw is None else len(raw))
            if raw is not None:
                return 200, (await self._feed(served, key, _steps_of(served, raw), finite=False)).tobytes()
            return 200, encode(await self._answer(served, key, text)).decode()
        except Refusal as refusal:
            status, said = refusal.status, refusal.message
        except (ValueError, msgspec.DecodeError, RecursionError) as error:
            status, said = 400, str(error)
        except Exception:
            logger.exception("a message of a stream failed", extra={"model": served.name[:64]})
            status, said = 500, FAILED
        finally:
            held.release()
        return status, encode({"error": said}).decode()

    async def _opened(self, served: Served, token: str | None) -> tuple[str, bool]:
        """The token of a stream, and whether it is the one that was given; another process may have held it."""
        sequences, peers = served.sequences, self._application.peers
        if token is not None and stream_key(token) in sequences:
            return token, True
        made = f"{0 if peers is None else peers.own}.{secrets.token_urlsafe(16)}"
        sequences.open(stream_key(made))  # first: what the other process gives away must find room here
        saved = None
        if token is not None and peers is not None:
            number = token.partition(".")[0]
            if number in map(str, range(peers.count)) and int(number) != peers.own:
                with contextlib.suppress(Refusal):  # it has gone, and the stream with it
                    saved = await peers.ask(int(number), ["take", served.name, None, token.encode()])
        if not isinstance(saved, bytes):  # none, or why the other process gives nothing
            return made, False
        try:
            served.sequences.open(stream_key(made), saved)
        except ValueError:  # of a version of the model with other states
            served.sequences.open(stream_key(made))
            return made, False
        return made, True

    async def _introduced(self, socket: WebSocket) -> bool:
        """Whether the first message brings the token, for browsers, which can send no headers with a WebSocket."""
        token = ""
        with contextlib.suppress(msgspec.DecodeError, RecursionError, TimeoutError):
            with anyio.fail_after(self._application.settings.read_timeout):
                message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return False
            token = _decoder.decode(message.get("text") or "").token or ""
        if self._application.allows([(b"authorization", b"Bearer " + token.encode())]):
            return True
        await socket.send_text(encode({"error": "a token is needed"}).decode())
        await socket.close(NOT_ALLOWED)
        return False

    async def _answer(self, served: Served, key: Any, text: str) -> dict[str, Any]:
        message = _decoder.decode(text)
        answer: dict[str, Any] = {}
        block = None if message.data is msgspec.UNSET else self._block(served, message.data)
        if message.activity and block is not None and block.shape[1] > MOST_WATCHED:
            raise Refusal(400, f"at most {MOST_WATCHED} steps with `activity`, got {block.shape[1]}")
        before = None
        if message.reset:
            sequences = served.sequences
            before = sequences.saved(key)
            sequences.open(key)
            answer["reset"] = True
        if block is not None:
            try:
                watched = Activity(served.sequences, key, block) if message.activity else None
                answer["data"] = (await self._feed(served, key, block, finite=True)).tolist()
            except BaseException:
                if before is not None and key in served.sequences:
                    served.sequences.open(key, before)
                raise
            if watched is not None:
                answer["activity"] = watched.told()
        return answer

    def _block(self, served: Served, data: msgspec.Raw) -> Array:
        """Steps in JSON, as an array of shape (1, timesteps, ...)."""
        network = served.network
        (info,) = network.inputs
        block = numbers_of(data, MOST_LISTS)
        if block.dtype.kind not in "iuf" or block.ndim != len(info.shape) - 1:
            raise Refusal(400, "`data` must be a list of steps, each of the shape of one step of the input")
        return block_of(network, {info.name: block[None]})[0]

    async def _feed(self, served: Served, key: Any, block: Array, *, finite: bool) -> Array:
        """The outputs after each step."""
        sequences = served.sequences
        block, _ = block_of(sequences.network, {sequences.network.inputs[0].name: block})
        outputs: Array = await sequences.feed(key, sequences.find(key), block, finite=finite)
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
