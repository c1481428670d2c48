"""Connections of uvicorn with more limits: heads that do not come, bytes on their way, answers that nobody reads."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from rnnx.serve.held import Held
from rnnx.serve.refusal import Refusal
from rnnx.serve.stream_socket import TRY_LATER

MOST_HEAD = 1 << 20  # bytes of path and headers
HEAD = 10.0  # seconds in which the head of a request must arrive
MOST_AROUND = 1 << 20  # bytes of frames that a message may have beside twice its own
FRAGMENT = 48  # bytes that a fragment of a message takes in memory beside its own
TOO_LARGE = 1009  # what RFC 6455 says of messages that are
STALLED = 30.0  # seconds in which a client that has its answer waiting must read some of it


class Reader(asyncio.Protocol):
    """What both kinds of connections know of a client that is slow to read its answers, which uvicorn waits for.

    What waits for it counts among the bytes that are held; who reads nothing for long is left.
    """

    transport: Any
    loop: asyncio.AbstractEventLoop
    app_state: dict[str, Any]
    _stalled: asyncio.TimerHandle | None = None
    _unread: Held | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self._unread or Held(self.app_state["rnnx"])
        self._watch()

    def _watch(self) -> None:
        assert self._unread is not None
        size = self.transport.get_write_buffer_size()
        self._unread.keep(size)
        self._stalled = self.loop.call_later(STALLED, self._look, size)

    def _look(self, before: int) -> None:
        if self.transport.get_write_buffer_size() < before:
            self._watch()
        else:
            self.transport.abort()

    def resume_writing(self) -> None:
        self._is_read()
        super().resume_writing()

    def _is_read(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        if self._unread is not None:
            self._unread.release()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_read()
        super().connection_lost(exc)


class Connection(Reader, HttpToolsProtocol):
    """A connection that is closed if the head of a request does not come: uvicorn waits so only between requests."""

    _head: asyncio.TimerHandle | None = None
    _head_size = 0
    _upgraded = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait_for_head()

    def _wait_for_head(self) -> None:
        self._head, self._head_size = self.loop.call_later(HEAD, self.timeout_keep_alive_handler), 0

    def _head_is_there(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head is not None and not self.transport.is_closing():
            self._head_size += len(data)
            if self._head_size > MOST_HEAD:
                self.send_400_response(f"The head of a request has at most {MOST_HEAD} bytes.")
                return
        done = self.cycle is None or self.cycle.response_complete
        if done and self._head is None and self.timeout_keep_alive_task is None and not self._upgraded:
            self._wait_for_head()  # bytes that are no whole head, or belong to a request that is answered already

    def on_headers_complete(self) -> None:
        self._head_is_there()
        super().on_headers_complete()

    def handle_websocket_upgrade(self) -> None:
        self._upgraded = True
        super().handle_websocket_upgrade()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_there()
        super().connection_lost(exc)


class StreamConnection(Reader, WebSocketsSansIOProtocol):
    """A WebSocket whose bytes count among those that are held, from their arrival on."""

    _arriving = 0  # bytes of a message that is not there yet

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._held = Held(self.app_state["rnnx"])

    def data_received(self, data: bytes) -> None:
        try:
            self._held.add(len(data))
        except Refusal as refusal:
            self.conn.fail(TRY_LATER, refusal.message)
            self.handle_parser_exception()
            return
        before = len(self.frames)
        super().data_received(data)
        if self.frames:
            self._arriving += len(data) + FRAGMENT * max(0, len(self.frames) - before)
        else:
            self._arriving = len(self.conn.reader.buffer)  # pings and what is no message are gone again
        if self.queue.empty():
            self._held.keep(self._arriving)
        if self._arriving > MOST_AROUND + 2 * self.config.ws_max_size and not self.close_sent:
            self.conn.fail(TOO_LARGE, "a message in too many fragments, or with too many pings between them")
            self.handle_parser_exception()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.pause_reading()  # each ping would add an answer to those that wait

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()

    async def receive(self) -> Any:
        message = await super().receive()
        if self.queue.empty():
            self._held.keep(self._arriving)  # what the application has it counts itself
        return message

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._held.release()
