"""Many independent fits: one model for each sensor, store or patient, and ensembles of one model with many seeds."""

from __future__ import annotations

import gc
import inspect
import math
import os
import pickle
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from importlib.util import find_spec
from itertools import islice
from typing import Any

import numpy as np

from rnnx._config import did_you_mean, what_is
from rnnx._seeds import check_seed, seeded, source
from rnnx._typing import Array
from rnnx.layers.names import names_from_the_start
from rnnx.runtime import cpu_info, threads
from rnnx.training.fits import Fit, Fits, FitsFile, bytes_of
from rnnx.training.group import group_of_now
from rnnx.training.interrupts import Stop, interrupts_wait, stop_of_now
from rnnx.training.trainer import Trainer
from rnnx.utils.progress import Progbar

ORDER = ("x", "y", "sample_weight")  # of a dataset that is a tuple
START = 1.0  # seconds that processes take to begin


def fit_many(
    build: Callable[..., Any],
    datasets: Iterable[Any],
    *,
    n_jobs: int | None = None,
    seeds: int | Iterable[int] | None = None,
    backend: str = "threads",
    verbose: Any = "auto",
    file: Any = None,
    **fit: Any,
) -> Fits:
    """Fit one model to each dataset, several at once.

    Each fit has random numbers of its own: its results are those of ``set_random_seed(seed)``, ``build()`` and ``fit``
    in a program that does nothing else, whatever the order and the number of workers.

    Parameters
    ----------
    build : callable
        Makes a compiled model; called without arguments, or with the number of the dataset if it needs one.
    datasets : iterable
        Of tuples ``(x, y)`` or ``(x, y, sample_weight)``, dicts of arguments of ``Model.fit`` (``x``, ``y``,
        ``validation_data``, ...), or functions that return one of these, called when it is wanted.
    n_jobs : int, optional
        Fits at once, each on one thread of the engine. By default as many as there are processors.
    seeds : int or iterable of int, optional
        A seed for each fit; an integer n stands for n, n + 1, ... By default they are drawn, so that
        ``set_random_seed`` fixes them.
    backend : {"threads", "processes", "auto"}
        Threads of this process; or processes by joblib (extra ``many``), which pays for small models, whose Python
        takes turns in one process. "auto" begins with threads and goes on with processes if, by the time of the first
        fits, the others will be done sooner there; not where callbacks of the datasets have to stay in this process.
    verbose : {"auto", 0, 1, 2}
        As of ``Model.fit``, but one line for all.
    file : path, optional
        A new file, in which each fit is written when it is done, for `rnnx.load_fits`. Models are not kept in memory
        then: ``fits[k].model`` reads its own. What was done when a program is interrupted is in the file.
    **fit
        Other arguments of ``Model.fit``, of all fits. Callbacks are refused, as one object cannot watch several fits:
        give them with the dataset.

    Returns
    -------
    Fits
        A list of `Fit`. A fit that raises an exception has it as its ``error``; the others go on.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; nothing has been fitted then.
    FileExistsError
        If there is such a file.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> def build():
    ...     model = rnnx.Sequential([rnnx.Input((None, 1)), rnnx.layers.GRU(4), rnnx.layers.Dense(1)])
    ...     model.compile("adam", "mse")
    ...     return model
    >>> x = np.random.default_rng(0).normal(size=(3, 8, 5, 1)).astype("f")   # of 3 sensors
    >>> fits = rnnx.fit_many(build, [(one, one[:, -1]) for one in x], seeds=0, epochs=2, verbose=0)
    >>> len(fits.models), fits.failed
    (3, [])
    """
    if group_of_now.get() is not None:
        raise RuntimeError(
            "fit_many: fits that are independent of each other need no group; call it outside of "
            "`with rnnx.distributed.data_parallel()`, for example on each rank with datasets of its own"
        )
    if isinstance(datasets, dict):
        raise TypeError(
            "fit_many: `datasets` must be an iterable of datasets, got a dict, whose keys would be lost; give "
            "list(datasets.values()), the fits come in that order: dict(zip(datasets, fits))"
        )
    data = list(datasets)
    jobs = _check_jobs(n_jobs)
    chosen = _check_seeds(seeds, len(data))
    if backend not in RUNS:
        raise ValueError(f"fit_many: `backend` must be one of {', '.join(map(repr, RUNS))}, got {backend!r}")
    if not callable(build):
        raise TypeError(f"fit_many: `build` must be a function that makes a compiled model, got {type(build).__name__}")
    if hasattr(build, "fit") and not isinstance(build, type):
        raise TypeError(
            f"fit_many: `build` must be a function that makes a compiled model, got a model ({type(build).__name__}); "
            "put the lines that make it into a function and give that, without calling it"
        )
    known = inspect.signature(Trainer.fit).parameters.keys() - {"self", *ORDER}
    if unknown := fit.keys() - known:
        raise TypeError(
            f"fit_many: unknown argument(s) {', '.join(sorted(unknown))}{did_you_mean(unknown, {*known, 'n_jobs'})}; "
            "data of one fit go with its dataset, all others are arguments of Model.fit"
        )
    if fit.get("callbacks"):
        raise ValueError("fit_many: callbacks cannot be shared by several fits; give them with each dataset, as a dict")
    for k, dataset in enumerate(data):
        if not (callable(dataset) or isinstance(dataset, (dict, tuple))):
            raise TypeError(
                f"fit_many: dataset {k} must be a tuple (x, y), a dict of arguments of fit, or a function that returns "
                f"one, got {type(dataset).__name__}"
            )
    if len(data) > 1 and isinstance(fit.get("validation_data"), Iterator):
        raise ValueError(
            "fit_many: `validation_data` is a generator, which serves one fit only; give one in each dataset, a dict"
        )
    _check_apart(data)
    numbered = _needs_number(build)
    tasks = {
        k: (build, k if numbered else None, dataset, seed, fit)
        for k, (dataset, seed) in enumerate(zip(data, chosen, strict=True))
    }
    bar = Progbar(len(tasks), verbose=1 if verbose == "auto" else verbose, unit_name="fit")
    workers = min(jobs, max(1, len(tasks)))
    if file is None:
        return _collected(RUNS[backend](tasks, workers, False), len(tasks), bar, None)
    with FitsFile(file) as written:
        return _collected(RUNS[backend](tasks, workers, True), len(tasks), bar, written)


