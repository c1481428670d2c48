"""Results as a file of lines of JSON: one for each fit, appended whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from fitting import Fit

KEY = tuple(Fit.__dataclass_fields__)


class Results:
    """The lines of a file, and what they say.

    Parameters
    ----------
    path : Path
        Is made if it is not there. A line that was cut off, by a full disk or a loss of power, is removed.
    """

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_bytes() if path.exists() else b""
        whole = text[: text.rfind(b"\n") + 1]
        if len(whole) < len(text):
            os.truncate(path, len(whole))
        self.lines = [json.loads(line) for line in whole.splitlines()]
        self._known = {self._key(line): line for line in self.lines}

    def append(self, line: dict[str, Any]) -> None:
        """Add a line, and leave it on the disk before the next one."""
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            data = (json.dumps(line) + "\n").encode()
            before = os.fstat(file).st_size
            if os.write(file, data) < len(data):
                os.ftruncate(file, before)
                raise OSError(f"{self.path}: the disk is full")
            os.fsync(file)
        finally:
            os.close(file)
        self.lines.append(line)
        self._known[self._key(line)] = line

    def find(self, fit: Fit) -> dict[str, Any] | None:
        """The line of a fit, if it was made with today's settings."""
        line = self._known.get(tuple(getattr(fit, name) for name in KEY))
        if line is None or any(line.get(name) != value for name, value in fit.settings().items()):
            return None
        return line

    @staticmethod
    def _key(line: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(line[name] for name in KEY)
