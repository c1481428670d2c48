"""Callbacks, driven by made-up values and by fit."""

from __future__ import annotations

import csv
import sys

import numpy as np
import pytest

import rnnx
from rnnx import callbacks, layers, utils

NAN = float("nan")


@pytest.fixture(autouse=True)
def _seeded():
    utils.set_random_seed(5)


def model_of(rate=0.1, optimizer=None):
    model = rnnx.Sequential([layers.Input((3, 2)), layers.GRU(2), layers.Dense(1)])
    model.compile(optimizer or rnnx.optimizers.SGD(rate), "mse")
    return model


def xy(rows=8):
    rng = np.random.default_rng(2)
    return rng.normal(size=(rows, 3, 2)), rng.normal(size=(rows, 1))


class FakeModel:
    """Its weights are the number of the epoch."""

    def __init__(self):
        self.stop_training = False
        self.weights = None
        self.optimizer = rnnx.optimizers.SGD(1.0)
        self.saved = []

    def get_weights(self):
        return self.weights

    def set_weights(self, weights):
        self.weights = weights

    def save(self, path, include_optimizer=False):
        self.saved.append(path)

    def save_weights(self, path):
        self.saved.append(path)


def drive(callback, values, name="val_loss"):
    """Run the epochs of a training with these values; the model afterwards."""
    model = FakeModel()
    callback.set_model(model)
    callback.set_params({"epochs": len(values), "steps": 1})
    callback.on_train_begin()
    model.epochs = 0
    for epoch, value in enumerate(values):
        callback.on_epoch_begin(epoch)
        model.weights = epoch
        callback.on_epoch_end(epoch, {"loss": 0.0, name: value})
        model.epochs += 1
        if model.stop_training:
            break
    callback.on_train_end()
    return model


# ---- EarlyStopping ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "values", "epochs", "weights"),
    [
        ({"patience": 0}, [3, 2, 2, 1], 3, 2),
        ({"patience": 1}, [3, 2, 2, 1], 3, 2),
        ({"patience": 2}, [3, 2, 2, 1, 1, 1, 0], 6, 5),
        ({"patience": 2, "restore_best_weights": True}, [3, 2, 2, 1, 1, 1, 0], 6, 3),
        ({"patience": 9, "restore_best_weights": True}, [3, 1, 2], 3, 1),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.8, 2.6, 2.2, 2.1], 3, 2),
        ({"patience": 2, "min_delta": -0.5}, [3, 2.8, 2.6, 2.2, 2.1], 3, 2),
        ({"patience": 2, "mode": "max"}, [1, 2, 3, 1, 1, 5], 5, 4),
        ({"patience": 1, "monitor": "val_accuracy"}, [0.1, 0.2, 0.2, 0.3], 3, 2),
        ({"patience": 2, "baseline": 1.0}, [3, 2, 1.5, 1.2, 0.5], 5, 4),
        ({"patience": 2, "baseline": 1.0}, [3, 3, 0.5], 2, 1),
        ({"patience": 1, "start_from_epoch": 3}, [1, 2, 3, 4, 5, 6], 5, 4),
        ({"patience": 2}, [3, NAN, NAN, 1], 3, 2),
        ({"patience": 1, "restore_best_weights": True}, [NAN, NAN, 1], 2, 0),
        ({"patience": 2}, [NAN, 3, NAN, 2], 4, 3),
    ],
)
def test_early_stopping(options, values, epochs, weights):
    callback = callbacks.EarlyStopping(**options)
    for _ in range(2):  # one object may serve again
        model = drive(callback, values, callback.monitor)
        assert (model.epochs, model.weights) == (epochs, weights)
        assert model.stop_training == (callback.stopped_epoch > 0)


def test_early_stopping_in_fit(capsys):
    model, (x, y) = model_of(0.0), xy()
    callback = callbacks.EarlyStopping(monitor="loss", patience=2, verbose=1, restore_best_weights=True)
    history = model.fit(x, y, epochs=20, verbose=0, shuffle=False, callbacks=callback)
    assert len(history.epoch) == 3
    assert "stopped early after epoch 3; the best was 1" in capsys.readouterr().out


