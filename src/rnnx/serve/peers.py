"""The processes of one server: each holds some of the sequences, and hands requests of others to whom they belong."""

from __future__ import annotations

import asyncio
import os
import time
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client.multiprocess import mark_process_dead

from rnnx.serve.refusal import Refusal

WIDTH = 8  # bytes that say how long a message is
START = 10.0  # seconds in which a process that has died is there again
GONE = "the process that held the sequence has gone; begin the sequence again"
Handler = Callable[[Any], Awaitable[Any]]
LONGEST_PATH = 103  # bytes of the path of a socket, on the systems that allow the fewest


def check_folder(folder: Any, count: int) -> None:
    """Say at once if sockets cannot be in a folder: processes would be started again and again.

    Raises
    ------
    ValueError
        If its path is too long.
    """
    if (size := len(os.fsencode(Path(folder) / f"{count - 1}.sock"))) > LONGEST_PATH:
        raise ValueError(
            f"serve: with several `workers` sockets are made in the folder for temporary files, whose paths have at "
            f"most {LONGEST_PATH} bytes, got {size} in {folder}; set TMPDIR to a shorter one"
        )


class Peers:
    """This process among those that share a folder.

    They speak over sockets in the folder: messages of msgpack behind their length, one answer for each.

    Parameters
    ----------
    folder : path
    count : int
        Processes.

    Attributes
    ----------
    own : int
        The number of this process; that of one that has died is taken by the next.
    """

    def __init__(self, folder: Any, count: int):
        import fcntl  # not on Windows, where a server is one process

        self._folder, self.count = Path(folder), count
        for own in range(count):
            self._lock = os.open(self._folder / f"{own}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._lock)
                continue
            self.own = own
            self._bury()
            break
        else:
            raise RuntimeError(f"serve: {count} processes are there already")
        self._idle: dict[int, list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = {}
        self._server: Any = None

    def _bury(self) -> None:
        """Take what the process that had this number said about now out of the metrics: it has died."""
        before = os.read(self._lock, 32)
        if before.isdigit() and int(before) != os.getpid():
            mark_process_dead(int(before), str(self._folder))
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)

    def owner(self, key: Any) -> int:
        """The number of the process that holds the sequence of an id."""
        return zlib.crc32(repr(key).encode()) % self.count

    def _path(self, number: int) -> str:
        return str(self._folder / f"{number}.sock")

    async def open(self, handle: Handler) -> None:
        """Answer the others with what ``handle`` says."""
        path = self._path(self.own)
        if os.path.exists(path):
            os.unlink(path)  # of a process that has died

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while True:
                    message = await _read(reader)
                    await _write(writer, await handle(message))
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

        self._server = await asyncio.start_unix_server(talk, path)

    def close(self) -> None:
        """Take no more from the others."""
        if self._server is not None:
            self._server.close()
        for connections in self._idle.values():
            for _, writer in connections:
                writer.close()
        os.close(self._lock)

    async def ask(self, number: int, message: Any) -> Any:
        """What another process answers; one that is about to start is waited for.

        Raises
        ------
        Refusal
            503 if it has gone.
        """
        idle = self._idle.setdefault(number, [])
        connection = idle.pop() if idle else await self._connected(number)
        try:
            await _write(connection[1], message)
            answer = await _read(connection[0])
        except (OSError, asyncio.IncompleteReadError):
            for _, writer in (connection, *idle):
                writer.close()
            idle.clear()
            raise Refusal(503, GONE, 1.0) from None
        except asyncio.CancelledError:
            connection[1].close()
            raise
        idle.append(connection)
        return answer

    async def _connected(self, number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        until = time.monotonic() + START
        while True:
            try:
                return await asyncio.open_unix_connection(self._path(number))
            except OSError:
                if time.monotonic() > until:
                    raise Refusal(503, GONE, 1.0) from None
                await asyncio.sleep(0.05)


async def _read(reader: asyncio.StreamReader) -> Any:
    size = int.from_bytes(await reader.readexactly(WIDTH), "little")
    return msgspec.msgpack.decode(await reader.readexactly(size))


async def _write(writer: asyncio.StreamWriter, message: Any) -> None:
    encoded = msgspec.msgpack.encode(message)
    writer.write(len(encoded).to_bytes(WIDTH, "little"))
    writer.write(encoded)
    await writer.drain()