def _collected(
    found: Generator[tuple[int, Fit], None, None], count: int, bar: Progbar, written: FitsFile | None
) -> Fits:
    """The fits in their order."""
    results: list[Any] = [None] * count
    failed = 0
    with closing(found):  # what is raised here ends the fits that are under way, too
        for done, (k, fit) in enumerate(found, start=1):
            if written is not None:
                with interrupts_wait():
                    fit = written.add(k, fit)
            results[k] = fit
            failed += fit.error is not None
            bar.update(done, [("failed", failed)] if failed else None)
    return Fits(results)


def _check_jobs(n_jobs: Any) -> int:
    available = int(cpu_info()["processors"])
    if n_jobs is None:
        return available
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, (int, np.integer)) or (n_jobs < 1 and n_jobs != -1):
        raise ValueError(f"fit_many: `n_jobs` must be a positive integer, or -1 for all processors, got {n_jobs!r}")
    return available if n_jobs == -1 else int(n_jobs)


def _check_seeds(seeds: Any, count: int) -> list[int]:
    if seeds is None:
        return [source().random.randint(1, 10**9) for _ in range(count)]
    if isinstance(seeds, Iterable):
        found = [check_seed("fit_many", seed, "seeds") for seed in islice(seeds, count + 1)]  # they may never end
        if len(found) != count:
            got = "more seeds" if len(found) > count else f"{len(found)} seed(s)"
            raise ValueError(f"fit_many: {count} dataset(s), got {got}; an integer n stands for n, n + 1, ...")
        return found
    first = check_seed("fit_many", seeds, "seeds")
    return [first + k for k in range(count)]


