"""Running the server: a process of uvicorn, or several that share a socket."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import ssl
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from uvicorn.supervisors import Multiprocess

import rnnx
from rnnx.serve import log
from rnnx.serve.app import create_app, named
from rnnx.serve.connections import Connection, StreamConnection
from rnnx.serve.host_names import is_loopback
from rnnx.serve.peers import Peers, check_folder
from rnnx.serve.settings import Settings

if sys.platform == "win32":
    resource = None
else:
    import resource

GIVEN = "RNNX_SERVE"  # the variable that hands what is to be served to the processes
METRICS = "PROMETHEUS_MULTIPROC_DIR"  # where prometheus-client keeps what several processes count
STARTING = 60  # seconds in which a process must say that it lives; on a busy machine its imports alone take many
DRAIN = 30  # seconds in which requests at hand may end


def serve(
    paths: Any,
    settings: Settings | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    certfile: str | None = None,
    keyfile: str | None = None,
    access_log: bool = False,
) -> None:
    """Serve model files until the process is told to stop.

    Parameters
    ----------
    paths : path, list of paths, or dict of names to paths
        As in `create_app`.
    settings : Settings, optional
        On an address of this machine alone, other names than its own are allowed only if `Settings.allowed_hosts` has
        them: no page can then ask by a name of its own that leads here.
    host : str
        An address; only this machine by default.
    port : int
        0 for any free one.
    workers : int
        Processes. They share the mapped weights, and a sequence stays with one of them.
    certfile, keyfile : path, optional
        For TLS.
    access_log : bool
        Whether each request makes a line.

    Raises
    ------
    ValueError, OSError
        If a file cannot be read or the address cannot be had.
    """
    settings = Settings() if settings is None else settings
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"serve: `workers` must be a positive integer, got {workers!r}")
    if workers > 1 and os.name == "nt":
        raise ValueError("serve: `workers` must be 1 on Windows, whose processes cannot share a socket of this kind")
    # The system would take others modulo 65536.
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 1 << 16:
        raise ValueError(f"serve: `port` must be an integer from 0 to 65535, got {port!r}")
    if certfile is not None:
        _check_certificate(certfile, keyfile)
    elif keyfile is not None:
        raise ValueError("serve: `keyfile` needs a `certfile`")
    if not settings.allowed_hosts and is_loopback(host):
        settings = replace(settings, allowed_hosts=(host,))
    _allow_connections()
    rnnx.set_num_threads(1)  # calls run side by side in threads of the server's own
    app = create_app(paths, settings)  # also of several processes: what cannot be read is said before anything listens
    options: dict[str, Any] = dict(
        host=host, port=port, ssl_certfile=certfile, ssl_keyfile=keyfile, http=Connection, log_config=None,
        access_log=access_log, server_header=False, date_header=False, timeout_graceful_shutdown=DRAIN,
        ws=StreamConnection, ws_max_size=settings.max_message, ws_per_message_deflate=False, lifespan="on",
    )  # fmt: skip
    log.set_up(access_log)
    if workers == 1:
        uvicorn.Server(uvicorn.Config(app, **options)).run()
        return
    models = {name: str(path.absolute()) for name, path in named(paths).items()}
    with tempfile.TemporaryDirectory(prefix="rnnx-serve-") as folder:
        check_folder(folder, workers)
        given = {"models": models, "settings": settings.as_dict(), "access_log": access_log, "folder": folder}
        os.environ[GIVEN] = msgspec.json.encode({**given, "workers": workers}).decode()
        os.environ[METRICS] = folder
        try:
            config = uvicorn.Config(
                app_of_environment, factory=True, workers=workers, timeout_worker_healthcheck=STARTING, **options
            )
            Workers(config, [config.bind_socket()]).run()
        finally:
            del os.environ[GIVEN], os.environ[METRICS]


class Workers(Multiprocess):
    """Processes that are replaced as soon as they have died.

    uvicorn keeps both ends of the pipe by which it asks them whether they live, so that one that dies while it is asked
    is waited for as one that is slow, and the others with it.
    """

    def keep_subprocess_alive(self) -> None:
        for process in self.processes:
            process.child_conn.close()  # the end of the process, which has its own by now
        with contextlib.suppress(EOFError, ConnectionError):  # older ones of uvicorn; the next look finds it dead
            super().keep_subprocess_alive()


def _allow_connections() -> None:
    """Let there be as many connections as the system allows this process, and not the 1,024 files that are usual."""
    if resource is not None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(OSError, ValueError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _check_certificate(certfile: str, keyfile: str | None) -> None:
    """Say at once what is wrong: processes of several would be started again and again."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certfile, keyfile)
    except OSError as error:
        raise ValueError(f"serve: no certificate with its key in {certfile} and {keyfile}: {error}") from None


def _end_with_parent() -> None:
    """Stop this process when the one that started it has gone without a word, as killed ones do.

    It would keep the port, and whoever starts the server again would be told that it is taken.
    """

    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_stop_after, args=(parent,), name="rnnx-serve-parent", daemon=True).start()


def _stop_after(process: Any) -> None:
    process.join()
    os.kill(os.getpid(), signal.SIGTERM)


def app_of_environment() -> Any:
    """The application of one of the processes that `serve` has started."""
    _end_with_parent()
    given = msgspec.json.decode(os.environ[GIVEN])
    log.set_up(given["access_log"])
    rnnx.set_num_threads(1)
    paths = {name: Path(path) for name, path in given["models"].items()}
    folder = given["folder"]
    return create_app(paths, Settings(**given["settings"]), peers=Peers(folder, given["workers"]), folder=folder)
