"""A model by the path of its file, for the workers of an engine that runs parts of one job again where they fail."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from rnnx import Predictor, load_model
from rnnx import _nested as nested
from rnnx._config import path_of
from rnnx._typing import Array

AT_ONCE = 32  # batches of rows that are taken from a stream at once: sequences of like lengths share a batch
_read: dict[tuple[str, str, str, int | None], Predictor] = {}  # by path, checksum, mark and threads
MOST_READ = 16


def checksum_of(path: str) -> str:
    """SHA-256 of a file, or of the files in a folder with their names."""
    if not os.path.isdir(path):
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _sha(file)
    whole = hashlib.sha256()
    for part in sorted(found for found in Path(path).rglob("*") if found.is_file()):
        whole.update(f"{part.relative_to(path).as_posix()}\0{checksum_of(str(part))}\n".encode())
    return whole.hexdigest()


def _sha(file: Any) -> str:
    """`hashlib.file_digest`, which Python 3.10 does not have."""
    whole = hashlib.sha256()
    while block := file.read(1 << 20):
        whole.update(block)
    return whole.hexdigest()


class Scorer:
    """What travels to the workers: a path, and the checksum of what was in the file when the work was planned.

    Each process reads the file once, whatever the number of tasks, and says so if it holds another model by then: tasks
    that are run again would give numbers of two models in one table.

    Parameters
    ----------
    who : str
        For the errors.
    path : path or Predictor
    batch_size : int, optional
    threads : int, optional
        Of a task.
    custom_objects : dict, optional
        As for `rnnx.load_model`.
    """

    def __init__(
        self, who: str, path: Any, batch_size: int | None, threads: int | None, custom_objects: dict[str, Any] | None
    ):
        if batch_size is not None and (
            isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1
        ):
            raise ValueError(f"{who}: `batch_size` must be a positive integer or None, got {batch_size!r}")
        self.cache: Any = None
        if isinstance(path, Predictor):
            threads = threads if path.threads is None else path.threads
            self.cache, custom_objects = path.cache, custom_objects or path.custom_objects
            path = path.path
        predictor = Predictor(path_of(who, path), threads=threads, custom_objects=custom_objects)
        self.who, self.path, self.threads = who, predictor.path, predictor.threads
        self.batch_size, self.custom_objects = batch_size, custom_objects
        self.model: Any = load_model(self.path, custom_objects, compile=False)
        self.checksum = checksum_of(self.path)
        # Objects of one's own have no checksum: with them every plan reads the file for itself.
        self.mark = uuid.uuid4().hex if custom_objects else ""
        if self.model.is_stateful:
            raise ValueError(
                f"{who}: {self.model.name} is stateful: its outputs depend on the order of the batches, which workers "
                "do not keep; load it and use `predict`"
            )
        self.several_inputs = self.model.several_inputs
        self.several_outputs = self.model.several_outputs
        self.template = self.model.output_template

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "model"}

    def __dask_tokenize__(self) -> Any:
        return (type(self).__qualname__, self.path, self.checksum, self.mark, self.threads, self.batch_size)

    def predictor(self) -> Predictor:
        """That of this process; the first use reads the file.

        Raises
        ------
        FileNotFoundError
            If this machine has no such file.
        RuntimeError
            If there is another one in its place.
        """
        key = (self.path, self.checksum, self.mark, self.threads)
        found = _read.get(key)
        if found is None:
            if not os.path.exists(self.path):
                raise FileNotFoundError(f"{self.who}: a worker has no file {self.path}; all need it under that path")
            found = Predictor(
                self.path, threads=self.threads, custom_objects=self.custom_objects, cache=self.cache
            ).warm_up()
            if checksum_of(self.path) != self.checksum:  # after it was read, so that it is what was read
                raise RuntimeError(
                    f"{self.who}: {self.path} on a worker is not the file that the work was planned with; plan it "
                    "again, and give a new model a new name while work with the old one is under way"
                )
            while len(_read) >= MOST_READ:
                _read.pop(next(iter(_read)), None)
            found = _read.setdefault(key, found)
        return found

    def outputs(self, x: Any) -> list[Any]:
        """All outputs for some rows, each an array, or a list of arrays for ragged rows."""
        return self._listed(self.predictor()(x, self.batch_size))

    def _listed(self, found: Any) -> list[Any]:
        if self.template is not None:
            return nested.matched(self.who, self.template, found)
        return list(found) if self.several_outputs else [found]

    def in_form(self, values: list[Any]) -> Any:
        """Values of all outputs as the model returns them."""
        if self.template is not None:
            return nested.packed(self.template, values)
        return values if self.several_outputs else values[0]

    def sample(self, shapes: list[tuple[int, ...]], dtypes: list[Any]) -> list[Array]:
        """The outputs for one row of zeros in each input: their shapes and types, and whether data fit at all."""
        x = [np.zeros((1, *shape), dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
        return self._listed(self.model.predict(x if self.several_inputs else x[0]))

    def rows(self, rows: Iterable[Any]) -> Iterator[Any]:
        """The output of each row of a stream; of several outputs, those of a row in the form of the model's."""
        rows = iter(rows)
        while part := list(islice(rows, AT_ONCE * (self.batch_size or 32))):
            outputs = self.outputs(part)
            for own in zip(*outputs, strict=True):
                yield self.in_form(list(own))