def test_a_figure_that_is_not_there_is_named():
    model, (x, y) = model_of(), xy()
    with pytest.raises(ValueError, match="no 'val_loss' to watch; there are loss"):
        model.fit(x, y, verbose=0, callbacks=[callbacks.EarlyStopping()])
    with pytest.raises(ValueError, match="mode"):
        callbacks.EarlyStopping(mode="most")


class Counted(rnnx.metrics.Metric):
    """Its values are given; whether more is better is said by the class."""

    direction = "up"

    def __init__(self, values, name):
        super().__init__(name)
        self.given, self.epoch = values, -1

    def reset_state(self):
        self.seen = False

    def update_state(self, y_true, y_pred, sample_weight=None, mask=None):
        self.epoch += not self.seen
        self.seen = True

    def result(self):
        return self.given[self.epoch]


def test_the_metric_says_which_way_is_better(tmp_path):
    x, y = xy()
    path = tmp_path / "best.weights.safetensors"
    for name, direction, values, best in (
        ("f1", "up", [0.1, 0.5, 0.9, 0.2], 2),
        ("accident", "down", [0.9, 0.1, 0.5, 0.8], 1),
        ("recall_error", "down", [0.3, 0.5, 0.2, 0.8], 2),
    ):
        model = model_of()
        model.compile("sgd", "mse", metrics=[Counted(values, name)])
        model.metrics[1].direction = direction  # behind that of the loss
        stop = callbacks.EarlyStopping(name, patience=9, restore_best_weights=True)
        rate = callbacks.ReduceLROnPlateau(name, patience=9)
        kept = callbacks.ModelCheckpoint(path, name, save_best_only=True, save_weights_only=True)
        model.fit(x, y, epochs=4, verbose=0, callbacks=[stop, rate, kept])
        assert (stop.best_epoch, stop.best, rate.best, kept.best) == (best, *[values[best]] * 3)
        other = model_of()
        other.load_weights(path)
        for own, saved in zip(model.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(own, saved)


def test_losses_of_outputs_are_better_when_they_are_less():
    a = layers.Input((2,))
    model = rnnx.Model(a, [layers.Dense(1, name="accident")(a), layers.Dense(1, name="auc")(a)])
    model.compile(rnnx.optimizers.SGD(0.0), "mse", metrics={"auc": ["auc", "mse"], "accident": ["accuracy"]})
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(8, 2)), [rng.integers(0, 2, (8, 1)).astype(float)] * 2
    for monitor, sign in (
        ("val_accident_loss", -1), ("auc_loss", -1), ("val_auc_auc", 1), ("auc_mse", -1), ("accident_accuracy", 1),
        ("val_loss", -1),
    ):  # fmt: skip
        callback = callbacks.EarlyStopping(monitor)
        model.fit(x, y, verbose=0, validation_data=(x, y), callbacks=[callback])
        assert callback._sign == sign, monitor


UP = ("acc", "auc", "precision", "recall", "iou", "io_u", "score", "correlation", "similarity", "specificity")
COUNTS = [getattr(rnnx.metrics, yes + what) for yes in ("True", "False") for what in ("Positives", "Negatives")]


def test_every_metric_with_a_name_has_a_direction():
    for name, kind in rnnx.metrics.names.TABLE.items():
        known = "up" if any(word in name.lower() for word in UP) else "down"
        nobody_knows = kind in COUNTS or kind.__name__ in ("Mean", "MeanMetricWrapper", "Sum")
        assert kind.direction == (None if nobody_knows else known), name


@pytest.mark.parametrize("monitor", ["share", "val_share", "val_loss", "los"])
@pytest.mark.parametrize(
    "kind",
    [
        callbacks.EarlyStopping,
        callbacks.ReduceLROnPlateau,
        lambda monitor, **mode: callbacks.ModelCheckpoint("m.safetensors", monitor, save_best_only=True, **mode),
    ],
)
def test_what_cannot_be_watched_is_told_before_anything_is_trained(monitor, kind):
    def share(y, p):
        return p > y

    model, (x, y) = model_of(), xy()
    model.compile("sgd", "mse", metrics=[share])
    before = model.get_weights()
    data = (x, y) if monitor == "val_share" else None
    said = "give mode='max' or mode='min'" if "share" in monitor else f"no '{monitor}' to watch; there are loss, share"
    with pytest.raises(ValueError, match=said):
        model.fit(x, y, verbose=0, validation_data=data, callbacks=[kind(monitor)])
    for own, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(own, kept)
    if monitor == "share" and kind is not callbacks.ModelCheckpoint:
        callback = callbacks.EarlyStopping(monitor, mode="max")
        model.fit(x, y, verbose=0, callbacks=[callback])
        assert callback.best is not None


