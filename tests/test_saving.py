"""Model files: bit-exact, mapped, atomic; training resumes to the numbers of an uninterrupted run."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import Input, Model, Sequential, layers, losses, metrics, optimizers, saving, schedules
from rnnx.saving import FormatError

RNG = np.random.default_rng(31)
X, Y = RNG.normal(size=(12, 6, 3)).astype(np.float32), RNG.normal(size=(12, 2)).astype(np.float32)


def chain(dtype: str = "float32") -> Any:
    return Sequential(
        [
            layers.Bidirectional(
                layers.GRU(4, dropout=0.3, recurrent_dropout=0.2, seed=5, return_sequences=True, dtype=dtype),
                input_shape=(None, 3),
            ),
            layers.BatchNormalization(dtype=dtype),
            layers.LSTM(3, zoneout=0.1, seed=6, kernel_regularizer="l2", dtype=dtype),
            layers.Dropout(0.2, seed=7, dtype=dtype),
            layers.Dense(2, kernel_constraint="max_norm", dtype=dtype),
        ]
    )


def graph(dtype: str = "float32") -> Any:
    a = Input((None, 3), dtype=dtype, name="a")
    gru = layers.GRU(4, return_sequences=True, return_state=True, dtype=dtype, seed=1, dropout=0.2)
    y, h = gru(a)
    cells = [layers.LSTMCell(3, dtype=dtype, seed=2, dropout=0.1), layers.SimpleRNNCell(4, dtype=dtype, seed=3)]
    z = layers.RNN(cells, dtype=dtype)(y)
    return Model(a, layers.Dense(2, dtype=dtype)(layers.add([h, z], dtype=dtype)))


MODELS = {"chain": chain, "graph": graph}


def exact(a: Any, b: Any) -> bool:
    return [(w.dtype, w.shape, w.tobytes()) for w in a] == [(w.dtype, w.shape, w.tobytes()) for w in b]


def special(model: Any, dtype: str) -> None:
    """Weights with every kind of number a float can be."""
    kind = np.dtype(dtype)
    info = np.finfo(kind)
    rare = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, info.tiny, info.tiny / 8, -info.max, info.eps], kind)
    integers = np.uint32 if kind.itemsize == 4 else np.uint64
    weights = model.get_weights()
    weights[0].reshape(-1)[: rare.size] = rare
    weights[1].view(integers).reshape(-1)[:2] = np.array([1, np.iinfo(integers).max - 3], integers)  # smallest, NaN
    model.set_weights(weights)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MODELS)
def test_bit_exact(name: str, dtype: str, tmp_path: Path) -> None:
    model = MODELS[name](dtype)
    special(model, dtype)
    model.save(tmp_path / "m.safetensors")
    loaded = rnnx.load_model(tmp_path / "m.safetensors")
    assert type(loaded) is type(model) and loaded.to_json() == model.to_json()
    assert exact(loaded.get_weights(), model.get_weights())
    model.save_weights(tmp_path / "w.safetensors")
    other = MODELS[name](dtype)
    other.load_weights(tmp_path / "w.safetensors")
    assert exact(other.get_weights(), model.get_weights())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MODELS)
def test_predictions_stay(name: str, dtype: str, tmp_path: Path) -> None:
    model = MODELS[name](dtype)
    model.save(str(tmp_path / "M.SafeTensors"))
    loaded = rnnx.load_model(str(tmp_path / "M.SafeTensors"))
    assert np.array_equal(loaded(X), model(X)) and np.array_equal(loaded.predict(X), model.predict(X))


def test_saving_again_gives_the_same_content(tmp_path: Path) -> None:
    from rnnx.formats import safetensors

    a, b = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    chain().save(a)
    rnnx.load_model(a).save(b)
    (tensors, description), (others, other_description) = safetensors._read(a), safetensors._read(b)
    assert description == other_description and tensors.keys() == others.keys()
    assert exact([tensors[name] for name in tensors], [others[name] for name in tensors])
    assert a.stat().st_size == b.stat().st_size


def test_weights_are_views_of_the_mapped_file(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    model = chain()
    model.save(path)
    loaded = rnnx.load_model(path)
    for weight in loaded.weights:
        assert not weight.value.flags.writeable and not weight.value.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            weight.value[...] = 0
    content = path.read_bytes()
    loaded.compile("adam", "mse")
    loaded.fit(X, Y, verbose=0)
    assert all(w.value.flags.writeable for w in loaded.trainable_weights)
    assert path.read_bytes() == content
    loaded.set_weights(model.get_weights())
    assert exact(loaded.get_weights(), model.get_weights())


def test_a_file_may_be_replaced_or_removed_while_it_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    model = chain()
    model.save(path)
    loaded = rnnx.load_model(path)
    loaded.save(path)
    chain().save(path)
    assert exact(loaded.get_weights(), model.get_weights())
    path.unlink()
    assert np.array_equal(loaded(X), model(X))


@pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".h5"])
@pytest.mark.parametrize("what", ["model", "weights"])
def test_a_file_that_is_written_over_while_it_is_read(
    suffix: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"m{suffix}"
    model = Sequential([Input((None, 3)), layers.GRU(4)])
    model.save(path)
    reader = saving.format_of(path)
    plain = getattr(reader, f"load_{what}" if what == "weights" else "load_model")
    read = (lambda: model.load_weights(path)) if what == "weights" else (lambda: rnnx.load_model(path))

    def written_over(*arguments: Any, **options: Any) -> Any:
        found = plain(*arguments, **options)
        change()
        return found

    def in_place() -> None:
        with path.open("r+b") as file:
            file.write(content)
        os.utime(path, (1, 1))

    def renamed() -> None:
        (tmp_path / "other").write_bytes(content)
        os.replace(tmp_path / "other", path)

    content, change = path.read_bytes(), in_place
    monkeypatch.setattr(reader, plain.__name__, written_over)
    with pytest.raises(FormatError, match=r"written over while it was read.*os\.replace"):
        read()
    change = renamed
    read()


OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "rmsprop": lambda: optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    "adam": lambda: optimizers.Adam(schedules.ExponentialDecay(0.01, 3, 0.5), clipnorm=1.0),
    "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True),
    "adamw": lambda: optimizers.AdamW(0.01, weight_decay=0.1, global_clipnorm=1.0),
    "nadam": lambda: optimizers.Nadam(0.01),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", MODELS)
def test_training_resumes_as_if_never_stopped(name: str, optimizer: str, dtype: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"batch_size": 5, "verbose": 0, "shuffle": False}
    whole = MODELS[name](dtype)
    whole.compile(OPTIMIZERS[optimizer](), losses.Huber(0.7), metrics=["mae", metrics.RootMeanSquaredError()])
    start = whole.get_weights()
    expected = whole.fit(X, Y, epochs=4, **options).history

    first = rnnx.models.clone_model(whole)
    first.set_weights(start)
    first.compile(OPTIMIZERS[optimizer](), losses.Huber(0.7), metrics=["mae", metrics.RootMeanSquaredError()])
    before = first.fit(X, Y, epochs=2, **options).history
    first.save(tmp_path / "m.safetensors", include_optimizer=True)
    second = rnnx.load_model(tmp_path / "m.safetensors")
    after = second.fit(X, Y, epochs=4, initial_epoch=2, **options).history
    assert {k: before[k] + after[k] for k in before} == expected
    assert exact(second.get_weights(), whole.get_weights())
    assert second.optimizer.iterations == whole.optimizer.iterations
    assert [g.state for g in second.seed_generators()] == [g.state for g in whole.seed_generators()]


def test_compile_false_leaves_training_out(tmp_path: Path) -> None:
    model = chain()
    model.compile("adam", "mse")
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "m.safetensors", include_optimizer=True)
    assert rnnx.load_model(tmp_path / "m.safetensors", compile=False).optimizer is None
    loaded = rnnx.load_model(tmp_path / "m.safetensors")
    assert loaded.optimizer.iterations == 1 and loaded.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)
    model.save(tmp_path / "m.safetensors", include_optimizer=False)
    assert rnnx.load_model(tmp_path / "m.safetensors").optimizer is None


def test_several_outputs_keep_their_losses(tmp_path: Path) -> None:
    a = Input((None, 3), name="a")
    h = layers.GRU(4)(a)
    model = Model(a, [layers.Dense(2, name="one")(h), layers.Dense(1, activation="sigmoid", name="two")(h)])
    model.compile(
        "adam",
        {"one": "mse", "two": losses.BinaryCrossentropy(label_smoothing=0.1)},
        metrics={"one": ["mae"], "two": ["accuracy"]},
        loss_weights={"one": 1.0, "two": 0.5},
    )
    targets = [Y, (Y[:, :1] > 0).astype(np.float32)]
    model.fit(X, targets, verbose=0)
    model.save(tmp_path / "m.safetensors", include_optimizer=True)
    loaded = rnnx.load_model(tmp_path / "m.safetensors")
    assert loaded.evaluate(X, targets, verbose=0, return_dict=True) == model.evaluate(
        X, targets, verbose=0, return_dict=True
    )


def test_load_weights_is_all_or_nothing_and_refreshes_what_was_derived(tmp_path: Path) -> None:
    one, two = chain(), chain()
    assert not np.array_equal(one(X), two(X))
    one.save_weights(tmp_path / "w.safetensors")
    two.load_weights(tmp_path / "w.safetensors")
    assert np.array_equal(one(X), two(X))
    two.load_weights(tmp_path / "w.safetensors")
    one.save(tmp_path / "m.safetensors")
    chain().load_weights(tmp_path / "m.safetensors")


def test_nothing_else_is_left_in_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    for _ in range(2):
        chain().save(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_permissions_are_those_of_other_files(tmp_path: Path) -> None:
    path, ordinary = tmp_path / "m.safetensors", tmp_path / "ordinary"
    ordinary.write_text("x")
    chain().save(path)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)
    path.chmod(0o640)
    chain().save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_other_programs_can_read_the_tensors(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    model = chain()
    model.save(tmp_path / "m.safetensors")
    tensors = load_file(tmp_path / "m.safetensors")
    assert exact([tensors[f"weights/{k}"] for k in range(len(model.weights))], model.get_weights())


def test_describe(tmp_path: Path) -> None:
    from rnnx.formats import safetensors

    model = graph()
    model.save(tmp_path / "m.safetensors")
    found = safetensors.describe(tmp_path / "m.safetensors")
    assert found["format"] == 1 and found["rnnx"] == rnnx.__version__ and found["kind"] == "model"
    assert found["tensors"]["weights/0"] == ("float32", (3, 12))


def test_a_class_of_ones_own_must_be_known(tmp_path: Path) -> None:
    class Halve(layers.Layer):
        def forward(self, x: Any, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any) -> Any:
            return x / 2, (lambda dy, *, need_dx=True: layers.Gradients(dy / 2)) if keep else None

    model = Sequential([layers.Dense(2, input_shape=(3,)), Halve()])
    model.save(tmp_path / "m.safetensors")
    assert np.array_equal(rnnx.load_model(tmp_path / "m.safetensors")(X[0]), model(X[0]))
    from rnnx.layers.registry import LAYER_CLASSES

    kept = LAYER_CLASSES.pop("Halve")
    try:
        with pytest.raises(rnnx.saving.FormatError, match="'Halve'"):
            rnnx.load_model(tmp_path / "m.safetensors")
    finally:
        LAYER_CLASSES["Halve"] = kept


def test_an_unpickled_or_copied_model_is_the_same() -> None:
    import copy
    import pickle

    model = chain()
    model.compile("adam", "mse")
    model.fit(X, Y, verbose=0)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert exact(twin.get_weights(), model.get_weights()) and np.array_equal(twin(X), model(X))
        twin.weights[0].mutable()[...] = 0
        assert model.weights[0].value.any()


@pytest.mark.parametrize("kind", [layers.Dropout, layers.GaussianDropout, layers.AlphaDropout])
def test_noise_keeps_its_stream(kind, tmp_path):
    model = Sequential([Input((6,)), kind(0.5, seed=rnnx.dropout.SeedGenerator(7, stream="keras"))])
    model.save(tmp_path / "m.safetensors")
    again = rnnx.load_model(tmp_path / "m.safetensors")
    assert again.layers[-1].seed_generator.stream == "keras"
    x = np.ones((4, 6), np.float32)
    assert np.array_equal(again(x, training=True), model(x, training=True))


@pytest.mark.parametrize("suffix", ["keras", "h5", "safetensors"])
def test_a_warning_shows_the_line_that_loads(tmp_path, suffix):
    model = rnnx.Sequential([rnnx.Input((3,)), rnnx.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=[_own_metric])
    path = tmp_path / f"model.{suffix}"
    model.save(path)
    for objects in ({}, {"other": _own_metric}):
        with pytest.warns(UserWarning, match="a metric is left out: unknown function '_own_metric'") as found:
            rnnx.load_model(path, custom_objects=objects)
        assert [warning.filename for warning in found] == [__file__]


def _own_metric(y_true, y_pred):
    return y_true - y_pred


@pytest.mark.parametrize("model", [chain, graph])
def test_a_program_that_imports_only_saving_reads_models(model: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    model().save(path)
    code = f"from rnnx.saving import load_model; print(load_model({str(path)!r}).count_params())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [str(model().count_params())], done.stderr
