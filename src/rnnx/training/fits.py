"""What became of many fits: in memory, or in one file that is larger than it."""

from __future__ import annotations

import json
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnx._config import path_of

MODEL = "model.safetensors"
UNREADABLE = zipfile.BadZipFile, zlib.error, EOFError, KeyError, TypeError, ValueError, RuntimeError  # of an archive


@dataclass
class Fit:
    """What became of one fit.

    Attributes
    ----------
    model : Model or None
        None if it failed. Of a file it is read anew whenever it is asked for.
    history : dict of str to list of float
        Figures of each epoch.
    seed : int
    seconds : float
    error : Exception or None
        Why it failed.
    traceback : str or None
        Where that was raised.
    """

    model: Any
    history: dict[str, list[float]]
    seed: int
    seconds: float
    error: Exception | None = None
    traceback: str | None = None


class StoredFit(Fit):
    """A fit whose model is in a file."""

    def __init__(self, file: Path, number: int, fit: Fit, custom_objects: Any = None):
        self.file, self.number, self.custom_objects = file, number, custom_objects
        self.history, self.seed, self.seconds, self.error = fit.history, fit.seed, fit.seconds, fit.error
        self.traceback = fit.traceback

    @property
    def model(self) -> Any:
        """The model, read from the file; None if the fit failed."""
        if self.error is not None:
            return None
        from rnnx.saving import FormatError, load_model

        with zipfile.ZipFile(self.file) as archive, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            path = Path(folder, MODEL)
            try:
                path.write_bytes(archive.read(f"{self.number}.safetensors"))
            except UNREADABLE as error:
                raise FormatError(
                    f"load_fits: the model of fit {self.number} is missing in {self.file}, or damaged ({error})"
                ) from error
            return load_model(path, self.custom_objects)

    def __repr__(self) -> str:
        return f"<fit {self.number} of {self.file}, seed {self.seed}, error {self.error!r}>"


class StoredModels(Sequence[Any]):
    """The models of fits in a file, each read when it is asked for."""

    def __init__(self, fits: Fits):
        self._fits = fits

    def __len__(self) -> int:
        return len(self._fits)

    def __getitem__(self, which: Any) -> Any:
        return [fit.model for fit in self._fits[which]] if isinstance(which, slice) else self._fits[which].model


class Fits(list[Fit]):
    """The fits of `fit_many`, in the order of the datasets; a list that pickles.

    Attributes
    ----------
    models : sequence of Model or None
    failed : list of int
        Numbers of those that failed.
    """

    @property
    def models(self) -> Any:
        if any(isinstance(fit, StoredFit) for fit in self):
            return StoredModels(self)
        return [fit.model for fit in self]

    @property
    def failed(self) -> list[int]:
        return [k for k, fit in enumerate(self) if fit.error is not None]


def load_fits(file: Any, custom_objects: dict[str, Any] | None = None) -> Fits:
    """The fits in a file of ``fit_many(..., file=...)``, in the order of the datasets.

    Parameters
    ----------
    file : path
    custom_objects : dict, optional
        As for `rnnx.load_model`.

    Returns
    -------
    Fits
        Of a call that was interrupted those that were done. A model is read when it is asked for, and not kept.

    Raises
    ------
    FormatError
        If it is no such file.

    Examples
    --------
    >>> import numpy as np, rnnx, tempfile
    >>> def build():
    ...     model = rnnx.Sequential([rnnx.Input((None, 1)), rnnx.layers.GRU(4), rnnx.layers.Dense(1)])
    ...     model.compile("adam", "mse")
    ...     return model
    >>> x, file = np.ones((3, 8, 5, 1), "float32"), tempfile.mkdtemp() + "/sensors.fits"
    >>> _ = rnnx.fit_many(build, [(one, one[:, -1]) for one in x], seeds=0, verbose=0, file=file)
    >>> fits = rnnx.load_fits(file)
    >>> [fit.seed for fit in fits], fits[2].model.predict(x[2]).shape
    ([0, 1, 2], (8, 1))
    """
    from rnnx.saving import FormatError

    path = Path(path_of("load_fits", file))
    found = Fits()
    try:
        with zipfile.ZipFile(path) as archive:
            size, entries = path.stat().st_size, archive.infolist()
            if (promised := sum(entry.file_size for entry in entries)) > size:  # nothing is compressed in such a file
                raise ValueError(f"its entries would have {promised:,} bytes, of {size:,} of the file")
            names = [name for name in archive.namelist() if name.endswith(".json")]
            for name in sorted(names, key=lambda name: int(name.removesuffix(".json"))):
                said = json.loads(archive.read(name))
                error = None if said["error"] is None else RuntimeError(said["error"])
                fit = Fit(None, said["history"], said["seed"], said["seconds"], error, said["traceback"])
                found.append(StoredFit(path, int(name.removesuffix(".json")), fit, custom_objects))
    except UNREADABLE as error:
        raise FormatError(f"load_fits: {path} is no file of `fit_many`, or it is damaged ({error})") from error
    return found


def bytes_of(model: Any) -> bytes:
    """A model as the bytes of a file."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder, MODEL)
        model.save(path)
        return path.read_bytes()


class FitsFile:
    """A file that fits are written in, one after the other, in any order.

    Parameters
    ----------
    file : path

    Raises
    ------
    FileExistsError
        If there is one.
    """

    def __init__(self, file: Any):
        self.path = Path(path_of("fit_many", file))
        if self.path.exists():
            raise FileExistsError(f"fit_many: {self.path} exists; give another `file`, or remove it")
        self._archive = zipfile.ZipFile(self.path, "x")

    def __enter__(self) -> FitsFile:
        return self

    def __exit__(self, *_: Any) -> None:
        self._archive.close()

    def add(self, number: int, fit: Fit) -> StoredFit:
        """Write a fit, whose model is bytes (see `bytes_of`) or None."""
        error = None if fit.error is None else f"{type(fit.error).__name__}: {fit.error}"
        if fit.model is not None:
            self._archive.writestr(f"{number}.safetensors", fit.model)
        said = {"seed": fit.seed, "seconds": fit.seconds, "history": fit.history, "error": error}
        said["traceback"] = fit.traceback
        self._archive.writestr(f"{number}.json", json.dumps(said, default=float))
        return StoredFit(self.path, number, fit)