def test_a_callback_may_add_what_another_watches():
    model, (x, y) = model_of(), xy()
    for adding in (
        callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(f1=[0.1, 0.5, 0.9][epoch])),
        type("Adds", (callbacks.Callback,), {"on_epoch_end": lambda self, epoch, logs: logs.update(f1=epoch)})(),
    ):
        callback = callbacks.EarlyStopping("f1", mode="max", patience=5)
        model.fit(x, y, epochs=3, verbose=0, callbacks=[adding, callback])
        assert callback.best_epoch == 2
        with pytest.raises(ValueError, match="mode='max'"):
            model.fit(x, y, verbose=0, callbacks=[adding, callbacks.EarlyStopping("f1")])


# ---- ModelCheckpoint -------------------------------------------------------------------------------------------------


def test_checkpoint_of_the_best(tmp_path, capsys):
    callback = callbacks.ModelCheckpoint(
        tmp_path / "m-{epoch:02d}-{val_loss:.1f}.safetensors", save_best_only=True, verbose=1
    )
    model = drive(callback, [3, 2, NAN, 2.5, 1])
    assert [path.rsplit("/", 1)[1] for path in model.saved] == [
        "m-01-3.0.safetensors", "m-02-2.0.safetensors", "m-05-1.0.safetensors",
    ]  # fmt: skip
    assert "saved" in capsys.readouterr().out
    callback = callbacks.ModelCheckpoint("m.keras", save_best_only=True, initial_value_threshold=2.5)
    assert len(drive(callback, [3, 2, 2.2]).saved) == 1


def test_checkpoint_files_continue_training(tmp_path):
    path, (x, y) = tmp_path / "model.safetensors", xy()
    model = model_of(optimizer="adam")
    model.fit(x, y, epochs=2, shuffle=False, verbose=0, callbacks=[callbacks.ModelCheckpoint(path)])
    again = rnnx.load_model(path)
    expected = model.fit(x, y, epochs=2, shuffle=False, verbose=0).history["loss"]
    assert again.fit(x, y, epochs=2, shuffle=False, verbose=0).history["loss"] == expected


def test_checkpoint_of_weights(tmp_path):
    path, (x, y) = tmp_path / "m.weights.safetensors", xy()
    model = model_of()
    model.fit(x, y, verbose=0, callbacks=[callbacks.ModelCheckpoint(path, save_weights_only=True)])
    other = model_of()
    other.load_weights(path)
    for left, right in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", ["keras", "h5", "hdf5", "safetensors", "weights.h5"])
def test_checkpoint_of_every_kind(suffix, tmp_path):
    (x, y), model = xy(), model_of(optimizer="adam")
    path = tmp_path / "new" / "folder-{epoch}" / f"m.{suffix}"
    model.fit(
        x, y, epochs=2, verbose=0, callbacks=[callbacks.ModelCheckpoint(path, monitor="loss", save_best_only=True)]
    )
    again = rnnx.load_model(str(path).format(epoch=2))
    assert again.evaluate(x, y) == model.evaluate(x, y)
    assert again.optimizer.iterations == model.optimizer.iterations


@pytest.mark.parametrize("suffix", ["weights.h5", "h5", "hdf5", "safetensors"])
def test_checkpoint_of_weights_of_every_kind(suffix, tmp_path):
    (x, y), model = xy(), model_of()
    checkpoint = callbacks.ModelCheckpoint(tmp_path / f"m.{suffix}", save_weights_only=True)
    model.fit(x, y, verbose=0, callbacks=[checkpoint])
    other = model_of()
    other.load_weights(tmp_path / f"m.{suffix}")
    for left, right in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    ("name", "weights_only"),
    [("best", False), ("m.ckpt", False), ("m-{loss:.2f}", False), ("m.json", False), ("m.pt", False), ("w", True),
     ("w.keras", True), ("w.onnx", True), ("w.tf", True)],
)  # fmt: skip
def test_checkpoint_that_no_format_takes_is_refused_when_it_is_made(name, weights_only):
    with pytest.raises(ValueError, match="supported|files|holds"):
        callbacks.ModelCheckpoint(name, save_weights_only=weights_only)


