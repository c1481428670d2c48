"""Many fits at once: the results of one by one, whatever the order and the number of workers."""

from __future__ import annotations

import gc
import itertools
import json
import os
import pickle
import random
import threading
import time
import weakref
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import callbacks, layers
from rnnx.training import many
from rnnx.utils import set_random_seed

RNG = np.random.default_rng(5)
X = RNG.normal(size=(6, 20, 7, 2)).astype(np.float32)
DATA = [(x, x[:, -1, :1] + k) for k, x in enumerate(X)]


def build() -> Any:
    chain = [rnnx.Input((None, 2)), layers.GRU(5, dropout=0.2, recurrent_dropout=0.3), layers.Dense(1)]
    model = rnnx.Sequential(chain)
    model.compile("adam", "mse")
    return model


def one_by_one(seeds: Any, **fit: Any) -> list[Any]:
    found = []
    for seed, (x, y) in zip(seeds, DATA, strict=True):
        set_random_seed(seed)
        model = build()
        model.fit(x, y, verbose=0, **fit)
        found.append(model)
    return found


def assert_equal(models: Any, others: Any) -> None:
    for a, b in zip(models, others, strict=True):
        for v, w in zip(a.get_weights(), b.get_weights(), strict=True):
            assert np.array_equal(v, w)


@pytest.mark.parametrize(
    ("jobs", "backend"), [(1, "threads"), (2, "threads"), (5, "threads"), (2, "processes"), (2, "auto")]
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:joblib", "ignore::DeprecationWarning:multiprocessing")
def test_the_results_are_those_of_one_by_one(jobs: int, backend: str) -> None:
    expected = one_by_one(range(10, 16), epochs=2, batch_size=8)
    before = random.getstate(), np.random.get_state()[1].tolist()
    fits = rnnx.fit_many(build, DATA, seeds=10, n_jobs=jobs, backend=backend, epochs=2, batch_size=8, verbose=0)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    assert_equal(fits.models, expected)
    assert [fit.seed for fit in fits] == list(range(10, 16)) and fits.failed == []
    assert all(len(fit.history["loss"]) == 2 and fit.seconds > 0 for fit in fits)
    assert {model.layers[0].name for model in fits.models} == {"gru"}
    again = pickle.loads(pickle.dumps(fits))
    assert_equal(again.models, expected)


def test_other_orders_of_the_datasets_change_nothing() -> None:
    forwards = rnnx.fit_many(build, DATA, seeds=range(6), n_jobs=3, verbose=0)
    backwards = rnnx.fit_many(build, DATA[::-1], seeds=range(5, -1, -1), n_jobs=2, verbose=0)
    assert_equal(forwards.models, backwards.models[::-1])


def test_seeds_that_are_drawn_follow_the_seed_of_the_process() -> None:
    found = []
    for _ in range(2):
        set_random_seed(4)
        found.append(rnnx.fit_many(build, DATA, verbose=0))
    assert_equal(found[0].models, found[1].models)
    assert len({fit.seed for fit in found[0]}) == 6


def test_a_fit_that_fails_leaves_the_others() -> None:
    def broken() -> Any:
        raise OSError("no such sensor")

    data = [DATA[0], (X[1], np.zeros((3, 1))), broken, DATA[3]]
    fits = rnnx.fit_many(build, data, seeds=10, n_jobs=2, verbose=0)
    assert fits.failed == [1, 2] and fits.models[1] is None
    assert isinstance(fits[1].error, ValueError) and str(fits[2].error) == "no such sensor"
    assert_equal([fits.models[0], fits.models[3]], rnnx.fit_many(build, DATA[:4], seeds=10, verbose=0).models[::3])


@pytest.mark.filterwarnings("ignore::DeprecationWarning:joblib", "ignore::DeprecationWarning:multiprocessing")
def test_a_process_that_ends_takes_only_its_own_fit_along() -> None:
    def ends() -> Any:
        os._exit(1)

    data = [*DATA[:2], ends, *DATA[3:]]
    fits = rnnx.fit_many(build, data, seeds=10, n_jobs=2, backend="processes", verbose=0)
    assert fits.failed == [2] and "process of this fit ended" in str(fits[2].error) and fits[2].seed == 12
    expected = rnnx.fit_many(build, DATA, seeds=10, verbose=0).models
    assert_equal([m for m in fits.models if m is not None], [m for k, m in enumerate(expected) if k != 2])


def test_forms_of_datasets_and_of_build() -> None:
    class Stop(callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.stop_training = True

    (x, y), numbers = DATA[0], []

    def numbered(k: int) -> Any:
        numbers.append(k)
        return build()

    weight = np.ones(len(x))
    data = [(x, y, weight), {"x": x, "y": y, "callbacks": [Stop()]}, lambda: (x, y)]
    fits = rnnx.fit_many(numbered, data, seeds=[3, 3, 3], n_jobs=1, epochs=2, verbose=0)
    assert [len(fit.history["loss"]) for fit in fits] == [2, 1, 2] and numbers == [0, 1, 2]
    assert_equal(fits.models[:1], fits.models[2:])


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"n_jobs": 0}, ValueError),
        ({"n_jobs": 1.5}, ValueError),
        ({"seeds": [1]}, ValueError),
        ({"epoch": 3}, TypeError),
        ({"sample_weight": np.ones(20)}, TypeError),
        ({"seeds": "a"}, TypeError),
        ({"seeds": -3}, ValueError),
        ({"seeds": [1, 2, 3, 4, 5, -1]}, ValueError),
        ({"seeds": itertools.count(3)}, ValueError),
        ({"validation_data": iter([DATA[0]])}, ValueError),
        ({"backend": "spark"}, ValueError),
        ({"callbacks": [callbacks.Callback()]}, ValueError),
        ({"datasets": [X[0]]}, TypeError),
        ({"build": 3}, TypeError),
        ({"build": rnnx.Sequential([layers.GRU(2)])}, TypeError),
    ],
)
def test_arguments(change: dict[str, Any], error: type[Exception]) -> None:
    given = {"build": build, "datasets": DATA, **change}
    with pytest.raises(error, match="fit_many|build"):
        rnnx.fit_many(**given)


