"""Figures sent to a server."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
import warnings

import numpy as np

from rnnx.callbacks.callback import Callback, Logs

SECONDS = 10.0  # that a server may take


class RemoteMonitor(Callback):
    """Send losses and metrics of every epoch to a server, by an HTTP POST.

    Parameters
    ----------
    root, path : str
        Of the address.
    field : str
        Of a form that holds the figures as JSON.
    headers : dict, optional
    send_as_json : bool
        The figures are the whole message instead.

    Warns
    -----
    UserWarning
        If the server cannot be reached; the training goes on.
    """

    on_every_rank = False

    def __init__(
        self,
        root: str = "http://localhost:9000",
        path: str = "/publish/epoch/end/",
        field: str = "data",
        headers: dict[str, str] | None = None,
        send_as_json: bool = False,
    ):
        if not root.startswith(("http://", "https://")):
            raise ValueError(f"RemoteMonitor: `root` must begin with http:// or https://, got {root!r}")
        self.root, self.path, self.field, self.headers, self.send_as_json = root, path, field, headers, send_as_json

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        values = {name: np.asarray(value).tolist() for name, value in (logs or {}).items()}
        text = json.dumps({"epoch": epoch, **values})
        data = text if self.send_as_json else urllib.parse.urlencode({self.field: text})
        kind = "application/json" if self.send_as_json else "application/x-www-form-urlencoded"
        headers = {"Content-Type": kind, **(self.headers or {})}
        request = urllib.request.Request(self.root + self.path, data.encode(), headers)
        try:
            urllib.request.urlopen(request, timeout=SECONDS).close()
        except (urllib.error.URLError, OSError) as error:
            warnings.warn(
                f"Could not reach RemoteMonitor root server at {self.root}: {error}", UserWarning, stacklevel=2
            )