def test_checkpoint_that_cannot_be_written_is_refused_before_the_first_step(tmp_path):
    (x, y), model = xy(), model_of()
    before = model.get_weights()
    (tmp_path / "file").touch()
    (tmp_path / "m.keras").mkdir()
    for path, fault in (
        (tmp_path / "file" / "m.keras", OSError),
        (tmp_path / "file" / "{epoch}" / "m.keras", OSError),
        (tmp_path / "m.keras", IsADirectoryError),
        ("/proc/nothing/m.keras", OSError),
    ):
        with pytest.raises(fault):
            model.fit(x, y, verbose=0, callbacks=[callbacks.ModelCheckpoint(path)])
    for left, right in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "m.keras"]


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_checkpoint_of_a_model_that_the_format_cannot_hold(suffix, tmp_path):
    model = rnnx.Sequential([rnnx.Input((5, 3)), rnnx.layers.LSTM(2, zoneout=0.1), rnnx.layers.Dense(1)])
    model.compile("sgd", "mse")
    before = model.get_weights()
    checkpoint = callbacks.ModelCheckpoint(tmp_path / f"m.{suffix}")
    with pytest.raises(ValueError, match="zoneout"):
        model.fit(np.ones((2, 5, 3)), np.ones((2, 1)), verbose=0, callbacks=[checkpoint])
    for left, right in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_checkpoint_names_what_its_file_name_may_hold(tmp_path):
    checkpoint = callbacks.ModelCheckpoint(tmp_path / "m-{val_loss:.2f}.safetensors")
    with pytest.raises(ValueError, match="asks for 'val_loss'; there are epoch, loss"):
        model_of().fit(*xy(), verbose=0, callbacks=[checkpoint])


def test_checkpoint_every_few_batches(tmp_path):
    (x, y), model = xy(), model_of()
    callback = callbacks.ModelCheckpoint(tmp_path / "b{batch}-{epoch}.safetensors", save_freq=3)
    model.fit(x, y, batch_size=2, epochs=2, verbose=0, callbacks=[callback])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["b2-2.safetensors", "b3-1.safetensors"]
    with pytest.raises(ValueError, match="save_freq"):
        callbacks.ModelCheckpoint("x.keras", save_freq="minute")


# ---- Learning rates --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "values", "rate"),
    [
        ({"patience": 1}, [3, 2, 1], 1.0),
        ({"patience": 1}, [3, 3], 0.1),
        ({"patience": 2, "factor": 0.5}, [3, 3, 3, 3, 3], 0.25),
        ({"patience": 1, "factor": 0.5, "cooldown": 2}, [3, 3, 3, 3, 3], 0.25),
        ({"patience": 1, "factor": 0.5, "min_lr": 0.4}, [3, 3, 3, 3], 0.4),
        ({"patience": 1, "factor": 0.5, "min_delta": 0.6}, [3, 2.5], 0.5),
        ({"patience": 1, "factor": 0.5, "mode": "max"}, [1, 2, 1], 0.5),
        ({"patience": 1, "factor": 0.5}, [3, NAN], 0.5),
    ],
)
def test_reduce_on_plateau(options, values, rate):
    assert drive(callbacks.ReduceLROnPlateau(**options), values).optimizer.learning_rate == pytest.approx(rate)


def test_reduce_on_plateau_says_so(capsys):
    drive(callbacks.ReduceLROnPlateau(patience=1, verbose=1), [1, 1])
    assert "epoch 2: learning rate 0.1" in capsys.readouterr().out
    with pytest.raises(ValueError, match="factor"):
        callbacks.ReduceLROnPlateau(factor=1.0)


def test_learning_rate_scheduler():
    seen, (x, y) = [], xy()
    model = model_of(0.8)
    model.fit(
        x, y, epochs=3, verbose=0,
        callbacks=[
            callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else rate),
            callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(model.optimizer.learning_rate)),
        ],
    )  # fmt: skip
    assert seen == pytest.approx([0.8, 0.4, 0.2])


@pytest.mark.parametrize("schedule", [lambda epoch: 0.5 ** (epoch + 1), lambda epoch, rate=None: 0.5 ** (epoch + 1)])
def test_schedules_of_the_epoch_alone_and_rates_in_the_history(schedule):
    (x, y), model = xy(), model_of(0.8)
    history = model.fit(x, y, epochs=3, verbose=0, callbacks=[callbacks.LearningRateScheduler(schedule)]).history
    assert history["learning_rate"] == pytest.approx([0.5, 0.25, 0.125])