def test_progress(capsys: Any) -> None:
    rnnx.fit_many(build, DATA[:2], seeds=0, n_jobs=1)
    assert capsys.readouterr().out.startswith("2/2 [")


def test_no_datasets() -> None:
    assert rnnx.fit_many(build, [], verbose=0) == []


def test_blocks_with_a_seed_of_their_own() -> None:
    def numbers() -> Any:
        layer = layers.GRU(3, dropout=0.5, input_shape=(None, 2))
        layer.build((None, None, 2))
        return [*layer.get_weights(), layer(X[0], training=True), rnnx.random.normal((3,))]

    set_random_seed(7)
    expected = numbers()
    found: dict[int, Any] = {}
    barrier = threading.Barrier(4)

    def run(k: int) -> None:
        with rnnx.random.seeded(7):
            barrier.wait()
            found[k] = numbers()
            set_random_seed(7)  # of this block
            found[k + 4] = numbers()

    threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for values in found.values():
        assert all(np.array_equal(v, w) for v, w in zip(values, expected, strict=True))


@pytest.mark.parametrize("seed", [-1, np.int64(-7), 1.0, True, None])
def test_a_seed_that_is_refused_changes_nothing(seed: Any) -> None:
    kind = TypeError if isinstance(seed, (float, bool, type(None))) else ValueError
    before = random.getstate(), np.random.get_state()[1].tolist()
    with pytest.raises(kind, match="^set_random_seed: `seed` must be an integer"):
        set_random_seed(seed)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    with pytest.raises(kind, match="^seeded: `seed` must be an integer"), rnnx.random.seeded(seed):
        raise AssertionError


def test_ensembles() -> None:
    x, y = DATA[0]
    ensemble = rnnx.DeepEnsemble.fit(build, x, y, members=3, seeds=1, epochs=2, verbose=0)
    outputs = np.stack([model.predict(x, verbose=0) for model in ensemble.models])
    mean, deviation = ensemble.predict(x, return_std=True)
    np.testing.assert_allclose(mean, outputs.mean(0))
    np.testing.assert_allclose(deviation, outputs.std(0))
    assert np.array_equal(ensemble.predict(x), mean) and len(ensemble) == 3 and (deviation > 0).any()
    assert_equal(ensemble.models, rnnx.fit_many(build, [(x, y)] * 3, seeds=[1, 2, 3], epochs=2, verbose=0).models)
    with pytest.raises(ValueError, match="at least two"):
        rnnx.DeepEnsemble(ensemble.models[:1])
    with pytest.raises(ValueError, match="members"):
        rnnx.DeepEnsemble.fit(build, x, y, members=1)
    with pytest.raises(ValueError, match="same number|samples|rows"):
        rnnx.DeepEnsemble.fit(build, x, y[:3], members=2, verbose=0)


