"""What a server allows: sizes, numbers, times."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from rnnx.serve.host_names import check_host_name

TEXTS = ("tokens", "allowed_hosts")


@dataclass(frozen=True)
class Settings:
    """Limits and choices of a server.

    Parameters
    ----------
    max_body : int
        Bytes of one request, also after decompression.
    max_message : int
        Bytes of one message of a WebSocket.
    max_pending : int
        Bytes of all requests, messages and answers that are held at once; more are answered with 429.
    max_steps : int
        Time steps of one request.
    max_batch : int
        Rows that are joined into one call of a model; a request with more rows is a call of its own.
    max_queue : int
        Rows that may wait for one model; more are answered with 429.
    max_sequences : int
        Sequences and streams of one model that live at once.
    sequence_idle : float
        Seconds after which a sequence that nobody uses may be forgotten.
    latency_budget : float
        Seconds that a request may wait for others to share its call, where sharing pays.
    read_timeout : float
        Seconds in which a request must have arrived.
    timeout : float
        Seconds after which a request that waits is given up.
    reload_every : float
        Seconds between looks at the files of the models; 0 for never.
    threads : int
        Calls of models that run at once.
    tokens : tuple of str
        Bearer tokens, of which a request must bring one; none for an open server.
    allowed_hosts : tuple of str
        Names by which the server may be asked (``"*.example.org"``: all that end so, ``"*"``: any); those of this
        machine itself always are. None for any; but `serve` on an address of this machine alone allows no others then.

    Raises
    ------
    ValueError
        If one of them is out of range.
    """

    max_body: int = 32 << 20
    max_message: int = 1 << 20
    max_pending: int = 256 << 20
    max_steps: int = 100_000
    max_batch: int = 64
    max_queue: int = 512
    max_sequences: int = 10_000
    sequence_idle: float = 300.0
    latency_budget: float = 0.005
    read_timeout: float = 30.0
    timeout: float = 30.0
    reload_every: float = 1.0
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    tokens: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        may_be_zero = {"latency_budget", "reload_every"}
        for own in fields(self):
            value = getattr(self, own.name)
            if own.name in TEXTS:
                if isinstance(value, str) or not all(isinstance(text, str) and text for text in value):
                    raise ValueError(f"Settings: `{own.name}` must be a list of strings that are not empty")
                found = map(check_host_name, value) if own.name == "allowed_hosts" else value
                object.__setattr__(self, own.name, tuple(found))
                continue
            kinds: Any = int if own.type == "int" else (int, float)
            if isinstance(value, bool) or not isinstance(value, kinds):
                raise ValueError(f"Settings: `{own.name}` must be {own.type}, got {value!r}")
            if not value > 0 and not (value == 0 and own.name in may_be_zero):
                raise ValueError(f"Settings: `{own.name}` must be greater than 0, got {value!r}")

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)
