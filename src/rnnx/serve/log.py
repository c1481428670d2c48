"""Logs in lines of JSON."""

from __future__ import annotations

import datetime
import logging
import re
import sys
from typing import Any

from rnnx.serve.protocol import encode

TOKEN = re.compile(r"(?<=[?&]token=)[^&\s\"]+")  # of a stream, in its path: whoever reads it could go on with it
USUAL = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


class JSONLines(logging.Formatter):
    """A record as one line: time, level, message, and what was given with it."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": TOKEN.sub("...", record.getMessage()),
        }
        line |= {name: str(value) for name, value in vars(record).items() if name not in USUAL}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return encode(line).decode()


class Quiet(logging.StreamHandler[Any]):
    """To standard error; a full disk or a closed pipe behind it costs the line and nothing else."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


def no_streams(record: logging.LogRecord) -> bool:
    """Whether a record is not of a WebSocket that was accepted, for which uvicorn makes a line in any case."""
    return not str(record.msg).startswith('%s - "WebSocket')


def set_up(access: bool) -> None:
    """Let this process write its logs to standard error.

    Parameters
    ----------
    access : bool
        Whether each request makes a line.
    """
    handler = Quiet(sys.stderr)
    handler.setFormatter(JSONLines())
    for name in ("rnnx.serve", "uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
    logging.getLogger("uvicorn.access").disabled = not access
    errors = logging.getLogger("uvicorn.error")
    errors.filters = [] if access else [no_streams]