# ---- What several fits cannot share, and what cannot be pickled ------------------------------------------------------


def test_a_model_that_build_returns_twice_is_refused() -> None:
    shared = build()
    fits = rnnx.fit_many(lambda: shared, DATA[:3], n_jobs=2, verbose=0)
    assert len(fits.failed) == 2
    assert all("must make a new one" in str(fits[k].error) for k in fits.failed)


def test_callbacks_and_iterators_in_several_datasets_are_refused() -> None:
    watcher = callbacks.History()
    with pytest.raises(ValueError, match="datasets 0 and 2 share one History"):
        rnnx.fit_many(build, [dict(x=X[k], y=X[k], callbacks=[watcher] if k != 1 else []) for k in range(3)])

    def batches() -> Any:
        while True:
            yield DATA[0]

    endless = batches()
    with pytest.raises(ValueError, match="share one generator"):
        rnnx.DeepEnsemble.fit(build, endless, None, members=2, steps_per_epoch=1)
    own = [{"x": batches(), "steps_per_epoch": 2} for _ in range(2)]
    assert rnnx.fit_many(build, own, verbose=0).failed == []


class TwoArguments(Exception):
    def __init__(self, one: int, two: int):
        super().__init__(one)


class Locked(layers.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def call(self, x: Any) -> Any:
        return x


@pytest.mark.filterwarnings("ignore::DeprecationWarning:joblib", "ignore::DeprecationWarning:multiprocessing")
def test_what_processes_cannot_hand_over_is_the_error_of_its_fit() -> None:
    def some(k: int) -> Any:
        if k == 0:
            raise TwoArguments(1, 2)
        if k == 1:
            model = rnnx.Sequential([rnnx.Input((None, 2)), Locked(), layers.Dense(1)])
            model.compile("sgd", "mse")
            return model
        return build()

    data = [(x, x[..., :1]) if k == 1 else (x, y) for k, (x, y) in enumerate(DATA[:3])]
    fits = rnnx.fit_many(some, data, seeds=1, n_jobs=2, backend="processes", verbose=0)
    assert fits.failed == [0, 1]
    assert "TwoArguments" in str(fits[0].error) and "cannot be pickled" in str(fits[1].error)


def test_an_error_outside_ends_the_fits_of_all_threads() -> None:
    begun, stopped = threading.Barrier(2), threading.Event()

    class Told(callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 0:
                begun.wait(30)

        def on_train_end(self, logs: Any = None) -> None:
            stopped.set()

    def leaves() -> Any:
        begun.wait(30)
        raise SystemExit(3)  # not an error of a fit

    long = {"x": X[0], "y": X[0][:, -1, :1], "epochs": 10**6, "callbacks": [Told()]}
    with pytest.raises(SystemExit):
        rnnx.fit_many(build, [long, leaves], n_jobs=2, verbose=0)
    assert stopped.is_set()


def test_a_file_that_cannot_be_written_ends_the_fits_under_way(tmp_path: Path, monkeypatch: Any) -> None:
    def full(*_: Any) -> Any:
        raise OSError("no space left")

    monkeypatch.setattr(many.FitsFile, "add", full)
    before = threading.active_count()
    data = [{"x": X[0], "y": X[0][:, -1, :1], "epochs": epochs} for epochs in (1, 10**6, 10**6)]
    with pytest.raises(OSError, match="no space left") as held:  # whose traceback holds what was being done
        rnnx.fit_many(build, data, n_jobs=3, file=tmp_path / "a.fits", verbose=0)
    after = threading.active_count()
    del held
    assert after == before


def test_an_error_of_fits_inside_a_fit_leaves_the_other_fits(tmp_path: Path, monkeypatch: Any) -> None:
    failed = threading.Event()

    def full(*_: Any) -> Any:
        raise OSError("no space left")

    def inner() -> Any:
        try:
            rnnx.fit_many(build, DATA[:3], n_jobs=2, file=tmp_path / "a.fits", verbose=0)
        finally:
            failed.set()

    class Waits(callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            failed.wait(30)
            time.sleep(0.02)  # until the error has let go of what it held

    monkeypatch.setattr(many.FitsFile, "add", full)
    beside = {"x": X[0], "y": X[0][:, -1, :1], "callbacks": [Waits()], "epochs": 30}
    fits = rnnx.fit_many(build, [inner, beside], n_jobs=2, verbose=0)
    assert fits.failed == [0] and "no space left" in str(fits[0].error)


def test_fits_inside_a_fit_end_with_it() -> None:
    begun = threading.Event()

    class Told(callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            begun.set()

    def inner() -> Any:
        long = {"x": X[0], "y": X[0][:, -1, :1], "epochs": 10**6, "callbacks": [Told()]}
        rnnx.fit_many(build, [long, DATA[1]], n_jobs=2, verbose=0)

    def leaves() -> Any:
        begun.wait(30)
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        rnnx.fit_many(build, [inner, leaves], n_jobs=2, verbose=0)


def test_members_with_several_outputs_or_shapes_are_refused() -> None:
    x = rnnx.Input((None, 2))
    h = layers.GRU(3)(x)
    two = [rnnx.Model(x, [layers.Dense(1)(h), layers.Dense(1)(h)]) for _ in range(2)]
    with pytest.raises(ValueError, match="one output, member 0 gives a list"):
        rnnx.DeepEnsemble(two).predict(X[0])
    shapes = [rnnx.Model(x, layers.Dense(k)(h)) for k in (1, 2)]
    with pytest.raises(ValueError, match=r"one shape, got \(20, 1\) and \(20, 2\)"):
        rnnx.DeepEnsemble(shapes).predict(X[0])
    with pytest.raises(TypeError, match="every member can read"):
        rnnx.DeepEnsemble([build(), build()]).predict(iter([X[0]]))


def test_negative_seeds_are_refused_before_anything_is_fitted() -> None:
    for wrong in (-1, [0, -2, 1, 2, 3, 4]):
        with pytest.raises(ValueError, match="at least 0"):
            rnnx.fit_many(build, DATA, seeds=wrong, verbose=0)
    before = random.getstate()
    with pytest.raises(ValueError, match="set_random_seed: `seed` must be an integer of at least 0, got -1"):
        set_random_seed(-1)
    assert random.getstate() == before


def test_a_dict_of_datasets_and_a_build_without_return():
    x = np.zeros((2, 3, 1), "float32")
    with pytest.raises(TypeError, match=r"got a dict, .* give list\(datasets.values\(\)\)"):
        rnnx.fit_many(build, {"north": (x, x[:, 0]), "south": (x, x[:, 0])})
    (fit,) = rnnx.fit_many(lambda: None, [(x, x[:, 0])], verbose=0)
    assert str(fit.error) == "`build` must return a compiled model, got NoneType"


# ---- One file, and the better way ------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["threads", "processes"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning:joblib", "ignore::DeprecationWarning:multiprocessing")
def test_fits_in_one_file(backend: str, tmp_path: Path) -> None:
    def broken() -> Any:
        raise OSError("no such sensor")

    data, file = [*DATA[:3], broken, *DATA[4:]], tmp_path / "sensors.fits"
    expected = one_by_one(range(10, 16), epochs=2)
    options: dict[str, Any] = {"seeds": 10, "n_jobs": 2, "backend": backend, "epochs": 2, "verbose": 0}
    made = rnnx.fit_many(build, data, file=file, **options)
    for fits in (made, rnnx.load_fits(file), pickle.loads(pickle.dumps(made))):
        assert fits.failed == [3] and "no such sensor" in str(fits[3].error) and "in broken" in fits[3].traceback
        assert fits.models[3] is None
        assert [fit.seed for fit in fits] == list(range(10, 16)) and len(fits.models) == 6
        assert_equal([*fits.models[:3], *fits.models[4:]], [m for k, m in enumerate(expected) if k != 3])
        assert all(len(fit.history["loss"]) == 2 for k, fit in enumerate(fits) if k != 3)
        assert fits[0].model is not fits[0].model and fits[0].model.optimizer.iterations == 2
    with pytest.raises(FileExistsError, match="give another `file`"):
        rnnx.fit_many(build, data, file=file, **options)


def test_models_in_a_file_are_not_kept(tmp_path: Path) -> None:
    alive: list[Any] = []

    def noted() -> Any:
        gc.collect()
        assert sum(reference() is not None for reference in alive) <= 1
        alive.append(weakref.ref(model := build()))
        return model

    fits = rnnx.fit_many(noted, DATA, file=tmp_path / "all.fits", n_jobs=1, verbose=0)
    assert fits.failed == [] and len(alive) == 6


def test_what_was_done_before_an_interrupt_is_in_the_file(tmp_path: Path) -> None:
    def stops() -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rnnx.fit_many(build, [*DATA[:2], stops, *DATA[3:]], seeds=10, n_jobs=1, file=tmp_path / "a.fits", verbose=0)
    fits = rnnx.load_fits(tmp_path / "a.fits")
    assert_equal(fits.models, rnnx.fit_many(build, DATA[:2], seeds=10, verbose=0).models)


@pytest.mark.parametrize("what", ["text", "cut", "another archive"])
def test_files_that_are_none_of_fits(what: str, tmp_path: Path) -> None:
    file = tmp_path / "a.fits"
    rnnx.fit_many(build, DATA[:1], file=file, verbose=0)
    if what == "text":
        file.write_text("1")
    elif what == "cut":
        file.write_bytes(file.read_bytes()[:-50])
    else:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("0.json", json.dumps([1]))
    with pytest.raises(rnnx.saving.FormatError, match="a.fits is no file of `fit_many`"):
        rnnx.load_fits(file)


@pytest.mark.parametrize("what", ["long", "deep", "empty model", "no model"])
def test_files_of_fits_that_are_made_to_harm(what: str, tmp_path: Path) -> None:
    said = json.dumps({"seed": 1, "seconds": 1.0, "history": {}, "error": None, "traceback": None})
    file = tmp_path / "a.fits"
    with zipfile.ZipFile(
        file, "w", zipfile.ZIP_DEFLATED if what in ("long", "empty model") else zipfile.ZIP_STORED
    ) as to:
        to.writestr("0.json", {"long": " " * 10**7, "deep": "[" * 10**5}.get(what, said))
        if what == "empty model":
            to.writestr("0.safetensors", bytes(10**7))
    expected = {
        "long": "10,000,000 bytes",
        "deep": "recursion",
        "empty model": "bytes, of",
        "no model": "of fit 0 is missing",
    }
    with pytest.raises(rnnx.saving.FormatError, match=expected[what]):
        assert rnnx.load_fits(file)[0].model is None


def test_errors_do_not_keep_their_data() -> None:
    class Table(np.ndarray):
        pass

    kept: list[Any] = []

    def wrong() -> Any:
        x = np.ones((4, 3, 2), "f").view(Table)
        kept.append(weakref.ref(x))
        return x, x[:3, 0]

    (fit,) = rnnx.fit_many(build, [wrong], verbose=0)
    gc.collect()
    assert fit.error is not None and kept[0]() is None
    assert fit.traceback is not None and "in data_of_fit" in fit.traceback and "x` has 4 rows" in fit.traceback


@pytest.mark.parametrize(("seconds", "processes"), [(0.0, True), (60.0, False)])
def test_the_better_way_is_chosen_by_what_fits_take(seconds: float, processes: bool, monkeypatch: Any) -> None:
    used = []
    own = many._in_processes
    monkeypatch.setattr(many, "START", seconds if seconds else -100.0)
    monkeypatch.setattr(
        many, "_in_processes", lambda tasks, *rest: used.append(len(tasks)) or many._in_threads(tasks, *rest)
    )
    data = [DATA[k % 6] for k in range(9)]
    fits = rnnx.fit_many(build, data, seeds=3, n_jobs=2, backend="auto", verbose=0)
    assert used == ([3] if processes else []) and own is not many._in_processes
    assert_equal(fits.models, rnnx.fit_many(build, data, seeds=3, n_jobs=1, verbose=0).models)


def test_fits_that_cannot_travel_stay_here(monkeypatch: Any) -> None:
    monkeypatch.setattr(many, "START", -100.0)
    monkeypatch.setattr(many, "_in_processes", None)
    watched = [{"x": x, "y": y, "callbacks": [callbacks.Callback()]} for x, y in [*DATA, *DATA]]
    assert rnnx.fit_many(build, watched, n_jobs=2, backend="auto", verbose=0).failed == []

    def locked() -> Any:
        model = rnnx.Sequential([rnnx.Input((None, 2)), Locked(), layers.GRU(2), layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    assert rnnx.fit_many(locked, [*DATA, *DATA], n_jobs=2, backend="auto", verbose=0).failed == []