def test_errors_of_a_schedule_are_not_hidden():
    def schedule(epoch, rate):
        raise TypeError("from inside")

    with pytest.raises(TypeError, match="from inside"):
        model_of().fit(*xy(), verbose=0, callbacks=[callbacks.LearningRateScheduler(schedule)])


def test_rates_of_a_plateau_in_the_history():
    watch = callbacks.ReduceLROnPlateau("loss", patience=1, factor=0.5, min_delta=100)
    history = model_of(0.8).fit(*xy(), epochs=3, verbose=0, callbacks=[watch]).history
    assert history["learning_rate"] == pytest.approx([0.8, 0.8, 0.4])


# ---- CSVLogger -------------------------------------------------------------------------------------------------------


def rows_of(path, separator=","):
    with open(path, newline="") as file:
        return list(csv.DictReader(file, delimiter=separator))


def test_csv_logger(tmp_path):
    path, (x, y) = tmp_path / "log.csv", xy()
    model = model_of()
    first = model.fit(x, y, epochs=2, validation_split=0.25, verbose=0, callbacks=[callbacks.CSVLogger(path)])
    rows = rows_of(path)
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert [float(row["val_loss"]) for row in rows] == first.history["val_loss"]
    model.fit(
        x, y, epochs=3, initial_epoch=2, validation_split=0.25, verbose=0,
        callbacks=[callbacks.CSVLogger(path, append=True)],
    )  # fmt: skip
    assert [row["epoch"] for row in rows_of(path)] == ["0", "1", "2"]
    model.fit(x, y, verbose=0, callbacks=[callbacks.CSVLogger(path, separator=";")])
    assert list(rows_of(path, ";")[0]) == ["epoch", "loss"]


def test_csv_logger_with_validation_in_some_epochs(tmp_path):
    path, (x, y) = tmp_path / "log.csv", xy()
    model_of().fit(
        x, y, epochs=4, validation_data=(x, y), validation_freq=2, verbose=0, callbacks=[callbacks.CSVLogger(path)]
    )
    assert [row["val_loss"] == "NA" for row in rows_of(path)] == [True, False, True, False]  # as Keras


# ---- The others ------------------------------------------------------------------------------------------------------


def test_terminate_on_nan(capsys):
    (x, y), model = xy(), model_of()
    y[3] = NAN
    history = model.fit(x, y, batch_size=2, epochs=5, shuffle=False, verbose=0, callbacks=[callbacks.TerminateOnNaN()])
    assert len(history.epoch) == 1
    assert model.optimizer.iterations == 2
    assert "batch 1: the loss is nan" in capsys.readouterr().out


def test_order_of_events():
    events, (x, y) = [], xy(4)

    class Spy(callbacks.Callback):
        def on_train_begin(self, logs=None):
            events.append("train+")

        def on_train_end(self, logs=None):
            events.append("train-")

        def on_epoch_begin(self, epoch, logs=None):
            events.append(f"epoch{epoch}+")

        def on_epoch_end(self, epoch, logs=None):
            events.append(f"epoch{epoch}-")
            assert set(logs) == {"loss", "val_loss"}

        def on_train_batch_begin(self, batch, logs=None):
            events.append(f"batch{batch}+")

        def on_train_batch_end(self, batch, logs=None):
            events.append(f"batch{batch}-")

        def on_test_begin(self, logs=None):
            events.append("test+")

        def on_test_end(self, logs=None):
            events.append("test-")

    model = model_of()
    spy = Spy()
    model.fit(x, y, batch_size=2, epochs=1, validation_data=(x, y), verbose=0, callbacks=[spy])
    assert spy.model is model
    assert spy.params["epochs"] == 1
    wish = "train+ epoch0+ batch0+ batch0- batch1+ batch1- test+ test- epoch0- train-"
    assert " ".join(events) == wish


def test_old_names_of_batch_events():
    seen = []

    class Old(callbacks.Callback):
        def on_batch_begin(self, batch, logs=None):
            seen.append(("begin", batch))

        def on_batch_end(self, batch, logs=None):
            seen.append(("end", batch))

    model_of().fit(*xy(2), verbose=0, callbacks=[Old()])
    assert seen == [("begin", 0), ("end", 0)]