def _check_apart(data: list[Any]) -> None:
    """Refuse an object in several datasets that only one fit can use: a callback, or what can be read once."""
    owners: dict[int, int] = {}
    for k, dataset in enumerate(data):
        if callable(dataset):
            continue
        parts = dataset if isinstance(dataset, tuple) else [v for key, v in dataset.items() if key != "callbacks"]
        alone = {id(part): part for part in parts if isinstance(part, Iterator)}
        given = dataset.get("callbacks") if isinstance(dataset, dict) else None
        for callback in given if isinstance(given, (list, tuple)) else [given] if given is not None else []:
            alone[id(callback)] = callback
        for number, part in alone.items():
            if (first := owners.setdefault(number, k)) != k:
                raise ValueError(
                    f"fit_many: datasets {first} and {k} share one {type(part).__name__}, which serves one fit only: "
                    "make one for each"
                )


def _needs_number(build: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(build).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


Task = tuple[Callable[..., Any], "int | None", Any, int, dict[str, Any]]
Made = weakref.WeakKeyDictionary[Any, Task]


def _fit_one(task: Task, written: bool, made: Made | None = None, stop: threading.Event | None = None) -> Fit:
    """One fit, on one thread of the engine and with random numbers and names of its own.

    Parameters
    ----------
    task : Task
    written : bool
        Whether the model is wanted as the bytes of a file.
    made : WeakKeyDictionary, optional
        The models of the other fits of this process, as far as they are there.
    stop : Event, optional
        Ends the fit when it is set.
    """
    build, number, dataset, seed, fit = task
    begun = time.perf_counter()
    token = stop_of_now.set(stop)
    try:
        with threads(1), seeded(seed), names_from_the_start():
            given = dataset() if callable(dataset) else dataset
            if isinstance(given, tuple):
                if len(given) > len(ORDER):
                    raise ValueError(f"a dataset has at most {', '.join(ORDER)}, got {len(given)} parts")
                given = dict(zip(ORDER, given, strict=False))
            model = build() if number is None else build(number)
            if not hasattr(model, "fit") or isinstance(model, type):
                raise TypeError(f"`build` must return a compiled model, got {what_is(model)}")
            if made is not None and made.setdefault(model, task) is not task:
                raise ValueError("`build` returned the model of another fit; it must make a new one each time")
            history = model.fit(**{"verbose": 0, **fit, **given})
            interrupted, figures = getattr(history, "interrupted", False), dict(getattr(history, "history", None) or {})
            result = bytes_of(model) if written and not interrupted else model
    except Exception as error:
        return Fit(None, {}, seed, time.perf_counter() - begun, error, _text_of(error))
    finally:
        stop_of_now.reset(token)
    if interrupted:  # by Ctrl-C, which is meant for all
        raise KeyboardInterrupt
    return Fit(result, figures, seed, time.perf_counter() - begun)


def _text_of(error: Exception) -> str:
    """Where an error was raised; it forgets that itself, and with it the dataset and the model in the frames."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    each: BaseException | None = error
    while each is not None and each.__traceback__ is not None:
        each.__traceback__ = None
        each = each.__cause__ or each.__context__
    return text


def _in_threads(
    tasks: dict[int, Task], jobs: int, written: bool, made: Made | None = None
) -> Generator[tuple[int, Fit], None, None]:
    made = weakref.WeakKeyDictionary() if made is None else made
    outer = stop_of_now.get()
    if jobs == 1:
        for k, task in tasks.items():
            yield k, _fit_one(task, written, made, outer)
        return
    pool, stop = ThreadPoolExecutor(jobs, "rnnx-fit"), Stop(outer)
    try:
        waiting: dict[Future[Fit], int] = {}
        left = iter(tasks.items())
        while True:
            for k, task in islice(left, 2 * jobs - len(waiting)):  # results that nobody has taken do not pile up
                waiting[pool.submit(_fit_one, task, written, made, stop)] = k
            if not waiting:
                return
            for done in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(done), done.result()
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_processes(tasks: dict[int, Task], jobs: int, written: bool) -> Generator[tuple[int, Fit], None, None]:
    """Fits in processes; one that ends its process fails, and what was under way beside it is done again."""
    try:
        from joblib.externals.loky.process_executor import TerminatedWorkerError
    except ImportError as error:
        raise ImportError("fit_many: backend='processes' needs joblib: pip install 'rnnx[many]'") from error
    left = dict(tasks)
    while left:
        try:
            for k, fit in _of_workers(left, jobs, written):
                del left[k]
                yield k, fit
        except TerminatedWorkerError:
            for k in list(left)[: 2 * jobs]:  # those that were handed out, of which one ended its process: each alone
                try:
                    ((_, fit),) = _of_workers({k: left[k]}, 2, written)
                except TerminatedWorkerError:
                    said = RuntimeError("the process of this fit ended: killed, out of memory, or it called exit")
                    fit = Fit(None, {}, left[k][3], 0.0, said)
                del left[k]
                yield k, fit


def _of_workers(tasks: dict[int, Task], jobs: int, written: bool) -> Generator[tuple[int, Fit], None, None]:
    """The fits of some tasks as they are done."""
    from joblib import Parallel, delayed

    calls = (delayed(_numbered)(k, task, written, os.getpid()) for k, task in list(tasks.items()))
    parallel = Parallel(n_jobs=jobs, backend="loky", return_as="generator_unordered", pre_dispatch=2 * jobs)
    for k, seed, seconds, data in parallel(calls):
        try:
            yield k, pickle.loads(data)
        except Exception as error:
            yield k, Fit(None, {}, seed, seconds, error)


def _numbered(k: int, task: Task, written: bool, caller: int) -> tuple[int, int, float, bytes]:
    """A fit as bytes: what cannot be pickled is that fit's error, and not the end of all."""
    from joblib.externals.loky.backend.reduction import dumps

    if (
        os.getpid() != caller and not gc.get_freeze_count()
    ):  # loky collects garbage all the time, and looks at all modules for it
        gc.freeze()
    fit = _fit_one(task, written)
    try:
        data = bytes(dumps(fit))
        if fit.error is not None:
            pickle.loads(data)  # exceptions with arguments of their own may go one way only
    except Exception as error:
        said = error if fit.error is None else fit.error
        what = "the fitted model cannot be pickled: " if fit.error is None else ""
        kind = RuntimeError(f"{what}{type(said).__name__}: {said}")
        data = pickle.dumps(Fit(None, {}, fit.seed, fit.seconds, kind, fit.traceback))
    return k, fit.seed, fit.seconds, data


def _in_best(tasks: dict[int, Task], jobs: int, written: bool) -> Generator[tuple[int, Fit], None, None]:
    """Fits in threads, and those after the first few in processes, if it is seen that they are done sooner there."""
    left, made, runs_well = dict(tasks), weakref.WeakKeyDictionary[Any, Task](), True
    alone = math.inf
    of_threads = 0.0  # seconds of a fit, of several threads together
    if jobs > 1 and len(left) > 2 + 2 * jobs and _may_travel(left):
        for count, workers in ((2, 1), (2 * jobs, jobs)):
            now, begun = {k: left.pop(k) for k in list(left)[:count]}, time.perf_counter()
            for k, fit in _in_threads(now, workers, written, made):
                runs_well = runs_well and fit.error is None and (written or _bytes_of_object(fit) is not None)
                alone = min(alone, fit.seconds) if workers == 1 else alone
                yield k, fit
            of_threads = (time.perf_counter() - begun) / count
    if runs_well and START + len(left) * alone / jobs < len(left) * of_threads:
        yield from _in_processes(left, jobs, written)
    else:
        yield from _in_threads(left, jobs, written, made)


def _may_travel(tasks: dict[int, Task]) -> bool:
    """Whether fits can be made in other processes as well as here, as far as one sees before."""
    if any(isinstance(dataset, dict) and dataset.get("callbacks") for _, _, dataset, _, _ in tasks.values()):
        return False
    return find_spec("joblib") is not None and _bytes_of_object(next(iter(tasks.values()))) is not None


def _bytes_of_object(value: Any) -> bytes | None:
    """A pickle as joblib makes it; None of what has none."""
    from joblib.externals.loky.backend.reduction import dumps

    try:
        return bytes(dumps(value))
    except Exception:
        return None


RUNS = {"threads": _in_threads, "processes": _in_processes, "auto": _in_best}


class DeepEnsemble:
    """Models of one architecture from several seeds, whose spread says how sure they are.

    Parameters
    ----------
    models : iterable of Model
        At least two, with equal inputs and one output.

    Raises
    ------
    ValueError
        If there are fewer, or one of them is None.

    References
    ----------
    .. [1] B. Lakshminarayanan, A. Pritzel, C. Blundell, "Simple and scalable predictive uncertainty estimation using
       deep ensembles", NeurIPS 2017.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> def build():
    ...     model = rnnx.Sequential([rnnx.Input((None, 1)), rnnx.layers.GRU(4), rnnx.layers.Dense(1)])
    ...     model.compile("adam", "mse")
    ...     return model
    >>> x = np.random.default_rng(0).normal(size=(16, 5, 1)).astype("f")
    >>> ensemble = rnnx.DeepEnsemble.fit(build, x, x[:, -1], members=3, seeds=0, epochs=2, verbose=0)
    >>> mean, deviation = ensemble.predict(x, return_std=True)
    >>> mean.shape, bool((deviation > 0).all())
    ((16, 1), True)
    """

    def __init__(self, models: Iterable[Any]):
        self.models = list(models)
        if len(self.models) < 2 or any(model is None for model in self.models):
            raise ValueError(f"DeepEnsemble: at least two models are needed, none of them None, got {len(self.models)}")

    @classmethod
    def fit(cls, build: Callable[..., Any], x: Any, y: Any, *, members: int = 5, **options: Any) -> DeepEnsemble:
        """Fit ``members`` models to the same data.

        Parameters
        ----------
        build : callable
        x, y : what `Model.fit` takes
        members : int
        **options
            Of `fit_many`.

        Raises
        ------
        Exception
            That of a member that failed.
        """
        if isinstance(members, bool) or not isinstance(members, (int, np.integer)) or members < 2:
            raise ValueError(f"DeepEnsemble: `members` must be an integer of at least 2, got {members!r}")
        fits = fit_many(build, [(x, y)] * members, **options)
        for k in fits.failed:
            error = fits[k].error
            assert error is not None
            if hasattr(error, "add_note"):
                error.add_note(f"In member {k}:\n{fits[k].traceback}")
            raise error
        return cls(fits.models)

    def predict(self, x: Any, *, return_std: bool = False, **options: Any) -> Any:
        """Mean of the members.

        Parameters
        ----------
        x : what `Model.predict` takes
        return_std : bool
            Whether to return the standard deviation over the members as well.
        **options
            Of `Model.predict`.

        Returns
        -------
        array of shape (rows, ...), or two of them
        """
        if isinstance(x, Iterator):
            raise TypeError(
                f"DeepEnsemble: `x` must be data that every member can read, got a {type(x).__name__}; give an array"
            )
        found = [model.predict(x, **{"verbose": 0, **options}) for model in self.models]
        for k, output in enumerate(found):
            if not isinstance(output, np.ndarray):
                raise ValueError(
                    f"DeepEnsemble: models must have one output, member {k} gives a {type(output).__name__}"
                )
            if output.shape != found[0].shape:
                raise ValueError(
                    f"DeepEnsemble: outputs of all members must have one shape, got {found[0].shape} and {output.shape}"
                )
        outputs = np.stack(found)
        mean: Array = outputs.mean(axis=0)
        return (mean, outputs.std(axis=0)) if return_std else mean

    def __len__(self) -> int:
        return len(self.models)
