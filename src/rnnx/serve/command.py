"""``rnnx serve``: the server on the command line."""

from __future__ import annotations

import argparse
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from rnnx.serve.app import named
from rnnx.serve.run import serve
from rnnx.serve.settings import TEXTS, Settings

TOKEN = "RNNX_SERVE_TOKEN"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rnnx serve",
        description="Serve model files: the Open Inference Protocol v2, sequences, and streams over a WebSocket.",
        epilog=f"A bearer token may also stand in the variable {TOKEN}.",
    )
    parser.add_argument("files", metavar="[NAME=]FILE", nargs="+", help="a model; named like its file by default")
    parser.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s, only this machine)")
    parser.add_argument("--port", type=int, default=8000, help="0 for any free one (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--token-file", metavar="FILE", help="bearer tokens, one in a line, one of which is needed")
    parser.add_argument(
        "--allowed-hosts", metavar="NAME,NAME", type=lambda text: tuple(filter(None, text.split(","))), default=(),
        help="by which it may be asked, as example.org, *.example.org or * for any; the names of this machine always "
        "serve, and on an address of this machine alone no others do unless given here",
    )  # fmt: skip
    parser.add_argument("--certfile", help="certificate for TLS")
    parser.add_argument("--keyfile", help="its key")
    parser.add_argument("--access-log", action="store_true", help="a line of log for each request")
    usual, limits = Settings(), parser.add_argument_group("limits")
    for own in fields(Settings):
        if own.name not in TEXTS:
            default = getattr(usual, own.name)
            limits.add_argument(
                f"--{own.name.replace('_', '-')}", type=type(default), default=default, help=HELP[own.name]
            )
    return parser


HELP = {
    "max_body": "bytes of a request (%(default)s)",
    "max_message": "bytes of a message of a WebSocket (%(default)s)",
    "max_pending": "bytes of all requests and answers at once (%(default)s)",
    "max_steps": "time steps of a request (%(default)s)",
    "max_batch": "rows joined into one call (%(default)s)",
    "max_queue": "rows that may wait for a model (%(default)s)",
    "max_sequences": "sequences of a model alive at once (%(default)s)",
    "sequence_idle": "seconds until an idle sequence may be forgotten (%(default)s)",
    "latency_budget": "seconds a request may wait for others (%(default)s)",
    "read_timeout": "seconds in which a request must arrive (%(default)s)",
    "timeout": "seconds until a waiting request is given up (%(default)s)",
    "reload_every": "seconds between looks at the files, 0 for never (%(default)s)",
    "threads": "calls that run at once (%(default)s)",
}


def _models(given: list[str]) -> dict[str, Path]:
    found: list[tuple[str | None, str]] = []
    for word in given:
        name, equals, path = word.partition("=")
        found.append((name, path) if equals and not os.path.exists(word) else (None, word))
    names = [Path(path).stem if name is None else name for name, path in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two models are named {name!r}; give names, as in NAME=FILE")
    return named(dict(zip(names, (path for _, path in found), strict=True)))


def _tokens(path: str | None) -> tuple[str, ...]:
    found = [token] if (token := os.environ.get(TOKEN)) else []
    if path is not None:
        lines = Path(path).read_text().split("\n")
        tokens = [line.strip() for line in lines if line.strip()]
        if not tokens:
            raise ValueError(f"{path}: no token in it")
        found += tokens
    return tuple(found)


def main(arguments: list[str]) -> int:
    """Serve until told to stop.

    Parameters
    ----------
    arguments : list of str
        Those behind ``rnnx serve``.

    Raises
    ------
    ValueError, OSError
        If a file cannot be read, or the address cannot be had.
    """
    options: dict[str, Any] = vars(_parser().parse_args(arguments))
    limits = {own.name: options.pop(own.name) for own in fields(Settings) if own.name not in TEXTS}
    tokens, hosts = _tokens(options.pop("token_file")), options.pop("allowed_hosts")
    settings = Settings(**limits, tokens=tokens, allowed_hosts=hosts)
    serve(_models(options.pop("files")), settings, **options)
    return 0
