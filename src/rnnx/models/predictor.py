"""A model file that is read where it is first used."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Any

from rnnx._config import on_demand, path_of
from rnnx._mapped import MappedFile, files_of
from rnnx.runtime.parallel import threads as with_threads


class Predictor:
    """A model by the path of its file: small to pickle, read on first use in each process.

    For programs that send functions and objects to worker processes (joblib, Ray, Spark, Polars, multiprocessing): what
    travels is the path. Workers map the file, so that its weights are in memory once; what the engine makes of them is
    each process' own, unless it forks from one that has called `warm_up`, or has a ``cache``. Any number of threads may
    share a predictor.

    Parameters
    ----------
    path : path
        Of any file that `load_model` reads. It is made absolute; the file need not be there before the first use.
    threads : int, optional
        Threads of a call; those of `rnnx.get_num_threads` if not given. Where there are as many processes as
        processors, 1 is best.
    custom_objects : dict, optional
        As for `load_model`.
    cache : bool or path, optional
        A folder for a file with the weights in the layout of the engine, which all processes map that read this model
        file: see `Model.warm_up`. True is the folder that ``RNNX_CACHE_DIR`` names, or else ``rnnx`` in the user's
        folder for caches (``XDG_CACHE_HOME``, ``~/.cache``). The file has the name of the model file, a digest of its
        path, and the instruction set.

    Examples
    --------
    >>> import numpy as np, pickle, rnnx, tempfile
    >>> model = rnnx.Sequential([rnnx.Input((None, 3)), rnnx.layers.GRU(4)])
    >>> path = tempfile.mkdtemp() + "/model.safetensors"
    >>> model.save(path)
    >>> predict = rnnx.Predictor(path, threads=1)
    >>> predict(np.zeros((2, 5, 3))).shape
    (2, 4)
    >>> len(pickle.dumps(predict)) < 1000
    True
    """

    def __init__(
        self,
        path: Any,
        *,
        threads: int | None = None,
        custom_objects: dict[str, Any] | None = None,
        cache: Any = None,
    ):
        if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
            raise ValueError(f"Predictor: `threads` must be a positive integer or None, got {threads!r}")
        self.path = os.path.abspath(os.fspath(path_of("Predictor", path)))
        self.threads, self.custom_objects = threads, custom_objects
        self.cache = cache if cache is None or isinstance(cache, bool) else _folder(cache)

    @property
    def model(self) -> Any:
        """The model; the first use in a process reads it.

        Raises
        ------
        OSError, FormatError
            As of `load_model`.
        """
        found = vars(self).get("_model")
        if found is None:  # without a lock, which a fork could leave locked: of several threads the first one's stays
            read = on_demand("load_model")(self.path, self.custom_objects, compile=False)
            if self.cache:
                from rnnx.models import packed_file

                file = packed_file.file_for(self.path, None if self.cache is True else self.cache)
                packed_file.warm_up(read, file, packed_file.owners_of(self.path))
            found = vars(self).setdefault("_model", read)
            self._files = files_of(weight.array for weight in found.weights)
            self._refuse_what_changed()
        return found

    _files: tuple[MappedFile, ...] = ()

    def _refuse_what_changed(self) -> None:
        for file in self._files:
            if not file.is_as_mapped():
                raise RuntimeError(
                    f"{self!r}: the file was written over in place while it was mapped, so that numbers of both "
                    "versions are mixed in this process; make another Predictor, and replace files by renaming "
                    "(os.replace), as `save` does"
                )

    def __call__(self, x: Any, batch_size: int | None = None) -> Any:
        """``model.predict(x, batch_size)``.

        Parameters
        ----------
        x : what `Model.predict` takes
        batch_size : int, optional

        Returns
        -------
        what `Model.predict` gives

        Raises
        ------
        RuntimeError
            If the file was written over in place since it was read, and not replaced by renaming another one.
        """
        with nullcontext() if self.threads is None else with_threads(self.threads):
            y = self.model.predict(x, batch_size)
        self._refuse_what_changed()
        return y

    predict = __call__

    def warm_up(self) -> Predictor:
        """Read the file and pack its weights now, before a fork; gives the predictor back."""
        model = self.model
        if not self.cache:  # with one, that is done where the file is read
            model.warm_up()
            self._refuse_what_changed()
        return self

    def __reduce__(self) -> Any:
        """What is pickled or copied: how to make it, without the model."""
        return _made, (self.path, self.threads, self.custom_objects, self.cache)

    def __repr__(self) -> str:
        return f"Predictor({self.path!r})"


def _folder(cache: Any) -> str:
    return os.path.abspath(os.fspath(path_of("Predictor", cache, "cache")))


def _made(path: str, threads: int | None, custom_objects: dict[str, Any] | None, cache: Any = None) -> Predictor:
    return Predictor(path, threads=threads, custom_objects=custom_objects, cache=cache)