def test_events_of_evaluate_and_predict():
    seen = []
    names = ("test_begin", "test_batch_begin", "test_batch_end", "test_end")
    names += tuple(name.replace("test", "predict") for name in names)
    functions = {f"on_{name}": lambda *arguments, name=name: seen.append(name) for name in names}
    model, (x, y) = model_of(), xy(4)
    model.evaluate(x, y, callbacks=[callbacks.LambdaCallback(**functions)])
    model.predict(x, callbacks=[callbacks.LambdaCallback(**functions)])
    assert seen == list(names)


def test_lambda_callback_and_wrong_callbacks():
    seen = []
    functions = {
        f"on_{event}": lambda *arguments, event=event: seen.append(event)
        for event in ("train_begin", "train_end", "epoch_begin", "epoch_end", "train_batch_begin", "train_batch_end")
    }
    model_of().fit(*xy(2), verbose=0, callbacks=[callbacks.LambdaCallback(**functions)])
    assert seen == ["train_begin", "epoch_begin", "train_batch_begin", "train_batch_end", "epoch_end", "train_end"]
    with pytest.raises(TypeError, match="on_lunch"):
        callbacks.LambdaCallback(on_lunch=print)
    with pytest.raises(TypeError, match="callback"):
        model_of().fit(*xy(2), verbose=0, callbacks=[print])


def test_stop_training_and_history():
    model = model_of()

    def stop(epoch, logs):
        model.stop_training = epoch == 1

    history = model.fit(*xy(), epochs=5, verbose=0, callbacks=[callbacks.LambdaCallback(on_epoch_end=stop)])
    assert history.epoch == [0, 1]
    assert model.history is history
    assert len(model.fit(*xy(), epochs=5, initial_epoch=3, verbose=0).epoch) == 2


def test_what_callbacks_let_see():
    stop = callbacks.EarlyStopping("loss", restore_best_weights=True)
    assert (stop.best_weights, stop.best_epoch, stop.wait, stop.stopped_epoch, stop.best) == (None, 0, 0, 0, None)
    drive(stop, [0, 0], "other")
    assert stop.best_weights == 0 and stop.stopped_epoch == 1
    rate = callbacks.ReduceLROnPlateau(patience=1, cooldown=3)
    assert not rate.in_cooldown()
    drive(rate, [1, 1, 1])
    assert rate.cooldown_counter == 2 and rate.in_cooldown()
    rate.on_train_begin()
    assert rate.cooldown_counter == 0


def test_terminate_on_nan_by_an_error():
    (x, y), model, ended = xy(), model_of(), []
    y[3] = NAN
    watch = [callbacks.TerminateOnNaN(raise_error=True), callbacks.LambdaCallback(None, lambda *_: ended.append(1))]
    with pytest.raises(RuntimeError, match="NaN or Inf loss.*after batch 1"):
        model.fit(x, y, batch_size=2, shuffle=False, verbose=0, callbacks=watch)
    assert not ended


def test_lambda_callback_has_what_it_is_given():
    seen = []
    made = callbacks.LambdaCallback(
        lambda epoch, logs: seen.append(("begin", epoch)), on_batch_end=lambda batch, logs: seen.append(batch), note=7
    )
    model_of().fit(*xy(2), verbose=0, callbacks=[made])
    assert seen == [("begin", 0), 0] and made.note == 7


def test_a_list_of_callbacks_of_ones_own():
    seen = []
    made = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append((epoch, logs["loss"])))
    some = callbacks.CallbackList([made], add_history=True, add_progbar=True, model="model", epochs=3, steps=1)
    assert [type(one).__name__ for one in some.callbacks] == ["LambdaCallback", "History", "Progress"]
    assert made.model == "model" and made.params["epochs"] == 3
    some.on_epoch_begin(0)
    some.on_epoch_end(0, {"loss": 1.0})
    some.on_batch_end(0, {})
    some.on_train_end()
    assert seen == [(0, 1.0)] and some.callbacks[1].history == {"loss": [1.0]}
    some.set_model("other")
    some.set_params({"epochs": 1})
    assert made.model == "other" and made.params == {"epochs": 1}
    with pytest.raises(AttributeError, match="on_lunch"):
        some.on_lunch()
    with pytest.raises(TypeError, match="got int"):
        some.append(3)


