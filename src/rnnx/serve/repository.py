"""The models of a server: loaded at the start, and again when their file has changed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rnnx.saving import write_whole
from rnnx.serve.batching import Batcher
from rnnx.serve.metrics import Metrics, ModelMetrics
from rnnx.serve.network import Network
from rnnx.serve.refusal import Refusal
from rnnx.serve.sequences import Sequences
from rnnx.serve.settings import Settings

logger = logging.getLogger("rnnx.serve")
Stamp = tuple[int, int, int]
MOST_OF_NAME = 32  # characters
AGAIN = 30.0  # seconds until a file is tried again that the system would not read or copy


def stamp_of(path: Path) -> Stamp | None:
    """What changes with a file; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _packed(copy: Path) -> Path:
    """Where the packed weights of the copy of a file are."""
    return copy.with_name(f"{copy.name}.packed")


def _remove(copy: Path) -> None:
    """Remove the copy of a file and its packed weights; where they are mapped they live on."""
    for path in (copy, _packed(copy)):
        with contextlib.suppress(OSError):
            path.unlink()


class Served:
    """A model under its name, with what waits for it."""

    def __init__(
        self,
        name: str,
        path: Path,
        settings: Settings,
        executor: ThreadPoolExecutor,
        metrics: ModelMetrics,
        folder: Path,
        shared: bool,
    ):
        self.name, self.path, self.metrics = name, path, metrics
        self._max_steps, self._folder, self._shared = settings.max_steps, folder, shared
        self._stamp = self._seen = stamp_of(path)
        self._copy: Path | None = None
        self._again: float | None = None  # when to try once more
        self.network = self._load()
        self.batcher = Batcher(executor, settings, metrics)
        self.sequences = Sequences(self.network, executor, settings, metrics)

    def _load(self) -> Network:
        """The network of the file as it is now.

        A file of rnnx is mapped, and what is mapped must not change: it is copied first, once for all processes of a
        server, so that a file may be written over while it is served. Several processes share the packed weights too.
        """
        copy = self._copy_of_now()
        if copy is None or not self.path.is_file():
            return Network(self.path, self._max_steps)
        if not copy.exists():
            write_whole(copy, self._copy_to)
        try:
            network = Network(copy, self._max_steps, _packed(copy) if self._shared else None)
        except Exception as error:
            if copy != self._copy:
                _remove(copy)
            raise ValueError(str(error).replace(str(copy), str(self.path))) from error
        if self._copy is not None and copy != self._copy:
            _remove(self._copy)
        self._copy = copy
        return network

    def _copy_of_now(self) -> Path | None:
        if (stamp := stamp_of(self.path)) is None:
            return None
        # The end of the name, with its suffix: a name may be as long as the system allows already.
        return self._folder / f"{stamp[0]}-{stamp[1]}-{stamp[2]}-{self.path.name[-MOST_OF_NAME:]}"

    def _copy_to(self, target: Path) -> None:
        shutil.copyfile(self.path, target)

    def describe(self) -> dict[str, Any]:
        """Its metadata as the protocol has them."""
        return {
            "name": self.name,
            "versions": ["1"],
            "platform": "rnnx",
            "inputs": [info.as_dict() for info in self.network.inputs],
            "outputs": [info.as_dict() for info in self.network.outputs],
        }

    def changed(self) -> Stamp | None:
        """The stamp of a file that is another one than that of the model, and stays the same for two looks."""
        now, before = stamp_of(self.path), self._seen
        self._seen = now
        again = self._again is not None and time.monotonic() >= self._again
        return now if now is not None and (now != self._stamp or again) and now == before else None

    async def reload(self, stamp: Stamp, executor: ThreadPoolExecutor) -> None:
        """Read the file again; requests at hand end with the model they began with, sequences go on if they fit."""
        self._stamp = stamp  # of a file that cannot be read too, which is not to be tried again and again
        self._again = None
        try:
            network = await asyncio.get_running_loop().run_in_executor(executor, self._load)
        except Exception as error:
            self.metrics.loads["failed"].inc()
            if isinstance(error, OSError):  # a full disk, or a file that comes and goes
                self._again = time.monotonic() + AGAIN
            logger.error("the file cannot be read, the old model stays", extra={"model": self.name, "why": str(error)})
            return
        self.network = network
        lost = self.sequences.reload(network)
        self.metrics.loads["loaded"].inc()
        logger.info("model loaded again", extra={"model": self.name, "sequences_lost": lost})


class Repository:
    """All models of a server.

    Parameters
    ----------
    paths : dict of str to path
    settings : Settings
    metrics : Metrics
    folder : path, optional
        For copies of the files and their packed weights, which other processes share; one of its own if not given.
    """

    def __init__(self, paths: dict[str, Path], settings: Settings, metrics: Metrics, folder: Any = None):
        self._settings = settings
        self._clean: Callable[[], Any] | None = None
        if folder is None:
            folder = tempfile.mkdtemp(prefix="rnnx-serve-")
            # Not a TemporaryDirectory, which warns where nobody closes it: of a mounted application nobody does.
            self._clean = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        place = Path(folder)
        self.executor = ThreadPoolExecutor(settings.threads, "rnnx-serve")
        self.models = {
            name: Served(name, path, settings, self.executor, metrics.of_model(name), place, folder is not None)
            for name, path in paths.items()
        }

    def close(self) -> None:
        """Let the calls at hand end, and give up what is on disk."""
        self.executor.shutdown(wait=True, cancel_futures=True)
        if self._clean is not None:
            self._clean()

    def find(self, name: str, version: str | None = None) -> Served:
        """A model by its name.

        Raises
        ------
        Refusal
            404 if there is none.
        """
        if (served := self.models.get(name)) is None or version not in (None, "", "1"):
            there = ", ".join(repr(own) for own in self.models)
            raise Refusal(404, f"no model {name[:64]!r} of version {(version or '1')[:16]}; there are {there}")
        return served

    async def keep(self, tell: Callable[[], None]) -> None:
        """Look after files and sequences, until cancelled; ``tell`` is called each time."""
        pause = self._settings.reload_every or 1.0
        while True:
            await asyncio.sleep(pause)
            tell()
            for served in self.models.values():
                served.sequences.forget_idle()
                if self._settings.reload_every and (stamp := served.changed()):
                    try:
                        await served.reload(stamp, self.executor)
                    except Exception:  # of one model, and the others are still to be looked after
                        logger.exception("the model could not be replaced", extra={"model": served.name})