def test_progbar_logger(capsys):
    model_of().fit(*xy(), epochs=1, verbose=0, callbacks=[callbacks.ProgbarLogger()])
    assert capsys.readouterr().out == ""
    logger = callbacks.ProgbarLogger()
    logger.set_params({"epochs": 1, "steps": 1, "verbose": "auto"})
    assert logger.verbose == 1


# ---- Progress --------------------------------------------------------------------------------------------------------


def test_plain_lines_with_the_time_left(capsys):
    model_of().fit(*xy(), epochs=2, validation_split=0.5)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for k, line in enumerate(lines, 1):
        assert line.startswith(f"epoch {k}/2 ")
        assert " loss " in line
        assert " val_loss " in line
        assert line.endswith("left)")
    model_of().fit(*xy(), verbose=0)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("verbose", "bar"), [("auto", True), (1, True), (2, False)])
def test_a_bar_on_a_terminal_only(monkeypatch, capsys, verbose, bar):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    model_of().fit(*xy(), batch_size=2, epochs=1, verbose=verbose)
    captured = capsys.readouterr()
    assert ("epoch 1/1:" in captured.err) == bar
    assert captured.out.startswith("epoch 1/1 ")


def test_plain_lines_without_tqdm(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    model_of().fit(*xy(), epochs=1)
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.startswith("epoch 1/1 ")


@pytest.mark.parametrize(
    "callback", [callbacks.ReduceLROnPlateau("loss"), callbacks.LearningRateScheduler(lambda epoch: 0.1)]
)
def test_rates_of_a_schedule_are_not_overruled(callback):
    """Keras raises a TypeError too, when it first sets the rate."""
    model = rnnx.Sequential([rnnx.Input((3,)), rnnx.layers.Dense(1)])
    model.compile(rnnx.optimizers.SGD(rnnx.optimizers.schedules.ExponentialDecay(0.5, 2, 0.1)), "mse")
    before = model.get_weights()
    with pytest.raises(TypeError, match="learning rate is a ExponentialDecay"):
        model.fit(np.ones((4, 3)), np.ones((4, 1)), epochs=1, verbose=0, callbacks=[callback])
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize("period, epochs", [(1, [1, 2, 3, 4, 5]), (2, [2, 4]), (7, [])])
def test_a_checkpoint_every_few_epochs(period, epochs, tmp_path):
    """``period=``, a word of Keras 2."""
    model = rnnx.Sequential([rnnx.Input((2,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    saves = callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras", period=period)
    model.fit(np.ones((4, 2)), np.zeros((4, 1)), epochs=5, verbose=0, callbacks=[saves])
    assert sorted(int(path.stem) for path in tmp_path.iterdir()) == epochs


def test_old_words_of_callbacks():
    assert callbacks.ReduceLROnPlateau(epsilon=0.5).min_delta == 0.5
    for options, words in (
        ({"period": 0}, "`period` must be"),
        ({"period": 2, "save_freq": 5}, "`period` counts epochs"),
    ):
        with pytest.raises(ValueError, match=words):
            callbacks.ModelCheckpoint("x.keras", **options)


@pytest.mark.parametrize(
    ("metric", "watched", "found"),
    [("accuracy", "val_acc", "val_accuracy"), ("acc", "accuracy", "acc"), ("accuracy", "acc", "accuracy")],
)
def test_the_accuracy_by_its_other_name(metric, watched, found):
    model = rnnx.Sequential([layers.Input((3, 2)), layers.GRU(2), layers.Dense(1, activation="sigmoid")])
    model.compile("sgd", "binary_crossentropy", metrics=[metric])
    x, y = xy()
    stop = callbacks.EarlyStopping(watched, patience=3)
    with pytest.warns(UserWarning, match=f"EarlyStopping: '{watched}' is called '{found}' here"):
        model.fit(x, y > 0, epochs=2, verbose=0, validation_split=0.25, callbacks=[stop])
    assert stop.monitor == found and stop.best is not None
    for absent in ("val_vacc", "accuracyacc", "val_loss_acc"):
        with pytest.raises(ValueError, match=f"there is no '{absent}' to watch"):
            model.fit(x, y > 0, verbose=0, validation_split=0.25, callbacks=[callbacks.EarlyStopping(absent)])
